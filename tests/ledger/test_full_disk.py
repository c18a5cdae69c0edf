"""A file system that is really full: totals stand still, then everything is there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import rights, tmpfs

FILLS_THE_DISK = """
import json
import sys
from pathlib import Path
from exporter.ledger.ledger import Ledger
from tests import tmpfs
from tests.kit.clock import clock_at
from tests.ledger.ticks import ExpectedTotals, accrued, numbered

disk = Path(sys.argv[1])
clock = clock_at()
ledger = Ledger.open(disk / "ledger.db", clock)
states, expected = [], ExpectedTotals()

def post(number):
    ledger.post(numbered(number), accrued(*map(numbered, range(1, number + 1))))
    expected.add(numbered(number))
    totals = ledger.totals(numbered(number).end, ("2026-11",))
    states.append((ledger.writable, ledger.problem, sum(totals.cost.values()), totals.residual))

post(1)
ballast = tmpfs.fill(disk)
for number in range(2, 12):
    post(number)
ballast.unlink()
post(12)
ledger.close()
again = Ledger.open(disk / "ledger.db", clock)
totals = again.totals(numbered(12).end, ("2026-11",))
again.close()
print(json.dumps([states, [str(family) for family in expected.differences(totals)], again.moved_aside]))
"""
STANDS_STILL = (
    "the ledger cannot be written (database or disk is full): totals stand still, "
    "metering goes on in memory and is written as soon as it can be"
)


def test_a_full_file_system_heals_when_there_is_room(tmp_path: Path) -> None:
    """Tick n adds 1,000,000 + n and 7: 1,000,008 stand still for ten ticks, then there are twelve."""
    if not tmpfs.mountable():
        pytest.skip(rights.MOUNTS)
    done = subprocess.run(
        tmpfs.command(tmp_path, sys.executable, "-c", FILLS_THE_DISK, str(tmp_path)),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    states, differences, moved_aside = json.loads(done.stdout)

    assert states[0] == [True, "", 1_000_008, 0]
    assert states[1:11] == [[False, STANDS_STILL, 1_000_008, 0]] * 10
    # 12 x 1,000,007 and 1 + 2 + ... + 12 = 78.
    assert states[11] == [True, "", 12_000_162, 0]
    assert (differences, moved_aside) == ([], None)
