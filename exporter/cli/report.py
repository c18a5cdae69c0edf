"""The verbs `report month`, `report chargeback` and `report focus`: a month of one ledger or of many."""

import argparse
import os
import sys
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from exporter.cli import flags, fleet_source, status
from exporter.cli.flags import FlagError, flag, switch
from exporter.cli.fleet_source import FleetSource
from exporter.cli.ledger_session import LedgerSession
from exporter.cli.replacement import replacing
from exporter.cli.status import VerbFailedError, failing, writing
from exporter.cli.terminal import columns, waiting
from exporter.cli.verb import Exits, verb
from exporter.clock import Clock, SystemClock
from exporter.config import load
from exporter.finance.facts import DAY_FAMILIES
from exporter.finance.fleet import closed_month_changes as forms
from exporter.finance.fleet.closed_month import (
    ClosedMonth,
    ClosedMonthError,
    changes,
    document,
    read_closed_month,
    restated,
)
from exporter.finance.fleet.missing import section
from exporter.finance.fleet.record import HostMonth, KnownEnd
from exporter.finance.redistribution import IDLE_FORMS, Idle
from exporter.finance.render import Form, WorkbookError, instant_text
from exporter.finance.statement import as_workbook, sheet
from exporter.finance.statements import (
    COLUMNS,
    MONTH_BYS,
    ChargebackLayout,
    Column,
    MonthBy,
    UnknownMonthError,
    chargeback_statement,
    month_statement,
)
from exporter.ledger.reader import PeriodReader
from exporter.readings import printable
from exporter.reports.rounding import dollars_text
from exporter.tariff.period import Period
from exporter.units import Instant
from exporter.version import VERSION

CHARGEBACK_BY: Final = ("product", "team")
CLOSED: Final = "a closed month"
"""The group of flags in the help."""

PRINTED: Final = Exits("printed", "no such month, or no ledger that can be read")


def _columns_value(text: str) -> tuple[str, ...]:
    columns = tuple(text.split(","))
    for column in columns:
        if column not in COLUMNS:
            raise argparse.ArgumentTypeError(
                f"{column!r} is no column: choose from {', '.join(COLUMNS)}, with commas between them"
            )
    if len(set(columns)) < len(columns):
        raise argparse.ArgumentTypeError(f"{text!r} has a column twice")
    return columns


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """A month or another period of a host or a fleet, and its form."""

    config_file: Path | None = flags.daemon_config_flag()
    ledger_path: Path | None = flags.ledger_flag()
    month: str | None = flags.month_flag(
        "the month, or a quarter like 2026-Q3 (default: the current month)", quarters=True
    )
    form: Form = flags.form_flags()
    fleet: FleetSource | None = fleet_source.several_hosts(overheads=True)
    """All hosts of a source in place of the daemon's ledger."""
    since: date | None = flag(
        "--since", type=flags.date_value, metavar="DATE", help="the first day, in place of --month"
    )
    until: date | None = flag(
        "--until", type=flags.date_value, metavar="DATE", help="the last day, with --since (default: today)"
    )
    workbook: Path | None = flags.file_flag(
        "--xlsx", "write a workbook with a row of totals, in place of a table"
    )

    def period(self, zone: ZoneInfo, now: Instant) -> Period:
        """The period in a time zone."""
        return flags.named_period(zone, now, month=self.month, since=self.since, until=self.until)


@dataclass(frozen=True, slots=True)
class MonthOptions(ReportOptions):
    """A report by one column, or a month that is closed."""

    by: MonthBy = flag("--by", choices=MONTH_BYS, default="product", help="group by (default product)")
    close: bool = switch(
        "--close",
        "write the month as a statement to --output: a file with a hash that stands for what was billed",
        CLOSED,
    )
    output: Path | None = flags.file_flag(
        "--output", "the statement to write; it must not exist", group=CLOSED
    )
    against: Path | None = flags.file_flag(
        "--against", "print what changed since the month of a statement", group=CLOSED
    )


@dataclass(frozen=True, slots=True)
class ChargebackOptions(ReportOptions):
    """A report by owners."""

    columns: tuple[Column, ...] = flag(
        "--by",
        type=_columns_value,
        default=CHARGEBACK_BY,
        metavar="COLUMN,...",
        help=f"columns, in this order, of {', '.join(COLUMNS)} (default {','.join(CHARGEBACK_BY)})",
    )
    idle: Idle | None = flag(
        "--idle",
        choices=IDLE_FORMS,
        help="apart: idle cost in a row of its own; spread: over owners in proportion to their busy cost "
        "(default: in the row of its owner)",
    )


@verb(
    "report month",
    "print a month's cost by product, team, server, model, component or GPU",
    examples=(
        ("", "this month so far, by product"),
        ("--month=2026-10 --by=server", "a month that is over, by server"),
        ("--month=2026-10 --by=team --json", "the same for programs"),
        ("--month=2026-10 --from=/srv/archive", "all ledgers of a folder as one fleet"),
        ("--month=2026-10 --close --output=2026-10.json", "close the month into a file that stands"),
        ("--against=2026-10.json", "what changed since it was closed"),
    ),
    exits=PRINTED,
    options=MonthOptions,
)
def report_month(options: MonthOptions, clock: Clock | None = None) -> int:
    """Print a month, close it or compare it; returns 0, 1 (the ledger has no answer) or 2 (invalid)."""
    now = (clock or SystemClock()).wall()
    if not options.close and options.against is None and options.output is None:
        return _print(options, now)
    if options.output is not None and not options.close:
        raise FlagError("--output needs --close")
    if options.close and options.against is not None:
        raise FlagError("--close and --against exclude each other")
    if options.form == "csv" or options.workbook is not None:
        name = "--xlsx" if options.workbook is not None else "--csv"
        raise FlagError(f"{name}: a statement is JSON, and what changed is a table or --json")
    for name, day in (("--since", options.since), ("--until", options.until)):
        if day is not None:
            raise FlagError(f"{name}: a statement is of one month")
    if options.month is not None and Period.named(options.month).months != (options.month,):
        raise FlagError(f"--month: a statement is of one month, not of {options.month}")
    if options.fleet is not None and options.fleet.overheads is not None:
        raise FlagError("--overheads: a statement has the cost of hosts alone")
    session = LedgerSession.of(options.config_file, options.ledger_path)
    source, zone = options.fleet or FleetSource((session.path,)), session.config.timezone
    if options.against is not None:
        as_json = options.form == "json"
        return compare_month(source, zone, options.against, options.month, now, as_json=as_json)
    if options.month is None or options.output is None:
        raise FlagError("--close needs --month and --output")
    return close_month(source, zone, options.month, options.output, now)


@verb(
    "report chargeback",
    "print a chargeback by product and team or other owners, with idle cost, GPU-hours and tokens",
    examples=(
        ("--month=2026-10", "chargeback as a table"),
        ("--month=2026-10 --csv", "the same for a spreadsheet"),
        ("--month=2026-10 --xlsx=2026-10.xlsx", "the same with totals, for Excel"),
        ("--month=2026-10 --by=team,model --idle=spread", "by team and model, with idle cost spread"),
        ("--since=2026-10-05 --until=2026-10-11 --by=day,product", "a week by day"),
        ("--month=2026-10 --from=/srv/archive", "all ledgers of a folder as one fleet"),
    ),
    exits=PRINTED,
    options=ChargebackOptions,
)
def report_chargeback(options: ChargebackOptions, clock: Clock | None = None) -> int:
    """Print a chargeback; returns 0, 1 (the ledger has no answer) or 2 (the configuration is wrong)."""
    return _print(options, (clock or SystemClock()).wall())


def _print(options: MonthOptions | ChargebackOptions, now: Instant) -> int:
    """Print a statement of the daemon's ledger or of all hosts."""
    if options.month is not None and (options.since is not None or options.until is not None):
        raise FlagError("--month takes the place of --since and --until")
    if options.until is not None and options.since is None:
        raise FlagError("--until needs --since")
    if options.since is not None and options.until is not None and options.until < options.since:
        raise FlagError(f"--until={options.until} is before --since={options.since}")
    workbook = options.workbook
    if workbook is not None and options.form != "table":
        raise FlagError(f"--xlsx and --{options.form} exclude each other")
    if workbook is not None and os.path.exists(workbook) and not os.path.isfile(workbook):
        raise FlagError(f"--xlsx: {workbook} is no file")
    overheads = fleet = None
    if options.fleet is not None:
        config = load(options.config_file)
        period = options.period(config.timezone, now)
        by_day = isinstance(options, ChargebackOptions) and "day" in options.columns
        finer = isinstance(options, ChargebackOptions) or options.by not in ("product", "team")
        days = DAY_FAMILIES if by_day else ()
        fleet = options.fleet.read(period, config.timezone, now, days, finer=finer)
        overheads = options.fleet.fleet_overheads(config, period, fleet.zone, now)
        record, zone, source = fleet.record, fleet.zone, options.fleet.text
    else:
        session = LedgerSession.of(options.config_file, options.ledger_path)
        with waiting("reading the ledger"), session.open() as (ledger, zone):
            period = options.period(zone, now)
            if period.months == (period.name,):
                record = ledger.month(period.name)
            else:
                with PeriodReader.open(session.path) as reader:
                    record = reader.record(period)
        source = str(session.path)
    start, end = period.bounds(zone)
    current = period.name if start <= now < end else ""
    with failing(UnknownMonthError, at=source):
        if isinstance(options, ChargebackOptions):
            layout = ChargebackLayout(options.columns, options.idle)
            statement = chargeback_statement(
                record, layout, current_month=current, zone=zone, overheads=overheads
            )
        else:
            statement = month_statement(
                record, options.by, current_month=current, zone=zone, overheads=overheads
            )
    if fleet is not None and (options.form == "csv" or workbook is not None):
        fleet_source.note_missing(fleet)
    if workbook is not None:
        with failing(WorkbookError):
            content = as_workbook(statement, fleet)
        with writing(workbook), replacing(workbook) as file:
            file.buffer.write(content)
        return status.OK
    sys.stdout.write(sheet(statement, options.form, columns(), fleet))
    return status.OK


@failing(ClosedMonthError)
def compare_month(
    source: FleetSource, zone: ZoneInfo, statement: Path, month: str | None, now: Instant, *, as_json: bool
) -> int:
    """Print what changed since a statement was written; it must be of `month`, if one is given."""
    closed = read_closed_month(statement)
    if month not in (None, closed.month):
        raise VerbFailedError(f"{statement} is of {closed.month}, not of {month}")
    fleet = source.read(Period.named(closed.month), zone, now)
    form = forms.as_json if as_json else forms.text
    sys.stdout.write(form(closed, fleet.total, changes(closed, fleet), str(statement)))
    for finding in fleet.findings:
        if finding.kind == "waiting":
            waits = f"{finding.name}: adjustment {finding.text}: not posted yet, and in no change"
            sys.stderr.write(f"{printable(waits)}\n")
    return status.OK


@failing(ClosedMonthError)
def close_month(source: FleetSource, zone: ZoneInfo, month: str, output: Path, now: Instant) -> int:
    """Write a month as a statement; refuse one that is not over, or was written before."""
    exists = (
        f"{output} exists, and a closed month is not written over: "
        f"`report month --against={output}` prints what changed since"
    )
    if os.path.lexists(output):
        raise VerbFailedError(exists)
    months: dict[str, HostMonth] = {}

    def keep(host: HostMonth) -> None:
        # The month replaces an earlier one, if a file failed in between.
        months[host.record.ledger] = host

    fleet = source.read(Period.named(month), zone, now, on_month=keep)
    ends = {
        each.ledger: KnownEnd(each.instant or 0, each.text) for each in fleet.findings if each.kind == "ended"
    }
    hosts = [replace(months[summary.ledger], end=ends.get(summary.ledger)) for summary in fleet.hosts]
    zones = {ZoneInfo(host.zone) for host in hosts} | {fleet.zone}
    end = max(Period.named(month).bounds(each)[1] for each in zones)
    if now < end:
        raise VerbFailedError(f"{month} is not over: close it from {instant_text(end)} on")
    if not fleet.hosts:
        raise VerbFailedError(f"there is nothing of {month}: no statement was written")
    not_posted = [finding for finding in fleet.findings if finding.kind == "waiting"]
    if not_posted:
        names = ", ".join(f"{finding.name} ({finding.text})" for finding in not_posted[:10])
        raise VerbFailedError(
            f"adjustments wait for their daemon, {len(not_posted)} in all: {names}; "
            "close the month once they are posted"
        )
    findings = tuple(line for line in section(fleet) if line)
    closed = ClosedMonth(month, fleet.zone, now, VERSION, restated(hosts), findings)
    with writing(output):
        try:
            with replacing(output, new=True) as file:
                file.write(document(closed))
        except FileExistsError:
            raise VerbFailedError(exists) from None
    fleet_source.note_missing(fleet)
    sys.stdout.write(
        f"{month} is closed: {dollars_text(closed.total)} dollars of {len(closed.hosts):,} "
        f"{'ledger' if len(closed.hosts) == 1 else 'ledgers'} in {output}\n"
    )
    return status.OK
