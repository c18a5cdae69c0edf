"""The scenarios that come with the program: run, and held against totals that are derived by hand.

The derivations stand in docs/cost-model.md, under the same names; tests/cost/tco_examples.py runs them.
"""

from decimal import Decimal
from fractions import Fraction

import pytest

from exporter.config import ConfigError
from exporter.finance.options import scenario as scenario_file
from exporter.finance.options.breakeven import Crossing
from exporter.finance.options.tco import TcoAnswer, answer
from exporter.finance.options.tco_report import assumptions, money, shares_of

NAMES = (
    "cloud-model",
    "fine-tuning",
    "four-ways",
    "owned-a100",
    "retrieval",
    "self-hosted",
    "smaller-model",
)


def run(name: str) -> TcoAnswer:
    return answer(scenario_file.parsed(scenario_file.example(name), name))


def totals(tco_answer: TcoAnswer) -> dict[str, str]:
    return {option.option: money(option.total) for option in tco_answer.courses}


def test_the_examples() -> None:
    """Each stands under its name; another name tells which there are."""
    assert scenario_file.examples() == NAMES
    with pytest.raises(ConfigError) as caught:
        scenario_file.example("../scenario")
    assert str(caught.value) == f"../scenario: is no example; there are {', '.join(NAMES)}"


@pytest.mark.parametrize("name", NAMES)
def test_every_assumption_says_where_it_comes_from(name: str) -> None:
    """A source, and a day where it is a price that changes: only what is assumed or told has none."""
    for assumed in assumptions(run(name).scenario):
        assert assumed.source, assumed
        dated = assumed.as_of or "the Daily Scout" in assumed.source
        assert dated or "ssumed" in assumed.source or assumed.what == "hybrid", assumed


def test_one_model_in_the_cloud_passes_27000_dollars_a_month() -> None:
    """40.55038 x 730 = 29,601.78 a month."""
    (option,) = run("cloud-model").courses
    assert money(option.total / 12) == "29,601.78"
    assert option.total / 12 > 27_000


def test_three_years_of_a_self_hosted_system_are_near_2_32_million_dollars() -> None:
    """2,318,413.41, of which people are 69.4 percent: near 2.32 million and about 70 percent."""
    tco_answer = run("self-hosted")
    (own,) = tco_answer.courses
    assert totals(tco_answer) == {"self-hosted": "2,318,413.41"}
    assert own.components["staff"] == 2 * 268_000 * 3
    assert shares_of(own.components)["staff"] == 694
    assert {money(amount) for amount in own.components.values()} == {
        "322,000.00",
        "84,000.00",
        "45,033.41",
        "1,608,000.00",
        "180,000.00",
        "43,200.00",
        "36,000.00",
        "180.00",
    }


def test_owned_a100s_at_both_ends_of_their_price() -> None:
    """Rented ones are undercut in month 7 at 10,000 dollars each, and in month 14 at 20,000."""
    tco_answer = run("owned-a100")
    assert totals(tco_answer) == {
        "owned-at-10000": "169,607.23",
        "owned-at-20000": "313,607.23",
        "rented": "721,308.47",
    }
    assert [race.crossings for race in tco_answer.races] == [
        (),
        (Crossing(7, "owned-at-10000"),),
        (Crossing(14, "owned-at-20000"),),
    ]


def test_a_run_costs_next_to_nothing_beside_its_data() -> None:
    """12 runs are 60 dollars; 4 sources are 6,000 to 60,000."""
    tco_answer = run("fine-tuning")
    assert totals(tco_answer) == {"cheap-data": "22,362.36", "dear-data": "76,362.36"}
    assert [option.components["fine-tuning"] for option in tco_answer.courses] == [60, 60]
    assert [option.components["data"] for option in tco_answer.courses] == [6000, 60_000]


def test_a_smaller_model_against_a_larger_one() -> None:
    """Both need a second host when the load doubles; the larger one hosted is cheaper still."""
    tco_answer = run("smaller-model")
    assert totals(tco_answer) == {
        "large-70b": "1,446,451.20",
        "small-8b-tuned": "255,926.40",
        "hosted-70b": "197,100.00",
    }
    assert [[year[0].hosts for year in option.years] for option in tco_answer.courses] == [
        [1, 2],
        [1, 2],
        [0, 0],
    ]


def test_longer_prompts_cost_in_proportion_or_by_the_host() -> None:
    """5 times the prompt tokens: 9,125 instead of 2,409 dollars bought, 2 hosts instead of 1 rented."""
    tco_answer = run("retrieval")
    assert totals(tco_answer) == {
        "hosted": "2,409.00",
        "hosted-retrieval": "10,325.00",
        "rented": "91,915.53",
        "rented-retrieval": "185,031.05",
    }
    assert [option.months[0].hosts for option in tco_answer.courses] == [0, 0, 1, 2]


def test_four_ways() -> None:
    """What is owned has worth left; the load at which it is cheaper than tokens fits one host."""
    tco_answer = run("four-ways")
    assert totals(tco_answer) == {
        "owned": "1,005,857.78",
        "rented": "1,435,680.00",
        "hosted": "1,248,300.00",
        "hybrid": "1,224,793.80",
    }
    assert [money(option.worth) for option in tco_answer.courses] == [
        "241,500.00",
        "0.00",
        "0.00",
        "80,500.00",
    ]
    owned = tco_answer.break_evens[0]
    assert (owned.option, owned.hosted, owned.hosts) == ("owned", "hosted", 1)
    assert owned.tokens_per_day is not None
    # a year: 80,500 + 28,000 + 134,000 + 3,600 + 3.4 kW x 8,760 h x 0.168 = 251,103.712; a token saves
    # 0.72 / 10^6 x 365 less 6.8 kW x 8,760 h x 0.168 / 2.592 x 10^9 = 0.0000038609 of electricity
    fixed = Fraction(Decimal("251103.712"))
    saved = Fraction(Decimal("262.8")) / 10**6 - Fraction(Decimal("10007.424")) / (2_592_000_000)
    assert owned.tokens_per_day == fixed / saved
