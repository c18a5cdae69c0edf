"""Pods and nodes of a cluster's past, by the series of kube-state-metrics.

kubernetes/kube-state-metrics 2.x `docs/metrics`. `kube_node_labels` and `kube_pod_labels` have the labels
that `--metric-labels-allowlist` names, and no others. A name is in small letters there, with underscores for
what a label of Prometheus cannot have and before capitals (`internal/store/utils.go`: `SanitizeLabelName`,
`toSnakeCase`).
"""

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final, NamedTuple

from exporter.config import Config
from exporter.readings import HostLocation, PodOwnership, ServerKey, label
from exporter.sources.cloud import source
from exporter.sources.discovery.tenants import workload_of
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

LabelTimes = Sequence[tuple[int, Mapping[str, str]]]
"""Labels, each with the hour since 1970 from which they count, in order."""


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
    `pod_times` and `node_times` are of names that had other labels later: the hour from which each counts.
    """

    nodes: dict[PodName, set[str]] = field(default_factory=dict)
    workloads: dict[PodName, str] = field(default_factory=dict)
    pod_labels: dict[PodName, Mapping[str, str]] = field(default_factory=dict)
    node_labels: dict[NodeKey, Mapping[str, str]] = field(default_factory=dict)
    clouds: dict[NodeKey, str] = field(default_factory=dict)
    addresses: dict[NodeKey, str] = field(default_factory=dict)
    pod_addresses: dict[NodeKey, PodName] = field(default_factory=dict)
    pod_times: dict[PodName, LabelTimes] = field(default_factory=dict)
    node_times: dict[NodeKey, LabelTimes] = field(default_factory=dict)

    def node_of(self, pod: PodName) -> str:
        """The node of a pod, empty where none or several are known."""
        nodes = self.nodes.get(pod, set())
        return next(iter(nodes)) if len(nodes) == 1 else ""

    def server(self, pod: PodName) -> ServerKey:
        """The server that a pod is a replica of: its workload, as the daemon names it."""
        workload = self.workloads.get(pod) or workload_of(pod.pod)
        return ServerKey(label(pod.namespace), label(workload))

    def ownership(self, pod: PodName, config: Config, hour: int = 0) -> PodOwnership | None:
        """Product and team by the labels of a pod in an hour; `None` where its labels are not known."""
        labels = _labels_in(self.pod_times.get(pod), hour) or self.pod_labels.get(pod)
        if labels is None:
            return None
        return PodOwnership(self.server(pod), *product_and_team(labels, config))

    def location(self, node: NodeKey, config: Config, hour: int = 0) -> HostLocation:
        """Location of a node in an hour by its labels, and by the scheme of its provider's id."""
        labels = _labels_in(self.node_times.get(node), hour) or self.node_labels.get(node, {})
        return self.location_by(node, labels, config)

    def location_by(self, node: NodeKey, own_labels: Mapping[str, str], config: Config) -> HostLocation:
        """Location of a node that has these labels."""
        labels = dict(_original(own_labels, config))
        cloud = self.clouds.get(node, "")
        location = source.location_of_labels(labels, cloud)
        if not location.cloud and not cloud:
            # The one cloud whose list has the instance type: none if several have it.
            types = {labels[name].casefold() for name in source.INSTANCE_TYPE if name in labels}
            listed = {
                name: {each.casefold() for each in config.catalogue.instance_types(name)} for name in CLOUDS
            }
            clouds = [name for name, instance_types in listed.items() if types & instance_types]
            cloud = clouds[0] if len(clouds) == 1 else ""
            location = source.location_of_labels(labels, cloud)
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
        for each in filter(has_labels, labels):
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
            node = node_of(each)
            if has_labels(each):
                self.node_labels[node] = {
                    name: value for name, value in each.items() if name.startswith("label_")
                }
        for each in info:
            node = node_of(each)
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


def has_labels(series: Mapping[str, str]) -> bool:
    """Whether a series has labels of its pod or node: without an allowlist there is one that has none."""
    return any(name.startswith("label_") for name in series)


def node_of(labels: Mapping[str, str]) -> NodeKey:
    """The node that a series of kube-state-metrics is about."""
    return NodeKey(labels.get("cluster", ""), labels.get("node", ""))


def product_and_team(labels: Mapping[str, str], config: Config) -> tuple[str, str]:
    """The owner that the labels of a pod name; empty strings without."""
    product, team = (
        label(labels.get(sanitized(name), "")) if name else ""
        for name in (config.pod_labels.product, config.pod_labels.team)
    )
    return product, team


def _labels_in(times: LabelTimes | None, hour: int) -> Mapping[str, str] | None:
    """The labels of an hour: those before the first are the first ones."""
    if not times:
        return None
    return times[max(0, bisect_right(times, hour, key=itemgetter(0)) - 1)][1]


def sanitized(name: str) -> str:
    """The name of a Kubernetes label as kube-state-metrics writes it."""
    plain = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return "label_" + re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", plain).lower()


def _original(labels: Mapping[str, str], config: Config) -> Iterator[tuple[str, str]]:
    """Labels of a node by the names that a location or a rule looks for."""
    names = {*source.INSTANCE_TYPE, *source.REGION, *source.ZONE, source.NEBIUS_PRESET, *source.LIFECYCLES}
    names.update(name for rule in config.hardware for name, _ in rule.match.node_label)
    # Some of those names are known in small letters only: which underscores stand for a capital is not known.
    squashed = {name.replace("_", ""): value for name, value in labels.items()}
    for name in sorted(names):
        value = squashed.get(sanitized(name).replace("_", ""))
        if value is not None:
            yield name, value
    for prefix, _cloud in source.SIGNS:
        if any(name.startswith(sanitized(prefix)) for name in labels):
            yield f"{prefix}kube-state-metrics", ""


def batches(names: Collection[str]) -> Iterator[str]:
    """Regular expressions of PromQL that match these names, so many at a time."""
    ordered = sorted(names)
    for first in range(0, len(ordered), NAMES_MAX):
        yield "|".join(map(escaped, ordered[first : first + NAMES_MAX]))


def escaped(text: str) -> str:
    """A text as a regular expression of PromQL, inside quotes."""
    plain = "".join(each if each.isalnum() or each in ":_-/" else f"\\{each}" for each in text)
    return plain.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
