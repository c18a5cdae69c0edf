"""Who is on a host: pods by uid, by container, by what they were given, and everybody outside of any."""

from typing import Any

import pytest

from exporter.readings import GpuProcess
from exporter.sources.discovery.tenants import workload_of
from exporter.sources.kubernetes import Container, PodAnnotations
from tests.sources.discovery.builders import (
    CONTAINERS,
    UIDS,
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
    shared,
    uuid,
)


def test_a_pod_is_known_by_the_uid_of_its_cgroup() -> None:
    """Two containers of one pod are one tenant, named by its workload; its trainer is the server's."""
    result = look(
        (gpu(0, 7), gpu(1, 8)),
        (podded(0, 7, server=api(5)), podded(0, 8, id="/other", container=CONTAINERS[1])),
        pods=(pod("chat-7d9f8c6b5-x2v4k", "chat"),),
    )
    assert holders_by_part(result) == {"GPU-0": ["ml/chat"], "GPU-1": ["ml/chat"]}


def test_a_static_pod_is_known_by_the_uid_of_its_file() -> None:
    """The kubelet's cgroup has the hash of the file, the API the uid of the mirror."""
    static = podded(1, 7, server=api(5))
    mirror = pod("vllm-node1", "vllm", uid=UIDS[1])
    assert holders_by_part(look((gpu(0, 7),), (static,), pods=(mirror,))) == {"GPU-0": ["ml/vllm"]}


def test_a_pod_is_known_by_a_container_where_the_cgroup_has_no_uid() -> None:
    """A runtime whose paths have container ids only."""
    annotated_pod = pod("chat-0", "chat", uid="", containers=(Container("main", CONTAINERS[3]),))
    result = look((gpu(0, 7),), (contained(3, 7, server=api(5)),), pods=(annotated_pod,))
    assert holders_by_part(result) == {"GPU-0": ["ml/chat"]}


def test_what_is_not_known_of_a_pod_matches_nobody() -> None:
    """A pod without uid or container id does not take in every process outside of pods."""
    empty = pod("ghost", uid="", containers=(Container("main", ""),))
    result = look((gpu(0, 7), gpu(1, 8)), (group(7, server=api(7)), group(8, name="train")), pods=(empty,))
    assert holders_by_part(result) == {"GPU-0": ["/vllm:8000"], "GPU-1": ["/unmatched:train"]}


def test_processes_outside_of_pods_are_one_tenant_each() -> None:
    """Two servers in two containers, and a training job."""
    result = look(
        (gpu(0, 7), gpu(1, 8), gpu(2, 9)),
        (group(7, server=api(7, 8000)), group(8, server=api(8, 8001)), group(9, name="train.py")),
    )
    assert names(result) == ["/vllm:8000", "/vllm:8001", "/unmatched:train.py"]


def test_the_gpu_that_is_theirs_alone_joins_a_pod_and_its_processes() -> None:
    """Without its cluster a uid has no name, what was given has no uid, and the GPU is common to both."""
    result = look(
        (gpu(0, 7), gpu(1, 8)),
        (podded(0, 7, server=api(5)), podded(1, 8, name="train.py")),
        (given("chat-7d9f8c6b5-x2v4k", 0), given("tune-0", 1)),
    )
    assert holders_by_part(result) == {"GPU-0": ["ml/chat"], "GPU-1": ["ml/unmatched:tune"]}


def test_all_containers_of_a_pod_are_joined_with_the_one_that_computes() -> None:
    """Its server may be in another one, and hold no GPU."""
    result = look(
        (gpu(0, 7),),
        (podded(0, 7, name="engine"), podded(0, server=api(5), id="/api", container=CONTAINERS[1])),
        (given("chat-0", 0),),
    )
    assert names(result) == ["ml/chat", "ml/chat"]
    assert holders_by_part(result) == {"GPU-0": ["ml/chat"]}


def test_processes_on_all_of_a_pods_gpus_are_the_pods() -> None:
    """Tensor parallel: one pod, two GPUs, one group."""
    result = look(
        (gpu(0, 7), gpu(1, 8)),
        (podded(0, 7, 8, server=api(5)),),
        (given("chat-0", 0), given("chat-0", 1)),
    )
    assert holders_by_part(result) == {"GPU-0": ["ml/chat"], "GPU-1": ["ml/chat"]}
    assert names(result) == ["ml/chat"]


def test_processes_on_the_gpus_of_two_pods_are_left_apart() -> None:
    """Nobody can tell whose they are; each GPU is held by who computes on it."""
    result = look(
        (gpu(0, 7), gpu(1, 7)),
        (podded(0, 7, server=api(5)),),
        (given("a-0", 0), given("b-0", 1)),
    )
    assert holders_by_part(result) == {"GPU-0": ["/vllm:8000"], "GPU-1": ["/vllm:8000"]}


@pytest.mark.parametrize("times", [2, 3])
def test_a_gpu_that_was_given_to_several_joins_nobody(times: int) -> None:
    """An older kubelet tells pods that have ended: which of them computes is not known."""
    result = look(
        (gpu(0, 7),), (podded(0, 7, server=api(5)),), tuple(given(f"p{n}", 0) for n in range(times))
    )
    assert holders_by_part(result) == {"GPU-0": ["/vllm:8000"]}


def test_a_shared_gpu_joins_nobody() -> None:
    """Time-slicing: others may compute there; the pod that was given a part holds it beside."""
    result = look((gpu(0, 7),), (podded(0, 7, server=api(5)),), (shared("chat-0", 0, 0),))
    assert holders_by_part(result) == {"GPU-0": ["/vllm:8000", "ml/unmatched:chat"]}


def test_two_groups_of_processes_cannot_both_be_the_pod() -> None:
    """The first that computes on its GPU is, the other stays what it is."""
    result = look(
        (gpu(0, 7, 8),),
        (podded(0, 7, server=api(5)), podded(1, 8, server=api(6))),
        (given("chat-0", 0),),
    )
    assert holders_by_part(result) == {"GPU-0": ["ml/chat", "/vllm:8000"]}


def test_what_is_in_no_pod_is_never_joined_to_one() -> None:
    """A process of the host on a pod's GPU is not the pod's."""
    result = look((gpu(0, 7),), (group(7, name="nsys"),), (given("chat-0", 0),))
    assert holders_by_part(result) == {"GPU-0": ["/unmatched:nsys"]}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"mig_uuid": "MIG-a"}, {"mig_uuid": "MIG-b"}),  # NVIDIA's plugin
        ({"uuid": uuid(0), "mig_uuid": "MIG-a"}, {"uuid": uuid(0), "mig_uuid": "MIG-b"}),  # before driver 470
        ({"name": "nvidia10", "gpu_instance": 1}, {"name": "nvidia10", "gpu_instance": 2}),  # GKE
    ],
)
def test_the_instance_that_is_theirs_alone_joins_a_pod_and_its_processes(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    """A card cut in two: the GPU is common to both pods, its instances are not."""
    card = gpu(
        0, GpuProcess(7, instance="MIG-a"), GpuProcess(8, instance="MIG-b"), instances=cut("MIG-a", "MIG-b")
    )
    result = look(
        (card,),
        (podded(0, 8, server=api(5)), podded(1, 7, server=api(6, 8001))),
        (given("a-0", 0, **first), given("b-0", 0, **second)),
    )
    assert holders_by_part(result) == {"GPU-0/MIG-a": ["ml/a"], "GPU-0/MIG-b": ["ml/b"]}


def test_processes_on_another_instance_of_the_same_card_are_not_the_pods() -> None:
    """The pod that was given one instance is idle; who computes on the other one is somebody else."""
    card = gpu(0, GpuProcess(7, instance="MIG-b"), instances=cut("MIG-a", "MIG-b"))
    result = look(
        (card,), (podded(0, 7, server=api(5)),), (given("a-0", 0, name="nvidia10", gpu_instance=1),)
    )
    assert holders_by_part(result) == {"GPU-0/MIG-b": ["/vllm:8000"], "GPU-0/MIG-a": ["ml/unmatched:a"]}


def test_a_pod_that_has_ended_holds_nothing() -> None:
    """Its cluster says so, an older kubelet does not."""
    ended = pod("old-0", "old", 1, live=False)
    result = look(
        (gpu(0, 7), gpu(1)),
        (podded(0, 7, server=api(5)),),
        (given("old-0", 0), given("old-0", 1), given("chat-0", 0)),
        (ended,),
    )
    assert holders_by_part(result) == {"GPU-0": ["ml/chat"]}


def test_names_of_pods_are_by_namespace() -> None:
    """A pod of another namespace is another one."""
    result = look((gpu(0), gpu(1)), (), (given("a", 0, "red"), given("a", 1, "blue")))
    assert holders_by_part(result) == {"GPU-0": ["red/unmatched:a"], "GPU-1": ["blue/unmatched:a"]}


def test_a_pod_that_only_says_where_it_is_read_is_there() -> None:
    """The API server of workers elsewhere: it holds no GPU here. One that ended, or says nothing, is not."""
    result = look(
        pods=(
            pod("api", number=0, pod_annotations=PodAnnotations(port=9000)),
            pod("gone", number=1, pod_annotations=PodAnnotations(port=9000), live=False),
            pod("silent", number=2),
        )
    )
    assert names(result) == ["ml/api"]


@pytest.mark.parametrize(
    ("name", "workload"),
    [
        ("chat-7d9f8c6b5-x2v4k", "chat"),  # Deployment: ReplicaSet's hash of 9 or 10, five letters
        ("chat-7d9f8c6b54-x2v4k", "chat"),
        ("big-chat-5c69f8-x2v4k", "big-chat"),
        ("nightly-x2v4k", "nightly"),  # a Job, a DaemonSet
        ("nightly-29384756-x2v4k", "nightly-29384756"),  # a CronJob's: digits that no hash has
        ("chat-0", "chat"),  # StatefulSet
        ("r1-0-12", "r1-0"),  # LeaderWorkerSet
        ("chat", "chat"),
        ("chat-x2v4", "chat-x2v4"),  # four letters
        ("chat-hello", "chat-hello"),  # vowels are never made
        ("chat-7d9f8c6b5", "chat-7d9f8c6b5"),
        ("chat-123456", "chat-123456"),  # more than five digits
        ("x2v4k", "x2v4k"),
        ("-0", "-0"),
        ("0", "0"),
    ],
)
def test_a_made_name_tells_its_workload(name: str, workload: str) -> None:
    """What Kubernetes adds is left out; what may have been chosen stays."""
    assert workload_of(name) == workload
