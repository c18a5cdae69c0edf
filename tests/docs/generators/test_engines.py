"""The page of each engine says what is read, and is what the descriptions say."""

import re
from pathlib import Path

import pytest
from generators.engines import pages

from exporter.engines import ENGINES, wanted

ROOT = Path(__file__).parents[3]
NAMES = sorted(ENGINES)


PAGES = pages()


@pytest.mark.parametrize("name", NAMES)
def test_every_series_that_is_read_is_on_the_page(name: str) -> None:
    """On its engine's page, but for those that only tell the engine by their presence."""
    engine = ENGINES[name]
    text = PAGES[f"{name}.md"]
    only_recognized = set(engine.fingerprint.names) - {count.name for count in engine.counts()}
    only_recognized -= {gauge.name for gauge in (*engine.running, *engine.waiting)}
    for series in wanted(engine).names - only_recognized:
        assert re.search(rf"`{re.escape(series)}[`{{]", text), series


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
