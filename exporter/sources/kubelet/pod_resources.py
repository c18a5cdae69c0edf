"""GPU allocations of containers, from the kubelet's PodResources API.

The messages are those of `k8s.io/kubelet/pkg/apis/podresources/v1`, of which only this is read:

    ListPodResourcesResponse  1 pod_resources
    PodResources              1 name  2 namespace  3 containers
    ContainerResources        1 name  2 devices  5 dynamic_resources
    ContainerDevices          1 resource_name  2 device_ids
    DynamicResource           4 claim_resources
    ClaimResource             2 driver_name  4 device_name
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from exporter import vendors
from exporter.clock import Clock
from exporter.readings import LABEL_CHARACTERS, ErrorCounts, FailureReason, QuickSource, ReadFailedError
from exporter.sources.http_client import Deadline
from exporter.sources.kubelet.protobuf import LENGTH, Field, Fields, Message
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds, seconds
from exporter.vendors import Device

DEVICES_MAX: Final = 1 << 16
"""GPU allocations on one host, replicas included."""

UNKNOWN_MAX: Final = 16
"""Unknown ids that are kept for `doctor`."""

NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
"""Names of Kubernetes for namespaces, pods and containers (RFC 1123)."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """One device of one container. `resource` is its resource name, or the driver of a claim."""

    namespace: str
    pod: str
    container: str
    resource: str
    device: Device


class UnknownDevice(NamedTuple):
    """A device whose GPU is unknown, bounded to be shown."""

    resource: str
    identifier: str


@dataclass(frozen=True, slots=True)
class Allocations:
    """Allocations of a kubelet, in its order: to which container a device is allocated, not which one uses
    it.

    A shared device, or a claim that several containers share, comes once for each of them.
    Older kubelets list pods that have ended (kubernetes#119423): discovery leaves out a pod without a running
    container. Claims with admin access, as monitors have them, look like any other: see `without_monitors`.
    `unknown_count` counts all unknown ids, `unknown` has the first few.
    `at` is the boot time of the request; `None` if unknown.
    """

    allocations: tuple[Allocation, ...] = ()
    unknown: tuple[UnknownDevice, ...] = ()
    unknown_count: int = 0
    at: Nanoseconds | None = field(default=None, compare=False)


_CLAIM: Final[Fields] = {2: Field("driver"), 4: Field("device")}
_CONTAINER: Final[Fields] = {
    1: Field("name"),
    2: Field("devices", {1: Field("resource"), 2: Field("ids", repeated=True)}, repeated=True),
    5: Field("dynamic", {4: Field("claims", _CLAIM, repeated=True)}, repeated=True),
}
_POD: Final[Fields] = {
    1: Field("name"),
    2: Field("namespace"),
    3: Field("containers", _CONTAINER, repeated=True),
}


def allocations(reply: bytes) -> Allocations:
    """GPU allocations of a serialized ListPodResourcesResponse.

    Raises:
        ReadFailedError: `malformed`; `too_large`, more than a host can have.
    """
    by_device: dict[Allocation, None] = {}  # the same id twice in one container is one device
    unknown: list[UnknownDevice] = []
    count = unknown_count = 0
    message = Message(reply)
    pods = (part for part in message.parts() if part.number == 1 and part.wire == LENGTH)
    for part in pods:
        pod = message.parse(_POD, part.start, part.end)
        for container in pod.get("containers", ()):
            owner = (pod.get("namespace", ""), pod.get("name", ""), container.get("name", ""))
            for resource, identifier, device in _devices(container):
                for name in owner:
                    if NAME.fullmatch(name) is None:
                        problem = f"a GPU held by {shown(name)!r}, which is no name"
                        raise ReadFailedError(FailureReason.MALFORMED, problem)
                count += 1
                if count > DEVICES_MAX:
                    raise ReadFailedError(FailureReason.TOO_LARGE, f"more than {DEVICES_MAX} GPUs given out")
                if device is not None:
                    by_device[Allocation(*owner, resource, device)] = None
                    continue
                unknown_count += 1
                if len(unknown) < UNKNOWN_MAX:
                    unknown.append(UnknownDevice(shown(resource), shown(identifier)))
    return Allocations(tuple(by_device), tuple(unknown), unknown_count)


def _devices(container: dict[str, Any]) -> Iterator[tuple[str, str, Device | None]]:
    """The GPUs of a container: resource or driver, id, and the device, `None` for an unknown id."""
    for given in container.get("devices", ()):
        resource = given.get("resource", "")
        for identifier in given.get("ids", ()):
            for vendor in vendors.VENDORS:
                if resource.startswith(vendor.resource_prefix) or vendor.is_id(identifier):
                    yield resource, identifier, vendor.plugin_device(resource, identifier)
                    break
    for dynamic in container.get("dynamic", ()):
        for claim in dynamic.get("claims", ()):
            name = claim.get("device", "")
            for vendor in vendors.VENDORS:
                if vendor.dra_driver and claim.get("driver", "") == vendor.dra_driver:
                    yield vendor.dra_driver, name, vendor.claimed_device(name)


def shown(identifier: str) -> str:
    """An id for people, bounded and on one line."""
    return "".join(c for c in identifier[: 2 * LABEL_CHARACTERS] if c.isprintable())[:LABEL_CHARACTERS]


def located(answer: Allocations, uuids: Mapping[str, str]) -> Allocations:
    """The allocations, with the UUID of each GPU whose device's name is in `uuids`."""
    return replace(
        answer,
        allocations=tuple(
            replace(allocation, device=replace(allocation.device, uuid=uuids[allocation.device.name]))
            if allocation.device.name in uuids
            else allocation
            for allocation in answer.allocations
        ),
    )


def without_monitors(given: Iterable[Allocation], own_pod: tuple[str, str] | None) -> tuple[Allocation, ...]:
    """The allocations without those of DRA claims with admin access, which hold nothing.

    The kubelet lists them like any other. The exporter's own, of all GPUs, is known by its pod. Another pod
    with all GPUs is a monitor too (gpu-operator's DCGM exporter) if a third has some of them: devices of
    workloads are theirs alone. While no third one has, it counts as their holder.

    Args:
        given: as the kubelet has them.
        own_pod: namespace and name of the exporter's pod.
    """
    given = tuple(given)
    drivers = {vendor.dra_driver for vendor in vendors.VENDORS}
    devices: dict[tuple[str, str], set[Device]] = {}
    for allocation in given:
        if allocation.resource in drivers:
            devices.setdefault((allocation.namespace, allocation.pod), set()).add(allocation.device)
    every = devices.pop(own_pod, set()) if own_pod else set()
    names = {device.name for device in every}
    workloads = any({device.name for device in claimed} < names for claimed in devices.values())
    monitors = {pod for pod, claimed in devices.items() if workloads and claimed == every}
    return tuple(
        allocation
        for allocation in given
        if (pod := (allocation.namespace, allocation.pod)) != own_pod
        and not (pod in monitors and allocation.resource in drivers)
    )


SOCKET: Final = Path("/var/lib/kubelet/pod-resources/kubelet.sock")
"""The kubelet recreates it at each start, so a container mounts its directory."""

METHOD: Final = "/v1.PodResourcesLister/List"

TIMEOUT_SECONDS: Final = 3.0
REPLY_BYTES_MAX: Final = 16 * 1024 * 1024

ALLOCATION_CACHE_TTL: Final[Nanoseconds] = 30 * NANOSECONDS_PER_SECOND
"""How long an answer is reused."""

BACKOFF_MIN: Final[Nanoseconds] = 10 * NANOSECONDS_PER_SECOND
BACKOFF_MAX: Final[Nanoseconds] = 300 * NANOSECONDS_PER_SECOND
"""Pauses after a refusal for too many requests, doubled each time. All clients share 100 requests a second
(kubernetes#116459): another client is then the one that exceeds it."""


def is_here(path: Path) -> bool:
    """Whether a kubelet has its folder on this host, or the folder may not be accessed.

    Then the read fails with `denied`, which is visible; without a read there would seem to be no kubelet.
    """
    try:
        path.parent.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


class PodResourcesSource(QuickSource):
    """The kubelet's pod resources, read from its socket; each request has its own connection.

    `keep` is how long an answer is reused. After a failure nothing is kept; discovery keeps the last answer
    through a restart of the kubelet.
    """

    name: Final = "kubelet"

    def __init__(
        self,
        clock: Clock,
        *,
        path: Path = SOCKET,
        timeout: float = TIMEOUT_SECONDS,
        keep: Nanoseconds = ALLOCATION_CACHE_TTL,
    ) -> None:
        self._clock = clock
        self._path = path
        self._timeout = timeout
        self._keep = keep
        self._cached: Allocations | None = None
        self._asked_at: Nanoseconds = 0
        self._pause: Nanoseconds = 0
        self.errors: ErrorCounts = ()
        """Unknown device ids of a read with a request: `unknown_device`."""

    @property
    def path(self) -> Path:
        """The socket."""
        return self._path

    def read(self) -> Allocations:
        """The allocations, at most `keep` old.

        Raises:
            ReadFailedError: `absent`, there is no socket; `denied`, no access; `refused`, nothing listens;
                `timeout`; `connection`, it broke off; `not_kubelet`, something else answers; `malformed`;
                `too_large`; `exhausted`, too many requests, or still in the pause after that; `starting`, it
                does not know its pods yet; `unimplemented`; `grpc_status`, any other refusal.
        """
        self.errors = ()
        now = self._clock.elapsed()
        if self._cached is None or now - self._asked_at >= self._keep:
            self._cached = None
            if self._pause and now - self._asked_at < self._pause:
                pause = f"{seconds(self._pause):g} s"
                raise ReadFailedError(
                    FailureReason.EXHAUSTED, f"{self._path}: asked too often, and again after {pause}"
                )
            self._asked_at = now
            self._cached = replace(self._call(), at=now)
            if self._cached.unknown_count:
                self.errors = (("unknown_device", self._cached.unknown_count),)
        return self._cached

    def _call(self) -> Allocations:
        from exporter.sources.kubelet.grpc import call  # noqa: PLC0415 - HTTP/2 takes memory: on first use

        deadline = Deadline(self._clock, self._timeout)
        try:
            answer = allocations(call(self._path, METHOD, deadline, REPLY_BYTES_MAX))
        except ReadFailedError as failure:
            exhausted = failure.reason is FailureReason.EXHAUSTED
            self._pause = min(2 * self._pause or BACKOFF_MIN, BACKOFF_MAX) if exhausted else 0
            raise
        self._pause = 0
        return answer
