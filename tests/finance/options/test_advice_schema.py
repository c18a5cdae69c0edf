"""`advise --json` is what its schema says, and the schema says all of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator, FormatChecker, ValidationError

from exporter.advice.saving import SAVING_KINDS, Advice, IgnoredSaving, Lack, LackReason, Obstacle
from exporter.finance.options.advice_report import AdviceReport, as_json
from exporter.tariff.rate import PRICE_BASES
from tests.finance.options.test_advice_report import ALL, END, saving

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "advice.schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=FormatChecker())
REASONS: tuple[LackReason, ...] = get_args(LackReason)
FINDING = SCHEMA["properties"]["savings"]["items"]["properties"]


def document() -> dict[str, Any]:
    """Every kind of finding, one of them ignored, and every reason."""
    ignored = IgnoredSaving("schedule", "batch", 1, "2027-01-01")
    muted = saving("schedule", ALL[0].server, 7, ignored=ignored)
    lacks = tuple(Lack(reason, "node-1", "x", 7) for reason in REASONS)
    whole: dict[str, Any] = json.loads(as_json(AdviceReport(Advice((*ALL, muted), lacks), END, 336)))
    return whole


def test_the_schema_is_one() -> None:
    """By the rules of its own version, with the kinds, obstacles and reasons of the code."""
    Draft202012Validator.check_schema(SCHEMA)
    assert tuple(FINDING["kind"]["enum"]) == SAVING_KINDS
    assert {each or "" for each in FINDING["obstacle"]["enum"]} == {*get_args(Obstacle)}
    assert FINDING["price_basis"]["enum"] == [*PRICE_BASES, None]
    assert tuple(SCHEMA["properties"]["lacks"]["items"]["properties"]["reason"]["enum"]) == REASONS


def test_every_document_is_what_it_says() -> None:
    """With everything, and of a host without findings."""
    whole = document()

    assert {each["kind"] for each in whole["savings"]} == {*SAVING_KINDS}
    VALIDATOR.validate(whole)
    VALIDATOR.validate(json.loads(as_json(AdviceReport(Advice(), END, 24))))


@pytest.mark.parametrize(
    "change", [{"more": 1}, {"end": None}, {"picodollars_per_month": 1.5}, {"savings": None}]
)
def test_it_refuses_what_it_does_not_say(change: dict[str, Any]) -> None:
    """A key that it does not know, and values of another form."""
    with pytest.raises(ValidationError):
        VALIDATOR.validate(document() | change)


def test_it_refuses_an_incomplete_finding() -> None:
    """No key of one may be left out, nor a kind be unknown."""
    for key, value in (("cash", None), ("kind", "other")):
        wrong = document()
        wrong["savings"][0][key] = value
        with pytest.raises(ValidationError):
            VALIDATOR.validate(wrong)
    del wrong["savings"][1]["text"]
    wrong["savings"][0]["kind"] = "hosted"
    with pytest.raises(ValidationError, match="'text' is a required property"):
        VALIDATOR.validate(wrong)


def test_everything_is_described() -> None:
    """Every key says what it is."""

    def keys(schema: Any) -> Iterator[tuple[str, Any]]:
        yield from schema.get("properties", {}).items()
        items = [schema["items"]] if "items" in schema else []
        for part in (*schema.get("properties", {}).values(), *schema.get("oneOf", ()), *items):
            yield from keys(part)

    described = list(keys(SCHEMA))
    assert len(described) > 50
    assert [name for name, part in described if not part.get("description", "").endswith(".")] == []
