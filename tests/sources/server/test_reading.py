"""What one endpoint's reading says, by a mocked transport."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from exporter.readings import ReadFailedError, ServerKey
from exporter.sources.server import ServerSource, Target, shared_client
from exporter.units import NANOSECONDS_PER_SECOND

Make = Callable[..., ServerSource]
LLAMACPP_PAGE = b"llamacpp:prompt_tokens_total 10\nllamacpp:tokens_predicted_total 20\n"


def test_a_reading_says_what_stands_on_the_page(make: Make, site: Any, vllm_page: bytes) -> None:
    """Its server, address, engine, process, counters and loads."""
    site.set_page("/metrics", vllm_page)
    reading = make().read()
    assert (reading.key, reading.url, reading.up) == (
        ServerKey("", "chat"),
        "http://127.0.0.1:8000/metrics",
        True,
    )
    assert (reading.engine, reading.identity, reading.models) == ("vllm", "started 1500000000.0", ("m",))
    assert {(c.quantity, c.value) for c in reading.counters} == {("prompt", 70.0), ("generation", 30.0)}
    assert [(load.model, load.running, load.waiting) for load in reading.loads] == [("m", 2.0, None)]


def test_the_classic_text_format_is_asked_for(make: Make, site: Any, vllm_page: bytes) -> None:
    """Uncompressed, without a token, by our name."""
    site.set_page("/metrics", vllm_page)
    make(engine="vllm").read()
    request, _ = site.requests  # the other one is for the version
    assert request.headers["accept"] == "text/plain;version=0.0.4"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"].startswith("inference-cost-exporter/")
    assert "authorization" not in request.headers


@pytest.mark.parametrize(
    ("key", "name"),
    [(ServerKey("", "chat"), "server:chat"), (ServerKey("search", "chat"), "server:search/chat")],
)
def test_a_source_is_named_after_its_server(hand_clock: Any, key: ServerKey, name: str) -> None:
    """The name is a label's value."""
    source = ServerSource(Target(key, "http://127.0.0.1/metrics"), shared_client(), hand_clock)
    assert (source.name, source.key, source.url) == (name, key, "http://127.0.0.1/metrics")


def test_an_address_without_a_path_is_read_at_metrics(make: Make, site: Any, vllm_page: bytes) -> None:
    """The address is shown as it was configured."""
    site.set_page("/metrics", vllm_page)
    assert make("http://127.0.0.1:8000", engine="vllm").read().url == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8000",
        "ftp://127.0.0.1/metrics",
        "http://",
        "http://user:secret@127.0.0.1/",
        "http://127.0.0.1:port/",
        "http://[::1/",
        "http://b\u00fccher/metrics",
        "http://127.0.0.1/a metrics",
        "http://127.0.0.1/metrics\r\nX-Header: forged",
    ],
)
def test_an_impossible_address_is_refused_at_once(make: Make, url: str) -> None:
    """Before anything is asked, and without showing credentials."""
    with pytest.raises(ValueError, match="URL") as failure:
        make(url)
    assert "secret" not in str(failure.value)


def test_an_unknown_engine_is_refused_at_once(make: Make) -> None:
    """The message names those that are known."""
    with pytest.raises(ValueError, match=r"none of aphrodite, .*, llamacpp, .*, vllm"):
        make(engine="vlm")


def test_the_engine_is_recognized_once_and_again_when_it_no_longer_fits(
    make: Make, site: Any, vllm_page: bytes
) -> None:
    """Another server may take over a port."""
    site.set_page("/metrics", vllm_page)
    source = make()
    assert [source.read().engine, source.read().engine] == ["vllm", "vllm"]
    site.set_page("/metrics", LLAMACPP_PAGE)
    assert source.read().engine == "llamacpp"
    site.set_page("/metrics", b"other 1")
    with pytest.raises(ReadFailedError) as failure:
        source.read()
    assert failure.value.reason == "not_recognized"
    site.set_page("/metrics", vllm_page)
    assert source.read().engine == "vllm"


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (b"", "answers with a page of no known engine$"),
        (b"\x00\xff<html>", "answers with a page of no known engine$"),
    ],
)
def test_an_unknown_page_is_not_recognized(make: Make, site: Any, page: bytes, words: str) -> None:
    """Whatever it is, nothing of it is counted."""
    site.set_page("/metrics", page)
    with pytest.raises(ReadFailedError, match=words) as failure:
        make().read()
    assert failure.value.reason == "not_recognized"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.ConnectError("[Errno 111] Connection refused"), ": [Errno 111] Connection refused"),
        (httpx.ConnectTimeout("slow"), ": ConnectTimeout"),
    ],
)
def test_a_failure_names_the_url_that_was_configured(
    make: Make, site: Any, answer: Exception, words: str
) -> None:
    """Also where another page of the same server was asked first: people look for what they wrote."""
    site.answers["/props"] = answer
    with pytest.raises(ReadFailedError) as failure:
        make().read()
    assert site.paths == ["/props"]
    assert str(failure.value) == make().url + words


def test_a_missing_page_is_told_by_its_status(make: Make) -> None:
    """Something answers there, and not under this path."""
    with pytest.raises(ReadFailedError) as failure:
        make().read()
    assert failure.value.reason == "not_found"
    assert str(failure.value) == f"{make().url}: answers with HTTP status 404"


def test_a_configured_engine_without_token_counters_has_no_tokens(make: Make, site: Any) -> None:
    """As vLLM with --disable-log-stats: the page is there and says nothing that can be charged."""
    site.set_page("/metrics", b"process_start_time_seconds 1.5e9\nhttp_requests_total 5\n")
    with pytest.raises(ReadFailedError) as failure:
        make(engine="vllm").read()
    assert failure.value.reason == "no_tokens"


def test_series_that_come_with_the_first_token_are_waited_for(make: Make, site: Any) -> None:
    """A vLLM that has served nothing yet is read, so that its first tokens are counted from zero."""
    site.set_page("/metrics", b'vllm:num_requests_running{model_name="m"} 0\n')
    reading = make().read()
    assert (reading.up, reading.counters, reading.models) == (True, (), ("m",))


def test_a_family_that_has_no_series_yet_is_waited_for(make: Make, site: Any) -> None:
    """A KServe that was asked nothing yet writes of its histograms the types alone."""
    page = b"process_start_time_seconds 1.5e9\n# TYPE request_predict_seconds histogram\n"
    site.set_page("/metrics", page)
    source = make(engine="kserve")
    reading = source.read()
    assert (reading.up, reading.counters, reading.identity) == (True, (), "started 1500000000.0")

    site.set_page("/metrics", page + b'request_predict_seconds_count{model_name="m"} 3\n')
    assert [(counter.quantity, counter.value) for counter in source.read().counters] == [("requests", 3.0)]

    site.set_page("/metrics", page.replace(b"request_predict", b"request"))
    with pytest.raises(ReadFailedError, match="no counter of tokens that kserve has"):
        source.read()


def test_lines_that_were_lost_are_told(make: Make, site: Any, vllm_page: bytes) -> None:
    """They cost themselves only; a clean page takes the note back."""
    site.set_page("/metrics", vllm_page * 2 + b"vllm:prompt_tokens_total{ 5\n")
    source = make()
    assert source.read().up
    assert source.errors == (("malformed", 1), ("duplicate", 4))
    site.set_page("/metrics", vllm_page)
    source.read()
    assert source.errors == ()


def test_a_page_of_endless_series_is_too_large(make: Make, site: Any) -> None:
    """Half of a page is not taken for all of it."""
    line = b'vllm:generation_tokens_total{model_name="m",a="%d"} 1\n'
    site.set_page("/metrics", b"".join(line % number for number in range(20_001)))
    with pytest.raises(ReadFailedError) as failure:
        make().read()
    assert failure.value.reason == "too_large"


def test_the_deadline_is_looked_at_between_pieces_of_a_body(make: Make, site: Any, hand_clock: Any) -> None:
    """By the clock that is handed in."""

    def slow() -> httpx.Response:
        def pieces() -> Iterator[bytes]:
            for _ in range(10):
                hand_clock.now += NANOSECONDS_PER_SECOND
                yield b"x"

        return httpx.Response(200, content=pieces())

    site.answers["/metrics"] = slow
    with pytest.raises(ReadFailedError, match="within 3 s") as failure:
        make(engine="vllm").read()
    assert failure.value.reason == "timeout"
