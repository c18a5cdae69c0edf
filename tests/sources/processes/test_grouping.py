"""Who belongs together where the cgroup does not settle it, and where servers listen."""

from types import SimpleNamespace

import psutil
import pytest

from exporter.readings import FailureReason
from exporter.sources.processes import ProcessGroup
from exporter.sources.processes.census import Process
from exporter.sources.processes.cgroups import cgroup
from exporter.sources.processes.grouping import GROUPS_MAX, grouped
from tests.sources.processes.conftest import Read
from tests.sources.processes.proc_host import ANY, OURS, ProcHost

C = "0123456789abcdef" * 4
CONTAINER = f"0::/system.slice/docker-{C}.scope"
SESSION = "0::/user.slice/user-1.slice/session-3.scope"
APART = ((ANY, 8000, 1), (ANY, 8001, 2))


def outline(groups: tuple[ProcessGroup, ...]) -> list[tuple[int | None, list[int]]]:
    """Each group's server, and what computes for it."""
    return [
        (group.server and group.server.process.pid, [member.pid for member in group.computing])
        for group in groups
    ]


def port(groups: tuple[ProcessGroup, ...], pid: int) -> int | None:
    """Where a server was found to listen."""
    (server,) = (group.server for group in groups if group.server and group.server.process.pid == pid)
    return server.port


def test_an_ancestor_that_began_later_is_none(host: ProcHost, read: Read) -> None:
    """The parent ended, and its id was given to a server that came later."""
    host.process(10, "vllm", "serve", "m", ticks=900, cgroup=SESSION)
    host.process(20, "python", "train.py", parent=10, ticks=500, cgroup=SESSION)

    assert outline(read(20)) == [(None, [20]), (10, [])]


def test_a_circle_of_ancestors_ends(host: ProcHost, read: Read) -> None:
    """A tree that is read while processes come and go may show one; nothing hangs."""
    host.process(10, "python", "a.py", parent=11, ticks=5, cgroup=SESSION)
    host.process(11, "python", "b.py", parent=10, ticks=5, cgroup=SESSION)

    assert sorted(pid for _, computing in outline(read(10, 11)) for pid in computing) == [10, 11]


def test_shells_of_one_session_start_groups_of_their_own(host: ProcHost, read: Read) -> None:
    """What a shell, a terminal or a service manager starts is not one program; what a program starts is."""
    host.process(5, "tmux", name="tmux: server", cgroup=SESSION)
    host.process(6, "bash", parent=5, cgroup=SESSION)
    host.process(10, "python", "/usr/bin/torchrun", "a.py", parent=6, cgroup=SESSION)
    host.process(11, "python", "a.py", parent=10, cgroup=SESSION)
    host.process(12, "python", "a.py", parent=10, cgroup=SESSION)
    host.process(20, "python", "-m", "b.c", "--key", "x", parent=6, cgroup=SESSION)

    groups = read(11, 12, 20)

    assert outline(groups) == [(None, [11, 12]), (None, [20])]
    assert [group.name for group in groups] == ["a.py", "b.c"]
    assert [group.id.rpartition("#")[2] for group in groups] == ["10.100000000", "20.200000000"]


def test_a_service_that_starts_what_it_is_asked_to_is_not_one_group(host: ProcHost, read: Read) -> None:
    """Two cron jobs have nothing to do with each other; two processes of one unit have."""
    for pid, name in ((10, "a.py"), (11, "b.py")):
        host.process(pid, "python", name, parent=1, cgroup="0::/system.slice/cron.service")
        host.process(pid + 10, "python", name, parent=1, cgroup="0::/system.slice/job.service")

    assert outline(read(10, 11, 20, 21)) == [(None, [10]), (None, [11]), (None, [20, 21])]


@pytest.mark.parametrize("cgroup", [CONTAINER, "0::/system.slice/vllm.service"])
def test_whatever_computes_beside_a_containers_or_a_units_only_server_is_its(
    cgroup: str, host: ProcHost, read: Read
) -> None:
    """Workers that do not descend from it, and say nothing of themselves, compute for nobody else."""
    host.process(10, "vllm", "serve", "m", cgroup=cgroup, network=APART)
    host.process(11, "python", "-c", "x", parent=1, cgroup=cgroup)

    (group,) = read(11)

    assert outline((group,)) == [(10, [11])]
    assert [member.pid for member in group.members] == [10, 11]
    assert "#" not in group.id


@pytest.mark.parametrize(
    "cgroup", [CONTAINER, SESSION, "0::/system.slice/vllm.service", "0::/system.slice/ssh.service"]
)
@pytest.mark.parametrize("title", ["VLLM::EngineCore", "VLLM::Worker_TP0", "ray::RayWorkerWrapper", "train"])
def test_a_process_of_another_user_is_no_worker(title: str, cgroup: str, host: ProcHost, read: Read) -> None:
    """Whatever it calls itself, and whoever started it: a server, its own user or a setuid program's."""
    host.process(10, "vllm", "serve", "m", cgroup=cgroup, user=1000)
    host.process(11, "VLLM::EngineCore", parent=10, cgroup=cgroup, user=1000)
    host.process(12, title, parent=1, cgroup=cgroup, user=1001)
    host.process(13, title, parent=10, cgroup=cgroup, user=1001)
    host.process(14, title, parent=1, session=10, cgroup=cgroup, user=None)

    groups = read(11, 12, 13, 14)

    assert (groups[0].user, outline(groups)[0]) == (1000, (10, [11]))
    assert {pid for server, computing in outline(groups[1:]) if server is None for pid in computing} == {
        12,
        13,
        14,
    }
    assert [group.user for group in groups if group.computing[0].pid == 14] == [None]
    assert len({group.id for group in groups}) == len(groups)


def test_a_part_of_another_user_tells_nothing_of_a_server(host: ProcHost, read: Read) -> None:
    """A raylet of a stranger names no port of metrics for a proxy that is not its own."""
    network = (OURS, (ANY, 8000, 1), (ANY, 8080, 2))
    host.process(10, "raylet", "--metrics_export_port=8080", cgroup=SESSION, network=network, user=1001)
    host.process(11, "ray::ProxyActor", parent=10, cgroup=SESSION, network=network)

    assert [group.server and group.server.metrics_port for group in read()] == [None]


def test_a_job_that_starts_mps_is_called_by_its_program(host: ProcHost, read: Read) -> None:
    """The server of MPS begins before a second client does."""
    job = "0::/system.slice/slurmstepd.scope/job_7/step_0"
    host.process(10, "nvidia-cuda-mps-server", cgroup=job, user=1000)
    host.process(11, "python", "train.py", cgroup=job, user=1000)

    assert [group.name for group in read(10, 11)] == ["train.py"]


def test_in_a_session_only_a_workers_own_title_tells_whose_it_is(host: ProcHost, read: Read) -> None:
    """An orphan that says nothing of itself is not charged to a server that happens to be there."""
    host.process(10, "vllm", "serve", "m", cgroup=SESSION)
    host.process(11, "VLLM::Worker_TP0", parent=1, cgroup=SESSION)
    host.process(12, "python", "-c", "x", parent=1, cgroup=SESSION)

    assert outline(read(11, 12)) == [(10, [11]), (None, [12])]


def test_an_orphan_that_may_be_two_servers_is_neithers(host: ProcHost, read: Read) -> None:
    """Its session decides where that names one; else it stands alone, and nobody's page is charged for it."""
    host.process(10, "vllm", "serve", "a", "--port=8000", cgroup=CONTAINER, network=APART)
    host.process(20, "vllm", "serve", "b", "--port=8001", cgroup=CONTAINER, network=APART)
    host.process(11, "VLLM::EngineCore", parent=10, cgroup=CONTAINER)
    host.process(21, "VLLM::EngineCore", parent=1, session=20, cgroup=CONTAINER)
    host.process(31, "VLLM::EngineCore", parent=1, session=30, cgroup=CONTAINER)
    host.process(32, "sglang::scheduler", parent=1, session=10, cgroup=CONTAINER)

    groups = read(11, 21, 31, 32)

    assert outline(groups) == [(10, [11]), (20, [21]), (None, [31, 32])]
    assert groups[2].container == C
    assert len({group.id for group in groups}) == 3


def test_a_server_that_a_server_started_is_part_of_it(host: ProcHost, read: Read) -> None:
    """What computes below is the outer one's, and what it said of itself is kept."""
    host.process(10, "local-ai", "run", cgroup=CONTAINER, network=APART)
    host.process(11, "llama-server", "-m", "/m/a.gguf", "--port", "9", parent=10, cgroup=CONTAINER)
    host.process(12, "llama-server", "-m", "/m/a.gguf", "--port", "9", parent=11, cgroup=CONTAINER)

    (group,) = read(12)

    assert outline((group,)) == [(10, [12])]
    assert group.server is not None
    assert group.server.launch.engine == "localai"


def test_another_containers_processes_are_not_joined_by_a_name_that_looks_like_its(
    host: ProcHost, read: Read
) -> None:
    """A user may make a cgroup of any name below their own; its place tells it from the container."""
    host.process(10, "vllm", "serve", "m", cgroup=CONTAINER, network=APART)
    host.process(11, "VLLM::EngineCore", parent=10, cgroup=CONTAINER)
    host.process(12, "x", cgroup=f"0::/user.slice/user-1.slice/user@1.service/docker-{C}.scope")

    assert outline(read(11, 12)) == [(10, [11]), (None, [12])]


def test_a_port_of_a_configuration_is_told_by_the_open_socket(host: ProcHost, read: Read) -> None:
    """Its own counts before those by which its workers meet, and the default port is somebody else's."""
    network = (OURS, (ANY, 8000, 50), (ANY, 9000, 51), ("127.0.0.1", 29500, 52))
    host.process(10, "vllm", "serve", "--config", "a.yaml", cgroup=SESSION, network=network)
    host.process(11, "VLLM::EngineCore", parent=10, cgroup=SESSION, network=network)
    host.open(10, "socket:[51]", "/dev/null", "anon_inode:[eventpoll]")
    host.open(11, "socket:[52]")

    assert port(read(11), 10) == 9000


def test_of_several_own_sockets_none_is_guessed(host: ProcHost, read: Read) -> None:
    """Nothing tells which one is the API."""
    network = (OURS, (ANY, 9000, 51), (ANY, 9001, 52))
    host.process(10, "vllm", "serve", "--config", "a.yaml", cgroup=SESSION, network=network)
    host.open(10, "socket:[51]", "socket:[52]")

    assert port(read(10), 10) is None


def test_a_default_port_is_not_taken_from_a_server_that_was_told_it(host: ProcHost, read: Read) -> None:
    """Without the right to see open files, two servers would otherwise be read from one page."""
    network = (OURS, (ANY, 8000, 50))
    host.process(10, "vllm", "serve", "--config", "a.yaml", cgroup=SESSION, network=network)
    host.process(20, "vllm", "serve", "b", "--port", "8000", cgroup=SESSION, network=network)

    groups = read(10, 20)

    assert port(groups, 10) is None
    assert port(groups, 20) == 8000


def test_in_a_network_of_its_own_the_port_that_is_left_is_the_servers(host: ProcHost, read: Read) -> None:
    """An image that sets the port through the environment is found in a container, and not on the host."""
    apart = ((ANY, 80, 1), ("127.0.0.1", 29500, 2))
    host.process(10, "text-embeddings-router", cgroup=CONTAINER, network=apart)
    host.process(20, "text-embeddings-router", cgroup=SESSION, network=(OURS, (ANY, 81, 3)))

    groups = read(10, 20)

    assert port(groups, 10) == 80
    assert port(groups, 20) is None


def test_a_metrics_port_that_nobody_listens_on_is_not_told(host: ProcHost, read: Read) -> None:
    """Triton without metrics, or with them at a place that cannot be seen."""
    host.process(10, "tritonserver", cgroup=CONTAINER, network=((ANY, 8000, 1),))
    host.process(20, "tritonserver", cgroup=SESSION, network=(OURS, (ANY, 8000, 3), (ANY, 8002, 4)))

    ports = {
        group.server.process.pid: (group.server.port, group.server.metrics_port)
        for group in read(10, 20)
        if group.server
    }

    assert ports == {10: (8000, None), 20: (8000, 8002)}


@pytest.mark.parametrize(
    ("listening", "host_flag", "expected"),
    [
        (((ANY, 8000, 1),), (), ("here", ("127.0.0.1",))),
        ((("127.0.0.1", 8000, 1),), (), ("here", ("127.0.0.1",))),
        ((("::1", 8000, 1),), (), ("here", ("::1",))),
        ((("10.0.0.5", 8000, 1),), (), ("here", ("10.0.0.5",))),
        ((("10.0.0.5", 8000, 1), ("127.0.0.1", 8000, 2)), (), ("here", ("127.0.0.1", "10.0.0.5"))),
        ((("10.0.0.5", 8000, 1), ("127.0.0.1", 8000, 2)), ("--host=10.0.0.5",), ("here", ("10.0.0.5",))),
        ((("10.0.0.5", 8000, 1), ("127.0.0.1", 8000, 2)), ("--host", "localhost"), ("here", ("127.0.0.1",))),
    ],
)
def test_a_server_of_this_network_is_asked_where_it_is_bound(
    listening: tuple[tuple[str, int, int], ...],
    host_flag: tuple[str, ...],
    expected: tuple[str, tuple[str, ...]],
    host: ProcHost,
    read: Read,
) -> None:
    """Loopback is preferred, and where two share a port the command line says which is which."""
    host.process(10, "vllm", "serve", "m", *host_flag, cgroup=SESSION, network=(OURS, *listening))

    (group,) = read(10)

    assert group.server is not None
    assert (group.server.reach, group.server.hosts) == expected


@pytest.mark.parametrize(
    ("loopbacks", "expected"),
    [
        (("127.0.0.1",), ("127.0.0.1",)),
        # It may be for IPv6 only.
        (("127.0.0.1", "::1"), ("::1", "127.0.0.1")),
    ],
)
def test_a_socket_of_all_addresses_is_asked_at_those_that_this_network_has(
    loopbacks: tuple[str, ...],
    expected: tuple[str, ...],
    host: ProcHost,
    read: Read,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A kernel without IPv6 has no ::1, and a socket that listens at `::` all the same."""
    addresses = [SimpleNamespace(address=address) for address in loopbacks]
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"lo": addresses})
    host.process(10, "vllm", "serve", "m", cgroup=SESSION, network=(OURS, ("::", 8000, 1)))

    (group,) = read(10)

    assert group.server is not None
    assert (group.server.reach, group.server.hosts) == ("here", expected)


@pytest.mark.parametrize(
    ("listening", "expected"),
    [
        (((ANY, 8000, 1),), ("address", ("10.1.0.2", "10.2.0.2"))),
        ((("10.2.0.2", 8000, 1), ("127.0.0.1", 8000, 2)), ("address", ("10.2.0.2",))),
        ((("127.0.0.1", 8000, 1),), ("loopback", ())),
        (((ANY, 9, 1), (ANY, 10, 2)), ("unknown", ())),
        ((), ("unknown", ())),
    ],
)
def test_a_server_of_another_network_is_asked_by_its_addresses(
    listening: tuple[tuple[str, int, int], ...],
    expected: tuple[str, tuple[str, ...]],
    host: ProcHost,
    read: Read,
) -> None:
    """What listens on loopback there cannot be reached from here, and that is said."""
    host.process(10, "vllm", "serve", "m", cgroup=CONTAINER, network=listening)
    host.addresses(10, "10.1.0.2", "10.2.0.2")

    (group,) = read(10)

    assert group.server is not None
    assert (group.server.reach, group.server.hosts) == expected


def test_servers_that_share_a_network_are_told_so(host: ProcHost, read: Read) -> None:
    """By the inode of the table of their sockets, of which the kernel has one per namespace."""
    shared, other = ((ANY, 8000, 1), (ANY, 8001, 2)), ((ANY, 8000, 3),)
    for pid, network in ((10, shared), (20, shared), (30, other), (40, ())):
        host.process(
            pid,
            "vllm",
            "serve",
            "m",
            f"--port={8001 if pid == 20 else 8000}",
            cgroup=f"0::/a/{pid}.service",
            network=network,
        )

    networks = [group.network_number for group in read(10, 20, 30, 40)]

    assert networks[0] == networks[1]
    assert len(set(networks)) == 3


def test_a_network_is_read_once_where_the_kernel_names_it(host: ProcHost, read: Read) -> None:
    """Two servers of the host's network, one of another; this reader is in a pod's."""
    for pid in (10, 20, 30):
        listens = (OURS, (ANY, 8000, 1)) if pid == 30 else ((ANY, 8000, 5),)
        flags = ("--port=8000",) if pid == 10 else ()
        host.process(pid, "vllm", "serve", "m", *flags, cgroup=f"0::/a/{pid}.service", network=listens)
    host.process(1, "init", network=((ANY, 8000, 5),))

    groups = {group.server.process.pid: group for group in read(10, 20, 30) if group.server}

    assert groups[10].network_number == groups[20].network_number != groups[30].network_number
    assert all(group.on_host for group in groups.values())
    servers = {pid: group.server for pid, group in groups.items() if group.server}
    assert [servers[pid].reach for pid in (10, 30)] == ["unknown", "here"]  # no address of the host is known
    assert [servers[pid].port for pid in (10, 20, 30)] == [8000, None, 8000]


def test_a_socket_of_a_child_is_its_servers(host: ProcHost, read: Read) -> None:
    """The server that was started opens none itself; the first of its processes that does tells the port."""
    network = (OURS, (ANY, 9000, 51), (ANY, 29500, 52))
    host.process(10, "text-generation-launcher", cgroup=SESSION, network=network)
    host.process(12, "text-generation-server", parent=10, cgroup=SESSION, network=network)
    host.process(13, "text-generation-router", parent=10, cgroup=SESSION, network=network)
    host.open(10, "/dev/null", "gone")
    host.open(12, "socket:[52]")
    host.open(13, "socket:[51]", "socket:[99]")

    assert port(read(12), 10) == 9000


def test_of_one_that_ends_while_its_files_are_read_the_others_sockets_count(
    host: ProcHost, read: Read
) -> None:
    """A child without a folder of open files has none."""
    host.process(10, "vllm", "serve", "m", cgroup=SESSION, network=(OURS, (ANY, 8000, 51)))
    host.process(11, "VLLM::EngineCore", parent=10, cgroup=SESSION)
    host.open(10, "socket:[51]")

    assert port(read(11), 10) == 8000


@pytest.mark.timeout(20)
def test_a_host_full_of_look_alikes_is_grouped_in_time() -> None:
    """Servers, workers and parts are never all compared with each other."""
    parsed = cgroup(f"{SESSION}\n".encode())
    servers = {
        pid: Process(pid, pid - pid % 2, 1, pid, "vllm", ("vllm", "serve", "m"), parsed, 0)
        for pid in range(2, 16_000)
    }
    workers = {
        pid: Process(pid, 1, 1, pid, "x", ("VLLM::Worker",), parsed, 0) for pid in range(16_000, 20_000)
    }

    groups = grouped({**servers, **workers}, workers)

    assert len(groups) == GROUPS_MAX
    assert sum(len(one.computing) for one in groups) == GROUPS_MAX


def test_an_engine_behind_a_thousand_helpers_holds_the_sockets_of_its_server() -> None:
    """Its command line says more than the many that a wrapper started first."""
    parsed = cgroup(f"{SESSION}\n".encode())
    argv = ("vllm", "serve", "m")
    server = Process(10, 1, 1, 10, "vllm", argv, parsed, 1000)
    helpers = {pid: Process(pid, 10, 1, pid, "sh", ("sh",), parsed, 1000) for pid in range(100, 1200)}
    inner = Process(2000, 100, 1, 2000, "vllm", argv, parsed, 1000)

    (group,) = grouped({10: server, **helpers, 2000: inner}, [2000])

    assert group.server is not None
    assert group.server.serving == (10, 2000, *range(100, 130))


def test_a_user_with_many_servers_leaves_room_for_others() -> None:
    """A server that sleeps is kept though a stranger began hundreds before it."""
    parsed = cgroup(f"{SESSION}\n".encode())
    many = {pid: Process(pid, 1, 1, pid, "vllm", ("vllm", "serve"), parsed, 1001) for pid in range(2, 400)}
    late = Process(500, 1, 1, 500, "vllm", ("vllm", "serve"), parsed, 1000)

    groups = grouped({**many, 500: late}, ())

    assert len(groups) == GROUPS_MAX
    assert [one.user for one in groups].count(1000) == 1
    assert [one.started for one in groups] == sorted(one.started for one in groups)


def test_what_a_host_starts_first_is_no_program_that_computes(host: ProcHost, read: Read) -> None:
    """Whatever the first process is called, its children are strangers to each other."""
    host.process(1, "box-init")
    host.process(10, "python", "a.py", parent=1)
    host.process(20, "python", "b.py", parent=1)

    assert outline(read(10, 20)) == [(None, [10]), (None, [20])]


def test_a_part_tells_of_the_only_server_of_its_engine(host: ProcHost, read: Read) -> None:
    """Of two Ray nodes in one session it is not known whose metrics a raylet's agent serves."""
    network = (OURS, (ANY, 8000, 1), (ANY, 8080, 2))
    host.process(10, "raylet", "--metrics_export_port=8080", cgroup=SESSION, network=network)
    host.process(11, "ray::ProxyActor", parent=10, cgroup=SESSION, network=network)
    (alone,) = read()
    host.process(12, "ray::ProxyActor", parent=1, cgroup=SESSION, network=network)
    two = read()

    assert [group.server and group.server.metrics_port for group in (alone, *two)] == [8080, None, None]


def test_on_the_hosts_network_a_port_that_is_left_may_be_anybodys(host: ProcHost, read: Read) -> None:
    """From a pod the host's network is another one, and still no server's own."""
    network = ((ANY, 9000, 7),)
    host.process(1, "init", network=network)
    host.process(10, "text-embeddings-router", cgroup=CONTAINER, network=network)

    assert port(read(10), 10) is None


def test_a_socket_of_another_user_is_not_a_servers(host: ProcHost, read: Read) -> None:
    """Without descriptors whoever starts a program by a server's name has not its port, root's neither."""
    mine, theirs, roots = (ANY, 8000, 1, 1000), (ANY, 8001, 2, 1001), (ANY, 8002, 3, 0)
    network = (OURS, mine, theirs, roots)
    for pid, whose, at in ((10, 1000, ""), (20, 1002, "8000"), (30, 1000, "8001"), (40, 1000, "8002")):
        flags = (f"--port={at}",) if at else ()
        host.process(pid, "vllm", "serve", *flags, cgroup=f"0::/a/{pid}.service", network=network, user=whose)

    groups = read(10, 20, 30, 40)

    assert [port(groups, pid) for pid in (10, 20, 30, 40)] == [8000, None, None, None]
    assert [group.server.port_fault for group in groups if group.server] == [
        None,
        *[FailureReason.PORT_TAKEN] * 3,
    ]
    assert [[listener.port for listener in group.sockets.listening] for group in groups if group.sockets] == [
        [8000],
        [],
        [8000],
        [8000],
    ]


ROUTER = ("llama-server", "--models-dir", "/m", "--port", "8080")
MODEL_A = ("llama-server", "--host", "127.0.0.1", "--port", "41001", "--metrics", "--alias", "a")
MODEL_B = ("llama-server", "--host", "127.0.0.1", "--port", "41002", "--metrics", "--alias", "b")
ROUTED = ((ANY, 8080, 1), ("127.0.0.1", 41001, 2), ("127.0.0.1", 41002, 3))


@pytest.mark.parametrize("cgroup", [CONTAINER, SESSION, "0::/system.slice/llama.service"])
@pytest.mark.parametrize("flags", [ROUTER, ("llama-server", "--port", "8080")], ids=["flag", "none"])
def test_each_model_of_a_router_is_a_server(
    flags: tuple[str, ...], cgroup: str, host: ProcHost, read: Read
) -> None:
    """It computes itself, at a port of its own; the router that started it holds nothing."""
    host.process(10, *flags, cgroup=cgroup, network=ROUTED)
    host.process(11, *MODEL_A, parent=10, cgroup=cgroup)
    host.process(12, *MODEL_B, parent=10, cgroup=cgroup)
    host.process(13, "sh", "-c", "x", parent=12, cgroup=cgroup)
    host.open(10, "socket:[1]")
    host.open(11, "socket:[2]")
    host.open(12, "socket:[3]")
    for pid in (11, 12, 13):
        host.network(pid, *ROUTED)

    groups = read(11, 13)

    assert outline(groups) == [(11, [11]), (12, [13]), (10, [])]
    assert [port(groups, pid) for pid in (10, 11, 12)] == [
        8080,
        41001,
        41002,
    ]
    one, other, router = (group.server for group in groups)
    assert one is not None
    assert other is not None
    assert router is not None
    assert (one.router, other.router, router.router) == (router, router, None)
    assert (one.launch.model, other.launch.model, router.launch.routes) == ("a", "b", True)
    assert len({group.id for group in groups}) == 3


def test_a_routers_group_is_the_same_with_and_without_models(host: ProcHost, read: Read) -> None:
    """Models come and go."""
    unit = "0::/system.slice/llama.service"
    host.process(10, *ROUTER, cgroup=unit, network=ROUTED)
    (alone,) = read()
    host.process(11, *MODEL_A, parent=10, cgroup=unit)
    host.network(11, *ROUTED)

    assert {group.id for group in read(11) if not group.computing} == {alone.id}


def test_a_server_of_another_user_has_no_router(host: ProcHost, read: Read) -> None:
    """It would be asked, and called, as the other user's."""
    host.process(10, *ROUTER, cgroup=SESSION, network=(OURS, *ROUTED))
    host.process(11, *MODEL_A, parent=10, cgroup=SESSION, user=1001)

    (server,) = (group.server for group in read(11) if group.computing)

    assert server is not None
    assert server.router is None
