"""The socket of the Pods API as it is found: served, starting, absent, hung, somebody else's."""

import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from exporter.clock import SystemClock
from exporter.readings import ReadFailedError
from exporter.sources.http_client import Deadline
from exporter.sources.kubelet import pods_api
from tests import unprivileged
from tests.sources.kubelet.kubelet_server import Kubelet

RECORDING = Path(__file__).parents[1] / "kubernetes" / "recordings" / "kubelet-pods.binpb"

Serve = Callable[[Callable[[socket.socket], None]], Path]


def failure(path: Path, seconds: float = 20.0) -> tuple[str, str]:
    """Reason and message of a question that fails, without the path."""
    with pytest.raises(ReadFailedError) as failed:
        list(pods_api.pods(path, Deadline(SystemClock(), seconds)))
    subject, _, message = str(failed.value).partition(": ")
    assert subject == str(path)
    return failed.value.reason, message


def test_one_question_tells_all_pods(kubelet: Kubelet) -> None:
    """With an empty message, whose service and method are the kubelet's."""
    kubelet.reply = RECORDING.read_bytes()
    pods_now = list(pods_api.pods(kubelet.path, Deadline(SystemClock(), 20.0)))

    assert [pod["metadata"]["name"] for pod in pods_now[:2]] == ["chat-7c9d8f6b5d-x2k4p", "embed-0"]
    assert len(pods_now) == 14
    assert (kubelet.methods, kubelet.requests) == (["/v1alpha1.Pods/ListPods"], [b""])


@pytest.mark.parametrize(
    ("status", "reason", "number"),
    [
        (grpc.StatusCode.FAILED_PRECONDITION, "starting", 9),
        (grpc.StatusCode.UNIMPLEMENTED, "unimplemented", 12),
        (grpc.StatusCode.PERMISSION_DENIED, "denied", 7),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "exhausted", 8),
        (grpc.StatusCode.INTERNAL, "grpc_status", 13),
    ],
)
def test_a_refusal_is_told_by_what_is_to_be_done(
    kubelet: Kubelet, status: grpc.StatusCode, reason: str, number: int
) -> None:
    """A kubelet that starts says so rather than tell some of its pods."""
    kubelet.status = status

    assert failure(kubelet.path) == (reason, f"gRPC status {number}: said 100% no")


def test_what_is_no_kubelet_is_told(serve: Serve, tmp_path: Path) -> None:
    """Somebody's web server on that path, a file, nothing."""

    def page(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<html></html>")

    assert failure(serve(page)) == ("not_kubelet", "answers, but not by HTTP/2")
    (tmp_path / "file").touch()
    assert failure(tmp_path / "file") == ("refused", "no socket")
    assert failure(tmp_path / "none") == ("absent", "No such file or directory")


def test_a_kubelet_that_hangs_is_given_up(tmp_path: Path) -> None:
    """In the time of one question."""
    path = tmp_path / "hung.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        assert failure(path, seconds=0.1) == ("timeout", "no whole answer in time")


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"<html>Sign in</html>", "wire type 4, at byte 1"),
        (RECORDING.read_bytes()[:-1], "a field that ends after its message, at byte"),
    ],
)
def test_what_is_no_list_of_pods_is_no_answer(kubelet: Kubelet, reply: bytes, message: str) -> None:
    """Not "no pods", nor those that came before it broke."""
    kubelet.reply = reply
    reason, words = failure(kubelet.path)

    assert reason == "malformed"
    assert words.startswith(message)


def test_more_than_16_megabytes_are_refused(kubelet: Kubelet) -> None:
    """By what the answer says of itself."""
    kubelet.reply = bytes(pods_api.REPLY_BYTES_MAX + 1)

    assert failure(kubelet.path) == ("too_large", "more than 16777216 bytes")


@pytest.mark.parametrize("locked", ["socket", "folder"])
def test_a_socket_for_root_alone_is_told(kubelet: Kubelet, locked: str) -> None:
    """In a folder of others it might as well not be there; asked all the same, it is denied."""
    path = kubelet.path if locked == "socket" else kubelet.path.parent
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(0)
    script = (
        "import sys; from pathlib import Path; from exporter.clock import SystemClock\n"
        "from exporter.readings import ReadFailedError\n"
        "from exporter.sources.http_client import Deadline\n"
        "from exporter.sources.kubelet import pods_api\n"
        "path = Path(sys.argv[1]); print(pods_api.is_served(path))\n"
        "try: list(pods_api.pods(path, Deadline(SystemClock(), 20.0)))\n"
        "except ReadFailedError as failed: print(failed.reason, failed)"
    )
    try:
        completed = subprocess.run(
            unprivileged.command(sys.executable, "-c", script, str(kubelet.path)),
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        path.chmod(mode)

    assert completed.stdout == f"{locked == 'socket'}\ndenied {kubelet.path}: Permission denied\n"


def test_the_socket_is_looked_for_where_kubernetes_says() -> None:
    """Its documentation has one path, for every release that serves it."""
    assert str(pods_api.SOCKET) == "/var/lib/kubelet/pods-api/pods-api.sock"
