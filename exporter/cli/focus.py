"""The verb `report focus`: a month of one ledger or of many in the form of FOCUS."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import IO, Final, NamedTuple, Self
from zoneinfo import ZoneInfo

from exporter.cli import flags, fleet_source, status
from exporter.cli.flags import FlagError, flag, switch
from exporter.cli.fleet_source import FleetSource
from exporter.cli.ledger_session import LedgerSession
from exporter.cli.replacement import replacing
from exporter.cli.status import VerbFailedError, failing, writing
from exporter.cli.terminal import waiting, write_colored
from exporter.cli.verb import Exits, verb
from exporter.clock import Clock, SystemClock
from exporter.config import load
from exporter.finance.facts import DAY_FAMILIES
from exporter.finance.fleet.record import FleetMonth, HostMonth
from exporter.finance.focus.dataset import VERSIONS, FocusForm, FocusVersion, focus, formulas, header, rows
from exporter.finance.statements import UnknownMonthError, refuse_unknown

FORMULAS: Final = (
    "labels starting with =, +, -, @ or a tab are not escaped. "
    "Use --spreadsheet before opening the file in a spreadsheet.\n"
)


@dataclass(frozen=True, slots=True)
class FocusOptions:
    """A month of a host or a fleet, and the file to write."""

    config_file: Path | None = flags.daemon_config_flag()
    ledger_path: Path | None = flags.ledger_flag()
    month: str | None = flags.month_flag("the month (default: the current month)")
    output: Path | None = flag(
        "--output", type=Path, metavar="FILE", help="the file to write (default: standard output)"
    )
    version: FocusVersion = flag(
        "--focus-version",
        choices=VERSIONS,
        default=VERSIONS[-1],
        help=f"the version of FOCUS (default {VERSIONS[-1]})",
    )
    columns: tuple[str, ...] = flag(
        "--columns",
        type=lambda text: tuple(text.split(",")),
        metavar="COLUMN,...",
        help="columns to write (default: all)",
    )
    guarded: bool = switch(
        "--spreadsheet", "put an apostrophe before text that a spreadsheet would run as a formula"
    )
    fleet: FleetSource | None = fleet_source.several_hosts(
        addresses=False, ledgers_only="cost by day and server"
    )
    """All hosts of a source in place of the daemon's ledger."""


@verb(
    "report focus",
    f"write a month as CSV of FOCUS {VERSIONS[-1]}, the common form of bills: by day, server, model and "
    "phase",
    examples=(
        ("--month=2026-10 --output=focus-2026-10.csv", "a month that is over, for a warehouse"),
        ("--month=2026-10 --spreadsheet", "the same for a spreadsheet"),
        ("--month=2026-10 --focus-version=1.2", "in the form of an earlier version"),
        ("--month=2026-10 --from=/srv/archive", "all ledgers of a folder in one file"),
    ),
    exits=Exits("written", "no such month, no ledger that can be read, or no place to write"),
    options=FocusOptions,
)
def write_focus(options: FocusOptions, clock: Clock | None = None) -> int:
    """Write a month as FOCUS; returns 0, 1 (the ledger has no answer) or 2 (the configuration is wrong)."""
    form = FocusForm(options.version, options.columns or (), options.guarded)
    if form.unknown:
        raise FlagError(f"FOCUS {form.version} has no column {form.unknown[0]!r} here")
    now = (clock or SystemClock()).wall()
    if options.fleet is None:
        session = LedgerSession.of(options.config_file, options.ledger_path)
        with waiting("reading the ledger"), session.open() as (ledger, zone):
            record = ledger.month(flags.named_period(zone, now, month=options.month).name)
        with failing(UnknownMonthError, at=session.path):
            lines = focus(record, zone, form)
        return _write(lines, options.output)
    config = load(options.config_file)
    period = flags.named_period(config.timezone, now, month=options.month)
    with HostRows(form) as rows:
        fleet = options.fleet.read(period, config.timezone, now, DAY_FAMILIES, on_month=rows.add)
        with failing(UnknownMonthError, at=options.fleet.text):
            refuse_unknown(fleet.record)
        fleet_source.note_missing(fleet)
        return _write(chain([header(form)], rows.of(fleet)), options.output)


class FileRange(NamedTuple):
    """The bytes of one host's rows in the file of rows."""

    start: int
    end: int


class HostRows:
    """Rows of hosts in a temporary file, so that nothing is printed before all hosts are read."""

    def __init__(self, form: FocusForm) -> None:
        self._form = form
        with _writing_temporary():
            self._file: IO[bytes] = tempfile.TemporaryFile(prefix="focus-")  # noqa: SIM115 - closed at the exit
        self._ranges: dict[str, FileRange] = {}
        """Ranges of the file by the ids of ledgers."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def add(self, month: HostMonth) -> None:
        """Add the rows of a host; another copy of its ledger takes their place."""
        start = self._file.seek(0, os.SEEK_END)
        # A statement that rests on a Prometheus has scaled rows, which are left out.
        record = replace(month.record, sums=None) if month.apportioned else month.record
        with _writing_temporary():
            for line in rows(record, ZoneInfo(month.zone), self._form, month.name):
                self._file.write(line.encode())
        self._ranges[record.ledger] = FileRange(start, self._file.tell())

    def of(self, fleet: FleetMonth) -> Iterator[str]:
        """The rows of all hosts that count, in their order."""
        for host in fleet.hosts:
            rows_of_host = self._ranges[host.ledger]
            self._file.seek(rows_of_host.start)
            while self._file.tell() < rows_of_host.end:
                yield self._file.readline().decode()


@contextmanager
def _writing_temporary() -> Iterator[None]:
    """Failures to write the temporary file, with the remedy."""
    try:
        yield
    except OSError as error:
        raise VerbFailedError(
            f"the folder for temporary files cannot be written: {error.strerror}; TMPDIR names another one"
        ) from error


def _write(lines: Iterator[str], output: Path | None) -> int:
    """Write lines, and a note where a spreadsheet would take a cell for a formula."""
    has_formulas = False

    def watched() -> Iterator[str]:
        nonlocal has_formulas
        for line in lines:
            has_formulas = has_formulas or formulas(line)
            yield line

    if output is None:
        sys.stdout.writelines(watched())
    elif os.path.exists(output) and not os.path.isfile(output):  # a pipe or a device
        with writing(output), output.open("w", encoding="utf-8", newline="") as device:
            device.writelines(watched())
    else:
        with writing(output), replacing(output) as file:
            file.writelines(watched())
    if has_formulas:
        write_colored(FORMULAS, sys.stderr)
    return status.OK
