"""`tools/mutants` changes what it says, and finds who notices."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "mutants.py"
TEXT = '''\
def price(hours: int, rate: int, cap: int | None = 7) -> int:
    """Dollars, up to 1 cap."""
    if hours < 0:
        raise ValueError("1 < 0")
    total = hours * rate
    total += 2
    return total if cap is None else min(total, cap)
'''


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutants"] = module
    spec.loader.exec_module(module)
    return module


def test_a_file_becomes_these_mutants(tool: ModuleType) -> None:
    """Each operator, constant, condition and result; no annotation, docstring or error text."""
    made = {(one.line, one.before, one.after) for one in tool.mutants(Path("p.py"), TEXT)}

    assert made == {
        (1, "7", "8"),
        (3, "hours < 0", "hours <= 0"),
        (3, "0", "1"),
        (3, "hours < 0", "not (hours < 0)"),
        (5, "hours * rate", "hours // rate"),
        (6, "total += 2", "pass"),
        (6, "2", "3"),
        (7, "cap is None", "cap is not None"),
        (7, "cap is None", "not (cap is None)"),
        (7, "min", "max"),
        (7, "total if cap is None else min(total, cap)", "None"),
    }


def test_a_mutant_is_one_change(tool: ModuleType) -> None:
    """At its place, and nowhere else; a file that has changed since is refused."""
    mutant = tool.Mutant("p.py", TEXT.index("hours * rate"), 5, "hours * rate", "hours // rate")

    assert tool.mutated(TEXT, mutant) == TEXT.replace("hours * rate", "hours // rate")
    with pytest.raises(ValueError, match="is not there"):
        tool.mutated("#" + TEXT, mutant)


def test_every_mutant_is_python(tool: ModuleType) -> None:
    """So that a mutant that dies does so by a test."""
    for mutant in tool.mutants(Path("p.py"), TEXT):
        compile(tool.mutated(TEXT, mutant), "p.py", "exec")


@pytest.mark.nightly
def test_a_sample_is_the_same_for_the_same_seed(tool: ModuleType) -> None:
    """By the shares of the packages."""
    once, again, other = tool.sample(19, 30), tool.sample(19, 30), tool.sample(20, 30)

    assert once == again != other
    assert once != sorted(once)
    assert [sum(f"/{name}/" in one.path for one in once) for name in tool.SHARES] == [12, 6, 8, 4]


def test_tests_are_those_of_the_line(tool: ModuleType) -> None:
    """Of a line that runs at import only, all tests of the file; those that run more of it come first."""
    lines = {"p.py": {1: [], 3: ["a", "b"], 5: ["b"]}}

    assert tool.tests_of(tool.Mutant("p.py", 0, 5, "x", "y"), lines) == ["b"]
    assert tool.tests_of(tool.Mutant("p.py", 0, 1, "x", "y"), lines) == ["b", "a"]


def test_tests_of_the_file_are_asked_before_those_of_the_package(tool: ModuleType) -> None:
    """However many lines the others run: of 400 tests that run a line, most have another subject."""
    own, package, other = (
        "tests/cost/test_late.py::a",
        "tests/cost/test_split.py::b",
        "tests/cli/test_tco.py::c",
    )
    lines = {"exporter/cost/late.py": {1: [own, package, other], 2: [package, other], 3: [other]}}

    assert tool.tests_of(tool.Mutant("exporter/cost/late.py", 0, 1, "x", "y"), lines) == [own, package, other]


def test_of_data_the_tests_of_the_package_are_asked(tool: ModuleType) -> None:
    """No test runs a line of such a file: its values are read at import."""
    own, other = "tests/engines/test_launch.py::a", "tests/cli/test_tco.py::b"
    lines = {"exporter/engines/nim.py": {1: []}, "exporter/engines/spec.py": {1: [own, other]}}

    assert tool.tests_of(tool.Mutant("exporter/engines/nim.py", 0, 1, "x", "y"), lines) == [own]


def test_a_mutant_is_killed_by_a_test_that_fails(tool: ModuleType, tmp_path: Path) -> None:
    """And survives where none does."""
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\npythonpath = ['.']\n")
    (tmp_path / "p.py").write_text(TEXT)
    (tmp_path / "test_p.py").write_text("import p\ndef test_p():\n    assert p.price(1, 1) == 3\n")

    assert not tool.is_killed(tmp_path, ["test_p.py::test_p"])
    (tmp_path / "p.py").write_text(TEXT.replace("total += 2", "pass"))
    assert tool.is_killed(tmp_path, ["test_p.py::test_p"])


def test_an_interrupted_run_goes_on(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had tried is not tried again; each outcome is in the file at once."""
    root, file = tmp_path / "root", tmp_path / "outcomes.jsonl"
    root.mkdir()
    (root / "p.py").write_text(TEXT)
    monkeypatch.setattr(tool, "ROOT", root)
    monkeypatch.setattr(tool, "BUILD", tmp_path / "build")
    first, second, third = tool.mutants(Path("p.py"), TEXT)[:3]
    maps = {"fast": {"p.py": {line: ["t"] for line in range(1, 8)}}}
    tried: list[str] = []

    def is_killed(copy: Path, _tests: list[str]) -> bool:
        if len(tried) == 2:
            raise KeyboardInterrupt
        tried.append((copy / "p.py").read_text())
        return len(tried) == 1

    monkeypatch.setattr(tool, "is_killed", is_killed)
    with pytest.raises(KeyboardInterrupt):
        tool.run([first, second, third], maps, 1, file)
    assert [one.killer for one in tool.earlier(file)] == ["fast", ""]
    monkeypatch.setattr(tool, "is_killed", lambda *_: True)
    outcomes = tool.run([first, second, third], maps, 1, file)

    assert [(one.mutant, one.killer) for one in outcomes] == [(first, "fast"), (second, ""), (third, "fast")]
    assert tool.earlier(file) == outcomes
    assert tried == [tool.mutated(TEXT, first), tool.mutated(TEXT, second)]


def test_a_test_with_a_bar_in_its_name_is_found(tool: ModuleType, tmp_path: Path) -> None:
    """Coverage names the phase of a test after the last bar."""
    data = tool.CoverageData(str(tmp_path / "coverage"))
    data.set_context("tests/test_p.py::test_p[a|b]|run")
    data.add_lines({str(tool.ROOT / "exporter" / "p.py"): [3]})
    data.write()

    assert tool.tests_by_line(tmp_path / "coverage") == {
        "exporter/p.py": {3: ["tests/test_p.py::test_p[a|b]"]}
    }
