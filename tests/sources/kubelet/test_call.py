"""One call of gRPC, from what the other side sends; whole conversations without a socket."""

from collections.abc import Callable, Iterable

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from hypothesis import given
from hypothesis import strategies as st

from exporter.readings import ReadFailedError
from exporter.sources.kubelet.grpc import OVERHEAD_BYTES_MAX, GrpcCall

GRPC = [(":status", "200"), ("content-type", "application/grpc")]
OK = [("grpc-status", "0")]
LIMIT = 1000

Say = Callable[[H2Connection], None]


def conversation(limit: int = LIMIT) -> GrpcCall:
    return GrpcCall("/v1.PodResourcesLister/List", "sock", limit, 3.0)


def message(body: bytes) -> bytes:
    """A message with its prefix."""
    return b"\0" + len(body).to_bytes(4, "big") + body


def sent_bytes(client: GrpcCall, *steps: Say) -> bytes:
    """What a server of HTTP/2 sends to a client when it says this."""
    server = H2Connection(H2Configuration(client_side=False))
    server.initiate_connection()
    server.receive_data(client.to_send())
    for say in steps:
        say(server)
    return bytes(server.data_to_send())


def headers(*fields: tuple[str, str], end: bool = False) -> Say:
    return lambda server: server.send_headers(1, [*fields], end_stream=end)


def body(data: bytes, *, end: bool = False) -> Say:
    def send(server: H2Connection) -> None:
        for start in range(0, max(1, len(data)), 16384):
            piece = data[start : start + 16384]
            server.send_data(1, piece, end_stream=end and start + 16384 >= len(data))

    return send


def trailers(*fields: tuple[str, str]) -> Say:
    return headers(*fields, end=True)


def answer(*steps: Say, limit: int = LIMIT) -> bytes:
    """The message of a call in which the server says this, handed over byte by byte."""
    client = conversation(limit)
    ended = [client.feed(bytes([byte])) for byte in sent_bytes(client, *steps)]
    assert ended == [False] * (len(ended) - 1) + [True]
    return client.message()


def refused(*steps: Say, limit: int = LIMIT) -> tuple[str, str]:
    """Reason and message of a call that fails in one go."""
    client = conversation(limit)
    return failed(client, [sent_bytes(client, *steps)])


def failed(client: GrpcCall, pieces: Iterable[bytes]) -> tuple[str, str]:
    """Reason and message of a call that fails over these pieces, or in the end."""
    with pytest.raises(ReadFailedError) as failure:
        fed(client, pieces)
    return failure.value.reason, str(failure.value)


def fed(client: GrpcCall, pieces: Iterable[bytes]) -> bytes:
    """The message of a call that ends with the last piece."""
    ended = False
    for piece in pieces:
        ended = client.feed(piece)
        client.to_send()
    assert ended
    return client.message()


def test_the_question_is_an_empty_message() -> None:
    """As the protocol asks: a path, `te: trailers`, a prefix and nothing behind it."""
    server = H2Connection(H2Configuration(client_side=False))
    server.initiate_connection()
    events = server.receive_data(conversation().to_send())
    request = next(event for event in events if type(event).__name__ == "RequestReceived")
    data = next(event for event in events if type(event).__name__ == "DataReceived")
    fields = dict(request.headers)
    assert data.data == bytes(5)
    assert data.stream_ended is not None
    assert {name: fields[name] for name in fields if name != b"user-agent"} == {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": b"/v1.PodResourcesLister/List",
        b":authority": b"localhost",
        b"content-type": b"application/grpc",
        b"te": b"trailers",
        b"grpc-timeout": b"3000m",
    }


@pytest.mark.parametrize("text", [b"", b"x", b"y" * LIMIT])
def test_a_message_is_whole_when_its_status_says_so(text: bytes) -> None:
    """Up to the limit, in pieces of any size."""
    assert answer(headers(*GRPC), body(message(text)), trailers(*OK)) == text


def test_a_status_in_one_go_is_read() -> None:
    """A server that refuses before any message sends headers alone, as a kubelet that is asked too often."""
    status = [("grpc-status", "8"), ("grpc-message", "too many requests, 100%25 sure")]
    assert refused(headers(*GRPC, *status, end=True)) == (
        "exhausted",
        "sock: gRPC status 8: too many requests, 100% sure",
    )


@pytest.mark.parametrize(
    ("status", "reason"),
    [("4", "timeout"), ("7", "denied"), ("8", "exhausted"), ("9", "starting"), ("12", "unimplemented")]
    + [("16", "denied")]
    + [(status, "grpc_status") for status in ("1", "2", "13", "14", "17", "999")],
)
def test_each_status_has_a_reason(status: str, reason: str) -> None:
    """Also behind a message: a status that is not zero wins."""
    steps = (headers(*GRPC), body(message(b"x")), trailers(("grpc-status", status), ("grpc-message", "no")))
    assert refused(*steps) == (reason, f"sock: gRPC status {status}: no")


def test_what_a_status_says_is_bounded_and_printable() -> None:
    """It ends up in logs."""
    words = "%0a%ff" + "x" * 1000
    _, text = refused(headers(*GRPC, ("grpc-status", "2"), ("grpc-message", words), end=True))
    assert text == "sock: gRPC status 2: \ufffd" + "x" * 127


@pytest.mark.parametrize(
    ("steps", "what"),
    [
        pytest.param([body(message(b"x"), end=True)], "an answer without a status", id="no-status"),
        pytest.param(
            [body(message(b"x")), trailers(("grpc-status", "-1"))], "status b'-1'", id="strange-status"
        ),
        pytest.param(
            [body(message(b"x")), trailers(("grpc-status", "0" * 99))],
            "status b'" + "0" * 32 + "'",
            id="long-status",
        ),
        pytest.param([trailers(*OK)], "an answer without a message", id="no-message"),
        pytest.param([body(b"\0\0"), trailers(*OK)], "an answer without a message", id="half-a-prefix"),
        pytest.param(
            [body(message(b"xyz")[:-1]), trailers(*OK)], "an answer that is not one message", id="short"
        ),
        pytest.param(
            [body(message(b"x") + b"y"), trailers(*OK)],
            "an answer that is not one message",
            id="trailing-garbage",
        ),
        pytest.param([body(message(b"x") * 2), trailers(*OK)], "an answer that is not one message", id="two"),
        pytest.param(
            [body(b"\1" + message(b"x")[1:]), trailers(*OK)],
            "a compressed answer, which was not asked for",
            id="compressed",
        ),
        pytest.param(
            [body(b"<html>"), trailers(*OK)], "a compressed answer, which was not asked for", id="text"
        ),
    ],
)
def test_what_is_no_message_is_malformed(steps: list[Say], what: str) -> None:
    """A status of zero makes no answer of it."""
    assert refused(headers(*GRPC), *steps) == ("malformed", f"sock: {what}")


def test_a_message_larger_than_the_limit_is_refused_by_its_prefix() -> None:
    """Before it is received."""
    steps = (headers(*GRPC), body(message(b"x" * (LIMIT + 1))[:5]))
    assert refused(*steps) == ("too_large", "sock: more than 1000 bytes")


def test_what_surrounds_a_message_is_bounded() -> None:
    """A server that sends pings for ever sends no answer."""
    client = conversation()
    client.feed(sent_bytes(client))
    ping = b"\0\0\x08\x06\0\0\0\0\0" + bytes(8)
    assert failed(client, [ping * 100] * OVERHEAD_BYTES_MAX) == ("too_large", "sock: more than 1000 bytes")


@pytest.mark.parametrize(
    "fields",
    [
        [(":status", "200"), ("content-type", "text/html")],
        [(":status", "404"), ("content-type", "text/plain")],
        [(":status", "503"), ("content-type", "application/grpc")],
        [(":status", "200")],
    ],
)
def test_an_answer_of_http_is_not_one_of_grpc(fields: list[tuple[str, str]]) -> None:
    """A proxy, say, or a page."""
    page = b"<html>not here</html>"
    assert refused(headers(*fields), body(page, end=True)) == (
        "not_kubelet",
        "sock: answers, but not by gRPC",
    )


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<html></html>",
        b"<html></html>",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02\x16",  # an alert of TLS
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_who_does_not_speak_http2_is_told_at_once(data: bytes, size: int) -> None:
    """By its first frame, which is one of settings."""
    client = conversation()
    client.to_send()
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    assert failed(client, pieces) == ("not_kubelet", "sock: answers, but not by HTTP/2")


@pytest.mark.parametrize(
    ("say", "what"),
    [
        (
            lambda server: server.reset_stream(1, ErrorCodes.REFUSED_STREAM),
            "gave up the call (REFUSED_STREAM)",
        ),
        (
            lambda server: server.close_connection(ErrorCodes.ENHANCE_YOUR_CALM),
            "went away (ENHANCE_YOUR_CALM)",
        ),
    ],
)
def test_a_call_that_is_given_up_is_a_failed_connection(say: Say, what: str) -> None:
    """In the middle of a message, as when a kubelet stops."""
    assert refused(headers(*GRPC), body(message(b"xyz")[:-1]), say) == ("connection", f"sock: {what}")


def test_a_server_that_stops_after_its_answer_has_answered() -> None:
    """The answer is whole, whatever comes behind it."""
    client = conversation()
    steps = (headers(*GRPC), body(message(b"x")), trailers(*OK), lambda server: server.close_connection())
    assert client.feed(sent_bytes(client, *steps))
    assert client.message() == b"x"


def survives(client: GrpcCall, data: bytes) -> None:
    """Take it, or fail as a source may."""
    reason = ""
    try:
        if client.feed(data):
            client.message()
    except ReadFailedError as failure:
        reason = failure.reason
    assert reason in ("", "not_kubelet", "connection", "malformed", "too_large", "grpc_status", "exhausted")


@given(st.binary(max_size=200))
def test_no_bytes_break_the_conversation(data: bytes) -> None:
    """Whatever is behind a beginning that is HTTP/2."""
    client = conversation()
    survives(client, sent_bytes(client) + data)


@given(st.integers(0, 200), st.binary(max_size=6), st.integers(0, 6))
def test_no_damage_breaks_the_conversation(offset: int, data: bytes, cut: int) -> None:
    """Bytes put in the place of others, anywhere in a good answer."""
    client = conversation()
    whole = sent_bytes(client, headers(*GRPC), body(message(b"x" * 40)), trailers(*OK))
    survives(client, whole[:offset] + data + whole[offset + cut :])


FRAMES = st.tuples(
    st.integers(0, 12), st.integers(0, 255), st.sampled_from([0, 1, 1, 1, 2, 3]), st.binary(max_size=20)
)


@given(st.lists(FRAMES, max_size=8))
def test_no_frames_break_the_conversation(frames: list[tuple[int, int, int, bytes]]) -> None:
    """Frames of any type with any flags, on our stream and others, before and after the headers."""
    sent = b"".join(
        len(load).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + load
        for kind, flags, stream, load in frames
    )
    for steps in ((), (headers(*GRPC),), (headers(*GRPC), body(message(b"x")), trailers(*OK))):
        client = conversation()
        survives(client, sent_bytes(client, *steps) + sent)
