"""Alerts on money: what is spent, against the budgets that the exporters tell."""

from typing import Final

from month import SERVER
from statement import Alert
from wording import DOLLARS, MODELS, OWNER, PAGE, SHARE, SPEND, TICKET, WASTE, alert, number, servers

BUDGET: Final = ("budget", "product")
NIGHT: Final = 0.05
"""The part of a month's budget that waiting eight hours must cost before somebody is woken."""

TEAM: Final = (
    "{{ with printf `topk(1, sum by (team) (inference:month_to_date_dollars:owner{product=%q}))` $labels.product"
    ' | query }}{{ . | first | label "team" }}{{ else }}platform{{ end }}'
)
"""The team that spent most of that product's month; a budget of the fleet is the platform's."""

PAYS: Final = {"product": OWNER["product"], "team": TEAM}
TOP: Final = (
    "{{ if $labels.product }}"
    + servers(f"{SPEND}{{product=%q}}", "product")
    + "{{ else }}"
    + servers()
    + "{{ end }}"
)
OF: Final = "{{ $labels.budget }}"


def night(expression: str) -> str:
    """What eight hours cost, in dollars and as a part of the budget."""
    ratio = f"{expression} / on (budget, product) inference:budget_dollars"
    return (
        f"Eight hours of waiting cost {number(expression, DOLLARS, 'budget')},"
        f" {number(ratio, SHARE, 'budget', unknown='an unknown part')} of a month's budget."
    )


def tiers(name: str, expr: str, cost: str, **said: str) -> tuple[Alert, ...]:
    """A page where waiting eight hours costs much of the budget, a ticket where it does not."""
    ratio = f"({cost} / on (budget, product) (inference:budget_dollars > 0))"
    dear = f"on (budget, product) {ratio} >= {NIGHT}"
    bounds = ((PAGE, f"and {dear}"), (TICKET, f"unless {dear}"))
    return tuple(
        alert(
            name,
            f"({expr})\n{bound}",
            severity=severity,
            by=("budget",),
            wait=said["wait"],
            keep=said.get("keep", ""),
            why=said.get("why", "") if severity == PAGE else "",
            labels=PAYS,
            summary=said["summary"],
            description=said["description"],
            top=TOP,
            waiting=night(f"{cost}{{budget=%q}}"),
        )
        for severity, bound in bounds
    )


NOW: Final = "8 * inference:budget_cost_dollars_per_hour"
EXCESS: Final = "8 * inference:budget_excess_dollars_per_hour"

RUNAWAY: Final = tiers(
    "InferenceSpendRunaway",
    f"{EXCESS} > on (budget, product) 0.01 * inference:budget_dollars",
    EXCESS,
    wait="15m",
    keep="15m",
    why="More is spent than usual, by so much that eight hours of it cost a hundredth of a month's budget.",
    summary=f'Spend of {OF} rose: until morning it costs {{{{ $value | printf "%.0f" }}}} dollars more than usual.',
    description="More is being spent than the mean of the last 7 days. Find what was started on the dashboard, stop it or"
    " scale it down; where it is meant, raise the budget in the exporter's configuration.",
)

EXHAUSTED: Final = tiers(
    "InferenceBudgetExhausted",
    "inference:budget_month_to_date_dollars >= on (budget, product) group_left () inference:budget_dollars",
    NOW,
    wait="5m",
    summary=f'The budget {OF} for {{{{ $labels.month }}}} is spent: {{{{ $value | printf "%.0f" }}}} dollars.',
    description="Everything spent from here on is over the budget. Tell whoever owns the budget, stop what can wait until"
    " next month, or raise the budget in the exporter's configuration.",
)

RUN_RATE: Final = tiers(
    "InferenceRunRateOverBudget",
    "inference:budget_monthly_run_rate_dollars > on (budget, product) inference:budget_dollars",
    "8 * inference:budget_over_dollars_per_hour",
    wait="1h",
    keep="15m",
    why="What waiting costs here is the part of the spend that a whole month at the budget would not have.",
    summary=f'Run-rate of {OF} is {{{{ $value | printf "%.0f" }}}} dollars a month, over the budget.',
    description="A whole month at what is being spent now would exceed the budget. Look for servers started lately and for"
    " idle GPUs, and scale them down if the peak is not meant to last.",
)

SLOW: Final = (
    alert(
        "InferenceSpendProjectedOverBudget",
        "inference:budget_month_projected_dollars > on (budget, product) group_left () inference:budget_dollars",
        wait="1h",
        by=("budget",),
        labels=PAYS,
        summary=f'Projected spend of {OF} for {{{{ $labels.month }}}} is {{{{ $value | printf "%.0f" }}}} dollars, over the budget of '
        + number("inference:budget_dollars{budget=%q}", DOLLARS, "budget")
        + ".",
        description="Month to date plus the hours left at the mean rate of the last 7 days exceeds the budget. Find the"
        " servers that grew on the dashboard, scale down or stop what is idle, or raise the budget in the exporter's"
        " configuration.",
        top=TOP,
        waiting=night("8 * inference:budget_cost_dollars_per_hour{budget=%q}"),
    ),
    alert(
        "InferenceIdleSpend",
        "24 * avg_over_time(inference:budget_idle_dollars_per_hour[1d]) >= on (budget, product) 0.01 * inference:budget_dollars",
        dashboard=WASTE,
        wait="2h",
        by=("budget",),
        labels=PAYS,
        summary=f'GPUs under {OF} idle at a rate of {{{{ $value | printf "%.0f" }}}} dollars a day.',
        description="They are paid for and compute nothing: at servers that wait, at servers that do not answer, or at no"
        " server. Release GPUs that nobody holds first, then move quiet servers together or let them scale down.",
        top="{{ if $labels.product }}"
        + servers("inference:waste_dollars_per_hour:server{product=%q}", "product")
        + "{{ else }}"
        + servers("inference:waste_dollars_per_hour:server")
        + "{{ end }}",
        waiting=night("8 * inference:budget_idle_dollars_per_hour{budget=%q}"),
    ),
)

WHO: Final = ("cluster", "namespace", "server")
SELF: Final = "{{ with $labels.namespace }}{{ . }}/{{ end }}{{ $labels.server }}"
MATCH: Final = "{cluster=%q,namespace=%q,server=%q}"

SERVERS: Final = (
    alert(
        "InferenceTokensDearer",
        """
inference:server_cost_dollars_per_million_tokens:24h
  / (last_over_time(inference:server_cost_dollars_per_million_tokens:7d[2h] offset 1d) > 0)
> 1.5
""",
        dashboard=MODELS,
        wait="2h",
        by=WHO,
        labels=OWNER,
        summary=f'A million tokens of {SELF} cost {{{{ $value | printf "%.1f" }}}} times what they cost in the week before.',
        description="Less traffic on as many GPUs, a dearer price of them, or slower serving; the records of the week's ratios"
        " tell which. Scale the server to its traffic, or undo what made it slower.",
        top=servers(f"{SPEND}{{product=%q}}", "product"),
        waiting="Eight hours of the server cost "
        + number(f"8 * {SPEND}{MATCH}", DOLLARS, *WHO)
        + ", of which the week before would have saved a third or more.",
    ),
    alert(
        "InferenceServerServesNothing",
        f"""
(
  {SPEND}
  and on ({", ".join(WHO)}) (sum by ({", ".join(WHO)}) (inference_server_gpus) > 0)
  and on ({", ".join(WHO)}) inference_server_info
  and on ({SERVER}) (last_over_time({SPEND}[1h] offset 23h))
)
unless on ({", ".join(WHO)}) (sum by ({", ".join(WHO)}) (sum_over_time(inference:server_tokens:rate5m[1d])) > 0)
unless on ({", ".join(WHO)}) (sum by ({", ".join(WHO)}) (sum_over_time(inference:busy_dollars_per_hour[1d])) > 0)
""",
        dashboard=WASTE,
        wait="1h",
        by=WHO,
        labels=OWNER,
        summary=f'{SELF} holds GPUs for {{{{ $value | printf "%.2f" }}}} dollars an hour and has served nothing for a day.',
        description="No token moved and its GPUs computed nothing for 24 h. Stop it, or let it scale to zero; where it only"
        " waits for its first use, silence the alert until then.",
        top=servers(f"{SPEND}{{product=%q}}", "product"),
        waiting=f"Eight hours cost {number(f'8 * {SPEND}{MATCH}', DOLLARS, *WHO)}.",
    ),
)

ALERTS: Final = (*RUNAWAY, SLOW[0], *RUN_RATE, *EXHAUSTED, SLOW[1], *SERVERS)
