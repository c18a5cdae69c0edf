"""docs/architecture.md has the code's layers, packages, threads, and the path of a token."""

import ast
import re
from pathlib import Path

from exporter.cli.serve import READ_MAX
from exporter.sources.gather import WORKERS
from exporter.units import seconds
from exporter.web.limits import WebLimits
from tests.docs.markdown import ROOT, blocks, read, rows
from tests.test_layers import LINES, ROWS
from tests.test_token_path import SOURCE_STEPS

PAGE = ROOT / "docs" / "architecture.md"


def section(heading: str) -> str:
    """The text below a heading."""
    return read(PAGE).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_the_layers_are_those_that_the_imports_keep() -> None:
    """Row by row; the entry point has nothing above it."""
    (drawn,) = [fence.text for fence in blocks(PAGE) if fence.text.startswith("cli\n")]

    assert [tuple(line.split(" | ")) for line in drawn.splitlines()] == list(ROWS[1:])


def test_every_part_is_in_the_table_of_packages() -> None:
    """Packages and modules of the program, each once, in the order of the layers."""
    names = [row[0].strip("`") for row in rows(section("Packages"))[1:]]
    parts = {path.stem for path in (ROOT / "exporter").glob("[a-z]*") if path.name != "__pycache__"}

    assert names == [part for row in ROWS[1:] for part in row]
    assert set(names) == parts


def defined(path: Path) -> set[str]:
    """Functions and methods that a file defines, as `Class.method`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    methods = {
        f"{c.name}.{node.name}" for c in classes for node in c.body if isinstance(node, ast.FunctionDef)
    }
    return methods | {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_forms_of_a_token_are_those_of_the_code() -> None:
    """Twelve forms; each is a type of the product, and the named file defines the named function."""
    (drawn,) = [fence.text for fence in blocks(PAGE) if fence.text.startswith("form ")]
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "exporter").rglob("*.py"))
    forms = [line.split() for line in drawn.splitlines()[1:]]

    assert len(forms) == 12
    for form, function, file in forms:
        assert function in defined(ROOT / "exporter" / file), function
        assert form == "bytes" or re.search(rf"^class {form}\b|^{form}\b.* = ", sources, re.MULTILINE), form


def test_the_calls_to_the_socket_are_those_of_the_code() -> None:
    """`tests/test_token_path.py` sees them on the stack; the calls before them exist."""
    (drawn,) = [fence.text for fence in blocks(PAGE) if fence.text.startswith("_Pool._serve\n")]
    sampler = ROOT / "exporter" / "sampler"

    assert drawn.split() == ["_Pool._serve", "read_source", *SOURCE_STEPS]
    assert {"_Pool._serve", "read_source"} <= defined(ROOT / "exporter" / "sources" / "gather.py")
    assert "`Sampler.tick` calls `FrameReader.read`" in read(PAGE)
    assert "Sampler.tick" in defined(sampler / "sampler.py")
    assert "FrameReader.read" in defined(sampler / "frame_reader.py")


def test_its_numbers_are_those_of_the_code() -> None:
    """The time of a tick's reads, threads and connections, the length of a file."""
    assert f"all within {seconds(READ_MAX):g} seconds" in section("One tick")
    assert f"| `source` | 1 to {WORKERS} |" in section("Threads")
    assert f"at most {WebLimits().connections} |" in section("Threads")
    assert f"no file passes {LINES} lines" in section("Layers")


def test_every_thread_has_its_name_in_the_table() -> None:
    """As the code names its threads."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "exporter").rglob("*.py"))
    made = set(re.findall(r'\b(?:start\(.*|KeptThreads\()"([\w-]+)"', sources))

    assert {name for name in made if f"`{name}`" not in section("Threads")} == set()
    assert {"web", "web-client", "source", "reload"} <= made
