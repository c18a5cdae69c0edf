"""What check-config and the doctor say of service levels."""

from dataclasses import replace

from exporter.config.settings import Config, ConfiguredServer, ServerMatch, ServerRule
from exporter.cost.policy import CostPolicy
from exporter.readings import ServerKey, ServerReading, ServiceLevel
from exporter.reports.diagnosis import DoctorInput, ServerAnswer
from exporter.reports.doctor import diagnose
from exporter.reports.rule_text import rule_words
from exporter.tariff.tariff import Tariff

BOTH = ServiceLevel(first_token_seconds=0.75, per_token_seconds=0.05)
URL = "http://127.0.0.1:8000/metrics"


def findings(*readings: ServerReading) -> list[str]:
    inputs = DoctorInput((), "", tuple(map(ServerAnswer, readings)), "", "")
    return [each.text for each in diagnose(Config(), CostPolicy(Tariff("h1")), inputs, 0).findings]


def reading(engine: str, slo: ServiceLevel | None, *, up: bool = True) -> ServerReading:
    return ServerReading(ServerKey("ml", "chat"), URL, up=up, engine=engine, slo=slo)


def test_an_objective_that_the_engine_does_not_report_is_found_once() -> None:
    """TGI has no histogram of the first token; two replicas are one finding."""
    texts = [text for text in findings(*[reading("tgi", BOTH)] * 2) if "slo" in text]

    assert texts == [
        (
            "server ml/chat has `slo: {first_token_seconds}`, and TGI reports no such latency: its share "
            "stays absent. Remove the key, or measure it at a gateway."
        )
    ]
    assert len([text for text in findings(reading("llamacpp", BOTH)) if "slo" in text]) == 2


def test_a_server_without_a_role_is_found_once() -> None:
    """With what disagrees."""
    doubtful = replace(reading("vllm", None), role_doubt="its page disagrees")

    assert [text for text in findings(doubtful, doubtful) if "role" in text] == [
        (
            "server ml/chat has no role: its page disagrees. Tokens of a disaggregated pair are on both "
            "pages: set `role: prefill` or `role: decode` in `servers`."
        )
    ]


def test_nothing_is_found_where_the_engine_reports_it_or_is_not_known() -> None:
    """One objective alone, no level, and a server that did not answer."""
    for quiet in (
        reading("vllm", BOTH),
        reading("tgi", ServiceLevel(per_token_seconds=0.05)),
        reading("tgi", None),
        reading("tgi", BOTH, up=False),
        reading("", BOTH),
    ):
        assert [text for text in findings(quiet) if "slo" in text] == []


def test_an_entry_says_its_level() -> None:
    """In the words of both kinds of entries."""
    words = "slo (first_token_seconds 0.75, per_token_seconds 0.05, target_ratio 0.99)"

    assert rule_words(ConfiguredServer("chat", URL, None, slo=BOTH)).endswith(f", {words}")
    assert rule_words(ServerRule(ServerMatch(port=8000), slo=BOTH)) == f"match (port 8000), {words}"
