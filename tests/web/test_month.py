"""The month on the page: a calendar of its days, what is in no day, and when the budget runs out."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from exporter.cost.projection import PricePeriod
from exporter.report import BudgetRow, Build, Hour, MonthKey, RecentHistory, Report
from exporter.tariff.calendar import month_of
from exporter.web.cost_json import document
from exporter.web.page import page
from exporter.web.summary import summarize
from exporter.web.wording import ABSENT
from tests.kit.units import DAY, DECEMBER, DOLLAR, HOUR, NOVEMBER
from tests.web.conftest import NOON
from tests.web.test_page import Reader

MakeReport = Callable[..., Report]

BUILD = Build("0.1.0", "9e3d667", "3.11.7")
NOW = 1000 * 10**9
OLD = 1031 * 10**9
CELL = MonthKey("search", "retrieval", "configured", "2026-11")


def rendered(report: Report, elapsed: int = NOW) -> dict[str, Any]:
    """What the document says of a report's host."""
    host: dict[str, Any] = json.loads(document(report, elapsed, BUILD))["host"]
    return host


def shown(report: Report, elapsed: int = NOW) -> str:
    """The page of a report."""
    return page(report, elapsed, BUILD).decode()


def calendar(report: Report) -> list[list[str]]:
    """Weeks of the calendar, cell by cell: the day's number, and its dollars."""
    table = shown(report).partition('<table class="calendar">')[2].partition("</table>")[0]
    weeks = table.partition("<tbody>")[2].split("<tr>")[1:]
    return [
        [" ".join(Reader(cell).text.split()) for cell in re.findall(r"<td[^>]*>(.*?)</td>", week, re.DOTALL)]
        for week in weeks
    ]


def zoned(report: Report, zone: str) -> Report:
    """The report in a time zone."""
    assert report.basis is not None
    policy = replace(report.basis.policy, zone=ZoneInfo(zone))
    return replace(report, basis=replace(report.basis, policy=policy))


def test_a_calendar_has_every_day(make_report: MakeReport) -> None:
    """November 2026 begins on a Sunday: 24 hours at 16 dollars a day, 12 of them today, and days ahead."""
    weeks = calendar(make_report())

    assert weeks[0] == ["", "", "", "", "", "", "1 $384"]
    assert weeks[4] == ["23 $384", "24 $192", "25", "26", "27", "28", "29"]
    assert weeks[5] == ["30", "", "", "", "", "", ""]
    assert sum(cell.endswith("$384") for week in weeks for cell in week) == 23
    assert shown(make_report()).count('class="shade-4"') == 23
    assert 'class="shade-2 today"><small>24</small>' in shown(make_report())


def test_days_and_the_rest_sum_to_the_month(make_report: MakeReport) -> None:
    """To the picodollar: 9,000.50 less 23.5 days of 384 are 23.50 below nothing, beside all days."""
    line = summarize(make_report(), NOW).month

    assert line is not None
    assert line.rest == -23 * DOLLAR - DOLLAR // 2
    assert sum(day.amount or 0 for day in line.days) + line.rest == 9000 * DOLLAR + DOLLAR // 2
    table = shown(make_report()).partition("Daily table</summary>")[2].partition("</table>")[0]
    first, second = (row.partition("</tr>")[0] for row in table.partition("<tbody>")[2].split("<tr>")[1:3])
    assert re.findall(r">([^<\n]+)<", first) == ["Adjustments, late charges", "-$23.50", "-$23.50"]
    assert re.findall(r">([^<\n]+)<", second) == ["Sun 01 Nov", "$384.00", "$360.50"]


@pytest.mark.parametrize(
    ("hourly", "written"),
    [(DOLLAR // 10**4, "<$0.01"), (DOLLAR // 3, "$8.00"), (DOLLAR, "$24"), (10**4 * DOLLAR, "$240k")],
)
def test_a_cell_is_narrow(hourly: int, written: str, make_report: MakeReport) -> None:
    """Cents below ten dollars, thousands from a hundred thousand."""
    before = (hourly,) * (23 * 24 + 12)
    report = make_report(in_books={"history": RecentHistory(before=before), "months": {CELL: sum(before)}})

    assert calendar(report)[0][6] == f"1 {written}"


def test_a_day_that_was_not_metered_is_absent(make_report: MakeReport) -> None:
    """From the evening of the 2nd to the morning of the 4th: a dash for the 3rd, and parts for the others."""
    before: tuple[int | None, ...] = (
        *(2 * DOLLAR for _ in range(42)),
        *(None for _ in range(36)),
        *(2 * DOLLAR for _ in range(23 * 24 + 12 - 78)),
    )
    cells = {CELL: sum(filter(None, before))}
    report = make_report(in_books={"history": RecentHistory(before=before), "months": cells})

    assert calendar(report)[1][:3] == ["2 $36", f"3 {ABSENT}", "4 $36"]
    assert [day["dollars"] for day in rendered(report)["days"][:4]] == [48.0, 36.0, None, 36.0]
    assert f"{ABSENT}: not metered." in shown(report)
    assert f"{ABSENT}: not metered." not in shown(make_report())


def test_a_day_before_the_first_hour_is_absent(make_report: MakeReport) -> None:
    """A ledger of two hours has one day; those before have a number and a dash."""
    begun = RecentHistory(before=(DOLLAR, DOLLAR), hours=(Hour(NOON),))
    report = make_report(in_books={"history": begun, "months": {CELL: 2 * DOLLAR}})

    assert calendar(report)[3] == [f"{day} {ABSENT}" for day in range(16, 23)]
    assert calendar(report)[4][:3] == [f"23 {ABSENT}", "24 $2.00", "25"]
    assert rendered(report)["today_dollars"] == 2.0


@pytest.mark.parametrize(
    ("zone", "first", "hours"),
    [("Europe/Berlin", "2026-11-01T23:00:00Z", 13), ("America/New_York", "2026-11-02T05:00:00Z", 7)],
)
def test_days_are_local(zone: str, first: str, hours: int, make_report: MakeReport) -> None:
    """It is one o'clock in the afternoon in Berlin, and seven in the morning in New York."""
    month = month_of(NOON, ZoneInfo(zone))
    months = {"2026-11": month.end, "2026-10": month.start}
    host = rendered(zoned(make_report(month_ends=months), zone))

    assert host["today_dollars"] == hours * 16
    assert host["days"][0]["until"] == first


def test_half_hours_are_said(make_report: MakeReport) -> None:
    """In India midnight is in the middle of an hour of UTC: it counts for the day in which it ends."""
    words = "An hour counts for the day in which it ends: hours here are whole in UTC."

    assert words in shown(zoned(make_report(), "Asia/Kolkata"))
    assert words not in shown(make_report())
    # It is 17:30; of 18:30 UTC the day before are 17 hours, and the half before them.
    assert rendered(zoned(make_report(), "Asia/Kolkata"))["today_dollars"] == 18 * 16


def test_there_is_no_today_without_a_metered_hour(make_report: MakeReport) -> None:
    """Nothing was metered since midnight: no figure, and no zero."""
    before = (*(DOLLAR for _ in range(23 * 24)), *(None for _ in range(12)))
    totals = {"history": RecentHistory(before=before), "months": {CELL: 552 * DOLLAR}}

    assert rendered(make_report(in_books=totals))["today_dollars"] is None
    assert " today<" not in shown(make_report(in_books=totals))
    assert ">$192.00 today<" in shown(make_report())


def ahead(report: Report, *periods: PricePeriod, to_date: int = 9000 * DOLLAR) -> Report:
    """The report with another rest of the month."""
    assert report.projection is not None
    return replace(
        report, projection=replace(report.projection, to_date={"search": to_date}, periods=periods)
    )


def when(report: Report, elapsed: int = NOW) -> str | None:
    """When the budget runs out."""
    at: str | None = rendered(report, elapsed)["budget_runs_out"]
    return at


def test_the_day_on_which_the_budget_runs_out(make_report: MakeReport) -> None:
    """1,000 are left: 600 go in the 60 hours until midnight of the 27th, the other 400 in 32 of 96 hours."""
    periods = (
        PricePeriod(NOON, NOON + 60 * HOUR, 600 * DOLLAR),
        PricePeriod(NOON + 60 * HOUR, DECEMBER, 1200 * DOLLAR),
    )
    report = ahead(make_report(budgets=(BudgetRow("fleet", "", 10_000.0),)), *periods)

    assert when(report) == "2026-11-28T08:00:00Z"
    assert ">at this rate, this host uses it up by Sat 28 Nov<" in shown(report)
    assert when(report, OLD) is None


@pytest.mark.parametrize(
    ("budget", "expected"),
    [(9600.0, "2026-11-27T00:00:00Z"), (10_800.0, "2026-12-01T00:00:00Z"), (10_800.01, None)],
)
def test_a_budget_that_lasts_runs_out_on_no_day(
    budget: float, expected: str | None, make_report: MakeReport
) -> None:
    """600 go until the 27th, and 1,200 more until the end of the month."""
    periods = (
        PricePeriod(NOON, NOON + 60 * HOUR, 600 * DOLLAR),
        PricePeriod(NOON + 60 * HOUR, DECEMBER, 1200 * DOLLAR),
    )
    report = ahead(make_report(budgets=(BudgetRow("fleet", "", budget),)), *periods)

    assert when(report) == expected
    assert (">at this rate, this host uses it up by " in shown(report)) == (expected is not None)


def test_a_budget_that_is_spent_says_on_which_day(make_report: MakeReport) -> None:
    """384 a day from 23.50 below nothing: 3,816.50 after ten days, and 4,000 in the 12th hour of the 11th."""
    report = make_report(budgets=(BudgetRow("fleet", "", 4000.0),))

    assert when(report) == "2026-11-11T12:00:00Z"
    assert ">this host used it up on Wed 11 Nov<" in shown(report)


def test_an_unknown_month_has_no_such_day(make_report: MakeReport) -> None:
    """Without a budget, a projection or a month nothing is said."""
    for report in (
        make_report(budgets=()),
        make_report(projection=None),
        make_report(month_ends={}),
        make_report(totals=None),
        make_report(budgets=(BudgetRow("search", "search", 100.0),)),
    ):
        assert when(report) is None


def test_the_clock_of_these_tests() -> None:
    """Noon is that of the 24th, a Tuesday."""
    assert datetime.fromtimestamp(NOON // 10**9, UTC).strftime("%a %Y-%m-%d %H:%M") == "Tue 2026-11-24 12:00"
    assert (NOON - NOVEMBER) // DAY == 23
