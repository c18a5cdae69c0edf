"""The verb `price`: the cost of each request of a log, from the hours of a ledger or of a fleet's."""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from exporter.cli import flags, fleet_source, status
from exporter.cli.flags import FlagError, flag
from exporter.cli.fleet_source import FleetSource
from exporter.cli.ledger_session import LedgerSession
from exporter.cli.status import VerbFailedError
from exporter.cli.terminal import waiting, write_colored
from exporter.cli.verb import Exits, verb
from exporter.clock import Clock, SystemClock
from exporter.config.problems import RefusedError
from exporter.cost.policy import Weights, split_rule
from exporter.finance.requests.division import FAMILIES, Hours, add_history
from exporter.finance.requests.log_file import RequestFileError, RequestLog, TemporaryFolderError
from exporter.finance.requests.sheet import ATTRIBUTE, FIELDS, PricedRequests
from exporter.tariff.calendar import day_of
from exporter.tariff.period import Period
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Instant


def _file(text: str) -> Path | None:
    """A file; `None` is standard input."""
    return None if text == "-" else Path(text)


def _day(text: str) -> date:
    day = flags.date_value(text)
    if not 2000 < day.year < 2099:
        raise argparse.ArgumentTypeError(f"{text!r}: logs of requests are from 2001 to 2098")
    return day


def _attribute(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]{0,127}", text) or text in FIELDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no attribute: write one like {ATTRIBUTE}")
    return text


@dataclass(frozen=True, slots=True)
class PriceOptions:
    """Logs of requests, and the ledger or ledgers whose hours price them."""

    config_file: Path | None = flags.daemon_config_flag(", and for split.weights")
    ledger_path: Path | None = flags.ledger_flag()
    requests: Sequence[Path | None] = flag(
        "--requests",
        default=(),
        action="append",
        type=_file,
        required=True,
        metavar="FILE",
        help="spans in OTLP JSON, LiteLLM's payloads or spend logs, or the access log of Envoy AI Gateway. "
        "One JSON object a line, or in gzip. - is standard input; repeatable",
    )
    """`None` is standard input."""
    day: date | None = flag(
        "--date",
        type=_day,
        metavar="DATE",
        help="hours of this day only, in the ledger's time zone (default: all hours of the file)",
    )
    attribute: str = flag(
        "--attribute",
        default=ATTRIBUTE,
        type=_attribute,
        metavar="NAME",
        help="name of the field of dollars; experimental, as is OpenTelemetry's proposal for it "
        f"(default {ATTRIBUTE})",
    )
    as_csv: bool = flags.switch("--csv", "write CSV to the cent (default: lines of JSON)")
    fleet: FleetSource | None = fleet_source.several_hosts(
        addresses=False, ledgers_only="hours of tokens and dollars"
    )


@verb(
    "price",
    "write the cost of each logged request, from the hours of the ledger (list prices: `prices`)",
    examples=(
        (
            "--requests=spans.jsonl",
            "each request of a trace in JSON, and what is idle or not in the file",
        ),
        ("--requests=spans.jsonl --date=2026-11-24 --csv", "those of one day, to the cent"),
        ("--requests=spans.jsonl --from=/srv/archive", "requests of a fleet"),
    ),
    exits=Exits(
        "written",
        "no request has a cost, or no ledger that can be read",
        "a file of requests, the configuration or a flag is wrong",
    ),
    options=PriceOptions,
)
def price(options: PriceOptions, clock: Clock | None = None) -> int:
    """Write the cost of each request; returns 0, 1 (there is none) or 2 (a file is wrong)."""
    if options.requests.count(None) > 1:
        raise FlagError("--requests=- can be given once")
    session = LedgerSession.of(options.config_file, options.ledger_path)
    try:
        with RequestLog() as log:
            with waiting("reading requests"):
                log.read(options.requests)
            now = (clock or SystemClock()).wall()
            hours = _hours(options, session, log, now)
            priced = PricedRequests(log, hours, options.attribute, now // NANOSECONDS_PER_HOUR)
            any_cost = priced.prepare()
            sys.stdout.writelines(priced.csv_lines() if options.as_csv else priced.json_lines())
            write_colored("".join(f"{line}\n" for line in priced.summary()), sys.stderr)
    except RequestFileError as error:
        raise RefusedError(str(error)) from error
    except TemporaryFolderError as error:
        raise VerbFailedError(str(error)) from error
    if not any_cost:
        raise VerbFailedError("no request has a cost: the lines above say why")
    return status.OK


def _hours(options: PriceOptions, session: LedgerSession, log: RequestLog, now: Instant) -> Hours:
    """The hours in which requests ended, or those of the day, of the daemon's ledger or of all ledgers."""

    def weights_of(server: str, model: str) -> Weights:
        return split_rule(session.config.split, server, model).weights

    hours: Hours = {}
    if options.fleet is not None:
        ends = _range(None, log, session.config.timezone)
        # A day of one zone begins and ends on other days in another.
        margin = timedelta(days=1 if options.fleet.mixed_zones else 0)

        def period_in(local: ZoneInfo) -> Period:
            days = [day_of(hour * NANOSECONDS_PER_HOUR, local).name for hour in ends]
            first_day, last_day = map(date.fromisoformat, days)
            return Period.between((options.day or first_day) - margin, (options.day or last_day) + margin)

        fleet = options.fleet.read_local(period_in, session.config.timezone, now)
        fleet_source.note_missing(fleet)
        first, last = _range(options.day, log, fleet.zone)
        for summary in fleet.hosts:
            with fleet_source.open_ledger(summary.host, "`price`") as ledger:
                add_history(hours, ledger.hours(first, last, FAMILIES) or {}, weights_of)
    else:
        with waiting("reading the ledger"), session.open() as (ledger, zone):
            first, last = _range(options.day, log, zone)
            add_history(hours, ledger.hours(first, last, FAMILIES) or {}, weights_of)
    if not hours:
        raise VerbFailedError(
            f"no ledger has an hour from {_day_and_hour(first)} to {_day_and_hour(last + 1)}, in which the "
            "requests ended; hours are kept for 40 days"
        )
    return hours


def _range(day: date | None, log: RequestLog, zone: ZoneInfo) -> tuple[int, int]:
    """The first and the last hour since 1970; requests that ended outside are left out of the log."""
    ends = log.span()
    if ends is not None and day is not None:
        start, end = Period.between(day, day).bounds(zone)
        # A day that begins within an hour begins with the next one.
        first, last = -(-start // NANOSECONDS_PER_HOUR), -(-end // NANOSECONDS_PER_HOUR) - 1
        log.keep(first, last)
        if log.span() is None:
            raise VerbFailedError(
                f"no request ended on {day} in {zone.key}: they ended from "
                + " to ".join(_day_and_hour(end // NANOSECONDS_PER_HOUR) for end in ends)
            )
        return first, last
    if ends is None:
        write_colored("".join(f"{line}\n" for line in log.left_out()), sys.stderr)
        raise VerbFailedError(
            "there is no request: a log has one JSON object a line, as `jq -c .` writes them"
        )
    return (ends[0] - 1) // NANOSECONDS_PER_HOUR, (ends[1] - 1) // NANOSECONDS_PER_HOUR


def _day_and_hour(hour: int) -> str:
    seconds = hour * (NANOSECONDS_PER_HOUR // NANOSECONDS_PER_SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:00} UTC"
