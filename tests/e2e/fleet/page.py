"""What the exporter of each host would say: every metric of the table, by its expected host."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from exporter.cost.policy import Weights
from exporter.cost.quotients import per_million
from exporter.readings import KINDS, TokenKind
from tests.e2e.fleet.expected_hosts import (
    HOUR,
    HOURS_PER_MONTH,
    PHASES,
    UNALLOCATED,
    ExpectedFleet,
    ExpectedHost,
    FleetServer,
)

MICRO = 10**6
MILLION = 10**6
SHIFT = -60
"""When a part of the rent came to be for the network, and a new version with a new configuration began."""
MOVED = 50_000
"""Microdollars an hour; the price of a GPU stays what it was."""


@dataclass(frozen=True, slots=True)
class Line:
    """One series: its value at a second, none where the page does not have it then."""

    name: str
    labels: dict[str, str]
    at: Callable[[float], float | None]

    def series(self, **more: str) -> str:
        """As it stands on a page."""
        labels = ",".join(f'{key}="{value}"' for key, value in sorted({**self.labels, **more}.items()))
        return f"{self.name}{{{labels}}}" if labels else self.name


def always(value: float) -> Callable[[float], float]:
    """The same at all times."""
    return lambda _: value


def since(begin: int, slope: int, per: int, before: int = 0) -> Callable[[float], float]:
    """What accrues from a beginning on, `slope / per` each second, divided once."""
    return lambda at: (before + slope * (at - begin)) / per


def owned(server: FleetServer) -> dict[str, str]:
    """The labels of a server's money."""
    product, team = server.owner
    return {"product": product, "team": team, "namespace": server.namespace, "server": server.name}


def server_labels(server: FleetServer) -> dict[str, str]:
    """The labels of a server without its owner."""
    return {"namespace": server.namespace, "server": server.name}


def page(host: ExpectedHost, fleet: ExpectedFleet, now: int) -> Iterator[Line]:
    """All series of one host; `now` is the second, since the epoch, that times count from."""
    for server in host.servers():
        yield from _money(host, server)
        if server is not UNALLOCATED:
            yield from _serving(host, server, fleet, now)
    yield from _month(host, fleet, now)
    for index, _ in enumerate(host.gpus):
        yield from _gpu(host, index)
    yield from _meter(host, fleet, now)


def _money(host: ExpectedHost, server: FleetServer) -> Iterator[Line]:
    labels = {**owned(server), "model": server.model}
    price = host.price(server)
    for phase, share in zip(PHASES, server.shares, strict=True):
        cost = since(host.begin, price * share, MICRO * 1000 * HOUR)
        yield Line("inference_cost_dollars_total", {**labels, "phase": phase}, cost)
        gpu_seconds = since(host.begin, host.count(server) * share, 1000)
        yield Line("inference_gpu_seconds_total", {**labels, "phase": phase}, gpu_seconds)
    if price:
        yield Line("inference_cost_dollars_per_hour", labels, always(price / MICRO))
    if price and server is UNALLOCATED:
        finding = {**owned(server), "kind": "unallocated", "form": "cash"}
        yield Line("inference_saving_dollars_per_month", finding, always(price * HOURS_PER_MONTH / MICRO))
    for component in ("rent", "network"):
        part = sum(getattr(gpu, component) for gpu, holder in host.pairs() if holder == server and gpu.basis)
        total = since(host.begin, part, MICRO * HOUR)
        yield Line("inference_server_cost_dollars_total", {**owned(server), "component": component}, total)


def _serving(host: ExpectedHost, server: FleetServer, fleet: ExpectedFleet, now: int) -> Iterator[Line]:
    labels = {**owned(server), "model": server.model}
    count = host.count(server)
    for kind, tokens in zip(KINDS, server.tokens, strict=True):
        total = since(host.begin, tokens * count, HOUR)
        yield Line("inference_tokens_total", {**labels, "kind": kind}, total)
    each = sum(server.tokens) * count
    yield Line("inference_requests_total", labels, since(host.begin, each, HOUR * 1000))
    served = host.begin if not each else None
    yield Line(
        "inference_server_last_token_timestamp_seconds",
        labels,
        lambda at: float(now + (at if served is None else served)),
    )
    yield Line("inference_server_requests_running", labels, always(2.0 if each else 0.0))
    yield Line("inference_server_requests_waiting", labels, always(0.0))
    if each:
        yield Line("inference_server_load_ratio", {**labels, "limit": "sequences"}, always(0.25))
        busy = host.price(server) * sum(server.shares[:2]) / 1000
        yield Line("inference_server_headroom_dollars_per_hour", labels, always(busy * 0.75 / MICRO))
        yield from _level(host, server, labels)
        yield Line("inference_server_load_dollars_per_hour", labels, always(host.price(server) / 4 / MICRO))
        yield Line("inference_server_preemptions_total", labels, since(host.begin, count, HOUR))
    for (kind, basis), price in _quotients(host, server):
        words = {**labels, "kind": kind, "basis": basis}
        yield Line("inference_cost_dollars_per_million_tokens", words, always(price))
    if each and fleet.hosted:
        offer = since(host.begin, fleet.hosted * each, MICRO * MILLION * HOUR)
        yield Line("inference_hosted_equivalent_dollars_total", {**labels, "reference": "offer"}, offer)
    url = f"http://{host.instance.split(':')[0]}:8000/metrics"
    yield Line("inference_server_info", {**server_labels(server), "engine": "vllm"}, always(1))
    yield Line("inference_server_up", {**server_labels(server), "url": url}, always(float(server.up)))
    if not server.up:
        yield Line(
            "inference_server_unread_info", {**server_labels(server), "reason": "connection"}, always(1)
        )
    yield Line(
        "inference_server_endpoint_info",
        {**server_labels(server), "pod": f"{server.name}-0", "url": url, "engine_version": "0.9"},
        always(1),
    )
    split = {**server_labels(server), "model": server.model, "method": server.method}
    yield Line("inference_split_info", split, always(1))
    yield Line("inference_server_gpus", server_labels(server), always(float(count)))


OBSERVED = 1000
"""One request for so many tokens."""
MET = {"first_token": (900, 960), "per_token": (950, 950)}
"""Thousandths of the requests within each objective, at least and at most."""


def _level(host: ExpectedHost, server: FleetServer, labels: dict[str, str]) -> Iterator[Line]:
    """The service level of a server with tokens: its objectives, and the requests within them."""
    each = sum(server.tokens) * host.count(server)
    for objective, (lower, upper) in MET.items():
        words = {**labels, "objective": objective, "basis": "requests"}
        yield Line("inference_slo_observations_total", words, since(host.begin, each, HOUR * OBSERVED))
        for bound, met in (("lower", lower), ("upper", upper)):
            total = since(host.begin, each * met, HOUR * OBSERVED * 1000)
            yield Line("inference_slo_met_observations_total", {**words, "bound": bound}, total)
            ratio = always(met / 1000)
            yield Line("inference_slo_met_ratio", {**words, "bound": bound}, ratio)
        seconds = {**server_labels(server), "objective": objective}
        yield Line("inference_slo_objective_seconds", seconds, always(0.5))
    for bound, met in (("lower", 900 + 950 - 1000), ("upper", 950)):
        words = {**labels, "objective": "all", "basis": "requests", "bound": bound}
        yield Line("inference_slo_met_ratio", words, always(met / 1000))
    yield Line("inference_slo_target_ratio", server_labels(server), always(0.9))
    for (kind, basis), price in _quotients(host, server):
        if (kind, basis) == ("all", "full"):
            for bound, met in (("lower", 950), ("upper", 850)):
                words = {**labels, "bound": bound}
                cost = always(price * 1000 / met)
                yield Line("inference_slo_cost_dollars_per_million_tokens", words, cost)


def _quotients(host: ExpectedHost, server: FleetServer) -> Iterable[tuple[tuple[str, str], float]]:
    """As an exporter prints them: none of a part of a pair, none while a GPU that is held has no price."""
    if server.method == "role":
        return ()
    dearness = host.price(server)
    money = {
        phase: dearness * share * MICRO // 1000 for phase, share in zip(PHASES, server.shares, strict=True)
    }
    tokens: dict[TokenKind, int] = {
        kind: each * host.count(server) for kind, each in zip(KINDS, server.tokens, strict=True)
    }
    unpriced = sum(holder == server and not gpu.basis for gpu, holder in host.pairs())
    return per_million(money, tokens, Weights(), unpriced).items()


def _month(host: ExpectedHost, fleet: ExpectedFleet, now: int) -> Iterator[Line]:
    ledger = {"ledger": host.ledger}
    run_rate = sum(gpu.price for gpu in host.gpus) * HOURS_PER_MONTH / MICRO
    yield Line("inference_monthly_run_rate_dollars", ledger, always(run_rate))
    for (product, team, basis), (before, rate) in host.postings().items():
        labels = {"product": product, "team": team, "price_basis": basis, **ledger}
        month = since(host.begin, rate, MICRO * HOUR, before * HOUR)
        yield from _months({**labels}, fleet, month, rate)
        projected = {"product": product, "month": fleet.month}
        if basis == "configured" and rate:
            end = since(host.begin, rate, MICRO * HOUR, before * HOUR)(fleet.month_end)
            yield Line("inference_month_projected_dollars", projected, _until(fleet, always(end)))
    owners: Counter[tuple[str, str]] = Counter()
    for (product, team, _basis), (_before, rate) in host.postings().items():
        owners[product, team] += rate
    for (product, team), rate in owners.items():
        if rate:
            owner = {"product": product, "team": team}
            yield Line("inference_cost_at_first_price_dollars_per_hour", owner, always(rate / MICRO))
    here = {"month": fleet.month}
    ratio = "inference_month_price_change_ratio"
    metered = "inference_month_metered_since_timestamp_seconds"
    since_when = always(float(now + max(fleet.month_begin, host.begin)))
    ends = "inference_month_end_timestamp_seconds"
    yield Line(ratio, here, _until(fleet, always(1.0)))
    yield Line(metered, here, _until(fleet, since_when))
    before_it = _until(fleet, always(float(now + fleet.month_begin)))
    yield Line(ends, {"month": fleet.last_month}, before_it)
    yield Line(ends, here, always(float(now + fleet.month_end)))
    if fleet.next_month:
        there = {"month": fleet.next_month}
        since_then = always(float(now + max(fleet.month_end, host.begin)))
        yield Line(ratio, there, _from(fleet, always(1.0)))
        yield Line(metered, there, _from(fleet, since_then))
        yield Line(ends, there, _from(fleet, always(float(now + fleet.next_end))))
    for name, product, dollars in fleet.budgets:
        yield Line("inference_budget_dollars", {"budget": name, "product": product}, always(float(dollars)))
    yield Line("inference_budget_configured", {}, always(1.0))
    gpus = float(len(host.gpus))
    yield Line("inference_gpus_expected", {}, always(gpus))
    yield Line("inference_gpus_visible", {}, always(gpus))
    yield Line("inference_gpu_replaced_total", {}, always(0.0))
    yield Line("inference_price_catalogue_timestamp_seconds", {}, always(float(now - 30 * 86_400)))
    yield Line("inference_web_refused_requests_total", {"reason": "host"}, always(0.0))
    for component, amount in fleet.overheads:
        overhead = always(amount / MICRO)
        yield Line("inference_fleet_overhead_dollars_per_hour", {"component": component}, overhead)
    if fleet.hosted:
        for kind in KINDS:
            yield Line(
                "inference_hosted_price_dollars_per_million_tokens",
                {"reference": "offer", "kind": kind},
                always(fleet.hosted / MICRO),
            )


def _months(
    labels: dict[str, str], fleet: ExpectedFleet, dollars: Callable[[float], float], rate: int
) -> Iterator[Line]:
    """The dollars of two months at a time: the one before goes when this one ends, and the next one comes."""
    name = "inference_month_to_date_dollars"
    last = _until(fleet, always(rate * 720 / MICRO))
    yield Line(name, {**labels, "month": fleet.last_month}, last)
    yield Line(name, {**labels, "month": fleet.month}, lambda at: dollars(min(at, fleet.month_end)))
    if fleet.next_month:
        rest = _from(fleet, lambda at: dollars(at) - dollars(fleet.month_end))
        yield Line(name, {**labels, "month": fleet.next_month}, rest)


def _until(fleet: ExpectedFleet, value: Callable[[float], float]) -> Callable[[float], float | None]:
    """What is there until the month ends, where another follows it."""
    return lambda at: None if fleet.next_month and at >= fleet.month_end else value(at)


def _from(fleet: ExpectedFleet, value: Callable[[float], float]) -> Callable[[float], float | None]:
    """What is there from the month's end on."""
    return lambda at: value(at) if at >= fleet.month_end else None


def _gpu(host: ExpectedHost, index: int) -> Iterator[Line]:
    gpu, server = host.gpus[index], host.gpu_servers[index]
    labels = {"uuid": gpu.uuid, "gpu_model": gpu.model}
    for component, amount, moved in (("rent", gpu.rent, -MOVED), ("network", gpu.network, MOVED)):
        part = {**labels, "component": component}
        yield Line(
            "inference_gpu_cost_dollars_total",
            part,
            since(host.begin, amount if gpu.basis else 0, MICRO * HOUR),
        )
        if gpu.basis:
            yield Line("inference_gpu_price_dollars_per_hour", part, _shifted(amount, moved))
            price_labels = {"price_basis": gpu.basis, "source": "hardware[0].rented", "as_of": ""}
            yield Line("inference_price_info", {**part, **price_labels}, always(1))
    unpriced = since(host.begin, 0 if gpu.basis else 1, 1)
    busy = sum(server.shares[:3]) / 1000
    info = {
        "gpu": str(index),
        "driver_version": "580.95.05",
        "mig_profile": "",
        "pci_bus_id": f"00000000:{index:02x}:00.0",
    }
    yield Line("inference_gpu_info", {**labels, **info}, always(1))
    yield Line("inference_gpu_up", labels, always(float(gpu.up)))
    yield Line("inference_gpu_priced", labels, always(float(bool(gpu.basis))))
    yield Line("inference_gpu_unpriced_seconds_total", labels, unpriced)
    yield Line("inference_gpu_utilization_ratio", labels, always(busy))
    yield Line("inference_gpu_memory_used_bytes", labels, always(20e9 if server is not UNALLOCATED else 0.0))
    yield Line("inference_gpu_memory_total_bytes", labels, always(80e9))
    yield Line("inference_gpu_power_watts", labels, always(100 + 500 * busy))
    yield Line("inference_gpu_energy_joules_total", labels, since(host.begin, int(100 + 500 * busy), 1))
    if server is not UNALLOCATED:
        share = {**server_labels(server), "uuid": gpu.uuid, "method": "whole"}
        yield Line("inference_server_gpu_share_ratio", share, always(1))


def _shifted(amount: int, moved: int) -> Callable[[float], float]:
    return lambda at: (amount + (moved if at >= SHIFT else 0)) / MICRO


def _meter(host: ExpectedHost, fleet: ExpectedFleet, now: int) -> Iterator[Line]:
    failing = not all(gpu.up for gpu in host.gpus)
    lives = [other.begin for other in fleet.hosts if other.ledger == host.ledger]
    begun = float(now + min(lives, default=host.begin))
    for source, well in (("nvml", True), ("processes", True), ("servers", not failing)):
        label = {"source": source}
        yield Line("inference_source_up", label, always(float(well)))
        yield Line("inference_source_read_duration_seconds", label, always(0.004))
        last = (lambda at: float(now + at)) if well else always(float(now - 2 * HOUR))
        yield Line("inference_source_last_success_timestamp_seconds", label, last)
        errors = since(host.begin, 0 if well else 1, 60)
        yield Line("inference_source_errors_total", {**label, "reason": "timeout"}, errors)
    yield Line("inference_last_tick_timestamp_seconds", {}, lambda at: float(now + at))
    yield Line("inference_ledger_last_commit_timestamp_seconds", {}, lambda at: float(now + at))
    yield Line("inference_ledger_begun_timestamp_seconds", {}, always(begun))
    yield Line("inference_ledger_residual_dollars", {}, always(0))
    yield Line("inference_ledger_persistent", {}, always(1))
    yield Line("inference_gap_uncharged_seconds_total", {}, always(0))
    yield Line("inference_config_last_reload_success", {}, always(float(not failing)))
    yield Line("inference_config_last_reload_timestamp_seconds", {}, always(begun))
    yield Line("inference_web_config_last_reload_success", {}, always(1.0))
    yield Line("inference_exposition_errors_total", {"reason": "raised"}, always(0.0))
    yield from _changed("inference_config_info", {"hash": "5eed"}, {"hash": "beef"})
    version = {"revision": "", "python": "3.13"}
    yield from _changed(
        "inference_exporter_info", {"version": "0.1", **version}, {"version": "0.2", **version}
    )
    yield Line("process_resident_memory_bytes", {}, always(5e7))
    yield Line("process_cpu_seconds_total", {}, since(host.begin, 1, 100))
    yield Line("process_start_time_seconds", {}, lambda at: begun if at < SHIFT else float(now + SHIFT))


def _changed(name: str, old: dict[str, str], new: dict[str, str]) -> Iterator[Line]:
    yield Line(name, old, lambda at: 1 if at < SHIFT else None)
    yield Line(name, new, lambda at: None if at < SHIFT else 1)
