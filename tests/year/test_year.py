"""A year of events on a host: the ledger equals totals in exact fractions, every month."""

import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Final

import pytest

from exporter.ledger.reader import LedgerReader
from exporter.report import CommittedTotals
from tests.depth import deep
from tests.year import events, expected_totals, run
from tests.year.events import YearTick
from tests.year.expected_totals import PICODOLLARS, ExpectedYear
from tests.year.run import Year


def year_moments() -> Iterator[YearTick]:
    """Ticks of 10 s around each event and on a calm morning, of 10 minutes in autumn, of hours elsewhere.

    Those of 10 minutes are cut by the minute, longer ones than an hour by the hour. `tools/deep` takes eight
    times as many.
    """
    if deep():
        return events.moments(2 * events.HOUR, [(events.at(10, 1), events.at(11, 1), 600)])
    calm = events.at(5, 12, 9), events.at(5, 12, 9, 10), events.TICK
    autumn = events.at(10, 24, 12), events.at(10, 26), 600
    end = events.END - 60, events.END, events.TICK
    return events.moments(6 * events.HOUR, [calm, autumn, end], around=60)


TOGETHER: Final = 6
"""Ticks that share a commit where no event is near: a minute of them."""

pytestmark = [
    pytest.mark.timeout(600),  # one fixture lives the whole year; a slow machine takes a while
    pytest.mark.xdist_group("year"),  # and it is lived once, not once by each process of `pytest -n`
]

CELLS: Final = sum(len(expected_totals.components(gpu)) for gpu in range(events.GPUS))


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Year:
    path = tmp_path_factory.mktemp("year") / "ledger.db"
    return run.run_year(path, year_moments(), time.perf_counter, TOGETHER)


@pytest.fixture(scope="module")
def expected(year: Year) -> ExpectedYear:
    return ExpectedYear(year.around)


@pytest.fixture(scope="module")
def totals(year: Year) -> CommittedTotals:
    with LedgerReader.open(year.path) as reader:
        return reader.totals(year.last * run.SECOND, tuple(name for name, _ in events.STARTS))


def month_of(totals: CommittedTotals, name: str) -> dict[tuple[str, str], int]:
    return {(key.product, key.team): amount for key, amount in totals.months.items() if key.month == name}


def by_gpu(expected: ExpectedYear, moment: int) -> dict[tuple[str, str], int]:
    return {
        (f"GPU-{gpu}", component): expected.picodollars(gpu, component, moment)
        for gpu in range(events.GPUS)
        for component in expected_totals.components(gpu)
    }


def test_the_year_was_lived_whole(year: Year) -> None:
    """Every month closed once, every restart happened, and no event fell between two long ticks."""
    assert list(year.closed) == [name for name, _ in events.STARTS[:-1]]
    assert len(year.reopened) == 11
    assert events.END - year.last < events.TICK
    ends = {end: (after - before) for end, (before, after) in year.around.items()}
    gaps = {absence.first - absence.last for absence in events.ABSENCES}
    assert {length for length in ends.values() if length != events.TICK} <= gaps


@pytest.mark.parametrize("name", [name for name, _ in events.STARTS])
def test_each_month_is_exact(year: Year, expected: ExpectedYear, totals: CommittedTotals, name: str) -> None:
    """A month by product and team is exact to the picodollar, at its close and at the year's end."""
    closed = (year.last, totals) if name == "2027-01" else year.closed[name]
    for last, actual in (closed, (year.last, totals)):
        wanted = {owner: amount for owner, amount in expected.month(name, last).items() if amount}
        assert wanted == month_of(actual, name)


@pytest.mark.parametrize("name", [name for name, _ in events.STARTS])
def test_each_month_is_within_a_picodollar_of_the_exact_fraction(
    year: Year, expected: ExpectedYear, totals: CommittedTotals, name: str
) -> None:
    """Rounding costs a month less than one picodollar for each GPU and component, whatever happens."""
    adjusted = (each for each in events.ADJUSTMENTS if each.day.startswith(name))
    exact = expected.exact_month(name, year.last) * PICODOLLARS + sum(each.picodollars for each in adjusted)
    assert CELLS == 32
    assert abs(exact - Fraction(sum(month_of(totals, name).values()))) < CELLS


@pytest.mark.parametrize("name", [name for name, _ in events.STARTS[:-1]])
def test_each_gpu_and_component_is_exact_at_each_close(year: Year, expected: ExpectedYear, name: str) -> None:
    """What a GPU cost under a component so far is the whole picodollars of the exact sum, rounded down."""
    moment, closed = year.closed[name]
    assert by_gpu(expected, moment) == {
        (gpu.uuid, component): amount for (gpu, component), amount in closed.gpu_cost.items()
    }


def test_each_gpu_and_component_is_exact_at_the_end(
    year: Year, expected: ExpectedYear, totals: CommittedTotals
) -> None:
    """The same after the last tick of the year."""
    assert by_gpu(expected, year.last) == {
        (gpu.uuid, component): amount for (gpu, component), amount in totals.gpu_cost.items()
    }


def test_all_families_agree_at_each_close(year: Year, totals: CommittedTotals) -> None:
    """Slots, servers and GPUs sum to one amount, months to that and adjustments; the residual is 0."""
    for moment, closed in (*year.closed.values(), (year.last, totals)):
        adjusted = sum(each.picodollars for each in expected_totals.adjustments(moment))
        total = sum(closed.gpu_cost.values())
        assert total > 0
        assert total == sum(closed.cost.values())
        assert total == sum(closed.server_cost.values())
        assert total + adjusted == sum(closed.months.values())
        assert closed.residual == 0


def test_adjustments_are_posted_once(year: Year) -> None:
    """Each with its day and payer, by the first tick after its entry; what is entered twice is two."""
    with LedgerReader.open(year.path) as reader:
        posted = sorted(reader.adjustments(0, 99991231), key=lambda one: one.number)
    assert [(one.day, one.product, one.team, one.amount) for one in posted] == [
        (each.day, each.product, each.team, each.picodollars) for each in events.ADJUSTMENTS
    ]
    for one, each in zip(posted, events.ADJUSTMENTS, strict=True):
        assert one.posted is not None
        absence = next((gone for gone in events.ABSENCES if gone.last < each.entered < gone.first), None)
        due = each.entered + events.TICK if absence is None else absence.first
        assert each.entered <= one.posted // run.SECOND <= due


def test_a_restart_changes_nothing(year: Year) -> None:
    """What a new process finds is what the one before served, to the last integer, with residual 0."""
    for before, after in year.reopened:
        assert after.residual == 0
        assert before.gpu_cost == after.gpu_cost
        assert before.server_cost == after.server_cost
        assert before.months == after.months
        assert before.energy == after.energy
        assert before.cost.items() <= after.cost.items()
        assert before.tokens.items() <= after.tokens.items()


def test_tokens_are_exact(year: Year, totals: CommittedTotals) -> None:
    """Each server's tokens, through restarts told and untold, a bad read, silence, gaps, a new model name."""
    actual: dict[tuple[str, str, str], int] = {}
    for (owner, kind), count in totals.tokens.items():
        key = owner.server, owner.model, kind
        actual[key] = actual.get(key, 0) + count
    assert expected_totals.tokens(year.last) == actual


def test_energy_is_exact(year: Year, expected: ExpectedYear, totals: CommittedTotals) -> None:
    """Each GPU's energy, through a counter that began anew, a lost GPU, reboots and suspend."""
    assert {f"GPU-{gpu}": expected.energy(gpu, year.last) for gpu in range(events.GPUS)} == {
        gpu.uuid: energy for gpu, energy in totals.energy.items()
    }


def test_gpu_time_is_exact(year: Year, totals: CommittedTotals) -> None:
    """GPU time that is owed, and uncharged time. Only the gaps are unobserved."""
    assert expected_totals.gpu_seconds(year.last) * run.SECOND == sum(totals.gpu_time.values())
    unobserved = sum(
        time for owner_phase, time in totals.gpu_time.items() if owner_phase.phase == "unobserved"
    )
    assert expected_totals.unobserved_seconds(year.last) * run.SECOND == unobserved
    uncharged = sum(absence.uncharged for absence in events.ABSENCES)
    assert uncharged == 2 * events.DAY + 6 * events.HOUR + 5 * 60
    assert uncharged * run.SECOND == totals.uncharged


def test_the_ledger_stays_small(year: Year) -> None:
    """A year is below 18 MiB, though few commits let go of few old hours: at a tick every 10 s it is less."""
    assert year.path.stat().st_size < 18 * 2**20
