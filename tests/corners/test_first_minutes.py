"""The price per token of a server that serves alike from minute to minute, in its first ones and after a gap.

The GPU costs 3.60 dollars an hour, a tenth of a cent a second, and is half busy. 100 tokens a second cost
10 dollars a million, of which 5 are busy.
"""

from pathlib import Path

import pytest

from exporter.ledger.reader import LedgerReader
from exporter.report import Report
from tests.corners.simulated_host import HOUR, MINUTE, SECOND, SimulatedHost

CONFIG = """
hardware: [{rented: {dollars_per_gpu_hour: 3.60}}]
servers: [{name: chat, url: "http://127.0.0.1:8000/metrics", gpus: [0]}]
"""


class ServingHost(SimulatedHost):
    """A host whose server generates 100 tokens a second from a moment on, and does not answer before it."""

    answers_from = serves_from = 0

    def tick(self, after: int = 0) -> Report:
        now = self.clock.true + after
        self.endpoint.failure = "" if now >= self.answers_from else "connection refused"
        self.endpoint.generation = max(0.0, float((now - self.serves_from) * 100 // SECOND))
        return super().tick(after)

    def price(self, basis: str) -> float | None:
        """Dollars per million tokens; `None` where there is no such row."""
        rows = self.rows("inference_cost_dollars_per_million_tokens", kind="all", basis=basis)
        return next(iter(rows.values()), None)


def serving(folder: Path, start: str, *, loading: int = 0, idle: int = 0) -> ServingHost:
    """One that has ticked once. Its server holds the GPU from then on, loads, and idles before it serves."""
    host = ServingHost(folder, CONFIG, start)
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
