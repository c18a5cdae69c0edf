"""The wiring of `explain`: a running daemon's ledger, read only, and the prices of its configuration."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from exporter.cli import status
from exporter.cli.build import host_name
from exporter.cli.ledger_zone import books_zone
from exporter.cli.terminal import complain, tell, waiting
from exporter.clock import Clock, SystemClock
from exporter.config import ConfigError, load
from exporter.config.settings import cost_policy
from exporter.cost.explanation import CostAccounts, ExplainedPeriod, Explanation, ExplanationError, explain
from exporter.ledger.errors import LedgerError
from exporter.ledger.reader import LedgerReader
from exporter.sources.location import location_now
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_MINUTE, Instant
from exporter.web import explanation as chains

WINDOW: Final = 1
"""Hours: what the quotients of the metrics are taken over, 60 whole minutes."""

NO_FILE: Final = (
    "no configuration file is named: what an hour costs now is told by the bundled catalogue; "
    "if the daemon has a file, name it with --config.file"
)


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """What is asked: a server or all, over how many hours, against which price per million tokens."""

    config_file: Path | None
    ledger_path: Path | None
    server: str | None
    hours: int
    against: float | None
    as_json: bool


def explained(question: ExplainOptions, clock: Clock | None = None) -> int:
    """Print an explanation; returns 0, 1 (the ledger has no answer) or 2 (the configuration is wrong)."""
    try:
        config = load(question.config_file)
    except ConfigError as error:
        complain(error)
        return status.CONFIGURATION
    path = question.ledger_path or config.ledger_path
    clock = clock or SystemClock()
    now = clock.wall()
    try:
        with waiting("reading the ledger"):
            with LedgerReader.open(path) as ledger:
                zone = books_zone(ledger, config, question.config_file)
                accounts, stretch = _accounts(ledger, question.hours, now)
            # The cloud is asked with the ledger closed: the daemon's log grows until it is.
            explanation: Explanation = explain(
                accounts,
                stretch,
                replace(cost_policy(config, host_name(), location_now(config, clock)), zone=zone),
                ledger.state(),
                now,
                ledger=ledger.id,
                server=question.server,
                price=question.against,
            )
    except LedgerError as error:
        complain(f"{error}; name the daemon's ledger with --ledger.path or --config.file")
        return status.FAILED
    except ExplanationError as error:
        complain(f"{path}: {error}")
        return status.FAILED
    if question.config_file is None and any(server.allocated for server in explanation.servers):
        tell(f"note: {NO_FILE}\n", sys.stderr)
    sys.stdout.write(chains.as_json(explanation) if question.as_json else chains.text(explanation))
    return status.OK


def _accounts(ledger: LedgerReader, hours: int, now: Instant) -> tuple[CostAccounts, ExplainedPeriod]:
    """One hour is the window of the metrics, 60 whole minutes; longer is the last whole hours.

    Nothing finer is kept of hours that are over. Of a ledger without a whole hour the 60 minutes are all.
    """
    accounts = CostAccounts()
    books = ledger.books(now, ())
    if not books.cost:
        raise ExplanationError("nothing was posted yet: a daemon posts from its second tick on")
    accounts.add_last(books.last_token)
    last = _hour(now) - 1
    first = last + 1 - hours
    if hours == WINDOW or not ledger.covered(first, last):
        for owner, window in books.window.items():
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
