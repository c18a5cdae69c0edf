"""The sums of one period of a ledger, and nothing else of it: many ledgers are read in seconds."""

import marshal
import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from typing import Any, Final

from exporter.cost.money import add
from exporter.ledger import adjustments, contents, families, history, schema
from exporter.ledger.adjustments import PRICE_BASIS
from exporter.ledger.errors import DamagedError
from exporter.ledger.families import Family
from exporter.ledger.history import FAMILIES, HistorySums, MonthRecord
from exporter.ledger.read_only import ReadOnlyLedger
from exporter.ledger.schema import Names, day_number, references
from exporter.readings import UNSEEN
from exporter.report import MonthKey
from exporter.tariff.period import Period
from exporter.units import NANOSECONDS_PER_HOUR, Instant, Picodollars

_TABLES: Final = frozenset(
    {"meta", "label", "owner", "gpu", "months", "adjustment", "first_held", "hour_cost", "hour_covered"}
    | {family.table for family in families.DAILY.values()}
)
"""Tables that are read here."""


_IDENTITY: Final = frozenset({"meta"})


@dataclass(frozen=True, slots=True)
class PeriodHeader:
    """The amounts of a period by product, team and price basis, and what identifies the ledger.

    `record` has no sums. In a part of a month its cells are of days that history has.
    `zone` is the time zone of the last tick, and `host` the host's name; empty if no daemon wrote it.
    `rate` is the cost of a nanosecond of the last hour that has a tick. `charges_late`: the last tick charged
    unpriced time whose price came, and the next ones go on with it.
    `first` and `last` are the start of the first metered time and the end of the last tick. `gpus` are the
    first and the last metered day of each GPU in the period, numbers like 20261130, by UUID.
    """

    record: MonthRecord
    commits: int
    zone: str
    first: Instant | None
    last: Instant | None
    gpus: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    host: str = ""
    rate: Fraction | None = None
    charges_late: bool = False
    host_end: Instant | None = None
    """When the host's cloud was to end it, by its notice at the last tick; `None` without one."""


class PeriodReader(ReadOnlyLedger):
    """A ledger of which one period is read. Tables that are not read are not checked for damage."""

    def _check(self, connection: sqlite3.Connection) -> None:
        contents.check(connection, self._path, _TABLES)

    def header(self, period: Period) -> PeriodHeader:
        """The amounts of a period.

        Raises:
            LedgerError: the file cannot be read, or this machine does not know its time zone.
        """
        header = self._answer(partial(_header, period=period))
        self._zone_named(header.zone)
        return header

    def packed_sums(self, period: Period) -> bytes:
        """The history of a period, added up, for `unpacked`.

        It takes a fifth of the memory: the months of a fleet wait in this form.

        Raises:
            LedgerError: the file cannot be read, or its sums do not agree.
        """
        return self._answer(partial(_packed, period=period))

    def sums(self, period: Period) -> HistorySums:
        """The history of a period, added up.

        Raises:
            LedgerError: the file cannot be read, or its sums do not agree.
        """
        return self._answer(lambda connection: unpacked(_packed(connection, period=period)))

    def days(self, period: Period, families: Collection[str] = FAMILIES) -> Mapping[int, HistorySums]:
        """These families of the history of each day of a period, a number like 20261130."""
        first, last = _numbers(period)
        return self._answer(
            lambda connection: history.read_history(connection, "daily", first, last, families)
        )

    def hours(self, first: Instant, until: Instant) -> Mapping[int, HistorySums]:
        """The hours that begin between two instants, counted since 1970: those that are still kept."""
        first_hour, last_hour = -(-first // NANOSECONDS_PER_HOUR), (until - 1) // NANOSECONDS_PER_HOUR
        return self._answer(partial(_hours, first=first_hour, last=last_hour))

    def record(self, period: Period) -> MonthRecord:
        """Everything of a period."""
        record = self.header(period).record
        return replace(record, sums=self.sums(period), days=self.days(period))


class CheckedPeriodReader(PeriodReader):
    """A ledger that was checked for damage a moment ago, and is opened again."""

    def _check(self, connection: sqlite3.Connection) -> None:
        contents.check(connection, self._path, _IDENTITY)


def _numbers(period: Period) -> tuple[int, int]:
    return day_number(period.first.isoformat()), day_number(period.last.isoformat())


def _header(connection: sqlite3.Connection, *, period: Period) -> PeriodHeader:
    meta = schema.meta_of(connection)
    ledger, zone, host = meta.get("ledger"), meta.get("timezone"), meta.get("host")
    if not isinstance(ledger, str):
        raise DamagedError("its id is missing")
    with references():
        names = Names(connection)
        posted = history.read_months(connection, names)
        adjusted = adjustments.read(connection, names, *_numbers(period))
        months = history.months(connection, posted, adjusted)
        days = {names.gpu(key).uuid: (first, last) for key, first, last in _gpu_days(connection, period)}
        gpus = {uuid: between for uuid, between in days.items() if uuid != UNSEEN}
        undated = 0
        if period.whole_months:
            cells = {cell: amount for cell, amount in posted.items() if cell.month in period.months}
        else:
            cells = _cells(connection, names, period)
            for each in adjusted:
                if each.posted is not None:
                    add(cells, MonthKey(each.product, each.team, PRICE_BASIS, period.name), each.amount)
            undated = _undated(connection, names, posted, period)
    if months.intersection(period.months):
        months.add(period.name)
    return PeriodHeader(
        record=MonthRecord(
            ledger=ledger,
            last_commit=_integer(meta, "committed"),
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
        first=_first(connection, meta),
        last=_integer(meta, "wall") or _integer(meta, "committed"),
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


def _gpu_days(connection: sqlite3.Connection, period: Period) -> list[tuple[int, int, int]]:
    return connection.execute(
        "SELECT gpu, min(day), max(day) FROM daily_gpu_held WHERE day BETWEEN ? AND ? GROUP BY gpu",
        _numbers(period),
    ).fetchall()


def _integer(meta: Mapping[str, object], key: str) -> int | None:
    value = meta.get(key)
    if value is None or isinstance(value, int):
        return value
    raise DamagedError(f"its {key} is no number")


def _first(connection: sqlite3.Connection, meta: Mapping[str, object]) -> Instant | None:
    """Start of the first metered time. A clock that was ahead does not count."""
    begun, committed = _integer(meta, "begun"), _integer(meta, "committed")
    instants = [begun] if begun is not None else []
    instants += [instant for (instant,) in connection.execute("SELECT instant FROM first_held")]
    return min((each for each in instants if committed is None or each <= committed), default=None)


def _cells(connection: sqlite3.Connection, names: Names, period: Period) -> dict[MonthKey, Picodollars]:
    """Amounts of a part of a month, which only the history tells from the rest."""
    cells: dict[MonthKey, Picodollars] = {}
    for key, amount in _added(connection, families.DAILY["server_cost"], period):
        owner, _component, basis = names.key(families.DAILY["server_cost"], key)
        add(cells, MonthKey(owner.product, owner.team, basis, period.name), amount)
    return cells


def _undated(
    connection: sqlite3.Connection, names: Names, posted: Mapping[MonthKey, Picodollars], period: Period
) -> Picodollars:
    """Money of the months of a period that no day has: its days expired."""
    undated = 0
    for month in map(Period.named, period.months):
        undated += sum(amount for cell, amount in posted.items() if cell.month == month.name)
        undated -= sum(
            each.amount
            for each in adjustments.read(connection, names, *_numbers(month))
            if each.posted is not None
        )
        undated -= sum(_cells(connection, names, month).values())
    return undated


def _packed(connection: sqlite3.Connection, *, period: Period) -> bytes:
    sums = {name: _added(connection, families.DAILY[name], period) for name in FAMILIES}
    totals = {
        name: sum(amount for _key, amount in sums[name]) for name in ("cost", "server_cost", "gpu_cost")
    }
    if len(set(totals.values())) > 1:
        listed = ", ".join(f"{amount} by {name}" for name, amount in totals.items())
        raise DamagedError(f"its sums of {period.name} differ, in picodollars: {listed}")
    return marshal.dumps((Names(connection).rows, sums))


def unpacked(packed: bytes) -> HistorySums:
    """Sums in the form of `PeriodReader.packed_sums`.

    Raises:
        DamagedError: a row refers to what is not there.
    """
    rows, by_name = marshal.loads(packed)  # noqa: S302 - bytes of this process
    sums = HistorySums()
    with references():
        names = Names.of(rows)
        for name, added in by_name.items():
            amounts: dict[Any, int] = getattr(sums, name)
            for key, amount in added:
                amounts[names.key(families.DAILY[name], key)] = amount
    return sums


def _added(
    connection: sqlite3.Connection, family: Family, period: Period
) -> list[tuple[tuple[int, ...], int]]:
    """Rows of a table, added up over the days of a period."""
    columns, value = ", ".join(family.key), family.value
    # In two halves: a sum of days may pass what one number of SQLite holds.
    statement = (
        f"SELECT sum({value} >> 32), sum({value} & 4294967295){f', {columns}' if columns else ''}"  # noqa: S608 - constants
        f" FROM {family.table} WHERE day BETWEEN ? AND ?{f' GROUP BY {columns}' if columns else ''}"
    )
    return [
        (tuple(key), (high << 32) + low)
        for high, low, *key in connection.execute(statement, _numbers(period))
        if high is not None  # the sum of no rows
    ]
