"""Months of dollars, each worked by hand. A month has 730 hours, a day 24."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from exporter.finance.options.costs import course
from exporter.finance.options.option import Fleet, Option, Power, RentedHosts
from exporter.finance.options.scenario import ScenarioItem
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


def test_a_purchase_is_written_off_and_paid_at_once() -> None:
    """36,000 over 3 years are 1,000 a month; a year costs 12,000, takes 36,000, and leaves 24,000."""
    option = owned()
    option_course = course(scenario(option), option)
    assert [month.cost for month in option_course.months] == [
        {"amortization": 1000, "support": 0, "insurance": 0}
    ] * 12
    assert [month.paid for month in option_course.months] == [36000] + [0] * 11
    assert (option_course.total, option_course.paid, option_course.worth) == (12000, 36000, 24000)


def test_adders_residual_support_and_insurance() -> None:
    """(36,000 x 1.5 - 36,000 x 0.1) / 36 = 1,400 a month; 600 and 60 a year are 50 and 5 a month."""
    option = owned(
        adders_ratio="0.5",
        residual_ratio="0.1",
        support_dollars_per_year="600",
        insurance_dollars_per_year="60",
    )
    option_course = course(scenario(option, years=3), option)
    assert option_course.months[7].cost == {"amortization": 1400, "support": 50, "insurance": 5}
    assert option_course.components == {"amortization": 50400, "support": 1800, "insurance": 180}
    # 54,000 is paid; the residual comes back only when the host is replaced, and is what it is worth
    assert (option_course.paid, option_course.worth) == (54000 + 1800 + 180, 3600)


def test_hosts_are_replaced_at_the_price_of_that_year() -> None:
    """A life of 18 months from month 1: bought again in month 19, in the second year, a tenth dearer.

    36,000 / 18 = 2,000 a month, then 2,200; with a residual of a tenth 1,800 and 1,980. 39,600 less the
    residual of the first, 3,600, is paid then. After 24 months 6 of 18 are written off: 39,600 - 6 x 1,980.
    """
    option = owned(life="1.5", change="0.1", residual_ratio="0.1")
    option_course = course(scenario(option, years=2), option)
    assert [month.total for month in option_course.months] == [1800] * 18 + [1980] * 6
    assert {number: month.paid for number, month in enumerate(option_course.months) if month.paid} == {
        0: 36000,
        18: 39600 - 3600,
    }
    assert option_course.worth == 39600 - 6 * 1980


def test_hosts_that_are_kept_cost_nothing_after_their_life() -> None:
    """A life of 18 months, not replaced: 18 x 2,000, and the rest is free. They are worth their residual."""
    option = owned(life="1.5", refresh=False)
    option_course = course(scenario(option, years=3), option)
    assert [month.total for month in option_course.months] == [2000] * 18 + [0] * 18
    assert (option_course.paid, option_course.worth) == (36000, 0)
    assert {month.hosts for month in option_course.months} == {1}
    option = owned(life="1.5", refresh=False, residual_ratio="0.1")
    assert course(scenario(option, years=3), option).worth == 3600


def test_an_annuity_is_the_tariffs_own() -> None:
    """At 10 % over 1 year: (36,000 - 0) x 0.1 / (1 - 1 / 1.1) = 39,600; a month 3,300."""
    option = owned(life="1", cost_of_capital_ratio="0.1")
    option_course = course(scenario(option), option)
    assert option_course.total == 39600
    assert option_course.paid == 36000


def test_rent_by_the_hour() -> None:
    """2 hosts x 2 dollars x 730 hours x half of the time = 1,460; a tenth less in the second year."""
    option = rented(change="-0.1", hosts=Fleet(8, 2, hours_ratio=Fraction(1, 2)))
    option_course = course(scenario(option, years=2), option)
    assert [month.cost for month in option_course.months] == [{"rent": 1460}] * 12 + [{"rent": 1314}] * 12
    assert option_course.paid == option_course.total == 12 * 1460 + 12 * 1314
    assert option_course.worth == 0


def test_hosts_that_are_up_half_of_the_time_serve_half() -> None:
    """20 million a day at best are 10 million, which is the load: wholly busy, and one host is enough."""
    option = rented(hosts=Fleet(8, 1, Fraction(20 * MILLION, 86400), hours_ratio=Fraction(1, 2)))
    option_course = course(scenario(option, load=load()), option)
    assert (option_course.months[0].hosts, option_course.months[0].busy) == (1, 1)
    assert course(scenario(option, load=load(10 * MILLION + 1)), option).months[0].hosts == 2


@pytest.mark.parametrize(("hours", "dollars"), [("730", 17520), ("730.5", 17532), ("720", 17280)])
def test_the_length_of_a_month_is_the_scenarios(hours: str, dollars: int) -> None:
    """2 dollars x 12 x 730 = 17,520; of 730.5, the ledger's 8766 hours, 17,532."""
    assert course(scenario(rented(), hours=hours), rented()).total == dollars


def test_tokens_by_kind() -> None:
    """4 million at 1, 2 at 0.1 and 1 at 3 dollars are 7.20 a day; 365 days, and half in the second year."""
    option = hosted(cached="0.1", generation="3", change_ratio_per_year=Fraction(-1, 2))
    served = load(4 * MILLION, MILLION, 2 * MILLION)
    option_course = course(scenario(option, years=2, load=served), option)
    assert option_course.total == Fraction("7.2") * 365 + Fraction("3.6") * 365
    assert option_course.components == {"hosted": option_course.total}


def test_growth_compounds() -> None:
    """10 million tokens a day at a dollar: 3,650 a year, then 1.5 and 2.25 times as much."""
    option = hosted()
    option_course = course(scenario(option, years=3, load=load(growth="0.5")), option)
    assert [sum(month.total for month in year) for year in option_course.years] == [
        3650,
        5475,
        Fraction("8212.5"),
    ]


def test_longer_prompts_and_answers() -> None:
    """5 x (4 + 2) million prompt tokens and 2 x 1 million generated ones, at a dollar: 32 a day."""
    option = hosted(prompt_ratio=Fraction(5), generation_ratio=Fraction(2))
    option_course = course(scenario(option, load=load(4 * MILLION, MILLION, 2 * MILLION)), option)
    assert option_course.total == 32 * 365


def test_hosts_are_added_when_the_load_passes_what_is_planned() -> None:
    """A host serves 20 million at its best and half of that as planned: 10, 15 and 22.5 need 1, 2 and 3."""
    option = rented(hosts=fleet(a_day=20 * MILLION, used="0.5"))
    option_course = course(scenario(option, years=3, load=load(growth="0.5")), option)
    assert [year[0].hosts for year in option_course.years] == [1, 2, 3]
    assert [year[0].busy for year in option_course.years] == [Fraction(1, 2), Fraction(3, 8), Fraction(3, 8)]
    assert option_course.total == 12 * 1460 * (1 + 2 + 3)


def test_what_is_bought_is_kept_and_what_is_rented_is_given_back() -> None:
    """40, 20 and 10 million tokens a day at 10 million a host: 4 hosts stay, or become 2 and 1."""
    served = load(40 * MILLION, growth="-0.5")
    hosts = fleet(a_day=10 * MILLION)
    bought, leased = owned(hosts=hosts), rented(hosts=hosts)
    assert [year[0].hosts for year in course(scenario(bought, years=3, load=served), bought).years] == [
        4,
        4,
        4,
    ]
    assert [year[0].hosts for year in course(scenario(leased, years=3, load=served), leased).years] == [
        4,
        2,
        1,
    ]


def test_added_hosts_have_a_life_of_their_own() -> None:
    """A host in each of two years: 1,000 a month, then 2,000; a third of the second is written off."""
    option = owned(hosts=fleet(a_day=10 * MILLION))
    option_course = course(scenario(option, years=2, load=load(growth="1")), option)
    assert [month.total for month in option_course.months] == [1000] * 12 + [2000] * 12
    assert {number: month.paid for number, month in enumerate(option_course.months) if month.paid} == {
        0: 36000,
        12: 36000,
    }
    assert option_course.worth == 12000 + 24000


def test_without_throughput_the_hosts_stay_and_nobody_knows_how_busy_they_are() -> None:
    """Absent, never zero."""
    option_course = course(scenario(rented(), load=load()), rented())
    assert {(month.hosts, month.busy) for month in option_course.months} == {(1, None)}


def test_without_a_load_hosts_cost_what_they_cost() -> None:
    """Bought tokens have no cost then, and say so."""
    option = rented(hosts=fleet(a_day=10 * MILLION))
    option_course = course(scenario(option), option)
    assert (option_course.total, option_course.months[0].busy) == (12 * 1460, None)
    with pytest.raises(ValueError, match="an option that buys tokens needs a load"):
        course(scenario(hosted()), hosted())


def power(idle: str, change: str = "0") -> Power:
    return Power(
        dollars_per_kilowatt_hour=Decimal("0.10"),
        pue_ratio=Decimal("1.5"),
        kilowatts_per_host=Fraction(10),
        idle_kilowatts_per_host=Fraction(idle),
        price_change_ratio_per_year=Fraction(change),
    )


@pytest.mark.parametrize(
    ("idle", "a_day", "kilowatts"),
    [("2", 20 * MILLION, 6), ("10", 20 * MILLION, 10), ("2", None, 10)],
    ids=["half-busy", "constant", "not-known"],
)
def test_electricity_follows_the_load(idle: str, a_day: int | None, kilowatts: int) -> None:
    """Half busy between 2 and 10 kW are 6 kW x 730 h x 1.5 x 0.10 a month; full draw where nobody knows."""
    option = replace(rented(hosts=fleet(a_day=a_day)), power=power(idle))
    option_course = course(scenario(option, load=load()), option)
    assert option_course.months[0].cost["energy"] == Fraction(kilowatts) * 730 * Fraction("0.15")


def test_electricity_changes_by_the_year_and_is_for_every_host() -> None:
    """2 hosts x 10 kW x 730 h x 0.15 = 2,190 a month; a fifth more in the second year."""
    option = Option("rent", RentedHosts(Fraction(2)), Fleet(8, 2), power=power("10", "0.2"))
    option_course = course(scenario(option, years=2), option)
    assert [year[0].cost["energy"] for year in option_course.years] == [2190, 2628]


def test_items_by_month_year_and_date() -> None:
    """2 x 12,000 a year, 7 a month, 5 in months 3, 7 and 11, and 100 once, in a dearer second year."""
    items = (
        yearly(count=Fraction(2), price_change_ratio_per_year=Fraction(1, 10)),
        ScenarioItem(component="network", dollars_per_month=Fraction(7)),
        once(5, "tuning", month=3, every_months=4),
        once(100),
    )
    option_course = course(scenario(rented("r", "0"), years=2, items=items), rented("r", "0"))
    costs = [
        {name: dollars for name, dollars in month.cost.items() if name != "rent"}
        for month in option_course.months
    ]
    assert costs[0] == {"staff": 2000, "network": 7, "data": 100}
    assert costs[2] == costs[6] == costs[10] == {"staff": 2000, "network": 7, "tuning": 5}
    assert costs[12] == {"staff": 2200, "network": 7}
    assert costs[14] == {"staff": 2200, "network": 7, "tuning": 5}
    assert option_course.components == {"staff": 50400, "network": 168, "tuning": 30, "data": 100}


def test_what_is_paid_again_is_not_paid_before() -> None:
    """First in month 9, then every 4 months: not in months 1 and 5."""
    option_course = course(scenario(rented(), years=2, items=(once(5, month=9, every_months=4),)), rented())
    assert [number + 1 for number, month in enumerate(option_course.months) if "data" in month.cost] == [
        9,
        13,
        17,
        21,
    ]


@pytest.mark.parametrize(("per", "dollars"), [("option", 1000), ("host", 3000), ("gpu", 24000)])
def test_items_by_host_and_gpu(per: str, dollars: int) -> None:
    """3 hosts of 8 GPUs."""
    option = rented(hosts=fleet(hosts=3))
    option_course = course(scenario(option, items=(yearly(per=per),)), option)
    assert option_course.months[0].cost["staff"] == dollars


def test_items_are_paid_by_those_who_are_named() -> None:
    """Everybody, unless options are named; a hybrid pays what its parts pay, each item once."""
    options = (owned(), hosted(), rented(), hybrid("0.5"))
    items = (
        once(1),
        once(10, options=("own",)),
        once(100, options=("api",)),
        once(1000, options=("rent",)),
        once(10_000, options=("own", "api", "both")),
    )
    given = scenario(*options, load=load(), items=items)
    paid = {option.name: course(given, option).components["data"] for option in options}
    assert paid == {"own": 10_011, "api": 10_101, "rent": 1001, "both": 10_111}


@pytest.mark.parametrize(
    ("both", "bought"),
    [(hybrid("0.6"), [4, 8]), (hybrid(tokens=6 * MILLION), [4, 14])],
    ids=["ratio", "tokens"],
)
def test_a_hybrid_serves_its_base_and_buys_the_rest(both: Option, bought: list[int]) -> None:
    """10, then 20 million a day: the base takes 0.6 of them, or 6 million; the rest is a dollar a million."""
    options = (owned(hosts=fleet(a_day=12 * MILLION)), hosted(), both)
    option_course = course(scenario(*options, years=2, load=load(growth="1")), both)
    assert [year[0].cost["hosted"] for year in option_course.years] == [
        Fraction(millions * 365, 12) for millions in bought
    ]
    assert [year[0].cost["amortization"] for year in option_course.years] == [1000, 1000]
    assert option_course.months[0].busy == Fraction(1, 2)
    assert option_course.worth == 12000
