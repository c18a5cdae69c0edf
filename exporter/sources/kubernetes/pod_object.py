"""The fields of a Kubernetes Pod that are read, decoded from JSON and from protocol buffers.

JSON has the names of `k8s.io/api/core/v1/types.go`. The numbers are those of `core/v1/generated.proto` in
kubernetes/api (10b39a39, 24 July 2026), and for `ObjectMeta` and `OwnerReference` of
`pkg/apis/meta/v1/generated.proto` in kubernetes/apimachinery (eed236ce, 23 July 2026). A number is never
given to another field. Other fields, such as the values of environment variables, are skipped unread.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Final

import msgspec

from exporter.sources.kubelet import protobuf

ITEM_BYTES_MAX: Final = 4 * 1024 * 1024
"""etcd takes objects of 1.5 MiB by default; a longer item is no pod."""


class OwnerReference(msgspec.Struct):
    """An object that a pod belongs to."""

    kind: Annotated[str, 1] = ""
    name: Annotated[str, 3] = ""
    controller: Annotated[bool | None, 6] = None


class ObjectMeta(msgspec.Struct, rename="camel"):
    """Metadata of a pod. Go writes null for a time or a list that is not set."""

    name: Annotated[str, 1] = ""
    namespace: Annotated[str, 3] = ""
    uid: Annotated[str, 5] = ""
    creation_timestamp: Annotated[datetime | None, 8] = None
    deletion_timestamp: Annotated[datetime | None, 9] = None
    labels: Annotated[dict[str, str] | None, 11] = None
    annotations: Annotated[dict[str, str] | None, 12] = None
    owner_references: Annotated[list[OwnerReference] | None, 13] = None


class ContainerSpec(msgspec.Struct):
    """A container of a pod's spec."""

    name: Annotated[str, 1] = ""
    command: Annotated[list[str] | None, 3] = None
    args: Annotated[list[str] | None, 4] = None


class EphemeralContainerSpec(ContainerSpec):
    """An ephemeral container of a pod's spec. Serialized, its fields are nested in `common`."""

    common: Annotated[ContainerSpec | None, 1] = None


class PodSpec(msgspec.Struct, rename="camel"):
    """The spec of a pod."""

    node_name: Annotated[str, 10] = ""
    containers: Annotated[list[ContainerSpec] | None, 2] = None
    init_containers: Annotated[list[ContainerSpec] | None, 20] = None
    ephemeral_containers: Annotated[list[EphemeralContainerSpec] | None, 34] = None


class Running(msgspec.Struct):
    """Present while a container runs."""


class ContainerState(msgspec.Struct):
    """The state of a container."""

    running: Annotated[Running | None, 2] = None


class ContainerStatus(msgspec.Struct):
    """The status of one container."""

    name: Annotated[str, 1] = ""
    state: Annotated[ContainerState, 2] = msgspec.field(default_factory=ContainerState)
    container_id: Annotated[str, 8] = msgspec.field(default="", name="containerID")


class PodIP(msgspec.Struct):
    """An address of a pod."""

    ip: Annotated[str, 1] = ""


class PodStatus(msgspec.Struct, rename="camel"):
    """The status of a pod."""

    phase: Annotated[str, 1] = ""
    pod_ip: Annotated[str, 6] = msgspec.field(default="", name="podIP")
    pod_ips: Annotated[list[PodIP] | None, 12] = msgspec.field(default=None, name="podIPs")
    container_statuses: Annotated[list[ContainerStatus] | None, 8] = None
    init_container_statuses: Annotated[list[ContainerStatus] | None, 10] = None
    ephemeral_container_statuses: Annotated[list[ContainerStatus] | None, 13] = None


class PodObject(msgspec.Struct):
    """A pod of Kubernetes, as far as it is read."""

    metadata: Annotated[ObjectMeta, 1] = msgspec.field(default_factory=ObjectMeta)
    spec: Annotated[PodSpec, 2] = msgspec.field(default_factory=PodSpec)
    status: Annotated[PodStatus, 3] = msgspec.field(default_factory=PodStatus)


class _PodList(msgspec.Struct):
    """A PodList, whose items are decoded one at a time."""

    kind: str = ""
    items: list[msgspec.Raw] | None = None


def from_json(body: bytes) -> Iterator[PodObject | None]:
    """The items of a PodList, `None` for one that is no pod.

    Raises:
        ValueError: the body is no PodList; the message is the rest of a sentence.
    """
    try:
        listing = msgspec.json.decode(body, type=_PodList)
    except (msgspec.MsgspecError, RecursionError) as error:
        problem = "nests too deep" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"but not with a list of pods: {problem}") from error
    if listing.kind != "PodList":
        raise ValueError("but not with a list of pods")
    for item in listing.items or ():
        raw = memoryview(item)
        try:
            yield msgspec.json.decode(raw, type=PodObject) if len(raw) <= ITEM_BYTES_MAX else None
        except msgspec.MsgspecError:
            yield None


def from_protobuf(reply: bytes) -> Iterator[PodObject]:
    """The pods of a `ListPodsResponse` (`pkg/apis/pods/v1alpha1/api.proto` of kubernetes/kubelet).

    Raises:
        ReadFailedError: `malformed`, `too_large`.
    """
    return protobuf.messages(reply, PodObject)
