"""Budgets: what is spent of each, what it comes to, and when it runs out."""

from typing import Final

from hosts import of_most
from projection import LAST, TOTAL, Estimate, recent
from projection import PROJECTED as OWNED

BUDGET: Final = "inference:budget_dollars"
CONFIGURED: Final = "inference:budget_configured"
SPEND: Final = "inference:spend_dollars_per_hour"
MONTH: Final = "inference:fleet_month_hours_left"
SPENT: Final = "inference:budget_month_to_date_dollars"
PROJECTED: Final = "inference:budget_month_projected_dollars"
RUNS_OUT: Final = "inference:budget_runs_out_timestamp_seconds"
USUAL: Final = "inference:budget_usual_dollars_per_hour"
TICKET_SHARE: Final = 0.01
"""The part of a month's budget that eight hours of excess must cost before an alert speaks."""

LOST: Final = f"{BUDGET}:lost"
DEFAULT: Final = f"{CONFIGURED}:cluster"
CONFIGURED_HERE: Final = (
    f"(max by (cluster, budget, product) ({BUDGET}:cluster) unless on (cluster) ({DEFAULT} == 0))"
)
IN_FORCE: Final = f"""(
    {of_most(CONFIGURED_HERE, "budget, product")}
  or
    max by (budget, product) ({LOST})
  or on ()
    max by (budget, product) ({BUDGET}:cluster)
  )"""
"""A lost cluster's budget counts where no living one has it, the default where no cluster has a configured one."""


def remembered(name: str, expr: str) -> str:
    """A setting that hosts export; the last one only while no host exports any, so that a removed one is gone at once."""
    return f"""
  {expr}
or
  (last_over_time({name}[1d]) unless on () {expr})
"""


def governed(fleet: str, owner: str, *, month: bool = False) -> str:
    """What each budget governs: the fleet where it names no product, else the sum of that product's owners."""
    carried, key, now = ("month", ", month", f" and on (month) {MONTH}") if month else ("", "", "")
    whole = f"sum by (month) ({fleet})" if month else f"sum({fleet})"
    return f"""
  0 * {BUDGET}{{product=""}}
  + on () group_left ({carried}) ({whole}{now})
or
  0 * {BUDGET}{{product!=""}}
  + on (product) group_left ({carried}) (sum by (product{key}) ({owner}){now})
"""


def governed_now(fleet: str, owner: str) -> str:
    """The same of this moment; 0 where nothing runs, so that a mean over days is not one of the hours with a run."""
    return f"""{governed(fleet, owner)}or
  0 * {BUDGET}{{product=""}} and on () (sum({SPEND}) == 0)
or
  0 * {BUDGET}{{product!=""}} and on () {SPEND} unless on (product) {SPEND}:owner
"""


def share(name: str) -> str:
    """A ratio to the budget."""
    return f"{name} / on (budget, product) group_left () ({BUDGET} > 0)"


def usual(estimate: Estimate) -> str:
    """The greater of the level and of these hours a week ago, at the prices of now.

    Without a week of data, of these hours a day ago and the days before; four hours, since a morning is not on the minute.
    """
    hour, product = estimate.hour, estimate.owner
    by = "by (product) " if product else ""
    join = "on (product)" if product else "on ()"
    level = f"sum {by}({recent(estimate.level, LAST)} or avg_over_time({estimate.spend}[1h]))"
    before = f"sum {by}(max_over_time({hour}[4h] offset 166h) or max_over_time({hour}[50h] offset 22h))"
    now = f"sum {by}({SPEND}{':owner' if product else ''})"
    price = f"({now} / {join} (sum {by}({estimate.spend}) > 0) or 0 * {level} + 1)"
    return f"(({before} > {join} {level}) or {level}) * {join} {price}"


THIS: Final = "on (budget, product, month)"
LEFT: Final = f"({BUDGET} - on (budget, product) group_right () {SPENT})"
FLEET: Final = Estimate()

BUDGETS: Final = f"""\
rules inference-budgets every 1m: Budgets
record {LOST} (cluster, budget, product): Configured budgets of clusters that send nothing or have no host.
# A budget that only hosts of a lost cluster export holds on, and so does its alert; that of a cluster without hosts until
# its month ends. One that a living cluster has, or removed, is that cluster's to keep.
max by (cluster, budget, product) (
  last_over_time({BUDGET}:cluster[70m]) unless on (cluster) (last_over_time({DEFAULT}[70m]) == 0)
  or
  last_over_time({LOST}[70m])
)
and on (cluster) (
  inference:cluster_silent_since_timestamp_seconds
  or
  inference:month_hours_left unless on (cluster) {BUDGET}:cluster
)
unless on (budget, product) (
  last_over_time({BUDGET}:cluster[70m]) unless on (cluster) (max_over_time({DEFAULT}[70m]) == 0)
  and on (cluster) {BUDGET}:cluster
)
record {BUDGET} (budget, product): Each budget, with the amount that most clusters have; remembered for a day while no host exports one.
{remembered(BUDGET, IN_FORCE)}
record {CONFIGURED} (): 1 where budgets are configured, 0 where they are the exporter's default.
{remembered(CONFIGURED, f"max({DEFAULT} or 0 * {LOST} + 1)")}
record {SPENT} (budget, product, month): Posted to each budget this month.
{governed("inference:month_to_date_dollars", "inference:month_to_date_dollars:owner", month=True)}
record {PROJECTED} (budget, product, month): What the month comes to under each budget.
{governed(TOTAL, f"{OWNED}:owner", month=True)}
record {PROJECTED}:low (budget, product, month): Lower end of its band.
{governed(f"{TOTAL}:low", f"{OWNED}:owner_low", month=True)}
record {PROJECTED}:high (budget, product, month): Upper end of its band.
{governed(f"{TOTAL}:high", f"{OWNED}:owner_high", month=True)}
record inference:budget_cost_dollars_per_hour (budget, product): Spend now, silent hosts and lost clusters included.
{governed_now(SPEND, f"{SPEND}:owner")}
record {USUAL} (budget, product): Usual spend at this hour: the greater of the level and the same hours a week ago.
# Nights, weekends and autoscaling are usual from the second day on. In the first week a rise is not.

(
  last_over_time({USUAL}[70m])
  and on (budget, product)
  (8 * last_over_time(inference:budget_excess_dollars_per_hour[70m]) > on (budget, product) {TICKET_SHARE} * {BUDGET})
  and on () (last_over_time(inference:fleet_metered_hours[70m]) > 24)
  unless on () {recent(FLEET.week)}
)
or
{governed(usual(FLEET), usual(Estimate(owner=True)))}
record inference:budget_idle_dollars_per_hour (budget, product): Current cost of idle GPUs.
{governed_now(*["max by (cluster, product, team) (inference:waste_dollars_per_hour)"] * 2)}
record inference:budget_monthly_run_rate_dollars (budget, product): A month at the spend of now.
{governed_now("inference:monthly_run_rate_dollars", "inference:monthly_run_rate_dollars:owner")}
record inference:budget_spent_ratio (budget, product, month): Spent, as a part of the budget.
{share(SPENT)}
record inference:budget_projected_ratio (budget, product, month): Projected, as a part of the budget.
{share(PROJECTED)}
record inference:budget_run_rate_ratio (budget, product): Run-rate, as a part of the budget.
{share("inference:budget_monthly_run_rate_dollars")}
record inference:budget_eight_hours_ratio (budget, product): Cost of the next eight hours, as a part of the budget.
{share("8 * inference:budget_cost_dollars_per_hour")}
record inference:budget_excess_dollars_per_hour (budget, product): Spend now beyond the usual; negative below it.
inference:budget_cost_dollars_per_hour - on (budget, product) {USUAL}
record inference:budget_over_dollars_per_hour (budget, product): Spend now beyond what a month at the budget allows; absent below it.
inference:budget_cost_dollars_per_hour
* on (budget, product) (1 - 1 / (inference:budget_run_rate_ratio > 1))
record {RUNS_OUT} (budget, product, month): When the budget is spent, at the projected rate; absent where the month ends first.
  time() + 3600 * inference:fleet_mean_hours_left * on (month) group_right ()
  (
    ({LEFT} > 0)
    / {THIS} ({PROJECTED} - {THIS} {SPENT} > {THIS} {LEFT})
  )
or
  (last_over_time({RUNS_OUT}[1d]) <= time()) and {THIS} ({LEFT} <= 0)
or
  0 * ({LEFT} <= 0) + time()
record inference:fleet_metered_hours (): Hours of data behind the projection, up to 168.
count_over_time({recent(FLEET.hour, "1h")}[7d:1h]) or 0 * sum(inference:spend_at_first_price_dollars_per_hour)
"""
