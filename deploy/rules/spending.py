"""Alerts on money: what is spent against the configured budgets, and what it is spent on."""

from collections.abc import Callable
from typing import Final

from budgets import TICKET_SHARE
from levels import COUNT, GPUS, LOAD, RATIO, TARGET
from statement import Alert
from wording import (
    DAY,
    DOLLARS,
    HOURLY,
    METER,
    MODELS,
    MONEY,
    NAMES_SHOWN,
    OWNER,
    PAGE,
    SHARE,
    SPEND,
    TICKET,
    TIME,
    WASTE,
    alert,
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
DEFAULT: Final = "on () (inference:budget_configured == 0)"
"""The default budget is the exporter's own number, so it never pages."""

KEY: Final = "on (budget, product)"
BUDGET: Final = "inference:budget_dollars"
COST: Final = "inference:budget_cost_dollars_per_hour"
RUN_RATE: Final = "inference:budget_monthly_run_rate_dollars"
IDLE_SPEND: Final = "inference:budget_idle_dollars_per_hour"
MONTH: Final = "inference:budget_month_to_date_dollars"
PROJECTED: Final = "inference:budget_month_projected_dollars"
MATCH_BUDGET: Final = "{budget=%q,product=%q}"
OF_PRODUCTS: Final = '{product!=""}'
WHOSE: Final = ("budget", "budget_product")
"""What its places take. Clusters may give one name to budgets of several products."""

TEAM: Final = (
    "{{ with printf `topk(1, sum by (team) (inference:month_to_date_dollars:owner{product=%q}))` $labels.product"
    ' | query }}{{ . | first | label "team" }}{{ else }}platform{{ end }}'
)
"""The team that spent most of that product's month; a budget of the fleet is the platform's."""

PAYS: Final = {"product": OWNER["product"], "team": TEAM}
PRODUCT: Final = 'and $labels.product (ne $labels.product "fleet")'
"""Whether a budget is one product's. vmalert hands annotations the labels that the alert sets, Prometheus the query's."""
CHOSEN: Final = f"{{{{ if {PRODUCT} }}}}?var-product={{{{ $labels.product | urlquery }}}}{{{{ end }}}}"
BOARD: Final = MONEY + CHOSEN
WASTE_BOARD: Final = WASTE + CHOSEN


def of_budget(record: str) -> str:
    """The three servers under a budget that are first by a record."""
    return (
        f"{{{{ if {PRODUCT} }}}}"
        + servers(f"{record}{{product=%q}}", "product")
        + "{{ else }}"
        + servers(record)
        + "{{ end }}"
    )


TOP: Final = of_budget(SPEND)
OF: Final = "{{ $labels.budget }}"
SAYS_DEFAULT: Final = (
    "{{ if query `inference:budget_configured == 0` }} This is the default budget, which never pages:"
    " set budgets in the exporter's configuration.{{ end }}"
)
RAISE: Final = " If the spend is intended, raise the budget in the exporter's configuration."
RUNS_OUT: Final = (
    "{{ with "
    + query(f"inference:budget_runs_out_timestamp_seconds{MATCH_BUDGET}", *WHOSE)
    + " }} It runs out on {{ . | first | value | "
    + DAY
    + " }}.{{ end }}"
)
METERED_SINCE: Final = (
    "{{ with query `min(inference:month_metered_since_timestamp_seconds and on (month) inference:fleet_month_hours_left)` }}"
    " The month is metered since {{ . | first | value | " + TIME + " }}.{{ end }}"
)


def old(record: str) -> str:
    """What a budget had a day ago: the mean of one that was configured this morning has no night."""
    return f"last_over_time({record}[6h] offset 23h)"


LAST_DAY: Final = (
    f"sum({MONTH}{MATCH_BUDGET})"
    f" + sum(avg_over_time({COST}{MATCH_BUDGET}[1d]) and {old(COST + MATCH_BUDGET)})"
    " * max(inference:fleet_month_hours_left)"
)
"""The month's end at the mean rate of the last 24 hours."""


def night(cost: str) -> str:
    """What eight hours cost, in dollars and as a part of the budget."""
    return (
        f"Eight hours of waiting cost {number(cost, DOLLARS, *WHOSE)},"
        f" {number(f'{cost} / {KEY} {BUDGET}', SHARE, *WHOSE, unknown='an unknown part')} of a month's budget."
    )


def cause(cost: Callable[[str], str]) -> str:
    """A product's budget has its product. A page of the fleet has the product without which the rest would be far from one."""
    product = f"topk(1, {cost(OF_PRODUCTS)})"
    rest = f"{cost(MATCH_BUDGET)} - {KEY} {NIGHT / 2} * {BUDGET}{MATCH_BUDGET}"
    largest = query(f"{product} > on () group_left () ({rest})", *WHOSE)
    return (
        f"{{{{ if {PRODUCT} }}}}{{{{ $labels.product }}}}{{{{ else }}}}{{{{ with {largest} }}}}"
        '{{ . | first | label "product" }}{{ else }}fleet{{ end }}{{ end }}'
    )


def tiers(name: str, expr: str, cost: Callable[[str], str], **texts: str) -> tuple[Alert, ...]:
    """A page where waiting eight hours costs much of a configured budget, a ticket where it does not.

    A spend that fell back under the budget's rate pages no more, whatever its mean of a day is.
    """
    now = f"and {KEY} (inference:budget_run_rate_ratio > 1)"
    dear = f"{KEY} ({cost('')} / {KEY} ({BUDGET} > 0) >= {NIGHT} unless {DEFAULT} {now})"
    return tuple(
        alert(
            name,
            f"({expr})\n{word} {dear}",
            severity=severity,
            by=("budget", "product"),
            wait=texts["wait"],
            keep=texts.get("keep", ""),
            why=texts.get("why", "") if severity == PAGE else "",
            labels=PAYS | ({"cause": cause(cost)} if severity == PAGE else {}),
            dashboard=BOARD,
            summary=texts["summary"],
            description=texts["description"] + SAYS_DEFAULT,
            top=TOP,
            waiting=night(cost(MATCH_BUDGET)),
        )
        for severity, word in ((PAGE, "and"), (TICKET, "unless"))
    )


def excess(match: str) -> str:
    """What eight hours cost beyond the usual spend."""
    return f"8 * inference:budget_excess_dollars_per_hour{match}"


def all_spend(match: str) -> str:
    """What eight hours cost."""
    return f"8 * {COST}{match}"


def over_pace(match: str) -> str:
    """The part of eight hours, at the day's mean, that a whole month at the budget would not have."""
    return (
        f"8 * avg_over_time({COST}{match}[1d])"
        f" * {KEY} (1 - {BUDGET}{match} / {KEY} (avg_over_time({RUN_RATE}{match}[1d]) > 0))"
    )


RUNAWAY: Final = tiers(
    "InferenceSpendRunaway",
    f"{excess('')} > {KEY} {TICKET_SHARE} * {BUDGET} {FIRST_DAY}",
    excess,
    wait="15m",
    keep="15m",
    why="The spend is above its usual level and above the same hour of the week before, by so much that eight hours of the\n"
    "excess cost a hundredth of a month's budget. Needs 24 hours of data.",
    summary=f'Spend of {OF} rose: until morning it costs {{{{ $value | printf "%.0f" }}}} dollars more than usual.',
    description=f"The spend is {number(f'{COST}{MATCH_BUDGET}', HOURLY, *WHOSE)}. Usual is"
    f" {number(f'inference:budget_usual_dollars_per_hour{MATCH_BUDGET}', HOURLY, *WHOSE)}."
    f" Find the servers that grew on the dashboard, and stop or scale them down."
    f" A host that was never metered before counts as a rise.{RAISE}",
)

EXHAUSTED: Final = tiers(
    "InferenceBudgetExhausted",
    f"{MONTH} >= {KEY} group_left () {BUDGET}",
    all_spend,
    wait="5m",
    summary=f'The budget {OF} for {{{{ $labels.month }}}} is spent: {{{{ $value | printf "%.0f" }}}} dollars.',
    description="All further spend of the month is over the budget. Inform the budget's owner, and stop what can wait until"
    f" next month.{RAISE}",
)

OVER_RATE: Final = tiers(
    "InferenceRunRateOverBudget",
    f"avg_over_time({RUN_RATE}[1d]) > {KEY} {BUDGET}\n"
    f" and {KEY} (avg_over_time({RUN_RATE}[7d]) > {KEY} {BUDGET})\n"
    f" and {KEY} {old(RUN_RATE)}\n"
    f" {FIRST_DAY}",
    over_pace,
    wait="1h",
    keep="15m",
    why="By the means of a day and of a week, so that neither nights nor weekends make a false alert: a fleet whose month\n"
    "ends below its budget has a mean below it. Needs 24 hours of data.",
    summary=f"Run-rate of {OF} is {number(f'{RUN_RATE}{MATCH_BUDGET}', DOLLARS, *WHOSE)} a month now,"
    f' {{{{ $value | printf "%.0f" }}}} dollars at the mean of the last day. The budget is'
    f" {number(f'{BUDGET}{MATCH_BUDGET}', DOLLARS, *WHOSE)}.",
    description="A month at the mean rate of the last 24 hours exceeds the budget. Look for new servers and for idle GPUs on the"
    f" dashboard, and scale them down.{RAISE}",
)

PROJECTION: Final = alert(
    "InferenceSpendProjectedOverBudget",
    f"{PROJECTED} > {KEY} group_left () {BUDGET}\n{FIRST_DAY}\n"
    f"or\n{PROJECTED} and on (budget, product, month) ({PROJECTED}:low > {KEY} group_left () {BUDGET})",
    wait="1h",
    by=("budget", "product"),
    labels=PAYS,
    dashboard=BOARD,
    summary=f'Projected spend of {OF} for {{{{ $labels.month }}}} is {{{{ $value | printf "%.0f" }}}} dollars, over the budget of '
    + number(f"{BUDGET}{MATCH_BUDGET}", DOLLARS, *WHOSE)
    + "."
    + RUNS_OUT,
    description=f"Month to date is {number(f'{MONTH}{MATCH_BUDGET}', DOLLARS, *WHOSE)}. The month ends between"
    f" {number(f'{PROJECTED}:low{MATCH_BUDGET}', DOLLARS, *WHOSE)} and"
    f" {number(f'{PROJECTED}:high{MATCH_BUDGET}', DOLLARS, *WHOSE)}."
    f" The last day's rate gives {number(LAST_DAY, DOLLARS, *WHOSE)}.{METERED_SINCE}"
    " The projection assumes that the last weeks continue."
    f" Find the servers that grew on the dashboard, and scale down or stop what is idle.{RAISE}{SAYS_DEFAULT}",
    top=TOP,
    waiting=night(all_spend(MATCH_BUDGET)),
    why="A projection needs 24 hours of data, unless its low end is over the budget. It is a ticket: what must not wait\n"
    "until morning is a runaway.",
)

IDLE: Final = alert(
    "InferenceIdleSpend",
    f"24 * avg_over_time({IDLE_SPEND}[1d]) >= {KEY} 0.01 * {BUDGET}\n"
    f"and {KEY} {old(IDLE_SPEND)}\n{FIRST_DAY}",
    dashboard=WASTE_BOARD,
    wait="2h",
    by=("budget", "product"),
    labels=PAYS,
    summary=f'Idle GPUs of {OF} cost {{{{ $value | printf "%.0f" }}}} dollars a day.',
    description="These GPUs are paid for and compute nothing. Release unallocated GPUs first. Then move quiet servers together,"
    f" or let them scale down.{SAYS_DEFAULT}",
    top=of_budget("inference:waste_dollars_per_hour:server"),
    waiting=night(f"8 * {IDLE_SPEND}{MATCH_BUDGET}"),
)

DEVIATING: Final = f"""(
    max by (cluster, instance, node, budget, product) ({BUDGET}:deviating)
  or
    max by (cluster, budget, product) ({BUDGET}:cluster) unless on (cluster) (inference:budget_configured:cluster == 0)
)
!= {KEY} group_left () {BUDGET}"""
"""Hosts, and whole clusters, whose amount is not the one in force."""

DIFFERS: Final = alert(
    "InferenceBudgetsDiffer",
    f"count by (budget, product) ({DEVIATING})",
    wait="1h",
    by=("budget", "product"),
    labels=PAYS,
    dashboard=BOARD,
    summary=f"The budget {OF} is {number(f'{BUDGET}{MATCH_BUDGET}', DOLLARS, *WHOSE)}, and differs on {{{{ $value }}}} hosts or clusters: "
    + listed(
        f"sort_desc(topk({NAMES_SHOWN}, ({DEVIATING}) and {KEY} {BUDGET}{MATCH_BUDGET}))",
        '{{ or .Labels.node .Labels.instance "All hosts" }}{{ with .Labels.cluster }} of cluster {{ . }}{{ end }}'
        ' at {{ .Value | printf "%.0f" }} dollars. ',
        *WHOSE,
    ),
    description="The amount of most hosts is in force, and all alerts and dashboards compare with it. Reload the configuration of"
    " the hosts that are named, or correct their budgets.",
    top=TOP,
    waiting="No money is lost. If the other amount is the right one, alerts come too early or too late.",
    why="An hour: a change that is rolled out reaches one host after the other.",
)

WHO: Final = ("cluster", "namespace", "server")
BY_SERVER: Final = f"by ({', '.join(WHO)})"
ON_SERVER: Final = f"on ({', '.join(WHO)})"
SERVER: Final = "cluster, product, team, namespace, server"
SELF: Final = (
    "{{ with $labels.namespace }}{{ . }}/{{ end }}{{ $labels.server }}"
    "{{ with $labels.product }} of product {{ . }}{{ end }}{{ with $labels.cluster }} in cluster {{ . }}{{ end }}"
)
MATCH: Final = "{cluster=%q,namespace=%q,server=%q}"
MATCH_OBJECTIVE: Final = "{cluster=%q,namespace=%q,server=%q,objective=%q}"
OF_PRODUCT: Final = servers(f"{SPEND}{{product=%q}}", "product")
SERVER_NIGHT: Final = number(f"8 * sum(max by ({SERVER}) ({SPEND}{MATCH}))", DOLLARS, *WHO)
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

SERVERS: Final = (
    alert(
        "InferenceTokensDearer",
        f"""
max by ({SERVER}) (inference:server_cost_dollars_per_million_tokens:24h)
  / (max by ({SERVER}) (last_over_time(inference:server_cost_dollars_per_million_tokens:7d[2h] offset 1d)) > 0)
> 1.5
and on ({SERVER}) last_over_time(inference:server_cost_dollars_per_million_tokens:7d[2h] offset 7d)
""",
        dashboard=link(MODELS, *WHO),
        wait="2h",
        by=WHO,
        labels=OWNER,
        summary=f'A million tokens of {SELF} cost {{{{ $value | printf "%.1f" }}}} times what they cost in the week before.',
        description="The server has less traffic on as many GPUs, a higher price of them, or slower serving. The week's ratios on"
        " the dashboard show which. Scale the server to its traffic, or undo what made it slower.",
        top=OF_PRODUCT,
        waiting=f"Eight hours of the server cost {SERVER_NIGHT}, a third or more of it above the week before.",
        why="Not while the price of a week is one of some hours: a load test is cheap, and so is a renamed product by day.",
    ),
    alert(
        "InferenceServiceLevelMissed",
        f"""
(
  max by ({SERVER}, objective) ({RATIO}:1h{{bound="upper"}})
  < on ({OBJECTIVE}) group_left ()
  {TARGET_OF}
)
and on ({OBJECTIVE}) (max by ({OBJECTIVE}) ({COUNT}:1h) >= {FEWEST})
and {ON_SERVER} (max {BY_SERVER} ({SPEND}) > 0)
""",
        dashboard=link(MODELS, *WHO),
        wait="30m",
        by=(*WHO, "objective"),
        labels=OWNER,
        summary=f"{SELF} misses its objective {{{{ $labels.objective }}}}: at most {{{{ $value | {SHARE} }}}} of the last hour met it.",
        description=f"The target is {number(f'max({TARGET}{MATCH_OBJECTIVE})', SHARE, *WHO, 'objective')}. Even if all latencies"
        " between two buckets met it, too few did. If requests wait, add replicas. Else undo what made it slower, or correct the"
        " objective.",
        top=OF_PRODUCT,
        waiting=f"Eight hours of it cost {SERVER_NIGHT}, for answers that come too late.",
        why="By the upper bound of the share, so that no width of the engine's buckets makes an alert.",
    ),
    alert(
        "InferenceServiceLevelOversized",
        f"""
(
  max by ({SERVER}) ({SPEND}{{{NAMED}}}) > 0
  and on ({SERVER}) (last_over_time({SPEND}[1h] offset 23h))
)
and {ON_SERVER} (min {BY_SERVER} ({COUNT}:24h) >= {FEWEST})
and {ON_SERVER} (max {BY_SERVER} (max_over_time({LOAD}[1d])) < 0.5)
and {ON_SERVER} (max {BY_SERVER} ({GPUS}) > 1.5)
and {ON_SERVER} {TARGET}
unless {ON_SERVER} ({TARGET_OF} unless on ({OBJECTIVE}) ({WITH_ROOM}))
""",
        dashboard=link(MODELS, *WHO),
        wait="2h",
        by=WHO,
        labels=OWNER,
        summary=f'{SELF} meets its service level with room to spare, for {{{{ $value | printf "%.2f" }}}} dollars an hour.',
        description="At least nine of ten misses that the target allows did not happen in 24 hours. Its load stayed below half all"
        " day. Run it on fewer or cheaper GPUs, and watch the share.",
        top=OF_PRODUCT,
        waiting=f"Eight hours cost {SERVER_NIGHT}.",
        why="By the lower bound of every objective that is configured; one that the engine does not report is not met. A server\n"
        "on one GPU has none to release.",
    ),
    alert(
        "InferenceServerServesNothing",
        f"""
(
  max by ({SERVER}) ({SPEND}{{{NAMED}}}) > 0
  and on ({SERVER}) (last_over_time({SPEND}[1h] offset 23h))
)
unless {ON_SERVER} (sum {BY_SERVER} (sum_over_time(inference:server_tokens:rate5m[1d])) > 0)
unless {ON_SERVER} (sum {BY_SERVER} (sum_over_time(inference:busy_dollars_per_hour[1d])) > 0)
""",
        dashboard=link(WASTE, *WHO),
        wait="1h",
        by=WHO,
        labels=OWNER,
        summary=f'{SELF} holds GPUs for {{{{ $value | printf "%.2f" }}}} dollars an hour and has served nothing for a day.',
        description="Its GPUs computed nothing for 24 hours, and no token moved. Stop the server, or let it scale to zero. If it"
        " waits for its first use, silence the alert until then.",
        top=OF_PRODUCT,
        waiting=f"Eight hours cost {SERVER_NIGHT}.",
    ),
    alert(
        "InferenceTokensMissing",
        f"""
(
  sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase="other",{NAMED}}})
  / (sum by ({SERVER}) (inference:phase_cost_dollars:rate5m) > 0)
  > 0.1
)
unless {ON_SERVER} (sum {BY_SERVER} (sum_over_time(inference:server_tokens:rate5m[1h])) > 0)
""",
        dashboard=link(METER, "cluster"),
        wait="1h",
        by=WHO,
        labels=OWNER,
        summary=f"{SELF} computes and counts no token: {{{{ $value | {SHARE} }}}} of its cost has no price per token.",
        description="Its metrics cannot be read, or it exports none. The metric inference_server_unread_info has the reason."
        " docs/unread.md says what to do about each: a flag, a port, a path, a token or a certificate.",
        top=OF_PRODUCT,
        waiting=f"Eight hours of it cost {SERVER_NIGHT}, and their tokens are never counted.",
    ),
    alert(
        "InferenceSpendUnassigned",
        f"sum(max by ({SERVER}) ({NO_PRODUCT})) / {FLEET_SPEND} > 0.1",
        wait="6h",
        by=(),
        summary="{{ $value | humanizePercentage }} of the spend has no product.",
        description="No ownership rule and no pod label names a product for these servers. Add a rule; it counts from then on,"
        " and posted cost never moves. Unallocated GPUs are not in this figure.",
        top=servers(NO_PRODUCT),
        waiting=f"Eight hours post {number(f'8 * sum(max by ({SERVER}) ({NO_PRODUCT}))', DOLLARS)} to no product, for good.",
    ),
    alert(
        "InferenceMonthEstimated",
        f"""
sum(inference:month_to_date_dollars:price_basis{{price_basis="estimate"}} and on (month) inference:fleet_month_hours_left)
  / sum(inference:month_to_date_dollars:price_basis and on (month) inference:fleet_month_hours_left)
  > 0.2
and on ()
  sum(max by (cluster) (inference:estimated_dollars_per_hour)) / {FLEET_SPEND} > 0.2
""",
        dashboard=METER,
        wait="6h",
        by=(),
        summary="{{ $value | humanizePercentage }} of the month is at estimated prices.",
        description="Where no price is configured, the catalogue's price of another cloud or region applies. The metric"
        " inference_price_info names the GPUs, and doctor prints the line that replaces each. A new price does not change posted"
        " cost: adjust does.",
        top=servers(),
        waiting="Every hour is posted at the estimate, and stays posted.",
        why="A list price scaled to its region is an estimate and within a few percent; it counts in the month's estimated part\n"
        "and does not by itself alert.",
    ),
    alert(
        "InferenceGpuUnpriced",
        "max by (cluster, gpu_model) (inference:gpus_unpriced:model)",
        dashboard=link(METER, "cluster"),
        wait="15m",
        by=("cluster", "gpu_model"),
        summary="{{ $value }} GPUs of model {{ $labels.gpu_model }} have no price: no figure has their cost.",
        description="Neither a hardware rule nor the catalogue prices them. Add a rule to the exporter's configuration and reload"
        " it. Unpriced GPU time waits in the ledger, and the first price that covers it charges it.",
        top=servers(f"{SPEND}{{cluster=%q}}", "cluster"),
        waiting="No money is lost, but no budget has theirs until then.",
    ),
)

ALERTS: Final = (*RUNAWAY, PROJECTION, *OVER_RATE, *EXHAUSTED, DIFFERS, IDLE, *SERVERS)
