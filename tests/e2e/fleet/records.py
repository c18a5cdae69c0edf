"""What the rules would have recorded of a fleet on paper, reckoned without them: what a history needs.

Only what the rules or the dashboards look back on is here. What a rule says now, it says itself.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.e2e.fleet.books import DAY, HOUR, KINDS, PHASES, UNALLOCATED, Book, Fleet, Owner, Server
from tests.e2e.fleet.page import MICRO, always

Value = Callable[[int], float | None]
WEEK = 7 * DAY
OF_OWNERS = (
    "inference:cost_dollars_per_hour:owner",
    "inference:cost_at_first_price_dollars_per_hour:owner",
)
"""Alike here: no price of the fleet on paper has a date."""


@dataclass(frozen=True, slots=True)
class Memory:
    """One recorded series and the seconds at which it was recorded."""

    name: str
    labels: dict[str, str]
    at: Value
    times: Sequence[int]


def memory(fleet: Fleet, begin: int, step: int, apart: int) -> Iterator[Memory]:
    """All of it, from where the history begins.

    `step` is between two samples of the last day, `apart` between two of what weekly means are taken of.
    """
    day = range(-26 * HOUR // step * step, 1, step)
    for cluster in fleet.clusters():
        yield from _month(fleet, cluster, begin)
        yield from _spending(fleet, cluster, range(begin, 1, apart), day)
        yield from _rates(fleet, cluster, begin, day)
    for name, product, dollars in fleet.budgets:
        labels = {"budget": name, "product": product}
        yield Memory("inference:budget_dollars", labels, always(dollars), day)
    overhead = sum(amount for _, amount in fleet.overheads) / MICRO
    if fleet.overheads:
        yield Memory("inference:fleet_overhead_dollars_per_hour", {}, always(overhead), day)
    yield Memory("inference:gpus", {}, lambda at: float(_gpus(fleet, at)), day)


def _gpus(fleet: Fleet, at: int, cluster: str = "", owner: Owner | None = None) -> int:
    return sum(
        owner in (None, server.owner) and cluster in ("", book.cluster)
        for book in fleet.books
        if book.alive(at)
        for server in book.held
    )


def _month(fleet: Fleet, cluster: str, begin: int) -> Iterator[Memory]:
    here = {"cluster": cluster, "month": fleet.month}
    hourly = range(begin, 1, HOUR)
    left = range(-2 * HOUR, 1, 60)
    yield Memory("inference:month_hours_left", here, lambda at: (fleet.month_end - at) / HOUR, left)
    for book in (*fleet.books, *fleet.forgotten):
        if book.cluster != cluster:
            continue
        for product, team, basis in book.postings():
            labels = {**here, "ledger": book.ledger, "product": product, "team": team, "price_basis": basis}
            value = _posted(book, (product, team, basis))
            yield Memory("inference:month_to_date_dollars:posting_hourly", labels, value, hourly)
        seen = [at for at in range(-8 * HOUR, 1, HOUR) if book.alive(at)]
        yield Memory("inference:ledger_seen", {"cluster": cluster, "ledger": book.ledger}, always(1), seen)
    yield from _graph(fleet, cluster, begin)


def _posted(book: Book, key: tuple[str, str, str]) -> Value:
    return lambda at: float(book.month(at)[key]) if at >= book.begin else None


def _graph(fleet: Fleet, cluster: str, begin: int) -> Iterator[Memory]:
    """What only the graphs of a month show."""
    here = {"cluster": cluster, "month": fleet.month}
    times = sorted({*range(begin, -DAY, HOUR), *range(-DAY, 1, 600)})
    yield Memory("inference:month_to_date_dollars", here, _spent(fleet, cluster, None), times)
    for product, team in sorted(fleet.owners(cluster)):
        owner = {**here, "product": product, "team": team}
        part = _spent(fleet, cluster, (product, team))
        yield Memory("inference:month_to_date_dollars:owner", owner, part, times)
    for suffix, choose in (("", None), (":low", min), (":high", max)):
        projected = _projected(fleet, cluster, begin, choose)
        yield Memory(f"inference:month_projected_dollars{suffix}", here, projected, range(-DAY, 1, 600))


def _spent(fleet: Fleet, cluster: str, owner: Owner | None) -> Value:
    return lambda at: float(fleet.spent(at, cluster, owner))


def _projected(
    fleet: Fleet, cluster: str, begin: int, choose: Callable[[list[float]], float] | None
) -> Value:
    """Month to date and the hours left: at the mean since the beginning, or at the chosen one of its days."""

    def dollars(at: int) -> float:
        days = [mean(fleet, end - DAY, end, cluster, None) for end in range(begin + DAY, at + 1, 6 * HOUR)]
        pace = choose(days) if choose else mean(fleet, begin, at, cluster, None)
        return float(fleet.spent(at, cluster)) + pace * (fleet.month_end - at) / HOUR

    return dollars


def _spending(fleet: Fleet, cluster: str, week: Sequence[int], day: Sequence[int]) -> Iterator[Memory]:
    days = range(week[0] + DAY, 1, HOUR)
    here = {"cluster": cluster}

    def told(names: tuple[str, ...], labels: dict[str, str], owner: Owner | None) -> Iterator[Memory]:
        for name in names:
            yield Memory(name, labels, lambda at: float(fleet.pace(at, cluster, owner)), week)
        suffix = ":owner" if owner else ""
        of_day = f"inference:day_dollars_per_hour{suffix}"
        yield Memory(of_day, labels, lambda at: mean(fleet, at - DAY, at, cluster, owner), days)

    yield from told(("inference:known_dollars_per_hour",), here, None)
    for product, team in sorted(fleet.owners(cluster)):
        labels = {**here, "product": product, "team": team}
        yield from told(OF_OWNERS, labels, (product, team))
    for server in _servers(fleet, cluster):
        labels = _labels(cluster, server)
        spend = _alive(fleet, cluster, server, lambda book, server: book.price(server) / MICRO)
        if spend(0):  # nobody tells the spend of what has no price
            yield Memory("inference:cost_dollars_per_hour:server", labels, spend, day)


def mean(fleet: Fleet, begin: int, at: int, cluster: str, owner: Owner | None) -> float:
    """The mean pace of a stretch: of its parts between beginnings and ends of books."""
    edges = {
        begin,
        at,
        *(edge for book in fleet.books for edge in (book.begin, book.end) if begin < edge < at),
    }
    stretches = sorted(edges)
    return float(
        sum(fleet.pace(left, cluster, owner) * (right - left) for left, right in pairwise(stretches))
        / (at - begin)
    )


def _servers(fleet: Fleet, cluster: str) -> list[Server]:
    return list(
        dict.fromkeys(server for book in fleet.books if book.cluster == cluster for server in book.held)
    )


def _labels(cluster: str, server: Server) -> dict[str, str]:
    product, team = server.owner
    return {
        "cluster": cluster,
        "product": product,
        "team": team,
        "namespace": server.namespace,
        "server": server.name,
    }


def _alive(fleet: Fleet, cluster: str, server: Server, what: Callable[[Book, Server], float]) -> Value:
    """The sum over the hosts that a server is on, none where it is on none."""
    books = [book for book in fleet.books if book.cluster == cluster and server in book.held]

    def value(at: int) -> float | None:
        there = [what(book, server) for book in books if book.alive(at)]
        return sum(there) if there else None

    return value


def _rates(fleet: Fleet, cluster: str, begin: int, day: Sequence[int]) -> Iterator[Memory]:
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
        kinds = {**labels, "model": server.model}
        for kind, count in zip(KINDS, server.tokens, strict=True):
            rate = _alive(fleet, cluster, server, lambda book, server, n=count: n * book.count(server) / HOUR)
            yield Memory("inference:kind_tokens:rate5m", {**kinds, "kind": kind}, rate, day)
        if server.method != "role" and (each := sum(server.tokens)):
            price = [
                book.price(server) / each / book.count(server) for book in fleet.books if server in book.held
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
    fleet: Fleet, cluster: str, owner: Owner, minutes: Sequence[int], before: Sequence[int]
) -> Iterator[Memory]:
    labels = {"cluster": cluster, "product": owner[0], "team": owner[1]}
    whole = WEEK // HOUR

    def cost(at: int) -> float:
        return float(fleet.pace(at, cluster, owner)) / HOUR

    def held(at: int) -> float:
        return float(_gpus(fleet, at, cluster, owner))

    def tokens(at: int) -> float:
        return _tokens(fleet, at, cluster, owner)

    fortnight = (-13 * DAY - 12 * HOUR,)
    counted = any(server is not UNALLOCATED for server in _servers(fleet, cluster) if server.owner == owner)
    for rate, week, now, scale in (
        ("owner_cost_dollars:rate5m", "owner_cost_dollars:7d", cost, HOUR),
        ("gpus:owner", "owner_gpu_hours:7d", held, 1),
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


def _tokens(fleet: Fleet, at: int, cluster: str, owner: Owner) -> float:
    return (
        sum(
            sum(server.tokens)
            for book in fleet.books
            if book.cluster == cluster and book.alive(at)
            for server in book.held
            if server.owner == owner
        )
        / HOUR
    )


def _cost(book: Book, server: Server) -> float:
    return book.price(server) / MICRO / HOUR


def _busy(book: Book, server: Server) -> float:
    return _cost(book, server) * (server.shares[0] + server.shares[1]) / 1000


def _served(book: Book, server: Server) -> float:
    return sum(server.tokens) * book.count(server) / HOUR


def _held(book: Book, server: Server) -> float:
    return float(book.count(server))


MODELS = {"cost_dollars": _cost, "busy_cost_dollars": _busy, "tokens": _served, "model_gpus": _held}
"""What is recorded of each model, a second."""


def _sum(parts: Sequence[Value]) -> Value:
    def total(at: int) -> float | None:
        there = [value for part in parts if (value := part(at)) is not None]
        return sum(there) if there else None

    return total


def _idle(fleet: Fleet, cluster: str, server: Server) -> Value:
    share = server.shares[PHASES.index("idle")] / 1000
    return _alive(fleet, cluster, server, lambda book, server: book.price(server) * share / MICRO)


def _times(value: Value, factor: float) -> Value:
    def product(at: int) -> float | None:
        found = value(at)
        return None if found is None else found * factor

    return product
