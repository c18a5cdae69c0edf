"""Sampler: reads the sources on the daemon's own clock; a scrape only reads the last report."""

import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from exporter import readings
from exporter.clock import Clock
from exporter.cost.advance import TickOutcome, advance
from exporter.cost.gpu_usage import utilization_ratio
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.metrics.process import ProcessMetrics
from exporter.report import CommittedTotals, Report, SourceRow
from exporter.sampler.change_log import ChangeLog, log_gap
from exporter.sampler.frame_reader import Endpoint, FrameReader
from exporter.sampler.late_pricing import LatePricing
from exporter.sampler.report_builder import ReportContext, build_report, months_served
from exporter.sampler.source_health import Health
from exporter.sources.discovery import Discovery
from exporter.sources.gather import Gather, Gathered
from exporter.sources.gpus import GpuSource
from exporter.sources.pci import DisplayDevices
from exporter.sources.server import GatewaySource
from exporter.units import NANOSECONDS_PER_MINUTE, Nanoseconds, seconds
from exporter.vendors import GpuVendor

log = logging.getLogger(__name__)

CLOCK_WAIT_MAX: Final[Nanoseconds] = 2 * NANOSECONDS_PER_MINUTE
"""How long a rebooted host is given to set its clock."""

FAILING_MAX: Final[Nanoseconds] = 10 * NANOSECONDS_PER_MINUTE
"""Time without a successful tick after which the process exits for a restart."""


@dataclass(frozen=True, slots=True)
class SamplerPlan:
    """Configuration of every tick until another plan, with the endpoints and gateways that it names."""

    context: ReportContext
    endpoints: tuple[Endpoint, ...]
    others: tuple[SourceRow, ...] = ()
    """Health of sources that no tick reads."""
    gateways: tuple[GatewaySource, ...] = ()


class Sampler:
    """Reads, advances, commits, publishes: in this order, once a tick.

    The state between ticks is the ledger's, so that it always matches the postings.

    Args:
        published: called after each tick, in the sampler's thread.
        machine: the identity of this machine, empty if unknown.
    """

    def __init__(
        self,
        clock: Clock,
        gather: Gather,
        gpu_sources: tuple[GpuSource, ...],
        ledger: Ledger,
        process: ProcessMetrics,
        plan: SamplerPlan,
        published: Callable[[], None] = lambda: None,
        machine: str = "",
        discovery: Discovery | None = None,
        displays: Callable[[GpuVendor], DisplayDevices] = lambda _: DisplayDevices(),
    ) -> None:
        self._clock = clock
        self._reader = FrameReader(clock, gather, gpu_sources, discovery, displays=displays)
        self._ledger = ledger
        self._process = process
        self._plan = plan
        self._published = published
        self._machine = machine
        self._bound = False
        self._health = Health()
        self._changes = ChangeLog(ledger.problem)
        self._late_pricing = LatePricing()
        self._idle_servers: frozenset[readings.ServerKey] = frozenset()
        self._report: Report | None = None
        self._reloaded: Report | None = None
        """The last report with the outcome of a reload since its tick."""
        self._began = clock.elapsed()
        self._failing_since: Nanoseconds | None = None

    def current(self) -> Report | None:
        """The last report; `None` before the first tick.

        Reloads since then are in it: one that failed is an alert, and a tick may be 15 seconds away.
        """
        report, context = self._report, self._plan.context
        if report is None:
            return None
        row = replace(
            report.config,
            last_reload_success=context.config_row.last_reload_success,
            web_last_reload_success=context.web_succeeded(),
        )
        if row == report.config:
            return report
        reloaded = self._reloaded
        if reloaded is None or reloaded.elapsed != report.elapsed or reloaded.config != row:
            reloaded = replace(report, config=row)
            self._reloaded = reloaded  # each page of it is rendered once
        return reloaded

    def set_plan(self, plan: SamplerPlan) -> None:
        """Use another plan from the next tick on."""
        self._plan = plan

    def was_busy(self, key: readings.ServerKey) -> bool:
        """Whether a GPU of a server was busy in the last tick; true while that is unknown."""
        return key not in self._idle_servers

    def run(self, stop: threading.Event) -> None:
        """Tick until stopped. A tick that took too long skips the ones it missed.

        A failed tick costs no money: the report stands until the next one, which charges the time.
        A stop between two ticks takes a last one: a drained node has no next start that would charge them.

        Raises:
            MustRestartError: only a new process can go on.
        """
        due = self._clock.elapsed()
        while not stop.is_set():
            self._attempt()
            interval = self._plan.context.config.interval
            due += interval
            now = self._clock.elapsed()
            if due <= now:
                due = now + interval - (now - due) % interval
            if not stop.is_set() and self._clock.wait(stop, due - now):
                with suppress(readings.MustRestartError):  # the next process finds the same
                    self._attempt()

    def _attempt(self) -> None:
        """Take one tick, or log why it failed.

        Raises:
            MustRestartError: only a new process can go on, or every tick of the last ten minutes failed.
        """
        try:
            self.tick()
        except readings.MustRestartError:
            raise
        except Exception as failure:
            now = self._clock.elapsed()
            if self._failing_since is None:
                self._failing_since = now
            if now - self._failing_since >= FAILING_MAX:
                raise readings.MustRestartError(
                    f"no successful tick for ten minutes: {failure!r}"
                ) from failure
            self._changes.note_tick(failure)
        else:
            self._failing_since = None
            self._changes.note_tick(None)

    def tick(self) -> Report:
        """Take one tick and publish its report.

        Raises:
            MustRestartError: only a new process can go on.
        """
        plan = self._plan
        policy = plan.context.policy
        remembered = self._ledger.remembered()
        since = remembered.wall if self._bound else None
        # Endpoints are compared by process: a ledger of another machine knows none of this one.
        read = self._reader.read(plan.context.config, plan.endpoints, since, plan.gateways, remembered)
        frame = read.frame
        synchronized = self._clock.synchronized()
        self._bind(frame)
        # A ledger that may be another machine's is neither read, posted to, nor served.
        state = self._ledger.remembered() if self._bound else State()
        outcome = advance(state, frame, policy)
        gathered = read.gathered
        if not outcome.inventory.gpu_host:  # nothing is missing where the GPUs are
            of_gpus = {answer.health.source for answer in read.gpus.gathered}
            gathered = [
                replace(answer, health=replace(answer.health, expected=False))
                if answer.health.source in of_gpus
                else answer
                for answer in gathered
            ]
        self._health.note(gathered, frame.wall)
        self._health.note_clock(frame.wall, synchronized=synchronized)
        # Only a right wall clock tells how long another boot was, or the time since this one, and which hours
        # and months both belong to.
        since_boot = outcome.charged is not None and outcome.charged.hourly_only
        may_wait = self._clock.elapsed() - self._began < CLOCK_WAIT_MAX
        waits = not synchronized and may_wait and (since_boot or state.rebooted(frame))
        totals = self._post(outcome, frame, read.gpus.source) if self._bound and not waits else None
        self._count_partial_failures(read.gathered, outcome)
        self._changes.note_ledger(self._ledger.problem)
        self._idle_servers = _idle_servers(outcome)
        if self._report is None:
            log.info("first tick", extra={"gpus": len(outcome.gpus), "endpoints": len(frame.servers)})
        self._report = build_report(
            plan.context,
            frame,
            outcome,
            totals,
            (*self._health.rows(), *plan.others),
            self._process.read(),
        )
        self._changes.note_prices(plan.context.config, self._report, frame, policy.tariff)
        self._changes.note_holders(frame)
        self._published()
        log.debug("tick", extra={"took": f"{seconds(self._clock.elapsed() - frame.elapsed):.3f}s"})
        return self._report

    def _bind(self, frame: readings.Frame) -> None:
        """Bind the ledger to this machine once: before the first posting, at the latest with GPUs."""
        if self._bound:
            return
        uuids = {gpu.gpu.uuid for gpu in frame.gpus or ()}
        try:
            self._bound = self._ledger.bind(self._machine, uuids)
        except Exception as failure:
            # The file may be on its way aside: a new process finds it as it is.
            raise readings.MustRestartError(f"the owner of the ledger is undecided: {failure!r}") from failure

    def _post(self, outcome: TickOutcome, frame: readings.Frame, gpu_source: str) -> CommittedTotals:
        """Commit, then return the committed totals: a restart would find the same."""
        for reason, times in outcome.postings.implausible:
            self._health.count(gpu_source, f"implausible_{reason}", times)
        policy = outcome.policy
        part = self._late_pricing.charge(self._ledger, outcome.postings, outcome.state, policy)
        self._ledger.post(part.postings, part.state)
        self._late_pricing.note_posted(part)
        log_gap(outcome.charged, outcome.postings.segments, policy)
        self._changes.note_inventory(outcome.inventory, policy)
        months = tuple(month.name for month in months_served(frame, policy))
        return self._ledger.totals(frame.wall, months)

    def _count_partial_failures(self, gathered: Iterable[Gathered], outcome: TickOutcome) -> None:
        """Count reads of which something does not count under its own name.

        Tokens and money of models beyond the limit go under `other`. A page may leave series out, or be of
        another process than the one before.
        """
        for answer in gathered:
            reading = answer.reading
            if isinstance(reading, readings.ServerReading | readings.GatewayReading):
                for reason, times in outcome.errors.get(reading.url, {}).items():
                    self._health.count(answer.health.source, reason, times)
            if not isinstance(reading, readings.ServerReading):
                continue
            server = outcome.state.servers.get(reading.key)
            if server is not None and not server.models.keys() >= {*reading.models}:
                self._health.count(answer.health.source, "too_many_models", 1)


def _idle_servers(outcome: TickOutcome) -> frozenset[readings.ServerKey]:
    """Servers all of whose GPUs and instances report that they are idle."""
    idle: dict[readings.ServerKey, list[bool]] = {}
    for gpu in outcome.gpus:
        for share in gpu.shares:
            utilization = None if gpu.reading is None else utilization_ratio(gpu.reading, share.instance)
            idle.setdefault(share.key, []).append(utilization == 0.0)
    return frozenset(key for key, parts in idle.items() if all(parts))
