"""Alerts on the meter: hosts and clusters that are silent, and books that cannot be trusted."""

from typing import Final

from wording import (
    DOLLARS,
    GPUS,
    HOST_SPEND,
    HOURLY,
    METER,
    NAMES_SHOWN,
    SPEND,
    TIME,
    VALUE,
    link,
    listed,
    number,
    owners,
    servers,
)

HOST: Final = "cluster, instance, node"
BY_HOST: Final = f"by ({HOST})"
OF_CLUSTER: Final = "{{ with $labels.cluster }} of cluster {{ . }}{{ end }}"
NODE_OR_INSTANCE: Final = "{{ or $labels.node $labels.instance }}" + OF_CLUSTER
NAME: Final = "{{ or .Labels.node .Labels.instance }}"
BOARD: Final = link(METER, "cluster", "instance")
CLUSTER_BOARD: Final = link(METER, "cluster")
GPU_BOARD: Final = link(GPUS, "cluster", "instance")

ON_HOST: Final = f"max by (ledger, product, team) ({HOST_SPEND}{{cluster=%q,instance=%q}})"
HOST_OWNERS: Final = owners(ON_HOST)
HOST_NIGHT: Final = f"Eight hours of that host cost {number(f'8 * sum({ON_HOST})', DOLLARS)}."

LEDGER_SEEN: Final = "inference:ledger_seen_timestamp_seconds"
SILENT: Final = "inference:host_silent_since_timestamp_seconds"
UNSEEN: Final = f"unless on (ledger) {LEDGER_SEEN}"
"""Of a host that another replica of Prometheus or another cluster reaches, nothing is missing."""
SILENT_RATE: Final = f"max by (ledger, instance, product, team) (inference:silent_dollars_per_hour:host{{cluster=%q}} {UNSEEN})"
LOST: Final = "inference:cluster_silent_since_timestamp_seconds"
LOST_RATE: Final = "inference:lost_dollars_per_hour:owner"
MONTH_END: Final = "inference:month_end_timestamp_seconds"
"""Remembered of every cluster that had an exporter, for 40 days after its last month."""


def silent(match: str = "") -> str:
    """Hosts that have been silent for ten minutes, each by itself: on a spot fleet some node always leaves."""
    host = "cluster, ledger, instance, node"
    return f"max by ({host}) ({SILENT}{match} {UNSEEN}) and on ({host}) last_over_time({SILENT}{match}[5m] offset 10m)"


SINCE: Final = "{{ if .Value }} since {{ .Value | " + TIME + " }}{{ else }} (never seen){{ end }}. "


def unmetered(match: str = "") -> str:
    """Nodes without an exporter for half an hour, each by itself: an autoscaled fleet always has one that is new."""
    nodes = f"inference:gpu_nodes_unmetered{match}"
    return f"group by (cluster, node) ({nodes}) and on (cluster, node) last_over_time({nodes}[5m] offset 25m)"


LOST_TEXT: Final = f"""\
since: {{{{ $value | {TIME} }}}}
summary: Cluster {{{{ $labels.cluster }}}} is silent since {{{{ $value | {TIME} }}}}: no record of it arrives. It continues at {number(f"sum({LOST_RATE}{{cluster=%q}})", HOURLY, "0 dollars an hour")}.
description: Its month stays in the fleet's, and its last rates continue for 7 days. Unposted since then: {number("sum(inference:month_unposted_dollars{cluster=%q})", DOLLARS, "0 dollars")}. Check the cluster's Prometheus, its remote write or federation, and the network between. A cluster that was decommissioned ends this alert after 7 days: silence it until then.
servers: {owners(f"{LOST_RATE}{{cluster=%q}}")}
waiting: The meter is blind there: eight hours cost {number(f"8 * sum({LOST_RATE}{{cluster=%q}})", DOLLARS, "0 dollars")} at the last rates, and a runaway is not seen.
"""

HOSTS: Final = f"""\
alert InferenceNoExporter page after 10m by (): {METER}
# Not before the first exporter, whose months have ends, and not where every cluster answers, has kube-state-metrics,
# and has no node with GPUs: such a fleet is scaled to zero.
absent(inference:hosts_metered)
and on () {MONTH_END}
unless on ()
  (
    count(
      group by (cluster) (inference:nodes)
      unless on (cluster) {SILENT}
      unless on (cluster) inference:gpu_nodes
    )
    == count(group by (cluster) (inference:cluster_heartbeat_timestamp_seconds))
  )
summary: No cost exporter answers: every spend figure is a last known value.
description: Month to date and projection repeat their last values, and cost alerts cannot fire on new spend. Check the scrape job, its targets, and the DaemonSet or unit of the exporter.{{{{ if query `absent(inference:cluster_heartbeat_timestamp_seconds)` }}}} No record of any cluster arrives: first check remote write, federation or cluster-rules.yml.{{{{ end }}}}
servers: {servers(f"last_over_time({SPEND}[1d])")}
waiting: The meter is blind: the fleet last spent {number("8 * sum(max by (cluster) (last_over_time(inference:cost_dollars_per_hour[1d])))", DOLLARS)} in eight hours, and a runaway is not seen.
alert InferenceClusterSilent page after 5m by (cluster): {CLUSTER_BOARD}
# The meter is blind for a cluster whose records no longer arrive; it is a ticket where the cluster last spent nothing.
{LOST} and on (cluster) (sum by (cluster) ({LOST_RATE}) > 0)
{LOST_TEXT}alert InferenceClusterSilent ticket after 5m by (cluster): {CLUSTER_BOARD}
{LOST} unless on (cluster) (sum by (cluster) ({LOST_RATE}) > 0)
{LOST_TEXT}alert InferenceMeterBlind page after 10m by (cluster): {CLUSTER_BOARD}
(max by (cluster) (inference:driver_up) == 0)
or
(0 * max by (cluster) (inference:gpu_nodes) and on (cluster) {MONTH_END} unless on (cluster) inference:hosts_metered)
or
(0 * count by (cluster) ({SILENT}{{ledger!=""}}) unless on (cluster) inference:hosts_metered)
summary: No GPU{OF_CLUSTER} is metered: no exporter reads the driver, or none answers.
description: Spend continues at the last known rates, and GPU activity is unknown. Look at the driver, the runtime class and the DaemonSet of the exporter: a failure everywhere at once is usually a rollout.
servers: {servers(f"last_over_time({SPEND}{{cluster=%q}}[1d])")}
waiting: The meter is blind: the cluster last spent {number("8 * max(last_over_time(inference:cost_dollars_per_hour{cluster=%q}[1d]))", DOLLARS)} in eight hours.
alert InferenceHostsMissing ticket after 1m by (cluster): {CLUSTER_BOARD}
# Each host by itself for ten minutes: of a spot fleet some node is always about to be removed.
count by (cluster) ({silent()}) > 0
summary: Hosts{OF_CLUSTER} that do not answer: {VALUE}. {listed(f"sort(bottomk({NAMES_SHOWN}, {silent('{cluster=%q}')}))", NAME + SINCE)}
description: They exist and cost money: their last rates continue, at {number(f"sum({SILENT_RATE})", HOURLY, "an unknown rate")}. The first {NAMES_SHOWN} are named; {SILENT} has all. Check the exporter and the host. The alert ends when a host answers, or when its target or node is removed.
servers: {owners(SILENT_RATE)}
waiting: No money is lost: an exporter that comes back charges the time, up to gap.max_days.
alert InferenceNodesUnmetered ticket after 5m by (cluster): {CLUSTER_BOARD}
# Each node by itself for half an hour: an autoscaled fleet always has a node that is new.
count by (cluster) ({unmetered()}) > 0
summary: GPU nodes{OF_CLUSTER} without an exporter: {VALUE}. {listed(f"topk({NAMES_SHOWN}, {unmetered('{cluster=%q}')})", "{{ .Labels.node }}. ", order="node")}
description: Their cost is missing from every figure. Check the node selector and the tolerations of the DaemonSet, and whether its pod there is scraped. The first {NAMES_SHOWN} are named; inference:gpu_nodes_unmetered has all.
servers: {servers(f"{SPEND}{{cluster=%q}}")}
waiting: A ledger counts from its first start on. One that starts within an hour of its host's boot charges the rent since the boot; no month has the time before any other start.
alert InferenceExporterStale ticket after 5m by ({HOST}): {BOARD}
max {BY_HOST} (inference:exporter_stale_seconds)
summary: {NODE_OR_INSTANCE} answers, but has completed no tick for {{{{ $value | humanizeDuration }}}}.
description: Its counters are frozen and its gauges absent. The log names the cause: a hanging driver call or a disk. Restart it; it charges the time at its next tick.
servers: {HOST_OWNERS}
waiting: No cost is lost, but GPU holders are unknown meanwhile.
alert InferenceSourceDown ticket after 15m by ({HOST}, source): {BOARD}
max by ({HOST}, source) (inference:source_down{{source!="clock"}})
summary: {{{{ $labels.source }}}} cannot be read on {NODE_OR_INSTANCE}: its tokens or its GPU time are not counted.
description: Cost continues as unobserved or without tokens. The metric inference_server_unread_info has the reason of a server, and docs/unread.md the remedy. For any source see inference_source_errors_total and the exporter's log.
servers: {HOST_OWNERS}
waiting: {HOST_NIGHT}
alert InferenceGpuDown ticket after 10m by ({HOST}): {GPU_BOARD}
max {BY_HOST} (inference:gpus_down)
summary: {VALUE} GPUs of {NODE_OR_INSTANCE} cannot be read. They are charged, and their activity is unknown.
description: They fell off the bus, or the driver failed. Their cost continues as idle, charged to their last holders. Look at the kernel log for Xid errors, then reset the GPU or reboot the host. Configure a GPU that left for good under retired; a replaced one needs nothing.
servers: {HOST_OWNERS}
waiting: {HOST_NIGHT}
alert InferenceGpuCountMismatch ticket after 1h by ({HOST}): {GPU_BOARD}
# An hour: until then a GPU that fell off the bus is InferenceGpuDown's, and most come back.
max {BY_HOST} (inference:gpus_excess)
summary: GPUs that {NODE_OR_INSTANCE} pays for, minus those that NVML lists: {{{{ $value | printf "%+.0f" }}}}.
description: Positive: a GPU fell off the bus, was removed or never came up; its cost continues as idle or under uuid unseen. Negative: gpus_per_host is too low, and the host is charged more than its price. Look at nvidia-smi and the kernel log, then correct gpus_per_host, retired or discovery.gpus.
servers: {HOST_OWNERS}
waiting: {HOST_NIGHT}
alert InferenceClockUnsynchronized ticket after 6h by ({HOST}): {BOARD}
# Nothing is lost by it from one tick to the next, and some hosts take hours after a boot.
max {BY_HOST} (inference:source_down{{source="clock"}})
summary: The clock of {NODE_OR_INSTANCE} is not synchronized: months may begin at the wrong time there.
description: The host measures its downtime by this clock. Start chrony, systemd-timesyncd or another time service on the host, and check that it reaches its servers.
servers: {HOST_OWNERS}
waiting: Nothing is lost from one tick to the next; a reboot or the month's end makes it matter.
"""

TARGETS: Final = "inference:ledger_targets"
PROCESSES: Final = f'count by (ledger) (count_values by (ledger) ("process", {TARGETS}))'
ALL_TARGETS: Final = f"count by (ledger) (group by (ledger, cluster, instance, job) ({TARGETS}))"
CLUSTERS: Final = f"count by (ledger) (group by (ledger, cluster) ({LEDGER_SEEN}))"
INSTANCES: Final = f"count by (ledger) (group by (ledger, instance) ({LEDGER_SEEN}))"
SEEN_IN: Final = (
    f"group by (cluster, instance) ({LEDGER_SEEN}{{ledger=%q}}) unless on () {TARGETS}{{ledger=%q}}"
)
EACH_TARGET: Final = f"group by (cluster, instance, job) ({TARGETS}{{ledger=%q}}) or {SEEN_IN}"
PLACE: Final = "{{ .Labels.instance }}{{ with .Labels.job }} in job {{ . }}{{ end }}{{ with .Labels.cluster }} of cluster {{ . }}{{ end }}. "
WHERE: Final = listed(
    f'label_join({EACH_TARGET}, "target", " ", "instance", "job", "cluster")', PLACE, order="target"
)
"""The targets of a ledger; of several clusters, which see one target each, their instances."""

OF_LEDGER: Final = owners(f"max by (ledger, product, team) ({HOST_SPEND}{{ledger=%q}})")

LEDGER_ALERTS: Final = f"""\
alert InferenceLedgerShared ticket after 15m by (ledger): {METER}
# Two processes have one ledger: a copy. Two targets of one process are InferenceExporterScrapedTwice, and replicas of
# Prometheus are neither.
{PROCESSES} > 1
or
{INSTANCES} > 1 and {CLUSTERS} > 1 unless on (ledger) {TARGETS}
summary: {VALUE} exporters report ledger {{{{ $labels.ledger }}}}: its file was copied, as in a cloned disk image. {WHERE}
description: The fleet's figures count one of them, so the cost of the others is missing. Give each cloned host a ledger of its own: stop its exporter, move ledger.db aside, and start it.
servers: {OF_LEDGER}
waiting: No figure of the fleet has what the other hosts spend until then.
alert InferenceExporterScrapedTwice ticket after 15m by (ledger): {METER}
{ALL_TARGETS} > {PROCESSES}
or
{CLUSTERS} > 1 and {INSTANCES} == 1
summary: {VALUE} scrape targets are one exporter, of ledger {{{{ $labels.ledger }}}}. {WHERE}
description: Nothing is counted twice: the rules count each ledger once. Each job stores all series of that exporter again. Remove one of the jobs, for example a ServiceMonitor next to the PodMonitor.
servers: {OF_LEDGER}
waiting: No money is wrong; it costs storage, and queries of your own may count the host twice.
alert InferenceLedgerNotPersistent ticket after 10m by ({HOST}): {BOARD}
max {BY_HOST} (inference:ledger_not_persistent)
summary: The ledger of {NODE_OR_INSTANCE} is not persistent: a restart or a new pod loses what is metered now.
description: There is no ledger file, it cannot be written, another file took its place, or it is on a pod's emptyDir. The exporter's log says which. Free disk space, make the folder of ledger.path writable, or mount a folder of the node. Do not restart the exporter before that. If the old ledger cannot even be read, the month may count this time twice once it can.
servers: {HOST_OWNERS}
waiting: {HOST_NIGHT} A restart loses that much.
alert InferenceLedgerBegunAnew ticket after 1m by ({HOST}): {BOARD}
# A new host has no earlier ledger to compare with. The alert lasts six hours.
max {BY_HOST} (inference:ledger_replaced or inference:ledger_begun_anew)
summary: The ledger of {NODE_OR_INSTANCE} began at {{{{ $value | {TIME} }}}}, and another one was there before.
description: The ledger's file was lost, or moved aside as damaged or as another machine's. The exporter's log says which, and where the file is. Put it back if it is whole, before you bill this month.
servers: {HOST_OWNERS}
waiting: The fleet's month has both ledgers. The old one, once put back, charges the time since again: subtract what the new one posted.
alert InferenceConfigReloadFailed ticket after 5m by ({HOST}): {BOARD}
max {BY_HOST} (inference:config_reload_failed)
summary: {NODE_OR_INSTANCE} rejected its configuration and continues with the previous one.
description: Changed prices, servers and budgets are not in force, and a restart would fail. The verb check-config names the line and the key. Correct it and reload.
servers: {HOST_OWNERS}
waiting: {HOST_NIGHT} They are posted at the old prices and to the old owners, and stay there.
alert InferenceWebConfigReloadFailed ticket after 5m by ({HOST}): {BOARD}
max {BY_HOST} (inference:web_config_reload_failed)
summary: {NODE_OR_INSTANCE} rejected its web configuration and continues with the previous one.
description: A new certificate or password is not in force, and a restart would fail. The exporter's log names the file and the error. Correct it; the exporter reads it again by itself.
servers: {HOST_OWNERS}
waiting: {HOST_NIGHT} Scrapes fail once the certificate in force expires.
alert InferenceBooksUnbalanced ticket after 5m by ({HOST}): {BOARD}
max {BY_HOST} (inference:ledger_residual_dollars)
summary: The ledger of {NODE_OR_INSTANCE} does not balance by {{{{ $value | printf "%g" }}}} dollars. Do not bill from it.
description: Accrued and posted dollars differ, which is a bug of the exporter. Copy the ledger while it runs, keep the log, and report both with the version. The residual says how far the figures can be off.
servers: {HOST_OWNERS}
waiting: The residual may grow; watch it, and close no month by these books.
alert InferenceLabelsRenamed ticket after 15m by ({HOST}): {BOARD}
max {BY_HOST} (inference:labels_renamed)
summary: {NODE_OR_INSTANCE} is scraped without honor_labels: the workloads' namespaces were renamed.
description: The label namespace is the exporter's own there, so servers of one name in two namespaces become one. Set honor_labels: true (honorLabels in a PodMonitor) in the scrape job.
servers: {HOST_OWNERS}
waiting: No money is lost; series recorded meanwhile keep the wrong namespace.
alert InferenceTimeZonesDiffer ticket after 1h by (): {METER}
count(
  (
    max by (month) (inference:month_end_timestamp_seconds:cluster)
    - min by (month) (inference:month_end_timestamp_seconds:cluster) > 0
    or max by (month) (inference:month_end_timestamp_seconds:zones) > 1
  )
  and on (month) (max by (month) (inference:month_end_timestamp_seconds:cluster) > time())
) > 0
summary: Hosts end the month at different times: their time zones differ. {listed(f"sort_desc(topk({NAMES_SHOWN}, max by (cluster, month) (inference:month_end_timestamp_seconds:cluster) > time()))", "{{ with .Labels.cluster }}Cluster {{ . }} ends{{ else }}The last ends{{ end }} {{ .Labels.month }} at {{ .Value | " + TIME + " }}. ")}
description: The fleet's month stays open until the last zone ends it, and each month has the sum of its own label. Budgets compare days that are not the same. Configure one timezone on all hosts.
servers: {servers()}
waiting: No money is lost; around the month's end the figures of two months mix.
"""

ALERTS: Final = HOSTS + LEDGER_ALERTS

DOUBLED: Final = f"""\
alert InferenceGpuMeteredTwice ticket after 30m by ({HOST}): {GPU_BOARD}
# Half an hour: a pod without a persistent ledger has another one after each restart.
max {BY_HOST} (inference:gpus_metered_twice)
summary: GPUs of {NODE_OR_INSTANCE} that another exporter meters with a ledger of its own: {VALUE}. The fleet has their cost twice.
description: Stop one of the exporters, for example a systemd unit next to the DaemonSet, and subtract what its ledger posted. A GPU that moved to another host: enter it under retired on the host that it left.
servers: {HOST_OWNERS}
waiting: {HOST_NIGHT}
"""
"""Money that the fleet has twice; a group of rules has no room for more alerts on the meter."""
