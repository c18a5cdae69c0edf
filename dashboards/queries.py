"""What a query is, and the selectors that the queries of all dashboards are made of.

Queries take what the rules record (deploy/prometheus). Only the dashboards of one host and of the meter ask
the exporter's own series.
A query yields nothing where nothing is known. None of them turns that into a zero.
"""

from dataclasses import dataclass
from typing import Final, Literal

Unit = Literal[
    "currencyUSD",
    "percentunit",
    "short",
    "locale",
    "s",
    "h",
    "bytes",
    "watt",
    "time:YYYY-MM-DD",
    "time:YYYY-MM-DD HH:mm",
]
"""Grafana's names: dollars, ratio of one, a count in thousands (K), a whole count, seconds, hours, bytes
(1,024s), watts, and milliseconds since 1970 as a date and as a moment.

A count per second has the unit `short` and "per second" in its title: Grafana has no unit for tokens.
"""


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression; `legend` is empty where the panel names the value itself."""

    expr: str
    unit: Unit
    legend: str = ""


def dollars(expr: str, legend: str = "") -> Query:
    """A query of dollars."""
    return Query(expr, "currencyUSD", legend)


def ratio(expr: str, legend: str = "") -> Query:
    """A query of a part of 1, shown in percent."""
    return Query(expr, "percentunit", legend)


# What a reader's choice selects; the dashboards differ in which labels their metrics have.
CLUSTER: Final = 'cluster=~"$cluster"'
HOST: Final = f'{CLUSTER},instance=~"$instance"'
PRODUCT: Final = 'product=~"$product",team=~"$team"'
OWNER: Final = f"{CLUSTER},{PRODUCT}"
SERVER: Final = f'{OWNER},namespace=~"$namespace",server=~"$server"'
HOLDER: Final = f'{CLUSTER},namespace=~"$namespace",server=~"$server"'
"""For metrics of a server that do not say who pays."""
MODEL: Final = f'{OWNER},model=~"$model"'
OF_SERVERS: Final = 'server!="unallocated"'
"""GPUs that a server holds, be it idle or busy."""

FIRING: Final = 'ALERTS{alertname=~"Inference.+",alertstate="firing"}'

# Rows of tables
BY_OWNER: Final = "product, team"
BY_SERVER: Final = "cluster, product, team, namespace, server"
BY_FINDING: Final = f"{BY_SERVER}, kind, form"
BY_GPU: Final = "cluster, instance, uuid, gpu_model"

HOURS_PER_MONTH: Final = "* on () group_left () inference:fleet_hours_per_month"
"""Brings dollars per hour to dollars per month, by the hours that the hosts are configured with."""
SLOW: Final = "25m"
"""How far to look back for what is recorded every 10 minutes."""


def savings(selector: str) -> str:
    """Dollars a month of each finding; replicas count once."""
    return f"max by ({BY_FINDING}) (inference:saving_dollars_per_month:server{{{selector}}})"


def per_month(dollars_per_hour: str) -> str:
    """A month of a rate that has been added up."""
    return f"({dollars_per_hour}) {HOURS_PER_MONTH}"


def slow(record: str, selector: str) -> str:
    """The last value of a record of the group of 10 minutes."""
    return f"last_over_time({record}{{{selector}}}[{SLOW}])"


def first_and_others(count: int, vector: str, by: str) -> tuple[Query, Query]:
    """Lines of dollars: those of the labels that are largest at the end of the shown time, and all others."""
    each = f"sum by ({by}) ({vector})"
    first = f"topk({count}, sum by ({by}) ({vector} @ end()))"
    return (
        dollars(f"{each} and on ({by}) {first}", f"{{{{{by}}}}}"),
        dollars(f"sum({each} unless on ({by}) {first})", "all others"),
    )


def largest(count: int, expr: str, by: str) -> str:
    """The rows of the largest values alone: what follows the query of another column of a table."""
    return f"and on ({by}) topk({count}, {expr})"
