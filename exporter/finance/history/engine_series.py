"""Series of engines in a Prometheus: their names as they are described, and the labels of their pages."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from exporter.engines.catalogue import ENGINES
from exporter.engines.exposition import Page, Series
from exporter.engines.spec import Engine

TARGET_LABELS: Final = frozenset(
    {
        "job",
        "instance",
        "namespace",
        "pod",
        "container",
        "service",
        "endpoint",
        "node",
        "nodename",
        "hostname",
        "cluster",
        "prometheus",
        "prometheus_replica",
        "replica",
        "__replica__",
        "receive",
        "tenant_id",
        "kubernetes_namespace",
        "kubernetes_pod_name",
    }
)
"""Labels of the target and of what stores it, which a scraped page does not have."""


def page_series(name: str, labels: Mapping[str, str], extra: Collection[str] = ()) -> Series:
    """A series as the page of its engine had it, without labels of any target and `extra` ones of its own."""
    foreign = TARGET_LABELS | {"__name__", *extra}
    own = {each: value for each, value in labels.items() if each not in foreign}
    listed = ",".join(f'{each}="{own[each]}"' for each in sorted(own))
    return Series(name, own, f"{name}{{{listed}}}" if listed else name)


def colons(engines: Iterable[Engine]) -> Iterator[tuple[str, str]]:
    """Names as some client libraries write them for OpenMetrics, each with the name that is described."""
    for engine in engines:
        gauges = (gauge.name for gauge in engine.gauges())
        for name in (*engine.fingerprint.names, *(count.name for count in engine.counts()), *gauges):
            if ":" in name:
                yield name.replace(":", "_", 1), name


COLONS: Final = dict(colons(ENGINES.values()))


def spellings(names: Iterable[str]) -> Iterator[str]:
    """Names in each way in which they are written."""
    for name in names:
        yield name
        if ":" in name:
            yield name.replace(":", "_", 1)


def other_engines(first: Engine, page: Page, configured: Iterable[Engine]) -> Iterator[Engine]:
    """Engines whose page a target had at another time, as it seems: they have no name in common."""
    for engine in (*ENGINES.values(), *configured):
        foreign = engine_names(engine).isdisjoint(engine_names(first))
        if engine is not first and foreign and engine.fingerprint.matches(page):
            yield engine


def engine_names(engine: Engine) -> set[str]:
    """The counters of an engine, and its gauges of running requests."""
    names = {count.name for count in engine.counts()}
    names.update(name for group in engine.groups for each in group for name in each.requires)
    names.update(gauge.name for gauge in engine.running)
    return names
