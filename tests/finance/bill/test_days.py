"""Which days of a bill are compared with which of the books."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from exporter.finance.bill.bill_file import Reading
from exporter.finance.bill.host_comparison import Suggestion, hours_wanted, reconcile
from tests.finance.bill.bills import HEADER, UTC, bill, by_utc, ledger_month, named, sums, usage
from tests.kit.units import DAY, DECEMBER, DOLLAR, HOUR, NOVEMBER, OCTOBER

P5 = "i-0a1b2c3d4e5f67890"
BERLIN = ZoneInfo("Europe/Berlin")
LOS_ANGELES = ZoneInfo("America/Los_Angeles")


def test_days_that_the_bill_is_not_about_are_left_out(tmp_path: Path) -> None:
    """It ends on the second day; the books go on."""
    invoice = bill(f"{HEADER}\n{usage('01', '48', '24')}", tmp_path)
    history = {day: sums(DAY, 48 * DOLLAR) for day in (20261001, 20261002, 20261003)}
    reconciliation = reconcile(invoice, ledger_month(history))
    assert [row.name for row in reconciliation.rows] == ["2026-10-01"]
    assert reconciliation.suggestions == ()
    assert reconciliation.notes == (
        (
            "the bill is about 2026-10-01T00:00:00Z to 2026-10-02T00:00:00Z: 96.00 dollars that the books "
            "have of the rest of the month are not compared"
        ),
    )


def test_a_day_in_which_a_bill_ends_is_cut_where_hours_tell(tmp_path: Path) -> None:
    """It ends at noon, and the books have the whole day; once its hours are gone, the answer says so."""
    row = usage("01", "24", "12").replace("2026-10-02T00", "2026-10-01T12")
    invoice = bill(f"{HEADER}\n{row}", tmp_path)
    history = {20261001: sums(DAY, 48 * DOLLAR)}
    cut = reconcile(invoice, ledger_month(history, hours=by_utc(0, 24, 2 * DOLLAR)))
    whole = reconcile(invoice, ledger_month(history, hours=by_utc(9, 24, 2 * DOLLAR)))
    assert (cut.total.posted, cut.total.parts) == (24 * DOLLAR, ())
    assert named(whole.total) == {"not_billed": -24 * DOLLAR}
    assert whole.notes == (
        (
            "the bill begins or ends within 2026-10-01, whose hours are no longer kept: the books are "
            "of the whole day"
        ),
    )


def test_a_month_of_utc_in_another_zone(tmp_path: Path) -> None:
    """A bill by the month is compared by UTC while hours are kept: 744 h at 2 dollars on both sides."""
    row = usage("01", "1488", "744").replace("2026-10-02T", "2026-11-01T")
    invoice = bill(f"{HEADER}\n{row}", tmp_path, Reading(LOS_ANGELES))
    history = {20261000 + day: sums(DAY, 48 * DOLLAR) for day in range(1, 32)}
    reconciliation = reconcile(
        invoice, ledger_month(history, zone=LOS_ANGELES, hours=by_utc(-24, 768, 2 * DOLLAR))
    )
    assert (
        reconciliation.calendar,
        reconciliation.by,
        reconciliation.total.posted,
        reconciliation.total.parts,
    ) == ("utc", "month", 1488 * DOLLAR, ())


def test_a_day_inside_a_bill_that_has_none_of_this_host(tmp_path: Path) -> None:
    """Another host's rows show that the bill is about that day: it was metered and not billed."""
    text = HEADER + "\n" + usage("01", "48", "24") + usage("03", "5", "24", "i-2")
    reconciliation = reconcile(
        bill(text, tmp_path, Reading(UTC, resources=("i-1",))),
        ledger_month({day: sums(DAY, 48 * DOLLAR) for day in (20261001, 20261002)}),
    )
    assert [(row.name, named(row)) for row in reconciliation.rows] == [
        ("2026-10-01", {}),
        ("2026-10-02", {"not_billed": -48 * DOLLAR}),
    ]


def test_a_month_that_goes_on(tmp_path: Path) -> None:
    """Noon of the second: of today only 12 h have passed, and a bill of 13 h is an hour ahead."""
    invoice = bill(f"{HEADER}\n{usage('01', '48', '24')}{usage('02', '26', '13')}", tmp_path)
    history = {20261001: sums(DAY, 48 * DOLLAR), 20261002: sums(11 * HOUR, 22 * DOLLAR)}
    reconciliation = reconcile(invoice, ledger_month(history, now=OCTOBER + DAY + DAY // 2))
    assert reconciliation.to_date
    assert [named(row) for row in reconciliation.rows] == [
        {},
        {"uncovered": 2 * DOLLAR, "beyond": 2 * DOLLAR},
    ]


def test_a_bill_ahead_of_today(tmp_path: Path) -> None:
    """A day that has not begun is on the bill alone; a suggestion is never dated ahead."""
    invoice = bill(f"{HEADER}\n{usage('01', '48', '24')}{usage('09', '48', '24')}", tmp_path)
    reconciliation = reconcile(invoice, ledger_month({20261001: sums(DAY, 48 * DOLLAR)}, now=OCTOBER + DAY))
    assert [(row.name, named(row)) for row in reconciliation.rows] == [
        ("2026-10-01", {}),
        ("2026-10-09", {"beyond": 48 * DOLLAR}),
    ]
    assert reconciliation.suggestions == (Suggestion(48 * DOLLAR, "2026-10-02", "chat", "assistants"),)


def test_a_period_across_months_is_told_and_not_compared(tmp_path: Path) -> None:
    """30 days that begin in the middle of October are of no month."""
    row = usage("15", "100", "720").replace("2026-10-16T", "2026-11-14T")
    reconciliation = reconcile(
        bill(f"{HEADER}\n{row}{usage('15', '48', '24')}", tmp_path),
        ledger_month({20261015: sums(DAY, 48 * DOLLAR)}),
    )
    assert (reconciliation.total.difference, reconciliation.notes[0]) == (
        0,
        "1 row (100.00 dollars) of periods that cross the end of a day or month: not compared",
    )


def test_days_of_utc_are_compared_by_utc_while_hours_are_kept(tmp_path: Path) -> None:
    """Los Angeles: a day of UTC lies in two of its days, so that the books are taken by the hour."""
    invoice = bill(
        f"{HEADER}\n{usage('01', '48', '24')}{usage('02', '48', '24')}", tmp_path, Reading(LOS_ANGELES)
    )
    hours = by_utc(-24, 46, 2 * DOLLAR)  # 22 of 24 h of the second day
    local = {20261001: sums(DAY, 48 * DOLLAR), 20261002: sums(15 * HOUR, 30 * DOLLAR)}
    reconciliation = reconcile(invoice, ledger_month(local, zone=LOS_ANGELES, hours=hours))
    assert reconciliation.calendar == "utc"
    assert [(row.name, named(row)) for row in reconciliation.rows] == [
        ("2026-10-01", {}),
        ("2026-10-02", {"uncovered": 4 * DOLLAR}),
    ]
    assert reconciliation.notes[0] == (
        "the bill is by UTC, so that the books are too, from their history by the hour; reports of the month "
        "are by America/Los_Angeles"
    )


def test_a_host_that_began_in_the_month_has_all_its_hours(tmp_path: Path) -> None:
    """No hour before the month is no sign that hours are gone, where the first day has all of its own."""
    invoice = bill(f"{HEADER}\n{usage('02', '48', '24')}", tmp_path, Reading(LOS_ANGELES))
    reconciliation = reconcile(
        invoice,
        ledger_month(
            {20261001: sums(7 * HOUR, 14 * DOLLAR), 20261002: sums(DAY, 48 * DOLLAR)},
            zone=LOS_ANGELES,
            hours=by_utc(24, 55, 2 * DOLLAR),
            now=DECEMBER,
        ),
    )
    assert (reconciliation.calendar, reconciliation.total.parts) == ("utc", ())


def test_once_hours_are_gone_days_are_shifted(tmp_path: Path) -> None:
    """And the answer says so."""
    invoice = bill(
        f"{HEADER}\n{usage('01', '48', '24')}{usage('02', '48', '24')}", tmp_path, Reading(LOS_ANGELES)
    )
    local = {20261001: sums(DAY, 48 * DOLLAR), 20261002: sums(DAY, 48 * DOLLAR)}
    reconciliation = reconcile(
        invoice, ledger_month(local, zone=LOS_ANGELES, hours=by_utc(40, 60, 2 * DOLLAR), now=DECEMBER)
    )
    assert (reconciliation.calendar, [row.name for row in reconciliation.rows]) == (
        "shifted",
        ["2026-10-01", "2026-10-02"],
    )
    assert reconciliation.total.parts == ()
    assert reconciliation.notes[0] == (
        "the bill is by UTC and the books by days of America/Los_Angeles: hours of that month are no "
        "longer kept, so that each day is compared with one that begins and ends at other hours"
    )


def test_hours_that_may_be_gone_are_not_trusted(tmp_path: Path) -> None:
    """They begin after the month of UTC and before the local one, of which alone the days are known."""
    invoice = bill(f"{HEADER}\n{usage('01', '48', '24')}", tmp_path, Reading(LOS_ANGELES))
    local = {20261001: sums(DAY, 48 * DOLLAR)}
    reconciliation = reconcile(
        invoice, ledger_month(local, zone=LOS_ANGELES, hours=by_utc(3, 48, 2 * DOLLAR), now=DECEMBER)
    )
    assert (reconciliation.calendar, reconciliation.total.parts) == ("shifted", ())


def test_hours_of_the_last_40_days_are_kept(tmp_path: Path) -> None:
    """The same books a month earlier: the host began then."""
    invoice = bill(f"{HEADER}\n{usage('01', '42', '21')}", tmp_path, Reading(LOS_ANGELES))
    local = {20261001: sums(DAY, 48 * DOLLAR)}
    reconciliation = reconcile(
        invoice, ledger_month(local, zone=LOS_ANGELES, hours=by_utc(3, 48, 2 * DOLLAR))
    )
    assert (reconciliation.calendar, reconciliation.total.parts) == ("utc", ())


def test_the_hours_that_are_wanted() -> None:
    """A day before the month of UTC to a day after it."""
    assert hours_wanted("2026-10") == (OCTOBER // HOUR - 24, NOVEMBER // HOUR + 24)


@pytest.mark.parametrize(("day", "length"), [("2026-10-25", 25), ("2026-03-29", 23)])
def test_days_of_23_and_25_hours(day: str, length: int, tmp_path: Path) -> None:
    """Berlin changes its clocks: all hours of that day are billed, and an hour of them is not metered."""
    invoice = bill(f"date,dollars\n{day},{2 * length}\n", tmp_path, Reading(BERLIN))
    history = {int(day.replace("-", "")): sums((length - 1) * HOUR, 2 * (length - 1) * DOLLAR)}
    reconciliation = reconcile(invoice, ledger_month(history, zone=BERLIN, month=day[:7]))
    assert named(reconciliation.total) == {"uncovered": 2 * DOLLAR}
    assert reconciliation.notes[0] == "dates of the bill are taken for days of Europe/Berlin"


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
