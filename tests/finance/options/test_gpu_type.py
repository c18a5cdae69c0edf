"""The load on GPUs of another type: their number, price, and the load at which it turns."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.finance.options.choices import GpuChoice, Outcome, choice
from exporter.finance.options.gpu_type import gpu_type
from exporter.finance.options.load import MeasuredLoad
from exporter.tariff.catalogue import Catalogue
from exporter.tariff.terms import Hardware, HardwareMatch, Listed, Owned, Rented, RentPrice
from tests.finance.options.window_builders import (
    BGE,
    FREE,
    LLAMA,
    MONDAY,
    SEARCH,
    day,
    hour,
    hours,
    measured,
    policy,
)
from tests.kit.units import DOLLAR, HOUR


def outcome(load: MeasuredLoad, text: str, **changes: object) -> Outcome:
    parsed = choice(text)
    assert isinstance(parsed, GpuChoice)
    return gpu_type(load, parsed, policy(**changes))


def peak(number: int) -> int:
    """9 million tokens at noon, 1 million in every other hour: 32 million a day."""
    return 9_000_000 if number == 12 else 1_000_000


def test_the_hour_after_an_outage_is_no_peak() -> None:
    """8 million of hour 13 came in four hours: 2 million each. One GPU serves 3.6 million an hour."""
    window = hours(
        24, lambda number: hour(tokens={10: 0, 11: 0, 12: 0, 13: 8_000_000}.get(number, 1_000_000))
    )
    for number in (10, 11, 12):
        window[MONDAY + number].moved[LLAMA, "generation"] = 2_000_000
    window[MONDAY + 13].moved[LLAMA, "generation"] = -6_000_000
    sized = outcome(measured(window), "gpu=L40S:1000tok/s@1.50")

    assert (sized.figures["gpus"], sized.figures["peak_hour_tokens"]) == (1, 2_000_000)
    assert sized.evidence[2] == (
        "Counted after hours without observation, and spread over them: 6,000,000 tokens."
    )


def test_the_peak_hour_decides() -> None:
    """A GPU serves 3.6 million an hour: 3 for 9 million, and 72 GPU-hours at 1.50 are 108 dollars.

    As needed, 23 hours need 1 GPU and one needs 3: 26 GPU-hours, 39 dollars, 1,186.25 a month.
    """
    sized = outcome(day(peak), "gpu=L40S:1000tok/s@1.50")

    assert sized.cost == 108 * DOLLAR
    assert sized.figures["gpus"] == 3
    assert sized.figures["gpu_hours_by_need"] == 26
    assert sized.evidence == (
        "3 GPUs: the peak hour had 9,000,000 tokens, one GPU serves 3,600,000.",
        "As many as each hour needs: 26.0 GPU-hours, 1,186.25 dollars a month.",
    )


def test_a_part_of_an_hour_has_the_load_of_a_part() -> None:
    """A node that is on for 20 minutes of each hour: 3 million tokens then, and a GPU serves 1.2 million.

    3 GPUs for 24 x 20 minutes at 1.50 are 36 dollars; one for as long would serve 28.8 of 72 million. The
    node's 48 dollars pay 4 GPUs, each of which serves 1.2 / 3 of the day: it turns at 115.2 million.
    """
    sized = outcome(day(lambda _: 3_000_000, dollars=2, covered=HOUR // 3), "gpu=L40S:1000tok/s@1.50")

    assert (sized.figures["gpus"], sized.cost) == (3, 36 * DOLLAR)
    assert sized.figures["gpu_hours_by_need"] == 24
    assert sized.evidence[0] == (
        "3 GPUs: the peak hour had 3,000,000 tokens in 20.0 metered minutes, one GPU serves 1,200,000."
    )
    assert sized.turn is not None
    assert sized.turn.tokens_per_day == 115_200_000


def test_minutes_of_metering_are_no_peak() -> None:
    """Metering began a minute before an hour's end: its tokens are taken as those of ten minutes."""
    window = hours(24, lambda number: hour(tokens=100_000, covered=HOUR // 60 if number == 0 else HOUR))

    sized = outcome(measured(window), "gpu=L40S:1000tok/s@1.50")

    assert sized.figures["gpus"] == 1


def test_where_it_turns() -> None:
    """144 dollars pay 4 GPUs at 36 a day. One serves 32 x 3.6 / 9 = 12.8 million of such a day."""
    turn = outcome(day(peak), "gpu=L40S:1000tok/s@1.50").turn

    assert turn is not None
    assert (turn.verdict, turn.tokens_per_day, turn.below) == ("at", 51_200_000, "choice")


def test_replicas_of_several_gpus() -> None:
    """3.6 million an hour by 2 GPUs: 3 replicas for 9 million, 6 GPUs, 144 GPU-hours at 0.75 are 108 dollars.

    As needed, 26 hours of a replica are 52 GPU-hours. 144 dollars pay 4 replicas: it turns as above.
    """
    sized = outcome(day(peak), "gpu=2xL40S:1000tok/s@0.75")

    assert (sized.cost, sized.figures["gpus"], sized.figures["gpu_hours_by_need"]) == (108 * DOLLAR, 6, 52)
    assert sized.evidence[0] == "6 GPUs: the peak hour had 9,000,000 tokens, 2 GPUs serve 3,600,000."
    assert sized.turn is not None
    assert sized.turn.tokens_per_day == 51_200_000


def test_the_load_put_back_turns() -> None:
    """At 51.2 million a day, 1.6 times the load, 4 GPUs cost what is paid now; a token more needs a fifth."""
    at = day(lambda number: peak(number) * 8 // 5)
    beyond = day(lambda number: peak(number) * 8 // 5 + (number == 12))

    assert outcome(at, "gpu=L40S:1000tok/s@1.50").cost == 144 * DOLLAR == at.whole.paid
    assert outcome(beyond, "gpu=L40S:1000tok/s@1.50").cost == 180 * DOLLAR


def test_the_present_gpus_cost_what_was_paid() -> None:
    """Two H100s at 3 dollars that just serve the peak."""
    load = day(peak)

    assert outcome(load, "gpu=H100:1250tok/s@3").cost == load.whole.paid


@given(
    st.lists(st.integers(0, 10**9), min_size=24, max_size=72).filter(any),
    st.integers(1, 8),
    st.integers(1, 10**6),
)
def test_any_present_fleet_costs_what_was_paid(tokens: list[int], gpus: int, cents: int) -> None:
    """So many GPUs at one price at all hours, each serving its part of the peak hour."""
    paid = gpus * cents * DOLLAR // 100
    window = hours(len(tokens), lambda number: hour(1, gpus, tokens[number]))
    load = measured(
        {number: replace(each, money=dict.fromkeys(each.money, paid)) for number, each in window.items()}
    )
    rate = Fraction(max(tokens), 3600 * gpus)
    present = GpuChoice("gpu=H100", "H100", rate, "all", Decimal(cents) / 100)

    assert gpu_type(load, present, policy()).cost == load.whole.paid


def test_generated_tokens_alone() -> None:
    """Prompt tokens are no demand by `out/s`: 1,000 an hour need one GPU of 0.5 out/s (1,800 an hour)."""
    window = hours(24, lambda _: hour(tokens=1000))
    for each in window.values():
        each.tokens[next(iter(each.tokens))[0], "prompt"] = 10**9

    assert outcome(measured(window), "gpu=L40S:0.5out/s@1").figures["gpus"] == 1
    assert outcome(measured(window), "gpu=L40S:0.5tok/s@1").figures["gpus"] == 555_557


def test_hours_that_were_not_metered_are_not_paid() -> None:
    """12 of 24 hours are half metered: 18 GPU-hours at 2 dollars."""
    window = hours(24, lambda number: hour(tokens=1, covered=HOUR // (1 + number % 2)))

    assert outcome(measured(window), "gpu=L40S:1tok/s@2").cost == 36 * DOLLAR


def test_a_price_that_is_too_high_for_any_load() -> None:
    """One GPU at 7 dollars an hour costs 168 a day, more than the 144 paid; one for nothing never does."""
    dear, free = (outcome(day(), f"gpu=L40S:1000tok/s@{price}").turn for price in (7, 0))

    assert dear is not None
    assert free is not None
    assert (dear.verdict, free.verdict) == ("never", "always")


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        ("gpu=L40S", {}, "no measurement comes with the program: give yours, like gpu=L40S:2400tok/s"),
        (
            "gpu=L4OS:5tok/s",
            {},
            "GPU L4OS, but L40S or L4; its price can be given: write it like gpu=L4OS:5tok/s@1.10",
        ),
        ("gpu=Abacus:5tok/s", {}, "the catalogue knows no GPU Abacus; its price can be given"),
        ("gpu=GB10:5tok/s", {}, "the catalogue has no price: "),
        ("gpu=L40S:5tok/s", {"unmatched": "unpriced"}, "unmatched_hardware takes no estimate"),
    ],
)
def test_no_price_no_figure(text: str, changes: dict[str, object], message: str) -> None:
    """It says why, and how to give one."""
    refused = outcome(day(), text, **changes)

    assert refused.cost is None
    assert message in refused.lack


def test_no_load_no_figure() -> None:
    """Without tokens, and without generated ones."""
    prompts = measured(hours(24, lambda _: hour(tokens=5, kind="prompt")))

    assert outcome(day(lambda _: 0), "gpu=L40S:5tok/s@1").lack == (
        "no token was counted: there is no load to size GPUs by"
    )
    assert outcome(prompts, "gpu=L40S:5out/s@1").lack == (
        "no generated token was counted: there is no load to size GPUs by"
    )


def test_one_throughput_is_of_one_server() -> None:
    """Two servers have two; naming them says that it is of both."""
    window = hours(24, lambda _: hour(tokens=5))
    for each in window.values():
        each.tokens[BGE, "prompt"] = 5
        each.gpu_time[SEARCH] = 1

    assert outcome(measured(window), "gpu=L40S:5tok/s@1").lack == (
        "one throughput for 2 servers: name those that it is of with --server"
    )
    assert outcome(measured(window, "*"), "gpu=L40S:5tok/s@1").cost == 24 * DOLLAR


def test_a_server_without_tokens_stays() -> None:
    """Chat costs 3 dollars an hour, a server without tokens 21, free GPUs 1: 1,200 in 48 hours.

    A GPU at 1.10 takes the place of chat alone: 22 x 48 + 52.80. Chat's 144 pay two of them (105.60). One
    serves 720,000 tokens an hour, and 600 of the peak hour are as many of the mean day: 24 x 720,000.
    """
    window = hours(48, lambda _: hour(3, 1, 600))
    for each in window.values():
        each.money.update({(SEARCH, "rent"): 21 * DOLLAR, (FREE, "rent"): DOLLAR})
        each.gpu_time[SEARCH] = 7 * HOUR
    load = measured(window)

    sized = outcome(load, "gpu=L40S:200tok/s@1.10")

    assert load.whole.paid == 1200 * DOLLAR
    assert sized.cost == Fraction("1108.80") * DOLLAR
    assert "1,056.00 dollars of other servers and free GPUs stay." in sized.evidence
    assert sized.figures["servers_dollars"] == 144
    assert sized.turn is not None
    assert sized.turn.tokens_per_day == 2 * 24 * 720_000


RENT = Rented((RentPrice(Decimal("8.80"), gpus=8, since_text="2026-09-01"),))
OWNED = Owned(Decimal(43_830), 1, 0, "1970-01-01", Decimal(100))
"""43,830 dollars over 876,600 hours: 0.05 an hour."""


@pytest.mark.parametrize(
    ("pattern", "pricing", "dollars", "source", "words"),
    [
        ("*L40S*", RENT, Decimal("1.10"), "hardware[0]", ""),
        ("NVIDIA L40S", RENT, Decimal("1.10"), "hardware[0]", ""),
        ("L40S", OWNED, Decimal("0.05"), "hardware[0]", "Owned: its electricity is not in the price."),
        (
            "L40S",
            Listed("aws", "g6e.xlarge", "us-east-1"),
            Decimal("1.861"),
            "hardware[0]: aws g6e.xlarge us-east-1 on demand (karpenter-aws)",
            "",
        ),
    ],
)
def test_a_rule_that_names_the_type(
    pattern: str, pricing: Rented | Owned | Listed, dollars: Decimal, source: str, words: str
) -> None:
    """The configuration wins over the catalogue, on whatever host such a GPU is; so it is not of one host."""
    match = HardwareMatch(gpu_model=pattern)
    priced = outcome(day(), "gpu=L40S:5tok/s", hardware=(Hardware(match, pricing, "hardware[0]"),))

    assert priced.cost == 24 * dollars * DOLLAR
    assert priced.source == source
    assert words in "".join(priced.evidence)


def test_a_host_of_a_large_cloud() -> None:
    """The lowest list price of the type there, of one GPU."""
    priced = outcome(day(), "gpu=L40S:5tok/s", cloud="aws")

    assert priced.source.startswith("lowest large cloud's list price of L40S: aws g6e.")
    assert priced.cost is not None
    assert Fraction(1) < priced.cost / (24 * DOLLAR) < 2


def test_a_damaged_catalogue(tmp_path: Path) -> None:
    """There is no figure, and the file is named; a price that is given needs none."""
    damaged = Catalogue(tmp_path)

    assert outcome(day(), "gpu=L40S:5tok/s", catalogue=damaged).lack == (
        "the catalogue is damaged: gpu_models.csv cannot be read: No such file or directory"
    )
    assert outcome(day(), "gpu=L40S:5tok/s@1", catalogue=damaged).cost == 24 * DOLLAR


def test_a_rule_without_a_price_now() -> None:
    """Its first price is of the future: no figure, and not the catalogue's."""
    later = Rented((RentPrice(Decimal(1), since=2_000_000_000 * 10**9),))
    rule = Hardware(HardwareMatch(gpu_model="*L40S*"), later, "hardware[3]")

    assert outcome(day(), "gpu=L40S:5tok/s", hardware=(rule,)).lack == (
        "hardware[3] has no price of L40S now; write it like gpu=L40S:5tok/s@1.10"
    )


@pytest.mark.parametrize(
    "owned",
    [
        replace(OWNED, life_years=Decimal(5), support_dollars_per_year=Decimal(100)),
        replace(OWNED, purchase_dollars=Decimal(0)),
        replace(OWNED, residual_ratio=Decimal(1)),
    ],
    ids=["beyond its life", "not bought", "sold for its price"],
)
def test_hardware_that_is_written_off_prices_no_other(owned: Owned) -> None:
    """It costs nothing but its support where it is; another GPU has to be bought."""
    rule = Hardware(HardwareMatch(gpu_model="*L40S*"), owned, "hardware[3]")

    assert outcome(day(), "gpu=L40S:5tok/s", hardware=(rule,)).lack == (
        "hardware[3] prices hardware that is written off: another L40S is not free; "
        "write it like gpu=L40S:5tok/s@1.10"
    )


@pytest.mark.parametrize(
    "match",
    [
        HardwareMatch(host="node-7", gpu_model="L40S"),
        HardwareMatch(uuid="GPU-1", gpu_model="L40S"),
        HardwareMatch(instance_type="g6e.xlarge", gpu_model="L40S"),
        HardwareMatch(lifecycle="spot", gpu_model="L40S"),
        HardwareMatch(region="us-*", gpu_model="L40S"),
        HardwareMatch(node_label=(("pool", "old"),), gpu_model="L40S"),
    ],
)
def test_a_rule_of_some_hosts_prices_no_others(match: HardwareMatch) -> None:
    """The rule behind it does, at 1.10, else the catalogue at 1.09; either way it is told."""
    one = Hardware(match, Rented((RentPrice(Decimal("0.20")),)), "hardware[0]")
    every = Hardware(HardwareMatch(gpu_model="L40S"), RENT, "hardware[1]")
    note = "Priced for some hosts alone, and not taken: hardware[0]."

    for rules, dollars in (((one, every), Fraction("1.10")), ((one,), Fraction("1.09"))):
        priced = outcome(day(), "gpu=L40S:5tok/s", hardware=rules)
        assert priced.cost == 24 * dollars * DOLLAR
        assert note in priced.evidence
    assert note not in outcome(day(), "gpu=L40S:5tok/s", hardware=(every,)).evidence
    unpriced = outcome(day(), "gpu=L40S:5tok/s", hardware=(one,), unmatched="unpriced")
    assert unpriced.lack.startswith("no rule prices L40S on all hosts, and unmatched_hardware takes no")


@pytest.mark.parametrize("pattern", [None, "*", "**", "?*"])
def test_a_rule_for_any_gpu_names_no_type(pattern: str | None) -> None:
    """What a host costs here is no price of another type: the market's 1, 1.09 and 1.55 are."""
    rule = Hardware(HardwareMatch(gpu_model=pattern), RENT, "hardware[0]")
    priced = outcome(day(), "gpu=L40S:5tok/s", hardware=(rule,))

    assert priced.cost == 24 * Fraction("1.09") * DOLLAR
    assert (priced.source, priced.as_of) == (
        "median list price of L40S at crusoe, nebius, runpod",
        "2026-09-25",
    )
    assert "The price is an estimate, neither configured nor a list price." in priced.evidence
