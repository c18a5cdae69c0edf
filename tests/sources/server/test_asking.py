"""What is asked of a server beside its metrics, and what is never asked: law 6."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from exporter.engines import Way
from exporter.readings import ReadFailedError
from exporter.sources.server import ServerContext, ServerSource
from exporter.sources.server.probe import text_at

Make = Callable[..., ServerSource]
ROOT = "http://127.0.0.1:8000"

TGI = b"tgi_request_input_length_sum 9\ntgi_batch_max_total_tokens 1\n"
TRTLLM = b'trtllm_prompt_tokens_total{engine_type="undefined",model_name="undefined"} 9\n'
DRAINED = b'[{"iter": 154, "iterLatencyMS": 7.0, "numActiveRequests": 1}]'
SGLANG = b'sglang:prompt_tokens_total{engine_type="decode",model_name="m"} 9\n'
EMBEDDED = b'process_start_time_seconds 1.5e9\nhttp_requests_total{handler="/embeddings",status="2xx"} 9\n'


def listed(*models: str) -> bytes:
    return json.dumps({"object": "list", "data": [{"id": model} for model in models]}).encode()


def test_a_model_and_a_version_are_asked_of_the_page_that_has_both(make: Make, site: Any) -> None:
    """TGI: once per process, behind the same prefix."""
    site.set_page("/tgi/metrics", TGI)
    site.set_page("/tgi/info", b'{"model_id": "org/m", "version": "3.3.7", "sha": null}')
    source = make(ROOT + "/tgi/metrics", engine="tgi")
    for _ in range(3):
        reading = source.read()
        assert (reading.models, reading.engine_version) == (("org/m",), "3.3.7")
    assert site.paths == ["/tgi/metrics", "/tgi/info", "/tgi/metrics", "/tgi/metrics"]


def test_a_server_that_failed_is_asked_again(make: Make, site: Any) -> None:
    """What answers then may be another one."""
    site.set_page("/metrics", TGI)
    site.set_page("/info", b'{"model_id": "old", "version": "1"}')
    source = make(engine="tgi")
    assert source.read().models == ("old",)
    site.answers["/metrics"] = httpx.ConnectError("refused")
    with pytest.raises(ReadFailedError):
        source.read()
    site.set_page("/metrics", TGI)
    site.set_page("/info", b'{"model_id": "new", "version": "2"}')
    reading = source.read()
    assert (reading.models, reading.engine_version) == (("new",), "2")


def test_a_model_that_is_not_told_yet_is_asked_for_again_and_a_version_is_not(make: Make, site: Any) -> None:
    """A server that loads tells its model later."""
    site.set_page("/prometheus/metrics", TRTLLM)
    source = make(ROOT, engine="trtllm")
    assert source.read().models == ()
    site.set_page("/v1/models", listed("served"))
    site.set_page("/version", b'{"version": "1.2"}')
    reading = source.read()
    assert (reading.models, reading.engine_version) == (("served",), "")
    source.read()
    assert [path for path in site.paths if "metrics" not in path] == ["/v1/models", "/version", "/v1/models"]


@pytest.mark.parametrize("path", ["", "/", "/metrics", "/metrics/", "/perf_metrics", "/prometheus/metrics"])
def test_what_drains_a_queue_is_never_read_of_a_server_that_is_known(
    make: Make, site: Any, path: str
) -> None:
    """Trap: /metrics of trtllm-serve is gone once it is read. What else it tells is at its root."""
    site.set_page("/metrics", DRAINED)
    site.set_page("/prometheus/metrics", TRTLLM)
    site.set_page("/v1/models", listed("served"))
    site.set_page("/version", b'{"version": "1.2"}')
    reading = make(ROOT + path, engine="trtllm").read()
    assert (reading.engine, reading.models, reading.engine_version) == ("trtllm", ("served",), "1.2")
    assert site.paths == ["/prometheus/metrics", "/v1/models", "/version"]


def test_a_server_behind_its_own_path_is_asked_at_its_root(make: Make, site: Any) -> None:
    """Also where the page had to tell whose it is."""
    site.set_page("/prometheus/metrics", TRTLLM)
    site.set_page("/v1/models", listed("served"))
    assert make(ROOT + "/prometheus/metrics").read().models == ("served",)


@pytest.mark.parametrize("engine", [None, "vllm"])
def test_a_queue_that_was_drained_once_is_left_alone(make: Make, site: Any, engine: str | None) -> None:
    """Nothing tells an unknown server's page before it is read. Its own page is read from then on."""
    site.set_page("/metrics", DRAINED)
    source = make(ROOT, engine=engine)
    for _ in range(3):
        with pytest.raises(ReadFailedError, match="HTTP status 404"):
            source.read()
    if engine is None:
        site.set_page("/prometheus/metrics", TRTLLM)
        assert source.read().engine == "trtllm"
    assert site.paths.count("/metrics") == 1


def test_another_server_at_its_place_is_read_as_it_was_configured(
    make: Make, site: Any, vllm_page: bytes
) -> None:
    """What drained is gone when nobody listens any more."""
    site.set_page("/metrics", DRAINED)
    site.set_page("/prometheus/metrics", TRTLLM)
    source = make(ROOT)
    assert source.read().engine == "trtllm"
    site.answers["/prometheus/metrics"] = httpx.ConnectError("refused")
    with pytest.raises(ReadFailedError):
        source.read()
    site.set_page("/metrics", vllm_page)
    assert source.read().engine == "vllm"


@pytest.mark.parametrize("status", [404, 503])
def test_another_server_is_read_as_it_was_configured_though_no_connection_failed(
    make: Make, site: Any, vllm_page: bytes, status: int
) -> None:
    """It came between two reads, or behind a proxy that answers for both."""
    site.set_page("/metrics", DRAINED)
    site.set_page("/prometheus/metrics", TRTLLM)
    source = make(ROOT)
    assert source.read().engine == "trtllm"
    site.answers["/prometheus/metrics"] = httpx.ReadTimeout("slow")
    with pytest.raises(ReadFailedError):
        source.read()
    site.set_page("/metrics", vllm_page)
    site.answers["/prometheus/metrics"] = httpx.Response(status)
    with pytest.raises(ReadFailedError, match=f"HTTP status {status}"):
        source.read()
    assert source.read().engine == "vllm"


def test_a_queue_is_drained_once_more_after_its_own_page_was_read(make: Make, site: Any) -> None:
    """A server that is slow keeps its page; one that refuses it may be another one, and is asked once."""
    site.set_page("/metrics", DRAINED)
    site.set_page("/prometheus/metrics", TRTLLM)
    source = make(ROOT)
    source.read()
    for answer in (httpx.ReadTimeout("slow"), *[httpx.Response(404)] * 3):
        site.answers["/prometheus/metrics"] = answer
        with pytest.raises(ReadFailedError):
            source.read()
    assert [path for path in site.paths if path.endswith("metrics")] == [
        "/metrics",
        "/prometheus/metrics",
        "/prometheus/metrics",
        "/prometheus/metrics",
        "/metrics",
        "/prometheus/metrics",
        "/prometheus/metrics",
    ]


def test_a_server_whose_metrics_are_off_is_told_how_they_are_switched_on(make: Make, site: Any) -> None:
    """The message has the flag, unless it may be there already: the page may be behind a prefix."""
    source = make(engine="sglang", context=ServerContext(metrics_off=True))
    with pytest.raises(ReadFailedError, match=r"HTTP status 404; it serves metrics with `--enable-metrics`$"):
        source.read()
    for engine in ("vllm", "sglang"):
        with pytest.raises(ReadFailedError, match=r"HTTP status 404$"):
            make(engine=engine).read()
    site.answers["/metrics"] = httpx.Response(401)
    with pytest.raises(ReadFailedError, match=r"HTTP status 401$"):
        make(engine="sglang").read()


def test_vllm_tells_its_version(make: Make, site: Any, vllm_page: bytes) -> None:
    """Its series name the model, so nothing else is asked."""
    site.set_page("/metrics", vllm_page)
    site.set_page("/version", b'{"version": "0.33.0"}')
    source = make(engine="vllm")
    assert [source.read().engine_version, source.read().engine_version] == ["0.33.0", "0.33.0"]
    assert site.paths == ["/metrics", "/version", "/metrics"]


def test_sglang_is_asked_nothing_and_tells_its_role(make: Make, site: Any) -> None:
    """Its page of versions stops the scheduler."""
    site.set_page("/metrics", SGLANG)
    reading = make(engine="sglang").read()
    assert (reading.role, reading.models, reading.engine_version) == ("decode", ("m",), "")
    assert site.paths == ["/metrics"]


@pytest.mark.parametrize("engine", ["tgi", "tei"])
def test_a_page_before_the_first_request_may_be_blank(make: Make, site: Any, engine: str) -> None:
    """Trap: these create every series with its first use. Absent is not zero, and no failure."""
    site.set_page("/metrics", b"\n")
    site.set_page("/info", b'{"model_id": "org/m", "version": "1"}')
    reading = make(engine=engine).read()
    assert (reading.up, reading.counters, reading.models) == (True, (), ("org/m",))
    with pytest.raises(ReadFailedError, match="no known engine"):
        make().read()
    site.set_page("/metrics", b"other 1\n")
    with pytest.raises(ReadFailedError, match="no counter of tokens"):
        make(engine=engine).read()


def test_a_server_without_token_counters_is_up(make: Make, site: Any) -> None:
    """Infinity: requests, and no token ever told."""
    site.set_page("/metrics", EMBEDDED)
    site.set_page("/models", listed("org/e"))
    reading = make().read()
    assert (reading.engine, reading.models) == ("infinity", ("org/e",))
    assert [(c.quantity, c.value, c.model) for c in reading.counters] == [("requests", 9.0, "org/e")]
    site.set_page("/metrics", b'http_requests_total{handler="/health",status="2xx"} 9\n')
    reading = make(engine="infinity").read()
    assert (reading.up, reading.counters, reading.models) == (True, (), ("org/e",))
    site.set_page("/metrics", b"other 1\n")
    with pytest.raises(ReadFailedError, match="no counter of tokens"):
        make(engine="infinity").read()


def test_infinity_behind_a_prefix_is_asked_there(make: Make, site: Any) -> None:
    """The second question is asked where the first one tells nothing."""
    site.set_page("/metrics", EMBEDDED)
    site.set_page("/v1/models", listed("org/e"))
    assert make(engine="infinity").read().models == ("org/e",)
    assert site.paths == ["/metrics", "/models", "/v1/models"]


@pytest.mark.parametrize(
    ("body", "way", "value"),
    [
        (b'{"data": [{"id": "m"}]}', ("data", 0, "id"), "m"),
        (b'{"data": [{"id": "m\\u0000\\n"}]}', ("data", 0, "id"), "m"),
        (b'{"data": []}', ("data", 0, "id"), ""),
        (b'{"data": {"0": {"id": "m"}}}', ("data", 0, "id"), ""),
        (b'{"data": [{"id": 7}]}', ("data", 0, "id"), ""),
        (b'["m"]', ("data", 0, "id"), ""),
        (b'"data"', ("data",), ""),
        (b"\xff", ("data",), ""),
        (b"[" * 100_000, ("data",), ""),
        (b'{"data": "m"}', (), ""),
    ],
)
def test_a_way_into_a_document_ends_at_a_text_or_nowhere(body: bytes, way: Way, value: str) -> None:
    """Whatever a server answers."""
    assert text_at(body, way) == value


@pytest.mark.parametrize(
    ("info", "model"),
    [
        (b'{"model_id": "/data", "served_model_name": "org/e", "version": "1.9"}', "org/e"),
        (b'{"model_id": "org/old", "version": "1.5"}', "org/old"),
    ],
)
def test_a_served_name_comes_before_what_was_loaded(make: Make, site: Any, info: bytes, model: str) -> None:
    """TEI: clients ask for the served name; older ones have none."""
    site.set_page("/metrics", b"te_request_input_length_sum 9\n")
    site.set_page("/info", info)
    assert make(engine="tei").read().models == (model,)
