"""The exporter as a process of its own, and what it says to whoever scrapes it."""

import contextlib
import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]
POLL_SECONDS = 0.1
PORTS = range(12_000, 32_000)
SHARES = 16
"""Of the ports, one for each process of `pytest -n`."""

given: set[int] = set()
"""Ports that this process has handed out."""

NO_CLOUD = "discovery: {cloud: off}\n"
"""Added to each configuration: tests may run on a machine of a cloud, and ask nobody beyond loopback."""

Result = TypeVar("Result")


def until(
    probe: Callable[[], Result | None], seconds: float, what: str, pause: float = POLL_SECONDS
) -> Result:
    """The first answer that is true; fails when there is none in time.

    Raises:
        TimeoutError: nothing came; the message says what was waited for.
    """
    never = threading.Event()
    deadline = time.monotonic() + seconds
    while True:
        if result := probe():
            return result
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        never.wait(pause)


def free_port() -> int:
    """A port of loopback that nothing listens on now, below those that the kernel gives to clients.

    None is given twice in a run of tests: a program may listen on it late, or stop and start again.
    """
    share = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % SHARES
    while True:
        port = secrets.choice(PORTS[share::SHARES])
        if port in given:
            continue
        given.add(port)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


def get(
    port: int, path: str, *, method: str = "GET", seconds: float = 10, host: str = "127.0.0.1"
) -> tuple[int, bytes]:
    """Status and body of one request, to loopback unless told."""
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@lru_cache(maxsize=8)
def rows_of(body: bytes) -> Mapping[str, Sequence[tuple[Mapping[str, str], float]]]:
    """The samples of a page by name. A page of the same tick is the same: whoever polls parses it once."""
    rows: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            rows.setdefault(sample.name, []).append((sample.labels, sample.value))
    return rows


class Page:
    """One scrape, parsed by Prometheus' own client and not by ours."""

    def __init__(self, body: bytes, taken: float) -> None:
        self.body = body
        self.taken = taken
        """Wall clock of the scrape."""
        self.rows = rows_of(body)

    def matching(self, name: str, **labels: str) -> list[float]:
        """Values of the series that carry these labels, and any others."""
        return [value for have, value in self.rows.get(name, ()) if labels.items() <= have.items()]

    def sum(self, name: str, **labels: str) -> float:
        """Sum over the series that carry these labels; 0 without any."""
        return sum(self.matching(name, **labels))

    def value(self, name: str, **labels: str) -> float:
        """The only series that carries these labels."""
        (value,) = self.matching(name, **labels)
        return value

    @property
    def tick(self) -> float:
        """Wall clock of the tick that this page tells of, in seconds."""
        return self.value("inference_last_tick_timestamp_seconds")

    def tokens(self, server: str) -> dict[str, int]:
        """Tokens of one server by kind; exact, since a float holds integers up to 2**53."""
        counted: dict[str, int] = {}
        for labels, value in self.rows.get("inference_tokens_total", ()):
            if labels["server"] == server:
                assert value == int(value)
                counted[labels["kind"]] = counted.get(labels["kind"], 0) + int(value)
        return counted


class Daemon:
    """One installation: a configuration, a ledger and a port, which outlive the process."""

    def __init__(self, folder: Path, config: str, environment: Mapping[str, str]) -> None:
        self.port = free_port()
        self.config = folder / "config.yaml"
        self.ledger = folder / "ledger.db"
        self.log = folder / "daemon.log"
        self.environment = {**os.environ, **environment}
        self.begin: Callable[..., list[str]] = lambda *argv: [*argv]
        """Makes the command of what would be run: in a namespace, or with fewer rights."""
        self.process: subprocess.Popen[bytes] | None = None
        self.pages: list[Page] = []
        """Every scrape that was taken, in order."""
        self.config.write_text(config + NO_CLOUD, encoding="utf-8")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self.process is not None
        return self.process.pid

    def spawn(self, port: int | None = None) -> "subprocess.Popen[bytes]":
        """Start one process of this installation, and do not wait for it."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.begin(
                    *(sys.executable, "-m", "exporter", "serve"),
                    *("--config.file", str(self.config)),
                    *("--web.listen-address", f"127.0.0.1:{port or self.port}"),
                    *("--ledger.path", str(self.ledger)),
                ),
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def start(self, seconds: float = 90) -> None:
        """Start, and wait until one tick has been taken.

        Raises:
            TimeoutError: it did not become ready; the message holds its log.
        """
        self.process = self.spawn()
        self.until_ready(seconds)

    def until_ready(self, seconds: float = 90) -> None:
        """Wait until one tick has been taken.

        Raises:
            TimeoutError: it did not become ready; the message holds its log.
        """
        try:
            until(self._ready, seconds, "ready")
        except (TimeoutError, ChildProcessError) as error:
            raise TimeoutError(f"{error}\n{self.log.read_text(encoding='utf-8')}") from None

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise ChildProcessError(f"exit status {self.process.returncode}")
        return self.status("/-/ready") == http.client.OK

    def status(self, path: str) -> int | None:
        """Status of one path; `None` while nothing answers."""
        try:
            return get(self.port, path)[0]
        except OSError:
            return None

    def scrape(self) -> Page:
        """One scrape."""
        taken = time.time()
        status, body = get(self.port, "/metrics")
        assert status == http.client.OK
        self.pages.append(Page(body, taken))
        return self.pages[-1]

    def until(
        self,
        true: Callable[[Page], bool],
        what: str,
        seconds: float = 60,
        pause: float = POLL_SECONDS,
    ) -> Page:
        """The first scrape of which something is true."""

        def probe() -> Page | None:
            page = self.scrape()
            return page if true(page) else None

        return until(probe, seconds, what, pause)

    def settled(self, seconds: float = 60) -> Page:
        """A scrape of a tick that began after this call: two ticks later, since one may be under way."""
        before = self.scrape().tick
        first = self.until(lambda page: page.tick > before, "a tick", seconds).tick
        return self.until(lambda page: page.tick > first, "a second tick", seconds)

    def reload(self, config: str) -> int:
        """Change the configuration of the running daemon; returns the status of the answer."""
        self.config.write_text(config + NO_CLOUD, encoding="utf-8")

        def answered() -> int | None:
            status = get(self.port, "/-/reload", method="POST")[0]
            return None if status == http.client.TOO_MANY_REQUESTS else status

        return until(answered, 30, "a reload, of which there is one a second")

    def run_verb(self, *arguments: str) -> str:
        """What a verb says of this installation's ledger, beside the daemon.

        Raises:
            subprocess.CalledProcessError: it did not end well.
        """
        done = subprocess.run(
            [sys.executable, "-m", "exporter", *arguments, f"--ledger.path={self.ledger}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def close(self) -> None:
        """End the process, if one runs."""
        self.kill()

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory runs out."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)
            self.process = None

    def terminate(self, seconds: float = 5) -> int:
        """SIGTERM, as a supervisor does; returns the exit status.

        Time in which it could have run, and others were at the processors, is none of its own.

        Raises:
            TimeoutError: it took longer.
        """
        process, began, before, waited = self.process, time.monotonic(), self._waited(), 0.0
        assert process is not None
        process.send_signal(signal.SIGTERM)
        while (status := process.poll()) is None:
            waited = max(waited, self._waited() - before)
            if time.monotonic() - began - waited > seconds:
                raise TimeoutError(
                    f"not ended {seconds} s after SIGTERM and {waited:.1f} s of waiting its turn"
                )
            threading.Event().wait(0.02)
        self.process = None
        return status

    def _waited(self) -> float:
        """Seconds that its main thread waited for a processor, where the kernel tells (sched-stats.rst)."""
        try:
            _, waited, _ = Path(f"/proc/{self.pid}/schedstat").read_text(encoding="ascii").split()
        except OSError:
            return 0
        return int(waited) / 10**9
