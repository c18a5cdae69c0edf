"""Memory runs out at some line of a tick: the tick is lost, and nothing else.

`pytest tests/faults` tries ten lines of each world that a seed decides, `make faults` and `make deep` more.
"""

import random
from pathlib import Path

import pytest

from tests.faults.scarce_host import WORLDS, differences, struck
from tests.shortage import Line


def lines(world: str, folder: Path) -> list[tuple[Line, int]]:
    """The first and the last time that each line is come to in a tick in which nothing fails.

    Some are not come to again: what was worked out once is remembered by the process.
    """
    with struck(folder, WORLDS[world]) as host:
        assert differences(host) == []
        found = host.shortage.lines
    assert len(found) > 1000
    return sorted({(line, hit) for line, last in found.items() for hit in (1, last)})


@pytest.mark.parametrize("world", WORLDS)
def test_whatever_line_memory_runs_out_at_the_books_are_right(
    tmp_path: Path, world: str, request: pytest.FixtureRequest
) -> None:
    """Money to the picodollar, time, tokens, history: once each, and the next ticks find everything well."""
    count = request.config.getoption("--plans") // 2
    chance = random.Random(f"{world} {count}")  # noqa: S311 - to be repeated, not to be secret
    whole = tmp_path / "whole"
    whole.mkdir()
    struck_at = 0
    for number, (line, hit) in enumerate(chance.sample(lines(world, whole), count)):
        folder = tmp_path / str(number)
        folder.mkdir()
        with struck(folder, WORLDS[world], line, hit) as host:
            assert differences(host) == [], (line, hit)
            struck_at += host.shortage.struck
    assert struck_at > 0
