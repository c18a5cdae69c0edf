"""One writer: tables, JSON, CSV and XLSX from column definitions."""

import json
import sys
from dataclasses import replace

import pytest

from exporter.finance import render
from exporter.finance.render import ReportColumn, ReportTable, WorkbookError
from tests.finance.workbook_reader import ReadCell, needs_library, read_workbook
from tests.kit.units import HOUR

TABLE = ReportTable(
    labels=("product", "team"),
    rows=[("chat", "=cmd()"), ("search", "")],
    columns=[
        ReportColumn("dollars", "dollars", [1_234_560_000_000_000, 500_000_000_000], "dollars"),
        ReportColumn("idle_ratio", "ratio", [(1, 4), (0, 0)], "idle %"),
        ReportColumn("gpu_hours", "hours", [HOUR // 3, HOUR // 3], "GPU-hours"),
        ReportColumn("to_date", "flag", [True, True]),
    ],
)


def test_a_table_ends_with_its_total_and_its_hours_sum_to_it() -> None:
    """Two thirds of an hour are 0.6667, so one third of it is 0.3334 and the other 0.3333."""
    assert list(TABLE.text(("dollars", "idle_ratio", "gpu_hours"))) == [
        "product  team     dollars  idle %  GPU-hours",
        "-------  ------  --------  ------  ---------",
        "chat     =cmd()  1,234.56    25.0     0.3334",
        "search   -           0.50       -     0.3333",
        "-------  ------  --------  ------  ---------",
        "total            1,235.06    25.0     0.6667",
    ]


def test_csv_has_no_total_no_separators_and_no_formula() -> None:
    """Unknown is empty, and a ratio is no percentage."""
    assert TABLE.csv(("dollars", "idle_ratio", "to_date"), {"month": "2026-11"}, {"hosts": "2"}) == (
        "month,product,team,dollars,idle_ratio,to_date,hosts\n"
        "2026-11,chat,'=cmd(),1234.56,0.2500,true,2\n"
        "2026-11,search,,0.50,,true,2\n"
    )


def test_json_has_exact_times_and_only_the_fields_that_are_asked_for() -> None:
    """A column that the table lacks is left out."""
    rows, total = TABLE.json(("dollars", "gpu_hours", "picodollars"))
    assert rows == [
        {"product": "chat", "team": "=cmd()", "dollars": 1234.56, "gpu_hours": 1 / 3},
        {"product": "search", "team": "", "dollars": 0.5, "gpu_hours": 1 / 3},
    ]
    assert total == {"dollars": 1235.06, "gpu_hours": 2 / 3}
    assert json.loads(render.json_text(total)) == total


def test_a_cell_never_runs_as_a_formula_or_ends_a_line() -> None:
    """The five first characters of a formula, and the carriage return that Python 3.11 leaves bare."""
    cells = ("=1", "+1", "-1", "@a", "\t1", "a\rb", "a=b")
    assert [render.safe_cell(cell) for cell in cells] == ["'=1", "'+1", "'-1", "'@a", "'\t1", "a b", "a=b"]


def test_lines_end_once() -> None:
    """However many of the last lines are empty."""
    assert render.lines_text(["a", "", "b", "", ""]) == "a\n\nb\n"


def test_sentences_are_wrapped_and_names_cut() -> None:
    """A cut name says so by its tilde."""
    assert render.wrapped("one two-six four", "  ", 9, lead="- ") == ["- one", "  two-six", "  four"]
    assert render.shortened("gpu-host-17", 8) == "gpu-hos~"
    assert render.shortened("gpu-host", 8) == "gpu-host"


def test_instants_are_of_utc_to_the_second() -> None:
    """1,764,504,000 seconds after 1970 are noon of 2025-11-30."""
    noon = 1_764_504_000_000_000_000
    assert render.instant_text(noon + 999_999_999) == "2025-11-30T12:00:00Z"
    assert render.time_text(None) is None


@needs_library
def test_a_workbook_has_numbers_a_row_of_totals_and_no_formula() -> None:
    """Dollars, hours and ratios are numbers with a format; an unknown ratio is an empty cell."""
    table = replace(TABLE, rows=[("chat", "=cmd()"), ("https://search", "{=A1}")])
    columns = ("dollars", "idle_ratio", "gpu_hours", "to_date")
    sheet = read_workbook(table.workbook(columns, {"month": "2026-11"}, {"hosts": 2}))

    assert sheet.frozen_rows == 1
    chat, search, total = sheet.rows
    assert chat == {
        "month": ReadCell("inlineStr", "2026-11", "built in 0"),
        "product": ReadCell("inlineStr", "chat", "built in 0"),
        "team": ReadCell("inlineStr", "=cmd()", "built in 0"),
        "dollars": ReadCell("n", "1234.56", '"$"#,##0.00'),
        "idle_ratio": ReadCell("n", "0.2500", "0.0%"),
        "gpu_hours": ReadCell("n", "0.3334", "#,##0.0000"),
        "to_date": ReadCell("b", "1", "built in 0"),
        "hosts": ReadCell("n", "2", "built in 0"),
    }
    assert search["product"] == ReadCell("inlineStr", "https://search", "built in 0")
    assert search["team"] == ReadCell("inlineStr", "{=A1}", "built in 0")
    assert "idle_ratio" not in search
    assert {name: cell.value for name, cell in total.items()} == {
        "month": "total",
        "dollars": "1235.06",
        "idle_ratio": "0.2500",
        "gpu_hours": "0.6667",
    }


@needs_library
@pytest.mark.parametrize("label", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "12", "mailto:a@b"])
def test_a_label_of_a_workbook_is_text(label: str) -> None:
    """A label is neither run nor changed, whatever its first character."""
    table = ReportTable(("product",), [(label,)], [ReportColumn("dollars", "cents", [1])])
    product = read_workbook(table.workbook(("dollars",), {}, {})).rows[0]["product"]
    assert product.kind == "inlineStr"
    assert product.value.replace("_x000D_", "\r") == label


def test_a_workbook_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the remedy."""
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    with pytest.raises(WorkbookError) as raised:
        TABLE.workbook(("dollars",), {}, {})
    assert str(raised.value) == (
        'a workbook needs the package xlsxwriter: pip install "inference-cost-exporter[xlsx]"'
    )


@needs_library
def test_more_rows_than_a_sheet_has() -> None:
    """A heading and a total make 1,048,577 rows, of which the library would drop one silently."""
    table = ReportTable(("product",), [("chat",)] * 1_048_575, [])
    with pytest.raises(WorkbookError, match="a sheet has 1,048,576 rows, and this report has 1,048,575: use"):
        table.workbook((), {}, {})


@needs_library
def test_no_folder_for_the_temporary_files_of_a_workbook(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which folder, and how to name another."""
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with pytest.raises(WorkbookError, match=r"temporary files cannot be written: .*; TMPDIR names"):
        TABLE.workbook(("dollars",), {}, {})
