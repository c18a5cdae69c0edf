"""MIG layouts: the instances of each card.

A layout is read every 30 s, and at the next read after an instance stops answering.
The fields of an instance never change, and are read once.
NVML may go on listing instances that were destroyed until it is opened again (NVIDIA/libcudacxx#224).
"""

import logging
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from exporter.clock import Clock
from exporter.readings import Gpu, MigInstance, label
from exporter.sources.nvml.inventory import LOST, UNSUPPORTED, NvmlCapabilities
from exporter.sources.nvml.library import (
    ENDED,
    GARBLED,
    INVALID_ARGUMENT,
    NOT_FOUND,
    CallFailedError,
    Library,
    reason,
)
from exporter.units import BYTES_PER_GIBIBYTE, BYTES_PER_MEBIBYTE, NANOSECONDS_PER_SECOND, Nanoseconds

LOOK: Final[Nanoseconds] = 30 * NANOSECONDS_PER_SECOND
"""How long a layout is reused."""

EMPTY: Final = frozenset({NOT_FOUND, INVALID_ARGUMENT})
"""Codes of a place without an instance: large ones leave places empty."""

GONE: Final = EMPTY | LOST
"""Codes of an instance that is no longer there."""

LARGEST_COUNT: Final = 64
"""More instances than any card can be cut into; a larger count is not a reading."""

NOTHING: Final = "none"
"""The layout of a card in MIG mode without an instance."""

PROFILE: Final = re.compile(r" MIG (\S+)$")
"""The end of an instance's name: NVIDIA H100 80GB HBM3 MIG 1g.10gb."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Layout:
    """Instances of a card."""

    instances: tuple[MigInstance, ...] | None = None
    """`None` for a card that is not cut."""
    handles: Mapping[str, Any] = field(default_factory=dict)
    """By UUID of the instance."""
    profile: str = ""
    """The instances in a word, for people: 3g.20gb,2x1g.5gb."""


WHOLE: Final = Layout()
"""Of a card that is not cut."""


@dataclass(frozen=True, slots=True)
class _CachedLayout:
    """A layout, and until when it is reused."""

    layout: Layout
    until: Nanoseconds
    settled: bool
    """Whether it is complete since NVML was opened."""


class Layouts:
    """The layouts of all cards."""

    def __init__(self, library: Library, capabilities: NvmlCapabilities, clock: Clock) -> None:
        self._library = library
        self._capabilities = capabilities
        self._clock = clock
        self._cached: dict[str, _CachedLayout] = {}
        self._reopened_for: dict[str, tuple[MigInstance, ...] | None] = {}

    def expire(self) -> None:
        """NVML was opened again: handles are void."""
        for uuid, cached in self._cached.items():
            self._cached[uuid] = _CachedLayout(replace(cached.layout, handles={}), 0, settled=False)

    def retain(self, uuids: set[str]) -> None:
        """Forget all other cards."""
        for uuid in self._cached.keys() - uuids:
            del self._cached[uuid]
            self._reopened_for.pop(uuid, None)

    def look_again(self, gpu: Gpu) -> None:
        """Read the layout of a card at the next read, since a call for an instance failed."""
        self._cached[gpu.uuid] = replace(self._cached[gpu.uuid], until=0)

    def vanished(self, gpu: Gpu) -> None:
        """An instance is gone: read the layout again, once for each layout after reopening NVML."""
        self.look_again(gpu)
        instances = self._cached[gpu.uuid].layout.instances
        if self._reopened_for.get(gpu.uuid) != instances:
            self._reopened_for[gpu.uuid] = instances
            self._library.wants_reopening = True

    def read(self, gpu: Gpu, handle: Any) -> Layout:
        """The layout of a card; the last one if it cannot be read now.

        Raises:
            CallFailedError: the card does not answer any more, or NVML has ended.
        """
        cached = self._cached.get(gpu.uuid)
        now = self._clock.elapsed()
        if cached is not None and now < cached.until:
            return cached.layout
        before = WHOLE if cached is None else cached.layout
        layout, complete = self._look(gpu, handle, before)
        if layout is None or (not complete and cached is not None and cached.settled):
            return before
        self._cached[gpu.uuid] = _CachedLayout(layout, now + LOOK if complete else 0, complete)
        if _uuids(layout) != _uuids(before):
            log.info("mig layout changed", extra={"uuid": gpu.uuid, "profile": layout.profile or "off"})
            if cached is not None and cached.settled:
                self._library.wants_reopening = True  # else instances that were destroyed may stay on show
        return layout

    def _look(self, gpu: Gpu, handle: Any, before: Layout) -> tuple[Layout | None, bool]:
        """A layout, `None` if it cannot be read now; and whether it is complete."""
        mode = self._capabilities.query(gpu, "nvmlDeviceGetMigMode", handle)
        if mode is None:
            unsupported = self._capabilities.is_unsupported(gpu, "nvmlDeviceGetMigMode")
            return (WHOLE if unsupported else None), unsupported
        if mode[0] != 1:
            return WHOLE, True
        count = self._capabilities.query(gpu, "nvmlDeviceGetMaxMigDeviceCount", handle)
        if count is None or count > LARGEST_COUNT:
            return None, False
        instances_before = {instance.uuid: instance for instance in before.instances or ()}
        by_uuid: dict[str, tuple[MigInstance, Any]] = {}
        complete = True
        for index in range(count):
            try:
                part = self._library.call("nvmlDeviceGetMigDeviceHandleByIndex", handle, index)
            except CallFailedError as error:
                if error.code in ENDED or error.code in LOST:
                    raise
                if error.code not in EMPTY:
                    complete = self._fails(error)
                continue
            try:
                instance = self._instance(part, instances_before)
            except CallFailedError as error:
                complete = self._fails(error)
            else:
                by_uuid.setdefault(instance.uuid, (instance, part))
        instances = [instance for instance, _ in by_uuid.values()]
        handles = {uuid: part for uuid, (_, part) in by_uuid.items()}
        largest_first = sorted(
            instances,
            key=lambda i: (-(i.gpu_slices or 0), -(i.memory_bytes or 0), -(i.compute_slices or 0), i.profile),
        )
        counts = Counter(instance.profile or "?" for instance in largest_first)
        profiles = (profile if count == 1 else f"{count}x{profile}" for profile, count in counts.items())
        summary = label(",".join(profiles)) or NOTHING
        instances.sort(key=lambda instance: (instance.gpu_instance, instance.compute_instance))
        return Layout(tuple(instances), handles, summary), complete

    def _fails(self, error: CallFailedError) -> bool:
        """Count a failure that costs one instance; false, for the layout is not complete."""
        if error.code in ENDED:
            raise error
        self._capabilities.errors.append(reason(error.code))
        return False

    def _instance(self, handle: Any, instances_before: Mapping[str, MigInstance]) -> MigInstance:
        """The instance of a handle; its fields never change under one UUID."""
        uuid = label(self._library.call("nvmlDeviceGetUUID", handle))
        if not uuid:
            raise CallFailedError("nvmlDeviceGetUUID", GARBLED)
        if uuid in instances_before:
            return instances_before[uuid]
        attributes = self._optional("nvmlDeviceGetAttributes", handle)
        instance = MigInstance(
            uuid=uuid,
            gpu_instance=self._library.call("nvmlDeviceGetGpuInstanceId", handle),
            compute_instance=self._library.call("nvmlDeviceGetComputeInstanceId", handle),
        )
        if attributes is not None:
            instance = replace(
                instance,
                gpu_slices=attributes.gpuInstanceSliceCount or None,
                compute_slices=attributes.computeInstanceSliceCount or None,
                memory_bytes=attributes.memorySizeMB * BYTES_PER_MEBIBYTE or None,
            )
        # As the name ends, else as NVIDIA would name it: 1c.3g.20gb is one of three slices of compute.
        profile = ""
        match = PROFILE.search(self._optional("nvmlDeviceGetName", handle) or "")
        if match:
            profile = label(match[1])
        elif instance.gpu_slices is not None and instance.memory_bytes is not None:
            is_part = instance.compute_slices not in {None, instance.gpu_slices}
            compute = f"{instance.compute_slices}c." if is_part else ""
            gibibytes = math.ceil(instance.memory_bytes / BYTES_PER_GIBIBYTE)
            profile = f"{compute}{instance.gpu_slices}g.{gibibytes}gb"
        return replace(instance, profile=profile)

    def _optional(self, function: str, handle: Any) -> Any:
        try:
            return self._library.call(function, handle)
        except CallFailedError as error:
            if error.code not in UNSUPPORTED:
                raise
            return None


def _uuids(layout: Layout) -> set[str] | None:
    return None if layout.instances is None else {instance.uuid for instance in layout.instances}
