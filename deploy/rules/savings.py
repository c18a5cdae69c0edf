"""Savings: what the hosts' reviews of their ledgers found, by server, owner and budget, and its ticket."""

from typing import Final

from budgets import BUDGET, governed
from budgets import KEYS as BUDGET_KEYS
from hosts import OWNER_LABELS, SERVER
from spending import MATCH_BUDGET, OF, PAYS, PRODUCT, SAYS_DEFAULT, WASTE_BOARD, WHOSE
from statement import Alert, Group, Record
from wording import DOLLARS, alert, number, query

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


SAVINGS: Final = Group(
    "inference-savings",
    "4m",
    (
        Record(
            "inference:saving_dollars_per_month:owner",
            f"sum by (cluster, product, team, {KIND_AND_FORM}) ({EACH} ({BY_SERVER}))",
            "",
            "The same by owner.",
            (*OWNER_LABELS, *FOUND),
        ),
        Record(
            BY_BUDGET,
            f"{governed(ever(), ever())}"
            f"or\n  0 * (max_over_time({BY_BUDGET}[{WEEK}]) > 0) and on (budget, product) {BUDGET}\n",
            "0 for a week after its last finding is gone, so that a ticket needs a whole week of findings again.",
            "What could be saved in a month under each budget.",
            BUDGET_KEYS,
        ),
    ),
)

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


ALERTS: Final[tuple[Alert, ...]] = (
    alert(
        "InferenceSavingsAvailable",
        f"""
(
  min_over_time({BY_BUDGET}[{WEEK}])
  >= on (budget, product) {TICKET_SHARE} * {BUDGET}
)
and on (budget, product) last_over_time({BY_BUDGET}[1d] offset {WEEK})
""",
        dashboard=WASTE_BOARD,
        wait="1h",
        by=("budget", "product"),
        labels=PAYS,
        summary=f'For a week {{{{ $value | printf "%.0f" }}}} dollars a month could be saved under the budget {OF}.',
        description="Of today's findings,"
        f" {number(CASH, DOLLARS, unknown='nothing')} a month of the fleet is cash; the rest is capacity for other work. The dashboard ranks them, and `advise` has the assumption and"
        " the limit of each. What is intended goes into advise.ignore of the exporter's configuration, with a reason."
        f"{SAYS_DEFAULT}",
        top=f"{{{{ if {PRODUCT} }}}}{largest('{product=%q}', 'product')}{{{{ else }}}}{largest('')}{{{{ end }}}}",
        waiting="Eight hours of waiting cost "
        + number(
            f"8 * {BY_BUDGET}{MATCH_BUDGET} / on () group_left () inference:fleet_hours_per_month",
            DOLLARS,
            *WHOSE,
        )
        + ".",
        why="The smallest amount of a week, so that it speaks once a week at most: a day without the findings begins anew.",
    ),
)
