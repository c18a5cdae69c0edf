"""The verb `advise`: what a host or a fleet could save, from its ledgers and present prices."""

import argparse
import re
import sys
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from exporter.advice import HostUsage, SavingsPolicy, advice
from exporter.cli import flags, fleet_source, status, what_if
from exporter.cli.build import host_name
from exporter.cli.explain import NO_FILE
from exporter.cli.flags import Exits
from exporter.cli.fleet_source import FleetSource
from exporter.cli.ledger_session import LedgerSession
from exporter.cli.status import VerbFailedError, with_exit_status
from exporter.cli.terminal import waiting, write_colored
from exporter.clock import Clock, SystemClock
from exporter.config.settings import cost_policy
from exporter.finance.advice_report import AdviceReport, as_json, text
from exporter.ledger.host_usage import host_usage
from exporter.sources.location import location_now
from exporter.tariff.calendar import month_of
from exporter.tariff.period import Period
from exporter.units import NANOSECONDS_PER_HOUR, Instant

HOURS_MIN: Final = 24
HOURS_MAX: Final = 40 * 24
"""History by the hour is kept for 40 days."""

WINDOW: Final = "14d"


def add(verbs: flags.Verbs) -> None:
    """Add it to the program's parser."""
    verb = flags.add_verb(
        verbs,
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
    )
    verb.add_argument(
        "--window",
        dest="hours",
        type=_window,
        default=WINDOW,
        metavar="TIME",
        help=f"whole hours or days from 24h to 40d (default {WINDOW})",
    )
    flags.as_json(verb)
    flags.daemon_ledger(
        verb,
        use=", hosted offers, ignored findings and the prices of now; without one, those are estimates of "
        "the bundled catalogue",
    )
    what_if.add(verb)
    fleet_source.add(verb)
    verb.set_defaults(run=run)


def _window(text: str) -> int:
    match = re.fullmatch(r"(\d{1,4})([hd])", text, re.ASCII)
    hours = int(match[1]) * (24 if match[2] == "d" else 1) if match else 0
    if not HOURS_MIN <= hours <= HOURS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no window: write hours or days from 24h to 40d")
    return hours


@dataclass(frozen=True, slots=True)
class AdviseOptions:
    """The hours to judge, of the daemon's ledger or of those of a fleet."""

    config_file: Path | None
    ledger_path: Path | None
    hours: int
    as_json: bool
    fleet: FleetSource | None = None


def run(options: argparse.Namespace) -> int:
    """Print savings; returns the exit status."""
    fleet = FleetSource.of(options, ledgers_only="hours of servers")
    if options.servers and not options.choices:
        options.parser.error("--server goes with --what-if")
    if options.choices:
        if len(options.choices) > what_if.CHOICES_MAX:
            options.parser.error(f"--what-if is given more than {what_if.CHOICES_MAX} times")
        return what_if.what_if(flags.chosen(what_if.WhatIfOptions, options, fleet=fleet))
    return advise(flags.chosen(AdviseOptions, options, fleet=fleet))


@with_exit_status
def advise(options: AdviseOptions, clock: Clock | None = None) -> int:
    """Print savings; returns 0, 1 (no ledger can be read) or 2 (the configuration is wrong)."""
    clock = clock or SystemClock()
    now = clock.wall()
    session = LedgerSession.of(options.config_file, options.ledger_path)
    if options.fleet is None:
        host, zone = _host(session, options.hours, now, clock)
        hosts, files = [host], {"": flags.of_files(options.config_file, options.ledger_path)}
        if options.config_file is None:
            write_colored(f"note: {NO_FILE}\n", sys.stderr)
    else:
        hosts, files, zone = _fleet(options.fleet, session, options.hours, now)
    config = session.config
    policy = SavingsPolicy(now, zone, config.hours_per_month, config.compare, config.ignored_savings)
    end = now - now % NANOSECONDS_PER_HOUR
    report = AdviceReport(advice(hosts, policy), end, options.hours, files)
    sys.stdout.write(as_json(report) if options.as_json else text(report))
    return status.OK


def _host(session: LedgerSession, hours: int, now: Instant, clock: Clock) -> tuple[HostUsage, ZoneInfo]:
    """The daemon's ledger, at the prices of the configuration."""
    # The cloud is asked with the ledger closed: the daemon's log grows until it is.
    tariff = cost_policy(session.config, host_name(), location_now(session.config, clock)).tariff
    with waiting("reading the ledger"), session.open() as (ledger, zone):
        return host_usage(ledger, "", now, hours, tariff), zone


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
    fleet = source.read_local(lambda local: Period.named(month_of(now, local).name), zone, now)
    if not fleet.hosts:
        raise VerbFailedError("no ledger has anything of this month: savings are those of hosts that report")
    fleet_source.note_missing(fleet)
    usages: list[HostUsage] = []
    files: dict[str, tuple[str, ...]] = {}
    for summary in fleet.hosts:
        name = summary.host.name if summary.host.name not in files else summary.host.location
        with fleet_source.open_ledger(summary.host, "advise") as ledger:
            usages.append(host_usage(ledger, name, now, hours, release_rules=release_rules))
        files[name] = flags.of_files(session.config_file, summary.host.path)
    return usages, files, fleet.zone
