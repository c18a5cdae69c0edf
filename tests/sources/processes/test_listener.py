"""Whether a connection ends at the listener that was judged: in the kernel's own words, and in bad tables."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.sources.processes import listener as listeners
from exporter.sources.processes.listener import (
    ExpectedListener,
    listening_here,
    loopback_address,
    takers,
)
from exporter.sources.processes.procfs import ListeningSocket, Proc
from tests.sources.processes.proc_host import ANY, TABLE, ProcHost, row

CLIENT, CLIENT_PORT = "172.17.0.1", 40_000
"""Our end of a connection to a container."""

CONTAINER, PORT = "172.17.0.2", 8000

OWN = ListeningSocket("", PORT, 77, 1000)


class Connection(socket.socket):
    """A connection by its two ends."""

    def __init__(self, host: str, ours: str = CLIENT, port: int = PORT) -> None:
        super().__init__()
        self._ends = (host, port), (ours, CLIENT_PORT)

    def getpeername(self) -> tuple[str, int]:
        return self._ends[0]

    def getsockname(self) -> tuple[str, int]:
        return self._ends[1]


def established(local: str, remote: str, remote_port: int, port: int = PORT) -> str:
    """The line of a connection."""
    line, there = row(local, port, 0, state="01"), row(remote, remote_port, 0)
    return line.replace(f"{'0' * 8}:0000 01", f"{there.split()[1]} 01")


@pytest.fixture
def container(host: ProcHost) -> Path:
    """The folder of process 10, in a network of its own, where user 1000 listens; its connection is there."""
    host.process(1, "init")
    host.process(10, "vllm", network=((ANY, PORT, 77, 1000),))
    folder = host.root / "10" / "net"
    rows = row(ANY, PORT, 77, 1000) + established(CONTAINER, CLIENT, CLIENT_PORT)
    (folder / "tcp").write_text(TABLE + rows, encoding="ascii")
    return folder


@pytest.fixture
def judged(container: Path) -> ExpectedListener:
    """The listener of that process, as a scan finds it."""
    return ExpectedListener(frozenset({OWN}), process=10, network=(container / "tcp").stat().st_ino)


def fault(host: ProcHost, judged: ExpectedListener, address: str = CONTAINER) -> str:
    """What is wrong with a connection to the container's port."""
    with Connection(address) as connection:
        return judged.fault(connection, Proc(host.root))


def test_a_connection_that_stands_in_its_network_is_believed(
    host: ProcHost, judged: ExpectedListener
) -> None:
    """The control of the tests below."""
    assert fault(host, judged) == ""


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        # Another socket listens, of another user or of the same.
        (
            row(ANY, PORT, 78, 65534) + established(CONTAINER, CLIENT, CLIENT_PORT),
            "another socket than its own listens at 172.17.0.2:8000, of uid 65534",
        ),
        (
            row(ANY, PORT, 78, 1000) + established(CONTAINER, CLIENT, CLIENT_PORT),
            "another socket than its own listens at 172.17.0.2:8000, of uid 1000",
        ),
        # A more specific one takes the connection.
        (
            row(ANY, PORT, 77, 1000)
            + row(CONTAINER, PORT, 78, 0)
            + established(CONTAINER, CLIENT, CLIENT_PORT),
            "another socket than its own listens at 172.17.0.2:8000, of uid 0",
        ),
        # Nothing, or at another port, or no table.
        (established(CONTAINER, CLIENT, CLIENT_PORT), "nothing that can be seen listens at 172.17.0.2:8000"),
        (row(ANY, 8001, 77, 1000), "nothing that can be seen listens at 172.17.0.2:8000"),
        ("garbage\n", "nothing that can be seen listens at 172.17.0.2:8000"),
        # The connection ends elsewhere: no line, another port or address, or our end given to the other side.
        (row(ANY, PORT, 77, 1000), "our connection to 172.17.0.2:8000 does not end in its network"),
        (
            row(ANY, PORT, 77, 1000) + established(CONTAINER, CLIENT, CLIENT_PORT + 1),
            "our connection to 172.17.0.2:8000 does not end in its network",
        ),
        (
            row(ANY, PORT, 77, 1000) + established(CONTAINER, "172.17.0.9", CLIENT_PORT),
            "our connection to 172.17.0.2:8000 does not end in its network",
        ),
        (
            row(ANY, PORT, 77, 1000) + established(CLIENT, CONTAINER, PORT, port=CLIENT_PORT),
            "our connection to 172.17.0.2:8000 does not end in its network",
        ),
    ],
)
def test_in_another_network_the_listener_and_the_connection_are_sought(
    host: ProcHost, container: Path, judged: ExpectedListener, rows: str, problem: str
) -> None:
    """Whatever else is in the table."""
    (container / "tcp").write_text(TABLE + rows, encoding="ascii")
    assert fault(host, judged) == problem


def test_a_connection_over_ipv4_stands_among_those_of_ipv6_where_its_listener_does(
    host: ProcHost, container: Path, judged: ExpectedListener
) -> None:
    """A `::` socket takes both."""
    (container / "tcp").write_text(TABLE, encoding="ascii")
    mapped = row(f"::ffff:{CONTAINER}", PORT, 0, state="01")
    there = row(f"::ffff:{CLIENT}", CLIENT_PORT, 0).split()[1]
    mapped = mapped.replace(f"{'0' * 8}:0000 01", f"{there} 01")
    (container / "tcp6").write_text(TABLE + row("::", PORT, 77, 1000) + mapped, encoding="ascii")
    both = ExpectedListener(frozenset({OWN._replace(host="::")}), process=10, network=judged.network)
    assert fault(host, both) == ""
    (container / "tcp6").write_text(TABLE + row("::", PORT, 77, 1000), encoding="ascii")
    assert fault(host, both) == "our connection to 172.17.0.2:8000 does not end in its network"


def test_in_the_hosts_network_the_listener_is_enough(
    host: ProcHost, container: Path, judged: ExpectedListener
) -> None:
    """Nobody gives that an address but root."""
    (container / "tcp").write_text(TABLE + row(ANY, PORT, 77, 1000), encoding="ascii")
    host.process(1, "init", network=((ANY, PORT, 77, 1000),))
    assert fault(host, judged) == ""


def test_a_table_that_is_longer_than_is_read_proves_nothing(
    host: ProcHost, container: Path, judged: ExpectedListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listener comes first in it, and the connection may be behind the end."""
    other = established(CONTAINER, "172.17.0.9", 1)
    rows = row(ANY, PORT, 77, 1000) + 20 * other + established(CONTAINER, CLIENT, CLIENT_PORT)
    (container / "tcp").write_text(TABLE + rows, encoding="ascii")
    assert fault(host, judged) == ""
    monkeypatch.setattr(listeners, "TABLE_BYTES", len(TABLE + rows) - len(other))
    assert fault(host, judged) == "our connection to 172.17.0.2:8000 does not end in its network"


def test_a_process_that_ended_has_no_listener(host: ProcHost, judged: ExpectedListener) -> None:
    """Nor has another one that has its id, in another network."""
    host.end(10)
    assert fault(host, judged) == "its process has ended"
    host.process(10, "evil", network=((ANY, PORT, 77, 1000), (ANY, 1, 2)))
    folder = host.root / "10" / "net"
    (folder / "kept").write_bytes(b"")  # so that the number of the last table is not given again
    table = (folder / "tcp").read_text(encoding="ascii") + established(CONTAINER, CLIENT, CLIENT_PORT)
    (folder / "tcp").unlink()
    (folder / "tcp").write_text(table, encoding="ascii")
    other = ExpectedListener(judged.sockets, process=10, network=(folder / "tcp").stat().st_ino + 1)
    assert fault(host, other) == "its process has ended"


def test_a_proc_tree_that_cannot_be_read_proves_nothing(
    host: ProcHost, container: Path, judged: ExpectedListener
) -> None:
    """Neither a table nor the whole tree."""
    (container / "tcp").unlink()
    (container / "tcp").mkdir()
    assert fault(host, judged) != ""
    with Connection(CONTAINER) as connection:
        assert judged.fault(connection, Proc(host.root / "nowhere")) != ""


@pytest.fixture
def real() -> Iterator[ExitStack]:
    """Closes real sockets."""
    with ExitStack() as stack:
        yield stack


def listens(real: ExitStack, host: str, port: int = 0, *, dual: bool = False) -> socket.socket:
    """A real listening socket."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return real.enter_context(socket.create_server((host, port), family=family, dualstack_ipv6=dual))


def listed_as(one: socket.socket, host: str) -> ListeningSocket:
    """How a real socket is listed."""
    return ListeningSocket(host, one.getsockname()[1], os.fstat(one.fileno()).st_ino, os.geteuid())


@pytest.mark.parametrize("netlink", [True, False])
@pytest.mark.parametrize(
    ("host", "dual", "listed", "addresses"),
    [
        ("127.0.0.1", False, "127.0.0.1", {"127.0.0.1"}),
        (ANY, False, "", {"127.0.0.1", "127.0.0.9"}),
        ("::1", False, "::1", {"::1"}),
        ("::", True, "::", {"127.0.0.1", "127.0.0.9", "::1"}),
    ],
)
def test_the_socket_of_a_connection_on_this_host_is_the_kernels_word(
    real: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    listed: str,
    addresses: set[str],
    *,
    dual: bool,
    netlink: bool,
) -> None:
    """Without netlink the table says the same."""
    if not netlink:
        monkeypatch.setattr(listeners, "NETLINK_SOCK_DIAG", 31)  # no such protocol
    one = listens(real, host, dual=dual)
    port = one.getsockname()[1]
    for address in ("127.0.0.1", "127.0.0.9", "::1"):
        expected = {listed_as(one, listed)} if address in addresses else set()
        assert listening_here(address, port) == expected


def test_the_kernel_knows_a_socket_for_ipv6_alone(real: ExitStack) -> None:
    """Which no table shows: a stranger's socket beside it takes IPv4."""
    one = listens(real, "::")
    port = one.getsockname()[1]
    assert listening_here("127.0.0.1", port) == set()
    other = listens(real, ANY, port)
    assert listening_here("127.0.0.1", port) == {listed_as(other, "")}
    assert listening_here("::1", port) == {listed_as(one, "::")}


def test_a_connection_on_this_host_ends_at_its_listener_until_that_closes(real: ExitStack) -> None:
    """Then at who listens in its place, of the same user as well."""
    one = listens(real, "127.0.0.1")
    address = one.getsockname()
    judged = ExpectedListener(frozenset({listed_as(one, "127.0.0.1")}))
    by_user = ExpectedListener(users=frozenset({os.geteuid()})).judged(*address)
    assert (by_user.sockets, judged.judged(*address)) == (judged.sockets, judged)
    with socket.create_connection(address) as connection:
        real.enter_context(one.accept()[0])
        assert (judged.fault(connection), by_user.fault(connection)) == ("", "")
        one.close()
        shown = f"127.0.0.1:{address[1]}"
        assert judged.fault(connection) == f"nothing that can be seen listens at {shown}"
        listens(real, *address)
        problem = f"another socket than its own listens at {shown}, of uid {os.geteuid()}"
        assert (judged.fault(connection), by_user.fault(connection)) == (problem, problem)


def test_a_socket_of_another_user_is_not_believed_nor_one_that_nobody_looked_at(real: ExitStack) -> None:
    """Which uids may answer says nothing after the connection: another one may have listened before."""
    address = listens(real, "127.0.0.1").getsockname()
    mine, others = frozenset({os.geteuid()}), frozenset({-1})
    with socket.create_connection(address) as connection:
        problem = f"another socket than its own listens at 127.0.0.1:{address[1]}, of uid {os.geteuid()}"
        assert ExpectedListener(users=others).judged(*address).fault(connection) == problem
        assert ExpectedListener(users=mine).fault(connection) == problem
        assert ExpectedListener(users=mine).judged("localhost", address[1]).fault(connection) == ""
        assert ExpectedListener(users=mine).judged("a.name", address[1]).fault(connection) == problem


def test_an_address_of_another_host_is_held_by_nobody_here(real: ExitStack) -> None:
    """Also where a socket of the user listens at the port on all addresses of this host."""
    port = listens(real, ANY).getsockname()[1]
    mine = ExpectedListener(users=frozenset({os.geteuid()})).judged("192.0.2.1", port)
    with Connection("192.0.2.1", "10.0.0.1", port) as connection:
        assert mine.fault(connection) == f"our connection to 192.0.2.1:{port} does not end in its network"


def test_a_connection_that_was_there_before_is_a_copy(
    host: ProcHost, container: Path, judged: ExpectedListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a network that a user made, which may have any: one for each port from which we may connect."""
    made = replace(judged, unprivileged=True)
    proc, problem = Proc(host.root), "our connection to 172.17.0.2:8000 does not end in its network"
    assert fault(host, made.judged(CONTAINER, PORT, proc)) == problem
    assert fault(host, judged.judged(CONTAINER, PORT, proc)) == ""
    table = (container / "tcp").read_text(encoding="ascii")
    (container / "tcp").write_text(TABLE + row(ANY, PORT, 77, 1000), encoding="ascii")
    before = made.judged(CONTAINER, PORT, proc)
    monkeypatch.setattr(listeners, "TABLE_BYTES", len(TABLE + row(ANY, PORT, 77, 1000)))
    truncated = made.judged(CONTAINER, PORT, proc)
    monkeypatch.undo()
    (container / "tcp").write_text(table, encoding="ascii")
    assert fault(host, before) == ""
    assert fault(host, truncated) == problem


@pytest.mark.parametrize(
    ("users", "four", "six", "address"),
    [
        ((), {1000}, (), "127.0.0.1"),
        ((), (), {1000}, "::1"),
        ((), {1000}, {1000}, "127.0.0.1"),
        ((), (), (), "127.0.0.1"),
        ((), {1000}, {65534}, ""),
        ((), {1000, 65534}, (), ""),
        ({1000}, {1000}, {65534}, "127.0.0.1"),
        ({1000}, {65534}, {1000}, "::1"),
        ({1000}, {65534}, (), "127.0.0.1"),
    ],
)
def test_localhost_is_where_its_holder_listens(
    monkeypatch: pytest.MonkeyPatch, users: set[int], four: set[int], six: set[int], address: str
) -> None:
    """Nowhere, where two users listen and none is named."""
    uids = {"127.0.0.1": four, "::1": six}
    monkeypatch.setattr(
        listeners,
        "listening_here",
        lambda host, port: frozenset(ListeningSocket(host, port, uid, uid) for uid in uids[host]),
    )
    assert loopback_address(PORT, frozenset(users)) == address


@pytest.mark.parametrize(
    ("hosts", "address", "taker"),
    [
        (("", "::"), "127.0.0.1", ""),
        (("", "::"), "::1", "::"),
        (("127.0.0.1", "::"), "127.0.0.1", "127.0.0.1"),
        (("127.0.0.1", "::"), "127.0.0.2", "::"),
        (("127.0.0.1", "::1"), "10.0.0.1", None),
        (("",), "::1", None),
    ],
)
def test_a_connection_goes_to_the_most_specific_socket(
    hosts: tuple[str, ...], address: str, taker: str | None
) -> None:
    """As the kernel scores them; a socket at another port is none."""
    sockets = [ListeningSocket(host, PORT, number, 0) for number, host in enumerate(hosts)]
    sockets.append(ListeningSocket(address, PORT + 1, 99, 0))
    assert [one.host for one in takers(sockets, address, PORT)] == ([] if taker is None else [taker])
