"""The page of engines says of each what is read, and is what the descriptions say."""

import re
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from generators.engines import MEANINGS, documentation

from exporter.engines import ENGINES, wanted
from exporter.engines.gateways import GATEWAYS
from exporter.engines.ollama import OLLAMA
from exporter.readings import Quantity

ROOT = Path(__file__).parents[3]
NAMES = sorted(ENGINES)


@cache
def sections() -> dict[str, str]:
    """What stands on the page, by heading."""
    parts = re.split(r"^## (.+)$", documentation(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def section(title: str) -> str:
    """What stands on the page under a heading."""
    return sections()[title]


def test_the_page_is_what_the_descriptions_say() -> None:
    """docs/engines.md equals the generator's page, byte for byte."""
    assert (ROOT / "docs" / "engines.md").read_bytes() == documentation().encode()


@pytest.mark.parametrize("name", ["README.md", "docs/discovery.md"])
def test_readers_are_led_to_it(name: str) -> None:
    """From where servers are found, and from the first page."""
    assert re.search(r"\]\((docs/)?engines\.md\)", (ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_every_series_that_is_read_is_on_the_page(name: str) -> None:
    """In its engine's section, but for those that only tell the engine by their presence."""
    engine = ENGINES[name]
    text = section(engine.manual.title)
    only_recognized = set(engine.fingerprint.names) - {count.name for count in engine.counts()}
    only_recognized -= {gauge.name for gauge in (*engine.running, *engine.waiting)}
    for series in wanted(engine).names - only_recognized:
        assert re.search(rf"`{re.escape(series)}[`{{]", text), series


@pytest.mark.parametrize("name", NAMES)
def test_every_sentence_for_operators_is_on_the_page(name: str) -> None:
    """Law 6 with them: what a read does, and what is never read."""
    engine = ENGINES[name]
    text = section(engine.manual.title)
    for sentence in (*engine.manual.deployment, *engine.manual.cannot_tell):
        assert f"\n- {sentence}\n" in text
    assert f"- A read {engine.manual.reading[0].lower()}{engine.manual.reading[1:]}\n" in text
    assert all(f"- Never read: `{path}`, for {why}.\n" in text for path, why in engine.manual.never_read)
    assert all(f"`/{query.path}`" in text for query in engine.metadata_queries)
    assert f":{engine.default_port}{engine.default_path}`" in section("At a glance")
    assert engine.manual.switch in text
    for row in engine.commands:
        if row.metrics == "on":
            assert all(f"`{flag}`" in text for flag in row.metrics_off_flags)


def test_a_sum_is_written_as_the_engine_is_read() -> None:
    """Worked by hand from SGLang's sources: cached tokens are inside of the prompt counter."""
    text = section("SGLang")
    assert (
        "| else `sglang:prompt_tokens_total` | `prompt` "
        "| `sglang:prompt_tokens_total` - `sglang:cached_tokens_total` |\n"
        "|  | `cached_prompt` | `sglang:cached_tokens_total` |\n"
    ) in text
    assert '| `sglang:num_running_reqs` | requests running | `sglang:num_running_reqs{priority=""}` |' in text
    assert '`sglang:forward_execution_seconds_total{category=~"extend\\|mixed\\|split_prefill' in text
    assert (
        '|  | `cached_prompt` | `vllm:prompt_tokens_by_source_total{source!="local_compute"}` |'
        in section("vLLM")
    )


def test_the_table_on_top_tells_kinds_and_methods() -> None:
    """Worked by hand: TGI times its batches and tells no cached tokens; embeddings have nothing to split."""
    glance = section("At a glance").splitlines()
    served = "| [TGI](#tgi) | `tgi` | 3.3.7 | no | `:3000/metrics` | on "
    assert served + "| `prompt`, `generation` | `engine`, `weights` |" in glance
    assert any(
        line.startswith("| [Text Embeddings") and line.endswith("| `prompt` | nothing to split |")
        for line in glance
    )
    assert len([line for line in glance if line.startswith("| [")]) == len(ENGINES)


def test_what_is_not_counted_is_on_the_page() -> None:
    """Gateways with what to read instead, and Ollama."""
    text = section("Gateways")
    for gateway in GATEWAYS:
        assert f"| {gateway.title} |" in text
        assert f"| {gateway.remedy} |" in text
    assert OLLAMA.remedy in section("Ollama")
    assert set(MEANINGS) == set(get_args(Quantity))
