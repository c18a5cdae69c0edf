"""The doctor says whom a gateway names for each server that it divides, and what keeps it from that."""

import json
from dataclasses import replace

import pytest

from exporter.config.settings import Config
from exporter.cost.policy import CostPolicy
from exporter.readings import (
    Division,
    GatewayCounter,
    GatewayReading,
    ServerKey,
    ServerReading,
    tenant_name,
)
from exporter.reports.diagnosis import Diagnosis, DoctorInput, GatewayAnswer, ServerAnswer
from exporter.reports.doctor import as_json, diagnose, text
from exporter.tariff.tariff import Tariff

URL = "http://127.0.0.1:4000/metrics/"
DIVISION = Division("team", URL)
CHAT = ServerReading(
    ServerKey("", "chat"), "http://127.0.0.1:8000/metrics", up=True, models=("llama",), division=DIVISION
)
OTHER = replace(CHAT, key=ServerKey("", "other"), url="http://127.0.0.1:8001/metrics", division=None)


def count(model: str, team: str, deployment: str = "") -> GatewayCounter:
    return GatewayCounter(f"{model}/{deployment}/{team}", model, deployment, team, "prompt", 5.0)


COUNTS = (count("llama", "Search"), count("llama", "Data"), count("llama", ""), count("gpt-4.1-mini", "Ops"))
READ = GatewayReading(URL, up=True, title="the LiteLLM proxy", counters=COUNTS)


def diagnosed(gateway: GatewayReading, *servers: ServerReading, problem: str = "") -> Diagnosis:
    inputs = DoctorInput(
        (),
        "",
        tuple(ServerAnswer(server) for server in servers),
        "",
        "",
        gateways=(GatewayAnswer(gateway, problem),),
    )
    return diagnose(Config(), CostPolicy(Tariff("h1")), inputs, 0)


def warned(diagnosis: Diagnosis) -> list[str]:
    return [finding.text for finding in diagnosis.findings if "127.0.0.1:4000" in finding.text]


def test_it_says_whom_a_gateway_names() -> None:
    """Teams in order, of each server once; who has no team and who asks for other models is nobody here."""
    replica = replace(CHAT, url="http://127.0.0.1:8002/metrics")
    diagnosis = diagnosed(READ, CHAT, replica, OTHER)

    assert f"Gateways\n  {URL}  the LiteLLM proxy\n       divides chat between: Data, Search\n" in text(
        diagnosis
    )
    assert json.loads(as_json(diagnosis))["gateways"] == [
        {
            "url": URL,
            "up": True,
            "title": "the LiteLLM proxy",
            "divides": [["chat", ["Data", "Search"]]],
            "unlisted": [],
            "unlisted_count": 0,
        }
    ]
    assert warned(diagnosis) == []


def test_a_deployment_that_another_server_names_is_not_this_ones() -> None:
    """Search comes by id-1, which the other server's entry names; this one is left with Data."""
    counts = (count("llama", "Search", "id-1"), count("llama", "Data", "id-2"))
    other = replace(OTHER, models=("llama",), division=replace(DIVISION, deployments=("id-1",)))

    assert "divides chat between: Data\n       divides other between: Search\n" in text(
        diagnosed(replace(READ, counters=counts), CHAT, other)
    )


def test_of_many_names_a_few_are_told() -> None:
    """Eight of ten, and how many more."""
    counts = tuple(count("llama", f"t{number}") for number in range(10))

    assert "between: t0, t1, t2, t3, t4, t5, t6, t7 and 2 others\n" in text(
        diagnosed(replace(READ, counters=counts), CHAT)
    )


def test_one_that_cannot_be_read_says_what_becomes_of_the_money() -> None:
    """With the problem as its source told it."""
    diagnosis = diagnosed(GatewayReading(URL, up=False), CHAT, problem=f"{URL}: answers with HTTP status 401")

    assert f"  {URL}  CANNOT BE READ\n       divides chat between: nobody\n" in text(diagnosis)
    assert warned(diagnosis) == [
        (
            f"gateway {URL}: answers with HTTP status 401. Until it can be read, cost is divided by the "
            "last shares; the rest stays with the server's owner."
        )
    ]


@pytest.mark.parametrize(
    "division", [replace(DIVISION, deployments=("id-9",)), replace(DIVISION, models=("mistral-*",))]
)
def test_one_that_names_nobody_for_a_server_says_what_it_counts(division: Division) -> None:
    """A name that differs, or a deployment that is not there: else it would be silently the owner's."""
    server = replace(CHAT, models=("llama-70b",), division=division)

    assert warned(diagnosed(READ, server)) == [
        (
            f"server chat serves llama-70b, and {URL} counts no requests for it: all of its cost "
            "stays with its owner. It counts gpt-4.1-mini, llama; names that lead here belong in "
            "`divide: {models: [...]}`, its model_id in `deployments` if given."
        )
    ]


def test_nothing_is_said_of_names_before_both_were_read() -> None:
    """A server that is down tells no model, and a gateway that was never asked has no count."""
    assert warned(diagnosed(READ, replace(CHAT, up=False, models=()))) == []
    assert warned(diagnosed(replace(READ, counters=()), CHAT)) == []


def test_tenants_of_no_entry_are_named_here_and_nowhere_else() -> None:
    """Ten are of team other: the line and the note have eight, and how many more. A product is named."""
    counts = (count("llama", tenant_name("Search", "web")), count("llama", "other"))
    names = tuple(f"t{number}" for number in range(9))
    diagnosis = diagnosed(replace(READ, counters=counts, unlisted=names, unlisted_count=10), CHAT)

    listed = "t0, t1, t2, t3, t4, t5, t6, t7 and 2 others"
    assert f"       divides chat between: Search (web), other\n       of team other: {listed}\n" in text(
        diagnosis
    )
    assert warned(diagnosis) == [
        f"gateway {URL}: no entry of `tenants` matches {listed}; their cost is of team other."
    ]
    assert json.loads(as_json(diagnosis))["gateways"][0]["unlisted_count"] == 10


def test_configured_counters_without_a_series_are_named() -> None:
    """One that is misspelled counts nothing; one of two that an embedding server never has is no problem."""
    absent = ("house_tokens_in", 'house_tokens{kind="out"}')

    assert warned(diagnosed(replace(READ, absent=absent), CHAT)) == [
        (
            f'gateway {URL}: its page has no house_tokens_in and no house_tokens{{kind="out"}}: check the '
            "names in `counters`, unless nothing was counted so far."
        )
    ]
