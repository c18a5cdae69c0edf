"""The past of a fleet as text: what was scraped and what was recorded."""

import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.e2e.fleet.expected_hosts import DAY, HOUR, ExpectedFleet
from tests.e2e.fleet.page import page
from tests.e2e.fleet.records import memory

JOB = "inference-cost-exporter"
RECENT = 26 * HOUR
"""How long ago the denser part of what was scraped begins."""
DENSE = 120
"""Seconds between scrapes where somebody takes a rate of five minutes: in the last ones, and a day ago.

Prometheus goes on with a rate for as long after the last sample as there is between two of them.
"""
AROUND = 8 * DENSE
"""So that the last one is at the end itself, and as far from the one before as that from its own."""
LONGEST_BLOCK = "486h"
"""promtool reads the whole text once for each block: one block is made, and not one for each two hours."""

Sample = tuple[str, float, int]
"""Series, value, and seconds since the epoch."""


def moments(begin: int, recent: int, old: int) -> list[int]:
    """When the fleet was scraped, by seconds between two samples of the last day and of the days before."""
    dense = {*range(-AROUND, 1, DENSE), *range(-DAY - AROUND, -DAY + AROUND + 1, DENSE)}
    thin = {*range(begin, -RECENT, old), *range(max(begin, -RECENT), 1, recent)}
    return sorted(at for at in dense | thin if at >= begin)


def scraped(
    fleet: ExpectedFleet, now: int, begin: int, *, recent: int = 300, old: int = 1800
) -> Iterator[Sample]:
    """What Prometheus would have scraped until `now`."""
    times = moments(begin, recent, old)
    for host in fleet.hosts:
        alive = [at for at in sorted({*times, min(host.end - 1, 0)}) if host.alive(at)]
        target = {
            "cluster": host.cluster,
            "instance": host.instance,
            "job": JOB,
            "node": host.instance.partition(":")[0],
        }
        for line in page(host, fleet, now):
            series = line.series(**target)
            for at in alive:
                if (value := line.at(at)) is not None:
                    yield series, value, now + at


def recorded(
    fleet: ExpectedFleet, now: int, begin: int, step: int = 300, mean: int = 300
) -> Iterator[Sample]:
    """What the rules would have recorded until `now`, as far as anything looks back on it."""
    for item in memory(fleet, now, begin, step, mean):
        text = ",".join(f'{key}="{value}"' for key, value in sorted(item.labels.items()) if value)
        series = f"{item.name}{{{text}}}"
        for at in item.times:
            if (value := item.at(at)) is not None:
                yield series, value, now + at


def blocks(samples: Iterable[Sample], folder: Path) -> None:
    """Make the database that a Prometheus begins with."""
    folder.mkdir(parents=True, exist_ok=True)
    text = folder.with_suffix(".txt")
    # A series that was sampled in two ways has all its samples in order, as within one block they must be.
    ordered = sorted(samples, key=lambda sample: (sample[0], sample[2]))
    with text.open("w", encoding="utf-8") as file:
        file.writelines(f"{series} {value!r} {at}\n" for series, value, at in ordered)
        file.write("# EOF\n")
    command = [
        "promtool",
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        f"--max-block-duration={LONGEST_BLOCK}",
    ]
    made = subprocess.run(
        [*command, str(text), str(folder)], capture_output=True, text=True, check=False, timeout=120
    )
    assert made.returncode == 0, made.stdout + made.stderr
    text.unlink()


def imported(samples: Iterable[Sample]) -> bytes:
    """The same as VictoriaMetrics takes it: times in milliseconds."""
    return "".join(f"{series} {value!r} {at}000\n" for series, value, at in samples).encode()
