"""`/cost.json` is what its schema says, and the schema says all of it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker, ValidationError

from exporter.report import Build, Report
from exporter.web.cost_json import document
from tests.web.test_page import hostile

MakeReport = Callable[..., Report]

BUILD = Build("0.1.0", "9e3d667", "3.11.7")
NOW = 1000 * 10**9
OLD = 1031 * 10**9
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "cost.schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=FormatChecker())


def rendered(report: Report | None, elapsed: int = NOW) -> Any:
    """The document of a report."""
    return json.loads(document(report, elapsed, BUILD))


def test_the_schema_is_one() -> None:
    """By the rules of its own version."""
    Draft202012Validator.check_schema(SCHEMA)


def test_every_document_is_what_it_says(make_report: MakeReport) -> None:
    """Whole, old, before the first tick, without books, without a month, and with hostile names."""
    host = make_report()
    empty = make_report(
        totals=None, rates={}, month_ends={}, projected={}, budgets=(), gpus=(), run_rate=None
    )

    for document_ in (
        rendered(host),
        rendered(host, OLD),
        rendered(None),
        rendered(empty),
        rendered(hostile(host)),
    ):
        VALIDATOR.validate(document_)


def test_it_refuses_what_it_does_not_say(make_report: MakeReport) -> None:
    """A key that it does not know, one that is missing, a text for a number."""
    for change in ({"more": 1}, {"notes": "none"}, {"month": "November"}, {"dollars_per_hour": "12.75"}):
        wrong = rendered(make_report())
        wrong["host"].update(change)
        with pytest.raises(ValidationError):
            VALIDATOR.validate(wrong)
    missing = rendered(make_report())
    del missing["host"]["servers"][0]["up"]
    with pytest.raises(ValidationError):
        VALIDATOR.validate(missing)


def test_everything_is_described() -> None:
    """Every key says what it is, and no key that is listed may be left out."""

    def keys(schema: Any) -> Iterator[tuple[str, Any]]:
        for name, part in schema.get("properties", {}).items():
            yield name, part
        if "properties" in schema:
            assert schema["required"] == list(schema["properties"])
        items = [schema["items"]] if "items" in schema else []
        for part in (*schema.get("properties", {}).values(), *schema.get("oneOf", ()), *items):
            yield from keys(part)

    paths = list(keys(SCHEMA))
    assert len(paths) > 50
    assert [name for name, part in paths if not part.get("description", "").endswith((".", "..."))] == []
