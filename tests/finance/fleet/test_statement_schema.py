"""The file of a closed month is what its schema says, and the schema says all of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker, ValidationError

from exporter.cli import main
from exporter.finance.fleet.closed_month import document, read_closed_month
from exporter.ledger.history import FAMILIES
from tests.finance.fleet.host_months import LENGTH, host_month
from tests.finance.fleet.ledger_files import MeteredHost, october
from tests.finance.fleet.test_closed_month import closed, host
from tests.kit.units import DOLLAR, HOUR, OCTOBER

SCHEMA = json.loads(
    (Path(__file__).parents[3] / "docs" / "statement.schema.json").read_text(encoding="utf-8")
)
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=FormatChecker())
(EXAMPLE,) = SCHEMA["examples"]


def test_the_schema_is_one() -> None:
    """By the rules of its own version, with the families of sums of the ledger."""
    Draft202012Validator.check_schema(SCHEMA)
    families = SCHEMA["properties"]["hosts"]["items"]["properties"]["sums"]["oneOf"][1]["properties"]
    assert tuple(families) == FAMILIES


def test_a_written_statement_is_what_it_says(tmp_path: Path) -> None:
    """Of real ledgers with an adjustment, which the verb closes and then reads as one host."""
    host_file = october(tmp_path / "fleet" / "a.db", DOLLAR, "GPU-a")
    MeteredHost(tmp_path / "fleet" / "b.db", "GPU-b").meter(OCTOBER, 4, DOLLAR).close()
    ledger = MeteredHost(host_file, "GPU-a")
    words = ["--amount=-3", "--date=2026-10-31", "--product=chat", "--reason=invoice 4711"]
    assert main(["adjust", *words, f"--ledger.path={host_file}"]) == 0
    ledger.posted = 31 * DOLLAR
    ledger.meter(OCTOBER + LENGTH, 1, DOLLAR).close()
    file, again = tmp_path / "2026-10.json", tmp_path / "again.json"
    for source, output in ((tmp_path / "fleet", file), (file, again)):
        arguments = ["--month=2026-10", f"--from={source}", "--close", f"--output={output}"]
        assert main(["report", "month", *arguments]) == 0

    for path in (file, again):
        written = json.loads(path.read_text())
        VALIDATOR.validate(written)
        assert written["total_picodollars"] == 32 * DOLLAR
        assert [len(each["adjustments"]) for each in written["hosts"]].count(1) == 1


def test_every_family_of_sums_is_what_it_says() -> None:
    """And so is a ledger that has no finer sums."""
    whole = json.loads(document(closed(host(waits=2), host_month("l2", DOLLAR))))
    VALIDATOR.validate(whole)
    assert all(whole["hosts"][0]["sums"].values())
    whole["hosts"][1]["sums"] = None
    VALIDATOR.validate(whole)


def test_the_example_is_a_statement(tmp_path: Path) -> None:
    """The reader takes it, with its hash: 90 dollars less a refund of 12."""
    VALIDATOR.validate(EXAMPLE)
    file = tmp_path / "2026-10.json"
    file.write_text(json.dumps(EXAMPLE))
    read = read_closed_month(file)

    assert read.total == sum(host.total for host in read.hosts) == 78 * DOLLAR
    (of,) = read.hosts
    assert of.record.sums is not None
    assert sum(of.record.sums.cost.values()) + sum(each.amount for each in of.record.adjustments) == of.total
    assert sum(of.record.sums.still_unpriced().values()) == 0
    assert of.last is not None
    assert of.last - OCTOBER == LENGTH + HOUR


@pytest.mark.parametrize(
    "change",
    [
        {"more": 1},
        {"month": "2026-13"},
        {"closed": "yesterday"},
        {"total_picodollars": "12"},
        {"total_picodollars": 1.5},
        {"hosts": []},
        {"sha256": "0" * 63},
        {"schema": "inference-cost-exporter/statement/2"},
    ],
)
def test_it_refuses_what_it_does_not_say(change: dict[str, Any]) -> None:
    """A key that it does not know, a text for a number, another version."""
    with pytest.raises(ValidationError):
        VALIDATOR.validate({**EXAMPLE, **change})


def test_it_refuses_a_row_of_another_length() -> None:
    """And one without a value, and a missing key."""
    for row in (["chat", "assistants", 1], ["chat", "assistants", "configured"]):
        wrong = json.loads(json.dumps(EXAMPLE))
        wrong["hosts"][0]["cells"] = [row]
        with pytest.raises(ValidationError):
            VALIDATOR.validate(wrong)
    wrong = json.loads(json.dumps(EXAMPLE))
    del wrong["hosts"][0]["sums"]["covered"]
    with pytest.raises(ValidationError):
        VALIDATOR.validate(wrong)


def test_everything_is_described() -> None:
    """Every key and column says what it is, and no key that is listed may be left out."""

    def parts(schema: Any) -> Iterator[Any]:
        yield schema
        if "properties" in schema:
            assert schema["required"] == list(schema["properties"])
            assert schema["additionalProperties"] is False
        if "prefixItems" in schema:
            assert schema["minItems"] == schema["maxItems"] == len(schema["prefixItems"])
        items = [schema["items"]] if "items" in schema else []
        within = (*schema.get("properties", {}).values(), *schema.get("oneOf", ()), *items)
        for part in (*within, *schema.get("prefixItems", ())):
            yield from parts(part)

    described = list(parts(SCHEMA))
    assert len(described) > 100
    assert [part for part in described if not part.get("description", "").endswith(".")] == []
