"""A daemon that is killed again and again while it meters servers under load: its totals after each kill."""

import os
import random
import shutil
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from exporter.clock import SystemClock
from exporter.ledger.ledger import Ledger
from tests.e2e.daemon import Daemon, Page
from tests.e2e.expected_totals import GPUS, MILLIWATTS, PACES, HostTotals, configuration
from tests.e2e.load_servers import Counts, Load
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s
from tests.kit.units import SECOND

INSTANTS: Final[dict[str, float]] = {"start": 0.3, "first tick": 0.3, "at rest": 0.1, "later tick": 0.3}
"""When a process is killed, and how often: while it starts; from its first tick's last read on; at any time
after that tick; from the last read of its second tick on."""
COMMITTING_SECONDS: Final = 0.02
"""More than a tick takes from the last server's answer to the published report."""
LONGEST_TICK_SECONDS: Final = 60
"""What is longer is a gap, at this interval."""
OF_A_PROCESS: Final = frozenset({"process_cpu_seconds_total", "inference_source_errors_total"})
"""Counters that begin anew with each process."""


@dataclass
class KillFigures:
    """What a series saw."""

    kills: Counter[str] = field(default_factory=Counter)
    pages: int = 0
    """Restarts whose page was compared."""
    advanced: int = 0
    """Kills before which the process had committed a tick."""
    cut: int = 0
    """Kills between the last server's answer of a tick and its commit."""
    copies: int = 0
    """Copies of the file and its log that were opened while the daemon stood still."""
    gaps: int = 0
    """Nanoseconds that nobody watched, of which each GPU was charged all."""
    seconds: float = 0.0


def host(folder: Path, load: Load) -> Daemon:
    """An installation that meters the load on three fake GPUs, not started yet."""
    nvml = FakeNvml(folder, Scenario(h100s(GPUS, utilization=40, power_mw=MILLIWATTS)))
    daemon = Daemon(folder, configuration(load), nvml.environment())
    # Books that may be the first of a young boot would begin at the boot: these begin at their first tick.
    daemon.ledger.with_name("ledger.db.older").touch()
    return daemon


class KillSeries:
    """Kills one installation's daemon at seeded instants, and compares its totals after each."""

    def __init__(self, daemon: Daemon, load: Load, folder: Path, seed: int) -> None:
        self.figures = KillFigures()
        self._daemon = daemon
        self._load = load
        self._folder = folder
        self._chance = random.Random(seed)  # noqa: S311 - a reproducible series
        self._pause = threading.Event()
        self._last: HostTotals | None = None
        self._page: Page | None = None
        self._first = 0
        self._elapsed = 0
        """Boot clock of the last tick of the ledger that was opened last."""
        self._base: dict[str, Counts] = {}
        self._ledger = ""
        self._starting = 0.0
        """Seconds that the last process that got so far took from its start to its first tick."""

    def begin(self) -> None:
        """The first process lives through its first tick: from its reads on, tokens count."""
        began = time.monotonic()
        self._daemon.start()
        self._starting = time.monotonic() - began
        self._daemon.settled()
        self._daemon.kill()
        self._base = {name: server.reported[0] for name, server in self._load.servers.items()}
        self._compare()

    def kill(self) -> None:
        """Start the daemon, kill it at a random instant, and compare what is on disk.

        Raises:
            AssertionError: something is not as expected; the message says what.
        """
        began = time.monotonic()
        (instant,) = self._chance.choices(list(INSTANTS), list(INSTANTS.values()))
        reads = self._load.reads
        self._daemon.process = self._daemon.spawn()
        ticks = instant.endswith("tick")
        if instant == "start":
            self._pause.wait(self._chance.uniform(0, self._starting))
        else:
            self._await(reads + len(PACES))
            self._starting = time.monotonic() - began
            self._run(instant, reads)
        self._daemon.kill()
        before = self._totals()
        self._compare()
        self.figures.kills[instant] += 1
        self.figures.advanced += self._totals().time > before.time
        self.figures.cut += ticks and not self._holds_last_read()
        self.figures.seconds += time.monotonic() - began

    def gap(self) -> None:
        """Let nobody watch for more than a minute: all of that time, and none besides, becomes unobserved.

        Raises:
            AssertionError: it did not.
        """
        before = self._elapsed
        unobserved = self._totals().unobserved
        self._pause.wait(LONGEST_TICK_SECONDS + 1)
        began = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._daemon.start()
        self._read_page()
        self._daemon.kill()
        self._compare()
        gap = self._totals().unobserved - unobserved
        assert began < before + gap <= self._elapsed
        self.figures.gaps += gap

    def _totals(self) -> HostTotals:
        assert self._last is not None
        return self._last

    def end(self) -> None:
        """Freeze the servers, let a last process live, and compare everything with what they reported.

        Raises:
            AssertionError: a token is missing or was counted twice, or something else is off.
        """
        for server in self._load.servers.values():
            server.freeze()
        self._daemon.start()
        self._daemon.settled()
        self._read_page()
        assert self._daemon.terminate() == 0
        self._compare()
        moved = {
            name: tuple(now - then for now, then in zip(server.now(), self._base[name], strict=True))
            for name, server in self._load.servers.items()
        }
        assert moved == self._totals().tokens

    def described(self) -> str:
        """What was metered, in words."""
        account = self._totals()
        tokens = sum(sum(counts) for counts in account.tokens.values())
        money = sum(account.money.values())
        return f"{account.time / SECOND:.1f} s charged, {money} picodollars, {tokens} tokens"

    def _run(self, instant: str, reads: int) -> None:
        """Let the process, whose first tick all servers have reported, live to its instant."""
        if instant == "first tick":
            self._pause.wait(self._chance.uniform(0, COMMITTING_SECONDS))
            return
        self._pause.wait(self._chance.uniform(0, COMMITTING_SECONDS))
        self._cut_power()
        self._read_page()
        if instant == "at rest":
            self._pause.wait(self._chance.uniform(0, 1))
            return
        self._await(reads + 2 * len(PACES))
        self._pause.wait(self._chance.uniform(0, COMMITTING_SECONDS))

    def _await(self, reads: int) -> None:
        assert self._load.await_reads(reads, 30), self._daemon.log.read_text(encoding="utf-8")[-4000:]

    def _read_page(self) -> None:
        """Compare the first page of a restart with the totals before it, and with the page before it."""
        self._daemon.until_ready()
        page = self._daemon.scrape()
        account = HostTotals.of_page(page)
        assert account.differences() == []
        assert self._last is None or account.falls(self._last) == []
        assert self._tokens_were_reported(account)
        if self._page is not None:
            for name, rows in self._page.rows.items():
                if name.endswith("_total") and name not in OF_A_PROCESS:
                    for labels, value in rows:
                        assert page.value(name, **labels) >= value, (name, labels)
        self._page = page
        self.figures.pages += 1

    def _cut_power(self) -> None:
        """Stop the running daemon where it is, and open a copy of what a power cut would leave."""
        os.kill(self._daemon.pid, signal.SIGSTOP)
        os.waitpid(self._daemon.pid, os.WUNTRACED)
        copy = self._copied()
        os.kill(self._daemon.pid, signal.SIGCONT)
        self._opened(copy)
        self.figures.copies += 1

    def _compare(self) -> None:
        """Open what the last process left, as the next will, and compare it."""
        account = self._opened(self._copied())
        assert self._last is None or account.falls(self._last) == []
        if self._page is not None:
            assert account.falls(HostTotals.of_page(self._page)) == []
        self._last = account

    def _copied(self) -> Path:
        """The file and its log as they are now; the installation's own are left to its next process."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        for suffix in ("", "-wal"):
            if (present := Path(f"{self._daemon.ledger}{suffix}")).exists():
                shutil.copyfile(present, self._folder / f"ledger.db{suffix}")
        return self._folder / "ledger.db"

    def _opened(self, copy: Path) -> HostTotals:
        """What a ledger says: exact at its own last tick, whichever that is."""
        ledger = Ledger.open(copy, SystemClock())
        assert (ledger.problem, ledger.moved_aside, ledger.dropped) == ("", None, ())
        totals, state = ledger.totals(0, ()), ledger.state()
        ledger.close()
        self._ledger = self._ledger or ledger.id
        assert ledger.id == self._ledger
        account = HostTotals.of_ledger(totals)
        assert account.differences() == []
        assert sum(totals.cost.values()) == sum(totals.server_cost.values()) == sum(totals.gpu_cost.values())
        assert state.elapsed is not None
        self._first = self._first or state.elapsed - account.time
        assert state.elapsed - account.time == self._first, "not all time since the first tick was charged"
        self._elapsed = state.elapsed
        assert self._tokens_were_reported(account)
        return account

    def _tokens_were_reported(self, account: HostTotals) -> bool:
        """Whether each server's tokens are those of one of its reads."""
        return all(
            self._sum(name, account) in set(server.reported) for name, server in self._load.servers.items()
        )

    def _holds_last_read(self) -> bool:
        """Whether the totals hold the last read of every server."""
        return all(
            self._sum(name, self._totals()) == server.reported[-1]
            for name, server in self._load.servers.items()
        )

    def _sum(self, name: str, account: HostTotals) -> Counts:
        prompt, cached, generation = (
            base + counted for base, counted in zip(self._base[name], account.tokens[name], strict=True)
        )
        return prompt, cached, generation
