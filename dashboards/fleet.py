"""The fleet: what we spend and whether the budget holds, who spends it, what is wasted, and what changed."""

from typing import Final

import levels
import links as to
import queries as q
from alerts import firing
from board import board, with_panels
from budgets import columns
from grafana_foundation_sdk.builders import dashboard
from panels import IDLE, NEUTRAL, SERVER_KEYS, SHARE_OF_BUDGET, WARNING, Panel, findings, lines, number, rows
from queries import Query, dollars, ratio

UID: Final = to.FLEET
"""The alerts point at it."""

_ALL: Final = "Of the whole fleet; selections above do not apply."
_SHOWN: Final = 30
"""Rows of a table: what a reader looks through."""
_DRAWN: Final = 10
"""Lines of a graph that have a color of their own."""

_SERVER_LINKS: Final = (
    to.Link("Waste of this server", to.WASTE, ("cluster", "product", "team", "namespace", "server")),
    to.Link("Models of its product", to.MODELS, ("cluster", "product", "team")),
    to.Link("Its GPUs", to.GPUS, ("cluster", "namespace", "server")),
)
_OWNER_LINKS: Final = (
    to.Link("Months of this product", to.CHARGEBACK, ("product", "team")),
    to.Link("Waste of this product", to.WASTE, ("product", "team")),
    to.Link("Models of this product", to.MODELS, ("product", "team")),
)
_PRODUCT_LINKS: Final = (
    to.Link("Months of this product", to.CHARGEBACK, ("product",)),
    to.Link("Waste of this product", to.WASTE, ("product",)),
)
_CLUSTER_LINKS: Final = (
    to.Link("This cluster alone", to.FLEET, ("cluster",)),
    to.Link("Waste of this cluster", to.WASTE, ("cluster",)),
    to.Link("Meter of this cluster", to.METER, ("cluster",)),
)

# What do we spend, and will we pass the budget. Of the whole fleet: a part is not compared with its budget.
_SPEND: Final = dollars("sum(inference:spend_dollars_per_hour)")
_SILENT: Final = dollars("sum(inference:silent_dollars_per_hour:owner)", "silent hosts")
_LOST: Final = dollars("sum(inference:lost_dollars_per_hour:owner)", "lost clusters")
_RUN_RATE: Final = dollars("sum(inference:monthly_run_rate_dollars)")
_MONTH: Final = dollars("sum by (month) (inference:month_to_date_dollars)", "{{month}}")
_SINCE: Final = Query(
    "1000 * min by (month) (inference:month_metered_since_timestamp_seconds)",
    "time:YYYY-MM-DD HH:mm",
    "{{month}}",
)
_UNMETERED: Final = Query("max by (month) (inference:month_unmetered_hours)", "h", "{{month}}")
_LOW, _PROJECTED, _HIGH = (
    dollars(f"max by (month) (inference:fleet_month_projected_dollars{level})", f"{word}{{{{month}}}}")
    for level, word in ((":low", "low, "), ("", ""), (":high", "high, "))
)
_SHARES: Final = 'topk(3, inference:budget_projected_ratio{product=""})'
_CONFIGURED: Final = "on () (inference:budget_configured == 1)"
_SHARE: Final = ratio(f"{_SHARES} and {_CONFIGURED}", "{{budget}}")
_DEFAULT_SHARE: Final = ratio(f"{_SHARES} unless {_CONFIGURED}", "{{budget}}, the default")
_RUNS_OUT: Final = Query(
    '1000 * bottomk(3, inference:budget_runs_out_timestamp_seconds{product=""})',
    "time:YYYY-MM-DD",
    "{{budget}}",
)
_OVERHEAD: Final = dollars("inference:fleet_overhead_dollars_per_hour")

_BUDGETS: Final = 'product=~"$product|"'
"""Budgets of the chosen products, and those of the whole fleet."""

_ALERTS: Final = Query(
    f"count by (alertname, severity, cluster, product, board) ({firing()})",
    "short",
)

_SPENT_LINE: Final = dollars(_MONTH.expr, "spent {{month}}")
_PROJECTED_LINES: Final = tuple(
    dollars(query.expr, f"{word} {{{{month}}}}")
    for query, word in ((_PROJECTED, "projected"), (_LOW, "low"), (_HIGH, "high"))
)
_BUDGET_LINES: Final = dollars('max by (budget) (inference:budget_dollars{product=""})', "budget {{budget}}")

# Who
_PRODUCT_LINES: Final = q.first_and_others(
    _DRAWN, f"inference:spend_dollars_per_hour:owner{{{q.OWNER}}}", "product"
)


_THIS_MONTH: Final = "and on (month) inference:fleet_month_hours_left"
"""Of two that are open, by time zones or by a clock that is ahead, the one that budgets are compared with."""


def _of_cluster(expr: str, condition: str = "") -> str:
    return f"sum by (cluster) ({expr}{{{q.CLUSTER}}}{condition and f' {condition}'})"


_TOP_OWNERS: Final = q.largest(
    _SHOWN, f"sum by ({q.BY_OWNER}) (inference:spend_dollars_per_hour:owner{{{q.OWNER}}})", q.BY_OWNER
)


def _of_owner(record: str, selector: str, condition: str = "") -> Query:
    return dollars(
        f"sum by ({q.BY_OWNER}) ({record}{{{selector}}}{condition and f' {condition}'}) {_TOP_OWNERS}"
    )


_SERVER_SPEND: Final = f"sum by ({q.BY_SERVER}) (inference:cost_dollars_per_hour:server{{{q.OWNER}}})"
_TOP_SERVERS: Final = q.largest(_SHOWN, _SERVER_SPEND, q.BY_SERVER)


def _of_server(expr: str) -> str:
    return f"sum by ({q.BY_SERVER}) ({expr}{{{q.OWNER}}}) {_TOP_SERVERS}"


_TOKEN_PRICE: Final = (
    f"max by ({q.BY_SERVER}) (inference:server_cost_dollars_per_million_tokens:1h{{{q.OWNER}}})"
    f" {_TOP_SERVERS}"
)

# What is wasted
_WASTE: Final = "inference:waste_dollars_per_hour:server_1d"
_WASTED: Final = dollars(q.per_month(f"sum({q.slow(_WASTE, q.OWNER)})"))
_UNUSED: Final = dollars(q.per_month(f"sum({q.slow('inference:unused_dollars_per_hour:server', q.OWNER)})"))
_FREE: Final = dollars(q.per_month(f"sum(inference:unallocated_dollars_per_hour{{{q.OWNER}}})"))
_DOWN: Final = dollars(q.per_month(f"sum(inference:idle_down_dollars_per_hour{{{q.OWNER}}})"))
_SERVERS_IDLE: Final = dollars(q.per_month(f"sum({q.slow(_WASTE, f'{q.OWNER},{q.OF_SERVERS}')})"))
_OBSERVED: Final = "inference:observed_dollars_per_hour:server_1d"
_IDLE_SHARE: Final = ratio(f"sum({q.slow(_WASTE, q.OWNER)}) / (sum({q.slow(_OBSERVED, q.OWNER)}) > 0)")
_WASTE_LINES: Final = q.first_and_others(_DRAWN, f"inference:waste_dollars_per_hour{{{q.OWNER}}}", "product")

# What changed
_YESTERDAY: Final = f"{_SERVER_SPEND[:-1]} offset 1d)"
_MOVED: Final = f"{_SERVER_SPEND} - {_YESTERDAY}"
_TOP_MOVED: Final = q.largest(_SHOWN, f"abs({_MOVED}) > 0", q.BY_SERVER)
_CHANGE: Final = dollars(f"({_MOVED}) {_TOP_MOVED}")
_CAME: Final = dollars(f"topk({_SHOWN}, {_SERVER_SPEND} unless {_YESTERDAY})")
_WENT: Final = dollars(f"topk({_SHOWN}, {_YESTERDAY} unless {_SERVER_SPEND})")


def _change(record: str) -> str:
    now = f"sum by ({q.BY_SERVER}) ({record}{{{q.OWNER}}})"
    then = f"sum by ({q.BY_SERVER}) ({record}{{{q.OWNER}}} offset 1d)"
    return f"({now} - {then}) {_TOP_MOVED}"


# A product's week against the week before: dollars = GPU-hours x price, tokens = GPU-hours x tokens of one.
# `max`: a selector alone keeps its name, which is a column to Grafana, and four names would be four rows.
_WEEK: Final = "cluster, product, team"
_TOP_WEEK: Final = q.largest(
    _SHOWN,
    f"max by ({_WEEK}) (last_over_time(inference:owner_cost_dollars:7d{{{q.OWNER}}}[2h]))",
    _WEEK,
)
_WEEK_DOLLARS, _WEEK_HOURS, _WEEK_PRICE, _WEEK_TOKENS = (
    ratio(f"max by ({_WEEK}) (last_over_time(inference:{name}:week_ratio{{{q.OWNER}}}[2h])) {_TOP_WEEK}")
    for name in ("cost_dollars", "gpu_hours", "gpu_hour_price", "tokens_per_gpu_hour")
)
_PHASES: Final = dollars(f"sum by (phase) (inference:phase_dollars_per_hour:owner{{{q.OWNER}}})", "{{phase}}")
_GPU_HOUR: Final = dollars(
    f"sum by (gpu_model) (inference:gpu_price_dollars_per_hour:model{{{q.CLUSTER}}})"
    f" / sum by (gpu_model) (inference:gpus_priced:model{{{q.CLUSTER}}})",
    "{{gpu_model}}",
)


def fleet() -> dashboard.Dashboard:
    """Four questions in the order in which they are asked; the first one fills the first screen."""
    empty = board(
        "fleet",
        UID,
        "What do we spend, and will we pass the budget? Who spends it? What is wasted? What changed?",
        ("cluster", "product", "team"),
        refresh="1m",
    )
    built = with_panels(
        empty.with_row(dashboard.Row("1. What do we spend, and will we pass the budget? The whole fleet")),
        *_now(),
        *_month(),
        *_budget(),
    )
    built = with_panels(
        built.with_row(dashboard.Row("2. Who spends it? The clusters, products and teams chosen above")),
        *_owners(),
        *_servers(),
    )
    built = with_panels(
        built.with_row(dashboard.Row("3. What is wasted, and where?")), *_wasted(), *_where_wasted()
    )
    return with_panels(built.with_row(dashboard.Row("4. What changed?")), *_changed(), *_why())


def _now() -> tuple[Panel, ...]:
    return (
        number(
            "Spend now, dollars per hour",
            "What all servers and unallocated GPUs cost at this moment, silent hosts at their last rate. "
            f"Fleet overheads are not in it. {_ALL} "
            "Absent: no host has answered for longer than a silent host is believed to run.",
            _SPEND,
            decimals=2,
        ),
        number(
            "Spend of unreachable hosts, per hour",
            "The part of the spend that continues at its last rate: hosts whose exporter does not "
            "answer, and clusters that send nothing. It may have ended meanwhile. Absent: every host "
            "answers.",
            _SILENT,
            _LOST,
            steps=WARNING,
            decimals=2,
            links=(to.Link("Which hosts", to.METER),),
        ),
        number(
            "Run-rate, per month",
            "The spend of this moment for a whole month, at the hours that the hosts are configured "
            f"with. {_ALL} Absent: nothing is spent, or the hours are unknown.",
            _RUN_RATE,
        ),
        number(
            "Month to date",
            "Spent in open months, removed hosts and clusters included. Two months are shown while time "
            f"zones differ. {_ALL} "
            "Absent: nothing is metered yet.",
            _MONTH,
        ),
        number(
            "Metered since",
            "When the first host began to meter the month, in UTC. What was spent before is in no "
            "figure. Absent: nothing is metered yet.",
            _SINCE,
        ),
        number(
            "Not metered this month",
            "Time of the month before metering began, in the cluster that began last. The month's total "
            "is too small by what was spent then. Absent: nothing is metered yet.",
            _UNMETERED,
        ),
    )


def _month() -> tuple[Panel, ...]:
    return (
        number(
            "Projected at month end",
            "Month to date plus the rest of the month, by the level and the growth of the last three "
            "weeks at the prices of these days. Low and high enclose what the last day alone would say; "
            f"a change counts after 26 hours. {_ALL} Absent: the month's end is unknown.",
            _LOW,
            _PROJECTED,
            _HIGH,
            width=9,
        ),
        number(
            "Projected share of the fleet's budgets",
            "Orange from 80 %, red from 100 %. The three budgets of the fleet that are used most; those "
            f"of products are below. {_ALL} "
            "Absent: no projection yet, or every budget names a product.",
            _SHARE,
            _DEFAULT_SHARE,
            width=6,
            steps=SHARE_OF_BUDGET,
            decimals=0,
        ),
        number(
            "The fleet's budget runs out",
            "The day, in UTC, on which it is spent at the projected rate. "
            f"{_ALL} Absent: every budget of the fleet lasts until the month ends.",
            _RUNS_OUT,
            width=6,
            steps=WARNING,
        ),
        number(
            "Overheads, per hour",
            "Overheads of the whole fleet (`per: fleet`), counted once. They are in no other figure: "
            "not in the month, not against the budget, not in the price of a token. "
            "Absent: none is configured, or no exporter answers.",
            _OVERHEAD,
            width=3,
            decimals=2,
        ),
    )


def _budget() -> tuple[Panel, ...]:
    return (
        rows(
            f"Budgets, by projected share: the first {_SHOWN}",
            "Scope of each budget: the whole fleet where it names no product, else that product in "
            "all clusters. Follows the chosen products. An empty day: the budget lasts until the "
            "month ends. A budget `fleet` of 27,000 is the exporter's default: configure yours. No "
            "row: nothing is metered yet.",
            (("budget", "Budget"), ("product", "Product")),
            columns(_BUDGETS, _SHOWN, spent_share=True),
            links={"budget": _PRODUCT_LINKS, "product": _PRODUCT_LINKS},
            first="Projected share",
            width=14,
            height=8,
        ),
        rows(
            "Alerts",
            "Firing alerts, with links to the runbook and to the dashboard of the subject. No row: "
            "none fires, or the fleet rules are not loaded.",
            (
                ("alertname", "Alert"),
                ("severity", "Severity"),
                ("cluster", "Cluster"),
                ("product", "Product"),
                ("board", "Dashboard"),
            ),
            (("Firing", _ALERTS, NEUTRAL),),
            links={
                "alertname": (to.Runbook(), to.Named("Dashboard of this alert", "board")),
                "board": (to.Named("Dashboard of this alert", "board"),),
            },
            width=10,
            height=8,
        ),
        lines(
            "The month against the budgets of the fleet",
            "Spent, projected, and the band of the projection; each budget without a product is a dashed "
            f"line of its own. {_ALL} A gap: nothing was known.",
            _SPENT_LINE,
            *_PROJECTED_LINES,
            _BUDGET_LINES,
            width=12,
            height=7,
            back="31d",
            limit="^budget .*",
        ),
        lines(
            "Dollars per hour",
            "The spend, and the silent part of it, which continues at its last rate. "
            f"{_ALL} A gap: nothing was known.",
            dollars(_SPEND.expr, "spend"),
            _SILENT,
            _LOST,
            width=12,
            height=7,
        ),
    )


def _owners() -> tuple[Panel, ...]:
    return (
        rows(
            "Clusters",
            "Not yet posted: what silent hosts and lost clusters have spent since they were last seen. "
            "Filtered by cluster only. An empty cell: there is none, or it is not known. "
            "No row: nothing is metered yet.",
            (("cluster", "Cluster"),),
            (
                (
                    "Dollars per hour",
                    dollars(_of_cluster("inference:spend_dollars_per_hour")),
                    NEUTRAL,
                ),
                (
                    "Month to date",
                    dollars(_of_cluster("inference:month_to_date_dollars", _THIS_MONTH)),
                    NEUTRAL,
                ),
                (
                    "Projected",
                    dollars(_of_cluster("inference:month_projected_dollars", _THIS_MONTH)),
                    NEUTRAL,
                ),
                (
                    "Not yet posted",
                    dollars(_of_cluster("inference:month_unposted_dollars", _THIS_MONTH)),
                    WARNING,
                ),
                (
                    "Not metered",
                    Query(
                        f"max by (cluster) (inference:month_unmetered_hours{{{q.CLUSTER}}} {_THIS_MONTH})",
                        "h",
                    ),
                    NEUTRAL,
                ),
                ("Hosts", Query(_of_cluster("inference:hosts_metered"), "short"), NEUTRAL),
                (
                    "Silent hosts",
                    Query(
                        f"count by (cluster) (inference:host_silent_since_timestamp_seconds{{{q.CLUSTER}}})",
                        "short",
                    ),
                    WARNING,
                ),
            ),
            links={"cluster": _CLUSTER_LINKS},
            width=12,
            height=8,
        ),
        lines(
            f"Dollars per hour, by product: the first {_DRAWN}",
            "The products that spend most at the end of the shown time; silent hosts at their last rate. A "
            "price change is a step. A gap: no exporter answered.",
            *_PRODUCT_LINES,
            links=_PRODUCT_LINKS,
            width=12,
            height=8,
            stacked=True,
        ),
    )


def _servers() -> tuple[Panel, ...]:
    product = to.Link("Months of this product", to.CHARGEBACK, ("product", "team"))
    return (
        rows(
            f"Products and teams: the first {_SHOWN}, by what they spend now",
            "Month to date and projection are of the whole fleet: a product is projected across clusters. "
            "The projections of all owners sum to the fleet's. No row: nothing is metered yet.",
            (("product", "Product"), ("team", "Team")),
            (
                ("Dollars per hour", _of_owner("inference:spend_dollars_per_hour:owner", q.OWNER), NEUTRAL),
                (
                    "Month to date",
                    _of_owner("inference:month_to_date_dollars:owner", q.PRODUCT, _THIS_MONTH),
                    NEUTRAL,
                ),
                (
                    "Projected",
                    _of_owner("inference:month_projected_dollars:owner", q.PRODUCT, _THIS_MONTH),
                    NEUTRAL,
                ),
                (
                    "Low",
                    _of_owner("inference:month_projected_dollars:owner_low", q.PRODUCT, _THIS_MONTH),
                    NEUTRAL,
                ),
                (
                    "High",
                    _of_owner("inference:month_projected_dollars:owner_high", q.PRODUCT, _THIS_MONTH),
                    NEUTRAL,
                ),
                (
                    "Run-rate, per month",
                    _of_owner("inference:monthly_run_rate_dollars:owner", q.OWNER),
                    NEUTRAL,
                ),
            ),
            links={"product": _OWNER_LINKS, "team": _OWNER_LINKS},
            width=24,
            height=8,
        ),
        rows(
            f"Servers: the first {_SHOWN}, by what they spend now",
            "Servers of hosts that answer; `unallocated` is GPUs that no server holds. An empty price: fewer "
            "than 1,000 tokens in the last hour, or a GPU without a price. An empty cell elsewhere: the "
            "exporter does not know, as with tokens of a server that exports none.",
            SERVER_KEYS,
            (
                ("Dollars per hour", dollars(f"topk({_SHOWN}, {_SERVER_SPEND})"), NEUTRAL),
                ("GPUs", Query(_of_server("inference:party_gpus:rate5m"), "short"), NEUTRAL),
                ("Tokens per second", Query(_of_server("inference:server_tokens:rate5m"), "short"), NEUTRAL),
                ("Dollars per million tokens, 1 h", dollars(_TOKEN_PRICE), NEUTRAL),
                *levels.columns(_TOP_SERVERS),
            ),
            links={"server": _SERVER_LINKS, "product": (product,), "cluster": _CLUSTER_LINKS},
            width=24,
            height=8,
        ),
    )


def _wasted() -> tuple[Panel, ...]:
    waste = (to.Link("Which ones", to.WASTE),)
    return (
        number(
            "Wasted, per month",
            "A month of what the idle time of the last 24 h cost: servers and unallocated GPUs. Only a "
            "part can be saved while there are peaks. Absent: no GPU has a price.",
            _WASTED,
            links=waste,
        ),
        number(
            "Switch off, per month",
            "Servers whose GPUs did nothing for 12 hours. Absent: there is none, or no GPU has a price.",
            _UNUSED,
            links=waste,
        ),
        number(
            "Give back, per month",
            "GPUs that no server holds, at what they cost now. "
            "Absent: every GPU is held, or none has a price.",
            _FREE,
            links=waste,
        ),
        number(
            "Repair, per month",
            "Servers that hold GPUs and answer on no endpoint, at what they cost now. "
            "Absent: every server answers.",
            _DOWN,
            links=waste,
        ),
        number(
            "Shrink, per month",
            "Idle time of servers, including those to switch off or to repair. "
            "Absent: no server holds a GPU with a price.",
            _SERVERS_IDLE,
            links=waste,
        ),
        number(
            "Idle share, last 24 h",
            "Of the money of servers that are here now and of unallocated GPUs. Time that was not "
            "observed is left out. Orange from 20 %, red from 50 %. "
            "Absent: nothing was spent, or nothing was observed.",
            _IDLE_SHARE,
            steps=IDLE,
            decimals=0,
            links=waste,
        ),
    )


def _where_wasted() -> tuple[Panel, ...]:
    links = {"server": _SERVER_LINKS, "product": _OWNER_LINKS, "cluster": _CLUSTER_LINKS}
    return (
        findings(_SHOWN, q.OWNER, links, 14),
        lines(
            f"When: idle dollars per hour, by product: the first {_DRAWN}",
            "Rising nights and weekends call for a schedule. A gap: no exporter answered.",
            *_WASTE_LINES,
            links=(to.Link("Waste of this product", to.WASTE, ("product",)),),
            width=10,
            height=8,
            stacked=True,
        ),
    )


def _changed() -> tuple[Panel, ...]:
    return (
        rows(
            f"Servers that cost more or less than a day ago: the first {_SHOWN}",
            "More GPUs: it grew. The same GPUs and more dollars: prices changed, as below. New: it was not "
            "here a day ago. Gone: what it cost then. An empty cell: not so, or not known. "
            "No row: nothing changed.",
            SERVER_KEYS,
            (
                ("Change, per hour", _CHANGE, NEUTRAL),
                ("New, per hour", _CAME, NEUTRAL),
                ("Gone, per hour", _WENT, NEUTRAL),
                ("Change in GPUs", Query(_change("inference:party_gpus:rate5m"), "short"), NEUTRAL),
                (
                    "Change in tokens per second",
                    Query(_change("inference:server_tokens:rate5m"), "short"),
                    NEUTRAL,
                ),
            ),
            links={"server": _SERVER_LINKS, "product": _OWNER_LINKS, "cluster": _CLUSTER_LINKS},
            width=24,
            height=8,
        ),
    )


def _why() -> tuple[Panel, ...]:
    return (
        rows(
            "This week over the week before",
            "Dollars are GPU-hours times their price; more tokens per GPU-hour is the better use of it. "
            f"The {_SHOWN} that spent most. No row: two weeks are not recorded yet. "
            "Exact effects between two months, from ledgers: "
            "inference-cost-exporter explain --why --from=FOLDER.",
            (("product", "Product"), ("team", "Team"), ("cluster", "Cluster")),
            (
                ("Dollars", _WEEK_DOLLARS, NEUTRAL),
                ("GPU-hours", _WEEK_HOURS, NEUTRAL),
                ("Price of one", _WEEK_PRICE, NEUTRAL),
                ("Tokens of one", _WEEK_TOKENS, NEUTRAL),
            ),
            links={"product": _OWNER_LINKS, "cluster": _CLUSTER_LINKS},
            width=10,
            height=8,
        ),
        lines(
            "What an hour of a GPU costs, by model",
            "The mean over GPUs of a model, all components together. Filtered by cluster only. "
            "A gap: no GPU of that model has a price.",
            _GPU_HOUR,
            width=7,
            height=8,
        ),
        lines(
            "What the money was for, dollars per hour",
            "By phase. `other` is busy time for which no token was counted; `unobserved` is charged "
            "time without an exporter. A gap: nothing was spent.",
            _PHASES,
            width=7,
            height=8,
            stacked=True,
        ),
    )
