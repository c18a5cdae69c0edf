"""GPU memory that servers hold, as a tick posts it."""

from dataclasses import replace
from typing import Any

import pytest

from exporter.cost.advance import advance
from exporter.cost.state import State
from exporter.readings import Frame, Holder
from tests.cost.readings import BATCH, CHAT, START, cost_policy, h100, rent
from tests.kit.units import GIB


def memory_of(*holders: Holder, **reading: Any) -> list[tuple[str, int]]:
    frame = Frame(0, START, (h100(**reading),), (), holders)
    memory = advance(State(), frame, cost_policy(rent(1))).postings.memory
    assert {each.gpu.uuid for each in memory} <= {"GPU-0"}
    return [(each.server.server, each.memory_bytes // GIB) for each in memory]


def holder(key: Any, memory: int | None, instance: str = "") -> Holder:
    return Holder(key, "GPU-0", instance=instance, memory_bytes=None if memory is None else memory * GIB)


def test_of_two_servers() -> None:
    """By the processes of each."""
    assert memory_of(holder(CHAT, 40), holder(BATCH, 20), memory_used_bytes=61 * GIB) == [
        ("chat", 40),
        ("batch", 20),
    ]


def test_of_two_instances_of_a_card() -> None:
    """They add up."""
    assert memory_of(holder(CHAT, 10, "MIG-1"), holder(CHAT, 5, "MIG-2")) == [("chat", 15)]


@pytest.mark.parametrize("memory", [None, -1])
def test_of_an_only_holder_whose_processes_are_not_visible(memory: int | None) -> None:
    """All that is used of its GPU, which is no less; without that nothing is known."""
    nonsense = replace(holder(CHAT, 1), memory_bytes=memory)
    assert memory_of(nonsense, memory_used_bytes=61 * GIB) == [("chat", 61)]
    assert memory_of(nonsense) == []


def test_of_holders_of_whom_one_is_not_known() -> None:
    """Nothing is guessed of it; the other's is known."""
    assert memory_of(holder(CHAT, 40), holder(BATCH, None), memory_used_bytes=61 * GIB) == [("chat", 40)]


def test_a_server_of_which_a_part_is_not_known() -> None:
    """Half a sum is none."""
    assert memory_of(holder(CHAT, 10, "MIG-1"), holder(CHAT, None, "MIG-2"), holder(BATCH, 3)) == [
        ("batch", 3)
    ]


def test_the_memory_of_a_gpu_is_remembered() -> None:
    """Also while the GPU does not report it."""
    policy = cost_policy(rent(1))
    first = advance(State(), Frame(0, START, (h100(memory_total_bytes=80 * GIB),)), policy)
    then = advance(first.state, Frame(10**10, START + 10**10, (h100(),)), policy)

    assert then.state.gpus["GPU-0"].memory_bytes == 80 * GIB
    assert advance(State(), Frame(0, START, (h100(),)), policy).state.gpus["GPU-0"].memory_bytes is None
