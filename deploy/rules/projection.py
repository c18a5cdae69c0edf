"""What the month will cost: a level, a trend and a band from three weeks of spend, of the fleet and of each owner.

Every expression is a function of its grouping labels, so that one engine can evaluate many fleets at once, each under
one more label (benchmarks/projection).
"""

from dataclasses import dataclass
from typing import Final

from statement import Group, Record

CHANGE: Final = "52h"
"""Window of the median ratio: a change counts once it has lasted half of it."""

NEW: Final = "26h"
"""Half of CHANGE: a ratio or an owner younger than this decides nothing."""

LAST: Final = "1d"
"""How long the last rest-of-month rate is used while nothing newer is recorded."""

MARGIN: Final = {"low": ("min", 0.95, 0.7, 0.5, 0), "high": ("max", 1.05, 1.3, 2, 2)}
"""The band beyond the least and the greatest guess: with a week of data, with a day, with six hours, and with less."""


def on(*labels: str) -> str:
    """A matching clause."""
    return f"on ({', '.join(labels)})"


def recent(name: str, window: str = "20m", offset: str = "") -> str:
    """The newest sample of a record that is evaluated every 15 minutes."""
    return f"last_over_time({name}[{window}]{f' offset {offset}' if offset else ''})"


def tagged(expr: str, value: str, label: str = "from") -> str:
    """The same with a label, so that `or` keeps it and the others."""
    return f'label_replace({expr}, "{label}", "{value}", "", "")'


@dataclass(frozen=True, slots=True)
class Estimate:
    """The 15-minute records of one grouping: `labels` name a fleet (none of them: the only one), `owner` adds owners."""

    labels: tuple[str, ...] = ()
    owner: bool = False

    def name(self, name: str) -> str:
        """A record of this grouping."""
        return f"inference:{name}:owner" if self.owner else f"inference:{name}"

    @property
    def keys(self) -> tuple[str, ...]:
        """The labels of the records."""
        return (*self.labels, "product", "team") if self.owner else self.labels

    @property
    def spend(self) -> str:
        """The input: spend now at first prices."""
        return self.name("spend_at_first_price_dollars_per_hour")

    @property
    def hour(self) -> str:
        """Mean of the last hour."""
        return self.name("dollars_per_hour:1h")

    @property
    def week(self) -> str:
        """Mean of the last seven days."""
        return self.name("dollars_per_hour:7d")

    @property
    def level(self) -> str:
        """What the fleet spends an hour, nights and weekends in it."""
        return self.name("rest_level_dollars_per_hour")

    @property
    def rest(self) -> str:
        """Level and trend: the mean rate of the hours left, at first prices."""
        return self.name("rest_at_first_price_dollars_per_hour")

    def edge(self, side: str) -> str:
        """Lower or upper end of the band."""
        return f"{self.rest}_{side}" if self.owner else f"{self.rest}:{side}"

    @property
    def gone(self) -> str:
        """An owner that is gone."""
        return "inference:owner_gone"

    def ratio(self, weeks: int) -> str:
        """This hour over the same hour one or two weeks ago."""
        return self.name(f"hour_ratio:{weeks}w")

    def growth(self, weeks: int) -> str:
        """Median of the hourly ratios."""
        return self.name(f"growth:{weeks}w")

    def three_weeks(self) -> tuple[str, str, str]:
        """The means of three weeks, each brought to today's level.

        While there are two, or nine days: the week before the window of the ratio, and what there is before the last week.
        """
        one, two, week = recent(self.growth(1)), recent(self.growth(2)), recent(self.week)
        nine_days = recent(self.hour, "1d", "198h")
        before = f"avg_over_time({self.hour}[7d] offset {{}}) and {nine_days}"
        return (
            tagged(week, "a"),
            tagged(
                f"{one} * ({recent(self.week, offset='1w')} or {before.format('1w')}) and {week}",
                "b",
            ),
            tagged(
                f"({two} * {recent(self.week, offset='2w')} or {one} * ({before.format(CHANGE)} or {week})) and {week}",
                "c",
            ),
        )

    def level_text(self) -> str:
        """Median of the three; the last day for what was at zero a week ago; before that whole days, up to three."""
        hour = self.hour
        whole = [
            f"avg_over_time({hour}[{days}d]) and {recent(hour, '1h', f'{24 * days - 1}h')}" for days in (3, 2)
        ]
        return f"""
  avg_over_time({hour}[1d]) and quantile_over_time(0.5, {hour}[{CHANGE}]) > 0 and max_over_time({hour}[2d] offset 1w) == 0
or
  quantile without (from) (0.5,
    {f"{chr(10)}    or ".join(self.three_weeks())}
  )
or
  {whole[0]}
or
  {whole[1]}
or
  avg_over_time({hour}[1d])
"""

    def trend_text(self) -> str:
        """Growth a week: the median of none, of the last week's and of the one before it."""
        one, two = recent(self.growth(1)), recent(self.growth(2))
        addends = (
            tagged(f"0 * {two} + 1", "a"),
            tagged(f"{one} and {two}", "b"),
            tagged(f"{two} / ({one} > 0)", "c"),
        )
        return f"clamp(quantile without (from) (0.5,\n    {f'{chr(10)}    or '.join(addends)}\n  ), 0.7, 1.4)"

    def rest_text(self) -> str:
        """The level, and half the trend from the middle of the window to the middle of the hours left."""
        left = f"max by ({', '.join(self.labels)}) (inference:fleet_month_hours_left)"
        return f"""
  {recent(self.level)}
  * {self.trend_text()}
  ^ {on(*self.labels)} group_left () ((84 + {left} / 2) / 336)
or
  {recent(self.level)}
"""

    def edge_text(self, side: str) -> str:
        """The least or the greatest of all guesses, and a margin that shrinks with the data."""
        function, week, day, hours, start = MARGIN[side]
        hour, rest = self.hour, recent(self.rest)
        guesses = (
            *self.three_weeks(),
            tagged(
                f"avg_over_time({hour}[1d]) / (avg_over_time({hour}[1d] offset 1w) > 0) * {recent(self.week, offset='1w')}"
                f" or avg_over_time({hour}[1d])",
                "day",
            ),
            tagged(f"avg_over_time({hour}[7d])", "all"),
            tagged(rest, "rest"),
            tagged(f"{rest} * {rest} / ({recent(self.level)} > 0)", "trend"),
            *(
                [tagged(f"min_over_time({hour}[1d]) unless {recent(hour, '1h', '23h')}", "hour")]
                if side == "low"
                else []
            ),
        )
        return f"""
{function} without (from) (
     {f"{chr(10)}  or ".join(guesses)}
)
* (
     0 * {recent(self.week)} + {week}
  or 0 * {recent(hour, "1h", "23h")} + {day}
  or 0 * {recent(hour, "1h", "6h")} + {hours}
  or 0 * {rest} + {start}
)
"""

    def records(self) -> tuple[Record, ...]:
        """The rules, each after those that it reads."""
        hour = self.hour
        whose = "an owner" if self.owner else "the fleet"
        say = {"labels": self.keys}
        return (
            Record(
                hour,
                f"avg_over_time({self.spend}[1h])",
                meaning=f"Mean spend of {whose} in the last hour, at first prices.",
                **say,
            ),
            Record(
                self.week,
                f"avg_over_time({hour}[7d]) and last_over_time({hour}[1d] offset 6d)",
                meaning="Its mean of seven days, once there are seven.",
                **say,
            ),
            *(
                Record(
                    self.ratio(weeks),
                    f"{recent(hour)} / ({recent(hour, offset=f'{weeks}w')} > 0)",
                    meaning=f"This hour over the same hour {'a week' if weeks == 1 else 'two weeks'} ago.",
                    **say,
                )
                for weeks in (1, 2)
            ),
            *(
                Record(
                    self.growth(weeks),
                    f"quantile_over_time(0.5, {self.ratio(weeks)}[{CHANGE}])\n"
                    f"and {recent(self.ratio(weeks), '2h', NEW)}",
                    "Half of the window, so that the hours around a gap do not decide." if weeks == 1 and not self.owner else "",
                    meaning=f"Median of `{self.ratio(weeks)}` over {CHANGE}.",
                    **say,
                )
                for weeks in (1, 2)
            ),
            Record(
                self.level,
                self.level_text(),
                "" if self.owner else
                "A change counts once it has lasted 26 h; a burst of a day never does, and leaves no trace.",
                meaning=f"Usual spend of {whose} an hour, at first prices: "
                "median of three weeks' means, each brought to today's level.",
                **say,
            ),
            Record(
                self.rest,
                self.rest_text(),
                "" if self.owner else "Growth that both weeks show goes on at half its pace.",
                meaning="Level and trend: mean rate of the hours left, at first prices.",
                **say,
            ),
            *(
                Record(
                    self.edge(side),
                    self.edge_text(side),
                    "" if self.owner or side == "high" else
                    "Less than six hours of data may be all of a batch. Less than a day may be a night or a day alone: 0.5 of\n"
                    "the least hour, and 2 times. Weekends are unknown until there is a week: 0.7 and 1.3 times.",
                    meaning=f"{'Least' if side == 'low' else 'Greatest'} of all guesses of that rate, with a margin.",
                    **say,
                )
                for side in ("low", "high")
            ),
            *self.gone_records(),
        )  # fmt: skip

    def gone_records(self) -> tuple[Record, ...]:
        """Owners alone can be gone while the fleet is there."""
        if not self.owner:
            return ()
        each, hour = on(*self.keys), self.hour
        return (
            Record(
                self.gone,
                f"""
group by ({", ".join(self.keys)}) (
  (max_over_time({hour}[6h] offset 1w) or max_over_time({hour}[6h] offset 1d)) > 0
  and {each} quantile_over_time(0.75, {hour}[7d]) > 0
  unless {each} max_over_time({hour}[5h]) > 0
  and {on(*self.labels)} max_over_time({Estimate(self.labels).hour}[5h]) > 0
)
""",
                "A batch that runs less than a quarter of the time is not gone between two runs.",
                meaning="1: an owner that spends nothing for six hours in which it spent something a week ago.",
                labels=self.keys,
            ),
        )


def cluster_records(labels: tuple[str, ...]) -> tuple[Record, ...]:
    """The weights by which the fleet's rest of the month is spread over clusters."""
    hour = "inference:dollars_per_hour:1h:cluster"
    return (
        Record(
            hour,
            "avg_over_time(inference:spend_dollars_per_hour[1h])",
            meaning="Mean spend of a cluster in the last hour.",
            labels=(*labels, "cluster"),
        ),
        Record(
            "inference:dollars_per_hour:1d:cluster",
            f"avg_over_time({hour}[1d]) + 1e-6 * avg_over_time({hour}[7d]) + 1e-9",
            "The week decides only between clusters that spent nothing for a day.",
            meaning="Mean spend of a cluster in the last day: its weight in the rest of the fleet's month.",
            labels=(*labels, "cluster"),
        ),
    )


def unposted_text(labels: tuple[str, ...]) -> str:
    """Rate times hours since a silent host or a lost cluster was last seen, inside each open month of its cluster."""
    host = ", ".join((*labels, "cluster", "ledger", "instance", "node"))
    cluster = on(*labels, "cluster")
    addends = []
    for which in ("> 0", "== 0"):
        # One month for each cluster: a match of many hosts to many months has no form in PromQL.
        end = (
            f"bottomk by ({', '.join((*labels, 'cluster'))}) (1, inference:month_end_timestamp_seconds"
            f" and {on(*labels, 'cluster', 'month')} (inference:month_hours_left {which}))"
        )
        start = f"({end} - 86400 * days_in_month({end} - 86400))"
        addends.append(f"""
  {UNPOSTED_RATE.format(host=host, ledger=on(*labels, "ledger"))}
  * on ({host}) group_left (month) clamp_min(
    (time() + clamp_max({end} - time(), 0) - {start})
    - {cluster} group_right (month) clamp_min(
      {UNPOSTED_SINCE.format(host=host)}
      - {cluster} group_left () {start},
      0
    ),
    0
  ) / 3600
""")
    return f"sum by ({', '.join((*labels, 'cluster', 'month', 'product', 'team'))}) ({'or'.join(addends)})"


UNPOSTED_RATE: Final = (
    "(max by ({host}, product, team) (inference:silent_dollars_per_hour:host"
    " unless {ledger} inference:ledger_seen_timestamp_seconds)"
    " or inference:lost_dollars_per_hour:owner)"
)
UNPOSTED_SINCE: Final = (
    "(max by ({host}) (inference:host_silent_since_timestamp_seconds)"
    " or inference:cluster_silent_since_timestamp_seconds)"
)


def parts(keys: tuple[str, ...], spent: str, unposted: str, rest: str) -> str:
    """A projection: what is posted, what is spent and not yet posted, and the hours left."""
    return f"""
sum by ({", ".join(keys)}) (
     {tagged(spent, "spent", "part")}
  or {tagged(unposted, "unposted", "part")}
  or {tagged(rest, "rest", "part")}
)
"""


def projected(labels: tuple[str, ...] = ()) -> tuple[Record, ...]:
    """Every minute: the rest of the month at its own prices, and what the month comes to."""
    return (*shares(labels), *rests(labels), *months(labels))


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


def shares(labels: tuple[str, ...]) -> tuple[Record, ...]:
    """How the hours left are spread over clusters, and their mean."""
    cluster = on(*labels, "cluster")
    weight = (
        f"({recent('inference:dollars_per_hour:1d:cluster', LAST)} or inference:spend_dollars_per_hour + 1e-9)"
        f" and {cluster} inference:spend_dollars_per_hour and {cluster} inference:month_hours_left"
    )
    return (
        Record(
            SHARE,
            f"({weight})\n/ {on(*labels)} group_left () sum by ({', '.join(labels)}) ({weight})",
            meaning="Part of a cluster in the spend of the last day; the parts sum to 1.",
            labels=(*labels, "cluster"),
        ),
        Record(
            LEFT,
            f"sum by ({', '.join((*labels, 'month'))}) ({NEAR} * {cluster} group_left () {SHARE})",
            "Clusters in different time zones have different hours left.",
            meaning="Hours left of the month, mean of the clusters by their spend.",
            labels=(*labels, "month"),
        ),
    )


def banded(rest: str, edge: str, ratio: str, keys: tuple[str, ...], side: str) -> str:
    """An end of a band of rates, the rate itself inside; while nothing is recorded, that of the first hours."""
    compare, start = "<=" if side == "low" else ">=", MARGIN[side][-1]
    return f"""
  {edge} * {on(*keys)} {ratio} {compare} {rest}
or
  {rest} and {edge}
or
  {start} * {rest}
"""


def rests(labels: tuple[str, ...]) -> tuple[Record, ...]:
    """Mean rate of the hours left, at their own prices: of the fleet, and of owners that sum to it."""
    fleet, owner = Estimate(labels), Estimate(labels, owner=True)
    alone, each, keys = on(*labels), on(*owner.keys), owner.keys
    total = f"sum by ({', '.join(labels)})"
    level = f"({recent(fleet.rest, LAST)} or avg_over_time({fleet.spend}[1h]))"
    own = f"({recent(owner.rest, LAST)} or avg_over_time({owner.spend}[1h]))"
    here, part, whole = f"{REST}:owner_here", f"{REST}:owner_part", f"{REST}:owner_whole"
    recent_hour = recent(owner.hour, "1h", NEW)
    gap = f"clamp_min(({recent(owner.week)} unless {each} {recent(owner.gone)}) - {each} {part}, 0)"
    ratio = "inference:rest_price_ratio"
    return (
        Record(
            REST,
            f"{level} * {alone} {ratio}",
            "While nothing is recorded, in the first minutes: the mean of what there is.",
            meaning="Mean rate of the hours left of the month, at the prices of these hours.",
            labels=labels,
        ),
        *(
            Record(
                f"{REST}:{side}",
                banded(REST, recent(fleet.edge(side), LAST), ratio, labels, side),
                meaning=f"{'Lower' if side == 'low' else 'Upper'} end of its band.",
                labels=labels,
            )
            for side in ("low", "high")
        ),
        Record(
            here,
            f"""
  0 * {own} and {each} {recent(owner.gone)}
or
  {own}
""",
            "Owners sum to the fleet. One that is gone, which is six hours of nothing where a week ago there was something,\n"
            "has no rest. A new one shares what the others leave of the fleet's, so that it reduces no other owner's.",
            meaning="Rate of the hours left by the owner's own spend, at first prices; 0 once an owner is gone for 6 h.",
            labels=keys,
        ),
        Record(
            part,
            f"""
  ({here} unless {each} {recent_hour})
  * {alone} group_left () clamp(
    ({level} - {alone} ({total} ({here} and {each} {recent_hour}) or 0 * {level}))
    / {alone} ({total} ({here} unless {each} {recent_hour}) > 0),
    0, 1
  )
or
  {here}
""",
            meaning=f"The same, and of owners younger than {NEW} what the others leave of the fleet's rate.",
            labels=keys,
        ),
        Record(
            whole,
            f"""
  {part} + {each} {gap}
  * {alone} group_left () clamp(
    ({level} - {alone} {total} ({part})) / {alone} ({total} ({gap}) > 0),
    0, 1
  )
or
  {part}
""",
            "Batches are no part of a median. What the fleet has and the owners lack goes to owners whose week is above it.",
            meaning="The same, and what the fleet's rate has beyond them, by what each spent in the week beyond its own.",
            labels=keys,
        ),
        Record(
            f"{REST}:owner",
            f"""
{whole} * {each} {ratio}:owner
* {alone} group_left () (
  {REST} / {alone} ({total} ({whole} * {each} {ratio}:owner) > 0)
)
""",
            meaning="Mean rate of an owner in the hours left, at their prices; sums to the fleet's.",
            labels=keys,
        ),
        *(
            Record(
                f"{REST}:owner_{side}",
                banded(f"{REST}:owner", recent(owner.edge(side), LAST), f"{ratio}:owner", keys, side),
                meaning=f"{'Lower' if side == 'low' else 'Upper'} end of its band.",
                labels=keys,
            )
            for side in ("low", "high")
        ),
    )


def months(labels: tuple[str, ...]) -> tuple[Record, ...]:
    """What the month comes to: of each cluster, of the fleet, of each owner."""
    alone, by_month = on(*labels), (*labels, "month")
    by_cluster, by_owner = (*by_month, "cluster"), (*by_month, "product", "team")
    here = on(*by_month)

    def owned(rate: str) -> str:
        """A rate of owners times the hours of the fleet's month, and of the one that begins before it is over."""
        other = f"bottomk by ({', '.join(labels)}) (1, {LEFT} unless {here} {MONTH})"
        times = f"{rate} * {alone} group_left (month)"
        return f"({times} ({LEFT} and {here} {MONTH}) or {times} {other})"

    def summed(name: str, keys: tuple[str, ...]) -> str:
        """A record of clusters as one of the fleet."""
        return f"sum by ({', '.join(keys)}) ({name})"

    return (
        Record(
            f"{UNPOSTED}:owner",
            unposted_text(labels),
            "Rate times hours, within the month. A host that another replica or cluster sees is not silent.",
            meaning="Spend of silent hosts and lost clusters since they were last seen.",
            labels=(*by_cluster, "product", "team"),
        ),
        Record(
            UNPOSTED,
            summed(f"{UNPOSTED}:owner", by_cluster),
            meaning="The same by cluster.",
            labels=by_cluster,
        ),
        Record(
            PROJECTED,
            parts(
                by_cluster,
                SPENT,
                UNPOSTED,
                f"{NEAR} * {on(*labels, 'cluster')} group_left () ({SHARE} * {alone} group_left () {REST})",
            ),
            meaning="What the month comes to; of the fleet's rest each cluster has its share of the last day.",
            labels=by_cluster,
        ),
        Record(
            TOTAL,
            summed(PROJECTED, by_month),
            meaning="What the month of the fleet comes to.",
            labels=by_month,
        ),
        *(
            Record(
                f"{TOTAL}:{side}",
                parts(
                    by_month,
                    summed(SPENT, by_month),
                    summed(UNPOSTED, by_month),
                    f"clamp_min({LEFT} * {alone} group_left () {REST}:{side} {sign} {here} 0.01 * {TOTAL}, 0)",
                ),
                meaning=f"{which} end of the band, which holds the month in nine of ten hours.",
                labels=by_month,
            )
            for side, which, sign in (("low", "Lower", "-"), ("high", "Upper", "+"))
        ),
        *(
            Record(
                f"{PROJECTED}:owner{side}",
                parts(
                    by_owner,
                    summed(f"{SPENT}:owner", by_owner),
                    summed(f"{UNPOSTED}:owner", by_owner),
                    owned(f"{REST}:owner{side}"),
                ),
                meaning=meaning,
                labels=by_owner,
            )
            for side, meaning in (
                ("", "What the month of an owner comes to; sums to the fleet."),
                ("_low", "Lower end of its band."),
                ("_high", "Upper end of its band."),
            )
        ),
    )


def groups(labels: tuple[str, ...] = ()) -> tuple[Group, ...]:
    """All of them; a test gives each simulated fleet one more label."""
    return (
        Group(
            "inference-projection",
            "15m",
            (*Estimate(labels).records(), *cluster_records(labels)),
            "Mean rate of the hours left of the month. Every 15 minutes, so that a look back\n"
            "of a week is 672 samples a series.",
        ),
        Group("inference-projection-owner", "15m", Estimate(labels, owner=True).records()),
        Group("inference-projected", "1m", projected(labels)),
    )


PROJECTIONS: Final = groups()
