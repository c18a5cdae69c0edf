"""What holds for every scenario, whatever is in it."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from exporter.finance.options.breakeven import break_evens, races, steady
from exporter.finance.options.costs import course, summed
from exporter.finance.options.option import (
    Fleet,
    Hosted,
    Hybrid,
    Load,
    Option,
    OwnedHosts,
    Power,
    RentedHosts,
)
from exporter.finance.options.scenario import Scenario, ScenarioItem
from exporter.finance.options.tco import answer
from exporter.finance.options.tco_report import shares_of, text
from exporter.tariff.terms import Owned
from tests.depth import examples

TWICE = Fraction(2)
AMOUNTS = ("dollars", "dollars_per_month", "dollars_per_year")
NAMES = ("own", "rent", "api", "both")

amounts = st.integers(0, 10**8).map(lambda cents: Fraction(cents, 100))
decimals = st.integers(0, 10**8).map(lambda cents: Decimal(cents) / 100)
parts = st.integers(1, 100).map(lambda percent: Fraction(percent, 100))
changes = st.integers(-50, 100).map(lambda percent: Fraction(percent, 100))
fleets = st.builds(
    Fleet,
    gpus=st.integers(1, 8),
    hosts=st.integers(1, 5),
    tokens_per_second=st.one_of(st.none(), st.integers(10, 10**5).map(Fraction)),
    utilization_ratio=parts,
)
powers = st.builds(
    Power,
    dollars_per_kilowatt_hour=decimals.map(lambda price: price / 1000),
    pue_ratio=st.just(Decimal("1.3")),
    kilowatts_per_host=amounts,
    idle_kilowatts_per_host=amounts,
    price_change_ratio_per_year=changes,
)
bought = st.builds(
    Owned,
    purchase_dollars=decimals,
    gpus=st.just(8),
    in_service=st.just(0),
    in_service_text=st.just(""),
    life_years=st.integers(1, 40).map(lambda quarters: Decimal(quarters) / 4),
    residual_ratio=st.integers(0, 100).map(lambda percent: Decimal(percent) / 100),
    adders_ratio=st.integers(0, 100).map(lambda percent: Decimal(percent) / 100),
    support_dollars_per_year=decimals,
    insurance_dollars_per_year=decimals,
)


@st.composite
def items(draw: st.DrawFn) -> ScenarioItem:
    """An amount paid once, at an interval, or for every month or year."""
    period = draw(st.sampled_from(AMOUNTS))
    once = period == "dollars"
    return ScenarioItem(
        component=draw(st.sampled_from(("staff", "data", "storage"))),
        month=draw(st.integers(1, 12)) if once else None,
        every_months=draw(st.one_of(st.none(), st.integers(1, 7))) if once else None,
        count=draw(parts),
        per="option" if once else draw(st.sampled_from(("option", "host", "gpu"))),
        price_change_ratio_per_year=draw(changes),
        options=draw(st.one_of(st.none(), st.lists(st.sampled_from(NAMES), min_size=1).map(tuple))),
        **{period: draw(amounts)},
    )


counts = st.integers(0, 10**9).map(Fraction)
loads = st.builds(
    Load,
    tokens=st.fixed_dictionaries(
        {"prompt": counts.map(lambda n: n + 1), "cached_prompt": counts, "generation": counts}
    ),
    growth_ratio_per_year=changes,
)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """All four kinds."""
    prices = {kind: draw(amounts) / 10**6 for kind in ("prompt", "cached_prompt", "generation")}
    base = {"base_ratio": draw(parts)} if draw(st.booleans()) else {"base_tokens_per_day": draw(counts)}
    options = (
        Option(
            "own",
            OwnedHosts(draw(bought), refresh=draw(st.booleans())),
            draw(fleets),
            draw(st.one_of(st.none(), powers)),
            prompt_ratio=draw(parts),
            change_ratio_per_year=draw(changes),
        ),
        Option(
            "rent",
            RentedHosts(draw(amounts) / 10**4),
            draw(fleets),
            draw(st.one_of(st.none(), powers)),
            change_ratio_per_year=draw(changes),
        ),
        Option("api", Hosted(prices), generation_ratio=draw(parts), change_ratio_per_year=draw(changes)),
        Option("both", Hybrid("own", "api", **base)),
    )
    return Scenario(
        "x",
        "",
        draw(st.integers(1, 4)),
        Fraction(730),
        draw(loads),
        options,
        tuple(draw(st.lists(items(), max_size=4))),
    )


@examples(40)
@given(scenarios())
def test_years_and_components_sum_to_the_total(scenario: Scenario) -> None:
    """Whichever way it is cut; and in the table to the cent."""
    for option in scenario.options:
        option_course = course(scenario, option)
        assert sum(option_course.components.values()) == option_course.total
        assert sum(month.total for year in option_course.years for month in year) == option_course.total
        assert sum(sum(summed(year).values()) for year in option_course.years) == option_course.total
        assert option_course.cumulated_paid()[-1] == option_course.paid
        assert sum(shares_of(option_course.components).values()) == (1000 if option_course.total else 0)
    tco_answer = answer(scenario)
    lines = [line.split() for line in text(tco_answer).splitlines()]
    years = [line[2:] for line in lines if line[:1] == ["year"] and "." in line[2]][: scenario.horizon_years]
    (total,) = [line[1:] for line in lines if line[:1] == ["total"]]
    for index, cents in enumerate(total):
        assert Decimal(cents.replace(",", "")) == sum(Decimal(year[index].replace(",", "")) for year in years)


@examples(40)
@given(scenarios())
def test_what_is_paid_is_what_accrues_and_what_is_left(scenario: Scenario) -> None:
    """On the straight line the bank and the books differ by what the hardware is worth at the end."""
    for option in scenario.options:
        option_course = course(scenario, option)
        assert option_course.paid - option_course.worth == option_course.total


@examples(40)
@given(scenarios())
def test_doubling_every_price_doubles_every_total(scenario: Scenario) -> None:
    """Of the options, of electricity, and of items."""

    def doubled(option: Option) -> Option:
        dear = replace(option, price_factor=TWICE)
        if dear.power is None:
            return dear
        kilowatt_hour = dear.power.dollars_per_kilowatt_hour * 2
        return replace(dear, power=structs.replace(dear.power, dollars_per_kilowatt_hour=kilowatt_hour))

    def doubled_item(item: ScenarioItem) -> ScenarioItem:
        amounts = {name: getattr(item, name) for name in AMOUNTS}
        dear = {name: amount * 2 for name, amount in amounts.items() if amount is not None}
        return structs.replace(item, **dear)

    twice = replace(
        scenario,
        options=tuple(map(doubled, scenario.options)),
        items=tuple(map(doubled_item, scenario.items)),
    )
    for option, dear in zip(scenario.options, twice.options, strict=True):
        once = course(scenario, option)
        both = course(twice, dear)
        assert both.components == {name: 2 * amount for name, amount in once.components.items()}
        assert (both.paid, both.worth) == (2 * once.paid, 2 * once.worth)


@examples(40)
@given(scenarios())
def test_a_hybrid_with_everything_on_its_base_is_its_base(scenario: Scenario) -> None:
    """Month by month, where the hosted part has no items of its own."""
    items = tuple(structs.replace(item, options=None) for item in scenario.items)
    for both in (
        Option("both", Hybrid("own", "api", base_ratio=Fraction(1))),
        Option("both", Hybrid("own", "api", base_tokens_per_day=Fraction(10**15))),
    ):
        whole = replace(scenario, options=(*scenario.options[:3], both), items=items)
        own, all_own = course(whole, whole.options[0]), course(whole, both)
        assert [month.paid for month in own.months] == [month.paid for month in all_own.months]
        assert (own.components, own.worth) == (all_own.components, all_own.worth)


@examples(40)
@given(scenarios())
def test_a_hybrid_with_nothing_on_its_base_still_pays_for_its_hosts(scenario: Scenario) -> None:
    """All tokens are bought as if there were no base."""
    both = Option("both", Hybrid("own", "api", base_ratio=Fraction(0)))
    none = replace(scenario, options=(*scenario.options[:3], both))
    bought = course(none, none.options[2]).components.get("hosted", 0)
    assert course(none, both).components.get("hosted", 0) == bought


@examples(40)
@given(scenarios())
def test_break_even_is_where_the_curves_cross(scenario: Scenario) -> None:
    """At that load both totals are equal, exactly; a little below, hosts cost more, and above it less."""
    assert scenario.load is not None
    for point in break_evens(scenario):
        if point.tokens_per_day is None:
            continue
        hosts, api = scenario.option(point.option), scenario.option(point.hosted)

        def difference(tokens: Fraction, hosts: Option = hosts, api: Option = api) -> Fraction:
            at = steady(scenario, scenario.load, tokens / scenario.load.total)
            return course(at, hosts).total - course(at, api).total

        assert difference(point.tokens_per_day) == 0
        assert course(
            steady(scenario, scenario.load, point.tokens_per_day / scenario.load.total), hosts
        ).months[0].hosts in (point.hosts, 1 if point.tokens_per_day == 0 else point.hosts)
        assert difference(point.tokens_per_day * Fraction(999_999, 1_000_000)) > 0
        if point.lasting_tokens_per_day is not None:
            for factor in (1, 2, 3, 7, 50):
                assert difference(point.lasting_tokens_per_day * factor) <= 0


@examples(40)
@given(scenarios())
def test_the_break_even_month_is_where_the_payments_cross(scenario: Scenario) -> None:
    """Before it the other has paid less or as much; at its end this one has."""
    courses = {option.name: course(scenario, option) for option in scenario.options}
    for race in races(scenario, list(courses.values())):
        for turn in race.crossings:
            (other,) = set(race.options) - {turn.cheaper}
            mine, theirs = courses[turn.cheaper].cumulated_paid(), courses[other].cumulated_paid()
            assert mine[turn.month - 1] < theirs[turn.month - 1]
            assert mine[turn.month - 2] >= theirs[turn.month - 2]
