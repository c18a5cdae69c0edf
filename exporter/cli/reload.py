"""Price corrections that a reload makes due: posted money at the old and the new prices."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from exporter.ledger.errors import LedgerError
from exporter.ledger.reader import LedgerReader
from exporter.readings import Gpu
from exporter.reports.correction_proposals import sentences
from exporter.tariff.tariff import Tariff
from exporter.units import Instant

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TariffChange:
    """The prices of this host before and after a reload at an instant, and the GPUs that it has."""

    old: Tariff
    new: Tariff
    gpus: tuple[Gpu, ...]
    zone: ZoneInfo
    now: Instant


def notice(change: TariffChange, ledger: Path | None, flags: Sequence[str]) -> tuple[str, ...]:
    """Lines for people; none if no price of posted money changed. Without a ledger they name no amounts.

    A ledger that cannot be read costs the lines about it, not the reload.
    """
    if change.old == change.new:
        return ()
    tariffs = change.old, change.new
    if ledger is not None:
        try:
            with LedgerReader.open(ledger) as reader:
                last = reader.state().wall
                now = change.now if last is None else min(last, change.now)
                return sentences(*tariffs, reader, change.gpus, change.zone, now, flags)
        except LedgerError as error:
            log.warning("price corrections unavailable", extra={"problem": str(error)})
    return sentences(*tariffs, None, change.gpus, change.zone, change.now, flags)
