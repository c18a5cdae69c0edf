"""What kube-state-metrics says of the last cluster of a fleet: its hosts, and nodes that nobody meters."""

from collections.abc import Iterator

from tests.e2e.fleet.expected_hosts import ExpectedFleet


def nodes(fleet: ExpectedFleet, **target: str) -> Iterator[tuple[str, float]]:
    """Series and values; `target` are the labels that a scrape adds."""
    cluster = fleet.clusters()[-1]
    hosts = {
        host.instance.partition(":")[0]: len(host.gpus) for host in fleet.hosts if host.cluster == cluster
    }
    for node, gpus in {**hosts, **dict.fromkeys(fleet.nodes, 8)}.items():
        labels = {"node": node, "resource": "nvidia_com_gpu", "unit": "integer", **target}
        text = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        yield f"kube_node_status_capacity{{{text}}}", float(gpus)
