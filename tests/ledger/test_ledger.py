"""Posting, serving, and opening again."""

from pathlib import Path
from uuid import UUID

import pytest

from exporter.cost.postings import EnergyPosting, GpuTimePosting, OwnerPhase, Postings, RequestPosting
from exporter.ledger.ledger import Ledger
from exporter.report import MonthKey, ServerOwner
from tests.kit.clock import ManualClock
from tests.kit.units import HOUR, NOVEMBER, SECOND
from tests.ledger.ticks import (
    CHAT,
    GPU_0,
    GPU_1,
    SEARCH,
    UNALLOCATED_OWNER,
    accrued,
    filled,
    money,
    tick,
    tokens,
)

MONTHS = ("2026-11", "2026-10")
END = NOVEMBER + HOUR


def test_a_tick_is_served_in_every_family(path: Path, clock: ManualClock) -> None:
    """Each entry lands under its slot, its owner, its GPU and its month; the residual is 0."""
    entries = (
        money(700, CHAT, "prefill"),
        money(200, CHAT, "idle", GPU_1, "energy"),
        money(100, UNALLOCATED_OWNER, "idle", GPU_1),
    )
    posted = tick(
        END,
        *entries,
        gpu_time=(
            GpuTimePosting(GPU_0, OwnerPhase(CHAT, "prefill"), 7 * SECOND, chargeable=7 * SECOND),
            GpuTimePosting(GPU_1, OwnerPhase(CHAT, "idle"), 4 * SECOND, unpriced=True, chargeable=4 * SECOND),
            GpuTimePosting(
                GPU_1, OwnerPhase(UNALLOCATED_OWNER, "idle"), 2 * SECOND, unpriced=True, chargeable=2 * SECOND
            ),
        ),
        tokens=(tokens(5), tokens(3, kind="prompt")),
        requests=(RequestPosting(CHAT, 2),),
        energy=(EnergyPosting(GPU_0, 9000),),
        owners=(CHAT, UNALLOCATED_OWNER),
    )
    ledger = Ledger.open(path, clock)
    ledger.post(posted, accrued(posted))
    totals = ledger.totals(END, MONTHS)
    ledger.close()

    assert totals.residual == 0
    assert (totals.ledger, totals.persistent, totals.writable) == (ledger.id, True, True)
    assert totals.last_commit == clock.wall()
    assert filled(dict(totals.cost)) == {
        OwnerPhase(CHAT, "prefill"): 700,
        OwnerPhase(CHAT, "idle"): 200,
        OwnerPhase(UNALLOCATED_OWNER, "idle"): 100,
    }
    assert filled(dict(totals.gpu_time)) == {
        OwnerPhase(CHAT, "prefill"): 7 * SECOND,
        OwnerPhase(CHAT, "idle"): 4 * SECOND,
        OwnerPhase(UNALLOCATED_OWNER, "idle"): 2 * SECOND,
    }
    chat = ServerOwner("chat", "assistants", "llm", "chat-8b")
    unallocated = ServerOwner("unassigned", "unassigned", "", "unallocated")
    assert totals.server_cost == {(chat, "rent"): 700, (chat, "energy"): 200, (unallocated, "rent"): 100}
    assert totals.gpu_cost == {(GPU_0, "rent"): 700, (GPU_1, "energy"): 200, (GPU_1, "rent"): 100}
    assert totals.tokens == {(CHAT, "generation"): 5, (CHAT, "prompt"): 3}
    assert totals.requests == {CHAT: 2}
    assert totals.energy == {GPU_0: 9000}
    assert totals.unpriced == {GPU_1: 6 * SECOND}
    assert totals.last_token == {CHAT: END}
    assert totals.months == {
        MonthKey("chat", "assistants", "configured", "2026-11"): 900,
        MonthKey("unassigned", "unassigned", "configured", "2026-11"): 100,
    }


def test_a_party_starts_at_zero_in_every_phase(path: Path, clock: ManualClock) -> None:
    """An owner has all phases at 0 at first, also after a restart; tokens if its server reports them."""
    posted = Postings(END, owners=(SEARCH,), tokens=(tokens(0),))
    ledger = Ledger.open(path, clock)
    ledger.post(posted, accrued(posted))
    ledger.close()
    again = Ledger.open(path, clock)
    totals = again.totals(END, MONTHS)
    again.close()

    phases = ("prefill", "decode", "other", "idle", "unobserved")
    assert totals.cost == {OwnerPhase(owner, phase): 0 for owner in (SEARCH, CHAT) for phase in phases}
    assert totals.gpu_time == totals.cost
    assert totals.tokens == {(CHAT, "generation"): 0}
    assert totals.last_token == {}


def test_totals_go_on_after_a_restart(path: Path, clock: ManualClock) -> None:
    """Opened again, the ledger has its id, its totals and its last commit, and adds to them."""
    first = tick(END, money(700), tokens=(tokens(5),), owners=(CHAT,))
    ledger = Ledger.open(path, clock)
    ledger.post(first, accrued(first))
    before = ledger.totals(END, MONTHS)
    ledger.close()

    again = Ledger.open(path, clock)
    assert UUID(again.id).version == 4
    assert (again.problem, again.moved_aside, again.dropped) == ("", None, ())
    assert again.totals(END, MONTHS) == before
    second = tick(END + 10 * SECOND, money(1), tokens=(tokens(2),))
    again.post(second, accrued(first, second))
    totals = again.totals(END + 10 * SECOND, MONTHS)
    again.close()

    assert totals.cost[OwnerPhase(CHAT, "decode")] == 701
    assert totals.tokens == {(CHAT, "generation"): 7}
    assert totals.residual == 0


def test_books_do_not_change_under_their_reader(path: Path, clock: ManualClock) -> None:
    """Books handed out keep their numbers when a later tick is posted."""
    first, second = tick(END, money(700)), tick(END + SECOND, money(1))
    ledger = Ledger.open(path, clock)
    ledger.post(first, accrued(first))
    totals = ledger.totals(END, MONTHS)
    ledger.post(second, accrued(first, second))
    ledger.close()

    assert totals.cost[OwnerPhase(CHAT, "decode")] == 700
    assert totals.months[MonthKey("chat", "assistants", "configured", "2026-11")] == 700


def test_only_the_months_asked_for_are_served(path: Path, clock: ManualClock) -> None:
    """A month that is neither the current nor the previous one stays in the ledger and is not served."""
    names = ("2026-09", "2026-10", "2026-11")
    ticks = [tick(END + n * SECOND, money(n + 1), month=name) for n, name in enumerate(names)]
    ledger = Ledger.open(path, clock)
    for posted in ticks:
        ledger.post(posted, accrued(*ticks))
    served = {key.month: amount for key, amount in ledger.totals(END, MONTHS).months.items()}
    september = {key.month: amount for key, amount in ledger.totals(END, ("2026-09",)).months.items()}
    ledger.close()

    assert served == {"2026-10": 2, "2026-11": 3}
    assert september == {"2026-09": 1}


@pytest.mark.parametrize(
    ("table", "change", "residual"),
    [
        ("cost", 5, -5),
        ("server_cost", -7, 7),
        ("gpu_cost", 11, -11),
    ],
)
def test_a_planted_inconsistency_shows_in_the_residual(
    path: Path, clock: ManualClock, table: str, change: int, residual: int
) -> None:
    """A family that does not sum to what was accrued is reported, with its sign."""
    posted = tick(END, money(700))
    ledger = Ledger.open(path, clock)
    ledger.post(posted, accrued(posted))
    ledger._store._open.connection.execute(  # type: ignore[union-attr]
        f"UPDATE {table} SET picodollars = picodollars + ?",  # noqa: S608 - a test's own words
        (change,),
    )
    ledger.close()
    again = Ledger.open(path, clock)
    totals = again.totals(END, MONTHS)
    again.close()

    assert totals.residual == residual


def test_a_segment_that_is_split_wrongly_shows_in_the_residual(path: Path, clock: ManualClock) -> None:
    """Money that accrued and reached no owner is reported."""
    whole = tick(END, money(700))
    lost = Postings(
        END, (whole.segments[0].__class__(0, 1, "2026-11", "2026-11-01", 701, whole.segments[0].money, ()),)
    )
    ledger = Ledger.open(path, clock)
    ledger.post(lost, accrued(lost))
    residual = ledger.totals(END, MONTHS).residual
    ledger.close()

    assert residual == 1


def test_a_tick_that_never_came_shows_in_the_residual(path: Path, clock: ManualClock) -> None:
    """The cost model's own sum runs ahead of the ledger when a tick was not posted."""
    first, second, third = (tick(END + n * SECOND, money(100)) for n in range(3))
    ledger = Ledger.open(path, clock)
    ledger.post(first, accrued(first))
    ledger.post(third, accrued(first, second, third))
    residual = ledger.totals(END, MONTHS).residual
    ledger.close()

    assert residual == 200 - 300


def test_closing_twice_is_closing_once(path: Path, clock: ManualClock) -> None:
    """A second close does nothing."""
    ledger = Ledger.open(path, clock)
    ledger.close()
    ledger.close()

    assert not Path(f"{path}-wal").exists()
