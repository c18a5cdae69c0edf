"""Findings of savings, and what could not be judged. Pure."""

from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from exporter.advice.hours import HostUsage, JudgedServer, gpu_models, least_sure
from exporter.cost.policy import IgnoredSaving, SavingKind
from exporter.frozen import dataclass, replace
from exporter.readings import ServerKey
from exporter.tariff.hosted import HostedPrice
from exporter.tariff.rate import PriceBasis
from exporter.units import NANOSECONDS_PER_HOUR, Instant, Nanoseconds, Picodollars

DIFFERENCES: Final[frozenset[SavingKind]] = frozenset({"hosted", "gpu_model"})
"""Kinds whose amount is a price difference."""

Obstacle = Literal["", "host", "owned", "lease", "unknown", "shared"]
"""Why a saving is capacity and not cash; empty for cash.

host: the price is that of a whole host, and others of its GPUs are in use.
shared: other servers hold the same GPU.
"""

LackReason = Literal[
    "history",
    "silent",
    "days",
    "weeks",
    "unpriced",
    "tokens",
    "partial",
    "memory",
    "offer",
    "capacity",
    "rate",
    "room",
]
"""What is missing for a judgment.

history: fewer than `LEAST_HOURS`, of the host or of a server that an offer covers. silent: the host stopped
reporting. weeks: fewer than `SCHEDULE_HOURS`, of the host or of servers.
days: fewer than `WEEK_HOURS`, for servers that may fit on fewer or cheaper GPUs.
memory: that of such servers is not known for so many hours.
unpriced: a GPU has no price now. tokens: a server is busy, and no token of it is known.
partial: others compute for the tokens of a server. offer: the date of an offer is not of the last year.
capacity: an offer costs less, and the server's GPUs cannot be given back.
rate: GPUs of a cheaper kind are there, and the server's model was not measured on them, or on a host of
several kinds without memory that tells which one it was on.
room: it was, and too few of them are free.
"""


@dataclass(frozen=True, slots=True)
class SavingsPolicy:
    """Everything besides usage that savings depend on."""

    now: Instant
    zone: ZoneInfo
    hours_per_month: Decimal
    offers: tuple[HostedPrice, ...] = ()
    ignored: tuple[IgnoredSaving, ...] = ()

    def ignored_by(self, kind: SavingKind, server: ServerKey) -> IgnoredSaving | None:
        """The entry that mutes a finding now, `None` without one."""
        for ignored in self.ignored:
            if self.now < ignored.until and ignored.covers(kind, server):
                return ignored
        return None


class Rest(NamedTuple):
    """Hours of the week in a row: hour 0 begins on Monday at midnight, or so many minutes past it.

    Hours of a ledger are those of UTC, and begin at another minute in some time zones.
    """

    start: int
    length: int
    minute: int = 0


class FewerGpus(NamedTuple):
    """Evidence that servers fit on GPUs of others on their host.

    `servers` move, `onto` the GPUs of these. `busiest` is the most busy time of one of those GPUs in an
    hour, all its servers together. `memory_bytes` is the most memory on one of them, the sum of peaks, and
    `memory_total_bytes` what that GPU has.
    `borrowed` is the part of the claimed time that is idle time of `onto`: what moves works there.
    """

    servers: tuple[ServerKey, ...]
    onto: tuple[ServerKey, ...]
    busiest: Nanoseconds
    memory_bytes: int
    memory_total_bytes: int
    borrowed: Nanoseconds


class CheaperGpus(NamedTuple):
    """Evidence that free GPUs of a cheaper kind suffice.

    `gpus` of `gpu_model` on `hosts`, at `per_hour` together. `server` on `host` serves the model on that
    kind: `tokens` in `busy` GPU time. `need` is the GPU time that the busiest hour would take there.
    """

    gpu_model: str
    gpus: int
    hosts: tuple[str, ...]
    per_hour: Picodollars
    model: str
    host: str
    server: ServerKey
    tokens: int
    busy: Nanoseconds
    need: Nanoseconds


@dataclass(frozen=True, slots=True)
class Saving:
    """One finding: `claimed` GPU time, its `amount`, and the same per month.

    `window_hours` are the hours up to now that it rests on: since the GPUs are free, the server deserted, or
    its first hour.
    `obstacle` is empty for cash. `gpus` are GPUs that it frees, and `gpu_models` their kinds.
    `silent_hours`: hours without a token up to now, of a deserted server. `rests`: of a schedule.
    `reference`, `offer_amount` and `tokens` are of a hosted offer; its amount is a price difference, and so
    is that of a `gpu_model`.
    `price_basis` is that of the least sure of its prices. `ignored` is the entry of the configuration that
    mutes it. `fewer` is of a consolidation, `cheaper` of a `gpu_model`.
    """

    kind: SavingKind
    host: str
    server: ServerKey
    claimed: Nanoseconds
    amount: Picodollars
    per_month: Picodollars
    obstacle: Obstacle
    gpus: int
    gpu_models: tuple[str, ...]
    window_hours: int
    silent_hours: int = 0
    rests: tuple[Rest, ...] = ()
    reference: str = ""
    offer_amount: Picodollars = 0
    tokens: int = 0
    price_basis: PriceBasis | None = None
    ignored: IgnoredSaving | None = None
    fewer: FewerGpus | None = None
    cheaper: CheaperGpus | None = None

    @property
    def cash(self) -> bool:
        """Whether the bill falls, else capacity for other work is gained."""
        return not self.obstacle

    @property
    def difference(self) -> Picodollars:
        """The part of the amount that is a price difference, beyond idle and unallocated time."""
        return self.amount if self.kind in DIFFERENCES else 0


class Lack(NamedTuple):
    """Something that could not be judged: a reason, and what it is about."""

    reason: LackReason
    host: str = ""
    subject: str = ""
    hours: int = 0


@dataclass(frozen=True, slots=True)
class Advice:
    """Findings, the largest first, and what could not be judged.

    `idle` is idle and unallocated GPU time of the window, all hosts together.
    """

    savings: tuple[Saving, ...] = ()
    lacks: tuple[Lack, ...] = ()
    idle: Nanoseconds = 0

    @property
    def counted(self) -> tuple[Saving, ...]:
        """Findings that are not muted."""
        return tuple(saving for saving in self.savings if saving.ignored is None)


def claim(
    kind: SavingKind, host: HostUsage, key: ServerKey, claimed: Nanoseconds, server: JudgedServer
) -> Saving:
    """A finding about all GPUs of a server, at the lowest of their prices, since its first hour."""
    gpus = server.gpus
    return Saving(
        kind,
        host.name,
        key,
        claimed,
        claimed * (gpus.per_hour or 0) // NANOSECONDS_PER_HOUR,
        0,
        "",
        len(gpus.gpus),
        gpu_models(gpus.gpus),
        server.age(host),
        price_basis=least_sure(gpu.price_basis for gpu in gpus.gpus),
    )


def muted(saving: Saving, policy: SavingsPolicy) -> Saving:
    """The finding, with the entry that mutes it."""
    return replace(saving, ignored=policy.ignored_by(saving.kind, saving.server))


def monthly(saving: Saving, policy: SavingsPolicy) -> Saving:
    """The finding, with its amount per month."""
    factor = Fraction(policy.hours_per_month) / saving.window_hours
    return replace(saving, per_month=int(saving.amount * factor))


LISTED: Final = 3


def names(servers: "tuple[ServerKey, ...] | list[ServerKey]") -> str:
    """Servers in a sentence: the first ones, and how many more."""
    listed = ", ".join(key.name for key in servers[:LISTED])
    return f"{listed} and {len(servers) - LISTED} more" if len(servers) > LISTED else listed
