"""A kubelet's gRPC server, and programs that are none, on Unix sockets."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from exporter.clock import SystemClock
from exporter.readings import ReadFailedError
from exporter.sources.kubelet import PodResourcesSource

Script = Callable[[socket.socket], None]


class Kubelet(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    """gRPC's own server, which answers one method with bytes, or with a status."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reply = b""
        self.status: grpc.StatusCode | None = None
        self.methods: list[str] = []
        self.requests: list[bytes] = []
        self._server: Any = None
        self._pool: ThreadPoolExecutor | None = None

    def service(self, handler_call_details: Any) -> Any:
        self.methods.append(handler_call_details.method)
        if handler_call_details.method != "/v1.PodResourcesLister/List":
            return None
        return grpc.unary_unary_rpc_method_handler(self._list)

    def start(self) -> None:
        """Make the socket, anew if there is one, and answer on it."""
        self.path.unlink(missing_ok=True)
        self._pool = ThreadPoolExecutor(1)
        self._server = grpc.server(self._pool, handlers=(self,))
        self._server.add_insecure_port(f"unix:{self.path}")
        self._server.start()

    def stop(self) -> None:
        if self._server is not None and self._pool is not None:
            self._server.stop(None).wait(10)
            self._pool.shutdown()
            self._server = None

    def _list(self, request: bytes, context: Any) -> bytes:
        self.requests.append(request)
        if self.status is not None:
            context.abort(self.status, "said 100% no")
        return self.reply


@pytest.fixture
def kubelet(tmp_path: Path) -> Iterator[Kubelet]:
    made = Kubelet(tmp_path / "kubelet.sock")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Script], Path]]:
    """Start a server that runs a script with its first connection; returns its socket.

    It ends with the test.
    """
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def accept(listener: socket.socket, script: Script) -> None:
        try:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10)
                script(connection)
        except OSError:
            return

    def start(script: Script) -> Path:
        path = tmp_path / "other.sock"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        listeners.append(listener)
        threads.append(threading.Thread(target=accept, args=(listener, script), daemon=True))
        threads[-1].start()
        return path

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def failure_of() -> Callable[..., ReadFailedError]:
    """What a read of a socket fails with."""

    def fail(path: Path, **options: Any) -> ReadFailedError:
        with pytest.raises(ReadFailedError) as failure:
            PodResourcesSource(SystemClock(), path=path, **options).read()
        return failure.value

    return fail
