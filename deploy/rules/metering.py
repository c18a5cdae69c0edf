"""Alerts on the meter: hosts and clusters that are silent, and books that cannot be trusted."""

from typing import Final

from statement import Alert
from wording import (
    DOLLARS,
    GPUS,
    HOST_SPEND,
    HOURLY,
    METER,
    NAMES_SHOWN,
    PAGE,
    SPEND,
    TICKET,
    TIME,
    alert,
    link,
    listed,
    number,
    owners,
    servers,
)

HOST: Final = ("cluster", "instance", "node")
BY_HOST: Final = f"by ({', '.join(HOST)})"
OF_CLUSTER: Final = "{{ with $labels.cluster }} of cluster {{ . }}{{ end }}"
NODE_OR_INSTANCE: Final = "{{ or $labels.node $labels.instance }}" + OF_CLUSTER
NAME: Final = "{{ or .Labels.node .Labels.instance }}"
BOARD: Final = link(METER, "cluster", "instance")
CLUSTER_BOARD: Final = link(METER, "cluster")
GPU_BOARD: Final = link(GPUS, "cluster", "instance")

ON_HOST: Final = f"max by (ledger, product, team) ({HOST_SPEND}{{cluster=%q,instance=%q}})"
HOST_OWNERS: Final = owners(ON_HOST, "cluster", "instance")
HOST_NIGHT: Final = (
    f"Eight hours of that host cost {number(f'8 * sum({ON_HOST})', DOLLARS, 'cluster', 'instance')}."
)
IN_CLUSTER: Final = servers(f"{SPEND}{{cluster=%q}}", "cluster")
CLUSTER_NIGHT: Final = number(
    "8 * max(last_over_time(inference:cost_dollars_per_hour{cluster=%q}[1d]))", DOLLARS, "cluster"
)

LEDGER_SEEN: Final = "inference:ledger_seen_timestamp_seconds"
SILENT: Final = "inference:host_silent_since_timestamp_seconds"
UNSEEN: Final = f"unless on (ledger) {LEDGER_SEEN}"
"""Of a host that another replica of Prometheus or another cluster reaches, nothing is missing."""
SILENT_RATE: Final = f"max by (ledger, instance, product, team) (inference:silent_dollars_per_hour:host{{cluster=%q}} {UNSEEN})"
LOST: Final = "inference:cluster_silent_since_timestamp_seconds"
LOST_RATE: Final = "inference:lost_dollars_per_hour:owner"
HEARTBEAT: Final = "inference:cluster_heartbeat_timestamp_seconds"
MONTH_END: Final = "inference:month_end_timestamp_seconds"
"""Remembered of every cluster that had an exporter, for 40 days after its last month."""
TEN: Final = "10m"
"""How long a host must be silent: a node that leaves is deleted from Kubernetes within that time."""


def silent(match: str = "") -> str:
    """Hosts that have been silent for ten minutes, each by itself: on a spot fleet some node always leaves."""
    host = "cluster, ledger, instance, node"
    return (
        f"max by ({host}) ({SILENT}{match} {UNSEEN})"
        f" and on ({host}) last_over_time({SILENT}{match}[5m] offset {TEN})"
    )


SINCE: Final = "{{ if .Value }} since {{ .Value | " + TIME + " }}{{ else }} (never seen){{ end }}. "


def unmetered(match: str = "") -> str:
    """Nodes without an exporter for half an hour, each by itself: an autoscaled fleet always has one that is new."""
    nodes = f"inference:gpu_nodes_unmetered{match}"
    return f"group by (cluster, node) ({nodes}) and on (cluster, node) last_over_time({nodes}[5m] offset 25m)"


LOST_SAYS: Final = {
    "wait": "5m",
    "summary": "Cluster {{ $labels.cluster }} is silent since {{ $value | "
    + TIME
    + " }}: no record of it arrives. It continues at "
    + number(f"sum({LOST_RATE}{{cluster=%q}})", HOURLY, "cluster", unknown="0 dollars an hour")
    + ".",
    "description": "Its month stays in the fleet's, and its last rates continue for 7 days."
    " Unposted since then: "
    + number("sum(inference:month_unposted_dollars{cluster=%q})", DOLLARS, "cluster", unknown="0 dollars")
    + ". Check the cluster's Prometheus, its remote write or federation, and the network between."
    " A cluster that was decommissioned ends this alert after 7 days: silence it until then.",
    "top": owners(f"{LOST_RATE}{{cluster=%q}}", "cluster"),
    "waiting": "The meter is blind there: eight hours cost "
    + number(f"8 * sum({LOST_RATE}{{cluster=%q}})", DOLLARS, "cluster", unknown="0 dollars")
    + " at the last rates, and a runaway is not seen.",
}


def lost(severity: str, condition: str, why: str = "") -> Alert:
    """A cluster whose records no longer arrive."""
    return alert(
        "InferenceClusterSilent",
        f"{LOST} {condition} on (cluster) (sum by (cluster) ({LOST_RATE}) > 0)",
        severity=severity,
        dashboard=CLUSTER_BOARD,
        by=("cluster",),
        why=why,
        began=f"{{{{ $value | {TIME} }}}}",
        **LOST_SAYS,
    )


HOSTS: Final = (
    alert(
        "InferenceNoExporter",
        f"""
absent(inference:hosts_metered)
and on () {MONTH_END}
unless on ()
  (
    count(
      group by (cluster) (inference:nodes)
      unless on (cluster) {SILENT}
      unless on (cluster) inference:gpu_nodes
    )
    == count(group by (cluster) ({HEARTBEAT}))
  )
""",
        dashboard=METER,
        wait="10m",
        by=(),
        severity=PAGE,
        summary="No cost exporter answers: every spend figure is a last known value.",
        description="Month to date and projection repeat their last values, and cost alerts cannot fire "
        "on new spend. Check the scrape job, its targets, and the DaemonSet or unit of the "
        f"exporter.{{{{ if query `absent({HEARTBEAT})` }}}} No record of any cluster arrives: first check remote write,"
        " federation or cluster-rules.yml.{{ end }}",
        top=servers(f"last_over_time({SPEND}[1d])"),
        waiting="The meter is blind: the fleet last spent "
        + number(
            "8 * sum(max by (cluster) (last_over_time(inference:cost_dollars_per_hour[1d])))",
            DOLLARS,
        )
        + " in eight hours, and a runaway is not seen.",
        why="Not before the first exporter, whose months have ends, and not where every cluster answers, has kube-state-metrics,\n"
        "and has no node with GPUs: such a fleet is scaled to zero.",
    ),
    lost(
        PAGE,
        "and",
        "The meter is blind for a cluster whose records no longer arrive; it is a ticket where the cluster last spent nothing.",
    ),
    lost(TICKET, "unless"),
    alert(
        "InferenceMeterBlind",
        f"""
(max by (cluster) (inference:driver_up) == 0)
or
(0 * max by (cluster) (inference:gpu_nodes) and on (cluster) {MONTH_END} unless on (cluster) inference:hosts_metered)
or
(0 * count by (cluster) ({SILENT}{{ledger!=""}}) unless on (cluster) inference:hosts_metered)
""",
        dashboard=CLUSTER_BOARD,
        wait="10m",
        by=("cluster",),
        severity=PAGE,
        summary=f"No GPU{OF_CLUSTER} is metered: no exporter reads the driver, or none answers.",
        description="Spend continues at the last known rates, and GPU activity is unknown. Look at the "
        "driver, the runtime class and the DaemonSet of the exporter: a failure everywhere "
        "at once is usually a rollout.",
        top=servers(f"last_over_time({SPEND}{{cluster=%q}}[1d])", "cluster"),
        waiting=f"The meter is blind: the cluster last spent {CLUSTER_NIGHT} in eight hours.",
    ),
    alert(
        "InferenceHostsMissing",
        f"count by (cluster) ({silent()}) > 0",
        dashboard=CLUSTER_BOARD,
        wait="1m",
        by=("cluster",),
        summary="Hosts"
        + OF_CLUSTER
        + " that do not answer: {{ $value }}. "
        + listed(
            f"sort(bottomk({NAMES_SHOWN}, {silent('{cluster=%q}')}))",
            NAME + SINCE,
            "cluster",
        ),
        description="They exist and cost money: their last rates continue, at "
        + number(
            f"sum({SILENT_RATE})",
            HOURLY,
            "cluster",
            unknown="an unknown rate",
        )
        + f". The first {NAMES_SHOWN} are named; {SILENT} has all. Check the exporter and the host. The alert ends when a host"
        " answers, or when its target or node is removed.",
        top=owners(SILENT_RATE, "cluster"),
        waiting="No money is lost: an exporter that comes back charges the time, up to gap.max_days.",
        why="Each host by itself for ten minutes: of a spot fleet some node is always about to be removed.",
    ),
    alert(
        "InferenceNodesUnmetered",
        f"count by (cluster) ({unmetered()}) > 0",
        dashboard=CLUSTER_BOARD,
        wait="5m",
        by=("cluster",),
        summary="GPU nodes"
        + OF_CLUSTER
        + " without an exporter: {{ $value }}. "
        + listed(
            f"topk({NAMES_SHOWN}, {unmetered('{cluster=%q}')})",
            "{{ .Labels.node }}. ",
            "cluster",
            order="node",
        ),
        description="Their cost is missing from every figure. Check the node selector and the "
        "tolerations of the DaemonSet, and whether its pod there is scraped. The first "
        f"{NAMES_SHOWN} are named; inference:gpu_nodes_unmetered has all.",
        top=IN_CLUSTER,
        waiting="A ledger counts from its first start on. One that starts within an hour of its host's boot charges the rent since"
        " the boot; no month has the time before any other start.",
        why="Each node by itself for half an hour: an autoscaled fleet always has a node that is new.",
    ),
    alert(
        "InferenceExporterStale",
        f"max {BY_HOST} (inference:exporter_stale_seconds)",
        dashboard=BOARD,
        wait="5m",
        by=HOST,
        summary=f"{NODE_OR_INSTANCE} answers, but has completed no tick for {{{{ $value | humanizeDuration }}}}.",
        description="Its counters are frozen and its gauges absent. The log names the cause: a hanging "
        "driver call or a disk. Restart it; it charges the time at its next tick.",
        top=HOST_OWNERS,
        waiting="No cost is lost, but GPU holders are unknown meanwhile.",
    ),
    alert(
        "InferenceSourceDown",
        f'max {BY_HOST.replace(")", ", source)")} (inference:source_down{{source!="clock"}})',
        dashboard=BOARD,
        wait="15m",
        by=(*HOST, "source"),
        summary=f"{{{{ $labels.source }}}} cannot be read on {NODE_OR_INSTANCE}: its tokens or its GPU time are not counted.",
        description="Cost continues as unobserved or without tokens. The metric "
        "inference_server_unread_info has the reason of a server, and docs/unread.md the "
        "remedy. For any source see inference_source_errors_total and the exporter's log.",
        top=HOST_OWNERS,
        waiting=HOST_NIGHT,
    ),
    alert(
        "InferenceGpuDown",
        f"max {BY_HOST} (inference:gpus_down)",
        dashboard=GPU_BOARD,
        wait="10m",
        by=HOST,
        summary=f"{{{{ $value }}}} GPUs of {NODE_OR_INSTANCE} cannot be read. They are charged, and their activity is unknown.",
        description="They fell off the bus, or the driver failed. Their cost continues as idle, charged "
        "to their last holders. Look at the kernel log for Xid errors, then reset the GPU or "
        "reboot the host. Configure a GPU that left for good under retired; a replaced one "
        "needs nothing.",
        top=HOST_OWNERS,
        waiting=HOST_NIGHT,
    ),
    alert(
        "InferenceGpuCountMismatch",
        f"max {BY_HOST} (inference:gpus_excess)",
        dashboard=GPU_BOARD,
        wait="1h",
        by=HOST,
        summary=f'GPUs that {NODE_OR_INSTANCE} pays for, minus those that NVML lists: {{{{ $value | printf "%+.0f" }}}}.',
        description="Positive: a GPU fell off the bus, was removed or never came up; its cost continues "
        "as idle or under uuid unseen. Negative: gpus_per_host is too low, and the host is "
        "charged more than its price. Look at nvidia-smi and the kernel log, then correct "
        "gpus_per_host, retired or discovery.gpus.",
        top=HOST_OWNERS,
        waiting=HOST_NIGHT,
        why="An hour: until then a GPU that fell off the bus is InferenceGpuDown's, and most come back.",
    ),
    alert(
        "InferenceClockUnsynchronized",
        f'max {BY_HOST} (inference:source_down{{source="clock"}})',
        dashboard=BOARD,
        wait="6h",
        by=HOST,
        summary=f"The clock of {NODE_OR_INSTANCE} is not synchronized: months may begin at the wrong time there.",
        description="The host measures its downtime by this clock. Start chrony, systemd-timesyncd or another time service on the"
        " host, and check that it reaches its servers.",
        top=HOST_OWNERS,
        waiting="Nothing is lost from one tick to the next; a reboot or the month's end makes it matter.",
        why="Nothing is lost by it from one tick to the next, and some hosts take hours after a boot.",
    ),
)

TARGETS: Final = "inference:ledger_targets"
PROCESSES: Final = f'count by (ledger) (count_values by (ledger) ("process", {TARGETS}))'
ALL_TARGETS: Final = f"count by (ledger) (group by (ledger, cluster, instance, job) ({TARGETS}))"
CLUSTERS: Final = f"count by (ledger) (group by (ledger, cluster) ({LEDGER_SEEN}))"
INSTANCES: Final = f"count by (ledger) (group by (ledger, instance) ({LEDGER_SEEN}))"
WHERE: Final = listed(
    f"label_join(group by (cluster, instance, job) ({TARGETS}{{ledger=%q}})"
    f" or group by (cluster, instance) ({LEDGER_SEEN}{{ledger=%q}}) unless on () {TARGETS}{{ledger=%q}},"
    ' "target", " ", "instance", "job", "cluster")',
    "{{ .Labels.instance }}{{ with .Labels.job }} in job {{ . }}{{ end }}{{ with .Labels.cluster }} of cluster {{ . }}{{ end }}. ",
    "ledger",
    order="target",
)
"""The targets of a ledger; of several clusters, which see one target each, their instances."""

OF_LEDGER: Final = owners(f"max by (ledger, product, team) ({HOST_SPEND}{{ledger=%q}})", "ledger")

LEDGER_ALERTS: Final = (
    alert(
        "InferenceLedgerShared",
        f"{PROCESSES} > 1\nor\n{INSTANCES} > 1 and {CLUSTERS} > 1 unless on (ledger) {TARGETS}",
        dashboard=METER,
        wait="15m",
        by=("ledger",),
        summary="{{ $value }} exporters report ledger {{ $labels.ledger }}: its file was copied, as in a cloned disk image. "
        + WHERE,
        description="The fleet's figures count one of them, so the cost of the others is missing. Give each cloned host a ledger of"
        " its own: stop its exporter, move ledger.db aside, and start it.",
        top=OF_LEDGER,
        waiting="No figure of the fleet has what the other hosts spend until then.",
        why="Two processes have one ledger: a copy. Two targets of one process are InferenceExporterScrapedTwice, and replicas of\n"
        "Prometheus are neither.",
    ),
    alert(
        "InferenceExporterScrapedTwice",
        f"{ALL_TARGETS} > {PROCESSES}\nor\n{CLUSTERS} > 1 and {INSTANCES} == 1",
        dashboard=METER,
        wait="15m",
        by=("ledger",),
        summary="{{ $value }} scrape targets are one exporter, of ledger {{ $labels.ledger }}. " + WHERE,
        description="Nothing is counted twice: the rules count each ledger once. Each job stores all series of that exporter again."
        " Remove one of the jobs, for example a ServiceMonitor next to the PodMonitor.",
        top=OF_LEDGER,
        waiting="No money is wrong; it costs storage, and queries of your own may count the host twice.",
    ),
    alert(
        "InferenceLedgerNotPersistent",
        f"max {BY_HOST} (inference:ledger_not_persistent)",
        dashboard=BOARD,
        wait="10m",
        by=HOST,
        summary=f"The ledger of {NODE_OR_INSTANCE} is not persistent: a restart or a new pod loses what is metered now.",
        description="There is no ledger file, it cannot be written, another file took its place, or it is on a pod's emptyDir."
        " The exporter's log says which. Free disk space, make the folder of ledger.path writable, or mount a folder of the node."
        " Do not restart the exporter before that. If the old ledger cannot even be read, the month may count this time twice"
        " once it can.",
        top=HOST_OWNERS,
        waiting=f"{HOST_NIGHT} A restart loses that much.",
    ),
    alert(
        "InferenceLedgerBegunAnew",
        f"max {BY_HOST} (inference:ledger_replaced or inference:ledger_begun_anew)",
        dashboard=BOARD,
        wait="1m",
        by=HOST,
        summary=f"The ledger of {NODE_OR_INSTANCE} began at {{{{ $value | {TIME} }}}}, and another one was there before.",
        description="The ledger's file was lost, or moved aside as damaged or as another machine's. The exporter's log says which,"
        " and where the file is. Put it back if it is whole, before you bill this month.",
        top=HOST_OWNERS,
        waiting="The fleet's month has both ledgers. The old one, once put back, charges the time since again: subtract what the"
        " new one posted.",
        why="A new host has no earlier ledger to compare with. The alert lasts six hours.",
    ),
    alert(
        "InferenceConfigReloadFailed",
        f"max {BY_HOST} (inference:config_reload_failed)",
        dashboard=BOARD,
        wait="5m",
        by=HOST,
        summary=f"{NODE_OR_INSTANCE} rejected its configuration and continues with the previous one.",
        description="Changed prices, servers and budgets are not in force, and a restart would fail. The verb check-config names"
        " the line and the key. Correct it and reload.",
        top=HOST_OWNERS,
        waiting=f"{HOST_NIGHT} They are posted at the old prices and to the old owners, and stay there.",
    ),
    alert(
        "InferenceWebConfigReloadFailed",
        f"max {BY_HOST} (inference:web_config_reload_failed)",
        dashboard=BOARD,
        wait="5m",
        by=HOST,
        summary=f"{NODE_OR_INSTANCE} rejected its web configuration and continues with the previous one.",
        description="A new certificate or password is not in force, and a restart would fail. The exporter's log names the file and"
        " the error. Correct it; the exporter reads it again by itself.",
        top=HOST_OWNERS,
        waiting=f"{HOST_NIGHT} Scrapes fail once the certificate in force expires.",
    ),
    alert(
        "InferenceBooksUnbalanced",
        f"max {BY_HOST} (inference:ledger_residual_dollars)",
        dashboard=BOARD,
        wait="5m",
        by=HOST,
        summary=f'The ledger of {NODE_OR_INSTANCE} does not balance by {{{{ $value | printf "%g" }}}} dollars. Do not bill from it.',
        description="Accrued and posted dollars differ, which is a bug of the exporter. Copy the ledger while it runs, keep the"
        " log, and report both with the version. The residual says how far the figures can be off.",
        top=HOST_OWNERS,
        waiting="The residual may grow; watch it, and close no month by these books.",
    ),
    alert(
        "InferenceLabelsRenamed",
        f"max {BY_HOST} (inference:labels_renamed)",
        dashboard=BOARD,
        wait="15m",
        by=HOST,
        summary=f"{NODE_OR_INSTANCE} is scraped without honor_labels: the workloads' namespaces were renamed.",
        description="The label namespace is the exporter's own there, so servers of one name in two namespaces become one. Set"
        " honor_labels: true (honorLabels in a PodMonitor) in the scrape job.",
        top=HOST_OWNERS,
        waiting="No money is lost; series recorded meanwhile keep the wrong namespace.",
    ),
    alert(
        "InferenceTimeZonesDiffer",
        """
count(
  (
    max by (month) (inference:month_end_timestamp_seconds:cluster)
    - min by (month) (inference:month_end_timestamp_seconds:cluster) > 0
    or max by (month) (inference:month_end_timestamp_seconds:zones) > 1
  )
  and on (month) (max by (month) (inference:month_end_timestamp_seconds:cluster) > time())
) > 0
""",
        dashboard=METER,
        wait="1h",
        by=(),
        summary="Hosts end the month at different times: their time zones differ. "
        + listed(
            f"sort_desc(topk({NAMES_SHOWN}, max by (cluster, month) (inference:month_end_timestamp_seconds:cluster) > time()))",
            "{{ with .Labels.cluster }}Cluster {{ . }} ends{{ else }}The last ends{{ end }} {{ .Labels.month }} at {{ .Value | "
            + TIME
            + " }}. ",
        ),
        description="The fleet's month stays open until the last zone ends it, and each month has the sum of its own label."
        " Budgets compare days that are not the same. Configure one timezone on all hosts.",
        top=servers(),
        waiting="No money is lost; around the month's end the figures of two months mix.",
    ),
)

ALERTS: Final[tuple[Alert, ...]] = (*HOSTS, *LEDGER_ALERTS)

DOUBLED: Final[tuple[Alert, ...]] = (
    alert(
        "InferenceGpuMeteredTwice",
        f"max {BY_HOST} (inference:gpus_metered_twice)",
        dashboard=GPU_BOARD,
        wait="30m",
        by=HOST,
        summary=f"GPUs of {NODE_OR_INSTANCE} that another exporter meters with a ledger of its own: {{{{ $value }}}}. "
        "The fleet has their cost twice.",
        description="Stop one of the exporters, for example a systemd unit next to the DaemonSet, and subtract what its ledger posted."
        " A GPU that moved to another host: enter it under retired on the host that it left.",
        top=HOST_OWNERS,
        waiting=HOST_NIGHT,
        why="Half an hour: a pod without a persistent ledger has another one after each restart.",
    ),
)
"""Money that the fleet has twice; a group of rules has no room for more alerts on the meter."""
