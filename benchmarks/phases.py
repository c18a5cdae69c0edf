"""How far each method of splitting prefill from decode is from the truth, on a simulated engine.

From the root of the repository; the second writes what the first prints into docs/split.md::

    python -m benchmarks.phases
    python -m benchmarks.phases --update

The books' own arithmetic splits each tick of 10 s, as a server's page would let it; the shares of the ticks
are weighed by their GPU seconds, as money is. The first hour is not counted: sums that trail begin empty.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.batching import TICK, Engine, Tick, Workload
from exporter.cost import split
from exporter.cost.policy import SplitMethod, SplitRule
from exporter.cost.split import ModelDelta, PhaseSeconds
from exporter.cost.state import ModelState
from exporter.readings import TokenKind
from exporter.units import nanoseconds

PAGE: Final = Path(__file__).parent.parent / "docs" / "split.md"
BEGIN: Final = "<!-- what `python -m benchmarks.phases` prints -->\n"
END: Final = "<!-- end -->\n"

CLOSE: Final = 0.25
"""Relative error up to which a share counts as close."""

HOURS: Final = 2
SEED: Final = 7

WORKLOADS: Final = (
    Workload("chat", 5.0, 800, 250),
    Workload("heavy chat", 11.0, 800, 250),
    Workload("light", 0.2, 800, 250),
    Workload("saturated", 30.0, 800, 250),
    Workload("retrieval", 3.2, 5000, 250),
    Workload("long generation", 0.5, 500, 4000),
)

Report = Callable[[Tick], ModelDelta]
"""The deltas of a tick that a server's page reports."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One workload on one engine: the true share, the mean of requests running, and each method's share."""

    workload: Workload
    true: float
    added: float
    running: float
    shares: dict[str, float]

    def error(self, method: str) -> float:
        """Relative to the truth."""
        return self.shares[method] / self.true - 1


def engine_seconds(tick: Tick) -> ModelDelta:
    """A server that reports GPU seconds by phase."""
    return ModelDelta(_tokens(tick), None, tick.running, 1, PhaseSeconds(tick.prefill, tick.decode))


def request_seconds(tick: Tick) -> ModelDelta:
    """A server that reports request seconds."""
    seconds = PhaseSeconds(tick.request_prefill, tick.request_decode)
    return ModelDelta(_tokens(tick), seconds, tick.running, 1)


def _tokens(tick: Tick) -> dict[TokenKind, int]:
    return {"prompt": tick.prompt, "generation": tick.generation}


def outcome(workload: Workload, *, mixes: bool) -> Outcome:
    """Run one workload for two hours; the second counts."""
    pages: dict[SplitMethod, Report] = {
        "engine": engine_seconds,
        "time": request_seconds,
        "weights": request_seconds,
    }
    states = dict.fromkeys(pages, ModelState())
    shares: dict[str, float] = dict.fromkeys(pages, 0.0)
    busy = true = added = 0.0
    running = 0
    warm = round(3600 / TICK)
    for number, tick in enumerate(Engine(mixes).run(workload, HOURS * 3600.0, SEED)):
        for method, page in pages.items():
            rule = SplitRule(method=method)
            states[method], seconds = split.advance_phases(
                states[method], page(tick), nanoseconds(TICK), rule
            )
            if number >= warm and seconds.prefill_ratio is not None:
                shares[method] += seconds.prefill_ratio * tick.busy
        if number >= warm:
            busy += tick.busy
            true += tick.truly_prefill
            added += tick.added_by_prefill
            running += tick.running
    return Outcome(
        workload,
        true / busy,
        added / busy,
        running / (HOURS * warm - warm),
        {method: share / busy for method, share in shares.items()},
    )


def outcomes(*, mixes: bool) -> tuple[Outcome, ...]:
    """Every workload on one kind of engine."""
    return tuple(outcome(workload, mixes=mixes) for workload in WORKLOADS)


def text(mixing: tuple[Outcome, ...], apart: tuple[Outcome, ...]) -> str:
    """Both tables: of an engine that mixes, and of one that does not."""
    return "\n".join(
        [
            "An engine that computes prompts while others decode, and reports request seconds:",
            "",
            *_table(mixing, "time"),
            "",
            "An engine that computes prompts in iterations of their own, and reports GPU seconds:",
            "",
            *_table(apart, "engine"),
            "",
        ]
    )


def _table(rows: tuple[Outcome, ...], auto: str) -> Iterator[str]:
    yield (
        "| workload | requests/s | prompt | answer | running | true share | `engine` | `time` | `weights` "
        f"| `auto` = `{auto}` | error if a prompt costs only what it adds |"
    )
    yield "| --- " + "| ---: " * 8 + "| --- | ---: |"
    for row in rows:
        load = row.workload
        close = "close" if abs(row.error(auto)) <= CLOSE else "not close"
        methods = ("engine", "time", "weights")
        cells = [
            load.name,
            f"{load.requests_per_second:g}",
            f"{load.prompt:,}",
            f"{load.generation:,}",
            f"{row.running:.1f}",
            f"{row.true:.3f}",
            *(f"{row.shares[method]:.3f} ({_percent(row.error(method))})" for method in methods),
            close,
            _percent(row.shares[auto] / row.added - 1),
        ]
        yield f"| {' | '.join(cells)} |"


def _percent(error: float) -> str:
    return f"{round(error, 2) + 0.0:+.0%}"  # no negative zero


def split_page(page: str) -> tuple[str, str, str]:
    """A page before the printed text, that text, and the page after it."""
    before, rest = page.split(BEGIN)
    printed, after = rest.split(END)
    return before, printed, after


def main() -> int:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write the tables into docs/split.md")
    printed = text(outcomes(mixes=True), outcomes(mixes=False))
    if parser.parse_args().update:
        before, _old, after = split_page(PAGE.read_text(encoding="utf-8"))
        PAGE.write_text(f"{before}{BEGIN}{printed}{END}{after}", encoding="utf-8")
    else:
        print(printed, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
