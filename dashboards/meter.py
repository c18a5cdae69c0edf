"""Meter health: can the figures be believed, and where is the meter blind."""

from typing import Final

import queries as q
from board import board
from gpus import unreadable
from grafana_foundation_sdk.builders import dashboard
from panels import ANY_IS_BAD, BOOKS, NEUTRAL, STALE, lines, number, rows
from queries import Query

UID: Final = "inference-cost-meter"

_HOSTS: Final = Query(
    f"count(group by (cluster, instance) (inference_exporter_info{{{q.HOST}}}))", "short", "reporting"
)
_MISSING: Final = Query(f"sum(inference:hosts_missing{{{q.CLUSTER}}})", "short", "missing")
_RESIDUAL: Final = Query(f"max(abs(inference_ledger_residual_dollars{{{q.HOST}}}))", "currencyUSD")
_FAILING: Final = Query(f"sum(1 - inference_source_up{{{q.HOST}}})", "short")
_UNPRICED: Final = Query(f"sum(1 - inference_gpu_priced{{{q.HOST}}})", "short")
_OLDEST: Final = Query(f"time() - min(inference_last_tick_timestamp_seconds{{{q.HOST}}})", "s")

# Which ones: rows of what is wrong, no row where all is well
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
_NOT_PRICED: Final = Query(f"count by ({q.BY_GPU}) (inference_gpu_priced{{{q.HOST}}} == 0)", "short")
_NOT_READABLE: Final = Query(f"count by ({q.BY_GPU}) (inference_gpu_up{{{q.HOST}}} == 0)", "short")
# Of a rent, whose origin one row tells: several components would be several rows of the same GPU.
_ESTIMATED: Final = Query(
    f'max by ({q.BY_GPU}) (inference_gpu_price_dollars_per_hour{{{q.HOST},component="rent"}})'
    f' and on ({q.BY_GPU}) inference_price_info{{{q.HOST},component="rent",price_basis="estimate"}}',
    "currencyUSD",
)
_UNPRICED_TIME: Final = Query(
    f"sum by ({q.BY_GPU}) (inference_gpu_unpriced_seconds_total{{{q.HOST}}} > 0)", "s"
)

_UNMETERED: Final = Query(f"count by (cluster, node) (inference:gpu_nodes_unmetered{{{q.CLUSTER}}})", "short")

# One row per exporter. Every program has process_ metrics: those beside inference_exporter_info are ours.
_BY_HOST: Final = "cluster, instance"
_OURS: Final = f"and on ({_BY_HOST}) inference_exporter_info{{{q.HOST}}}"
_TICK: Final = Query(f"time() - max by ({_BY_HOST}) (inference_last_tick_timestamp_seconds{{{q.HOST}}})", "s")
_COMMIT: Final = Query(
    f"time() - max by ({_BY_HOST}) (inference_ledger_last_commit_timestamp_seconds{{{q.HOST}}})", "s"
)
_ON_DISK: Final = Query(f"min by ({_BY_HOST}) (inference_ledger_persistent{{{q.HOST}}})", "short")
_UNCHARGED: Final = Query(f"max by ({_BY_HOST}) (inference_gap_uncharged_seconds_total{{{q.HOST}}})", "s")
_RELOADED: Final = Query(f"min by ({_BY_HOST}) (inference_config_last_reload_success{{{q.HOST}}})", "short")
_STARTED: Final = Query(f"time() - max by ({_BY_HOST}) (process_start_time_seconds{{{q.HOST}}} {_OURS})", "s")
_MEMORY: Final = Query(f"max by ({_BY_HOST}) (process_resident_memory_bytes{{{q.HOST}}} {_OURS})", "bytes")
_CPU: Final = Query(
    f"max by ({_BY_HOST}) (rate(process_cpu_seconds_total{{{q.HOST}}}[5m]) {_OURS})", "percentunit"
)

_VERSIONS: Final = Query(f"count by (version) (inference_exporter_info{{{q.HOST}}})", "short", "{{version}}")
_DURATION: Final = Query(
    f"max by (source) (inference_source_read_duration_seconds{{{q.HOST}}})", "s", "{{source}}"
)
_ERRORS: Final = Query(
    f"sum by (source, reason) (increase(inference_source_errors_total{{{q.HOST}}}[$__rate_interval]))",
    "short",
    "{{source}} {{reason}}",
)


def meter() -> dashboard.Dashboard:
    """First row: each number is 0, or says how much of the money is not seen."""
    empty = board(
        "meter health",
        UID,
        "Can the figures be believed, and where is the meter blind?",
        ("cluster", "instance"),
    )
    return _courses(_exporters(_which(_at_a_glance(empty))))


def _at_a_glance(built: dashboard.Dashboard) -> dashboard.Dashboard:
    return (
        built.with_panel(
            number(
                "Hosts",
                "Exporters that answer, and ledgers seen in the last 6 hours and silent now, whose money is "
                "short. No `missing`: all are here, or the fleet rules are not loaded.",
                _HOSTS,
                _MISSING,
                decimals=0,
            )
        )
        .with_panel(
            number(
                "Books residual",
                "Dollars accrued minus dollars posted, the worst of all hosts. Anything but 0 is a bug: "
                "please report it. Absent: no exporter is answering.",
                _RESIDUAL,
                steps=BOOKS,
            )
        )
        .with_panel(
            number(
                "Sources failing",
                "NVML, the inference servers and whatever else the exporters read; the table names them. "
                "Absent: no exporter is answering.",
                _FAILING,
                steps=ANY_IS_BAD,
                decimals=0,
            )
        )
        .with_panel(
            number(
                "GPUs without a price",
                "Their cost is in no figure until a price is configured; the table names them. "
                "Absent: no exporter sees a GPU.",
                _UNPRICED,
                steps=ANY_IS_BAD,
                decimals=0,
            )
        )
        .with_panel(unreadable())
        .with_panel(
            number(
                "Oldest tick",
                "Of the exporter that is furthest behind; after three intervals its gauges are absent. "
                "Absent: no exporter has taken a tick.",
                _OLDEST,
                steps=STALE,
                decimals=0,
            )
        )
    )


def _which(built: dashboard.Dashboard) -> dashboard.Dashboard:
    return (
        built.with_panel(
            rows(
                "Failing sources",
                "No row: every source answers. An empty age: the source has never answered.",
                (("source", "Source"), ("instance", "Host"), ("cluster", "Cluster")),
                (("Since last success", _SOURCE_SILENT, NEUTRAL), ("Errors, 1 h", _SOURCE_ERRORS, NEUTRAL)),
                width=7,
                height=7,
            )
        )
        .with_panel(
            rows(
                "GPUs without a price, estimated or not readable",
                "No row: every GPU is readable and always had a price that somebody stands for. What "
                "hardware cost in unpriced time is in no figure here until a price comes that covers it; "
                "what an estimate came to is in all of them.",
                (("gpu_model", "Model"), ("uuid", "UUID"), ("instance", "Host"), ("cluster", "Cluster")),
                (
                    ("Unpriced time", _UNPRICED_TIME, NEUTRAL),
                    ("Without a price", _NOT_PRICED, ANY_IS_BAD),
                    ("Estimate, per hour", _ESTIMATED, NEUTRAL),
                    ("Not readable", _NOT_READABLE, ANY_IS_BAD),
                ),
                width=12,
                height=7,
            )
        )
        .with_panel(
            rows(
                "GPU nodes without an exporter",
                "No row: none, or kube-state-metrics is not scraped, or the fleet rules are not loaded.",
                (("node", "Node"), ("cluster", "Cluster")),
                (("Without", _UNMETERED, ANY_IS_BAD),),
                width=5,
                height=7,
            )
        )
    )


def _exporters(built: dashboard.Dashboard) -> dashboard.Dashboard:
    return built.with_panel(
        rows(
            "Exporters",
            "On disk 0: a restart would lose what is metered now. Reloaded 0: the configuration was refused "
            "and the one before is in force. No row: no exporter is answering. "
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
            width=24,
            height=8,
        )
    )


def _courses(built: dashboard.Dashboard) -> dashboard.Dashboard:
    return (
        built.with_panel(
            lines(
                "Exporters by version",
                "A gap: no exporter was answering.",
                _VERSIONS,
                width=8,
                height=7,
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Longest read by source",
                "Of all hosts. A gap: no exporter was answering, or the source is not in use.",
                _DURATION,
                width=8,
                height=7,
            )
        )
        .with_panel(
            lines(
                "Errors by source and reason",
                "Partial ones included. A gap: that error has not occurred since the exporters started.",
                _ERRORS,
                width=8,
                height=7,
            )
        )
    )
