"""Whose page it is: exact names and labels, tried in order."""

from collections.abc import Callable

import pytest

from exporter.engines import ENGINES, EVERYTHING, Engine, Foreign, read, recognize
from exporter.engines.catalogue import ROWS
from exporter.engines.spec import chosen

Seen = Callable[[str], object]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param('vllm:generation_tokens_total{model_name="m"} 1', id="v0"),
        pytest.param('vllm:generation_tokens_total{engine="0",model_name="m"} 1', id="v1"),
        pytest.param('vllm_generation_tokens_total{model_name="m",engine="0"} 1', id="underscored"),
        pytest.param('vllm:num_requests_running{engine="0",model_name="m"} 1', id="no-token-yet"),
    ],
)
def test_vllm_is_recognized(seen: Seen, page: str) -> None:
    """By names with the label model_name."""
    assert ENGINES["vllm"] is seen(page)


@pytest.mark.parametrize(
    ("page", "title"),
    [
        pytest.param(
            'vllm:num_requests_running{server="http://10.0.0.1:8000"} 1\nvllm:current_qps{server="x"} 2',
            "a production-stack router",
            id="router",
        ),
        pytest.param(
            'vllm:prompt_tokens_total{model="m",version="1"} 1', "Triton's vLLM backend", id="triton"
        ),
        pytest.param(
            'vllm:prompt_tokens_total{dynamo_component="backend",model="m",model_name="m"} 1',
            "a Dynamo worker",
            id="dynamo-worker",
        ),
    ],
)
def test_what_borrows_the_names_of_vllm_is_not_taken_for_it(seen: Seen, page: str, title: str) -> None:
    """Trap: a router repeats its engines' numbers, and both would be added."""
    row = seen(page)
    assert isinstance(row, Foreign)
    assert title == row.title
    assert recognize(read(page.encode(), EVERYTHING)) is None


@pytest.mark.parametrize(
    "page",
    [
        pytest.param("", id="empty"),
        pytest.param("<html><body>vllm:prompt_tokens_total</body></html>", id="html"),
        pytest.param('{"vllm:prompt_tokens_total": 1}', id="json"),
        pytest.param('aphrodite:prompt_tokens_total{model_name="m"} 1', id="aphrodite"),
        pytest.param('ray_vllm_prompt_tokens_total{model_name="m"} 1', id="ray"),
        pytest.param('kserve_vllm:prompt_tokens_total{model_name="m"} 1', id="kserve"),
        pytest.param('prompt_tokens_total{model_name="m"} 1\ngeneration_tokens_total 1', id="nim"),
        pytest.param('lmdeploy:prompt_tokens_total{model_name="m"} 1', id="lmdeploy"),
        pytest.param("# TYPE vllm:prompt_tokens_total counter\nhttp_requests_total 5", id="comments-only"),
        pytest.param("vllm:prompt_tokens_total 1", id="no-model-name"),
    ],
)
def test_an_unknown_page_is_of_no_engine(seen: Seen, page: str) -> None:
    """Names that end alike are other names."""
    assert seen(page) is None


def test_llamacpp_is_recognized(seen: Seen) -> None:
    """It has no labels at all."""
    assert ENGINES["llamacpp"] is seen("llamacpp:prompt_tokens_total 0")


def test_engines_are_told_apart_by_name() -> None:
    """A name is what configuration says and what `inference_server_info` shows."""
    engines = [row for row in ROWS if isinstance(row, Engine)]
    assert len(engines) == len(ENGINES)
    for engine in engines:
        assert engine.fingerprint.names
        assert all(count.name.startswith(engine.prefix) for count in engine.counts())
        assert 0 < engine.default_port < 65536
        assert engine.default_path.startswith("/")


def test_a_choice_takes_a_missing_label_for_an_empty_one() -> None:
    """So that one table reads versions with and without a label."""
    choice = (("cache_source", ("total", "")),)
    assert [
        chosen(labels, choice) for labels in ({}, {"cache_source": "total"}, {"cache_source": "device"})
    ] == [True, True, False]
