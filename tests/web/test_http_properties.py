"""Whatever bytes a client sends: well-formed answers or a closed connection, and the next one is served."""

import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st

from tests.depth import examples

Serve = Callable[..., Any]

ANSWERS = {200, 400, 403, 404, 405, 408, 413, 414, 421, 429, 431, 503, 505}
"""Of a server that has no report yet; 500 is a fault of ours."""

STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d{3}) [A-Za-z ]+\r\n")

methods = st.one_of(
    st.sampled_from([b"GET", b"HEAD", b"POST", b"OPTIONS", b"get", b"PRI", b"CONNECT"]),
    st.binary(max_size=20),
)
paths = st.one_of(
    st.sampled_from([b"/", b"/metrics", b"/cost.json", b"/-/ready", b"/-/reload", b"/../etc/passwd", b"*"]),
    st.binary(max_size=60),
)
versions = st.one_of(
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b""]), st.binary(max_size=12)
)
headers = st.tuples(
    st.one_of(
        st.sampled_from(
            [
                b"Host",
                b"Content-Length",
                b"Transfer-Encoding",
                b"Connection",
                b"Expect",
                b"Accept",
                b"Accept-Encoding",
                b"Authorization",
                b"Origin",
                b"Sec-Fetch-RunningServer",
            ]
        ),
        st.binary(max_size=20),
    ),
    st.one_of(
        st.sampled_from(
            [b"localhost", b"0", b"-1", b"5", b"99999999999999999999", b"chunked", b"close", b"100-continue"]
        ),
        st.binary(max_size=60),
    ),
)
ends = st.sampled_from([b"\r\n", b"\n", b"\r", b"\r\n\r\n", b""])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Something like a request, whole or not."""
    line = b" ".join([draw(methods), draw(paths), draw(versions)])
    end = draw(ends)
    fields = b"".join(name + b": " + value + end for name, value in draw(st.lists(headers, max_size=6)))
    body = draw(st.binary(max_size=40))
    return line + end + fields + draw(ends) + body


def answers(left: bytes) -> Iterator[int]:
    """The status of each answer; fails where what was said is no row of answers."""
    while left:
        begun = STATUS_LINE.match(left)
        assert begun, left[:200]
        head, gap, rest = left.partition(b"\r\n\r\n")
        assert gap, left[:200]
        if begun[1] == b"100":  # go on: no answer yet, and none of its headers
            left = rest
            continue
        length = re.search(rb"\r\nContent-Length: (\d+)(\r\n|$)", head)
        assert length, head
        yield int(begun[1])
        # An answer to HEAD tells the length of a body that does not follow.
        size = int(length[1])
        left = rest if STATUS_LINE.match(rest) or len(rest) < size else rest[size:]


def exchanged(site: Any, sent: bytes) -> bytes:
    """What is answered to some bytes, after which the client says no more."""
    with site.connect() as client:
        try:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65536), b""))
        except (ConnectionResetError, BrokenPipeError):
            return b""  # closed before all of it was sent


@pytest.fixture
def serving(serve: Serve) -> Any:
    """One server for all examples, which cannot be told to reload."""
    return serve(None, reloadable=False)


@examples(200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(requests(), min_size=1, max_size=3))
@example([b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGET /"])
@example([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
@example([b"GET / HTTP/1.1\r\n\r\n"])
@example([b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\nConnection: close\r\n\r\nGET /"])
@example([b"GET / HTTP/1.1\r\nHost: x\r\nHost: evil.example\r\n\r\n"])
@example([b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"])
@example([b"GET / HTTP/1.1\r\nHost: evil.example\r\nAccept-Language: en\r\n\r\n"])
@example([b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 8\r\n\r\n"])
@example([b"POST /-/reload HTTP/1.0\r\nContent-Length: 3\r\n\r\nab", b"c"])
@example([b"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"])
@example([b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"] * 3)
def test_no_bytes_break_the_server(serving: Any, sent: list[bytes]) -> None:
    """Also several requests in one piece."""
    statuses = list(answers(exchanged(serving, b"".join(sent))))
    assert set(statuses) <= ANSWERS
    assert len(statuses) <= b"".join(sent).count(b"\n") + 1
    status, _, body = serving.request("GET", "/-/healthy")
    assert (status, body) == (200, b"healthy\n")
