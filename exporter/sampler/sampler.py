"""Sampler: reads the sources on the daemon's own clock; a scrape only reads the last report.

`Sampler.tick` is the key to this file: its five phases stand below it in the order of their calls.
`PublishedReport` is the part that web threads read.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from exporter.clock import Clock
from exporter.cost.advance import TickOutcome, advance
from exporter.cost.gpu_usage import utilization_ratio
from exporter.cost.intervals import IntervalKind
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.metrics.process import ProcessMetrics
from exporter.readings import Frame, MustRestartError, ServerKey
from exporter.report import CommittedTotals, ConfigRow, Report, SourceRow
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


@dataclass(frozen=True, slots=True)
class SamplerPlan:
    """Configuration of every tick until another plan."""

    context: ReportContext
    endpoints: tuple[Endpoint, ...]
    """The endpoints of servers that the configuration names."""
    unread_sources: tuple[SourceRow, ...] = ()
    """Health of sources that no tick reads."""
    gateways: tuple[GatewaySource, ...] = ()
    """The gateways that the configuration names."""


class _ReloadedReport(NamedTuple):
    """A tick's report, and the same report with the outcome of later reloads."""

    of_tick: Report
    report: Report

    def is_of(self, of_tick: Report, config_row: ConfigRow) -> bool:
        """Whether it is of this tick, and has this outcome of reloads."""
        return self.of_tick is of_tick and self.report.config == config_row


class PublishedReport:
    """The report of the last tick, as web threads read it.

    The sampler replaces it while web threads read: every field is replaced as a whole.
    """

    def __init__(self) -> None:
        self.of_tick: Report | None = None
        """The report of the last tick, `None` before the first."""
        self._reloaded: _ReloadedReport | None = None
        """The last report that `with_reloads` changed; `None` before the first."""

    def with_reloads(self, context: ReportContext) -> Report | None:
        """The last report with the outcome of the last reloads; `None` before the first tick.

        A reload that failed is an alert, and the next tick may be 15 seconds away.
        The same object is returned while nothing changes, since each page of a report is rendered once.
        """
        of_tick = self.of_tick
        if of_tick is None:
            return None
        config_row = replace(
            of_tick.config,
            last_reload_success=context.config_row.last_reload_success,
            web_last_reload_success=context.web_succeeded(),
        )
        if config_row == of_tick.config:
            return of_tick
        reloaded = self._reloaded
        if reloaded is None or not reloaded.is_of(of_tick, config_row):
            reloaded = _ReloadedReport(of_tick, replace(of_tick, config=config_row))
            self._reloaded = reloaded
        return reloaded.report


class AdvancedTick(NamedTuple):
    """One tick between its cost model and its post."""

    read: FrameRead
    """The readings of the tick."""
    outcome: TickOutcome
    """The postings and the state that the tick may post."""
    is_clock_set: bool
    """Whether the wall clock was synchronized when the tick was taken."""
    needs_clock: bool
    """Whether the wall clock alone tells the length, hours and months of the charged time.

    That is so for time that began in another boot, and for the time since this boot.
    """


class Sampler:
    """Reads, advances, commits, publishes: in this order, once a tick.

    The state between ticks is the ledger's, so that it always matches the postings.

    Args:
        clock: the clock of the ticks, which `reader` has too.
        reader: reads all sources, once a tick.
        ledger: has the state and the postings. It is not closed here.
        process: metrics of this process, for the report.
        plan: what to read and how to charge it, until `set_plan`.
        on_publish: called after each tick, in the sampler's thread.
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
        on_publish: Callable[[], None] = lambda: None,
        machine: str = "",
    ) -> None:
        self._clock = clock
        self._reader = reader
        self._ledger = ledger
        self._process = process
        self._plan = plan
        self._on_publish = on_publish
        self._machine = machine
        self._is_ledger_ours = False
        """Whether the ledger is known to be of this machine; it is neither posted to nor served before."""
        self._health = Health()
        """Health of the sources since the start, and counts of their partial failures."""
        self._changes = ChangeLog(ledger.problem)
        self._late_pricing = LatePricing()
        self._idle_servers: frozenset[ServerKey] = frozenset()
        """Servers all of whose GPUs were idle in the last tick."""
        self._published = PublishedReport()
        self._began = clock.elapsed()
        """When the daemon began, for `CLOCK_WAIT_MAX`."""
        self._failing_since: Nanoseconds | None = None
        """When the first tick failed of those that failed in a row; `None` after a successful tick."""

    def current(self) -> Report | None:
        """The last report, with reloads since its tick; `None` before the first tick. For web threads."""
        return self._published.with_reloads(self._plan.context)

    def set_plan(self, plan: SamplerPlan) -> None:
        """Use another plan from the next tick on."""
        self._plan = plan

    def was_busy(self, key: ServerKey) -> bool:
        """Whether a GPU of a server was busy in the last tick; true while that is unknown."""
        return key not in self._idle_servers

    def run(self, stop: threading.Event) -> None:
        """Tick until stopped. Ticks that one tick was too long for are left out.

        A failed tick costs no money: the report stands until the next one, which charges the time.
        A stop between two ticks takes a last one: a drained node has no next start that would charge them.

        Raises:
            MustRestartError: only a new process can go on.
        """
        due = self._clock.elapsed()
        while not stop.is_set():
            self._attempt()
            now = self._clock.elapsed()
            due = next_due(due, now, self._plan.context.config.interval)
            if stop.is_set():
                return
            is_stopped = self._clock.wait(stop, due - now)
            if is_stopped:
                with suppress(MustRestartError):  # the next process finds the same
                    self._attempt()

    def _attempt(self) -> None:
        """Take one tick, or log why it failed.

        Raises:
            MustRestartError: only a new process can go on, or no tick succeeded for `FAILING_MAX`.
        """
        try:
            self.tick()
        except MustRestartError:
            raise
        except Exception as failure:
            now = self._clock.elapsed()
            if self._failing_since is None:
                self._failing_since = now
            if now - self._failing_since >= FAILING_MAX:
                minutes = FAILING_MAX // NANOSECONDS_PER_MINUTE
                problem = f"no successful tick for {minutes} minutes: {failure!r}"
                raise MustRestartError(problem) from failure
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
        if not self._is_ledger_ours:
            self._bind(read.frame)  # before `_advance`: it may empty the ledger's state
        tick = self._advance(read, plan)  # the cost model, which posts nothing yet
        # A tick that is not posted loses no money: the next one charges all the time since the same state.
        totals = self._post(tick) if self._may_post(tick) else None
        return self._publish(tick, totals, plan)

    def _read(self, plan: SamplerPlan) -> FrameRead:
        """Read all sources.

        Raises:
            MustRestartError: only a new process can go on.
        """
        return self._reader.read(
            plan.context.config,
            configured=plan.endpoints,
            since=self._own_state().wall,
            gateways=plan.gateways,
            # Of whichever machine: pages are compared by the process that answers, and another machine's
            # state has no process of this one.
            remembered=self._ledger.remembered(),
        )

    def _own_state(self) -> State:
        """The state of this machine's last tick, empty while the ledger may be another machine's."""
        return self._ledger.remembered() if self._is_ledger_ours else State()

    def _bind(self, frame: Frame) -> None:
        """Bind the ledger to this machine. Another machine's ledger is moved aside, and its state emptied.

        A ledger with another machine's identity stays unbound until GPUs are read: one of its GPUs makes it
        ours.

        Raises:
            MustRestartError: only a new process can go on.
        """
        uuids = {gpu.gpu.uuid for gpu in frame.gpus or ()}
        try:
            self._is_ledger_ours = self._ledger.bind(self._machine, uuids)
        except Exception as failure:
            # The file may be on its way aside: a new process finds it as it is.
            raise MustRestartError(f"the owner of the ledger is undecided: {failure!r}") from failure

    def _advance(self, read: FrameRead, plan: SamplerPlan) -> AdvancedTick:
        """Charge the readings by the cost model, and note which sources answered."""
        frame = read.frame
        state = self._own_state()
        outcome = advance(state, frame, plan.context.policy)
        is_clock_set = self._clock.synchronized()
        # A host without GPUs misses no source of GPUs.
        answers = read.gathered if outcome.inventory.gpu_host else read.gathered_without_gpus()
        self._health.note(answers, frame.wall)
        self._health.note_clock(frame.wall, synchronized=is_clock_set)
        is_since_boot = outcome.charged is not None and outcome.charged.kind is IntervalKind.SINCE_BOOT
        needs_clock = state.rebooted(frame) or is_since_boot
        return AdvancedTick(read, outcome, is_clock_set=is_clock_set, needs_clock=needs_clock)

    def _may_post(self, tick: AdvancedTick) -> bool:
        """Whether the ledger is of this machine, and the tick's time is known well enough to be charged.

        Time that is known by the wall clock alone waits until that clock is set, for at most
        `CLOCK_WAIT_MAX`.
        """
        waited = self._clock.elapsed() - self._began
        is_time_known = tick.is_clock_set or not tick.needs_clock or waited >= CLOCK_WAIT_MAX
        return self._is_ledger_ours and is_time_known

    def _post(self, tick: AdvancedTick) -> CommittedTotals:
        """Commit a tick and log it, then return the committed totals: a restart would find the same."""
        outcome = tick.outcome
        policy = outcome.policy
        to_post = self._late_pricing.with_late_charges(
            outcome.postings, outcome.state, ledger=self._ledger, policy=policy
        )
        self._ledger.post(to_post.postings, to_post.state)
        self._late_pricing.note_posted(to_post)
        # Counted once posted: a tick that is not posted leaves the state, and the next one finds them again.
        self._health.count_refused(tick.read, outcome)
        log_gap(outcome.charged, outcome.postings.segments, policy)
        self._changes.note_inventory(outcome.inventory, policy)
        months = tuple(month.name for month in months_served(tick.read.frame, policy))
        return self._ledger.totals(tick.read.frame.wall, months)

    def _publish(self, tick: AdvancedTick, totals: CommittedTotals | None, plan: SamplerPlan) -> Report:
        """Publish the report of a tick, and log what has changed since the tick before."""
        frame = tick.read.frame
        outcome = tick.outcome
        context = plan.context
        report = build_report(
            context,
            frame,
            outcome,
            totals,
            sources=(*self._health.rows(), *plan.unread_sources),
            process=self._process.read(),
        )
        self._changes.note_ledger(self._ledger.problem)
        if self._published.of_tick is None:
            log.info("first tick", extra={"gpus": len(outcome.gpus), "endpoints": len(frame.servers)})
        self._changes.note_prices(context.config, report, frame, context.policy.tariff)
        self._changes.note_holders(frame)
        self._published.of_tick = report
        self._idle_servers = idle_servers(outcome)
        self._on_publish()
        log.debug("tick", extra={"took": f"{seconds(self._clock.elapsed() - frame.elapsed):.3f}s"})
        return report


def next_due(due: Nanoseconds, now: Nanoseconds, interval: Nanoseconds) -> Nanoseconds:
    """The first moment after `now` that is a whole number of intervals after `due`, one at least."""
    elapsed = max(now - due, 0)
    return due + (elapsed // interval + 1) * interval


def idle_servers(outcome: TickOutcome) -> frozenset[ServerKey]:
    """Servers all of whose GPUs and instances report that they are idle."""
    idle_parts: dict[ServerKey, list[bool]] = {}
    for gpu in outcome.gpus:
        for share in gpu.shares:
            utilization = None if gpu.reading is None else utilization_ratio(gpu.reading, share.instance)
            idle_parts.setdefault(share.key, []).append(utilization == 0.0)
    return frozenset(key for key, parts in idle_parts.items() if all(parts))
