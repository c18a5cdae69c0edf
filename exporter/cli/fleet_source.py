"""The flags of a fleet's sources, and the months that they give."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from exporter.cli.ledger_session import NoAnswerError
from exporter.cli.terminal import ProgressBar
from exporter.units import Instant

if TYPE_CHECKING:
    from exporter.finance.fleet.record import FleetMonth
    from exporter.tariff.period import Period


def add(verb: argparse.ArgumentParser) -> None:
    """Add the flags."""
    group = verb.add_argument_group("several hosts")
    group.add_argument(
        "--from",
        dest="sources",
        action="append",
        type=Path,
        metavar="FOLDER",
        help="report for all ledgers of a folder, or for one ledger file, in place of the daemon's ledger; "
        "repeatable",
    )
    group.add_argument(
        "--mixed-zones",
        action="store_true",
        help="add up hosts of different time zones (default: refuse and list them)",
    )
    group.add_argument(
        "--skip-unreadable",
        action="store_true",
        help="leave out files that cannot be read, and name them (default: refuse)",
    )


@dataclass(frozen=True, slots=True)
class FleetSource:
    """Where the months of several hosts are read from, and what is allowed of them."""

    sources: Sequence[Path]
    mixed_zones: bool = False
    skip_unreadable: bool = False

    @classmethod
    def of(cls, options: argparse.Namespace) -> "FleetSource | None":
        """The source that flags name; `None` for the daemon's ledger. Exits on flags that clash."""
        if not options.sources:
            for flag in ("mixed_zones", "skip_unreadable"):
                if getattr(options, flag):
                    options.parser.error(f"--{flag.replace('_', '-')} needs --from")
            return None
        if options.ledger_path is not None:
            options.parser.error("--from takes the place of --ledger.path: give one of them")
        return cls(tuple(options.sources), options.mixed_zones, options.skip_unreadable)

    def read(self, period: "Period", zone: ZoneInfo, now: Instant) -> "FleetMonth":
        """The period of all hosts.

        Args:
            period: the month or other period.
            zone: the time zone of ledgers that do not name theirs.
            now: the present.

        Raises:
            NoAnswerError: a source cannot be read, or the months cannot be added up.
        """
        from exporter.finance.fleet.folder import FolderError, LedgerFolder  # noqa: PLC0415 - for these flags
        from exporter.finance.fleet.record import FleetError, combine  # noqa: PLC0415

        folder = LedgerFolder(self.sources, period, zone.key, skip=self.skip_unreadable)
        try:
            with ProgressBar("reading ledgers") as bar:
                headers = folder.headers(bar.show)
            while True:
                try:
                    return combine(
                        headers,
                        now,
                        mixed_zones=self.mixed_zones,
                        load=folder.load,
                        unreadable=[each.finding for each in folder.unreadable],
                    )
                except FolderError:
                    # A file that was read before cannot be read again. Without it, a copy may count.
                    if not self.skip_unreadable:
                        raise
                    failed = {each.location for each in folder.unreadable}
                    headers = [header for header in headers if header.location not in failed]
        except FleetError as error:
            raise NoAnswerError(str(error)) from error
