"""A rule in a line: every term that a configuration gives is on it."""

from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any

import pytest

from exporter.config.settings import ConfiguredServer, GatewayDivision, ServerMatch, ServerRule
from exporter.cost.division import Division
from exporter.reports.rule_text import rule_words
from exporter.tariff.terms import Owned

OWNED = Owned(Decimal(30_000), 1, 0, "2026-01-01", Decimal(4))


@dataclass(frozen=True, slots=True)
class OwnedWithFee(Owned):
    """Owned hardware with a term that has no words."""

    fee_dollars: Decimal = Decimal(0)


@pytest.mark.parametrize("name", [field.name for field in fields(Owned) if field.name != "in_service"])
def test_each_term_of_owned_hardware_is_printed(name: str) -> None:
    """Another value gives another line; the start is printed as it is written, by `in_service_text`."""
    other: dict[str, Any] = {"gpus": 8, "in_service_text": "2027-02-03"}
    value = other.get(name, Decimal("0.125"))

    assert rule_words(replace(OWNED, **{name: value})) != rule_words(OWNED)
    assert str(value) in rule_words(replace(OWNED, **{name: value}))


def test_a_term_without_words_is_printed_by_its_name() -> None:
    """A new key is not left out."""
    owned = OwnedWithFee(Decimal(30_000), 1, 0, "2026-01-01", Decimal(4))

    assert (
        rule_words(replace(owned, fee_dollars=Decimal("600.50"))) == f"{rule_words(OWNED)}, fee_dollars 600.5"
    )


def test_the_query_of_an_url_is_masked() -> None:
    """Of a server, of its gateway, and of a path of its page; what is empty is left out."""
    divide = GatewayDivision(Division("team", "http://b/m?key=hunter2"))

    assert rule_words(ConfiguredServer("a", "http://a/m?key=hunter2", None, divide=divide)) == (
        "name a, url http://a/m?key=***, divide (division (by team, gateway http://b/m?key=***))"
    )
    assert rule_words(ServerRule(ServerMatch(), metrics_path="/m?key=hunter2")) == "metrics_path /m?key=***"
