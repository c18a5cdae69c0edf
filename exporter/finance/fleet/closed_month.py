"""Statement of a closed month: a file that says what was billed, and what changed since.

The file is JSON (`docs/statement.schema.json`) with a hash of its content, so that an edit is noticed. It has
each ledger's month whole: it can stand for a ledger that is gone.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from exporter.config.problems import shown
from exporter.config.times import zone_named
from exporter.cost.money import add
from exporter.finance.fleet.record import (
    FleetError,
    FleetMonth,
    HostMonth,
    HostName,
    HostSummary,
    KnownEnd,
    OwnerKey,
)
from exporter.finance.render import instant_text
from exporter.finance.sum_keys import key_of, label, labels_of
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.families import LARGEST
from exporter.ledger.history import FAMILIES, HistorySums, MonthRecord
from exporter.readings import KINDS, printable
from exporter.report import MonthKey
from exporter.reports.rounding import CENT
from exporter.tariff.period import Period
from exporter.units import Instant, Nanoseconds, Picodollars

SCHEMA: Final = "inference-cost-exporter/statement/1"
_SCHEMA_NAME: Final = SCHEMA.rpartition("/")[0]
BYTES_MAX: Final = 256 * 1024 * 1024


class ClosedMonthError(FleetError):
    """A file is no statement that can be used; the message names it and says why."""


@dataclass(frozen=True, slots=True)
class ClosedMonth:
    """A closed month as its file has it."""

    month: str
    zone: ZoneInfo
    closed: Instant
    version: str
    hosts: tuple[HostMonth, ...]
    findings: tuple[str, ...]
    """Sentences on what was missing when it was closed."""
    digest: str = ""

    @property
    def total(self) -> Picodollars:
        """All money of the month."""
        return sum(host.total for host in self.hosts)


ChangeKind = Literal["adjustment", "late price", "posted", "new ledger", "missing ledger"]
"""Why a closed month has other money or tokens now.

adjustment: a correction that was posted since.
late price: GPU time of the month was without a price when it was closed, and was charged since.
posted: other money or tokens of the month, such as downtime that was charged when the host came back.
new ledger: a ledger that the statement lacks.
missing ledger: a ledger that the statement has, and that is not read now.
"""


@dataclass(frozen=True, slots=True)
class ClosedMonthChange:
    """What changed since a month was closed."""

    kind: ChangeKind
    ledger: str
    name: str
    product: str
    team: str
    amount: Picodollars
    duration: Nanoseconds = 0
    """GPU time that got a price."""
    number: int = 0
    """Of an adjustment."""
    text: str = ""
    tokens: Mapping[str, int] | None = None
    """Those that came with the money, or without any; `None` where that is not known."""


def document(closed: ClosedMonth) -> str:
    """The file's text, one line for each host."""
    hosts = [_host(host) for host in closed.hosts]
    content = {
        "schema": SCHEMA,
        "month": closed.month,
        "timezone": closed.zone.key,
        "closed": instant_text(closed.closed),
        "closed_nanoseconds": closed.closed,
        "version": closed.version,
        "total_picodollars": closed.total,
        "findings": list(closed.findings),
        "hosts": hosts,
    }
    text = json.dumps({**content, "hosts": [], "sha256": _digest(content)}, ensure_ascii=False, indent=1)
    lines = ",\n".join("  " + json.dumps(host, ensure_ascii=False, separators=(",", ":")) for host in hosts)
    return text.replace('"hosts": []', f'"hosts": [\n{lines}\n ]', 1) + "\n"


def read_closed_month(path: Path) -> ClosedMonth:
    """Read a statement.

    Raises:
        ClosedMonthError: it cannot be read, is no statement, was edited, or a newer release wrote it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise ClosedMonthError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > BYTES_MAX:
        raise ClosedMonthError(f"{path} is larger than {BYTES_MAX} bytes; no statement is")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ClosedMonthError(f"{path} is no statement: {error}") from None
    schema = content.get("schema") if isinstance(content, dict) else None
    if not isinstance(schema, str) or schema.rpartition("/")[0] != _SCHEMA_NAME:
        raise ClosedMonthError(f"{path} is no statement: `report month --close --output=FILE` writes one")
    if schema != SCHEMA:
        raise ClosedMonthError(
            f"{path} is of a newer release (schema {shown(schema)}); read it with that release"
        )
    digest = content.pop("sha256", None)
    if digest != _digest(content):
        raise ClosedMonthError(
            f"{path} was edited: its content has another hash than its sha256; restore the file, "
            "or close the month again under another name"
        )
    try:
        return _closed(content, path, str(digest))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ClosedMonthError(f"{path} is no statement: {type(error).__name__}: {error}") from None


def is_statement(head: bytes) -> bool:
    """Whether a file that begins so is a statement."""
    return head.lstrip().startswith(b"{") and _SCHEMA_NAME.encode() in head


def changes(closed: ClosedMonth, fleet: FleetMonth) -> tuple[ClosedMonthChange, ...]:
    """What changed since: money that sums to the difference of the totals, and the tokens of its owners.

    Ledgers that are not read now change nothing and are named, with 0. Nor is it a change that Prometheus,
    which has rounded floats, differs from a ledger by less than a cent, whichever of them came first.
    """
    before = {host.record.ledger: HostSummary.from_month(host) for host in closed.hosts}
    after = {summary.ledger: summary for summary in fleet.hosts}
    noted: list[ClosedMonthChange] = []
    for ledger in sorted(before.keys() | after.keys()):
        if ledger in before and ledger in after:
            noted += _changes_of(before[ledger], after[ledger])
        elif ledger in before:
            host = before[ledger].host
            noted.append(
                ClosedMonthChange("missing ledger", ledger, host.name, "", "", 0, text=host.location)
            )
        else:
            summary = after[ledger]
            amounts, tokens = _amounts(summary.host), summary.tokens
            noted += [
                ClosedMonthChange(
                    kind="new ledger",
                    ledger=ledger,
                    name=summary.host.name,
                    product=owner[0],
                    team=owner[1],
                    amount=amounts.get(owner, 0),
                    text=summary.host.location,
                    tokens=None if tokens is None else tokens.get(owner, {}),
                )
                for owner in sorted(amounts.keys() | (tokens or {}).keys())
            ]
    return tuple(noted)


def _changes_of(one: HostSummary, other: HostSummary) -> Iterator[ClosedMonthChange]:
    """Changes of one ledger: adjustments that were posted, then what else its owners have."""
    difference = _amounts(other.host)
    for owner, amount in _amounts(one.host).items():
        add(difference, owner, -amount)
    tokens: dict[OwnerKey, dict[str, int]] | None = None
    if one.tokens is not None and other.tokens is not None:
        tokens = {}
        for owner in one.tokens.keys() | other.tokens.keys():
            then, now = one.tokens.get(owner, {}), other.tokens.get(owner, {})
            came = {kind: now.get(kind, 0) - then.get(kind, 0) for kind in KINDS}
            if any(came.values()):
                tokens[owner] = {kind: count for kind, count in came.items() if count}
    ledger, name, record = one.ledger, other.host.name, one.host.record
    posted = {each.number for each in record.adjustments if each.posted is not None}
    for each in other.host.record.adjustments:
        if each.posted is None or each.number in posted:
            continue
        if one.host.apportioned and each.posted <= (record.last_commit or 0):
            continue  # Prometheus had it among all money
        add(difference, (each.product, each.team), -each.amount)
        yield ClosedMonthChange(
            *("adjustment", ledger, name, each.product, each.team, each.amount),
            number=each.number,
            text=each.reason,
        )
    least = CENT if one.host.apportioned or other.host.origin == "prometheus" else 1
    for owner in sorted(difference.keys() | (tokens or {}).keys()):
        amount, came_now = difference.get(owner, 0), None if tokens is None else tokens.get(owner, {})
        if abs(amount) < least and not came_now:
            continue
        priced = 0  # GPU time that got a price
        if one.unpriced_by_owner is not None and other.unpriced_by_owner is not None:
            unpriced = one.unpriced_by_owner.get(owner, 0)
            priced = max(0, unpriced - other.unpriced_by_owner.get(owner, 0))
        kind: ChangeKind = "late price" if priced else "posted"
        yield ClosedMonthChange(*(kind, ledger, name, *owner, amount), duration=priced, tokens=came_now)


def _amounts(host: HostMonth) -> dict[OwnerKey, Picodollars]:
    """Money of a month by product and team."""
    amounts: dict[OwnerKey, Picodollars] = {}
    for cell, amount in host.record.cells.items():
        add(amounts, (cell.product, cell.team), amount)
    return amounts


def _digest(content: Mapping[str, Any]) -> str:
    """Hash of the content, whatever its layout."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no integer")
    return value


def _instant(value: Any) -> Instant | None:
    if value is not None and not 0 <= _integer(value) <= LARGEST:
        raise ValueError(f"{value} is no instant")
    return None if value is None else _integer(value)


def _zone(name: Any) -> ZoneInfo:
    zone = zone_named(name)
    if zone is None:
        raise ValueError(f"this machine does not know the time zone {shown(str(name))}")
    return zone


def _end(value: Any) -> KnownEnd | None:
    if value is None:
        return None
    instant, reason = value
    return KnownEnd(_integer(instant), label(reason))


Read = Callable[[Any], Any]
"""Makes a field of its value in a file; raises TypeError or ValueError for another."""

_ADJUSTMENT: Final[Mapping[str, tuple[str, Read]]] = {
    "number": ("number", _integer),
    "date": ("day", lambda value: date.fromisoformat(value).isoformat()),
    "product": ("product", label),
    "team": ("team", label),
    "picodollars": ("amount", _integer),
    "reason": ("reason", label),
    "entered": ("entered", _integer),
    "posted": ("posted", _instant),
    "kind": ("kind", label),
    "key": ("key", label),
}
"""Keys of an adjustment in a file: the field of each, and how it is read."""

_HOST: Final[Mapping[str, tuple[str, Read]]] = {
    "timezone": ("zone", lambda value: _zone(value).key),
    "names": ("names", lambda value: tuple(HostName(*map(label, name)) for name in value)),
    "first": ("first", _instant),
    "last": ("last", _instant),
    "last_commit": ("record.last_commit", _instant),
    "commits": ("commits", _integer),
    "apportioned": ("apportioned", bool),
    "reported_nanoseconds": ("covered", _integer),
    "end": ("end", _end),
}
"""Those of a host, but for the rows of its record."""


def _host(host: HostMonth) -> dict[str, Any]:
    record, sums = host.record, None
    if record.sums is not None:
        sums = {
            family: sorted([*labels_of(key), value] for key, value in getattr(record.sums, family).items())
            for family in FAMILIES
        }
    return {
        "ledger": record.ledger,
        "name": printable(host.name),
        "origin": host.origin,
        "location": printable(host.location),  # a path need not be a text
        **{key: attrgetter(name)(host) for key, (name, _read) in _HOST.items()},
        "picodollars": host.total,
        "cells": [
            [cell.product, cell.team, cell.price_basis, amount]
            for cell, amount in sorted(record.cells.items())
        ],
        "adjustments": [
            {key: getattr(each, name) for key, (name, _read) in _ADJUSTMENT.items()}
            for each in record.adjustments
        ],
        "sums": sums,
    }


def _host_month(host: Mapping[str, Any], month: str, path: str) -> HostMonth:
    ledger, sums = label(host["ledger"]), None
    if host["sums"] is not None:
        families = host["sums"]
        sums = HistorySums(
            **{
                family: {
                    key_of(family, labels): _integer(value) for *labels, value in families.get(family, ())
                }
                for family in FAMILIES
            }
        )
    adjustments = tuple(
        Adjustment(ledger=ledger, **{name: read(each[key]) for key, (name, read) in _ADJUSTMENT.items()})
        for each in host["adjustments"]
    )
    for each in adjustments:
        if each.month != month:
            raise ValueError(f"an adjustment of {each.day} is not of {month}")
    values = {name: read(host[key]) for key, (name, read) in _HOST.items()}
    record = MonthRecord(
        ledger=ledger,
        last_commit=values.pop("record.last_commit"),
        month=month,
        months=(month,),
        cells={
            MonthKey(label(product), label(team), label(basis), month): _integer(amount)
            for product, team, basis, amount in host["cells"]
        },
        sums=sums,
        adjustments=adjustments,
    )
    return HostMonth(
        record=record,
        origin="statement",
        location=path,
        short_name=label(host["name"]),
        **values,
    )


def _closed(content: Mapping[str, Any], path: Path, digest: str) -> ClosedMonth:
    month = str(content["month"])
    if Period.named(month).months != (month,):
        raise ValueError(f"{month} is no month")
    closed = ClosedMonth(
        month=month,
        zone=_zone(content["timezone"]),
        closed=_integer(_instant(content["closed_nanoseconds"])),
        version=str(content["version"]),
        hosts=tuple(_host_month(host, month, str(path)) for host in content["hosts"]),
        findings=tuple(map(str, content["findings"])),
        digest=digest,
    )
    for ledger, count in Counter(host.record.ledger for host in closed.hosts).items():
        if count > 1:
            raise ValueError(f"ledger {ledger} is in it twice")
    if closed.total != content["total_picodollars"]:
        raise ValueError("its hosts do not sum to its total")
    return closed


def restated(hosts: Iterable[HostMonth]) -> tuple[HostMonth, ...]:
    """Hosts as a statement keeps them: by ledger, without the sums of days."""
    without_days = (replace(host, record=replace(host.record, days={})) for host in hosts)
    return tuple(sorted(without_days, key=lambda host: host.record.ledger))
