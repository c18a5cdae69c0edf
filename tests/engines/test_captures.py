"""Captured pages, each with what it says, reckoned by hand from the page (`arithmetic` shows how).

A new engine needs a new pair of files in `captures/` and no code here.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from exporter.engines import ENGINES, EVERYTHING, GatewaySpec, interpret, match, read, recognize, wanted

CAPTURES = Path(__file__).parent / "captures"
PAGES = sorted(CAPTURES.glob("*.prom"))


def expected_of(page: Path) -> dict[str, Any]:
    return json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))


RECOGNIZED = [page for page in PAGES if expected_of(page)["engine"] is not None]


def test_every_capture_has_its_expectations_and_each_of_them_its_capture() -> None:
    """One without the other is a mistake."""
    assert {page.stem for page in PAGES} == {path.stem for path in CAPTURES.glob("*.json")}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_capture_is_recognized_as_what_wrote_it(path: Path) -> None:
    """A page is taken for its engine, a gateway's for the gateway's, and another one for nobody's."""
    page = read(path.read_bytes(), EVERYTHING)
    engine, row = recognize(page), match(page)
    assert expected_of(path)["engine"] == (engine.name if engine else None)
    assert expected_of(path).get("gateway") == (row.title if isinstance(row, GatewaySpec) else None)
    if isinstance(row, GatewaySpec):  # also for an engine that the configuration takes it for
        assert [name for name, other in ENGINES.items() if other.fingerprint.matches(page)] == []
    assert (page.malformed, page.duplicates, page.cut) == (0, 0, False)


@pytest.mark.parametrize("path", RECOGNIZED, ids=lambda path: path.stem)
def test_a_capture_says_what_stands_on_it(path: Path) -> None:
    """Counters by model and quantity, signs applied, and the requests in hand."""
    expected = expected_of(path)
    engine = recognize(read(path.read_bytes(), EVERYTHING))
    assert engine is not None
    interpretation = interpret(engine, read(path.read_bytes(), wanted(engine)))
    models: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for counter in interpretation.counters:
        models[counter.model][counter.quantity] += counter.sign * counter.value
    for load in interpretation.loads:
        if load.running is not None:
            models[load.model]["running"] = load.running
        if load.waiting is not None:
            models[load.model]["waiting"] = load.waiting
    assert expected["models"].keys() == models.keys()
    for model, quantities in expected["models"].items():
        assert quantities == pytest.approx(models[model], rel=1e-12), model
    assert tuple(model for model in expected["models"] if model) == interpretation.models
    assert expected.get("role", "") == interpretation.role


@pytest.mark.parametrize("path", RECOGNIZED, ids=lambda path: path.stem)
def test_a_capture_tells_when_its_process_started(path: Path) -> None:
    """Where the page tells it: to the microsecond, which is what a float of a Unix time holds."""
    expected = expected_of(path)["started_seconds"]
    engine = recognize(read(path.read_bytes(), EVERYTHING))
    assert engine is not None
    interpretation = interpret(engine, read(path.read_bytes(), wanted(engine)))
    if expected is None:
        assert (interpretation.started, interpretation.identity) == (None, "")
    else:
        assert interpretation.started is not None
        assert expected == pytest.approx(interpretation.started / 1e9, abs=1e-6)
        assert f"started {expected}" == interpretation.identity


@pytest.mark.parametrize("path", RECOGNIZED, ids=lambda path: path.stem)
def test_no_two_readings_of_one_series_count_the_same_quantity(path: Path) -> None:
    """The books keep a mark per series, so that a series names one value."""
    engine = recognize(read(path.read_bytes(), EVERYTHING))
    assert engine is not None
    counters = interpret(engine, read(path.read_bytes(), wanted(engine))).counters
    assert len(counters) == len({(counter.series, counter.quantity) for counter in counters})
