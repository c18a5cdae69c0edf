"""Servers that fail in the ways that servers do, and keep account of what they told all the same."""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Final

from tests.e2e.account import PACES
from tests.e2e.load import Counts, Load, Server

LONGEST_HANG: Final = 60.0
FIRST_PROCESS: Final = 1_795_560_821


class Faulty(Server):
    """A server that may hang, trickle, lie, be dead, or be another process which has counted nothing."""

    def __init__(self, name: str, pace: Counts, told: Callable[[], None]) -> None:
        self.state = "well"
        self.well = threading.Event()
        self.process = FIRST_PROCESS
        self.ended: list[Counts] = []
        """The last counters of processes before this one."""
        super().__init__(name, pace, told)

    def be(self, state: str) -> None:
        """Answer so from now on."""
        self.state = state
        if state == "well":
            self.well.set()
        else:
            self.well.clear()

    def restart(self) -> None:
        """Another process. The one before must have been read at rest."""
        assert self._frozen is not None
        self.ended.append(self._frozen)
        self.process = max(self.process + 1, int(time.time()))
        self._began, self._frozen = time.monotonic_ns(), None

    def expected(self) -> Counts:
        """What was served since the first read, by kind; the present process is at rest."""
        assert self._frozen is not None
        sums = [sum(kinds) for kinds in zip(*self.ended, self._frozen, strict=True)]
        prompt, cached, generation = (whole - first for whole, first in zip(sums, self.told[0], strict=True))
        return prompt, cached, generation

    def _page(self) -> bytes:
        return super()._page().replace(b"1.7955608211e+09", f"{self.process}.5".encode())

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server, well = self, super()._handler()

        class Handler(well):  # type: ignore[misc, valid-type]
            def do_GET(self) -> None:  # noqa: N802 - the base class names it
                match server.state:
                    case "hangs":
                        server.well.wait(LONGEST_HANG)
                        self.close_connection = True
                    case "trickles":
                        self._trickle()
                    case "lies":
                        self._say(b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n<html>hello<p>")
                    case "fails":
                        self._say(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
                    case _:
                        super().do_GET()

            def _say(self, answer: bytes) -> None:
                self.wfile.write(answer)

            def _trickle(self) -> None:
                self.close_connection = True
                try:
                    while not server.well.wait(0.2):
                        self._say(b"H")
                except OSError:
                    return  # who read it has had enough

        return Handler


class FaultyLoad(Load):
    """Servers that may be anything but well."""

    def __init__(self) -> None:
        self._reads = 0
        self._read = threading.Condition()
        self.servers = {name: Faulty(name, pace, self._told) for name, pace in PACES.items()}
