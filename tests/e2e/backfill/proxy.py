"""A proxy before a Prometheus that counts the queries it has at once, and can answer badly instead."""

import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import NamedTuple

from tests.e2e.fleet.loopback import Loopback, Quiet


class ProxyAnswer(NamedTuple):
    """What is answered: nothing at all for a status of 0, until the proxy lets go."""

    status: int
    body: bytes
    kind: str = "application/json"
    location: str = ""


Fault = Callable[[str], ProxyAnswer | None]
"""The answer to a path; none: the Prometheus answers."""


class FaultyProxy(Loopback):
    """Passes requests on to an address. `most` is the largest number that were under way at once."""

    def __init__(self, address: str = "", fault: Fault = lambda _path: None) -> None:
        self.most = self.requests = 0
        self.failures: list[int] = []
        self._now = 0
        self._lock = threading.Lock()
        self._left = threading.Event()
        proxy = self

        class ProxyHandler(Quiet):
            def do_GET(self) -> None:  # noqa: N802
                self._pass(None)

            def do_POST(self) -> None:  # noqa: N802
                self._pass(self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def _pass(self, body: bytes | None) -> None:
                with proxy._lock:
                    proxy.requests += 1
                    proxy._now += 1
                    proxy.most = max(proxy.most, proxy._now)
                answer = fault(self.path) or self._passed_on(body)
                with proxy._lock:  # before it is sent: whoever has it may ask again at once
                    proxy._now -= 1
                if answer.status:
                    self._say(answer)
                else:
                    proxy._left.wait()

            def _passed_on(self, body: bytes | None) -> ProxyAnswer:
                kind = self.headers.get("Content-Type", "application/x-www-form-urlencoded")
                request = urllib.request.Request(  # noqa: S310 - loopback
                    f"{address}{self.path}", body, {"Content-Type": kind}
                )
                try:
                    with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310 - loopback
                        return ProxyAnswer(answer.status, answer.read(), answer.headers["Content-Type"])
                except urllib.error.HTTPError as error:
                    proxy.failures.append(error.code)
                    return ProxyAnswer(error.code, error.read(), error.headers["Content-Type"])

            def _say(self, answer: ProxyAnswer) -> None:
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.kind)
                if answer.location:
                    self.send_header("Location", answer.location)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

        super().__init__(ProxyHandler)
        self.url = f"http://{self.address}"

    def leave(self) -> None:
        """Let go of requests that wait for an answer."""
        self._left.set()
