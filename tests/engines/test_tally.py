"""What a gateway's page tells of who asked, reckoned by hand from the page."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.engines import (
    TALLIED,
    GatewayCounts,
    GatewaySpec,
    Shares,
    TokenSeries,
    WantedSeries,
    count_gateway,
    count_shares,
    match,
    read,
)
from exporter.engines.gateway_counts import COUNTS_MAX

CAPTURES = Path(__file__).parent / "captures"
LITELLM = b"litellm_in_flight_requests{} 1\nlitellm_input_tokens_metric_total{%s} %s\n"


def gateway_counts(page: bytes) -> GatewayCounts:
    """What a page tells, by whatever wrote it."""
    page_read = read(page, TALLIED)
    row = match(page_read)
    assert isinstance(row, GatewaySpec)
    return count_gateway(row, page_read)


Asker = tuple[str, str, str]


def counted(counts: GatewayCounts) -> dict[Asker, tuple[float, float]]:
    """Prompts and generated tokens by model, deployment and team."""
    sums: dict[Asker, tuple[float, float]] = {}
    for one in counts.counters:
        prompt, generation = sums.get((one.model, one.deployment, one.team), (0.0, 0.0))
        value = (one.value, 0.0) if one.quantity == "prompt" else (0.0, one.value)
        sums[one.model, one.deployment, one.team] = prompt + value[0], generation + value[1]
    return sums


def labels(**pairs: str) -> bytes:
    return ",".join(f'{name}="{value}"' for name, value in pairs.items()).encode()


def test_litellm_tells_teams_by_model_and_deployment() -> None:
    """Three teams at three deployments; the provider and its slash are no part of the model's name."""
    page = (CAPTURES / "litellm-1.106.12.prom").read_bytes()
    tally = gateway_counts(page)
    counts = counted(tally)

    assert {(model, deployment) for model, deployment, _ in counts} == {
        ("Qwen/Qwen3-32B", "id-01"),
        ("meta-llama/Llama-3.3-70B-Instruct", "id-02"),
        ("gpt-4.1-mini", "id-03"),
    }
    assert {team for _, _, team in counts} == {"Search", "Support", "Data"}
    assert counts["gpt-4.1-mini", "id-03", "Search"] == (82_389.0, 14_797.0)
    assert tally.teams


def test_the_endpoint_picker_tells_the_adapter_that_was_asked_for() -> None:
    """240,000 and 50,000 tokens of sql-lora, which were asked for by the name of its base model."""
    tally = gateway_counts((CAPTURES / "gateway-api-epp-1.3.prom").read_bytes())

    assert counted(tally) == {("sql-lora", "", ""): (240_000.0, 50_000.0)}
    assert not tally.teams


def test_two_names_of_one_count_are_read_once() -> None:
    """The picker of llm-d-router writes each histogram under its old and its new name."""
    tally = gateway_counts(
        b"llm_d_epp_request_total{} 1\n"
        b'llm_d_epp_request_input_tokens_sum{fairness_id="x",target_model_name="a"} 30\n'
        b'llm_d_epp_request_input_tokens_sum{fairness_id="y",target_model_name="a"} 12\n'
        b'inference_objective_input_tokens_sum{target_model_name="a"} 42\n'
    )

    assert counted(tally) == {("a", "", ""): (42.0, 0.0)}


@pytest.mark.parametrize(
    ("alias", "team", "named"),
    [("Search", "t-1", "Search"), ("None", "t-1", "t-1"), ("", "t-1", "t-1"), ("None", "None", "")],
)
def test_a_team_is_called_by_its_alias_else_by_its_id(alias: str, team: str, named: str) -> None:
    """LiteLLM writes None where there is none."""
    tally = gateway_counts(LITELLM % (labels(model="m", team=team, team_alias=alias), b"5"))

    assert [(one.team, one.value) for one in tally.counters] == [(named, 5.0)]


def test_its_process_is_told_by_its_start_else_by_its_oldest_series() -> None:
    """A proxy of several workers tells neither, and its counts that fall do."""
    page = LITELLM % (labels(model="m", team="t"), b"5")
    created = b"litellm_input_tokens_metric_created{%s} %s\n"
    oldest = created % (labels(team="a"), b"2e9") + created % (labels(team="b"), b"1.9e9")

    assert gateway_counts(page).identity == ""
    assert gateway_counts(page + oldest).identity == "started 1900000000.0"
    assert (
        gateway_counts(page + oldest + b"process_start_time_seconds 1.8e9\n").identity
        == "started 1800000000.0"
    )


def test_keys_and_users_of_a_team_are_told_one_by_one() -> None:
    """Their series go and come back by themselves; only what each moved by is added up."""
    page = b"".join(
        LITELLM % (labels(model="m", team_alias="Search", user=f"u-{number}", end_user="x"), b"5")
        for number in range(7)
    )

    assert [one.value for one in gateway_counts(page).counters] == [5.0] * 7
    assert len({one.series for one in gateway_counts(page).counters}) == 7
    assert counted(gateway_counts(page)) == {("m", "", "Search"): (35.0, 0.0)}


@pytest.mark.parametrize(
    "more", [{}, *({"user": "u" * length} for length in range(180, 201)), {"user": "u" * 400}]
)
def test_a_series_tells_when_it_began(more: dict[str, str]) -> None:
    """By the series of the same labels that its client library writes beside it, however long they are."""
    one, other = labels(model="m", team="a", **more), labels(model="m", team="b", **more)
    page = LITELLM % (one, b"5") + LITELLM % (other, b"5")
    page += b"litellm_input_tokens_metric_created{%s} 1.5e9\n" % one

    assert [one.created for one in gateway_counts(page).counters] == [1_500_000_000 * 10**9, None]


def test_what_a_label_says_is_bounded_and_printable() -> None:
    """A name of 1 MB and control characters is cut as everywhere, and one of a provider's only is kept."""
    name = "A\\n" + "b" * 1000
    tally = gateway_counts(LITELLM % (labels(model="x/m", api_provider="y", team_alias=name), b"5"))

    assert [(one.model, one.team) for one in tally.counters] == [("x/m", "A" + "b" * 127)]


@pytest.mark.parametrize("number", [b"NaN", b"+Inf", b"-5", b"-Inf"])
def test_what_is_no_count_is_no_reading(number: bytes) -> None:
    """It neither adds nor hides the others."""
    page = LITELLM % (labels(model="m", team_alias="a", user="1"), number)
    page += LITELLM % (labels(model="m", team_alias="a", user="2"), b"5")

    assert [one.value for one in gateway_counts(page).counters] == [5.0]


def test_a_page_of_more_than_can_be_told_apart_tells_nothing() -> None:
    """A thousand teams are told; with one more nobody knows which of them a later read would leave out."""
    page = b"".join(
        LITELLM % (labels(model="m", team_alias=f"team-{number}"), b"1") for number in range(COUNTS_MAX)
    )
    assert (len(gateway_counts(page).counters), gateway_counts(page).cut) == (COUNTS_MAX, False)

    more = gateway_counts(page + LITELLM % (labels(model="m", team_alias="one-more"), b"1"))
    assert (more.counters, more.cut) == ((), True)


def test_a_page_before_its_first_request_tells_nobody() -> None:
    """No counter is there yet, which is no failure."""
    assert gateway_counts(b"litellm_in_flight_requests{} 0\n") == GatewayCounts((), teams=False)


@given(st.binary(max_size=400))
def test_no_page_makes_it_raise(rest: bytes) -> None:
    """Whatever follows."""
    gateway_counts(b"litellm_in_flight_requests{} 0\nlitellm_input_tokens_metric_total{" + rest)


def by_label(name: str, capture: str) -> dict[tuple[str, str], tuple[float, float]]:
    """Prompts and generated tokens of a captured page by model and the value of a label."""
    page = read((CAPTURES / f"{capture}.prom").read_bytes(), TALLIED)
    row = match(page)
    assert isinstance(row, GatewaySpec)
    assert row.shares is not None
    counts = counted(count_shares(row.shares, page, lambda labels: labels.get(name, "")))
    assert {deployment for _, deployment, _ in counts} == {""}
    return {(model, team): tokens for (model, _, team), tokens in counts.items()}


def test_an_envoy_ai_gateway_counts_tenants_by_a_header() -> None:
    """Cached prompt tokens are within its input, and reasoning within its output: 6000 and 900 of acme."""
    assert by_label("tenant_id", "envoy-ai-gateway-1.1") == {
        ("llama", "acme"): (6000.0, 900.0),
        ("llama", "globex"): (1500.0, 300.0),
        ("llama", "initech"): (500.0, 100.0),
    }


def test_an_envoy_ai_gateway_before_0_5_has_the_unit_in_the_name() -> None:
    """And another program with the same names is no Envoy."""
    of = 'gen_ai_request_model="m",gen_ai_token_type="%s",otel_scope_name="%s"'
    line = f"gen_ai_client_token_usage_token_sum{{{of}}} 44\n"
    page = (line % ("input", "envoyproxy/ai-gateway")) + (line % ("output", "envoyproxy/ai-gateway"))

    assert counted(gateway_counts(page.encode())) == {("m", "", ""): (44.0, 44.0)}
    assert match(read((line % ("input", "my.chatbot")).encode(), TALLIED)) is None


@pytest.mark.parametrize(
    ("label", "capture", "expected"),
    [
        (
            "team",
            "agentgateway-75b4e6c",
            {("llama", "acme"): (6000.0, 900.0), ("llama", "unknown"): (80.0, 20.0)},
        ),
        (
            "workspace",
            "kong-3.10",
            {("llama", "acme"): (6000.0, 900.0), ("llama", "globex"): (1500.0, 300.0)},
        ),
        (
            "consumer",
            "apisix-3.18",
            {
                ("llama", "acme"): (6000.0, 900.0),
                ("llama", "globex"): (1500.0, 300.0),
                ("", "globex"): (70.0, 10.0),  # from its cache: no server computed them
            },
        ),
        (
            "virtual_key_id",
            "bifrost-001016f",
            {
                ("llama", "vk-1"): (6000.0, 900.0),
                ("llama", "vk-2"): (1500.0, 300.0),
                ("llama", "vk-3"): (500.0, 100.0),
            },
        ),
        (
            "tenant_id",
            "llm-d-coordinator-a8b1b78",
            {
                ("llama", "acme"): (6000.0, 900.0),
                ("llama", "globex"): (1500.0, 300.0),
                ("llama", "unknown"): (500.0, 100.0),
            },
        ),
    ],
)
def test_a_gateway_counts_both_kinds_by_its_labels(
    label: str, capture: str, expected: dict[tuple[str, str], tuple[float, float]]
) -> None:
    """Totals and cached tokens beside them are none of either kind."""
    assert by_label(label, capture) == expected


def test_bifrost_names_teams() -> None:
    """Two keys are of Search; the third is of no team."""
    tally = gateway_counts((CAPTURES / "bifrost-001016f.prom").read_bytes())

    assert counted(tally) == {("llama", "", "Search"): (7500.0, 1200.0), ("llama", "", ""): (500.0, 100.0)}
    assert tally.teams


def test_counters_of_a_configuration_have_kinds() -> None:
    """Cached tokens are a kind of their own; a series that lacks the label is of no kind."""
    shares = Shares(
        (TokenSeries("t_total", (("kind", ("in",)),)),),
        (TokenSeries("t_total", (("kind", ("out",)),)),),
        "model",
        cached=(TokenSeries("c_total"),),
    )
    page = (
        b't_total{kind="in",model="m"} 9\nt_total{kind="out",model="m"} 4\nt_total{model="m"} 1\nc_total 2\n'
    )
    counts = count_shares(shares, read(page, WantedSeries(shares.names)))

    assert [(one.model, one.quantity, one.value) for one in counts.counters] == [
        ("m", "prompt", 9.0),
        ("", "cached_prompt", 2.0),
        ("m", "generation", 4.0),
    ]
    assert counts.labels == ("kind", "model")
