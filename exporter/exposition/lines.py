"""Servers, GPUs and components of a report, a line each: what the page's tables and `/cost.json` show."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import fsum, isfinite
from typing import Final

from exporter.cost.explanation import HARDWARE
from exporter.cost.postings import UNALLOCATED, Party
from exporter.readings import ServerKey
from exporter.report import ComponentPrice, GpuRow, Report
from exporter.units import Instant, dollars

NOBODY: Final = ServerKey("", UNALLOCATED)

SHARE_DIGITS: Final = 9
"""Shares of a GPU are floats: a part this small is what rounding left."""

BUSY: Final = ("prefill", "decode", "other")
"""Phases in which a GPU worked."""


@dataclass(frozen=True, slots=True)
class ServerLine:
    """One server and model. `None` is what is not known; `up` is false when no endpoint answered.

    `gpus` and `up` are of the whole server, also where it serves several models.
    Of `unallocated`, `gpus` are those that no server holds.
    """

    party: Party
    gpus: float | None
    up: bool | None
    dollars_per_hour: float | None
    busy_ratio: float | None
    """The part of its dollars of the last hour in which GPUs worked."""
    tokens: int | None
    """Of the last day: the running hour and the 24 before it."""
    dollars_per_million_tokens: float | None
    """All tokens, everything accrued, over the last hour."""
    dollars_per_million_computed_tokens: float | None
    """The same without those that a cache answered."""
    last_token: Instant | None
    split_method: str | None
    """By what its busy dollars were split in the last tick; `None`: they were not."""
    prefill_ratio: float | None
    """Prefill's part of them; `None`: nothing ever told it."""


@dataclass(frozen=True, slots=True)
class GpuLine:
    """One GPU. `None` is what is not known; `holders` are servers with the part that each holds."""

    row: GpuRow
    holders: tuple[tuple[ServerKey, float], ...]
    prices: tuple[ComponentPrice, ...]
    dollars_per_hour: float | None
    watts: float | None
    utilization_ratio: float | None
    idle_dollars_per_hour: float | None
    """Its price by the part of the last tick in which it rested."""

    @property
    def price(self) -> ComponentPrice | None:
        """That of the hardware itself, the first where there are several."""
        return next((price for price in self.prices if price.component in HARDWARE), None)


@dataclass(frozen=True, slots=True)
class ComponentLine:
    """What money is for: per hour now, and of the last day. `None` is what is not known."""

    component: str
    dollars_per_hour: float | None
    dollars: float | None


def server_lines(report: Report) -> Iterator[ServerLine]:
    """By party, in the order of their names."""
    held = _held(report)
    up: dict[ServerKey, bool] = {}
    for server in report.servers:
        up[server.key] = up.get(server.key, False) or server.up
    prices = {
        (quotient.party, quotient.kind): quotient.dollars_per_million_tokens
        for quotient in report.quotients
        if quotient.basis == "full"
    }
    splits = {row.party: row for row in report.splits}
    tokens = _tokens(report)
    last = {} if report.books is None else report.books.last_token
    priced = {party for party, kind in prices if kind in {"all", "computed"}}
    parties = {*report.rates, *priced, *(row.party for row in report.loads)}
    known = {party.key for party in parties}
    unknown = {*up, *held} - known
    parties |= {Party("", "", key.namespace, key.server, "") for key in unknown}
    for party in sorted(parties):
        split = splits.get(party)
        yield ServerLine(
            party=party,
            gpus=finite(held.get(party.key)),
            up=up.get(party.key),
            dollars_per_hour=finite(report.rates.get(party)),
            busy_ratio=_busy(report, party),
            tokens=tokens.get(party),
            dollars_per_million_tokens=finite(prices.get((party, "all"))),
            dollars_per_million_computed_tokens=finite(prices.get((party, "computed"))),
            last_token=last.get(party),
            split_method=None if split is None else split.method,
            prefill_ratio=None if split is None else finite(split.prefill_ratio),
        )


def gpu_lines(report: Report) -> Iterator[GpuLine]:
    """In the order of the report."""
    for row in report.gpus:
        shares: dict[ServerKey, float] = {}
        for held in report.shares:
            if held.uuid == row.gpu.uuid:
                shares[held.key] = shares.get(held.key, 0.0) + held.share_ratio
        prices = tuple(price for price in report.prices if price.gpu == row.gpu)
        hourly = total(price.dollars_per_hour * price.count for price in prices)
        rests, reading = row.idle_ratio, row.reading
        yield GpuLine(
            row=row,
            holders=tuple((key, ratio) for key, ratio in sorted(shares.items()) if isfinite(ratio)),
            prices=prices,
            dollars_per_hour=hourly,
            watts=None if reading is None else finite(reading.power_watts),
            utilization_ratio=None if reading is None else finite(reading.utilization_ratio),
            idle_dollars_per_hour=None if hourly is None or rests is None else hourly * rests,
        )


def component_lines(report: Report, *, stale: bool) -> Iterator[ComponentLine]:
    """The dearest per hour first; of an old report the last day alone."""
    hourly: dict[str, list[float]] = {}
    for price in () if stale else report.prices:
        hourly.setdefault(price.component, []).append(price.dollars_per_hour * price.count)
    spent = {} if report.books is None else report.books.course.components
    lines = [
        ComponentLine(
            name,
            total(hourly.get(name, ())),
            dollars(spent[name]) if name in spent else None,
        )
        for name in sorted({*hourly, *spent})
    ]
    yield from sorted(lines, key=lambda line: (-(line.dollars_per_hour or 0.0), -(line.dollars or 0.0)))


def finite(figure: float | None) -> float | None:
    """A figure that went wrong is not known."""
    return figure if figure is not None and isfinite(figure) else None


def total(figures: Iterable[float]) -> float | None:
    """`None` without any, and where one is not known."""
    known = list(figures)
    try:
        return finite(fsum(known)) if known else None
    except (OverflowError, ValueError):  # beyond a float, and infinities of both signs
        return None


def _held(report: Report) -> Mapping[ServerKey, float]:
    """GPUs by who holds them; what no server holds is nobody's."""
    held: dict[ServerKey, float] = {}
    for row in report.shares:
        held[row.key] = held.get(row.key, 0.0) + row.share_ratio
    nobody = round(sum(row.count for row in report.gpus) - sum(held.values()), SHARE_DIGITS)
    return {**held, NOBODY: nobody} if nobody > 0 else held


def _tokens(report: Report) -> Mapping[Party, int]:
    """Of the last day; a server that told some and served none then has none."""
    if report.books is None:
        return {}
    found = dict.fromkeys((party for party, _kind in report.books.tokens), 0)
    for (party, _kind), number in report.books.course.tokens.items():
        found[party] = found.get(party, 0) + number
    return found


def _busy(report: Report, party: Party) -> float | None:
    window = None if report.books is None else report.books.window.get(party)
    spent = 0 if window is None else sum(window.money.values())
    if window is None or spent <= 0:
        return None
    return sum(window.money.get(phase, 0) for phase in BUSY) / spent
