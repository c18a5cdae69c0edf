"""What a look remembers of the looks before it."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.config.settings import Config
from exporter.engines.launch import Launch
from exporter.readings import FailureReason, GpuProcess, ServerKey, Source
from exporter.sources.discovery.discovery import LOADING
from exporter.sources.discovery.servers import DiscoveryResult
from exporter.sources.gather import Gathered
from exporter.units import Instant
from tests.kit.units import SECOND
from tests.sources.discovery.builders import (
    BOOT,
    api,
    gpu,
    group,
    holders_by_part,
    pod,
    podded,
    rule,
    server,
    urls,
    uuid,
)
from tests.sources.discovery.host import TICK, URL, DiscoveryHost, vllm


def lifetime(result: DiscoveryResult) -> tuple[Instant | None, Instant | None]:
    """Of the only server: when it started, and when it was not there, in seconds of boot time."""
    (target,) = result.targets
    return tuple(  # type: ignore[return-value]
        None if at is None else (at - BOOT) / SECOND
        for at in (target.server_context.started, target.server_context.absent_at)
    )


def test_holders_follow_what_computes(host: DiscoveryHost) -> None:
    """Once a process has more memory, computes elsewhere or is gone, its holders are other ones."""
    host.runs(vllm(7, 500, 7))
    host.cluster.answer = (pod("chat"),)
    before = host.look(gpu(0, GpuProcess(7, 40)))
    again = host.look(gpu(0, GpuProcess(7, 40), power_watts=300.0, energy=5))
    assert again.holders == before.holders
    assert again.targets[0] is before.targets[0]
    (grown,) = host.look(gpu(0, GpuProcess(7, 41))).holders
    assert grown.memory_bytes == 41
    assert host.look(gpu(0)).holders == ()
    assert host.look(gpu(1, 7)).holders[0].uuid == uuid(1)
    host.runs()
    assert host.look(gpu(1, 7)).targets == ()


def test_a_server_that_starts_while_it_is_watched(host: DiscoveryHost) -> None:
    """It was not there ten seconds ago, and what was known of its start stays while it runs."""
    host.look(gpu(0))
    host.runs(vllm(7, 1015, 7))
    assert lifetime(host.look(gpu(0, 7))) == (1015, 1010)
    (source,) = host.discovery.endpoints
    for _ in range(5):
        assert lifetime(host.look(gpu(0, 7))) == (1015, 1010)
    assert host.discovery.endpoints == (source,)


def test_a_server_that_was_there_first(host: DiscoveryHost) -> None:
    """With new books nothing is known of what it did before: it was never seen to be absent."""
    host.runs(vllm(7, 500, 7))
    assert lifetime(host.look(gpu(0, 7))) == (500, None)
    assert lifetime(host.look(gpu(0, 7))) == (500, None)


def test_a_server_that_started_while_the_daemon_was_down(host: DiscoveryHost) -> None:
    """The last tick of the daemon before is when the host was last looked at."""
    host.since = BOOT + 900 * SECOND
    host.runs(vllm(7, 950, 7))
    assert lifetime(host.look(gpu(0, 7))) == (950, 900)


def test_a_server_that_loads_for_long(host: DiscoveryHost) -> None:
    """It runs for minutes before it computes: it was absent before it began, not until it was first read."""
    host.look(gpu(0))
    host.runs(vllm(7, 1015))
    for _ in range(20):
        assert host.look(gpu(0)).targets == ()
    host.runs(vllm(7, 1015, 8))
    assert lifetime(host.look(gpu(0, 8))) == (1015, 1010)


def test_a_server_that_ran_for_hours_unread(host: DiscoveryHost) -> None:
    """A rule names it at last: what it did all day does not come as if it were of this minute."""
    host.look(gpu(0))
    host.runs(vllm(7, 1015))
    host.look(gpu(0))
    host.look(gpu(0), after=LOADING - TICK)
    host.config = Config(server_rules=(rule("front", port=8000),))
    assert lifetime(host.look(gpu(0), after=TICK)) == (1015, 1010)


def test_a_server_that_ran_for_longer_than_an_hour_unread(host: DiscoveryHost) -> None:
    """As before; the hour is over."""
    host.look(gpu(0))
    host.runs(vllm(7, 1015))
    host.look(gpu(0))
    host.look(gpu(0), after=LOADING)
    host.config = Config(server_rules=(rule("front", port=8000),))
    assert lifetime(host.look(gpu(0))) == (1015, 1020 + 3600)


def test_a_server_that_is_found_again_is_not_new(host: DiscoveryHost) -> None:
    """It was read before, and was out of sight: what was counted is not counted again."""
    host.look(gpu(0))
    host.runs(vllm(7, 1015, 7))
    assert lifetime(host.look(gpu(0, 7))) == (1015, 1010)
    host.config = Config(servers=(server("chat", URL),))
    assert host.look(gpu(0, 7)).targets == ()
    host.config = Config()
    assert lifetime(host.look(gpu(0, 7))) == (1015, 1020)


def test_a_server_that_a_look_missed_is_not_new(host: DiscoveryHost) -> None:
    """A host too busy to be read whole: the server was not among what was read, for once."""
    host.look(gpu(0))
    host.runs(vllm(7, 1015, 7))
    host.look(gpu(0, 7))
    host.runs(group(7))
    assert host.look(gpu(0, 7)).targets == ()
    host.runs(vllm(7, 1015, 7))
    assert lifetime(host.look(gpu(0, 7))) == (1015, 1030)


def test_another_process_at_the_same_address_is_new(host: DiscoveryHost) -> None:
    """It is told from the one before by its start; its source is another one."""
    host.runs(vllm(7, 500, 7))
    host.look(gpu(0, 7))
    (source,) = host.discovery.endpoints
    host.runs(vllm(7, 1015, 7))
    assert lifetime(host.look(gpu(0, 7))) == (1015, 1010)
    assert host.discovery.endpoints != (source,)


def test_a_reading_that_is_kept_says_nothing_of_now(host: DiscoveryHost) -> None:
    """Processes are listed every 30 s only: what is new in a list was absent in the one before."""
    host.look(gpu(0))
    host.look(gpu(0))
    host.runs(vllm(7, 1015, 7))
    assert lifetime(host.look(gpu(0, 7))) == (1015, 1010)


def test_a_look_that_fails_says_nothing(host: DiscoveryHost) -> None:
    """Servers that were found stay, nobody is known to be absent, and whoever holds GPUs is not known."""
    host.runs(vllm(7, 500, 7))
    host.look(gpu(0, 7))
    host.processes.reading = None
    incomplete = host.look(gpu(0, 7))
    assert (urls(incomplete), incomplete.unknown_gpus, incomplete.incomplete) == (
        {URL: "/vllm:8000"},
        {uuid(0)},
        True,
    )
    assert [answer.health.reason for answer in incomplete.gathered] == ["unreadable"]
    host.runs(vllm(9, 1015, 9))
    assert lifetime(host.look(gpu(0, 9))) == (1015, 1010)


def test_a_first_look_that_fails_says_nothing(host: DiscoveryHost) -> None:
    """The daemon before looked last; that this one ticked in between does not change it."""
    host.since = BOOT + 900 * SECOND
    host.processes.reading = None
    host.look(gpu(0, 7))
    host.since = BOOT + 1010 * SECOND
    host.runs(vllm(7, 950, 7))
    result = host.look(gpu(0, 7))
    assert (lifetime(result), result.incomplete) == ((950, 900), False)


def test_a_server_that_has_ended_is_no_longer_read(host: DiscoveryHost) -> None:
    """And nobody holds its GPU."""
    host.runs(vllm(7, 500, 7))
    host.look(gpu(0, 7))
    host.runs()
    result = host.look(gpu(0))
    assert (result.targets, result.holders, result.unknown_gpus, host.discovery.endpoints) == (
        (),
        (),
        frozenset(),
        (),
    )


def test_a_server_that_lets_go_of_its_gpu_is_read_on(host: DiscoveryHost) -> None:
    """A vLLM that sleeps is the same process at the same address, with what was known of it."""
    host.look(gpu(0))
    host.runs(vllm(7, 1015, 8))
    host.look(gpu(0, 8))
    host.runs(vllm(7, 1015))
    assert lifetime(host.look(gpu(0))) == (1015, 1010)


def test_a_socket_that_a_look_misses_is_where_it_was(host: DiscoveryHost) -> None:
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


def test_a_reload_names_what_was_found(host: DiscoveryHost) -> None:
    """The same process under another name: what was known of it stays, and it has a source of that name."""
    host.look(gpu(0))
    host.runs(vllm(7, 1015, 7))
    host.look(gpu(0, 7))
    (source,) = host.discovery.endpoints
    host.config = Config(server_rules=(rule("chat", port=8000),))
    result = host.look(gpu(0, 7))
    assert holders_by_part(result) == {"GPU-0": ["/chat"]}
    assert lifetime(result) == (1015, 1010)
    (renamed,) = host.discovery.endpoints
    assert (source.key, renamed.key, renamed.url) == (
        ServerKey("", "vllm:8000"),
        ServerKey("", "chat"),
        source.url,
    )


def test_bodies_are_bounded_as_configured(host: DiscoveryHost) -> None:
    """A reload with another bound reads by it."""
    host.runs(vllm(7, 500, 7))
    host.look(gpu(0, 7))
    (source,) = host.discovery.endpoints
    host.config = replace(host.config, limits=replace(host.config.limits, body_bytes=1000))
    host.look(gpu(0, 7))
    assert host.discovery.endpoints != (source,)


def test_only_processes_that_compute_are_asked_about(host: DiscoveryHost) -> None:
    """Those of all GPUs; one whose processes NVML does not tell adds none."""
    result = host.look(gpu(0, 7, 8), gpu(1, 8, 9), gpu(2, processes=None))
    assert host.processes.requests == [{7, 8, 9}]
    assert [(answer.health.source, answer.health.errors) for answer in result.gathered] == [
        ("processes", (("denied", 1),))
    ]


def test_processes_that_are_still_being_read_are_not_asked_a_second_time(
    host: DiscoveryHost, tmp_path: Path
) -> None:
    """Whoever gathers knows them again at the next look, whichever processes compute then."""
    gathered: list[Source[Any]] = []

    def gather(sources: Iterable[Source[Any]]) -> list[Gathered]:
        sources = tuple(sources)
        gathered.extend(sources)
        return DiscoveryHost.gather(host, sources)

    other = DiscoveryHost(tmp_path)
    for each, pid in ((host, 7), (host, 8), (other, 8)):
        each.discovery.look(each.config, (gpu(0, pid),), (), gather, None)
    first, second, others = gathered
    assert (first == second, hash(first) == hash(second), second == others, first == "processes") == (
        *(True, True, False, False),
    )


def test_a_claim_that_is_refused_is_counted_and_logged_once(
    host: DiscoveryHost, caplog: pytest.LogCaptureFixture
) -> None:
    """Each new list of the processes counts it; the log has it once, while it lasts."""
    thief = api(
        8, None, launch=Launch("vllm", named_port=8000, model="evil"), port_fault=FailureReason.PORT_TAKEN
    )
    caplog.set_level(logging.WARNING)
    for _ in range(3):
        host.runs(vllm(7, 500, 7), group(8, server=thief))
        result = host.look(gpu(0, 7), gpu(1, 8))
        assert ("refused", 1) in result.gathered[0].health.errors
    again = host.look(gpu(0, 7), gpu(1, 8))  # the list is kept, and so is what it said

    assert ("refused", 1) not in again.gathered[0].health.errors
    assert [(record.message, record.server) for record in caplog.records] == [  # type: ignore[attr-defined]
        ("claim refused", "vllm:model=evil"),
        ("server not read", "vllm:model=evil"),
    ]


def test_a_server_that_is_not_read_is_logged_once_per_change(
    host: DiscoveryHost, caplog: pytest.LogCaptureFixture
) -> None:
    """With its reason and what to do, and once more when it is read."""
    caplog.set_level(logging.INFO)
    elsewhere = group(8, server=api(8, 8001, reach="loopback", hosts=()), network=7)
    silent = group(8, server=api(8, None, metrics_port=None, launch=Launch("vllm", named_port=8001)))
    readable = group(8, server=api(8, 8001))
    for one in (silent, silent, elsewhere, elsewhere, readable, readable):
        host.runs(one)
        result = host.look(gpu(0, 8))

    assert result.unread == ()
    assert [(record.message, getattr(record, "reason", "")) for record in caplog.records] == [
        ("server not read", "not_listening"),
        ("server not read", "loopback"),
        ("server read", ""),
    ]
    problem = getattr(caplog.records[0], "problem", "")
    assert problem.startswith("nothing of its own listens where its metrics should be. Wait until it has")


def test_a_server_that_is_read_as_before_is_not_unread(host: DiscoveryHost) -> None:
    """While its cluster does not answer it has its last name, and its endpoint."""
    annotated_pod = pod("chat-0", "chat")
    server = podded(0, 7, server=api(7, reach="address", hosts=("10.0.0.0",)))
    host.cluster.answer = (annotated_pod,)
    host.runs(server)
    first = host.look(gpu(0, 7))
    host.cluster.answer = None
    silent = host.look(gpu(0, 7))
    host.runs(podded(1, 9, server=api(9, reach="address", hosts=("10.0.0.1",))))
    strange = host.look(gpu(0, 9))

    assert [target.key.server for target in (*first.targets, *silent.targets)] == ["chat", "chat"]
    assert (first.unread, silent.unread) == ((), ())
    assert [(one.key.server, one.reason) for one in strange.unread] == [
        ("vllm:8000", FailureReason.NO_POD_NAME)
    ]
