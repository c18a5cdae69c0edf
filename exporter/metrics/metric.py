"""One metric of the table: name, labels, help, and the pure function that yields its rows."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, TypeVar

from exporter.cost.postings import CostOwner
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

Rows: TypeAlias = Callable[[Report], Iterable[Row]]
"""The pure function that yields a metric's rows."""

OWNER: Final = ("product", "team", "namespace", "server")
OWNER_AND_MODEL: Final = (*OWNER, "model")
GPU: Final = ("uuid", "gpu_model")


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table."""

    name: str
    type: Literal["counter", "gauge"]
    labels: tuple[str, ...]
    help: str
    rows: Rows
    """Rows of a report. An unknown value has no row: an absent series, never 0."""
    lasting: bool
    """Whether its rows are also served from a report that is older than three intervals.

    So are counters, and the few gauges that stay true without a tick.
    """


def counter(name: str, labels: tuple[str, ...], help_text: str, rows: Rows) -> Metric:
    """A total. It is served from a report of any age: an old total is still true."""
    return Metric(name, "counter", labels, help_text, rows, lasting=True)


def gauge(name: str, labels: tuple[str, ...], help_text: str, rows: Rows, *, lasting: bool = False) -> Metric:
    """A current state, absent once the report is old; `lasting` if it stays true without ticks."""
    return Metric(name, "gauge", labels, help_text, rows, lasting)


K = TypeVar("K")
T = TypeVar("T")


def keyed(
    amounts: Mapping[K, T], labels: Callable[[K], tuple[str, ...]], convert: Callable[[T], float]
) -> Iterator[Row]:
    """A row of each amount, with the labels of its key."""
    for key, amount in amounts.items():
        yield labels(key), convert(amount)


def of_totals(rows: Callable[[CommittedTotals], Iterable[Row]]) -> Rows:
    """Rows of the ledger's totals; none until these may be served."""
    return lambda report: () if report.totals is None else rows(report.totals)


def single(value: Callable[[Report], float | None]) -> Rows:
    """One row without labels; none where its value is unknown."""

    def rows(report: Report) -> Iterator[Row]:
        known = value(report)
        if known is not None:
            yield (), float(known)

    return rows


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
