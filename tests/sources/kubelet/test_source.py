"""The kubelet's socket as it is found: served, absent, hung, made anew, somebody else's."""

import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import PingAckReceived

from exporter.clock import SystemClock
from exporter.readings import ReadFailedError
from exporter.sources.kubelet import Allocations, PodResourcesSource
from exporter.sources.kubelet.pod_resources import with_uuids
from tests import unprivileged
from tests.kit.clock import ManualClock, clock_at
from tests.kit.units import SECOND
from tests.rights import USERS

EXCLUSIVE = (Path(__file__).parent / "replies" / "exclusive.binpb").read_bytes()

Failure = Callable[..., ReadFailedError]
Serve = Callable[[Callable[[socket.socket], None]], Path]


@pytest.fixture
def clock() -> ManualClock:
    return clock_at(1000 * SECOND)


def reason_of(source: PodResourcesSource) -> str:
    """What a read fails with; empty for one that does not."""
    try:
        source.read()
    except ReadFailedError as failed:
        return failed.reason
    return ""


def test_an_answer_is_given_again_for_30_seconds(kubelet: Any, clock: ManualClock) -> None:
    """All who watch a host share what the kubelet lets be asked; what was not understood counts once."""
    kubelet.reply = (Path(__file__).parent / "replies" / "unknown.binpb").read_bytes()
    source = PodResourcesSource(clock, path=kubelet.path)
    errors = []
    for _ in range(4):
        source.read()
        errors.append(source.errors)
        clock.now += 10 * SECOND
    assert len(kubelet.requests) == 2
    assert errors == [(("unknown_device", 3),), (), (), (("unknown_device", 3),)]


def test_numbers_of_gpus_are_looked_up_at_every_read(kubelet: Any, clock: ManualClock) -> None:
    """An answer that is given again knows the GPUs that NVML told since."""
    kubelet.reply = (Path(__file__).parent / "replies" / "gke.binpb").read_bytes()
    source = PodResourcesSource(clock, path=kubelet.path)
    for uuids, expected in (({}, ["", "", "", ""]), ({"nvidia1": "GPU-one"}, ["", "GPU-one", "", ""])):
        answer = with_uuids(source.read(), uuids)
        assert [allocation.device.uuid for allocation in answer.allocations] == expected
    assert len(kubelet.requests) == 1


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (grpc.StatusCode.UNIMPLEMENTED, "unimplemented"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "exhausted"),
        (grpc.StatusCode.PERMISSION_DENIED, "denied"),
        (grpc.StatusCode.UNAVAILABLE, "grpc_status"),
    ],
)
def test_after_a_refusal_the_next_read_asks_again(
    kubelet: Any, clock: ManualClock, status: grpc.StatusCode, reason: str
) -> None:
    """No refusal leaves the GPUs of a node without their pods for longer than it lasts."""
    kubelet.status = status
    source = PodResourcesSource(clock, path=kubelet.path)
    assert [reason_of(source), reason_of(source)] == [reason, reason]
    assert len(kubelet.requests) == 2
    kubelet.status = None
    assert reason_of(source) == ""


def test_a_restart_costs_one_answer_at_most(kubelet: Any, clock: ManualClock) -> None:
    """The socket is gone, then there is another one under its name."""
    kubelet.reply = EXCLUSIVE
    source = PodResourcesSource(clock, path=kubelet.path, keep=0)
    before = source.read()
    kubelet.stop()
    assert reason_of(source) in ("absent", "refused")
    kubelet.start()
    assert source.read() == before


def test_what_was_told_before_a_failure_is_not_given_again(kubelet: Any, clock: ManualClock) -> None:
    """A failed read says so, also when its answer before was not old."""
    source = PodResourcesSource(clock, path=kubelet.path)
    source.read()
    kubelet.stop()
    assert reason_of(source) == ""
    clock.now += 30 * SECOND
    assert reason_of(source) in ("absent", "refused")
    assert reason_of(source) in ("absent", "refused")


def test_a_large_answer_is_read(kubelet: Any) -> None:
    """1.5 MB, as of a host with thousands of pods: messages behind each other are one."""
    pods = [EXCLUSIVE.replace(b"embed-0", b"e%06d" % number) for number in range(4000)]
    kubelet.reply = b"".join(pods)
    assert len(kubelet.reply) > 1_500_000
    reading = PodResourcesSource(SystemClock(), path=kubelet.path, timeout=20).read()
    assert [allocation.pod for allocation in reading.allocations[2:]] == [
        f"e{number:06d}" for number in range(4000)
    ]


def test_more_than_16_megabytes_are_refused(kubelet: Any, failure_of: Failure) -> None:
    """By what the answer says of itself."""
    kubelet.reply = bytes(16 * 1024 * 1024 + 1)
    failed = failure_of(kubelet.path, timeout=20)
    assert (failed.reason, str(failed)) == ("too_large", f"{kubelet.path}: more than 16777216 bytes")


def test_a_host_without_a_kubelet_has_no_socket(tmp_path: Path, failure_of: Failure) -> None:
    """Nor may a folder on the way to it be a file."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "kubelet.sock", tmp_path / "none" / "kubelet.sock", tmp_path / "file" / "sock"):
        failed = failure_of(path)
        assert failed.reason == "absent"
        assert str(failed).startswith(f"{path}: No")


def test_a_directory_in_place_of_the_socket_is_told(tmp_path: Path, failure_of: Failure) -> None:
    """A container runtime makes one where the file to mount was not there yet."""
    failed = failure_of(tmp_path)
    assert (failed.reason, str(failed)) == ("refused", f"{tmp_path}: no socket")


def test_a_socket_that_was_left_behind_is_told(tmp_path: Path, failure_of: Failure) -> None:
    """A kubelet that was killed leaves its own."""
    path = tmp_path / "kubelet.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    failed = failure_of(path)
    assert (failed.reason, str(failed)) == ("refused", f"{path}: Connection refused")


@pytest.mark.skipif(os.geteuid() != 0, reason=USERS)
def test_a_socket_at_which_another_user_listens_is_told(tmp_path: Path, failure_of: Failure) -> None:
    """Whoever may write to the folder: a kubelet is root's."""
    path = tmp_path / "kubelet.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        os.seteuid(unprivileged.STRANGER)
        try:
            listener.listen()
        finally:
            os.seteuid(0)
        failed = failure_of(path)
    assert (failed.reason, str(failed)) == ("not_kubelet", f"{path}: uid 65534 listens there, not root")


def test_a_path_too_long_for_a_socket_is_told(tmp_path: Path, failure_of: Failure) -> None:
    """An address has room for 107 bytes."""
    path = tmp_path / ("x" * 108)
    failed = failure_of(path)
    assert (failed.reason, str(failed)) == ("connection", f"{path}: AF_UNIX path too long")


@pytest.mark.parametrize("locked", ["socket", "folder"])
def test_a_socket_for_others_is_told(kubelet: Any, locked: str) -> None:
    """As user 65534 in the DaemonSet's place would find it."""
    path = kubelet.path if locked == "socket" else kubelet.path.parent
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(0)
    script = (
        "import sys; from pathlib import Path; from exporter.clock import SystemClock\n"
        "from exporter.readings import ReadFailedError\n"
        "from exporter.sources.kubelet import PodResourcesSource\n"
        "try: PodResourcesSource(SystemClock(), path=Path(sys.argv[1])).read()\n"
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
    assert completed.stdout == f"denied {kubelet.path}: Permission denied\n"


def test_a_socket_that_nobody_takes_from_is_told(tmp_path: Path, failure_of: Failure) -> None:
    """A kubelet that hangs: first it does not answer, then its queue is full."""
    path = tmp_path / "kubelet.sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
        listener.bind(str(path))
        listener.listen(0)
        failed = failure_of(path, timeout=0.1)
        assert failed.reason == "timeout"
        other.setblocking(False)
        other.connect_ex(str(path))
        failed = failure_of(path, timeout=0.1)
    assert (failed.reason, str(failed)) == ("timeout", f"{path}: takes no connection")


def test_one_deadline_bounds_a_whole_answer(serve: Serve, failure_of: Failure) -> None:
    """A ping now and then keeps no read alive."""
    done = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"\0\0\0\4\0\0\0\0\0")
        while not done.wait(0.01):
            connection.sendall(b"\0\0\x08\x06\0\0\0\0\0" + bytes(8))

    failed = failure_of(serve(drip), timeout=0.3)
    done.set()
    assert failed.reason == "timeout"


def test_a_page_in_place_of_the_kubelet_is_told(serve: Serve, failure_of: Failure) -> None:
    """Somebody's web server on that path."""

    def page(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<html></html>")

    path = serve(page)
    failed = failure_of(path)
    assert (failed.reason, str(failed)) == ("not_kubelet", f"{path}: answers, but not by HTTP/2")


def test_a_server_that_waits_for_an_acknowledgment_gets_it(serve: Serve) -> None:
    """Go's servers measure a connection by pings before they fill it."""

    def answer(connection: socket.socket) -> None:
        server = H2Connection(H2Configuration(client_side=False))
        server.initiate_connection()
        server.ping(b"12345678")
        connection.sendall(server.data_to_send())
        while not any(isinstance(e, PingAckReceived) for e in server.receive_data(connection.recv(65536))):
            continue
        server.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
        server.send_data(1, bytes(5))
        server.send_headers(1, [("grpc-status", "0")], end_stream=True)
        connection.sendall(server.data_to_send())

    assert PodResourcesSource(SystemClock(), path=serve(answer)).read() == Allocations()


def test_who_hangs_up_is_told(serve: Serve, failure_of: Failure) -> None:
    """Before a word, as when a kubelet stops."""

    def hang_up(connection: socket.socket) -> None:
        connection.recv(65536)

    path = serve(hang_up)
    failed = failure_of(path)
    assert (failed.reason, str(failed)) == ("connection", f"{path}: closed before the answer was whole")


def test_a_connection_ends_with_its_question(serve: Serve) -> None:
    """A failure closes it as well; nothing is held between reads."""
    closed = threading.Event()

    def watch(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        while connection.recv(65536):
            continue
        closed.set()

    source = PodResourcesSource(SystemClock(), path=serve(watch))
    assert reason_of(source) == "not_kubelet"
    assert closed.wait(10)
    source.close()


def test_http2_is_not_loaded_before_it_is_needed() -> None:
    """A host without a kubelet and without https does not pay for it."""
    script = (
        "import exporter.sources.kubelet, exporter.sources.http_client, sys; print('h2' in sys.modules)\n"
        "import exporter.sources.kubelet.grpc; print('h2' in sys.modules)"
    )
    completed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert completed.stdout == "False\nTrue\n"
