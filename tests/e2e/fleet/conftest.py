"""What the tests of the fleet share: one past, and a fleet that lives on from it."""

import time
from contextlib import ExitStack
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


_RUNNING = pytest.StashKey[ExitStack]()


@pytest.fixture(scope="session")
def life(history: FleetPast, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Life:
    """The fleet, scraped from its history's end on, until the last test of the group."""
    running = pytestconfig.stash.setdefault(_RUNNING, ExitStack())
    folder = tmp_path_factory.mktemp("life")
    return running.enter_context(seeded(folder, FLEET, BEGIN, now=history.now, ready=history.ready))


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End the fleet with its group: until the session's end it would take more than all its tests."""
    if _RUNNING in item.config.stash and (nextitem is None or _group(nextitem) != _group(item)):
        item.config.stash[_RUNNING].close()


def _group(item: pytest.Item) -> object:
    mark = item.get_closest_marker("xdist_group")
    return mark.args[0] if mark else None
