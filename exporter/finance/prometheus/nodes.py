"""Kubernetes nodes as kube-state-metrics exports them: their scrapes, and their provider's ids."""

from collections.abc import Iterator
from typing import Final

from exporter.finance.fleet.host_resources import NodeName, ProviderIds
from exporter.finance.prometheus.client import PrometheusClient, QuerySeries
from exporter.finance.prometheus.month import days_of_hours
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Instant

SCRAPES: Final = "max by (cluster, node) (max_over_time(timestamp(kube_node_info)[1h:1m]))"
"""The last scrape of each node in an hour."""

IDS: Final = 'max by (cluster, node, provider_id) (last_over_time(kube_node_info{provider_id!=""}[1h]))'


def node_scrapes(client: PrometheusClient, start: Instant, until: Instant) -> dict[NodeName, list[Instant]]:
    """The last scrape of each node, of each hour of a time range.

    Raises:
        PrometheusError: there is no whole answer.
    """
    scrapes: dict[NodeName, list[Instant]] = {}
    for node, series in _by_hour(client, SCRAPES, start, until):
        instants = [round(each.number) * NANOSECONDS_PER_SECOND for each in series.samples]
        scrapes.setdefault(node, []).extend(instants)
    return scrapes


def provider_ids(client: PrometheusClient, start: Instant, until: Instant) -> ProviderIds:
    """The provider's ids of all nodes of a time range; empty without kube-state-metrics.

    Raises:
        PrometheusError: there is no whole answer.
    """
    ids: dict[NodeName, frozenset[str]] = {}
    for node, series in _by_hour(client, IDS, start, until):
        ids[node] = ids.get(node, frozenset()) | {series.labels.get("provider_id", "")}
    return ids


def _by_hour(
    client: PrometheusClient, query: str, start: Instant, until: Instant
) -> Iterator[tuple[NodeName, QuerySeries]]:
    hour = NANOSECONDS_PER_HOUR
    for first, last in days_of_hours(start, until):
        for series in client.range(query, first, last, hour, coarsest=hour):
            yield NodeName(series.labels.get("cluster", ""), series.labels.get("node", "")), series
