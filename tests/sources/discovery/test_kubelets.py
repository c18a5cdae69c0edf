"""What a look goes by while a kubelet is absent, silent or gone, and what it goes by without processes."""

from pathlib import Path

import pytest

from exporter.config.settings import Config
from exporter.sources.discovery.answers import ANSWER_TTL, own_pod
from exporter.sources.discovery.discovery import Discovery
from exporter.sources.endpoints import EndpointSources
from exporter.sources.kubelet import Allocations
from exporter.sources.kubernetes import PodAnnotations
from tests.kit.units import SECOND
from tests.sources.discovery.builders import api, given, gpu, group, holders_by_part, pod, podded, urls, uuid
from tests.sources.discovery.host import URL, DiscoveryHost, vllm


def test_processes_may_be_switched_off(host: DiscoveryHost) -> None:
    """Then no process is read, no source is told of, and GPUs are held as they were given."""
    (host.kubelet.socket.parent / "there").touch()
    host.config = Config(processes=False)
    host.kubelet.allocated = Allocations((given("a-0", 0),))
    host.runs(vllm(7, 500, 7))
    result = host.look(gpu(0, 7), gpu(1, 8), gpu(2, processes=None))
    assert host.processes.requests == []
    assert (result.gathered, result.incomplete) == ((), False)
    assert holders_by_part(result) == {"GPU-0": ["ml/unmatched:a"]}
    assert (result.unknown_gpus, result.targets) == (frozenset(), ())


def test_without_a_kubelet_there_is_no_such_source(tmp_path: Path) -> None:
    """No row of health for what is not there; from the moment on that there is one it is a source."""
    host = DiscoveryHost(tmp_path / "pod-resources")
    assert host.discovery.sources(host.config) == ()
    assert host.look(gpu(0)).unknown_gpus == frozenset()
    (tmp_path / "pod-resources").mkdir()
    assert host.discovery.sources(host.config) == (host.kubelet,)
    (tmp_path / "pod-resources").rmdir()
    assert host.discovery.sources(host.config) == (host.kubelet,)


def test_a_claim_with_admin_access_is_no_holding(host: DiscoveryHost) -> None:
    """DRA: the kubelet lists the exporter beside the pod that was given the GPU, and alone where none was."""
    host.kubelet.allocated = Allocations(
        (given("ice-x7k2p", 0, "inference-cost"), given("a-0", 0), given("ice-x7k2p", 1, "inference-cost"))
    )
    assert holders_by_part(host.look(gpu(0), gpu(1))) == {
        "GPU-0": ["inference-cost/unmatched:ice", "ml/unmatched:a"],
        "GPU-1": ["inference-cost/unmatched:ice"],
    }
    own = Discovery(
        host.clock,
        EndpointSources(host.clock),
        host.processes,  # type: ignore[arg-type]
        host.kubelet,
        monitor=("inference-cost", "ice-x7k2p"),
    )
    looked = own.look(Config(), (gpu(0), gpu(1)), host.gather([host.kubelet]), host.gather, None)
    assert holders_by_part(looked) == {"GPU-0": ["ml/unmatched:a"]}
    assert looked.unknown_gpus == frozenset()  # the other one is idle, and known to be


def test_it_knows_its_own_pod_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both variables, which the DaemonSet sets; one alone is no pod."""
    monkeypatch.setenv("POD_NAME", "ice-x7k2p")
    monkeypatch.delenv("POD_NAMESPACE", raising=False)
    assert own_pod() is None
    monkeypatch.setenv("POD_NAMESPACE", "inference-cost")
    assert own_pod() == ("inference-cost", "ice-x7k2p")


def test_a_kubelet_that_is_switched_off_is_not_asked(host: DiscoveryHost) -> None:
    """Its socket is there, and what it gave out before a reload is forgotten with the reload."""
    (host.kubelet.socket.parent / "there").touch()
    host.kubelet.allocated = Allocations((given("a-0", 0),))
    assert holders_by_part(host.look(gpu(0))) == {"GPU-0": ["ml/unmatched:a"]}

    host.config = Config(kubernetes="off")
    assert host.discovery.sources(host.config) == ()
    assert holders_by_part(host.look(gpu(0))) == {}
    host.config = Config()
    assert host.discovery.sources(host.config) == (host.kubelet,)


def test_a_host_without_kubernetes(host: DiscoveryHost) -> None:
    """Nobody asks for a kubelet."""
    alone = Discovery(host.clock, EndpointSources(host.clock), host.processes, None)  # type: ignore[arg-type]
    assert alone.sources(Config()) == ()
    assert alone.look(Config(), (gpu(0),), (), host.gather, None).unknown_gpus == frozenset()
    alone.close()


def test_what_a_silent_kubelet_said_stands_for_five_minutes(host: DiscoveryHost) -> None:
    """It restarts; after that nobody knows, and who held a GPU last holds on."""
    host.kubelet.allocated = Allocations((given("a-0", 0),))
    host.look(gpu(0), gpu(1))
    host.kubelet.reason = "refused"
    result = host.look(gpu(0), gpu(1), after=ANSWER_TTL)
    assert (holders_by_part(result), result.unknown_gpus) == ({"GPU-0": ["ml/unmatched:a"]}, frozenset())
    result = host.look(gpu(0), gpu(1), after=1)
    assert (holders_by_part(result), result.unknown_gpus) == ({}, {uuid(0), uuid(1)})
    host.kubelet.reason = ""
    assert holders_by_part(host.look(gpu(0), gpu(1))) == {"GPU-0": ["ml/unmatched:a"]}


def test_a_kubelet_that_never_answered(host: DiscoveryHost) -> None:
    """There is one, and what it gave out is not known."""
    host.kubelet.reason = "timeout"
    assert host.look(gpu(0)).unknown_gpus == {uuid(0)}


def test_a_kubelet_without_a_socket_starts_again_or_is_gone(host: DiscoveryHost) -> None:
    """A restart takes it away for a moment. A host that has none for five minutes has left its cluster."""
    host.kubelet.allocated = Allocations((given("a-0", 0),))
    host.look(gpu(0), gpu(1))
    host.kubelet.reason = "absent"
    result = host.look(gpu(0), gpu(1), after=ANSWER_TTL)
    assert (holders_by_part(result), result.unknown_gpus) == ({"GPU-0": ["ml/unmatched:a"]}, frozenset())
    result = host.look(gpu(0), gpu(1), after=1)
    assert (holders_by_part(result), result.unknown_gpus) == ({}, frozenset())


def test_a_kubelet_that_never_had_a_socket_gave_nobody_anything(host: DiscoveryHost) -> None:
    """There is none, and nothing to be unsure of."""
    host.kubelet.reason = "absent"
    result = host.look(gpu(0))
    assert (holders_by_part(result), result.unknown_gpus) == ({}, frozenset())


@pytest.mark.parametrize("reason", ["denied", "unimplemented"])
def test_a_kubelet_that_is_not_there_for_us_gave_nobody_anything(host: DiscoveryHost, reason: str) -> None:
    """This user may not ask, or it has nothing to tell: what was given out before is void at once."""
    host.kubelet.allocated = Allocations((given("a-0", 0),))
    host.look(gpu(0))
    host.kubelet.reason = reason
    result = host.look(gpu(0))
    assert (holders_by_part(result), result.unknown_gpus) == ({}, frozenset())
    host.kubelet.reason = "refused"
    assert host.look(gpu(0)).unknown_gpus == {uuid(0)}


def test_while_nobody_tells_of_pods_their_servers_are_read_as_they_are_called(host: DiscoveryHost) -> None:
    """Under the name that they had, by whom GPUs are held on; what has ended is no longer read."""
    chat, trainer = podded(0, 7, server=api(7)), podded(1, 8, server=api(8, 8001))
    host.cluster.answer = (pod("chat-0", "chat", ips=()), pod("b-0", "b", 1, ips=()))
    host.runs(chat, trainer)
    first = host.look(gpu(0, 7), gpu(1, 8))
    host.cluster.answer = None
    later = host.look(gpu(0, 7), gpu(1, 8))
    assert (later.targets, later.holders, later.unknown_gpus) == (first.targets, (), {uuid(0), uuid(1)})
    assert (first.incomplete, later.incomplete) == (False, True)
    host.runs(chat)
    assert urls(host.look(gpu(0, 7), gpu(1))) == {URL: "ml/chat"}
    host.processes.reading = None
    assert urls(host.look(gpu(0, 7), gpu(1))) == {URL: "ml/chat"}


@pytest.mark.parametrize(
    ("ips", "pod_annotations"),
    [
        pytest.param(("10.0.0.7",), PodAnnotations(port=9400), id="a port that the pod names"),
        pytest.param(("fd00::7", "10.0.0.7"), PodAnnotations(), id="IPv6 first"),
    ],
)
def test_a_server_is_not_read_at_a_second_address_while_nobody_tells_of_pods(
    host: DiscoveryHost, ips: tuple[str, ...], pod_annotations: PodAnnotations
) -> None:
    """The kubelet's device names its pod, and its own network an address: its tokens would count twice."""
    (host.kubelet.socket.parent / "there").touch()
    host.kubelet.allocated = Allocations((given("chat-0", 0),))
    host.cluster.answer = (pod("chat-0", "chat", ips=ips, pod_annotations=pod_annotations),)
    host.runs(podded(0, 7, server=api(7, reach="address", hosts=("10.0.0.7",))))
    first = host.look(gpu(0, 7))
    host.cluster.answer = None
    assert urls(host.look(gpu(0, 7))) == urls(first) != {}


def test_a_server_of_no_pod_is_read_where_it_listens_now(host: DiscoveryHost) -> None:
    """While nobody tells of pods, and not at its earlier port too: another server may have that."""
    host.runs(group(7, server=api(7)))
    assert urls(host.look(gpu(0, 7))) == {URL: "/vllm:8000"}
    host.cluster.answer = None
    host.runs(group(7, server=api(7, 8001)))
    assert urls(host.look(gpu(0, 7))) == {"http://127.0.0.1:8001/metrics": "/vllm:8001"}


def test_a_pod_whose_processes_are_not_seen_is_read_on_while_nobody_tells_of_it(host: DiscoveryHost) -> None:
    """Nothing says that it has ended."""
    host.cluster.answer = (pod("chat-0", "chat", pod_annotations=PodAnnotations(port=9400)),)
    first = host.look(gpu(0)).targets
    host.cluster.answer = None
    assert host.look(gpu(0)).targets == first != ()
    host.cluster.answer = ()
    assert host.look(gpu(0)).targets == ()


def test_a_daemon_that_starts_before_its_cluster_answers_does_not_know_who_is_here(
    host: DiscoveryHost,
) -> None:
    """So that what the one before it counted of them is not forgotten."""
    host.cluster.answer = None
    host.runs(podded(0, 7, server=api(7)))
    result = host.look(gpu(0, 7))
    assert (result.targets, result.holders, result.incomplete) == ((), (), True)


def test_a_cluster_is_asked_by_the_configuration_of_the_look(host: DiscoveryHost) -> None:
    """Whoever is to be asked is known before anybody is called anything: in the first look, too."""
    host.config = Config(interval=5 * SECOND)
    host.look(gpu(0))
    assert host.cluster.requests == [("go by", host.config), ("pods", host.config)]


def test_gpus_that_are_named_by_number(host: DiscoveryHost) -> None:
    """GKE: the number is that of the device file, and which GPU it is may change."""
    host.kubelet.allocated = Allocations((given("a-0", 0, name="nvidia1"),))
    host.runs(podded(0, 7, server=api(7)))
    assert holders_by_part(host.look(gpu(0, 7, device="nvidia1"), gpu(1, device="nvidia0"))) == {
        "GPU-0": ["ml/a"]
    }
    assert holders_by_part(host.look(gpu(0, 7, device="nvidia0"), gpu(1, device="nvidia1"))) == {
        "GPU-0": ["/vllm:8000"],
        "GPU-1": ["ml/unmatched:a"],
    }


def test_closing_closes_what_it_reads(host: DiscoveryHost) -> None:
    """Processes, kubelet, endpoints."""
    host.runs(vllm(7, 500, 7))
    host.look(gpu(0, 7))
    assert host.discovery.endpoints
    host.discovery.close()
    assert (host.processes.closed, host.kubelet.closed) == (True, True)


def test_what_says_less_than_it_should_is_told_for_people(host: DiscoveryHost) -> None:
    """A source that failed, and processes that were not seen; a kubelet that is not there is no problem."""
    (host.kubelet.socket.parent / "there").touch()
    host.kubelet.reason = "timeout"
    host.processes.problem = "2 of the processes that compute are not seen"
    silent = host.look(gpu(0, 7)).problems
    host.kubelet.reason = "absent"
    host.processes.problem = ""
    fine = host.look(gpu(0)).problems

    assert [source for source, _ in silent] == ["kubelet", "processes"]
    assert silent[1] == ("processes", "2 of the processes that compute are not seen")
    assert fine == ()
