"""What a client sends, bounded in bytes and in time."""

import socket
from typing import Final

from exporter.clock import Clock
from exporter.units import Nanoseconds, seconds

_CHUNK: Final = 4096


class TooLongError(Exception):
    """A client sent more bytes than a head may have."""


class BoundedReader:
    """Reads a connection line by line.

    The bound in time is for a whole request, not for each packet: a client that sends a byte now and then
    is cut off as one that sends nothing.
    """

    def __init__(self, connection: socket.socket, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._buffer = bytearray()
        self._left = 0
        self._deadline: Nanoseconds = 0

    def wait(self, duration: Nanoseconds) -> bool:
        """Wait for the first byte of a request; false when the client has closed.

        Raises:
            TimeoutError: none came.
        """
        self.bound(_CHUNK, duration)
        return bool(self._buffer) or self._fill()

    def bound(self, size: int, duration: Nanoseconds) -> None:
        """Allow so many bytes, in so much time, from now on."""
        self._left = size
        self._deadline = self._clock.elapsed() + duration

    def readline(self) -> bytes:
        """Read up to a line feed; less when the client has closed.

        Raises:
            TooLongError: more bytes than are allowed.
            TimeoutError: not in time.
        """
        allowed = self._left
        while (end := self._buffer.find(b"\n")) < 0 and len(self._buffer) <= allowed:
            if not self._fill():
                end = len(self._buffer) - 1
                break
        if end >= allowed or (end < 0 and self._buffer):
            raise TooLongError
        return self._take(end + 1)

    def read(self, size: int) -> bytes:
        """Read so many bytes; less when the client has closed.

        Raises:
            TimeoutError: not in time.
        """
        while len(self._buffer) < size and self._fill():
            pass
        return self._take(min(size, len(self._buffer)))

    def drain(self, size: int, duration: Nanoseconds) -> None:
        """Read and drop what still comes, up to a size.

        Raises:
            TimeoutError: the client has not closed in time.
        """
        self.bound(size, duration)
        while self._left > 0 and self._fill():
            self._take(len(self._buffer))

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._left -= size
        return taken

    def _fill(self) -> bool:
        left = self._deadline - self._clock.elapsed()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(seconds(left))
        chunk = self._connection.recv(_CHUNK)
        self._buffer += chunk
        return bool(chunk)
