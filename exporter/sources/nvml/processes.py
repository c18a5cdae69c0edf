"""Processes that compute on a GPU, with their memory and utilization.

On a whole card the list is read at every tick.
On a card in MIG mode each instance is read, since the list of the card itself needs privileges; that is a
call or two for each instance, so the list is kept for up to 30 s there.
Graphics processes are never listed: that takes the driver's lock for milliseconds.
Utilization by process is nvmlDeviceGetProcessUtilization's. Its successor, `...GetProcessesUtilizationInfo`,
adds only JPEG and optical flow engines, and drivers before 550 do not have it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from exporter.clock import Clock
from exporter.readings import Gpu, GpuProcess, MigInstance
from exporter.sources.nvml.inventory import LARGEST_INTEGER, NvmlCapabilities
from exporter.sources.nvml.library import (
    ENDED,
    FUNCTION_NOT_FOUND,
    NOT_FOUND,
    CallFailedError,
    Library,
    reason,
)
from exporter.sources.nvml.mig import GONE, LOOK, Layout, Layouts
from exporter.units import NANOSECONDS_PER_MICROSECOND, Instant, Nanoseconds

CALL: Final = "nvmlDeviceGetProcessUtilization"

LEEWAY: Final = 1_000_000
"""Microseconds that a record may lie ahead of our clock; beyond it is not of this time."""


def usage(
    capabilities: NvmlCapabilities, gpu: Gpu, handle: Any, pids: set[int], mark: int | None, now: Instant
) -> tuple[dict[int, float] | None, int | None]:
    """Mean use of the multiprocessors by process, 0 to 1, since `mark`.

    Args:
        capabilities: of the GPUs.
        gpu: its identity.
        handle: of the GPU.
        pids: processes that compute now; others have ended.
        mark: timestamp of the newest record that was used before (microseconds), `None` for none.
        now: the calendar's time, which records are stamped with by most drivers; some count from boot.

    Returns:
        The means, and the newest record seen.
        Processes without a record are not in it; `None` where no record of any of them is new.
        The first read only finds where records stand: they may be of hours ago.

    Raises:
        CallFailedError: the GPU does not answer any more, or NVML has ended.
    """
    latest = now // NANOSECONDS_PER_MICROSECOND + LEEWAY
    first = mark is None or mark > latest  # the clock was set back: records would stay older for long
    since = 0 if mark is None or first else mark
    records = capabilities.query(gpu, CALL, handle, since, nothing=NOT_FOUND)
    if records is None:
        return None, mark
    fresh = [record for record in records if since < record.timeStamp <= latest]
    newest = max((record.timeStamp for record in fresh), default=since)
    percents: dict[int, list[int]] = {}
    for record in fresh:
        if record.pid in pids and record.smUtil <= 100:  # zombies have read as more
            percents.setdefault(record.pid, []).append(record.smUtil)
    if first or not percents:
        return None, newest
    return {pid: sum(values) / len(values) / 100 for pid, values in percents.items()}, newest


COMPUTE: Final = "nvmlDeviceGetComputeRunningProcesses"
MPS: Final = "nvmlDeviceGetMPSComputeRunningProcesses"
VERSIONS: Final = ("_v3", "_v2")
"""Their versions, newest first; without one `pynvml` hides which of them a driver lacks."""

OF_INSTANCES: Final = "processes of instances"
"""Name, among unsupported fields, of the lists of a card's instances."""

LARGEST_PID: Final = 2**22
"""PID_MAX_LIMIT of Linux. A zero is a process that this PID namespace does not see."""

LARGEST_COUNT: Final = 256
"""Processes of a GPU that are reported, those with the most memory first; others count as errors."""


class Entry(NamedTuple):
    """A process in a list."""

    pid: int
    memory_bytes: int | None
    instance: str
    """The UUID of its MIG instance, empty on a whole card."""


@dataclass(frozen=True, slots=True)
class _CachedProcesses:
    """A list, until when it stands, and for which layout."""

    processes: tuple[GpuProcess, ...]
    layout: Layout
    until: Nanoseconds


@dataclass(frozen=True, slots=True)
class _MpsRead:
    """Last read of the MPS clients of a GPU."""

    until: Nanoseconds
    """When they are read again."""
    pids: frozenset[int]
    """The processes of the GPU then."""
    has_clients: bool


class GpuProcesses:
    """Reads the processes of each GPU."""

    def __init__(
        self, library: Library, capabilities: NvmlCapabilities, layouts: Layouts, clock: Clock
    ) -> None:
        self._library = library
        self._capabilities = capabilities
        self._layouts = layouts
        self._clock = clock
        self._cached: dict[str, _CachedProcesses] = {}
        self._mps: dict[str, _MpsRead] = {}

    def retain(self, uuids: set[str]) -> None:
        """Forget all other GPUs."""
        for uuid in self._cached.keys() - uuids:
            del self._cached[uuid]
        for uuid in self._mps.keys() - uuids:
            del self._mps[uuid]

    def read(
        self, gpu: Gpu, handle: Any, layout: Layout, mark: int | None
    ) -> tuple[tuple[GpuProcess, ...] | None, int | None]:
        """The processes on one GPU.

        Args:
            gpu: its identity.
            handle: of the card.
            layout: of the card.
            mark: timestamp of the newest sample of use that was delivered (microseconds), `None` for none.

        Returns:
            The processes by pid, `None` where they cannot be listed; and the newest sample used now.

        Raises:
            CallFailedError: the GPU does not answer any more, or NVML has ended.
        """
        if layout.instances is not None:
            return self._of_instances(gpu, handle, layout), None
        entries = self._list(gpu, COMPUTE, handle)
        if entries is None:
            return None, mark
        clients = self._mps_clients(gpu, handle, frozenset(entry.pid for entry in entries)) if entries else []
        processes = self._bounded([*entries, *clients])
        # One process needs no division, and for MPS clients the driver has no utilization.
        if len(processes) < 2 or clients:
            return processes, None
        used, newest = usage(
            self._capabilities, gpu, handle, {process.pid for process in processes}, mark, self._clock.wall()
        )
        if used is None:
            return processes, newest
        return tuple(p._replace(sm_ratio=used.get(p.pid, 0.0)) for p in processes), newest

    def _list(
        self, gpu: Gpu, function: str, handle: Any, instances: Sequence[MigInstance] = ()
    ) -> list[Entry] | None:
        """A list of a card, `None` where it cannot be read. Without a matching instance a UUID is empty."""
        uuids = {(instance.gpu_instance, instance.compute_instance): instance.uuid for instance in instances}
        for version in VERSIONS:
            reply = self._capabilities.query(gpu, function + version, handle)
            if reply is not None:
                return [
                    Entry(
                        process.pid,
                        process.usedGpuMemory,
                        uuids.get((process.gpuInstanceId, process.computeInstanceId), ""),
                    )
                    for process in reply
                ]
            if not self._capabilities.lacks_function(gpu, function + version):
                return None
        return None

    def _mps_clients(self, gpu: Gpu, handle: Any, pids: frozenset[int]) -> list[Entry]:
        """Clients of MPS: every 30 s, when the processes changed, and always while there are any."""
        last = self._mps.get(gpu.uuid)
        now = self._clock.elapsed()
        if last is not None and not last.has_clients and last.pids == pids and now < last.until:
            return []
        clients = self._list(gpu, MPS, handle)
        newest, older = (MPS + version for version in VERSIONS)
        function = older if self._capabilities.lacks_function(gpu, newest) else newest
        if clients is None and not self._capabilities.is_unsupported(gpu, function):
            return []  # failed for now
        self._mps[gpu.uuid] = _MpsRead(now + LOOK, pids, bool(clients))
        return clients or []

    def _of_instances(self, gpu: Gpu, handle: Any, layout: Layout) -> tuple[GpuProcess, ...] | None:
        """The processes of all instances of a card."""
        cached = self._cached.get(gpu.uuid)
        now = self._clock.elapsed()
        if cached is not None and cached.layout is layout and now < cached.until:
            return cached.processes
        entries = None
        if not self._capabilities.is_unsupported(gpu, OF_INSTANCES):
            entries = self._instance_lists(gpu, layout)
        if self._capabilities.is_unsupported(gpu, OF_INSTANCES):
            entries = self._list(gpu, COMPUTE, handle, layout.instances or ())
        if entries is None:
            return None
        processes = self._bounded(entries)
        self._cached[gpu.uuid] = _CachedProcesses(processes, layout, now + LOOK)
        return processes

    def _instance_lists(self, gpu: Gpu, layout: Layout) -> list[Entry] | None:
        """The lists of all instances, `None` where one of them fails."""
        entries: list[Entry] = []
        for instance in layout.instances or ():
            part = layout.handles.get(instance.uuid)
            if part is None:  # not seen since NVML was opened again
                return None
            try:
                reply = self._of_instance(gpu, COMPUTE, part)
            except CallFailedError as error:
                if error.code in ENDED:
                    raise
                if error.code in GONE:
                    self._capabilities.errors.append(reason(error.code))
                    self._layouts.vanished(gpu)
                else:
                    self._capabilities.note(gpu, error, OF_INSTANCES)
                return None
            if reply and not self._capabilities.is_unsupported(gpu, MPS):
                try:
                    reply = [*reply, *self._of_instance(gpu, MPS, part)]
                except CallFailedError as error:
                    if error.code in ENDED:
                        raise
                    self._capabilities.note(gpu, error, MPS)
            entries += [Entry(process.pid, process.usedGpuMemory, instance.uuid) for process in reply]
        return entries

    def _of_instance(self, gpu: Gpu, function: str, part: Any) -> list[Any]:
        """A list of one instance, by the newest version that the driver has."""
        newest, older = (function + version for version in VERSIONS)
        if not self._capabilities.lacks_function(gpu, newest):
            try:
                return list(self._library.call(newest, part))
            except CallFailedError as error:
                if error.code != FUNCTION_NOT_FOUND:
                    raise
                self._capabilities.note(gpu, error, newest)
        return list(self._library.call(older, part))

    def _bounded(self, entries: Iterable[Entry]) -> tuple[GpuProcess, ...]:
        """One entry for each pid and instance, with the larger memory; pids that cannot be are left out."""
        by_process: dict[tuple[int, str], int | None] = {}
        """Memory by pid and instance."""
        for entry in entries:
            if not 0 < entry.pid <= LARGEST_PID:
                self._capabilities.errors.append("implausible")
                continue
            memory = by_process.setdefault((entry.pid, entry.instance), None)
            if entry.memory_bytes is not None and (memory or 0) <= entry.memory_bytes <= LARGEST_INTEGER:
                by_process[entry.pid, entry.instance] = entry.memory_bytes
        most = sorted(by_process, key=lambda process: (-(by_process[process] or 0), process))
        self._capabilities.errors += ["too_many"] * len(most[LARGEST_COUNT:])
        return tuple(
            GpuProcess(pid, by_process[pid, instance], instance=instance)
            for pid, instance in sorted(most[:LARGEST_COUNT])
        )
