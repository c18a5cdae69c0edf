"""From a pod's JSON, as kubelet and API server tell it, to a `Pod`. Pure, and bounded in all that it keeps.

`kubelet.pod_fields` makes the same of a serialized pod, so that whoever tells a pod, it is decoded here.
Fields are those of core/v1 (k8s.io/api/core/v1/types.go). What is missing or of another type than it should
be is left out; a pod without a name, a namespace or a uid is none.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, get_args

from exporter.config.kubernetes import is_label_name, is_label_value, is_node_name
from exporter.sources.kubernetes.annotations import PREFIX, wishes_of
from exporter.sources.kubernetes.pod import TERMINAL, Container, Phase, Pod, Role
from exporter.sources.kubernetes.workload import workload_of

LABELS_MAX: Final = 64
ANNOTATIONS_MAX: Final = 32
ANNOTATION_CHARACTERS: Final = 1024
CONTAINERS_MAX: Final = 64
WORDS_MAX: Final = 128
WORD_CHARACTERS: Final = 512
ADDRESSES_MAX: Final = 4

CONFIG_HASH: Final = "kubernetes.io/config.hash"
"""On the mirror of a static pod: the uid that the kubelet gave it, and that its cgroup has."""

KEPT: Final = (PREFIX, "prometheus.io/", "leaderworkerset.sigs.k8s.io/", CONFIG_HASH)
"""How the annotations begin that are kept; others may be a quarter of a megabyte each."""

ROLES: Final[tuple[tuple[str, str, Role], ...]] = (
    ("containers", "containerStatuses", "container"),
    ("initContainers", "initContainerStatuses", "init"),
    ("ephemeralContainers", "ephemeralContainerStatuses", "ephemeral"),
)
"""Where a pod's spec has its containers, where its status has them, and what they are."""

_UID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}")
_STATIC_UID: Final = re.compile(r"[0-9a-f]{32}")
"""A hash of the manifest; what the API server gives has dashes, so that no pod's can be had by annotation."""

_CONTAINER_ID: Final = re.compile(r"[a-z0-9-]+://([0-9a-f]{64})")


def pod_of(told: object, node: str = "") -> Pod | None:
    """The pod of a JSON object; `None` where it is none, or is not on the node of that name.

    Without a name the pod says which node it is on: a kubelet's socket tells the pods of this node alone.
    """
    pod, metadata = _mapping(told), _mapping(_mapping(told).get("metadata"))
    spec, status = _mapping(pod.get("spec")), _mapping(pod.get("status"))
    name, namespace, uid = (_text(metadata, key) for key in ("name", "namespace", "uid"))
    if not (is_node_name(name) and is_node_name(namespace) and _UID.fullmatch(uid)):
        return None
    own = _text(spec, "nodeName")
    if not is_node_name(own) or node not in ("", own):
        return None
    annotations = dict(islice(_annotations(metadata), ANNOTATIONS_MAX))
    owner = _controller(metadata)
    if owner == ("Node", own) and _STATIC_UID.fullmatch(annotations.get(CONFIG_HASH, "")):
        uid = annotations[CONFIG_HASH]
    labels = dict(islice(_labels(metadata), LABELS_MAX))
    containers = tuple(_containers(spec, status))
    phase = _phase(status)
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
        live=_is_live(phase, containers, deleted="deletionTimestamp" in metadata),
        labels=labels,
        annotations=annotations,
        ips=tuple(islice(_addresses(status), ADDRESSES_MAX)),
        containers=containers,
        wishes=wishes_of(annotations),
    )


def _is_live(phase: Phase, containers: Iterable[Container], *, deleted: bool) -> bool:
    """A pod that is being deleted is over once its last container has ended, whatever its phase says."""
    return phase not in TERMINAL and not (deleted and not any(each.running for each in containers))


def _phase(status: Mapping[str, Any]) -> Phase:
    told = _text(status, "phase")
    return next((phase for phase in get_args(Phase) if phase == told), "Unknown")


def _labels(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in _mapping(metadata.get("labels")).items():
        if is_label_name(name) and isinstance(value, str) and is_label_value(value):
            yield name, value


def _annotations(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in _mapping(metadata.get("annotations")).items():
        if name.startswith(KEPT) and is_label_name(name) and isinstance(value, str):
            yield name, value[:ANNOTATION_CHARACTERS]


def _controller(metadata: Mapping[str, Any]) -> tuple[str, str] | None:
    """Kind and name of the owner that controls the pod; at most one does."""
    for owner in map(_mapping, _list(metadata.get("ownerReferences"))):
        kind, name = _text(owner, "kind"), _text(owner, "name")
        if owner.get("controller") is True and kind.isalnum() and kind.isascii() and is_node_name(name):
            return kind, name
    return None


def _containers(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Iterator[Container]:
    """Those that the spec names, each with its status where there is one."""
    for named, stated, role in ROLES:
        states = {_text(state, "name"): state for state in map(_mapping, _list(status.get(stated)))}
        for container in islice(map(_mapping, _list(spec.get(named))), CONTAINERS_MAX):
            name = _text(container, "name")
            if not is_node_name(name):
                continue
            state = states.get(name, {})
            known = _CONTAINER_ID.fullmatch(_text(state, "containerID"))
            yield Container(
                name=name,
                id=known[1] if known else "",
                running="running" in _mapping(state.get("state")),
                role=role,
                argv=tuple(islice(_words(container), WORDS_MAX)),
            )


def _words(container: Mapping[str, Any]) -> Iterator[str]:
    """What a container is started with; none without a command, for then its image says the program."""
    command = _list(container.get("command"))
    for word in (*command, *(_list(container.get("args")) if command else ())):
        if isinstance(word, str):
            yield word[:WORD_CHARACTERS]


def _addresses(status: Mapping[str, Any]) -> Iterator[str]:
    """The pod's addresses, each once; never one that means this pod, a link, or many."""
    told = map(_mapping, (status, *_list(status.get("podIPs"))))
    for text in dict.fromkeys(_text(each, key) for each in told for key in ("podIP", "ip")):
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


def _mapping(told: object) -> Mapping[str, Any]:
    return told if isinstance(told, dict) else {}


def _list(told: object) -> list[Any]:
    return told if isinstance(told, list) else []


def _text(told: Mapping[str, Any], key: str) -> str:
    value = told.get(key)
    return value if isinstance(value, str) else ""
