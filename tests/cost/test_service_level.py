"""Shares of requests within a service level and what their tokens cost, by hand and as identities."""

from fractions import Fraction
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.postings import LatencyPart
from exporter.cost.service_level import ShareBounds, joint, met_cost, met_ratio, met_ratios
from exporter.engines import ENGINES, interpret, latency_series, read, wanted
from exporter.readings import LatencyBasis, Objective, ServiceLevel
from tests.depth import examples

Counts = dict[tuple[Objective, LatencyBasis, LatencyPart], int]


EACH: Final[tuple[Objective, ...]] = ("per_token",)
BOTH: Final[tuple[Objective, ...]] = ("first_token", "per_token")


def between(lower: str, upper: str) -> ShareBounds:
    return ShareBounds(Fraction(lower), Fraction(upper))


def observed(
    objective: Objective, lower: int, upper: int, total: int, basis: LatencyBasis = "requests"
) -> Counts:
    return {
        (objective, basis, "lower"): lower,
        (objective, basis, "upper"): upper,
        (objective, basis, "total"): total,
    }


def test_a_share_is_a_range_between_two_buckets() -> None:
    """Of 400 requests 300 took at most 0.5 s and 380 at most 1 s: of 0.75 s that is 75 to 95 %."""
    assert met_ratio({"lower": 300, "upper": 380, "total": 400}) == between("0.75", "0.95")


def test_without_an_observation_there_is_no_share() -> None:
    """No request met it, and none missed it: not 0, and not 1."""
    assert met_ratio({}) is None
    assert met_ratio({"lower": 0, "upper": 0, "total": 0}) is None
    assert met_ratios(observed("per_token", 0, 0, 0), EACH) == {}


def test_both_objectives_together_have_bounds_only() -> None:
    """Of 100 requests 90 met one and 80 the other: 70 to 80 met both, whichever they were."""
    assert joint([between("0.9", "0.9"), between("0.8", "0.8")]) == between("0.7", "0.8")
    assert joint([between("0.4", "0.5"), between("0.5", "0.6")]) == between("0.0", "0.5")


def test_one_objective_alone_is_all_of_them() -> None:
    """There is nothing to combine."""
    counts = observed("first_token", 192, 240, 256)
    assert met_ratios(counts, ["first_token"]) == {
        ("first_token", "requests"): between("0.75", "0.9375"),
        ("all", "requests"): between("0.75", "0.9375"),
    }


def test_objectives_count_on_their_own() -> None:
    """Of 256 requests 0.75 to 0.9375 met one, and 0.75 exactly the other; together from 0.5 on."""
    counts = observed("first_token", 192, 240, 256) | observed("per_token", 192, 192, 256)
    assert met_ratios(counts, BOTH) == {
        ("first_token", "requests"): between("0.75", "0.9375"),
        ("per_token", "requests"): between("0.75", "0.75"),
        ("all", "requests"): between("0.5", "0.75"),
    }


def test_requests_and_tokens_are_not_added_up() -> None:
    """An upgrade changes what is counted: a million tokens do not hide that 800 of 1,000 requests missed."""
    counts = observed("per_token", 10**6, 10**6, 10**6, "tokens") | observed("per_token", 200, 200, 1000)
    assert met_ratios(counts, EACH) == {
        ("per_token", "requests"): between("0.2", "0.2"),
        ("per_token", "tokens"): between("1", "1"),
    }


def test_requests_and_tokens_have_no_share_together() -> None:
    """256 requests of 1,000 tokens, one late in each: 255,744 of 256,000 tokens are no bound of requests."""
    first, each = (
        observed("first_token", 256, 256, 256),
        observed("per_token", 255744, 255744, 256000, "tokens"),
    )
    assert ("all", "requests") not in met_ratios(first | each, BOTH)
    assert ("all", "tokens") not in met_ratios(first | each, BOTH)
    assert met_ratios(each, EACH)["all", "tokens"] == between("0.999", "0.999")


def test_an_objective_that_was_not_observed_leaves_no_share_of_all() -> None:
    """The engine has no histogram of the time to the first token: all 256 may have missed that one."""
    assert met_ratios(observed("per_token", 256, 256, 256), BOTH) == {
        ("per_token", "requests"): between("1", "1")
    }


def test_an_objective_that_is_no_more_is_not_among_all() -> None:
    """For an hour its latencies are in the window. Those of a server without a level are, too."""
    counts = observed("first_token", 192, 240, 256) | observed("per_token", 256, 256, 256)
    assert ("all", "requests") not in met_ratios(counts, EACH)
    assert ("all", "requests") not in met_ratios(counts, ())


def test_a_million_tokens_within_the_level_cost_more() -> None:
    """At 3 dollars per million, of which 60 to 80 % met it: 3.75 to 5 dollars."""
    low, high = met_cost(3.0, between("0.6", "0.8"))
    assert (low, high) == (pytest.approx(3.75), 5.0)


def test_tokens_that_perhaps_none_met_have_no_greatest_cost() -> None:
    """A quotient by nothing is absent, never infinite."""
    assert met_cost(3.0, between("0.0", "0.75")) == (4.0, None)
    assert met_cost(3.0, between("0.0", "0.0")) == (None, None)


TIMES = st.lists(st.floats(0, 100, allow_subnormal=False), min_size=1, max_size=200)
BOUNDS = st.lists(st.floats(0, 100, allow_subnormal=False), max_size=20, unique=True)


def page_of(times: list[float], bounds: list[float], name: str = "time_to_first_token_seconds") -> str:
    """A page as a client library writes it: a bucket counts what is at most its bound."""
    buckets = [
        f'vllm:{name}_bucket{{le="{bound!r}",model_name="m"}} {sum(time <= bound for time in times)}'
        for bound in sorted(bounds)
    ]
    buckets.append(f'vllm:{name}_bucket{{le="+Inf",model_name="m"}} {len(times)}')
    return 'vllm:num_requests_running{model_name="m"} 0\n' + "\n".join(buckets) + "\n"


def counts_of(page: str, slo: ServiceLevel) -> Counts:
    """What the engine's reading of a page counts, by objective and part."""
    engine, body = ENGINES["vllm"], page.encode()
    reading = interpret(
        engine, read(body, wanted(engine)), slo=slo, histograms=read(body, latency_series(engine))
    )
    assert reading.latencies is not None
    return {
        key: count
        for each in reading.latencies
        for key, count in observed(
            each.objective, int(each.lower), int(each.upper), int(each.total), each.basis
        ).items()
    }


@examples(400)
@given(times=TIMES, bounds=BOUNDS, seconds=st.floats(0.001, 100, allow_subnormal=False))
def test_the_true_share_lies_within_the_range(
    times: list[float], bounds: list[float], seconds: float
) -> None:
    """Whatever the requests took, whatever the buckets are. It is the share where the objective is one."""
    ratio = met_ratios(counts_of(page_of(times, bounds), ServiceLevel(seconds)), ["first_token"])[
        "first_token", "requests"
    ]
    true = Fraction(sum(time <= seconds for time in times), len(times))

    assert 0 <= ratio.lower <= true <= ratio.upper <= 1
    if seconds in bounds:
        assert ratio.lower == true == ratio.upper


@examples(400)
@given(
    requests=st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1)), min_size=1, max_size=200),
    bounds=BOUNDS,
    slo=st.builds(ServiceLevel, st.floats(0.1, 10), st.floats(0.01, 1)),
)
def test_the_true_share_of_both_lies_within_the_bounds(
    requests: list[tuple[float, float]], bounds: list[float], slo: ServiceLevel
) -> None:
    """Of requests with both times, whichever pairs they are."""
    assert slo.first_token_seconds is not None
    assert slo.per_token_seconds is not None
    first, each = ([request[number] for request in requests] for number in (0, 1))
    page = page_of(first, bounds) + page_of(each, bounds, "request_time_per_output_token_seconds")
    ratio = met_ratios(counts_of(page, slo), BOTH)["all", "requests"]
    met = sum(ttft <= slo.first_token_seconds and tpot <= slo.per_token_seconds for ttft, tpot in requests)

    assert 0 <= ratio.lower <= Fraction(met, len(requests)) <= ratio.upper <= 1


@given(shares=st.lists(st.tuples(st.fractions(0, 1), st.fractions(0, 1)).map(sorted), min_size=1, max_size=2))
def test_a_range_stays_in_order(shares: list[list[Fraction]]) -> None:
    """The least is never above the greatest, and so with the costs."""
    both = joint(ShareBounds(*share) for share in shares)
    low, high = met_cost(1.0, both)

    assert 0 <= both.lower <= both.upper <= 1
    assert low is None or high is None or low <= high
