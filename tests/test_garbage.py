"""Garbage collection: what is imported is left out, and free lists are emptied as a daemon ticks."""

import gc
import subprocess
import sys

import pytest

from exporter.garbage import TICKS_BETWEEN_COLLECTIONS, GarbageCollection


def ran(code: str) -> list[int]:
    """The numbers that a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def test_the_collector_goes_over_no_import_again() -> None:
    """Garbage in cycles waited until it was a quarter of all objects."""
    (frozen,) = ran(
        "import gc, exporter.cli.serve\nfrom exporter.garbage import settle\n"
        "settle()\nprint(gc.get_freeze_count())"
    )
    assert frozen > 10_000


def test_it_collects_once_in_so_many_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not more often: with 256 servers a search takes 20 ms."""
    calls: list[None] = []
    monkeypatch.setattr(gc, "collect", lambda: calls.append(None))
    collection = GarbageCollection()
    done = []
    for _ in range(2 * TICKS_BETWEEN_COLLECTIONS + 1):
        collection.note_tick()
        done.append(len(calls))

    assert done == [0] * (TICKS_BETWEEN_COLLECTIONS - 1) + [1] * TICKS_BETWEEN_COLLECTIONS + [2, 2]


def test_tuples_of_generators_do_not_add_up() -> None:
    """Each tick of this one leaves fifty in Python's free lists, as one of a host of four servers does."""
    grown, left = ran(
        "import sys\n"
        "from exporter.garbage import TICKS_BETWEEN_COLLECTIONS, GarbageCollection, settle\n"
        "settle()\n"
        "collection = GarbageCollection()\n"
        "def tick():\n"
        "    for _ in range(50):\n"
        "        tuple(number for number in (1, 2, 3))\n"
        "    collection.note_tick()\n"
        "before = sys.getallocatedblocks()\n"
        "for _ in range(TICKS_BETWEEN_COLLECTIONS - 1): tick()\n"
        "grown = sys.getallocatedblocks() - before\n"
        "tick()\n"
        "print(grown, sys.getallocatedblocks() - before)\n"
    )
    assert grown > 50 * (TICKS_BETWEEN_COLLECTIONS - 2)
    assert left < 50
