"""The time zone of the days that a verb tells: the daemon's, as the ledger remembers it."""

import sys
from pathlib import Path
from zoneinfo import ZoneInfo

from exporter.cli.terminal import tell
from exporter.config import Config
from exporter.ledger.reader import LedgerReader


def books_zone(ledger: LedgerReader, config: Config, config_file: Path | None) -> ZoneInfo:
    """The time zone of the last tick; where the ledger tells none, the configuration's.

    A configuration's file that names another one is told on standard error: the daemon has yet to read it, or
    it is not the daemon's.

    Raises:
        LedgerError: this machine does not know the ledger's time zone.
    """
    zone = ledger.zone()
    if zone is None:
        return config.timezone
    if config_file is not None and zone.key != config.timezone.key:
        told = (
            f"note: days and months are those of {zone.key}, which the daemon went by at its last tick; "
            f"{config_file} says {config.timezone.key}, which counts once the daemon has read it\n"
        )
        tell(told, sys.stderr)
    return zone
