"""The demo runs the real pipeline over a month whose figures can be worked out by hand."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import cast

import pytest

from exporter.clock import SystemClock
from exporter.demo.daemon import DemoDaemon, replay
from exporter.demo.timeline import FINE, Timeline
from exporter.report import Report
from exporter.units import NANOSECONDS_PER_DAY, NANOSECONDS_PER_SECOND, dollars
from tests.demo.demo_history import BUILD, DemoHistory, LoggedHistory, demo_history
from tests.kit.clock import NOON, noon
from tests.sampler.sampler_fixture import FakeProcessMetrics

pytestmark = [pytest.mark.xdist_group("story"), pytest.mark.timeout(600)]  # a busy machine

DAY_SECONDS = 24 * 3600
FIRST = datetime(2027, 3, 1, 0, 0, 30, tzinfo=UTC)
"""Half a minute into a month, after one of 28 days."""


@pytest.fixture(scope="module")
def report(demo_at_noon: DemoHistory) -> Report:
    """The report at noon of 2026-11-25, the weeks before having been replayed."""
    return demo_at_noon.report


@pytest.fixture(scope="module")
def first() -> DemoHistory:
    return demo_history(int(FIRST.timestamp()))


def spent(report: Report, month: str) -> float:
    assert report.totals is not None
    return dollars(sum(amount for cell, amount in report.totals.months.items() if cell.month == month))


def test_both_months_are_accrued_to_the_cent(report: Report) -> None:
    """October has 11 days of the first price. November has 15 of it, then 9.5 of the second.

    For the 5.5 hours without the host there is no rent, but for the 10 seconds that it is taken to have been
    up after its last tick. Network and storage cost all of it.
    """
    october = 11 * 24 * (38.528 + 1.10) + 8 * 9.20 * 11 / 31
    rent = 15 * 24 * 38.528 + (9.5 * 24 - 5.5 + 10 / 3600) * 44.032
    november = rent + 24.5 * 24 * 1.10 + 8 * 9.20 * 24.5 / 30

    assert spent(report, "2026-10") == pytest.approx(october, abs=0.005)
    assert spent(report, "2026-11") == pytest.approx(november, abs=0.005)
    assert report.totals is not None
    assert dollars(sum(report.totals.cost.values())) == pytest.approx(october + november, abs=0.005)
    assert report.totals.residual == 0


def test_the_month_is_heading_past_the_budget(report: Report) -> None:
    """What is spent, and 5.5 days more of the second price with network and storage: above 27,000."""
    hourly = 44.032 + 1.10 + 8 * 9.20 / 720
    expected = spent(report, "2026-11") + 5.5 * 24 * hourly

    assert sum(report.projected.values()) == pytest.approx(expected, abs=0.5)
    assert expected > 27_000 > spent(report, "2026-11")
    assert [budget.dollars for budget in report.budgets] == [27000.0]
    assert report.run_rate == pytest.approx(730 * hourly, abs=0.01)


def test_the_idle_model_has_dollars_and_no_price_per_token(report: Report) -> None:
    """archive-13b lost its users three days ago: it still costs, and a million of its tokens has no price."""
    archive = [owner for owner in report.rates if owner.server == "archive-13b"]

    assert [report.rates[owner] for owner in archive] == [pytest.approx(5.504 + 0.1375 + 9.2 / 720, abs=1e-4)]
    assert not [quotient for quotient in report.quotients if quotient.owner in archive]
    assert {quotient.owner.server for quotient in report.quotients} == {"chat-70b", "search-8b", "trial-8b"}


def test_prefix_cache_hits_are_apart_from_computed_prompts(report: Report) -> None:
    """55 % of the chat's prompt tokens come from the cache; they are counted once."""
    assert report.totals is not None
    tokens = {kind: n for (owner, kind), n in report.totals.tokens.items() if owner.server == "chat-70b"}

    share = tokens["cached_prompt"] / (tokens["prompt"] + tokens["cached_prompt"])
    assert share == pytest.approx(0.55, abs=0.001)


def test_neither_the_restart_nor_the_reboot_counts_a_token_twice(report: Report) -> None:
    """Seven hours ago the chat's counters began anew: the total is far above what its process tells now."""
    assert report.totals is not None
    generated = next(
        n
        for (owner, kind), n in report.totals.tokens.items()
        if owner.server == "chat-70b" and kind == "generation"
    )
    page = next(server for server in report.servers if server.key.server == "chat-70b")
    now = next(counter.value for counter in page.counters if counter.quantity == "generation")

    # At most 6 requests a second of 340 tokens, for 35.5 days, ever.
    assert now < generated < 6.0 * 340 * 35.5 * DAY_SECONDS
    # In 7 hours at most 6 a second.
    assert now <= 6.0 * 340 * 7 * 3600


def test_time_without_a_price_was_charged_later(report: Report) -> None:
    """GPU 7 had no price for a day, and nothing waits any more: it cost what each of its sisters did."""
    assert report.totals is not None
    assert {gpu.uuid[-1]: duration for gpu, duration in report.totals.unpriced.items()} == {
        "7": NANOSECONDS_PER_DAY
    }
    cost: dict[str, int] = {}
    for (gpu, _), amount in report.totals.gpu_cost.items():
        cost[gpu.uuid[-1]] = cost.get(gpu.uuid[-1], 0) + amount
    assert dollars(cost["7"]) == pytest.approx(dollars(cost["0"]), abs=1e-6)
    assert all(row.priced for row in report.gpus)


def test_every_day_has_a_month_behind_it() -> None:
    """On each day of a year what happens does so in order, and in more than a month."""
    for day in range(366):
        timeline = Timeline.before((NOON + day * DAY_SECONDS) * NANOSECONDS_PER_SECOND)
        events = [
            timeline.begins,
            timeline.leased,
            timeline.corrected,
            timeline.repriced,
            timeline.lost,
            timeline.returned,
            timeline.tried,
        ]
        assert events == sorted(events)
        assert timeline.tried < timeline.deserted < timeline.restarted < timeline.now
        assert timeline.now - timeline.begins >= 35 * NANOSECONDS_PER_DAY


@pytest.mark.nightly
def test_the_month_ends_past_the_budget_whenever_it_is(demo_at_noon: DemoHistory, first: DemoHistory) -> None:
    """At noon of a day in its last week, and in the first minute of it."""
    for one in (demo_at_noon, first):
        report = one.report
        assert one.timeline.now == report.wall
        assert report.totals is not None
        assert report.totals.residual == 0
        month = next(iter(report.month_ends))
        assert sum(end for (_, name), end in report.projected.items() if name == month) > 27_000


@pytest.mark.nightly
def test_the_first_of_a_month_tells_the_whole_one_before(first: DemoHistory) -> None:
    """February 2027: 28 days of rent by two prices, less the hours without the host."""
    # Repriced on 20 February; lost for 5.5 hours on the 23rd.
    rent = 19 * 24 * 38.528 + (9 * 24 - 5.5 + 10 / 3600) * 44.032
    assert spent(first.report, "2027-02") == pytest.approx(rent + 28 * 24 * 1.10 + 8 * 9.20, abs=0.005)


@pytest.mark.nightly
def test_a_seed_tells_the_same_weeks_and_another_seed_others(history: LoggedHistory) -> None:
    """A second demo agrees in every total, and another seed moves money between phases alone."""
    first_run, again, other = (
        history.report.totals,
        demo_history().report.totals,
        demo_history(seed=8).report.totals,
    )

    assert first_run is not None
    assert again is not None
    assert other is not None
    assert (again.tokens, again.cost) == (first_run.tokens, first_run.cost)
    assert other.tokens != first_run.tokens
    assert sum(other.cost.values()) == sum(first_run.cost.values())


def test_what_the_chat_served_has_a_curve(history: LoggedHistory) -> None:
    """More by day than by night, and on a weekend about half."""
    hour, read = NOON // 3600, history.chat
    wednesday, saturday = hour - 12 - 7 * 24, hour - 12 - 4 * 24
    assert 0.45 < (read[saturday + 24] - read[saturday]) / (read[wednesday + 24] - read[wednesday]) < 0.65
    night, afternoon = read[wednesday + 4] - read[wednesday], read[wednesday + 16] - read[wednesday + 12]
    assert 3 * night < afternoon


def test_ticks_are_close_where_prices_per_token_are_taken_from() -> None:
    """A minute apart in the last two hours, five on the last day, an hour before; none without the host."""
    timeline = Timeline.before(NOON * NANOSECONDS_PER_SECOND)
    ticks = list(timeline.ticks())

    assert ticks[0] == timeline.begins
    assert ticks[-1] == timeline.now
    assert not [tick for tick in ticks if timeline.lost < tick <= timeline.returned]
    lasts = [after - before for before, after in pairwise(ticks)]
    minute = 60 * NANOSECONDS_PER_SECOND
    assert set(lasts[-(FINE // minute) :]) == {minute}
    last_day = [
        length for tick, length in zip(ticks, lasts, strict=False) if tick >= timeline.now - 24 * 60 * minute
    ]
    assert set(last_day) == {minute, 5 * minute}
    # The longest: 5.5 hours without the host and the minute that its daemon takes to come.
    assert sorted(lasts)[-2:] == [60 * minute, 331 * minute]


def test_a_slow_replay_leaves_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two and a half minutes pass while it is replayed: they are ticked as well, and none is unobserved."""
    clock, walls = noon(), []
    minute = 60 * NANOSECONDS_PER_SECOND
    monkeypatch.setattr(
        Timeline, "ticks", lambda timeline, _fine: iter([timeline.now - minute, timeline.now])
    )

    def published() -> None:
        report = daemon.current()
        assert report is not None
        walls.append((report.wall - daemon.timeline.now) / minute)
        clock.now = 5 * minute // 2

    daemon = DemoDaemon(clock, FakeProcessMetrics(()), BUILD, published)
    replay(daemon)
    report = daemon.sampler.tick()

    assert walls == [-1, 0, 1, 2, 2.5, 2.5]
    assert report.totals is not None
    unobserved = {key: time for key, time in report.totals.gpu_time.items() if key.phase == "unobserved"}
    assert sum(unobserved.values()) == 0


class Thousandths:
    """A daemon whose month has a thousand ticks."""

    def replay(self, stop: object, fine: int) -> Iterator[float]:
        del stop, fine
        yield from (tick / 1000 for tick in range(1, 1001))


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_for_terminals(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> None:
    """A log gets one line when it is done, a terminal how much of it is, too."""
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: terminal)
    monkeypatch.setattr("sys.stderr", screen)
    replay(cast("DemoDaemon", Thousandths()))

    printed = screen.getvalue()
    assert printed.count("\n") == 1
    assert printed.endswith("simulated the last five weeks\n")
    assert ("\rsimulating the last five weeks: 50%" in printed) == terminal
    assert terminal or printed == "simulated the last five weeks\n"


def test_the_demo_takes_the_hosts_clock() -> None:
    """It is set up without waiting for anything."""
    before = SystemClock().wall()

    assert (
        before
        <= DemoDaemon(SystemClock(), FakeProcessMetrics(()), BUILD).timeline.now
        <= SystemClock().wall()
    )
