"""Pages whose wanted lines stay the same: fetched and compared, and not interpreted again."""

from collections.abc import Callable
from typing import Any

import pytest

from exporter.readings import ReadFailedError
from exporter.sources.server import ServerSource, source
from tests.sources.server.conftest import VLLM_PAGE

Make = Callable[..., ServerSource]


def page(scrapes: int, generated: int = 30, start: str = "1.5e9") -> bytes:
    """Of an idle server, which counts the requests for its own page."""
    text = VLLM_PAGE.replace(b"} 30", b"} %d" % generated).replace(b"1.5e9", start.encode())
    return text + b'http_requests_total{handler="/metrics"} %d\n' % scrapes


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The engines by which pages are interpreted, once for each page."""
    names: list[str] = []
    interpret = source.interpret

    def counted(engine: Any, *arguments: Any, **more: Any) -> Any:
        names.append(engine.name)
        return interpret(engine, *arguments, **more)

    monkeypatch.setattr(source, "interpret", counted)
    return names


def test_an_idle_server_is_interpreted_once(make: Make, site: Any, interpreted: list[str]) -> None:
    """What is not wanted may change at each read; a token more is another reading, and so is a restart."""
    server = make()
    site.set_page("/metrics", page(1))
    server.read()  # recognizes it
    first = server.read()
    for scrapes in (2, 3, 4):
        site.set_page("/metrics", page(scrapes))
        assert server.read() is first
    assert interpreted == ["vllm"] * 2

    site.set_page("/metrics", page(5, generated=31))
    assert [counter.value for counter in server.read().counters if counter.quantity == "generation"] == [31]
    site.set_page("/metrics", page(6, generated=31, start="1.6e9"))
    assert server.read().identity == "started 1600000000.0"
    assert interpreted == ["vllm"] * 4


def test_what_is_wrong_on_it_is_counted_at_each_read(make: Make, site: Any) -> None:
    """A damaged line stays damaged."""
    server = make(engine="vllm")
    site.set_page("/metrics", page(1) + b"vllm:generation_tokens_total{ 5\n")
    for _ in range(3):
        server.read()
        assert server.errors == (("malformed", 1),)


def test_after_a_failure_the_same_page_is_interpreted(make: Make, site: Any, interpreted: list[str]) -> None:
    """What answers then may be another server."""
    server = make(engine="vllm")
    site.set_page("/metrics", page(1))
    server.read()
    site.set_page("/metrics", b"<html>")
    with pytest.raises(ReadFailedError):
        server.read()
    site.set_page("/metrics", page(1))
    server.read()
    assert interpreted == ["vllm"] * 3


def test_a_server_without_a_model_yet_is_asked_for_it(make: Make, site: Any) -> None:
    """TGI's page does not name it, and `/info` may come later than its page."""
    server = make(engine="tgi")
    site.set_page("/metrics", b"tgi_request_input_length_sum 5\ntgi_request_generated_tokens_sum 7\n")
    assert server.read().models == ()
    site.set_page("/info", b'{"model_id": "org/m", "version": "3.3.7"}')
    assert server.read().models == ("org/m",)


def test_other_lines_of_the_same_values_are_another_page(make: Make, site: Any) -> None:
    """A server that goes back and forth between two models, each time with 30 tokens and idle."""
    server = make(engine="vllm")
    other = page(1).replace(b'model_name="m"', b'model_name="other"')
    assert other != page(1)
    site.set_page("/metrics", page(1))
    (model,) = server.read().models
    for body, models in ((other, ("other",)), (page(1), (model,))) * 2:
        site.set_page("/metrics", body)
        assert server.read().models == models
