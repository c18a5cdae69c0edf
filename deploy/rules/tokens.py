"""What tokens cost, what the money was for, and how both changed within a week."""

from typing import Final

from hosts import OWNER, SERVER, UNIQUE
from statement import Group, Record

PARTY: Final = f"{SERVER}, model"
NAMED: Final = "cluster, namespace, server"


def rate(counter: str, *labels: str) -> str:
    """A counter's rise a second over the fleet: a target counts once, whoever and whatever scrapes it."""
    by = ", ".join((PARTY, *labels))
    return f"sum by ({by}) (max by ({by}, instance) (rate({counter}[5m])) {UNIQUE})"


RATES: Final = (
    Record(
        "inference:phase_cost_dollars:rate5m",
        rate("inference_cost_dollars_total", "phase"),
        "Dollars, tokens and GPUs a second, over hosts: servers on several hosts meet here by their names. What was charged\n"
        "for a time without the exporter is posted before its counters are served again, so no rate sees it as a step.",
    ),
    Record("inference:kind_tokens:rate5m", rate("inference_tokens_total", "kind")),
    Record("inference:party_gpus:rate5m", rate("inference_gpu_seconds_total")),
    Record(
        "inference:cost_dollars:rate5m",
        'sum by (cluster, model) (inference:phase_cost_dollars:rate5m{model!=""})',
    ),
    Record(
        "inference:busy_cost_dollars:rate5m",
        'sum by (cluster, model) (inference:phase_cost_dollars:rate5m{model!="",phase=~"prefill|decode"})',
    ),
    Record("inference:tokens:rate5m", "sum by (cluster, model) (inference:kind_tokens:rate5m)"),
    Record("inference:model_gpus:rate5m", 'sum by (cluster, model) (inference:party_gpus:rate5m{model!=""})'),
    Record(
        "inference:server_cost_dollars:rate5m", f"sum by ({SERVER}) (inference:phase_cost_dollars:rate5m)"
    ),
    Record(
        "inference:server_busy_cost_dollars:rate5m",
        f'sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase=~"prefill|decode"}})',
    ),
    Record("inference:server_tokens:rate5m", f"sum by ({SERVER}) (inference:kind_tokens:rate5m)"),
    Record("inference:owner_cost_dollars:rate5m", f"sum by ({OWNER}) (inference:phase_cost_dollars:rate5m)"),
    Record("inference:owner_tokens:rate5m", f"sum by ({OWNER}) (inference:kind_tokens:rate5m)"),
    Record(
        "inference:gpus:owner",
        f"sum by ({OWNER}) (inference:party_gpus:rate5m)",
        "GPUs that each owner holds, in fractions where they are shared; those that nobody holds are in it.",
    ),
)

HELD: Final = f'sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase="idle",server!="unallocated"}})'
DOWN: Final = f"(max by ({NAMED}) (inference_server_up) == 0)"

IDLE: Final = (
    Record(
        "inference:busy_dollars_per_hour",
        f'3600 * sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase=~"prefill|decode|other"}})',
        "What the money is for, dollars an hour over five minutes; the five sum to the spend. Busy; idle at a server that\n"
        "answers; idle at one that holds GPUs and answers on no endpoint; at no server; and seen by nobody.",
    ),
    Record("inference:idle_up_dollars_per_hour", f"3600 * {HELD}\nunless on ({NAMED}) {DOWN}"),
    Record("inference:idle_down_dollars_per_hour", f"3600 * {HELD}\nand on ({NAMED}) {DOWN}"),
    Record(
        "inference:unallocated_dollars_per_hour",
        f'3600 * sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase="idle",server="unallocated"}})',
    ),
    Record(
        "inference:unobserved_dollars_per_hour",
        f'3600 * sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase="unobserved"}})',
    ),
    Record(
        "inference:waste_dollars_per_hour:server",
        f'3600 * sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase="idle"}})',
        "The three kinds of idle together.",
    ),
    Record("inference:waste_dollars_per_hour", f"sum by ({OWNER}) (inference:waste_dollars_per_hour:server)"),
)


def price(name: str, tokens: str, window: str) -> str:
    """Dollars per million tokens over a window, from rates that are recorded each minute.

    Sums, not means: a minute without a sample counts as nothing on both sides.
    """
    return f"""
1e6 * sum_over_time({name}[{window}])
  / (sum_over_time({tokens}[{window}]) * 60 >= 1000) * 60
"""


def by_model(name: str, window: str, late: str) -> str:
    """The same of a model: absent while a part of the window has no price."""
    return (
        price(name, "inference:tokens:rate5m", window)
        + f"unless on (cluster, model) last_over_time(inference:model_unpriced[{late}])\n"
    )


def by_server(name: str, window: str, late: str) -> str:
    """The same of a server: absent too where the other one of a pair has the other half."""
    return (
        price(name, "inference:server_tokens:rate5m", window)
        + f"unless on ({NAMED}) last_over_time(inference:server_unpriced[{late}])\n"
        + f"unless on ({NAMED}) inference:server_one_sided\n"
    )


UNPRICED: Final = (
    "(inference_server_gpu_share_ratio and on (cluster, instance, uuid) (inference_gpu_priced == 0))"
)

PRICES: Final = (
    Record(
        "inference:server_unpriced",
        f"group by ({NAMED}) {UNPRICED}",
        "Servers that hold a GPU without a price now, and their models: their dollars are a part of what they cost.",
    ),
    Record(
        "inference:model_unpriced",
        f"""
group by (cluster, model) (
  inference_tokens_total
  and on (cluster, instance, namespace, server)
    {UNPRICED}
)
""",
    ),
    Record(
        "inference:server_one_sided",
        f"""
group by ({NAMED}) (inference_split_info{{method="role"}})
unless on ({NAMED}) (
  group by ({NAMED}) (sum_over_time(inference:kind_tokens:rate5m{{kind="prompt"}}[1d]) > 0)
  and on ({NAMED})
  group by ({NAMED}) (sum_over_time(inference:kind_tokens:rate5m{{kind="generation"}}[1d]) > 0)
)
""",
        "Servers that only prefill, or only decode, and whose other half has another name: the price of the model joins them.",
    ),
    Record(
        "inference:cost_dollars_per_million_tokens:1h",
        by_model("inference:cost_dollars:rate5m", "1h", "70m"),
        "Cost per million tokens, everything included (idle, unobserved, overheads), and of prefill and decode alone (busy);\n"
        "absent below 1,000 tokens, and while a part of the window has no price: ten minutes more, for what is charged late\n"
        "is a step in the counters. x 60: this group's interval.",
    ),
    Record(
        "inference:cost_dollars_per_million_tokens:24h",
        by_model("inference:cost_dollars:rate5m", "1d", "1450m"),
    ),
    *(
        Record(f"inference:{what}_per_million_tokens:{name}", rule(f"inference:{what}:rate5m", window, late))
        for what, rule in (
            ("busy_cost_dollars", by_model),
            ("server_cost_dollars", by_server),
            ("server_busy_cost_dollars", by_server),
        )
        for name, window, late in (("1h", "1h", "70m"), ("24h", "1d", "1450m"))
    ),
)


def ratio(now: str, then: str) -> str:
    """This week against the week before it, where both are whole weeks."""
    return f"""
{now}
  / ({then} > 0)
and on ({OWNER}) last_over_time(inference:owner_cost_dollars:rate5m[1d] offset 13d)
"""


def before(name: str) -> str:
    """The value of a week ago, from an hourly series."""
    return f"last_over_time({name}[2h] offset 7d)"


COST, HOURS, TOKENS = (
    "inference:owner_cost_dollars:7d",
    "inference:owner_gpu_hours:7d",
    "inference:owner_tokens:7d",
)

WEEK: Final = Group(
    "inference-week",
    "1h",
    (
        Record(COST, "sum_over_time(inference:owner_cost_dollars:rate5m[7d]) * 60"),
        Record(HOURS, "sum_over_time(inference:gpus:owner[7d]) / 60"),
        Record(TOKENS, "sum_over_time(inference:owner_tokens:rate5m[7d]) * 60"),
        Record(
            "inference:cost_dollars:week_ratio",
            ratio(COST, before(COST)),
            "dollars = GPU-hours x price of one, and tokens = GPU-hours x tokens of one, so the change of a bill is the change\n"
            "of the first two multiplied, and the change of what a token costs is price divided by efficiency.",
        ),
        Record("inference:gpu_hours:week_ratio", ratio(HOURS, before(HOURS))),
        Record(
            "inference:gpu_hour_price:week_ratio",
            ratio(f"({COST} / ({HOURS} > 0))", f"({before(COST)} / ({before(HOURS)} > 0))"),
        ),
        Record(
            "inference:tokens_per_gpu_hour:week_ratio",
            ratio(f"({TOKENS} / ({HOURS} > 0))", f"({before(TOKENS)} / ({before(HOURS)} > 0))"),
        ),
        Record(
            "inference:server_cost_dollars_per_million_tokens:7d",
            by_server("inference:server_cost_dollars:rate5m", "7d", "7d"),
            "A server's own week, which its day is compared with.",
        ),
    ),
    "In the place that sees the whole of two weeks; needs 15 days of retention.",
)
