"""What one tick adds to the books."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from exporter.readings import OTHER_MODELS, Gpu, Kind, ServerKey
from exporter.tariff.rate import PriceBasis
from exporter.units import Instant, Millijoules, Nanoseconds, Picodollars

Phase = Literal["prefill", "decode", "other", "idle", "unobserved"]
PHASES: Final[tuple[Phase, ...]] = ("prefill", "decode", "other", "idle", "unobserved")

UNALLOCATED: Final = "unallocated"
"""The server name of GPU money that no server held."""

UNASSIGNED: Final = "unassigned"
"""The product and team of a server that no ownership rule names."""

OTHER: Final = OTHER_MODELS
"""The model name of models beyond the limit."""


class CostOwner(NamedTuple):
    """Who money, GPU time and tokens are posted to. Sorted by these fields, in this order.

    It and `OwnerPhase` are tuples, as are the other keys of sums, `MoneyPosting` and `GpuTimePosting`:
    a tick makes and looks up hundreds of them.
    """

    product: str
    team: str
    namespace: str
    server: str
    model: str

    @property
    def key(self) -> ServerKey:
        """The server of this party."""
        return ServerKey(self.namespace, self.server)


class OwnerPhase(NamedTuple):
    """A party and what its GPU was doing: the finest place that GPU money is posted to."""

    owner: CostOwner
    phase: Phase


class MoneyPosting(NamedTuple):
    """Dollars of one GPU and component that one slot pays."""

    gpu: Gpu
    component: str
    price_basis: PriceBasis
    owner_phase: OwnerPhase
    amount: Picodollars


class GpuTimePosting(NamedTuple):
    """Time of one GPU that one slot held. `priced` is false where that time waits for a price.

    `down` is the part of `duration` that hourly rent is not owed for, and `unowed` the part that nothing is
    owed for, as far as is known: `down` where rent is by the hour or no price is known, all of it before
    owned hardware is in service.
    `counted` is the GPU time of it that was posted before: of time that waited for a price.
    """

    gpu: Gpu
    owner_phase: OwnerPhase
    duration: Nanoseconds
    priced: bool
    down: Nanoseconds = 0
    unowed: Nanoseconds = 0
    counted: Nanoseconds = 0

    @property
    def owed(self) -> Nanoseconds:
        """GPU time that is posted now: dollars over it are the price. It never takes back what is posted."""
        return max(0, self.duration - self.unowed - self.counted)


@dataclass(frozen=True, slots=True)
class GpuUse:
    """What one slot used of a GPU: its time, the part of it that hourly rent is owed for, and energy."""

    time: Nanoseconds
    up: Nanoseconds
    energy: Millijoules


@dataclass(frozen=True, slots=True)
class UnpricedTime:
    """GPU time whose hardware had no price, kept until one comes.

    It lies in [start, end), which is inside one hour of one local `day`, like 2026-11-30; where nothing
    better is known, inside the day. `number` is what the ledger knows it by; 0 is a name of none.
    `hourly_only`: nothing but hourly rent is owed for it, as since a boot.
    `down_counted`: all of it is posted as GPU time, as an earlier release did; else the part that is owed at
    any price, while the host was up.
    """

    gpu: Gpu
    day: str
    start: Instant
    end: Instant
    slots: Mapping[OwnerPhase, GpuUse]
    number: int = 0
    hourly_only: bool = False
    down_counted: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a tick inside one local day, one minute (of a long tick: one hour) and one set of prices.

    `month` is like 2026-11, `day` like 2026-11-30, both of the configured time zone.
    `accrued` is what the GPUs accrued in it, reckoned before anything was split.
    `unpriced` are its GPUs without a price. `down` is the part that hourly rent is not owed for.
    """

    start: Instant
    end: Instant
    month: str
    day: str
    accrued: Picodollars
    money: tuple[MoneyPosting, ...]
    held: tuple[GpuTimePosting, ...]
    unpriced: tuple[UnpricedTime, ...] = ()
    down: Nanoseconds = 0


@dataclass(frozen=True, slots=True)
class LateCharges:
    """Time without a price that is charged now that it has one.

    `segments` are of one GPU each; `held` tells what no longer waits, and what of it was counted when it
    passed. `left` is what still waits of each `UnpricedTime` that was charged from, also where that is
    nothing: it takes the place of the one of its number.
    """

    segments: tuple[Segment, ...] = ()
    left: tuple[UnpricedTime, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenPosting:
    """Tokens that moved for a party, in one tick."""

    owner: CostOwner
    kind: Kind
    count: int


@dataclass(frozen=True, slots=True)
class RequestPosting:
    """Requests that finished for a party, in one tick."""

    owner: CostOwner
    count: int


@dataclass(frozen=True, slots=True)
class HostedEquivalent:
    """What a party's tokens of one tick would have cost at a hosted offer, at its price of that moment."""

    owner: CostOwner
    reference: str
    amount: Picodollars


@dataclass(frozen=True, slots=True)
class EnergyPosting:
    """Energy that one GPU used in one tick."""

    gpu: Gpu
    energy: Millijoules


@dataclass(frozen=True, slots=True)
class Postings:
    """Everything one tick adds. `end` is the tick's wall time; tokens and energy are told at it.

    `seen` are the parties of this tick, those that nothing is posted to included: a series starts at zero.
    """

    end: Instant
    segments: tuple[Segment, ...] = ()
    tokens: tuple[TokenPosting, ...] = ()
    requests: tuple[RequestPosting, ...] = ()
    energy: tuple[EnergyPosting, ...] = ()
    seen: tuple[CostOwner, ...] = ()
    implausible: tuple[tuple[str, int], ...] = ()
    """Readings refused this tick, as (reason, how many)."""
    equivalents: tuple[HostedEquivalent, ...] = ()
    """Beside the money: no sum of the books has them in it."""
    day: str = ""
    """The local day in which tokens are told: the one that the tick's last instant is in."""
    zone: str = ""
    """The time zone that days and months are of, as the IANA database names it; empty where nobody says."""
    late: LateCharges = LateCharges()
