"""The wiring of `report month` and `report chargeback`: a running daemon's ledger, read only."""

import sys
from dataclasses import dataclass
from pathlib import Path

from exporter.cli import status
from exporter.clock import Clock, SystemClock
from exporter.config import ConfigError, load
from exporter.ledger.errors import LedgerError
from exporter.ledger.reader import LedgerReader
from exporter.reports import month as reports
from exporter.reports.month import By, ReportError, Statement
from exporter.reports.sheet import Form, sheet
from exporter.tariff.calendar import month_of


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. Without a `month` it is the one that goes on; without a `by` it is a chargeback."""

    config_file: Path | None
    ledger_path: Path | None
    month: str | None
    by: By | None
    form: Form


def report(question: Question, clock: Clock | None = None) -> int:
    """Print a statement; returns 0, 1 (the ledger has no answer) or 2 (the configuration is wrong)."""
    try:
        config = load(question.config_file)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return status.CONFIGURATION
    path = question.ledger_path or config.ledger_path
    current = month_of((clock or SystemClock()).wall(), config.timezone).name
    try:
        statement = _statement(question, path, current)
    except LedgerError as error:
        sys.stderr.write(f"{error}; name the daemon's ledger with --ledger.path or --config.file\n")
        return status.FAILED
    except ReportError as error:
        sys.stderr.write(f"{path}: {error}\n")
        return status.FAILED
    sys.stdout.write(sheet(statement, question.form))
    return status.OK


def _statement(question: Question, path: Path, current: str) -> Statement:
    with LedgerReader.open(path) as ledger:
        record = ledger.month(question.month or current)
    if question.by is None:
        return reports.chargeback(record, current)
    return reports.month(record, question.by, current)
