"""Families of sums: the key, value, grain, ceiling and retention of each table.

The schema, adding, pruning, copying, writing and reading of sums follow from this table.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any, Final, NamedTuple, Self

from exporter.cost.money import add_all
from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.readings import Gpu, ServerKey
from exporter.report import MonthKey, ServerOwner

LARGEST: Final = 2**63 - 1
"""The largest integer that SQLite holds."""


class Rule(Enum):
    """How a value that is posted changes the value before."""

    SUM = "sum"
    COUNT = "count"
    """A sum that stops at `LARGEST`. It comes from what a server reports: absurd counts cannot stop the
    ledger. Sums of money, time and energy are exact."""
    LATEST = "latest"
    EARLIEST = "earliest"
    PEAK = "peak"


class GpuOwner(NamedTuple):
    """A GPU and the product and team that held it."""

    gpu: Gpu
    product: str
    team: str


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Sums of one table."""

    name: str
    """The field that holds them in memory."""
    columns: str
    """Columns of the key, and last the value's. `owner` and `gpu` refer to their tables, others to labels."""
    build: Callable[..., Any] | None = None
    """Makes a key of its parts, in the order of the columns; without it, a tuple of them or the only one."""
    rule: Rule = Rule.SUM
    brief: bool = False
    """Whether an hour is kept for a day only."""
    table: str = ""
    period: str = ""
    """The column of the minute, hour or day since which the sums are; empty for running totals."""

    @property
    def key(self) -> tuple[str, ...]:
        """Columns of the key, without the period."""
        return tuple(self.columns.split()[:-1])

    @property
    def primary_key(self) -> tuple[str, ...]:
        """Columns of the key, after the period if the table has one."""
        return (self.period, *self.key) if self.period else self.key

    @property
    def value(self) -> str:
        """Column of the value."""
        return self.columns.split()[-1]

    def changed(self, before: Mapping[Any, int], posted: Mapping[Any, int]) -> dict[Any, int]:
        """New values of the keys that a posting changes or adds."""
        match self.rule:
            case Rule.LATEST:
                return {key: value for key, value in posted.items() if value != before.get(key)}
            case Rule.EARLIEST:
                return {key: value for key, value in posted.items() if value < before.get(key, LARGEST)}
            case Rule.PEAK:
                return {key: value for key, value in posted.items() if value > before.get(key, -1)}
        sums = {
            key: before.get(key, 0) + value for key, value in posted.items() if value or key not in before
        }
        if self.rule is Rule.COUNT:
            return {key: min(total, LARGEST) for key, total in sums.items()}
        return sums


Families = Mapping[str, Family]
"""Families of one grain, by the field that holds them."""


def _of_grain(prefix: str, period: str, *families: Family) -> Families:
    return {
        family.name: replace(family, table=f"{prefix}{family.name}", period=period) for family in families
    }


def _server_cost(*parts: Any) -> tuple[Any, ...]:
    """The owner of a server, with the component, and in history the price basis."""
    return (ServerOwner(*parts[:4]), *parts[4:])


def _month_key(month: str, product: str, team: str, price_basis: str) -> MonthKey:
    return MonthKey(product, team, price_basis, month)


_COST: Final = Family("cost", "owner phase picodollars", OwnerPhase)
_GPU_TIME: Final = Family("held", "owner phase nanoseconds", OwnerPhase)
_GPU_COST: Final = Family("gpu_cost", "gpu component picodollars")
_TOKENS: Final = Family("tokens", "owner kind count", rule=Rule.COUNT)
_UNPRICED: Final = Family("unpriced", "gpu owner nanoseconds")
_LATENCIES: Final = Family("latencies", "owner objective basis part count", rule=Rule.COUNT)

COUNTERS: Final = _of_grain(
    "",
    "",
    _COST,
    _GPU_TIME,
    Family("server_cost", "product team namespace server component picodollars", _server_cost),
    _GPU_COST,
    _TOKENS,
    Family("requests", "owner count", rule=Rule.COUNT),
    Family("preemptions", "owner count", rule=Rule.COUNT),
    Family("energy", "gpu millijoules"),
    _UNPRICED,
    Family("months", "month product team price_basis picodollars", _month_key),
    Family("first_held", "product instant", rule=Rule.EARLIEST),
    Family("equivalents", "owner reference picodollars", rule=Rule.COUNT),
    _LATENCIES,
    Family("last_token", "owner instant", rule=Rule.LATEST),
    Family("changed", "owner instant", rule=Rule.LATEST),
)
"""Running totals."""

MINUTES: Final = _of_grain("minute_", "minute", _COST, _TOKENS, _LATENCIES)
"""Sums of the last hour."""

HOURS: Final = _of_grain(
    "hour_",
    "hour",
    Family("cost", "product picodollars"),
    Family("covered", "nanoseconds"),
    Family("down", "nanoseconds", brief=True),
    Family("usage", "gpu product nanoseconds", brief=True),
    Family("energy", "gpu product millijoules", brief=True),
)
"""Sums of the last 40 days, and of the last day."""

_HISTORY: Final = (
    _COST,
    _GPU_TIME,
    Family("server_cost", "product team namespace server component price_basis picodollars", _server_cost),
    _GPU_COST,
    Family("gpu_held", "gpu nanoseconds"),
    _TOKENS,
    _UNPRICED,
    Family("settled", "gpu owner nanoseconds"),
    Family("gpu_down", "gpu nanoseconds"),
    Family("gpu_unowed", "gpu nanoseconds"),
    Family("owner_held", "gpu product team nanoseconds", GpuOwner),
    Family("owner_down", "gpu product team nanoseconds", GpuOwner),
)

HOURLY: Final = _of_grain("hourly_", "hour", *_HISTORY)
"""History of 40 days."""

DAILY: Final = _of_grain("daily_", "day", *_HISTORY, Family("covered", "nanoseconds"))
"""History of 13 months."""

MEMORY: Final = _of_grain(
    "hourly_",
    "hour",
    Family(
        "memory",
        "gpu namespace server bytes",
        lambda gpu, namespace, server: (gpu, ServerKey(namespace, server)),
        rule=Rule.PEAK,
    ),
)["memory"]
"""Peak GPU memory of servers, kept as history by hour."""

ALL: Final = (
    *COUNTERS.values(),
    *MINUTES.values(),
    *HOURS.values(),
    *HOURLY.values(),
    *DAILY.values(),
    MEMORY,
)


def parts_of(key: Any) -> Iterator[object]:
    """The parts of a key, in the order of its columns."""
    if isinstance(key, MonthKey):
        yield from (key.month, key.product, key.team, key.price_basis)
    elif isinstance(key, tuple) and not isinstance(key, (CostOwner, Gpu)):
        for part in key:
            yield from parts_of(part)
    else:
        yield key


@dataclass(slots=True, eq=False)
class Sums:
    """Sums of several families: each field is one, by its key."""

    def copy(self) -> Self:
        """A copy to add to."""
        return replace(self, **{item.name: dict(getattr(self, item.name)) for item in fields(self)})

    def add(self, later: Self) -> None:
        """Add other sums of the same families."""
        for item in fields(self):
            add_all(getattr(self, item.name), getattr(later, item.name))
