"""A verb's use of the daemon's ledger: configuration, file and time zone."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from exporter.cli.build import host_name
from exporter.cli.terminal import write_colored
from exporter.clock import Clock
from exporter.config import Config, load
from exporter.config.settings import cost_policy
from exporter.cost.policy import CostPolicy
from exporter.ledger.reader import LedgerReader
from exporter.sources.location import location_now

NO_FILE: Final = (
    "no --config.file given: current prices are from the bundled catalogue. "
    "Give the daemon's file if it has one."
)


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

    def policy(self, clock: Clock) -> CostPolicy:
        """The prices of this host now. It may ask the cloud: call it with the ledger closed.

        While a reader has the ledger open, the daemon's log grows.
        """
        return cost_policy(self.config, host_name(), location_now(self.config, clock))

    def note_estimates(self) -> None:
        """Say that prices are estimates, where no configuration is given."""
        if self.config_file is None:
            write_colored(f"note: {NO_FILE}\n", sys.stderr)

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
