"""The chart: whole, readable by eye and by ear, and of nothing but itself."""

import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from exporter.finance.options import scenario as scenario_file
from exporter.finance.options.chart import (
    _DARK_PAPER,
    _LIGHT_PAPER,
    DARK,
    DASHES,
    LABEL_GAP,
    LIGHT,
    PLOT,
    TOP,
    _spread,
    chart,
    compact,
    nice,
)
from exporter.finance.options.tco import TcoAnswer, answer
from tests.finance.options.scenario_builders import hosted, load, once, owned, rented, scenario

SVG = "{http://www.w3.org/2000/svg}"


def example(name: str) -> TcoAnswer:
    return answer(scenario_file.parsed(scenario_file.example(name), name))


def drawn(tco_answer: TcoAnswer) -> ET.Element:
    return ET.fromstring(chart(tco_answer))  # noqa: S314 - our own text


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_the_chart_byte_for_byte(golden: Callable[[str, bytes], None]) -> None:
    """Looked at, then kept."""
    golden("tco/four-ways.svg", chart(example("four-ways")).encode())


@pytest.mark.parametrize("name", scenario_file.examples())
def test_every_example_is_drawn(name: str) -> None:
    """One line for each option, one bar for each component of it, a label at every line's end."""
    tco_answer = example(name)
    root = drawn(tco_answer)
    lines = [line for line in root.iter(f"{SVG}polyline") if line.get("class") == "line"]
    assert len(lines) == len(tco_answer.courses)
    assert all(len((line.get("points") or "").split()) == tco_answer.scenario.months + 1 for line in lines)
    names = {component for option in tco_answer.courses for component in option.components}
    assert names <= set(texts(root))
    for option in tco_answer.courses:
        assert any(text.startswith(f"{option.option} ") for text in texts(root))
        assert f"{round(option.total):,}" in texts(root)


def test_it_is_told_to_those_who_do_not_see_it() -> None:
    """Title and description are named by the drawing, and say the same numbers."""
    root = drawn(example("self-hosted"))
    assert root.get("role") == "img"
    title, description = (root.find(f"{SVG}{tag}") for tag in ("title", "desc"))
    assert title is not None
    assert description is not None
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert title.text == "A self-hosted system over three years"
    assert description.text is not None
    assert description.text.startswith("Total cost over 3 years. self-hosted costs 2,318,413 dollars: ")
    assert "staff 69.4 percent" in description.text


def test_it_needs_nothing_from_elsewhere() -> None:
    """No address but the name of the format, no font file, no script, no picture."""
    text = chart(example("four-ways"))
    assert re.findall(r"https?://[^\"' ]+", text) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"url\(|@import|@font-face|<script|<image|href|on\w+=", text)


def test_names_cannot_break_it() -> None:
    """A scenario's words are words."""
    name = 'a & b </svg><script>"'
    root = drawn(replace(answer(scenario(rented())), scenario=replace(scenario(rented()), name=name)))
    assert root.find(f"{SVG}title").text == name  # type: ignore[union-attr]
    assert name in texts(root)


def luminance(color: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = [int(color[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    ("colors", "paper"), [(LIGHT, _LIGHT_PAPER), (DARK, _DARK_PAPER)], ids=["light", "dark"]
)
def test_every_color_can_be_read_on_both_backgrounds(colors: tuple[str, ...], paper: dict[str, str]) -> None:
    """4.5 to 1 for texts in each color, and for texts of the paper's color on bars."""
    for color in (*colors, paper["ink"], paper["faint"]):
        lighter, darker = sorted((luminance(color), luminance(paper["paper"])), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, color
    assert len(set(colors)) == len(set(DASHES)) == 8


def test_months_that_turn_it_are_marked() -> None:
    """A circle for each, with its month."""
    root = drawn(example("owned-a100"))
    marks = [group for group in root.iter(f"{SVG}g") if group.find(f"{SVG}circle") is not None]
    assert [mark.findtext(f"{SVG}title") for mark in marks] == [
        "owned-at-10000 and rented: owned-at-10000 is cheaper from month 7 on",
        "owned-at-20000 and rented: owned-at-20000 is cheaper from month 14 on",
    ]
    assert {"7", "14"} <= set(texts(root))
    assert not list(drawn(example("retrieval")).iter(f"{SVG}circle"))


def test_months_are_written_where_there_is_room() -> None:
    """36,000 and 35,500 are undercut by 1,460 a month in months 25 and 25, and 10,000 in month 7."""
    options = (owned(), owned("owned", purchase="35500"), owned("cheap", purchase="10000"), rented())
    root = drawn(answer(scenario(*options, years=3)))
    assert len(list(root.iter(f"{SVG}circle"))) == 3
    small = [element.text for element in root.iter(f"{SVG}text") if element.get("font-size") == "11"]
    assert small == ["25", "7"]


def test_many_components_share_a_color_named_other() -> None:
    """Of 9 and the rent the cheapest three go together: no color stands for two names."""
    items = tuple(once(1000 * (number + 1), f"item-{number}") for number in range(9))
    root = drawn(answer(scenario(rented(), items=items)))
    labels = texts(root)
    assert "other" in labels
    assert "item-8" in labels
    assert "item-0" not in labels
    bars = [rect for rect in root.iter(f"{SVG}rect") if (rect.get("class") or "").startswith("f")]
    assert len(bars) == 8 + 8  # of the option, and of the legend


def test_nothing_at_all_can_be_drawn() -> None:
    """An option that costs nothing has a line on the axis and no bar."""
    root = drawn(answer(scenario(rented(dollars="0"))))
    assert "0" in texts(root)


def test_what_is_sold_brings_the_line_down() -> None:
    """Bought for 36,000, sold for as much after a year, and bought again for half of it: 18,000 in all."""
    given = scenario(owned(life="1", residual_ratio="1", change="-0.5"), years=2)
    line = next(line for line in drawn(answer(given)).iter(f"{SVG}polyline") if line.get("class") == "line")
    heights = [float(point.split(",")[1]) for point in (line.get("points") or "").split()]
    base, highest = heights[0], heights[12]
    assert heights[13] - highest == pytest.approx((base - highest) / 2, abs=0.11)


def test_labels_do_not_lie_on_each_other() -> None:
    """They keep a line's distance, in their order, inside the plot where there is room."""
    placed = _spread([150.0, 150.0, 151.0, 400.0])
    assert placed == sorted(placed)
    assert all(below - above >= LABEL_GAP for above, below in pairwise(placed))
    low = _spread([float(TOP + PLOT)] * 3)
    assert max(low) == TOP + PLOT
    assert sorted(low) == [TOP + PLOT - 2 * LABEL_GAP, TOP + PLOT - LABEL_GAP, TOP + PLOT]


@pytest.mark.parametrize(
    ("years", "marks"), [(2, "0 3 6 9 12 15 18 21 24"), (3, "0 12 24 36"), (11, "0 24 48 72 96 120")]
)
def test_months_are_marked_by_the_quarter_up_to_two_years(years: int, marks: str) -> None:
    """Then by the year, and beyond ten by two."""
    below = texts(drawn(answer(scenario(rented(), years=years))))
    end = below.index("month")

    assert " ".join(below[:end]).endswith(f" {marks}")


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1_435_680.0, [0, 250_000, 500_000, 750_000, 1_000_000, 1_250_000, 1_500_000]),
        (0.0, 0.0, [0, 1]),
        (0.0, 3.0, [0, 0.5, 1, 1.5, 2, 2.5, 3]),
        (-5.0, 20.0, [-5, 0, 5, 10, 15, 20]),
        (0.0, 0.004, [0, 0.001, 0.002, 0.003, 0.004]),
        (0.0, 7.0, [0, 2, 4, 6, 8]),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    """They hold the curves and 0."""
    assert nice(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("dollars", "text"),
    [(0, "0"), (800, "800"), (2409, "2.41k"), (1.25e6, "1.25M"), (3e9, "3B"), (-5000, "-5k")],
)
def test_short_amounts(dollars: float, text: str) -> None:
    """Three digits."""
    assert compact(dollars) == text


def test_two_hosted_options_of_one_price() -> None:
    """Lines that lie on each other have two labels."""
    tco_answer = answer(scenario(hosted(), hosted("other"), load=load(), items=(once(1),)))
    assert {"api 3.65k", "other 3.65k"} <= set(texts(drawn(tco_answer)))
    assert tco_answer.courses[0].total == Fraction(3651)
