"""Daemon of the demo: the month of the simulated host through the real sampler and ledger, then live."""

import json
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from exporter.clock import Clock
from exporter.config import parse
from exporter.config.settings import cost_policy
from exporter.demo.host import SimulatedHost, SimulatedNvml, SimulatedServer
from exporter.demo.timeline import FINE, STRIDE, Timeline, configurations
from exporter.ledger.ledger import Ledger
from exporter.metrics.process import ProcessMetrics
from exporter.readings import ServerKey, Source
from exporter.report import Build, ConfigRow, Report
from exporter.sampler.frame_reader import FrameReader
from exporter.sampler.report_builder import ReportContext
from exporter.sampler.sampler import Sampler, SamplerPlan
from exporter.sampler.savings_review import SavingsReview
from exporter.sources.gather import Gathered, read_source
from exporter.units import NANOSECONDS_PER_DAY, NANOSECONDS_PER_MINUTE, Instant, Nanoseconds

log = logging.getLogger(__name__)

HOST: Final = "demo-p5"
LEDGER: Final = "ledger.db"
CONFIGURATION: Final = "demo.yaml"

GAP_AFTER: Final[Nanoseconds] = NANOSECONDS_PER_MINUTE
"""As for any daemon whose interval is not above 20 s."""
BOOTED_BEFORE: Final[Nanoseconds] = NANOSECONDS_PER_DAY
"""How long the simulated host had been up when its daemon first ran."""

PROGRESS_EVERY: Final = 50
"""Replayed ticks between two updates of the progress."""


class ReplayClock:
    """Stands still at an instant of the past until `turn` moves it; after `catch_up` it runs by itself.

    `booted` is when the simulated host came up. Its boots are its own: the real host's may be younger.
    """

    def __init__(self, real: Clock, start: Instant, booted: Instant) -> None:
        self._real = real
        self._behind = True
        self._wall = start
        self._booted = booted
        self._boots = 1
        self._shift: Nanoseconds = 0

    def turn(self, instant: Instant) -> None:
        """Move on to an instant that is still to come in the past."""
        self._wall = max(self._wall, instant)

    def late(self) -> Nanoseconds:
        """How far the host's clock is ahead."""
        return self._real.wall() - self._wall

    def boot_at(self, instant: Instant) -> None:
        """Boot the simulated host at an instant."""
        self._booted = instant
        self._boots += 1

    def catch_up(self) -> None:
        """Follow the host's clock from now on; boot time goes on without a step."""
        self._behind = False
        self._shift = self._real.wall() - self._booted - self._real.elapsed()

    def elapsed(self) -> Nanoseconds:
        """Time since the simulated boot, as of the moment that is replayed."""
        return self._wall - self._booted if self._behind else self._real.elapsed() + self._shift

    def wall(self) -> Instant:
        """Calendar time as of the moment that is replayed."""
        return self._wall if self._behind else self._real.wall()

    def awake(self) -> Nanoseconds:
        """The simulated host never sleeps."""
        return self.elapsed()

    def boot(self) -> str:
        """The simulated host's boot."""
        return f"demo-{self._boots}"

    def synchronized(self) -> bool:
        """The replayed time is right."""
        return True

    def wait(self, stop: threading.Event, duration: Nanoseconds) -> bool:
        """Wait as the host's clock does."""
        return self._real.wait(stop, duration)


class DemoDaemon:
    """The simulated host 35 days ago, at midnight of UTC, and the daemon that meters it.

    `published` is called after each tick. With a folder the ledger and the configuration are files in it, for
    the verbs; else both are in memory. The month depends on the seed and on the clock alone.
    """

    def __init__(
        self,
        real: Clock,
        process: ProcessMetrics,
        build: Build,
        published: Callable[[], None] = lambda: None,
        *,
        folder: Path | None = None,
        seed: int = 0,
    ) -> None:
        self.timeline = Timeline.before(real.wall())
        self.clock = ReplayClock(real, self.timeline.begins, self.timeline.begins - BOOTED_BEFORE)
        self.folder = folder
        self._process = process
        self._build = build
        self._published = published
        self._host = SimulatedHost(self.timeline, seed)
        self._savings = SavingsReview(
            self.clock,
            lambda: None if folder is None else folder / LEDGER,
            run=lambda work, _name: work(),
            quiet_start=0,
        )
        self._configurations = configurations(self.timeline)
        self._plan = self._plan_of(self._configurations[0], 2 * STRIDE)
        self._ledger = self._open_ledger()
        self.sampler = self._new_sampler()

    def current(self) -> Report | None:
        """The last report; `None` before the first tick."""
        return self.sampler.current()

    def replay(self, stop: threading.Event, fine: Nanoseconds) -> Iterator[float]:
        """Replay the month tick by tick, and yield after each the part that is done, 0 to 1.

        The next tick is live, unless it was stopped.
        """
        timeline, coming = self.timeline, list(self._configurations[1:])
        ticks = list(timeline.ticks(fine))
        for done, instant in enumerate(ticks, start=1):
            if stop.is_set():
                return
            if self.clock.wall() <= timeline.lost < instant:
                # The spot node is taken away, its daemon with it, and comes back with the ledger on its disk.
                if self.folder is not None:
                    self._ledger.close()
                self._host.boot(self.timeline.returned)
                self.clock.boot_at(self.timeline.returned)
                if self.folder is not None:
                    self._ledger = self._open_ledger()
                self.sampler = self._new_sampler()
            if coming and coming[0][0] < instant:
                self.clock.turn(coming[0][0])
                self._go_by(self._plan_of(coming.pop(0), 2 * STRIDE))
            self.clock.turn(instant)
            self.sampler.tick()
            yield done / len(ticks)
        # A slow machine has replayed for minutes: what passed meanwhile is no gap.
        while (late := self.clock.late()) >= GAP_AFTER // 2:
            self.clock.turn(self.clock.wall() + min(late, GAP_AFTER))
            self.sampler.tick()
        self._go_by(self._plan_of(self._configurations[-1], GAP_AFTER))
        self.review()
        self.clock.catch_up()

    def review(self) -> None:
        """Review savings in this thread, if a review is due. The next report has them."""
        report = self.current()
        if report is not None:
            self._savings.look(report, self._plan.context.config)

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()

    def _open_ledger(self) -> Ledger:
        if self.folder is None:
            return Ledger.open(None, self.clock)
        return Ledger.open(self.folder / LEDGER, self.clock)

    def _new_sampler(self) -> Sampler:
        return Sampler(
            self.clock,
            FrameReader(self.clock, self._gather, (SimulatedNvml(self._host),)),
            self._ledger,
            self._process,
            self._plan,
            on_publish=self._published,
            machine="demo",
        )

    def _gather(self, sources: Iterable[Source[Any]]) -> list[Gathered]:
        self._host.advance(self.clock.wall())
        return [read_source(source, self.clock) for source in sources]

    def _go_by(self, plan: SamplerPlan) -> None:
        if plan.context.config != self._plan.context.config:
            log.info("configuration reloaded", extra={"hash": plan.context.config.hash})
        self._plan = plan
        self.sampler.set_plan(plan)

    def _plan_of(self, configuration: tuple[Instant, str], gap_after: Nanoseconds) -> SamplerPlan:
        since, text = configuration
        if self.folder is not None:
            path = json.dumps(str(self.folder / LEDGER))  # a text of JSON is one of YAML
            text = f"{text}ledger: {{path: {path}}}\n"
            (self.folder / CONFIGURATION).write_text(text, encoding="utf-8")
        config = parse(text.encode())
        policy = replace(cost_policy(config, HOST), gap_after=gap_after)
        endpoints = tuple(
            SimulatedServer(self._host, ServerKey(server.namespace, server.name), server.url, server.slo)
            for server in config.servers
        )
        return SamplerPlan(
            ReportContext(
                config,
                policy,
                self._build,
                ConfigRow(config.hash, True, since),
                savings=self._savings.savings,
            ),
            endpoints,
        )


def replay(daemon: DemoDaemon, stop: threading.Event | None = None, fine: Nanoseconds = FINE) -> None:
    """Replay the month in a few seconds; the next tick is live. A terminal on standard error shows progress.

    `fine` is how long before now ticks are a minute apart.
    """
    watched = sys.stderr.isatty()
    for tick, done in enumerate(daemon.replay(stop or threading.Event(), fine), start=1):
        if watched and tick % PROGRESS_EVERY == 0:
            sys.stderr.write(f"\rsimulating the last five weeks: {done:3.0%}")
            sys.stderr.flush()
    if watched:
        sys.stderr.write("\r" + " " * 40 + "\r")
    sys.stderr.write("simulated the last five weeks\n")
