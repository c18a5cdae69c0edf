"""What a look remembers of the looks before it."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from exporter.clock import SystemClock
from exporter.config.settings import Config
from exporter.readings import GpuReading, ReadFailedError, ServerKey, Source
from exporter.sources.discovery.discovery import HELD, LOADING, Discovery
from exporter.sources.discovery.found import Found
from exporter.sources.endpoints import Endpoints
from exporter.sources.gather import Gathered, read
from exporter.sources.kubelet import Allocations, PodResourcesSource
from exporter.sources.processes import ProcessGroup, ProcessReading
from exporter.units import Instant, Nanoseconds
from tests.sources.discovery.bench import (
    BOOT,
    SECOND,
    api,
    given,
    gpu,
    group,
    held,
    podded,
    rule,
    server,
    urls,
    uuid,
)

TICK = 10 * SECOND
BEGAN = 1000 * SECOND
URL = "http://127.0.0.1:8000/metrics"


class Clock(SystemClock):
    """Stands until it is told."""

    now: Nanoseconds = BEGAN

    def elapsed(self) -> Nanoseconds:
        return self.now

    def wall(self) -> Instant:
        return BOOT + self.now


@dataclass(eq=False)
class Processes:
    """What the proc tree says: the same reading again until there is another one."""

    reading: ProcessReading | None = field(default_factory=ProcessReading)
    asked: list[frozenset[int]] = field(default_factory=list)
    closed: bool = False
    name: str = "processes"
    errors: tuple[tuple[str, int], ...] = (("denied", 1),)

    def read(self, pids: Iterable[int]) -> ProcessReading:
        self.asked.append(frozenset(pids))
        if self.reading is None:
            raise ReadFailedError("unreadable", "/proc: No such file or directory")
        return self.reading

    def close(self) -> None:
        self.closed = True


@dataclass(eq=False)
class Kubelet(PodResourcesSource):
    """What the kubelet says, or why it says nothing."""

    place: Path
    said: Allocations = field(default_factory=Allocations)
    reason: str = ""
    closed: bool = False

    @property
    def path(self) -> Path:
        return self.place

    @property
    def errors(self) -> tuple[tuple[str, int], ...]:
        return ()

    def read(self) -> Allocations:
        if self.reason:
            raise ReadFailedError(self.reason, "the kubelet says nothing")
        return self.said

    def close(self) -> None:
        self.closed = True


class Host:
    """One daemon's discovery on a host, looked at every ten seconds."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.processes = Processes()
        self.kubelet = Kubelet(folder / "kubelet.sock")
        self.config = Config()
        self.since: Instant | None = None
        self.discovery = Discovery(self.clock, Endpoints(self.clock), self.processes, self.kubelet)  # type: ignore[arg-type]

    def runs(self, *groups: ProcessGroup) -> None:
        """From now on these do."""
        self.processes.reading = ProcessReading(groups)

    def gather(self, sources: Iterable[Source[Any]]) -> list[Gathered]:
        return [read(source, self.clock) for source in sources]

    def look(self, *gpus: GpuReading, after: Nanoseconds = TICK) -> Found:
        """A tick later."""
        self.clock.now += after
        answers = self.gather(self.discovery.sources)
        return self.discovery.look(self.config, gpus, answers, self.gather, self.since)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def about(found: Found) -> tuple[Instant | None, Instant | None]:
    """Of the only server: when it started, and when it was not there, in seconds of boot time."""
    (target,) = found.targets
    return tuple(  # type: ignore[return-value]
        None if at is None else (at - BOOT) / SECOND for at in (target.about.started, target.about.absent_at)
    )


def vllm(pid: int, started: float, *computing: int) -> ProcessGroup:
    """A vLLM at port 8000 that began at a second of boot time."""
    one = api(pid)
    process = one.process._replace(started=int(started * SECOND))
    return group(*computing, server=replace(one, process=process))


def test_a_server_that_starts_while_it_is_watched(host: Host) -> None:
    """It was not there ten seconds ago, and what was known of its start stays while it runs."""
    host.look(gpu(0))
    host.runs(vllm(7, 1015, 7))
    assert about(host.look(gpu(0, 7))) == (1015, 1010)
    (source,) = host.discovery.endpoints
    for _ in range(5):
        assert about(host.look(gpu(0, 7))) == (1015, 1010)
    assert host.discovery.endpoints == (source,)


def test_a_server_that_was_there_first(host: Host) -> None:
    """With new books nothing is known of what it did before: it was never seen to be absent."""
    host.runs(vllm(7, 500, 7))
    assert about(host.look(gpu(0, 7))) == (500, None)
    assert about(host.look(gpu(0, 7))) == (500, None)


def test_a_server_that_started_while_the_daemon_was_down(host: Host) -> None:
    """The last tick of the daemon before is when the host was last looked at."""
    host.since = BOOT + 900 * SECOND
    host.runs(vllm(7, 950, 7))
    assert about(host.look(gpu(0, 7))) == (950, 900)


def test_a_server_that_loads_for_long(host: Host) -> None:
    """It runs for minutes before it computes: it was absent before it began, not until it was first read."""
    host.look(gpu(0))
    host.runs(vllm(7, 1015))
    for _ in range(20):
        assert host.look(gpu(0)).targets == ()
    host.runs(vllm(7, 1015, 8))
    assert about(host.look(gpu(0, 8))) == (1015, 1010)


def test_a_server_that_ran_for_hours_unread(host: Host) -> None:
    """A rule names it at last: what it did all day does not come as if it were of this minute."""
    host.look(gpu(0))
    host.runs(vllm(7, 1015))
    host.look(gpu(0))
    host.look(gpu(0), after=LOADING - TICK)
    host.config = Config(server_rules=(rule("front", port=8000),))
    assert about(host.look(gpu(0), after=TICK)) == (1015, 1010)


def test_a_server_that_ran_for_longer_than_an_hour_unread(host: Host) -> None:
    """As before; the hour is over."""
    host.look(gpu(0))
    host.runs(vllm(7, 1015))
    host.look(gpu(0))
    host.look(gpu(0), after=LOADING)
    host.config = Config(server_rules=(rule("front", port=8000),))
    assert about(host.look(gpu(0))) == (1015, 1020 + 3600)


def test_a_server_that_is_found_again_is_not_new(host: Host) -> None:
    """It was read before, and was out of sight: what was counted is not counted again."""
    host.look(gpu(0))
    host.runs(vllm(7, 1015, 7))
    assert about(host.look(gpu(0, 7))) == (1015, 1010)
    host.config = Config(servers=(server("chat", URL),))
    assert host.look(gpu(0, 7)).targets == ()
    host.config = Config()
    assert about(host.look(gpu(0, 7))) == (1015, 1020)


def test_a_server_that_a_look_missed_is_not_new(host: Host) -> None:
    """A host too busy to be read whole: the server was not among what was read, for once."""
    host.look(gpu(0))
    host.runs(vllm(7, 1015, 7))
    host.look(gpu(0, 7))
    host.runs(group(7))
    assert host.look(gpu(0, 7)).targets == ()
    host.runs(vllm(7, 1015, 7))
    assert about(host.look(gpu(0, 7))) == (1015, 1030)


def test_another_process_at_the_same_address_is_new(host: Host) -> None:
    """It is told from the one before by its start; its source is another one."""
    host.runs(vllm(7, 500, 7))
    host.look(gpu(0, 7))
    (source,) = host.discovery.endpoints
    host.runs(vllm(7, 1015, 7))
    assert about(host.look(gpu(0, 7))) == (1015, 1010)
    assert host.discovery.endpoints != (source,)


def test_a_reading_that_is_kept_says_nothing_of_now(host: Host) -> None:
    """Processes are listed every 30 s only: what is new in a list was absent in the one before."""
    host.look(gpu(0))
    host.look(gpu(0))
    host.runs(vllm(7, 1015, 7))
    assert about(host.look(gpu(0, 7))) == (1015, 1010)


def test_a_look_that_fails_says_nothing(host: Host) -> None:
    """Servers that were found stay, nobody is known to be absent, and whoever holds GPUs is not known."""
    host.runs(vllm(7, 500, 7))
    host.look(gpu(0, 7))
    host.processes.reading = None
    blind = host.look(gpu(0, 7))
    assert (urls(blind), blind.unsure, blind.blind) == ({URL: "/vllm:8000"}, {uuid(0)}, True)
    assert [answer.health.reason for answer in blind.gathered] == ["unreadable"]
    host.runs(vllm(9, 1015, 9))
    assert about(host.look(gpu(0, 9))) == (1015, 1010)


def test_a_first_look_that_fails_says_nothing(host: Host) -> None:
    """The daemon before looked last; that this one ticked in between does not change it."""
    host.since = BOOT + 900 * SECOND
    host.processes.reading = None
    host.look(gpu(0, 7))
    host.since = BOOT + 1010 * SECOND
    host.runs(vllm(7, 950, 7))
    found = host.look(gpu(0, 7))
    assert (about(found), found.blind) == ((950, 900), False)


def test_a_server_that_has_ended_is_no_longer_read(host: Host) -> None:
    """And nobody holds its GPU."""
    host.runs(vllm(7, 500, 7))
    host.look(gpu(0, 7))
    host.runs()
    found = host.look(gpu(0))
    assert (found.targets, found.holders, found.unsure, host.discovery.endpoints) == ((), (), frozenset(), ())


def test_a_server_that_lets_go_of_its_gpu_is_read_on(host: Host) -> None:
    """A vLLM that sleeps is the same process at the same address, with what was known of it."""
    host.look(gpu(0))
    host.runs(vllm(7, 1015, 8))
    host.look(gpu(0, 8))
    host.runs(vllm(7, 1015))
    assert about(host.look(gpu(0))) == (1015, 1010)


def test_a_socket_that_a_look_misses_is_where_it_was(host: Host) -> None:
    """A process does not move; one that was never found to listen is nowhere."""
    silent = replace(api(7), port=None, metrics_port=None)
    host.runs(group(7, server=silent))
    assert host.look(gpu(0, 7)).targets == ()
    host.runs(group(7, server=api(7)))
    first = host.look(gpu(0, 7)).targets
    host.runs(group(7, server=silent))
    assert host.look(gpu(0, 7)).targets == first
    other = replace(silent, process=silent.process._replace(started=5))
    host.runs(group(7, server=other))
    assert host.look(gpu(0, 7)).targets == ()


def test_a_reload_names_what_was_found(host: Host) -> None:
    """The same process under another name: what was known of it stays, and it has a source of that name."""
    host.look(gpu(0))
    host.runs(vllm(7, 1015, 7))
    host.look(gpu(0, 7))
    (source,) = host.discovery.endpoints
    host.config = Config(server_rules=(rule("chat", port=8000),))
    found = host.look(gpu(0, 7))
    assert held(found) == {"GPU-0": ["/chat"]}
    assert about(found) == (1015, 1010)
    (renamed,) = host.discovery.endpoints
    assert (source.key, renamed.key, renamed.url) == (
        ServerKey("", "vllm:8000"),
        ServerKey("", "chat"),
        source.url,
    )


def test_bodies_are_bounded_as_configured(host: Host) -> None:
    """A reload with another bound reads by it."""
    host.runs(vllm(7, 500, 7))
    host.look(gpu(0, 7))
    (source,) = host.discovery.endpoints
    host.config = replace(host.config, limits=replace(host.config.limits, body_bytes=1000))
    host.look(gpu(0, 7))
    assert host.discovery.endpoints != (source,)


def test_only_processes_that_compute_are_asked_about(host: Host) -> None:
    """Those of all GPUs; one whose processes NVML does not tell adds none."""
    found = host.look(gpu(0, 7, 8), gpu(1, 8, 9), gpu(2, processes=None))
    assert host.processes.asked == [{7, 8, 9}]
    assert [(answer.health.source, answer.health.errors) for answer in found.gathered] == [
        ("processes", (("denied", 1),))
    ]


def test_processes_may_be_switched_off(host: Host) -> None:
    """Then no process is read, no source is told of, and GPUs are held as they were given."""
    (host.kubelet.place.parent / "there").touch()
    host.config = Config(processes=False)
    host.kubelet.said = Allocations((given("a-0", 0),))
    host.runs(vllm(7, 500, 7))
    found = host.look(gpu(0, 7), gpu(1, 8), gpu(2, processes=None))
    assert host.processes.asked == []
    assert (found.gathered, found.blind) == ((), False)
    assert held(found) == {"GPU-0": ["ml/unmatched:a"]}
    assert (found.unsure, found.targets) == (frozenset(), ())


def test_without_a_kubelet_there_is_no_such_source(tmp_path: Path) -> None:
    """No row of health for what is not there; from the moment on that there is one it is a source."""
    host = Host(tmp_path / "pod-resources")
    assert host.discovery.sources == ()
    assert host.look(gpu(0)).unsure == frozenset()
    (tmp_path / "pod-resources").mkdir()
    assert host.discovery.sources == (host.kubelet,)
    (tmp_path / "pod-resources").rmdir()
    assert host.discovery.sources == (host.kubelet,)


def test_a_host_without_kubernetes(host: Host) -> None:
    """Nobody asks for a kubelet."""
    alone = Discovery(host.clock, Endpoints(host.clock), host.processes, None)  # type: ignore[arg-type]
    assert alone.sources == ()
    assert alone.look(Config(), (gpu(0),), (), host.gather, None).unsure == frozenset()
    alone.close()


def test_what_a_silent_kubelet_said_stands_for_five_minutes(host: Host) -> None:
    """It restarts; after that nobody knows, and who held a GPU last holds on."""
    host.kubelet.said = Allocations((given("a-0", 0),))
    host.look(gpu(0), gpu(1))
    host.kubelet.reason = "refused"
    found = host.look(gpu(0), gpu(1), after=HELD)
    assert (held(found), found.unsure) == ({"GPU-0": ["ml/unmatched:a"]}, frozenset())
    found = host.look(gpu(0), gpu(1), after=1)
    assert (held(found), found.unsure) == ({}, {uuid(0), uuid(1)})
    host.kubelet.reason = ""
    assert held(host.look(gpu(0), gpu(1))) == {"GPU-0": ["ml/unmatched:a"]}


def test_a_kubelet_that_never_answered(host: Host) -> None:
    """There is one, and what it gave out is not known."""
    host.kubelet.reason = "timeout"
    assert host.look(gpu(0)).unsure == {uuid(0)}


@pytest.mark.parametrize("reason", ["absent", "unimplemented"])
def test_a_kubelet_that_is_gone_gave_nobody_anything(host: Host, reason: str) -> None:
    """The host left its cluster: what was given out before is void at once."""
    host.kubelet.said = Allocations((given("a-0", 0),))
    host.look(gpu(0))
    host.kubelet.reason = reason
    found = host.look(gpu(0))
    assert (held(found), found.unsure) == ({}, frozenset())
    host.kubelet.reason = "refused"
    assert host.look(gpu(0)).unsure == {uuid(0)}


def test_gpus_that_are_named_by_number(host: Host) -> None:
    """GKE: the number is that of the device file, and which GPU it is may change."""
    host.kubelet.said = Allocations((given("a-0", 0, minor=1),))
    host.runs(podded(0, 7, server=api(7)))
    assert held(host.look(gpu(0, 7, minor=1), gpu(1, minor=0))) == {"GPU-0": ["ml/a"]}
    assert held(host.look(gpu(0, 7, minor=0), gpu(1, minor=1))) == {
        "GPU-0": ["/vllm:8000"],
        "GPU-1": ["ml/unmatched:a"],
    }


def test_closing_closes_what_it_reads(host: Host) -> None:
    """Processes, kubelet, endpoints."""
    host.runs(vllm(7, 500, 7))
    host.look(gpu(0, 7))
    assert host.discovery.endpoints
    host.discovery.close()
    assert (host.processes.closed, host.kubelet.closed) == (True, True)
