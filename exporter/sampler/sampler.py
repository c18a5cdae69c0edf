"""Sampler: reads the sources on the daemon's own clock; a scrape only reads the last report."""

import logging
import threading
from collections.abc import Callable
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
from exporter.sampler.frame_reader import Endpoint, FrameRead, FrameReader
from exporter.sampler.late_pricing import LatePricing
from exporter.sampler.report_builder import ReportContext, build_report, months_served
from exporter.sampler.source_health import Health
from exporter.sources.server import GatewaySource
from exporter.units import NANOSECONDS_PER_MINUTE, Nanoseconds, seconds

log = logging.getLogger(__name__)

CLOCK_WAIT_MAX: Final[Nanoseconds] = 2 * NANOSECONDS_PER_MINUTE
"""How long a rebooted host is given to set its clock, since the daemon began."""

FAILING_MAX: Final[Nanoseconds] = 10 * NANOSECONDS_PER_MINUTE
"""Time without a successful tick after which the process exits for a restart."""

FAILING_MAX_TEXT: Final = "ten minutes"
"""`FAILING_MAX` in words, for the message."""


@dataclass(frozen=True, slots=True)
class SamplerPlan:
    """Configuration of every tick until another plan, with the endpoints and gateways that it names."""

    context: ReportContext
    endpoints: tuple[Endpoint, ...]
    unread_sources: tuple[SourceRow, ...] = ()
    """Health of sources that no tick reads."""
    gateways: tuple[GatewaySource, ...] = ()


class Sampler:
    """Reads, advances, commits, publishes: in this order, once a tick.

    The state between ticks is the ledger's, so that it always matches the postings.

    Args:
        clock: the clock of the ticks, which `reader` has too.
        reader: reads all sources, once a tick.
        ledger: has the state and the postings. It is not closed here.
        process: metrics of this process, for the report.
        plan: what to read and how to charge it, until `set_plan`.
        published: called after each tick, in the sampler's thread.
        machine: the identity of this machine, empty if unknown.
    """

    def __init__(
        self,
        clock: Clock,
        reader: FrameReader,
        ledger: Ledger,
        process: ProcessMetrics,
        plan: SamplerPlan,
        *,
        published: Callable[[], None] = lambda: None,
        machine: str = "",
    ) -> None:
        self._clock = clock
        self._reader = reader
        self._ledger = ledger
        self._process = process
        self._plan = plan
        self._published = published
        self._machine = machine
        self._bound = False
        """Whether the ledger is known to be of this machine; it is neither posted to nor served before."""
        self._health = Health()
        self._changes = ChangeLog(ledger.problem)
        self._late_pricing = LatePricing()
        self._idle_servers: frozenset[readings.ServerKey] = frozenset()
        """Servers all of whose GPUs were idle in the last tick."""
        self._report: Report | None = None
        """The report of the last tick, `None` before the first."""
        self._with_reload: Report | None = None
        """The last report that a reload changed after its tick, with the outcome of that reload."""
        self._began = clock.elapsed()
        self._failing_since: Nanoseconds | None = None
        """When the first of the latest ticks failed, all of which did; `None` after one that succeeded."""

    def current(self) -> Report | None:
        """The last report; `None` before the first tick.

        Reloads since then are in it: one that failed is an alert, and a tick may be 15 seconds away.
        Web threads call this while the sampler ticks: every field that it reads is replaced as a whole.
        """
        report = self._report
        if report is None:
            return None
        context = self._plan.context
        config_row = replace(
            report.config,
            last_reload_success=context.config_row.last_reload_success,
            web_last_reload_success=context.web_succeeded(),
        )
        if config_row == report.config:
            return report
        # The same object is returned while nothing changes, since each page of a report is rendered once.
        # Reports of two ticks differ in `elapsed`.
        cached = self._with_reload
        if cached is None or cached.elapsed != report.elapsed or cached.config != config_row:
            cached = replace(report, config=config_row)
            self._with_reload = cached
        return cached

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
                missed = (now - due) // interval + 1
                due += missed * interval
            if stop.is_set():
                return
            is_stopped = self._clock.wait(stop, due - now)
            if is_stopped:
                with suppress(readings.MustRestartError):  # the next process finds the same
                    self._attempt()

    def _attempt(self) -> None:
        """Take one tick, or log why it failed.

        Raises:
            MustRestartError: only a new process can go on, or no tick succeeded for `FAILING_MAX`.
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
                problem = f"no successful tick for {FAILING_MAX_TEXT}: {failure!r}"
                raise readings.MustRestartError(problem) from failure
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
        read = self._read(plan)
        frame = read.frame
        if not self._bound:
            self._bind(frame)
        # The state of a ledger that may be another machine's tells nothing of this one.
        state = self._ledger.remembered() if self._bound else State()
        outcome = advance(state, frame, plan.context.policy)
        is_clock_set = self._clock.synchronized()
        self._note_health(read, outcome, is_clock_set=is_clock_set)
        may_post = self._may_post(outcome, rebooted=state.rebooted(frame), is_clock_set=is_clock_set)
        # A tick that is not posted loses no money: the next one charges all the time since the same state.
        totals = self._post(read, outcome) if may_post else None
        sources = (*self._health.rows(), *plan.unread_sources)
        report = build_report(
            plan.context, frame, outcome, totals, sources=sources, process=self._process.read()
        )
        self._log_changes(plan, frame, outcome, report)
        self._report = report
        self._idle_servers = _idle_servers(outcome)
        self._published()
        log.debug("tick", extra={"took": f"{seconds(self._clock.elapsed() - frame.elapsed):.3f}s"})
        return report

    def _read(self, plan: SamplerPlan) -> FrameRead:
        """Read all sources.

        Raises:
            MustRestartError: only a new process can go on.
        """
        # Pages are compared with this state before its ledger is known to be of this machine, too. They are
        # compared by the process that answers, and another machine's state has no process of this one.
        before = self._ledger.remembered()
        since = before.wall if self._bound else None
        return self._reader.read(plan.context.config, plan.endpoints, since, plan.gateways, before)

    def _bind(self, frame: readings.Frame) -> None:
        """Bind the ledger to this machine, which may change its state.

        That is before the first posting, at the latest with GPUs.

        Raises:
            MustRestartError: only a new process can go on.
        """
        uuids = {gpu.gpu.uuid for gpu in frame.gpus or ()}
        try:
            self._bound = self._ledger.bind(self._machine, uuids)
        except Exception as failure:
            # The file may be on its way aside: a new process finds it as it is.
            raise readings.MustRestartError(f"the owner of the ledger is undecided: {failure!r}") from failure

    def _note_health(self, read: FrameRead, outcome: TickOutcome, *, is_clock_set: bool) -> None:
        """Note which sources answered; a host without GPUs misses no source of GPUs."""
        answers = read.gathered if outcome.inventory.gpu_host else read.gathered_without_gpus()
        self._health.note(answers, read.frame.wall)
        self._health.note_clock(read.frame.wall, synchronized=is_clock_set)

    def _may_post(self, outcome: TickOutcome, *, rebooted: bool, is_clock_set: bool) -> bool:
        """Whether the ledger is of this machine, and the tick's time is known well enough to be charged.

        Time of another boot, or since this one, is known by the wall clock alone: its length, and the hours
        and months that it belongs to. It waits until that clock is set, for at most `CLOCK_WAIT_MAX`.
        """
        is_since_boot = outcome.charged is not None and outcome.charged.hourly_only
        needs_clock = rebooted or is_since_boot
        waited = self._clock.elapsed() - self._began
        is_time_known = is_clock_set or not needs_clock or waited >= CLOCK_WAIT_MAX
        return self._bound and is_time_known

    def _post(self, read: FrameRead, outcome: TickOutcome) -> CommittedTotals:
        """Commit a tick and log it, then return the committed totals: a restart would find the same."""
        policy = outcome.policy
        # The postings and the state of the tick, with unpriced time of earlier ticks that has a price by now.
        part = self._late_pricing.charge(self._ledger, outcome.postings, outcome.state, policy)
        self._ledger.post(part.postings, part.state)
        self._late_pricing.note_posted(part)
        # After the post: a tick without one leaves the state, by which the next tick finds the same failures.
        self._count_partial_failures(read, outcome)
        log_gap(outcome.charged, outcome.postings.segments, policy)
        self._changes.note_inventory(outcome.inventory, policy)
        months = tuple(month.name for month in months_served(read.frame, policy))
        return self._ledger.totals(read.frame.wall, months)

    def _count_partial_failures(self, read: FrameRead, outcome: TickOutcome) -> None:
        """Count what the cost model refuses in readings that did not fail.

        An energy or a number of tokens may be implausible, or a page of another process than the one before.
        Tokens and money of models beyond the limit go under `other`.
        """
        for quantity, times in outcome.postings.implausible:
            self._health.count(read.gpus.source, f"implausible_{quantity}", times)
        for answer in (*read.gateways, *read.servers):
            if answer.reading is None:
                continue
            for reason, times in outcome.errors.get(answer.reading.url, {}).items():
                self._health.count(answer.health.source, reason, times)
        for answer in read.servers:
            if answer.reading is None or answer.reading.key not in outcome.state.servers:
                continue
            counted_models = outcome.state.servers[answer.reading.key].models.keys()
            if not counted_models >= {*answer.reading.models}:
                self._health.count(answer.health.source, "too_many_models", 1)

    def _log_changes(
        self, plan: SamplerPlan, frame: readings.Frame, outcome: TickOutcome, report: Report
    ) -> None:
        """Log the first tick, and what has changed since the tick before."""
        self._changes.note_ledger(self._ledger.problem)
        if self._report is None:
            log.info("first tick", extra={"gpus": len(outcome.gpus), "endpoints": len(frame.servers)})
        self._changes.note_prices(plan.context.config, report, frame, plan.context.policy.tariff)
        self._changes.note_holders(frame)


def _idle_servers(outcome: TickOutcome) -> frozenset[readings.ServerKey]:
    """Servers all of whose GPUs and instances report that they are idle."""
    idle_parts: dict[readings.ServerKey, list[bool]] = {}
    for gpu in outcome.gpus:
        for share in gpu.shares:
            utilization = None if gpu.reading is None else utilization_ratio(gpu.reading, share.instance)
            idle_parts.setdefault(share.key, []).append(utilization == 0.0)
    return frozenset(key for key, parts in idle_parts.items() if all(parts))
