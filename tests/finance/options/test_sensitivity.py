"""Another load, another price: worked by hand."""

from fractions import Fraction

from exporter.finance.options.option import AsMeasured, Option
from exporter.finance.options.tco import LOADS, PRICES, answer
from tests.finance.options.scenario_builders import (
    MILLION,
    fleet,
    hosted,
    hybrid,
    load,
    owned,
    rented,
    scenario,
    yearly,
)

F = Fraction


def test_the_loads_are_ten_thirty_sixty_and_ninety_percent() -> None:
    """Of what the first hosts with a known throughput could serve: 2 hosts of 50 million are 100 a day.

    17,520 a year a host: 35,040 over 3,650, 10,950, 21,900 and 32,850 million tokens a year. Planned at half,
    hosts may be fully busy here: none is added.
    """
    hosts = rented(hosts=fleet(hosts=2, a_day=50 * MILLION, used="0.5"))
    loads = answer(scenario(rented("unknown"), hosts, hosted(), load=load(growth="0.5"), years=1)).loads
    assert loads is not None
    assert (loads.reference, LOADS) == ("rent", (F("0.1"), F("0.3"), F("0.6"), F("0.9")))
    assert [level.tokens_per_day for level in loads.levels] == [10**7, 3 * 10**7, 6 * 10**7, 9 * 10**7]
    assert [level.dollars_per_million_tokens["rent"] for level in loads.levels] == [
        F(35_040, 3650),
        F(35_040, 10_950),
        F(35_040, 21_900),
        F(35_040, 32_850),
    ]
    assert {level.dollars_per_million_tokens["api"] for level in loads.levels} == {F(1)}
    assert [level.total_dollars["unknown"] for level in loads.levels] == [17_520] * 4


def test_the_first_fleet_is_what_the_first_years_load_asks_for() -> None:
    """10 million a day at 5 planned are 2 hosts: all of 20 million is their 100 percent, for 3 years."""
    hosts = owned(hosts=fleet(a_day=10 * MILLION, used="0.5"))
    loads = answer(scenario(hosts, load=load(), years=3)).loads
    assert loads is not None
    assert [level.tokens_per_day for level in loads.levels] == [
        F(share * 2 * MILLION) for share in (1, 3, 6, 9)
    ]
    assert {level.total_dollars["own"] for level in loads.levels} == {F(72_000)}


def test_smaller_hosts_are_added_only_where_they_are_full() -> None:
    """90 million a day on hosts of 25 million are 4 of them; the other loads need 1, 2 and 3."""
    given = scenario(
        rented(hosts=fleet(a_day=100 * MILLION)),
        rented("small", hosts=fleet(a_day=25 * MILLION)),
        load=load(),
    )
    loads = answer(given).loads
    assert loads is not None
    assert [level.total_dollars["small"] / 17_520 for level in loads.levels] == [1, 2, 3, 4]


def test_a_hybrid_keeps_its_base() -> None:
    """30 million of the load stay on the owned host, the rest is bought: 0, 0, 30 and 60 million a day."""
    given = scenario(
        owned(hosts=fleet(a_day=100 * MILLION)), hosted(), hybrid(tokens=30 * MILLION), load=load()
    )
    loads = answer(given).loads
    assert loads is not None
    assert [level.total_dollars["both"] for level in loads.levels] == [
        12_000 + 365 * bought for bought in (0, 0, 30, 60)
    ]


def test_without_hosts_they_are_parts_of_the_load() -> None:
    """And without a load there are none."""
    loads = answer(scenario(hosted(), load=load())).loads
    assert loads is not None
    assert loads.reference is None
    assert [level.tokens_per_day for level in loads.levels] == [
        MILLION,
        3 * MILLION,
        6 * MILLION,
        9 * MILLION,
    ]
    assert answer(scenario(rented())).loads is None


def test_prices_are_the_options_own() -> None:
    """People stay what they cost; purchase with support, rent, tokens and what was measured do not.

    12,000 and 600 for support a year; 17,520; 3,650; half of the tokens bought, 1,825; 1 dollar a day.
    """
    given = scenario(
        owned(support_dollars_per_year="600"),
        rented(),
        hosted(),
        hybrid("0.5"),
        Option("measured", AsMeasured({"rent": F(1)})),
        load=load(),
        items=(yearly(),),
    )
    totals = {option.option: option.totals for option in answer(given).prices}
    assert (F("0.5"), F("0.8"), F(1), F("1.2"), F(2)) == PRICES
    assert totals == {
        name: {factor: 12_000 + price * factor for factor in PRICES}
        for name, price in {
            "own": 12_600,
            "rent": 17_520,
            "api": 3650,
            "both": 12_600 + 1825,
            "measured": 365,
        }.items()
    }
