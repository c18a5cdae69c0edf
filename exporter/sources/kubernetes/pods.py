"""Pods of this node: workload, annotations, owner. Pure, bounded.

A pod without a name, a namespace or a uid is dropped. The user who starts a pod writes its annotations, so
they name a port, a path and labels of that pod only, and never a host.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import islice
from typing import Any, Final, NamedTuple

from exporter.config.kubernetes import is_label_name, is_label_value, is_node_name
from exporter.config.servers import FIRST_TOKEN_SECONDS_MAX, PER_TOKEN_SECONDS_MAX, TARGET
from exporter.config.settings import PodLabels
from exporter.cost.postings import OTHER, UNALLOCATED
from exporter.readings import LABEL_CHARACTERS, Role, RoleClaim, ServiceLevel, label
from exporter.sources.kubernetes.pod_object import ContainerSpec, ContainerStatus, PodObject, PodStatus
from exporter.units import Nanoseconds

TERMINAL: Final = frozenset({"Succeeded", "Failed"})
"""Phases after which no container of a pod is started again, and its GPUs are free."""


class Workload(NamedTuple):
    """Outermost owner of a pod: its Deployment rather than its ReplicaSet, its InferenceService rather than
    both.

    A pod without an owner is its own workload: kind `Pod`.
    """

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod."""

    name: str
    """The name of the container in its pod."""
    id: str = ""
    """The 64 hexadecimal digits at the end of the cgroup's path; a restart changes them. Empty before the
    container is created."""
    running: bool = False
    """False while the container waits (images, crash loop), and after it ended."""
    argv: tuple[str, ...] = ()
    """The command line in the pod's spec; empty where the image has it."""


@dataclass(frozen=True, slots=True)
class PodAnnotations:
    """Settings of a server in its pod's annotations `inference-cost/...`; empty and `None` if not set."""

    name: str = ""
    """The name of the server."""
    product: str = ""
    """The product that is charged."""
    team: str = ""
    """The team that is charged."""
    port: int | None = None
    """The port of the metrics, at the pod's own address and never at another."""
    path: str = ""
    """The path of the metrics."""
    slo_first_token_seconds: float | None = None
    """The longest time to the first token."""
    slo_per_token_seconds: float | None = None
    """The longest time per later token."""
    slo_target_ratio: float | None = None
    """The part of requests that is to keep both times."""
    refused: tuple[tuple[str, str], ...] = ()
    """The annotations that cannot be used, by their last word (`port`), with the fault."""

    @property
    def slo(self) -> ServiceLevel | None:
        """The service level, `None` without an objective."""
        if self.slo_first_token_seconds is None and self.slo_per_token_seconds is None:
            return None
        target = float(TARGET) if self.slo_target_ratio is None else self.slo_target_ratio
        return ServiceLevel(self.slo_first_token_seconds, self.slo_per_token_seconds, target)


NO_ANNOTATIONS: Final = PodAnnotations()

ROLE_LABELS: Final = (
    "llm-d.ai/role",  # llm-d-inference-scheduler: pkg/plugins/filter/roles.go; also prefill-decode, both
    "nvidia.com/dynamo-component-type",  # ai-dynamo/dynamo: deploy/operator/internal/consts/consts.go
    "nvidia.com/dynamo-sub-component-type",  # there, beside a component type of worker
)
"""Labels of pods that have the values prefill and decode, among others that name no role."""

GROUP_SIZE: Final = "leaderworkerset.sigs.k8s.io/size"
"""On each pod of a LeaderWorkerSet: how many pods serve together."""


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of this node."""

    namespace: str
    """The namespace of the pod."""
    name: str
    """The name of the pod."""
    uid: str
    """The uid in the cgroup's path. For a static pod it is the hash of the manifest, while the API server
    has another."""
    workload: Workload
    """The outermost owner of the pod."""
    live: bool = True
    """True while any container runs or will run: a pod whose container waits for a restart keeps its GPUs."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """The labels of the pod."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """The annotations that are read (`ANNOTATION_PREFIXES`)."""
    ips: tuple[str, ...] = ()
    """The addresses in the order of the pod's status; those of the node if the pod uses its network."""
    containers: tuple[Container, ...] = ()
    """The containers, init containers and ephemeral containers."""
    pod_annotations: PodAnnotations = NO_ANNOTATIONS
    """The settings in the annotations."""
    product: str = ""
    """The product that is charged (`with_owner`)."""
    team: str = ""
    """The team that is charged (`with_owner`)."""

    @property
    def role_claims(self) -> tuple[RoleClaim, ...]:
        """Its part of a disaggregated pair, by the labels of those that deploy pairs."""
        roles: tuple[Role, ...] = ("prefill", "decode")
        return tuple(
            RoleClaim(role, f"label {name}")
            for name in ROLE_LABELS
            for role in roles
            if self.labels.get(name) == role
        )

    @property
    def spans_hosts(self) -> bool:
        """Whether it is one of a LeaderWorkerSet's pods that serve together."""
        return self.annotations.get(GROUP_SIZE, "1") != "1"


@dataclass(frozen=True, slots=True)
class Pods:
    """The pods of this node, and the way that they were read: `pods_api`, `kubelet` or `api_server`.

    `at` is the boot time of the request; `None` if unknown. A pod without a process by then may be missing.
    """

    pods: tuple[Pod, ...] = ()
    source: str = ""
    at: Nanoseconds | None = None


PREFIX: Final = "inference-cost/"
PATH_CHARACTERS: Final = 256

RESERVED: Final = frozenset({UNALLOCATED, OTHER})
UNMATCHED: Final = "unmatched:"
"""Names, and a prefix of names, that have a meaning of their own."""

_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_NUMBER: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_PATH: Final = re.compile(r"/(?!/)[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
"""RFC 3986's path-absolute; a query, a fragment and a second slash, which begins a host, are none of it."""


def parse_annotations(annotations: Mapping[str, str]) -> PodAnnotations:
    """Settings of annotations, and those that cannot be used."""
    values: dict[str, Any] = {}
    refused = []
    for annotation in sorted(annotations):
        if not annotation.startswith(PREFIX):
            continue
        word = annotation.removeprefix(PREFIX)
        try:
            values[word.replace("-", "_")] = READERS[word](annotations[annotation])
        except KeyError:
            refused.append((word, f"is none of {', '.join(READERS)}"))
        except ValueError as fault:
            refused.append((word, str(fault)))
    return PodAnnotations(**values, refused=tuple(refused)) if values or refused else NO_ANNOTATIONS


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise ValueError("is no port: a number from 1 to 65535")
    return int(text)


def _path(text: str) -> str:
    if len(text) > PATH_CHARACTERS or not _PATH.fullmatch(text):
        raise ValueError(f"is no path: / and what follows in a URL, at most {PATH_CHARACTERS} characters")
    return text


def _owner(text: str) -> str:
    if not text or text != text.strip() or text != label(text):
        raise ValueError(f"is empty, has spaces around it, or is longer than {LABEL_CHARACTERS} characters")
    return text


def _name(text: str) -> str:
    if text in RESERVED or text.startswith(UNMATCHED):
        raise ValueError("is reserved")
    return _owner(text)


def _number(most: Decimal) -> Callable[[str], float]:
    """Reads a number above 0, up to `most`."""

    def number(text: str) -> float:
        if not _NUMBER.fullmatch(text) or not 0 < Decimal(text) <= most:
            raise ValueError(f"is no number above 0, up to {most}")
        return float(text)

    return number


READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "name": _name,
    "product": _owner,
    "team": _owner,
    "port": _port,
    "path": _path,
    "slo-first-token-seconds": _number(FIRST_TOKEN_SECONDS_MAX),
    "slo-per-token-seconds": _number(PER_TOKEN_SECONDS_MAX),
    "slo-target-ratio": _number(Decimal(1)),
}
"""Known annotations, without their prefix."""


def with_owner(pod: Pod, labels: PodLabels) -> Pod:
    """The pod with its product and team: by annotation, else by label; empty without either."""
    return replace(
        pod,
        product=pod.pod_annotations.product or pod.labels.get(labels.product, ""),
        team=pod.pod_annotations.team or pod.labels.get(labels.team, ""),
    )


LLM_INFERENCE_SERVICE: Final = ("app.kubernetes.io/part-of", "llminferenceservice")
"""The label of KServe's pods whose `app.kubernetes.io/name` is the LLMInferenceService."""

NAMED: Final[tuple[tuple[str, str], ...]] = (
    ("serving.kserve.io/inferenceservice", "InferenceService"),
    ("leaderworkerset.sigs.k8s.io/name", "LeaderWorkerSet"),
    ("jobset.sigs.k8s.io/jobset-name", "JobSet"),
    ("serving.knative.dev/service", "KnativeService"),
    ("serving.knative.dev/configuration", "KnativeService"),
)
"""Labels whose value is the workload's name, the outermost owner first: KServe puts Knative, and groups of
pods, below its own."""

RAY_ORIGIN: Final = ("ray.io/originated-from-crd", "ray.io/originated-from-cr-name")
RAY_CLUSTER: Final = "ray.io/cluster"
RAY_KINDS: Final = frozenset({"RayCluster", "RayJob", "RayService"})

HASHES: Final[tuple[tuple[str, str], ...]] = (
    ("pod-template-hash", "Deployment"),
    ("rollouts-pod-template-hash", "Rollout"),
)
"""Labels whose value ends the name of a ReplicaSet, and the kind of its owner."""

_GENERATED_RAY: Final = re.compile(r"(.+)-raycluster-[bcdfghjklmnpqrstvwxz2456789]{5}")
"""Name that KubeRay up to 1.3 generated for the cluster of a RayService or RayJob at each upgrade."""

_SCHEDULED: Final = re.compile(r"(.+)-([0-9]{8,9})")
"""CronJob and the minute since 1970 that a Job of it was due at (pkg/controller/cronjob: getJobName)."""

EARLY_MINUTES: Final = 5
LATE_MINUTES: Final = 7 * 24 * 60
"""How far the creation of a Job's pod may lie from the minute in its name: clocks, and pods that wait for a
GPU. `report-20261125` is a Job that its user named by a date."""


def workload_of(
    name: str,
    labels: Mapping[str, str],
    owner: Workload | None,
    *,
    created_minute: int | None = None,
    node: str = "",
) -> Workload:
    """The workload of a pod.

    Args:
        name: of the pod.
        labels: of the pod.
        owner: kind and name of its controller, `None` without one.
        created_minute: when the pod was created, in minutes since 1970.
        node: that a static pod's name ends in.
    """
    labeled = next(_labeled(labels), None)
    if labeled is not None:
        return labeled
    if owner is None:
        return Workload("Pod", name)
    if owner.kind == "Node":
        return Workload("Pod", name.removesuffix(f"-{node}"))
    if owner.kind == "ReplicaSet":
        for hash_label, kind in HASHES:
            owner_of_set = owner.name.removesuffix(f"-{labels.get(hash_label, '')}")
            if labels.get(hash_label) and owner_of_set not in ("", owner.name):
                return Workload(kind, owner_of_set)
    scheduled = _SCHEDULED.fullmatch(owner.name)
    if owner.kind == "Job" and scheduled and created_minute is not None:
        late = created_minute - int(scheduled[2])
        if -EARLY_MINUTES <= late <= LATE_MINUTES:
            return Workload("CronJob", scheduled[1])
    return owner


def _labeled(labels: Mapping[str, str]) -> Iterator[Workload]:
    """The workloads that labels name, the outermost first."""
    part, part_of = LLM_INFERENCE_SERVICE
    if labels.get(part) == part_of and labels.get("app.kubernetes.io/name"):
        yield Workload("LLMInferenceService", labels["app.kubernetes.io/name"])
    for name, kind in NAMED:
        if labels.get(name):
            yield Workload(kind, labels[name])
    kind, origin = (labels.get(name, "") for name in RAY_ORIGIN)
    if kind in RAY_KINDS and origin:
        yield Workload(kind, origin)
    cluster = labels.get(RAY_CLUSTER)
    if cluster:
        generated = _GENERATED_RAY.fullmatch(cluster)
        yield Workload("RayCluster", generated[1] if generated else cluster)


LABELS_MAX: Final = 64
ANNOTATIONS_MAX: Final = 32
ANNOTATION_CHARACTERS: Final = 1024
CONTAINERS_MAX: Final = 64
WORDS_MAX: Final = 128
WORD_CHARACTERS: Final = 512
ADDRESSES_MAX: Final = 4

CONFIG_HASH: Final = "kubernetes.io/config.hash"
"""On the mirror of a static pod: the uid that the kubelet gave it, and that its cgroup has."""

ANNOTATION_PREFIXES: Final = (PREFIX, "leaderworkerset.sigs.k8s.io/", CONFIG_HASH)
"""Prefixes of the annotations that are kept; others may have a quarter of a megabyte each."""

_UID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}")
_STATIC_UID: Final = re.compile(r"[0-9a-f]{32}")
"""A hash of the manifest; what the API server gives has dashes, so that no pod's can be had by annotation."""

_CONTAINER_ID: Final = re.compile(r"[a-z0-9-]+://([0-9a-f]{64})")


def pod_of(pod_object: PodObject, node: str = "") -> Pod | None:
    """The pod of a Kubernetes object; `None` where it is none, or is on another node.

    Without a `node` the pod may be on any: a kubelet's socket has the pods of this node alone.
    """
    metadata = pod_object.metadata
    status = pod_object.status
    own_node = pod_object.spec.node_name
    names = (metadata.name, metadata.namespace, own_node)
    if not all(map(is_node_name, names)) or not _UID.fullmatch(metadata.uid) or node not in ("", own_node):
        return None
    kept_annotations = (
        (name, value[:ANNOTATION_CHARACTERS])
        for name, value in (metadata.annotations or {}).items()
        if name.startswith(ANNOTATION_PREFIXES) and is_label_name(name)
    )
    annotations = dict(islice(kept_annotations, ANNOTATIONS_MAX))
    valid_labels = (
        (name, value)
        for name, value in (metadata.labels or {}).items()
        if is_label_name(name) and is_label_value(value)
    )
    labels = dict(islice(valid_labels, LABELS_MAX))
    valid_controllers = (
        Workload(owner.kind, owner.name)
        for owner in metadata.owner_references or ()
        if owner.controller and owner.kind.isalnum() and owner.kind.isascii() and is_node_name(owner.name)
    )
    controller = next(valid_controllers, None)
    uid = metadata.uid
    if controller == ("Node", own_node) and _STATIC_UID.fullmatch(annotations.get(CONFIG_HASH, "")):
        uid = annotations[CONFIG_HASH]
    if _STATIC_UID.fullmatch(uid):
        controller = Workload("Node", own_node)
    created = metadata.creation_timestamp
    containers = tuple(_containers(pod_object))
    # A pod that is being deleted is over once its last container has ended, whatever its phase is.
    is_running = any(container.running for container in containers)
    deleted = metadata.deletion_timestamp is not None and not is_running
    return Pod(
        namespace=metadata.namespace,
        name=metadata.name,
        uid=uid,
        workload=workload_of(
            metadata.name,
            labels,
            controller,
            created_minute=None if created is None else int(created.timestamp()) // 60,
            node=own_node,
        ),
        live=status.phase not in TERMINAL and not deleted,
        labels=labels,
        annotations=annotations,
        ips=tuple(islice(_addresses(status), ADDRESSES_MAX)),
        containers=containers,
        pod_annotations=parse_annotations(annotations),
    )


def _containers(pod_object: PodObject) -> Iterator[Container]:
    """The containers of the spec, each with its status where there is one."""
    spec, status = pod_object.spec, pod_object.status
    ephemeral = [container.common or container for container in spec.ephemeral_containers or ()]
    lists: tuple[tuple[Sequence[ContainerSpec] | None, list[ContainerStatus] | None], ...] = (
        (spec.containers, status.container_statuses),
        (spec.init_containers, status.init_container_statuses),
        (ephemeral, status.ephemeral_container_statuses),
    )
    for specs, statuses in lists:
        states = {state.name: state for state in statuses or ()}
        for container in (specs or ())[:CONTAINERS_MAX]:
            if not is_node_name(container.name):
                continue
            state = states.get(container.name) or ContainerStatus()
            id_match = _CONTAINER_ID.fullmatch(state.container_id)
            # Without a command the image has the program.
            argv = (*container.command, *(container.args or ())) if container.command else ()
            yield Container(
                name=container.name,
                id=id_match[1] if id_match else "",
                running=state.state.running is not None,
                argv=tuple(word[:WORD_CHARACTERS] for word in argv[:WORDS_MAX]),
            )


def _addresses(status: PodStatus) -> Iterator[str]:
    """The pod's addresses, each once; never one that means this pod, a link, or many."""
    for text in dict.fromkeys((status.pod_ip, *(pod_ip.ip for pod_ip in status.pod_ips or ()))):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        meant = getattr(address, "ipv4_mapped", None) or address
        if not (meant.is_loopback or meant.is_link_local or meant.is_multicast or meant.is_unspecified):
            yield str(address)
