"""The scrapes of Kubernetes nodes, as kube-state-metrics exports them."""

from typing import Final

from exporter.finance.fleet.host_resources import NodeName
from exporter.finance.prometheus.client import PrometheusClient
from exporter.finance.prometheus.month import days_of_hours
from exporter.units import NANOSECONDS_PER_HOUR as HOUR
from exporter.units import NANOSECONDS_PER_SECOND as SECOND
from exporter.units import Instant

QUERY: Final = "max by (cluster, node) (max_over_time(timestamp(kube_node_info)[1h:1m]))"
"""The last scrape of each node in an hour."""


def node_scrapes(client: PrometheusClient, start: Instant, until: Instant) -> dict[NodeName, list[Instant]]:
    """The last scrape of each node, of each hour of a time range.

    Raises:
        PrometheusError: there is no whole answer.
    """
    scrapes: dict[NodeName, list[Instant]] = {}
    for first, last in days_of_hours(start, until):
        for series in client.range(QUERY, first, last, HOUR, coarsest=HOUR):
            node = NodeName(series.labels.get("cluster", ""), series.labels.get("node", ""))
            scrapes.setdefault(node, []).extend(round(each.number) * SECOND for each in series.samples)
    return scrapes
