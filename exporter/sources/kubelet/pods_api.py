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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from exporter.readings import FailureReason, ReadFailedError
from exporter.sources.http_client import Deadline
from exporter.sources.kubelet.protobuf import Message

JsonObject = dict[str, Any]
Read = Callable[[Message, int, int], Any]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
POD_BYTES_MAX: Final = 4 * 1024 * 1024
"""etcd takes objects of 1.5 MiB by default; a pod of more is none."""


@dataclass(frozen=True, slots=True)
class MessageFields:
    """The fields of one kind of message that are read, by number.

    `single` has strings and messages, `repeated` lists of them, `maps` labels and annotations, `flags` truth
    values. An empty message is present, unlike one that Go leaves out (`*T`); of a field that comes twice
    the last counts.
    """

    single: Mapping[int, tuple[str, Read]] = field(default_factory=dict)
    repeated: Mapping[int, tuple[str, Read]] = field(default_factory=dict)
    maps: Mapping[int, str] = field(default_factory=dict)
    flags: Mapping[int, str] = field(default_factory=dict)

    def read(self, message: Message, start: int, end: int) -> JsonObject:
        """The fields of a message between two offsets.

        Raises:
            ReadFailedError: as `Message`.
        """
        fields: JsonObject = {}
        for number, begin, stop in message.fields(start, end):
            if number in self.single:
                name, read = self.single[number]
                fields[name] = read(message, begin, stop)
            elif number in self.repeated:
                name, read = self.repeated[number]
                fields.setdefault(name, []).append(read(message, begin, stop))
            elif number in self.maps:
                pair = _ENTRY.read(message, begin, stop)
                fields.setdefault(self.maps[number], {})[pair.get("key", "")] = pair.get("value", "")
        if self.flags:
            for number, value in message.integers(start, end):
                if number in self.flags:
                    fields[self.flags[number]] = value != 0
        return fields


def _time(message: Message, start: int, end: int) -> str:
    """A `Time`, as JSON has it; empty for none, and for one that no calendar has."""
    seconds = dict(message.integers(start, end)).get(1)
    if seconds is None:
        return ""
    try:
        return (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    except OverflowError:  # one below zero is a great one without its sign
        return ""


def _inlined(message: Message, start: int, end: int) -> JsonObject:
    """The fields that an `EphemeralContainer` shares with other containers; JSON does not nest them."""
    common: JsonObject = _EPHEMERAL.read(message, start, end).get("common", {})
    return common


_TEXT: Final[Read] = Message.text
_ENTRY: Final = MessageFields({1: ("key", _TEXT), 2: ("value", _TEXT)})

_OWNER: Final = MessageFields({1: ("kind", _TEXT), 3: ("name", _TEXT)}, flags={6: "controller"})
_METADATA: Final = MessageFields(
    {
        1: ("name", _TEXT),
        3: ("namespace", _TEXT),
        5: ("uid", _TEXT),
        8: ("creationTimestamp", _time),
        9: ("deletionTimestamp", _time),
    },
    repeated={13: ("ownerReferences", _OWNER.read)},
    maps={11: "labels", 12: "annotations"},
)

_CONTAINER: Final = MessageFields(
    {1: ("name", _TEXT)},
    repeated={3: ("command", _TEXT), 4: ("args", _TEXT)},
)
"""`Container`, and `EphemeralContainerCommon`, which has the same numbers."""

_EPHEMERAL: Final = MessageFields({1: ("common", _CONTAINER.read)})
_SPEC: Final = MessageFields(
    {10: ("nodeName", _TEXT)},
    repeated={
        2: ("containers", _CONTAINER.read),
        20: ("initContainers", _CONTAINER.read),
        34: ("ephemeralContainers", _inlined),
    },
)

_RUNNING: Final = MessageFields()
_STATE: Final = MessageFields({2: ("running", _RUNNING.read)})
_CONTAINER_STATUS: Final = MessageFields(
    {1: ("name", _TEXT), 2: ("state", _STATE.read), 8: ("containerID", _TEXT)}
)
_ADDRESS: Final = MessageFields({1: ("ip", _TEXT)})
_STATUS: Final = MessageFields(
    {1: ("phase", _TEXT), 6: ("podIP", _TEXT)},
    repeated={
        8: ("containerStatuses", _CONTAINER_STATUS.read),
        10: ("initContainerStatuses", _CONTAINER_STATUS.read),
        12: ("podIPs", _ADDRESS.read),
        13: ("ephemeralContainerStatuses", _CONTAINER_STATUS.read),
    },
)
_POD: Final = MessageFields(
    {1: ("metadata", _METADATA.read), 2: ("spec", _SPEC.read), 3: ("status", _STATUS.read)}
)


def listed(reply: bytes) -> Iterator[JsonObject]:
    """The pods of a serialized `ListPodsResponse`, one at a time.

    Its only field is `repeated bytes pods = 1` (`pkg/apis/pods/v1alpha1/api.proto` of the repository
    kubernetes/kubelet, 63b32497, 23 July 2026).

    Raises:
        ReadFailedError: `malformed`; `too_large`, a pod that is none, or more fields than are looked at.
    """
    message = Message(reply)
    for number, start, end in message.fields():
        if number == 1:
            if end - start > POD_BYTES_MAX:
                raise ReadFailedError(FailureReason.TOO_LARGE, f"a pod of more than {POD_BYTES_MAX} bytes")
            yield _POD.read(message, start, end)


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
