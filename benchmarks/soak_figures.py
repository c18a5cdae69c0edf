"""What a daemon holds over hours, and whether it grows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

GROWTH_KIB: Final = 1024
"""Resident memory that the second half of a run may add: a simulated day adds 1.5 times as much."""

LEDGER_KIB_PER_HOUR: Final = 64
"""Rows of history: ten servers and owners of one hour take fewer."""

LOG_KIB: Final = 4096
"""SQLite's log is checkpointed at 1,000 pages; a reader may keep it longer."""


@dataclass(frozen=True)
class Look:
    """The least that a process held in ten minutes, and the longest log."""

    hours: float
    resident_kib: float
    descriptors: int
    threads: int
    ledger_kib: float
    log_kib: float

    @classmethod
    def least(cls, samples: Sequence["Look"]) -> "Look":
        """Of all samples since the last look, at the time of the last one."""
        return cls(
            samples[-1].hours,
            min(one.resident_kib for one in samples),
            min(one.descriptors for one in samples),
            min(one.threads for one in samples),
            samples[-1].ledger_kib,
            max(one.log_kib for one in samples),
        )


def problems(looks: Sequence[Look]) -> Iterator[str]:
    """What grew in the second half of a run: in the first one, an hour of history fills."""
    if len(looks) < 2:
        yield "fewer than two looks"
        return
    middle, last = looks[len(looks) // 2 - 1], looks[-1]
    if (grown := last.resident_kib - middle.resident_kib) > GROWTH_KIB:
        yield f"resident memory grew by {grown:,.0f} KiB"
    if last.descriptors > middle.descriptors:
        yield f"{last.descriptors} descriptors and not {middle.descriptors}"
    if last.threads > middle.threads:
        yield f"{last.threads} threads and not {middle.threads}"
    hours = last.hours - middle.hours
    if (grown := last.ledger_kib - middle.ledger_kib) > LEDGER_KIB_PER_HOUR * max(1.0, hours):
        yield f"the ledger grew by {grown:,.0f} KiB in {hours:.1f} hours"
    if (longest := max(look.log_kib for look in looks)) > LOG_KIB:
        yield f"the ledger's log had {longest:,.0f} KiB"
