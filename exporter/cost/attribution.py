"""Attribution: the parts of a GPU that servers hold. Pure."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm
from typing import Final, Literal

from exporter.cost.money import WHOLE, divide, portions
from exporter.cost.postings import UNALLOCATED
from exporter.cost.state import GpuState, State
from exporter.readings import Frame, GpuReading, Holder, MigInstance, ServerKey
from exporter.tariff.gpu_models import slices_of_gpu

Slices = Mapping[str, int]
"""Parts of a card by UUID of the MIG instance, in parts of `money.WHOLE`; together at most a whole."""

_PROFILE: Final = re.compile(r"(?:(?P<compute>\d+)c\.)?(?P<gpu>\d+)g\.")

_REST: Final = ""


def mig_slices(reading: GpuReading) -> Slices | None:
    """The parts of a card's instances, at most the whole card together; `None` for a card without MIG.

    A GPU instance is the larger of its compute slices over the card's and its memory over the card's. Where
    these pass one together, they are divided by their sum. Its compute instances divide it by their slices.
    A profile's name gives slices that NVML does not report; an instance without either is one slice.
    """
    if reading.instances is None:
        return None
    by_gpu_instance: dict[int, list[MigInstance]] = {}
    for instance in reading.instances:
        by_gpu_instance.setdefault(instance.gpu_instance, []).append(instance)
    slices_of_card = slices_of_gpu(reading.gpu.gpu_model)
    memory_of_card = reading.memory_total_bytes
    weights: dict[str, Fraction] = {}
    for instances in by_gpu_instance.values():
        # Each compute instance reports the slices and the memory of its GPU instance.
        ratios: list[Fraction] = []
        compute: dict[str, int] = {}
        for instance in instances:
            profile = _PROFILE.match(instance.profile)
            named_slices = int(profile["gpu"]) if profile else 0
            named_compute = int(profile["compute"] or profile["gpu"]) if profile else 0
            slices = instance.gpu_slices or named_slices
            if slices:
                ratios.append(Fraction(slices, slices_of_card))
            if memory_of_card and instance.memory_bytes:
                ratios.append(Fraction(instance.memory_bytes, memory_of_card))
            compute[instance.uuid] = instance.compute_slices or named_compute
        part = min(Fraction(1), max(ratios, default=Fraction(1, slices_of_card)))
        if not all(compute.values()):  # some are not reported: they are equal
            compute = dict.fromkeys(compute, 1)
        every = sum(compute.values())
        weights |= {uuid: part * count / every for uuid, count in compute.items()}
    rest = Fraction(1) - sum(weights.values())
    if rest > 0:
        weights[_REST] = rest
    common = lcm(*(weight.denominator for weight in weights.values()))
    parts = portions({uuid: int(weight * common) for uuid, weight in weights.items()})
    return {uuid: parts.get(uuid, 0) for uuid in weights if uuid != _REST}


def with_readings(
    listed: Mapping[str, GpuState], state: State, frame: Frame, names: Mapping[ServerKey, ServerKey]
) -> dict[str, GpuState]:
    """Listed GPUs with this tick's reading and holders. `names` are the keys of servers that have another."""
    after: dict[str, GpuState] = {}
    by_gpu: dict[str, list[Holder]] = {}
    for holder in frame.holders:
        key = names.get(holder.key, holder.key)
        by_gpu.setdefault(holder.uuid, []).append(replace(holder, key=key))
    for reading in frame.gpus or ():
        uuid = reading.gpu.uuid
        before = listed[uuid]
        holders = by_gpu.get(uuid, [])
        if uuid in frame.unknown_gpus and uuid in state.gpus:
            earlier = [holder for holder in state.gpus[uuid].holders if holder not in holders]
            holders = [*earlier, *holders]
        # A GPU that cannot be read reports neither its instances nor its processes.
        is_known = reading.up or bool(holders)
        memory = reading.memory_total_bytes if reading.up else None
        after[uuid] = replace(
            before,
            gpu=reading.gpu,
            index=reading.index,
            up=reading.up,
            pci_bus_id=reading.pci_bus_id or before.pci_bus_id,
            holders=tuple(holders) if is_known else before.holders,
            slices=mig_slices(reading) if reading.up else before.slices,
            memory_bytes=memory or before.memory_bytes,
        )
    return after


def held_memory(slot: GpuState, reading: GpuReading | None) -> dict[ServerKey, int]:
    """GPU memory that servers hold on one GPU, by their processes.

    A server of which one part is unknown has none.
    """
    if reading is None or not reading.up:
        return {}
    by_server: dict[ServerKey, list[int | None]] = {}
    for holder in slot.holders:
        by_server.setdefault(holder.key, []).append(holder.memory_bytes)
    memory_held: dict[ServerKey, int] = {}
    for key, amounts in by_server.items():
        known = [amount for amount in amounts if amount is not None and amount >= 0]
        memory = sum(known) if len(known) == len(amounts) else None
        if memory is None and len(by_server) == 1:
            # Its processes are not visible: all that is used there is the only server's.
            memory = reading.memory_used_bytes
        if memory is not None and memory >= 0:
            memory_held[key] = memory
    return memory_held


ShareMethod = Literal["whole", "mig", "configured", "sm_utilization", "memory", "equal", "none"]
"""The source of a share: the only holder of a GPU, the only one of a MIG instance; of several holders the
configured ratio, SM utilization, memory held, or equal parts; `none` is unallocated."""

UNALLOCATED_KEY: Final = ServerKey("", UNALLOCATED)

OUTSIDE_INSTANCES: Final = ""
"""The instance of a share in the rest of a MIG card, and of a card without MIG."""


@dataclass(frozen=True, slots=True)
class GpuShare:
    """One server's part of one GPU, or of one MIG instance of it, in parts of `money.WHOLE` of the GPU.

    The busy parts of all holders sum to what their idle parts sum to.
    """

    key: ServerKey
    busy_part: int
    """Its part of the time in which the GPU (the instance) worked."""
    idle_part: int
    """Its part of the time in which it was idle."""
    busy_method: ShareMethod
    idle_method: ShareMethod
    instance: str = OUTSIDE_INSTANCES


UNALLOCATED_SHARE: Final = GpuShare(UNALLOCATED_KEY, WHOLE, WHOLE, "none", "none")
"""A GPU without holders."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """Measurements of the holders of one key together; `None` where none has one."""

    configured: float | None
    sm_ratio: float | None
    memory_bytes: int | None

    @classmethod
    def of(cls, holders: Iterable[Holder]) -> "_Claim":
        holders = tuple(holders)
        # Sums that are rounded once do not depend on who is named first.
        configured = [holder.share_ratio for holder in holders if holder.share_ratio is not None]
        ratios = [holder.sm_ratio for holder in holders if holder.sm_ratio is not None]
        ratios = [ratio for ratio in ratios if math.isfinite(ratio) and ratio >= 0]
        memory = [holder.memory_bytes for holder in holders if holder.memory_bytes is not None]
        memory = [amount for amount in memory if amount >= 0]
        return cls(
            math.fsum(configured) if configured else None,
            math.fsum(ratios) if ratios else None,
            sum(memory) if memory else None,
        )


def shares(holders: Iterable[Holder], slices: Slices | None = None) -> tuple[GpuShare, ...]:
    """The parts of one GPU: busy parts sum to the whole, and so do idle parts.

    One server holds all of it. Several share it by their configured ratios. The others divide the rest: its
    busy part by SM utilization and its idle part by memory held. Where one of them lacks one measure, the
    other is used, and without either the parts are equal. Configured ratios alone are divided by their sum,
    since a GPU that is held is held whole. Without holders it is unallocated.

    Each MIG instance is divided so among its own holders. A holder of the card without an instance holds the
    parts that no other holds. Holders of an instance that does not exist hold nothing.

    Args:
        holders: those of this GPU.
        slices: the parts of its instances, `None` for a card without MIG.
    """
    if slices is None:
        return tuple(_divided(holders, WHOLE, OUTSIDE_INSTANCES, "whole"))
    inside: dict[str, list[Holder]] = {instance: [] for instance in slices}
    outside: list[Holder] = []
    for holder in holders:
        if not holder.instance:
            outside.append(holder)
        elif holder.instance in inside:
            inside[holder.instance].append(holder)
    parts: list[GpuShare] = []
    for instance, part in slices.items():
        parts += _divided(inside[instance] or outside, part, instance, "mig")
    rest = WHOLE - sum(slices.values())
    if rest:
        parts += _divided(outside, rest, OUTSIDE_INSTANCES, "mig")
    return tuple(parts)


def _divided(holders: Iterable[Holder], part: int, instance: str, alone: ShareMethod) -> Iterable[GpuShare]:
    by_key: dict[ServerKey, list[Holder]] = {}
    for holder in holders:
        by_key.setdefault(holder.key, []).append(holder)
    if not by_key:
        yield GpuShare(UNALLOCATED_KEY, part, part, "none", "none", instance)
        return
    if len(by_key) == 1:
        yield GpuShare(next(iter(by_key)), part, part, alone, alone, instance)
        return
    claims = {key: _Claim.of(those) for key, those in by_key.items()}
    busy_method, busy = _attribution_parts(claims, part, ("sm_utilization", "memory"))
    idle_method, idle = _attribution_parts(claims, part, ("memory", "sm_utilization"))
    for key, claim in claims.items():
        is_configured = claim.configured is not None
        yield GpuShare(
            key,
            busy.get(key, 0),
            idle.get(key, 0),
            "configured" if is_configured else busy_method,
            "configured" if is_configured else idle_method,
            instance,
        )


def _attribution_parts(
    claims: Mapping[ServerKey, _Claim], part: int, measures: Iterable[ShareMethod]
) -> tuple[ShareMethod, Mapping[ServerKey, int]]:
    """The method that divides what is not configured, and the part of each holder."""
    configured = {key: round(c.configured * WHOLE) for key, c in claims.items() if c.configured is not None}
    others = {key: claim for key, claim in claims.items() if key not in configured}
    method: ShareMethod = "equal"
    measured = dict.fromkeys(others, 1)
    for measure in measures:  # the first that all have and some used
        used: dict[ServerKey, int] = {}
        for key, claim in others.items():
            if measure == "memory" and claim.memory_bytes is not None:
                used[key] = claim.memory_bytes
            elif measure == "sm_utilization" and claim.sm_ratio is not None:
                used[key] = round(claim.sm_ratio * WHOLE)
        if len(used) == len(others) and any(used.values()):
            method = measure
            measured = used
            break
    left = max(0, WHOLE - sum(configured.values()))
    every = sum(measured.values())
    weights = {key: weight * max(1, every) for key, weight in configured.items()}
    weights |= {key: weight * left for key, weight in measured.items()}
    if not any(weights.values()):
        weights = dict.fromkeys(weights, 1)
    return method, divide(part, weights)
