"""The verb `status`: one host on one screen, from the daemon's `/cost.json` or from its ledger.

An answer of the daemon is input from outside: what has another form is refused whole.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import fsum, isfinite
from textwrap import wrap
from typing import Any, Final, Literal

from exporter.cost.postings import UNALLOCATED
from exporter.cost.state import State
from exporter.report import CommittedTotals
from exporter.units import NANOSECONDS_PER_HOUR, Nanoseconds, Picodollars, dollars
from exporter.web.wording import ABSENT, UNKNOWN, amount, timestamp

COLUMNS: Final = 80
ROWS: Final = 24
SERVERS_MIN: Final = 3
"""Servers that are listed on a screen however low it is."""

GPU_LINES_MAX: Final = 3
NOTE_LINES_MAX: Final = 4
SOURCES_NAMED_MAX: Final = 3
TEXT_CHARACTERS: Final = 400
ITEMS_MAX: Final = 10_000
BAR: Final = 20


class StatusFormError(Exception):
    """An answer that is no `/cost.json` of this exporter; the message says where."""


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One server and model; `None` is unknown."""

    server: str
    model: str
    gpus: float | None
    dollars_per_hour: float | None
    busy_ratio: float | None
    dollars_per_million_tokens: float | None
    up: bool | None


@dataclass(frozen=True, slots=True)
class GpuModelStatus:
    """GPUs of one model; `None` is unknown."""

    gpu_model: str
    gpus: int
    up: int | None
    priced: int | None
    dollars_per_hour: float | None


@dataclass(frozen=True, slots=True)
class HostStatus:
    """One host; `None` is unknown. `dollars_last_hour` is known of a ledger only.

    `location` is the daemon's address or the ledger's file. `sources` is whether each is up.
    """

    origin: Literal["daemon", "ledger"]
    location: str
    host: str | None
    taken: str | None
    stale: bool
    dollars_per_hour: float | None
    dollars_last_hour: float | None
    run_rate_dollars: float | None
    month: str | None
    month_dollars: float | None
    projected_dollars: float | None
    budget_dollars: float | None
    gpus: tuple[GpuModelStatus, ...]
    servers: tuple[ServerStatus, ...]
    sources: Mapping[str, bool] | None
    notes: tuple[str, ...]


def of_daemon(body: bytes, location: str) -> HostStatus:
    """The status in an answer of `/cost.json`.

    Raises:
        StatusFormError: it is no such answer, or the daemon has not taken its first tick.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise StatusFormError("is no JSON") from None
    host = _get(document, "host", dict, type(None))
    if host is None:
        raise StatusFormError("has no figures before the first tick; try again in a few seconds")
    return HostStatus(
        origin="daemon",
        location=location,
        host=_text(host, "name"),
        taken=_text(host, "taken"),
        stale=_get(host, "stale", bool),
        dollars_per_hour=_number(host, "dollars_per_hour"),
        dollars_last_hour=None,
        run_rate_dollars=_number(host, "monthly_run_rate_dollars"),
        month=_text(host, "month"),
        month_dollars=_number(host, "month_to_date_dollars"),
        projected_dollars=_number(host, "month_projected_dollars"),
        budget_dollars=_number(host, "budget_dollars"),
        gpus=tuple(_gpu_models(_items(host, "gpus"))),
        servers=_by_cost(_server(each) for each in _items(host, "servers")),
        sources={_text(row, "source") or "": _get(row, "up", bool) for row in _items(host, "sources")},
        notes=tuple(_clean(each) for each in _get(host, "notes", list)[:ITEMS_MAX] if isinstance(each, str)),
    )


def of_ledger(
    totals: CommittedTotals, state: State, location: str, month: str, budget: float | None
) -> HostStatus:
    """The status in a ledger, without a daemon: nothing of now is known.

    A sum of the last hour that lacks time without a price is not known.
    """
    spent: dict[tuple[str, str], Picodollars | None] = {}
    unpriced: dict[tuple[str, str], Nanoseconds] = {}
    for owner, window in totals.window.items():
        row = _name(owner.namespace, owner.server), owner.model
        money = sum(window.money.values()) if window.money else None
        before = spent.get(row)
        spent[row] = money if before is None else before + (money or 0)
        unpriced[row] = unpriced.get(row, 0) + window.unpriced
    all_unpriced = sum(unpriced.values())
    hours = all_unpriced / NANOSECONDS_PER_HOUR
    cells = [value for key, value in totals.months.items() if key.month == month]
    models: dict[str, int] = {}
    for gpu in state.gpus.values():
        models[gpu.gpu.gpu_model] = models.get(gpu.gpu.gpu_model, 0) + gpu.count
    known = [money for money in spent.values() if money is not None]
    return HostStatus(
        origin="ledger",
        location=location,
        host=None,
        taken=None if totals.last_commit is None else timestamp(totals.last_commit),
        stale=True,
        dollars_per_hour=None,
        dollars_last_hour=dollars(sum(known)) if known and not all_unpriced else None,
        run_rate_dollars=None,
        month=month,
        month_dollars=dollars(sum(cells)) if cells else None,
        projected_dollars=None,
        budget_dollars=budget,
        gpus=tuple(GpuModelStatus(name, number, None, None, None) for name, number in sorted(models.items())),
        servers=_by_cost(
            ServerStatus(
                server,
                model,
                None,
                None if money is None or unpriced[server, model] else dollars(money),
                None,
                None,
                None,
            )
            for (server, model), money in spent.items()
        ),
        sources=None,
        notes=(f"{hours:,.4g} GPU-hours of the last hour have no price.",) if all_unpriced else (),
    )


def as_json(status: HostStatus) -> str:
    """The status as one JSON object; `null` is unknown."""
    return json.dumps(asdict(status), indent=2, allow_nan=False) + "\n"


def text(status: HostStatus, rows: int | None = ROWS) -> str:
    """The status in lines of 80 columns, at most so many rows with one left for the prompt."""
    above = [*_head(status), "", *_gpu_lines(status.gpus), ""]
    below = ["", *_source_lines(status), *_note_lines(status.notes)]
    room = None if rows is None else max(SERVERS_MIN, rows - 1 - len(above) - len(below) - 1)
    lines = [*above, *_server_lines(status, room), *below]
    return "".join(f"{cut(line, COLUMNS).rstrip()}\n" for line in lines)


def cut(line: str, columns: int) -> str:
    """A line that fits; three points stand for what is left out."""
    return line if len(line) <= columns else f"{line[: columns - 3]}..."


def _cut_at_a_word(line: str) -> str:
    """As `cut`, between two words where there are any."""
    words, _, _ = line[: COLUMNS - 3].rpartition(" ")
    return line if len(line) <= COLUMNS else f"{words} ..." if words.strip() else cut(line, COLUMNS)


def _head(status: HostStatus) -> Iterator[str]:
    yield f"{status.host or 'this host'}, {status.taken or 'no tick yet'}{', stale' if status.stale else ''}"
    yield f"{status.origin:<13} {status.location}"
    if status.origin == "ledger":
        yield f"last hour     {_money(status.dollars_last_hour)}"
    else:
        yield f"spend now     {_money(status.dollars_per_hour, ' per hour')}"
        yield f"run-rate      {_money(status.run_rate_dollars, ' per month')}"
    month, budget = status.month_dollars, status.budget_dollars
    line = f"{status.month or 'month':<13} {_money(month)}"
    if budget:
        if month is None:
            line = f"{line}, of a budget of {amount(budget)}"
        else:
            filled = min(BAR, max(0, int(BAR * month / budget)))
            line = f"{line} of {amount(budget)} [{'#' * filled}{'.' * (BAR - filled)}] {month / budget:.0%}"
    yield line
    if status.projected_dollars is not None:
        yield f"month's end   {amount(status.projected_dollars)} projected"


def _gpu_lines(models: Sequence[GpuModelStatus]) -> Iterator[str]:
    number = sum(each.gpus for each in models)
    up, priced = (_total([getattr(each, name) for each in models]) for name in ("up", "priced"))
    known = "" if up is None or priced is None else f", {up:.0f} up, {priced:.0f} priced"
    yield f"GPUs          {number}{known}" if models else "GPUs          none"
    for each in models[:GPU_LINES_MAX]:
        hourly = "" if each.dollars_per_hour is None else f"  {amount(each.dollars_per_hour)}/h"
        yield f"  {each.gpus:>4} {cut(each.gpu_model, 48)}{hourly}"
    if len(models) > GPU_LINES_MAX:
        yield f"  and {len(models) - GPU_LINES_MAX} more models"


def _server_lines(status: HostStatus, room: int | None) -> Iterator[str]:
    hourly = "last hour" if status.origin == "ledger" else "$/hour"
    yield f"{'server':<24} {'model':<18} {'GPUs':>5} {hourly:>10} {'busy':>5} {'$/M tokens':>11}"
    servers = status.servers
    shown = servers
    if room is not None and len(servers) > room:
        # What no server holds may be the dearest, and stays in view.
        unallocated = tuple(each for each in servers if each.server == UNALLOCATED)[:1]
        named = tuple(each for each in servers if each.server != UNALLOCATED)
        shown = named[: room - 1 - len(unallocated)] + unallocated
    for each in shown:
        down = " DOWN" if each.up is False else ""
        yield (
            f"{cut(each.server, 24 - len(down)) + down:<24} {cut(each.model or ABSENT, 18):<18} "
            f"{_figure(each.gpus, '.4g'):>5} {_figure(each.dollars_per_hour, ',.2f'):>10} "
            f"{_figure(each.busy_ratio, '.0%'):>5} {_figure(each.dollars_per_million_tokens, ',.2f'):>11}"
        )
    if len(shown) < len(servers):
        yield f"and {len(servers) - len(shown)} more; --json has all"
    if not servers:
        yield "none in the last hour" if status.origin == "ledger" else "none"


def _source_lines(status: HostStatus) -> Iterator[str]:
    if status.sources is None:
        yield f"sources       {UNKNOWN}: no daemon answers"
        return
    down = [name for name, up in status.sources.items() if not up]
    line = f"sources       {len(status.sources) - len(down)} of {len(status.sources)} up"
    more = f" and {len(down) - SOURCES_NAMED_MAX} more" if len(down) > SOURCES_NAMED_MAX else ""
    yield f"{line}; down: {', '.join(down[:SOURCES_NAMED_MAX])}{more}" if down else line


def _note_lines(notes: Sequence[str]) -> Iterator[str]:
    """The first notes, the last of which may be cut, and how many are left out."""
    room = NOTE_LINES_MAX
    for number, note in enumerate(notes):
        left = len(notes) - number
        lines = wrap(f"note: {note}", COLUMNS, subsequent_indent="      ")
        if len(lines) > room - (left > 1) and number:
            yield f"note: {left} more on the page"
            return
        shown = lines[: room - 1]
        yield from shown[:-1]
        yield shown[-1] if len(shown) == len(lines) else _cut_at_a_word(f"{shown[-1]} ...")
        room -= len(shown)


def _money(figure: float | None, per: str = "") -> str:
    return UNKNOWN if figure is None else f"{amount(figure)}{per}"


def _figure(figure: float | None, form: str) -> str:
    return ABSENT if figure is None else format(figure, form)


def _total(figures: Sequence[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return fsum(known) if known and len(known) == len(figures) else None


def _by_cost(servers: Iterator[ServerStatus]) -> tuple[ServerStatus, ...]:
    """The dearest first; what no server holds last."""
    return tuple(
        sorted(
            servers,
            key=lambda each: (
                each.server == UNALLOCATED,
                -(each.dollars_per_hour or 0.0),
                each.server,
                each.model,
            ),
        )
    )


def _name(namespace: str, server: str) -> str:
    return f"{namespace}/{server}" if namespace else server


def _server(row: Mapping[str, Any]) -> ServerStatus:
    return ServerStatus(
        server=_name(_text(row, "namespace") or "", _text(row, "server") or ""),
        model=_text(row, "model") or "",
        gpus=_number(row, "gpus"),
        dollars_per_hour=_number(row, "dollars_per_hour"),
        busy_ratio=_number(row, "busy_ratio"),
        dollars_per_million_tokens=_number(row, "dollars_per_million_tokens"),
        up=_get(row, "up", bool, type(None)),
    )


def _gpu_models(rows: Sequence[Mapping[str, Any]]) -> Iterator[GpuModelStatus]:
    models: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        models.setdefault(_text(row, "gpu_model") or "", []).append(row)
    for name, each in sorted(models.items()):
        counts = [_count(row) for row in each]
        yield GpuModelStatus(
            name,
            sum(counts),
            sum(count for count, row in zip(counts, each, strict=True) if _get(row, "up", bool)),
            sum(count for count, row in zip(counts, each, strict=True) if _get(row, "priced", bool)),
            _total([_number(row, "dollars_per_hour") for row in each]),
        )


def _count(row: Mapping[str, Any]) -> int:
    count = _number(row, "count")
    if count is None or not 0 <= count <= ITEMS_MAX or count != int(count):
        raise StatusFormError("has no number of GPUs in count")
    return int(count)


def _items(row: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    items = _get(row, key, list)
    if len(items) > ITEMS_MAX or not all(isinstance(item, dict) for item in items):
        raise StatusFormError(f"has no list of objects in {key}")
    return list(items)


def _get(row: object, key: str, *kinds: type) -> Any:
    if not isinstance(row, dict) or key not in row or type(row[key]) not in kinds:
        raise StatusFormError(f"has no {key} as /cost.json of this release has it")
    return row[key]


def _number(row: Mapping[str, Any], key: str) -> float | None:
    figure = _get(row, key, int, float, type(None))
    if figure is None:
        return None
    try:
        value = float(figure)
    except OverflowError:
        value = float("inf")
    if not isfinite(value):
        raise StatusFormError(f"has no finite number in {key}")
    return value


def _text(row: Mapping[str, Any], key: str) -> str | None:
    value = _get(row, key, str, type(None))
    return None if value is None else _clean(value)


def _clean(value: str) -> str:
    """A text as a terminal may print it."""
    return "".join(c if c.isprintable() else "?" for c in value[:TEXT_CHARACTERS])
