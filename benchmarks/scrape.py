"""How long a scrape takes under 1, 10 and 100 scrapers: ours, nvitop-exporter and node_exporter on one host.

Scrapers keep their connections and ask for what Prometheus asks for. In each round all of them ask at the
same moment, and each answer is timed from the request, or the connection where it needs a new one, to the
answer's last byte. Rounds follow each other at once, so that some meet a tick. The client is one thread, so
that it takes little of what it measures.

Usage: python -m benchmarks.scrape, after `tools/bench` or `make e2e` has brought nvitop-exporter
"""

import selectors
import socket
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.host import NVITOP_SLOWER, OURS, host
from benchmarks.quiet import load_of_others
from benchmarks.results import Row, machine, table, write

SCRAPERS: Final = (1, 10, 100)
RUNS: Final = 5
MOST_ROUNDS: Final = 2000
LEAST_ROUNDS: Final = 3
SECONDS: Final = 5.0
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


class ScrapeAnswer:
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
            under_way: dict[int, ScrapeAnswer] = {}
            for number in range(scrapers):
                begun[number] = time.perf_counter()
                connection = connections[number] or socket.create_connection(("127.0.0.1", port))
                connections[number] = connection
                connection.sendall(REQUEST)
                selector.register(connection, selectors.EVENT_READ, number)
                under_way[number] = ScrapeAnswer()
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


def main() -> int:
    """Measure, print and write it down; 1 where ours takes more than its budget.

    The three take turns, so that what else this machine does meets all of them.
    """
    load = load_of_others()
    taken: dict[tuple[int, str], list[Latency]] = {}
    with tempfile.TemporaryDirectory() as folder, host(Path(folder), peers=True) as made:
        programs = {name: port for name, port in made.programs.items() if name != NVITOP_SLOWER}
        for _ in range(RUNS):
            for scrapers in SCRAPERS:
                for name, program in programs.items():
                    taken.setdefault((scrapers, name), []).append(latency(program.port, scrapers))
    rows = [
        Row(f"{scrapers} at once: {what}", name, unit, tuple(figure(one) for one in measured))
        for (scrapers, name), measured in taken.items()
        for what, unit, figure in (
            ("half take at most", "ms", lambda one: one.p50),
            ("99 of 100 take at most", "ms", lambda one: one.p99),
        )
    ]
    rows.sort(key=lambda row: (int(row.subject.split()[0]), "99" in row.subject, row.program != OURS))
    text = f"{machine()}; {RUNS} runs of {SECONDS:g} s.\n\n{table(rows, OURS, load)}"
    print(text)
    write("scrapes", text)
    return int(
        any(
            statistics.median(one.p99 for one in taken[scrapers, OURS]) > budget
            for scrapers, budget in BUDGET_MILLISECONDS.items()
        )
    )


if __name__ == "__main__":
    sys.exit(main())
