"""What CI leaves to the night is chosen by hand, and counted where everybody reads it."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import nightly

ROOT = Path(__file__).parents[1]
TRIED = """
import pytest
from tests.nightly import daily

slow = getattr(pytest.mark, "slow")  # as the list of slow files gives it

@slow
def test_minutes(): ...

@slow
@pytest.mark.nightly
def test_hours(): ...

@pytest.mark.nightly
def test_long(): ...

@pytest.mark.parametrize("size", daily((1, 2, 3), {2}))
def test_sizes(size):
    assert size == 2
"""


def collected(file: Path, *arguments: str) -> list[str]:
    """What a run prints."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "tests.nightly", "-p", "no:cacheprovider"),
            *(str(file), *arguments),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.splitlines()


def test_a_run_says_how_many_it_leaves_out(tmp_path: Path) -> None:
    """Above its last line, whose numbers pytest writes."""
    file = tmp_path / "test_tried.py"
    file.write_text(TRIED)
    *_, slow, night, last = collected(file, "-m", "not slow and not nightly")

    assert slow == "LEFT OUT until `tools/slow`: 1 test"
    assert night == "LEFT OUT until `tools/nightly`: 4 tests"
    assert last.startswith("1 passed, 5 deselected")


@pytest.mark.parametrize(
    ("chosen", "ran"), [("slow and not nightly", 1), ("not nightly", 2), ("hypothesis or slow", 2)]
)
def test_who_does_not_leave_the_slow_ones_out_counts_none(tmp_path: Path, chosen: str, ran: int) -> None:
    """`tools/nightly` chooses the properties once it has run the slow ones."""
    file = tmp_path / "test_tried.py"
    file.write_text(TRIED)
    *lines, last = collected(file, "-m", chosen)

    assert [line for line in lines if "tools/slow" in line] == []
    assert last.startswith(f"{ran} passed, {6 - ran} deselected")


def test_each_worker_collects_the_same() -> None:
    """Two of them leave out the same 47 tests."""
    stash = pytest.Stash()
    for _ in range(2):
        left = {"slow": 7, "nightly": 40}
        node = SimpleNamespace(config=SimpleNamespace(stash=stash), workeroutput={"left out": left})
        nightly.pytest_testnodedown(node)
    lines: list[str] = []
    reporter = SimpleNamespace(write_line=lambda line, **_: lines.append(line))
    config: Any = SimpleNamespace(stash=stash)
    nightly.pytest_terminal_summary(reporter, config)

    assert lines == ["LEFT OUT until `tools/slow`: 7 tests", "LEFT OUT until `tools/nightly`: 40 tests"]


def test_values_of_each_day_are_there() -> None:
    """A name that is misspelled would leave all of them out."""
    with pytest.raises(ValueError, match="is of each day"):
        nightly.daily(("full", "closed"), {"shut"})
