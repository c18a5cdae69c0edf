"""A verb's use of the daemon's ledger: configuration, file and time zone."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from exporter.cli.terminal import write_colored
from exporter.config import Config, load
from exporter.ledger.reader import LedgerReader


@dataclass(frozen=True, slots=True)
class LedgerSession:
    """The configuration that a verb is given, and the path of the ledger that belongs to it."""

    config_file: Path | None
    config: Config
    path: Path

    @classmethod
    def of(cls, config_file: Path | None, ledger_path: Path | None) -> "LedgerSession":
        """Load the configuration.

        Raises:
            ConfigError: it is wrong.
        """
        config = load(config_file)
        return cls(config_file, config, ledger_path or config.ledger_path)

    @contextmanager
    def open(self) -> Iterator[tuple[LedgerReader, ZoneInfo]]:
        """The ledger, open for reading, and the time zone of its days.

        Raises:
            LedgerError: the ledger cannot be read, or this machine does not know its time zone.
        """
        with LedgerReader.open(self.path) as ledger:
            yield ledger, self.zone(ledger)

    def zone(self, ledger: LedgerReader) -> ZoneInfo:
        """The time zone of the daemon's last tick; the configuration's where the ledger has none.

        A note on standard error says that the configuration file names another one: the daemon has yet to
        read it, or it is not the daemon's.

        Raises:
            LedgerError: this machine does not know the ledger's time zone.
        """
        zone = ledger.zone()
        if zone is None:
            return self.config.timezone
        configured = self.config.timezone.key
        if self.config_file is not None and zone.key != configured:
            note = (
                f"note: days and months are those of {zone.key}, which the daemon went by at its last tick; "
                f"{self.config_file} says {configured}, which counts once the daemon has read it\n"
            )
            write_colored(note, sys.stderr)
        return zone
