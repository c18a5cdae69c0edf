"""The path of a token: from a server's page to `/metrics`, form by form and call by call."""

import http.server
import inspect
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Self

import pytest

import exporter
from exporter.clock import SystemClock
from exporter.engines import ENGINES, interpret, read, wanted
from exporter.ledger.ledger import Ledger
from exporter.metrics.exposition import TEXT, Exposition, Variant
from exporter.metrics.metric import keyed
from exporter.metrics.table import METRICS
from exporter.readings import ServerKey, ServerReading
from exporter.report import Build
from exporter.sampler.frame_reader import FrameReader
from exporter.sampler.sampler import Sampler
from exporter.sources.gather import Gatherer
from exporter.sources.server import ServerSource, Target, shared_client
from exporter.units import NANOSECONDS_PER_SECOND
from tests.kit.clock import START, ManualClock
from tests.sampler.sampler_fixture import TICK, FakeEndpoint, FakeNvmlSource, FakeProcessMetrics, inline, plan

PAGE = """\
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{{model_name="llama",engine="0"}} {count}
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{{model_name="llama",engine="0"}} 0
"""

SOURCE_STEPS = [
    "ServerSource.read",
    "ServerSource._metrics_page",
    "EndpointSession.get",
    "HttpClient.request",
]
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
    """From the socket up: the client, the session, the source; then the gatherer's thread."""
    calls: list[list[str]] = []
    connect = socket.create_connection
    monkeypatch.setattr(
        socket, "create_connection", lambda *options: RecordingSocket(connect(*options), calls)
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


FORMS = (
    "bytes",
    "engines.exposition.Sample",
    "readings.serving.CounterReading",
    "cost.page_marks.MarkedPage",
    "cost.page_marks.PageComparison",
    "cost.counters.EndpointTick",
    "cost.split.ModelDelta",
    "cost.postings.TokenPosting",
    "ledger.totals.Counters",
    "report.CommittedTotals",
    "metrics.metric.Row",
    "prometheus_client.samples.Sample",
)
"""Types that have the count itself, from the page of a server to the series, as `docs/architecture.md` has.

A record that has such a record, as a frame or a report does, carries a form and is none.
"""

ASIDE = {
    "cost.page_marks.PageMarks": "marks of the next page",
    "cost.state.ModelState": "trailing sums of the split",
    "cost.split.PhaseSplit": "trailing sums of the split",
    "ledger.token_times.TokenTime": "sums of minutes and days",
    "ledger.totals.MinuteSums": "sums of minutes",
    "ledger.totals.Change": "values that a commit writes",
    "ledger.history.HistorySums": "history of hours, which the page draws",
    "report.RecentHistory": "sums of hours, which the page draws",
}
"""Types that have the count beside its path, and for what."""

COUNT = 79193
"""Tokens of the tick that is followed. No other number of it is the same."""


def holds_count(value: Any) -> bool:
    """Whether a value is the count, or a collection or text that has it."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return value == COUNT
    if isinstance(value, bytes):
        return str(COUNT).encode() in value
    if isinstance(value, dict):
        return any(map(holds_count, value.values()))
    return type(value) in {list, tuple} and any(map(holds_count, value))


def own_values(record: object) -> list[Any]:
    """The values of a record's fields."""
    if isinstance(record, tuple):
        return list(record)
    names = getattr(type(record), "__slots__", None) or vars(record)
    return [getattr(record, name, None) for name in names]


def records(value: Any, depth: int = 6) -> Iterator[object]:
    """Records in a value: itself, its fields, and theirs."""
    if depth == 0:
        return
    if isinstance(value, dict) or type(value) in {list, tuple}:
        for item in value.values() if isinstance(value, dict) else value:
            yield from records(item, depth - 1)
    elif type(value).__module__.partition(".")[0] in {"exporter", "prometheus_client"}:
        yield value
        for field in own_values(value):
            yield from records(field, depth - 1)


class PageEndpoint(FakeEndpoint):
    """An endpoint that answers with a page of vLLM."""

    count = 0

    def read(self) -> ServerReading:
        engine = ENGINES["vllm"]
        page = read(PAGE.format(count=self.count).encode(), wanted(engine))
        counters = interpret(engine, page).counters
        return ServerReading(self.key, self.url, up=True, engine="vllm", counters=counters)


def test_the_forms_of_a_token_from_page_to_series() -> None:
    """Every function's result is searched for the count, from the read of the page to the page of metrics."""
    forms: dict[str, None] = {}

    def profile(frame: FrameType, event: str, result: Any) -> None:
        if event == "call" and frame.f_code is read.__code__ and holds_count(frame.f_locals["page"]):
            forms.setdefault("bytes")
        if event != "return" or not frame.f_code.co_filename.startswith(PACKAGE):
            return
        if frame.f_code is keyed.__code__ and holds_count(result):
            forms.setdefault("metrics.metric.Row")
        for record in records(result):
            if any(map(holds_count, own_values(record))):
                kind = type(record)
                forms.setdefault(f"{kind.__module__}.{kind.__qualname__}".removeprefix("exporter."))

    clock = ManualClock(START)
    endpoint, ledger = PageEndpoint(), Ledger.open(None, clock)
    sampler = Sampler(
        clock,
        FrameReader(clock, inline(clock), (FakeNvmlSource(),)),
        ledger,
        FakeProcessMetrics(),
        plan(endpoint),
    )
    sampler.tick()
    clock.now += TICK
    endpoint.count = COUNT
    exposition = Exposition(
        Build("0", "", "3"), [metric for metric in METRICS if metric.name == "inference_tokens_total"]
    )
    sys.setprofile(profile)
    try:
        page = exposition.render(sampler.tick(), Variant(TEXT, gzip=False), stale=False)
    finally:
        sys.setprofile(None)
    assert [line for line in page.splitlines() if line.endswith(f" {COUNT}.0".encode())]
    assert tuple(form for form in forms if form not in ASIDE) == FORMS
    assert ASIDE.keys() <= forms.keys()
