"""The month of the fleet: what was spent, by whom, and what hosts that are gone had spent."""

from typing import Final

from hosts import POSTING

MTD: Final = "inference:month_to_date_dollars"
POSTED, HOURLY, GONE = f"{MTD}:posting", f"{MTD}:posting_hourly", f"{MTD}:gone"
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

BY_BASIS: Final = "cluster, month, product, team, price_basis"


def over(ends: str = ENDS, seconds: int = 0) -> str:
    """Months whose last time zone ended, so many seconds ago."""
    bound = f"time() - {seconds}" if seconds else "time()"
    return f"(max by (month) ({ends}) <= {bound})"


OVER: Final = over(f"{ENDS} or {ENDS}:cluster")
"""Asked both ways, so that nothing waits for the other rule where a rule sees the evaluation before."""

MEMORY: Final = f"""\
rules inference-month-memory every 1h: Memory of the month
# One sample an hour of all ledgers. Only these rules and those of ten minutes look back so far.
record {ENDS_HOURLY} (cluster, month): Memory of when each month ends.
(
  max by (cluster, month) (last_over_time({ENDS}:cluster[6h]))
  or
  max by (cluster, month) (last_over_time({ENDS_HOURLY}[14d]))
) > time() - {ENDS_KEPT_SECONDS}
record {METERED_HOURLY} (cluster, month): Memory of since when each month is metered.
min by (cluster, month) (
  min_over_time({METERED}:cluster[6h])
  or
  label_replace(min_over_time({METERED_HOURLY}[14d]), "from", "memory", "", "")
)
unless on (month) {over(f"last_over_time({ENDS_HOURLY}[2h])", CLOSED_MONTH_SECONDS)}
record {HOURLY} (ledger, month, product, team, price_basis): Memory of every ledger's month, until 40 days after its end.
# An hourly series is cheap to look back on for 14 days, so hosts that are gone stay in the month through an outage
# of Prometheus of up to 14 days and with 15 days of retention.
(
  max by ({POSTING}) (last_over_time({POSTED}[6h]))
  or
  max by ({POSTING}) (last_over_time({HOURLY}[14d]))
)
unless on (month) {over(f"last_over_time({ENDS_HOURLY}[2h])", CLOSED_MONTH_SECONDS)}
record {LEDGER_CLUSTER_HOURLY} (ledger, cluster): Memory of the cluster in which each ledger was last seen; the value is when.
# A host that lived between two evaluations has posted and was never seen.
topk by (ledger) (1, max by (ledger, cluster) (
  last_over_time({LEDGER_SEEN}[6h])
  or
  last_over_time({LEDGER_CLUSTER_HOURLY}[14d])
  or
  0 * last_over_time({POSTED}[6h])
))
and on (ledger) last_over_time({HOURLY}[2h])
record {CLOSED_HOURLY} (cluster, month, product, team, price_basis): Closed months of the last 40 days, late postings and hosts that are gone included.
# 0, once, where all hosts of an owner went on in another cluster: what is looked back for is the last value.
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
record {BEAT_HOURLY} (cluster): Memory of when each cluster's rules were last evaluated.
max by (cluster) (last_over_time({BEAT}[70m]))
record {OWNED_HOURLY} (product, team): Memory of who spent within the hour.
max by (product, team) (last_over_time(inference:spend_dollars_per_hour:owner[70m]))
"""

DEPARTED: Final = f"""\
rules inference-month-gone every 10m: Ledgers that are gone
record {GONE} (cluster, ledger, month, product, team, price_basis): Open months of ledgers that do not report now.
# Two weeks of 30,000 ledgers take too long to look at each minute. The cluster is the one that saw the ledger last.
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
"""

JUST: Final = f"and on (month) {OVER} unless on (month) {over(f'{ENDS} or {ENDS}:cluster', 7200)}"
LASTS: Final = "".join(
    f"or on (month)\n  (max by ({BY_BASIS}) (last_over_time({last})) {JUST})\n"
    for last in (f"{CLOSED_BASIS}[10m]", f"{BASIS}[6m]", f"{BASIS}[2h]")
)


THIS: Final = f"""\
rules inference-month every 1m: The month
record {LEDGER_CLUSTER} (ledger, cluster): 1: the cluster of each ledger that was seen within 70 minutes or is silent, by its newest sample.
group by (ledger, cluster) (
  topk by (ledger) (1, max by (ledger, cluster) (last_over_time({LEDGER_SEEN}[70m]) or inference:host_silent_since_timestamp_seconds{{ledger!=""}}))
)
record {ENDS} (cluster, month): When each month ends, in the last time zone of the cluster's hosts; for 40 days after.
# Remembered, so that a fleet whose exporters are all down, or that was scaled to zero, still has a month. A cluster that
# is lost over a month's end has the others' next one.
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
record inference:month_hours_left (cluster, month): Hours left of each open month; 0 where it is over in the cluster's time zone and not in another's.
clamp_min(({ENDS} - time()) / 3600, 0) unless on (month) {OVER}
record inference:fleet_month_hours_left (month): Hours left, in the last time zone, of the one month that budgets are compared with.
# The one that ends next by Prometheus's clock: a host whose clock is off cannot choose it.
bottomk(1, max by (month) ({ENDS} - time()) > 0) / 3600
record {BASIS} (cluster, month, product, team, price_basis): Month to date by owner and by where the price came from; the sums below are of this.
# All ledgers are added up once a minute, and the sums after it are of a few series. A posting counts once: by what
# a host posted within 70 minutes, which outlasts an outage of an hour, else by the memory of hosts that are gone.
# Where two clusters reported it, it is in the one that saw the ledger last.
sum by ({BY_BASIS}) (
  topk by ({POSTING}) (1,
    max by (cluster, {POSTING}) (last_over_time({POSTED}[70m]))
    unless on (ledger, cluster) (
      max by (ledger, cluster) (last_over_time({LEDGER_SEEN}[70m]))
      and on (ledger) {LEDGER_CLUSTER}
      unless on (ledger, cluster) {LEDGER_CLUSTER}
    )
  )
  or on ({POSTING})
  max by (cluster, {POSTING}) (last_over_time({GONE}[70m]))
)
unless on (month) {OVER}
record {MTD}:owner (cluster, month, product, team): Month to date by owner.
sum by (cluster, month, product, team) ({BASIS})
record {MTD}:price_basis (cluster, month, price_basis): Month to date by where the price came from.
sum by (cluster, month, price_basis) ({BASIS})
record {MTD} (cluster, month): Month to date of every month that is open in any time zone, hosts that are gone included.
sum by (cluster, month) ({BASIS})
record {CLOSED_BASIS} (cluster, month, product, team, price_basis): Closed months of the last 40 days by owner and by where the price came from; the sums below are of this.
# The hourly memory has a month within the hour after its end. Until then its last minutes hold: within two hours
# a host that moved has been in two clusters. Two hours where rules were not evaluated at the end. Within the first
# hour of the rules it is what hosts that answer export.
  max by ({BY_BASIS}) (last_over_time({CLOSED_HOURLY}[2h]) != 0)
{LASTS}or on (month)
  sum by ({BY_BASIS}) (
    max by ({POSTING}) ({POSTED} and on (month) {OVER})
    * on (ledger) group_left (cluster) {LEDGER_CLUSTER}
  )
record {CLOSED} (cluster, month): Closed months of the last 40 days.
sum by (cluster, month) ({CLOSED_BASIS})
record {CLOSED}:owner (cluster, month, product, team): The same by owner.
sum by (cluster, month, product, team) ({CLOSED_BASIS})
record {CLOSED}:price_basis (cluster, month, price_basis): The same by where the price came from.
sum by (cluster, month, price_basis) ({CLOSED_BASIS})
record {METERED} (cluster, month): Since when each month is metered in the cluster.
min by (cluster, month) (
  {METERED}:cluster
  or
  label_replace(last_over_time({METERED}[70m]), "from", "minutes", "", "")
  or
  label_replace(last_over_time({METERED_HOURLY}[14d]), "from", "memory", "", "")
)
and on (cluster, month) {ENDS}
record inference:month_unmetered_hours (cluster, month): Hours of the month before the first host of the cluster was metered.
# A month with a change of clocks begins an hour off the multiple of 24 hours.
(
  {METERED}
  - on (cluster, month)
  ({ENDS} - 86400 * days_in_month({ENDS} - 86400))
) / 3600
> 1.01
or
0 * {METERED}
"""
