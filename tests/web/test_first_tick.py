"""In a new ledger's first seconds the page says what its figures wait for."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from exporter.report import Build, MonthKey, RecentHistory, Report
from exporter.web.page import page
from exporter.web.wording import ABSENT
from tests.kit.units import SECOND

BUILD = Build("0.1.0", "9e3d667", "3.11.7")
TICK = 1000 * SECOND
"""The report's; the next one is ten seconds after it."""


@pytest.fixture
def cards(make_report: Callable[..., Report]) -> Callable[..., list[str]]:
    """Each card's figure and what stands below it, of a report without money."""

    def read(elapsed: int = TICK, *, months: object = None, **changes: Any) -> list[str]:
        report = make_report(
            in_books={"months": months or {}, "history": RecentHistory()}, projected={}, **changes
        )
        rendered = page(report, elapsed, BUILD).decode()
        cards = re.findall(r'<div class="card">(.*?)</div>', rendered, re.DOTALL)
        return [" ".join(re.sub(r"<[^>]*>", " ", card).split()) for card in cards]

    return read


@pytest.mark.parametrize(
    ("passed", "expected"),
    [
        (0, "known after the next tick, in 10 s"),
        (2.5, "known after the next tick, in 8 s"),
        (9.999, "known after the next tick, in 1 s"),
        (10, "known after the next tick, which is due"),
        (25, "known after the next tick, which is due"),
    ],
)
def test_before_the_first_money_it_says_when_there_is_some(
    cards: Callable[..., list[str]], passed: float, expected: str
) -> None:
    """A tick charges the time since the last one, so that the first has nothing to charge."""
    _, month, projected, day = cards(TICK + round(passed * SECOND))

    assert month == f"This month so far not known {expected}"
    assert projected == f"Projected for the month not known {expected}"
    assert day == f"Idle, last 24 h not known {expected}"


@pytest.mark.parametrize(
    ("of_minute", "passed", "expected"),
    [(0, 0, "in 60 s"), (20, 0, "in 40 s"), (20, 3.5, "in 37 s"), (55, 0, "in 10 s"), (55, 10, "due")],
)
def test_cells_of_the_first_minute_say_when_they_are_known(
    make_report: Callable[..., Report], of_minute: int, passed: float, expected: str
) -> None:
    """Busy and prices are of whole minutes, so that the first one has to end, and a tick to follow.

    A price comes to servers with a thousand tokens; what does not come is a dash.
    """
    young = make_report(in_books={"window": {}}, quotients=())
    young = replace(young, wall=young.wall + of_minute * SECOND)

    def cells(report: Report) -> dict[str, list[str]]:
        """Busy, tokens and prices of each server."""
        text = page(report, TICK + round(passed * SECOND), BUILD).decode()
        table = text.partition("<h2>Servers</h2>")[2].partition("</table>")[0]
        rendered = {}
        for row in table.split("<tr data-by=")[1:]:
            (name,) = re.findall(r"<bdi>([^<]*)</bdi></a>", row)
            numbers = re.findall(r'<td class="number">(.*?)</td>', row, re.DOTALL)
            rendered[name] = [re.sub(r"<[^>]*>", "", cell) for cell in numbers[2:6]]
        return rendered

    assert cells(young)["ml/chat"] == [expected, "13.0 M", expected, expected]
    assert cells(young)["unallocated"] == [expected, ABSENT, ABSENT, ABSENT]
    assert cells(make_report(quotients=()))["ml/chat"][2:] == [ABSENT, ABSENT]
    assert cells(replace(young, rates={}))["ml/chat"][0] == ABSENT


def test_it_promises_nothing_that_no_tick_brings(
    cards: Callable[..., list[str]], make_report: Callable[..., Report]
) -> None:
    """Without a price, with money of an earlier month, from an old report, and where totals are withheld."""
    earlier = {MonthKey("search", "retrieval", "configured", "2026-10"): 10**12}
    for shown in (cards(rates={}), cards(months=earlier), cards(TICK + 31 * SECOND)):
        assert not any("next tick" in card for card in shown)
    assert b"next tick" not in page(make_report(totals=None), TICK, BUILD)
