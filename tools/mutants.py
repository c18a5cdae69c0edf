"""Change one operator at a time, and see which tests notice; `tools/mutants` runs it.

A mutant is killed by the fast tests, by the slow ones only, or by none. What only slow tests kill wants
a fast test: the exit status is 1 then. Tests are chosen by the lines that they run (coverage contexts).
"""

import argparse
import ast
import json
import random
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Queue

from coverage import CoverageData

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "mutants"
SHARES = {"cost": 12, "tariff": 6, "ledger": 8, "engines": 4, "finance": 30}
"""Packages that are mutated, and how many mutants of 60 each gets."""
SUITES = {"fast": "not slow and not nightly", "slow": "slow and not nightly"}
"""As `make test` and `tools/slow` choose them."""
TESTS_MAX = 400
SECONDS_MAX = 300
COMPARISONS: Mapping[type[ast.cmpop], str] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
OPERATORS: Mapping[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "//",
    ast.FloorDiv: "*",
    ast.Div: "*",
    ast.Mod: "//",
}


@dataclass(frozen=True, order=True)
class Mutant:
    """One change of a file: `before` at `start` becomes `after`. Offsets are of bytes."""

    path: str
    start: int
    line: int
    before: str
    after: str


@dataclass(frozen=True)
class Outcome:
    """A mutant, the tests that killed it (`fast`, `slow`, or empty for none), and how many tests ran."""

    mutant: Mutant
    killer: str
    tests: int


def _silent(tree: ast.AST) -> set[ast.AST]:
    """Nodes that no test should notice: annotations, error texts, `__repr__`, what only types need."""
    left: set[ast.AST] = set()
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.AnnAssign | ast.arg):
            parts = [node.annotation]
        elif isinstance(node, ast.FunctionDef):
            parts = [node.returns, *(node.body if node.name == "__repr__" else ())]
        elif isinstance(node, ast.Raise):
            parts = [node.exc]
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            parts = [node]
        left |= {inner for part in parts if part is not None for inner in ast.walk(part)}
    return left


Positioned = ast.expr | ast.stmt


def _changes(node: ast.AST, source: Callable[[Positioned], str]) -> Iterator[tuple[Positioned, str]]:
    """What a node may become: the node whose text is replaced, and the new text."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
        yield node, f"{source(node.left)} {COMPARISONS[type(node.ops[0])]} {source(node.comparators[0])}"
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield node, f"{source(node.left)} {OPERATORS[type(node.op)]} {source(node.right)}"
    elif isinstance(node, ast.BoolOp):
        word = " or " if isinstance(node.op, ast.And) else " and "
        yield node, f"({word.join(f'({source(value)})' for value in node.values)})"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node, f"({source(node.operand)})"
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield node, str(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield node, str(node.value + 1)
    elif isinstance(node, ast.Name) and node.id in ("min", "max") and isinstance(node.ctx, ast.Load):
        yield node, "max" if node.id == "min" else "min"
    elif isinstance(node, ast.If | ast.IfExp):
        yield node.test, f"not ({source(node.test)})"
    elif isinstance(node, ast.Return) and node.value is not None and source(node.value) != "None":
        yield node.value, "None"
    elif isinstance(node, ast.AugAssign) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield node, "pass"


def mutants(path: Path, text: str) -> list[Mutant]:
    """All mutants of a file, in the order of the text."""
    tree = ast.parse(text)
    silent = _silent(tree)
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line.encode()))
    data = text.encode()

    def source(part: Positioned) -> str:
        """As `ast.get_source_segment`, which takes the whole file apart each time."""
        end = starts[(part.end_lineno or part.lineno) - 1] + (part.end_col_offset or 0)
        return data[starts[part.lineno - 1] + part.col_offset : end].decode()

    made = set()
    for node in ast.walk(tree):
        if node in silent:
            continue
        for part, after in _changes(node, source):
            if part.lineno != part.end_lineno:
                continue
            start = starts[part.lineno - 1] + part.col_offset
            made.add(Mutant(path.as_posix(), start, part.lineno, source(part), after))
    return sorted(made)


def sample(seed: int, count: int, root: Path = ROOT) -> list[Mutant]:
    """So many mutants, by the shares of the packages, the same for the same seed and source.

    They are shuffled, so that the first of them are a fair sample of all.
    """
    chosen = random.Random(seed)  # noqa: S311 (a sample, no secret)
    picked: list[Mutant] = []
    for package, share in SHARES.items():
        candidates = [
            mutant
            for path in sorted((root / "exporter" / package).rglob("*.py"))
            for mutant in mutants(path.relative_to(root), path.read_text(encoding="utf-8"))
        ]
        picked += chosen.sample(candidates, min(len(candidates), count * share // sum(SHARES.values())))
    chosen.shuffle(picked)
    return picked


def mutated(text: str, mutant: Mutant) -> str:
    """The file with the change; an error if it is another file."""
    data, before = text.encode(), mutant.before.encode()
    end = mutant.start + len(before)
    if data[mutant.start : end] != before:
        message = f"{mutant.path}:{mutant.line}: {mutant.before!r} is not there"
        raise ValueError(message)
    return (data[: mutant.start] + mutant.after.encode() + data[end:]).decode()


def measure(suite: str, data_file: Path, arguments: Iterable[str] = ()) -> None:
    """Run a suite once, keeping which test runs which line."""
    config = data_file.with_suffix(".ini")
    config.write_text(f"[run]\ndata_file = {data_file}\nsource = exporter\n", encoding="utf-8")
    pytest = [sys.executable, "-m", "pytest", "-q", "-n", "auto", "--dist", "loadgroup", "-m", SUITES[suite]]
    contexts = [f"--cov-config={config}", "--cov=exporter", "--cov-context=test", "--cov-report="]
    subprocess.run([*pytest, *contexts, *arguments], cwd=ROOT, check=True)


def tests_by_line(data_file: Path) -> dict[str, dict[int, list[str]]]:
    """For each file, below the repository, the tests that ran a line."""
    data = CoverageData(str(data_file))
    data.read()
    return {
        Path(name).relative_to(ROOT).as_posix(): {
            line: sorted({context.rpartition("|")[0] for context in contexts if context})
            for line, contexts in data.contexts_by_lineno(name).items()
        }
        for name in data.measured_files()
    }


def tests_of(mutant: Mutant, lines: Mapping[str, Mapping[int, list[str]]]) -> list[str]:
    """Tests that run its line; of a line that runs at import, those that run anything of the file.

    A file of data runs in no test: tests of its package are asked. Tests of the file come first, then those
    of its package, each by how many lines of the file they run.
    """
    by_line = lines.get(mutant.path, {})
    counted = Counter(test for tests in by_line.values() for test in tests)
    folder, stem = Path(mutant.path).parent.name, Path(mutant.path).stem

    def rank(test: str) -> tuple[bool, bool, int, str]:
        file = Path(test.partition("::")[0])
        return stem not in file.stem, file.parent.name != folder, -counted[test], test

    every = {test for file in lines.values() for tests in file.values() for test in tests}
    package = {test for test in every if Path(test.partition("::")[0]).parent.name == folder}
    return sorted(by_line.get(mutant.line) or counted or package, key=rank)[:TESTS_MAX]


def is_killed(copy: Path, tests: list[str]) -> bool:
    """Whether a test of a mutated copy fails, or takes longer than any should."""
    names = copy / "tests.txt"
    names.write_text("\n".join(tests), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    try:
        done = subprocess.run(
            [*command, f"@{names}"], cwd=copy, capture_output=True, timeout=SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def earlier(file: Path) -> list[Outcome]:
    """Outcomes of a run that was interrupted, from the file in which it wrote them."""
    if not file.exists():
        return []
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [Outcome(Mutant(**line.pop("mutant")), **line) for line in lines]


def run(
    chosen: list[Mutant],
    maps: Mapping[str, Mapping[str, Mapping[int, list[str]]]],
    jobs: int,
    file: Path,
) -> list[Outcome]:
    """Try each mutant in a copy of the repository: the fast tests first, the slow ones for what survives.

    Each outcome is written to `file` at once. What is there already is not tried again.
    """
    results = [one for one in earlier(file) if one.mutant in chosen]
    tried_before = {one.mutant for one in results}
    copies: Queue[Path] = Queue()
    for number in range(jobs):
        copy = BUILD / f"copy-{number}"
        shutil.rmtree(copy, ignore_errors=True)
        ignored = shutil.ignore_patterns(
            ".git", ".venv", ".cache", "build", "__pycache__", ".mypy_cache", ".hypothesis"
        )
        shutil.copytree(ROOT, copy, ignore=ignored)
        copies.put(copy)

    def outcome(mutant: Mutant) -> Outcome:
        copy = copies.get()
        path = copy / mutant.path
        original = path.read_text(encoding="utf-8")
        tried = 0
        try:
            path.write_text(mutated(original, mutant), encoding="utf-8")
            for suite, lines in maps.items():
                tests = tests_of(mutant, lines)
                tried += len(tests)
                if tests and is_killed(copy, tests):
                    return Outcome(mutant, suite, tried)
            return Outcome(mutant, "", tried)
        finally:
            path.write_text(original, encoding="utf-8")
            copies.put(copy)

    with ThreadPoolExecutor(jobs) as pool, file.open("a", encoding="utf-8") as written:
        for one in pool.map(outcome, [mutant for mutant in chosen if mutant not in tried_before]):
            results.append(one)
            written.write(json.dumps(asdict(one)) + "\n")
            written.flush()
            mutant = one.mutant
            change = f"{mutant.path}:{mutant.line}: {mutant.before} -> {mutant.after}"
            print(f"{one.killer or 'SURVIVED':8} {change}", flush=True)
    return results


def table(outcomes: list[Outcome]) -> str:
    """By package: mutants, killed by fast tests, by slow ones only, by none."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for one in outcomes:
        counts[one.mutant.path.split("/")[1]][one.killer] += 1
    rows = [
        f"{package:8} {sum(c.values()):4} {c['fast']:4} {c['slow']:4} {c['']:4}"
        for package, c in counts.items()
    ]
    return "\n".join(["package   all fast slow none", *rows])


def main() -> int:
    """Measure, try, print the table; 1 if only slow tests kill a mutant."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=19, help="of the sample")
    parser.add_argument("--count", type=int, default=600, help="mutants in all")
    parser.add_argument(
        "--package", choices=SHARES, help="mutate this one alone, in as many as it gets of all"
    )
    parser.add_argument("--tests", nargs="+", default=[], metavar="PATH", help="measure these tests alone")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--fast-only", action="store_true", help="leave the slow tests out")
    parser.add_argument("--keep-map", action="store_true", help="choose tests by the last measurement")
    parser.add_argument("--resume", action="store_true", help="keep the outcomes of an interrupted run")
    options = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    maps = {}
    for suite in ("fast",) if options.fast_only else SUITES:
        data_file = BUILD / f"{suite}.coverage"
        if not (options.keep_map and data_file.exists()):
            measure(suite, data_file, options.tests)
        maps[suite] = tests_by_line(data_file)
    file = BUILD / "outcomes.jsonl"
    if not options.resume:
        file.unlink(missing_ok=True)
    chosen = sample(options.seed, options.count)
    if options.package:
        chosen = [mutant for mutant in chosen if mutant.path.split("/")[1] == options.package]
    outcomes = run(chosen, maps, options.jobs, file)
    print(table(outcomes))
    return 1 if any(one.killer == "slow" for one in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
