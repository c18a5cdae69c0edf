"""Pods that begin or end after an answer of their cluster or their kubelet, which stands for a while."""

from dataclasses import dataclass, replace

import pytest

from exporter.readings import FailureReason, QuickSource, ReadFailedError
from exporter.sources.discovery.answers import PodCache
from exporter.sources.kubelet import Allocations
from exporter.sources.kubernetes import Container, Pod, Pods
from tests.kit.clock import ManualClock
from tests.kit.units import SECOND
from tests.sources.discovery.builders import api, given, gpu, holders_by_part, pod, podded, skipped, uuid
from tests.sources.discovery.host import DiscoveryHost

NEW = podded(0, 7, server=api(7), started=1015 * SECOND)
"""It begins five seconds after the first look."""


@dataclass(eq=False)
class ListedPods(QuickSource):
    """A cluster that is asked once, and again when its answer is to be renewed."""

    clock: ManualClock
    there: tuple[Pod, ...] = ()
    fails: bool = False
    answer: Pods | None = None
    requests: int = 0
    name: str = "pods"
    asks: bool = True

    def read(self) -> Pods:
        if self.answer is None:
            self.requests += 1
            if self.fails:
                raise ReadFailedError(FailureReason.TIMEOUT, "the cluster says nothing")
            self.answer = Pods(self.there, "kubelet", self.clock.elapsed())
        return self.answer

    def renew(self) -> bool:
        there, self.answer = self.answer is not None, None
        return there


@pytest.fixture
def pods(host: DiscoveryHost) -> ListedPods:
    """The cluster of a host, looked at while it has no pod."""
    listed = ListedPods(host.clock)
    cluster = PodCache(host.clock, None)
    cluster.go_by(host.config)
    cluster._source = listed  # type: ignore[assignment]
    host.discovery._cluster = cluster
    host.look(gpu(0))
    host.runs(NEW)
    return listed


def test_a_new_pod_has_its_name_at_once(host: DiscoveryHost, pods: ListedPods) -> None:
    """By the list of its own tick, and not first by the command line that it began with."""
    pods.there = (pod("chat-0", "chat"),)
    result = host.look(gpu(0, 7))
    assert holders_by_part(result) == {"GPU-0": ["ml/chat"]}
    assert [answer.health.source for answer in result.gathered] == ["processes", "pods"]
    host.look(gpu(0, 7))
    assert pods.requests == 2


def test_a_new_pod_that_was_given_a_gpu_has_its_name_at_once(host: DiscoveryHost, pods: ListedPods) -> None:
    """Before its processes begin: its name alone would tell another workload, and no server."""
    (host.kubelet.socket.parent / "there").touch()
    host.runs()
    command = Container("main", argv=("vllm", "serve", "m"))
    pods.there = (pod("llm-2", "llm-2", containers=(command,)),)
    host.kubelet.allocated = Allocations((given("llm-2", 0),), at=host.clock.now + 5 * SECOND)
    for _ in range(2):
        assert holders_by_part(host.look(gpu(0))) == {"GPU-0": ["ml/llm-2"]}
    assert pods.requests == 2


def test_a_new_pod_waits_for_its_name_while_its_cluster_is_silent(
    host: DiscoveryHost, pods: ListedPods
) -> None:
    """The list of before stands for five minutes, and says nothing of it."""
    pods.fails = True
    result = host.look(gpu(0, 7))
    assert (result.holders, result.unknown_gpus) == ((), {uuid(0)})
    assert skipped(result) == ["no_pod_name"]
    pods.fails, pods.there = False, (pod("chat-0", "chat"),)
    assert holders_by_part(host.look(gpu(0, 7))) == {"GPU-0": ["ml/chat"]}


def test_a_pod_that_is_not_listed_is_called_as_it_runs(host: DiscoveryHost, pods: ListedPods) -> None:
    """As of another kubelet: the list is from after its begin, and is not asked for again."""
    for _ in range(2):
        assert holders_by_part(host.look(gpu(0, 7))) == {"GPU-0": ["/vllm:8000"]}
    assert pods.requests == 2


def test_a_pod_that_has_gone_holds_nothing_by_an_earlier_answer(
    host: DiscoveryHost, pods: ListedPods
) -> None:
    """The kubelet's stands for 30 seconds, or for five minutes while it is silent; a later one counts."""
    host.runs()
    (host.kubelet.socket.parent / "there").touch()
    pods.there, pods.answer = (pod("chat-0", "chat"),), None
    host.kubelet.allocated = Allocations((given("chat-0", 0),), at=host.clock.now)
    assert holders_by_part(host.look(gpu(0))) == {"GPU-0": ["ml/unmatched:chat"]}
    for live in (replace(pods.there[0], live=False), None):
        pods.there, pods.answer = () if live is None else (live,), None
        assert host.look(gpu(0)).holders == ()
    host.kubelet.reason = "timeout"
    assert host.look(gpu(0)).holders == ()

    host.kubelet.reason = ""
    host.kubelet.allocated = Allocations((given("chat-0", 0),), at=host.clock.now)
    assert holders_by_part(host.look(gpu(0))) == {"GPU-0": ["ml/unmatched:chat"]}


def test_a_pod_that_runs_on_keeps_its_name_without_being_listed(
    host: DiscoveryHost, pods: ListedPods
) -> None:
    """As of a kubelet that starts again, whose first list has no pod; once it has ended it is gone."""
    (host.kubelet.socket.parent / "there").touch()
    pods.there = (pod("chat-0", "chat"),)
    host.kubelet.allocated = Allocations((given("chat-0", 1),), at=host.clock.now)
    first = host.look(gpu(0, 7), gpu(1))
    pods.there, pods.answer = (), None
    result = host.look(gpu(0, 7), gpu(1))
    expected = {"GPU-0": ["ml/chat"], "GPU-1": ["ml/chat"]}
    assert holders_by_part(result) == holders_by_part(first) == expected
    assert result.targets == first.targets != ()

    host.runs()
    assert host.look(gpu(0)).servers == ()
    host.runs(NEW)
    assert holders_by_part(host.look(gpu(0, 7))) == {"GPU-0": ["/vllm:8000"]}


def test_a_pod_of_a_cluster_that_is_switched_off_has_no_name(host: DiscoveryHost, pods: ListedPods) -> None:
    """Its processes run on, and are called as on a host without Kubernetes."""
    pods.there = (pod("chat-0", "chat"),)
    assert holders_by_part(host.look(gpu(0, 7))) == {"GPU-0": ["ml/chat"]}
    host.config = replace(host.config, kubernetes="off")
    assert holders_by_part(host.look(gpu(0, 7))) == {"GPU-0": ["/vllm:8000"]}
