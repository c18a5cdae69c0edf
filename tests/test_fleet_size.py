"""The fleet that Prometheus is measured with: hosts are distinct, numbers move, rules find their past."""

import time
from collections import Counter

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from benchmarks.fleet.__main__ import past
from benchmarks.fleet.history import GONE, HOURLY, POSTING, Past, gone, lookbacks, pasts
from benchmarks.fleet.hosts import Fleet, Moving, targets
from benchmarks.fleet.panels import Panel, Query

pytestmark = pytest.mark.xdist_group("fleet size")  # made once, not once by each process of `pytest -n`

HOSTS = 3
DAY = 86_400

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(page: bytes) -> Samples:
    """As Prometheus's own client reads them; a series that stands twice is one too few here."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def label_values(actual: Samples, name: str, label: str) -> set[str]:
    """The values of a label."""
    return {dict(labels)[label] for metric, labels in actual if metric == name}


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return Fleet(HOSTS, clusters=2, groups=2, servers=8)


@pytest.mark.nightly
def test_hosts_have_ledgers_gpus_and_servers_of_their_own(fleet: Fleet) -> None:
    """Ledgers and GPUs are one host's; hosts of one group run the same eight servers, of two others."""
    pages = [samples(fleet.page(host, time.time())) for host in range(HOSTS)]

    assert [len(page) for page in pages] == [fleet.series] * HOSTS
    ledgers = [label_values(page, "inference_month_to_date_dollars", "ledger") for page in pages]
    assert ledgers == [{fleet.ledger(host)} for host in range(HOSTS)]
    assert len({gpu for page in pages for gpu in label_values(page, "inference_gpu_up", "uuid")}) == 8 * HOSTS
    servers = [label_values(page, "inference_server_info", "server") for page in pages]
    assert [len(names) for names in servers] == [8] * HOSTS
    assert servers[0] == servers[2]
    assert servers[0] & servers[1] == set()


def test_groups_are_dealt_out_to_clusters() -> None:
    """A group is in one cluster, and each cluster has as many groups."""
    clusters = [target["cluster"] for target in targets(400, clusters=4, groups=8)]

    assert clusters[:8] == [f"cluster-{number}" for number in (0, 0, 1, 1, 2, 2, 3, 3)]
    assert set(clusters[3::8]) == {"cluster-1"}


@pytest.mark.nightly
def test_kube_state_metrics_has_the_nodes_of_all_hosts(fleet: Fleet) -> None:
    """Each with its GPUs, under the node's name that the target of its exporter has."""
    nodes = samples(fleet.nodes())

    assert label_values(nodes, "kube_node_info", "node") == {target["node"] for target in fleet.targets}
    capacities = [value for (name, _), value in nodes.items() if name == "kube_node_status_capacity"]
    assert capacities == [8.0] * HOSTS


@pytest.mark.nightly
def test_numbers_go_on(fleet: Fleet) -> None:
    """Counters and the month rise, the last tick is of this second, ratios stay ratios."""
    now = time.time()
    before, after = samples(fleet.page(0, now)), samples(fleet.page(0, now + 600))

    rising = [key for key in before if key[0].endswith("_total")]
    assert [key for key in rising if after[key] < before[key]] == []
    assert sum(after[key] > before[key] for key in rising) > 100
    ((tick, labels),) = [key for key in after if key[0] == "inference_last_tick_timestamp_seconds"]
    assert after[tick, labels] == pytest.approx(now + 600, abs=2)
    ratios = [value for (name, _), value in after.items() if name == "inference_gpu_utilization_ratio"]
    assert all(0 <= value <= 1 for value in ratios)


def test_gauges_swing_and_others_go_on() -> None:
    """A period is 30 s: a swing is back after two, a count has risen by two changes."""
    assert Moving(10, 2, swings=False).text(60) == "14.0"
    assert [Moving(10, 2, swings=True).text(seconds) for seconds in (0, 30, 60)] == ["12.0", "10.0", "12.0"]


def test_the_past_is_as_long_as_rules_look_back() -> None:
    """Two weeks of the hourly memory, a week of what prices are made of; not what rates need."""
    actual = pasts()

    assert actual["inference:month_to_date_dollars:posting_hourly"] == Past(14 * DAY, 3600)
    assert actual["inference:server_tokens:rate5m"] == Past(7 * DAY, 60)
    assert "inference_tokens_total" not in actual


def test_panels_look_back_a_month_on_records() -> None:
    """Beside what their own ranges and offsets need; of what all hosts export, nothing is written."""
    expr = "inference:server_tokens:rate5m offset 1d / inference_tokens_total"
    moving = Panel("fleet", "a", (Query(expr, instant=False),), least=60)
    still = Panel("fleet", "b", (Query("inference:server_tokens:rate5m offset 8d", instant=True),), least=60)

    assert pasts([moving])["inference:server_tokens:rate5m"] == Past(31 * DAY, 60)
    assert pasts([still])["inference:server_tokens:rate5m"] == Past(8 * DAY, 60)
    assert "inference_tokens_total" not in pasts([moving])


@pytest.mark.parametrize(
    ("expr", "back"),
    [
        ("inference:a", 0),
        ('avg_over_time(inference:a{b="c"}[1d])', DAY),
        ("inference:a offset 1w", 7 * DAY),
        ("avg_over_time(inference:a[1d12h] offset 6d)", 7.5 * DAY),
        ("avg_over_time(inference:a[1d:1h])", DAY),
        ("avg_over_time((sum by (b) (inference:a offset 1d) / c)[2d:1h] offset 1w)", 10 * DAY),
        ("avg_over_time((c)[2d:1h]) + inference:a[5m]", 300),
        ("max_over_time(avg_over_time(inference:a[1h])[1d:])", DAY + 3600),
    ],
)
def test_ranges_and_offsets_around_a_name_add_up(expr: str, back: float) -> None:
    """Those of subqueries as well, but not those beside it."""
    assert lookbacks(expr) == {"inference:a": back}


def test_hosts_that_are_gone_came_evenly_over_the_month() -> None:
    """Each has an id of its own and what a living one spent; those of this fortnight began within it."""
    row = {"metric": {"__name__": "x", "ledger": "0123456789"}, "value": [0, "7.5"]}
    now = 100 * DAY

    actual = list(gone([row], Past(14 * DAY, 3600), 30, now))

    assert [one.name for one in actual[:2]] == ['x{ledger="f000000089"}', 'x{ledger="f000000189"}']
    assert {one.values for one in actual} == {("7.5",)}
    assert [(now - one.start) // DAY for one in actual] == [14] * 17 + list(range(13, 0, -1))


def test_the_month_remembers_hosts_that_are_gone() -> None:
    """As many ledgers as are gone, of the open month alone; the memory of hours has them of each month."""
    rows = [
        {
            "metric": {"__name__": name, "ledger": "0123456789", "month": month, "cluster": "c"},
            "value": [0, "7.5"],
        }
        for name in (POSTING, HOURLY)
        for month in ("2026-10", "2026-11")
    ]
    spans = {POSTING: Past(21_600, 60), HOURLY: Past(14 * DAY, 3600), GONE: Past(4200, 600)}

    written = past({POSTING: rows[:2], HOURLY: rows[2:], GONE: []}, spans, 5, 100 * DAY)

    by_name = Counter(one.name.partition("{")[0] for one in written)
    assert by_name == {POSTING: 2, HOURLY: 2 + 2 * 5, GONE: 5}
    assert all('month="2026-11"' in one.name for one in written if one.name.startswith(f"{GONE}{{"))


def test_the_youngest_ledger_that_is_gone_has_a_sample() -> None:
    """Who came and went since the last step is in the month all the same."""
    row = {"metric": {"__name__": "x", "ledger": "0123456789"}, "value": [0, "7.5"]}

    youngest = list(gone([row], Past(7200, 240), 30_000, 100 * DAY))[-1]

    assert 100 * DAY - youngest.start == 240
