"""Pods and nodes of a cluster's past, by the series of kube-state-metrics.

kubernetes/kube-state-metrics 2.x `docs/metrics`. `kube_node_labels` and `kube_pod_labels` have the labels
that `--metric-labels-allowlist` names, and no others. A name is in small letters there, with underscores for
what a label of Prometheus cannot have and before capitals (`internal/store/utils.go`: `SanitizeLabelName`,
`toSnakeCase`).
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from exporter.config import Config
from exporter.readings import HostLocation, PodOwnership, ServerKey, label
from exporter.sources.cloud.source import (
    INSTANCE_TYPE,
    LIFECYCLES,
    NEBIUS_PRESET,
    REGION,
    SIGNS,
    ZONE,
    location_of_labels,
)
from exporter.sources.discovery.naming import workload_of
from exporter.tariff.catalogue import Catalogue
from exporter.tariff.instances import CLOUDS

POD_INFO: Final = "kube_pod_info"
POD_OWNER: Final = "kube_pod_owner"
REPLICASET_OWNER: Final = "kube_replicaset_owner"
POD_LABELS: Final = "kube_pod_labels"
NODE_LABELS: Final = "kube_node_labels"
NODE_INFO: Final = "kube_node_info"

NAMES_MAX: Final = 200
"""Pods or nodes that one query names."""

PROVIDERS: Final = {"aws": "aws", "gce": "gcp", "azure": "azure", "oci": "oci", "nebius": "nebius"}
"""The scheme of a node's provider id, and its cloud."""

LabelSets = Iterable[Mapping[str, str]]


class PodName(NamedTuple):
    """A pod of one cluster."""

    cluster: str
    namespace: str
    pod: str


class NodeKey(NamedTuple):
    """A node of one cluster, or a host."""

    cluster: str
    host: str


@dataclass(slots=True)
class KubeState:
    """What kube-state-metrics says of pods and nodes; empty where it is not there.

    `nodes` has several nodes for the pod of a StatefulSet that moved. `addresses` are nodes by their address.
    """

    nodes: dict[PodName, set[str]] = field(default_factory=dict)
    workloads: dict[PodName, str] = field(default_factory=dict)
    pod_labels: dict[PodName, Mapping[str, str]] = field(default_factory=dict)
    node_labels: dict[NodeKey, Mapping[str, str]] = field(default_factory=dict)
    clouds: dict[NodeKey, str] = field(default_factory=dict)
    addresses: dict[NodeKey, str] = field(default_factory=dict)
    pod_addresses: dict[NodeKey, PodName] = field(default_factory=dict)

    def node_of(self, pod: PodName) -> str:
        """The node of a pod, empty where none or several are known."""
        nodes = self.nodes.get(pod, set())
        return next(iter(nodes)) if len(nodes) == 1 else ""

    def server(self, pod: PodName) -> ServerKey:
        """The server that a pod is a replica of: its workload, as the daemon names it."""
        workload = self.workloads.get(pod) or workload_of(pod.pod)
        return ServerKey(label(pod.namespace), label(workload))

    def ownership(self, pod: PodName, config: Config) -> PodOwnership | None:
        """Product and team by the labels of a pod; `None` where its labels are not known."""
        labels = self.pod_labels.get(pod)
        if labels is None:
            return None
        product, team = (
            label(labels.get(sanitized(name), "")) if name else ""
            for name in (config.pod_labels.product, config.pod_labels.team)
        )
        return PodOwnership(self.server(pod), product, team)

    def location(self, node: NodeKey, config: Config) -> HostLocation:
        """Location of a node by its labels, and by the scheme of its provider's id."""
        labels = dict(_original(self.node_labels.get(node, {}), config))
        cloud = self.clouds.get(node, "")
        location = location_of_labels(labels, cloud)
        if not location.cloud and not cloud:
            cloud = _cloud_of(labels, config.catalogue)
            location = location_of_labels(labels, cloud)
        return HostLocation(
            location.cloud or cloud,
            location.instance_type,
            location.region,
            location.zone,
            location.lifecycle,
            "node labels" if labels else "",
            tuple(sorted(labels.items())),
        )

    def add_pods(
        self, info: LabelSets, owners: LabelSets, replica_sets: LabelSets, labels: LabelSets
    ) -> None:
        """Take in the series of pods."""
        above = {
            (each.get("cluster", ""), each.get("namespace", ""), each.get("replicaset", "")): each.get(
                "owner_name", ""
            )
            for each in replica_sets
            if each.get("owner_kind") not in ("", "<none>", None)
        }
        for each in info:
            pod = pod_of(each)
            if each.get("node"):
                self.nodes.setdefault(pod, set()).add(each["node"])
            if each.get("pod_ip") and each.get("host_network") != "true":
                self.pod_addresses[NodeKey(pod.cluster, each["pod_ip"])] = pod
            self._owned(pod, each.get("created_by_kind", ""), each.get("created_by_name", ""), above)
        for each in owners:
            self._owned(pod_of(each), each.get("owner_kind", ""), each.get("owner_name", ""), above)
        for each in labels:
            self.pod_labels[pod_of(each)] = each

    def _owned(self, pod: PodName, kind: str, owner: str, above: Mapping[tuple[str, str, str], str]) -> None:
        if not owner or owner == "<none>":
            return
        if kind == "ReplicaSet":
            # A Deployment's ReplicaSet has its name and a hash.
            workload = above.get((pod.cluster, pod.namespace, owner))
            workload = workload or re.sub(r"-[bcdfghjklmnpqrstvwxz2456789]{6,10}$", "", owner)
        elif kind in ("Node", "Job"):
            return
        else:
            workload = owner
        self.workloads[pod] = workload

    def add_nodes(self, labels: LabelSets, info: LabelSets) -> None:
        """Take in the series of nodes."""
        for each in labels:
            node = NodeKey(each.get("cluster", ""), each.get("node", ""))
            own_labels = {name: value for name, value in each.items() if name.startswith("label_")}
            if own_labels:
                self.node_labels[node] = own_labels
        for each in info:
            node = NodeKey(each.get("cluster", ""), each.get("node", ""))
            cloud = PROVIDERS.get(each.get("provider_id", "").partition(":")[0])
            if cloud:
                self.clouds[node] = cloud
            if each.get("internal_ip"):
                self.addresses[NodeKey(node.cluster, each["internal_ip"])] = node.host


def pod_of(labels: Mapping[str, str]) -> PodName:
    """The pod that a series of kube-state-metrics is about: an exported one where labels are not honored."""
    return PodName(
        labels.get("cluster", ""),
        labels.get("exported_namespace") or labels.get("namespace", ""),
        labels.get("exported_pod") or labels.get("pod", ""),
    )


def sanitized(name: str) -> str:
    """The name of a Kubernetes label as kube-state-metrics writes it."""
    plain = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return "label_" + re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", plain).lower()


def _original(labels: Mapping[str, str], config: Config) -> Iterator[tuple[str, str]]:
    """Labels of a node by the names that a location or a rule looks for."""
    names = {*INSTANCE_TYPE, *REGION, *ZONE, NEBIUS_PRESET, *LIFECYCLES}
    names.update(name for rule in config.hardware for name, _ in rule.match.node_label)
    # Some of those names are known in small letters only: which underscores stand for a capital is not known.
    squashed = {name.replace("_", ""): value for name, value in labels.items()}
    for name in sorted(names):
        value = squashed.get(sanitized(name).replace("_", ""))
        if value is not None:
            yield name, value
    for prefix, _cloud in SIGNS:
        if any(name.startswith(sanitized(prefix)) for name in labels):
            yield f"{prefix}kube-state-metrics", ""


def _cloud_of(labels: Mapping[str, str], catalogue: Catalogue) -> str:
    """The one cloud whose list has the instance type of a node's labels; empty for none or several."""
    types = {labels[name].casefold() for name in INSTANCE_TYPE if name in labels}
    clouds = [
        cloud for cloud in CLOUDS if types & {each.casefold() for each in catalogue.instance_types(cloud)}
    ]
    return clouds[0] if len(clouds) == 1 else ""


def batches(names: Collection[str]) -> Iterator[str]:
    """Regular expressions of PromQL that match these names, so many at a time."""
    ordered = sorted(names)
    for first in range(0, len(ordered), NAMES_MAX):
        yield "|".join(map(escaped, ordered[first : first + NAMES_MAX]))


def escaped(text: str) -> str:
    """A text as a regular expression of PromQL, inside quotes."""
    plain = "".join(each if each.isalnum() or each in ":_-/" else f"\\{each}" for each in text)
    return plain.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
