"""The provider's ids of Kubernetes nodes in a month, as kube-state-metrics exports them."""

from typing import Final

from exporter.finance.fleet.host_resources import NodeName, ProviderIds
from exporter.finance.prometheus.client import PrometheusClient
from exporter.finance.prometheus.month import days_of_hours
from exporter.units import NANOSECONDS_PER_HOUR as HOUR
from exporter.units import Instant

QUERY: Final = 'max by (cluster, node, provider_id) (last_over_time(kube_node_info{provider_id!=""}[1h]))'


def provider_ids(client: PrometheusClient, start: Instant, until: Instant) -> ProviderIds:
    """Ids of all nodes of a time range; empty without kube-state-metrics.

    Raises:
        PrometheusError: there is no whole answer.
    """
    ids: dict[NodeName, frozenset[str]] = {}
    for first, last in days_of_hours(start, until):
        for series in client.range(QUERY, first, last, HOUR, coarsest=HOUR):
            node = NodeName(series.labels.get("cluster", ""), series.labels.get("node", ""))
            ids[node] = ids.get(node, frozenset()) | {series.labels.get("provider_id", "")}
    return ids
