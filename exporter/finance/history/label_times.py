"""When labels of a pod or a node began to mean something else: a name may be given again.

A StatefulSet's pod keeps its name, and a cloud names nodes by addresses, which it gives again.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final, TypeVar

from exporter.finance.history.kube_state import LabelSets, LabelTimes, NodeKey, PodName, batches, has_labels
from exporter.finance.prometheus.client import PrometheusClient
from exporter.finance.prometheus.hour_queries import EDGE, HOUR, WINDOW
from exporter.units import Instant

WEEK: Final = 7 * 24 * HOUR
"""Of so much time a query is: memory does not grow with the days."""

Labels = Mapping[str, str]
Named = TypeVar("Named", PodName, NodeKey)


def read_label_times(
    client: PrometheusClient,
    since: Instant,
    until: Instant,
    name: str,
    naming: tuple[str, ...],
    label_sets: Iterable[Labels],
    named: Callable[[Labels], Named],
    value_of: Callable[[Named, Labels], object],
) -> dict[Named, LabelTimes]:
    """When the labels of a name began to mean another value; of names that always meant one there is nothing.

    `naming` are the labels that may have the name: the last part of what is `named`. Series of a time before
    `--metric-labels-allowlist` have no labels of it, and mean nothing.
    """
    values: dict[Named, set[object]] = {}
    for labels in filter(has_labels, label_sets):
        values.setdefault(named(labels), set()).add(value_of(named(labels), labels))
    times: dict[Named, list[tuple[int, Labels]]] = {
        each: [] for each, of_name in values.items() if len(of_name) > 1
    }
    for first in range(since, until, WEEK):
        by_hour: dict[Named, dict[int, list[Labels]]] = {each: {} for each in times}
        last = min(first + WEEK, until)
        for batch in batches({each[-1] for each in times}):
            for what in naming:
                query = f'last_over_time({name}{{{what}=~"{batch}"}}[{WINDOW}])'
                for series in client.range(query, first + HOUR - EDGE, last - EDGE, HOUR, coarsest=HOUR):
                    hours = by_hour.get(named(series.labels), {}) if has_labels(series.labels) else {}
                    for sample in series.samples:
                        hours.setdefault((sample.at + EDGE) // HOUR - 1, []).append(series.labels)
        for each, hours in by_hour.items():
            add_times(times[each], hours, partial(value_of, each))
    return {each: of_name for each, of_name in times.items() if of_name}


def add_times(
    times: list[tuple[int, Labels]], by_hour: Mapping[int, LabelSets], value_of: Callable[[Labels], object]
) -> None:
    """Add when labels began to name another value. In an hour with both, the one before goes on."""
    value = value_of(times[-1][1]) if times else None
    for hour, label_sets in sorted(by_hour.items()):
        values = {value_of(labels): labels for labels in label_sets}
        if not times or value not in values:
            value = min(values, key=repr)
            times.append((hour, values[value]))
