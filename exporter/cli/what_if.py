"""`advise --what-if`: the load of a ledger, or of those of a fleet, with other choices."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from exporter.advice import Release
from exporter.cli import status
from exporter.cli.build import host_name
from exporter.cli.explain import NO_FILE
from exporter.cli.fleet_source import FleetSource, note_missing, open_ledger
from exporter.cli.ledger_session import LedgerSession
from exporter.cli.status import VerbFailedError, with_exit_status
from exporter.cli.terminal import waiting, write_colored
from exporter.clock import Clock, SystemClock
from exporter.config.settings import cost_policy
from exporter.finance import what_if as reports
from exporter.finance.what_if import FAMILIES, Choice, choice, fleet_hours, host_hours
from exporter.finance.what_if.window import Hours
from exporter.ledger.host_usage import host_usage
from exporter.readings import ServerKey
from exporter.sources.location import location_now
from exporter.tariff.calendar import day_of
from exporter.tariff.period import Period
from exporter.tariff.terms import matches
from exporter.units import NANOSECONDS_PER_HOUR, Instant

CHOICES_MAX: Final = 8


def add(verb: argparse.ArgumentParser) -> None:
    """Add the flags to the verb."""
    group = verb.add_argument_group("what if")
    group.add_argument(
        "--what-if",
        dest="choices",
        action="append",
        type=_choice,
        metavar="CHOICE",
        help="compare the load of the window with gpu=[Nx]MODEL:RATEtok/s, commitment=TERM:PRICE, "
        "schedule=DAYS/HOURS or hosted=NAME instead; repeatable; see docs/tco.md",
    )
    group.add_argument(
        "--server",
        dest="servers",
        default="",
        metavar="PATTERN",
        help="with --what-if, of servers whose NAME or NAMESPACE/NAME it matches (default: all)",
    )


def _choice(text: str) -> Choice:
    try:
        return choice(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


@dataclass(frozen=True, slots=True)
class WhatIfOptions:
    """Choices, and the hours of the daemon's ledger, or of those of a fleet, to compare them for."""

    config_file: Path | None
    ledger_path: Path | None
    hours: int
    as_json: bool
    choices: Sequence[Choice]
    servers: str = ""
    fleet: FleetSource | None = None


@dataclass(frozen=True, slots=True)
class _Use:
    """The hours of all ledgers, and the terms and the location where they are known."""

    hours: Hours
    zone: ZoneInfo
    releases: frozenset[Release]
    partial: frozenset[ServerKey] = frozenset()
    cloud: str = ""


@with_exit_status
def what_if(options: WhatIfOptions, clock: Clock | None = None) -> int:
    """Print choices; returns 0, 1 (no ledger, too little of it, or no choice has a figure) or 2."""
    clock = clock or SystemClock()
    now = clock.wall()
    session = LedgerSession.of(options.config_file, options.ledger_path)
    last = now // NANOSECONDS_PER_HOUR - 1
    first = last + 1 - options.hours
    if options.fleet is None:
        use = _host(session, first, last, now, clock)
        if options.config_file is None:
            write_colored(f"note: {NO_FILE}\n", sys.stderr)
    else:
        use = _fleet(options.fleet, session, first, last, now)
    config, pattern = session.config, options.servers

    def selected(key: ServerKey) -> bool:
        return not pattern or matches(pattern, key.name) or matches(pattern, key.server)

    try:
        load = reports.measured_load(use.hours, min(use.hours, default=last + 1), last, pattern, selected)
    except reports.NotComparableError as error:
        raise VerbFailedError(str(error)) from error
    policy = reports.WhatIfPolicy(
        now,
        use.zone,
        config.hours_per_month,
        config.compare,
        config.hardware,
        config.unmatched_hardware,
        config.catalogue,
        use.cloud,
        use.partial,
    )
    end = (last + 1) * NANOSECONDS_PER_HOUR
    answer = reports.what_if(load, options.choices, policy, end, use.releases)
    sys.stdout.write(reports.as_json(answer) if options.as_json else reports.text(answer))
    return status.OK if any(each.cost is not None for each in answer.outcomes) else status.FAILED


def _host(session: LedgerSession, first: int, last: int, now: Instant, clock: Clock) -> _Use:
    """The daemon's ledger, with the terms of the configuration."""
    # The cloud is asked with the ledger closed: the daemon's log grows until it is.
    location = location_now(session.config, clock)
    tariff = cost_policy(session.config, host_name(), location).tariff
    with waiting("reading the ledger"), session.open() as (ledger, zone):
        history = ledger.hours(first, last, FAMILIES) or {}
        usage = host_usage(ledger, "", now, 1, tariff)
        hours = host_hours(history, ledger.covered_hours(first, last))
    releases = frozenset(gpu.release for gpu in usage.gpus)
    return _Use(hours, zone, releases, usage.partial, tariff.location.cloud)


def _fleet(source: FleetSource, session: LedgerSession, first: int, last: int, now: Instant) -> _Use:
    """Each ledger once; the terms of other hosts are not known here."""
    zone = session.config.timezone
    fleet = source.read_local(lambda local: Period.between(_day(first, local), _day(last, local)), zone, now)
    note_missing(fleet)
    partial: set[ServerKey] = set()

    def each_host() -> Iterator[Hours]:
        for summary in fleet.hosts:
            with open_ledger(summary.host, "--what-if") as ledger:
                history = ledger.hours(first, last, FAMILIES) or {}
                partial.update(ledger.state().partial_servers)
                yield host_hours(history, ledger.covered_hours(first, last))

    hours = fleet_hours(each_host())
    return _Use(hours, fleet.zone, frozenset({"unknown"}), frozenset(partial))


def _day(hour: int, zone: ZoneInfo) -> date:
    return date.fromisoformat(day_of(hour * NANOSECONDS_PER_HOUR, zone).name)
