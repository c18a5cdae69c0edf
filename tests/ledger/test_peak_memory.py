"""Peak GPU memory of servers by hour: written when it rises, kept as long as hours are."""

import sqlite3
from dataclasses import replace
from pathlib import Path

from exporter.cost.postings import MemoryPosting
from exporter.ledger import schema
from exporter.ledger.history import CELLS_WAITING
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.ledger.totals import HOURS_KEPT
from exporter.readings import ServerKey
from exporter.units import Instant
from tests.kit.clock import ManualClock
from tests.kit.units import GIB, HOUR, NOVEMBER, SECOND
from tests.ledger.conftest import FailingDisk
from tests.ledger.ticks import CHAT, GPU_0, GPU_1, accrued, money, tick

FIRST = NOVEMBER // HOUR
SEARCH = ServerKey("", "search")


def post(ledger: Ledger, end: Instant, *memory: MemoryPosting) -> None:
    """A tick that ends then, after which a server holds this memory."""
    ledger.post(replace(tick(end, length=SECOND), memory=memory), accrued(tick(end)))


def peaks(path: Path, last: int = FIRST + 10**5) -> dict[int, dict[tuple[str, str], int]]:
    with LedgerReader.open(path) as reader:
        return {
            hour - FIRST: {(gpu.uuid, server.name): memory for (gpu, server), memory in of_hour.items()}
            for hour, of_hour in reader.memory(FIRST, last).items()
        }


def test_the_most_of_each_hour_stays(path: Path, clock: ManualClock) -> None:
    """By GPU and server, over ticks and restarts; a tick at the end of an hour is of that hour."""
    ledger = Ledger.open(path, clock)
    post(ledger, NOVEMBER + SECOND, MemoryPosting(GPU_0, CHAT.key, 30 * GIB))
    post(ledger, NOVEMBER + 2 * SECOND, MemoryPosting(GPU_0, CHAT.key, 20 * GIB))
    ledger.close()
    ledger = Ledger.open(path, clock)
    post(
        ledger,
        NOVEMBER + HOUR,
        MemoryPosting(GPU_0, CHAT.key, 40 * GIB),
        MemoryPosting(GPU_1, CHAT.key, 7),
        MemoryPosting(GPU_0, SEARCH, 0),
    )
    post(ledger, NOVEMBER + HOUR + SECOND, MemoryPosting(GPU_0, CHAT.key, 5))
    ledger.close()

    assert peaks(path) == {
        0: {("GPU-0", "llm/chat-8b"): 40 * GIB, ("GPU-1", "llm/chat-8b"): 7, ("GPU-0", "search"): 0},
        1: {("GPU-0", "llm/chat-8b"): 5},
    }
    assert peaks(path, FIRST)[0]
    assert list(peaks(path, FIRST)) == [0]


def test_a_peak_that_stands_is_not_written_again(path: Path, clock: ManualClock) -> None:
    """Ticks in which nothing rose write no row of it."""
    statements: list[str] = []

    def watched(uri: str) -> sqlite3.Connection:
        connection = schema.connect(uri)
        connection.set_trace_callback(statements.append)
        return connection

    ledger = Ledger.open(path, clock, connect=watched)
    post(ledger, NOVEMBER + SECOND, MemoryPosting(GPU_0, CHAT.key, 9))
    statements.clear()
    post(ledger, NOVEMBER + 2 * SECOND, MemoryPosting(GPU_0, CHAT.key, 9))
    assert not [each for each in statements if "INSERT INTO hourly_memory" in each]
    post(ledger, NOVEMBER + 3 * SECOND, MemoryPosting(GPU_0, CHAT.key, 10))
    assert len([each for each in statements if "INSERT INTO hourly_memory" in each]) == 1
    ledger.close()


def test_peaks_of_a_failed_write_come_with_the_next(path: Path, clock: ManualClock) -> None:
    """What was read while the disk failed is not lost."""
    disk = FailingDisk()
    ledger = Ledger.open(path, clock, connect=disk)
    disk.failure = sqlite3.OperationalError("disk I/O error")
    post(ledger, NOVEMBER + SECOND, MemoryPosting(GPU_0, CHAT.key, 9))
    disk.failure = None
    post(ledger, NOVEMBER + HOUR + SECOND, MemoryPosting(GPU_0, CHAT.key, 4))
    ledger.close()

    assert peaks(path) == {0: {("GPU-0", "llm/chat-8b"): 9}, 1: {("GPU-0", "llm/chat-8b"): 4}}


def test_while_writes_fail_for_long_the_oldest_hours_are_forgotten(path: Path, clock: ManualClock) -> None:
    """Memory stays bounded; an hour without a peak is unknown, not zero."""
    disk = FailingDisk()
    ledger = Ledger.open(path, clock, connect=disk)
    disk.failure = sqlite3.OperationalError("disk I/O error")
    for hour in range(CELLS_WAITING + 3):
        post(ledger, NOVEMBER + hour * HOUR + SECOND, MemoryPosting(GPU_0, CHAT.key, 9))
    disk.failure = None
    post(ledger, NOVEMBER + (CELLS_WAITING + 3) * HOUR + SECOND, MemoryPosting(GPU_0, CHAT.key, 9))
    ledger.close()

    assert sorted(peaks(path)) == list(range(4, CELLS_WAITING + 4))


def test_a_number_that_the_file_cannot_hold_is_cut(path: Path, clock: ManualClock) -> None:
    """A driver that reports nonsense stops no commit."""
    ledger = Ledger.open(path, clock)
    post(ledger, NOVEMBER + SECOND, MemoryPosting(GPU_0, CHAT.key, 2**64))
    problem = ledger.problem
    ledger.close()

    assert (problem, peaks(path)[0]) == ("", {("GPU-0", "llm/chat-8b"): 2**63 - 1})


def test_hours_expire_with_the_others(path: Path, clock: ManualClock) -> None:
    """After 40 days of metered hours."""
    ledger = Ledger.open(path, clock)
    for hour in range(HOURS_KEPT + 5):
        clock.now = NOVEMBER + hour * HOUR + SECOND
        day = 20261101 + min(29, hour // 24)
        posted = tick(
            clock.now, money(1), length=SECOND, day=f"{str(day)[:4]}-{str(day)[4:6]}-{str(day)[6:]}"
        )
        posted = replace(posted, memory=(MemoryPosting(GPU_0, CHAT.key, 9),))
        ledger.post(posted, replace(accrued(posted), accrued=hour + 1))
    ledger.close()

    hours = sorted(peaks(path))
    assert (hours[0], hours[-1]) == (5, HOURS_KEPT + 4)
