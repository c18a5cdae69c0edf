"""`report month --close` and `--against`: a month as a file that stands, and what changed since."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

from exporter.cli import status
from exporter.cli.fleet_source import FleetSource, note_missing
from exporter.cli.replacement import replacing
from exporter.cli.status import VerbFailedError, failing, writing
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
from exporter.finance.fleet.record import HostMonth, KnownEnd
from exporter.finance.render import instant_text
from exporter.reports.rounding import dollars_text
from exporter.tariff.period import Period
from exporter.units import Instant
from exporter.version import VERSION


@failing(ClosedMonthError)
def compare(
    source: FleetSource, zone: ZoneInfo, statement: Path, month: str | None, now: Instant, *, as_json: bool
) -> int:
    """Print what changed since a statement was written; `month` is the one that it must be of.

    Raises:
        VerbFailedError: there is no answer.
    """
    closed = read_closed_month(statement)
    if month not in (None, closed.month):
        raise VerbFailedError(f"{statement} is of {closed.month}, not of {month}")
    fleet = source.read(Period.named(closed.month), zone, now)
    form = forms.as_json if as_json else forms.text
    sys.stdout.write(form(closed, fleet.total, changes(closed, fleet), str(statement)))
    return status.OK


@failing(ClosedMonthError)
def close(source: FleetSource, zone: ZoneInfo, month: str, output: Path, now: Instant) -> int:
    """Write a month as a statement.

    Raises:
        VerbFailedError: the month cannot be closed, or the statement not be written.
    """
    exists = (
        f"{output} exists, and a closed month is not written over: "
        f"`report month --against={output}` prints what changed since"
    )
    if os.path.lexists(output):
        raise VerbFailedError(exists)
    months: dict[str, HostMonth] = {}

    def keep(host: HostMonth) -> None:
        months[host.record.ledger] = host  # in place of an earlier one, where a file failed in between

    fleet = source.read(Period.named(month), zone, now, on_month=keep)
    ends = {
        each.ledger: KnownEnd(each.instant or 0, each.text) for each in fleet.findings if each.kind == "ended"
    }
    hosts = [replace(months[summary.ledger], end=ends.get(summary.ledger)) for summary in fleet.hosts]
    zones = {ZoneInfo(host.zone) for host in hosts} | {fleet.zone}
    end = max(Period.named(month).bounds(each)[1] for each in zones)
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
    with writing(output):
        try:
            with replacing(output, new=True) as file:
                file.write(document(closed))
        except FileExistsError:
            raise VerbFailedError(exists) from None
    note_missing(fleet)
    sys.stdout.write(
        f"{month} is closed: {dollars_text(closed.total)} dollars of {len(closed.hosts):,} "
        f"{'ledger' if len(closed.hosts) == 1 else 'ledgers'} in {output}\n"
    )
    return status.OK
