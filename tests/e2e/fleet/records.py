"""What the rules record of a fleet on paper, reckoned without them.

It is what a history needs, and what the rules record at its end.
Spend is constant between the beginnings and ends of hosts, and no price of the expected fleet has a date.
"""

import calendar
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from tests.e2e.fleet.expected_hosts import (
    DAY,
    HOUR,
    HOURS_PER_MONTH,
    KINDS,
    PHASES,
    UNALLOCATED,
    ExpectedFleet,
    ExpectedHost,
    FleetServer,
    Owner,
)
from tests.e2e.fleet.page import MICRO, always

Value = Callable[[int], float | None]
WEEK = 7 * DAY
NOW = (0,)
"""At the end of the history only: what nothing looks back on."""


@dataclass(frozen=True, slots=True)
class Memory:
    """One recorded series and the seconds at which it was recorded."""

    name: str
    labels: dict[str, str]
    at: Value
    times: Sequence[int]


def memory(fleet: ExpectedFleet, now: int, begin: int, step: int, apart: int) -> Iterator[Memory]:
    """All of it, from where the history begins; `now` is its end, in seconds since the epoch.

    `step` is between two samples of the last day, `apart` between two of what weekly means are taken of.
    """
    day = range(-26 * HOUR // step * step, 1, step)
    yield from _ledgers(fleet, now, begin)
    yield from _levels(fleet, begin, apart)
    for cluster in fleet.clusters():
        yield from _month(fleet, now, cluster, begin)
        yield from _spending(fleet, cluster, range(begin, 1, apart), day)
        yield from _rates(fleet, cluster, begin, day)
    for name, product, dollars in fleet.budgets:
        labels = {"budget": name, "product": product}
        yield Memory("inference:budget_dollars", labels, always(dollars), day)
        of_budget = _budget_rate(fleet, product)
        yield Memory("inference:budget_cost_dollars_per_hour", labels, of_budget, (-DAY - 600,))
    yield Memory("inference:budget_configured", {}, always(1), NOW)
    overhead = sum(amount for _, amount in fleet.overheads) / MICRO
    if fleet.overheads:
        yield Memory("inference:fleet_overhead_dollars_per_hour", {}, always(overhead), day)
        for cluster in fleet.clusters():
            for component, amount in fleet.overheads:
                part = {"cluster": cluster, "component": component}
                name = "inference:fleet_overhead_dollars_per_hour:component"
                yield Memory(name, part, always(amount / MICRO), day)
    yield Memory("inference:gpus", {}, lambda at: float(_gpus(fleet, at)), day)


def _gpus(fleet: ExpectedFleet, at: int, cluster: str = "", owner: Owner | None = None) -> int:
    return sum(
        owner in (None, server.owner) and cluster in ("", host.cluster)
        for host in fleet.hosts
        if host.alive(at)
        for server in host.gpu_servers
    )


def _ledgers(fleet: ExpectedFleet, now: int, begin: int) -> Iterator[Memory]:
    """The hourly memory of every ledger: this month, the one before, and where it was seen last."""
    hourly = range(begin, 1, HOUR)
    for host in (*fleet.hosts, *fleet.forgotten):
        for product, team, basis in host.postings():
            labels = {"ledger": host.ledger, "product": product, "team": team, "price_basis": basis}
            values = (
                (fleet.month, _posted(host, (product, team, basis))),
                (fleet.last_month, _before(host, (product, team, basis))),
            )
            for month, value in values if host.end > begin else values[:1]:
                name = "inference:month_to_date_dollars:posting_hourly"
                yield Memory(name, {**labels, "month": month}, value, hourly)
        where = {"ledger": host.ledger, "cluster": host.cluster}
        yield Memory("inference:ledger_cluster_hourly", where, _last(host, now), hourly)
        if host.alive(0):
            yield Memory("inference:ledger_cluster", where, always(1), NOW)


def _posted(host: ExpectedHost, key: tuple[str, str, str]) -> Value:
    return lambda at: float(host.month(at)[key]) if at >= host.begin else None


def _last(host: ExpectedHost, now: int) -> Value:
    return lambda at: float(now + min(at, host.end - 1)) if at >= host.begin else None


def _month(fleet: ExpectedFleet, now: int, cluster: str, begin: int) -> Iterator[Memory]:
    here = {"cluster": cluster, "month": fleet.month}
    hourly = range(begin, 1, HOUR)
    ends = {fleet.month: now + fleet.month_end, fleet.last_month: now + fleet.month_begin}
    for month, end in ends.items():
        for suffix, times in (("_hourly", hourly), ("", NOW)):
            name = f"inference:month_end_timestamp_seconds{suffix}"
            yield Memory(name, {"cluster": cluster, "month": month}, always(end), times)
    since = now + min(
        max(fleet.month_begin, host.begin)
        for host in (*fleet.hosts, *fleet.forgotten)
        if host.cluster == cluster
    )
    for suffix, times in (("_hourly", hourly), ("", NOW)):
        yield Memory(f"inference:month_metered_since_timestamp_seconds{suffix}", here, always(since), times)
    last_day = datetime.fromtimestamp(ends[fleet.month] - DAY, UTC)
    begun = ends[fleet.month] - DAY * calendar.monthrange(last_day.year, last_day.month)[1]
    yield Memory("inference:month_unmetered_hours", here, always(max(0, (since - begun) / HOUR)), NOW)
    left = range(-2 * HOUR, 1, 60)
    yield Memory("inference:month_hours_left", here, lambda at: (fleet.month_end - at) / HOUR, left)
    yield from _graph(fleet, cluster, begin)


def _graph(fleet: ExpectedFleet, cluster: str, begin: int) -> Iterator[Memory]:
    """What only the graphs of a month show."""
    here = {"cluster": cluster, "month": fleet.month}
    times = sorted({*range(begin, -DAY, HOUR), *range(-DAY, 1, 600)})
    yield Memory("inference:month_to_date_dollars", here, _spent(fleet, cluster, None), times)
    for product, team in sorted(fleet.owners(cluster)):
        owner = {**here, "product": product, "team": team}
        part = _spent(fleet, cluster, (product, team))
        yield Memory("inference:month_to_date_dollars:owner", owner, part, times)
    projected = _projected(fleet, [cluster], begin, None)
    yield Memory("inference:month_projected_dollars", here, projected, range(-DAY, 1, 600))


def _spent(fleet: ExpectedFleet, cluster: str, owner: Owner | None) -> Value:
    return lambda at: float(fleet.spent(at, cluster, owner))


def _projected(
    fleet: ExpectedFleet, clusters: list[str], begin: int, choose: Callable[[list[float]], float] | None
) -> Value:
    """Month to date and the hours left, at the mean since the beginning or at the chosen one of its days."""

    def rate_between(left: int, right: int) -> float:
        return sum(mean(fleet, left, right, cluster, None) for cluster in clusters)

    def dollars(at: int) -> float:
        days = [rate_between(end - DAY, end) for end in range(begin + DAY, at + 1, 6 * HOUR)]
        rest = (choose(days) if choose else rate_between(begin, at)) * (fleet.month_end - at) / HOUR
        return sum(float(fleet.spent(at, cluster)) for cluster in clusters) + rest

    return dollars


def _levels(fleet: ExpectedFleet, begin: int, apart: int) -> Iterator[Memory]:
    """Spend of the fleet and of its owners, and the means of an hour that projections are made of.

    These are of whole hours, in which no host begins or ends.
    """
    for suffix, choose in (("", None), (":low", min), (":high", max)):
        projected = _projected(fleet, fleet.clusters(), begin, choose)
        name = f"inference:fleet_month_projected_dollars{suffix}"
        yield Memory(name, {"month": fleet.month}, projected, range(-DAY, 1, 600))
    owners = sorted({owner for cluster in fleet.clusters() for owner in fleet.owners(cluster)})
    for name, owner in (("", None), *((":owner", owner) for owner in owners)):
        labels = {"product": owner[0], "team": owner[1]} if owner else {}
        spend = _spend_rate(fleet, "", owner)
        first = f"inference:spend_at_first_price_dollars_per_hour{name}"
        yield Memory(first, labels, spend, range(begin, 1, apart))
        hours = range(begin + HOUR, 1, max(HOUR, apart))
        yield Memory(f"inference:dollars_per_hour:1h{name}", labels, _mean_hour(fleet, "", owner), hours)
        if owner:
            hourly = range(begin, 1, HOUR)
            greatest = _greatest(fleet, owner)
            yield Memory("inference:spend_dollars_per_hour:owner_hourly", labels, greatest, hourly)


def _spend_rate(fleet: ExpectedFleet, cluster: str, owner: Owner | None) -> Value:
    names = [cluster] if cluster else fleet.clusters()
    return lambda at: float(sum(fleet.spend_rate(at, name, owner) for name in names))


def _budget_rate(fleet: ExpectedFleet, product: str) -> Value:
    """Spend of a product, or of the fleet, by which a budget is known to be older than a day."""
    owners = sorted({owner for cluster in fleet.clusters() for owner in fleet.owners(cluster)})
    rates = [_spend_rate(fleet, "", owner) for owner in owners if product in ("", owner[0])]
    return lambda at: sum(rate(at) for rate in rates)


def _greatest(fleet: ExpectedFleet, owner: Owner) -> Value:
    """That an owner spends is remembered, by the cluster where it is most."""
    return lambda at: max(float(fleet.spend_rate(at, name, owner)) for name in fleet.clusters()) or None


def _there(value: Value) -> Value:
    return lambda at: value(at) or None


def _mean_hour(fleet: ExpectedFleet, cluster: str, owner: Owner | None) -> Value:
    names = [cluster] if cluster else fleet.clusters()
    return lambda at: sum(mean(fleet, at - HOUR, at, name, owner) for name in names)


def _spending(
    fleet: ExpectedFleet, cluster: str, week: Sequence[int], day: Sequence[int]
) -> Iterator[Memory]:
    here = {"cluster": cluster}
    for owner in (None, *sorted(fleet.owners(cluster))):
        labels = {**here, "product": owner[0], "team": owner[1]} if owner else here
        suffix = ":owner" if owner else ""
        spend = _spend_rate(fleet, cluster, owner)
        for name in ("cost", "spend"):
            yield Memory(f"inference:{name}_dollars_per_hour{suffix}", labels, _there(spend), week)
        run_rate = _times(spend, HOURS_PER_MONTH)
        yield Memory(f"inference:monthly_run_rate_dollars{suffix}", labels, _there(run_rate), NOW)
        if owner:
            for name in ("cost_at_first_price", "cost_at_rest_price"):
                yield Memory(f"inference:{name}_dollars_per_hour:owner", labels, _there(spend), NOW)
        else:
            hours = range(-DAY, 1, max(HOUR, week[1] - week[0]))
            yield Memory(
                "inference:dollars_per_hour:1h:cluster", labels, _mean_hour(fleet, cluster, None), hours
            )
    for server in _servers(fleet, cluster):
        labels = _labels(cluster, server)
        spend = _alive(fleet, cluster, server, lambda host, server: host.price(server) / MICRO)
        if spend(0):  # nobody tells the spend of what has no price
            for name in ("cost_dollars_per_hour:server", "server_spend_dollars_per_hour"):
                yield Memory(f"inference:{name}", labels, spend, day)
    yield from _hosts(fleet, cluster)
    yield from _closed(fleet, cluster)


def _hosts(fleet: ExpectedFleet, cluster: str) -> Iterator[Memory]:
    """The hosts that answer, and what each spends for whom."""
    here = {"cluster": cluster}
    alive_hosts = [host for host in fleet.hosts if host.cluster == cluster and host.alive(0)]
    yield Memory("inference:hosts_metered", here, always(len(alive_hosts)), NOW)
    yield Memory("inference:hours_per_month", here, always(HOURS_PER_MONTH), NOW)
    for host in alive_hosts:
        node = host.instance.partition(":")[0]
        paid: Counter[Owner] = Counter()
        for gpu, server in host.pairs():
            paid[server.owner] += gpu.price
        for (product, team), price in paid.items():
            labels = {**here, "ledger": host.ledger, "instance": host.instance, "node": node}
            owner = {"product": product, "team": team}
            if price:
                name = "inference:cost_dollars_per_hour:host"
                yield Memory(name, {**labels, **owner}, always(price / MICRO), NOW)


def _before(host: ExpectedHost, key: tuple[str, str, str]) -> Value:
    """Dollars of the month before, as a page has them."""
    _, rate = host.postings()[key]
    return lambda at: rate * 720 / MICRO if at >= host.begin else None


def _closed(fleet: ExpectedFleet, cluster: str) -> Iterator[Memory]:
    """The month before: of every ledger that has said it."""
    owners: Counter[Owner] = Counter()
    bases: Counter[str] = Counter()
    for host in fleet.hosts:
        if host.cluster == cluster:
            for (product, team, basis), (_, rate) in host.postings().items():
                owners[product, team] += rate * 720
                bases[basis] += rate * 720
    here = {"cluster": cluster, "month": fleet.last_month}
    name = "inference:closed_month_dollars"
    yield Memory(name, here, always(sum(owners.values()) / MICRO), NOW)
    for (product, team), dollars in owners.items():
        yield Memory(
            f"{name}:owner", {**here, "product": product, "team": team}, always(dollars / MICRO), NOW
        )
    for basis, dollars in bases.items():
        yield Memory(f"{name}:price_basis", {**here, "price_basis": basis}, always(dollars / MICRO), NOW)


def mean(fleet: ExpectedFleet, begin: int, at: int, cluster: str, owner: Owner | None) -> float:
    """Mean spend rate of a time range, by its parts between beginnings and ends of hosts."""
    edges = {
        begin,
        at,
        *(edge for host in fleet.hosts for edge in (host.begin, host.end) if begin < edge < at),
    }
    boundaries = sorted(edges)
    return float(
        sum(fleet.spend_rate(left, cluster, owner) * (right - left) for left, right in pairwise(boundaries))
        / (at - begin)
    )


def _servers(fleet: ExpectedFleet, cluster: str) -> list[FleetServer]:
    return list(
        dict.fromkeys(
            server for host in fleet.hosts if host.cluster == cluster for server in host.gpu_servers
        )
    )


def _labels(cluster: str, server: FleetServer) -> dict[str, str]:
    product, team = server.owner
    return {
        "cluster": cluster,
        "product": product,
        "team": team,
        "namespace": server.namespace,
        "server": server.name,
    }


def _alive(
    fleet: ExpectedFleet,
    cluster: str,
    server: FleetServer,
    what: Callable[[ExpectedHost, FleetServer], float],
) -> Value:
    """The sum over the hosts that a server is on, none where it is on none."""
    hosts = [host for host in fleet.hosts if host.cluster == cluster and server in host.gpu_servers]

    def value(at: int) -> float | None:
        there = [what(host, server) for host in hosts if host.alive(at)]
        return sum(there) if there else None

    return value


def _rates(fleet: ExpectedFleet, cluster: str, begin: int, day: Sequence[int]) -> Iterator[Memory]:
    minutes = range(begin, 1, 60)
    before = (-WEEK - 2 * HOUR, -WEEK - HOUR, -WEEK)
    yesterday = (-26 * HOUR, -25 * HOUR, -24 * HOUR)
    servers = _servers(fleet, cluster)
    for server in servers:
        labels = _labels(cluster, server)
        cost = _alive(fleet, cluster, server, _cost)
        busy = _alive(fleet, cluster, server, _busy)
        tokens = _alive(fleet, cluster, server, _served)
        yield Memory("inference:server_cost_dollars:rate5m", labels, cost, day)
        yield Memory("inference:server_busy_cost_dollars:rate5m", labels, busy, day)
        yield Memory("inference:busy_dollars_per_hour", labels, _times(busy, HOUR), day)
        yield Memory("inference:waste_dollars_per_hour:server", labels, _idle(fleet, cluster, server), day)
        if server is UNALLOCATED:
            continue
        yield Memory("inference:server_tokens:rate5m", labels, tokens, day)
        if sum(server.tokens):  # a quarter of its places are taken
            yield Memory("inference:server_load_dollars_per_hour", labels, _times(cost, HOUR // 4), day)
        kinds = {**labels, "model": server.model}
        for kind, count in zip(KINDS, server.tokens, strict=True):
            rate = _alive(fleet, cluster, server, lambda host, server, n=count: n * host.count(server) / HOUR)
            yield Memory("inference:kind_tokens:rate5m", {**kinds, "kind": kind}, rate, day)
        if server.method != "role" and (each := sum(server.tokens)):
            price = [
                host.price(server) / each / host.count(server)
                for host in fleet.hosts
                if server in host.gpu_servers
            ]
            yield Memory(
                "inference:server_cost_dollars_per_million_tokens:7d", labels, always(price[0]), yesterday
            )
    for name in dict.fromkeys(server.model for server in servers if server.model):
        several = [server for server in servers if server.model == name]
        for record, what in MODELS.items():
            parts = [_alive(fleet, cluster, server, what) for server in several]
            yield Memory(f"inference:{record}:rate5m", {"cluster": cluster, "model": name}, _sum(parts), day)
    for product, team in sorted({server.owner for server in servers}):
        yield from _owner(fleet, cluster, (product, team), minutes, before)


def _owner(
    fleet: ExpectedFleet, cluster: str, owner: Owner, minutes: Sequence[int], before: Sequence[int]
) -> Iterator[Memory]:
    labels = {"cluster": cluster, "product": owner[0], "team": owner[1]}
    whole = WEEK // HOUR

    def cost(at: int) -> float:
        return float(fleet.spend_rate(at, cluster, owner)) / HOUR

    def gpu_count(at: int) -> float:
        return float(_gpus(fleet, at, cluster, owner))

    def tokens(at: int) -> float:
        return _tokens(fleet, at, cluster, owner)

    fortnight = (-13 * DAY - 12 * HOUR,)
    counted = any(server is not UNALLOCATED for server in _servers(fleet, cluster) if server.owner == owner)
    for rate, week, now, scale in (
        ("owner_cost_dollars:rate5m", "owner_cost_dollars:7d", cost, HOUR),
        ("gpus:owner", "owner_gpu_hours:7d", gpu_count, 1),
        *([("owner_tokens:rate5m", "owner_tokens:7d", tokens, HOUR)] if counted else []),
    ):
        yield Memory(f"inference:{rate}", labels, now, minutes)
        # the week before: nine tenths of what this one has now
        past = now(0) * scale * whole * 0.9
        yield Memory(f"inference:{week}", labels, always(past), before)
        yield Memory(f"inference:{rate}", labels, always(now(0)), fortnight)
    if cost(0):
        idle = [_idle(fleet, cluster, server) for server in _servers(fleet, cluster) if server.owner == owner]
        waste = sum(value(0) or 0 for value in idle)
        yield Memory("inference:waste_dollars_per_hour", labels, always(waste), range(-26 * HOUR, 1, 300))


def _tokens(fleet: ExpectedFleet, at: int, cluster: str, owner: Owner) -> float:
    return (
        sum(
            sum(server.tokens)
            for host in fleet.hosts
            if host.cluster == cluster and host.alive(at)
            for server in host.gpu_servers
            if server.owner == owner
        )
        / HOUR
    )


def _cost(host: ExpectedHost, server: FleetServer) -> float:
    return host.price(server) / MICRO / HOUR


def _busy(host: ExpectedHost, server: FleetServer) -> float:
    return _cost(host, server) * (server.shares[0] + server.shares[1]) / 1000


def _served(host: ExpectedHost, server: FleetServer) -> float:
    return sum(server.tokens) * host.count(server) / HOUR


def _gpu_count(host: ExpectedHost, server: FleetServer) -> float:
    return float(host.count(server))


MODELS = {"cost_dollars": _cost, "busy_cost_dollars": _busy, "tokens": _served, "model_gpus": _gpu_count}
"""What is recorded of each model, a second."""


def _sum(parts: Sequence[Value]) -> Value:
    def total(at: int) -> float | None:
        there = [value for part in parts if (value := part(at)) is not None]
        return sum(there) if there else None

    return total


def _idle(fleet: ExpectedFleet, cluster: str, server: FleetServer) -> Value:
    share = server.shares[PHASES.index("idle")] / 1000
    return _alive(fleet, cluster, server, lambda host, server: host.price(server) * share / MICRO)


def _times(value: Value, factor: float) -> Value:
    def product(at: int) -> float | None:
        base = value(at)
        return None if base is None else base * factor

    return product
