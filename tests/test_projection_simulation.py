"""The simulation of months: its scenarios, its scores, and that the page has what it found."""

import re
from pathlib import Path

import pytest

from benchmarks.projection.fleets import evaluate
from benchmarks.projection.scenarios import HISTORY, MONTH, Trace, scenarios, trace
from benchmarks.projection.score import band, errors, score

PAGE = Path(__file__).parents[1] / "docs" / "projection.md"
BY_NAME = {one.name: one for one in scenarios()}


def test_the_months_are_the_same_each_time() -> None:
    """29 kinds, and a variant is reproducible."""
    assert len(BY_NAME) == 29
    assert trace(BY_NAME["steady"], 3) == trace(BY_NAME["steady"], 3)
    assert trace(BY_NAME["steady"], 3).recorded != trace(BY_NAME["steady"], 4).recorded


def test_the_truth_of_a_change() -> None:
    """Before a doubling it is the month without it, then what came; of a burst its cost alone stays."""
    doubles, burst = (
        trace(BY_NAME[name], 0) for name in ("doubles on day 15", "three times the load for a day")
    )
    change = doubles.change
    assert change is not None
    assert doubles.truth[change - 1] == pytest.approx(72_000, rel=0.02)
    assert doubles.truth[change] == doubles.total == doubles.spent[-1]
    assert doubles.total == pytest.approx(100 * (720 + HISTORY + MONTH - change), rel=0.02)
    assert burst.truth[-1] == pytest.approx(72_000 + 24 * 200, rel=0.02)


def test_a_dead_meter_and_an_installation() -> None:
    """What is not seen is spent where the meter died, and not where none was there."""
    dead, late = (
        trace(BY_NAME[name], 0) for name in ("meter dead for 12 h", "installed on day 28, day and night")
    )
    assert sum(value is None for value in dead.recorded) == 12
    assert dead.total == pytest.approx(72_000, rel=0.02)
    assert late.recorded.index(next(value for value in late.recorded if value is not None)) == late.first
    assert late.first == HISTORY + 27 * 24 + 12
    assert late.total == pytest.approx(6_000, rel=0.05)


def test_scores_by_hand() -> None:
    """100 an hour for 720 hours; projected at 80 from hour 100 on, for ten hours, and right elsewhere."""
    spent = tuple(100.0 * max(0, index - HISTORY + 1) for index in range(HISTORY + MONTH))
    steady = Trace(
        "by hand", 0, (100.0,) * len(spent), spent, (72_000.0,) * len(spent), 72_000.0, None, False
    )
    rates = {
        index: 80.0 if 100 <= index - HISTORY < 110 else 100.0 for index in range(HISTORY, HISTORY + MONTH)
    }
    wrong = errors(steady, rates)
    assert wrong[HISTORY + 100] == pytest.approx(-20 * 619 / 72_000)
    scored = score([steady], [rates])
    assert scored.false == 0
    assert scored.missed == 10
    assert scored.worst == pytest.approx(-20 * 619 / 72_000)
    low = dict.fromkeys(rates, 90.0)
    high = dict.fromkeys(rates, 100.0)
    assert band([steady], [low], [high], [rates]).holds == 1
    assert band([steady], [low], [low], [rates]).holds < 0.3


@pytest.mark.nightly
def test_the_engine_answers_for_many_fleets(tmp_path: Path) -> None:
    """Of a steady fleet and one that doubles; once an hour comes to the same as four times."""
    fleets = ([100.0] * 96, [100.0] * 48 + [200.0] * 48)
    hours = [20, 47, 95]  # groups at the 24th hour itself are in any order
    once, often = (evaluate(fleets, hours, tmp_path, per_hour) for per_hour in (1, 4))
    assert [once["rest"][0][hour] for hour in hours] == pytest.approx([100] * 3)
    assert once["low"][0][95] == pytest.approx(70)
    assert once["before"][1][95] == pytest.approx(200)
    for key, answers in once.items():
        for number, answer in enumerate(answers):
            assert often[key][number] == pytest.approx(answer, rel=0.01), key


def test_the_page_has_the_table() -> None:
    """All scenarios, and a band that holds the month in nine of ten hours."""
    text = PAGE.read_text(encoding="utf-8")
    for name in BY_NAME:
        assert f"| {name} |" in text
    (total,) = re.findall(r"^\| \*\*all\*\* \|.* \| (\d+) \| \d+ \|$", text, re.MULTILINE)
    assert int(total) >= 90
