"""GPU models: the model of a name, as NVML reports it or Kubernetes labels it. Pure but for its table."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Final, Literal

from exporter.tariff.csv_tables import Row
from exporter.units import BYTES_PER_GIBIBYTE

SLICES: Final = 7
"""Compute slices of a MIG card, except cards with four."""

_OF_FOUR: Final = re.compile(r"\b(A30|RTX PRO 6000)\b")


def slices_of_gpu(name: str) -> int:
    """The compute slices of a card by its NVML name, whether or not the table has the card."""
    return 4 if _OF_FOUR.search(name) else SLICES


_DRIVER_PREFIXES: Final = (
    "NVIDIA ",
    "Tesla ",
    "GeForce ",
    "Quadro ",
    "GRID ",
    "TITAN ",
    "Orin",
    "Graphics Device",
)
"""Prefixes of names as drivers report them; labels and people leave them out."""

_BETWEEN = re.compile(r"[\s_-]+")


def driver_names(names: Iterable[str]) -> Iterator[str]:
    """Names of the catalogue that drivers report; a prefix for a name that ends in `*`."""
    return (name.removesuffix("*") for name in names if name.startswith(_DRIVER_PREFIXES))


def unmatched_name_problem(pattern: str, names: Iterable[str]) -> str | None:
    """Why a pattern matches no name of a GPU, as the end of a sentence; `None` where it matches one, or may.

    An unknown name may be of a model that is newer than the catalogue. It is a problem only where it cannot
    be a name, or where it is a part of a known one.

    Args:
        pattern: of `match.gpu_model`.
        names: known ones, as drivers report them.
    """
    known_names = tuple(names)
    if any(fnmatchcase(name, pattern) for name in known_names):
        return None
    of_a_part = [name for name in known_names if is_part(pattern.removeprefix("NVIDIA "), name)]
    if not of_a_part and pattern.startswith(("*", "?", "[", *_DRIVER_PREFIXES)):
        return None
    by_spelling = {_one_spelling(name): name for name in reversed(of_a_part or known_names)}
    (nearest,) = get_close_matches(_one_spelling(pattern.strip("*")), by_spelling, n=1, cutoff=0)
    return (
        f'"{pattern}" matches no GPU: it covers the whole name, and case counts; names are like '
        f'"{by_spelling[nearest]}", and `doctor` shows those of a host'
    )


def is_part(pattern: str, text: str) -> bool:
    """Whether a pattern matches a part of a text, where case and dashes do not count."""
    part = _BETWEEN.sub(" ", pattern.strip("*")).strip().casefold()
    return bool(part) and fnmatchcase(_BETWEEN.sub(" ", text).casefold(), f"*{part}*")


Unit = Literal["gpu", "box"]

MEMORY_TOLERANCE: Final = 0.15
"""NVML reports up to 8 % less than the board has (ECC, firmware); other board sizes differ by more."""

_SHARED = re.compile(r" SHARED$")
_MIG = re.compile(r" MIG (?:\d+C\.)?\d+G\.\d+GB(?:[ +.][A-Z.+]+)?$")
_VGPU = re.compile(r" (\d{1,3})([QCBA])$")
_MIG_VGPU = re.compile(r" \d (\d{1,3})C$")
"""A vGPU on a MIG slice: A100-1-5C."""


@dataclass(frozen=True, slots=True)
class GpuModel:
    """A GPU model of the catalogue."""

    gpu_model: str
    unit: Unit
    """A `box` shares its memory with the processor and is sold as a whole: it has no price as a GPU."""
    memory_gib: Fraction
    purchase_dollars: tuple[Decimal, Decimal] | None
    """The low and the high price of one."""

    @classmethod
    def of(cls, row: Row) -> "GpuModel":
        """The model of a row of the catalogue."""
        low, high = row.dollars("purchase_low"), row.dollars("purchase_high")
        return cls(
            gpu_model=row["gpu_model"],
            unit="box" if row["unit"] == "box" else "gpu",
            memory_gib=row.count("memory_gib"),
            purchase_dollars=None if low is None or high is None else (low, high),
        )


@dataclass(frozen=True, slots=True)
class GpuNameMatch:
    """The model of a name."""

    model: GpuModel
    part: Fraction = Fraction(1)
    """Below 1 for a vGPU: its memory over the board's."""


def match_name(table: Iterable[Row], name: str, memory_bytes: int | None = None) -> GpuNameMatch | None:
    """The model of a name; `None` without a match or with several.

    The memory that NVML reports decides an ambiguous name (NVIDIA A100). A board whose memory is not the
    model's (a slice that keeps the name, a board with more memory) is no known one.

    Raises:
        CatalogueError: the table is damaged.
    """
    text = _SHARED.sub("", _one_spelling(name))
    mig = _MIG.search(text)
    if mig:
        text = text[: mig.start()]
    vgpu = _MIG_VGPU.search(text) or _VGPU.search(text)
    if vgpu:
        text = text[: vgpu.start()]
    models: list[GpuModel] = []
    for row in table:
        spellings = [_one_spelling(known) for known in row["names"].split("|")]
        # A name of the catalogue that ends in * is a prefix.
        if text in spellings or any(text.startswith(each[:-1]) for each in spellings if each.endswith("*")):
            models.append(GpuModel.of(row))
    if memory_bytes is not None and vgpu is None and mig is None:
        gibibytes = memory_bytes / BYTES_PER_GIBIBYTE
        models = [
            model
            for model in models
            if model.unit == "box" or abs(gibibytes / float(model.memory_gib) - 1) <= MEMORY_TOLERANCE
        ]
    if len(models) != 1:
        return None
    model = models[0]
    part = Fraction(1) if vgpu is None else min(Fraction(1), Fraction(vgpu[1]) / model.memory_gib)
    return GpuNameMatch(model, part)


def _one_spelling(name: str) -> str:
    """A name as the catalogue compares names: in capitals, with blanks, without maker and family."""
    text = _BETWEEN.sub(" ", name.strip()).upper().removeprefix("NVIDIA ")
    for family in ("GRID ", "TESLA ", "GEFORCE "):
        text = text.removeprefix(family)
    return text
