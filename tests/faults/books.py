"""The ledger of a faulty host against the reckoning beside it."""

from collections import Counter

from exporter.report import CommittedTotals
from tests.faults import expected_totals
from tests.faults.expected_totals import ALLOCATED
from tests.faults.fault_plan import GPUS
from tests.faults.faulty_host import NAMES, UUIDS, FaultyHost


def check(host: FaultyHost, totals: CommittedTotals, ticks: int) -> None:
    """Money by GPU, component and server to the picodollar, GPU time to a nanosecond a tick, all counts.

    Raises:
        AssertionError: something is not as reckoned.
    """
    _check_money(host, totals)
    _check_time(host, totals, ticks)
    _check_counts(host, totals)


def _check_money(host: FaultyHost, totals: CommittedTotals) -> None:
    by_hand = expected_totals.money(host.elapsed)
    by_gpu = {
        (UUIDS.index(gpu.uuid), component): value for (gpu, component), value in totals.gpu_cost.items()
    }
    # Said in full: pytest explains no comparison outside of a file of tests.
    differences = {
        key: (by_gpu.get(key), by_hand.get(key))
        for key in by_gpu.keys() | by_hand.keys()
        if by_gpu.get(key) != by_hand.get(key)
    }
    assert differences == {}, differences
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


def _check_time(host: FaultyHost, totals: CommittedTotals, ticks: int) -> None:
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
        assert least - ticks <= idle[name] <= most + ticks


def _check_counts(host: FaultyHost, totals: CommittedTotals) -> None:
    counts: Counter[tuple[int, str]] = Counter()
    for (owner, kind), count in totals.tokens.items():
        counts[NAMES.index(owner.server), kind] += count
    for owner, count in totals.requests.items():
        counts[NAMES.index(owner.server), "requests"] += count
    assert dict(counts) == expected_totals.tokens(host.expected.now)


def check_recovered(host: FaultyHost) -> None:
    """After two minutes of peace everything is read again, and written."""
    report = host.report
    assert report is not None
    assert {row.source for row in report.sources if not row.up} == set()
    assert all(gpu.up for gpu in report.gpus)
    assert report.totals is not None
    assert (report.totals.writable, report.totals.persistent) == (True, True)
