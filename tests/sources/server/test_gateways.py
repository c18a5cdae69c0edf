"""What is no engine, or tells no tokens, is named with what to do about it."""

from collections.abc import Callable
from typing import Any

import pytest

from exporter.readings import ReadFailedError
from exporter.sources.server import ServerSource

Make = Callable[..., ServerSource]
URL = "http://127.0.0.1:8000/metrics"
VLLM = b'vllm:prompt_tokens_total{engine="0",model_name="m"} 70\n'


def failure_of(source: ServerSource) -> tuple[str, str]:
    with pytest.raises(ReadFailedError) as failure:
        source.read()
    return failure.value.reason, str(failure.value)


@pytest.mark.parametrize("engine", [None, "vllm"])
def test_a_gateway_says_what_to_read_instead(make: Make, site: Any, engine: str | None) -> None:
    """Also where the configuration calls it an engine, whose names it may borrow."""
    site.set_page("/metrics", b'vllm:num_requests_running{server="b"} 1')

    assert failure_of(make(engine=engine)) == (
        "gateway",
        (
            f"{URL}: answers with the page of the vLLM production-stack router, "
            "which repeats its engines' numbers under their names: read each engine's own page"
        ),
    )


def test_a_frontend_of_dynamo_says_how_it_is_read(make: Make, site: Any) -> None:
    """It counts what its workers count."""
    site.set_page("/metrics", b'dynamo_frontend_output_tokens_total{model="m"} 5')

    for engine in (None, "dynamo"):
        assert failure_of(make(engine=engine)) == (
            "gateway",
            (
                f"{URL}: answers with the page of NVIDIA Dynamo, frontend, which counts what dynamo counts: "
                "read each worker's own page (DYN_SYSTEM_PORT), or name this one with engine: dynamo-frontend"
            ),
        )
    assert make(engine="dynamo-frontend").read().engine == "dynamo-frontend"


def test_a_worker_beside_its_frontend_says_that_one_is_too_many(make: Make, site: Any) -> None:
    """Each would add the same tokens."""
    site.set_page("/metrics", b'vllm:prompt_tokens_total{dynamo_component="backend",model_name="m"} 5')

    assert failure_of(make(counted_elsewhere={"dynamo"})) == (
        "counted_twice",
        (
            f"{URL}: answers with the page of NVIDIA Dynamo, workers, "
            "whose tokens the configuration has counted at another endpoint: remove one of the two"
        ),
    )


@pytest.mark.parametrize("engine", [None, "nim"])
def test_a_nim_is_read_as_the_engine_inside(make: Make, site: Any, engine: str | None) -> None:
    """2.x has other names than 1.x, at the same path; an upgrade takes no change of the configuration."""
    source = make("http://127.0.0.1:8000/v1/metrics", engine=engine)
    site.set_page(
        "/v1/metrics", b'num_request_max{model_name="m"} 8\nprompt_tokens_total{model_name="m"} 5\n'
    )
    assert source.read().engine == "nim"

    site.set_page("/v1/metrics", VLLM)

    assert [source.read().engine, source.read().engine] == ["vllm", "vllm"]


def test_kserve_is_read_as_vllm_once_vllm_is_loaded(make: Make, site: Any) -> None:
    """Its own histograms stand on the page before and after, and hold no tokens."""
    own = b'request_predict_seconds_count{model_name="m"} 3\n'
    source = make()
    site.set_page("/metrics", own)
    reading = source.read()
    assert (reading.engine, [c.quantity for c in reading.counters]) == ("kserve", ["requests"])

    site.set_page("/metrics", own + VLLM)

    reading = source.read()
    assert (reading.engine, [c.quantity for c in reading.counters]) == ("vllm", ["prompt"])


@pytest.mark.parametrize(
    ("page", "engine"),
    [
        (b'nv_inference_request_success{model="resnet",version="1"} 4', "triton"),
        (b'request_predict_seconds_count{model_name="m"} 3', "kserve"),
        (b'ray_vllm_num_requests_running{model_name="m"} 0', "ray"),
        (b'api_call_count{method="GET",path="/v1/models"} 1', "localai"),
    ],
)
def test_a_page_without_tokens_is_no_failure_where_they_may_be_missing(
    make: Make, site: Any, page: bytes, engine: str
) -> None:
    """It counts none, or none yet."""
    site.set_page("/metrics", page)
    reading = make().read()
    assert (reading.up, reading.engine) == (True, engine)


def test_ollama_says_that_it_counts_no_tokens(make: Make, site: Any) -> None:
    """It has no page of metrics, and its root page is a greeting."""
    site.set_page("/", b"Ollama is running")

    assert failure_of(make("http://127.0.0.1:11434/metrics")) == (
        "no_tokens",
        (
            "http://127.0.0.1:11434/metrics: Ollama, "
            "which counts no tokens, so that its GPU money has no price per token: "
            "serve the same GGUF file with llama-server --metrics to have them counted"
        ),
    )
    assert site.paths == ["/props", "/metrics", "/"]


def test_ollama_that_takes_the_place_of_an_engine_says_that_it_counts_no_tokens(
    make: Make, site: Any, vllm_page: bytes
) -> None:
    """The URL has no configured engine, so that the engine of its last page is no answer."""
    site.set_page("/metrics", vllm_page)
    source = make()
    source.read()
    del site.answers["/metrics"]
    site.set_page("/", b"Ollama is running")

    assert [failure_of(source)[0] for _ in range(2)] == ["no_tokens", "no_tokens"]


@pytest.mark.parametrize("body", [b"", b"<html>Ollama is running</html>", b"It works!"])
def test_another_greeting_is_not_ollama(make: Make, site: Any, body: bytes) -> None:
    """A missing page of metrics is then all that is known."""
    site.set_page("/", body)
    assert failure_of(make()) == ("not_found", f"{URL}: answers with HTTP status 404")


def test_the_root_of_an_engine_is_not_asked(make: Make, site: Any) -> None:
    """Where the configuration says what it is, a missing page is a missing page."""
    site.set_page("/", b"Ollama is running")
    assert failure_of(make(engine="vllm"))[0] == "not_found"
    assert site.paths == ["/metrics"]
