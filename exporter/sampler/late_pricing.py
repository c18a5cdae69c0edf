"""Time without a price, charged when a plan brings one: a part of it each tick."""

import logging
from collections import Counter
from dataclasses import replace
from typing import Protocol
from zoneinfo import ZoneInfo

from exporter.cost.accrual import charge_late
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import LateCharges, Postings
from exporter.cost.state import State
from exporter.ledger.unpriced_time import FIRST, Cursor, UnpricedBatch
from exporter.readings import ServerKey
from exporter.sampler.change_log import cents, dollars_by_server, top_payers
from exporter.tariff.tariff import Tariff
from exporter.units import NANOSECONDS_PER_HOUR, Nanoseconds

log = logging.getLogger(__name__)


class Ledger(Protocol):
    """The books as they tell what waits."""

    def unpriced(self, zone: ZoneInfo, place: Cursor) -> UnpricedBatch | None:
        """A part of what waits; `None` while that cannot be told."""
        ...


class LatePricing:
    """Walks through all that waits, once for each tariff: under the same one nothing new gets a price.

    Where the walk ends early, with the process, the next process begins it anew: what was charged no longer
    waits.
    """

    def __init__(self) -> None:
        self._tariff: Tariff | None = None
        self._place: Cursor | None = FIRST
        self._next: Cursor | None = FIRST
        self._told: tuple[UnpricedBatch, LateCharges] | None = None
        self._settled = 0
        self._waiting = 0
        self._paid: Counter[ServerKey] = Counter()
        self._held_up = False

    def charge(
        self, ledger: Ledger, postings: Postings, state: State, terms: CostPolicy
    ) -> tuple[Postings, State]:
        """A tick's postings and state, with a part of what waits in them; they are to be posted.

        The walk goes on when `charged` is called after that, and else charges the same part again: of what
        was charged all the same, nothing waits any more.
        """
        if terms.tariff != self._tariff:
            self._tariff, self._place = terms.tariff, FIRST
        self._next, self._told = self._place, None
        if self._place is None:
            return postings, state
        batch = ledger.unpriced(terms.zone, self._place)
        if batch is None:
            if not self._held_up:
                log.warning("time without a price cannot be charged yet", extra={"see": "ledger"})
            self._held_up = True
            return postings, state
        self._held_up = False
        self._next, self._told = batch.after, (batch, LateCharges())
        if batch.unpriced:
            state, late = charge_late(state, batch.unpriced, terms, postings.end)
            postings = replace(postings, late=late)
            self._told = batch, late
        return postings, state

    def charged(self) -> None:
        """What was charged last was posted."""
        self._place, told, self._told = self._next, self._told, None
        if told is None:
            return
        self._count(*told)
        if self._place is None:
            self._tell()

    def _count(self, batch: UnpricedBatch, late: LateCharges) -> None:
        settled = sum(held.duration for segment in late.segments for held in segment.held)
        self._settled += settled
        self._waiting += sum(used.time for each in batch.unpriced for used in each.slots.values()) - settled
        self._paid.update(dollars_by_server(late.segments))

    def _tell(self) -> None:
        if self._settled:
            told = {
                "gpu_hours": _hours(self._settled),
                "dollars": cents(self._paid.total()),
                "payers": top_payers(self._paid),
                "gpu_hours_waiting": _hours(self._waiting),
            }
            log.info("time that had no price was charged", extra=told)
        self._settled = self._waiting = 0
        self._paid.clear()


def _hours(duration: Nanoseconds) -> str:
    return f"{duration / NANOSECONDS_PER_HOUR:.4f}"
