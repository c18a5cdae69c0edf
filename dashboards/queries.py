"""Every query of the dashboard, with what its value is measured in.

Queries of money per month and per model take what the fleet rules record (written by rules/), since
only they remember hosts that are gone; everything else asks the exporter's own series.
A query yields nothing where nothing is known. None of them turns that into a zero.
"""

from dataclasses import dataclass
from typing import Final, Literal

Unit = Literal["currencyUSD", "percentunit", "short", "s", "cps"]
"""Grafana's names: dollars, ratio of one, a count, seconds, and a count per second."""

CLUSTER: Final = 'cluster=~"$cluster"'
SERVER: Final = f'{CLUSTER},server=~"$server"'
FLEET_BUDGET: Final = 'min(inference:budget_dollars{product=""})'
"""The budget that the alerts compare with: the smallest one without a product."""


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression; `legend` is empty where the panel names the value itself."""

    expr: str
    unit: Unit
    legend: str = ""


# Variables
CLUSTERS: Final = "label_values(inference_exporter_info, cluster)"
SERVERS: Final = f"label_values(inference_cost_dollars_per_hour{{{CLUSTER}}}, server)"

# Money of the moment
SPEND_NOW: Final = Query(f"sum(inference_cost_dollars_per_hour{{{SERVER}}})", "currencyUSD")
FLEET_OVERHEAD: Final = Query("inference:fleet_overhead_dollars_per_hour", "currencyUSD")
SPEND_BY_SERVER: Final = Query(
    f"sum by (server) (inference_cost_dollars_per_hour{{{SERVER}}})", "currencyUSD", "{{server}}"
)

# The month, of the whole fleet
MONTH_TO_DATE: Final = Query(
    f"sum by (month) (inference:month_to_date_dollars{{{CLUSTER}}})", "currencyUSD", "{{month}}"
)
PROJECTED: Final = Query(
    f"sum by (month) (inference:month_projected_dollars{{{CLUSTER}}})", "currencyUSD", "{{month}}"
)
SPENT_LINE: Final = Query(MONTH_TO_DATE.expr, "currencyUSD", "spent {{month}}")
PROJECTED_LINE: Final = Query(PROJECTED.expr, "currencyUSD", "projected {{month}}")
BUDGET_LINE: Final = Query(FLEET_BUDGET, "currencyUSD", "budget")
BUDGET_SPENT: Final = Query(
    f"{MONTH_TO_DATE.expr} / on () group_left () {FLEET_BUDGET}", "percentunit", "spent"
)
BUDGET_PROJECTED: Final = Query(
    f"{PROJECTED.expr} / on () group_left () {FLEET_BUDGET}", "percentunit", "projected"
)

# What tokens cost
PRICE_BY_MODEL: Final = Query(
    # A ratio of sums cannot be summed again, so each cluster keeps its own line.
    f"inference:cost_dollars_per_million_tokens:1h{{{CLUSTER}}}",
    "currencyUSD",
    "{{model}} {{cluster}}",
)
PRICE_BY_MODEL_DAY: Final = Query(
    f"inference:cost_dollars_per_million_tokens:24h{{{CLUSTER}}}", "currencyUSD", "{{model}} {{cluster}}"
)

# What the money was for. Unobserved money is left out of the idle share: nobody saw whether it was idle.
IDLE_SHARE: Final = Query(
    f'sum(rate(inference_cost_dollars_total{{{SERVER},phase="idle"}}[1h]))'
    f' / (sum(rate(inference_cost_dollars_total{{{SERVER},phase!="unobserved"}}[1h])) > 0)',
    "percentunit",
)
PHASE_SHARE: Final = Query(
    f"sum by (phase) (rate(inference_cost_dollars_total{{{SERVER}}}[$__rate_interval]))"
    " / on () group_left ()"
    f" (sum(rate(inference_cost_dollars_total{{{SERVER}}}[$__rate_interval])) > 0)",
    "percentunit",
    "{{phase}}",
)

# One row per server
BY_SERVER: Final = "cluster, namespace, server"
SERVER_SPEND: Final = Query(
    f"sum by ({BY_SERVER}) (inference_cost_dollars_per_hour{{{SERVER}}})", "currencyUSD"
)
SERVER_GPUS: Final = Query(f"sum by ({BY_SERVER}) (inference_server_gpus{{{SERVER}}})", "short")
SERVER_IDLE: Final = Query(
    f'sum by ({BY_SERVER}) (rate(inference_cost_dollars_total{{{SERVER},phase="idle"}}[1h]))'
    f' / (sum by ({BY_SERVER}) (rate(inference_cost_dollars_total{{{SERVER},phase!="unobserved"}}[1h])) > 0)',
    "percentunit",
)
SERVER_PRICE: Final = Query(
    f"1e6 * sum by ({BY_SERVER}) (increase(inference_cost_dollars_total{{{SERVER}}}[1h]))"
    f" / (sum by ({BY_SERVER}) (increase(inference_tokens_total{{{SERVER}}}[1h])) >= 1000)",
    "currencyUSD",
)
SERVER_TOKENS: Final = Query(f"sum by ({BY_SERVER}) (rate(inference_tokens_total{{{SERVER}}}[5m]))", "cps")
SERVER_SILENT: Final = Query(
    f"time() - max by ({BY_SERVER}) (inference_server_last_token_timestamp_seconds{{{SERVER}}})", "s"
)

# Whether the figures can be trusted
UNPRICED_GPUS: Final = Query(f"sum(1 - inference_gpu_priced{{{CLUSTER}}})", "short")
UNREADABLE_GPUS: Final = Query(f"sum(1 - inference_gpu_up{{{CLUSTER}}})", "short")
RESIDUAL: Final = Query(f"max(abs(inference_ledger_residual_dollars{{{CLUSTER}}}))", "currencyUSD")
FAILING_SOURCES: Final = Query(f"sum(1 - inference_source_up{{{CLUSTER}}})", "short")
HOSTS: Final = Query(f"count(inference_exporter_info{{{CLUSTER}}})", "short", "reporting")
HOSTS_MISSING: Final = Query(f"sum(inference:hosts_missing{{{CLUSTER}}})", "short", "missing")

# Which ones: rows of what is wrong, no row where all is well
BY_SOURCE: Final = "cluster, instance, source"
SOURCE_SILENT: Final = Query(
    f"(time() - max by ({BY_SOURCE}) (inference_source_last_success_timestamp_seconds{{{CLUSTER}}}))"
    f" and on ({BY_SOURCE}) (inference_source_up{{{CLUSTER}}} == 0)",
    "s",
)
SOURCE_ERRORS: Final = Query(
    f"sum by ({BY_SOURCE}) (increase(inference_source_errors_total{{{CLUSTER}}}[1h]))"
    f" and on ({BY_SOURCE}) (inference_source_up{{{CLUSTER}}} == 0)",
    "short",
)
BY_GPU: Final = "cluster, instance, uuid, gpu_model"
GPU_NOT_PRICED: Final = Query(f"count by ({BY_GPU}) (inference_gpu_priced{{{CLUSTER}}} == 0)", "short")
GPU_NOT_READABLE: Final = Query(f"count by ({BY_GPU}) (inference_gpu_up{{{CLUSTER}}} == 0)", "short")
# Of a rent, whose origin one row tells: several components would be several rows of the same GPU.
GPU_ESTIMATED: Final = Query(
    f'max by ({BY_GPU}) (inference_gpu_price_dollars_per_hour{{{CLUSTER},component="rent"}})'
    f' and on ({BY_GPU}) inference_price_info{{{CLUSTER},component="rent",price_basis="estimate"}}',
    "currencyUSD",
)
GPU_UNPRICED_TIME: Final = Query(
    f"sum by ({BY_GPU}) (inference_gpu_unpriced_seconds_total{{{CLUSTER}}} > 0)", "s"
)
