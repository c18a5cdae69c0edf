"""Families of sums: the key, value, grain, ceiling and retention of each table.

The schema, adding, pruning, copying, writing and reading of sums follow from this table.
"""

import operator
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Final, NamedTuple, Self, TypeVar

from exporter.cost.postings import OwnerPhase
from exporter.readings import Gpu, ServerKey
from exporter.report import MonthKey, OwnerLatency, ServerComponent, ServerOwner

K = TypeVar("K", bound=Hashable)

NoKey = tuple[()]
NO_KEY: Final[NoKey] = ()
"""The only key of a family without columns of a key, such as the wall time that ticks covered."""

LARGEST: Final = 2**63 - 1
"""The largest integer that SQLite holds."""


class Rule(NamedTuple):
    """How a value that is posted changes the value of its key."""

    start: int
    """The value of a key to which nothing was posted."""
    combine: Callable[[int, int], int]
    """The value after a posting, of the value before it and the one that is posted."""


SUM: Final = Rule(0, operator.add)
"""Sums of money, time and energy are exact."""

COUNT: Final = Rule(0, lambda before, posted: min(before + posted, LARGEST))
"""A count comes from what a server reports, and stops at `LARGEST`: absurd ones cannot stop the ledger."""

LATEST: Final = Rule(0, lambda _before, posted: posted)
EARLIEST: Final = Rule(LARGEST, min)
PEAK: Final = Rule(0, lambda before, posted: min(max(before, posted), LARGEST))


class KeyForm(NamedTuple):
    """How a key in memory is made of the parts in its columns, and parted into them again."""

    build: Callable[..., Any]
    """Makes a key of its parts, in the order of the columns."""
    parts: Callable[[Any], tuple[object, ...]]
    """The parts of a key, in the order of the columns."""


_PART: Final = KeyForm(build=lambda part: part, parts=lambda key: (key,))
"""The key is its only part."""

_TUPLE: Final = KeyForm(build=lambda *parts: parts, parts=tuple)
"""The key is a tuple of its parts."""


class GpuOwner(NamedTuple):
    """A GPU and the product and team that held it."""

    gpu: Gpu
    product: str
    team: str


class ServerCost(NamedTuple):
    """A component of a server's money, at prices of one basis."""

    owner: ServerOwner
    component: str
    price_basis: str


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Sums of one table."""

    name: str
    """The field that holds these sums in memory."""
    key: tuple[str, ...]
    """Columns of the key, without the period. `owner` and `gpu` refer to their tables, others to labels."""
    value: str
    """Column of the value."""
    form: KeyForm = _TUPLE
    """How keys in memory are made of the columns."""
    rule: Rule = SUM
    """How a posted value is added."""
    brief: bool = False
    """Whether an hour is kept for a day only."""
    table: str = ""
    """The table that holds these sums in the file."""
    period: str = ""
    """The column of the minute, hour or day since which the sums are; empty for running totals."""

    @property
    def primary_key(self) -> tuple[str, ...]:
        """Columns of the key, after the period if the table has one."""
        return (self.period, *self.key) if self.period else self.key

    def post(self, sums: dict[K, int], key: K, posted: int) -> None:
        """Add a value to the sums of this family."""
        sums[key] = self.rule.combine(sums.get(key, self.rule.start), posted)

    def new_values(self, before: Mapping[K, int], posted: Mapping[K, int]) -> dict[K, int]:
        """New values of the keys that a posting changes or adds."""
        start, combine = self.rule
        after = {key: combine(before.get(key, start), value) for key, value in posted.items()}
        return {key: value for key, value in after.items() if value != before.get(key)}


Families = Mapping[str, Family]
"""Families of one grain, by the field that holds them."""


def _of_grain(prefix: str, period: str, *families: Family) -> Families:
    return {
        family.name: replace(family, table=f"{prefix}{family.name}", period=period) for family in families
    }


_OWNER_PHASE: Final = KeyForm(build=OwnerPhase, parts=tuple)
_GPU_OWNER: Final = KeyForm(build=GpuOwner, parts=tuple)
_OWNER_LATENCY: Final = KeyForm(build=OwnerLatency, parts=tuple)
_SERVER_COMPONENT: Final = KeyForm(
    build=lambda *parts: ServerComponent(ServerOwner(*parts[:-1]), component=parts[-1]),
    parts=lambda key: (*key.owner, key.component),
)
_SERVER_COST: Final = KeyForm(
    build=lambda *parts: ServerCost(ServerOwner(*parts[:-2]), component=parts[-2], price_basis=parts[-1]),
    parts=lambda key: (*key.owner, key.component, key.price_basis),
)
_MONTH: Final = KeyForm(
    build=lambda month, product, team, price_basis: MonthKey(product, team, price_basis, month),
    parts=lambda key: (key.month, key.product, key.team, key.price_basis),
)
_GPU_SERVER: Final = KeyForm(
    build=lambda gpu, namespace, server: (gpu, ServerKey(namespace, server)),
    parts=lambda key: (key[0], *key[1]),
)

_COST: Final = Family("cost", ("owner", "phase"), "picodollars", _OWNER_PHASE)
_GPU_TIME: Final = Family("held", ("owner", "phase"), "nanoseconds", _OWNER_PHASE)
_GPU_COST: Final = Family("gpu_cost", ("gpu", "component"), "picodollars")
_TOKENS: Final = Family("tokens", ("owner", "kind"), "count", rule=COUNT)
_UNPRICED: Final = Family("unpriced", ("gpu", "owner"), "nanoseconds")
_LATENCIES: Final = Family(
    "latencies", ("owner", "objective", "basis", "part"), "count", _OWNER_LATENCY, COUNT
)

COUNTERS: Final = _of_grain(
    "",
    "",
    _COST,
    _GPU_TIME,
    Family(
        "server_cost",
        ("product", "team", "namespace", "server", "component"),
        "picodollars",
        _SERVER_COMPONENT,
    ),
    _GPU_COST,
    _TOKENS,
    Family("requests", ("owner",), "count", _PART, COUNT),
    Family("preemptions", ("owner",), "count", _PART, COUNT),
    Family("energy", ("gpu",), "millijoules", _PART),
    _UNPRICED,
    Family("months", ("month", "product", "team", "price_basis"), "picodollars", _MONTH),
    Family("first_held", ("product",), "instant", _PART, EARLIEST),
    Family("equivalents", ("owner", "reference"), "picodollars", rule=COUNT),
    _LATENCIES,
    Family("last_token", ("owner",), "instant", _PART, LATEST),
    Family("changed", ("owner",), "instant", _PART, LATEST),
)
"""Running totals."""

MINUTES: Final = _of_grain("minute_", "minute", _COST, _TOKENS, _LATENCIES)
"""Sums of the last hour."""

HOURS: Final = _of_grain(
    "hour_",
    "hour",
    Family("cost", ("product",), "picodollars", _PART),
    Family("covered", (), "nanoseconds"),
    Family("down", (), "nanoseconds", brief=True),
    Family("usage", ("gpu", "product"), "nanoseconds", brief=True),
    Family("energy", ("gpu", "product"), "millijoules", brief=True),
)
"""Sums of the last 40 days, and of the last day."""

_HISTORY: Final = (
    _COST,
    _GPU_TIME,
    Family(
        "server_cost",
        ("product", "team", "namespace", "server", "component", "price_basis"),
        "picodollars",
        _SERVER_COST,
    ),
    _GPU_COST,
    Family("gpu_held", ("gpu",), "nanoseconds", _PART),
    _TOKENS,
    _UNPRICED,
    Family("settled", ("gpu", "owner"), "nanoseconds"),
    Family("gpu_down", ("gpu",), "nanoseconds", _PART),
    Family("gpu_unowed", ("gpu",), "nanoseconds", _PART),
    Family("owner_held", ("gpu", "product", "team"), "nanoseconds", _GPU_OWNER),
    Family("owner_down", ("gpu", "product", "team"), "nanoseconds", _GPU_OWNER),
)

HOURLY: Final = _of_grain("hourly_", "hour", *_HISTORY)
"""History of 40 days."""

DAILY: Final = _of_grain("daily_", "day", *_HISTORY, Family("covered", (), "nanoseconds"))
"""History of 13 months."""

MEMORY: Final = _of_grain(
    "hourly_",
    "hour",
    Family("memory", ("gpu", "namespace", "server"), "bytes", _GPU_SERVER, PEAK),
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


class Change(NamedTuple):
    """New values of one table in one period: whole values, not what was added."""

    family: Family
    period: int
    """The minute, hour or day; 0 for running totals."""
    values: Mapping[Any, int]


@dataclass(slots=True, eq=False)
class Sums:
    """Sums of the families of one grain: each field holds those of the family of its name, by key."""

    grain: ClassVar[Families]

    def copy(self) -> Self:
        """A copy to add to."""
        return replace(self, **{item.name: dict(getattr(self, item.name)) for item in fields(self)})

    def post(self, name: str, key: Hashable, posted: int) -> None:
        """Add a value to the family of this name, by its rule."""
        self.grain[name].post(getattr(self, name), key, posted)

    def post_all(self, name: str, posted: Mapping[Any, int]) -> None:
        """Add the value of each key to the family of this name, by its rule."""
        family = self.grain[name]
        sums = getattr(self, name)
        for key, value in posted.items():
            family.post(sums, key, value)

    def changes(self, added: Self, period: int) -> list[Change]:
        """New values of the keys that other sums of the same period change or add, by family."""
        changes = [
            Change(family, period, family.new_values(getattr(self, name), getattr(added, name)))
            for name, family in self.grain.items()
        ]
        return [change for change in changes if change.values]

    def with_changes(self, changes: Iterable[Change]) -> Self:
        """These sums after changes of their period. Families without a change are shared with these sums."""
        changed: dict[str, Any] = {}
        for change in changes:
            name = change.family.name
            changed[name] = {**getattr(self, name), **change.values}
        return replace(self, **changed)

    def without_brief(self) -> Self:
        """Sums without the families that are kept for a day only; the same sums if these are empty."""
        expired: dict[str, Any] = {
            name: {} for name, family in self.grain.items() if family.brief and getattr(self, name)
        }
        return replace(self, **expired) if expired else self

    def add(self, posted: Self) -> None:
        """Add other sums, each by the rule of its family."""
        for name in self.grain:
            self.post_all(name, getattr(posted, name))
