"""The host that is measured: fake GPUs, real HTTP servers that replay vLLM, the daemon and its peers."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import psutil
import trustme

from tests import tmpfs
from tests.e2e.daemon import ROOT, Daemon, Page, free_port, get, until
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s
from tests.sources.kubelet.kubelet_server import Kubelet

PAGE: Final = ROOT / "tests" / "engines" / "captures" / "vllm-0.33.0-single.prom"
OURS: Final = "inference-cost-exporter"
NVITOP: Final = "nvitop-exporter, every 1 s"
"""Its own default."""

NVITOP_SLOWER: Final = "nvitop-exporter, every 10 s"
NODE: Final = "node_exporter"
NVIDIA_GPU: Final = "nvidia_gpu_exporter"
PEER: Final = ROOT / ".cache" / "peers" / "bin" / "nvitop-exporter"
NVIDIA_SMI: Final = """#!/bin/sh
fake-nvidia-smi --capture linux-x86_64__nvidia-h200__590.48.01 --state load "$@" | awk '
/GPU-00000000/ {{
    for (i = 0; i < {gpus}; i++) {{ row = $0; gsub(/GPU-00000000/, "GPU-0000000" i, row); print row }}
    next
}}
1'
"""
"""A replay of nvidia_gpu_exporter 1.9, one GPU there, as several."""

_CPUCLOCK_SCHED: Final = 2
"""Of a process's clock, clock_getcpuclockid(3): all its threads, to the nanosecond. /proc counts in 10 ms,
which is a whole tick."""

GPUS_MAX: Final = 32
PATIENCE: Final = 120.0


@dataclass(frozen=True)
class Program:
    """A running exporter."""

    name: str
    pid: int
    port: int


@dataclass(frozen=True)
class Used:
    """CPU seconds of a process so far, and its resident memory, as the kernel counts them."""

    at: float
    cpu_seconds: float
    resident_bytes: int


def used(pid: int | None) -> Used:
    """What a process has used until now, this one without an id."""
    process = psutil.Process(pid)
    cpu_seconds = time.clock_gettime(~process.pid << 3 | _CPUCLOCK_SCHED)
    return Used(time.monotonic(), cpu_seconds, process.memory_info().rss)


class Host:
    """One installation and what it watches. `programs` are ours and its peers, by name."""

    def __init__(
        self, folder: Path, gpus: int, servers: int, interval: int, *, peers: bool, deployed: bool
    ) -> None:
        self.folder = folder
        self.certificate: Path | None = None
        """The certificate of the last server, which answers over TLS; `None` where none does."""
        self.kubelet: Kubelet | None = None
        self.interval = interval
        self.nvml = FakeNvml(folder, Scenario(h100s(gpus, utilization=60, power_mw=500_000)))
        self.ports = [free_port() for _ in range(servers)]
        if deployed:
            authority = trustme.CA()
            authority.cert_pem.write_to_path(folder / "ca.pem")
            self.certificate = folder / "server.pem"
            authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(self.certificate)
            (folder / "kubelet").mkdir()
            self.kubelet = Kubelet(folder / "kubelet" / "kubelet.sock")
        self.daemon = Daemon(folder, self._configuration(gpus), self.nvml.environment())
        self.peers = peers
        self.programs: dict[str, Program] = {}

    def _configuration(self, gpus: int) -> str:
        servers = ""
        for number, port in enumerate(self.ports):
            address, trust = f"http://127.0.0.1:{port}/metrics", ""
            if self.certificate is not None and port == self.ports[-1]:
                address = f"https://127.0.0.1:{port}/metrics"
                trust = f", metrics: {{ca_file: {self.folder / 'ca.pem'}}}"
            servers += f'\n  - {{name: vllm-{number}, url: "{address}", gpus: [{number % gpus}]{trust}}}'
        return (
            f"interval: {self.interval}s\nlimits: {{servers: 1000, models: 1000}}\n"
            "hardware:\n  - {rented: {dollars_per_gpu_hour: 2.50}}\n"
            f"servers:{servers or ' []'}\n"
        )

    def see_that_all_is_metered(self, page: Page) -> None:
        """Fail where a server or GPU is not read any more.

        Raises:
            RuntimeError: one is not.
        """
        if not self.all_metered(page):
            raise RuntimeError(f"not everything is read; see {self.daemon.log}")

    def all_metered(self, page: Page) -> bool:
        """Whether every server and GPU was read: a daemon that sees nothing is a small one."""
        return page.sum("inference_server_up") == len(self.ports) and page.sum("inference_gpu_up") > 0


@contextmanager
def host(
    folder: Path,
    *,
    gpus: int = 8,
    servers: int = 8,
    interval: int = 10,
    peers: bool = False,
    deployed: bool = False,
    page: Path = PAGE,
) -> Iterator[Host]:
    """All of it running, each server and GPU metered.

    `deployed` is as in a cluster: the last server answers over TLS, and there is a kubelet's socket.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = Host(folder, gpus, servers, interval, peers=peers, deployed=deployed)
    with ExitStack() as stack:
        replay = (
            sys.executable,
            str(ROOT / "tests/e2e/vllm_replay_server.py"),
            str(page),
            *(str(port) for port in made.ports[: -1 if deployed else None]),
            *([f"{made.ports[-1]}={made.certificate}"] if deployed else ()),
        )
        stack.enter_context(running(*replay, log=folder / "replay.log"))
        if made.kubelet is not None:
            made.kubelet.start()
            stack.callback(made.kubelet.stop)
            made.daemon.begin = partial(tmpfs.with_kubelet, made.kubelet.path.parent)
        for port in made.ports[: -1 if deployed else None]:
            until(lambda port=port: answers(port), PATIENCE, "a replayed server")
        if peers:
            for name, command, port in _peers(made):
                pid = stack.enter_context(
                    running(*command, log=folder / f"{name}.log", environment=made.nvml.environment())
                )
                until(lambda port=port: answers(port), PATIENCE, name)
                made.programs[name] = Program(name, pid, port)
        daemon = stack.enter_context(made.daemon)
        made.programs[OURS] = Program(OURS, daemon.pid, daemon.port)
        daemon.until(made.all_metered, "every GPU and server read", PATIENCE)
        yield made


def _peers(made: Host) -> Iterator[tuple[str, tuple[str, ...], int]]:
    port = free_port()
    if not PEER.exists():
        raise FileNotFoundError(f"{PEER}: run `tools/bench`, which installs it")
    nvitop = (str(PEER), "--bind-address", "127.0.0.1", "--port")
    yield NVITOP, (*nvitop, str(port)), port
    port = free_port()
    yield NVITOP_SLOWER, (*nvitop, str(port), "--interval", str(made.interval)), port
    port = free_port()
    node = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
    if node is None:
        raise FileNotFoundError("no node_exporter; on Debian: apt-get install prometheus-node-exporter")
    yield NODE, (node, f"--web.listen-address=127.0.0.1:{port}"), port
    exporter = shutil.which(NVIDIA_GPU)
    if exporter is None or shutil.which("fake-nvidia-smi") is None:
        print("nvidia_gpu_exporter and its cmd/fake-nvidia-smi are not on PATH: it is left out", flush=True)
        return
    port = free_port()
    nvidia_smi = made.folder / "nvidia-smi"
    nvidia_smi.write_text(NVIDIA_SMI.format(gpus=len(made.nvml.scenario.gpus)), encoding="utf-8")
    nvidia_smi.chmod(0o755)
    address = f"--web.listen-address=127.0.0.1:{port}"
    yield NVIDIA_GPU, (exporter, address, f"--nvidia-smi-command={nvidia_smi}"), port


@contextmanager
def running(*command: str, log: Path, environment: dict[str, str] | None = None) -> Iterator[int]:
    """A process in the background; its id."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
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
