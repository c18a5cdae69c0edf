"""Tenants of a gateway's page: by labels to who pays, with bounds, and never by their own names."""

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from exporter.config import parse
from exporter.config.settings import GatewayPageRule, GatewayTenant
from exporter.engines import Shares, TokenSeries
from exporter.readings import ReadFailedError, tenant_name
from exporter.sources.https_client import HttpsClient
from exporter.sources.server import GatewaySource
from exporter.sources.server.gateway import REMEMBERED_MAX, TenantTable
from exporter.units import NANOSECONDS_PER_SECOND

URL = "http://127.0.0.1:4000/metrics/"
TENANTS = (
    GatewayTenant("acme/*", "retrieval", "search"),
    GatewayTenant("acme/late", "nobody"),
    GatewayTenant("globex/chat", "support"),
    GatewayTenant("*/batch", "batch"),
)
CONFIGURED = Shares(
    (TokenSeries("house_tokens_total", (("kind", ("in",)),)),),
    (TokenSeries("house_tokens_total", (("kind", ("out",)),)),),
    "model",
)
BY_TENANT = GatewayPageRule(("tenant",), (GatewayTenant("acme", "retrieval"),), CONFIGURED)

Make = Callable[..., GatewaySource]


@pytest.fixture
def gateway(site: Any, hand_clock: Any) -> Iterator[Make]:
    client = HttpsClient(httpx.Client(transport=httpx.MockTransport(site)))
    yield lambda rule, **options: GatewaySource(URL, ("team",), client, hand_clock, rule=rule, **options)
    client.close()


def refused(source: GatewaySource) -> tuple[str, str]:
    with pytest.raises(ReadFailedError) as failure:
        source.read()
    return failure.value.reason, str(failure.value)


def page_of(*tenants: str, model: str = "llama") -> bytes:
    """A page with one prompt token of each tenant."""
    return b"".join(
        b'house_tokens_total{kind="in",model="%s",tenant="%s"} 1\n' % (model.encode(), tenant.encode())
        for tenant in tenants
    )


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        ({"tenant": "acme", "load": "coding"}, tenant_name("retrieval", "search")),
        ({"tenant": "acme", "load": "late"}, tenant_name("retrieval", "search")),  # the first match decides
        ({"tenant": "globex", "load": "chat"}, "support"),
        ({"tenant": "globex", "load": "batch"}, "batch"),
        ({"load": "batch"}, "batch"),
        ({"tenant": "globex", "load": "chat2"}, "other"),
        ({"tenant": "Globex", "load": "chat"}, "other"),  # case counts
        ({"tenant": "unknown", "load": "unknown"}, ""),
        ({"tenant": "", "load": ""}, ""),
        ({"end_user": "acme"}, ""),
    ],
)
def test_a_tenant_is_of_the_first_entry_that_matches(labels: dict[str, str], name: str) -> None:
    """One that no entry matches is of team other; one without a value of any label is the owner's."""
    table = TenantTable(("tenant", "load"), TENANTS, ("", "unknown"))

    assert table.name(labels) == name


@pytest.mark.parametrize(
    ("tenant", "team"), [("a1", "first"), ("ab", "pattern"), ("a*", "pattern"), ("b1", "second")]
)
def test_entries_written_in_full_keep_their_place(tenant: str, team: str) -> None:
    """Before and after a pattern, and of two that are the same the first."""
    rows = (("a1", "first"), ("a*", "pattern"), ("ab", "late"), ("b1", "second"), ("b1", "third"))
    table = TenantTable(("t",), [GatewayTenant(*row) for row in rows], ("",))

    assert table.name({"t": tenant}) == team


def test_an_entry_may_name_team_other() -> None:
    """Its tenants have an entry all the same."""
    table = TenantTable(("tenant",), (GatewayTenant("acme", "other"),), ("",))

    assert (table.name({"tenant": "acme"}), table.unlisted) == ("other", [])


def test_tenants_without_an_entry_are_those_of_the_last_page() -> None:
    """In order, each once."""
    table = TenantTable(("tenant",), (GatewayTenant("acme", "retrieval"),), ("",))
    for tenant in ("zeta", "acme", "beta", "zeta"):
        table.name({"tenant": tenant})
    assert table.unlisted == ["beta", "zeta"]

    table.begin_page()
    table.name({"tenant": "beta"})
    assert table.unlisted == ["beta"]


def test_tenants_that_come_and_go_are_not_remembered_for_ever() -> None:
    """Each page has ten thousand others: what is kept of them stays bounded."""
    table = TenantTable(("tenant",), TENANTS, ("",))
    tracemalloc.start()
    for number in range(100_000):
        if number % 10_000 == 0:
            table.begin_page()
        table.name({"tenant": f"t{number}"})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 8_000_000
    assert REMEMBERED_MAX == 20_000


def test_more_tenants_than_teams_are_allowed_still_divide(gateway: Make, site: Any) -> None:
    """Five thousand strangers are one team; the page has two teams for the limit of a thousand."""
    site.set_page("/metrics/", page_of("acme", *(f"stranger-{number:04}" for number in range(5000))))
    reading = gateway(BY_TENANT).read()

    assert len(reading.counters) == 5001
    assert {counter.team for counter in reading.counters} == {"retrieval", "other"}
    assert (reading.unlisted[0], len(reading.unlisted), reading.unlisted_count) == ("stranger-0000", 20, 5000)


def test_a_page_of_a_million_tenants_is_too_large(gateway: Make, site: Any) -> None:
    """At most 20,000 series are read, of at most so many bytes; the reason is the same at each read."""
    site.set_page("/metrics/", page_of(*(f"s{number}" for number in range(20_001))))
    source = gateway(BY_TENANT)
    message = f"{URL}: more series, models or teams than the limit"
    assert [refused(source) for _ in range(2)] == [("too_large", message)] * 2

    site.set_page("/metrics/", page_of("x") * 1_000_000)
    assert refused(gateway(BY_TENANT)) == ("too_large", f"{URL}: larger than 8388608 bytes")


def test_a_model_with_many_values_is_still_limited(gateway: Make, site: Any) -> None:
    """Tenants have entries, models have none."""
    page = b"".join(page_of("acme", model=f"m{number}") for number in range(1001))
    site.set_page("/metrics/", page)

    assert refused(gateway(BY_TENANT))[0] == "too_large"


def test_a_page_of_other_counters_says_which_are_missing(gateway: Make, site: Any) -> None:
    """Neither name is on the page."""
    site.set_page("/metrics/", b"<html>")

    assert refused(gateway(BY_TENANT)) == (
        "not_recognized",
        (
            f"{URL}: answers with a page that has neither house_tokens_total: check the names in `counters`, "
            "or send a first request through the gateway"
        ),
    )


CACHED = replace(
    BY_TENANT, shares=replace(CONFIGURED, cached=(TokenSeries("house_cached_total", (("hit", ("1",)),)),))
)


@pytest.mark.parametrize(
    "cached",
    [
        b"",
        b'house_cached_total{hit="0",model="llama",tenant="acme"} 1\n',
        b'house_cached_total{hit="1",model="llama",tenant="acme"} NaN\n',
    ],
)
def test_prompts_without_the_cached_ones_that_are_configured_are_refused(
    gateway: Make, site: Any, cached: bytes
) -> None:
    """A misspelled name would read as zero: who has cached prompts would pay for them in full."""
    site.set_page("/metrics/", page_of("acme") + cached)
    source = gateway(CACHED)

    assert refused(source) == (
        "not_recognized",
        (
            f'{URL}: counts prompts and has no house_cached_total{{hit="1"}}: check `cached_prompt` in '
            "`counters`, send a request that a prefix cache serves, or leave it out"
        ),
    )
    hit = b'house_cached_total{hit="1",model="llama",tenant="globex"} 0\n'
    site.set_page("/metrics/", page_of("acme") + hit)
    assert [counter.value for counter in source.read().counters] == [1.0, 0.0]


def test_counters_without_a_series_are_named(gateway: Make, site: Any) -> None:
    """Those of prompts and of generated tokens, and all before the first request."""
    prompt, cached, generation = (
        'house_tokens_total{kind="in"}',
        'house_cached_total{hit="1"}',
        'house_tokens_total{kind="out"}',
    )
    site.set_page("/metrics/", page_of("acme"))
    assert gateway(BY_TENANT).read().absent == (generation,)
    site.set_page("/metrics/", page_of("acme").replace(b'"in"', b'"out"'))
    assert gateway(BY_TENANT).read().absent == (prompt,)
    site.set_page("/metrics/", b"process_start_time_seconds 1.5e9\n")
    assert gateway(CACHED).read().absent == (prompt, cached, generation)


def test_counters_without_the_label_say_which_they_have(gateway: Make, site: Any) -> None:
    """A misspelled label would leave all to the owner."""
    site.set_page("/metrics/", b'house_tokens_total{kind="in",model="llama",tenant_id="acme"} 1\n')

    assert refused(gateway(BY_TENANT)) == (
        "no_teams",
        (
            f"{URL}: the page of a gateway with configured counters has no label tenant: "
            "write one of its labels in `by`: kind, model, tenant_id"
        ),
    )


def test_a_process_before_its_first_request_has_no_tenants(gateway: Make, site: Any) -> None:
    """Nothing is counted yet, which is no failure: what comes later counts from zero."""
    site.set_page("/metrics/", b"process_start_time_seconds 1.5e9\n")
    reading = gateway(BY_TENANT).read()

    assert (reading.up, reading.counters, reading.identity) == (True, (), "started 1500000000.0")


def test_configured_counters_of_litellm_name_models_deployments_and_tenants_as_built_in_ones(
    gateway: Make, site: Any
) -> None:
    """Without its provider; `None` is no tenant. The process began with the oldest series."""
    config = parse(
        b"servers: [{match: {port: 8000}, divide: {by: [team_alias], "
        b'gateway: "http://127.0.0.1:4000/metrics/", tenants: [{match: acme, team: retrieval}], '
        b"counters: {prompt: litellm_input_tokens_metric_total}}}]"
    )
    page = b"".join(
        b'litellm_input_tokens_metric_%s{api_provider="hosted_vllm",model="hosted_vllm/llama",model_id="id-1",'
        b'team_alias="%s"} %s\n' % row
        for row in ((b"total", b"acme", b"7"), (b"created", b"acme", b"1.5e9"), (b"total", b"None", b"2"))
    )
    site.set_page("/metrics/", page)
    reading = gateway(config.divides()[0].page).read()

    assert [(one.model, one.deployment, one.team, one.value) for one in reading.counters] == [
        ("llama", "id-1", "retrieval", 7.0),
        ("llama", "id-1", "", 2.0),
    ]
    assert [one.created for one in reading.counters] == [1_500_000_000 * NANOSECONDS_PER_SECOND, None]
    assert reading.identity == "started 1500000000.0"


def test_other_counters_are_another_selection(gateway: Make, site: Any) -> None:
    """Other tenants are not: their series stay the same."""
    site.set_page("/metrics/", page_of("acme"))
    first = gateway(BY_TENANT).read().selection
    others = GatewayPageRule(("tenant",), (GatewayTenant("acme", "x"),), CONFIGURED)
    half = GatewayPageRule(("tenant",), BY_TENANT.tenants, Shares(CONFIGURED.prompt, (), "model"))

    assert gateway(others).read().selection == first
    assert gateway(half).read().selection not in ("", first)
