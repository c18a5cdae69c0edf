"""Values of one commit: sums that are pending before it, its number and times, and the contents after it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from exporter.cost.postings import UnpricedTime
from exporter.cost.state import State
from exporter.ledger.contents import Contents
from exporter.ledger.database import FileMeta
from exporter.ledger.history import History, HistoryCache
from exporter.ledger.marks import MarkScope
from exporter.ledger.totals import Totals
from exporter.ledger.unpriced_time import recent_ranges
from exporter.units import Instant

FIRST: Final = 1
"""Number of a ledger's first commit."""


@dataclass(slots=True)
class Pending:
    """Sums since the last commit, and what the latest tick reported of the host."""

    totals: Totals = field(default_factory=Totals)
    history: History = field(default_factory=History)
    unpriced: Mapping[int, UnpricedTime] = field(default_factory=dict)
    """Changed ranges of unpriced time, by number."""
    state: State = field(default_factory=State)
    """State of the cost model after the latest tick."""
    texts: Mapping[MarkScope, str] = field(default_factory=dict)
    """Marks of the state of the cost model, as the file holds them."""
    end: Instant = 0
    """End of the latest tick."""
    machine: str = ""
    """Identity of the ledger's machine, empty while unknown."""
    host: str = ""
    """Name of the host, empty while unknown."""
    zone: str = ""
    """Time zone of the ledger's days, empty while unknown."""
    charges_late: bool = False
    """Whether the latest tick charged unpriced time whose price came."""
    host_end: Instant | None = None
    """When the host's cloud ends it, by its notice at the latest tick; `None` without a notice."""

    def copy(self) -> "Pending":
        """A copy to add to."""
        return replace(self, totals=self.totals.copy(), history=self.history.copy())


class CommitStamp(NamedTuple):
    """Number and times of a commit, the same in the file and in the contents in memory."""

    number: int
    """Number of commits up to this one. An older copy of the file has fewer."""
    written: Instant | None
    """Time of the commit; `None` in memory, where nothing is dated as written."""
    begun: Instant | None
    """Time of the first commit; `None` in memory."""

    @classmethod
    def after(cls, committed: Contents, now: Instant | None) -> "CommitStamp":
        """The stamp of the commit that follows the last one. In memory `now` is `None`."""
        number = committed.commits + 1
        return cls(number=number, written=now, begun=now if number == FIRST else committed.begun)


def file_meta(pending: Pending, stamp: CommitStamp, totals: Totals) -> FileMeta:
    """Single values of the file after a commit, which has this stamp and these totals."""
    return FileMeta(
        accrued=totals.accrued,
        accrued_by_state=pending.state.accrued,
        wall=pending.state.wall,
        committed=stamp.written,
        commits=stamp.number,
        begun=stamp.begun if stamp.number == FIRST else None,
        machine=pending.machine or None,
        host=pending.host or None,
        timezone=pending.zone or None,
        late_charge=pending.end if pending.charges_late else None,
        host_end=0 if pending.host_end is None else pending.host_end,
    )


def contents_after(
    committed: Contents, pending: Pending, *, totals: Totals, history: HistoryCache, stamp: CommitStamp
) -> Contents:
    """Contents after a commit. The contents at the last commit stay as they are.

    Args:
        committed: contents at the last commit.
        pending: what this commit added to them.
        totals: totals after this commit.
        history: cache of the file's history after this commit.
        stamp: number and times of this commit.
    """
    return replace(
        committed,
        totals=totals,
        day=committed.day.after(pending.history, pending.end),
        history=history,
        state=pending.state,
        texts=pending.texts,
        last_commit=stamp.written,
        commits=stamp.number,
        begun=stamp.begun,
        recent=recent_ranges(committed.recent, pending.unpriced, pending.end),
    )


def contents_in_memory(committed: Contents, pending: Pending) -> Contents:
    """Contents after a commit of a ledger without a file: sums are added, and history has no rows."""
    totals = committed.totals.with_added(pending.totals, pending.end).totals
    stamp = CommitStamp.after(committed, now=None)
    return contents_after(committed, pending, totals=totals, history={}, stamp=stamp)
