"""What one GPU tells. A field that it cannot tell is `None`, and so is an answer that cannot be true.

Units and sentinels are those of nvml.h: milliwatts, millijoules, percent; all ones is "not available".
"""

from dataclasses import replace
from typing import Any, Final

from exporter.readings import Gpu, GpuReading, ratio
from exporter.sources.nvml_answers import LARGEST_INTEGER, Answers
from exporter.sources.nvml_gpm import Gpm
from exporter.sources.nvml_library import NOT_FOUND
from exporter.units import MILLIWATTS_PER_WATT, Millijoules

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


class Fields:
    """Reads the figures of a card."""

    def __init__(self, answers: Answers, gpm: Gpm) -> None:
        self._answers = answers
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
        limit = self._limit(gpu, handle)
        utilization, newest = (None, newest) if cut else self._utilization(gpu, handle, newest)
        return (
            replace(
                reading,
                utilization_ratio=utilization,
                memory_used_bytes=used,
                memory_total_bytes=total,
                power_watts=_power(self._answers.ask(gpu, "nvmlDeviceGetPowerUsage", handle), limit),
                power_limit_watts=limit,
                energy=_energy(self._answers.ask(gpu, "nvmlDeviceGetTotalEnergyConsumption", handle)),
            ),
            newest,
        )

    def _memory(self, gpu: Gpu, handle: Any) -> tuple[int | None, int | None]:
        """Bytes used and total. The second version leaves out what the driver reserves: they do not mix."""
        told = self._answers.ask(gpu, "nvmlDeviceGetMemoryInfo", handle, MEMORY_V2, field="memory_v2")
        if told is None and self._answers.untold(gpu, "memory_v2"):
            told = self._answers.ask(gpu, "nvmlDeviceGetMemoryInfo", handle)
        if told is None or not 0 < told.total <= LARGEST_INTEGER or told.used > told.total:
            return None, None
        return told.used, told.total

    def _limit(self, gpu: Gpu, handle: Any) -> float | None:
        enforced = _watts(self._answers.ask(gpu, "nvmlDeviceGetEnforcedPowerLimit", handle))
        if enforced is not None:
            return enforced
        return _watts(self._answers.ask(gpu, "nvmlDeviceGetPowerManagementLimit", handle))

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
        rates = self._answers.ask(gpu, "nvmlDeviceGetUtilizationRates", handle)
        return (None if rates is None else ratio(rates.gpu / 100)), newest

    def _samples(self, gpu: Gpu, handle: Any, after: int) -> list[tuple[int, float]]:
        """Timestamps (of any epoch: some drivers count from boot) and percentages of the ring."""
        told = self._answers.ask(
            gpu, "nvmlDeviceGetSamples", handle, UTILIZATION_SAMPLES, after, nothing=NOT_FOUND
        )
        if not told:
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
