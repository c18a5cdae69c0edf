"""SGLang's names, in versions old and new. Every trap has its test."""

import pytest

from exporter.engines import ENGINES, wanted
from exporter.readings import CounterReading, LoadReading
from tests.engines.conftest import InterpretPage, RecognizePage, values

FINISHED = """sglang:prompt_tokens_total{model_name="m"} 100
sglang:generation_tokens_total{model_name="m"} 40
"""


def test_a_page_before_the_first_request_is_recognized(recognize_page: RecognizePage) -> None:
    """Trap: families of tokens are absent until a request has finished."""
    assert ENGINES["sglang"] is recognize_page('sglang:num_running_reqs{model_name="m",tp_rank="0"} 0')
    assert ENGINES["sglang"].series_appear_late


def test_an_underscore_stands_for_the_colon(recognize_page: RecognizePage) -> None:
    """Trap: prometheus_client 0.23 and later write it so for OpenMetrics."""
    assert ENGINES["sglang"] is recognize_page('sglang_prompt_tokens_total{model_name="m"} 1')


def test_cached_tokens_are_taken_out_of_the_prompt(interpret_page: InterpretPage) -> None:
    """Trap: the prompt counter holds them. Before the first of them there is no such family."""
    assert values(interpret_page("sglang", FINISHED)) == {"prompt": 100.0, "generation": 40.0}
    page = FINISHED + 'sglang:cached_tokens_total{model_name="m"} 30\n'
    assert values(interpret_page("sglang", page)) == {
        "prompt": 70.0,
        "cached_prompt": 30.0,
        "generation": 40.0,
    }


def test_cache_sources_add_up_since_a_request_counts_under_one_kind_of_them(
    interpret_page: InterpretPage,
) -> None:
    """Trap: total stands for requests without details, beside the sources of those that have some."""
    page = FINISHED + "".join(
        f'sglang:cached_tokens_total{{cache_source="{source}",model_name="m"}} {tokens}\n'
        for source, tokens in (("device", 20), ("host", 5), ("storage_file", 3), ("total", 10))
    )
    assert values(interpret_page("sglang", page)) == {
        "prompt": 62.0,
        "cached_prompt": 38.0,
        "generation": 40.0,
    }


def test_live_tokens_are_preferred_to_those_of_finished_requests(interpret_page: InterpretPage) -> None:
    """Trap: counters of finished requests move by a whole answer at its end. One of the two is counted."""
    page = FINISHED + "".join(
        f'sglang:realtime_tokens_total{{mode="{mode}",model_name="m",tp_rank="0"}} {tokens}\n'
        for mode, tokens in (("prefill_compute", 80), ("prefill_cache", 35), ("decode", 44))
    )
    page += 'sglang:cached_tokens_total{cache_source="device",model_name="m"} 30\n'
    assert values(interpret_page("sglang", page)) == {
        "prompt": 80.0,
        "cached_prompt": 35.0,
        "generation": 44.0,
    }


def test_input_of_several_modes_is_not_counted_again() -> None:
    """Trap: prefill_effective_tokens_total, the histograms and the throughput count the same tokens."""
    assert not wanted(ENGINES["sglang"]).names & {
        "sglang:prefill_effective_tokens_total",
        "sglang:dp_cooperation_realtime_tokens_total",
        "sglang:prompt_tokens_histogram_sum",
        "sglang:uncached_prompt_tokens_histogram_sum",
        "sglang:generation_tokens_histogram_sum",
        "sglang:gen_throughput",
        "sglang:request_time_per_output_token_seconds_sum",
        "sglang:routing_key_running_req_count",
    }


def ranks(labels: str, *each: str) -> str:
    return "".join(
        f'sglang:realtime_tokens_total{{mode="decode",model_name="m",{labels},{rank}}} 44\n'
        f'sglang:num_running_reqs{{model_name="m",{labels},{rank}}} 3\n'
        for rank in each
    )


def test_all_schedulers_count_the_same_work_once(interpret_page: InterpretPage) -> None:
    """Trap: with metrics for all schedulers each rank of tensor and pipeline parallelism has a series."""
    page = interpret_page(
        "sglang", ranks('moe_ep_rank="0"', *(f'tp_rank="{t}",pp_rank="{p}"' for t in (0, 1) for p in (0, 1)))
    )
    assert page.counters == (
        CounterReading("realtime_tokens_total{mode=decode,model_name=m}", "m", "generation", 44.0),
    )
    assert page.loads == (LoadReading("m", running=3.0),)


def test_data_parallel_ranks_add_up(interpret_page: InterpretPage) -> None:
    """Trap: with attention in data parallel, rank 0 of tensors is not everyone: each dp_rank works apart."""
    page = interpret_page(
        "sglang", ranks('pp_rank="0"', 'tp_rank="0",dp_rank="0"', 'tp_rank="1",dp_rank="1"')
    )
    assert values(page) == {"generation": 88.0}
    assert [(load.model, load.running) for load in page.loads] == [("m", 6.0)]


def test_a_rank_that_moves_keeps_its_series(interpret_page: InterpretPage) -> None:
    """So that its mark is found again."""
    one = interpret_page("sglang", ranks('pp_rank="0"', 'tp_rank="0"', 'tp_rank="1"'))
    other = interpret_page("sglang", ranks('pp_rank="0"', 'tp_rank="1"'))
    assert one.counters == other.counters


def test_priorities_repeat_what_their_total_holds(interpret_page: InterpretPage) -> None:
    """Trap: with priority scheduling a gauge has a total, of no priority, and a series per priority."""
    page = "".join(
        f'sglang:num_{what}_reqs{{model_name="m",priority="{priority}",tp_rank="0"}} {count}\n'
        for what in ("running", "queue")
        for priority, count in (("", 5), ("0", 3), ("1", 2))
    )
    assert interpret_page("sglang", page).loads == (LoadReading("m", running=5.0, waiting=5.0),)


def test_gauges_of_processes_are_not_added_up(interpret_page: InterpretPage) -> None:
    """Trap: gauges of the multiprocess mode may carry the process that set them."""
    page = "".join(f'sglang:num_running_reqs{{model_name="m",pid="{pid}"}} 4\n' for pid in (10, 11))
    assert interpret_page("sglang", page).loads == (LoadReading("m", running=4.0),)


def test_custom_labels_of_tenants_keep_their_series(interpret_page: InterpretPage) -> None:
    """Tokens by tenant add up, each from its own mark."""
    page = interpret_page(
        "sglang",
        'sglang:generation_tokens_total{model_name="m",tenant="a"} 1\n'
        'sglang:generation_tokens_total{model_name="m",tenant="b"} 2\n',
    )
    assert [(c.series, c.value) for c in page.counters] == [
        ("generation_tokens_total{model_name=m,tenant=a}", 1.0),
        ("generation_tokens_total{model_name=m,tenant=b}", 2.0),
    ]


FIRST = """sglang:time_to_first_token_seconds_sum{is_streaming="true",model_name="m"} 20
sglang:time_to_first_token_seconds_sum{is_streaming="false",model_name="m"} 30
"""
WHOLE = """sglang:e2e_request_latency_seconds_sum{is_streaming="true",model_name="m"} 200
sglang:e2e_request_latency_seconds_sum{is_streaming="false",model_name="m"} 250
sglang:inter_token_latency_seconds_sum{model_name="m"} 180
"""
QUEUE = 'sglang:queue_time_seconds_sum{model_name="m",tp_rank="0"} 20\n'
STAGES = """sglang:per_stage_req_latency_seconds_sum{model_name="m",stage="prefill_waiting",tp_rank="0"} 20
sglang:per_stage_req_latency_seconds_sum{model_name="m",stage="prefill_forward",tp_rank="0"} 29
sglang:per_stage_req_latency_seconds_sum{model_name="m",stage="chunked_prefill",tp_rank="0"} 11
"""
TIMER = """sglang:forward_execution_seconds_total{category="extend",model_name="m",tp_rank="0"} 10
sglang:forward_execution_seconds_total{category="mixed",model_name="m",tp_rank="0"} 2
sglang:forward_execution_seconds_total{category="decode",model_name="m",tp_rank="0"} 30
sglang:forward_execution_seconds_total{category="target_verify",model_name="m",tp_rank="0"} 4
sglang:forward_execution_seconds_total{category="idle",model_name="m",tp_rank="0"} 9
"""


@pytest.mark.parametrize(
    ("page", "seconds"),
    [
        pytest.param(FIRST + WHOLE, {"prefill_seconds": 50, "decode_request_seconds": 400}, id="first-token"),
        pytest.param(
            FIRST + QUEUE + WHOLE,
            {"prefill_seconds": 30, "decode_request_seconds": 400},
            id="less-the-queue",
        ),
        pytest.param(
            FIRST + QUEUE + STAGES + WHOLE,
            {"prefill_seconds": 29, "decode_request_seconds": 400},
            id="stages",
        ),
        pytest.param(
            FIRST + QUEUE + STAGES + WHOLE + TIMER,
            {"prefill_seconds": 12, "decode_seconds": 34},
            id="device-timer",
        ),
        pytest.param(
            FIRST
            + WHOLE
            + TIMER.replace("forward_execution", "gpu_execution")
            .replace('="', '="forward_', 1)
            .replace('category="', 'category="forward_')
            .replace("forward_forward_", "forward_"),
            {"prefill_seconds": 12, "decode_seconds": 34},
            id="device-timer-of-0.5.10",
        ),
    ],
)
def test_seconds_by_phase_are_the_best_that_the_page_has(
    interpret_page: InterpretPage, page: str, seconds: dict[str, float]
) -> None:
    """GPU seconds of the device timer where it runs, else request seconds, of which chunks are a part.

    Trap: seconds between tokens are of streams; answers in one piece took as long, and tell it otherwise.
    """
    assert values(interpret_page("sglang", page)) == seconds


@pytest.mark.parametrize("role", ["prefill", "decode"])
def test_one_of_a_disaggregated_pair_says_which(interpret_page: InterpretPage, role: str) -> None:
    """Trap: both count the prompt. A server that changes its role, or has none, is taken for both."""
    page = FINISHED.replace('"m"', f'"m",engine_type="{role}"')
    assert interpret_page("sglang", page).role == role
    for other in ("unified", "dynamic"):
        assert interpret_page("sglang", page.replace(role, other)).role == ""


def test_what_no_read_may_ask_is_not_asked() -> None:
    """Law: /server_info makes the scheduler answer."""
    requested = {query.path for query in ENGINES["sglang"].metadata_queries}
    assert not requested & {"server_info", "get_server_info"}
    assert ENGINES["sglang"].manual.never_read[0][0] == "/server_info"
