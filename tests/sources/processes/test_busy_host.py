"""A host on which there is no time to read all processes."""

from pathlib import Path

from exporter.sources.processes import ProcessSource
from exporter.sources.processes.census import BUDGET
from exporter.sources.processes.source import READING_TTL
from tests.kit.clock import clock_at
from tests.sources.processes.proc_tree import plant

TREE = Path(__file__).parent / "trees" / "bare-vllm.proc"
SERVER, WORKER = 310, 320


def servers(source: ProcessSource) -> list[int]:
    """The processes of the servers that are found."""
    return [group.server.process.pid for group in source.read([WORKER]).groups if group.server is not None]


def test_a_server_that_was_found_is_found_again(tmp_path: Path) -> None:
    """Its process is read before those that nobody knows, so that its dollars do not change their name."""
    clock = clock_at(0)
    source = ProcessSource(clock, root=plant(TREE.read_text(encoding="utf-8"), tmp_path))
    assert servers(source) == [SERVER]
    clock.now += READING_TTL
    clock.step = BUDGET + 1
    assert servers(source) == [SERVER]
    assert "time" in dict(source.errors)


def test_a_server_that_was_never_found_is_not_known(tmp_path: Path) -> None:
    """What computes is read all the same."""
    clock = clock_at(0)
    clock.step = BUDGET + 1
    source = ProcessSource(clock, root=plant(TREE.read_text(encoding="utf-8"), tmp_path))
    assert [group.computing[0].pid for group in source.read([WORKER]).groups] == [WORKER]
    assert servers(source) == []


def test_a_server_that_has_ended_is_no_failure(tmp_path: Path) -> None:
    """It was known, and is gone; that is not counted as if NVML had listed it."""
    clock = clock_at(0)
    root = plant(TREE.read_text(encoding="utf-8"), tmp_path)
    source = ProcessSource(clock, root=root)
    assert servers(source) == [SERVER]
    (root / str(SERVER) / "stat").unlink()
    assert servers(source) == []
    assert source.errors == ()
