"""A gateway is read for who asked, bounded and distrusted as servers are."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from exporter.readings import GatewayCounter, ReadFailedError, endpoint_id
from exporter.sources.https_client import HttpsClient
from exporter.sources.server import GatewaySource
from exporter.sources.server.endpoint import EndpointAccess

URL = "http://127.0.0.1:4000/metrics/"
LITELLM = (
    b"process_start_time_seconds 1.5e9\n"
    b'litellm_input_tokens_metric_total{model="m",team_alias="Search"} 70\n'
    b'litellm_output_tokens_metric_total{model="m",team_alias="Search"} 30\n'
)
PICKER = b'inference_objective_input_tokens_sum{target_model_name="sql"} 9\ninference_extension_info{} 1\n'

KNOWN = (
    "give the page of the Gateway API endpoint picker, the LiteLLM proxy, the llm-d coordinator, "
    "the Envoy AI Gateway, the agentgateway proxy, the Kong gateway, the APISIX gateway or the Bifrost "
    "gateway, or name its `counters`"
)

Make = Callable[..., GatewaySource]


@pytest.fixture
def gateway(site: Any, hand_clock: Any) -> Iterator[Make]:
    client = HttpsClient(httpx.Client(transport=httpx.MockTransport(site)))
    yield lambda *by, **options: GatewaySource(URL, by or ("team",), client, hand_clock, **options)
    client.close()


def refused(source: GatewaySource) -> tuple[str, str]:
    with pytest.raises(ReadFailedError) as failure:
        source.read()
    return failure.value.reason, str(failure.value)


def test_a_query_is_sent_and_never_named(site: Any, hand_clock: Any) -> None:
    """The page is asked for with it; the reading, the source's name and an error have its name alone."""
    client = HttpsClient(httpx.Client(transport=httpx.MockTransport(site)))
    source = GatewaySource(f"{URL}?api_key=5ecret", ("team",), client, hand_clock)
    site.set_page("/metrics/?api_key=5ecret", LITELLM)
    reading = source.read()
    site.set_page("/metrics/?api_key=5ecret", b"a 1\n")
    _, problem = refused(source)
    client.close()

    assert [str(request.url) for request in site.requests] == [f"{URL}?api_key=5ecret"] * 2
    assert source.name == "gateway:127.0.0.1:4000/metrics/?api_key=***"
    assert reading.url == source.url == endpoint_id(f"{URL}?api_key=5ecret")
    assert problem.startswith(f"{URL}?api_key=***: ")


def test_a_page_is_read_with_the_token_and_at_its_own_path(gateway: Make, site: Any, tmp_path: Path) -> None:
    """The slash at its end counts, since LiteLLM redirects without it."""
    token = tmp_path / "token"
    token.write_text("secret\n", encoding="utf-8")
    token.chmod(0o600)
    site.set_page("/metrics/", LITELLM)
    source = gateway(access=EndpointAccess(token))
    reading = source.read()

    labels = "{model=m,team_alias=Search}"
    prompt, generation = "litellm_input_tokens_metric_total", "litellm_output_tokens_metric_total"
    assert reading.counters == (
        GatewayCounter(prompt + labels, "m", "", "Search", "prompt", 70.0),
        GatewayCounter(generation + labels, "m", "", "Search", "generation", 30.0),
    )
    assert (reading.title, reading.identity) == ("the LiteLLM proxy", "started 1500000000.0")
    assert site.requests[0].headers["authorization"] == "Bearer secret"
    assert source.name == "gateway:127.0.0.1:4000/metrics/"
    assert source.errors == ()


def test_what_cannot_be_read_of_it_is_counted(gateway: Make, site: Any) -> None:
    """A malformed line and a repeated one cost themselves only."""
    site.set_page("/metrics/", LITELLM + LITELLM + b"litellm_input_tokens_metric_total{ 5\n")
    source = gateway()

    assert [one.value for one in source.read().counters] == [70.0, 30.0]
    assert dict(source.errors) == {"malformed": 1, "duplicate": 3}


@pytest.mark.parametrize(
    ("page", "by", "reason", "message"),
    [
        (
            b"<html>",
            "team",
            "not_recognized",
            (f"{URL}: answers with a page of no known engine: {KNOWN}"),
        ),
        (
            b'vllm:num_requests_running{model_name="m"} 2\n',
            "team",
            "not_recognized",
            (f"{URL}: answers with the page of vLLM, which does not name its clients: {KNOWN}"),
        ),
        (
            b"smg_worker_pool_size 1\n",
            "adapter",
            "not_recognized",
            (f"{URL}: answers with the page of the SGLang router, which does not name its clients: {KNOWN}"),
        ),
        (
            PICKER,
            "team",
            "no_teams",
            (
                f"{URL}: the page of the Gateway API endpoint picker has no team: divide by adapter, or by a "
                "list of its labels"
            ),
        ),
        (
            b'litellm_input_tokens_metric_total{model="m",user="u"} 70\n',
            "team",
            "no_teams",
            (
                f"{URL}: the page of the LiteLLM proxy has no team: let its metrics have the label "
                "team_alias or team"
            ),
        ),
        (
            b"".join(
                b'litellm_input_tokens_metric_total{model="m",team="%d"} 1\n' % number
                for number in range(1001)
            ),
            "team",
            "too_large",
            f"{URL}: more series, models or teams than the limit",
        ),
    ],
)
def test_a_page_that_cannot_divide_says_what_to_do(
    gateway: Make, site: Any, page: bytes, by: str, reason: str, message: str
) -> None:
    """Each with its reason, which the source's health shows."""
    site.set_page("/metrics/", page)

    assert refused(gateway(by)) == (reason, message)


def test_an_adapter_needs_no_team(gateway: Make, site: Any) -> None:
    """The picker's page divides by adapter."""
    site.set_page("/metrics/", PICKER)

    assert [one.value for one in gateway("adapter").read().counters] == [9.0]


def test_it_is_no_more_trusted_than_a_server(gateway: Make, site: Any) -> None:
    """No redirect is followed, and no page is longer than is allowed."""
    site.answers["/metrics/"] = httpx.Response(307, headers={"location": "http://elsewhere/"})
    assert refused(gateway()) == ("redirect", f"{URL}: answers with HTTP status 307")

    site.set_page("/metrics/", LITELLM)
    assert refused(gateway(body_bytes=50)) == ("too_large", f"{URL}: larger than 50 bytes")
