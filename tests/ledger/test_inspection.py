"""Inspection reports what the daemon would find at a ledger's path, and touches nothing."""

import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.ledger import schema
from exporter.ledger.files import Lock
from exporter.ledger.ledger import Ledger
from exporter.ledger.maintenance import Inspection, inspect
from tests.kit.clock import ManualClock
from tests.ledger.adjustments import correct
from tests.ledger.ticks import accrued, numbered

MEMORY = "the ledger would be in memory and end with the daemon"


@pytest.fixture
def _locked(path: Path) -> Iterator[None]:
    """Another process that holds the lock, and wrote 4711 into it."""
    file = Path(f"{path}.lock")
    file.write_text("4711\n")
    with subprocess.Popen(
        ["flock", str(file), "sh", "-c", "echo locked; read _"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        try:
            yield
        finally:
            process.communicate("\n", timeout=30)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.rglob("*"))


def refuse(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    """Let these places be of another user's, also where tests run as root."""
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) not in paths and may(path, mode))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def test_a_place_that_the_daemon_can_use_stays_empty(tmp_path: Path) -> None:
    """Missing folders are made by the daemon, and not by who looks."""
    path = tmp_path / "var" / "lib" / "ledger.db"

    assert inspect(path) == Inspection(f"{path}: not there yet; the daemon makes it")
    assert names(tmp_path) == []


def test_a_place_that_cannot_be_written_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest folder that is there decides; the advice names it."""
    refuse(monkeypatch, tmp_path)
    path = tmp_path / "lib" / "ledger.db"

    assert inspect(path) == Inspection(
        str(path),
        f"{tmp_path} cannot be written by this user (uid 1000): {MEMORY}; make {tmp_path} writable, "
        "set --ledger.path to a file elsewhere, or run this as the daemon's user",
    )


def test_a_file_where_a_folder_belongs(tmp_path: Path) -> None:
    """No folder can be made below a file."""
    (tmp_path / "lib").write_text("a file")

    assert inspect(tmp_path / "lib" / "ledger.db").problem.startswith(f"{tmp_path}/lib is no folder: ")


def test_a_folder_in_the_files_place(tmp_path: Path) -> None:
    """It is named as one, with a name for the file."""
    assert inspect(tmp_path) == Inspection(
        str(tmp_path), f"{tmp_path} is a directory: {MEMORY}; name a file, such as {tmp_path}/ledger.db"
    )


def test_a_ledger_is_named_by_its_id_and_left_as_it_is(path: Path, clock: ManualClock) -> None:
    """Nothing is made beside it."""
    ledger = Ledger.open(path, clock)
    ledger.close()
    before = names(path.parent)

    assert inspect(path) == Inspection(f"{path}: id {ledger.id}")
    assert names(path.parent) == before


def test_adjustments_that_wait_are_counted(path: Path, clock: ManualClock) -> None:
    """Until the daemon has posted them."""
    ledger = Ledger.open(path, clock)
    states = []
    for amount in (1, 2):
        correct(path, amount)
        states.append(inspect(path).state.partition(f"{ledger.id}, ")[2].partition(", in use")[0])
    ledger.post(numbered(1), accrued(numbered(1)))
    ledger.close()

    assert states == [
        "1 adjustment waits for the daemon's next tick",
        "2 adjustments wait for the daemon's next tick",
    ]
    assert inspect(path).state == f"{path}: id {ledger.id}"


@pytest.mark.parametrize("which", ["ledger.db", "ledger.db.lock", ""])
def test_a_ledger_that_another_user_owns(
    path: Path, clock: ManualClock, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file, its lock and its folder are all written."""
    Ledger.open(path, clock).close()
    refuse(monkeypatch, path.parent / which)

    assert inspect(path).problem.startswith(
        f"{path.parent / which} cannot be written by this user (uid 1000)"
    )


@pytest.mark.usefixtures("_locked")
def test_a_ledger_in_use_names_the_daemon(path: Path, clock: ManualClock) -> None:
    """That is how a host with a running daemon looks: no problem."""
    lock = Path(f"{path}.lock")
    lock.rename(f"{lock}.aside")
    ledger = Ledger.open(path, clock)
    ledger.close()
    Path(f"{lock}.aside").rename(lock)

    assert inspect(path) == Inspection(f"{path}: id {ledger.id}, in use by process 4711")


def test_looking_takes_no_lock(path: Path, clock: ManualClock) -> None:
    """A daemon that starts next waits for nobody."""
    Ledger.open(path, clock).close()
    inspect(path)

    Lock.take(path, clock, threading.Event()).release()
    assert clock.waited == []


def test_a_file_that_is_no_ledger(path: Path) -> None:
    """What the daemon would do with it, and how to prevent that; an earlier one was moved there too."""
    path.write_text("these are no books\n")
    path.with_name("ledger.db.corrupt-1").touch()

    assert inspect(path) == Inspection(
        str(path),
        f"{path} is no ledger that can be read: file is not a database: the daemon would move it to "
        f"{path}.corrupt-2 and begin a new ledger at zero; put a copy of the ledger in its place, "
        "or set --ledger.path to the right file",
    )


def test_an_empty_file(path: Path) -> None:
    """What is left where a daemon was killed while it began its books."""
    path.touch()

    assert inspect(path) == Inspection(f"{path}: empty; the daemon begins it")


def test_a_file_that_cannot_be_read(path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's: it is not said to be damaged, and nothing is said to happen to it."""
    Ledger.open(path, clock).close()

    def denied(_uri: str) -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(schema, "connect", denied)

    assert inspect(path).problem == (
        f"{path} cannot be read (unable to open database file): run this as the user that the daemon runs as"
    )
