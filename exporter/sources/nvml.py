"""GPUs, as NVML tells them.

A tick costs one call for the count and seven for each GPU that answers everything: UUID, memory, power,
power limit, energy, and two for the ring of utilization samples (its length, then it).
Fan, PCIe throughput and graphics processes are never asked for: they take the driver's lock for milliseconds.
"""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from exporter.clock import Clock
from exporter.readings import Gpu, GpuReading, ReadFailedError, label
from exporter.sources.nvml_fields import Fields
from exporter.sources.nvml_inventory import LOST, Inventory, Slot
from exporter.sources.nvml_library import ENDED, NEEDS_REOPENING, CallFailedError, Library, reason
from exporter.sources.nvml_thread import StuckError, Worker
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds, seconds

TIMEOUT: Final[Nanoseconds] = 5 * NANOSECONDS_PER_SECOND
"""How long a read waits for NVML."""

GRACE: Final[Nanoseconds] = 2 * NANOSECONDS_PER_SECOND
"""How long closing waits for a call in flight: ending a process inside the driver has frozen GPUs."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one read brought. `newest` is the newest sample used, by UUID."""

    gpus: tuple[GpuReading, ...]
    newest: Mapping[str, int]
    errors: tuple[tuple[str, int], ...]


class NvmlSource:
    """All GPUs of this host.

    A GPU that is counted and does not answer is read as not `up`, under the identity it had;
    one that never answered has none and is left out.
    While a call hangs in the driver every read fails at once; there is never more than one thread.
    """

    def __init__(self, clock: Clock, timeout: Nanoseconds = TIMEOUT) -> None:
        self._clock = clock
        self._timeout = timeout
        self._worker = Worker("nvml", clock)
        self._library = Library(clock)
        self._inventory = Inventory(self._library, clock)
        self._fields = Fields(self._library)
        self._driver_version = ""
        self._slow: set[str] = set()
        self._newest: Mapping[str, int] = {}
        self._errors: tuple[tuple[str, int], ...] = ()
        self._closed = False

    @property
    def name(self) -> str:
        """The value of the `source` label."""
        return "nvml"

    @property
    def errors(self) -> tuple[tuple[str, int], ...]:
        """Failures that did not cost the last reading, by reason; empty after a failed one."""
        return self._errors

    def read(self) -> tuple[GpuReading, ...]:
        """Read every GPU once, within the timeout.

        Raises:
            ReadFailedError: `hung`; where NVML does not open (tried every 30 s) `library_missing`,
                `driver_not_loaded`, `no_permission` or `unknown`; else why its first calls failed.
            MustRestartError: the driver was replaced, or a container lost its devices for good.
        """
        self._errors = ()
        if self._closed:
            raise ReadFailedError("closed", "NVML was closed")
        newest = self._newest
        try:
            answer = self._worker.ask(lambda: self._read(newest), self._timeout)
        except StuckError:
            calling = self._library.calling
            waited = f"{seconds(self._timeout):g} s"
            raise ReadFailedError("hung", f"{calling} has not returned; a read waits {waited}") from None
        # Only what was delivered moves the marks: samples of a late answer belong to the next tick's mean.
        self._newest, self._errors = answer.newest, answer.errors
        return answer.gpus

    def close(self) -> None:
        """Close NVML, waiting at most 2 s for a call in flight; where that hangs NVML is left open."""
        if self._closed:
            return
        self._closed = True
        if self._worker.began and self._worker.settle(GRACE):
            with suppress(StuckError):  # the thread is a daemon: the process ends without it
                self._worker.ask(self._library.close, GRACE)
        self._worker.stop()

    def _read(self, newest: Mapping[str, int]) -> _Answer:
        """One read, on the thread."""
        self._inventory.errors.clear()
        self._fields.errors.clear()
        if self._library.open():
            self._inventory.expire()
            self._fields.expire()
            self._driver_version = ""
        try:
            self._driver_version = self._driver_version or self._version()
            read = [
                self._gpu(slot, slot.gpu, newest) for slot in self._inventory.slots() if slot.gpu is not None
            ]
        except CallFailedError as error:
            raise self._library.failure(error) from error
        return _Answer(
            gpus=tuple(reading for reading, _ in read),
            newest={reading.gpu.uuid: timestamp for reading, timestamp in read},
            errors=tuple(sorted(Counter(self._inventory.errors + self._fields.errors).items())),
        )

    def _gpu(self, slot: Slot, gpu: Gpu, newest: Mapping[str, int]) -> tuple[GpuReading, int]:
        mark = newest.get(gpu.uuid, 0)
        reading = GpuReading(
            gpu=gpu,
            index=slot.index,
            up=slot.handle is not None,
            pci_bus_id=slot.pci_bus_id,
            driver_version=self._driver_version,
        )
        if not reading.up:
            return reading, mark
        began = self._clock.elapsed()
        try:
            answer = self._fields.read(reading, slot.handle, mark)
        except CallFailedError as error:
            if error.code not in LOST:
                raise
            self._library.wants_reopening |= error.code in NEEDS_REOPENING
            self._inventory.lose(slot, reason(error.code))
            return replace(reading, up=False), mark
        if self._clock.elapsed() - began <= self._timeout:
            self._slow.discard(gpu.uuid)
        elif gpu.uuid not in self._slow:
            self._slow.add(gpu.uuid)  # once may be the driver's doing
        else:  # nobody waits that long for it, and it would silence the others
            self._slow.discard(gpu.uuid)
            self._inventory.lose(slot, "hung")
            return replace(reading, up=False), mark
        return answer

    def _version(self) -> str:
        try:
            return label(self._library.call("nvmlSystemGetDriverVersion"))
        except CallFailedError as error:
            if error.code in ENDED:
                raise
            return ""
