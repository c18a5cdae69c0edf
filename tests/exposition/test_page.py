"""The page and the document: the first figures that people ask, nothing loaded, nothing unescaped."""

import json
import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import pytest

from exporter.cost.postings import Party
from exporter.exposition.document import document
from exporter.exposition.page import HEADERS, page
from exporter.exposition.summary import summarize
from exporter.report import Build, Report

MakeReport = Callable[..., Report]

BUILD = Build("0.1.0", "9e3d667", "3.11.7")
SECOND = 10**9
NOW = 1000 * SECOND
OLD = 1031 * SECOND


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
        ("unallocated", None, None),
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
        ("ml", "chat", None),
    ]


def test_notes_say_what_to_know_before_the_figures(make_report: MakeReport) -> None:
    """The host told by hand has a lost GPU without a price and one with a guessed one."""
    assert told(make_report())["notes"] == [
        "GPUs without a price: 1 of 3. What they cost is not in these figures.",
        "GPUs priced by an estimate: 1 of 3.",
        "GPUs that are paid for and cannot be read: 1 of 3.",
    ]


@pytest.mark.parametrize(
    ("in_books", "note"),
    [
        ({"residual": 1}, "The books do not balance"),
        ({"persistent": False}, "The ledger is in memory"),
        ({"writable": False}, "The ledger cannot be written"),
    ],
)
def test_notes_tell_trouble_with_the_books(
    in_books: dict[str, Any], note: str, make_report: MakeReport
) -> None:
    """Whoever reads the page first reads whether to believe it."""
    assert told(make_report(in_books=in_books))["notes"][0].startswith(note)


def test_a_note_tells_a_failed_reload(make_report: MakeReport) -> None:
    """The file on disk is not what is in force."""
    report = make_report()
    failed = replace(report, config=replace(report.config, last_reload_success=False))

    assert told(failed)["notes"][-1].startswith("The last reload of the configuration failed")


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
