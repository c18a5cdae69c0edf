"""The verb `tco`: a scenario's file, and with `--measured` the daemon's ledger or those of a fleet."""

import json
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

from exporter.cli import flags, fleet_source, status
from exporter.cli.flags import FlagError, flag, switch
from exporter.cli.fleet_source import FleetSource
from exporter.cli.ledger_session import LedgerSession
from exporter.cli.status import failing, writing
from exporter.cli.terminal import columns, waiting
from exporter.cli.verb import Exits, verb
from exporter.clock import Clock, SystemClock
from exporter.finance.fleet.record import HostMonth
from exporter.finance.options import chart, tco_report
from exporter.finance.options import scenario as scenario_file
from exporter.finance.options import tco as tco_answer
from exporter.finance.options.measurement import (
    DAYS,
    FAMILIES,
    HostDays,
    Measurement,
    NotMeasuredError,
    fleet_days,
    measurement,
)
from exporter.ledger.schema import day_number
from exporter.tariff.calendar import day_of
from exporter.tariff.period import Period
from exporter.units import NANOSECONDS_PER_DAY, NANOSECONDS_PER_HOUR


@dataclass(frozen=True, slots=True)
class TcoOptions:
    """What to compare: a scenario's file or the name of an example, or neither to list them."""

    scenario: Path | None = flag(
        nargs="?", type=Path, metavar="SCENARIO.yaml", help="what to compare; see docs/tco.md"
    )
    example: str | None = flag("--example", metavar="NAME", help="take one of them instead of a file")
    show: bool = switch("--show", "print the example's file")
    measured: bool = switch(
        "--measured", "take the load from the ledger's last 30 days, and what they cost as one more option"
    )
    config_file: Path | None = flags.daemon_config_flag("; only --measured reads it")
    ledger_path: Path | None = flags.ledger_flag()
    as_json: bool = flags.json_flag()
    svg: Path | None = flags.file_flag("--svg", "write a chart to a file")
    fleet: FleetSource | None = fleet_source.several_hosts(
        addresses=False, ledgers_only="days of tokens and dollars"
    )
    listed: bool = switch("--list", "list the examples that come with the program")


@verb(
    "tco",
    "compare owned, rented, hosted and hybrid serving over years",
    examples=(
        ("--list", "the examples that come with the program"),
        ("--example=four-ways", "one of them, worked out"),
        ("--example=four-ways --show", "its file, to begin from"),
        ("--example=four-ways --svg=four-ways.svg", "a chart of it"),
        ("--example=four-ways --measured --json", "with what this host really served and cost"),
        ("--example=four-ways --measured --from=/srv/archive", "with what all hosts served and cost"),
    ),
    exits=Exits(
        "printed or written",
        "ledger without enough data, or chart not writable",
        "the scenario, the configuration or a flag is wrong",
    ),
    options=TcoOptions,
)
def tco(options: TcoOptions, clock: Clock | None = None) -> int:
    """Print the results of a scenario, or draw them; returns the exit status."""
    named = [options.scenario is not None, options.example is not None, options.listed]
    if sum(named) != 1:
        raise FlagError("give one of SCENARIO.yaml, --example NAME and --list")
    if options.show and options.example is None:
        raise FlagError("--show goes with --example")
    if options.fleet is not None and not options.measured:
        raise FlagError("--from goes with --measured")
    if options.as_json and options.svg is not None:
        raise FlagError("argument --svg: not allowed with argument --json")
    if options.listed:
        titles = {
            name: scenario_file.parsed(scenario_file.example(name), name).name
            for name in scenario_file.examples()
        }
        if options.as_json:
            examples = [{"example": name, "name": title} for name, title in titles.items()]
            sys.stdout.write(json.dumps(examples, indent=2) + "\n")
        else:
            sys.stdout.write("".join(f"{name}: {title}\n" for name, title in titles.items()))
        return status.OK
    name = options.example or ""
    if options.show:
        sys.stdout.write(scenario_file.example(name).decode())
        return status.OK
    if options.scenario is not None:
        scenario = scenario_file.scenario(options.scenario, measured=options.measured)
    else:
        scenario = scenario_file.parsed(scenario_file.example(name), name, measured=options.measured)
    measured = _measurement(options, clock or SystemClock()) if options.measured else None
    results = tco_answer.answer(scenario, measured)
    if options.svg is not None:
        with writing(options.svg):
            options.svg.write_text(chart.chart(results), encoding="utf-8")
        sys.stdout.write(f"{options.svg} written\n")
    else:
        sys.stdout.write(
            tco_report.as_json(results) if options.as_json else tco_report.text(results, columns())
        )
    return status.OK


def _measurement(options: TcoOptions, clock: Clock) -> Measurement:
    session = LedgerSession.of(options.config_file, options.ledger_path)
    now = clock.wall()
    earliest = now - (DAYS - 1) * NANOSECONDS_PER_DAY
    if options.fleet is not None:
        zone = session.config.timezone
        hosts: dict[str, HostDays] = {}
        # From before the first day: a host's zone may be another one, and its days begin earlier.
        hours = (earliest - 2 * NANOSECONDS_PER_DAY) // NANOSECONDS_PER_HOUR, now // NANOSECONDS_PER_HOUR

        def collect(month: HostMonth) -> None:
            with fleet_source.open_ledger(month, "--measured") as ledger:
                hosts[month.record.ledger] = HostDays(month.record.days, ledger.covered_hours(*hours))

        def period(local: ZoneInfo) -> Period:
            first, last = (date.fromisoformat(day_of(instant, local).name) for instant in (earliest, now))
            return Period.between(first, last)

        fleet = options.fleet.read_local(period, zone, now, FAMILIES, on_month=collect)
        counted = {summary.ledger: hosts[summary.ledger] for summary in fleet.hosts}
        fleet_source.note_missing(fleet)
        with failing(NotMeasuredError, at=f"{len(counted)} ledgers"):
            return measurement(fleet_days(counted.values(), fleet.zone), *sorted(counted))
    with waiting("reading the ledger"), session.open() as (ledger, zone):
        first, last = (day_number(day_of(instant, zone).name) for instant in (earliest, now))
        with failing(NotMeasuredError, at=session.path):
            return measurement(ledger.days(first, last), ledger.id)
