"""The tables of the host's page: columns, order of rows, and how cells are written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Final

from exporter.cost.money import add_all
from exporter.cost.postings import PHASES
from exporter.report import Hour
from exporter.units import (
    NANOSECONDS_PER_DAY,
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_MINUTE,
    NANOSECONDS_PER_SECOND,
    Instant,
    Picodollars,
    dollars,
)
from exporter.web.summary import GpuSummary, ServerSummary, Summary, total
from exporter.web.wording import ABSENT, amount, price_source, rounded

UNITS: Final = (("d", NANOSECONDS_PER_DAY), ("h", NANOSECONDS_PER_HOUR), ("min", NANOSECONDS_PER_MINUTE))

ESTIMATE_SIGN: Final = "\N{ALMOST EQUAL TO}"
"""Stands before money by an estimated price."""


@dataclass(frozen=True, slots=True)
class SharedPrice:
    """A price in force, and how many GPUs have it."""

    gpu_model: str
    component: str
    hourly: float
    """Dollars per hour of one GPU."""
    source: str
    gpus: int = 0


def prices(gpus: Iterable[GpuSummary]) -> Iterable[SharedPrice]:
    """The prices in force, GPUs with the same one together."""
    shared: dict[SharedPrice, SharedPrice] = {}
    for line in gpus:
        for price in line.prices:
            source = f"{price.provenance.price_basis}: {price_source(price.provenance)}"
            key = SharedPrice(price.gpu.gpu_model, price.component, price.dollars_per_hour, source)
            shared[key] = replace(key, gpus=shared.get(key, key).gpus + price.count)
    return shared.values()


def phases(money: Mapping[str, Picodollars]) -> list[tuple[str, float]]:
    """Each phase that cost something, with its dollars."""
    return [(phase, dollars(money[phase])) for phase in PHASES if money.get(phase)]


def by_phase(hours: Iterable[Hour]) -> list[tuple[str, float]]:
    """As `phases`, of several hours."""
    sums: dict[str, Picodollars] = {}
    for hour in hours:
        add_all(sums, hour.money)
    return phases(sums)


def servers_by_cost(summary: Summary) -> list[ServerSummary]:
    """Servers and models, the most expensive first; those without a cost last."""
    return sorted(
        summary.servers,
        key=lambda line: (line.dollars_per_hour is None, -(line.dollars_per_hour or 0.0), line.owner),
    )


def sort_key(line: ServerSummary) -> str:
    """The figures of a row's columns, `-` for an unknown one; the script sorts and sums by them."""
    figures = (
        line.dollars_per_hour,
        line.gpus,
        line.busy_ratio,
        line.tokens,
        line.dollars_per_million_tokens,
        line.dollars_per_million_computed_tokens,
        None if line.last_token is None else line.last_token // NANOSECONDS_PER_SECOND,
        None if split_method(line) is None else line.prefill_ratio,
    )
    return " ".join("-" if figure is None else f"{figure:.12g}" for figure in figures)


def split_method(line: ServerSummary) -> str | None:
    """Method that splits its busy dollars, if it had any."""
    return None if line.busy_ratio == 0 else line.split_method


def known_sum(figures: Iterable[float | None]) -> float | None:
    """The sum of those that are known."""
    return total(figure for figure in figures if figure is not None)


def money(dollars: float | None, estimated: bool = False, absent: str = ABSENT) -> str:  # noqa: FBT001, FBT002 - a filter
    """Money to the cent; an estimate begins with a sign."""
    if dollars is None:
        return absent
    return f"{ESTIMATE_SIGN} {amount(dollars)}" if estimated else amount(dollars)


def due(seconds: float) -> str:
    """When a figure will be known."""
    return f"in {ceil(seconds)} s" if seconds > 0 else "due"


def plain(gpus: float) -> str:
    """A number of GPUs, of which servers may hold parts."""
    return f"{gpus:.2f}".rstrip("0").rstrip(".")


def watts(power: float) -> str:
    """Power in whole watts."""
    return f"{rounded(power, 0):,}"


def ago(then: Instant | None, now: Instant) -> str:
    """How long ago, in one unit."""
    if then is None:
        return ABSENT
    past = max(0, now - then)
    for unit, size in UNITS:
        if past >= size:
            return f"{past // size} {unit} ago"
    return f"{past // NANOSECONDS_PER_SECOND} s ago"
