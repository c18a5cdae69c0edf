"""The verb `explain`: how a server's cost per token comes about, from the daemon's ledger and prices."""

import argparse
import math
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from exporter.advice.explanation import CostAccounts, ExplainedPeriod, Explanation, ExplanationError, explain
from exporter.cli import flags, status, why
from exporter.cli.build import host_name
from exporter.cli.flags import Exits
from exporter.cli.ledger_session import LedgerSession
from exporter.cli.status import VerbFailedError, with_exit_status
from exporter.cli.terminal import columns, fitted, waiting, write_colored
from exporter.clock import Clock, SystemClock
from exporter.config.settings import cost_policy
from exporter.ledger.reader import LedgerReader
from exporter.sources.location import location_now
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_MINUTE, Instant
from exporter.web import explanation as forms

HOURS_MAX: Final = 40 * 24
"""History by the hour is kept for 40 days."""

WINDOW: Final = 1
"""Hours: what the quotients of the metrics are taken over, 60 whole minutes."""

NO_FILE: Final = (
    "no --config.file given: current prices are from the bundled catalogue. "
    "Give the daemon's file if it has one."
)


def add(verbs: flags.Verbs) -> None:
    """Add it to the program's parser."""
    verb = flags.add_verb(
        verbs,
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
    )
    verb.add_argument(
        "server",
        nargs="?",
        metavar="SERVER",
        help="as NAME or NAMESPACE/NAME (default: all, the dearest first)",
    )
    verb.add_argument(
        "--window",
        dest="hours",
        type=_hours,
        default="60m",
        metavar="TIME",
        help="60m (as the metrics), or whole hours or days up to 40d (default 60m)",
    )
    verb.add_argument(
        "--against",
        metavar="DOLLARS",
        help="a price per million tokens to compare with; with --why, the month to compare with",
    )
    flags.as_json(verb)
    why.add(verb)
    flags.daemon_ledger(
        verb,
        use=" and the prices of now; without one, those are estimates of the bundled catalogue",
    )
    verb.set_defaults(run=run)


def _hours(text: str) -> int:
    """Hours of a window like 24h or 7d; `60m` is one."""
    match = re.fullmatch(r"(\d{1,4})([hd])", text, re.ASCII)
    hours = 1 if text == "60m" else int(match[1]) * (24 if match[2] == "d" else 1) if match else 0
    if not 1 <= hours <= HOURS_MAX:
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


def run(options: argparse.Namespace) -> int:
    """Print an explanation; returns the exit status."""
    if why_options := why.chosen(options):
        return why.run(why_options)
    if options.against is not None:
        try:
            options.against = _price(options.against)
        except argparse.ArgumentTypeError as error:
            options.parser.error(f"argument --against: {error}")
    return explained(flags.chosen(ExplainOptions, options))


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """What to explain: a server or all, over how many hours, against which price per million tokens."""

    config_file: Path | None
    ledger_path: Path | None
    server: str | None
    hours: int
    against: float | None
    as_json: bool


@with_exit_status
def explained(options: ExplainOptions, clock: Clock | None = None) -> int:
    """Print an explanation; returns 0, 1 (the ledger has no answer) or 2 (the configuration is wrong)."""
    session = LedgerSession.of(options.config_file, options.ledger_path)
    try:
        with waiting("reading the ledger"):
            explanation = _explanation(options, session, clock or SystemClock())
    except ExplanationError as error:
        raise VerbFailedError(f"{session.path}: {error}") from error
    if options.config_file is None and any(server.allocated for server in explanation.servers):
        write_colored(f"note: {NO_FILE}\n", sys.stderr)
    sys.stdout.write(
        forms.as_json(explanation) if options.as_json else fitted(forms.text(explanation), columns())
    )
    return status.OK


def _explanation(options: ExplainOptions, session: LedgerSession, clock: Clock) -> Explanation:
    now = clock.wall()
    with session.open() as (ledger, zone):
        accounts, period = _accounts(ledger, options.hours, now)
    # The cloud is asked with the ledger closed: the daemon's log grows until it is.
    policy = cost_policy(session.config, host_name(), location_now(session.config, clock))
    return explain(
        accounts,
        period,
        replace(policy, zone=zone),
        ledger.state(),
        now,
        ledger=ledger.id,
        server=options.server,
        price=options.against,
    )


def _accounts(ledger: LedgerReader, hours: int, now: Instant) -> tuple[CostAccounts, ExplainedPeriod]:
    """One hour is the window of the metrics, 60 whole minutes; longer is the last whole hours.

    Nothing finer is kept of hours that are over. Of a ledger without a whole hour the 60 minutes are all.
    """
    accounts = CostAccounts()
    totals = ledger.totals(now, ())
    if not totals.cost:
        raise ExplanationError("nothing was posted yet: a daemon posts from its second tick on")
    accounts.add_last(totals.last_token)
    last = _hour(now) - 1
    first = last + 1 - hours
    if hours == WINDOW or not ledger.covered(first, last):
        for owner, window in totals.window.items():
            accounts.add_window(owner, window.money, window.tokens, window.unpriced)
        end = now - now % NANOSECONDS_PER_MINUTE
        start = end - NANOSECONDS_PER_HOUR
        for sums in (ledger.hours(_hour(start), _hour(end)) or {}).values():
            accounts.add_mix(sums.by_component())
        covered = min(NANOSECONDS_PER_HOUR, ledger.covered(_hour(start), _hour(end)))
        return accounts, ExplainedPeriod(start, end, covered)
    for sums in (ledger.hours(first, last) or {}).values():
        accounts.add_history(
            sums.cost, sums.held, sums.tokens, sums.unpriced, sums.settled, sums.by_component()
        )
    start, end = first * NANOSECONDS_PER_HOUR, (last + 1) * NANOSECONDS_PER_HOUR
    return accounts, ExplainedPeriod(start, end, ledger.covered(first, last))


def _hour(instant: Instant) -> int:
    return instant // NANOSECONDS_PER_HOUR
