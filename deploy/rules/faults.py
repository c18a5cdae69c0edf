"""Faults of a cluster's exporters: records that exist only while something is wrong."""

from collections.abc import Iterable
from typing import Final

from hosts import LEDGER_SEEN
from statement import Group, Record

from exporter.vendors import VENDORS, GpuVendor

LABELS: Final = ("cluster", "instance", "node")
HOST: Final = ", ".join(LABELS)
TARGETS: Final = "group by (cluster, ledger, instance, job) (inference_monthly_run_rate_dollars)"
BEGUN: Final = "inference_ledger_begun_timestamp_seconds"


def failed(metric: str, by: str = HOST) -> str:
    """1 for each host whose metric is 0; of several series of one thing the worst counts."""
    return f"(min by ({by}) ({metric}) == 0) + 1"


def driver_up(vendors: Iterable[GpuVendor]) -> str:
    """1 for each cluster of which an exporter reads the GPUs of any vendor."""
    sources = "|".join(vendor.source for vendor in vendors)
    return f'max by (cluster) (inference_source_up{{source=~"{sources}"}})'


FAULTS: Final = Group(
    "inference-faults",
    "1m",
    (
        Record(
            "inference:driver_up",
            driver_up(VENDORS),
            "",
            "1: an exporter of the cluster reads the driver; 0: none that answers does.",
            ("cluster",),
        ),
        Record(
            "inference:nodes",
            "count by (cluster) (group by (cluster, node) (kube_node_info))",
            "With it, a cluster without hosts is known to be scaled to zero.",
            "Nodes that kube-state-metrics knows.",
            ("cluster",),
        ),
        Record(
            "inference:source_down",
            failed('inference_source_up{source!~"cloud|node_labels"}', f"{HOST}, source"),
            "Not the cloud and the node labels: what they leave unknown shows as GPUs without a price, and some pods are kept\n"
            "from them on purpose.",
            "1: a source that cannot be read.",
            (*LABELS, "source"),
        ),
        Record(
            "inference:exporter_stale_seconds",
            f"""
max by ({HOST}) (time() - inference_last_tick_timestamp_seconds) > 300
unless
max by ({HOST}) (
  max_over_time(inference_last_tick_timestamp_seconds[6m]) - min_over_time(inference_last_tick_timestamp_seconds[6m])
) > 0
""",
            "A tick has the host's time: one whose clock is behind is not stale. Six minutes hold two samples of a series\n"
            "that has one in five: Prometheus 3 and VictoriaMetrics leave out the one at the start of a range.",
            "Time since the last tick of an exporter that answers, above five minutes.",
            LABELS,
        ),
        Record(
            "inference:gpus_down",
            f"count by ({HOST}) (min by ({HOST}, uuid) (inference_gpu_up) == 0)",
            "",
            "GPUs of a host that are paid for and cannot be read.",
            LABELS,
        ),
        Record(
            "inference:gpus_excess",
            f"""
max by ({HOST}) (inference_gpus_expected) - max by ({HOST}) (inference_gpus_visible) != 0
or
max by ({HOST}) (inference_gpus_expected) > 0 unless max by ({HOST}) (inference_gpus_visible)
""",
            "A host whose driver cannot be read has no number of visible GPUs: all that it pays for are missing.",
            "GPUs that a host pays for minus those that NVML lists, where they differ.",
            LABELS,
        ),
        Record(
            "inference:gpus_metered_twice",
            f"""
count by ({HOST}) (
  group by ({HOST}, uuid) (inference_gpu_up)
  and on (cluster, uuid)
  count by (cluster, uuid) (
    group by (cluster, instance, uuid) (inference_gpu_up{{uuid!="unseen"}})
    and on (cluster, instance) {LEDGER_SEEN}
  ) > 1
)
""",
            "One exporter under two addresses has one ledger, of which one address counts.",
            "GPUs of a host that an exporter with another ledger meters as well.",
            LABELS,
        ),
        Record(
            "inference:gpus_unpriced:model",
            "count by (cluster, gpu_model) (min by (cluster, instance, uuid, gpu_model) (inference_gpu_priced) == 0)",
            "By host first: those that were never listed share one UUID.",
            "GPUs without a price, by model.",
            ("cluster", "gpu_model"),
        ),
        Record(
            "inference:estimated_dollars_per_hour",
            """
sum by (cluster) (
  max by (cluster, instance, uuid) (inference_gpu_price_dollars_per_hour{component="rent"})
  and on (cluster, instance, uuid)
  inference_price_info{component="rent",price_basis="estimate",source!~"(.+: )?scaled .+"}
)
""",
            "A list price scaled to its region is within a few percent. Its source begins with `scaled`.",
            "Rent at estimated prices, those left out that are scaled to their region.",
            ("cluster",),
        ),
        Record(
            "inference:ledger_not_persistent",
            failed("inference_ledger_persistent"),
            "",
            "1: a ledger that a restart or a new pod would lose.",
            LABELS,
        ),
        Record(
            "inference:ledger_replaced",
            f"""
max by ({HOST}) ({BEGUN}{{node=""}}) > max by ({HOST}) (min_over_time({BEGUN}{{node=""}}[6h]))
or
max by ({HOST}) ({BEGUN}{{node!=""}})
and on (cluster, node) (
  min by (cluster, node) ({BEGUN}) > min by (cluster, node) (min_over_time({BEGUN}[6h]))
)
""",
            "A new host has no earlier ledger, and an address that went to another node is another host. A pod that is replaced\n"
            "has another address on the same node.",
            "Creation time of a host's ledger, for six hours after it took another one's place.",
            LABELS,
        ),
        Record(
            "inference:ledger_begun_anew",
            "inference:ledger_replaced",
            "The name of before, for one release.",
            "The same as inference:ledger_replaced; gone with the next release.",
            LABELS,
        ),
        Record(
            "inference:ledger_targets",
            f"""
(
  0 * {TARGETS}
  + on (cluster, instance, job) group_left ()
  max by (cluster, instance, job) (inference_config_last_reload_timestamp_seconds)
)
and on (ledger) (count by (ledger) ({TARGETS}) > 1)
""",
            "Two targets of one process loaded the configuration at one instant; two processes with copies of one ledger did not.",
            "Targets of a ledger that has several; the value is when each loaded its configuration.",
            ("cluster", "ledger", "instance", "job"),
        ),
        Record(
            "inference:ledger_residual_dollars",
            f"max by ({HOST}) (abs(inference_ledger_residual_dollars)) > 0",
            "",
            "Difference of accrued and posted dollars, where there is one.",
            LABELS,
        ),
        Record(
            "inference:config_reload_failed",
            failed("inference_config_last_reload_success"),
            "",
            "1: a host that rejected its configuration.",
            LABELS,
        ),
        Record(
            "inference:web_config_reload_failed",
            failed("inference_web_config_last_reload_success"),
            "",
            "1: a host that rejected its web configuration.",
            LABELS,
        ),
        Record(
            "inference:labels_renamed",
            f'count by ({HOST}) (inference_cost_dollars_per_hour{{exported_namespace!=""}})',
            "",
            "Series of a host that is scraped without honor_labels.",
            LABELS,
        ),
    ),
    "Most exist only while something is wrong, so that the central place receives little of a fleet without faults.",
)
