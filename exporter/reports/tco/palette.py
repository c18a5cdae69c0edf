"""The look of the chart: one style sheet, for light and dark backgrounds. No font or file from elsewhere.

Each color stands out from its background by 4.5 to 1 at least, as WCAG 2.2 asks of small text. Lines differ
by dashes and bars by their labels as well, so that nothing is told by color alone.
"""

from collections.abc import Iterator
from typing import Final

LIGHT: Final = ("#0b62a8", "#b54708", "#0a7a55", "#8a3ea0", "#77600a", "#b3123c", "#0b7285", "#596273")
DARK: Final = ("#6cb6ff", "#ff9d5c", "#4fd1a0", "#dd9bf0", "#d9c24a", "#ff8ba0", "#5fd3e8", "#aab4c5")
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
