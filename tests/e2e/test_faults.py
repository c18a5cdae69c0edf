"""Five short plans of faults on a real process: none loses a picodollar or a token, none stops `/metrics`."""

from pathlib import Path

import pytest

from exporter.ledger.reader import LedgerReader
from tests import rights, tmpfs
from tests.e2e.expected_totals import HostTotals
from tests.e2e.faulty_servers import FAULTS, GPUS, plans, trial

PLANS = 5
SEED = 20261126
EACH_DAY = {1, 3}

pytestmark = pytest.mark.timeout(240)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(
            number,
            marks=[
                pytest.mark.xdist_group(f"faults {number}"),
                *([] if number in EACH_DAY else [pytest.mark.nightly]),
            ],
        )
        for number in range(PLANS)
    ],
)
def test_a_plan_of_faults_costs_nobody_anything(tmp_path: Path, number: int) -> None:
    """Whatever is done, prices times time and the servers' own counters are what the books hold."""
    if not tmpfs.mountable():
        pytest.skip(rights.MOUNTS)
    kinds = plans(SEED, PLANS)[number]
    with trial(tmp_path, number) as under:
        under.run(kinds)
        for server in under.load.servers.values():
            server.freeze()
        pages = [under.daemon.settled(), *under.daemon.pages]
        under.away.set()
        assert under.daemon.terminate() == 0
    with LedgerReader.open(under.daemon.ledger) as reader:
        account = HostTotals.of_ledger(reader.totals(0, ()), GPUS)
    assert account.differences() == []
    assert account.tokens == {name: server.expected() for name, server in under.load.servers.items()}
    # Absent while the report is stale, as after a standstill.
    residuals = [value for page in pages for value in page.matching("inference_ledger_residual_dollars")]
    assert len(residuals) > len(kinds)
    assert set(residuals) == {0.0}


def test_the_plans_hold_every_fault() -> None:
    """None is left to chance."""
    assert {kind for plan in plans(SEED, PLANS) for kind in plan} == set(FAULTS)
