"""The pictures of the dashboards: one each, and their numbers and tables are Grafana's."""

import re
import struct
from pathlib import Path
from typing import Any

import pytest

from dashboards import simulated
from dashboards.amounts import written
from dashboards.answers import Opened, Prometheus, color, named, organized

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
LARGEST_BYTES = 150_000


def test_every_dashboard_has_a_picture_on_its_page() -> None:
    """A PNG of a readable size that a clone is not made heavy by, and none of a dashboard that is gone."""
    names = sorted(file.stem for file in (ROOT / "dashboards").glob("*.json"))
    page = (ROOT / "docs" / "dashboards.md").read_text()

    drawn = [file for file in IMAGES.iterdir() if not file.name.startswith("page-")]
    assert {file.name for file in drawn} == {f"{name}.png" for name in names}
    assert [name for name in names if f"](images/{name}.png)" not in page] == []
    for file in drawn:
        head = file.read_bytes()[:24]
        width, height = struct.unpack(">II", head[16:])
        assert head.startswith(b"\x89PNG\r\n\x1a\n")
        assert file.stat().st_size <= LARGEST_BYTES
        assert width >= 1000
        assert height >= 500


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "expected"),
    [
        (14_380.0, "currencyUSD", None, "$14.4K"),
        (14_380.0, "currencyUSD", 2, "$14.38K"),
        (-54.9, "currencyUSD", None, "-$54.9"),
        (0.0, "currencyUSD", None, "$0"),
        (0.617, "currencyUSD", None, "$0.617"),
        (0.9632, "percentunit", 0, "96%"),
        (1780.0, "short", None, "1.78K"),
        (80e9, "bytes", None, "74.5 GiB"),
        (4000.0, "watt", 1, "4.0 kW"),
        (1_814_400.0, "s", None, "21 days"),
        (0.078, "s", None, "78 ms"),
        (0.0, "s", None, "0 s"),
        (12.0, "short", 0, "12"),
        (1898.0, "locale", 0, "1,898"),
        (31.0, "h", None, "1.29 days"),
        (1_763_474_399_000.0, "time:YYYY-MM-DD", None, "2025-11-18"),
        (1_763_474_399_000.0, "time:YYYY-MM-DD HH:mm", None, "2025-11-18 13:59"),
    ],
)
def test_numbers_have_their_units(value: float, unit: str, decimals: int | None, expected: str) -> None:
    """Three digits unless the panel says how many decimals, thousands by a letter."""
    assert written(value, unit, decimals) == expected


def test_a_unit_that_nobody_knows_is_refused() -> None:
    """A number without its unit would look right."""
    with pytest.raises(KeyError, match="furlongs"):
        written(1, "furlongs")


def test_series_are_named_as_their_legend_says() -> None:
    """A label that is not there is empty."""
    assert named("{{product}} ({{ team }})", {"product": "chat"}) == "chat ()"
    assert named("__auto", {"a": "1", "b": "2"}) == 'a="1",b="2"'


def test_tables_have_their_columns_and_then_what_nobody_named() -> None:
    """Sorted by the first column of numbers, empty cells last; a stray label is to be seen."""
    rows: list[dict[str, str | float]] = [
        {"server": "a", "Value #B": 7.0},
        {"server": "b", "Value #A": 1.0, "stray": "x"},
        {"server": "c", "Value #A": 2.0, "Value #B": 8.0},
    ]
    organize = {
        "indexByName": {"server": 0, "Value #A": 1, "Value #B": 2},
        "renameByName": {"server": "Server", "Value #A": "Dollars", "Value #B": "GPUs"},
    }

    table = organized(rows, organize, "Dollars")

    assert table.headings == ["Server", "Dollars", "GPUs", "stray"]
    assert [row["Server"] for row in table.rows] == ["c", "b", "a"]
    assert table.rows[2] == {"Server": "a", "GPUs": 7.0}


def test_a_color_is_that_of_the_last_step_reached() -> None:
    """Steps are inclusive, as in Grafana."""
    thresholds = {"steps": [{"value": None, "color": "green"}, {"value": 0.8, "color": "orange"}]}

    assert [color(value, thresholds) for value in (-1, 0.79, 0.8, 2)] == ["green"] * 2 + ["orange"] * 2
    assert color(1, None) == "text"


def test_queries_are_filled_in_as_when_a_dashboard_is_opened(dashboard: dict[str, Any]) -> None:
    """Everything is selected, the first choice is made, and a rate has four samples."""
    opened = Opened(dashboard, Prometheus("http://127.0.0.1:1"), 1_000_000.0)

    left = [
        (panel["title"], query)
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
        if "$" in (query := opened.filled(target["expr"], panel))
    ]

    assert left == []
    assert opened.filled('rate(x{cluster=~"$cluster"}[$__rate_interval])', {"interval": "1m"}).startswith(
        'rate(x{cluster=~".*"}['
    )


NAME = re.compile(r"\b(?:inference[:_]|process_)[a-z0-9_:]+")
WELL = {"inference:model_unpriced", "inference_gpu_unpriced_seconds_total", "inference_price_info"}
"""What a fleet has whose GPUs all have prices that somebody configured: none of these."""


def test_the_simulated_fleet_has_what_the_dashboards_ask_for(dashboard: dict[str, Any]) -> None:
    """A record that nobody simulates would be drawn as an empty panel, which says nothing."""
    fleet = simulated.Fleet(200)
    simulated_names = {name for name, _, _ in (*simulated.recorded(fleet), *simulated.looked_at(fleet))}
    simulated_names |= {name for name, _, _ in simulated.scraped(fleet)}
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    queried = {name for query in queries for name in NAME.findall(query)}

    assert queried
    assert queried - simulated_names <= WELL


@pytest.mark.parametrize("hosts", [1, 40, 2000])
def test_the_simulated_fleet_adds_up(hosts: int) -> None:
    """Owners sum to clusters, phases to the spend, and GPUs to eight a host, at any size."""
    fleet = simulated.Fleet(hosts)
    at = simulated.AT
    sums: dict[str, float] = {}
    for name, _, course in simulated.recorded(fleet):
        sums[name] = sums.get(name, 0) + (course(at) or 0)

    assert sum(server.gpus for server in fleet.servers) == simulated.GPUS_PER_HOST * hosts
    assert sums["inference:spend_dollars_per_hour:owner"] == pytest.approx(
        sums["inference:spend_dollars_per_hour"]
    )
    assert sums["inference:phase_dollars_per_hour:owner"] == pytest.approx(
        sums["inference:spend_dollars_per_hour"]
    )
