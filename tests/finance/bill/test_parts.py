"""Why a bill and the books differ: each named part by hand, and that they always sum to the difference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.finance.bill.charges import APART
from exporter.finance.bill.differences import KINDS, Book, ComparedDay, Difference, compare
from exporter.finance.bill.host_bill import InvoiceSums, Metered, MeterKey, UsagePeriod
from exporter.ledger.history import HistorySums
from exporter.readings import Gpu
from exporter.report import ServerOwner
from tests.kit.units import DAY, DOLLAR, HOUR


def book(
    metered: int = DAY, rent: int = 48 * DOLLAR, *, unpriced: int = 0, unobserved: int = 0, adjusted: int = 0
) -> Book:
    """A day of the books: 2 dollars an hour unless something else is said."""
    money = {"configured": rent} if rent else {}
    return Book("2026-10-01", DAY, metered, unobserved, unpriced, dict(money), {}, {}, adjusted)


def timed(dollars: float, hours: float, *, other: int = 0) -> InvoiceSums:
    """A day of a bill that tells hours of one machine, and `other` dollars that are not by the hour."""
    cost = round(dollars * DOLLAR)
    return InvoiceSums(
        usage=cost + other * DOLLAR,
        usage_periods={UsagePeriod(0, DAY)},
        meters={MeterKey("i-1", "p5"): Metered(cost, round(hours * HOUR))},
    )


def untimed(dollars: float, span: int = DAY) -> InvoiceSums:
    """A day of a bill that tells dollars alone."""
    return InvoiceSums(usage=round(dollars * DOLLAR), usage_periods={UsagePeriod(0, span)})


def parts(row: ComparedDay) -> list[tuple[str, float, float | None]]:
    """Kind, dollars and hours of each part."""
    return [
        (part.kind, part.amount / DOLLAR, None if part.time is None else part.time / HOUR)
        for part in row.parts
    ]


@pytest.mark.parametrize(
    ("common_hours", "expected"),
    [
        (False, [("not_billed", -3.15, 0.75), ("price", 2.0 * 1.5, 15.0)]),
        (True, [("not_billed", -3.0, 0.75), ("price", 14.25 * 0.2, 14.25)]),
    ],
)
def test_what_hours_are_worth_that_the_bill_lacks(
    *, common_hours: bool, expected: list[tuple[str, float, float | None]]
) -> None:
    """14.25 h at 4.20 for 15 h at 4 dollars: by the bill's price, or what the books have of them."""
    row = compare(book(15 * HOUR, 60 * DOLLAR), timed(59.85, 14.25), common_hours=common_hours)

    assert [(kind, round(dollars, 6), time) for kind, dollars, time in parts(row)] == [
        (kind, round(dollars, 6), time) for kind, dollars, time in expected
    ]


@given(
    metered=st.integers(0, DAY),
    unobserved=st.integers(0, DAY),
    unpriced=st.integers(0, DAY),
    rent=st.integers(0, 10**15),
    cost=st.integers(0, 10**15),
    time=st.integers(1, 2 * DAY),
)
def test_common_hours_leave_nothing_unexplained(
    metered: int, unobserved: int, unpriced: int, rent: int, cost: int, time: int
) -> None:
    """Whatever the hours of both are, except money of the books where nothing is metered or priced."""
    unpriced, unobserved = min(unpriced, metered), min(unobserved, metered)
    posted = rent if metered > unpriced else 0
    of_host = Book("2026-10", DAY, metered, unobserved, unpriced, {"configured": posted}, {}, {}, 0)
    row = compare(
        of_host, InvoiceSums(usage=cost, meters={MeterKey("i-1", ""): Metered(cost, time)}), common_hours=True
    )

    assert sum(part.amount for part in row.parts) == row.difference == cost - posted
    unexplained = sum(part.amount for part in row.parts if part.kind == "unexplained")
    assert unexplained == 0 or not any(part.kind.startswith("price") for part in row.parts)
    assert all(part.time is None or part.time >= 0 for part in row.parts)


def test_a_bill_that_agrees_has_no_parts() -> None:
    """24 h at 2 dollars on both sides."""
    row = compare(book(), timed(48, 24))
    assert (row.difference, row.parts) == (0, ())


def test_boot_minutes_are_time_that_only_the_bill_has() -> None:
    """15 minutes before the first tick, at the bill's 2 dollars an hour: 0.50."""
    row = compare(book(metered=DAY - HOUR // 4, rent=47 * DOLLAR + DOLLAR // 2), timed(48, 24))
    assert parts(row) == [("uncovered", 0.5, 0.25)]


def test_a_day_without_books_is_a_host_that_was_not_metered() -> None:
    """All of the bill."""
    assert parts(compare(book(metered=0, rent=0), timed(20, 10))) == [("not_metered", 20.0, 10.0)]
    assert parts(compare(book(metered=0, rent=0), untimed(20))) == [("not_metered", 20.0, 24.0)]


def test_a_host_without_books_was_not_metered_for_as_long_as_rows_are_for() -> None:
    """Rows of two days, in a month of which 744 h have passed: 48 h."""
    month = Book("2026-10", 31 * DAY)
    assert parts(compare(month, untimed(96, span=2 * DAY))) == [("not_metered", 96.0, 48.0)]


def test_hours_beyond_a_day_are_said_apart() -> None:
    """25 h billed at 2 dollars, of a day of 24 h that is metered in full."""
    assert parts(compare(book(), timed(50, 25))) == [("beyond", 2.0, 1.0)]


def test_metered_time_that_is_not_billed() -> None:
    """24 h metered and 20 billed at 2 dollars: 4 h are worth 8 dollars less."""
    assert parts(compare(book(), timed(40, 20))) == [("not_billed", -8.0, 4.0)]
    assert parts(compare(book(), InvoiceSums())) == [("not_billed", -48.0, 24.0)]


def test_a_gap_is_believed_to_have_been_as_long_as_the_bill_says() -> None:
    """The host was down for 12 h: the books have 24 h and rent for 12, the bill 12 h. They agree."""
    row = compare(book(rent=24 * DOLLAR, unobserved=12 * HOUR), timed(24, 12))
    assert row.parts == ()


def test_time_of_a_night_that_is_not_owed_is_nobodys_mistake() -> None:
    """Of 24 h the books owe 12 and have seen them: the rest is a gap, in which the bill is believed."""
    sums = HistorySums(
        held={OwnerPhase(CostOwner("chat", "assistants", "", "s", "m"), "decode"): 12 * HOUR},
        gpu_held={Gpu("GPU-0", "H100"): DAY},
        gpu_unowed={Gpu("GPU-0", "H100"): 12 * HOUR},
        gpu_down={Gpu("GPU-0", "H100"): 12 * HOUR},
        server_cost={(ServerOwner("chat", "assistants", "", "s"), "rent", "configured"): 24 * DOLLAR},
        covered={(): DAY},
    )
    night = Book.of(
        "2026-10-01", passed=DAY, covered=DAY, sums=sums, components=frozenset({"rent"}), adjusted=0
    )

    assert (night.metered, night.unobserved) == (DAY, 12 * HOUR)
    assert compare(night, timed(24, 12)).parts == ()


@pytest.mark.parametrize(
    ("bill", "expected"),
    [
        pytest.param(timed(48, 24), [("unobserved", 4.0, 2.0)], id="by time"),
        pytest.param(timed(45, 22.5), [("unobserved", 1.0, 0.5)], id="by time, up for a part"),
        pytest.param(untimed(48), [("unobserved", 4.0, 2.0)], id="by day"),
        pytest.param(untimed(51), [("unobserved", 4.0, 2.0), ("unexplained", 3.0, None)], id="and more"),
        pytest.param(untimed(42), [("unobserved", -2.0, 1.0)], id="charged in the books alone"),
        pytest.param(untimed(39), [("unobserved", -2.0, 1.0), ("unexplained", -3.0, None)], id="and less"),
    ],
)
def test_hours_that_nobody_watched_are_the_likely_cause_of_their_day(
    bill: InvoiceSums, expected: list[tuple[str, float, float | None]]
) -> None:
    """24 h at 2 dollars, of which 2 h are not owed as the host was down, and 1 h is charged unwatched: 44."""
    day = Book("2026-10-01", DAY, DAY, 3 * HOUR, money={"configured": 44 * DOLLAR}, down=2 * HOUR)

    assert parts(compare(day, bill)) == expected


def test_price_drift_is_over_the_time_that_both_have() -> None:
    """2.20 billed and 2.00 in the books: 0.20 x 24 h = 4.80."""
    row = compare(book(), timed(52.8, 24))
    assert row.parts == (Difference("price", 4_800_000_000_000, DAY, 48 * DOLLAR),)


def test_price_and_time_are_told_apart() -> None:
    """22 h metered at 2.00, 24 h billed at 2.20: 2 h x 2.20 = 4.40 of time, 0.20 x 22 = 4.40 of price."""
    row = compare(book(metered=22 * HOUR, rent=44 * DOLLAR), timed(52.8, 24))
    assert parts(row) == [("uncovered", 4.4, 2.0), ("price", 4.4, 22.0)]


@pytest.mark.parametrize(
    ("basis", "kind"), [("estimate", "price_estimate"), ("catalogue", "price_catalogue")]
)
def test_money_of_the_catalogue_and_of_estimates_has_its_own_name(basis: str, kind: str) -> None:
    """The same 4.80, of a price that nobody configured."""
    day = book(rent=0)
    day.money[basis] = 48 * DOLLAR
    assert parts(compare(day, timed(52.8, 24))) == [(kind, 4.8, 24.0)]


def test_drift_of_two_bases_is_shared_by_their_money() -> None:
    """12 of 48 dollars are estimated: a quarter of 4.80, and of the 24 h."""
    day = book(rent=36 * DOLLAR)
    day.money["estimate"] = 12 * DOLLAR
    assert parts(compare(day, timed(52.8, 24))) == [("price", 3.6, 18.0), ("price_estimate", 1.2, 6.0)]


def test_unpriced_time_is_worth_the_bills_price() -> None:
    """6 of 24 h had no price: 18 h x 2 in the books, 6 h x 2 on the bill alone."""
    row = compare(book(rent=36 * DOLLAR, unpriced=6 * HOUR), timed(48, 24))
    assert parts(row) == [("unpriced", 12.0, 6.0)]


def test_usage_that_is_not_by_the_hour() -> None:
    """A disk or traffic on the bill, beside the machine's hours."""
    assert parts(compare(book(), timed(48, 24, other=3))) == [("other_usage", 3.0, None)]


def test_what_is_not_usage_is_kept_apart() -> None:
    """Refunds, credits, taxes, purchases and the provider's corrections each keep their sum."""
    tally = timed(48, 24)
    tally.apart = {apart: (index + 1) * DOLLAR for index, apart in enumerate(APART)}
    assert parts(compare(book(), tally)) == [
        ("refunds", 1.0, None),
        ("credits", 2.0, None),
        ("taxes", 3.0, None),
        ("purchases", 4.0, None),
        ("corrections", 5.0, None),
    ]


def test_what_was_adjusted_already_is_taken_off() -> None:
    """The books have 46 dollars and a correction of 2: nothing differs, and both sides of it are named."""
    row = compare(book(metered=23 * HOUR, rent=46 * DOLLAR, adjusted=2 * DOLLAR), timed(48, 24))
    assert (row.difference, parts(row)) == (0, [("uncovered", 2.0, 1.0), ("adjusted", -2.0, None)])


def test_without_hours_unmetered_time_explains_at_most_the_difference() -> None:
    """4 h are missing, worth 8 dollars in the books: of 5 dollars they explain 5, of 9 only 8."""
    day = book(metered=20 * HOUR, rent=40 * DOLLAR)
    assert parts(compare(day, untimed(45))) == [("uncovered", 5.0, 2.5)]
    assert parts(compare(day, untimed(49))) == [("uncovered", 8.0, 4.0), ("unexplained", 1.0, None)]


def test_without_hours_time_is_at_most_what_rows_are_for() -> None:
    """Rows of 21 h, of which 20 are metered: one hour, 2 dollars, and no more."""
    day = book(metered=20 * HOUR, rent=40 * DOLLAR)
    assert parts(compare(day, untimed(45, span=21 * HOUR))) == [
        ("uncovered", 2.0, 1.0),
        ("unexplained", 3.0, None),
    ]


def test_without_hours_unpriced_time_comes_after_unmetered() -> None:
    """16 h priced at 2, 4 h unpriced, 4 h missing; 48 billed: 8 and 8."""
    day = book(metered=20 * HOUR, rent=32 * DOLLAR, unpriced=4 * HOUR)
    assert parts(compare(day, untimed(48))) == [("uncovered", 8.0, 4.0), ("unpriced", 8.0, 4.0)]


def test_without_hours_and_any_price_the_bill_is_shared_by_time() -> None:
    """18 h unpriced and 6 h missing of 24 h and 48 dollars: 12 and 36."""
    day = book(metered=18 * HOUR, rent=0, unpriced=18 * HOUR)
    assert parts(compare(day, untimed(48))) == [("uncovered", 12.0, 6.0), ("unpriced", 36.0, 18.0)]


def test_without_hours_a_lower_bill_stays_unexplained() -> None:
    """Whether it is time or price, nothing tells."""
    assert parts(compare(book(), untimed(40))) == [("unexplained", -8.0, None)]


def test_several_machines_at_once_are_not_taken_for_this_host() -> None:
    """Two of 24 h each on a day of which 12 are metered: which is which nobody knows."""
    tally = timed(48, 24)
    tally.usage += 72 * DOLLAR
    tally.meters[MeterKey("i-2", "p5")] = Metered(72 * DOLLAR, DAY)
    row = compare(book(metered=DAY // 2, rent=24 * DOLLAR), tally)
    assert (row.machines, parts(row)) == (True, [("unexplained", 96.0, None)])


def test_machines_one_after_the_other_are_one_host() -> None:
    """10 h of one and 14 h of the next, at 2 dollars."""
    tally = timed(20, 10)
    tally.usage += 28 * DOLLAR
    tally.meters[MeterKey("i-2", "p5")] = Metered(28 * DOLLAR, 14 * HOUR)
    row = compare(book(), tally)
    assert (row.machines, row.parts) == (False, ())


def test_a_machine_of_several_meters_tells_no_price_per_hour() -> None:
    """Cores by the second and GPUs by the second do not add up to hours of a machine."""
    tally = timed(12, 624)
    tally.usage += 40 * DOLLAR
    tally.meters[MeterKey("i-1", "gpu")] = Metered(40 * DOLLAR, DAY)
    row = compare(book(), tally)
    assert (row.meters, row.timed, parts(row)) == (True, None, [("unexplained", 4.0, None)])


def test_hours_that_are_not_whole_are_not_used() -> None:
    """Where the bill has more meters than are summed."""
    assert parts(compare(book(), timed(52.8, 24), crowded=True)) == [("unexplained", 4.8, None)]


amounts = st.integers(0, 10**18)
times = st.integers(0, 25 * HOUR)


@given(
    length=times,
    metered=times,
    unobserved=times,
    unpriced=times,
    money=st.dictionaries(st.sampled_from(["configured", "catalogue", "estimate"]), amounts),
    adjusted=st.integers(-(10**18), 10**18),
    meters=st.dictionaries(
        st.builds(MeterKey, st.sampled_from("ab"), st.sampled_from("xy")),
        st.builds(Metered, amounts, times),
    ),
    more=amounts,
    apart=st.dictionaries(st.sampled_from(APART), st.integers(-(10**18), 10**18)),
    span=times,
)
def test_parts_always_sum_to_the_difference(
    length: int,
    metered: int,
    unobserved: int,
    unpriced: int,
    money: dict[str, int],
    adjusted: int,
    meters: dict[MeterKey, Metered],
    more: int,
    apart: dict[str, int],
    span: int,
) -> None:
    """To the picodollar; a bill that tells hours leaves nothing unexplained where something is metered."""
    day = Book("x", max(length, metered), metered, min(unobserved, metered), min(unpriced, metered), money)
    day.adjusted = adjusted
    usage = sum(each.cost for each in meters.values()) + more
    tally = InvoiceSums(usage, {UsagePeriod(0, span)} if usage else set(), meters, dict(apart))  # type: ignore[arg-type]
    row = compare(day, tally)

    assert usage + sum(apart.values()) - sum(money.values()) - adjusted == row.difference
    assert row.difference == sum(part.amount for part in row.parts)
    assert all(part.kind in KINDS and part.amount for part in row.parts)
    if row.timed and day.unpriced < day.metered and not day.unobserved:
        assert "unexplained" not in [part.kind for part in row.parts]
