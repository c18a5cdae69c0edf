"""How the program asks for a path: never so that a folder of somebody else's ends it.

Before Python 3.14, `Path.exists` and its like raise PermissionError where a folder may not be entered, and
`Path.resolve` an error of its own where links lead in a circle. `os.path` has functions that say no instead.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests import unprivileged

ROOT = Path(__file__).parents[1]
RAISING = {"exists", "is_dir", "is_file", "is_fifo", "is_mount", "is_socket", "is_symlink", "resolve"}


def raising(source: str) -> list[tuple[int, str]]:
    """Calls of these methods in a module, by line."""
    if not any(f".{method}" in source for method in RAISING):
        return []
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    methods = ((call.lineno, call.func) for call in calls if isinstance(call.func, ast.Attribute))
    return [
        (line, method.attr)
        for line, method in methods
        if method.attr in RAISING and ast.unparse(method.value) != "os.path"
    ]


def test_nothing_asks_a_path_what_raises() -> None:
    """`os.path.exists`, `isdir`, `isfile`, `lexists` and `realpath` are asked instead."""
    paths = {
        str(module.relative_to(ROOT)): calls
        for module in sorted((ROOT / "exporter").rglob("*.py"))
        if (calls := raising(module.read_text(encoding="utf-8")))
    }
    assert paths == {}


def test_the_check_can_fail() -> None:
    """It sees a call on anything, and no function of `os.path`."""
    source = "if (path / 'x').exists():\n    os.path.exists(path.parent.resolve())\n"
    assert raising(source) == [(1, "exists"), (2, "resolve")]


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
