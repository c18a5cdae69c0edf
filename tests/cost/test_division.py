"""What a server cost is divided by whom a gateway names; the figures are worked by hand.

A prompt token weighs 1 and a generated one 3. The server is one GPU at a dollar a second.
"""

from dataclasses import replace
from decimal import Decimal

import pytest

from exporter.cost.policy import CardinalityLimits, OwnershipRule, SplitRule, Weights
from exporter.readings import (
    CounterReading,
    Division,
    GatewayCounter,
    GatewayReading,
    ServerReading,
    tenant_name,
)
from tests.cost.checked_meter import CheckedMeter
from tests.cost.gateway_readings import BY_ADAPTER, BY_TEAM, SILENT, URL, Divided, gateway_reading, served
from tests.cost.readings import CHAT, cost_policy, h100, rent
from tests.kit.units import DOLLAR, MINUTE

OWNER = OwnershipRule(product="search", team="platform")


@pytest.fixture
def host() -> Divided:
    return Divided(CheckedMeter(cost_policy(rent(3600), ownership=(OWNER,))))


def begin(host: Divided, division: Division = BY_TEAM) -> None:
    """The first read of both sets marks only."""
    host.tick(served(division, prompt=0, generation=0, requests=0), gateway_reading())


def test_each_team_pays_for_what_the_gateway_counted_and_the_owner_for_the_rest(host: Divided) -> None:
    """Served 1000 + 3 x 300 = 1900; Search 500 + 3 x 100 = 800, Support 200 + 3 x 50 = 350; 750 are left."""
    begin(host)
    teams = {"Search": (500.0, 100.0), "Support": (200.0, 50.0)}
    host.tick(served(prompt=1000, generation=300, requests=19), gateway_reading(teams), seconds=19)

    # a share is a whole number of parts of 1e9
    assert host.dollars(team="Search") == pytest.approx(8 * DOLLAR, rel=3e-9)
    assert host.dollars(team="Support") == pytest.approx(3.5 * DOLLAR, rel=3e-9)
    assert host.dollars(team="platform") == pytest.approx(7.5 * DOLLAR, rel=3e-9)
    assert host.dollars(team="Search", phase="decode") == pytest.approx(8 * DOLLAR * 900 / 1900, rel=3e-9)
    assert host.dollars(product="search") == host.dollars() == 19 * DOLLAR


def test_tokens_are_the_servers_own_and_divided_as_its_money(host: Divided) -> None:
    """The gateway's 150 generated tokens are nowhere: the server's 300 are, to the token."""
    begin(host)
    teams = {"Search": (500.0, 100.0), "Support": (200.0, 50.0)}
    host.tick(served(prompt=1000, cached_prompt=95, generation=380, requests=19), gateway_reading(teams))

    # 1000 + 95 + 3 x 380 = 2235 served, of which Search 800 and Support 350
    assert host.tokens == {
        ("Search", "llama", "prompt"): 358,  # 1000 x 800 / 2235 = 357.9
        ("Support", "llama", "prompt"): 157,  # 156.6
        ("platform", "llama", "prompt"): 485,  # 485.5
        ("Search", "llama", "cached_prompt"): 34,  # 34.0
        ("Support", "llama", "cached_prompt"): 15,  # 14.9
        ("platform", "llama", "cached_prompt"): 46,  # 46.1
        ("Search", "llama", "generation"): 136,  # 136.0
        ("Support", "llama", "generation"): 60,  # 59.5
        ("platform", "llama", "generation"): 184,  # 184.5
    }
    assert sum(host.requests.values()) == 19


def test_few_tokens_a_tick_reach_everybody_in_the_end(host: Divided) -> None:
    """Three tokens a tick, of which a team of a tenth has one in ten: rounding is remembered."""
    begin(host)
    for tick in range(1, 101):
        host.tick(served(generation=3 * tick), gateway_reading({"Small": (0.0, 0.3 * tick)}))

    assert host.tokens == {("Small", "llama", "generation"): 30, ("platform", "llama", "generation"): 270}


def test_a_gateway_that_leads_elsewhere_too_divides_all(host: Divided) -> None:
    """It counted 1200 and 800 where the server served 1000: three fifths and two fifths, and no rest."""
    begin(host)
    host.tick(served(prompt=1000), gateway_reading({"Search": (1200.0, 0.0), "Support": (800.0, 0.0)}))

    assert host.shares() == {"Search": 60, "Support": 40}


def test_until_the_gateway_counts_everything_is_the_owners(host: Divided) -> None:
    """Its lifetime counts at the first read are no shares: nobody knows when they were."""
    host.tick(served(prompt=0), SILENT)
    host.tick(served(prompt=1000), gateway_reading({"Search": (9000.0, 9000.0)}))
    assert host.shares() == {"platform": 100}

    host.tick(served(prompt=2000), gateway_reading({"Search": (9500.0, 9000.0)}))
    assert host.shares() == {"Search": 50, "platform": 50}


def test_who_asks_nothing_is_divided_by_what_trails(host: Divided) -> None:
    """Idle money and busy money without tokens go by the shares that were; nothing moves them."""
    begin(host)
    host.tick(served(prompt=1000), gateway_reading({"Search": (250.0, 0.0)}))
    for _ in range(3):
        host.tick(served(prompt=1000), gateway_reading({"Search": (250.0, 0.0)}), busy=0.0, seconds=3600 * 24)
        assert host.shares() == {"Search": 25, "platform": 75}


def test_a_server_that_ended_in_a_gap_pays_it_by_its_last_shares(host: Divided) -> None:
    """An hour without ticks, and no server after it: a quarter of its money is Search's, as before."""
    begin(host)
    host.tick(served(prompt=1000), gateway_reading({"Search": (250.0, 0.0)}))
    host.meter.pass_by(3600 * 10**9, [h100()], gateways=(SILENT,))

    assert host.shares() == {"Search": 25, "platform": 75}


def test_what_was_asked_a_quarter_of_an_hour_ago_weighs_half(host: Divided) -> None:
    """Search 1000 of 1000, then Support 500 of 500 fifteen minutes later: 500 and 500."""
    begin(host)
    host.tick(served(prompt=1000), gateway_reading({"Search": (1000.0, 0.0)}))
    both = {"Search": (1000.0, 0.0), "Support": (500.0, 0.0)}
    host.meter.policy = replace(host.meter.policy, gap_after=60 * MINUTE)
    host.tick(served(prompt=1500), gateway_reading(both), seconds=900)

    assert host.shares() == {"Search": 50, "Support": 50}


def test_a_request_is_reported_when_it_ends(host: Divided) -> None:
    """The server counts as it generates, the gateway at the end: nobody pays for the ticks between alone."""
    begin(host)
    host.tick(served(generation=100), gateway_reading({"Search": (0.0, 100.0)}))
    host.tick(served(generation=200), gateway_reading({"Search": (0.0, 100.0)}))
    assert host.shares()["Search"] == pytest.approx(50, abs=0.3)
    host.tick(served(generation=200), gateway_reading({"Search": (0.0, 200.0)}))
    assert host.shares()["Search"] == pytest.approx(100, abs=0.5)


def test_the_last_shares_stand_while_the_gateway_is_down(host: Divided) -> None:
    """What the server serves meanwhile moves no share, and is compared when the gateway answers again."""
    begin(host)
    host.tick(served(prompt=1000), gateway_reading({"Search": (400.0, 0.0)}))
    for tick in range(2, 8):
        host.tick(served(prompt=1000 * tick), SILENT)
        assert host.shares() == {"Search": 40, "platform": 60}

    host.tick(served(prompt=8000), gateway_reading({"Search": (3200.0, 0.0)}))
    assert host.shares()["Search"] == pytest.approx(40, abs=1e-6)


def test_the_last_shares_stand_while_the_server_is_down(host: Divided) -> None:
    """The other way round: what the gateway counted waits for the server's own count."""
    begin(host)
    host.tick(served(prompt=1000), gateway_reading({"Search": (400.0, 0.0)}))
    for tick in range(2, 8):
        host.tick(None, gateway_reading({"Search": (400.0 * tick, 0.0)}))
        assert host.shares() == {"Search": 40, "platform": 60}

    host.tick(served(prompt=8000), gateway_reading({"Search": (3200.0, 0.0)}))
    assert host.shares()["Search"] == pytest.approx(40, abs=1e-6)


def test_a_gateway_that_restarts_counts_from_zero(host: Divided) -> None:
    """Another process: its 400 are new, and so is the team that the old one never had."""
    begin(host)
    host.tick(served(prompt=1000), gateway_reading({"Search": (500.0, 0.0)}))
    counted = {"Search": (100.0, 0.0), "Data": (300.0, 0.0)}
    again = gateway_reading(counted, identity="gateway-2", started=host.meter.wall)
    host.tick(served(prompt=2000), again, seconds=0)

    assert host.meter.state.gateways[URL].marks.identity == "gateway-2"
    host.tick(served(prompt=2000), again, seconds=1)
    assert host.shares() == {"Search": 30, "Data": 15, "platform": 55}


def test_a_count_that_falls_once_is_a_bad_read_and_for_a_minute_a_restart(host: Divided) -> None:
    """Nothing identifies the process: reads below the mark are not believed until a minute has passed."""
    begin(host)
    host.tick(served(prompt=1000), gateway_reading({"Search": (500.0, 0.0)}, identity=""), seconds=0)
    fallen = gateway_reading({"Search": (100.0, 0.0)}, identity="")
    for _ in range(60):
        host.tick(served(prompt=1000), fallen, seconds=1)
        assert host.shares() == {"Search": 50, "platform": 50}
    host.tick(served(prompt=1000), fallen, seconds=1)

    # 500 of before trail by a minute of 15, and 100 are new.
    trailing = 0.5 ** (61 / 900)
    assert host.shares()["Search"] == pytest.approx(100 * (500 * trailing + 100) / (1000 * trailing), abs=0.1)


def test_a_count_beyond_any_is_no_reading(host: Divided) -> None:
    """1e300 tokens are not marked, and divide nothing."""
    begin(host)
    host.tick(served(prompt=1000), gateway_reading({"Search": (1e300, 0.0)}))

    assert host.shares() == {"platform": 100}


def test_a_count_that_is_missing_once_keeps_its_mark(host: Divided) -> None:
    """A line that could not be read makes nobody ask for all of it again."""
    begin(host)
    host.tick(served(prompt=1000), gateway_reading({"Search": (500.0, 0.0)}))
    host.tick(served(prompt=1000), gateway_reading())
    host.tick(served(prompt=1000), gateway_reading({"Search": (500.0, 0.0)}))

    assert host.shares() == {"Search": 50, "platform": 50}


def test_a_series_that_expires_makes_nobody_ask_for_its_history_again(host: Divided) -> None:
    """Trap: a sum that falls for three reads taken for a restart.

    Two users of Search with 3,000 and 2,000 tokens, one of Support with 5,000. The first of Search leaves the
    page, as LiteLLM's series do after an hour, and Support asks for 1,000 more: Search had 5,000 of 11,000
    and not 7,000 of 13,000, for the 2,000 of its other user are not new.
    """

    def counted(support: float, **search: float) -> GatewayReading:
        series = [GatewayCounter(user, "llama", "id-01", "Search", "prompt", n) for user, n in search.items()]
        series.append(GatewayCounter("eve", "llama", "id-01", "Support", "prompt", support))
        return replace(gateway_reading(), counters=tuple(series))

    host.tick(served(prompt=0), counted(0, ann=0, ben=0))
    host.tick(served(prompt=10_000), counted(5_000, ann=3_000, ben=2_000), seconds=1)
    for _ in range(4):
        host.tick(served(prompt=11_000), counted(6_000, ben=2_000), seconds=1)

    assert host.shares() == pytest.approx({"Search": 100 * 5 / 11, "Support": 100 * 6 / 11}, abs=0.1)


def test_a_gateway_that_makes_names_up_is_not_remembered_for_ever(host: Divided) -> None:
    """Seven hundred other teams at each read: what is remembered is bounded."""
    begin(host)
    for tick in range(5):
        names = {f"{tick}-{number}": (1.0, 0.0) for number in range(700)}
        host.tick(served(prompt=1000 * tick), gateway_reading(names))

    assert len(host.meter.state.gateways[URL].counts) <= 2000


def test_who_has_no_team_leaves_it_to_the_owner(host: Divided) -> None:
    """A key without a team asks as the server's owner does."""
    begin(host)
    host.tick(served(prompt=1000), gateway_reading({"": (900.0, 0.0), "Search": (100.0, 0.0)}))

    assert host.shares() == {"Search": 10, "platform": 90}


def test_counts_of_other_models_and_deployments_are_others(host: Divided) -> None:
    """Only what is called as the server's model, or as the patterns say; and only the deployments named."""
    one = replace(BY_TEAM, models=("chat-*",), deployments=("id-01",))
    begin(host, one)
    counts = (
        *gateway_reading({"Search": (100.0, 0.0)}).counters,
        *gateway_reading({"Search": (100.0, 0.0)}, model="chat-fast").counters,
        *gateway_reading({"Search": (100.0, 0.0)}, model="gpt-4.1-mini").counters,
        *gateway_reading({"Search": (100.0, 0.0)}, deployment="id-02").counters,
    )
    host.tick(served(one, prompt=1000), replace(gateway_reading(), counters=counts))

    assert host.shares() == {"Search": 20, "platform": 80}


def test_each_of_several_models_has_its_own_shares(host: Divided) -> None:
    """Small served 500, of which Search asked for all; large 1500, of which Data asked for a third."""

    def both(small: float, large: float) -> ServerReading:
        series = tuple(
            CounterReading(name, name, "prompt", value)
            for name, value in (("small", small), ("large", large))
        )
        return replace(served(), counters=series, models=("small", "large"), loads=())

    counts = (
        *gateway_reading({"Search": (500.0, 0.0)}, model="small").counters,
        *gateway_reading({"Data": (500.0, 0.0)}, model="large").counters,
        *gateway_reading({"Data": (500.0, 0.0)}, model="unheard").counters,
    )
    host.tick(both(0, 0), gateway_reading())
    host.tick(both(500, 1500), replace(gateway_reading(), counters=counts))

    assert host.shares() == {"Search": 25, "Data": 25, "platform": 50}


def test_an_adapter_is_a_model_of_its_own(host: Divided) -> None:
    """Of 1000 tokens 300 were for sql-v2 and 100 for legal-v1; what names the base stays with the base."""
    begin(host, BY_ADAPTER)
    adapters = {"sql-v2": (300.0, 0.0), "legal-v1": (100.0, 0.0), "llama": (500.0, 0.0), "qwen": (50.0, 0.0)}
    host.tick(served(BY_ADAPTER, prompt=1000), gateway_reading(adapters=adapters), seconds=10)

    assert host.shares("model") == {"sql-v2": 30, "legal-v1": 10, "llama": 60}
    assert host.dollars(team="platform") == 10 * DOLLAR
    assert host.tokens["platform", "sql-v2", "prompt"] == 300


def test_beyond_the_limit_they_are_other(host: Divided) -> None:
    """Two places: the third team is `other`, the first two keep theirs."""
    host.meter.policy = replace(host.meter.policy, limits=CardinalityLimits(parties=2))
    begin(host)
    host.tick(served(prompt=1000), gateway_reading({"a": (100.0, 0.0), "b": (200.0, 0.0), "c": (300.0, 0.0)}))
    assert host.shares() == {"a": 10, "b": 20, "other": 30, "platform": 40}

    more = {"a": (200.0, 0.0), "b": (400.0, 0.0), "c": (600.0, 0.0), "d": (400.0, 0.0)}
    host.tick(served(prompt=2000), gateway_reading(more), seconds=0)
    assert set(host.meter.state.servers[CHAT].models["llama"].division.trailing) == {"", "a", "b", "other"}


def test_who_asks_nothing_for_a_day_gives_the_place_away(host: Divided) -> None:
    """A hostile gateway that makes teams up has the places of a day, not of a year."""
    host.meter.policy = replace(
        host.meter.policy, limits=CardinalityLimits(parties=1), gap_after=48 * 60 * MINUTE
    )
    begin(host)
    host.tick(served(prompt=1000), gateway_reading({"a": (500.0, 0.0)}))
    later = {"a": (500.0, 0.0), "b": (500.0, 0.0)}
    host.tick(served(prompt=2000), gateway_reading(later), seconds=25 * 3600)
    assert host.shares() == {"other": 50, "platform": 50}
    host.tick(served(prompt=3000), gateway_reading({**later, "b": (1000.0, 0.0)}))

    assert "b" in host.shares()


def test_a_half_of_a_pair_is_compared_by_what_it_computes(host: Divided) -> None:
    """A prefill server served 1000 prompt tokens; the 900 that Search had generated are the other half's."""
    reading = replace(served(prompt=0, generation=0), role="prefill")
    host.tick(reading, gateway_reading())
    moved = served(prompt=1000, generation=1)
    host.tick(replace(moved, role="prefill"), gateway_reading({"Search": (250.0, 900.0)}))

    assert host.shares() == {"Search": 25, "platform": 75}


@pytest.mark.parametrize(("prompt", "counts"), [("1", (100.0, 100.0)), ("0.5", (300.0, 0.0))])
def test_tokens_weigh_as_the_servers_rule_says(
    host: Divided, prompt: str, counts: tuple[float, float]
) -> None:
    """Generation at 1: 100 + 100 of 1000 + 1000 served. With prompts at 0.5, 150 of 500 + 1000."""
    rule = SplitRule(server="chat", weights=Weights(prompt=Decimal(prompt), generation=Decimal(1)))
    host.meter.policy = replace(host.meter.policy, split=(rule,))
    begin(host)
    host.tick(served(prompt=1000, generation=1000), gateway_reading({"Search": counts}))

    assert host.shares() == {"Search": 10, "platform": 90}


def test_a_server_that_is_divided_otherwise_starts_over(host: Divided) -> None:
    """Shares by one rule are none by another, and without a rule everything is the owner's."""
    begin(host)
    host.tick(served(prompt=1000), gateway_reading({"Search": (500.0, 0.0)}))
    host.tick(served(replace(BY_TEAM, models=("x",)), prompt=1000), gateway_reading({"Search": (500.0, 0.0)}))
    assert host.shares() == {"platform": 100}
    host.tick(served(prompt=1000), gateway_reading({"Search": (500.0, 0.0)}))
    host.tick(served(None, prompt=1000))
    assert host.shares() == {"platform": 100}
    assert host.meter.state.gateways == {}


def test_a_tenant_may_have_a_product_of_its_own(host: Divided) -> None:
    """Search is of the product web; Support, which has none, of the server's; a stranger is of team other."""
    begin(host)
    teams = {tenant_name("Search", "web"): (600.0, 0.0), "Support": (300.0, 0.0), "other": (50.0, 0.0)}
    host.tick(served(prompt=1000), gateway_reading(teams))

    assert host.shares() == pytest.approx({"Search": 60, "Support": 30, "other": 5, "platform": 5}, abs=1e-4)
    assert host.shares("product") == pytest.approx({"web": 60, "search": 40}, abs=1e-4)


def test_cached_prompts_weigh_less_where_the_gateway_counts_them(host: Divided) -> None:
    """Of 1000 prompt tokens each, Search had 900 from the cache: 100 + 90, and Support none: 1000.

    The server computed 1200 and had 900 from its cache, 1290 by weight; 100 are the owner's.
    """
    division = replace(BY_TEAM, cached=True)
    host.tick(served(division, prompt=0, cached_prompt=0), gateway_reading())
    counters = [
        GatewayCounter(f"{team}/{quantity}", "llama", "", team, quantity, value)
        for team, cached in (("Search", 900.0), ("Support", 0.0))
        for quantity, value in (("prompt", 1000.0), ("cached_prompt", cached))
    ]
    gateway = replace(gateway_reading(), counters=tuple(counters))
    host.tick(served(division, prompt=1200, cached_prompt=900), gateway)

    assert host.shares() == pytest.approx(
        {"Search": 19000 / 1290, "Support": 100_000 / 1290, "platform": 10_000 / 1290}, abs=1e-4
    )


def test_more_cached_than_prompt_tokens_weigh_as_cached_ones(host: Divided) -> None:
    """A page that is read between two of its counters may have that: no weight is below zero."""
    division = replace(BY_TEAM, cached=True)
    host.tick(served(division, prompt=0), gateway_reading())
    counters = [
        GatewayCounter(f"Search/{quantity}", "llama", "", "Search", quantity, value)
        for quantity, value in (("prompt", 100.0), ("cached_prompt", 500.0))
    ]
    host.tick(served(division, prompt=100), replace(gateway_reading(), counters=tuple(counters)))

    assert host.shares() == pytest.approx({"Search": 10, "platform": 90}, abs=1e-4)


def test_other_counters_of_a_gateway_begin_with_marks(host: Divided) -> None:
    """Their history is none of this server's, and neither is that of the first ones when they are back."""
    begin(host)
    host.tick(served(prompt=1000), gateway_reading({"Search": (1000.0, 0.0)}))
    other = replace(gateway_reading({"Support": (9e6, 0.0)}), selection="house_tokens_total")
    host.tick(served(prompt=1000), other)
    host.tick(served(prompt=1000), gateway_reading({"Search": (5e6, 0.0)}))

    assert host.shares() == pytest.approx({"Search": 100}, abs=1e-4)
