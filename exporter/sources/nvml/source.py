"""All GPUs of this host, read by NVML.

A tick costs one call for the count and for each GPU that answers everything:
- five for UUID, memory, power, power limit and energy;
- two for its utilization, by GPM or from the ring of samples (its length, then it);
- one for the list of processes, two where it is not empty (its length, then it);
- two for the utilization of each process, only where several share the GPU.
A card in MIG mode has two for the utilization of each GPU instance, by GPM, and none for its own.
Every 30 s its layout is read, and the list of each instance.
Every 30 s the MPS clients of a GPU with processes are read.
Fan, PCIe throughput and graphics processes are never read: they take the driver's lock for milliseconds.
"""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from exporter.clock import Clock
from exporter.readings import ErrorCounts, FailureReason, Gpu, GpuReading, QuickSource, ReadFailedError, label
from exporter.sources.nvml.fields import Gpm, GpuFields
from exporter.sources.nvml.inventory import LOST, NvmlCapabilities, NvmlGpu, NvmlInventory
from exporter.sources.nvml.library import (
    ENDED,
    NEEDS_REOPENING,
    CallFailedError,
    Library,
    StuckError,
    Worker,
    reason,
)
from exporter.sources.nvml.mig import Layouts
from exporter.sources.nvml.processes import GpuProcesses
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds, seconds
from exporter.vendors import NVIDIA

TIMEOUT: Final[Nanoseconds] = 5 * NANOSECONDS_PER_SECOND
"""How long a read waits for NVML."""

GRACE: Final[Nanoseconds] = 2 * NANOSECONDS_PER_SECOND
"""How long closing waits for a call in flight: ending a process inside the driver has frozen GPUs."""


class _SampleMarks(NamedTuple):
    """The newest samples used of one GPU: of its ring (0: none) and its processes (`None`: none)."""

    ring: int = 0
    processes: int | None = None


@dataclass(frozen=True, slots=True)
class _NvmlRead:
    """Result of one read. `marks` are by UUID."""

    gpus: tuple[GpuReading, ...]
    marks: Mapping[str, _SampleMarks]
    errors: ErrorCounts


class NvmlSource(QuickSource):
    """All GPUs of this host.

    A GPU that is counted and does not answer is read as not `up`, under the identity it had;
    one that never answered has none and is left out.
    While a call hangs in the driver every read fails at once; there is never more than one thread.
    """

    vendor: Final = NVIDIA
    name: Final = NVIDIA.source

    def __init__(self, clock: Clock, timeout: Nanoseconds = TIMEOUT) -> None:
        self._clock = clock
        self._timeout = timeout
        self._worker = Worker(self.name, clock)
        self._library = Library(clock)
        self._inventory = NvmlInventory(self._library, clock)
        self._capabilities = NvmlCapabilities(self._library, clock)
        self._layouts = Layouts(self._library, self._capabilities, clock)
        self._gpm = Gpm(self._library, self._capabilities, self._layouts, clock)
        self._fields = GpuFields(self._capabilities, self._gpm)
        self._processes = GpuProcesses(self._library, self._capabilities, self._layouts, clock)
        self._driver_version = ""
        self._slow: set[str] = set()
        self._marks: Mapping[str, _SampleMarks] = {}
        self.errors: ErrorCounts = ()
        """Partial failures of the last reading; empty after a failed one."""
        self._closed = False

    def read(self) -> tuple[GpuReading, ...]:
        """Read every GPU once, within the timeout.

        Raises:
            ReadFailedError: `hung`; where NVML does not open (tried every 30 s)
                `library_missing`, `driver_not_loaded`, `no_permission` or `unknown`; else why its first calls
                failed.
            MustRestartError: the driver was replaced, or a container lost its devices for good.
        """
        self.errors = ()
        if self._closed:
            raise ReadFailedError(FailureReason.CLOSED, "NVML was closed")
        marks = self._marks
        try:
            answer = self._worker.run(lambda: self._read(marks), self._timeout)
        except StuckError:
            calling = self._library.calling
            waited = f"{seconds(self._timeout):g} s"
            raise ReadFailedError(
                FailureReason.HUNG, f"{calling} has not returned; a read waits {waited}"
            ) from None
        # Only what was delivered moves the marks: samples of a late answer belong to the next tick's mean.
        self._marks, self.errors = answer.marks, answer.errors
        return answer.gpus

    def close(self) -> None:
        """Close NVML, waiting at most 2 s for a call in flight; where that hangs NVML is left open."""
        if self._closed:
            return
        self._closed = True
        if self._worker.began and self._worker.settle(GRACE):
            with suppress(StuckError):  # the thread is a daemon: the process ends without it
                self._worker.run(self._library.close, GRACE)
        self._worker.stop()

    def _read(self, marks: Mapping[str, _SampleMarks]) -> _NvmlRead:
        """One read, on the thread."""
        self._inventory.errors.clear()
        self._capabilities.begin_read()
        if self._library.open():
            for memory in (self._inventory, self._capabilities, self._layouts, self._gpm):
                memory.expire()
            self._driver_version = ""
        try:
            if not self._driver_version:
                try:
                    self._driver_version = label(self._library.call("nvmlSystemGetDriverVersion"))
                except CallFailedError as error:
                    if error.code in ENDED:
                        raise
            nvml_gpus = self._inventory.gpus()
            for per_gpu in (self._layouts, self._gpm, self._processes):
                per_gpu.retain({nvml_gpu.uuid for nvml_gpu in nvml_gpus})
            read = [
                self._gpu(nvml_gpu, nvml_gpu.gpu, marks.get(nvml_gpu.uuid, _SampleMarks()))
                for nvml_gpu in nvml_gpus
                if nvml_gpu.gpu is not None
            ]
        except CallFailedError as error:
            raise self._library.failure(error) from error
        return _NvmlRead(
            gpus=tuple(reading for reading, _ in read),
            marks={reading.gpu.uuid: mark for reading, mark in read},
            errors=tuple(sorted(Counter(self._inventory.errors + self._capabilities.errors).items())),
        )

    def _gpu(self, nvml_gpu: NvmlGpu, gpu: Gpu, mark: _SampleMarks) -> tuple[GpuReading, _SampleMarks]:
        reading = GpuReading(
            gpu=gpu,
            index=nvml_gpu.index,
            up=nvml_gpu.handle is not None,
            pci_bus_id=nvml_gpu.pci_bus_id,
            driver_version=self._driver_version,
            device=nvml_gpu.device,
        )
        if not reading.up:
            return reading, mark
        began = self._clock.elapsed()
        try:
            handle = nvml_gpu.handle
            layout = self._layouts.read(gpu, handle)
            filled, ring = self._fields.read(reading, handle, mark.ring, cut=layout.instances is not None)
            processes, used = self._processes.read(gpu, handle, layout, mark.processes)
            instances = self._gpm.instances(gpu, handle, layout)
        except CallFailedError as error:
            if error.code not in LOST:
                raise
            self._library.wants_reopening |= error.code in NEEDS_REOPENING
            self._inventory.lose(nvml_gpu, reason(error.code))
            return replace(reading, up=False), mark
        if self._clock.elapsed() - began <= self._timeout:
            self._slow.discard(gpu.uuid)
        elif gpu.uuid not in self._slow:
            self._slow.add(gpu.uuid)  # once may be the driver's doing
        else:  # no read waits that long, and the GPU would delay the others
            self._slow.discard(gpu.uuid)
            self._inventory.lose(nvml_gpu, FailureReason.HUNG)
            return replace(reading, up=False), mark
        filled = replace(filled, mig_profile=layout.profile, instances=instances, processes=processes)
        return filled, _SampleMarks(ring, used)
