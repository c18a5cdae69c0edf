"""The calendar month of a cluster: what was spent, by whom, and what hosts that are gone had spent."""

from typing import Final

from statement import Group, Record

TOLD: Final = "inference:month_to_date_dollars:posting_told"
POSTING: Final = "cluster, ledger, month, product, team, price_basis"
OWNER: Final = "cluster, product, team"
SERVER: Final = "cluster, product, team, namespace, server"
HOST_COST: Final = (
    f"sum by ({OWNER}, instance) (max by ({SERVER}, instance, model) (inference_cost_dollars_per_hour))"
)
RESTING: Final = f"""
  0 * (
    group by ({OWNER}) (inference:month_to_date_dollars:owner)
    and on (cluster) inference:cost_dollars_per_hour
  )
"""

MEMORY: Final = Group(
    "inference-month-memory",
    "1h",
    (
        Record(
            "inference:month_to_date_dollars:posting_hourly",
            f"""
max by ({POSTING}) (last_over_time(inference:month_to_date_dollars:posting[2h]))
and on (cluster, month)
  (max by (cluster, month) (last_over_time(inference:month_hours_left[2h])) > 0)
""",
            "One sample an hour for what every ledger of the current month has posted to whom. An hourly series is cheap to\n"
            "look back on for 14 days, so hosts that are gone stay in the month through a Prometheus outage of up to 14 days\n"
            "and with 15 days of retention. Only one rule looks back so far: what it recalls comes back here by the postings.",
        ),
        Record(
            "inference:month_to_date_dollars:ledger_hourly",
            "sum by (cluster, ledger, month) (inference:month_to_date_dollars:posting_hourly)",
        ),
        Record(
            "inference:ledger_seen",
            "group by (cluster, ledger) (last_over_time(inference_month_to_date_dollars[1h]))",
            "Who was here in the last hour, for the missing-hosts alert.",
        ),
    ),
)

RECALL: Final = Group(
    "inference-month-recall",
    "10m",
    (
        Record(
            "inference:month_to_date_dollars:posting_recalled",
            f"""
(
  max by ({POSTING}) (last_over_time(inference:month_to_date_dollars:posting_hourly[14d]))
  unless on ({POSTING}) last_over_time(inference:month_to_date_dollars:posting[1h])
)
and on (cluster, month)
  ((inference_month_end_timestamp_seconds or last_over_time(inference:month_end_timestamp_seconds[14d])) > time())
""",
            "What the hourly memory knows and the minutes have forgotten: empty but after an outage of Prometheus of more than\n"
            "an hour, when the month is whole again within this group's interval. Two weeks of 30,000 ledgers take too long to\n"
            "look at each minute.",
        ),
    ),
)

LEDGERS: Final = Group(
    "inference-month-ledgers",
    "4m",
    (
        Record(
            "inference:month_to_date_dollars:posting",
            f"""
(
    max by ({POSTING}) (last_over_time({TOLD}[70m]))
  or
    max by ({POSTING}) (last_over_time(inference:month_to_date_dollars:posting[70m]))
  or
    inference:month_to_date_dollars:posting_recalled
)
and on (cluster, month) inference:month_hours_left
""",
            "Every ledger of the month, most of them of hosts that are gone. A host that is gone keeps what it had spent.\n"
            "70 minutes: an outage of Prometheus of an hour, and what is left until this group is evaluated.",
        ),
        Record(
            "inference:month_to_date_dollars:ledger",
            "sum by (cluster, ledger, month) (inference:month_to_date_dollars:posting)",
        ),
    ),
    "A series for each ledger and owner is dear at 30,000 ledgers and moves no sum: what hosts tell is added up each minute\n"
    "without it. Four minutes, since a query sees a sample for five.",
)

MONTH: Final = (
    Record(
        "inference:month_end_timestamp_seconds",
        """
(
    max by (cluster, month) (inference_month_end_timestamp_seconds)
  or
    max by (cluster, month) (last_over_time(inference:month_end_timestamp_seconds[14d]))
) > time()
""",
        "When each month ends, in the fleet's time zone; remembered, so that a fleet whose exporters are all down, or that\n"
        "was scaled to zero, still has a month.",
    ),
    Record(
        "inference:month_hours_left",
        """
(
  (
    inference:month_end_timestamp_seconds
    == on (cluster) group_left ()
    min by (cluster) (inference:month_end_timestamp_seconds)
  )
  - time()
) / 3600
""",
        "The current month is the one that ends next by Prometheus's clock; a host whose clock is off cannot choose it.",
    ),
    Record(
        TOLD,
        f"""
(
    max by ({POSTING}) (inference_month_to_date_dollars)
  or
    max by ({POSTING}) (last_over_time(inference_month_to_date_dollars[5m]))
)
and on (cluster, month) inference:month_hours_left
""",
        "Month to date by host and owner, of hosts that answer or did within five minutes: a host that is gone has told\n"
        "what it had spent to its last scrape, and not only to the last evaluation before it.",
    ),
    Record(
        "inference:month_to_date_dollars:owner_price_basis",
        f"""
sum by (cluster, month, product, team, price_basis) (
    last_over_time({TOLD}[70m])
  or
    last_over_time(inference:month_to_date_dollars:posting[70m])
  or
    inference:month_to_date_dollars:posting_recalled
)
and on (cluster, month) inference:month_hours_left
""",
        "All ledgers are added up once a minute, and the sums after it are of a few series: what hosts tell now, and of those\n"
        "that are silent what the group of ledgers remembers. A posting counts once, by the first of the three that has it.",
    ),
    Record(
        "inference:month_to_date_dollars:owner",
        "sum by (cluster, month, product, team) (inference:month_to_date_dollars:owner_price_basis)",
    ),
    Record(
        "inference:month_to_date_dollars:price_basis",
        "sum by (cluster, month, price_basis) (inference:month_to_date_dollars:owner_price_basis)",
    ),
    Record(
        "inference:month_to_date_dollars",
        "sum by (cluster, month) (inference:month_to_date_dollars:owner_price_basis)",
    ),
)

SPEND: Final = (
    Record(
        "inference:monthly_run_rate_dollars",
        "sum by (cluster) (max by (cluster, ledger) (last_over_time(inference_monthly_run_rate_dollars[30m])))",
        "Spend now. A host that stops answering keeps its last rate for 30 minutes, time enough for InferenceHostsMissing\n"
        "to speak. The inner max: two Prometheus replicas tell of one host, which is added once.",
    ),
    Record(
        "inference:cost_dollars_per_hour:server",
        f"""
sum by ({SERVER}) (
  max by ({SERVER}, instance, model) (inference_cost_dollars_per_hour)
)
""",
    ),
    Record("inference:cost_dollars_per_hour", "sum by (cluster) (inference:cost_dollars_per_hour:server)"),
    Record(
        "inference:cost_dollars_per_hour:owner",
        f"""
  sum by ({OWNER}) (inference:cost_dollars_per_hour:server)
or{RESTING}""",
        "Whoever spent in this month and holds nothing now spends 0 while a host of the cluster answers, so that a mean over\n"
        "days is of the days and not of the hours in which something ran.",
    ),
    Record(
        "inference:cost_at_first_price_dollars_per_hour:owner",
        f"""
  sum by ({OWNER}) (
    max by ({OWNER}, instance) (inference_cost_at_first_price_dollars_per_hour)
    or
    {HOST_COST}
  )
or{RESTING}""",
        "The same at the first price that is configured for each GPU, so that a mean of it over days is one of use, and a\n"
        "price that changed on a date is no change of it. A host that does not export it counts at its price of now.",
    ),
    Record(
        "inference:cost_at_rest_price_dollars_per_hour:owner",
        f"""
sum by ({OWNER}) (
  {HOST_COST}
  * on (cluster, instance) group_left ()
  (
    max by (cluster, instance) (inference_month_price_change_ratio)
    or
    group by (cluster, instance) (inference_cost_dollars_per_hour)
  )
)
""",
        "The same at the mean price of the rest of the month, by each host's tariff: dated prices, ends of life, retirements.",
    ),
    Record(
        "inference:cluster_silent",
        """
group by (cluster) (inference:month_hours_left)
unless on (cluster) group by (cluster) (last_over_time(inference:ledger_seen[6h]))
unless on (cluster) group by (cluster) (inference_month_to_date_dollars)
""",
        "Scaled to zero, as far as anybody knows: no host for more than six hours. An outage of all exporters looks the same,\n"
        "so what is recorded of it is nothing, not 0.",
    ),
    Record(
        "inference:monthly_run_rate_dollars:owner",
        """
inference:cost_dollars_per_hour:owner
  * on (cluster) group_left ()
  (inference:monthly_run_rate_dollars / (inference:cost_dollars_per_hour > 0))
""",
        "The run-rate spread over owners as the spend of this moment is; the hours of a month are the exporter's.",
    ),
)

HOSTS: Final = (
    Record(
        "inference:hosts_missing",
        """
count by (cluster) (
  group by (cluster, ledger) (last_over_time(inference:ledger_seen[6h]))
  unless on (cluster, ledger) group by (cluster, ledger) (inference_month_to_date_dollars)
)
""",
        "Ledgers seen in the last 6 hours and silent now. Empty when all are here.",
    ),
    Record(
        "inference:hosts_metered",
        "count by (cluster) (group by (cluster, instance) (inference_exporter_info))",
    ),
    Record(
        "inference:gpu_nodes",
        """
count by (cluster) (
  max by (cluster, node) (kube_node_status_capacity{resource=~"nvidia_com_(gpu|mig_.+)"}) > 0
)
""",
        "Nodes with GPUs that Kubernetes has, by kube-state-metrics, which knows those of a device plugin and not those of\n"
        "dynamic resource allocation; and those of them that no exporter meters. Without kube-state-metrics both are empty.",
    ),
    Record(
        "inference:gpu_nodes_unmetered",
        """
group by (cluster, node) (kube_node_status_capacity{resource=~"nvidia_com_(gpu|mig_.+)"} > 0)
unless on (cluster, node) group by (cluster, node) (inference_exporter_info)
""",
    ),
)
