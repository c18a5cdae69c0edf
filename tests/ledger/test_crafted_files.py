"""Files that somebody made to harm whoever opens them: nothing in them runs, waits, or takes the memory."""

import json
import logging
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from exporter.clock import SystemClock
from exporter.cost.page_marks import PageMarks
from exporter.cost.state import EndpointState
from exporter.ledger import contents, schema
from exporter.ledger.adjustment_entry import AdjustmentRequest, enter
from exporter.ledger.errors import LedgerError
from exporter.ledger.ledger import Ledger
from exporter.ledger.maintenance import adopt, inspect
from exporter.ledger.reader import LedgerReader
from exporter.readings import ServerKey
from tests.kit.clock import ManualClock
from tests.kit.units import NOVEMBER
from tests.ledger.ticks import ExpectedTotals, accrued, numbered

ROOT = Path(__file__).parents[2]
MONTHS = ("2026-11",)
MEBIBYTE = 2**20


def made(path: Path, clock: ManualClock) -> str:
    ledger = Ledger.open(path, clock)
    ledger.post(numbered(1), accrued(numbered(1)))
    ledger.close()
    return ledger.id


def changed(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        for statement in statements:
            shell.execute(statement)


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made_socket:
        made_socket.bind(str(path))


def a_device(path: Path) -> None:
    """A terminal: opening another may hang up, and reading one waits."""
    path.symlink_to("/dev/tty")


def a_directory(path: Path) -> None:
    path.mkdir()


IRREGULAR: list[tuple[Callable[[Path], None], str]] = [
    (a_fifo, "a FIFO"),
    (a_socket, "a socket"),
    (a_device, "a device"),
    (a_directory, "a directory"),
]


@pytest.mark.parametrize(("make", "kind"), IRREGULAR, ids=[kind for _make, kind in IRREGULAR])
def test_what_is_no_regular_file_is_neither_opened_nor_moved(
    path: Path, clock: ManualClock, make: Callable[[Path], None], kind: str
) -> None:
    """The daemon meters in memory, `doctor` and every verb say what lies there, and it stays."""
    make(path)
    before = os.lstat(path)
    name = os.path.realpath(path)
    ledger = Ledger.open(path, clock)
    ledger.post(numbered(1), accrued(numbered(1)))
    totals = ledger.totals(0, MONTHS)
    ledger.close()

    assert (totals.persistent, sum(totals.cost.values())) == (False, 1_000_008)
    assert ledger.problem.startswith(f"{name} is {kind}: the ledger is in memory")
    assert inspect(path).problem.startswith(f"{name} is {kind}: the ledger would be in memory")
    entry = AdjustmentRequest(1, "2026-11-01", "chat", None, "reason")
    for verb in (
        lambda: LedgerReader.open(path),
        lambda: adopt(path, SystemClock()),
        lambda: enter(path, entry, {}, NOVEMBER),
    ):
        with pytest.raises(LedgerError, match=f"is {kind}"):
            verb()
    assert os.lstat(path) == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("suffix", ["-wal", "-shm", ".lock"])
@pytest.mark.parametrize("make", [a_fifo, lambda path: path.symlink_to("/dev/null")], ids=["fifo", "link"])
def test_what_lies_next_to_it_is_no_trap_either(
    path: Path, clock: ManualClock, suffix: str, make: Callable[[Path], None]
) -> None:
    """A FIFO in the place of the log would stop the daemon at its first commit; a link is not followed."""
    made(path, clock)
    trap = Path(f"{path}{suffix}")
    trap.unlink(missing_ok=True)
    make(trap)
    ledger = Ledger.open(path, clock)
    ledger.close()

    assert f"{trap} is a " in ledger.problem
    assert ledger.persistent is False
    with pytest.raises(LedgerError, match=f"{trap} is a "):
        LedgerReader.open(path)


def test_a_trap_that_is_laid_while_it_runs(path: Path, clock: ManualClock) -> None:
    """A FIFO in the place of the file is another's: left alone, and the ledger goes on next to it."""
    made(path, clock)
    ledger = Ledger.open(path, clock)
    path.unlink()
    os.mkfifo(path)
    ledger.post(numbered(2), accrued(numbered(1), numbered(2)))
    ledger.close()

    assert ledger.displaced == path.with_name("ledger.db.displaced-1")


def test_a_link_leads_to_the_file(path: Path, tmp_path: Path, clock: ManualClock) -> None:
    """What belongs beside the file lies beside it, and not beside the link."""
    (tmp_path / "data").mkdir()
    path.symlink_to(tmp_path / "data" / "books.db")
    ledger_id = made(path, clock)
    ledger = Ledger.open(path, clock)
    with LedgerReader.open(path) as reader:
        assert reader.id == ledger.id == ledger_id
    names = sorted(file.name for file in (tmp_path / "data").iterdir())
    ledger.close()

    assert path.is_symlink()
    assert names == ["books.db", "books.db-shm", "books.db-wal", "books.db.lock"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data", "ledger.db"]


def test_a_link_moves_nobodys_file(path: Path, tmp_path: Path, clock: ManualClock) -> None:
    """Whoever may make the link could have root rename any file: what it leads to is left alone."""
    (tmp_path / "shadow").write_bytes(b"root:x:\n")
    path.symlink_to(tmp_path / "shadow")
    with pytest.raises(LedgerError, match="to which the link at the ledger's path leads, could not be used"):
        Ledger.open(path, clock)

    assert (tmp_path / "shadow").read_bytes() == b"root:x:\n"


def test_a_link_in_a_circle(path: Path, clock: ManualClock) -> None:
    """It is a place that cannot be entered."""
    path.symlink_to(path)
    ledger = Ledger.open(path, clock)
    ledger.close()

    assert (ledger.persistent, path.is_symlink()) == (False, True)


PROGRAMS = {
    "a trigger": (
        ["CREATE TRIGGER steal AFTER UPDATE ON months BEGIN UPDATE months SET picodollars = 0; END"],
        'it has a trigger, "steal"',
    ),
    "a trigger of a view": (
        ["CREATE TRIGGER t INSTEAD OF INSERT ON cost_dollars BEGIN SELECT 1; END"],
        'it has a trigger, "t"',
    ),
    "a view for a table": (
        [
            "DROP TABLE hour_covered",
            (
                "CREATE VIEW Hour_Covered AS WITH RECURSIVE n(hour) AS"
                " (SELECT 1 UNION ALL SELECT hour + 1 FROM n) SELECT hour, 1 AS nanoseconds FROM n"
            ),
        ],
        'it has a view in the place of its table "Hour_Covered"',
    ),
    "a virtual table": (
        ["CREATE VIRTUAL TABLE area USING rtree(id, low, high)"],
        'it has a virtual table, "area"',
    ),
}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_schema_with_a_program_in_it_is_refused(path: Path, clock: ManualClock, kind: str) -> None:
    """No exporter makes one: the daemon moves the file aside, and every verb says why it does not read it."""
    statements, problem = PROGRAMS[kind]
    made(path, clock)
    changed(path, *statements)
    content = path.read_bytes()
    with pytest.raises(LedgerError, match=problem):
        LedgerReader.open(path)
    with pytest.raises(LedgerError, match=problem):
        adopt(path, SystemClock())
    with pytest.raises(LedgerError, match=problem):
        enter(path, AdjustmentRequest(1, "2026-11-01", "chat", None, "reason"), {}, NOVEMBER)
    assert (path.read_bytes(), problem in inspect(path).problem) == (content, True)
    ledger = Ledger.open(path, clock)
    ledger.close()

    assert ledger.moved_aside == path.with_name("ledger.db.corrupt-1")
    assert problem in ledger.problem


def test_a_trigger_that_comes_while_the_file_is_closed(path: Path, clock: ManualClock) -> None:
    """A file that is opened again after a failure is seen through again."""
    made(path, clock)
    ledger = Ledger.open(path, clock)
    ledger._store.close()  # type: ignore[union-attr]
    changed(path, *PROGRAMS["a trigger"][0])
    ledger.post(numbered(2), accrued(numbered(1), numbered(2)))
    ledger.close()

    assert ledger.displaced == path.with_name("ledger.db.displaced-1")


def test_a_schema_trusts_no_function_with_effects(path: Path, clock: ManualClock) -> None:
    """On every connection, whoever opens it, and no value is longer than what the ledger writes."""
    made(path, clock)
    with closing(schema.connect(f"{path.as_uri()}?mode=ro")) as connection:
        assert connection.execute("PRAGMA trusted_schema").fetchone() == (0,)
        assert connection.execute("PRAGMA cell_size_check").fetchone() == (1,)
        with pytest.raises(sqlite3.DataError):
            connection.execute(f"SELECT zeroblob({schema.LONGEST + 1})").fetchone()


def test_what_a_later_release_may_add_is_no_program(path: Path, clock: ManualClock) -> None:
    """Tables, columns, indexes and views are."""
    ledger_id = made(path, clock)
    changed(
        path,
        "CREATE TABLE novelty (id INTEGER PRIMARY KEY)",
        "CREATE INDEX by_phase ON cost (phase)",
        "CREATE VIEW cost_by_hour AS SELECT 1",
        "ALTER TABLE cost ADD COLUMN novelty INTEGER NOT NULL DEFAULT 0",
    )
    ledger = Ledger.open(path, clock)
    ledger.close()

    assert (ledger.id, ledger.problem) == (ledger_id, "")


@cache
def endpoint(length: int) -> str:
    """The marks of an endpoint, of about a length, as a release without a bound wrote them."""
    series = {f'vllm:prompt_tokens_total{{user="{index:088d}"}}': 1.0 for index in range(length // 128)}
    return json.dumps({"key": ["", "s"], "watched_since": 0, "read": True, "identity": "1", "marks": series})


def with_endpoints(path: Path, sizes: list[int]) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("BEGIN")
        for number, size in enumerate(sizes):
            row = ("endpoint", f"http://127.0.0.1:{8000 + number}/metrics", endpoint(size))
            shell.execute("INSERT INTO state (scope, key, body) VALUES (?, ?, ?)", row)
        shell.execute("COMMIT")


OPENS_AND_TELLS = """
import json, sys
from pathlib import Path
from exporter.ledger.ledger import Ledger
from tests.kit.clock import clock_at
from tests.ledger.ticks import accrued, numbered

def high_water():
    with open("/proc/self/status", encoding="ascii") as file:
        return int(next(line for line in file if line.startswith("VmHWM")).split()[1]) // 1024

before = high_water()
ledger = Ledger.open(Path(sys.argv[1]), clock_at())
kept = len(ledger.state().endpoints)
ledger.post(numbered(2), accrued(numbered(1), numbered(2)))
ledger.close()
print(json.dumps([high_water() - before, len(ledger.dropped), kept, ledger.problem]))
"""


def test_a_ledger_of_marks_is_compacted_at_the_start(path: Path, clock: ManualClock) -> None:
    """137 MiB of endpoints' marks, which killed every start under 256 MiB: totals stay, the file shrinks.

    What is kept is 16 MiB of them, the smallest first; in memory that is some 100.
    """
    ledger_id = made(path, clock)
    with_endpoints(path, [5 * MEBIBYTE] * 26 + [MEBIBYTE] * 5 + [1024] * 20)
    assert path.stat().st_size > 137 * MEBIBYTE
    done = subprocess.run(
        [sys.executable, "-c", OPENS_AND_TELLS, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    grown, dropped, endpoints, problem = json.loads(done.stdout)

    assert (dropped, endpoints, problem) == (26, 25, "")
    assert grown < 64
    assert path.stat().st_size < 8 * MEBIBYTE
    with LedgerReader.open(path) as reader:
        totals = reader.totals(0, MONTHS)
    expected = ExpectedTotals()
    expected.add(numbered(1))
    expected.add(numbered(2))
    assert (reader.id, expected.differences(totals), totals.residual) == (ledger_id, {}, 0)


def test_a_start_tells_what_it_freed(
    path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Four rows of 5 MiB that no start would read."""
    made(path, clock)
    with_endpoints(path, [5 * MEBIBYTE] * 4)
    with caplog.at_level(logging.INFO):
        Ledger.open(path, clock).close()

    freed = [vars(each)["freed_bytes"] for each in caplog.records if each.message == "ledger compacted"]
    assert [size // MEBIBYTE for size in freed] == [20]
    assert path.stat().st_size < MEBIBYTE


def test_the_largest_marks_go_first(path: Path, clock: ManualClock) -> None:
    """Where not all fit, whoever has a large page is forgotten, and money's own marks are kept."""
    made(path, clock)
    with_endpoints(path, [3 * MEBIBYTE] * 6 + [1024])
    changed(path, "INSERT INTO state (scope, key, body) VALUES ('gpu', 'GPU-9', '{}')")
    ledger = Ledger.open(path, clock)
    endpoints = set(ledger.state().endpoints)
    ledger.close()

    # 5 of 3 MiB are 15 of the 16, and the small one has room beside them.
    assert (len(endpoints), "http://127.0.0.1:8006/metrics" in endpoints) == (6, True)
    assert ledger.dropped[0].startswith("what was remembered of endpoint")
    # The GPU's row was read, and what it lacks is said.
    assert "what was remembered of gpu GPU-9 cannot be read" in ledger.dropped[-1]
    again = Ledger.open(path, clock)
    again.close()
    assert set(again.state().endpoints) == endpoints


def test_marks_that_no_start_would_read_are_not_written(path: Path, clock: ManualClock) -> None:
    """They are used while this process lives, and the ledger goes on."""
    small = EndpointState(key=ServerKey("", "s"), watched_since=0, marks=PageMarks(identity="x"))
    marked = replace(small, marks=PageMarks(identity="x" * contents.MARK_BYTES))
    ledger = Ledger.open(path, clock)
    endpoints = {"http://a": small, "http://b": marked}
    ledger.post(numbered(1), replace(accrued(numbered(1)), endpoints=endpoints))
    assert (ledger.writable, set(ledger.state().endpoints)) == (True, {"http://a", "http://b"})
    ledger.post(numbered(2), replace(accrued(numbered(1), numbered(2)), endpoints={"http://a": marked}))
    ledger.close()
    again = Ledger.open(path, clock)
    again.close()

    assert (again.state().endpoints, again.dropped) == ({}, ())


def test_a_read_only_ledger_of_marks_is_read_within_bounds(path: Path, clock: ManualClock) -> None:
    """A verb drops the same marks, says so, and changes nothing."""
    made(path, clock)
    with_endpoints(path, [5 * MEBIBYTE, 1024])
    before = path.read_bytes()
    with LedgerReader.open(path) as reader:
        assert (len(reader.dropped), len(reader.state().endpoints)) == (1, 1)
    assert path.read_bytes() == before
