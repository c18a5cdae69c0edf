"""docs/architecture.md has the code's layers, packages, threads, and the path of a token."""

import re
import tomllib

from tests.docs.markdown import ROOT, blocks, read, rows
from tests.test_token_path import SOURCE_STEPS

PAGE = ROOT / "docs" / "architecture.md"
SOURCES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "exporter").rglob("*.py")}
CODE = "\n".join(SOURCES.values())


def section(heading: str) -> str:
    """The text below a heading."""
    return read(PAGE).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def drawn(beginning: str) -> list[str]:
    """The lines of the one block that begins so."""
    (text,) = [fence.text for fence in blocks(PAGE) if fence.text.startswith(beginning)]
    return text.splitlines()


def test_layers_and_packages_are_those_of_the_contract() -> None:
    """Row by row, as import-linter keeps them, which misses no part; each has its line in the table."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (layers,) = [contract["layers"] for contract in linter["contracts"] if contract["type"] == "layers"]
    names = [row[0].strip("`") for row in rows(section("Packages"))[1:]]

    assert drawn("cli\n") == layers
    assert names == [part for layer in layers for part in layer.split(" | ")]


def test_the_path_of_a_token_is_that_of_the_code() -> None:
    """Each form is a type of the product, the named file has the function, and calls are of the stack."""
    for form, function, file in (line.split() for line in drawn("form ")[1:]):
        name = function.rpartition(".")[2]
        assert re.search(rf"^ *def {name}\(", SOURCES[ROOT / "exporter" / file], re.MULTILINE), function
        assert form == "bytes" or re.search(rf"^class {form}\b|^{form}\b.* = ", CODE, re.MULTILINE), form
    assert "\n".join(drawn("_Pool._serve")).split() == ["_Pool._serve", "read_source", *SOURCE_STEPS]


def test_every_thread_has_its_name_in_the_table() -> None:
    """As the code names its threads."""
    made = set(re.findall(r'\b(?:start\(.*|KeptThreads\()"([\w-]+)"', CODE))

    assert {"web", "web-client", "source", "reload"} <= made
    assert {name for name in made if f"`{name}`" not in section("Threads")} == set()
