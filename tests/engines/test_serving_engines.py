"""TGI, TensorRT-LLM, LMDeploy, MLC-LLM, Aphrodite and servers of embeddings. Every trap has its test."""

import pytest

from exporter.engines import ENGINES, mistaken_engine, wanted
from exporter.readings import LoadReading
from tests.engines.conftest import InterpretPage, RecognizePage, values


@pytest.mark.parametrize(
    ("engine", "page"),
    [
        ("tgi", "tgi_batch_max_total_tokens 157456"),
        ("tgi", "tgi_queue_size 0"),
        ("tei", "te_queue_size 0"),
        ("trtllm", 'trtllm_model_config_info{model="m",model_name="undefined"} 1'),
        ("lmdeploy", 'lmdeploy:num_requests_running{engine="0",model_name="m"} 0'),
        ("aphrodite", 'aphrodite:num_requests_running{engine="0",model_name="m"} 0'),
        ("mlc", "engine_prefill_time_sum\t0.0"),
        ("infinity", 'http_requests_total{handler="/embeddings",method="POST",status="2xx"} 1'),
        ("infinity", 'http_requests_total{handler="/v1/embeddings_image",method="POST",status="2xx"} 1'),
    ],
)
def test_an_engine_is_recognized_by_one_of_its_names(
    recognize_page: RecognizePage, engine: str, page: str
) -> None:
    """Also before its first token, where something is on the page."""
    assert ENGINES[engine] is recognize_page(page)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            'http_requests_total{handler="/v1/embeddings",method="POST",status="2xx"} 1', id="vllm-too"
        ),
        pytest.param('http_requests_total{handler="/rerank",method="POST",status="2xx"} 1', id="vllm-too-2"),
        pytest.param('http_requests_total{handler="/health",method="GET",status="2xx"} 1', id="any-fastapi"),
        pytest.param('lmdeploy:prompt_tokens_total{engine="0"} 1', id="no-model-name"),
        pytest.param("te_batch_next_size_sum 1\ntgi_x 1", id="other-names"),
        pytest.param('e2e_request_latency_seconds_sum{model_name="m"} 1', id="trtllm-1.1.0rc5"),
        pytest.param("prompt_tokens_sum\t1\nprefill_tokens_sum\t1", id="mlc-without-engine-seconds"),
    ],
)
def test_what_others_write_as_well_tells_no_engine(recognize_page: RecognizePage, page: str) -> None:
    """Trap: every FastAPI program with an instrumentator has http_requests_total."""
    assert recognize_page(page) is None


def test_engines_under_dynamo_are_not_taken_for_servers(recognize_page: RecognizePage) -> None:
    """Trap: a worker of Dynamo's repeats its engine's names."""
    for page in (
        'sglang:prompt_tokens_total{dynamo_component="backend",model_name="m"} 1',
        'trtllm_prompt_tokens_total{dynamo_component="backend",model_name="m"} 1',
    ):
        row = recognize_page(page)
        assert row is not ENGINES["sglang"]
        assert row is not ENGINES["trtllm"]


def test_tgi_has_sums_of_histograms_for_tokens(interpret_page: InterpretPage) -> None:
    """Trap: no counter of tokens, no _total, and cached tokens cannot be told: all are prompt."""
    page = "tgi_request_input_length_sum 900\ntgi_request_generated_tokens_sum 160\n"
    interpretation = interpret_page("tgi", page, model="asked")
    assert values(interpretation) == {"prompt": 900.0, "generation": 160.0}
    assert interpretation.models == ("asked",)


def test_tgi_has_engine_seconds_by_phase(interpret_page: InterpretPage) -> None:
    """They do not overlap. Time for decoding texts and filtering batches is not of the GPU."""
    page = """tgi_batch_forward_duration_sum{method="prefill"} 58
tgi_batch_forward_duration_sum{method="decode"} 364
tgi_batch_inference_duration_sum{method="decode"} 381
tgi_batch_decode_duration_sum{method="decode"} 8
"""
    assert values(interpret_page("tgi", page)) == {"prefill_seconds": 58.0, "decode_seconds": 364.0}
    assert "tgi_request_mean_time_per_token_duration_sum" not in wanted(ENGINES["tgi"]).names
    assert "tgi_request_skipped_tokens_sum" not in wanted(ENGINES["tgi"]).names


TRTLLM = """trtllm_prompt_tokens_total{engine_type="undefined",model_name="undefined"} 100
trtllm_prompt_cached_tokens_total{engine_type="undefined",model_name="undefined"} 30
trtllm_prompt_cache_hit_tokens_total{cache_level="0",cache_tier="gpu",model_name="undefined"} 30
trtllm_generation_tokens_total{engine_type="undefined",model_name="undefined"} 40
"""


def test_trtllm_hits_by_tier_are_not_added_to_cached_tokens(interpret_page: InterpretPage) -> None:
    """Trap: two families count the cached tokens."""
    assert values(interpret_page("trtllm", TRTLLM)) == {
        "prompt": 70.0,
        "cached_prompt": 30.0,
        "generation": 40.0,
    }


def test_trtllm_models_that_are_undefined_are_asked_for(interpret_page: InterpretPage) -> None:
    """Trap: the label says undefined. The asked name comes first, then the one that was loaded."""
    info = 'trtllm_model_config_info{model="org/loaded",model_name="undefined",pid="7"} 1\n'
    assert interpret_page("trtllm", TRTLLM).models == ()
    assert interpret_page("trtllm", TRTLLM + info).models == ("org/loaded",)
    assert interpret_page("trtllm", TRTLLM + info, model="served").models == ("served",)
    named = TRTLLM.replace('model_name="undefined"', 'model_name="told"')
    assert interpret_page("trtllm", named, model="served").models == ("told",)


def test_trtllm_gauges_of_processes_are_not_added_up(interpret_page: InterpretPage) -> None:
    """Trap: every gauge carries a pid."""
    page = 'trtllm_num_requests_running{pid="7"} 14\ntrtllm_num_requests_running{pid="9"} 2\n'
    assert interpret_page("trtllm", page).loads == (LoadReading("", running=14.0),)


def test_trtllm_means_per_request_are_no_decode_time(interpret_page: InterpretPage) -> None:
    """Trap: time_per_output_token is a mean per request; an observation of zero leaves decode out."""
    prefill = 'trtllm_request_prefill_time_seconds_sum{model_name="m"} 60\n'
    decode = 'trtllm_request_decode_time_seconds_sum{model_name="m"} 1379\n'
    mean = 'trtllm_time_per_output_token_seconds_sum{model_name="m"} 6\n'
    assert values(interpret_page("trtllm", prefill + decode + mean)) == {
        "prefill_seconds": 60.0,
        "decode_request_seconds": 1379.0,
    }
    assert values(interpret_page("trtllm", prefill + mean)) == {"prefill_seconds": 60.0}
    assert values(interpret_page("trtllm", decode + mean)) == {}


@pytest.mark.parametrize(
    ("body", "drains"),
    [
        (b'[\n {\n  "gpuMemUsage": 7,\n  "iter": 154,\n  "iterLatencyMS": 7.0}]', True),
        (b"[]", True),
        (b" [ ] \n", True),
        (b"[1, 2]", False),
        (b"", False),
        (b'{"iterLatencyMS": 7.0}', False),
        (b"trtllm_prompt_tokens_total 1\n", False),
    ],
)
def test_trtllm_statistics_that_drain_a_queue_are_known(body: bytes, *, drains: bool) -> None:
    """Trap: /metrics is JSON that is gone once it is read."""
    assert (mistaken_engine(body) is ENGINES["trtllm"]) is drains


def test_lmdeploy_prompts_hold_cached_tokens_that_are_told_at_the_end(interpret_page: InterpretPage) -> None:
    """Trap: the prompt moves at the first token, cached tokens when the request finishes."""
    labels = '{engine="0",model_name="m"}'
    page = f"lmdeploy:prompt_tokens_total{labels} 100\nlmdeploy:cached_tokens_total{labels} 30\n"
    assert values(interpret_page("lmdeploy", page)) == {"prompt": 70.0, "cached_prompt": 30.0}


def test_lmdeploy_names_that_lie_are_not_read() -> None:
    """Traps: a histogram that is called total, and gauges that only grow."""
    assert not wanted(ENGINES["lmdeploy"]).names & {
        "lmdeploy:iteration_tokens_total",
        "lmdeploy:iteration_tokens_total_sum",
        "lmdeploy:num_requests_succeeded",
        "lmdeploy:num_requests_failed",
        "lmdeploy:request_prompt_tokens_sum",
        "lmdeploy:request_cached_tokens_sum",
        "lmdeploy:time_per_output_token_seconds_sum",
    }


def test_mlc_values_stand_behind_a_tab(interpret_page: InterpretPage) -> None:
    """Traps: no exposition; cached tokens are a difference; decode_tokens_sum holds what was rolled back."""
    page = (
        "prompt_tokens_sum\t100\nprefill_tokens_sum\t70\ncompletion_tokens_sum\t40\ndecode_tokens_sum\t55\n"
    )
    interpretation = interpret_page(
        "mlc", page + "decode_time_by_batch_size_mean{batch_size=1}\t0.006\n", model="asked"
    )
    assert values(interpretation) == {"prompt": 70.0, "cached_prompt": 30.0, "generation": 40.0}
    assert interpretation.loads == ()
    assert interpretation.models == ("asked",)


def test_aphrodite_has_the_table_of_vllm() -> None:
    """Under its own prefix: what vLLM's traps are, Aphrodite's are."""
    vllm, aphrodite = ENGINES["vllm"], ENGINES["aphrodite"]
    assert {name.replace("vllm:", "aphrodite:") for name in wanted(vllm).names} == wanted(aphrodite).names
    assert (aphrodite.default_port, aphrodite.prefix) == (2242, "aphrodite:")


def test_tei_generates_nothing_and_counts_a_batch_once(interpret_page: InterpretPage) -> None:
    """Traps: tokens by batch are the same tokens; te_request_count counts a single prediction twice."""
    page = """te_request_input_length_sum 1167381
te_batch_next_tokens_sum 1167380.9999999949
te_request_count{method="single"} 1802
te_request_success{method="single"} 900
te_request_success{method="batch"} 1197
te_embed_count 5200
"""
    assert values(interpret_page("tei", page)) == {"prompt": 1167381.0, "requests": 2097.0}


def test_infinity_counts_requests_and_no_tokens(interpret_page: InterpretPage) -> None:
    """Trap: usage is in responses only. What fails, and what asks for health, is no request."""
    page = "".join(
        f'http_requests_total{{handler="{handler}",method="POST",status="{status}"}} {count}\n'
        for handler, status, count in (
            ("/embeddings", "2xx", 8),
            ("/embeddings", "4xx", 100),
            ("/v1/embeddings_image", "2xx", 2),
            ("/health", "2xx", 100),
            ("none", "2xx", 100),
        )
    )
    assert values(interpret_page("infinity", page)) == {"requests": 10.0}
    assert not ENGINES["infinity"].tokens
