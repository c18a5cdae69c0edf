"""Dashboards as pictures: each panel in its place and type, well enough to see what is empty or absurd."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from amounts import written
from answers import Cost, Opened, Panel, color, overridden
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image

mpl.use("Agg")

COLUMNS: Final = 24
"""Of Grafana's grid."""
INCHES: Final = (0.58, 0.42)
"""Of a cell of the grid: width and height."""
DPI: Final = 85
PALETTE: Final = 48
GAP: Final = 0.12
TITLE: Final = 0.27
"""Inches above a panel's contents."""
FONT: Final = 7.0
COLORS: Final = {
    "text": "#24292e",
    "green": "#299c46",
    "orange": "#e0700d",
    "red": "#c4162a",
    "grey": "#8e8e8e",
}
LINES: Final = mpl.color_sequences["tab10"] + mpl.color_sequences["Dark2"]
LEGEND_MOST: Final = 11
DAY: Final = 86_400


@dataclass
class Drawing:
    """What was seen while a dashboard was drawn."""

    empty: list[str] = field(default_factory=list)
    samples: int = 0
    """The most that the queries of a panel load."""
    dearest: str = ""
    seconds: float = 0
    slowest: str = ""

    def note(self, title: str, costs: Sequence[Cost]) -> None:
        """What the queries of a panel took."""
        samples, seconds = sum(cost.samples for cost in costs), sum(cost.seconds for cost in costs)
        if samples >= self.samples:
            self.samples, self.dearest = samples, title
        if seconds >= self.seconds:
            self.seconds, self.slowest = seconds, title


def draw(opened: Opened, file: Path) -> Drawing:
    """Write the picture of a dashboard."""
    panels = opened.board["panels"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    width, height = COLUMNS * INCHES[0], rows * INCHES[1]
    figure = plt.figure(figsize=(width, height), dpi=DPI, facecolor="#f4f5f5")
    drawing = Drawing()
    for panel in panels:
        position = panel["gridPos"]
        left, top = position["x"] * INCHES[0] + GAP / 2, position["y"] * INCHES[1] + GAP / 2
        wide, high = position["w"] * INCHES[0] - GAP, position["h"] * INCHES[1] - GAP
        box = (left / width, 1 - (top + high) / height, wide / width, high / height)
        figure.add_artist(
            Rectangle(box[:2], *box[2:], facecolor="white", edgecolor="#d8d9da", linewidth=0.8, zorder=-1)
        )
        if panel["type"] == "row":
            y = box[1] + box[3] / 2
            figure.text(box[0] + 0.08 / width, y, panel["title"], fontsize=9, weight="bold", va="center")
            continue
        title = _short(panel["title"], int(wide * 15))
        figure.text(box[0] + 0.08 / width, box[1] + box[3] - 0.2 / height, title, fontsize=7, weight="bold")
        inner = (box[0], box[1], box[2], (high - TITLE) / height)
        axes = figure.add_axes(inner)
        axes.set_axis_off()
        axes.set_xlim(0, wide)
        axes.set_ylim(0, high - TITLE)
        before = len(opened.prometheus.costs)
        painted = PAINTERS[panel["type"]](axes, panel, opened)
        drawing.note(panel["title"], opened.prometheus.costs[before:])
        if not painted:
            drawing.empty.append(panel["title"])
            axes.text(
                wide / 2, (high - TITLE) / 2, "No data", color=COLORS["grey"], ha="center", fontsize=FONT + 1
            )
    bytes_ = io.BytesIO()
    figure.savefig(bytes_, format="png")
    plt.close(figure)
    image = Image.open(bytes_).convert("RGB").quantize(PALETTE, dither=Image.Dither.NONE)
    image.save(file, optimize=True)
    return drawing


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 2]}..."


def _stat(axes: Axes, panel: Panel, opened: Opened) -> bool:
    shown = panel["fieldConfig"]["defaults"]
    values = opened.values(panel)
    width, height = axes.get_xlim()[1], axes.get_ylim()[1]
    for position, (name, value) in enumerate(values):
        x = width * (position + 0.5) / len(values)
        text = written(value, shown["unit"], shown.get("decimals"))
        tint = COLORS[color(value, shown.get("thresholds"))]
        size = min(20.0, 100 * width / len(values) / max(4, len(text)))
        axes.text(x, height * 0.5, text, color=tint, fontsize=size, ha="center", va="center")
        if panel["options"]["textMode"] == "value_and_name":
            axes.text(
                x,
                height * 0.14,
                _short(name, int(13 * width / len(values))),
                fontsize=FONT,
                ha="center",
                color=COLORS["grey"],
            )
    return bool(values)


def _bars(axes: Axes, panel: Panel, opened: Opened) -> bool:
    shown = panel["fieldConfig"]["defaults"]
    values = opened.values(panel)
    if not values:
        return False
    width, height = axes.get_xlim()[1], axes.get_ylim()[1]
    full = shown.get("max", max(value for _, value in values)) or 1
    most = max(1, int(height / 0.22))
    high = height / min(len(values), most)
    left, right = width * 0.36, width * 0.82
    for position, (name, value) in enumerate(values[:most]):
        y = height - (position + 0.5) * high
        tint = COLORS[color(value, shown.get("thresholds"))]
        thick = min(0.3, high * 0.6)
        axes.add_patch(Rectangle((left, y - thick / 2), right - left, thick, color="#eceeef"))
        share = min(1.0, max(0.0, value / full))
        tone = "#9fa7b3" if tint == COLORS["text"] else tint
        axes.add_patch(Rectangle((left, y - thick / 2), (right - left) * share, thick, color=tone))
        short = _short(name, int(left * 15))
        axes.text(left - 0.06, y, short, fontsize=FONT, ha="right", va="center")
        amount = written(value, shown["unit"], shown.get("decimals"))
        axes.text(right + 0.06, y, amount, fontsize=FONT + 0.5, va="center", color=tint)
    if len(values) > most:
        axes.text(width - 0.05, 0.02, f"{len(values) - most} more", fontsize=FONT, ha="right")
    return True


def _lines(axes: Axes, panel: Panel, opened: Opened) -> bool:
    shown = panel["fieldConfig"]["defaults"]
    courses = opened.courses(panel)
    if not any(course.points for course in courses):
        return False
    figure, box = axes.figure, axes.get_position()
    per_line = max(1, int(axes.get_xlim()[1] / 1.35))
    deep = 0.24 + 0.15 * math.ceil(min(len(courses), LEGEND_MOST) / per_line)
    high = axes.get_ylim()[1]
    inner = figure.add_axes(
        (box.x0 + 0.08 * box.width, box.y0 + box.height * deep / high, 0.9 * box.width,
         box.height * (1 - (deep + 0.06) / high))
    )  # fmt: skip
    step, begin = opened.step(panel), opened.begin(panel)
    moments = [begin + position * step for position in range(round((opened.at - begin) / step) + 1)]
    below = [0.0] * len(moments)
    stacked = shown["custom"].get("stacking", {}).get("mode") == "normal"
    for position, course in enumerate(courses):
        values = [course.points.get(at, course.points.get(round(at, 3), math.nan)) for at in moments]
        otherwise = overridden(panel, course.name)
        tint = LINES[position % len(LINES)]
        if "color" in otherwise:
            tint = COLORS[otherwise["color"]["fixedColor"]]
        dash = "--" if "custom.lineStyle" in otherwise else "-"
        if stacked:
            over = [
                base + (0 if math.isnan(value) else value) for base, value in zip(below, values, strict=True)
            ]
            inner.fill_between(moments, below, over, color=tint, alpha=0.35, linewidth=0)
            lined = [
                top if not math.isnan(value) else math.nan for top, value in zip(over, values, strict=True)
            ]
            inner.plot(moments, lined, color=tint, linewidth=1, label=course.name)
            below = over
        else:
            inner.plot(moments, values, dash, color=tint, linewidth=1, label=course.name)
    inner.set_xlim(begin, opened.at)
    inner.set_ylim(bottom=shown.get("min"), top=shown.get("max"))
    _axes(inner, shown["unit"], opened.at - begin)
    names = [_short(course.name, 34) for course in courses]
    if len(names) > LEGEND_MOST:
        names[LEGEND_MOST - 1] = f"{len(names)} in all"
    axes.legend(
        inner.get_lines()[:LEGEND_MOST],
        names[:LEGEND_MOST],
        loc="lower left", ncols=per_line, fontsize=FONT - 0.5, frameon=False, borderaxespad=0.2,
        handlelength=1.2, columnspacing=1, labelspacing=0.2,
    )  # fmt: skip
    return True


def _axes(inner: Axes, unit: str, span: float) -> None:
    inner.tick_params(labelsize=FONT - 0.5, length=2, pad=2)
    inner.grid(visible=True, color="#eceeef", linewidth=0.6)
    inner.yaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    inner.yaxis.set_major_formatter(lambda value, _: written(value, unit))
    inner.xaxis.set_major_locator(mpl.ticker.LinearLocator(5))
    form = "%H:%M" if span <= DAY else "%m-%d %H:%M"
    inner.xaxis.set_major_formatter(lambda at, _: datetime.fromtimestamp(at, UTC).strftime(form))
    inner.get_xticklabels()[-1].set_ha("right")
    for spine in inner.spines.values():
        spine.set_visible(False)


def _table(axes: Axes, panel: Panel, opened: Opened) -> bool:
    table = opened.table(panel)
    if not table.rows:
        return False
    special = {name: overridden(panel, name) for name in table.headings}
    cells = [[_cell(row.get(name), special[name]) for name in table.headings] for row in table.rows]
    width, height = axes.get_xlim()[1], axes.get_ylim()[1]
    most = max(1, int(height / 0.2) - 1)
    needed = [
        max(len(name), *(len(line[position][0]) for line in cells[:most])) + 2
        for position, name in enumerate(table.headings)
    ]
    scale = width / sum(needed)
    size = min(FONT + 0.5, 120 * scale)
    x = 0.06
    for position, name in enumerate(table.headings):
        axes.text(x, height - 0.14, name, fontsize=size, weight="bold", color="#3274d9", va="center")
        for number, line in enumerate(cells[:most]):
            text, tint = line[position]
            y = height - 0.2 * (number + 1) - 0.14
            axes.text(x, y, text, fontsize=size, va="center", color=COLORS[tint])
        x += needed[position] * scale
    if len(cells) > most:
        axes.text(width - 0.05, 0.05, f"{len(cells) - most} more rows", fontsize=FONT - 1, ha="right")
    return True


def _cell(value: str | float | None, properties: dict[str, Any]) -> tuple[str, str]:
    if value is None:
        return "", "text"
    if isinstance(value, str):
        return _short(value, 28), "text"
    return written(value, properties.get("unit", "short")), color(value, properties.get("thresholds"))


PAINTERS: Final = {"stat": _stat, "bargauge": _bars, "timeseries": _lines, "table": _table}
