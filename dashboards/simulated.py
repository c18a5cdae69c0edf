"""A simulated fleet of any size, as the records that the dashboards read, in a Prometheus of its own.

    with prometheus(Fleet(hosts=40), AT, ("24h",)) as url: ...

The records are written here, not evaluated: a fleet of 2,000 hosts and its month fit into a minute. Servers
have a day and a week, one product doubled, a host is silent, a cluster is lost, and budgets are passed.
"""

import math
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

HOUR, DAY = 3600, 86_400
AT: Final = int(datetime(2026, 11, 18, 14, tzinfo=UTC).timestamp())
"""The moment at which the dashboards are opened; a Wednesday afternoon."""
MONTH_BEGIN: Final = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
MONTH_END: Final = int(datetime(2026, 12, 1, tzinfo=UTC).timestamp())
DOUBLED: Final = int(datetime(2026, 11, 10, 9, tzinfo=UTC).timestamp())
"""When the second product doubled."""
HOURS_PER_MONTH: Final = 730
GPUS_PER_HOST: Final = 8
READY_SECONDS: Final = 60
PHASES: Final = ("prefill", "decode", "other", "idle", "unobserved")
KINDS: Final = {"prompt": 0.6, "cached_prompt": 0.25, "generation": 0.15}
GPU_MODELS: Final = (("NVIDIA H100 80GB HBM3", 2.5), ("NVIDIA L40S", 1.2), ("NVIDIA A100-SXM4-80GB", 1.8))
MODELS: Final = (
    "Llama-3.3-70B", "Qwen3-8B", "Qwen3-32B", "gpt-oss-120b", "Mistral-Small-3.2", "DeepSeek-V3.2",
    "Gemma-3-27B", "bge-m3",
)  # fmt: skip
PRODUCTS: Final = (
    "chat", "search", "assistant", "summaries", "translation", "support", "code", "moderation", "research",
    "mail", "ads", "voice", "docs", "planner", "risk", "tutor",
)  # fmt: skip

Course = Callable[[int], float | None]


@dataclass(frozen=True, slots=True)
class Server:
    """One workload in one cluster."""

    cluster: str
    product: str
    team: str
    server: str
    model: str
    gpus: int
    gpu_model: str
    price: float
    idle: float
    """Share of its money over a day."""

    @property
    def owner(self) -> dict[str, str]:
        """Its labels up to the team."""
        return {"cluster": self.cluster, "product": self.product, "team": self.team}

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return self.owner | {
            "namespace": "" if self.server == "unallocated" else "prod",
            "server": self.server,
        }

    def rate(self, at: int) -> float:
        """Dollars per hour."""
        grown = 1 if self.product != PRODUCTS[1] or at >= DOUBLED else 0.5
        return self.gpus * self.price * grown

    def idle_share(self, at: int) -> float:
        """More at night and on Sundays."""
        if self.server == "unallocated" or self.idle >= 1:
            return 1
        hour = at % DAY / HOUR
        night = 0.5 - 0.5 * math.cos(2 * math.pi * (hour - 14) / 24)
        sunday = 0.2 if (at // DAY + 4) % 7 == 0 else 0
        return min(0.97, self.idle * (0.5 + night) + sunday)

    def spent(self, at: int) -> float:
        """Dollars of the month."""
        before = max(0, min(at, DOUBLED) - MONTH_BEGIN) / HOUR * self.rate(MONTH_BEGIN)
        return before + max(0, at - DOUBLED) / HOUR * self.rate(DOUBLED)

    def phases(self, at: int) -> dict[str, float]:
        """Dollars per hour by phase."""
        idle = self.idle_share(at)
        shares = ((1 - idle) * 0.3, (1 - idle) * 0.6, (1 - idle) * 0.08, idle, (1 - idle) * 0.02)
        return {phase: self.rate(at) * share for phase, share in zip(PHASES, shares, strict=True)}

    def tokens(self, at: int) -> float:
        """A second."""
        return 0 if self.idle >= 1 else 900 * self.gpus * (1 - self.idle_share(at))


@dataclass
class Fleet:
    """Clusters of up to 100 hosts; every cluster runs every product."""

    hosts: int
    servers: list[Server] = field(default_factory=list)
    clusters: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        many = max(1, self.hosts // 100) if self.hosts != 40 else 2
        self.clusters = (
            [""] if self.hosts == 1 else [f"{'eu' if n % 2 else 'us'}-{n // 2 + 1}" for n in range(many)]
        )
        products = {1: 2, 40: 9}.get(self.hosts, 40)
        for position, cluster in enumerate(self.clusters):
            gpu_model, price = GPU_MODELS[position % len(GPU_MODELS)]
            left = self.hosts * GPUS_PER_HOST // many
            for number in range(products):
                name = PRODUCTS[number % len(PRODUCTS)] + ("" if number < len(PRODUCTS) else f"-{number}")
                weight = 2 / (number + 2) / sum(2 / (n + 2) for n in range(products))
                gpus = min(left, max(1, int(self.hosts * GPUS_PER_HOST / many * 0.93 * weight)))
                left -= gpus
                model = MODELS[number % len(MODELS)]
                idle = 1.0 if number == products - 1 > 1 else 0.15 + 0.07 * (number % 6)
                server = f"{name}-{model.split('-')[0].lower()}"
                team = f"team-{number % 7}"
                self.servers.append(Server(cluster, name, team, server, model, gpus, gpu_model, price, idle))
            if left:
                self.servers.append(
                    Server(cluster, "unassigned", "unassigned", "unallocated", "", left, gpu_model, price, 1)
                )

    def lost(self) -> str:
        """The cluster that sends nothing, of a large fleet."""
        return self.clusters[-1] if self.hosts > 100 else "none"


def series(name: str, labels: dict[str, str]) -> str:
    """As text, without empty labels."""
    text = ",".join(f'{key}="{value}"' for key, value in labels.items() if value)
    return f"{name}{{{text}}}" if text else name


def total(parts: list[tuple[dict[str, str], Course]]) -> list[tuple[dict[str, str], Course]]:
    """What has the same labels is added."""
    by_labels: dict[tuple[tuple[str, str], ...], list[Course]] = {}
    for labels, course in parts:
        by_labels.setdefault(tuple(labels.items()), []).append(course)
    return [
        (dict(labels), lambda at, courses=courses: sum(course(at) or 0 for course in courses))  # type: ignore[misc]
        for labels, courses in by_labels.items()
    ]


def recorded(fleet: Fleet) -> Iterator[tuple[str, dict[str, str], Course]]:
    """What is drawn over time: the record, its labels, and its value at a second."""
    servers = fleet.servers
    month = {"month": "2026-11"}

    def each(
        name: str, parts: list[tuple[dict[str, str], Course]]
    ) -> Iterator[tuple[str, dict[str, str], Course]]:
        for labels, course in total(parts):
            yield name, labels, course

    yield from each("inference:spend_dollars_per_hour:owner", [(s.owner, s.rate) for s in servers])
    yield from each("inference:spend_dollars_per_hour", [({"cluster": s.cluster}, s.rate) for s in servers])
    yield from each("inference:month_to_date_dollars:owner", [(s.owner | month, s.spent) for s in servers])
    yield from each(
        "inference:month_to_date_dollars", [({"cluster": s.cluster} | month, s.spent) for s in servers]
    )
    yield from each(
        "inference:waste_dollars_per_hour", [(s.owner, lambda at, s=s: s.phases(at)["idle"]) for s in servers]
    )
    yield from each(
        "inference:waste_dollars_per_hour:server",
        [(s.labels, lambda at, s=s: s.phases(at)["idle"]) for s in servers],
    )
    yield from each(
        "inference:phase_dollars_per_hour:owner",
        [
            (s.owner | {"phase": phase}, lambda at, s=s, phase=phase: s.phases(at)[phase])
            for s in servers
            for phase in PHASES
        ],
    )
    holder = [s for s in servers if s.model]
    yield from each(
        "inference:model_cost_dollars:1h",
        [
            (s.owner | {"model": s.model, "phase": phase}, lambda at, s=s, phase=phase: s.phases(at)[phase])
            for s in holder
            for phase in PHASES
        ],
    )
    for name, scale in (("inference:model_tokens:rate5m", 1), ("inference:model_tokens:1h", HOUR)):
        yield from each(
            name,
            [
                (
                    s.owner | {"model": s.model, "kind": kind},
                    lambda at, s=s, part=part, scale=scale: scale * part * s.tokens(at),
                )
                for s in holder
                for kind, part in KINDS.items()
            ],
        )
    rest = sum(s.rate(AT) for s in servers)
    for level, factor in (("", 1.0), (":low", 0.93), (":high", 1.08)):
        yield (
            f"inference:fleet_month_projected_dollars{level}",
            month,
            lambda at, factor=factor: (
                sum(s.spent(at) for s in servers)
                + factor
                * (rest if at > DOUBLED + 26 * HOUR else sum(s.rate(at - DAY) for s in servers))
                * (MONTH_END - at)
                / HOUR
            ),
        )
    for budget, product, dollars in budgets(fleet):
        yield (
            "inference:budget_dollars",
            {"budget": budget, "product": product},
            lambda _, dollars=dollars: dollars,
        )
    for model in {s.gpu_model for s in servers}:
        for cluster in fleet.clusters:
            mine = [s for s in servers if s.cluster == cluster and s.gpu_model == model]
            if mine:
                labels = {"cluster": cluster, "gpu_model": model}
                yield (
                    "inference:gpu_price_dollars_per_hour:model",
                    labels,
                    lambda at, mine=mine: (
                        sum(s.gpus * s.price for s in mine) * (1.05 if at > AT - 6 * HOUR else 1)
                    ),
                )
                yield "inference:gpus_priced:model", labels, lambda _, mine=mine: sum(s.gpus for s in mine)
    for cluster in fleet.clusters:
        count = max(1, fleet.hosts // len(fleet.clusters))
        labels = {"cluster": cluster}
        yield (
            "inference:exporters",
            labels | {"version": "0.1.0"},
            lambda at, n=count: n if at < AT - 9 * HOUR else n // 4 or None,
        )
        yield (
            "inference:exporters",
            labels | {"version": "0.2.0"},
            lambda at, n=count: None if at < AT - 9 * HOUR else n - n // 4,
        )
        for source, seconds in (
            ("nvml", 0.006),
            ("processes", 0.03),
            ("chat-llama", 0.012),
            ("kubelet", 0.02),
        ):
            yield (
                "inference:source_read_duration_seconds",
                labels | {"source": source},
                lambda at, x=seconds: x * (1 + 0.3 * math.sin(at / 5000)),
            )
        yield (
            "inference:source_errors:rate5m",
            labels | {"source": "chat-llama", "reason": "timeout"},
            lambda at: 0.01 if at % DAY < 2 * HOUR else 0,
        )


def budgets(fleet: Fleet) -> list[tuple[str, str, float]]:
    """The fleet's, a second one of the fleet, and one of each product."""
    hours = (MONTH_END - MONTH_BEGIN) / HOUR
    rate = sum(s.rate(AT) for s in fleet.servers)
    if fleet.hosts == 1:
        return [("fleet", "", 27_000.0)]
    budgets = [
        ("fleet", "", round(rate * hours * 0.97, -2)),
        ("board limit", "", round(rate * hours * 1.15, -2)),
    ]
    for number, product in enumerate(dict.fromkeys(s.product for s in fleet.servers if s.model)):
        of_product = sum(s.rate(AT) for s in fleet.servers if s.product == product)
        budgets.append((product, product, round(of_product * hours * (0.7 + 0.11 * (number % 6)), -1)))
    return budgets


def _levels(s: Server) -> Iterator[tuple[str, dict[str, str], float]]:
    """The service level of a server with tokens, and what those within it cost."""
    price = s.rate(AT) / (s.tokens(AT) * 0.0036)
    for objective, lower, upper in (("first_token", 0.94, 0.98), ("per_token", 0.97, 0.97)):
        for bound, share in (("lower", lower), ("upper", upper)):
            labels = s.labels | {"objective": objective, "basis": "requests", "bound": bound}
            yield "inference:server_slo_met_ratio:1h", labels, share
    for bound, share, other in (("lower", 0.91, 0.97), ("upper", 0.97, 0.91)):
        labels = s.labels | {"bound": bound}
        yield "inference:server_slo_met_all_ratio:1h", labels, share
        yield "inference:server_slo_cost_dollars_per_million_tokens:1h", labels, price / other


def looked_at(fleet: Fleet) -> Iterator[tuple[str, dict[str, str], float]]:
    """What is asked for this moment only."""
    servers = fleet.servers
    rate = sum(s.rate(AT) for s in servers)
    left = (MONTH_END - AT) / HOUR
    month = {"month": "2026-11"}
    yield "inference:fleet_hours_per_month", {}, HOURS_PER_MONTH
    yield "inference:budget_configured", {}, 1 if fleet.hosts > 1 else 0
    by_cluster: dict[str, list[Server]] = {}
    by_owner: dict[tuple[str, str], list[Server]] = {}
    for s in servers:
        by_cluster.setdefault(s.cluster, []).append(s)
        by_owner.setdefault((s.product, s.team), []).append(s)
    yield "inference:fleet_month_hours_left", month, left
    for cluster, mine in by_cluster.items():
        here = {"cluster": cluster}
        of_cluster = sum(s.rate(AT) for s in mine)
        yield "inference:monthly_run_rate_dollars", here, of_cluster * HOURS_PER_MONTH
        yield (
            "inference:month_projected_dollars",
            here | month,
            sum(s.spent(AT) for s in mine) + of_cluster * left,
        )
        yield "inference:month_metered_since_timestamp_seconds", here | month, MONTH_BEGIN + 31 * HOUR
        yield "inference:month_unmetered_hours", here | month, 31 if cluster == fleet.clusters[-1] else 0
        yield "inference:month_end_timestamp_seconds", here | month, MONTH_END
        yield "inference:month_end_timestamp_seconds", here | {"month": "2026-10"}, MONTH_BEGIN
        yield (
            "inference:hosts_metered",
            here,
            0 if cluster == fleet.lost() else max(1, fleet.hosts // len(by_cluster)),
        )
        yield "inference:gpus_unpriced", here, 0
        yield "inference:closed_month_dollars", here | {"month": "2026-10"}, of_cluster * 640
        for basis, part in (("configured", 0.7), ("catalogue", 0.25), ("estimate", 0.05)):
            labels = here | {"month": "2026-10", "price_basis": basis}
            yield "inference:closed_month_dollars:price_basis", labels, of_cluster * 640 * part
        free = [s for s in mine if s.server == "unallocated"]
        for s in free:
            yield "inference:unallocated_dollars_per_hour", s.labels, s.rate(AT)
            hosts = max(1, s.gpus // 6)
            for number in range(hosts):
                labels = here | {"instance": f"{cluster or 'gpu'}-{number}:9844", "gpu_model": s.gpu_model}
                yield "inference:unallocated_dollars_per_hour:host", labels, s.rate(AT) / hosts
                yield "inference:unallocated_gpus:host", labels, s.gpus / hosts
        if fleet.hosts > 1 and cluster == fleet.clusters[0]:
            for number in (3, 7):
                labels = here | {
                    "instance": f"{cluster}-{number}:9844",
                    "node": f"{cluster}-{number}",
                    "ledger": f"l{number}",
                }
                yield "inference:host_silent_since_timestamp_seconds", labels, AT - 1000 * number
                owner = mine[0].owner
                yield "inference:silent_dollars_per_hour:host", labels | owner, 8 * mine[0].price
                yield "inference:silent_dollars_per_hour:owner", owner, 16 * mine[0].price
            yield "inference:month_unposted_dollars", here | month, 100 * mine[0].price
            yield "inference:gpu_nodes_unmetered", here | {"node": f"{cluster}-new-1"}, 1
        if cluster == fleet.lost():
            yield "inference:cluster_silent_since_timestamp_seconds", here, AT - 3 * HOUR
            for s in mine:
                yield "inference:lost_dollars_per_hour:owner", s.owner, s.rate(AT)
            yield "inference:month_unposted_dollars", here | month, 3 * of_cluster
    for (product, team), mine in by_owner.items():
        owner = {"product": product, "team": team}
        spent, now = sum(s.spent(AT) for s in mine), sum(s.rate(AT) for s in mine)
        for level, factor in (("owner", 1.0), ("owner_low", 0.92), ("owner_high", 1.09)):
            yield f"inference:month_projected_dollars:{level}", owner | month, spent + factor * now * left
        yield "inference:fleet_overhead_dollars_per_hour:owner", owner, 0.1 * now
    yield "inference:fleet_overhead_dollars_per_hour", {}, 0.1 * rate
    for budget, product, dollars in budgets(fleet):
        mine = [s for s in servers if product in ("", s.product)]
        spent, now = sum(s.spent(AT) for s in mine), sum(s.rate(AT) for s in mine)
        labels = {"budget": budget, "product": product} | month
        yield "inference:budget_month_to_date_dollars", labels, spent
        yield "inference:budget_month_projected_dollars", labels, spent + now * left
        yield "inference:budget_spent_ratio", labels, spent / dollars
        yield "inference:budget_projected_ratio", labels, (spent + now * left) / dollars
        if spent + now * left > dollars:
            yield (
                "inference:budget_runs_out_timestamp_seconds",
                labels,
                AT + max(0, dollars - spent) / now * HOUR,
            )
    for s in servers:
        yield "inference:monthly_run_rate_dollars:owner", s.owner, s.rate(AT) * HOURS_PER_MONTH
        yield "inference:closed_month_dollars:owner", s.owner | {"month": "2026-10"}, s.rate(AT) * 640
        phases = s.phases(AT)
        means = [s.phases(AT - hour * HOUR) for hour in range(24)]
        yield "inference:cost_dollars_per_hour:server", s.labels, s.rate(AT)
        yield "inference:party_gpus:rate5m", s.labels | {"model": s.model}, s.gpus
        idle = sum(mean["idle"] for mean in means) / 24
        yield "inference:waste_dollars_per_hour:server_1d", s.labels, idle
        yield (
            "inference:observed_dollars_per_hour:server_1d",
            s.labels,
            sum(value for mean in means for phase, value in mean.items() if phase != "unobserved") / 24,
        )
        yield (
            "inference:busy_dollars_per_hour",
            s.labels,
            sum(phases.values()) - phases["idle"] - phases["unobserved"],
        )
        for name in ("cost_dollars", "gpu_hours", "gpu_hour_price", "tokens_per_gpu_hour"):
            yield f"inference:{name}:week_ratio", s.owner, 1.0 + (len(s.product) % 5 - 2) / 20
        yield "inference:owner_cost_dollars:7d", s.owner, 168 * s.rate(AT)
        if not s.model or s.idle >= 1:
            found = s.labels | {"kind": "deserted" if s.model else "unallocated", "form": "cash"}
            yield "inference:saving_dollars_per_month:server", found, s.rate(AT) * HOURS_PER_MONTH
        if not s.model:
            continue
        tokens = sum(s.tokens(AT - hour * HOUR) for hour in range(24)) / 24
        yield "inference:server_tokens:rate5m", s.labels, s.tokens(AT)
        yield "inference:server_tokens:rate1d", s.labels, tokens
        yield "inference:server_last_token_timestamp_seconds", s.labels, AT - (30 if tokens else 3 * DAY)
        if tokens:
            paid, load = s.rate(AT) / (s.tokens(AT) * 0.0036), 0.2 + 0.6 * (1 - s.idle)
            yield "inference:server_cost_dollars_per_million_tokens:1h", s.labels, paid
            yield "inference:server_load_ratio:1h", s.labels, load
            yield "inference:server_full_load_cost_dollars_per_million_tokens:1h", s.labels, paid * load
            yield "inference:server_headroom_dollars_per_hour", s.labels, (s.rate(AT) - idle) * (1 - load)
            yield from _levels(s)
        if s.idle >= 1:
            yield "inference:unused_dollars_per_hour:server", s.labels, s.rate(AT)
            yield "inference:idle_down_dollars_per_hour", s.labels, s.rate(AT)
        model = s.owner | {"model": s.model}
        for phase in PHASES:
            yield (
                "inference:model_cost_dollars:1d",
                model | {"phase": phase},
                sum(mean[phase] for mean in means),
            )
        for kind, part in KINDS.items():
            yield "inference:model_tokens:1d", model | {"kind": kind}, part * tokens * DAY
            yield "inference:model_tokens:rate1d", model | {"kind": kind}, part * tokens
            if tokens:
                cost = s.rate(AT) / (s.tokens(AT) * 0.0036) * (4 if kind == "generation" else 0.5)
                yield "inference:model_dollars_per_million_tokens:kind", model | {"kind": kind}, cost
        hosted = 0.9 if s.gpus > 40 else 0.3
        yield (
            "inference:model_hosted_dollars:1d",
            model | {"reference": f"hosted {s.model}"},
            tokens * DAY * hosted / 1e6,
        )
    yield (
        "ALERTS",
        {
            "alertname": "InferenceSpendProjectedOverBudget",
            "alertstate": "firing",
            "severity": "ticket",
            "product": "fleet",
        },
        1,
    )
    if fleet.hosts > 1:
        yield (
            "ALERTS",
            {
                "alertname": "InferenceHostsMissing",
                "alertstate": "firing",
                "severity": "ticket",
                "cluster": fleet.clusters[0],
            },
            1,
        )
        yield (
            "ALERTS",
            {
                "alertname": "InferenceServerServesNothing",
                "alertstate": "firing",
                "severity": "ticket",
                "cluster": fleet.clusters[0],
                "product": "research",
            },
            1,
        )


def scraped(fleet: Fleet) -> Iterator[tuple[str, dict[str, str], Course]]:
    """The exporters' own series, as far as the dashboards of hosts and of the meter ask for them."""
    each = max(1, fleet.hosts // len(fleet.clusters))
    for cluster in fleet.clusters:
        if cluster == fleet.lost():
            continue
        mine = [s for s in fleet.servers if s.cluster == cluster]
        for number in range(each):
            if fleet.hosts > 1 and cluster == fleet.clusters[0] and number in (3, 7):
                continue
            here = {"cluster": cluster, "instance": f"{cluster or 'gpu'}-{number}:9844"}
            now: list[tuple[str, dict[str, str], float]] = [
                ("inference_exporter_info", {"version": "0.2.0"}, 1),
                ("inference_ledger_residual_dollars", {}, 0),
                ("inference_ledger_persistent", {}, 1),
                ("inference_config_last_reload_success", {}, 1),
                ("inference_gap_uncharged_seconds_total", {}, 0),
                ("process_start_time_seconds", {}, AT - 9 * HOUR),
                ("process_resident_memory_bytes", {}, 44e6),
                ("inference:ledger_seen_timestamp_seconds", {"ledger": f"{cluster}{number}"}, AT),
            ]
            now += [
                ("inference_source_up", {"source": source}, 1) for source in ("nvml", "processes", "kubelet")
            ]
            now.append(("inference_source_up", {"source": "chat-llama"}, 0 if number == 5 else 1))
            for name, labels, value in now:
                yield name, here | labels, lambda _, value=value: value
            for source in ("nvml", "chat-llama"):
                silent = 400 if source == "chat-llama" and number == 5 else 0
                yield (
                    "inference_source_last_success_timestamp_seconds",
                    here | {"source": source},
                    lambda at, silent=silent: at - silent,
                )
            yield (
                "inference_source_errors_total",
                here | {"source": "chat-llama", "reason": "timeout"},
                lambda at: (at - AT) / 100 + 5e4,
            )
            yield "inference_last_tick_timestamp_seconds", here, lambda at: at - 7
            yield "inference_ledger_last_commit_timestamp_seconds", here, lambda at: at - 7
            yield "process_cpu_seconds_total", here, lambda at: (at - AT) * 0.006 + 4e4
            holder = (
                [s for s in mine if s.model][number % max(1, len(mine) - 1)] if len(mine) > 1 else mine[0]
            )
            yield (
                "inference_server_gpus",
                here | {"namespace": "prod", "server": holder.server},
                lambda _: GPUS_PER_HOST,
            )
            yield from _load(
                here | {"namespace": "prod", "server": holder.server, "model": holder.model}, holder
            )
            for index in range(GPUS_PER_HOST):
                yield from _gpu(here, holder, index, first=number == 0)


def _load(labels: dict[str, str], holder: Server) -> Iterator[tuple[str, dict[str, str], Course]]:
    for limit, part in (("kv_cache", 0.8), ("sequences", 0.6)):
        yield (
            "inference_server_load_ratio",
            labels | {"limit": limit},
            lambda at, part=part: part * (1 - holder.idle_share(at)),
        )
    yield "inference_server_requests_waiting", labels, lambda at: max(0, 40 * (0.2 - holder.idle_share(at)))
    yield "inference_server_preemptions_total", labels, lambda at: (at - AT) / 300 + 5e4


def _gpu(
    here: dict[str, str], holder: Server, index: int, *, first: bool
) -> Iterator[tuple[str, dict[str, str], Course]]:
    gpu = here | {"uuid": f"GPU-{here['instance'].partition(':')[0]}-{index}", "gpu_model": holder.gpu_model}

    def busy(at: int) -> float:
        return max(0.02, 1 - holder.idle_share(at + 900 * index))

    for component, part in (("rent", 0.9), ("energy", 0.06), ("storage", 0.04)):
        yield (
            "inference_gpu_price_dollars_per_hour",
            gpu | {"component": component},
            lambda _, part=part: part * holder.price,
        )
    yield "inference_gpu_priced", gpu, lambda _: 1
    yield "inference_gpu_up", gpu, lambda _, lost=index == 7 and first: 0 if lost else 1
    if not first:
        return
    yield "inference_gpu_utilization_ratio", gpu, busy
    yield "inference_gpu_memory_used_bytes", gpu, lambda _: 71e9
    yield "inference_gpu_memory_total_bytes", gpu, lambda _: 85e9
    yield "inference_gpu_power_watts", gpu, lambda at: 90 + 500 * busy(at)
    yield "inference_gpu_energy_joules_total", gpu, lambda at: 300 * (at - AT + 90 * DAY)
    if index < 7:
        labels = here | {"namespace": "prod", "server": holder.server, "uuid": gpu["uuid"], "method": "whole"}
        yield "inference_server_gpu_share_ratio", labels, lambda _: 1


def samples(fleet: Fleet, spans: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, float, int]]:
    """Everything, as series, value and second; `spans` are ranges of time and their steps, in seconds."""
    drawn = sorted({AT - position * step for span, step in spans for position in range(span // step + 1)})
    for name, labels, course in recorded(fleet):
        text = series(name, labels)
        for at in drawn:
            value = course(at)
            if value is not None and (at >= MONTH_BEGIN or "month" not in labels):
                yield text, value, at
    for name, labels, value in looked_at(fleet):
        text = series(name, labels)
        # A day ago everything was a twentieth smaller, and the first product had another server.
        if name in {
            "inference:cost_dollars_per_hour:server",
            "inference:party_gpus:rate5m",
            "inference:server_tokens:rate5m",
        }:
            factor = 0.9 if len(labels["product"]) % 2 else 1.0
            yield text, factor * value, AT - DAY
        yield text, value, AT
    near = sorted({*range(AT - HOUR, AT + 1, 60)})
    for name, labels, course in scraped(fleet):
        text = series(name, labels)
        first = labels.get("uuid", "").rpartition("-")[0].endswith("-0") and name != "inference_gpu_priced"
        for at in drawn if first else (near if name.endswith("_total") else (AT,)):
            value = course(at)
            if value is not None:
                yield text, value, at


@contextmanager
def prometheus(fleet: Fleet, spans: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """The address of a Prometheus that has these samples, and scrapes and evaluates nothing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = folder / "samples.txt"
        with text.open("w", encoding="utf-8") as file:
            file.writelines(f"{line} {value!r} {at}\n" for line, value, at in samples(fleet, spans))
            file.write("# EOF\n")
        command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=1458h"]
        subprocess.run(  # noqa: S603 - its own command
            [*command, str(text), str(folder / "data")], check=True, capture_output=True, timeout=600
        )
        text.unlink()
        (folder / "prometheus.yml").write_text("")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        arguments = (
            f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
            "--storage.tsdb.retention.time=100y", f"--web.listen-address={address}", "--log.level=error",
        )  # fmt: skip
        program = shutil.which("prometheus")
        if program is None:
            raise FileNotFoundError("prometheus is not on PATH: apt-get install prometheus")
        with subprocess.Popen([program, *arguments]) as process:  # noqa: S603 - its own command
            try:
                _ready(f"http://{address}")
                yield f"http://{address}"
            finally:
                process.terminate()


def _ready(url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=5):  # noqa: S310 - of the program above
                return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
