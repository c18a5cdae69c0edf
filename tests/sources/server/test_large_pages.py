"""Pages of thousands of series: read one at a time."""

from collections.abc import Callable
from typing import Any

import pytest

from exporter.readings import CounterColumns, ReadFailedError, digest
from exporter.sources.server import ServerSource, endpoint
from exporter.sources.server.endpoint import LARGE_BYTES, EndpointSession
from exporter.units import NANOSECONDS_PER_SECOND
from tests.kit.clock import clock_at

Make = Callable[..., ServerSource]
SERIES = 5_000


def large(value: int = 5, count: int = SERIES, created: str = "", start: str = "1.5e9") -> bytes:
    """A page of so many tenants, who may each say when they began."""
    body = ""
    for number in range(count):
        labels = f'{{model_name="m",tenant="a-customer-of-ours-{number}"}}'
        body += f"vllm:generation_tokens_total{labels} {value}\n"
        body += f"vllm:generation_tokens_created{labels} {created}\n" if created else ""
    return f"process_start_time_seconds {start}\n{body}".encode()


def test_series_by_the_thousand_tell_when_they_began(make: Make, site: Any) -> None:
    """Each in a line of its own, which takes the room of a series."""
    site.set_page("/metrics", large(created="1.6e9"))
    server = make(engine="vllm")
    for _ in range(2):
        reading = server.read()
        assert isinstance(reading.counters, CounterColumns)
        assert len(reading.counters) == SERIES
        assert {one.created for one in reading.counters} == {1_600_000_000 * NANOSECONDS_PER_SECOND}
    site.set_page("/metrics", large(count=3, created="1.7e9"))
    assert {one.created for one in server.read().counters} == {1_700_000_000 * NANOSECONDS_PER_SECOND}


def test_a_page_of_more_series_than_there_is_room_for_is_refused(make: Make, site: Any) -> None:
    """20,001 that count; and 10,001 that count, each with the line of its start."""
    for page in (large(count=20_001), large(count=10_001, created="1.6e9")):
        site.set_page("/metrics", page)
        with pytest.raises(ReadFailedError, match="more series than an engine has"):
            make(engine="vllm").read()


def test_the_wait_for_other_large_pages_is_known() -> None:
    """A small page waits for nobody."""
    clock: Any = clock_at(0, step=NANOSECONDS_PER_SECOND)
    client: Any = None
    session = EndpointSession("http://127.0.0.1:8000/metrics", client, clock)
    with session.parsing_turn(b"small"):
        assert not endpoint._parsing.locked()
    assert session.waited == 0
    for waited in (1, 2):
        with session.parsing_turn(bytes(LARGE_BYTES)):
            assert endpoint._parsing.locked()
        assert session.waited == waited * NANOSECONDS_PER_SECOND
    with pytest.raises(MemoryError), session.parsing_turn(bytes(LARGE_BYTES)):
        raise MemoryError
    assert not endpoint._parsing.locked()


def test_marks_of_a_large_page_are_of_its_series(make: Make, site: Any) -> None:
    """By the digest of each."""
    site.set_page("/metrics", large())
    (first, *_) = make(engine="vllm").read().counters
    name = "generation_tokens_total{model_name=m,tenant=a-customer-of-ours-0}"
    assert digest(first.series) == digest(name)
