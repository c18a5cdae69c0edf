"""The Helm chart as far as it can be looked at without Helm; tests/e2e/charts renders it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.cli import logs
from exporter.cli.flags import DEFAULT_ADDRESS
from exporter.config.keys import DOCUMENT
from exporter.config.settings import DEFAULT_LEDGER
from tests import next_release

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "inference-cost-exporter"

Values = dict[str, Any]


@pytest.fixture(scope="module")
def schema() -> Values:
    return dict(json.loads((CHART / "values.schema.json").read_text()))


@pytest.fixture(scope="module")
def values() -> Values:
    return dict(yaml.safe_load((CHART / "values.yaml").read_text()))


def parts(manifest: Any) -> Iterator[Values]:
    """Every schema inside a schema."""
    if isinstance(manifest, dict):
        yield manifest
        for inner in manifest.values():
            yield from parts(inner)
    elif isinstance(manifest, list):
        for inner in manifest:
            yield from parts(inner)


def test_what_the_chart_carries_is_what_the_repository_has() -> None:
    """Rules and dashboards are copied into it, since a chart reaches nothing outside itself."""
    manifest = subprocess.run(
        [sys.executable, "deploy/helm/generate.py", "--check", "--copies"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (manifest.returncode, manifest.stdout) == (0, "")


def test_the_chart_is_of_this_release() -> None:
    """Versioned with the code that it deploys."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert (chart["version"], chart["appVersion"]) == (next_release.VERSION, next_release.VERSION)


def test_no_mapping_of_its_own_is_open(schema: Values) -> None:
    """Where the schema names keys, it refuses all others; what may hold anything names none."""
    own = [part for part in parts(schema["properties"]) if isinstance(part.get("properties"), dict)]

    assert schema["additionalProperties"] is False
    assert [part for part in own if part["additionalProperties"] is not False] == []
    assert len(own) > 20


def test_every_key_has_its_default_and_its_schema(schema: Values, values: Values) -> None:
    """What the schema takes stands in values.yaml, and the other way round; `global` is Helm's."""
    assert set(schema["properties"]) == {*values, "global"}
    for key, manifest in schema["properties"].items():
        if isinstance(values.get(key), dict) and values[key] and "properties" in manifest:
            assert set(manifest["properties"]) == set(values[key]), key


def test_the_configuration_has_the_exporters_keys(schema: Values) -> None:
    """All but the ledger's place, which the chart says by a flag that would win."""
    (mapping,) = (
        manifest for manifest in schema["properties"]["config"]["oneOf"] if manifest.get("type") == "object"
    )

    assert {*mapping["properties"], "ledger"} == {key.name for key in DOCUMENT.keys}


def test_the_chart_speaks_as_the_program_does(schema: Values, values: Values) -> None:
    """Levels and formats of the log, the port, and where the ledger is."""
    assert schema["properties"]["log"]["properties"] == {
        "level": {"enum": [*logs.LEVELS]},
        "format": {"enum": [*logs.FORMATS]},
    }
    assert f":{values['web']['port']}" == DEFAULT_ADDRESS
    assert values["ledger"]["hostPath"] == str(DEFAULT_LEDGER.parent)


def test_every_platform_has_a_scenario(schema: Values) -> None:
    """And no scenario is of another."""
    manifest = {yaml.safe_load(file.read_text()).get("platform") for file in CHART.glob("ci/*.yaml")} - {None}

    assert manifest == set(schema["properties"]["platform"]["enum"])
