"""Hours of hosts through the cost code, at 2 dollars an hour of a GPU. Expectations are worked by hand."""

from pathlib import Path

import pytest

from exporter.engines.catalogue import ENGINES
from exporter.finance.history.kube_state import LabelTime, NodeKey, PodName
from exporter.finance.history.reckoning import Reckoning
from exporter.finance.history.survey import TargetKey
from tests.finance.history.chunks import (
    NOVEMBER,
    PRICES,
    HourlyFleet,
    by_month,
    configured,
    money,
    phases,
    tokens,
)
from tests.kit.units import DOLLAR, HOUR

PROMPT, GENERATION = "vllm:prompt_tokens_total", "vllm:generation_tokens_total"
POD = {"namespace": "llm", "pod": "chat-0", "instance": "10.1.0.7:8000"}
CHAT = {"exported_namespace": "llm", "exported_pod": "chat-0"}


def served(hours: int, each: float = 1000) -> dict[str, list[float]]:
    return {PROMPT: [each] * hours, GENERATION: [each / 10] * hours}


def test_a_server_pays_for_the_gpus_that_its_pod_holds(tmp_path: Path) -> None:
    """Two GPUs of ten hours at 2 dollars, half of it busy; the third GPU is nobody's."""
    fleet = HourlyFleet(configured(tmp_path), hours=10)
    for number in (0, 1):
        fleet.gpu(number, **CHAT)
    fleet.gpu(2, utilization=0)
    fleet.server(served(10), running=[2] * 10, namespace="llm", pod="chat-0", instance="10.1.0.7:8000")
    reckoning = fleet.reckoned()

    assert money(reckoning) == {"chat": 40, "unallocated": 20}
    by_phase = phases(reckoning)
    assert by_phase["chat", "idle"] == pytest.approx(10)
    assert by_phase["chat", "prefill"] + by_phase["chat", "decode"] == pytest.approx(10)
    assert by_phase["unallocated", "idle"] == 10
    assert tokens(reckoning) == {("chat", "prompt"): 10_000, ("chat", "generation"): 1000}


def test_the_only_server_of_a_host_holds_the_gpus_whose_memory_is_in_use(tmp_path: Path) -> None:
    """Without labels of pods: 70 GB are a model, 3 MiB are the driver."""
    fleet = HourlyFleet(configured(tmp_path), hours=4)
    fleet.gpu(0)
    fleet.gpu(1, memory=3e6, utilization=0)
    fleet.server(served(4))
    reckoning = fleet.reckoned()

    assert money(reckoning) == {"vllm:8000": 8, "unallocated": 8}
    assert not reckoning.shared


def test_servers_that_share_a_host_are_unattributed_until_the_configuration_says(tmp_path: Path) -> None:
    """Which of the two holds the GPU is not guessed; `servers[].gpus` says it."""
    servers = """\
servers:
  - {name: chat, url: "http://127.0.0.1:8000/metrics", gpus: [0]}
  - {name: batch, url: "http://127.0.0.1:8001/metrics", gpus: [1]}
"""
    for text, expected in (
        (PRICES, {"unattributed": 16}),
        (PRICES + servers, {"chat": 8, "batch": 8}),
    ):
        fleet = HourlyFleet(configured(tmp_path, text), hours=4)
        fleet.gpu(0)
        fleet.gpu(1)
        fleet.server(served(4))
        fleet.server(served(4), instance="node-1:8001")
        reckoning = fleet.reckoned()

        assert money(reckoning) == expected
        assert bool(reckoning.shared) == ("unattributed" in expected)


def test_a_configured_server_keeps_its_gpus_while_it_is_not_scraped(tmp_path: Path) -> None:
    """In the second of three hours the other server alone was read: nothing of the first becomes its."""
    text = PRICES + 'servers:\n  - {name: chat, url: "http://127.0.0.1:8000/metrics", gpus: [0, 1]}\n'
    fleet = HourlyFleet(configured(tmp_path, text), hours=3)
    fleet.gpu(0)
    fleet.gpu(1)
    fleet.server({PROMPT: [100, -1, 250]})
    fleet.server(served(3), instance="node-1:8001")

    assert money(fleet.reckoned()) == {"chat": 12}


def test_gpus_in_use_without_any_server_are_unattributed(tmp_path: Path) -> None:
    """A training job holds one: it is no idle GPU, and no server is known."""
    fleet = HourlyFleet(configured(tmp_path), hours=2)
    fleet.gpu(0)
    fleet.gpu(1, memory=None, utilization=0)

    assert money(fleet.reckoned()) == {"unattributed": 4, "unallocated": 4}


def test_an_exporters_own_pod_is_no_holder(tmp_path: Path) -> None:
    """Where labels are honored, the target's own pod stands where the page names none."""
    fleet = HourlyFleet(configured(tmp_path), hours=2)
    fleet.survey.own_pods[TargetKey("", "metrics", "10.0.0.1:9400")] = "gpu-metrics-x7k2p"
    target = {"job": "metrics", "instance": "10.0.0.1:9400", "namespace": "monitoring"}
    fleet.gpu(0, pod="gpu-metrics-x7k2p", utilization=0, memory=3e6, **target)
    fleet.gpu(1, pod="nvidia-dcgm-exporter-abcde", namespace="gpu-operator", utilization=0, memory=3e6)
    fleet.gpu(2, pod="chat-0", **target | {"namespace": "llm"})

    assert money(fleet.reckoned()) == {"unallocated": 8, "chat": 4}


def test_a_short_gap_is_charged_as_unobserved_and_a_long_one_is_not(tmp_path: Path) -> None:
    """Of ten hours one misses, later three: the one costs its last holder, the three cost nothing.

    The other host is seen all the time, so that the server was not down.
    """
    fleet = HourlyFleet(configured(tmp_path), hours=10)
    fleet.gpu(0, counts=[120, 120, 0, 120, 120, 0, 0, 0, 120, 120, 120], **CHAT)
    fleet.gpu(1, host="node-2", **CHAT | {"exported_pod": "chat-1"})
    reckoning = fleet.reckoned()
    host = reckoning.hosts[NodeKey("", "node-1")]

    assert money(reckoning) == {"chat": 14}
    assert phases(reckoning)["chat", "unobserved"] == 1
    assert host.uncharged == 3 * 3600 * 10**9
    assert by_month(host, "sampled time") == {"2026-11": 6 * HOUR}
    assert by_month(host, "host time") == {"2026-11": 10 * HOUR}


def test_tokens_of_a_gap_that_is_charged_count(tmp_path: Path) -> None:
    """The GPU's exporter missed an hour in which the server was read: its 300 tokens are of the fourth."""
    fleet = HourlyFleet(configured(tmp_path), hours=4)
    fleet.gpu(0, counts=[120, 120, 120, 0, 120], **CHAT)
    fleet.server({PROMPT: [100, 200, 300, 400]}, namespace="llm", pod="chat-0", instance="10.1.0.7:8000")
    reckoning = fleet.reckoned()

    assert tokens(reckoning) == {("chat", "prompt"): 1000}
    assert money(reckoning) == {"chat": 8}


def test_what_rose_in_a_gap_that_is_not_charged_does_not_count(tmp_path: Path) -> None:
    """Tokens and joules are of the hours that dollars are of: 100 and 50, not the 900 of three hours."""
    text = PRICES.replace("2}}", "2}, energy: {dollars_per_kilowatt_hour: 1}}")
    fleet = HourlyFleet(configured(tmp_path, text), hours=5)
    fleet.gpu(0, counts=[120, 120, 0, 0, 0, 120], joules=3_600_000, **CHAT)
    fleet.gpu(1, host="node-2", **CHAT | {"exported_pod": "other-0"})
    fleet.server({PROMPT: [100, -1, -1, -1, 900]}, namespace="llm", pod="chat-0", instance="10.1.0.7:8000")
    (hours,) = fleet.chunk.engines.values()
    (counter,) = hours.rises.values()
    counter.inside[5] = 50
    for series, gpu in fleet.chunk.gpus.items():
        if series.gpu.uuid == "GPU-0":
            gpu.joules[5] = 4 * 3_600_000
            gpu.inside[5] = 3_600_000
    reckoning = fleet.reckoned()

    assert tokens(reckoning)["chat", "prompt"] == 150
    assert money(reckoning)["chat"] == pytest.approx(2 * 2 + 2 * 1)


def test_energy_is_of_the_gpu_whoever_holds_it(tmp_path: Path) -> None:
    """An hour of 1 kWh, half of it by each of two pods one after the other: 1 dollar, and 2 of rent."""
    text = PRICES.replace("2}}", "2}, energy: {dollars_per_kilowatt_hour: 1}}")
    fleet = HourlyFleet(configured(tmp_path, text), hours=1)
    fleet.gpu(0, counts=[120, 60], joules=1_800_000, **CHAT)
    fleet.gpu(0, counts=[0, 60], joules=1_800_000, **CHAT | {"exported_pod": "batch-0"})
    reckoning = fleet.reckoned()

    assert sum(money(reckoning).values()) == pytest.approx(3)


def test_energy_of_a_gpu_counts_from_its_first_hour(tmp_path: Path) -> None:
    """A board that came in the second hour used 1 kWh in each of two: 2 dollars, and 6 + 4 of rent."""
    text = PRICES.replace("2}}", "2}, energy: {dollars_per_kilowatt_hour: 1}}")
    fleet = HourlyFleet(configured(tmp_path, text), hours=3)
    fleet.gpu(0, **CHAT)
    fleet.gpu(1, counts=[0, 0, 120, 120], joules=3_600_000, **CHAT)

    assert money(fleet.reckoned()) == {"chat": pytest.approx(6 + 4 + 2)}


def test_time_in_which_nothing_was_scraped_is_charged(tmp_path: Path) -> None:
    """The server was down for three hours: hosts before and after it ran. Not where it scraped others."""
    for alive, expected in (((), 20), ((3, 4), 14)):
        fleet = HourlyFleet(configured(tmp_path), hours=10)
        fleet.gpu(0, counts=[120, 120, 120, 0, 0, 0, 120, 120, 120, 120, 120], **CHAT)
        fleet.chunk.alive.update(fleet.chunk.first + hour for hour in alive)

        assert money(fleet.reckoned()) == {"chat": expected}


def test_tokens_of_an_outage_are_of_the_same_months_as_its_dollars(tmp_path: Path) -> None:
    """Nothing was scraped from 02:00 to 06:00, and October ends at 04:00: 500 tokens are of five hours."""
    fleet = HourlyFleet(configured(tmp_path, f"timezone: America/New_York\n{PRICES}"), hours=8)
    fleet.gpu(0, counts=[120, 120, 120, 0, 0, 0, 0, 120, 120], **CHAT)
    fleet.server({PROMPT: [100, 100, -1, -1, -1, -1, 500, 100]}, **POD)
    host = fleet.reckoned().hosts[NodeKey("", "node-1")]

    assert by_month(host, "money of owners") == {"2026-10": 8 * DOLLAR, "2026-11": 8 * DOLLAR}
    assert by_month(host, "tokens") == {"2026-10": 400, "2026-11": 400}


def test_a_gpu_in_the_slot_of_another_costs_once(tmp_path: Path) -> None:
    """A board was swapped after two of four hours: four hours of one GPU."""
    fleet = HourlyFleet(configured(tmp_path), hours=4)
    fleet.gpu(0, counts=[120, 120, 120, 0, 0], **CHAT)
    fleet.gpu(7, counts=[0, 0, 0, 120, 120], gpu="0", **CHAT)

    assert money(fleet.reckoned()) == {"chat": 8}


def test_a_gpu_that_went_silent_is_still_paid_for(tmp_path: Path) -> None:
    """The host has two: the lost one is idle, as with the daemon."""
    fleet = HourlyFleet(configured(tmp_path), hours=4)
    fleet.gpu(0, **CHAT)
    fleet.gpu(1, counts=[120, 120, 0, 0, 0], **CHAT)

    assert money(fleet.reckoned()) == {"chat": 16}


def test_mig_instances_cost_their_part_of_the_card(tmp_path: Path) -> None:
    """3 of 7 slices are the chat's, 1 is nobody's, and the rest of the card is unallocated."""
    fleet = HourlyFleet(configured(tmp_path), hours=7)
    fleet.gpu(0, GPU_I_ID="1", GPU_I_PROFILE="3g.40gb", **CHAT)
    fleet.gpu(0, GPU_I_ID="9", GPU_I_PROFILE="1g.10gb", utilization=0)
    reckoning = fleet.reckoned()

    assert money(reckoning)["chat"] == pytest.approx(6)
    assert money(reckoning)["unallocated"] == pytest.approx(8)


def test_no_price_gives_hours_and_no_dollars(tmp_path: Path) -> None:
    """Unmatched hardware that is unpriced is counted and costs nothing."""
    fleet = HourlyFleet(configured(tmp_path, "unmatched_hardware: unpriced\n"), hours=3)
    fleet.gpu(0, **CHAT)
    reckoning = fleet.reckoned()

    assert money(reckoning) == {}
    host = reckoning.hosts[NodeKey("", "node-1")]
    assert by_month(host, "unpriced time") == {"2026-11": 3 * HOUR}


def test_a_price_that_begins_within_an_hour_cuts_it(tmp_path: Path) -> None:
    """2 dollars until 01:30, then 4: of three hours 1.5 at 2 and 1.5 at 4."""
    text = """\
hardware:
  - match: {gpu_model: "H100"}
    rented:
      prices: [{dollars_per_gpu_hour: 2}, {from: "2026-11-01T01:30:00Z", dollars_per_gpu_hour: 4}]
"""
    fleet = HourlyFleet(
        configured(tmp_path, text.replace("[{dollars", "[{from: 2026-01-01, dollars")), hours=3
    )
    fleet.gpu(0, **CHAT)

    assert money(fleet.reckoned()) == {"chat": 9}


def test_months_are_those_of_the_time_zone(tmp_path: Path) -> None:
    """The first hours of November in UTC are October in New York."""
    fleet = HourlyFleet(configured(tmp_path, f"timezone: America/New_York\n{PRICES}"), hours=6)
    fleet.gpu(0, **CHAT)
    host = fleet.reckoned().hosts[NodeKey("", "node-1")]

    assert by_month(host, "money of owners") == {"2026-10": 8 * DOLLAR, "2026-11": 4 * DOLLAR}


def test_a_server_without_a_host_keeps_its_tokens(tmp_path: Path) -> None:
    """They count, no dollars meet them, and the report says so."""
    fleet = HourlyFleet(configured(tmp_path), hours=2)
    fleet.gpu(0, **CHAT)
    fleet.server(served(2), namespace="llm", pod="lost-0", instance="10.9.9.9:8000")
    reckoning = fleet.reckoned()

    assert tokens(reckoning)["lost", "prompt"] == 2000
    assert [target.pod for target in reckoning.homeless] == ["lost-0"]


def test_owners_are_those_of_pod_labels_and_rules(tmp_path: Path) -> None:
    """A rule wins over a label, as with the daemon."""
    text = (
        PRICES + 'ownership:\n  rules:\n    - {match: {server: "batch*"}, product: search, team: offline}\n'
    )
    fleet = HourlyFleet(configured(tmp_path, text), hours=1)
    for number, pod in enumerate(("chat-0", "batch-0")):
        fleet.gpu(number, exported_namespace="llm", exported_pod=pod)
        fleet.survey.kube.pod_labels[PodName("", "llm", pod)] = {
            "label_app_kubernetes_io_part_of": "assistant",
            "label_team": "nlp",
        }
    host = fleet.reckoned().hosts[NodeKey("", "node-1")]

    money_facts = host.every_fact("money of owners")
    owners = {(fact.server, fact.product, fact.team) for fact in money_facts}
    assert owners == {("chat", "assistant", "nlp"), ("batch", "search", "offline")}


def test_a_rounded_utilization_does_not_make_the_hour_busy(tmp_path: Path) -> None:
    """Few requests round to 0 %: the daemon would take requests running for a whole busy hour."""
    fleet = HourlyFleet(configured(tmp_path), hours=2)
    fleet.gpu(0, utilization=0, **CHAT)
    fleet.server(served(2), running=[0.1, 0.1], namespace="llm", pod="chat-0", instance="10.1.0.7:8000")

    assert phases(fleet.reckoned())["chat", "idle"] == pytest.approx(2, rel=1e-5)


def test_the_scrape_interval_is_that_of_most_hours(tmp_path: Path) -> None:
    """120 samples an hour are one each 30 seconds, whatever the last hour has."""
    fleet = HourlyFleet(configured(tmp_path), hours=4)
    fleet.gpu(0, counts=[120, 120, 120, 120, 1], **CHAT)
    (host,) = fleet.reckoned().hosts.values()

    assert host.scrape_seconds == 30


def test_an_outage_costs_the_same_in_chunks_of_any_length(tmp_path: Path) -> None:
    """The GPU's exporter was down from the 11th to the 20th of 30 hours, and the engine was read on.

    20 hours cost 40 dollars, with 2,000 tokens. The chunk of the outage has no GPU of the host.
    """
    for lengths in ((30,), (10, 10, 10), (7, 8, 15)):
        first, reckoning = 0, None
        for length in lengths:
            hours = range(first - 1, first + length)
            fleet = HourlyFleet(configured(tmp_path), length, NOVEMBER + first)
            counts = [0 if 10 <= hour < 20 else 120 for hour in hours]
            fleet.gpu(0, counts=counts, **CHAT)
            fleet.gpu(1, host="node-2", **CHAT | {"exported_pod": "other-0"})
            if not any(counts[1:]):
                del fleet.chunk.gpus[next(iter(fleet.chunk.gpus))]
            fleet.server(
                {PROMPT: [100] * length},
                namespace="llm",
                pod="chat-0",
                instance="10.1.0.7:8000",
                node="node-1",
            )
            (engine,) = fleet.chunk.engines.values()
            for counter in engine.rises.values():
                counter.inside.update({at: counter.values[at] for at in range(1, length + 1)})
            if reckoning is None:
                reckoning = Reckoning(fleet.config, fleet.survey, (NOVEMBER + 30) * HOUR)
            reckoning.add(fleet.chunk)
            first += length
        assert reckoning is not None

        assert money(reckoning) == {"chat": 40}, lengths
        assert tokens(reckoning) == {("chat", "prompt"): 2000}, lengths
        assert reckoning.hosts[NodeKey("", "node-1")].uncharged == 10 * HOUR


def test_a_host_that_two_exporters_name_differently_costs_once(tmp_path: Path) -> None:
    """dcgm-exporter says gpu-1, and a relabeling of another one the long name: ten hours are 20 dollars.

    The name with more samples counts, in the next chunk too, and the server of the other name is there.
    """
    reckoning = None
    for first in (0, 5):
        fleet = HourlyFleet(configured(tmp_path), 5, NOVEMBER + first)
        fleet.gpu(0, host="gpu-1", **CHAT)
        fleet.gpu(0, host="gpu-1", node="gpu-1.dc.example.com", counts=[60] * 6, job="nvitop")
        fleet.server({PROMPT: [100] * 5}, node="gpu-1.dc.example.com", **POD)
        reckoning = reckoning or Reckoning(fleet.config, fleet.survey, (NOVEMBER + 10) * HOUR)
        reckoning.add(fleet.chunk)
    assert reckoning is not None

    assert money(reckoning, "gpu-1") == {"chat": 20}
    assert [key.host for key, host in reckoning.hosts.items() if host.months] == ["gpu-1"]
    assert tokens(reckoning) == {("chat", "prompt"): 1000}


def test_the_name_of_a_host_is_that_of_its_node_or_of_before(tmp_path: Path) -> None:
    """Prices may be by labels of the node; and what was charged by one name goes on by it."""
    for known in ("node", "before"):
        fleet = HourlyFleet(configured(tmp_path), 5)
        fleet.gpu(0, host="gpu-1", **CHAT)
        fleet.gpu(0, host="gpu-1", node="long", counts=[60] * 6, job="nvitop")
        reckoning = Reckoning(fleet.config, fleet.survey, (NOVEMBER + 10) * HOUR)
        if known == "node":
            fleet.survey.kube.node_labels[NodeKey("", "long")] = {"label_pool": "blue"}
        else:
            before = HourlyFleet(fleet.config, 5, NOVEMBER - 5)
            before.gpu(0, host="gpu-1", node="long", job="nvitop", **CHAT)
            reckoning.add(before.chunk)
        reckoning.add(fleet.chunk)

        expected = {"chat": 10 if known == "node" else 20}
        assert (money(reckoning, "gpu-1"), money(reckoning, "long")) == ({}, expected), known


def test_a_gpu_that_moved_to_another_host_is_on_each_in_its_time(tmp_path: Path) -> None:
    """Two hours on a, two on b, and in the hour of the move half of the samples on each: 5 hours in all."""
    fleet = HourlyFleet(configured(tmp_path), 5)
    fleet.gpu(0, host="a", counts=[120, 120, 120, 60, 0, 0], **CHAT)
    fleet.gpu(0, host="b", counts=[0, 0, 0, 60, 120, 120], **CHAT)
    reckoning = fleet.reckoned()

    assert (money(reckoning, "a"), money(reckoning, "b")) == ({"chat": 5}, {"chat": 5})


def by_team(reckoning: Reckoning) -> dict[str, float]:
    """Dollars by team of all hosts."""
    sums: dict[str, float] = {}
    for host in reckoning.hosts.values():
        for fact in host.every_fact("money of owners"):
            sums[fact.owner.team] = sums.get(fact.owner.team, 0) + fact.value / 10**12
    return {team: amount for team, amount in sums.items() if amount}


def of_team(fleet: HourlyFleet, pod: str, team: str) -> dict[str, str]:
    """The labels of a GPU that is held by a pod of a team."""
    fleet.survey.kube.pod_labels[PodName("", "llm", pod)] = {"label_team": team}
    return {"exported_namespace": "llm", "exported_pod": pod}


@pytest.mark.parametrize(("earlier", "later"), [("nlp", "search"), ("search", "nlp")])
def test_a_server_has_the_owner_of_the_pod_that_is_there(earlier: str, later: str, tmp_path: Path) -> None:
    """One Deployment: a pod of one team for 1.5 hours, then one of another for 2.5, at 2 dollars."""
    fleet = HourlyFleet(configured(tmp_path), hours=4)
    first = of_team(fleet, "chat-7d9f8b6c5d-x2k4z", earlier)
    second = of_team(fleet, "chat-5c8d7f9b6d-b4n7m", later)
    fleet.gpu(0, counts=[120, 120, 60, 0, 0], **first)
    fleet.gpu(0, counts=[0, 0, 60, 120, 120], **second)

    assert by_team(fleet.reckoned()) == {earlier: 3, later: 5}


@pytest.mark.parametrize("router", ["chat-aaaaaaaa", "chat-zzzzzzzz"])
def test_a_pod_that_holds_a_gpu_names_the_owner_before_one_that_holds_none(
    router: str, tmp_path: Path
) -> None:
    """Both pods are of the server chat; the one without a GPU is of another team."""
    fleet = HourlyFleet(configured(tmp_path), hours=2)
    fleet.gpu(0, **of_team(fleet, "chat-mmmmmmmm", "nlp"))
    of_team(fleet, router, "search")
    for pod in ("chat-mmmmmmmm", router):
        fleet.survey.kube.workloads[PodName("", "llm", pod)] = "chat"
        address = {"instance": f"{pod}:8000", "node": "node-1"}
        fleet.server({PROMPT: [100] * 2}, namespace="llm", pod=pod, **address)

    assert by_team(fleet.reckoned()) == {"nlp": 4}


def test_an_exporter_that_names_pods_counts_before_one_that_is_scraped_more_often(tmp_path: Path) -> None:
    """dcgm-exporter each minute, with pods; nvitop-exporter each half, which alone sees the second GPU."""
    fleet = HourlyFleet(configured(tmp_path), hours=3)
    fleet.gpu(0, counts=[60] * 4, **CHAT)
    fleet.gpu(0, job="nvitop", utilization=0.9)
    fleet.gpu(1, job="nvitop", utilization=0, memory=3e6)
    reckoning = fleet.reckoned()

    assert money(reckoning) == {"chat": 6, "unallocated": 6}
    assert phases(reckoning)["chat", "idle"] == pytest.approx(1.5)


@pytest.mark.parametrize("named", [(3, 4), (1, 2)], ids=["from the third hour on", "until the second hour"])
def test_a_host_whose_exporter_names_pods_for_a_part_of_the_time(
    named: tuple[int, int], tmp_path: Path
) -> None:
    """In the other hours the only server of the host holds the GPU in use, and nobody the free one."""
    fleet = HourlyFleet(configured(tmp_path), hours=4)
    with_pods = [120 if at in named else 0 for at in range(5)]
    fleet.gpu(0, counts=with_pods, **CHAT)
    fleet.gpu(0, counts=[120 - count for count in with_pods])
    fleet.gpu(1, utilization=0, memory=3e6)
    fleet.server(served(4), node="node-1", **POD)

    assert money(fleet.reckoned()) == {"chat": 8, "unallocated": 8}


def test_a_gpu_that_two_servers_send_under_other_clusters_costs_once(tmp_path: Path) -> None:
    """A UUID is of one card: the Prometheus of the cluster eu has it, and one that names no cluster."""
    fleet = HourlyFleet(configured(tmp_path), hours=3)
    for cluster in ({}, {"cluster": "eu"}):
        fleet.gpu(0, **CHAT, **cluster)
        fleet.server(served(3), node="node-1", **POD, **cluster)
    reckoning = fleet.reckoned()

    assert [key for key, host in reckoning.hosts.items() if host.months] == [NodeKey("eu", "node-1")]
    assert money(reckoning, cluster="eu") == {"chat": 6}
    assert tokens(reckoning) == {("chat", "prompt"): 3000, ("chat", "generation"): 300}


def test_pods_of_one_name_in_two_clusters_are_two(tmp_path: Path) -> None:
    """Each has its own GPU, on hosts of one name."""
    fleet = HourlyFleet(configured(tmp_path), hours=3)
    for number, cluster in enumerate(("us", "eu")):
        fleet.gpu(number, **CHAT, cluster=cluster)
        fleet.server(served(3), node="node-1", **POD, cluster=cluster)
    reckoning = fleet.reckoned()

    assert [money(reckoning, cluster=cluster) for cluster in ("us", "eu")] == [{"chat": 6}, {"chat": 6}]
    assert tokens(reckoning)["chat", "prompt"] == 6000


def by_model(reckoning: Reckoning, host: str) -> dict[str, float]:
    """Dollars by model of a host."""
    sums: dict[str, float] = {}
    for fact in reckoning.hosts[NodeKey("", host)].every_fact("money of owners"):
        sums[fact.owner.model] = sums.get(fact.owner.model, 0) + fact.value / 10**12
    return {model: amount for model, amount in sums.items() if amount}


@pytest.mark.parametrize("nodes", [("node-1", "node-2"), ("node-2", "node-1")])
def test_a_pod_that_moves_to_another_host_serves_on_each_in_its_time(
    nodes: tuple[str, str], tmp_path: Path
) -> None:
    """A StatefulSet's pod keeps its name: three hours on one host, two on another, at 2 dollars."""
    fleet = HourlyFleet(configured(tmp_path), hours=5)
    before, after = [120] * 4 + [0, 0], [0] * 4 + [120, 120]
    fleet.gpu(0, host=nodes[0], counts=before, **CHAT)
    fleet.gpu(0, host=nodes[0], counts=after, utilization=0, memory=3e6)
    fleet.gpu(1, host=nodes[1], counts=before, utilization=0, memory=3e6)
    fleet.gpu(1, host=nodes[1], counts=after, **CHAT)
    fleet.server({PROMPT: [100, 200, 300, 400, 500]}, **POD)
    reckoning = fleet.reckoned()

    assert [by_model(reckoning, node) for node in nodes] == [{"llama": 6, "": 4}, {"llama": 4, "": 6}]
    hosts = [reckoning.hosts[NodeKey("", node)] for node in nodes]
    assert [by_month(host, "tokens") for host in hosts] == [{"2026-11": 600}, {"2026-11": 900}]


def test_a_pod_and_a_node_of_the_same_name_may_be_others_later(tmp_path: Path) -> None:
    """From the third hour on the pod is of another team, and the node of a pool at 4 dollars."""
    text = """\
hardware:
  - {match: {node_label: {pool: small}}, rented: {dollars_per_gpu_hour: 2}}
  - {match: {node_label: {pool: large}}, rented: {dollars_per_gpu_hour: 4}}
"""
    fleet = HourlyFleet(configured(tmp_path, text), hours=4)
    fleet.gpu(0, **CHAT)
    kube, pod, node = fleet.survey.kube, PodName("", "llm", "chat-0"), NodeKey("", "node-1")
    kube.pod_labels[pod] = {"label_team": "nlp"}
    kube.pod_times[pod] = [
        LabelTime(NOVEMBER, {"label_team": "nlp"}),
        LabelTime(NOVEMBER + 2, {"label_team": "search"}),
    ]
    kube.node_times[node] = [
        LabelTime(NOVEMBER, {"label_pool": "small"}),
        LabelTime(NOVEMBER + 2, {"label_pool": "large"}),
    ]

    assert by_team(fleet.reckoned()) == {"nlp": 4, "search": 8}


def test_pods_of_one_name_at_once_are_of_clusters_that_no_label_names(tmp_path: Path) -> None:
    """Two clusters in one store, by a label that is not `cluster`: said, since their pages are mixed."""
    for first, doubled in ((0, True), (2, False)):
        fleet = HourlyFleet(configured(tmp_path), hours=4)
        fleet.gpu(0, host="us-1", counts=[120] * 3 + [0, 0] if first else [120] * 5, k8s="us", **CHAT)
        fleet.gpu(1, host="eu-1", counts=[0] * 3 + [120, 120] if first else [120] * 5, k8s="eu", **CHAT)
        fleet.server(served(4), **POD)

        assert (fleet.reckoned().doubled == {PodName("", "llm", "chat-0")}) == doubled


def test_an_address_that_is_given_again_is_of_the_host_that_is_there(tmp_path: Path) -> None:
    """A host went after two hours, and another one has its address: each serves what it served."""
    fleets = [HourlyFleet(configured(tmp_path), 2, NOVEMBER + first) for first in (0, 2)]
    survey = fleets[1].survey = fleets[0].survey
    for number, (fleet, host) in enumerate(zip(fleets, ("old", "new"), strict=True)):
        fleet.gpu(number, host=host, instance="10.0.0.5:9400")
        fleet.server(served(2), instance="10.0.0.5:8000")
    reckoning = Reckoning(fleets[0].config, survey, (NOVEMBER + 4) * HOUR)
    for fleet in fleets:
        reckoning.add(fleet.chunk)

    assert [money(reckoning, host) for host in ("old", "new")] == [{"vllm:8000": 4}, {"vllm:8000": 4}]
    assert tokens(reckoning)["vllm:8000", "prompt"] == 4000


def test_energy_that_no_gpu_uses_in_an_hour_costs_nothing(tmp_path: Path) -> None:
    """A counter jumps by 10^12 J, which are 277,778 dollars: its other two hours have 1 kWh each."""
    text = PRICES.replace("2}}", "2}, energy: {dollars_per_kilowatt_hour: 1}}")
    fleet = HourlyFleet(configured(tmp_path, text), hours=3)
    fleet.gpu(0, joules=3_600_000, **CHAT)
    (hours,) = fleet.chunk.gpus.values()
    hours.joules[2] = 1e12

    assert money(fleet.reckoned()) == {"chat": pytest.approx(3 * 2 + 2)}


def test_tokens_of_the_engine_that_took_an_address_over_count(tmp_path: Path) -> None:
    """Two hours of vLLM, and two of SGLang: 2,000 tokens of each."""
    fleet = HourlyFleet(configured(tmp_path), hours=4)
    fleet.gpu(0)
    fleet.server({PROMPT: [1000, 1000, -1, -1], "sglang:prompt_tokens_total": [-1, -1, 1000, 1000]})
    (target,) = fleet.survey.engines
    fleet.survey.later_engines[target] = (ENGINES["sglang"],)

    assert tokens(fleet.reckoned())["vllm:8000", "prompt"] == 4000
