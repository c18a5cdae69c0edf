"""Bills as AWS, GCP and Azure export them, and as people type them."""

import gzip
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from exporter.finance.bill import host_bill as invoices
from exporter.finance.bill.bill_file import Reading, matches
from exporter.finance.bill.charges import InvoiceCharge, InvoiceError, InvoicePeriod
from exporter.finance.bill.host_bill import Counted, Invoice, Metered, read_invoice
from tests.finance.bill.bills import HEADER, INVOICES, UTC, bill, usage
from tests.kit.units import CENT, DOLLAR, HOUR

P5 = "i-0a1b2c3d4e5f67890"


def test_aws_by_hand() -> None:
    """Each kind of row of tests/finance/invoices/aws.csv, of one machine."""
    invoice = read_invoice(INVOICES / "aws.csv", Reading(UTC, resources=(P5,)))
    meter = (P5, "2PXYHKEUDZGS6FGX")

    assert (invoice.form, invoice.rows, invoice.chosen.rows) == ("focus", 9, 5)
    assert sorted(invoice.local) == ["2026-10-01", "2026-10-02", "2026-10-03"]
    first, third = invoice.local["2026-10-01"], invoice.local["2026-10-03"]
    assert (first.usage, first.meters) == (132_096 * CENT, {meter: Metered(132_096 * CENT, 24 * HOUR)})
    assert first.apart == {"refunds": -5504 * CENT}
    assert third.usage == 68_812 * CENT  # 688.00, and 0.12 of traffic
    assert third.meters == {meter: Metered(688 * DOLLAR, 45_000 * 10**9)}  # 12.5 h
    assert (invoice.left, invoice.unnamed) == (Counted(4, 94_304 * 10**9), Counted(3, 92 * DOLLAR))


def test_aws_without_a_resource_has_all_rows() -> None:
    """The other machine, and what is of no machine: a credit, and tax and purchase of the month."""
    invoice = read_invoice(INVOICES / "aws.csv", Reading(UTC))
    assert invoice.local["2026-10-01"].usage == 132_096 * CENT + 2_304 * 10**9
    assert invoice.local["2026-10-02"].apart == {"credits": -20 * DOLLAR}
    assert invoice.months["2026-10"].apart == {"taxes": 12 * DOLLAR, "purchases": 100 * DOLLAR}
    assert invoice.months["2026-10"].usage == 0
    listed = {key: resource.counted for key, resource in invoice.resources.items()}
    assert listed == {
        P5: Counted(5, 327_500 * CENT),  # 1320.96 + 1320.96 + 688.00 - 55.04 + 0.12
        "i-0ffffffffffffffff": Counted(1, 2_304 * 10**9),
        "": Counted(3, 92 * DOLLAR),
    }


def test_the_effective_cost_leaves_purchases_out() -> None:
    """They are spread over what used them: the purchase of 100 dollars has an effective cost of 0."""
    invoice = read_invoice(INVOICES / "aws.csv", Reading(UTC, cost="effective"))
    assert invoice.months["2026-10"].apart == {"taxes": 12 * DOLLAR, "purchases": 0}


def test_gcp_by_hand_in_days_of_los_angeles() -> None:
    """Three hours of UTC, of which two are of the evening before; 2 + 1 + 8 dollars each."""
    reading = Reading(ZoneInfo("America/Los_Angeles"), resources=("gpu-1",))
    invoice = read_invoice(INVOICES / "gcp.csv", reading)
    assert {day: tally.usage for day, tally in invoice.local.items()} == {
        "2026-10-01": 22 * DOLLAR,
        "2026-10-02": 11 * DOLLAR,
    }
    assert {day: tally.usage for day, tally in invoice.utc.items()} == {"2026-10-02": 33 * DOLLAR}
    assert invoice.local["2026-10-02"].apart == {"credits": -DOLLAR // 2}
    skus = [sku for _resource, sku in invoice.local["2026-10-01"].meters]
    assert skus == ["D0C3-5E5B-3A5E", "8E4C-A5D1-9B1F"]
    assert (invoice.local["2026-10-01"].span, invoice.utc["2026-10-02"].span) == (2 * HOUR, 3 * HOUR)


def test_azure_by_hand() -> None:
    """A mark at the beginning, CR LF, instants without seconds; the machine by the end of its id."""
    invoice = read_invoice(INVOICES / "azure.csv", Reading(UTC, resources=("GPU-01",)))
    assert [(tally.usage, tally.span) for tally in invoice.local.values()] == [
        (2400 * DOLLAR, 24 * HOUR),
        (2000 * DOLLAR, 24 * HOUR),
        (2640 * DOLLAR, 24 * HOUR),
    ]
    assert [metered.time for metered in invoice.local["2026-10-02"].meters.values()] == [20 * HOUR]
    everything = read_invoice(INVOICES / "azure.csv", Reading(UTC))
    assert everything.local["2026-10-03"].apart == {"corrections": -CENT}


def test_a_correction_of_an_earlier_bill_is_no_usage(tmp_path: Path) -> None:
    """Also where it adds: it is told with refunds, and its hours are not of this month."""
    rows = usage("01", "48", "24") + usage("01", "5", "2")
    header = HEADER + ",ChargeClass"
    text = rows.replace(",p5\n", ",p5,\n", 1).replace(",p5\n", ",p5,Correction\n")
    sums = bill(f"{header}\n{text}", tmp_path).local["2026-10-01"]
    assert (sums.usage, sums.apart) == (48 * DOLLAR, {"refunds": 5 * DOLLAR})
    assert sums.meters == {("i-1", "p5"): Metered(48 * DOLLAR, 24 * HOUR)}


def test_dates_and_dollars_by_hand() -> None:
    """What is below zero is a refund."""
    invoice = read_invoice(INVOICES / "dates.csv", Reading(UTC))
    assert invoice.form == "dates"
    assert {day: (tally.usage, tally.apart) for day, tally in invoice.local.items()} == {
        "2026-10-01": (48 * DOLLAR, {}),
        "2026-10-02": (48 * DOLLAR, {}),
        "2026-10-03": (50 * DOLLAR, {"refunds": -3 * DOLLAR}),
    }


def test_a_third_column_names_the_host(tmp_path: Path) -> None:
    """And chooses, as a resource does."""
    text = "Date,USD,Host\n2026-10-01,5,a\n2026-10-01,7,b\n"
    invoice = bill(text, tmp_path, Reading(UTC, resources=("B",)))
    assert invoice.local["2026-10-01"].usage == 7 * DOLLAR


def test_dates_need_no_header(tmp_path: Path) -> None:
    """The first row counts."""
    assert bill("2026-10-01,5\n\n2026-10-01,6\n", tmp_path).local["2026-10-01"].usage == 11 * DOLLAR


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_and_gzip(encoding: str, tmp_path: Path) -> None:
    """The same bill, however it was saved."""
    data = f"{HEADER}\n{usage('01', '48', '24')}".encode(encoding)
    path = tmp_path / "bill"
    for written in (data, gzip.compress(data)):
        path.write_bytes(written)
        assert read_invoice(path, Reading(UTC)).local["2026-10-01"].usage == 48 * DOLLAR


def test_columns_of_an_older_form_and_of_a_database(tmp_path: Path) -> None:
    """Names in small letters, and quantities that are called usage, in minutes."""
    header = HEADER.lower().replace("consumed", "usage")
    invoice = bill(f"{header}\n{usage('01', '2', '90').replace('Hours', 'Minutes')}", tmp_path)
    (metered,) = invoice.local["2026-10-01"].meters.values()
    assert metered.time == 5400 * 10**9


@pytest.mark.parametrize("unit", ["Requests", "100 Hours", "GB-Hours", "NULL", ""])
def test_other_units_are_no_hours(unit: str, tmp_path: Path) -> None:
    """What cannot be read as hours for certain is usage without hours."""
    invoice = bill(f"{HEADER}\n{usage('01', '2', '90').replace('Hours', unit)}", tmp_path)
    assert (invoice.local["2026-10-01"].usage, invoice.local["2026-10-01"].meters) == (2 * DOLLAR, {})


WHOLE_PARTS = ("i-1", "I-1", "instance/i-1", "arn:aws:ec2:us-east-1:1:instance/i-1", "chat")
PIECES = ("-1", "i-", "2", "instance", "chat-8b")


def test_a_resource_is_matched_by_whole_parts() -> None:
    """By id, the last parts of an id, or name: never by a piece of a part."""
    arn = "arn:aws:ec2:us-east-1:1:instance/i-1"
    matching = [wanted for wanted in (*WHOLE_PARTS, *PIECES) if matches(wanted, arn, "Chat")]
    assert matching == list(WHOLE_PARTS)


def test_a_resource_that_the_bill_does_not_name_is_refused(tmp_path: Path) -> None:
    """With those that it does, the dearest first."""
    rows = usage("01", "48", "24") + usage("01", "50", "24", "i-2").replace("i-2,,", "i-2,gpu,")
    with pytest.raises(InvoiceError) as refused:
        bill(f"{HEADER}\n{rows}", tmp_path, Reading(UTC, resources=("i-1", "i-9")))
    assert str(refused.value) == (
        f'{tmp_path}/bill.csv: no row is of the resource "i-9"; its dearest are i-2 (gpu), i-1'
    )
    with pytest.raises(InvoiceError, match=r"the bill names none$"):
        read_invoice(INVOICES / "dates.csv", Reading(UTC, resources=("i-9",)))


def charge(day: int, resource: str = "i-1") -> InvoiceCharge:
    """A dollar and an hour of a day."""
    name = f"{day:08d}"
    return InvoiceCharge(InvoicePeriod(0, HOUR, name, name, None), DOLLAR, resource=resource, time=HOUR)


def test_memory_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """On days, on resources told by name, and on sums of hours."""
    monkeypatch.setattr(invoices, "MOST_DAYS", 3)
    monkeypatch.setattr(invoices, "MOST_RESOURCES", 2)
    monkeypatch.setattr(invoices, "MOST_METERS", 8)
    invoice = Invoice("focus")
    for day in range(3):
        for resource in ("a", "b", "c"):
            invoice.add(charge(day, resource), chosen=True)
    assert (len(invoice.resources), invoice.unlisted) == (2, Counted(3, 3 * DOLLAR))
    assert invoice.crowded
    assert sum(tally.usage for tally in invoice.local.values()) == 9 * DOLLAR
    with pytest.raises(InvoiceError, match=r"^has rows of more than 3 days: export one month$"):
        invoice.add(charge(3), chosen=True)


def test_many_periods_of_a_day_are_not_kept() -> None:
    """Rows by the minute: how long there was usage is then not told."""
    invoice = Invoice("focus")
    for start in range(101):
        invoice.add(InvoiceCharge(InvoicePeriod(start, start + 1, "x", None, None), DOLLAR), chosen=True)
    assert (invoice.local["x"].usage, invoice.local["x"].span) == (101 * DOLLAR, None)


def test_periods_that_overlap_count_once() -> None:
    """[0, 2), [1, 3) and [5, 6) are 4."""
    invoice = Invoice("focus")
    for start, end in ((0, 2), (1, 3), (5, 6), (1, 2)):
        invoice.add(InvoiceCharge(InvoicePeriod(start, end, "x", None, None), DOLLAR), chosen=True)
    assert invoice.local["x"].span == 4
