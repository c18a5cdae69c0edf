"""Prices that change again after corrections were entered: what is missing then, and no more."""

from dataclasses import replace

import pytest

from exporter.ledger.adjustments import MANUAL, REPRICING, Adjustment
from exporter.ledger.history import GpuOwner
from exporter.reports.correction_proposals import UNCOMPARABLE, sentences
from exporter.reports.repricing import Correction, key, posted_corrections, reason, repricing
from exporter.tariff.terms import Hardware
from tests.kit.units import CENT, DAY, DOLLAR, HOUR, NOVEMBER
from tests.reports.test_repricing import (
    FLAT,
    GPU,
    NOW,
    OTHER,
    UTC,
    RecordedHistory,
    month,
    rented,
    spent,
    tariff,
)

TENTH, TWENTIETH = NOVEMBER + 9 * DAY, NOVEMBER + 19 * DAY
FIRST = tariff(rented(("3.60", None), ("2.88", TENTH)))
"""Whose correction of 15 days, 0.72 an hour, is 194.40 for chat and 64.80 for search."""


def made(product: str, team: str, cents: int, day: str = "2026-11-10") -> Adjustment:
    """A proposed line of prices since a day, with a reason of the person who entered it."""
    return Adjustment(
        1, "2026-11-24", product, team, cents * CENT, "see ticket 7", NOW, None, REPRICING, key(day, 1)
    )


BOTH = (made("chat", "assistants", -19440), made("search", "retrieval", -6480))


def corrected(*rules: Hardware, adjustments: tuple[Adjustment, ...] = BOTH) -> list[tuple[str, int]]:
    """Products and cents of the lines that a second reload gives, of books that had 3.60 until now."""
    result = repricing(FIRST, tariff(*rules), RecordedHistory(month(), made=adjustments), UTC, NOW)
    return [] if result is None else [(line.product, line.cents) for line in result.corrections]


def test_the_same_past_corrected_further() -> None:
    """2.40 from the tenth on: 15 days at 1.20 less are 432.00, 259.20 are entered: 129.60 and 43.20."""
    again = rented(("3.60", None), ("2.40", TENTH))
    assert corrected(again) == [("chat", -12960), ("search", -4320)]
    # What was not entered is not taken off.
    assert corrected(again, adjustments=BOTH[:1]) == [("chat", -12960), ("search", -10800)]


def test_a_later_from_leaves_what_is_corrected_before_it() -> None:
    """2.40 from the twentieth: 5 days at 0.48 less than 2.88, 57.60 in all: 43.20 and 14.40."""
    assert corrected(rented(("3.60", None), ("2.88", TENTH), ("2.40", TWENTIETH))) == [
        ("chat", -4320),
        ("search", -1440),
    ]


def test_an_earlier_from_reaches_further() -> None:
    """2.88 from the first on: 9 days more at 0.72, 155.52: 116.64 and 38.88."""
    assert corrected(rented(("2.88", NOVEMBER))) == [("chat", -11664), ("search", -3888)]


def test_a_correction_that_was_a_mistake_is_undone() -> None:
    """3.60 by date again: what is posted was right, and the corrections come back."""
    assert corrected(rented(("3.60", NOVEMBER))) == [("chat", 19440), ("search", 6480)]


def test_a_price_of_the_future_corrects_nothing_again() -> None:
    """The past is as it was corrected: there is nothing to say."""
    assert corrected(rented(("3.60", None), ("2.88", TENTH), ("2.00", NOW + DAY))) == []


def test_other_adjustments_are_nobodys_prices() -> None:
    """A person's credit stays beside the lines, also one with the very words of a proposed line."""
    credit = replace(
        made("chat", "assistants", -5000), kind=MANUAL, key="", reason=f"{reason('2026-11-10')}, see ticket 7"
    )
    again = rented(("3.60", None), ("2.40", TENTH))

    assert corrected(again, adjustments=(*BOTH, credit)) == [("chat", -12960), ("search", -4320)]


def test_what_people_read_the_second_time() -> None:
    """What is posted, what was entered, what it should be: 1,296.00 less 259.20 less 172.80 are 864.00."""
    new = tariff(rented(("3.60", None), ("2.40", TENTH)))
    lines = sentences(FIRST, new, RecordedHistory(month(), made=BOTH), (GPU,), UTC, NOW)

    assert lines[:2] == (
        (
            "1,296.00 dollars are posted for 1 GPU since 2026-11-10T00:00:00+00:00 and stay posted; "
            "by the dated prices it would have been 864.00."
        ),
        "Corrections of changed prices that were entered before, -259.20 dollars, are taken off.",
    )


def test_what_has_no_date_any_more_cannot_be_compared() -> None:
    """Two GPUs were corrected; one has lost its date and its price: no line, rather than a wrong one."""
    both = {
        day: replace(
            sums,
            gpu_cost={**sums.gpu_cost, (OTHER, "rent"): 24 * DOLLAR},
            gpu_held={**sums.gpu_held, OTHER: 24 * HOUR},
            owner_held={**sums.owner_held, GpuOwner(OTHER, "chat", "assistants"): 24 * HOUR},
        )
        for day, sums in month().items()
    }
    old = tariff(rented(("2.88", TENTH)), rented(("0.80", TENTH), model="L4"))
    h100 = rented(("2.40", TENTH))
    lines = sentences(
        old,
        tariff(h100, rented(("0.70", None), model="L4")),
        RecordedHistory(both, made=BOTH),
        (GPU,),
        UTC,
        NOW,
    )
    assert lines[1:] == (UNCOMPARABLE.format(made="-259.20"),)
    # At the price at which it was posted it needs no date.
    same = repricing(
        old, tariff(h100, rented(("1.00", None), model="L4")), RecordedHistory(both, made=BOTH), UTC, NOW
    )
    assert same is not None
    assert same.corrections == (
        Correction("2026-11-24", "chat", "assistants", -12960, "repricing/2026-11-10/2"),
        Correction("2026-11-24", "search", "retrieval", -4320, "repricing/2026-11-10/2"),
    )


@pytest.mark.parametrize("text", ["repricing/2026-13-45/1", "repricing/2026-11-10", ""])
def test_keys_that_are_none_of_a_correction(text: str) -> None:
    """A crafted file may have one of a day that the calendar lacks."""
    posted = posted_corrections((replace(made("chat", "assistants", -1), key=text),), UTC)
    assert (posted.since, posted.amounts) == (None, {})


def test_a_month_that_history_has_lost_stays_as_it_is_corrected() -> None:
    """October's days are gone: what was posted cannot be compared, and its correction is not taken back."""
    october = replace(made("chat", "assistants", -1000, "2026-10-01"), day="2026-10-31")
    history = RecordedHistory({20261101: spent(24, 360)}, made=(october,))
    result = repricing(FLAT, tariff(rented(("2.88", NOVEMBER))), history, UTC, NOW)

    # A day at 0.72 less: 17.28.
    assert result is not None
    assert result.corrections == (
        Correction("2026-11-01", "chat", "assistants", -1296, "repricing/2026-11-01/1"),
        Correction("2026-11-01", "search", "retrieval", -432, "repricing/2026-11-01/1"),
    )
