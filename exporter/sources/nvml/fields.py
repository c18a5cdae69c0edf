"""Fields of one GPU. A field that it does not report is `None`, and so is an impossible value.

Units and sentinels are those of nvml.h: milliwatts, millijoules, percent; all ones is "not available".
GPM, the monitoring of Hopper and later, fills a sample at each read: two samples give the mean between them.
It is the only utilization of a MIG instance. One thread makes all calls: calls for several GPUs at once
have crashed the driver.
"""

import logging
import math
import struct
from dataclasses import dataclass, replace
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

Scope: TypeAlias = tuple[str, tuple[str, ...]]
"""The UUID of a card, and those of the instances in one GPU instance, whose number goes to others later."""


@dataclass(slots=True)
class _SamplePair:
    """The two samples of a scope, in turns the older one, and when that was taken."""

    older: Any
    newer: Any
    taken: Nanoseconds | None = None


class Gpm:
    """Samples are allocated once for a scope and given back when it goes, or before NVML is closed."""

    def __init__(
        self, library: Library, capabilities: NvmlCapabilities, layouts: Layouts, clock: Clock
    ) -> None:
        self._library = library
        self._capabilities = capabilities
        self._layouts = layouts
        self._clock = clock
        self._windows: dict[Scope, _SamplePair] = {}
        self._supported: dict[str, bool] = {}
        self._failures: dict[Scope, int] = {}
        self._off: set[str] = set()
        self._request: Any = None
        library.closing.append(lambda: self._drop(self._scopes()))

    def expire(self) -> None:
        """NVML was opened again: failed calls may work now."""
        self._supported.clear()
        self._failures.clear()
        self._off.clear()

    def retain(self, uuids: set[str]) -> None:
        """Forget all other cards."""
        for uuid in self._supported.keys() - uuids:
            del self._supported[uuid]
        self._off &= uuids
        self._forget({scope for scope in self._scopes() if scope[0] not in uuids})

    def card(self, gpu: Gpu, handle: Any) -> float | None:
        """The mean utilization of a whole card since the last read, `None` without GPM.

        Raises:
            CallFailedError: the card does not answer any more, or NVML has ended.
        """
        scope = (gpu.uuid, ())
        self._forget(self._scopes(gpu) - {scope})
        return self._mean(gpu, scope, "nvmlGpmSampleGet", handle)

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
        self._forget(self._scopes(gpu) - set(scopes.values()))
        means = {
            gi: self._mean(gpu, scope, "nvmlGpmMigSampleGet", handle, gi) for gi, scope in scopes.items()
        }
        return tuple(
            replace(instance, utilization_ratio=means[instance.gpu_instance]) for instance in layout.instances
        )

    def _mean(self, gpu: Gpu, scope: Scope, function: str, *whom: object) -> float | None:
        if gpu.uuid in self._off:
            return None
        try:
            if gpu.uuid not in self._supported:
                try:
                    support = self._library.call("nvmlGpmQueryDeviceSupport", whom[0])
                    self._supported[gpu.uuid] = bool(support.isSupportedDevice)
                except CallFailedError as error:
                    if error.code not in UNSUPPORTED or error.code == NO_PERMISSION:
                        raise
                    self._supported[gpu.uuid] = False  # a driver or a GPU before Hopper: no failure
            mean = self._sampled(scope, function, *whom) if self._supported[gpu.uuid] else None
        except CallFailedError as error:
            if error.code in ENDED or error.code in LOST:
                raise
            # One may be of a layout that has just changed; permanent ones end the sampling.
            self._capabilities.errors.append(reason(error.code))
            self._drop({scope})
            if scope[1]:
                self._layouts.look_again(gpu)
            self._failures[scope] = self._failures.get(scope, 0) + 1
            if self._failures[scope] >= FAILURES or error.code in UNSUPPORTED:
                self._off.add(gpu.uuid)
                log.warning("gpm disabled", extra={"uuid": gpu.uuid, "problem": str(error)})
                self._forget(self._scopes(gpu))
            return None
        if mean is not None:
            self._failures.pop(scope, None)
        return mean

    def _sampled(self, scope: Scope, function: str, *whom: object) -> float | None:
        """Take a sample; the mean since the one before, `None` where that is too near, too far or none."""
        window = self._windows.get(scope)
        if window is None:
            first = self._library.call("nvmlGpmSampleAlloc")
            try:
                window = _SamplePair(first, self._library.call("nvmlGpmSampleAlloc"))
            except CallFailedError:
                self._give_back(first)
                raise
            self._windows[scope] = window
        now = self._clock.elapsed()
        since = None if window.taken is None else now - window.taken
        if since is not None and since < SHORTEST:
            return None
        self._library.call(function, *whom, window.newer)
        window.older, window.newer = window.newer, window.older
        window.taken = now
        if since is None or since > LONGEST:
            return None
        return self._utilization(window.newer, window.older)

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

    def _scopes(self, gpu: Gpu | None = None) -> set[Scope]:
        """Scopes with samples or failures, of one card or all."""
        remembered = self._windows.keys() | self._failures.keys()
        return {scope for scope in remembered if gpu is None or scope[0] == gpu.uuid}

    def _forget(self, scopes: set[Scope]) -> None:
        self._drop(scopes)
        for scope in scopes:
            self._failures.pop(scope, None)

    def _drop(self, scopes: set[Scope]) -> None:
        for scope in scopes & self._windows.keys():
            window = self._windows.pop(scope)
            self._give_back(window.older)
            self._give_back(window.newer)

    def _give_back(self, sample: Any) -> None:
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
        used, total = self._memory(gpu, handle)
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
            memory_used_bytes=used,
            memory_total_bytes=total,
            power_watts=power,
            power_limit_watts=limit,
            energy=energy,
        )
        return filled, newest

    def _memory(self, gpu: Gpu, handle: Any) -> tuple[int | None, int | None]:
        """Bytes used and total. The second version leaves out what the driver reserves: they do not mix."""
        function = "nvmlDeviceGetMemoryInfo"
        memory = self._capabilities.query(gpu, function, handle, MEMORY_V2, field="memory_v2")
        if memory is None and self._capabilities.is_unsupported(gpu, "memory_v2"):
            memory = self._capabilities.query(gpu, function, handle)
        if memory is None or not 0 < memory.total <= LARGEST_INTEGER or memory.used > memory.total:
            return None, None
        return memory.used, memory.total

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
