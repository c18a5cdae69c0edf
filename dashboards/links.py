"""Data links: from a row or a line to the dashboard, or the runbook, that explains it.

Grafana puts the labels of the row or line that was clicked into the address. A label that it does not have is
an empty value.
"""

from dataclasses import dataclass
from typing import Final

FLEET: Final = "inference-cost"
CHARGEBACK, GPUS, METER, MODELS, WASTE = (
    f"{FLEET}-{name}" for name in ("chargeback", "gpus", "meter", "models", "waste")
)
"""The dashboards' uids. They never change: bookmarks and alerts hold them."""

RUNBOOKS: Final = "https://git.example/inference-cost-exporter/blob/main/docs/runbooks/"
"""Where the runbooks are published. A placeholder: docs/dashboards.md says how to replace it."""

_SAME_TIME: Final = "${datasource:queryparam}&${__url_time_range}"


@dataclass(frozen=True, slots=True)
class Link:
    """A link with a title to a dashboard; `labels` become the variables of the same names there."""

    title: str
    uid: str
    labels: tuple[str, ...] = ()

    def url(self, namespace: str) -> str:
        """The address; `namespace` is where Grafana has the labels: `__data.fields` or `__field.labels`."""
        chosen = "".join(f"&var-{label}=${{{namespace}.{label}:percentencode}}" for label in self.labels)
        return f"/d/{self.uid}?{_SAME_TIME}{chosen}"


@dataclass(frozen=True, slots=True)
class Runbook:
    """A link from an alert to its runbook."""

    title: str = "Runbook"

    def url(self, namespace: str) -> str:
        """The address of the page that has the alert's name."""
        return f"{RUNBOOKS}${{{namespace}.alertname:percentencode}}.md"


@dataclass(frozen=True, slots=True)
class Named:
    """A link to the dashboard whose uid is in a column of the row."""

    title: str
    label: str

    def url(self, namespace: str) -> str:
        """The address."""
        uid, cluster = (f"${{{namespace}.{label}:percentencode}}" for label in (self.label, "cluster"))
        return f"/d/{uid}?{_SAME_TIME}&var-cluster={cluster}"


AnyLink = Link | Runbook | Named


def of_row(links: tuple[AnyLink, ...]) -> list[tuple[str, str]]:
    """Title and address of the links of a table's cells."""
    return [(link.title, link.url("__data.fields")) for link in links]


def of_series(links: tuple[AnyLink, ...]) -> list[tuple[str, str]]:
    """Title and address of the links of lines, bars and numbers."""
    return [(link.title, link.url("__field.labels")) for link in links]
