"""Reads a workbook back by the standard library: its cells, formats of numbers and frozen rows."""

import re
from importlib.util import find_spec
from io import BytesIO
from typing import NamedTuple
from xml.etree import ElementTree as ET
from zipfile import ZipFile

import pytest

MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"

needs_library = pytest.mark.skipif(find_spec("xlsxwriter") is None, reason="the extra xlsx is not installed")
"""A test that writes a workbook; the lock of the test environment has the extra."""


class ReadCell(NamedTuple):
    """A cell that is not empty."""

    kind: str
    """`n` of a number, `inlineStr` of a text, `b` of a flag; a formula is `f`."""
    value: str
    number_format: str


class ReadSheet(NamedTuple):
    """The only sheet of a workbook."""

    rows: list[dict[str, ReadCell]]
    """Cells of each row below the headings by their headings."""
    frozen_rows: int

    def values(self) -> list[dict[str, str]]:
        """The values of the rows."""
        return [{name: cell.value for name, cell in row.items()} for row in self.rows]


def read_workbook(content: bytes) -> ReadSheet:
    """The sheet of an XLSX file."""
    with ZipFile(BytesIO(content)) as archive:
        sheet = ET.fromstring(archive.read("xl/worksheets/sheet1.xml"))  # noqa: S314 - our own
        styles = ET.fromstring(archive.read("xl/styles.xml"))  # noqa: S314 - our own
    codes = {each.get("numFmtId"): each.get("formatCode", "") for each in styles.iter(f"{MAIN}numFmt")}
    formats = [
        codes.get(each.get("numFmtId"), f"built in {each.get('numFmtId')}")
        for each in styles.iterfind(f"{MAIN}cellXfs/{MAIN}xf")
    ]
    rows: list[dict[str, ReadCell]] = []
    for row in sheet.iter(f"{MAIN}row"):
        cells = {}
        for cell in row:
            if value := "".join(cell.itertext()):
                column = re.sub(r"\d", "", cell.attrib["r"])
                kind = "f" if cell.find(f"{MAIN}f") is not None else cell.get("t", "n")
                cells[column] = ReadCell(kind, value, formats[int(cell.get("s", "0"))])
        rows.append(cells)
    headings = {column: cell.value for column, cell in rows[0].items()}
    (pane,) = sheet.iter(f"{MAIN}pane")
    named = [{headings[column]: cell for column, cell in row.items()} for row in rows[1:]]
    return ReadSheet(named, int(pane.attrib["ySplit"]))
