"""Servers that are a part of something larger: one of a disaggregated pair, one of several hosts."""

from dataclasses import replace
from typing import Any

import pytest

from exporter.cost.policy import SplitRule
from exporter.readings import Holder, Role, ServerReading
from tests.cost.checked_meter import CheckedMeter
from tests.cost.readings import BATCH, CHAT, allocate, cost_policy, down, h100, page, rent
from tests.kit.units import DOLLAR


@pytest.fixture
def meter() -> CheckedMeter:
    """One dollar a second."""
    return CheckedMeter(cost_policy(rent(3600)))


def of(role: Role, url: str = "http://chat", **counts: Any) -> ServerReading:
    return replace(page(url=url, **counts), role=role)


def partial(meter: CheckedMeter) -> bool:
    return meter.state.servers[CHAT].partial


def test_a_prefill_server_is_all_prefill_and_generates_nothing(meter: CheckedMeter) -> None:
    """The one token of each request that it generates is reported by the decode server again."""
    meter.tick(1, [h100()], [of("prefill", prompt=0, cached_prompt=0, generation=0)], allocate(CHAT, 0))
    moved = of("prefill", prompt=900, cached_prompt=400, generation=7)
    meter.tick(10, [h100(utilization_ratio=0.5)], [moved], allocate(CHAT, 0))
    assert (meter.dollars(phase="prefill"), meter.dollars(phase="idle")) == (5 * DOLLAR, 5 * DOLLAR)
    assert meter.tokens == {("chat", "llama", "prompt"): 900, ("chat", "llama", "cached_prompt"): 400}
    assert partial(meter)


def test_a_decode_server_is_all_decode_and_has_no_prompt(meter: CheckedMeter) -> None:
    """It counts the whole prompt once more, as transferred; its seconds of prefill say nothing."""
    quiet = {"prompt": 0.0, "cached_prompt": 0.0, "generation": 0.0, "prefill_seconds": 0.0}
    meter.tick(1, [h100()], [of("decode", **quiet)], allocate(CHAT, 0))
    moved = of("decode", prompt=900, cached_prompt=400, generation=700, prefill_seconds=3.0)
    meter.tick(10, [h100()], [moved], allocate(CHAT, 0))
    assert meter.dollars(phase="decode") == 10 * DOLLAR
    assert meter.tokens == {("chat", "llama", "generation"): 700}
    assert partial(meter)


def test_a_role_needs_no_token_to_split(meter: CheckedMeter) -> None:
    """Busy before its first token: decode, not `other`."""
    meter.tick(1, [h100()], [of("decode", generation=0)], allocate(CHAT, 0))
    meter.tick(10, [h100()], [of("decode", generation=0)], allocate(CHAT, 0))
    assert meter.dollars(phase="decode") == 10 * DOLLAR


def test_a_role_comes_before_a_configured_method() -> None:
    """There is nothing to split; the reported method says so."""
    meter = CheckedMeter(cost_policy(rent(3600), split=(SplitRule(method="weights"),)))
    meter.tick(1, [h100()], [of("prefill", prompt=0)], allocate(CHAT, 0))
    outcome = meter.tick(10, [h100()], [of("prefill", prompt=9)], allocate(CHAT, 0))
    assert outcome.activity[CHAT].phases["llama"].method == "role"
    assert meter.dollars(phase="prefill") == 10 * DOLLAR


def test_a_pair_under_one_name_does_both(meter: CheckedMeter) -> None:
    """Each endpoint counts its own kinds; the money is split by them: 300 to 3 x 300."""

    def both(prompt: float, generation: float) -> list[ServerReading]:
        return [
            of("prefill", "http://p", prompt=prompt, generation=prompt / 100),
            of("decode", "http://d", prompt=prompt, generation=generation),
        ]

    meter.tick(1, [h100()], both(0, 0), allocate(CHAT, 0))
    meter.tick(10, [h100()], both(300, 300), allocate(CHAT, 0))
    assert meter.tokens == {("chat", "llama", "prompt"): 300, ("chat", "llama", "generation"): 300}
    assert (meter.dollars(phase="prefill"), meter.dollars(phase="decode")) == (2.5 * DOLLAR, 7.5 * DOLLAR)
    assert partial(meter)


def test_a_server_of_one_host_is_whole(meter: CheckedMeter) -> None:
    """As most are."""
    meter.tick(1, [h100()], [page(generation=0)], allocate(CHAT, 0))
    assert not partial(meter)


def test_a_server_that_spans_hosts_is_partial_while_it_is_down(meter: CheckedMeter) -> None:
    """What is known of it stays until it answers and says otherwise; its GPUs are its own throughout."""
    spans = replace(page(generation=0), spans_hosts=True)
    meter.tick(1, [h100()], [spans], allocate(CHAT, 0))
    assert partial(meter)
    meter.tick(10, [h100()], [down(spans)], allocate(CHAT, 0))
    meter.tick(10, [h100()], [], allocate(CHAT, 0))
    assert partial(meter)
    assert meter.dollars(server="chat") == 20 * DOLLAR
    meter.tick(10, [h100()], [page(generation=0)], allocate(CHAT, 0))
    assert not partial(meter)


@pytest.mark.parametrize(
    ("world_size", "expected"), [(None, False), (1, False), (2, False), (3, True), (16, True)]
)
def test_a_world_larger_than_what_it_holds_here_spans_hosts(
    meter: CheckedMeter, world_size: int | None, *, expected: bool
) -> None:
    """Two GPUs; two replicas tell the same world."""
    pages = [replace(page(url=url, generation=0), world_size=world_size) for url in ("http://a", "http://b")]
    meter.tick(1, [h100(0), h100(1)], pages, allocate(CHAT, 0, 1))
    assert partial(meter) is expected
    # NVML does not report holders now; those that it reported last stay.
    meter.tick(10, None, pages)
    assert partial(meter) is expected


def test_instances_of_one_card_are_as_many_devices(meter: CheckedMeter) -> None:
    """An engine runs on each as on a GPU; a device that is reported twice is one."""
    holders = [Holder(CHAT, "GPU-0", instance=name) for name in ("MIG-a", "MIG-b", "MIG-b")]
    for world_size, expected in ((2, False), (3, True)):
        meter.tick(1, [h100()], [replace(page(generation=0), world_size=world_size)], holders)
        assert partial(meter) is expected


def test_a_world_of_one_server_says_nothing_of_another(meter: CheckedMeter) -> None:
    """Batch runs on another host as well, chat does not."""
    pages = [page(generation=0), replace(page(BATCH, generation=0), world_size=8)]
    meter.tick(1, [h100(0), h100(1)], pages, (*allocate(CHAT, 0), *allocate(BATCH, 1)))
    assert not partial(meter)
    assert meter.state.servers[BATCH].partial


def test_a_sleeping_server_pays_for_the_model_that_it_had(meter: CheckedMeter) -> None:
    """Not for one that it served before that, however long it sleeps."""
    old, new = replace(page(model="old", generation=0)), page(model="new", generation=0)
    meter.tick(1, [h100(0)], [old], allocate(CHAT, 0))
    meter.tick(
        10,
        [h100(0)],
        [replace(old, counters=page(model="old", generation=5).counters)],
        allocate(CHAT, 0),
    )
    meter.tick(10, [h100(0, utilization_ratio=0.0)], [new], allocate(CHAT, 0))
    asleep = replace(page(generation=0), models=(), counters=(), loads=())
    for _ in range(3):
        meter.tick(10, [h100(0, utilization_ratio=0.0)], [asleep], allocate(CHAT, 0))
    meter.tick(10, [h100(0, utilization_ratio=0.0)], [down(asleep)], allocate(CHAT, 0))
    assert meter.dollars(model="new", phase="idle") == 50 * DOLLAR
    assert meter.dollars(model="old", phase="idle") == 0


def test_a_server_that_does_not_answer_has_the_role_that_it_had(meter: CheckedMeter) -> None:
    """Its page reported the role before it went silent: still decode, and kept for `explain`."""
    reading = of("decode", generation=0)
    meter.tick(1, [h100()], [reading], allocate(CHAT, 0))
    outcome = meter.tick(10, [h100()], [replace(down(reading), role="")], allocate(CHAT, 0))
    assert outcome.activity[CHAT].phases["llama"].method == "role"
    assert meter.state.servers[CHAT].role == "decode"
    outcome = meter.tick(10, [h100()], [of("", generation=0)], allocate(CHAT, 0))
    assert outcome.activity[CHAT].phases["llama"].method == "weights"
