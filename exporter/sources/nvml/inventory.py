"""The GPUs of this host by NVML, and the calls that each of them supports."""

import logging
from dataclasses import dataclass, replace
from typing import Any, Final

from exporter.clock import Clock
from exporter.readings import FailureReason, Gpu, ReadFailedError, label
from exporter.sources.nvml.library import (
    ARGUMENT_VERSION_MISMATCH,
    ENDED,
    FUNCTION_NOT_FOUND,
    GPU_IS_LOST,
    NEEDS_REOPENING,
    NO_PERMISSION,
    NOT_SUPPORTED,
    REOPEN,
    RETRY,
    SUCCESS,
    CallFailedError,
    Library,
    reason,
)
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Nanoseconds
from exporter.vendors.nvidia import device_name

LARGEST_COUNT: Final = 128
"""More GPUs than any host has; a larger count is not a reading."""

LARGEST_MINOR: Final = 2**20
"""Device numbers of Linux have 20 bits for it."""

SLOW: Final[Nanoseconds] = NANOSECONDS_PER_SECOND
"""A slower search for GPUs is repeated ever less often while one stays lost."""

LOST: Final = NEEDS_REOPENING | {GPU_IS_LOST}
"""Codes after which a handle is of no use."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NvmlGpu:
    """One counted GPU."""

    index: int
    gpu: Gpu | None
    """Its identity, the last one where it cannot be read; `None` if it never answered."""
    pci_bus_id: str = ""
    handle: Any = None
    """`None` where it cannot be read."""
    reason: FailureReason = FailureReason.OTHER
    """Why it cannot be read."""
    device: str = ""
    """The name of its device file."""

    @property
    def uuid(self) -> str:
        """Empty where the GPU never answered."""
        return "" if self.gpu is None else self.gpu.uuid


class NvmlInventory:
    """The GPUs of this host, looked for again when the count or a UUID changes, or one is lost for 30 s."""

    def __init__(self, library: Library, clock: Clock) -> None:
        self._library = library
        self._clock = clock
        self._gpus: list[NvmlGpu] = []
        self._fresh = False
        self._probe_at: Nanoseconds = 0
        self._patience: Nanoseconds = RETRY
        self.errors: list[str] = []
        """Reasons of the failed calls since it was last emptied."""

    def expire(self) -> None:
        """NVML was opened again: handles are void; identities are kept, to find missing GPUs."""
        self._fresh = False

    def gpus(self) -> tuple[NvmlGpu, ...]:
        """All counted GPUs, by index.

        Raises:
            CallFailedError: NVML has ended, or the count fails.
            ReadFailedError: GPUs are counted, and not one of them ever answered.
        """
        count = self._library.call("nvmlDeviceGetCount")
        if count > LARGEST_COUNT:
            raise ReadFailedError(FailureReason.IMPLAUSIBLE, f"NVML counts {count} GPUs")
        probe = (
            any(nvml_gpu.handle is None for nvml_gpu in self._gpus)
            and self._clock.elapsed() >= self._probe_at
        )
        if not self._fresh or count != len(self._gpus) or probe or not self._same():
            self._look(count)
        if self._gpus and all(nvml_gpu.gpu is None for nvml_gpu in self._gpus):
            raise ReadFailedError(self._gpus[0].reason, f"NVML counts {count} GPUs and lets none be read")
        return tuple(self._gpus)

    def lose(self, nvml_gpu: NvmlGpu, why: FailureReason) -> None:
        """Leave a GPU alone for 30 s, because it stopped answering."""
        self.errors.append(why)
        self._probe_at = self._clock.elapsed() + self._patience
        self._gpus[nvml_gpu.index] = replace(nvml_gpu, handle=None, reason=why)
        log.warning("gpu unreadable", extra=_log_keys(nvml_gpu, why))

    def _same(self) -> bool:
        """Whether each handle still leads to the GPU that it was got for."""
        for nvml_gpu in self._gpus:
            if nvml_gpu.handle is None or nvml_gpu.gpu is None:
                continue
            try:
                uuid = self._library.call("nvmlDeviceGetUUID", nvml_gpu.handle)
            except CallFailedError as error:
                if error.code not in LOST:
                    self._note(error)
                else:
                    self._library.wants_reopening |= error.code in NEEDS_REOPENING
                    self.lose(nvml_gpu, reason(error.code))
            else:
                if label(uuid) != nvml_gpu.gpu.uuid:
                    return False
        return True

    def _look(self, count: int) -> None:
        began = self._clock.elapsed()
        before_by_uuid = {nvml_gpu.uuid: nvml_gpu for nvml_gpu in self._gpus if nvml_gpu.gpu is not None}
        gpus = [self._identify(index, before_by_uuid) for index in range(count)]
        uuids: set[str] = set()
        for index, nvml_gpu in enumerate(gpus):
            if nvml_gpu.uuid in uuids:  # two handles for one GPU would bill it twice
                self.errors.append(FailureReason.DUPLICATE)
                gpus[index] = NvmlGpu(index, None, reason=FailureReason.DUPLICATE)
            elif nvml_gpu.gpu is not None:
                uuids.add(nvml_gpu.uuid)
        missing = [nvml_gpu for uuid, nvml_gpu in before_by_uuid.items() if uuid not in uuids]
        for index, nvml_gpu in enumerate(gpus):
            if nvml_gpu.gpu is not None or nvml_gpu.reason == FailureReason.DUPLICATE or not missing:
                continue
            # Which known GPU it is: by PCI address, else by having been lost before, else by index.
            known = max(
                missing,
                key=lambda candidate: (
                    bool(nvml_gpu.pci_bus_id) and candidate.pci_bus_id == nvml_gpu.pci_bus_id,
                    candidate.handle is None,
                    candidate.index == nvml_gpu.index,
                ),
            )
            missing.remove(known)
            gpus[index] = replace(nvml_gpu, gpu=known.gpu, pci_bus_id=known.pci_bus_id, device=known.device)
        for nvml_gpu in gpus:
            before = before_by_uuid.get(nvml_gpu.uuid)
            if before is not None and (before.handle is None) != (nvml_gpu.handle is None):
                if nvml_gpu.handle is None:
                    log.warning("gpu unreadable", extra=_log_keys(nvml_gpu, nvml_gpu.reason))
                else:
                    log.warning("gpu readable again", extra=_log_keys(nvml_gpu))
        self._gpus = gpus
        self._fresh = True
        ended = self._clock.elapsed()
        # A GPU that blocks each call (45 s for a dead GSP) delays the others while it is searched.
        slow = ended - began > SLOW and any(nvml_gpu.handle is None for nvml_gpu in gpus)
        self._patience = min(2 * self._patience, REOPEN) if slow else RETRY
        self._probe_at = ended + self._patience

    def _identify(self, index: int, before_by_uuid: dict[str, NvmlGpu]) -> NvmlGpu:
        """Identity of the GPU at an index; without a handle if it does not answer."""
        pci_bus_id = ""
        try:
            handle = self._library.call("nvmlDeviceGetHandleByIndex", index)
            pci_bus_id = self._text("nvmlDeviceGetPciInfo", handle)
            uuid = label(self._library.call("nvmlDeviceGetUUID", handle))
        except CallFailedError as error:
            self._note(error)
            return NvmlGpu(index, None, pci_bus_id, reason=reason(error.code))
        if not uuid:
            self.errors.append(FailureReason.GARBLED)
            return NvmlGpu(index, None, pci_bus_id, reason=FailureReason.GARBLED)
        before = before_by_uuid.get(uuid)
        model = before.gpu.gpu_model if before is not None and before.gpu is not None else ""
        gpu = Gpu(uuid, model or self._text("nvmlDeviceGetName", handle))
        device = ""
        try:
            minor: int = self._library.call("nvmlDeviceGetMinorNumber", handle)
            device = device_name(minor) if minor < LARGEST_MINOR else ""
        except CallFailedError as error:
            if error.code != NOT_SUPPORTED:  # without a device file (WSL) it is no failure
                self._note(error)
        return NvmlGpu(index, gpu, pci_bus_id, handle, device=device)

    def _text(self, function: str, handle: Any) -> str:
        """A text about a GPU; empty where the call fails."""
        try:
            reply = self._library.call(function, handle)
            text = reply if isinstance(reply, str) else reply.busId
            return label(text.decode() if isinstance(text, bytes) else text)
        except CallFailedError as error:
            self._note(error)
        except UnicodeDecodeError:  # struct members are decoded when they are read
            self.errors.append(FailureReason.GARBLED)
        return ""

    def _note(self, error: CallFailedError) -> None:
        """Count a failed call that costs one answer; one that ends NVML goes on up."""
        if error.code in ENDED:
            raise error
        self._library.wants_reopening |= error.code in NEEDS_REOPENING
        self.errors.append(reason(error.code))


def _log_keys(nvml_gpu: NvmlGpu, problem: str = "") -> dict[str, str]:
    keys = {"uuid": nvml_gpu.uuid, "pci_bus_id": nvml_gpu.pci_bus_id}
    return {**keys, "problem": problem} if problem else keys


UNSUPPORTED: Final = frozenset({NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND, ARGUMENT_VERSION_MISMATCH})
"""Codes that seldom change before NVML is opened again; the call is made again then, or after an hour."""

UNSUPPORTED_FOR: Final[Nanoseconds] = NANOSECONDS_PER_HOUR
"""A refusal may have been a moment's: of a counter of energy it would leave integrated power for good."""

LARGEST_INTEGER: Final = 2**63 - 1
"""Sentinels and wrecked counters lie above; what is counted for years does not."""


class NvmlCapabilities:
    """Calls about GPUs, and the calls that each GPU does not support."""

    def __init__(self, library: Library, clock: Clock) -> None:
        self._library = library
        self._clock = clock
        self._unsupported: dict[tuple[str, str], int] = {}
        self._logged: set[tuple[str, str]] = set()
        self._expires_at: Nanoseconds = 0
        self.errors: list[str] = []
        """Reasons of the calls that failed for now, since it was last emptied."""

    def begin_read(self) -> None:
        """Forget the errors of the last read, and after an hour what is unsupported."""
        self.errors.clear()
        now = self._clock.elapsed()
        if now >= self._expires_at:
            self._expires_at = now + UNSUPPORTED_FOR
            self._unsupported.clear()

    def expire(self) -> None:
        """NVML was opened again: another driver may support more."""
        self._unsupported.clear()
        self._logged.clear()

    def is_unsupported(self, gpu: Gpu, field: str) -> bool:
        """Whether a GPU is known not to support a field."""
        return (gpu.uuid, field) in self._unsupported

    def lacks_function(self, gpu: Gpu, function: str) -> bool:
        """Whether the driver is known to lack a function, so that an older one may work."""
        return self._unsupported.get((gpu.uuid, function)) == FUNCTION_NOT_FOUND

    def query(
        self, gpu: Gpu, function: str, *arguments: object, field: str = "", nothing: int | None = None
    ) -> Any:
        """One call's answer, `None` where there is none.

        Args:
            gpu: the GPU of the call.
            function: of pynvml.
            arguments: of the function.
            field: a name for the call, where a function has several uses.
            nothing: a code that means an empty answer, `()`.
                Success is another: where the length of a list is 0, `pynvml` raises that.

        Raises:
            CallFailedError: the GPU does not answer any more, or NVML has ended.
        """
        if self.is_unsupported(gpu, field or function):
            return None
        try:
            return self._library.call(function, *arguments)
        except CallFailedError as error:
            if error.code in ENDED or error.code in LOST:
                raise
            if nothing is not None and error.code in {nothing, SUCCESS}:
                return ()
            self.note(gpu, error, field or function)
            return None

    def note(self, gpu: Gpu, error: CallFailedError, field: str) -> None:
        """Note a failure that costs one field: permanently if unsupported, else it is counted."""
        if error.code not in UNSUPPORTED:
            self.errors.append(reason(error.code))
        elif not self.is_unsupported(gpu, field):
            self._unsupported[gpu.uuid, field] = error.code
            if error.code == NO_PERMISSION and (gpu.uuid, field) not in self._logged:
                self._logged.add((gpu.uuid, field))
                log.warning("nvml call unsupported", extra={"uuid": gpu.uuid, "problem": str(error)})
