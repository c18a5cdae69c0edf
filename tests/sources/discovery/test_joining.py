"""All that was read of a host, put together: who is read, who pays, what people are told."""

from typing import Any

import pytest

from exporter.engines.launch import Launch
from exporter.readings import GpuProcess, PodOwnership, ServerKey, endpoint_id
from exporter.sources.discovery import servers
from exporter.sources.discovery.servers import DiscoveredServer, DiscoveryResult
from exporter.sources.kubernetes import Container, PodAnnotations
from exporter.sources.server import ServerContext, Target
from tests.kit.units import SECOND
from tests.sources.discovery.builders import (
    BOOT,
    CONTAINERS,
    api,
    contained,
    cut,
    given,
    gpu,
    group,
    holders_by_part,
    look,
    names,
    pod,
    podded,
    rule,
    server,
    skipped,
    urls,
    uuid,
)

URL = "http://127.0.0.1:8000/metrics"


def test_a_host_on_which_nothing_runs() -> None:
    """Nothing is found, and nothing is missing."""
    result = look((gpu(0),))
    assert (result.holders, result.targets, result.servers, result.owners, result.refused) == (
        (),
        (),
        (),
        (),
        0,
    )


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "http://localhost:8000/metrics",
        "http://[::1]:8000/metrics",
        "http://127.0.0.1:8000",
        "http://127.0.0.1:8000/metrics?model=a",
        "https://127.0.0.1:8000/v1/metrics",
    ],
)
def test_a_configured_server_is_not_read_a_second_time(url: str) -> None:
    """It is the same server by the same host and port; on GPUs that it is not said to hold it is seen too."""
    result = look((gpu(0, 7), gpu(1)), (group(7, server=api(7)),), servers=(server("chat", url, 1),))
    assert result.targets == ()
    assert skipped(result) == ["configured"]
    assert holders_by_part(result) == {"GPU-0": ["/vllm:8000"]}


def test_who_listens_at_a_configured_url_is_known() -> None:
    """By its process and since when, for each of its URLs, whoever holds a GPU; at others nobody is."""
    servers = (
        server("chat", "http://localhost:8000/metrics", 1),
        server("again", "http://127.0.0.1:8000/metrics?model=a", 1),
        server("other", "http://127.0.0.1:8001/metrics", 1),
    )
    listener = "7:100000000007", BOOT + 100 * SECOND + 7
    for gpus in ((gpu(0, 7), gpu(1)), (gpu(0), gpu(1, 7)), (gpu(0), gpu(1))):
        result = look(gpus, (group(7, server=api(7)),), servers=servers)
        assert {url: (one.identity, one.started) for url, one in result.listeners.items()} == {
            "http://localhost:8000/metrics": listener,
            endpoint_id("http://127.0.0.1:8000/metrics?model=a"): listener,
        }


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8001/metrics", "http://127.0.0.2:8000/metrics", "http://127.0.0.1/metrics"]
)
def test_another_address_is_another_server(url: str) -> None:
    """Neither the port alone nor the host alone makes it the same."""
    result = look((gpu(0, 7), gpu(1)), (group(7, server=api(7)),), servers=(server("chat", url, 1),))
    assert urls(result) == {URL: "/vllm:8000"}


@pytest.mark.parametrize(("scheme", "port"), [("http", 80), ("https", 443)])
def test_a_port_that_a_url_leaves_out_is_its_schemes(scheme: str, port: int) -> None:
    """`http://10.0.0.9/metrics` is at port 80."""
    launch = Launch("vllm", port, scheme=scheme)
    result = look(
        (gpu(0, 7), gpu(1)),
        (group(7, server=api(7, port, launch=launch, hosts=("10.0.0.9",))),),
        servers=(server("chat", f"{scheme}://10.0.0.9/metrics", 1),),
    )
    assert result.targets == ()


def test_who_computes_on_a_configured_servers_gpus_is_that_server() -> None:
    """Behind a proxy, or by a name of its host: by whatever address, it is not read twice."""
    configured = (server("chat", "http://chat.example/metrics", 0, 1),)
    groups = (group(7, server=api(7)), group(8, server=api(8, 8001)), group(9, server=api(9, 8002)))
    result = look((gpu(0, 7), gpu(1, 7, 8), gpu(2, 8, 9)), groups, servers=configured)
    assert urls(result) == {
        "http://127.0.0.1:8001/metrics": "/vllm:8001",  # it computes on another GPU, too
        "http://127.0.0.1:8002/metrics": "/vllm:8002",
    }
    assert skipped(result)[0] == "configured"


def test_a_pod_that_was_given_a_configured_servers_gpu_is_that_server() -> None:
    """While it loads, or sleeps, it computes nowhere; its annotation does not have it read twice."""
    result = look(
        (gpu(0), gpu(1)),
        (podded(0, server=api(7)),),
        (given("chat-0", 0),),
        (pod("chat-0", "chat", pod_annotations=PodAnnotations(port=8000)),),
        servers=(server("chat", "http://chat.example/metrics", 0),),
    )
    assert result.targets == ()
    assert skipped(result) == ["configured"]


def test_what_holds_no_gpu_may_be_a_router() -> None:
    """Its tokens are those of its engines, which count them already: it is seen, and not read."""
    result = look((gpu(0),), (group(server=api(7)),))
    assert (result.targets, skipped(result)) == ((), ["no_gpu"])


def test_what_holds_no_gpu_is_read_where_somebody_says_so() -> None:
    """The configuration by a rule, a pod by its port; a pod that says nothing of a port is not."""
    bare, inside = group(server=api(7)), podded(0, server=api(8))
    result = look((gpu(0),), (bare,), rules=(rule("front", port=8000),))
    assert urls(result) == {URL: "/front"}
    result = look((gpu(0),), (inside,), pods=(pod("a-0", "a", pod_annotations=PodAnnotations(port=9000)),))
    assert urls(result) == {"http://127.0.0.1:9000/metrics": "ml/a"}
    result = look((gpu(0),), (inside,), pods=(pod("a-0", "a", pod_annotations=PodAnnotations(name="b")),))
    assert urls(result) == {}


def known_target(url: str, identity: str) -> Target:
    return Target(ServerKey("", "x"), url, server_context=ServerContext(identity=identity))


def test_what_let_go_of_its_gpu_is_read_as_long_as_it_runs() -> None:
    """A vLLM that sleeps: the same process at the same address. Another process there is another server."""
    asleep = (group(server=api(7)),)
    mine = f"7:{100 * SECOND + 7}"
    assert urls(look((gpu(0),), asleep, before=(known_target(URL, mine),))) == {URL: "/vllm:8000"}
    assert urls(look((gpu(0),), asleep, before=(known_target(URL, "7:1"),))) == {}
    assert urls(look((gpu(0),), asleep, before=(known_target("http://127.0.0.1:8001/metrics", mine),))) == {}


def test_a_pod_without_a_port_takes_no_target_of_another_pod() -> None:
    """Processes of neither are visible: that two identities are unknown does not make them one."""
    no_port = ("vllm", "serve", "m", "--port", "99999")
    pods = (
        pod("a-0", "a", containers=(Container("main", "", argv=no_port),)),
        pod("b-0", "b", 1, containers=(Container("main", "", argv=("vllm", "serve", "m")),)),
    )
    given_to_both = (given("a-0", 0), given("b-0", 1))
    first = look((gpu(0), gpu(1)), (), given_to_both, pods)
    assert urls(first) == {"http://10.0.0.1:8000/metrics": "ml/b"}
    again = look((gpu(0), gpu(1)), (), given_to_both, pods, before=first.targets)
    assert urls(again) == {"http://10.0.0.1:8000/metrics": "ml/b"}


def test_a_replica_beside_one_that_holds_a_gpu_is_read() -> None:
    """Servers of one name are one server: one that holds nothing now is a part of it."""
    result = look(
        (gpu(0, 7),),
        (podded(0, 7, server=api(7, 8000)), podded(1, server=api(8, 8001))),
        pods=(pod("a-0", "a"), pod("a-1", "a", 1)),
    )
    assert sorted(urls(result).values()) == ["ml/a", "ml/a"]


def test_no_address_is_read_twice() -> None:
    """Of two that claim one port the first is read there: one that computes goes before one that does not."""
    result = look((gpu(0, 7), gpu(1, 8)), (group(7, server=api(7)), contained(1, 8, server=api(8))))
    assert [target.server_context.identity for target in result.targets] == [f"7:{100 * SECOND + 7}"]
    assert skipped(result) == ["", "address_taken"]


def test_there_is_a_limit_to_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody holds what they hold; the rest is not read, and says so."""
    monkeypatch.setattr(servers, "TARGETS_MAX", 2)
    groups = tuple(group(number, server=api(number, 8000 + number)) for number in range(1, 4))
    result = look((gpu(0, 1, 2, 3),), groups)
    assert len(result.targets) == 2
    assert skipped(result) == ["", "", "too_many"]
    assert [one.url for one in result.servers][2] == ""
    assert len(result.holders) == 3


@pytest.mark.parametrize(
    ("labels", "owned"),
    [
        ({}, ("", "")),
        ({"product": "search", "team": "red"}, ("search", "red")),
        ({"product": "a\nb", "team": "x" * 200}, ("ab", "x" * 128)),
    ],
)
def test_who_pays_as_a_pod_says(labels: dict[str, object], owned: tuple[str, str]) -> None:
    """Its product and team, fit to be labels."""
    result = look((gpu(0, 7),), (podded(0, 7, server=api(7)),), pods=(pod("a-0", "a", **labels),))
    assert result.owners == (PodOwnership(ServerKey("ml", "a"), *owned),)


def test_of_replicas_the_first_says_who_pays() -> None:
    """One server has one owner; what is in no pod says nothing."""
    result = look(
        (gpu(0, 7, 8, 9),),
        (podded(0, 7, server=api(7)), podded(1, 8, server=api(8)), group(9)),
        pods=(pod("a-0", "a", product="one"), pod("a-1", "a", 1, product="two")),
    )
    assert result.owners == (PodOwnership(ServerKey("ml", "a"), "one"),)


def test_what_people_are_told_of_a_server() -> None:
    """What it is, where it runs, what it holds, where it is read."""
    launch = Launch("vllm", 8000, model="meta/llama")
    result = look(
        (gpu(0, 7), gpu(1, 7)), (podded(0, 7, server=api(7, launch=launch)),), pods=(pod("a-0", "a"),)
    )
    assert result.servers == (
        DiscoveredServer(
            ServerKey("ml", "a"),
            engine="vllm",
            model="meta/llama",
            program="python",
            where="ml/a",
            gpus=(uuid(0), uuid(1)),
            url="http://127.0.0.1:8000/metrics",
        ),
    )


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"unit": "chat.service"}, "chat.service"),
        ({"container": "ab" * 32, "runtime": "docker"}, "docker abababababab"),
        ({"container": "ab" * 32}, "container abababababab"),
        ({}, ""),
    ],
)
def test_where_a_process_runs(keys: dict[str, str], where: str) -> None:
    """Outside of Kubernetes: its unit, or its container."""
    (one,) = look((gpu(0, 7),), (group(7, **keys),)).servers
    assert (one.where, one.program, one.engine, one.gpus) == (where, "python", "", (uuid(0),))


def test_a_cut_card_is_told_once() -> None:
    """Two instances of one card are on one GPU."""
    card = gpu(0, GpuProcess(7, instance="a"), GpuProcess(7, instance="b"), instances=cut("a", "b"))
    assert look((card,), (group(7),)).servers[0].gpus == (uuid(0),)


def test_what_is_configured_is_still_seen() -> None:
    """People are told of it; its GPUs are the configured server's."""
    result = look((gpu(0, 7),), (group(7, server=api(7)),), servers=(server("chat", URL),))
    assert (names(result), result.holders) == (["/vllm:8000"], ())


def test_what_a_pod_is_called_is_waited_for() -> None:
    """While its cluster does not answer who held its GPU holds on, and it is not read under another name.

    What is in no pod is called, and read, as ever.
    """
    groups = (podded(0, 7, server=api(7)), group(8, server=api(8, 8001)))
    result = look((gpu(0, 7), gpu(1, 8), gpu(2, 7, 8)), groups, pods=None)
    assert (holders_by_part(result), result.unknown_gpus) == ({"GPU-1": ["/vllm:8001"]}, {uuid(0), uuid(2)})
    assert urls(result) == {"http://127.0.0.1:8001/metrics": "/vllm:8001"}
    assert skipped(result) == ["no_pod_name", ""]
    result = look((gpu(0, 7), gpu(1, 8)), groups, pods=())
    assert holders_by_part(result) == {"GPU-0": ["/vllm:8000"], "GPU-1": ["/vllm:8001"]}


def test_a_server_that_is_called_as_a_pod_might_be_is_read() -> None:
    """Its name is its own, whatever that of the pod will be."""
    groups = (podded(0, 7, server=api(7)), group(8, server=api(8, 8000, hosts=("10.0.0.9",))))
    assert urls(look((gpu(0, 7), gpu(1, 8)), groups, pods=None, rules=(rule(process="*"),))) == {
        "http://10.0.0.9:8000/metrics": "/vllm:8000"
    }


def test_a_pod_that_the_kubelet_names_is_called_so() -> None:
    """Its GPU joins its processes and its name, whether its cluster answers or not."""
    groups, given_out = (podded(0, 7, server=api(7)),), (given("chat-0", 0),)
    assert holders_by_part(look((gpu(0, 7),), groups, given_out, None)) == {"GPU-0": ["ml/chat"]}


MPS = "nvidia-cuda-mps-server"
GB = 10**9


def used(result: DiscoveryResult) -> dict[str, tuple[int | None, float | None]]:
    """Memory and utilization of each holder of a host's only GPU, by its name."""
    return {one.key.server: (one.memory_bytes, one.sm_ratio) for one in result.holders}


def test_what_the_server_of_mps_uses_is_its_clients() -> None:
    """By their memory: of 4 GB, and of half of the GPU, 30 GB beside 10 GB have three parts of four."""
    clients = group(7, name="a", user=1000), group(8, name="b", user=0)
    card = gpu(0, GpuProcess(3, 4 * GB, 0.5), GpuProcess(7, 30 * GB, 0.25), GpuProcess(8, 10 * GB))

    assert used(look((card,), (group(3, name=MPS, user=0), *clients))) == {
        "unmatched:a:user-1000": (33 * GB, 0.625),
        "unmatched:b": (11 * GB, 0.125),
    }


def test_memory_that_is_not_known_divides_what_mps_uses_equally() -> None:
    """No byte is lost: 2 and 1 of 3."""
    clients = group(7, name="a"), group(8, name="b")
    card = gpu(0, GpuProcess(3, 3), GpuProcess(7), GpuProcess(8, 10))

    assert used(look((card,), (group(3, name=MPS), *clients))) == {
        "unmatched:a": (2, None),
        "unmatched:b": (11, None),
    }


@pytest.mark.parametrize(
    ("mps", "client", "is_client"),
    [
        ({"user": 0}, {"user": 1000}, True),
        ({"user": 0}, {"user": None}, True),
        ({"user": 1000}, {"user": 1000}, True),
        ({"user": 1001}, {"user": 1000}, False),
        ({"user": None}, {"user": None}, False),
        ({"user": 1000}, {"user": 1000, "container": CONTAINERS[1]}, False),
        # The uid of a container is its author's choice, root's too.
        ({"user": 0, "container": CONTAINERS[1]}, {"user": 1000}, False),
        ({"user": 0, "container": CONTAINERS[1]}, {"user": 0, "container": CONTAINERS[2]}, False),
        ({"user": 0, "container": CONTAINERS[1]}, {"user": 0, "container": CONTAINERS[1]}, True),
    ],
)
def test_who_is_called_as_mps_computes_for_their_own_user(
    mps: dict[str, Any], client: dict[str, Any], *, is_client: bool
) -> None:
    """And the host's root for anybody. Who has no client pays like any other program."""
    between, other = group(3, name=MPS, **mps), group(7, name="a", **client)
    result = look((gpu(0, GpuProcess(3, 4 * GB), GpuProcess(7, 40 * GB)),), (between, other))

    (mine,) = (use for name, use in used(result).items() if name.startswith("unmatched:a"))
    assert mine == ((44 if is_client else 40) * GB, None)
    assert sum(memory or 0 for memory, _ in used(result).values()) == 44 * GB


def test_mps_without_a_client_holds_its_gpu() -> None:
    """On the same instance, that is."""
    between = group(3, name=MPS)
    card = gpu(0, GpuProcess(3, instance="a"), GpuProcess(7, instance="b"), instances=cut("a", "b"))

    assert holders_by_part(look((gpu(0, 3),), (between,))) == {"GPU-0": [f"/unmatched:{MPS}"]}
    assert holders_by_part(look((card,), (between, group(7, name="a")))) == {
        "GPU-0/a": [f"/unmatched:{MPS}"],
        "GPU-0/b": ["/unmatched:a"],
    }
    assert look((gpu(0, processes=None),), (between,)).unknown_gpus == {"GPU-0"}
