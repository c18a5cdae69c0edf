"""Which GPU a name means: as NVML tells it, or as Kubernetes labels it. Pure but for the table it reads."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal

from exporter.tariff.table import Row
from exporter.units import BYTES_PER_GIBIBYTE

Unit = Literal["gpu", "box"]

MEMORY_TOLERANCE: Final = 0.15
"""NVML tells up to 8 % less than is soldered on (ECC, firmware); a board of another size is further off."""

_BETWEEN = re.compile(r"[\s_-]+")
_SHARED = re.compile(r" SHARED$")
_MIG = re.compile(r" MIG ((?:\d+C\.)?\d+G\.\d+GB(?:[ +.][A-Z.+]+)?)$")
_VGPU = re.compile(r" (\d{1,3})([QCBA])$")
_MIG_VGPU = re.compile(r" \d (\d{1,3})C$")
"""A vGPU on a MIG slice: A100-1-5C."""


@dataclass(frozen=True, slots=True)
class GpuModel:
    """A model that has a name of its own in the catalogue.

    A `box` shares its memory with the processor and is sold as a whole: it has no price as a GPU.
    """

    gpu_model: str
    unit: Unit
    memory_gib: Fraction
    watts: Decimal | None
    purchase_dollars: tuple[Decimal, Decimal] | None
    """Low and high, for one."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a name means. `part` is below 1 for a vGPU: its memory over the board's."""

    model: GpuModel
    part: Fraction = Fraction(1)
    mig_profile: str = ""


def named(table: Iterable[Row], name: str, memory_bytes: int | None = None) -> Named | None:
    """The model that a name means, `None` where it means none or could mean several.

    With the memory that NVML tells, a name that is ambiguous alone (NVIDIA A100) is decided by it, and a
    board whose memory is not the model's (a slice that keeps the name, a board with more soldered on) is
    no known one.

    Raises:
        CatalogueError: the table is damaged.
    """
    text, profile, vgpu = _plain(name)
    found = [_model(row) for row in table if any(_is(text, known) for known in row["names"].split("|"))]
    if memory_bytes is not None and vgpu is None and not profile:
        found = [model for model in found if _fits(model, memory_bytes)]
    if len(found) != 1:
        return None
    model = found[0]
    part = Fraction(1) if vgpu is None else min(Fraction(1), vgpu / model.memory_gib)
    return Named(model, part, profile)


def _plain(name: str) -> tuple[str, str, Fraction | None]:
    """The name in one spelling, the MIG profile and the memory of a vGPU that were hung on it."""
    text = _BETWEEN.sub(" ", name.strip()).upper().removeprefix("NVIDIA ")
    text = _SHARED.sub("", text)
    profile = ""
    if mig := _MIG.search(text):
        text = text[: mig.start()]
        # Kubernetes labels have a point where NVML has a plus: 1g.5gb.me is 1g.5gb+me.
        profile = mig[1].lower().replace(" ", "-").replace("gb.", "gb+")
    vgpu = _MIG_VGPU.search(text) or _VGPU.search(text)
    if vgpu:
        text = text[: vgpu.start()]
    for family in ("GRID ", "TESLA ", "GEFORCE "):
        text = text.removeprefix(family)
    return text, profile, Fraction(vgpu[1]) if vgpu else None


def _is(text: str, known: str) -> bool:
    """Whether a name is a known one; one that ends in * stands for whatever begins like it."""
    return text.startswith(known[:-1]) if known.endswith("*") else text == known


def _model(row: Row) -> GpuModel:
    low, high = row.dollars("purchase_low"), row.dollars("purchase_high")
    return GpuModel(
        gpu_model=row["gpu_model"],
        unit="box" if row["unit"] == "box" else "gpu",
        memory_gib=row.count("memory_gib"),
        watts=row.dollars("watts"),
        purchase_dollars=None if low is None or high is None else (low, high),
    )


def _fits(model: GpuModel, memory_bytes: int) -> bool:
    told = memory_bytes / BYTES_PER_GIBIBYTE
    return model.unit == "box" or abs(told / float(model.memory_gib) - 1) <= MEMORY_TOLERANCE
