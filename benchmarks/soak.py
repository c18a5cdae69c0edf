"""Hours of a real daemon in real time under faults: nothing that it holds grows, and its books are right.

8 GPUs and 4 servers with pages of a vLLM's size, read every 10 s; three clients scrape without end.
An hour has a fault each ten minutes: a server killed and started again, NVML hung for a minute, a server that
hangs, fails, trickles and lies. The configuration is reloaded each ten minutes, each time with a change.

    python -m benchmarks.soak [--hours 2] [--folder FOLDER]

FOLDER keeps ledger and log. A line is printed each ten minutes; a table is written to docs/benchmarks.md.
Each line compares the ledger's money with price x time, the end compares the tokens too. Exits with 1 when
anything differs or grows, or when a scrape was not answered.
"""

import argparse
import http.client
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from benchmarks.host import PAGE, used
from benchmarks.results import figure, machine, plain, write
from benchmarks.soak_clients import Clients
from benchmarks.soak_figures import Look, problems
from exporter.ledger.reader import LedgerReader
from tests.e2e.daemon import Daemon
from tests.e2e.expected_totals import MILLIWATTS, PACES, HostTotals, configuration
from tests.e2e.faulty_servers import FaultyLoad, FaultyServer
from tests.e2e.load_servers import PAGE as LOAD_PAGE
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Hang, Scenario, h100s

GPUS: Final = 8
INTERVAL: Final = 10
MINUTE: Final = 60
LOOK: Final = 10 * MINUTE
HOUR: Final = 60 * MINUTE
KIBIBYTE: Final = 1024
PATIENCE: Final = 300.0
"""Seconds for ticks that are waited for on a busy machine."""


class SoakServer(FaultyServer):
    """A server whose page is as long as vLLM's."""

    def _page(self) -> bytes:
        return super()._page() + _REST


class SoakLoad(FaultyLoad):
    """Four of them."""

    def __init__(self) -> None:
        super().__init__()
        for server in self.servers.values():
            server.close()
        self.servers = {name: SoakServer(name, rates, self._count_read) for name, rates in PACES.items()}


def _rest() -> bytes:
    """The lines of a captured page whose families the load's own page lacks."""
    own = {line.split()[2] for line in LOAD_PAGE.splitlines() if line.startswith("# TYPE ")}
    lines = PAGE.read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if _family(line) not in own).encode()


def _family(line: str) -> str:
    words = line.split()
    return words[2] if words[1:2] in (["HELP"], ["TYPE"]) else line.partition("{")[0].partition(" ")[0]


_REST: Final = _rest()


@dataclass
class Soak:
    """One installation and what is done to it."""

    daemon: Daemon
    load: SoakLoad
    nvml: FakeNvml
    began: float = field(default_factory=time.monotonic)
    looks: list[Look] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    """What was done, in order."""
    differing: list[str] = field(default_factory=list)
    last: HostTotals | None = None
    """The books at the last look."""
    _samples: list[Look] = field(default_factory=list)

    def server(self) -> FaultyServer:
        """One after another, by the faults done."""
        names = sorted(self.load.servers)
        return self.load.servers[names[len(self.done) % len(names)]]

    def sample(self) -> None:
        """What the process holds now."""
        process = Path("/proc") / str(self.daemon.pid)
        log = self.daemon.ledger.with_name("ledger.db-wal")
        self._samples.append(
            Look(
                (time.monotonic() - self.began) / HOUR,
                used(self.daemon.pid).resident_bytes / KIBIBYTE,
                len(list((process / "fd").iterdir())),
                len(list((process / "task").iterdir())),
                self.daemon.ledger.stat().st_size / KIBIBYTE,
                log.stat().st_size / KIBIBYTE if log.exists() else 0,
            )
        )

    def look(self) -> None:
        """Say what was held at least since the last look, and compare the books with the reckoning."""
        self.looks.append(Look.least(self._samples))
        self._samples.clear()
        self.compare()
        print(f"{self.looks[-1]} {self.done[-1:]} {self.differing}", flush=True)

    def compare(self) -> HostTotals:
        """Money is price x time whenever it is looked at, and no total falls."""
        with LedgerReader.open(self.daemon.ledger) as reader:
            totals = HostTotals.of_ledger(reader.totals(0, ()), GPUS)
        self.differing += totals.differences()
        if self.last is not None:
            self.differing += totals.falls(self.last)
        self.last = totals
        return totals

    def end(self) -> HostTotals:
        """Let everything be read once more, end the daemon, and compare each token."""
        for server in self.load.servers.values():
            server.freeze()
        self.daemon.settled(PATIENCE)
        if (status := self.daemon.terminate(PATIENCE)) != 0:
            self.differing.append(f"exit status {status}")
        totals = self.compare()
        for name, server in self.load.servers.items():
            if (tokens := totals.tokens[name]) != server.expected():
                self.differing.append(f"{name}: {tokens} tokens and not {server.expected()}")
        return totals

    # What is done; what is returned undoes it a minute later

    def reload(self) -> Callable[[], None]:
        """Another product for one of the servers."""
        product = f"soak-{len(self.done) % 2}"
        rules = f"ownership: {{rules: [{{match: {{server: chat}}, product: {product}}}]}}\n"
        if (status := self.daemon.reload(soak_configuration(self.load) + rules)) != http.client.OK:
            self.differing.append(f"a reload was answered {status}")
        self.done.append("reload")
        return lambda: None

    def kill_server(self) -> Callable[[], None]:
        """It served its last request, was read, and dies."""
        server = self.server()
        server.freeze()
        self.daemon.settled(PATIENCE)
        server.kill()
        self.done.append("server killed")
        return server.start_again

    def hang_nvml(self) -> Callable[[], None]:
        """No call of one function returns."""
        well = self.nvml.scenario
        self.nvml.set(replace(well, rules=(Hang("nvmlDeviceGetMemoryInfo_v2"),)))
        self.done.append("nvml hung")
        return lambda: self.nvml.set(well)

    def server_is(self, state: str) -> Callable[[], None]:
        """One of them answers otherwise."""
        server = self.server()
        server.be(state)
        self.done.append(f"server {state}")
        return lambda: server.be("well")


SCHEDULE: Final[tuple[tuple[float, Callable[[Soak], Callable[[], None]]], ...]] = (
    *((minute, Soak.reload) for minute in range(6, 60, 10)),
    (2, Soak.kill_server),
    (12, Soak.hang_nvml),
    (22, lambda soak: soak.server_is("hangs")),
    (32, lambda soak: soak.server_is("fails")),
    (42, lambda soak: soak.server_is("trickles")),
    (52, lambda soak: soak.server_is("lies")),
)
"""What is done in each hour, at its minutes."""


def soak_configuration(load: SoakLoad) -> str:
    """Eight GPUs of which the four servers have three."""
    return configuration(load).replace("interval: 1s", f"interval: {INTERVAL}s")


def events(hours: float) -> list[tuple[float, Callable[[Soak], Callable[[], None]]]]:
    """All of a run, in order, by seconds; the last minutes are calm."""
    whole = [
        (hour * HOUR + minute * MINUTE, act) for hour in range(int(hours) + 1) for minute, act in SCHEDULE
    ]
    return sorted((item for item in whole if item[0] < hours * HOUR - 3 * MINUTE), key=lambda item: item[0])


@contextmanager
def soak(folder: Path) -> Iterator[Soak]:
    """A daemon that has taken its first tick."""
    nvml = FakeNvml(folder, Scenario(h100s(GPUS, utilization=40, power_mw=MILLIWATTS)))
    with SoakLoad() as load:
        daemon = Daemon(folder, soak_configuration(load), nvml.environment())
        daemon.ledger.with_name("ledger.db.older").touch()  # the books begin at the first tick, not at boot
        with daemon:
            yield Soak(daemon, load, nvml)


def run(made: Soak, hours: float) -> None:
    """Live all of it."""
    pause = threading.Event()
    due: list[tuple[float, Callable[[], object]]] = [
        (at, lambda act=act: undo.append((time.monotonic() - made.began + MINUTE, act(made))))
        for at, act in events(hours)
    ]
    undo: list[tuple[float, Callable[[], None]]] = []
    while (passed := time.monotonic() - made.began) < hours * HOUR:
        pause.wait(INTERVAL / 2)
        for calls in (undo, due):
            while calls and calls[0][0] <= passed:
                calls.pop(0)[1]()
        made.sample()
        made.daemon.pages.clear()
        if passed >= LOOK * (len(made.looks) + 1):
            made.look()
    for _, back in undo:
        back()


def text(made: Soak, totals: HostTotals, clients: Clients, hours: float) -> str:
    """What is said of a run without problems."""
    looks = made.looks
    middle, last = looks[len(looks) // 2 - 1], looks[-1]
    grown = last.resident_kib - middle.resident_kib
    rows = [
        (
            f"{one.hours:.1f} h",
            f"{one.resident_kib / KIBIBYTE:.1f} MiB",
            str(one.descriptors),
            str(one.threads),
            f"{one.ledger_kib:,.0f} KiB",
            f"{one.log_kib:,.0f} KiB",
        )
        for one in (looks[0], middle, last)
    ]
    done = ", ".join(f"{what} ({count})" for what, count in sorted(Counter(made.done).items()))
    tokens = sum(sum(counts) for counts in totals.tokens.values())
    return (
        f"{machine()}; {hours:g} hours.\n\n"
        + plain(["after", "resident", "descriptors", "threads", "ledger", "its log at most"], rows)
        + f"\nDone: {done}.\n"
        f"Three clients got {clients.count:,} answers, the slowest in {figure(clients.slowest)} s.\n"
        f"{sum(totals.money.values()):,} picodollars and {tokens:,} tokens are as expected.\n"
        f"Resident memory grew by {grown:,.0f} KiB after {middle.hours:.1f} h.\n"
    )


def main(hours: float, folder: Path | None) -> int:
    """Run, print and write it down; 1 if anything differs or grows."""
    with ExitStack() as stack:
        folder = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        made = stack.enter_context(soak(folder))
        with Clients(made.daemon.port) as clients:
            run(made, hours)
        totals = made.end()
    wrong = [*made.differing, *clients.failures, *problems(made.looks)]
    for problem in wrong:
        print(f"PROBLEM: {problem}")
    if made.looks:
        written = text(made, totals, clients, hours)
        print(written)
        if not wrong:
            write("soak", written)
    print("the soak failed" if wrong else "the soak passed: nothing grows, nothing differs")
    return int(bool(wrong))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hours", type=float, default=2)
    parser.add_argument("--folder", type=Path, help="where ledger and log go, and stay")
    options = parser.parse_args()
    sys.exit(main(options.hours, options.folder))
