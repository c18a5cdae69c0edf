"""The verb `report focus`: a month of one ledger or of many in the form of FOCUS."""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final, Self
from zoneinfo import ZoneInfo

from exporter.cli import flags, fleet_source, status
from exporter.cli.flags import Exits
from exporter.cli.fleet_source import FleetSource
from exporter.cli.ledger_session import LedgerSession
from exporter.cli.period_flags import PeriodFlags
from exporter.cli.status import VerbFailedError, with_exit_status
from exporter.cli.terminal import complain, waiting, write_colored
from exporter.clock import Clock, SystemClock
from exporter.config import load
from exporter.finance.fleet.missing import section
from exporter.finance.fleet.record import FleetMonth, HostMonth
from exporter.finance.focus import FocusForm, FocusVersion, focus, formulas, header, rows
from exporter.finance.month import ReportError, refuse_unknown
from exporter.ledger.history import MonthRecord
from exporter.tariff.period import Period
from exporter.units import Instant

VERSIONS: Final = ("1.2", "1.3", "1.4")
"""Values of `--focus-version`, spelled here: `exporter.finance` is imported when a file is written."""

DAY_FAMILIES: Final = ("cost", "held", "server_cost", "tokens", "unpriced", "settled")
"""The history that rows are made from."""

FORMULAS: Final = (
    "labels starting with =, +, -, @ or a tab are not escaped. "
    "Use --spreadsheet before opening the file in a spreadsheet.\n"
)


def add(reports: flags.Verbs) -> None:
    """Add the verb to those of `report`."""
    focus = flags.add_verb(
        reports,
        "focus",
        f"write a month as CSV of FOCUS {VERSIONS[-1]}, the common form of bills: by day, server, model and "
        "phase",
        examples=(
            ("--month=2026-10 --output=focus-2026-10.csv", "a month that is over, for a warehouse"),
            ("--month=2026-10 --spreadsheet", "the same for a spreadsheet"),
            ("--month=2026-10 --focus-version=1.2", "in the form of an earlier version"),
            ("--month=2026-10 --from=/srv/archive", "all ledgers of a folder in one file"),
        ),
        exits=Exits("written", "no such month, no ledger that can be read, or no place to write"),
        of="report",
    )
    flags.daemon_ledger(focus)
    focus.add_argument(
        "--month",
        type=flags.month_value,
        metavar="YYYY-MM",
        help="the month (default: the current month)",
    )
    focus.add_argument(
        "--focus-version",
        choices=VERSIONS,
        default=VERSIONS[-1],
        help=f"the version of FOCUS (default {VERSIONS[-1]})",
    )
    focus.add_argument(
        "--columns",
        type=lambda text: tuple(text.split(",")),
        default=(),
        metavar="COLUMN,...",
        help="columns to write (default: all)",
    )
    focus.add_argument(
        "--output", type=Path, metavar="FILE", help="the file to write (default: standard output)"
    )
    focus.add_argument(
        "--spreadsheet",
        action="store_true",
        help="put an apostrophe before text that a spreadsheet would run as a formula",
    )
    fleet_source.add(focus, addresses=False)
    focus.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the file; returns the exit status."""
    fleet = FleetSource.of(options)
    if fleet is not None and fleet.addresses:
        options.parser.error(
            f"--from={fleet.addresses[0]}: rows of FOCUS need ledgers, and an address has no cost by day and "
            "server: name a folder of ledgers"
        )
    form = FocusForm(options.focus_version, options.columns, options.spreadsheet)
    if form.unknown:
        options.parser.error(f"FOCUS {form.version} has no column {form.unknown[0]!r} here")
    return write_focus(
        FocusOptions(
            options.config_file,
            options.ledger_path,
            options.month,
            options.output,
            version=form.version,
            columns=form.columns,
            guarded=form.guarded,
            fleet=fleet,
        )
    )


@dataclass(frozen=True, slots=True)
class FocusOptions:
    """What to write. Without a `month` it is the current one, without an `output` to standard output.

    `guarded`: for people who open it in a spreadsheet. With a `fleet` it is of all its hosts.
    """

    config_file: Path | None
    ledger_path: Path | None
    month: str | None
    output: Path | None
    version: FocusVersion = "1.4"
    columns: tuple[str, ...] = ()
    guarded: bool = False
    fleet: FleetSource | None = None

    @property
    def form(self) -> FocusForm:
        """How the file is written."""
        return FocusForm(self.version, self.columns, self.guarded)

    def period(self, zone: ZoneInfo, now: Instant) -> Period:
        """The month in a time zone.

        Raises:
            VerbFailedError: it lies in no year that a calendar has.
        """
        try:
            return PeriodFlags(self.month).period(zone, now)
        except ValueError as error:
            raise VerbFailedError(str(error)) from error


def write_focus(options: FocusOptions, clock: Clock | None = None) -> int:
    """Write a month as FOCUS; returns 0, 1 (the ledger has no answer) or 2 (the configuration is wrong)."""
    if options.fleet is not None:
        return _write_fleet(options, options.fleet, clock or SystemClock())
    return _write_ledger(options, clock or SystemClock())


@with_exit_status
def _write_ledger(options: FocusOptions, clock: Clock) -> int:
    session = LedgerSession.of(options.config_file, options.ledger_path)
    now = clock.wall()
    with waiting("reading the ledger"), session.open() as (ledger, zone):
        record = ledger.month(options.period(zone, now).name)
    try:
        lines = focus(record, zone, options.form)
    except ReportError as error:
        raise VerbFailedError(f"{session.path}: {error}") from error
    return _write(lines, options.output)


@with_exit_status
def _write_fleet(options: FocusOptions, source: FleetSource, clock: Clock) -> int:
    config = load(options.config_file)
    now = clock.wall()
    period = options.period(config.timezone, now)
    with HostRows(options.form) as rows:
        fleet = source.read(period, config.timezone, now, DAY_FAMILIES, each=rows.add)
        try:
            refuse_unknown(fleet.record)
        except ReportError as error:
            raise VerbFailedError(f"{', '.join(map(str, source.sources))}: {error}") from error
        write_colored("".join(f"{line}\n" for line in section(fleet)), sys.stderr)
        return _write(_chained(header(options.form), rows.of(fleet)), options.output)


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


class HostRows:
    """Rows of hosts in a temporary file, so that nothing is printed before all hosts are read."""

    def __init__(self, form: FocusForm) -> None:
        self._form = form
        self._file = _temporary()
        self._parts: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def add(self, month: HostMonth) -> None:
        """Add the rows of a host; another copy of its ledger takes their place."""
        start = self._file.seek(0, os.SEEK_END)
        record = _itemized(month)
        try:
            for line in rows(record, ZoneInfo(month.zone), self._form, month.name):
                self._file.write(line.encode())
        except OSError as error:
            raise _full(error) from error
        self._parts[record.ledger] = start, self._file.tell()

    def of(self, fleet: FleetMonth) -> Iterator[str]:
        """The rows of all hosts that count, in their order."""
        for host in fleet.hosts:
            start, end = self._parts[host.ledger]
            self._file.seek(start)
            while self._file.tell() < end:
                yield self._file.readline().decode()


def _temporary() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(prefix="focus-")
    except OSError as error:
        raise _full(error) from error


def _full(error: OSError) -> VerbFailedError:
    return VerbFailedError(
        f"the folder for temporary files cannot be written: {error.strerror}; TMPDIR names another one"
    )


def _itemized(month: HostMonth) -> MonthRecord:
    """A host's month without rows that are scaled, of a statement that rests on a Prometheus."""
    return replace(month.record, sums=None) if month.apportioned else month.record


def _write(lines: Iterator[str], output: Path | None) -> int:
    noted = _Formulas(lines)
    written = status.OK
    if output is None:
        sys.stdout.writelines(noted.lines())
    else:
        written = _save(noted.lines(), output)
    if noted.any:
        write_colored(FORMULAS, sys.stderr)
    return written


class _Formulas:
    """Lines on their way out; `any` is true once a spreadsheet would take a cell of them for a formula."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.any = False

    def lines(self) -> Iterator[str]:
        for line in self._lines:
            self.any = self.any or formulas(line)
            yield line


def _save(lines: Iterable[str], output: Path) -> int:
    try:
        with _replaced(output) as file:
            file.writelines(lines)
    except OSError as error:
        complain(f"{output} cannot be written: {error.strerror}")
        return status.FAILED
    return status.OK


@contextmanager
def _replaced(path: Path) -> Iterator[IO[str]]:
    """A file that is whole or unchanged, behind a link too; a pipe or a device is written to directly."""
    regular = os.path.isfile(path) or not os.path.exists(path)
    target = Path(os.path.realpath(path)) if regular else path
    temporary = target.with_name(f"{target.name}.partial") if regular else path
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            yield file
        if regular:
            temporary.replace(target)
    except BaseException:
        if regular:
            temporary.unlink(missing_ok=True)
        raise
