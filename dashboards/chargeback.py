"""Chargeback: what do I invoice, and is the month closed."""

from typing import Final

import queries as q
from board import board
from grafana_foundation_sdk.builders import dashboard
from panels import ANY_IS_BAD, NEUTRAL, SHARE_OF_BUDGET, bars, lines, number, rows
from queries import Query

UID: Final = "inference-cost-chargeback"

_HOSTS_ONLY: Final = "Of hosts that answer now."

# A month is told by each host, never by increase(): that misses what was posted before a series began.
# `max`: two Prometheus that scrape one host tell its money once.
_MONTHS: Final = (
    "max by (cluster, ledger, month, product, team, price_basis)"
    f" (inference_month_to_date_dollars{{{q.OWNER}}})"
)
_ENDS: Final = f"max by (month) (inference_month_end_timestamp_seconds{{{q.CLUSTER}}})"
_OVER: Final = f"({_MONTHS} and on (month) ({_ENDS} <= time()))"
# The rules know the current month only, and in it what hosts had spent that are gone.
_GOING_ON: Final = f"inference:month_to_date_dollars:owner{{{q.OWNER}}}"


def _shares(part: str, by: str) -> str:
    return f"sum by ({by}) ({part}) / on () group_left () (sum({part}) > 0)"


_LAST: Final = Query(f"sum by (month) ({_OVER})", "currencyUSD", "{{month}}")
_THIS: Final = Query(f"sum by (month) ({_GOING_ON})", "currencyUSD", "{{month}}")
_SINCE: Final = Query(f"time() - max({_ENDS} <= time())", "s")
_REPORTING: Final = Query(
    f"count(group by (cluster, instance) (inference_exporter_info{{{q.CLUSTER}}}))", "short", "reporting"
)
_MISSING: Final = Query(f"sum(inference:hosts_missing{{{q.CLUSTER}}})", "short", "missing")
_UNPRICED: Final = Query(f"sum(1 - inference_gpu_priced{{{q.CLUSTER}}})", "short")
_BASIS: Final = Query(_shares(_OVER, "price_basis"), "percentunit", "{{price_basis}}")

_LAST_OWNER: Final = Query(f"sum by (product, team) ({_OVER})", "currencyUSD")
_LAST_SHARE: Final = Query(_shares(_OVER, "product, team"), "percentunit")
_THIS_OWNER: Final = Query(f"sum by (product, team) ({_GOING_ON})", "currencyUSD")
_THIS_SHARE: Final = Query(_shares(_GOING_ON, "product, team"), "percentunit")
_OWNER_RATE: Final = Query(
    f"sum by (product, team) (inference_cost_dollars_per_hour{{{q.OWNER}}})", "currencyUSD"
)

_COURSE: Final = Query(
    f"sum by (product, month) ({_GOING_ON})",
    "currencyUSD",
    "{{product}} {{month}}",
)
_OF_BUDGET: Final = Query(
    f'inference:budget_spent_ratio{{{q.BUDGET},product!=""}}', "percentunit", "{{budget}} spent"
)
_TO_BE_OF_BUDGET: Final = Query(
    f'inference:budget_projected_ratio{{{q.BUDGET},product!=""}}', "percentunit", "{{budget}} projected"
)
_PROJECTED: Final = Query(
    f"sum by (product, team) (inference:month_projected_dollars:owner{{{q.OWNER}}})",
    "currencyUSD",
    "{{product}} ({{team}})",
)
_OVERHEAD: Final = Query(
    "sum by (product, team)"
    ' (inference:fleet_overhead_dollars_per_hour:owner{product=~"$product",team=~"$team"})',
    "currencyUSD",
)


def chargeback() -> dashboard.Dashboard:
    """First row: the month that is over, the one that goes on, and what stands between it and a bill."""
    empty = board(
        "chargeback",
        UID,
        "What do I invoice, and is the month closed? For watching: a bill is made from the ledgers, by "
        "`report chargeback` on each host (docs/finance.md).",
        ("cluster", "product", "team"),
        back="35d",
    )
    return _course(_invoices(_closed(empty)))


def _closed(built: dashboard.Dashboard) -> dashboard.Dashboard:
    return (
        built.with_panel(
            number(
                "Last month",
                f"{_HOSTS_ONLY} Absent: they have metered nothing before this month.",
                _LAST,
                decimals=2,
            )
        )
        .with_panel(
            number(
                "This month so far",
                "Hosts that are gone included. Absent: nothing was spent, or the fleet rules are not loaded.",
                _THIS,
                decimals=2,
            )
        )
        .with_panel(
            number(
                "Since last month ended",
                "A host that was down at its end charges that time when it starts again. "
                "Absent: no month is over.",
                _SINCE,
                width=3,
            )
        )
        .with_panel(
            number(
                "GPUs without a price",
                "Their time waits: it is charged to its month once a price comes that covers it. Close no "
                "month before. Not by product. Absent: no exporter sees a GPU.",
                _UNPRICED,
                width=3,
                steps=ANY_IS_BAD,
                decimals=0,
            )
        )
        .with_panel(
            number(
                "Hosts",
                "The money of a host that is missing is in no row of last month. "
                "No `missing`: all are here, or the fleet rules are not loaded.",
                _REPORTING,
                _MISSING,
                decimals=0,
            )
        )
        .with_panel(
            bars(
                "What last month rests on",
                "An `estimate` is a market price; put the bill's price in its place and adjust before you "
                "invoice. Absent: nothing was spent last month.",
                _BASIS,
                width=6,
                height=4,
                steps=NEUTRAL,
                full=1,
                decimals=1,
            )
        )
    )


def _invoices(built: dashboard.Dashboard) -> dashboard.Dashboard:
    owners = (("product", "Product"), ("team", "Team"))
    return built.with_panel(
        rows(
            "Invoice: last month, by product and team",
            f"`unassigned` is what no ownership rule names. {_HOSTS_ONLY} No row: nothing was spent.",
            owners,
            (("Dollars", _LAST_OWNER, NEUTRAL), ("Share", _LAST_SHARE, NEUTRAL)),
            width=12,
            height=9,
        )
    ).with_panel(
        rows(
            "This month so far, by product and team",
            "Hosts that are gone included. Overheads of the fleet are divided by GPUs, and in no other "
            "figure. No row: nothing was spent, or the fleet rules are not loaded. An empty cell: it holds "
            "no GPU now, or no overhead is configured.",
            owners,
            (
                ("Dollars", _THIS_OWNER, NEUTRAL),
                ("Share", _THIS_SHARE, NEUTRAL),
                ("Dollars per hour, now", _OWNER_RATE, NEUTRAL),
                ("Fleet overheads, per hour", _OVERHEAD, NEUTRAL),
            ),
            width=12,
            height=9,
        )
    )


def _course(built: dashboard.Dashboard) -> dashboard.Dashboard:
    return (
        built.with_panel(
            lines(
                "Month to date, by product",
                "Falls to nothing where a month begins. A step: a gap that was charged, or an adjustment. "
                "A gap: no exporter was answering.",
                _COURSE,
                width=12,
                height=7,
                stacked=True,
            )
        )
        .with_panel(
            bars(
                "Of the products' budgets, this month",
                "Spent and projected, of the whole fleet. "
                "Absent: no budget names a product, or the fleet rules are not loaded.",
                _OF_BUDGET,
                _TO_BE_OF_BUDGET,
                width=6,
                height=7,
                steps=SHARE_OF_BUDGET,
                full=1.2,
                decimals=0,
            )
        )
        .with_panel(
            bars(
                "Projected at month end, by product and team",
                "Month to date plus the hours left at the mean rate of the last 7 days, of 24 h until then. "
                "Absent: nothing was spent this month, or the fleet rules are not loaded.",
                _PROJECTED,
                width=6,
                height=7,
                steps=NEUTRAL,
            )
        )
    )
