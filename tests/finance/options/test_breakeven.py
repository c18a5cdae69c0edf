"""Where the curves cross, worked by hand."""

from dataclasses import replace
from fractions import Fraction

import pytest

from exporter.finance.options.breakeven import BreakEven, Crossing, break_evens, races
from exporter.finance.options.costs import course
from exporter.finance.options.option import Fleet
from exporter.finance.options.scenario import Scenario
from tests.finance.options.scenario_builders import (
    MILLION,
    fleet,
    hosted,
    hybrid,
    load,
    once,
    owned,
    rented,
    scenario,
    yearly,
)


def race(given: Scenario) -> tuple[str | None, tuple[Crossing, ...]]:
    (pair,) = races(given, [course(given, option) for option in given.options])
    return pair.cheaper_first, pair.crossings


def test_the_month_in_which_less_has_been_paid() -> None:
    """36,000 at once against 1,460 a month: after 24 months 35,040, after 25 months 36,500."""
    assert race(scenario(owned(), rented(), years=3)) == ("rent", (Crossing(25, "own"),))


def test_equal_is_not_below() -> None:
    """At 1,500 a month both have paid 36,000 after 24 months; the 25th decides."""
    options = (owned(), rented(dollars="1500/730"))
    assert race(scenario(*options, years=3)) == ("rent", (Crossing(25, "own"),))


def test_replacement_can_turn_it_again() -> None:
    """A life of 30 months: month 31 pays a second 36,000, and 72,000 / 1,460 = 49.3."""
    given = scenario(owned(life="2.5"), rented(), years=5)
    assert race(given) == ("rent", (Crossing(25, "own"), Crossing(31, "rent"), Crossing(50, "own")))


def test_never_and_always() -> None:
    """One that is dearer in every month, and two that are the same."""
    assert race(scenario(rented(), rented("dear", "3"))) == ("rent", ())
    assert race(scenario(rented(), rented("same"))) == (None, ())


def only_break_even(given: Scenario) -> BreakEven:
    (only,) = break_evens(given)
    return only


def test_tokens_a_day_at_which_a_year_costs_the_same() -> None:
    """1,460 x 12 = 17,520 a year against 365 dollars a million tokens a day: 48 million."""
    given = scenario(rented(), hosted(), load=load())
    assert only_break_even(given) == BreakEven(
        "rent", "api", "at", Fraction(48 * MILLION), 1, Fraction(48 * MILLION), False
    )


def test_the_mix_is_that_of_the_load() -> None:
    """Half of the tokens at 1 and half at 3 dollars: 2 a million, so 24 million."""
    given = scenario(rented(), hosted(generation="3"), load=load(MILLION, MILLION))
    assert only_break_even(given).tokens_per_day == 24 * MILLION


def test_more_hosts_are_taken_where_one_does_not_serve_it() -> None:
    """12,000 a year for people and 17,520 a host of 30 million tokens a day, at a dollar worth 10,950.

    At 1 dollar a million a host never earns its rent. At 2 it serves 21,900 dollars' worth and gains 4,380:
    12,000 / 4,380 = 2.7, so 3 hosts. (12,000 + 3 x 17,520) / 730 = 88.4 million a day, of 90. It lasts from
    (12,000 + 17,520) / 4,380 = 6.7, so 7 hosts on: (12,000 + 7 x 17,520) / 730 = 184.4 million.
    """
    rent = rented(hosts=fleet(a_day=60 * MILLION, used="0.5"))
    people = yearly(options=("rent",))
    assert only_break_even(scenario(rent, hosted(), load=load(), items=(people,))).verdict == "never"
    dear = hosted(prompt="2", cached="2", generation="2")
    break_even_point = only_break_even(scenario(rent, dear, load=load(), items=(people,)))
    assert (break_even_point.verdict, break_even_point.hosts, break_even_point.throughput_known) == (
        "at",
        3,
        True,
    )
    assert break_even_point.tokens_per_day == Fraction(12_000 + 3 * 17_520, 730) * MILLION
    assert break_even_point.lasting_tokens_per_day == Fraction(12_000 + 7 * 17_520, 730) * MILLION


def test_longer_prompts_take_more_of_a_host() -> None:
    """3 tokens for one of the load: a host of 60 million serves 20 of the load, worth 21,900 at 3 dollars and
    17,520 to rent. 17,520 / 1,095 = 16 million a day.

    At 2 dollars 24 million would be needed and 20 are served; a second host gains 14,600 and costs 17,520.
    """
    rent = replace(rented(hosts=fleet(a_day=60 * MILLION)), prompt_ratio=Fraction(3))
    at_three = only_break_even(scenario(rent, hosted(prompt="3"), load=load()))
    assert (at_three.tokens_per_day, at_three.hosts) == (16 * MILLION, 1)
    assert only_break_even(scenario(rent, hosted(prompt="2"), load=load())).verdict == "never"


def test_hosts_beyond_the_first_may_never_pay() -> None:
    """17,520 a year for a host that serves 50 million at a dollar, 18,250: from 48 million on, and further
    hosts gain 730 each, which pays the next one's 17,520 from 24 hosts on: 24 x 48 million.
    """
    break_even_point = only_break_even(
        scenario(rented(hosts=fleet(a_day=50 * MILLION)), hosted(), load=load())
    )
    assert (
        break_even_point.tokens_per_day,
        break_even_point.hosts,
        break_even_point.lasting_tokens_per_day,
    ) == (
        48 * MILLION,
        1,
        24 * 48 * MILLION,
    )
    # people paid by the hosted side make the first host worth it, and no other: it serves 47 of 48 million
    people = yearly(dollars=1000, options=("api",))
    break_even_point = only_break_even(
        scenario(rented(hosts=fleet(a_day=47 * MILLION)), hosted(), load=load(), items=(people,))
    )
    assert (break_even_point.hosts, break_even_point.lasting_tokens_per_day) == (1, None)
    assert break_even_point.tokens_per_day == Fraction(17_520 - 1000, 365) * MILLION


def test_hosts_that_are_cheaper_from_the_start() -> None:
    """The hosted side pays 20,000 for its data, more than a year of rent."""
    break_even_point = only_break_even(
        scenario(rented(), hosted(), load=load(), items=(once(20_000, options=("api",)),))
    )
    assert break_even_point == BreakEven("rent", "api", "always")


def test_free_tokens_are_never_undercut() -> None:
    """Nothing is saved by a token that costs nothing."""
    assert only_break_even(scenario(rented(), hosted(prompt="0"), load=load())) == BreakEven(
        "rent", "api", "never"
    )


def test_pairs() -> None:
    """Options with hosts against hosted ones; a hybrid has no line. Without a load there is none."""
    options = (owned(), rented(), hosted(), hosted("other"), hybrid("0.5"))
    pairs = [
        (only_break_even.option, only_break_even.hosted)
        for only_break_even in break_evens(scenario(*options, load=load()))
    ]
    assert pairs == [("own", "api"), ("own", "other"), ("rent", "api"), ("rent", "other")]
    assert break_evens(scenario(rented())) == ()


@pytest.mark.parametrize("hours_ratio", ["1", "0.5"])
def test_hosts_that_are_up_for_a_part_of_the_time_serve_a_part(hours_ratio: str) -> None:
    """Rent and capacity shrink alike."""
    hosts = Fleet(8, 1, Fraction(60 * MILLION, 86400), Fraction(1), Fraction(hours_ratio))
    break_even_point = only_break_even(scenario(rented(hosts=hosts), hosted(), load=load()))
    assert (break_even_point.hosts, break_even_point.tokens_per_day) == (
        1,
        48 * MILLION * Fraction(hours_ratio),
    )
