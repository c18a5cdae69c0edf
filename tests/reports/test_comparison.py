"""What the doctor suggests to compare with: lines that a configuration takes as they are."""

import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from exporter.config import parse
from exporter.config.settings import Config
from exporter.cost.policy import CostPolicy
from exporter.reports.diagnosis import DoctorServer
from exporter.reports.host_findings import comparison_findings
from exporter.tariff.catalogue import CATALOGUE, Catalogue
from exporter.tariff.csv_tables import BUNDLED
from exporter.tariff.hosted import HostedPrice
from exporter.tariff.tariff import Tariff
from tests.reports.test_doctor import HOST

LLAMA = "meta-llama/Llama-3.3-70B-Instruct"


def server(*models: str, name: str = "chat") -> DoctorServer:
    return DoctorServer(name, "http://127.0.0.1:8000/metrics", True, "vllm", models, {}, (0,), "", "")


def suggested(config: Config, *servers: DoctorServer, catalogue: Catalogue = CATALOGUE) -> list[str]:
    policy = CostPolicy(Tariff("h1", catalogue=catalogue))
    actual = list(comparison_findings(replace(HOST, config=config, policy=policy, servers=servers)))
    assert {finding.severity for finding in actual} <= {"note"}
    return [finding.text for finding in actual]


def test_the_cheapest_offers_are_suggested_as_lines_to_add() -> None:
    """Three of them, by prompt and three times generation, with what is known of each."""
    (actual,) = suggested(Config(), server(LLAMA))
    lines = actual.splitlines()

    assert re.match(
        f"model {re.escape(LLAMA)} is compared with no hosted price; "
        r"\d+ offers of it are known, the 3 cheapest providers below \(list prices of ",
        lines[0],
    )
    assert lines[1] == "    compare:"
    assert len(lines) == 2 + 3
    assert all(line.startswith("      - {name: ") for line in lines[2:])


def test_a_configuration_takes_what_is_suggested() -> None:
    """The lines below `compare` are YAML, the offers cover the model, and the doctor is then content."""
    (actual,) = suggested(Config(), server(LLAMA))
    config = parse("\n".join(actual.splitlines()[1:]).encode())

    assert [offer.covers("chat", LLAMA) for offer in config.compare] == [True] * 3
    assert all(offer.prompt > 0 < offer.generation and offer.as_of for offer in config.compare)
    assert suggested(config, server(LLAMA)) == []


@pytest.mark.parametrize("model", ["tiny", "", "a*b", 'q"uote', "back\\slash"])
def test_a_model_that_nobody_offers_or_no_pattern_can_name_gets_no_suggestion(model: str) -> None:
    """Silence, not a guess."""
    assert suggested(Config(), server(model)) == []


def test_a_model_that_is_compared_already_needs_none() -> None:
    """By any offer that covers it, under this server's name."""
    mine = HostedPrice("mine", Decimal(1), Decimal(1), model="*70B*", server="chat")

    assert suggested(Config(compare=(mine,)), server(LLAMA)) == []
    assert len(suggested(Config(compare=(mine,)), server(LLAMA, name="batch"))) == 1


def test_a_damaged_table_suggests_nothing(tmp_path: Path) -> None:
    """That it is damaged is told elsewhere."""
    (tmp_path / "hosted.csv").write_text("", encoding="utf-8")

    assert suggested(Config(), server(LLAMA), catalogue=Catalogue(tmp_path)) == []


@pytest.mark.nightly
def test_every_bundled_offer_can_be_configured() -> None:
    """No price has more decimals than `compare` takes: each suggested line is one that is accepted."""
    table = (BUNDLED / "hosted.csv").read_text(encoding="utf-8").splitlines()
    models = {line.split(",")[1] for line in table if not line.startswith("#")}
    # A name occurs once in a file; two models may have offers of one name.
    files: list[dict[str, str]] = []
    for finding in suggested(Config(), *(server(model, name=model) for model in sorted(models))):
        for line in finding.splitlines()[2:]:
            name = line.partition("name: ")[2].partition(",")[0]
            file = next((each for each in files if name not in each), None)
            if file is None:
                files.append(file := {})
            file[name] = line
    for file in files:
        config = parse("\n".join(["compare:", *file.values()]).encode())
        assert [offer.reference for offer in config.compare] == list(file)
