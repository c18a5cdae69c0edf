"""The JSON schema of the configuration: valid, with every key, and no good file breaks it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from generators.configuration import EXAMPLE
from generators.configuration_schema import documentation
from jsonschema import Draft202012Validator

CONFIGS = Path(__file__).parents[2] / "configs"
GOOD = [path.read_text(encoding="utf-8") for path in sorted(CONFIGS.glob("good-*.yaml"))]
SCHEMA: dict[str, Any] = json.loads(documentation())


def broken(text: str) -> list[str]:
    """The paths of what breaks the schema, as an editor reads the file.

    Dates are texts to it, and 25e-1 is a number, which is a text to PyYAML.
    """
    tree = yaml.safe_load(text.replace("25e-1", "2.5")) or {}
    document = json.loads(json.dumps(tree, default=str))
    return [error.json_path for error in Draft202012Validator(SCHEMA).iter_errors(document)]


def test_it_is_a_schema() -> None:
    """Editors take it."""
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("text", [EXAMPLE, *GOOD])
def test_a_good_file_does_not_break_it(text: str) -> None:
    """What `check-config` takes, an editor does not mark."""
    assert broken(text) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("hardwares: []", "$"),
        ("limits: {models: 0}", "$.limits.models"),
        ("limits: {models: 1.5}", "$.limits.models"),
        ("hardware: [{rented: {dollars_per_gpu_hour: 10001}}]", "$.hardware[0].rented.dollars_per_gpu_hour"),
        ("hardware: [{rented: {dollars_per_gpu_hour: '2'}}]", "$.hardware[0].rented.dollars_per_gpu_hour"),
        ("split: {method: requests}", "$.split.method"),
        ("retired: [{uuid: GPU-1}]", "$.retired[0]"),
        ("interval: 10", "$.interval"),
        ("discovery: {processes: maybe}", "$.discovery.processes"),
        ("servers: [{match: {port: 8000}, role: router}]", "$.servers[0].role"),
    ],
)
def test_a_bad_value_breaks_it(text: str, path: str) -> None:
    """Unknown and missing keys, words, kinds and bounds are marked while one types."""
    assert broken(text) == [path]


def test_a_word_that_yaml_reads_as_false_is_taken() -> None:
    """`off` is false to a tool of YAML 1.1, and `check-config` takes both."""
    assert broken("discovery: {cloud: off}") == []
    assert broken("discovery: {cloud: 'off'}") == []
