"""Threads and memory that run out while sources are read: it costs the sources of that tick alone."""

import _thread
import threading
from collections.abc import Callable, Iterator

import pytest

from exporter.clock import SystemClock
from exporter.sources.gather import Gathered, Gatherer
from exporter.sources.nvml.library import Worker
from exporter.units import NANOSECONDS_PER_SECOND
from tests.living import gone, living, no_thread
from tests.shortage import Shortage
from tests.sources.test_gather import Scripted

LONG = 60 * NANOSECONDS_PER_SECOND


@pytest.fixture
def gatherer() -> Iterator[Gatherer]:
    """One that waits for a minute: none of these tests is to wait at all."""
    made = Gatherer(SystemClock(), LONG)
    yield made
    made.close()
    assert gone("source")


def sources(count: int, act: Callable[[], object] = lambda: "read") -> list[Scripted]:
    return [Scripted(f"source-{number}", act) for number in range(count)]


def reasons(answers: list[Gathered]) -> list[str]:
    return [answer.health.reason for answer in answers]


@pytest.mark.parametrize("start", [no_thread, lambda *_: 0], ids=["refused", "ended before it began"])
def test_without_any_thread_every_source_fails_at_once(
    gatherer: Gatherer, monkeypatch: pytest.MonkeyPatch, start: Callable[..., int]
) -> None:
    """Nothing of it is left for a later tick: with threads again each is read once and answers."""
    asked = sources(12)
    with monkeypatch.context() as scarce:
        scarce.setattr(_thread, "start_new_thread", start)
        first, second = gatherer(asked), gatherer(asked)
    third = gatherer(asked)

    assert reasons(first) == reasons(second) == ["no_thread"] * 12
    assert first[0].problem.startswith("source-0: no thread to read it in: ")
    assert [answer.reading for answer in third] == ["read"] * 12
    assert [source.asked for source in asked] == [1] * 12


def test_one_thread_reads_all(gatherer: Gatherer, monkeypatch: pytest.MonkeyPatch) -> None:
    """They then take their turns."""
    start, left = _thread.start_new_thread, [1]

    def scarce(*told: object) -> int:
        if not left:
            return no_thread()
        left.pop()
        return start(*told)  # type: ignore[arg-type]

    monkeypatch.setattr(_thread, "start_new_thread", scarce)
    asked = sources(12)
    for _ in range(2):
        assert [answer.reading for answer in gatherer(asked)] == ["read"] * 12
    assert living("source") == 1
    assert [source.asked for source in asked] == [2] * 12


def test_a_source_without_memory_says_so(gatherer: Gatherer) -> None:
    """It is the source that failed, not the tick."""

    def exhausted() -> object:
        raise MemoryError

    (answer,) = gatherer(sources(1, exhausted))
    assert (answer.health.reason, answer.problem) == (
        "no_memory",
        "source-0: memory ran out while it was read",
    )


def test_a_worker_that_ends_is_replaced(gatherer: Gatherer) -> None:
    """At whatever line of its own memory ran out: each source is read once a tick, and no tick waits."""
    shortage = Shortage()

    def watched() -> object:
        shortage.watch(callers=True)
        return "read"

    (source,) = sources(1, watched)
    for _ in range(2):
        assert gatherer([source])[0].reading == "read"
    lines = [line for line in sorted(shortage.lines) if line[0] == "sources/workers.py"]
    assert len(lines) > 10
    for line in lines:
        shortage = Shortage(line)
        source.asked = 0
        answers = [gatherer([source])[0] for _ in range(4)]
        assert {answer.reading for answer in answers[2:]} == {"read"}, line
        assert {answer.health.reason for answer in answers} <= {"", "no_thread", "no_memory"}, line
        assert 3 <= source.asked <= 4, line


def test_a_hung_source_is_not_asked_again_by_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though no thread is to be had for the others meanwhile."""
    release = threading.Event()
    hung, fine = Scripted("hung", lambda: release.wait(30)), Scripted("fine", lambda: "read")
    gatherer = Gatherer(SystemClock(), NANOSECONDS_PER_SECOND // 20)
    assert reasons(gatherer([hung])) == ["busy"]
    with monkeypatch.context() as scarce:
        scarce.setattr(_thread, "start_new_thread", no_thread)
        # Its only thread is at it: the other one waits its turn, and is not given up meanwhile.
        assert reasons(gatherer([hung, fine])) == ["busy", "busy"]
    release.set()
    seen: list[Gathered] = []
    while not (seen and seen[-1].health.up):  # bounded by the test's own time-out
        seen = gatherer([hung, fine])
    assert hung.asked <= 2 + len(seen)
    gatherer.close()


def test_a_call_into_nvml_without_memory_fails_and_the_next_is_served() -> None:
    """The thread outlives it."""
    worker = Worker("test-worker", SystemClock())

    def exhausted() -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        worker.run(exhausted, LONG)
    assert worker.run(lambda: "told", LONG) == "told"
    assert living("test-worker") == 1
    worker.stop()
    assert gone("test-worker")
