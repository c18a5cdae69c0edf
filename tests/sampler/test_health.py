"""How sources have fared: those that fail, and those that are not asked."""

import logging

import pytest

from exporter.readings import FailureReason, SourceHealth
from exporter.sampler.source_health import Health
from exporter.sources.gather import Gathered
from tests.kit.clock import START
from tests.sampler.sampler_fixture import FakeNvmlSource

REFUSED = SourceHealth("pods", up=False, duration=1, reason=FailureReason.FORBIDDEN, expected=False)
FAILED = SourceHealth("pods", up=False, duration=1, reason=FailureReason.FORBIDDEN)
UP = SourceHealth("pods", up=True, duration=1)


def noted(
    health: Health, source_health: SourceHealth, problem: str = ""
) -> list[tuple[str, bool, dict[str, int]]]:
    """The rows after one tick."""
    health.note([Gathered(FakeNvmlSource(), None, source_health, problem)], START)
    return [(row.source, row.up, dict(row.errors)) for row in health.rows()]


def test_what_may_not_ask_and_need_not_is_no_source(caplog: pytest.LogCaptureFixture) -> None:
    """No row, so that no alert speaks, however long; the log says it once, and again for another reason."""
    caplog.set_level(logging.INFO)
    health = Health()
    rows = [noted(health, REFUSED, problem) for problem in ("no", "no", "never", "never")]

    assert rows == [[], [], [], []]
    lines = [(record.levelname, record.message, vars(record)["problem"]) for record in caplog.records]
    assert lines == [("INFO", "source skipped", "no"), ("INFO", "source skipped", "never")]


def test_a_right_that_comes_makes_it_a_source() -> None:
    """Then it may fail as any other."""
    health = Health()

    assert noted(health, REFUSED, "no") == []
    assert noted(health, UP) == [("pods", True, {})]
    assert noted(health, FAILED, "no") == [("pods", False, {"forbidden": 1})]
    assert [row.problem for row in health.rows()] == ["no"]
    noted(health, UP)
    assert [row.problem for row in health.rows()] == [""]
