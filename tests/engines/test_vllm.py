"""vLLM's names through its versions, and the traps in them."""

import pytest

from exporter.engines import ENGINES, Interpretation, wanted
from tests.engines.conftest import InterpretPage

M = 'model_name="m"'


def rows(interpretation: Interpretation, *quantities: str) -> set[tuple[str, str, float]]:
    """Series, quantity and signed value of each counter of these quantities."""
    return {
        (counter.series, counter.quantity, counter.sign * counter.value)
        for counter in interpretation.counters
        if counter.quantity in quantities
    }


def test_sources_tell_computed_from_cached(interpret_page: InterpretPage) -> None:
    """Trap: the prompt counter includes cached tokens, and adding them counts them twice (vLLM #56361).

    Since 0.16.0 computed tokens stand alone; what came from a cache or another engine is cached, whatever
    source later versions name.
    """
    page = interpret_page(
        "vllm",
        f"""vllm:prompt_tokens_total{{{M}}} 100
vllm:prompt_tokens_by_source_total{{{M},source="local_compute"}} 60
vllm:prompt_tokens_by_source_total{{{M},source="local_cache_hit"}} 30
vllm:prompt_tokens_by_source_total{{{M},source="external_kv_transfer"}} 9
vllm:prompt_tokens_by_source_total{{{M},source="not_invented_yet"}} 1
vllm:prefix_cache_hits_total{{{M}}} 30
""",
    )
    name = "prompt_tokens_by_source_total{model_name=m,source="
    assert {
        (name + "local_compute}", "prompt", 60.0),
        (name + "local_cache_hit}", "cached_prompt", 30.0),
        (name + "external_kv_transfer}", "cached_prompt", 9.0),
        (name + "not_invented_yet}", "cached_prompt", 1.0),
    } == rows(page, "prompt", "cached_prompt")


def test_trap_f4_cache_hits_are_tokens_and_taken_out_once(interpret_page: InterpretPage) -> None:
    """From 0.9.2 to 0.10.2 two families hold the same hits: one is taken, as tokens and not as blocks."""
    page = interpret_page(
        "vllm",
        f"""vllm:prompt_tokens_total{{{M}}} 1000
vllm:prefix_cache_hits_total{{{M}}} 160
vllm:gpu_prefix_cache_hits_total{{{M}}} 160
""",
    )
    assert {
        ("prompt_tokens_total{model_name=m}", "prompt", 1000.0),
        ("prefix_cache_hits_total{model_name=m}", "prompt", -160.0),
        ("prefix_cache_hits_total{model_name=m}", "cached_prompt", 160.0),
    } == rows(page, "prompt", "cached_prompt")


def test_hits_of_a_connector_are_taken_out_as_well(interpret_page: InterpretPage) -> None:
    """From 0.11.2 to 0.15 tokens from another engine's cache are counted apart from the local hits."""
    page = interpret_page(
        "vllm",
        f"""vllm:prompt_tokens_total{{{M}}} 1000
vllm:prefix_cache_hits_total{{{M}}} 160
vllm:external_prefix_cache_hits_total{{{M}}} 40
""",
    )
    assert sum(value for _, _, value in rows(page, "prompt")) == 800.0
    assert sum(value for _, _, value in rows(page, "cached_prompt")) == 200.0


def test_hits_under_their_old_name_are_taken_out(interpret_page: InterpretPage) -> None:
    """V1 of 0.7.3 to 0.9.1."""
    page = interpret_page(
        "vllm", f"vllm:prompt_tokens_total{{{M}}} 1000\nvllm:gpu_prefix_cache_hits_total{{{M}}} 160\n"
    )
    assert {
        ("prompt_tokens_total{model_name=m}", "prompt", 1000.0),
        ("gpu_prefix_cache_hits_total{model_name=m}", "prompt", -160.0),
        ("gpu_prefix_cache_hits_total{model_name=m}", "cached_prompt", 160.0),
    } == rows(page, "prompt", "cached_prompt")


def test_without_hits_all_prompt_tokens_are_prompt(interpret_page: InterpretPage) -> None:
    """V0 tells a hit rate only; cached tokens are then absent, not zero."""
    page = interpret_page(
        "vllm", f"vllm:prompt_tokens_total{{{M}}} 1000\nvllm:gpu_prefix_cache_hit_rate{{{M}}} 0.5\n"
    )
    assert {("prompt_tokens_total{model_name=m}", "prompt", 1000.0)} == rows(page, "prompt", "cached_prompt")


def test_a_damaged_line_does_not_change_the_way_of_counting(interpret_page: InterpretPage) -> None:
    """Else the whole prompt counter would be new, and be counted from zero beside what was counted."""
    page = interpret_page(
        "vllm",
        f"""vllm:prompt_tokens_total{{{M}}} 100
vllm:prompt_tokens_by_source_total{{{M},source="local_compute"}} damaged
vllm:generation_tokens_total{{{M}}} 7
""",
    )
    assert set() == rows(page, "prompt", "cached_prompt")
    assert {("generation_tokens_total{model_name=m}", "generation", 7.0)} == rows(page, "generation")


def test_trap_f1_decode_seconds_are_decode_time_and_never_a_mean_per_token(
    interpret_page: InterpretPage,
) -> None:
    """Trap F1: request_time_per_output_token_seconds is a mean per request, 127 to 1,221 times too low."""
    page = interpret_page(
        "vllm",
        f"""vllm:request_prefill_time_seconds_sum{{{M}}} 10
vllm:request_decode_time_seconds_sum{{{M}}} 500
vllm:request_time_per_output_token_seconds_sum{{{M}}} 3
vllm:inter_token_latency_seconds_sum{{{M}}} 501
vllm:time_per_output_token_seconds_sum{{{M}}} 502
vllm:time_to_first_token_seconds_sum{{{M}}} 12
""",
    )
    seconds = ("prefill_seconds", "decode_seconds", "decode_request_seconds")
    assert {
        ("request_prefill_time_seconds_sum{model_name=m}", "prefill_seconds", 10.0),
        ("request_decode_time_seconds_sum{model_name=m}", "decode_request_seconds", 500.0),
    } == rows(page, *seconds)
    assert not [name for name in wanted(ENGINES["vllm"]).names if "request_time_per_output_token" in name]


def test_before_0_6_6_seconds_come_from_the_first_token_and_the_following(
    interpret_page: InterpretPage,
) -> None:
    """Time to the first token less the time in the queue; time per output token, which is per token there."""
    page = interpret_page(
        "vllm",
        f"""vllm:time_to_first_token_seconds_sum{{{M}}} 12
vllm:request_queue_time_seconds_sum{{{M}}} 2
vllm:time_per_output_token_seconds_sum{{{M}}} 500
""",
    )
    assert {
        ("time_to_first_token_seconds_sum{model_name=m}", "prefill_seconds", 12.0),
        ("request_queue_time_seconds_sum{model_name=m}", "prefill_seconds", -2.0),
        ("time_per_output_token_seconds_sum{model_name=m}", "decode_request_seconds", 500.0),
    } == rows(page, "prefill_seconds", "decode_request_seconds")


def test_iteration_tokens_total_is_a_histogram_and_no_counter(interpret_page: InterpretPage) -> None:
    """Trap: its name ends in _total, and its _total_sum holds prompt and generation together."""
    page = interpret_page(
        "vllm",
        f"""vllm:iteration_tokens_total_bucket{{{M},le="1.0"}} 4
vllm:iteration_tokens_total_sum{{{M}}} 900
vllm:iteration_tokens_total_count{{{M}}} 9
vllm:iteration_tokens_total{{{M}}} 900
vllm:generation_tokens_total{{{M}}} 5
""",
    )
    assert [(c.series, c.value) for c in page.counters] == [("generation_tokens_total{model_name=m}", 5.0)]


def test_trap_f5_a_colon_in_a_model_name_stays(interpret_page: InterpretPage) -> None:
    """Trap F5: a key that is split at its first colon loses models such as qwen2.5:7b."""
    page = interpret_page("vllm", 'vllm:generation_tokens_total{model_name="qwen2.5:7b"} 5\n')
    assert page.models == ("qwen2.5:7b",)
    assert page.counters[0].series == "generation_tokens_total{model_name=qwen2.5:7b}"


def test_all_finished_reasons_are_requests(interpret_page: InterpretPage) -> None:
    """An aborted request was served until then."""
    page = interpret_page(
        "vllm",
        "".join(
            f'vllm:request_success_total{{{M},finished_reason="{reason}"}} {number}\n'
            for reason, number in (("stop", 5), ("length", 3), ("abort", 1), ("error", 0))
        ),
    )
    assert sum(value for _, _, value in rows(page, "requests")) == 9.0
    assert len(rows(page, "requests")) == 4


def test_ranks_of_one_engine_are_series_of_their_own(interpret_page: InterpretPage) -> None:
    """Data-parallel ranks restart apart from each other; their loads add up."""
    page = interpret_page(
        "vllm",
        f"""vllm:generation_tokens_total{{engine="0",{M}}} 5
vllm:generation_tokens_total{{engine="1",{M}}} 6
vllm:num_requests_running{{engine="0",{M}}} 2
vllm:num_requests_running{{engine="1",{M}}} 3
vllm:num_requests_waiting{{engine="0",{M}}} NaN
vllm:num_requests_waiting{{engine="1",{M}}} 1
""",
    )
    assert {
        ("generation_tokens_total{engine=0,model_name=m}", "generation", 5.0),
        ("generation_tokens_total{engine=1,model_name=m}", "generation", 6.0),
    } == rows(page, "generation")
    assert [(load.model, load.running, load.waiting) for load in page.loads] == [("m", 5.0, 1.0)]


def test_the_rust_frontend_is_read(interpret_page: InterpretPage) -> None:
    """OpenMetrics whatever was asked for, model_name before engine, integers, no process start."""
    page = interpret_page(
        "vllm",
        """# HELP vllm:generation_tokens Number of generation tokens processed..
# TYPE vllm:generation_tokens counter
vllm:generation_tokens_total{model_name="m",engine="0"} 211
# EOF
""",
    )
    assert {("generation_tokens_total{engine=0,model_name=m}", "generation", 211.0)} == rows(
        page, "generation"
    )
    assert (page.identity, page.started) == ("", None)


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "-1"])
def test_impossible_values_are_no_readings(interpret_page: InterpretPage, value: str) -> None:
    """A counter is finite and not negative; anything else is as if it were not told."""
    page = interpret_page(
        "vllm", f"vllm:generation_tokens_total{{{M}}} {value}\nvllm:num_requests_running{{{M}}} {value}\n"
    )
    assert (page.counters, page.loads) == ((), ())


def test_the_process_start_is_the_identity(interpret_page: InterpretPage) -> None:
    """In seconds on the page, in nanoseconds inside; counted before _created, which is a little later."""
    page = interpret_page(
        "vllm",
        f"process_start_time_seconds 1.5e9\nvllm:prompt_tokens_created{{{M}}} 1.6e9\n",
    )
    assert (page.identity, page.started) == ("started 1500000000.0", 1_500_000_000_000_000_000)


def test_without_a_process_start_the_oldest_created_series_is_the_identity(
    interpret_page: InterpretPage,
) -> None:
    """A rank's series may be made later than the others', and that is no restart."""
    page = interpret_page(
        "vllm",
        f"""vllm:prompt_tokens_created{{engine="1",{M}}} 1.6e9
vllm:prompt_tokens_created{{engine="0",{M}}} 1.5e9
""",
    )
    assert (page.identity, page.started) == ("started 1500000000.0", 1_500_000_000_000_000_000)


@pytest.mark.parametrize("value", ["NaN", "+Inf", "0", "-5", "1e300", "damaged"])
def test_an_impossible_start_makes_no_identity(interpret_page: InterpretPage, value: str) -> None:
    """Rather than another one: a changed identity would be a restart, and count everything again."""
    page = interpret_page(
        "vllm", f"process_start_time_seconds {value}\nvllm:prompt_tokens_created{{{M}}} 1.6e9\n"
    )
    assert (page.identity, page.started) == ("", None)


def test_model_names_are_cut_and_cleaned(interpret_page: InterpretPage) -> None:
    """They come from outside and become labels."""
    page = interpret_page("vllm", 'vllm:generation_tokens_total{model_name="' + "m" * 200 + '\\nx"} 1\n')
    assert page.models == ("m" * 128,)
