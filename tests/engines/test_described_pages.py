"""Engines that this repository does not have, read by a configuration alone.

Each has a configuration, a page and what is read from it, worked out by hand, in `described/`.
"""

import json
from pathlib import Path

import pytest

from exporter.config import load
from exporter.engines import EVERYTHING, match, read
from exporter.reports.check_config import page_of

DESCRIBED = Path(__file__).parent / "described"
PAGES = sorted(DESCRIBED.glob("*.prom"))


def test_six_are_of_releases_after_september_2026() -> None:
    """Each page has its configuration and its expectations."""
    releases = [json.loads(page.with_suffix(".json").read_bytes()).get("released", "") for page in PAGES]
    assert sum(released > "2026-09" for released in releases) == 6
    for ending in (".yaml", ".json"):
        assert [page.with_suffix(ending) for page in PAGES] == sorted(DESCRIBED.glob(f"*{ending}"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_is_read_by_its_configuration(path: Path) -> None:
    """Models, counts by kind, gauges, and no name that the page lacks."""
    expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    (reading,) = page_of(path, load(path.with_suffix(".yaml")))

    assert reading.engine == path.stem
    assert reading.models == expected["models"]
    assert list(reading.absent) == expected["absent"]
    assert reading.left_out == 0


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_no_built_in_engine_has_the_page(path: Path) -> None:
    """It is the configuration that reads it."""
    assert match(read(path.read_bytes(), EVERYTHING)) is None
