"""Pages of many hosts: the demo's own, written by the real pipeline and exposition, under many names.

The numbers of all hosts are those of the demo's host and go on as it does between two ticks: counters,
months and instants rise, other gauges swing between the two. Names are a host's own (ledger, UUIDs) or those
of its group: hosts of one group run the same servers, as replicas of a Deployment do.
"""

import re
import time
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from exporter.demo.daemon import DemoDaemon, replay
from exporter.metrics.exposition import OPENMETRICS, Exposition, Variant
from exporter.metrics.process import ProcessMetrics
from exporter.report import Build, StandardFamily
from exporter.units import NANOSECONDS_PER_SECOND

PERIOD_SECONDS: Final = 30
PRODUCTS: Final = 20
"""Groups share them."""

SERVERS: Final = ("chat-70b", "search-8b", "archive-13b", "trial-8b")
"""Of the demo's host."""
REPEATED: Final = "search-8b"
"""Its lines stand for further servers, up to as many as a host is to have."""

BUILD: Final = Build("0.1.0", "", "3.13")
LINE: Final = re.compile(r"^(?P<series>[a-z_]+(?:\{.*\})?) (?P<value>\S+)$")


class Moment:
    """A clock that stands still until it is moved on; in nanoseconds."""

    def __init__(self, wall: int) -> None:
        self._wall = wall

    def move(self, step: int) -> None:
        """Let time pass."""
        self._wall += step

    def elapsed(self) -> int:
        """Since some moment."""
        return self._wall

    def wall(self) -> int:
        """Since the epoch."""
        return self._wall

    def awake(self) -> int:
        """It never sleeps."""
        return self._wall

    def boot(self) -> str:
        """One boot."""
        return "benchmark"

    def synchronized(self) -> bool:
        """It is right."""
        return True

    def wait(self, stop: object, duration: int) -> bool:
        """No request waits."""
        raise NotImplementedError


class SteadyProcess(ProcessMetrics):
    """What a daemon says of itself: 50 MB, and CPU time that goes on."""

    def __init__(self, clock: Moment) -> None:
        self._clock = clock
        self._started = clock.wall()

    def read(self) -> tuple[StandardFamily, ...]:
        """A hundredth of a core."""
        seconds = (self._clock.wall() - self._started) / NANOSECONDS_PER_SECOND
        values = {
            "process_resident_memory_bytes": 5e7,
            "process_start_time_seconds": self._started / NANOSECONDS_PER_SECOND,
        }
        gauges = (GaugeMetricFamily(name, name, value) for name, value in values.items())
        return *gauges, CounterMetricFamily("process_cpu_seconds", "CPU time.", 1 + seconds / 100)


def demo(now: int) -> tuple[str, str]:
    """The demo's page at a moment, in nanoseconds, and a period later."""
    clock = Moment(now)
    daemon = DemoDaemon(clock, SteadyProcess(clock), BUILD)
    replay(daemon)
    exposition = Exposition(BUILD)
    pages = []
    for _ in range(2):
        report = daemon.sampler.tick()
        pages.append(exposition.render(report, Variant(OPENMETRICS, gzip=False), stale=False).decode())
        clock.move(PERIOD_SECONDS * NANOSECONDS_PER_SECOND)
    return pages[0], pages[1]


def widened(page: str, servers: int) -> str:
    """The page of a host that runs as many servers: one server's lines are repeated under further names."""
    more = servers - len(SERVERS)
    lines = []
    for line in page.splitlines():
        lines.append(line)
        if f'server="{REPEATED}"' in line or f"server:{REPEATED}" in line:
            lines += [line.replace(REPEATED, f"{REPEATED}-{number}") for number in range(2, more + 2)]
    return "\n".join(lines) + "\n"


def budgeted(page: str, dollars: float) -> str:
    """The same with a budget of the fleet, one for each product, and books on disk, as the demo's are not."""
    page = page.replace("\ninference_ledger_persistent 0.0\n", "\ninference_ledger_persistent 1.0\n")
    line = re.compile(r'^inference_budget_dollars\{budget="fleet".*$', re.MULTILINE)
    budget_lines = [f'inference_budget_dollars{{budget="fleet",product=""}} {dollars:.1f}']
    part = dollars / 2 / PRODUCTS
    budget_lines += [
        f'inference_budget_dollars{{budget="{name}-{number}",product="{name}-{number}"}} {part:.1f}'
        for name in ("assistant", "search")
        for number in range(PRODUCTS)
    ]
    return line.sub("\n".join(budget_lines), page, count=1)


def targets(hosts: int, clusters: int, groups: int) -> list[dict[str, str]]:
    """The labels of each host's target: groups are dealt out to the clusters."""
    return [
        {
            "cluster": f"cluster-{host % groups * clusters // groups}",
            "instance": f"host-{host}",
            "node": f"node-{host}",
        }
        for host in range(hosts)
    ]


@dataclass(frozen=True, slots=True)
class Moving:
    """A number that is another a period later; `swings` between both, or goes on."""

    value: float
    change: float
    swings: bool

    def text(self, seconds: float) -> str:
        """The number, so many seconds after the first page."""
        periods = seconds / PERIOD_SECONDS
        if self.swings:
            periods = abs(periods % 2 - 1)
        return repr(self.value + self.change * periods)


class Fleet:
    """The pages of all hosts. A page costs little: numbers that move are written once a second for all."""

    def __init__(self, hosts: int, clusters: int, groups: int, servers: int) -> None:
        self.began = time.time()
        self.hosts = hosts
        self.targets = targets(hosts, clusters, groups)
        self._groups = groups
        # A host of the demo spends about 41,000 dollars a month.
        budget = hosts * 42_000
        now = int(self.began) * NANOSECONDS_PER_SECOND
        first, second = (budgeted(widened(page, servers), budget) for page in demo(now))
        self._pieces, self._moving = _taken_apart(first, second)
        self.series = sum(1 for line in first.splitlines() if not line.startswith("#"))
        self._ledger = next(iter(re.findall(r'ledger="([^"]+)"', first)))
        self._second, self._body = -1, ""

    def nodes(self) -> bytes:
        """What kube-state-metrics says of the nodes of all clusters."""
        lines = []
        for target in self.targets:
            node = f'cluster="{target["cluster"]}",node="{target["node"]}"'
            lines.append(f"kube_node_info{{{node}}} 1\n")
            lines.append(f'kube_node_status_capacity{{{node},resource="nvidia_com_gpu",unit="integer"}} 8\n')
        return "".join([*sorted(lines), "# EOF\n"]).encode()

    def ledger(self, host: int) -> str:
        """The id of a host's books."""
        return f"{host:08x}{self._ledger[8:]}"

    def page(self, host: int, now: float) -> bytes:
        """What a host's /metrics says at a moment of the epoch."""
        if int(now) != self._second:
            self._second = int(now)
            self._body = self._at(self._second - self.began)
        group = host % self._groups
        names = (
            (self._ledger, self.ledger(host)),
            ("GPU-de300000", f"GPU-{host:08x}"),
            ('namespace=""', f'namespace="team-{group % PRODUCTS}"'),
            ('product="assistant"', f'product="assistant-{group % PRODUCTS}"'),
            ('product="search"', f'product="search-{group % PRODUCTS}"'),
            *((f'server="{name}', f'server="{name}-g{group}') for name in SERVERS),
        )
        body = self._body
        for old, new in names:
            body = body.replace(old, new)
        return body.encode()

    def _at(self, seconds: float) -> str:
        parts = [self._pieces[0]]
        for moving, piece in zip(self._moving, self._pieces[1:], strict=True):
            parts += (moving.text(seconds), piece)
        return "".join(parts)


def _taken_apart(first: str, second: str) -> tuple[list[str], list[Moving]]:
    """The text between numbers that move, and those numbers."""
    lines = map(LINE.match, second.splitlines())
    later = {match["series"]: float(match["value"]) for match in lines if match}
    counters = set(re.findall(r"^# TYPE (\w+) counter$", first, re.MULTILINE))
    pieces, moving, text = [], [], ""
    for line in first.splitlines():
        match = LINE.match(line)
        value = float(match["value"]) if match else 0.0
        after = later.get(match["series"], value) if match else value
        if match is None or after == value:
            text += f"{line}\n"
            continue
        name = match["series"].partition("{")[0]
        rises = name.removesuffix("_total") in counters or name.endswith(
            ("_timestamp_seconds", "_to_date_dollars")
        )
        pieces.append(f"{text}{match['series']} ")
        moving.append(Moving(value, after - value, not rises))
        text = "\n"
    return [*pieces, text], moving
