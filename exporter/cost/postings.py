"""Postings: what one tick adds to the ledger. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from exporter.readings import OTHER_MODELS, Gpu, LatencyBasis, Objective, ServerKey, TokenKind
from exporter.tariff.hosted import HostedPrice, equivalent
from exporter.tariff.rate import PriceBasis
from exporter.units import Instant, Millijoules, Nanoseconds, Picodollars

Phase = Literal["prefill", "decode", "other", "idle", "unobserved"]
PHASES: Final[tuple[Phase, ...]] = ("prefill", "decode", "other", "idle", "unobserved")
BUSY_PHASES: Final[tuple[Phase, ...]] = ("prefill", "decode", "other")
"""Phases in which a GPU worked."""

UNALLOCATED: Final = "unallocated"
"""The server name of cost of GPUs without a holder."""

UNASSIGNED: Final = "unassigned"
"""The product and team of a server that no ownership rule names."""

OTHER: Final = OTHER_MODELS
"""The model name of models beyond the limit."""


class CostOwner(NamedTuple):
    """The owner of money, GPU time and tokens. Sorted by these fields, in this order.

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
        """Its server."""
        return ServerKey(self.namespace, self.server)


class OwnerPhase(NamedTuple):
    """An owner and the phase of its GPU: the finest key of GPU money."""

    owner: CostOwner
    phase: Phase


class MoneyPosting(NamedTuple):
    """Money of one GPU and component, for one owner and phase."""

    gpu: Gpu
    component: str
    price_basis: PriceBasis
    owner_phase: OwnerPhase
    amount: Picodollars


class GpuTimePosting(NamedTuple):
    """Time of one GPU for one owner and phase."""

    gpu: Gpu
    owner_phase: OwnerPhase
    duration: Nanoseconds
    chargeable: Nanoseconds
    """GPU time that counts in dollars per hour: money over chargeable time is the price.

    At hourly rent, and while unpriced, it is the time with the host up; at other prices it is all of the
    time; of hardware that is not in service it is none. A late charge posts what was not chargeable while
    the time was unpriced. One hour of a host that turns out to have 8 GPUs is 8 chargeable hours.
    """
    unpriced: bool = False
    """Whether a late charge is still to post the cost of its hardware."""
    down: Nanoseconds = 0
    """The part of `duration` in which the host was down: it costs no hourly rent."""


@dataclass(frozen=True, slots=True)
class GpuUse:
    """Usage of a GPU by one owner and phase."""

    time: Nanoseconds
    up: Nanoseconds
    """GPU time in which hourly rent accrues."""
    energy: Millijoules


@dataclass(frozen=True, slots=True)
class UnpricedTime:
    """GPU time whose hardware had no price, stored until one comes.

    It lies in [start, end), inside one hour of one local day.
    """

    gpu: Gpu
    day: str
    """Like 2026-11-30."""
    start: Instant
    end: Instant
    usage: Mapping[OwnerPhase, GpuUse]
    number: int = 0
    """Its key in the ledger, 0 without one."""
    hourly_only: bool = False
    """Whether a price charges its hourly rent alone: the time lies between a boot and the first tick."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a tick inside one local day, one minute (of a long tick: one hour) and one set of prices."""

    start: Instant
    end: Instant
    month: str
    """Like 2026-11, of the configured time zone."""
    day: str
    """Like 2026-11-30, of the configured time zone."""
    accrued: Picodollars
    """What the GPUs accrued in it, summed before anything was split."""
    money: tuple[MoneyPosting, ...]
    gpu_times: tuple[GpuTimePosting, ...]
    unpriced: tuple[UnpricedTime, ...] = ()
    """Time of GPUs without a price."""
    down: Nanoseconds = 0
    """Time of the segment that costs no hourly rent."""


def up_times(segments: Sequence[Segment]) -> list[Nanoseconds]:
    """How long the host was up in each segment of a tick; where it never was, all of each."""
    up = [segment.end - segment.start - segment.down for segment in segments]
    return up if any(up) else [segment.down for segment in segments]


@dataclass(frozen=True, slots=True)
class LateCharges:
    """Charges of unpriced time that has a price now."""

    segments: tuple[Segment, ...] = ()
    """Segments of one GPU, whose time is not unpriced any more."""
    left: tuple[UnpricedTime, ...] = ()
    """The rest of each time that was charged from, also an empty one: it replaces the one of its number."""


@dataclass(frozen=True, slots=True)
class TokenPosting:
    """Tokens of an owner in one tick."""

    owner: CostOwner
    kind: TokenKind
    count: int
    since: Instant | None = None
    """When they began where that is not the tick's start: the last read before others failed, or a boot."""


@dataclass(frozen=True, slots=True)
class RequestPosting:
    """Requests of an owner in one tick: finished or preempted."""

    owner: CostOwner
    count: int


LatencyPart = Literal["lower", "upper", "total"]
"""Of observed latencies: those that met their objective, at least and at most, and all."""
LATENCY_PARTS: Final[tuple[LatencyPart, ...]] = ("lower", "upper", "total")


@dataclass(frozen=True, slots=True)
class LatencyPosting:
    """Observed latencies of a server's model in one tick. The owner is the server's own."""

    owner: CostOwner
    objective: Objective
    basis: LatencyBasis
    lower: int
    upper: int
    total: int

    def by_part(self) -> dict[LatencyPart, int]:
        """The counts by part: those that met their objective, at least and at most, and all."""
        return {"lower": self.lower, "upper": self.upper, "total": self.total}


@dataclass(frozen=True, slots=True)
class HostedEquivalent:
    """Cost of an owner's tokens of one tick at a hosted offer, at its price of that moment."""

    owner: CostOwner
    reference: str
    amount: Picodollars


def equivalents(
    tokens: Iterable[TokenPosting], offers: Iterable[HostedPrice]
) -> tuple[HostedEquivalent, ...]:
    """Hosted cost of each owner's tokens at each offer that covers it, also where it is zero.

    An upper bound of a hosted bill: the engine's own tokenizer, its own cache hits, and prompts that vLLM
    counts once for each of n answers.
    """
    by_owner: dict[CostOwner, Counter[TokenKind]] = {}
    for posting in tokens:
        by_owner.setdefault(posting.owner, Counter())[posting.kind] += posting.count
    return tuple(
        HostedEquivalent(owner, offer.reference, equivalent(offer, counts))
        for owner, counts in by_owner.items()
        for offer in offers
        if offer.covers(owner.server, owner.model)
    )


@dataclass(frozen=True, slots=True)
class EnergyPosting:
    """Energy that one GPU used in one tick."""

    gpu: Gpu
    energy: Millijoules


class MemoryPosting(NamedTuple):
    """GPU memory that a server holds on one GPU at a tick's end. No sum includes it."""

    gpu: Gpu
    server: ServerKey
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Postings:
    """Everything that one tick adds."""

    end: Instant
    """The tick's wall time, at which tokens and energy are posted."""
    segments: tuple[Segment, ...] = ()
    tokens: tuple[TokenPosting, ...] = ()
    requests: tuple[RequestPosting, ...] = ()
    """Requests that finished."""
    energy: tuple[EnergyPosting, ...] = ()
    owners: tuple[CostOwner, ...] = ()
    """Owners of this tick, also those with nothing to post: a series starts at zero."""
    implausible: tuple[tuple[str, int], ...] = ()
    """Implausible readings of this tick, as (reason, count)."""
    equivalents: tuple[HostedEquivalent, ...] = ()
    """Not money: no sum of the ledger includes them."""
    preemptions: tuple[RequestPosting, ...] = ()
    """Requests that were preempted."""
    day: str = ""
    """The local day of tokens: the one of the tick's last instant."""
    zone: str = ""
    """The IANA name of the time zone of days and months; empty where it is not known."""
    late: LateCharges = LateCharges()
    latencies: tuple[LatencyPosting, ...] = ()
    memory: tuple[MemoryPosting, ...] = ()
    """GPU memory of servers whose memory is known."""
