"""What all dashboards have in common: variables, links between them, and marks on their time axes.

Every dashboard carries every variable, so that a choice survives a visit to a dashboard that has no use for
it; those without use there are hidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import queries as q
from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as model
from panels import DATASOURCE, Panel

TAG: Final = "inference-cost"
"""Links go to all dashboards that carry it."""

ALL: Final = ".*"
"""What "All" stands for: it also matches series without the label, as where nothing sets `cluster`."""

_OWNERS: Final = "inference:month_to_date_dollars:owner"
"""Has everybody who spent anything this month, on hosts that are gone, too."""
_SERVERS: Final = "inference:party_gpus:rate5m"
"""Has everybody who holds a GPU, priced or not."""

_LABELS: Final[dict[str, tuple[str, str]]] = {
    "cluster": ("Cluster", "label_values(inference:month_to_date_dollars, cluster)"),
    "product": ("Product", f"label_values({_OWNERS}{{{q.CLUSTER}}}, product)"),
    "team": ("Team", f'label_values({_OWNERS}{{{q.CLUSTER},product=~"$product"}}, team)'),
    "namespace": ("Namespace", f"label_values({_SERVERS}{{{q.OWNER}}}, namespace)"),
    "server": (
        "Server",
        f'label_values({_SERVERS}{{{q.OWNER},namespace=~"$namespace"}}, server)',
    ),
    "model": ("Model", f'label_values({_SERVERS}{{{q.SERVER},model!=""}}, model)'),
    "instance": ("Host", f"label_values(inference:ledger_seen_timestamp_seconds{{{q.CLUSTER}}}, instance)"),
}
"""By name: its heading, and where its choices come from: records, which are few at any number of hosts."""

_ONE_HOST: Final = (
    f'label_values({{__name__=~"inference_exporter_info|inference_server_gpus",{q.HOLDER}}}, instance)'
)
"""Hosts that hold GPUs of the chosen servers, or all of them where no server is chosen."""

_CHOICES: Final[dict[str, tuple[str, tuple[tuple[str, str], ...]]]] = {
    "basis": ("Basis", (("full", ".*"), ("busy", "prefill|decode"))),
    "tokens": ("Tokens", (("all", ".*"), ("computed", "prompt|generation"))),
}
"""By name: its heading, and each choice with the phases of money or the kinds of tokens that it takes in."""

VARIABLES: Final = ("datasource", *_LABELS, *_CHOICES)


def _hidden(*, hidden: bool) -> model.VariableHide:
    return model.VariableHide.HIDE_VARIABLE if hidden else model.VariableHide.DONT_HIDE


def _label(name: str, *, hidden: bool, single: bool) -> dashboard.QueryVariable:
    heading, query = _LABELS[name]
    if single and name == "instance":
        query = _ONE_HOST
    built = (
        dashboard.QueryVariable(name)
        .label(heading)
        .hide(_hidden(hidden=hidden))
        .query(query)
        .datasource(DATASOURCE)
        .refresh(model.VariableRefresh.ON_DASHBOARD_LOAD)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )
    if single:
        return built.multi(False).include_all(False)
    return (
        built.multi(True)
        .include_all(True)
        .all_value(ALL)
        .current(model.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _choice(name: str, *, hidden: bool) -> dashboard.CustomVariable:
    heading, choices = _CHOICES[name]
    options = [
        model.VariableOption(selected=position == 0, text=text, value=value)
        for position, (text, value) in enumerate(choices)
    ]
    return (
        dashboard.CustomVariable(name)
        .label(heading)
        .hide(_hidden(hidden=hidden))
        .values(",".join(f"{text} : {value}" for text, value in choices))
        .options(options)
        .current(options[0])
    )


class _Annotation(model.AnnotationQuery):
    """With the fields that Grafana's Prometheus data source reads and the SDK's class does not have."""

    def __init__(self, name: str, expr: str, color: str, title: str) -> None:
        super().__init__(
            name=name, datasource=DATASOURCE, enable=True, icon_color=color, built_in=None, expr=expr
        )
        self._title = title

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {"step": STEP, "titleFormat": self._title}


@dataclass(frozen=True, slots=True)
class _Mark:
    """Builds one annotation; events are where `expr` is above 0, those a step apart are one."""

    name: str
    expr: str
    color: str
    title: str

    def build(self) -> model.AnnotationQuery:
        return _Annotation(self.name, self.expr, self.color, self.title)


STEP: Final = "60s"

MARKS: Final = (
    _Mark(
        "Prices changed",
        f"group by (cluster, gpu_model, component) (inference:gpus_repriced{{{q.CLUSTER}}} > 0)",
        "orange",
        "Price changed: {{component}} of {{gpu_model}} {{cluster}}",
    ),
    _Mark(
        "Configuration changed",
        f"group by (cluster) (inference:exporters_reconfigured{{{q.CLUSTER}}} > 0)",
        "blue",
        "Configuration changed {{cluster}}",
    ),
    _Mark(
        "Exporter changed",
        f"group by (cluster, version) (inference:exporters_upgraded{{{q.CLUSTER}}} > 0)",
        "purple",
        "Exporter {{version}} {{cluster}}",
    ),
    _Mark(
        "Month began",
        f"group by (month) (time() - max by (month) (inference:month_end_timestamp_seconds{{{q.CLUSTER}}})"
        " >= 0 < 300)",
        "green",
        "{{month}} is over",
    ),
    _Mark(
        "Alerts",
        f"group by (cluster, alertname, severity) ({q.FIRING})",
        "red",
        "{{alertname}} {{cluster}}",
    ),
)


def board(
    name: str,
    uid: str,
    question: str,
    shown: Sequence[str],
    *,
    back: str = "24h",
    refresh: str = "5m",
    single: Sequence[str] = (),
) -> dashboard.Dashboard:
    """An empty dashboard that answers `question`.

    `shown` are the variables that its panels use, and of `single` ones always one value is chosen, where
    series of all hosts would be too many. Days begin in UTC, as the exporter's months do unless it is
    configured otherwise: of the browser's time zone, colleagues would see different days.
    """
    built = (
        dashboard.Dashboard(f"Inference cost: {name}")
        .uid(uid)
        .description(question)
        .tags([TAG])
        .timezone("utc")
        .time(f"now-{back}", "now")
        .refresh(refresh)
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(
            dashboard.DashboardLink("Inference cost")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .keep_time(True)
            .include_vars(True)
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for label in _LABELS:
        built = built.with_variable(_label(label, hidden=label not in shown, single=label in single))
    for choice in _CHOICES:
        built = built.with_variable(_choice(choice, hidden=choice not in shown))
    for mark in MARKS:
        built = built.annotation(mark)
    return built


def with_panels(built: dashboard.Dashboard, *panels: Panel) -> dashboard.Dashboard:
    """A dashboard with more panels, in reading order."""
    for panel in panels:
        built = built.with_panel(panel)
    return built
