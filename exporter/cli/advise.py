"""The verb `advise`: what a host or a fleet could save, from its ledgers and present prices."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import takewhile
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from exporter.advice.hours import HostUsage, Release
from exporter.advice.kinds import advice
from exporter.advice.saving import SavingsPolicy
from exporter.cli import flags, fleet_source, status
from exporter.cli.flags import FlagError, flag
from exporter.cli.fleet_source import FleetSource
from exporter.cli.ledger_session import LedgerSession
from exporter.cli.status import VerbFailedError, failing
from exporter.cli.terminal import waiting
from exporter.cli.verb import Exits, verb
from exporter.clock import Clock, SystemClock
from exporter.config.settings import cost_policy
from exporter.finance.options import advice_report, what_if_report
from exporter.finance.options.advice_report import AdviceReport
from exporter.finance.options.choices import Choice, WhatIfPolicy, choice
from exporter.finance.options.load import (
    FAMILIES,
    Hours,
    NotComparableError,
    fleet_hours,
    host_hours,
    measured_load,
)
from exporter.finance.options.what_if import what_if as compared
from exporter.ledger.host_usage import host_usage
from exporter.readings import ServerKey
from exporter.tariff.calendar import day_of
from exporter.tariff.period import Period
from exporter.tariff.terms import matches
from exporter.units import NANOSECONDS_PER_HOUR, Instant

HOURS_MIN: Final = 24
HOURS: Final = 14 * 24

WHAT_IF: Final = "what if"
"""The group of flags in the help."""

CHOICES_MAX: Final = 8


def _window(text: str) -> int:
    hours = flags.duration(text, "hd") // NANOSECONDS_PER_HOUR
    if not HOURS_MIN <= hours <= flags.HISTORY_HOURS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no window: write hours or days from 24h to 40d")
    return hours


def _choice(text: str) -> Choice:
    try:
        return choice(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


@dataclass(frozen=True, slots=True)
class AdviseOptions:
    """The hours to judge, of the daemon's ledger or of those of a fleet, and choices to compare for them."""

    config_file: Path | None = flags.daemon_config_flag(
        ", hosted offers, ignored findings and the prices of now; without one, those are estimates of "
        "the bundled catalogue"
    )
    ledger_path: Path | None = flags.ledger_flag()
    hours: int = flag(
        "--window",
        type=_window,
        default=HOURS,
        metavar="TIME",
        help="whole hours or days from 24h to 40d (default 14d)",
    )
    as_json: bool = flags.json_flag()
    fleet: FleetSource | None = fleet_source.several_hosts(ledgers_only="hours of servers")
    choices: Sequence[Choice] = flag(
        "--what-if",
        default=(),
        group=WHAT_IF,
        action="append",
        type=_choice,
        metavar="CHOICE",
        help="compare the load of the window with gpu=[Nx]MODEL:RATEtok/s, commitment=TERM:PRICE, "
        "schedule=DAYS/HOURS or hosted=NAME instead; repeatable; see docs/tco.md",
    )
    servers: str = flag(
        "--server",
        default="",
        group=WHAT_IF,
        metavar="PATTERN",
        help="with --what-if, of servers whose NAME or NAMESPACE/NAME it matches (default: all)",
    )


@verb(
    "advise",
    "list what could be saved, in dollars a month, with evidence and limits",
    examples=(
        ("", "this host over the last two weeks"),
        ("--window=30d --json", "a longer window, for programs"),
        ("--from=/srv/archive", "all ledgers of a folder as one fleet"),
        ("--what-if=hosted=0.15/0.60 --what-if=schedule=mon-fri/08-20", "other choices, side by side"),
        ("--server=chat-70b --what-if=gpu=L40S:2400tok/s", "one server on GPUs of another type"),
    ),
    exits=Exits("printed", "no ledger that can be read"),
    options=AdviseOptions,
)
def advise(options: AdviseOptions, clock: Clock | None = None) -> int:
    """Print savings or choices; returns the exit status, 1 also where no choice has a figure."""
    clock = clock or SystemClock()
    if options.servers and not options.choices:
        raise FlagError("--server goes with --what-if")
    if len(options.choices) > CHOICES_MAX:
        raise FlagError(f"--what-if is given more than {CHOICES_MAX} times")
    if options.choices:
        return _compare_choices(options, clock)
    now = clock.wall()
    session = LedgerSession.of(options.config_file, options.ledger_path)
    if options.fleet is None:
        tariff = session.policy(clock).tariff
        with waiting("reading the ledger"), session.open() as (ledger, zone):
            hosts = [host_usage(ledger, "", now, options.hours, tariff)]
        files = {"": flags.of_files(options.config_file, options.ledger_path)}
        session.note_estimates()
    else:
        hosts, files, zone = _fleet(options.fleet, session, options.hours, now)
    config = session.config
    policy = SavingsPolicy(
        now, zone, config.hours_per_month, offers=config.compare, ignored=config.ignored_savings
    )
    end = now - now % NANOSECONDS_PER_HOUR
    report = AdviceReport(advice(hosts, policy), end, options.hours, files)
    sys.stdout.write(advice_report.as_json(report) if options.as_json else advice_report.text(report))
    return status.OK


def _fleet(
    source: FleetSource, session: LedgerSession, hours: int, now: Instant
) -> tuple[list[HostUsage], dict[str, tuple[str, ...]], ZoneInfo]:
    """Each ledger once, at the prices of its last paid hour.

    Terms are those of rented hardware in the configuration, up to the first rule that names a host or depends
    on where a host is: nothing of that is known here.
    """
    zone = session.config.timezone
    tariff = cost_policy(session.config, "", None).tariff
    release_rules = replace(
        tariff, hardware=tuple(takewhile(lambda rule: rule.match.host is None, tariff.hardware))
    )
    last = now // NANOSECONDS_PER_HOUR
    fleet = source.read_local(
        lambda local: Period.between(_day(last - hours, local), _day(last, local)), zone, now
    )
    if not fleet.hosts:
        raise VerbFailedError("no ledger has anything of these days: savings are those of hosts that report")
    fleet_source.note_missing(fleet)
    usages: list[HostUsage] = []
    files: dict[str, tuple[str, ...]] = {}
    for summary in fleet.hosts:
        name = summary.host.name if summary.host.name not in files else summary.host.location
        with fleet_source.open_ledger(summary.host, "advise") as ledger:
            usages.append(host_usage(ledger, name, now, hours, release_rules=release_rules))
        files[name] = flags.of_files(session.config_file, summary.host.path)
    return usages, files, fleet.zone


@dataclass(frozen=True, slots=True)
class _Use:
    """The load of one or more ledgers, which choices are compared for."""

    hours: Hours
    """Tokens and dollars of each hour."""
    zone: ZoneInfo
    """Time zone of the days."""
    releases: frozenset[Release]
    """When GPUs can be given back; `unknown` for those of other hosts."""
    partial: frozenset[ServerKey] = frozenset()
    """Servers whose tokens are computed elsewhere too."""
    cloud: str = ""
    """Cloud of the host; empty where it is not known."""


def _compare_choices(options: AdviseOptions, clock: Clock) -> int:
    """Print choices side by side; the status is 1 where none has a figure."""
    now = clock.wall()
    session = LedgerSession.of(options.config_file, options.ledger_path)
    last = now // NANOSECONDS_PER_HOUR - 1
    first = last + 1 - options.hours
    if options.fleet is None:
        tariff = session.policy(clock).tariff
        with waiting("reading the ledger"), session.open() as (ledger, zone):
            history = ledger.hours(first, last, FAMILIES) or {}
            usage = host_usage(ledger, "", now, 1, tariff)
            hours = host_hours(history, ledger.covered_hours(first, last))
        releases = frozenset(gpu.release for gpu in usage.gpus)
        use = _Use(hours, zone, releases, partial=usage.partial, cloud=tariff.location.cloud)
        session.note_estimates()
    else:
        use = _fleet_load(options.fleet, session, first, last, now)
    config, pattern = session.config, options.servers

    def selected(key: ServerKey) -> bool:
        return not pattern or matches(pattern, key.name) or matches(pattern, key.server)

    with failing(NotComparableError):
        load = measured_load(use.hours, min(use.hours, default=last + 1), last, pattern, selected)
    policy = WhatIfPolicy(
        now,
        use.zone,
        config.hours_per_month,
        offers=config.compare,
        hardware=config.hardware,
        unmatched=config.unmatched_hardware,
        catalogue=config.catalogue,
        cloud=use.cloud,
        partial=use.partial,
    )
    end = (last + 1) * NANOSECONDS_PER_HOUR
    answer = compared(load, options.choices, policy, end, use.releases)
    sys.stdout.write(what_if_report.as_json(answer) if options.as_json else what_if_report.text(answer))
    return status.OK if any(each.cost is not None for each in answer.outcomes) else status.FAILED


def _fleet_load(source: FleetSource, session: LedgerSession, first: int, last: int, now: Instant) -> _Use:
    """Each ledger once; the terms of other hosts are not known here."""
    zone = session.config.timezone
    fleet = source.read_local(lambda local: Period.between(_day(first, local), _day(last, local)), zone, now)
    fleet_source.note_missing(fleet)
    partial: set[ServerKey] = set()

    def each_host_load() -> Iterator[Hours]:
        for summary in fleet.hosts:
            with fleet_source.open_ledger(summary.host, "--what-if") as ledger:
                history = ledger.hours(first, last, FAMILIES) or {}
                partial.update(ledger.state().partial_servers)
                yield host_hours(history, ledger.covered_hours(first, last))

    hours = fleet_hours(each_host_load())
    return _Use(hours, fleet.zone, frozenset({"unknown"}), partial=frozenset(partial))


def _day(hour: int, zone: ZoneInfo) -> date:
    return date.fromisoformat(day_of(hour * NANOSECONDS_PER_HOUR, zone).name)
