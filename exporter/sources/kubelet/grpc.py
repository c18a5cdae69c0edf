"""One unary call of gRPC over a Unix socket, in plain text, as the kubelet serves it.

gRPC over HTTP/2 is https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md. The status of a call
comes in trailers, which httpx drops, so this uses `h2` itself.
It is imported at the first call: `h2` takes megabytes, which a host without a kubelet saves.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error

from exporter.readings import FailureReason, ReadFailedError, label
from exporter.sources.http_client import Deadline
from exporter.sources.processes.listener import root
from exporter.version import VERSION

RECEIVE_BYTES: Final = 1 << 16
OVERHEAD_BYTES_MAX: Final = 1 << 20
"""Frames and headers around an answer. Frames of 16 KiB have nine bytes of their own."""

PREFIX_BYTES: Final = 5
SETTINGS: Final = 4
"""Type of the frame that a server of HTTP/2 begins with, in its fourth byte (RFC 9113, 3.4 and 4.1)."""

STATUSES: Final = {
    4: FailureReason.TIMEOUT,
    7: FailureReason.DENIED,
    8: FailureReason.EXHAUSTED,
    9: FailureReason.STARTING,
    12: FailureReason.UNIMPLEMENTED,
    16: FailureReason.DENIED,
}
"""Reasons of gRPC statuses with different remedies. A kubelet that does not know all of its pods yet answers
with status 9, FAILED_PRECONDITION."""

CONNECT_REASONS: Final[Mapping[type[OSError], FailureReason]] = {
    FileNotFoundError: FailureReason.ABSENT,
    NotADirectoryError: FailureReason.ABSENT,
    PermissionError: FailureReason.DENIED,
    ConnectionRefusedError: FailureReason.REFUSED,
    TimeoutError: FailureReason.TIMEOUT,
    BlockingIOError: FailureReason.TIMEOUT,  # the queue of the socket is full
}
"""Reasons of errors in connecting. Any other is `connection`."""


class GrpcCall:
    """The client's side of one call, without a socket: what to send, given what was received."""

    def __init__(self, method: str, subject: str, limit: int, timeout: float) -> None:
        self._subject = subject
        self._limit = limit
        self._received = 0
        self._beginning = b""
        self._body = bytearray()
        self._status: bytes | None = None
        self._explanation = b""
        self._ended = False
        self._http = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._http.initiate_connection()
        stream = self._http.get_next_available_stream_id()
        self._http.send_headers(
            stream,
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", method),
                (":authority", "localhost"),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
                ("grpc-timeout", f"{max(1, int(timeout * 1000))}m"),
                ("user-agent", f"inference-cost-exporter/{VERSION}"),
            ],
        )
        self._http.send_data(stream, bytes(PREFIX_BYTES), end_stream=True)  # an empty message, not compressed
        # The largest answer fits, so that the server never waits for room.
        self._http.increment_flow_control_window(limit + OVERHEAD_BYTES_MAX)
        self._http.increment_flow_control_window(limit + OVERHEAD_BYTES_MAX, stream)

    def to_send(self) -> bytes:
        """Bytes to send now."""
        return self._http.data_to_send()

    def feed(self, data: bytes) -> bool:
        """Take received bytes; true once the answer is whole.

        Raises:
            ReadFailedError: `not_kubelet`, `connection`, `malformed`, `too_large`, and those of the status.
        """
        self._received += len(data)
        if self._received > self._limit + OVERHEAD_BYTES_MAX:
            raise self._failed(FailureReason.TOO_LARGE, f"more than {self._limit} bytes")
        if len(self._beginning) < SETTINGS:
            self._beginning += data[:SETTINGS]
            if self._beginning[3:4] not in (b"", bytes([SETTINGS])):
                raise self._failed(FailureReason.NOT_KUBELET, "answers, but not by HTTP/2")
        try:
            events = self._http.receive_data(data)
        except H2Error as error:
            raise self._failed(FailureReason.CONNECTION, f"broke HTTP/2: {error}") from error
        for event in events:
            if isinstance(event, ResponseReceived):
                headers = dict(event.headers)
                is_grpc = headers.get(b"content-type", b"").startswith(b"application/grpc")
                if headers.get(b":status") != b"200" or not is_grpc:
                    raise self._failed(FailureReason.NOT_KUBELET, "answers, but not by gRPC")
                self._take_status(event)
            elif isinstance(event, TrailersReceived):
                self._take_status(event)
            elif isinstance(event, DataReceived):
                self._body += event.data
                if any(self._body[:1]):
                    raise self._failed(
                        FailureReason.MALFORMED, "a compressed answer, which was not asked for"
                    )
                if len(self._body) >= PREFIX_BYTES and self._length() > self._limit:
                    raise self._failed(FailureReason.TOO_LARGE, f"more than {self._limit} bytes")
            elif isinstance(event, StreamEnded):
                self._ended = True
            elif isinstance(event, StreamReset) and not self._ended:
                raise self._failed(FailureReason.CONNECTION, f"gave up the call ({_code(event.error_code)})")
            elif isinstance(event, ConnectionTerminated) and not self._ended:
                raise self._failed(FailureReason.CONNECTION, f"went away ({_code(event.error_code)})")
        return self._ended

    def message(self) -> bytes:
        """The message of a call that ended well.

        Raises:
            ReadFailedError: `malformed`, and those of the status.
        """
        if self._status is None:
            raise self._failed(FailureReason.MALFORMED, "an answer without a status")
        if not self._status.isdigit() or len(self._status) > 3:
            raise self._failed(FailureReason.MALFORMED, f"status {label(repr(self._status[:32]))}")
        if status := int(self._status):
            words = label(unquote_to_bytes(self._explanation[:512]).decode(errors="replace"))
            raise self._failed(
                STATUSES.get(status, FailureReason.GRPC_STATUS), f"gRPC status {status}: {words}"
            )
        if len(self._body) < PREFIX_BYTES:
            raise self._failed(FailureReason.MALFORMED, "an answer without a message")
        if len(self._body) != PREFIX_BYTES + self._length():
            raise self._failed(FailureReason.MALFORMED, "an answer that is not one message")
        return bytes(memoryview(self._body)[PREFIX_BYTES:])

    def _take_status(self, event: ResponseReceived | TrailersReceived) -> None:
        headers = dict(event.headers)
        self._status = headers.get(b"grpc-status", self._status)
        self._explanation = headers.get(b"grpc-message", self._explanation)

    def _length(self) -> int:
        return int.from_bytes(self._body[1:PREFIX_BYTES], "big")

    def _failed(self, reason: FailureReason, what: str) -> ReadFailedError:
        return ReadFailedError(reason, f"{self._subject}: {what}")


def call(path: Path, method: str, deadline: Deadline, limit: int) -> bytes:
    """The answer to an empty message, of at most `limit` bytes, on a connection of its own.

    Raises:
        ReadFailedError: `absent`, there is no socket; `denied`, no access; `refused`, nothing listens;
            `timeout`; `connection`, it broke off; `not_kubelet`, something else answers; `malformed`;
            `too_large`; `exhausted`, too many requests; `starting`, it does not know its pods yet;
            `unimplemented`; `grpc_status`, any other refusal.
    """
    conversation = GrpcCall(method, str(path), limit, deadline.left())
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(deadline.left())
        try:
            connection.connect(str(path))
        except OSError as failure:  # one without `strerror` is of a path longer than an address may be
            reason = CONNECT_REASONS.get(type(failure), FailureReason.CONNECTION)
            problem = failure.strerror or str(failure)
            if reason is FailureReason.TIMEOUT:
                problem = "takes no connection"
            elif os.path.isdir(path) or os.path.isfile(path):
                problem = "no socket"
            raise ReadFailedError(reason, f"{path}: {problem}") from failure
        if fault := root().fault(connection):
            raise ReadFailedError(FailureReason.NOT_KUBELET, f"{path}: {fault}, not root")
        try:
            ended = False
            while not ended:
                connection.settimeout(deadline.left())
                connection.sendall(conversation.to_send())
                connection.settimeout(deadline.left())
                data = connection.recv(RECEIVE_BYTES)
                if not data:
                    problem = f"{path}: closed before the answer was whole"
                    raise ReadFailedError(FailureReason.CONNECTION, problem)
                ended = conversation.feed(data)
        except TimeoutError as failure:
            raise ReadFailedError(FailureReason.TIMEOUT, f"{path}: no whole answer in time") from failure
        except OSError as failure:
            raise ReadFailedError(FailureReason.CONNECTION, f"{path}: {failure.strerror}") from failure
    return conversation.message()


def _code(code: ErrorCodes | int | None) -> str:
    return code.name if isinstance(code, ErrorCodes) else str(code)
