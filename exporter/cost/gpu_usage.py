"""GPU usage: integer weights of one GPU's time and money by owner and phase. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

from exporter.cost.attribution import (
    OUTSIDE_INSTANCES,
    UNALLOCATED_KEY,
    UNALLOCATED_SHARE,
    GpuShare,
    ShareMethod,
)
from exporter.cost.money import WHOLE
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import OwnerPhase, Phase
from exporter.cost.servers import ServerActivity
from exporter.readings import GpuReading, ServerKey

Activity = Mapping[ServerKey, ServerActivity]


@dataclass(frozen=True, slots=True)
class ShareUsage:
    """One share of one GPU in one tick.

    Where the holders of a GPU (of an instance) were not equally busy, each share's two parts are the same.
    """

    share: GpuShare
    busy: int | None
    """How busy it was, in parts of `money.WHOLE`; `None`: unobserved."""


def share_usage(
    parts: Iterable[GpuShare], reading: GpuReading | None, activity: Activity, *, is_lost: bool, is_gap: bool
) -> tuple[ShareUsage, ...]:
    """How busy each share of a GPU was.

    NVML reports it as the mean of the tick, of a MIG card for each instance. Where NVML reports nothing, or 0
    while tokens moved, a share was busy if its server had requests running, and its size is its idle part.
    Without a server it is unobserved. Two parts are known to be idle: what no instance covers, and an
    unallocated share without processes.

    Args:
        parts: the GPU's shares.
        reading: by NVML; `None` without one.
        activity: of the servers.
        is_lost: the GPU is known to be off the bus. A missing reading alone is no proof.
        is_gap: the tick is too long to have been observed.
    """
    if is_gap:
        return tuple(ShareUsage(_all_idle(share), None) for share in parts)
    if is_lost:
        return tuple(ShareUsage(_all_idle(share), 0) for share in parts)
    usage: list[ShareUsage] = []
    for instance, together in groupby(parts, lambda share: share.instance):
        usage += _used(tuple(together), instance, reading, activity)
    return tuple(usage)


def _used(
    parts: tuple[GpuShare, ...], instance: str, reading: GpuReading | None, activity: Activity
) -> Iterator[ShareUsage]:
    """The shares of one GPU without MIG, of one instance, or of the rest of a MIG card."""
    if reading is not None and reading.instances is not None and instance == OUTSIDE_INSTANCES:
        yield from (ShareUsage(_all_idle(share), 0) for share in parts)
        return
    utilization = None if reading is None else utilization_ratio(reading, instance)
    moved = any(activity[share.key].moved for share in parts if share.key in activity)
    if utilization is not None and (utilization > 0 or not moved):
        yield from (ShareUsage(share, round(utilization * WHOLE)) for share in parts)
        return
    processes = None if reading is None else reading.processes
    has_no_process = processes is not None and all(process.instance != instance for process in processes)
    for share in parts:
        if share.key == UNALLOCATED_KEY and has_no_process:
            yield ShareUsage(share, 0)
            continue
        server = activity.get(share.key)
        busy: int | None = None
        if server is not None and server.up and share.key != UNALLOCATED_KEY and server.running is not None:
            busy = WHOLE if server.running else 0
        yield ShareUsage(_all_idle(share), busy)


def _all_idle(share: GpuShare) -> GpuShare:
    """A share whose every second is divided as idle ones are."""
    return replace(share, busy_part=share.idle_part, busy_method=share.idle_method)


def utilization_ratio(reading: GpuReading, instance: str = OUTSIDE_INSTANCES) -> float | None:
    """Utilization of a GPU without MIG, or of one instance; `None` where NVML reports none."""
    if reading.instances is None:
        return reading.utilization_ratio
    ratios = (one.utilization_ratio for one in reading.instances if one.uuid == instance)
    return next(ratios, None)


def held_shares(gpu: Iterable[ShareUsage]) -> dict[tuple[ServerKey, ShareMethod], float]:
    """The part of a GPU's time in one tick that each server held, by the method that gave it.

    They sum to 1. Where busy and idle time were divided by two methods, a server has a part by each.
    """
    parts: Counter[tuple[ServerKey, ShareMethod]] = Counter()
    for use in gpu:
        share = use.share
        busy = use.busy or 0
        parts[share.key, share.busy_method] += share.busy_part * busy
        parts[share.key, share.idle_method] += share.idle_part * (WHOLE - busy)
    return {key: part / (WHOLE * WHOLE) for key, part in parts.items()}


def busy_ratio(gpu: Iterable[ShareUsage]) -> float | None:
    """How busy the whole GPU was; `None` when a share of it is unobserved."""
    total = 0
    for use in gpu:
        if use.busy is None:
            return None
        total += use.share.busy_part * use.busy
    return total / (WHOLE * WHOLE)


def phase_weights(
    gpu: Iterable[ShareUsage], activity: Activity, policy: CostPolicy, *, idle_energy: int | None = None
) -> dict[OwnerPhase, int]:
    """Weights of one GPU by owner and phase, by time.

    By energy where `idle_energy` is given: the energy of an idle GPU over the energy used, in parts of
    `money.WHOLE`. A share pays its idle time at that rate, at most all that it used.
    The energy of a MIG card is divided as its time is: NVML measures no instance alone.
    """
    weights: Counter[OwnerPhase] = Counter()
    for use in gpu:
        key = use.share.key
        server = activity.get(key) or ServerActivity(key)
        for model, phase, weight in _model_weights(use, server, idle_energy):
            if weight <= 0:
                continue
            divided = server.owner_shares.get(model)
            if divided:
                for owner, part in divided.items():
                    weights[OwnerPhase(owner, phase)] += weight * part
            else:
                weights[OwnerPhase(policy.owner_of(key, model), phase)] += weight * WHOLE
    return dict(weights)


def unallocated_weights(policy: CostPolicy) -> dict[OwnerPhase, int]:
    """Weights of GPU time whose holders nobody knows."""
    return phase_weights([ShareUsage(UNALLOCATED_SHARE, busy=None)], {}, policy)


def _model_weights(use: ShareUsage, server: ServerActivity, idle: int | None) -> list[tuple[str, Phase, int]]:
    """Weights of one share by model and phase, in some of which the model has none."""
    worked = use.share.busy_part
    rested = use.share.idle_part
    if use.busy is None:
        return [
            (model, "unobserved", rested * portion * WHOLE * WHOLE)
            for model, portion in server.idle_models.items()
        ]
    resting = WHOLE - use.busy
    if idle is not None and use.busy > 0:
        resting = min(WHOLE, resting * idle // WHOLE)
    weights: list[tuple[str, Phase, int]] = [
        (model, "idle", rested * portion * resting * WHOLE) for model, portion in server.idle_models.items()
    ]
    for model, portion in server.busy_models.items():
        working = worked * portion * (WHOLE - resting)
        phases = server.phases.get(model)
        if phases is None or phases.prefill_ratio is None:
            weights.append((model, "other", working * WHOLE))
            continue
        prefill = round(phases.prefill_ratio * WHOLE)
        weights += (model, "prefill", working * prefill), (model, "decode", working * (WHOLE - prefill))
    return weights
