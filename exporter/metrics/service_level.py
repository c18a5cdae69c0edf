"""Metrics of service levels: observed latencies, shares within the objectives, and what tokens cost there."""

from collections.abc import Iterator
from typing import Final

from exporter.metrics import metric
from exporter.readings import ServerKey, ServiceLevel
from exporter.report import CommittedTotals, Report


@metric.of_totals
def _observed(totals: CommittedTotals) -> Iterator[metric.Row]:
    for key, count in totals.latencies.items():
        if key.part == "total":
            yield (*metric.owner_labels(key.owner), key.objective, key.basis), float(count)


@metric.of_totals
def _met(totals: CommittedTotals) -> Iterator[metric.Row]:
    for key, count in totals.latencies.items():
        if key.part != "total":
            yield (*metric.owner_labels(key.owner), key.objective, key.basis, key.part), float(count)


def _ratios(report: Report) -> Iterator[metric.Row]:
    for row in report.met:
        labels = (*metric.owner_labels(row.owner), row.measure, row.basis)
        yield (*labels, "lower"), float(row.ratio.lower)
        yield (*labels, "upper"), float(row.ratio.upper)


def _costs(report: Report) -> Iterator[metric.Row]:
    for row in report.met_costs:
        for bound, cost in (("lower", row.lower), ("upper", row.upper)):
            if cost is not None:
                yield (*metric.owner_labels(row.owner), bound), cost


def _levels(report: Report) -> Iterator[tuple[ServerKey, ServiceLevel]]:
    """The service level of each server; of endpoints that differ, the first by URL."""
    levels: dict[ServerKey, ServiceLevel] = {}
    for server in sorted(report.servers, key=lambda server: server.url):
        if server.slo is not None:
            levels.setdefault(server.key, server.slo)
    yield from levels.items()


def _objectives(report: Report) -> Iterator[metric.Row]:
    for key, level in _levels(report):
        for objective, seconds in level.seconds().items():
            yield (key.namespace, key.server, objective), seconds


ROWS: Final[tuple[metric.Metric, ...]] = (
    metric.counter(
        "inference_slo_observations_total",
        (*metric.OWNER_AND_MODEL, "objective", "basis"),
        "Latencies in the engine's own histograms, for servers with a slo. Basis requests: one for each "
        "request, per_token as its mean; tokens: one for each token. Counts begin with the slo. Absent "
        f"where the engine has no such histogram. Also absent {metric.CHARGED}.",
        _observed,
    ),
    metric.counter(
        "inference_slo_met_observations_total",
        (*metric.OWNER_AND_MODEL, "objective", "basis", "bound"),
        "Those of inference_slo_observations_total within the objective: at least (bound lower) and at most "
        "(upper), by the histogram's buckets on both sides. Both are equal where the objective is a bucket's "
        "bound. A changed objective counts from then on. Absent like the other.",
        _met,
    ),
    metric.gauge(
        "inference_slo_met_ratio",
        (*metric.OWNER_AND_MODEL, "objective", "basis", "bound"),
        "Share of the latencies of the last 60 whole minutes within the objective, at least and at most, of "
        "requests and of tokens apart. Objective all: every objective met, of which only bounds are known, "
        "since no histogram has both (at least a + b - 1, at most the smaller). It is absent where one of "
        "several shares is of tokens, and without each of inference_slo_objective_seconds. Absent without a "
        f"latency in the window, and without a slo. Also absent {metric.CHARGED}.",
        _ratios,
    ),
    metric.gauge(
        "inference_slo_cost_dollars_per_million_tokens",
        (*metric.OWNER_AND_MODEL, "bound"),
        "Dollars per million tokens within all objectives (goodput), at least and at most: "
        "inference_cost_dollars_per_million_tokens of kind all and basis full, over "
        "inference_slo_met_ratio of objective all. Assumes as many tokens per request within it as outside. "
        "Absent where either is absent, and bound upper where possibly none met it.",
        _costs,
    ),
    metric.gauge(
        "inference_slo_objective_seconds",
        ("namespace", "server", "objective"),
        "Configured objectives: first_token, the time from arrival to the first token; per_token, the time "
        "of each later one. Absent without a slo, and while the server is not read.",
        _objectives,
    ),
    metric.gauge(
        "inference_slo_target_ratio",
        ("namespace", "server"),
        "Configured share of requests that should meet each objective. Absent without a slo, and while the "
        "server is not read.",
        lambda report: ((tuple(key), level.target_ratio) for key, level in _levels(report)),
    ),
)
