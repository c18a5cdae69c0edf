"""Savings: what the hosts' reviews of their ledgers found, by server, owner and budget, and its ticket."""

from typing import Final

from budgets import BUDGET, governed
from hosts import SERVER
from spending import MATCH_BUDGET, OF, SAYS_DEFAULT, WASTE_BOARD, by_product
from wording import DOLLARS, IN_DOLLARS, most, number

KIND_AND_FORM: Final = "kind, form"
BY_SERVER: Final = "inference:saving_dollars_per_month:server"
BY_BUDGET: Final = "inference:budget_saving_dollars_per_month"
EACH: Final = f"max by ({SERVER}, {KIND_AND_FORM})"

WEEK: Final = "7d"
TICKET_SHARE: Final = 0.05
"""The part of a month's budget from which savings are worth a ticket."""


def ever(match: str = "") -> str:
    """Findings of now and of those that a restart hides."""
    return f"{EACH} (max_over_time({BY_SERVER}{match}[2h]))"


SAVINGS: Final = f"""\
rules inference-savings every 4m: Savings
record inference:saving_dollars_per_month:owner (cluster, product, team, kind, form): The same by owner.
sum by (cluster, product, team, {KIND_AND_FORM}) ({EACH} ({BY_SERVER}))
record {BY_BUDGET} (budget, product): What could be saved in a month under each budget.
# 0 for a week after its last finding is gone, so that a ticket needs a whole week of findings again.
{governed(ever(), ever())}or
  0 * (max_over_time({BY_BUDGET}[{WEEK}]) > 0) and on (budget, product) {BUDGET}
"""

ROW: Final = '{{ with .Labels.namespace }}{{ . }}/{{ end }}{{ .Labels.server }} ({{ .Labels.kind }}): {{ .Value | printf "%.0f" }} dollars a month. '
CASH: Final = "sum(" + ever('{form="cash"}') + ")"

ALERTS: Final = f"""\
alert InferenceSavingsAvailable ticket after 1h by (budget, product): {WASTE_BOARD}
# The smallest amount of a week, so that it speaks once a week at most: a day without the findings begins anew.
(
  min_over_time({BY_BUDGET}[{WEEK}])
  >= on (budget, product) {TICKET_SHARE} * {BUDGET}
)
and on (budget, product) last_over_time({BY_BUDGET}[1d] offset {WEEK})
summary: For a week {IN_DOLLARS} a month could be saved under the budget {OF}.
description: Of today's findings, {number(CASH, DOLLARS, unknown="nothing")} a month of the fleet is cash; the rest is capacity for other work. The dashboard ranks them, and `advise` has the assumption and the limit of each. What is intended goes into advise.ignore of the exporter's configuration, with a reason.{SAYS_DEFAULT}
servers: {by_product(lambda match: most(ever(match), "namespace, server, kind", ROW))}
waiting: Eight hours of waiting cost {number(f"8 * {BY_BUDGET}{MATCH_BUDGET} / on () group_left () inference:fleet_hours_per_month", DOLLARS)}.
"""
