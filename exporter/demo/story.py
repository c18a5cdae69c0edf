"""Month of the simulated host, replayed through the real sampler and ledger, then live."""

import json
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from exporter.clock import Clock
from exporter.config.settings import cost_policy
from exporter.demo.host import SimulatedHost, SimulatedNvml, SimulatedServer
from exporter.demo.plot import FINE, STRIDE, Storyline, configuration, editions
from exporter.demo.replay_clock import ReplayClock
from exporter.ledger.ledger import Ledger
from exporter.readings import ServerKey, Source
from exporter.report import Build, ConfigRow, Report
from exporter.sampler.report_builder import ReportContext
from exporter.sampler.sampler import Sampler, SamplerPlan
from exporter.sources.footprint import Footprint
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


class Stage:
    """Simulated host and the daemon that meters it; `published` is called after each tick.

    With a folder the ledger and the configuration are files in it, for the verbs; else both are in memory.
    """

    def __init__(
        self,
        real: Clock,
        footprint: Footprint,
        build: Build,
        published: Callable[[], None],
        folder: Path | None,
        seed: int,
    ) -> None:
        self.plot = Storyline.before(real.wall())
        self.clock = ReplayClock(real, self.plot.begins, self.plot.begins - BOOTED_BEFORE)
        self.folder = folder
        self._footprint = footprint
        self._build = build
        self._published = published
        self._host = SimulatedHost(self.plot, seed)
        self._editions = editions(self.plot)
        self._plan = self._planned(self._editions[0], 2 * STRIDE)
        self._ledger = self._opened()
        self.sampler = self._begun()

    def current(self) -> Report | None:
        """The last report; `None` before the first tick."""
        return self.sampler.current()

    def replay(self, stop: threading.Event, fine: Nanoseconds) -> Iterator[float]:
        """Replay the month, tick by tick; yields after each which part of it is done, 0 to 1.

        The next tick is live, unless it was stopped.
        """
        plot, coming, ticks = self.plot, list(self._editions[1:]), list(self.plot.ticks(fine))
        for done, instant in enumerate(ticks, start=1):
            if stop.is_set():
                return
            if self.clock.wall() <= plot.lost < instant:
                self._lose()
            if coming and coming[0][0] < instant:
                self.clock.turn(coming[0][0])
                self._go_by(self._planned(coming.pop(0), 2 * STRIDE))
            self.clock.turn(instant)
            self.sampler.tick()
            yield done / len(ticks)
        self._go_by(self._planned(self._editions[-1], GAP_AFTER))
        self.clock.catch_up()

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()

    def _lose(self) -> None:
        """Take the spot node away, its daemon with it, and bring it back with the ledger on its disk."""
        if self.folder is not None:
            self._ledger.close()
        self._host.boot(self.plot.returned)
        self.clock.boot_at(self.plot.returned)
        if self.folder is not None:
            self._ledger = self._opened()
        self.sampler = self._begun()

    def _opened(self) -> Ledger:
        if self.folder is None:
            return Ledger.open(None, self.clock)
        return Ledger.open(self.folder / LEDGER, self.clock)

    def _begun(self) -> Sampler:
        return Sampler(
            self.clock,
            self._gather,
            SimulatedNvml(self._host),
            self._ledger,
            self._footprint,
            self._plan,
            self._published,
            "demo",
        )

    def _gather(self, sources: Iterable[Source[Any]]) -> list[Gathered]:
        self._host.advance(self.clock.wall())
        return [read_source(source, self.clock) for source in sources]

    def _go_by(self, plan: SamplerPlan) -> None:
        if plan.context.config != self._plan.context.config:
            log.info("configuration reloaded", extra={"hash": plan.context.config.hash})
        self._plan = plan
        self.sampler.set_plan(plan)

    def _planned(self, edition: tuple[Instant, str], gap_after: Nanoseconds) -> SamplerPlan:
        since, text = edition
        if self.folder is not None:
            path = json.dumps(str(self.folder / LEDGER))  # a text of JSON is one of YAML
            text = f"{text}ledger: {{path: {path}}}\n"
            (self.folder / CONFIGURATION).write_text(text, encoding="utf-8")
        config = configuration(text)
        policy = replace(cost_policy(config, HOST), gap_after=gap_after)
        endpoints = tuple(
            SimulatedServer(self._host, ServerKey(server.namespace, server.name), server.url)
            for server in config.servers
        )
        return SamplerPlan(
            ReportContext(config, policy, self._build, ConfigRow(config.hash, True, since)), endpoints
        )


def stage(
    real: Clock,
    footprint: Footprint,
    build: Build,
    published: Callable[[], None] = lambda: None,
    *,
    folder: Path | None = None,
    seed: int = 0,
) -> Stage:
    """Set up the simulated host as it was 35 days ago, at midnight of UTC.

    The month depends on the seed and on the clock alone.
    """
    return Stage(real, footprint, build, published, folder, seed)


def replay(set_up: Stage, stop: threading.Event | None = None, fine: Nanoseconds = FINE) -> None:
    """Replay the month in a few seconds; the next tick is live. A terminal on standard error shows progress.

    `fine` is how long before now ticks are a minute apart.
    """
    watched = sys.stderr.isatty()
    for tick, done in enumerate(set_up.replay(stop or threading.Event(), fine), start=1):
        if watched and tick % PROGRESS_EVERY == 0:
            sys.stderr.write(f"\rsimulating the last five weeks: {done:3.0%}")
            sys.stderr.flush()
    if watched:
        sys.stderr.write("\r" + " " * 40 + "\r")
    sys.stderr.write("simulated the last five weeks\n")
