"""What the measured option leaves open is told wherever it is compared."""

import json
from dataclasses import replace
from fractions import Fraction

import pytest

from exporter.finance.options.chart import chart
from exporter.finance.options.measurement import Measurement
from exporter.finance.options.option import AsMeasured, Load, Option
from exporter.finance.options.scenario import ScenarioItem
from exporter.finance.options.tco import TcoAnswer, answer
from exporter.finance.options.tco_report import as_json, races, text
from tests.finance.options.scenario_builders import MILLION, fleet, load, owned, rented, scenario, yearly
from tests.kit.units import DAY

PRICES = "measured stands at the mean of its days and at their prices in "


def measured(growth: str, years: int = 3, items: tuple[ScenarioItem, ...] = (), rent: str = "2") -> TcoAnswer:
    """10 million tokens a day for 10 dollars, beside a host that could serve 40 million."""
    spending = AsMeasured({"rent": Fraction(10)})
    mean_day = Measurement("2026-11-01", "2026-11-30", 30 * DAY, 0, 0, load(), Option("measured", spending))
    hosts = fleet(a_day=40 * MILLION)
    given = scenario(rented(dollars=rent, hosts=hosts), load=load(growth=growth), years=years, items=items)
    return answer(given, mean_day)


def test_a_load_that_outgrows_what_was_measured_is_not_compared() -> None:
    """1.5 x 1.5 times the load by year 3: no verdict on months 13 to 36, and no price per million."""
    tco_answer = measured("0.5")
    document = json.loads(as_json(tco_answer))

    assert list(races(tco_answer)) == ["measured is cheaper than rent in each of the first 12 months."]
    assert tco_answer.caveats == (
        f"{PRICES}each of the 3 years: what changed since, or will, is not in it.",
        (
            "The load comes to 2.25 times what was measured. Whether its hosts serve that is not known, so "
            "measured is compared for year 1 alone: its later years cost what year 1's load does."
        ),
    )
    assert document["break_even_months"][0]["compared_months"] == 12
    assert document["caveats"] == list(tco_answer.caveats)
    prices = {option["name"]: option["dollars_per_million_tokens"] for option in document["options"]}
    assert prices["measured"] is None
    # 2 dollars an hour for 26,280 hours; 3,650 million tokens in year 1, and 1.5 and 2.25 times that
    assert prices["rent"] == pytest.approx(2 * 26_280 / (3650 * 4.75))


def test_what_changes_after_the_first_year_is_no_crossing() -> None:
    """A rent that falls below it in year 2 is told where the load stays, and not where it grows."""
    spending = AsMeasured({"rent": Fraction(10)})
    mean_day = Measurement("2026-11-01", "2026-11-30", 30 * DAY, 0, 0, load(), Option("measured", spending))
    cheap = replace(rented(dollars="0.5"), change_ratio_per_year=Fraction(-9, 10))

    def caveats_at(growth: str) -> list[str]:
        return list(races(answer(scenario(cheap, load=load(growth=growth), years=2), mean_day)))

    # 10 dollars a day against 12, and against 1.20 in year 2: 730 dollars ahead, less 267.67 a month
    assert caveats_at("0") == ["measured is cheaper than rent at first, then rent from month 15 on."]
    assert caveats_at("0.5") == ["measured is cheaper than rent in each of the first 12 months."]


def test_what_estimated_prices_make_of_it_is_told() -> None:
    """4.50 of 10 dollars a day, in the text, its assumptions and the JSON; nothing without estimates."""
    spending = AsMeasured({"rent": Fraction(10)}, Fraction(9, 2))
    mean_day = Measurement("2026-11-01", "2026-11-30", 30 * DAY, 0, 0, load(), Option("measured", spending))
    tco_answer = answer(scenario(rented(), years=1), mean_day)
    sentence = "4.50 of 10.00 dollars a day of measured come from estimated prices"

    assert f"{sentence}." in tco_answer.caveats
    assert text(tco_answer).count(sentence) == 2
    assert json.loads(as_json(tco_answer))["measured"]["estimated_dollars_per_day"] == 4.5
    assert sentence in chart(tco_answer)
    assert not [caveat for caveat in measured("0").caveats if "estimated" in caveat]


@pytest.mark.parametrize(("growth", "years"), [("0", 3), ("-0.5", 3), ("0.5", 1)])
def test_a_load_that_was_measured_is_compared(growth: str, years: int) -> None:
    """One that stays, falls, or ends with its first year: hosts that serve it are there."""
    tco_answer = measured(growth, years)

    assert list(races(tco_answer)) == ["measured is cheaper than rent in every month."]
    assert [caveat.partition(" in ")[0] for caveat in tco_answer.caveats] == [PRICES.removesuffix(" in ")]
    assert json.loads(as_json(tco_answer))["options"][0]["dollars_per_million_tokens"] is not None


def test_items_that_only_others_pay_are_named() -> None:
    """Each component once; what everybody pays is in both."""
    tco_answer = measured(
        "0", items=(yearly(options=("rent",)), yearly("network", options=("rent",)), yearly("data"))
    )

    assert tco_answer.caveats[1:] == (
        (
            "Paid by others and not in measured: staff, network. "
            "List `measured` in the options of an item that it pays as well."
        ),
    )
    assert len(measured("0", items=(yearly(), yearly("x", options=("rent", "measured")))).caveats) == 1


def test_at_a_higher_load_than_was_measured_it_has_no_price() -> None:
    """Of 4, 12, 24 and 36 million tokens a day the first alone is within the 10 that were measured."""
    tco_answer = measured("0")
    assert tco_answer.loads is not None

    prices = [level.dollars_per_million_tokens.get("measured") for level in tco_answer.loads.levels]
    assert [level.tokens_per_day for level in tco_answer.loads.levels] == [
        n * MILLION for n in (4, 12, 24, 36)
    ]
    assert prices == [Fraction(10, 4), None, None, None]
    (row,) = [
        line for line in text(tco_answer).splitlines() if line.startswith("measured") and "2.5000" in line
    ]
    assert row.split() == ["measured", "2.5000", "-", "-", "-"]


def test_they_stand_beside_the_headline_under_the_assumptions_and_in_the_chart() -> None:
    """Whoever reads one of them reads the caveats."""
    tco_answer = measured("0.5", items=(yearly(options=("rent",)),))
    one_line = " ".join(text(tco_answer).split())
    headline = one_line.partition("Break-even by month")[2].partition("Break-even by load")[0]
    below = one_line.partition(" Assumptions ")[2]

    for caveat in tco_answer.caveats:
        assert caveat in headline
        assert f"measured, with the others: {caveat.rstrip('.')}. [no source given]" in below
        assert caveat in chart(tco_answer)
    assert max(map(len, text(tco_answer).splitlines())) <= 110


def test_without_a_measurement_nothing_is_said() -> None:
    """Assumed loads grow as they are assumed to, with hosts that are added."""
    tco_answer = answer(scenario(rented(), owned(), load=Load({"prompt": Fraction(1)}, Fraction(1)), years=3))

    assert tco_answer.caveats == ()
    assert json.loads(as_json(tco_answer))["break_even_months"][0]["compared_months"] == 36
    assert "with the others" not in text(tco_answer)
