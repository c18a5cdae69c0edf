"""Statement of a closed month: a file that says what was billed, and what changed since.

The file is JSON (`docs/statement.schema.json`) with a hash of its content, so that an edit is noticed. It has
each ledger's month whole: it can stand for a ledger that is gone.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal, cast
from zoneinfo import ZoneInfo

from exporter.config.problems import shown
from exporter.config.times import zone_named
from exporter.cost.money import add
from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.finance.fleet.record import (
    FleetError,
    FleetMonth,
    HostMonth,
    HostName,
    KnownEnd,
    OwnerTokens,
    tokens_by_owner,
    unpriced_by_owner,
)
from exporter.finance.render import instant_text
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import FAMILIES, GpuOwner, HistorySums, MonthRecord
from exporter.ledger.schema import LARGEST
from exporter.readings import KINDS, Gpu, TokenKind, printable
from exporter.report import MonthKey, ServerOwner
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
    """A closed month as its file has it. `findings` are sentences on what was missing when it was closed."""

    month: str
    zone: ZoneInfo
    closed: Instant
    version: str
    hosts: tuple[HostMonth, ...]
    findings: tuple[str, ...]
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
    """What changed since a month was closed. `duration` is GPU time that got a price.

    `tokens` are those that came with the money, or without any; `None` where that is not known.
    """

    kind: ChangeKind
    ledger: str
    name: str
    product: str
    team: str
    amount: Picodollars
    duration: Nanoseconds = 0
    number: int = 0
    text: str = ""
    tokens: Mapping[TokenKind, int] | None = None


def document(closed: ClosedMonth) -> str:
    """The file's text, one line for each host."""
    content = _content(closed)
    head = {**content, "hosts": [], "sha256": _digest(content)}
    text = json.dumps(head, ensure_ascii=False, indent=1)
    hosts = ",\n".join(
        "  " + json.dumps(host, ensure_ascii=False, separators=(",", ":")) for host in content["hosts"]
    )
    return text.replace('"hosts": []', f'"hosts": [\n{hosts}\n ]', 1) + "\n"


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
    before = {host.record.ledger: host for host in closed.hosts}
    summaries = {summary.ledger: summary for summary in fleet.hosts}
    after = {summary.ledger: summary.host for summary in fleet.hosts}
    noted: list[ClosedMonthChange] = []
    for ledger in sorted(before.keys() | after.keys()):
        one, other = before.get(ledger), after.get(ledger)
        if other is None and one is not None:
            noted.append(ClosedMonthChange("missing ledger", ledger, one.name, "", "", 0, text=one.location))
        elif one is None and other is not None:
            tokens, sums = summaries[ledger].tokens_by_owner, _owners(other)
            noted += [
                ClosedMonthChange(
                    *("new ledger", ledger, other.name, *owner, sums.get(owner, 0)),
                    text=other.location,
                    tokens=None if tokens is None else tokens.get(owner, {}),
                )
                for owner in sorted(sums.keys() | (tokens or {}).keys())
            ]
        elif one is not None and other is not None:
            summary = summaries[ledger]
            noted += _changes_of(
                one,
                other,
                _priced(unpriced_by_owner(one), summary.unpriced_by_owner),
                _counted(tokens_by_owner(one), summary.tokens_by_owner),
            )
    return tuple(noted)


def _counted(before: OwnerTokens | None, after: OwnerTokens | None) -> OwnerTokens | None:
    """Tokens that came since, by product and team; `None` where one side does not know its own."""
    if before is None or after is None:
        return None
    came: dict[tuple[str, str], dict[TokenKind, int]] = {}
    for owner in before.keys() | after.keys():
        counts = dict(after.get(owner, {}))
        for kind, count in before.get(owner, {}).items():
            add(counts, kind, -count)
        if counts := {kind: counts[kind] for kind in KINDS if counts.get(kind)}:
            came[owner] = counts
    return came


def _priced(
    before: Mapping[tuple[str, str], Nanoseconds] | None, after: Mapping[tuple[str, str], Nanoseconds] | None
) -> dict[tuple[str, str], Nanoseconds]:
    """GPU time that got a price, by product and team; none where one side has no finer sums."""
    if before is None or after is None:
        return {}
    return {
        owner: duration - after.get(owner, 0)
        for owner, duration in before.items()
        if duration > after.get(owner, 0)
    }


def _changes_of(
    one: HostMonth,
    other: HostMonth,
    priced: Mapping[tuple[str, str], Nanoseconds],
    counted: OwnerTokens | None,
) -> Iterator[ClosedMonthChange]:
    ledger, name = one.record.ledger, other.name
    difference = _owners(other)
    for owner, amount in _owners(one).items():
        difference[owner] = difference.get(owner, 0) - amount
    posted = {each.number for each in one.record.adjustments if each.posted is not None}
    for each in other.record.adjustments:
        if each.posted is None or each.number in posted:
            continue
        if one.apportioned and each.posted <= (one.record.last_commit or 0):
            continue  # Prometheus had it among all money
        difference[each.product, each.team] = difference.get((each.product, each.team), 0) - each.amount
        yield ClosedMonthChange(
            *("adjustment", ledger, name, each.product, each.team, each.amount),
            number=each.number,
            text=each.reason,
        )
    least = CENT if one.apportioned or other.origin == "prometheus" else 1
    for owner in sorted(difference.keys() | (counted or {}).keys()):
        amount, tokens = difference.get(owner, 0), None if counted is None else counted.get(owner, {})
        if abs(amount) >= least or tokens:
            duration = priced.get(owner, 0)
            kind: ChangeKind = "late price" if duration else "posted"
            yield ClosedMonthChange(*(kind, ledger, name, *owner, amount), duration=duration, tokens=tokens)


def _owners(host: HostMonth) -> dict[tuple[str, str], Picodollars]:
    sums: dict[tuple[str, str], Picodollars] = {}
    for cell, amount in host.record.cells.items():
        sums[cell.product, cell.team] = sums.get((cell.product, cell.team), 0) + amount
    return sums


def _digest(content: Mapping[str, Any]) -> str:
    """Hash of the content, whatever its layout."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()


def _content(closed: ClosedMonth) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "month": closed.month,
        "timezone": closed.zone.key,
        "closed": instant_text(closed.closed),
        "closed_nanoseconds": closed.closed,
        "version": closed.version,
        "total_picodollars": closed.total,
        "findings": list(closed.findings),
        "hosts": [_host(host) for host in closed.hosts],
    }


def _host(host: HostMonth) -> dict[str, Any]:
    record = host.record
    return {
        "ledger": record.ledger,
        "name": printable(host.name),
        "origin": host.origin,
        "location": printable(host.location),  # a path need not be a text
        "timezone": host.zone,
        "names": [list(name) for name in host.names],
        "first": host.first,
        "last": host.last,
        "last_commit": record.last_commit,
        "commits": host.commits,
        "apportioned": host.apportioned,
        "reported_nanoseconds": host.covered,
        "end": None if host.end is None else list(host.end),
        "picodollars": host.total,
        "cells": [
            [cell.product, cell.team, cell.price_basis, amount]
            for cell, amount in sorted(record.cells.items())
        ],
        "adjustments": [_adjustment(each) for each in record.adjustments],
        "sums": None if record.sums is None else _sums(record.sums),
    }


def _adjustment(each: Adjustment) -> dict[str, Any]:
    return {
        "number": each.number,
        "date": each.day,
        "product": each.product,
        "team": each.team,
        "picodollars": each.amount,
        "reason": each.reason,
        "entered": each.entered,
        "posted": each.posted,
        "kind": each.kind,
        "key": each.key,
    }


def _sums(sums: HistorySums) -> dict[str, list[list[Any]]]:
    return {
        family: sorted([*_flat(key), value] for key, value in getattr(sums, family).items())
        for family in FAMILIES
    }


def _flat(key: Any) -> Iterator[str]:
    """The labels of a key, whose parts may be keys themselves."""
    if isinstance(key, tuple):
        for part in key:
            yield from _flat(part)
    else:
        yield key


def _gpu(labels: Sequence[str]) -> Gpu:
    (uuid, gpu_model) = labels
    return Gpu(uuid, gpu_model)


_KEYS: Final[Mapping[str, Callable[[Sequence[str]], Any]]] = {
    **dict.fromkeys(("cost", "held"), lambda k: OwnerPhase(CostOwner(*k[:5]), cast("Any", _only(k[5:])))),
    "server_cost": lambda k: (ServerOwner(*k[:4]), *_pair(k[4:])),
    "gpu_cost": lambda k: (_gpu(k[:2]), _only(k[2:])),
    **dict.fromkeys(("gpu_held", "gpu_down", "gpu_unowed"), _gpu),
    "tokens": lambda k: (CostOwner(*k[:5]), _only(k[5:])),
    **dict.fromkeys(("unpriced", "settled"), lambda k: (_gpu(k[:2]), CostOwner(*k[2:]))),
    "covered": tuple,
    **dict.fromkeys(("owner_held", "owner_down"), lambda k: GpuOwner(_gpu(k[:2]), *_pair(k[2:]))),
}


def _only(labels: Sequence[str]) -> str:
    (label,) = labels
    return label


def _pair(labels: Sequence[str]) -> tuple[str, str]:
    one, other = labels
    return one, other


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


def _zone(name: Any) -> ZoneInfo:
    zone = zone_named(name)
    if zone is None:
        raise ValueError(f"this machine does not know the time zone {shown(str(name))}")
    return zone


def _host_month(host: Mapping[str, Any], month: str, path: str) -> HostMonth:
    sums = None
    if host["sums"] is not None:
        sums = HistorySums(
            **{
                family: {
                    _KEYS[family]([_text(label) for label in row[:-1]]): _integer(row[-1])
                    for row in host["sums"].get(family, ())
                }
                for family in FAMILIES
            }
        )
    cells = {
        MonthKey(_text(product), _text(team), _text(basis), month): _integer(amount)
        for product, team, basis, amount in host["cells"]
    }
    record = MonthRecord(
        ledger=str(host["ledger"]),
        last_commit=_instant(host["last_commit"]),
        month=month,
        months=(month,),
        cells=cells,
        sums=sums,
        adjustments=tuple(_adjusted(each, month, str(host["ledger"])) for each in host["adjustments"]),
    )
    return HostMonth(
        record=record,
        origin="statement",
        location=path,
        zone=_zone(host["timezone"]).key,
        names=tuple(HostName(*map(str, name)) for name in host["names"]),
        first=_instant(host["first"]),
        last=_instant(host["last"]),
        commits=_integer(host["commits"]),
        apportioned=bool(host["apportioned"]),
        covered=_integer(host["reported_nanoseconds"]),
        short_name=str(host["name"]),
        end=None if host["end"] is None else KnownEnd(_integer(host["end"][0]), _text(host["end"][1])),
    )


def _adjusted(each: Mapping[str, Any], month: str, ledger: str) -> Adjustment:
    day = date.fromisoformat(each["date"]).isoformat()
    if day[:7] != month:
        raise ValueError(f"an adjustment of {day} is not of {month}")
    return Adjustment(
        number=_integer(each["number"]),
        day=day,
        product=str(each["product"]),
        team=str(each["team"]),
        amount=_integer(each["picodollars"]),
        reason=str(each["reason"]),
        entered=_integer(each["entered"]),
        posted=_instant(each["posted"]),
        kind=str(each["kind"]),
        key=str(each["key"]),
        ledger=ledger,
    )


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no integer")
    return value


def _instant(value: Any) -> Instant | None:
    if value is not None and not 0 <= _integer(value) <= LARGEST:
        raise ValueError(f"{value} is no instant")
    return None if value is None else _integer(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def restated(hosts: Iterable[HostMonth]) -> tuple[HostMonth, ...]:
    """Hosts as a statement keeps them: by ledger, without the sums of days."""
    without_days = (replace(host, record=replace(host.record, days={})) for host in hosts)
    return tuple(sorted(without_days, key=lambda host: host.record.ledger))
