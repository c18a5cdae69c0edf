"""Budgets, projections and overheads: what only the place that sees all hosts can say."""

from typing import Final

from month import OWNER
from statement import Group, Record

KNOWN: Final = "inference:known_dollars_per_hour"


def usual(name: str, by: str) -> str:
    """The mean rate of seven days; of the last 24 h until there are seven."""
    return f"""
  (avg_over_time({name}[7d]) and on ({by}) last_over_time({name}[1d] offset 6d))
or
  avg_over_time({name}[24h])
"""


def day(name: str, by: str) -> str:
    """The mean rate of the last 24 h, once there are as many."""
    return f"avg_over_time({name}[24h]) and on ({by}) last_over_time({name}[1h] offset 23h)"


def running(expr: str, by: str, month: str) -> str:
    """A rate, and 0 for a cluster that is scaled to zero: it spends nothing more until it is back."""
    return f"""
  (({expr.strip()}) unless on (cluster) inference:cluster_silent)
or
  0 * group by ({by}) ({month} and on (cluster) inference:cluster_silent)
"""


def priced(rate: str, ratio: str, by: str) -> str:
    """A rate times a ratio of prices."""
    return f"({rate.strip()}) * on ({by}) {ratio}"


def projected(month: str, rate: str, by: str) -> str:
    """Month to date, and the hours left at a rate, at the prices of these hours."""
    keys = "cluster, month" if by == "cluster" else "cluster, month, product, team"
    suffix = "" if by == "cluster" else ":owner"
    return f"""
{month}
+ on ({keys})
  {rate} * on ({by}) {CHANGE}{suffix} * on (cluster) group_left (month) inference:month_hours_left
"""


MTD: Final = "inference:month_to_date_dollars"
PROJECTED: Final = "inference:month_projected_dollars"
OWNED: Final = f"{MTD}:owner"
SPENT: Final = "inference:cost_dollars_per_hour:owner"
USED: Final = "inference:cost_at_first_price_dollars_per_hour:owner"
RESTS: Final = "inference:cost_at_rest_price_dollars_per_hour:owner"
INDEX: Final = "inference:price_index"
CHANGE: Final = "inference:month_price_change_ratio"


def remembered(name: str, expr: str) -> str:
    """A ratio of prices; while no host of the cluster answers or spends anything its last value, else 1."""
    last = f"last_over_time({name}[1d])"
    return f"""
(
  {expr.strip()}
  or {last if name.endswith(":owner") else f"{last}{chr(10)}  or 0 * {KNOWN} + 1"}
)
and on (cluster) inference:month_hours_left
"""


PRICES: Final = (
    Record(
        INDEX,
        remembered(INDEX, f"sum by (cluster) ({SPENT}) / ({KNOWN} > 0)"),
        "Prices of now over the first configured ones, and prices of the rest of the month over those of now, both by the\n"
        "spend of this moment. Means over days are taken at first prices and brought to these, so that a dated price holds\n"
        "from its date on and is in the projection before it. Who holds nothing now goes by the cluster's prices.",
    ),
    Record(
        f"{INDEX}:owner",
        remembered(
            f"{INDEX}:owner", f"{SPENT} / ({USED} > 0)\n  or 0 * {USED} + on (cluster) group_left () {INDEX}"
        ),
    ),
    Record(
        CHANGE,
        remembered(CHANGE, f"sum by (cluster) ({RESTS}) / (sum by (cluster) ({SPENT}) > 0)"),
    ),
    Record(
        f"{CHANGE}:owner",
        remembered(
            f"{CHANGE}:owner",
            f"{RESTS} / ({SPENT} > 0)\n  or 0 * {USED} + on (cluster) group_left () {CHANGE}",
        ),
    ),
)
RATES: Final = (
    Record(
        KNOWN,
        f"sum by (cluster) ({USED})",
        "The spend of a cluster while it is known, at first prices. Rates are of the gauge: a gap charged after an outage is\n"
        "a step in the counters, not a rate.",
    ),
    *PRICES,
    Record(
        "inference:usual_dollars_per_hour",
        running(priced(usual(KNOWN, "cluster"), INDEX, "cluster"), "cluster", MTD),
    ),
    Record(
        "inference:usual_dollars_per_hour:owner",
        running(priced(usual(USED, OWNER), f"{INDEX}:owner", OWNER), OWNER, OWNED),
    ),
    Record("inference:day_dollars_per_hour", day(KNOWN, "cluster")),
    Record("inference:day_dollars_per_hour:owner", day(USED, OWNER)),
    *(
        Record(
            f"inference:{name}_day_dollars_per_hour{suffix}",
            running(
                priced(f"{function}(inference:day_dollars_per_hour{suffix}[6d])", f"{INDEX}{suffix}", by),
                by,
                month,
            ),
        )
        for name, function in (("cheapest", "min_over_time"), ("dearest", "max_over_time"))
        for suffix, by, month in (("", "cluster", MTD), (":owner", OWNER, OWNED))
    ),
)

PROJECTIONS: Final = (
    Record(
        PROJECTED,
        projected(MTD, "inference:usual_dollars_per_hour", "cluster"),
        "Month to date + hours left x mean rate of seven days at the prices of these hours, and the same at the cheapest and\n"
        "at the dearest day of them.\n"
        "A product that is new goes by its own last 24 h, so the owners need not sum to the cluster.",
    ),
    Record(f"{PROJECTED}:low", projected(MTD, "inference:cheapest_day_dollars_per_hour", "cluster")),
    Record(f"{PROJECTED}:high", projected(MTD, "inference:dearest_day_dollars_per_hour", "cluster")),
    Record(f"{PROJECTED}:owner", projected(OWNED, "inference:usual_dollars_per_hour:owner", OWNER)),
    Record(
        f"{PROJECTED}:owner_low", projected(OWNED, "inference:cheapest_day_dollars_per_hour:owner", OWNER)
    ),
    Record(
        f"{PROJECTED}:owner_high", projected(OWNED, "inference:dearest_day_dollars_per_hour:owner", OWNER)
    ),
)


def governed(fleet: str, owner: str, *, month: bool) -> str:
    """What each budget governs: all of the fleet, or one product's part of it."""
    carried, key, now = (
        ("month", ", month", " and on (month) inference:fleet_month_hours_left") if month else ("", "", "")
    )
    whole = f"sum by (month) ({fleet})" if month else f"sum({fleet})"
    return f"""
  0 * inference:budget_dollars{{product=""}}
  + on () group_left ({carried}) ({whole}{now})
or
  0 * inference:budget_dollars{{product!=""}}
  + on (product) group_left ({carried}) (sum by (product{key}) ({owner}){now})
"""


BUDGET: Final = "inference:budget_dollars"


def share(name: str) -> str:
    """A ratio to the budget."""
    return f"{name} / on (budget, product) group_left () ({BUDGET} > 0)"


BUDGETS: Final = (
    Record(
        f"{BUDGET}:told",
        "max by (budget, product) (inference_budget_dollars)",
        "Every host tells every budget, so they are looked at once: with 40 budgets and 1,000 hosts they are the dearest\n"
        "thing to read here.",
    ),
    Record(
        BUDGET,
        """
inference:budget_dollars:told
or (last_over_time(inference:budget_dollars[1d]) unless on () inference:budget_dollars:told)
""",
        "The budget is remembered only while no host tells one, so that a renamed or removed budget is gone at once.",
    ),
    Record(
        "inference:fleet_month_hours_left",
        "min by (month) (inference:month_hours_left) == on () group_left () min(inference:month_hours_left)",
        "One month for budgets: the one that ends next. All hosts need the same time zone, or their months are not the same.",
    ),
    Record(
        "inference:budget_month_to_date_dollars",
        governed(MTD, f"{MTD}:owner", month=True),
        "What each budget governs: the fleet where it names no product, else that product.",
    ),
    Record("inference:budget_month_projected_dollars", governed(PROJECTED, f"{PROJECTED}:owner", month=True)),
    Record(
        "inference:budget_month_projected_dollars:low",
        governed(f"{PROJECTED}:low", f"{PROJECTED}:owner_low", month=True),
    ),
    Record(
        "inference:budget_month_projected_dollars:high",
        governed(f"{PROJECTED}:high", f"{PROJECTED}:owner_high", month=True),
    ),
    Record(
        "inference:budget_cost_dollars_per_hour",
        governed("inference:cost_dollars_per_hour", "inference:cost_dollars_per_hour:owner", month=False),
    ),
    Record(
        "inference:budget_usual_dollars_per_hour",
        governed("inference:usual_dollars_per_hour", "inference:usual_dollars_per_hour:owner", month=False),
    ),
    Record(
        "inference:budget_idle_dollars_per_hour",
        governed("inference:waste_dollars_per_hour", "inference:waste_dollars_per_hour", month=False),
    ),
    Record(
        "inference:budget_monthly_run_rate_dollars",
        governed(
            "inference:monthly_run_rate_dollars", "inference:monthly_run_rate_dollars:owner", month=False
        ),
    ),
    Record("inference:budget_spent_ratio", share("inference:budget_month_to_date_dollars")),
    Record("inference:budget_projected_ratio", share("inference:budget_month_projected_dollars")),
    Record("inference:budget_run_rate_ratio", share("inference:budget_monthly_run_rate_dollars")),
    Record(
        "inference:budget_eight_hours_ratio",
        share("8 * inference:budget_cost_dollars_per_hour"),
        "What eight hours of all spend cost, as a part of a month's budget.",
    ),
    Record(
        "inference:budget_excess_dollars_per_hour",
        "inference:budget_cost_dollars_per_hour - on (budget, product) inference:budget_usual_dollars_per_hour",
        "What is spent now beyond the usual, and beyond what a month at the budget would have.",
    ),
    Record(
        "inference:budget_over_dollars_per_hour",
        "inference:budget_cost_dollars_per_hour\n"
        "* on (budget, product) (1 - 1 / (inference:budget_run_rate_ratio > 1))",
    ),
)

OVERHEADS: Final = (
    Record(
        "inference:fleet_overhead_dollars_per_hour",
        "sum(max by (component) (inference_fleet_overhead_dollars_per_hour))",
        "Overheads of the whole fleet (`per: fleet`), in no host's figures and not in the ones above. Every host tells the same\n"
        "amount, in every cluster, so each component counts once; while a change is rolled out, the largest amount counts.\n"
        "They are spread over the GPU-hours of the fleet, and stand beside what the books say.",
    ),
    Record("inference:gpus", "sum(inference:gpus:owner)"),
    Record(
        "inference:fleet_overhead_dollars_per_gpu_hour",
        "inference:fleet_overhead_dollars_per_hour / on () (inference:gpus > 0)",
    ),
    Record(
        "inference:fleet_overhead_dollars_per_hour:owner",
        "sum by (product, team) (inference:gpus:owner)\n"
        "* on () group_left () inference:fleet_overhead_dollars_per_gpu_hour",
    ),
    *(
        Record(
            f"inference:fleet_overhead_dollars_per_million_tokens:{name}",
            f"""
1e6 * sum_over_time(inference:model_gpus:rate5m[{window}]) / 60
  / (sum_over_time(inference:tokens:rate5m[{window}]) * 60 >= 1000)
  * on () group_left ()
    (
      sum_over_time(inference:fleet_overhead_dollars_per_hour[{window}])
      / on () (sum_over_time(inference:gpus[{window}]) > 0)
    )
""",
        )
        for name, window in (("1h", "1h"), ("24h", "1d"))
    ),
)

FLEET: Final = Group(
    "inference-fleet",
    "1m",
    (
        *RATES,
        *PROJECTIONS,
        *BUDGETS,
        *OVERHEADS,
    ),
)
