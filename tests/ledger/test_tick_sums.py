"""Sums of one segment, by every key that totals and history need."""

from dataclasses import replace

from exporter.cost.postings import GpuTimePosting, LateCharges, OwnerPhase, Postings, Segment
from exporter.ledger.families import CappedSum, Earliest, GpuOwner, Latest, Sum
from exporter.ledger.history import HistorySums, TickSums
from exporter.ledger.totals import HOURS_KEPT, Counters, Totals
from exporter.report import ServerOwner
from exporter.units import hour_of
from tests.kit.units import HOUR, NOVEMBER, SECOND
from tests.ledger.ticks import CHAT, GPU_0, GPU_1, SEARCH, money

DECODE, IDLE = OwnerPhase(CHAT, "decode"), OwnerPhase(CHAT, "idle")
SEGMENT = Segment(
    NOVEMBER,
    NOVEMBER + 10 * SECOND,
    "2026-11",
    "2026-11-01",
    12,
    (money(5), money(4, phase="idle"), money(3, component="energy")),
    (
        GpuTimePosting(GPU_0, DECODE, 6, chargeable=6),
        GpuTimePosting(GPU_0, IDLE, 4, down=3, chargeable=3),
        GpuTimePosting(GPU_1, OwnerPhase(SEARCH, "idle"), 10, unpriced=True, down=2, chargeable=8),
    ),
)


def test_money_of_a_segment() -> None:
    """By owner and phase, by server, component and basis, and by GPU and component, first come first."""
    sums = HistorySums.of(SEGMENT)
    owner = ServerOwner("chat", "assistants", "llm", "chat-8b")

    assert list(sums.cost.items()) == [(DECODE, 8), (IDLE, 4)]
    assert sums.server_cost == {(owner, "rent", "configured"): 9, (owner, "energy", "configured"): 3}
    assert sums.gpu_cost == {(GPU_0, "rent"): 9, (GPU_0, "energy"): 3}


def test_gpu_time_of_a_segment() -> None:
    """Owed time by owner and phase. Time by GPU contains all of it, priced or not; parts of 0 make no key."""
    sums = HistorySums.of(SEGMENT)

    assert sums.held == {DECODE: 6, IDLE: 3, OwnerPhase(SEARCH, "idle"): 8}
    assert (sums.gpu_held, sums.gpu_unowed) == ({GPU_0: 10, GPU_1: 10}, {GPU_0: 1, GPU_1: 2})
    assert sums.gpu_down == {GPU_0: 3, GPU_1: 2}
    holder = GpuOwner(GPU_0, "chat", "assistants")
    assert (sums.owner_held, sums.owner_down) == ({holder: 10}, {holder: 3})
    assert sums.unpriced == {(GPU_1, SEARCH): 10}


def test_late_segments_stay_apart() -> None:
    """Their GPU time was counted when it passed."""
    tick = TickSums.of(Postings(SEGMENT.end, (SEGMENT,), late=LateCharges((SEGMENT, SEGMENT))))

    assert [posted.segment for posted in tick.segments] == [SEGMENT]
    assert [posted.segment for posted in tick.late] == [SEGMENT, SEGMENT]
    late = tick.late[0].sums
    assert (late.settled, late.gpu_held, late.unpriced) == ({(GPU_0, CHAT): 10}, {}, {})


def test_late_money_is_of_the_hour_that_it_covers() -> None:
    """An hour of 12 picodollars is charged two hours late, in a commit that metered the later hour alone."""
    later = replace(SEGMENT, start=SEGMENT.start + 2 * HOUR, end=SEGMENT.end + 2 * HOUR)
    tick = TickSums.of(Postings(later.end, (later,), late=LateCharges((SEGMENT,))))
    pending = Totals()
    pending.add(tick, ())

    totals = Totals().with_added(pending, later.end).totals

    first = hour_of(SEGMENT.start)
    assert {hour: sums.cost for hour, sums in totals.hours.items()} == {
        first: {"chat": 12},
        first + 2: {"chat": 12},
    }


def test_late_money_of_an_hour_that_expired() -> None:
    """Of 962 metered hours the first is gone: money that is charged for it is in the totals alone."""
    totals = Totals()
    for number in range(HOURS_KEPT + 1):
        start = SEGMENT.start + number * HOUR
        segment = replace(SEGMENT, start=start, end=start + SECOND, money=())
        pending = Totals()
        pending.add(TickSums.of(Postings(segment.end, (segment,))), ())
        totals = totals.with_added(pending, segment.end).totals
    pending = Totals()
    end = SEGMENT.start + HOURS_KEPT * HOUR + 2 * SECOND
    pending.add(TickSums.of(Postings(end, late=LateCharges((SEGMENT,)))), ())

    totals = totals.with_added(pending, end).totals

    assert hour_of(SEGMENT.start) not in totals.hours
    assert sum(totals.counters.months.values()) == 12


def test_counters_are_added_by_the_rule_of_each() -> None:
    """Money sums up exactly, counts stop at the largest integer of the file, and no instant is summed."""
    largest = 2**63 - 1
    counters = Counters(
        cost=Sum({DECODE: largest}),
        tokens=CappedSum({(CHAT, "prompt"): largest - 1}),
        first_held=Earliest({"chat": 7, "search": 3}),
        last_token=Latest({CHAT: 7}),
    )
    counters.add(
        Counters(
            cost=Sum({DECODE: 2}),
            tokens=CappedSum({(CHAT, "prompt"): 5}),
            first_held=Earliest({"chat": 5, "search": 4, "images": 9}),
            last_token=Latest({CHAT: 8, SEARCH: 2}),
        )
    )

    assert counters.cost == {DECODE: largest + 2}
    assert counters.tokens == {(CHAT, "prompt"): largest}
    assert counters.first_held == {"chat": 5, "search": 3, "images": 9}
    assert counters.last_token == {CHAT: 8, SEARCH: 2}
