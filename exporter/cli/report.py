"""The verbs `report month`, `report chargeback` and `report focus`: a month of one ledger or of many."""

import argparse
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from exporter.cli import closing, flags, fleet_source, focus, status
from exporter.cli.flags import Exits, FlagError, flag
from exporter.cli.fleet_source import FleetSource
from exporter.cli.ledger_session import LedgerSession
from exporter.cli.status import failing, with_exit_status
from exporter.cli.terminal import columns, waiting
from exporter.clock import Clock, SystemClock
from exporter.config import load
from exporter.finance.facts import DAY_FAMILIES
from exporter.finance.render import Form
from exporter.finance.statement import sheet
from exporter.finance.statements import (
    BYS,
    COLUMNS,
    IDLE_FORMS,
    By,
    ChargebackLayout,
    Column,
    Idle,
    ReportError,
    chargeback,
    month,
)
from exporter.ledger.reader import PeriodReader
from exporter.tariff.period import Period
from exporter.units import Instant

CHARGEBACK_BY: Final = ("product", "team")
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
    month: str | None = flag(
        "--month",
        type=flags.month_or_quarter_value,
        metavar="YYYY-MM",
        help="the month, or a quarter like 2026-Q3 (default: the current month)",
    )
    by: By | None = None
    """The grouping of a month; `None`: a chargeback."""
    form: Form = "table"
    fleet: FleetSource | None = None
    """All hosts of a source in place of the daemon's ledger."""
    since: date | None = flag(
        "--since", type=flags.date_value, metavar="DATE", help="the first day, in place of --month"
    )
    until: date | None = flag(
        "--until", type=flags.date_value, metavar="DATE", help="the last day, with --since (default: today)"
    )
    columns: tuple[Column, ...] = CHARGEBACK_BY
    """Columns of a chargeback."""
    idle: Idle | None = None
    """Where idle cost of a chargeback is."""

    def period(self, zone: ZoneInfo, now: Instant) -> Period:
        """The period in a time zone."""
        return flags.named_period(zone, now, month=self.month, since=self.since, until=self.until)


def add(verbs: flags.Verbs) -> None:
    """Add them to the program's parser."""
    group = flags.add_group(verbs, "report", "monthly cost reports", "month --by=team")
    reports = group.add_subparsers(dest="report", required=True, metavar="month|chargeback|focus")
    month = flags.add_verb(
        reports,
        "month",
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
        of="report",
        options=ReportOptions,
    )
    month.add_argument("--by", choices=BYS, default="product", help="group by (default product)")
    closing.add(month)
    month.set_defaults(columns=CHARGEBACK_BY, idle=None)
    chargeback = flags.add_verb(
        reports,
        "chargeback",
        "print a chargeback by product and team or other owners, with idle cost, GPU-hours and tokens",
        examples=(
            ("--month=2026-10", "chargeback as a table"),
            ("--month=2026-10 --csv", "the same for a spreadsheet"),
            ("--month=2026-10 --by=team,model --idle=spread", "by team and model, with idle cost spread"),
            ("--since=2026-10-05 --until=2026-10-11 --by=day,product", "a week by day"),
            ("--month=2026-10 --from=/srv/archive", "all ledgers of a folder as one fleet"),
        ),
        exits=PRINTED,
        of="report",
        options=ReportOptions,
    )
    chargeback.add_argument(
        "--by",
        dest="columns",
        type=_columns_value,
        default=CHARGEBACK_BY,
        metavar="COLUMN,...",
        help=f"columns, in this order, of {', '.join(COLUMNS)} (default {','.join(CHARGEBACK_BY)})",
    )
    chargeback.add_argument(
        "--idle",
        choices=IDLE_FORMS,
        help="apart: idle cost in a row of its own; spread: over owners in proportion to their busy cost "
        "(default: in the row of its owner)",
    )
    chargeback.set_defaults(by=None, close=False, output=None, against=None)
    focus.add(reports)
    for verb in (month, chargeback):
        fleet_source.add(verb)
        fleet_source.add_overheads(verb)
        flags.forms(verb)
        verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a statement; returns the exit status."""
    options.fleet = FleetSource.of(options)
    if options.close or options.against is not None or options.output is not None:
        return closing.run(closing.chosen(options))
    month, since, until = options.month, options.since, options.until
    if month is not None and (since is not None or until is not None):
        raise FlagError("--month takes the place of --since and --until")
    if until is not None and since is None:
        raise FlagError("--until needs --since")
    if since is not None and until is not None and until < since:
        raise FlagError(f"--until={until} is before --since={since}")
    return report(flags.chosen(ReportOptions, options))


@with_exit_status
def report(options: ReportOptions, clock: Clock | None = None) -> int:
    """Print a statement; returns 0, 1 (the ledger has no answer) or 2 (the configuration is wrong)."""
    now = (clock or SystemClock()).wall()
    overheads = fleet = None
    if options.fleet is not None:
        config = load(options.config_file)
        period = options.period(config.timezone, now)
        days = DAY_FAMILIES if options.by is None and "day" in options.columns else ()
        finer = options.by not in ("product", "team")
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
    with failing(ReportError, at=source):
        if options.by is None:
            layout = ChargebackLayout(options.columns, options.idle)
            statement = chargeback(record, current, zone, layout, overheads)
        else:
            statement = month(record, options.by, current, zone, overheads)
    if fleet is not None and options.form == "csv":
        fleet_source.note_missing(fleet)
    sys.stdout.write(sheet(statement, options.form, columns(), fleet))
    return status.OK
