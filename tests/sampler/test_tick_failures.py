"""Ticks that fail: logged once, made good by the next, and the end of the process after ten minutes."""

import logging
import threading
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest

from exporter.clock import Clock
from exporter.cost.postings import Postings
from exporter.cost.state import State
from exporter.readings import MustRestartError, Source
from exporter.sampler.frame_reader import FrameReader
from exporter.sampler.sampler import FAILING_MAX, Sampler
from exporter.sources.gather import Gathered, read_source
from tests.kit.clock import ManualClock
from tests.sampler.sampler_fixture import (
    TICK,
    FakeEndpoint,
    FakeLedger,
    FakeNvmlSource,
    FakeProcessMetrics,
    SamplerFixture,
    plan,
)

FAILED = "tick failed"


class FailingGather:
    """Reads the sources; in each tick first raises the next failure of a list."""

    def __init__(self, clock: Clock, *failures: Exception | None) -> None:
        self._clock = clock
        self._failures = list(failures)

    def __call__(self, sources: Iterable[Source[Any]]) -> list[Gathered]:
        sources = list(sources)
        begins = any(isinstance(source, FakeNvmlSource) for source in sources)
        failure = self._failures.pop(0) if begins and self._failures else None
        if failure is not None:
            raise failure
        return [read_source(source, self._clock) for source in sources]


def sampler(clock: Clock, ledger: FakeLedger, *failures: Exception | None) -> Sampler:
    gather = FailingGather(clock, *failures)
    return Sampler(
        clock,
        FrameReader(clock, gather, (FakeNvmlSource(),)),
        ledger,
        FakeProcessMetrics(),
        plan(FakeEndpoint()),
    )


def test_a_failed_tick_is_logged_once_and_the_next_charges_its_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line when it begins, one for another reason, one when it ends; no time is lost or charged twice."""
    caplog.set_level(logging.INFO, "exporter.sampler.change_log")
    clock, ledger = ManualClock(stop_after=6), FakeLedger()
    failure = ValueError("slip")
    made = sampler(clock, ledger, None, failure, failure, KeyError("slip"), None)
    made.run(threading.Event())

    lines = [
        (record.levelname, record.message, getattr(record, "problem", ""))
        for record in caplog.records
        if record.name == "exporter.sampler.change_log" and record.getMessage() != "server gpus changed"
    ]
    assert lines == [
        ("ERROR", FAILED, "ValueError('slip')"),
        ("ERROR", FAILED, "KeyError('slip')"),
        ("INFO", "tick recovered", ""),
    ]
    segments = [segment for postings in ledger.posted for segment in postings.segments]
    assert [segment.end - segment.start for segment in segments] == [
        4 * TICK,
        TICK,
        TICK,
    ]  # the last at the stop
    assert all(one.end == later.start for one, later in pairwise(segments))


def test_memory_that_runs_out_fails_one_tick() -> None:
    """As any exception does."""
    clock, ledger = ManualClock(stop_after=3), FakeLedger()
    sampler(clock, ledger, None, MemoryError()).run(threading.Event())
    segments = [segment for postings in ledger.posted for segment in postings.segments]
    assert [segment.end - segment.start for segment in segments] == [2 * TICK, TICK]  # the last at the stop


def test_after_ten_minutes_without_a_tick_the_process_ends() -> None:
    """Its supervisor starts another, which goes on from the ledger."""
    clock = ManualClock()
    made = sampler(clock, FakeLedger(), None, *[ValueError("slip")] * 1000)
    with pytest.raises(MustRestartError, match=r"no successful tick for 10 minutes: ValueError\('slip'\)"):
        made.run(threading.Event())
    assert clock.now == TICK + FAILING_MAX


def test_a_tick_in_between_starts_the_ten_minutes_over() -> None:
    """Only a process without any successful tick ends."""
    ticks = FAILING_MAX // TICK
    clock = ManualClock(stop_after=2 * ticks)
    failures = [ValueError("slip")] * (ticks - 1)
    sampler(clock, FakeLedger(), *failures, None, *failures, None).run(threading.Event())
    assert len(clock.waited) == 2 * ticks


def test_what_only_a_new_process_can_mend_is_no_failed_tick() -> None:
    """It ends the daemon at once."""
    made = sampler(ManualClock(), FakeLedger(), MustRestartError("new driver"))
    with pytest.raises(MustRestartError, match="new driver"):
        made.run(threading.Event())


def test_a_ledger_whose_owner_is_undecided_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine's may be on its way aside: a new process finds it as it is."""
    ledger = FakeLedger()

    def failing(*_: object) -> bool:
        raise ValueError("slip")

    monkeypatch.setattr(ledger, "bind", failing)
    with pytest.raises(MustRestartError, match=r"the owner of the ledger is undecided: ValueError\('slip'\)"):
        sampler(ManualClock(), ledger).run(threading.Event())
    assert ledger.posted == []


def test_what_the_cost_model_refuses_is_counted_once_its_tick_is_posted(
    fixture: SamplerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tick that is not posted is charged again by the next, which finds the same implausible values."""
    fixture.nvml.energy = 0
    fixture.tick()
    fixture.nvml.energy = 10**12
    fixture.endpoint.generation = 1e15
    post = fixture.ledger.post
    failures = [ValueError("slip"), ValueError("slip")]

    def failing(postings: Postings, state: State) -> None:
        if failures:
            raise failures.pop()
        post(postings, state)

    monkeypatch.setattr(fixture.ledger, "post", failing)
    for _ in range(2):
        with pytest.raises(ValueError, match="slip"):
            fixture.tick()

    errors = {row.source: row.errors for row in fixture.tick().sources}
    assert (errors["nvml"], errors["server:chat"]) == ({"implausible_energy": 1}, {"implausible_tokens": 1})


def test_what_the_cost_model_refuses_is_counted_once_while_a_clock_is_awaited(
    fixture: SamplerFixture,
) -> None:
    """Ticks after a reboot are not posted until the wall clock is set."""
    fixture.tick()
    fixture.clock.boot_id, fixture.clock.is_synchronized = "boot-2", False
    fixture.endpoint.generation = 1e15
    for _ in range(3):
        assert fixture.tick().totals is None
    fixture.clock.is_synchronized = True

    errors = {row.source: row.errors for row in fixture.tick().sources}
    assert errors["server:chat"] == {"implausible_tokens": 1}
