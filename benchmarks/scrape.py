"""How long a scrape takes under 1, 10 and 100 scrapers: ours, nvitop-exporter and node_exporter on one host.

Scrapers keep their connections and ask for what Prometheus asks for. In each round all of them ask at the
same moment, and each answer is timed from the request, or the connection where it needs a new one, to the
answer's last byte. Rounds follow each other at once, so that some meet a tick. The client is one thread, so
that it takes little of what it measures.

Usage: python -m benchmarks.scrape, after `make e2e` has brought nvitop-exporter
"""

import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.e2e.daemon import ROOT, Daemon, free_port, until
from tests.e2e.test_footprint import PAGE, SERVERS, all_metered, answers, configuration
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s

SCRAPERS: Final = (1, 10, 100)
MOST_ROUNDS: Final = 2000
LEAST_ROUNDS: Final = 3
SECONDS: Final = 15.0
"""How long one measurement goes on."""

BUDGET_MILLISECONDS: Final = {1: 5.0, 100: 50.0}
"""The most that 99 of 100 scrapes of ours may take."""

REQUEST: Final = (
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Prometheus/3\r\n"
    b"Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1\r\n"
    b"Accept-Encoding: gzip\r\n\r\n"
)
PATIENCE_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Latency:
    """Milliseconds that 50 and 99 of 100 scrapes took at most, and bytes of a whole answer."""

    p50: float
    p99: float
    size: int


class Answer:
    """One answer, until it is whole; by its length, in chunks, or until the server closes."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def takes(self, chunk: bytes) -> bool:
        """Whether the answer is whole with this."""
        self._bytes += chunk
        head, gap, body = self._bytes.partition(b"\r\n\r\n")
        if not gap:
            return not chunk
        fields = dict(line.lower().split(b": ", 1) for line in bytes(head).split(b"\r\n")[1:])
        if b"content-length" in fields:
            return len(body) >= int(fields[b"content-length"])
        if b"chunked" in fields.get(b"transfer-encoding", b""):
            return body.endswith(b"0\r\n\r\n")
        return not chunk

    @property
    def size(self) -> int:
        """In bytes, with its head."""
        return len(self._bytes)

    @property
    def closes(self) -> bool:
        """Whether the connection ends with it: HTTP/1.0, or said so."""
        head = bytes(self._bytes.partition(b"\r\n\r\n")[0]).lower()
        return head.startswith(b"http/1.0") or b"connection: close" in head


def latency(port: int, scrapers: int, seconds: float = SECONDS) -> Latency:
    """Ask again and again with so many at once.

    Raises:
        TimeoutError: an answer did not come.
    """
    taken: list[float] = []
    size = 0
    connections: list[socket.socket | None] = [None] * scrapers
    with selectors.DefaultSelector() as selector:
        deadline = time.monotonic() + seconds
        for number_of_round in range(MOST_ROUNDS):
            if number_of_round >= LEAST_ROUNDS and time.monotonic() > deadline:
                break
            begun: dict[int, float] = {}
            under_way: dict[int, Answer] = {}
            for number in range(scrapers):
                begun[number] = time.perf_counter()
                connection = connections[number] or socket.create_connection(("127.0.0.1", port))
                connections[number] = connection
                connection.sendall(REQUEST)
                selector.register(connection, selectors.EVENT_READ, number)
                under_way[number] = Answer()
            while under_way:
                ready = selector.select(PATIENCE_SECONDS)
                if not ready:
                    raise TimeoutError(f"{len(under_way)} of {scrapers} answers did not come")
                for key, _ in ready:
                    number, answer = key.data, under_way[key.data]
                    connection = key.fileobj
                    if answer.takes(connection.recv(2**18)):
                        taken.append((time.perf_counter() - begun[number]) * 1000)
                        size = answer.size
                        selector.unregister(connection)
                        del under_way[number]
                        if answer.closes:
                            connection.close()
                            connections[number] = None
    for connection in filter(None, connections):
        connection.close()
    cuts = statistics.quantiles(taken, n=100, method="inclusive")
    return Latency(cuts[49], cuts[98], size)


@contextmanager
def background(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    """A process beside ours."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


@contextmanager
def exporters(folder: Path) -> Iterator[dict[str, int]]:
    """The three on one host of 8 GPUs and 8 vLLM servers, by name and port, once all of them answer."""
    host = FakeNvml(folder, Scenario(h100s(SERVERS, utilization=60, power_mw=500_000)))
    ports, nvitop, node = [free_port() for _ in range(SERVERS)], free_port(), free_port()
    replay = [sys.executable, str(ROOT / "tests/e2e/replay.py"), str(PAGE), *map(str, ports)]
    peers = {
        "nvitop-exporter": (
            nvitop,
            [str(ROOT / ".cache/peers/bin/nvitop-exporter"), "--bind-address=127.0.0.1", f"--port={nvitop}"],
        ),
        "node_exporter": (node, ["prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{node}"]),
    }
    with ExitStack() as stack:
        stack.enter_context(background(replay, {}, folder / "replay.log"))
        for port in ports:
            until(lambda port=port: answers(port), 20, "a replayed server")
        for name, (_, command) in peers.items():
            stack.enter_context(background(command, host.environment(), folder / f"{name}.log"))
        daemon = stack.enter_context(Daemon(folder, configuration(ports), host.environment()))
        daemon.until(all_metered, "all GPUs and servers read", 60)
        for name, (port, _) in peers.items():
            until(lambda port=port: answers(port), 60, name)
        yield {"inference-cost-exporter": daemon.port, **{name: port for name, (port, _) in peers.items()}}


def main() -> int:
    """Print a table; returns 1 where ours takes more than its budget."""
    over = False
    print("| exporter | scrapers | p50 | p99 | bytes |")
    print("|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder, exporters(Path(folder)) as found:
        for name, port in found.items():
            for scrapers in SCRAPERS:
                measured = latency(port, scrapers)
                print(
                    f"| {name} | {scrapers} | {measured.p50:.2f} ms | {measured.p99:.2f} ms "
                    f"| {measured.size:,} |",
                    flush=True,
                )
                if name == "inference-cost-exporter":
                    over |= measured.p99 > BUDGET_MILLISECONDS.get(scrapers, float("inf"))
    return int(over)


if __name__ == "__main__":
    sys.exit(main())
