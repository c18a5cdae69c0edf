"""`report month --close` and `--against`: a month as a file that stands, and what changed since."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from exporter.cli import status
from exporter.cli.fleet_source import FleetSource, note_missing
from exporter.cli.ledger_session import LedgerSession
from exporter.cli.status import VerbFailedError, failing
from exporter.clock import Clock
from exporter.finance.fleet import closed_month_changes as forms
from exporter.finance.fleet.closed_month import (
    ClosedMonth,
    ClosedMonthError,
    changes,
    document,
    read_closed_month,
    restated,
)
from exporter.finance.fleet.missing import section
from exporter.finance.fleet.record import FleetMonth, HostMonth, KnownEnd
from exporter.finance.render import instant_text
from exporter.reports.rounding import dollars_text
from exporter.tariff.period import Period
from exporter.version import VERSION

EXISTS: Final = (
    "{output} exists, and a closed month is not written over: "
    "`report month --against={output}` prints what changed since"
)


@dataclass(frozen=True, slots=True)
class ClosingOptions:
    """Which month of which hosts is closed, or compared with a statement."""

    config_file: Path | None
    ledger_path: Path | None
    month: str | None
    fleet: FleetSource | None
    output: Path | None = None
    """The statement to write."""
    against: Path | None = None
    """The statement to compare with."""
    as_json: bool = False


@failing(ClosedMonthError)
def run(options: ClosingOptions, clock: Clock) -> int:
    """Write or compare a statement; returns 0, 1 (there is no answer) or 2 (the configuration is wrong)."""
    if options.against is not None:
        closed = read_closed_month(options.against)
        if options.month not in (None, closed.month):
            raise VerbFailedError(f"{options.against} is of {closed.month}, not of {options.month}")
        fleet = _read(options, closed.month, clock)
        form = forms.as_json if options.as_json else forms.text
        noted = changes(closed, fleet)
        sys.stdout.write(form(closed, fleet.total, noted, str(options.against)))
        return status.OK
    if options.output is None or options.month is None:
        raise VerbFailedError("a month is closed into a file: name both")
    return _close(options, options.month, options.output, clock)


def _close(options: ClosingOptions, month: str, output: Path, clock: Clock) -> int:
    if os.path.lexists(output):
        raise VerbFailedError(EXISTS.format(output=output))
    months: dict[str, HostMonth] = {}

    def keep(host: HostMonth) -> None:
        months[host.record.ledger] = host  # in place of an earlier one, where a file failed in between

    fleet = _read(options, month, clock, keep)
    ends = {
        each.ledger: KnownEnd(each.instant or 0, each.text) for each in fleet.findings if each.kind == "ended"
    }
    hosts = [replace(months[summary.ledger], end=ends.get(summary.ledger)) for summary in fleet.hosts]
    zones = {ZoneInfo(host.zone) for host in hosts} | {fleet.zone}
    now, end = clock.wall(), max(Period.named(month).bounds(zone)[1] for zone in zones)
    if now < end:
        raise VerbFailedError(f"{month} is not over: close it from {instant_text(end)} on")
    if not fleet.hosts:
        raise VerbFailedError(f"there is nothing of {month}: no statement was written")
    waiting = [finding for finding in fleet.findings if finding.kind == "waiting"]
    if waiting:
        names = ", ".join(f"{each.name} ({each.text})" for each in waiting[:10])
        raise VerbFailedError(
            f"adjustments wait for their daemon, {len(waiting)} in all: {names}; "
            "close the month once they are posted"
        )
    findings = tuple(line for line in section(fleet) if line)
    closed = ClosedMonth(month, fleet.zone, now, VERSION, restated(hosts), findings)
    _write_new(output, document(closed))
    note_missing(fleet)
    sys.stdout.write(
        f"{month} is closed: {dollars_text(closed.total)} dollars of {len(closed.hosts):,} "
        f"{'ledger' if len(closed.hosts) == 1 else 'ledgers'} in {output}\n"
    )
    return status.OK


def _read(
    options: ClosingOptions, month: str, clock: Clock, each: Callable[[HostMonth], None] | None = None
) -> FleetMonth:
    """The month of all hosts; `each` is as that of `FleetSource.read`."""
    session = LedgerSession.of(options.config_file, options.ledger_path)
    source = options.fleet or FleetSource((session.path,))
    return source.read(Period.named(month), session.config.timezone, clock.wall(), each=each)


def _write_new(output: Path, text: str) -> None:
    """Write a file that was not there: it is whole, or not there."""
    temporary = output.with_name(f".{output.name}.partial")
    try:
        temporary.write_text(text, encoding="utf-8")
        output.hardlink_to(temporary)  # which fails where the file has come to be, as a rename does not
    except FileExistsError:
        raise VerbFailedError(EXISTS.format(output=output)) from None
    except OSError as error:
        raise VerbFailedError(f"{output} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
