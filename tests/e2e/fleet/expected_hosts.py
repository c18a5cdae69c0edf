"""A fleet of expected hosts: who held which GPUs at what price and from when to when, in whole numbers.

Times are seconds after the moment at which the history ends, so the past is negative.
Prices are microdollars an hour, shares are thousandths, and every amount is divided once, at the end.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

HOUR = 3600
DAY = 24 * HOUR
FOREVER = 10**9
"""The end of what goes on."""

HOURS_PER_MONTH = 730
"""As the exporter has them, for its run-rate."""

Owner = tuple[str, str]
"""Product and team."""
UNASSIGNED_OWNER: Owner = ("unassigned", "unassigned")


@dataclass(frozen=True, slots=True)
class FleetGpu:
    """One GPU and what an hour of it costs, in microdollars."""

    uuid: str
    model: str
    rent: int
    network: int
    basis: str = "configured"
    """Where the price comes from; empty: it has none."""
    up: bool = True

    @property
    def price(self) -> int:
        """Microdollars an hour; 0 where nobody knows."""
        return self.rent + self.network if self.basis else 0


@dataclass(frozen=True, slots=True)
class FleetServer:
    """What serves a model, for whom and at what rate; it may be on several hosts."""

    name: str
    owner: Owner = UNASSIGNED_OWNER
    namespace: str = ""
    model: str = ""
    shares: tuple[int, int, int, int, int] = (0, 0, 0, 1000, 0)
    """Thousandths of its time in prefill, decode, other, idle, and unobserved."""
    tokens: tuple[int, int, int] = (0, 0, 0)
    """An hour, for each of its GPUs: prompt, cached prompt, generation."""
    method: str = "time"
    up: bool = True


PHASES = ("prefill", "decode", "other", "idle", "unobserved")
KINDS = ("prompt", "cached_prompt", "generation")
UNALLOCATED = FleetServer("unallocated")


@dataclass(frozen=True, slots=True)
class ExpectedHost:
    """The life of one ledger on one host: a host whose ledger is lost begins another one."""

    cluster: str
    instance: str
    ledger: str
    gpus: tuple[FleetGpu, ...]
    gpu_servers: tuple[FleetServer, ...]
    """By whom, GPU by GPU, all the time."""
    begin: int
    end: int = FOREVER
    earlier: tuple[tuple[Owner, int], ...] = ()
    """Microdollars that are in the month already when the host begins to be seen."""

    def alive(self, at: float) -> bool:
        """Whether it answers a scrape."""
        return self.begin <= at < self.end

    def seconds(self, at: int) -> int:
        """For how long it has counted."""
        return max(0, min(at, self.end) - self.begin)

    def pairs(self) -> Iterator[tuple[FleetGpu, FleetServer]]:
        """Its GPUs, and who holds each."""
        return zip(self.gpus, self.gpu_servers, strict=True)

    def servers(self) -> list[FleetServer]:
        """Who holds GPUs here, each once."""
        return list(dict.fromkeys(self.gpu_servers))

    def count(self, server: FleetServer) -> int:
        """GPUs that a server holds here."""
        return self.gpu_servers.count(server)

    def price(self, server: FleetServer) -> int:
        """Microdollars an hour of what a server holds here."""
        return sum(gpu.price for gpu, holder in self.pairs() if holder == server)

    def postings(self) -> dict[tuple[str, str, str], tuple[int, int]]:
        """Earlier microdollars and microdollars an hour, by product, team and price basis."""
        amounts: dict[tuple[str, str, str], tuple[int, int]] = {}
        for owner, amount in self.earlier:
            amounts[(*owner, "configured")] = (amount, 0)
        for gpu, server in self.pairs():
            if gpu.basis:
                key = (*server.owner, gpu.basis)
                before, rate = amounts.get(key, (0, 0))
                amounts[key] = (before, rate + gpu.price)
        return amounts

    def month(self, at: int) -> dict[tuple[str, str, str], Fraction]:
        """Dollars of the month by product, team and price basis, as its last page until `at` says."""
        seconds = self.seconds(at)
        return {
            key: Fraction(before * HOUR + rate * seconds, 10**6 * HOUR)
            for key, (before, rate) in self.postings().items()
        }


@dataclass(frozen=True, slots=True)
class ExpectedFleet:
    """All hosts of a fleet, its budgets and its month."""

    hosts: tuple[ExpectedHost, ...]
    budgets: tuple[tuple[str, str, int], ...]
    """Name, product (none: the fleet) and dollars."""
    month: str
    month_begin: int
    month_end: int
    last_month: str
    next_month: str = ""
    """What follows it, where its end is lived through."""
    next_end: int = FOREVER
    forgotten: tuple[ExpectedHost, ...] = ()
    """Ledgers of this month that ended before the history begins: only the rules remember them."""
    overheads: tuple[tuple[str, int], ...] = ()
    """Component and microdollars an hour, of the whole fleet."""
    nodes: tuple[str, ...] = ()
    """Nodes of its last cluster that have GPUs and no exporter, as Kubernetes tells."""
    hosted: int = 0
    """Microdollars that a hosted offer takes for a million tokens; 0: there is none."""

    def owners(self, cluster: str) -> set[Owner]:
        """Who is in a cluster's month."""
        return {
            (product, team)
            for host in (*self.hosts, *self.forgotten)
            if host.cluster == cluster
            for product, team, _ in host.postings()
        }

    def clusters(self) -> list[str]:
        """Their names."""
        return sorted({host.cluster for host in self.hosts})

    def spend_rate(self, at: int, cluster: str, owner: Owner | None = None) -> Fraction:
        """Dollars an hour of a cluster, or of one owner in it."""
        return Fraction(
            sum(
                gpu.price
                for host in self.hosts
                if host.cluster == cluster and host.alive(at)
                for gpu, server in host.pairs()
                if owner in (None, server.owner)
            ),
            10**6,
        )

    def spent(self, at: int, cluster: str, owner: Owner | None = None) -> Fraction:
        """Dollars of the month, hosts that are gone included."""
        return sum(
            (
                amount
                for host in (*self.hosts, *self.forgotten)
                if host.cluster == cluster and host.begin <= at
                for (product, team, _), amount in host.month(at).items()
                if owner in (None, (product, team))
            ),
            Fraction(),
        )
