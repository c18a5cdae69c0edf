"""What a GPU was doing for its money: busy, idle, unobserved, and for whom."""

import pytest

from exporter.cost.policy import SplitRule
from exporter.readings import GpuReading, ServerKey
from exporter.tariff.terms import Electricity
from tests.cost.checked_meter import CheckedMeter
from tests.cost.readings import BATCH, CHAT, Decimal, allocate, cost_policy, down, h100, page, rent
from tests.kit.units import DOLLAR


@pytest.fixture
def meter() -> CheckedMeter:
    """One dollar a second, so that dollars read as seconds."""
    return CheckedMeter(cost_policy(rent(3600)))


def phases(meter: CheckedMeter, **by: str) -> dict[str, float]:
    """Dollars by phase, those of zero left out."""
    reported = {
        phase: meter.dollars(phase=phase, **by) / DOLLAR for phase in ("prefill", "decode", "other", "idle")
    }
    reported["unobserved"] = meter.dollars(phase="unobserved", **by) / DOLLAR
    return {phase: dollars for phase, dollars in reported.items() if dollars}


def test_a_gpu_that_nobody_holds_is_unallocated(meter: CheckedMeter) -> None:
    """Idle, and `other` where it was busy for nobody that we know."""
    meter.tick(1, [h100()])
    meter.tick(10, [h100(utilization_ratio=0.25)])
    assert phases(meter, server="unallocated") == {"other": 2.5, "idle": 7.5}
    assert meter.dollars() == 10 * DOLLAR


def test_busy_is_what_the_driver_says(meter: CheckedMeter) -> None:
    """40 % busy at 1 prompt to 1 generation: 4 seconds, a quarter prefill; the rest idles."""
    meter.tick(1, [h100()], [page(prompt=0, generation=0)], allocate(CHAT, 0))
    meter.tick(10, [h100(utilization_ratio=0.4)], [page(prompt=10, generation=10)], allocate(CHAT, 0))
    assert phases(meter, server="chat") == {"prefill": 1.0, "decode": 3.0, "idle": 6.0}
    assert meter.seconds(phase="idle") == 6.0


@pytest.mark.parametrize(("running", "expected"), [(3.0, {"decode": 10.0}), (0.0, {"idle": 10.0})])
@pytest.mark.parametrize("utilization", [None, 0.0])
def test_where_the_driver_cannot_say_requests_running_do(
    meter: CheckedMeter, running: float, expected: dict[str, float], utilization: float | None
) -> None:
    """Or where it says 0 while tokens moved, as it does under MIG and on some virtual GPUs."""
    meter.tick(1, [h100()], [page(generation=0)], allocate(CHAT, 0))
    gpu = h100(utilization_ratio=utilization)
    meter.tick(10, [gpu], [page(generation=10, running=running)], allocate(CHAT, 0))
    assert phases(meter) == expected


def test_a_utilization_of_0_is_believed_while_no_token_moves(meter: CheckedMeter) -> None:
    """A request that waits for a tool does not occupy the GPU."""
    meter.tick(1, [h100()], [page(generation=0)], allocate(CHAT, 0))
    meter.tick(10, [h100(utilization_ratio=0.0)], [page(generation=0, running=2.0)], allocate(CHAT, 0))
    assert phases(meter) == {"idle": 10.0}


def test_a_driver_that_cannot_say_and_nobody_to_ask_is_unobserved(meter: CheckedMeter) -> None:
    """Idle is only what is known to be idle."""
    meter.tick(1, [h100(utilization_ratio=None)])
    meter.tick(10, [h100(utilization_ratio=None)])
    assert phases(meter) == {"unobserved": 10.0}


def test_a_server_that_does_not_tell_its_load_is_not_idle(meter: CheckedMeter) -> None:
    """No utilization, no tokens, no load: nobody could tell."""
    for _ in range(2):
        meter.tick(5, [h100(utilization_ratio=None)], [page(running=None, generation=7)], allocate(CHAT, 0))
    assert phases(meter) == {"unobserved": 5.0}


def test_while_nvml_is_silent_the_last_holders_pay(meter: CheckedMeter) -> None:
    """Busy from requests running; the server that does not answer either is unobserved."""
    holders = (*allocate(CHAT, 0), *allocate(BATCH, 1))
    both = [page(generation=0), page(BATCH, generation=0)]
    meter.tick(1, [h100(0), h100(1)], both, holders)
    meter.tick(10, None, [page(generation=10), down(page(BATCH))])
    assert phases(meter, server="chat") == {"decode": 10.0}
    assert phases(meter, server="batch") == {"unobserved": 10.0}
    meter.tick(10, None, [page(generation=10, running=0.0), down(page(BATCH))])
    assert phases(meter, server="chat") == {"decode": 10.0, "idle": 10.0}


def test_a_silent_nvml_and_an_unallocated_gpu_are_unobserved(meter: CheckedMeter) -> None:
    """There is no server to ask."""
    meter.tick(1, [h100()])
    meter.tick(10, None)
    assert phases(meter, server="unallocated") == {"unobserved": 10.0}


@pytest.mark.parametrize("lost", [[], [h100(0, up=False, utilization_ratio=None)]])
def test_a_lost_gpu_is_paid_for_and_idle(meter: CheckedMeter, lost: list[GpuReading]) -> None:
    """Off the bus, or reported and not readable: it stays in the inventory, also while its server is busy."""
    meter.tick(1, [h100(0), h100(1)], [page(generation=0)], allocate(CHAT, 0, 1))
    gpus = [*lost, h100(1)]
    meter.tick(10, gpus, [page(generation=10)], allocate(CHAT, 0, 1))
    assert phases(meter, uuid="GPU-0", server="chat") == {"idle": 10.0}
    assert phases(meter, uuid="GPU-1", server="chat") == {"decode": 10.0}


def test_a_gpu_known_lost_stays_lost_while_nvml_is_silent(meter: CheckedMeter) -> None:
    """Its server is busy on the others; only a reading of it says that it is back."""
    meter.tick(1, [h100(0), h100(1)], [page(generation=0)], allocate(CHAT, 0, 1))
    meter.tick(10, [h100(1)], [page(generation=10)], allocate(CHAT, 0, 1))
    meter.tick(10, None, [page(generation=20)])
    assert phases(meter, uuid="GPU-0") == {"idle": 20.0}
    assert phases(meter, uuid="GPU-1") == {"decode": 20.0}
    meter.tick(10, [h100(0), h100(1)], [page(generation=30)], allocate(CHAT, 0, 1))
    meter.tick(10, None, [page(generation=40)])
    assert phases(meter, uuid="GPU-0") == {"decode": 20.0, "idle": 20.0}


def test_a_gap_is_unobserved(meter: CheckedMeter) -> None:
    """A tick above 60 s was not watched: what the end of it shows does not stand for all of it."""
    meter.tick(1, [h100()], [page(generation=0)], allocate(CHAT, 0))
    meter.tick(60, [h100()], [page(generation=10)], allocate(CHAT, 0))
    assert phases(meter) == {"decode": 60.0}
    meter.pass_by(60_000_000_001, [h100()], [page(generation=30)], allocate(CHAT, 0))
    assert phases(meter)["unobserved"] == 60.000000001
    assert meter.tokens["chat", "llama", "generation"] == 30


def test_an_interval_is_charged_to_the_holders_at_its_end(meter: CheckedMeter) -> None:
    """Who held it before pays for before."""
    meter.tick(1, [h100()], [], allocate(CHAT, 0))
    meter.tick(10, [h100()], [], allocate(BATCH, 0))
    meter.tick(5, [h100()], [], allocate(CHAT, 0))
    assert (meter.dollars(server="batch"), meter.dollars(server="chat")) == (10 * DOLLAR, 5 * DOLLAR)


def test_a_holder_without_tokens_carries_its_dollars(meter: CheckedMeter) -> None:
    """A training job is a server, too; no token shows what it was busy with."""
    job = ServerKey("", "unmatched:python")
    meter.tick(1, [h100()], [], allocate(job, 0))
    meter.tick(10, [h100(utilization_ratio=0.5)], [], allocate(job, 0))
    assert phases(meter, server="unmatched:python") == {"other": 5.0, "idle": 5.0}


def test_a_busy_server_whose_ratio_is_unknown_is_other(meter: CheckedMeter) -> None:
    """Its first tokens have not come yet."""
    meter.tick(1, [h100()], [page(generation=5)], allocate(CHAT, 0))
    meter.tick(10, [h100(utilization_ratio=0.5)], [page(generation=5)], allocate(CHAT, 0))
    assert phases(meter, model="llama") == {"other": 5.0, "idle": 5.0}


def test_a_shared_gpu_is_charged_once(meter: CheckedMeter) -> None:
    """Trap: a shared GPU copies its whole value to each consumer. 0.7 and 0.3 of one dollar a second."""
    holders = (*allocate(CHAT, 0, share=0.7), *allocate(BATCH, 0, share=0.3))
    meter.tick(1, [h100()], [], holders)
    meter.tick(10, [h100(utilization_ratio=0.5)], [], holders)
    assert phases(meter, server="chat") == {"other": 3.5, "idle": 3.5}
    assert phases(meter, server="batch") == {"other": 1.5, "idle": 1.5}


def test_who_moved_tokens_on_a_shared_gpu_is_asked_with_the_others(meter: CheckedMeter) -> None:
    """The driver says 0 and is wrong: each server answers for its own part, a silent one is unobserved."""
    holders = (*allocate(CHAT, 0), *allocate(BATCH, 0))
    meter.tick(1, [h100()], [page(generation=0), down(page(BATCH))], holders)
    meter.tick(10, [h100(utilization_ratio=0.0)], [page(generation=9), down(page(BATCH))], holders)
    assert phases(meter, server="chat") == {"decode": 5.0}
    assert phases(meter, server="batch") == {"unobserved": 5.0}


class Energy:
    """One GPU at a price of a dollar a kilojoule, reported by its counter."""

    def __init__(self) -> None:
        electricity = Electricity(Decimal(3600))
        self.meter = CheckedMeter(
            cost_policy(rent(0, energy=electricity), split=(SplitRule(method="weights"),))
        )
        self.joules = 0

    def tick(self, watts: float, busy: float | None, **fields: float) -> None:
        self.joules += round(watts * 10)
        gpu = h100(utilization_ratio=busy, energy=self.joules * 1000, power_limit_watts=700.0)
        self.meter.tick(10, [gpu], [page(**fields)], allocate(CHAT, 0))

    def kilojoules(self) -> dict[str, float]:
        reported = phases(self.meter, component="energy")
        assert {key[1] for key in self.meter.money} <= {"energy"}
        return reported


def test_energy_goes_by_time_until_the_idle_power_is_known() -> None:
    """Half busy, half of the joules."""
    reported = Energy()
    reported.tick(0, 1.0, generation=0)
    reported.tick(600, 0.5, generation=10)
    assert reported.kilojoules() == {"decode": 3.0, "idle": 3.0}


def test_idle_joules_are_idle_watts_times_idle_seconds() -> None:
    """100 W learned while idle; then 5 of 10 s idle at 100 W are 0.5 of the 4 kJ that were used."""
    reported = Energy()
    reported.tick(0, 0.0, generation=0)
    reported.tick(100, 0.0, generation=0)
    reported.tick(400, 0.5, generation=10)
    assert reported.kilojoules() == {"decode": 3.5, "idle": 1.0 + 0.5}


def test_idle_joules_are_at_most_what_was_measured() -> None:
    """A tick that used less than idling would: no negative busy joules. Trap: negative idle."""
    reported = Energy()
    reported.tick(0, 0.0, generation=0)
    reported.tick(100, 0.0, generation=0)
    reported.tick(40, 0.5, generation=10)
    assert reported.kilojoules() == {"idle": 1.0 + 0.4}


def test_late_energy_is_split_over_the_time_it_was_used_in() -> None:
    """Two reads failed. 12 kJ came in 30 s at half busy: 15 s x 100 W = 1.5 kJ of idling."""
    reported = Energy()
    reported.tick(0, 0.0, generation=0)
    reported.tick(100, 0.0, generation=0)
    for _ in range(2):
        reported.meter.tick(10, None, [page(generation=0)])
    reported.joules += 8000
    reported.tick(400, 0.5, generation=10)
    assert reported.kilojoules() == {"decode": 10.5, "idle": 1.0 + 1.5}


def test_each_share_of_a_gpu_pays_for_its_own_idle_time() -> None:
    """The driver cannot say. Chat ran all the time, batch rested all the time, each on its half of 4 kJ."""
    meter = CheckedMeter(cost_policy(rent(0, energy=Electricity(Decimal(3600)))))
    holders = (*allocate(CHAT, 0), *allocate(BATCH, 0))
    joules = 0
    for watts, utilization, generated in ((0, 0.0, 0), (100, 0.0, 0), (400, None, 10)):
        joules += watts * 10
        gpu = h100(energy=joules * 1000, utilization_ratio=utilization, power_limit_watts=700.0)
        servers = [page(generation=generated), page(BATCH, running=0.0, generation=0)]
        meter.tick(10, [gpu], servers, holders)
    assert phases(meter, server="chat") == {"decode": 2.0, "idle": 0.5}
    assert phases(meter, server="batch") == {"idle": 0.5 + 2.0}
