"""Alerts on money: what is spent against the configured budgets, and what it is spent on."""

import re
from collections.abc import Callable
from typing import Final

from budgets import TICKET_SHARE
from hosts import SERVER
from levels import COUNT, GPUS, LOAD, RATIO, TARGET
from wording import (
    DOLLARS,
    HOURLY,
    IN_DOLLARS,
    METER,
    MODELS,
    MONEY,
    NAMES_SHOWN,
    SHARE,
    SPEND,
    VALUE,
    WASTE,
    link,
    listed,
    number,
    query,
    servers,
)

NIGHT: Final = 0.05
"""The part of a month's budget that waiting eight hours must cost before an alert pages."""
FIRST_DAY: Final = "unless on () (inference:fleet_metered_hours <= 24)"
"""A rate of less than a day says little about a month: a roll-out looks like a runaway."""

KEY: Final = "on (budget, product)"
BUDGET: Final = "inference:budget_dollars"
COST: Final = "inference:budget_cost_dollars_per_hour"
RUN_RATE: Final = "inference:budget_monthly_run_rate_dollars"
IDLE_SPEND: Final = "inference:budget_idle_dollars_per_hour"
MONTH: Final = "inference:budget_month_to_date_dollars"
PROJECTED: Final = "inference:budget_month_projected_dollars"
MATCH_BUDGET: Final = "{budget=%q,product=%q}"
"""Clusters may give one name to budgets of several products."""

IF_PRODUCT: Final = 'and $labels.product (ne $labels.product "fleet")'
"""Whether a budget is one product's. vmalert hands annotations the labels that the alert sets, Prometheus the query's."""
CHOSEN: Final = f"{{{{ if {IF_PRODUCT} }}}}?var-product={{{{ $labels.product | urlquery }}}}{{{{ end }}}}"
BOARD, WASTE_BOARD = MONEY + CHOSEN, WASTE + CHOSEN


def by_product(text: Callable[[str], str]) -> str:
    """A text with the selector of a budget's product, or of the fleet with none."""
    return f"{{{{ if {IF_PRODUCT} }}}}{text('{product=%q}')}{{{{ else }}}}{text('')}{{{{ end }}}}"


def amount(record: str, form: str = DOLLARS) -> str:
    """What a record has of the budget."""
    return number(f"{record}{MATCH_BUDGET}", form)


TOP: Final = by_product(lambda match: servers(f"{SPEND}{match}"))
OF: Final = "{{ $labels.budget }}"
SAYS_DEFAULT: Final = "{{ if query `inference:budget_configured == 0` }} This is the default budget, which never pages: set budgets in the exporter's configuration.{{ end }}"
RAISE: Final = " If the spend is intended, raise the budget in the exporter's configuration."
RUNS_OUT: Final = f'{{{{ with {query(f"inference:budget_runs_out_timestamp_seconds{MATCH_BUDGET}")} }}}} It runs out on {{{{ . | first | value | humanizeTimestamp | printf "%.10s" }}}}.{{{{ end }}}}'
METERED_SINCE: Final = "{{ with query `min(inference:month_metered_since_timestamp_seconds and on (month) inference:fleet_month_hours_left)` }} The month is metered since {{ . | first | value | humanizeTimestamp }}.{{ end }}"


def old(record: str) -> str:
    """What a budget had a day ago: the mean of one that was configured this morning has no night."""
    return f"last_over_time({record}[6h] offset 23h)"


LAST_DAY: Final = f"sum({MONTH}{MATCH_BUDGET}) + sum(avg_over_time({COST}{MATCH_BUDGET}[1d]) and {old(COST + MATCH_BUDGET)}) * max(inference:fleet_month_hours_left)"
"""The month's end at the mean rate of the last 24 hours."""


def night(cost: str) -> str:
    """What eight hours cost, in dollars and as a part of the budget."""
    part = number(f"{cost} / {KEY} {BUDGET}", SHARE, "an unknown part")
    return f"Eight hours of waiting cost {number(cost, DOLLARS)}, {part} of a month's budget."


def tiers(name: str, times: str, cost: Callable[[str], str], text: str) -> str:
    """A page where waiting eight hours costs much of a configured budget, a ticket where it does not.

    A spend that fell back under the budget's rate pages no more, whatever its mean of a day is. `cause` is a product's
    budget's product, or that without which the rest of the fleet's spend would be far from a page.
    """
    reasons, expr, sentences = re.fullmatch(
        r"((?:#[^\n]*\n)*)(.*?)\n(summary: .*)\n", text, re.DOTALL
    ).groups()
    now = f"unless on () (inference:budget_configured == 0) and {KEY} (inference:budget_run_rate_ratio > 1)"
    dear = f"{KEY} ({cost('')} / {KEY} ({BUDGET} > 0) >= {NIGHT} {now})"
    rest = f"{cost(MATCH_BUDGET)} - {KEY} {NIGHT / 2} * {BUDGET}{MATCH_BUDGET}"
    largest = query("topk(1, " + cost('{product!=""}') + f") > on () group_left () ({rest})")
    first = f'{{{{ with {largest} }}}}{{{{ . | first | label "product" }}}}{{{{ else }}}}fleet{{{{ end }}}}'
    cause = f"{{{{ if {IF_PRODUCT} }}}}{{{{ $labels.product }}}}{{{{ else }}}}{first}{{{{ end }}}}"
    end = f"{sentences}{SAYS_DEFAULT}\nservers: {TOP}\nwaiting: {night(cost(MATCH_BUDGET))}\n"
    return f"""\
alert {name} page {times} by (budget, product): {BOARD}
{reasons}({expr})
and {dear}
cause: {cause}
{end}alert {name} ticket {times} by (budget, product): {BOARD}
({expr})
unless {dear}
{end}"""


def excess(match: str) -> str:
    """What eight hours cost beyond the usual spend."""
    return f"8 * inference:budget_excess_dollars_per_hour{match}"


def all_spend(match: str) -> str:
    """What eight hours cost."""
    return f"8 * {COST}{match}"


def over_pace(match: str) -> str:
    """The part of eight hours, at the day's mean, that a whole month at the budget would not have."""
    part = f"{BUDGET}{match} / {KEY} (avg_over_time({RUN_RATE}{match}[1d]) > 0)"
    return f"8 * avg_over_time({COST}{match}[1d]) * {KEY} (1 - {part})"


RUNAWAY: Final = tiers(
    "InferenceSpendRunaway",
    "after 15m keep 15m",
    excess,
    f"""\
# The spend is above its usual level and above the same hour of the week before, by so much that eight hours of the
# excess cost a hundredth of a month's budget. Needs 24 hours of data.
{excess("")} > {KEY} {TICKET_SHARE} * {BUDGET} {FIRST_DAY}
summary: Spend of {OF} rose: until morning it costs {IN_DOLLARS} more than usual.
description: The spend is {amount(COST, HOURLY)}. Usual is {amount("inference:budget_usual_dollars_per_hour", HOURLY)}. Find the servers that grew on the dashboard, and stop or scale them down. A host that was never metered before counts as a rise.{RAISE}
""",
)
EXHAUSTED: Final = tiers(
    "InferenceBudgetExhausted",
    "after 5m",
    all_spend,
    f"""\
{MONTH} >= {KEY} group_left () {BUDGET}
summary: The budget {OF} for {{{{ $labels.month }}}} is spent: {IN_DOLLARS}.
description: All further spend of the month is over the budget. Inform the budget's owner, and stop what can wait until next month.{RAISE}
""",
)
OVER_RATE: Final = tiers(
    "InferenceRunRateOverBudget",
    "after 1h keep 15m",
    over_pace,
    f"""\
# By the means of a day and of a week, so that neither nights nor weekends make a false alert: a fleet whose month
# ends below its budget has a mean below it. Needs 24 hours of data.
avg_over_time({RUN_RATE}[1d]) > {KEY} {BUDGET}
 and {KEY} (avg_over_time({RUN_RATE}[7d]) > {KEY} {BUDGET})
 and {KEY} {old(RUN_RATE)}
 {FIRST_DAY}
summary: Run-rate of {OF} is {amount(RUN_RATE)} a month now, {IN_DOLLARS} at the mean of the last day. The budget is {amount(BUDGET)}.
description: A month at the mean rate of the last 24 hours exceeds the budget. Look for new servers and for idle GPUs on the dashboard, and scale them down.{RAISE}
""",
)
PROJECTION: Final = f"""\
alert InferenceSpendProjectedOverBudget ticket after 1h by (budget, product): {BOARD}
# A projection needs 24 hours of data, unless its low end is over the budget. It is a ticket: what must not wait
# until morning is a runaway.
{PROJECTED} > {KEY} group_left () {BUDGET}
{FIRST_DAY}
or
{PROJECTED} and on (budget, product, month) ({PROJECTED}:low > {KEY} group_left () {BUDGET})
summary: Projected spend of {OF} for {{{{ $labels.month }}}} is {IN_DOLLARS}, over the budget of {amount(BUDGET)}.{RUNS_OUT}
description: Month to date is {amount(MONTH)}. The month ends between {amount(f"{PROJECTED}:low")} and {amount(f"{PROJECTED}:high")}. The last day's rate gives {number(LAST_DAY, DOLLARS)}.{METERED_SINCE} The projection assumes that the last weeks continue. Find the servers that grew on the dashboard, and scale down or stop what is idle.{RAISE}{SAYS_DEFAULT}
servers: {TOP}
waiting: {night(all_spend(MATCH_BUDGET))}
"""

IDLE: Final = f"""\
alert InferenceIdleSpend ticket after 2h by (budget, product): {WASTE_BOARD}
24 * avg_over_time({IDLE_SPEND}[1d]) >= {KEY} 0.01 * {BUDGET}
and {KEY} {old(IDLE_SPEND)}
{FIRST_DAY}
summary: Idle GPUs of {OF} cost {IN_DOLLARS} a day.
description: These GPUs are paid for and compute nothing. Release unallocated GPUs first. Then move quiet servers together, or let them scale down.{SAYS_DEFAULT}
servers: {by_product(lambda match: servers(f"inference:waste_dollars_per_hour:server{match}"))}
waiting: {night(f"8 * {IDLE_SPEND}{MATCH_BUDGET}")}
"""

DEVIATING: Final = f"""(
    max by (cluster, instance, node, budget, product) ({BUDGET}:deviating)
  or
    max by (cluster, budget, product) ({BUDGET}:cluster) unless on (cluster) (inference:budget_configured:cluster == 0)
)
!= {KEY} group_left () {BUDGET}"""
"""Hosts, and whole clusters, whose amount is not the one in force."""

DIFFERS: Final = f"""\
alert InferenceBudgetsDiffer ticket after 1h by (budget, product): {BOARD}
# An hour: a change that is rolled out reaches one host after the other.
count by (budget, product) ({DEVIATING})
summary: The budget {OF} is {amount(BUDGET)}, and differs on {VALUE} hosts or clusters: {listed(f"sort_desc(topk({NAMES_SHOWN}, ({DEVIATING}) and {KEY} {BUDGET}{MATCH_BUDGET}))", '{{ or .Labels.node .Labels.instance "All hosts" }}{{ with .Labels.cluster }} of cluster {{ . }}{{ end }} at {{ .Value | printf "%.0f" }} dollars. ')}
description: The amount of most hosts is in force, and all alerts and dashboards compare with it. Reload the configuration of the hosts that are named, or correct their budgets.
servers: {TOP}
waiting: No money is lost. If the other amount is the right one, alerts come too early or too late.
"""

WHO: Final = ("cluster", "namespace", "server")
BY_SERVER, ON_SERVER = f"by ({', '.join(WHO)})", f"on ({', '.join(WHO)})"
SELF: Final = (
    "{{ with $labels.namespace }}{{ . }}/{{ end }}{{ $labels.server }}"
    "{{ with $labels.product }} of product {{ . }}{{ end }}{{ with $labels.cluster }} in cluster {{ . }}{{ end }}"
)
MATCH: Final = "{cluster=%q,namespace=%q,server=%q}"
OF_PRODUCT: Final = servers(f"{SPEND}{{product=%q}}")
SERVER_NIGHT: Final = number(f"8 * sum(max by ({SERVER}) ({SPEND}{MATCH}))", DOLLARS)
NAMED: Final = 'server!~"unallocated|unmatched:.*"'
OBJECTIVE: Final = f"{', '.join(WHO)}, objective"
FEWEST: Final = 100
"""Latencies of an hour below which a share of 0.99 says nothing."""
ROOM: Final = 0.1
"""The part of the misses that the target allows, up to which a level is met with room to spare."""
TARGET_OF: Final = f"max by ({OBJECTIVE}) ({TARGET})"
WITH_ROOM: Final = f'min by ({OBJECTIVE}) ({RATIO}:24h{{bound="lower"}}) >= on ({OBJECTIVE}) (1 - {ROOM} * (1 - {TARGET_OF}))'
NO_PRODUCT: Final = f'{SPEND}{{product="unassigned",server!="unallocated"}}'
FLEET_SPEND: Final = "sum(max by (cluster) (inference:cost_dollars_per_hour))"

SERVERS: Final = f"""\
alert InferenceTokensDearer ticket after 2h by (cluster, namespace, server): {link(MODELS, *WHO)}
# Not while the price of a week is one of some hours: a load test is cheap, and so is a renamed product by day.
max by ({SERVER}) (inference:server_cost_dollars_per_million_tokens:24h)
  / (max by ({SERVER}) (last_over_time(inference:server_cost_dollars_per_million_tokens:7d[2h] offset 1d)) > 0)
> 1.5
and on ({SERVER}) last_over_time(inference:server_cost_dollars_per_million_tokens:7d[2h] offset 7d)
summary: A million tokens of {SELF} cost {{{{ $value | printf "%.1f" }}}} times what they cost in the week before.
description: The server has less traffic on as many GPUs, a higher price of them, or slower serving. The week's ratios on the dashboard show which. Scale the server to its traffic, or undo what made it slower.
servers: {OF_PRODUCT}
waiting: Eight hours of the server cost {SERVER_NIGHT}, a third or more of it above the week before.
alert InferenceServiceLevelMissed ticket after 30m by (cluster, namespace, server, objective): {link(MODELS, *WHO)}
# By the upper bound of the share, so that no width of the engine's buckets makes an alert.
(
  max by ({SERVER}, objective) ({RATIO}:1h{{bound="upper"}})
  < on ({OBJECTIVE}) group_left ()
  {TARGET_OF}
)
and on ({OBJECTIVE}) (max by ({OBJECTIVE}) ({COUNT}:1h) >= {FEWEST})
and {ON_SERVER} (max {BY_SERVER} ({SPEND}) > 0)
summary: {SELF} misses its objective {{{{ $labels.objective }}}}: at most {{{{ $value | {SHARE} }}}} of the last hour met it.
description: The target is {number(f"max({TARGET}{{cluster=%q,namespace=%q,server=%q,objective=%q}})", SHARE)}. Even if all latencies between two buckets met it, too few did. If requests wait, add replicas. Else undo what made it slower, or correct the objective.
servers: {OF_PRODUCT}
waiting: Eight hours of it cost {SERVER_NIGHT}, for answers that come too late.
alert InferenceServiceLevelOversized ticket after 2h by (cluster, namespace, server): {link(MODELS, *WHO)}
# By the lower bound of every objective that is configured; one that the engine does not report is not met. A server
# on one GPU has none to release.
(
  max by ({SERVER}) ({SPEND}{{{NAMED}}}) > 0
  and on ({SERVER}) (last_over_time({SPEND}[1h] offset 23h))
)
and {ON_SERVER} (min {BY_SERVER} ({COUNT}:24h) >= {FEWEST})
and {ON_SERVER} (max {BY_SERVER} (max_over_time({LOAD}[1d])) < 0.5)
and {ON_SERVER} (max {BY_SERVER} ({GPUS}) > 1.5)
and {ON_SERVER} {TARGET}
unless {ON_SERVER} ({TARGET_OF} unless on ({OBJECTIVE}) ({WITH_ROOM}))
summary: {SELF} meets its service level with room to spare, for {{{{ $value | printf "%.2f" }}}} dollars an hour.
description: At least nine of ten misses that the target allows did not happen in 24 hours. Its load stayed below half all day. Run it on fewer or cheaper GPUs, and watch the share.
servers: {OF_PRODUCT}
waiting: Eight hours cost {SERVER_NIGHT}.
alert InferenceServerServesNothing ticket after 1h by (cluster, namespace, server): {link(WASTE, *WHO)}
(
  max by ({SERVER}) ({SPEND}{{{NAMED}}}) > 0
  and on ({SERVER}) (last_over_time({SPEND}[1h] offset 23h))
)
unless {ON_SERVER} (sum {BY_SERVER} (sum_over_time(inference:server_tokens:rate5m[1d])) > 0)
unless {ON_SERVER} (sum {BY_SERVER} (sum_over_time(inference:busy_dollars_per_hour[1d])) > 0)
summary: {SELF} holds GPUs for {{{{ $value | printf "%.2f" }}}} dollars an hour and has served nothing for a day.
description: Its GPUs computed nothing for 24 hours, and no token moved. Stop the server, or let it scale to zero. If it waits for its first use, silence the alert until then.
servers: {OF_PRODUCT}
waiting: Eight hours cost {SERVER_NIGHT}.
alert InferenceTokensMissing ticket after 1h by (cluster, namespace, server): {link(METER, "cluster")}
(
  sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase="other",{NAMED}}})
  / (sum by ({SERVER}) (inference:phase_cost_dollars:rate5m) > 0)
  > 0.1
)
unless {ON_SERVER} (sum {BY_SERVER} (sum_over_time(inference:server_tokens:rate5m[1h])) > 0)
summary: {SELF} computes and counts no token: {{{{ $value | {SHARE} }}}} of its cost has no price per token.
description: Its metrics cannot be read, or it exports none. The metric inference_server_unread_info has the reason. docs/unread.md says what to do about each: a flag, a port, a path, a token or a certificate.
servers: {OF_PRODUCT}
waiting: Eight hours of it cost {SERVER_NIGHT}, and their tokens are never counted.
alert InferenceSpendUnassigned ticket after 6h by (): {MONEY}
sum(max by ({SERVER}) ({NO_PRODUCT})) / {FLEET_SPEND} > 0.1
summary: {{{{ $value | humanizePercentage }}}} of the spend has no product.
description: No ownership rule and no pod label names a product for these servers. Add a rule; it counts from then on, and posted cost never moves. Unallocated GPUs are not in this figure.
servers: {servers(NO_PRODUCT)}
waiting: Eight hours post {number(f"8 * sum(max by ({SERVER}) ({NO_PRODUCT}))", DOLLARS)} to no product, for good.
alert InferenceMonthEstimated ticket after 6h by (): {METER}
# A list price scaled to its region is an estimate and within a few percent; it counts in the month's estimated part
# and does not by itself alert.
sum(inference:month_to_date_dollars:price_basis{{price_basis="estimate"}} and on (month) inference:fleet_month_hours_left)
  / sum(inference:month_to_date_dollars:price_basis and on (month) inference:fleet_month_hours_left)
  > 0.2
and on ()
  sum(max by (cluster) (inference:estimated_dollars_per_hour)) / {FLEET_SPEND} > 0.2
summary: {{{{ $value | humanizePercentage }}}} of the month is at estimated prices.
description: Where no price is configured, the catalogue's price of another cloud or region applies. The metric inference_price_info names the GPUs, and doctor prints the line that replaces each. A new price does not change posted cost: adjust does.
servers: {servers()}
waiting: Every hour is posted at the estimate, and stays posted.
alert InferenceGpuUnpriced ticket after 15m by (cluster, gpu_model): {link(METER, "cluster")}
max by (cluster, gpu_model) (inference:gpus_unpriced:model)
summary: {VALUE} GPUs of model {{{{ $labels.gpu_model }}}} have no price: no figure has their cost.
description: Neither a hardware rule nor the catalogue prices them. Add a rule to the exporter's configuration and reload it. Unpriced GPU time waits in the ledger, and the first price that covers it charges it.
servers: {servers(f"{SPEND}{{cluster=%q}}")}
waiting: No money is lost, but no budget has theirs until then.
"""

ALERTS: Final = RUNAWAY + PROJECTION + OVER_RATE + EXHAUSTED + DIFFERS + IDLE + SERVERS
