"""The text that every alert carries: when it began, what costs most, what waiting costs, and its links."""

from typing import Final

from statement import Alert

MONEY: Final = "/d/inference-cost"
METER, GPUS, MODELS, WASTE = (f"{MONEY}-{name}" for name in ("meter", "gpus", "models", "waste"))
"""The dashboards, by their uids."""

PAGE, TICKET = "page", "ticket"
FLEET: Final = {"product": "fleet", "team": "platform"}
"""The owner of alerts on the meter itself, and of those on all products."""

OWNER: Final = {"product": '{{ or $labels.product "fleet" }}', "team": '{{ or $labels.team "platform" }}'}

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


def alert(
    name: str,
    expr: str,
    *,
    wait: str,
    by: tuple[str, ...],
    summary: str,
    description: str,
    top: str,
    waiting: str,
    severity: str = TICKET,
    dashboard: str = MONEY,
    labels: dict[str, str] = FLEET,
    keep: str = "",
    why: str = "",
    began: str = "",
) -> Alert:
    """An alert with everything that all of them carry; `by` are the labels that identify one.

    `began` is when the condition began, where its value says it; else Prometheus's own record of the alert does.
    """
    return Alert(
        name,
        expr,
        wait,
        {"severity": severity, **labels},
        {
            "summary": summary,
            "description": description,
            "since": began or since(name, severity, by),
            "servers": top,
            "waiting": waiting,
            "dashboard": dashboard,
            "runbook": f"docs/runbooks/{name}.md",
        },
        keep,
        why,
    )
