"""A month of each ledger from a Prometheus: last values, names, hours; against answers made by hand."""

import re
from bisect import bisect_right
from collections.abc import Iterable
from urllib.parse import parse_qs

import httpx
import pytest

from exporter.config.http_client import HttpClientConfig
from exporter.finance.fleet.record import HostName, combine
from exporter.finance.prometheus.client import PrometheusClient, PrometheusError
from exporter.finance.prometheus.month import host_months
from exporter.report import MonthKey
from tests.kit.clock import ManualClock
from tests.kit.units import SECOND

HOUR = 3600
OCTOBER, NOVEMBER = 1_790_812_800, 1_793_491_200
"""The first instants of both months of 2026 in UTC."""
DECEMBER = 1_796_083_200
NOW = NOVEMBER + 10 * 24 * HOUR

Answered = dict[str, list[tuple[dict[str, str], dict[int, str]]]]
"""By metric: series as labels and values by second since the epoch."""


class Server:
    """Answers the queries of the reader: the last value in the window of each series of the metric.

    As Thanos does, it has scraped samples from a second on, and before it those of five minutes.
    """

    def __init__(self, series: Answered, scraped_from: int = 0) -> None:
        self.series = series
        self.scraped_from = scraped_from
        self.queries: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        query = form["query"]
        self.queries.append(query)
        first = 0 if form.get("max_source_resolution", "0.000") != "0.000" else self.scraped_from
        match = re.search(r"(inference[\w:]+)(?:\{([^}]*)\})?\[(\d+)([smh])\]", query)
        assert match is not None, query
        window = int(match[3]) * {"s": 1, "m": 60, "h": HOUR}[match[4]]
        month = re.search(r'month="([^"]+)"', match[2] or "")
        chosen = [
            (labels, {at: value for at, value in values.items() if at >= first})
            for labels, values in self.series.get(match[1], [])
            if month is None or labels.get("month") == month[1]
        ]
        if request.url.path.endswith("query_range"):
            start, end, step = (float(form[name]) for name in ("start", "end", "step"))
            times = [int(start + number * step) for number in range(int((end - start) // step) + 1)]
            result: list[dict[str, object]] = [
                {"metric": labels, "values": [list(pair) for pair in values_at]}
                for labels, values in chosen
                if (values_at := list(last(values, times, window)))
            ]
        else:
            at = int(float(form["time"]))
            result = [
                {"metric": labels, "value": list(value_at[0])}
                for labels, values in chosen
                if (value_at := list(last(values, [at], window)))
            ]
        return httpx.Response(200, json={"status": "success", "data": {"result": result}})


def last(values: dict[int, str], times: Iterable[int], window: int) -> Iterable[tuple[int, str]]:
    """The last value in each window (time - window, time]."""
    seconds = sorted(values)
    for time in times:
        until = bisect_right(seconds, time)
        if until and seconds[until - 1] > time - window:
            yield time, values[seconds[until - 1]]


def client(server: Server) -> PrometheusClient:
    return PrometheusClient(
        "http://prometheus.example:9090",
        HttpClientConfig(),
        ManualClock(),
        30 * SECOND,
        httpx.MockTransport(server),
    )


def cell(
    ledger: str, product: str = "chat", basis: str = "configured", month: str = "2026-10"
) -> dict[str, str]:
    return {"ledger": ledger, "product": product, "team": "a", "price_basis": basis, "month": month}


def names(ledger: str, instance: str, cluster: str = "east") -> dict[str, str]:
    return {"cluster": cluster, "ledger": ledger, "instance": instance, "node": instance.partition(":")[0]}


ENDS = [({"cluster": "east", "instance": "n1:9844", "month": "2026-10"}, {NOW: f"{NOVEMBER}"})]


def test_the_memory_of_the_rules_is_the_month_and_live_hosts_have_the_latest() -> None:
    """A dead ledger keeps its last value; a live one may have posted late."""
    server = Server(
        {
            "inference:month_to_date_dollars:posting_hourly": [
                (cell("live"), {NOW - 600: "100.25"}),
                (cell("dead"), {NOW - 600: "7.5"}),
                (cell("dead", basis="estimate"), {NOW - 600: "0.5"}),
                (cell("live", month="2026-11"), {NOW - 600: "1"}),
            ],
            "inference:month_to_date_dollars:posting": [(cell("live"), {NOW - 30: "101.000000000001"})],
            "inference:ledger_seen_timestamp_seconds": [
                (names("live", "n1:9844"), {at: f"{at - 5}" for at in range(OCTOBER + 60, NOVEMBER, 1800)}),
                (names("dead", "n2:9844"), {OCTOBER + 5400: f"{OCTOBER + 5390}"}),
            ],
            "inference_month_end_timestamp_seconds": ENDS,
        }
    )

    dead, live = host_months(client(server), "2026-10", ["UTC"], NOW * SECOND)

    assert live.record.cells == {MonthKey("chat", "a", "configured", "2026-10"): 101_000_000_000_001}
    assert dead.record.cells == {
        MonthKey("chat", "a", "configured", "2026-10"): 7_500_000_000_000,
        MonthKey("chat", "a", "estimate", "2026-10"): 500_000_000_000,
    }
    assert (live.names, dead.names) == (
        (HostName("east", "n1:9844", "n1"),),
        (HostName("east", "n2:9844", "n2"),),
    )
    assert (dead.first, dead.last) == ((OCTOBER + HOUR) * SECOND, (OCTOBER + 5390) * SECOND)
    assert live.record.sums is None
    assert live.covered == 744 * HOUR * SECOND
    assert {(host.apportioned, host.origin, host.zone) for host in (dead, live)} == {
        (False, "prometheus", "UTC")
    }


def test_a_host_that_was_gone_before_the_rules_were_loaded_is_in_the_month() -> None:
    """Loaded on the 20th, they remember nobody who died on the 2nd with 500 dollars; samples do."""
    loaded = OCTOBER + 19 * 24 * HOUR
    server = Server(
        {
            "inference:month_to_date_dollars:posting_hourly": [
                (cell("live"), dict.fromkeys(range(loaded, NOW + 1, HOUR), "80")),
            ],
            "inference:month_to_date_dollars:posting": [
                (cell("live"), dict.fromkeys(range(loaded, NOW + 1, 600), "80"))
            ],
            "inference_month_to_date_dollars": [
                (cell("live"), dict.fromkeys(range(OCTOBER, NOW + 1, 600), "80")),
                (cell("gone"), dict.fromkeys(range(OCTOBER, OCTOBER + 30 * HOUR, 600), "500")),
            ],
        }
    )

    gone, live = host_months(client(server), "2026-10", ["UTC"], NOW * SECOND)

    assert (gone.total, live.total) == (500 * 10**12, 80 * 10**12)


def test_without_rules_every_hour_is_looked_at() -> None:
    """A node of three hours that died on the second day is in the month."""
    server = Server(
        {
            "inference_month_to_date_dollars": [
                (cell("spot"), {OCTOBER + 90_000 + at: f"{at / 1000}" for at in range(0, 3 * HOUR, 600)}),
                (cell("live"), dict.fromkeys(range(OCTOBER, NOW + 1, 600), "5")),
            ],
            "inference_month_metered_since_timestamp_seconds": [
                ({"month": "2026-10"}, {NOVEMBER + 2 * HOUR: f"{OCTOBER}"})
            ],
        }
    )

    live, spot = host_months(client(server), "2026-10", ["UTC"], NOW * SECOND)

    assert (live.total, spot.total) == (5 * 10**12, 10_200_000_000_000)


def test_a_month_in_which_the_clusters_rules_were_loaded_is_whole_by_its_scrapes() -> None:
    """Records begin on the 20th; scrapes from the 1st on have the whole month, and who died on the 2nd."""
    loaded = OCTOBER + 19 * 24 * HOUR
    server = Server(
        {
            "inference:month_to_date_dollars:posting": [
                (cell("live"), dict.fromkeys(range(loaded, NOW + 1, 600), "80"))
            ],
            "inference_month_to_date_dollars": [
                (cell("live"), dict.fromkeys(range(OCTOBER, NOW + 1, 600), "80")),
                (cell("gone"), dict.fromkeys(range(OCTOBER, OCTOBER + 30 * HOUR, 600), "500")),
            ],
            "inference_month_metered_since_timestamp_seconds": [
                ({"month": "2026-10"}, {NOVEMBER + 2 * HOUR: f"{OCTOBER}"})
            ],
        }
    )

    gone, live = host_months(client(server), "2026-10", ["UTC"], NOW * SECOND)

    assert (gone.total, live.total) == (500 * 10**12, 80 * 10**12)


@pytest.mark.parametrize(
    ("metered_since", "complete_from"),
    [
        pytest.param(OCTOBER, OCTOBER + 15 * 24 * HOUR - HOUR, id="hosts are older"),
        pytest.param(OCTOBER + 15 * 24 * HOUR - 1800, None, id="hosts began then"),
        pytest.param(None, OCTOBER + 15 * 24 * HOUR - HOUR, id="nothing tells"),
    ],
)
def test_a_month_whose_beginning_is_gone_says_so(
    metered_since: int | None, complete_from: int | None
) -> None:
    """Hosts that ended before would be missing; the months of those that live are whole."""
    begun = OCTOBER + 15 * 24 * HOUR
    since = [({"month": "2026-10"}, dict.fromkeys((begun, NOVEMBER - 60), f"{metered_since}"))]
    server = Server(
        {
            "inference_month_to_date_dollars": [
                (names("live", "n1:9844") | cell("live"), dict.fromkeys(range(begun, NOW + 1, 600), "5"))
            ],
            "inference_month_metered_since_timestamp_seconds": [] if metered_since is None else since,
            "inference:ledger_seen_timestamp_seconds": [
                (names("live", "n1:9844"), {at: f"{at}" for at in range(begun, NOW + 1, 600)})
            ],
        }
    )

    hosts = host_months(client(server), "2026-10", ["UTC"], NOW * SECOND)
    fleet = combine(hosts, NOW * SECOND)

    assert fleet.total == 5 * 10**12
    assert [(each.kind, each.instant, each.duration) for each in fleet.findings] == (
        []
        if complete_from is None
        else [("truncated", complete_from * SECOND, (15 * 24 - 1) * HOUR * SECOND)]
    )


@pytest.mark.parametrize(
    ("oldest_end", "complete_from"),
    [
        pytest.param(OCTOBER - 30 * 24 * HOUR, None, id="the memory is of August"),
        pytest.param(OCTOBER, OCTOBER + 19 * 24 * HOUR, id="it may be of October"),
    ],
)
def test_a_memory_whose_first_samples_are_deleted(oldest_end: int, complete_from: int | None) -> None:
    """A retention of days: hosts export when their month and the one before end, so no older end is new.

    Of the dead host the rules remember when it was last seen, and its scrapes are gone.
    """
    samples = range(OCTOBER + 19 * 24 * HOUR + 600, NOW + 1, HOUR)
    died = OCTOBER + 3 * 24 * HOUR
    server = Server(
        {
            "inference:month_to_date_dollars:posting_hourly": [
                (cell("live"), dict.fromkeys(samples, "80")),
                (cell("dead"), dict.fromkeys(samples, "500")),
                (cell("forgotten"), dict.fromkeys(samples, "1")),
            ],
            "inference:month_end_timestamp_seconds_hourly": [
                ({"cluster": "east", "month": "m"}, dict.fromkeys(samples, f"{oldest_end}"))
            ],
            "inference:ledger_cluster_hourly": [
                ({"ledger": "dead", "cluster": "east"}, dict.fromkeys(samples, f"{died}")),
                ({"ledger": "forgotten", "cluster": "east"}, dict.fromkeys(samples, "0")),
            ],
            "inference:ledger_seen_timestamp_seconds": [
                (names("live", "n1:9844"), {at: f"{at}" for at in range(samples.start, NOW + 1, 600)})
            ],
            "inference_month_metered_since_timestamp_seconds": [
                ({"month": "2026-10"}, dict.fromkeys(range(samples.start, NOW + 1, 600), f"{OCTOBER}"))
            ],
        }
    )

    hosts = host_months(client(server), "2026-10", ["UTC"], NOW * SECOND)
    fleet = combine(hosts, NOW * SECOND)

    assert fleet.total == 581 * 10**12
    expected = [
        ("silent", "dead", died * SECOND),
        ("silent", "forgotten", None),
        *([("truncated", "", complete_from * SECOND)] if complete_from is not None else []),
    ]
    assert [(each.kind, each.ledger, each.instant) for each in fleet.findings] == expected


def test_a_server_without_the_month_says_so() -> None:
    """It is no empty month."""
    with pytest.raises(PrometheusError, match="holds no inference_month_to_date_dollars of 2026-10"):
        host_months(client(Server({})), "2026-10", ["UTC"], NOW * SECOND)


@pytest.mark.parametrize(
    ("end", "zones", "zone"),
    [
        (NOVEMBER, ("UTC",), "UTC"),
        (NOVEMBER + 4 * HOUR, ("UTC",), "Etc/GMT+4"),
        (NOVEMBER + 4 * HOUR, ("UTC", "America/New_York"), "America/New_York"),
        (NOVEMBER - 5 * HOUR - 1800, ("Asia/Kolkata",), "Asia/Kolkata"),
    ],
)
def test_the_time_zone_is_that_of_the_months_end(end: int, zones: tuple[str, ...], zone: str) -> None:
    """Of those that are given, else by its whole hours."""
    server = Server(
        {
            "inference:month_to_date_dollars:posting_hourly": [(cell("live"), {NOW - 600: "1"})],
            "inference_month_end_timestamp_seconds": [
                ({"instance": "n1", "month": "2026-10"}, {NOVEMBER - 60: f"{end}"})
            ],
        }
    )

    (live,) = host_months(client(server), "2026-10", zones, NOW * SECOND)

    assert live.zone == zone


def test_hosts_of_different_zones_are_named() -> None:
    """Their months cannot be added up."""
    server = Server(
        {
            "inference_month_end_timestamp_seconds": [
                ({"instance": "n1", "month": "2026-10"}, {NOVEMBER - 60: f"{NOVEMBER}"}),
                ({"instance": "n2", "month": "2026-10"}, {NOVEMBER - 60: f"{NOVEMBER + 4 * HOUR}"}),
            ],
        }
    )

    with pytest.raises(
        PrometheusError, match=r"2026-11-01T00:00:00Z \(1: n1\); 2026-11-01T04:00:00Z \(1: n2\)"
    ):
        host_months(client(server), "2026-10", ["UTC"], NOW * SECOND)


def test_a_zone_that_nobody_named_is_an_error() -> None:
    """Half hours are of several zones."""
    server = Server(
        {
            "inference_month_end_timestamp_seconds": [
                ({"instance": "n1", "month": "2026-10"}, {NOVEMBER - 60: f"{NOVEMBER - 5 * HOUR - 1800}"})
            ],
        }
    )

    with pytest.raises(PrometheusError, match=r"give their `timezone` by --config.file"):
        host_months(client(server), "2026-10", ["UTC"], NOW * SECOND)


def test_a_price_basis_of_a_newer_release_is_an_error() -> None:
    """Its money would be dropped otherwise."""
    server = Server(
        {
            "inference:month_to_date_dollars:posting_hourly": [
                (cell("live", basis="auction"), {NOW - 600: "1"})
            ]
        }
    )

    with pytest.raises(PrometheusError, match="the price basis 'auction'"):
        host_months(client(server), "2026-10", ["UTC"], NOW * SECOND)


def test_the_current_month_is_read_as_of_now() -> None:
    """Its money and its last scrape are those of the present."""
    server = Server(
        {
            "inference:month_to_date_dollars:posting_hourly": [
                (cell("live", month="2026-11"), {NOW - 600: "3"})
            ],
            "inference:ledger_seen_timestamp_seconds": [
                (names("live", "n1:9844"), {at: f"{at}" for at in range(NOVEMBER, NOW + 1, 1800)})
            ],
            "inference_month_end_timestamp_seconds": [
                ({"instance": "n1", "month": "2026-11"}, {NOW - 60: f"{DECEMBER}"})
            ],
        }
    )

    (live,) = host_months(client(server), "2026-11", ["UTC"], NOW * SECOND)

    assert live.total == 3 * 10**12
    assert live.last == NOW * SECOND


@pytest.mark.parametrize("ahead", [0, HOUR])
def test_the_hour_that_goes_on_is_read(ahead: int) -> None:
    """At 12:30 a host reports since midnight without a gap, and another one came and went since 12:00.

    Where rules do not run, Prometheus has no time of a last scrape but that of the end of the hour.
    """
    now = OCTOBER + 12 * HOUR + 1800
    minutes = range(OCTOBER, now + 1, 60)
    brief = range(OCTOBER + 12 * HOUR + 300, OCTOBER + 12 * HOUR + 900, 60)
    server = Server(
        {
            "inference_month_to_date_dollars": [
                (cell("live"), dict.fromkeys(minutes, "5")),
                (cell("brief"), dict.fromkeys(brief, "0.5")),
            ],
            "inference:ledger_seen_timestamp_seconds": [
                (names("live", "n1:9844"), {at: f"{at + ahead}" for at in minutes}),
                (names("brief", "n2:9844"), {at: f"{at}" for at in brief}),
            ],
        }
    )

    hosts = host_months(client(server), "2026-10", ["UTC"], now * SECOND)
    fleet = combine(hosts, now * SECOND)

    assert fleet.total == 5_500_000_000_000
    assert [(finding.kind, finding.ledger) for finding in fleet.findings] == []
    assert fleet.record.last_commit == now * SECOND
    assert {host.record.ledger: host.covered // SECOND for host in hosts} == {"live": 45_000, "brief": 1800}


DOWNSAMPLED = "one sample each 300 s in some hours"


@pytest.mark.parametrize(
    ("scraped_from", "findings"),
    [
        pytest.param(0, [], id="all was scraped"),
        pytest.param(OCTOBER + 20 * 24 * HOUR, [DOWNSAMPLED, DOWNSAMPLED], id="in part"),
        pytest.param(NOW + HOUR, [DOWNSAMPLED, DOWNSAMPLED], id="nothing was"),
    ],
)
@pytest.mark.parametrize(
    "name", ["inference_month_to_date_dollars", "inference:month_to_date_dollars:posting"]
)
def test_hours_that_thanos_has_downsampled_are_read_and_said(
    name: str, scraped_from: int, findings: list[str]
) -> None:
    """A querier answers with scraped samples unless asked: a node of the second day would be missing."""
    server = Server(
        {
            name: [
                (cell("spot"), {OCTOBER + 90_000 + at: f"{at / 1000}" for at in range(0, 3 * HOUR, 100)}),
                (cell("live"), dict.fromkeys(range(OCTOBER + 60, NOW + 1, 240), "5")),
            ],
            "inference:ledger_seen_timestamp_seconds": [
                (names("live", "n1:9844"), {at: f"{at}" for at in range(OCTOBER + 60, NOW + 1, 240)}),
                (names("spot", "n2:9844"), {OCTOBER + 95_000: f"{OCTOBER + 95_000}"}),
            ],
            "inference_month_end_timestamp_seconds": ENDS,
            "inference_month_metered_since_timestamp_seconds": [
                ({"month": "2026-10"}, {NOVEMBER + 2 * HOUR: f"{OCTOBER}"})
            ],
        },
        scraped_from,
    )

    live, spot = host_months(client(server), "2026-10", ["UTC"], NOW * SECOND)
    fleet = combine([live, spot], NOW * SECOND)

    assert (live.total, spot.total) == (5 * 10**12, 10_700_000_000_000)
    assert (live.covered, spot.covered) == (744 * HOUR * SECOND, HOUR * SECOND)
    assert [each.text for each in fleet.findings if each.kind == "downsampled"] == findings


def test_counters_are_read_as_the_month_is() -> None:
    """Weights of the days that were scraped alone would divide the money of the whole month."""
    target = {"cluster": "east", "instance": "n1:9844", "product": "chat", "team": "a"}
    rows = {**target, "server": "chat", "namespace": "llm", "model": "llama", "phase": "decode"}
    server = Server(
        {
            "inference:month_to_date_dollars:posting_hourly": [(cell("live"), {NOW - 600: "9"})],
            "inference:ledger_seen_timestamp_seconds": [
                (names("live", "n1:9844"), {at: f"{at}" for at in range(OCTOBER + 60, NOW + 1, 240)})
            ],
            "inference_month_end_timestamp_seconds": ENDS,
            "inference_cost_dollars_total": [
                (
                    {
                        "cluster": "east",
                        "instance": "n1:9844",
                        "product": "chat",
                        "team": "a",
                        **rows,
                        **gone,
                    },
                    {OCTOBER + first * 24 * HOUR: "1"},
                )
                for gone, first in (({}, 30), ({"server": "gone"}, 1))
            ],
        },
        OCTOBER + 20 * 24 * HOUR,
    )

    (live,) = host_months(client(server), "2026-10", ["UTC"], NOW * SECOND, finer=True)

    assert live.record.sums is not None
    assert {key.owner.server: amount for key, amount in live.record.sums.cost.items()} == {
        "chat": 4_500_000_000_000,
        "gone": 4_500_000_000_000,
    }
