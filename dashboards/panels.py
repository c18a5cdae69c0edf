"""The few kinds of panel that our dashboards are made of, on Grafana's own SDK.

A panel takes its unit from its queries, so that a number and its unit cannot drift apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from links import AnyLink, of_row, of_series
from queries import Query, dollars, savings

DATASOURCE: Final = model.DataSourceRef(type_val="prometheus", uid="${datasource}")

Panel = stat.Panel | bargauge.Panel | timeseries.Panel | table.Panel
AnyPanel = TypeVar("AnyPanel", stat.Panel, bargauge.Panel, timeseries.Panel, table.Panel)

Step = tuple[float | None, str]
"""From this value on, in this color; `None` is from minus infinity."""

NEUTRAL: Final[tuple[Step, ...]] = ((None, "text"),)
"""A number that is neither good nor bad by itself."""
ANY_IS_BAD: Final[tuple[Step, ...]] = ((None, "green"), (1, "orange"))
SHARE_OF_BUDGET: Final[tuple[Step, ...]] = ((None, "green"), (0.8, "orange"), (1, "red"))
"""Of the exported budget. Change 0.8 when the warning comes too early or too late."""
IDLE: Final[tuple[Step, ...]] = ((None, "green"), (0.2, "orange"), (0.5, "red"))
"""A fifth is what a fleet needs for peaks and failures. At a half, every second dollar buys nothing."""
WARNING: Final[tuple[Step, ...]] = ((None, "orange"),)
"""A number that is only there when something is wrong."""
RATIO_TO_HOSTED: Final[tuple[Step, ...]] = ((None, "green"), (1, "orange"))
"""From 1 on the hosted offer is the cheaper one."""
STALE: Final[tuple[Step, ...]] = ((None, "green"), (120, "orange"))
"""Seconds since a tick. Longer than three intervals of 30 seconds, after which gauges are absent."""
BALANCE_STEPS: Final[tuple[Step, ...]] = ((None, "green"), (1e-12, "red"))
"""A picodollar, the smallest amount that the books know."""


class _Address(model.DashboardLink):
    """Without the fields of a dashboard's own links, which data links do not have."""

    def to_json(self) -> dict[str, object]:
        return {"title": self.title, "url": self.url}


@dataclass(frozen=True, slots=True)
class _DataLink:
    """Builds one data link."""

    title: str
    url: str

    def build(self) -> model.DashboardLink:
        return _Address(title=self.title, url=self.url)


def _data_links(links: tuple[AnyLink, ...]) -> list[Any]:
    return [_DataLink(title, url) for title, url in of_series(links)]


def _target(query: Query, ref: str, *, instant: bool, as_table: bool = False) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).ref_id(ref).datasource(DATASOURCE)
    target = target.instant() if instant else target.range()
    if as_table:
        return target.format(PromQueryFormat.TABLE)
    return target.legend_format(query.legend or "__auto")


def _thresholds(steps: Sequence[Step]) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(value=value, color=color) for value, color in steps])
    )


POINTS: Final = 200
"""Of a line. More are not seen, and each costs a sample of every series."""


def _unit(queries: Sequence[Query]) -> str:
    (unit,) = {query.unit for query in queries}
    return unit


def _refs(queries: Sequence[Query]) -> list[tuple[str, Query]]:
    return [(chr(ord("A") + position), query) for position, query in enumerate(queries)]


def _framed(panel: AnyPanel, title: str, description: str, width: int, height: int) -> AnyPanel:
    return panel.title(title).description(description).datasource(DATASOURCE).span(width).height(height)


def number(
    title: str,
    description: str,
    *queries: Query,
    width: int = 4,
    height: int = 4,
    steps: Sequence[Step] = NEUTRAL,
    decimals: int | None = None,
    links: tuple[AnyLink, ...] = (),
) -> stat.Panel:
    """The value of now, large; names are shown where there are several.

    Always an instant query: of a range, Grafana would show the last value for as long as the range lasts,
    also after the exporters died.
    Grafana writes 14,380 dollars as 14.38K, and with 0 decimals as 14K: leave dollars theirs.
    """
    panel = (
        _framed(stat.Panel(), title, description, width, height)
        .unit(_unit(queries))
        .thresholds(_thresholds(steps))
        .color_mode(options.BigValueColorMode.VALUE)
        .graph_mode(options.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .text_mode(
            options.BigValueTextMode.VALUE_AND_NAME
            if any(query.legend for query in queries)
            else options.BigValueTextMode.VALUE
        )
    )
    if decimals is not None:
        panel = panel.decimals(decimals)
    if links:
        panel = panel.data_links(_data_links(links))
    for ref, query in _refs(queries):
        panel = panel.with_target(_target(query, ref, instant=True))
    return panel


def bars(
    title: str,
    description: str,
    *queries: Query,
    width: int,
    height: int,
    steps: Sequence[Step],
    links: tuple[AnyLink, ...],
    full: float | None = None,
    decimals: int | None = None,
) -> bargauge.Panel:
    """One horizontal bar for each series; `full` is the value at the right edge, else the largest one is."""
    panel = (
        _framed(bargauge.Panel(), title, description, width, height)
        .unit(_unit(queries))
        .min(0)
        .thresholds(_thresholds(steps))
        .orientation(options.VizOrientation.HORIZONTAL)
        .display_mode(options.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .data_links(_data_links(links))
    )
    if full is not None:
        panel = panel.max(full)
    if decimals is not None:
        panel = panel.decimals(decimals)
    for ref, query in _refs(queries):
        panel = panel.with_target(_target(query, ref, instant=True))
    return panel


def lines(
    title: str,
    description: str,
    *queries: Query,
    width: int,
    height: int,
    links: tuple[AnyLink, ...] = (),
    stacked: bool = False,
    full: float | None = None,
    back: str | None = None,
    points: int = POINTS,
    limit: str | None = None,
) -> timeseries.Panel:
    """The course of each series; `limit` is a pattern of the names of those drawn as dashed red lines.

    `back` is how much time is shown, whatever the reader has chosen.
    """
    panel = (
        _framed(timeseries.Panel(), title, description, width, height)
        .unit(_unit(queries))
        .min(0)
        .interval("1m")  # what is recorded; and the least scrape interval that $__rate_interval assumes
        .max_data_points(points)
        .line_width(1)
        .fill_opacity(30 if stacked else 0)
        .show_points(options.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(options.LegendDisplayMode.LIST)
            .placement(options.LegendPlacement.BOTTOM)
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(options.TooltipDisplayMode.MULTI)
            .sort(options.SortOrder.DESCENDING)
        )
    )
    if links:
        panel = panel.data_links(_data_links(links))
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL))
    if full is not None:
        panel = panel.max(full)
    if back is not None:
        panel = panel.time_from(back)
    if limit is not None:
        panel = panel.override_by_regexp(
            limit,
            [
                model.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": "red"}),
                model.DynamicConfigValue(id_val="custom.lineStyle", value={"fill": "dash", "dash": [8, 8]}),
            ],
        )
    for ref, query in _refs(queries):
        panel = panel.with_target(_target(query, ref, instant=False))
    return panel


Column = tuple[str, Query, Sequence[Step]]
"""Its heading, its query and its colors."""

SERVER_KEYS: Final = (
    ("server", "Server"),
    ("namespace", "Namespace"),
    ("product", "Product"),
    ("team", "Team"),
    ("cluster", "Cluster"),
)
"""The keys of a table of servers."""
FINDING_KEYS: Final = (*SERVER_KEYS, ("kind", "Kind"), ("form", "Form"))
"""The keys of a table of savings."""
GPU_KEYS: Final = (("gpu_model", "Model"), ("uuid", "UUID"), ("instance", "Host"), ("cluster", "Cluster"))
"""The keys of a table of GPUs."""


def findings(shown: int, selector: str, links: Mapping[str, tuple[AnyLink, ...]], width: int) -> table.Panel:
    """The largest savings of a selector, ranked."""
    return rows(
        f"What could be saved: the first {shown} findings",
        "The findings of `advise` over each host's last 14 days, at present prices; no GPU-hour is in two. "
        "Form cash: the bill falls when GPUs are given back; capacity: room for other work. "
        "No row: nothing to save was found, or no host has a day of history.",
        FINDING_KEYS,
        (("Saves per month", dollars(f"topk({shown}, {savings(selector)})"), NEUTRAL),),
        links=links,
        width=width,
        height=8,
    )


def rows(
    title: str,
    description: str,
    keys: Sequence[tuple[str, str]],
    columns: Sequence[Column],
    *,
    links: Mapping[str, tuple[AnyLink, ...]],
    width: int,
    height: int,
    first: str = "",
    ascending: bool = False,
) -> table.Panel:
    """One row for each combination of the `keys` (label, heading), which every query of a column must have.

    Sorted by the column `first`, or else by the first one, largest first. A cell is empty where its query has
    nothing for that row. `links` are those of the cells of a key, by its label.
    """
    refs = _refs([query for _, query, _ in columns])
    # Grafana calls the values of a query by its letter where there are several queries.
    names = [f"Value #{ref}" for ref, _ in refs] if len(refs) > 1 else ["Value"]
    headings = dict(keys) | {name: heading for name, (heading, _, _) in zip(names, columns, strict=True)}
    panel = (
        _framed(table.Panel(), title, description, width, height)
        .thresholds(_thresholds(NEUTRAL))
        .sort_by([common.TableSortByFieldState().display_name(first or columns[0][0]).desc(not ascending)])
        .with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            model.DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": {"Time": True},
                    "indexByName": {name: position for position, name in enumerate(headings)},
                    "renameByName": headings,
                },
            )
        )
    )
    for (ref, query), (heading, _, steps) in zip(refs, columns, strict=True):
        panel = panel.with_target(_target(query, ref, instant=True, as_table=True)).override_by_name(
            heading,
            [
                model.DynamicConfigValue(id_val="unit", value=query.unit),
                model.DynamicConfigValue(id_val="thresholds", value=_thresholds(steps).build()),
                model.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"}),
            ],
        )
    for key, heading in keys:
        if key in links:
            panel = panel.override_by_name(
                heading,
                [
                    model.DynamicConfigValue(
                        id_val="links",
                        value=[{"title": title, "url": url} for title, url in of_row(links[key])],
                    )
                ],
            )
    return panel
