"""What a Prometheus answers to the queries of a panel, put together as Grafana does for the panel's type.

Everything is selected, as a dashboard is opened. Panels are those of the JSON that Grafana imports.
"""

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

POINTS: Final = 1000
"""Of a line of a panel that names no number: as many as there are pixels."""
SCRAPE_SECONDS: Final = 30
"""The data source's `timeInterval`."""
SPANS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LEGEND: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")

Labels = Mapping[str, str]
Panel = dict[str, Any]
Cell = str | float
Row = dict[str, Cell]


@dataclass(frozen=True, slots=True)
class Course:
    """One series over time; gaps are absent points."""

    name: str
    points: dict[float, float]


@dataclass(frozen=True, slots=True)
class Table:
    """Headings in their order, and rows that may lack some."""

    headings: list[str]
    rows: list[Row]


def seconds(duration: str) -> int:
    """Of a duration such as 35d."""
    return int(duration[:-1]) * SPANS[duration[-1]]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a query took."""

    seconds: float
    samples: int
    """Loaded, each as often as a step looks at it."""


class Prometheus:
    """A Prometheus at an address; `costs` has what each of its answers took.

    Raises:
        urllib.error.URLError: it does not answer, or refuses a query.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self.costs: list[Cost] = []

    def values(self, selector: str, label: str, at: float) -> list[str]:
        """The values of a label of the series that match, sorted."""
        query = urllib.parse.urlencode({"match[]": selector, "start": at - 3600, "end": at})
        with urllib.request.urlopen(f"{self._url}/api/v1/label/{label}/values?{query}", timeout=60) as answer:  # noqa: S310 - as below
            names: list[str] = json.load(answer)["data"]
        return sorted(names)

    def _request(self, path: str, **parameters: Any) -> list[dict[str, Any]]:
        query = urllib.parse.urlencode({**parameters, "stats": "all"})
        with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{query}", timeout=60) as answer:  # noqa: S310 - an address that the caller gave
            data = json.load(answer)["data"]
        stats = data.get("stats", {})
        self.costs.append(
            Cost(
                stats.get("timings", {}).get("evalTotalTime", 0.0),
                stats.get("samples", {}).get("totalQueryableSamples", 0),
            )
        )
        series: list[dict[str, Any]] = data["result"]
        return series

    def instant(self, expr: str, at: float) -> list[tuple[Labels, float]]:
        """Labels and value of each series at a moment."""
        return [
            (row["metric"], float(row["value"][1])) for row in self._request("query", query=expr, time=at)
        ]

    def course(
        self, expr: str, begin: float, end: float, step: int
    ) -> list[tuple[Labels, dict[float, float]]]:
        """Labels and points of each series over a range."""
        rows = self._request("query_range", query=expr, start=begin, end=end, step=step)
        return [(row["metric"], {at: float(value) for at, value in row["values"]}) for row in rows]


@dataclass(frozen=True, slots=True)
class Opened:
    """A dashboard as it is opened at a moment, on a Prometheus."""

    board: dict[str, Any]
    prometheus: Prometheus
    at: float
    back: str = ""
    """The range of time that was chosen, like 30d; empty for the dashboard's own."""
    chosen: Mapping[str, str] = field(default_factory=dict)
    """What was chosen of the variables that always have one value."""

    def begin(self, panel: Panel) -> float:
        """Where the range of time of a panel begins."""
        own: str = self.board["time"]["from"].removeprefix("now-")
        return self.at - seconds(panel.get("timeFrom") or self.back or own)

    def step(self, panel: Panel) -> int:
        """Seconds between two points of a panel's lines."""
        return max(
            seconds(panel.get("interval", f"{SCRAPE_SECONDS}s")),
            round((self.at - self.begin(panel)) / panel.get("maxDataPoints", POINTS)),
        )

    def filled(self, expr: str, panel: Panel) -> str:
        """A query with everything selected, and the first of what is to be chosen."""
        least = seconds(panel.get("interval", f"{SCRAPE_SECONDS}s"))
        expr = expr.replace("$__rate_interval", f"{max(self.step(panel) + least, 4 * least)}s")
        for variable in self.board["templating"]["list"]:
            if variable["type"] == "query":
                value = variable.get("allValue") or self.chosen.get(variable["name"], ".+")
                expr = expr.replace(f"${variable['name']}", value)
            if variable["type"] == "custom":
                expr = expr.replace(f"${variable['name']}", variable["options"][0]["value"])
        return expr

    def courses(self, panel: Panel) -> list[Course]:
        """The lines of a panel."""
        return [
            Course(named(target["legendFormat"], labels), points)
            for target in panel["targets"]
            for labels, points in self.prometheus.course(
                self.filled(target["expr"], panel), self.begin(panel), self.at, self.step(panel)
            )
        ]

    def values(self, panel: Panel) -> list[tuple[str, float]]:
        """Names and numbers of a panel that shows the value of each series at this moment."""
        return [
            (named(target["legendFormat"], labels), value)
            for target in panel["targets"]
            for labels, value in self.prometheus.instant(self.filled(target["expr"], panel), self.at)
        ]

    def table(self, panel: Panel) -> Table:
        """The rows of a panel: those of its queries that have the same labels are one."""
        (organize,) = [change["options"] for change in panel["transformations"] if change["id"] == "organize"]
        alone = len(panel["targets"]) == 1
        merged: dict[frozenset[tuple[str, str]], Row] = {}
        for target in panel["targets"]:
            field = "Value" if alone else f"Value #{target['refId']}"
            for labels, value in self.prometheus.instant(self.filled(target["expr"], panel), self.at):
                merged.setdefault(frozenset(labels.items()), dict(labels))[field] = value
        return organized(list(merged.values()), organize, panel["options"]["sortBy"][0]["displayName"])

    def values_of(self, name: str) -> list[str]:
        """What a variable offers."""
        (query,) = [item["query"] for item in self.board["templating"]["list"] if item["name"] == name]
        selector, _, label = query.removeprefix("label_values(").removesuffix(")").rpartition(", ")
        return self.prometheus.values(self.filled(selector, {}), label, self.at)


def named(legend: str, labels: Labels) -> str:
    """A legend with its labels filled in; Grafana's own name of a series where there is none."""
    if legend == "__auto":
        return ",".join(f'{key}="{value}"' for key, value in labels.items())
    return LEGEND.sub(lambda match: labels.get(match[1], ""), legend)


def organized(rows: list[Row], organize: dict[str, Any], first: str) -> Table:
    """Columns in their order with their headings, rows by the column `first`, largest first.

    What no heading was given for is shown as well, at the end: Grafana does, and it is to be seen.
    """
    order, headings = organize["indexByName"], organize["renameByName"]
    columns = list(dict.fromkeys(field for row in rows for field in row))
    fields = sorted(columns, key=lambda field: order.get(field, len(order)))
    renamed = [{headings.get(field, field): value for field, value in row.items()} for row in rows]
    return Table(
        [headings.get(field, field) for field in fields],
        sorted(renamed, key=lambda row: _rank(row.get(first)), reverse=True),
    )


def _rank(cell: Cell | None) -> tuple[float, str]:
    if cell is None:
        return (float("-inf"), "")
    return (cell, "") if isinstance(cell, float) else (0.0, cell)


def overridden(panel: Panel, name: str) -> dict[str, Any]:
    """What is shown otherwise for a series or column of this name."""
    properties: dict[str, Any] = {}
    for override in panel["fieldConfig"]["overrides"]:
        matcher = override["matcher"]
        if matcher["options"] == name or (
            matcher["id"] == "byRegexp" and re.search(matcher["options"], name)
        ):
            properties |= {entry["id"]: entry["value"] for entry in override["properties"]}
    return properties


def color(value: float, thresholds: dict[str, Any] | None) -> str:
    """The color of the last threshold that a value reaches."""
    reached = "text"
    for step in (thresholds or {}).get("steps", ()):
        if step["value"] is None or value >= step["value"]:
            reached = step["color"]
    return reached
