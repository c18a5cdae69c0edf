"""Savings: one finding, its evidence, and what could not be judged. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

from exporter.readings import ServerKey
from exporter.tariff.hosted import HostedPrice
from exporter.tariff.rate import PriceBasis
from exporter.tariff.terms import matches
from exporter.units import Instant, Nanoseconds, Picodollars

SavingKind = Literal["unallocated", "deserted", "consolidation", "schedule", "hosted", "gpu_model"]
SAVING_KINDS: Final[tuple[SavingKind, ...]] = get_args(SavingKind)
"""Kinds of savings, in the order in which they take GPU time; `kinds` has what each is."""

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
"""What is missing for a judgment; `finance.options.advice_report` has a sentence for each."""


@dataclass(frozen=True, slots=True)
class IgnoredSaving:
    """A kind of finding that is not counted before `until`, with the reason."""

    kind: SavingKind
    reason: str
    until: Instant
    until_text: str = ""
    server: str | None = None
    """A pattern of a server's name, or of NAMESPACE/NAME; `None` matches any."""

    def covers(self, kind: SavingKind, server: ServerKey) -> bool:
        """Whether it mutes a finding."""
        return kind == self.kind and any(matches(self.server, name) for name in (server.server, server.name))


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
        current = (ignored for ignored in self.ignored if self.now < ignored.until)
        return next((ignored for ignored in current if ignored.covers(kind, server)), None)


class Rest(NamedTuple):
    """Hours of the week in a row: hour 0 begins on Monday at midnight, or so many minutes past it."""

    start: int
    length: int
    minute: int = 0
    """Hours of a ledger are those of UTC, and begin at another minute in some time zones."""


class FewerGpus(NamedTuple):
    """Evidence that servers fit on GPUs of others on their host."""

    servers: tuple[ServerKey, ...]
    """Servers that move."""
    onto: tuple[ServerKey, ...]
    """Servers onto whose GPUs they move."""
    busiest: Nanoseconds
    """The most busy time of one of those GPUs in an hour, all its servers together."""
    memory_bytes: int
    """The most memory on one of those GPUs: the sum of its servers' peaks."""
    memory_total_bytes: int
    """All memory of that GPU."""
    borrowed: Nanoseconds
    """Claimed time that is idle time of `onto`: the servers that move work in it."""


class CheaperGpus(NamedTuple):
    """Evidence that free GPUs of a cheaper kind suffice."""

    gpu_model: str
    gpus: int
    hosts: tuple[str, ...]
    """Hosts of the free GPUs."""
    per_hour: Picodollars
    """Price of an hour of the free GPUs together."""
    model: str
    host: str
    server: ServerKey
    """The server on `host` that serves the model on that kind of GPU."""
    tokens: int
    """Tokens that it served in `busy` GPU time."""
    busy: Nanoseconds
    need: Nanoseconds
    """GPU time that the busiest hour would take on that kind."""


@dataclass(frozen=True, slots=True)
class Saving:
    """One finding."""

    kind: SavingKind
    host: str
    server: ServerKey
    claimed: Nanoseconds
    """GPU time that it claims: none of it belongs to another finding."""
    amount: Picodollars
    """The price of that time, or a price difference."""
    gpus: int
    """GPUs that it frees."""
    gpu_models: tuple[str, ...]
    window_hours: int
    """Hours up to now that it rests on: since the GPUs are free, the server deserted, or its first hour."""
    per_month: Picodollars = 0
    """The amount in a month; with the obstacle, 0 and empty until all findings are there."""
    obstacle: Obstacle = ""
    silent_hours: int = 0
    """Hours without a token up to now, of a deserted server."""
    rests: tuple[Rest, ...] = ()
    """Of a schedule."""
    reference: str = ""
    """The hosted offer."""
    offer_amount: Picodollars = 0
    tokens: int = 0
    """Tokens that cost `offer_amount` there."""
    price_basis: PriceBasis | None = None
    """The basis of the least sure of its prices."""
    ignored: IgnoredSaving | None = None
    """The entry of the configuration that mutes it."""
    fewer: FewerGpus | None = None
    """Evidence of a consolidation."""
    cheaper: CheaperGpus | None = None
    """Evidence of a cheaper kind of GPU."""

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
    """Findings, the largest first, and what could not be judged."""

    savings: tuple[Saving, ...] = ()
    lacks: tuple[Lack, ...] = ()
    idle: Nanoseconds = 0
    """Idle and unallocated GPU time of the window, all hosts together."""

    @property
    def counted(self) -> tuple[Saving, ...]:
        """Findings that are not muted."""
        return tuple(saving for saving in self.savings if saving.ignored is None)


LISTED: Final = 3


def names(servers: Sequence[ServerKey]) -> str:
    """Servers in a sentence: the first ones, and how many more."""
    listed = ", ".join(key.name for key in servers[:LISTED])
    return f"{listed} and {len(servers) - LISTED} more" if len(servers) > LISTED else listed
