"""Killed with SIGKILL at any instant of a running daemon under load: no picodollar and no token is lost."""

from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.expected_totals import PACES
from tests.e2e.killed_daemon import KillSeries, host
from tests.e2e.load_servers import Load
from tests.nightly import daily


@pytest.mark.parametrize(("kills", "gaps"), daily(((12, 0), (500, 3)), {(12, 0)}))
@pytest.mark.timeout(1200)
def test_killed_at_random_instants_the_books_stay_exact(kills: int, gaps: int, tmp_path: Path) -> None:
    """After each restart: price x boot time since the first tick, tokens as told, residual 0, no fall."""
    with Load(PACES) as load, closing(host(tmp_path, load)) as daemon:
        series = KillSeries(daemon, load, tmp_path / "copy", seed=20261125)
        series.begin()
        for _ in range(kills):
            series.kill()
        for _ in range(gaps):
            series.gap()
        series.end()

    assert sum(series.figures.kills.values()) == kills
    assert series.figures.pages > 1
