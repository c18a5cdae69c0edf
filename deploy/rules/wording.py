"""What an alert says besides its own sentence: since when, who spends most, what waiting costs."""

from typing import Final

from statement import Alert

MONEY: Final = "/d/inference-cost"
METER, GPUS, MODELS, WASTE = (f"{MONEY}-{name}" for name in ("meter", "gpus", "models", "waste"))
"""The dashboards, by their uids."""

PAGE, TICKET = "page", "ticket"
FLEET: Final = {"product": "fleet", "team": "platform"}
"""Who is told of what concerns the meter itself, or all products."""

OWNER: Final = {"product": '{{ or $labels.product "fleet" }}', "team": '{{ or $labels.team "platform" }}'}


def asked(expression: str, *labels: str) -> str:
    """A query as a template: the labels' values, quoted, in the places of its `%q`, as often as they come."""
    if not labels:
        return f"query `{expression}`"
    values = " ".join(f"$labels.{label}" for label in labels * (expression.count("%q") // len(labels)))
    return f"printf `{expression}` {values} | query"


def since(name: str, severity: str, labels: tuple[str, ...]) -> str:
    """When the condition began, from the series that Prometheus keeps of each alert."""
    matchers = "".join(f",{label}=%q" for label in labels)
    query = asked(
        f'last_over_time(ALERTS_FOR_STATE{{alertname="{name}",severity="{severity}"{matchers}}}[15m])',
        *labels,
    )
    return "{{ with " + query + " }}{{ . | first | value | humanizeTimestamp }}{{ else }}now{{ end }}"


def servers(selector: str = "", *labels: str) -> str:
    """The three servers that cost most now; `selector` holds a `%q` for each of the labels."""
    query = asked(f"sort_desc(topk(3, sum by (namespace, server) ({selector or SPEND})))", *labels)
    return (
        "{{ range " + query + " }}{{ with .Labels.namespace }}{{ . }}/{{ end }}{{ .Labels.server }}"
        ' at {{ .Value | printf "%.2f" }} dollars an hour. {{ else }}None is known.{{ end }}'
    )


SPEND: Final = "inference:cost_dollars_per_hour:server"


def number(expression: str, form: str, *labels: str, unknown: str = "an unknown amount") -> str:
    """One number of a query within a sentence, and the words for it where there is none."""
    query = asked(expression, *labels)
    return "{{ with " + query + " }}{{ . | first | value | " + form + " }}{{ else }}" + unknown + "{{ end }}"


DOLLARS: Final = 'printf "%.0f dollars"'
SHARE: Final = "humanizePercentage"


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
) -> Alert:
    """An alert with everything that all of them carry; `by` are the labels that tell one from another."""
    return Alert(
        name,
        expr,
        wait,
        {"severity": severity, **labels},
        {
            "summary": summary,
            "description": description,
            "since": since(name, severity, by),
            "servers": top,
            "waiting": waiting,
            "dashboard": dashboard,
            "runbook": f"docs/runbooks/{name}.md",
        },
        keep,
        why,
    )
