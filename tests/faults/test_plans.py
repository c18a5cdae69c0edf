"""Seeded plans of faults, each of twelve simulated minutes: nothing is lost or counted twice.

`pytest tests/faults` runs the first 20, and those that once failed; `make faults` and `make deep` run 200.
"""

from collections import Counter
from pathlib import Path

import pytest

from exporter.ledger.reader import LedgerReader
from exporter.report import CommittedTotals
from tests.faults import reckoning
from tests.faults.plan import GPUS, KINDS, TICKS, plan
from tests.faults.reckoning import HELD
from tests.faults.rig import NAMES, UUIDS, Rig, rig

ONCE_FAILED: tuple[int, ...] = (192,)
"""Seeds of plans that found something, each mended since."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """As many plans as the command line asks for."""
    if "seed" in metafunc.fixturenames:
        first = range(metafunc.config.getoption("--plans"))
        metafunc.parametrize("seed", [*first, *(seed for seed in ONCE_FAILED if seed not in first)])


def test_whatever_is_done_to_a_host_its_books_are_right(tmp_path: Path, seed: int) -> None:
    """Money by GPU, component and server to the picodollar, GPU time, tokens, requests; recovery unaided."""
    with rig(tmp_path, plan(seed)) as host:
        host.live()
        with LedgerReader.open(host.path) as reader:
            books = reader.books(host.clock.wall(), ("2026-11",))
            days, hours = reader.days(0, 99_999_999), reader.hours(0, 10**9)
        _check_money(host, books)
        _check_time(host, books)
        _check_counts(host, books)
        # However often it was asked and whatever had failed, every family of totals is the same money.
        whole = sum(books.cost.values())
        for history in (days, hours):
            assert history is not None
            for family in ("cost", "server_cost", "gpu_cost"):
                assert sum(sum(getattr(sums, family).values()) for sums in history.values()) == whole
        assert sum(books.months.values()) == whole
        _check_recovered(host)
        assert host.scrapes >= TICKS


def _check_money(host: Rig, books: CommittedTotals) -> None:
    by_hand = reckoning.money(host.elapsed)
    by_gpu = {(UUIDS.index(gpu.uuid), component): value for (gpu, component), value in books.gpu_cost.items()}
    assert by_gpu == by_hand
    servers = reckoning.by_server(by_hand)
    named = {NAMES[number] if number is not None else "unallocated": told for number, told in servers.items()}
    by_phase: Counter[str] = Counter()
    for slot, value in books.cost.items():
        by_phase[slot.owner.server] += value
    by_component: Counter[str] = Counter()
    for (owner, _), value in books.server_cost.items():
        by_component[owner.server] += value
    assert dict(by_phase) == dict(by_component) == named


def _check_time(host: Rig, books: CommittedTotals) -> None:
    """GPUs times elapsed time; idle is at least what was told to be, at most that and what was not seen."""
    held: Counter[str] = Counter()
    idle: Counter[str] = Counter()
    for slot, duration in books.gpu_time.items():
        held[slot.owner.server] += duration
        idle[slot.owner.server] += duration if slot.phase == "idle" else 0
    assert sum(held.values()) == GPUS * host.elapsed
    for number, name in enumerate(NAMES):
        assert held[name] == len(HELD[number]) * host.elapsed
    for number, (least, most) in host.reckoning.idle(host.elapsed).items():
        name = "unallocated" if number is None else NAMES[number]
        assert least - TICKS <= idle[name] <= most + TICKS


def _check_counts(host: Rig, books: CommittedTotals) -> None:
    told: Counter[tuple[int, str]] = Counter()
    for (party, kind), count in books.tokens.items():
        told[NAMES.index(party.server), kind] += count
    for party, count in books.requests.items():
        told[NAMES.index(party.server), "requests"] += count
    assert dict(told) == reckoning.tokens(host.reckoning.now)


def _check_recovered(host: Rig) -> None:
    """After two minutes of peace everything is read again, and written."""
    report = host.report
    assert report is not None
    assert {row.source for row in report.sources if not row.up} == set()
    assert all(gpu.up for gpu in report.gpus)
    assert report.books is not None
    assert (report.books.writable, report.books.persistent) == (True, True)


def test_every_kind_of_fault_is_in_the_first_plans() -> None:
    """Twenty plans leave none out."""
    assert {fault.kind for seed in range(20) for fault in plan(seed)} == set(KINDS)
