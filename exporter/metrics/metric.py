"""One metric: its name, what its labels are, what it means, and the pure function that yields its rows."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from exporter.cost.postings import CostOwner
from exporter.readings import Gpu
from exporter.report import Report

CHARGED: Final = "until the ledger's host is verified and the time since its last tick is charged"
"""When totals begin. The gap across a boot is charged once the clock is set.

The exporter waits at most two minutes for the clock. Where the ledger may be another machine's, it also waits
two minutes for a GPU that identifies the host.
"""

Row: TypeAlias = tuple[tuple[str, ...], float]
"""Label values in the order of the metric's labels, and the value in the unit that the name ends in."""

OWNER: Final = ("product", "team", "namespace", "server")
OWNER_AND_MODEL: Final = (*OWNER, "model")
GPU: Final = ("uuid", "gpu_model")


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table.

    `rows` yields nothing where nothing is known: an absent series, never a zero in its stead.
    `lasting` rows are served from a report that is older than three intervals too: counters, and the few
    gauges that stay true without a tick.
    """

    name: str
    type: Literal["counter", "gauge"]
    labels: tuple[str, ...]
    help: str
    rows: Callable[[Report], Iterable[Row]]
    lasting: bool


def counter(
    name: str, labels: tuple[str, ...], help_text: str, rows: Callable[[Report], Iterable[Row]]
) -> Metric:
    """A total. It is served however old the report is: a total that stands still is still true."""
    return Metric(name, "counter", labels, help_text, rows, lasting=True)


def gauge(
    name: str,
    labels: tuple[str, ...],
    help_text: str,
    rows: Callable[[Report], Iterable[Row]],
    *,
    lasting: bool = False,
) -> Metric:
    """A state of this moment, absent once the report is old; `lasting` for what a missed tick leaves true."""
    return Metric(name, "gauge", labels, help_text, rows, lasting)


def owner_labels(owner: CostOwner) -> tuple[str, ...]:
    """The values of `OWNER_AND_MODEL`."""
    return (owner.product, owner.team, owner.namespace, owner.server, owner.model)


def gpu_labels(gpu: Gpu) -> tuple[str, ...]:
    """The values of `GPU`."""
    return (gpu.uuid, gpu.gpu_model)
