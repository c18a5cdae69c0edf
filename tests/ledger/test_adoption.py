"""Adopting a ledger: what it lets go of, what it keeps, and what it refuses."""

import contextlib
import os
import re
import sqlite3
from pathlib import Path

import pytest

from exporter.cost.postings import OwnerPhase
from exporter.ledger import schema
from exporter.ledger.errors import LedgerError
from exporter.ledger.files import Lock
from exporter.ledger.ledger import Ledger
from exporter.ledger.maintenance import Adopted, adopt
from tests.kit.clock import ManualClock
from tests.kit.units import HOUR, NOVEMBER
from tests.ledger.ticks import CHAT, GPU_0, accrued, money, tick

MONTHS = ("2026-11",)
END = NOVEMBER + HOUR
HERE, THERE = "product:aaaa", "product:bbbb"

NAME_IT = "name the daemon's ledger with --ledger.path or --config.file"


def new_ledger(path: Path, clock: ManualClock, machine: str = HERE) -> str:
    """A ledger of one tick on a machine with GPU-0; its id."""
    posted = tick(END, money(700))
    ledger = Ledger.open(path, clock)
    ledger.bind(machine, {GPU_0.uuid})
    ledger.post(posted, accrued(posted))
    ledger.close()
    return ledger.id


def meta(path: Path) -> dict[str, object]:
    with contextlib.closing(sqlite3.connect(path)) as shell:
        return dict(shell.execute("SELECT key, value FROM meta"))


def test_an_adopted_ledger_goes_on_at_another_machine(path: Path, clock: ManualClock) -> None:
    """No GPU in common, and still the same id and the same totals; the start binds it to where it is."""
    old = new_ledger(path, clock)
    clock.now = END + HOUR
    assert adopt(path, clock) == Adopted(old, bound=True)
    assert (meta(path).get("machine"), meta(path)["adopted"]) == (None, END + HOUR)
    ledger = Ledger.open(path, clock)
    assert ledger.bind(THERE, {"GPU-9"}) is True
    assert not ledger.remembered().same_machine
    posted = tick(END + HOUR, money(1))
    ledger.post(posted, accrued(tick(END, money(700)), posted))
    ledger.close()

    assert (ledger.id, ledger.moved_aside, ledger.problem) == (old, None, "")
    assert ledger.totals(END, MONTHS).cost[OwnerPhase(CHAT, "decode")] == 701
    assert meta(path)["machine"] == THERE


def test_a_ledger_that_was_moved_aside_is_adopted_after_all(path: Path, clock: ManualClock) -> None:
    """As the daemon's message says: move it back, adopt it, start again."""
    old = new_ledger(path, clock)
    begun = Ledger.open(path, clock)
    begun.bind(THERE, {"GPU-9"})
    begun.close()
    assert begun.moved_aside is not None
    path.unlink()
    begun.moved_aside.rename(path)
    adopt(path, clock)
    ledger = Ledger.open(path, clock)
    ledger.bind(THERE, {"GPU-9"})
    ledger.close()

    assert (ledger.id, ledger.moved_aside) == (old, None)


def test_adopting_twice_is_adopting_once(path: Path, clock: ManualClock) -> None:
    """The second time there is no machine to let go of."""
    old = new_ledger(path, clock)

    assert [adopt(path, clock), adopt(path, clock)] == [Adopted(old, bound=True), Adopted(old, bound=False)]


def refused(path: Path, clock: ManualClock) -> str:
    """What adopting says."""
    with pytest.raises(LedgerError) as raised:
        adopt(path, clock)
    return str(raised.value)


def test_where_no_ledger_is_nothing_is_made(path: Path, clock: ManualClock) -> None:
    """A wrong path leaves no lock behind."""
    assert refused(path, clock) == f"{path}: there is no ledger here; {NAME_IT}"
    assert list(path.parent.iterdir()) == []


def test_a_directory_is_no_ledger(tmp_path: Path, clock: ManualClock) -> None:
    """A folder in the file's place is named as one."""
    assert refused(tmp_path, clock) == f"{tmp_path} is a directory; {NAME_IT}"


def test_an_empty_file_is_no_ledger(path: Path, clock: ManualClock) -> None:
    """It has no machine to be taken from."""
    path.touch()

    assert refused(path, clock) == f"{path} is empty: no daemon has begun it; {NAME_IT}"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_no_database_is_left_alone(path: Path, clock: ManualClock) -> None:
    """Neither it nor a log beside it is touched, and no lock is made."""
    path.write_bytes(b"these are no books")
    Path(f"{path}-wal").write_bytes(b"evidence")

    assert refused(path, clock) == (
        f"{path} is no ledger that can be adopted: file is not a database; {NAME_IT}"
    )
    assert not Path(f"{path}.lock").exists()
    assert (path.read_bytes(), Path(f"{path}-wal").read_bytes()) == (b"these are no books", b"evidence")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("PRAGMA application_id = 7", "it is another program's database"),
        ("DELETE FROM meta WHERE key = 'ledger'", "its id is missing"),
        ("DROP TABLE meta", "no such table: meta"),
    ],
)
def test_a_database_that_is_no_ledger(path: Path, clock: ManualClock, damage: str, message: str) -> None:
    """What the daemon would move aside is not adopted, and the lock is free again."""
    new_ledger(path, clock)
    with contextlib.closing(sqlite3.connect(path)) as shell:
        shell.execute(damage)
        shell.commit()
    for _ in range(2):
        assert refused(path, clock) == f"{path} is no ledger that can be adopted: {message}; {NAME_IT}"


def test_a_ledger_of_a_later_release_is_refused(path: Path, clock: ManualClock) -> None:
    """A release that must not use a file does not rebind it either."""
    new_ledger(path, clock)
    with contextlib.closing(sqlite3.connect(path)) as shell:
        shell.execute("UPDATE meta SET value = 99 WHERE key = 'reader'")
        shell.execute("PRAGMA user_version = 99")
        shell.commit()
    with pytest.raises(
        LedgerError, match=re.escape(f"{path} has schema 99, which releases before schema 99")
    ):
        adopt(path, clock)

    assert meta(path)["machine"] == HERE


def test_a_database_that_a_shell_keeps_locked(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup that runs is waited for a second, then named."""
    new_ledger(path, clock)
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.0)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        message = f"{path} is locked by another program: close the shell or the backup that holds it"
        with pytest.raises(LedgerError, match=f"^{re.escape(message)}$"):
            adopt(path, clock)


def test_a_place_that_cannot_be_written(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only file system refuses the lock's file: said, nothing changed."""
    new_ledger(path, clock)

    def refuse(*_arguments: object) -> int:
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(os, "open", refuse)
    assert refused(path, clock) == (
        f"{path} cannot be written (Read-only file system): run this as the user that the daemon runs as"
    )


def test_a_lock_that_root_makes_is_the_ledgers_owners(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adopted by root, a ledger can still be locked by the daemon's own user."""
    new_ledger(path, clock)
    Path(f"{path}.lock").unlink()
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda _descriptor, user, group: given.append((user, group)))
    adopt(path, clock)

    assert given == [(path.stat().st_uid, path.stat().st_gid)]


def test_other_users_give_nothing_away(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only root may, and a lock of one's own needs no giving."""
    new_ledger(path, clock)

    def refuse(*_arguments: object) -> None:
        raise AssertionError

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "fchown", refuse)
    adopt(path, clock)


def test_the_lock_is_held_while_adopting(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that starts meanwhile waits until the ledger is let go."""
    new_ledger(path, clock)
    taken: list[Lock] = []
    released: list[Lock] = []
    take, release = Lock.take.__func__, Lock.release  # type: ignore[attr-defined]

    def watched(*arguments: object) -> Lock:
        taken.append(take(Lock, *arguments))
        return taken[-1]

    def release_checked(lock: Lock) -> None:
        assert "machine" not in meta(path)
        released.append(lock)
        release(lock)

    monkeypatch.setattr(Lock, "take", watched)
    monkeypatch.setattr(Lock, "release", release_checked)
    adopt(path, clock)

    assert taken == released
    assert len(taken) == 1
