"""GPU-hours are those that are owed, everywhere that they are told: dollars over them are the price."""

import csv
import io
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from exporter.cli.focus import FocusOptions, write_focus
from exporter.ledger.reader import LedgerReader
from exporter.readings import HostLocation
from tests.corners.simulated_host import SimulatedHost
from tests.kit.units import DAY, HOUR, SECOND

SERVER = """
ownership: {rules: [{match: {server: chat}, product: chat, team: assistants}]}
servers: [{name: chat, url: "http://127.0.0.1:8000/metrics", gpus: [0]}]
"""
RENTED = SERVER + "hardware: [{rented: {dollars_per_gpu_hour: 6.88}}]\n"
LEASED = SERVER + "hardware: [{rented: {dollars_per_gpu_hour: 6.88, billing: always}}]\n"
CATALOGUE = SERVER + "hardware: [{rented: {catalogue: any}}]\n"
"""A p5.48xlarge is 55.04 dollars for 8: 6.88 for one."""
OWNED = SERVER + (
    "hardware: [{owned: {purchase_dollars_per_gpu: 26298, in_service: 2026-11-26, life_years: 3}}]\n"
)
"""A dollar an hour."""
P5 = HostLocation("aws", "p5.48xlarge", "us-east-1", lifecycle="on_demand")
NOON = "2026-11-25T12:00:00+00:00"
EVENING = "2026-11-25T18:00:00+00:00"
UP = 8 * HOUR
BOOT = 90 * SECOND
AFTER_LAST_TICK = 20 * SECOND
"""Two intervals, that a host which went down is taken to have been up."""


def night(host: SimulatedHost) -> None:
    """The host is up for 8 hours and off for 16; its daemon ticks 90 s after it is up again."""
    host.tick()
    host.tick(UP)
    host.reboot(16 * HOUR)
    host.tick(BOOT)


def hours(host: SimulatedHost) -> dict[str, float]:
    """GPU-hours by where they are told."""
    reported = {
        "counter": host.served("inference_gpu_seconds_total") / 3600,
        "phases": sum(
            host.served("inference_gpu_seconds_total", phase=phase) / 3600
            for phase in ("prefill", "decode", "other", "idle", "unobserved")
        ),
    }
    for by in ("product", "team", "server", "model", "gpu", None):
        rows = host.statement("2026-11", by)["rows"]  # type: ignore[arg-type]
        reported[f"month by {by}"] = sum(row["gpu_seconds"] for row in rows) / 3600
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert write_focus(FocusOptions(host.file, host.path, "2026-11", None), host.clock) == 0
    rows = list(csv.DictReader(io.StringIO(printed.getvalue())))
    reported["focus"] = sum(float(row["PricingQuantity"]) for row in rows if row["x_Phase"])
    return reported


def agree(host: SimulatedHost, expected: int) -> None:
    """All of them are this time, in nanoseconds."""
    reported = hours(host)
    assert reported == dict.fromkeys(reported, pytest.approx(expected / HOUR, rel=1e-9))


@pytest.mark.parametrize("config", [RENTED, CATALOGUE], ids=["configured", "by catalogue"])
def test_a_host_that_is_off_at_night_owes_the_hours_that_it_was_up(tmp_path: Path, config: str) -> None:
    """8.03 GPU-hours at 6.88 dollars, where 24.03 at 2.30 were told."""
    host = SimulatedHost(tmp_path, config, NOON, location=P5)
    night(host)
    due = UP + AFTER_LAST_TICK + BOOT

    assert round(due / HOUR, 2) == 8.03
    agree(host, due)
    assert host.whole() / 10**12 / (due / HOUR) == pytest.approx(6.88, rel=1e-9)


def test_the_same_where_the_cloud_answers_after_the_first_tick(tmp_path: Path) -> None:
    """The night waits for its price, and is not counted as owed before it is known what it costs."""
    host = SimulatedHost(tmp_path, CATALOGUE, NOON, location=P5)
    host.tick()
    host.tick(UP)
    host.location = None
    host.reboot(16 * HOUR)
    host.tick(BOOT)
    due = UP + AFTER_LAST_TICK + BOOT
    agree(host, due)
    host.placed(P5)
    host.tick(10 * SECOND)

    agree(host, due + 10 * SECOND)
    assert host.whole() / 10**12 / ((due + 10 * SECOND) / HOUR) == pytest.approx(6.88, rel=1e-9)


@pytest.mark.parametrize("waits", [False, True])
def test_a_lease_owes_the_night_too(tmp_path: Path, *, waits: bool) -> None:
    """24.03 hours, of which the night is counted once its price is known; nothing falls meanwhile."""
    host = SimulatedHost(tmp_path, SERVER + "unmatched_hardware: unpriced\n" if waits else LEASED, NOON)
    night(host)
    if waits:
        agree(host, UP + AFTER_LAST_TICK + BOOT)
    host.reload(LEASED)
    host.tick(10 * SECOND)
    host.tick(10 * SECOND)

    agree(host, UP + 16 * HOUR + BOOT + 20 * SECOND)
    assert host.whole() / 10**12 == pytest.approx(6.88 * (24 + (BOOT + 20 * SECOND) / HOUR), rel=1e-9)


def test_overheads_go_by_the_hours_of_rent(tmp_path: Path) -> None:
    """They accrue all day; the hours are those of rent."""
    overhead = "overheads: [{name: storage, dollars_per_hour: 1, per: gpu}]\n"
    host = SimulatedHost(tmp_path, RENTED + overhead, NOON)
    night(host)

    agree(host, UP + AFTER_LAST_TICK + BOOT)


def test_before_its_service_nothing_of_a_host_is_owed_and_nothing_waits(tmp_path: Path) -> None:
    """Six hours to midnight are a burn-in: no dollar, no GPU-hour, and no hour without a price."""
    host = SimulatedHost(tmp_path, OWNED, EVENING)
    host.tick()
    for _ in range(2):
        host.tick(4 * HOUR)

    agree(host, 2 * HOUR)
    assert host.whole() / 10**12 == pytest.approx(2, rel=1e-9)
    assert host.served("inference_gpu_unpriced_seconds_total") == 0
    assert [note for note in host.statement("2026-11")["notes"] if "price" in note] == []


def test_time_that_waited_is_not_owed_once_it_is_known_to_be_before_service(tmp_path: Path) -> None:
    """What was counted while nobody knew stays; it waits no more, and is charged nothing."""
    host = SimulatedHost(tmp_path, SERVER + "unmatched_hardware: unpriced\n", EVENING)
    host.tick()
    host.tick(3 * HOUR)
    agree(host, 3 * HOUR)
    host.reload(OWNED)
    host.tick(5 * HOUR)
    host.tick(10 * SECOND)

    agree(host, 5 * HOUR + 10 * SECOND)
    assert host.statement("2026-11")["total"]["unpriced_gpu_hours"] == 0


def test_history_keeps_what_passed_beside_what_is_owed(tmp_path: Path) -> None:
    """History keeps the parts: all time, what is not owed of it, and who held it."""
    host = SimulatedHost(tmp_path, RENTED, NOON)
    night(host)
    assert host.path is not None
    with LedgerReader.open(host.path) as reader:
        days = reader.days(0, 99_999_999) or {}
    passed = sum(sum(sums.gpu_held.values()) for sums in days.values())
    unowed = sum(sum(sums.gpu_unowed.values()) for sums in days.values())
    down = sum(sum(sums.gpu_down.values()) for sums in days.values())
    by_owner = sum(sum(sums.owner_held.values()) for sums in days.values())

    assert passed == by_owner == DAY + BOOT
    assert unowed == down == 16 * HOUR - AFTER_LAST_TICK
    assert sum(sum(sums.owner_down.values()) for sums in days.values()) == down
    assert {owner.product for sums in days.values() for owner in sums.owner_held} == {"chat"}
