"""A daemon that posts until it is killed, and a file as a power cut would leave it."""

import shutil
from pathlib import Path

POSTS_WITHOUT_END = """
import sys
from pathlib import Path
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from tests.kit.clock import clock_at
from tests.ledger.ticks import CHAT, numbered

ledger = Ledger.open(Path(sys.argv[1]), clock_at())
assert ledger.persistent, ledger.problem
number = ledger.totals(0, ()).requests.get(CHAT, 0)
accrued = ledger.state().accrued
while True:
    number += 1
    postings = numbered(number)
    accrued += postings.segments[0].accrued
    ledger.post(postings, State(wall=postings.end, accrued=accrued))
    assert ledger.writable, ledger.problem
    print(number, flush=True)
"""


def copied(path: Path, folder: Path) -> Path:
    """The file and its log as they are now: what a power cut would leave."""
    folder.mkdir()
    for suffix in ("", "-wal"):
        if (present := Path(f"{path}{suffix}")).exists():
            shutil.copyfile(present, folder / f"ledger.db{suffix}")
    return folder / "ledger.db"
