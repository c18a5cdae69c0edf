"""What ruff, mypy and import-linter do not find: rules of text, of files, and how functions are cut."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
LIBRARIES = {
    name
    for contract in PROJECT["importlinter"]["contracts"]
    for name in contract.get("protected_modules", ())
}
"""Packages whose one place a contract of import-linter names."""

LINES_MAX = 600
BYTES_MAX = 1024 * 1024
CALLED_ONCE_MAX = 0.12
"""Of all functions of the product, those that are private and called once."""

PURE = ("advice", "cost", "engines", "tariff", "readings", "report.py", "units.py")
CHANGING = {
    "CostAccounts",
    "GpuRemainders",
    "_GpuLoad",
    "HostClaims",
    "ModelAccount",
    "SegmentPostings",
    "_Group",
}
"""Records of the pure parts that are added to while a function computes; no others change."""
CACHING = {"CostPolicy", "Tariff"}
"""Frozen records that keep what they derived, in a dictionary of their own."""

STANDARD = re.compile(
    r"bin|boot|dev|etc|home|lib|lib64|media|mnt|nowhere|opt|proc|root|run|sbin|srv|sys|tmp|usr|var"
)
HOME = re.compile(r"/(?:root|home|Users|tmp/[a-z]+)/(?!\.\.\.|kubernetes/bin/nvidia\b)\S*")
ABSOLUTE = re.compile(r"(?<![\w./:$}~*-])/([\w-][\w.-]*)/[\w-][\w.-]*")
REGISTRY = re.compile(r"\bpypi\.org\b|pythonhosted|deb\.debian\.org")


def breaches(path: Path, text: str) -> Iterator[str]:
    """What a file below `exporter` should not have."""
    if re.search(r"\bCURRENT_(TIMESTAMP|DATE|TIME)\b|'now'", text):
        yield "a clock of the database"
    # Before Python 3.14 these raise where a folder may not be entered; functions of os.path say no.
    questions = re.compile(r"(?<!os\.path)\.(exists|is_(dir|file|fifo|mount|socket|symlink)|resolve)\(")
    yield from (f"{match[0]}: ask os.path" for match in questions.finditer(text))
    for match in re.finditer(
        r"^ *(?:import (?=\w+(?: as|$|[.,]))|from (?=[\w.]+ import))(\w+)", text, re.MULTILINE
    ):
        if match[1] not in {"exporter", *LIBRARIES, *sys.stdlib_module_names}:
            yield f"{match[1]}: no contract of import-linter names its place"
    if path.parts[0] in PURE:
        for how, name in re.findall(r"^ *@dataclass(.*)\n *class (\w+)", text, re.MULTILINE):
            words = [*(["frozen=True"] * (name not in CHANGING)), *(["slots=True"] * (name not in CACHING))]
            if how != f"({', '.join(words)})":
                yield f"{name}: no frozen record with slots"


def tracked() -> list[Path]:
    """The files of this repository."""
    command = ["git", "ls-files", "-z", "--cached"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


def machine_paths(text: str) -> list[str]:
    """Homes, scratch folders, and what else only the machine has that a text was written on."""
    others = [match[0] for match in ABSOLUTE.finditer(text) if not STANDARD.fullmatch(match[1])]
    return [match[0] for match in HOME.finditer(text)] + [path for path in others if os.path.lexists(path)]


def test_the_product_keeps_the_rules_of_text() -> None:
    """One clock, no question that raises, a place for each library, and pure records that never change."""
    package = ROOT / "exporter"
    wrong = [
        f"{path}: {breach}"
        for path in sorted(package.rglob("*.py"))
        for breach in breaches(path.relative_to(package), path.read_text(encoding="utf-8"))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("ledger/schema.py", "X = 'SELECT CURRENT_TIMESTAMP'"),
        ("sources/a.py", "if (path / 'x').exists():\n    os.path.exists(path.parent)"),
        ("cost/money.py", "def f():\n    import numpy"),
        ("cost/split.py", "@dataclass(slots=True)\nclass Split: ..."),
        ("report.py", "@dataclass(frozen=True)\nclass Row: ..."),
    ],
)
def test_each_rule_can_fail(path: str, text: str) -> None:
    """One that finds nothing in a breach would guard nothing."""
    assert len(list(breaches(Path(path), text))) == 1


def test_files_are_readable_and_of_no_machine() -> None:
    """Python up to 600 lines, nothing over 1 MiB, no path of one machine and no address of a registry."""
    wrong = []
    for path in tracked():
        content = path.read_bytes()
        text = "" if b"\0" in content or path == Path(__file__) else content.decode(errors="replace")
        named = [*machine_paths(text), *REGISTRY.findall(text)]
        large = len(content) > BYTES_MAX or (path.match("*.py") and text.count("\n") > LINES_MAX)
        wrong += [f"{path}: {'large' if large else named}"] if named or large else []
    assert wrong == []
    assert machine_paths("/home/me, /root/x y, /var/lib/x, /v1/models") == ["/home/me,", "/root/x"]


def test_few_private_functions_are_called_once() -> None:
    """Such a function is a paragraph that a reader has to look for."""
    functions = once = 0
    for path in (ROOT / "exporter").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        called = [node.func for node in nodes if isinstance(node, ast.Call)]
        mentions, calls = (
            Counter(getattr(node, "id", "") or getattr(node, "attr", "") for node in group)
            for group in ([n for n in nodes if isinstance(n, ast.Name | ast.Attribute)], called)
        )
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions += 1
                private = re.match(r"_[^_]", node.name) and not node.decorator_list
                once += bool(private) and mentions[node.name] == calls[node.name] == 1
    assert once <= CALLED_ONCE_MAX * functions


def test_tests_run_with_the_versions_of_the_daemon() -> None:
    """What the daemon is locked to, and what builds it, are in the developers' lock."""
    pins = {
        name: set(
            re.findall(r"^[\w.-]+==\S+", (ROOT / f"requirements/{name}.lock").read_text(), re.MULTILINE)
        )
        for name in ("runtime", "build", "develop")
    }
    assert pins["runtime"] | pins["build"] <= pins["develop"]
