"""Attribution: the parts of a GPU that servers hold. Pure.

`with_readings` gives each slot the holders of a tick. `shares` divides a GPU over its holders.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping
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
"""The slices in the name of a MIG profile: 1c.3g.40gb has 1 compute slice of 3 GPU slices, 3g.40gb has 3."""

_REST: Final = ""
"""The key of what no instance covers, among UUIDs of instances."""


def mig_slices(reading: GpuReading) -> Slices | None:
    """The parts of a card's instances, at most the whole card together; `None` for a card without MIG.

    A GPU instance weighs the larger of two ratios of the card: slices and memory. Weights above 1 together
    are divided by their sum. Compute instances divide their GPU instance by compute slices. The name of a
    profile gives slices that NVML does not report; without a name, a GPU instance is one slice.
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
        if not all(compute.values()):  # where one is unknown, all are equal
            compute = dict.fromkeys(compute, 1)
        compute_in_all = sum(compute.values())
        weights |= {uuid: part * slices / compute_in_all for uuid, slices in compute.items()}
    rest = Fraction(1) - sum(weights.values())
    if rest > 0:
        weights[_REST] = rest
    denominator = lcm(*(weight.denominator for weight in weights.values()))
    parts = portions({uuid: int(weight * denominator) for uuid, weight in weights.items()})
    return {uuid: parts.get(uuid, 0) for uuid in weights if uuid != _REST}


def with_readings(
    listed: Mapping[str, GpuState],
    state_before: State,
    frame: Frame,
    *,
    beyond: Mapping[ServerKey, ServerKey],
) -> dict[str, GpuState]:
    """The slots of listed GPUs, by UUID, with the readings and the holders of a tick.

    `beyond` has the servers beyond the limit, each with the key that counts it.
    """
    slots_read: dict[str, GpuState] = {}
    by_gpu: dict[str, list[Holder]] = {}
    for holder in frame.holders:
        key = beyond.get(holder.key, holder.key)
        by_gpu.setdefault(holder.uuid, []).append(replace(holder, key=key))
    for reading in frame.gpus or ():
        uuid = reading.gpu.uuid
        slot = listed[uuid]
        holders = by_gpu.get(uuid, [])
        if uuid in frame.unknown_gpus and uuid in state_before.gpus:
            # A source cannot name all holders: the holders of the last tick stay.
            earlier = [holder for holder in state_before.gpus[uuid].holders if holder not in holders]
            holders = [*earlier, *holders]
        # A GPU that cannot be read reports neither its instances nor its processes.
        is_known = reading.up or bool(holders)
        memory = reading.memory_total_bytes if reading.up else None
        slots_read[uuid] = replace(
            slot,
            gpu=reading.gpu,
            index=reading.index,
            up=reading.up,
            pci_bus_id=reading.pci_bus_id or slot.pci_bus_id,
            holders=tuple(holders) if is_known else slot.holders,
            slices=mig_slices(reading) if reading.up else slot.slices,
            memory_bytes=memory or slot.memory_bytes,
        )
    return slots_read


def held_memory(slot: GpuState, reading: GpuReading | None) -> dict[ServerKey, int]:
    """Bytes that the processes of each server hold of one GPU, without servers of which a part is unknown."""
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
            # The only server holds all memory that is used, though its processes are not visible.
            memory = reading.memory_used_bytes
        if memory is not None and memory >= 0:
            memory_held[key] = memory
    return memory_held


ShareMethod = Literal["whole", "mig", "configured", "sm_utilization", "memory", "equal", "none"]
"""What gave a share: `whole`, the only holder of a GPU; `mig`, the only holder of a MIG instance. Of several
holders: a configured ratio, SM utilization, memory held, or equal parts. `none` is unallocated."""

UNALLOCATED_KEY: Final = ServerKey("", UNALLOCATED)
"""The holder of a GPU without holders."""

OUTSIDE_INSTANCES: Final = ""
"""The instance of a share in the rest of a MIG card, and of a card without MIG."""


@dataclass(frozen=True, slots=True)
class GpuShare:
    """One server's part of one GPU, or of one MIG instance, in parts of `money.WHOLE` of the GPU.

    The busy parts of all holders of a GPU (of an instance) have the same sum as their idle parts.
    """

    key: ServerKey
    """The server, or `UNALLOCATED_KEY`."""
    busy_part: int
    """The server's part of the time in which the GPU (the instance) is busy."""
    idle_part: int
    """The server's part of the time in which the GPU (the instance) is idle."""
    busy_method: ShareMethod
    idle_method: ShareMethod
    instance: str = OUTSIDE_INSTANCES


UNALLOCATED_SHARE: Final = GpuShare(UNALLOCATED_KEY, WHOLE, WHOLE, "none", "none")
"""A GPU without holders."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """What one server measures on a GPU: the sum over its holders, `None` where no holder has a value."""

    configured: float | None
    sm_ratio: float | None
    memory_bytes: int | None

    @classmethod
    def of(cls, holders: Collection[Holder]) -> "_Claim":
        # Sums that are rounded once do not depend on the order of holders.
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
    """The shares of one GPU: busy parts sum to the whole, and so do idle parts.

        no holder                         all of the GPU is unallocated
        one server                        all of the GPU
        servers with a configured ratio   their ratio; of ratios alone, their ratio over the sum
        other servers, busy part          what is left, by SM utilization, else memory held, else equal parts
        other servers, idle part          what is left, by memory held, else SM utilization, else equal parts

    A measure counts where each of the other servers has it. Each MIG instance is divided so among its own
    holders. A holder of the card without an instance holds the parts that no other holds. Holders of an
    instance that does not exist hold nothing.

    Args:
        holders: the holders of the GPU.
        slices: the parts of the GPU's MIG instances, `None` for a card without MIG.
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


def _divided(
    holders: Iterable[Holder], part: int, instance: str, only_holder: ShareMethod
) -> Iterable[GpuShare]:
    """The shares of a part of a GPU; `only_holder` is the method where one server holds all of the part."""
    by_key: dict[ServerKey, list[Holder]] = {}
    for holder in holders:
        by_key.setdefault(holder.key, []).append(holder)
    if not by_key:
        yield GpuShare(UNALLOCATED_KEY, part, part, "none", "none", instance)
        return
    if len(by_key) == 1:
        (key,) = by_key
        yield GpuShare(key, part, part, only_holder, only_holder, instance)
        return
    claims = {key: _Claim.of(holders_of_key) for key, holders_of_key in by_key.items()}
    busy_method, busy_parts = _attribution_parts(claims, part, ("sm_utilization", "memory"))
    idle_method, idle_parts = _attribution_parts(claims, part, ("memory", "sm_utilization"))
    for key, claim in claims.items():
        is_configured = claim.configured is not None
        yield GpuShare(
            key,
            busy_part=busy_parts.get(key, 0),
            idle_part=idle_parts.get(key, 0),
            busy_method="configured" if is_configured else busy_method,
            idle_method="configured" if is_configured else idle_method,
            instance=instance,
        )


def _attribution_parts(
    claims: Mapping[ServerKey, _Claim], part: int, measures: Iterable[ShareMethod]
) -> tuple[ShareMethod, Mapping[ServerKey, int]]:
    """The method that divides what is not configured, and the part of each server."""
    configured = {key: round(c.configured * WHOLE) for key, c in claims.items() if c.configured is not None}
    others = {key: claim for key, claim in claims.items() if key not in configured}
    method: ShareMethod = "equal"
    measured = dict.fromkeys(others, 1)
    for measure in measures:  # the first one that all have, and that is above 0 for some
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
    # Weights have one denominator: a ratio x the sum of measures, and a measure x the ratio that is left.
    left = max(0, WHOLE - sum(configured.values()))
    measured_in_all = max(1, sum(measured.values()))
    weights = {key: ratio * measured_in_all for key, ratio in configured.items()}
    weights |= {key: amount * left for key, amount in measured.items()}
    if not any(weights.values()):
        weights = dict.fromkeys(weights, 1)
    return method, divide(part, weights)
