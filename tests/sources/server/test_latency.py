"""Latency histograms of a read: only with a service level, and never at the cost of tokens."""

from dataclasses import replace

import pytest

from exporter.readings import LatencyReading, ServiceLevel
from exporter.sources.server import ServerContext
from tests.sources.server.conftest import Make, ScriptedServer

SLO = ServiceLevel(first_token_seconds=0.75)
NAME = "vllm:time_to_first_token_seconds_bucket"
BUCKETS = b"".join(
    b'%s{engine="0",model_name="m",le="%s"} %d\n' % (NAME.encode(), bound, count)
    for bound, count in ((b"0.5", 3), (b"1.0", 4), (b"+Inf", 5))
)
READ = LatencyReading(
    "time_to_first_token_seconds_bucket{engine=0,model_name=m}",
    *("m", "first_token", "requests"),
    *(0.5, 1.0, 3.0, 4.0, 5.0),
)


def test_the_first_read_of_an_unknown_server_has_its_histograms(
    make: Make, site: ScriptedServer, vllm_page: bytes
) -> None:
    """Its engine is recognized by the same page."""
    site.set_page("/metrics", vllm_page + BUCKETS)
    reading = make(context=ServerContext(slo=SLO)).read()

    assert (reading.slo, reading.latencies) == (SLO, (READ,))


def test_without_a_level_no_histogram_is_read(make: Make, site: ScriptedServer, vllm_page: bytes) -> None:
    """The reading is that of a page without them."""
    site.set_page("/metrics", vllm_page + BUCKETS)
    reading = make().read()
    site.set_page("/metrics", vllm_page)

    assert (reading.slo, reading.latencies) == (None, None)
    assert make().read() == reading


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(BUCKETS.replace(b"} 3", b"} 9"), id="falling"),
        pytest.param(BUCKETS.replace(b'"+Inf"', b'"7.5"'), id="no last bucket"),
        pytest.param(BUCKETS + BUCKETS, id="twice"),
        pytest.param(BUCKETS.replace(b"} 4", b"} four"), id="no number"),
        pytest.param(
            b"".join(b'%s{le="%d"} 1\n' % (NAME.encode(), bound) for bound in range(20_001)), id="too many"
        ),
    ],
)
def test_bad_histograms_are_counted_and_tokens_are_read(
    make: Make, site: ScriptedServer, vllm_page: bytes, damage: bytes
) -> None:
    """However they are damaged, the counters are those of the page, and the error says so once a read."""
    site.set_page("/metrics", vllm_page)
    counters = make(context=ServerContext(slo=SLO)).read().counters
    site.set_page("/metrics", vllm_page + damage)
    source = make(context=ServerContext(slo=SLO))
    reading = source.read()

    assert (reading.up, reading.counters, reading.latencies) == (True, counters, None)
    assert source.errors == (("bad_histograms", 1),)


def test_a_server_without_such_histograms_has_none(
    make: Make, site: ScriptedServer, vllm_page: bytes
) -> None:
    """That is no error: they may come with its first request."""
    site.set_page("/metrics", vllm_page)
    source = make(context=ServerContext(slo=SLO))

    assert (source.read().latencies, source.errors) == ((), ())


def test_histograms_that_change_alone_are_read(make: Make, site: ScriptedServer, vllm_page: bytes) -> None:
    """A page whose counters stay the same is parsed again when one of its buckets moves."""
    site.set_page("/metrics", vllm_page + BUCKETS.replace(b"} 3", b"} 9"))
    source = make(context=ServerContext(slo=SLO))
    damaged = [source.read().latencies for _ in range(3)]
    site.set_page("/metrics", vllm_page + BUCKETS)

    assert (damaged, source.read().latencies, source.errors) == ([None] * 3, (READ,), ())
    site.set_page("/metrics", vllm_page + BUCKETS.replace(b"} 5", b"} 6"))
    assert source.read().latencies == (replace(READ, total=6.0),)


def test_histograms_of_another_engine_are_its_own(make: Make, site: ScriptedServer, vllm_page: bytes) -> None:
    """The lines kept for the engine of the last page are no lines of this one's."""
    site.set_page("/metrics", vllm_page + BUCKETS)
    source = make(context=ServerContext(slo=SLO))
    source.read()
    other = (
        b'sglang:num_running_reqs{model_name="m"} 1\n'
        b'sglang:prompt_tokens_total{model_name="m"} 7\n'
        b'sglang:generation_tokens_total{model_name="m"} 3\n'
    )
    site.set_page("/metrics", other + BUCKETS.replace(b"vllm:", b"sglang:"))
    reading = source.read()

    assert (reading.engine, reading.latencies) == ("sglang", (READ,))
