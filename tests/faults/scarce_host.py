"""A host whose daemon runs out of memory at one line of one tick, and the reckoning of what it owes.

A GPU costs a picodollar each nanosecond once it has a price, and a network a tenth of one from the beginning.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

from exporter.ledger.adjustment_entry import AdjustmentRequest, enter
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.readings import MustRestartError
from exporter.report import CommittedTotals
from exporter.sampler.sampler import Sampler
from exporter.sources.gather import Gatherer
from tests.e2e.daemon import until
from tests.sampler.sampler_bench import START, TICK, Clock, Endpoint, Footprint, Nvml, plan
from tests.sampler.test_arrears import NOTHING, Disk, priced
from tests.shortage import Line, Shortage

SECOND: Final = 10**9
STRUCK: Final = 3
"""The tick that memory runs out in; it ends on the other side of midnight."""
TICKS: Final = 8
BEGIN: Final = 5 * SECOND - STRUCK * TICK
GENERATED: Final = 1_000
"""Tokens in each tick."""
PATIENCE: Final = 60.0
CORRECTION: Final = 7 * 10**12
ENTERED: Final = date(2026, 11, 25).isoformat()


@dataclass(frozen=True)
class World:
    """What else goes on: `refused` by the disk are these ticks, and at `strikes` memory runs out."""

    persistent: bool = True
    late: bool = False
    corrected: bool = False
    refused: range = range(0)
    lies: bool = False
    strikes: int = STRUCK


WORLDS: Final = {
    "on disk": World(),
    "in memory": World(persistent=False),
    "a price and a correction come": World(late=True, corrected=True),
    "a price comes, in memory": World(late=True, persistent=False),
    "the disk refuses": World(corrected=True, refused=range(STRUCK - 1, STRUCK + 2)),
    "the disk lies": World(corrected=True, refused=range(STRUCK - 1, STRUCK + 2), lies=True),
    "the disk is back": World(late=True, corrected=True, refused=range(STRUCK - 2, STRUCK)),
    "the first tick": World(strikes=0),
}


@dataclass
class Host:
    """One life of a daemon of eight ticks, and a process after it where it asks for one."""

    path: Path | None
    world: World
    shortage: Shortage
    clock: Clock = field(default_factory=lambda: Clock(BEGIN))
    nvml: Nvml = field(default_factory=Nvml)
    endpoint: Endpoint = field(default_factory=Endpoint)
    disk: Disk = field(default_factory=Disk)
    restarts: int = 0

    def __post_init__(self) -> None:
        self.gatherer = Gatherer(self.clock, 60 * SECOND)
        self.tariff = NOTHING if self.world.late else priced()
        self._begin()

    def _begin(self) -> None:
        self.ledger = Ledger.open(self.path, self.clock, connect=self.disk)
        going = plan(self.endpoint, tariff=self.tariff)
        self.sampler = Sampler(self.clock, self.gatherer, self.nvml, self.ledger, Footprint(), going)

    def live(self) -> None:
        """All ticks, each a run of the sampler's that is stopped after it."""
        for number in range(TICKS):
            self.clock.now = BEGIN + number * TICK
            self.endpoint.generation += GENERATED
            self.disk.fails, self.disk.late = number in self.world.refused, self.world.lies
            if number == STRUCK and self.world.corrected:
                assert self.path is not None
                enter(
                    self.path, AdjustmentRequest(CORRECTION, ENTERED, "unassigned", None, "agreed"), {}, START
                )
            if number == STRUCK and self.world.late:
                self.tariff = priced()
                self.sampler.plan(plan(self.endpoint, tariff=self.tariff))
            if number == self.world.strikes:
                with self.shortage.lasting():
                    self._tick()
            else:
                self._tick()

    def _tick(self) -> None:
        stop = threading.Event()
        self.clock.stop_after = len(self.clock.waited) + 1
        try:
            self.sampler.run(stop)
        except (MustRestartError, MemoryError):  # the daemon ends, and its supervisor starts another
            self.restarts += 1
            if self.ledger._lock is not None:
                self.ledger._lock.release()
            fails, self.disk.fails = self.disk.fails, False  # it finds a disk that is well
            self._begin()
            self.disk.fails = fails
        # A tick takes seconds of a daemon's time, and none of this test's: what is still read has its time.
        until(self._idle, PATIENCE, "reads", 0.001)

    def _idle(self) -> bool:
        workers = self.gatherer._workers
        return all(task.done or workers.withdraw(task) for task in self.gatherer._busy.values())

    def close(self) -> None:
        self.ledger.close()
        self.gatherer.close()


@contextmanager
def struck(folder: Path, world: World, at: Line | None = None, hit: int = 1) -> Iterator[Host]:
    """A host after its life."""
    host = Host(folder / "ledger.db" if world.persistent else None, world, Shortage(at, hit))
    try:
        host.live()
        yield host
    finally:
        host.close()


def differences(host: Host) -> list[str]:
    """What is not as it must be, in what is served and in what is written."""
    if host.path is None and host.restarts:
        return []  # books in memory end with their process
    report = host.sampler.current()
    assert report is not None
    assert report.books is not None
    found = [f"the last report is {report.wall - START - host.clock.now} ns old"] * (
        report.wall != START + BEGIN + (TICKS - 1) * TICK
    )
    found += [] if report.books.writable else ["not writable"]
    found += _of_books(host, report.books)
    if host.path is None:
        return found
    with LedgerReader.open(host.path) as reader:
        books = reader.books(host.clock.wall(), ("2026-11",))
        found += _of_books(host, books)
        whole = sum(books.cost.values())
        for name, history in (("days", reader.days(0, 99_999_999)), ("hours", reader.hours(0, 10**9))):
            assert history is not None
            for family in ("cost", "server_cost", "gpu_cost"):
                told = sum(sum(getattr(sums, family).values()) for sums in history.values())
                found += [f"{name} of {family}: {told}, not {whole}"] * (told != whole)
            tokens = sum(sum(sums.tokens.values()) for sums in history.values())
            found += [f"{name} of tokens: {tokens}"] * (tokens != sum(books.tokens.values()))
    return found


def _of_books(host: Host, books: CommittedTotals) -> list[str]:
    # A first tick that was not taken is as one that was not there: the books begin with the next.
    lived = {(TICKS - 1 - missed) for missed in ((0, 1) if host.world.strikes == 0 else (0,))}
    told = {
        "time": {sum(books.gpu_time.values())},
        "rent": {amount for (_, component), amount in books.gpu_cost.items() if component == "rent"},
        "network": {
            10 * amount for (_, component), amount in books.gpu_cost.items() if component == "network"
        },
        "by phase": {sum(books.cost.values()) * 10 // 11},
        "by server": {sum(books.server_cost.values()) * 10 // 11},
        "month": {(sum(books.months.values()) - CORRECTION * host.world.corrected) * 10 // 11},
    }
    found = [f"residual {books.residual}"] if books.residual else []
    first, *others = told.values()
    tokens = sum(books.tokens.values()) // GENERATED
    if tokens not in lived:
        found.append(f"tokens of {tokens} ticks, not of {lived}")
    if not first <= {ticks * TICK for ticks in lived} or any(other != first for other in others):
        found.append(f"{told} after {lived} ticks")
    return found
