"""The wiring of the reports: a running daemon's ledger, read only."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from exporter.cli import status
from exporter.cli.ledger_zone import books_zone
from exporter.cli.terminal import complain, waiting
from exporter.clock import Clock, SystemClock
from exporter.config import ConfigError, load
from exporter.finance import month as reports
from exporter.finance.month import By, ReportError
from exporter.finance.statement import Form, sheet
from exporter.ledger.errors import LedgerError
from exporter.ledger.history import MonthRecord
from exporter.ledger.reader import LedgerReader
from exporter.tariff.calendar import month_of

Tell = Callable[[MonthRecord, str, ZoneInfo], int]
"""Tells a month, given the name of the one that goes on and the time zone; returns the exit status."""


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What is asked. Without a `month` it is the one that goes on; without a `by` it is a chargeback."""

    config_file: Path | None
    ledger_path: Path | None
    month: str | None
    by: By | None
    form: Form


def report(question: ReportOptions, clock: Clock | None = None) -> int:
    """Print a statement; returns 0, 1 (the ledger has no answer) or 2 (the configuration is wrong)."""

    def tell(record: MonthRecord, current: str, zone: ZoneInfo) -> int:
        if question.by is None:
            statement = reports.chargeback(record, current, zone)
        else:
            statement = reports.month(record, question.by, current, zone)
        sys.stdout.write(sheet(statement, question.form))
        return status.OK

    return answer(question.config_file, question.ledger_path, question.month, tell, clock)


def answer(
    config_file: Path | None, ledger_path: Path | None, month: str | None, tell: Tell, clock: Clock | None
) -> int:
    """Read a month, without a name the one that goes on, and have it told; returns as `report` does."""
    try:
        config = load(config_file)
    except ConfigError as error:
        complain(error)
        return status.CONFIGURATION
    path = ledger_path or config.ledger_path
    now = (clock or SystemClock()).wall()
    try:
        with waiting("reading the ledger"), LedgerReader.open(path) as ledger:
            zone = books_zone(ledger, config, config_file)
            current = month_of(now, zone).name
            record = ledger.month(month or current)
        return tell(record, current, zone)
    except LedgerError as error:
        complain(f"{error}; name the daemon's ledger with --ledger.path or --config.file")
        return status.FAILED
    except ReportError as error:
        complain(f"{path}: {error}")
        return status.FAILED
