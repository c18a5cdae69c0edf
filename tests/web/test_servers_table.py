"""The table of servers: by cost, below a sum that is the host's, with the figures that sort it; estimates."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.postings import CostOwner
from exporter.report import MonthKey, RecentHistory, Report, SplitRow
from exporter.web.page.tables import ESTIMATE_SIGN
from exporter.web.summary import summarize
from exporter.web.wording import ABSENT
from tests.web.conftest import report as host_report
from tests.web.test_page import CHAT, NOW, UNALLOCATED_OWNER, Reader, embedded, shown

MakeReport = Callable[..., Report]


def rows(report: Report, elapsed: int = NOW) -> list[list[str]]:
    """The table of servers, cell by cell: its sum, and its rows."""
    part = shown(report, elapsed).partition("<h2>Servers</h2>")[2].partition("</table>")[0]
    lines = part.partition("</thead>")[2].split("<tr")[1:]
    return [
        [Reader(cell).text.strip() for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line, re.DOTALL)]
        for line in lines
    ]


def test_servers_are_by_cost_below_their_sum(make_report: MakeReport) -> None:
    """8.50 + 4.25 + 0 = 12.75 an hour on 3 GPUs; of 10 + 4.25 dollars in the hour 5 were busy: 35 %.

    Tokens of the last day: 12,345,678 + 654,321 + 9,999. Chat and batch hold a GPU with an estimated price.
    """
    total, *servers = rows(make_report())

    assert total == ["All 2", f"{ESTIMATE_SIGN} $12.75", "3", "35%", "13.0 M", *[""] * 6]
    assert [row[:5] for row in servers] == [
        ["ml/chat", f"{ESTIMATE_SIGN} $8.50", "1.75", "50%", "13.0 M"],
        ["unallocated", "$4.25", "1", "0%", ABSENT],
        ["batch", f"{ESTIMATE_SIGN} $0.00", "0.25", ABSENT, "9,999"],
    ]


@given(
    st.lists(
        st.floats(min_value=0, max_value=1e6, allow_nan=False) | st.integers(0, 10**9).map(lambda n: n / 1e6),
        min_size=1,
        max_size=60,
    )
)
def test_the_sum_of_servers_is_that_of_the_host(rates: list[float]) -> None:
    """To the last bit, in whatever order rows are: rounding comes after."""
    report = replace(
        host_report(), rates={CostOwner("p", "t", "", f"s{n}", "m"): r for n, r in enumerate(rates)}
    )
    summary = summarize(report, NOW)

    assert summary.servers_total is not None
    lines = [line.dollars_per_hour for line in summary.servers if line.dollars_per_hour is not None]
    assert math.fsum(reversed(lines)) == summary.servers_total.dollars_per_hour == summary.dollars_per_hour
    exact = sum(map(Fraction, lines))
    assert float(exact) == summary.dollars_per_hour


def test_an_unknown_cost_is_last_and_in_no_sum(make_report: MakeReport) -> None:
    """A dash, not a zero; without any that is known the sum is a dash too."""
    total, *servers = rows(make_report(rates={UNALLOCATED_OWNER: 4.25}, prices=(), loads=(), quotients=()))

    assert (total[1], [row[1] for row in servers]) == ("$4.25", ["$4.25", ABSENT, ABSENT])
    assert rows(make_report(rates={}, prices=(), loads=(), quotients=()))[0][1] == ABSENT


def test_rows_carry_what_they_are_sorted_by(make_report: MakeReport) -> None:
    """Figures of the columns in their order, exact ones, and a dash for what is not known."""
    keys = re.findall(r'data-by="([^"]*)"', shown(make_report()))

    assert keys[0] == "8.5 1.75 0.5 12999999 4.5 - 1795521590 0.24"
    assert keys[1].startswith("4.25 1 0 - - - - ")
    assert keys[2].startswith("0 0.25 - 9999 - - - ")


def test_estimates_are_signed(make_report: MakeReport) -> None:
    """4.25 of the prices and 0.50 of the month are estimates; a host without one has no sign."""
    text = Reader(shown(make_report())).text
    fixed = tuple(
        replace(price, provenance=replace(price.provenance, price_basis="configured"))
        for price in make_report().prices
    )
    months = {MonthKey("search", "retrieval", "configured", "2026-11"): 9000 * 10**12}
    assert make_report().savings is not None
    plain = make_report(prices=fixed, in_books={"months": months}, savings=None)

    assert (
        f"{ESTIMATE_SIGN}: includes estimated prices, neither configured nor listed: "
        "$4.25 an hour and $0.50 of the month."
    ) in text
    assert f"{ESTIMATE_SIGN} $9,000.50" in text
    assert "$0.50 of the month is by estimated prices." in text
    assert ESTIMATE_SIGN not in Reader(shown(plain)).text.partition('"use strict"')[0]
    host = embedded(make_report())
    assert (host["estimated_dollars_per_hour"], host["month_estimated_dollars"]) == (4.25, 0.5)
    assert [line["estimated"] for line in host["servers"]] == [True, True, False]
    assert embedded(plain)["estimated_dollars_per_hour"] is None


@pytest.mark.parametrize(
    ("ratio", "written"), [(0.0, "0%"), (1.0, "100%"), (None, ABSENT), (math.nan, ABSENT)]
)
def test_a_share_that_nothing_told_is_no_zero(
    ratio: float | None, written: str, make_report: MakeReport
) -> None:
    """0 % is decode alone; what is not known is a dash on the page and null in the document."""
    report = make_report(splits=(SplitRow(CHAT, "engine", ratio),))
    (line,) = (line for line in embedded(report)["servers"] if line["server"] == "chat")

    assert line["split_method"] == "engine"
    assert line["prefill_ratio"] == (float(written[:-1]) / 100 if written != ABSENT else None)
    assert rows(report)[1][8] == written


@pytest.mark.parametrize(("servers", "below"), [(10, 0), (12, 0), (13, 3), (40, 30)])
def test_many_servers_are_folded_below_the_dearest(servers: int, below: int, make_report: MakeReport) -> None:
    """The first ten by cost stay; the checkbox says how many more there are, and what they cost together."""
    owners = {CostOwner("p", "t", "", f"s{n:02d}", "m"): n + 1.0 for n in range(servers)}
    unserved = {"tokens": {}, "last_token": {}, "window": {}, "history": RecentHistory()}
    without = {
        "loads": (),
        "quotients": (),
        "servers": (),
        "shares": (),
        "prices": (),
        "splits": (),
        "gpus": (),
    }
    text = shown(make_report(rates=owners, in_books=unserved, **without))
    folded = re.findall(r'<tr data-by="(\S+) [^"]*" class="fold">', text)

    # The cheapest cost 1, 2, 3 and so on: n of them n * (n + 1) / 2.
    assert sorted(map(float, folded)) == [n + 1.0 for n in range(below)]
    label = f"Show {below} more rows, ${below * (below + 1) // 2}.00 per hour"
    assert (label in Reader(text).text) == (below > 0)
    assert text.count('type="checkbox"') == (below > 0)
