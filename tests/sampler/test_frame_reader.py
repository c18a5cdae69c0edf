"""One round of reading: what is asked, in which order, and what of it is in the frame."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from exporter.config.settings import Config
from exporter.readings import (
    NO_EVIDENCE,
    FailureReason,
    GpuEvidence,
    GpuReading,
    Holder,
    PodOwnership,
    QuickSource,
    ServerKey,
    SourceHealth,
    UnreadServer,
)
from exporter.sampler.frame_reader import Endpoint, FrameReader
from exporter.sources.discovery import Discovery
from exporter.sources.discovery.servers import DiscoveryResult
from exporter.sources.gather import Gather, Gathered
from exporter.sources.pci import DisplayDevices
from exporter.sources.server import ServerContext
from tests.kit.clock import START, ManualClock
from tests.sampler.sampler_fixture import CHAT, CONFIG, FakeEndpoint, FakeNvmlSource, inline

BATCH = ServerKey("", "batch")


@dataclass(eq=False)
class Pods(QuickSource):
    """A source that names pods."""

    name: str = "kubelet"

    def read(self) -> str:
        return "pods"


@dataclass
class FakeDiscovery(Discovery):
    """Gives a result, and keeps the arguments of each look."""

    result: DiscoveryResult = field(default_factory=DiscoveryResult)
    endpoints: tuple[Endpoint, ...] = ()
    pods: Pods = field(default_factory=Pods)
    looks: list[tuple[Config, tuple[GpuReading, ...], list[object], int | None]] = field(default_factory=list)

    def sources(self, _config: Config) -> tuple[Pods, ...]:
        return (self.pods,)

    def look(
        self,
        config: Config,
        gpus: tuple[GpuReading, ...],
        answers: Iterable[Gathered],
        gather: Gather,
        since: int | None,
    ) -> DiscoveryResult:
        assert callable(gather)
        self.looks.append((config, gpus, [answer.reading for answer in answers], since))
        return self.result


@pytest.fixture
def nvml() -> FakeNvmlSource:
    return FakeNvmlSource()


def reader(nvml: FakeNvmlSource, discovery: FakeDiscovery | None) -> FrameReader:
    clock = ManualClock()
    return FrameReader(clock, inline(clock), (nvml,), discovery)


def test_without_discovery_the_configuration_says_all(nvml: FakeNvmlSource) -> None:
    """Its servers are read, and hold what it says."""
    read = reader(nvml, None).read(CONFIG, (FakeEndpoint(),), None)
    frame, gathered = read.frame, read.gathered

    assert [reading.key for reading in frame.servers] == [CHAT]
    assert frame.holders == (Holder(CHAT, "GPU-0"),)
    assert [answer.health.source for answer in gathered] == ["nvml", "server:chat"]


def test_what_a_look_finds_is_in_the_frame(nvml: FakeNvmlSource) -> None:
    """Holders beside configured ones, who is unsure, who pays; how its sources fared beside the others."""
    health = SourceHealth("processes", up=True, duration=5)
    processes = Gathered(Pods("processes"), "groups", health)
    holder, owned = Holder(BATCH, "GPU-0"), PodOwnership(BATCH, "night", "lab")
    discovery = FakeDiscovery(
        DiscoveryResult((holder,), frozenset({"GPU-1"}), (owned,), gathered=(processes,), users={BATCH: 1000})
    )
    read = reader(nvml, discovery).read(CONFIG, (FakeEndpoint(),), START)
    frame, gathered = read.frame, read.gathered

    assert frame.holders == (Holder(CHAT, "GPU-0"), holder)
    assert (frame.unknown_gpus, frame.owners) == ({"GPU-1"}, (owned,))
    assert frame.users == {BATCH: 1000}
    assert [answer.health.source for answer in gathered] == ["nvml", "kubelet", "server:chat", "processes"]
    assert frame.health[-1] == health
    (look,) = discovery.looks
    assert look == (CONFIG, frame.gpus, ["pods"], START)


def test_a_configured_server_has_the_process_that_was_seen_to_listen(nvml: FakeNvmlSource) -> None:
    """At its own URL only."""
    other = FakeEndpoint(BATCH, "http://127.0.0.1:8001/metrics", "server:batch")
    listeners = {"http://127.0.0.1:8000/metrics": ServerContext(identity="7:100", started=START)}
    discovery = FakeDiscovery(DiscoveryResult(listeners=listeners))
    frame = reader(nvml, discovery).read(CONFIG, (FakeEndpoint(), other), None).frame

    listening = [(reading.listener, reading.listener_started) for reading in frame.servers]
    assert listening == [("7:100", START), ("", None)]


def test_servers_that_were_found_are_read_beside_the_configured_ones(nvml: FakeNvmlSource) -> None:
    """One that does not answer is there, and not up; it is unread, as one is that has no endpoint."""
    silent = FakeEndpoint(BATCH, "http://10.0.0.9:8000/metrics", "server:batch", failure="refused")
    mute = UnreadServer(ServerKey("", "mute"), FailureReason.NO_TOKENS)
    discovery = FakeDiscovery(DiscoveryResult(unread=(mute,)), endpoints=(silent,))
    frame = reader(nvml, discovery).read(CONFIG, (FakeEndpoint(),), None).frame

    assert [(reading.key, reading.up) for reading in frame.servers] == [(CHAT, True), (BATCH, False)]
    assert frame.unread == (mute, UnreadServer(BATCH, FailureReason.CONNECTION, silent.url))


def test_an_endpoint_is_read_once(nvml: FakeNvmlSource) -> None:
    """A reload may name a server that the last look found: its tokens must not come twice."""
    frame = (
        reader(nvml, FakeDiscovery(endpoints=(FakeEndpoint(BATCH),)))
        .read(CONFIG, (FakeEndpoint(),), None)
        .frame
    )

    assert [reading.key for reading in frame.servers] == [CHAT]


def test_nobody_looks_while_nvml_is_silent(nvml: FakeNvmlSource) -> None:
    """Nothing is known then, which is not that nobody holds anything."""
    nvml.failure = "nvmlDeviceGetCount has not returned"
    discovery = FakeDiscovery(DiscoveryResult((Holder(BATCH, "GPU-0"),)))
    frame = reader(nvml, discovery).read(CONFIG, (FakeEndpoint(),), None).frame

    assert (frame.gpus, frame.holders, discovery.looks) == (None, (), [])


@dataclass
class MovingDiscovery(FakeDiscovery):
    """Each look finds endpoints of its own."""

    endpoints_later: tuple[Endpoint, ...] = ()

    def look(
        self,
        config: Config,
        gpus: tuple[GpuReading, ...],
        answers: Iterable[Gathered],
        gather: Gather,
        since: int | None,
    ) -> DiscoveryResult:
        self.endpoints = self.endpoints_later
        return super().look(config, gpus, answers, gather, since)


def test_what_was_found_now_is_read_now(nvml: FakeNvmlSource) -> None:
    """Its tokens are counted from this tick on; what was found before is read once."""
    first = FakeEndpoint(BATCH, "http://10.0.0.9:8000/metrics", "server:batch")
    second = FakeEndpoint(ServerKey("", "new"), "http://10.0.0.9:8001/metrics", "server:new")
    discovery = MovingDiscovery(endpoints=(first,), endpoints_later=(first, second))
    read = reader(nvml, discovery).read(CONFIG, (FakeEndpoint(),), None)
    frame, gathered = read.frame, read.gathered

    assert [reading.key.server for reading in frame.servers] == ["chat", "batch", "new"]
    assert [answer.health.source for answer in gathered] == [
        *("nvml", "kubelet", "server:chat", "server:batch", "server:new")
    ]


def test_what_answered_for_a_server_that_was_started_anew_is_not_taken_for_it(nvml: FakeNvmlSource) -> None:
    """The look tells that another process listens there: its page is read as its own, and counted once."""
    url = "http://10.0.0.9:8000/metrics"
    before = FakeEndpoint(BATCH, url, "server:batch", generation=100.0)
    after = FakeEndpoint(BATCH, url, "server:batch", generation=300.0)
    discovery = MovingDiscovery(endpoints=(before,), endpoints_later=(after,))
    read = reader(nvml, discovery).read(CONFIG, (), None)
    frame, gathered = read.frame, read.gathered

    assert [reading.counters[0].value for reading in frame.servers] == [300.0]
    assert [answer.health.source for answer in gathered] == ["nvml", "kubelet", "server:batch"]


def test_what_answered_for_a_server_that_has_ended_is_nobodys(nvml: FakeNvmlSource) -> None:
    """Something else may listen there since; a server that ended is no failed source either."""
    ended = FakeEndpoint(BATCH, "http://10.0.0.9:8000/metrics", "server:batch", failure="refused")
    read = reader(nvml, MovingDiscovery(endpoints=(ended,))).read(CONFIG, (FakeEndpoint(),), None)
    frame, gathered = read.frame, read.gathered

    assert [reading.key for reading in frame.servers] == [CHAT]
    assert [answer.health.source for answer in gathered] == ["nvml", "kubelet", "server:chat"]


def test_a_frame_tells_whether_anybody_could_look(nvml: FakeNvmlSource) -> None:
    """Without NVML nobody does, without discovery nobody need to, and the processes may not be readable."""
    complete, incomplete = FakeDiscovery(), FakeDiscovery(DiscoveryResult(incomplete=True))
    assert [
        reader(nvml, one).read(CONFIG, (), None).frame.incomplete for one in (complete, incomplete, None)
    ] == [*(False, True, False)]
    nvml.failure = "nvmlDeviceGetCount has not returned"
    assert [reader(nvml, one).read(CONFIG, (), None).frame.incomplete for one in (complete, None)] == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("reason", "library"),
    [("driver_not_loaded", True), ("hung", True), ("library_missing", False), ("busy", False)],
)
def test_a_silent_driver_leaves_evidence(nvml: FakeNvmlSource, reason: str, *, library: bool) -> None:
    """Whether its library was loaded, and the displays of the bus."""
    nvml.failure, nvml.reason = "no answer", FailureReason(reason)
    clock = ManualClock()
    reader = FrameReader(clock, inline(clock), (nvml,), displays=lambda _: DisplayDevices(8, 2))

    evidence = reader.read(CONFIG, (), None).frame.evidence
    assert evidence == GpuEvidence(library=library, devices=8, passed_through=2)


def test_the_bus_is_not_read_where_gpus_are_listed(nvml: FakeNvmlSource) -> None:
    """They are evidence enough."""

    def displays(_: object) -> DisplayDevices:
        raise AssertionError

    clock = ManualClock()
    reader = FrameReader(clock, inline(clock), (nvml,), displays=displays)
    assert reader.read(CONFIG, (), None).frame.evidence == NO_EVIDENCE
