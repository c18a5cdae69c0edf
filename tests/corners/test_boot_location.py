"""A cloud machine whose price waits for the cloud's answer: the time since its boot is charged then, once.

The GPU costs 3.60 dollars an hour on the instance type that the cloud will tell, a cent in ten seconds; the
host booted 20 minutes before noon, which is 1.20 dollars.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.readings import UNKNOWN_LOCATION, HostLocation
from tests.corners.simulated_host import SimulatedHost
from tests.depth import examples
from tests.kit.units import CENT, HOUR, MINUTE, SECOND

CONFIG = """
hardware: [{match: {instance_type: p5.48xlarge}, rented: {dollars_per_gpu_hour: 3.60}}]
unmatched_hardware: unpriced
overheads: [{name: network, dollars_per_hour: 3.60, per: gpu}]
ownership: {rules: [{match: {server: chat}, product: chat, team: assistants}]}
servers: [{name: chat, url: "http://127.0.0.1:8000/metrics", gpus: [0]}]
"""
CATALOGUE = "hardware: [{rented: {catalogue: any, discount_ratio: 0.5}}]"
OWNED = """
hardware: [{owned: {purchase_dollars_per_gpu: 26298, in_service: 2026-01-01, life_years: 3}}]
"""
P5 = HostLocation("aws", "p5.48xlarge", "us-east-1", lifecycle="on_demand")
TICK = 10 * SECOND
NOON = "2026-11-25T12:00:00+00:00"
Booted = Callable[..., SimulatedHost]


@pytest.fixture
def booted(tmp_path: Path) -> Booted:
    """Makes the host, whose daemon has not ticked yet and whose cloud has not answered."""

    def make(config: str = CONFIG, location: HostLocation | None = None, now: str = NOON) -> SimulatedHost:
        return SimulatedHost(tmp_path, config, now, 20 * MINUTE, location)

    return make


def rent(host: SimulatedHost) -> int:
    """Picodollars, which counters, months, days and hours agree on."""
    host.whole()
    assert host.report is not None
    assert host.report.totals is not None
    return sum(
        amount for (_, component), amount in host.report.totals.gpu_cost.items() if component == "rent"
    )


def note(host: SimulatedHost, month: str = "2026-11") -> list[str]:
    return [text for text in host.statement(month)["notes"] if "GPU-hours" in text]


def test_the_time_since_the_boot_waits_for_the_answer(booted: Booted) -> None:
    """Two ticks without a price, then the answer: 1.20 that nobody saw, 3 cents of the server."""
    host = booted()
    for after in (0, TICK, TICK):
        host.tick(after)
    assert rent(host) == 0
    assert host.served("inference_gpu_unpriced_seconds_total") == 1220
    assert host.served("inference_gpu_seconds_total") == 1220
    assert note(host) == ["0.3389 of 0.3389 GPU-hours have no price: they cost nothing here"]
    host.placed(P5)
    host.tick(TICK)

    assert rent(host) == 123 * CENT
    # Of the overhead, which begins with the first tick, three ticks.
    assert host.whole() == 126 * CENT
    cost = "inference_cost_dollars_total"
    assert host.served(cost, server="unallocated", phase="unobserved") == pytest.approx(1.20, rel=1e-12)
    assert host.served(cost, server="chat") == pytest.approx(0.06, rel=1e-12)
    assert host.served("inference_gpu_seconds_total") == 1230
    assert note(host) == ["0.3389 of 0.3417 GPU-hours were charged when their price came"]


def test_a_catalogue_price_less_a_discount(booted: Booted) -> None:
    """Half of 55.04 for 8 GPUs is 3.44 dollars an hour: of 20 minutes and 10 s 1.15622222."""
    host = booted(CATALOGUE)
    host.tick()
    host.placed(P5)
    host.tick(TICK)

    assert host.whole() == 344 * CENT * 1210 // 3600


def test_without_any_rule_the_estimate_waits_too(booted: Booted) -> None:
    """The first thing that anybody runs: no configuration, 55.04 for 8 GPUs, 20 minutes and 10 s."""
    host = booted("{}")
    host.tick()
    host.placed(P5)
    host.tick(TICK)

    assert host.whole() == 688 * CENT * 1210 // 3600


def test_a_cloud_that_answers_at_the_second_attempt(booted: Booted) -> None:
    """What failed once is asked again: the time waits as long as the price may come from there."""
    host = booted(CATALOGUE)
    host.tick()
    host.placed(UNKNOWN_LOCATION)
    host.restart(TICK)
    host.tick()
    host.tick(3 * HOUR)
    assert host.whole() == 0
    host.placed(P5)
    host.tick(TICK)

    assert host.whole() == 344 * CENT * (20 * 60 + 10 + 3 * 3600 + 10) // 3600


def test_hardware_that_turns_out_to_be_owned_begins_at_the_first_tick(booted: Booted) -> None:
    """26,298 dollars over 3 years are a dollar an hour: two ticks; what was before it waits no more."""
    host = booted()
    host.tick()
    host.tick(TICK)
    host.reload(OWNED)
    host.tick(TICK)

    assert host.whole() == 100 * CENT * 20 // 3600 + CENT
    assert note(host) == ["0.3361 of 0.3389 GPU-hours were charged when their price came"]


def test_where_the_place_says_nothing_of_the_price_nothing_is_counted(booted: Booted) -> None:
    """No rule, no estimate, no place to wait for: time since the boot is not metered."""
    host = booted("unmatched_hardware: unpriced")
    host.tick()
    host.tick(TICK)

    assert host.served("inference_gpu_unpriced_seconds_total") == 10


def test_the_months_that_it_covers(booted: Booted) -> None:
    """Booted at 23:50, first tick at 00:10, answered a minute later: 60 cents in November, 66 in December."""
    host = booted(now="2026-12-01T00:10:00+00:00")
    host.tick()
    host.placed(P5)
    host.tick(MINUTE)

    assert host.months() == {"2026-11": 60 * CENT, "2026-12": 66 * CENT + 6 * CENT}
    assert host.days() == {20261130: 60 * CENT, 20261201: 72 * CENT}


moments = st.tuples(st.sampled_from(["tick", "kill", "answer", "forget"]), st.integers(0, 37 * 100 * 100))


@examples(25)
@given(st.lists(moments, max_size=8))
def test_whenever_it_is_killed_and_answered_it_is_charged_once(
    tmp_path_factory: pytest.TempPathFactory, reported: list[tuple[str, int]]
) -> None:
    """Ticks, kills and answers in any order: in the end, rent from the boot to the last tick.

    A process that is started anew has to ask again. A hundredth of a second is a thousandth of a cent.
    """
    host = SimulatedHost(tmp_path_factory.mktemp("host"), CONFIG, NOON, 20 * MINUTE, None)
    host.tick()
    for what, hundredths in reported:
        if what == "answer":
            host.placed(P5)
        elif what == "forget":
            host.location = None
        (host.restart if what == "kill" else host.tick)(hundredths * SECOND // 100)
    host.placed(P5)
    for _ in range(1 + sum(hundredths for _, hundredths in reported) // (64 * 360_000)):
        host.tick()

    lived = 20 * 60 * 100 + sum(hundredths for _, hundredths in reported)
    assert rent(host) == lived * CENT // 1000
