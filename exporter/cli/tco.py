"""The wiring of `tco`: a scenario's file, and with `--measured` a running daemon's ledger, read only."""

import json
import sys
from pathlib import Path

from exporter.cli import status
from exporter.cli.ledger_zone import books_zone
from exporter.cli.tco_flags import TcoOptions
from exporter.cli.terminal import complain, waiting
from exporter.clock import Clock, SystemClock
from exporter.config import ConfigError, load
from exporter.finance import tco as reports
from exporter.finance.tco import Measurement, NotMeasuredError, Scenario
from exporter.ledger.errors import LedgerError
from exporter.ledger.history import day_number
from exporter.ledger.reader import LedgerReader
from exporter.tariff.calendar import day_of
from exporter.units import NANOSECONDS_PER_DAY


def tco(question: TcoOptions, clock: Clock | None = None) -> int:
    """Print what a scenario comes to.

    Returns 0, 1 (the ledger cannot tell, or the chart cannot be written) or 2 (the scenario or the
    configuration is wrong).
    """
    if question.scenario is None and question.example is None:
        sys.stdout.write(_listing(as_json=question.json))
        return status.OK
    try:
        if question.show and question.example is not None:
            sys.stdout.write(reports.example(question.example).decode())
            return status.OK
        scenario = _scenario(question)
        measured = _measurement(question, clock or SystemClock()) if question.measured else None
    except ConfigError as error:
        complain(error)
        return status.CONFIGURATION
    except LedgerError as error:
        complain(f"{error}; name the daemon's ledger with --ledger.path or --config.file")
        return status.FAILED
    except NotMeasuredError as error:
        complain(error)
        return status.FAILED
    answer = reports.answer(scenario, measured)
    if question.svg is not None:
        return _write(question.svg, reports.chart(answer))
    sys.stdout.write(reports.as_json(answer) if question.json else reports.text(answer))
    return status.OK


def _listing(*, as_json: bool) -> str:
    named = {name: reports.parsed(reports.example(name), name).name for name in reports.examples()}
    if as_json:
        return json.dumps([{"example": name, "name": told} for name, told in named.items()], indent=2) + "\n"
    return "".join(f"{name}: {told}\n" for name, told in named.items())


def _scenario(question: TcoOptions) -> Scenario:
    if question.scenario is not None:
        return reports.scenario(question.scenario, measured=question.measured)
    name = question.example or ""
    return reports.parsed(reports.example(name), name, measured=question.measured)


def _measurement(question: TcoOptions, clock: Clock) -> Measurement:
    config = load(question.config_file)
    path = question.ledger_path or config.ledger_path
    now = clock.wall()
    earliest = now - (reports.DAYS - 1) * NANOSECONDS_PER_DAY
    with waiting("reading the ledger"), LedgerReader.open(path) as ledger:
        zone = books_zone(ledger, config, question.config_file)
        first, last = (day_number(day_of(instant, zone).name) for instant in (earliest, now))
        try:
            return reports.measurement(ledger.days(first, last), ledger.id)
        except NotMeasuredError as error:
            raise NotMeasuredError(f"{path}: {error}") from error


def _write(path: Path, chart: str) -> int:
    try:
        path.write_text(chart, encoding="utf-8")
    except OSError as error:
        complain(f"{path}: cannot be written: {error.strerror or error}")
        return status.FAILED
    sys.stdout.write(f"{path} written\n")
    return status.OK
