"""llama.cpp: its model, its router, and law 6: reading never wakes a sleeping model.

Trap #20227: reading /metrics keeps a server awake that would fall asleep, and wakes one that sleeps.
"""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from exporter.readings import ReadFailedError, SequenceLimit, ServerKey, ServerReading
from exporter.sources.server import ServerContext, ServerSource
from exporter.sources.server.probe import LlamaCppProps, SleepWatch
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND

Make = Callable[..., ServerSource]
HEADER = {"Process-Start-Time-Unix": "1824948099"}


def page(prompt: int, running: int = 0) -> bytes:
    return (
        f"llamacpp:prompt_tokens_total {prompt}\nllamacpp:tokens_predicted_total 20\n"
        f"llamacpp:requests_processing {running}\n"
    ).encode()


def props(*, sleeping: bool | None = None, **more: object) -> bytes:
    document = {"model_alias": "tiny", "build_info": "b10434-x", "total_slots": 2} | more
    return json.dumps(document if sleeping is None else document | {"is_sleeping": sleeping}).encode()


def metrics_reads(site: Any) -> int:
    return len([path for path in site.paths if path.startswith("/metrics")])


def test_the_model_and_the_build_come_from_props(make: Make, site: Any) -> None:
    """No series names them; the header is an opaque identity."""
    site.set_page("/metrics", page(10), **HEADER)
    site.set_page("/props", props())
    reading = make().read()
    assert (reading.engine, reading.engine_version) == ("llamacpp", "b10434-x")
    assert (reading.identity, reading.started) == ("1824948099", None)
    assert reading.models == ("tiny",)
    assert {counter.model for counter in reading.counters} == {"tiny"}


def test_without_props_the_model_is_asked_once_per_process(make: Make, site: Any) -> None:
    """Of /v1/models, by its first name."""
    site.set_page("/metrics", page(10), **HEADER)
    site.set_page("/v1/models", b'{"data": [{"id": "tiny"}, {"id": "other"}]}')
    source = make()
    assert [source.read().models, source.read().models] == [("tiny",), ("tiny",)]
    assert site.paths.count("/v1/models") == 1
    site.set_page("/metrics", page(1), **{"Process-Start-Time-Unix": "2"})
    assert source.read().models == ("tiny",)
    assert site.paths.count("/v1/models") == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"data": 1}',
        b'{"data": [1, {"id": 2}, {"id": ""}]}',
        b"[" * 100_000,
        b"x" * 2_000_000,
    ],
)
def test_a_model_that_cannot_be_told_is_empty(make: Make, site: Any, body: bytes) -> None:
    """Tokens are counted all the same."""
    site.set_page("/metrics", page(10))
    site.set_page("/props", body)
    site.set_page("/v1/models", body)
    reading = make().read()
    assert reading.models == ()
    assert {(counter.model, counter.quantity) for counter in reading.counters} == {
        ("", "prompt"),
        ("", "generation"),
    }


def test_pages_beside_the_metrics_are_asked_behind_the_same_prefix(make: Make, site: Any) -> None:
    """As with --api-prefix."""
    site.set_page("/llm/metrics", page(10))
    make("http://127.0.0.1:8080/llm/metrics").read()
    assert site.paths == ["/llm/props", "/llm/metrics", "/llm/v1/models"]


def test_a_build_that_cannot_sleep_is_asked_for_props_once(make: Make, site: Any) -> None:
    """Its metrics are then read always."""
    site.set_page("/metrics", page(10))
    site.set_page("/props", props())
    source = make(busy=lambda: False)
    for _ in range(3):
        source.read()
    assert site.paths == ["/props", "/metrics", "/metrics", "/metrics"]


def test_a_server_that_sleeps_is_not_woken_by_the_first_contact(make: Make, site: Any) -> None:
    """Its counters are not known to be zero, so that nothing is said of them."""
    site.set_page("/metrics", page(10))
    site.set_page("/props", props(sleeping=True))
    source = make()
    for _ in range(2):
        with pytest.raises(ReadFailedError) as failure:
            source.read()
        assert failure.value.reason == "asleep"
    assert site.paths == ["/props", "/props"]


@pytest.mark.parametrize(
    ("slots", "flag", "expected"),
    [(2, None, 2), (2, 4, 2), (0, 4, 4), (-1, 4, 4), (True, 4, 4), ("8", 4, 4), (1e9, None, None)],
)
def test_each_slot_runs_one_request(
    make: Make, site: Any, slots: object, flag: int | None, expected: float | None
) -> None:
    """By its own information, else by its command line."""
    limit = None if flag is None else SequenceLimit(flag)
    site.set_page("/metrics", page(10, running=1))
    site.set_page("/props", props(sleeping=False, total_slots=slots))
    (load,) = make(context=ServerContext(max_running=limit)).read().loads
    assert (load.running, load.max_running) == (1.0, expected)


def test_a_sleeping_server_uses_none_of_its_slots(make: Make, site: Any) -> None:
    """Its load is 0, not unknown; its cache is gone."""
    site.set_page("/metrics", page(10, running=1) + b"llamacpp:kv_cache_usage_ratio 0.5\n")
    site.set_page("/props", props(sleeping=False))
    source = make()
    assert source.read().loads[0].kv_cache == (0.5, 1)
    site.set_page("/props", props(sleeping=True))
    (load,) = source.read().loads
    assert (load.running, load.max_running, load.kv_cache) == (0.0, 2.0, None)


def test_a_server_that_fell_asleep_answers_with_its_last_counters(make: Make, site: Any) -> None:
    """It is up, has nothing in hand, and its metrics are not read."""
    site.set_page("/metrics", page(10, running=1))
    site.set_page("/props", props(sleeping=False))
    source = make()
    awake = source.read()
    site.set_page("/props", props(sleeping=True))
    asleep = source.read()
    assert (asleep.up, asleep.counters) == (True, awake.counters)
    assert [(load.running, load.waiting) for load in asleep.loads] == [(0.0, 0.0)]
    assert metrics_reads(site) == 1


def test_a_server_that_was_woken_is_read_again(make: Make, site: Any) -> None:
    """Something woke it, even if its GPU was not seen busy."""
    site.set_page("/metrics", page(10))
    source = make(busy=lambda: False)
    for sleeping in (False, True, False):
        site.set_page("/props", props(sleeping=sleeping))
        source.read()
    assert metrics_reads(site) == 2


def test_once_seen_asleep_it_is_read_while_busy_and_once_when_it_falls_idle(
    make: Make, site: Any, hand_clock: Any
) -> None:
    """Tokens count when a request ends: the last read is the one after the GPU fell idle."""
    busy = {"now": False}
    source = make(busy=lambda: busy["now"])
    site.set_page("/metrics", page(10))
    for sleeping in (False, True, False):  # it sleeps, and is woken
        site.set_page("/props", props(sleeping=sleeping))
        source.read()
    reads = []
    for step, now in enumerate((True, True, False, False, False, False)):
        busy["now"] = now
        hand_clock.now += 36_000 * NANOSECONDS_PER_SECOND
        site.set_page("/metrics", page(20 + step if now else 30))
        before = metrics_reads(site)
        reading = source.read()
        reads.append(metrics_reads(site) - before)
    # Idle reads: the one that sees the last request's tokens, and one more that sees nothing move.
    assert reads == [1, 1, 1, 1, 0, 0]
    assert {counter.value for counter in reading.counters} == {30.0, 20.0}
    assert (reading.up, reading.loads) == (True, ())


def test_an_idle_server_is_read_ever_more_rarely_so_that_it_may_fall_asleep(
    make: Make, site: Any, hand_clock: Any
) -> None:
    """Whether it sleeps at all is not told before it does."""
    site.set_page("/metrics", page(10))
    site.set_page("/props", props(sleeping=False))
    source = make(busy=lambda: False)
    at = []
    for tick in range(70):
        before = metrics_reads(site)
        source.read()
        if metrics_reads(site) > before:
            at.append(tick * 10)
        hand_clock.now += 10 * NANOSECONDS_PER_SECOND
    # Two at the start (the second sees that nothing moved), then pauses of 10, 20, 40, ... seconds.
    assert at == [0, 10, 20, 40, 80, 160, 320, 640]
    assert site.paths.count("/props") == 70


def test_a_server_that_died_while_it_was_left_alone_is_not_up(make: Make, site: Any) -> None:
    """That it answers is seen without waking it."""
    site.set_page("/metrics", page(10))
    site.set_page("/props", props(sleeping=False))
    source = make(busy=lambda: False)
    source.read()
    site.answers["/props"] = httpx.ConnectError("refused")
    with pytest.raises(ReadFailedError) as failure:
        source.read()
    assert failure.value.reason == "connection"


def test_a_router_is_read_by_model_and_never_loads_one(make: Make, site: Any) -> None:
    """Trap: without autoload=false a scrape loads the model that it asks for."""
    query = "?model=a%2Fb&autoload=false"
    site.set_page("/metrics" + query, page(10))
    site.set_page("/props" + query, props(sleeping=False, model_alias="a/b"))
    reading = make("http://127.0.0.1:8080/metrics?model=a%2Fb").read()
    assert reading.models == ("a/b",)
    assert site.paths == ["/props" + query, "/metrics" + query]


def test_a_router_without_a_model_says_what_to_configure(make: Make, site: Any) -> None:
    """Its own metrics are an error page."""
    site.set_page("/props", props(role="router"))
    with pytest.raises(ReadFailedError, match=r"\?model=NAME") as failure:
        make().read()
    assert failure.value.reason == "router"
    assert site.paths == ["/props"]


def test_pauses_grow_to_four_hours_and_shrink_with_work() -> None:
    """The longest pause bounds how late the tokens of a GPU that never tells that it is busy can be."""
    watch = SleepWatch("chat")
    idle = ServerReading(ServerKey("", "chat"), "http://chat", up=True)
    watch.note_read(idle, idle)

    def is_due(now: int, *, busy: bool) -> bool:
        awake = LlamaCppProps(sleeping=False)
        return watch.reading_at_rest(awake, idle, now=now, busy=lambda: busy) is None

    now = pause = 0
    for doubled in range(20):
        pause = min(10 * 2**doubled, 4 * 3600) * NANOSECONDS_PER_SECOND
        assert not is_due(now + pause - 1, busy=False)
        now += pause
        assert is_due(now, busy=False)
    assert pause == 4 * NANOSECONDS_PER_HOUR
    assert is_due(now, busy=True)
    assert is_due(now, busy=False)
    assert not is_due(now + 9 * NANOSECONDS_PER_SECOND, busy=False)
    assert is_due(now + 10 * NANOSECONDS_PER_SECOND, busy=False)


def failure_text(source: ServerSource) -> str:
    """How a read fails, in words."""
    with pytest.raises(ReadFailedError) as caught:
        source.read()
    return f"{caught.value.reason}: {caught.value}"


def test_one_that_takes_the_place_of_another_engine_is_not_woken(
    make: Make, site: Any, vllm_page: bytes
) -> None:
    """The URL has no configured engine: what answers after a failed read may be any."""
    site.set_page("/metrics", vllm_page)
    source = make()
    source.read()
    site.answers["/metrics"] = site.answers["/props"] = httpx.ConnectError("refused")
    assert failure_text(source).startswith("connection: ")
    site.set_page("/metrics", page(10))
    site.set_page("/props", props(sleeping=True))
    reads = metrics_reads(site)

    assert [failure_text(source).partition(":")[0] for _ in range(2)] == ["asleep", "asleep"]
    assert metrics_reads(site) == reads


def test_one_that_takes_a_place_between_two_reads_is_watched_from_its_first_page_on(
    make: Make, site: Any, vllm_page: bytes
) -> None:
    """No read failed in between. Its page is the first that tells, and is read already."""
    site.set_page("/metrics", vllm_page)
    source = make()
    source.read()
    site.set_page("/metrics", page(10, running=1))
    site.set_page("/props", props(sleeping=False))

    (load,) = source.read().loads
    assert (load.running, load.max_running) == (1.0, 2.0)
    site.set_page("/props", props(sleeping=True))
    assert source.read().loads[0].running == 0.0
    assert metrics_reads(site) == 2


def test_another_build_that_took_the_place_between_two_reads_is_asked_for_its_props(
    make: Make, site: Any
) -> None:
    """The identity of the process tells them apart. The second build can sleep."""
    site.set_page("/metrics", page(10), **HEADER)
    site.set_page("/props", props())
    source = make(busy=lambda: False)
    assert source.read().engine_version == "b10434-x"
    site.set_page("/metrics", page(1), **{"Process-Start-Time-Unix": "2"})
    site.set_page("/props", props(build_info="b10500-y", sleeping=False))

    assert source.read().engine_version == "b10500-y"
    site.set_page("/props", props(build_info="b10500-y", sleeping=True))
    source.read()
    assert metrics_reads(site) == 2


def test_a_configured_engine_that_is_another_is_never_asked_for_props(
    make: Make, site: Any, vllm_page: bytes
) -> None:
    """Neither before its first read nor after one that failed."""
    source = make(engine="vllm")
    site.answers["/metrics"] = httpx.ConnectError("refused")
    assert failure_text(source).startswith("connection: ")
    site.set_page("/metrics", vllm_page)
    source.read()
    assert "/props" not in site.paths


def test_one_without_metrics_on_its_command_line_is_asked_once(make: Make, site: Any) -> None:
    """LLAMA_ARG_ENDPOINT_METRICS=1 may have switched them on. It answers 501 where nothing has, and rests."""
    site.set_page("/props", props())
    site.answers["/metrics"] = httpx.Response(501)
    source = make(engine="llamacpp", context=ServerContext(metrics_off=True))

    first = failure_text(source)
    requests = len(site.requests)

    assert (
        first
        == f"metrics_off: {source.url}: answers with HTTP status 501; it serves metrics with `--metrics`"
    )
    assert [failure_text(source) for _ in range(3)] == [first] * 3
    assert len(site.requests) == requests


@pytest.mark.parametrize(("status", "reason"), [(503, "http_status"), (401, "unauthorized")])
def test_what_may_pass_is_asked_again(make: Make, site: Any, status: int, reason: str) -> None:
    """It answers 503 while it loads its model, and 401 until the file of its token is right."""
    site.answers["/props"] = site.answers["/metrics"] = httpx.Response(status)
    source = make(engine="llamacpp", context=ServerContext(metrics_off=True))
    assert failure_text(source).startswith(f"{reason}: ")
    site.set_page("/props", props())
    site.set_page("/metrics", page(10))

    assert source.read().up


def test_one_that_does_not_answer_yet_is_asked_again(make: Make, site: Any) -> None:
    """While it loads nobody listens; what its environment switched on is read from then on."""
    site.answers["/props"] = httpx.ConnectError("refused")
    source = make(engine="llamacpp", context=ServerContext(metrics_off=True))
    assert failure_text(source).startswith("connection: ")
    site.set_page("/props", props())
    site.set_page("/metrics", page(10))

    assert source.read().models == ("tiny",)
