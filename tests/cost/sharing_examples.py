"""Worked examples of GPUs that several servers hold, run through the model."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Final

from exporter.readings import Gpu, GpuReading, Holder, MigInstance, ServerKey
from exporter.tariff.terms import Electricity, Retirement
from tests.cost.checked_meter import CheckedMeter
from tests.cost.readings import BATCH, CHAT, START, allocate, cost_policy, h100, overhead, owned, rent
from tests.kit.units import DOLLAR, HOUR

GB: Final = 10**9
THIRD: Final = ServerKey("", "third")
A100: Final = "NVIDIA A100-SXM4-40GB"


def holder(
    key: ServerKey, sm: float | None = None, gigabytes: int | None = None, instance: str = ""
) -> Holder:
    """A server on GPU-0, and what its processes were seen to use."""
    memory = None if gigabytes is None else gigabytes * GB
    return Holder(key, "GPU-0", instance=instance, sm_ratio=sm, memory_bytes=memory)


def hour(holders: tuple[Holder, ...], busy: float) -> list[float]:
    """Dollars of chat, of batch and of a third, of an hour of one GPU at 3.67 dollars."""
    meter = CheckedMeter(cost_policy(rent("3.67")))
    for _ in range(61):
        meter.tick(60, [h100(utilization_ratio=busy)], [], holders)
    return [meter.dollars(server=name) / DOLLAR for name in ("chat", "batch", "third")]


def shared_by_ratio() -> list[float]:
    """0.7 and 0.3 configured."""
    return hour((*allocate(CHAT, 0, share=0.7), *allocate(BATCH, 0, share=0.3)), 0.5)[:2]


def shared_by_use() -> list[float]:
    """Half busy, 70 % of it for chat: 35 and 15 % of the time; 20 and 60 GB."""
    actual = hour((holder(CHAT, 0.35, 20), holder(BATCH, 0.15, 60)), 0.5)
    return [*actual[:2], sum(actual)]


def shared_by_memory() -> list[float]:
    """20 and 60 GB."""
    return hour((holder(CHAT, None, 20), holder(BATCH, None, 60)), 0.5)[:2]


def shared_equally() -> list[float]:
    """Nothing configured, nothing reported."""
    return hour((*allocate(CHAT, 0), *allocate(BATCH, 0)), 0.5)[:2]


def shared_with_one_configured() -> list[float]:
    """0.5 configured; 30 and 10 % of the SMs, as much memory as each other; busy, then idle."""
    holders = (*allocate(CHAT, 0, share=0.5), holder(BATCH, 0.3, 10), holder(THIRD, 0.1, 10))
    return [*hour(holders, 1.0)[:2], hour(holders, 0.0)[1]]


def shared_joules() -> list[float]:
    """A dollar a kilojoule; the first one of a tick at 100 W is all idle, and is left out."""
    meter = CheckedMeter(cost_policy(rent(0, energy=Electricity(Decimal(3600)))))
    holders = (holder(CHAT, 0.35, 20), holder(BATCH, 0.15, 60))
    before = [0.0, 0.0]
    for joules, busy in ((0, 0.0), (1000, 0.0), (5000, 0.5)):
        before = [meter.dollars(server=name) / DOLLAR for name in ("chat", "batch")]
        gpu = h100(utilization_ratio=busy, energy=joules * 1000, power_limit_watts=700.0)
        meter.tick(10, [gpu], [], holders)
    after = [meter.dollars(server=name) / DOLLAR for name in ("chat", "batch")]
    actual = [now - then for now, then in zip(after, before, strict=True)]
    return [*actual, sum(actual)]


def card(
    model: str, gigabytes: int, price: str, *instances: MigInstance, unallocated: bool = False
) -> list[float]:
    """An hour of a card whose first instance chat holds, and batch the second; what nobody holds if asked."""
    meter = CheckedMeter(cost_policy(rent(price)))
    gpu = GpuReading(Gpu("GPU-0", model), 0, memory_total_bytes=gigabytes * GB, instances=instances)
    holders = [
        holder(key, instance=instance.uuid) for key, instance in zip((CHAT, BATCH), instances, strict=False)
    ]
    for _ in range(61):
        meter.tick(60, [gpu], [], holders)
    names = ("chat", "batch", "unallocated") if unallocated else ("chat", "batch")
    return [meter.dollars(server=name) / DOLLAR for name in names]


def instance(
    number: int, slices: int, gigabytes: int, compute: int | None = None, ci: int = 0
) -> MigInstance:
    """A compute instance of a GPU instance of so many slices; all of them unless given."""
    return MigInstance(f"MIG-{number}-{ci}", number, ci, "", slices, compute or slices, gigabytes * GB)


def mig_a100() -> list[float]:
    """3g.20gb, 2g.10gb, 1g.5gb."""
    reported = (instance(1, 3, 20), instance(2, 2, 10), instance(3, 1, 5))
    return card(A100, 40, "3.67", *reported, unallocated=True)


def mig_a30() -> list[float]:
    """2g.12gb, 1g.6gb."""
    return card("NVIDIA A30", 24, "0.60", instance(1, 2, 12), instance(2, 1, 6), unallocated=True)


def mig_oversubscribed() -> list[float]:
    """4g.20gb, 3g.20gb."""
    actual = card(A100, 40, "3.67", instance(1, 4, 20), instance(2, 3, 20))
    return [*actual, sum(actual)]


def mig_compute_instances() -> list[float]:
    """1c and 2c of a 3g.20gb."""
    return card(A100, 40, "3.67", instance(1, 3, 20, 1, 0), instance(1, 3, 20, 2, 1))


def gpu_retired() -> list[float]:
    """A day of 8 GPUs at 2 dollars, one of which left at noon, and 0.80 an hour for the host."""
    priced = cost_policy(
        rent(2), overheads=(overhead("network", "0.80", "hour", "host"),), gap_after=24 * HOUR
    )
    gone = Retirement("GPU-7", START + 12 * HOUR)
    meter = CheckedMeter(replace(priced, tariff=replace(priced.tariff, retired=(gone,))))
    meter.pass_by(0, [h100(number) for number in range(8)])
    meter.pass_by(24 * HOUR, [h100(number) for number in range(7)])
    return [
        meter.dollars(uuid="GPU-7", component="rent") / DOLLAR,
        meter.dollars(component="rent") / DOLLAR,
        meter.dollars(uuid="GPU-0", component="network") / DOLLAR,
        meter.dollars(component="network") / DOLLAR,
    ]


def unseen_gpu() -> list[float]:
    """An hour of a host of eight, of which seven are listed."""
    meter = CheckedMeter(cost_policy(rent("55.04", 8), all_gpus=True, gap_after=24 * HOUR))
    for duration in (0, HOUR):
        meter.pass_by(duration, [h100(number) for number in range(7)])
    unseen = meter.dollars(uuid="unseen")
    return [(meter.dollars() - unseen) / DOLLAR, unseen / DOLLAR, meter.dollars() / DOLLAR]


def swapped_board() -> list[float]:
    """An hour of an owned host of eight, and one with another board in the place of its third."""
    meter = CheckedMeter(cost_policy(owned(life_years=Decimal(4)), all_gpus=True, gap_after=24 * HOUR))
    gpus = [h100(number, pci_bus_id=str(number)) for number in range(8)]
    meter.pass_by(0, gpus)
    meter.pass_by(HOUR, gpus)
    before = meter.dollars()
    gpus[2] = replace(gpus[2], gpu=Gpu("GPU-new", "NVIDIA H100"))
    meter.pass_by(HOUR, gpus)
    new = meter.dollars(uuid="GPU-new")
    return [before / DOLLAR, (meter.dollars() - before) / DOLLAR, new / DOLLAR]


SHARING_EXAMPLES: Final[dict[str, Callable[[], list[float] | list[Fraction]]]] = {
    "shared-by-ratio": shared_by_ratio,
    "shared-by-use": shared_by_use,
    "shared-by-memory": shared_by_memory,
    "shared-equally": shared_equally,
    "shared-with-one-configured": shared_with_one_configured,
    "shared-joules": shared_joules,
    "mig-a100": mig_a100,
    "mig-a30": mig_a30,
    "mig-oversubscribed": mig_oversubscribed,
    "mig-compute-instances": mig_compute_instances,
    "gpu-retired": gpu_retired,
    "unseen-gpu": unseen_gpu,
    "swapped-board": swapped_board,
}
"""By the name that the page gives them."""
