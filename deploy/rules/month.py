"""The month of the fleet: what was spent, by whom, and what hosts that are gone had spent."""

from typing import Final

from hosts import POSTING
from statement import Group, Record

MTD: Final = "inference:month_to_date_dollars"
POSTED: Final = f"{MTD}:posting"
HOURLY: Final = f"{MTD}:posting_hourly"
GONE: Final = f"{MTD}:gone"
BASIS: Final = f"{MTD}:owner_price_basis"
CLOSED: Final = "inference:closed_month_dollars"
CLOSED_BASIS: Final = f"{CLOSED}:owner_price_basis"
CLOSED_HOURLY: Final = "inference:closed_month_dollars_hourly:owner"
ENDS: Final = "inference:month_end_timestamp_seconds"
ENDS_HOURLY: Final = "inference:month_end_timestamp_seconds_hourly"
METERED: Final = "inference:month_metered_since_timestamp_seconds"
METERED_HOURLY: Final = "inference:month_metered_since_timestamp_seconds_hourly"
LEDGER_CLUSTER: Final = "inference:ledger_cluster"
LEDGER_CLUSTER_HOURLY: Final = "inference:ledger_cluster_hourly"
LEDGER_SEEN: Final = "inference:ledger_seen_timestamp_seconds"
SINCE: Final = "inference:host_silent_since_timestamp_seconds"
LOST_SINCE: Final = "inference:cluster_silent_since_timestamp_seconds"
BEAT: Final = "inference:cluster_heartbeat_timestamp_seconds"
OWNED_HOURLY: Final = "inference:spend_dollars_per_hour:owner_hourly"
BEAT_HOURLY: Final = "inference:cluster_heartbeat_timestamp_seconds_hourly"

CLOSED_MONTH_SECONDS: Final = 40 * 86400
"""How long a closed month is kept, in seconds."""

ENDS_KEPT_SECONDS: Final = 103 * 86400
"""How long a month's end is kept, in seconds: longer than its money, or the month would come back by it.

For as long as the money of a month is kept, also the end of the month before last is: hosts export two ends,
so a memory that has a third is older than that month. `report month --from` asks for it.
"""

LABELS: Final = ("cluster", "month", "product", "team", "price_basis")
BY_BASIS: Final = ", ".join(LABELS)


def over(ends: str = ENDS, seconds: int = 0) -> str:
    """Months whose last time zone ended, so many seconds ago."""
    bound = f"time() - {seconds}" if seconds else "time()"
    return f"(max by (month) ({ends}) <= {bound})"


OVER: Final = over(f"{ENDS} or {ENDS}:cluster")
"""Asked both ways, so that nothing waits for the other rule where a rule sees the evaluation before."""

MEMORY: Final = Group(
    "inference-month-memory",
    "1h",
    (
        Record(
            ENDS_HOURLY,
            f"""
(
  max by (cluster, month) (last_over_time({ENDS}:cluster[6h]))
  or
  max by (cluster, month) (last_over_time({ENDS_HOURLY}[14d]))
) > time() - {ENDS_KEPT_SECONDS}
""",
            "",
            "Memory of when each month ends.",
            ("cluster", "month"),
        ),
        Record(
            METERED_HOURLY,
            f"""
min by (cluster, month) (
  min_over_time({METERED}:cluster[6h])
  or
  label_replace(min_over_time({METERED_HOURLY}[14d]), "from", "memory", "", "")
)
unless on (month) {over(f"last_over_time({ENDS_HOURLY}[2h])", CLOSED_MONTH_SECONDS)}
""",
            "",
            "Memory of since when each month is metered.",
            ("cluster", "month"),
        ),
        Record(
            HOURLY,
            f"""
(
  max by ({POSTING}) (last_over_time({POSTED}[6h]))
  or
  max by ({POSTING}) (last_over_time({HOURLY}[14d]))
)
unless on (month) {over(f"last_over_time({ENDS_HOURLY}[2h])", CLOSED_MONTH_SECONDS)}
""",
            "An hourly series is cheap to look back on for 14 days, so hosts that are gone stay in the month through an outage\n"
            "of Prometheus of up to 14 days and with 15 days of retention.",
            "Memory of every ledger's month, until 40 days after its end.",
            ("ledger", "month", "product", "team", "price_basis"),
        ),
        Record(
            LEDGER_CLUSTER_HOURLY,
            f"""
topk by (ledger) (1, max by (ledger, cluster) (
  last_over_time({LEDGER_SEEN}[6h])
  or
  last_over_time({LEDGER_CLUSTER_HOURLY}[14d])
  or
  0 * last_over_time({POSTED}[6h])
))
and on (ledger) last_over_time({HOURLY}[2h])
""",
            "A host that lived between two evaluations has posted and was never seen.",
            "Memory of the cluster in which each ledger was last seen; the value is when.",
            ("ledger", "cluster"),
        ),
        Record(
            CLOSED_HOURLY,
            f"""
sum by ({BY_BASIS}) (
  (
    max by ({POSTING}) (last_over_time({HOURLY}[2h]))
    and on (month) {over(f"last_over_time({ENDS_HOURLY}[2h])")}
  )
  * on (ledger) group_left (cluster)
  group by (ledger, cluster) (topk by (ledger) (1, max by (ledger, cluster) (last_over_time({LEDGER_CLUSTER_HOURLY}[2h]))))
)
or
0 * (max by ({BY_BASIS}) (last_over_time({CLOSED_HOURLY}[2h])) != 0)
""",
            "0, once, where all hosts of an owner went on in another cluster: what is looked back for is the last value.",
            "Closed months of the last 40 days, late postings and hosts that are gone included.",
            LABELS,
        ),
        Record(
            BEAT_HOURLY,
            f"max by (cluster) (last_over_time({BEAT}[70m]))",
            "",
            "Memory of when each cluster's rules were last evaluated.",
            ("cluster",),
        ),
        Record(
            OWNED_HOURLY,
            "max by (product, team) (last_over_time(inference:spend_dollars_per_hour:owner[70m]))",
            "",
            "Memory of who spent within the hour.",
            ("product", "team"),
        ),
    ),
    "One sample an hour of all ledgers. Only these rules and those of ten minutes look back so far.",
)

DEPARTED: Final = Group(
    "inference-month-gone",
    "10m",
    (
        Record(
            GONE,
            f"""
(
  (
    max by ({POSTING}) (last_over_time({POSTED}[70m]))
    or
    max by ({POSTING}) (last_over_time({HOURLY}[14d]))
  )
  unless on ({POSTING}) {POSTED}
  unless on (month) {OVER}
)
* on (ledger) group_left (cluster)
group by (ledger, cluster) (topk by (ledger) (1, max by (ledger, cluster) (
  last_over_time({LEDGER_SEEN}[70m])
  or
  last_over_time({LEDGER_CLUSTER_HOURLY}[14d])
  or
  0 * last_over_time({POSTED}[70m])
)))
""",
            "Two weeks of 30,000 ledgers take too long to look at each minute. The cluster is the one that saw the ledger last.",
            "Open months of ledgers that do not report now.",
            ("cluster", "ledger", "month", "product", "team", "price_basis"),
        ),
    ),
)

FORMER: Final = f"""(
      max by (ledger, cluster) (last_over_time({LEDGER_SEEN}[70m]))
      and on (ledger) {LEDGER_CLUSTER}
      unless on (ledger, cluster) {LEDGER_CLUSTER}
    )"""


JUST: Final = f"and on (month) {OVER} unless on (month) {over(f'{ENDS} or {ENDS}:cluster', 7200)}"
LASTS: Final = "".join(
    f"or on (month)\n  (max by ({BY_BASIS}) (last_over_time({last})) {JUST})\n"
    for last in (f"{CLOSED_BASIS}[10m]", f"{BASIS}[6m]", f"{BASIS}[2h]")
)


def closed(suffix: str, labels: tuple[str, ...], meaning: str) -> Record:
    """A closed month by some of its labels."""
    return Record(f"{CLOSED}{suffix}", f"sum by ({', '.join(labels)}) ({CLOSED_BASIS})", "", meaning, labels)


THIS: Final = Group(
    "inference-month",
    "1m",
    (
        Record(
            LEDGER_CLUSTER,
            f"""
group by (ledger, cluster) (
  topk by (ledger) (1, max by (ledger, cluster) (last_over_time({LEDGER_SEEN}[70m]) or {SINCE}{{ledger!=""}}))
)
""",
            "",
            "1: the cluster of each ledger that was seen within 70 minutes or is silent, by its newest sample.",
            ("ledger", "cluster"),
        ),
        Record(
            ENDS,
            f"""
(
  max by (cluster, month) ({ENDS}:cluster)
  or
  max by (cluster, month) (last_over_time({ENDS}[70m]))
  or
  max by (cluster, month) (last_over_time({ENDS_HOURLY}[14d]))
  or
  group by (cluster) ({LOST_SINCE})
  * on () group_left (month) bottomk(1, max by (month) ({ENDS}:cluster) > time())
) > time() - {CLOSED_MONTH_SECONDS}
""",
            "Remembered, so that a fleet whose exporters are all down, or that was scaled to zero, still has a month. A cluster that\n"
            "is lost over a month's end has the others' next one.",
            "When each month ends, in the last time zone of the cluster's hosts; for 40 days after.",
            ("cluster", "month"),
        ),
        Record(
            "inference:month_hours_left",
            f"clamp_min(({ENDS} - time()) / 3600, 0) unless on (month) {OVER}",
            "",
            "Hours left of each open month; 0 where it is over in the cluster's time zone and not in another's.",
            ("cluster", "month"),
        ),
        Record(
            "inference:fleet_month_hours_left",
            f"bottomk(1, max by (month) ({ENDS} - time()) > 0) / 3600",
            "The one that ends next by Prometheus's clock: a host whose clock is off cannot choose it.",
            "Hours left, in the last time zone, of the one month that budgets are compared with.",
            ("month",),
        ),
        Record(
            BASIS,
            f"""
sum by ({BY_BASIS}) (
  topk by ({POSTING}) (1,
    max by (cluster, {POSTING}) (last_over_time({POSTED}[70m]))
    unless on (ledger, cluster) {FORMER}
  )
  or on ({POSTING})
  max by (cluster, {POSTING}) (last_over_time({GONE}[70m]))
)
unless on (month) {OVER}
""",
            "All ledgers are added up once a minute, and the sums after it are of a few series. A posting counts once: by what\n"
            "a host posted within 70 minutes, which outlasts an outage of an hour, else by the memory of hosts that are gone.\n"
            "Where two clusters reported it, it is in the one that saw the ledger last.",
            "Month to date by owner and by where the price came from; the sums below are of this.",
            LABELS,
        ),
        Record(
            f"{MTD}:owner",
            f"sum by (cluster, month, product, team) ({BASIS})",
            "",
            "Month to date by owner.",
            ("cluster", "month", "product", "team"),
        ),
        Record(
            f"{MTD}:price_basis",
            f"sum by (cluster, month, price_basis) ({BASIS})",
            "",
            "Month to date by where the price came from.",
            ("cluster", "month", "price_basis"),
        ),
        Record(
            MTD,
            f"sum by (cluster, month) ({BASIS})",
            "",
            "Month to date of every month that is open in any time zone, hosts that are gone included.",
            ("cluster", "month"),
        ),
        Record(
            CLOSED_BASIS,
            f"""
  max by ({BY_BASIS}) (last_over_time({CLOSED_HOURLY}[2h]) != 0)
{LASTS}or on (month)
  sum by ({BY_BASIS}) (
    max by ({POSTING}) ({POSTED} and on (month) {OVER})
    * on (ledger) group_left (cluster) {LEDGER_CLUSTER}
  )
""",
            "The hourly memory has a month within the hour after its end. Until then its last minutes hold: within two hours\n"
            "a host that moved has been in two clusters. Two hours where rules were not evaluated at the end. Within the first\n"
            "hour of the rules it is what hosts that answer export.",
            "Closed months of the last 40 days by owner and by where the price came from; the sums below are of this.",
            LABELS,
        ),
        closed("", ("cluster", "month"), "Closed months of the last 40 days."),
        closed(":owner", ("cluster", "month", "product", "team"), "The same by owner."),
        closed(":price_basis", ("cluster", "month", "price_basis"), "The same by where the price came from."),
        Record(
            METERED,
            f"""
min by (cluster, month) (
  {METERED}:cluster
  or
  label_replace(last_over_time({METERED}[70m]), "from", "minutes", "", "")
  or
  label_replace(last_over_time({METERED_HOURLY}[14d]), "from", "memory", "", "")
)
and on (cluster, month) {ENDS}
""",
            "",
            "Since when each month is metered in the cluster.",
            ("cluster", "month"),
        ),
        Record(
            "inference:month_unmetered_hours",
            f"""
(
  {METERED}
  - on (cluster, month)
  ({ENDS} - 86400 * days_in_month({ENDS} - 86400))
) / 3600
> 1.01
or
0 * {METERED}
""",
            "A month with a change of clocks begins an hour off the multiple of 24 hours.",
            "Hours of the month before the first host of the cluster was metered.",
            ("cluster", "month"),
        ),
    ),
)
