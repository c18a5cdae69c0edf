"""A simulated fleet with known waste, before and after it does what `advise` says.

Servers work by formulas of this file; the cost model and ledgers are the real ones, and nothing is known here
of how savings are found. `python -m tests.finance.advised_fleet` writes the table of docs/finance.md.
"""

import contextlib
import io
import json
import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from exporter.cli.advise import AdviseOptions, advise
from exporter.cli.fleet_source import FleetSource
from exporter.cost.advance import advance
from exporter.cost.policy import CostPolicy
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.readings import (
    CounterReading,
    Frame,
    Gpu,
    GpuReading,
    Holder,
    LoadReading,
    ServerKey,
    ServerReading,
)
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware, HardwareMatch, Rented, RentPrice
from tests.kit.clock import clock_at
from tests.kit.units import DOLLAR, GIB, HOUR

MONDAY: Final = 1_793_577_600 // 3600
"""Hour of 2026-11-02T00:00:00Z."""
PHASE: Final = 14 * 24
"""Hours before the advice, and after it."""
MONTH: Final = 730

PRICES: Final = {"NVIDIA H100 80GB HBM3": 4, "NVIDIA L40S": 1}
H100, L40S = PRICES
MEMORY: Final = {H100: 80, L40S: 48}
SLOWDOWN: Final = {H100: 1.0, L40S: 2.2}
"""GPU time of the same work."""
POETRY: Final = (Decimal("0.5"), Decimal("1.5"))
"""Dollars of a million prompt and generated tokens of the hosted offer for `poet`."""
SPEED: Final = 12e6
"""Tokens of an hour of work of an H100, two thirds of them prompts; a poet is slower."""
SPEEDS: Final = {"poet": 2e6}

PAGE: Final = Path(__file__).parents[2] / "docs" / "finance.md"


@dataclass(frozen=True)
class AdvisedServer:
    """A server on GPUs of a host. `work` is the part of an H100 that its demand takes in an hour."""

    name: str
    model: str
    host: str
    gpus: tuple[int, ...]
    memory: int
    work: Callable[[int], float]

    @property
    def key(self) -> ServerKey:
        return ServerKey("", self.name)

    def tokens(self, hour: int) -> tuple[int, int]:
        """Prompt and generated tokens of an hour's demand."""
        tokens = self.work(hour) * SPEEDS.get(self.name, SPEED)
        return round(tokens * 2 / 3), round(tokens / 3)


@dataclass
class AdvisedHost:
    """GPUs of one kind by number. It is off in `resting` hours of the week."""

    kind: str
    gpus: list[int]
    resting: frozenset[int] = frozenset()


@dataclass
class AdvisedFleet:
    """Hosts and their servers. `moved_out` are those that a hosted offer serves."""

    hosts: dict[str, AdvisedHost]
    servers: list[AdvisedServer]
    moved_out: list[AdvisedServer] = field(default_factory=list)

    def on(self, host: str) -> list[AdvisedServer]:
        return [server for server in self.servers if server.host == host]

    def named(self, name: str) -> AdvisedServer:
        (server,) = [server for server in self.servers if server.name == name]
        return server


def steady(name: str, mean: float, spread: float = 0.04) -> Callable[[int], float]:
    """Demand by day and night, each hour by chance: the same at each call."""

    def work(hour: int) -> float:
        return mean + spread * (2 * random.Random(f"{name} {hour}").random() - 1)  # noqa: S311 - repeatable

    return work


def until(last: int, work: Callable[[int], float]) -> Callable[[int], float]:
    return lambda hour: work(hour) if hour < last else 0.0


def office(work: Callable[[int], float]) -> Callable[[int], float]:
    """From 08:00 to 20:00 on working days: 60 of the week's 168 hours."""
    return lambda hour: work(hour) if hour // 24 % 7 < 5 and 8 <= hour % 24 < 20 else 0.0


def wasteful_fleet() -> AdvisedFleet:
    """Seven kinds of waste, and servers that look alike and are none."""
    rack, office_host, gallery, large, small = "rack", "office", "gallery", "large", "small"
    hosts = {
        rack: AdvisedHost(H100, list(range(7))),
        office_host: AdvisedHost(H100, [0]),
        gallery: AdvisedHost(H100, [0]),
        large: AdvisedHost(H100, [0]),
        small: AdvisedHost(L40S, [0, 1, 2]),
    }
    servers = [
        AdvisedServer("chat", "chat-70b", rack, (0,), 70, steady("chat", 0.78)),
        AdvisedServer("archive", "archive-13b", rack, (1,), 60, until(9 * 24, steady("archive", 0.4))),
        # These two fit on one GPU: 0.40 of an hour, and 45 of 80 GiB.
        AdvisedServer("embed", "bge", rack, (2,), 25, steady("embed", 0.22)),
        AdvisedServer("rerank", "bge-rerank", rack, (3,), 20, steady("rerank", 0.18)),
        # These two do not, and nothing fits beside one of them: busy time of one, memory of the other.
        AdvisedServer("coder", "coder-32b", rack, (4,), 60, steady("coder", 0.55)),
        AdvisedServer("vision", "vision-11b", rack, (5,), 40, steady("vision", 0.54)),
        AdvisedServer("report", "report-8b", office_host, (0,), 60, office(steady("report", 0.6))),
        AdvisedServer("poet", "poet-7b", gallery, (0,), 60, steady("poet", 0.3)),
        AdvisedServer("tutor", "llama-8b", large, (0,), 70, steady("tutor", 0.25)),
        AdvisedServer("mini", "llama-8b", small, (0,), 40, steady("mini", 0.2)),
    ]
    return AdvisedFleet(hosts, servers)


def known_savings() -> dict[tuple[str, str], float]:
    """Dollars a month of each waste, by kind and host: GPU-hours of a month at 4 and 1 dollars."""
    fleet = wasteful_fleet()
    prompts, generated = map(
        sum, zip(*(fleet.named("poet").tokens(hour) for hour in range(PHASE)), strict=True)
    )
    hosted = (prompts * 0.5 + generated * 1.5) / 1e6 / PHASE
    return {
        ("unallocated", "rack"): 4 * 730,
        ("unallocated", "small"): 2 * 730,
        ("deserted", "rack"): 4 * 730,
        ("consolidation", "rack"): 4 * 730,
        ("schedule", "office"): 4 * 730 * 108 / 168,
        ("hosted", "gallery"): (4 - hosted) * 730,
        ("gpu_model", "large"): (4 - 1) * 730,
    }


@dataclass(frozen=True)
class PhaseOutcome:
    """What a phase cost: dollars an hour by host, those of offers included, and hours that lost demand.

    `busiest` is the most that each GPU worked in an hour, by host and number.
    """

    spent: Mapping[str, float]
    lost: int
    busiest: Mapping[tuple[str, int], float]


def simulate(fleet: AdvisedFleet, folder: Path, first: int) -> PhaseOutcome:
    """Meter a phase of a fleet from an hour on, into one ledger for each host."""
    spent: dict[str, float] = {}
    busiest: dict[tuple[str, int], float] = {}
    lost = 0
    for name, host in fleet.hosts.items():
        if not host.gpus:
            continue
        path = folder / name / "ledger.db"
        path.parent.mkdir(parents=True)
        clock = clock_at(MONDAY * HOUR)
        ledger = Ledger.open(path, clock)
        state = State()
        for frame, works in _frames(fleet, name, first):
            clock.now = frame.wall
            outcome = advance(state, frame, _policy(host.kind))
            ledger.post(outcome.postings, outcome.state)
            state = outcome.state
            for number, busy in works.items():
                busiest[name, number] = max(busy, busiest.get((name, number), 0))
                lost += busy > 1
        ledger.close()
        spent[name] = state.accrued / DOLLAR / PHASE
    for server in fleet.moved_out:
        prompts, generated = map(
            sum, zip(*(server.tokens(hour) for hour in range(first, first + PHASE)), strict=True)
        )
        dollars = (prompts * float(POETRY[0]) + generated * float(POETRY[1])) / 1e6 / PHASE
        spent[server.host] = spent.get(server.host, 0) + dollars
    return PhaseOutcome(spent, lost, busiest)


def _policy(kind: str) -> CostPolicy:
    rented = Rented((RentPrice(Decimal(PRICES[kind])),))
    tariff = Tariff("host", (Hardware(HardwareMatch(), rented, "hardware[0]"),))
    return CostPolicy(tariff, interval=10 * 10**9, gap_after=HOUR)


def _frames(fleet: AdvisedFleet, name: str, first: int) -> Iterator[tuple[Frame, dict[int, float]]]:
    """The frame at the end of each hour in which the host is up, and one at the beginning of the phase."""
    host = fleet.hosts[name]
    totals = {server.name: [0, 0] for server in fleet.on(name)}
    booted, boot = 0, 0
    for hour in range(first, first + PHASE + 1):
        past = hour - 1
        if hour > first and past % 168 in host.resting:
            booted, boot = hour, boot + 1
            totals = {server.name: [0, 0] for server in fleet.on(name)}
            continue
        works: dict[int, float] = dict.fromkeys(host.gpus, 0.0)
        for server in fleet.on(name) if hour > first else ():
            for number in server.gpus:
                works[number] += server.work(past) * SLOWDOWN[host.kind] / len(server.gpus)
            for index, count in enumerate(server.tokens(past)):
                totals[server.name][index] += count
        gpus = tuple(
            GpuReading(
                Gpu(f"GPU-{name}-{number}", host.kind),
                number,
                utilization_ratio=min(1.0, works[number]),
                memory_used_bytes=sum(s.memory for s in fleet.on(name) if number in s.gpus) * GIB,
                memory_total_bytes=MEMORY[host.kind] * GIB,
            )
            for number in host.gpus
        )
        holders = tuple(
            Holder(
                server.key,
                f"GPU-{name}-{number}",
                sm_ratio=server.work(past) if hour > first else 0.0,
                memory_bytes=server.memory * GIB,
            )
            for server in fleet.on(name)
            for number in server.gpus
        )
        pages = tuple(_page(server, totals[server.name], boot) for server in fleet.on(name))
        elapsed = (hour - booted) * HOUR if boot else hour * HOUR
        wall = (MONDAY + hour) * HOUR
        yield Frame(elapsed, wall, gpus, pages, holders, boot=f"boot-{boot}"), works


def _page(server: AdvisedServer, totals: list[int], boot: int) -> ServerReading:
    prompt, generation = totals
    counters = (
        CounterReading("prompt", server.model, "prompt", float(prompt)),
        CounterReading("generation", server.model, "generation", float(generation)),
    )
    return ServerReading(
        server.key,
        f"http://{server.name}",
        up=True,
        identity=f"{server.name}-{boot}",
        counters=counters,
        loads=(LoadReading(server.model, 1.0),),
        models=(server.model,),
    )


def advised(folder: Path, first: int) -> dict[str, Any]:
    """What `advise --from` prints as JSON at the end of a phase."""
    config = folder.parent / "ice.yaml"
    config.write_text(
        "discovery: {cloud: off, kubernetes: off}\nhardware:\n"
        "  - {match: {gpu_model: '*H100*'}, rented: {dollars_per_gpu_hour: 4}}\n"
        "  - {match: {gpu_model: '*L40S*'}, rented: {dollars_per_gpu_hour: 1}}\n"
        "compare:\n  - {match: {server: poet}, name: poems, as_of: 2026-11-01,"
        " prompt_dollars_per_million_tokens: 0.5, generation_dollars_per_million_tokens: 1.5}\n",
        encoding="utf-8",
    )
    options = AdviseOptions(config, None, PHASE, as_json=True, fleet=FleetSource((folder,)))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = advise(options, clock_at((MONDAY + first + PHASE) * HOUR))
    assert status == 0, printed.getvalue()
    document: dict[str, Any] = json.loads(printed.getvalue())
    return document


def follow(fleet: AdvisedFleet, savings: list[dict[str, Any]]) -> AdvisedFleet:
    """The fleet after it did what each finding says, whatever their order."""
    hosts = {
        name: AdvisedHost(host.kind, list(host.gpus), host.resting) for name, host in fleet.hosts.items()
    }
    after = AdvisedFleet(hosts, list(fleet.servers), list(fleet.moved_out))
    give_back: list[tuple[str, int]] = []
    for saving in savings:
        name = saving["host"]
        if saving["kind"] == "unallocated":
            give_back.append((name, saving["gpus"]))
            continue
        server = after.named(saving["server"])
        if saving["kind"] == "schedule":
            hosts[name].resting = frozenset(
                (rest["start"] + offset) % 168 for rest in saving["rests"] for offset in range(rest["length"])
            )
            continue
        after.servers.remove(server)
        if saving["kind"] == "consolidation":
            (onto,) = saving["fewer_gpus"]["onto"]
            after.servers.append(replace(server, gpus=after.named(onto).gpus))
        elif saving["kind"] == "hosted":
            after.moved_out.append(server)
        elif saving["kind"] == "gpu_model":
            (target,) = saving["cheaper_gpus"]["hosts"]
            rented = [
                max(hosts[target].gpus) + 1 + number for number in range(saving["cheaper_gpus"]["gpus"])
            ]
            hosts[target].gpus += rented
            after.servers.append(replace(server, host=target, gpus=tuple(rented)))
        for number in server.gpus:
            hosts[name].gpus.remove(number)
    for name, count in give_back:
        busy = {number for server in after.on(name) for number in server.gpus}
        for number in [number for number in hosts[name].gpus if number not in busy][:count]:
            hosts[name].gpus.remove(number)
    return after


@dataclass(frozen=True)
class Experiment:
    """Advice on a fleet, and what came of it."""

    document: Mapping[str, Any]
    before: PhaseOutcome
    after: PhaseOutcome
    again: Mapping[str, Any]
    fleet: AdvisedFleet


def experiment(folder: Path) -> Experiment:
    """Two weeks as they are, and two as advised."""
    fleet = wasteful_fleet()
    before = simulate(fleet, folder / "before", 0)
    document = advised(folder / "before", 0)
    changed = follow(fleet, document["savings"])
    after = simulate(changed, folder / "after", PHASE)
    return Experiment(document, before, after, advised(folder / "after", PHASE), changed)


CHANGES: Final = {
    "rack": "A free GPU and a deserted server given back, two servers on one GPU",
    "office": "Off from 20:00 to 08:00 and on weekends",
    "gallery": "A model moved to a hosted offer",
    "large, small": "A model moved to a cheaper GPU, another one given back",
}
"""What is advised, by the hosts that pay for it."""


def rows(result: Experiment) -> list[tuple[str, float, float, float]]:
    """Change, dollars a month as advised, as known, and as really saved."""
    known = known_savings()
    result_rows = []
    for group, change in CHANGES.items():
        hosts = group.split(", ")
        advised_dollars = sum(
            each["dollars_per_month"] for each in result.document["savings"] if each["host"] in hosts
        )
        truth = sum(dollars for (_, host), dollars in known.items() if host in hosts)
        saved = sum(result.before.spent[host] - result.after.spent.get(host, 0) for host in hosts) * MONTH
        result_rows.append((change, advised_dollars, truth, saved))
    result_rows.append(("All", *(sum(row[column] for row in result_rows) for column in (1, 2, 3))))  # type: ignore[misc]
    return result_rows


def table(result: Experiment) -> str:
    """The rows as Markdown."""
    lines = ["| change | advised | really saved |", "|---|---:|---:|"]
    lines += [
        f"| {change} | {advised_dollars:,.0f} | {saved:,.0f} |"
        for change, advised_dollars, _, saved in rows(result)
    ]
    return "\n".join(lines)


REGION: Final = re.compile(r"(<!-- measured: advice -->\n).*?(\n<!-- end of advice -->)", re.DOTALL)


def main() -> int:
    """Write the table into the page."""
    with tempfile.TemporaryDirectory() as folder:
        measured = table(experiment(Path(folder)))
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(REGION.sub(lambda match: f"{match[1]}{measured}{match[2]}", text), encoding="utf-8")
    sys.stdout.write(f"{measured}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
