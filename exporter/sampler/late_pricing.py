"""Late pricing: unpriced time is charged once a configuration prices it, a part of it each tick."""

import logging
from collections import Counter
from dataclasses import replace
from typing import NamedTuple

from exporter.cost.late_accrual import charge_late
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import LateCharges, Postings
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.ledger.unpriced_time import FIRST, Cursor, UnpricedBatch
from exporter.readings import UNCOUNTED, ServerKey
from exporter.sampler.change_log import cents, dollars_by_server, top_servers
from exporter.tariff.tariff import Tariff
from exporter.units import NANOSECONDS_PER_HOUR, Nanoseconds

log = logging.getLogger(__name__)


class TickToPost(NamedTuple):
    """A tick's postings and state, with the charges of a part of the unpriced time in them."""

    postings: Postings
    state: State
    batch: UnpricedBatch | None = None
    """The part of the unpriced time; `None` if the tick has none."""
    charges: LateCharges = LateCharges()


class LatePricing:
    """Walks through all unpriced time, once for each tariff: under the same one nothing new gets a price.

    It walks once more when the number of the host's GPUs is known.

    Where the walk ends early, with the process, the next process starts it over: time that was charged is
    unpriced no more.
    """

    def __init__(self) -> None:
        self._tariff: Tariff | None = None
        """The tariff of the walk."""
        self._uncounted = False
        """Whether the number of the host's GPUs was unknown in the last tick."""
        self._cursor: Cursor | None = FIRST
        """Where the next part begins; `None` at the end of the walk."""
        self._postponed = False
        """Whether the ledger could not read unpriced time in the last tick that needed it."""
        self._priced: Nanoseconds = 0
        """GPU time that the walk has charged so far."""
        self._unpriced: Nanoseconds = 0
        """GPU time that the walk has met so far and that has no price yet."""
        self._money: Counter[ServerKey] = Counter()
        """Money of the walk so far, by server."""

    def with_late_charges(
        self, postings: Postings, state: State, *, ledger: Ledger, policy: CostPolicy
    ) -> TickToPost:
        """A tick's postings and state to post, with a part of the unpriced time charged in them.

        The walk goes on once `note_posted` is called, and else charges the same part again. Where that part
        was posted all the same, none of its time is unpriced any more.
        """
        was_uncounted = self._uncounted
        self._uncounted = UNCOUNTED.gpu_model in state.unseen
        is_count_new = was_uncounted and not self._uncounted
        if policy.tariff != self._tariff or is_count_new:
            self._tariff = policy.tariff
            self._cursor = FIRST
        if self._cursor is None:
            return TickToPost(postings, state)
        batch = ledger.unpriced(self._cursor)
        if batch is None:
            if not self._postponed:
                log.warning("late pricing postponed", extra={"see": "ledger"})
            self._postponed = True
            return TickToPost(postings, state)
        self._postponed = False
        if not batch.unpriced:
            return TickToPost(postings, state, batch)
        state_after, charges = charge_late(state, batch.unpriced, policy, postings.end)
        return TickToPost(replace(postings, late=charges), state_after, batch, charges)

    def note_posted(self, posted: TickToPost) -> None:
        """Go on after a tick that was posted, and log the end of the walk."""
        if posted.batch is None:
            return
        self._cursor = posted.batch.after
        segments = posted.charges.segments
        if segments and not self._priced and self._cursor is not None:
            log.info("charging unpriced time", extra={"see": "report month"})
        priced = sum(time.duration for segment in segments for time in segment.gpu_times)
        unpriced = sum(usage.time for hour in posted.batch.unpriced for usage in hour.usage.values())
        self._priced += priced
        self._unpriced += unpriced - priced
        self._money.update(dollars_by_server(segments))
        if self._cursor is not None:
            return
        if self._priced:
            log.info(
                "unpriced time charged",
                extra={
                    "gpu_hours": _hours(self._priced),
                    "dollars": cents(self._money.total()),
                    "by_server": top_servers(self._money),
                    "gpu_hours_waiting": _hours(self._unpriced),
                },
            )
        self._priced = self._unpriced = 0
        self._money.clear()


def _hours(duration: Nanoseconds) -> str:
    return f"{duration / NANOSECONDS_PER_HOUR:.4f}"
