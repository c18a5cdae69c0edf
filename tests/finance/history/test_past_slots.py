"""Which GPUs a past host is charged for: those that it has, and those that nothing shows to have left."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from exporter.finance.history.kube_state import NodeKey
from exporter.finance.history.past_answer import HistorySource, answer
from tests.finance.history.chunks import NOVEMBER, PRICES, HourlyFleet, by_month, configured, money
from tests.kit.units import HOUR

PROMPT, GENERATION = "vllm:prompt_tokens_total", "vllm:generation_tokens_total"
POD = {"namespace": "llm", "pod": "chat-0", "instance": "10.1.0.7:8000"}
CHAT = {"exported_namespace": "llm", "exported_pod": "chat-0"}


def served(hours: int, each: float = 1000) -> dict[str, list[float]]:
    """Counters that rise so in each hour."""
    return {PROMPT: [each] * hours, GENERATION: [each / 10] * hours}


def november(counts: Sequence[float], fill: float = 12) -> list[float]:
    """A column of all of November, at a sample each five minutes, that begins with these hours."""
    return [counts[0], *counts, *[fill] * (720 - len(counts))][:721]


def lost_gpus(folder: Path) -> HourlyFleet:
    """Three hosts at 1 dollar an hour of a GPU.

    a has two GPUs: the second leaves on 3 November and is read on b half an hour later, beside b's own.
    v is a VM of eight, which on 5 November comes back after 20 minutes with one that nobody knew.
    """
    prices = '{match: {gpu_model: "H100"}, rented: {dollars_per_gpu_hour: 1}}'
    fleet = HourlyFleet(configured(folder, f"hardware: [{prices}]\n"), hours=720)
    fleet.gpu(1, host="a", counts=november([12]))
    fleet.gpu(2, host="a", counts=november([12] * 48, fill=0), **CHAT)
    fleet.gpu(3, host="b", counts=november([12]))
    fleet.gpu(2, host="b", counts=november([0] * 48 + [6]))
    for number in range(10, 18):
        fleet.gpu(number, host="v", gpu=str(number - 10), counts=november([12] * 96, fill=0))
    fleet.gpu(20, host="v", gpu="0", counts=november([0] * 96 + [8]))
    return fleet


def test_a_gpu_that_left_is_charged_no_more(tmp_path: Path) -> None:
    """3,551 GPU-hours exist: 720 + 48 on a, 720 + 671.5 on b, 8 x 96 + 623.67 on v."""
    reckoning = lost_gpus(tmp_path).reckoned()

    assert sum(money(reckoning, "a").values()) == pytest.approx(768)
    assert sum(money(reckoning, "b").values()) == pytest.approx(1391.5)
    assert sum(money(reckoning, "v").values()) == pytest.approx(1391.67, abs=0.01)
    assert {key.host: len(host.cost_state.gpus) for key, host in reckoning.hosts.items()} == {
        "a": 1,
        "b": 2,
        "v": 1,
    }
    assert not any(
        listing.time >= HOUR for host in reckoning.hosts.values() for listing in host.slots.listings.values()
    )


@pytest.mark.parametrize(("stated", "hours"), [(False, 96 * 8 + 623.67), (True, 720 * 8)])
def test_a_stated_number_is_charged_whatever_is_listed(tmp_path: Path, *, stated: bool, hours: float) -> None:
    """A host of eight that shows one goes on as eight where its price says so."""
    fleet = lost_gpus(tmp_path)
    if stated:
        price = "rented: {dollars_per_host_hour: 8, gpus_per_host: 8}"
        other = HourlyFleet(configured(tmp_path, f"hardware: [{{{price}}}]\n"), hours=720)
        for number in range(10, 18):
            counts = november([12] * 96, fill=0)
            other.gpu(number, host="v", gpu=str(number - 10), counts=counts)
        other.gpu(20, host="v", gpu="0", counts=november([0] * 96 + [8]))
        fleet = other
    assert sum(money(fleet.reckoned(), "v").values()) == pytest.approx(hours, abs=3)


@pytest.mark.parametrize(
    ("old", "new", "hours"),
    [
        ([12, 12, 4, 0, 0, 0], [0, 0, 4, 12, 12, 12], 2 * 2 + 2 / 3 + 1 / 3 + 3),
        ([12, 12, 12, 0, 0, 0], [0, 0, 0, 12, 12, 12], 2 * 6),
        ([12, 12, 12, 0, 0, 0], [0, 0, 0, 0, 12, 12], 2 * 3 + 2 + 2),
    ],
    ids=["within-an-hour", "no-pause", "an-hour"],
)
def test_a_pause_after_which_no_gpu_is_left_is_a_boot(
    tmp_path: Path, old: list[float], new: list[float], hours: float
) -> None:
    """Two GPUs become one with another UUID: without a pause that is one board swapped, and one broken.

    A gap of an hour is charged to both, as any.
    """
    fleet = HourlyFleet(configured(tmp_path, PRICES.replace(": 2}", ": 1}")), hours=6)
    for number in (0, 1):
        fleet.gpu(number, counts=[12, *old])
    fleet.gpu(9, gpu="0", counts=[0, *new])

    assert sum(money(fleet.reckoned()).values()) == pytest.approx(hours, abs=0.01)


def test_a_gpu_that_is_gone_does_not_take_the_price_of_tokens(tmp_path: Path) -> None:
    """One of two is broken in the first of 40 hours: its pod is not scraped since, and the other's is."""
    fleet = HourlyFleet(configured(tmp_path), hours=40)
    fleet.gpu(0, **CHAT)
    fleet.gpu(1, counts=[120, 120] + [0] * 39, exported_namespace="llm", exported_pod="embed-0")
    fleet.server(served(40), running=[1] * 40, **POD)
    fleet.server({PROMPT: [10_000] + [-1] * 39}, namespace="llm", pod="embed-0", instance="10.1.0.8:8000")
    reckoning = fleet.reckoned()

    assert money(reckoning) == {"chat": 80, "embed": 80}
    (host,) = reckoning.hosts.values()
    broken = host.slots.listings["GPU-1"]
    assert (broken.until, broken.time, broken.amount) == ((NOVEMBER + 1) * HOUR, 39 * HOUR, 78 * 10**12)
    assert by_month(host, "unread time") == {"2026-11": 0}
    past = answer(reckoning, HistorySource("", NOVEMBER * HOUR, (NOVEMBER + 40) * HOUR, 0, 1))
    assert past.total().dollars_per_million == pytest.approx(160 / 0.054)
    assert [(each.listing.gpu.uuid, each.listing.amount) for each in past.unlisted] == [
        ("GPU-1", 78 * 10**12)
    ]
    assert past.error == pytest.approx(0.02 + 78 / 160)


def booting(fleet: HourlyFleet, boots: Sequence[int], host: str = "node-1") -> HourlyFleet:
    """The fleet whose host booted at the beginning of these hours, as node_exporter says it."""
    latest, times = 1000.0, {}
    for at in range(fleet.chunk.hours):
        number = fleet.chunk.first - 1 + at
        latest = number * 3600.0 if at - 1 in boots else latest
        times[number] = latest + at % 2  # the clock is slewed
    fleet.chunk.boots[NodeKey("", host)] = times
    return fleet


@pytest.mark.parametrize(("boots", "hours"), [((), 10 + 10), ((5,), 10 + 10), ((5, 8), 10 + 8)])
def test_a_broken_board_is_released_at_the_second_boot(
    tmp_path: Path, boots: tuple[int, ...], hours: float
) -> None:
    """One of two GPUs is silent from the third hour on; the other is there all along."""
    fleet = HourlyFleet(configured(tmp_path, PRICES.replace(": 2}", ": 1}")), hours=10)
    fleet.gpu(0)
    fleet.gpu(1, counts=[120, 120, 120] + [0] * 8)

    assert sum(money(booting(fleet, boots).reckoned()).values()) == pytest.approx(hours)


def test_a_boot_needs_no_pause(tmp_path: Path) -> None:
    """Eight GPUs become one between two samples, and node_exporter tells of the boot: 3 x 8 + 3 hours."""
    for boots, hours in (((3,), 27), ((), 48)):
        fleet = HourlyFleet(configured(tmp_path, PRICES.replace(": 2}", ": 1}")), hours=6)
        for number in range(8):
            fleet.gpu(number, counts=[120] * 4 + [0] * 3)
        fleet.gpu(9, gpu="0", counts=[0] * 4 + [120] * 3)
        assert sum(money(booting(fleet, boots).reckoned()).values()) == pytest.approx(hours)
