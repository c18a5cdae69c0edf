"""What part of a GPU a MIG profile is. Pure but for the table it reads."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from exporter.tariff.table import Row

SLICES: Final = 7
"""Compute slices of a card that can be cut, but for those of four."""

_OF_FOUR: Final = re.compile(r"\b(A30|RTX PRO 6000)\b")


def slices_of_gpu(name: str) -> int:
    """The compute slices of a card by the name that NVML tells, whether or not the table has the card."""
    return 4 if _OF_FOUR.search(name) else SLICES


@dataclass(frozen=True, slots=True)
class MigProfile:
    """One profile on one model. `most` is how many fit at once, `None` where the source does not say."""

    gpu_model: str
    profile: str
    compute: Fraction
    """Its compute slices over the card's: over 7, on A30 and RTX PRO 6000 over 4."""
    memory_gb: Fraction
    most: int | None

    def share(self, memory_gib: Fraction) -> Fraction:
        """Its part of a card's money: the larger of compute and memory, at most the card."""
        return min(Fraction(1), max(self.compute, self.memory_gb / memory_gib))


def mig_profile(table: Iterable[Row], gpu_model: str, profile: str) -> MigProfile | None:
    """A profile of a model, `None` where the catalogue has none of that name.

    Raises:
        CatalogueError: the table is damaged.
    """
    for row in table:
        if row["gpu_model"] == gpu_model and row["profile"] == profile:
            most = row["most"] and row.count("most")
            return MigProfile(
                gpu_model=gpu_model,
                profile=profile,
                compute=row.count("slices") / row.count("slices_of_gpu"),
                memory_gb=row.count("memory_gb"),
                most=int(most) if most else None,
            )
    return None
