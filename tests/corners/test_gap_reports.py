"""What the log says once unobserved time charged: how long, how much, to whom, what not.

The GPU costs 3.60 dollars an hour while the host is up.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.cost.postings import CostOwner, MoneyPosting, OwnerPhase, Segment
from exporter.sampler.change_log import dollars_by_server, top_servers
from tests.corners.simulated_host import SimulatedHost
from tests.kit.units import CENT, DAY, HOUR, MINUTE, SECOND
from tests.sampler.sampler_fixture import H100

SERVED = 'servers: [{name: chat, url: "http://127.0.0.1:8000/metrics", gpus: [0]}]\n'
HOURLY = "hardware: [{rented: {dollars_per_gpu_hour: 3.60}}]\n" + SERVED
LEASED = "hardware: [{rented: {dollars_per_gpu_hour: 3.60, billing: always}}]\n" + SERVED
WITHOUT = "unmatched_hardware: unpriced\n" + SERVED
NOON = "2026-11-25T12:00:00+00:00"
FIELDS = ("since", "hours", "dollars", "by_server", "not_charged")

GapLog = Callable[[], list[tuple[str, str, dict[str, str]]]]


@pytest.fixture
def reported(caplog: pytest.LogCaptureFixture) -> GapLog:
    """What was said of gaps since the last call: level, message and fields."""
    caplog.set_level("INFO")

    def logged() -> list[tuple[str, str, dict[str, str]]]:
        records = [
            (record.levelname, record.getMessage(), {name: vars(record)[name] for name in FIELDS})
            for record in caplog.records
            if record.name == "exporter.sampler.change_log" and "hours" in vars(record)
        ]
        caplog.clear()
        return records

    return logged


def host(folder: Path, config: str) -> SimulatedHost:
    """A host that was up for a month, and has ticked twice."""
    made = SimulatedHost(folder, config, NOON)
    made.tick()
    made.tick(10 * SECOND)
    return made


def test_a_daemon_that_was_stopped(tmp_path: Path, reported: GapLog) -> None:
    """Two hours and ten seconds at 3.60; ordinary ticks before and after say nothing."""
    stopped = host(tmp_path, HOURLY)
    assert reported() == []
    stopped.restart(2 * HOUR)
    stopped.tick(10 * SECOND)
    assert reported() == [
        (
            "INFO",
            "unobserved time charged",
            {
                "since": "2026-11-25T12:00:10+00:00",
                "hours": "2.00",
                "dollars": "7.21",
                "by_server": "chat 7.21",
                "not_charged": "nothing",
            },
        )
    ]
    stopped.tick(10 * SECOND)
    assert reported() == []


@pytest.mark.parametrize(
    ("config", "dollars", "not_charged"),
    [
        # Two intervals after the last tick are 20 s, two cents.
        (HOURLY, "0.02", "hourly rent of 3.99 hours while the host was down or suspended"),
        (LEASED, "14.40", "nothing"),
        (WITHOUT, "0.00", "4.00 GPU-hours without a price, charged once a price is configured"),
    ],
)
def test_a_host_that_was_off(
    tmp_path: Path, reported: GapLog, config: str, dollars: str, not_charged: str
) -> None:
    """Four hours: what is rented by the hour is not owed for them, what is leased is; and without a price."""
    off = host(tmp_path, config)
    off.reboot(4 * HOUR)
    off.tick()

    (line,) = reported()
    assert line[2]["dollars"] == dollars
    assert line[2]["not_charged"] == not_charged
    assert line[2]["by_server"] == ("none" if dollars == "0.00" else f"chat {dollars}")


def test_a_gap_too_long_to_be_believed_is_a_warning(tmp_path: Path, reported: GapLog) -> None:
    """Nine days, of which seven are charged: 168 hours at 3.60 are 604.80."""
    long = host(tmp_path, HOURLY)
    long.restart(9 * DAY)
    long.tick()

    assert reported() == [
        (
            "WARNING",
            "unobserved time charged",
            {
                "since": "2026-11-27T12:00:10+00:00",
                "hours": "168.00",
                "dollars": "604.80",
                "by_server": "chat 604.80",
                "not_charged": "48.00 hours before it, beyond gap.max_days",
            },
        )
    ]


def test_the_time_since_the_boot(tmp_path: Path, reported: GapLog) -> None:
    """20 minutes before new books at 3.60: 1.20, to nobody's account."""
    SimulatedHost(tmp_path, HOURLY, NOON, 20 * MINUTE).tick()

    (line,) = reported()
    assert line[:2] == ("INFO", "rent since boot charged")
    assert line[2]["by_server"] == "unallocated 1.20"


def test_nothing_is_said_where_there_was_nothing_to_charge(tmp_path: Path, reported: GapLog) -> None:
    """The driver was never loaded: a gap of no GPU."""
    bare = SimulatedHost(tmp_path, HOURLY, NOON)
    bare.nvml.failure = "the driver is not loaded"
    bare.tick()
    bare.restart(2 * HOUR)
    bare.tick()

    assert reported() == []


def test_three_servers_are_named_and_the_rest_counted() -> None:
    """The dearest first, equals by name; a line of the log has no room for fifty."""
    owing = {"chat": 300, "embed": 100, "batch": 100, "rank": 20, "ocr": 10}

    def money(server: str, cents: int) -> MoneyPosting:
        owner = CostOwner("p", "t", "ml" if server == "chat" else "", server, "m")
        return MoneyPosting(H100, "rent", "configured", OwnerPhase(owner, "idle"), cents * CENT)

    parts = tuple(money(server, cents) for server, cents in owing.items())
    segment = Segment(0, 1, "2026-11", "2026-11-25", 0, parts, ())

    assert top_servers(dollars_by_server((segment,))) == "ml/chat 3.00, batch 1.00, embed 1.00, 2 others 0.30"
    assert top_servers(dollars_by_server(())) == "none"
