"""What the daemon takes on a host of 8 GPUs and 8 vLLM servers, beside nvitop-exporter on the same host.

Imports are chosen now and measured always: at most 40 MiB and 1 % of a core at an interval of 10 s.
A machine that takes memory from whoever rests (DAMON, a balloon) makes each tick several times as dear, for
both alike: there the daemon may take as many times what the peer takes as it does where nothing interferes.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.e2e.daemon import ROOT, Daemon, Page, free_port, get, until
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s

PAGE = ROOT / "tests" / "engines" / "captures" / "vllm-0.33.0-single.prom"
SERVERS = 8
INTERVAL_SECONDS = 10
TICKS = 6
MEBIBYTE = 2**20
TIMES_THE_PEER = 8
"""What the daemon may take of the peer's CPU: it takes 5 to 6 times as much on a quiet machine, for reading
8 pages and keeping books beside."""


@dataclass(frozen=True)
class Footprint:
    """Resident memory at the end, and CPU time between two moments, as the kernel counts them."""

    resident_bytes: int
    cpu_seconds: float
    elapsed_seconds: float

    @property
    def core_ratio(self) -> float:
        """How much of one core."""
        return self.cpu_seconds / self.elapsed_seconds

    def text(self, name: str) -> str:
        """One line for people."""
        per_tick = self.cpu_seconds * 1000 / (self.elapsed_seconds / INTERVAL_SECONDS)
        return (
            f"{name:>24}: {self.resident_bytes / MEBIBYTE:6.1f} MiB, {per_tick:6.1f} ms of CPU per tick, "
            f"{self.core_ratio:.2%} of a core"
        )


class Watch:
    """Measures one process from now on."""

    def __init__(self, pid: int) -> None:
        self.process = psutil.Process(pid)
        self.began = time.monotonic()
        self.before = self._cpu()

    def _cpu(self) -> float:
        times = self.process.cpu_times()
        return times.user + times.system

    def footprint(self) -> Footprint:
        """What it took until now."""
        memory = self.process.memory_info().rss
        return Footprint(memory, self._cpu() - self.before, time.monotonic() - self.began)


@contextmanager
def running(*command: str, environment: dict[str, str], log: Path) -> Iterator[int]:
    """A process in the background; its id."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait(10)


def answers(port: int) -> bool:
    """Whether something serves metrics there."""
    try:
        return get(port, "/metrics")[0] == 200
    except OSError:
        return False


def configuration(ports: list[int]) -> str:
    servers = "".join(
        f'  - {{name: vllm-{gpu}, url: "http://127.0.0.1:{port}/metrics", gpus: [{gpu}]}}\n'
        for gpu, port in enumerate(ports)
    )
    return f"""
interval: {INTERVAL_SECONDS}s
hardware:
  - {{match: {{gpu_model: "*H100*"}}, rented: {{dollars_per_gpu_hour: 2.50}}}}
servers:
{servers}"""


def all_metered(page: Page) -> bool:
    """Whether GPUs and servers are all read: a daemon that sees nothing is a small one."""
    return page.sum("inference_server_up") == SERVERS and page.sum("inference_gpu_up") == SERVERS


@pytest.mark.timeout(240)
def test_the_daemon_is_small(tmp_path: Path, measured: Callable[[str], None]) -> None:
    """At most 56 MiB resident and 1 % of a core, scraped every tick; the figures are printed for CI."""
    host = FakeNvml(tmp_path, Scenario(h100s(SERVERS, utilization=60, power_mw=500_000)))
    peer = ROOT / ".cache" / "peers" / "bin" / "nvitop-exporter"
    assert peer.exists(), "no nvitop-exporter: run the end-to-end tests with `make e2e`"
    ports, peer_port = [free_port() for _ in range(SERVERS)], free_port()
    with ExitStack() as stack:
        start = stack.enter_context
        replay = (sys.executable, str(ROOT / "tests/e2e/vllm_replay_server.py"), str(PAGE), *map(str, ports))
        start(running(*replay, environment={}, log=tmp_path / "replay.log"))
        for port in ports:
            until(lambda port=port: answers(port), 20, "a replayed server")
        nvitop = start(
            running(
                *(str(peer), "--bind-address", "127.0.0.1", "--port", str(peer_port)),
                *("--interval", str(INTERVAL_SECONDS)),
                environment=host.environment(),
                log=tmp_path / "nvitop.log",
            )
        )
        daemon = start(Daemon(tmp_path, configuration(ports), host.environment()))
        until(lambda: answers(peer_port), 60, "nvitop-exporter")
        first = daemon.until(all_metered, "all GPUs and servers read", 60)

        ours, theirs = Watch(daemon.pid), Watch(nvitop)
        page = first
        for _ in range(TICKS):
            page = daemon.until(lambda page, tick=page.tick: page.tick > tick, "a tick", 60, pause=1)
            assert answers(peer_port)
        footprint, other = ours.footprint(), theirs.footprint()

    assert all_metered(page)
    for server in range(SERVERS):
        name = f"vllm-{server}"
        assert page.tokens(name)["generation"] > first.tokens(name).get("generation", 0)
    series = sum(len(rows) for rows in page.rows.values())
    measured(
        f"{SERVERS} GPUs, {SERVERS} vLLM servers of {len(PAGE.read_text().splitlines())} lines, "
        f"{INTERVAL_SECONDS} s interval, {TICKS} ticks, {series} series"
    )
    measured(footprint.text("inference-cost-exporter"))
    measured(other.text("nvitop-exporter"))
    assert footprint.resident_bytes <= 56 * MEBIBYTE
    assert footprint.core_ratio <= max(0.01, TIMES_THE_PEER * other.core_ratio)
    assert series <= 1000
    own = page.value("process_resident_memory_bytes")
    assert own == pytest.approx(footprint.resident_bytes, rel=0.05)
