"""Which sources of servers are kept over a reload, and when those that were dropped are closed."""

from collections.abc import Iterator

import pytest

from exporter.clock import SystemClock
from exporter.config import parse
from exporter.sources.endpoints import EndpointSources, configured
from exporter.sources.server import ServerSource

ONE = 'servers: [{name: a, url: "http://127.0.0.1:1", gpus: all}]\n'


def of(kept: EndpointSources, text: str) -> tuple[ServerSource, ...]:
    """The sources that a configuration asks for."""
    config = parse(text.encode())
    return kept.of(configured(config.servers), config.limits.body_bytes)


@pytest.fixture
def kept() -> Iterator[EndpointSources]:
    made = EndpointSources(SystemClock())
    yield made
    made.close()


def test_what_a_reload_dropped_is_open_until_the_next_one(
    kept: EndpointSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be in the middle of a read; the same configuration, asked for again, is no reload."""
    closed: list[str] = []
    monkeypatch.setattr(ServerSource, "close", lambda source: closed.append(source.name))
    (a,) = of(kept, ONE)
    other = ONE.replace("name: a", "name: b")
    (b,) = of(kept, other)
    assert (a.name, b.name) == ("server:a", "server:b")

    assert of(kept, other) == (b,)
    assert closed == []

    of(kept, "interval: 10s\n")
    assert closed == ["server:a"]


def test_a_server_that_a_reload_leaves_alone_keeps_its_source(kept: EndpointSources) -> None:
    """With all that it knows."""
    before = of(kept, ONE)

    assert of(kept, f"interval: 5s\n{ONE}")[0] is before[0]
