"""The verb `explain`: how a server's cost per token comes about; with `--why`, how two months differ."""

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from exporter.advice.explanation import CostAccounts, ExplainedPeriod, ExplanationError, explain
from exporter.cli import flags, fleet_source, status
from exporter.cli.flags import FlagError, flag
from exporter.cli.fleet_source import FleetSource
from exporter.cli.ledger_session import LedgerSession
from exporter.cli.status import VerbFailedError, failing
from exporter.cli.terminal import columns, fitted, waiting
from exporter.cli.verb import Exits, verb
from exporter.clock import Clock, SystemClock
from exporter.finance import why_report
from exporter.finance.fleet.missing import missing_json, section
from exporter.finance.fleet.record import FleetMonth
from exporter.finance.why import ComparedPeriod, Scope, compare
from exporter.ledger.reader import LedgerReader
from exporter.readings import ServerKey
from exporter.tariff.period import Period
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_MINUTE, Instant
from exporter.web import explanation as forms
from exporter.web.page import explanation_text

TWO_MONTHS: Final = "two months"
"""The group of flags in the help."""

WINDOW: Final = 1
"""Hours: what the quotients of the metrics are taken over, 60 whole minutes."""


def _hours(text: str) -> int:
    """Hours of a window like 24h or 7d; `60m` is one."""
    hours = 1 if text == "60m" else flags.duration(text, "hd") // NANOSECONDS_PER_HOUR
    if not 1 <= hours <= flags.HISTORY_HOURS_MAX:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no window: write 60m, or hours or days up to 40d, like 24h or 7d"
        )
    return hours


def _price(text: str) -> float:
    try:
        price = float(text)
    except ValueError:
        price = math.nan
    if not 0 < price < math.inf:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no price: write dollars per million tokens above 0, like 1.10"
        )
    return price


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """What to explain: a server or all, over how many hours, against which price per million tokens."""

    config_file: Path | None = flags.daemon_config_flag(
        " and the prices of now; without one, those are estimates of the bundled catalogue"
    )
    ledger_path: Path | None = flags.ledger_flag()
    server: str | None = flag(
        nargs="?", metavar="SERVER", help="as NAME or NAMESPACE/NAME (default: all, most expensive first)"
    )
    hours: int = flag(
        "--window",
        default=WINDOW,
        type=_hours,
        metavar="TIME",
        help="60m (as the metrics), or whole hours or days up to 40d (default 60m)",
    )
    against: str | None = flag(
        "--against",
        metavar="DOLLARS",
        help="a price per million tokens to compare with; with --why, the month to compare with",
    )
    as_json: bool = flags.json_flag()
    why: bool = flags.switch("--why", "explain the difference of --month and the month --against", TWO_MONTHS)
    month: str | None = flags.month_flag("the month to explain", group=TWO_MONTHS)
    product: str | None = flag("--product", group=TWO_MONTHS, metavar="NAME", help="one product only")
    source: FleetSource | None = fleet_source.several_hosts()


@verb(
    "explain",
    "show how a server's cost per token is calculated",
    examples=(
        ("", "each server over the last hour, as the metrics have it"),
        ("chat-70b --window=24h", "one server over a day"),
        ("chat-70b --window=7d --against=1.10", "compare with 1.10 dollars per million tokens"),
        ("--window=24h --json", "all of it for programs"),
        ("--why --month=2026-11 --against=2026-10", "why two months cost different amounts"),
        ("--why --month=2026-11 --against=2026-10 --from=/srv/archive", "the same for all hosts"),
    ),
    exits=Exits("printed", "no ledger that can be read, or it has nothing of that server"),
    options=ExplainOptions,
)
def explained(options: ExplainOptions, clock: Clock | None = None) -> int:
    """Print an explanation; returns 0, 1 (the ledger has no answer) or 2 (the configuration is wrong)."""
    clock = clock or SystemClock()
    if not options.why:
        others = {"--month": options.month, "--product": options.product, "--from": options.source}
        for name, value in others.items():
            if value is not None:
                raise FlagError(f"{name} needs --why")
        price = None if options.against is None else _against(_price, options.against)
        return _explain_hours(options, price, clock)
    if options.month is None or options.against is None:
        raise FlagError("--why needs --month and --against, like 2026-10 and 2026-09")
    if options.product is not None and options.server is not None:
        raise FlagError("--product and SERVER exclude each other")
    earlier = _against(flags.month_value, options.against)
    now = clock.wall()
    session = LedgerSession.of(options.config_file, options.ledger_path)
    first = _month_of_hosts(options, session, earlier, now)
    second = _month_of_hosts(options, session, options.month, now)
    fleets = [first.fleet, second.fleet]
    comparison = compare(first.period, second.period, _scope(options, fleets))
    if options.as_json:
        missing = {
            "missing": {fleet.record.month: missing_json(fleet) for fleet in fleets},
            "apportioned": any(host.host.apportioned for fleet in fleets for host in fleet.hosts),
        }
        sys.stdout.write(why_report.as_json(comparison, missing))
        return status.OK
    notes = []
    for fleet in fleets:
        headline = next(iter(section(fleet))) if fleet.findings else ""
        if headline:
            notes.append(f"{fleet.record.month}: {headline}")
    sys.stdout.write(fitted(why_report.text(comparison, notes), columns()))
    return status.OK


Value = TypeVar("Value")


def _against(value: Callable[[str], Value], text: str) -> Value:
    """The value of --against, which is a price or a month."""
    try:
        return value(text)
    except argparse.ArgumentTypeError as error:
        raise FlagError(f"argument --against: {error}") from None


def _explain_hours(options: ExplainOptions, price: float | None, clock: Clock) -> int:
    """Print how the cost per token of the last hours comes about."""
    session = LedgerSession.of(options.config_file, options.ledger_path)
    with failing(ExplanationError, at=session.path), waiting("reading the ledger"):
        now = clock.wall()
        with session.open() as (ledger, zone):
            accounts, period = _accounts(ledger, options.hours, now)
        explanation = explain(
            accounts,
            period,
            replace(session.policy(clock), zone=zone),
            ledger.state(),
            now,
            ledger=ledger.id,
            server=options.server,
            price=price,
        )
    if any(server.allocated for server in explanation.servers):
        session.note_estimates()
    text = forms.as_json(explanation) if options.as_json else fitted(explanation_text(explanation), columns())
    sys.stdout.write(text)
    return status.OK


def _accounts(ledger: LedgerReader, hours: int, now: Instant) -> tuple[CostAccounts, ExplainedPeriod]:
    """One hour is the window of the metrics, 60 whole minutes; longer is the last whole hours.

    Nothing finer is kept of hours that are over. Of a ledger without a whole hour the 60 minutes are all.
    """
    accounts = CostAccounts()
    totals = ledger.totals(now, ())
    if not totals.cost:
        raise ExplanationError("nothing was posted yet: a daemon posts from its second tick on")
    last = now // NANOSECONDS_PER_HOUR - 1
    first = last + 1 - hours
    if hours == WINDOW or not ledger.covered(first, last):
        for owner, window in totals.window.items():
            accounts.add_window(owner, window.money, window.tokens, window.unpriced)
        accounts.add_last(totals.last_token)
        end = now - now % NANOSECONDS_PER_MINUTE
        start = end - NANOSECONDS_PER_HOUR
        both = start // NANOSECONDS_PER_HOUR, end // NANOSECONDS_PER_HOUR
        for sums in (ledger.hours(*both) or {}).values():
            accounts.add_mix(sums.by_component())
        # The first of the two hours began before the window, and the last tick may be long ago.
        metered_until = min(end, ledger.state().wall or 0)
        covered = min(max(0, metered_until - start), ledger.covered(*both))
        return accounts, ExplainedPeriod(start, end, covered)
    for sums in (ledger.hours(first, last) or {}).values():
        accounts.add_history(
            sums.cost, sums.held, sums.tokens, sums.unpriced, sums.settled, sums.by_component()
        )
    accounts.add_last(totals.last_token)
    start, end = first * NANOSECONDS_PER_HOUR, (last + 1) * NANOSECONDS_PER_HOUR
    return accounts, ExplainedPeriod(start, end, ledger.covered(first, last))


class _MonthOfHosts(NamedTuple):
    """One of the two months that `--why` compares."""

    fleet: FleetMonth
    period: ComparedPeriod


def _month_of_hosts(
    options: ExplainOptions, session: LedgerSession, month: str, now: Instant
) -> _MonthOfHosts:
    """A month of the daemon's ledger or of all hosts.

    Raises:
        VerbFailedError: there is nothing of it.
    """
    source = options.source or FleetSource((session.path,))
    calendar_month = Period.named(month)
    fleet = source.read(calendar_month, session.config.timezone, now)
    if month not in fleet.record.months:
        have = ", ".join(fleet.record.months) or "nothing"
        raise VerbFailedError(f"there is nothing of {month}: there is {have}")
    # Overheads of the fleet are those of several hosts, and no part of one ledger.
    overheads = None
    if options.source is not None:
        overheads = source.fleet_overheads(session.config, calendar_month, fleet.zone, now)
    start, end = calendar_month.bounds(fleet.zone)
    first_instants = [summary.host.first for summary in fleet.hosts if summary.host.first is not None]
    metered_from = max(start, min(first_instants, default=start))
    # A month in which metering began is shorter.
    begin = metered_from if metered_from < end else start
    until = max(begin + 1, min(now, end))
    period = ComparedPeriod(
        name=month if now >= end else f"{month} to date",
        record=fleet.record,
        length=until - begin,
        fleet_overheads=0 if overheads is None else overheads.total,
    )
    return _MonthOfHosts(fleet, period)


def _scope(options: ExplainOptions, fleets: list[FleetMonth]) -> Scope:
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
