"""Hosts of one cluster: what each has posted and spends, which are silent, and what all of them export alike."""

from typing import Final

from exporter.vendors import VENDORS

OWNER: Final = "cluster, product, team"
SERVER: Final = f"{OWNER}, namespace, server"
NAMED: Final = "cluster, namespace, server"
HOST: Final = "cluster, ledger, instance, node"
POSTING: Final = "ledger, month, product, team, price_basis"
"""One line of one ledger's month. A ledger's id is unique in the world, so no cluster is in it."""

GPU_RESOURCES: Final = "|".join(vendor.gpu_resources for vendor in VENDORS)
"""Extended resources that are GPUs, as kube-state-metrics spells them."""

JOB: Final = ".*inference-cost-exporter.*"
"""Scrape jobs of the exporter, by README and by the chart's PodMonitor."""

MONTH: Final = "inference_month_to_date_dollars"
RATE: Final = "inference_cost_dollars_per_hour"
LEDGER_SEEN: Final = "inference:ledger_seen_timestamp_seconds"
SINCE: Final = "inference:host_silent_since_timestamp_seconds"
SPENDS: Final = "inference:cost_dollars_per_hour:host"
SILENT: Final = "inference:silent_dollars_per_hour:host"
UNIQUE: Final = "unless on (cluster, instance) inference:duplicate_targets"

NEWEST: Final = f"topk by (cluster, instance) (1, max by ({HOST}) (timestamp({MONTH})))"
"""The ledger that each target reports: of two, while the one before is still within the lookback, the newer."""

CHOSEN: Final = f"topk by (ledger) (1, group by ({HOST}) ({NEWEST}))"
"""One target of each ledger, however many jobs scrape it; always the same one, since all are 1."""

CANDIDATES: Final = f"""topk by (ledger) (1, max by ({HOST}) (
    last_over_time({LEDGER_SEEN}[70m])
    or
    last_over_time({SINCE}{{ledger!=""}}[70m])
  ))
  > time() - 14 * 86400
  unless on (ledger) {MONTH}
  unless on (cluster, instance) {MONTH}"""
HOSTS: Final = f"""\
rules inference-hosts every 1m: Hosts of a cluster
record inference:month_to_date_dollars:posting (cluster, ledger, month, product, team, price_basis): Month to date of each ledger that answers, and for 5 minutes of one that fell silent.
# Five minutes: a host that is gone has posted what it had spent to its last scrape.
max by (cluster, {POSTING}) (last_over_time({MONTH}[5m]))
record {LEDGER_SEEN} (cluster, ledger, instance, node): Last scrape of each ledger that answers, by one target.
{NEWEST}
and
  {CHOSEN}
record inference:duplicate_targets (cluster, ledger, instance): 1: a target whose ledger another target reports as well; its spend and tokens are left out.
# Two jobs scrape one exporter under two addresses, or two hosts run on one copied ledger.
group by (cluster, ledger, instance) ({NEWEST})
unless on (cluster, ledger, instance)
  {CHOSEN}
record {SPENDS} (cluster, ledger, instance, node, product, team): Spend of each host that answers.
sum by (cluster, instance, product, team) (max by ({SERVER}, instance, model) ({RATE}))
* on (cluster, instance) group_left (ledger, node)
  {CHOSEN}
record {SINCE} (cluster, ledger, instance, node): Last scrape of each host that does not answer and is believed to run; 0 for one that never answered.
# A host is believed to run while its target is there, or its node without an exporter, and is gone otherwise.
# It is gone too where its target answers with another ledger. Of a target that is down, and whose host answers
# elsewhere, the last scrape is remembered from 70 minutes after it on, while 80 still reach it.
(
  {CANDIDATES}
  and on (cluster, instance) (
  max by (cluster, instance) (up) == 0
  or
  group by (cluster, instance) (up{{job=~"{JOB}"}})
)
)
or
(
  {CANDIDATES}
  unless on (cluster, node) {MONTH}{{node!=""}}
  and on (cluster, node) kube_node_info
)
or
(
  max by (cluster, instance, node) (
    0 * up{{job=~"{JOB}"}} or last_over_time({LEDGER_SEEN}[80m]) or last_over_time({SINCE}[80m])
  )
  and on (cluster, instance) (up{{job=~"{JOB}"}} == 0)
  unless on (cluster, instance) last_over_time({LEDGER_SEEN}[70m])
  unless on (cluster, instance) last_over_time({SINCE}{{ledger!=""}}[70m])
  unless on (cluster, node) last_over_time({LEDGER_SEEN}{{node!=""}}[70m])
  unless on (cluster, node) last_over_time({SINCE}{{ledger!="",node!=""}}[70m])
)
record {SILENT} (cluster, ledger, instance, node, product, team): Last spend of each host that is silent.
# The minute before is what the host spent last; 70 minutes where rules were not evaluated meanwhile.
(
    max by ({HOST}, product, team) ({SPENDS} offset 1m)
  or on (ledger)
    max by ({HOST}, product, team) ({SILENT} offset 1m)
  or on (ledger)
    max by ({HOST}, product, team) (last_over_time({SPENDS}[70m]))
  or on (ledger)
    max by ({HOST}, product, team) (last_over_time({SILENT}[70m]))
)
and on (cluster, ledger, instance) {SINCE}
record inference:hosts_metered (cluster): Exporters that answer.
count by (cluster) (group by (cluster, instance) (inference_exporter_info))
record inference:gpu_nodes (cluster): Nodes with GPUs that Kubernetes has; absent without kube-state-metrics.
# kube-state-metrics knows those of a device plugin and not those of dynamic resource allocation.
count by (cluster) (
  max by (cluster, node) (kube_node_status_capacity{{resource=~"{GPU_RESOURCES}"}}) > 0
)
record inference:gpu_nodes_unmetered (cluster, node): 1: a node with GPUs that no exporter meters.
group by (cluster, node) (kube_node_status_capacity{{resource=~"{GPU_RESOURCES}"}} > 0)
unless on (cluster, node) group by (cluster, node) (inference_exporter_info)
record inference:cluster_heartbeat_timestamp_seconds (cluster): Time of the last evaluation of these rules.
# It has the external label of this Prometheus, and goes on where no host is left.
vector(time())
"""

HOST_SPEND: Final = f"""\
rules inference-host-spend every 1m: Spend of hosts that answer
# Sums over hosts, apart from the group of hosts: at 2,000 hosts one group of both took a twelfth of a minute.
record inference:cost_dollars_per_hour:server ({SERVER}): Spend of each server, on hosts that answer.
sum by ({SERVER}) (max by ({SERVER}, instance, model) ({RATE}) {UNIQUE})
record inference:cost_dollars_per_hour:owner ({OWNER}): Spend by owner, on hosts that answer.
sum by ({OWNER}) ({SPENDS})
record inference:cost_dollars_per_hour (cluster): Spend of hosts that answer.
sum by (cluster) ({SPENDS})
record inference:silent_dollars_per_hour:owner ({OWNER}): Last spend by owner of hosts that are silent.
sum by ({OWNER}) ({SILENT})
record inference:cost_at_first_price_dollars_per_hour:owner ({OWNER}): Spend by owner at the first price that is configured for each GPU, on hosts that answer.
# A mean of it over days is one of use: a price that changed on a date is no change of it.
sum by ({OWNER}) (
    max by ({OWNER}, instance) (inference_cost_at_first_price_dollars_per_hour) {UNIQUE}
  or on (cluster, instance)
    {SPENDS}
)
record inference:cost_at_rest_price_dollars_per_hour:owner ({OWNER}): Spend by owner at the mean price of the rest of the month, on hosts that answer.
# Dated prices, ends of life, retirements, by each host's tariff.
sum by ({OWNER}) (
  {SPENDS}
  * on (cluster, instance) group_left ()
  (
    max by (cluster, instance) (inference_month_price_change_ratio)
    or
    group by (cluster, instance) ({SPENDS})
  )
)
"""


def of_most(amounts: str, keys: str) -> str:
    """The amount that most have: the lower median, so that it is one that somebody configured."""
    return f"max by ({keys}) ({amounts} <= on ({keys}) group_left () quantile by ({keys}) (0.5, {amounts}))"


CONFIGURED_BUDGETS: Final = (
    "(inference_budget_dollars unless on (cluster, instance) (inference_budget_configured == 0))"
)

SETTINGS: Final = f"""\
rules inference-settings every 1m: Settings that hosts export alike
# Settings common to all hosts, recorded once for the central Prometheus.
record inference:budget_dollars:cluster (cluster, budget, product): Budgets of a cluster, each with the amount that most of its hosts export.
# The default budget is none once any host has a configured one.
{of_most(CONFIGURED_BUDGETS, "cluster, budget, product")}
or on (cluster)
max by (cluster, budget, product) (inference_budget_dollars)
record inference:budget_dollars:deviating (cluster, instance, node, budget, product): Configured budgets of hosts whose amount is not that of most hosts of the cluster.
max by (cluster, instance, node, budget, product) (
  {CONFIGURED_BUDGETS}
  != on (cluster, budget, product) group_left () inference:budget_dollars:cluster
)
record inference:budget_configured:cluster (cluster): 1: a host of the cluster has a configured budget; 0: all have the default one.
# A host that does not export it has a budget that holds.
max by (cluster) (
  max by (cluster, instance) (inference_budget_configured)
  or
  group by (cluster, instance) (inference_budget_dollars)
)
record inference:fleet_overhead_dollars_per_hour:component (cluster, component): Overheads of the whole fleet that the hosts of a cluster export.
max by (cluster, component) (inference_fleet_overhead_dollars_per_hour)
record inference:month_end_timestamp_seconds:cluster (cluster, month): End of each month that hosts export, in the last of their time zones.
max by (cluster, month) (inference_month_end_timestamp_seconds)
record inference:month_end_timestamp_seconds:zones (cluster, month): Time zones of a cluster: instants at which a month ends.
count by (cluster, month) (count_values by (cluster, month) ("end", inference_month_end_timestamp_seconds))
record inference:month_metered_since_timestamp_seconds:cluster (cluster, month): Since when the first host that answers has metered a month.
min by (cluster, month) (inference_month_metered_since_timestamp_seconds)
record inference:hours_per_month (cluster): Hours of a month in run-rates, as configured.
# A host's run-rate over its spend.
round(
  quantile by (cluster) (0.5,
    max by (cluster, instance) (inference_monthly_run_rate_dollars)
    / (sum by (cluster, instance) ({SPENDS}) > 0)
  ),
  0.01
)
"""
