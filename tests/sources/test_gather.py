"""Sources are read all at once, and none of them can hold up the others or the tick."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from exporter.clock import SystemClock
from exporter.readings import FailureReason, MustRestartError, QuickSource, ReadFailedError
from exporter.sources import gather
from exporter.sources.gather import WORKERS, Gathered, Gatherer
from exporter.units import NANOSECONDS_PER_SECOND
from tests.exporter_threads import ended, running
from tests.kit.clock import ManualClock

SHORT = NANOSECONDS_PER_SECOND // 20
LONG = 10 * NANOSECONDS_PER_SECOND


@dataclass(eq=False)
class Scripted(QuickSource):
    """A source whose read is a function; counts its reads."""

    name: str
    act: Callable[[], object]
    reads: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self) -> object:
        with self.lock:
            self.reads += 1
        return self.act()


def raising(error: BaseException) -> Callable[[], object]:
    def act() -> object:
        raise error

    return act


@pytest.fixture
def gatherer() -> Iterator[Gatherer]:
    made = Gatherer(SystemClock(), LONG)
    yield made
    made.close()


def test_answers_come_in_the_order_of_the_sources(gatherer: Gatherer) -> None:
    """However fast each source is, its answer stands in the order of the sources."""
    first = threading.Event()

    def second_goes_first() -> object:
        assert first.wait(5)
        return "slow"

    slow = Scripted("slow", second_goes_first)
    fast = Scripted("fast", lambda: first.set() or "fast")

    answers = gatherer((slow, fast))

    assert [answer.reading for answer in answers] == ["slow", "fast"]
    assert all(answer.health.up for answer in answers)


def test_a_failed_read_costs_its_own_reading_only(gatherer: Gatherer) -> None:
    """The reason is a fixed word, the message is for people."""
    broken = Scripted("broken", raising(ReadFailedError(FailureReason.TIMEOUT, "nobody answered within 3 s")))

    answer, other = gatherer((broken, Scripted("fine", lambda: 1)))

    assert (
        answer.reading,
        answer.health.reason,
        answer.problem,
    ) == (None, "timeout", "nobody answered within 3 s")
    assert other.reading == 1


def test_a_slip_in_a_source_does_not_stop_the_meter(gatherer: Gatherer) -> None:
    """An exception that no source may raise is a failed read with its own reason."""
    (answer,) = gatherer((Scripted("slip", raising(KeyError("x"))),))

    assert answer.health.reason == "internal"
    assert answer.problem == "slip: KeyError: 'x'"


def test_a_source_that_raises_anything_fails_alone_and_is_read_again(gatherer: Gatherer) -> None:
    """Memory that runs out as well: the thread that read it goes on."""
    fine = Scripted("fine", lambda: 1)
    for failure in (MemoryError(), SystemExit()):
        source = Scripted("source", raising(failure))
        for _ in range(WORKERS + 1):
            answer, other = gatherer((source, fine))
            assert (answer.health.reason, other.reading) == ("internal", 1)
        source.act = lambda: "read"
        assert gatherer((source,))[0].reading == "read"


def test_without_a_thread_the_round_fails_and_the_next_one_reads(
    gatherer: Gatherer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is left over: each source is read once then."""

    def no_thread(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    sources = [Scripted(f"source-{number}", lambda: "read") for number in range(12)]
    with monkeypatch.context() as scarce:
        scarce.setattr(gather, "start", no_thread)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="can't start new thread"):
                gatherer(sources)
    assert [answer.reading for answer in gatherer(sources)] == ["read"] * 12
    assert [source.reads for source in sources] == [1] * 12


def test_the_pool_is_bounded_and_ends_when_it_is_closed() -> None:
    """However many sources there are; as many as may are read at the same time."""
    assert ended("source")  # those of other tests
    gatherer = Gatherer(SystemClock(), LONG)
    together = threading.Barrier(WORKERS, timeout=5)
    for _ in range(3):
        answers = gatherer([Scripted(f"source-{number}", together.wait) for number in range(3 * WORKERS)])
        assert all(answer.health.up for answer in answers)
    assert running("source") == WORKERS
    gatherer.close()
    assert ended("source")


def test_a_round_has_a_thread_for_each_source_from_the_first_on() -> None:
    """Whether reads end at once or wait for each other: later rounds start none, however busy the host is."""
    assert ended("source")  # those of other tests
    together = threading.Barrier(3, timeout=5)
    gatherer = Gatherer(SystemClock(), LONG)
    counts = []
    for act in (lambda: 1, together.wait):
        gatherer([Scripted(f"source-{number}", act) for number in range(3)])
        counts.append(running("source"))
    assert counts == [3, 3]
    gatherer.close()


def test_must_restart_reaches_the_caller(gatherer: Gatherer) -> None:
    """What only a new process can mend ends the tick."""
    with pytest.raises(MustRestartError, match="new driver"):
        gatherer((Scripted("nvml", raising(MustRestartError("new driver"))),))


def test_must_restart_of_a_read_that_ends_late_reaches_the_next_round() -> None:
    """Whether or not the source is asked again: a new process is needed all the same."""
    release, ended_read = threading.Event(), threading.Event()

    def fail_late() -> object:
        assert release.wait(10)
        ended_read.set()
        raise MustRestartError("new driver")

    gatherer = Gatherer(SystemClock(), SHORT)
    (answer,) = gatherer((Scripted("nvml", fail_late),))
    assert answer.health.reason == "busy"
    release.set()
    assert ended_read.wait(10)
    gatherer.close()
    assert ended("source")
    with pytest.raises(MustRestartError, match="new driver"):
        gatherer(())


def test_a_hung_source_is_asked_once_and_reported_busy_until_it_returns() -> None:
    """It holds one worker, however many ticks go by; then it is read again."""
    release = threading.Event()
    returned = threading.Event()

    def hang() -> object:
        assert release.wait(10)
        returned.set()
        return "late"

    hung = Scripted("hung", hang)
    fine = Scripted("fine", lambda: 1)
    gatherer = Gatherer(SystemClock(), SHORT)

    rounds = [gatherer((hung, fine)) for _ in range(3)]

    assert [answers[0].health.reason for answers in rounds] == ["busy"] * 3
    assert [answers[1].reading for answers in rounds] == [1, 1, 1]
    assert hung.reads == 1

    release.set()
    assert returned.wait(10)
    answers: list[Gathered] = []
    while not (answers and answers[-1].health.up):  # bounded by the test's own time-out
        answers.append(gatherer((hung,))[0])

    assert answers[-1].reading == "late"
    gatherer.close()


def test_a_busy_host_wakes_the_round_late_and_the_deadline_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pause of a tenth of a second takes a whole one here: three of them, not 30."""
    clock, waits = ManualClock(), list[float]()
    gatherer = Gatherer(clock, 3 * NANOSECONDS_PER_SECOND)

    def wait(_reads: object, pause: float) -> None:
        waits.append(pause)
        clock.now += NANOSECONDS_PER_SECOND

    monkeypatch.setattr(gather, "wait", wait)
    monkeypatch.setattr(gather, "start", lambda *_: None)  # no thread gets a turn
    (answer,) = gatherer([Scripted("late", lambda: None)])

    assert answer.health.reason == FailureReason.BUSY
    assert waits == [0.1] * 3


def test_whoever_is_to_stop_waits_no_longer_for_sources(gatherer: Gatherer) -> None:
    """A deadline of ten seconds, a source that hangs, a stop meanwhile: the tick ends after half of one."""
    hanging, release = threading.Event(), threading.Event()

    def hang() -> object:
        hanging.set()
        return release.wait(30)

    def stop() -> None:
        assert hanging.wait(5)
        gatherer.stop.set()

    stopper = threading.Thread(target=stop)
    stopper.start()
    began = time.monotonic()
    hung, quick = gatherer([Scripted("hung", hang), Scripted("quick", lambda: "told")])
    took = time.monotonic() - began
    release.set()
    stopper.join()

    assert (hung.health.reason, quick.reading) == ("busy", "told")
    assert 0.5 <= took < 5
