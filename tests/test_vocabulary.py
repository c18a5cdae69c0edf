"""Names are the field's: none that the glossary replaces, and no class name twice."""

import ast
import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
GLOSSARY = ROOT / "docs" / "glossary.csv"

ALLOWED = {
    ("exporter/ledger/totals.py", "held"): "the name of a table of the ledger",
    ("exporter/ledger/history.py", "held"): "the name of a table of the ledger",
    ("exporter/cost/policy.py", "parties"): "a key of check-config's JSON",
    ("exporter/config/keys.py", "parties"): "a key of the configuration",
    ("exporter/reports/diagnosis.py", "place"): "a key of doctor's JSON",
    ("exporter/reports/diagnosis.py", "sights"): "a key of doctor's JSON",
}
"""Names that stay, by file, each with its reason; at most ten."""

CLASS = re.compile(r"\bclass\b[\s\\]+(\w+)")


def replaced() -> frozenset[str]:
    """Words that the glossary has a better one for."""
    with GLOSSARY.open(encoding="utf-8", newline="") as file:
        return frozenset(word for row in csv.DictReader(file) for word in row["instead_of"].split())


def python_files(*folders: str) -> list[Path]:
    """All Python files of folders, sorted."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def class_words(path: Path) -> list[str]:
    """Words after `class` in a file: all names of classes and more, at a hundredth of a tree's time."""
    return CLASS.findall(path.read_text(encoding="utf-8"))


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of all classes, functions, parameters, variables, fields and aliases of a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id if isinstance(node, ast.Name) else node.attr
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.alias) and node.asname:
            yield node.lineno, node.asname


def banned(name: str, words: frozenset[str]) -> bool:
    """Whether a name is one of the words, however it is written."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).strip("_").lower() in words


def is_helper(path: Path) -> bool:
    """Whether other files import it: a stand-in within one test may repeat a name."""
    return not path.name.startswith("test_")


def test_no_name_is_one_that_the_glossary_replaces() -> None:
    """Neither in the product, nor in its tests and benchmarks."""
    words = replaced()
    breaches = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in python_files("exporter", "tests", "benchmarks")
        for line, name in names(ast.parse(path.read_text(encoding="utf-8")))
        if banned(name, words) and (path.relative_to(ROOT).as_posix(), name) not in ALLOWED
    ]
    assert breaches == []


def test_no_class_name_is_used_twice() -> None:
    """One name is one class: in the product, and over the helpers of tests and benchmarks."""
    for files in (
        python_files("exporter"),
        [path for path in python_files("tests", "benchmarks") if is_helper(path)],
    ):
        by_file = {path: class_words(path) for path in files}
        often = Counter(name for words in by_file.values() for name in words)
        locations = defaultdict(list)
        for path, words in by_file.items():
            if all(often[name] == 1 for name in words):
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    locations[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
        assert {name: where for name, where in locations.items() if len(where) > 1} == {}


def test_names_that_stay_are_few_and_there() -> None:
    """At most ten, and each still in its file."""
    assert len(ALLOWED) <= 10
    for path, name in ALLOWED:
        assert name in {each for _, each in names(ast.parse((ROOT / path).read_text(encoding="utf-8")))}


def test_a_banned_name_is_found_however_it_is_written() -> None:
    """As a class, a private field, a parameter, an import under another name."""
    words = frozenset({"told", "owner_phase"})
    tree = ast.parse(
        "import a as told\nclass Told: ...\ndef f(told): self._told = 1\nOWNER_PHASE = OwnerPhase = 2"
    )

    assert sorted(line for line, name in names(tree) if banned(name, words)) == [1, 2, 3, 3, 4, 4]
    assert not banned("untold", words)
