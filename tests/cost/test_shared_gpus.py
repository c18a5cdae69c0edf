"""Dollars, GPU time and energy of GPUs that several servers hold, and of cards cut into instances."""

from dataclasses import replace
from typing import Any

import pytest

from exporter.cost.attribution import UNALLOCATED_KEY
from exporter.readings import GpuProcess, GpuReading, Holder, MigInstance, ServerKey
from exporter.tariff.terms import Electricity
from tests.cost.checked_meter import CheckedMeter
from tests.cost.readings import BATCH, CHAT, Decimal, allocate, cost_policy, down, h100, page, rent
from tests.kit.units import DOLLAR

GB = 10**9
JOB = ServerKey("", "unmatched:python")


@pytest.fixture
def meter() -> CheckedMeter:
    """One dollar a second, so that dollars read as seconds."""
    return CheckedMeter(cost_policy(rent(3600)))


def phases(meter: CheckedMeter, **by: str) -> dict[str, float]:
    """Dollars by phase, those of zero left out."""
    reported = {
        phase: meter.dollars(phase=phase, **by) / DOLLAR
        for phase in ("prefill", "decode", "other", "idle", "unobserved")
    }
    return {phase: dollars for phase, dollars in reported.items() if dollars}


def held_parts(meter: CheckedMeter) -> dict[tuple[str, str], float]:
    """The parts of GPU-0 that are reported, by server and method."""
    assert meter.outcome is not None
    (gpu,) = meter.outcome.gpus
    return {(key.server, method): round(part, 6) for (key, method), part in gpu.held_shares.items()}


def used(key: ServerKey, sm: float | None, gigabytes: int | None, instance: str = "") -> Holder:
    memory = None if gigabytes is None else gigabytes * GB
    return Holder(key, "GPU-0", None, instance, sm, memory)


BOTH = (used(CHAT, 0.35, 20), used(BATCH, 0.15, 60))


def test_work_goes_by_utilization_and_rest_by_memory(meter: CheckedMeter) -> None:
    """Half busy of 10 s: 5 s as 0.7 to 0.3, the other 5 as 20 to 60 GB. Trap: each pays all of it."""
    meter.tick(1, [h100()], [], BOTH)
    meter.tick(10, [h100(utilization_ratio=0.5)], [], BOTH)
    assert phases(meter, server="chat") == {"other": 3.5, "idle": 1.25}
    assert phases(meter, server="batch") == {"other": 1.5, "idle": 3.75}
    assert (meter.seconds(server="chat"), meter.seconds(server="batch")) == (4.75, 5.25)


def test_each_method_reports_what_it_gave(meter: CheckedMeter) -> None:
    """Parts of the GPU's time: by utilization half of it, by memory the other half; 1 together."""
    meter.tick(10, [h100(utilization_ratio=0.5)], [], BOTH)
    assert held_parts(meter) == {
        ("chat", "sm_utilization"): 0.35,
        ("chat", "memory"): 0.125,
        ("batch", "sm_utilization"): 0.15,
        ("batch", "memory"): 0.375,
    }
    meter.tick(10, [h100(utilization_ratio=1.0)], [], BOTH)
    assert held_parts(meter) == {
        ("chat", "sm_utilization"): 0.7,
        ("chat", "memory"): 0.0,
        ("batch", "sm_utilization"): 0.3,
        ("batch", "memory"): 0.0,
    }


def test_one_method_is_one_part(meter: CheckedMeter) -> None:
    """The only holder, configured ratios, and nobody."""
    meter.tick(10, [h100(utilization_ratio=0.5)], [], allocate(CHAT, 0))
    assert held_parts(meter) == {("chat", "whole"): 1.0}
    meter.tick(
        10,
        [h100(utilization_ratio=0.5)],
        [],
        (*allocate(CHAT, 0, share=0.7), *allocate(BATCH, 0, share=0.3)),
    )
    assert held_parts(meter) == {("chat", "configured"): 0.7, ("batch", "configured"): 0.3}
    meter.tick(10, [h100(utilization_ratio=0.5)])
    assert held_parts(meter) == {("unallocated", "none"): 1.0}


def test_where_servers_are_asked_memory_divides_every_second(meter: CheckedMeter) -> None:
    """The driver cannot say how busy the GPU was. Chat ran on its quarter of it, batch rested on the rest."""
    pages = [page(generation=0), page(BATCH, running=0.0, generation=0)]
    meter.tick(1, [h100()], pages, BOTH)
    pages = [page(generation=9), page(BATCH, running=0.0, generation=0)]
    meter.tick(10, [h100(utilization_ratio=None)], pages, BOTH)
    assert phases(meter, server="chat") == {"decode": 2.5}
    assert phases(meter, server="batch") == {"idle": 7.5}
    assert held_parts(meter) == {("chat", "memory"): 0.25, ("batch", "memory"): 0.75}


def test_while_nvml_is_silent_the_memory_that_was_held_last_counts(meter: CheckedMeter) -> None:
    """And in a gap, and on a GPU that cannot be read: its last holders, by what they held."""
    meter.tick(1, [h100()], [], BOTH)
    meter.tick(8, None)
    assert phases(meter, server="chat") == {"unobserved": 2.0}
    meter.tick(8, [h100(up=False, utilization_ratio=None)])
    assert phases(meter, server="chat") == {"unobserved": 2.0, "idle": 2.0}
    meter.tick(80, [h100()], [], allocate(JOB, 0))
    assert phases(meter, server="chat") == {"unobserved": 22.0, "idle": 2.0}
    assert meter.dollars(server=JOB.server) == 0


def test_energy_of_work_goes_by_utilization_and_of_rest_by_memory() -> None:
    """Idle at 100 W, then 4 kJ in 10 s at half busy: 0.5 kJ as 20 to 60 GB, 3.5 kJ as 0.7 to 0.3."""
    meter = CheckedMeter(cost_policy(rent(0, energy=Electricity(Decimal(3600)))))  # a dollar a kilojoule
    joules = 0
    for used_joules, busy in ((0, 0.0), (1000, 0.0), (4000, 0.5)):
        joules += used_joules
        gpu = h100(utilization_ratio=busy, energy=joules * 1000, power_limit_watts=700.0)
        meter.tick(10, [gpu], [], BOTH)
    assert phases(meter, server="chat") == {"other": 2.45, "idle": 0.25 + 0.125}
    assert phases(meter, server="batch") == {"other": 1.05, "idle": 0.75 + 0.375}


def test_no_second_is_charged_to_who_came_and_went(meter: CheckedMeter) -> None:
    """A hand-over within a tick: all of it to who is there at its end, at its use."""
    meter.tick(1, [h100()], [], allocate(CHAT, 0))
    meter.tick(10, [h100()], [], (used(JOB, 0.25, 10), used(BATCH, 0.75, 10)))
    assert (meter.dollars(server="chat"), meter.dollars(server="batch")) == (0, 7.5 * DOLLAR)


SIZES = {"3g": (3, 20), "2g": (2, 10), "1g": (1, 5)}


def cut(
    busy: dict[str, float | None] | None = None,
    processes: tuple[str, ...] | None = None,
    energy: int | None = None,
    **fields: Any,
) -> GpuReading:
    """An A100 of 40 GB cut into 3g.20gb, 2g.10gb and 1g.5gb: 1/2, 2/7 and 1/7; 1/14 is no instance's."""
    instances = tuple(
        MigInstance(
            f"MIG-{size}",
            number,
            gpu_slices=count,
            compute_slices=count,
            memory_bytes=gigabytes * GB,
            utilization_ratio=(busy or {}).get(size),
        )
        for number, (size, (count, gigabytes)) in enumerate(SIZES.items())
    )
    running = None
    if processes is not None:
        running = tuple(
            GpuProcess(pid, instance=f"MIG-{size}") for pid, size in enumerate(processes, start=1)
        )
    facts = {"instances": instances, "processes": running, "memory_total_bytes": 40 * GB, "energy": energy}
    return h100(**{"utilization_ratio": None, "power_limit_watts": 400.0, **facts, **fields})


ON_3G, ON_2G = used(CHAT, None, None, "MIG-3g"), used(BATCH, None, None, "MIG-2g")


def test_each_instance_is_busy_by_itself(meter: CheckedMeter) -> None:
    """14 s: chat has 7 of them and was busy for half of its own, batch has 4 and all of them."""
    meter.tick(1, [cut()], [], (ON_3G, ON_2G))
    meter.tick(14, [cut({"3g": 0.5, "2g": 1.0, "1g": 0.0})], [], (ON_3G, ON_2G))
    assert phases(meter, server="chat") == pytest.approx({"other": 3.5, "idle": 3.5})
    assert phases(meter, server="batch") == pytest.approx({"other": 4.0})
    # 1g.5gb, which nobody holds, is 2 of them, and what no instance covers 1.
    assert phases(meter, server="unallocated") == pytest.approx({"idle": 3.0})
    assert held_parts(meter) == {
        ("chat", "mig"): 0.5,
        ("batch", "mig"): round(2 / 7, 6),
        ("unallocated", "none"): round(3 / 14, 6),
    }


def test_without_a_measurement_servers_are_asked(meter: CheckedMeter) -> None:
    """Chat moved tokens, batch does not answer; whether 1g.5gb was used nobody knows."""
    meter.tick(1, [cut()], [page(generation=0)], (ON_3G, ON_2G))
    meter.tick(14, [cut()], [page(generation=9), down(page(BATCH))], (ON_3G, ON_2G))
    assert phases(meter, server="chat") == pytest.approx({"decode": 7.0})
    assert phases(meter, server="batch") == pytest.approx({"unobserved": 4.0})
    assert phases(meter, server="unallocated") == pytest.approx({"idle": 1.0, "unobserved": 2.0})


def test_an_instance_without_a_process_is_idle(meter: CheckedMeter) -> None:
    """NVML reports who computes, and nobody does on 1g.5gb; what runs on 2g.10gb is not known to rest."""
    meter.tick(1, [cut()], [], [ON_3G])
    meter.tick(14, [cut({"3g": 1.0}, processes=("3g", "2g"))], [], [ON_3G])
    assert phases(meter, server="unallocated") == pytest.approx({"idle": 3.0, "unobserved": 4.0})


def test_a_whole_gpu_without_a_process_is_idle_as_well(meter: CheckedMeter) -> None:
    """Where its utilization is not reported."""
    meter.tick(1, [h100()])
    meter.tick(10, [h100(utilization_ratio=None, processes=())])
    assert phases(meter) == {"idle": 10.0}


def test_an_instance_that_says_0_while_tokens_move_is_not_believed(meter: CheckedMeter) -> None:
    """As a whole GPU is not; its neighbor is."""
    pages = [page(generation=0), page(BATCH, generation=0)]
    meter.tick(1, [cut()], pages, (ON_3G, ON_2G))
    pages = [page(generation=9), page(BATCH, generation=0)]
    meter.tick(14, [cut({"3g": 0.0, "2g": 0.0})], pages, (ON_3G, ON_2G))
    assert phases(meter, server="chat") == pytest.approx({"decode": 7.0})
    assert phases(meter, server="batch") == pytest.approx({"idle": 4.0})


def test_several_on_one_instance_share_it(meter: CheckedMeter) -> None:
    """Chat and a job on 3g.20gb, half busy: no SM utilization there, memory is 5 to 15 GB."""
    holders = (used(CHAT, None, 5, "MIG-3g"), used(JOB, None, 15, "MIG-3g"), ON_2G)
    meter.tick(1, [cut()], [], holders)
    meter.tick(14, [cut({"3g": 0.5, "2g": 1.0, "1g": 0.0})], [], holders)
    assert phases(meter, server="chat") == pytest.approx({"other": 0.875, "idle": 0.875})
    assert phases(meter, server=JOB.server) == pytest.approx({"other": 2.625, "idle": 2.625})
    assert held_parts(meter)["chat", "memory"] == 0.125


def test_one_server_on_two_instances_holds_both(meter: CheckedMeter) -> None:
    """1/2 and 2/7 are 11/14, in one row."""
    holders = (ON_3G, used(CHAT, None, None, "MIG-2g"))
    meter.tick(1, [cut()], [], holders)
    meter.tick(14, [cut({"3g": 1.0, "2g": 1.0, "1g": 0.0})], [], holders)
    assert phases(meter, server="chat") == pytest.approx({"other": 11.0})
    assert held_parts(meter)["chat", "mig"] == round(11 / 14, 6)


def test_who_holds_the_card_holds_what_no_other_instance_is(meter: CheckedMeter) -> None:
    """Batch is configured to hold GPU 0, chat was seen on 3g.20gb: half, and the other half."""
    holders = (ON_3G, *allocate(BATCH, 0))
    meter.tick(1, [cut()], [], holders)
    meter.tick(14, [cut({"3g": 1.0, "2g": 1.0, "1g": 1.0})], [], holders)
    assert phases(meter, server="chat") == pytest.approx({"other": 7.0})
    assert phases(meter, server="batch") == pytest.approx({"other": 6.0, "idle": 1.0})


def test_the_only_holder_of_a_card_holds_all_of_it(meter: CheckedMeter) -> None:
    """Cut or not."""
    meter.tick(1, [cut()], [], allocate(CHAT, 0))
    meter.tick(14, [cut({"3g": 1.0, "2g": 1.0, "1g": 1.0})], [], allocate(CHAT, 0))
    assert meter.dollars(server="chat") == 14 * DOLLAR


def test_an_instance_that_is_gone_holds_nothing(meter: CheckedMeter) -> None:
    """A holder seen before the card was partitioned again: its instance is gone, the money is unallocated."""
    meter.tick(1, [cut()], [], [used(CHAT, None, None, "MIG-gone")])
    meter.tick(14, [cut()], [], [used(CHAT, None, None, "MIG-gone")])
    assert meter.dollars(server="unallocated") == 14 * DOLLAR


def test_instances_keep_the_order_of_the_last_listing(meter: CheckedMeter) -> None:
    """A card that is partitioned again has the same UUIDs in another order, which decides that of its rows.

    Trap: equal parts by UUID are the parts of before.
    """
    card = cut({"3g": 0.5})
    assert card.instances is not None
    meter.tick(1, [card], [], (used(CHAT, None, None),))
    outcome = meter.tick(10, [replace(card, instances=card.instances[::-1])], [], (used(CHAT, None, None),))
    assert [share.instance for share in outcome.gpus[0].shares] == ["MIG-1g", "MIG-2g", "MIG-3g", ""]
    assert list(outcome.state.gpus["GPU-0"].slices or ()) == ["MIG-1g", "MIG-2g", "MIG-3g"]


def test_a_card_whose_instances_are_not_reported_is_held_whole(meter: CheckedMeter) -> None:
    """Two holders of instances of which NVML says nothing share the card as any two would."""
    holders = (used(CHAT, None, 10, "MIG-3g"), used(BATCH, None, 30, "MIG-2g"))
    meter.tick(1, [h100()], [], holders)
    meter.tick(10, [h100()], [], holders)
    assert (meter.dollars(server="chat"), meter.dollars(server="batch")) == (2.5 * DOLLAR, 7.5 * DOLLAR)


def test_a_card_cut_into_nothing_is_idle_and_unallocated(meter: CheckedMeter) -> None:
    """Nothing can run on it."""
    meter.tick(1, [h100(instances=())])
    meter.tick(14, [h100(instances=(), utilization_ratio=None)])
    assert phases(meter, server=UNALLOCATED_KEY.server) == {"idle": 14.0}


def test_a_card_that_is_not_read_stays_as_it_was_cut(meter: CheckedMeter) -> None:
    """Silent, lost, and over a gap: parts of before, until it is read again as it is cut now."""
    meter.tick(1, [cut()], [], (ON_3G, ON_2G))
    for reading in (None, [h100(up=False, utilization_ratio=None)], []):
        before = meter.dollars(server="chat")
        meter.tick(14, reading)
        assert meter.dollars(server="chat") - before == pytest.approx(7 * DOLLAR)
    assert phases(meter, server="chat") == pytest.approx({"unobserved": 7.0, "idle": 14.0})
    # Found again after a gap, and no longer cut: the gap is charged as it was.
    meter.tick(140, [h100()], [], allocate(CHAT, 0))
    assert phases(meter, server="chat")["unobserved"] == pytest.approx(7.0 + 70.0)
    meter.tick(14, [h100()], [], allocate(CHAT, 0))
    assert phases(meter, server="chat")["other"] == pytest.approx(14.0)


def test_energy_of_a_card_is_divided_and_never_repeated() -> None:
    """NVML reports it for the card alone: 14 kJ are 7 of chat's half, 4 of batch's, 3 unallocated.

    Trap: MIG repeats the whole card's power for each of its instances.
    """
    meter = CheckedMeter(cost_policy(rent(0, energy=Electricity(Decimal(3600)))))
    busy: dict[str, float | None] = {"3g": 1.0, "2g": 0.0, "1g": 0.0}
    meter.tick(50, [cut(busy, energy=0)], [], (ON_3G, ON_2G))
    meter.tick(50, [cut(busy, energy=14_000_000)], [], (ON_3G, ON_2G))
    assert phases(meter, server="chat") == pytest.approx({"other": 7.0})
    assert phases(meter, server="batch") == pytest.approx({"idle": 4.0})
    assert meter.dollars() == 14 * DOLLAR
    assert meter.energy == {"GPU-0": 14_000_000}
