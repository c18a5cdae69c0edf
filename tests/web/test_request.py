"""A request's head: what is read in it, and what refuses it whole."""

import re
from http import HTTPStatus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.web.connection import Request, RequestError, parse, request_line

LINE = b"GET /metrics?x=1 HTTP/1.1"


def test_a_request_is_read() -> None:
    """Names in lower case, values of one name joined, the query and the port left out."""
    read = parse(
        LINE,
        [b"Host: GPU-7.example.com:9844", b"Accept:a", b"accept: \tb \t"],
        peer="10.0.0.1",
        encrypted=True,
    )

    assert read == Request(
        "GET",
        "/metrics",
        {"host": "GPU-7.example.com:9844", "accept": "a,b"},
        "10.0.0.1",
        encrypted=True,
        host="gpu-7.example.com",
        length=0,
        keep_alive=True,
    )


@pytest.mark.parametrize(
    ("host", "name"),
    [
        (b"a", "a"),
        (b"a:", "a"),
        (b"a:80", "a"),
        (b"[::1]", "[::1]"),
        (b"[::1]:9844", "[::1]"),
        (b"", ""),
        (b"127.0.0.1:1", "127.0.0.1"),
    ],
)
def test_a_host_is_read_without_its_port(host: bytes, name: str) -> None:
    """An empty one is allowed by RFC 9110, and is no name."""
    assert parse(LINE, [b"Host: " + host]).host == name


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        (b"http://gpu-7:9844/metrics", "/metrics", "gpu-7"),
        (b"HTTP://GPU-7/metrics?x=http://a/b", "/metrics", "gpu-7"),
        (b"https://[::1]:9844/", "/", "[::1]"),
        (b"http://gpu-7", "/", "gpu-7"),
        (b"http://gpu-7?x", "/", "gpu-7"),
    ],
)
def test_an_absolute_target_names_the_host(target: bytes, path: str, host: str) -> None:
    """RFC 9112, 3.2.2: a server accepts it, and ignores the header Host."""
    read = parse(b"GET %b HTTP/1.1" % target, [b"Host: evil.example"])

    assert (read.path, read.host) == (path, host)
    assert read.headers["host"].lower().startswith(host)


@pytest.mark.parametrize("authority", [b"a@b", b"a:b", b"::1", b"u:p@a:80", b"[::1"])
def test_an_absolute_target_without_a_host_refuses_the_request(authority: bytes) -> None:
    """A user in it is an error (RFC 9110, 4.2.4)."""
    with pytest.raises(RequestError, match="the Host is malformed"):
        parse(b"GET http://%b/metrics HTTP/1.1" % authority, [b"Host: a"])


@pytest.mark.parametrize("host", [b"a/b", b"a b", b"a:b", b"a:123456", b"[::1", b"::1", b"a@b", b"\xc3\xa4"])
def test_a_host_that_is_none_refuses_the_request(host: bytes) -> None:
    """What a proxy could read as another one."""
    with pytest.raises(RequestError, match="the Host is malformed"):
        parse(LINE, [b"Host: " + host])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "a request needs one Host"),
        ([b"Host: a", b"host: a"], "a request needs one Host"),
        ([b"Host: a", b"Content-Length : 1"], "a header field is malformed"),
        ([b"Host: a", b"Content-Length: 1", b" 2"], "a header field is malformed"),
        ([b"Host: a", b"X"], "a header field is malformed"),
        ([b"Host: a", b"Content-Length: 1, 1"], "a body needs one Content-Length"),
        ([b"Host: a", b"Content-Length: +1"], "a body needs one Content-Length"),
        ([b"Host: a", b"Content-Length: \xb2"], "a body needs one Content-Length"),
        ([b"Host: a", b"Transfer-Encoding: identity"], "a body needs one Content-Length"),
    ],
    ids=str,
)
def test_what_refuses_a_request(fields: list[bytes], message: str) -> None:
    """Nothing is guessed, and nothing is left out: no header is lost behind one that is malformed."""
    with pytest.raises(RequestError, match=message) as raised:
        parse(LINE, fields)
    assert raised.value.status is HTTPStatus.BAD_REQUEST


def test_http_1_0_needs_no_host_and_closes() -> None:
    """Health checks of load balancers ask so."""
    read = parse(b"GET /-/healthy HTTP/1.0", [])

    assert (read.host, read.keep_alive) == ("", False)


@pytest.mark.parametrize(
    ("options", "keeps_open"), [(b"close", False), (b"x, Close", False), (b"keep-alive", True)]
)
def test_who_wants_to_close_says_so(options: bytes, keeps_open: bool) -> None:  # noqa: FBT001
    """Among other options, in any case."""
    assert parse(LINE, [b"Host: a", b"Connection: " + options]).keep_alive is keeps_open


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET / HTTP/2.0", 505),
        (b"GET / HTTP/0.9", 505),
        (b"GET /", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET / HTTP/1.10", 400),
        (b"GET / http/1.1", 400),
        (b"G\xc3\x84T / HTTP/1.1", 400),
        (b"GET /a b HTTP/1.1", 400),
        (b" GET / HTTP/1.1", 400),
        (b"", 400),
    ],
)
def test_request_lines_that_are_none(line: bytes, status: int) -> None:
    """Each with its status."""
    with pytest.raises(RequestError) as raised:
        request_line(line)
    assert raised.value.status == status


@given(st.binary(max_size=60), st.lists(st.binary(max_size=40), max_size=6))
@example(LINE, [b"Host: a", b"\x85: b"])
@example(LINE, [b"Host: a", b"X:\x85"])
@example(LINE, [b"Host: a", "Content-Length: ٣".encode()])
@example(LINE, [b"Host: a", b"Content-Length: 9999999999"])
@example(b"GET / HTTP/1.1\n", [b"Host: a"])
def test_whatever_the_bytes_a_request_is_read_whole_or_refused(line: bytes, fields: list[bytes]) -> None:
    """One value for each field that was sent, no control character but the tab, one bounded length."""
    read = None
    status = 200
    try:
        read = parse(line, fields)
    except RequestError as error:
        status = int(error.status)
    assert status in {200, 400, 413, 505}
    if read is None:
        return
    assert sum(value.count(",") + 1 for value in read.headers.values()) >= len(fields)
    assert {name for name in read.headers if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9a-z-]+", name)} == set()
    assert not any(ord(letter) < 32 and letter != "\t" for value in read.headers.values() for letter in value)
    assert 0 <= read.length < 10**9
    assert "?" not in read.path
