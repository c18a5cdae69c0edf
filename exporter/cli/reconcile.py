"""The verb `reconcile`: a bill's file against a daemon's ledger, or those of a fleet, which are only read."""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from exporter.cli import flags, fleet_source, status
from exporter.cli.flags import Exits
from exporter.cli.fleet_source import FleetSource
from exporter.cli.ledger_session import LedgerSession
from exporter.cli.status import VerbFailedError, failing, with_exit_status
from exporter.cli.terminal import columns, fitted, waiting
from exporter.clock import Clock, SystemClock
from exporter.config import load
from exporter.finance import reconciliation as host_bill
from exporter.finance.fleet import bill_sheet
from exporter.finance.fleet.bill import read_fleet_bill
from exporter.finance.fleet.bill_differences import FleetReconciliation, HostBooks, reconcile_fleet
from exporter.finance.fleet.host_resources import HostResources, HostsFileError, read_hosts_file
from exporter.finance.invoice import CostColumn, InvoiceError
from exporter.finance.invoice_file import Reading, read_invoice
from exporter.finance.reconciliation import LedgerMonth, Reconciliation, hours_wanted, month_billed, reconcile
from exporter.ledger.reader import LedgerReader
from exporter.tariff.period import Period
from exporter.units import Instant

RESOURCE_CHARACTERS: Final = 1000
"""The longest id of a resource."""


def add(verbs: flags.Verbs) -> None:
    """Add it to the program's parser."""
    verb = flags.add_verb(
        verbs,
        "reconcile",
        "compare the ledger with a bill, by day, and explain the difference",
        examples=(
            ("--invoice=dates.csv", "a CSV of dates and dollars"),
            (
                "--invoice=focus-2026-10.csv.gz --resource=i-0123456789abcdef0",
                "a cloud's FOCUS export, this host's rows alone",
            ),
            ("--invoice=dates.csv --json", "the same for programs"),
            (
                "--invoice=focus-2026-10.csv.gz --from=/srv/archive --hosts=hosts.csv",
                "all hosts of a folder against one bill",
            ),
        ),
        exits=Exits("printed, whether or not they differ", "a bill or a ledger that cannot be read"),
    )
    verb.add_argument(
        "--invoice",
        type=Path,
        required=True,
        metavar="FILE",
        help="the bill: a FOCUS export as CSV, plain or gzip, or a CSV of date,dollars",
    )
    verb.add_argument(
        "--month", type=flags.month_value, metavar="YYYY-MM", help="the month (default: the one of the bill)"
    )
    verb.add_argument(
        "--resource",
        dest="resources",
        type=_resource,
        action="append",
        default=[],
        metavar="ID",
        help="this host on the bill, by id, the last part of its id, or name; may be repeated "
        "(default: every row counts)",
    )
    verb.add_argument(
        "--components",
        type=_components,
        default="rent",
        metavar="NAMES",
        help="components that are on the bill, like rent,storage (default rent)",
    )
    verb.add_argument(
        "--cost",
        choices=("billed", "effective"),
        default="billed",
        help="BilledCost, or EffectiveCost with commitments amortized (default billed)",
    )
    flags.as_json(verb)
    flags.daemon_ledger(verb)
    fleet_source.add(verb)
    verb.add_argument(
        "--hosts",
        dest="hosts_file",
        type=Path,
        metavar="FILE",
        help="with --from, a CSV of host,resource, for hosts whose resource on the bill has another name",
    )
    verb.set_defaults(run=run)


def _resource(text: str) -> str:
    if not text.strip() or len(text) > RESOURCE_CHARACTERS:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no resource: write its id as the bill does")
    return text.strip()


def _components(text: str) -> frozenset[str]:
    """Names like rent,storage."""
    names = text.split(",")
    if not all(re.fullmatch(r"[a-z][a-z0-9_-]{0,63}", name) for name in names):
        raise argparse.ArgumentTypeError(f"{text!r} are no components: write names like rent,storage")
    return frozenset(names)


def run(options: argparse.Namespace) -> int:
    """Print ledger against bill; returns the exit status."""
    options.source = FleetSource.of(options)
    if options.source is not None:
        if options.resources:
            options.parser.error("--resource is for one host: with --from, list hosts in --hosts")
        return fleet_reconciled(flags.chosen(FleetReconcileOptions, options))
    if options.hosts_file is not None:
        options.parser.error("--hosts needs --from")
    return reconciled(flags.chosen(ReconcileOptions, options))


@dataclass(frozen=True, slots=True)
class ReconcileOptions:
    """What to compare. Without a `month` it is the bill's; without `resources` every row counts."""

    config_file: Path | None
    ledger_path: Path | None
    invoice: Path
    month: str | None
    resources: Sequence[str]
    components: frozenset[str]
    cost: CostColumn
    as_json: bool


@with_exit_status
def reconciled(options: ReconcileOptions, clock: Clock | None = None) -> int:
    """Print ledger against bill; returns 0, 1 (bill or ledger cannot be read) or 2 (the configuration)."""
    now = (clock or SystemClock()).wall()
    session = LedgerSession.of(options.config_file, options.ledger_path)
    with failing(InvoiceError), waiting("reading the bill"), session.open() as (ledger, zone):
        reconciliation = _reconciliation(options, ledger, zone, now)
    ledger_flags = flags.of_files(options.config_file, options.ledger_path)
    file, width = str(options.invoice), columns()
    sys.stdout.write(
        host_bill.as_json(reconciliation, file, ledger_flags)
        if options.as_json
        else fitted(host_bill.as_text(reconciliation, file, ledger_flags, width), width)
    )
    return status.OK


def _reconciliation(
    options: ReconcileOptions, ledger: LedgerReader, zone: ZoneInfo, now: Instant
) -> Reconciliation:
    invoice = read_invoice(options.invoice, Reading(zone, options.cost, tuple(options.resources)))
    try:
        month = options.month or month_billed(invoice)
        record = ledger.month(month)
        hours = ledger.hours(*hours_wanted(month)) if invoice.form == "focus" else None
        return reconcile(invoice, LedgerMonth(record, hours or {}, zone, now, options.components))
    except InvoiceError as error:
        raise InvoiceError(f"{options.invoice}: {error}") from None


@dataclass(frozen=True, slots=True)
class FleetReconcileOptions:
    """What to compare with the hosts of a source. Without a `month` it is the bill's."""

    config_file: Path | None
    source: FleetSource
    invoice: Path
    month: str | None
    hosts_file: Path | None
    components: frozenset[str]
    cost: CostColumn
    as_json: bool


@with_exit_status
def fleet_reconciled(options: FleetReconcileOptions, clock: Clock | None = None) -> int:
    """Print the books of a fleet against a bill; returns as `reconciled` does."""
    now = (clock or SystemClock()).wall()
    with failing(InvoiceError, HostsFileError):
        reconciliation = _fleet_reconciliation(options, now)
    form = bill_sheet.as_json if options.as_json else bill_sheet.as_text
    sys.stdout.write(form(reconciliation, str(options.invoice)))
    return status.OK


def _fleet_reconciliation(options: FleetReconcileOptions, now: Instant) -> FleetReconciliation:
    config, source = load(options.config_file), options.source
    listed = read_hosts_file(options.hosts_file) if options.hosts_file is not None else ()
    month = options.month or _month_of(options, config.timezone)
    period = Period.named(month)
    collected = HostBooks(options.components, now)
    fleet = source.read(period, config.timezone, now, each=collected.add, every=collected.name)
    if not fleet.hosts:
        raise VerbFailedError(f"{source.text}: the ledgers have nothing of {month}")
    host_books = collected.of(fleet)
    identities = [each.identity for each in host_books]
    resources = HostResources(identities, listed, source.provider_ids(period, fleet.zone, now))
    with waiting("reading the bill"):
        bill = read_fleet_bill(options.invoice, Reading(fleet.zone, options.cost), period, resources.machine)
    return reconcile_fleet(fleet, host_books, resources, bill, options.components, now)


def _month_of(options: FleetReconcileOptions, zone: ZoneInfo) -> str:
    with waiting("reading the bill"):
        invoice = read_invoice(options.invoice, Reading(zone, options.cost))
    try:
        return month_billed(invoice)
    except InvoiceError as error:
        raise InvoiceError(f"{options.invoice}: {error}") from None
