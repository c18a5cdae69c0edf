"""The verb `ledger adopt`."""

import sys

from exporter.cli import status
from exporter.cli.flags import LedgerFlags
from exporter.cli.status import failing
from exporter.cli.verb import Exits, verb
from exporter.clock import SystemClock
from exporter.config import load
from exporter.ledger.errors import LedgerError
from exporter.ledger.maintenance import adopt


@verb(
    "ledger adopt",
    "hand the ledger of another machine to this one",
    examples=(
        (
            "--ledger.path=/var/lib/inference-cost-exporter/ledger.db",
            "the daemon's next start continues it, on any machine",
        ),
    ),
    exits=Exits("done", "the ledger is in use, is missing or cannot be read"),
    options=LedgerFlags,
)
def ledger_adopt(options: LedgerFlags) -> int:
    """Hand a ledger to the machine that opens it next; returns the exit status."""
    path = options.ledger_path or load(options.config_file).ledger_path
    with failing(LedgerError):
        adopted = adopt(path, SystemClock())
    before = "is no longer bound to a machine" if adopted.bound else "was not bound to a machine"
    sys.stdout.write(
        f"{path}: ledger {adopted.ledger} {before}. The next start of the daemon binds it to the machine and "
        "the GPUs that it finds, and goes on with its id and totals.\n"
    )
    return status.OK
