"""A kubelet on a Unix socket, and programs that are none."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.clock import SystemClock
from exporter.readings import ReadFailedError
from exporter.sources.kubelet import PodResourcesSource
from tests.sources.kubelet.kubelet_server import Kubelet

Script = Callable[[socket.socket], None]


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
