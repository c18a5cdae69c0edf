"""The crank: sources are read on the daemon's own clock, and a scrape is a pure read of the last report."""

import logging
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from exporter.clock import Clock
from exporter.cost.advance import TickOutcome, advance
from exporter.cost.counters import took_turns
from exporter.cost.gpu_usage import utilization_ratio
from exporter.cost.intervals import rebooted, since_boot
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import Postings
from exporter.cost.state import State
from exporter.ledger.unpriced_time import Cursor, UnpricedBatch
from exporter.readings import (
    Frame,
    GatewayReading,
    GpuReading,
    MustRestartError,
    ServerKey,
    ServerReading,
    Source,
)
from exporter.report import CommittedTotals, ProcessRow, Report, SourceRow
from exporter.sampler import change_log
from exporter.sampler.change_log import HolderChanges, PriceChanges, TickFailures
from exporter.sampler.frame_reader import Discovery, Endpoint, FrameReader, Gateway
from exporter.sampler.late_pricing import LatePricing
from exporter.sampler.report_builder import ReportContext, build_report, months_served
from exporter.sampler.source_health import Health
from exporter.sources.gather import Gather, Gathered
from exporter.units import NANOSECONDS_PER_MINUTE, Instant, Nanoseconds, seconds

log = logging.getLogger(__name__)

LONGEST_WAIT: Final[Nanoseconds] = 2 * NANOSECONDS_PER_MINUTE
"""How long a rebooted host is given to set its clock."""


class Ledger(Protocol):
    """The books as the sampler uses them."""

    def remembered(self) -> State:
        """What was remembered with the last tick that was posted."""
        ...

    def bind(self, machine: str, uuids: Collection[str]) -> bool:
        """Settle whose the books are; another machine's begin anew. False while that cannot be told."""
        ...

    def unpriced(self, zone: ZoneInfo, place: Cursor) -> UnpricedBatch | None:
        """A part of the time that waits for a price; `None` while that cannot be told."""
        ...

    def post(self, postings: Postings, state: State) -> None:
        """Commit one tick, or keep it until it can be committed; where it raises, whole or not at all."""
        ...

    @property
    def problem(self) -> str:
        """What is wrong with the ledger, for people; empty when nothing is."""
        ...

    def books(self, now: Instant, months: tuple[str, ...]) -> CommittedTotals:
        """What is committed."""
        ...


class Footprint(Protocol):
    """The daemon's own footprint."""

    def read(self) -> ProcessRow | None:
        """What it takes now."""
        ...


@dataclass(frozen=True, slots=True)
class SamplerPlan:
    """What to do each tick until another plan is set: a configuration, the endpoints and gateways it names.

    `others` are sources that no tick reads, as they are known.
    """

    setting: ReportContext
    endpoints: tuple[Endpoint, ...]
    others: tuple[SourceRow, ...] = ()
    gateways: tuple[Gateway, ...] = ()


class Sampler:
    """Reads, advances, commits, publishes: in this order, once a tick.

    What is remembered from tick to tick is the ledger's, so that it never parts from what is posted.
    `published` is called after each, in the sampler's thread.
    `machine` is the identity of this one, empty when it is unknown.
    """

    def __init__(
        self,
        clock: Clock,
        gather: Gather,
        nvml: Source[tuple[GpuReading, ...]],
        ledger: Ledger,
        footprint: Footprint,
        plan: SamplerPlan,
        published: Callable[[], None] = lambda: None,
        machine: str = "",
        discovery: Discovery | None = None,
    ) -> None:
        self._clock = clock
        self._reader = FrameReader(clock, gather, nvml, discovery)
        self._nvml = nvml.name
        self._ledger = ledger
        self._footprint = footprint
        self._plan = plan
        self._published = published
        self._machine = machine
        self._bound = False
        self._problem = ledger.problem
        self._health = Health()
        self._notices = PriceChanges()
        self._arrivals = HolderChanges()
        self._arrears = LatePricing()
        self._failures = TickFailures()
        self._resting: frozenset[ServerKey] = frozenset()
        self._report: Report | None = None
        self._reloaded: tuple[Report, tuple[bool, bool | None], Report] | None = None
        self._began = clock.elapsed()

    def current(self) -> Report | None:
        """The last report; `None` before the first tick.

        Reloads since then are in it: one that failed is an alert, and a tick may be 15 seconds away.
        """
        report, setting = self._report, self._plan.setting
        if report is None:
            return None
        outcome = setting.config_row.last_reload_success, setting.web_succeeded()
        if outcome == (report.config.last_reload_success, report.config.web_last_reload_success):
            return report
        reloaded = self._reloaded
        if reloaded is None or reloaded[0] is not report or reloaded[1] != outcome:
            row = replace(report.config, last_reload_success=outcome[0], web_last_reload_success=outcome[1])
            # Kept, so that a page of it is rendered once, as that of any report.
            self._reloaded = reloaded = (report, outcome, replace(report, config=row))
        return reloaded[2]

    def plan(self, plan: SamplerPlan) -> None:
        """Go by another plan from the next tick on."""
        self._plan = plan

    def was_busy(self, key: ServerKey) -> bool:
        """Whether a GPU of a server was busy in the last tick; true while that is not known."""
        return key not in self._resting

    def run(self, stop: threading.Event) -> None:
        """Tick until stopped. A tick that took too long skips the ones it missed.

        One that fails costs nobody anything: the report stands until the next one, which charges the time.

        Raises:
            MustRestartError: only a new process can go on.
        """
        due = self._clock.elapsed()
        while True:
            try:
                if stop.is_set():
                    return
                self._attempt()
                interval = self._plan.setting.config.interval
                due += interval
                now = self._clock.elapsed()
                if due <= now:
                    due = now + interval - (now - due) % interval
                self._clock.wait(stop, due - now)
            except MemoryError:
                continue  # not even to tell that there is none

    def _attempt(self) -> None:
        try:
            self.tick()
        except MustRestartError:
            raise
        except Exception as failure:  # noqa: BLE001 - the next tick may find what this one lacked
            self._failures.note(failure, self._clock.elapsed())
        else:
            self._failures.end()

    def tick(self) -> Report:
        """Take one tick and publish its report.

        Raises:
            MustRestartError: only a new process can go on.
        """
        plan = self._plan
        since = self._ledger.remembered().wall if self._bound else None
        frame, gathered = self._reader.read(plan.setting.config, plan.endpoints, since, plan.gateways)
        synchronized = self._clock.synchronized()
        self._health.note(gathered, frame.wall)
        self._health.note_clock(frame.wall, synchronized=synchronized)
        self._bind(frame)
        # Of books that may be another machine's, nothing is remembered, posted or served.
        state = self._ledger.remembered() if self._bound else State()
        outcome = advance(state, frame, plan.setting.terms)
        books = None
        if self._bound and (synchronized or not self._waits_for_the_clock(state, frame, plan.setting.terms)):
            books = self._post(outcome, frame)
        self._count_refused(gathered, outcome, state, frame.wall)
        self._tell_ledger()
        self._resting = _resting(outcome)
        if self._report is None:
            log.info("first tick", extra={"gpus": len(outcome.gpus), "endpoints": len(frame.servers)})
        self._report = build_report(
            plan.setting,
            frame,
            outcome,
            books,
            (*self._health.rows(), *plan.others),
            self._footprint.read(),
        )
        self._notices.note(plan.setting.config, self._report, frame, plan.setting.terms.tariff)
        self._arrivals.note(frame)
        self._published()
        log.debug("tick", extra={"took": f"{seconds(self._clock.elapsed() - frame.elapsed):.3f}s"})
        return self._report

    def _bind(self, frame: Frame) -> None:
        """Once a process: before anything is posted, at the latest when the GPUs are known."""
        if self._bound:
            return
        uuids = {gpu.gpu.uuid for gpu in frame.gpus or ()}
        try:
            self._bound = self._ledger.bind(self._machine, uuids)
        except Exception as failure:
            # They may be on their way aside: a new process finds them as they are.
            raise MustRestartError(f"whose books these are was not settled: {failure!r}") from failure

    def _waits_for_the_clock(self, state: State, frame: Frame, terms: CostPolicy) -> bool:
        """Whether time since another boot, or since this one, is not charged yet.

        Only a right wall clock tells how long the one was, and which hours and months both belong to.
        """
        waits = rebooted(state, frame) or since_boot(state, frame, terms) is not None
        return waits and self._clock.elapsed() - self._began < LONGEST_WAIT

    def _post(self, outcome: TickOutcome, frame: Frame) -> CommittedTotals:
        """Commit, then publish: what is served is what a restart would find."""
        for reason, times in outcome.postings.implausible:
            self._health.count(self._nvml, f"implausible_{reason}", times)
        terms = outcome.terms
        postings, state = self._arrears.charge(self._ledger, outcome.postings, outcome.state, terms)
        self._ledger.post(postings, state)
        self._arrears.charged()
        change_log.log_gap(outcome.charged, outcome.postings.segments, terms)
        self._notices.note_slots(outcome.inventory, terms)
        months = tuple(month.name for month in months_served(frame, terms))
        return self._ledger.books(frame.wall, months)

    def _count_refused(
        self, gathered: Iterable[Gathered], outcome: TickOutcome, before: State, wall: Instant
    ) -> None:
        """Count reads that named models beyond the limit, whose tokens and money go under `other`.

        And those that another process answered than the one before, as behind an address of several: what it
        counted meanwhile is not known. And series that rose by more than any server counts.
        """
        for answer in gathered:
            reading = answer.reading
            if isinstance(reading, ServerReading | GatewayReading):
                times = outcome.implausible.get(reading.url, 0)
                self._health.count(answer.health.source, "implausible_tokens", times)
            if not isinstance(reading, ServerReading):
                continue
            server = outcome.state.servers.get(reading.key)
            if server is not None and not server.models.keys() >= {*reading.models}:
                self._health.count(answer.health.source, "too_many_models", 1)
            known = before.endpoints.get(reading.url)
            if known is not None and known.identity and took_turns(known, reading, wall):
                self._health.count(answer.health.source, "several_processes", 1)

    def _tell_ledger(self) -> None:
        """Log the ledger's trouble when it comes and when it goes, not at every tick of it."""
        problem = self._ledger.problem
        if problem != self._problem:
            if problem:
                log.error("the ledger has a problem", extra={"problem": problem})
            else:
                log.info("the ledger is well again")
            self._problem = problem


def _resting(outcome: TickOutcome) -> frozenset[ServerKey]:
    """Servers all of whose GPUs and instances told that they were idle."""
    held: dict[ServerKey, list[bool]] = {}
    for gpu in outcome.gpus:
        for share in gpu.shares:
            told = None if gpu.reading is None else utilization_ratio(gpu.reading, share.instance)
            held.setdefault(share.key, []).append(told == 0.0)
    return frozenset(key for key, idle in held.items() if all(idle))
