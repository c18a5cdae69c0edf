"""Plain HTTP, as nearly every server of a host is asked: a socket for each request, and h11 to read it by.

h11 is what httpx reads by as well. What httpx adds for sessions, proxies and TLS takes 7 MiB of memory, and
more CPU than reading what comes.
"""

import socket
from collections.abc import Iterator
from typing import Final
from urllib.parse import SplitResult, urlsplit

import h11

from exporter.readings import ReadFailedError
from exporter.sources.exchange import Answer, Deadline, Request, Response, Sink, answered

PORT: Final = 80

READ_BYTES: Final = 63 * 1024
"""Most that is received at a time: just below what the C library takes from the kernel and gives back."""

HEAD_BYTES_MAX: Final = 100 * 1024
"""Longest status line and headers together, as httpx bounds them."""


NO_BODY: Final = (("Content-Length", "0"),)
"""What other methods than GET say, since none of ours brings a body."""


class PlainClient:
    """Asks http URLs. Nothing is held between requests: neither connections nor cookies."""

    def ask(self, request: Request, deadline: Deadline, limit: int, sink: Sink | None = None) -> Answer:
        """As `Client.ask`; `tls` means that an https URL was given."""
        parts, subject = urlsplit(request.url), request.subject
        if parts.scheme != "http":
            raise ReadFailedError("tls", f"{subject}: is not asked without TLS")
        try:
            with _connected(parts, deadline, subject) as connection:
                conversation = _Conversation(connection, deadline)
                conversation.send(request, parts)
                return answered(request, conversation.response(), deadline, limit, sink)
        except TimeoutError as failure:
            raise ReadFailedError("timeout", f"{subject}: ReadTimeout") from failure
        except (OSError, UnicodeError, h11.ProtocolError) as failure:  # the second: a host that is no name
            raise ReadFailedError("connection", f"{subject}: {failure}") from failure

    def close(self) -> None:
        """Nothing is held."""


def _connected(parts: SplitResult, deadline: Deadline, subject: str) -> socket.socket:
    try:
        return socket.create_connection((parts.hostname, parts.port or PORT), deadline.left())
    except TimeoutError as failure:
        raise ReadFailedError("timeout", f"{subject}: ConnectTimeout") from failure


class _Conversation:
    """One request and its answer. The deadline bounds each receive: a byte now and then keeps none alive."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self._wire = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)

    def send(self, request: Request, parts: SplitResult) -> None:
        head = h11.Request(
            method=request.method,
            target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            headers=[
                ("Host", authority(parts)),
                *request.headers.items(),
                *(() if request.method == "GET" else NO_BODY),
            ],
        )
        sent = (self._wire.send(head) or b"") + (self._wire.send(h11.EndOfMessage()) or b"")
        self._connection.settimeout(self._deadline.left())
        self._connection.sendall(sent)

    def response(self) -> Response:
        try:
            while isinstance(head := self._event(), h11.InformationalResponse):
                pass
        except h11.RemoteProtocolError as failure:
            # What speaks TLS hangs up on a plain request, or answers it with an alert that is no HTTP.
            told = f"{failure}".removesuffix(".")
            raise h11.RemoteProtocolError(f"{told}; if it speaks TLS, try https://") from failure
        if not isinstance(head, h11.Response):
            raise h11.RemoteProtocolError("Server disconnected without sending a response.")
        headers: dict[str, str] = {}
        for raw_name, raw_value in head.headers:
            name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return Response(head.status_code, headers, self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        while isinstance(event := self._event(), h11.Data):
            yield event.data

    def _event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        while (event := self._wire.next_event()) is h11.NEED_DATA:
            self._connection.settimeout(self._deadline.left())
            received = self._connection.recv(READ_BYTES)
            if not received and self._wire.their_state is h11.SEND_RESPONSE:
                raise h11.RemoteProtocolError("Server disconnected without sending a response.")
            self._wire.receive_data(received)
        return event


def authority(parts: SplitResult) -> str:
    """The header Host: the port is told where it is another one than HTTP's own."""
    host = parts.hostname or ""
    named = f"[{host}]" if ":" in host else host
    return named if parts.port in (None, PORT) else f"{named}:{parts.port}"
