"""Rows finer than product and team: counters' rises by ledger, and money divided as they rose."""

from collections.abc import Callable
from urllib.parse import parse_qs

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.http_client import HttpClientConfig
from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.finance.fleet.record import HostMonth
from exporter.finance.prometheus import counters
from exporter.finance.prometheus.client import PrometheusClient
from exporter.finance.prometheus.counters import Rises, ScrapeTarget, apportioned, rises
from exporter.ledger.history import MonthRecord
from exporter.readings import Gpu
from exporter.report import MonthKey, ServerOwner
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND
from tests.kit.clock import ManualClock
from tests.kit.units import DOLLAR

HOUR, DAY = NANOSECONDS_PER_HOUR, 24 * NANOSECONDS_PER_HOUR
START = 1_790_812_800 * NANOSECONDS_PER_SECOND
"""2026-10-01T00:00:00Z."""
CHAT = CostOwner("chat", "a", "llm", "chat-8b", "llama")
RAG = CostOwner("chat", "a", "llm", "rag-8b", "llama")
BATCH = CostOwner("batch", "b", "llm", "batch", "qwen")
CHAT_CELL = MonthKey("chat", "a", "configured", "2026-10")
ESTIMATED = MonthKey("chat", "a", "estimate", "2026-10")
BATCH_CELL = MonthKey("batch", "b", "configured", "2026-10")


def host(cells: dict[MonthKey, int]) -> HostMonth:
    record = MonthRecord("l1", None, "2026-10", ("2026-10",), cells, None)
    return HostMonth(record, "prometheus", "http://p", "UTC")


def test_money_is_divided_as_the_counters_rose() -> None:
    """90 dollars of chat by 2 to 1; the cents of the other product have no counters and stay whole."""
    rise: Rises = {
        "cost": {(*CHAT, "decode"): 20 * DOLLAR, (*RAG, "idle"): 10 * DOLLAR},
        "server_cost": {(*CHAT[:4], "rent"): 3 * DOLLAR, (*CHAT[:4], "energy"): DOLLAR},
        "gpu_cost": {("GPU-0", "H100", "rent"): DOLLAR},
        "held": {(*CHAT, "decode"): 7 * HOUR},
        "tokens": {(*CHAT, "generation"): 1234},
    }

    month = apportioned(host({CHAT_CELL: 60 * DOLLAR, ESTIMATED: 30 * DOLLAR, BATCH_CELL: 7}), rise)

    sums = month.record.sums
    assert sums is not None
    assert month.apportioned
    assert sums.cost == {OwnerPhase(CHAT, "decode"): 60 * DOLLAR, OwnerPhase(RAG, "idle"): 30 * DOLLAR}
    assert sums.server_cost == {
        (ServerOwner(*CHAT[:4]), "rent", "configured"): 45 * DOLLAR,
        (ServerOwner(*CHAT[:4]), "energy", "configured"): 15 * DOLLAR,
        (ServerOwner(*CHAT[:4]), "rent", "estimate"): 22_500_000_000_000,
        (ServerOwner(*CHAT[:4]), "energy", "estimate"): 7_500_000_000_000,
    }
    assert sums.gpu_cost == {(Gpu("GPU-0", "H100"), "rent"): 90 * DOLLAR + 7}
    assert sums.held == {OwnerPhase(CHAT, "decode"): 7 * HOUR}
    assert sums.tokens == {(CHAT, "generation"): 1234}
    assert month.record.cells == {CHAT_CELL: 60 * DOLLAR, ESTIMATED: 30 * DOLLAR, BATCH_CELL: 7}


def test_a_ledger_whose_counters_never_rose_has_its_money_only() -> None:
    """No finer row is invented."""
    month = host({CHAT_CELL: 60 * DOLLAR})

    assert apportioned(month, None) is month


@given(
    amounts=st.lists(st.integers(-(10**15), 10**16), min_size=3, max_size=3),
    risen=st.lists(st.integers(1, 10**16), min_size=3, max_size=3),
)
def test_rows_sum_to_the_money_of_their_owner(amounts: list[int], risen: list[int]) -> None:
    """To the picodollar, in each family, corrections below zero included."""
    weights = list(zip((CHAT, RAG, BATCH), risen, strict=True))
    rise: Rises = {
        "cost": {(*owner, "decode"): value for owner, value in weights},
        "server_cost": {(*owner[:4], "rent"): value for owner, value in weights},
        "gpu_cost": {(owner.server, "H100", "rent"): value for owner, value in weights},
    }

    sums = apportioned(
        host(dict(zip((CHAT_CELL, ESTIMATED, BATCH_CELL), amounts, strict=True))), rise
    ).record.sums

    assert sums is not None
    chat = sum(amount for key, amount in sums.cost.items() if key.owner.product == "chat")
    assert (chat, sum(sums.cost.values()) - chat) == (amounts[0] + amounts[1], amounts[2])
    estimated = sum(
        amount for (_server, _component, basis), amount in sums.server_cost.items() if basis == "estimate"
    )
    assert (estimated, sum(sums.server_cost.values())) == (amounts[1], sum(amounts))
    assert sum(sums.gpu_cost.values()) == sum(amounts)


Answer = Callable[[str, int], list[tuple[dict[str, str], str]]]


def client(answer: Answer) -> PrometheusClient:
    def handler(request: httpx.Request) -> httpx.Response:
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        at = int(float(form["time"])) * NANOSECONDS_PER_SECOND
        result = [
            {"metric": labels, "value": [float(form["time"]), value]}
            for labels, value in answer(form["query"], at)
        ]
        return httpx.Response(200, json={"status": "success", "data": {"result": result}})

    transport = httpx.MockTransport(handler)
    return PrometheusClient("http://p", HttpClientConfig(), ManualClock(), DAY, transport)


def test_a_target_of_one_ledger_is_read_by_the_day_and_others_by_the_hour() -> None:
    """The address n1 was of l1 until 02:00 and of l2 from then on; n2 was of l3 all the time."""
    queries = []

    def answer(query: str, at: int) -> list[tuple[dict[str, str], str]]:
        if "inference_tokens_total" not in query:
            return []
        queries.append((query.partition("increase")[2], (at - START) // HOUR))
        labels = {"cluster": "east", **CHAT._asdict(), "kind": "generation"}
        return [({**labels, "instance": "n1:1"}, "10"), ({**labels, "instance": "n2:1"}, "2.4")]

    holders = {
        ScrapeTarget("east", "n1:1"): [(START, "l1"), (START + HOUR, "l1"), (START + 2 * HOUR, "l2")],
        ScrapeTarget("east", "n2:1"): [(START + hour * HOUR, "l3") for hour in range(3)],
    }

    by_ledger = rises(client(answer), holders, START, START + 3 * HOUR)

    generation = (*CHAT, "generation")
    assert {name: rise["tokens"] for name, rise in by_ledger.items()} == {
        "l1": {generation: 20},
        "l2": {generation: 10},
        "l3": {generation: 2},
    }
    hourly = '(inference_tokens_total{instance=~"n1:1"}[3600s]))'
    assert queries == [
        ("(inference_tokens_total[10800s]))", 3),
        (hourly, 1),
        (hourly, 2),
        (hourly, 3),
    ]


def test_an_instance_of_two_clusters_counts_once_in_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A query names instances alone, and so it has the targets of the next query too."""
    monkeypatch.setattr(counters, "INSTANCES_MAX", 1)

    def answer(query: str, at: int) -> list[tuple[dict[str, str], str]]:
        if "inference_tokens_total{" not in query or at != START + HOUR:
            return []
        labels = {"instance": "n1:1", **CHAT._asdict(), "kind": "generation"}
        return [({**labels, "cluster": "east"}, "10"), ({**labels, "cluster": "west"}, "7")]

    holders = {
        ScrapeTarget(cluster, "n1:1"): [(START, f"{cluster}-1"), (START + HOUR, f"{cluster}-2")]
        for cluster in ("east", "west")
    }
    by_ledger = rises(client(answer), holders, START, START + 2 * HOUR)

    generation = (*CHAT, "generation")
    assert {name: rise["tokens"] for name, rise in by_ledger.items()} == {
        "east-1": {generation: 10},
        "west-1": {generation: 7},
    }


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-3", "0", "1e-13"])
def test_what_is_no_rise_counts_nothing(value: str) -> None:
    """Nor does a target that is no host's."""
    labels = {"cluster": "east", "instance": "n1:1", **CHAT._asdict(), "kind": "generation"}
    holders = {ScrapeTarget("east", "n1:1"): [(START, "l1")]}

    def answer(_query: str, _at: int) -> list[tuple[dict[str, str], str]]:
        return [(labels, value), ({**labels, "instance": "n9:1"}, "5")]

    assert rises(client(answer), holders, START, START + HOUR) == {}


def test_an_instance_is_matched_as_it_is_written() -> None:
    """A dot of an address is no wildcard."""
    queries = []

    def answer(query: str, _at: int) -> list[tuple[dict[str, str], str]]:
        queries.append(query)
        return []

    holders = {ScrapeTarget("east", '10.0.0.1:98"44'): [(START, "l1"), (START + HOUR, "l2")]}
    rises(client(answer), holders, START, START + 2 * HOUR)

    assert 'instance=~"10\\\\.0\\\\.0\\\\.1:98\\\\\\"44"' in queries[0]
