"""A folder of somebody else's ends no question for a path: `tests/test_house.py` has what asks none."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import unprivileged

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("exporter.sources.kubelet.pod_resources import is_here as ask", "True"),
        ("tests.denied import pods as ask", "False"),
        ("tests.denied import account as ask", "None"),
        ("tests.denied import kubelet as ask", "denied"),
    ],
)
def test_system_paths_below_a_folder_of_others(path: str, answer: str, tmp_path: Path) -> None:
    """A kubelet that cannot be looked for is asked, and says `denied`; a pods API and an account are none."""
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o000)
    done = subprocess.run(
        unprivileged.command(
            *(
                sys.executable,
                "-c",
                f"import sys, pathlib; from {path}; print(ask(pathlib.Path(sys.argv[1])))",
            ),
            str(shut / "deep" / "socket"),
        ),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    shut.chmod(0o755)
    assert (done.stdout, done.stderr, done.returncode) == (f"{answer}\n", "", 0)
