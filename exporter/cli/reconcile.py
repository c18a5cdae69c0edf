"""The verb `reconcile`: a bill's file against a daemon's ledger, or those of a fleet, which are only read."""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.cli import flags, fleet_source, status
from exporter.cli.flags import FlagError, flag
from exporter.cli.fleet_source import FleetSource
from exporter.cli.ledger_session import LedgerSession
from exporter.cli.status import VerbFailedError, failing
from exporter.cli.terminal import columns, fitted, waiting
from exporter.cli.verb import Exits, verb
from exporter.clock import Clock, SystemClock
from exporter.config import load
from exporter.finance.bill import fleet_sheet, host_sheet
from exporter.finance.bill.bill_file import Reading
from exporter.finance.bill.charges import CostColumn, InvoiceError
from exporter.finance.bill.fleet_bill import read_fleet_bill
from exporter.finance.bill.fleet_comparison import FleetReconciliation, HostBooks, reconcile_fleet
from exporter.finance.bill.host_bill import month_billed, read_invoice
from exporter.finance.bill.host_comparison import LedgerMonth, hours_wanted, reconcile
from exporter.finance.fleet.host_resources import HostResources, HostsFileError, read_hosts_file
from exporter.tariff.period import Period
from exporter.units import Instant

RESOURCE_CHARACTERS: Final = 1000
"""The longest id of a resource."""


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


@dataclass(frozen=True, slots=True)
class ReconcileOptions:
    """What to compare. Without a `month` it is the bill's; without `resources` every row counts."""

    config_file: Path | None = flags.daemon_config_flag()
    ledger_path: Path | None = flags.ledger_flag()
    invoice: Path = flag(
        "--invoice",
        required=True,
        type=Path,
        metavar="FILE",
        help="the bill: a FOCUS export as CSV, plain or gzip, or a CSV of date,dollars",
    )
    month: str | None = flags.month_flag("the month (default: the one of the bill)")
    resources: Sequence[str] = flag(
        "--resource",
        default=(),
        action="append",
        type=_resource,
        metavar="ID",
        help="this host on the bill, by id, the last part of its id, or name; may be repeated "
        "(default: every row counts)",
    )
    components: frozenset[str] = flag(
        "--components",
        default=frozenset({"rent"}),
        type=_components,
        metavar="NAMES",
        help="components that are on the bill, like rent,storage (default rent)",
    )
    cost: CostColumn = flag(
        "--cost",
        default="billed",
        choices=("billed", "effective"),
        help="BilledCost, or EffectiveCost with commitments amortized (default billed)",
    )
    as_json: bool = flags.json_flag()
    hosts_file: Path | None = flag(
        "--hosts",
        type=Path,
        metavar="FILE",
        help="with --from, a CSV of host,resource, for hosts whose resource on the bill has another name",
    )
    source: FleetSource | None = fleet_source.several_hosts()
    """The hosts of --from; `None` is the daemon's ledger."""


@verb(
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
    options=ReconcileOptions,
)
def reconciled(options: ReconcileOptions, clock: Clock | None = None) -> int:
    """Print the ledger, or those of a fleet, against a bill; returns the exit status."""
    if options.source is None and options.hosts_file is not None:
        raise FlagError("--hosts needs --from")
    if options.source is not None and options.resources:
        raise FlagError("--resource is for one host: with --from, list hosts in --hosts")
    now = (clock or SystemClock()).wall()
    file, width = str(options.invoice), columns()
    if options.source is not None:
        with failing(InvoiceError, HostsFileError):
            fleet = _fleet_reconciliation(options, options.source, now)
        sheet = fleet_sheet.as_json if options.as_json else fleet_sheet.as_text
        sys.stdout.write(sheet(fleet, file))
        return status.OK
    session = LedgerSession.of(options.config_file, options.ledger_path)
    with failing(InvoiceError), waiting("reading the bill"), session.open() as (ledger, zone):
        invoice = read_invoice(options.invoice, Reading(zone, options.cost, tuple(options.resources)))
        with failing(InvoiceError, at=options.invoice):
            month = options.month or month_billed(invoice)
            record = ledger.month(month)
            hours = ledger.hours(*hours_wanted(month)) if invoice.form == "focus" else None
            ledger_month = LedgerMonth(record, hours or {}, zone, now, options.components)
            reconciliation = reconcile(invoice, ledger_month)
    ledger_flags = flags.of_files(options.config_file, options.ledger_path)
    sys.stdout.write(
        host_sheet.as_json(reconciliation, file, ledger_flags)
        if options.as_json
        else fitted(host_sheet.as_text(reconciliation, file, ledger_flags, width), width)
    )
    return status.OK


def _fleet_reconciliation(
    options: ReconcileOptions, source: FleetSource, now: Instant
) -> FleetReconciliation:
    config = load(options.config_file)
    listed = read_hosts_file(options.hosts_file) if options.hosts_file is not None else ()
    month = options.month
    if month is None:
        with waiting("reading the bill"):
            invoice = read_invoice(options.invoice, Reading(config.timezone, options.cost))
        with failing(InvoiceError, at=options.invoice):
            month = month_billed(invoice)
    period = Period.named(month)
    collected = HostBooks(options.components, now)
    fleet = source.read(period, config.timezone, now, on_month=collected.add, on_header=collected.name)
    if not fleet.hosts:
        raise VerbFailedError(f"{source.text}: the ledgers have nothing of {month}")
    host_books = collected.of(fleet)
    identities = [each.identity for each in host_books]
    resources = HostResources(identities, listed, source.provider_ids(period, fleet.zone, now))
    with waiting("reading the bill"):
        bill = read_fleet_bill(options.invoice, Reading(fleet.zone, options.cost), period, resources.machine)
    return reconcile_fleet(fleet, host_books, resources, bill, options.components, now)
