"""Alerts on the meter: money that is not counted, cannot be trusted, or has no owner."""

from typing import Final

from month import SERVER
from spending import MATCH, SELF, WHO
from statement import Alert
from wording import DOLLARS, GPUS, METER, OWNER, PAGE, SHARE, SPEND, alert, number, servers

HOST: Final = ("cluster", "instance")
ON_HOST: Final = servers("inference_cost_dollars_per_hour{cluster=%q,instance=%q}", *HOST)
IN_CLUSTER: Final = servers(f"{SPEND}{{cluster=%q}}", "cluster")
ON_INSTANCE: Final = "8 * sum(inference_cost_dollars_per_hour{cluster=%q,instance=%q})"
LISTED: Final = number(
    "max(inference_gpus_visible{cluster=%q,instance=%q})", 'printf "%.0f"', *HOST, unknown="another number"
)
HOST_NIGHT: Final = f"Eight hours of that host cost {number(ON_INSTANCE, DOLLARS, *HOST)}."
CLUSTER_NIGHT: Final = number(
    "8 * sum(last_over_time(inference:cost_dollars_per_hour{cluster=%q}[1d]))", DOLLARS, "cluster"
)

HOSTS: Final = (
    alert(
        "InferenceHostsMissing",
        "inference:hosts_missing > 0",
        dashboard=METER,
        wait="10m",
        by=("cluster",),
        summary="{{ $value }} hosts stopped reporting: spend figures are short of them. Scaled down on purpose: clears itself in 6 h.",
        description="They cost money while nobody counts it. Check the exporter and the host behind each ledger in"
        " inference:ledger_seen that no longer reports.",
        top=IN_CLUSTER,
        waiting="Nothing is lost for good: an exporter that comes back charges the time, up to gap.max_days. The hosts that"
        f" answer spend {CLUSTER_NIGHT} in eight hours.",
    ),
    alert(
        "InferenceNoExporter",
        "absent(inference_exporter_info)",
        dashboard=METER,
        wait="10m",
        by=(),
        severity=PAGE,
        summary="No cost exporter is being scraped: every spend figure is a memory.",
        description="Month to date and projection repeat what was last known, and every alert on money is blind. Check the"
        " scrape job, its targets and the DaemonSet or unit of the exporter.",
        top=servers(f"last_over_time({SPEND}[1d])"),
        waiting="The meter is blind: the fleet last spent "
        + number("8 * sum(last_over_time(inference:cost_dollars_per_hour[1d]))", DOLLARS)
        + " in eight hours, and a runaway would not be seen.",
    ),
    alert(
        "InferenceMeterBlind",
        """
(max by (cluster) (inference_source_up{source="nvml"}) == 0)
or
(0 * inference:gpu_nodes unless on (cluster) inference:hosts_metered)
""",
        dashboard=METER,
        wait="10m",
        by=("cluster",),
        severity=PAGE,
        summary="No GPU{{ with $labels.cluster }} of cluster {{ . }}{{ end }} is metered: not one exporter there reads the driver, or none answers.",
        description="Money goes on by what was known, and nobody sees what the GPUs do. Look at the driver, the runtime class"
        " and the DaemonSet of the exporter: what fails everywhere at once was rolled out.",
        top=IN_CLUSTER,
        waiting=f"The meter is blind: the cluster last spent {CLUSTER_NIGHT} in eight hours.",
    ),
    alert(
        "InferenceNodesUnmetered",
        "count by (cluster) (inference:gpu_nodes_unmetered) > 0",
        dashboard=METER,
        wait="30m",
        by=("cluster",),
        summary="{{ $value }} GPU nodes{{ with $labels.cluster }} of cluster {{ . }}{{ end }} have no exporter: what they cost is in no figure.",
        description="inference:gpu_nodes_unmetered names them. Check the node selector and the tolerations of the DaemonSet, and"
        " whether its pod there is scraped.",
        top=IN_CLUSTER,
        waiting="A ledger counts from its first start on; only one that starts within an hour of its host's boot charges the"
        " rent since then. What passes until then is in no month.",
    ),
    alert(
        "InferenceExporterStale",
        "max by (cluster, instance) (time() - inference_last_tick_timestamp_seconds) > 300",
        dashboard=METER,
        wait="5m",
        by=HOST,
        summary="{{ $labels.instance }} answers, but has not read anything for {{ $value | humanizeDuration }}.",
        description="Its counters stand and its gauges are gone. Its log says what it waits for: a driver call that hangs, or a"
        " disk. Restart it; what passed meanwhile is charged then.",
        top=ON_HOST,
        waiting="No money is lost, for the time is charged when it reads again; who used the GPUs meanwhile is.",
    ),
    alert(
        "InferenceSourceDown",
        'min by (cluster, instance, source) (inference_source_up{source!~"clock|cloud|node_labels"}) == 0',
        dashboard=METER,
        wait="15m",
        by=(*HOST, "source"),
        summary="{{ $labels.source }} cannot be read on {{ $labels.instance }}: its tokens or its GPU time are not seen.",
        description="The money goes on, without tokens to divide it by or as unobserved. `inference_server_unread_info` has the"
        " reason of a server, whose remedy is in docs/unread.md; of any source `inference_source_errors_total` and the exporter's log.",
        top=ON_HOST,
        waiting=HOST_NIGHT,
        why="Not the cloud and the node: what they leave unknown shows as GPUs without a price, and some pods are kept from\n"
        "them on purpose. `min` here and below: where one of several series of a thing is bad, it is bad.",
    ),
    alert(
        "InferenceGpuDown",
        "count by (cluster, instance) (min by (cluster, instance, uuid) (inference_gpu_up) == 0)",
        dashboard=GPUS,
        wait="10m",
        by=HOST,
        summary="{{ $value }} GPUs of {{ $labels.instance }} cannot be read: they are paid for, and nobody sees what they do.",
        description="They fell off the bus, or the driver is gone; their money goes on as idle, to who held them last. Look at the"
        " kernel log for Xid errors, then reset the GPU or reboot the host. Name a GPU that left for good under `retired`;"
        " one that was replaced needs nothing.",
        top=ON_HOST,
        waiting=HOST_NIGHT,
    ),
    alert(
        "InferenceGpuCountMismatch",
        "max by (cluster, instance) (inference_gpus_expected) != max by (cluster, instance) (inference_gpus_visible)",
        dashboard=GPUS,
        wait="1h",
        by=HOST,
        summary=f"{{{{ $value }}}} GPUs of {{{{ $labels.instance }}}} are paid for, and NVML lists {LISTED}.",
        description="More: a GPU fell off the bus, was taken out or never came up, and its money goes on, as idle or under"
        " uuid `unseen`. Fewer: `gpus_per_host` is too low, and the host is charged more than its price. Look at nvidia-smi"
        " and the kernel log, then correct `gpus_per_host`, `retired` or `discovery.gpus`.",
        top=ON_HOST,
        waiting=HOST_NIGHT,
        why="An hour: what fell off the bus is InferenceGpuDown's for so long, and most of it comes back.",
    ),
    alert(
        "InferenceClockUnsynchronized",
        'min by (cluster, instance) (inference_source_up{source="clock"}) == 0',
        dashboard=METER,
        wait="6h",
        by=HOST,
        summary="The clock of {{ $labels.instance }} is not synchronized: months may begin at the wrong time there.",
        description="The kernel does not hold its wall clock for right, and the time that the host was down is measured by it."
        " Start chrony, systemd-timesyncd or whatever sets the time on this host, and look whether it reaches its servers.",
        top=ON_HOST,
        waiting="Nothing from one tick to the next; a reboot or the end of the month makes it matter.",
        why="Nothing is lost by it from one tick to the next, and some hosts take hours after a boot.",
    ),
)

BOOKS: Final = (
    alert(
        "InferenceLedgerShared",
        "max by (cluster, ledger, month) (count by (cluster, ledger, month, product, team, price_basis)"
        " (inference_month_to_date_dollars)) > 1",
        dashboard=METER,
        wait="15m",
        by=("cluster", "ledger", "month"),
        summary="{{ $value }} targets report ledger {{ $labels.ledger }} (a cloned disk image, or one exporter scraped twice):"
        " month to date counts one of them.",
        description="The money of all but one of them is missing from the fleet. Scrape each exporter once, and give a cloned"
        " host a ledger of its own: stop its exporter, move ledger.db aside, start it.",
        top=IN_CLUSTER,
        waiting="What the other hosts spend until then is in no figure of the fleet.",
    ),
    alert(
        "InferenceLedgerNotPersistent",
        "min by (cluster, instance) (inference_ledger_persistent) == 0",
        dashboard=METER,
        wait="10m",
        by=HOST,
        summary="The ledger of {{ $labels.instance }} will not last: a restart or a new pod would lose what is metered now.",
        description="There is no ledger file, it cannot be written, another file took its place, or it is on a pod's emptyDir;"
        " the exporter's log says which. Make room on its disk, make the folder of `ledger.path` writable, or mount one of the"
        " node, and do not restart the exporter before that. Beside a ledger that cannot even be read, what is metered now may"
        " be counted twice in the fleet's month once it can.",
        top=ON_HOST,
        waiting=f"{HOST_NIGHT} That much a restart would lose.",
    ),
    alert(
        "InferenceLedgerBegunAnew",
        "max by (cluster, instance) (changes(inference_ledger_begun_timestamp_seconds[6h])) > 0",
        dashboard=METER,
        wait="1m",
        by=HOST,
        summary="The books of {{ $labels.instance }} began anew: its month lacks what the ledger before it had.",
        description="The ledger's file was lost, or moved aside as damaged or another machine's; the exporter's log says which,"
        " and where it is. Put it back if it is whole, before anyone bills by this month.",
        top=ON_HOST,
        waiting="The fleet's month keeps what was scraped before; the longer the new books run, the more a return to the old"
        " ones leaves out.",
        why="A new host has no earlier ledger to compare with. Each change is told for six hours.",
    ),
    alert(
        "InferenceConfigReloadFailed",
        "min by (cluster, instance) (inference_config_last_reload_success) == 0",
        dashboard=METER,
        wait="5m",
        by=HOST,
        summary="{{ $labels.instance }} refused its configuration and goes on with the one before.",
        description="Prices, servers and budgets that were changed are not in force, and a restart would not come up."
        " `inference-cost-exporter check-config` names the line and the key; correct it and reload.",
        top=ON_HOST,
        waiting=f"{HOST_NIGHT} They are posted at the prices and to the owners of the old configuration, and stay there.",
    ),
    alert(
        "InferenceWebConfigReloadFailed",
        "min by (cluster, instance) (inference_web_config_last_reload_success) == 0",
        dashboard=METER,
        wait="5m",
        by=HOST,
        summary="{{ $labels.instance }} refused its web configuration and goes on with the one before.",
        description="A new certificate or password that was to hold does not, and a restart would not come up."
        " The exporter's log names the file and what is wrong; correct it, and it is read by itself.",
        top=ON_HOST,
        waiting=f"{HOST_NIGHT} When the certificate in force runs out, nobody scrapes that.",
    ),
    alert(
        "InferenceBooksUnbalanced",
        "max by (cluster, instance) (abs(inference_ledger_residual_dollars)) > 0",
        dashboard=METER,
        wait="5m",
        by=HOST,
        summary='The books of {{ $labels.instance }} are off by {{ $value | printf "%g" }} dollars: do not bill by them.',
        description="What accrued is not what was posted, which is a bug of the exporter. Copy the ledger while it runs, keep the"
        " log, and report both with the version; the residual says how far the figures can be off.",
        top=ON_HOST,
        waiting="The residual may grow; watch it, and close no month by these books.",
    ),
    alert(
        "InferenceLabelsRenamed",
        'count by (cluster, instance) (inference_cost_dollars_per_hour{exported_namespace!=""})',
        dashboard=METER,
        wait="15m",
        by=HOST,
        summary="{{ $labels.instance }} is scraped without honorLabels: the workloads' namespaces were renamed.",
        description="`namespace` is the exporter's own there, so servers of one name in two namespaces are taken for one. Set"
        " `honor_labels: true` (`honorLabels` in a PodMonitor) in the scrape job.",
        top=ON_HOST,
        waiting="No money is lost; series recorded meanwhile keep the wrong namespace.",
    ),
)

PRICED: Final = (
    alert(
        "InferenceGpuUnpriced",
        "count by (cluster, gpu_model) (min by (cluster, instance, uuid, gpu_model) (inference_gpu_priced) == 0)",
        dashboard=METER,
        wait="15m",
        by=("cluster", "gpu_model"),
        summary="{{ $value }} GPUs of model {{ $labels.gpu_model }} have no price: what they cost is in no figure.",
        description="Neither a rule under `hardware` nor the catalogue prices them. Add a rule to the exporter's configuration"
        " and reload it; the time without a price waits, by GPU and holder, and is charged when a price that covers it comes.",
        top=IN_CLUSTER,
        waiting="No money is lost, but until then no budget sees theirs.",
    ),
    alert(
        "InferenceMonthEstimated",
        """
sum(inference:month_to_date_dollars:price_basis{price_basis="estimate"})
  / sum(inference:month_to_date_dollars:price_basis)
  > 0.2
and on ()
  sum(
    max by (cluster, instance, uuid) (inference_gpu_price_dollars_per_hour{component="rent"})
    and on (cluster, instance, uuid)
    inference_price_info{component="rent",price_basis="estimate",source!~"(.+: )?scaled .+"}
  )
    / sum(inference:cost_dollars_per_hour)
    > 0.2
""",
        dashboard=METER,
        wait="6h",
        by=(),
        summary="{{ $value | humanizePercentage }} of the month rests on estimated prices.",
        description="Prices of other clouds or regions stand where nobody said what is paid. `inference_price_info` names the"
        " GPUs, `doctor` prints the line that replaces each; a price with a past `from` corrects nothing that was posted:"
        " `adjust` does.",
        top=servers(),
        waiting="Every hour is posted at the estimate, and stays posted.",
        why="A list price scaled to its region is an estimate and within a few percent; it counts in the month's estimated part\n"
        "and does not by itself alert. Its source begins with `scaled`.",
    ),
    alert(
        "InferenceSpendUnassigned",
        'sum(inference:cost_dollars_per_hour:server{product="unassigned",server!="unallocated"})'
        " / sum(inference:cost_dollars_per_hour) > 0.1",
        wait="6h",
        by=(),
        summary="{{ $value | humanizePercentage }} of the spend has no product.",
        description="No `ownership` rule and no pod label names who pays for these servers. Add a rule; it counts from then on,"
        " for what was posted never moves. GPUs that no server holds are not in this figure.",
        top=servers(f'{SPEND}{{product="unassigned",server!="unallocated"}}'),
        waiting="Eight hours post "
        + number(f'8 * sum({SPEND}{{product="unassigned",server!="unallocated"}})', DOLLARS)
        + " to nobody, for good.",
    ),
    alert(
        "InferenceTokensMissing",
        f"""
(
  sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase="other",server!~"unallocated|unmatched:.*"}})
  / (sum by ({SERVER}) (inference:phase_cost_dollars:rate5m) > 0)
  > 0.1
)
unless on ({", ".join(WHO)}) (sum by ({", ".join(WHO)}) (sum_over_time(inference:server_tokens:rate5m[1h])) > 0)
""",
        dashboard=METER,
        wait="1h",
        by=WHO,
        labels=OWNER,
        summary=f"{SELF} computes and counts no token: {{{{ $value | {SHARE} }}}} of its money has no price per token.",
        description="Its metrics cannot be read, or it exports none. `inference_server_unread_info` has the reason, and the"
        " page, `doctor` and docs/unread.md say what to do about it: a flag, a port, a path, a token or a certificate.",
        top=servers(f"{SPEND}{{product=%q}}", "product"),
        waiting=f"Eight hours of it cost {number(f'8 * {SPEND}{MATCH}', DOLLARS, *WHO)}, and their tokens are never known.",
    ),
)

ALERTS: Final[tuple[Alert, ...]] = (*HOSTS, *BOOKS, *PRICED)
