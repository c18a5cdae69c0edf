"""Latency histograms on the pages of each engine, and pages of histograms that cannot be right."""

from collections.abc import Iterable
from math import inf
from pathlib import Path

import pytest

from exporter.engines import ENGINES, EVERYTHING, interpret, latency_series, read, recognize, wanted
from exporter.engines.latency import BUCKETS_MAX, HISTOGRAMS_MAX
from exporter.readings import LatencyReading, ServiceLevel

FOLDER = Path(__file__).parent
CAPTURES = FOLDER / "captures"
RECORDINGS = FOLDER.parent / "recordings"

SLO = ServiceLevel(first_token_seconds=0.75, per_token_seconds=0.02)

Observed = tuple[str, float, float, float]
"""Basis, at least, at most, and all."""

EXPECTED: dict[str, tuple[Observed | None, Observed | None]] = {
    "vllm-0.33.0-single": (("requests", 812, 812, 900), ("requests", 0, 884, 884)),
    "vllm-0.33.0-dp2-lora-spec": (
        ("requests", 623 + 632, 623 + 632, 700 + 700),
        ("requests", 639 + 652, 683 + 683, 683 + 683),
    ),
    "vllm-0.8.5-v0engine": (("requests", 850, 850, 900), ("tokens", 270, 67678, 220177)),
    "lmdeploy-0.16.0": (("requests", 490, 490, 500), ("tokens", 2619, 112527, 112669)),
    "trtllm-serve-prometheus-2026": (("requests", 421, 421, 430), ("requests", 10, 430, 430)),
    "nim-llm-1.x": (("requests", 471, 471, 480), ("tokens", 0, 97244, 122155)),
    # One bucket alone says nothing of an objective.
    "triton-25.12-vllm-backend": (("requests", 0, 515, 515), ("tokens", 0, 130557, 130557)),
    "tgi-3.3.7": (None, ("requests", 77, 605, 640)),
    "dynamo-1.x-frontend": (
        ("requests", 835 + 382, 894 + 398, 900 + 400),
        ("tokens", 0 + 110, 172443 + 64989, 233779 + 91388),
    ),
    "llamacpp-2025-12": (None, None),
    "tei-1.9.3": (None, None),
}
"""Of the first token and of each, by hand from the bucket lines of each page."""


def latencies(engine_name: str, body: bytes, slo: ServiceLevel = SLO) -> tuple[LatencyReading, ...] | None:
    engine = ENGINES[engine_name]
    page, histograms = read(body, wanted(engine)), read(body, latency_series(engine))
    return interpret(engine, page, slo=slo, histograms=histograms).latencies


def observed(readings: Iterable[LatencyReading], objective: str) -> Observed | None:
    """The histograms of an objective together, which have one basis."""
    of = [each for each in readings if each.objective == objective]
    if not of:
        return None
    (basis,) = {each.basis for each in of}
    return (
        basis,
        sum(each.lower for each in of),
        sum(each.upper for each in of),
        sum(each.total for each in of),
    )


@pytest.mark.parametrize(("capture", "expected"), EXPECTED.items(), ids=EXPECTED)
def test_a_capture_has_the_latencies_of_its_buckets(
    capture: str, expected: tuple[Observed | None, Observed | None]
) -> None:
    """The histogram of requests before that of tokens; both buckets around the objective, and all."""
    body = (CAPTURES / f"{capture}.prom").read_bytes()
    engine = recognize(read(body, EVERYTHING))
    assert engine is not None
    readings = latencies(engine.name, body)
    assert readings is not None
    assert (observed(readings, "first_token"), observed(readings, "per_token")) == expected


@pytest.mark.parametrize(
    ("recording", "engine", "expected"),
    [
        ("sglang-0.5.23/0003.prom", "sglang", (("requests", 17, 18, 18), ("requests", 0, 0, 16))),
        (
            "dynamo-1.6.1-vllm-0.31.0/0003.prom",
            "dynamo",
            (("requests", 18, 18, 19), ("requests", 15, 15, 15)),
        ),
    ],
)
def test_recorded_servers_report_their_latencies(
    recording: str, engine: str, expected: tuple[Observed, Observed]
) -> None:
    """Names and buckets that real servers wrote: 12 to 13 streams, and 5 answers in one piece."""
    readings = latencies(engine, (RECORDINGS / recording).read_bytes())
    assert readings is not None
    assert (observed(readings, "first_token"), observed(readings, "per_token")) == expected


def test_without_a_level_no_bucket_is_read() -> None:
    """The names of every other read are what they were."""
    for engine in ENGINES.values():
        assert not any(name.endswith("_bucket") for name in wanted(engine).names)
    assert not any(name.endswith("_bucket") for name in EVERYTHING.names)
    body = (CAPTURES / "vllm-0.33.0-single.prom").read_bytes()
    assert interpret(ENGINES["vllm"], read(body, wanted(ENGINES["vllm"]))).latencies is None


def test_only_the_objectives_that_are_set_are_read() -> None:
    """Each alone."""
    body = (CAPTURES / "vllm-0.33.0-single.prom").read_bytes()
    readings = latencies("vllm", body, ServiceLevel(per_token_seconds=0.025)) or ()
    assert [(each.objective, each.floor, each.ceiling) for each in readings] == [("per_token", 0.025, 0.025)]


NAME = "vllm:time_to_first_token_seconds_bucket"


def page(*buckets: tuple[str, str], labels: str = 'model_name="m"') -> bytes:
    lines = [f'{NAME}{{{labels},le="{bound}"}} {count}' for bound, count in buckets]
    return "\n".join(['vllm:num_requests_running{model_name="m"} 0', *lines, ""]).encode()


GOOD = (("0.5", "3"), ("1.0", "4"), ("+Inf", "5"))


def test_each_rank_is_a_histogram() -> None:
    """By its labels without `le`, in whatever order they stand, and without the engine's prefix."""
    body = page(*GOOD, labels='engine="0",model_name="m"')
    body += page(*GOOD, labels='model_name="m",engine="1"').partition(b"\n")[2]
    readings = latencies("vllm", body) or ()
    assert [each.series for each in readings] == [
        "time_to_first_token_seconds_bucket{engine=0,model_name=m}",
        "time_to_first_token_seconds_bucket{engine=1,model_name=m}",
    ]


@pytest.mark.parametrize(
    ("seconds", "around", "counts"),
    [
        (0.25, (-inf, 0.5), (0, 3)),
        (0.5, (0.5, 0.5), (3, 3)),
        (0.75, (0.5, 1.0), (3, 4)),
        (1.0, (1.0, 1.0), (4, 4)),
        (7.0, (1.0, inf), (4, 5)),
    ],
)
def test_an_objective_lies_between_two_bounds(
    seconds: float, around: tuple[float, float], counts: tuple[float, float]
) -> None:
    """Below all buckets perhaps none met it, above all perhaps every one; on a bound it is exact."""
    (reading,) = latencies("vllm", page(*GOOD), ServiceLevel(seconds)) or ()
    assert (reading.floor, reading.ceiling) == around
    assert (reading.lower, reading.upper, reading.total) == (*counts, 5)


@pytest.mark.parametrize(
    "buckets",
    [
        pytest.param((("0.5", "3"), ("1.0", "4")), id="no last bucket"),
        pytest.param((("0.5", "3"), ("1.0", "NaN"), ("+Inf", "5")), id="no number"),
        pytest.param((("0.5", "3"), ("1.0", "4"), ("+Inf", "+Inf")), id="infinitely many"),
        pytest.param((("0.5", "-3"), ("1.0", "4"), ("+Inf", "5")), id="negative"),
        pytest.param((("0.5", "3"), ("1.0", "1e17"), ("+Inf", "1e18")), id="beyond 2^53"),
        pytest.param((("0.5", "5"), ("1.0", "4"), ("+Inf", "5")), id="falling"),
        pytest.param((("0.5", "3"), ("1.0", "7"), ("+Inf", "5")), id="more than all"),
        pytest.param((("0.5", "3"), ("0.50", "4"), ("+Inf", "5")), id="one bound twice"),
        pytest.param((("0.5", "3"), ("0.5", "4"), ("+Inf", "5")), id="one line twice"),
        pytest.param((("0.5", "3"), ("NaN", "4"), ("+Inf", "5")), id="a bound that is no number"),
        pytest.param((("0.5", "3"), ("half", "4"), ("+Inf", "5")), id="a bound that is a word"),
        pytest.param((("0.5", "3"), ("1.0", ""), ("+Inf", "5")), id="a damaged line"),
        pytest.param(
            (*((f"{bound / 100}", "1") for bound in range(BUCKETS_MAX)), ("+Inf", "5")), id="too many buckets"
        ),
    ],
)
def test_a_histogram_that_cannot_be_right_is_not_read(buckets: tuple[tuple[str, str], ...]) -> None:
    """Nothing of such a page is used: another histogram on it would be a part of the server alone."""
    assert latencies("vllm", page(*buckets)) is None
    both = page(*GOOD, labels='engine="0"') + page(*buckets, labels='engine="1"').partition(b"\n")[2]
    assert latencies("vllm", both) is None


def test_the_most_buckets_are_read() -> None:
    """One less than too many, with the last one."""
    bounds = ((f"{bound / 100}", "1") for bound in range(BUCKETS_MAX - 1))
    (reading,) = latencies("vllm", page(*bounds, ("+Inf", "5"))) or ()
    assert (reading.floor, reading.ceiling) == (0.75, 0.75)


def test_too_many_histograms_are_not_read() -> None:
    """A label that counts up: the marks of an endpoint stay few."""
    lines = [f'{NAME}{{le="+Inf",tenant="{number}"}} 1' for number in range(HISTOGRAMS_MAX + 1)]
    assert latencies("vllm", "\n".join(lines).encode()) is None
    most = latencies("vllm", "\n".join(lines[1:]).encode()) or ()
    assert len(most) == HISTOGRAMS_MAX


def test_a_page_beyond_the_limits_of_lines_is_not_read() -> None:
    """Its counters are read on their own, and count."""
    lines = [f'{NAME}{{le="{number}"}} 1' for number in range(20_001)]
    body = "\n".join(['vllm:generation_tokens_total{model_name="m"} 7', *lines, ""]).encode()
    assert latencies("vllm", body) is None
    engine = ENGINES["vllm"]
    assert [each.value for each in interpret(engine, read(body, wanted(engine))).counters] == [7]
