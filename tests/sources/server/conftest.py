"""Servers with scripted answers: by a mocked transport, or as real threads on loopback."""

import socket
import threading
from collections.abc import Callable, Collection, Iterator
from typing import Any

import httpx
import pytest

from exporter.clock import Clock
from exporter.engines import Described
from exporter.readings import ServerKey
from exporter.sources.http_client import HttpClientProtocol, unverified_client
from exporter.sources.https_client import HttpsClient
from exporter.sources.server import KnownEngines, ServerContext, ServerSource, Target, shared_client
from exporter.sources.server.endpoint import DIRECT, EndpointAccess
from tests.kit.clock import ManualClock

VLLM_PAGE = b"""process_start_time_seconds 1.5e9
vllm:num_requests_running{engine="0",model_name="m"} 2
vllm:prompt_tokens_total{engine="0",model_name="m"} 70
vllm:generation_tokens_total{engine="0",model_name="m"} 30
"""

Script = Callable[[socket.socket, threading.Event], None]
Make = Callable[..., ServerSource]


class ScriptedServer:
    """Answers by path and query. A path without an answer is 404; `requests` are those of it, in order."""

    def __init__(self) -> None:
        self.answers: dict[str, httpx.Response | Exception | Callable[[], httpx.Response]] = {}
        self.requests: list[httpx.Request] = []

    @property
    def paths(self) -> list[str]:
        return [request.url.raw_path.decode() for request in self.requests]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.get(request.url.raw_path.decode(), httpx.Response(404))
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer

    def set_page(self, path: str, body: bytes, **headers: str) -> None:
        self.answers[path] = lambda: httpx.Response(200, headers=headers, content=iter([body]))


@pytest.fixture
def hand_clock() -> ManualClock:
    """Time that begins at zero, on both clocks."""
    return ManualClock(uptime=0, start=0)


def server_source(
    url: str,
    client: HttpClientProtocol,
    clock: Clock,
    *,
    name: str = "chat",
    engine: str | None = None,
    access: EndpointAccess = DIRECT,
    context: ServerContext | None = None,
    described: Described = (),
    counted_elsewhere: Collection[str] = (),
    **options: Any,
) -> ServerSource:
    """A source; what is known of its server and of engines is optional."""
    target = Target(ServerKey("", name), url, engine, access, context or ServerContext())
    engines = KnownEngines(described, counted_elsewhere)
    return ServerSource(target, client, clock, engines=engines, **options)


@pytest.fixture
def site() -> ScriptedServer:
    return ScriptedServer()


@pytest.fixture
def vllm_page() -> bytes:
    return VLLM_PAGE


@pytest.fixture
def make(site: ScriptedServer, hand_clock: ManualClock) -> Iterator[Make]:
    client = HttpsClient(httpx.Client(transport=httpx.MockTransport(site)))
    sources: list[ServerSource] = []

    def source(
        url: str = "http://127.0.0.1:8000/metrics", *, name: str = "chat", **options: Any
    ) -> ServerSource:
        sources.append(server_source(url, client, hand_clock, name=name, **options))
        return sources[-1]

    yield source
    for made in sources:
        made.close()
    client.close()


@pytest.fixture(params=["plain", "secure"])
def real_client(request: pytest.FixtureRequest) -> Iterator[HttpClientProtocol]:
    """Each of the two: what speaks TLS speaks without it as well, and is held to the same bounds."""
    client = shared_client() if request.param == "plain" else unverified_client()
    yield client
    client.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Script], int]]:
    """Start a server whose every connection runs a script, once the request is there; returns the port.

    All end with the test.
    """
    stop = threading.Event()
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def accept(listener: socket.socket, script: Script, *, waits: bool) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    request = b""
                    while waits and b"\r\n\r\n" not in request:
                        received = connection.recv(65536)
                        if not received:
                            break
                        request += received
                    script(connection, stop)
                except OSError:
                    continue

    def start(script: Script, *, waits: bool = True) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        thread = threading.Thread(
            target=accept, args=(listener, script), kwargs={"waits": waits}, daemon=True
        )
        threads.append(thread)
        thread.start()
        return int(listener.getsockname()[1])

    yield start
    stop.set()
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join(timeout=10)
        assert not thread.is_alive()


@pytest.fixture
def real(real_client: HttpClientProtocol) -> Callable[..., ServerSource]:
    """A source that reads a real port by the host's clock."""
    from exporter.clock import SystemClock

    def source(port: int, **options: Any) -> ServerSource:
        clock: Clock = SystemClock()
        url = f"http://127.0.0.1:{port}/metrics"
        return server_source(url, real_client, clock, engine="vllm", **options)

    return source
