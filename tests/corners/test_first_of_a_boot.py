"""A machine that a cloud bills from its boot: the daemon that comes later charges that time, once.

The GPU costs 3.60 dollars an hour while the host is up, a cent in ten seconds; the host booted 20 minutes
before noon, which is 1.20 dollars.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.corners.simulated_host import SimulatedHost
from tests.depth import examples
from tests.kit.units import CENT, HOUR, MINUTE, SECOND

CONFIG = """
hardware: [{rented: {dollars_per_gpu_hour: 3.60}}]
ownership: {rules: [{match: {server: chat}, product: chat, team: assistants}]}
servers: [{name: chat, url: "http://127.0.0.1:8000/metrics", gpus: [0]}]
"""
TICK = 10 * SECOND
NOON = "2026-11-25T12:00:00+00:00"
Booted = Callable[..., SimulatedHost]


@pytest.fixture
def booted(tmp_path: Path) -> Booted:
    """Makes the host, whose daemon has not ticked yet."""

    def make(now: str = NOON, up: int = 20 * MINUTE) -> SimulatedHost:
        return SimulatedHost(tmp_path, CONFIG, now, up)

    return make


def test_the_time_since_the_boot_is_nobodys_then_the_servers(booted: Booted) -> None:
    """1.20 dollars that nobody saw, and two ticks of the server that holds the GPU."""
    host = booted()
    for after in (0, TICK, TICK):
        host.tick(after)

    assert host.whole() == 122 * CENT
    cost = "inference_cost_dollars_total"
    assert host.served(cost, server="unallocated", phase="unobserved") == pytest.approx(1.20, rel=1e-12)
    assert host.served(cost, server="unallocated") == pytest.approx(1.20, rel=1e-12)
    assert host.served(cost, server="chat") == pytest.approx(0.02, rel=1e-12)
    # Dollars over GPU-hours are the price: 1,220 s.
    assert host.served("inference_gpu_seconds_total") == 1220
    assert host.served("inference_gap_uncharged_seconds_total") == 0


def test_the_first_page_with_money_has_it(booted: Booted) -> None:
    """No scrape sees the counter without it, which would show as a jump."""
    host = booted()
    host.tick()

    assert host.served("inference_cost_dollars_total") == pytest.approx(1.20, rel=1e-12)
    assert host.served("inference_month_to_date_dollars", month="2026-11") == pytest.approx(1.20, rel=1e-12)


moments = st.tuples(st.booleans(), st.integers(0, 100 * 100))


@examples(25)
@given(
    st.lists(st.tuples(moments, st.booleans()), max_size=5),
    st.lists(moments.map(lambda moment: (moment[0], 37 * moment[1])), max_size=5),
)
def test_whenever_it_is_killed_it_is_charged_once(
    tmp_path_factory: pytest.TempPathFactory,
    early: list[tuple[tuple[bool, int], bool]],
    late: list[tuple[bool, int]],
) -> None:
    """Ticks and kills in any order, the driver there or not for the first minutes; then an hour and more.

    From the boot to the last tick nothing is missing and nothing is double: a hundredth of a second is a
    thousandth of a cent.
    """
    host = SimulatedHost(tmp_path_factory.mktemp("host"), CONFIG, NOON, 20 * MINUTE)

    def live(killed: bool, hundredths: int) -> None:  # noqa: FBT001 - drawn
        (host.restart if killed else host.tick)(hundredths * SECOND // 100)

    for moment, loaded in early:
        host.nvml.failure = "" if loaded else "the driver is not loaded"
        live(*moment)
    host.nvml.failure = ""
    host.tick()
    for moment in late:
        live(*moment)
    host.tick()

    lived = sum(hundredths for (_, hundredths), _ in early) + sum(hundredths for _, hundredths in late)
    assert host.whole() == (20 * 60 * 100 + lived) * CENT // 1000


def test_a_kill_before_the_first_tick_loses_nothing(booted: Booted) -> None:
    """Started, killed, started 5 minutes later: 25 minutes are 1.50 dollars."""
    host = booted()
    host.restart(5 * MINUTE)
    host.tick()

    assert host.whole() == 150 * CENT


def test_a_reboot_within_the_hour_is_a_gap_like_any(booted: Booted) -> None:
    """1.20, then 10 minutes off: a reboot that is charged whole, 60 cents. The new boot is in it."""
    host = booted()
    host.tick()
    host.reboot(10 * MINUTE)
    host.tick()

    assert host.whole() == 180 * CENT


def test_a_boot_that_ends_before_a_gpu_was_read_is_not_charged(booted: Booted) -> None:
    """How long it lasted nobody can tell; the next boot has a ledger already."""
    host = booted()
    host.nvml.failure = "the driver is not loaded"
    host.tick()
    host.nvml.failure = ""
    host.reboot(MINUTE)
    host.tick()
    host.tick(TICK)

    assert host.whole() == CENT


@pytest.mark.parametrize("removed", ["ledger.db", "ledger.db*"])
def test_a_ledger_that_is_deleted_is_not_charged_for_again(booted: Booted, removed: str) -> None:
    """The next one begins at its first tick: a fleet that adds both up has the boot once."""
    host = booted()
    host.tick()
    first = host.whole()
    host.kill()
    assert host.path is not None
    for file in host.path.parent.glob(removed):
        file.unlink()
    host.clock.true += TICK
    host.start()
    host.tick()
    host.tick(TICK)

    assert (first, host.whole()) == (120 * CENT, CENT)


def test_beside_a_damaged_file_the_books_begin_now(booted: Booted) -> None:
    """What was in it may have charged the time."""
    host = booted()
    host.tick()
    host.kill()
    assert host.path is not None
    host.path.write_bytes(b"not a database")
    host.start()
    host.tick()
    host.tick(TICK)

    assert host.whole() == CENT


def test_books_in_memory_begin_now(booted: Booted) -> None:
    """Each start of the daemon would charge the time again."""
    host = booted()
    host.kill()
    host.path = None
    host.start()
    host.tick()
    host.tick(TICK)

    assert host.served("inference_ledger_persistent") == 0
    assert host.served("inference_cost_dollars_total") == pytest.approx(0.01, rel=1e-12)


def test_a_host_that_has_been_up_for_an_hour(booted: Booted) -> None:
    """Who charged that hour is not known."""
    host = booted(up=HOUR)
    host.tick()
    host.tick(TICK)

    assert host.whole() == CENT


@pytest.mark.parametrize(("set_after", "ticks"), [(30 * SECOND, 3), (None, 12)])
def test_a_clock_that_is_not_set_is_waited_for(booted: Booted, set_after: int | None, ticks: int) -> None:
    """A year wrong for 30 s, or for good: no money until then, or for two minutes; then since the boot."""
    host = booted()
    host.clock.off, host.clock.in_step = -365 * 24 * HOUR, False
    for _ in range(ticks):
        assert host.tick().totals is None
        host.clock.true += TICK
    if set_after is not None:
        host.clock.off, host.clock.in_step = 0, True
    host.tick()

    # 20 minutes and 30 s are 1.23 dollars, 22 minutes 1.32, in the year that the clock says.
    assert host.whole() == (120 + ticks) * CENT
    assert host.days() == {20261125 if set_after else 20251125: (120 + ticks) * CENT}


def test_a_boot_just_before_a_months_end(booted: Booted) -> None:
    """Booted at 23:50, first tick at 00:10: 60 cents in either month, and in either day."""
    host = booted("2026-12-01T00:10:00+00:00")
    host.tick()

    assert host.months() == {"2026-11": 60 * CENT, "2026-12": 60 * CENT}
    assert host.days() == {20261130: 60 * CENT, 20261201: 60 * CENT}
    assert host.covered() == {20261130: 10 * MINUTE, 20261201: 10 * MINUTE}
    assert host.whole() == 120 * CENT


def test_a_first_commit_that_fails_is_made_good(booted: Booted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing served until it is written; then all of it, once."""
    host = booted()
    assert host.ledger is not None
    store = host.ledger._store
    assert store is not None
    write = store.write

    def full(*_args: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(store, "write", full)
    host.tick()
    assert host.served("inference_cost_dollars_total") == 0
    monkeypatch.setattr(store, "write", write)
    host.tick(TICK)

    assert host.whole() == 121 * CENT
