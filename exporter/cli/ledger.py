"""The verb `ledger adopt`."""

import sys

from exporter.cli import flags, status
from exporter.cli.flags import Exits, LedgerFlags
from exporter.cli.status import failing, with_exit_status
from exporter.clock import SystemClock
from exporter.config import load
from exporter.ledger.errors import LedgerError
from exporter.ledger.maintenance import adopt


def add(verbs: flags.Verbs) -> None:
    """Add it to the program's parser."""
    group = flags.add_group(verbs, "ledger", "ledger maintenance", "adopt --ledger.path=/srv/ice/ledger.db")
    flags.add_verb(
        group.add_subparsers(dest="act", required=True, metavar="adopt"),
        "adopt",
        "hand the ledger of another machine to this one",
        examples=(
            (
                "--ledger.path=/var/lib/inference-cost-exporter/ledger.db",
                "the daemon's next start continues it, on any machine",
            ),
        ),
        exits=Exits("done", "the ledger is in use, is missing or cannot be read"),
        of="ledger",
        options=LedgerFlags,
        run=run,
    )


@with_exit_status
def run(options: LedgerFlags) -> int:
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
