"""The page and the document: the first figures that people ask, nothing loaded, nothing unescaped."""

import json
import math
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import pytest

from exporter.cost.postings import CostOwner
from exporter.cost.split import MEANING, WORKLOADS_OFF_BY_25_PERCENT
from exporter.readings import ServerKey
from exporter.report import (
    BudgetRow,
    Build,
    Hour,
    MonthKey,
    Quotient,
    RecentHistory,
    Report,
    ShareRow,
    SplitRow,
    Window,
)
from exporter.web.cost_json import document
from exporter.web.page import HEADERS, explanation, page
from tests.kit.units import SECOND

MakeReport = Callable[..., Report]

BUILD = Build("0.1.0", "9e3d667", "3.11.7")
NOW = 1000 * SECOND
OLD = 1031 * SECOND
NOON = 1_795_521_600 * SECOND  # 2026-11-24T12:00:00Z
CHAT = CostOwner("search", "retrieval", "ml", "chat", "llama-70b")
UNALLOCATED_OWNER = CostOwner("unassigned", "unassigned", "", "unallocated", "")
FIGURES = ("gpus", "dollars_per_hour", "dollars_per_million_tokens")


class Reader(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.raw = text
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "br", "input"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(report: Report | None, elapsed: int = NOW) -> str:
    """The page of a report."""
    return page(report, elapsed, BUILD).decode()


def embedded(report: Report, elapsed: int = NOW) -> dict[str, Any]:
    """What the document says of a report's host."""
    host: dict[str, Any] = json.loads(document(report, elapsed, BUILD))["host"]
    return host


def test_page_and_document_are_as_reviewed(
    make_report: MakeReport, golden: Callable[[str, bytes], None]
) -> None:
    """Byte for byte, of the host told by hand; explanations without the style and the script of the page."""
    golden("page.html", page(make_report(), NOW, BUILD))
    for name, path in (("explain.html", ""), ("explain-chat.html", "ml%2Fchat")):
        explained = explanation(make_report(), NOW, path, BUILD) or b""
        golden(name, re.sub(rb"<(style|script)>.*?</\1>\n", b"", explained, flags=re.DOTALL))
    golden("cost.json", document(make_report(), NOW, BUILD))


def test_the_document_adds_up_what_the_report_says(make_report: MakeReport) -> None:
    """8.50 + 0 + 4.25 an hour; November is 9000 + 0.50, October is not in it."""
    host = embedded(make_report())

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
    report = make_report(
        totals=None, rates={}, month_ends={}, projected={}, budgets=(), quotients=(), run_rate=None
    )
    host = embedded(report)

    assert {name for name, value in host.items() if value is None} == {
        "dollars_per_hour",
        "estimated_dollars_per_hour",
        "today_dollars",
        "monthly_run_rate_dollars",
        "month",
        "month_to_date_dollars",
        "month_estimated_dollars",
        "month_projected_dollars",
        "budget_dollars",
        "budget_runs_out",
        "last_day",
        "ledger",
    }
    assert shown(report).count('<dd class="big">not known</dd>') == 4
    assert [host["hours"], host["days"]] == [[], []]
    assert "$0" not in shown(make_report(totals=None, rates={}, prices=(), quotients=()))


def test_a_month_is_shown_against_the_month_before(make_report: MakeReport) -> None:
    """A mean day: 9000.50 / 23.5 days, and 12000 / 1 day, as October was metered from its last day on."""
    assert ">$383.00 a day; October: $12,000.00 a day<" in shown(make_report())
    explained = (explanation(make_report(), NOW, "", BUILD) or b"").decode()
    assert "explain --why --month=2026-11 --against=2026-10<" in explained


@pytest.mark.parametrize(
    "change",
    [
        {"metered_since": {"2026-11": NOON - 3600 * SECOND + 1, "2026-10": NOON - 9 * 10**6 * SECOND}},
        {"metered_since": {"2026-11": NOON - 9 * 10**5 * SECOND}},
        {"month_ends": {"2026-11": NOON + SECOND}},
    ],
    ids=["less than an hour", "not metered before", "no month before"],
)
def test_a_month_is_not_shown_against_one_that_is_not_known(
    change: dict[str, Any], make_report: MakeReport
) -> None:
    """Neither on the page nor in its explanation."""
    assert " a day;" not in Reader(shown(make_report(**change))).text
    assert b"explain --why" not in (explanation(make_report(**change), NOW, "", BUILD) or b"")


def test_an_old_report_tells_no_rates(make_report: MakeReport) -> None:
    """What was being spent half a minute ago is not what is being spent; the month stands."""
    host = embedded(make_report(), OLD)

    assert (host["stale"], host["dollars_per_hour"], host["month_projected_dollars"]) == (True, None, None)
    assert host["servers"] == []
    assert host["month_to_date_dollars"] == 9000.5
    assert "No tick for more than three intervals" in shown(make_report(), OLD)


def test_a_server_without_money_is_listed(make_report: MakeReport) -> None:
    """A server that holds nothing priced is seen all the same."""
    servers = embedded(make_report(rates={}, loads=(), quotients=()))["servers"]

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
        assert embedded(unknown)["month_to_date_dollars"] is None
        assert '<dt>This month so far</dt>\n<dd class="big">not known</dd>' in shown(unknown)
    assert embedded(make_report(in_books={"months": nothing}))["month_to_date_dollars"] == 0.0
    assert embedded(make_report(gpus=unpriced))["month_to_date_dollars"] == 9000.5


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_figure_that_went_wrong_is_null(wrong: float, make_report: MakeReport) -> None:
    """It is no figure: the document is JSON all the same, and the others are told."""
    report = make_report()
    host = embedded(
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
        assert (
            embedded(make_report(rates={CHAT: first, UNALLOCATED_OWNER: second}))["dollars_per_hour"] is None
        )


def test_gpus_that_no_server_holds_are_counted(make_report: MakeReport) -> None:
    """What is left of three GPUs, also where it costs nothing that is known; nobody's nothing is no line."""
    report = make_report()

    def unallocated(shown: Report) -> list[float]:
        return [line["gpus"] for line in embedded(shown)["servers"] if line["server"] == "unallocated"]

    assert unallocated(make_report(shares=())) == [3.0]
    assert unallocated(make_report(rates={}, shares=report.shares[:1])) == [2.0]
    thirds = tuple(ShareRow(CHAT.key, "GPU-aaaa", 1 / 3, "equal") for _ in range(9))
    assert unallocated(make_report(rates={}, shares=thirds)) == []


@pytest.mark.parametrize(
    ("dollars", "text"),
    [
        (0.0, "$0.00"),
        (0.004, "&lt;$0.01"),
        (0.01, "$0.01"),
        (-1234.5, "-$1,234.50"),
        (3.875, "$3.88"),
        (3.8749999999999996, "$3.88"),  # 31 / 8 as floats add it up
        (0.125, "$0.13"),
        (-0.001, "$0.00"),
    ],
)
def test_money_is_written_to_the_cent(dollars: float, text: str, make_report: MakeReport) -> None:
    """Halves up; what is less than a cent does not look like nothing; a minus stands before the dollar."""
    written = f'<a href="explain/#rate" class="figure">{text}</a><span> per hour</span>'
    assert written in shown(make_report(rates={CHAT: dollars}, prices=()))


def test_a_projection_over_budget_stands_out(make_report: MakeReport) -> None:
    """Not by color alone: the words are there."""
    over = make_report(projected={("search", "2026-11"): 27000.01})
    at = make_report(projected={("search", "2026-11"): 27000.0})

    words = """<dd class="over">$0.01 over the fleet's budget of $27,000.00</dd>"""
    assert words in shown(over)
    assert """<dd class="more">$0.00 within the fleet's budget of $27,000.00</dd>""" in shown(at)
    assert '<dd class="more">budget of the fleet $27,000.00</dd>' in shown(over, OLD)
    assert '<dd class="more">no budget is configured</dd>' in shown(make_report(budgets=()))


def test_a_table_wider_than_the_window_can_be_scrolled(make_report: MakeReport) -> None:
    """With the keyboard too: its container takes the focus and has a name."""
    tags = Reader(shown(make_report())).tags
    containers = [attributes for tag, attributes in tags if attributes.get("class") == "table"]

    calendars = [attributes for tag, attributes in tags if attributes.get("class") == "calendar"]
    assert len(containers) + len(calendars) == sum(tag == "table" for tag, _ in tags) == 6
    assert {(each["role"], each["tabindex"]) for each in containers} == {("region", "0")}
    assert len({each["aria-label"] for each in containers}) == 5


def test_a_wide_table_says_that_it_scrolls(make_report: MakeReport) -> None:
    """The script shows the words where it is true; without it those of hours, servers and GPUs are shown."""
    text = shown(make_report())
    hinted = re.findall(
        r'class="hint many" aria-hidden="true">[^<]*</p>\n<div class="table" role="region" aria-label="(\w+)',
        text,
    )

    assert hinted == ["Dollars", "Servers", "GPUs"]
    assert text.count('aria-hidden="true">Scroll sideways for all columns.<') == 5


def test_the_page_is_one_file(make_report: MakeReport) -> None:
    """Nothing is loaded, one script of our own runs, every tag is closed, and links stay on this server."""
    for report in (make_report(), None):
        reader = Reader(shown(report))
        skip, *links = [attributes["href"] or "" for tag, attributes in reader.tags if tag == "a"]

        assert skip == "#figures"
        assert [attributes["id"] for tag, attributes in reader.tags if tag == "main"] == ["figures"]
        assert reader.open == []
        assert {tag for tag, _ in reader.tags} & {"img", "iframe", "form", "object"} == set()
        assert [attributes for tag, attributes in reader.tags if tag == "script"] == [{}]
        assert [attributes["rel"] for tag, attributes in reader.tags if tag == "link"] == ["icon"]
        assert links[-5:] == ["metrics", "cost.json", "explain/", "-/healthy", "-/ready"]
        assert all(link.startswith("explain/") for link in links[:-5])
        assert not any(
            name.startswith(("on", "style")) for _, attributes in reader.tags for name in attributes
        )


def test_the_policy_allows_the_page_its_own_only(make_report: MakeReport) -> None:
    """The hashes in the policy are those of the style and the script in the page; all else is forbidden."""
    allowed = {}
    for part in ("style", "script"):
        (ids,) = re.findall(rf"<{part}>(.*?)</{part}>", shown(make_report()), re.DOTALL)
        allowed[part] = b64encode(sha256(ids.encode()).digest()).decode()

    assert HEADERS["Content-Security-Policy"].split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{allowed['style']}'",
        f"script-src 'sha256-{allowed['script']}'",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]


def test_every_figure_and_every_server_leads_to_its_explanation(make_report: MakeReport) -> None:
    """Each big figure to its section, each row of a server by its name, and GPUs by one link below them."""
    report = make_report()
    reader = Reader(shown(report))
    for path in ("", "ml%2Fchat", "batch", "unallocated"):
        body = explanation(report, NOW, path, BUILD)
        assert body is not None
        ids = [attributes["id"] for _, attributes in Reader(body.decode()).tags if "id" in attributes]
        assert len(ids) == len(set(ids))
    host = Reader((explanation(report, NOW, "", BUILD) or b"").decode())
    sections = {attributes["id"] for _, attributes in host.tags if "id" in attributes}

    big = re.findall(r'<dd class="big"><a href="explain/#(\w+)" class="figure">', reader.raw)
    assert big == ["rate", "month", "projection", "idle"]
    assert {*big, "gpus"} <= sections
    named = re.findall(r'<th scope="row"><span><a href="(explain/[^"#]+)">', reader.raw)
    assert named == ["explain/ml%2Fchat", "explain/unallocated", "explain/batch"]
    assert reader.raw.count('href="explain/#gpus"') == 1
    assert all(explanation(report, NOW, link.removeprefix("explain/"), BUILD) for link in named)


def test_there_are_few_stops_for_the_keyboard(make_report: MakeReport) -> None:
    """One a server, and a way past many of them; a table of ten servers has none."""

    def stops(servers: int) -> list[str]:
        owners = {CostOwner("p", "t", "", f"s{n}", "m"): 1.0 for n in range(servers)}
        reader = Reader(shown(make_report(rates=owners, loads=(), quotients=(), servers=(), shares=())))
        return [attributes["href"] or "" for tag, attributes in reader.tags if tag == "a"]

    few, many = stops(8), stops(40)
    assert len(many) == len(few) + 32 + 1
    assert [link for link in many if link.startswith("#")] == ["#figures", "#gpus"]
    assert [link for link in few if link.startswith("#")] == ["#figures"]


def test_it_says_whose_figures_these_are(make_report: MakeReport) -> None:
    """The host's name in the tab, the heading, beside the time, and in the document; hostile ones as text."""
    text = shown(make_report())

    assert "<title>host-1 - Inference Cost Exporter</title>" in text
    assert "<h1><span>Inference Cost Exporter on <bdi>host-1</bdi></span></h1>" in text
    assert '<p data-part="about"><bdi>host-1</bdi> only, at ' in text
    assert embedded(make_report())["name"] == "host-1"
    for path in ("", "ml%2Fchat"):
        explained = (explanation(make_report(), NOW, path, BUILD) or b"").decode()
        assert " - host-1 - Inference Cost Exporter</title>" in explained
    nameless = make_report(basis=None)
    assert (embedded(nameless)["name"], "This host only, at" in shown(nameless)) == (None, True)


@pytest.mark.parametrize(
    ("spent", "words"),
    [
        (7_500_000_000, ["$0", "$0.002", "$0.004", "$0.006", "$0.008"]),  # the first seconds of a host
        (11_000_000_000, ["$0", "$0.0025", "$0.0050", "$0.0075", "$0.0100", "$0.0125"]),
        (45_000_000_000, ["$0", "$0.01", "$0.02", "$0.03", "$0.04", "$0.05"]),
        (11 * 10**12, ["$0", "$2.50", "$5.00", "$7.50", "$10.00", "$12.50"]),
        (44 * 10**12, ["$0", "$10", "$20", "$30", "$40", "$50"]),
    ],
)
def test_an_axis_has_the_digits_of_its_steps(spent: int, words: list[str], make_report: MakeReport) -> None:
    """No two of its words are the same, in the first minute either."""
    hours = (Hour(NOON, {"idle": spent}, 10 * SECOND),)
    text = shown(make_report(in_books={"history": RecentHistory(hours=hours)}))
    day = text.partition("<h2>Last 24 hours</h2>")[2].partition("</svg>")[0]

    assert re.findall(r">(\$[0-9.]+)</text>", day) == words


def test_the_default_budget_is_said_to_be_one(make_report: MakeReport) -> None:
    """Nobody takes it for a budget of their own; in the document it is told apart."""
    default = make_report(budgets=(BudgetRow("fleet", "", 27000.0, configured=False),))
    over = replace(default, projected={("search", "2026-11"): 27000.01})

    assert "default budget" not in shown(make_report())
    assert "the fleet's default budget of $27,000.00, as no budget is configured" in shown(default)
    assert ">default budget $27,000<" in shown(default)
    assert "Over the default budget &#34;fleet&#34;" in shown(over)
    assert [embedded(each)["budget_configured"] for each in (default, make_report())] == [False, True]
    assert embedded(make_report(budgets=()))["budget_configured"] is False


HOSTILE = (
    "<script>alert(1)</script>",
    "'; DROP TABLE cost; --",
    "=HYPERLINK(1)",
    "../..?#%2e",
    '"><img src=x onerror=alert(1)>',
    "</td></table></style>",
    "&lt;b&gt;",
    "אבג" * 42 + "אב",
    "🦙",
)
"""Names of servers, models and products that are no names; one of 128 characters, from right to left."""


def hostile(report: Report) -> Report:
    """A host where everybody is called so."""
    owners = {CostOwner(name, name, "", name, name): 1.0 for name in HOSTILE}
    shares = (ShareRow(owner.key, "GPU-aaaa", 1 / 9, "equal") for owner in owners)
    gpus = (replace(row, gpu=row.gpu._replace(gpu_model=HOSTILE[4])) for row in report.gpus[:1])
    assert report.savings is not None
    hosted = replace(report.savings.findings[0], kind="hosted", gpu_models=tuple(HOSTILE))
    findings = tuple(replace(hosted, server=ServerKey("", name), reference=name) for name in HOSTILE)
    return replace(
        report,
        rates=owners,
        shares=tuple(shares),
        loads=(),
        gpus=(*gpus, *report.gpus[1:]),
        savings=replace(report.savings, findings=findings),
    )


@pytest.mark.parametrize("name", [*HOSTILE, "a\ud800b"])
def test_names_from_outside_are_text(name: str, make_report: MakeReport) -> None:
    """A model may be called anything: on the page it is text, in the document a string."""
    report = make_report(rates={CostOwner(name, "t", name, name, name): 1.0})
    plain = make_report(rates={CostOwner("p", "t", "n", "s", "m"): 1.0})
    reader = Reader(shown(report))
    readable = name.replace("\ud800", "?")

    assert Counter(tag for tag, _ in reader.tags) == Counter(tag for tag, _ in Reader(shown(plain)).tags)
    assert f"{readable}/{readable}" in reader.text
    assert [line["model"] for line in embedded(report)["servers"] if line["server"] == name] == [name]
    links = {attributes["href"] or "" for tag, attributes in reader.tags if tag == "a"}
    servers = {link.removeprefix("explain/").partition("#")[0] for link in links}
    (path,) = {server for server in servers if "%2F" in server} - {"ml%2Fchat"}
    explained = explanation(report, NOW, path, BUILD)
    assert explained is not None
    assert f"What {readable}/{readable} costs" in Reader(explained.decode()).text


def test_the_page_says_what_the_methods_in_force_are_worth(make_report: MakeReport) -> None:
    """Each method once, with the loads on which it is far off; one that splits nothing here is not told."""
    text = Reader(shown(make_report())).text

    assert "24% by time" in text
    for method in ("time", "weights"):
        assert text.count(f"Prefill share of busy cost, split by {method}: {MEANING[method]}.") == 1
        assert MEANING[method].endswith(f"on these loads: {', '.join(WORKLOADS_OFF_BY_25_PERCENT[method])}")
    assert "split by engine" not in text


def test_a_server_named_like_a_folder_can_be_asked_for(make_report: MakeReport) -> None:
    """A browser would make `explain/..` the page itself; nobody of that name is nobody."""
    report = make_report(rates={CostOwner("p", "t", "", name, "m"): 1.0 for name in ("..", ".", "")})
    links = {attributes["href"] or "" for tag, attributes in Reader(shown(report)).tags if tag == "a"}
    path = {link.partition("#")[0] for link in links if link.startswith("explain/%2F")}

    assert path == {"explain/%2F..", "explain/%2F.", "explain/%2F"}
    assert all(explanation(report, NOW, each.removeprefix("explain/"), BUILD) for each in path)
    assert explanation(report, NOW, "nobody-here", BUILD) is None
    assert explanation(report, NOW, "%ff%fe", BUILD) is None


def test_a_server_that_was_idle_has_nothing_to_split(make_report: MakeReport) -> None:
    """No share of busy dollars where there were none in the hour, and nothing on what the method is worth."""
    idle = make_report(
        in_books={"window": {CHAT: Window({"idle": 10**12})}}, splits=(SplitRow(CHAT, "time", 0.24),)
    )
    text = Reader(shown(idle)).text

    assert "24%" not in text
    assert "split by time" not in text
    assert "0%" in text
    path = explanation(idle, NOW, "ml%2Fchat", BUILD)
    assert path is not None
    assert b"ow split by" not in path
