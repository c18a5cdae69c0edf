"""Months and days of unusual length, from the configuration to the reports: each is charged what it lasts.

The GPU costs 3.60 dollars an hour, and 100 dollars in each calendar month, whatever its length.
"""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from exporter.config import parse
from exporter.config.settings import cost_policy
from exporter.ledger.reader import LedgerReader
from exporter.readings import GpuReading
from exporter.reports.repricing import repricing
from tests.corners.simulated_host import HostClock, SimulatedHost, moment
from tests.kit.units import CENT, DAY, DOLLAR, HOUR, SECOND
from tests.nightly import daily
from tests.sampler.sampler_fixture import FakeNvmlSource

CONFIG = """
timezone: {zone}
hardware: [{{rented: {{dollars_per_gpu_hour: 3.60, billing: {billing}}}}}]
overheads: [{{name: storage, dollars_per_month: {storage}, per: gpu}}]
ownership: {{rules: [{{match: {{server: chat}}, product: chat, team: assistants}}]}}
budgets:
  - {{name: chat, match: {{product: chat}}, dollars_per_month: 3000}}
  - {{name: all, dollars_per_month: 27000}}
servers: [{{name: chat, url: "http://127.0.0.1:8000/metrics", gpus: [0]}}]
"""
TICK = 10 * SECOND


def host_in(
    zone: str, folder: Path, now: str, *, before: int = 0, storage: int = 0, billing: str = "always"
) -> SimulatedHost:
    """A host whose first tick is now, or so long before."""
    host = SimulatedHost(folder, CONFIG.format(zone=zone, storage=storage, billing=billing), now)
    host.tick(-before)
    return host


def dollars(text: str) -> int:
    """Picodollars of an amount that is written in dollars."""
    return int(Decimal(text) * DOLLAR)


# A month's first instant, its last, its name, its hours, and the month after it.
MONTHS = [
    # 30 days; the clock goes from UTC+12 to +13 on the 27th.
    ("Pacific/Auckland", "2026-09-01T00:00:00+12:00", "2026-10-01T00:00:00+13:00", "2026-09", 719),
    # 30 days; from +13 to +12 on the 5th.
    ("Pacific/Auckland", "2026-04-01T00:00:00+13:00", "2026-05-01T00:00:00+12:00", "2026-04", 721),
    # 30 days; from UTC-4 to -5 on the 1st.
    ("America/New_York", "2026-11-01T00:00:00-04:00", "2026-12-01T00:00:00-05:00", "2026-11", 721),
    ("UTC", "2028-02-01T00:00:00+00:00", "2028-03-01T00:00:00+00:00", "2028-02", 29 * 24),
    ("UTC", "2027-02-01T00:00:00+00:00", "2027-03-01T00:00:00+00:00", "2027-02", 28 * 24),
]


@pytest.mark.parametrize(
    ("zone", "start", "end", "name", "hours"), daily(MONTHS, (*MONTHS[:2], MONTHS[3])), ids=str
)
def test_a_month_costs_its_hours_and_exactly_its_monthly_amount(
    tmp_path: Path, zone: str, start: str, end: str, name: str, hours: int
) -> None:
    """719 h x 3.60 + 100 = 2,688.40 dollars, 721 h: 2,695.60, 696 h: 2,605.60, 672 h: 2,519.20."""
    by_hand = {719: "2688.40", 721: "2695.60", 696: "2605.60", 672: "2519.20"}
    # 11 seconds before it to 13 seconds after it, so that ticks span both of its ends; seven hours at once
    # in between, as after so many gaps.
    host = host_in(zone, tmp_path, start, before=11 * SECOND, storage=100)
    for _ in range(3):
        host.tick(TICK)
    while host.clock.true < moment(end) - 7 * HOUR:
        host.tick(7 * HOUR)
    host.tick(moment(end) - 7 * SECOND - host.clock.true)
    before = host.months()
    host.tick(TICK)
    after = host.months()
    host.tick(TICK)

    # All but the last 7 seconds: 0.007 dollars of rent and 7 s of the monthly amount, within a picodollar.
    left = dollars(by_hand[hours]) - before[name]
    assert abs(left - dollars("0.007") - 100 * DOLLAR * 7 // (hours * 3600)) <= 1
    assert after[name] == dollars(by_hand[hours])
    assert host.months()[name] == dollars(by_hand[hours])
    assert sum(host.months().values()) == host.whole()
    assert host.served("inference_month_end_timestamp_seconds", month=name) == moment(end) / SECOND
    served = host.served("inference_month_to_date_dollars", month=name)
    assert served == pytest.approx(float(by_hand[hours]), rel=1e-12)


# A day's first instant, its number, its hours and the money of those at 3.60.
DAYS = [
    ("Pacific/Auckland", "2026-09-27T00:00:00+12:00", 20260927, 23, "82.80"),
    ("Pacific/Auckland", "2026-04-05T00:00:00+13:00", 20260405, 25, "90"),
    ("America/New_York", "2026-11-01T00:00:00-04:00", 20261101, 25, "90"),
    ("America/New_York", "2026-03-08T00:00:00-05:00", 20260308, 23, "82.80"),
    # Midnight itself is skipped: the day begins at one.
    ("Africa/Cairo", "2026-04-24T01:00:00+03:00", 20260424, 23, "82.80"),
    ("UTC", "2028-02-29T00:00:00+00:00", 20280229, 24, "86.40"),
]


@pytest.mark.parametrize(("zone", "start", "day", "hours", "rent"), DAYS, ids=str)
def test_a_day_is_charged_for_the_hours_that_it_has(
    tmp_path: Path, zone: str, start: str, day: int, hours: int, rent: str
) -> None:
    """From a second before its first instant to a second after its last: a tenth of a cent on either side."""
    host = host_in(zone, tmp_path, start, before=SECOND)
    host.tick(TICK)
    end = moment(start) + hours * HOUR
    while host.clock.true < end - HOUR:
        host.tick(HOUR)
    host.tick(end - 9 * SECOND - host.clock.true)
    host.tick(TICK)

    before, today, after = sorted(host.days())
    assert today == day
    assert host.days() == {before: CENT // 10, today: dollars(rent), after: CENT // 10}
    assert host.covered() == {before: SECOND, today: hours * HOUR, after: SECOND}
    assert host.whole() == dollars(rent) + CENT // 5


@pytest.mark.parametrize(
    ("zone", "first", "last", "expected"),
    [
        # From 20:00 to 06:00 over the month's end: 4 and 6 hours.
        (
            "Pacific/Auckland",
            "2026-09-30T20:00:00+13:00",
            "2026-10-01T06:00:00+13:00",
            {"2026-09": "14.40", "2026-10": "21.60"},
        ),
        # From 20:00 to 06:00 in which two o'clock comes twice: 4 hours of October, 7 of November.
        (
            "America/New_York",
            "2026-10-31T20:00:00-04:00",
            "2026-11-01T06:00:00-05:00",
            {"2026-10": "14.40", "2026-11": "25.20"},
        ),
        # As in Auckland, where months end at a quarter past the hours of UTC.
        (
            "Asia/Kathmandu",
            "2026-11-30T20:00:00+05:45",
            "2026-12-01T06:00:00+05:45",
            {"2026-11": "14.40", "2026-12": "21.60"},
        ),
        # Three days over leap day: 28 and 29 February, and 1 March.
        (
            "UTC",
            "2028-02-28T00:00:00+00:00",
            "2028-03-02T00:00:00+00:00",
            {"2028-02": "172.80", "2028-03": "86.40"},
        ),
    ],
)
@pytest.mark.parametrize("rebooted", [False, True])
def test_a_month_that_ends_while_nobody_watches(
    tmp_path: Path, zone: str, first: str, last: str, expected: dict[str, str], *, rebooted: bool
) -> None:
    """The gap is posted into each month by its hours, as unobserved, to the server that held the GPU."""
    host = host_in(zone, tmp_path, first)
    (host.reboot if rebooted else host.restart)(moment(last) - moment(first))
    host.tick()

    assert host.months() == {month: dollars(text) for month, text in expected.items()}
    assert host.whole() == sum(map(dollars, expected.values()))
    unobserved = host.served("inference_cost_dollars_total", server="chat", phase="unobserved")
    assert unobserved == pytest.approx(float(sum(map(Decimal, expected.values()))), rel=1e-12)


def test_a_host_that_was_off_over_a_months_end_pays_hourly_rent_for_when_it_was_up(tmp_path: Path) -> None:
    """Off from 23:00, back at 01:00 after the end: 20 s of September and, 6 minutes after boot, 6 minutes."""
    host = host_in("Pacific/Auckland", tmp_path, "2026-09-30T23:00:00+13:00", billing="while_up")
    host.reboot(2 * HOUR)
    host.tick(6 * 60 * SECOND)

    # 20 s are 2 cents, 360 s are 36 cents.
    assert host.months() == {"2026-09": 2 * CENT, "2026-10": 36 * CENT}
    assert host.whole() == 38 * CENT


class MeteredGpu(FakeNvmlSource):
    """A GPU that draws 300 watts while its host is up; its counter begins at the boot."""

    clock: HostClock

    def read(self) -> tuple[GpuReading, ...]:
        drawn = self.clock.awake() * 300_000 // SECOND
        return tuple(replace(reading, energy=drawn) for reading in super().read())


OWNED = """
timezone: UTC
hardware:
  - owned: {purchase_dollars_per_gpu: 26298, life_years: 3, in_service: 2026-01-01}
    energy: {dollars_per_kilowatt_hour: 0.36}
"""


def test_energy_since_a_boot_is_not_of_the_month_before(tmp_path: Path) -> None:
    """Off from 18:00 to 02:00 of the next month, first read ten minutes later: 180 kJ are 1.8 cents.

    As hourly rent they are over 20 s after the last tick and the 600 s since the boot.
    """
    nvml = MeteredGpu()
    host = SimulatedHost(tmp_path, OWNED, "2026-11-30T18:00:00+00:00", nvml=nvml)
    nvml.clock = host.clock
    host.tick()
    host.reboot(8 * HOUR)
    host.tick(600 * SECOND)
    energy = {
        month: row["picodollars"]
        for month in ("2026-11", "2026-12")
        for row in host.statement(month, "component")["rows"]
        if row["component"] == "energy"
    }
    assert energy["2026-11"] == pytest.approx(1.8 * CENT * 20 / 620, rel=1e-4)
    assert energy["2026-12"] == pytest.approx(1.8 * CENT * 600 / 620, rel=1e-4)
    assert sum(energy.values()) == 18 * CENT // 10
    # The host is the GPU's: a dollar an hour for six hours and for 2 h 10 min, off or not.
    assert host.months() == {
        "2026-11": 6 * DOLLAR + energy["2026-11"],
        "2026-12": 130 * DOLLAR // 60 + energy["2026-12"],
    }


DATED = """
timezone: {zone}
hardware:
  - rented:
      billing: always
      prices:
        - {{from: 2026-01-01, dollars_per_gpu_hour: 3.60}}
        - {{from: {day}, dollars_per_gpu_hour: 7.20}}
"""


@pytest.mark.parametrize(
    ("zone", "day", "midnight", "hours", "money"),
    [
        ("Pacific/Auckland", "2026-09-27", "2026-09-27T00:00:00+12:00", 23, "165.60"),
        ("America/New_York", "2026-11-01", "2026-11-01T00:00:00-04:00", 25, "180"),
        ("Africa/Cairo", "2026-04-24", "2026-04-24T01:00:00+03:00", 23, "165.60"),
    ],
)
@pytest.mark.parametrize("watched", [True, False])
def test_a_price_from_a_day_on_which_clocks_change(
    tmp_path: Path, zone: str, day: str, midnight: str, hours: int, money: str, *, watched: bool
) -> None:
    """It holds from the day's first instant, which may cut a tick or a gap: 4 s at 3.60, all else at 7.20."""
    host = SimulatedHost(tmp_path, DATED.format(zone=zone, day=day), midnight)
    host.tick(-4 * SECOND)
    if watched:
        host.tick(TICK)
        assert host.whole() == 4 * CENT // 10 + 12 * CENT // 10
    host.tick(moment(midnight) + hours * HOUR - host.clock.true)

    before, today = sorted(host.days())
    assert today == int(day.replace("-", ""))
    assert host.days() == {before: 4 * CENT // 10, today: dollars(money)}
    assert host.whole() == dollars(money) + 4 * CENT // 10


HALF_HOUR = """
timezone: Asia/Kolkata
hardware:
  - rented: {{billing: always, prices: [{{from: 2026-11-01, dollars_per_gpu_hour: 3.60}}{raised}]}}
ownership: {{rules: [{{match: {{server: chat}}, product: {product}, team: assistants}}]}}
servers: [{{name: chat, url: "http://127.0.0.1:8000/metrics", gpus: [0]}}]
"""
RAISED = ", {from: 2026-11-30T12:30, dollars_per_gpu_hour: 7.20}"


@pytest.mark.parametrize(
    ("begin", "after", "corrections"),
    [
        # 11 h 30 min of chat's at 3.60 more, then six hours of search's.
        ("2026-11-30T12:00:00+05:30", 6 * HOUR, [("chat", 4140), ("search", 2160)]),
        # Nothing from midnight on.
        ("2026-11-30T12:00:00+05:30", 0, [("chat", 4140)]),
        # From 20 minutes before midnight on: in the first case the hour of midnight is the only one.
        ("2026-11-30T23:40:00+05:30", HOUR // 6, [("chat", 120), ("search", 60)]),
        ("2026-11-30T23:40:00+05:30", 6 * HOUR, [("chat", 120), ("search", 2160)]),
    ],
)
def test_a_correction_of_a_day_that_begins_at_half_past(
    tmp_path: Path, begin: str, after: int, corrections: list[tuple[str, int]]
) -> None:
    """An hour of the books has the end of one day and the begin of another, which is another product's."""
    host = SimulatedHost(tmp_path, HALF_HOUR.format(raised="", product="chat"), begin)
    host.tick()
    host.until("2026-12-01T00:00:00+05:30")
    if after:
        host.reload(HALF_HOUR.format(raised="", product="search"))
        host.tick(after)
    before, raised = (
        cost_policy(parse(HALF_HOUR.format(raised=text, product="search").encode()), "host-1")
        for text in ("", RAISED)
    )
    assert host.path is not None
    with LedgerReader.open(host.path) as reader:
        difference = repricing(before.tariff, raised.tariff, reader, before.zone, host.clock.wall() + DAY)
    assert difference is not None
    assert [(each.product, each.cents) for each in difference.corrections] == corrections


def test_budgets_and_months_on_the_page_at_a_months_end(tmp_path: Path) -> None:
    """New York: 4 s before December nothing is shown of it, 6 s after its begin it is the month to date."""
    host = host_in("America/New_York", tmp_path, "2026-11-30T23:59:46-05:00")
    host.tick(TICK)
    budgets = {("all", ""): 27000.0, ("chat", "chat"): 3000.0}

    def shown(name: str, **labels: str) -> dict[str, float]:
        """By month."""
        assert host.report is not None
        assert host.report.totals is not None
        months = ("2026-10", "2026-11", "2026-12")
        actual = {month: host.rows(name, month=month, **labels) for month in months}
        return {month: sum(rows.values()) for month, rows in actual.items() if rows}

    ends = {
        "2026-10": moment("2026-11-01T00:00:00-04:00") / SECOND,
        "2026-11": moment("2026-12-01T00:00:00-05:00") / SECOND,
        "2026-12": moment("2027-01-01T00:00:00-05:00") / SECOND,
    }
    assert host.rows("inference_budget_dollars") == budgets
    assert shown("inference_month_end_timestamp_seconds") == {m: ends[m] for m in ("2026-10", "2026-11")}
    assert shown("inference_month_to_date_dollars", product="chat") == {"2026-11": 0.01}
    # 4 s are left at a cent in ten seconds.
    assert shown("inference_month_projected_dollars", product="chat") == pytest.approx({"2026-11": 0.014})

    host.tick(TICK)
    assert host.rows("inference_budget_dollars") == budgets
    assert shown("inference_month_end_timestamp_seconds") == {m: ends[m] for m in ("2026-11", "2026-12")}
    assert shown("inference_month_to_date_dollars", product="chat") == pytest.approx(
        {"2026-11": 0.014, "2026-12": 0.006}
    )
    # December has 744 hours: 2,678.40 dollars at this rate.
    assert shown("inference_month_projected_dollars", product="chat") == pytest.approx({"2026-12": 2678.40})
    assert host.statement("2026-11")["to_date"] is False
    assert host.statement("2026-12")["to_date"] is True

    host.tick(31 * DAY - 6 * SECOND)
    host.tick(TICK)
    assert sorted(shown("inference_month_end_timestamp_seconds")) == ["2026-12"]
