"""Books against bill: whole months by hand, which days are compared, and what would make them agree."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from exporter.ledger.history import Sums
from exporter.reports.invoice import InvoiceError
from exporter.reports.invoice_file import Reading, read_invoice
from exporter.reports.reconciliation import Suggestion, hours_wanted, month_billed, reconcile
from tests.reports.reconciliation_cases import (
    CENT,
    DAY,
    DOLLAR,
    HEADER,
    HOUR,
    INVOICES,
    NOVEMBER,
    OCTOBER,
    SEARCH,
    UTC,
    adjustment,
    bill,
    books,
    named,
    sums,
    usage,
)

P5 = "i-0a1b2c3d4e5f67890"
BERLIN = ZoneInfo("Europe/Berlin")
LOS_ANGELES = ZoneInfo("America/Los_Angeles")


def test_aws_by_hand() -> None:
    """One machine at 55.04 an hour: half an hour before the first tick, a refund, and a day without books.

    1 October: 1320.96 - 55.04 billed, 23.5 h x 55.04 = 1293.44 in the books. 2 October agrees.
    3 October: 12.5 h = 688.00 and 0.12 of traffic, and nothing in the books.
    """
    invoice = read_invoice(INVOICES / "aws.csv", Reading(UTC, resources=(P5,)))
    kept = {
        20261001: sums(23 * HOUR + HOUR // 2, 129_344 * CENT, energy=5 * DOLLAR),
        20261002: sums(DAY, 132_096 * CENT),
    }
    told = reconcile(invoice, books(kept))

    assert [(row.name, row.difference) for row in told.rows] == [
        ("2026-10-01", -2752 * CENT),
        ("2026-10-02", 0),
        ("2026-10-03", 68_812 * CENT),
    ]
    assert [named(row) for row in told.rows] == [
        {"uncovered": 2752 * CENT, "refunds": -5504 * CENT},
        {},
        {"not_metered": 688 * DOLLAR, "other_usage": 12 * CENT},
    ]
    assert named(told.total) == {
        "not_metered": 688 * DOLLAR,
        "uncovered": 2752 * CENT,
        "other_usage": 12 * CENT,
        "refunds": -5504 * CENT,
    }
    assert told.others == {"energy": 5 * DOLLAR}
    assert told.suggestions == (Suggestion(66_060 * CENT, "2026-10-03", "chat", "assistants"),)
    assert told.notes == (
        "4 rows (94.30 dollars) of other resources: not compared",
        (
            "of them, 3 rows (92.00 dollars) name no resource, as taxes, purchases and credits often do: "
            "a part may be this host's"
        ),
    )


def test_what_is_for_a_month_has_a_row_of_its_own() -> None:
    """Tax and a purchase of the month, and a credit of its day."""
    told = reconcile(read_invoice(INVOICES / "aws.csv", Reading(UTC)), books({20261001: sums(DAY, DOLLAR)}))
    assert told.rows[-1].name == "(month)"
    assert named(told.rows[-1]) == {"taxes": 12 * DOLLAR, "purchases": 100 * DOLLAR}
    assert named(told.rows[1])["credits"] == -20 * DOLLAR
    assert told.notes[0] == (
        "all rows count, of 2 resources: if they are not all of this host, name its own with --resource"
    )


def test_gcp_by_hand() -> None:
    """Rows by the hour in days of Los Angeles: 22.00 and 11.00 - 0.50 billed, 20 and 10 in the books."""
    invoice = read_invoice(INVOICES / "gcp.csv", Reading(LOS_ANGELES))
    kept = {20261001: sums(2 * HOUR, 20 * DOLLAR), 20261002: sums(HOUR, 10 * DOLLAR)}
    told = reconcile(invoice, books(kept, zone=LOS_ANGELES))

    assert (told.calendar, told.by) == ("local", "day")
    assert [(row.name, named(row)) for row in told.rows] == [
        ("2026-10-01", {"unexplained": 2 * DOLLAR}),
        ("2026-10-02", {"credits": -DOLLAR // 2, "unexplained": DOLLAR}),
    ]
    assert told.notes == (
        "the rows of the bill were put into days of America/Los_Angeles",
        (
            "on 2026-10-01 and 1 more the bill charges a machine by several SKUs at once (cores, memory, "
            "GPUs), so that it tells no price per hour"
        ),
        (
            "where the bill tells no hours, a difference of price cannot be told from one of time: over the "
            "3.00 hours that are metered, it comes to 11.0000 an hour and the books to 10.0000"
        ),
    )


def test_azure_by_hand() -> None:
    """100 dollars an hour in the books: 24 h agree; 20 h of 24 billed; 24 h at 110 billed."""
    invoice = read_invoice(INVOICES / "azure.csv", Reading(UTC))
    told = reconcile(invoice, books({day: sums(DAY, 2400 * DOLLAR) for day in range(20261001, 20261004)}))
    assert [named(row) for row in told.rows] == [
        {},
        {"not_billed": -400 * DOLLAR},
        {"price": 240 * DOLLAR, "corrections": -CENT},
    ]


def test_dates_by_hand() -> None:
    """48, 48 and 50 - 3 dollars; 22 of 24 h of the second day are metered at 2 an hour."""
    invoice = read_invoice(INVOICES / "dates.csv", Reading(UTC))
    kept = {
        20261001: sums(DAY, 48 * DOLLAR),
        20261002: sums(22 * HOUR, 44 * DOLLAR),
        20261003: sums(DAY, 48 * DOLLAR),
    }
    told = reconcile(invoice, books(kept))
    assert [named(row) for row in told.rows] == [
        {},
        {"uncovered": 4 * DOLLAR},
        {"refunds": -3 * DOLLAR, "unexplained": 2 * DOLLAR},
    ]
    assert told.total.difference == 3 * DOLLAR


def test_days_that_the_bill_is_not_about_are_left_out(tmp_path: Path) -> None:
    """It ends on the second day; the books go on."""
    invoice = bill(f"{HEADER}\n{usage('01', '48', '24')}", tmp_path)
    kept = {day: sums(DAY, 48 * DOLLAR) for day in (20261001, 20261002, 20261003)}
    told = reconcile(invoice, books(kept))
    assert [row.name for row in told.rows] == ["2026-10-01"]
    assert told.suggestions == ()
    assert told.notes == (
        (
            "the bill is about 2026-10-01T00:00:00Z to 2026-10-02T00:00:00Z: 2 days of the month with 96.00 "
            "dollars in the books are not compared"
        ),
    )


def test_a_day_inside_a_bill_that_has_none_of_this_host(tmp_path: Path) -> None:
    """Another host's rows show that the bill is about that day: it was metered and not billed."""
    text = HEADER + "\n" + usage("01", "48", "24") + usage("03", "5", "24", "i-2")
    told = reconcile(
        bill(text, tmp_path, Reading(UTC, resources=("i-1",))),
        books({day: sums(DAY, 48 * DOLLAR) for day in (20261001, 20261002)}),
    )
    assert [(row.name, named(row)) for row in told.rows] == [
        ("2026-10-01", {}),
        ("2026-10-02", {"not_billed": -48 * DOLLAR}),
    ]


def test_a_month_that_goes_on(tmp_path: Path) -> None:
    """Noon of the second: of today only 12 h have passed, and a bill of 13 h is an hour ahead."""
    invoice = bill(f"{HEADER}\n{usage('01', '48', '24')}{usage('02', '26', '13')}", tmp_path)
    kept = {20261001: sums(DAY, 48 * DOLLAR), 20261002: sums(11 * HOUR, 22 * DOLLAR)}
    told = reconcile(invoice, books(kept, now=OCTOBER + DAY + DAY // 2))
    assert told.to_date
    assert [named(row) for row in told.rows] == [{}, {"uncovered": 2 * DOLLAR, "beyond": 2 * DOLLAR}]


def test_a_bill_ahead_of_today(tmp_path: Path) -> None:
    """A day that has not begun is on the bill alone; a suggestion is never dated ahead."""
    invoice = bill(f"{HEADER}\n{usage('01', '48', '24')}{usage('09', '48', '24')}", tmp_path)
    told = reconcile(invoice, books({20261001: sums(DAY, 48 * DOLLAR)}, now=OCTOBER + DAY))
    assert [(row.name, named(row)) for row in told.rows] == [
        ("2026-10-01", {}),
        ("2026-10-09", {"beyond": 48 * DOLLAR}),
    ]
    assert told.suggestions == (Suggestion(48 * DOLLAR, "2026-10-02", "chat", "assistants"),)


def test_a_bill_of_another_month(tmp_path: Path) -> None:
    """It is refused, with what it has; a part of another month is told."""
    invoice = bill("date,dollars\n2026-09-30,5\n2026-10-01,48\n", tmp_path)
    with pytest.raises(InvoiceError) as refused:
        reconcile(invoice, books({}, month="2026-11", now=NOVEMBER + DAY))
    assert str(refused.value) == "has nothing of 2026-11: it has 2026-09, 2026-10"
    told = reconcile(invoice, books({20261001: sums(DAY, 48 * DOLLAR)}))
    assert told.notes[0] == "5.00 dollars of 2026-09 are on this bill and not compared"


def test_the_month_of_a_bill_is_the_one_of_most_dollars(tmp_path: Path) -> None:
    """Where two have the same, it has to be said."""
    assert month_billed(bill("date,dollars\n2026-09-30,5\n2026-10-01,48\n", tmp_path)) == "2026-10"
    with pytest.raises(InvoiceError) as refused:
        month_billed(bill("date,dollars\n2026-09-30,5\n2026-10-01,5\n", tmp_path))
    assert str(refused.value) == "its rows are of 2026-09, 2026-10: say which month with --month"


def test_a_bill_by_the_month(tmp_path: Path) -> None:
    """A month is one row: 744 h at 2 dollars billed, 740 h at 2 in the books."""
    row = usage("01", "1488", "744").replace("2026-10-02T", "2026-11-01T")
    kept = {20261000 + day: sums(DAY, 48 * DOLLAR) for day in range(2, 32)}
    kept[20261001] = sums(20 * HOUR, 40 * DOLLAR)
    told = reconcile(bill(f"{HEADER}\n{row}", tmp_path), books(kept))
    assert (told.by, [row.name for row in told.rows]) == ("month", ["2026-10"])
    assert named(told.total) == {"uncovered": 8 * DOLLAR}
    assert told.suggestions[0].day == "2026-10-31"


def test_a_period_across_months_is_told_and_not_compared(tmp_path: Path) -> None:
    """30 days that begin in the middle of October are of no month."""
    row = usage("15", "100", "720").replace("2026-10-16T", "2026-11-14T")
    told = reconcile(
        bill(f"{HEADER}\n{row}{usage('15', '48', '24')}", tmp_path), books({20261015: sums(DAY, 48 * DOLLAR)})
    )
    assert (told.total.difference, told.notes[0]) == (
        0,
        "1 row (100.00 dollars) of periods that cross the end of a day or month: not compared",
    )


def by_utc(first: int, last: int, amount: int) -> dict[int, Sums]:
    """Hours of October by UTC, at an amount each."""
    start = OCTOBER // HOUR
    told = {hour: sums(HOUR, amount) for hour in range(start + first, start + last)}
    for hour in told.values():
        hour.covered.clear()  # as history by the hour is kept
    return told


def test_days_of_utc_are_compared_by_utc_while_hours_are_kept(tmp_path: Path) -> None:
    """Los Angeles: a day of UTC lies in two of its days, so that the books are taken by the hour."""
    invoice = bill(
        f"{HEADER}\n{usage('01', '48', '24')}{usage('02', '48', '24')}", tmp_path, Reading(LOS_ANGELES)
    )
    hours = by_utc(-24, 46, 2 * DOLLAR)  # 22 of 24 h of the second day
    local = {20261001: sums(DAY, 48 * DOLLAR), 20261002: sums(15 * HOUR, 30 * DOLLAR)}
    told = reconcile(invoice, books(local, zone=LOS_ANGELES, hours=hours))
    assert told.calendar == "utc"
    assert [(row.name, named(row)) for row in told.rows] == [
        ("2026-10-01", {}),
        ("2026-10-02", {"uncovered": 4 * DOLLAR}),
    ]
    assert told.notes[0] == (
        "the bill is by day of UTC, so that the books are too, from their history by the hour; "
        "reports of the month are by America/Los_Angeles"
    )


def test_a_host_that_began_in_the_month_has_all_its_hours(tmp_path: Path) -> None:
    """No hour before the month is no sign that hours are gone, where the first day has all of its own."""
    invoice = bill(f"{HEADER}\n{usage('02', '48', '24')}", tmp_path, Reading(LOS_ANGELES))
    told = reconcile(
        invoice,
        books(
            {20261001: sums(7 * HOUR, 14 * DOLLAR), 20261002: sums(DAY, 48 * DOLLAR)},
            zone=LOS_ANGELES,
            hours=by_utc(24, 55, 2 * DOLLAR),
        ),
    )
    assert (told.calendar, told.total.parts) == ("utc", ())


def test_once_hours_are_gone_days_are_shifted(tmp_path: Path) -> None:
    """And the answer says so."""
    invoice = bill(
        f"{HEADER}\n{usage('01', '48', '24')}{usage('02', '48', '24')}", tmp_path, Reading(LOS_ANGELES)
    )
    local = {20261001: sums(DAY, 48 * DOLLAR), 20261002: sums(DAY, 48 * DOLLAR)}
    told = reconcile(invoice, books(local, zone=LOS_ANGELES, hours=by_utc(40, 60, 2 * DOLLAR)))
    assert (told.calendar, [row.name for row in told.rows]) == ("shifted", ["2026-10-01", "2026-10-02"])
    assert told.total.parts == ()
    assert told.notes[0] == (
        "the bill is by day of UTC and the books by day of America/Los_Angeles: hours of that month are no "
        "longer kept, so that each day is compared with one that begins and ends at other hours"
    )


def test_the_hours_that_are_wanted() -> None:
    """A day before the month of UTC to a day after it."""
    assert hours_wanted("2026-10") == (OCTOBER // HOUR - 24, NOVEMBER // HOUR + 24)


@pytest.mark.parametrize(("day", "length"), [("2026-10-25", 25), ("2026-03-29", 23)])
def test_days_of_23_and_25_hours(day: str, length: int, tmp_path: Path) -> None:
    """Berlin changes its clocks: all hours of that day are billed, and an hour of them is not metered."""
    invoice = bill(f"date,dollars\n{day},{2 * length}\n", tmp_path, Reading(BERLIN))
    kept = {int(day.replace("-", "")): sums((length - 1) * HOUR, 2 * (length - 1) * DOLLAR)}
    told = reconcile(invoice, books(kept, zone=BERLIN, month=day[:7]))
    assert named(told.total) == {"uncovered": 2 * DOLLAR}
    assert told.notes[0] == "dates of the bill are taken for days of Europe/Berlin"


def test_rows_by_the_hour_through_a_change_of_clocks(tmp_path: Path) -> None:
    """From 22:00 of UTC, midnight of summer, to 23:00 of the next day, midnight of winter, is one day."""
    rows = ""
    for hour in range(22, 22 + 26):
        day, end = divmod(hour + 1, 24)
        start = f"2026-10-{24 + hour // 24}T{hour % 24:02d}:00:00Z"
        rows += f"2,2,USD,Usage,{start},2026-10-{24 + day}T{end:02d}:00:00Z,1,Hours,i-1,,p5\n"
    invoice = bill(f"{HEADER}\n{rows}", tmp_path, Reading(BERLIN))
    assert {name: tally.usage for name, tally in invoice.local.items()} == {
        "2026-10-25": 50 * DOLLAR,
        "2026-10-26": 2 * DOLLAR,
    }


def test_adjustments_that_are_posted_are_in_the_books(tmp_path: Path) -> None:
    """One that waits is not; both are told."""
    invoice = bill("date,dollars\n2026-10-02,48\n", tmp_path)
    kept = {20261002: sums(23 * HOUR, 46 * DOLLAR)}
    posted = reconcile(invoice, books(kept, adjustments=(adjustment(2 * DOLLAR),)))
    waiting = reconcile(invoice, books(kept, adjustments=(adjustment(2 * DOLLAR, posted=None),)))
    assert named(posted.total) == {"uncovered": 2 * DOLLAR, "adjusted": -2 * DOLLAR}
    assert (posted.total.difference, posted.suggestions) == (0, ())
    assert waiting.total.difference == 2 * DOLLAR
    assert waiting.notes[-1] == "adjustments of 2.00 dollars wait for the daemon and are in no sum"


def test_components_that_are_on_the_bill_are_chosen(tmp_path: Path) -> None:
    """Rent and storage of 50, of 53 in the books with energy."""
    invoice = bill("date,dollars\n2026-10-02,50\n", tmp_path)
    kept = {20261002: sums(DAY, 48 * DOLLAR, storage=2 * DOLLAR, energy=3 * DOLLAR)}
    told = reconcile(invoice, books(kept, components=frozenset({"rent", "storage"})))
    assert (told.total.difference, told.others) == (0, {"energy": 3 * DOLLAR})


def test_a_difference_is_shared_by_those_who_pay(tmp_path: Path) -> None:
    """12 and 36 dollars: of -4, the one owes 1 less and the other 3; nobody's money is `unassigned`."""
    day = sums(DAY, 12 * DOLLAR)
    day.add(sums(0, 36 * DOLLAR, owner=SEARCH))
    invoice = bill("date,dollars\n2026-10-02,44\n", tmp_path)
    assert reconcile(invoice, books({20261002: day})).suggestions == (
        Suggestion(-DOLLAR, "2026-10-02", "chat", "assistants"),
        Suggestion(-3 * DOLLAR, "2026-10-02", "search", "retrieval"),
    )
    assert reconcile(invoice, books({})).suggestions == (
        Suggestion(44 * DOLLAR, "2026-10-02", "unassigned", "unassigned"),
    )


def test_a_month_without_books_is_a_host_that_was_not_metered(tmp_path: Path) -> None:
    """All of the bill, and a sentence."""
    told = reconcile(bill("date,dollars\n2026-10-02,44\n", tmp_path), books({}))
    assert named(told.total) == {"not_metered": 44 * DOLLAR}
    assert told.notes == ("the ledger has nothing of 2026-10: if this host ran then, it was not metered",)


def test_what_the_books_know_of_their_own_prices_and_gaps(tmp_path: Path) -> None:
    """Estimates, time without a price, time that nobody watched, and money that is in no day."""
    day = sums(DAY, 48 * DOLLAR, basis="estimate", unpriced=2 * HOUR, unobserved=3 * HOUR)
    kept = books({20261002: day})
    cells = {key: amount + 7 * DOLLAR for key, amount in kept.record.cells.items()}
    object.__setattr__(kept.record, "cells", cells)
    told = reconcile(bill("date,dollars\n2026-10-02,48\n", tmp_path), kept)
    assert told.notes[1:] == (
        "48.00 dollars of the books come from estimated prices",
        "2.00 hours in the books had no price: they cost nothing there",
        (
            "3.00 hours in the books nobody watched (a stopped daemon, a reboot, a host that was down): of "
            "these the bill tells how long the host was up"
        ),
        "7.00 dollars of the month are in no day of the books and are not compared",
    )


def test_several_machines_ask_for_a_choice(tmp_path: Path) -> None:
    """Without one, nothing is said of hours and prices."""
    text = HEADER + "\n" + usage("01", "48", "24") + usage("01", "48", "24", "i-2")
    told = reconcile(bill(text, tmp_path), books({20261001: sums(DAY, 48 * DOLLAR)}))
    assert named(told.total) == {"unexplained": 48 * DOLLAR}
    assert told.notes[1] == (
        "on 2026-10-01 the bill has several machines at once, so that the hours and the price of this one "
        "are not known: name it with --resource"
    )
