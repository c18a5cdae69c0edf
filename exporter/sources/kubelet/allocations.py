"""Which container of which pod was given which GPU, from the kubelet's answer. No input, no output.

The messages are those of `k8s.io/kubelet/pkg/apis/podresources/v1`, of which only this is read:

    ListPodResourcesResponse  1 pod_resources
    PodResources              1 name  2 namespace  3 containers
    ContainerResources        1 name  2 devices  5 dynamic_resources
    ContainerDevices          1 resource_name  2 device_ids
    DynamicResource           4 claim_resources
    ClaimResource             2 driver_name  4 device_name
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final, NamedTuple

from exporter.readings import ReadFailedError
from exporter.sources.kubelet.devices import (
    DRA_DRIVER,
    Device,
    claimed_device,
    concerns_gpus,
    plugin_device,
    shown,
)
from exporter.sources.kubelet.protobuf import Message

DEVICES_MAX: Final = 1 << 16
"""GPUs given out on one host, replicas included."""

UNKNOWN_MAX: Final = 16
"""Ids that are not understood, kept to be shown."""

NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
"""What Kubernetes calls a namespace, a pod or a container (RFC 1123)."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """One device of one container. `resource` is the name it was asked for by, or the driver of a claim."""

    namespace: str
    pod: str
    container: str
    resource: str
    device: Device


class UnknownDevice(NamedTuple):
    """A device of which nobody can say which GPU it is, bounded to be shown."""

    resource: str
    identifier: str


@dataclass(frozen=True, slots=True)
class Allocations:
    """What a kubelet gave out, in its order. It says who asked for a device, not who uses it.

    A shared device, or a claim that several containers share, is told once for each of them.
    Older kubelets tell pods that have ended as well (kubernetes#119423): whoever joins these with running
    processes or pods leaves out a pod without a living container. Claims with admin access, as monitors have
    them, cannot be told apart.
    `unknown_count` counts all ids that were not understood, `unknown` shows the first few.
    """

    held: tuple[Allocation, ...] = ()
    unknown: tuple[UnknownDevice, ...] = ()
    unknown_count: int = 0


def allocations(reply: bytes) -> Allocations:
    """What a serialized ListPodResourcesResponse says of GPUs.

    Raises:
        ReadFailedError: `malformed`; `too_large`, more than a host can have.
    """
    held: dict[Allocation, None] = {}  # the same id twice in one container is one device
    unknown: list[UnknownDevice] = []
    count = 0
    for number, (container, resource, identifier, device) in enumerate(_devices(Message(reply))):
        if number >= DEVICES_MAX:
            raise ReadFailedError("too_large", f"more than {DEVICES_MAX} GPUs given out")
        if device is not None:
            held[Allocation(*container, resource, device)] = None
            continue
        count += 1
        if len(unknown) < UNKNOWN_MAX:
            unknown.append(UnknownDevice(shown(resource), shown(identifier)))
    return Allocations(tuple(held), tuple(unknown), count)


def located(told: Allocations, minors: Mapping[int, str]) -> Allocations:
    """The same with the UUID of each GPU that is told by its minor number, where `minors` knows it."""
    return replace(told, held=tuple(_located(allocation, minors) for allocation in told.held))


def _located(allocation: Allocation, minors: Mapping[int, str]) -> Allocation:
    device = allocation.device
    if device.minor is None or device.minor not in minors:
        return allocation
    return replace(allocation, device=replace(device, uuid=minors[device.minor]))


class _Container(NamedTuple):
    namespace: str
    pod: str
    container: str


class _Given(NamedTuple):
    """A device of a container, `None` where its id is not understood."""

    container: _Container
    resource: str
    identifier: str
    device: Device | None


def _devices(message: Message) -> Iterator[_Given]:
    for number, start, end in message.fields():
        if number == 1:
            yield from _of_pod(message, start, end)


def _of_pod(message: Message, start: int, end: int) -> Iterator[_Given]:
    pod = namespace = ""
    containers = []
    for number, begin, stop in message.fields(start, end):
        if number == 1:
            pod = message.text(begin, stop)
        elif number == 2:
            namespace = message.text(begin, stop)
        elif number == 3:
            containers.append((begin, stop))
    for begin, stop in containers:
        container = ""
        given = []
        for number, inner, outer in message.fields(begin, stop):
            if number == 1:
                container = message.text(inner, outer)
            elif number == 2:
                given.append(_of_plugin(message, inner, outer))
            elif number == 5:
                given.append(_of_claim(message, inner, outer))
        place = _Container(namespace, pod, container)
        for resource, identifier, device in chain.from_iterable(given):
            _check(place)
            yield _Given(place, resource, identifier, device)


def _of_plugin(message: Message, start: int, end: int) -> Iterator[tuple[str, str, Device | None]]:
    resource = ""
    identifiers = []
    for number, begin, stop in message.fields(start, end):
        if number == 1:
            resource = message.text(begin, stop)
        elif number == 2:
            identifiers.append((begin, stop))
    for begin, stop in identifiers:
        identifier = message.text(begin, stop)
        if concerns_gpus(resource, identifier):
            yield resource, identifier, plugin_device(resource, identifier)


def _of_claim(message: Message, start: int, end: int) -> Iterator[tuple[str, str, Device | None]]:
    for number, begin, stop in message.fields(start, end):
        if number != 4:
            continue
        driver = name = ""
        for part, inner, outer in message.fields(begin, stop):
            if part == 2:
                driver = message.text(inner, outer)
            elif part == 4:
                name = message.text(inner, outer)
        if driver == DRA_DRIVER:
            yield driver, name, claimed_device(name)


def _check(place: _Container) -> None:
    for name in place:
        if NAME.fullmatch(name) is None:
            raise ReadFailedError("malformed", f"a GPU held by {shown(name)!r}, which is no name")
