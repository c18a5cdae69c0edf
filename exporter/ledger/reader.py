"""Readers of a ledger's file, opened read-only while a daemon may write it.

`LedgerReader` reads all that is served, `PeriodReader` the sums of one period: many ledgers in seconds.
"""

import os
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from zoneinfo import ZoneInfo

from exporter.config.problems import shown
from exporter.config.times import zone_named
from exporter.cost.money import add
from exporter.cost.state import State
from exporter.ledger import adjustments, contents, families, history, schema
from exporter.ledger.adjustments import PRICE_BASIS, Adjustment
from exporter.ledger.errors import DamagedError, LedgerError
from exporter.ledger.families import Family, ServerCost
from exporter.ledger.files import RUN_AS_DAEMON_USER, ledger_file
from exporter.ledger.history import FAMILIES, HistorySums, MonthRecord, PeakMemory
from exporter.ledger.schema import Names, day_number, references
from exporter.readings import UNSEEN
from exporter.report import CommittedTotals, MonthKey
from exporter.tariff.period import Period
from exporter.units import Instant, Nanoseconds, Picodollars, hour_of

T = TypeVar("T")


class ReadOnlyLedger:
    """A ledger that is only read: all answers are as of the commit before it was opened.

    They stay so while the daemon writes or moves the file aside. The writer never waits for a reader, but its
    log grows until the reader is closed. Every method raises `LedgerError` when the file cannot be read.
    """

    _tables: frozenset[str] = frozenset()
    """Tables that are checked for damage; empty for all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # A file without a log is not in use: SQLite takes no lock then, and would not notice a change.
        self._unlogged = None if os.path.exists(f"{path}-wal") else _stamp(path)
        with self._failures():
            # Read-only, SQLite would still create the files of a log, owned by this user.
            mode = "?mode=ro" if self._unlogged is None else "?mode=ro&immutable=1"
            self._connection = schema.connect(path.absolute().as_uri() + mode)
            try:
                self._connection.execute("BEGIN")
                contents.check(self._connection, path, self._tables)
            except BaseException:
                self._connection.close()
                raise

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the ledger of a daemon that may be running.

        Raises:
            LedgerError: there is no ledger that can be read.
        """
        return cls(ledger_file(path))

    def _zone_named(self, name: str) -> ZoneInfo | None:
        """Time zone of the last tick; `None` before the first."""
        if not name:
            return None
        zone = zone_named(name)
        if zone is None:
            raise LedgerError(
                f"{self._path}: its days are of the time zone {shown(name)}, which this machine does "
                "not know: install the IANA database (tzdata)"
            )
        return zone

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, read: Callable[[sqlite3.Connection], T]) -> T:
        with self._failures():
            return read(self._connection)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            with contents.failures(self._path):
                yield
            self._check_unchanged()
        except DamagedError as error:
            self._check_unchanged()
            raise LedgerError(f"{self._path} is no ledger that can be read: {error}") from error
        except sqlite3.Error as error:
            raise LedgerError(f"{self._path} cannot be read ({error}): {RUN_AS_DAEMON_USER}") from error

    def _check_unchanged(self) -> None:
        if self._unlogged is not None and _stamp(self._path) != self._unlogged:
            raise LedgerError(f"{self._path} was changed while it was read: ask again")


class LedgerReader(ReadOnlyLedger):
    """A ledger with everything that is served of it."""

    id: str
    dropped: tuple[str, ...]
    """Sentences about marks that could not be read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._contents = self._answer(contents.read)
        except BaseException:
            self.close()
            raise
        self.id = self._contents.ledger
        self.dropped = self._contents.dropped

    def zone(self) -> ZoneInfo | None:
        """Time zone of the last tick; `None` before the first."""
        return self._zone_named(self._contents.zone)

    def state(self) -> State:
        """State of the cost model."""
        return self._contents.state

    def totals(self, now: Instant, months: tuple[str, ...]) -> CommittedTotals:
        """All totals, with rows that are no longer in a scrape."""
        return contents.committed_totals(self._contents, now, months, None)

    def month(self, name: str) -> MonthRecord:
        """A calendar month like 2026-11, current or past."""
        return self._answer(lambda connection: history.read_month(connection, name))

    def waiting(self) -> int:
        """How many adjustments wait for the daemon."""
        return self._answer(adjustments.waiting)

    def adjustments(self, first: int, last: int) -> tuple[Adjustment, ...]:
        """Adjustments dated from the first to the last day, numbers like 20261031, posted or waiting."""

        def read(connection: sqlite3.Connection) -> tuple[Adjustment, ...]:
            with references():
                return adjustments.read(connection, Names(connection), first, last)

        return self._answer(read)

    def hours(self, first: int, last: int, families: Collection[str] = FAMILIES) -> Mapping[int, HistorySums]:
        """These families of history by hour since 1970, from first to last. Hours have no `covered`."""
        return self._answer(
            lambda connection: history.read_history(connection, "hourly", first, last, families)
        )

    def memory(self, first: int, last: int) -> PeakMemory:
        """Peak GPU memory of servers by hour since 1970, from the first to the last, where it was read."""
        return self._answer(lambda connection: history.read_peaks(connection, first, last))

    def days(self, first: int, last: int) -> Mapping[int, HistorySums]:
        """History by local day, a number like 20261130, from the first to the last."""
        return self._answer(lambda connection: history.read_history(connection, "daily", first, last))

    def covered_hours(self, first: int, last: int) -> dict[int, Nanoseconds]:
        """Wall time that ticks and gaps covered, by hour since 1970, from the first to the last."""
        hours = self._contents.totals.hours
        return {
            hour: sums.covered[()]
            for hour, sums in sorted(hours.items())
            if sums.covered and first <= hour <= last
        }

    def covered(self, first: int, last: int) -> Nanoseconds:
        """Wall time that ticks and gaps covered in the hours (since 1970) from the first to the last."""
        return sum(self.covered_hours(first, last).values())


_TABLES: Final = frozenset(
    {"meta", "label", "owner", "gpu", "months", "adjustment", "first_held", "hour_cost", "hour_covered"}
    | {family.table for family in families.DAILY.values()}
)
"""Tables that are read here."""


@dataclass(frozen=True, slots=True)
class PeriodHeader:
    """The amounts of a period by product, team and price basis, and what identifies the ledger."""

    record: MonthRecord
    """The amounts, without sums. In a part of a month its cells are of days that history has."""
    commits: int
    zone: str
    """Time zone of the last tick, empty if no daemon wrote it."""
    first: Instant | None
    """Start of the first metered time."""
    last: Instant | None
    """End of the last tick."""
    gpus: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """First and last metered day of each GPU in the period, numbers like 20261130, by UUID."""
    host: str = ""
    """Name of the host, empty if no daemon wrote it."""
    rate: Fraction | None = None
    """Cost of a nanosecond of the last hour that has a tick."""
    charges_late: bool = False
    """Whether the last tick charged unpriced time whose price came: the next ones go on with it."""
    host_end: Instant | None = None
    """When the host's cloud was to end it, by its notice at the last tick; `None` without one."""


class PeriodReader(ReadOnlyLedger):
    """A ledger of which one period is read. Tables that are not read are not checked for damage."""

    _tables = _TABLES

    def header(self, period: Period) -> PeriodHeader:
        """The amounts of a period.

        Raises:
            LedgerError: the file cannot be read, or this machine does not know its time zone.
        """
        header = self._answer(partial(_header, period=period))
        self._zone_named(header.zone)
        return header

    def sums(self, period: Period) -> HistorySums:
        """The history of a period, added up.

        Raises:
            LedgerError: the file cannot be read, or its sums do not agree.
        """
        return self._answer(partial(_sums, period=period))

    def days(self, period: Period, families: Collection[str] = FAMILIES) -> Mapping[int, HistorySums]:
        """These families of the history of each day of a period, a number like 20261130."""
        first, last = _numbers(period)
        return self._answer(
            lambda connection: history.read_history(connection, "daily", first, last, families)
        )

    def hours(self, first: Instant, until: Instant) -> Mapping[int, HistorySums]:
        """The hours that begin between two instants, counted since 1970: those that are still kept."""
        first_hour = hour_of(first - 1) + 1
        last_hour = hour_of(until - 1)
        return self._answer(partial(_hours, first=first_hour, last=last_hour))

    def record(self, period: Period) -> MonthRecord:
        """Everything of a period."""
        record = self.header(period).record
        return replace(record, sums=self.sums(period), days=self.days(period))


class CheckedPeriodReader(PeriodReader):
    """A ledger that was checked for damage a moment ago, and is opened again."""

    _tables = frozenset({"meta"})


def _numbers(period: Period) -> tuple[int, int]:
    return day_number(period.first.isoformat()), day_number(period.last.isoformat())


def _header(connection: sqlite3.Connection, *, period: Period) -> PeriodHeader:
    meta = schema.meta_of(connection)
    ledger = meta.get("ledger")
    zone = meta.get("timezone")
    host = meta.get("host")
    if not isinstance(ledger, str):
        raise DamagedError("its id is missing")
    with references():
        names = Names(connection)
        posted = history.read_months(connection, names)
        adjusted = adjustments.read(connection, names, *_numbers(period))
        months = history.months(connection, posted, adjusted)
        gpus: dict[str, tuple[int, int]] = {}
        for key, first, last in connection.execute(_GPU_DAYS, _numbers(period)):
            uuid = names.gpu(key).uuid
            if uuid != UNSEEN:
                gpus[uuid] = first, last
        undated = 0
        if period.whole_months:
            cells = {cell: amount for cell, amount in posted.items() if cell.month in period.months}
        else:
            cells = _cells(connection, names, period)
            for adjustment in adjusted:
                if adjustment.posted is not None:
                    cell = MonthKey(adjustment.product, adjustment.team, PRICE_BASIS, period.name)
                    add(cells, cell, adjustment.amount)
            undated = _undated(connection, names, posted, period)
    if months.intersection(period.months):
        months.add(period.name)
    committed = _integer(meta, "committed")
    # A clock that was ahead does not count.
    begun = [_integer(meta, "begun"), *(at for (at,) in connection.execute("SELECT instant FROM first_held"))]
    metered = [at for at in begun if at is not None and (committed is None or at <= committed)]
    return PeriodHeader(
        record=MonthRecord(
            ledger=ledger,
            last_commit=committed,
            month=period.name,
            months=tuple(sorted(months)),
            cells=cells,
            sums=None,
            adjustments=adjusted,
            undated=undated,
        ),
        commits=_integer(meta, "commits") or 0,
        zone=zone if isinstance(zone, str) else "",
        host=host if isinstance(host, str) else "",
        first=min(metered, default=None),
        last=_integer(meta, "wall") or committed,
        gpus=gpus,
        rate=_rate(connection),
        charges_late=meta.get("late_charge") == meta.get("wall", 0),
        host_end=_integer(meta, "host_end") or None,
    )


def _hours(connection: sqlite3.Connection, *, first: int, last: int) -> Mapping[int, HistorySums]:
    hours = history.read_history(connection, "hourly", first, last)
    covered = "SELECT hour, nanoseconds FROM hour_covered WHERE hour BETWEEN ? AND ?"
    for hour, duration in connection.execute(covered, (first, last)):
        if hour in hours:
            hours[hour].covered[()] = duration
    return hours


def _rate(connection: sqlite3.Connection) -> Fraction | None:
    covered = connection.execute(
        "SELECT hour, nanoseconds FROM hour_covered WHERE nanoseconds > 0 ORDER BY hour DESC LIMIT 1"
    ).fetchone()
    if covered is None:
        return None
    hour, duration = covered
    (cost,) = connection.execute("SELECT sum(picodollars) FROM hour_cost WHERE hour = ?", (hour,)).fetchone()
    return Fraction(cost or 0, duration)


_GPU_DAYS: Final = "SELECT gpu, min(day), max(day) FROM daily_gpu_held WHERE day BETWEEN ? AND ? GROUP BY gpu"


def _integer(meta: Mapping[str, object], key: str) -> int | None:
    value = meta.get(key)
    if value is None or isinstance(value, int):
        return value
    raise DamagedError(f"its {key} is no number")


def _cells(connection: sqlite3.Connection, names: Names, period: Period) -> dict[MonthKey, Picodollars]:
    """Amounts of a part of a month, which only the history tells from the rest."""
    cells: dict[MonthKey, Picodollars] = {}
    costs: dict[ServerCost, Picodollars] = _added(
        connection, names, families.DAILY["server_cost"], _numbers(period)
    )
    for (owner, _component, basis), amount in costs.items():
        add(cells, MonthKey(owner.product, owner.team, basis, period.name), amount)
    return cells


def _undated(
    connection: sqlite3.Connection, names: Names, posted: Mapping[MonthKey, Picodollars], period: Period
) -> Picodollars:
    """Money of the months of a period that no day has: its days expired."""
    undated = 0
    for month in map(Period.named, period.months):
        undated += sum(amount for cell, amount in posted.items() if cell.month == month.name)
        adjusted = adjustments.read(connection, names, *_numbers(month))
        undated -= sum(adjustment.amount for adjustment in adjusted if adjustment.posted is not None)
        undated -= sum(_cells(connection, names, month).values())
    return undated


def _sums(connection: sqlite3.Connection, *, period: Period) -> HistorySums:
    days = _numbers(period)
    with references():
        names = Names(connection)
        sums = HistorySums(
            **{name: _added(connection, names, families.DAILY[name], days) for name in FAMILIES}
        )
    totals = {
        "cost": sum(sums.cost.values()),
        "server_cost": sum(sums.server_cost.values()),
        "gpu_cost": sum(sums.gpu_cost.values()),
    }
    if len(set(totals.values())) > 1:
        listed = ", ".join(f"{amount} by {name}" for name, amount in totals.items())
        raise DamagedError(f"its sums of {period.name} differ, in picodollars: {listed}")
    return sums


def _added(
    connection: sqlite3.Connection, names: Names, family: Family, days: tuple[int, int]
) -> dict[Any, int]:
    """Values of a family by key, added up from the first to the last day."""
    columns = ", ".join(family.key)
    value = family.value
    # In two halves: a sum of days may pass what one number of SQLite holds.
    statement = (
        f"SELECT sum({value} >> 32), sum({value} & 4294967295){f', {columns}' if columns else ''}"  # noqa: S608 - constants
        f" FROM {family.table} WHERE day BETWEEN ? AND ?{f' GROUP BY {columns}' if columns else ''}"
    )
    key_of = names.keys_of(family)
    return {
        key_of(row[2:]): (row[0] << 32) + row[1]
        for row in connection.execute(statement, days)
        if row[0] is not None  # the sum of no rows
    }


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Inode, size and time of a file, which change with each write; `None` without a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
