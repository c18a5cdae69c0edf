"""`explain --why`: why a month cost another amount than another one, for a host or for the fleet."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from exporter.cli import flags, fleet_source, status
from exporter.cli.fleet_source import FleetSource
from exporter.cli.ledger_session import LedgerSession
from exporter.cli.status import VerbFailedError, with_exit_status
from exporter.cli.terminal import columns, fitted
from exporter.clock import Clock, SystemClock
from exporter.finance.fleet.missing import missing_json, section
from exporter.finance.fleet.record import FleetMonth
from exporter.finance.why import ComparedPeriod, Scope, compare
from exporter.finance.why_report import as_json, text
from exporter.readings import ServerKey
from exporter.tariff.period import Period
from exporter.units import Instant, Picodollars


def add(verb: argparse.ArgumentParser) -> None:
    """Add the flags."""
    group = verb.add_argument_group("two months")
    group.add_argument(
        "--why", action="store_true", help="explain the difference of --month and the month --against"
    )
    group.add_argument("--month", type=flags.month_value, metavar="YYYY-MM", help="the month to explain")
    group.add_argument("--product", metavar="NAME", help="one product only")
    fleet_source.add(verb)


@dataclass(frozen=True, slots=True)
class WhyOptions:
    """Two months of which hosts, and what of them: a product, a server (NAME or NAMESPACE/NAME), or all."""

    config_file: Path | None
    ledger_path: Path | None
    source: FleetSource | None
    month: str
    against: str
    product: str | None
    server: str | None
    as_json: bool


def chosen(options: argparse.Namespace) -> WhyOptions | None:
    """The options, if --why is given. Exits on flags that clash."""
    if not options.why:
        for flag, value in (
            ("--month", options.month),
            ("--product", options.product),
            ("--from", options.sources),
        ):
            if value is not None:
                options.parser.error(f"{flag} needs --why")
        return None
    if options.month is None or options.against is None:
        options.parser.error("--why needs --month and --against, like 2026-10 and 2026-09")
    try:
        against = flags.month_value(options.against)
    except argparse.ArgumentTypeError as error:
        options.parser.error(f"argument --against: {error}")
    if options.product is not None and options.server is not None:
        options.parser.error("--product and SERVER exclude each other")
    return flags.chosen(WhyOptions, options, source=FleetSource.of(options), against=against)


@with_exit_status
def run(options: WhyOptions, clock: Clock | None = None) -> int:
    """Print the difference; returns 0, 1 (there is no answer) or 2 (the configuration is wrong)."""
    session = LedgerSession.of(options.config_file, options.ledger_path)
    source = options.source or FleetSource((session.path,))
    now = (clock or SystemClock()).wall()
    fleets, periods = [], []
    for month in (options.against, options.month):
        period = Period.named(month)
        fleet = source.read(period, session.config.timezone, now)
        if month not in fleet.record.months:
            have = ", ".join(fleet.record.months) or "nothing"
            raise VerbFailedError(f"there is nothing of {month}: there is {have}")
        fleets.append(fleet)
        # As in a report: overheads of the fleet are those of many hosts.
        overheads = (
            source.fleet_overheads(session.config, period, fleet.zone, now) if options.source else None
        )
        periods.append(_compared(fleet, now, 0 if overheads is None else overheads.total))
    comparison = compare(periods[0], periods[1], _scope(options, fleets))
    if options.as_json:
        missing = {
            "missing": {fleet.record.month: missing_json(fleet) for fleet in fleets},
            "apportioned": any(host.host.apportioned for fleet in fleets for host in fleet.hosts),
        }
        sys.stdout.write(as_json(comparison, missing))
        return status.OK
    notes = [
        f"{fleet.record.month}: {headline}"
        for fleet in fleets
        if fleet.findings and (headline := next(iter(section(fleet))))
    ]
    sys.stdout.write(fitted(text(comparison, notes), columns()))
    return status.OK


def _compared(fleet: FleetMonth, now: Instant, fleet_overheads: Picodollars) -> ComparedPeriod:
    start, end = Period.named(fleet.record.month).bounds(fleet.zone)
    begins = [summary.host.first for summary in fleet.hosts if summary.host.first is not None]
    begin = max(start, min(begins, default=start))
    start = begin if begin < end else start  # a month that metering began in is shorter
    until = max(start + 1, min(now, end))
    name = fleet.record.month if now >= end else f"{fleet.record.month} to date"
    return ComparedPeriod(name, fleet.record, until - start, fleet_overheads)


def _scope(options: WhyOptions, fleets: list[FleetMonth]) -> Scope:
    if options.server is None:
        products = {cell.product for fleet in fleets for cell in fleet.record.cells}
        if options.product is not None and options.product not in products:
            raise VerbFailedError(
                f"there is no product {options.product!r}: there are {', '.join(sorted(products))}"
            )
        return Scope(product=options.product)
    servers = {
        ServerKey(owner.namespace, owner.server)
        for fleet in fleets
        if fleet.record.sums is not None
        for owner, _component, _basis in fleet.record.sums.server_cost
    }
    namespace, slash, name = options.server.rpartition("/")
    matching = sorted(
        key for key in servers if key.server == name and (not slash or key.namespace == namespace)
    )
    if len(matching) != 1:
        listed = ", ".join(key.name for key in (matching or sorted(servers))[:20])
        what = "several servers have this name" if matching else f"there is no server {options.server!r}"
        raise VerbFailedError(f"{what}: {listed}")
    return Scope(server=matching[0])
