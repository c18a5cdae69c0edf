"""What the tests of the fleet share: one past, and a fleet that lives on from it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.fleet.fleets import BEGIN, FLEET
from tests.e2e.fleet.history import Sample, blocks
from tests.e2e.fleet.seeded_prometheus import Life, past, seeded


@dataclass(frozen=True, slots=True)
class FleetPast:
    """The history of the fleet, which ends at `now`."""

    now: int
    samples: list[Sample]
    ready: Path
    """The blocks made of it."""


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> FleetPast:
    """Made once: it takes longer than what is asked of it."""
    now = int(time.time())
    samples = past(FLEET, now, BEGIN)
    ready = tmp_path_factory.mktemp("past") / "blocks"
    blocks(samples, ready)
    return FleetPast(now, samples, ready)


@pytest.fixture(scope="session")
def life(history: FleetPast, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """The fleet, scraped from its history's end on."""
    folder = tmp_path_factory.mktemp("life")
    with seeded(folder, FLEET, BEGIN, now=history.now, ready=history.ready) as seeded_life:
        yield seeded_life
