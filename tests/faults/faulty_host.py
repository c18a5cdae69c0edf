"""A host under a plan of faults: the real sources, sampler, ledger and web server, on a clock that is told.

NVML is the fake C library behind the real pynvml. Servers answer through httpx' own transport of tests, so
that everything from the request on is real. What hangs or times out does so without anybody waiting.
"""

import http.client
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from exporter.config import load
from exporter.config.settings import cost_policy
from exporter.ledger.boot import BootClaim
from exporter.ledger.ledger import Ledger
from exporter.readings import MustRestartError
from exporter.report import Build, ConfigRow, Report
from exporter.sampler.frame_reader import FrameReader
from exporter.sampler.report_builder import ReportContext
from exporter.sampler.sampler import Sampler, SamplerPlan
from exporter.sources import endpoints
from exporter.sources.gather import Gatherer
from exporter.sources.https_client import HttpsClient
from exporter.sources.nvml.source import NvmlSource
from exporter.web.server import WebServer
from tests.corners.simulated_host import HostClock, moment
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Gpu, Hang, Return, Scenario
from tests.faults import expected_totals
from tests.faults.expected_totals import ALLOCATED, UTILIZATION, WATTS, ExpectedCounts
from tests.faults.fault_plan import GPUS, SERVERS, TICKS, Fault, blinds
from tests.faults.vllm_server import COUNTERS, MODEL, VllmServer
from tests.kit.units import SECOND
from tests.sampler.sampler_fixture import FakeProcessMetrics

INTERVAL: Final = 10 * SECOND
PATIENCE: Final = 60.0
"""Seconds that anything real is waited for: longer than a busy machine takes, and never all of it."""

BUILD: Final = Build("0", "", "3")
START: Final = "2026-11-25T12:00:00+00:00"
UUIDS: Final = tuple(f"GPU-{number:08x}-1111-2222-3333-444444444444" for number in range(GPUS))
NAMES: Final = ("chat", "search", "batch", "embed")
ENERGY_MJ: Final = 5_000_000_000
LEAP_MJ: Final = 10**13
DRIVER_NOT_LOADED: Final = 9
TICKS_TO_RECOVER: Final = 5
"""NVML is opened, and a lost GPU looked for, every 30 s; the tick after that tells of a whole one."""

ERRORS: Final = {
    "full": "database or disk is full",
    "read only": "attempt to write a readonly database",
    "fails": "disk I/O error",
    "lies": "disk I/O error",
    "locked": "database is locked",
}


def configuration(product: str = "chat") -> str:
    """Four servers on six of eight GPUs, six rented at two prices and two owned."""
    gpus = {
        number: "[" + ", ".join(f'"{UUIDS[gpu]}"' for gpu in ALLOCATED[number]) + "]"
        for number in range(SERVERS)
    }
    servers = "".join(
        f'  - {{name: {name}, url: "http://127.0.0.1:{8000 + number}/metrics", gpus: {gpus[number]}}}\n'
        for number, name in enumerate(NAMES)
    )
    owned = (
        "owned: {purchase_dollars_per_gpu: 25000, in_service: 2026-01-01, life_years: 4}, "
        "energy: {dollars_per_kilowatt_hour: 0.12, pue_ratio: 1.35}"
    )
    hardware = "".join(f"  - {{match: {{uuid: {UUIDS[gpu]}}}, {owned}}}\n" for gpu in WATTS) + "".join(
        f"  - {{match: {{uuid: {UUIDS[gpu]}}}, rented: {{dollars_per_gpu_hour: {float(price)}}}}}\n"
        for gpu, price in expected_totals.RENT.items()
    )
    ownership = f"ownership: {{rules: [{{match: {{server: chat}}, product: {product}, team: assistants}}]}}\n"
    return f"{ownership}servers:\n{servers}hardware:\n{hardware}discovery: {{processes: false, cloud: off}}\n"


class FaultyHostClock(HostClock):
    """A host's clock whose waits are real, but for a call that hangs."""

    hanging = False

    def wait(self, stop: threading.Event, duration: int) -> bool:
        return stop.wait(0.0 if duration <= 0 else 0.05 if self.hanging else PATIENCE)


class FaultyDisk:
    """Opens connections whose commits fail, before or after they have reached the disk."""

    state = "well"

    def __call__(self, uri: str) -> sqlite3.Connection:
        disk = self

        class FaultyConnection(sqlite3.Connection):
            def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
                failing = sql == "COMMIT" and disk.state != "well"
                if failing and disk.state != "lies":
                    raise sqlite3.OperationalError(ERRORS[disk.state])
                done = super().execute(sql, *arguments)
                if failing:
                    raise sqlite3.OperationalError(ERRORS[disk.state])
                return done

        return sqlite3.connect(uri, uri=True, isolation_level=None, factory=FaultyConnection)


class FaultyHost:
    """The host, what is done to it, and the reckoning beside it. Scrapers keep their connections."""

    def __init__(
        self,
        folder: Path,
        nvml: FakeNvml,
        faults: tuple[Fault, ...],
        interval: int = INTERVAL,
        scrapers: int = 1,
    ) -> None:
        self.faults = faults
        self.interval = interval
        self.nvml_library = nvml
        self.tick_number = 0
        self.clock = FaultyHostClock(moment(START), moment(START) - 30 * 86_400 * SECOND)
        self.began = self.clock.elapsed()
        self.elapsed = 0
        """Nanoseconds from the first tick to the last."""
        self.disk = FaultyDisk()
        self.servers = [VllmServer(number, running=1) for number in range(SERVERS)]
        self.drawn = dict.fromkeys(range(GPUS), 0)
        """Millijoules less than what a GPU's counter would say, had nobody meddled with it."""
        self.expected = ExpectedCounts()
        self.report: Report | None = None
        self.scrapes = 0
        self.file = folder / "config.yaml"
        self.file.write_text(configuration())
        self.path = folder / "ledger.db"
        self.web = WebServer("127.0.0.1:0", lambda: self.report, self.clock, None, BUILD)
        self.web.start()
        self.scrapers = [self._scraper() for _ in range(scrapers)]
        self._scenario(())
        self._start()

    # The daemon

    def _start(self) -> None:
        self.nvml = NvmlSource(self.clock)
        self.gatherer = Gatherer(self.clock, round(PATIENCE * SECOND))
        self.endpoints = endpoints.EndpointSources(self.clock)
        self.ledger = Ledger.open(
            self.path,
            self.clock,
            connect=self.disk,
            boot=BootClaim(self.clock.boot(), self.clock.elapsed(), fleeting=lambda _folder: ""),
        )
        self.sampler = Sampler(
            self.clock,
            FrameReader(self.clock, self.gatherer, (self.nvml,)),
            self.ledger,
            FakeProcessMetrics(),
            self._plan(),
            machine="product:1",
        )

    def _plan(self) -> SamplerPlan:
        config = load(self.file)
        row = ConfigRow(config.hash, last_reload_success=True, last_reload=self.clock.wall())
        targets = self.endpoints.of(endpoints.configured_targets(config.servers), config.limits.body_bytes)
        return SamplerPlan(ReportContext(config, cost_policy(config, "host-1"), BUILD, row), targets)

    def reload(self, product: str) -> None:
        """Give one of the servers another product, as `POST /-/reload` does."""
        self.file.write_text(configuration(product))
        self.sampler.set_plan(self._plan())

    def _kill(self) -> None:
        """End the daemon with nothing said: what is committed stays, the lock goes."""
        assert self.ledger._lock is not None
        if self.ledger._store is not None:
            self.ledger._store.close()
        self.ledger._lock.release()
        self.nvml.close()
        self.gatherer.close()
        self.endpoints.close()

    def restart(self, down: int) -> None:
        """Kill the daemon, and start it again so many nanoseconds later. It finds a disk that is well."""
        self._kill()
        self.clock.true += down
        state, self.disk.state = self.disk.state, "well"
        self._start()
        self.disk.state = state
        self.expected.killed()

    def close(self) -> None:
        for connection in self.scrapers:
            connection.close()
        self._kill()
        self.web.close()

    # What is done to it

    def live(self) -> None:
        """All of the plan, and the peace after it. Again, it goes on where it ended."""
        for number in range(TICKS):
            self.tick_number = number
            faults = tuple(fault for fault in self.faults if fault.on(number))
            beginning = [fault for fault in faults if fault.start == number]
            if self.report is not None:
                self.clock.true += self.interval
            for server in self.servers:
                if self.report is not None and server.state != "killed":
                    server.serve(number)
            self._at_once(beginning)
            self._lasting(faults)
            before, self.elapsed = self.elapsed, self.clock.elapsed() - self.began
            self._watch(self.elapsed - before)
            self.tick()
            self._meddle(beginning)
            self._scrape(max([1, *(int(fault.how) for fault in faults if fault.kind == "scrapers")]))

    def _at_once(self, beginning: list[Fault]) -> None:
        for fault in beginning:
            match fault.kind:
                case "stopped":
                    self.clock.true += int(fault.how) * SECOND
                case "reload":
                    self.reload(fault.how)
                case "killed":
                    self.restart(int(fault.how) * SECOND)
                case "server restarted" | "server killed":
                    self.servers[fault.target].restart(self.clock.wall() // SECOND)

    def _lasting(self, faults: tuple[Fault, ...]) -> None:
        kinds = {fault.kind: fault for fault in faults}
        self.clock.off = int(kinds["clock"].how) * SECOND if "clock" in kinds else 0
        self.disk.state = kinds["disk"].how if "disk" in kinds else "well"
        for server in self.servers:
            server.state = "well"
        states = {"server killed": "killed", "server out of descriptors": "out of descriptors"}
        for fault in faults:
            if fault.kind in ("server killed", "server hangs", "server lies", "server out of descriptors"):
                self.servers[fault.target].state = states.get(fault.kind, fault.how)
        self._scenario(faults)

    def _watch(self, passed: int) -> None:
        """Note which GPUs tell how busy they were; after some faults nobody knows when they do so again."""
        done = [fault for fault in self.faults if fault.start <= self.tick_number and blinds(fault)]
        if any(
            fault.kind == "nvml returns" or self.tick_number - fault.last <= TICKS_TO_RECOVER
            for fault in done
        ):
            return
        for gpu in range(GPUS):
            self.expected.watched[gpu] += passed

    def _meddle(self, beginning: list[Fault]) -> None:
        """A counter that begins anew does so right after it was read: what it hides is known."""
        for fault in beginning:
            if fault.kind == "energy begins anew":
                self.drawn[fault.target] = self._energy(fault.target)

    def _energy(self, gpu: int) -> int:
        """Millijoules that it has drawn since it was made."""
        drawn = WATTS.get(gpu, 100) * (self.clock.elapsed() - self.began) // (SECOND // 1000)
        return ENERGY_MJ + drawn

    def _scenario(self, faults: tuple[Fault, ...]) -> None:
        gpus = [
            Gpu(
                uuid=UUIDS[number],
                pci=f"00000000:{0x1B + number:02X}:00.0",
                utilization=UTILIZATION[number],
                power_mw=WATTS.get(number, 100) * 1000,
                energy_mj=self._energy(number) - self.drawn[number],
                memory_used=(20 + number) * 2**30,
            )
            for number in range(GPUS)
        ]
        rules: list[Return | Hang] = []
        for fault in faults:
            gpu = gpus[fault.target]
            match fault.kind:
                case "gpu lost":
                    gpus[fault.target] = replace(gpu, lost=True)
                case "gpu gone":
                    gpus[fault.target] = replace(gpu, gone=True)
                case "energy falls":
                    gpus[fault.target] = replace(gpu, energy_mj=gpu.energy_mj // 2)
                case "energy leaps":
                    gpus[fault.target] = replace(gpu, energy_mj=gpu.energy_mj + LEAP_MJ)
                case "nvml returns":
                    function, code = fault.how.split()
                    rules.append(Return(function, int(code)))
                case "nvml hangs":
                    rules.append(Hang(fault.how))
                case "driver gone":
                    rules.append(Return("*", DRIVER_NOT_LOADED))
        self.nvml_library.set(Scenario(tuple(gpus), tuple(rules)))
        was, self.clock.hanging = self.clock.hanging, any(isinstance(rule, Hang) for rule in rules)
        if was and not self.clock.hanging:
            assert self.nvml._worker.settle(0) is not None
            self.nvml._worker.settle(SECOND)  # the call that hung returns before the next one is asked

    # A tick and what it is to have brought

    def tick(self) -> None:
        """One tick; the daemon is started anew where it asks for that, as a supervisor does."""
        try:
            self.report = self.sampler.tick()
        except MustRestartError:
            self.restart(0)
            return
        self._note()
        totals = self.report.totals
        assert totals is not None
        assert totals.residual == 0

    def _note(self) -> None:
        """What the pages of this tick told, to a daemon that reads what can be read."""
        for server in self.servers:
            if server.state in ("well", "twice", "noise"):
                self.expected.now.read(server.number, server.started, server.counted)
            elif server.state == "cut":
                counters = {
                    quantity: server.counted[quantity]
                    for quantity, series in COUNTERS.items()
                    if series % MODEL in server.cut()
                }
                self.expected.now.read(server.number, server.started, counters)
        if self.disk.state in ("well", "lies"):
            self.expected.commits()

    def _scrape(self, times: int) -> None:
        """So many scrapers at once, all of which are answered."""
        if times == 1:
            assert all(scraped(connection) for connection in self.scrapers)
            self.scrapes += len(self.scrapers)
            return
        with ThreadPoolExecutor(times) as pool:
            assert all(pool.map(lambda _: self._scraped_once(), range(times)))
        self.scrapes += times

    def _scraper(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.web.port, timeout=PATIENCE)

    def _scraped_once(self) -> bool:
        with closing(self._scraper()) as connection:
            return scraped(connection)


def scraped(connection: http.client.HTTPConnection) -> bool:
    """Whether a page of the daemon is answered."""
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    return answer.status == http.client.OK and b"inference_exporter_info" in answer.read()


@contextmanager
def faulty_host(
    folder: Path, faults: tuple[Fault, ...], interval: int = INTERVAL, scrapers: int = 1
) -> Iterator[FaultyHost]:
    """A host that is well, and will not be."""
    nvml = FakeNvml(folder)

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.port is not None
        return host.servers[request.url.port - 8000].answer(request)

    def client() -> HttpsClient:
        return HttpsClient(httpx.Client(transport=httpx.MockTransport(answer), trust_env=False))

    with pytest.MonkeyPatch.context() as patch, nvml.loaded():
        patch.setattr(endpoints, "shared_client", client)
        host = FaultyHost(folder, nvml, faults, interval, scrapers)
        try:
            yield host
        finally:
            host.close()
