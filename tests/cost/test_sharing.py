"""Several servers on one GPU that nobody configured: busy time by SM utilization, idle time by memory."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.attribution import GpuShare, shares
from exporter.cost.money import WHOLE
from exporter.readings import Holder, ServerKey
from tests.cost.readings import BATCH, CHAT

GB = 10**9
THIRD = ServerKey("ml", "third")


def holder(
    key: ServerKey, sm: float | None = None, gigabytes: float | None = None, share: float | None = None
) -> Holder:
    """A server on GPU-0 and what its processes were seen to use."""
    memory = None if gigabytes is None else round(gigabytes * GB)
    return Holder(key, "GPU-0", share, sm_ratio=sm, memory_bytes=memory)


def parts_by_server(*holders: Holder) -> dict[str, tuple[float, str, float, str]]:
    """By server: busy part and its method, idle part and its method."""
    return {
        share.key.server: (
            round(share.busy_part / WHOLE, 6),
            share.busy_method,
            round(share.idle_part / WHOLE, 6),
            share.idle_method,
        )
        for share in shares(holders)
    }


def test_busy_time_goes_by_sm_utilization_and_idle_time_by_memory() -> None:
    """70 and 30 % of the SMs, 20 and 60 GB: 0.7 and 0.3 of the work, a quarter and three of the rest."""
    assert parts_by_server(holder(CHAT, 0.7, 20), holder(BATCH, 0.3, 60)) == {
        "chat": (0.7, "sm_utilization", 0.25, "memory"),
        "batch": (0.3, "sm_utilization", 0.75, "memory"),
    }


def test_sm_utilization_need_not_sum_to_one() -> None:
    """35 and 15 % are 0.7 and 0.3 of the work that there was; 140 and 60 % (two processes each) as well."""
    for busy, quiet in ((0.35, 0.15), (1.4, 0.6)):
        actual = parts_by_server(holder(CHAT, busy, 1), holder(BATCH, quiet, 1))
        assert (actual["chat"][0], actual["batch"][0]) == (0.7, 0.3)


def test_without_utilization_memory_divides_both() -> None:
    """10 and 30 GB."""
    assert parts_by_server(holder(CHAT, None, 10), holder(BATCH, None, 30)) == {
        "chat": (0.25, "memory", 0.25, "memory"),
        "batch": (0.75, "memory", 0.75, "memory"),
    }


def test_without_memory_utilization_divides_both() -> None:
    """60 and 20 %."""
    assert parts_by_server(holder(CHAT, 0.6), holder(BATCH, 0.2))["chat"] == (
        0.75,
        "sm_utilization",
        0.75,
        "sm_utilization",
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (holder(CHAT), holder(BATCH)),
        (holder(CHAT, 0.0, 0), holder(BATCH, 0.0, 0)),
        (holder(CHAT, 0.7, None), holder(BATCH, None, 10)),
        (holder(CHAT, math.nan, -1), holder(BATCH, 0.5, 10)),
        (holder(CHAT, math.inf, None), holder(BATCH, 0.5, None)),
        (holder(CHAT, -0.5, None), holder(BATCH, 0.5, None)),
    ],
)
def test_what_one_of_them_does_not_tell_divides_nobody(one: Holder, other: Holder) -> None:
    """Nothing reported, nothing used, different measures, invalid values: equally."""
    assert parts_by_server(one, other) == {
        "chat": (0.5, "equal", 0.5, "equal"),
        "batch": (0.5, "equal", 0.5, "equal"),
    }


def test_nothing_run_is_no_measure_of_work() -> None:
    """All SMs rested: memory divides what little there was."""
    assert parts_by_server(holder(CHAT, 0.0, 10), holder(BATCH, 0.0, 30))["chat"] == (
        0.25,
        "memory",
        0.25,
        "memory",
    )


def test_a_server_that_rested_pays_nothing_of_the_work() -> None:
    """It computed nothing while the other did, and holds half of the memory."""
    actual = parts_by_server(holder(CHAT, 0.4, 20), holder(BATCH, 0.0, 20))
    assert actual["chat"] == (1.0, "sm_utilization", 0.5, "memory")
    assert actual["batch"] == (0.0, "sm_utilization", 0.5, "memory")


def test_configured_ratios_come_before_what_was_seen() -> None:
    """0.8 and 0.2, whatever they used."""
    actual = parts_by_server(holder(CHAT, 0.1, 1, share=0.8), holder(BATCH, 0.9, 70, share=0.2))
    assert actual == {
        "chat": (0.8, "configured", 0.8, "configured"),
        "batch": (0.2, "configured", 0.2, "configured"),
    }


def test_what_is_configured_leaves_the_rest_to_what_was_seen() -> None:
    """0.5 configured; the others divide 0.5 as 3 to 1 by utilization and as 1 to 4 by memory."""
    actual = parts_by_server(holder(CHAT, 0.9, 1, share=0.5), holder(BATCH, 0.3, 10), holder(THIRD, 0.1, 40))
    assert actual == {
        "chat": (0.5, "configured", 0.5, "configured"),
        "batch": (0.375, "sm_utilization", 0.1, "memory"),
        "third": (0.125, "sm_utilization", 0.4, "memory"),
    }


def test_replicas_on_one_gpu_are_one_server() -> None:
    """20 + 20 % against 10 %, and 10 GB of one whose sibling does not tell against 30."""
    actual = parts_by_server(holder(CHAT, 0.2, 10), holder(CHAT, 0.2), holder(BATCH, 0.1, 30))
    assert actual["chat"] == (0.8, "sm_utilization", 0.25, "memory")


def test_a_process_of_no_server_is_a_server() -> None:
    """A training job under its process's name, beside one that serves."""
    actual = parts_by_server(holder(ServerKey("", "unmatched:python"), 0.6, 10), holder(CHAT, 0.2, 30))
    assert actual["unmatched:python"] == (0.75, "sm_utilization", 0.25, "memory")


ratios = st.none() | st.sampled_from([0.0, 0.25, 1.0]) | st.floats(0, 2)
amounts = st.none() | st.integers(0, 80 * GB)


@st.composite
def holders(draw: st.DrawFn, instances: tuple[str, ...] = ("",)) -> list[Holder]:
    """Anybody, on any of these instances."""
    one = st.builds(
        Holder,
        st.integers(0, 9).map(lambda number: ServerKey("", f"s{number}")),
        st.just("GPU-0"),
        st.none() | st.floats(0, 1),
        st.sampled_from(instances),
        ratios,
        amounts,
    )
    return draw(st.lists(one, max_size=12))


def parts(actual: tuple[GpuShare, ...]) -> dict[tuple[ServerKey, str], tuple[int, int]]:
    return {(share.key, share.instance): (share.busy_part, share.idle_part) for share in actual}


@given(holders())
def test_parts_of_a_gpu_sum_to_it_whoever_is_named_first(those: list[Holder]) -> None:
    """Conservation for any holders; the order in which they are reported changes nothing."""
    actual, turned = parts(shares(those)), parts(shares(reversed(those)))
    assert turned == actual
    for way in (0, 1):
        assert sum(part[way] for part in actual.values()) == WHOLE
        assert all(part[way] >= 0 for part in actual.values())


@given(
    holders(("", "MIG-a", "MIG-b", "MIG-gone")),
    st.tuples(st.integers(0, WHOLE), st.integers(0, WHOLE)).filter(lambda cut: sum(cut) <= WHOLE),
)
def test_parts_of_a_card_sum_to_it_and_to_each_instance(those: list[Holder], cut: tuple[int, int]) -> None:
    """Who holds an instance gets all of it and nothing of another one."""
    slices = dict(zip(("MIG-a", "MIG-b"), cut, strict=True))
    actual = parts(shares(those, slices))
    for way in (0, 1):
        by_instance = {"": 0, "MIG-a": 0, "MIG-b": 0}
        for (_, instance), part in actual.items():
            by_instance[instance] += part[way]
        assert by_instance == {**slices, "": WHOLE - sum(cut)}
