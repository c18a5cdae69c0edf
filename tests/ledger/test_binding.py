"""A ledger on another machine: whose books they are, and what happens to those that are not ours."""

import contextlib
import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from exporter.cost.postings import GpuTimePosting, OwnerPhase
from exporter.cost.state import GpuState, State
from exporter.ledger.errors import LedgerLockedError
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.report import CommittedTotals
from tests.kit.clock import ManualClock
from tests.kit.units import HOUR, NOVEMBER, SECOND
from tests.ledger.ticks import CHAT, GPU_0, GPU_1, accrued, money, tick

MONTHS = ("2026-11",)
END = NOVEMBER + HOUR
HERE, THERE = "product:aaaa", "product:bbbb"
WAITING = (
    "the ledger is another machine's unless one of its GPUs is here: nothing is posted or served "
    "until the GPUs can be read"
)


def made(path: Path, clock: ManualClock, machine: str = HERE) -> str:
    """A ledger of a machine with GPU-0 in it, with one tick; its id."""
    posted = tick(END, money(700))
    ledger = Ledger.open(path, clock)
    assert ledger.bind(machine, {GPU_0.uuid}) is True
    ledger.post(posted, accrued(posted))
    ledger.close()
    return ledger.id


def stored(path: Path, key: str) -> object:
    """One value of the file's meta table; `None` if it is not there."""
    with contextlib.closing(sqlite3.connect(path)) as shell:
        return next(
            (value for (value,) in shell.execute("SELECT value FROM meta WHERE key = ?", (key,))), None
        )


def spent(totals: CommittedTotals) -> int:
    return totals.cost.get(OwnerPhase(CHAT, "decode"), 0)


@pytest.mark.parametrize(
    ("machine", "uuids"),
    [
        pytest.param(HERE, {"GPU-0"}, id="nothing-changed"),
        pytest.param(HERE, {"GPU-8", "GPU-9"}, id="all-GPUs-swapped"),
        pytest.param(HERE, (), id="no-GPU-read-yet"),
        pytest.param(THERE, {"GPU-0", "GPU-9"}, id="GPUs-moved-to-a-new-box"),
        pytest.param("", {"GPU-9"}, id="machine-unknown"),
        pytest.param("installation:aaaa", {"GPU-9"}, id="machine-known-by-another-name"),
    ],
)
def test_books_that_may_be_ours_go_on(
    path: Path, clock: ManualClock, machine: str, uuids: Iterable[str]
) -> None:
    """Same machine or same GPU, or no proof of another: same id, same totals, nothing moved."""
    old = made(path, clock)
    ledger = Ledger.open(path, clock)
    bound = ledger.bind(machine, set(uuids))
    ledger.close()

    assert (bound, ledger.id, ledger.moved_aside, ledger.problem) == (True, old, None, "")
    assert ledger.remembered().same_machine == (machine == HERE)
    assert spent(ledger.totals(END, MONTHS)) == 700


def test_a_ledger_copied_to_another_machine_starts_over(
    path: Path, tmp_path: Path, clock: ManualClock
) -> None:
    """Other identity, other GPUs: new id, totals and marks from zero, the copy kept aside whole."""
    old = made(path, clock)
    (tmp_path / "clone").mkdir()
    clone = tmp_path / "clone" / "ledger.db"
    shutil.copy(path, clone)
    aside = clone.with_name("ledger.db.foreign-1")
    ledger = Ledger.open(clone, clock)
    assert ledger.belongs(THERE, {"GPU-9"}) is False
    assert ledger.bind(THERE, {"GPU-9"}) is True

    assert ledger.id != old
    assert ledger.state() == State()
    assert spent(ledger.totals(END, MONTHS)) == 0
    assert (ledger.persistent, ledger.moved_aside, ledger.dropped) == (True, aside, ())
    assert ledger.problem == (
        f"{clone} is another machine's, none of whose GPUs is here: it was moved to {aside}, and a new "
        "ledger was created; to continue with it, stop the daemon, move it back and run "
        "`inference-cost-exporter ledger adopt`"
    )
    with LedgerReader.open(aside) as reader:
        assert (reader.id, spent(reader.totals(END, MONTHS))) == (old, 700)

    first = tick(END + SECOND, money(1, gpu=GPU_1))
    ledger.post(first, accrued(first))
    ledger.close()
    with LedgerReader.open(clone) as begun:
        assert (begun.id, spent(begun.totals(END, MONTHS))) == (ledger.id, 1)
    assert stored(clone, "machine") == THERE
    with LedgerReader.open(path) as original:
        assert (original.id, spent(original.totals(END, MONTHS))) == (old, 700)


def test_the_new_books_are_this_machines_at_the_next_start(path: Path, clock: ManualClock) -> None:
    """A ledger starts over once; a second foreign file gets the next number."""
    made(path, clock)
    begun = Ledger.open(path, clock)
    begun.bind(THERE, {"GPU-1"})
    posted = tick(END, money(5, gpu=GPU_1))
    begun.post(posted, accrued(posted))
    begun.close()
    again = Ledger.open(path, clock)
    again.bind(THERE, {"GPU-1"})
    assert (again.id, again.moved_aside, again.problem) == (begun.id, None, "")
    again.close()
    third = Ledger.open(path, clock)
    third.bind(HERE, {"GPU-0"})
    third.close()

    assert third.moved_aside == path.with_name("ledger.db.foreign-2")


def test_a_disk_moved_with_its_gpus_takes_on_the_new_machine(path: Path, clock: ManualClock) -> None:
    """After the move, the new machine keeps the ledger even when its GPUs are all replaced later."""
    old = made(path, clock)
    moved = Ledger.open(path, clock)
    moved.bind(THERE, {"GPU-0"})
    posted = tick(END + SECOND, money(1))
    moved.post(posted, accrued(tick(END, money(700)), posted))
    moved.close()
    replaced = Ledger.open(path, clock)
    replaced.bind(THERE, {"GPU-9"})
    replaced.close()

    assert (stored(path, "machine"), replaced.id, replaced.moved_aside) == (THERE, old, None)


def test_a_machine_that_is_unknown_today_forgets_no_other(path: Path, clock: ManualClock) -> None:
    """A start that cannot tell where it is leaves what was known."""
    made(path, clock)
    ledger = Ledger.open(path, clock)
    ledger.bind("", {"GPU-0"})
    posted = tick(END + SECOND, money(1))
    ledger.post(posted, accrued(tick(END, money(700)), posted))
    ledger.close()

    assert stored(path, "machine") == HERE


def test_a_ledger_of_an_earlier_release_is_bound_to_where_it_is(path: Path, clock: ManualClock) -> None:
    """A file that names no machine is ours; from the first tick on it names this one."""
    old = made(path, clock, machine="")
    assert stored(path, "machine") is None
    ledger = Ledger.open(path, clock)
    ledger.bind(HERE, {"GPU-9"})
    posted = tick(END + SECOND, money(1))
    ledger.post(posted, accrued(tick(END, money(700)), posted))
    ledger.close()

    assert (ledger.id, stored(path, "machine")) == (old, HERE)


def test_a_machine_that_is_no_text_is_none(path: Path, clock: ManualClock) -> None:
    """What somebody wrote into the file is no proof of another machine."""
    old = made(path, clock)
    with contextlib.closing(sqlite3.connect(path)) as shell:
        shell.execute("UPDATE meta SET value = 7 WHERE key = 'machine'")
        shell.commit()
    ledger = Ledger.open(path, clock)
    ledger.bind(THERE, {"GPU-9"})
    ledger.close()

    assert (ledger.id, ledger.moved_aside) == (old, None)


def test_books_without_a_gpu_are_whoevers_they_are(path: Path, clock: ManualClock) -> None:
    """A ledger made in an image, before any GPU was seen, has no money to protect."""
    ledger = Ledger.open(path, clock)
    ledger.bind(HERE, ())
    nothing = tick(END)
    ledger.post(nothing, accrued(nothing))
    ledger.close()
    there = Ledger.open(path, clock)
    there.bind(THERE, ())
    there.close()

    assert (there.id, there.moved_aside) == (ledger.id, None)


@pytest.mark.parametrize("how", ["unpriced", "remembered"])
def test_gpus_are_known_without_a_price(path: Path, clock: ManualClock, how: str) -> None:
    """A GPU that no money was posted to is one of the ledger's all the same."""
    gpu_time = (
        GpuTimePosting(GPU_1, OwnerPhase(CHAT, "decode"), 10 * SECOND, unpriced=True, chargeable=10 * SECOND),
    )
    posted = tick(END, gpu_time=gpu_time if how == "unpriced" else ())
    state = State(wall=END, gpus={GPU_1.uuid: GpuState(GPU_1, 1)} if how == "remembered" else {})
    ledger = Ledger.open(path, clock)
    ledger.bind(HERE, {GPU_1.uuid})
    ledger.post(posted, state)
    ledger.close()
    again = Ledger.open(path, clock)

    assert (again.belongs(THERE, {"GPU-1"}), again.belongs(THERE, {"GPU-9"})) == (True, False)
    again.close()


def test_until_a_gpu_is_read_nothing_of_another_machine_is_served(path: Path, clock: ManualClock) -> None:
    """Another machine and a silent NVML: no answer yet, no totals; the first GPU decides."""
    old = made(path, clock)
    ledger = Ledger.open(path, clock)

    assert ledger.bind(THERE, ()) is False
    totals = ledger.totals(END, MONTHS)
    assert (dict(totals.cost), dict(totals.months), dict(totals.gpu_cost)) == ({}, {}, {})
    assert (totals.ledger, totals.residual, ledger.problem) == (old, 0, WAITING)
    assert ledger.bind(THERE, {"GPU-0"}) is True
    assert (spent(ledger.totals(END, MONTHS)), ledger.problem) == (700, "")
    ledger.close()


def test_the_lock_stays_held_while_the_ledger_starts_over(path: Path, clock: ManualClock) -> None:
    """Nobody slips in between the file that goes and the one that comes."""
    made(path, clock)
    ledger = Ledger.open(path, clock)
    ledger.bind(THERE, {"GPU-9"})
    with pytest.raises(LedgerLockedError):
        Ledger.open(path, clock)
    ledger.close()
    Ledger.open(path, clock).close()


def test_a_foreign_file_that_cannot_be_moved_aside(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays as it is, and the ledger is in memory: another machine's money is never added to."""
    old = made(path, clock)
    ledger = Ledger.open(path, clock)

    def refuse(_path: Path, _target: str) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    assert ledger.bind(THERE, {"GPU-9"}) is True
    posted = tick(END + SECOND, money(1))
    ledger.post(posted, accrued(posted))
    assert (ledger.persistent, ledger.writable, ledger.moved_aside) == (False, True, None)
    assert spent(ledger.totals(END, MONTHS)) == 1
    assert ledger.problem == (
        f"{path} is another machine's, none of whose GPUs is here, and no other can be begun "
        "(Permission denied): the ledger is in memory and ends with this process; "
        "make the place writable, or set --ledger.path to one that is"
    )
    ledger.close()
    with LedgerReader.open(path) as reader:
        assert (reader.id, spent(reader.totals(END, MONTHS))) == (old, 700)


def test_a_disk_too_full_for_new_books(path: Path, clock: ManualClock, disk: Any) -> None:
    """The foreign file is aside, and where no other can be made the ledger is in memory."""
    made(path, clock)
    ledger = Ledger.open(path, clock, connect=disk)
    disk.failure, disk.at = sqlite3.OperationalError("database or disk is full"), "CREATE"
    ledger.bind(THERE, {"GPU-9"})
    ledger.close()

    assert (ledger.persistent, ledger.moved_aside) == (False, path.with_name("ledger.db.foreign-1"))
    assert "no other can be begun (database or disk is full): the ledger is in memory" in ledger.problem


def test_books_in_memory_are_never_another_machines(clock: ManualClock) -> None:
    """It began with this process, and still starts over."""
    ledger = Ledger.open(None, clock)
    first = ledger.id
    posted = tick(END, money(700))
    assert ledger.bind(HERE, {"GPU-0"}) is True
    ledger.post(posted, accrued(posted))
    assert ledger.belongs(THERE, {"GPU-9"}) is True
    ledger.start_over()

    assert (ledger.id == first, spent(ledger.totals(END, MONTHS)), ledger.state()) == (
        False,
        0,
        State(),
    )
