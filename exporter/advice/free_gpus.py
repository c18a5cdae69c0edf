"""Unallocated GPUs: those that no server and no other process held. Pure."""

from typing import Final

from exporter.advice.finding import Saving
from exporter.advice.hours import (
    LEAST_HOURS,
    ODD_HOURS,
    HostUsage,
    ServerHours,
    gpu_models,
    least_sure,
)
from exporter.cost.attribution import UNALLOCATED_KEY
from exporter.units import NANOSECONDS_PER_HOUR, Nanoseconds

FREE_PARTS: Final = 20
"""A GPU counts as free in an hour if it was held for less than one part in so many."""


def unallocated(host: HostUsage, hours: ServerHours) -> tuple[Saving, frozenset[str]] | None:
    """GPUs that were free in the last day, but for a tenth of its hours, and are free now.

    The window is as long as that holds. Each hour claims the cheapest free GPUs first.
    Free time is known for the host, not by GPU. An hour of each other GPU with some is not counted: of those
    without a price, of cards in MIG mode, whose parts may be free, and of GPUs that NVML does not show.
    """
    free = sorted(
        (gpu for gpu in host.gpus if not gpu.holders and gpu.per_hour is not None),
        key=lambda gpu: (gpu.per_hour or 0, gpu.gpu),
    )
    others = host.absent + sum(gpu.divided if gpu.holders else gpu.per_hour is None for gpu in host.gpus)

    def idle(hour: int) -> Nanoseconds:
        return max(0, hours[hour].idle - others * NANOSECONDS_PER_HOUR) if hour in hours else 0

    day = range(host.last + 1 - LEAST_HOURS, host.last + 1)
    steady = sorted(map(idle, day))[LEAST_HOURS // ODD_HOURS] + NANOSECONDS_PER_HOUR // FREE_PARTS
    freed = free[: steady // NANOSECONDS_PER_HOUR]
    if not freed:
        return None
    least = len(freed) * NANOSECONDS_PER_HOUR - NANOSECONDS_PER_HOUR // FREE_PARTS
    window = host.longest(lambda hour: idle(hour) >= least)
    claimed = amount = 0
    for hour in range(host.last + 1 - window, host.last + 1):
        left = idle(hour)
        for gpu in freed:
            part = min(left, NANOSECONDS_PER_HOUR)
            claimed, amount, left = claimed + part, amount + part * (gpu.per_hour or 0), left - part
    saving = Saving(
        "unallocated",
        host.name,
        UNALLOCATED_KEY,
        claimed,
        amount // NANOSECONDS_PER_HOUR,
        0,
        "",
        len(freed),
        gpu_models(freed),
        window,
        price_basis=least_sure(gpu.price_basis for gpu in freed),
    )
    return saving, frozenset(gpu.gpu.uuid for gpu in freed)
