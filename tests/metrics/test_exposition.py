"""A report becomes bytes: valid in both formats, stable, and never lost to one bad row."""

import gzip
import logging
import math
import subprocess
import threading
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields, replace
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from exporter.cost.postings import CostOwner
from exporter.metrics.exposition import OPENMETRICS, TEXT, Exposition, Variant, is_stale
from exporter.metrics.metric import Metric, Row, gauge
from exporter.metrics.table import METRICS
from exporter.report import Build, CommittedTotals, Report

MakeReport = Callable[..., Report]

BUILD = Build("0.1.0", "9e3d667", "3.11.7")
PLAIN = Variant(TEXT, gzip=False)


def page(report: Report | None, variant: Variant = PLAIN, *, stale: bool = False) -> bytes:
    """A report by a renderer of its own."""
    return Exposition(BUILD).render(report, variant, stale=stale)


def of_rows(
    *rows: Row, labels: tuple[str, ...] = ("a",), when_stale: Callable[[], None] = lambda: None
) -> Metric:
    """A metric of fixed rows; `kept` is called when they are asked for."""

    def row_source(_: Report) -> Iterable[Row]:
        when_stale()
        return iter(rows)

    return gauge("inference_test_ratio", labels, "For a test.", row_source)


def raising(_: Report) -> Iterable[Row]:
    """Rows that break after the first one."""
    yield ("x",), 1.0
    raise KeyError("broken")


def test_a_whole_report_is_as_reviewed(make_report: MakeReport, golden: Callable[[str, bytes], None]) -> None:
    """The page of a whole report, byte for byte, in both formats."""
    golden("metrics-full.prom", page(make_report()))
    golden("metrics-full.openmetrics", page(make_report(), Variant(OPENMETRICS, gzip=False)))


def test_an_old_report_is_as_reviewed(make_report: MakeReport, golden: Callable[[str, bytes], None]) -> None:
    """What is left of the page after three missed ticks: counters, and gauges that no tick can change."""
    golden("metrics-stale.prom", page(make_report(), stale=True))


def defaults(of: type) -> Iterable[tuple[str, Any]]:
    """The fields that need not be given, each with its default."""
    for each in fields(of):
        if each.default is not MISSING:
            yield each.name, each.default
        elif each.default_factory is not MISSING:
            yield each.name, each.default_factory()


def without_each_part(report: Report) -> Iterable[Report]:
    """The report without one of its parts, or one of its totals, for each of them."""
    assert report.totals is not None
    for name, empty in defaults(Report):
        yield replace(report, **{name: empty})
    for name, empty in defaults(CommittedTotals):
        yield replace(report, totals=replace(report.totals, **{name: empty}))
    yield replace(report, totals=None)


def test_nothing_of_an_earlier_report_is_left_on_a_page(make_report: MakeReport) -> None:
    """Each page is that of a renderer that has written no other."""
    full, renderer = make_report(), Exposition(BUILD)
    written = renderer.render(full, PLAIN, stale=False)

    for other in without_each_part(full):
        assert renderer.render(other, PLAIN, stale=False) == page(other)
        assert renderer.render(full, PLAIN, stale=False) == written


@pytest.mark.parametrize("stale", [False, True])
def test_promtool_accepts_the_page(stale: bool, make_report: MakeReport) -> None:  # noqa: FBT001
    """Prometheus' own check finds nothing to say."""
    try:
        checked = subprocess.run(
            ["promtool", "check", "metrics"],
            input=page(make_report(), stale=stale),
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.fail("promtool is missing: apt-get install prometheus", pytrace=False)
    output = (checked.stdout + checked.stderr).decode()

    assert (checked.returncode, output) == (0, "")


def test_openmetrics_is_read_by_a_strict_parser(make_report: MakeReport) -> None:
    """OpenMetrics ends where it says, has no `_created` series, and means the same as text."""
    printed = page(make_report(), Variant(OPENMETRICS, gzip=False)).decode()
    families = list(text_string_to_metric_families(printed))
    samples = {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}

    assert printed.endswith("\n# EOF\n")
    assert "_created" not in printed
    standard = {family.name for family in make_report().process}
    assert {family.name for family in families} - standard == {
        metric.name.removesuffix("_total") for metric in METRICS
    }
    assert len(samples) == sum(not line.startswith("#") for line in page(make_report()).decode().splitlines())
    assert samples["inference_ledger_residual_dollars", ()] == 0.0


def test_gzip_holds_the_same_page(make_report: MakeReport) -> None:
    """Compression changes the transport only."""
    assert gzip.decompress(page(make_report(), Variant(TEXT, gzip=True))) == page(make_report())


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("form", [TEXT, OPENMETRICS], ids=["text", "openmetrics"])
def test_two_scrapes_are_identical(form: Any, zipped: bool, make_report: MakeReport) -> None:  # noqa: FBT001
    """One report is one page, whoever asks and whichever renderer: nothing in it is of the scrape."""
    variant = Variant(form, zipped)
    exposition = Exposition(BUILD)
    report = make_report()
    first = exposition.render(report, variant, stale=False)

    assert exposition.render(report, variant, stale=False) is first
    assert page(report, variant) == first


def test_the_order_of_the_books_does_not_show(make_report: MakeReport) -> None:
    """Rows are sorted: the same figures in another order are the same bytes."""
    report = make_report()
    assert report.totals is not None
    turned = {
        name: dict(reversed(getattr(report.totals, name).items()))
        for name in ("cost", "gpu_time", "server_cost", "gpu_cost", "tokens", "energy", "months")
    }
    other = make_report(
        in_books=turned,
        rates=dict(reversed(report.rates.items())),
        prices=report.prices[::-1],
        gpus=report.gpus[::-1],
        servers=report.servers[::-1],
        loads=report.loads[::-1],
        shares=report.shares[::-1],
    )

    assert page(other) == page(report)


def test_rows_are_asked_for_once_per_report(make_report: MakeReport) -> None:
    """A scrape of a page that is known costs no rendering, from however many threads it comes."""
    renders: list[int] = []
    exposition = Exposition(BUILD, [of_rows((("x",), 1.0), when_stale=lambda: renders.append(1))])
    report = make_report()
    threads = [
        threading.Thread(target=exposition.render, args=(report, PLAIN), kwargs={"stale": False})
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(renders) == 1

    exposition.render(replace(report), PLAIN, stale=False)
    assert len(renders) == 2


def test_only_the_last_report_is_kept(make_report: MakeReport) -> None:
    """Pages are kept for one report, in at most four forms: memory does not grow with uptime."""
    exposition = Exposition(BUILD)
    for _ in range(3):
        report = make_report()
        for form in (TEXT, OPENMETRICS):
            for zipped in (False, True):
                exposition.render(report, Variant(form, zipped), stale=False)

    assert len(exposition._pages) == 4


def test_a_report_is_rendered_ahead_in_the_forms_that_are_asked_for(make_report: MakeReport) -> None:
    """For five minutes after a scrape reports are written before they are asked for; else none is."""
    renders: list[int] = []
    exposition = Exposition(BUILD, [of_rows((("x",), 1.0), when_stale=lambda: renders.append(1))])
    first = make_report()
    exposition.prepare(first)
    assert len(renders) == 0

    exposition.render(first, PLAIN, stale=False)
    for minutes in range(1, 9):
        exposition.prepare(replace(first, elapsed=first.elapsed + minutes * 60 * 10**9))
    assert len(renders) == 1 + 5


def test_before_the_first_tick_the_exporter_names_itself() -> None:
    """Without a report there is one metric, so that a scrape succeeds and says what was scraped."""
    assert page(None).decode().splitlines() == [
        "# HELP inference_exporter_info Version of the exporter. Never absent.",
        "# TYPE inference_exporter_info gauge",
        'inference_exporter_info{python="3.11.7",revision="9e3d667",version="0.1.0"} 1.0',
    ]


def test_a_page_that_goes_out_plain_and_compressed_is_written_once(make_report: MakeReport) -> None:
    """Scrapers that differ in `Accept-Encoding` alone cost a compression, and no second page."""
    written: list[Report] = []

    def rows(report: Report) -> list[Row]:
        written.append(report)
        return []

    exposition = Exposition(BUILD, [gauge("inference_test_ratio", (), "For a test.", rows)])
    report = make_report()
    for compressed in (True, False, True):
        exposition.render(report, Variant(TEXT, gzip=compressed), stale=False)

    assert written == [report]


@pytest.mark.parametrize(("age", "stale"), [(0, False), (30 * 10**9, False), (30 * 10**9 + 1, True)])
def test_a_report_is_old_after_three_intervals(age: int, stale: bool, make_report: MakeReport) -> None:  # noqa: FBT001
    """At an interval of 10 s, a report of 30 s ago still speaks."""
    report = make_report()

    assert is_stale(report, report.elapsed + age) is stale


def test_a_metric_that_raises_costs_itself_only(
    make_report: MakeReport, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are served; the fault is counted once per report and logged once."""
    broken = gauge("inference_broken_ratio", ("a",), "For a test.", raising)
    exposition = Exposition(BUILD, [broken, of_rows((("x",), 1.0))])
    with caplog.at_level(logging.INFO):
        pages = []
        for _ in range(3):
            report = make_report(process=())
            pages.append(exposition.render(report, PLAIN, stale=False).decode())
            exposition.render(report, Variant(OPENMETRICS, gzip=True), stale=False)

    assert [text.splitlines()[-1] for text in pages] == ['inference_test_ratio{a="x"} 1.0'] * 3
    assert all("inference_broken_ratio" not in text for text in pages)
    assert exposition.faults == {("inference_broken_ratio", "raised"): 3}
    assert len(caplog.records) == 1
    details = vars(caplog.records[0])
    assert details["msg"] == "metric rows omitted"
    assert details["metric"] == "inference_broken_ratio"
    assert details["problem"] == "raised: KeyError: 'broken'"
    assert details["further"] == "counted in inference_exposition_errors_total, not logged"


@pytest.mark.parametrize(
    "row",
    [
        ((), 1.0),
        (("x", "y"), 1.0),
        ((1,), 1.0),
        ((None,), 1.0),
        (("x",), None),
        (("x",), "1"),
    ],
    ids=["too few", "too many", "number", "none", "no value", "text value"],
)
def test_a_row_that_does_not_fit_is_not_cut_to_fit(row: Any, make_report: MakeReport) -> None:
    """Labels are not cut off to fit: such a family is left out and counted."""
    exposition = Exposition(BUILD, [of_rows(row)])

    assert exposition.render(make_report(process=()), PLAIN, stale=False) == b""
    assert exposition.faults == {("inference_test_ratio", "raised"): 1}


def test_the_first_of_two_equal_rows_is_kept(make_report: MakeReport) -> None:
    """Prometheus refuses a page with a series that stands twice."""
    exposition = Exposition(BUILD, [of_rows((("x",), 1.0), (("y",), 3.0), (("x",), 2.0))])
    lines = exposition.render(make_report(process=()), PLAIN, stale=False).decode().splitlines()

    assert lines[2:] == ['inference_test_ratio{a="x"} 1.0', 'inference_test_ratio{a="y"} 3.0']
    assert exposition.faults == {("inference_test_ratio", "duplicate"): 1}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_absent(value: float, make_report: MakeReport) -> None:
    """Absent, never Inf: a quotient that went wrong is no figure."""
    exposition = Exposition(BUILD, [of_rows((("x",), value), (("y",), 1.0))])
    lines = exposition.render(make_report(process=()), PLAIN, stale=False).decode().splitlines()

    assert lines[2:] == ['inference_test_ratio{a="y"} 1.0']
    assert exposition.faults == {("inference_test_ratio", "not_finite"): 1}


HOSTILE = {
    "newline": ("a\nb", "ab"),
    "quotes": ('a"b\\', 'a\\"b\\\\'),
    "html": ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    "injection": ('x"} 1\ninference_fake_ratio{a="', 'x\\"} 1inference_fake_ratio{a=\\"'),
    "long": ("m" * 200, "m" * 128),
    "right to left": ("\u202eאבג", "אבג"),
    "zero width": ("a\u200bb\x00c", "abc"),
    "lone surrogate": ("a\ud800b", "ab"),
    "emoji": ("🦙-7b", "🦙-7b"),
    "empty": ("", ""),
}


@pytest.mark.parametrize(("name", "printed"), HOSTILE.values(), ids=HOSTILE)
def test_names_from_outside_cannot_break_the_page(name: str, printed: str, make_report: MakeReport) -> None:
    """A model may be called anything: its label is escaped, cut, and free of what cannot be printed."""
    owner = CostOwner("search", "retrieval", "ml", "chat", name)
    report = make_report(rates={owner: 1.0})
    text = page(report).decode()
    lines_of_metric = [
        line for line in text.split("\n") if line.startswith("inference_cost_dollars_per_hour{")
    ]

    assert lines_of_metric == [
        (
            f'inference_cost_dollars_per_hour{{model="{printed}",namespace="ml",product="search",'
            'server="chat",team="retrieval"} 1.0'
        )
    ]
    assert list(text_string_to_metric_families(page(report, Variant(OPENMETRICS, gzip=False)).decode()))
