"""Simulate months of many fleets and score the projection, with the rules of production in promtool.

python -m benchmarks.projection --write: all, 29 scenarios of 14 variants, ten minutes of a quiet core.
python -m benchmarks.projection --variants 1 steady "doubles on day 15": one of two.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import Final

from benchmarks import results
from benchmarks.projection.fleets import evaluate
from benchmarks.projection.scenarios import HISTORY, MONTH, VARIANTS, SpendScenario, Trace, scenarios, trace
from benchmarks.projection.score import AFTER, Band, Rates, Score, band, score

PAGE: Final = Path(__file__).parents[2] / "docs" / "projection.md"
WAIT: Final = 24
"""Hours of data before the alert on a projection can fire."""

BOUND: Final = 0.9
"""Part of all hours in which the band holds the month."""

RatesByScenario = dict[str, dict[str, list[Rates]]]
"""Rates by scenario and record, one of each variant."""


def simulate(
    chosen: Sequence[SpendScenario], variants: int, jobs: int
) -> tuple[dict[str, list[Trace]], RatesByScenario]:
    """Traces and what the rules make of them; all scenarios of two variants at a time."""
    hours = range(HISTORY, HISTORY + MONTH)
    traces: dict[str, list[Trace]] = {one.name: [] for one in chosen}
    rates_by_scenario: RatesByScenario = {one.name: {} for one in chosen}

    def run(first: int) -> tuple[list[Trace], dict[str, list[dict[int, float]]]]:
        some = [trace(one, v) for v in range(first, min(first + 2, variants)) for one in chosen]
        with tempfile.TemporaryDirectory() as folder:
            return some, dict(evaluate([one.recorded for one in some], hours, Path(folder)))

    with ThreadPoolExecutor(jobs) as pool:
        for some, rates in pool.map(run, range(0, variants, 2)):
            for number, one in enumerate(some):
                traces[one.scenario].append(one)
                for key, values in rates.items():
                    rates_by_scenario[one.scenario].setdefault(key, []).append(values[number])
    return traces, rates_by_scenario


def percent(value: float | None) -> str:
    """Signed, whole."""
    return "" if value is None else f"{100 * value:+.0f}"


def report(traces: dict[str, list[Trace]], rates_by_scenario: RatesByScenario) -> tuple[str, float]:
    """The table, and the part of hours in which the band held."""
    rows, before, after, bands = [], [], [], []
    for name, some in traces.items():
        rates = rates_by_scenario[name]
        old, new = score(some, rates["before"]), score(some, rates["rest"], WAIT)
        share_in_band = band(some, rates["low"], rates["high"], rates["rest"])
        before.append(old)
        after.append(new)
        bands.append(share_in_band)
        rows.append(row(name, old, new, share_in_band))
    total = (
        "**all**",
        *([""] * len(AFTER)),
        f"{100 * fmean(one.mean for one in before):.1f} / {100 * fmean(one.mean for one in after):.1f}",
        f"{sum(one.false for one in before):,.0f} / {sum(one.false for one in after):,.0f}",
        f"{sum(one.missed for one in before):,.0f} / {sum(one.missed for one in after):,.0f}",
        f"{100 * fmean(one.holds for one in bands):.0f}",
        f"{100 * fmean(one.width for one in bands):.0f}",
    )
    headings = (
        "fleet",
        *(f"+{hours} h" for hours in AFTER),
        "mean error",
        "false ticket, h",
        "short, h",
        "band holds",
        "band width",
    )
    variants = max(map(len, traces.values()))
    words = f"{len(rows)} kinds of months, {variants} variants of each.\n\n"
    return words + results.plain(headings, (*rows, total)), fmean(one.holds for one in bands)


def row(name: str, old: Score, new: Score, share_in_band: Band) -> tuple[str, ...]:
    """One scenario: before / after."""
    pairs = [
        f"{percent(was)} / {percent(now)}" if was is not None else ""
        for was, now in zip(old.at, new.at, strict=True)
    ]
    return (
        name,
        *pairs,
        f"{100 * old.mean:.1f} / {100 * new.mean:.1f}",
        f"{old.false:.0f} / {new.false:.0f}",
        f"{old.missed:.0f} / {new.missed:.0f}",
        f"{100 * share_in_band.holds:.0f}",
        f"{100 * share_in_band.width:.0f}",
    )


def main() -> int:
    """Return 1 where the band holds the month less often than promised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.projection", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the table to docs/projection.md")
    parser.add_argument("--variants", type=int, default=VARIANTS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("only", nargs="*", choices=[*(one.name for one in scenarios()), []])
    options = parser.parse_args()
    chosen = [one for one in scenarios() if not options.only or one.name in options.only]
    table, holds = report(*simulate(chosen, options.variants, options.jobs))
    print(table)
    if options.write:
        results.write("projection", table, PAGE)
    return int(holds < BOUND)


if __name__ == "__main__":
    sys.exit(main())
