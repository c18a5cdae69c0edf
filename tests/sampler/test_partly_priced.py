"""A server on two GPUs of which one has no price: no price per token until the other's time is charged."""

from decimal import Decimal
from pathlib import Path

import pytest

from exporter.config.settings import Config, ConfiguredServer
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.readings import Gpu, GpuReading
from exporter.report import Report
from exporter.sampler.frame_reader import FrameReader
from exporter.sampler.sampler import Sampler
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware, HardwareMatch, Rented, RentPrice
from tests.kit.clock import START, ManualClock
from tests.kit.units import MINUTE
from tests.sampler.sampler_fixture import TICK, FakeEndpoint, FakeNvmlSource, FakeProcessMetrics, inline, plan

L40S = Gpu("GPU-1", "L40S")
SERVERS = Config(servers=(ConfiguredServer("chat", "http://127.0.0.1:8000/metrics", (0, 1)),))
ALONE = Config(servers=(ConfiguredServer("chat", "http://127.0.0.1:8000/metrics", (0,)),))


class Two(FakeNvmlSource):
    """An H100 and an L40S."""

    def read(self) -> tuple[GpuReading, ...]:
        return (*super().read(), GpuReading(L40S, 1, utilization_ratio=0.5, power_watts=200.0))


def hourly(**prices: str) -> Tariff:
    """Rent by GPU model, and nothing beside it."""
    rules = [
        Hardware(HardwareMatch(gpu_model=model), Rented((RentPrice(Decimal(price)),)), f"hardware.{model}")
        for model, price in prices.items()
    ]
    return Tariff("host", tuple(rules), ())


class Daemon:
    """The crank on one ledger, reloaded and restarted."""

    def __init__(self, path: Path | None, tariff: Tariff, config: Config = SERVERS) -> None:
        self.clock, self.path, self.endpoint = ManualClock(), path, FakeEndpoint()
        self.start(tariff, config)

    def start(self, tariff: Tariff, config: Config = SERVERS) -> None:
        self.ledger = Ledger.open(self.path, self.clock)
        gather = inline(self.clock)
        going = plan(self.endpoint, tariff=tariff, config=config)
        self.sampler = Sampler(
            self.clock, FrameReader(self.clock, gather, (Two(),)), self.ledger, FakeProcessMetrics(), going
        )

    def reload(self, tariff: Tariff, config: Config = SERVERS) -> None:
        self.sampler.set_plan(plan(self.endpoint, tariff=tariff, config=config))

    def minutes(self, count: int) -> Report:
        """100 tokens a tick: 36,000 an hour."""
        for _ in range(count * 6):
            self.clock.now += TICK
            self.endpoint.generation += 100
            report = self.sampler.tick()
        return report


def dollars_by_server(report: Report) -> dict[str, float]:
    """What a million of all tokens cost, by server, everything included."""
    return {
        row.owner.server: round(row.dollars_per_million_tokens, 9)
        for row in report.quotients
        if (row.kind, row.basis) == ("all", "full")
    }


@pytest.mark.parametrize("persistent", [True, False])
def test_no_quotient_until_the_time_is_charged(tmp_path: Path, *, persistent: bool) -> None:
    """31 minutes at 3.60 and no price; then 1.80 for the other GPU: 5.40 an hour over 36,000 tokens."""
    daemon = Daemon(tmp_path / "ledger.db" if persistent else None, hourly(H100="3.60"))
    partly = daemon.minutes(31)
    assert partly.totals is not None
    (window,) = [row for who, row in partly.totals.window.items() if who.server == "chat"]
    assert window.unpriced == 31 * MINUTE - TICK
    assert sum(window.money.values()) > 0
    assert sum(window.tokens.values()) > 18_000
    assert partly.quotients == ()

    daemon.reload(hourly(H100="3.60", L40S="1.80"))
    daemon.minutes(29)
    assert dollars_by_server(daemon.minutes(1)) == {"chat": 150.0}


def test_the_log_says_what_was_charged_and_what_still_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two GPUs without a price for 31 minutes less a tick; then one has 3.60: 1.85, and the other waits on.

    In the tick that charges, both pass their last 10 s: one at its price, the other beyond what is walked.
    """
    caplog.set_level("INFO")
    daemon = Daemon(tmp_path / "ledger.db", hourly())
    daemon.minutes(31)
    daemon.reload(hourly(H100="3.60"))
    daemon.minutes(1)

    (charge,) = [vars(record) for record in caplog.records if record.message.startswith("unpriced time")]
    assert [charge[name] for name in ("gpu_hours", "dollars", "by_server", "gpu_hours_waiting")] == [
        "0.5139",
        "1.85",
        "chat 1.85",
        "0.5139",
    ]


def test_a_restart_and_a_verb_know_it_too(tmp_path: Path) -> None:
    """The books are read back with what waits in them, up to the last whole minute."""
    daemon = Daemon(tmp_path / "ledger.db", hourly(H100="3.60"))
    daemon.minutes(10)
    daemon.ledger.close()
    with LedgerReader.open(tmp_path / "ledger.db") as reader:
        totals = reader.totals(START + daemon.clock.now, ())
    assert sum(window.unpriced for window in totals.window.values()) == 10 * MINUTE - TICK

    daemon.start(hourly(H100="3.60"))
    assert daemon.minutes(1).quotients == ()


def test_the_hour_goes_by(tmp_path: Path) -> None:
    """A GPU that is let go of withholds the quotient as long as the window has time of it, then no longer."""
    daemon = Daemon(tmp_path / "ledger.db", hourly(H100="3.60"))
    daemon.minutes(30)
    daemon.reload(hourly(H100="3.60"), ALONE)
    assert daemon.minutes(30).quotients == ()
    # The GPU goes on without a price and without the server; what it held began in the hour before.
    assert dollars_by_server(daemon.minutes(61)) == {"chat": 100.0}


def test_another_party_is_not_concerned(tmp_path: Path) -> None:
    """The GPU without a price is nobody's: the server on the other has its quotient, 3.60 over 36,000."""
    daemon = Daemon(tmp_path / "ledger.db", hourly(H100="3.60"), ALONE)

    assert dollars_by_server(daemon.minutes(61)) == {"chat": 100.0}
