"""What tokens cost, what the money was for, and how both changed within a week."""

from typing import Final

from hosts import NAMED, OWNER, SERVER, UNIQUE

SERVER_MODEL: Final = f"{SERVER}, model"


def rate(counter: str, *labels: str, summed: tuple[str, ...] = ()) -> str:
    """A counter's rise a second over the fleet: a target counts once, whatever scrapes it."""
    by = ", ".join((SERVER_MODEL, *labels))
    series = ", ".join((by, *summed))
    return f"sum by ({by}) (max by ({series}, instance) (rate({counter}[5m])) {UNIQUE})"


RATES: Final = f"""\
rules inference-rates every 1m: Dollars, tokens and GPUs per second
record inference:phase_cost_dollars:rate5m ({SERVER}, model, phase): dollars per second by phase
# One group: prices divide sums of its records over time, so a missed evaluation has to be missing on both sides.
# Dollars, tokens and GPUs a second, over hosts: servers on several hosts meet here by their names. What was charged
# for a time without the exporter is posted before its counters are served again, so no rate sees it as a step.
{rate("inference_cost_dollars_total", "phase")}
record inference:kind_tokens:rate5m ({SERVER}, model, kind): tokens per second by kind
{rate("inference_tokens_total", "kind")}
record inference:party_gpus:rate5m ({SERVER}, model): GPUs held, in fractions where they are shared
{rate("inference_gpu_seconds_total", summed=("phase",))}
record inference:cost_dollars:rate5m (cluster, model): dollars per second of a model
sum by (cluster, model) (inference:phase_cost_dollars:rate5m{{model!=""}})
record inference:busy_cost_dollars:rate5m (cluster, model): dollars per second of a model's prefill and decode
sum by (cluster, model) (inference:phase_cost_dollars:rate5m{{model!="",phase=~"prefill|decode"}})
record inference:tokens:rate5m (cluster, model): tokens per second of a model
sum by (cluster, model) (inference:kind_tokens:rate5m)
record inference:model_gpus:rate5m (cluster, model): GPUs that serve a model
sum by (cluster, model) (inference:party_gpus:rate5m{{model!=""}})
record inference:server_cost_dollars:rate5m ({SERVER}): dollars per second of a server
sum by ({SERVER}) (inference:phase_cost_dollars:rate5m)
record inference:server_busy_cost_dollars:rate5m ({SERVER}): dollars per second of a server's prefill and decode
sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase=~"prefill|decode"}})
record inference:server_tokens:rate5m ({SERVER}): tokens per second of a server
sum by ({SERVER}) (inference:kind_tokens:rate5m)
record inference:owner_cost_dollars:rate5m ({OWNER}): dollars per second of an owner
sum by ({OWNER}) (inference:phase_cost_dollars:rate5m)
record inference:owner_tokens:rate5m ({OWNER}): tokens per second of an owner
sum by ({OWNER}) (inference:kind_tokens:rate5m)
record inference:gpus:owner ({OWNER}): GPUs of an owner, unallocated ones included
# GPUs of each owner, in fractions where they are shared; unallocated GPUs are included.
sum by ({OWNER}) (inference:party_gpus:rate5m)
"""

IDLE_SPEND: Final = (
    f'sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase="idle",server!="unallocated"}})'
)
DOWN: Final = f"(max by ({NAMED}) (inference_server_up) == 0)"

IDLE: Final = f"""\
rules inference-idle every 1m: Cost by component
record inference:busy_dollars_per_hour ({SERVER}): spend on GPUs that compute
# Spend by kind, dollars an hour over five minutes; the five sum to the spend. Busy; idle at a server that
# answers; idle at one that holds GPUs and does not answer; unallocated; and unobserved.
3600 * sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase=~"prefill|decode|other"}})
record inference:idle_up_dollars_per_hour ({SERVER}): idle spend of servers that answer
3600 * {IDLE_SPEND}
unless on ({NAMED}) {DOWN}
record inference:idle_down_dollars_per_hour ({SERVER}): idle spend of servers that hold GPUs and do not answer
3600 * {IDLE_SPEND}
and on ({NAMED}) {DOWN}
record inference:unallocated_dollars_per_hour ({SERVER}): idle spend of GPUs that no server holds
3600 * sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase="idle",server="unallocated"}})
record inference:unobserved_dollars_per_hour ({SERVER}): spend of time that no source covered; busy, idle, unallocated and this sum to the spend
3600 * sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase="unobserved"}})
record inference:waste_dollars_per_hour ({OWNER}): the three kinds of idle spend together
3600 * sum by ({OWNER}) (inference:phase_cost_dollars:rate5m{{phase="idle"}})
"""


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
    unpriced = f"unless on (cluster, model) last_over_time(inference:model_unpriced[{late}])"
    return f"{price(name, 'inference:tokens:rate5m', window)}{unpriced}\n"


def by_server(name: str, window: str, late: str) -> str:
    """The same of a server: absent too where the other one of a pair has the other half."""
    return f"""\
{price(name, "inference:server_tokens:rate5m", window)}unless on ({NAMED}) last_over_time(inference:server_unpriced[{late}])
unless on ({NAMED}) inference:server_one_sided
"""


UNPRICED: Final = (
    "(inference_server_gpu_share_ratio and on (cluster, instance, uuid) (inference_gpu_priced == 0))"
)

PRICES: Final = f"""\
rules inference-token-prices every 1m: Cost per million tokens
record inference:server_unpriced (cluster, namespace, server): 1: a GPU that the server holds has no price, so its cost per token is absent
# Servers that hold a GPU without a price now, and their models: their dollars are a part of what they cost.
group by ({NAMED}) {UNPRICED}
record inference:model_unpriced (cluster, model): 1: a GPU that serves the model has no price, so its cost per token is absent
group by (cluster, model) (
  inference_tokens_total
  and on (cluster, instance, namespace, server)
    {UNPRICED}
)
record inference:server_one_sided (cluster, namespace, server): 1: the server only prefills or only decodes, and its other half has another name
# Servers that only prefill, or only decode, and whose other half has another name: the price of the model joins them.
group by ({NAMED}) (inference_split_info{{method="role"}})
unless on ({NAMED}) (
  group by ({NAMED}) (sum_over_time(inference:kind_tokens:rate5m{{kind="prompt"}}[1d]) > 0)
  and on ({NAMED})
  group by ({NAMED}) (sum_over_time(inference:kind_tokens:rate5m{{kind="generation"}}[1d]) > 0)
)
record inference:cost_dollars_per_million_tokens:1h (cluster, model): everything included, over an hour
# Cost per million tokens, everything included (idle, unobserved, overheads), and of prefill and decode alone (busy);
# absent below 1,000 tokens, and while a part of the window has no price: ten minutes more, for what is charged late
# is a step in the counters. x 60: this group's interval.
{by_model("inference:cost_dollars:rate5m", "1h", "70m")}
record inference:cost_dollars_per_million_tokens:24h (cluster, model): everything included, over a day
{by_model("inference:cost_dollars:rate5m", "1d", "1450m")}
record inference:busy_cost_dollars_per_million_tokens:1h (cluster, model): prefill and decode alone, over an hour
{by_model("inference:busy_cost_dollars:rate5m", "1h", "70m")}
record inference:busy_cost_dollars_per_million_tokens:24h (cluster, model): prefill and decode alone, over a day
{by_model("inference:busy_cost_dollars:rate5m", "1d", "1450m")}
record inference:server_cost_dollars_per_million_tokens:1h ({SERVER}): a server's price over all of its hosts, over an hour
{by_server("inference:server_cost_dollars:rate5m", "1h", "70m")}
record inference:server_cost_dollars_per_million_tokens:24h ({SERVER}): a server's price over all of its hosts, over a day
{by_server("inference:server_cost_dollars:rate5m", "1d", "1450m")}
record inference:server_busy_cost_dollars_per_million_tokens:1h ({SERVER}): a server's prefill and decode alone, over an hour
{by_server("inference:server_busy_cost_dollars:rate5m", "1h", "70m")}
record inference:server_busy_cost_dollars_per_million_tokens:24h ({SERVER}): a server's prefill and decode alone, over a day
{by_server("inference:server_busy_cost_dollars:rate5m", "1d", "1450m")}
"""


def ratio(now: str, then: str) -> str:
    """This week against the week before it, where both are whole weeks."""
    return f"""
{now}
  / ({then} > 0)
and on ({OWNER}) last_over_time(inference:owner_cost_dollars:rate5m[1d] offset 13d)
"""


def last(name: str, ago: str = "") -> str:
    """The last value of an hourly series: of this evaluation on Prometheus, of the one before on VictoriaMetrics."""
    return f"last_over_time({name}[2h]{ago})"


WEEK_AGO: Final = " offset 7d"
COST, HOURS, TOKENS = (f"inference:owner_{what}:7d" for what in ("cost_dollars", "gpu_hours", "tokens"))

WEEK: Final = f"""\
rules inference-week every 1h: This week against the week before
# In the place that sees the whole of two weeks; needs 15 days of retention.
record {COST} ({OWNER}): dollars of seven days
sum_over_time(inference:owner_cost_dollars:rate5m[7d]) * 60
record {HOURS} ({OWNER}): GPU-hours of seven days
sum_over_time(inference:gpus:owner[7d]) / 60
record {TOKENS} ({OWNER}): tokens of seven days
sum_over_time(inference:owner_tokens:rate5m[7d]) * 60
record inference:cost_dollars:week_ratio ({OWNER}): dollars of seven days over those of the seven days before
# dollars = GPU-hours x price of one, and tokens = GPU-hours x tokens of one, so the change of a bill is the change
# of the first two multiplied, and the change of what a token costs is price divided by efficiency.
{ratio(last(COST), last(COST, WEEK_AGO))}
record inference:gpu_hours:week_ratio ({OWNER}): the same of GPU-hours
{ratio(last(HOURS), last(HOURS, WEEK_AGO))}
record inference:gpu_hour_price:week_ratio ({OWNER}): the same of dollars per GPU-hour
{ratio(f"({last(COST)} / ({last(HOURS)} > 0))", f"({last(COST, WEEK_AGO)} / ({last(HOURS, WEEK_AGO)} > 0))")}
record inference:tokens_per_gpu_hour:week_ratio ({OWNER}): the same of tokens per GPU-hour
{ratio(f"({last(TOKENS)} / ({last(HOURS)} > 0))", f"({last(TOKENS, WEEK_AGO)} / ({last(HOURS, WEEK_AGO)} > 0))")}
record inference:server_cost_dollars_per_million_tokens:7d ({SERVER}): a server's price over a week
# A server's own week, which its day is compared with.
{by_server("inference:server_cost_dollars:rate5m", "7d", "7d")}
"""
