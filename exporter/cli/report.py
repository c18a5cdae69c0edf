"""The verbs `report month`, `report chargeback` and `report focus`: a month of the daemon's ledger."""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from exporter.cli import flags, status
from exporter.cli.flags import Exits
from exporter.cli.ledger_session import LedgerSession
from exporter.cli.status import VerbFailedError, with_exit_status
from exporter.cli.terminal import waiting, write_colored
from exporter.clock import Clock, SystemClock

if TYPE_CHECKING:
    from exporter.finance.month import By
    from exporter.finance.statement import Form
    from exporter.ledger.history import MonthRecord

BYS: Final = ("product", "team", "server", "model", "component", "gpu")
"""Values of `--by`, spelled here: `exporter.finance` is imported when a report is printed."""

PRINTED: Final = Exits("printed", "no such month, or no ledger that can be read")

FORMULAS: Final = (
    "labels starting with =, +, -, @ or a tab are not escaped. "
    "Use --spreadsheet before opening the file in a spreadsheet.\n"
)

WriteMonth = Callable[["MonthRecord", str, ZoneInfo], None]
"""Prints a month, given the name of the current one and the time zone."""


def add(verbs: "flags.Verbs") -> None:
    """Add them to the program's parser."""
    group = flags.add_group(verbs, "report", "monthly cost reports", "month --by=team")
    reports = group.add_subparsers(dest="report", required=True, metavar="month|chargeback|focus")
    statements = _add_month(reports), _add_chargeback(reports)
    for verb in (*statements, _add_focus(reports)):
        flags.daemon_ledger(verb)
        verb.add_argument(
            "--month",
            type=flags.month_value,
            metavar="YYYY-MM",
            help="the month (default: the current month)",
        )
    for verb in statements:
        form = verb.add_mutually_exclusive_group()
        form.add_argument("--json", dest="form", action="store_const", const="json", help="print JSON")
        form.add_argument("--csv", dest="form", action="store_const", const="csv", help="print CSV")
        verb.set_defaults(run=run, form="table")


def _add_month(reports: "flags.Verbs") -> argparse.ArgumentParser:
    month = flags.add_verb(
        reports,
        "month",
        "print a month's cost by product, team, server, model, component or GPU",
        examples=(
            ("", "this month so far, by product"),
            ("--month=2026-10 --by=server", "a month that is over, by server"),
            ("--month=2026-10 --by=team --json", "the same for programs"),
        ),
        exits=PRINTED,
        of="report",
    )
    month.add_argument("--by", choices=BYS, default="product", help="group by (default product)")
    return month


def _add_chargeback(reports: "flags.Verbs") -> argparse.ArgumentParser:
    chargeback = flags.add_verb(
        reports,
        "chargeback",
        "print a month's chargeback by product and team, with idle cost, GPU-hours and tokens",
        examples=(
            ("--month=2026-10", "chargeback as a table"),
            ("--month=2026-10 --csv", "the same for a spreadsheet"),
        ),
        exits=PRINTED,
        of="report",
    )
    chargeback.set_defaults(by=None)
    return chargeback


def _add_focus(reports: "flags.Verbs") -> argparse.ArgumentParser:
    focus = flags.add_verb(
        reports,
        "focus",
        "write a month as CSV of FOCUS 1.2, the common form of bills: by day, server, model and phase",
        examples=(
            ("--month=2026-10 --output=focus-2026-10.csv", "a month that is over, for a warehouse"),
            ("--month=2026-10 --spreadsheet", "the same for a spreadsheet"),
        ),
        exits=Exits("written", "no such month, no ledger that can be read, or no place to write"),
        of="report",
    )
    focus.add_argument(
        "--output", type=Path, metavar="FILE", help="the file to write (default: standard output)"
    )
    focus.add_argument(
        "--spreadsheet",
        action="store_true",
        help="put an apostrophe before text that a spreadsheet would run as a formula",
    )
    focus.set_defaults(run=_run_focus)
    return focus


def run(options: argparse.Namespace) -> int:
    """Print a statement; returns the exit status."""
    return report(flags.chosen(ReportOptions, options))


def _run_focus(options: argparse.Namespace) -> int:
    return focus_file(
        options.config_file,
        options.ledger_path,
        options.month,
        options.output,
        guarded=options.spreadsheet,
    )


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What to print. Without a `month` it is the current one; without a `by` it is a chargeback."""

    config_file: Path | None
    ledger_path: Path | None
    month: str | None
    by: "By | None"
    form: "Form"


def report(options: ReportOptions, clock: Clock | None = None) -> int:
    """Print a statement; returns 0, 1 (the ledger has no answer) or 2 (the configuration is wrong)."""
    from exporter.finance import month as months  # noqa: PLC0415 - the module is imported for its flags
    from exporter.finance.statement import sheet  # noqa: PLC0415

    def write(record: "MonthRecord", current: str, zone: ZoneInfo) -> None:
        if options.by is None:
            statement = months.chargeback(record, current, zone)
        else:
            statement = months.month(record, options.by, current, zone)
        sys.stdout.write(sheet(statement, options.form))

    return _write_month(options.config_file, options.ledger_path, options.month, write, clock)


def focus_file(
    config_file: Path | None,
    ledger_path: Path | None,
    month: str | None,
    output: Path | None,
    clock: Clock | None = None,
    *,
    guarded: bool = False,
) -> int:
    """Write a month as FOCUS to a file or to standard output; returns an exit status as `report` does.

    `guarded`: for people who open it in a spreadsheet.
    """
    from exporter.finance.focus import focus  # noqa: PLC0415 - the module is imported for its flags

    def write(record: "MonthRecord", _current: str, zone: ZoneInfo) -> None:
        formulas = _Formulas(focus(record, zone, guarded=guarded))
        if output is None:
            sys.stdout.writelines(formulas.lines())
        else:
            _save(formulas.lines(), output)
        if formulas.any:
            write_colored(FORMULAS, sys.stderr)

    return _write_month(config_file, ledger_path, month, write, clock)


@with_exit_status
def _write_month(
    config_file: Path | None,
    ledger_path: Path | None,
    month: str | None,
    write: WriteMonth,
    clock: Clock | None,
) -> int:
    """Read a month, without a name the current one, and print it; returns as `report` does."""
    from exporter.finance.month import ReportError  # noqa: PLC0415 - the module is imported for its flags
    from exporter.tariff.calendar import month_of  # noqa: PLC0415

    session = LedgerSession.of(config_file, ledger_path)
    now = (clock or SystemClock()).wall()
    with waiting("reading the ledger"), session.open() as (ledger, zone):
        current = month_of(now, zone).name
        record = ledger.month(month or current)
    try:
        write(record, current, zone)
    except ReportError as error:
        raise VerbFailedError(f"{session.path}: {error}") from error
    return status.OK


class _Formulas:
    """Lines on their way out; `any` is true once a spreadsheet would take a cell of them for a formula."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.any = False

    def lines(self) -> Iterator[str]:
        from exporter.finance.focus import formulas  # noqa: PLC0415 - as in `focus_file`

        for line in self._lines:
            self.any = self.any or formulas(line)
            yield line


def _save(lines: Iterable[str], output: Path) -> None:
    try:
        with _replaced(output) as file:
            file.writelines(lines)
    except OSError as error:
        raise VerbFailedError(f"{output} cannot be written: {error.strerror}") from error


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
