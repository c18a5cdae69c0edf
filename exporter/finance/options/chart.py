"""An answer as a chart, SVG: what has been paid by month, and the horizon by component. Pure.

Written with the standard library. A screen reader gets a title and a description with the same numbers.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor, log10
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from exporter.finance.options.option import MONTHS_PER_YEAR
from exporter.finance.options.tco import TcoAnswer
from exporter.finance.options.tco_report import races, shares_of, whole
from exporter.finance.render import counted

LIGHT: Final = ("#0b62a8", "#b54708", "#0a7a55", "#8a3ea0", "#77600a", "#b3123c", "#0b7285", "#596273")
DARK: Final = ("#6cb6ff", "#ff9d5c", "#4fd1a0", "#dd9bf0", "#d9c24a", "#ff8ba0", "#5fd3e8", "#aab4c5")
"""Colors of series. Each has a contrast of at least 4.5 to 1, as WCAG 2.2 requires of small text; dashes of
lines and labels of bars distinguish series too."""
DASHES: Final = ("none", "8 4", "2 3", "10 3 2 3", "5 5", "1 4", "12 4", "6 2 1 2")

_LIGHT_PAPER: Final = {"paper": "#ffffff", "ink": "#1c2330", "faint": "#525b6b", "rule": "#d5dae2"}
_DARK_PAPER: Final = {"paper": "#14181f", "ink": "#eef1f6", "faint": "#a9b3c3", "rule": "#3a4352"}


def style() -> str:
    """The style sheet."""
    lines = [
        "text { font-family: system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif; }",
        ".line { fill: none; stroke-width: 2.5; stroke-linejoin: round; }",
        ".axis { stroke-width: 1; }",
        *_colors(LIGHT, _LIGHT_PAPER),
        "@media (prefers-color-scheme: dark) {",
        *_colors(DARK, _DARK_PAPER),
        "}",
    ]
    return "\n".join(lines)


def _colors(series: tuple[str, ...], paper: dict[str, str]) -> Iterator[str]:
    yield f".paper {{ fill: {paper['paper']}; }}"
    yield f".ink {{ fill: {paper['ink']}; }}"
    yield f".faint {{ fill: {paper['faint']}; }}"
    yield f".axis {{ stroke: {paper['rule']}; }}"
    yield f".mark {{ fill: {paper['paper']}; stroke: {paper['ink']}; stroke-width: 1.5; }}"
    yield f".on {{ fill: {paper['paper']}; }}"
    for number, color in enumerate(series):
        yield f".s{number} {{ stroke: {color}; }} .f{number} {{ fill: {color}; }}"


WIDTH: Final = 960
LEFT: Final = 72
RIGHT: Final = 700
TOP: Final = 112
PLOT: Final = 300
LABEL_GAP: Final = 17
MARK_ROOM: Final = 24
BARS_TOP: Final = TOP + PLOT + 92
BAR: Final = 26
ROW: Final = 52
BAR_WIDTH: Final = 700
LEGEND_ROW: Final = 22
CHARACTER: Final = 6.4
"""The width of a letter of 12 pixels, about."""

NAME_CHARACTERS: Final = 26
TITLE_CHARACTERS: Final = 84
MOST_TICKS: Final = 6
COLORS: Final = len(DARK)
OTHER: Final = "other"


def chart(answer: TcoAnswer) -> str:
    """The chart as a document of its own."""
    colors = _component_colors(answer)
    bars_end = BARS_TOP + ROW * len(answer.courses)
    legend, legend_height = _legend(colors, bars_end + 20)
    height = bars_end + 30 + legend_height
    time = counted(answer.scenario.horizon_years, "year")
    sentences = [f"Total cost over {time}."]
    for course in answer.courses:
        shares = shares_of(course.components).items()
        percents = ", ".join(f"{name} {share / 10:.1f} percent" for name, share in shares)
        sentences.append(f"{course.option} costs {whole(course.total)} dollars: {percents}.")
    sentences += [*races(answer), *answer.caveats]
    subtitle = "; ".join((f"{time}, US dollars", *answer.caveats[:1]))
    circles = "a circle marks the month in which one becomes cheaper than another"
    crossed = any(race.crossings for race in answer.races)
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="tco-title tco-description"',
        f' viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        f'<title id="tco-title">{escape(answer.scenario.name)}</title>',
        f'<desc id="tco-description">{escape(" ".join(sentences))}</desc>',
        f"<style>\n{style()}\n</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        _text(24, 36, _short(answer.scenario.name, TITLE_CHARACTERS), size=18, bold=True),
        _text(24, 58, subtitle, size=13, look="faint"),
        _text(24, 92, "Paid so far, by month", size=14, bold=True),
        *([_text(RIGHT, 92, circles, look="faint", anchor="end")] if crossed else ()),
        _text(24, BARS_TOP - 24, "Cost of the whole time, by component", size=14, bold=True),
        *_lines(answer),
        *_bars(answer, colors),
        *legend,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _text(
    x: float,
    y: float,
    words: str,
    *,
    size: int = 12,
    look: str = "ink",
    anchor: str = "start",
    bold: bool = False,
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text class="{look}" x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"{weight}>'
        f"{escape(words)}</text>"
    )


def _lines(answer: TcoAnswer) -> Iterator[str]:
    """Axes, a line of what has been paid for each option, and a circle where another becomes cheaper."""
    paths = {course.option: [0.0, *map(float, course.cumulated_paid())] for course in answer.courses}
    months = answer.scenario.months
    ticks = nice(min(map(min, paths.values())), max(map(max, paths.values())))

    def across(month: float) -> float:
        return LEFT + (RIGHT - LEFT) * month / months

    def down(dollars: float) -> float:
        return TOP + PLOT * (ticks[-1] - dollars) / (ticks[-1] - ticks[0])

    for tick in ticks:
        y = down(tick)
        yield f'<line class="axis" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield _text(LEFT - 8, y + 4, compact(tick), look="faint", anchor="end")
    step = MONTHS_PER_YEAR * ceil(months / 120) if months > 2 * MONTHS_PER_YEAR else 3
    for month in range(0, months + 1, step):
        yield _text(across(month), TOP + PLOT + 18, str(month), look="faint", anchor="middle")
    yield _text((LEFT + RIGHT) / 2, TOP + PLOT + 38, "month", look="faint", anchor="middle")

    label_heights = _spread([down(path[-1]) for path in paths.values()])
    for number, (name, path) in enumerate(paths.items()):
        points = " ".join(f"{across(month):.1f},{down(paid):.1f}" for month, paid in enumerate(path))
        look = number % COLORS
        end = down(path[-1])
        label_end = label_heights[number]
        yield f'<g class="s{look}"><title>{escape(f"{name}: {path[-1]:,.0f} dollars paid")}</title>'
        yield f'<polyline class="line" stroke-dasharray={quoteattr(DASHES[look])} points="{points}"/>'
        yield f'<polyline fill="none" points="{RIGHT},{end:.1f} {RIGHT + 14},{label_end:.1f}"/></g>'
        label = f"{_short(name, NAME_CHARACTERS)} {compact(path[-1])}"
        yield _text(RIGHT + 20, label_end + 4, label, look=f"f{look}", bold=True)

    marked: list[tuple[float, float]] = []
    for race in answer.races:
        for turn in race.crossings:
            x = across(turn.month)
            y = down(paths[turn.cheaper][turn.month])
            label = f"{' and '.join(race.options)}: {turn.cheaper} is cheaper from month {turn.month} on"
            yield f"<g><title>{escape(label)}</title>"
            yield f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="4"/></g>'
            # Its month is written where there is room for it.
            if all(abs(x - other) > MARK_ROOM or abs(y - height) > LABEL_GAP for other, height in marked):
                marked.append((x, y))
                yield _text(x, y + 18, str(turn.month), size=11, anchor="middle")


def _spread(heights: Sequence[float]) -> list[float]:
    """Heights of labels, near where they belong and not on top of each other."""
    order = sorted(range(len(heights)), key=lambda index: (heights[index], index))
    placed = list(heights)
    for before, index in pairwise(order):
        placed[index] = max(placed[index], placed[before] + LABEL_GAP)
    lowest = float(TOP + PLOT)
    for index in reversed(order):
        placed[index] = min(placed[index], lowest)
        lowest = placed[index] - LABEL_GAP
    return placed


def _component_colors(answer: TcoAnswer) -> dict[str, int]:
    """The color of each component, the dearest first; those beyond the colors are other."""
    sums: dict[str, Fraction] = {}
    for course in answer.courses:
        for name, amount in course.components.items():
            sums[name] = sums.get(name, Fraction(0)) + amount
    order = sorted(sums, key=lambda name: (-sums[name], name))
    names = order if len(order) <= COLORS else [*order[: COLORS - 1], OTHER]
    return {name: color for color, name in enumerate(names)}


def _bars(answer: TcoAnswer, colors: dict[str, int]) -> Iterator[str]:
    most = max(course.total for course in answer.courses) or Fraction(1)
    for row, course in enumerate(answer.courses):
        y = BARS_TOP + ROW * row
        yield _text(24, y, _short(course.option, NAME_CHARACTERS * 2), bold=True)
        grouped: dict[str, Fraction] = {}
        for name, amount in course.components.items():
            group = name if name in colors else OTHER
            grouped[group] = grouped.get(group, Fraction(0)) + amount
        x = 24.0
        for name, amount in sorted(grouped.items(), key=lambda part: colors[part[0]]):
            width = BAR_WIDTH * float(amount / most)
            share = f"{float(100 * amount / course.total):.1f} %"
            yield f"<g><title>{escape(f'{course.option}: {name} {whole(amount)} dollars, {share}')}</title>"
            yield (
                f'<rect class="f{colors[name]}" x="{x:.1f}" y="{y + 6}" width="{max(width - 1, 0.5):.1f}" '
                f'height="{BAR}"/></g>'
            )
            for words in (f"{name} {share}", share):
                if len(words) * CHARACTER + 12 < width:
                    yield _text(x + 6, y + 6 + BAR / 2 + 4, words, look="on")
                    break
            x += width
        yield _text(x + 8, y + 6 + BAR / 2 + 4, whole(course.total), bold=True)


def _legend(colors: dict[str, int], top: int) -> tuple[list[str], int]:
    """Squares with names, in rows, and the height of the rows."""
    lines: list[str] = []
    x, y = 24.0, top
    for name, color in colors.items():
        words = _short(name, NAME_CHARACTERS)
        width = 30 + len(words) * CHARACTER * 1.1
        if x > 24 and x + width > WIDTH - 24:
            x, y = 24.0, y + LEGEND_ROW
        lines.append(f'<rect class="f{color}" x="{x:.1f}" y="{y - 10:.1f}" width="12" height="12"/>')
        lines.append(_text(x + 18, y, words))
        x += width
    return lines, y - top + LEGEND_ROW


def _short(text: str, characters: int) -> str:
    """Text that fits; its whole stands in the titles."""
    return text if len(text) <= characters else f"{text[: characters - 3]}..."


def nice(low: float, high: float) -> list[float]:
    """Ticks at round numbers, from at most the low to at least the high; 0 is among them."""
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low <= 0:
        return [0.0, 1.0]
    unit = 10.0 ** floor(log10((high - low) / MOST_TICKS))
    steps = (unit * times for times in (1, 2, 2.5, 5, 10))
    step = next(step for step in steps if (high - low) / step <= MOST_TICKS)
    return [step * number for number in range(floor(low / step), ceil(high / step) + 1)]


def compact(dollars: float) -> str:
    """Dollars on an axis: 1.5M, 250k, 800."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(dollars) >= size:
            return f"{dollars / size:.3g}{letter}"
    return f"{dollars:.3g}"
