"""A daemon under load and what is done to it: each fault lasts until it shows, and is then undone."""

import http.client
import os
import random
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Final

from tests import tmpfs
from tests.e2e.daemon import Daemon, Page, get, until
from tests.e2e.expected_totals import MILLIWATTS, PACES, configuration
from tests.e2e.load_servers import Counts, Load, LoadServer
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Hang, Return, Scenario, h100s
from tests.sources.kubelet.kubelet_server import Kubelet

LONGEST_HANG: Final = 60.0
FIRST_PROCESS: Final = 1_795_560_821
SCRAPERS: Final = 100
PATIENCE: Final = 60.0
"""Seconds. The kubelet is asked every 30 s."""

STANDSTILL_SECONDS: Final = 3.0
"""That the daemon serves at a time."""

UNKNOWN_ERROR: Final = 999
GPUS: Final = 4
"""Three of the servers', and one that a pod has."""

POD: Final = "unmatched:train"


class FaultyServer(LoadServer):
    """A server that may hang, trickle, lie, be dead, or be another process which has counted nothing."""

    def __init__(self, name: str, rates: Counts, after_read: Callable[[], None]) -> None:
        self.state = "well"
        self.well = threading.Event()
        self.process = FIRST_PROCESS
        self.ended: list[Counts] = []
        """The last counters of processes before this one."""
        super().__init__(name, rates, after_read)

    def be(self, state: str) -> None:
        """Answer so from now on."""
        self.state = state
        if state == "well":
            self.well.set()
        else:
            self.well.clear()

    def restart(self) -> None:
        """Another process. The one before must have been read at rest."""
        assert self._frozen is not None
        self.ended.append(self._frozen)
        self.process = max(self.process + 1, int(time.time()))
        self._began, self._frozen = time.monotonic_ns(), None

    def kill(self) -> None:
        """Refuse connections, and end those that are open at their next request."""
        self.be("killed")
        self.close()

    def start_again(self) -> None:
        """Another process at the same address. The one that was killed must have been read at rest."""
        self.restart()
        self._listen(self._listener.server_port)
        self.be("well")

    def expected(self) -> Counts:
        """What was served since the first read, by kind; the present process is at rest."""
        assert self._frozen is not None
        sums = [sum(kinds) for kinds in zip(*self.ended, self._frozen, strict=True)]
        prompt, cached, generation = (
            whole - first for whole, first in zip(sums, self.reported[0], strict=True)
        )
        return prompt, cached, generation

    def _page(self) -> bytes:
        return super()._page().replace(b"1.7955608211e+09", f"{self.process}.5".encode())

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server, well = self, super()._handler()

        class FaultyHandler(well):  # type: ignore[misc, valid-type]
            def do_GET(self) -> None:  # noqa: N802 - the base class names it
                match server.state:
                    case "hangs":
                        server.well.wait(LONGEST_HANG)
                        self.close_connection = True
                    case "trickles":
                        self._trickle()
                    case "lies":
                        self._say(b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n<html>hello<p>")
                    case "killed":
                        self.close_connection = True
                    case "fails":
                        self._say(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
                    case _:
                        super().do_GET()

            def _say(self, answer: bytes) -> None:
                self.wfile.write(answer)

            def _trickle(self) -> None:
                self.close_connection = True
                try:
                    while not server.well.wait(0.2):
                        self._say(b"H")
                except OSError:
                    return  # who read it has had enough

        return FaultyHandler


class FaultyLoad(Load):
    """Servers that may be anything but well."""

    def __init__(self) -> None:
        self._reads = 0
        self._read = threading.Condition()
        self.servers: Mapping[str, FaultyServer] = {
            name: FaultyServer(name, rates, self._count_read) for name, rates in PACES.items()
        }


class Excuse(threading.Event):
    """Holds while it is set; whoever asks with the number of times before learns of one meanwhile, too."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def set(self) -> None:
        self.times += 1
        super().set()

    def applied_since(self, times: int, *, before: bool) -> bool:
        """Whether it held at any time since then."""
        return before or self.is_set() or self.times != times


@dataclass
class Trial:
    """One installation under one plan. `pages` of its daemon are all scrapes but those of the background."""

    daemon: Daemon
    load: FaultyLoad
    nvml: FakeNvml
    kubelet: Kubelet
    chance: random.Random
    away: Excuse = field(default_factory=Excuse)
    """Set while nobody can answer: no process, or one that was told to stand still."""
    done: list[str] = field(default_factory=list)

    def server(self) -> FaultyServer:
        """Any one."""
        return self.load.servers[self.chance.choice(sorted(self.load.servers))]

    def run(self, kinds: list[str]) -> None:
        """Do one after another."""
        for kind in kinds:
            FAULTS[kind](self)
            self.done.append(kind)
            self.daemon.until(_well, f"everything read and written again after {kind}", PATIENCE)

    def until_down(self, source: str) -> None:
        """Until a source is shown as failing."""
        self.daemon.until(
            lambda page: page.matching("inference_source_up", source=source) == [0.0],
            f"{source} down",
            PATIENCE,
        )

    # What is done

    def server_is(self, state: str) -> None:
        """One of them answers otherwise."""
        server = self.server()
        server.be(state)
        self.until_down(f"server:{server.name}")
        server.be("well")

    def server_restarts(self) -> None:
        """One of them is at rest, then another process that has counted nothing."""
        server = self.server()
        server.freeze()
        self.daemon.settled(PATIENCE)
        server.restart()

    def nvml_hangs(self) -> None:
        self.nvml_obeys(Hang("nvmlDeviceGetMemoryInfo_v2"))

    def nvml_returns(self) -> None:
        self.nvml_obeys(Return("nvmlDeviceGetCount_v2", UNKNOWN_ERROR))

    def nvml_obeys(self, rule: Hang | Return) -> None:
        well = self.nvml.scenario
        self.nvml.set(replace(well, rules=(rule,)))
        self.until_down("nvml")
        self.nvml.set(well)

    def stands_still(self) -> None:
        """SIGSTOP, and SIGCONT some seconds later."""
        self.away.set()
        os.kill(self.daemon.pid, signal.SIGSTOP)
        began = time.monotonic()
        until(lambda: time.monotonic() - began > STANDSTILL_SECONDS, PATIENCE, "some seconds")
        os.kill(self.daemon.pid, signal.SIGCONT)
        self.away.clear()

    def killed(self) -> None:
        self.away.set()
        self.daemon.kill()
        self.daemon.start()
        self.away.clear()

    def disk_fills(self) -> None:
        """No file may grow: for the ledger as good as a full disk."""
        with self.limited(resource.RLIMIT_FSIZE, 4096):
            self.daemon.until(
                lambda page: page.value("inference_ledger_persistent") == 0, "a full disk", PATIENCE
            )

    def descriptors_run_out(self) -> None:
        """Every scrape takes one; what is left for reading servers does not suffice."""
        used = len(list(Path(f"/proc/{self.daemon.pid}/fd").iterdir()))
        with self.limited(resource.RLIMIT_NOFILE, used + 1):
            self.daemon.until(
                lambda page: any(
                    page.matching("inference_source_up", source=f"server:{name}") == [0.0] for name in PACES
                ),
                "a server that cannot be read",
                PATIENCE,
            )

    def scrapers_come(self) -> None:
        """A hundred at once, of whom each gets the same page as all others of its report."""
        with ThreadPoolExecutor(SCRAPERS) as pool:
            answers = list(pool.map(lambda _: get(self.daemon.port, "/metrics"), range(SCRAPERS)))
        assert {status for status, _ in answers} == {http.client.OK}
        assert len({body for _, body in answers}) <= 3  # a tick or two came meanwhile

    def kubelet_goes(self) -> None:
        """Its socket is gone; its pod still holds the GPU; it comes back."""
        before = self.daemon.until(
            lambda page: page.sum("inference_server_gpus", server=POD) > 0, POD, PATIENCE
        )
        self.kubelet.stop()
        self.kubelet.path.unlink(missing_ok=True)
        self.until_down("kubelet")
        page = self.daemon.settled(PATIENCE)
        gpus = "inference_server_gpus"
        assert page.sum(gpus, server=POD) == before.sum(gpus, server=POD)
        self.kubelet.start()

    @contextmanager
    def limited(self, what: int, limit: int) -> Iterator[None]:
        """The running process may have no more of something."""
        before = resource.prlimit(self.daemon.pid, what)
        resource.prlimit(self.daemon.pid, what, (limit, before[1]))
        try:
            yield
        finally:
            resource.prlimit(self.daemon.pid, what, before)


FAULTS: Final[Mapping[str, Callable[[Trial], None]]] = {
    "server hangs": lambda trial: trial.server_is("hangs"),
    "server trickles": lambda trial: trial.server_is("trickles"),
    "server lies": lambda trial: trial.server_is("lies"),
    "server fails": lambda trial: trial.server_is("fails"),
    "server restarts": Trial.server_restarts,
    "nvml hangs": Trial.nvml_hangs,
    "nvml returns": Trial.nvml_returns,
    "stands still": Trial.stands_still,
    "killed": Trial.killed,
    "disk fills": Trial.disk_fills,
    "descriptors run out": Trial.descriptors_run_out,
    "scrapers come": Trial.scrapers_come,
    "kubelet goes": Trial.kubelet_goes,
}


def plans(seed: int, count: int) -> list[list[str]]:
    """All faults dealt to so many plans in an order that the seed decides, and two more in each."""
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    kinds = sorted(FAULTS)
    chance.shuffle(kinds)
    short = sorted(FAULTS.keys() - {"kubelet goes"})  # it is asked every 30 s: once is enough
    return [kinds[number::count] + chance.sample(short, 2) for number in range(count)]


def _well(page: Page) -> bool:
    sources = page.rows.get("inference_source_up", [])  # absent while the report is stale
    return (
        bool(sources)
        and all(
            value == 1 or labels["source"] == "clock"  # whether this machine's is set is its own business
            for labels, value in sources
        )
        and page.value("inference_ledger_persistent") == 1
    )


def reply(uuid: str) -> bytes:
    """That a pod has a GPU, as protobuf (`ListPodResourcesResponse` of the kubelet's `api.proto`)."""

    def field(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2, len(value)]) + value

    device = field(1, b"nvidia.com/gpu") + field(2, uuid.encode())
    container = field(1, b"main") + field(2, device)
    return field(1, field(1, b"train-0") + field(2, b"research") + field(3, container))


@contextmanager
def trial(folder: Path, seed: int) -> Iterator[Trial]:
    """A daemon on three GPUs with four servers and a pod, scraped all the time from beside."""
    gpus = h100s(GPUS, utilization=40, power_mw=MILLIWATTS)
    nvml = FakeNvml(folder, Scenario(gpus))
    sockets = Path(folder / "k")
    sockets.mkdir()
    kubelet = Kubelet(sockets / "kubelet.sock")
    kubelet.reply = reply(gpus[3].uuid)
    kubelet.start()
    with FaultyLoad() as load:
        daemon = Daemon(folder, configuration(load), nvml.environment())
        daemon.ledger.with_name("ledger.db.older").touch()  # the books begin at the first tick, not at boot
        daemon.begin = partial(tmpfs.with_kubelet, sockets)
        try:
            with daemon:
                made = Trial(daemon, load, nvml, kubelet, random.Random(seed))  # noqa: S311 - to be repeated
                with _scraped(made):
                    yield made
        finally:
            for server in load.servers.values():
                server.be("well")
            kubelet.stop()


@contextmanager
def _scraped(trial: Trial) -> Iterator[None]:
    """Scrape without end from another thread; whoever can answer must, and nobody may be left waiting."""
    ended = threading.Event()
    failures: list[str] = []

    def scrape() -> None:
        while not ended.wait(0.05):
            times, was_away = trial.away.times, trial.away.is_set()
            try:
                status, _ = get(trial.daemon.port, "/metrics", seconds=PATIENCE)
                problem = "" if status == http.client.OK else str(status)
            except (OSError, http.client.HTTPException) as error:
                problem = repr(error)
            if problem and not trial.away.applied_since(times, before=was_away):
                failures.append(f"{problem} after {trial.done}")

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert failures == []
