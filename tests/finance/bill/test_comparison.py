"""Books against bill: whole months by hand, and what would make them agree."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from exporter.finance.bill.bill_file import Reading
from exporter.finance.bill.charges import InvoiceError
from exporter.finance.bill.host_bill import month_billed, read_invoice
from exporter.finance.bill.host_comparison import Suggestion, reconcile
from exporter.report import ServerOwner
from tests.finance.bill.bills import (
    HEADER,
    INVOICES,
    SEARCH,
    UTC,
    adjustment,
    bill,
    by_utc,
    ledger_month,
    named,
    sums,
    usage,
)
from tests.kit.units import CENT, DAY, DOLLAR, HOUR, NOVEMBER

P5 = "i-0a1b2c3d4e5f67890"
BERLIN = ZoneInfo("Europe/Berlin")
LOS_ANGELES = ZoneInfo("America/Los_Angeles")


def test_aws_by_hand() -> None:
    """One machine at 55.04 an hour: half an hour before the first tick, a refund, and a day without books.

    1 October: 1320.96 - 55.04 billed, 23.5 h x 55.04 = 1293.44 in the books. 2 October agrees.
    3 October: 12.5 h = 688.00 and 0.12 of traffic, and nothing in the books.
    """
    invoice = read_invoice(INVOICES / "aws.csv", Reading(UTC, resources=(P5,)))
    history = {
        20261001: sums(23 * HOUR + HOUR // 2, 129_344 * CENT, energy=5 * DOLLAR),
        20261002: sums(DAY, 132_096 * CENT),
    }
    reconciliation = reconcile(invoice, ledger_month(history))

    assert [(row.name, row.difference) for row in reconciliation.rows] == [
        ("2026-10-01", -2752 * CENT),
        ("2026-10-02", 0),
        ("2026-10-03", 68_812 * CENT),
    ]
    assert [named(row) for row in reconciliation.rows] == [
        {"uncovered": 2752 * CENT, "refunds": -5504 * CENT},
        {},
        {"not_metered": 688 * DOLLAR, "other_usage": 12 * CENT},
    ]
    assert named(reconciliation.total) == {
        "not_metered": 688 * DOLLAR,
        "uncovered": 2752 * CENT,
        "other_usage": 12 * CENT,
        "refunds": -5504 * CENT,
    }
    assert reconciliation.others == {"energy": 5 * DOLLAR}
    assert reconciliation.suggestions == (Suggestion(66_060 * CENT, "2026-10-03", "chat", "assistants"),)
    assert reconciliation.notes == (
        "4 rows (94.30 dollars) of other resources: not compared",
        (
            "of them, 3 rows (92.00 dollars) name no resource, as taxes, purchases and credits often do: "
            "a part may be this host's"
        ),
    )


def test_what_is_for_a_month_has_a_row_of_its_own() -> None:
    """Tax and a purchase of the month, and a credit of its day."""
    reconciliation = reconcile(
        read_invoice(INVOICES / "aws.csv", Reading(UTC)), ledger_month({20261001: sums(DAY, DOLLAR)})
    )
    assert reconciliation.rows[-1].name == "(month)"
    assert named(reconciliation.rows[-1]) == {"taxes": 12 * DOLLAR, "purchases": 100 * DOLLAR}
    assert named(reconciliation.rows[1])["credits"] == -20 * DOLLAR
    assert reconciliation.notes[0] == (
        "all rows count, of 2 resources: if they are not all of this host, name its own with --resource"
    )


def test_gcp_by_hand() -> None:
    """Rows by the hour in days of Los Angeles: 22.00 and 11.00 - 0.50 billed, 20 and 10 in the books.

    The books have 10 h of each day at 10 dollars; the bill is about the last two and the first one of them.
    """
    invoice = read_invoice(INVOICES / "gcp.csv", Reading(LOS_ANGELES))
    history = {20261001: sums(10 * HOUR, 100 * DOLLAR), 20261002: sums(10 * HOUR, 100 * DOLLAR)}
    reconciliation = reconcile(
        invoice, ledger_month(history, zone=LOS_ANGELES, hours=by_utc(21, 41, 10 * DOLLAR))
    )

    assert (reconciliation.calendar, reconciliation.by) == ("local", "day")
    assert [(row.name, named(row)) for row in reconciliation.rows] == [
        ("2026-10-01", {"unexplained": 2 * DOLLAR}),
        ("2026-10-02", {"credits": -DOLLAR // 2, "unexplained": DOLLAR}),
    ]
    assert reconciliation.notes == (
        "the rows of the bill were put into days of America/Los_Angeles",
        (
            "the bill is about 2026-10-02T05:00:00Z to 2026-10-02T08:00:00Z: 170.00 dollars that the books "
            "have of the rest of the month are not compared"
        ),
        (
            "on 2026-10-01 and 1 more the bill charges a machine by several SKUs at once (cores, memory, "
            "GPUs), so that it has no price per hour"
        ),
        (
            "the bill has no hours, so price and time differences cannot be separated: over the 3.00 hours "
            "that are metered, it comes to 11.0000 an hour and the books to 10.0000"
        ),
    )


def test_azure_by_hand() -> None:
    """100 dollars an hour in the books: 24 h agree; 20 h of 24 billed; 24 h at 110 billed."""
    invoice = read_invoice(INVOICES / "azure.csv", Reading(UTC))
    reconciliation = reconcile(
        invoice, ledger_month({day: sums(DAY, 2400 * DOLLAR) for day in range(20261001, 20261004)})
    )
    assert [named(row) for row in reconciliation.rows] == [
        {},
        {"not_billed": -400 * DOLLAR},
        {"price": 240 * DOLLAR, "corrections": -CENT},
    ]


def test_dates_by_hand() -> None:
    """48, 48 and 50 - 3 dollars; 22 of 24 h of the second day are metered at 2 an hour."""
    invoice = read_invoice(INVOICES / "dates.csv", Reading(UTC))
    history = {
        20261001: sums(DAY, 48 * DOLLAR),
        20261002: sums(22 * HOUR, 44 * DOLLAR),
        20261003: sums(DAY, 48 * DOLLAR),
    }
    reconciliation = reconcile(invoice, ledger_month(history))
    assert [named(row) for row in reconciliation.rows] == [
        {},
        {"uncovered": 4 * DOLLAR},
        {"refunds": -3 * DOLLAR, "unexplained": 2 * DOLLAR},
    ]
    assert reconciliation.total.difference == 3 * DOLLAR


def test_a_bill_of_another_month(tmp_path: Path) -> None:
    """It is refused, with what it has; a part of another month is told."""
    invoice = bill("date,dollars\n2026-09-30,5\n2026-10-01,48\n", tmp_path)
    with pytest.raises(InvoiceError) as refused:
        reconcile(invoice, ledger_month({}, month="2026-11", now=NOVEMBER + DAY))
    assert str(refused.value) == "has nothing of 2026-11: it has 2026-09, 2026-10"
    reconciliation = reconcile(invoice, ledger_month({20261001: sums(DAY, 48 * DOLLAR)}))
    assert reconciliation.notes[0] == "5.00 dollars of 2026-09 are on this bill and not compared"


def test_the_month_of_a_bill_is_the_one_of_most_dollars(tmp_path: Path) -> None:
    """Where two have the same, it has to be said."""
    assert month_billed(bill("date,dollars\n2026-09-30,5\n2026-10-01,48\n", tmp_path)) == "2026-10"
    with pytest.raises(InvoiceError) as refused:
        month_billed(bill("date,dollars\n2026-09-30,5\n2026-10-01,5\n", tmp_path))
    assert str(refused.value) == "its rows are of 2026-09, 2026-10: say which month with --month"


def test_credits_that_pay_for_all_usage_do_not_hide_its_month(tmp_path: Path) -> None:
    """48 dollars of October are paid by credits, and 5 of September are given back."""
    rows = usage("01", "48", "24") + usage("01", "-48", "").replace("Usage", "Credit")
    rows += usage("01", "-5", "").replace("10-01", "09-30").replace("10-02", "10-01")
    invoice = bill(f"{HEADER}\n{rows}", tmp_path)

    assert month_billed(invoice) == "2026-10"


def test_a_bill_by_the_month(tmp_path: Path) -> None:
    """A month is one row: 744 h at 2 dollars billed, 740 h at 2 in the books."""
    row = usage("01", "1488", "744").replace("2026-10-02T", "2026-11-01T")
    history = {20261000 + day: sums(DAY, 48 * DOLLAR) for day in range(2, 32)}
    history[20261001] = sums(20 * HOUR, 40 * DOLLAR)
    reconciliation = reconcile(bill(f"{HEADER}\n{row}", tmp_path), ledger_month(history))
    assert (reconciliation.by, [row.name for row in reconciliation.rows]) == ("month", ["2026-10"])
    assert named(reconciliation.total) == {"uncovered": 8 * DOLLAR}
    assert reconciliation.suggestions[0].day == "2026-10-31"


def test_adjustments_that_are_posted_are_in_the_books(tmp_path: Path) -> None:
    """One that waits is not; both are told."""
    invoice = bill("date,dollars\n2026-10-02,48\n", tmp_path)
    history = {20261002: sums(23 * HOUR, 46 * DOLLAR)}
    posted = reconcile(invoice, ledger_month(history, adjustments=(adjustment(2 * DOLLAR),)))
    waiting = reconcile(invoice, ledger_month(history, adjustments=(adjustment(2 * DOLLAR, posted=None),)))
    assert named(posted.total) == {"uncovered": 2 * DOLLAR, "adjusted": -2 * DOLLAR}
    assert (posted.total.difference, posted.suggestions) == (0, ())
    assert waiting.total.difference == 2 * DOLLAR
    assert waiting.notes[-1] == "adjustments of 2.00 dollars wait for the daemon and are in no sum"


def test_adjustments_of_days_that_the_bill_is_not_about_are_named(tmp_path: Path) -> None:
    """The host was returned on the first and its bill corrected at the month's end: not twice, by mistake."""
    invoice = bill("date,dollars\n2026-10-01,50\n", tmp_path)
    posted = (adjustment(2 * DOLLAR, "2026-10-31"),)
    reconciliation = reconcile(invoice, ledger_month({20261001: sums(DAY, 48 * DOLLAR)}, adjustments=posted))

    assert reconciliation.total.difference == 2 * DOLLAR
    assert reconciliation.notes[-1] == (
        "adjustments of 2.00 dollars are of days that the bill is not about, and not compared"
    )


def test_components_that_are_on_the_bill_are_chosen(tmp_path: Path) -> None:
    """Rent and storage of 50, of 53 in the books with energy."""
    invoice = bill("date,dollars\n2026-10-02,50\n", tmp_path)
    history = {20261002: sums(DAY, 48 * DOLLAR, storage=2 * DOLLAR, energy=3 * DOLLAR)}
    reconciliation = reconcile(invoice, ledger_month(history, components=frozenset({"rent", "storage"})))
    assert (reconciliation.total.difference, reconciliation.others) == (0, {"energy": 3 * DOLLAR})


def test_a_difference_is_shared_by_those_who_pay(tmp_path: Path) -> None:
    """12 and 36 dollars: of -4, the one owes 1 less and the other 3; where nobody pays it is `unassigned`."""
    day = sums(DAY, 12 * DOLLAR)
    day.add(sums(0, 36 * DOLLAR, owner=SEARCH))
    invoice = bill("date,dollars\n2026-10-02,44\n", tmp_path)
    assert reconcile(invoice, ledger_month({20261002: day})).suggestions == (
        Suggestion(-DOLLAR, "2026-10-02", "chat", "assistants"),
        Suggestion(-3 * DOLLAR, "2026-10-02", "search", "retrieval"),
    )
    nothing = sums(DAY, DOLLAR)
    nothing.add(sums(0, -DOLLAR))
    for history in ({}, {20261002: nothing}):
        assert reconcile(invoice, ledger_month(history)).suggestions == (
            Suggestion(44 * DOLLAR, "2026-10-02", "unassigned", "unassigned"),
        )


def test_lines_to_enter_are_in_cents(tmp_path: Path) -> None:
    """10.00 more over three who pay alike are 3.33 and a third: one of them has the cent that is left.

    A third of a cent that the books have less is nothing to enter.
    """
    day = sums(DAY, DOLLAR)
    for owner in (SEARCH, ServerOwner("lab", "x", "", "y")):
        day.add(sums(0, DOLLAR, owner=owner))
    reconciliation = reconcile(bill("date,dollars\n2026-10-02,13\n", tmp_path), ledger_month({20261002: day}))
    assert [each.amount for each in reconciliation.suggestions] == [334 * CENT, 333 * CENT, 333 * CENT]
    less = sums(DAY, 3 * DOLLAR - CENT // 3)
    reconciliation = reconcile(bill("date,dollars\n2026-10-02,3\n", tmp_path), ledger_month({20261002: less}))
    assert (reconciliation.total.difference, reconciliation.suggestions) == (CENT // 3, ())


def test_a_month_without_books_is_a_host_that_was_not_metered(tmp_path: Path) -> None:
    """All of the bill, and a sentence."""
    reconciliation = reconcile(bill("date,dollars\n2026-10-02,44\n", tmp_path), ledger_month({}))
    assert named(reconciliation.total) == {"not_metered": 44 * DOLLAR}
    assert reconciliation.notes == (
        "the ledger has nothing of 2026-10: if this host ran then, it was not metered",
    )


def test_what_the_books_know_of_their_own_prices_and_gaps(tmp_path: Path) -> None:
    """Estimates, time without a price, time that nobody watched, and money that is in no day."""
    day = sums(DAY, 48 * DOLLAR, basis="estimate", unpriced=2 * HOUR, unobserved=3 * HOUR)
    month_of_ledger = ledger_month({20261002: day})
    cells = {key: amount + 7 * DOLLAR for key, amount in month_of_ledger.record.cells.items()}
    object.__setattr__(month_of_ledger.record, "cells", cells)
    reconciliation = reconcile(bill("date,dollars\n2026-10-02,48\n", tmp_path), month_of_ledger)
    assert reconciliation.notes[1:] == (
        "48.00 dollars of the books come from estimated prices",
        "2.00 hours in the books had no price: they cost nothing there",
        (
            "3.00 hours in the ledger are unobserved (a stopped daemon, a reboot, a host that was down): "
            "the bill has how long the host was up"
        ),
        "7.00 dollars of the month are in no day of the books and are not compared",
    )


@pytest.mark.parametrize(("settled", "waits"), [(6 * HOUR, 0), (4 * HOUR, 2)])
def test_hours_that_were_charged_late_explain_nothing(tmp_path: Path, settled: int, waits: int) -> None:
    """Of 6 hours without a price at 2 dollars, what was charged since is no gap: 0 or 4 dollars lack."""
    day = sums(DAY, 48 * DOLLAR - 2 * waits * DOLLAR, unpriced=6 * HOUR, settled=settled)
    reconciliation = reconcile(bill("date,dollars\n2026-10-02,48\n", tmp_path), ledger_month({20261002: day}))

    assert named(reconciliation.total) == ({"unpriced": 2 * waits * DOLLAR} if waits else {})
    assert [note for note in reconciliation.notes if "no price" in note] == (
        [f"{waits}.00 hours in the books had no price: they cost nothing there"] if waits else []
    )


def test_a_bill_without_usage(tmp_path: Path) -> None:
    """A tax of the month and a credit of a day: no day of the books is compared with it, nor that one."""
    rows = usage("01", "-5", "").replace("Usage", "Credit")
    rows += usage("01", "7", "").replace("Usage", "Tax").replace("2026-10-02T", "2026-11-01T")
    reconciliation = reconcile(
        bill(f"{HEADER}\n{rows}", tmp_path),
        ledger_month({day: sums(DAY, 48 * DOLLAR) for day in (20261001, 20261002)}),
    )
    assert [(row.name, named(row)) for row in reconciliation.rows] == [
        ("2026-10-01", {"credits": -5 * DOLLAR}),
        ("(month)", {"taxes": 7 * DOLLAR}),
    ]
    assert reconciliation.total.difference == 2 * DOLLAR
    assert reconciliation.notes == (
        "the bill has no usage: 96.00 dollars that the books have of the month are not compared",
    )


def test_a_refund_after_the_last_usage_is_of_no_day_of_the_books(tmp_path: Path) -> None:
    """Usage of the first, a refund on the third: the third's 48 dollars are not missing on the bill.

    Once the suggested line is posted, nothing is left.
    """
    invoice = bill("date,dollars\n2026-10-01,48\n2026-10-03,-5\n", tmp_path)
    history = {day: sums(DAY, 48 * DOLLAR) for day in (20261001, 20261002, 20261003)}
    reconciliation = reconcile(invoice, ledger_month(history))

    assert [(row.name, named(row)) for row in reconciliation.rows] == [
        ("2026-10-01", {}),
        ("2026-10-03", {"refunds": -5 * DOLLAR}),
    ]
    (line,) = reconciliation.suggestions
    assert (line.amount, line.day) == (-5 * DOLLAR, "2026-10-03")
    posted = (adjustment(line.amount, line.day),)
    assert reconcile(invoice, ledger_month(history, adjustments=posted)).total.difference == 0


def test_a_choice_is_not_asked_for_again(tmp_path: Path) -> None:
    """A host that was replaced has two resources, both named, and the bill has no other."""
    text = HEADER + "\n" + usage("01", "20", "10") + usage("01", "28", "14", "i-2")
    invoice = bill(text, tmp_path, Reading(UTC, resources=("i-1", "i-2")))
    reconciliation = reconcile(invoice, ledger_month({20261001: sums(DAY, 48 * DOLLAR)}))
    assert (reconciliation.total.parts, reconciliation.notes) == ((), ())


def test_several_machines_ask_for_a_choice(tmp_path: Path) -> None:
    """Without one, nothing is said of hours and prices."""
    text = HEADER + "\n" + usage("01", "48", "24") + usage("01", "48", "24", "i-2")
    reconciliation = reconcile(bill(text, tmp_path), ledger_month({20261001: sums(DAY, 48 * DOLLAR)}))
    assert named(reconciliation.total) == {"unexplained": 48 * DOLLAR}
    assert reconciliation.notes[1] == (
        "on 2026-10-01 the bill has several machines at once, so that the hours and the price of this one "
        "are not known: name it with --resource"
    )
