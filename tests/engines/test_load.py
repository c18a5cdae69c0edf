"""Load on the pages of each engine: KV cache in use, and the largest number of running requests."""

from pathlib import Path

import pytest

from exporter.engines import ENGINES, EVERYTHING, interpret, read, recognize, wanted
from exporter.readings import LoadReading, Occupancy, SequenceLimit

FOLDER = Path(__file__).parent
CAPTURES = FOLDER / "captures"
RECORDINGS = FOLDER.parent / "recordings"

EXPECTED: dict[str, tuple[Occupancy | None, float | None]] = {
    "aphrodite-0.20.0": (Occupancy(0.2 + 0.2, 2), None),
    "llamacpp-2025-12": (None, None),
    "lmdeploy-0.16.0": (Occupancy(0.23, 1), None),
    "nim-llm-1.x": (Occupancy(0.2211, 1), 256),
    "ray-serve-llm-2.60": (None, None),
    "real-vllm-0.32.0-cold": (Occupancy(0, 1), None),
    "sglang-0.4.6": (Occupancy(0.11, 1), None),
    "sglang-0.5.23": (Occupancy(0.37, 1), None),
    "tgi-3.3.7": (Occupancy(20214, 157456), None),
    "triton-25.12-vllm-backend": (None, None),
    "triton-trtllm-backend": (Occupancy(0.4875, 1), 512),
    "trtllm-serve-prometheus-2026": (Occupancy(0.3312, 1), 256),
    "vllm-0.33.0-dp2-lora-spec": (Occupancy(0.4183 + 0.4283, 2), None),
    "vllm-0.33.0-single": (Occupancy(0.4183, 1), None),
    "vllm-0.8.5-v0engine": (Occupancy(0.3630256887750687, 1), None),
}
"""By hand, from the lines of each page."""


def page_load(engine_name: str, text: str, limit: SequenceLimit | None = None) -> LoadReading:
    engine = ENGINES[engine_name]
    (load,) = interpret(engine, read(text.encode(), wanted(engine)), limit=limit).loads
    return load


@pytest.mark.parametrize(("capture", "expected"), EXPECTED.items(), ids=EXPECTED)
def test_a_capture_has_the_load_of_its_lines(
    capture: str, expected: tuple[Occupancy | None, float | None]
) -> None:
    """Each engine by its own names; a maximum that stands on no page is unknown."""
    body = (CAPTURES / f"{capture}.prom").read_bytes()
    engine = recognize(read(body, EVERYTHING))
    assert engine is not None
    (load,) = interpret(engine, read(body, wanted(engine))).loads
    assert expected == (load.kv_cache, load.max_running)


@pytest.mark.parametrize(
    ("recording", "engine", "expected"),
    [
        ("vllm-0.32.0/served.prom", "vllm", Occupancy(0, 1)),
        ("sglang-0.5.23/0002.prom", "sglang", Occupancy(0, 1)),  # rounded to hundredths by SGLang
        ("dynamo-1.6.1-vllm-0.31.0/0003.prom", "dynamo", Occupancy(0, 1)),
        ("llamacpp-7e4c0a9/0002.prom", "llamacpp", None),
    ],
)
def test_recorded_servers_report_their_cache(recording: str, engine: str, expected: Occupancy | None) -> None:
    """Names that real servers wrote."""
    text = (RECORDINGS / recording).read_text(encoding="utf-8")
    assert page_load(engine, text).kv_cache == expected


VLLM = 'vllm:num_requests_running{{engine="0",model_name="m"}} 8\n{}'
CACHE = 'vllm:kv_cache_usage_perc{{engine="{}",model_name="m"}} {}\n'


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "-0.1", "1.0001", "37"])
def test_a_cache_ratio_outside_of_0_to_1_is_no_reading(value: str) -> None:
    """37 may be a percentage: it is not guessed."""
    assert page_load("vllm", VLLM.format(CACHE.format(0, value))).kv_cache is None


def test_one_bad_rank_leaves_the_cache_unknown() -> None:
    """The mean of the other ranks is not the load of the server."""
    good = CACHE.format(0, 0.5)
    assert page_load("vllm", VLLM.format(good + CACHE.format(1, 0.25))).kv_cache == Occupancy(0.75, 2)
    assert page_load("vllm", VLLM.format(good + CACHE.format(1, "NaN"))).kv_cache is None


def test_names_of_two_versions_on_one_page_count_once() -> None:
    """0.9.2 to 0.10.2 write the same value under both."""
    both = CACHE.format(0, 0.5) + CACHE.format(0, 0.5).replace("kv_cache", "gpu_cache")
    assert page_load("vllm", VLLM.format(both)).kv_cache == Occupancy(0.5, 1)


@pytest.mark.parametrize(
    ("used", "capacity", "expected"),
    [
        ("50", "100", Occupancy(50, 100)),
        ("120", "100", Occupancy(100, 100)),
        ("0", "100", Occupancy(0, 100)),
        ("50", "0", None),
        ("50", "NaN", None),
        ("-1", "100", None),
        ("NaN", "100", None),
    ],
)
def test_tokens_of_a_batch_need_a_capacity(used: str, capacity: str, expected: Occupancy | None) -> None:
    """TGI has no ratio: tokens that the batch may grow to, over all of them."""
    page = f"tgi_batch_current_max_tokens {used}\ntgi_batch_max_total_tokens {capacity}\ntgi_queue_size 0\n"
    assert page_load("tgi", page).kv_cache == expected


def test_tokens_without_a_capacity_on_the_page_are_no_load() -> None:
    """Absent, not guessed."""
    assert page_load("tgi", "tgi_batch_current_max_tokens 5\ntgi_queue_size 0\n").kv_cache is None


TRTLLM = (
    'trtllm_num_requests_running{{pid="7",model_name="m"}} 64\n'
    'trtllm_max_num_active_requests{{pid="7",model_name="m"}} {}\n'
)


@pytest.mark.parametrize(
    ("value", "expected"), [("256", 256), ("0", None), ("NaN", None), ("-1", None), ("1e12", None)]
)
def test_a_maximum_on_the_page_must_be_plausible(value: str, expected: float | None) -> None:
    """A server that runs nothing at once does not exist."""
    assert page_load("trtllm", TRTLLM.format(value)).max_running == expected


def test_a_maximum_of_one_rank_is_not_that_of_two() -> None:
    """Running requests of two ranks over the maximum of one would be twice the load."""
    page = (
        'num_requests_running{model_name="m",rank="0"} 8\nnum_requests_running{model_name="m",rank="1"} 8\n'
    )
    known = 'num_request_max{model_name="m",rank="0"} 256\n'
    assert page_load("nim", page + known).max_running is None
    assert page_load("nim", page + known + known.replace('"0"', '"1"')).max_running == 512


LMDEPLOY = 'lmdeploy:num_requests_running{{engine="0",model_name="m"}} 128\n{}'
ENGINE_QUEUE = 'lmdeploy:num_requests_waiting{engine="0",model_name="m"} 2\n'
API_QUEUE = 'lmdeploy:num_api_requests_waiting{engine="0",model_name="m"} 40\n'


@pytest.mark.parametrize(
    ("lines", "expected"),
    [(ENGINE_QUEUE, 2), (ENGINE_QUEUE + API_QUEUE, 42), (API_QUEUE, None), ("", None)],
    ids=["engine", "both", "api", "none"],
)
def test_what_waits_before_an_engine_waits_too(lines: str, expected: float | None) -> None:
    """LMDeploy's API server hands an engine no more than it runs. Releases before 0.16 lack that number."""
    assert page_load("lmdeploy", LMDEPLOY.format(lines)).waiting == expected


RANKS = 'vllm:num_requests_running{engine="1",model_name="m"} 2\n'


@pytest.mark.parametrize(("limit", "expected"), [(SequenceLimit(64), 128), (SequenceLimit(64, True), 64)])
def test_a_limit_of_the_command_line_is_of_each_rank_unless_shared(
    limit: SequenceLimit, expected: float
) -> None:
    """That of vLLM is of each rank; SGLang's is divided with attention in data parallel."""
    assert page_load("vllm", VLLM.format(RANKS), limit).max_running == expected


def test_a_limit_is_not_that_of_one_of_two_models() -> None:
    """How two models of one server share its maximum is unknown."""
    page = VLLM.format('vllm:num_requests_running{engine="0",model_name="n"} 2\n')
    engine = ENGINES["vllm"]
    loads = interpret(engine, read(page.encode(), wanted(engine)), limit=SequenceLimit(64)).loads
    assert [load.max_running for load in loads] == [None, None]


def test_the_page_comes_before_the_command_line() -> None:
    """What the engine made of its flags counts."""
    assert page_load("trtllm", TRTLLM.format(256), SequenceLimit(64)).max_running == 256
