"""Offers of hosts for the model that we serve, by its name."""

from decimal import Decimal

import pytest

from exporter.tariff.catalogue import CATALOGUE
from exporter.tariff.hosted import words


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("meta-llama/Llama-3.3-70B-Instruct", "meta.llama3-3-70b-instruct-v1:0"),
        ("meta-llama/Llama-3.3-70B-Instruct", "accounts/fireworks/models/llama-v3p3-70b-instruct"),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama-3.3-70b-versatile"),
        ("RedHatAI/Llama-3.3-70B-Instruct-quantized.w8a8", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        ("hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4", "meta-llama/llama-3.1-8b-instruct"),
        ("Qwen/Qwen3-32B-FP8", "qwen.qwen3-32b-v1:0"),
        ("qwen2.5-7b-instruct-q4_k_m.gguf", "Qwen/Qwen2.5-7B-Instruct-Turbo"),
        ("openai/gpt-oss-120b", "openai.gpt-oss-120b-1:0"),
        ("deepseek-ai/DeepSeek-V3.2", "accounts/fireworks/models/deepseek-v3p2"),
        ("/models/Kimi-K2.6", "moonshotai.kimi-k2.6"),
    ],
)
def test_one_model_under_two_names_is_one(ours: str, theirs: str) -> None:
    """How and by whom it is served does not count."""
    assert words(ours) == words(theirs)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("meta-llama/Llama-3.3-70B-Instruct", "meta-llama/Meta-Llama-3-70B-Instruct"),
        ("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-70B-Instruct"),
        ("Qwen/Qwen3-235B-A22B", "Qwen/Qwen3-235B-A22B-Instruct-2507"),
        ("Qwen/Qwen3-30B-A3B", "Qwen/Qwen3-Coder-30B-A3B-Instruct"),
        ("openai/gpt-oss-20b", "openai/gpt-oss-120b"),
        ("deepseek-ai/DeepSeek-R1", "deepseek-ai/DeepSeek-R1-Distill-Llama-70B"),
    ],
)
def test_another_version_size_or_date_is_another_model(ours: str, theirs: str) -> None:
    """Nothing is suggested that is not the same weights by its name."""
    assert words(ours) != words(theirs)


def test_offers_come_with_price_provider_and_source_cheapest_first() -> None:
    """By prompt + 3 x generation: Turbo 0.10 + 0.96, Nebius 0.13 + 1.20, Novita 0.135 + 1.20, ..."""
    actual = CATALOGUE.hosted("meta-llama/Llama-3.3-70B-Instruct")

    assert [(offer.provider, offer.prompt, offer.generation) for offer in actual[:4]] == [
        ("deepinfra", Decimal("0.1"), Decimal("0.32")),
        ("nebius", Decimal("0.13"), Decimal("0.4")),
        ("novita", Decimal("0.135"), Decimal("0.4")),
        ("deepinfra", Decimal("0.23"), Decimal("0.4")),
    ]
    assert len(actual) == 8
    assert {offer.as_of for offer in actual} == {"2026-11-25"}
    assert {CATALOGUE.source(offer.source) for offer in actual} == {("litellm 1.110.2", "2026-11-25")}


def test_a_discount_for_cached_tokens_is_known_where_there_is_one() -> None:
    """Groq's for gpt-oss-120b is half; where none is listed it is unknown."""
    offers = {offer.provider: offer for offer in CATALOGUE.hosted("gpt-oss-120b")}

    assert offers["groq"].cached_prompt == Decimal("0.075")
    assert offers["cerebras"].cached_prompt is None


@pytest.mark.parametrize("name", ["tiny", "", "/", "instruct", "x" * 5000, "my-own-model-7b"])
def test_a_model_that_nobody_hosts_has_no_offers(name: str) -> None:
    """Nor one whose name says nothing."""
    assert CATALOGUE.hosted(name) == ()
