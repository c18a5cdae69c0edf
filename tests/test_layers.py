"""The house as drawn: who may import whom, and where clocks, logs and foreign packages live.

Everything is read from source text; nothing is imported, so that a late import counts as well.
"""

import ast
import functools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.allowed_paths import reaching

ROOT = Path(__file__).parents[1]
EXPORTER = ROOT / "exporter"

ROWS = (
    ("__main__",),
    ("cli",),
    ("finance",),
    ("reports", "demo"),
    ("sampler",),
    ("sources", "ledger", "web"),
    ("metrics",),
    ("config",),
    ("report",),
    ("advice",),
    ("cost",),
    ("engines", "tariff", "vendors"),
    ("readings",),
    ("clock", "threads", "malloc"),
    ("units", "version", "garbage"),
)
"""A row imports only rows below it; parts of one row never import each other."""

FOREIGN = {
    "?": r"(engines/catalogue|cli/arguments)\.py",  # engines by their files' names, verbs by a table
    "pynvml": r"sources/nvml/.+",
    "h2": r"sources/kubelet/.+",
    "jinja2": r"web/page/__init__\.py",
    "markupsafe": r"web/page/__init__\.py",
    "prometheus_client": r"metrics/.+",
    "psutil": r"sources/(machine|processes/.+)\.py",
    "httptools": r"sources/http_client\.py",
    "httpcore": r"sources/https_client\.py",
    "httpx": r"(sources/https_client|finance/prometheus/client)\.py",
    "msgspec": (
        r"(config/schema|ledger/marks|reports/host_status|sources/cloud/metadata|sources/kubernetes/(api|pod_object)"
        r"|sources/kubelet/(pod_resources|protobuf))\.py"
    ),
    "xlsxwriter": r"finance/render\.py",
    "yaml": r"config/.+",
    "bcrypt": r"web/.+",
}
"""Third-party packages, and what costs memory by how it is imported; the one place of each."""

SILENT = ("advice", "cost", "engines", "tariff", "readings", "report", "units")
"""Parts that log nothing."""

SUMS = {
    "CostAccounts",
    "GpuRemainders",
    "_GpuLoad",
    "HostClaims",
    "ModelAccount",
    "SegmentPostings",
    "_Group",
}
"""Records of these parts that are added to while a function computes; no others change."""

CACHES = {"CostPolicy", "Tariff"}
"""Frozen records that keep what they derived, in a dictionary of their own."""

VAGUE = {"utils", "util", "helpers", "helper", "common", "core", "base", "manager", "misc"}

CALENDARS = re.compile(r"(^|\.)(datetime|date)\.(now|utcnow|today)$")
NOW = {"now", "utcnow", "today"}
SQL_CLOCKS = re.compile(r"\bCURRENT_(TIMESTAMP|DATE|TIME)\b|'now'")

Rule = Callable[[Path, str], list[str]]
"""Takes a path below `exporter` and the file's text; says each breach in a line."""

LINES = 600


@functools.lru_cache(maxsize=1)
def parsed(text: str) -> list[ast.AST]:
    """All nodes of a file, for every rule; of one, since those of the product are a million objects."""
    return list(ast.walk(ast.parse(text)))


def sources(folder: Path) -> list[Path]:
    """All Python files under a folder."""
    return sorted(folder.rglob("*.py"))


def part(module: str) -> str:
    """The row member that a dotted module below `exporter` belongs to."""
    return module.split(".", maxsplit=1)[0]


def dotted(path: Path) -> str:
    """A file below `exporter` as a dotted module: cost/split.py is cost.split."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """Line and absolute name of each module that a file below `exporter` imports, wherever it does.

    `from exporter import x` names `exporter.x`; relative imports are resolved.
    """
    package = ["exporter", *path.parts[:-1]]
    for node in parsed(text):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            origin = [*package[: len(package) - node.level + 1]] if node.level else []
            origin += node.module.split(".") if node.module else []
            for alias in node.names:
                yield node.lineno, ".".join([*origin, alias.name])
        elif isinstance(node, ast.Call) and called(node) in {"import_module", "__import__"}:
            named = node.args[0] if node.args else None
            constant = named.value if isinstance(named, ast.Constant) else "?"
            yield node.lineno, str(constant)


def called(node: ast.Call) -> str:
    """The last word of what is called, if it has one."""
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def row(member: str) -> int | None:
    """The height of a part, 0 at the top; `None` for a part that is in no row."""
    return next((height for height, members in enumerate(ROWS) if member in members), None)


def layer_breaches(path: Path, text: str) -> list[str]:
    """Imports that go up or sideways, and parts that no row names."""
    own = part(dotted(path))
    if not own:
        return [f"{path}:{line}: the map imports {name}" for line, name in imports(path, text)]
    height = row(own)
    if height is None:
        return [f"{path}: `{own}` is in no row"]
    breaches = []
    for line, name in imports(path, text):
        if not name.startswith("exporter.") or name.split(".")[1].startswith("__version"):
            continue
        other = part(name.removeprefix("exporter."))
        below = row(other)
        if below is None:
            breaches.append(f"{path}:{line}: `{other}` is in no row")
        elif other != own and below <= height:
            breaches.append(f"{path}:{line}: `{own}` imports `{other}`")
    return breaches


def foreign_breaches(path: Path, text: str) -> list[str]:
    """Third-party imports outside their place."""
    breaches = []
    for line, name in imports(path, text):
        top = name.split(".")[0]
        allowed = FOREIGN.get(top)
        if allowed is None and (top == "exporter" or top in sys.stdlib_module_names):
            continue
        if allowed is None or not re.fullmatch(allowed, path.as_posix()):
            breaches.append(f"{path}:{line}: {top} is not imported here")
    return breaches


def clock_breaches(path: Path, text: str) -> list[str]:
    """Clocks outside clock.py: the time module, today's date, a database's own clock."""
    if path == Path("clock.py"):
        return []
    breaches = [f"{path}:{line}: {n}" for line, n in imports(path, text) if n.split(".")[0] == "time"]
    for node in parsed(text):
        if (
            isinstance(node, ast.Attribute)
            and node.attr in NOW
            and CALENDARS.search(name := ast.unparse(node))
        ):
            breaches.append(f"{path}:{node.lineno}: {name}")
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL_CLOCKS.search(node.value):
            breaches.append(f"{path}:{node.lineno}: a clock inside a string")
    return breaches


def log_breaches(path: Path, text: str) -> list[str]:
    """Logging in the parts that compute."""
    if part(dotted(path)) not in SILENT:
        return []
    return [f"{path}:{line}: {n}" for line, n in imports(path, text) if n.split(".")[0] == "logging"]


def record_breaches(path: Path, text: str) -> list[str]:
    """Records of the parts that compute which could change, or take a dictionary each."""
    if part(dotted(path)) not in SILENT:
        return []
    breaches = []
    for node in parsed(text):
        for decorator in node.decorator_list if isinstance(node, ast.ClassDef) else ():
            words = ast.unparse(decorator).partition("(")
            if words[0] != "dataclass":
                continue
            frozen = () if node.name in SUMS else ("frozen=True",)
            slots = () if node.name in CACHES else ("slots=True",)
            if words[2] != ", ".join(frozen + slots) + ")":
                breaches.append(f"{path}:{node.lineno}: {node.name} is no frozen record with slots")
    return breaches


def name_breaches(path: Path, _text: str) -> list[str]:
    """Modules and packages with names that say nothing."""
    vague = VAGUE.intersection(path.with_suffix("").parts)
    return [f"{path}: `{name}` says nothing" for name in sorted(vague)]


def place_breaches(path: Path, text: str) -> list[str]:
    """What is opened outside of the repository and of the places that every system has."""
    return reaching(Path(EXPORTER.name) / path, text)


def length_breaches(path: Path, text: str) -> list[str]:
    """Files that should be two."""
    lines = len(text.splitlines())
    return [f"{path}: {lines} lines, at most {LINES}"] if lines > LINES else []


RULES = (
    layer_breaches,
    foreign_breaches,
    clock_breaches,
    log_breaches,
    record_breaches,
    name_breaches,
    place_breaches,
    length_breaches,
)


def test_the_product_keeps_every_rule() -> None:
    """No file of the product breaks a rule of the house."""
    breaches = [
        breach
        for path in sources(EXPORTER)
        for text in (path.read_text(encoding="utf-8"),)
        for rule in RULES
        for breach in rule(path.relative_to(EXPORTER), text)
    ]
    assert breaches == []


def imported(module: str) -> set[str]:
    """Modules below `exporter` that importing and running one may bring in, late imports included."""
    files = {dotted(path.relative_to(EXPORTER)): path.relative_to(EXPORTER) for path in sources(EXPORTER)}
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        while name and name not in files:
            name = name.rpartition(".")[0]
        if name in reached or not name:
            continue
        reached.add(name)
        text = (EXPORTER / files[name]).read_text(encoding="utf-8")
        waiting += [
            imported.removeprefix("exporter.")
            for _, imported in imports(files[name], text)
            if imported.startswith("exporter.")
        ]
    return reached


def test_the_daemon_never_imports_finance() -> None:
    """What `serve` imports, early or late, holds nothing of the verbs of the books."""
    reached = imported("cli.serve")

    assert {"sampler.sampler", "reports.correction_proposals"} <= reached
    assert [name for name in sorted(reached) if part(name) == "finance"] == []


def test_the_daemon_never_imports_finance_can_fail() -> None:
    """The verb that closes a month does import it."""
    assert any(part(name) == "finance" for name in imported("cli.report"))


def test_tests_stay_readable() -> None:
    """A test file that passes 600 lines is two files."""
    breaches = [
        breach
        for path in sources(ROOT / "tests")
        for breach in length_breaches(path.relative_to(ROOT), path.read_text(encoding="utf-8"))
    ]
    assert breaches == []


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        pytest.param(layer_breaches, "cost/split.py", "from exporter.ledger import books", id="up"),
        pytest.param(layer_breaches, "cost/split.py", "from exporter import report", id="up-from-root"),
        pytest.param(layer_breaches, "ledger/books.py", "import exporter.sources.nvml.source", id="sideways"),
        pytest.param(layer_breaches, "engines/vllm.py", "from ..tariff import rate", id="sideways-relative"),
        pytest.param(layer_breaches, "metrics/table.py", "from exporter import web", id="metrics-import-web"),
        pytest.param(
            layer_breaches,
            "reports/doctor.py",
            "from exporter.finance import statements",
            id="reports-import-finance",
        ),
        pytest.param(
            layer_breaches, "tariff/rate.py", "def f():\n    from exporter.cost import split", id="late"
        ),
        pytest.param(
            layer_breaches, "cost/split.py", "if TYPE_CHECKING:\n    from exporter import cli", id="for-types"
        ),
        pytest.param(
            layer_breaches, "cost/split.py", "importlib.import_module('exporter.sampler')", id="by-string"
        ),
        pytest.param(layer_breaches, "cost/split.py", "from exporter import prices", id="unknown-target"),
        pytest.param(layer_breaches, "prices.py", "", id="part-in-no-row"),
        pytest.param(layer_breaches, "units.py", "from exporter.clock import Clock", id="units-are-lowest"),
        pytest.param(layer_breaches, "__init__.py", "from exporter.cli import main", id="map-imports"),
        pytest.param(foreign_breaches, "sources/server.py", "import pynvml", id="nvml-elsewhere"),
        pytest.param(foreign_breaches, "ledger/file.py", "import psutil", id="psutil"),
        pytest.param(foreign_breaches, "web/server.py", "import httpx", id="httpx-elsewhere"),
        pytest.param(foreign_breaches, "sources/machine.py", "import httpx", id="httpx-in-another-source"),
        pytest.param(foreign_breaches, "cli.py", "from yaml import safe_load", id="yaml-elsewhere"),
        pytest.param(foreign_breaches, "web/server.py", "import prometheus_client.core", id="client"),
        pytest.param(foreign_breaches, "cost/money.py", "import numpy", id="unknown-package"),
        pytest.param(clock_breaches, "sampler.py", "import time", id="time"),
        pytest.param(clock_breaches, "ledger/books.py", "from time import time_ns", id="from-time"),
        pytest.param(clock_breaches, "finance/statements.py", "datetime.datetime.now(UTC)", id="now"),
        pytest.param(clock_breaches, "finance/statements.py", "datetime.utcnow()", id="utcnow"),
        pytest.param(clock_breaches, "finance/statements.py", "date.today()", id="today"),
        pytest.param(clock_breaches, "ledger/schema.py", "X = 'SELECT CURRENT_TIMESTAMP'", id="sql-clock"),
        pytest.param(log_breaches, "cost/advance.py", "import logging", id="log-in-cost"),
        pytest.param(log_breaches, "units.py", "from logging import getLogger", id="log-in-units"),
        pytest.param(
            record_breaches, "cost/split.py", "@dataclass(slots=True)\nclass Split: ...", id="changing-record"
        ),
        pytest.param(
            record_breaches,
            "report.py",
            "@dataclass(frozen=True, slots=False)\nclass Row: ...",
            id="record-without-slots",
        ),
        pytest.param(name_breaches, "cost/utils.py", "", id="vague-module"),
        pytest.param(name_breaches, "common/money.py", "", id="vague-package"),
        pytest.param(place_breaches, "cost/split.py", "Path('/scratch/facts')", id="place-of-one-machine"),
        pytest.param(place_breaches, "cost/split.py", "Path(__file__).parents[3]", id="above-repository"),
        pytest.param(length_breaches, "cost/split.py", "x = 1\n" * 601, id="long"),
    ],
)
def test_each_rule_can_fail(rule: Rule, path: str, text: str) -> None:
    """A rule that finds nothing in a breach would guard nothing."""
    assert len(rule(Path(path), text)) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("cost/split.py", "from exporter.cost.postings import OwnerPhase\nfrom exporter import readings"),
        ("cli.py", "import argparse"),
        ("cli.py", "from exporter.version import VERSION"),
        ("sources/nvml/mig.py", "import pynvml\nimport logging"),
        ("sources/kubelet/grpc.py", "import h2"),
        ("sources/https_client.py", "import httpx"),
        ("clock.py", "import time"),
        ("cost/split.py", "@dataclass(frozen=True, slots=True)\nclass Split: ..."),
        ("cost/accrual.py", "@dataclass(slots=True)\nclass GpuRemainders: ..."),
        ("ledger/totals.py", "@dataclass\nclass Totals: ..."),
        ("ledger/books.py", "moment = clock.now()\nlicense = Path(__file__).parents[2] / 'LICENSE'"),
        ("cost/split.py", "x = 1\n" * 600),
    ],
)
def test_rules_let_the_house_be_built(path: str, text: str) -> None:
    """What the drawing allows is no breach."""
    assert [breach for rule in RULES for breach in rule(Path(path), text)] == []
