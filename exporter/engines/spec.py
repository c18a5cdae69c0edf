"""How an engine is described: names, not code. One small file per engine holds one `Engine`.

To add an engine, write its exact sample names as its own source emits them, with the version in which each
appeared; never match by suffix, since names lie (`vllm:iteration_tokens_total` is a histogram). Then give it
a place in `catalogue.ROWS`, and put a captured page with hand-made expectations beside the others' tests.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, TypeAlias

from exporter.engines.exposition import Page, Wanted
from exporter.readings import Quantity

Choice: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]
"""Labels with the values that are meant; a label that a series lacks has the value ''."""

PROCESS_START: Final = "process_start_time_seconds"
"""Unix time at which the process started: client libraries of Python and Go write it, unless metrics of
several processes are merged."""


def chosen(labels: Mapping[str, str], choice: Choice) -> bool:
    """Whether every label of a choice has one of its values."""
    return all(labels.get(label, "") in values for label, values in choice)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Tells an engine by its page: a series of one of these names, all `labels`, none of `without`."""

    names: tuple[str, ...]
    labels: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def matches(self, page: Page) -> bool:
        """Whether the page has such a series."""
        return any(
            all(label in sample.series.labels for label in self.labels)
            and not any(label in sample.series.labels for label in self.without)
            for name in self.names
            for sample in page.samples.get(name, ())
        )


@dataclass(frozen=True, slots=True)
class Count:
    """A counter (or a histogram's sum) and what it counts.

    Each series that passes `where`, and does not pass a non-empty `unless`, is one reading.
    `sign` -1 takes out of a quantity what another counter of it includes.
    `scale` makes base units of what the engine counts, such as seconds of microseconds.
    """

    name: str
    quantity: Quantity
    sign: Literal[1, -1] = 1
    where: Choice = ()
    unless: Choice = ()
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Alternative:
    """One way of telling. It is taken when every required name is on the page.

    Counts that are not required are taken where they are there.
    """

    requires: tuple[str, ...]
    counts: tuple[Count, ...]


Group: TypeAlias = tuple[Alternative, ...]
"""Alternatives, best first. The first whose names are on the page tells; the others would count it twice."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """Requests at the moment. The series that pass are added up per model."""

    name: str
    where: Choice = ()


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine's metrics.

    `prefix` starts its names and is left out of series names in the books.
    `models` are labels that name the model, the first that a series has; without any, the model is told apart
    from the page. All other labels (`engine`, a data-parallel rank; `pid`; ...) keep series apart.
    `running` and `waiting` list alternatives, best first.
    The process is told by `PROCESS_START`, else by the oldest `created` series, else by the response header
    `identity_header`, whose value is opaque.
    `creates_late` means that series appear with their first token, so that a page without is not a failure.
    """

    name: str
    prefix: str
    default_port: int
    fingerprint: Fingerprint
    groups: tuple[Group, ...]
    default_path: str = "/metrics"
    models: tuple[str, ...] = ()
    running: tuple[Gauge, ...] = ()
    waiting: tuple[Gauge, ...] = ()
    created: str = ""
    identity_header: str = ""
    creates_late: bool = False

    def counts(self) -> Iterator[Count]:
        """All counters of all alternatives."""
        for group in self.groups:
            for alternative in group:
                yield from alternative.counts


@cache
def wanted(engine: Engine) -> Wanted:
    """Every name to read on a page of an engine."""
    names = {PROCESS_START, *engine.fingerprint.names}
    names.update(count.name for count in engine.counts())
    names.update(name for group in engine.groups for alternative in group for name in alternative.requires)
    names.update(gauge.name for gauge in (*engine.running, *engine.waiting))
    if engine.created:
        names.add(engine.created)
    return Wanted(names)
