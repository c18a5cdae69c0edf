"""Killed at any instant, cut off at any byte: the ledger opens with a whole number of ticks."""

import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.report import CommittedTotals
from tests.kit.clock import ManualClock
from tests.kit.units import NOVEMBER
from tests.ledger.power_cuts import POSTS_WITHOUT_END, copied
from tests.ledger.ticks import CHAT, ExpectedTotals, accrued, numbered

MONTHS = ("2026-11",)
KILLS = 20
SECTOR_BYTES = 512
"""What a disk writes whole."""


def whole_ticks(totals: CommittedTotals, wall: int | None) -> int:
    """How many numbered ticks these books are, down to the last family."""
    count = totals.requests.get(CHAT, 0)
    expected = ExpectedTotals()
    for number in range(1, count + 1):
        expected.add(numbered(number))
    assert expected.differences(totals) == {}
    assert totals.residual == 0
    assert wall == (numbered(count).end if count else None)
    return count


def test_killed_at_any_instant_it_opens_with_the_last_committed_tick(path: Path, clock: ManualClock) -> None:
    """After each SIGKILL all families tell the same number of ticks, and none acknowledged is gone."""
    chance = random.Random(20261125)  # noqa: S311 - a reproducible series
    ticks = 0
    for _ in range(KILLS):
        with subprocess.Popen(
            [sys.executable, "-c", POSTS_WITHOUT_END, str(path)],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout is not None
            acknowledged = [int(child.stdout.readline()) for _ in range(chance.randint(1, 40))]
            child.send_signal(signal.SIGKILL)
        ledger = Ledger.open(path, clock)
        count = whole_ticks(ledger.totals(NOVEMBER, MONTHS), ledger.state().wall)
        ledger.close()

        assert acknowledged[0] == ticks + 1
        assert count >= acknowledged[-1]
        assert (ledger.moved_aside, ledger.dropped) == (None, ())
        ticks = count


def test_killed_while_it_makes_the_file_it_opens(
    path: Path, tmp_path: Path, clock: ManualClock, disk: Any
) -> None:
    """Cut off at any statement of the very first start, the file opens as a new ledger."""
    copies: list[Path] = []

    def copy(_statement: str) -> None:
        copies.append(copied(path, tmp_path / f"cut-{len(copies)}"))

    disk.watch = copy
    Ledger.open(path, clock, connect=disk).close()
    for cut in copies:
        ledger = Ledger.open(cut, clock)
        ledger.close()
        assert (ledger.persistent, ledger.moved_aside, ledger.problem) == (True, None, "")
    assert len(copies) > 20


def test_a_copy_taken_at_any_moment_opens_whole(
    path: Path, tmp_path: Path, clock: ManualClock, disk: Any
) -> None:
    """In the middle of a transaction the copy is of the tick before; no copy is between two ticks."""
    chance = random.Random(7)  # noqa: S311 - a reproducible series
    copies: list[tuple[int, Path]] = []
    written = 0

    def copy(_statement: str) -> None:
        if written and chance.random() < 0.1:
            copies.append((written, copied(path, tmp_path / f"copy-{len(copies)}")))

    disk.watch = copy
    ledger = Ledger.open(path, clock, connect=disk)
    for number in range(1, 41):
        ledger.post(numbered(number), accrued(*map(numbered, range(1, number + 1))))
        written = number
    ledger.close()
    for expected, taken in copies:
        again = Ledger.open(taken, clock)
        assert whole_ticks(again.totals(NOVEMBER, MONTHS), again.state().wall) == expected
        again.close()
        assert again.moved_aside is None
    assert len(copies) > 10


def test_a_log_torn_at_any_byte_opens_whole(path: Path, tmp_path: Path, clock: ManualClock) -> None:
    """A log that ends in the middle of a page is read up to the last whole tick."""
    chance = random.Random(11)  # noqa: S311 - a reproducible series
    ledger = Ledger.open(path, clock)
    for number in range(1, 21):
        ledger.post(numbered(number), accrued(*map(numbered, range(1, number + 1))))
    taken = copied(path, tmp_path / "whole")
    ledger.close()
    log = Path(f"{taken}-wal").read_bytes()
    counts = []
    for cut in sorted(chance.sample(range(len(log)), 30)):
        torn = copied(taken, tmp_path / f"torn-{cut}")
        Path(f"{torn}-wal").write_bytes(log[:cut])
        again = Ledger.open(torn, clock)
        counts.append(whole_ticks(again.totals(NOVEMBER, MONTHS), again.state().wall))
        again.close()

    assert counts == sorted(counts)
    assert 0 <= counts[0] < counts[-1] <= 20
    with LedgerReader.open(taken) as reader:
        assert whole_ticks(reader.totals(NOVEMBER, MONTHS), numbered(20).end) == 20


def checkpointed(path: Path) -> None:
    """Have the log copied into the file beside whoever writes, as SQLite does by itself every 1,000 pages."""
    with closing(sqlite3.connect(path)) as connection:
        blocked, in_log, done = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    assert (blocked, in_log) == (0, done)
    assert done > 0


def test_a_checkpoint_cut_off_at_any_page_opens_whole(path: Path, tmp_path: Path, clock: ManualClock) -> None:
    """While the log goes into the file, any of the file's sectors may be old or new: nothing is lost."""
    chance = random.Random(13)  # noqa: S311 - a reproducible series
    ledger = Ledger.open(path, clock)
    for number in range(1, 21):
        ledger.post(numbered(number), accrued(*map(numbered, range(1, number + 1))))
    taken = copied(path, tmp_path / "before")
    checkpointed(path)
    old, new = taken.read_bytes(), path.read_bytes()
    ledger.close()
    assert old != new
    for cut in range(20):
        torn = copied(taken, tmp_path / f"torn-{cut}")
        written = chance.random()
        with torn.open("r+b") as file:
            for sector in range(0, len(new), SECTOR_BYTES):
                if chance.random() < written:
                    file.seek(sector)
                    file.write(new[sector : sector + SECTOR_BYTES])
        again = Ledger.open(torn, clock)
        assert whole_ticks(again.totals(NOVEMBER, MONTHS), again.state().wall) == 20
        again.close()
        assert again.moved_aside is None


def test_a_log_begun_again_and_torn_opens_whole(path: Path, tmp_path: Path, clock: ManualClock) -> None:
    """After a checkpoint the log is written over from its start: what is left of the old one is not read."""
    chance = random.Random(17)  # noqa: S311 - a reproducible series
    ledger = Ledger.open(path, clock)
    for number in range(1, 21):
        ledger.post(numbered(number), accrued(*map(numbered, range(1, number + 1))))
    checkpointed(path)
    taken = copied(path, tmp_path / "before")
    ledger.post(numbered(21), accrued(*map(numbered, range(1, 22))))
    new = Path(f"{path}-wal").read_bytes()
    ledger.close()
    old = Path(f"{taken}-wal").read_bytes()
    differs = max(at for at, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1])
    assert len(old) == len(new)
    assert 0 < differs < len(old) - 1
    counts = []
    for cut in [0, *sorted(chance.sample(range(differs), 30)), differs + 1]:
        torn = copied(taken, tmp_path / f"torn-{cut}")
        Path(f"{torn}-wal").write_bytes(new[:cut] + old[cut:])
        again = Ledger.open(torn, clock)
        counts.append(whole_ticks(again.totals(NOVEMBER, MONTHS), again.state().wall))
        again.close()
        assert again.moved_aside is None

    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (20, 21)
