"""Pods of this host, from the socket of the kubelet's Pods API (KEP-4188).

The service is `Pods` of `pkg/apis/pods/v1alpha1/api.proto` in the repository kubernetes/kubelet: alpha in
Kubernetes 1.36, on by default in 1.37 under the same name. The path is that of Kubernetes' documentation
(reference/node/kubelet-pods-api). The proposal has another, in /var/lib/kubelet/pods; that folder has the
volumes of all pods, and is not read. All clients together have 100 requests a second.

In the proposal a request names the fields that it wants, by metadata. The server of 1.37 does not read that,
so every answer has whole pods, with the values of environment variables: fields that are not listed here are
skipped unread.

Field numbers are those of `core/v1/generated.proto` in kubernetes/api (10b39a39, 24 July 2026), and for
`ObjectMeta`, `OwnerReference` and `Time` of `pkg/apis/meta/v1/generated.proto` in kubernetes/apimachinery
(eed236ce, 23 July 2026). A number is never given to another field.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from exporter.readings import FailureReason, ReadFailedError
from exporter.sources.http_client import Deadline
from exporter.sources.kubelet.protobuf import LENGTH, Field, Fields, Message

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
POD_BYTES_MAX: Final = 4 * 1024 * 1024
"""etcd takes objects of 1.5 MiB by default; a pod of more is none."""


def _timestamp(time: dict[str, int]) -> str:
    """A `Time`, as JSON has it; empty for none, and for one that no calendar has."""
    if "seconds" not in time:
        return ""
    try:
        return (EPOCH + timedelta(seconds=time["seconds"])).strftime("%Y-%m-%dT%H:%M:%SZ")
    except OverflowError:  # one below zero is a great one without its sign
        return ""


_TIME: Final[Fields] = {1: Field("seconds", "integer")}
_ENTRY: Final[Fields] = {1: Field("key"), 2: Field("value")}
_OWNER: Final[Fields] = {1: Field("kind"), 3: Field("name"), 6: Field("controller", "integer", convert=bool)}
_METADATA: Final[Fields] = {
    1: Field("name"),
    3: Field("namespace"),
    5: Field("uid"),
    8: Field("creationTimestamp", _TIME, convert=_timestamp),
    9: Field("deletionTimestamp", _TIME, convert=_timestamp),
    11: Field("labels", _ENTRY, repeated=True),
    12: Field("annotations", _ENTRY, repeated=True),
    13: Field("ownerReferences", _OWNER, repeated=True),
}

_CONTAINER: Final[Fields] = {
    1: Field("name"),
    3: Field("command", repeated=True),
    4: Field("args", repeated=True),
}
"""`Container`, and `EphemeralContainerCommon`, which has the same numbers; JSON does not nest the second."""

_EPHEMERAL: Final[Fields] = {1: Field("common", _CONTAINER)}
_SPEC: Final[Fields] = {
    10: Field("nodeName"),
    2: Field("containers", _CONTAINER, repeated=True),
    20: Field("initContainers", _CONTAINER, repeated=True),
    34: Field(
        "ephemeralContainers", _EPHEMERAL, repeated=True, convert=lambda nested: nested.get("common", {})
    ),
}

_CONTAINER_STATUS: Final[Fields] = {
    1: Field("name"),
    2: Field("state", {2: Field("running", {})}),
    8: Field("containerID"),
}
_STATUS: Final[Fields] = {
    1: Field("phase"),
    6: Field("podIP"),
    8: Field("containerStatuses", _CONTAINER_STATUS, repeated=True),
    10: Field("initContainerStatuses", _CONTAINER_STATUS, repeated=True),
    12: Field("podIPs", {1: Field("ip")}, repeated=True),
    13: Field("ephemeralContainerStatuses", _CONTAINER_STATUS, repeated=True),
}
_POD: Final[Fields] = {
    1: Field("metadata", _METADATA),
    2: Field("spec", _SPEC),
    3: Field("status", _STATUS),
}


def listed(reply: bytes) -> Iterator[dict[str, Any]]:
    """The pods of a serialized `ListPodsResponse`, one at a time, as their JSON would be.

    Its only field is `repeated bytes pods = 1` (`pkg/apis/pods/v1alpha1/api.proto` of the repository
    kubernetes/kubelet, 63b32497, 23 July 2026).

    Raises:
        ReadFailedError: `malformed`; `too_large`, a pod that is none, or more fields than are looked at.
    """
    message = Message(reply)
    for part in message.parts():
        if part.number != 1 or part.wire != LENGTH:
            continue
        if part.end - part.start > POD_BYTES_MAX:
            raise ReadFailedError(FailureReason.TOO_LARGE, f"a pod of more than {POD_BYTES_MAX} bytes")
        pod = message.parse(_POD, part.start, part.end)
        metadata = pod.get("metadata", {})
        for key in ("labels", "annotations"):
            if key in metadata:
                entries = metadata[key]
                metadata[key] = {entry.get("key", ""): entry.get("value", "") for entry in entries}
        yield pod


SOCKET: Final = Path("/var/lib/kubelet/pods-api/pods-api.sock")
"""The kubelet recreates it at each start, so a container mounts its directory."""

METHOD: Final = "/v1alpha1.Pods/ListPods"

REPLY_BYTES_MAX: Final = 16 * 1024 * 1024
"""In memory as a whole, and twice for a moment; 500 pods of 30 KB each."""


def is_served(path: Path) -> bool:
    """Whether there is a socket that this process can see."""
    return os.path.exists(path)


def pods(path: Path, deadline: Deadline) -> Iterator[dict[str, Any]]:
    """The pods of this host, one at a time, as their JSON would be.

    Raises:
        ReadFailedError: as `grpc.call`; `starting`, the kubelet does not know all pods yet.
    """
    from exporter.sources.kubelet.grpc import call  # noqa: PLC0415 - HTTP/2 takes memory: on first use

    reply = call(path, METHOD, deadline, REPLY_BYTES_MAX)
    try:
        yield from listed(reply)
    except ReadFailedError as failure:
        raise ReadFailedError(failure.reason, f"{path}: {failure}") from failure
