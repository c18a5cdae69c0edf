"""Chargeback: what do I invoice, and is the month closed."""

from typing import Final

import links as to
import queries as q
from board import board, with_panels
from budgets import columns
from grafana_foundation_sdk.builders import dashboard
from panels import ANY_IS_BAD, NEUTRAL, Panel, bars, lines, number, rows
from queries import Query, dollars, ratio

UID: Final = to.CHARGEBACK

_SHOWN: Final = 100
_DRAWN: Final = 10
_OWNER_LINKS: Final = (
    to.Link("Its servers and changes", to.FLEET, ("product", "team")),
    to.Link("Waste of this product", to.WASTE, ("product", "team")),
    to.Link("Models of this product", to.MODELS, ("product", "team")),
    to.Link("This product alone", to.CHARGEBACK, ("product", "team")),
)
_PRODUCT_LINKS: Final = (
    to.Link("Its servers and changes", to.FLEET, ("product",)),
    to.Link("This product alone", to.CHARGEBACK, ("product",)),
)

_MONTHLY: Final = "month, product, team"
_CLOSED: Final = f"sum by ({_MONTHLY}) (inference:closed_month_dollars:owner{{{q.OWNER}}})"
_GOING_ON: Final = f"sum by ({_MONTHLY}) (inference:month_to_date_dollars:owner{{{q.OWNER}}})"
_ENDS: Final = f"max by (month) (inference:month_end_timestamp_seconds{{{q.CLUSTER}}})"


def _share(part: str) -> str:
    return f"{part} / on (month) group_left () (sum by (month) ({part}) > 0)"


_CLOSED_MONTHS: Final = dollars(f"sum by (month) ({_CLOSED})", "{{month}}")
_THIS: Final = dollars(f"sum by (month) ({_GOING_ON})", "{{month}}")
_SINCE: Final = Query(f"time() - max({_ENDS} <= time())", "s")
_HOSTS: Final = Query(f"sum(inference:hosts_metered{{{q.CLUSTER}}})", "locale", "answering")
_SILENT: Final = Query(
    f"count(inference:host_silent_since_timestamp_seconds{{{q.CLUSTER}}})", "locale", "silent"
)
_UNPRICED: Final = Query(f"sum(inference:gpus_unpriced{{{q.CLUSTER}}})", "locale")
_BASIS: Final = ratio(
    _share(f"sum by (month, price_basis) (inference:closed_month_dollars:price_basis{{{q.CLUSTER}}})"),
    "{{month}} {{price_basis}}",
)

_TOP_CLOSED: Final = q.largest(_SHOWN, _CLOSED, _MONTHLY)
_TOP_THIS: Final = q.largest(_SHOWN, _GOING_ON, _MONTHLY)
_CLOSED_OWNER: Final = dollars(f"topk({_SHOWN}, {_CLOSED})")
_CLOSED_SHARE: Final = ratio(f"{_share(_CLOSED)} {_TOP_CLOSED}")
_THIS_OWNER: Final = dollars(f"topk({_SHOWN}, {_GOING_ON})")
_THIS_SHARE: Final = ratio(f"{_share(_GOING_ON)} {_TOP_THIS}")
_PROJECTED: Final = dollars(
    f"sum by ({_MONTHLY}) (inference:month_projected_dollars:owner{{{q.PRODUCT}}}) {_TOP_THIS}"
)

_BY_PRODUCT: Final = f"sum by (product, month) (inference:month_to_date_dollars:owner{{{q.OWNER}}})"
_TOP_PRODUCTS: Final = (
    f"topk({_DRAWN}, sum by (product) (inference:month_to_date_dollars:owner{{{q.OWNER}}} @ end()))"
)
_COURSE: Final = dollars(f"{_BY_PRODUCT} and on (product) {_TOP_PRODUCTS}", "{{product}} {{month}}")
_OTHERS: Final = dollars(
    f"sum by (month) ({_BY_PRODUCT} unless on (product) {_TOP_PRODUCTS})", "all others {{month}}"
)

_BUDGETS: Final = 'product=~"$product",product!=""'
_OWNER_RATE: Final = dollars(f"sum by ({q.BY_OWNER}) (inference:spend_dollars_per_hour:owner{{{q.OWNER}}})")
_OVERHEAD: Final = dollars(
    f"sum by ({q.BY_OWNER}) (inference:fleet_overhead_dollars_per_hour:owner{{{q.PRODUCT}}})"
)


def chargeback() -> dashboard.Dashboard:
    """First row: closed months, the current month, and what prevents a bill."""
    empty = board(
        "chargeback",
        UID,
        "What do I invoice, and is the month closed? For watching: a bill is made from the ledgers, by "
        "`report chargeback` (docs/finance.md).",
        ("cluster", "product", "team"),
        back="35d",
    )
    return with_panels(empty, *_closed(), *_invoices(), *_course())


def _closed() -> tuple[Panel, ...]:
    return (
        number(
            "Closed months",
            "Months that ended within the last 40 days: hosts that are gone and late postings included. "
            "Absent: no month has ended since the rules were loaded.",
            _CLOSED_MONTHS,
            decimals=2,
        ),
        number(
            "This month so far",
            "Hosts that are gone included. Absent: nothing was spent.",
            _THIS,
            decimals=2,
        ),
        number(
            "Since the last month ended",
            "A host that was down at its end charges that time when it starts again. "
            "Absent: no month is over.",
            _SINCE,
            width=3,
        ),
        number(
            "GPUs without a price",
            "Their time waits: it is charged to its month once a price comes that covers it. Close no "
            "month before. Filtered by cluster only. Absent: no exporter sees a GPU.",
            _UNPRICED,
            width=3,
            steps=ANY_IS_BAD,
            decimals=0,
            links=(to.Link("Which GPUs", to.METER),),
        ),
        number(
            "Hosts",
            "A silent host posts what it spent meanwhile when it answers again. Close no month before. "
            "Filtered by cluster only. An empty `silent`: every host answers.",
            _HOSTS,
            _SILENT,
            decimals=0,
            links=(to.Link("Which hosts", to.METER),),
        ),
        bars(
            "What the closed months rest on",
            "An `estimate` is a market price; put the bill's price in its place and adjust before you "
            "invoice. Filtered by cluster only. Absent: no month is over.",
            _BASIS,
            width=6,
            height=4,
            steps=NEUTRAL,
            links=(to.Link("GPUs whose price is an estimate", to.METER),),
            full=1,
            decimals=1,
        ),
    )


def _invoices() -> tuple[Panel, ...]:
    owners = (("month", "Month"), ("product", "Product"), ("team", "Team"))
    links = {"product": _OWNER_LINKS, "team": _OWNER_LINKS}
    return (
        rows(
            f"Invoice: closed months, by product and team, the first {_SHOWN}",
            "Months that ended within the last 40 days: hosts that are gone and late postings included. "
            "`unassigned` is what no ownership rule names. No row: no month is over.",
            owners,
            (("Dollars", _CLOSED_OWNER, NEUTRAL), ("Share of its month", _CLOSED_SHARE, NEUTRAL)),
            links=links,
            width=10,
            height=9,
        ),
        rows(
            f"This month so far, by product and team, the first {_SHOWN}",
            "Hosts that are gone included. The projection is of all clusters. An empty cell: it has none "
            "yet. No row: nothing was spent.",
            owners,
            (
                ("Dollars", _THIS_OWNER, NEUTRAL),
                ("Share of its month", _THIS_SHARE, NEUTRAL),
                ("Projected", _PROJECTED, NEUTRAL),
            ),
            links=links,
            width=14,
            height=9,
        ),
    )


def _course() -> tuple[Panel, ...]:
    return (
        lines(
            f"Month to date, by product: the first {_DRAWN}",
            "Falls to nothing where a month begins. A step: a gap that was charged, or an adjustment. "
            "A gap: nothing was known.",
            _COURSE,
            _OTHERS,
            links=_PRODUCT_LINKS,
            width=8,
            height=8,
            stacked=True,
        ),
        rows(
            f"Budgets of products, by projected share: the first {_SHOWN}",
            "Of all clusters: a cluster is not compared with a budget. An empty day: the budget lasts "
            "until the month ends. No row: no budget names a product.",
            (("budget", "Budget"), ("product", "Product")),
            columns(_BUDGETS, _SHOWN, spent_share=False),
            links={"budget": _PRODUCT_LINKS, "product": _PRODUCT_LINKS},
            first="Projected share",
            width=9,
            height=8,
        ),
        rows(
            "Rates and overheads, by product and team",
            "Overheads of the fleet are divided by GPUs, and in no other figure. An empty cell: it holds "
            "no GPU now, or no overhead is configured. No row: nothing is spent.",
            (("product", "Product"), ("team", "Team")),
            (
                ("Dollars per hour, now", _OWNER_RATE, NEUTRAL),
                ("Fleet overheads, per hour", _OVERHEAD, NEUTRAL),
            ),
            links={"product": _OWNER_LINKS, "team": _OWNER_LINKS},
            width=7,
            height=8,
        ),
    )
