"""The wiring of `reconcile`: the file of a bill against a running daemon's ledger, which is only read."""

import sys
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from exporter.cli import status
from exporter.cli.ledger_zone import books_zone
from exporter.cli.terminal import complain, waiting
from exporter.clock import Clock, SystemClock
from exporter.config import ConfigError, load
from exporter.finance.invoice import CostColumn, InvoiceError
from exporter.finance.invoice_file import Reading, read_invoice
from exporter.finance.reconciliation import (
    LedgerMonth,
    Reconciliation,
    as_json,
    as_text,
    hours_wanted,
    month_billed,
    reconcile,
)
from exporter.ledger.errors import LedgerError
from exporter.ledger.reader import LedgerReader
from exporter.units import Instant


@dataclass(frozen=True, slots=True)
class ReconcileOptions:
    """What is asked. Without a `month` it is the bill's; without `resources` every row counts."""

    config_file: Path | None
    ledger_path: Path | None
    invoice: Path
    month: str | None
    resources: tuple[str, ...]
    components: frozenset[str]
    cost: CostColumn
    as_json: bool


def reconciled(question: ReconcileOptions, clock: Clock | None = None) -> int:
    """Print books against bill; returns 0, 1 (bill or ledger cannot be read) or 2 (the configuration)."""
    now = (clock or SystemClock()).wall()
    try:
        config = load(question.config_file)
    except ConfigError as error:
        complain(error)
        return status.CONFIGURATION
    try:
        with (
            waiting("reading the bill"),
            LedgerReader.open(question.ledger_path or config.ledger_path) as ledger,
        ):
            told = _told(question, ledger, books_zone(ledger, config, question.config_file), now)
    except InvoiceError as error:
        complain(error)
        return status.FAILED
    except LedgerError as error:
        complain(f"{error}; name the daemon's ledger with --ledger.path or --config.file")
        return status.FAILED
    form = as_json if question.as_json else as_text
    sys.stdout.write(form(told, str(question.invoice), _files(question)))
    return status.OK


def _files(question: ReconcileOptions) -> tuple[str, ...]:
    """The flags that say where the books are, to be given again."""
    told = (("--config.file", question.config_file), ("--ledger.path", question.ledger_path))
    return tuple(f"{flag}={path.absolute()}" for flag, path in told if path is not None)


def _told(question: ReconcileOptions, ledger: LedgerReader, zone: ZoneInfo, now: Instant) -> Reconciliation:
    invoice = read_invoice(question.invoice, Reading(zone, question.cost, question.resources))
    try:
        month = question.month or month_billed(invoice)
        record = ledger.month(month)
        hours = ledger.hours(*hours_wanted(month)) if invoice.form == "focus" else None
        return reconcile(invoice, LedgerMonth(record, hours or {}, zone, now, question.components))
    except InvoiceError as error:
        raise InvoiceError(f"{question.invoice}: {error}") from None
