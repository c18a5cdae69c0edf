"""Seeded plans of faults, each of twelve simulated minutes: nothing is lost or counted twice.

CI and `make slow` run eight that have every kind of fault, and those that once failed.
`make nightly`, `make faults` and `make deep` run 200.
"""

from collections import Counter
from pathlib import Path

import pytest

from exporter.ledger.reader import LedgerReader
from exporter.report import CommittedTotals
from tests.faults import expected_totals
from tests.faults.expected_totals import ALLOCATED
from tests.faults.fault_plan import GPUS, KINDS, TICKS, plan
from tests.faults.faulty_host import NAMES, UUIDS, FaultyHost, faulty_host
from tests.nightly import daily

EACH_DAY = (0, 1, 2, 3, 4, 5, 6, 13)

ONCE_FAILED: tuple[int, ...] = (192,)
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
        _check_money(host, totals)
        _check_time(host, totals)
        _check_counts(host, totals)
        # However often it was asked and whatever had failed, every family of totals is the same money.
        whole = sum(totals.cost.values())
        for history in (days, hours):
            assert history is not None
            for family in ("cost", "server_cost", "gpu_cost"):
                assert sum(sum(getattr(sums, family).values()) for sums in history.values()) == whole
        assert sum(totals.months.values()) == whole
        _check_recovered(host)
        assert host.scrapes >= TICKS


def _check_money(host: FaultyHost, totals: CommittedTotals) -> None:
    by_hand = expected_totals.money(host.elapsed)
    by_gpu = {
        (UUIDS.index(gpu.uuid), component): value for (gpu, component), value in totals.gpu_cost.items()
    }
    assert by_gpu == by_hand
    servers = expected_totals.by_server(by_hand)
    named = {
        NAMES[number] if number is not None else "unallocated": amount for number, amount in servers.items()
    }
    by_phase: Counter[str] = Counter()
    for owner_phase, value in totals.cost.items():
        by_phase[owner_phase.owner.server] += value
    by_component: Counter[str] = Counter()
    for (owner, _), value in totals.server_cost.items():
        by_component[owner.server] += value
    assert dict(by_phase) == dict(by_component) == named


def _check_time(host: FaultyHost, totals: CommittedTotals) -> None:
    """GPUs times elapsed time; idle is at least what was told to be, at most that and what was not seen."""
    allocated: Counter[str] = Counter()
    idle: Counter[str] = Counter()
    for owner_phase, duration in totals.gpu_time.items():
        allocated[owner_phase.owner.server] += duration
        idle[owner_phase.owner.server] += duration if owner_phase.phase == "idle" else 0
    assert sum(allocated.values()) == GPUS * host.elapsed
    for number, name in enumerate(NAMES):
        assert allocated[name] == len(ALLOCATED[number]) * host.elapsed
    for number, (least, most) in host.expected.idle(host.elapsed).items():
        name = "unallocated" if number is None else NAMES[number]
        assert least - TICKS <= idle[name] <= most + TICKS


def _check_counts(host: FaultyHost, totals: CommittedTotals) -> None:
    counts: Counter[tuple[int, str]] = Counter()
    for (owner, kind), count in totals.tokens.items():
        counts[NAMES.index(owner.server), kind] += count
    for owner, count in totals.requests.items():
        counts[NAMES.index(owner.server), "requests"] += count
    assert dict(counts) == expected_totals.tokens(host.expected.now)


def _check_recovered(host: FaultyHost) -> None:
    """After two minutes of peace everything is read again, and written."""
    report = host.report
    assert report is not None
    assert {row.source for row in report.sources if not row.up} == set()
    assert all(gpu.up for gpu in report.gpus)
    assert report.totals is not None
    assert (report.totals.writable, report.totals.persistent) == (True, True)


def test_every_kind_of_fault_is_in_the_plans_of_each_day() -> None:
    """Eight plans leave none out."""
    assert {fault.kind for seed in EACH_DAY for fault in plan(seed)} == set(KINDS)
