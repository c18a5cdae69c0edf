"""The history on the page: the last day and the month, drawn, in tables and in the document, by hand."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from exporter.report import Build, Hour, MonthKey, RecentHistory, Report
from exporter.web.cost_json import document
from exporter.web.page import page
from exporter.web.summary import summarize
from tests.kit.units import DOLLAR, HOUR, SECOND
from tests.web.conftest import NOON, history

MakeReport = Callable[..., Report]

BUILD = Build("0.1.0", "9e3d667", "3.11.7")
NOW = 1000 * SECOND
OLD = 1031 * SECOND


def rendered(report: Report, elapsed: int = NOW) -> dict[str, Any]:
    """What the document says of a report's host."""
    host: dict[str, Any] = json.loads(document(report, elapsed, BUILD))["host"]
    return host


def shown(report: Report, elapsed: int = NOW) -> str:
    """The page of a report."""
    return page(report, elapsed, BUILD).decode()


def test_the_last_day_is_told_hour_by_hour(make_report: MakeReport) -> None:
    """24 x 8.50 = 204 dollars, 12 x 4.25 = 51 of them idle: a quarter. The running hour has not cost yet."""
    host = rendered(make_report())

    assert host["last_day"] == {
        "start": "2026-11-23T12:00:00Z",
        "hours": 24.0,
        "dollars": 204.0,
        "idle_dollars": 51.0,
        "idle_ratio": 0.25,
    }
    assert len(host["hours"]) == 25
    assert host["hours"][0] == {
        "start": "2026-11-23T12:00:00Z",
        "dollars_by_phase": {"decode": 8.5},
        "metered_seconds": 3600.0,
    }
    assert host["hours"][12]["dollars_by_phase"] == {
        "decode": 3.0,
        "idle": 4.25,
        "other": 0.25,
        "prefill": 1.0,
    }
    assert host["hours"][24] == {
        "start": "2026-11-24T12:00:00Z",
        "dollars_by_phase": {},
        "metered_seconds": 0.0,
    }


def test_the_last_day_says_how_long_it_is(make_report: MakeReport) -> None:
    """At half past twelve it is of 24.5 hours: whole ones, and the running one."""
    report = make_report()

    host = rendered(replace(report, wall=report.wall + 30 * 60 * 10**9))

    assert (host["last_day"]["start"], host["last_day"]["hours"]) == ("2026-11-23T12:00:00Z", 24.5)


def test_the_month_is_told_day_by_day(make_report: MakeReport) -> None:
    """564 whole hours at 16 are 9,024; the cells hold 9,000.50, so that it begins 23.50 below nothing.

    The first day ends with 24 x 16 - 23.50 = 360.50, the last point is the month to date.
    """
    days = rendered(make_report())["days"]

    assert len(days) == 24
    assert days[0] == {"until": "2026-11-02T00:00:00Z", "dollars": 384.0, "month_to_date_dollars": 360.5}
    assert days[22] == {
        "until": "2026-11-24T00:00:00Z",
        "dollars": 384.0,
        "month_to_date_dollars": 23 * 384 - 23.5,
    }
    assert days[23] == {"until": "2026-11-24T12:00:00Z", "dollars": 192.0, "month_to_date_dollars": 9000.5}
    assert rendered(make_report())["today_dollars"] == 192.0


def test_a_month_that_was_begun_late_is_drawn_from_there(make_report: MakeReport) -> None:
    """Two whole hours and one that runs: three points and now, and no day before."""
    begun = replace(
        history(), before=(DOLLAR, 2 * DOLLAR), hours=(Hour(NOON, {"idle": 4 * DOLLAR}, 60 * SECOND),)
    )
    cells = {MonthKey("search", "retrieval", "configured", "2026-11"): 7 * DOLLAR}
    line = summarize(
        make_report(in_books={"history": begun, "months": cells}, wall=NOON + 60 * SECOND), NOW
    ).month

    assert line is not None
    assert [(point.at, point.dollars) for point in line.points] == [
        (NOON - 2 * HOUR, 0.0),
        (NOON - HOUR, 1.0),
        (NOON, 3.0),
        (NOON + 60 * SECOND, 7.0),
    ]


def test_bars_stand_on_each_other_and_sum_to_the_hour(make_report: MakeReport) -> None:
    """An hour at noon the day before, 8.50 of decode; at midnight work 4.00, other 0.25 and idle 4.25."""
    drawing = shown(make_report()).partition("Last 24 hours</h2>")[2].partition("</figure>")[0]
    bars = re.findall(
        r'<rect x="([\d.]+)%" y="([\d.]+)" width="[\d.]+%" height="([\d.]+)" class="(\w+)">'
        r"<title>([^<]*)</title>",
        drawing,
    )
    first, midnight = bars[0], bars[12:15]

    assert len(bars) == 12 + 12 * 3
    assert first[3:] == ("work", "12:00: $8.50 prefill and decode")
    assert [bar[3] for bar in midnight] == ["work", "other", "idle"]
    assert sum(float(bar[2]) for bar in midnight) == pytest.approx(float(first[2]), abs=0.2)
    assert float(midnight[2][2]) == pytest.approx(float(first[2]) / 2, abs=0.1)
    assert float(midnight[0][1]) == pytest.approx(float(midnight[1][1]) + float(midnight[1][2]), abs=0.11)


def test_an_hour_without_a_ledger_has_a_dash_in_the_table(make_report: MakeReport) -> None:
    """The hour from 11:00 cost 8.50, 4.25 of them idle; of the one from 12:00 nothing is known yet."""
    rows = shown(make_report()).partition("Hourly table</summary>")[2].partition("</table>")[0].split("<tr>")
    last, running = (re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in rows[-2:])

    assert last == ["$8.50", "$4.00", "$0.25", "$4.25"]
    assert running == ["\N{EN DASH}"] * 4


def test_the_budget_and_the_projection_are_drawn(make_report: MakeReport) -> None:
    """On one scale: the budget of 27,000 above the 11,250 of the projection, and both are said in words."""
    text = shown(make_report())
    label = "The month 2026-11: $9,000.50 so far, $11,250.00 projected for its end, budget $27,000.00"
    budget = re.search(r'y1="([\d.]+)" y2="[\d.]+" class="budget"', text)
    ahead = re.search(r'y1="([\d.]+)" x2="100%" y2="([\d.]+)" class="ahead"', text)

    assert f'role="img" aria-label="{label}"' in text
    assert budget is not None
    assert ahead is not None
    base, top = 188.0, 10.0
    per_dollar = (base - top) / 30_000  # six steps of 5,000
    assert float(budget[1]) == pytest.approx(base - 27_000 * per_dollar, abs=0.06)
    assert float(ahead[1]) == pytest.approx(base - 9000.5 * per_dollar, abs=0.06)
    assert float(ahead[2]) == pytest.approx(base - 11_250 * per_dollar, abs=0.06)


def test_nothing_is_drawn_of_what_is_not_known(make_report: MakeReport) -> None:
    """No money in the day and no cell of the month: no drawing, rather than one of zeros."""
    empty = make_report(in_books={"history": RecentHistory(), "months": {}})

    assert "<h2>Last 24 hours" not in shown(empty)
    assert "<h2>November 2026</h2>" not in shown(empty)
    assert "<h2>Daily cost</h2>" not in shown(empty)
    assert rendered(empty)["last_day"] is None


def test_history_stays_when_the_report_is_old(make_report: MakeReport) -> None:
    """What was spent was spent; where it goes from here is not known any more."""
    text = shown(make_report(), OLD)

    assert "<h2>Last 24 hours</h2>" in text
    assert "<h2>November 2026</h2>" in text
    assert "<h2>Daily cost</h2>" in text
    assert 'class="ahead"' not in text
    assert "<h2>GPUs</h2>" not in text


def test_tables_tell_gpus_and_components(make_report: MakeReport) -> None:
    """A card at 4.25 an hour that rested a quarter: 1.0625. One without a price has none, and no idle."""
    host = rendered(make_report())
    first, second, lost = host["gpus"]

    assert (first["dollars_per_hour"], first["idle_dollars_per_hour"], first["power_watts"]) == (
        4.25,
        1.0625,
        612.5,
    )
    assert [price["component"] for price in first["prices"]] == ["rent", "storage"]
    assert [(holder["server"], holder["gpu_share_ratio"]) for holder in second["holders"]] == [
        ("batch", 0.25),
        ("chat", 0.75),
    ]
    assert (second["prices"][0]["price_basis"], second["idle_dollars_per_hour"]) == ("estimate", None)
    assert (lost["up"], lost["priced"], lost["dollars_per_hour"], lost["holders"]) == (False, False, None, [])
    assert host["components"] == [
        {"component": "rent", "dollars_per_hour": 8.25, "last_day_dollars": 200.0},
        {"component": "storage", "dollars_per_hour": 0.25, "last_day_dollars": 4.0},
    ]
    chat = next(line for line in host["servers"] if line["server"] == "chat")
    assert (chat["busy_ratio"], chat["last_day_tokens"], chat["last_token"]) == (
        0.5,
        12_999_999,
        "2026-11-24T11:59:50Z",
    )
