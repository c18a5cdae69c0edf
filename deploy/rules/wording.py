"""The text that every alert carries: when it began, what costs most, what waiting costs, and its links."""

from typing import Final

MONEY: Final = "/d/inference-cost"
METER, GPUS, MODELS, WASTE = (f"{MONEY}-{name}" for name in ("meter", "gpus", "models", "waste"))
"""The dashboards, by their uids."""

PAGE, TICKET = "page", "ticket"
PRODUCT: Final = '{{ or $labels.product "fleet" }}'
TEAM: Final = (
    "{{ with printf `topk(1, sum by (team) (inference:month_to_date_dollars:owner{product=%q}))` $labels.product"
    ' | query }}{{ . | first | label "team" }}{{ else }}platform{{ end }}'
)
"""The team that spent most of that product's month; a budget of the fleet is the platform's."""

SPEND: Final = "inference:cost_dollars_per_hour:server"
HOST_SPEND: Final = "inference:cost_dollars_per_hour:host"
NAMES_SHOWN: Final = 10
"""Hosts, nodes and clusters that one notification names; the record has the rest."""


def link(board: str, *labels: str) -> str:
    """A dashboard that shows what the labels say; `labels` are the names of its variables."""
    variables = "&".join(f"var-{label}={{{{ $labels.{label} | urlquery }}}}" for label in labels)
    return f"{board}?{variables}" if variables else board


VALUES: Final = {
    "budget_product": '(or (and (ne $labels.product "fleet") $labels.product) "")',
    "alert_product": '(or $labels.product "fleet")',
}
"""The product of a budget, and of its alert: vmalert hands annotations the alert's label, Prometheus the query's."""


def query(expression: str, *labels: str) -> str:
    """A query as a template: the labels' values, quoted, in the places of its `%q`, as often as they come."""
    if not labels:
        return f"query `{expression}`"
    repeated = labels * (expression.count("%q") // len(labels))
    values = " ".join(VALUES.get(label, f"$labels.{label}") for label in repeated)
    return f"printf `{expression}` {values} | query"


def since(name: str, severity: str, labels: tuple[str, ...]) -> str:
    """When the condition began, from the series that Prometheus keeps of each alert."""
    matchers = "".join(f",{label}=%q" for label in labels)
    expression_result = query(
        f'last_over_time(ALERTS_FOR_STATE{{alertname="{name}",severity="{severity}"{matchers}}}[1h])',
        *("alert_product" if label == "product" else label for label in labels),
    )
    return (
        "{{ with "
        + expression_result
        + " }}{{ . | first | value | humanizeTimestamp }}{{ else }}now{{ end }}"
    )


def servers(selector: str = SPEND, *labels: str) -> str:
    """The three servers that cost most now; `selector` holds a `%q` for each of the labels."""
    spend = f"max by (cluster, product, team, namespace, server) ({selector})"
    expression_result = query(
        f"sort_desc(topk(3, sum by (cluster, product, namespace, server) ({spend})))", *labels
    )
    return (
        "{{ range "
        + expression_result
        + " }}{{ with .Labels.namespace }}{{ . }}/{{ end }}{{ .Labels.server }}"
        "{{ with .Labels.product }} of product {{ . }}{{ end }}{{ with .Labels.cluster }} in cluster {{ . }}{{ end }}"
        ' at {{ .Value | printf "%.2f" }} dollars an hour. {{ else }}None is known.{{ end }}'
    )


def owners(expression: str, *labels: str) -> str:
    """The three owners that cost most; `expression` has product and team."""
    expression_result = query(f"sort_desc(topk(3, sum by (product, team) ({expression})))", *labels)
    return (
        "{{ range " + expression_result + " }}{{ .Labels.product }} ({{ .Labels.team }})"
        ' at {{ .Value | printf "%.2f" }} dollars an hour. {{ else }}None is known.{{ end }}'
    )


def number(expression: str, form: str, *labels: str, unknown: str = "an unknown amount") -> str:
    """One number of a query within a sentence, and the words for it where there is none."""
    expression_result = query(expression, *labels)
    return (
        "{{ with "
        + expression_result
        + " }}{{ . | first | value | "
        + form
        + " }}{{ else }}"
        + unknown
        + "{{ end }}"
    )


def listed(expression: str, text: str, *labels: str, order: str = "") -> str:
    """A list of names by one label's order; `text` is what stands for each, a template of its labels and value."""
    expression_result = query(expression, *labels) + (f' | sortByLabel "{order}"' if order else "")
    return "{{ range " + expression_result + " }}" + text + "{{ end }}"


DOLLARS: Final = 'printf "%.0f dollars"'
HOURLY: Final = 'printf "%.2f dollars an hour"'
SHARE: Final = "humanizePercentage"
TIME: Final = "humanizeTimestamp"
DAY: Final = 'humanizeTimestamp | printf "%.10s"'


def owner_labels(by: tuple[str, ...]) -> dict[str, str]:
    """Whose an alert is: a budget's product, a server's owner, else the platform's, which runs the meter."""
    if "budget" in by:
        return {"product": PRODUCT, "team": TEAM}
    if "server" in by:
        return {"product": PRODUCT, "team": '{{ or $labels.team "platform" }}'}
    return {"product": "fleet", "team": "platform"}
