"""docs/architecture.md draws the house that the tests hold: its layers, its folders, its threads."""

import re

from exporter.cli.serve import READ_MAX
from exporter.sources.gather import WORKERS
from exporter.units import seconds
from exporter.web.listener import WebLimits
from tests.docs.markdown import ROOT, blocks, read, rows
from tests.test_layers import LINES, ROWS

PAGE = ROOT / "docs" / "architecture.md"


def section(heading: str) -> str:
    """The text below a heading."""
    return read(PAGE).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_the_layers_are_those_that_the_imports_keep() -> None:
    """Row by row; the entry point has nothing above it."""
    (drawn,) = [code_block.text for code_block in blocks(PAGE) if code_block.text.startswith("cli\n")]

    assert [tuple(line.split(" | ")) for line in drawn.splitlines()] == list(ROWS[1:])


def test_every_part_is_in_the_table_of_folders() -> None:
    """Packages and modules of the program, each once, in the order of the layers."""
    listed = [row[0].strip("`") for row in rows(section("The folders"))[1:]]
    parts = {path.stem for path in (ROOT / "exporter").glob("[a-z]*") if path.name != "__pycache__"}

    assert listed == [part for row in ROWS[1:] for part in row]
    assert set(listed) == parts


def test_its_numbers_are_those_of_the_code() -> None:
    """The time of a tick's reads, threads and connections, the length of a file."""
    assert f"all within {seconds(READ_MAX):g} seconds" in section("A tick")
    assert f"| `source` | up to {WORKERS} |" in section("Threads")
    assert f"at most {WebLimits().connections} |" in section("Threads")
    assert f"no file passes {LINES} lines" in section("The layers")


def test_every_thread_is_told_by_its_name() -> None:
    """As the code names its threads."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "exporter").rglob("*.py"))
    made = set(re.findall(r'\b(?:start|Workers)\(.*"([\w-]+)"', sources))

    assert {name for name in made if f"`{name}`" not in section("Threads")} == set()
    assert {"web", "web-client", "source", "reload"} <= made
