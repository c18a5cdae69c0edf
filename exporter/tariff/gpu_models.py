"""GPU models: the model of a name, as NVML reports it or Kubernetes labels it. Pure but for its table."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
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


EXAMPLE: Final = "NVIDIA H100 80GB HBM3"
"""An example of a name."""

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
_PLAIN = re.compile(r"[^*?\[\]]+")


def driver_names(names: Iterable[str]) -> Iterator[str]:
    """Names of the catalogue that drivers report; a prefix for a name that ends in `*`."""
    return (name.removesuffix("*") for name in names if name.startswith(_DRIVER_PREFIXES))


def unmatched_name_problem(pattern: str, names: Iterable[str]) -> str | None:
    """Why a pattern matches no name of a GPU, as the end of a sentence; `None` where it matches one, or may.

    An unknown name may be of a model that is newer than the catalogue. It is a problem only where it cannot
    be a name, or where a known name is meant.

    Args:
        pattern: of `match.gpu_model`.
        names: known ones, as drivers report them.
    """
    known_names = tuple(names)
    if any(fnmatchcase(name, pattern) for name in known_names):
        return None
    problem = f'"{pattern}" matches no GPU: it covers the whole name, and case counts'
    similar = _corrections(pattern, known_names)
    similar = similar or _corrections(pattern.removeprefix("NVIDIA "), known_names)
    if similar:
        # A whole word before a part of one, as H200 is of GH200; the end of a name before its midst.
        name, better = min(
            similar.items(),
            key=lambda pair: (not _has_word(*pair), pair[1].endswith("*"), pair[0] != EXAMPLE),
        )
        begins, text, _ = name.partition(better.strip("*"))
        if text and not _is_of_word(better, known_names):  # *H200 is GH200, too
            better = f"{begins}{better.removeprefix('*')}"
        return f'{problem}, as in "{name}": write "{better}"'
    if pattern.startswith(("*", "?", "[", *_DRIVER_PREFIXES)):
        return None
    return f'{problem}; names are like "{EXAMPLE}", and `doctor` shows those of a host'


def certain_pattern(pattern: str, names: Iterable[str], here: Iterable[str]) -> str:
    """The pattern that was meant by one that matches no GPU; empty unless that is certain.

    It is, where the pattern is a word of known names, the same correction fits each of these, and it matches
    no other known name: H100 is `*H100*`, and H200 may be two. Else, where one model of the host has these
    words, it is that name.

    Args:
        pattern: of `match.gpu_model`.
        names: known ones, as drivers report them.
        here: names of the GPUs of this host.
    """
    known_names, host_names = tuple(names), tuple(dict.fromkeys(here))
    if any(fnmatchcase(name, pattern) for name in (*known_names, *host_names)):
        return ""
    corrections = {
        better for name, better in _corrections(pattern, known_names).items() if _has_word(name, better)
    }
    if len(corrections) == 1:
        (correction,) = corrections
        # Several words may be those of a label or a price list, which no driver reports: H100 SXM.
        one_word = not _BETWEEN.search(correction.removeprefix("NVIDIA "))
        if one_word and _is_of_word(correction, known_names):
            return correction
    meant = [name for name, better in _corrections(pattern, host_names).items() if _has_word(name, better)]
    certain = len(meant) == 1 and _PLAIN.fullmatch(meant[0])
    return meant[0] if certain else ""


def _corrections(pattern: str, names: Iterable[str]) -> dict[str, str]:
    """The corrected pattern for each name that was meant, by the name."""
    corrections = {name: corrected_pattern(pattern, name) for name in names}
    return {name: better for name, better in corrections.items() if better}


def _is_of_word(pattern: str, names: Iterable[str]) -> bool:
    """Whether a pattern matches no name but those that have its text as whole words."""
    return all(_has_word(name, pattern) for name in names if fnmatchcase(name, pattern))


def _has_word(name: str, pattern: str) -> bool:
    """Whether the text of a pattern stands in a name as whole words."""
    word = re.escape(pattern.strip("*"))
    return re.search(rf"(?<![A-Za-z0-9]){word}(?![A-Za-z0-9])", name) is not None


def corrected_pattern(pattern: str, text: str) -> str:
    """The correct pattern for a text that a pattern misses by case, dashes, or by covering only a part.

    Empty where the text was not meant.
    """
    part = pattern.strip("*")
    words = _BETWEEN.split(part)
    if not any(words):
        return ""
    if not _PLAIN.fullmatch(part):
        return f"*{part}*" if fnmatchcase(text, f"*{part}*") else ""
    spelled = r"[\s_-]+".join(map(re.escape, words))
    match = re.search(rf"{spelled}\Z", text, re.IGNORECASE) or re.search(spelled, text, re.IGNORECASE)
    if match is None:
        return ""
    return f"{'*' * (match.start() > 0)}{match[0]}{'*' * (match.end() < len(text))}"


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
    watts: Decimal | None
    purchase_dollars: tuple[Decimal, Decimal] | None
    """Low and high, for one."""


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
    text, is_slice, vgpu = _parsed_name(name)
    models = [_model(row) for row in table if any(_is(text, name) for name in row["names"].split("|"))]
    if memory_bytes is not None and vgpu is None and not is_slice:
        gibibytes = memory_bytes / BYTES_PER_GIBIBYTE
        models = [
            model
            for model in models
            if model.unit == "box" or abs(gibibytes / float(model.memory_gib) - 1) <= MEMORY_TOLERANCE
        ]
    if len(models) != 1:
        return None
    model = models[0]
    part = Fraction(1) if vgpu is None else min(Fraction(1), vgpu / model.memory_gib)
    return GpuNameMatch(model, part)


def _parsed_name(name: str) -> tuple[str, bool, Fraction | None]:
    """A name in one spelling; whether it was of a MIG slice; and the memory of a vGPU."""
    text = _SHARED.sub("", _one_spelling(name))
    mig = _MIG.search(text)
    if mig:
        text = text[: mig.start()]
    vgpu = _MIG_VGPU.search(text) or _VGPU.search(text)
    if vgpu:
        text = text[: vgpu.start()]
    return text, mig is not None, Fraction(vgpu[1]) if vgpu else None


def _one_spelling(name: str) -> str:
    """A name as the catalogue compares names: in capitals, with blanks, without maker and family."""
    text = _BETWEEN.sub(" ", name.strip()).upper().removeprefix("NVIDIA ")
    for family in ("GRID ", "TESLA ", "GEFORCE "):
        text = text.removeprefix(family)
    return text


def _is(text: str, catalogue_name: str) -> bool:
    """Whether a name is one of the catalogue's, where a name that ends in * is a prefix."""
    spelled = _one_spelling(catalogue_name)
    return text.startswith(spelled[:-1]) if spelled.endswith("*") else text == spelled


def _model(row: Row) -> GpuModel:
    low, high = row.dollars("purchase_low"), row.dollars("purchase_high")
    return GpuModel(
        gpu_model=row["gpu_model"],
        unit="box" if row["unit"] == "box" else "gpu",
        memory_gib=row.count("memory_gib"),
        watts=row.dollars("watts"),
        purchase_dollars=None if low is None or high is None else (low, high),
    )
