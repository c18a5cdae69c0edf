"""Waste: what do I switch off on Monday, and what does it save."""

from typing import Final

import queries as q
from board import board
from grafana_foundation_sdk.builders import dashboard
from panels import IDLE, NEUTRAL, lines, number, rows
from queries import Query

UID: Final = "inference-cost-waste"

_WINDOW: Final = "12h"
"""A server that did nothing for so long is switched off. Longer than a night; change it with your days."""
_NOTHING: Final = 0.999
"""Idle share from which a server did nothing: health checks make no request, and an answer takes seconds."""

_SELECTED: Final = f"{q.SERVER},{q.HELD}"
_RATE: Final = f"sum by ({q.BY_SERVER}) (inference_cost_dollars_per_hour{{{_SELECTED}}})"
_IDLE_TWELVE: Final = q.idle_share(_SELECTED, q.BY_SERVER, _WINDOW)
# Told by what its GPUs did, since some engines count no tokens; and here since the window began.
_UNUSED: Final = (
    f"({_IDLE_TWELVE} >= {_NOTHING})"
    f" and on ({q.BY_SERVER}) (inference_cost_dollars_per_hour{{{_SELECTED}}} offset {_WINDOW})"
)


def _where_unused(expr: str) -> str:
    return f"{expr} and on ({q.BY_SERVER}) ({_UNUSED})"


def _where_used(expr: str) -> str:
    return f"{expr} unless on ({q.BY_SERVER}) ({_UNUSED})"


def _per_month(dollars_per_second: str) -> str:
    return f"{q.HOURS_PER_MONTH} * 3600 * {dollars_per_second}"


_IDLE_DOLLARS: Final = (
    f'sum by ({q.BY_SERVER}) (rate(inference_cost_dollars_total{{{_SELECTED},phase="idle"}}[1d]))'
)
_SILENT: Final = (
    f"time() - max by ({q.BY_SERVER}) (inference_server_last_token_timestamp_seconds{{{_SELECTED}}})"
)
_GPUS: Final = f"sum by ({q.BY_SERVER}) (inference_server_gpus{{{q.HOLDER}}})"
_SPEED: Final = f"sum by ({q.BY_SERVER}) (rate(inference_tokens_total{{{_SELECTED}}}[1d]))"

_SAVED: Final = Query(f"{q.HOURS_PER_MONTH} * sum({_where_unused(_RATE)})", "currencyUSD")
_NOBODY: Final = Query(
    f'{q.HOURS_PER_MONTH} * sum(inference_cost_dollars_per_hour{{{q.SERVER},server="unallocated"}})',
    "currencyUSD",
)
_DOWN: Final = Query(
    f"{q.HOURS_PER_MONTH} * sum(inference:idle_down_dollars_per_hour{{{q.SERVER}}})", "currencyUSD"
)
_IDLE_MONTH: Final = Query(
    _per_month(f'sum(rate(inference_cost_dollars_total{{{_SELECTED},phase="idle"}}[1d]))'), "currencyUSD"
)
_IDLE_SHARE: Final = Query(q.idle_share(q.SERVER, "", "1d"), "percentunit")

_SAVES: Final = Query(f"{q.HOURS_PER_MONTH} * {_where_unused(_RATE)}", "currencyUSD")
_UNUSED_GPUS: Final = Query(_where_unused(_GPUS), "short")
_UNUSED_SINCE: Final = Query(_where_unused(f"({_SILENT})"), "s")

# Absent where nothing was spent, as with GPUs that have no price: the idle time of those is not free.
_SPENT: Final = f"sum by ({q.BY_SERVER}) (rate(inference_cost_dollars_total{{{_SELECTED}}}[1d])) > 0"
_SHRINK: Final = Query(
    _where_used(f"({_per_month(_IDLE_DOLLARS)} and on ({q.BY_SERVER}) ({_SPENT}))"), "currencyUSD"
)
_SHRINK_SHARE: Final = Query(_where_used(f"({q.idle_share(_SELECTED, q.BY_SERVER, '1d')})"), "percentunit")
_SHRINK_GPUS: Final = Query(_where_used(_GPUS), "short")
_SHRINK_TOKENS: Final = Query(_where_used(_SPEED), "cps")

_IDLE_LINE: Final = Query(
    "3600 * sum by (server)"
    f' (rate(inference_cost_dollars_total{{{q.SERVER},phase="idle"}}[$__rate_interval]))',
    "currencyUSD",
    "{{server}}",
)
_FREE: Final = (
    f"sum by ({q.BY_GPU}) (inference_gpu_price_dollars_per_hour{{{q.CLUSTER}}})"
    f" unless on (cluster, instance, uuid) inference_server_gpu_share_ratio{{{q.CLUSTER}}}"
)
_FREE_HOUR: Final = Query(_FREE, "currencyUSD")
_FREE_MONTH: Final = Query(f"{q.HOURS_PER_MONTH} * ({_FREE})", "currencyUSD")


def waste() -> dashboard.Dashboard:
    """First row: what a month of each kind of waste comes to, the one that is saved at once first."""
    empty = board(
        "waste",
        UID,
        "What do I switch off on Monday, and what does it save? A month is 730 hours. Money is saved "
        "when a GPU is given back or to somebody who needs it; stopping a server alone makes it "
        "`unallocated`.",
        ("cluster", "product", "team", "namespace", "server"),
        back="7d",
    )
    return _when(_which(_how_much(empty)))


def _how_much(built: dashboard.Dashboard) -> dashboard.Dashboard:
    return (
        built.with_panel(
            number(
                "Switch off: saves per month",
                "Servers whose GPUs were idle for 12 hours; the table below names them. "
                "Absent: there is none, or no GPU has a price.",
                _SAVED,
                width=5,
            )
        )
        .with_panel(
            number(
                "Give back: held by nobody, per month",
                "GPUs without a server, at what they cost now. "
                "Absent: every GPU is held, or none has a price.",
                _NOBODY,
                width=5,
            )
        )
        .with_panel(
            number(
                "Repair: down and paid for, per month",
                "Servers that hold GPUs and answer nobody, at what they cost now. "
                "Absent: every server answers, or the fleet rules are not loaded.",
                _DOWN,
                width=5,
            )
        )
        .with_panel(
            number(
                "Shrink: idle while held, per month",
                "A month of the idle time of the last 24 h, the servers to switch off among it; only a part "
                "can be saved while there are peaks. Absent: no server holds a GPU with a price.",
                _IDLE_MONTH,
                width=5,
            )
        )
        .with_panel(
            number(
                "Idle share, last 24 h",
                "GPUs that nobody holds included; time that nobody observed is left out. "
                "Absent: nothing was spent, or nothing was observed.",
                _IDLE_SHARE,
                width=4,
                steps=IDLE,
                decimals=0,
            )
        )
    )


def _which(built: dashboard.Dashboard) -> dashboard.Dashboard:
    keys = (("server", "Server"), ("namespace", "Namespace"), ("cluster", "Cluster"))
    return built.with_panel(
        rows(
            "Switch off: idle for 12 hours",
            "Ask who owns it first. No row: every server did something. "
            "An empty age: it never served a token, or its engine counts none.",
            keys,
            (
                ("Saves per month", _SAVES, NEUTRAL),
                ("GPUs", _UNUSED_GPUS, NEUTRAL),
                ("Since last token", _UNUSED_SINCE, NEUTRAL),
            ),
            width=12,
            height=9,
        )
    ).with_panel(
        rows(
            "Shrink: the others, by what their idle time costs",
            "Fewer replicas, a smaller GPU, or two models on one. No row: no other server holds a GPU. "
            "An empty cell: nothing was spent, or the engine counts no tokens.",
            keys,
            (
                ("Idle, per month", _SHRINK, NEUTRAL),
                ("Idle share, 24 h", _SHRINK_SHARE, IDLE),
                ("GPUs", _SHRINK_GPUS, NEUTRAL),
                ("Tokens per second, 24 h", _SHRINK_TOKENS, NEUTRAL),
            ),
            width=12,
            height=9,
        )
    )


def _when(built: dashboard.Dashboard) -> dashboard.Dashboard:
    return built.with_panel(
        lines(
            "When: idle dollars per hour, by server",
            "Nights and weekends that rise call for a schedule. A gap: no exporter was answering.",
            _IDLE_LINE,
            width=12,
            height=9,
            stacked=True,
        )
    ).with_panel(
        rows(
            "Give back: GPUs that nobody holds",
            "Filtered by cluster only. No row: every GPU is held, or those that are not have no price.",
            (("gpu_model", "Model"), ("uuid", "UUID"), ("instance", "Host"), ("cluster", "Cluster")),
            (("Saves per month", _FREE_MONTH, NEUTRAL), ("Dollars per hour", _FREE_HOUR, NEUTRAL)),
            width=12,
            height=9,
        )
    )
