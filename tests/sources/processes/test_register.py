"""Processes are read again at each look; kernel threads are not."""

from collections import Counter
from collections.abc import Callable

import pytest

from exporter.sources.processes import ProcessSource
from exporter.sources.processes.census import census
from exporter.sources.processes.procfs import KERNEL_THREAD, Proc
from exporter.sources.processes.source import KERNEL_THREADS_TTL, READING_TTL
from exporter.units import Nanoseconds
from tests.kit.clock import ManualClock, clock_at
from tests.kit.units import DAY
from tests.sources.processes.proc_host import ANY, OURS, ProcHost

VLLM = ("python3", "-m", "vllm.entrypoints.openai.api_server")


@pytest.fixture
def clock() -> ManualClock:
    return clock_at(DAY)


@pytest.fixture
def servers(host: ProcHost, clock: ManualClock) -> Callable[..., list[int]]:
    """The servers of the host by process, each time as of a new look; given what NVML lists."""
    source = ProcessSource(clock, root=host.root)

    def look(*computing: int, after: Nanoseconds = READING_TTL) -> list[int]:
        clock.now += after
        groups = source.read(computing).groups
        return [group.server.process.pid for group in groups if group.server is not None]

    return look


def kernel_thread(host: ProcHost, pid: int) -> None:
    """Make one of a process."""
    stat = host.root / str(pid) / "stat"
    stat.write_text(
        stat.read_text(encoding="ascii").replace(" 4194304 ", f" {KERNEL_THREAD} "), encoding="ascii"
    )


def test_a_kernel_thread_is_read_once(
    host: ProcHost, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host has thousands of them. Every other process is read whole each time."""
    for pid in (2, 10, 20, 30):
        host.process(pid, "python3", "job.py")
    kernel_thread(host, 2)
    opened: Counter[int | str] = Counter()
    read = Proc.read

    def noted(proc: Proc, process: int | str, *args: object, **options: object) -> bytes | None:
        opened[process] += 1
        return read(proc, process, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Proc, "read", noted)
    kernel_threads: set[int] = set()
    readings = []
    for _ in range(2):
        opened.clear()
        clock.now += READING_TTL
        readings.append(census(Proc(host.root), clock, [10], [20], kernel_threads))

    assert opened == {10: 5, 20: 5, 30: 5}
    assert readings[0] == readings[1]
    assert sorted(readings[0]) == [10, 20, 30]


def test_a_process_that_takes_another_name_is_read_again(
    host: ProcHost, servers: Callable[..., list[int]]
) -> None:
    """A shell that becomes a server, or a worker that is given a title, is found at the next look."""
    host.process(10, "bash", "start.sh")
    assert servers() == []
    host.process(10, *VLLM)
    assert servers() == [10]


def test_an_id_that_is_given_to_another_process_is_read_again(
    host: ProcHost, servers: Callable[..., list[int]]
) -> None:
    """The start tells, also where both have one name."""
    host.process(10, "python3", "job.py")
    assert servers() == []
    host.process(10, *VLLM, ticks=11)
    assert servers() == [10]


def test_an_old_process_that_becomes_a_server_is_found_at_the_next_look(
    host: ProcHost, servers: Callable[..., list[int]]
) -> None:
    """A launcher that replaces itself by a server of the same name."""
    host.process(10, "python3", "launch.py")
    assert servers() == []
    host.process(10, *VLLM)
    assert servers(after=0) == []  # the reading is kept
    assert servers() == [10]


def test_the_id_of_a_kernel_thread_is_not_believed_for_ever(
    host: ProcHost, servers: Callable[..., list[int]]
) -> None:
    """Nor where it was gone meanwhile."""
    host.process(10, "kworker")
    kernel_thread(host, 10)
    assert servers() == []
    host.process(10, *VLLM)
    assert servers() == []
    assert servers(after=KERNEL_THREADS_TTL - READING_TTL) == [10]

    host.process(20, "kworker")
    kernel_thread(host, 20)
    assert servers() == [10]
    (host.root / "20").rename(host.root / "gone")
    assert servers() == [10]
    host.process(20, *VLLM)
    assert servers() == [10, 20]


def test_a_process_that_has_ended_is_gone(host: ProcHost, clock: ManualClock) -> None:
    """Also one that nobody has waited for yet."""
    for pid in (10, 20, 30):
        host.process(pid, "python3", "job.py")
    assert sorted(census(Proc(host.root), clock, [], [], set())) == [10, 20, 30]
    host.process(10, "python3", "job.py", state="Z")
    (host.root / "20/stat").unlink()
    assert sorted(census(Proc(host.root), clock, [], [], set())) == [30]


def test_a_socket_is_known_no_longer_than_a_reading(host: ProcHost, clock: ManualClock) -> None:
    """However old its server is: it may drain, and the port be another program's."""
    source = ProcessSource(clock, root=host.root)

    def ports(after: Nanoseconds) -> list[int | None]:
        clock.now += after
        groups = source.read(()).groups
        return [group.server.port for group in groups if group.server is not None]

    host.process(10, *VLLM, network=((ANY, 8000, 10),))
    assert ports(READING_TTL) == [8000]
    host.process(10, *VLLM, network=(OURS,))
    assert ports(READING_TTL - 1) == [8000]
    assert ports(1) == [None]
