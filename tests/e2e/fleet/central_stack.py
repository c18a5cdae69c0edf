"""Clusters that write to two centers: a Prometheus and a VictoriaMetrics, each with an Alertmanager.

Every program is real and ends by its own pid. What the hosts export is on paper, and kept as it is scraped.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.fleet.compression import alertmanager, of_center, of_cluster, rule_files
from tests.e2e.fleet.expected_hosts import ExpectedFleet, ExpectedHost, Owner
from tests.e2e.fleet.exporters import Exporters
from tests.e2e.fleet.page import Line, page
from tests.e2e.fleet.programs import Alertmanager, FleetPrometheus, Queried, Victoria, Vmalert
from tests.e2e.fleet.receiver import Receiver

SCRAPE_SECONDS = 1.0
INTERVAL_SECONDS = 1.0
"""Between two evaluations of each group."""
LOST_SECONDS = 8
"""A cluster is lost, and a series not current, after so many seconds; in production after five minutes."""

Months = dict[tuple[str, str, Owner], float]
"""Dollars by cluster, month and owner."""


@dataclass
class Hosts:
    """The exporters of all clusters: which hosts answer, and what each ledger exported last."""

    fleet: ExpectedFleet
    now: int
    """The second since the epoch that the hosts' times count from."""
    answering: list[ExpectedHost]
    names: dict[str, str] = field(default_factory=dict)
    """What clusters that were renamed are called now."""
    silent: set[str] = field(default_factory=set)
    """Instances that are targets and do not answer."""
    exported: dict[tuple[str, str, str], dict[Owner, float]] = field(default_factory=dict)
    """Dollars by owner, by cluster, ledger and month."""
    scraped: dict[str, float] = field(default_factory=dict)
    """When each ledger was scraped last."""

    def at(self) -> float:
        """This moment, in seconds after `now`."""
        return time.time() - self.now

    def page(self, instance: str) -> str | None:
        """What a host exports now."""
        at = self.at()
        for host in list(self.answering):
            if host.instance == instance and host.alive(at) and instance not in self.silent:
                lines = [(line, line.at(at)) for line in page(host, self.fleet, self.now)]
                self._keep(host, lines)
                self.scraped[host.ledger] = at
                return "".join(f"{line.series()} {value!r}\n" for line, value in lines if value is not None)
        return None

    def _keep(self, host: ExpectedHost, lines: Iterable[tuple[Line, float | None]]) -> None:
        exported: dict[str, dict[Owner, float]] = {}
        for line, value in lines:
            if line.name == "inference_month_to_date_dollars" and value is not None:
                owners = exported.setdefault(line.labels["month"], {})
                owner = line.labels["product"], line.labels["team"]
                owners[owner] = owners.get(owner, 0) + value
        for month, owners in exported.items():
            self.exported[host.cluster, host.ledger, month] = owners

    def months(self) -> Months:
        """The sum of what every ledger exported last."""
        sums: Months = {}
        for (cluster, _, month), owners in list(self.exported.items()):
            for owner, dollars in owners.items():
                key = self.names.get(cluster, cluster), month, owner
                sums[key] = sums.get(key, 0) + dollars
        return sums

    def spend(self) -> dict[str, float]:
        """Dollars an hour by cluster: of all that are there, silent ones too."""
        sums: dict[str, int] = {}
        for host in self.answering:
            name = self.names.get(host.cluster, host.cluster)
            sums[name] = sums.get(name, 0) + sum(gpu.price for gpu in host.gpus)
        return {name: price / 10**6 for name, price in sums.items()}


class FleetCluster:
    """One cluster's Prometheus, which can be lost, come back, and have another name."""

    def __init__(self, folder: Path, name: str, hosts: Hosts, rules: Path, centers: list[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._targets = folder / "targets.json"
        self._rules = rules
        self._centers = centers
        self.exporters = Exporters(self._targets, hosts.page, labeled=False)
        self.program = FleetPrometheus(folder / "prometheus", self._config(name))

    def _config(self, name: str) -> str:
        return of_cluster(self._rules, self._targets, SCRAPE_SECONDS, name, self._centers)

    def targets(self, expected_hosts: Iterable[ExpectedHost]) -> None:
        """The hosts that it scrapes from now on."""
        self.exporters.set_targets(list(expected_hosts), kubernetes=False)

    def lose(self) -> None:
        """Kill it: it says good-bye to nobody."""
        self.program.close()

    def restart(self, name: str) -> None:
        """Start it on what it stored, under a name."""
        self.program.configure(self._config(name))
        self.program.__enter__()


@dataclass(frozen=True, slots=True)
class Center:
    """One of the two places that see all clusters."""

    database: Queried
    alertmanager: Alertmanager
    receiver: Receiver

    def months(self, record: str) -> Months:
        """A record of owners."""
        rows = self.database.rows(record)
        return {(row["cluster"], row["month"], (row["product"], row["team"])): value for row, value in rows}

    def spend(self) -> dict[str, float]:
        """Dollars an hour by cluster."""
        return {
            row["cluster"]: round(value, 9)
            for row, value in self.database.rows("inference:spend_dollars_per_hour > 0")
        }

    def firing(self) -> set[tuple[str, ...]]:
        """Alerts that the Alertmanager has: name, and what it is about."""
        return {subject(alert["labels"]) for alert in self.alertmanager.alerts()}


def subject(labels: dict[str, str]) -> tuple[str, ...]:
    """The name of an alert, its cluster, and its budget where it has one."""
    return tuple(labels[key] for key in ("alertname", "cluster", "budget") if labels.get(key))


@dataclass(frozen=True, slots=True)
class CentralStack:
    """All of it."""

    hosts: Hosts
    clusters: dict[str, FleetCluster]
    prometheus: Center
    victoria: Center
    vmalert: Vmalert
    database: Victoria
    """What it evaluates over."""

    def both(self) -> tuple[Center, Center]:
        """The two centers."""
        return self.prometheus, self.victoria


@contextmanager
def stand(folder: Path, hosts: Hosts) -> Iterator[CentralStack]:
    """Start everything; the clusters are those of the hosts that answer."""
    files = rule_files(folder / "rules", INTERVAL_SECONDS, LOST_SECONDS)
    stale = f"{LOST_SECONDS}s"
    with ExitStack() as stack:
        enter = stack.enter_context
        receivers = [enter(Receiver()), enter(Receiver())]
        routers = [
            enter(Alertmanager(folder / f"alertmanager-{index}", alertmanager(receiver.url)))
            for index, receiver in enumerate(receivers)
        ]
        config = of_center(files[1], routers[0].url)
        flags = ("--web.enable-remote-write-receiver", f"--query.lookback-delta={stale}")
        center = enter(FleetPrometheus(folder / "center", config, flags))
        victoria = enter(Victoria(folder / "victoria", stale))
        vmalert = enter(Vmalert(folder / "vmalert", files[1:], victoria, routers[1].url, stale))
        urls = [f"{center.url}/api/v1/write", f"{victoria.url}/api/v1/write"]
        clusters: dict[str, FleetCluster] = {}
        for name in sorted({host.cluster for host in hosts.answering}):
            cluster = FleetCluster(folder / name, name, hosts, files[0], urls)
            enter(cluster.exporters)
            cluster.targets(host for host in hosts.answering if host.cluster == name)
            stack.callback(cluster.lose)
            cluster.restart(name)
            clusters[name] = cluster
        yield CentralStack(
            hosts,
            clusters,
            Center(center, routers[0], receivers[0]),
            Center(victoria, routers[1], receivers[1]),
            vmalert,
            victoria,
        )
