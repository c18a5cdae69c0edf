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
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

from exporter.clock import Clock
from exporter.readings import LABEL_CHARACTERS, ErrorCounts, FailureReason, QuickSource, ReadFailedError
from exporter.sources.http_client import Deadline
from exporter.sources.kubelet.protobuf import Message
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds, seconds

UUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
INDEX: Final = r"[0-9]{1,4}"

# NVIDIA's device plugin: `GPU-<uuid>` whatever its DEVICE_ID_STRATEGY, `::<n>` appended for each replica
# under time-slicing and MPS (rm.AnnotatedID). Before driver 470 a MIG device was `MIG-GPU-<uuid>/<gi>/<ci>`.
PLUGIN: Final = re.compile(
    rf"(?:(?P<gpu>GPU-{UUID})|(?P<mig>MIG-{UUID})|(?P<old>MIG-(?P<parent>GPU-{UUID})/(?P<gi>{INDEX})/{INDEX}))"
    rf"(?:::(?P<replica>{INDEX}))?"
)

# GKE's device plugin names device files, and shares them as `vgpu` (its gpusharing package).
GKE: Final = re.compile(rf"nvidia(?P<minor>{INDEX})(?:/gi(?P<gi>{INDEX}))?(?:/vgpu(?P<replica>{INDEX}))?")

# NVIDIA's DRA driver (mig.go): gpu-<minor>-mig-<profile, no dot>-<profile id>-<start>. Before, it had
# gpu-<minor>-mig-<profile id>-<start>-<size>. A card that is passed through to a machine is gpu-vfio-<n>, and
# not one that NVML sees.
DRA: Final = re.compile(
    rf"gpu-(?P<minor>{INDEX})(?:-mig-(?:(?:[0-9]c)?[0-9]{{1,2}}g[0-9]+gb[a-z0-9-]*-(?P<profile>{INDEX})-(?P<start>{INDEX})"
    rf"|(?P<old_profile>{INDEX})-(?P<old_start>{INDEX})-{INDEX}))?"
)

EVERY: Final = "all"
"""The one device that NVIDIA's plugin has on WSL."""

NVIDIA: Final = "nvidia.com/"
"""Prefix of the resources of NVIDIA's and Google's device plugins, and of network cards of NVIDIA's."""

DRA_DRIVER: Final = "gpu.nvidia.com"


class Placement(NamedTuple):
    """A GPU instance as nvmlGpuInstanceInfo_t places it: the id of its profile, and its first slice."""

    profile: int
    start: int


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU, or one MIG device, as far as its id has it.

    `uuid` is the GPU's; empty where the id has only its `minor` number (/dev/nvidia<minor>, NVML's
    nvmlDeviceGetMinorNumber) or the UUID of a MIG device.
    A MIG device has one of `mig_uuid` as NVML spells it, `gpu_instance` (the id on its GPU), and `placement`.
    `replica` distinguishes the shares of a shared device, and is `None` for one that is not shared. `every`
    means all GPUs of the host.
    """

    uuid: str = ""
    minor: int | None = None
    mig_uuid: str = ""
    gpu_instance: int | None = None
    placement: Placement | None = None
    replica: int | None = None
    every: bool = False


def concerns_gpus(resource: str, identifier: str) -> bool:
    """Whether an id may be of a GPU, not of a device of another kind."""
    return resource.startswith(NVIDIA) or identifier.startswith(("GPU-", "MIG-"))


def plugin_device(resource: str, identifier: str) -> Device | None:
    """The device of a device plugin's id; `None` if unknown.

    UUIDs are accepted under any resource, since plugins may rename theirs.
    """
    if match := PLUGIN.fullmatch(identifier):
        return Device(
            uuid=match["gpu"] or match["parent"] or "",
            mig_uuid=match["mig"] or match["old"] or "",
            gpu_instance=_number(match["gi"]),
            replica=_number(match["replica"]),
        )
    if not resource.startswith(NVIDIA):
        return None
    if identifier == EVERY:
        return Device(every=True)
    if match := GKE.fullmatch(identifier):
        return Device(
            minor=int(match["minor"]),
            gpu_instance=_number(match["gi"]),
            replica=_number(match["replica"]),
        )
    return None


def claimed_device(name: str) -> Device | None:
    """The device of a name of the driver `gpu.nvidia.com`; `None` if unknown."""
    match = DRA.fullmatch(name)
    if match is None:
        return None
    profile = _number(match["profile"] or match["old_profile"])
    start = _number(match["start"] or match["old_start"])
    placement = None if profile is None or start is None else Placement(profile, start)
    return Device(minor=int(match["minor"]), placement=placement)


def shown(identifier: str) -> str:
    """An id for people, bounded and on one line."""
    return "".join(c for c in identifier[: 2 * LABEL_CHARACTERS] if c.isprintable())[:LABEL_CHARACTERS]


def _number(digits: str | None) -> int | None:
    return None if digits is None else int(digits)


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


def allocations(reply: bytes) -> Allocations:
    """GPU allocations of a serialized ListPodResourcesResponse.

    Raises:
        ReadFailedError: `malformed`; `too_large`, more than a host can have.
    """
    by_device: dict[Allocation, None] = {}  # the same id twice in one container is one device
    unknown: list[UnknownDevice] = []
    count = 0
    for number, (container, resource, identifier, device) in enumerate(_devices(Message(reply))):
        if number >= DEVICES_MAX:
            raise ReadFailedError(FailureReason.TOO_LARGE, f"more than {DEVICES_MAX} GPUs given out")
        if device is not None:
            by_device[Allocation(*container, resource, device)] = None
            continue
        count += 1
        if len(unknown) < UNKNOWN_MAX:
            unknown.append(UnknownDevice(shown(resource), shown(identifier)))
    return Allocations(tuple(by_device), tuple(unknown), count)


def located(answer: Allocations, minors: Mapping[int, str]) -> Allocations:
    """The allocations, with the UUID of each GPU whose minor number is in `minors`."""
    return replace(
        answer, allocations=tuple(_located(allocation, minors) for allocation in answer.allocations)
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
    devices: dict[tuple[str, str], set[Device]] = {}
    for allocation in given:
        if allocation.resource == DRA_DRIVER:
            devices.setdefault((allocation.namespace, allocation.pod), set()).add(allocation.device)
    every = devices.pop(own_pod, set()) if own_pod else set()
    minors = {device.minor for device in every}
    workloads = any({device.minor for device in claimed} < minors for claimed in devices.values())
    monitors = {pod for pod, claimed in devices.items() if workloads and claimed == every}
    return tuple(
        allocation
        for allocation in given
        if (pod := (allocation.namespace, allocation.pod)) != own_pod
        and not (pod in monitors and allocation.resource == DRA_DRIVER)
    )


def _located(allocation: Allocation, minors: Mapping[int, str]) -> Allocation:
    device = allocation.device
    if device.minor is None or device.minor not in minors:
        return allocation
    return replace(allocation, device=replace(device, uuid=minors[device.minor]))


class _AllocatedContainer(NamedTuple):
    namespace: str
    pod: str
    container: str


class _AllocatedDevice(NamedTuple):
    """A device of a container, `None` where its id is unknown."""

    container: _AllocatedContainer
    resource: str
    identifier: str
    device: Device | None


def _devices(message: Message) -> Iterator[_AllocatedDevice]:
    for number, start, end in message.fields():
        if number == 1:
            yield from _of_pod(message, start, end)


def _of_pod(message: Message, start: int, end: int) -> Iterator[_AllocatedDevice]:
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
        owner = _AllocatedContainer(namespace, pod, container)
        for resource, identifier, device in chain.from_iterable(given):
            _check(owner)
            yield _AllocatedDevice(owner, resource, identifier, device)


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


def _check(owner: _AllocatedContainer) -> None:
    for name in owner:
        if NAME.fullmatch(name) is None:
            raise ReadFailedError(FailureReason.MALFORMED, f"a GPU held by {shown(name)!r}, which is no name")


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

    `minors` gives the UUIDs of GPUs by minor number at every read: GKE and DRA name GPUs by number. `keep`
    is how long an answer is reused. After a failure nothing is kept; discovery keeps the last answer through
    a restart of the kubelet.
    """

    name: Final = "kubelet"

    def __init__(
        self,
        clock: Clock,
        minors: Callable[[], Mapping[int, str]] = dict,
        *,
        path: Path = SOCKET,
        timeout: float = TIMEOUT_SECONDS,
        keep: Nanoseconds = ALLOCATION_CACHE_TTL,
    ) -> None:
        self._clock = clock
        self._minors = minors
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
        return located(self._cached, self._minors())

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
