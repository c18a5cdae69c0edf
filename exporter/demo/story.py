"""The demo's story: this month of the simulated host, replayed through the real books, then live."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Final

from exporter.clock import Clock
from exporter.config import Config, parse
from exporter.cost.policy import Terms
from exporter.demo.clock import ReplayClock
from exporter.demo.host import TRAFFIC, Host
from exporter.demo.sources import SimulatedNvml, SimulatedServer
from exporter.ledger.ledger import Ledger
from exporter.readings import ServerKey, Source
from exporter.report import Build, ConfigRow, Report
from exporter.sampler.answer import Setting
from exporter.sampler.sampler import Footprint, Plan, Sampler
from exporter.sources.gather import Gathered, read
from exporter.tariff.calendar import month_of
from exporter.tariff.tariff import Tariff
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_MINUTE, Nanoseconds, dollars

HOST: Final = "demo-p5"
DAY: Final[Nanoseconds] = 24 * NANOSECONDS_PER_HOUR
STRIDE: Final[Nanoseconds] = 2 * NANOSECONDS_PER_HOUR
"""A replayed tick of the days before the last one."""
STEP: Final[Nanoseconds] = NANOSECONDS_PER_MINUTE
"""A replayed tick of the last day."""
RESTARTED: Final[Nanoseconds] = 7 * NANOSECONDS_PER_HOUR
"""How long ago the first server was restarted."""
DESERTED: Final[Nanoseconds] = 19 * NANOSECONDS_PER_HOUR
"""How long ago the last server lost its users."""

PROGRESS_EVERY: Final = 100
"""Replayed ticks between two words of progress."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that is set up before the story is told. `length` is how far back it begins."""

    clock: ReplayClock
    sampler: Sampler
    ledger: Ledger
    live: Plan
    length: Nanoseconds


def configuration() -> Config:
    """The configuration that the demo runs on, read as any other."""
    return parse(files("exporter.demo").joinpath("demo.yaml").read_bytes())


def stage(
    real: Clock, footprint: Footprint, build: Build, published: Callable[[], None] = lambda: None
) -> Stage:
    """Set up the simulated host as it was when the month began, at least a day ago; books in memory.

    `published` is called after each tick, as the sampler does.
    """
    config = configuration()
    now = real.wall()
    length = max(DAY, now - month_of(now, config.timezone).start)
    clock = ReplayClock(real, length)
    host = Host(clock.wall(), now - RESTARTED, now - DESERTED)
    ledger = Ledger.open(None, clock)
    replayed = Terms(
        tariff=Tariff(HOST, config.hardware, config.overheads),
        zone=config.timezone,
        ownership=config.ownership,
        split=config.split,
        compare=config.compare,
        limits=config.limits,
        gap_after=2 * STRIDE,
    )
    endpoints = tuple(
        SimulatedServer(host, ServerKey(server.namespace, server.name), server.url)
        for server in config.servers
    )

    def plan(terms: Terms) -> Plan:
        return Plan(Setting(config, terms, build, ConfigRow(config.hash, True, now)), endpoints)

    def gather(sources: Iterable[Source[Any]]) -> list[Gathered]:
        host.advance(clock.wall())
        return [read(source, clock) for source in sources]

    sampler = Sampler(clock, gather, SimulatedNvml(host), ledger, footprint, plan(replayed), published)
    live = plan(replace(replayed, gap_after=2 * STEP))
    return Stage(clock, sampler, ledger, live, length)


def replay(set_up: Stage) -> None:
    """Tell the month in a few seconds; the next tick is live. A terminal on standard error sees progress."""
    watched = sys.stderr.isatty()
    began = set_up.clock.elapsed()
    set_up.sampler.tick()
    ticks = 0
    while set_up.clock.turn(STEP if set_up.clock.elapsed() - began >= set_up.length - DAY else STRIDE):
        set_up.sampler.tick()
        ticks += 1
        if watched and ticks % PROGRESS_EVERY == 0:
            done = (set_up.clock.elapsed() - began) * 100 // set_up.length
            sys.stderr.write(f"\rsimulating the month so far: {min(done, 100)} %")
            sys.stderr.flush()
    sys.stderr.write(("\r" if watched else "") + "simulating the month so far: done\n")
    set_up.sampler.plan(set_up.live)


def invitation(url: str, report: Report) -> str:
    """What to look at, for the terminal; the figures are those of a report."""
    servers = ", ".join(traffic.server for traffic in TRAFFIC)
    return f"""
A simulated host of 8 H100s serves {servers}.
{_costs(report)}
{_month(report)}

  {url}/          the page of this host
  {url}/metrics   what Prometheus scrapes
  {url}/cost.json the page's figures

  curl -s {url}/metrics | grep -E '^inference_(monthly_run_rate|month_projected|budget)_dollars'
  curl -s {url}/metrics | grep '^inference_cost_dollars_per_million_tokens'

archive-13b holds a GPU and serves nobody: what a million of its tokens costs is absent, its dollars are not.
Stop with Ctrl-C. The books are in memory and end with it.
"""


def _costs(report: Report) -> str:
    """The rent and the rest; together they are what the page shows."""
    rent = sum(price.dollars_per_hour or 0.0 for price in report.prices if price.component == "rent")
    more = sum(report.rates.values()) - rent
    return f"It rents for {rent:.2f} dollars an hour, plus {more:.2f} for network and storage."


def _month(report: Report) -> str:
    """Where the month stands against the budget."""
    month = month_of(report.wall, configuration().timezone).name
    cells = {} if report.books is None else report.books.months
    spent = dollars(sum(amount for cell, amount in cells.items() if cell.month == month))
    end = sum(amount for (_, name), amount in report.projected.items() if name == month)
    budget = sum(row.dollars for row in report.budgets)
    if spent > budget:
        return f"Its month has spent {spent:,.2f} dollars: it is past the budget of {budget:,.0f}."
    told = f"Its month has spent {spent:,.2f} dollars and is heading for {end:,.2f}"
    return f"{told}, {'past' if end > budget else 'within'} the budget of {budget:,.0f}."
