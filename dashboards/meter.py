"""Meter health: whether the figures are right, and what is not metered."""

from typing import Final

import links as to
import queries as q
from board import board, with_panels
from gpus import unreadable
from grafana_foundation_sdk.builders import dashboard
from panels import ANY_IS_BAD, BALANCE_STEPS, GPU_KEYS, NEUTRAL, STALE, Panel, lines, number, rows
from queries import Query, dollars, ratio

UID: Final = to.METER

_SHOWN: Final = 50
_HOST_LINKS: Final = (
    to.Link("GPUs of this host", to.GPUS, ("cluster", "instance")),
    to.Link("This host alone", to.METER, ("cluster", "instance")),
)
_CLUSTER_LINKS: Final = (
    to.Link("This cluster alone", to.METER, ("cluster",)),
    to.Link("Spend of this cluster", to.FLEET, ("cluster",)),
)
_LINKS: Final = {"uuid": _HOST_LINKS, "instance": _HOST_LINKS, "cluster": _CLUSTER_LINKS}

_HOSTS: Final = Query(
    f"count(group by (cluster, instance) (inference_exporter_info{{{q.HOST}}}))", "locale", "answering"
)
_SILENT: Final = Query(
    f"count(inference:host_silent_since_timestamp_seconds{{{q.HOST}}})", "locale", "silent"
)
_LOST: Final = Query(
    f"count(inference:cluster_silent_since_timestamp_seconds{{{q.CLUSTER}}})", "locale", "clusters lost"
)
_RESIDUAL: Final = dollars(f"max(abs(inference_ledger_residual_dollars{{{q.HOST}}}))")
_FAILING: Final = Query(f"sum(1 - inference_source_up{{{q.HOST}}})", "locale")
_UNPRICED: Final = Query(f"sum(1 - inference_gpu_priced{{{q.HOST}}})", "locale")
_OLDEST: Final = Query(f"time() - min(inference_last_tick_timestamp_seconds{{{q.HOST}}})", "s")

# Tables of faults, empty without any
_BY_SOURCE: Final = "cluster, instance, source"
_DOWN: Final = f"inference_source_up{{{q.HOST}}} == 0"
_SOURCE_SILENT: Final = Query(
    f"(time() - max by ({_BY_SOURCE}) (inference_source_last_success_timestamp_seconds{{{q.HOST}}}))"
    f" and on ({_BY_SOURCE}) ({_DOWN})",
    "s",
)
_SOURCE_ERRORS: Final = Query(
    f"sum by ({_BY_SOURCE}) (increase(inference_source_errors_total{{{q.HOST}}}[1h]))"
    f" and on ({_BY_SOURCE}) ({_DOWN})",
    "short",
)
_NOT_PRICED: Final = Query(
    f"topk({_SHOWN}, count by ({q.BY_GPU}) (inference_gpu_priced{{{q.HOST}}} == 0))", "short"
)
_NOT_READABLE: Final = Query(
    f"topk({_SHOWN}, count by ({q.BY_GPU}) (inference_gpu_up{{{q.HOST}}} == 0))", "short"
)
# Rent alone, which has one row: several components would be several rows of the same GPU.
_ESTIMATED: Final = dollars(
    f"topk({_SHOWN},"
    f' max by ({q.BY_GPU}) (inference_gpu_price_dollars_per_hour{{{q.HOST},component="rent"}})'
    f' and on ({q.BY_GPU}) inference_price_info{{{q.HOST},component="rent",price_basis="estimate"}})'
)
_UNPRICED_TIME: Final = Query(
    f"topk({_SHOWN}, max by ({q.BY_GPU}) (inference_gpu_unpriced_seconds_total{{{q.HOST}}} > 0))", "s"
)

_SILENT_HOST: Final = (
    f"max by (cluster, node, instance) (inference:host_silent_since_timestamp_seconds{{{q.HOST}}})"
)
_SILENT_SINCE: Final = Query(f"topk({_SHOWN}, time() - ({_SILENT_HOST} > 0))", "s")
_SILENT_RATE: Final = dollars(
    f"sum by (cluster, node, instance) (inference:silent_dollars_per_hour:host{{{q.HOST}}})"
)
_NEVER_SEEN: Final = Query(f"count by (cluster, node, instance) ({_SILENT_HOST} == 0)", "short")
_UNMETERED: Final = Query(
    f"topk({_SHOWN}, count by (cluster, node) (inference:gpu_nodes_unmetered{{{q.CLUSTER}}}))", "short"
)

# One row per exporter. Every program has process_ metrics; the exporter's have inference_exporter_info too.
_BY_HOST: Final = "cluster, instance"
_OURS: Final = f"and on ({_BY_HOST}) inference_exporter_info{{{q.HOST}}}"
_AGE: Final = f"time() - max by ({_BY_HOST}) (inference_last_tick_timestamp_seconds{{{q.HOST}}})"
_OLDEST_TICKS: Final = q.largest(_SHOWN, _AGE, _BY_HOST)
_TICK: Final = Query(f"topk({_SHOWN}, {_AGE})", "s")


def _of_exporter(expr: str) -> str:
    return f"({expr}) {_OLDEST_TICKS}"


_COMMIT: Final = Query(
    _of_exporter(
        f"time() - max by ({_BY_HOST}) (inference_ledger_last_commit_timestamp_seconds{{{q.HOST}}})"
    ),
    "s",
)
_ON_DISK: Final = Query(
    _of_exporter(f"min by ({_BY_HOST}) (inference_ledger_persistent{{{q.HOST}}})"), "short"
)
_UNCHARGED: Final = Query(
    _of_exporter(f"max by ({_BY_HOST}) (inference_gap_uncharged_seconds_total{{{q.HOST}}})"), "s"
)
_RELOADED: Final = Query(
    _of_exporter(f"min by ({_BY_HOST}) (inference_config_last_reload_success{{{q.HOST}}})"), "short"
)
_STARTED: Final = Query(
    _of_exporter(f"time() - max by ({_BY_HOST}) (process_start_time_seconds{{{q.HOST}}} {_OURS})"), "s"
)
_MEMORY: Final = Query(
    _of_exporter(f"max by ({_BY_HOST}) (process_resident_memory_bytes{{{q.HOST}}} {_OURS})"), "bytes"
)
_CPU: Final = ratio(
    _of_exporter(f"max by ({_BY_HOST}) (rate(process_cpu_seconds_total{{{q.HOST}}}[5m]) {_OURS})")
)

_VERSIONS: Final = Query(f"sum by (version) (inference:exporters{{{q.CLUSTER}}})", "short", "{{version}}")
_DURATION: Final = Query(
    f"max by (source) (inference:source_read_duration_seconds{{{q.CLUSTER}}})", "s", "{{source}}"
)
_ERRORS: Final = Query(
    f"3600 * sum by (source, reason) (inference:source_errors:rate5m{{{q.CLUSTER}}})",
    "short",
    "{{source}} {{reason}}",
)


def meter() -> dashboard.Dashboard:
    """First row: numbers that are 0 unless a part of the cost is not metered."""
    empty = board(
        "meter health",
        UID,
        "Are the figures right, and where is the meter blind?",
        ("cluster", "instance"),
        refresh="1m",
    )
    return with_panels(empty, *_at_a_glance(), *_which(), *_exporters(), *_courses())


def _at_a_glance() -> tuple[Panel, ...]:
    return (
        number(
            "Hosts",
            "Exporters that answer; hosts that are believed to run and do not answer; and clusters that "
            "send nothing. No `silent`: every host answers. No `clusters lost`: every cluster sends.",
            _HOSTS,
            _SILENT,
            _LOST,
            decimals=0,
        ),
        number(
            "Books residual",
            "Dollars accrued minus dollars posted, the worst of all hosts. Anything but 0 is a bug: "
            "please report it. Absent: no exporter is answering.",
            _RESIDUAL,
            steps=BALANCE_STEPS,
        ),
        number(
            "Sources failing",
            "NVML, the inference servers and whatever else the exporters read; the table names them. "
            "Absent: no exporter is answering.",
            _FAILING,
            steps=ANY_IS_BAD,
            decimals=0,
        ),
        number(
            "GPUs without a price",
            "Their cost is in no figure until a price is configured; the table names them. "
            "Absent: no exporter sees a GPU.",
            _UNPRICED,
            steps=ANY_IS_BAD,
            decimals=0,
        ),
        unreadable(),
        number(
            "Oldest tick",
            "Age of the exporter that is furthest behind; after three intervals its gauges are absent. "
            "Absent: no exporter has ticked.",
            _OLDEST,
            steps=STALE,
            decimals=0,
        ),
    )


def _which() -> tuple[Panel, ...]:
    return (
        rows(
            "Failing sources",
            "No row: every source answers. An empty age: the source has never answered.",
            (("source", "Source"), ("instance", "Host"), ("cluster", "Cluster")),
            (("Since last success", _SOURCE_SILENT, NEUTRAL), ("Errors, 1 h", _SOURCE_ERRORS, NEUTRAL)),
            links=_LINKS,
            width=9,
            height=7,
        ),
        rows(
            "GPUs without a price, estimated or not readable",
            "No row: every GPU is readable and has a configured or listed price. What hardware cost "
            "in unpriced time is in no figure here until a price comes that covers it; what an "
            "estimate came to is in all of them.",
            GPU_KEYS,
            (
                ("Unpriced time", _UNPRICED_TIME, NEUTRAL),
                ("Without a price", _NOT_PRICED, ANY_IS_BAD),
                ("Estimate, per hour", _ESTIMATED, NEUTRAL),
                ("Not readable", _NOT_READABLE, ANY_IS_BAD),
            ),
            links=_LINKS,
            width=15,
            height=7,
        ),
        rows(
            "GPU nodes without an exporter",
            "No row: none, or kube-state-metrics is not scraped, or every node has one.",
            (("node", "Node"), ("cluster", "Cluster")),
            (("Without", _UNMETERED, ANY_IS_BAD),),
            links={"cluster": _CLUSTER_LINKS},
            width=9,
            height=6,
        ),
        rows(
            f"Silent hosts, the {_SHOWN} that are silent for longest",
            "Hosts that are believed to run and whose exporter does not answer. Their spend continues "
            "at its last rate. An empty age: the host has never answered. No row: every host answers.",
            (("instance", "Host"), ("node", "Node"), ("cluster", "Cluster")),
            (
                ("Silent for", _SILENT_SINCE, NEUTRAL),
                ("Last rate, per hour", _SILENT_RATE, NEUTRAL),
                ("Never answered", _NEVER_SEEN, ANY_IS_BAD),
            ),
            links=_LINKS,
            width=15,
            height=6,
        ),
    )


def _exporters() -> tuple[Panel, ...]:
    return (
        rows(
            f"Exporters, the {_SHOWN} whose last tick is oldest",
            "On disk 0: a restart would lose what is metered now. Reloaded 0: the configuration was refused "
            "and the one before is in force. No row: no exporter answers. "
            "An empty cell: not known, as the age of a ledger that was not written since the start.",
            (("instance", "Host"), ("cluster", "Cluster")),
            (
                ("Since last tick", _TICK, STALE),
                ("Since last commit", _COMMIT, NEUTRAL),
                ("On disk", _ON_DISK, NEUTRAL),
                ("Reloaded", _RELOADED, NEUTRAL),
                ("Time not charged", _UNCHARGED, NEUTRAL),
                ("Since start", _STARTED, NEUTRAL),
                ("Memory", _MEMORY, NEUTRAL),
                ("CPU, of one", _CPU, NEUTRAL),
            ),
            links=_LINKS,
            width=24,
            height=8,
        ),
    )


def _courses() -> tuple[Panel, ...]:
    return (
        lines(
            "Exporters by version",
            "Filtered by cluster only. A gap: no exporter was answering.",
            _VERSIONS,
            width=8,
            height=7,
            stacked=True,
        ),
        lines(
            "Longest read by source",
            "Of all hosts of the chosen clusters. "
            "A gap: no exporter was answering, or the source is not in use.",
            _DURATION,
            width=8,
            height=7,
        ),
        lines(
            "Errors per hour, by source and reason",
            "At the rate of five minutes, partial ones included. Filtered by cluster only. "
            "A gap: that error has not occurred since the exporters started.",
            _ERRORS,
            width=8,
            height=7,
        ),
    )
