"""Which server has a port that command lines name, where descriptors cannot be read."""

from exporter.clock import SystemClock
from exporter.readings import FailureReason
from exporter.sources.processes import ProcessGroup, ProcessSource
from tests.sources.processes.conftest import Read
from tests.sources.processes.proc_host import ANY, OURS, ProcHost

CONTESTED = FailureReason.PORT_CONTESTED


def claims(groups: tuple[ProcessGroup, ...]) -> dict[int, tuple[int | None, FailureReason | None]]:
    """By process: the port that a server has, and what is wrong with the one that it names."""
    return {
        group.server.process.pid: (group.server.port, group.server.port_fault)
        for group in groups
        if group.server
    }


def test_two_groups_of_one_user_that_name_one_port_have_neither(host: ProcHost, read: Read) -> None:
    """Without descriptors nothing tells whose the socket is; who names another port keeps it."""
    network = (OURS, (ANY, 8000, 1, 1000), (ANY, 8001, 2, 1000))
    for pid, at in ((10, "8000"), (20, "8000"), (30, "8001")):
        cgroup_line = f"0::/a/{pid}.service"
        host.process(pid, "vllm", "serve", f"--port={at}", cgroup=cgroup_line, network=network, user=1000)

    assert claims(read(10, 20, 30)) == {10: (None, CONTESTED), 20: (None, CONTESTED), 30: (8001, None)}


def test_a_descriptor_tells_whose_of_one_user_a_socket_is(host: ProcHost, read: Read) -> None:
    """One that hides its own (PR_SET_DUMPABLE) has nobody else's."""
    network = (OURS, (ANY, 8000, 1, 1000))
    for pid in (10, 20):
        argv = ("vllm", "serve", "--port=8000")
        host.process(pid, *argv, cgroup=f"0::/a/{pid}.service", network=network, user=1000)
    host.open(10, "socket:[1]")

    assert claims(read(10, 20)) == {10: (8000, None), 20: (None, CONTESTED)}


def test_a_default_port_is_no_claim(host: ProcHost, read: Read) -> None:
    """A file may say another one: it yields to whoever names it, and two defaults have neither."""
    network = (OURS, (ANY, 8000, 1), (ANY, 30000, 2))
    for pid, words in (
        (10, ("vllm", "serve", "--port=8000")),
        (20, ("vllm", "serve")),
        (30, ("python", "-m", "sglang.launch_server")),
        (40, ("python", "-m", "sglang.launch_server")),
    ):
        host.process(pid, *words, cgroup=f"0::/a/{pid}.service", network=network)

    by_pid = claims(read(10, 20, 30, 40))

    assert (by_pid[10], by_pid[20][0]) == ((8000, None), None)
    assert [by_pid[pid] for pid in (30, 40)] == [(None, CONTESTED), (None, CONTESTED)]


def test_one_port_at_two_addresses_is_two_servers(host: ProcHost, read: Read) -> None:
    """Each names its own address, and its user listens at both."""
    network = (OURS, ("127.0.0.1", 8000, 1), ("127.0.0.2", 8000, 2))
    for pid, at in ((10, "127.0.0.1"), (20, "127.0.0.2")):
        argv = ("vllm", "serve", f"--host={at}", "--port=8000")
        host.process(pid, *argv, cgroup=f"0::/a/{pid}.service", network=network)

    groups = read(10, 20)

    assert claims(groups) == {10: (8000, None), 20: (8000, None)}
    assert [group.server.hosts for group in groups if group.server] == [("127.0.0.1",), ("127.0.0.2",)]


def test_the_port_of_a_server_that_starts_again_is_reserved_for_its_user(
    host: ProcHost,
) -> None:
    """While it loads it listens nowhere; who names its port meanwhile has not its name."""
    source = ProcessSource(SystemClock(), root=host.root)
    cgroup_line, network = "0::/a/10.service", (OURS, (ANY, 18000, 1, 1000))
    argv = ("vllm", "serve", "--port=18000")
    host.process(10, *argv, cgroup=cgroup_line, network=network, user=1000)
    assert claims(source.read([10]).groups) == {10: (18000, None)}

    host.end(10)
    host.network("self", OURS)
    host.process(11, *argv, cgroup=cgroup_line, user=1000)
    host.process(20, *argv, cgroup="0::/a/20.service", user=1001)

    assert claims(source.read([11, 20]).groups) == {11: (None, None), 20: (None, FailureReason.PORT_TAKEN)}


def test_a_program_that_runs_as_another_user_holds_nothing(host: ProcHost, read: Read) -> None:
    """Who started it wrote its command line, and its sockets are another's (setuid)."""
    host.process(10, "vllm", "serve", cgroup="0::/a/10.service", network=(OURS, (ANY, 8000, 1)))
    (host.root / "10/status").write_text("Uid:\t1001\t0\t0\t0\n", encoding="ascii")

    (group,) = read(10)

    assert (group.user, group.server and group.server.port) == (None, None)


def test_metrics_that_stand_apart_are_reached_whatever_the_port_of_the_api(
    host: ProcHost, read: Read
) -> None:
    """Ray's proxy is told its port by a configuration; the agent of its node has the metrics."""
    network = (OURS, (ANY, 8123, 1), (ANY, 8080, 2))
    cgroup_line = "0::/a/ray.service"
    host.process(10, "ray::ProxyActor", cgroup=cgroup_line, network=network)
    host.process(11, "raylet", "--metrics-export-port=8080", cgroup=cgroup_line, network=network)
    host.process(12, "ray::ServeReplica:app:LLM", cgroup=cgroup_line, network=network)

    (server,) = (group.server for group in read(12))

    assert server is not None
    assert (server.launch.engine, server.port, server.metrics_port) == ("ray", None, 8080)
    assert (server.reach, server.hosts) == ("here", ("127.0.0.1",))


def test_the_sockets_of_an_unknown_program_are_what_no_server_has(host: ProcHost, read: Read) -> None:
    """Without descriptors they are its user's, where no other program of that user is meant as well."""
    network = (OURS, (ANY, 8000, 1, 1000), (ANY, 9000, 2, 1000), (ANY, 9001, 3, 1001))
    for pid, words in ((10, ("vllm", "serve", "--port=8000")), (20, ("llama", "run"))):
        cgroup_line = f"0::/a/{pid}.service"
        host.process(pid, *words, cgroup=cgroup_line, network=network, user=1000)

    def ports(*pids: int) -> list[list[int]]:
        return [
            [listener.port for listener in group.sockets.listening]
            for group in read(*pids)
            if group.server is None and group.sockets is not None
        ]

    assert ports(10, 20) == [[9000]]
    host.process(30, "trainer", cgroup="0::/a/30.service", network=network, user=1000)
    assert ports(10, 20, 30) == [[], []]
    host.open(20, "socket:[2]")
    assert ports(10, 20, 30) == [[9000], [9000]]


def test_who_names_no_address_claims_that_of_another(host: ProcHost, read: Read) -> None:
    """The socket may be of either: one says loopback, the other nothing, which is every address."""
    network = (OURS, ("127.0.0.1", 8000, 1))
    for pid, words in ((10, ("llama-server", "--port", "8000")), (20, ("vllm", "serve", "--port", "8000"))):
        host.process(pid, *words, cgroup=f"0::/a/{pid}.service", network=network)

    assert claims(read(10, 20)) == {10: (None, CONTESTED), 20: (None, CONTESTED)}
