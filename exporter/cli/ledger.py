"""The `ledger` verbs' wiring."""

import sys
from pathlib import Path

from exporter.cli import status
from exporter.cli.terminal import complain
from exporter.clock import SystemClock
from exporter.config import ConfigError, load
from exporter.ledger.errors import LedgerError
from exporter.ledger.maintenance import adopt as let_go


def adopt(config_file: Path | None, ledger_path: Path | None) -> int:
    """Hand a ledger to the machine that opens it next; returns the exit status."""
    try:
        path = ledger_path or load(config_file).ledger_path
        adopted = let_go(path, SystemClock())
    except ConfigError as error:
        complain(error)
        return status.CONFIGURATION
    except LedgerError as error:
        complain(error)
        return status.FAILED
    before = "is no longer bound to a machine" if adopted.bound else "was not bound to a machine"
    sys.stdout.write(
        f"{path}: ledger {adopted.ledger} {before}. "
        "The next start of the daemon binds it to the machine and the GPUs that it finds, "
        "and goes on with its id and totals.\n"
    )
    return status.OK
