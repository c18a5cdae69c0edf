"""A month of hours with faults, in one process: the books are exact, and growth has a bound.

Each hour a server is killed, NVML hangs and something else fails; each ten minutes the configuration is
reloaded with a change; three clients scrape each tick. `python -m benchmarks.soak` does so in real time.
"""

import random
from pathlib import Path
from typing import Final

import pytest

from exporter.ledger.reader import LedgerReader
from tests.faults import books
from tests.faults.fault_plan import GPUS, KINDS, LAST_FAULT, NVML_CALLS, SERVERS, TICKS, Fault
from tests.faults.faulty_host import faulty_host
from tests.faults.process_usage import ProcessUsage, usage_of
from tests.kit.units import SECOND

DAYS: Final = 30
DAY_HOURS: Final = 24
INTERVAL: Final = 50 * SECOND
"""72 ticks are an hour, 12 are ten minutes; after 60 s a tick would be a gap."""

SCRAPERS: Final = 3
WINDOW: Final = 5
"""Days: memory goes up and down with what was last done, so the least of so many days counts."""

BLOCKS_PER_HOUR: Final = 150
"""Of memory: 60 to 100 were seen, as much as an hour of history takes. A block each tick is 72 more."""

BYTES_PER_HOUR: Final = 3_000
"""Of the ledger: hours are kept for 40 days."""

OTHERS: Final = sorted(
    KINDS.keys()
    - {"server killed", "nvml hangs", "stopped", "killed", "scrapers"}
    - {kind for kind in KINDS if kind.startswith("energy")}
)
"""What else fails, but for what ends the process, whose uptime counts."""


def hour(number: int) -> tuple[Fault, ...]:
    """What is done in one hour."""
    chance = random.Random(number)  # noqa: S311 - to be repeated, not to be secret
    other = chance.choice(OTHERS)
    longest, draw = KINDS[other]

    def at_random(kind: str, length: int, targets: int, how: str) -> Fault:
        start = chance.randint(1, LAST_FAULT - length + 1)
        return Fault(start, length, kind, chance.randrange(targets), how)

    faults = [
        at_random("server killed", chance.randint(1, 3), SERVERS, ""),
        at_random("nvml hangs", chance.randint(1, 3), GPUS, chance.choice(NVML_CALLS)),
        at_random(
            other, chance.randint(1, longest), SERVERS if other.startswith("server") else GPUS, draw(chance)
        ),
        *(Fault(tick, 1, "reload", 0, f"product-{tick // 12 % 2}") for tick in range(1, TICKS, 12)),
    ]
    return tuple(sorted(faults))


@pytest.mark.nightly
@pytest.mark.timeout(3600)  # a quarter of an hour of CPU
def test_a_month_of_faults_leaves_exact_books_and_the_same_process(tmp_path: Path) -> None:
    """Money, GPU time, tokens and requests as reckoned; all hours, days and months hold the same money."""
    with faulty_host(tmp_path, (), INTERVAL, SCRAPERS) as host:
        samples: list[ProcessUsage] = []
        for day in range(DAYS):
            for number in range(DAY_HOURS):
                host.faults = hour(day * DAY_HOURS + number)
                host.live()
            samples.append(usage_of(host))
        with LedgerReader.open(host.path) as reader:
            totals = reader.totals(host.clock.wall(), ("2026-11", "2026-12"))
        books.check(host, totals, DAYS * DAY_HOURS * TICKS)
        assert sum(totals.months.values()) == sum(totals.cost.values())
        books.check_recovered(host)
        assert host.scrapes >= SCRAPERS * DAYS * DAY_HOURS * TICKS
    early, late = samples[1 : 1 + WINDOW], samples[-WINDOW:]
    hours = (DAYS - WINDOW - 1) * DAY_HOURS
    for what in ("descriptors", "threads"):
        assert min(getattr(one, what) for one in late) == min(getattr(one, what) for one in early)
    assert min(one.blocks for one in late) - min(one.blocks for one in early) <= BLOCKS_PER_HOUR * hours
    assert late[-1].file - early[-1].file <= BYTES_PER_HOUR * hours


def test_each_hour_has_its_faults() -> None:
    """A server killed, NVML hung, something else and six reloads, each with a change."""
    kinds = [fault.kind for fault in hour(7)]
    products = [fault.how for fault in hour(7) if fault.kind == "reload"]

    assert (len(kinds), kinds.count("reload")) == (9, 6)
    assert {"server killed", "nvml hangs"} < set(kinds)
    assert products == ["product-0", "product-1"] * 3
