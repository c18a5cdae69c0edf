"""The text that every alert carries: when it began, what costs most, what waiting costs, and its links."""

import re
from typing import Final

MONEY: Final = "/d/inference-cost"
METER, GPUS, MODELS, WASTE = (f"{MONEY}-{name}" for name in ("meter", "gpus", "models", "waste"))
"""The dashboards, by their uids."""

SPEND: Final = "inference:cost_dollars_per_hour:server"
HOST_SPEND: Final = "inference:cost_dollars_per_hour:host"
NAMES_SHOWN: Final = 10
"""Hosts, nodes and clusters that one notification names; the record has the rest."""

DOLLARS: Final = 'printf "%.0f dollars"'
HOURLY: Final = 'printf "%.2f dollars an hour"'
SHARE: Final = "humanizePercentage"
TIME: Final = "humanizeTimestamp"
VALUE: Final = "{{ $value }}"
IN_DOLLARS: Final = '{{ $value | printf "%.0f" }} dollars'

PRODUCT: Final = '{{ or $labels.product "fleet" }}'
TEAM: Final = (
    "{{ with printf `topk(1, sum by (team) (inference:month_to_date_dollars:owner{product=%q}))` $labels.product"
    ' | query }}{{ . | first | label "team" }}{{ else }}platform{{ end }}'
)
"""The team that spent most of that product's month; a budget of the fleet is the platform's."""

ALERT_PRODUCT: Final = '(or $labels.product "fleet")'
BUDGET_PRODUCT: Final = '(or (and (ne $labels.product "fleet") $labels.product) "")'
"""The product of an alert, and of its budget: vmalert hands annotations the alert's label, Prometheus the query's."""


def link(board: str, *labels: str) -> str:
    """A dashboard that shows what the labels say, which are the names of its variables."""
    return f"{board}?" + "&".join(f"var-{label}={{{{ $labels.{label} | urlquery }}}}" for label in labels)


def query(expression: str, product: str = "$labels.product") -> str:
    """A query as a template: in the place of each `label=%q` the value of that label, quoted."""
    if "{budget=%q," in expression:
        product = BUDGET_PRODUCT
    labels = re.findall(r"(\w+)=%q", expression)
    values = " ".join(product if label == "product" else f"$labels.{label}" for label in labels)
    return f"printf `{expression}` {values} | query" if values else f"query `{expression}`"


def number(expression: str, form: str, unknown: str = "an unknown amount", **values: str) -> str:
    """One number of a query within a sentence, and the words for it where there is none."""
    value = f"{{{{ . | first | value | {form} }}}}"
    return f"{{{{ with {query(expression, **values)} }}}}{value}{{{{ else }}}}{unknown}{{{{ end }}}}"


def since(name: str, severity: str, labels: tuple[str, ...]) -> str:
    """When the condition began, from the series that Prometheus keeps of each alert."""
    matchers = ",".join(
        (f'alertname="{name}"', f'severity="{severity}"', *(f"{label}=%q" for label in labels))
    )
    state = f"last_over_time(ALERTS_FOR_STATE{{{matchers}}}[1h])"
    return number(state, TIME, unknown="now", product=ALERT_PRODUCT)


def listed(expression: str, row: str, order: str = "") -> str:
    """A row for each series, a template of its labels and value, by one label's order."""
    ordered = f' | sortByLabel "{order}"' if order else ""
    return f"{{{{ range {query(expression)}{ordered} }}}}{row}{{{{ end }}}}"


def most(expression: str, by: str, row: str) -> str:
    """A row for each of the three greatest sums."""
    return listed(f"sort_desc(topk(3, sum by ({by}) ({expression})))", f"{row}{{{{ else }}}}None is known.")


def servers(selector: str = SPEND) -> str:
    """The three servers that cost most now."""
    spend = f"max by (cluster, product, team, namespace, server) ({selector})"
    name = "{{ with .Labels.namespace }}{{ . }}/{{ end }}{{ .Labels.server }}"
    whose = "{{ with .Labels.product }} of product {{ . }}{{ end }}{{ with .Labels.cluster }} in cluster {{ . }}{{ end }}"
    cost = ' at {{ .Value | printf "%.2f" }} dollars an hour. '
    return most(spend, "cluster, product, namespace, server", f"{name}{whose}{cost}")


def owners(expression: str) -> str:
    """The three owners that cost most; `expression` has product and team."""
    row = '{{ .Labels.product }} ({{ .Labels.team }}) at {{ .Value | printf "%.2f" }} dollars an hour. '
    return most(expression, "product, team", row)


def owner_labels(by: tuple[str, ...]) -> dict[str, str]:
    """Whose an alert is: a budget's product, a server's owner, else the platform's, which runs the meter."""
    if "budget" in by:
        return {"product": PRODUCT, "team": TEAM}
    if "server" in by:
        return {"product": PRODUCT, "team": '{{ or $labels.team "platform" }}'}
    return {"product": "fleet", "team": "platform"}
