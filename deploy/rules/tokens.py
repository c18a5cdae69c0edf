"""What tokens cost, what the money was for, and how both changed within a week."""

from typing import Final

from hosts import OWNER, OWNER_LABELS, SERVER, SERVER_LABELS, UNIQUE
from statement import Group, Record

SERVER_MODEL: Final = f"{SERVER}, model"
MODEL_LABELS: Final = ("cluster", "model")
NAMED_LABELS: Final = ("cluster", "namespace", "server")
NAMED: Final = ", ".join(NAMED_LABELS)


def rate(counter: str, *labels: str, summed: tuple[str, ...] = ()) -> str:
    """A counter's rise a second over the fleet: a target counts once, whatever scrapes it."""
    by = ", ".join((SERVER_MODEL, *labels))
    series = ", ".join((by, *summed))
    return f"sum by ({by}) (max by ({series}, instance) (rate({counter}[5m])) {UNIQUE})"


RATES: Final = (
    Record(
        "inference:phase_cost_dollars:rate5m",
        rate("inference_cost_dollars_total", "phase"),
        "One group: prices divide sums of its records over time, so a missed evaluation has to be missing on both sides.\n"
        "Dollars, tokens and GPUs a second, over hosts: servers on several hosts meet here by their names. What was charged\n"
        "for a time without the exporter is posted before its counters are served again, so no rate sees it as a step.",
        meaning="dollars per second by phase",
        labels=(*SERVER_LABELS, "model", "phase"),
    ),
    Record(
        "inference:kind_tokens:rate5m",
        rate("inference_tokens_total", "kind"),
        meaning="tokens per second by kind",
        labels=(*SERVER_LABELS, "model", "kind"),
    ),
    Record(
        "inference:party_gpus:rate5m",
        rate("inference_gpu_seconds_total", summed=("phase",)),
        meaning="GPUs held, in fractions where they are shared",
        labels=(*SERVER_LABELS, "model"),
    ),
    Record(
        "inference:cost_dollars:rate5m",
        'sum by (cluster, model) (inference:phase_cost_dollars:rate5m{model!=""})',
        meaning="dollars per second of a model",
        labels=MODEL_LABELS,
    ),
    Record(
        "inference:busy_cost_dollars:rate5m",
        'sum by (cluster, model) (inference:phase_cost_dollars:rate5m{model!="",phase=~"prefill|decode"})',
        meaning="dollars per second of a model's prefill and decode",
        labels=MODEL_LABELS,
    ),
    Record(
        "inference:tokens:rate5m",
        "sum by (cluster, model) (inference:kind_tokens:rate5m)",
        meaning="tokens per second of a model",
        labels=MODEL_LABELS,
    ),
    Record(
        "inference:model_gpus:rate5m",
        'sum by (cluster, model) (inference:party_gpus:rate5m{model!=""})',
        meaning="GPUs that serve a model",
        labels=MODEL_LABELS,
    ),
    Record(
        "inference:server_cost_dollars:rate5m",
        f"sum by ({SERVER}) (inference:phase_cost_dollars:rate5m)",
        meaning="dollars per second of a server",
        labels=SERVER_LABELS,
    ),
    Record(
        "inference:server_busy_cost_dollars:rate5m",
        f'sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase=~"prefill|decode"}})',
        meaning="dollars per second of a server's prefill and decode",
        labels=SERVER_LABELS,
    ),
    Record(
        "inference:server_tokens:rate5m",
        f"sum by ({SERVER}) (inference:kind_tokens:rate5m)",
        meaning="tokens per second of a server",
        labels=SERVER_LABELS,
    ),
    Record(
        "inference:owner_cost_dollars:rate5m",
        f"sum by ({OWNER}) (inference:phase_cost_dollars:rate5m)",
        meaning="dollars per second of an owner",
        labels=OWNER_LABELS,
    ),
    Record(
        "inference:owner_tokens:rate5m",
        f"sum by ({OWNER}) (inference:kind_tokens:rate5m)",
        meaning="tokens per second of an owner",
        labels=OWNER_LABELS,
    ),
    Record(
        "inference:gpus:owner",
        f"sum by ({OWNER}) (inference:party_gpus:rate5m)",
        "GPUs of each owner, in fractions where they are shared; unallocated GPUs are included.",
        meaning="GPUs of an owner, unallocated ones included",
        labels=OWNER_LABELS,
    ),
)

IDLE_SPEND: Final = (
    f'sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase="idle",server!="unallocated"}})'
)
DOWN: Final = f"(max by ({NAMED}) (inference_server_up) == 0)"

IDLE: Final = (
    Record(
        "inference:busy_dollars_per_hour",
        f'3600 * sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase=~"prefill|decode|other"}})',
        "Spend by kind, dollars an hour over five minutes; the five sum to the spend. Busy; idle at a server that\n"
        "answers; idle at one that holds GPUs and does not answer; unallocated; and unobserved.",
        meaning="spend on GPUs that compute",
        labels=SERVER_LABELS,
    ),
    Record(
        "inference:idle_up_dollars_per_hour",
        f"3600 * {IDLE_SPEND}\nunless on ({NAMED}) {DOWN}",
        meaning="idle spend of servers that answer",
        labels=SERVER_LABELS,
    ),
    Record(
        "inference:idle_down_dollars_per_hour",
        f"3600 * {IDLE_SPEND}\nand on ({NAMED}) {DOWN}",
        meaning="idle spend of servers that hold GPUs and do not answer",
        labels=SERVER_LABELS,
    ),
    Record(
        "inference:unallocated_dollars_per_hour",
        f'3600 * sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase="idle",server="unallocated"}})',
        meaning="idle spend of GPUs that no server holds",
        labels=SERVER_LABELS,
    ),
    Record(
        "inference:unobserved_dollars_per_hour",
        f'3600 * sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase="unobserved"}})',
        meaning="spend of time that no source covered; busy, idle, unallocated and this sum to the spend",
        labels=SERVER_LABELS,
    ),
    Record(
        "inference:waste_dollars_per_hour",
        f'3600 * sum by ({OWNER}) (inference:phase_cost_dollars:rate5m{{phase="idle"}})',
        meaning="the three kinds of idle spend together",
        labels=OWNER_LABELS,
    ),
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
        meaning="1: a GPU that the server holds has no price, so its cost per token is absent",
        labels=NAMED_LABELS,
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
        meaning="1: a GPU that serves the model has no price, so its cost per token is absent",
        labels=MODEL_LABELS,
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
        meaning="1: the server only prefills or only decodes, and its other half has another name",
        labels=NAMED_LABELS,
    ),
    Record(
        "inference:cost_dollars_per_million_tokens:1h",
        by_model("inference:cost_dollars:rate5m", "1h", "70m"),
        "Cost per million tokens, everything included (idle, unobserved, overheads), and of prefill and decode alone (busy);\n"
        "absent below 1,000 tokens, and while a part of the window has no price: ten minutes more, for what is charged late\n"
        "is a step in the counters. x 60: this group's interval.",
        meaning="everything included, over an hour",
        labels=MODEL_LABELS,
    ),
    Record(
        "inference:cost_dollars_per_million_tokens:24h",
        by_model("inference:cost_dollars:rate5m", "1d", "1450m"),
        meaning="everything included, over a day",
        labels=MODEL_LABELS,
    ),
    *(
        Record(
            f"inference:{what}_per_million_tokens:{name}",
            rule(f"inference:{what}:rate5m", window, late),
            meaning=f"{meaning}, over {span}",
            labels=labels,
        )
        for what, rule, meaning, labels in (
            ("busy_cost_dollars", by_model, "prefill and decode alone", MODEL_LABELS),
            ("server_cost_dollars", by_server, "a server's price over all of its hosts", SERVER_LABELS),
            ("server_busy_cost_dollars", by_server, "a server's prefill and decode alone", SERVER_LABELS),
        )
        for name, window, late, span in (("1h", "1h", "70m", "an hour"), ("24h", "1d", "1450m", "a day"))
    ),
)


def ratio(now: str, then: str) -> str:
    """This week against the week before it, where both are whole weeks."""
    return f"""
{now}
  / ({then} > 0)
and on ({OWNER}) last_over_time(inference:owner_cost_dollars:rate5m[1d] offset 13d)
"""


def last(name: str) -> str:
    """The last value of an hourly series: of this evaluation on Prometheus, of the one before on VictoriaMetrics."""
    return f"last_over_time({name}[2h])"


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
        Record(
            COST,
            "sum_over_time(inference:owner_cost_dollars:rate5m[7d]) * 60",
            meaning="dollars of seven days",
            labels=OWNER_LABELS,
        ),
        Record(
            HOURS,
            "sum_over_time(inference:gpus:owner[7d]) / 60",
            meaning="GPU-hours of seven days",
            labels=OWNER_LABELS,
        ),
        Record(
            TOKENS,
            "sum_over_time(inference:owner_tokens:rate5m[7d]) * 60",
            meaning="tokens of seven days",
            labels=OWNER_LABELS,
        ),
        Record(
            "inference:cost_dollars:week_ratio",
            ratio(last(COST), before(COST)),
            "dollars = GPU-hours x price of one, and tokens = GPU-hours x tokens of one, so the change of a bill is the change\n"
            "of the first two multiplied, and the change of what a token costs is price divided by efficiency.",
            meaning="dollars of seven days over those of the seven days before",
            labels=OWNER_LABELS,
        ),
        Record(
            "inference:gpu_hours:week_ratio",
            ratio(last(HOURS), before(HOURS)),
            meaning="the same of GPU-hours",
            labels=OWNER_LABELS,
        ),
        Record(
            "inference:gpu_hour_price:week_ratio",
            ratio(f"({last(COST)} / ({last(HOURS)} > 0))", f"({before(COST)} / ({before(HOURS)} > 0))"),
            meaning="the same of dollars per GPU-hour",
            labels=OWNER_LABELS,
        ),
        Record(
            "inference:tokens_per_gpu_hour:week_ratio",
            ratio(f"({last(TOKENS)} / ({last(HOURS)} > 0))", f"({before(TOKENS)} / ({before(HOURS)} > 0))"),
            meaning="the same of tokens per GPU-hour",
            labels=OWNER_LABELS,
        ),
        Record(
            "inference:server_cost_dollars_per_million_tokens:7d",
            by_server("inference:server_cost_dollars:rate5m", "7d", "7d"),
            "A server's own week, which its day is compared with.",
            meaning="a server's price over a week",
            labels=SERVER_LABELS,
        ),
    ),
    "In the place that sees the whole of two weeks; needs 15 days of retention.",
)
