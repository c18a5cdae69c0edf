"""A gateway before several servers is compared with what they served together; figures worked by hand.

A prompt token weighs 1. Each server has a GPU of its own at a dollar a second, so that a tick of ten seconds
is ten dollars for each.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.policy import CostPolicy, OwnershipRule, SplitRule, Weights
from exporter.readings import Division, GatewayReading, ServerKey, ServerReading
from tests.cost.checked_meter import CheckedMeter
from tests.cost.gateway_readings import BY_ADAPTER, BY_TEAM, SILENT, URL, gateway_reading
from tests.cost.readings import BATCH, CHAT, allocate, cost_policy, down, h100, page, rent
from tests.depth import examples
from tests.kit.units import DOLLAR

OWNERS = (OwnershipRule("chat", "ours", server="chat"), OwnershipRule("batch", "theirs", server="batch"))
FIRST, SECOND = replace(BY_TEAM, deployments=("id-01",)), replace(BY_TEAM, deployments=("id-02",))
UNDIVIDED = replace(BY_TEAM, gateway="http://127.0.0.1:5000/metrics/")


def priced() -> CostPolicy:
    return cost_policy(rent(3600), ownership=OWNERS)


def read(key: ServerKey, prompt: float, division: Division | None = BY_TEAM) -> ServerReading:
    """What one of the servers has counted, and what it is divided by."""
    return replace(page(key, prompt=prompt), division=division)


@dataclass
class Pair:
    """Chat and batch on a GPU each, with what was posted for tokens by server and team."""

    meter: CheckedMeter = field(default_factory=lambda: CheckedMeter(priced()))
    tokens: Counter[tuple[str, str]] = field(default_factory=Counter)

    def tick(
        self,
        servers: Iterable[ServerReading],
        *gateways: GatewayReading,
        seconds: float = 10,
        busy: float = 1,
    ) -> None:
        """Let time pass and read all."""
        gpus = [h100(0, utilization_ratio=busy), h100(1, utilization_ratio=busy)]
        holders = (*allocate(CHAT, 0), *allocate(BATCH, 1))
        outcome = self.meter.pass_by(round(seconds * 1e9), gpus, servers, holders, gateways=gateways)
        for row in outcome.postings.tokens:
            self.tokens[row.owner.server, row.owner.team] += row.count

    def shares(self, key: ServerKey) -> dict[str, float]:
        """The parts of a server's money of the last tick by team, in percent."""
        assert self.meter.outcome is not None
        sums: Counter[str] = Counter()
        for segment in self.meter.outcome.postings.segments:
            for row in segment.money:
                if row.owner_phase.owner.server == key.server:
                    sums[row.owner_phase.owner.team] += row.amount
        return {team: round(100 * amount / sums.total(), 6) for team, amount in sums.items()}


@pytest.fixture
def pair() -> Pair:
    return Pair()


def begin(pair: Pair, first: Division | None = BY_TEAM, second: Division | None = BY_TEAM) -> None:
    """The first read of all sets marks only."""
    pair.tick([read(CHAT, 0, first), read(BATCH, 0, second)], gateway_reading())


def test_it_is_compared_with_the_sum(pair: Pair) -> None:
    """Served 1000 and 600, counted 800: half of each. Alone, chat would be 80 % and batch all of it.

    Of 20 dollars Search pays 10, and each owner 5: what was asked for past the gateway is not lost on either.
    """
    begin(pair)
    pair.tick([read(CHAT, 1000), read(BATCH, 600)], gateway_reading({"Search": (800.0, 0.0)}))

    assert pair.shares(CHAT) == {"Search": 50, "ours": 50}
    assert pair.shares(BATCH) == {"Search": 50, "theirs": 50}
    assert pair.meter.dollars(team="Search") == 10 * DOLLAR
    assert pair.meter.dollars() == 20 * DOLLAR
    assert pair.tokens == {
        ("chat", "Search"): 500,
        ("chat", "ours"): 500,
        ("batch", "Search"): 300,
        ("batch", "theirs"): 300,
    }


def test_one_that_leads_elsewhere_too_divides_all_of_both(pair: Pair) -> None:
    """Counted 1500 and 500 where 1600 were served: three quarters and one quarter of each, nothing over."""
    begin(pair)
    counted = gateway_reading({"Search": (1500.0, 0.0), "Support": (500.0, 0.0)})
    pair.tick([read(CHAT, 1000), read(BATCH, 600)], counted)

    assert pair.shares(CHAT) == pair.shares(BATCH) == {"Search": 75, "Support": 25}


def test_deployments_tell_them_apart(pair: Pair) -> None:
    """Each names its own: 800 of 1000 for Search here, 300 of 600 for Support there."""
    begin(pair, FIRST, SECOND)
    counts = (
        *gateway_reading({"Search": (800.0, 0.0)}, deployment="id-01").counters,
        *gateway_reading({"Support": (300.0, 0.0)}, deployment="id-02").counters,
    )
    pair.tick(
        [read(CHAT, 1000, FIRST), read(BATCH, 600, SECOND)], replace(gateway_reading(), counters=counts)
    )

    assert pair.shares(CHAT) == {"Search": 80, "ours": 20}
    assert pair.shares(BATCH) == {"Support": 50, "theirs": 50}


def test_a_deployment_that_one_names_leads_to_no_other(pair: Pair) -> None:
    """Batch names none: what is left to it is what no other names, and it is compared with that alone."""
    begin(pair, FIRST)
    counts = (
        *gateway_reading({"Search": (800.0, 0.0)}, deployment="id-01").counters,
        *gateway_reading({"Support": (300.0, 0.0)}, deployment="id-02").counters,
    )
    pair.tick([read(CHAT, 1000, FIRST), read(BATCH, 600)], replace(gateway_reading(), counters=counts))

    assert pair.shares(CHAT) == {"Search": 80, "ours": 20}
    assert pair.shares(BATCH) == {"Support": 50, "theirs": 50}


@pytest.mark.parametrize("other", [None, UNDIVIDED])
def test_a_server_that_it_does_not_lead_to_is_not_compared(pair: Pair, other: Division | None) -> None:
    """Batch has no entry, or another gateway: chat is compared alone."""
    begin(pair, second=other)
    pair.tick([read(CHAT, 1000), read(BATCH, 600, other)], gateway_reading({"Search": (800.0, 0.0)}))

    assert pair.shares(CHAT) == {"Search": 80, "ours": 20}
    assert pair.shares(BATCH) == {"theirs": 100}


def test_servers_of_other_models_are_not_compared_together(pair: Pair) -> None:
    """Llama 800 of 1000, qwen 300 of 600, though one gateway leads to both."""

    def other(prompt: float) -> ServerReading:
        return replace(page(BATCH, "qwen", prompt=prompt), division=BY_TEAM)

    pair.tick([read(CHAT, 0), other(0)], gateway_reading())
    counts = (
        *gateway_reading({"Search": (800.0, 0.0)}).counters,
        *gateway_reading({"Search": (300.0, 0.0)}, model="qwen").counters,
    )
    pair.tick([read(CHAT, 1000), other(600)], replace(gateway_reading(), counters=counts))

    assert pair.shares(CHAT) == {"Search": 80, "ours": 20}
    assert pair.shares(BATCH) == {"Search": 50, "theirs": 50}


def test_a_name_that_leads_to_both_by_a_pattern_joins_them(pair: Pair) -> None:
    """The gateway calls two servers of different models by one name: 800 of 1600."""
    fast = replace(BY_TEAM, models=("fast",))

    def other(prompt: float) -> ServerReading:
        return replace(page(BATCH, "qwen", prompt=prompt), division=fast)

    pair.tick([read(CHAT, 0, fast), other(0)], gateway_reading())
    pair.tick([read(CHAT, 1000, fast), other(600)], gateway_reading({"Search": (800.0, 0.0)}, model="fast"))

    assert pair.shares(CHAT)["Search"] == pair.shares(BATCH)["Search"] == 50


def test_an_adapter_that_both_serve_has_its_part_of_both(pair: Pair) -> None:
    """400 of 1600 were for sql-v2: a quarter of each server, whichever computed them."""
    begin(pair, BY_ADAPTER, BY_ADAPTER)
    adapters = {"sql-v2": (400.0, 0.0), "llama": (1200.0, 0.0)}
    pair.tick(
        [read(CHAT, 1000, BY_ADAPTER), read(BATCH, 600, BY_ADAPTER)], gateway_reading(adapters=adapters)
    )

    assert pair.meter.dollars(server="chat", model="sql-v2") == 2.5 * DOLLAR
    assert pair.meter.dollars(server="batch", model="sql-v2") == 2.5 * DOLLAR


def test_weights_of_the_other_do_not_count(pair: Pair) -> None:
    """Chat weighs prompts twice: 2 x 800 of 2 x 1600 on its side, 800 of 1600 on the other's."""
    rule = SplitRule(server="chat", weights=Weights(prompt=2))  # type: ignore[arg-type]
    pair.meter.policy = replace(pair.meter.policy, split=(rule,))
    begin(pair)
    pair.tick([read(CHAT, 1000), read(BATCH, 600)], gateway_reading({"Search": (800.0, 0.0)}))

    assert pair.shares(CHAT) == {"Search": 50, "ours": 50}
    assert pair.shares(BATCH) == {"Search": 50, "theirs": 50}


def test_one_that_does_not_answer_has_served_nothing_until_it_does(pair: Pair) -> None:
    """Its own shares stand meanwhile; what it served is compared when it answers again."""
    begin(pair)
    pair.tick([read(CHAT, 1000), down(read(BATCH, 0))], gateway_reading({"Search": (500.0, 0.0)}))
    assert pair.shares(CHAT) == {"Search": 50, "ours": 50}
    assert pair.shares(BATCH) == {"theirs": 100}

    pair.tick([read(CHAT, 1000), read(BATCH, 1000)], gateway_reading({"Search": (500.0, 0.0)}), seconds=0)
    pair.tick([read(CHAT, 1000), read(BATCH, 1000)], gateway_reading({"Search": (500.0, 0.0)}))
    assert pair.shares(CHAT) == {"Search": 25, "ours": 75}
    assert pair.shares(BATCH) == {"Search": 25, "theirs": 75}


def test_while_the_gateway_is_silent_nothing_moves(pair: Pair) -> None:
    """What both served then waits, and is compared with what the gateway reports at last."""
    begin(pair)
    pair.tick([read(CHAT, 1000), read(BATCH, 600)], gateway_reading({"Search": (800.0, 0.0)}), seconds=0)
    pair.tick([read(CHAT, 3000), read(BATCH, 600)], SILENT, seconds=0)
    assert pair.meter.state.servers[BATCH].models["llama"].division.pending == {"": 2000.0}
    pair.tick([read(CHAT, 3000), read(BATCH, 600)], gateway_reading({"Search": (900.0, 0.0)}), seconds=0)
    pair.tick([read(CHAT, 3000), read(BATCH, 600)], gateway_reading({"Search": (900.0, 0.0)}), busy=0.0)

    # 900 of 3600, on both
    assert pair.shares(CHAT)["Search"] == pair.shares(BATCH)["Search"] == 25


amounts = st.sampled_from([0, 0, 1, 7, 1000])
moments = st.tuples(amounts, amounts, amounts, amounts, st.booleans(), st.booleans(), st.integers(1, 59))


@examples(100)
@given(st.lists(moments, min_size=1, max_size=10))
def test_the_money_of_each_server_is_what_it_is_undivided(story: list[tuple[int, ...]]) -> None:
    """To the picodollar and the token, whatever was counted and whoever did not answer."""
    divided, plain = Pair(), Pair()
    for pair, division in ((divided, BY_TEAM), (plain, None)):
        begin(pair, division, division)
        one = other = search = data = 0
        for own, beside, for_search, for_data, up, amounts, seconds in story:
            one, other, search, data = one + own, other + beside, search + for_search, data + for_data
            batch = read(BATCH, other, division)
            counted = gateway_reading({"Search": (float(search), 0.0), "Data": (float(data), 0.0)})
            servers = [read(CHAT, one, division), batch if up else down(batch)]
            pair.tick(servers, counted if amounts else SILENT, seconds=seconds)
    for server in ("chat", "batch"):
        assert divided.meter.dollars(server=server) == plain.meter.dollars(server=server)
        posted, whole = (
            sum(count for (name, _), count in pair.tokens.items() if name == server)
            for pair in (divided, plain)
        )
        assert posted == whole
    assert URL in divided.meter.state.gateways
