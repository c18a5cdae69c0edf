"""The path of a token: from a server's page to `/metrics`, form by form and call by call.

The ledger's totals, the committed totals of a report and the rows of a metric come after it.
"""

import http.server
import inspect
import socket
import threading
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

import exporter
from exporter.clock import SystemClock
from exporter.cost.counters import endpoint_deltas
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import TokenPosting
from exporter.cost.servers import ServerDelta, advance, collect_deltas
from exporter.cost.split import ModelDelta
from exporter.cost.state import State
from exporter.engines import ENGINES, Page, interpret, read, wanted
from exporter.readings import CounterReading, Frame, ServerKey, ServerReading
from exporter.sources import http_client
from exporter.sources.gather import Gatherer
from exporter.sources.server import ServerSource, Target, shared_client
from exporter.tariff.tariff import Tariff
from exporter.units import NANOSECONDS_PER_SECOND

PAGE = """\
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{{model_name="llama",engine="0"}} {count}
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{{model_name="llama",engine="0"}} 0
"""

SOURCE_STEPS = ["ServerSource.read", "Fetcher.get", "HttpClient.request"]
"""Calls from the source of a server to the socket."""

WORKER_CALLS_MAX = 8
"""Calls of the worker's thread before the first byte, from its start to the socket."""

PACKAGE = str(Path(exporter.__file__).parent)


class PageHandler(http.server.BaseHTTPRequestHandler):
    """Answers every request with one vLLM page."""

    def do_GET(self) -> None:
        body = PAGE.format(count=7).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@pytest.fixture
def url() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), PageHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/metrics"
    server.shutdown()
    thread.join()
    server.server_close()


def our_frames() -> list[str]:
    """Functions of the package on the stack, outermost first."""
    return [
        frame.f_code.co_qualname
        for frame, _ in traceback.walk_stack(inspect.currentframe())
        if frame.f_code.co_filename.startswith(PACKAGE)
    ][::-1]


class RecordingSocket:
    """A socket that records the calls of ours at its first receive."""

    def __init__(self, real: socket.socket, calls: list[list[str]]) -> None:
        self._real = real
        self._calls = calls

    def recv(self, size: int) -> bytes:
        self._calls.append(our_frames())
        return self._real.recv(size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._real.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def test_the_calls_before_the_first_byte(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the socket up: the client, the fetcher, the source; then the gatherer's thread."""
    calls: list[list[str]] = []
    connect = http_client._connection
    monkeypatch.setattr(
        http_client, "_connection", lambda *options: RecordingSocket(connect(*options), calls)
    )
    clock = SystemClock()
    source = ServerSource(Target(ServerKey("", "chat"), url, "vllm"), shared_client(), clock)
    gatherer = Gatherer(clock, 5 * NANOSECONDS_PER_SECOND)
    try:
        (gathered,) = gatherer([source])
    finally:
        gatherer.close()
        source.close()
    assert gathered.health.up, gathered.problem
    assert calls[0][-len(SOURCE_STEPS) :] == SOURCE_STEPS
    assert len(calls[0]) <= WORKER_CALLS_MAX, calls[0]


def test_the_forms_of_a_token_from_page_to_posting() -> None:
    """Bytes, page, counter, server reading, endpoint deltas, model and server delta, posting."""
    key, engine, policy = ServerKey("", "chat"), ENGINES["vllm"], CostPolicy(Tariff("host-1", (), ()))
    state = State()
    for tick, count in enumerate((100, 107), start=1):
        page = read(PAGE.format(count=count).encode(), wanted(engine))
        assert type(page) is Page
        interpretation = interpret(engine, page)
        assert {type(counter) for counter in interpretation.counters} == {CounterReading}
        reading = ServerReading(key, "http://chat", up=True, counters=interpretation.counters)
        frame = Frame(tick * NANOSECONDS_PER_SECOND, tick * NANOSECONDS_PER_SECOND, (), (reading,))
        before = state.endpoints.get(reading.url)
        endpoint = endpoint_deltas(before, reading, frame.wall)
        (server,) = collect_deltas(state, frame, policy.limits).servers
        assert type(server) is ServerDelta
        assert type(server.models["llama"] if tick > 1 else ModelDelta({})) is ModelDelta
        outcome = advance(state, frame, NANOSECONDS_PER_SECOND, policy)
        state = replace(state, endpoints=outcome.endpoints, servers=outcome.servers)
    assert endpoint.deltas["llama", "prompt"] == 7.0
    assert server.models["llama"].tokens["prompt"] == 7
    posted = {type(posting): posting for posting in outcome.tokens if posting.kind == "prompt"}
    assert list(posted) == [TokenPosting]
    assert posted[TokenPosting].count == 7
