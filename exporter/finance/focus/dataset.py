"""A month as a dataset of FOCUS (https://focus.finops.org), the FinOps Foundation's form of bills. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from exporter.finance.focus.allocation import allocated
from exporter.finance.focus.charges import billing_period, charges
from exporter.finance.focus.columns import NEWEST, FocusHost, FocusRow, FocusVersion, cells
from exporter.finance.statements import refuse_unknown
from exporter.ledger.history import MonthRecord

_FORMULA: Final = re.compile(r'((?:^|,)")([=+\-@\t\r])')
"""A cell that begins as a formula does; inside a cell, quotation marks are doubled."""


@dataclass(frozen=True, slots=True)
class FocusForm:
    """How a dataset is written.

    `columns` are those to write, in the order of the version; without any it is all of them.
    `guarded` puts an apostrophe before text that a spreadsheet would take for a formula; a warehouse wants
    labels unaltered.
    """

    version: FocusVersion = NEWEST
    columns: tuple[str, ...] = ()
    guarded: bool = False

    @property
    def unknown(self) -> tuple[str, ...]:
        """Columns that the version does not have."""
        return tuple(name for name in self.columns if name not in cells(self.version))


_FORM: Final = FocusForm()


def focus(record: MonthRecord, zone: ZoneInfo, form: FocusForm = _FORM) -> Iterator[str]:
    """The lines of a CSV file: its header, then a row for each charge of the month.

    Text is in quotation marks, numbers and instants are bare, and nothing at all is null.

    Raises:
        ReportError: the ledger has nothing of that month; before the first line.
    """
    refuse_unknown(record)

    def lines() -> Iterator[str]:
        yield header(form)
        yield from rows(record, zone, form)

    return lines()


def header(form: FocusForm) -> str:
    """The first line of a file."""
    return ",".join(name for name in cells(form.version) if _chosen(name, form)) + "\n"


def rows(record: MonthRecord, zone: ZoneInfo, form: FocusForm, host_name: str = "") -> Iterator[str]:
    """A line for each charge of one host's month. One day at a time is in memory."""
    host = FocusHost(record.ledger, billing_period(record.month, zone), host_name)
    chosen = [cell for name, cell in cells(form.version).items() if _chosen(name, form)]
    for charge, ratio in allocated(charges(record, zone)):
        row = FocusRow(charge, host, ratio)
        line = ",".join([cell(row) for cell in chosen]) + "\n"
        yield _FORMULA.sub(r"\1'\2", line) if form.guarded else line


def _chosen(name: str, form: FocusForm) -> bool:
    return not form.columns or name in form.columns


def formulas(line: str) -> bool:
    """Whether a spreadsheet would take a cell of a line for a formula.

    Labels stay as they are unless guarded: FOCUS wants them unaltered, and warehouses join by them.
    """
    return _FORMULA.search(line) is not None
