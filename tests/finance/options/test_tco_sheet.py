"""An answer as tables and as JSON."""

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from exporter.finance.options import scenario as scenario_file
from exporter.finance.options.breakeven import BreakEven, Crossing, Race
from exporter.finance.options.measurement import Measurement
from exporter.finance.options.option import AsMeasured, Option
from exporter.finance.options.scenario import ScenarioItem
from exporter.finance.options.tco import TcoAnswer, answer
from exporter.finance.options.tco_report import as_json, assumptions, loads_met, number, races, text
from tests.finance.options.scenario_builders import (
    MILLION,
    hosted,
    load,
    once,
    owned,
    rented,
    scenario,
    yearly,
)
from tests.kit.units import HOUR

OWNED_IN_WORDS = (
    "1 host of 8 GPUs at 1,234.5 dollars a host, written off over 2.5 years, residual 12.5 %, "
    "cost of capital 8 %, insurance 5 a year, then kept, -10 % a year"
)
ONE_HOST_ONLY = (
    "a costs no more than b from 5 on, up to what 1 host can serve; one more costs more than it saves."
)
HOSTED_IN_WORDS = (
    "1 dollars per million prompt tokens, 0.1 cached, 1 generated; "
    "5 prompt tokens for one of the load; 0.5 generation tokens for one of the load"
)


def example(name: str) -> TcoAnswer:
    return answer(scenario_file.parsed(scenario_file.example(name), name))


@pytest.mark.parametrize("name", ["tco/four-ways.txt", "tco/self-hosted.txt"])
def test_tables(name: str, golden: Callable[[str, bytes], None]) -> None:
    """The whole answer for people."""
    golden(name, text(example(Path(name).stem)).encode())


def test_json(golden: Callable[[str, bytes], None]) -> None:
    """The whole answer for machines."""
    golden("tco/four-ways.json", as_json(example("four-ways")).encode())


@pytest.mark.parametrize("name", scenario_file.examples())
def test_json_sums_as_the_table_does(name: str) -> None:
    """Years and components to the total in cents; shares to one, within their rounding."""
    for option in json.loads(as_json(example(name)))["options"]:
        total = round(100 * option["total_dollars"])
        assert sum(round(100 * year["dollars"]) for year in option["years"]) == total
        assert sum(round(100 * dollars) for dollars in option["components"].values()) == total
        assert sum(round(1000 * share) for share in option["share_ratios"].values()) == 1000
        assert option["paid_by_month_end_dollars"][-1] == option["paid_dollars"]
        for year in option["years"]:
            assert abs(sum(year["components"].values()) - year["dollars"]) < 0.011


def test_what_is_not_known_is_absent() -> None:
    """No load: no cost per token, no break-even by load, no sensitivity to load; no throughput: not busy."""
    bare = answer(scenario(rented()))
    document = json.loads(as_json(bare))
    assert (document["load"], document["measured"], document["load_sensitivity"]) == (None, None, None)
    assert document["options"][0]["dollars_per_million_tokens"] is None
    assert document["options"][0]["years"][0]["busy_ratio"] is None
    assert document["break_even_months"] == document["break_even_tokens_per_day"] == []
    table = text(bare)
    assert "tokens a day" not in table
    assert "Break-even" not in table
    assert "per million tokens of the load          -\n" in table


def test_cents_of_years_sum_to_the_total() -> None:
    """A third of a dollar each year is 34, 33 and 33 cents of one dollar."""
    item = ScenarioItem(component="staff", dollars_per_year=Fraction(1, 3))
    given = scenario(rented(dollars="0"), years=3, items=(item,))
    lines = [line.split() for line in text(answer(given)).splitlines()]
    assert [line[-1] for line in lines if line[:1] in (["year"], ["total"])][:4] == [
        "0.34",
        "0.33",
        "0.33",
        "1.00",
    ]


@pytest.mark.parametrize(
    ("race", "message"),
    [
        (Race(("a", "b"), 12, None, ()), "a and b: the same in every month."),
        (Race(("a", "b"), 12, "b", ()), "b is cheaper than a in every month."),
        (
            Race(("a", "b"), 12, "b", (Crossing(7, "a"),)),
            "b is cheaper than a at first, then a from month 7 on.",
        ),
        (
            Race(("a", "b"), 12, "a", (Crossing(7, "b"), Crossing(9, "a"))),
            "a is cheaper than b at first, then b from month 7 on, then a from month 9 on.",
        ),
    ],
)
def test_months_in_words(race: Race, message: str) -> None:
    """A sentence for each pair."""
    assert list(races(replace(answer(scenario(rented())), races=(race,)))) == [message]


@pytest.mark.parametrize(
    ("break_even", "message"),
    [
        (BreakEven("a", "b", "always"), "a costs no more than b at the smallest load already."),
        (BreakEven("a", "b", "never"), "a costs more than b at any load."),
        (
            BreakEven("a", "b", "at", Fraction(2_000_001, 2), 1, Fraction(2_000_001, 2)),
            "a costs no more than b from 1,000,001 on, with 1 host.",
        ),
        (
            BreakEven("a", "b", "at", Fraction(5), 1000, Fraction(7000)),
            "a costs no more than b from 5 on, up to what 1,000 hosts can serve, and for good from 7,000 on.",
        ),
        (
            BreakEven("a", "b", "at", Fraction(5), 1, None),
            ONE_HOST_ONLY,
        ),
        (
            BreakEven("a", "b", "at", Fraction(5), 1, Fraction(5), throughput_known=False),
            "a costs no more than b from 5 on, if its hosts serve that, which is not known.",
        ),
    ],
)
def test_loads_in_words(break_even: BreakEven, message: str) -> None:
    """A sentence for each option with hosts against each hosted one."""
    assert list(loads_met(replace(answer(scenario(rented())), break_evens=(break_even,)))) == [message]


def test_what_was_measured_is_told() -> None:
    """From which days, over how many metered hours, and what had no price."""
    measured = Measurement(
        "2026-11-01",
        "2026-11-30",
        covered=700 * HOUR + HOUR // 2,
        unpriced=3 * HOUR,
        left_out=2,
        load=load(MILLION),
        option=Option(
            "measured", AsMeasured({"rent": Fraction(10)}), source="measured: x", as_of="2026-11-30"
        ),
    )
    tco_answer = answer(scenario(hosted(), load=load()), measured)
    output = text(tco_answer)
    assert (
        "Load and option measured: 700.5 metered hours from 2026-11-01 to 2026-11-30, as a mean day.\n"
        "2 days are left out: 3.0000 GPU-hours have no price, and what they cost is not known.\n"
    ) in output
    assert (
        "measured: 10.00 dollars a day, as the ledger posted them. [measured: x; as of 2026-11-30]" in output
    )
    assert json.loads(as_json(tco_answer))["measured"] == {
        "first_day": "2026-11-01",
        "last_day": "2026-11-30",
        "covered_seconds": 700.5 * 3600,
        "unpriced_gpu_seconds": 10800,
        "days_left_out": 2,
        "estimated_dollars_per_day": 0,
    }
    # 10 dollars a day against a dollar a million: the ledger does not know how much more its hosts serve
    assert list(loads_met(tco_answer)) == [
        "measured costs no more than api from 10,000,000 on, if its hosts serve that, which is not known."
    ]


def test_assumptions_in_words() -> None:
    """Every number of the scenario is in them."""
    options = (
        owned(
            life="2.5",
            purchase="1234.5",
            residual_ratio="0.125",
            cost_of_capital_ratio="0.08",
            insurance_dollars_per_year="5",
            refresh=False,
            change="-0.1",
        ),
        hosted(cached="0.1", prompt_ratio=Fraction(5), generation_ratio=Fraction(1, 2)),
    )
    items = (
        once(5, month=3, every_months=4, what="runs", count=Fraction(3, 2)),
        yearly(per="gpu", options=("own",), price_change_ratio_per_year=Fraction(3, 100)),
    )
    lines = [
        (assumption.what, assumption.value)
        for assumption in assumptions(scenario(*options, load=load(growth="-0.5"), items=items))
    ]
    assert lines == [
        ("load", "10,000,000 prompt tokens a day in year 1, -50 % a year"),
        (
            "own",
            OWNED_IN_WORDS,
        ),
        (
            "api",
            HOSTED_IN_WORDS,
        ),
        ("data", "1.5 x 5 dollars in month 3 and every 4 months after (runs)"),
        ("staff", "12,000 dollars a year per gpu, for own, +3 % a year"),
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [(Fraction(1, 3), "0.333333"), (Fraction(1000), "1,000"), (Fraction("1234.50"), "1,234.5")],
)
def test_numbers(value: Fraction, message: str) -> None:
    """Exact to six decimals, and nothing at their end."""
    assert number(value) == message


UNKNOWN = (
    "its throughput is not given, so {} taken to serve any load. Give tokens_per_second_per_host and "
    "utilization_ratio to have hosts added."
)


def test_a_fleet_whose_throughput_nobody_gave_says_that_it_never_grows(tmp_path: Path) -> None:
    """Beside the hosts, with what to give; without a load there is nothing that it could grow with."""
    path = tmp_path / "guess.yaml"
    options = (
        "options: [{name: one, rented: {dollars_per_host_hour: 1, gpus_per_host: 1}}, "
        "{name: two, rented: {dollars_per_host_hour: 1, gpus_per_host: 1, hosts: 2}}, "
        "{name: sure, rented: {dollars_per_host_hour: 1, gpus_per_host: 1, tokens_per_second_per_host: 9, "
        "utilization_ratio: 1}}]\n"
    )
    path.write_text(f"name: x\nhorizon_years: 1\nload: {{prompt_tokens_per_day: 9000}}\n{options}")
    tco_answer = answer(scenario_file.scenario(path))

    output = " ".join(text(tco_answer).split())
    assert f"one: {UNKNOWN.format('1 host is')}" in output
    assert f"two: {UNKNOWN.format('2 hosts are')}" in output
    assert "sure: its throughput" not in output
    throughputs = {
        option["name"]: option["throughput_known"] for option in json.loads(as_json(tco_answer))["options"]
    }
    assert throughputs == {"one": False, "two": False, "sure": True}

    path.write_text(f"name: x\nhorizon_years: 1\n{options}")
    assert "throughput is not given" not in " ".join(text(answer(scenario_file.scenario(path))).split())


def test_what_is_bought_has_no_throughput() -> None:
    """Null in JSON: it has no hosts."""
    document = json.loads(as_json(example("four-ways")))["options"]

    assert {option["name"]: option["throughput_known"] for option in document} == {
        "owned": True,
        "rented": True,
        "hosted": None,
        "hybrid": None,
    }
