"""The page of all keys cannot drift from what is read."""

import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from generators.configuration import EXAMPLE, documentation

from exporter.config import Config, parse
from exporter.config.keys import DOCUMENT
from exporter.config.schema import Key, ListOf, Table

ROOT = Path(__file__).parents[3]


def all_keys(table: Table, path: str = "") -> Iterator[tuple[str, Key[object]]]:
    """Every key of the schema with the path of its table."""
    for key in table.keys:
        yield path, key
        below = f"{path}.{key.name}" if path else key.name
        validator: object = key.validator
        if isinstance(validator, ListOf):
            below, validator = f"{below}[]", validator.validator
        if isinstance(validator, Table):
            yield from all_keys(validator, below)


def test_the_page_is_what_the_schema_says() -> None:
    """docs/configuration.md equals the generator's page, byte for byte."""
    assert (ROOT / "docs" / "configuration.md").read_bytes() == documentation().encode()


@pytest.mark.nightly  # `tools/lint` runs it
def test_the_generator_finds_stale_pages() -> None:
    """`--check` writes nothing and passes on a fresh tree."""
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert "configuration.md" not in done.stdout
    assert done.stderr == ""


def test_every_key_is_documented() -> None:
    """Each key has its row under its table's heading, with a sentence of help."""
    page = documentation()
    sections = dict(
        zip(*[iter(re.split(r"^#{2,6} `?(.+?)`?$", page, flags=re.MULTILINE)[1:])] * 2, strict=True)
    )
    for path, key in all_keys(DOCUMENT):
        assert f"| `{key.name}` |" in sections[path or "Keys"], (path, key.name)
        assert re.fullmatch(r"[A-Z].+\.", key.help), key.name


def test_there_are_keys() -> None:
    """The walk above reaches the bottom of the schema."""
    paths = {f"{path}.{key.name}" for path, key in all_keys(DOCUMENT)}
    assert {"hardware[].rented.prices[].from", "servers[].metrics.ca_file", "split.weights.prompt"} <= paths


def test_a_key_that_fills_a_field_has_its_default() -> None:
    """The default is declared once, in the record: the page and a file without the key both have it."""
    groups = ("", "discovery", "gap", "ledger", "prices")
    filled = {key.field: key for path, key in all_keys(DOCUMENT) if path in groups}
    fields = {field.name for field in dataclasses.fields(Config)}
    given = {name: key for name, key in filled.items() if name in fields and key.default not in (None, ())}

    assert {"interval", "timezone", "unmatched_hardware", "cloud", "gap_max_days", "ledger_path"} <= set(
        given
    )
    for name, key in given.items():
        assert key.default == getattr(Config(), name), name
        assert getattr(parse(b"interval: 10s"), name) == getattr(Config(), name), name


@pytest.mark.parametrize("text", [EXAMPLE], ids=["page"])
def test_the_example_is_a_good_file(text: str) -> None:
    """Whoever copies the example has a working file."""
    config = parse(text.encode())
    assert [server.name for server in config.servers] == ["chat-8b", "batch"]
    assert len(config.hardware) == 5
