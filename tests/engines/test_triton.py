"""The traps in Triton's page, and in those of its backends."""

from exporter.engines import Interpretation
from tests.engines.conftest import InterpretPage

LLM = 'model="tensorrt_llm",version="1"'


def counted(interpretation: Interpretation) -> dict[tuple[str, str], float]:
    """Model and quantity of each counter, added up."""
    sums: dict[tuple[str, str], float] = {}
    for counter in interpretation.counters:
        key = counter.model, counter.quantity
        sums[key] = sums.get(key, 0.0) + counter.sign * counter.value
    return sums


def test_an_ensemble_counts_a_request_once(interpret_page: InterpretPage) -> None:
    """Trap: Triton counts it for the ensemble and for each of its members."""
    members = ("ensemble", "preprocessing", "tensorrt_llm", "postprocessing")
    requests = "".join(f'nv_inference_request_success{{model="{name}",version="1"}} 7\n' for name in members)
    page = interpret_page(
        "triton",
        f"""{requests}nv_llm_input_token_len_sum{{response_metric_type="total_input_tokens",{LLM}}} 900
nv_llm_output_token_len_sum{{response_metric_type="total_output_tokens",{LLM}}} 300
nv_llm_output_token_len_count{{response_metric_type="total_output_tokens",{LLM}}} 7
""",
    )
    assert counted(page) == {
        ("tensorrt_llm", "prompt"): 900.0,
        ("tensorrt_llm", "generation"): 300.0,
        ("tensorrt_llm", "requests"): 7.0,
    }


def test_requests_of_an_ensemble_do_not_wait_for_its_first_token(interpret_page: InterpretPage) -> None:
    """Trap: histograms appear with the first request, and until then Triton's counter would stand in."""
    page = interpret_page(
        "triton",
        f"""nv_inference_request_success{{model="ensemble",version="1"}} 1
nv_inference_request_success{{{LLM}}} 1
nv_trt_llm_request_metrics{{request_type="scheduled",{LLM}}} 1
nv_trt_llm_request_metrics{{request_type="waiting",{LLM}}} 3
nv_trt_llm_request_metrics{{request_type="active",{LLM}}} 4
nv_trt_llm_request_metrics{{request_type="max",{LLM}}} 512
""",
    )
    assert page.counters == ()
    assert [(load.model, load.running, load.waiting) for load in page.loads] == [("tensorrt_llm", 1.0, 3.0)]


def test_models_without_tokens_have_requests(interpret_page: InterpretPage) -> None:
    """What is pending is a gauge, though its name ends in count; durations in microseconds are not read."""
    page = interpret_page(
        "triton",
        """nv_inference_request_success{model="resnet",version="1"} 40
nv_inference_request_success{model="resnet",version="2"} 2
nv_inference_request_duration_us{model="resnet",version="1"} 123456
nv_inference_pending_request_count{model="resnet",version="1"} 5
nv_inference_pending_request_count{model="resnet",version="2"} 1
""",
    )
    assert counted(page) == {("resnet", "requests"): 42.0}
    assert [(load.running, load.waiting) for load in page.loads] == [(None, 6.0)]


def test_older_vllm_backends_tell_times_of_tokens_only(interpret_page: InterpretPage) -> None:
    """Phases are then told by the first token and the ones after it; nothing tells running requests."""
    labels = 'model="llama",version="1"'
    page = interpret_page(
        "triton",
        f"""vllm:prompt_tokens_total{{{labels}}} 600
vllm:generation_tokens_total{{{labels}}} 130
vllm:time_to_first_token_seconds_sum{{{labels}}} 9.5
vllm:time_per_output_token_seconds_sum{{{labels}}} 39.25
vllm:e2e_request_latency_seconds_count{{{labels}}} 5
nv_inference_request_success{{{labels}}} 5
""",
    )
    assert counted(page) == {
        ("llama", "prompt"): 600.0,
        ("llama", "generation"): 130.0,
        ("llama", "prefill_seconds"): 9.5,
        ("llama", "decode_request_seconds"): 39.25,
        ("llama", "requests"): 5.0,
    }
    assert page.loads == ()


def test_both_backends_on_one_page_are_both_counted(interpret_page: InterpretPage) -> None:
    """They serve different models."""
    page = interpret_page(
        "triton",
        f"""vllm:prompt_tokens_total{{model="llama",version="1"}} 600
vllm:generation_tokens_total{{model="llama",version="1"}} 130
vllm:e2e_request_latency_seconds_count{{model="llama",version="1"}} 5
nv_llm_input_token_len_sum{{{LLM}}} 900
nv_llm_output_token_len_sum{{{LLM}}} 300
nv_llm_output_token_len_count{{{LLM}}} 7
""",
    )
    assert counted(page) == {
        ("llama", "prompt"): 600.0,
        ("llama", "generation"): 130.0,
        ("llama", "requests"): 5.0,
        ("tensorrt_llm", "prompt"): 900.0,
        ("tensorrt_llm", "generation"): 300.0,
        ("tensorrt_llm", "requests"): 7.0,
    }
