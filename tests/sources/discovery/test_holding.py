"""Who holds which GPU, and of which GPUs nobody can tell."""

from typing import Any

import pytest

from exporter.readings import GpuProcess, Holder, ServerKey
from exporter.vendors import Placement
from tests.sources.discovery.builders import (
    api,
    cut,
    given,
    gpu,
    group,
    holder,
    holders_by_part,
    look,
    pod,
    podded,
    rule,
    server,
    shared,
    uuid,
)

SERVER = group(7, server=api(7))
VLLM = ServerKey("", "vllm:8000")


def test_who_computes_holds() -> None:
    """With what its processes together were seen to use; who else computes there holds beside it."""
    first = gpu(0, GpuProcess(7, 30, 0.25), GpuProcess(8, 12, 0.5), GpuProcess(9, 5, 0.125))
    result = look((first,), (group(7, 8, server=api(7)), group(9)))
    assert result.holders == (
        Holder(VLLM, uuid(0), sm_ratio=0.75, memory_bytes=42),
        Holder(ServerKey("", "unmatched:python"), uuid(0), sm_ratio=0.125, memory_bytes=5),
    )
    assert result.unknown_gpus == frozenset()


def test_what_one_of_its_processes_does_not_tell_is_left_out() -> None:
    """None is not zero: what no process tells is not known of the server."""
    result = look((gpu(0, GpuProcess(7, None, 0.25), GpuProcess(8)),), (group(7, 8, server=api(7)),))
    assert result.holders == (Holder(VLLM, uuid(0), sm_ratio=0.25),)


def test_replicas_of_one_name_hold_each_gpu_once() -> None:
    """Two pods of one workload on one GPU are one holder of it."""
    result = look(
        (gpu(0, GpuProcess(7, 30), GpuProcess(8, 10)), gpu(1, 8)),
        (podded(0, 7, server=api(7)), podded(1, 8, server=api(8))),
        pods=(pod("a-0", "a"), pod("a-1", "a", 1)),
    )
    assert holders_by_part(result) == {"GPU-0": ["ml/a"], "GPU-1": ["ml/a"]}
    assert holder(result, "ml/a", 0).memory_bytes == 40


def test_a_share_that_a_rule_says() -> None:
    """It is the server's on each of its GPUs, also where it was given one and does not compute."""
    how = (rule(process="vllm", gpu_share_ratio=0.75), rule(workload="ml/*", gpu_share_ratio=0.25))
    result = look((gpu(0, 7),), (SERVER,), (shared("a-0", 0, 1),), rules=how)
    assert [one.share_ratio for one in result.holders] == [0.75, 0.25]


def test_a_gpu_of_nobody_is_unallocated() -> None:
    """It is known that nobody computes and nobody was given it: not unsure, and not held."""
    result = look((gpu(0),), ())
    assert (result.holders, result.unknown_gpus) == ((), frozenset())


def test_a_process_of_which_nothing_is_seen_has_a_name() -> None:
    """Two of them are one stranger; what they used is known all the same."""
    result = look((gpu(0, GpuProcess(70, 3, 0.5), GpuProcess(71, 4)),), ())
    assert result.holders == (
        Holder(ServerKey("", "unmatched:unknown"), uuid(0), sm_ratio=0.5, memory_bytes=7),
    )


def test_a_stranger_beside_a_known_process_pays_its_part() -> None:
    """A user who sees their own processes only does not pay for everybody else's."""
    result = look((gpu(0, GpuProcess(7, 30), GpuProcess(70, 50)),), (SERVER,))
    assert holders_by_part(result) == {"GPU-0": ["/vllm:8000", "/unmatched:unknown"]}
    assert holder(result, "/unmatched:unknown").memory_bytes == 50


def test_a_stranger_belongs_to_who_was_given_the_gpu() -> None:
    """A pod whose processes are not seen, or of which one is not."""
    result = look((gpu(0, 70),), (), (given("a-0", 0),))
    assert holders_by_part(result) == {"GPU-0": ["ml/unmatched:a"]}
    result = look((gpu(0, 7, 70),), (podded(0, 7, server=api(7)),), (given("a-0", 0),))
    assert holders_by_part(result) == {"GPU-0": ["ml/a"]}


def test_a_stranger_on_an_instance_is_there_and_nowhere_else() -> None:
    """A cut card: who was given another instance has nothing to do with it."""
    card = gpu(0, GpuProcess(70, instance="MIG-b"), instances=cut("MIG-a", "MIG-b"))
    result = look((card,), (), (given("a-0", 0, mig_uuid="MIG-a"),))
    assert holders_by_part(result) == {
        "GPU-0/MIG-a": ["ml/unmatched:a"],
        "GPU-0/MIG-b": ["/unmatched:unknown"],
    }


def test_a_pod_that_was_given_a_gpu_holds_it_idle() -> None:
    """Nobody else may use it. It was seen to use nothing."""
    result = look((gpu(0), gpu(1)), (), (given("a-0", 0),))
    assert result.holders == (Holder(ServerKey("ml", "unmatched:a"), uuid(0), sm_ratio=0.0, memory_bytes=0),)


def test_a_pod_that_computes_holds_what_it_was_given_beside() -> None:
    """Two GPUs for a server that uses one so far."""
    result = look((gpu(0, 7), gpu(1)), (podded(0, 7, server=api(7)),), (given("a-0", 0), given("a-0", 1)))
    assert holders_by_part(result) == {"GPU-0": ["ml/a"], "GPU-1": ["ml/a"]}


def test_an_exclusive_gpu_is_who_computes_on_it() -> None:
    """The other one that was given it has ended, though an older kubelet still tells of it."""
    result = look(
        (gpu(0, 7),),
        (podded(0, 7, server=api(7)),),
        (given("ended-0", 0), given("a-0", 0)),
        (pod("a-0", "a"),),
    )
    assert holders_by_part(result) == {"GPU-0": ["ml/a"]}


def test_an_exclusive_gpu_that_was_given_twice_and_is_not_used_is_both_theirs() -> None:
    """Nobody can tell which of them has ended."""
    result = look((gpu(0),), (), (given("a-0", 0), given("b-0", 0)))
    assert holders_by_part(result) == {"GPU-0": ["ml/unmatched:a", "ml/unmatched:b"]}


def test_replicas_of_a_shared_gpu_hold_it_beside_who_computes() -> None:
    """Time-slicing: each was given a part, two parts of one pod are one holder."""
    result = look(
        (gpu(0, GpuProcess(7, 30, 0.5)),),
        (podded(0, 7, server=api(7)),),
        (shared("a-0", 0, 0), shared("b-0", 0, 1), shared("b-0", 0, 2)),
        (pod("a-0", "a"),),
    )
    assert holders_by_part(result) == {"GPU-0": ["ml/a", "ml/unmatched:b"]}
    assert holder(result, "ml/a") == Holder(ServerKey("ml", "a"), uuid(0), sm_ratio=0.5, memory_bytes=30)
    assert holder(result, "ml/unmatched:b") == Holder(
        ServerKey("ml", "unmatched:b"), uuid(0), sm_ratio=0.0, memory_bytes=0
    )


def test_what_a_stranger_used_is_not_known_of_those_who_were_given_the_gpu() -> None:
    """It may be anybody's of them: that they used nothing is not known, and the GPU is divided equally."""
    given_to = (shared("a-0", 0, 0), shared("b-0", 0, 1))
    result = look((gpu(0, GpuProcess(7, 30), GpuProcess(70, 50)),), (podded(0, 7, server=api(7)),), given_to)
    assert [(one.key.server, one.memory_bytes) for one in result.holders] == [
        ("vllm:8000", 30),
        ("unmatched:a", None),
        ("unmatched:b", None),
    ]


def test_a_pod_was_given_as_a_whole_what_it_was_given_in_part_too() -> None:
    """One container has a part, another one all: with somebody else computing it is taken for ended."""
    result = look((gpu(0, 7),), (SERVER,), (shared("b-0", 0, 1), given("b-0", 0)))
    assert holders_by_part(result) == {"GPU-0": ["/vllm:8000"]}


@pytest.mark.parametrize(
    "device",
    [
        {"mig_uuid": "MIG-b"},
        {"uuid": uuid(0), "mig_uuid": "MIG-b"},
        {"uuid": uuid(0), "gpu_instance": 2},
        {"name": "nvidia10", "gpu_instance": 2},
    ],
)
def test_an_instance_is_held_by_who_was_given_it(device: dict[str, Any]) -> None:
    """By its UUID or by its number on its card; never the rest of the card, nor another card's."""
    cards = (gpu(0, instances=cut("MIG-a", "MIG-b")), gpu(1, instances=cut("MIG-c", "MIG-d")), gpu(2))
    result = look(cards, (), (given("a-0", 0, **device),))
    assert holders_by_part(result) == {"GPU-0/MIG-b": ["ml/unmatched:a"]}


def test_instances_are_held_by_who_computes_on_them() -> None:
    """One server on two instances, another one on the third; the fourth is nobody's."""
    card = gpu(
        0,
        GpuProcess(7, 10, instance="MIG-a"),
        GpuProcess(7, 20, instance="MIG-b"),
        GpuProcess(9, 5, instance="MIG-c"),
        instances=cut("MIG-a", "MIG-b", "MIG-c", "MIG-d"),
    )
    result = look((card,), (SERVER, group(9)))
    assert [(one.key.server, one.instance, one.memory_bytes) for one in result.holders] == [
        ("vllm:8000", "MIG-a", 10),
        ("vllm:8000", "MIG-b", 20),
        ("unmatched:python", "MIG-c", 5),
    ]


@pytest.mark.parametrize(
    ("device", "parts"),
    [
        ({"uuid": uuid(0)}, ["GPU-0/MIG-a", "GPU-0/MIG-b"]),
        ({"name": "nvidia10"}, ["GPU-0/MIG-a", "GPU-0/MIG-b"]),
        ({"uuid": uuid(1), "mig_uuid": "MIG-gone"}, []),  # the card was cut anew
        ({"name": "nvidia11", "gpu_instance": 3}, []),
        ({"uuid": uuid(0), "gpu_instance": 9}, []),
        (
            {"name": "nvidia10", "placement": Placement(19, 4)},
            [],
        ),  # DRA: which one that is, NVML does not tell
        ({"uuid": "GPU-9"}, []),
        ({"name": "nvidia99"}, []),
        ({"every": True}, ["GPU-1"]),
        ({"name": "nvidia11"}, ["GPU-1"]),
    ],
)
def test_what_a_device_stands_for(device: dict[str, Any], parts: list[str]) -> None:
    """A whole card that is cut is all of its instances; what is not there is not held."""
    result = look((gpu(0, instances=cut("MIG-a", "MIG-b")), gpu(1)), (), (given("a-0", 0, **device),))
    assert holders_by_part(result) == {part: ["ml/unmatched:a"] for part in parts}


def test_a_card_that_is_cut_into_nothing_has_nothing_to_hold() -> None:
    """It is unallocated until somebody cuts it."""
    assert holders_by_part(look((gpu(0, instances=()),), (), (given("a-0", 0),))) == {}


def test_a_gpu_without_a_minor_number_is_not_one_without_a_number() -> None:
    """A device that tells nothing of what it is does not match a card that tells none either."""
    assert holders_by_part(look((gpu(0, device=""),), (), (given("a-0", 0, replica=0),))) == {}


@pytest.mark.parametrize(
    ("processes", "groups", "kubelet", "unknown_gpus"),
    [
        ((), (), (), False),
        (None, (), (), True),  # NVML does not say who computes
        ((), None, (), True),  # the processes could not be looked at
        ((70,), None, (), True),
        ((), (), None, True),  # the kubelet is silent: it may have been given to somebody
        ((70,), (), None, False),  # but who computes is seen
        (None, None, None, True),
    ],
)
def test_where_nobody_can_tell(processes: Any, groups: Any, kubelet: Any, *, unknown_gpus: bool) -> None:
    """The last holders hold on to a GPU of which one of those who could tell of others is silent."""
    computing = None if processes is None else tuple(map(GpuProcess, processes))
    result = look((gpu(0, processes=computing),), groups, kubelet)
    assert result.unknown_gpus == (frozenset({uuid(0)}) if unknown_gpus else frozenset())


@pytest.mark.parametrize(("processes", "groups"), [(None, ()), ((GpuProcess(70, 5, 0.5),), None)])
def test_what_was_given_is_held_where_processes_cannot_tell(processes: Any, groups: Any) -> None:
    """And what its holder used is not known: a share that is told would be one of nothing."""
    result = look((gpu(0, processes=processes), gpu(1, processes=processes)), groups, (given("a-0", 0),))
    assert result.holders == (Holder(ServerKey("ml", "unmatched:a"), uuid(0)),)
    assert result.unknown_gpus == {uuid(1)}


def test_only_the_gpus_of_which_nobody_can_tell_are_unsure() -> None:
    """A silent NVML call of one GPU says nothing of another."""
    result = look((gpu(0, processes=None), gpu(1, 7), gpu(2)), (SERVER,))
    assert (result.unknown_gpus, holders_by_part(result)) == ({uuid(0)}, {"GPU-1": ["/vllm:8000"]})


def test_a_gpu_that_is_off_the_bus_is_left_as_it_was() -> None:
    """Nothing is told of it: its last holders pay for it, which is not for a look to change."""
    result = look((gpu(0, 7, up=False), gpu(1, up=False)), (SERVER,), (given("a-0", 1),))
    assert (result.holders, result.unknown_gpus) == ((), frozenset())


@pytest.mark.parametrize(("gpus", "left"), [((), []), ((0, 2), ["GPU-1"]), ((uuid(1),), ["GPU-0", "GPU-2"])])
def test_the_gpus_of_configured_servers_are_theirs(gpus: tuple[Any, ...], left: list[str]) -> None:
    """By index or UUID, all of them if none is said: nobody holds them beside, nor is anybody unsure."""
    result = look(
        (gpu(0, 7), gpu(1, 7), gpu(2, processes=None)),
        (SERVER,),
        servers=(server("chat", "http://10.0.0.1/metrics", *gpus),),
    )
    assert sorted([*holders_by_part(result), *result.unknown_gpus]) == left


def test_a_process_on_two_gpus_holds_both() -> None:
    """And one that is listed twice on one GPU holds it once."""
    result = look((gpu(0, 7, 7), gpu(1, 7)), (SERVER,))
    assert holders_by_part(result) == {"GPU-0": ["/vllm:8000"], "GPU-1": ["/vllm:8000"]}


def test_what_a_pod_that_serves_was_given_is_the_servers() -> None:
    """A sidecar in its own network has a name beside; an idle GPU goes to the one that serves."""
    sidecar = podded(0, 8, name="dcgm", id="/beside")
    result = look(
        (gpu(0, 7, 8), gpu(1)),
        (sidecar, podded(0, 7, server=api(7))),
        (given("a-0", 0), given("a-0", 1)),
        (pod("a-0", "a"),),
        rules=(rule("side", process="dcgm"),),
    )
    assert holders_by_part(result) == {"GPU-0": ["ml/a", "ml/side"], "GPU-1": ["ml/a"]}
