"""A fleet of two months: its plan, sums of the plan in rationals, and ledgers by the ledger's own code."""

import contextlib
import io
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Literal

from exporter.cli.adjust import AdjustFlags, adjust
from exporter.cost.postings import (
    UNALLOCATED,
    UNASSIGNED,
    CostOwner,
    GpuTimePosting,
    LateCharges,
    MoneyPosting,
    OwnerPhase,
    Phase,
    Postings,
    Segment,
    TokenPosting,
)
from exporter.cost.state import State
from exporter.readings import Gpu
from tests.finance.fleet.ledger_files import MeteredHost
from tests.kit.units import HOUR, SECOND

SEPTEMBER, OCTOBER = date(2026, 9, 1), date(2026, 10, 1)
END = date(2026, 11, 1)
MONTHS = ("2026-09", "2026-10")

CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
CARE = CHAT._replace(product="support", team="care")
SEARCH = CostOwner("search", "ranking", "llm", "embed", "bge")
BATCH = CostOwner("batch", "data", "jobs", "batch-70b", "llama-70b")
NO_ONE = CostOwner(UNASSIGNED, UNASSIGNED, "", UNALLOCATED, "")

Component = Literal["rent", "staff"]


@dataclass(frozen=True)
class Usage:
    """A GPU that an owner has for whole days, and dollars an hour of it.

    `hours` of each day are metered, `idle` of them idle. `priced_late` is the number of the first days whose
    rent was posted on 20 October; the other days of such a usage have no price yet. `None`: all had one.
    """

    host: str
    gpu: str
    owner: CostOwner
    first: date
    days: int
    rent: Fraction
    staff: Fraction
    basis: str = "configured"
    hours: int = 24
    idle: int = 5
    tokens: int = 0
    priced_late: int | None = None

    @property
    def dates(self) -> tuple[date, ...]:
        """Its days."""
        return tuple(self.first + timedelta(number) for number in range(self.days))

    def phases(self) -> Iterator[tuple[Phase, int]]:
        """Hours of a day by phase."""
        yield "decode", self.hours - self.idle
        yield "idle", self.idle

    def paid_days(self, month: str, *, late: bool) -> int:
        """Days of a month whose rent is posted, with or without what came late."""
        paid = self.dates if self.priced_late is None else self.dates[: self.priced_late if late else 0]
        return sum(f"{day:%Y-%m}" == month for day in paid)

    def days_of(self, month: str) -> int:
        """Days in a month."""
        return sum(f"{day:%Y-%m}" == month for day in self.dates)


def _usage(
    host: str,
    gpu: str,
    owner: CostOwner,
    first: date,
    days: int,
    rent: str,
    staff: str = "0.05",
    **more: object,
) -> Usage:
    return Usage(host, gpu, owner, first, days, Fraction(rent), Fraction(staff), **more)  # type: ignore[arg-type]


def _day(number: int) -> date:
    return OCTOBER + timedelta(number - 1)


PLAN: tuple[Usage, ...] = (
    # Its server is of another product from 16 October on, and another GPU has come.
    _usage("gpu-1", "GPU-1a", CHAT, SEPTEMBER, 45, "2.345678901234", tokens=7_000_003),
    _usage("gpu-1", "GPU-1a", CARE, _day(16), 16, "2.445678901237", tokens=9_100_001),
    _usage("gpu-1", "GPU-1b", CHAT, OCTOBER, 15, "2.345678901234", tokens=6_500_000),
    _usage("gpu-1", "GPU-1b", CARE, _day(16), 16, "2.445678901237", tokens=8_000_000),
    # A GPU without a server serves from October on.
    _usage("gpu-2", "GPU-2a", SEARCH, SEPTEMBER, 61, "1.999999999999", "0.031250000001", tokens=31),
    _usage("gpu-2", "GPU-2b", NO_ONE, SEPTEMBER, 30, "1.999999999999", "0.031250000001", idle=24),
    _usage("gpu-2", "GPU-2b", SEARCH, OCTOBER, 31, "1.999999999999", "0.031250000001", idle=2, tokens=90_001),
    # Days without a price, of which some get one.
    _usage("gpu-3", "GPU-3", BATCH, SEPTEMBER, 28, "4.1", basis="catalogue", tokens=500),
    _usage("gpu-3", "GPU-3", BATCH, date(2026, 9, 29), 2, "4.100000000007", basis="catalogue", priced_late=1),
    _usage("gpu-3", "GPU-3", BATCH, OCTOBER, 5, "4.100000000007", basis="catalogue", priced_late=3),
    _usage("gpu-3", "GPU-3", BATCH, _day(6), 26, "4.100000000007", basis="catalogue", tokens=700),
    # Its disk breaks on 8 October, and it goes on with another ledger.
    _usage("gpu-4-old", "GPU-4", SEARCH, SEPTEMBER, 37, "2.2", tokens=40_000),
    _usage("gpu-4-new", "GPU-4", SEARCH, _day(8), 24, "2.2", tokens=50_000),
    # It is new.
    _usage("gpu-5", "GPU-5", BATCH, _day(10), 22, "3.000000000001", basis="catalogue", idle=0, tokens=80_000),
    # Spot nodes of three hours.
    _usage(
        "spot-1", "GPU-6", CHAT, date(2026, 9, 10), 1, "0.7", "0", basis="estimate", hours=3, idle=1, tokens=9
    ),
    _usage("spot-2", "GPU-7", CHAT, _day(5), 1, "0.7", "0", basis="estimate", hours=3, idle=1, tokens=9),
    _usage("spot-3", "GPU-8", CHAT, _day(21), 1, "0.71", "0", basis="estimate", hours=3, idle=3),
    # A cluster that is lost on 12 October.
    _usage("west/west-1", "GPU-9", CHAT, SEPTEMBER, 41, "1.75", tokens=1_000_000),
    _usage("west/west-2", "GPU-10", BATCH, SEPTEMBER, 41, "3.333333333333", tokens=123_456),
)
HOSTS = tuple(dict.fromkeys(usage.host for usage in PLAN))


@dataclass(frozen=True)
class Correction:
    """An adjustment as a person enters it."""

    host: str
    date: str
    product: str
    team: str
    dollars: str

    @property
    def amount(self) -> Fraction:
        """Its dollars."""
        return Fraction(self.dollars)


CORRECTIONS: tuple[Correction, ...] = (
    Correction("gpu-2", "2026-09-30", "search", "ranking", "-12.34"),
    Correction("gpu-1", "2026-09-15", "chat", "assistants", "0.01"),
    Correction("gpu-1", "2026-10-31", "support", "care", "4.25"),
)
"""They are posted on 1 November, when September is closed and October is not."""

CREDIT = Correction("gpu-2", "2026-10-10", "search", "ranking", "-3.21")
"""It comes when October is closed."""

Key = tuple[str, ...]
KeyOf = Callable[[Usage, Component, Phase], Key]


def reckoned(month: str, key: KeyOf, *, late: bool = True) -> dict[Key, Fraction]:
    """Dollars of a month by the plan, without corrections: days times hours times price."""
    sums: Counter[Key] = Counter()
    for usage in PLAN:
        for phase, hours in usage.phases():
            rent = usage.rent * hours * usage.paid_days(month, late=late)
            for component, dollars in (
                ("rent", rent),
                ("staff", usage.staff * hours * usage.days_of(month)),
            ):
                sums[key(usage, component, phase)] += dollars  # type: ignore[assignment, arg-type]
    return {each: Fraction(amount) for each, amount in sums.items() if amount}


def corrections(month: str, *later: Correction) -> list[Correction]:
    """Those of a month."""
    return [each for each in (*CORRECTIONS, *later) if each.date[:7] == month]


def picodollars(dollars: Fraction) -> int:
    """A whole number of them: the plan has no finer prices."""
    exact = dollars * 10**12
    assert exact.denominator == 1
    return exact.numerator


def instant(day: date) -> int:
    """The first instant of a day."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * SECOND


class StoryHost(MeteredHost):
    """A daemon that meters what the plan has of one host, day by day."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder / f"{name}.db")
        self.name = name
        self.usages = [usage for usage in PLAN if usage.host == name]

    def live(self, first: date, until: date) -> None:
        """Meter the days from one to before another."""
        for day in sorted({each for usage in self.usages for each in usage.dates if first <= each < until}):
            segment = self._segment(day, [usage for usage in self.usages if day in usage.dates])
            tokens = tuple(
                TokenPosting(usage.owner, "generation", usage.tokens)
                for usage in self.usages
                if day in usage.dates and usage.tokens
            )
            late = self._late() if day == _day(20) else ()
            self.clock.now = segment.end
            self.posted += segment.accrued + sum(each.accrued for each in late)
            self.ledger.post(
                Postings(segment.end, (segment,), tokens, day=segment.day, late=LateCharges(late)),
                State(wall=segment.end, accrued=self.posted),
            )

    def correct(self, each: Correction) -> None:
        """A person enters a correction, and the daemon posts it at its next tick."""
        self.clock.now = instant(END) + 12 * HOUR
        fields = (each.dollars, each.date, each.product, each.team, "invoice 4711")
        with contextlib.redirect_stdout(io.StringIO()):
            assert adjust(AdjustFlags(None, self.path, *fields), self.clock) == 0
        self.ledger.post(
            Postings(self.clock.now, day="2026-11-01"), State(wall=self.clock.now, accrued=self.posted)
        )

    def copy(self, file: Path) -> None:
        """Back up the ledger while it is written."""
        file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.execute("VACUUM INTO ?", (str(file),))

    def _segment(self, day: date, usages: list[Usage]) -> Segment:
        (hours,) = {usage.hours for usage in usages}
        money = [
            each
            for usage in usages
            for each in _money(usage, "staff", usage.staff)
            + (_money(usage, "rent", usage.rent) if usage.priced_late is None else [])
        ]
        times = [
            GpuTimePosting(
                Gpu(usage.gpu, "H100"),
                OwnerPhase(usage.owner, phase),
                part * HOUR,
                chargeable=part * HOUR,
                unpriced=usage.priced_late is not None,
            )
            for usage in usages
            for phase, part in usage.phases()
            if part
        ]
        return _segment(day, hours, money, times)

    def _late(self) -> tuple[Segment, ...]:
        """Rent of days that had no price."""
        return tuple(
            _segment(
                day,
                usage.hours,
                _money(usage, "rent", usage.rent),
                [
                    GpuTimePosting(
                        Gpu(usage.gpu, "H100"),
                        OwnerPhase(usage.owner, phase),
                        part * HOUR,
                        chargeable=0,
                    )
                    for phase, part in usage.phases()
                ],
            )
            for usage in self.usages
            for day in usage.dates[: usage.priced_late or 0]
        )


def _money(usage: Usage, component: Component, rate: Fraction) -> list[MoneyPosting]:
    basis = usage.basis if component == "rent" else "configured"
    return [
        MoneyPosting(
            Gpu(usage.gpu, "H100"),
            component,
            basis,  # type: ignore[arg-type]
            OwnerPhase(usage.owner, phase),
            picodollars(rate * hours),
        )
        for phase, hours in usage.phases()
        if rate and hours
    ]


def _segment(day: date, hours: int, money: list[MoneyPosting], times: list[GpuTimePosting]) -> Segment:
    accrued = sum(each.amount for each in money)
    start, name = instant(day), f"{day:%Y-%m-%d}"
    return Segment(start, start + hours * HOUR, name[:7], name, accrued, tuple(money), tuple(times))
