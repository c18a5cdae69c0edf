"""Which parts of which GPUs are meant: by a device that was given, by a process that computes. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from exporter.readings import GpuReading
from exporter.sources.kubelet.devices import Device


class Part(NamedTuple):
    """A GPU, or one MIG instance of a card that is cut; `instance` is the empty word for one that is not."""

    uuid: str
    instance: str = ""


def computed_on(gpus: Iterable[GpuReading]) -> Mapping[int, frozenset[Part]]:
    """What each process computes on."""
    found: dict[int, frozenset[Part]] = {}
    for gpu in gpus:
        for process in gpu.processes or ():
            part = Part(gpu.gpu.uuid, process.instance)
            found[process.pid] = found.get(process.pid, frozenset()) | {part}
    return found


def stood_for(device: Device, gpu: GpuReading) -> tuple[Part, ...]:
    """The parts of a GPU that a device stands for: of a card that was cut since it was given, all of them.

    None for an instance that is not there, or of which only the place is told, which NVML's do not have.
    """
    uuid = gpu.gpu.uuid
    here = (device.uuid or None) == uuid or (device.minor is not None and device.minor == gpu.minor)
    whole = not device.mig_uuid and device.gpu_instance is None and device.placement is None
    if gpu.instances is None:
        return (Part(uuid),) if device.every or (here and whole) else ()
    if device.mig_uuid:
        return tuple(Part(uuid, one.uuid) for one in gpu.instances if one.uuid == device.mig_uuid)
    if here and device.gpu_instance is not None:
        wanted = device.gpu_instance
        return tuple(Part(uuid, one.uuid) for one in gpu.instances if one.gpu_instance == wanted)
    if here and whole:
        return tuple(Part(uuid, one.uuid) for one in gpu.instances)
    return ()
