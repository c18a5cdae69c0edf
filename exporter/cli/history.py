"""The verb `history`: past months from what a Prometheus already holds, without the daemon."""

import argparse
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from exporter import garbage
from exporter.cli import flags, fleet_source, status
from exporter.cli.flags import flag
from exporter.cli.fleet_source import FleetSource
from exporter.cli.replacement import replacing
from exporter.cli.status import VerbFailedError, writing
from exporter.cli.terminal import ProgressBar, write_colored
from exporter.cli.verb import Exits, verb
from exporter.clock import Clock, SystemClock
from exporter.config import Config, load
from exporter.finance.history.absences import nothing
from exporter.finance.history.history_report import sheet
from exporter.finance.history.hourly import HourlyReader
from exporter.finance.history.past_answer import HistorySource, answer
from exporter.finance.history.past_records import PastRecords, find_imported, find_seam, import_commands
from exporter.finance.history.reckoning import Reckoning
from exporter.finance.history.survey import SurveyReader
from exporter.finance.prometheus.client import PrometheusClient
from exporter.finance.render import Form
from exporter.readings import printable
from exporter.tariff.calendar import day_of, first_instant
from exporter.units import (
    NANOSECONDS_PER_DAY,
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_SECOND,
    Instant,
    Nanoseconds,
)

DAYS_MAX: Final = 1100
PARALLEL_MAX: Final = 16
SURVEY_PART: Final = 0.05
"""Of the progress: labels are read soon."""


def _since_value(text: str) -> date | Nanoseconds:
    if not re.fullmatch(r"[0-9]+[dh]", text):
        try:
            return flags.date_value(text)
        except argparse.ArgumentTypeError:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no time: write days or hours like 90d or 36h, or a date like 2026-10-01"
            ) from None
    length = flags.duration(text, "dh")
    if not NANOSECONDS_PER_HOUR <= length <= DAYS_MAX * NANOSECONDS_PER_DAY:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 1h and {DAYS_MAX}d")
    return length


@dataclass(frozen=True, slots=True)
class HistoryOptions:
    """The server, the time and the form."""

    address: str = flag(
        "--from",
        type=fleet_source.address_value,
        required=True,
        metavar="URL",
        help="address of a Prometheus, Thanos, Mimir or VictoriaMetrics",
    )
    config_file: Path | None = flags.file_flag(
        "--config.file",
        "configuration in YAML with prices, owners and servers; without one, prices are estimates of the "
        "bundled catalogue",
    )
    since: date | Nanoseconds = flag(
        "--since",
        type=_since_value,
        default=90 * NANOSECONDS_PER_DAY,
        metavar="TIME",
        help="first day, or so many days or hours back, like 90d (default 90d)",
    )
    until: date | None = flag(
        "--until", type=flags.date_value, metavar="DATE", help="last day (default: now)"
    )
    parallel: int = flag(
        "--parallel",
        type=flags.count_value(PARALLEL_MAX),
        default=1,
        metavar="COUNT",
        help=f"queries at once, at most {PARALLEL_MAX} (default 1)",
    )
    openmetrics: Path | None = flags.file_flag(
        "--openmetrics", "also write records for the dashboards, and print the commands that import them"
    )
    http_config_file: Path | None = fleet_source.http_config_flag()
    timeout: Nanoseconds | None = fleet_source.timeout_flag()
    form: Form = flags.form_flags()


@verb(
    "history",
    "compute past months from an existing Prometheus",
    examples=(
        ("--from=http://prometheus:9090", "the last 90 days, at prices of the bundled catalogue"),
        ("--from=http://prometheus:9090 --config.file=/etc/ice.yaml --json", "at your prices, as JSON"),
        ("--from=http://prometheus:9090 --openmetrics=past.om", "also records for the dashboards"),
    ),
    exits=Exits("printed", "the server has no answer"),
    options=HistoryOptions,
)
def history(options: HistoryOptions, clock: Clock | None = None) -> int:
    """Print the history; returns 0, 1 (no answer) or 2 (the configuration is wrong)."""
    config = load(options.config_file)
    garbage.settle()
    now = (clock or SystemClock()).wall()
    since, until = _bounds(options, config.timezone, now)
    source = FleetSource(
        (options.address,), http_config_file=options.http_config_file, timeout=options.timeout
    )
    with source.client(options.address) as client:
        fleet_source.note_unencrypted(client)
        with ProgressBar(f"reading {client.name}") as bar:
            survey = SurveyReader(client, config, since, until).read(
                lambda what, part: bar.show_part(what, part * SURVEY_PART)
            )
            if not survey.gpus and not survey.engines:
                raise VerbFailedError(f"{client.name} has {nothing(survey)}")
            with _records(options, client, config, since, until) as records:
                sink = None if records is None else records.add
                reckoning = Reckoning(config, survey, until, sink)
                for chunk in HourlyReader(client, survey, options.parallel).chunks(since, until):
                    reckoning.add(chunk)
                    if records is not None:
                        records.flush()
                    read = (chunk.first - 1 + chunk.hours) * NANOSECONDS_PER_HOUR - since
                    bar.show_part("hours", SURVEY_PART + (1 - SURVEY_PART) * read / (until - since))
        history_source = HistorySource(client.name, since, until, client.requests, options.parallel)
    sys.stdout.write(sheet(answer(reckoning, history_source), options.form))
    return status.OK


@contextmanager
def _records(
    options: HistoryOptions, client: PrometheusClient, config: Config, since: Instant, until: Instant
) -> Iterator[PastRecords | None]:
    """The file of records while it is written; it has its name once it is whole.

    Raises:
        VerbFailedError: it cannot be written.
    """
    path = options.openmetrics
    if path is None:
        yield None
        return
    with writing(path), replacing(path) as file:
        imported = find_imported(client, since, until)
        seam = find_seam(client, since, until)
        records = PastRecords(file, client.name, config.timezone, seam, since, until)
        yield records
        written = records.close()
    lines = [f"{path}: {written.samples:,} samples of {written.series:,} series\n"]
    if imported:
        lines.append(
            f"note: {client.name} has an earlier import, {', '.join(imported)}: "
            "delete it first if it is of the same GPUs, or both count\n"
        )
    for cluster, end in seam.by_cluster().items():
        where = f" of {printable(cluster)}" if cluster else ""
        lines.append(
            f"note: records{where} end at {_text(end)}, where its first daemon's begin: "
            "hosts without one are missing after it\n"
        )
    lines.append("delete an earlier import, then import this one:\n")
    commands = import_commands(shlex.quote(str(path)), records.ledger)
    lines += [f"  {server}: {command}\n" for server, command in commands]
    write_colored("".join(lines), sys.stderr)


def _bounds(options: HistoryOptions, zone: ZoneInfo, now: Instant) -> tuple[Instant, Instant]:
    """Whole hours of the time range: days that begin within an hour have all of it, or no month were whole.

    Raises:
        VerbFailedError: there are none.
    """
    hour = NANOSECONDS_PER_HOUR
    until = now // hour * hour
    if options.until is not None:
        last = first_instant(options.until.year, options.until.month, options.until.day, zone)
        until = min(until, -(-day_of(last, zone).end // hour) * hour)
    if isinstance(options.since, date):
        since = first_instant(options.since.year, options.since.month, options.since.day, zone)
    else:
        since = until - options.since
    since = since // hour * hour
    if since >= until:
        raise VerbFailedError(f"--since={options.since}: there is no whole hour before {_text(until)}")
    return since, until


def _text(instant: Instant) -> str:
    return f"{datetime.fromtimestamp(instant // NANOSECONDS_PER_SECOND, UTC):%Y-%m-%d %H:%M}Z"
