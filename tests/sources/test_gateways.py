"""Which gateways are read: each once, however many servers it divides, and kept over a reload."""

from collections.abc import Iterator

import pytest

from exporter.clock import SystemClock
from exporter.config import parse
from exporter.sources.endpoints import GatewaySources
from exporter.sources.server import GatewaySource

TWO = """servers:
  - {match: {port: 8000}, divide: {by: team, gateway: "http://127.0.0.1:1/metrics/"}}
  - {match: {port: 8001}, divide: {by: team, gateway: "http://127.0.0.1:1/metrics/", models: [x]}}
  - {match: {port: 8002}, divide: {by: adapter, gateway: "http://127.0.0.1:2/metrics", models: [x]}}
  - {name: a, url: "http://127.0.0.1:3", gpus: all}
"""


@pytest.fixture
def sources() -> Iterator[GatewaySources]:
    made = GatewaySources(SystemClock())
    yield made
    made.close()


def of(sources: GatewaySources, text: str) -> tuple[GatewaySource, ...]:
    """The sources that a configuration asks for."""
    config = parse(text.encode())
    return sources.of(config.divides(), config.limits.body_bytes)


def test_a_gateway_is_read_once(sources: GatewaySources) -> None:
    """It divides two servers; another one divides a third, and the fourth is not divided."""
    assert [source.name for source in of(sources, TWO)] == [
        "gateway:127.0.0.1:1/metrics/",
        "gateway:127.0.0.1:2/metrics",
    ]


def test_a_gateway_that_a_reload_leaves_alone_keeps_its_source(sources: GatewaySources) -> None:
    """Asked for something else it is another one, and what is not asked for any more is gone."""
    first, second = of(sources, TWO)
    again = of(sources, f"interval: 5s\n{TWO}")
    assert (again[0] is first, again[1] is second) == (True, True)

    changed = of(sources, TWO.replace("by: adapter", "by: team"))
    assert (changed[0] is first, changed[1] is second) == (True, False)
    assert of(sources, "interval: 5s\n") == ()
