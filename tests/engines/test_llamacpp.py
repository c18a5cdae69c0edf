"""llama.cpp's names, in builds old and new."""

from exporter.engines import ENGINES, Interpretation, wanted
from tests.engines.conftest import InterpretPage

OLD = """llamacpp:prompt_tokens_total 10
llamacpp:tokens_predicted_total 20
llamacpp:prompt_seconds_total 3
llamacpp:tokens_predicted_seconds_total 40
"""
NEW = OLD + "llamacpp:prompt_tokens_cached_total 90\n"


def values(interpretation: Interpretation) -> dict[str, float]:
    return {counter.quantity: counter.sign * counter.value for counter in interpretation.counters}


def test_cached_tokens_are_not_taken_out_of_the_prompt(interpret_page: InterpretPage) -> None:
    """Trap: this prompt counter excludes cached tokens, where vLLM's includes them."""
    page = values(interpret_page("llamacpp", NEW))
    assert (page["prompt"], page["cached_prompt"], page["generation"]) == (10.0, 90.0, 20.0)


def test_new_builds_overlap_in_generation_only(interpret_page: InterpretPage) -> None:
    """Wall time of prompt batches beside request seconds of generation."""
    assert {
        quantity: value
        for quantity, value in values(interpret_page("llamacpp", NEW)).items()
        if "seconds" in quantity
    } == {"prefill_seconds": 3.0, "decode_request_seconds": 40.0}


def test_old_builds_overlap_in_both_phases(interpret_page: InterpretPage) -> None:
    """Request seconds of both, of which those of generation are many at once. No cached tokens, not zero."""
    assert values(interpret_page("llamacpp", OLD)) == {
        "prompt": 10.0,
        "generation": 20.0,
        "prefill_seconds": 3.0,
        "decode_request_seconds": 40.0,
    }


def test_maxima_and_throughputs_are_not_read() -> None:
    """Traps: n_tokens_max says that it is a counter; the throughputs are reset by every scrape."""
    names = wanted(ENGINES["llamacpp"]).names
    assert not names & {
        "llamacpp:n_tokens_max",
        "llamacpp:prompt_tokens_seconds",
        "llamacpp:predicted_tokens_seconds",
        "llamacpp:n_busy_slots_per_decode",
    }


def test_the_model_comes_from_outside(interpret_page: InterpretPage) -> None:
    """No series names it; requests are not counted at all."""
    page = interpret_page("llamacpp", NEW + "llamacpp:requests_processing 2\n", model="tiny")
    assert {"tiny"} == {counter.model for counter in page.counters}
    assert [(load.model, load.running, load.waiting) for load in page.loads] == [("tiny", 2.0, None)]
    assert page.models == ("tiny",)
    assert "requests" not in values(page)


def test_the_header_is_an_opaque_identity(interpret_page: InterpretPage) -> None:
    """It calls itself a Unix time and is microseconds since boot: no start is made of it."""
    page = interpret_page("llamacpp", NEW, header="1431036755")
    assert (page.identity, page.started) == ("1431036755", None)


def test_six_significant_digits_lose_nothing(interpret_page: InterpretPage) -> None:
    """Above a million the counter moves in steps of ten, which arrive later, not never."""
    steps = [
        values(interpret_page("llamacpp", f"llamacpp:prompt_tokens_total {text}\n"))["prompt"]
        for text in ("1.83457e+06", "1.83458e+06")
    ]
    assert steps == [1_834_570.0, 1_834_580.0]
