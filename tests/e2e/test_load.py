"""Load of a real server with four places: empty, a quarter, half, full, with a queue; and its preemptions.

Requests are requests open by answers that do not end while the test runs. The truth is how many were sent.
Seen with llama.cpp 7e4c0a9 and vLLM 0.32.0: 0, 1, 2, 4 and 6 requests are 0, 0.25, 0.5, 1 and 1, and 2 wait.
"""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, Page, until
from tests.e2e.engine import EngineServer
from tests.e2e.gpu_processes import compute
from tests.e2e.llama import Llama
from tests.e2e.vllm import Vllm
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s

SLOTS = 4
SENT = (0, 1, 2, 4, 6)
SECONDS = 60
"""Until a server has what was sent, or the daemon has read it; one or two are usual."""
PRICE, BUSY = 2.50, 0.40
CONFIG = f"""
interval: 1s
hardware: [{{rented: {{dollars_per_gpu_hour: {PRICE}}}}}]
"""

pytestmark = pytest.mark.timeout(600)


class FourPlaces(EngineServer):
    """A server that runs four requests at once, and answers longer than the test takes."""

    tokens: int

    def waiting(self, page: Page) -> float:
        """Requests in its queue."""
        raise NotImplementedError

    def preemptions(self, page: Page) -> list[float]:
        """How many it counted; nothing where its page has no such counter."""
        return page.matching("vllm:num_preemptions_total")

    def hold(self) -> socket.socket:
        """Send a request, and leave its answer unread."""
        request = {**self._request("hello world", self.tokens), "stream": True}
        body = json.dumps(request).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        connection = socket.create_connection((self.host, self.port), timeout=SECONDS)
        connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        return connection

    def holds(self, running: int, waiting: int) -> bool:
        """Whether it says itself that so many run and wait."""
        page = self.page()
        return (self.running(page), self.waiting(page)) == (running, waiting)


class FourSlots(FourPlaces, Llama):
    """Its `/props` has the number of slots. Shifting its context it never ends."""

    tokens = -1

    def command(self) -> list[str]:
        words = super().command()
        words[words.index("-np") + 1] = str(SLOTS)
        return [*words, "--context-shift"]

    def waiting(self, page: Page) -> float:
        return page.value("llamacpp:requests_deferred")


class FourSequences(FourPlaces, Vllm):
    """Its command line has the number of sequences."""

    tokens = 16_000

    def command(self) -> list[str]:
        return [*super().command(), "--max-num-seqs", str(SLOTS), "--max-model-len", "16384"]

    def waiting(self, page: Page) -> float:
        return page.sum("vllm:num_requests_waiting")


class ShortOfCache(FourSequences):
    """Four answers of 400 tokens need 16 blocks of the KV cache, and it has six."""

    tokens = 400

    def command(self) -> list[str]:
        return [*super().command(), "--max-model-len", "512", "--num-gpu-blocks-override", "6"]


FOUR: dict[type[EngineServer], type[FourPlaces]] = {Llama: FourSlots, Vllm: FourSequences}
SHORT: dict[type[EngineServer], type[FourPlaces]] = {Llama: FourSlots, Vllm: ShortOfCache}


@pytest.fixture
def host(tmp_path: Path) -> FakeNvml:
    """One H100, 40 % busy at all times."""
    return FakeNvml(tmp_path, Scenario(h100s(1, utilization=round(100 * BUSY))))


@pytest.fixture
def server(
    request: pytest.FixtureRequest, tmp_path: Path, host: FakeNvml, engine: type[EngineServer]
) -> Iterator[FourPlaces]:
    """The server of the test's kind, found by its process on the GPU."""
    with request.param[engine](tmp_path / "server.log") as started:
        compute(host, started.process.pid)
        yield started


def read(daemon: Daemon, server: FourPlaces, running: int, waiting: int) -> Page:
    """The first page of the daemon with so many at work and in the queue, once the server has them."""
    expected = f"{running} at work and {waiting} in the queue"
    until(lambda: server.holds(running, waiting), SECONDS, expected)

    def has(page: Page) -> bool:
        states = [page.matching(f"inference_server_requests_{state}") for state in ("running", "waiting")]
        return states == [[running], [waiting]]

    return daemon.until(has, f"{expected}, see {daemon.log}", SECONDS)


@pytest.mark.parametrize("server", [FOUR], indirect=True, ids=["four-places"])
def test_load_is_what_was_sent_over_the_places(
    tmp_path: Path, host: FakeNvml, server: FourPlaces, measured: Callable[[str], None]
) -> None:
    """The ratio, the queue and the dollars of both while 0, 1, 2, 4 and 6 requests are there, then 0."""
    ratios: list[str] = []
    with Daemon(tmp_path, CONFIG, host.environment()) as daemon, ExitStack() as requests:
        for before, sent in pairwise((0, *SENT, 0)):
            for _ in range(sent - before):
                requests.enter_context(server.hold())
            if sent < before:
                requests.close()
            running, waiting = min(sent, SLOTS), max(0, sent - SLOTS)
            page = read(daemon, server, running, waiting)

            ratio = page.value("inference_server_load_ratio", limit="sequences")
            load = 1.0 if waiting else max(page.matching("inference_server_load_ratio"))
            assert ratio == pytest.approx(running / SLOTS, rel=0.1)
            assert page.value("inference_server_load_dollars_per_hour") == pytest.approx(PRICE * load)
            headroom = page.value("inference_server_headroom_dollars_per_hour")
            assert headroom == pytest.approx(PRICE * BUSY * (1 - load))
            ratios.append(f"{sent} sent: {ratio:.2f}, {waiting} waiting")
    measured(f"load of {type(server).__name__}: {'; '.join(ratios)}")


@pytest.mark.parametrize("server", [SHORT], indirect=True, ids=["short-of-cache"])
def test_preemptions_are_those_that_the_server_counts(
    tmp_path: Path, host: FakeNvml, server: FourPlaces, measured: Callable[[str], None]
) -> None:
    """Four answers that the KV cache cannot hold together. A server that counts none has no series."""
    with Daemon(tmp_path, CONFIG, host.environment()) as daemon, ExitStack() as requests:
        daemon.until(lambda page: page.matching("inference_server_requests_running") == [0], "a first read")
        for _ in range(SLOTS):
            requests.enter_context(server.hold())
        if server.preemptions(server.page()):
            until(lambda: server.preemptions(server.page()) > [0], SECONDS, "a preemption")
        requests.close()
        read(daemon, server, 0, 0)

        expected = server.preemptions(server.page())
        page = daemon.settled()
        assert page.matching("inference_server_preemptions_total") == expected
    measured(f"preemptions of {type(server).__name__}: {expected}")
