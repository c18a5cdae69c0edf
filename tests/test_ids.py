"""Names of tests: processes of `pytest -n` that collect others than each other run none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.parametrize("folder", ["tests", "tests/e2e"])
def test_they_are_the_same_in_any_process(folder: str) -> None:
    """Seconds later, and where sets have another order."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", folder]
    ids = [
        [line for line in done.stdout.splitlines() if "::" in line]
        for seed in ("1", "2")
        for done in (
            subprocess.run(
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONHASHSEED": seed},
                capture_output=True,
                text=True,
                check=True,
            ),
        )
    ]

    assert len(ids[0]) > 1_000
    assert ids[0] == ids[1]
