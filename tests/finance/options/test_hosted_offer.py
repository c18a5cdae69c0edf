"""The measured tokens at a hosted API: who moves, what it costs, and the load at which it turns."""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.finance.options.choices import HostedChoice, Outcome, choice
from exporter.finance.options.load import MeasuredLoad, ServedModel
from exporter.finance.options.what_if import hosted_offer
from exporter.readings import ServerKey
from exporter.tariff.catalogue import Catalogue
from exporter.tariff.hosted import HostedPrice
from tests.finance.options.window_builders import BGE, FREE, LLAMA, SEARCH, day, hour, hours, measured, policy
from tests.kit.units import DOLLAR

MILLION = 10**6
CURRENT = HostedPrice("api", Decimal(1), Decimal(2), Decimal("0.5"), model="llama*", as_of="2026-11-24")


def outcome(load: MeasuredLoad, text: str, *offers: HostedPrice) -> Outcome:
    parsed = choice(text)
    assert isinstance(parsed, HostedChoice)
    return hosted_offer(load, parsed, policy(offers=offers))


def mixed() -> MeasuredLoad:
    """A day of chat at 6 dollars an hour: 2 million prompt tokens, 1 cached and 1 generated each hour.

    Beside it, embeddings at 1 dollar, and a free GPU at 3.
    """
    window = hours(24, lambda _: hour(tokens=MILLION))
    for each in window.values():
        each.tokens.update(
            {(LLAMA, "prompt"): 2 * MILLION, (LLAMA, "cached_prompt"): MILLION, (BGE, "prompt"): MILLION}
        )
        each.money.update({(SEARCH, "rent"): DOLLAR, (FREE, "rent"): 3 * DOLLAR})
    return measured(window)


def test_each_kind_at_its_price() -> None:
    """2 x 1 + 1 x 0.5 + 1 x 2 = 4.50 an hour in place of 6; 1 and 3 stay: 24 x 8.50 = 204."""
    bought = outcome(mixed(), "hosted=api", CURRENT)

    assert bought.cost == 204 * DOLLAR
    assert (bought.source, bought.as_of) == ("compare: api", "2026-11-24")
    assert bought.evidence == (
        "96,000,000 tokens cost 108.00 dollars in the window, and their servers 144.00.",
        "Without an offer, and unchanged: embed.",
        "96.00 dollars of other servers and free GPUs stay.",
    )


def test_where_it_turns() -> None:
    """108 dollars buy the tokens of chat, and 144 are paid: at 4/3 of the 120 million of all servers."""
    turn = outcome(mixed(), "hosted=api", CURRENT).turn

    assert turn is not None
    assert (turn.verdict, turn.tokens_per_day, turn.below) == ("at", 160 * MILLION, "choice")


@given(st.integers(1, 10**9), st.integers(1, 10**6), st.integers(1, 10**4))
def test_the_load_put_back_costs_the_same(tokens: int, cents: int, prompt: int) -> None:
    """At the load at which it turns, in the same mix, the offer costs what is paid now, to the picodollar."""
    bought = outcome(day(lambda _: tokens), f"hosted={prompt}/{cents // 100}.{cents % 100:02d}")
    assert bought.cost is not None
    assert bought.turn is not None
    assert bought.turn.tokens_per_day is not None

    assert bought.cost * bought.turn.tokens_per_day / (24 * tokens) == 144 * DOLLAR


def test_the_present_cost_as_a_price() -> None:
    """144 dollars for 24 million tokens are 6 a million: what was paid."""
    load = day(lambda _: MILLION)
    assert outcome(load, "hosted=6/6").cost == load.whole.paid


def test_an_offer_for_nothing_is_always_cheaper() -> None:
    """And its load never turns."""
    turn = outcome(day(), "hosted=0/0").turn

    assert turn is not None
    assert turn.verdict == "always"


def test_without_a_price_for_cached_tokens() -> None:
    """They cost what prompt tokens do: 3 x 1 + 1 x 2 an hour, and all servers move but for the free GPU."""
    assert outcome(mixed(), "hosted=1/2").cost == (24 * (3 + 2 + 1) + 72) * DOLLAR


def test_the_cheapest_of_a_name() -> None:
    """Two offers of one name for one model: the mix decides."""
    dearer = HostedPrice("api", Decimal(0), Decimal(100), model="llama*")

    assert outcome(mixed(), "hosted=api", dearer, CURRENT).cost == 204 * DOLLAR


def test_a_server_moves_whole_or_stays() -> None:
    """One of its models has no offer: it stays, and there is nothing to buy."""
    window = hours(24, lambda _: hour(tokens=1))
    window[max(window)].tokens[ServedModel(LLAMA.server, "adapter"), "prompt"] = 1

    assert outcome(measured(window), "hosted=api", CURRENT).lack == "api of `compare` covers no server whole"


def test_a_provider_of_the_catalogue() -> None:
    """By the model's name, with the source and its date; a million generated tokens at the listed price."""
    llama = ServedModel(ServerKey("", "chat"), "meta-llama/Llama-3.3-70B-Instruct")
    load = measured(hours(24, lambda _: hour(tokens=MILLION, server=llama.server, model=llama)))
    prices = [each for each in policy().catalogue.hosted(llama.model) if each.provider == "deepinfra"]

    bought = outcome(load, "hosted=deepinfra")

    assert bought.cost == 24 * min(each.generation for each in prices) * DOLLAR
    assert bought.source.startswith("deepinfra ")
    assert bought.source.endswith("(litellm)")
    assert bought.as_of == prices[0].as_of != ""


@pytest.mark.parametrize(
    ("load", "text", "offers", "message"),
    [
        (day(lambda _: 0), "hosted=1/1", (), "no token was counted: there is nothing to buy"),
        (
            day(),
            "hosted=api",
            (HostedPrice("api", Decimal(1), Decimal(1), as_of="2025-11-01"),),
            "not of the last year: api of 2025-11-01; give its price now",
        ),
        (
            day(),
            "hosted=api",
            (HostedPrice("api", Decimal(1), Decimal(1), as_of="yesterday"),),
            "not of the last year: api of yesterday; give its price now",
        ),
        (
            day(),
            "hosted=apy",
            (CURRENT,),
            "(it has api) nor the catalogue has an offer apy for every model of a server; give prices like",
        ),
        (day(), "hosted=apy", (), "neither `compare` (it has none) nor the catalogue has an offer apy"),
    ],
)
def test_no_figure(load: MeasuredLoad, text: str, offers: tuple[HostedPrice, ...], message: str) -> None:
    """It says why."""
    refused = outcome(load, text, *offers)

    assert refused.cost is None
    assert message in refused.lack


def test_a_damaged_catalogue(tmp_path: Path) -> None:
    """There is no figure, and the file is named."""
    parsed = HostedChoice("hosted=deepinfra", "deepinfra", None)

    assert hosted_offer(day(), parsed, policy(catalogue=Catalogue(tmp_path))).lack == (
        "the catalogue is damaged: hosted.csv cannot be read: No such file or directory"
    )


def test_a_fraction_of_a_picodollar_is_exact() -> None:
    """One token at 0.0000001 dollars a million is a tenth of a picodollar."""
    offer = HostedPrice("api", Decimal("0.0000001"), Decimal("0.0000001"))
    load = measured(hours(24, lambda number: hour(tokens=int(number == 0))))

    assert outcome(load, "hosted=api", offer).cost == Fraction(1, 10)
