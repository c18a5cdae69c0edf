"""The verb `adjust`: adds a checked adjustment to the daemon's ledger, or prints proposed ones."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from exporter.cli import flags, status
from exporter.cli.build import host_name
from exporter.cli.flags import FlagError, flag, switch
from exporter.cli.ledger_session import LedgerSession
from exporter.cli.terminal import write_colored
from exporter.cli.verb import Exits, verb
from exporter.clock import Clock, SystemClock
from exporter.config.problems import RefusedError
from exporter.config.settings import cost_policy
from exporter.finance import adjust as adjustments
from exporter.ledger.adjustment_entry import EntryError, enter
from exporter.ledger.errors import LedgerError
from exporter.ledger.reader import LedgerReader
from exporter.readings import UNKNOWN_LOCATION
from exporter.reports.correction_proposals import proposals
from exporter.sources.location import location_now
from exporter.units import Instant


@dataclass(frozen=True, slots=True)
class AdjustFlags:
    """An adjustment as the command line has it, unchecked, and its ledger."""

    config_file: Path | None = flags.daemon_config_flag(
        ", the products that it names, and its prices for proposals"
    )
    ledger_path: Path | None = flags.ledger_flag()
    amount: str = flag("--amount", metavar="DOLLARS", help="amount to add; negative to subtract (needed)")
    date: str = flag(
        "--date",
        metavar="YYYY-MM-DD",
        help="the day that it is for, of this month or the twelve before it (needed)",
    )
    product: str = flag(
        "--product", metavar="PRODUCT", help="the product, exactly as reports name it (needed)"
    )
    team: str | None = flag(
        "--team",
        metavar="TEAM",
        help="the product's team (default: its team in that month, or its only team)",
    )
    reason: str = flag("--reason", metavar="TEXT", help="why: reports show it (needed)")
    key: str | None = flag("--key", metavar="KEY", help="key of a proposed line; each key is accepted once")
    dry_run: bool = switch("--dry-run", "print the result; change nothing")
    proposals: bool = switch(
        "--proposals", "print the corrections that changed prices require; change nothing"
    )


@verb(
    "adjust",
    "add a dated correction to a product's cost; the daemon posts it at its next tick",
    examples=(
        (
            "--amount=-12.34 --date=2026-10-31 --product=assistant --reason='invoice 4711: 2 h unused'",
            "reduce the cost of a product in October by 12.34 dollars",
        ),
        (
            "--amount=-12.34 --date=2026-10-31 --product=assistant --reason='invoice 4711' --dry-run",
            "show the effect without a change",
        ),
        (
            "--proposals --config.file=/etc/ice.yaml",
            "print a line for each correction that prices by date ask for, and enter nothing",
        ),
    ),
    exits=Exits(
        "entered, a dry run that would be, or proposals printed",
        "no ledger that can be written, or read for proposals",
        "invalid configuration, flag or combination of flags",
    ),
    options=AdjustFlags,
)
def adjust(options: AdjustFlags, clock: Clock | None = None) -> int:
    """Enter one adjustment or print proposals; returns 0, 1 (no ledger takes it) or 2 (invalid)."""
    clock = clock or SystemClock()
    required: dict[str, str | None] = {
        "--amount": options.amount,
        "--date": options.date,
        "--product": options.product,
        "--reason": options.reason,
    }
    if not options.proposals:
        missing = [name for name, value in required.items() if value is None]
        if missing:
            raise FlagError(f"the following arguments are required: {', '.join(missing)}")
        return _enter(options, clock.wall())
    others = {"--team": options.team, "--key": options.key, "--dry-run": options.dry_run or None}
    given = [name for name, value in (required | others).items() if value is not None]
    if given:
        raise FlagError(f"--proposals prints lines and enters none: leave out {', '.join(given)}")
    config_file = options.config_file
    if config_file is None:
        raise RefusedError(
            "--proposals needs the dated prices of the daemon's configuration: give --config.file"
        )
    session = LedgerSession.of(config_file, options.ledger_path)
    by_location = any(rule.depends_on_location for rule in session.config.hardware)
    location = location_now(session.config, clock) if by_location else UNKNOWN_LOCATION
    with session.open() as (ledger, zone):
        state = ledger.state()
        now = clock.wall() if state.wall is None else min(state.wall, clock.wall())
        tariff = cost_policy(session.config, host_name(), location).tariff
        tariff = replace(tariff, predecessors=state.predecessors)
        lines = proposals(tariff, ledger, zone, now, flags.of_files(config_file, options.ledger_path))
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return status.OK


def _enter(options: AdjustFlags, now: Instant) -> int:
    """Enter one adjustment, or print its effect."""
    session = LedgerSession.of(options.config_file, options.ledger_path)
    fields = adjustments.AdjustmentFields(
        amount=options.amount,
        date=options.date,
        product=options.product,
        team=options.team,
        reason=options.reason,
        key=options.key or "",
    )
    try:
        ledger = LedgerReader.open(session.path)
    except LedgerError:  # an error when the adjustment is written to it
        zone = session.config.timezone
    else:
        with ledger:
            zone = session.zone(ledger)
    request = adjustments.checked_request(fields, now, zone)
    products = adjustments.product_teams(session.config)
    try:
        entry = enter(session.path, request, products, now, dry_run=options.dry_run)
    except EntryError as error:
        raise RefusedError(str(error)) from error
    text = adjustments.dry_run_text(entry) if options.dry_run else adjustments.entry_text(entry)
    sys.stdout.write(f"{session.path}: {text}\n")
    for warning in adjustments.entry_warnings(entry, dry_run=options.dry_run):
        write_colored(f"warning: {warning}\n", sys.stderr)
    return status.OK
