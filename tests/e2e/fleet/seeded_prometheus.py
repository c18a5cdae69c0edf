"""A Prometheus that begins with the past of a fleet, and scrapes its exporters from then on.

    with seeded(Path("somewhere"), FLEET, BEGIN) as life:
        life.prometheus.query("inference:month_to_date_dollars")

Whoever draws what the dashboards show makes a denser past: `now = int(time.time())`, and
`seeded(..., now=now, samples=past(FLEET, now, BEGIN, recent=120, old=600))`.
"""

import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.daemon import until
from tests.e2e.fleet.compression import prometheus, rule_files
from tests.e2e.fleet.expected_hosts import ExpectedFleet, ExpectedHost, Owner
from tests.e2e.fleet.exporters import KUBERNETES, Exporters
from tests.e2e.fleet.history import Sample, blocks, recorded, scraped
from tests.e2e.fleet.kubernetes import nodes
from tests.e2e.fleet.page import Line, page
from tests.e2e.fleet.programs import FleetPrometheus

SCRAPE_SECONDS = 5
"""And what a scrape may take: a host that is late on a busy machine would be a host that is gone."""
SETTLED_SECONDS = 120
SETTLED = 10
"""Evaluations after which all rules have what others record, and alerts that wait for two have fired."""


@dataclass
class Life:
    """A fleet that goes on: `answering` are the hosts that answer; a test may add to them and take away."""

    fleet: ExpectedFleet
    now: int
    """The second since the epoch at which the history ends."""
    prometheus: FleetPrometheus
    answering: list[ExpectedHost]
    exporters: Exporters | None = None
    scraped_at: dict[str, float] = field(default_factory=dict)
    """When each ledger was last scraped, in seconds after the history's end."""
    month_dollars: dict[str, dict[Owner, float]] = field(default_factory=dict)
    """Dollars of the month by owner, as the last page with each ledger said them."""

    def at(self) -> float:
        """This moment, in seconds after the history's end."""
        return time.time() - self.now

    def page(self, instance: str) -> str | None:
        """What a host says now."""
        at = self.at()
        if instance == KUBERNETES:
            return "".join(f"{series} {value!r}\n" for series, value in nodes(self.fleet))
        for host in self.answering:
            if host.instance == instance and host.alive(at):
                lines = [(line, line.at(at)) for line in page(host, self.fleet, self.now)]
                self._keep(host.ledger, lines)
                self.scraped_at[host.ledger] = at
                return "".join(f"{line.series()} {value!r}\n" for line, value in lines if value is not None)
        return None

    def _keep(self, ledger: str, lines: list[tuple[Line, float | None]]) -> None:
        month_dollars: dict[Owner, float] = {}
        for line, value in lines:
            labels = line.labels
            if line.name == "inference_month_to_date_dollars" and labels["month"] == self.fleet.month:
                owner = labels["product"], labels["team"]
                month_dollars[owner] = month_dollars.get(owner, 0) + (value or 0)
        self.month_dollars[ledger] = month_dollars

    def become(self, answering: Iterable[ExpectedHost]) -> None:
        """Other hosts, or the same with other ledgers, from the next scrape on; no others answer."""
        self.answering = list(answering)


def past(
    fleet: ExpectedFleet, now: int, begin: int, *, recent: int = 300, old: int = 1800, mean: int = 300
) -> list[Sample]:
    """All samples of a fleet until `now`."""
    samples = [
        *scraped(fleet, now, begin, recent=recent, old=old),
        *recorded(fleet, now, begin, recent, mean),
    ]
    cluster = fleet.clusters()[-1]
    for series, value in nodes(fleet, cluster=cluster, job="kube-state-metrics"):
        samples.extend((series, value, now + at) for at in range(-1800, 1, 60))
    return samples


@contextmanager
def seeded(
    folder: Path,
    fleet: ExpectedFleet,
    begin: int,
    *,
    now: int | None = None,
    samples: list[Sample] | None = None,
    ready: Path | None = None,
    interval: float = 1,
    settled: int = SETTLED,
    scrape: float = SCRAPE_SECONDS,
    scraping: bool = True,
    coming: Sequence[ExpectedHost] = (),
    alertmanager: str = "",
    stand: str = "",
    hour: float = 0,
) -> Iterator[Life]:
    """Start everything, wait until each rule has been evaluated, and end it by pid.

    `begin` is where the history begins, in seconds after its end; `interval` is between two evaluations of
    each rule, and `scrape` between two scrapes; `settled` evaluations are waited for.
    `now` is the end in seconds since the epoch, `samples` are the history and `ready` is a folder with the
    blocks made of it, where there is either already.
    Without `scraping` only the history is there: numbers that a scrape a millisecond late blurs are exact.
    `coming` are hosts that a test adds later; Prometheus asks for them in vain until then.
    `hour` seconds stand for an hour in the means that projections are made of.
    `stand` is an external label, where several send their alerts to one Alertmanager.
    """
    folder.mkdir(parents=True, exist_ok=True)
    now = int(time.time()) if now is None else now
    files = rule_files(folder / "rules", interval, hour=hour)
    targets = folder / "targets.json"
    config = prometheus(files, targets if scraping else None, scrape, alertmanager, stand)
    program = FleetPrometheus(folder / "prometheus", config)
    if ready is not None:
        shutil.copytree(ready, program.data, dirs_exist_ok=True)
    else:
        blocks(past(fleet, now, begin) if samples is None else samples, program.data)
    life = Life(fleet, now, program, list(fleet.hosts))
    with ExitStack() as stack:
        if scraping:
            life.exporters = stack.enter_context(Exporters(targets, life.page))
            life.exporters.set_targets([*(host for host in fleet.hosts if host.alive(life.at())), *coming])
        stack.enter_context(program)
        begun = time.time()
        until(
            lambda: program.evaluations() >= settled and program.evaluated(begun),
            SETTLED_SECONDS,
            f"all rules settled, see {program.log}",
        )
        yield life
