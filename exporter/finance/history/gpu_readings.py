"""GPUs of a part of a past hour, as NVML would have read them. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from exporter.finance.history.gpu_exporters import WATTS_MAX
from exporter.finance.history.host_hours import DeviceHour, HostHour
from exporter.finance.history.survey import GpuSeries
from exporter.readings import GpuReading, MigInstance
from exporter.units import BYTES_PER_GIBIBYTE, MILLIJOULES_PER_JOULE, NANOSECONDS_PER_SECOND, Nanoseconds

HELD_BYTES: Final = BYTES_PER_GIBIBYTE
"""Memory in use from which a process computes on a GPU: the driver alone uses less."""

SMALLEST_RATIO: Final = 1e-6
"""A utilization of 0 over an hour is a small one that was rounded: the daemon would not believe it where
tokens moved, and take the whole hour for busy."""


def used(device: DeviceHour, *, has_server: bool) -> bool:
    """Whether a process holds a GPU: by its memory, else as its utilization and the servers suggest."""
    if device.memory is not None:
        return device.memory >= HELD_BYTES
    return has_server or bool(device.utilization)


def instance_name(device: DeviceHour) -> str:
    """The name of a MIG instance, empty for a whole card."""
    series = device.series
    return f"MIG-{series.gpu.uuid}/{series.instance}" if series.instance else ""


def energies(hour: HostHour, *, skipped: bool) -> dict[str, float]:
    """Joules by GPU of an hour, per nanosecond in which the GPU was there.

    The series of a GPU's holders follow each other; those of MIG instances all have the whole card's joules.
    `skipped`: the time before it was not charged, and what was used in it does not count.
    """
    joules: dict[str, dict[str, dict[GpuSeries, float]]] = {}
    there: dict[str, Nanoseconds] = {}
    for part in hour.parts:
        for uuid in {device.series.gpu.uuid for device in part.devices}:
            there[uuid] = there.get(uuid, 0) + part.end - part.start
        for device in part.devices:
            used = device.inside if skipped and device.inside is not None else device.joules
            if used is not None:
                series = device.series
                joules.setdefault(series.gpu.uuid, {}).setdefault(series.instance, {})[series] = used
    return {
        uuid: max(sum(by_series.values()) for by_series in instances.values()) / there[uuid]
        for uuid, instances in joules.items()
        if there[uuid]
    }


def gpu_readings(
    counted: dict[str, int], devices: Iterable[DeviceHour], energy: Mapping[str, float], length: Nanoseconds
) -> Iterator[GpuReading]:
    """GPUs of a part of an hour. `counted` are their millijoules until then; those of it are added."""
    by_gpu: dict[str, list[DeviceHour]] = {}
    for device in devices:
        by_gpu.setdefault(device.series.gpu.uuid, []).append(device)
    for uuid, of_gpu in sorted(by_gpu.items()):
        instances: list[MigInstance] = []
        for device in of_gpu:
            number = device.series.instance
            if number:
                instances.append(
                    MigInstance(
                        instance_name(device),
                        int(number) if number.isdecimal() and len(number) < 4 else 0,
                        profile=device.series.profile,
                        utilization_ratio=_ratio(device),
                    )
                )
        whole = next((device for device in of_gpu if not device.series.instance), of_gpu[0])
        series = whole.series
        millijoules, watts = None, whole.watts
        if uuid in energy:
            # The first value of a counter is a mark: what a new GPU used in its first hour is its power.
            # One that no GPU has is refused by the cost code, which takes the power in its place.
            counted_watts = energy[uuid] * NANOSECONDS_PER_SECOND
            watts = counted_watts if counted_watts <= WATTS_MAX else watts
            used_here = round(energy[uuid] * length * MILLIJOULES_PER_JOULE)
            counted[uuid] = millijoules = counted.get(uuid, 0) + used_here
        yield GpuReading(
            series.gpu,
            series.number,
            pci_bus_id=series.address,
            utilization_ratio=None if instances else _ratio(whole),
            memory_used_bytes=None if whole.memory is None else round(whole.memory),
            power_watts=watts,
            energy=millijoules,
            instances=tuple(instances) or None,
        )


def _ratio(device: DeviceHour) -> float | None:
    return None if device.utilization is None else min(1.0, device.utilization)


def rounded_up(reading: GpuReading) -> GpuReading:
    """A reading of a held GPU, without a utilization of zero."""
    if reading.utilization_ratio == 0:
        reading = replace(reading, utilization_ratio=SMALLEST_RATIO)
    if reading.instances and any(one.utilization_ratio == 0 for one in reading.instances):
        instances = (
            replace(one, utilization_ratio=SMALLEST_RATIO) if one.utilization_ratio == 0 else one
            for one in reading.instances
        )
        reading = replace(reading, instances=tuple(instances))
    return reading
