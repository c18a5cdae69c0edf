"""Ticks that cannot be taken: told once, made good by the next, and borne for ten minutes."""

import logging
import threading
from collections.abc import Iterable
from itertools import pairwise

import pytest

from exporter.readings import MustRestartError
from exporter.sampler.change_log import LONGEST, TickFailures
from exporter.sampler.sampler import Sampler
from exporter.sources.gather import Gathered, read
from tests.sampler.sampler_bench import TICK, Clock, Endpoint, Footprint, Ledger, Nvml, plan

TROUBLE = "no tick can be taken: the report stands, the next tick charges the time"


class Failing:
    """Reads the sources, or raises what is next in a list."""

    def __init__(self, clock: Clock, *failures: Exception | None) -> None:
        self._clock = clock
        self._failures = list(failures)

    def __call__(self, sources: Iterable[object]) -> list[Gathered]:
        failure = self._failures.pop(0) if self._failures else None
        if failure is not None:
            raise failure
        return [read(source, self._clock) for source in sources]


def sampler(clock: Clock, ledger: Ledger, *failures: Exception | None) -> Sampler:
    gather = Failing(clock, *failures)
    return Sampler(clock, gather, Nvml(), ledger, Footprint(), plan(Endpoint()))


def test_a_tick_that_fails_is_told_once_and_the_next_charges_its_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line when it begins, one for another reason, one when it ends; no time is lost or charged twice."""
    caplog.set_level(logging.INFO, "exporter.sampler.change_log")
    clock, ledger = Clock(stop_after=6), Ledger()
    slip = KeyError("slip")
    made = sampler(clock, ledger, None, MemoryError(), MemoryError(), slip, None)
    made.run(threading.Event())

    ours = [
        record
        for record in caplog.records
        if record.name == "exporter.sampler.change_log" and record.getMessage() != "server holds GPUs"
    ]
    told = [(record.levelname, record.message, getattr(record, "problem", "")) for record in ours]
    assert told == [
        ("ERROR", TROUBLE, "out of memory"),
        ("ERROR", TROUBLE, "KeyError('slip')"),
        ("INFO", "ticks are taken again", ""),
    ]
    segments = [segment for postings in ledger.posted for segment in postings.segments]
    assert [segment.end - segment.start for segment in segments] == [4 * TICK, TICK]
    assert all(one.end == later.start for one, later in pairwise(segments))


def test_after_ten_minutes_without_a_tick_the_process_ends() -> None:
    """Its supervisor starts another, which goes on from the ledger."""
    clock = Clock()
    made = sampler(clock, Ledger(), None, *[MemoryError()] * 1000)
    with pytest.raises(MustRestartError, match="no tick could be taken for ten minutes: out of memory"):
        made.run(threading.Event())
    assert clock.now == TICK + LONGEST


def test_a_tick_in_between_begins_the_ten_minutes_anew() -> None:
    """It is the process that can take none that is ended."""
    failures = TickFailures()
    for now in (0, LONGEST - 1):
        failures.note(MemoryError(), now)
    failures.end()
    failures.note(MemoryError(), LONGEST)


def test_what_only_a_new_process_can_mend_is_no_failed_tick() -> None:
    """It ends the daemon at once."""
    made = sampler(Clock(), Ledger(), MustRestartError("new driver"))
    with pytest.raises(MustRestartError, match="new driver"):
        made.run(threading.Event())


def test_books_that_are_not_settled_end_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine's may be on their way aside: a new process finds them as they are."""
    ledger = Ledger()

    def exhausted(*_: object) -> bool:
        raise MemoryError

    monkeypatch.setattr(ledger, "bind", exhausted)
    with pytest.raises(MustRestartError, match=r"whose books these are was not settled: MemoryError\(\)"):
        sampler(Clock(), ledger).run(threading.Event())
    assert ledger.posted == []
