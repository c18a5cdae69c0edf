"""GPU allocations of containers, from the kubelet's PodResources API."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import msgspec

from exporter import vendors
from exporter.clock import Clock
from exporter.readings import ErrorCounts, FailureReason, QuickSource, ReadFailedError, label
from exporter.sources.http_client import Deadline
from exporter.sources.kubelet import protobuf
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds
from exporter.vendors import Device

DEVICES_MAX: Final = 1 << 16
"""GPU allocations on one host, replicas included."""

UNKNOWN_MAX: Final = 16
"""Unknown ids that are kept for `doctor`."""

NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
"""Names of Kubernetes for namespaces, pods and containers (RFC 1123)."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """One device of one container."""

    namespace: str
    pod: str
    container: str
    resource: str
    """The resource name of the device, or the driver of a claim."""
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
    """

    allocations: tuple[Allocation, ...] = ()
    unknown: tuple[UnknownDevice, ...] = ()
    """The first few devices of unknown ids."""
    unknown_count: int = 0
    """Number of all devices of unknown ids."""
    at: Nanoseconds | None = field(default=None, compare=False)
    """Boot time of the request; `None` if unknown."""


class _ContainerDevices(msgspec.Struct):
    """Devices of one resource. The numbers are those of `k8s.io/kubelet/pkg/apis/podresources/v1`."""

    resource_name: Annotated[str, 1] = ""
    device_ids: Annotated[list[str], 2] = []


class _ClaimResource(msgspec.Struct):
    driver_name: Annotated[str, 2] = ""
    device_name: Annotated[str, 4] = ""


class _DynamicResource(msgspec.Struct):
    claim_resources: Annotated[list[_ClaimResource], 4] = []


class _ContainerResources(msgspec.Struct):
    name: Annotated[str, 1] = ""
    devices: Annotated[list[_ContainerDevices], 2] = []
    dynamic_resources: Annotated[list[_DynamicResource], 5] = []

    def gpus(self) -> Iterator[tuple[UnknownDevice, Device | None]]:
        """Each GPU as the kubelet names it, and as its vendor does; `None` for an unknown id."""
        for devices in self.devices:
            for identifier in devices.device_ids:
                named = UnknownDevice(devices.resource_name, identifier)
                for vendor in vendors.VENDORS:
                    if named.resource.startswith(vendor.resource_prefix) or vendor.is_id(identifier):
                        yield named, vendor.plugin_device(named.resource, identifier)
                        break
        claims = (claim for resource in self.dynamic_resources for claim in resource.claim_resources)
        drivers = {vendor.dra_driver: vendor for vendor in vendors.VENDORS if vendor.dra_driver}
        for claim in claims:
            if claim.driver_name in drivers:
                named = UnknownDevice(claim.driver_name, claim.device_name)
                yield named, drivers[claim.driver_name].claimed_device(claim.device_name)


class _PodResources(msgspec.Struct):
    name: Annotated[str, 1] = ""
    namespace: Annotated[str, 2] = ""
    containers: Annotated[list[_ContainerResources], 3] = []


def allocations(reply: bytes) -> Allocations:
    """GPU allocations of a serialized ListPodResourcesResponse.

    Raises:
        ReadFailedError: `malformed`; `too_large`, more than a host can have.
    """
    by_device: dict[Allocation, None] = {}  # the same id twice in one container is one device
    unknown: list[UnknownDevice] = []
    count = unknown_count = 0
    for pod in protobuf.messages(reply, _PodResources):
        for container in pod.containers:
            for named, device in container.gpus():
                for name in (pod.namespace, pod.name, container.name):
                    if NAME.fullmatch(name) is None:
                        problem = f"a GPU held by {label(name)!r}, which is no name"
                        raise ReadFailedError(FailureReason.MALFORMED, problem)
                count += 1
                if count > DEVICES_MAX:
                    raise ReadFailedError(FailureReason.TOO_LARGE, f"more than {DEVICES_MAX} GPUs given out")
                if device is None:
                    unknown_count += 1
                    if len(unknown) < UNKNOWN_MAX:
                        unknown.append(UnknownDevice(label(named.resource), label(named.identifier)))
                    continue
                allocation = Allocation(pod.namespace, pod.name, container.name, named.resource, device)
                by_device[allocation] = None
    return Allocations(tuple(by_device), tuple(unknown), unknown_count)


def with_uuids(answer: Allocations, uuids: Mapping[str, str]) -> Allocations:
    """The allocations, with the UUID of each GPU whose device's name is in `uuids`."""
    named = []
    for allocation in answer.allocations:
        device = allocation.device
        uuid = uuids.get(device.name, device.uuid)
        named.append(replace(allocation, device=replace(device, uuid=uuid)))
    return replace(answer, allocations=tuple(named))


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
    held_devices = []
    for allocation in given:
        pod = (allocation.namespace, allocation.pod)
        is_monitor = pod in monitors and allocation.resource in drivers
        if pod != own_pod and not is_monitor:
            held_devices.append(allocation)
    return tuple(held_devices)


SOCKET: Final = Path("/var/lib/kubelet/pod-resources/kubelet.sock")
"""The kubelet recreates it at each start, so a container mounts its directory."""

METHOD: Final = "/v1.PodResourcesLister/List"

TIMEOUT_SECONDS: Final = 3.0
REPLY_BYTES_MAX: Final = 16 * 1024 * 1024

ALLOCATION_CACHE_TTL: Final[Nanoseconds] = 30 * NANOSECONDS_PER_SECOND
"""How long an answer is reused. All clients of a kubelet share 100 requests a second (kubernetes#116459)."""


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
        self.path = path
        self._clock = clock
        self._timeout = timeout
        self._keep = keep
        self._cached: Allocations | None = None
        self.errors: ErrorCounts = ()
        """Unknown device ids of a read with a request: `unknown_device`."""

    def read(self) -> Allocations:
        """The allocations, at most `keep` old.

        Raises:
            ReadFailedError: as `grpc.call` and `allocations`.
        """
        from exporter.sources.kubelet.grpc import call  # noqa: PLC0415 - HTTP/2 takes memory: on first use

        self.errors = ()
        now = self._clock.elapsed()
        cached = self._cached
        if cached is not None and cached.at is not None and now - cached.at < self._keep:
            return cached
        self._cached = None
        deadline = Deadline(self._clock, self._timeout)
        answer = allocations(call(self.path, METHOD, deadline, REPLY_BYTES_MAX))
        self._cached = replace(answer, at=now)
        if answer.unknown_count:
            self.errors = (("unknown_device", answer.unknown_count),)
        return self._cached
