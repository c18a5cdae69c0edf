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
    """One share of one GPU, and how busy it was in one tick."""

    share: GpuShare
    """The share. Unless NVML reports how busy it was, its busy part is its idle part."""
    busy: int | None
    """How busy the share was, in parts of `money.WHOLE`; `None`: unobserved."""


def share_usage(
    shares: Iterable[GpuShare], reading: GpuReading | None, activity: Activity, *, is_lost: bool, is_gap: bool
) -> tuple[ShareUsage, ...]:
    """How busy each share of a GPU was.

        a gap                                                unobserved
        a GPU that is lost                                   idle
        the rest of a MIG card, which no instance covers     idle
        NVML reports how busy the GPU (the instance) was     as NVML reports, for each of its shares
        NVML reports nothing, or 0 while tokens moved:
          a share of a server that was read                    busy if requests were running, else idle
          an unallocated share of a GPU without processes      idle
          any other share                                      unobserved

    A GPU `is_lost` that is known to be off the bus. A missing reading alone is no proof.
    """
    if is_gap:
        return tuple(_by_idle_part(share, None) for share in shares)
    if is_lost:
        return tuple(_by_idle_part(share, 0) for share in shares)
    usage: list[ShareUsage] = []
    for instance, of_instance in groupby(shares, lambda share: share.instance):
        usage += _usage_of_instance(tuple(of_instance), instance, reading, activity)
    return tuple(usage)


def _usage_of_instance(
    shares: tuple[GpuShare, ...], instance: str, reading: GpuReading | None, activity: Activity
) -> Iterator[ShareUsage]:
    """The shares of one GPU without MIG, of one instance, or of the rest of a MIG card."""
    if reading is not None and reading.instances is not None and instance == OUTSIDE_INSTANCES:
        yield from (_by_idle_part(share, 0) for share in shares)
        return
    utilization = None if reading is None else utilization_ratio(reading, instance)
    has_moved = any(activity[share.key].moved for share in shares if share.key in activity)
    if utilization is not None and (utilization > 0 or not has_moved):
        yield from (ShareUsage(share, round(utilization * WHOLE)) for share in shares)
        return
    processes = None if reading is None else reading.processes
    has_no_process = processes is not None and all(process.instance != instance for process in processes)
    for share in shares:
        server = activity.get(share.key)
        if share.key == UNALLOCATED_KEY:
            yield _by_idle_part(share, 0 if has_no_process else None)
        elif server is None or not server.up or server.running is None:
            yield _by_idle_part(share, None)
        else:
            yield _by_idle_part(share, WHOLE if server.running else 0)


def _by_idle_part(share: GpuShare, busy: int | None) -> ShareUsage:
    """The usage of a share whose busy time is divided as its idle time is."""
    return ShareUsage(replace(share, busy_part=share.idle_part, busy_method=share.idle_method), busy)


def utilization_ratio(reading: GpuReading, instance: str = OUTSIDE_INSTANCES) -> float | None:
    """Utilization of a GPU without MIG, or of one instance; `None` where NVML reports none."""
    if reading.instances is None:
        return reading.utilization_ratio
    ratios = (one.utilization_ratio for one in reading.instances if one.uuid == instance)
    return next(ratios, None)


def held_shares(usage: Iterable[ShareUsage]) -> dict[tuple[ServerKey, ShareMethod], float]:
    """The part of a GPU's time in one tick that each server held, by the method that gave it.

    The parts sum to 1. Where busy and idle time were divided by two methods, a server has a part by each.
    """
    parts: Counter[tuple[ServerKey, ShareMethod]] = Counter()
    for use in usage:
        share = use.share
        busy = 0 if use.busy is None else use.busy
        parts[share.key, share.busy_method] += share.busy_part * busy
        parts[share.key, share.idle_method] += share.idle_part * (WHOLE - busy)
    return {key: part / (WHOLE * WHOLE) for key, part in parts.items()}


def busy_ratio(usage: Iterable[ShareUsage]) -> float | None:
    """How busy the whole GPU was; `None` when a share of it is unobserved."""
    total = 0
    for use in usage:
        if use.busy is None:
            return None
        total += use.share.busy_part * use.busy
    return total / (WHOLE * WHOLE)


def phase_weights(
    usage: Iterable[ShareUsage], activity: Activity, policy: CostPolicy, *, idle_energy: int | None = None
) -> dict[OwnerPhase, int]:
    """Weights that divide the time of one GPU, or its energy, over owners and phases.

    `idle_energy` is the energy of an idle GPU over the energy used, in parts of `money.WHOLE`. With it the
    weights are of energy: idle time weighs this part of it, and at most all that the share used. The energy
    of a MIG card is divided as its time is: NVML measures no instance alone.
    """
    weights: Counter[OwnerPhase] = Counter()
    for use in usage:
        key = use.share.key
        server = activity.get(key) or ServerActivity(key)
        for model, phase, weight in _model_weights(use, server, idle_energy):
            if weight <= 0:
                continue
            owner_shares = server.owner_shares.get(model) or {policy.owner_of(key, model): WHOLE}
            for owner, part in owner_shares.items():
                weights[OwnerPhase(owner, phase)] += weight * part
    return dict(weights)


def unallocated_weights(policy: CostPolicy) -> dict[OwnerPhase, int]:
    """Weights of GPU time without known holders: all of the time is unobserved and unallocated."""
    return phase_weights([ShareUsage(UNALLOCATED_SHARE, busy=None)], {}, policy)


def _model_weights(
    use: ShareUsage, server: ServerActivity, idle_energy: int | None
) -> list[tuple[str, Phase, int]]:
    """Weights of one share by model and phase, of which some are 0.

    Each weight is a product of four parts of `WHOLE`: of the GPU, of the server's models, of the time and of
    the busy phases. The only server of a GPU that was 40 % busy serves one model, with a quarter of its busy
    money in prefill: idle is 0.6, prefill 0.1 and decode 0.3.
    """
    if use.busy is None:
        unobserved = use.share.idle_part * WHOLE * WHOLE
        return [(model, "unobserved", unobserved * part) for model, part in server.idle_models.items()]
    idle = WHOLE - use.busy
    if idle_energy is not None and use.busy > 0:
        idle = min(WHOLE, idle * idle_energy // WHOLE)
    weights: list[tuple[str, Phase, int]] = [
        (model, "idle", use.share.idle_part * part * idle * WHOLE)
        for model, part in server.idle_models.items()
    ]
    for model, part in server.busy_models.items():
        busy = use.share.busy_part * part * (WHOLE - idle)
        phases = server.phases.get(model)
        if phases is None or phases.prefill_ratio is None:
            weights.append((model, "other", busy * WHOLE))
            continue
        prefill = round(phases.prefill_ratio * WHOLE)
        weights += (model, "prefill", busy * prefill), (model, "decode", busy * (WHOLE - prefill))
    return weights
