"""An hour's dollars over its requests: by hand, and as an identity."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.policy import Weights
from exporter.cost.postings import CostOwner, OwnerPhase, Phase
from exporter.finance.requests.division import Hours, RequestHour, add_history, served
from exporter.finance.requests.forms import LoggedRequest
from exporter.finance.requests.log_file import ModelTokens
from exporter.ledger.history import HistorySums
from exporter.readings import Gpu, TokenKind
from tests.depth import examples

CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
CANARY = CostOwner("chat", "assistants", "llm", "canary", "llama-8b")
EMBED = CostOwner("search", "retrieval", "llm", "embed", "bge")
UNALLOCATED = CostOwner("unassigned", "unassigned", "", "unallocated", "")
NUMBER = 498_192


def weights_of(_server: str, _model: str) -> Weights:
    return Weights()


def request(prompt: int, cached: int | None, answer: int, model: str = "llama-8b") -> LoggedRequest:
    return LoggedRequest(NUMBER, (model,), prompt, cached, answer)


def hour_of(
    cost: dict[tuple[CostOwner, Phase], int], tokens: dict[tuple[CostOwner, TokenKind], int], **others: Any
) -> RequestHour:
    sums = HistorySums(
        cost={OwnerPhase(*key): amount for key, amount in cost.items()}, tokens=tokens, **others
    )
    hours: Hours = {}
    add_history(hours, {NUMBER: sums}, weights_of)
    return hours[NUMBER]


def costs(hour: RequestHour, *requests: LoggedRequest) -> list[int]:
    """The costs of all requests, in their order."""
    for each in requests:
        undivided = each.input if each.cached is None else 0
        known = 0 if each.cached is None else each.input - each.cached
        pool = hour.pool(each.names)
        assert pool is not None
        pool.add_tokens(ModelTokens(NUMBER, each.names, known, each.cached or 0, undivided, each.output))
    return [pool.cost(each) for each in requests if (pool := hour.pool(each.names)) is not None]


MONEY: dict[tuple[CostOwner, Phase], int] = {
    (CHAT, "prefill"): 100,
    (CHAT, "decode"): 300,
    (CHAT, "other"): 7,
    (CHAT, "idle"): 11,
    (UNALLOCATED, "idle"): 5,
    (CHAT, "unobserved"): 2,
    (EMBED, "prefill"): 13,
}
TOKENS: dict[tuple[CostOwner, TokenKind], int] = {
    (CHAT, "prompt"): 60,
    (CHAT, "cached_prompt"): 400,
    (CHAT, "generation"): 30,
    (EMBED, "prompt"): 8,
}


def test_an_hour_by_hand() -> None:
    """A prompt token costs 1 (60 + a tenth of 400 for 100), a cached one 0.1, one of the answer 10.

    The first request: 50 + 50 cached + 10: 155. The second does not tell what was cached: its 46 are a tenth
    of the ledger's 460, so 10, and 5 x 10. The other 185, 7 of no token and all of `bge` are not in the file.
    """
    hour = hour_of(MONEY, TOKENS)

    assert costs(hour, request(100, 50, 10), request(46, None, 5)) == [155, 60]
    assert (hour.requests, hour.not_in_file, hour.idle) == (215, 185 + 7 + 13, 18)
    assert hour.dollars == 438


def test_servers_of_a_model_are_one_pool() -> None:
    """A log says which model: 100 and 300 over 10 + 30 tokens are 10 a token, on either server."""
    hour = hour_of(
        {(CHAT, "decode"): 100, (CANARY, "decode"): 300},
        {(CHAT, "generation"): 10, (CANARY, "generation"): 30},
    )

    assert costs(hour, request(0, None, 4), request(0, None, 36)) == [40, 360]
    assert hour.not_in_file == 0


def test_more_tokens_than_the_ledger_counted() -> None:
    """Answers of 60 tokens where it counted 30: 5 a token, nothing is left, and the 30 are told.

    Prompts of 500 where it counted 460 are as those: all their money, and 40 beyond.
    """
    hour = hour_of(MONEY, TOKENS)

    assert costs(hour, request(250, None, 30), request(250, None, 30)) == [200, 200]
    assert hour.pools["llama-8b"].excess() == {"prompt": 40, "generation": 30}
    assert hour.not_in_file == 7 + 13


@pytest.mark.parametrize(
    ("tokens", "logged", "expected"),
    [
        ({(CHAT, "generation"): 10}, request(0, None, 5), 200),
        ({(CHAT, "prompt"): 10}, request(5, None, 0), 200),
        ({}, request(5, None, 0), 400),
        ({}, request(5, 5, 5), 400),
    ],
    ids=["no prompt joins decode", "no answer joins prefill", "no token counted", "all of it"],
)
def test_a_phase_without_tokens_joins_the_other(
    tokens: dict[tuple[CostOwner, TokenKind], int], logged: LoggedRequest, expected: int
) -> None:
    """Of 100 and 300, half goes to half of the tokens that there are."""
    assert costs(hour_of(MONEY, tokens), logged) == [expected]


def test_a_model_without_money_has_no_cost() -> None:
    """Its GPU time waits for a price: zero would be wrong. The hour says so."""
    waiting = {(Gpu("GPU-1", "H100"), EMBED): 60}
    hour = hour_of({(CHAT, "idle"): 5}, {(EMBED, "prompt"): 8}, unpriced=waiting)

    assert hour.pool(("bge",)) is None
    assert hour.unpriced
    assert not hour_of(MONEY, TOKENS).unpriced


@pytest.mark.parametrize("phase", ["other", "idle", "unobserved"])
def test_a_model_without_money_that_tokens_carry_has_no_cost(phase: Phase) -> None:
    """Zero would be wrong: the tokens were served in another hour, or in time that nothing observed."""
    hour = hour_of({(CHAT, phase): 5}, {(CHAT, "generation"): 8})

    assert hour.pool(("llama-8b",)) is None
    assert (hour.not_in_file, hour.idle) == ((5, 0) if phase == "other" else (0, 5))
    assert hour.dollars == 5


def test_the_first_name_that_is_served_counts() -> None:
    """The name nearest to the server, else the one that the client asked for."""
    hour = hour_of(MONEY, TOKENS)

    assert hour.pool(("gpt-fast", "bge", "llama-8b")) is hour.pools["bge"]
    assert hour.pool(("gpt-fast",)) is None
    assert served({NUMBER: hour}) == {"llama-8b", "bge"}


def test_ledgers_add_up() -> None:
    """Two hosts of one model, an hour of each."""
    hours: Hours = {}
    for amount in (100, 300):
        sums = HistorySums(cost={OwnerPhase(CHAT, "decode"): amount}, tokens={(CHAT, "generation"): 20})
        add_history(hours, {NUMBER: sums}, weights_of)

    assert costs(hours[NUMBER], request(0, None, 10)) == [100]
    assert hours[NUMBER].dollars == 400


def test_weights_are_those_of_the_configuration() -> None:
    """A cached token that weighs as much as another: 100 over 460 tokens, of which 46 are 10."""
    hours: Hours = {}
    sums = HistorySums(
        cost={OwnerPhase(CHAT, "prefill"): 100},
        tokens={
            (CHAT, "prompt"): 60,
            (CHAT, "cached_prompt"): 400,
            (CHAT, "generation"): 0,
        },
    )
    add_history(hours, {NUMBER: sums}, lambda *_: Weights(cached_prompt=Decimal(1)))

    assert costs(hours[NUMBER], request(46, 46, 0)) == [10]


amounts = st.integers(0, 10**13)
counts = st.integers(0, 10**6)
logged = st.tuples(counts, st.one_of(st.none(), st.floats(0, 1)), counts).filter(
    lambda each: each[0] + each[2]
)


@examples(200)
@given(
    money=st.fixed_dictionaries(
        {
            (owner, phase): amounts
            for owner in (CHAT, EMBED)
            for phase in ("prefill", "decode", "other", "idle")
        }
    ),
    tokens=st.fixed_dictionaries(
        {
            (owner, kind): counts
            for owner in (CHAT, EMBED)
            for kind in ("prompt", "cached_prompt", "generation")
        }
    ),
    given_requests=st.lists(st.tuples(st.sampled_from(["llama-8b", "bge"]), logged), max_size=20),
)
def test_requests_idle_and_the_rest_are_the_hour(
    money: dict[Any, int], tokens: dict[Any, int], given_requests: list[Any]
) -> None:
    """Exactly, whatever was logged; and no cost or rest is negative."""
    hour = hour_of(money, tokens)
    requests = [
        request(prompt, None if ratio is None else int(prompt * ratio), answer, model)
        for model, (prompt, ratio, answer) in given_requests
        if hour.pool((model,))
    ]

    paid = costs(hour, *requests)

    assert sum(paid) == hour.requests
    assert hour.requests + hour.not_in_file + hour.idle == hour.dollars == sum(money.values())
    assert min([*paid, hour.not_in_file], default=0) >= 0


@examples(100)
@given(
    money=st.tuples(amounts, amounts).filter(any),
    prompts=st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)), min_size=1, max_size=20),
)
def test_each_cost_is_within_a_picodollar(money: tuple[int, int], prompts: list[tuple[int, int]]) -> None:
    """Of its share, here of all tokens that there were: nothing is left for the rest."""
    inputs, answers = map(sum, zip(*prompts, strict=True))
    hour = hour_of(
        {(CHAT, "prefill"): money[0], (CHAT, "decode"): money[1], (CHAT, "idle"): 1},
        {(CHAT, "prompt"): inputs, (CHAT, "generation"): answers},
    )

    for (prompt, answer), paid in zip(
        prompts, costs(hour, *(request(prompt, 0, answer) for prompt, answer in prompts)), strict=True
    ):
        share = Fraction(money[0] * prompt, inputs) + Fraction(money[1] * answer, answers)
        assert abs(paid - share) < 1
    assert hour.not_in_file == 0
