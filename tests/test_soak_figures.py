"""A soak fails where a daemon grows, by bounds that are worked here."""

from dataclasses import replace

import pytest

from benchmarks.soak_figures import Look, problems

FLAT = Look(0.5, resident_kib=50_000, descriptors=13, threads=11, ledger_kib=100, log_kib=1074)


def test_the_least_of_ten_minutes_counts() -> None:
    """A scrape opens a descriptor for a moment; the longest log counts, and the last ledger."""
    samples = [
        replace(FLAT, descriptors=14, log_kib=2000),
        replace(FLAT, hours=0.6, threads=12, ledger_kib=101),
    ]

    assert Look.least(samples) == replace(FLAT, hours=0.6, ledger_kib=101, log_kib=2000)


def test_a_flat_run_has_no_problems() -> None:
    """The second half may add 1 MiB of memory and 64 KiB of ledger an hour, and whatever the first added."""
    begun = replace(FLAT, resident_kib=40_000, descriptors=9, threads=8, ledger_kib=0)
    ended = replace(FLAT, hours=1.5, resident_kib=51_024, ledger_kib=164)

    assert list(problems([begun, FLAT, FLAT, ended])) == []


@pytest.mark.parametrize(
    ("grown", "problem"),
    [
        (replace(FLAT, resident_kib=51_025), "resident memory grew by 1,025 KiB"),
        (replace(FLAT, descriptors=14), "14 descriptors and not 13"),
        (replace(FLAT, threads=12), "12 threads and not 11"),
        (replace(FLAT, hours=2.5, ledger_kib=229), "the ledger grew by 129 KiB in 2.0 hours"),
        (replace(FLAT, log_kib=4097), "the ledger's log had 4,097 KiB"),
    ],
)
def test_growth_is_a_problem(grown: Look, problem: str) -> None:
    """One more descriptor or thread is; so is a little more than each bound."""
    assert list(problems([FLAT, FLAT, FLAT, grown])) == [problem]


def test_a_run_without_two_looks_shows_nothing() -> None:
    """Nor does it pass."""
    assert list(problems([FLAT])) == ["fewer than two looks"]
