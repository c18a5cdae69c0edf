"""Files that are no bill, or that have rows which cannot be used: by exact text, with the place."""

import gzip
from pathlib import Path

import pytest

from exporter.finance.bill.bill_file import MOST_LINE, Reading
from exporter.finance.bill.charges import InvoiceError
from exporter.finance.bill.host_bill import read_invoice
from tests.finance.bill.bills import HEADER, UTC, usage

NO_NUMBER = "is no number: expected digits with a point, like -1234.56"
CUT = "export it again, the file is cut or was edited"
GOOD = usage("01", "48", "24")
COLUMNS = HEADER.split(",")


def refused(path: Path, reading: Reading | None = None) -> str:
    """What is said of a file, without its folder."""
    with pytest.raises(InvoiceError) as error:
        read_invoice(path, reading or Reading(UTC))
    return str(error.value).replace(f"{path.parent}/", "")


def error_of(data: bytes | str, folder: Path) -> str:
    """What is said of these bytes."""
    path = folder / "bill.csv"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return refused(path)


def row(**values: str) -> str:
    """The good row with other values."""
    cells = dict(zip(COLUMNS, GOOD.strip().split(","), strict=True)) | values
    return ",".join(cells[column] for column in COLUMNS) + "\n"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"BilledCost": "12.5.0"},
            f'bill.csv:3:1: BilledCost: "12.5.0" {NO_NUMBER}',
        ),
        (
            {"BillingCurrency": "EUR"},
            (
                'bill.csv:3:3: BillingCurrency: "EUR": the books are in dollars, so that only a bill in USD '
                "can be compared; export it in USD"
            ),
        ),
        (
            {"ChargeCategory": "Gift"},
            'bill.csv:3:4: ChargeCategory: "Gift" is none of Usage, Purchase, Tax, Credit or Adjustment',
        ),
        (
            {"ChargePeriodStart": "2026-10-32T00:00:00Z"},
            'bill.csv:3:5: ChargePeriodStart: "2026-10-32T00:00:00Z" does not exist in the calendar',
        ),
        (
            {"ChargePeriodEnd": "tomorrow"},
            (
                'bill.csv:3:6: ChargePeriodEnd: "tomorrow" is no time of UTC: expected one like '
                "2026-10-01T00:00:00Z"
            ),
        ),
        (
            {"ChargePeriodEnd": "2026-09-30T00:00:00Z"},
            'bill.csv:3:6: ChargePeriodEnd: "2026-09-30T00:00:00Z" is before the start of the period',
        ),
        (
            {"ConsumedQuantity": "many"},
            f'bill.csv:3:7: ConsumedQuantity: "many" {NO_NUMBER}',
        ),
    ],
)
def test_a_value_that_cannot_be_used(values: dict[str, str], message: str, tmp_path: Path) -> None:
    """Line and column count from 1; a bill is read whole or not at all."""
    assert message == error_of(f"{HEADER}\n{GOOD}{row(**values)}{GOOD}", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "bill.csv: is empty"),
        ("\n\n", "bill.csv: is empty"),
        (f"{HEADER}\n", "bill.csv: has a header and no rows"),
        ("date,dollars\n", "bill.csv: has a header and no rows"),
        (f"{HEADER},BilledCost\n{GOOD}", 'bill.csv:1: has the column "BilledCost" twice'),
        ("date,date\n", 'bill.csv:1: has the column "date" twice'),
        (
            "BilledCost,ChargePeriodStart\n1,2\n",
            (
                "bill.csv:1: has no column ChargePeriodEnd, ChargeCategory, BillingCurrency: export it in "
                "FOCUS form, or write a CSV of date,dollars"
            ),
        ),
        (
            "identity/LineItemId,lineItem/UnblendedCost\n",
            (
                'bill.csv:1: begins with "identity/LineItemId,lineItem/UnblendedCo...": expected the columns '
                "of a FOCUS export, or date,dollars, or date,dollars,host"
            ),
        ),
        (
            "date;dollars\n2026-10-01;5\n",
            "bill.csv:1: is not separated by commas: export it as CSV with commas",
        ),
        (
            "date,dollars\n2026-10-01,5\n2026-02-30,5\n",
            'bill.csv:3:1: date: "2026-02-30" does not exist in the calendar',
        ),
        (
            "date,dollars\n01.10.2026,5\n",
            'bill.csv:2:1: date: "01.10.2026" is no date: expected one like 2026-10-31',
        ),
        (
            'date,dollars\n2026-10-01,"5,00"\n',
            f'bill.csv:2:2: dollars: "5,00" {NO_NUMBER}',
        ),
        (
            "date,dollars\n2026-10-01,5,a\n",
            f"bill.csv:2: has 3 values where there are 2 columns: {CUT}",
        ),
        (
            f"{HEADER}\n{GOOD}{GOOD[:40]}",
            f"bill.csv:3: has 6 values where there are 11 columns: {CUT}",
        ),
        ('date,dollars\n2026-10-01,"5\n', "bill.csv:2: is no CSV: unexpected end of data"),
        ('date,dollars\n2026-10-01,"5"0\n', "bill.csv:2: is no CSV: ',' expected after '\"'"),
        (
            "date,dollars\n2026-10-01,5\0\n",
            "bill.csv:2: has a NUL byte: it is no text, or it is UTF-16 without a mark",
        ),
        (
            f"date,dollars,host\n2026-10-01,5,{'x' * 200_000}\n",
            "bill.csv:2: is no CSV: field larger than field limit (131072)",
        ),
        (
            f"date,dollars,host\n2026-10-01,5,{'x' * MOST_LINE}\n",
            "bill.csv:2: a line is longer than 1048576 characters",
        ),
        (
            'date,dollars,host\n2026-10-01,5,"' + "\n" * 2000 + '"\n',
            "bill.csv:2: a row has more than 1000 lines",
        ),
    ],
)
def test_a_file_that_cannot_be_used(text: str, message: str, tmp_path: Path) -> None:
    """By what it is and what to do."""
    assert message == error_of(text, tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"date,dollars\n2026-10-01,5\xff\n", "bill.csv:1: is no UTF-8: save it as UTF-8"),
        (b"PK\x03\x04\x14\x00", "bill.csv: is a zip file: unpack it first"),
        (b"PAR1\x15\x04", "bill.csv: is a Parquet file: export it as CSV"),
        (b"%PDF-1.7\n", "bill.csv: is a PDF: a bill is compared by its CSV export"),
        (gzip.compress(b"PAR1\x15\x04", mtime=0), "bill.csv: is a Parquet file: export it as CSV"),
        (
            gzip.compress(b"date,dollars\n2026-10-01,5\n", mtime=0)[:-9],
            (
                "bill.csv: its gzip is damaged (Compressed file ended before the end-of-stream marker was "
                "reached): fetch it again"
            ),
        ),
        (
            "date,dollars\n".encode("utf-16-le"),
            "bill.csv:1: has a NUL byte: it is no text, or it is UTF-16 without a mark",
        ),
    ],
)
def test_bytes_that_are_no_csv(data: bytes, message: str, tmp_path: Path) -> None:
    """By what they are and what to do."""
    assert message == error_of(data, tmp_path)


def test_the_place_of_a_row_of_several_lines(tmp_path: Path) -> None:
    """A row is told by the line that it begins in."""
    text = 'date,dollars,host\n2026-10-01,5,"a\nb"\n2026-10-02,x,c\n'
    assert error_of(text, tmp_path) == (f'bill.csv:4:2: dollars: "x" {NO_NUMBER}')


def test_places_that_are_no_file(tmp_path: Path) -> None:
    """A directory, nothing, and a file that is another user's."""
    assert refused(tmp_path) == f"{tmp_path.name}: is a directory: name one file of it"
    assert refused(tmp_path / "none.csv") == "none.csv: cannot be read: No such file or directory"


def test_the_effective_cost_needs_its_column(tmp_path: Path) -> None:
    """It is not every export's."""
    path = tmp_path / "bill.csv"
    path.write_text(f"{HEADER.replace('EffectiveCost', 'x')}\n{GOOD}", encoding="utf-8")
    assert refused(path, Reading(UTC, cost="effective")) == (
        "bill.csv:1: has no column EffectiveCost: export it in FOCUS form, or write a CSV of date,dollars"
    )


@pytest.mark.parametrize("column", ["ProviderName", "ServiceProviderName"])
def test_the_books_themselves_are_no_bill(column: str, tmp_path: Path) -> None:
    """In a warehouse's table they stand beside the bill, of which a resource can be chosen."""
    ours, theirs = row(ResourceId="chat").strip(), row(ResourceId="i-1").strip()
    table = f'{HEADER},{column}\n{ours},"Self-hosted inference"\n{theirs},"A cloud"\n'
    own = (
        f'bill.csv:2: {column}: "Self-hosted inference" is what report focus writes: books are set '
        "against what a provider charges you, so give its file, or choose its rows with --resource"
    )
    assert error_of(table, tmp_path) == own
    path = tmp_path / "bill.csv"
    assert refused(path, Reading(UTC, resources=("chat",))) == own
    assert read_invoice(path, Reading(UTC, resources=("i-1",))).rows == 2


def test_the_books_are_known_by_a_padded_name(tmp_path: Path) -> None:
    """A warehouse that keeps text of a fixed width fills it up with spaces."""
    table = f'{HEADER},ProviderName\n{row().strip()},"Self-hosted inference   "\n'
    assert error_of(table, tmp_path).startswith(
        'bill.csv:2: ProviderName: "Self-hosted inference" is what report focus writes'
    )
