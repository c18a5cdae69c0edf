"""The page and the document: the first figures that people ask, nothing loaded, nothing unescaped."""

import json
import math
import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import pytest

from exporter.cost.postings import Party
from exporter.cost.split import FAR, MEANING
from exporter.exposition.document import document
from exporter.exposition.page import HEADERS, page
from exporter.exposition.summary import summarize
from exporter.report import BudgetRow, Build, MonthKey, Quotient, Report, ShareRow, SplitRow

MakeReport = Callable[..., Report]

BUILD = Build("0.1.0", "9e3d667", "3.11.7")
SECOND = 10**9
NOW = 1000 * SECOND
OLD = 1031 * SECOND
CHAT = Party("search", "retrieval", "ml", "chat", "llama-70b")
NOBODY = Party("unassigned", "unassigned", "", "unallocated", "")
FIGURES = ("gpus", "dollars_per_hour", "dollars_per_million_tokens")


class Reader(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(report: Report | None, elapsed: int = NOW) -> str:
    """The page of a report."""
    return page(None if report is None else summarize(report, elapsed), BUILD).decode()


def told(report: Report, elapsed: int = NOW) -> dict[str, Any]:
    """What the document says of a report's host."""
    host: dict[str, Any] = json.loads(document(summarize(report, elapsed), BUILD))["host"]
    return host


def test_page_and_document_are_as_reviewed(
    make_report: MakeReport, golden: Callable[[str, bytes], None]
) -> None:
    """Both, byte for byte, of the host told by hand."""
    summary = summarize(make_report(), NOW)

    golden("page.html", page(summary, BUILD))
    golden("cost.json", document(summary, BUILD))


def test_the_document_adds_up_what_the_report_says(make_report: MakeReport) -> None:
    """8.50 + 0 + 4.25 an hour; November is 9000 + 0.50, October is not in it."""
    host = told(make_report())

    assert host["taken"] == "2026-11-24T12:00:00Z"
    assert host["stale"] is False
    assert host["dollars_per_hour"] == 12.75
    assert host["month"] == "2026-11"
    assert host["month_to_date_dollars"] == 9000.5
    assert host["month_projected_dollars"] == 11250.0
    assert host["budget_dollars"] == 27000.0
    assert [(line["server"], line["gpus"], line["up"]) for line in host["servers"]] == [
        ("chat", 1.75, True),
        ("batch", 0.25, True),
        ("unallocated", 1.0, None),
    ]
    assert host["servers"][0]["dollars_per_million_tokens"] == 4.5


def test_what_is_not_known_is_null(make_report: MakeReport) -> None:
    """No rates, no books, no month: nulls, not zeros, and `not known` on the page."""
    report = make_report(books=None, rates={}, month_ends={}, projected={}, budgets=(), quotients=())
    host = told(report)

    assert {name for name, value in host.items() if value is None} == {
        "dollars_per_hour",
        "month",
        "month_to_date_dollars",
        "month_projected_dollars",
        "budget_dollars",
        "ledger",
    }
    assert shown(report).count("<dd>not known</dd>") == 4
    assert "$0" not in shown(report)


def test_an_old_report_tells_no_rates(make_report: MakeReport) -> None:
    """What was being spent half a minute ago is not what is being spent; the month stands."""
    host = told(make_report(), OLD)

    assert (host["stale"], host["dollars_per_hour"], host["month_projected_dollars"]) == (True, None, None)
    assert host["servers"] == []
    assert host["month_to_date_dollars"] == 9000.5
    assert "No tick has been taken for more than three intervals" in shown(make_report(), OLD)


def test_a_server_without_money_is_listed(make_report: MakeReport) -> None:
    """A server that holds nothing priced is seen all the same."""
    servers = told(make_report(rates={}, loads=(), quotients=()))["servers"]

    assert [(line["namespace"], line["server"], line["dollars_per_hour"]) for line in servers] == [
        ("", "batch", None),
        ("", "unallocated", None),
        ("ml", "chat", None),
    ]


def test_a_month_of_nothing_priced_is_not_known(make_report: MakeReport) -> None:
    """Without a cell of the month, or with cells of nothing and no GPU with a price, there is no figure."""
    report = make_report()
    nothing = {MonthKey("search", "retrieval", "configured", "2026-11"): 0}
    unpriced = tuple(replace(row, priced=False) for row in report.gpus)

    for unknown in (
        make_report(in_books={"months": {}}),
        make_report(in_books={"months": {}}, gpus=()),
        make_report(in_books={"months": nothing}, gpus=unpriced),
        make_report(in_books={"months": nothing}, gpus=()),
    ):
        assert told(unknown)["month_to_date_dollars"] is None
        assert "<dt>Month to date (2026-11)</dt><dd>not known</dd>" in shown(unknown)
    assert told(make_report(in_books={"months": nothing}))["month_to_date_dollars"] == 0.0
    assert told(make_report(gpus=unpriced))["month_to_date_dollars"] == 9000.5


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_figure_that_went_wrong_is_null(wrong: float, make_report: MakeReport) -> None:
    """It is no figure: the document is JSON all the same, and the others are told."""
    report = make_report()
    host = told(
        make_report(
            rates={**report.rates, CHAT: wrong},
            quotients=(Quotient(CHAT, "all", "full", wrong),),
            projected={("search", "2026-11"): wrong, ("ads", "2026-11"): 1.0},
            budgets=(BudgetRow("fleet", "", wrong),),
            shares=(ShareRow(CHAT.key, "GPU-aaaa", wrong, "whole"),),
        )
    )
    lines = {line["server"]: line for line in host["servers"]}

    assert [host[name] for name in ("dollars_per_hour", "month_projected_dollars", "budget_dollars")] == [
        None
    ] * 3
    assert [lines["chat"][name] for name in FIGURES] == [None] * 3
    assert lines["unallocated"]["dollars_per_hour"] == 4.25


def test_rates_without_a_sum_have_none(make_report: MakeReport) -> None:
    """Infinities of both signs, and numbers too large to be added."""
    for first, second in ((math.inf, -math.inf), (1.7e308, 1.7e308)):
        assert told(make_report(rates={CHAT: first, NOBODY: second}))["dollars_per_hour"] is None


def test_gpus_that_no_server_holds_are_counted(make_report: MakeReport) -> None:
    """What is left of three GPUs, also where it costs nothing that is known; nobody's nothing is no line."""
    report = make_report()

    def nobody(shown: Report) -> list[float]:
        return [line["gpus"] for line in told(shown)["servers"] if line["server"] == "unallocated"]

    assert nobody(make_report(shares=())) == [3.0]
    assert nobody(make_report(rates={}, shares=report.shares[:1])) == [2.0]
    thirds = tuple(ShareRow(CHAT.key, "GPU-aaaa", 1 / 3, "equal") for _ in range(9))
    assert nobody(make_report(rates={}, shares=thirds)) == []


@pytest.mark.parametrize(
    ("dollars", "text"),
    [(0.0, "$0.00"), (0.004, "&lt;$0.01"), (0.01, "$0.01"), (-1234.5, "-$1,234.50")],
)
def test_money_is_written_to_the_cent(dollars: float, text: str, make_report: MakeReport) -> None:
    """What is less than a cent does not look like nothing, and a minus stands before the dollar."""
    assert f"<dd>{text} per hour</dd>" in shown(make_report(rates={CHAT: dollars}))


def test_a_projection_over_budget_stands_out(make_report: MakeReport) -> None:
    """Not by color alone: the words are there."""
    over = make_report(projected={("search", "2026-11"): 27000.01})
    at = make_report(projected={("search", "2026-11"): 27000.0})

    assert '<dd class="over">$27,000.01, over budget</dd>' in shown(over)
    assert 'class="over"' not in shown(at)
    assert 'class="over"' not in shown(over, OLD)


def test_a_table_wider_than_the_window_can_be_scrolled(make_report: MakeReport) -> None:
    """With the keyboard too: its container takes the focus and has a name."""
    tags = Reader(shown(make_report())).tags
    container = next(attributes for tag, attributes in tags if attributes.get("class") == "table")

    assert container == {"class": "table", "role": "region", "aria-label": "Servers", "tabindex": "0"}
    assert "anywhere" not in shown(make_report())


def test_the_page_is_one_file_without_scripts(make_report: MakeReport) -> None:
    """Nothing is loaded, nothing runs, every tag is closed, and links stay on this server."""
    for report in (make_report(), None):
        reader = Reader(shown(report))
        links = [attributes["href"] for tag, attributes in reader.tags if tag == "a"]

        assert reader.open == []
        assert {tag for tag, _ in reader.tags} & {
            "script",
            "link",
            "img",
            "iframe",
            "form",
            "object",
        } == set()
        assert links == ["metrics", "cost.json", "-/healthy", "-/ready"]
        assert not any(
            name.startswith(("on", "style")) for _, attributes in reader.tags for name in attributes
        )


def test_the_policy_allows_the_page_its_style_only(make_report: MakeReport) -> None:
    """The hash in the policy is that of the style in the page; all else is forbidden."""
    style = re.findall(r"<style>(.*?)</style>", shown(make_report()), re.DOTALL)
    allowed = b64encode(sha256(style[0].encode()).digest()).decode()

    assert len(style) == 1
    assert HEADERS["Content-Security-Policy"] == (
        f"default-src 'none'; style-src 'sha256-{allowed}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "</td></table></style>",
        "&lt;b&gt;",
        "אבג " * 30,
        "🦙",
        "a\ud800b",
    ],
)
def test_names_from_outside_are_text(name: str, make_report: MakeReport) -> None:
    """A model may be called anything: on the page it is text, in the document a string."""
    report = make_report(rates={Party(name, "t", name, name, name): 1.0})
    reader = Reader(shown(report))
    readable = name.replace("\ud800", "?")

    assert {tag for tag, _ in reader.tags} == {tag for tag, _ in Reader(shown(make_report())).tags}
    assert f"{readable}/{readable}" in reader.text
    assert [line["model"] for line in told(report)["servers"] if line["server"] == name] == [name]


def test_the_page_says_what_the_methods_in_force_are_worth(make_report: MakeReport) -> None:
    """Each method once, with the loads on which it is far off; one that splits nothing here is not told."""
    text = Reader(shown(make_report())).text

    assert "24%time" in text
    for method in ("time", "weights"):
        assert text.count(f"Busy dollars are split by {method}: {MEANING[method]}.") == 1
        assert MEANING[method].endswith(f"on these loads: {', '.join(FAR[method])}")
    assert "split by engine" not in text


@pytest.mark.parametrize(("ratio", "written"), [(0.0, "0%"), (1.0, "100%"), (None, ""), (math.nan, "")])
def test_a_share_that_nothing_told_is_no_zero(
    ratio: float | None, written: str, make_report: MakeReport
) -> None:
    """0 % is decode alone; what is not known is empty on the page and null in the document."""
    report = make_report(splits=(SplitRow(CHAT, "engine", ratio),))
    (line,) = (line for line in told(report)["servers"] if line["server"] == "chat")

    assert line["split_method"] == "engine"
    assert line["prefill_ratio"] == (float(written[:-1]) / 100 if written else None)
    assert f'<td class="number">{written}</td><td>engine</td>' in shown(report)
