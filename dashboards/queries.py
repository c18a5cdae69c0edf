"""What a query is, and the selectors that the queries of all dashboards are made of.

Queries of a fleet's month take what the fleet rules record (deploy/prometheus), since only they remember
hosts that are gone; everything else asks the exporter's own series.
A query yields nothing where nothing is known. None of them turns that into a zero.
"""

from dataclasses import dataclass
from typing import Final, Literal

Unit = Literal["currencyUSD", "percentunit", "short", "s", "cps", "bytes", "watt"]
"""Grafana's names: dollars, ratio of one, a count, seconds, a count per second, bytes (1,024s), watts."""


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression; `legend` is empty where the panel names the value itself."""

    expr: str
    unit: Unit
    legend: str = ""


# What a reader's choice selects; the dashboards differ in which labels their metrics have.
CLUSTER: Final = 'cluster=~"$cluster"'
HOST: Final = f'{CLUSTER},instance=~"$instance"'
OWNER: Final = f'{CLUSTER},product=~"$product",team=~"$team"'
SERVER: Final = f'{OWNER},namespace=~"$namespace",server=~"$server"'
HOLDER: Final = f'{CLUSTER},namespace=~"$namespace",server=~"$server"'
"""For metrics of a server that do not say who pays."""
MODEL: Final = f'{SERVER},model=~"$model"'
HELD: Final = 'server!="unallocated"'
"""GPUs that a server holds, be it idle or busy."""

FIRING: Final = 'ALERTS{cluster=~"$cluster|",alertname=~"Inference.+",alertstate="firing"}'
"""Alerts of the chosen clusters, and those of the whole fleet, which have no cluster."""

# Rows of tables
BY_SERVER: Final = "cluster, namespace, server"
BY_GPU: Final = "cluster, instance, uuid, gpu_model"

HOURS_PER_MONTH: Final = 730
"""A mean month. Hosts may be configured otherwise for their run-rate; here rates of many hosts are added."""

BUDGET: Final = 'product=~"$product|"'
"""Budgets of the chosen products, and those without a product."""
FLEET_BUDGET: Final = 'min(inference:budget_dollars{product=""})'
"""The budget that the alerts compare with: the smallest one without a product."""


def idle_share(selector: str, by: str, window: str) -> str:
    """Idle dollars over all that were watched; unobserved money is left out: nobody saw if it was idle."""
    idle, watched = (
        f"sum by ({by}) (rate(inference_cost_dollars_total{{{selector},{phase}}}[{window}]))"
        for phase in ('phase="idle"', 'phase!="unobserved"')
    )
    return f"{idle} / ({watched} > 0)"
