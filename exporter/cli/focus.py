"""The wiring of `report focus`: a month as a file for a warehouse of bills."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final
from zoneinfo import ZoneInfo

from exporter.cli import status
from exporter.cli.report import answer
from exporter.cli.terminal import complain, tell
from exporter.clock import Clock
from exporter.finance.focus import focus, formulas
from exporter.ledger.history import MonthRecord

FORMULAS: Final = (
    "labels that begin with =, +, -, @ or a tab are written as they are: "
    "open this file in no spreadsheet; --spreadsheet writes one that is safe there\n"
)


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

    def write(record: MonthRecord, _current: str, zone: ZoneInfo) -> int:
        seen = _Formulas(focus(record, zone, guarded=guarded))
        written = status.OK
        if output is None:
            sys.stdout.writelines(seen.lines())
        else:
            written = _save(seen.lines(), output)
        if seen.any:
            tell(FORMULAS, sys.stderr)
        return written

    return answer(config_file, ledger_path, month, write, clock)


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
    """A file that is whole or as it was, behind a link too; a pipe or a device is written to as it is."""
    whole = os.path.isfile(path) or not os.path.exists(path)
    file_itself = Path(os.path.realpath(path)) if whole else path
    place = file_itself.with_name(f"{file_itself.name}.partial") if whole else path
    try:
        with place.open("w", encoding="utf-8", newline="") as file:
            yield file
        if whole:
            place.replace(file_itself)
    except BaseException:
        if whole:
            place.unlink(missing_ok=True)
        raise
