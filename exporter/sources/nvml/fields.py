"""Fields of one GPU. A field that it does not report is `None`, and so is an impossible value.

Units and sentinels are those of nvml.h: milliwatts, millijoules, percent; all ones is "not available".
GPM, the monitoring of Hopper and later, fills a sample at each read: two samples give the mean between them.
It is the only utilization of a MIG instance. One thread makes all calls: calls for several GPUs at once
have crashed the driver.
"""

import logging
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeAlias

from exporter.clock import Clock
from exporter.readings import Gpu, GpuReading, MigInstance, ratio
from exporter.sources.nvml.inventory import LARGEST_INTEGER, LOST, UNSUPPORTED, NvmlCapabilities
from exporter.sources.nvml.library import ENDED, NO_PERMISSION, NOT_FOUND, CallFailedError, Library, reason
from exporter.sources.nvml.mig import Layout, Layouts
from exporter.units import (
    MILLIWATTS_PER_WATT,
    NANOSECONDS_PER_MINUTE,
    NANOSECONDS_PER_SECOND,
    Millijoules,
    Nanoseconds,
)

GRAPHICS_UTIL: Final = 1
"""nvmlGpmMetricId_t: percent of the time in which anything ran, as in the ring of samples."""

METRICS_VERSION: Final = 1
"""NVML_GPM_METRICS_GET_VERSION."""

SHORTEST: Final[Nanoseconds] = NANOSECONDS_PER_SECOND // 10
"""nvml.h: samples nearer to each other are refused."""

LONGEST: Final[Nanoseconds] = 10 * NANOSECONDS_PER_MINUTE
"""A mean over more is not one of the time since the last read."""

ROUNDING: Final = 0.005
"""Excess up to which a ratio above 1 is 1."""

FAILURES: Final = 2
"""Failures of one scope in a row after which its GPU is not sampled again."""

log = logging.getLogger(__name__)

TakeSample: TypeAlias = Callable[[Any], object]
"""Fills a structure of GPM with a sample of a card or of a GPU instance."""

Scope: TypeAlias = tuple[str, tuple[str, ...]]
"""The UUID of a card, and those of the instances in one GPU instance, whose number goes to others later."""


@dataclass(slots=True)
class _Window:
    """The time between two samples of a scope."""

    older: Any = None
    """The sample before the last one, `None` until it is allocated."""
    newer: Any = None
    """The last sample; the two take turns."""
    taken: Nanoseconds | None = None
    """When the last one was taken."""
    failures: int = 0
    """Failures in a row."""


class Gpm:
    """Samples are allocated once for a scope and given back when it goes, or before NVML is closed."""

    def __init__(
        self, library: Library, capabilities: NvmlCapabilities, layouts: Layouts, clock: Clock
    ) -> None:
        self._library = library
        self._capabilities = capabilities
        self._layouts = layouts
        self._clock = clock
        self._windows: dict[Scope, _Window] = {}
        self._sampled: dict[str, bool] = {}
        """Whether each card has GPM and is sampled, by UUID."""
        self._request: Any = None
        library.closing.append(lambda: self._forget(set(self._windows)))

    def expire(self) -> None:
        """NVML was opened again: failed calls may work now."""
        self._sampled.clear()

    def retain(self, uuids: set[str]) -> None:
        """Forget all other cards."""
        for uuid in self._sampled.keys() - uuids:
            del self._sampled[uuid]
        self._forget({scope for scope in self._windows if scope[0] not in uuids})

    def card(self, gpu: Gpu, handle: Any) -> float | None:
        """The mean utilization of a whole card since the last read, `None` without GPM.

        Raises:
            CallFailedError: the card does not answer any more, or NVML has ended.
        """
        scope = (gpu.uuid, ())
        self._forget(self._scopes_of(gpu) - {scope})
        return self._mean(gpu, scope, handle, partial(self._library.call, "nvmlGpmSampleGet", handle))

    def instances(self, gpu: Gpu, handle: Any, layout: Layout) -> tuple[MigInstance, ...] | None:
        """The instances of a card with their utilization; those of one GPU instance share its figure.

        Raises:
            CallFailedError: the card does not answer any more, or NVML has ended.
        """
        if layout.instances is None:
            return None
        members: dict[int, tuple[str, ...]] = {}
        for instance in layout.instances:
            members[instance.gpu_instance] = (*members.get(instance.gpu_instance, ()), instance.uuid)
        scopes = {gi: (gpu.uuid, uuids) for gi, uuids in members.items()}
        self._forget(self._scopes_of(gpu) - set(scopes.values()))
        take = partial(self._library.call, "nvmlGpmMigSampleGet", handle)
        means = {gi: self._mean(gpu, scope, handle, partial(take, gi)) for gi, scope in scopes.items()}
        return tuple(
            replace(instance, utilization_ratio=means[instance.gpu_instance]) for instance in layout.instances
        )

    def _mean(self, gpu: Gpu, scope: Scope, handle: Any, take: TakeSample) -> float | None:
        window = self._windows.get(scope) or _Window()
        try:
            if gpu.uuid not in self._sampled:
                self._sampled[gpu.uuid] = self._has_gpm(handle)
            if not self._sampled[gpu.uuid]:
                return None
            self._windows[scope] = window
            mean = self._sample(window, take)
        except CallFailedError as error:
            if error.code in ENDED or error.code in LOST:
                raise
            self._capabilities.errors.append(reason(error.code))
            self._windows[scope] = window
            self._free(window)
            if scope[1]:  # the layout may have just changed
                self._layouts.look_again(gpu)
            window.failures += 1
            if window.failures >= FAILURES or error.code in UNSUPPORTED:
                self._sampled[gpu.uuid] = False
                log.warning("gpm disabled", extra={"uuid": gpu.uuid, "problem": str(error)})
                self._forget(self._scopes_of(gpu))
            return None
        if mean is not None:
            window.failures = 0
        return mean

    def _has_gpm(self, handle: Any) -> bool:
        """Whether a card has GPM; a driver or a GPU before Hopper has none, which is no failure."""
        try:
            return bool(self._library.call("nvmlGpmQueryDeviceSupport", handle).isSupportedDevice)
        except CallFailedError as error:
            if error.code not in UNSUPPORTED or error.code == NO_PERMISSION:
                raise
            return False

    def _sample(self, window: _Window, take: TakeSample) -> float | None:
        """Take a sample; the mean since the one before, `None` where that is too near, too far or none."""
        if window.newer is None:
            window.older = self._library.call("nvmlGpmSampleAlloc")
            window.newer = self._library.call("nvmlGpmSampleAlloc")
        now = self._clock.elapsed()
        since = None if window.taken is None else now - window.taken
        if since is not None and since < SHORTEST:
            return None
        take(window.older)
        window.older, window.newer = window.newer, window.older
        window.taken = now
        if since is None or since > LONGEST:
            return None
        return self._utilization(window.older, window.newer)

    def _utilization(self, first: Any, second: Any) -> float | None:
        if self._request is None:  # 19 kB: made once
            self._request = self._library.structure("c_nvmlGpmMetricsGet_t")
        request = self._request
        request.version, request.numMetrics = METRICS_VERSION, 1
        request.sample1, request.sample2 = first, second
        metric = request.metrics[0]
        metric.metricId, metric.nvmlReturn, metric.value = GRAPHICS_UTIL, 0, math.nan
        self._library.call("nvmlGpmMetricsGet", request)
        if metric.nvmlReturn != 0:
            raise CallFailedError("nvmlGpmMetricsGet", metric.nvmlReturn)
        utilization = metric.value / 100
        return 1.0 if 1.0 < utilization <= 1.0 + ROUNDING else ratio(utilization)

    def _scopes_of(self, gpu: Gpu) -> set[Scope]:
        return {scope for scope in self._windows if scope[0] == gpu.uuid}

    def _forget(self, scopes: set[Scope]) -> None:
        for scope in scopes:
            self._free(self._windows.pop(scope))

    def _free(self, window: _Window) -> None:
        """Give the samples of a window back."""
        samples = [sample for sample in (window.older, window.newer) if sample is not None]
        window.older = window.newer = window.taken = None
        for sample in samples:
            try:
                self._library.call("nvmlGpmSampleFree", sample)
            except CallFailedError as error:  # the driver is gone, and with it what was to be freed
                log.debug("gpm sample not freed", extra={"problem": str(error)})


UTILIZATION_SAMPLES: Final = 1
"""nvmlSamplingType_t: GPU utilization in percent, a ring of about 16 s."""

SAMPLE_FORMATS: Final = ("=Qd", "=QI4x", "=QQ", "=QQ", "=Qq", "=Qi4x", "=QH6x")
"""nvmlSample_t, a timestamp and a union of eight bytes, for each nvmlValueType_t.
Members of pynvml's structures take 0.2 us each, three of each sample, and a ring has a hundred samples."""

MEMORY_V2: Final = 40 | 2 << 24
"""The version of nvmlMemory_v2_t: its size and number."""

LARGEST_WATTS: Final = 10_000.0
"""No GPU draws, and no limit allows, as much."""

LARGEST_OF_LIMIT: Final = 10.0
"""Power above this many times its limit is not a reading."""


class GpuFields:
    """Reads the figures of a card."""

    def __init__(self, capabilities: NvmlCapabilities, gpm: Gpm) -> None:
        self._capabilities = capabilities
        self._gpm = gpm

    def read(self, reading: GpuReading, handle: Any, newest: int, *, cut: bool) -> tuple[GpuReading, int]:
        """Fill a reading that holds the identity.

        Args:
            reading: identity, index and addresses.
            handle: of the GPU.
            newest: timestamp of the newest utilization sample that was used before, 0 for none.
            cut: into MIG instances; such a card has no utilization of its own.

        Returns:
            The reading, and the timestamp of the newest sample used now.

        Raises:
            CallFailedError: the GPU does not answer any more, or NVML has ended.
        """
        gpu = reading.gpu
        # The second version leaves out what the driver reserves: they do not mix.
        memory = self._capabilities.query(
            gpu, "nvmlDeviceGetMemoryInfo", handle, MEMORY_V2, field="memory_v2"
        )
        if memory is None and self._capabilities.is_unsupported(gpu, "memory_v2"):
            memory = self._capabilities.query(gpu, "nvmlDeviceGetMemoryInfo", handle)
        if memory is not None and not (0 < memory.total <= LARGEST_INTEGER and memory.used <= memory.total):
            memory = None
        limit = self._watts(gpu, "nvmlDeviceGetEnforcedPowerLimit", handle)
        if limit is None:
            limit = self._watts(gpu, "nvmlDeviceGetPowerManagementLimit", handle)
        power = self._watts(gpu, "nvmlDeviceGetPowerUsage", handle)
        if power is not None and limit is not None and power > LARGEST_OF_LIMIT * limit:
            power = None
        energy: Millijoules | None = self._capabilities.query(
            gpu, "nvmlDeviceGetTotalEnergyConsumption", handle
        )
        # A counter at 0 does not count (some vGPUs): a GPU that draws power leaves 0 within a millisecond.
        if energy is not None and not 0 < energy <= LARGEST_INTEGER:
            energy = None
        utilization = None
        if not cut:
            utilization, newest = self._utilization(gpu, handle, newest)
        filled = replace(
            reading,
            utilization_ratio=utilization,
            memory_used_bytes=None if memory is None else memory.used,
            memory_total_bytes=None if memory is None else memory.total,
            power_watts=power,
            power_limit_watts=limit,
            energy=energy,
        )
        return filled, newest

    def _watts(self, gpu: Gpu, function: str, handle: Any) -> float | None:
        milliwatts: int | None = self._capabilities.query(gpu, function, handle)
        if milliwatts is None:
            return None
        watts = milliwatts / MILLIWATTS_PER_WATT
        return watts if 0.0 < watts <= LARGEST_WATTS else None

    def _utilization(self, gpu: Gpu, handle: Any, newest: int) -> tuple[float | None, int]:
        """The mean by GPM, else of the samples since `newest`, else the driver's last sampling period's."""
        mean = self._gpm.card(gpu, handle)
        if mean is not None:
            return mean, newest
        samples = self._samples(gpu, handle, newest)
        if not samples and newest:  # nothing newer, or the driver's clock went back
            samples = self._samples(gpu, handle, 0)
        since = [sample for sample in samples if sample[0] > newest]
        if not since and all(timestamp < newest for timestamp, _ in samples):
            since = samples
        newest = max((timestamp for timestamp, _ in since), default=newest)
        percents = [percent for _, percent in since if ratio(percent / 100) is not None]
        if percents:
            return sum(percents) / len(percents) / 100, newest
        rates = self._capabilities.query(gpu, "nvmlDeviceGetUtilizationRates", handle)
        return (None if rates is None else ratio(rates.gpu / 100)), newest

    def _samples(self, gpu: Gpu, handle: Any, after: int) -> list[tuple[int, float]]:
        """Timestamps (of any epoch: some drivers count from boot) and percentages of the ring."""
        reply = self._capabilities.query(
            gpu, "nvmlDeviceGetSamples", handle, UTILIZATION_SAMPLES, after, nothing=NOT_FOUND
        )
        if not reply:
            return []
        value_type, samples = reply
        if not 0 <= value_type < len(SAMPLE_FORMATS):
            return []
        entries = struct.iter_unpack(SAMPLE_FORMATS[value_type], b"".join(samples))
        return [(timestamp, value) for timestamp, value in entries if timestamp]
