"""The traps in pages of what runs other engines: Dynamo, Ray Serve, NIM, KServe and LocalAI."""

import pytest

from exporter.engines import ENGINES, Interpretation
from tests.engines.conftest import InterpretPage


def rows(interpretation: Interpretation, *quantities: str) -> list[tuple[str, float]]:
    """Quantity and signed value of each counter of these quantities."""
    return [
        (counter.quantity, counter.sign * counter.value)
        for counter in interpretation.counters
        if counter.quantity in quantities
    ]


def test_prompts_of_dynamo_frontend_include_cached_tokens(interpret_page: InterpretPage) -> None:
    """They are told beside, and come out of the prompts once."""
    page = interpret_page(
        "dynamo-frontend",
        """dynamo_frontend_input_sequence_tokens_sum{model="m"} 1000
dynamo_frontend_cached_tokens_sum{model="m"} 400
dynamo_frontend_output_tokens_total{model="m"} 70
dynamo_frontend_output_sequence_tokens_sum{model="m"} 60
""",
    )
    assert rows(page, "prompt", "cached_prompt", "generation") == [
        ("prompt", 1000.0),
        ("prompt", -400.0),
        ("cached_prompt", 400.0),
        ("generation", 70.0),
    ]


def test_requests_of_dynamo_frontend_that_failed_are_not_counted(interpret_page: InterpretPage) -> None:
    """Trap: their model is whatever the caller wrote, and each would be a row of its own."""
    page = interpret_page(
        "dynamo-frontend",
        """dynamo_frontend_requests_total{error_type="",model="m",status="success"} 9
dynamo_frontend_requests_total{error_type="not_found",model="gpt-9",status="error"} 5
""",
    )
    assert page.models == ("m",)
    assert rows(page, "requests") == [("requests", 9.0)]


def test_a_model_that_nobody_serves_is_no_model_of_dynamo_frontend(interpret_page: InterpretPage) -> None:
    """Trap: it writes gauges of `unknown_model` from the first request for one on."""
    page = interpret_page(
        "dynamo-frontend",
        """dynamo_frontend_inflight_requests{model="m"} 3
dynamo_frontend_inflight_requests{model="unknown_model"} 1
""",
    )
    assert page.models == ("m",)
    assert [(load.model, load.running) for load in page.loads] == [("m", 3.0)]


def test_a_worker_of_dynamo_tells_its_start_by_its_first_series(interpret_page: InterpretPage) -> None:
    """It hands on its engine's families, and those of the process are not among them."""
    of = 'dynamo_component="backend",engine="0",model="m",model_name="m",worker_id="7"'
    page = interpret_page(
        "dynamo",
        f"vllm:prompt_tokens_total{{{of}}} 5\nvllm:prompt_tokens_created{{{of}}} 1795688766.5\n",
    )
    assert (page.identity, page.started) == ("started 1795688766.5", 1_795_688_766_500_000_000)


def test_queued_requests_of_dynamo_frontend_do_not_wait(interpret_page: InterpretPage) -> None:
    """Trap: queued means without a first token, which those in prefill are, too."""
    page = interpret_page(
        "dynamo-frontend",
        """dynamo_frontend_inflight_requests{model="m"} 5
dynamo_frontend_queued_requests{model="m"} 4
""",
    )
    assert [(load.running, load.waiting) for load in page.loads] == [(5.0, None)]


@pytest.mark.parametrize(("component", "role"), [("prefill", "prefill"), ("backend", "")])
def test_the_component_of_a_dynamo_worker_tells_its_role(
    interpret_page: InterpretPage, component: str, role: str
) -> None:
    """Trap: both workers of a pair count the prompt, and a token comes out of prefill as well."""
    page = interpret_page(
        "dynamo", f'vllm:prompt_tokens_total{{dynamo_component="{component}",engine="0",model_name="m"}} 5'
    )
    assert page.role == role


def test_what_dynamo_counts_beside_the_engine_is_left_out(interpret_page: InterpretPage) -> None:
    """Trap: `dynamo_component_*` counts requests again, and LMCache tokens for each of its workers."""
    page = interpret_page(
        "dynamo",
        """dynamo_component_requests_total{dynamo_component="backend",model="m"} 6
lmcache:num_prompt_tokens_total{model_name="m",worker_id="0"} 800
vllm:prompt_tokens_total{dynamo_component="backend",model="m",model_name="m"} 100
vllm:request_success_total{dynamo_component="backend",finished_reason="stop",model="m",model_name="m"} 5
""",
    )
    assert rows(page, "prompt", "requests") == [("prompt", 100.0), ("requests", 5.0)]


def test_counters_of_ray_stand_twice_on_its_page(interpret_page: InterpretPage) -> None:
    """Trap: about 2.48 each has a twin without `_total`."""
    page = interpret_page(
        "ray",
        """ray_vllm_prompt_tokens_total{ReplicaId="a",model_name="m"} 100
ray_vllm_prompt_tokens{ReplicaId="a",model_name="m"} 100
""",
    )
    assert rows(page, "prompt") == [("prompt", 100.0)]


def test_one_page_of_ray_speaks_for_all_replicas_of_a_node(interpret_page: InterpretPage) -> None:
    """Each replica has series of its own, and they add up."""
    page = interpret_page(
        "ray",
        """ray_vllm_generation_tokens_total{ReplicaId="a",WorkerId="1",model_name="m"} 100
ray_vllm_generation_tokens_total{ReplicaId="b",WorkerId="2",model_name="m"} 30
ray_vllm_num_requests_running{ReplicaId="a",WorkerId="1",model_name="m"} 4
ray_vllm_num_requests_running{ReplicaId="b",WorkerId="2",model_name="m"} 3
""",
    )
    assert [(counter.series, counter.value) for counter in page.counters] == [
        ("vllm_generation_tokens_total{ReplicaId=a,WorkerId=1,model_name=m}", 100.0),
        ("vllm_generation_tokens_total{ReplicaId=b,WorkerId=2,model_name=m}", 30.0),
    ]
    assert [load.running for load in page.loads] == [7.0]


def test_what_ray_has_not_counted_yet_is_absent(interpret_page: InterpretPage) -> None:
    """Trap: an increment of zero is skipped, so that a page without counters is no failure."""
    page = interpret_page("ray", 'ray_vllm_num_requests_running{model_name="m"} 0')
    assert (page.counters, page.models) == ((), ("m",))
    assert ENGINES["ray"].series_appear_late


def test_requests_of_nim_are_counted_once(interpret_page: InterpretPage) -> None:
    """Trap: it counts successes, and the same again by the reason of their end."""
    page = interpret_page(
        "nim",
        """request_success_total{model_name="m"} 9
request_finish_total{finished_reason="stop",model_name="m"} 8
request_finish_total{finished_reason="length",model_name="m"} 1
""",
    )
    assert rows(page, "requests") == [("requests", 9.0)]


def test_localai_tells_kinds_by_a_label(interpret_page: InterpretPage) -> None:
    """Another kind that a later version may add is none of ours until it is known."""
    page = interpret_page(
        "localai",
        """localai_tokens_total{kind="prompt",served_model="m",user="a"} 10
localai_tokens_total{kind="completion",served_model="m",user="a"} 3
localai_tokens_total{kind="reasoning",served_model="m",user="a"} 2
""",
    )
    assert rows(page, "prompt", "cached_prompt", "generation") == [("prompt", 10.0), ("generation", 3.0)]


def test_kserve_counts_requests_and_no_tokens(interpret_page: InterpretPage) -> None:
    """Each request is in four histograms, and counted in one."""
    page = interpret_page(
        "kserve",
        """request_preprocess_seconds_count{model_name="m"} 10
request_predict_seconds_count{model_name="m"} 10
request_predict_seconds_sum{model_name="m"} 4.5
request_postprocess_seconds_count{model_name="m"} 10
""",
    )
    assert [(c.model, c.quantity, c.value) for c in page.counters] == [("m", "requests", 10.0)]
    assert not ENGINES["kserve"].tokens


@pytest.mark.parametrize(
    ("engine", "page", "expected"),
    [
        pytest.param(
            "dynamo",
            """sglang:prompt_tokens_total{dynamo_component="backend",model_name="m",tp_rank="0"} 100
sglang:cached_tokens_total{cache_source="device",dynamo_component="backend",model_name="m"} 40
""",
            [("prompt", 100.0), ("prompt", -40.0), ("cached_prompt", 40.0)],
            id="dynamo-sglang",
        ),
        pytest.param(
            "dynamo",
            """trtllm_prompt_tokens_total{dynamo_component="tensorrt_llm",model_name="m"} 100
trtllm_prompt_cached_tokens_total{dynamo_component="tensorrt_llm",model_name="m"} 40
""",
            [("prompt", 100.0), ("prompt", -40.0), ("cached_prompt", 40.0)],
            id="dynamo-trtllm",
        ),
        pytest.param(
            "ray",
            """ray_sglang_realtime_tokens_total{ReplicaId="a",mode="prefill_compute",tp_rank="0"} 60
ray_sglang_realtime_tokens_total{ReplicaId="a",mode="prefill_compute",tp_rank="1"} 60
ray_sglang_realtime_tokens_total{ReplicaId="b",mode="prefill_compute",tp_rank="0"} 5
""",
            [("prompt", 60.0), ("prompt", 5.0)],
            id="ray-sglang",
        ),
    ],
)
def test_the_engine_inside_is_read_by_its_own_rules(
    interpret_page: InterpretPage, engine: str, page: str, expected: list[tuple[str, float]]
) -> None:
    """What holds cached tokens and which ranks repeat each other is the engine's, whoever shows its page."""
    assert rows(interpret_page(engine, page), "prompt", "cached_prompt") == expected
