"""The provider's ids of nodes, from answers made by hand."""

import json
from urllib.parse import parse_qs

import httpx

from exporter.config.http_client import HttpClientConfig
from exporter.finance.fleet.host_resources import NodeName
from exporter.finance.prometheus.client import PrometheusClient
from exporter.finance.prometheus.nodes import IDS, provider_ids
from exporter.units import NANOSECONDS_PER_DAY, NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND
from tests.kit.clock import ManualClock
from tests.kit.units import OCTOBER


def test_nodes_of_all_days() -> None:
    """A node that came back as another instance has both ids; each day is one query by the hour."""
    ranges: list[tuple[float, float]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        assert (form["query"], float(form["step"])) == (IDS, 3600)
        ranges.append((float(form["start"]), float(form["end"])))
        labels = {"cluster": "east", "node": "n1", "provider_id": f"aws:///us-east-1a/i-{len(ranges)}"}
        series = [{"metric": labels, "values": [[ranges[-1][0], "1"]]}]
        return httpx.Response(200, text=json.dumps({"status": "success", "data": {"result": series}}))

    with PrometheusClient(
        "http://prometheus.example:9090",
        HttpClientConfig(),
        ManualClock(),
        30 * NANOSECONDS_PER_SECOND,
        httpx.MockTransport(answer),
    ) as client:
        until = OCTOBER + NANOSECONDS_PER_DAY + 3 * NANOSECONDS_PER_HOUR
        ids = provider_ids(client, OCTOBER, until)

    start = OCTOBER // NANOSECONDS_PER_SECOND
    assert ranges == [(start + 3600, start + 86_400), (start + 90_000, start + 86_400 + 3 * 3600)]
    assert ids == {NodeName("east", "n1"): frozenset({"aws:///us-east-1a/i-1", "aws:///us-east-1a/i-2"})}
