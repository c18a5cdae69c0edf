"""Savings: what the hosts' reviews of their ledgers found, by server, owner and budget, and its ticket."""

from typing import Final

from budgets import BUDGET, governed
from hosts import SERVER
from spending import IF_PRODUCT, MATCH_BUDGET, OF, SAYS_DEFAULT, WASTE_BOARD, WHOSE
from wording import DOLLARS, number, query

FOUND: Final = ("kind", "form")
KIND_AND_FORM: Final = ", ".join(FOUND)
BY_SERVER: Final = "inference:saving_dollars_per_month:server"
BY_BUDGET: Final = "inference:budget_saving_dollars_per_month"
EACH: Final = f"max by ({SERVER}, {KIND_AND_FORM})"
FORM_CASH: Final = '{form="cash"}'
GAP: Final = "2h"
"""How long a restart of exporters may hide their findings without a new week."""

WEEK: Final = "7d"
TICKET_SHARE: Final = 0.05
"""The part of a month's budget from which savings are worth a ticket."""


def ever(match: str = "") -> str:
    """Findings of now and of those that a restart hides."""
    return f"{EACH} (max_over_time({BY_SERVER}{match}[{GAP}]))"


SAVINGS: Final = f"""\
rules inference-savings every 4m
record inference:saving_dollars_per_month:owner (cluster, product, team, kind, form): The same by owner.
sum by (cluster, product, team, {KIND_AND_FORM}) ({EACH} ({BY_SERVER}))
record {BY_BUDGET} (budget, product): What could be saved in a month under each budget.
# 0 for a week after its last finding is gone, so that a ticket needs a whole week of findings again.
{governed(ever(), ever())}or
  0 * (max_over_time({BY_BUDGET}[{WEEK}]) > 0) and on (budget, product) {BUDGET}
"""

CASH: Final = f"sum({ever(FORM_CASH)})"
LARGEST: Final = f"sort_desc(topk(3, sum by (namespace, server, kind) ({ever('%s')})))"
ROW: Final = (
    "{{ with .Labels.namespace }}{{ . }}/{{ end }}{{ .Labels.server }} ({{ .Labels.kind }}):"
    ' {{ .Value | printf "%.0f" }} dollars a month. '
)


def largest(match: str, *labels: str) -> str:
    """The three largest findings of a selector."""
    found = query(LARGEST.replace("%s", match), *labels)
    return "{{ range " + found + " }}" + ROW + "{{ else }}None is known.{{ end }}"


ALERTS: Final = f"""\
alert InferenceSavingsAvailable ticket after 1h by (budget, product): {WASTE_BOARD}
# The smallest amount of a week, so that it speaks once a week at most: a day without the findings begins anew.
(
  min_over_time({BY_BUDGET}[{WEEK}])
  >= on (budget, product) {TICKET_SHARE} * {BUDGET}
)
and on (budget, product) last_over_time({BY_BUDGET}[1d] offset {WEEK})
summary: For a week {{{{ $value | printf "%.0f" }}}} dollars a month could be saved under the budget {OF}.
description: Of today's findings, {number(CASH, DOLLARS, unknown="nothing")} a month of the fleet is cash; the rest is capacity for other work. The dashboard ranks them, and `advise` has the assumption and the limit of each. What is intended goes into advise.ignore of the exporter's configuration, with a reason.{SAYS_DEFAULT}
servers: {{{{ if {IF_PRODUCT} }}}}{largest("{product=%q}", "product")}{{{{ else }}}}{largest("")}{{{{ end }}}}
waiting: Eight hours of waiting cost {number(f"8 * {BY_BUDGET}{MATCH_BUDGET} / on () group_left () inference:fleet_hours_per_month", DOLLARS, *WHOSE)}.
"""
