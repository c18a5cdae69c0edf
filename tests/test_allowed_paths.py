"""No code reaches outside of this repository but for what every system has; no text names one machine."""

import re
from pathlib import Path

import pytest

from tests.allowed_paths import machine_paths, reaching
from tests.test_house import ROOT, tracked

REGISTRIES = re.compile(r"\bpypi\.org\b|pythonhosted|deb\.debian\.org")
NAMES_THEM = {Path(__file__), ROOT / "tests" / "allowed_paths.py"}
"""What names what is forbidden."""


def test_no_text_names_a_machine() -> None:
    """No committed text holds a path of one machine, or a registry's address."""
    breaches = []
    for path in tracked():
        content = path.read_bytes()
        if path in NAMES_THEM or b"\0" in content:
            continue
        text = content.decode("utf-8", errors="replace")  # bytes of a wire format
        named = [*machine_paths(text), *REGISTRIES.findall(text)]
        breaches += [f"{path.relative_to(ROOT)}: {each}" for each in named]
    assert breaches == []


def test_no_code_reaches_outside() -> None:
    """Product, tests, benchmarks and tools open what is in the repository or in a standard place."""
    files = [path for path in tracked() if path.suffix == ".py"]
    assert len(files) > 500
    assert [
        breach
        for path in files
        for breach in reaching(path.relative_to(ROOT), path.read_text(encoding="utf-8"))
    ] == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("see /home/me/notes", ["/home/me/notes"]),
        ("/Users/me/x", ["/Users/me/x"]),
        ("in /root/.cache/x", ["/root/.cache/x"]),
        ("kept in /tmp/scratch/x", ["/tmp/scratch/x"]),  # noqa: S108 - what is looked for
        ("`/scratch/project/facts`", ["/scratch/project"]),
        ("P = '/scratch/project'", ["/scratch/project"]),
        ("/api/v1/nodes and /v1/models", []),
        ("http://host/scratch/project", []),
        ("/var/lib/scratch, /opt/scratch", []),
        ("/home/kubernetes/bin/nvidia", []),
    ],
)
def test_the_paths_of_a_machine_are_found(text: str, named: list[str]) -> None:
    """What is there, where that is no standard place; homes and scratch places whether or not they are."""
    here = {"/scratch/project", "/var/lib", "/opt/scratch"}
    assert machine_paths(text, here.__contains__) == named


@pytest.mark.parametrize(
    ("code", "breach"),
    [
        ("Path('/scratch/project')", True),
        ("open('/scratch/project/facts')", True),
        ("Path('../facts')", True),
        ("Path(__file__).parents[2]", True),
        ("Path(__file__).resolve().parents[3]", True),
        ("Path(__file__).parents[1]", False),
        ("other.parents[5]", False),
        (
            "Path('/var/lib/x'), Path('/proc'), Path('/'), Path('/nowhere/x'), Path('a/b'), Path('/ca.pem')",
            False,
        ),
    ],
)
def test_what_reaches_outside_is_found(code: str, *, breach: bool) -> None:
    """By a place that only one machine has, or by climbing over the top of the repository."""
    assert len(reaching(Path("tests/test_x.py"), code)) == breach
