"""Metrics of the inference servers: identity, tokens, load and how they are read."""

from collections.abc import Callable, Iterator
from typing import Final

from exporter.cost.load import load_ratios
from exporter.metrics import metric
from exporter.readings import LoadReading, ServerKey
from exporter.report import Report
from exporter.units import seconds


def _info(report: Report) -> Iterator[metric.Row]:
    """One row per server: an endpoint that is down has no engine, but its replicas have."""
    engines: dict[ServerKey, str] = {}
    for server in sorted(report.servers, key=lambda server: server.url):
        engines[server.key] = engines.get(server.key) or server.engine
    for unread in report.unread:
        engines[unread.key] = engines.get(unread.key) or unread.engine
    for key, engine in engines.items():
        yield (key.namespace, key.server, engine), 1.0


def _up(report: Report) -> Iterator[metric.Row]:
    for server in report.servers:
        yield (server.key.namespace, server.key.server, server.url), float(server.up)
    for key in sorted({one.key for one in report.unread if not one.url}):
        yield (*key, ""), 0.0


def _load(value: Callable[[LoadReading], float | None]) -> metric.Rows:
    """Rows of one number of the load; none for an owner whose server does not report it."""

    def rows(report: Report) -> Iterator[metric.Row]:
        for row in report.loads:
            requests = value(row.load)
            if requests is not None:
                yield metric.owner_labels(row.owner), requests

    return rows


ROWS: Final[tuple[metric.Metric, ...]] = (
    metric.counter(
        "inference_tokens_total",
        (*metric.OWNER_AND_MODEL, "kind"),
        "Tokens served, from the engine's own counters. Kind prompt: computed; cached_prompt: served from a "
        "prefix cache; generation: produced. Disaggregated pairs: prompts count on the prefill server, "
        "generation on the decode server. Absent for a kind that the engine does not report. Also absent "
        f"{metric.CHARGED}.",
        metric.of_totals(
            lambda totals: metric.keyed(
                totals.tokens, lambda key: (*metric.owner_labels(key[0]), key[1]), float
            )
        ),
    ),
    metric.counter(
        "inference_requests_total",
        metric.OWNER_AND_MODEL,
        "Requests finished, from the engine's own counters. Absent where the engine does not report them. "
        f"Also absent {metric.CHARGED}.",
        metric.of_totals(lambda totals: metric.keyed(totals.requests, metric.owner_labels, float)),
    ),
    metric.counter(
        "inference_server_preemptions_total",
        metric.OWNER_AND_MODEL,
        "Requests that gave up their KV cache for lack of it and are computed again, from the engine's own "
        "counters: time that is paid for twice. Absent where the engine does not report them. Also absent "
        f"{metric.CHARGED}.",
        metric.of_totals(lambda totals: metric.keyed(totals.preemptions, metric.owner_labels, float)),
    ),
    metric.gauge(
        "inference_server_last_token_timestamp_seconds",
        metric.OWNER_AND_MODEL,
        "When a token counter last increased: the end of that tick. Absent before the first token. Also "
        f"absent {metric.CHARGED}.",
        metric.of_totals(lambda totals: metric.keyed(totals.last_token, metric.owner_labels, seconds)),
    ),
    metric.gauge(
        "inference_server_info",
        ("namespace", "server", "engine"),
        "The inference servers of this host. An empty engine has not been recognized yet. Absent for a "
        "server that is neither configured nor discovered.",
        _info,
    ),
    metric.gauge(
        "inference_server_endpoint_info",
        ("namespace", "server", "pod", "url", "engine_version"),
        "The endpoints that are read; one server may have several. An empty label is unknown. Absent for an "
        "endpoint that is not read.",
        lambda report: (
            ((*server.key, server.pod, server.url, server.engine_version), 1.0) for server in report.servers
        ),
    ),
    metric.gauge(
        "inference_server_up",
        ("namespace", "server", "url"),
        "1: the endpoint answered in the last tick. 0: it did not. With an empty url, 0 is a discovered "
        "server without an endpoint: inference_server_unread_info has the reason. Absent for an endpoint "
        "that is not read.",
        _up,
    ),
    metric.gauge(
        "inference_server_unread_info",
        ("namespace", "server", "reason"),
        "Why a server was not read in the last tick: docs/unread.md has the remedy of each reason. "
        "Absent for a server that was read, that holds no GPU, or that the configuration reads elsewhere.",
        lambda report: (
            ((*key, reason.value), 1.0)
            for key, reason in sorted({(unread.key, unread.reason) for unread in report.unread})
        ),
    ),
    metric.gauge(
        "inference_split_info",
        ("namespace", "server", "model", "method"),
        "Method that splits a model's busy cost between prefill and decode. Method engine: the engine's own "
        "GPU seconds of each; time: an estimate from the seconds of its requests. Method weights: an "
        "assumption about the weight of each kind of token, not a measurement. Method role: nothing to "
        "split, since the server only prefills or only decodes. docs/split.md has the error of each method "
        "by load. Absent for a model whose busy dollars were not split in the last tick.",
        lambda report: (
            ((*split.owner.key, split.owner.model, split.method), 1.0) for split in report.splits
        ),
    ),
    metric.gauge(
        "inference_server_requests_running",
        metric.OWNER_AND_MODEL,
        "Requests being computed at the last read. Absent where the engine does not report them.",
        _load(lambda load: load.running),
    ),
    metric.gauge(
        "inference_server_requests_waiting",
        metric.OWNER_AND_MODEL,
        "Requests queued at the last read. Absent where the engine does not report them.",
        _load(lambda load: load.waiting),
    ),
    metric.gauge(
        "inference_server_load_ratio",
        (*metric.OWNER_AND_MODEL, "limit"),
        "Part of what the server can serve at once that was in use at the last read, 0 to 1. Limit kv_cache: "
        "the KV cache; sequences: running requests over their maximum. Replicas on one host count by their "
        "maximum. A queue has no maximum: it is inference_server_requests_waiting. Absent for a limit that "
        "neither the server nor its command line reports, or that a replica does not report.",
        lambda report: (
            ((*metric.owner_labels(row.owner), limit), used)
            for row in report.loads
            for limit, used in load_ratios(row.load).items()
        ),
    ),
    metric.gauge(
        "inference_server_headroom_dollars_per_hour",
        metric.OWNER_AND_MODEL,
        "Current busy spend times the load that the server could add: 1 minus the largest "
        "inference_server_load_ratio, 0 while requests wait. Not in the totals; idle spend comes on top. "
        "Absent without a load ratio, without priced GPUs, and while a GPU is not observed.",
        lambda report: metric.keyed(report.headroom, metric.owner_labels, float),
    ),
    metric.gauge(
        "inference_server_load_dollars_per_hour",
        metric.OWNER_AND_MODEL,
        "Current spend times the load: the largest inference_server_load_ratio, 1 while requests wait. Over "
        "tokens per hour it is what a token would cost at full load: a linear extrapolation. Not in the "
        "totals. Absent without a load ratio and without priced GPUs.",
        lambda report: metric.keyed(report.load_rates, metric.owner_labels, float),
    ),
)
