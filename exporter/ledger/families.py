"""Families of sums: the rules by which values are added, and the columns and retention of each table.

The schema, pruning, writing and reading of sums follow from the table of families.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Generic, NamedTuple, Self, TypeVar

from exporter.cost.postings import OwnerPhase
from exporter.readings import Gpu, ServerKey
from exporter.report import MonthKey, OwnerLatency, ServerComponent, ServerOwner

K = TypeVar("K", bound=Hashable)
Unit = TypeVar("Unit", bound=int)

NoKey = tuple[()]
NO_KEY: Final[NoKey] = ()
"""The only key of a family without columns of a key, such as the wall time that ticks covered."""

LARGEST: Final = 2**63 - 1
"""The largest integer that SQLite holds."""


class FamilyValues(dict[K, int], Generic[K, Unit]):
    """Values of one family by key. The class is the rule by which a posting changes a value.

    `Unit` names the unit of the values for a reader: all are integers.
    """

    __slots__ = ()
    start: ClassVar[int] = 0
    """The value of a key to which nothing was posted."""

    @staticmethod
    def _combined(before: int, posted: int, /) -> int:
        """The value of a key after a posting."""
        raise NotImplementedError

    @classmethod
    def new_values(cls, before: Mapping[K, int], posted: Mapping[K, int]) -> dict[K, int]:
        """New values of the keys that a posting changes or adds. Both mappings stay as they are."""
        after = {key: cls._combined(before.get(key, cls.start), value) for key, value in posted.items()}
        return {key: value for key, value in after.items() if value != before.get(key)}

    def post(self, key: K, posted: int) -> None:
        """Change the value of a key by the rule."""
        self[key] = self._combined(self.get(key, self.start), posted)

    def post_all(self, posted: Mapping[K, int]) -> None:
        """Change the value of each key by the rule."""
        for key, value in posted.items():
            self.post(key, value)

    def copy(self) -> Self:
        """A copy of the same rule."""
        return type(self)(self)


class Sum(FamilyValues[K, Unit]):
    """Exact sums of money, time and energy."""

    __slots__ = ()

    @staticmethod
    def _combined(before: int, posted: int, /) -> int:
        return before + posted


class CappedSum(FamilyValues[K, Unit]):
    """Sums of what servers report. They stop at `LARGEST`: absurd reports cannot stop the ledger."""

    __slots__ = ()

    @staticmethod
    def _combined(before: int, posted: int, /) -> int:
        return min(before + posted, LARGEST)


class Latest(FamilyValues[K, Unit]):
    """The values that were posted last."""

    __slots__ = ()

    @staticmethod
    def _combined(_before: int, posted: int, /) -> int:
        return posted


class Earliest(FamilyValues[K, Unit]):
    """The smallest values that were posted."""

    __slots__ = ()
    start = LARGEST

    @staticmethod
    def _combined(before: int, posted: int, /) -> int:
        return min(before, posted)


class Peak(FamilyValues[K, Unit]):
    """The largest values that were posted, at most `LARGEST`."""

    __slots__ = ()

    @staticmethod
    def _combined(before: int, posted: int, /) -> int:
        return min(max(before, posted), LARGEST)


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
    history_rule: type[FamilyValues[Any, Any]] = Sum
    """How rows of history are added up. The rule of totals is the type of their field in `totals`."""
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
_TOKENS: Final = Family("tokens", ("owner", "kind"), "count", history_rule=CappedSum)
_UNPRICED: Final = Family("unpriced", ("gpu", "owner"), "nanoseconds")
_LATENCIES: Final = Family("latencies", ("owner", "objective", "basis", "part"), "count", _OWNER_LATENCY)

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
    Family("requests", ("owner",), "count", _PART),
    Family("preemptions", ("owner",), "count", _PART),
    Family("energy", ("gpu",), "millijoules", _PART),
    _UNPRICED,
    Family("months", ("month", "product", "team", "price_basis"), "picodollars", _MONTH),
    Family("first_held", ("product",), "instant", _PART),
    Family("equivalents", ("owner", "reference"), "picodollars"),
    _LATENCIES,
    Family("last_token", ("owner",), "instant", _PART),
    Family("changed", ("owner",), "instant", _PART),
)
"""Running totals."""

MINUTES: Final = _of_grain("minute_", "minute", _COST, _TOKENS, _LATENCIES)
"""Sums by minute, of the last hour."""

HOURS: Final = _of_grain(
    "hour_",
    "hour",
    Family("cost", ("product",), "picodollars", _PART),
    Family("covered", (), "nanoseconds"),
    Family("down", (), "nanoseconds", brief=True),
    Family("usage", ("gpu", "product"), "nanoseconds", brief=True),
    Family("energy", ("gpu", "product"), "millijoules", brief=True),
)
"""Sums by hour: of the last 40 days, and the `brief` ones of the last day."""

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
    Family("memory", ("gpu", "namespace", "server"), "bytes", _GPU_SERVER, Peak),
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
