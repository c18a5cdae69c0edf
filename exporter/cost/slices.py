"""What part of a card in MIG mode each of its instances is."""

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import lcm
from typing import Final

from exporter.cost.money import portions
from exporter.readings import GpuReading, MigInstance
from exporter.tariff.mig import slices_of_gpu

Slices = Mapping[str, int]
"""The parts of a card in parts of `money.WHOLE`, by the UUID of the instance; what they leave is the rest."""

_PROFILE: Final = re.compile(r"(?:(?P<compute>\d+)c\.)?(?P<gpu>\d+)g\.")

_REST: Final = ""


def slices(reading: GpuReading) -> Slices | None:
    """The parts of a card's instances, at most the whole card together; `None` for a card that is not cut.

    A GPU instance is the larger of its compute slices over the card's and its memory over the card's. Where
    these pass one together, they are divided by their sum. Its compute instances divide it by their slices.
    A profile's name stands in for slices that are not told; an instance of which nothing is told is one
    slice.
    """
    if reading.instances is None:
        return None
    cut: dict[int, list[MigInstance]] = {}
    for instance in reading.instances:
        cut.setdefault(instance.gpu_instance, []).append(instance)
    whole = slices_of_gpu(reading.gpu.gpu_model)
    weights: dict[str, Fraction] = {}
    for together in cut.values():
        part = _gpu_instance(together, whole, reading.memory_total_bytes)
        compute = _compute(together)
        every = sum(compute.values())
        weights |= {uuid: part * count / every for uuid, count in compute.items()}
    rest = Fraction(1) - sum(weights.values())
    if rest > 0:
        weights[_REST] = rest
    parts = _parts(weights)
    parts.pop(_REST, None)
    return parts


def _gpu_instance(together: Iterable[MigInstance], whole: int, memory_bytes: int | None) -> Fraction:
    """The part of one GPU instance; each of its compute instances tells the same of it."""
    told = [Fraction(count, whole) for one in together if (count := _gpu_slices(one))]
    if memory_bytes:
        told += [Fraction(one.memory_bytes, memory_bytes) for one in together if one.memory_bytes]
    return min(Fraction(1), max(told, default=Fraction(1, whole)))


def _gpu_slices(instance: MigInstance) -> int | None:
    named = _PROFILE.match(instance.profile)
    return instance.gpu_slices or (int(named["gpu"]) if named else None)


def _compute(together: Iterable[MigInstance]) -> dict[str, int]:
    """Compute slices by UUID; equal ones where some are not told."""
    told: dict[str, int] = {}
    for one in together:
        named = _PROFILE.match(one.profile)
        told[one.uuid] = one.compute_slices or (int(named["compute"] or named["gpu"]) if named else 0)
    return told if all(told.values()) else dict.fromkeys(told, 1)


def _parts(weights: Mapping[str, Fraction]) -> dict[str, int]:
    common = lcm(*(weight.denominator for weight in weights.values()))
    parts = portions({uuid: int(weight * common) for uuid, weight in weights.items()})
    return {uuid: parts.get(uuid, 0) for uuid in weights}
