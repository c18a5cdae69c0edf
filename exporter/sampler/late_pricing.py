"""Late pricing: unpriced time is charged once a configuration prices it, a part of it each tick."""

import logging
from collections import Counter
from dataclasses import replace

from exporter.cost.accrual import charge_late
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import LateCharges, Postings
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.ledger.unpriced_time import FIRST, Cursor, UnpricedBatch
from exporter.readings import UNCOUNTED, ServerKey
from exporter.sampler.change_log import cents, dollars_by_server, top_payers
from exporter.tariff.tariff import Tariff
from exporter.units import NANOSECONDS_PER_HOUR, Nanoseconds

log = logging.getLogger(__name__)


class LatePricing:
    """Walks through all unpriced time, once for each tariff: under the same one nothing new gets a price.

    It walks once more when the number of the host's GPUs is known.

    Where the walk ends early, with the process, the next process starts it over: time that was charged is
    unpriced no more.
    """

    def __init__(self) -> None:
        self._tariff: Tariff | None = None
        self._uncounted = False
        self._cursor: Cursor | None = FIRST
        self._next: Cursor | None = FIRST
        self._batch: tuple[UnpricedBatch, LateCharges] | None = None
        self._priced = 0
        self._unpriced = 0
        self._paid: Counter[ServerKey] = Counter()
        self._postponed = False

    def charge(
        self, ledger: Ledger, postings: Postings, state: State, policy: CostPolicy
    ) -> tuple[Postings, State]:
        """A tick's postings and state to post, with a part of the unpriced time charged in them.

        The walk goes on when `charged` is called after that, and else charges the same part again: if it was
        posted all the same, none of it is unpriced any more.
        """
        counted_since = self._uncounted
        self._uncounted = UNCOUNTED.gpu_model in state.unseen
        counted_since = counted_since and not self._uncounted
        if policy.tariff != self._tariff or counted_since:
            self._tariff, self._cursor = policy.tariff, FIRST
        self._next, self._batch = self._cursor, None
        if self._cursor is None:
            return postings, state
        batch = ledger.unpriced(policy.zone, self._cursor)
        if batch is None:
            if not self._postponed:
                log.warning("late pricing postponed", extra={"see": "ledger"})
            self._postponed = True
            return postings, state
        self._postponed = False
        late = LateCharges()
        if batch.unpriced:
            state, late = charge_late(state, batch.unpriced, policy, postings.end)
            postings = replace(postings, late=late)
        self._next, self._batch = batch.after, (batch, late)
        return postings, state

    def charged(self) -> None:
        """Note that the last part was posted."""
        self._cursor, part, self._batch = self._next, self._batch, None
        if part is None:
            return
        batch, late = part
        if late.segments and not self._priced and self._cursor is not None:
            log.info("charging unpriced time", extra={"see": "report month"})
        priced = sum(time.duration for segment in late.segments for time in segment.gpu_times)
        self._priced += priced
        self._unpriced += sum(used.time for each in batch.unpriced for used in each.usage.values()) - priced
        self._paid.update(dollars_by_server(late.segments))
        if self._cursor is None:
            self._log()

    def _log(self) -> None:
        if self._priced:
            log.info(
                "unpriced time charged",
                extra={
                    "gpu_hours": _hours(self._priced),
                    "dollars": cents(self._paid.total()),
                    "payers": top_payers(self._paid),
                    "gpu_hours_waiting": _hours(self._unpriced),
                },
            )
        self._priced = self._unpriced = 0
        self._paid.clear()


def _hours(duration: Nanoseconds) -> str:
    return f"{duration / NANOSECONDS_PER_HOUR:.4f}"
