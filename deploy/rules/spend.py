"""Spend now: hosts that answer, hosts that are silent, and clusters that the centre has lost."""

from typing import Final

from hosts import SILENT, SPENDS
from month import BEAT, BEAT_HOURLY, LEDGER_CLUSTER, LEDGER_SEEN, LOST_SINCE, OWNED_HOURLY

LOST: Final = "inference:lost_dollars_per_hour:host"
SPEND: Final = "inference:spend_dollars_per_hour"
FIRST: Final = "inference:spend_at_first_price_dollars_per_hour"
FIRST_RATIO: Final = "inference:first_price_ratio"
REST_RATIO: Final = "inference:rest_price_ratio"
HOURS: Final = "inference:fleet_hours_per_month"
RUN_RATE: Final = "inference:monthly_run_rate_dollars"

BY_LEDGER: Final = "cluster, ledger, product, team"
AT_FIRST: Final = "inference:cost_at_first_price_dollars_per_hour:owner"
AT_REST: Final = "inference:cost_at_rest_price_dollars_per_hour:owner"


def owners(name: str, by: str = "product, team") -> str:
    """A record of clusters, added up over them; replicas of a cluster's Prometheus count once."""
    inner = f"max by (cluster, product, team) ({name})"
    return f"sum by ({by}) ({inner})" if by else f"sum({inner})"


BEATS: Final = f"""(
    max by (cluster) (last_over_time({BEAT}[70m]) or last_over_time({BEAT_HOURLY}[7d]))
    < time() - 300
    > time() - 7 * 86400
  )"""
"""Last heartbeat of each cluster that sent none for 5 minutes, for 7 days."""

ELSEWHERE: Final = f"""(
    max by (ledger, cluster) (last_over_time({LEDGER_SEEN}[70m])) and on (ledger) {LEDGER_CLUSTER} unless on (ledger, cluster) {LEDGER_CLUSTER}
  )"""
"""Ledgers and clusters that they were seen in before another one: a host that moved, a cluster that was renamed."""

RENAMED: Final = "inference:cluster_renamed"

SPENDING: Final = f"""\
rules inference-spend every 1m: Spend now
record {LOST} (cluster, ledger, product, team): Last spend of each host of a cluster that sends nothing, unless another cluster sends it or sent it last.
# What hosts spent a minute or two before the silence. Seven minutes: a sample is seen for five, and the silence
# is noticed within one more. 70 minutes where rules were not evaluated meanwhile.
(
    max by ({BY_LEDGER}) ({SPENDS} offset 7m or {SILENT} offset 7m)
  or on (cluster)
    max by ({BY_LEDGER}) ({LOST} offset 1m)
  or on (cluster)
    max by ({BY_LEDGER}) (last_over_time({SPENDS}[70m]) or last_over_time({SILENT}[70m]))
)
and on (cluster) {BEATS}
unless on (ledger) {SPENDS}
unless on (ledger) {SILENT}
unless on (ledger, cluster) {ELSEWHERE}
record {RENAMED} (cluster): 1: a cluster that sends nothing, and all of whose hosts another cluster sends.
group by (cluster) ({BEATS})
and on (cluster) (
    {ELSEWHERE}
  or
    last_over_time({RENAMED}[70m])
)
unless on (cluster) {LOST}
record {LOST_SINCE} (cluster): Last heartbeat of each cluster that has sent none for 5 minutes; for 7 days.
{BEATS}
unless on (cluster) {RENAMED}
record inference:lost_dollars_per_hour:owner (cluster, product, team): Last spend by owner of clusters that send nothing.
sum by (cluster, product, team) ({LOST})
record {SPEND}:owner (cluster, product, team): Spend by owner: hosts that answer, and the last spend of silent hosts and of clusters that send nothing.
# By ledger, so that replicas, a cluster that was renamed and a host that moved count once.
sum by (cluster, product, team) (
      max by (ledger, product, team) ({SPENDS}) * on (ledger) group_left (cluster) {LEDGER_CLUSTER}
    or on (ledger)
      (max by ({BY_LEDGER}) ({SILENT}) and on (ledger, cluster) {LEDGER_CLUSTER})
    or on (ledger)
      max by ({BY_LEDGER}) ({LOST})
  )
record {SPEND} (cluster): Spend of each cluster, silent hosts included.
# A cluster that was scaled to zero goes on to send its heartbeat, and spends 0.
  sum by (cluster) ({SPEND}:owner)
or
  0 * group by (cluster) (inference:month_hours_left)
  unless on (cluster) {LOST_SINCE}
  and on () {BEAT}
record {FIRST_RATIO}:owner (product, team): First prices over prices of now, by the spend of hosts that answer; remembered for a day.
# For silent hosts and lost clusters, which do not report a first price.
  {owners(AT_FIRST)} / ({owners("inference:cost_dollars_per_hour:owner")} > 0)
or
  last_over_time({FIRST_RATIO}:owner[1d])
record {FIRST}:owner (product, team): Spend by owner at the first price that is configured for each GPU; what projections are made of.
# 0 for an owner of the last 7 days who spends nothing, so that a mean over days is of the days and not of the
# hours in which something ran.
    sum by (product, team) ({SPEND}:owner) * on (product, team) {FIRST_RATIO}:owner
  or
    {owners(AT_FIRST)}
  or
    sum by (product, team) ({SPEND}:owner)
  or
    0 * group by (product, team) (last_over_time({SPEND}:owner[70m]) or last_over_time({OWNED_HOURLY}[7d]))
    and on () {SPEND}
record {FIRST} (): The same of the fleet.
sum({FIRST}:owner) or 0 * sum({SPEND})
record {REST_RATIO} (): Mean price of the rest of the month over the first price, by spend; remembered for a day, else 1.
# Dated prices, ends of life and retirements are in a projection by it.
  {owners(AT_REST, "")} / ({owners(AT_FIRST, "")} > 0)
or
  last_over_time({REST_RATIO}[1d])
or
  vector(1)
record {REST_RATIO}:owner (product, team): The same by owner; the fleet's where an owner's is not known.
  {owners(AT_REST)} / ({owners(AT_FIRST)} > 0)
or
  last_over_time({REST_RATIO}:owner[1d])
or
  0 * {FIRST}:owner + on () group_left () {REST_RATIO}
record {HOURS} (): Hours of a month in run-rates, 730 unless configured.
  quantile(0.5, max by (cluster) (inference:hours_per_month))
or
  last_over_time({HOURS}[1d])
or
  vector(730)
record {RUN_RATE} (cluster): A month at the spend of this moment.
{SPEND} * on () group_left () {HOURS}
record {RUN_RATE}:owner (cluster, product, team): The same by owner.
{SPEND}:owner * on () group_left () {HOURS}
"""
