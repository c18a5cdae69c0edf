"""A month as charges: by hand, and reconciling to the picodollar with the other reports."""

from collections import Counter
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.postings import (
    PHASES,
    UNALLOCATED,
    UNASSIGNED,
    CostOwner,
    GpuTimePosting,
    MoneyPosting,
    OwnerPhase,
    Segment,
)
from exporter.finance.focus.charges import ChargePeriod, FocusCharge, charge_period, charges, dealt
from exporter.finance.statements import chargeback_statement, month_statement
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import HistorySums, MonthRecord
from exporter.readings import UNCOUNTED, Gpu
from exporter.report import MonthKey, ServerOwner
from exporter.tariff.period import Period
from tests.kit.units import DOLLAR, HOUR, SECOND

UTC = ZoneInfo("UTC")
CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
EMBED = CostOwner("search", "retrieval", "", "embed", "")
UNASSIGNED_OWNER = CostOwner(UNASSIGNED, UNASSIGNED, "", UNALLOCATED, "")
GPU_0, GPU_1 = Gpu("GPU-0", "H100"), Gpu("GPU-1", "L4")

DAY = HistorySums(
    cost={OwnerPhase(CHAT, "idle"): 3 * DOLLAR, OwnerPhase(CHAT, "decode"): 6 * DOLLAR},
    held={
        OwnerPhase(CHAT, "decode"): 2 * HOUR,
        OwnerPhase(CHAT, "idle"): HOUR,
        OwnerPhase(EMBED, "idle"): HOUR,
    },
    server_cost={
        (ServerOwner("chat", "assistants", "llm", "chat-8b"), "rent", "configured"): 5 * DOLLAR,
        (ServerOwner("chat", "assistants", "llm", "chat-8b"), "energy", "estimate"): 4 * DOLLAR,
    },
    tokens={(CHAT, "generation"): 100, (CHAT, "prompt"): 900, (EMBED, "prompt"): 0},
    unpriced={(GPU_0, CHAT): HOUR, (GPU_1, CHAT): HOUR // 2, (GPU_1, EMBED): HOUR},
)
FRIDAY = 1_793_318_400 * SECOND
"""2026-10-30T00:00:00Z."""
POSTED = Adjustment(1, "2026-10-30", "chat", "assistants", -DOLLAR // 4, "credit note", 1, 2)
WAITING = Adjustment(2, "2026-10-30", "chat", "assistants", 77 * DOLLAR, "not yet", 1, None)
RECORD = MonthRecord(
    ledger="ledger-1",
    last_commit=None,
    month="2026-10",
    months=("2026-10",),
    cells={
        # 5 of rent, 1 that history lost, and the adjustment.
        MonthKey("chat", "assistants", "configured", "2026-10"): 6 * DOLLAR - DOLLAR // 4,
        MonthKey("chat", "assistants", "estimate", "2026-10"): 4 * DOLLAR,
        MonthKey("search", "retrieval", "estimate", "2026-10"): 2 * DOLLAR,
    },
    sums=DAY,
    adjustments=(POSTED, WAITING),
    days={20261030: DAY},
)


def test_a_month_by_hand() -> None:
    """Money by phase, tokens without, an adjustment, and what is known by product and team only.

    4 of 9 dollars are estimated: 6 x 4 / 9 = 2.67 of the 6, and the rest of the 4 of the 3.
    1.5 of 3 hours had no price: 2 x 1.5 / 3 = 1 of the 2, and 0.5 of the 1.
    """
    day = ChargePeriod(FRIDAY, FRIDAY + 24 * HOUR)
    whole = ChargePeriod(1_790_812_800 * SECOND, 1_793_491_200 * SECOND)  # 1 October to 1 November
    chat = {
        "product": "chat",
        "team": "assistants",
        "namespace": "llm",
        "server": "chat-8b",
        "model": "llama-8b",
    }
    decode = FocusCharge("gpu time", day, **chat, phase="decode", cost=6 * DOLLAR, gpu_time=2 * HOUR)
    idle = FocusCharge("gpu time", day, **chat, phase="idle", cost=3 * DOLLAR, gpu_time=HOUR)
    embed = FocusCharge("gpu time", day, "search", "retrieval", "", "embed", phase="idle", gpu_time=HOUR)

    assert list(charges(RECORD, UTC)) == [
        decode._replace(price_basis="mixed", estimated=2_666_666_666_666, unpriced=HOUR),
        idle._replace(price_basis="mixed", estimated=1_333_333_333_334, unpriced=HOUR // 2),
        embed._replace(unpriced=HOUR),
        FocusCharge("tokens", day, **chat, kind="prompt", tokens=900),
        FocusCharge("tokens", day, **chat, kind="generation", tokens=100),
        FocusCharge(
            "adjustment",
            day,
            "chat",
            "assistants",
            cost=-DOLLAR // 4,
            price_basis="configured",
            reason="credit note",
        ),
        FocusCharge("not itemized", whole, "chat", "assistants", cost=DOLLAR, price_basis="configured"),
        FocusCharge(
            "not itemized",
            whole,
            "search",
            "retrieval",
            cost=2 * DOLLAR,
            price_basis="estimate",
            estimated=2 * DOLLAR,
        ),
    ]


def test_time_that_was_charged_late_is_without_a_price_no_more() -> None:
    """Of GPU-0's hour 40 minutes were charged since, and all of GPU-1's half: 20 of the 90 are left.

    By 2 to 1 of what was held: 13 min 20 s and 6 min 40 s. EMBED's hour still waits.
    """
    settled = {(GPU_0, CHAT): HOUR * 2 // 3, (GPU_1, CHAT): HOUR // 2}
    record = replace(RECORD, days={20261030: replace(DAY, settled=settled)})
    unpriced = [charge.unpriced for charge in charges(record, UTC) if charge.what == "gpu time"]

    assert unpriced == [800 * SECOND, 400 * SECOND, HOUR]


def test_hours_of_a_host_without_known_gpus_are_no_gpu_hours() -> None:
    """A GPU has no price for an hour, and a host no number of GPUs for three, as in `report month`."""
    sums = HistorySums(unpriced={(GPU_0, CHAT): HOUR, (UNCOUNTED, CHAT): 3 * HOUR, (UNCOUNTED, EMBED): HOUR})
    record = replace(RECORD, days={20261030: sums}, cells={}, adjustments=())

    (row,) = charges(record, UTC)

    assert (row.server, row.unpriced) == ("chat-8b", HOUR)


def test_one_price_basis_is_told_as_it_is() -> None:
    """Both phases of a server that only rent was paid for."""
    rent = {(ServerOwner("chat", "assistants", "llm", "chat-8b"), "rent", "catalogue"): 9 * DOLLAR}
    record = replace(RECORD, days={20261030: replace(DAY, server_cost=rent, unpriced={})}, cells={})
    paid = [charge for charge in charges(record, UTC) if charge.phase and charge.cost]

    assert [(charge.price_basis, charge.estimated) for charge in paid] == [("catalogue", 0)] * 2


def test_what_cost_nothing_has_no_price_basis() -> None:
    """An idle phase that nothing was paid for, on a server whose other phase was paid."""
    sums = replace(DAY, cost={OwnerPhase(CHAT, "decode"): 9 * DOLLAR}, unpriced={})
    rows = charges(replace(RECORD, days={20261030: sums}), UTC)

    assert [(charge.phase, charge.price_basis) for charge in rows if charge.server == "chat-8b"][:2] == [
        ("decode", "mixed"),
        ("idle", ""),
    ]


def test_a_file_that_lost_rows_of_a_family_still_adds_up() -> None:
    """What servers paid is gone and what phases cost is not: money is counted once, its basis is unknown."""
    record = replace(RECORD, days={20261030: replace(DAY, server_cost={})})
    rows = list(charges(record, UTC))

    assert sum(charge.cost for charge in rows) == sum(RECORD.cells.values())
    assert rows[-1] == FocusCharge(
        "not itemized",
        charge_period(Period.named("2026-10"), UTC),
        "chat",
        "assistants",
        cost=-9 * DOLLAR,
        price_basis="mixed",
    )


def test_what_a_later_release_adds_comes_last() -> None:
    """An unknown phase or kind of token is told, after those that are known."""
    later: Any = {OwnerPhase(CHAT, "mixing"): DOLLAR, OwnerPhase(CHAT, "unobserved"): DOLLAR}  # type: ignore[arg-type]
    tokens: Any = {(CHAT, "image"): 5, (CHAT, "generation"): 6}
    record = replace(
        RECORD, days={20261030: HistorySums(cost=later, tokens=tokens)}, cells={}, adjustments=()
    )
    names = [charge.phase or charge.kind for charge in charges(record, UTC) if charge.what != "not itemized"]

    assert names == ["unobserved", "mixing", "generation", "image"]


@pytest.mark.parametrize(
    ("zone", "day", "start", "end", "hours"),
    [
        # Auckland is 12 hours ahead of UTC, in summer 13; New York 5 behind, in summer 4.
        ("Pacific/Auckland", 20260927, "2026-09-26T12", "2026-09-27T11", 23),
        ("Pacific/Auckland", 20260405, "2026-04-04T11", "2026-04-05T12", 25),
        ("America/New_York", 20260308, "2026-03-08T05", "2026-03-09T04", 23),
        ("America/New_York", 20261101, "2026-11-01T04", "2026-11-02T05", 25),
        ("America/New_York", 20261102, "2026-11-02T05", "2026-11-03T05", 24),
    ],
)
def test_a_day_is_as_long_as_it_was(zone: str, day: int, start: str, end: str, hours: int) -> None:
    """23 hours in spring, 25 in autumn, from local midnight to local midnight."""
    name = f"{day // 10_000}-{day // 100 % 100:02d}"
    record = replace(RECORD, month=name, days={day: DAY}, cells={}, adjustments=())
    (first, *_rest) = charges(record, ZoneInfo(zone))

    assert (utc(first.period.start), utc(first.period.end)) == (f"{start}:00:00Z", f"{end}:00:00Z")
    assert first.period.end - first.period.start == hours * HOUR


@pytest.mark.parametrize(
    ("zone", "name", "start", "end"),
    [
        ("Pacific/Auckland", "2026-09", "2026-08-31T12", "2026-09-30T11"),
        ("Pacific/Auckland", "2026-04", "2026-03-31T11", "2026-04-30T12"),
        ("America/New_York", "2026-03", "2026-03-01T05", "2026-04-01T04"),
        ("America/New_York", "2026-11", "2026-11-01T04", "2026-12-01T05"),
        ("UTC", "2028-02", "2028-02-01T00", "2028-03-01T00"),
    ],
)
def test_days_fill_their_month(zone: str, name: str, start: str, end: str) -> None:
    """From the first instant of the billing period to its last, each begins where the one before ended."""
    whole = charge_period(Period.named(name), ZoneInfo(zone))
    number = int(name.replace("-", "")) * 100
    last = {"04": 30, "09": 30, "11": 30, "02": 29}.get(name[5:], 31)
    days = {number + day: HistorySums(cost={OwnerPhase(CHAT, "idle"): 1}) for day in range(1, last + 1)}
    rows = list(charges(replace(RECORD, month=name, days=days, cells={}, adjustments=()), ZoneInfo(zone)))
    periods = [charge.period for charge in rows if charge.what == "gpu time"]

    assert (utc(whole.start), utc(whole.end)) == (f"{start}:00:00Z", f"{end}:00:00Z")
    assert [period.start for period in periods] == [whole.start, *(period.end for period in periods[:-1])]
    assert periods[-1].end == whole.end


def utc(instant: int) -> str:
    """An instant as the system's calendar tells it."""
    import datetime as dt

    return dt.datetime.fromtimestamp(instant // SECOND, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_parts_by_weight_by_hand() -> None:
    """10 by 1, 1 and 1 is 3, 3 and 4; nothing to weigh by leaves all of it to the first."""
    assert dealt(10, [1, 1, 1]) == [3, 3, 4]
    assert dealt(10, [0, 0]) == [10, 0]
    assert dealt(0, []) == []


@given(st.lists(st.integers(0, 10**15), min_size=1, max_size=8), st.data())
def test_parts_sum_to_the_whole_and_none_is_more_than_it_weighs(weights: list[int], data: Any) -> None:
    """An estimated part is never larger than the money that it is part of."""
    amount = data.draw(st.integers(0, sum(weights)))
    parts = dealt(amount, weights)

    assert sum(parts) == amount
    assert all(0 <= part <= weight for part, weight in zip(parts, weights, strict=True))


owners = st.builds(
    CostOwner,
    st.sampled_from(["chat", "search", UNASSIGNED]),
    st.sampled_from(["a", "b"]),
    st.sampled_from(["llm", ""]),
    st.sampled_from(["s", "t", UNALLOCATED]),
    st.sampled_from(["m", "n", ""]),
)
owner_phases = st.builds(OwnerPhase, owners, st.sampled_from(PHASES))
moneys = st.builds(
    MoneyPosting,
    st.sampled_from([GPU_0, GPU_1]),
    st.sampled_from(["rent", "energy"]),
    st.sampled_from(["configured", "catalogue", "estimate"]),
    owner_phases,
    st.integers(0, 10**14),
)
helds = st.builds(
    lambda gpu, owner_phase, hours, down, unpriced: GpuTimePosting(
        gpu,
        owner_phase,
        hours * HOUR,
        chargeable=hours * HOUR - (0 if unpriced else down * hours * HOUR // 10),
        unpriced=unpriced,
        down=down * hours * HOUR // 10,
    ),
    st.sampled_from([GPU_0, GPU_1]),
    owner_phases,
    st.integers(0, 24),
    st.integers(0, 10),
    st.booleans(),
)
segments = st.builds(
    lambda day, money, times: Segment(0, 1, "2026-10", f"2026-10-{day:02d}", 0, tuple(money), tuple(times)),
    st.integers(1, 31),
    st.lists(moneys, max_size=6),
    st.lists(helds, max_size=6),
)
corrections = st.builds(
    lambda day, product, amount, posted: Adjustment(
        1, f"2026-10-{day:02d}", product, "a", amount, "because", 1, posted
    ),
    st.integers(1, 31),
    st.sampled_from(["chat", "search"]),
    st.integers(-(10**14), 10**14),
    st.sampled_from([None, 5]),
)


def record(posted: list[tuple[Segment, bool]], adjustments: list[Adjustment]) -> MonthRecord:
    """The month of these segments as the ledger tells it; history knows of those only that say so.

    Of GPU-1's time without a price a third was charged since.
    """
    cells: Counter[MonthKey] = Counter()
    days: dict[int, HistorySums] = {}
    whole = HistorySums()
    for segment, in_history in posted:
        for money in segment.money:
            owner = money.owner_phase.owner
            cells[MonthKey(owner.product, owner.team, money.price_basis, "2026-10")] += money.amount
        if in_history:
            sums = HistorySums.of(segment)
            days.setdefault(int(segment.day.replace("-", "")), HistorySums()).add(sums)
            whole.add(sums)
    for of_day in days.values():
        of_day.settled = {key: time // 3 for key, time in of_day.unpriced.items() if key[0] == GPU_1}
        for key, time in of_day.settled.items():
            whole.settled[key] = whole.settled.get(key, 0) + time
    for each in adjustments:
        if each.posted is not None:
            cells[each.cell] += each.amount
    return replace(RECORD, cells=dict(cells), sums=whole, days=days, adjustments=tuple(adjustments))


@given(st.lists(st.tuples(segments, st.booleans()), max_size=6), st.lists(corrections, max_size=3))
def test_charges_reconcile_with_the_month_to_the_picodollar(
    posted: list[tuple[Segment, bool]], adjustments: list[Adjustment]
) -> None:
    """By product and team, by price basis, by server and in all; so do GPU-hours, and what had no price."""
    month_record = record(posted, adjustments)
    rows = list(charges(month_record, UTC))
    money: Counter[tuple[str, ...]] = Counter()
    for charge in rows:
        money[charge.product, charge.team] += charge.cost

    billed = {
        line.labels: line.money
        for line in chargeback_statement(month_record, current_month="", zone=UTC).lines
        if line.money
    }
    assert {who: amount for who, amount in money.items() if amount} == billed
    assert sum(charge.cost for charge in rows) == sum(month_record.cells.values())
    by_server: Counter[tuple[str, ...]] = Counter()
    for charge in rows:
        if charge.what == "gpu time":
            by_server[charge.namespace, charge.server] += charge.cost
    itemized = {
        line.labels: line.money
        for line in month_statement(month_record, "server", current_month="", zone=UTC).lines
        if line.labels[0][:1] != "("
    }
    assert {who: amount for who, amount in by_server.items() if amount} == {
        who: amount for who, amount in itemized.items() if amount
    }
    estimates = sum(amount for cell, amount in month_record.cells.items() if cell.price_basis == "estimate")
    assert sum(charge.estimated for charge in rows) == estimates
    sums = month_record.sums
    assert sums is not None
    passed, not_owed = sum(sums.gpu_held.values()), sum(sums.gpu_unowed.values())
    assert sum(charge.gpu_time for charge in rows) == passed - not_owed
    by_gpu = month_statement(month_record, "gpu", current_month="", zone=UTC).lines
    assert sum(line.gpu_time for line in by_gpu) == passed - not_owed
    waits = sum(sums.unpriced.values()) - sum(sums.settled.values())
    assert sum(charge.unpriced for charge in rows) == waits
    assert all(0 <= charge.unpriced <= charge.gpu_time for charge in rows)
    assert all(0 <= charge.estimated <= charge.cost for charge in rows if charge.what == "gpu time")
