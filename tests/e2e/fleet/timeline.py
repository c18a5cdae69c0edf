"""Hours of a fleet on paper: what the clusters' files record of it, minute by minute, and what is true of it.

Two clusters grow, lose a node, a host's answers and each other; one gets another name, a ledger is replaced,
the month ends, and a host moves. Seconds count from the story's begin. Amounts are fractions.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from tests.e2e.fleet.expected_hosts import FOREVER, HOUR, ExpectedHost, FleetServer, Owner
from tests.e2e.fleet.fleets import CHAT_70B, PREFILL, SEARCH_8B, gpus
from tests.e2e.fleet.rule_unit_tests import number

MINUTE = 60
MONTH, NEXT = "m1", "m2"
MONTH_BEGIN, MONTH_END, NEXT_END = -740 * HOUR, 4 * HOUR, 748 * HOUR
GROWTH, NODE_LOST, SILENT, ANSWERS = 20 * MINUTE, 40 * MINUTE, 60 * MINUTE, 85 * MINUTE
LOST, BACK = 100 * MINUTE, 160 * MINUTE
RENAMED, REPLACED, MOVED = 180 * MINUTE, 210 * MINUTE, MONTH_END + 15 * MINUTE
END = MOVED + 15 * MINUTE
BUDGETS = (("fleet", "", 27_000), ("chat", "chat", 6_000))
RECORDED_SECONDS = 5 * MINUTE
"""For how long a cluster records the month of a host that answers no more."""


def make_host(
    name: str, ledger: str, count: int, server: FleetServer, cents: int, begin: int, end: int = FOREVER
) -> ExpectedHost:
    """A host of GPUs at two cents an hour; `cents` are in its month before the first of its hours."""
    return ExpectedHost(
        name.partition("-")[0],
        name,
        ledger,
        gpus(name, count, "NVIDIA L4", 15_000, 5_000),
        (server,) * count,
        begin,
        end,
        ((server.owner, cents * 10_000),),
    )


LONG_AGO = -100 * HOUR
HOSTS = (
    make_host("east-1", "e1", 4, CHAT_70B, 612_345, LONG_AGO, REPLACED),
    make_host("east-1", "e1-new", 4, CHAT_70B, 0, REPLACED),
    make_host("east-2", "e2", 2, SEARCH_8B, 0, GROWTH),
    make_host("west-1", "w1", 2, PREFILL, 76_011, LONG_AGO),
    make_host("west-2", "w2", 1, SEARCH_8B, 15_507, LONG_AGO, NODE_LOST),
    make_host("west-3", "w3", 1, SEARCH_8B, 4_099, LONG_AGO),
)


def cluster(host: ExpectedHost, at: int) -> str:
    """The name of the cluster that reports a host."""
    if host.ledger == "w1" and at >= MOVED:
        return "eu"
    if host.cluster == "east":
        return "eu" if at >= RENAMED else "east"
    return host.cluster


def silent(host: ExpectedHost, at: int) -> bool:
    """Whether a host is there and does not answer."""
    return host.ledger == "e2" and SILENT <= at < ANSWERS


def lost(name: str, at: int) -> bool:
    """Whether nothing of a cluster arrives."""
    return name == "west" and LOST <= at < BACK


def last_answer(host: ExpectedHost, at: int) -> int | None:
    """When the center last had a scrape of a ledger."""
    for moment in range(min(at, host.end - MINUTE), host.begin - 1, -MINUTE) if at >= host.begin else ():
        if not silent(host, moment) and not lost(cluster(host, moment), moment):
            return moment
    return None


def posted(host: ExpectedHost, at: int, month: str) -> dict[tuple[str, str, str], Fraction]:
    """Dollars of a month by product, team and price basis that a ledger has at a second."""
    whole = host.month(at)
    if at < MONTH_END:
        return whole if month == MONTH else {}
    closed = host.month(MONTH_END) if host.begin <= MONTH_END else {}
    if month == MONTH:
        return closed
    return {key: amount - closed.get(key, 0) for key, amount in whole.items()}


Labels = tuple[tuple[str, str], ...]
Series = tuple[str, Labels]


def labeled(**labels: str) -> Labels:
    """Labels in their order, without those that are empty."""
    return tuple(sorted((key, value) for key, value in labels.items() if value))


def arriving(at: int) -> Iterator[tuple[Series, Fraction]]:
    """What the clusters record at a second, as far as it arrives."""
    here: dict[str, list[ExpectedHost]] = {}
    for host in HOSTS:
        if host.begin <= at:
            here.setdefault(cluster(host, at), []).append(host)
    for name, hosts in here.items():
        if not lost(name, at):
            yield from _recorded(name, hosts, at)


def _recorded(name: str, hosts: list[ExpectedHost], at: int) -> Iterator[tuple[Series, Fraction]]:
    whose = {"cluster": name}
    answering = [host for host in hosts if host.alive(at) and not silent(host, at)]
    quiet = [host for host in hosts if host.alive(at) and silent(host, at)]
    for host in hosts:
        last = last_answer(host, at)
        if last is not None and at - last <= RECORDED_SECONDS and cluster(host, last) == name:
            for month in (MONTH, NEXT):
                for (product, team, basis), dollars in posted(host, last, month).items():
                    posting = labeled(
                        **whose,
                        ledger=host.ledger,
                        month=month,
                        product=product,
                        team=team,
                        price_basis=basis,
                    )
                    yield ("inference:month_to_date_dollars:posting", posting), dollars
    for host in answering:
        where = labeled(**whose, ledger=host.ledger, instance=host.instance, node=host.instance)
        yield ("inference:ledger_seen_timestamp_seconds", where), Fraction(at)
        if any(other.instance == host.instance and other.end == host.begin for other in HOSTS):
            host_of_it = labeled(**whose, instance=host.instance, node=host.instance)
            for record in ("inference:ledger_replaced", "inference:ledger_begun_anew"):
                yield (record, host_of_it), Fraction(host.begin)
    for host in quiet:
        where = labeled(**whose, ledger=host.ledger, instance=host.instance, node=host.instance)
        yield ("inference:host_silent_since_timestamp_seconds", where), Fraction(SILENT - MINUTE)
    for record, group in (("cost", answering), ("silent", quiet)):
        yield from _rates(record, whose, group)
    yield ("inference:hosts_metered", labeled(**whose)), Fraction(len(answering))
    yield ("inference:cluster_heartbeat_timestamp_seconds", labeled(**whose)), Fraction(at)
    yield ("inference:hours_per_month", labeled(**whose)), Fraction(730)
    yield ("inference:budget_configured:cluster", labeled(**whose)), Fraction(1)
    for budget, product, dollars in BUDGETS:
        which = labeled(**whose, budget=budget, product=product)
        yield ("inference:budget_dollars:cluster", which), Fraction(dollars)
    open_month, begin = (MONTH, MONTH_BEGIN) if at < MONTH_END else (NEXT, MONTH_END)
    for month, end in ((MONTH, MONTH_END), *([(NEXT, NEXT_END)] if at >= MONTH_END else [])):
        which = labeled(**whose, month=month)
        yield ("inference:month_end_timestamp_seconds:cluster", which), Fraction(end)
        yield ("inference:month_end_timestamp_seconds:zones", which), Fraction(1)
    since = max(begin, min(host.begin for host in hosts))
    metered = labeled(**whose, month=open_month)
    yield ("inference:month_metered_since_timestamp_seconds:cluster", metered), Fraction(since)


def _rates(
    record: str, whose: dict[str, str], hosts: list[ExpectedHost]
) -> Iterator[tuple[Series, Fraction]]:
    owners: Counter[Owner] = Counter()
    servers: Counter[FleetServer] = Counter()
    for host in hosts:
        for gpu, server in host.pairs():
            owners[server.owner] += gpu.price
            servers[server] += gpu.price
        product, team = host.gpu_servers[0].owner
        where = labeled(
            **whose,
            ledger=host.ledger,
            instance=host.instance,
            node=host.instance,
            product=product,
            team=team,
        )
        price = Fraction(sum(gpu.price for gpu in host.gpus), 10**6)
        yield (f"inference:{record}_dollars_per_hour:host", where), price
    for (product, team), price in owners.items():
        owner = labeled(**whose, product=product, team=team)
        kinds = ("cost", "cost_at_first_price", "cost_at_rest_price") if record == "cost" else (record,)
        for kind in kinds:
            yield (f"inference:{kind}_dollars_per_hour:owner", owner), Fraction(price, 10**6)
    if record == "cost":
        for server, price in servers.items():
            product, team = server.owner
            what = labeled(
                **whose, product=product, team=team, namespace=server.namespace, server=server.name
            )
            yield ("inference:cost_dollars_per_hour:server", what), Fraction(price, 10**6)
        if hosts:
            yield ("inference:cost_dollars_per_hour", labeled(**whose)), Fraction(sum(owners.values()), 10**6)


def history(end: int = END) -> dict[Series, list[Fraction | None]]:
    """All that arrives, by series: a value for each minute, none where none arrives."""
    rows: dict[Series, list[Fraction | None]] = {}
    for minute in range(end // MINUTE + 1):
        for series, value in arriving(minute * MINUTE):
            values = rows.setdefault(series, [])
            values.extend([None] * (minute - len(values)))
            values.append(value)
    return rows


def written(series: Series, values: list[Fraction | None]) -> dict[str, str]:
    """One input of a unit test: a rule that yields nothing more leaves a mark, a lost cluster none."""
    name, labels = series
    whose = dict(labels)["cluster"]
    words: list[str] = []
    gone = True
    for minute, value in enumerate([*values, *([None] if len(values) * MINUTE <= END else [])]):
        if value is not None:
            words.append(number(float(value)))
            gone = False
        elif gone or lost(whose, minute * MINUTE):
            words.append("_")
        else:
            words.append("stale")
            gone = True
    text = ",".join(f'{key}="{value}"' for key, value in labels)
    return {"series": f"{name}{{{text}}}", "values": " ".join(words)}


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of the fleet at a second, as far as the center can know it."""

    at: int

    def month(self, month: str) -> dict[tuple[str, Owner], Fraction]:
        """Dollars by cluster and owner: where each ledger was seen last, and what it had then."""
        sums: dict[tuple[str, Owner], Fraction] = {}
        for host in HOSTS:
            last = last_answer(host, self.at)
            for (product, team, _), dollars in posted(host, last, month).items() if last is not None else ():
                key = cluster(host, last or 0), (product, team)
                sums[key] = sums.get(key, Fraction()) + dollars
        return {key: dollars for key, dollars in sums.items() if dollars}

    def spend(self) -> dict[tuple[str, Owner], Fraction]:
        """Dollars an hour by cluster and owner: of silent hosts and lost clusters too, of lost nodes not."""
        sums: dict[tuple[str, Owner], Fraction] = {}
        for host in HOSTS:
            if host.alive(self.at):
                for gpu, server in host.pairs():
                    key = cluster(host, self.at), server.owner
                    sums[key] = sums.get(key, Fraction()) + Fraction(gpu.price, 10**6)
        return sums
