"""A price that comes late, through the whole crank: a real ledger on disk, a clock that is told."""

import logging
import random
import select
import signal
import sqlite3
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.report import Report
from exporter.reports.repricing import repricing
from exporter.sampler.frame_reader import FrameReader
from exporter.sampler.sampler import Sampler
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware, HardwareMatch, Overhead, Rented, RentPrice
from tests.kit.clock import START, ManualClock
from tests.kit.units import CENT, HOUR, MINUTE
from tests.nightly import daily
from tests.sampler.sampler_fixture import (
    H100,
    TICK,
    FakeEndpoint,
    FakeNvmlSource,
    FakeProcessMetrics,
    inline,
    plan,
)

NETWORK = Overhead("network", Decimal("0.36"), "hour", "host", "overheads[0]")
NOTHING = Tariff("host", (), (NETWORK,))


def priced(since: int | None = None, hourly: str = "3.60") -> Tariff:
    """The GPU's rent, from an instant on or for all time."""
    price = RentPrice(Decimal(hourly), since=since, since_text="" if since is None else "then")
    rented = Rented((price,))
    return Tariff("host", (Hardware(HardwareMatch(), rented, "hardware[0].rented"),), (NETWORK,))


class Disk:
    """Opens connections whose commits fail while they are told to; `late`: after they reached the disk."""

    def __init__(self) -> None:
        self.fails = False
        self.late = False

    def __call__(self, uri: str) -> sqlite3.Connection:
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
                fails = disk.fails and sql == "COMMIT"
                if not fails or disk.late:
                    cursor = super().execute(sql, parameters)  # type: ignore[arg-type]
                if fails:
                    raise sqlite3.OperationalError("database or disk is full")
                return cursor

        return sqlite3.connect(uri, uri=True, isolation_level=None, factory=Connection)


class Daemon:
    """Runs of the daemon on one ledger, one after the other."""

    def __init__(self, path: Path | None, tariff: Tariff = NOTHING, clock: ManualClock | None = None) -> None:
        self.path, self.clock, self.disk = path, clock or ManualClock(), Disk()
        self.nvml, self.endpoint = FakeNvmlSource(), FakeEndpoint()
        self.start(tariff)

    def start(self, tariff: Tariff) -> None:
        """Begin a process; one that ran is gone as after SIGKILL."""
        self.ledger = Ledger.open(self.path, self.clock, connect=self.disk)
        gather = inline(self.clock)
        going = plan(self.endpoint, tariff=tariff)
        self.sampler = Sampler(
            self.clock,
            FrameReader(self.clock, gather, (self.nvml,)),
            self.ledger,
            FakeProcessMetrics(),
            going,
        )

    def killed(self, tariff: Tariff) -> None:
        """Die without a word, which lets go of the lock, and begin again."""
        lock = self.ledger._lock
        if lock is not None:
            lock.release()
        if self.ledger._store is not None:
            self.ledger._store.close()
        self.start(tariff)

    def reload(self, tariff: Tariff) -> None:
        self.sampler.set_plan(plan(self.endpoint, tariff=tariff))

    def ticks(self, count: int, length: int = TICK) -> Report:
        """The last report of some ticks. The clock stands at it until the next."""
        for _ in range(count):
            self.clock.now += length
            report = self.sampler.tick()
            assert report.totals is not None
            assert report.totals.residual == 0
        return report


def rent(report: Report) -> int:
    """Picodollars of rent that were posted."""
    assert report.totals is not None
    return sum(amount for (_, component), amount in report.totals.gpu_cost.items() if component == "rent")


def families(report: Report) -> set[int]:
    """What each family of totals sums to."""
    committed = report.totals
    assert committed is not None
    totals = (committed.cost, committed.server_cost, committed.gpu_cost, committed.months)
    return {sum(amounts.values()) for amounts in totals}  # type: ignore[attr-defined]


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(tmp_path / "ledger.db")


def test_a_price_without_from_covers_everything(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    """Twelve ticks without a price, then 3.60 an hour: the next tick posts 13 cents, the one after one."""
    caplog.set_level(logging.INFO)
    daemon.ticks(13)
    daemon.reload(priced())
    charged = daemon.ticks(1)
    after = daemon.ticks(1)

    assert (rent(charged), rent(after)) == (13 * CENT, 14 * CENT)
    # And the network at a tenth of it throughout.
    assert families(charged) == {13 * CENT + 13 * CENT // 10}
    assert charged.totals is not None
    assert charged.totals.unpriced == {H100: 12 * TICK}
    charges = [
        vars(record) for record in caplog.records if record.message.startswith("unpriced time charged")
    ]
    names = ("gpu_hours", "dollars", "by_server", "gpu_hours_waiting")
    assert [[record[name] for name in names] for record in charges] == [
        ["0.0333", "0.12", "chat 0.12", "0.0000"]
    ]


def test_late_money_falls_where_it_belongs(daemon: Daemon) -> None:
    """By phase as the GPU was then, in the minutes and hours that it covers, not in that of the tick."""
    daemon.ticks(1)
    daemon.ticks(3 * 60, MINUTE)
    daemon.reload(priced())
    report = daemon.ticks(1)

    totals = report.totals
    assert totals is not None
    (window,) = totals.window.values()
    # The last 60 whole minutes at 3.60 and 0.36 an hour; before the reload all of it was half busy.
    assert sum(window.money.values()) == 396 * CENT
    assert (window.money["idle"], window.money["other"]) == (198 * CENT, 198 * CENT)
    # The hours know the money of the time that they cover, and that time once.
    assert sum(hour.covered for hour in totals.usage.hours) == 1081 * TICK
    with LedgerReader.open(daemon.path) as reader:  # type: ignore[arg-type]
        hours = reader.hours(START // HOUR, START // HOUR + 3)
    assert hours is not None
    # From 00:00:10 on; the tick that ends at 03:00:20 adds one cent and had its price.
    rents = {hour - START // HOUR: sums.gpu_cost[H100, "rent"] for hour, sums in hours.items()}
    assert rents == {0: 359 * CENT, 1: 360 * CENT, 2: 360 * CENT, 3: 2 * CENT}


def test_a_price_with_from_charges_what_it_covers(daemon: Daemon) -> None:
    """Three hours without a price, then one from the second hour on, then from the middle of the first."""
    daemon.ticks(1)
    daemon.ticks(179, MINUTE)
    daemon.ticks(5)
    daemon.reload(priced(START + HOUR))
    second = daemon.ticks(1)
    daemon.reload(priced(START + HOUR // 2))
    third = daemon.ticks(1)
    daemon.reload(priced(START + HOUR // 2))
    same = daemon.ticks(1)

    assert rent(second) == 2 * 360 * CENT + CENT
    assert rent(third) == 2 * 360 * CENT + 180 * CENT + 2 * CENT
    assert rent(same) == rent(third) + CENT


def test_the_next_process_charges_too(daemon: Daemon) -> None:
    """A daemon that was stopped, given a price, and started again; and once more."""
    daemon.ticks(13)
    daemon.killed(priced())
    charged = daemon.ticks(1)
    daemon.killed(priced())

    assert (rent(charged), rent(daemon.ticks(1))) == (13 * CENT, 14 * CENT)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("dies", [False, True])
def test_a_disk_that_refuses_to_write_charges_nothing_twice(
    daemon: Daemon,
    late: bool,  # noqa: FBT001 - a case
    dies: bool,  # noqa: FBT001 - a case
) -> None:
    """The tick that charges cannot be committed: it is served once it is, also by another process."""
    before = daemon.ticks(13)
    daemon.disk.fails, daemon.disk.late = True, late
    daemon.reload(priced())
    meanwhile = [rent(daemon.ticks(1)) for _ in range(3)]
    daemon.disk.fails = False
    if dies:
        daemon.killed(priced())
    after = daemon.ticks(1)

    assert (rent(before), meanwhile) == (0, [0, 0, 0])
    assert rent(after) == 16 * CENT
    assert families(after) == {16 * CENT + 16 * CENT // 10}
    assert rent(daemon.ticks(1)) == 17 * CENT


def test_time_that_passes_while_nothing_can_be_written_waits_too(
    daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    """Five ticks in memory without a price: they are written, then charged; the log says so once."""
    daemon.ticks(3)
    daemon.disk.fails = True
    daemon.ticks(5)
    daemon.reload(priced())
    daemon.ticks(2)
    daemon.disk.fails = False
    messages = [record.message for record in caplog.records]
    assert messages.count("late pricing postponed") == 1

    assert rent(daemon.ticks(1)) == 3 * CENT
    assert rent(daemon.ticks(1)) == 11 * CENT


def test_much_of_it_takes_several_ticks(daemon: Daemon) -> None:
    """Two hundred hours: 64 a tick, and every dollar in the end."""
    daemon.ticks(1)
    daemon.ticks(200, HOUR)
    daemon.reload(priced())
    rents = [rent(daemon.ticks(1)) for _ in range(6)]

    ticks = 200 * 360
    assert rents[0] < rents[1] < rents[2] < rents[3]
    assert rents[3:] == [(ticks + number) * CENT for number in (4, 5, 6)]


def test_time_whose_hours_are_gone_is_charged_in_its_days(daemon: Daemon) -> None:
    """Fifty days: hours are kept for forty, and charging brings none back, in the file or in memory."""
    daemon.ticks(1)
    daemon.ticks(50, 24 * HOUR)
    daemon.ticks(300)
    daemon.reload(priced())
    report = daemon.ticks(30)

    assert rent(report) == (50 * 8640 + 330) * CENT
    with LedgerReader.open(daemon.path) as reader:  # type: ignore[arg-type]
        hours = reader.hours(0, 10**7)
        days = reader.days(20261125, 20270201)
    assert hours is not None
    assert days is not None
    assert sum(sums.gpu_cost[H100, "rent"] for sums in days.values()) == rent(report)
    totals = daemon.ledger._committed.totals
    assert min(hours) == min(totals.metered_hours())
    assert {hour for hour, sums in totals.hours.items() if sums.cost} <= totals.metered_hours()


def test_a_price_that_goes_and_comes_again_charges_each_time_once(daemon: Daemon) -> None:
    """Priced, unpriced, priced by another amount: what was priced when it passed stays as it was."""
    daemon.ticks(1)
    for tariff in (priced(), NOTHING, priced(hourly="7.20"), NOTHING, priced()):
        daemon.reload(tariff)
        report = daemon.ticks(12)

    # 12 ticks at one cent, 24 at two, 24 at one again.
    assert rent(report) == (12 + 48 + 24) * CENT


def test_a_month_that_ended_gets_its_money(tmp_path: Path) -> None:
    """From an hour before December to an hour after it, priced in December."""
    daemon = Daemon(tmp_path / "ledger.db", clock=ManualClock(now=6 * 24 * HOUR - HOUR - TICK))
    daemon.ticks(1)
    daemon.ticks(120, MINUTE)
    daemon.reload(priced())
    totals = daemon.ticks(1).totals

    assert totals is not None
    months = {key.month: amount for key, amount in totals.months.items()}
    assert months == {"2026-11": 396 * CENT, "2026-12": (361 * CENT * 11) // 10}
    assert {key.product for key in totals.months} == {"unassigned"}


def test_books_in_memory_charge_too() -> None:
    """They have no history, and keep the time that waits."""
    daemon = Daemon(None)
    daemon.ticks(13)
    daemon.reload(priced(START + 7 * TICK))
    some = daemon.ticks(1)
    daemon.reload(priced())
    every = daemon.ticks(1)

    assert (rent(some), rent(every)) == (7 * CENT, 14 * CENT)


def test_what_a_reload_says_is_what_metering_would_have_posted(daemon: Daemon) -> None:
    """Two hours at 3.60, of which the daemon slept a half; from 01:00 on 7.20 are 3.60 more."""
    daemon.reload(priced())
    daemon.ticks(1)
    daemon.ticks(59, MINUTE)
    daemon.ticks(1, HOUR // 2)
    daemon.ticks(30, MINUTE)
    daemon.ticks(5)
    new = priced(START + HOUR, "7.20")
    with LedgerReader.open(daemon.path) as reader:  # type: ignore[arg-type]
        change = repricing(priced(), new, reader, ZoneInfo("UTC"), daemon.clock.wall())

    # An hour; the half of it that nobody watched is rented hardware that was up.
    assert change is not None
    assert (change.posted, change.due) == (360 * CENT, 720 * CENT)


CHARGES = """
import sys
from pathlib import Path
from tests.kit.clock import ManualClock
from tests.sampler.sampler_fixture import TICK
from tests.sampler.test_late_pricing import Daemon, priced

clock = ManualClock(now=int(sys.argv[2]))
daemon = Daemon(Path(sys.argv[1]), priced(), clock)
print("open", flush=True)
while True:
    daemon.ticks(1)
    print(clock.now, flush=True)
"""


@pytest.mark.parametrize("kills", daily((4, 16), {4}))
def test_killed_while_it_charges_it_charges_the_rest_and_nothing_twice(daemon: Daemon, kills: int) -> None:
    """Three hundred hours, five ticks of charging, SIGKILL at any moment of them, again and again."""
    daemon.ticks(1)
    daemon.ticks(300, HOUR)
    daemon.ledger.close()
    chance = random.Random(20261125)  # noqa: S311 - a reproducible series
    now = daemon.clock.now
    for _ in range(kills):
        with subprocess.Popen(
            [sys.executable, "-c", CHARGES, str(daemon.path), str(now)],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            for _ in range(chance.randint(1, 4)):
                line = process.stdout.readline()
                now = now if line == "open\n" else int(line)
            select.select([], [], [], chance.random() / 20)
            process.send_signal(signal.SIGKILL)
            process.wait()
            instants = [int(line) for line in process.stdout.read().split()]
            # What was committed and not told yet was at most one tick later.
            now = max([now, *instants]) + TICK
    daemon.clock.now = now
    daemon.start(priced())
    report = daemon.ticks(7)

    # All time since the first tick, at one cent for 10 seconds, whatever was told.
    assert rent(report) == (daemon.clock.now - TICK) // TICK * CENT
    with LedgerReader.open(daemon.path) as reader:  # type: ignore[arg-type]
        days = reader.days(20261125, 20261208)
    assert days is not None
    assert sum(sum(sums.settled.values()) for sums in days.values()) == 300 * HOUR
