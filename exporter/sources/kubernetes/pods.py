"""Pods of this node, decoded from JSON: workload, annotations, owner. Pure, bounded.

Fields are those of core/v1 (k8s.io/api/core/v1/types.go). A field that is missing or of another type is left
out; a pod without a name, a namespace or a uid is dropped. The user who starts a pod writes its annotations,
so they name a port, a path and labels of that pod only, and never a host.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from typing import Any, Final, Literal, NamedTuple, get_args

from exporter.config.kubernetes import is_label_name, is_label_value, is_node_name
from exporter.config.servers import FIRST_TOKEN_SECONDS_MAX, PER_TOKEN_SECONDS_MAX, TARGET
from exporter.config.settings import PodLabels
from exporter.cost.postings import OTHER, UNALLOCATED
from exporter.readings import LABEL_CHARACTERS, Role, RoleClaim, ServiceLevel, label
from exporter.units import Nanoseconds

ContainerRole = Literal["container", "init", "ephemeral"]
Phase = Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"]

TERMINAL: Final[frozenset[Phase]] = frozenset({"Succeeded", "Failed"})
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
    """One container of a pod.

    `id` are the 64 hexadecimal digits at the end of its cgroup's path, empty before it is created; a restart
    changes them. `running` is false while it waits (images, crash loop) and after it ended. `argv` is the
    command line of its pod, empty where the image has it.
    """

    name: str
    id: str = ""
    running: bool = False
    role: ContainerRole = "container"
    argv: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PodAnnotations:
    """Settings of a server in the annotations `inference-cost/...` of its pod; empty and `None` where not
    set.

    `port` and `path` are those of its metrics, at the pod's own address and never at another.
    `refused` are the annotations that cannot be used, by their last word (`port`), each with the fault.
    """

    name: str = ""
    product: str = ""
    team: str = ""
    port: int | None = None
    path: str = ""
    slo_first_token_seconds: float | None = None
    slo_per_token_seconds: float | None = None
    slo_target_ratio: float | None = None
    refused: tuple[tuple[str, str], ...] = ()

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
    """One pod of this node.

    `uid` is that of its cgroup's path; for a static pod the hash of its manifest, while the API server has
    another. `ips` are its addresses, in the order of its status; those of the node if it uses the node's
    network. `annotations` are only those that are read (`ANNOTATION_PREFIXES`).
    `live` is true while any container runs or will run: a pod whose container waits for a restart keeps its
    GPUs. `product` and `team` are those of its cost (`owner_of`), by labels that the configuration names.
    """

    namespace: str
    name: str
    uid: str
    workload: Workload
    phase: Phase = "Unknown"
    live: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    ips: tuple[str, ...] = ()
    containers: tuple[Container, ...] = ()
    pod_annotations: PodAnnotations = NO_ANNOTATIONS
    product: str = ""
    team: str = ""

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


def owner_of(pod: Pod, labels: PodLabels) -> tuple[str, str]:
    """Product and team of a pod: by annotation, else by label; empty without either."""
    return (
        pod.pod_annotations.product or pod.labels.get(labels.product, ""),
        pod.pod_annotations.team or pod.labels.get(labels.team, ""),
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
    owner: tuple[str, str] | None,
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
    kind, owner_name = owner
    if kind == "ReplicaSet":
        return _of_replica_set(owner_name, labels)
    if kind == "Job":
        return _of_job(owner_name, created_minute)
    if kind == "Node":
        return Workload("Pod", name.removesuffix(f"-{node}"))
    return Workload(kind, owner_name)


def _labeled(labels: Mapping[str, str]) -> Iterator[Workload]:
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


def _of_replica_set(name: str, labels: Mapping[str, str]) -> Workload:
    for hash_label, kind in HASHES:
        owner = name.removesuffix(f"-{labels.get(hash_label, '')}")
        if labels.get(hash_label) and owner and owner != name:
            return Workload(kind, owner)
    return Workload("ReplicaSet", name)


def _of_job(name: str, created_minute: int | None) -> Workload:
    scheduled = _SCHEDULED.fullmatch(name)
    if scheduled and created_minute is not None:
        late = created_minute - int(scheduled[2])
        if -EARLY_MINUTES <= late <= LATE_MINUTES:
            return Workload("CronJob", scheduled[1])
    return Workload("Job", name)


LABELS_MAX: Final = 64
ANNOTATIONS_MAX: Final = 32
ANNOTATION_CHARACTERS: Final = 1024
CONTAINERS_MAX: Final = 64
WORDS_MAX: Final = 128
WORD_CHARACTERS: Final = 512
ADDRESSES_MAX: Final = 4

CONFIG_HASH: Final = "kubernetes.io/config.hash"
"""On the mirror of a static pod: the uid that the kubelet gave it, and that its cgroup has."""

ANNOTATION_PREFIXES: Final = (PREFIX, "prometheus.io/", "leaderworkerset.sigs.k8s.io/", CONFIG_HASH)
"""Prefixes of the annotations that are kept; others may have a quarter of a megabyte each."""

ROLES: Final[tuple[tuple[str, str, ContainerRole], ...]] = (
    ("containers", "containerStatuses", "container"),
    ("initContainers", "initContainerStatuses", "init"),
    ("ephemeralContainers", "ephemeralContainerStatuses", "ephemeral"),
)
"""Keys of containers in a pod's spec and status, and their role."""

_UID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}")
_STATIC_UID: Final = re.compile(r"[0-9a-f]{32}")
"""A hash of the manifest; what the API server gives has dashes, so that no pod's can be had by annotation."""

_CONTAINER_ID: Final = re.compile(r"[a-z0-9-]+://([0-9a-f]{64})")


def pod_of(value: object, node: str = "") -> Pod | None:
    """The pod of a JSON object; `None` where it is none, or is on another node.

    Without a `node` the pod may be on any: a kubelet's socket has the pods of this node alone.
    """
    pod, metadata = _mapping(value), _mapping(_mapping(value).get("metadata"))
    spec, status = _mapping(pod.get("spec")), _mapping(pod.get("status"))
    name, namespace, uid = (_text(metadata, key) for key in ("name", "namespace", "uid"))
    if not (is_node_name(name) and is_node_name(namespace) and _UID.fullmatch(uid)):
        return None
    own = _text(spec, "nodeName")
    if not is_node_name(own) or node not in ("", own):
        return None
    kept_annotations = (
        (name, value[:ANNOTATION_CHARACTERS])
        for name, value in _mapping(metadata.get("annotations")).items()
        if name.startswith(ANNOTATION_PREFIXES) and is_label_name(name) and isinstance(value, str)
    )
    annotations = dict(islice(kept_annotations, ANNOTATIONS_MAX))
    owner = _controller(metadata)
    if owner == ("Node", own) and _STATIC_UID.fullmatch(annotations.get(CONFIG_HASH, "")):
        uid = annotations[CONFIG_HASH]
    valid_labels = (
        (name, value)
        for name, value in _mapping(metadata.get("labels")).items()
        if is_label_name(name) and isinstance(value, str) and is_label_value(value)
    )
    labels = dict(islice(valid_labels, LABELS_MAX))
    containers = tuple(_containers(spec, status))
    stated = _text(status, "phase")
    phase: Phase = next((each for each in get_args(Phase) if each == stated), "Unknown")
    # One that is being deleted is over once its last container has ended, whatever its phase says.
    deleted = "deletionTimestamp" in metadata and not any(each.running for each in containers)
    return Pod(
        namespace=namespace,
        name=name,
        uid=uid,
        workload=workload_of(
            name,
            labels,
            ("Node", own) if _STATIC_UID.fullmatch(uid) else owner,
            created_minute=_minute(_text(metadata, "creationTimestamp")),
            node=own,
        ),
        phase=phase,
        live=phase not in TERMINAL and not deleted,
        labels=labels,
        annotations=annotations,
        ips=tuple(islice(_addresses(status), ADDRESSES_MAX)),
        containers=containers,
        pod_annotations=parse_annotations(annotations),
    )


def _controller(metadata: Mapping[str, Any]) -> tuple[str, str] | None:
    """Kind and name of the owner that controls the pod; at most one does."""
    for owner in map(_mapping, _list(metadata.get("ownerReferences"))):
        kind, name = _text(owner, "kind"), _text(owner, "name")
        if owner.get("controller") is True and kind.isalnum() and kind.isascii() and is_node_name(name):
            return kind, name
    return None


def _containers(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Iterator[Container]:
    """The containers of the spec, each with its status where there is one."""
    for named, stated, role in ROLES:
        states = {_text(state, "name"): state for state in map(_mapping, _list(status.get(stated)))}
        for container in islice(map(_mapping, _list(spec.get(named))), CONTAINERS_MAX):
            name = _text(container, "name")
            if not is_node_name(name):
                continue
            state = states.get(name, {})
            id_match = _CONTAINER_ID.fullmatch(_text(state, "containerID"))
            yield Container(
                name=name,
                id=id_match[1] if id_match else "",
                running="running" in _mapping(state.get("state")),
                role=role,
                argv=tuple(islice(_words(container), WORDS_MAX)),
            )


def _words(container: Mapping[str, Any]) -> Iterator[str]:
    """Command line of a container; empty without a command, since its image then has the program."""
    command = _list(container.get("command"))
    for word in (*command, *(_list(container.get("args")) if command else ())):
        if isinstance(word, str):
            yield word[:WORD_CHARACTERS]


def _addresses(status: Mapping[str, Any]) -> Iterator[str]:
    """The pod's addresses, each once; never one that means this pod, a link, or many."""
    statuses = map(_mapping, (status, *_list(status.get("podIPs"))))
    for text in dict.fromkeys(_text(each, key) for each in statuses for key in ("podIP", "ip")):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        meant = getattr(address, "ipv4_mapped", None) or address
        if not (meant.is_loopback or meant.is_link_local or meant.is_multicast or meant.is_unspecified):
            yield str(address)


def _minute(timestamp: str) -> int | None:
    """Minutes since 1970 of an RFC 3339 time in UTC, as Kubernetes writes it."""
    try:
        return int(datetime.strptime(timestamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()) // 60
    except ValueError:
        return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else ""
