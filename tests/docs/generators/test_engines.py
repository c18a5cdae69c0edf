"""The page of each engine says what is read, and is what the descriptions say."""

import re
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from generators.engines import MEANINGS, documentation, pages

from exporter.engines import ENGINES, wanted
from exporter.engines.gateways import GATEWAYS
from exporter.engines.ollama import OLLAMA
from exporter.readings import Quantity

ROOT = Path(__file__).parents[3]
NAMES = sorted(ENGINES)


PAGES = pages()


@cache
def sections() -> dict[str, str]:
    """What stands on the index, by heading."""
    parts = re.split(r"^## (.+)$", documentation(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_pages_are_what_the_descriptions_say() -> None:
    """The files of docs equal what the generator writes, byte for byte, and there is no other page."""
    docs = ROOT / "docs"

    assert (docs / "engines.md").read_bytes() == documentation().encode()
    assert {page.name: page.read_text(encoding="utf-8") for page in (docs / "engines").iterdir()} == PAGES


@pytest.mark.parametrize("name", ["README.md", "docs/discovery.md"])
def test_readers_are_led_to_it(name: str) -> None:
    """From where servers are found, and from the first page."""
    assert re.search(r"\]\((docs/)?engines\.md\)", (ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_every_series_that_is_read_is_on_the_page(name: str) -> None:
    """On its engine's page, but for those that only tell the engine by their presence."""
    engine = ENGINES[name]
    text = PAGES[f"{name}.md"]
    only_recognized = set(engine.fingerprint.names) - {count.name for count in engine.counts()}
    only_recognized -= {gauge.name for gauge in (*engine.running, *engine.waiting)}
    for series in wanted(engine).names - only_recognized:
        assert re.search(rf"`{re.escape(series)}[`{{]", text), series


@pytest.mark.parametrize("name", NAMES)
def test_every_sentence_for_operators_is_on_the_page(name: str) -> None:
    """Law 6 with them: what a read does, and what is never read."""
    engine = ENGINES[name]
    text = PAGES[f"{name}.md"]
    for sentence in (*engine.manual.deployment, *engine.manual.cannot_tell):
        assert f"\n- {sentence}\n" in text
    assert f"- A read {engine.manual.reading[0].lower()}{engine.manual.reading[1:]}\n" in text
    assert all(f"- Never read: `{path}`, for {why}.\n" in text for path, why in engine.manual.never_read)
    assert all(f"`/{query.path}`" in text for query in engine.metadata_queries)
    assert f":{engine.default_port}{engine.default_path}`" in sections()["At a glance"]
    assert engine.manual.switch in text
    for row in engine.commands:
        if row.metrics == "on":
            assert all(f"`{flag}`" in text for flag in row.metrics_off_flags)


def test_the_source_is_of_the_module_that_describes_the_engine() -> None:
    """Dynamo's module imports SGLang's engine; each page names its own source."""
    assert "- Source: the wheels of 0.4.2 to 0.5.23, srt/metrics/collector.py " in PAGES["sglang.md"]
    assert "- Source: ai-dynamo/dynamo " in PAGES["dynamo.md"]


def test_a_sum_is_written_as_the_engine_is_read() -> None:
    """Worked by hand from SGLang's sources: cached tokens are inside of the prompt counter."""
    text = PAGES["sglang.md"]
    assert (
        "| else `sglang:prompt_tokens_total` | `prompt` "
        "| `sglang:prompt_tokens_total` - `sglang:cached_tokens_total` |\n"
        "|  | `cached_prompt` | `sglang:cached_tokens_total` |\n"
    ) in text
    assert '| `sglang:num_running_reqs` | requests running | `sglang:num_running_reqs{priority=""}` |' in text
    assert '`sglang:forward_execution_seconds_total{category=~"extend\\|mixed\\|split_prefill' in text
    assert (
        '|  | `cached_prompt` | `vllm:prompt_tokens_by_source_total{source!="local_compute"}` |'
        in PAGES["vllm.md"]
    )


def test_the_table_on_top_tells_kinds_and_methods() -> None:
    """Worked by hand: TGI times its batches and tells no cached tokens; embeddings have nothing to split."""
    glance = sections()["At a glance"].splitlines()
    served = "| [TGI](engines/tgi.md) | `tgi` | 3.3.7 | no | `:3000/metrics` | on "
    assert served + "| `prompt`, `generation` | `engine`, `weights` |" in glance
    assert any(
        line.startswith("| [Text Embeddings") and line.endswith("| `prompt` | nothing to split |")
        for line in glance
    )
    assert len([line for line in glance if line.startswith("| [")]) == len(ENGINES)


def test_what_is_not_counted_is_on_the_page() -> None:
    """Gateways with what to read instead, and Ollama."""
    text = PAGES["gateways.md"]
    for gateway in GATEWAYS:
        assert f"| {gateway.title} |" in text
        assert f"| {gateway.remedy} |" in text
    assert OLLAMA.remedy in PAGES["ollama.md"]
    assert set(MEANINGS) == set(get_args(Quantity))
