"""One metric of the table: name, labels, help, and the pure function that yields its rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Generic, Literal, TypeAlias, TypeVar

from exporter.cost.postings import CostOwner
from exporter.frozen import dataclass
from exporter.readings import Gpu
from exporter.report import CommittedTotals, Report
from exporter.units import Instant, seconds

CHARGED: Final = "until the ledger's host is verified and the time since its last tick is charged"
"""When totals begin. The gap across a boot is charged once the clock is set.

The exporter waits at most two minutes for the clock. Where the ledger may be another machine's, it also waits
two minutes for a GPU that identifies the host.
"""

Row: TypeAlias = tuple[tuple[str, ...], float]
"""Label values in the order of the metric's labels, and the value in the unit that the name ends in."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows by column: their label values follow from `keys`, and are made only once these are others.

    There may be fewer `values` than rows: the last rows are then 0.
    """

    keys: tuple[object, ...]
    labels: Callable[[], Iterable[tuple[str, ...]]]
    values: Sequence[float]


Rows: TypeAlias = Callable[[Report], Iterable[Row] | Columns]
"""The pure function that yields a metric's rows."""

K = TypeVar("K")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OfPart(Generic[T]):
    """Rows of one part of the report, which are made only once it differs from the last one.

    For parts that cost less to compare than to write: numbers, texts, and tuples or dicts of them.
    """

    part: Callable[[Report], T]
    rows: Callable[[T], Iterable[Row] | Columns]

    def __call__(self, report: Report) -> Iterable[Row] | Columns:
        """Its rows, as those of any metric."""
        return self.rows(self.part(report))


OWNER: Final = ("product", "team", "namespace", "server")
OWNER_AND_MODEL: Final = (*OWNER, "model")
GPU: Final = ("uuid", "gpu_model")


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table.

    `rows` yields nothing for an unknown value: an absent series, never 0.
    `lasting` rows are also served from a report that is older than three intervals: counters, and the few
    gauges that stay true without a tick.
    """

    name: str
    type: Literal["counter", "gauge"]
    labels: tuple[str, ...]
    help: str
    rows: Rows
    lasting: bool


def counter(name: str, labels: tuple[str, ...], help_text: str, rows: Rows) -> Metric:
    """A total. It is served from a report of any age: an old total is still true."""
    return Metric(name, "counter", labels, help_text, rows, lasting=True)


def gauge(name: str, labels: tuple[str, ...], help_text: str, rows: Rows, *, lasting: bool = False) -> Metric:
    """A current state, absent once the report is old; `lasting` if it stays true without ticks."""
    return Metric(name, "gauge", labels, help_text, rows, lasting)


def columns(
    amounts: Mapping[K, T], labels: Callable[[K], tuple[str, ...]], convert: Callable[[T], float]
) -> Columns:
    """A row of each amount, with the labels of its key."""
    keys = tuple(amounts)
    return Columns(keys, lambda: map(labels, keys), [convert(amount) for amount in amounts.values()])


def of_totals(rows: Callable[[CommittedTotals], Iterable[Row] | Columns]) -> Rows:
    """Rows of the ledger's totals; none until these may be served."""

    def of_report(report: Report) -> Iterable[Row] | Columns:
        return () if report.totals is None else rows(report.totals)

    return of_report


def of_part(
    part: Callable[[Report], T],
) -> Callable[[Callable[[T], Iterable[Row] | Columns]], OfPart[T]]:
    """Rows of one part of the report."""
    return lambda rows: OfPart(part, rows)


def single(value: Callable[[Report], float | None]) -> Rows:
    """One row without labels; none where its value is unknown."""
    return OfPart(value, lambda known: () if known is None else [((), float(known))])


def single_of_totals(value: Callable[[CommittedTotals], float | None]) -> Rows:
    """One row of the ledger's totals; none until these may be served."""
    return single(lambda report: None if report.totals is None else value(report.totals))


def owner_labels(owner: CostOwner) -> tuple[str, ...]:
    """The values of `OWNER_AND_MODEL`."""
    return (owner.product, owner.team, owner.namespace, owner.server, owner.model)


def gpu_labels(gpu: Gpu) -> tuple[str, ...]:
    """The values of `GPU`."""
    return (gpu.uuid, gpu.gpu_model)


def optional_seconds(instant: Instant | None) -> float | None:
    """An instant in seconds since the epoch, `None` where it is unknown."""
    return None if instant is None else seconds(instant)
