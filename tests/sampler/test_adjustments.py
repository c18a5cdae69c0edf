"""A correction between two ticks: the report after it has the month moved, and nothing else."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.ledger.adjustment_entry import AdjustmentRequest, enter
from exporter.ledger.ledger import Ledger
from exporter.report import MonthKey, Report
from exporter.sampler.frame_reader import FrameReader
from exporter.sampler.sampler import Sampler
from tests.kit.clock import START, ManualClock
from tests.kit.units import DOLLAR, HOUR
from tests.sampler.sampler_fixture import TICK, FakeEndpoint, FakeNvmlSource, FakeProcessMetrics, inline, plan

PRODUCT, TEAM = "unassigned", "unassigned"
NOVEMBER = MonthKey(PRODUCT, TEAM, "configured", "2026-11")
OCTOBER = MonthKey(PRODUCT, TEAM, "configured", "2026-10")


class Host:
    """A sampler with a real file under it; two of them are told the same."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock, self.endpoint = ManualClock(), FakeEndpoint()
        self.ledger = Ledger.open(path, self.clock)
        self.sampler = self._sampler()

    def _sampler(self) -> Sampler:
        gather = inline(self.clock)
        return Sampler(
            self.clock,
            FrameReader(self.clock, gather, (FakeNvmlSource(),)),
            self.ledger,
            FakeProcessMetrics(),
            plan(self.endpoint),
        )

    def tick(self) -> Report:
        self.endpoint.generation += 50
        report = self.sampler.tick()
        self.clock.now += TICK
        return report

    def restart(self) -> None:
        self.ledger.close()
        self.ledger = Ledger.open(self.path, self.clock)
        self.sampler = self._sampler()

    def correct(self, amount: int, day: str = "2026-11-24") -> None:
        enter(self.path, AdjustmentRequest(amount, day, PRODUCT, None, f"correction of {amount}"), {}, START)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    """One that is corrected, and one beside it that is not."""
    pair = Host(tmp_path / "one.db"), Host(tmp_path / "other.db")
    for host in pair:
        for _ in range(3):
            host.tick()
    yield pair
    for host in pair:
        host.ledger.close()


def test_the_month_moves_and_its_projection_and_nothing_else(hosts: tuple[Host, Host]) -> None:
    """12.34 dollars less to date are 12.34 less at the month's end; October's 2 are in October."""
    one, other = hosts
    one.correct(-1234 * DOLLAR // 100)
    one.correct(2 * DOLLAR, "2026-10-31")
    with_it, without = one.tick(), other.tick()

    assert with_it.totals is not None
    assert without.totals is not None
    # 3 ticks of 10 s after the first, at 3.60 dollars an hour: a cent each.
    assert without.totals.months == {NOVEMBER: 3 * DOLLAR // 100}
    assert with_it.totals.months == {NOVEMBER: -1231 * DOLLAR // 100, OCTOBER: 2 * DOLLAR}
    ends = with_it.projected[PRODUCT, "2026-11"], without.projected[PRODUCT, "2026-11"]
    assert ends[0] - ends[1] == pytest.approx(-12.34)
    assert (with_it.quotients, with_it.rates, with_it.run_rate) == (
        without.quotients,
        without.rates,
        without.run_rate,
    )
    totals = replace(with_it.totals, months=without.totals.months, ledger=without.totals.ledger)
    assert totals == without.totals
    assert with_it.totals.residual == 0


def test_hours_later_rates_and_quotients_are_still_those_of_the_gpus(hosts: tuple[Host, Host]) -> None:
    """The window of an hour and the mean of a day pass over it."""
    one, other = hosts
    one.correct(1_000_000 * DOLLAR)
    one.tick()
    other.tick()
    for _ in range(80):  # a minute each, the longest that is no gap
        reports = one.tick(), other.tick()
        for host in hosts:
            host.clock.now += 50 * 10**9

    assert reports[0].quotients == reports[1].quotients
    assert len(reports[0].quotients) > 0
    first, second = (report.totals for report in reports)
    assert first is not None
    assert second is not None
    assert (first.usage, first.window, first.cost) == (second.usage, second.window, second.cost)
    assert first.months[NOVEMBER] - second.months[NOVEMBER] == 1_000_000 * DOLLAR


def test_one_that_came_while_the_daemon_was_down_is_in_its_first_report(hosts: tuple[Host, Host]) -> None:
    """The time of the stop is charged beside it, as ever."""
    for host in hosts:
        host.ledger.close()
    hosts[0].correct(7)
    for host in hosts:
        host.clock.now += HOUR
        host.restart()
    first, second = (host.tick().totals for host in hosts)

    assert first is not None
    assert second is not None
    assert first.months[NOVEMBER] - second.months[NOVEMBER] == 7
    assert (first.cost, first.residual) == (second.cost, 0)
    # 2 cents before, then an hour and 10 s at 3.60 dollars.
    assert second.months[NOVEMBER] == 363 * DOLLAR // 100
