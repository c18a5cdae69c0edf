"""How far a projection was from the truth, hour by hour."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from benchmarks.projection.scenarios import HISTORY, MONTH, Trace

TICKET: Final = 0.1
"""A budget this much above the month: a projection beyond it for two hours is a false ticket."""

AFTER: Final = (30, 48, 168)
"""Hours since a change at which the error is shown."""

Rates = Mapping[int, float]
"""A rate for the hours left by index of the hour."""


@dataclass(frozen=True, slots=True)
class Score:
    """Means over the variants of a scenario; ratios of the month."""

    at: tuple[float | None, ...]
    """Signed error so many hours after the change; None where nothing changes."""
    mean: float
    """Mean absolute error from the fourth day on."""
    worst: float
    """Greatest error, signed."""
    false: float
    """Hours of a false ticket in a month."""
    missed: float
    """Hours after the change, three days before the end or earlier, in which it is more than 10 % short."""


@dataclass(frozen=True, slots=True)
class Band:
    """How often a band held the month, and its mean width."""

    holds: float
    width: float


def left(index: int) -> int:
    """Hours of the month after this one."""
    return HISTORY + MONTH - 1 - index


def errors(trace: Trace, rates: Rates) -> dict[int, float]:
    """Error of each hour of the month with a meter, as a part of the truth."""
    return {
        index: (trace.spent[index] + rates.get(index, 0.0) * left(index)) / trace.truth[index] - 1
        for index in range(max(trace.first, HISTORY), HISTORY + MONTH)
        if trace.truth[index] > 0
    }


def runs(hours: Sequence[int]) -> int:
    """Hours that follow one of the same kind."""
    present = set(hours)
    return sum(hour - 1 in present for hour in hours)


def score(traces: Sequence[Trace], rates: Sequence[Rates], wait: int = 0) -> Score:
    """Of one estimator; `wait`: hours of data before it may raise a ticket."""
    errors_by_trace = [errors(trace, each) for trace, each in zip(traces, rates, strict=True)]
    at: list[float | None] = []
    for hours in AFTER:
        changed = [
            error[trace.change + hours]
            for trace, error in zip(traces, errors_by_trace, strict=True)
            if trace.change is not None and trace.change + hours in error and left(trace.change + hours) > 0
        ]
        at.append(fmean(changed) if changed else None)
    mean, worst, false, missed = [], [], [], []
    for trace, error in zip(traces, errors_by_trace, strict=True):
        late = {index: value for index, value in error.items() if index >= HISTORY + 72}
        mean.append(fmean(map(abs, late.values())))
        worst.append(max(late.values(), key=abs))
        begin = trace.first + wait if trace.installed else 0
        false.append(runs([index for index, value in error.items() if value > TICKET and index >= begin]))
        since = HISTORY if trace.change is None else trace.change
        missed.append(
            sum(value < -TICKET for index, value in error.items() if index >= since and left(index) >= 72)
        )
    return Score(tuple(at), fmean(mean), fmean(worst), fmean(false), fmean(missed))


def band(
    traces: Sequence[Trace], low: Sequence[Rates], high: Sequence[Rates], middle: Sequence[Rates]
) -> Band:
    """From a day after the installation to the last day."""
    holds, width = [], []
    for trace, lows, highs, rates in zip(traces, low, high, middle, strict=True):
        for index in range(max(trace.first + 24, HISTORY), HISTORY + MONTH - 24):
            truth = trace.truth[index]
            if truth <= 0:
                continue
            spent, hours = trace.spent[index], left(index)
            margin = 0.01 * (spent + rates.get(index, 0.0) * hours)
            least = spent + max(0.0, lows.get(index, 0.0) * hours - margin)
            most = spent + highs.get(index, 0.0) * hours + margin
            holds.append(least <= truth * 1.001 and most >= truth * 0.999)
            width.append((most - least) / truth)
    return Band(fmean(holds), fmean(width))
