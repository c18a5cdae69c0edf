"""Hours under one fault after another, in one process: nothing that it holds grows with its uptime.

`python -m benchmarks.soak` does the same to a real daemon in real time.
"""

from pathlib import Path

import pytest

from exporter.ledger.reader import LedgerReader
from tests.faults import expected_totals
from tests.faults.fault_plan import plan
from tests.faults.faulty_host import UUIDS, FaultyHost, faulty_host
from tests.faults.process_usage import ProcessUsage, usage_of

WARMING = 3
PLANS = 14
"""Of 12 simulated minutes each, in which memory is looked at after each."""

WINDOW = 5
"""Memory goes up and down with what was last done: the least of so many looks is what is kept."""

BLOCKS = 2_500
"""What nearly two more hours may add, in blocks: 4 for each tick would be too many."""

BYTES = 100_000
"""What they may add to the ledger's file: hours of history."""


def live(host: FaultyHost, seeds: range) -> None:
    """One plan after another, but for those that end the process: it is its uptime that counts."""
    for seed in seeds:
        host.faults = tuple(fault for fault in plan(seed) if fault.kind != "killed")
        host.live()


@pytest.mark.nightly
def test_nothing_grows_with_uptime(tmp_path: Path) -> None:
    """Memory, descriptors, threads, file; and after all of it each GPU's rent is still exact."""
    with faulty_host(tmp_path, ()) as host:
        live(host, range(WARMING))
        samples: list[ProcessUsage] = []
        for seed in range(WARMING, WARMING + PLANS):
            live(host, range(seed, seed + 1))
            samples.append(usage_of(host))
        early, late = samples[:WINDOW], samples[-WINDOW:]
        for what in ("descriptors", "threads"):
            assert min(getattr(one, what) for one in late) == min(getattr(one, what) for one in early)
        assert min(one.blocks for one in late) - min(one.blocks for one in early) <= BLOCKS
        assert late[-1].file - early[-1].file <= BYTES
        with LedgerReader.open(host.path) as reader:
            rents = {
                UUIDS.index(gpu.uuid): value
                for (gpu, component), value in reader.totals(0, ()).gpu_cost.items()
                if component == "rent"
            }
        by_hand = expected_totals.money(host.elapsed)
        assert rents == {gpu: by_hand[gpu, "rent"] for gpu in expected_totals.RENT}
