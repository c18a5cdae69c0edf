"""The past that rules look back on, as blocks: without it a young Prometheus has nothing to add up."""

import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.fleet.hosts import PERIOD_SECONDS
from benchmarks.fleet.panels import RANGES, Panel, timed
from benchmarks.fleet.prometheus import CORES, RULES, seconds

RANGE: Final = r"\[(?P<range>(?:\d+[smhdw])+)(?P<sub>:\w*)?\]"
SHIFT: Final = r"(?:\s+offset\s+(?P<offset>(?:\d+[smhdw])+))?"
SELECTED: Final = re.compile(rf"(?P<name>\binference[\w:]+)(?:\{{[^}}]*\}})?(?:{RANGE})?{SHIFT}")
AROUND: Final = re.compile(rf"\)\s*{RANGE}{SHIFT}")
"""The end of a subquery of more than a name."""

BLOCK_SECONDS: Final = 54 * 3600
"""As long as Prometheus makes blocks with 40 days of retention, so that it has nothing to compact."""

SHORT_SECONDS: Final = 300
"""What rules look back on for less than this, scraping fills by itself."""

MONTH_SECONDS: Final = 30 * 86_400
FACTORS: Final = (1.0, 1.0071, 0.9893, 1.0131, 0.9957, 1.0023, 0.9941)
"""A history that never moves would be smaller and read faster than a real one."""

POSTING: Final = "inference:month_to_date_dollars:posting"
HOURLY: Final = "inference:month_to_date_dollars:posting_hourly"
GONE: Final = "inference:month_to_date_dollars:gone"
LEDGER_CLUSTERS: Final = "inference:ledger_cluster_hourly"


@dataclass(frozen=True, slots=True)
class Past:
    """How far back a series is asked for, and how often it has a sample; in seconds."""

    back: int
    step: int


@dataclass(frozen=True, slots=True)
class PastSeries:
    """One series of the past, as text: its name with labels, and the values that it takes in turn."""

    name: str
    values: tuple[str, ...]
    start: int
    end: int
    step: int


def lookbacks(expr: str) -> dict[str, int]:
    """Seconds that an expression looks back on each name, ranges and offsets around it included."""
    around = []
    for match in AROUND.finditer(expr):
        begin, depth = match.start(), 1
        while depth:
            begin -= 1
            depth += {")": 1, "(": -1}.get(expr[begin], 0)
        around.append((begin, match.start(), _back(match)))
    backs: dict[str, int] = {}
    for match in SELECTED.finditer(expr):
        outer = sum(back for begin, end, back in around if begin < match.start() < end)
        backs[match["name"]] = max(backs.get(match["name"], 0), _back(match) + outer)
    return backs


def _back(match: re.Match[str]) -> int:
    return seconds(match["range"] or "") + seconds(match["offset"] or "")


def pasts(listed: Sequence[Panel] = ()) -> dict[str, Past]:
    """What the rules look back on, and panels at their longest range, by name.

    Panels look on the records alone: a month of what all hosts export is more than a benchmark can write.
    """
    groups = [
        group
        for file in sorted(RULES.glob("*-rules.yml"))
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    ]
    steps = {
        rule["record"]: seconds(group["interval"])
        for group in groups
        for rule in group["rules"]
        if "record" in rule
    }
    lookback_seconds = [lookbacks(rule["expr"]) for group in groups for rule in group["rules"]]
    for panel in listed:
        for query in panel.queries:
            reach = 0 if query.instant else max(RANGES.values())
            backs = lookbacks(timed(query.expr, reach, panel.step(reach), panel.least))
            lookback_seconds.append({name: back + reach for name, back in backs.items() if name in steps})
    backs: dict[str, int] = {}
    for one in lookback_seconds:
        for name, back in one.items():
            backs[name] = max(back, backs.get(name, 0))
    return {
        name: Past(back, steps.get(name, PERIOD_SECONDS))
        for name, back in backs.items()
        if back > SHORT_SECONDS
    }


def series(row: dict[str, Any], past: Past, now: int) -> PastSeries:
    """The past of a series that Prometheus has now."""
    value = float(row["value"][1])
    steady = row["metric"]["__name__"].endswith("_timestamp_seconds")
    values = (value,) if steady else tuple(value * factor for factor in FACTORS)
    return PastSeries(_name(row["metric"]), tuple(map(repr, values)), now - past.back, now, past.step)


def gone(rows: list[dict[str, Any]], past: Past, ledgers: int, now: int) -> Iterator[PastSeries]:
    """Months of as many hosts as came and went within the month, evenly; each spent what one of `rows` did.

    What a host that is gone had spent does not move any more.
    """
    by_ledger: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_ledger.setdefault(row["metric"]["ledger"], []).append(row)
    living = list(by_ledger.values())
    for number in range(ledgers):
        born = now - MONTH_SECONDS + number * MONTH_SECONDS // ledgers
        for row in living[number % len(living)]:
            metric = row["metric"] | {"ledger": f"f{number:07x}{row['metric']['ledger'][8:]}"}
            start = max(min(born, now - past.step), now - past.back)  # the youngest has one sample
            yield PastSeries(_name(metric), (row["value"][1],), start, now, past.step)


def _name(metric: dict[str, str]) -> str:
    labels = ",".join(f'{key}="{value}"' for key, value in metric.items() if key != "__name__")
    return f"{metric['__name__']}{{{labels}}}"


def write(past: Iterable[PastSeries], folder: Path, now: int) -> int:
    """Blocks of all series below a folder, two at a time; how many samples."""
    listed = list(past)
    begin = min(one.start for one in listed) // BLOCK_SECONDS * BLOCK_SECONDS
    with ThreadPoolExecutor(CORES) as pool:
        counts = [
            pool.submit(_write_block, listed, folder, start, min(start + BLOCK_SECONDS, now))
            for start in range(begin, now, BLOCK_SECONDS)
        ]
        return sum(count.result() for count in counts)


def _write_block(listed: list[PastSeries], folder: Path, start: int, end: int) -> int:
    samples = 0
    file = folder.with_name(f"{start}.om")
    with file.open("w", encoding="utf-8") as out:
        for one in listed:
            first = -(-max(one.start, start) // one.step) * one.step
            moments = range(first, min(one.end, end), one.step)
            values = one.values
            out.write(
                "".join(
                    f"{one.name} {values[index % len(values)]} {moment}\n"
                    for index, moment in enumerate(moments)
                )
            )
            samples += len(moments)
        out.write("# EOF\n")
    subprocess.run(
        (
            *("promtool", "tsdb", "create-blocks-from", f"--max-block-duration={BLOCK_SECONDS}s"),
            *("openmetrics", str(file), str(folder), "-q"),
        ),
        check=True,
    )
    file.unlink()
    return samples
