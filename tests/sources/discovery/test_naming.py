"""What each server is called, and what the configuration says of it."""

from typing import Any

import pytest

from exporter.engines.launch import Launch
from exporter.readings import LABEL_CHARACTERS, ServerKey
from exporter.sources.kubernetes import Container, PodAnnotations
from exporter.sources.processes import ProcessGroup
from tests.sources.discovery.builders import (
    api,
    contained,
    given,
    gpu,
    group,
    holders_by_part,
    look,
    names,
    pod,
    podded,
    rule,
    urls,
)

LLAMA = Launch("llamacpp", 8080, metrics_port=8080, model="qwen3-8b")


@pytest.mark.parametrize(
    ("one", "name"),
    [
        # On bare metal: its engine and the port that was found, else the one that it was started with.
        (group(7, server=api(7, 8000)), "vllm:8000"),
        (group(7, server=api(7, None, launch=Launch("vllm", 8000))), "vllm:8000"),
        (group(7, server=api(7, 8005, launch=Launch("vllm", 8000))), "vllm:8005"),
        (group(7, server=api(7, None, launch=Launch("dynamo"))), "dynamo"),
        # A container may have all ports to itself: the model tells them apart.
        (contained(1, 7, server=api(7, 8080, launch=LLAMA)), "llamacpp:8080:qwen3-8b"),
        (contained(1, 7, server=api(7, None, launch=Launch("tgi", model="m"))), "tgi:model=m"),
        (contained(1, 7, server=api(7, 8000)), "vllm:8000"),
        # In a network namespace without a container: the address does.
        (
            group(7, server=api(7, 8000, reach="address", hosts=("10.1.0.2", "10.1.0.3"))),
            "vllm:10.1.0.2:8000",
        ),
        (group(7, server=api(7, 8000, reach="loopback", hosts=())), "vllm:8000"),
        (group(7, server=api(7, 8000, reach="address", hosts=())), "vllm:8000"),
        # A user's name carries the user, but by a port of the host, or one whose network is not read yet.
        (group(7, server=api(7, 8000), user=1000), "vllm:8000"),
        (group(7, server=api(7, 8000, reach="unknown", hosts=()), user=1000), "vllm:8000"),
        (
            group(7, server=api(7, 8000, reach="loopback", hosts=()), user=1000, network=2),
            "vllm:8000:user-1000",
        ),
        (group(7, server=api(7, None, launch=Launch("dynamo")), user=1000), "dynamo:user-1000"),
        (group(7, name="train.py", user=1000), "unmatched:train.py:user-1000"),
        (group(7, name="train.py", user=None), "unmatched:train.py:process-7"),
        (contained(1, 7, server=api(7, 8080, launch=LLAMA), user=1000), "llamacpp:8080:qwen3-8b"),
        (contained(1, 7, name="train.py", user=1000), "unmatched:train.py"),
        (contained(1, 7, name="train.py", user=1000, delegated=True), "unmatched:train.py:user-1000"),
        # Whatever is no known server: its program.
        (group(7, name="train.py"), "unmatched:train.py"),
        (contained(1, 7, name="train.py"), "unmatched:train.py"),
    ],
)
def test_outside_of_kubernetes(one: ProcessGroup, name: str) -> None:
    """Names that last: a server that is started again as before has the one that it had."""
    assert names(look((gpu(0, 7),), (one,))) == [f"/{name}"]


def test_a_process_of_which_nothing_is_seen() -> None:
    """Its dollars have a name, too."""
    assert holders_by_part(look((gpu(0, 7),))) == {"GPU-0": ["/unmatched:unknown"]}


def test_a_pod_is_called_by_its_workload() -> None:
    """One that serves by itself, one that computes behind `unmatched:`."""
    result = look(
        (gpu(0, 7), gpu(1, 8)),
        (podded(0, 7, server=api(5)), podded(1, 8, name="torchrun")),
        pods=(pod("chat-x2v4k", "chat"), pod("tune-0", "tune", 1)),
    )
    assert names(result) == ["ml/chat", "ml/unmatched:tune"]


def test_a_pod_of_an_unknown_engine_serves_if_it_says_where() -> None:
    """An annotation tells where its metrics are: it is a server, with or without processes that are seen."""
    pods = (
        pod("a-0", "a", pod_annotations=PodAnnotations(port=9000)),
        pod("b-0", "b", 1, pod_annotations=PodAnnotations(port=9000)),
    )
    result = look((gpu(0, 7),), (podded(0, 7, name="engine"),), (given("b-0", 1),), pods)
    assert names(result) == ["ml/a", "ml/b"]


def test_a_pod_whose_processes_are_not_seen_is_known_by_its_command() -> None:
    """Its cluster tells the words of its containers; the first that is a server counts."""
    sidecar, server = (
        Container("main", "", argv=("envoy",)),
        Container("main", "", argv=("vllm", "serve", "m", "--port", "9001")),
    )
    result = look(
        (gpu(0),), (), (given("chat-0", 0),), (pod("chat-0", "chat", containers=(sidecar, server)),)
    )
    assert names(result) == ["ml/chat"]
    assert urls(result) == {"http://10.0.0.0:9001/metrics": "ml/chat"}
    assert result.servers[0].engine == "vllm"


def test_a_pod_may_ask_for_another_name() -> None:
    """All that it runs has it, a trainer too: it was asked for."""
    pod_annotations = PodAnnotations(name="assistants")
    result = look(
        (gpu(0, 7), gpu(1, 8)),
        (podded(0, 7, server=api(5)), podded(1, 8)),
        pods=(
            pod("a-0", "a", pod_annotations=pod_annotations),
            pod("b-0", "b", 1, pod_annotations=pod_annotations),
        ),
    )
    assert names(result) == ["ml/assistants", "ml/assistants"]
    assert result.refused == 0


def test_the_name_of_another_workload_is_refused() -> None:
    """A pod that claims it is called by its own, and is counted; the other one is left in peace."""
    pods = (
        pod("thief-0", "thief", pod_annotations=PodAnnotations(name="chat")),
        pod("chat-0", "chat", 1),
        pod("own-0", "own", 2, pod_annotations=PodAnnotations(name="own")),
    )
    result = look(
        (gpu(0, 7), gpu(1, 8), gpu(2, 9)),
        (podded(0, 7, server=api(7)), podded(1, 8, server=api(8)), podded(2, 9, server=api(9))),
        pods=pods,
    )
    assert holders_by_part(result) == {"GPU-0": ["ml/thief"], "GPU-1": ["ml/chat"], "GPU-2": ["ml/own"]}
    assert result.refused == 1


@pytest.mark.parametrize(
    "name",
    [
        "unmatched:tune",  # as the other one is called
        "tune",  # as it is not called, but is known to its people
        "tu\nne",  # as it is printed
        "official",  # as the configuration calls a third one
    ],
)
def test_nobody_takes_a_name_by_another_spelling(name: str) -> None:
    """What counts is what would be printed, whoever gave the other one its name."""
    pods = (
        pod("thief-0", "thief", pod_annotations=PodAnnotations(name=name)),
        pod("tune-0", "tune", 1),
        pod("c-0", "c", 2),
    )
    result = look(
        (gpu(0, 7), gpu(1, 8), gpu(2, 9)),
        (podded(0, 7, server=api(7)), podded(1, 8), podded(2, 9, server=api(9))),
        pods=pods,
        rules=(rule("official", workload="ml/c"),),
    )
    assert holders_by_part(result) == {
        "GPU-0": ["ml/thief"],
        "GPU-1": ["ml/unmatched:tune"],
        "GPU-2": ["ml/official"],
    }
    assert result.refused == 1


def test_replicas_may_ask_for_a_name_that_one_of_them_has() -> None:
    """Two pods of one workload, one of which serves and one of which trains, under one name."""
    pod_annotations = PodAnnotations(name="unmatched:a")
    result = look(
        (gpu(0, 7), gpu(1, 8)),
        (podded(0, 7, server=api(7)), podded(1, 8)),
        pods=(pod("a-0", "a", pod_annotations=pod_annotations), pod("a-1", "a", 1)),
    )
    assert holders_by_part(result) == {"GPU-0": ["ml/unmatched:a"], "GPU-1": ["ml/unmatched:a"]}
    assert result.refused == 0


def test_a_name_in_another_namespace_is_nobodys() -> None:
    """A pod names itself within its own namespace only, so that it cannot be another team's."""
    pods = (
        pod("a-0", "a", namespace="red", pod_annotations=PodAnnotations(name="chat")),
        pod("chat-0", "chat", 1),
    )
    result = look(
        (gpu(0, 7), gpu(1, 8)), (podded(0, 7, server=api(7)), podded(1, 8, server=api(8))), pods=pods
    )
    assert holders_by_part(result) == {"GPU-0": ["red/chat"], "GPU-1": ["ml/chat"]}
    assert result.refused == 0


@pytest.mark.parametrize("name", ["unallocated", "other"])
def test_reserved_names_are_nobodys(name: str) -> None:
    """What the books call nobody, and everybody beyond the limit, is no server's name, whoever gave it."""
    wished = look(
        (gpu(0, 7),),
        (podded(0, 7, server=api(5)),),
        pods=(pod("a-0", pod_annotations=PodAnnotations(name=name)),),
    )
    called = look((gpu(0, 7),), (podded(0, 7, server=api(5)),), pods=(pod(f"{name}-0", name),))
    ruled = look((gpu(0, 7),), (group(7, server=api(7)),), rules=(rule(name),))
    assert (names(wished), names(called), names(ruled)) == (
        [f"ml/unmatched:{name}"],
        [f"ml/unmatched:{name}"],
        [f"/unmatched:{name}"],
    )


def test_names_are_fit_to_be_labels() -> None:
    """No control characters, at most 128 characters: models come from command lines."""
    hostile = Launch("vllm", 8000, model='m"\n\x1b[31m' + "x" * 1000)
    (one,) = look((gpu(0, 7),), (contained(1, 7, server=api(7, launch=hostile)),)).servers
    assert one.key == ServerKey("", ('vllm:8000:m"[31m' + "x" * 1000)[:LABEL_CHARACTERS])
    assert "\n" not in one.model
    assert len(one.model) == LABEL_CHARACTERS


def test_what_computes_beside_a_pods_server_is_the_servers() -> None:
    """A reranker that is no known engine, in the container beside."""
    result = look(
        (gpu(0, 7), gpu(1, 8)),
        (podded(0, 7, server=api(5)), podded(0, 8, name="rerank", id="/beside")),
        pods=(pod("chat-0", "chat"),),
    )
    assert holders_by_part(result) == {"GPU-0": ["ml/chat"], "GPU-1": ["ml/chat"]}


@pytest.mark.parametrize(
    ("match", "name"),
    [
        ({"port": 8000}, "x"),
        ({"port": 8005}, "vllm:8000"),  # as it was started, and does not listen
        ({"port": 8002}, "x"),  # where its metrics are
        ({"port": 8001}, "vllm:8000"),
        ({"unit": "chat.service"}, "x"),
        ({"unit": "cha?.serv*"}, "x"),
        ({"unit": "chat"}, "vllm:8000"),
        ({"process": "vllm"}, "x"),
        ({"process": "v*"}, "x"),
        ({"process": "VLLM"}, "vllm:8000"),
        ({"process": "python"}, "vllm:8000"),  # what its workers are called
        ({"port": 8000, "process": "vllm"}, "x"),
        ({"port": 8000, "process": "java"}, "vllm:8000"),
        ({"port": 8001, "process": "vllm"}, "vllm:8000"),
        ({"port": 8000, "unit": "other.service"}, "vllm:8000"),
        ({"workload": "ml/*"}, "vllm:8000"),
        ({"workload": "*", "port": 8000}, "x"),
    ],
)
def test_a_rule_names_what_it_matches(match: dict[str, object], name: str) -> None:
    """By port, unit and engine; all that is given must match."""
    server = api(7, 8000, metrics_port=8002, launch=Launch("vllm", 8005))
    one = group(7, server=server, unit="chat.service", system_unit="chat.service", name="python")
    assert names(look((gpu(0, 7),), (one,), rules=(rule("x", **match),))) == [f"/{name}"]


@pytest.mark.parametrize(
    ("pattern", "name"), [("ml/r1", "x"), ("ml/*", "x"), ("r1", "r1"), ("*/r1-0", "r1"), ("*", "x")]
)
def test_a_rule_names_workloads(pattern: str, name: str) -> None:
    """By namespace/workload, whether its processes are seen or not."""
    rules = (rule("x", workload=pattern),)
    visible = look((gpu(0, 7),), (podded(0, 7, server=api(5)),), pods=(pod("r1-0", "r1"),), rules=rules)
    unseen = look(
        (gpu(0),),
        (),
        (given("r1-0", 0),),
        (pod("r1-0", "r1", pod_annotations=PodAnnotations(port=1)),),
        rules=rules,
    )
    assert (names(visible), names(unseen)) == ([f"ml/{name}"], [f"ml/{name}"])


def test_the_first_rule_that_matches_wins() -> None:
    """Also where it says nothing of the name."""
    one = group(7, server=api(7, 8000))
    first, second = rule(port=8000, spans_hosts=True), rule("late", port=8000)
    assert names(look((gpu(0, 7),), (one,), rules=(first, second))) == ["/vllm:8000"]
    assert names(look((gpu(0, 7),), (one,), rules=(second, first))) == ["/late"]
    assert names(look((gpu(0, 7),), (one,), rules=(rule("no", port=1), second))) == ["/late"]


def test_a_rule_wins_over_what_a_pod_asks_for() -> None:
    """And gives it another namespace where it says so."""
    annotated_pod = (pod("a-0", "a", pod_annotations=PodAnnotations(name="wish")),)
    result = look(
        (gpu(0, 7),), (podded(0, 7, server=api(5)),), pods=annotated_pod, rules=(rule("x", namespace="prod"),)
    )
    assert names(result) == ["prod/x"]


def unfound(pid: int, *, is_named: bool = False, model: str = "", **words: Any) -> ProcessGroup:
    """A vLLM whose socket was not found: its port is its engine's default, or was told."""
    how = Launch("vllm", **{"named_port" if is_named else "default_port": 8000}, model=model)
    return group(pid, server=api(pid, None, launch=how, metrics_port=None), **words)


def test_nobody_is_called_by_a_port_that_another_server_has() -> None:
    """What a file or an environment says cannot be seen: two servers must not become one."""
    one, other = group(7, server=api(7, 8000)), unfound(8, model="qwen")
    assert names(look((gpu(0, 7), gpu(1, 8)), (one, other))) == ["/vllm:8000", "/vllm:model=qwen"]
    loading = unfound(7, is_named=True)
    assert names(look((gpu(0, 7), gpu(1, 8)), (loading, other))) == ["/vllm:8000", "/vllm:model=qwen"]
    assert names(look((gpu(0, 7), gpu(1, 8)), (unfound(7, model="a"), unfound(8, model="b")))) == [
        "/vllm:model=a",
        "/vllm:model=b",
    ]


def test_a_default_port_that_nobody_else_has_is_a_name() -> None:
    """While it loads, and in a network of its own."""
    elsewhere = group(7, server=api(7, 8000, reach="address", hosts=("10.1.0.2",)), network=2)
    here = unfound(8, network=1)
    assert names(look((gpu(1, 8),), (here,))) == ["/vllm:8000"]
    assert names(look((gpu(0, 7), gpu(1, 8)), (elsewhere, here))) == ["/vllm:10.1.0.2:8000", "/vllm:8000"]


def test_a_rule_for_a_port_is_not_for_who_listens_elsewhere() -> None:
    """Nor for who might: the one that was found to listen there is meant."""
    how = (rule("chat", port=8000),)
    three = (
        group(7, server=api(7, 8000)),
        group(8, server=api(8, 18002, launch=Launch("vllm", 8000))),
        unfound(9, model="qwen"),
    )
    assert names(look((gpu(0, 7, 8, 9),), three, rules=how)) == ["/chat", "/vllm:18002", "/vllm:model=qwen"]


def test_a_rule_for_a_program_is_not_for_servers_whose_workers_are_called_so() -> None:
    """Workers of every vLLM have one name; a program of that name that serves nobody is meant."""
    how = (rule("embedded", process="VLLM::EngineCore"),)
    server = group(7, server=api(7, 8000), name="VLLM::EngineCore")
    alone = group(8, name="VLLM::EngineCore")
    assert names(look((gpu(0, 7), gpu(1, 8)), (server, alone), rules=how)) == ["/vllm:8000", "/embedded"]
