"""A server that answers each read in another way that was made to break whoever reads it."""

import contextlib
import gzip
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from types import TracebackType
from typing import Final, Self

SECONDS: Final = 4.0
"""How long a slow answer goes on: longer than a read may take."""

OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
MEGABYTE: Final = b"# a comment of no meaning, again and again\n" * 24_000
STARTED: Final = b"process_start_time_seconds 1.5e9\n"


def page(*lines: bytes, generation: bytes = b"100") -> bytes:
    """A page that the engine's own would look like."""
    own = b'vllm:num_requests_running{model_name="evil"} 1\nvllm:generation_tokens_total{model_name="evil"} '
    return STARTED + own + generation + b"\n" + b"".join(lines)


def whole(body: bytes, *headers: bytes) -> bytes:
    """An answer that says how long it is."""
    lines = b"".join(header + b"\r\n" for header in headers)
    return OK + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body


def status(line: bytes, *headers: bytes) -> bytes:
    """An answer without a body."""
    return b"HTTP/1.1 " + line + b"\r\n" + b"".join(header + b"\r\n" for header in headers) + b"\r\n"


def many(line: bytes, count: int) -> bytes:
    """A line for each number."""
    return b"".join(line.replace(b"N", b"%07d" % number) for number in range(count))


Pieces = Iterable[bytes]
GENERATION: Final = b"vllm:generation_tokens_total"
LITELLM: Final = b'litellm_input_tokens_metric_total{model="m",team="t"} 7\nlitellm_spend_metric_total 1\n'

QUICK: Final[dict[str, Callable[[], Pieces]]] = {
    "hangs up": lambda: (),
    "endless body": lambda: (OK + b"\r\n", *repeat(MEGABYTE, 64)),
    "endless header": lambda: (OK, *repeat(b"X-Again: " + b"y" * 65_000 + b"\r\n", 64)),
    "headers by the thousand": lambda: (OK + many(b"X-N: 1\r\n", 20_000), b"\r\n" + page()),
    "endless chunks": lambda: (
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
        *repeat(b"%x\r\n" % len(MEGABYTE) + MEGABYTE + b"\r\n", 64),
    ),
    "chunk of 2**64 bytes": lambda: (
        OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        *repeat(MEGABYTE, 64),
    ),
    "chunk of no size": lambda: (
        OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + page() + b"\r\n0\r\n\r\n",
    ),
    "chunk with a long extension": lambda: (
        OK + b"Transfer-Encoding: chunked\r\n\r\n5;" + b"x" * 2_000_000 + b"\r\nabcde\r\n0\r\n\r\n",
    ),
    "two lengths": lambda: (whole(page(), b"Content-Length: 5"),),
    "longer than it says": lambda: (OK + b"Content-Length: 20\r\n\r\n" + page(),),
    "shorter than it says": lambda: (OK + b"Content-Length: 9000\r\n\r\n" + page(),),
    "gzip bomb": lambda: (whole(gzip.compress(bytes(50_000_000), 1), b"Content-Encoding: gzip"),),
    "gzip bomb in gzip": lambda: (
        whole(gzip.compress(gzip.compress(bytes(50_000_000), 1)), b"Content-Encoding: gzip, gzip"),
    ),
    "half of gzip": lambda: (whole(gzip.compress(page())[:-9], b"Content-Encoding: gzip"),),
    "another compression": lambda: (whole(page(), b"Content-Encoding: br"),),
    "redirect to itself": lambda: (status(b"302 Found", b"Location: /metrics", b"Content-Length: 0"),),
    "redirect to a file": lambda: (status(b"301 Moved", b"Location: file:///etc/passwd"),),
    "redirect to the cloud": lambda: (
        status(b"307 Temporary Redirect", b"Location: http://169.254.169.254/latest/"),
    ),
    "continue without end": lambda: repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 2000),
    "no HTTP": lambda: (b"\x16\x03\x01\x02\x00" + bytes(range(256)) * 20,),
    "a web page": lambda: (whole(b"<!DOCTYPE html><html>vllm:generation_tokens_total 5</html>"),),
    "an error": lambda: (status(b"500 Oh", b"Content-Length: 0"),),
    "no numbers": lambda: (whole(page(generation=b"NaN")),),
    "infinite": lambda: (whole(page(generation=b"+Inf")),),
    "negative": lambda: (whole(page(generation=b"-7")),),
    "a good page": lambda: (whole(page()),),
    "jumps to 1e15": lambda: (whole(page(generation=b"1e15")),),
    "comes back": lambda: (whole(page(generation=b"101")),),
    "names by the million": lambda: (
        OK + b"\r\n" + page(),
        *(many(GENERATION + b'{model_name="m",x="%d-N"} 1\n' % part, 20_000) for part in range(50)),
    ),
    "series by the thousand": lambda: (
        OK + b"\r\n" + page(many(GENERATION + b'{model_name="m",x="' + b"y" * 60 + b'N"} 1\n', 17_000)),
    ),
    "models by the thousand": lambda: (whole(page(many(GENERATION + b'{model_name="mN"} 1\n', 15_000))),),
    "gauges by the thousand": lambda: (
        whole(page(many(b'vllm:num_requests_running{model_name="gN"} 9e99\n', 15_000))),
    ),
    "names that break lines": lambda: (
        whole(
            page(
                GENERATION
                + b'{model_name="a\\n# TYPE inference_cost_dollars_total gauge\\nx\\"} 1e300 <b>"} 1\n',
                GENERATION + b'{model_name="\x1b[2J\xe2\x80\xae\xff\xfe\x00"} 1\n',
            )
        ),
    ),
    "a line of 6 MB": lambda: (whole(page(GENERATION + b'{model_name="' + b"z" * 6_000_000 + b'"} 1\n')),),
    "the same series again and again": lambda: (
        whole(page(many(GENERATION + b'{model_name="evil"} N\n', 30_000))),
    ),
    "the page of a gateway": lambda: (whole(LITELLM),),
    "a start in the year 1e300": lambda: (
        whole(page().replace(b"1.5e9", b"1e300") + b"vllm:prompt_tokens_created 1e300\n"),
    ),
}
"""Answers that are there as fast as they are taken."""

SLOW: Final[dict[str, Callable[[], Pieces]]] = {
    "silence": lambda: repeat(b""),
    "head byte by byte": lambda: (b"%c" % byte for byte in OK * 1000),
    "body byte by byte": lambda: (
        b"%c" % byte for byte in OK.replace(b"\r\n", b"\n") + b"\n" + page() * 1000
    ),
    "chunks of one byte": lambda: (
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
        *repeat(b"1\r\n#\r\n", 10_000),
    ),
}
"""Answers of which a piece comes each tenth of a second."""


class Hostile:
    """One server: its kinds follow one another, one at each read of its metrics."""

    def __init__(self, kinds: Iterable[str]) -> None:
        self._kinds = list(kinds)
        self.played: list[str] = []
        self._stop = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._thread = threading.Thread(target=self._serve)

    @property
    def url(self) -> str:
        """Where it is read."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/metrics"

    @property
    def done(self) -> bool:
        """Whether each kind has been played."""
        return len(self.played) >= len(self._kinds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        threads: list[threading.Thread] = []
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threads.append(threading.Thread(target=self._answer, args=(connection,)))
                threads[-1].start()
        for thread in threads:
            thread.join()

    def _answer(self, connection: socket.socket) -> None:
        # Whoever asks has hung up, which is what it is for, or resets what is half sent.
        with connection, contextlib.suppress(OSError):
            connection.settimeout(SECONDS)
            request = connection.recv(65_536)
            if not request.startswith(b"GET /metrics "):
                connection.sendall(status(b"404 Not Found", b"Content-Length: 0"))
                return
            kind = self._kinds[len(self.played) % len(self._kinds)]
            self.played.append(kind)
            for piece in self._pieces(kind):
                connection.sendall(piece)

    def _pieces(self, kind: str) -> Iterator[bytes]:
        if kind in QUICK:
            yield from QUICK[kind]()
            return
        for number, piece in enumerate(SLOW[kind]()):
            if number >= SECONDS * 10 or self._stop.wait(0.1):
                return
            yield piece
