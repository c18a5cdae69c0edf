"""The PodMonitor: what it selects, and what becomes of the labels."""

import re
from typing import Any

Manifest = dict[str, Any]


def test_it_selects_the_daemonsets_pods(podmonitor: Manifest, manifests: dict[str, Manifest]) -> None:
    """Monitor and pods agree on label, namespace and port name."""
    labels = manifests["DaemonSet"]["spec"]["template"]["metadata"]["labels"]
    (endpoint,) = podmonitor["spec"]["podMetricsEndpoints"]

    assert podmonitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert podmonitor["metadata"]["namespace"] == manifests["DaemonSet"]["metadata"]["namespace"]
    assert (endpoint["port"], endpoint["path"]) == ("metrics", "/metrics")


def test_the_workloads_labels_win(podmonitor: Manifest) -> None:
    """`namespace` on a series is the workload's, so the monitor honors the labels it scrapes."""
    (endpoint,) = podmonitor["spec"]["podMetricsEndpoints"]

    assert endpoint["honorLabels"] is True


def test_the_exporters_whereabouts_are_not_taken_for_the_workloads(podmonitor: Manifest) -> None:
    """The operator's labels of the exporter's pod are dropped; those that tell hosts apart stay."""
    (endpoint,) = podmonitor["spec"]["podMetricsEndpoints"]
    drops = [rule["regex"] for rule in endpoint["relabelings"] if rule.get("action") == "labeldrop"]
    dropped = {
        label
        for label in ("namespace", "pod", "container", "endpoint", "node", "instance", "job", "cluster")
        if any(re.fullmatch(regex, label) for regex in drops)
    }

    assert dropped == {"namespace", "pod", "container", "endpoint"}


def test_a_series_goes_on_when_the_pod_is_replaced(podmonitor: Manifest) -> None:
    """`node` and `instance` are the node's name, since the counters live in the node's ledger."""
    (endpoint,) = podmonitor["spec"]["podMetricsEndpoints"]
    set_from_node = {
        rule["targetLabel"]
        for rule in endpoint["relabelings"]
        if rule.get("sourceLabels") == ["__meta_kubernetes_pod_node_name"]
    }

    assert set_from_node == {"node", "instance"}
