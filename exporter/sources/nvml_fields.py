"""What one GPU tells. A field that it cannot tell is `None`, and so is an answer that cannot be true.

Units and sentinels are those of nvml.h: milliwatts, millijoules, percent; all ones is "not available".
"""

import logging
from dataclasses import replace
from typing import Any, Final

from exporter.readings import Gpu, GpuReading, ratio
from exporter.sources.nvml_inventory import LOST
from exporter.sources.nvml_library import (
    ARGUMENT_VERSION_MISMATCH,
    ENDED,
    FUNCTION_NOT_FOUND,
    NO_PERMISSION,
    NOT_FOUND,
    NOT_SUPPORTED,
    CallFailedError,
    Library,
    reason,
)
from exporter.units import MILLIWATTS_PER_WATT, Millijoules

UNTOLD: Final = frozenset({NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND, ARGUMENT_VERSION_MISMATCH})
"""Codes that will not change before NVML is opened again; the call is not made again until then."""

UTILIZATION_SAMPLES: Final = 1
"""nvmlSamplingType_t: GPU utilization in percent, a ring of about 16 s."""

VALUE_MEMBERS: Final = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""The member of nvmlValue_t for each nvmlValueType_t."""

MEMORY_V2: Final = 40 | 2 << 24
"""The version of nvmlMemory_v2_t: its size and number."""

LARGEST_WATTS: Final = 10_000.0
"""No GPU draws, and no limit allows, as much."""

LARGEST_OF_LIMIT: Final = 10.0
"""Power above this many times its limit is not a reading."""

LARGEST_INTEGER: Final = 2**63 - 1
"""Sentinels and wrecked counters lie above; what is counted for years does not."""

log = logging.getLogger(__name__)


class Fields:
    """Reads GPUs, and remembers what each of them cannot tell."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._untold: set[tuple[str, str]] = set()
        self.errors: list[str] = []
        """Reasons of the calls that failed for now, since it was last emptied."""

    def expire(self) -> None:
        """NVML was opened again: another driver may tell what this one did not."""
        self._untold.clear()

    def read(self, reading: GpuReading, handle: Any, newest: int) -> tuple[GpuReading, int]:
        """Fill a reading that holds the identity.

        Args:
            reading: identity, index and addresses.
            handle: of the GPU.
            newest: timestamp of the newest utilization sample that was used before, 0 for none.

        Returns:
            The reading, and the timestamp of the newest sample used now.

        Raises:
            CallFailedError: the GPU does not answer any more, or NVML has ended.
        """
        gpu = reading.gpu
        used, total = self._memory(gpu, handle)
        limit = self._limit(gpu, handle)
        utilization, newest = self._utilization(gpu, handle, newest)
        return (
            replace(
                reading,
                utilization_ratio=utilization,
                memory_used_bytes=used,
                memory_total_bytes=total,
                power_watts=_power(self._ask(gpu, "nvmlDeviceGetPowerUsage", handle), limit),
                power_limit_watts=limit,
                energy=_energy(self._ask(gpu, "nvmlDeviceGetTotalEnergyConsumption", handle)),
            ),
            newest,
        )

    def _ask(self, gpu: Gpu, function: str, *arguments: object, field: str = "") -> Any:
        """One call's answer, `None` where there is none. `field` names what is asked (the function)."""
        key = (gpu.uuid, field or function)
        if key in self._untold:
            return None
        try:
            return self._library.call(function, *arguments)
        except CallFailedError as error:
            if error.code in ENDED or error.code in LOST:
                raise
            if error.code in UNTOLD:
                self._untold.add(key)
                if error.code == NO_PERMISSION:
                    log.warning("GPU %s: %s; not asked again", gpu.uuid, error)
            elif (function, error.code) != ("nvmlDeviceGetSamples", NOT_FOUND):  # no sample is newer
                self.errors.append(reason(error.code))
            return None

    def _memory(self, gpu: Gpu, handle: Any) -> tuple[int | None, int | None]:
        """Bytes used and total. The second version leaves out what the driver reserves: they do not mix."""
        told = self._ask(gpu, "nvmlDeviceGetMemoryInfo", handle, MEMORY_V2, field="memory_v2")
        if told is None and (gpu.uuid, "memory_v2") in self._untold:
            told = self._ask(gpu, "nvmlDeviceGetMemoryInfo", handle)
        if told is None or not 0 < told.total <= LARGEST_INTEGER or told.used > told.total:
            return None, None
        return told.used, told.total

    def _limit(self, gpu: Gpu, handle: Any) -> float | None:
        enforced = _watts(self._ask(gpu, "nvmlDeviceGetEnforcedPowerLimit", handle))
        if enforced is not None:
            return enforced
        return _watts(self._ask(gpu, "nvmlDeviceGetPowerManagementLimit", handle))

    def _utilization(self, gpu: Gpu, handle: Any, newest: int) -> tuple[float | None, int]:
        """The mean of the samples since `newest`, else the rate of the driver's last sampling period."""
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
        rates = self._ask(gpu, "nvmlDeviceGetUtilizationRates", handle)
        return (None if rates is None else ratio(rates.gpu / 100)), newest

    def _samples(self, gpu: Gpu, handle: Any, after: int) -> list[tuple[int, float]]:
        """Timestamps (of any epoch: some drivers count from boot) and percentages of the ring."""
        told = self._ask(gpu, "nvmlDeviceGetSamples", handle, UTILIZATION_SAMPLES, after)
        if told is None:
            return []
        value_type, samples = told
        if not 0 <= value_type < len(VALUE_MEMBERS):
            return []
        member = VALUE_MEMBERS[value_type]
        return [(entry.timeStamp, getattr(entry.sampleValue, member)) for entry in samples if entry.timeStamp]


def _watts(milliwatts: int | None) -> float | None:
    if milliwatts is None:
        return None
    watts = milliwatts / MILLIWATTS_PER_WATT
    return watts if 0.0 < watts <= LARGEST_WATTS else None


def _power(milliwatts: int | None, limit: float | None) -> float | None:
    watts = _watts(milliwatts)
    if watts is None or (limit is not None and watts > LARGEST_OF_LIMIT * limit):
        return None
    return watts


def _energy(millijoules: Millijoules | None) -> Millijoules | None:
    """A counter at 0 does not count (some vGPUs): a GPU that draws power leaves 0 within a millisecond."""
    if millijoules is None or not 0 < millijoules <= LARGEST_INTEGER:
        return None
    return millijoules
