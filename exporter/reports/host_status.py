"""The verb `status`: one host on one screen, from the daemon's `/cost.json` or from its ledger.

An answer of the daemon is input from outside: what has another form is refused whole.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from textwrap import wrap
from typing import Annotated, Final, Literal, TypeAlias, TypeVar

import msgspec

from exporter.cost.postings import UNALLOCATED
from exporter.cost.state import State
from exporter.readings import ServerKey
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

T = TypeVar("T")
Items: TypeAlias = Annotated[list[T], msgspec.Meta(max_length=ITEMS_MAX)]
"""A list of bounded length in an answer."""


class StatusFormError(Exception):
    """An answer that is no `/cost.json` of this exporter; the message says where."""


class ServerStatus(msgspec.Struct, frozen=True):
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
    up: int | None = None
    priced: int | None = None
    dollars_per_hour: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus:
    """One host; `None` is unknown."""

    origin: Literal["daemon", "ledger"]
    location: str
    """The daemon's address, or the ledger's file."""
    host: str | None = None
    taken: str | None
    stale: bool
    dollars_per_hour: float | None = None
    dollars_last_hour: float | None = None
    """Known of a ledger only."""
    run_rate_dollars: float | None = None
    month: str | None
    month_dollars: float | None
    projected_dollars: float | None = None
    budget_dollars: float | None
    gpus: tuple[GpuModelStatus, ...]
    servers: tuple[ServerStatus, ...]
    sources: Mapping[str, bool] | None = None
    """Whether each is up."""
    notes: tuple[str, ...]


class _ServerAnswer(ServerStatus, frozen=True):
    """A row of `servers` in `/cost.json`."""

    namespace: str


class _GpuAnswer(msgspec.Struct):
    """A row of `gpus` in `/cost.json`."""

    gpu_model: str
    count: Annotated[int, msgspec.Meta(ge=0, le=ITEMS_MAX)]
    up: bool
    priced: bool
    dollars_per_hour: float | None


class _SourceAnswer(msgspec.Struct):
    """A row of `sources` in `/cost.json`."""

    source: str
    up: bool


class _HostAnswer(msgspec.Struct):
    """`host` in `/cost.json`, as far as the screen shows it."""

    name: str | None
    taken: str
    stale: bool
    dollars_per_hour: float | None
    monthly_run_rate_dollars: float | None
    month: str | None
    month_to_date_dollars: float | None
    month_projected_dollars: float | None
    budget_dollars: float | None
    gpus: Items[_GpuAnswer]
    servers: Items[_ServerAnswer]
    sources: Items[_SourceAnswer]
    notes: Items[str]


class _StatusAnswer(msgspec.Struct):
    host: _HostAnswer | None
    """`null` before the first tick."""


def of_daemon(body: bytes, location: str) -> HostStatus:
    """The status in an answer of `/cost.json`.

    Raises:
        StatusFormError: it is no such answer, or the daemon has not taken its first tick.
    """
    try:
        host = msgspec.json.decode(body, type=_StatusAnswer).host
    except (ValueError, RecursionError) as error:
        raise StatusFormError(f"is not that of this release: {error}") from None
    if host is None:
        raise StatusFormError("has no figures before the first tick; try again in a few seconds")
    by_model: dict[str, list[_GpuAnswer]] = {}
    for gpu in host.gpus:
        by_model.setdefault(_clean(gpu.gpu_model), []).append(gpu)
    return HostStatus(
        origin="daemon",
        location=location,
        host=None if host.name is None else _clean(host.name),
        taken=_clean(host.taken),
        stale=host.stale,
        dollars_per_hour=host.dollars_per_hour,
        run_rate_dollars=host.monthly_run_rate_dollars,
        month=None if host.month is None else _clean(host.month),
        month_dollars=host.month_to_date_dollars,
        projected_dollars=host.month_projected_dollars,
        budget_dollars=host.budget_dollars,
        gpus=tuple(
            GpuModelStatus(
                model,
                gpus=sum(gpu.count for gpu in gpus),
                up=sum(gpu.count for gpu in gpus if gpu.up),
                priced=sum(gpu.count for gpu in gpus if gpu.priced),
                dollars_per_hour=_total([gpu.dollars_per_hour for gpu in gpus]),
            )
            for model, gpus in sorted(by_model.items())
        ),
        servers=_by_cost(
            ServerStatus(
                server=ServerKey(_clean(row.namespace), _clean(row.server)).name,
                model=_clean(row.model),
                gpus=row.gpus,
                dollars_per_hour=row.dollars_per_hour,
                busy_ratio=row.busy_ratio,
                dollars_per_million_tokens=row.dollars_per_million_tokens,
                up=row.up,
            )
            for row in host.servers
        ),
        sources={_clean(row.source): row.up for row in host.sources},
        notes=tuple(map(_clean, host.notes)),
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
        row = owner.key.name, owner.model
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
        taken=None if totals.last_commit is None else timestamp(totals.last_commit),
        stale=True,
        dollars_last_hour=dollars(sum(known)) if known and not all_unpriced else None,
        month=month,
        month_dollars=dollars(sum(cells)) if cells else None,
        budget_dollars=budget,
        gpus=tuple(GpuModelStatus(name, number) for name, number in sorted(models.items())),
        servers=_by_cost(
            ServerStatus(
                server=server,
                model=model,
                gpus=None,
                dollars_per_hour=None if money is None or unpriced[server, model] else dollars(money),
                busy_ratio=None,
                dollars_per_million_tokens=None,
                up=None,
            )
            for (server, model), money in spent.items()
        ),
        notes=(f"{hours:,.4g} GPU-hours of the last hour have no price.",) if all_unpriced else (),
    )


def _clean(value: str) -> str:
    """A text as a terminal may print it."""
    return "".join(c if c.isprintable() else "?" for c in value[:TEXT_CHARACTERS])


def _by_cost(servers: Iterable[ServerStatus]) -> tuple[ServerStatus, ...]:
    """The dearest first; what no server holds last."""

    def rank(row: ServerStatus) -> tuple[bool, float, str, str]:
        return row.server == UNALLOCATED, -(row.dollars_per_hour or 0.0), row.server, row.model

    return tuple(sorted(servers, key=rank))


def as_json(status: HostStatus) -> str:
    """The status as one JSON object; `null` is unknown."""
    return json.dumps(msgspec.to_builtins(status), indent=2, allow_nan=False) + "\n"


def text(status: HostStatus, rows: int | None = ROWS) -> str:
    """The status in lines of 80 columns, at most so many rows with one left for the prompt."""
    above = [*_head(status), ""]
    sources = f"sources       {UNKNOWN}: no daemon answers"
    if status.sources is not None:
        down = [name for name, up in status.sources.items() if not up]
        sources = f"sources       {len(status.sources) - len(down)} of {len(status.sources)} up"
        if down:
            sources += f"; down: {', '.join(down[:SOURCES_NAMED_MAX])}"
        if len(down) > SOURCES_NAMED_MAX:
            sources += f" and {len(down) - SOURCES_NAMED_MAX} more"
    notes = [
        line for note in status.notes for line in wrap(f"note: {note}", COLUMNS, subsequent_indent="      ")
    ]
    if len(notes) > NOTE_LINES_MAX:
        notes[NOTE_LINES_MAX - 1 :] = [f"note: {len(status.notes)} in all, more on the page"]
    below = ["", sources, *notes]
    room = None if rows is None else max(SERVERS_MIN, rows - 1 - len(above) - len(below) - 1)
    lines = [*above, *_server_lines(status, room), *below]
    return "".join(f"{cut(line, COLUMNS).rstrip()}\n" for line in lines)


def cut(line: str, columns: int) -> str:
    """A line that fits; three points stand for what is left out."""
    return line if len(line) <= columns else f"{line[: columns - 3]}..."


def _head(status: HostStatus) -> Iterator[str]:
    """Money and GPUs of the host."""
    yield f"{status.host or 'this host'}, {status.taken or 'no tick yet'}{', stale' if status.stale else ''}"
    yield f"{status.origin:<13} {status.location}"
    if status.origin == "ledger":
        yield f"last hour     {_money(status.dollars_last_hour)}"
    else:
        yield f"spend now     {_money(status.dollars_per_hour, ' per hour')}"
        yield f"run-rate      {_money(status.run_rate_dollars, ' per month')}"
    month, budget = status.month_dollars, status.budget_dollars
    line = f"{status.month or 'month':<13} {_money(month)}"
    if budget and month is None:
        line = f"{line}, of a budget of {amount(budget)}"
    elif budget and month is not None:
        filled = min(BAR, max(0, int(BAR * month / budget)))
        line = f"{line} of {amount(budget)} [{'#' * filled}{'.' * (BAR - filled)}] {month / budget:.0%}"
    yield line
    if status.projected_dollars is not None:
        yield f"month's end   {amount(status.projected_dollars)} projected"
    yield ""
    models = status.gpus
    number = sum(row.gpus for row in models)
    up, priced = _total([row.up for row in models]), _total([row.priced for row in models])
    known = "" if up is None or priced is None else f", {up:.0f} up, {priced:.0f} priced"
    yield f"GPUs          {number}{known}" if models else "GPUs          none"
    for row in models[:GPU_LINES_MAX]:
        hourly = "" if row.dollars_per_hour is None else f"  {amount(row.dollars_per_hour)}/h"
        yield f"  {row.gpus:>4} {cut(row.gpu_model, 48)}{hourly}"
    if len(models) > GPU_LINES_MAX:
        yield f"  and {len(models) - GPU_LINES_MAX} more models"


def _money(figure: float | None, per: str = "") -> str:
    return UNKNOWN if figure is None else f"{amount(figure)}{per}"


def _total(figures: Sequence[float | None]) -> float | None:
    """The sum; `None` without any, or where one is unknown."""
    known = [figure for figure in figures if figure is not None]
    return fsum(known) if known and len(known) == len(figures) else None


def _server_lines(status: HostStatus, room: int | None) -> Iterator[str]:
    hourly = "last hour" if status.origin == "ledger" else "$/hour"
    yield f"{'server':<24} {'model':<18} {'GPUs':>5} {hourly:>10} {'busy':>5} {'$/M tokens':>11}"
    servers = status.servers
    shown = servers
    if room is not None and len(servers) > room:
        # What no server holds may be the dearest, and stays in view.
        unallocated = tuple(row for row in servers if row.server == UNALLOCATED)[:1]
        named = tuple(row for row in servers if row.server != UNALLOCATED)
        shown = named[: room - 1 - len(unallocated)] + unallocated

    def figure(value: float | None, form: str) -> str:
        return ABSENT if value is None else format(value, form)

    for row in shown:
        down = " DOWN" if row.up is False else ""
        yield (
            f"{cut(row.server, 24 - len(down)) + down:<24} {cut(row.model or ABSENT, 18):<18} "
            f"{figure(row.gpus, '.4g'):>5} {figure(row.dollars_per_hour, ',.2f'):>10} "
            f"{figure(row.busy_ratio, '.0%'):>5} {figure(row.dollars_per_million_tokens, ',.2f'):>11}"
        )
    if len(shown) < len(servers):
        yield f"and {len(servers) - len(shown)} more; --json has all"
    if not servers:
        yield "none in the last hour" if status.origin == "ledger" else "none"
