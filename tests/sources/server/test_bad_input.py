"""Servers that answer badly, on real sockets, with the whole pipeline behind: what a bad read costs.

Each is read between two good reads, by a sampler on a host of one GPU at 3.60 dollars an hour: a cent a tick.
"""

import gzip
import re
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from exporter.clock import SystemClock
from exporter.readings import ReadFailedError, ServerKey
from exporter.report import Report
from exporter.sampler.frame_reader import FrameReader
from exporter.sampler.sampler import Sampler
from exporter.sources.http_client import RATIO_FREE, RATIO_MAX, HttpClientProtocol
from exporter.sources.server import ServerSource, Target
from exporter.sources.server.source import BODY_BYTES_MAX
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds
from tests.kit.clock import ManualClock
from tests.kit.units import CENT
from tests.sampler.sampler_fixture import (
    FakeEndpoint,
    FakeLedger,
    FakeNvmlSource,
    FakeProcessMetrics,
    SamplerFixture,
    inline,
    plan,
)

Serve = Callable[..., int]

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"
GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
NEVER = 1_000_000


def page(generation: object, *more: bytes, prompt: object = 50) -> bytes:
    """A page of vLLM's, with more lines where they are given."""
    lines = (
        b"process_start_time_seconds 1.5e9\n"
        b'vllm:num_requests_running{model_name="m"} 1\n'
        b'vllm:prompt_tokens_total{model_name="m"} %b\n'
        b'vllm:generation_tokens_total{model_name="m"} %b\n'
    )
    return lines % (str(prompt).encode(), str(generation).encode()) + b"".join(more)


@dataclass
class Answer:
    """What a connection is answered with: pieces, then another again and again until the reader hangs up."""

    pieces: tuple[bytes, ...]
    again: bytes = b""
    pause: float = 0
    times: int = NEVER

    def __call__(self, connection: socket.socket, stop: threading.Event) -> None:
        for piece in self.pieces:
            connection.sendall(piece)
        for _ in range(self.times if self.again else 0):
            if stop.wait(self.pause):
                return
            connection.sendall(self.again)


@dataclass
class Rig:
    """A host whose only server is read over a socket."""

    fixture: SamplerFixture
    source: ServerSource
    answer: Answer

    def tick(self, *pieces: bytes) -> Report:
        self.answer = Answer(pieces)
        return self.fixture.tick()

    def errors(self) -> dict[str, int]:
        report = self.fixture.sampler.current()
        assert report is not None
        return next(dict(row.errors) for row in report.sources if row.source == "server:chat")

    def tokens(self, kind: str = "generation") -> dict[str, int]:
        """Tokens by model since the beginning."""
        counts: dict[str, int] = {}
        for postings in self.fixture.ledger.posted:
            for tokens in postings.tokens:
                if tokens.kind == kind:
                    counts[tokens.owner.model] = counts.get(tokens.owner.model, 0) + tokens.count
        return counts

    def paid(self) -> dict[str, int]:
        """Picodollars of the GPU by server since the beginning."""
        paid: dict[str, int] = {}
        for postings in self.fixture.ledger.posted:
            for segment in postings.segments:
                for money in segment.money:
                    paid[money.owner_phase.owner.server] = (
                        paid.get(money.owner_phase.owner.server, 0) + money.amount
                    )
        return paid


@pytest.fixture
def rig(serve: Serve, real_client: HttpClientProtocol) -> Iterator[Rig]:
    def script(connection: socket.socket, stop: threading.Event) -> None:
        made.answer(connection, stop)

    port = serve(script)
    source = ServerSource(
        Target(ServerKey("", "chat"), f"http://127.0.0.1:{port}/metrics", "vllm"),
        real_client,
        SystemClock(),
        timeout=30.0,
    )
    clock, nvml, endpoint, ledger = ManualClock(), FakeNvmlSource(), FakeEndpoint(), FakeLedger()
    sampler = Sampler(
        clock, FrameReader(clock, inline(clock), (nvml,)), ledger, FakeProcessMetrics(), plan(source)
    )
    made = Rig(SamplerFixture(clock, nvml, endpoint, ledger, sampler), source, Answer(()))
    yield made
    source.close()


MEGABYTE = b'vllm:e2e_request_latency_seconds_bucket{le="1",model_name="m"} 1\n' * 16_000
HTML = b"<!DOCTYPE html><html><body>vllm:prompt_tokens_total 5</body></html>"
BOMB = gzip.compress(bytes(100_000_000), 1)
LINES = b"".join(b"# %d\n" % number for number in range(60_000))
LARGE = gzip.compress(LINES * 18, 1)  # 9 MB of page; gzip looks back 32 kB, and finds none of it again
PACKED = gzip.compress(page(200))
MODELS = [b'vllm:generation_tokens_total{model_name="m%d"} 1\n' % number for number in range(20_000)]


def answers(*pieces: bytes, start: bytes = b"200 OK\r\nContent-Encoding: gzip") -> Answer:
    return Answer((b"HTTP/1.1 " + start + b"\r\n\r\n", *pieces))


REFUSED = {
    "a page of 100 MB": (Answer((OK,), MEGABYTE, times=100), "too_large", "larger than 8388608 bytes"),
    "a gzip bomb": (answers(BOMB), "too_large", "gzip that expands to more than 100 times its size"),
    "large in gzip": (answers(LARGE), "too_large", "larger than 8388608 bytes"),
    "large gzip": (answers(bytes(9_000_000)), "encoding", "not gzip: Error -3 while decompressing data: .*"),
    "gzip that is none": (answers(page(200)), "encoding", "not gzip: Error -3 while decompressing data: .*"),
    "half of gzip": (answers(PACKED[:-9]), "encoding", "its gzip ends too early"),
    "nothing in gzip": (answers(), "encoding", "its gzip ends too early"),
    "gzip with a damaged end": (
        answers(PACKED[:-1] + b"\xff"),
        "encoding",
        "not gzip: Error -3 while decompressing data: incorrect length check",
    ),
    "gzip with more behind": (answers(PACKED, b"more"), "encoding", "more after the end of its gzip"),
    "another compression": (
        answers(page(200), start=b"200 OK\r\nContent-Encoding: br"),
        "encoding",
        "content encoding 'br' was not asked for",
    ),
    "a byte order mark": (
        answers(b"\xef\xbb\xbf", page(200), start=b"200 OK"),
        "encoding",
        "begins with a byte order mark",
    ),
    "HTML with status 200": (
        answers(HTML, start=b"200 OK"),
        "no_tokens",
        "no counter of tokens that vllm has",
    ),
    "a redirect to another host": (
        answers(start=b"302 Found\r\nLocation: http://localhost/metrics"),
        "redirect",
        "answers with HTTP status 302",
    ),
    "half of a page": (
        answers(page(200), start=b"200 OK\r\nContent-Length: 9999"),
        "connection",
        "peer closed connection without sending complete message body .*",
    ),
    "more series than an engine has": (
        answers(page(200), *MODELS, start=b"200 OK"),
        "too_large",
        "more series than an engine has",
    ),
}


@pytest.mark.parametrize(("answer", "reason", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_page_that_is_refused_is_counted_and_costs_nothing(
    rig: Rig, caplog: pytest.LogCaptureFixture, answer: Answer, reason: str, words: str
) -> None:
    """The server pays for its GPU meanwhile, and the tokens it served come with the next good read."""
    rig.tick(OK, page(100))
    rig.answer = answer
    report = rig.fixture.tick()
    assert [server.up for server in report.servers] == [False]
    assert rig.errors() == {reason: 1}
    [problem] = [vars(record)["problem"] for record in caplog.records if record.message == "source failed"]
    assert re.fullmatch(re.escape(f"{rig.source.url}: ") + words, problem)
    report = rig.tick(OK, page(400))

    assert [server.up for server in report.servers] == [True]
    assert rig.errors() == {reason: 1}
    assert rig.tokens() == {"m": 300}
    assert rig.paid() == {"chat": 2 * CENT}


class LookedAtClock(SystemClock):
    """Each look at it takes a second more, on a busy machine as on a quiet one."""

    def __init__(self) -> None:
        self._looks = 0

    def elapsed(self) -> Nanoseconds:
        self._looks += 1
        return super().elapsed() + self._looks * NANOSECONDS_PER_SECOND


def test_a_server_that_sends_a_byte_now_and_then_is_given_up(
    rig: Rig, real_client: HttpClientProtocol
) -> None:
    """One deadline for all of it: a byte a second would be read for hours."""
    slow = Answer((OK,), b"#", pause=0.02)
    hurried = ServerSource(
        Target(ServerKey("", "chat"), rig.source.url, "vllm"), real_client, LookedAtClock(), timeout=40
    )
    rig.fixture.sampler.set_plan(plan(hurried))
    rig.tick(OK, page(100))
    rig.answer = slow
    rig.fixture.tick()
    assert rig.errors() == {"timeout": 1}
    rig.tick(OK, page(400))
    assert (rig.tokens(), rig.paid()) == ({"m": 300}, {"chat": 2 * CENT})


READ = {
    "a label value of 1 MB": (
        b'vllm:generation_tokens_total{model_name="%b"} 9\n' % (b"y" * 1_000_000),
        "malformed",
    ),
    "a line that breaks off": (b'vllm:generation_tokens_total{model_name="n', "malformed"),
    "a duplicate series": (b'vllm:generation_tokens_total{model_name="m"} 900\n', "duplicate"),
    "a counter of 1e300": (b'vllm:generation_tokens_total{model_name="n"} 1e300\n', "implausible"),
    "a counter beyond what a float counts": (
        b'vllm:generation_tokens_total{model_name="n"} 9007199254740994\n',
        "implausible",
    ),
    "a negative counter": (b'vllm:generation_tokens_total{model_name="n"} -1\n', "implausible"),
    "an infinite counter": (b'vllm:generation_tokens_total{model_name="n"} +Inf\n', "implausible"),
    "a counter that is no number": (b'vllm:generation_tokens_total{model_name="n"} NaN\n', "implausible"),
}


@pytest.mark.parametrize(("line", "reason"), READ.values(), ids=READ.keys())
def test_a_bad_line_is_counted_and_costs_itself_only(rig: Rig, line: bytes, reason: str) -> None:
    """The rest of its page is read at once."""
    rig.tick(OK, page(100))
    report = rig.tick(OK, page(250, line))
    assert [server.up for server in report.servers] == [True]
    assert rig.errors() == {reason: 1}
    assert rig.tokens() == {"m": 150}
    rig.tick(OK, page(400))

    assert rig.errors() == {reason: 1}
    assert rig.tokens() == {"m": 300}
    assert rig.paid() == {"chat": 2 * CENT}


@pytest.mark.parametrize("value", ["1e300", "-5", "NaN", "+Inf", "ten"])
def test_a_counter_that_is_bad_once_keeps_its_mark(rig: Rig, value: str) -> None:
    """What it counted meanwhile comes with its next good value; the counters beside it go on."""
    rig.tick(OK, page(100))
    rig.tick(OK, page(value, prompt=80))
    assert sum(rig.errors().values()) == 1
    assert (rig.tokens("generation").get("m", 0), rig.tokens("prompt")) == (0, {"m": 30})
    rig.tick(OK, page(400, prompt=90))
    assert (rig.tokens("generation"), rig.tokens("prompt")) == ({"m": 300}, {"m": 40})


def test_ten_thousand_model_names_are_counted_under_other(rig: Rig) -> None:
    """Each brings 7 tokens: by name those of its first two models and 50 more, the limit, else under one."""
    line = b'vllm:generation_tokens_total{model_name="m%d"} 7\n'
    rig.tick(OK, page(100))
    rig.tick(OK, page(100, *(line % number for number in range(10_000))))
    tokens = rig.tokens()
    assert (len(tokens), sum(tokens.values())) == (53, 70_000)
    assert tokens["other"] == 70_000 - 51 * 7
    assert rig.errors() == {"too_many_models": 1}
    assert rig.paid() == {"chat": CENT}


@pytest.mark.parametrize("content", [page(100), page(100) * 1000], ids=["short", "long"])
def test_gzip_is_read_although_nobody_asked(rig: Rig, content: bytes) -> None:
    """A proxy may compress what it likes."""
    rig.tick(OK, page(70))
    rig.tick(GZIP, gzip.compress(content))
    assert rig.tokens() == {"m": 30}


def test_gzip_may_come_in_any_pieces(rig: Rig) -> None:
    """A byte at a time, too."""
    packed = gzip.compress(page(100))
    rig.tick(OK, page(70))
    rig.tick(GZIP, *(packed[at : at + 1] for at in range(len(packed))))
    assert rig.tokens() == {"m": 30}


def test_gzip_may_expand_a_megabyte_freely_and_a_hundred_times_beyond(rig: Rig) -> None:
    """The page of a server that has served nothing is mostly zeros; what expands further is a bomb."""
    rig.tick(OK, page(70))
    filler = b"#" * (RATIO_FREE - len(page(100)) - 1) + b"\n"
    assert len(gzip.compress(filler)) * RATIO_MAX < len(filler)
    rig.tick(GZIP, gzip.compress(filler + page(100)))
    assert (rig.tokens(), rig.errors()) == ({"m": 30}, {})
    rig.tick(GZIP, gzip.compress(filler + page(100) + b"#"))
    assert rig.errors() == {"too_large": 1}


def test_gzip_is_bounded_as_it_is_received(rig: Rig, real_client: HttpClientProtocol) -> None:
    """Bytes that expand to nothing, or to what is not looked at yet, count as well."""
    source = ServerSource(
        Target(ServerKey("", "chat"), rig.source.url, "vllm"), real_client, SystemClock(), body_bytes=1000
    )
    named = b"\x1f\x8b\x08\x08\0\0\0\0\0\xff"  # the header of gzip, and a file's name that does not end
    rig.answer = answers(named + b"n" * 991)
    with pytest.raises(ReadFailedError) as failure:
        source.read()
    assert str(failure.value) == f"{source.url}: larger than 1000 bytes of gzip"


@pytest.mark.parametrize("name", ["a page of 100 MB", "a gzip bomb"])
def test_what_is_refused_takes_no_more_memory_than_the_limit(rig: Rig, name: str) -> None:
    """A body is held once while it is received, and a bomb is not expanded."""
    rig.answer, *_ = REFUSED[name]
    tracemalloc.start()
    try:
        rig.fixture.tick()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rig.errors() == {"too_large": 1}
    assert peak < 1.5 * BODY_BYTES_MAX
