"""Seeded plans of faults, each of twelve simulated minutes: nothing is lost or counted twice.

CI and `tools/slow` run eight that have every kind of fault, and those that once failed.
`tools/nightly`, `tools/faults` and `tools/deep` run 200.
"""

from pathlib import Path

import pytest

from exporter.ledger.reader import LedgerReader
from tests.faults import books
from tests.faults.fault_plan import KINDS, TICKS, plan
from tests.faults.faulty_host import faulty_host
from tests.nightly import daily

EACH_DAY = (0, 1, 2, 3, 4, 5, 6, 13)

ONCE_FAILED: tuple[int, ...] = (19, 192)
"""Seeds of plans that found something, each mended since."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """As many plans as the command line asks for."""
    if "seed" in metafunc.fixturenames:
        first = range(metafunc.config.getoption("--plans"))
        seeds = [*first, *(seed for seed in ONCE_FAILED if seed not in first)]
        metafunc.parametrize("seed", daily(seeds, {*EACH_DAY, *ONCE_FAILED}))


def test_whatever_is_done_to_a_host_its_books_are_right(tmp_path: Path, seed: int) -> None:
    """Money by GPU, component and server to the picodollar, GPU time, tokens, requests; recovery unaided."""
    with faulty_host(tmp_path, plan(seed)) as host:
        host.live()
        with LedgerReader.open(host.path) as reader:
            totals = reader.totals(host.clock.wall(), ("2026-11",))
            days, hours = reader.days(0, 99_999_999), reader.hours(0, 10**9)
        books.check(host, totals, TICKS)
        # However often it was asked and whatever had failed, every family of totals is the same money.
        whole = sum(totals.cost.values())
        for history in (days, hours):
            assert history is not None
            for family in ("cost", "server_cost", "gpu_cost"):
                assert sum(sum(getattr(sums, family).values()) for sums in history.values()) == whole
        assert sum(totals.months.values()) == whole
        books.check_recovered(host)
        assert host.scrapes >= TICKS


def test_every_kind_of_fault_is_in_the_plans_of_each_day() -> None:
    """Eight plans leave none out."""
    assert {fault.kind for seed in EACH_DAY for fault in plan(seed)} == set(KINDS)
