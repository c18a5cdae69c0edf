"""The crank: read, advance, commit, publish, in this order and on the daemon's own clock."""

import logging
import threading
from dataclasses import replace
from decimal import Decimal

import pytest

from exporter.cost.projection import RecentUsage, UsageHour
from exporter.readings import Peer, ServerReading, endpoint_id
from exporter.report import CommittedTotals, MonthKey, SourceRow
from exporter.sampler.frame_reader import FrameReader
from exporter.sampler.sampler import Sampler, next_due
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Rented, RentPrice
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, PICODOLLARS_PER_DOLLAR
from tests.kit.clock import START
from tests.sampler.sampler_fixture import (
    CHAT,
    H100,
    TARIFF,
    TICK,
    FakeEndpoint,
    FakeProcessMetrics,
    SamplerFixture,
    inline,
    plan,
)


def test_the_first_tick_charges_nothing_and_the_second_what_passed(fixture: SamplerFixture) -> None:
    """An interval needs two ends: 3.60 dollars an hour over 10 seconds is one cent."""
    fixture.tick()
    fixture.tick()

    first, second = fixture.ledger.posted

    assert first.segments == ()
    assert sum(segment.accrued for segment in second.segments) == PICODOLLARS_PER_DOLLAR // 100


def test_what_is_published_was_committed_first(fixture: SamplerFixture) -> None:
    """The report's books are those the ledger serves after the post."""
    fixture.ledger.served = CommittedTotals("after", True, True, START, 0)

    report = fixture.tick()

    assert report.totals == fixture.ledger.served
    assert fixture.sampler.current() is report
    assert fixture.ledger.months == ("2026-11", "2026-10")


def test_a_failed_reload_is_shown_before_the_next_tick(fixture: SamplerFixture) -> None:
    """A reload that succeeds ends it at once. All else stays the answer of the last tick."""
    report = fixture.tick()
    before, failed = plan(), plan()
    failed = replace(
        failed,
        context=replace(
            failed.context, config_row=replace(failed.context.config_row, last_reload_success=False)
        ),
    )

    fixture.sampler.set_plan(failed)
    shown = fixture.sampler.current()
    assert shown is not None
    assert not shown.config.last_reload_success
    assert replace(shown, config=report.config) == report
    assert fixture.sampler.current() is shown
    fixture.sampler.set_plan(before)
    assert fixture.sampler.current() is report


def test_a_web_configuration_that_fails_is_shown_before_the_next_tick(fixture: SamplerFixture) -> None:
    """It is read again at each connection, not at ticks."""
    success = [True]
    answering = plan()
    answering = replace(answering, context=replace(answering.context, web_succeeded=lambda: success[0]))
    fixture.sampler.set_plan(answering)
    fixture.tick()
    success[0] = False

    shown = fixture.sampler.current()
    assert shown is not None
    assert shown.config.web_last_reload_success is False


def test_rates_and_run_rate_are_there_from_the_first_tick(fixture: SamplerFixture) -> None:
    """3.60 dollars an hour for 730 hours is 2,628 dollars a month, before anything was accrued."""
    report = fixture.tick()

    assert sum(report.rates.values()) == pytest.approx(3.60)
    assert report.run_rate == pytest.approx(2628.0)
    assert report.fleet_overheads == {"staff": pytest.approx(1.0)}


def test_projection_is_month_to_date_and_the_rest_by_the_tariff(fixture: SamplerFixture) -> None:
    """100 dollars so far and 144 hours left at 3.60: 618.40. It is metered since the day before yesterday."""
    dollar = PICODOLLARS_PER_DOLLAR
    hour = UsageHour(START - NANOSECONDS_PER_HOUR, NANOSECONDS_PER_HOUR, time={H100: {"p": 1}})
    fixture.ledger.served = replace(
        fixture.ledger.served,
        months={
            MonthKey("p", "t", "configured", "2026-11"): 60 * dollar,
            MonthKey("p", "u", "configured", "2026-11"): 40 * dollar,
            MonthKey("p", "t", "configured", "2026-10"): 999 * dollar,
        },
        usage=RecentUsage((hour,), {"p": START - NANOSECONDS_PER_HOUR}),
        metered_since=START - 48 * NANOSECONDS_PER_HOUR,
    )

    report = fixture.tick()

    assert report.projected == {("p", "2026-11"): pytest.approx(618.40)}
    assert report.month_ends["2026-11"] == START + 6 * 24 * NANOSECONDS_PER_HOUR
    assert report.metered_since == {"2026-11": START - 48 * NANOSECONDS_PER_HOUR}
    assert sum(report.first_price_rates.values()) == pytest.approx(3.60)


@pytest.mark.parametrize("days", [None, 400])
def test_both_months_are_metered_from_their_start_on_or_not_at_all(
    fixture: SamplerFixture, days: int | None
) -> None:
    """Books of a year have metered both months whole; books that metered nothing say nothing of either."""
    since = None if days is None else START - days * 24 * NANOSECONDS_PER_HOUR
    fixture.ledger.served = replace(fixture.ledger.served, metered_since=since)

    october, november = 1_790_812_800, 1_793_491_200
    months = {"2026-10": october * NANOSECONDS_PER_SECOND, "2026-11": november * NANOSECONDS_PER_SECOND}
    assert fixture.tick().metered_since == ({} if days is None else months)


def test_a_server_that_does_not_answer_is_watched_all_the_same(
    fixture: SamplerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    """It is in the report as down, its tokens arrive with the next good read, and it is logged once."""
    caplog.set_level(logging.INFO)
    fixture.endpoint.generation = 100.0
    fixture.tick()
    fixture.endpoint.failure = "refused"
    down = [fixture.tick() for _ in range(3)][-1]
    fixture.endpoint.failure, fixture.endpoint.generation = "", 175.0
    fixture.tick()

    assert [server.up for server in down.servers] == [False]
    assert [row.errors for row in down.sources if row.source == "server:chat"] == [{"connection": 3}]
    assert [[tokens.count for tokens in postings.tokens] for postings in fixture.ledger.posted] == [
        [],
        [],
        [],
        [],
        [75],
    ]
    messages = [record.message for record in caplog.records]
    assert messages.count("source failed") == 1
    assert messages.count("source recovered") == 1


def test_silent_nvml_keeps_holders_and_says_so(fixture: SamplerFixture) -> None:
    """The GPU stays in the report, not readable, and its money goes on."""
    fixture.tick()
    fixture.nvml.failure = "stuck in the driver"
    report = fixture.tick()

    assert [(row.up, row.reading) for row in report.gpus] == [(False, None)]
    assert [(row.source, row.up) for row in report.sources] == [
        ("nvml", False),
        ("server:chat", True),
        ("clock", True),
    ]
    assert sum(segment.accrued for segment in fixture.ledger.posted[-1].segments) > 0
    assert [row.key for row in report.shares] == [CHAT]


def test_whether_a_server_was_busy_is_known_only_from_its_gpus(fixture: SamplerFixture) -> None:
    """Before the first tick, and while NVML cannot say, a server counts as busy."""
    assert fixture.sampler.was_busy(CHAT)
    fixture.nvml.utilization = 0.0
    fixture.tick()
    assert not fixture.sampler.was_busy(CHAT)
    fixture.nvml.utilization = None
    fixture.tick()
    assert fixture.sampler.was_busy(CHAT)


def test_another_plan_holds_from_the_next_tick(fixture: SamplerFixture) -> None:
    """A reload that doubles the price doubles what accrues from then on, and nothing before."""
    for _ in range(2):
        fixture.tick()
    double = replace(
        TARIFF.hardware[0],
        pricing=Rented((RentPrice(Decimal("7.20")),)),
    )
    fixture.sampler.set_plan(plan(fixture.endpoint, tariff=Tariff("host", (double,))))
    fixture.tick()

    cents = PICODOLLARS_PER_DOLLAR // 100
    accrued = [sum(segment.accrued for segment in posted.segments) for posted in fixture.ledger.posted]
    assert accrued == [0, cents, 2 * cents]


def test_ticks_keep_their_beat(fixture: SamplerFixture) -> None:
    """Three ticks of no length are 10 seconds apart; the stop takes a fourth."""
    fixture.clock.stop_after = 3
    fixture.sampler.run(threading.Event())

    assert fixture.clock.waited == [TICK, TICK, TICK]
    assert len(fixture.ledger.posted) == 4


def test_a_stop_charges_the_time_since_the_last_tick(fixture: SamplerFixture) -> None:
    """SIGTERM seven seconds after a tick, on a node that is drained for good: they cost 0.7 of a cent.

    A GPU for 3.60 dollars an hour costs a cent in each tick of ten seconds.
    """
    wait = fixture.clock.wait

    def told_to_stop(stop: threading.Event, duration: int) -> bool:
        if len(fixture.clock.waited) == 1:
            stop.set()
            duration = 7 * NANOSECONDS_PER_SECOND
        return wait(stop, duration)

    fixture.clock.wait = told_to_stop  # type: ignore[method-assign]
    fixture.sampler.run(threading.Event())

    cent = PICODOLLARS_PER_DOLLAR // 100
    accrued = [sum(segment.accrued for segment in posted.segments) for posted in fixture.ledger.posted]
    assert accrued == [0, cent, cent * 7 // 10]


def test_a_stop_during_a_tick_takes_no_other(fixture: SamplerFixture) -> None:
    """It has just posted, and whoever stops it waits."""
    stop = threading.Event()
    read = fixture.endpoint.read

    def stopped_meanwhile() -> ServerReading:
        stop.set()
        return read()

    fixture.endpoint.read = stopped_meanwhile  # type: ignore[method-assign]
    fixture.sampler.run(stop)

    assert len(fixture.ledger.posted) == 1


@pytest.mark.parametrize(
    ("now", "expected"), [(100, 110), (109, 110), (110, 120), (111, 120), (139, 140), (140, 150), (90, 110)]
)
def test_the_next_tick_is_due_a_whole_number_of_intervals_later(now: int, expected: int) -> None:
    """The last one was due at 100, and one is due every 10."""
    assert next_due(100, now, interval=10) == expected


def test_a_slow_tick_skips_the_beats_it_missed(fixture: SamplerFixture) -> None:
    """A tick of 25 seconds is followed by one at the third beat, not by two at once."""
    slow = fixture.endpoint.read

    def read_slowly() -> ServerReading:
        fixture.clock.now += 25 * NANOSECONDS_PER_SECOND
        return slow()

    fixture.endpoint.read = read_slowly  # type: ignore[method-assign]
    fixture.clock.stop_after = 1
    fixture.sampler.run(threading.Event())

    assert fixture.clock.waited == [5 * NANOSECONDS_PER_SECOND]


def test_replicas_are_one_source_that_is_up_while_all_are(fixture: SamplerFixture) -> None:
    """Two endpoints of one server: one silent one is seen, and its failures are counted once."""
    silent = FakeEndpoint(url="http://127.0.0.1:8001/metrics", failure="refused")
    fixture.sampler.set_plan(plan(fixture.endpoint, silent))
    report = fixture.tick()

    (row,) = [row for row in report.sources if row.source == "server:chat"]
    assert (row.up, row.errors) == (False, {"connection": 1})
    assert [server.up for server in report.servers] == [True, False]


def test_the_ledger_remembers_who_answered(fixture: SamplerFixture) -> None:
    """Two names of one server answer in turns, and the daemon starts anew between: 40 tokens count once."""
    peer = Peer("127.0.0.1", 8000, True)
    one = replace(fixture.endpoint, peer=peer, generation=100)
    two = replace(one, url="http://localhost:8000/metrics", generation=130, failure="refused")
    for endpoints in ((one, two), (replace(one, failure="refused"), replace(two, failure=""))):
        again = Sampler(
            fixture.clock,
            FrameReader(fixture.clock, inline(fixture.clock), (fixture.nvml,)),
            fixture.ledger,
            FakeProcessMetrics(),
            plan(*endpoints),
        )
        again.tick()
        fixture.clock.now += TICK
    again.set_plan(plan(replace(one, generation=140), two))
    again.tick()

    assert [token.count for posted in fixture.ledger.posted for token in posted.tokens] == [40]


def test_a_report_has_no_value_of_a_query(fixture: SamplerFixture) -> None:
    """Pages, labels and JSON are made of it; two endpoints that would look alike stay two."""
    names = [endpoint_id(f"http://127.0.0.1:8000/metrics?api_key=5ecret{number}") for number in range(2)]
    fixture.sampler.set_plan(plan(*(FakeEndpoint(url=name) for name in names)))
    report = fixture.tick()

    assert sorted(server.url for server in report.servers) == [
        "http://127.0.0.1:8000/metrics?api_key=***",
        "http://127.0.0.1:8000/metrics?api_key=***#2",
    ]


def test_failures_that_cost_no_reading_are_counted_too(fixture: SamplerFixture) -> None:
    """A malformed line, a refused energy delta: the source is up, and its errors say so."""
    fixture.endpoint.errors = (("malformed", 2),)
    fixture.tick()
    report = fixture.tick()

    assert [(row.up, row.errors) for row in report.sources if row.source == "server:chat"] == [
        (True, {"malformed": 4})
    ]


def test_the_ledgers_trouble_is_logged_when_it_comes_and_when_it_goes(
    fixture: SamplerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk for three ticks is two lines, not three."""
    caplog.set_level(logging.INFO)
    fixture.tick()
    fixture.ledger.problem = "the disk is full"
    for _ in range(3):
        fixture.tick()
    fixture.ledger.problem = ""
    fixture.tick()

    messages = [record.message for record in caplog.records if "ledger" in record.message]
    assert messages == ["ledger failed", "ledger recovered"]


def test_a_rebooted_host_waits_for_its_clock_before_it_serves_money(fixture: SamplerFixture) -> None:
    """Only a right wall clock tells how long it was down; until then the books are not served."""
    fixture.tick()
    fixture.clock.boot_id, fixture.clock.is_synchronized, fixture.clock.uptime = "boot-2", False, 0
    restarted = Sampler(
        fixture.clock,
        FrameReader(fixture.clock, inline(fixture.clock), (fixture.nvml,)),
        fixture.ledger,
        FakeProcessMetrics(),
        plan(fixture.endpoint),
    )

    waiting = restarted.tick()
    posted_meanwhile = len(fixture.ledger.posted)
    fixture.clock.now += TICK
    fixture.clock.is_synchronized = True
    right = restarted.tick()

    assert (waiting.totals, waiting.rates != {}) == (None, True)
    assert [(row.source, row.up) for row in waiting.sources][-1] == ("clock", False)
    assert posted_meanwhile == 1
    assert right.totals is not None
    # 20 s since the tick before the boot, at 3.60 dollars an hour.
    assert sum(segment.accrued for segment in fixture.ledger.posted[-1].segments) == (
        2 * PICODOLLARS_PER_DOLLAR // 100
    )


def test_a_clock_that_is_never_set_is_taken_as_it_is_after_two_minutes(fixture: SamplerFixture) -> None:
    """The source `clock` says so; money is served."""
    fixture.tick()
    fixture.clock.boot_id, fixture.clock.is_synchronized = "boot-2", False
    restarted = Sampler(
        fixture.clock,
        FrameReader(fixture.clock, inline(fixture.clock), (fixture.nvml,)),
        fixture.ledger,
        FakeProcessMetrics(),
        plan(fixture.endpoint),
    )

    served = []
    for _ in range(13):
        served.append(restarted.tick().totals is not None)
        fixture.clock.now += TICK

    assert served == [False] * 12 + [True]


def test_a_source_that_takes_its_time_is_no_suspend(fixture: SamplerFixture) -> None:
    """A tick of 8 seconds, then one at the next beat: all 20 seconds between the ends are charged."""
    quick = fixture.endpoint.read

    def read_slowly() -> ServerReading:
        fixture.clock.now += 8 * NANOSECONDS_PER_SECOND
        return quick()

    fixture.tick()
    fixture.endpoint.read = read_slowly  # type: ignore[method-assign]
    fixture.sampler.tick()
    fixture.endpoint.read = quick  # type: ignore[method-assign]
    fixture.clock.now += TICK - 8 * NANOSECONDS_PER_SECOND
    fixture.tick()

    cents = PICODOLLARS_PER_DOLLAR // 100
    accrued = [sum(segment.accrued for segment in posted.segments) for posted in fixture.ledger.posted]
    assert accrued == [0, cents, cents]


def test_sources_that_no_tick_reads_stand_beside_those_that_it_does(fixture: SamplerFixture) -> None:
    """The cloud is asked in the background, and its health is as the plan knows it."""
    cloud = SourceRow("cloud", up=False, read_duration=1, last_success=None, errors={"timeout": 3})
    fixture.sampler.set_plan(replace(plan(fixture.endpoint), unread_sources=(cloud,)))

    assert [row.source for row in fixture.tick().sources] == ["nvml", "server:chat", "clock", "cloud"]
    assert fixture.tick().sources[-1] == cloud
