"""Where a server that was found is read, or why it is not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.config.settings import GatewayDivision, ServerMatch, ServerRule
from exporter.engines.launch import Launch
from exporter.readings import Division, SequenceLimit, ServerKey, ServiceLevel
from exporter.sources.kubernetes import Container, PodAnnotations
from exporter.sources.kubernetes.pods import GROUP_SIZE
from exporter.sources.processes import ProcessGroup
from exporter.sources.processes.procfs import ListeningSocket
from exporter.sources.server import ServerContext, Target
from tests.kit.units import SECOND
from tests.sources.discovery.builders import (
    BOOT,
    CONTAINERS,
    UIDS,
    api,
    contained,
    given,
    gpu,
    group,
    look,
    pod,
    podded,
    rule,
    server,
    skipped,
    sockets,
    urls,
)

VLLM = Launch("vllm", named_port=8000, metrics_port=8000)
MUTE = "no_tokens"


def one_url(one: ProcessGroup, **fields: Any) -> str:
    """Where the only server is read, else why not in parentheses."""
    result = look((gpu(0, 7),), (one,), **fields)
    return next(iter(urls(result)), f"({skipped(result)[0]})")


def bare(**fields: Any) -> ProcessGroup:
    """A server outside of any container."""
    return group(7, server=api(7, **fields))


def in_pod(**fields: Any) -> ProcessGroup:
    """A server in the network of its pod, at an address that its processes tell."""
    return podded(0, 7, server=api(7, **{"reach": "address", "hosts": ("10.9.9.9",), **fields}))


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ({}, "http://127.0.0.1:8000/metrics"),
        ({"hosts": ("192.168.1.5", "10.0.0.5")}, "http://192.168.1.5:8000/metrics"),
        ({"reach": "address", "hosts": ("10.1.0.2",)}, "http://10.1.0.2:8000/metrics"),
        ({"reach": "address", "hosts": ("fd00::2",)}, "http://[fd00::2]:8000/metrics"),
        ({"metrics_port": 8002}, "http://127.0.0.1:8002/metrics"),
        ({"launch": Launch("nim", 8000, metrics_path="/v1/metrics")}, "http://127.0.0.1:8000/v1/metrics"),
        ({"launch": Launch("vllm", 8000, scheme="https")}, "https://127.0.0.1:8000/metrics"),
        ({"launch": Launch("trtllm", 8000, metrics=None)}, "http://127.0.0.1:8000/metrics"),
    ],
)
def test_where_it_listens(server: dict[str, Any], url: str) -> None:
    """At the nearest address of its network; the port that was found and the path of its engine."""
    assert one_url(bare(**server)) == url


@pytest.mark.parametrize(
    ("server", "why"),
    [
        (
            {"reach": "loopback", "hosts": ()},
            "loopback",
        ),
        (
            {"reach": "unknown", "hosts": ()},
            "no_address",
        ),
        (
            {"port": None, "metrics_port": None},
            "not_listening",
        ),
        ({"launch": Launch("ollama", 11434, metrics=False)}, MUTE),
        ({"launch": Launch("ollama", 11434)}, MUTE),
        (
            {"launch": Launch("vllm", 8000, nodes=2, node_rank=1, serves=False)},
            "follower",
        ),
    ],
)
def test_why_it_is_not_read(server: dict[str, Any], why: str) -> None:
    """In words that say what to do; its GPUs are its all the same."""
    result = look((gpu(0, 7),), (bare(**server),))
    assert (skipped(result), result.targets, len(result.holders)) == ([why], (), 1)


def test_a_server_whose_command_line_has_no_metrics_is_asked_once() -> None:
    """A file or its environment may switch them on; an entry that says the port is believed."""
    sglang = bare(launch=Launch("sglang", 8000, metrics=False, metrics_port=8000))
    (result,) = look((gpu(0, 7),), (sglang,)).targets
    (configured,) = look((gpu(0, 7),), (sglang,), rules=(rule(port=8000, metrics_port=8000),)).targets

    assert (result.url, result.engine, result.server_context.metrics_off) == (
        "http://127.0.0.1:8000/metrics",
        "sglang",
        True,
    )
    assert (configured.url, configured.server_context.metrics_off) == ("http://127.0.0.1:8000/metrics", False)


def test_a_trainer_has_no_address() -> None:
    """Nothing is asked of what is no server."""
    assert one_url(group(7)) == "(no_server)"


@pytest.mark.parametrize(
    ("server", "addresses", "url"),
    [
        ({}, ("10.0.0.1", "fd00::1"), "http://10.0.0.1:8000/metrics"),
        ({}, ("fd00::1",), "http://[fd00::1]:8000/metrics"),
        ({}, (), "http://10.9.9.9:8000/metrics"),
        ({"reach": "unknown", "hosts": ()}, ("10.0.0.1",), "http://10.0.0.1:8000/metrics"),
        # In the host's network, which is the daemon's, it may have bound one address only.
        ({"reach": "here", "hosts": ("192.168.1.5",)}, ("10.0.0.1",), "http://192.168.1.5:8000/metrics"),
        (
            {"reach": "loopback", "hosts": ()},
            ("10.0.0.1",),
            "(loopback)",
        ),
    ],
)
def test_a_pod_is_asked_at_its_own_address(
    server: dict[str, Any], addresses: tuple[str, ...], url: str
) -> None:
    """As its cluster tells it, else as its processes do."""
    assert one_url(in_pod(**server), pods=(pod("a-0", "a", ips=addresses),)) == url


@pytest.mark.parametrize(
    ("pod_annotations", "url"),
    [
        (PodAnnotations(port=9400), "http://10.0.0.0:9400/metrics"),
        (PodAnnotations(path="/m"), "http://10.0.0.0:8000/m"),
        (PodAnnotations(port=9400, path="/m?x=@evil.example"), "http://10.0.0.0:9400/m?x=@evil.example"),
    ],
)
def test_a_pod_may_tell_port_and_path(pod_annotations: PodAnnotations, url: str) -> None:
    """Never a host: it is asked at its own address, whatever its path holds."""
    assert one_url(in_pod(), pods=(pod("a-0", "a", pod_annotations=pod_annotations),)) == url


def test_a_port_that_a_pod_tells_is_not_where_its_server_listens() -> None:
    """An exporter beside a server that listens on loopback, tells no metrics, or is of no known engine."""
    document = {"pods": (pod("a-0", "a", pod_annotations=PodAnnotations(port=9400)),)}
    url = "http://10.0.0.0:9400/metrics"
    assert one_url(in_pod(reach="loopback", hosts=()), **document) == url
    assert one_url(in_pod(launch=Launch("ollama", 11434)), **document) == url
    assert one_url(podded(0, 7), **document) == url


def test_a_port_that_a_rule_tells_is_in_the_network_of_the_server() -> None:
    """Outside of pods the addresses of the server are the only ones that are known."""
    how = {"rules": (rule(process="*", metrics_port=9400),)}
    elsewhere = bare(reach="address", hosts=("10.1.0.2",))
    assert one_url(elsewhere, **how) == "http://10.1.0.2:9400/metrics"
    assert one_url(bare(reach="loopback", hosts=()), **how) == ("(no_address)")


@pytest.mark.parametrize("path", ["@evil.example/m", "metrics", "/a b", "/\x1b", "/m\n", ":80@evil/m", "/é"])
def test_a_path_never_makes_another_host(path: str) -> None:
    """What does not begin with a slash, or is no URL, is not asked for, whoever wants it."""
    wished = one_url(in_pod(), pods=(pod("a-0", "a", pod_annotations=PodAnnotations(path=path)),))
    assert wished == "(path)"


def test_a_rule_tells_where_to_read() -> None:
    """It wins over what the pod says and over what was found; the host stays."""
    how = rule(
        metrics_port=9500,
        metrics_path="/r",
        metrics_scheme="https",
        engine="sglang",
        bearer_token_file=Path("/token"),
        ca_file=Path("/ca"),
        spans_hosts=True,
        role="decode",
        process="*",
    )
    annotated_pod = pod("a-0", "a", pod_annotations=PodAnnotations(port=9400, path="/m"))
    (target,) = look((gpu(0, 7),), (in_pod(),), pods=(annotated_pod,), rules=(how,)).targets
    assert (target.url, target.engine) == ("https://10.0.0.0:9500/r", "sglang")
    assert (target.access.bearer_token_file, target.access.ca_file) == (Path("/token"), Path("/ca"))
    assert (target.server_context.role, target.server_context.spans_hosts) == ("decode", True)


def test_a_rule_tells_what_divides_a_server() -> None:
    """Whose pod cannot: a gateway that it names itself would divide its money as it likes."""
    divide = GatewayDivision(Division("team", "http://10.0.0.9:4000/metrics/"))
    how = rule(divide=divide, process="*")
    (target,) = look((gpu(0, 7),), (in_pod(),), pods=(pod("a-0", "a"),), rules=(how,)).targets

    assert target.server_context.division == divide.division


def test_a_rule_that_says_nothing_changes_nothing() -> None:
    """What a pod says stands where the rule is silent."""
    annotated_pod = pod(
        "a-0", "a", annotations={GROUP_SIZE: "2"}, pod_annotations=PodAnnotations(port=9400, path="/m")
    )
    (target,) = look((gpu(0, 7),), (in_pod(),), pods=(annotated_pod,), rules=(rule(process="*"),)).targets
    assert (target.url, target.engine) == ("http://10.0.0.0:9400/m", "vllm")
    assert (target.server_context.role, target.server_context.spans_hosts) == ("", True)


def test_the_user_of_each_server_is_known() -> None:
    """It bounds how many rows one of them has; of a group of several users there is none."""
    groups = (group(7, server=api(7), user=1000), group(8, server=api(8, port=9000), user=None, id="b"))
    result = look((gpu(0, 7), gpu(1, 8)), groups)

    assert result.users == {result.targets[0].key: 1000}


def test_a_label_names_a_role() -> None:
    """It is held against the page; what a rule says is not."""
    labeled = pod("a-0", "a", labels={"llm-d.ai/role": "decode"})
    (target,) = look((gpu(0, 7),), (in_pod(),), pods=(labeled,)).targets

    assert target.server_context.role == ""
    assert target.server_context.role_claims == (("decode", "label llm-d.ai/role"),)


def test_a_rule_for_what_is_no_known_engine() -> None:
    """A pod is asked at its own address; elsewhere nobody knows the network, so that a url is needed."""
    how = rule("mine", process="my-engine", metrics_port=9400)
    mine = podded(0, 7, name="my-engine")
    assert one_url(mine, pods=(pod("a-0", "a"),), rules=(how,)) == "http://10.0.0.0:9400/metrics"
    assert one_url(mine, rules=(how,)) == "(no_pod_address)"
    assert one_url(group(7, name="my-engine"), rules=(how,)) == ("(no_address)")


@pytest.mark.parametrize(("engine", "name"), [("vllm", "vllm"), ("nim", "nim"), ("ours", None)])
def test_an_engine_that_is_not_known_is_told_by_the_page(engine: str, name: str | None) -> None:
    """A NIM is one although it may show vLLM's page: its description says as what it is read then."""
    (target,) = look((gpu(0, 7),), (bare(launch=Launch(engine, 8000)),)).targets
    assert target.engine == name


def test_what_is_known_of_the_server_behind_an_address() -> None:
    """Which process it is, when that started by the wall clock, and on how many GPUs it says that it runs."""
    server = api(5, launch=Launch("vllm", 8000, world_size=4, max_running=SequenceLimit(64)))
    annotated_pod = pod("a-0", "a", ips=())
    (target,) = look((gpu(0, 7),), (podded(0, 7, server=server),), pods=(annotated_pod,)).targets
    started = 100 * SECOND + 5
    assert target == Target(
        ServerKey("ml", "a"),
        "http://127.0.0.1:8000/metrics",
        "vllm",
        server_context=ServerContext(
            pod="a-0",
            identity=f"5:{started}",
            started=BOOT + started,
            world_size=4,
            max_running=SequenceLimit(64),
        ),
    )


def test_what_is_known_of_a_pod_whose_processes_are_not_seen() -> None:
    """No process, so no identity and no start; its command tells engine, port and world."""
    words = ("vllm", "serve", "m", "--port", "9001", "-tp", "2", "--max-num-seqs", "64")
    annotated_pod = pod("a-0", "a", containers=(Container("main", "", argv=words),))
    (target,) = look((gpu(0),), (), (given("a-0", 0),), (annotated_pod,)).targets
    assert target == Target(
        ServerKey("ml", "a"),
        "http://10.0.0.0:9001/metrics",
        "vllm",
        server_context=ServerContext(pod="a-0", world_size=2, max_running=SequenceLimit(64)),
    )


def test_a_service_level_is_that_of_the_entry_else_of_the_pod() -> None:
    """The operator's word before that of who wrote the pod."""
    annotations = PodAnnotations(slo_per_token_seconds=0.05, slo_target_ratio=0.9)
    annotated_pod = pod("a-0", "a", pod_annotations=annotations)
    rule = ServerRule(ServerMatch(workload="ml/a"), slo=ServiceLevel(first_token_seconds=2))
    server = podded(0, 7, server=api(5))

    for rules, slo in (((), ServiceLevel(None, 0.05, 0.9)), ((rule,), ServiceLevel(2, None, 0.99))):
        (target,) = look((gpu(0, 7),), (server,), pods=(annotated_pod,), rules=rules).targets
        assert target.server_context.slo == slo


def test_a_pod_of_which_only_the_name_is_known_cannot_be_asked() -> None:
    """Without its processes and without its cluster there is no address."""
    unknown = look(
        (gpu(0),),
        (),
        (given("a-0", 0),),
        (pod("a-0", "a", ips=(), pod_annotations=PodAnnotations(port=1)),),
    )
    assert skipped(unknown) == ["no_pod_address"]
    nothing = look((gpu(0),), (), (given("a-0", 0),))
    assert skipped(nothing) == ["no_server"]


def test_the_metrics_of_a_pod_whose_processes_are_not_seen_may_be_at_another_port() -> None:
    """Triton answers at 8000 and tells at 8002."""
    annotated_pod = pod("a-0", "a", containers=(Container("main", "", argv=("tritonserver",)),))
    assert urls(look((gpu(0),), (), (given("a-0", 0),), (annotated_pod,))) == {
        "http://10.0.0.0:8002/metrics": "ml/a"
    }


def unknown(pid: int, *ports: int, **fields: Any) -> ProcessGroup:
    """A program that computes, is no server that is known, and listens at ports of the host."""
    listening = [ListeningSocket("", port, port, 0) for port in ports]
    here = sockets(*listening, addresses=("127.0.0.1",))
    return group(pid, name="llama", sockets=here, user=0, **fields)


@pytest.mark.parametrize(
    ("ports", "keys", "url"),
    [
        # A port in the match is enough, and so is one of its metrics.
        ((9000, 9001), {"port": 9000}, "http://127.0.0.1:9000/metrics"),
        ((9000, 9001), {"process": "llama", "metrics_port": 9001}, "http://127.0.0.1:9001/metrics"),
        # An engine is: at its own port, else at the only one that there is.
        ((8080, 9001), {"process": "llama", "engine": "llamacpp"}, "http://127.0.0.1:8080/metrics"),
        ((9000,), {"process": "llama", "engine": "llamacpp"}, "http://127.0.0.1:9000/metrics"),
        (
            (9000, 9001),
            {"process": "llama", "engine": "llamacpp"},
            "(no_port)",
        ),
        (
            (9000,),
            {"process": "llama", "metrics_port": 9001},
            "(no_address)",
        ),
        ((9000,), {"process": "llama", "name": "x"}, "(no_server)"),
    ],
)
def test_a_program_that_nobody_knows_is_read_where_an_entry_says(
    ports: tuple[int, ...], keys: dict[str, Any], url: str
) -> None:
    """On bare metal too, where no cluster tells an address."""
    assert one_url(unknown(7, *ports), rules=(rule(**keys),)) == url


def test_a_program_in_a_network_of_its_own_is_read_at_its_address() -> None:
    """By an entry that means it."""
    there = sockets(ListeningSocket("", 9000, 1, 0), network=2, addresses=("10.1.0.2",))
    one = contained(1, 7, name="llama", sockets=there, user=0)
    assert one_url(one, rules=(rule(port=9000),)) == "http://10.1.0.2:9000/metrics"


def routed(number: int, model: str, **fields: Any) -> tuple[ProcessGroup, ProcessGroup]:
    """A router at port 8080, and the server that it started for one model on loopback."""
    container = {"container": CONTAINERS[0], "pod": fields.pop("pod", "")}
    where = {"reach": "address", "hosts": ("10.1.0.2",), **fields}
    start = Launch("llamacpp", named_port=8080, metrics_port=8080, routes=True)
    router = api(10, 8080, launch=start, **where)
    launch = Launch("llamacpp", named_port=41001, metrics_port=41001, model=model)
    mine = where if where["reach"] == "here" else {**where, "reach": "loopback", "hosts": ()}
    child = api(number, 41001, launch=launch, router=router, **mine)
    return group(server=router, id="/r", network=7, **container), group(
        number, server=child, network=7, **container
    )


def test_a_model_of_a_router_is_read_at_its_own_port() -> None:
    """It is named by the router's port, for its own is another one each time; the router is not read."""
    result = look((gpu(0, 7),), routed(7, "a", reach="here", hosts=("127.0.0.1",)))

    assert urls(result) == {"http://127.0.0.1:41001/metrics": "/llamacpp:8080:a"}
    assert skipped(result) == ["routed", ""]
    assert result.unread == ()


@pytest.mark.parametrize(
    ("model", "query"),
    [
        ("a", "model=a"),
        ("ggml-org/gemma:Q4", "model=ggml-org%2Fgemma%3AQ4"),
        ("a&autoload=true#@evil/", "model=a%26autoload%3Dtrue%23%40evil%2F"),
    ],
)
def test_in_a_network_of_its_own_it_is_read_through_its_router(model: str, query: str) -> None:
    """Which loads none for it; whatever a model is called, it is asked there and nowhere else."""
    result = look((gpu(0, 7),), routed(7, model))

    (url,) = urls(result)
    assert url == f"http://10.1.0.2:8080/metrics?{query}&autoload=false"
    assert skipped(result) == ["routed", ""]


def test_models_in_a_pod_are_endpoints_of_its_workload() -> None:
    """At the pod's address; an annotation that names the router's port means the router."""
    router, one = routed(7, "a", pod=UIDS[0])
    _, other = routed(8, "b", pod=UIDS[0])
    for pod_annotations in (PodAnnotations(), PodAnnotations(port=8080)):
        annotated_pod = pod("chat-0", "chat", pod_annotations=pod_annotations)
        result = look((gpu(0, 7), gpu(1, 8)), (router, one, replace(other, id="/o")), pods=(annotated_pod,))
        assert urls(result) == {
            "http://10.0.0.0:8080/metrics?model=a&autoload=false": "ml/chat",
            "http://10.0.0.0:8080/metrics?model=b&autoload=false": "ml/chat",
        }


def test_a_router_that_the_configuration_names_is_read_as_it_says() -> None:
    """Its models are not read a second time."""
    named = server("a", "http://10.1.0.2:8080/metrics?model=a", 5)
    result = look((gpu(0, 7),), routed(7, "a"), servers=(named,))

    assert (urls(result), skipped(result)) == ({}, ["routed", "configured"])
    assert result.listeners == {}


def test_a_router_that_is_not_reached_reaches_no_model() -> None:
    """Both listen on loopback of another network."""
    result = look((gpu(0, 7),), routed(7, "a", reach="loopback", hosts=()))

    assert skipped(result) == ["routed", "loopback"]
    assert [(one.key.server, one.reason) for one in result.unread] == [("llamacpp:8080:a", "loopback")]
