"""The page of all keys cannot drift from what is read."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from generators.configuration import EXAMPLE

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
