"""The dashboard "Inference cost": what is spent, whether the budget holds, what tokens cost, who is idle."""

from typing import Final

import queries as q
from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as model
from panels import ANY_IS_BAD, BOOKS, DATASOURCE, IDLE, NEUTRAL, SHARE_OF_BUDGET, bars, lines, number, rows

UID: Final = "inference-cost"
"""Links and alerts point at it; it never changes."""

ALL: Final = ".*"
"""What "All" stands for: it also matches series without the label, as where nothing sets `cluster`."""

NOT_BY_SERVER: Final = "Not filtered by server. Needs the fleet rules; without them it is absent."


def _datasource() -> dashboard.DatasourceVariable:
    return dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")


def _label(name: str, heading: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(heading)
        .query(query)
        .datasource(DATASOURCE)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(ALL)
        .current(model.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def inference_cost() -> dashboard.Dashboard:
    """Lay the dashboard out: money first, tokens, servers, and last whether the figures can be trusted."""
    board = (
        dashboard.Dashboard("Inference cost")
        .uid(UID)
        .description(
            "What LLM inference on our own GPUs costs, as the Inference Cost Exporter accounts for it."
        )
        .tags(["cost", "gpu", "inference"])
        .timezone("browser")
        .time("now-24h", "now")
        .refresh("1m")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .with_variable(_datasource())
        .with_variable(_label("cluster", "Cluster", q.CLUSTERS))
        .with_variable(_label("server", "Server", q.SERVERS))
    )
    for place in (_money, _tokens, _servers):
        board = place(board)
    return _details(board)


def _money(board: dashboard.Dashboard) -> dashboard.Dashboard:
    return (
        board.with_panel(
            number(
                "Spend now, dollars per hour",
                "What the selected servers cost per hour at this moment; `unallocated` is GPUs that no "
                "server holds. The fleet's overheads, beside, are not in it. "
                "Absent: no exporter is answering, or no GPU has a price.",
                q.SPEND_NOW,
                width=3,
                decimals=2,
                trend=True,
            )
        )
        .with_panel(
            number(
                "Fleet overheads, per hour",
                "Overheads of the whole fleet (`per: fleet`), counted once. They are in no other figure: "
                "not in the month, not against the budget, not in the price of a token. "
                "Not filtered by cluster or server. "
                "Absent: none is configured, no exporter is answering, or the fleet rules are not loaded.",
                q.FLEET_OVERHEAD,
                width=3,
                decimals=2,
            )
        )
        .with_panel(
            number(
                "Month to date",
                "Spent this calendar month, hosts that are gone included. "
                f"Absent: nothing has been accounted for yet. {NOT_BY_SERVER}",
                q.MONTH_TO_DATE,
                width=3,
                decimals=0,
            )
        )
        .with_panel(
            number(
                "Projected at month end",
                "Month to date plus the hours left at the mean rate of the last 7 days (24 h until then). "
                f"Absent: the rate or the month's end is unknown. {NOT_BY_SERVER}",
                q.PROJECTED,
                width=3,
                decimals=0,
            )
        )
        .with_panel(
            bars(
                "Of the monthly budget",
                "Month to date and projection over the smallest budget without a product, the one that the "
                "alerts compare with; of the selected clusters, while the budget is the whole fleet's. "
                f"Absent: no such budget is exported. {NOT_BY_SERVER}",
                q.BUDGET_SPENT,
                q.BUDGET_PROJECTED,
                width=6,
                height=4,
                steps=SHARE_OF_BUDGET,
                full=1.2,
                decimals=0,
            )
        )
        .with_panel(
            number(
                "Idle share, last hour",
                "The part of the selected servers' money that was spent on idle GPUs; time that nobody "
                "observed is left out. Absent: nothing was spent, or nothing was observed.",
                q.IDLE_SHARE,
                width=3,
                steps=IDLE,
                decimals=0,
            )
        )
        .with_panel(
            number(
                "GPUs without a price",
                "Their cost is in no figure here until a price is configured; the table below names them. "
                "Absent: no exporter sees a GPU.",
                q.UNPRICED_GPUS,
                width=3,
                steps=ANY_IS_BAD,
                decimals=0,
            )
        )
        .with_panel(
            lines(
                "Spend by server, dollars per hour",
                "A gap: the exporters of that server's hosts had nothing to say. A price change is a step.",
                q.SPEND_BY_SERVER,
                width=12,
                height=7,
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "The month against its budget",
                f"Spent and projected this month. No red line: no budget without a product. {NOT_BY_SERVER}",
                q.SPENT_LINE,
                q.PROJECTED_LINE,
                q.BUDGET_LINE,
                width=12,
                height=7,
                limit=q.BUDGET_LINE.legend,
            )
        )
    )


def _tokens(board: dashboard.Dashboard) -> dashboard.Dashboard:
    return (
        board.with_panel(
            lines(
                "Dollars per million tokens by model, last hour",
                "All dollars of a model over all its tokens (prompt, cached, generated), idle time included. "
                f"Absent: fewer than 1,000 tokens in that hour; an idle model is not free. {NOT_BY_SERVER}",
                q.PRICE_BY_MODEL,
                width=8,
                height=7,
            )
        )
        .with_panel(
            bars(
                "Dollars per million tokens by model, last 24 h",
                "As beside, over a day, so that the night's idle GPUs are in it. "
                f"Absent: fewer than 1,000 tokens in that day. {NOT_BY_SERVER}",
                q.PRICE_BY_MODEL_DAY,
                width=6,
                height=7,
                steps=NEUTRAL,
                decimals=2,
            )
        )
        .with_panel(
            lines(
                "What the money was for",
                "Shares by phase of the selected servers. `other` is busy without a token told; `unobserved` "
                "is charged time that nobody watched. A gap: nothing was spent.",
                q.PHASE_SHARE,
                width=10,
                height=7,
                stacked=True,
                full=1,
            )
        )
    )


def _servers(board: dashboard.Dashboard) -> dashboard.Dashboard:
    return (
        board.with_panel(
            rows(
                "Servers",
                "An empty price: fewer than 1,000 tokens in the last hour. An empty cell elsewhere: the "
                "exporter does not know, as with tokens of a server that exports none.",
                (("server", "Server"), ("namespace", "Namespace"), ("cluster", "Cluster")),
                (
                    ("Dollars per hour", q.SERVER_SPEND, NEUTRAL),
                    ("GPUs", q.SERVER_GPUS, NEUTRAL),
                    ("Idle share, 1 h", q.SERVER_IDLE, IDLE),
                    ("Dollars per million tokens, 1 h", q.SERVER_PRICE, NEUTRAL),
                    ("Tokens per second", q.SERVER_TOKENS, NEUTRAL),
                    ("Since last token", q.SERVER_SILENT, NEUTRAL),
                ),
                width=16,
                height=7,
            )
        )
        .with_panel(
            number(
                "Hosts",
                "Exporters that answer, and ledgers seen in the last 6 hours and silent now, whose money is "
                "short. No `missing`: all are here, or the fleet rules are not loaded.",
                q.HOSTS,
                q.HOSTS_MISSING,
                height=7,
                decimals=0,
            )
        )
        .with_panel(
            number(
                "Books residual",
                "Dollars accrued minus dollars posted, the worst of all hosts. Anything but 0 is a bug: "
                "please report it. Absent: no exporter is answering.",
                q.RESIDUAL,
                height=7,
                steps=BOOKS,
            )
        )
    )


def _details(board: dashboard.Dashboard) -> dashboard.Dashboard:
    row = (
        dashboard.Row("What cannot be read or priced")
        .collapsed(True)
        .with_panel(
            number(
                "Sources failing",
                "NVML, the inference servers and whatever else the exporters read; the table names them. "
                "Absent: no exporter is answering.",
                q.FAILING_SOURCES,
                steps=ANY_IS_BAD,
                decimals=0,
            )
        )
        .with_panel(
            number(
                "GPUs not readable",
                "Known, still paid for, and lost: off the bus, or their driver is gone. "
                "Absent: no exporter sees a GPU.",
                q.UNREADABLE_GPUS,
                steps=ANY_IS_BAD,
                decimals=0,
            )
        )
        .with_panel(
            rows(
                "Failing sources",
                "No row: every source answers. An empty age: the source has never answered.",
                (("source", "Source"), ("instance", "Instance"), ("cluster", "Cluster")),
                (("Since last success", q.SOURCE_SILENT, NEUTRAL), ("Errors, 1 h", q.SOURCE_ERRORS, NEUTRAL)),
                width=8,
                height=7,
            )
        )
        .with_panel(
            rows(
                "GPUs without a price, estimated or not readable",
                "No row: every GPU is readable and always had a price that somebody stands for. What "
                "hardware cost in unpriced time is in no figure here until a price comes that covers it; "
                "what an estimate came to is in all of them.",
                (("gpu_model", "Model"), ("uuid", "UUID"), ("instance", "Instance"), ("cluster", "Cluster")),
                (
                    ("Unpriced time", q.GPU_UNPRICED_TIME, NEUTRAL),
                    ("Without a price", q.GPU_NOT_PRICED, ANY_IS_BAD),
                    ("Estimate, per hour", q.GPU_ESTIMATED, NEUTRAL),
                    ("Not readable", q.GPU_NOT_READABLE, ANY_IS_BAD),
                ),
                width=8,
                height=7,
            )
        )
    )
    return board.with_row(row)
