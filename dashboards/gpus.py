"""Hosts and GPUs: which GPU does what, for whom, and what an hour of it costs."""

from typing import Final

import links as to
import queries as q
from board import board, with_panels
from grafana_foundation_sdk.builders import dashboard, stat
from panels import ANY_IS_BAD, GPU_KEYS, NEUTRAL, Panel, lines, number, rows
from queries import Query, dollars, ratio

UID: Final = to.GPUS

_NAME: Final = "{{uuid}}"

_GPUS: Final = Query(f"count by (gpu_model) (inference_gpu_up{{{q.HOST}}})", "locale", "{{gpu_model}}")
_UNREADABLE: Final = Query(f"sum(1 - inference_gpu_up{{{q.HOST}}})", "locale")
_BUSY: Final = ratio(f"avg(inference_gpu_utilization_ratio{{{q.HOST}}})")
_FULL: Final = ratio(
    f"sum(inference_gpu_memory_used_bytes{{{q.HOST}}}) / sum(inference_gpu_memory_total_bytes{{{q.HOST}}})"
)
_POWER: Final = Query(f"sum(inference_gpu_power_watts{{{q.HOST}}})", "watt")
_HOUR: Final = dollars(f"sum(inference_gpu_price_dollars_per_hour{{{q.HOST}}})")

_ROW_PRICE: Final = dollars(f"sum by ({q.BY_GPU}) (inference_gpu_price_dollars_per_hour{{{q.HOST}}})")
_ROW_BUSY: Final = ratio(f"max by ({q.BY_GPU}) (inference_gpu_utilization_ratio{{{q.HOST}}})")
_ROW_USED: Final = Query(f"max by ({q.BY_GPU}) (inference_gpu_memory_used_bytes{{{q.HOST}}})", "bytes")
_ROW_TOTAL: Final = Query(f"max by ({q.BY_GPU}) (inference_gpu_memory_total_bytes{{{q.HOST}}})", "bytes")
_ROW_POWER: Final = Query(f"max by ({q.BY_GPU}) (inference_gpu_power_watts{{{q.HOST}}})", "watt")
_ROW_LOST: Final = Query(f"count by ({q.BY_GPU}) (inference_gpu_up{{{q.HOST}}} == 0)", "short")

_BUSY_LINE: Final = ratio(f"inference_gpu_utilization_ratio{{{q.HOST}}}", _NAME)
_USED_LINE: Final = Query(f"inference_gpu_memory_used_bytes{{{q.HOST}}}", "bytes", _NAME)
_GPU_LINKS: Final = (to.Link("Meter of this host", to.METER, ("cluster", "instance")),)
_SERVER_LINKS: Final = (
    to.Link("Waste of this server", to.WASTE, ("cluster", "namespace", "server")),
    to.Link("This server on its other hosts", to.GPUS, ("cluster", "namespace", "server")),
)

_POWER_LINE: Final = Query(f"inference_gpu_power_watts{{{q.HOST}}}", "watt", _NAME)

_GPUS_OF_SERVER: Final = ratio(
    "sum by (cluster, instance, uuid, namespace, server)"
    f' (inference_server_gpu_share_ratio{{{q.HOST},namespace=~"$namespace",server=~"$server"}})'
)
_DRAWN: Final = 10
_OF_SERVER: Final = "cluster, instance, namespace, server, model"


def _of_servers(metric: str, legend: str, *labels: str) -> Query:
    """The largest of one host's servers; a graph of all of them could not be read."""
    series = f'{metric}{{{q.HOST},namespace=~"$namespace",server=~"$server"}}'
    if metric.endswith("_total"):
        series = f"3600 * rate({series}[$__rate_interval])"
    by = ", ".join((_OF_SERVER, *labels))
    return Query(f"topk({_DRAWN}, max by ({by}) ({series}))", "percentunit" if labels else "short", legend)


_NAME_OF_SERVER: Final = "{{server}} {{model}}"
_LOAD: Final = _of_servers("inference_server_load_ratio", f"{_NAME_OF_SERVER} {{{{limit}}}}", "limit")
_WAITING: Final = _of_servers("inference_server_requests_waiting", _NAME_OF_SERVER)
_PREEMPTED: Final = _of_servers("inference_server_preemptions_total", _NAME_OF_SERVER)
_ENERGY: Final = Query(
    f"sum by (cluster, instance) (rate(inference_gpu_energy_joules_total{{{q.HOST}}}[$__rate_interval]))",
    "watt",
    "{{instance}}",
)


def unreadable() -> stat.Panel:
    """How many GPUs of the chosen hosts are lost; meter health shows it, too."""
    return number(
        "GPUs not readable",
        "Charged GPUs that cannot be read: off the bus, or their driver failed. Absent: no exporter sees a "
        "GPU.",
        _UNREADABLE,
        steps=ANY_IS_BAD,
        decimals=0,
    )


def gpus() -> dashboard.Dashboard:
    """First row: how many, lost, busy, full, their power and what an hour of all costs."""
    empty = board(
        "hosts and GPUs",
        UID,
        "Which GPU of a host does what, for whom, and what does an hour of it cost? One host at a time.",
        ("cluster", "instance", "namespace", "server"),
        back="6h",
        refresh="1m",
        single=("instance",),
    )
    return with_panels(empty, *_all(), *_table(), *_lines(), *_holders(), *_load())


def _all() -> tuple[Panel, ...]:
    return (
        number("GPUs", "By model. Absent: no exporter sees a GPU.", _GPUS, decimals=0),
        unreadable(),
        number(
            "Utilization, mean",
            "Busy share of the time since the previous tick. Absent: no GPU reports it.",
            _BUSY,
            decimals=0,
        ),
        number(
            "Memory in use",
            "Share of total GPU memory. Absent: no GPU reports it.",
            _FULL,
            decimals=0,
        ),
        number("Power", "Power of GPUs alone. Absent: no GPU reports it.", _POWER, decimals=1),
        number(
            "Dollars per hour, all components",
            "Rent or amortization, support, energy and overheads by GPU. Absent: no GPU has a price.",
            _HOUR,
            decimals=2,
        ),
    )


def _table() -> tuple[Panel, ...]:
    return (
        rows(
            "Each GPU",
            "An empty price: no price is known. An empty cell elsewhere: the GPU does not report it. "
            "`nvidia-smi -L` lists UUIDs with the driver's numbers.",
            GPU_KEYS,
            (
                ("Dollars per hour", _ROW_PRICE, NEUTRAL),
                ("Utilization", _ROW_BUSY, NEUTRAL),
                ("Memory in use", _ROW_USED, NEUTRAL),
                ("Memory", _ROW_TOTAL, NEUTRAL),
                ("Power", _ROW_POWER, NEUTRAL),
                ("Not readable", _ROW_LOST, ANY_IS_BAD),
            ),
            links={"uuid": _GPU_LINKS, "instance": _GPU_LINKS},
            width=24,
            height=8,
        ),
    )


def _lines() -> tuple[Panel, ...]:
    return (
        lines(
            "Utilization, by GPU",
            "A gap: the GPU does not report it, or no exporter answered.",
            _BUSY_LINE,
            links=_GPU_LINKS,
            width=8,
            height=7,
            full=1,
        ),
        lines(
            "Memory in use, by GPU",
            "A gap: the GPU does not report it, or no exporter answered.",
            _USED_LINE,
            links=_GPU_LINKS,
            width=8,
            height=7,
        ),
        lines(
            "Power, by GPU",
            "A gap: the GPU does not report it, or no exporter answered.",
            _POWER_LINE,
            links=_GPU_LINKS,
            width=8,
            height=7,
        ),
    )


def _holders() -> tuple[Panel, ...]:
    return (
        rows(
            "Who holds which GPU",
            "The part of its time that a server was charged in the last tick. "
            "No row: no server holds a GPU here.",
            (
                ("server", "Server"),
                ("namespace", "Namespace"),
                ("uuid", "UUID"),
                ("instance", "Host"),
                ("cluster", "Cluster"),
            ),
            (("Share", _GPUS_OF_SERVER, NEUTRAL),),
            links={"server": _SERVER_LINKS, "instance": _GPU_LINKS},
            width=12,
            height=7,
        ),
        lines(
            "Energy by host, mean power",
            "From energy counters, so that nothing between two scrapes is missed. A gap: no GPU there "
            "reports energy or power.",
            _ENERGY,
            links=_GPU_LINKS,
            width=12,
            height=7,
            stacked=True,
        ),
    )


def _load() -> tuple[Panel, ...]:
    return (
        lines(
            f"Load by limit: the {_DRAWN} highest",
            "Part of the KV cache in use, and running requests over their maximum. A gap: neither the server "
            "nor its command line reports that limit (docs/engines.md).",
            _LOAD,
            links=_SERVER_LINKS,
            width=8,
            height=7,
            full=1,
        ),
        lines(
            f"Requests waiting: the {_DRAWN} longest queues",
            "While one waits, the server counts as full. A gap: the engine does not report it.",
            _WAITING,
            links=_SERVER_LINKS,
            width=8,
            height=7,
        ),
        lines(
            f"Preemptions per hour: the {_DRAWN} highest",
            "Requests that gave up their KV cache for lack of it, and are computed again: paid for twice. "
            "A gap: the engine does not report it.",
            _PREEMPTED,
            links=_SERVER_LINKS,
            width=8,
            height=7,
        ),
    )
