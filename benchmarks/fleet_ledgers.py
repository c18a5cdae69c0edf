"""A fleet of a thousand ledgers for a month: as files, as samples in Prometheus, and reckoned apart.

One host in five is metered for the whole month, the others are spot nodes of three hours. Ten hosts are
metered through the ledger's own code. Each file is then copied, with another id, other GPUs and another
amount, up to the number of ledgers.
"""

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from exporter.cost.postings import (
    PHASES,
    CostOwner,
    GpuTimePosting,
    MoneyPosting,
    OwnerPhase,
    Postings,
    Segment,
    TokenPosting,
)
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.readings import KINDS, Gpu
from exporter.tariff.period import Period
from exporter.tariff.rate import PriceBasis
from exporter.units import (
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_SECOND,
    PICODOLLARS_PER_DOLLAR,
    Instant,
    Picodollars,
)

HOUR: Final = 3600
"""Seconds."""

GPUS: Final = 8
SERVERS: Final = 8
BUILT: Final = 10
"""Hosts that are metered, two of them for the whole month."""

SPOT_OF: Final = 5
"""One host in so many is no spot node."""

SPOT_HOURS: Final = 3
CLUSTERS: Final = 4
BASES: Final[tuple[tuple[str, PriceBasis], ...]] = (("rent", "configured"), ("energy", "estimate"))

OWNERS: Final = tuple(
    CostOwner(f"product-{n % 5}", f"team-{n % 3}", "llm", f"server-{n}", f"model-{n % 4}")
    for n in range(SERVERS)
)

Cell = tuple[str, str, PriceBasis]
"""Product, team and price basis."""

Sample = tuple[str, float, int]
"""Series, value, and seconds since the epoch."""


@dataclass
class StandingClock:
    """A clock that a benchmark moves."""

    now: Instant

    def elapsed(self) -> int:
        """Nanoseconds."""
        return self.now

    def wall(self) -> int:
        """Nanoseconds since 1970."""
        return self.now

    def wait(self, _stop: object, _duration: int) -> bool:
        """Wait for nothing."""
        return True


@dataclass(frozen=True)
class FleetLedger:
    """One ledger on paper. Its number decides when it is metered, and what its month comes to."""

    month: str
    number: int

    @property
    def id(self) -> str:
        """As ledgers have it."""
        return f"00000000-0000-4000-8000-{self.number:012d}"

    @property
    def node(self) -> str:
        """The name of the host."""
        return f"host-{self.number:05d}"

    @property
    def cluster(self) -> str:
        """The name of its cluster."""
        return f"cluster-{self.number % CLUSTERS}"

    @property
    def model(self) -> int:
        """Number of the host that is metered in its place."""
        return self.number % BUILT

    @property
    def spot(self) -> bool:
        """Whether it is a spot node."""
        return self.model % SPOT_OF != 0

    @property
    def start(self) -> Instant:
        """Of the month, in UTC."""
        return Period.named(self.month).bounds(ZoneInfo("UTC"))[0]

    @property
    def hours(self) -> range:
        """Hours of the month in which it is metered."""
        start, end = Period.named(self.month).bounds(ZoneInfo("UTC"))
        length = (end - start) // NANOSECONDS_PER_HOUR
        if not self.spot:
            return range(length)
        first = self.model * 37 % (length - SPOT_HOURS)
        return range(first, first + SPOT_HOURS)

    def posting(self, hour: int) -> Picodollars:
        """Amount of each posting of an hour: one for each GPU, component and phase."""
        return 10**9 + hour * 7 + self.model

    @property
    def dollars(self) -> Fraction:
        """Its month, reckoned without the ledger's code: a sum over hours in closed form.

        A copy has one picodollar more for each number.
        """
        first, last, count = self.hours[0], self.hours[-1], len(self.hours)
        posted = count * (10**9 + self.model) + 7 * Fraction((first + last) * count, 2)
        return (GPUS * len(BASES) * len(PHASES) * posted + self.number) / PICODOLLARS_PER_DOLLAR

    @property
    def cells(self) -> dict[Cell, Fraction]:
        """Its month by product, team and price basis: owners and bases have equal parts."""
        cells: dict[Cell, Fraction] = {}
        for owner in OWNERS:
            for _component, basis in BASES:
                key = owner.product, owner.team, basis
                cells[key] = cells.get(key, Fraction()) + self.dollars / len(OWNERS) / len(BASES)
        return cells


def fleet(month: str, count: int) -> tuple[FleetLedger, ...]:
    """So many ledgers."""
    return tuple(FleetLedger(month, number) for number in range(count))


def write_ledgers(folder: Path, ledgers: Iterable[FleetLedger]) -> None:
    """Write the file of each ledger into a folder of its own."""
    with tempfile.TemporaryDirectory() as made:
        files: dict[int, Path] = {}
        for ledger in ledgers:
            if ledger.model not in files:
                files[ledger.model] = Path(made) / f"{ledger.model}.db"
                _meter(files[ledger.model], FleetLedger(ledger.month, ledger.model))
            host = folder / ledger.node
            host.mkdir()
            _vary(files[ledger.model], host / "ledger.db", ledger)


def _meter(path: Path, host: FleetLedger) -> None:
    """Meter a host through the ledger's own code, an hour at a time."""
    clock = StandingClock(host.start)
    ledger = Ledger.open(path, clock)
    gpus = [Gpu(f"GPU-{host.number:08x}-{slot:04d}", "NVIDIA H100 80GB HBM3") for slot in range(GPUS)]
    allocations = tuple(zip(gpus, OWNERS, strict=True))
    posted = 0
    for hour in host.hours:
        start = host.start + hour * NANOSECONDS_PER_HOUR
        day = datetime.fromtimestamp(start // NANOSECONDS_PER_SECOND, UTC).strftime("%Y-%m-%d")
        money = tuple(
            MoneyPosting(gpu, component, basis, OwnerPhase(owner, phase), host.posting(hour))
            for gpu, owner in allocations
            for component, basis in BASES
            for phase in PHASES
        )
        times = tuple(
            GpuTimePosting(
                gpu,
                OwnerPhase(owner, phase),
                NANOSECONDS_PER_HOUR // len(PHASES),
                chargeable=NANOSECONDS_PER_HOUR // len(PHASES),
            )
            for gpu, owner in allocations
            for phase in PHASES
        )
        accrued = sum(entry.amount for entry in money)
        posted += accrued
        clock.now = start + NANOSECONDS_PER_HOUR
        segment = Segment(start, clock.now, day[:7], day, accrued, money, times)
        tokens = tuple(TokenPosting(owner, kind, 1000) for owner in OWNERS for kind in KINDS)
        state = State(wall=clock.now, accrued=posted)
        ledger.post(Postings(clock.now, (segment,), tokens, owners=OWNERS, day=day), state)
    ledger.close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('timezone', 'UTC')")


def _vary(metered: Path, path: Path, ledger: FleetLedger) -> None:
    """Copy a file as the ledger of another host, with its picodollars more in all families alike."""
    shutil.copy(metered, path)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("UPDATE meta SET value = ? WHERE key = 'ledger'", (ledger.id,))
        connection.execute(
            "UPDATE label SET text = 'GPU-' || ? || substr(text, 13) WHERE text LIKE 'GPU-%'",
            (f"{ledger.number:08d}",),
        )
    add_picodollars(path, ledger.number)


def add_picodollars(path: Path, amount: Picodollars) -> None:
    """Add money to the first cost of a ledger's month, in all families alike."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        for name in ("daily_cost", "daily_server_cost", "daily_gpu_cost", "months"):
            pragma = connection.execute(f"PRAGMA table_info({name})")
            keys = ", ".join(column for _, column, _, _, _, rank in pragma if rank)
            first = f"SELECT {keys} FROM {name} ORDER BY {keys} LIMIT 1"  # noqa: S608 - constants
            connection.execute(
                f"UPDATE {name} SET picodollars = picodollars + ? WHERE ({keys}) = ({first})",  # noqa: S608
                (amount,),
            )


def samples(ledgers: Iterable[FleetLedger], now: int) -> Iterator[Sample]:
    """What the rules of clusters and fleet have recorded of the same month, until now in seconds.

    Each ledger was seen twice an hour, and the memory of a month is recorded to this day.
    """
    end = 0
    for ledger in ledgers:
        month_start, month_end = (
            at // NANOSECONDS_PER_SECOND for at in Period.named(ledger.month).bounds(ZoneInfo("UTC"))
        )
        if not end:
            end = month_end
            for number in range(CLUSTERS):
                labels = f'cluster="cluster-{number}",month="{ledger.month}"'
                yield f"inference:month_end_timestamp_seconds:cluster{{{labels}}}", float(end), end - 600
                yield f"inference:month_end_timestamp_seconds_hourly{{{labels}}}", float(end), now - 600
        for (product, team, basis), dollars in ledger.cells.items():
            labels = (
                f'ledger="{ledger.id}",month="{ledger.month}",price_basis="{basis}",'
                f'product="{product}",team="{team}"'
            )
            for at in (now - HOUR, now - 300):
                yield f"inference:month_to_date_dollars:posting_hourly{{{labels}}}", float(dollars), at
        name = (
            f'cluster="{ledger.cluster}",instance="{ledger.node}:9844",ledger="{ledger.id}",'
            f'node="{ledger.node}"'
        )
        begin = month_start + ledger.hours[0] * HOUR
        until = month_start + (ledger.hours[-1] + 1) * HOUR
        if not ledger.spot:
            until = min(now, end + 2 * HOUR)
        for at in range(begin + 300, until + 1, HOUR // 2):
            yield f"inference:ledger_seen_timestamp_seconds{{{name}}}", float(at - 10), at
