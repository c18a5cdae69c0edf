"""What divides a server, as its file says it."""

import pytest

from exporter.config import ConfigError, parse
from exporter.config.settings import Config, GatewayPageRule, GatewayTenant
from exporter.engines import Shares, TokenSeries
from exporter.reports.rule_text import rule_words


def divided(text: str) -> Config:
    gateway = 'gateway: "http://127.0.0.1:4000/metrics"'
    return parse(f"servers: [{{match: {{port: 8000}}, divide: {{{gateway}, {text}}}}}]".encode())


def test_labels_and_tenants_divide_as_teams_do() -> None:
    """In the file's order; a tenant without a product has the server's."""
    config = divided("by: [t, w], tenants: [{match: a/*, product: p, team: x}, {match: b/c, team: y}]")
    (divide,) = config.divides()

    assert divide.division.by == "team"
    assert divide.page.labels == ("t", "w")
    assert divide.page.tenants == (GatewayTenant("a/*", "x", "p"), GatewayTenant("b/c", "y"))
    assert divide.page.shares is None
    assert rule_words(divide) == (
        "division (by team, gateway http://127.0.0.1:4000/metrics), page (labels t and w, tenants "
        "(match a/*, team x, product p) and (match b/c, team y))"
    )


def test_counters_have_names_kinds_and_a_label_for_the_model() -> None:
    """A series with labels, one with none; cached prompts make both sides weigh them."""
    config = divided(
        "by: [t], tenants: [{match: a, team: x}], model_label: served, counters: "
        "{prompt: 'in_total{a=\"1\",b=\"2\"}', cached_prompt: cached_total, generation: 'out_sum{}'}"
    )
    (divide,) = config.divides()
    shares = divide.page.shares

    assert shares is not None
    assert shares.prompt == (TokenSeries("in_total", (("a", ("1",)), ("b", ("2",)))),)
    assert (shares.cached, shares.generation) == ((TokenSeries("cached_total"),), (TokenSeries("out_sum"),))
    assert shares.model == "served"
    assert divide.division.cached
    assert rule_words(divide.page).endswith(
        'shares (prompt in_total{a="1",b="2"}, generation out_sum, model served, cached cached_total)'
    )


def test_counters_of_a_gateway_that_is_built_in_keep_its_labels() -> None:
    """Cached prompts of LiteLLM: its label of models, the provider before them, deployments and no-values."""
    config = divided(
        "by: [team_alias], deployments: [id-1], tenants: [{match: a, team: x}], counters: "
        "{prompt: litellm_input_tokens_metric_total, generation: litellm_output_tokens_metric_total, "
        "cached_prompt: litellm_input_cached_tokens_metric_total}"
    )
    shares = config.divides()[0].page.shares

    assert shares == Shares(
        (TokenSeries("litellm_input_tokens_metric_total"),),
        (TokenSeries("litellm_output_tokens_metric_total"),),
        "model",
        "api_provider",
        "model_id",
        ("team_alias", "team"),
        ("", "None"),
        "litellm_input_tokens_metric_created",
        (TokenSeries("litellm_input_cached_tokens_metric_total"),),
    )


@pytest.mark.parametrize(("key", "label"), [("", "ai_model"), ("model_label: model, ", "model")])
def test_the_label_of_models_is_the_gateways_own_unless_it_is_written(key: str, label: str) -> None:
    """Also where it is written as what it is by default."""
    config = divided(
        f"by: [t], tenants: [{{match: a, team: x}}], {key}counters: "
        "{prompt: 'kong_ai_llm_tokens_total{token_type=\"prompt_tokens\"}'}"
    )
    shares = config.divides()[0].page.shares

    assert shares is not None
    assert (shares.model, shares.generation) == (label, ())


@pytest.mark.parametrize(
    ("counter", "teams"),
    [
        ("litellm_output_tokens_metric_total", ("team_alias", "team")),
        ("bifrost_output_tokens_total", ("team_name",)),
    ],
)
def test_counters_of_a_gateway_that_names_teams_divide_by_them(counter: str, teams: tuple[str, ...]) -> None:
    """Its labels stay, that of teams among them; other counters by team are refused."""
    (divide,) = divided(f"by: team, counters: {{generation: {counter}}}").divides()

    assert divide.page.labels == ()
    assert divide.page.shares is not None
    assert divide.page.shares.teams == teams


def test_a_page_may_count_one_kind_alone() -> None:
    """An embedding server generates nothing."""
    (divide,) = divided("by: adapter, models: [m], counters: {prompt: in_total}").divides()

    assert divide.page.shares is not None
    assert (divide.page.shares.generation, divide.page.shares.model) == ((), "model")
    assert not divide.division.cached


def test_wildcards_are_few() -> None:
    """A hundred, since each is compared with each tenant of a page; of entries without there are more."""

    def tenants(count: int, wildcard: str = "*") -> str:
        rows = ", ".join(f'{{match: "t{number}{wildcard}", team: x}}' for number in range(count))
        return f"by: [t], tenants: [{rows}]"

    assert len(divided(tenants(100)).divides()[0].page.tenants) == 100
    assert len(divided(tenants(1000, "")).divides()[0].page.tenants) == 1000
    with pytest.raises(ConfigError, match=r"tenants\[100\]\.match: at most 100 tenants may have \* \? or \["):
        divided(tenants(102))


def test_one_entry_of_a_gateway_gives_tenants_and_counters_for_all() -> None:
    """Before and after it; another gateway has its own."""
    url = 'gateway: "http://127.0.0.1:4000/metrics"'
    config = parse(
        f"""servers:
  - {{match: {{port: 8000}}, divide: {{{url}, by: [t]}}}}
  - {{match: {{port: 8001}}, divide: {{{url}, by: [t], tenants: [{{match: a, team: x}}]}}}}
  - match: {{port: 8002}}
    divide: {{{url}, by: [t], counters: {{prompt: p_total, cached_prompt: c_total}}, models: [m]}}
  - {{match: {{port: 8003}}, divide: {{gateway: "http://127.0.0.1:5000/metrics", by: team}}}}
""".encode()
    )
    *three, other = config.divides()

    assert len({divide.page for divide in three}) == 1
    assert three[0].page.tenants == (GatewayTenant("a", "x"),)
    assert [divide.division.cached for divide in config.divides()] == [True, True, True, False]
    assert [divide.division.models for divide in three] == [(), (), ("m",)]
    assert other.page == GatewayPageRule()
