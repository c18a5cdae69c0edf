"""Which sources of servers are kept over a reload, and when those that were dropped are closed."""

from collections.abc import Iterator

import pytest

from exporter.clock import SystemClock
from exporter.config import parse
from exporter.sources.endpoints import EndpointSources, configured_targets
from exporter.sources.server import ServerSource

ONE = 'servers: [{name: a, url: "http://127.0.0.1:1", gpus: all}]\n'


def of(sources: EndpointSources, text: str) -> tuple[ServerSource, ...]:
    """The sources that a configuration asks for."""
    config = parse(text.encode())
    return sources.of(configured_targets(config.servers), config.limits.body_bytes)


@pytest.fixture
def sources() -> Iterator[EndpointSources]:
    made = EndpointSources(SystemClock())
    yield made
    made.close()


def test_what_a_reload_dropped_is_open_until_the_next_one(
    sources: EndpointSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be in the middle of a read; the same configuration, asked for again, is no reload."""
    closed: list[str] = []
    monkeypatch.setattr(ServerSource, "close", lambda source: closed.append(source.name))
    (a,) = of(sources, ONE)
    other = ONE.replace("name: a", "name: b")
    (b,) = of(sources, other)
    assert (a.name, b.name) == ("server:a", "server:b")

    assert of(sources, other) == (b,)
    assert closed == []

    of(sources, "interval: 10s\n")
    assert closed == ["server:a"]


def test_a_server_that_a_reload_leaves_alone_keeps_its_source(sources: EndpointSources) -> None:
    """With all that it knows."""
    before = of(sources, ONE)

    assert of(sources, f"interval: 5s\n{ONE}")[0] is before[0]


def test_one_that_cannot_be_closed_keeps_no_other_open(
    sources: EndpointSources, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither at a reload, which goes on, nor at the end; the log has the problem."""
    closed: list[str] = []

    def close(source: ServerSource) -> None:
        closed.append(source.name)
        if source.name == "server:a":
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(ServerSource, "close", close)
    two = ONE.replace("all}]", '[0]}, {name: b, url: "http://127.0.0.1:2", gpus: [1]}]')
    of(sources, two)
    of(sources, "interval: 10s\n")
    of(sources, ONE)
    assert closed == ["server:a", "server:b"]

    sources.close()
    assert closed == ["server:a", "server:b", "server:a"]
    problems = [(record.getMessage(), vars(record)["source"]) for record in caplog.records]
    assert problems == [("source not closed", "server:a")] * 2
