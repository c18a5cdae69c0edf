"""The cost model's own ticks through a real file, opened again after every one."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from exporter.cost.advance import advance
from exporter.cost.policy import CostPolicy
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.readings import (
    CounterReading,
    Frame,
    GpuReading,
    Holder,
    LoadReading,
    MigInstance,
    ServerKey,
    ServerReading,
)
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Electricity, Hardware, HardwareMatch, Rented, RentPrice
from tests.kit.clock import ManualClock
from tests.kit.units import HOUR, NOVEMBER, SECOND
from tests.ledger.ticks import GPU_0, GPU_1

CHAT = ServerKey("llm", "chat")
PRICE = Rented((RentPrice(Decimal("55.04"), 7),))
POLICY = CostPolicy(
    Tariff("host-1", (Hardware(HardwareMatch(), PRICE, "hardware[0]", Electricity(Decimal("0.13"))),), ())
)


def frame(number: int) -> Frame:
    """Two GPUs, one of them held by a server that works; every tick moves everything a little."""
    moved = {"prompt": 900 * number, "generation": 100 * number, "prefill_seconds": number / 3}
    return Frame(
        elapsed=number * 10 * SECOND,
        wall=NOVEMBER + number * 10 * SECOND,
        gpus=tuple(
            GpuReading(
                gpu, index, utilization_ratio=0.7, power_watts=431.7, energy=4_317_001 * number + index
            )
            for index, gpu in enumerate((GPU_0, GPU_1))
        ),
        servers=(
            ServerReading(
                CHAT,
                "http://127.0.0.1:8000/metrics",
                up=True,
                identity="1:2",
                counters=tuple(
                    CounterReading(name, "llama", name, value)  # type: ignore[arg-type]
                    for name, value in moved.items()
                ),
                loads=(LoadReading("llama", 3.0),),
                models=("llama",),
            ),
        ),
        holders=(Holder(CHAT, "GPU-0"),),
    )


def test_a_daemon_that_restarts_after_every_tick_remembers_everything(path: Path, clock: ManualClock) -> None:
    """Each tick's state comes back from the file as it went in, and the ledger balances."""
    for number in range(1, 40):
        ledger = Ledger.open(path, clock)
        outcome = advance(ledger.state(), frame(number), POLICY)
        ledger.post(outcome.postings, outcome.state)
        totals = ledger.totals(outcome.postings.end, ("2026-11",))
        ledger.close()
        again = Ledger.open(path, clock)
        remembered = again.state()
        again.close()

        gpus = {uuid: replace(gpu, rounding={}) for uuid, gpu in outcome.state.gpus.items()}
        assert remembered == replace(outcome.state, gpus=gpus)
        assert totals.residual == 0
        assert (again.dropped, again.problem) == ((), "")

    # 38 ticks of 10 s of two GPUs at 55.04 / 7 dollars an hour, to the picodollar below.
    rent = sum(amount for (_gpu, component), amount in totals.gpu_cost.items() if component == "rent")
    assert rent == 2 * (38 * 10 * 55_040_000_000_000 // (7 * 3600))
    # The first read sets the marks; 38 more moved 900 and 100 tokens each.
    assert sorted(totals.tokens.values()) == [38 * 100, 38 * 900]


@pytest.mark.nightly
def test_a_day_of_25_hours_is_charged_for_25(path: Path, clock: ManualClock) -> None:
    """New York's first of November: a tick every half hour over three days, with a restart at each tick.

    Two GPUs at 7 dollars an hour: 14 dollars an hour, for 24, 25 and 24 hours.
    """
    rent = Rented((RentPrice(Decimal(7)),))
    policy = CostPolicy(
        Tariff("host-1", (Hardware(HardwareMatch(), rent, "hardware[0]"),)),
        ZoneInfo("America/New_York"),
        gap_after=HOUR,
    )
    half_hour = 1800 * SECOND
    midnight = NOVEMBER - 20 * HOUR  # 2026-10-31T00:00-04:00
    state = State()
    for number in range(2 * (24 + 25 + 24) + 1):
        ledger = Ledger.open(path, clock)
        ticked = replace(frame(1), elapsed=number * half_hour, wall=midnight + number * half_hour)
        outcome = advance(replace(state, gpus=ledger.state().gpus), ticked, policy)
        state = outcome.state
        ledger.post(outcome.postings, state)
        ledger.close()
    with LedgerReader.open(path) as reader:
        days = reader.days(0, 99_999_999) or {}
        november = reader.month("2026-11")

    dollars = {day: sum(sums.cost.values()) / 10**12 for day, sums in days.items()}
    assert dollars == {20261031: 24 * 14, 20261101: 25 * 14, 20261102: 24 * 14}
    assert {day: sums.covered[()] // HOUR for day, sums in days.items()} == {
        20261031: 24,
        20261101: 25,
        20261102: 24,
    }
    assert sum(november.cells.values()) == 49 * 14 * 10**12


def test_a_gap_is_posted_to_the_days_that_it_covers(path: Path, clock: ManualClock) -> None:
    """The daemon was down from 21:00 on 31 October to 03:00 on 3 November in New York, within one boot.

    Two GPUs at 7 dollars an hour: 3 hours, then 25, then 24, then 3, all of it unobserved.
    """
    rent = Rented((RentPrice(Decimal(7)),))
    policy = CostPolicy(
        Tariff("host-1", (Hardware(HardwareMatch(), rent, "hardware[0]"),)), ZoneInfo("America/New_York")
    )
    stopped = NOVEMBER + HOUR  # 2026-10-31T21:00-04:00
    again = stopped + (3 + 25 + 24 + 3) * HOUR
    state = State()
    for moment in (stopped, again):
        ledger = Ledger.open(path, clock)
        if moment == again:
            state = ledger.state()
        outcome = advance(state, replace(frame(1), elapsed=moment, wall=moment), policy)
        ledger.post(outcome.postings, outcome.state)
        ledger.close()
    with LedgerReader.open(path) as reader:
        days = reader.days(0, 99_999_999) or {}
        hours = reader.hours(0, 10**7) or {}
        months = {name: sum(reader.month(name).cells.values()) for name in ("2026-10", "2026-11")}

    dollars = {day: sum(sums.cost.values()) // 10**12 for day, sums in days.items()}
    assert dollars == {20261031: 3 * 14, 20261101: 25 * 14, 20261102: 24 * 14, 20261103: 3 * 14}
    assert {owner_phase.phase for sums in days.values() for owner_phase in sums.cost} == {"unobserved"}
    assert {sum(sums.cost.values()) for sums in hours.values()} == {14 * 10**12}
    assert len(hours) == 55
    assert months == {"2026-10": 3 * 14 * 10**12, "2026-11": 52 * 14 * 10**12}


def test_a_gap_is_charged_as_the_card_was_cut_and_shared(path: Path, clock: ManualClock) -> None:
    """The daemon was down for two hours; what the file remembers divides them, not what is found after.

    Of 40 GB: 3g.20gb is half, held by two servers with 5 and 15 GB; 2g.10gb is two of seven slices.
    """
    batch, train = ServerKey("llm", "batch"), ServerKey("", "unmatched:python")
    gigabyte = 10**9
    instances = (
        MigInstance("MIG-a", 1, gpu_slices=3, compute_slices=3, memory_bytes=20 * gigabyte),
        MigInstance("MIG-b", 2, gpu_slices=2, compute_slices=2, memory_bytes=10 * gigabyte),
    )
    cut = GpuReading(GPU_0, 0, memory_total_bytes=40 * gigabyte, instances=instances)
    holders = (
        Holder(CHAT, "GPU-0", instance="MIG-a", memory_bytes=5 * gigabyte),
        Holder(batch, "GPU-0", instance="MIG-a", memory_bytes=15 * gigabyte),
        Holder(train, "GPU-0", instance="MIG-b"),
    )
    before = Frame(elapsed=HOUR, wall=NOVEMBER, gpus=(cut,), holders=holders)
    after = Frame(
        elapsed=3 * HOUR,
        wall=NOVEMBER + 2 * HOUR,
        gpus=(GpuReading(GPU_0, 0),),
        holders=(Holder(CHAT, "GPU-0"),),
    )
    policy = CostPolicy(Tariff("host-1", (Hardware(HardwareMatch(), Rented((RentPrice(Decimal(7)),)), "x"),)))
    for read in (before, after):
        ledger = Ledger.open(path, clock)
        outcome = advance(ledger.state(), read, policy)
        ledger.post(outcome.postings, outcome.state)
        totals = ledger.totals(read.wall, ("2026-11",))
        ledger.close()

    # 14 dollars: 7 to the first instance as 1 to 3, 4 to the second, 3 to nobody.
    dollars = {
        owner_phase.owner.server: amount / 10**12 for owner_phase, amount in totals.cost.items() if amount
    }
    expected = {"chat": 1.75, "batch": 5.25, "unmatched:python": 4.0, "unallocated": 3.0}
    assert {name: round(amount, 6) for name, amount in dollars.items()} == expected
    assert sum(totals.cost.values()) == 14 * 10**12
    assert {owner_phase.phase for owner_phase, amount in totals.cost.items() if amount} == {"unobserved"}
