"""What the month will cost: a level, a trend and a band from three weeks of spend, of the fleet and of each owner.

Every expression is a function of its grouping labels, so that one engine can evaluate many fleets at once, each under
one more label (benchmarks/projection).
"""

import re
from typing import Final

CHANGE: Final = "52h"
"""Window of the median ratio: a change counts once it has lasted half of it."""

NEW: Final = "26h"
"""Half of CHANGE: a ratio or an owner younger than this decides nothing."""

LAST: Final = "1d"
"""How long the last rest-of-month rate is used while nothing newer is recorded."""

MARGIN: Final = {"low": ("min", 0.95, 0.7, 0.5, 0), "high": ("max", 1.05, 1.3, 2, 2)}
"""The band beyond the least and the greatest guess: with a week of data, with a day, with six hours, and with less."""


GONE: Final = "inference:owner_gone"
"""An owner that is gone while the fleet is there."""

REASONS: Final = re.compile(r"^#.*\n", re.MULTILINE)


def on(*labels: str) -> str:
    """A matching clause."""
    return f"on ({', '.join(labels)})"


def recent(name: str, window: str = "20m", offset: str = "") -> str:
    """The newest sample of a record that is evaluated every 15 minutes."""
    return f"last_over_time({name}[{window}]{f' offset {offset}' if offset else ''})"


def tagged(expr: str, value: str, label: str = "from") -> str:
    """The same with a label, so that `or` keeps it and the others."""
    return f'label_replace({expr}, "{label}", "{value}", "", "")'


class Estimate:
    """The 15-minute records of one grouping: `labels` name a fleet (none of them: the only one), `owner` adds owners."""

    def __init__(self, labels: tuple[str, ...] = (), *, owner: bool = False) -> None:
        tail, edge = (":owner", "_") if owner else ("", ":")
        self.labels, self.owner = labels, owner
        self.keys = (*labels, "product", "team") if owner else labels
        self.spend = f"inference:spend_at_first_price_dollars_per_hour{tail}"
        self.hour = f"inference:dollars_per_hour:1h{tail}"
        self.week = f"inference:dollars_per_hour:7d{tail}"
        self.ratio = {weeks: f"inference:hour_ratio:{weeks}w{tail}" for weeks in (1, 2)}
        self.growth = {weeks: f"inference:growth:{weeks}w{tail}" for weeks in (1, 2)}
        self.level = f"inference:rest_level_dollars_per_hour{tail}"
        self.rest = f"inference:rest_at_first_price_dollars_per_hour{tail}"
        self.edge = {side: f"{self.rest}{edge}{side}" for side in MARGIN}

    def three_weeks(self) -> tuple[str, str, str]:
        """The means of three weeks, each brought to today's level.

        While there are two, or nine days: the week before the window of the ratio, and what there is before the last week.
        """
        one, two, week = recent(self.growth[1]), recent(self.growth[2]), recent(self.week)
        before = f"avg_over_time({self.hour}[7d] offset {{}}) and {recent(self.hour, '1d', '198h')}"
        first = f"{one} * ({recent(self.week, offset='1w')} or {before.format('1w')}) and {week}"
        second = f"({two} * {recent(self.week, offset='2w')} or {one} * ({before.format(CHANGE)} or {week})) and {week}"
        return tagged(week, "a"), tagged(first, "b"), tagged(second, "c")

    def trend(self) -> str:
        """Growth a week: the median of none, of the last week's and of the one before it."""
        one, two = recent(self.growth[1]), recent(self.growth[2])
        return f"""\
clamp(quantile without (from) (0.5,
    {tagged(f"0 * {two} + 1", "a")}
    or {tagged(f"{one} and {two}", "b")}
    or {tagged(f"{two} / ({one} > 0)", "c")}
  ), 0.7, 1.4)"""

    def band(self, side: str) -> str:
        """The least or the greatest of all guesses, and a margin that shrinks with the data."""
        function, week, day, hours, start = MARGIN[side]
        hour, rest, join = self.hour, recent(self.rest), "\n  or "
        before = f"(avg_over_time({hour}[1d] offset 1w) > 0) * {recent(self.week, offset='1w')}"
        least = tagged(f"min_over_time({hour}[1d]) unless {recent(hour, '1h', '23h')}", "hour")
        return f"""
{function} without (from) (
     {join.join(self.three_weeks())}
  or {tagged(f"avg_over_time({hour}[1d]) / {before} or avg_over_time({hour}[1d])", "day")}
  or {tagged(f"avg_over_time({hour}[7d])", "all")}
  or {tagged(rest, "rest")}
  or {tagged(f"{rest} * {rest} / ({recent(self.level)} > 0)", "trend")}{f"{join}{least}" if side == "low" else ""}
)
* (
     0 * {recent(self.week)} + {week}
  or 0 * {recent(hour, "1h", "23h")} + {day}
  or 0 * {recent(hour, "1h", "6h")} + {hours}
  or 0 * {rest} + {start}
)"""

    def records(self) -> str:
        """The rules, each after those that it reads; the reasons stand once, at the fleet's."""
        hour, keys, join = self.hour, ", ".join(self.keys), "\n    or "
        whose = "an owner" if self.owner else "the fleet"
        left = f"max by ({', '.join(self.labels)}) (inference:fleet_month_hours_left)"
        text = f"""\
record {hour} ({keys}): Mean spend of {whose} in the last hour, at first prices.
avg_over_time({self.spend}[1h])
record {self.week} ({keys}): Its mean of seven days, once there are seven.
avg_over_time({hour}[7d]) and last_over_time({hour}[1d] offset 6d)
record {self.ratio[1]} ({keys}): This hour over the same hour a week ago.
{recent(hour)} / ({recent(hour, offset="1w")} > 0)
record {self.ratio[2]} ({keys}): This hour over the same hour two weeks ago.
{recent(hour)} / ({recent(hour, offset="2w")} > 0)
record {self.growth[1]} ({keys}): Median of `{self.ratio[1]}` over {CHANGE}.
# Half of the window, so that the hours around a gap do not decide.
quantile_over_time(0.5, {self.ratio[1]}[{CHANGE}])
and {recent(self.ratio[1], "2h", NEW)}
record {self.growth[2]} ({keys}): Median of `{self.ratio[2]}` over {CHANGE}.
quantile_over_time(0.5, {self.ratio[2]}[{CHANGE}])
and {recent(self.ratio[2], "2h", NEW)}
record {self.level} ({keys}): Usual spend of {whose} an hour, at first prices: median of three weeks' means, each brought to today's level.
# A change counts once it has lasted 26 h; a burst of a day never does, and leaves no trace.
  avg_over_time({hour}[1d]) and quantile_over_time(0.5, {hour}[{CHANGE}]) > 0 and max_over_time({hour}[2d] offset 1w) == 0
or
  quantile without (from) (0.5,
    {join.join(self.three_weeks())}
  )
or
  avg_over_time({hour}[3d]) and {recent(hour, "1h", "71h")}
or
  avg_over_time({hour}[2d]) and {recent(hour, "1h", "47h")}
or
  avg_over_time({hour}[1d])
record {self.rest} ({keys}): Level and trend: mean rate of the hours left, at first prices.
# Growth that both weeks show goes on at half its pace.
  {recent(self.level)}
  * {self.trend()}
  ^ {on(*self.labels)} group_left () ((84 + {left} / 2) / 336)
or
  {recent(self.level)}
record {self.edge["low"]} ({keys}): Least of all guesses of that rate, with a margin.
# Less than six hours of data may be all of a batch. Less than a day may be a night or a day alone: 0.5 of
# the least hour, and 2 times. Weekends are unknown until there is a week: 0.7 and 1.3 times.
{self.band("low")}
record {self.edge["high"]} ({keys}): Greatest of all guesses of that rate, with a margin.
{self.band("high")}
"""
        if not self.owner:
            return text
        return f"""\
{REASONS.sub("", text)}
record {GONE} ({keys}): 1: an owner that spends nothing for six hours in which it spent something a week ago.
# A batch that runs less than a quarter of the time is not gone between two runs.
group by ({keys}) (
  (max_over_time({hour}[6h] offset 1w) or max_over_time({hour}[6h] offset 1d)) > 0
  and {on(*self.keys)} quantile_over_time(0.75, {hour}[7d]) > 0
  unless {on(*self.keys)} max_over_time({hour}[5h]) > 0
  and {on(*self.labels)} max_over_time({Estimate(self.labels).hour}[5h]) > 0
)
"""


def clusters(labels: tuple[str, ...]) -> str:
    """The weights by which the fleet's rest of the month is spread over clusters."""
    hour, keys = "inference:dollars_per_hour:1h:cluster", ", ".join((*labels, "cluster"))
    return f"""\
record {hour} ({keys}): Mean spend of a cluster in the last hour.
avg_over_time(inference:spend_dollars_per_hour[1h])
record inference:dollars_per_hour:1d:cluster ({keys}): Mean spend of a cluster in the last day: its weight in the rest of the fleet's month.
# The week decides only between clusters that spent nothing for a day.
avg_over_time({hour}[1d]) + 1e-6 * avg_over_time({hour}[7d]) + 1e-9
"""


REST: Final = "inference:rest_dollars_per_hour"
SHARE: Final = "inference:cluster_share_ratio"
LEFT: Final = "inference:fleet_mean_hours_left"
MONTH: Final = "inference:fleet_month_hours_left"
SPENT: Final = "inference:month_to_date_dollars"
UNPOSTED: Final = "inference:month_unposted_dollars"
PROJECTED: Final = "inference:month_projected_dollars"
TOTAL: Final = "inference:fleet_month_projected_dollars"
NEAR: Final = "(inference:month_hours_left <= 800)"
"""Months that are open or about to begin; one that ends later is of a clock that is off."""


def unposted(labels: tuple[str, ...]) -> str:
    """Rate times hours since a silent host or a lost cluster was last seen, inside each open month of its cluster."""
    keys, host = (
        ", ".join((*labels, "cluster")),
        ", ".join((*labels, "cluster", "ledger", "instance", "node")),
    )
    addends = []
    for which in ("> 0", "== 0"):
        # One month for each cluster: a match of many hosts to many months has no form in PromQL.
        months = f"{on(*labels, 'cluster', 'month')} (inference:month_hours_left {which})"
        end = f"bottomk by ({keys}) (1, inference:month_end_timestamp_seconds and {months})"
        start = f"({end} - 86400 * days_in_month({end} - 86400))"
        addends.append(f"""
  (max by ({host}, product, team) (inference:silent_dollars_per_hour:host unless {on(*labels, "ledger")} inference:ledger_seen_timestamp_seconds) or inference:lost_dollars_per_hour:owner)
  * on ({host}) group_left (month) clamp_min(
    (time() + clamp_max({end} - time(), 0) - {start})
    - on ({keys}) group_right (month) clamp_min(
      (max by ({host}) (inference:host_silent_since_timestamp_seconds) or inference:cluster_silent_since_timestamp_seconds)
      - on ({keys}) group_left () {start},
      0
    ),
    0
  ) / 3600
""")
    return f"sum by ({', '.join((*labels, 'cluster', 'month', 'product', 'team'))}) ({'or'.join(addends)})"


def parts(keys: str, spent: str, unposted: str, rest: str) -> str:
    """A projection: what is posted, what is spent and not yet posted, and the hours left."""
    return f"""\
sum by ({keys}) (
     {tagged(spent, "spent", "part")}
  or {tagged(unposted, "unposted", "part")}
  or {tagged(rest, "rest", "part")}
)"""


def shares(labels: tuple[str, ...]) -> str:
    """How the hours left are spread over clusters, and their mean."""
    cluster, month = on(*labels, "cluster"), ", ".join((*labels, "month"))
    mean = f"({recent('inference:dollars_per_hour:1d:cluster', LAST)} or inference:spend_dollars_per_hour + 1e-9)"
    weight = (
        f"({mean} and {cluster} inference:spend_dollars_per_hour and {cluster} inference:month_hours_left)"
    )
    return f"""\
record {SHARE} ({", ".join((*labels, "cluster"))}): Part of a cluster in the spend of the last day; the parts sum to 1.
{weight}
/ {on(*labels)} group_left () sum by ({", ".join(labels)}) {weight}
record {LEFT} ({month}): Hours left of the month, mean of the clusters by their spend.
# Clusters in different time zones have different hours left.
sum by ({month}) ({NEAR} * {cluster} group_left () {SHARE})
"""


def banded(rest: str, edge: str, ratio: str, keys: tuple[str, ...], side: str) -> str:
    """An end of a band of rates, the rate itself inside; while nothing is recorded, that of the first hours."""
    recorded, compare = recent(edge, LAST), "<=" if side == "low" else ">="
    return f"""\
  {recorded} * {on(*keys)} {ratio} {compare} {rest}
or
  {rest} and {recorded}
or
  {MARGIN[side][-1]} * {rest}"""


def rests(labels: tuple[str, ...]) -> str:
    """Mean rate of the hours left, at their own prices: of the fleet, and of owners that sum to it."""
    fleet, owner = Estimate(labels), Estimate(labels, owner=True)
    alone, each, all_labels, keys = on(*labels), on(*owner.keys), ", ".join(labels), ", ".join(owner.keys)
    total = f"sum by ({all_labels})"
    level = f"({recent(fleet.rest, LAST)} or avg_over_time({fleet.spend}[1h]))"
    own = f"({recent(owner.rest, LAST)} or avg_over_time({owner.spend}[1h]))"
    here, part, whole = f"{REST}:owner_here", f"{REST}:owner_part", f"{REST}:owner_whole"
    old = recent(owner.hour, "1h", NEW)
    gap = f"clamp_min(({recent(owner.week)} unless {each} {recent(GONE)}) - {each} {part}, 0)"
    ratio = "inference:rest_price_ratio"
    return f"""\
record {REST} ({all_labels}): Mean rate of the hours left of the month, at the prices of these hours.
# While nothing is recorded, in the first minutes: the mean of what there is.
{level} * {alone} {ratio}
record {REST}:low ({all_labels}): Lower end of its band.
{banded(REST, fleet.edge["low"], ratio, labels, "low")}
record {REST}:high ({all_labels}): Upper end of its band.
{banded(REST, fleet.edge["high"], ratio, labels, "high")}
record {here} ({keys}): Rate of the hours left by the owner's own spend, at first prices; 0 once an owner is gone for 6 h.
# Owners sum to the fleet. One that is gone, which is six hours of nothing where a week ago there was something,
# has no rest. A new one shares what the others leave of the fleet's, so that it reduces no other owner's.
  0 * {own} and {each} {recent(GONE)}
or
  {own}
record {part} ({keys}): The same, and of owners younger than {NEW} what the others leave of the fleet's rate.
  ({here} unless {each} {old})
  * {alone} group_left () clamp(
    ({level} - {alone} ({total} ({here} and {each} {old}) or 0 * {level}))
    / {alone} ({total} ({here} unless {each} {old}) > 0),
    0, 1
  )
or
  {here}
record {whole} ({keys}): The same, and what the fleet's rate has beyond them, by what each spent in the week beyond its own.
# Batches are no part of a median. What the fleet has and the owners lack goes to owners whose week is above it.
  {part} + {each} {gap}
  * {alone} group_left () clamp(
    ({level} - {alone} {total} ({part})) / {alone} ({total} ({gap}) > 0),
    0, 1
  )
or
  {part}
record {REST}:owner ({keys}): Mean rate of an owner in the hours left, at their prices; sums to the fleet's.
{whole} * {each} {ratio}:owner
* {alone} group_left () (
  {REST} / {alone} ({total} ({whole} * {each} {ratio}:owner) > 0)
)
record {REST}:owner_low ({keys}): Lower end of its band.
{banded(f"{REST}:owner", owner.edge["low"], f"{ratio}:owner", owner.keys, "low")}
record {REST}:owner_high ({keys}): Upper end of its band.
{banded(f"{REST}:owner", owner.edge["high"], f"{ratio}:owner", owner.keys, "high")}
"""


def months(labels: tuple[str, ...]) -> str:
    """What the month comes to: of each cluster, of the fleet, of each owner."""
    alone, here, month = on(*labels), on(*labels, "month"), ", ".join((*labels, "month"))
    cluster, owner = f"{month}, cluster", f"{month}, product, team"
    share = f"{NEAR} * {on(*labels, 'cluster')} group_left () ({SHARE} * {alone} group_left () {REST})"

    def fleet(side: str, sign: str) -> str:
        """An end of the fleet's band."""
        rest = f"clamp_min({LEFT} * {alone} group_left () {REST}:{side} {sign} {here} 0.01 * {TOTAL}, 0)"
        return parts(month, f"sum by ({month}) ({SPENT})", f"sum by ({month}) ({UNPOSTED})", rest)

    def owned(side: str = "") -> str:
        """A rate of owners times the hours of the fleet's month, and of the one that begins before it is over."""
        other = f"bottomk by ({', '.join(labels)}) (1, {LEFT} unless {here} {MONTH})"
        times = f"{REST}:owner{side} * {alone} group_left (month)"
        rest = f"({times} ({LEFT} and {here} {MONTH}) or {times} {other})"
        return parts(owner, f"sum by ({owner}) ({SPENT}:owner)", f"sum by ({owner}) ({UNPOSTED}:owner)", rest)

    return f"""\
record {UNPOSTED}:owner ({cluster}, product, team): Spend of silent hosts and lost clusters since they were last seen.
# Rate times hours, within the month. A host that another replica or cluster sees is not silent.
{unposted(labels)}
record {UNPOSTED} ({cluster}): The same by cluster.
sum by ({cluster}) ({UNPOSTED}:owner)
record {PROJECTED} ({cluster}): What the month comes to; of the fleet's rest each cluster has its share of the last day.
{parts(cluster, SPENT, UNPOSTED, share)}
record {TOTAL} ({month}): What the month of the fleet comes to.
sum by ({month}) ({PROJECTED})
record {TOTAL}:low ({month}): Lower end of the band, which holds the month in nine of ten hours.
{fleet("low", "-")}
record {TOTAL}:high ({month}): Upper end of the band, which holds the month in nine of ten hours.
{fleet("high", "+")}
record {PROJECTED}:owner ({owner}): What the month of an owner comes to; sums to the fleet.
{owned()}
record {PROJECTED}:owner_low ({owner}): Lower end of its band.
{owned("_low")}
record {PROJECTED}:owner_high ({owner}): Upper end of its band.
{owned("_high")}
"""


def projections(labels: tuple[str, ...] = ()) -> str:
    """All of them; a test gives each simulated fleet one more label."""
    return f"""\
rules inference-projection every 15m: Projection of the fleet: hours of the month that are left
# Mean rate of the hours left of the month. Every 15 minutes, so that a look back
# of a week is 672 samples a series.
{Estimate(labels).records()}{clusters(labels)}
rules inference-projection-owner every 15m: Projection of owners: hours of the month that are left
{Estimate(labels, owner=True).records()}
rules inference-projected every 1m: Where the month ends
{shares(labels)}{rests(labels)}{months(labels)}"""


PROJECTIONS: Final = projections()
