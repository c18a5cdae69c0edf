"""Pods and nodes of a cluster's past, by the series of kube-state-metrics.

kubernetes/kube-state-metrics 2.x `docs/metrics`. `kube_node_labels` and `kube_pod_labels` have the labels
that `--metric-labels-allowlist` names, and no others. A name is in small letters there, with underscores for
what a label of Prometheus cannot have and before capitals (`internal/store/utils.go`: `SanitizeLabelName`,
`toSnakeCase`).
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from typing import Final, NamedTuple, TypeVar

from exporter.config import Config
from exporter.finance.prometheus.client import PrometheusClient
from exporter.finance.prometheus.hour_queries import EDGE, HOUR, WINDOW
from exporter.readings import HostLocation, PodOwnership, ServerKey, label
from exporter.sources.cloud import source
from exporter.sources.discovery.tenants import workload_of
from exporter.tariff.instances import CLOUDS
from exporter.units import Instant

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

Labels = Mapping[str, str]
LabelSets = Iterable[Labels]

WEEK: Final = 7 * 24 * HOUR
"""The time of one query of labels: memory does not grow with the days."""


class LabelTime(NamedTuple):
    """Labels that a name had from an hour on."""

    hour: int
    """The hour, since 1970."""
    labels: Labels


class PodName(NamedTuple):
    """A pod of one cluster."""

    cluster: str
    namespace: str
    pod: str


class NodeKey(NamedTuple):
    """A node of one cluster, or a host."""

    cluster: str
    host: str


Named = TypeVar("Named", PodName, NodeKey)


class _ReplicaSet(NamedTuple):
    """A ReplicaSet of one cluster."""

    cluster: str
    namespace: str
    name: str


@dataclass(slots=True)
class KubeState:
    """Series of kube-state-metrics about pods and nodes; empty where it is not scraped."""

    nodes: dict[PodName, set[str]] = field(default_factory=dict)
    """Nodes of a pod: several for the pod of a StatefulSet that moved."""
    workloads: dict[PodName, str] = field(default_factory=dict)
    pod_labels: dict[PodName, Labels] = field(default_factory=dict)
    node_labels: dict[NodeKey, Labels] = field(default_factory=dict)
    clouds: dict[NodeKey, str] = field(default_factory=dict)
    addresses: dict[NodeKey, str] = field(default_factory=dict)
    """Nodes by their address."""
    pod_addresses: dict[NodeKey, PodName] = field(default_factory=dict)
    """Pods by their address."""
    pod_times: dict[PodName, Sequence[LabelTime]] = field(default_factory=dict)
    """Labels of pods whose name had other labels later."""
    node_times: dict[NodeKey, Sequence[LabelTime]] = field(default_factory=dict)
    """Labels of nodes whose name had other labels later."""

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
        labels = _labels_in(self.pod_times.get(pod, ()), hour) or self.pod_labels.get(pod)
        if labels is None:
            return None
        return PodOwnership(self.server(pod), *product_and_team(labels, config))

    def location(self, node: NodeKey, config: Config, hour: int = 0) -> HostLocation:
        """Location of a node in an hour by its labels, and by the scheme of its provider's id."""
        labels = _labels_in(self.node_times.get(node, ()), hour) or self.node_labels.get(node, {})
        return self.location_by(node, labels, config)

    def location_by(self, node: NodeKey, own_labels: Labels, config: Config) -> HostLocation:
        """Location of a node that has these labels."""
        labels = dict(_original(own_labels, config))
        cloud = self.clouds.get(node, "")
        location = source.location_of_labels(labels, cloud)
        if not location.cloud and not cloud:
            # The one cloud whose list has the instance type: none if several have it.
            types = {labels[name].casefold() for name in source.INSTANCE_TYPE if name in labels}
            clouds = [
                name
                for name in CLOUDS
                if not types.isdisjoint(map(str.casefold, config.catalogue.instance_types(name)))
            ]
            cloud = clouds[0] if len(clouds) == 1 else ""
            location = source.location_of_labels(labels, cloud)
        return replace(
            location,
            cloud=location.cloud or cloud,
            source="node labels" if labels else "",
            node_labels=tuple(sorted(labels.items())),
        )

    def add_pods(
        self, info: LabelSets, owners: LabelSets, replica_sets: LabelSets, labels: LabelSets
    ) -> None:
        """Take in the series of pods."""
        above = {
            _ReplicaSet(*(each.get(name, "") for name in ("cluster", "namespace", "replicaset"))): each
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

    def _owned(self, pod: PodName, kind: str, owner: str, above: Mapping[_ReplicaSet, Labels]) -> None:
        """Note the workload of a pod that has an owner: what is `above` a ReplicaSet, else that owner."""
        if not owner or owner == "<none>" or kind in ("Node", "Job"):
            return
        workload = owner
        if kind == "ReplicaSet":
            # A Deployment's ReplicaSet has its name and a hash.
            named = above.get(_ReplicaSet(pod.cluster, pod.namespace, owner), {}).get("owner_name")
            workload = named or re.sub(r"-[bcdfghjklmnpqrstvwxz2456789]{6,10}$", "", owner)
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


def pod_of(labels: Labels) -> PodName:
    """The pod that a series of kube-state-metrics is about: an exported one where labels are not honored."""
    return PodName(
        labels.get("cluster", ""),
        labels.get("exported_namespace") or labels.get("namespace", ""),
        labels.get("exported_pod") or labels.get("pod", ""),
    )


def has_labels(series: Labels) -> bool:
    """Whether a series has labels of its pod or node: without an allowlist there is one that has none."""
    return any(name.startswith("label_") for name in series)


def node_of(labels: Labels) -> NodeKey:
    """The node that a series of kube-state-metrics is about."""
    return NodeKey(labels.get("cluster", ""), labels.get("node", ""))


def product_and_team(labels: Labels, config: Config) -> tuple[str, str]:
    """The owner that the labels of a pod name; empty strings without."""
    product, team = (
        label(labels.get(sanitized(name), "")) if name else ""
        for name in (config.pod_labels.product, config.pod_labels.team)
    )
    return product, team


def _labels_in(times: Sequence[LabelTime], hour: int) -> Labels | None:
    """The labels of an hour: those before the first are the first ones."""
    if not times:
        return None
    return times[max(0, bisect_right(times, hour, key=attrgetter("hour")) - 1)].labels


def sanitized(name: str) -> str:
    """The name of a Kubernetes label as kube-state-metrics writes it."""
    plain = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return "label_" + re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", plain).lower()


def _original(labels: Labels, config: Config) -> Iterator[tuple[str, str]]:
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


def read_label_times(
    client: PrometheusClient,
    since: Instant,
    until: Instant,
    name: str,
    naming: tuple[str, ...],
    label_sets: Iterable[Labels],
    named: Callable[[Labels], Named],
    value_of: Callable[[Named, Labels], object],
) -> dict[Named, Sequence[LabelTime]]:
    """When the labels of a name began to mean another value, for names that meant several.

    A StatefulSet's pod keeps its name, and a cloud names nodes by addresses, which it gives again.
    `naming` are the labels that may have the name: the last part of what is `named`. Series of a time before
    `--metric-labels-allowlist` have no labels of it, and mean nothing.
    """
    values: dict[Named, set[object]] = {}
    for labels in filter(has_labels, label_sets):
        values.setdefault(named(labels), set()).add(value_of(named(labels), labels))
    times: dict[Named, list[LabelTime]] = {each: [] for each, of_name in values.items() if len(of_name) > 1}
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
    times: list[LabelTime], by_hour: Mapping[int, LabelSets], value_of: Callable[[Labels], object]
) -> None:
    """Add when labels began to name another value. In an hour with two values, the earlier one goes on."""
    value = value_of(times[-1].labels) if times else None
    for hour, label_sets in sorted(by_hour.items()):
        values = {value_of(labels): labels for labels in label_sets}
        if not times or value not in values:
            value = min(values, key=repr)
            times.append(LabelTime(hour, values[value]))
