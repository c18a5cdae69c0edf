"""Load and headroom, by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.load import FULL, headroom, load_rates, load_ratio, load_ratios
from exporter.cost.postings import CostOwner
from exporter.cost.server_deltas import combined
from exporter.readings import LoadReading, Occupancy

OWNER = CostOwner("search", "retrieval", "ml", "chat", "m")
OTHER_TEAM = OWNER._replace(team="ranking")


def load(
    running: float | None = None,
    max_running: float | None = None,
    kv_cache: Occupancy | None = None,
    waiting: float | None = None,
) -> LoadReading:
    return LoadReading("m", running, waiting, max_running=max_running, kv_cache=kv_cache)


def test_replicas_count_by_their_maximum() -> None:
    """(48 + 8) / (64 + 192) = 0.21875, not the mean of 0.75 and 0.0417; and so the cache."""
    both = combined("m", [load(48, 64, Occupancy(300, 400)), load(8, 192, Occupancy(100, 1600))])
    assert load_ratios(both) == {"sequences": 0.21875, "kv_cache": 0.2}


def test_a_limit_that_one_replica_lacks_is_unknown_for_both() -> None:
    """Half of the replicas do not speak for all."""
    both = combined("m", [load(48, 64, Occupancy(0.5, 1)), load(8)])
    assert (both.running, both.max_running, both.kv_cache) == (56, None, None)
    assert (load_ratios(both), load_ratio(both)) == ({}, None)
    assert load_ratio(combined("m", [load(48, 64), load(max_running=64)])) is None


def test_without_replicas_nothing_is_known() -> None:
    """No reading, no row."""
    assert combined("m", []) == LoadReading("m")


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        (load(), None),
        (load(8), None),
        (load(8, waiting=3), None),
        (load(max_running=64), None),
        (load(16, 64), 0.25),
        (load(16, 64, Occupancy(0.75, 1)), 0.75),
        (load(48, 64, Occupancy(0.5, 1)), 0.75),
        (load(0, 64, Occupancy(0, 1)), 0.0),
        (load(80, 64), 1.0),
        (load(16, 64, waiting=0), 0.25),
        (load(16, 64, waiting=1), 1.0),
        (load(16, kv_cache=Occupancy(0, 0)), None),
    ],
)
def test_load_is_that_of_the_limit_reached_first(reading: LoadReading, expected: float | None) -> None:
    """A server whose requests wait is full, whatever its limits say; without a limit nothing is known."""
    assert load_ratio(reading) == expected


def test_headroom_is_the_busy_spend_of_the_load_that_fits() -> None:
    """8 dollars an hour at a quarter of the load leave 6, also of a team behind a gateway."""
    loads = {(OWNER.key, "m"): 0.25}
    assert headroom({OWNER: 8.0, OTHER_TEAM: 4.0}, loads) == {OWNER: 6.0, OTHER_TEAM: 3.0}


def test_headroom_of_an_unknown_load_is_absent() -> None:
    """Neither all nor nothing of what is spent."""
    known = {(OWNER.key, "n"): 0.5}
    assert headroom({OWNER: 8.0, OWNER._replace(model="x"): 1.0}, known) == {}


def test_an_idle_server_has_no_headroom_beside_its_idle_money() -> None:
    """Idle dollars are counted as such, once."""
    assert headroom({OWNER: 0.0}, {(OWNER.key, "m"): 0.0}) == {OWNER: 0.0}


def test_load_dollars_are_the_spend_of_the_load_in_use() -> None:
    """10 dollars an hour at a quarter of the load: 2.50, also of a team behind a gateway; queued, all of it.

    At 5 million tokens an hour a million costs 2.00, and 0.50 at full load: 2.50 over the same 5 million.
    """
    loads = {(OWNER.key, "m"): 0.25}
    assert load_rates({OWNER: 10.0, OTHER_TEAM: 4.0}, loads) == {OWNER: 2.5, OTHER_TEAM: 1.0}
    assert load_rates({OWNER: 10.0}, {(OWNER.key, "m"): FULL}) == {OWNER: 10.0}


def test_load_dollars_of_an_unknown_load_are_absent() -> None:
    """An unknown load is not an empty server."""
    known = {(OWNER.key, "n"): 0.5}
    assert load_rates({OWNER: 8.0, OWNER._replace(model="x"): 1.0}, known) == {}


amounts = st.floats(0, 1e6)
capacities = st.floats(0.5, 1e6)
readings = st.builds(
    load,
    st.none() | amounts,
    st.none() | capacities,
    st.none() | st.builds(Occupancy, amounts, capacities),
    st.none() | amounts,
)


@given(st.lists(readings, max_size=4), amounts)
def test_ratios_and_headroom_stay_within_their_bounds(loads: list[LoadReading], rate: float) -> None:
    """0 to 1, and never more dollars than are spent."""
    reading = combined("m", loads)
    assert all(0 <= ratio <= 1 for ratio in load_ratios(reading).values())
    ratio = load_ratio(reading)
    if ratio is not None:
        assert 0 <= headroom({OWNER: rate}, {(OWNER.key, "m"): ratio})[OWNER] <= rate


@given(st.floats(0, 1), amounts, st.floats(0, 1))
def test_load_headroom_and_idle_dollars_are_the_spend(ratio: float, rate: float, busy: float) -> None:
    """Of a GPU that is busy all the time the two are all of it; else the idle part of the load is left."""
    loads = {(OWNER.key, "m"): ratio}
    used, free = load_rates({OWNER: rate}, loads), headroom({OWNER: rate * busy}, loads)
    idle = rate * (1 - busy) * (1 - ratio)
    assert used[OWNER] + free[OWNER] + idle == pytest.approx(rate)
