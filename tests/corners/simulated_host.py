"""One host with a daemon on it, whose time a test moves: the real sampler, ledger, page and verbs."""

import contextlib
import io
import json
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from exporter.cli.report import ChargebackOptions, MonthOptions, report_chargeback, report_month
from exporter.config import load
from exporter.config.settings import cost_policy
from exporter.finance.statements import MonthBy
from exporter.ledger import schema
from exporter.ledger.boot import NO_BOOT, BootClaim
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.ledger.schema import Connect
from exporter.metrics.exposition import TEXT, Exposition, Variant
from exporter.readings import UNKNOWN_LOCATION, GpuReading, HostLocation, Source
from exporter.report import Build, ConfigRow, Report
from exporter.sampler.frame_reader import FrameReader
from exporter.sampler.report_builder import ReportContext
from exporter.sampler.sampler import Sampler, SamplerPlan
from tests.kit.units import DAY, HOUR, SECOND
from tests.sampler.sampler_fixture import FakeEndpoint, FakeNvmlSource, FakeProcessMetrics, inline

BUILD = Build("0", "", "3")


def moment(text: str) -> int:
    """Nanoseconds since 1970 of a time that tells its offset."""
    instant = datetime.fromisoformat(text)
    assert instant.tzinfo is not None
    return round(instant.timestamp()) * SECOND


@dataclass
class HostClock:
    """A host's clocks. `true` is what they would all agree on; `off` is how far the wall clock is wrong."""

    true: int
    booted: int
    off: int = 0
    asleep: int = 0
    in_step: bool = True

    def elapsed(self) -> int:
        return self.true - self.booted

    def awake(self) -> int:
        return self.elapsed() - self.asleep

    def boot(self) -> str:
        return f"boot-{self.booted}"

    def wall(self) -> int:
        return self.true + self.off

    def synchronized(self) -> bool:
        return self.in_step

    def wait(self, stop: threading.Event, duration: int) -> bool:
        """Nobody waits here."""
        raise AssertionError((stop, duration))


class SimulatedHost:
    """One GPU, one server that holds it, a configuration file, a ledger, and a daemon that ticks when told.

    Its GPUs are others where `nvml` tells of them.
    Its ledger is on a disk that stays, whatever the test's folder is on.
    Its `place` is `None` while the cloud is being asked.
    """

    def __init__(
        self,
        folder: Path,
        config: str,
        now: str,
        up: int = 30 * DAY,
        location: HostLocation | None = UNKNOWN_LOCATION,
        connect: Connect = schema.connect,
        nvml: Source[tuple[GpuReading, ...]] | None = None,
        *,
        all_gpus: bool = False,
    ) -> None:
        self.location = location
        self.all_gpus = all_gpus
        self.connect = connect
        self.file = folder / "config.yaml"
        self.file.write_text(config)
        self.path: Path | None = folder / "ledger.db"
        self.clock = HostClock(moment(now), moment(now) - up)
        self.nvml = nvml or FakeNvmlSource()
        self.endpoint = FakeEndpoint()
        self.report: Report | None = None
        self.ledger: Ledger | None = None
        self.start()

    def start(self) -> None:
        """Start the daemon."""
        boot = BootClaim(self.clock.boot(), self.clock.elapsed(), fleeting=lambda _folder: "")
        self.ledger = Ledger.open(
            self.path, self.clock, connect=self.connect, boot=boot if self.path else NO_BOOT
        )
        self.sampler = Sampler(
            self.clock,
            FrameReader(self.clock, inline(self.clock), (self.nvml,)),
            self.ledger,
            FakeProcessMetrics(),
            self._plan(),
            machine="product:1",
        )

    def _plan(self) -> SamplerPlan:
        config = load(self.file)
        row = ConfigRow(config.hash, last_reload_success=True, last_reload=self.clock.wall())
        policy = cost_policy(config, "host-1", self.location, all_gpus=self.all_gpus)
        return SamplerPlan(ReportContext(config, policy, BUILD, row), (self.endpoint,))

    def placed(self, location: HostLocation) -> None:
        """The cloud tells where the host runs."""
        self.location = location
        self.sampler.set_plan(self._plan())

    def reload(self, config: str) -> None:
        """Another configuration holds from the next tick on."""
        self.file.write_text(config)
        self.sampler.set_plan(self._plan())

    def kill(self) -> None:
        """End the daemon with nothing said: what is committed stays, the lock goes."""
        assert self.ledger is not None
        assert self.ledger._lock is not None
        if self.ledger._store is not None:
            self.ledger._store.close()
        self.ledger._lock.release()

    def restart(self, down: int) -> None:
        """Kill the daemon and start it again after some time."""
        self.kill()
        self.clock.true += down
        self.start()

    def reboot(self, down: int) -> None:
        """The host is off for some time; the daemon starts with it."""
        self.kill()
        self.clock.true += down
        self.clock.booted = self.clock.true
        self.start()

    def tick(self, after: int = 0) -> Report:
        """Let time pass, then take a tick."""
        self.clock.true += after
        self.report = self.sampler.tick()
        if self.report.totals is not None:
            assert self.report.totals.residual == 0
        return self.report

    def until(self, when: str, every: int = 6 * HOUR) -> None:
        """Tick at long intervals up to a moment."""
        end = moment(when)
        while self.clock.true < end:
            self.tick(min(every, end - self.clock.true))

    def text(self) -> str:
        """The page of metrics."""
        return Exposition(BUILD).render(self.report, Variant(TEXT, gzip=False), stale=False).decode()

    def rows(self, name: str, **labels: str) -> dict[tuple[str, ...], float]:
        """What the page shows under a name: values by those of its labels that are not asked for."""
        text = self.text()
        return {
            tuple(value for label, value in sample.labels.items() if label not in labels): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        }

    def served(self, name: str, **labels: str) -> float:
        """The sum of those rows."""
        return sum(self.rows(name, **labels).values())

    def statement(self, month: str, by: MonthBy | None = "product") -> Any:
        """What `report month` prints, `report chargeback` without a `by`; or its error."""
        printed, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
            if by is None:
                chargeback = ChargebackOptions(self.file, self.path, month, "json")
                status = report_chargeback(chargeback, self.clock)
            else:
                status = report_month(MonthOptions(self.file, self.path, month, "json", by=by), self.clock)
        assert (status, errors.getvalue()) == (0, "")
        return json.loads(printed.getvalue())

    def months(self) -> dict[str, int]:
        """Picodollars of every month that the ledger has, as all reports tell them alike."""
        assert self.path is not None
        with LedgerReader.open(self.path) as reader:
            names = reader.month("1970-01").months
        months = {}
        for name in names:
            bys: list[MonthBy | None] = ["product", "team", "server", "model", "component", "gpu", None]
            totals = {self.statement(name, by)["total"]["picodollars"] for by in bys}
            (months[name],) = totals
        return months

    def days(self) -> dict[int, int]:
        """Picodollars by local day, a number like 20261130."""
        return self._history("days", 99_999_999)

    def covered(self) -> dict[int, int]:
        """Nanoseconds that ticks covered, by local day."""
        assert self.path is not None
        with LedgerReader.open(self.path) as reader:
            days = reader.days(0, 99_999_999)
        assert days is not None
        return {day: sums.covered[()] for day, sums in days.items()}

    def _history(self, grain: str, last: int) -> dict[int, int]:
        assert self.path is not None
        with LedgerReader.open(self.path) as reader:
            rows = getattr(reader, grain)(0, last)
        totals = {}
        for key, sums in rows.items():
            families = (sums.cost, sums.server_cost, sums.gpu_cost)
            (totals[key],) = {sum(family.values()) for family in families}
        return totals

    def whole(self) -> int:
        """All money in picodollars: counters, months, days and hours say the same, or this fails."""
        assert self.report is not None
        assert self.report.totals is not None
        totals = self.report.totals
        sums = Counter(
            {
                "cost": sum(totals.cost.values()),
                "server_cost": sum(totals.server_cost.values()),
                "gpu_cost": sum(totals.gpu_cost.values()),
                "months": sum(self.months().values()),
                "days": sum(self.days().values()),
                "hours": sum(self._history("hours", 10**9).values()),
            }
        )
        assert len(set(sums.values())) == 1, sums
        return sums["cost"]
