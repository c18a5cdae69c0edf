"""The ranked list of savings on the page, and the same in the document."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from exporter.readings import ServerKey
from exporter.report import HostSavings, Report
from exporter.web.cost_json import document
from exporter.web.page import page
from tests.kit.units import DOLLAR
from tests.web.conftest import NOON, savings
from tests.web.test_page import BUILD, HOSTILE, NOW, OLD, Reader

MakeReport = Callable[..., Report]


def section(report: Report, elapsed: int = NOW) -> str:
    """The HTML of the section, empty without one."""
    text = page(report, elapsed, BUILD).decode()
    part = text.partition('<div data-part="savings">')[2].partition("<div data-part=")[0]
    return part.removesuffix("</div>\n")


def document_savings(report: Report, elapsed: int = NOW) -> Any:
    """The same in the document."""
    return json.loads(document(report, elapsed, BUILD))["host"]["savings"]


def items(report: Report) -> list[str]:
    """Each finding as a reader sees it."""
    return [
        " ".join(Reader(item.partition("</li>")[0]).text.split())
        for item in section(report).split("<li>")[1:]
    ]


def test_findings_are_listed_by_what_they_save(make_report: MakeReport) -> None:
    """A sentence with its dollars, then kind, cash or capacity, evidence, and an estimate called one."""
    assert items(make_report()) == [
        (
            "$3,650.00 a month: 1 GPU (NVIDIA H100 80GB HBM3) had no server"
            "Cash: the bill falls when the GPUs are given back. 336.0 GPU-hours in 336 hours. "
            "Kind: unallocated."
        ),
        (
            "\N{ALMOST EQUAL TO} $730.50 a month: batch served nothing for 2 days on 1 GPU "
            "(NVIDIA H100 80GB HBM3)"
            "Capacity, not cash: other servers hold the same GPUs. 12.0 GPU-hours in 48 hours. "
            "Price: an estimate, neither configured nor a list price. Kind: deserted."
        ),
    ]


def test_sums_are_above_the_list(make_report: MakeReport) -> None:
    """Cash and capacity apart, with the hours that they rest on."""
    assert (
        "<p>$3,650.00 a month in cash, $730.50 as capacity for other work. "
        "Measured: 336 hours up to 2026-11-24 12:00 UTC.</p>"
    ) in section(make_report())


def test_the_document_has_the_same(make_report: MakeReport) -> None:
    """Dollars as numbers, and null where a finding has no server or no obstacle."""
    saved = document_savings(make_report())

    assert (saved["until"], saved["hours"]) == ("2026-11-24T12:00:00Z", 336)
    assert (saved["dollars_per_month"], saved["cash_dollars_per_month"]) == (4380.5, 3650)
    unallocated, deserted = saved["findings"]
    assert (unallocated["server"], unallocated["cash"], unallocated["obstacle"]) == (None, True, None)
    assert (deserted["namespace"], deserted["server"], deserted["kind"]) == ("", "batch", "deserted")
    assert (deserted["cash"], deserted["obstacle"], deserted["gpu_hours"]) == (False, "shared", 12)
    assert deserted["text"] == "batch served nothing for 2 days on 1 GPU (NVIDIA H100 80GB HBM3)"


def test_no_review_is_not_nothing_to_save(make_report: MakeReport) -> None:
    """Without a review, and of an old report, there is no section; a review may find nothing."""
    for report, elapsed in ((make_report(savings=None), NOW), (make_report(), OLD)):
        assert (section(report, elapsed), document_savings(report, elapsed)) == ("", None)
    nothing = make_report(savings=HostSavings(NOON, 24))

    assert "No savings found. Measured: 24 hours up to" in section(nothing)
    assert "<ol" not in section(nothing)
    assert (document_savings(nothing)["dollars_per_month"], document_savings(nothing)["findings"]) == (0, [])


def test_a_long_list_is_cut_and_says_so(make_report: MakeReport) -> None:
    """Three, 17 that unfold (4 to 20 dollars), and 3 of 23 that are a sum: 3, 2 and 1 dollars.

    The document has all of them.
    """
    one = savings().findings[1]
    findings = tuple(
        replace(one, server=ServerKey("", f"s{number}"), per_month=number * DOLLAR)
        for number in range(23, 0, -1)
    )
    report = make_report(savings=replace(savings(), findings=findings))

    assert len(items(report)) == 20
    assert section(report).partition("<details>")[0].count("<li>") == 3
    assert "<details><summary>17 more: $204.00 a month</summary>" in section(report)
    assert "<p>3 smaller ones: $6.00 a month.</p>" in section(report)
    assert len(document_savings(report)["findings"]) == 23


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text(name: str, make_report: MakeReport) -> None:
    """A server, a GPU model and an offer may be called anything: the tags stay the same."""
    plain, wrong = (
        make_report(
            savings=replace(
                savings(),
                findings=tuple(
                    replace(
                        savings().findings[0],
                        kind=kind,
                        server=ServerKey(called, called),
                        gpu_models=(called,),
                        reference=called,
                    )
                    for kind in ("deserted", "hosted")
                ),
            )
        )
        for called in ("s", name)
    )

    assert [tag for tag, _ in Reader(section(wrong)).tags] == [tag for tag, _ in Reader(section(plain)).tags]
    assert f"{name}/{name}" in Reader(section(wrong)).text
    assert document_savings(wrong)["findings"][0]["server"] == name
