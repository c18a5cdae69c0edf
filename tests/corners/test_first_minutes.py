"""The price per token of a server that serves alike from minute to minute, in its first ones and after a gap.

The GPU costs 3.60 dollars an hour, a tenth of a cent a second, and is half busy. 100 tokens a second cost
10 dollars a million, of which 5 are busy.
"""

from pathlib import Path

import pytest

from exporter.ledger.reader import LedgerReader
from exporter.readings import ServerKey
from exporter.report import Report
from tests.corners.simulated_host import SimulatedHost
from tests.kit.units import DAY, HOUR, MINUTE, SECOND
from tests.sampler.sampler_fixture import FakeNvmlSource

CONFIG = """
hardware: [{rented: {dollars_per_gpu_hour: 3.60}}]
servers: [{name: chat, url: "http://127.0.0.1:8000/metrics", gpus: [0]}]
"""
UNPRICED = CONFIG.replace(
    "hardware: [{rented: {dollars_per_gpu_hour: 3.60}}]", "unmatched_hardware: unpriced"
)


class ServingHost(SimulatedHost):
    """A host whose server generates 100 tokens a second from a moment on, and does not answer before it."""

    answers_from = serves_from = 0

    def reboot(self, down: int) -> None:
        """Another process serves from the boot on, and counts from zero."""
        super().reboot(down)
        self.answers_from = self.serves_from = self.clock.true
        self.endpoint.identity = f"booted {self.clock.true}"
        self.endpoint.started = self.clock.true

    def tick(self, after: int = 0) -> Report:
        now = self.clock.true + after
        self.endpoint.failure = "" if now >= self.answers_from else "connection refused"
        self.endpoint.generation = max(0.0, float((now - self.serves_from) * 100 // SECOND))
        return super().tick(after)

    def price(self, basis: str) -> float | None:
        """Dollars per million tokens; `None` where there is no such row."""
        rows = self.rows("inference_cost_dollars_per_million_tokens", kind="all", basis=basis)
        return next(iter(rows.values()), None)

    def tokens(self, day: int) -> int:
        """Tokens of a local day, a number like 20261130."""
        assert self.path is not None
        with LedgerReader.open(self.path) as reader:
            return sum((reader.days(day, day) or {})[day].tokens.values())


def serving(folder: Path, start: str, *, loading: int = 0, idle: int = 0) -> ServingHost:
    """One that has ticked once. Its server holds the GPU from then on, loads, and idles before it serves."""
    host = ServingHost(folder, CONFIG, start)
    host.endpoint.identity = "first"
    host.answers_from = host.clock.true + loading
    host.serves_from = host.answers_from + idle
    host.tick()
    return host


@pytest.mark.parametrize(("second", "first"), [("00", 60), ("05", 60), ("47", 20)])
def test_the_first_price_is_that_of_all_minutes(tmp_path: Path, second: str, first: int) -> None:
    """Whenever in a minute it starts: a tick's tokens are in the minutes that its cost is in.

    The first price comes with the first whole minute that has 1,000 tokens: 13 seconds have 1,300.
    """
    host = serving(tmp_path, f"2026-11-25T12:00:{second}+00:00")
    for passed in range(10, 150, 10):
        host.tick(10 * SECOND)
        known = (host.price("full"), host.price("busy"))
        expected = (None, None) if passed < first else (pytest.approx(10), pytest.approx(5))
        assert (passed, known) == (passed, expected)


def test_idle_time_before_the_first_request_is_in_the_full_price(tmp_path: Path) -> None:
    """It answers at 12:00:05, and has the first request at 12:01:05.

    At 12:02, 11.5 cents are over 5,500 tokens; at 12:03, 17.5 cents over 11,500.
    """
    host = serving(tmp_path, "2026-11-25T12:00:05+00:00", idle=MINUTE)
    prices = {}
    for passed in range(10, 190, 10):
        host.tick(10 * SECOND)
        prices[passed] = host.price("full")
    assert prices[110] is None
    assert prices[120] == pytest.approx(0.115 / 0.0055)
    assert prices[180] == pytest.approx(0.175 / 0.0115)


def test_time_before_a_server_answers_is_no_models(tmp_path: Path) -> None:
    """It loads from 12:00:05 on and serves from 12:01:05 on.

    The five ticks without a model are the server's. At 12:02 the model has 65 s and 5,500 tokens.
    """
    host = serving(tmp_path, "2026-11-25T12:00:05+00:00", loading=MINUTE)
    for _ in range(12):
        host.tick(10 * SECOND)
    assert host.price("full") == pytest.approx(0.065 / 0.0055)
    assert host.served("inference_cost_dollars_total", model="") == pytest.approx(0.050)
    assert host.served("inference_cost_dollars_total", model="m") == pytest.approx(0.070)


def test_tokens_of_a_gap_are_over_the_same_time_as_its_cost(tmp_path: Path) -> None:
    """Two hours without a daemon are 7.20 dollars and 720,000 tokens: the hour after it costs as ever."""
    host = serving(tmp_path, "2026-11-25T11:57:35+00:00")
    host.tick(10 * SECOND)
    host.restart(2 * HOUR)
    host.tick()
    assert host.price("full") == pytest.approx(10)
    for _ in range(6):
        host.tick(10 * MINUTE)
        assert host.price("full") == pytest.approx(10)


def test_tokens_of_a_gap_are_of_the_same_months_as_its_cost(tmp_path: Path) -> None:
    """Ten seconds before 18:00, then 12 hours without a daemon: six of them in each month."""
    host = serving(tmp_path, "2026-11-30T17:59:50+00:00")
    host.tick(10 * SECOND)
    host.restart(12 * HOUR)
    host.tick()
    totals = [host.statement(month)["total"] for month in ("2026-11", "2026-12")]
    assert [total["dollars"] for total in totals] == [21.61, 21.60]
    assert [total["generation_tokens"] for total in totals] == [2_161_000, 2_160_000]


def test_a_host_that_was_off_served_nothing(tmp_path: Path) -> None:
    """Off from 18:00 to 02:00 of the next month, first read ten minutes later: 60,000 tokens since the boot.

    November has 20 s of rent after its last tick, 2 cents, and no token for them.
    """
    host = serving(tmp_path, "2026-11-30T17:59:50+00:00")
    host.tick(10 * SECOND)
    host.reboot(8 * HOUR)
    host.tick(10 * MINUTE)
    totals = [host.statement(month)["total"] for month in ("2026-11", "2026-12")]
    assert [total["dollars"] for total in totals] == [0.03, 0.60]
    assert [total["generation_tokens"] for total in totals] == [1_000, 60_000]
    assert host.price("full") == pytest.approx(10)


def test_tokens_of_a_tick_in_which_the_host_was_down_throughout_are_not_lost(tmp_path: Path) -> None:
    """Twelve hours asleep, to the nanosecond: half of a remote server's 4,320,000 are in each month."""
    host = serving(tmp_path, "2026-11-30T17:59:50+00:00")
    host.tick(10 * SECOND)
    host.clock.asleep += 12 * HOUR
    host.tick(12 * HOUR)
    totals = [host.statement(month)["total"] for month in ("2026-11", "2026-12")]
    assert [total["dollars"] for total in totals] == [0.01, 0.0]
    assert [total["generation_tokens"] for total in totals] == [2_161_000, 2_160_000]


def test_tokens_of_a_silent_server_are_over_the_silence(tmp_path: Path) -> None:
    """40 minutes without an answer over a month's end: 20 minutes and 120,000 tokens in each month.

    Once it answers the price is as ever, also while the silence leaves the hour that prices cover.
    """
    host = serving(tmp_path, "2026-11-30T22:40:00+00:00")
    for _ in range(6):
        host.tick(10 * MINUTE)
    host.answers_from = host.clock.true + 40 * MINUTE
    for _ in range(4 * 59):
        host.tick(10 * SECOND)
    # 39 of the 60 whole minutes have no tokens yet.
    assert host.price("full") == pytest.approx(3.60 / (21 * 0.006))
    while host.clock.true < host.answers_from + 70 * MINUTE:
        host.tick(10 * SECOND)
        if host.clock.true >= host.answers_from:
            assert host.price("full") == pytest.approx(10, rel=1e-4)
    totals = [host.statement(month)["total"] for month in ("2026-11", "2026-12")]
    assert [total["dollars"] for total in totals] == [4.80, 5.40]
    assert [total["generation_tokens"] for total in totals] == [480_000, 540_000]


def test_a_server_that_was_restarted_in_its_silence_served_lately(tmp_path: Path) -> None:
    """Nobody says when it began to serve: its tokens are those of the tick that reads them."""
    host = serving(tmp_path, "2026-11-30T23:30:00+00:00")
    host.tick(10 * SECOND)
    host.answers_from = host.clock.true + 40 * MINUTE
    host.serves_from, host.endpoint.identity = host.answers_from - 10 * SECOND, "second"
    host.endpoint.started = host.serves_from
    while host.clock.true < host.answers_from:
        host.tick(10 * SECOND)
    totals = [host.statement(month)["total"] for month in ("2026-11", "2026-12")]
    assert [total["generation_tokens"] for total in totals] == [1_000, 1_000]


def test_tokens_of_time_that_was_too_long_to_charge_are_of_that_time(tmp_path: Path) -> None:
    """14 days without a daemon, of which 7 are charged: the hour after them costs as ever."""
    host = serving(tmp_path, "2026-11-16T23:59:50+00:00")
    host.tick(10 * SECOND)
    host.restart(14 * DAY)
    host.tick()
    assert host.price("full") == pytest.approx(10)
    host.tick(10 * MINUTE)
    totals = [host.statement(month)["total"] for month in ("2026-11", "2026-12")]
    assert [total["dollars"] for total in totals] == [604.81, 0.60]
    assert [total["generation_tokens"] for total in totals] == [14 * 8_640_000 + 1_000, 60_000]
    assert host.tokens(20261124) == 8_640_000


def test_tokens_of_a_gap_that_is_priced_late_are_by_the_minute_as_its_cost(tmp_path: Path) -> None:
    """Two hours without a daemon to 13:20, and its first tick has no price yet: 60 minutes of both."""
    host = serving(tmp_path, "2026-11-25T11:19:50+00:00")
    host.reload(UNPRICED)
    host.tick(10 * SECOND)
    host.restart(2 * HOUR)
    host.tick()
    assert host.price("full") is None
    host.reload(CONFIG)
    for _ in range(8):
        host.tick(10 * SECOND)
        assert host.price("full") == pytest.approx(10)
    for _ in range(6):
        host.tick(10 * MINUTE)
        assert host.price("full") == pytest.approx(10)


@pytest.mark.parametrize("identity", ["first", ""])
def test_a_server_that_is_renamed_while_the_daemon_is_down(tmp_path: Path, identity: str) -> None:
    """Three hours are 10.80 dollars and 1,080,000 tokens of one model, and both have one name.

    The new one, where the process says that it is the same; else the last known, with its last model, and
    the tokens of a process that nobody knows are no one's.
    """
    host = serving(tmp_path, "2026-11-25T12:00:00+00:00")
    host.endpoint.identity = identity
    for _ in range(6):
        host.tick(10 * SECOND)
    host.file.write_text(CONFIG.replace("chat", "talk"))
    host.endpoint.key = ServerKey("", "talk")
    host.restart(3 * HOUR)
    host.tick()
    of_gap = host.rows("inference_cost_dollars_total", phase="unobserved", team="unassigned")
    assert {key for key, dollars in of_gap.items() if dollars} == {
        ("m", "", "unassigned", "talk" if identity else "chat")
    }
    assert host.served("inference_tokens_total", server="talk") == (1_080_000 if identity else 0)
    assert host.price("full") == (pytest.approx(10) if identity else None)


def test_a_server_that_is_renamed_while_the_driver_is_silent(tmp_path: Path) -> None:
    """A minute is 6 cents and 6,000 tokens of the new name."""
    host = serving(tmp_path, "2026-11-25T12:00:00+00:00")
    host.tick(10 * SECOND)
    assert isinstance(host.nvml, FakeNvmlSource)
    host.nvml.failure = "hung"
    host.reload(CONFIG.replace("chat", "talk"))
    host.endpoint.key = ServerKey("", "talk")
    for _ in range(6):
        host.tick(10 * SECOND)
    assert host.served("inference_cost_dollars_total", server="talk") == pytest.approx(0.06)
    assert host.served("inference_tokens_total", server="talk") == 6_000
    assert host.served("inference_cost_dollars_total", server="chat") == pytest.approx(0.01)


def test_tokens_after_a_boot_are_none_of_the_time_that_the_host_was_off(tmp_path: Path) -> None:
    """Off from 18:00 for 12 hours, over the month's end; the daemon starts ten minutes after the host.

    Hourly rent is owed for 20 seconds after the last tick and for ten minutes since the boot, in which the
    server had 60,000 tokens.
    """
    host = serving(tmp_path, "2026-11-30T17:59:50+00:00", idle=12 * HOUR + 10 * SECOND)
    host.tick(10 * SECOND)
    host.kill()
    host.clock.booted = host.clock.true = host.serves_from
    host.clock.true += 10 * MINUTE
    host.start()
    host.tick()
    totals = [host.statement(month)["total"] for month in ("2026-11", "2026-12")]
    assert [total["dollars"] for total in totals] == [0.03, 0.60]
    assert [total["generation_tokens"] for total in totals] == [0, 60_000]


def test_a_server_that_begins_at_the_hour_rested_in_the_one_before(tmp_path: Path) -> None:
    """A tick from 07:59:55 to 08:00:05 has 500 tokens, all since 08:00: `advise` counts on hours without."""
    host = serving(tmp_path, "2026-11-25T07:59:45+00:00", idle=15 * SECOND)
    host.tick(10 * SECOND)
    host.tick(10 * SECOND)
    assert host.path is not None
    with LedgerReader.open(host.path) as reader:
        hours = reader.hours(0, 10**9) or {}
    assert [sum(sums.tokens.values()) for _, sums in sorted(hours.items())] == [0, 500]


def test_tokens_of_the_tick_that_charges_the_time_since_the_boot_are_its_own(tmp_path: Path) -> None:
    """Up since 23:40 and served since 23:45, its GPU is read at 00:10:10 for the first time."""
    host = ServingHost(tmp_path, CONFIG, "2026-11-30T23:45:00+00:00", up=5 * MINUTE)
    host.serves_from = host.clock.true
    assert isinstance(host.nvml, FakeNvmlSource)
    host.nvml.failure = "hung"
    host.tick()
    for _ in range(150):
        host.tick(10 * SECOND)
    host.nvml.failure = ""
    host.tick(10 * SECOND)
    totals = [host.statement(month)["total"] for month in ("2026-11", "2026-12")]
    assert [total["dollars"] for total in totals] == [1.20, 0.61]
    assert [total["generation_tokens"] for total in totals] == [90_000, 61_000]
