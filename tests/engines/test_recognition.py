"""Whose page it is: exact names and labels, tried in order."""

import pytest

from exporter.engines import (
    ENGINES,
    EVERYTHING,
    Engine,
    GatewaySpec,
    everything,
    read,
    recognize,
)
from exporter.engines.catalogue import ROWS
from exporter.engines.gateways import GATEWAYS
from exporter.engines.spec import chosen
from tests.engines.conftest import RecognizePage


@pytest.mark.parametrize(
    "page",
    [
        pytest.param('vllm:generation_tokens_total{model_name="m"} 1', id="v0"),
        pytest.param('vllm:generation_tokens_total{engine="0",model_name="m"} 1', id="v1"),
        pytest.param('vllm_generation_tokens_total{model_name="m",engine="0"} 1', id="underscored"),
        pytest.param('vllm:num_requests_running{engine="0",model_name="m"} 1', id="no-token-yet"),
    ],
)
def test_vllm_is_recognized(recognize_page: RecognizePage, page: str) -> None:
    """By names with the label model_name."""
    assert ENGINES["vllm"] is recognize_page(page)


@pytest.mark.parametrize(
    ("page", "title"),
    [
        pytest.param(
            'vllm:num_requests_running{server="http://10.0.0.1:8000"} 1\nvllm:current_qps{server="x"} 2',
            "the vLLM production-stack router",
            id="production-stack",
        ),
        pytest.param(
            'vllm:num_incoming_requests_total{model="m"} 0',
            "the vLLM production-stack router",
            id="production-stack-without-engines",
        ),
        pytest.param(
            'sglang_prompt_tokens_total{model_name="m",worker_addr="http://10.0.0.1:30000"} 1',
            "the SGLang router's collection of its engines",
            id="sglang-engine-metrics",
        ),
        pytest.param(
            'vllm_prompt_tokens_total{engine="0",model_name="m",worker_addr="http://10.0.0.1:8000"} 1',
            "the SGLang router's collection of its engines",
            id="sglang-engine-metrics-of-vllm",
        ),
        pytest.param("sgl_router_requests_total 1", "the SGLang router", id="sglang-router-of-old"),
        pytest.param("smg_router_tokens_total 1", "the SGLang router", id="sglang-router"),
        pytest.param("litellm_in_flight_requests 0", "the LiteLLM proxy", id="litellm"),
        pytest.param(
            'inference_model_request_total{model_name="m"} 1',
            "the Gateway API endpoint picker",
            id="picker-0.3",
        ),
        pytest.param('inference_pool_ready_pods{name="p"} 1', "the Gateway API endpoint picker", id="picker"),
        pytest.param(
            'llm_d_epp_request_total{model_name="m"} 1', "the Gateway API endpoint picker", id="llm-d-router"
        ),
    ],
)
def test_a_gateway_is_no_engine(recognize_page: RecognizePage, page: str, title: str) -> None:
    """Trap: router and engine both show tokens of the same traffic, and both would be added."""
    row = recognize_page(page)
    assert isinstance(row, GatewaySpec)
    assert title == row.title
    assert recognize(read(page.encode(), EVERYTHING)) is None


@pytest.mark.parametrize(
    ("page", "engine"),
    [
        pytest.param('vllm:prompt_tokens_total{model="m",version="1"} 1', "triton", id="triton-vllm"),
        pytest.param(
            'vllm:prompt_tokens_total{dynamo_component="backend",model="m",model_name="m"} 1',
            "dynamo",
            id="dynamo-worker",
        ),
        pytest.param(
            'dynamo_component_requests_total{dynamo_component="backend"} 1', "dynamo", id="dynamo-worker-late"
        ),
        pytest.param(
            'dynamo_frontend_output_tokens_total{model="m"} 1', "dynamo-frontend", id="dynamo-frontend"
        ),
        pytest.param('ray_vllm_prompt_tokens_total{model_name="m"} 1', "ray", id="ray"),
        pytest.param('nv_inference_request_success{model="m",version="1"} 0', "triton", id="triton-plain"),
        pytest.param(
            'nv_trt_llm_request_metrics{model="m",request_type="max",version="1"} 0',
            "triton",
            id="triton-trtllm",
        ),
        pytest.param('num_request_max{model_name="m"} 256', "nim", id="nim"),
        pytest.param('request_predict_seconds_count{model_name="m"} 1', "kserve", id="kserve"),
        pytest.param('api_call_count{method="GET",path="/v1/models"} 1', "localai", id="localai-of-old"),
    ],
)
def test_what_borrows_or_sets_names_is_told_by_its_own(
    recognize_page: RecognizePage, page: str, engine: str
) -> None:
    """Whoever takes over vLLM's names adds labels to them; others have names of their own."""
    assert ENGINES[engine] is recognize_page(page)


def test_what_carries_an_engine_is_taken_for_it(recognize_page: RecognizePage) -> None:
    """NIM 2.x and KServe's vLLM backend show vLLM's page; KServe's own histograms stand on it as well."""
    vllm = 'vllm:generation_tokens_total{engine="0",model_name="m"} 1\n'
    assert ENGINES["vllm"] is recognize_page(vllm + 'request_predict_seconds_count{model_name="m"} 1')
    assert [ENGINES[name].disguises for name in ("nim", "kserve")] == [
        ("vllm", "sglang", "trtllm", "dynamo"),
        ("vllm",),
    ]


def test_every_gateway_says_what_it_is_and_what_to_read_instead() -> None:
    """Whoever reads the message can act on it."""
    for gateway in GATEWAYS:
        assert gateway.title.startswith("the ")
        assert gateway.what.startswith("which ")
        assert gateway.remedy.startswith("read ")
        assert gateway.fingerprint.names
        assert 0 < gateway.default_port < 65536
        assert gateway.default_path.startswith("/")


def test_what_is_said_of_other_engines_names_engines() -> None:
    """An engine that repeats others, or is one in disguise, refers to them by the names they have here."""
    for engine in ENGINES.values():
        assert {*engine.repeats, *engine.disguises} <= ENGINES.keys()
        assert bool(engine.repeats) == bool(engine.instead)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param("", id="empty"),
        pytest.param("<html><body>vllm:prompt_tokens_total</body></html>", id="html"),
        pytest.param('{"vllm:prompt_tokens_total": 1}', id="json"),
        pytest.param('ray_vllm_prompt_tokens{model_name="m"} 1', id="ray-twin"),
        pytest.param('kserve_vllm:prompt_tokens_total{model_name="m"} 1', id="kserve"),
        pytest.param('prompt_tokens_total{model_name="m"} 1\ngeneration_tokens_total 1', id="no-nim"),
        pytest.param("# TYPE vllm:prompt_tokens_total counter\nhttp_requests_total 5", id="comments-only"),
        pytest.param("vllm:prompt_tokens_total 1", id="no-model-name"),
    ],
)
def test_an_unknown_page_is_of_no_engine(recognize_page: RecognizePage, page: str) -> None:
    """Names that end alike are other names."""
    assert recognize_page(page) is None


def test_llamacpp_is_recognized(recognize_page: RecognizePage) -> None:
    """It has no labels at all."""
    assert ENGINES["llamacpp"] is recognize_page("llamacpp:prompt_tokens_total 0")


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


def test_without_described_engines_there_is_one_list_of_names() -> None:
    """A second one would be as large, and made while the first servers are read."""
    assert everything(()) is EVERYTHING
