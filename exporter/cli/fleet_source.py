"""The flags of a fleet's sources, and the months that they give."""

import argparse
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from exporter.cli.ledger_session import NoAnswerError
from exporter.cli.terminal import ProgressBar
from exporter.units import Instant

if TYPE_CHECKING:
    from exporter.config import Config
    from exporter.finance.fleet.overheads import FleetOverheads, SpreadRule
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


WITHOUT: Final = "none"
"""Value of `--overheads` that leaves them out."""


def add_overheads(verb: argparse.ArgumentParser) -> None:
    """Add the flag of overheads of the fleet."""
    verb.add_argument(
        "--overheads",
        type=_rule_value,
        metavar="RULE",
        help="with --from, how overheads `per: fleet` of --config.file are spread: gpu-hours, dollars, equal "
        "(over products), PRODUCT=SHARE,... or none (default gpu-hours)",
    )


def _rule_value(text: str) -> "SpreadRule | str":
    from exporter.finance.fleet.overheads import BASES, SHARE_PARTS, SpreadRule  # noqa: PLC0415 - for this flag

    if text == WITHOUT:
        return WITHOUT
    for basis in BASES:
        if text == basis != "shares":
            return SpreadRule(basis)
    shares: dict[str, int] = {}
    for part in text.split(","):
        product, equals, share = part.rpartition("=")
        if not equals or not product or not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", share):
            raise argparse.ArgumentTypeError(
                f"{part!r} is no rule: expected gpu-hours, dollars, equal, none, or shares like "
                "chat=60,search=40"
            )
        if product in shares:
            raise argparse.ArgumentTypeError(f"product {product!r} has two shares")
        shares[product] = int(Decimal(share) * SHARE_PARTS)
    if not any(shares.values()):
        raise argparse.ArgumentTypeError("all shares are 0")
    return SpreadRule("shares", shares)


@dataclass(frozen=True, slots=True)
class FleetSource:
    """Where the months of several hosts are read from, and what is allowed of them.

    `overheads` is the rule by which those of the fleet are spread, `WITHOUT` to leave them out. `None`: by
    GPU-hours, if the configuration has any.
    """

    sources: Sequence[Path]
    mixed_zones: bool = False
    skip_unreadable: bool = False
    overheads: "SpreadRule | str | None" = None

    @classmethod
    def of(cls, options: argparse.Namespace) -> "FleetSource | None":
        """The source that flags name; `None` for the daemon's ledger. Exits on flags that clash."""
        if not options.sources:
            for flag in ("mixed_zones", "skip_unreadable", "overheads"):
                if getattr(options, flag):
                    options.parser.error(f"--{flag.replace('_', '-')} needs --from")
            return None
        if options.ledger_path is not None:
            options.parser.error("--from takes the place of --ledger.path: give one of them")
        return cls(tuple(options.sources), options.mixed_zones, options.skip_unreadable, options.overheads)

    def read(
        self, period: "Period", zone: ZoneInfo, now: Instant, days: Collection[str] = ()
    ) -> "FleetMonth":
        """The period of all hosts.

        Args:
            period: the month or other period.
            zone: the time zone of ledgers that do not name theirs.
            now: the present.
            days: families of history that are needed by day.

        Raises:
            NoAnswerError: a source cannot be read, or the months cannot be added up.
        """
        from exporter.finance.fleet.folder import FolderError, LedgerFolder  # noqa: PLC0415 - for these flags
        from exporter.finance.fleet.record import FleetError, combine  # noqa: PLC0415

        folder = LedgerFolder(self.sources, period, zone.key, skip=self.skip_unreadable, days=days)
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

    def fleet_overheads(
        self, config: "Config", period: "Period", zone: ZoneInfo, now: Instant
    ) -> "FleetOverheads | None":
        """Overheads of the fleet in a period, up to now; `None` to leave them out.

        Raises:
            NoAnswerError: a rule is given, and the configuration has no such overhead.
        """
        from exporter.finance.fleet.overheads import (  # noqa: PLC0415 - as in `read`
            BY_GPU_HOURS,
            FleetOverheads,
            fleet_amounts,
        )

        if isinstance(self.overheads, str):
            return None
        if not any(overhead.per == "fleet" for overhead in config.overheads):
            if self.overheads is not None:
                raise NoAnswerError(
                    "--overheads: the configuration has no overhead `per: fleet`: give it with --config.file"
                )
            return None
        amounts = fleet_amounts(config.overheads, period, zone, now)
        return FleetOverheads(amounts, self.overheads or BY_GPU_HOURS)
