"""Recorded proc trees: each is grouped and named as the page beside it says.

The expectations were written by hand from what was started; a tree without one, or one without a tree, fails.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from exporter.clock import SystemClock
from exporter.sources.processes import ApiServer, ProcessGroup, ProcessSource
from tests.sources.processes.proc_tree import plant

TREES = Path(__file__).parent / "trees"
NAMES = sorted(path.stem for path in TREES.glob("*.proc"))


def description(group: ProcessGroup) -> dict[str, Any]:
    """A group in the words of the expectations; what is empty is left out."""
    words = {
        "container": group.container[:12],
        "runtime": group.runtime,
        "pod": group.pod,
        "unit": group.unit,
        "name": group.name,
        "computing": [member.pid for member in group.computing],
        "started_ticks": group.started // 10_000_000,
        "server": None if group.server is None else serving(group.server),
    }
    return {word: value for word, value in words.items() if value not in ("", [], None)}


def serving(server: ApiServer) -> dict[str, Any]:
    """A server in the words of the expectations."""
    launch = server.launch
    words = {
        "pid": server.process.pid,
        "engine": launch.engine,
        "model": launch.model,
        "world": launch.world_size,
        "nodes": launch.nodes if launch.nodes > 1 else None,
        "node_rank": launch.node_rank or None,
        "serves": launch.serves,
        "metrics": launch.metrics,
        "metrics_path": launch.metrics_path if launch.metrics_path != "/metrics" else "",
        "port": server.port,
        "metrics_port": server.metrics_port if server.metrics_port != server.port else None,
        "reach": server.reach,
        "hosts": list(server.hosts),
    }
    return {word: value for word, value in words.items() if value not in ("", [], None)}


def test_every_tree_has_an_expectation_and_every_expectation_a_tree() -> None:
    """A page that nothing is held against shows nothing."""
    assert sorted(path.stem for path in TREES.glob("*.json")) == NAMES
    assert {path.suffix for path in TREES.iterdir()} == {".proc", ".json"}


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_tree_is_grouped_and_named_as_it_was_started(name: str, tmp_path: Path) -> None:
    """Containers, units and sessions are told apart, and each server is found with what computes for it."""
    expected = json.loads((TREES / f"{name}.json").read_text(encoding="utf-8"))
    root = plant((TREES / f"{name}.proc").read_text(encoding="utf-8"), tmp_path)
    source = ProcessSource(SystemClock(), root=root)

    reading = source.read(expected["computing"])

    assert [description(group) for group in reading.groups] == expected["groups"]
    assert dict(source.errors) == expected.get("errors", {})
    assert reading.unseen == ()
    assert len({group.id for group in reading.groups}) == len(reading.groups)
