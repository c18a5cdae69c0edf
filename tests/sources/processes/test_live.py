"""Processes of this machine, read with all rights, with none, and from other namespaces."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from exporter.clock import SystemClock
from exporter.sources.processes import ProcessSource
from exporter.sources.processes.census import read
from exporter.sources.processes.procfs import COMMAND_BYTES, Proc
from tests.rights import NAMESPACES
from tests.sources.processes import proc_tree
from tests.sources.processes.live_processes import of, read_as, separable, server_of, started

root_only = pytest.mark.skipif(not separable(), reason=NAMESPACES)


def test_a_worker_that_renames_itself_is_found_with_its_server(tmp_path: Path) -> None:
    """The title hides the worker's command line; ancestry, the open socket and the parent's flags tell."""
    with started(tmp_path) as one:
        group = of(ProcessSource(SystemClock()).read([one.worker]), one.worker)

    assert group.name == "VLLM::EngineCore"
    server = group.server
    assert server is not None
    assert (server.process.pid, server.port) == (one.server, one.port)
    assert (server.launch.engine, server.launch.model, server.launch.named_port) == (
        "vllm",
        "tiny/model",
        one.port,
    )
    assert (server.reach, server.hosts) == ("here", ("127.0.0.1",))
    assert group.sockets is not None
    assert [(listener.host, listener.port) for listener in group.sockets.listening] == [
        ("127.0.0.1", one.port)
    ]


def test_what_is_read_is_what_psutil_reads(tmp_path: Path) -> None:
    """Parent, start, command line and sockets agree with an independent reader's."""
    with started(tmp_path, "--seed", "7") as one:
        process = read(Proc(), one.server, set())
        oracle = psutil.Process(one.server)
        expected = (oracle.ppid(), oracle.cmdline(), oracle.create_time() - psutil.boot_time())
        sockets = {
            (at.laddr.ip, at.laddr.port) for at in oracle.net_connections("tcp") if at.status == "LISTEN"
        }
        group = of(ProcessSource(SystemClock()).read([one.worker]), one.worker)

    assert process is not None
    assert group.sockets is not None
    assert (process.parent, [*process.argv]) == expected[:2]
    assert process.started / 1e9 == pytest.approx(expected[2], abs=0.02)
    assert {(listener.host, listener.port) for listener in group.sockets.listening} == sockets


def test_a_name_like_a_line_of_its_status_gives_no_user() -> None:
    """A process may be named `Uid:` and numbers, which psutil takes for its user."""
    named = "import ctypes; ctypes.CDLL(None).prctl(15, b'Uid:\\t7\\t7\\t7'); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", named], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        process_read = read(Proc(), process.pid, set())
        by_psutil = psutil.Process(process.pid).uids()
        process.stdin.close()
        process.wait(30)

    assert process_read is not None
    assert process_read.user == os.getuid()
    assert by_psutil.real == 7, "psutil has been mended: `uids` may be its own"


def test_a_start_is_told_in_boot_time(tmp_path: Path) -> None:
    """A process begins between two readings of the clock that everything else is told by."""
    clock = SystemClock()
    before = clock.elapsed()
    with started(tmp_path) as one:
        after = clock.elapsed()
        group = of(ProcessSource(clock).read([one.worker]), one.worker)

    assert before - 10_000_000 <= group.started <= after


def test_as_root_without_capabilities_the_port_is_told_by_the_command_line(tmp_path: Path) -> None:
    """Neither open files nor namespaces can be read, and nothing is missing but the certainty."""
    with started(tmp_path) as one:
        answer = read_as("capabilities", one.worker)

    server = server_of(answer, one.worker)
    row = (server["process"][0], server["port"], server["reach"], server["hosts"])
    assert row == (one.server, one.port, "here", ["127.0.0.1"])
    assert answer["errors"].keys() <= {"not_listening"}  # of other tests' servers
    assert answer["problem"] == ""


@root_only
def test_any_user_finds_the_servers_of_others(tmp_path: Path) -> None:
    """Where /proc hides nothing, nobody reads what root without capabilities reads."""
    with started(tmp_path) as one:
        answer = read_as("nobody", one.worker)

    server = server_of(answer, one.worker)
    assert (server["process"][0], server["port"]) == (one.server, one.port)
    assert (server["reach"], answer["reading"]["unseen"]) == ("here", [])


@root_only
def test_what_hidepid_hides_is_said(tmp_path: Path) -> None:
    """Nobody sees no process of root's then, and the reading says why."""
    hiding = ("unshare", "--mount", "sh", "-c", 'mount -t proc -o hidepid=2 proc /proc && exec "$@"', "sh")
    with started(tmp_path) as one:
        answer = read_as("nobody", one.worker, one.server, prefix=hiding)

    # Tests that run beside this one may have servers of nobody's own.
    assert [group for group in answer["reading"]["groups"] if group["user"] == 0] == []
    assert answer["reading"]["unseen"] == sorted([one.worker, one.server])
    assert answer["errors"] == {"hidden": 2}
    assert answer["problem"] == (
        "2 of the processes that compute are not seen: "
        "/proc is mounted with hidepid, which hides other users' processes; root sees them"
    )


@root_only
def test_what_hidepid_refuses_is_said(tmp_path: Path) -> None:
    """Its first kind shows that there are processes, and no file of theirs."""
    refusing = ("unshare", "--mount", "sh", "-c", 'mount -t proc -o hidepid=1 proc /proc && exec "$@"', "sh")
    with started(tmp_path) as one:
        answer = read_as("nobody", one.worker, prefix=refusing)

    assert answer["reading"]["unseen"] == [one.worker]
    assert answer["errors"] == {"denied": 1}
    assert answer["problem"].endswith("not seen: the processes of other users may not be read")


@root_only
def test_a_process_namespace_of_its_own_is_said(tmp_path: Path) -> None:
    """A container without the host's processes sees none of NVML's, and the reading says why."""
    apart = ("unshare", "--pid", "--fork", "--mount-proc")
    with started(tmp_path) as one:
        answer = read_as("rights", one.worker, prefix=apart)

    assert answer["reading"]["unseen"] == [one.worker]
    assert answer["errors"] == {"namespace": 1}
    assert answer["problem"].endswith("it needs the host's (hostPID, --pid=host)")


@contextmanager
def joined(pid: int) -> Iterator[str]:
    """A pair of interfaces between this network namespace and a process's; yields the far address."""
    near, third = f"ice{pid}a"[:15], os.getpid() % 250 + 1
    far = f"ice{pid}b"[:15]
    inside = ["nsenter", "--net", "--target", str(pid)]
    for command in (
        ["ip", "link", "add", near, "type", "veth", "peer", "name", far],
        ["ip", "link", "set", far, "netns", str(pid)],
        ["ip", "addr", "add", f"10.213.{third}.1/24", "dev", near],
        ["ip", "link", "set", near, "up"],
        [*inside, "ip", "addr", "add", f"10.213.{third}.2/24", "dev", far],
        [*inside, "ip", "link", "set", far, "up"],
    ):
        subprocess.run(command, check=True, timeout=30, capture_output=True)
    try:
        yield f"10.213.{third}.2"
    finally:
        subprocess.run(["ip", "link", "del", near], check=True, timeout=30, capture_output=True)


@root_only
@pytest.mark.parametrize("rights", ["rights", "capabilities", "nobody"])
def test_a_server_in_another_network_namespace_is_reached_by_its_address(tmp_path: Path, rights: str) -> None:
    """Its sockets and addresses are read through its own /proc, and the address answers."""
    with started(tmp_path, port=8000, prefix=("unshare", "--net")) as one, joined(one.server) as address:
        server = server_of(read_as(rights, one.worker), one.worker)
        with socket.create_connection((server["hosts"][0], server["port"]), timeout=30) as connection:
            answered = connection.getpeername()

    assert (server["reach"], server["hosts"]) == ("address", [address])
    assert answered == (address, 8000)


@root_only
def test_a_server_in_a_network_namespace_without_an_address_is_not_reached(tmp_path: Path) -> None:
    """It listens, and nothing leads there: no address is made up."""
    with started(tmp_path, port=8000, prefix=("unshare", "--net")) as one:
        server = of(ProcessSource(SystemClock()).read([one.worker]), one.worker).server

    assert server is not None
    assert (server.port, server.reach, server.hosts) == (8000, "unknown", ())


def test_a_hostile_command_line_is_bounded_and_named_plainly(tmp_path: Path) -> None:
    """A megabyte of escape sequences, quotes and line ends names nothing, and its keys are not kept."""
    script = tmp_path / '\x1b[31mtrain\n{}".py'
    script.write_text("import sys; print(flush=True); sys.stdin.read()", encoding="utf-8")
    words = ["--api-key=sk-secret", "\x1b]0;title\x07\r\n", *["\u202e" * 30_000] * 12]
    with subprocess.Popen(
        [sys.executable, str(script), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        assert len(Path(f"/proc/{process.pid}/cmdline").read_bytes()) > 1_000_000
        whole = read(Proc(), process.pid, set())
        group = of(ProcessSource(SystemClock()).read([process.pid]), process.pid)
        process.stdin.close()
        process.wait(30)

    assert whole is not None
    assert sum(len(word.encode()) + 1 for word in whole.argv) <= COMMAND_BYTES
    assert group.name == "31mtrain_.py"
    assert "secret" not in repr(group)


def test_a_recorded_page_of_live_processes_is_read_as_they_are(tmp_path: Path) -> None:
    """What the recorder writes down, keys masked, is grouped as the processes themselves."""
    (tmp_path / "tree").mkdir()
    with started(tmp_path, "--api-key", "sk-secret") as one:
        page = proc_tree.page([one.server, one.worker])
        lived = of(ProcessSource(SystemClock()).read([one.worker]), one.worker)
    recorded = of(
        ProcessSource(SystemClock(), root=proc_tree.plant(page, tmp_path / "tree")).read([one.worker]),
        one.worker,
    )

    assert "secret" not in page
    assert recorded.server is not None
    assert lived.server is not None
    assert (recorded.computing, recorded.name) == (lived.computing, lived.name)
    assert (recorded.server.port, recorded.server.process) == (lived.server.port, lived.server.process)
    assert recorded.server.launch == lived.server.launch
    assert recorded.server.hosts == lived.server.hosts
