"""Faults of a cluster's exporters: records that exist only while something is wrong."""

from typing import Final

from hosts import LEDGER_SEEN

from exporter.vendors import VENDORS

HOST: Final = "cluster, instance, node"
TARGETS: Final = "group by (cluster, ledger, instance, job) (inference_monthly_run_rate_dollars)"
BEGUN: Final = "inference_ledger_begun_timestamp_seconds"


def failed(metric: str, by: str = HOST) -> str:
    """1 for each host whose metric is 0; of several series of one thing the worst counts."""
    return f"(min by ({by}) ({metric}) == 0) + 1"


SOURCES: Final = "|".join(vendor.source for vendor in VENDORS)
"""What reads the GPUs of any vendor."""

FAULTS: Final = f"""\
rules inference-faults every 1m: Faults of the meter
# Most exist only while something is wrong, so that the central place receives little of a fleet without faults.
record inference:driver_up (cluster): 1: an exporter of the cluster reads the driver; 0: none that answers does.
max by (cluster) (inference_source_up{{source=~"{SOURCES}"}})
record inference:nodes (cluster): Nodes that kube-state-metrics knows.
# With it, a cluster without hosts is known to be scaled to zero.
count by (cluster) (group by (cluster, node) (kube_node_info))
record inference:source_down (cluster, instance, node, source): 1: a source that cannot be read.
# Not the cloud and the node labels: what they leave unknown shows as GPUs without a price, and some pods are kept
# from them on purpose.
{failed('inference_source_up{source!~"cloud|node_labels"}', f"{HOST}, source")}
record inference:exporter_stale_seconds (cluster, instance, node): Time since the last tick of an exporter that answers, above five minutes.
# A tick has the host's time: one whose clock is behind is not stale. Six minutes hold two samples of a series
# that has one in five: Prometheus 3 and VictoriaMetrics leave out the one at the start of a range.
max by ({HOST}) (time() - inference_last_tick_timestamp_seconds) > 300
unless
max by ({HOST}) (
  max_over_time(inference_last_tick_timestamp_seconds[6m]) - min_over_time(inference_last_tick_timestamp_seconds[6m])
) > 0
record inference:gpus_down (cluster, instance, node): GPUs of a host that are paid for and cannot be read.
count by ({HOST}) (min by ({HOST}, uuid) (inference_gpu_up) == 0)
record inference:gpus_excess (cluster, instance, node): GPUs that a host pays for minus those that NVML lists, where they differ.
# A host whose driver cannot be read has no number of visible GPUs: all that it pays for are missing.
max by ({HOST}) (inference_gpus_expected) - max by ({HOST}) (inference_gpus_visible) != 0
or
max by ({HOST}) (inference_gpus_expected) > 0 unless max by ({HOST}) (inference_gpus_visible)
record inference:gpus_metered_twice (cluster, instance, node): GPUs of a host that an exporter with another ledger meters as well.
# One exporter under two addresses has one ledger, of which one address counts.
count by ({HOST}) (
  group by ({HOST}, uuid) (inference_gpu_up)
  and on (cluster, uuid)
  count by (cluster, uuid) (
    group by (cluster, instance, uuid) (inference_gpu_up{{uuid!="unseen"}})
    and on (cluster, instance) {LEDGER_SEEN}
  ) > 1
)
record inference:gpus_unpriced:model (cluster, gpu_model): GPUs without a price, by model.
# By host first: those that were never listed share one UUID.
count by (cluster, gpu_model) (min by (cluster, instance, uuid, gpu_model) (inference_gpu_priced) == 0)
record inference:estimated_dollars_per_hour (cluster): Rent at estimated prices, those left out that are scaled to their region.
# A list price scaled to its region is within a few percent. Its source begins with `scaled`.
sum by (cluster) (
  max by (cluster, instance, uuid) (inference_gpu_price_dollars_per_hour{{component="rent"}})
  and on (cluster, instance, uuid)
  inference_price_info{{component="rent",price_basis="estimate",source!~"(.+: )?scaled .+"}}
)
record inference:ledger_not_persistent (cluster, instance, node): 1: a ledger that a restart or a new pod would lose.
{failed("inference_ledger_persistent")}
record inference:ledger_replaced (cluster, instance, node): Creation time of a host's ledger, for six hours after it took another one's place.
# A new host has no earlier ledger, and an address that went to another node is another host. A pod that is replaced
# has another address on the same node.
max by ({HOST}) ({BEGUN}{{node=""}}) > max by ({HOST}) (min_over_time({BEGUN}{{node=""}}[6h]))
or
max by ({HOST}) ({BEGUN}{{node!=""}})
and on (cluster, node) (
  min by (cluster, node) ({BEGUN}) > min by (cluster, node) (min_over_time({BEGUN}[6h]))
)
record inference:ledger_begun_anew (cluster, instance, node): The same as inference:ledger_replaced; gone with the next release.
# The name of before, for one release.
inference:ledger_replaced
record inference:ledger_targets (cluster, ledger, instance, job): Targets of a ledger that has several; the value is when each loaded its configuration.
# Two targets of one process loaded the configuration at one instant; two processes with copies of one ledger did not.
(
  0 * {TARGETS}
  + on (cluster, instance, job) group_left ()
  max by (cluster, instance, job) (inference_config_last_reload_timestamp_seconds)
)
and on (ledger) (count by (ledger) ({TARGETS}) > 1)
record inference:ledger_residual_dollars (cluster, instance, node): Difference of accrued and posted dollars, where there is one.
max by ({HOST}) (abs(inference_ledger_residual_dollars)) > 0
record inference:config_reload_failed (cluster, instance, node): 1: a host that rejected its configuration.
{failed("inference_config_last_reload_success")}
record inference:web_config_reload_failed (cluster, instance, node): 1: a host that rejected its web configuration.
{failed("inference_web_config_last_reload_success")}
record inference:labels_renamed (cluster, instance, node): Series of a host that is scraped without honor_labels.
count by ({HOST}) (inference_cost_dollars_per_hour{{exported_namespace!=""}})
"""
