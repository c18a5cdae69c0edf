"""One read, what it keeps, what bounds it, and what it says when it finds less."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.clock import SystemClock
from exporter.readings import ReadFailedError
from exporter.sources.processes import ProcessSource, census, grouping, listening, procfs
from exporter.sources.processes.procfs import Proc
from exporter.units import NANOSECONDS_PER_SECOND
from tests.kit.clock import ManualClock, clock_at
from tests.sources.processes.proc_host import ANY, TABLE, ProcHost, row

SERVICE = "0::/system.slice/vllm.service"


@pytest.fixture
def clock() -> ManualClock:
    return clock_at(0)


@pytest.fixture
def source(host: ProcHost, clock: ManualClock) -> ProcessSource:
    return ProcessSource(clock, root=host.root)


@pytest.fixture
def vllm(host: ProcHost) -> None:
    """A server and its worker."""
    host.process(10, "vllm", "serve", "m", cgroup=SERVICE, network=((ANY, 8000, 1),))
    host.process(11, "VLLM::EngineCore", parent=10, cgroup=SERVICE)


@pytest.mark.usefixtures("vllm")
def test_a_reading_is_kept_for_thirty_seconds(
    host: ProcHost, source: ProcessSource, clock: ManualClock
) -> None:
    """A worker's cgroup is not read again until then; its start is."""
    first = source.read([11])
    shutil.rmtree(host.root / "11/net")
    (host.root / "11/cgroup").write_text("0::/system.slice/other.service\n", encoding="ascii")

    clock.now = 30 * NANOSECONDS_PER_SECOND - 1
    assert source.read([11]) is first
    assert source.errors == ()
    clock.now = 30 * NANOSECONDS_PER_SECOND
    assert [group.unit for group in source.read([11]).groups] == ["other.service", "vllm.service"]


@pytest.mark.usefixtures("vllm")
def test_other_processes_that_compute_are_read_at_once(host: ProcHost, source: ProcessSource) -> None:
    """NVML's list changed: a model was loaded, or a job began."""
    source.read([11])
    host.process(12, "VLLM::Worker_TP1", parent=10, cgroup=SERVICE)

    assert [member.pid for member in source.read([11, 12]).groups[0].computing] == [11, 12]
    assert [member.pid for member in source.read([12]).groups[0].computing] == [12]


@pytest.mark.parametrize("pid", [10, 11])
@pytest.mark.usefixtures("vllm")
def test_a_process_that_is_another_one_now_ends_a_reading(
    pid: int, host: ProcHost, source: ProcessSource
) -> None:
    """Ids are used again within seconds: the start tells, of the server as of the worker."""
    source.read([11])
    host.process(pid, "python", "train.py", ticks=777, cgroup="0::/system.slice/train.service")

    groups = source.read([11]).groups

    assert {"vllm.service", "train.service"} >= {group.unit for group in groups}
    assert [group.server for group in groups if 11 in [member.pid for member in group.computing]] == [None]


@pytest.mark.usefixtures("vllm")
def test_a_process_that_could_not_be_read_is_looked_for_again(host: ProcHost, source: ProcessSource) -> None:
    """Where it can be seen after all, the reading without it is over."""
    assert source.read([11, 12]).unseen == (12,)
    assert source.errors == (("ended", 1),)
    assert source.problem == "1 of the processes that compute are not seen: they have ended"
    reading = source.read([11, 12])
    assert (reading.unseen, source.errors) == ((12,), ())
    host.process(12, "VLLM::Worker_TP1", parent=10, cgroup=SERVICE)

    assert source.read([11, 12]).unseen == ()
    assert source.problem == ""


@pytest.mark.parametrize("gone", ["stat", "cgroup", "cmdline"])
@pytest.mark.usefixtures("vllm")
def test_a_process_that_ends_while_it_is_read_is_counted_as_ended(
    gone: str, host: ProcHost, source: ProcessSource
) -> None:
    """Its folder is emptied file by file; what was read of it is not kept."""
    (host.root / "11" / gone).unlink()

    assert source.read([11]).unseen == (11,)
    assert source.errors == (("ended", 1),)


@pytest.mark.usefixtures("vllm")
def test_a_process_whose_id_is_used_again_while_it_is_read_is_not_mixed_up(host: ProcHost) -> None:
    """The command line read last may be the next process's."""

    class Racing(Proc):
        def read(
            self, process: int | str, name: str, limit: int, enough: Callable[[bytes], bool] | None = None
        ) -> bytes | None:
            content = super().read(process, name, limit, enough)
            if (process, name) == (11, "cgroup"):
                host.process(11, "python", "train.py", ticks=999)
            return content

    proc = Racing(host.root)

    assert census.read(proc, 11, set()) is None
    assert proc.failures == {"ended": 1}


@pytest.mark.parametrize("state", ["Z", "X"])
def test_a_process_that_is_dead_computes_nothing(state: str, host: ProcHost, source: ProcessSource) -> None:
    """NVML may list it until its parent has noticed."""
    host.process(10, name="python", state=state)

    assert source.read([10]).unseen == (10,)
    assert source.errors == (("ended", 1),)


def test_a_process_whose_files_say_nothing_is_counted(host: ProcHost, source: ProcessSource) -> None:
    """A tree that is none of Linux's, or is damaged."""
    host.process(10, "x")
    (host.root / "10/stat").write_text("nonsense", encoding="ascii")

    assert source.read([10, 0, -5]).unseen == (10,)
    assert source.errors == (("unreadable", 1),)
    assert source.problem == "1 of the processes that compute are not seen: they cannot be read"


def test_a_process_without_a_command_line_has_the_kernels_name(host: ProcHost, source: ProcessSource) -> None:
    """As while it starts, or when it wrote over it."""
    host.process(10, name="my job")

    assert [group.name for group in source.read([10]).groups] == ["my"]


def test_no_proc_tree_is_a_failed_read(tmp_path: Path) -> None:
    """Nothing is known then, which is not that nobody computes."""
    source = ProcessSource(SystemClock(), root=tmp_path / "proc")

    with pytest.raises(ReadFailedError) as caught:
        source.read([1])

    assert (caught.value.reason, str(caught.value)) == (
        "unreadable",
        f"{tmp_path}/proc: No such file or directory",
    )


@pytest.mark.usefixtures("vllm")
def test_nobody_computes(source: ProcessSource) -> None:
    """A server that holds no GPU yet is told all the same."""
    (group,) = source.read([]).groups

    assert (group.computing, group.server and group.server.port) == ((), 8000)
    assert [member.pid for member in group.members] == [10]


@pytest.mark.usefixtures("vllm")
def test_more_processes_than_are_read_are_counted(
    host: ProcHost, source: ProcessSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What computes is read whatever its id."""
    for pid in range(1, 9):
        host.process(pid, "sleep")
    monkeypatch.setattr(census, "PROCESSES_MAX", 5)

    reading = source.read([11])

    assert [[member.pid for member in group.computing] for group in reading.groups] == [[11]]
    assert source.errors == (("limit", 1),)


@pytest.mark.usefixtures("vllm")
def test_a_census_that_takes_too_long_ends(source: ProcessSource, clock: ManualClock) -> None:
    """The next one begins with what computes again."""
    clock.step = census.BUDGET

    assert [group.unit for group in source.read([11]).groups] == ["vllm.service"]
    assert ("time", 2) in source.errors  # of the census, and of the sockets


def test_groups_are_bounded_those_that_compute_first(
    host: ProcHost, source: ProcessSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host full of idle servers does not hide who holds a GPU."""
    for pid in range(10, 20):
        host.process(pid, "llama-server", "--port", str(pid), cgroup="0::/user.slice/session-1.scope")
    monkeypatch.setattr(grouping, "GROUPS_MAX", 3)

    groups = source.read([19]).groups

    assert [group.server and group.server.process.pid for group in groups] == [19, 10, 11]


@pytest.mark.usefixtures("vllm")
def test_a_server_that_does_not_listen_yet_is_counted(host: ProcHost, source: ProcessSource) -> None:
    """While a model is loaded the server is known, and where it will listen is not."""
    host.network(10)
    (group,) = source.read([11]).groups

    assert source.errors == (("not_listening", 1),)
    assert group.server is not None
    assert (group.server.port, group.server.launch.port) == (None, 8000)


@pytest.mark.usefixtures("vllm")
def test_tables_longer_than_are_read_are_counted(
    source: ProcessSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in the part that was read counts."""
    monkeypatch.setattr(procfs, "SOCKET_BYTES", len(TABLE + row(ANY, 8000, 1)))

    assert [group.server and group.server.port for group in source.read([11]).groups] == [8000]
    assert source.errors == (("truncated", 1),)


@pytest.mark.usefixtures("vllm")
def test_a_closed_source_reads_anew(source: ProcessSource) -> None:
    """Closing lets go of the last reading, twice too."""
    first = source.read([11])
    source.close()
    source.close()

    assert source.read([11]) == first
    assert source.read([11]) is not first
    assert source.name == "processes"


@pytest.mark.usefixtures("vllm")
def test_no_environment_is_read(
    host: ProcHost, source: ProcessSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys stand there. Every file that is opened is one of those that are named here."""
    opened: set[str] = set()
    real = os.open

    def watched(path: str, flags: int) -> int:
        opened.add(path.removeprefix(f"{host.root}/").partition("/")[2])
        return real(path, flags)

    monkeypatch.setattr(os, "open", watched)
    source.read([11])

    assert opened == {
        "stat",
        "status",
        "cgroup",
        "cmdline",
        "net/tcp",
        "net/tcp6",
        "net/fib_trie",
        "net/if_inet6",
    }


@pytest.mark.parametrize(
    ("mounts", "reason"),
    [
        ("20 1 0:5 / {root} rw - proc proc rw,hidepid=invisible", "hidden"),
        ("20 1 0:5 / {root} rw - proc proc rw,hidepid=2", "hidden"),
        ("20 1 0:5 / {root} rw - proc proc rw,hidepid=off", "ended"),
        ("20 1 0:5 / {root} rw - proc proc rw", "ended"),
        ("20 1 0:5 / /proc rw - proc proc rw,hidepid=2", "ended"),
        (
            "20 1 0:5 / {root} rw - proc proc rw,hidepid=2\n21 20 0:6 / {root} rw - proc proc rw",
            "ended",
        ),
    ],
)
def test_how_a_tree_is_mounted_tells_why_processes_are_missing(
    mounts: str, reason: str, host: ProcHost, source: ProcessSource
) -> None:
    """What is hidden looks as if it had ended; the mount that lies on top decides."""
    (host.root / "self/mountinfo").write_text(mounts.format(root=host.root) + "\n", encoding="utf-8")

    assert source.read([77]).unseen == (77,)
    assert source.errors == ((reason, 1),)


def test_addresses_beyond_what_is_read_are_counted(
    host: ProcHost, source: ProcessSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host with the routes of the internet has a long table."""
    host.process(10, "vllm", "serve", "m", cgroup=SERVICE, network=((ANY, 8000, 1),))
    host.addresses(10, *(f"10.0.0.{last}" for last in range(1, 9)))
    monkeypatch.setattr(procfs, "ADDRESS_BYTES", 90)

    (group,) = source.read([10]).groups

    assert group.server is not None
    assert group.server.hosts == ("10.0.0.1", "10.0.0.2")
    assert source.errors == (("truncated", 1),)


def test_looking_for_sockets_that_takes_too_long_ends(
    host: ProcHost, source: ProcessSource, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The servers that hold a GPU come first; of the others it is not known where they listen."""
    for pid in (10, 20):
        flag = f"--port={8000 + pid}"
        cgroup_line = f"0::/system.slice/{pid}.service"
        host.process(pid, "vllm", "serve", flag, cgroup=cgroup_line, network=((ANY, 8010, 1), (ANY, 8020, 2)))
    clock.step = 1
    monkeypatch.setattr(listening, "BUDGET", 1)

    groups = source.read([20]).groups

    assert [group.server and (group.server.process.pid, group.server.port) for group in groups] == [
        (20, 8020),
        (10, None),
    ]
    assert source.errors == (("time", 1),)


def test_a_process_whose_first_thread_ended_is_read_by_another(host: ProcHost) -> None:
    """A program may end its first thread and compute on; it has a name, and its reading stands."""
    source = ProcessSource(SystemClock(), root=host.root)
    host.process(10, "python", "train.py", user=1000)
    host.end_first_thread(10)

    reading = source.read([10])

    (group,) = reading.groups
    assert (group.name, group.user, reading.unseen) == ("train.py", 1000, ())
    assert source.read([10]) is reading
    (host.root / "10/task/11/stat").write_text("11 (python) Z 1 10 10 0 -1 0\n", encoding="ascii")
    assert source.read([10]).unseen == (10,)
