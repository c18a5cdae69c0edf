"""Lives of servers, page by page: what is counted in all is what was served, to the token.

Totals are reckoned by hand beside each life. A process that nothing identifies is known to have restarted
by a fall that lasts three reads.
"""

from collections import defaultdict

import pytest

from exporter.cost import counters
from exporter.engines import ENGINES, interpret, read, wanted
from exporter.readings import ServerKey, ServerReading
from exporter.units import NANOSECONDS_PER_SECOND, nanoseconds

WATCHED_SINCE = nanoseconds(9000)
"""Unix time of the first read: after the processes of these lives began, whose past is not charged."""


HALF_A_MINUTE = 30 * NANOSECONDS_PER_SECOND
"""Between two reads: three of them are the minute that a page without a start is waited for."""


def counted(engine: str, *pages: str) -> dict[str, float]:
    """All that moved over the reads of these pages, by quantity. The first read sets marks only."""
    spec, state = ENGINES[engine], None
    moved: dict[str, float] = defaultdict(float)
    for number, page in enumerate(pages):
        interpretation = interpret(spec, read(page.encode(), wanted(spec)))
        reading = ServerReading(
            ServerKey("", "s"),
            "u",
            up=True,
            engine=engine,
            identity=interpretation.identity,
            started=interpretation.started,
            counters=interpretation.counters,
        )
        tick = counters.endpoint_deltas(state, reading, WATCHED_SINCE + number * HALF_A_MINUTE)
        state = tick.state
        for (_, quantity), value in tick.deltas.items():
            moved[quantity] += value
    return dict(moved)


def sglang(decode: dict[str, int], *, finished: int | None = None) -> str:
    """Ranks, each with the tokens that it decoded."""
    page = "".join(
        f'sglang:realtime_tokens_total{{mode="decode",model_name="m",{rank}}} {tokens}\n'
        for rank, tokens in decode.items()
    )
    if finished is not None:
        page += f'sglang:generation_tokens_total{{model_name="m"}} {finished}\n'
    return page + 'sglang:num_running_reqs{model_name="m"} 1\n'


A, B = 'tp_rank="0",dp_rank="0"', 'tp_rank="1",dp_rank="0"'
C, D = 'tp_rank="2",dp_rank="1"', 'tp_rank="3",dp_rank="1"'


@pytest.mark.parametrize(
    ("pages", "tokens"),
    [
        pytest.param([sglang({A: 10}), sglang({A: 25}), sglang({A: 40})], 30, id="steady"),
        # 10 to 40, then 6 in the new process
        pytest.param([sglang({A: n}) for n in (10, 40, 2, 4, 6)], 36, id="restart"),
        # 10 to 40, two bad reads that count nothing, 40 to 50
        pytest.param([sglang({A: n}) for n in (10, 40, 2, 4, 50)], 40, id="bad-reads"),
        # 10 to 20 by both ranks, to 30 by one of them, to 45 by the other
        pytest.param(
            [sglang({A: 10, B: 10}), sglang({A: 20, B: 20}), sglang({A: 30}), sglang({B: 45})],
            35,
            id="rank-moved",
        ),
        # a rank that lags a step behind takes nothing away
        pytest.param(
            [sglang({A: 10, B: 10}), sglang({A: 20, B: 19}), sglang({A: 20, B: 20})], 10, id="rank-lags"
        ),
        # 10 to 30 and 10 to 15; the second replica is gone, the first goes on to 50; it returns with 4
        pytest.param(
            [
                sglang({A: 10, C: 10}),
                sglang({A: 30, C: 15}),
                sglang({A: 50}),
                sglang({A: 50}),
                *[sglang({A: 50, C: n}) for n in (1, 3, 4)],
            ],
            20 + 5 + 20 + 4,
            id="replica-gone-and-back",
        ),
        # the second replica is read by its other rank
        pytest.param([sglang({C: 10}), sglang({D: 17})], 7, id="replica-read-by-another-rank"),
        # nothing was decoded before: the whole of the new series is
        pytest.param([sglang({}), sglang({A: 12}), sglang({A: 15}, finished=15)], 15, id="created-late"),
    ],
)
def test_sglang_tokens_are_exact(pages: list[str], tokens: int) -> None:
    """Whichever rank tells them, and whatever falls."""
    assert counted("sglang", *pages).get("generation") == tokens


def test_cached_tokens_that_appear_late_are_counted_whole() -> None:
    """SGLang before 0.5.10: 300 tokens of prompts, of which 80 were cached, as the last read says."""
    page = 'sglang:prompt_tokens_total{{model_name="m"}} {}\n'
    cached = 'sglang:cached_tokens_total{model_name="m"} 80\n'
    assert counted("sglang", page.format(100), page.format(250), page.format(400) + cached) == {
        "prompt": 220.0,
        "cached_prompt": 80.0,
    }


def lmdeploy(start: int, prompt: int, cached: int) -> str:
    labels = '{engine="0",model_name="m"}'
    return (
        f"process_start_time_seconds {start}\nlmdeploy:prompt_tokens_total{labels} {prompt}\n"
        f"lmdeploy:cached_tokens_total{labels} {cached}\n"
    )


def test_a_process_that_tells_its_start_restarts_at_once() -> None:
    """LMDeploy: 100 to 160 tokens with 10 more cached, then 200 with 50 cached in another process."""
    pages = lmdeploy(1000, 100, 20), lmdeploy(1000, 160, 30), lmdeploy(9031, 200, 50)
    assert counted("lmdeploy", *pages) == {"prompt": 60 - 10 + 200 - 50, "cached_prompt": 10 + 50}


def test_histograms_count_as_counters_do() -> None:
    """TGI: sums of histograms, absent until the first request; then a restart that three reads tell."""
    page = "tgi_request_input_length_sum {}\ntgi_request_generated_tokens_sum {}\n"
    lives = page.format(100, 10), page.format(180, 30), *(page.format(n, 2 * n) for n in (3, 4, 5))
    assert counted("tgi", "", *lives) == {"prompt": 185.0, "generation": 40.0}


def test_a_reset_of_one_family_is_counted_from_zero() -> None:
    """MLC-LLM's debug page resets all of its sums: 60 computed of 80, then 30 of 50."""
    page = "prompt_tokens_sum\t{}\nprefill_tokens_sum\t{}\nengine_prefill_time_sum\t1\n"
    pages = [page.format(*sums) for sums in ((20, 10), (100, 70), (50, 30), (50, 30), (50, 30))]
    moved = counted("mlc", *pages)
    assert (moved["prompt"], moved["cached_prompt"]) == (60 + 30, 20 + 20)


def test_six_digits_lose_no_token_for_good() -> None:
    """llama.cpp prints 6 significant digits: what is counted stays within half a step, and catches up.

    From 999,990 tokens it serves 7 a read: printed in steps of one, then of ten.
    """
    served = [999_990 + 7 * read for read in range(40)]
    pages = [f"llamacpp:tokens_predicted_total {tokens:g}\n" for tokens in served]
    assert pages[1:4] == [
        f"llamacpp:tokens_predicted_total {text}\n" for text in ("999997", "1e+06", "1.00001e+06")
    ]
    for reads in range(2, len(pages)):
        moved = counted("llamacpp", *pages[:reads])["generation"]
        assert abs(moved - (served[reads - 1] - served[0])) <= 5
    assert ENGINES["llamacpp"].six_digits
    assert [name for name, engine in ENGINES.items() if engine.six_digits] == ["llamacpp"]


def test_six_digits_of_two_counters_that_are_subtracted_take_nothing_back() -> None:
    """Each counter is marked as it is printed, so that a difference of them is as good as both are."""
    page = "llamacpp:prompt_tokens_total {:g}\nllamacpp:prompt_tokens_cached_total {:g}\n"
    served = [(2_000_000 + 13 * n, 5_000_000 + 29 * n) for n in range(200)]
    moved = counted("llamacpp", *(page.format(*tokens) for tokens in served))
    assert abs(moved["prompt"] - 13 * 199) <= 5
    assert abs(moved["cached_prompt"] - 29 * 199) <= 5
