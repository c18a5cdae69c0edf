"""The fleet: are we fine, where does the money go, who spends it, why did it change."""

from typing import Final

import queries as q
from board import board
from grafana_foundation_sdk.builders import dashboard
from panels import IDLE, NEUTRAL, SHARE_OF_BUDGET, bars, lines, number, rows
from queries import Query

UID: Final = "inference-cost"
"""The alerts point at it."""

_NOT_BY_OWNER: Final = "Filtered by cluster only. Needs the fleet rules; without them it is absent."

# Are we fine
_SPEND: Final = Query(f"sum(inference_cost_dollars_per_hour{{{q.SERVER}}})", "currencyUSD")
_OVERHEAD: Final = Query("inference:fleet_overhead_dollars_per_hour", "currencyUSD")
_MONTH: Final = Query(
    f"sum by (month) (inference:month_to_date_dollars{{{q.CLUSTER}}})", "currencyUSD", "{{month}}"
)
_PROJECTED: Final = Query(
    f"sum by (month) (inference:month_projected_dollars{{{q.CLUSTER}}})", "currencyUSD", "{{month}}"
)
_SPENT_SHARE: Final = Query(f"inference:budget_spent_ratio{{{q.BUDGET}}}", "percentunit", "{{budget}} spent")
_PROJECTED_SHARE: Final = Query(
    f"inference:budget_projected_ratio{{{q.BUDGET}}}", "percentunit", "{{budget}} projected"
)
_ALERTS: Final = Query(f"count by (alertname, severity) ({q.FIRING})", "short")

# Where
_SPENT_LINE: Final = Query(_MONTH.expr, "currencyUSD", "spent {{month}}")
_PROJECTED_LINE: Final = Query(_PROJECTED.expr, "currencyUSD", "projected {{month}}")
_LOW_LINE: Final = Query(
    f"sum by (month) (inference:month_projected_dollars:low{{{q.CLUSTER}}})",
    "currencyUSD",
    "at the cheapest day",
)
_HIGH_LINE: Final = Query(
    f"sum by (month) (inference:month_projected_dollars:high{{{q.CLUSTER}}})",
    "currencyUSD",
    "at the dearest day",
)
_BUDGET_LINE: Final = Query(q.FLEET_BUDGET, "currencyUSD", "budget")
_BY_PRODUCT: Final = Query(
    f"sum by (product, team) (inference_cost_dollars_per_hour{{{q.SERVER}}})",
    "currencyUSD",
    "{{product}} ({{team}})",
)

# Who, and what changed. A server that came or went within the day has no change, and an empty cell.
_SERVER_SPEND: Final = Query(
    f"sum by ({q.BY_SERVER}) (inference_cost_dollars_per_hour{{{q.SERVER}}})", "currencyUSD"
)
_SPEND_CHANGE: Final = Query(
    f"{_SERVER_SPEND.expr}"
    f" - sum by ({q.BY_SERVER}) (inference_cost_dollars_per_hour{{{q.SERVER}}} offset 1d)",
    "currencyUSD",
)
_GPUS: Final = Query(f"sum by ({q.BY_SERVER}) (inference_server_gpus{{{q.HOLDER}}})", "short")
_GPUS_CHANGE: Final = Query(
    f"{_GPUS.expr} - sum by ({q.BY_SERVER}) (inference_server_gpus{{{q.HOLDER}}} offset 1d)", "short"
)
_TOKENS: Final = Query(f"sum by ({q.BY_SERVER}) (rate(inference_tokens_total{{{q.SERVER}}}[5m]))", "cps")
_TOKENS_CHANGE: Final = Query(
    f"{_TOKENS.expr} - sum by ({q.BY_SERVER}) (rate(inference_tokens_total{{{q.SERVER}}}[5m] offset 1d))",
    "cps",
)
_IDLE: Final = Query(q.idle_share(q.SERVER, q.BY_SERVER, "1h"), "percentunit")
_PRICE: Final = Query(
    f"1e6 * sum by ({q.BY_SERVER}) (increase(inference_cost_dollars_total{{{q.SERVER}}}[1h]))"
    f" / (sum by ({q.BY_SERVER}) (increase(inference_tokens_total{{{q.SERVER}}}[1h])) >= 1000)"
    # the dollars of a server that holds a GPU without a price are a part of what it costs
    f" unless on ({q.BY_SERVER}) last_over_time(inference:server_unpriced[70m])",
    "currencyUSD",
)

# Why
_PHASES: Final = Query(
    f"sum by (phase) (rate(inference_cost_dollars_total{{{q.SERVER}}}[$__rate_interval]))"
    " / on () group_left ()"
    f" (sum(rate(inference_cost_dollars_total{{{q.SERVER}}}[$__rate_interval])) > 0)",
    "percentunit",
    "{{phase}}",
)
_GPU_HOUR: Final = Query(
    f"avg by (gpu_model) (sum by ({q.BY_GPU}) (inference_gpu_price_dollars_per_hour{{{q.CLUSTER}}}))",
    "currencyUSD",
    "{{gpu_model}}",
)
# A product's week against the week before: dollars = GPU-hours x price, tokens = GPU-hours x tokens of one.
# `max`: a selector alone keeps its name, which is a column to Grafana, and four names would be four rows.
_WEEK_DOLLARS, _WEEK_HOURS, _WEEK_PRICE, _WEEK_TOKENS = (
    Query(f"max by (cluster, product, team) (inference:{name}:week_ratio{{{q.OWNER}}})", "percentunit")
    for name in ("cost_dollars", "gpu_hours", "gpu_hour_price", "tokens_per_gpu_hour")
)


def fleet() -> dashboard.Dashboard:
    """First row: spend, month, projection and budget, and which alerts fire."""
    empty = board(
        "fleet",
        UID,
        "Are we fine, where does the money go, who spends it, and why did it change?",
        ("cluster", "product", "team", "namespace", "server"),
    )
    return _why(_who(_where(_fine(empty))))


def _fine(built: dashboard.Dashboard) -> dashboard.Dashboard:
    return (
        built.with_panel(
            number(
                "Spend now, dollars per hour",
                "What the selected servers cost per hour at this moment; `unallocated` is GPUs that no "
                "server holds. The fleet's overheads, beside, are not in it. "
                "Absent: no exporter is answering, or no GPU has a price.",
                _SPEND,
                decimals=2,
                trend=True,
            )
        )
        .with_panel(
            number(
                "Month to date",
                "Spent this calendar month, hosts that are gone included. "
                f"Absent: nothing has been accounted for yet. {_NOT_BY_OWNER}",
                _MONTH,
                width=3,
            )
        )
        .with_panel(
            number(
                "Projected at month end",
                "Month to date plus the hours left at the mean rate of the last 7 days (24 h until then). "
                f"Absent: the rate or the month's end is unknown. {_NOT_BY_OWNER}",
                _PROJECTED,
                width=3,
            )
        )
        .with_panel(
            bars(
                "Of the monthly budgets",
                "Month to date and projection of what each budget governs, over that budget: the whole "
                "fleet's, and those of the selected products. Not filtered otherwise. "
                "Absent: nothing is known of the month, or the fleet rules are not loaded.",
                _SPENT_SHARE,
                _PROJECTED_SHARE,
                width=5,
                height=4,
                steps=SHARE_OF_BUDGET,
                full=1.2,
                decimals=0,
            )
        )
        .with_panel(
            number(
                "Fleet overheads, per hour",
                "Overheads of the whole fleet (`per: fleet`), counted once. They are in no other figure: "
                "not in the month, not against the budget, not in the price of a token. Not filtered. "
                "Absent: none is configured, no exporter is answering, or the fleet rules are not loaded.",
                _OVERHEAD,
                width=3,
                decimals=2,
            )
        )
        .with_panel(
            rows(
                "Alerts",
                "Each has a page in docs/runbooks. No row: none fires, or the fleet rules are not loaded.",
                (("alertname", "Alert"), ("severity", "Severity")),
                (("Firing", _ALERTS, NEUTRAL),),
                width=6,
                height=4,
            )
        )
    )


def _where(built: dashboard.Dashboard) -> dashboard.Dashboard:
    return built.with_panel(
        lines(
            "Where: dollars per hour, by product",
            "A gap: the exporters had nothing to say. A price change is a step.",
            _BY_PRODUCT,
            width=12,
            height=7,
            stacked=True,
        )
    ).with_panel(
        lines(
            "The month against its budget",
            "Spent and projected this month, and the projection at the cheapest and the dearest day of the "
            f"last seven. No red line: no budget without a product. {_NOT_BY_OWNER}",
            _SPENT_LINE,
            _PROJECTED_LINE,
            _LOW_LINE,
            _HIGH_LINE,
            _BUDGET_LINE,
            width=12,
            height=7,
            limit=_BUDGET_LINE.legend,
        )
    )


def _who(built: dashboard.Dashboard) -> dashboard.Dashboard:
    return built.with_panel(
        rows(
            "Who: servers, and what changed since this time yesterday",
            "More GPUs: it grew. The same GPUs and more dollars: prices changed, as below. "
            "An empty change: the server came or went within the day. An empty price: fewer than 1,000 "
            "tokens in the last hour, or a GPU without a price. An empty cell elsewhere: the exporter does "
            "not know, as with tokens of a server that exports none.",
            (("server", "Server"), ("namespace", "Namespace"), ("cluster", "Cluster")),
            (
                ("Dollars per hour", _SERVER_SPEND, NEUTRAL),
                ("Change, per hour", _SPEND_CHANGE, NEUTRAL),
                ("GPUs", _GPUS, NEUTRAL),
                ("Change in GPUs", _GPUS_CHANGE, NEUTRAL),
                ("Tokens per second", _TOKENS, NEUTRAL),
                ("Change in tokens", _TOKENS_CHANGE, NEUTRAL),
                ("Idle share, 1 h", _IDLE, IDLE),
                ("Dollars per million tokens, 1 h", _PRICE, NEUTRAL),
            ),
            width=24,
            height=8,
        )
    )


def _why(built: dashboard.Dashboard) -> dashboard.Dashboard:
    return (
        built.with_panel(
            lines(
                "Why: what the money was for",
                "Shares by phase of the selected servers. `other` is busy without a token told; `unobserved` "
                "is charged time that nobody watched. A gap: nothing was spent.",
                _PHASES,
                width=7,
                height=7,
                stacked=True,
                full=1,
            )
        )
        .with_panel(
            lines(
                "Why: what an hour of a GPU costs, by model",
                "The mean over GPUs of a model, all components together. Filtered by cluster only. "
                "A gap: no GPU of that model has a price.",
                _GPU_HOUR,
                width=7,
                height=7,
            )
        )
        .with_panel(
            rows(
                "Why: this week over the week before",
                "Dollars are GPU-hours times their price; more tokens per GPU-hour is the better use of it. "
                "No row: two weeks are not recorded yet, or the fleet rules are not loaded.",
                (("product", "Product"), ("team", "Team"), ("cluster", "Cluster")),
                (
                    ("Dollars", _WEEK_DOLLARS, NEUTRAL),
                    ("GPU-hours", _WEEK_HOURS, NEUTRAL),
                    ("Price of one", _WEEK_PRICE, NEUTRAL),
                    ("Tokens of one", _WEEK_TOKENS, NEUTRAL),
                ),
                width=10,
                height=7,
            )
        )
    )
