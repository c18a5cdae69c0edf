"""What the tests of the history share: three hosts, their ledgers, and where they were recorded."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.backfill.comparison import Totals, metered
from tests.e2e.backfill.exporter_series import recorded
from tests.e2e.backfill.recorded_fleet import RecordedFleet
from tests.e2e.backfill.recorded_fleets import three_hosts
from tests.e2e.backfill.stores import RETENTION, fill, prometheus_of
from tests.e2e.fleet.programs import Queried, Victoria

FLEET: Final = three_hosts()
Store = Callable[[str, int], Queried]


@dataclass(frozen=True, slots=True)
class MeteredFleet:
    """A fleet, and what its daemons posted."""

    fleet: RecordedFleet
    posted: Totals


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> MeteredFleet:
    """Three hosts for three days."""
    return MeteredFleet(FLEET, metered(FLEET, tmp_path_factory.mktemp("ledgers")))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A Prometheus or a VictoriaMetrics with the three hosts, scraped every so many seconds."""
    running: dict[tuple[str, int], Queried] = {}
    with ExitStack() as stack:

        def started(name: str, scrape: int) -> Queried:
            if (name, scrape) not in running:
                folder: Path = tmp_path_factory.mktemp(f"{name}-{scrape}")
                if name == "prometheus":
                    running[name, scrape] = stack.enter_context(
                        prometheus_of(recorded(FLEET, scrape), folder)
                    )
                else:
                    victoria = stack.enter_context(Victoria(folder, retention=RETENTION))
                    fill(victoria, recorded(FLEET, scrape))
                    running[name, scrape] = victoria
            return running[name, scrape]

        yield started
