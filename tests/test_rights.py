"""A test that does not run is a failure, or is counted where everybody reads it."""

import subprocess
import sys
from pathlib import Path

from tests.rights import MOUNTS, NETWORKS, summary

TRIED = """
import pytest
from tests.rights import MOUNTS

@pytest.mark.skipif(True, reason="no such program")
def test_marked(): ...

def test_missing():
    pytest.skip("no such program")

@pytest.mark.parametrize("number", [1, 2])
def test_right(number):
    pytest.skip(MOUNTS)

@pytest.mark.xfail(strict=True)
def test_expected():
    raise AssertionError
"""


def test_only_what_takes_rights_is_left_out(tmp_path: Path) -> None:
    """What is missing fails, marked or found out on the way; what takes rights is counted in one line."""
    file = tmp_path / "test_tried.py"
    file.write_text(TRIED)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.rights", "-p", "no:cacheprovider", str(file)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )

    assert "1 failed, 2 skipped, 1 xfailed, 1 error" in done.stdout
    assert done.stdout.count("skipped (no such program): let tools/need bring what is missing") >= 2
    assert f"LEFT OUT for want of rights, 2 in all: 2: {MOUNTS}" in done.stdout.splitlines()
    assert done.returncode == 1


def test_a_run_that_left_nothing_out_says_nothing() -> None:
    """Each right stands beside how many tests it would have taken."""
    assert summary([]) == ""
    assert summary([NETWORKS, MOUNTS, NETWORKS]) == (
        f"LEFT OUT for want of rights, 3 in all: 1: {MOUNTS}; 2: {NETWORKS}"
    )
