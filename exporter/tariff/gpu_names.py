"""How a driver spells the names of GPUs, and patterns of names that match none that is known. Pure.

The catalogue tells names apart without case, dashes and the maker's name; a pattern of `match.gpu_model`
covers the whole name as NVML tells it, and case counts.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Final

_SPELLED: Final[Mapping[str, str]] = {
    "3E": "3e",
    "ADA": "Ada",
    "BLACKWELL": "Blackwell",
    "EDITION": "Edition",
    "GENERATION": "Generation",
    "HBM2E": "HBM2e",
    "MAX": "Max",
    "ORIN": "Orin",
    "(NVGPU)": "(nvgpu)",
    "PCIE": "PCIe",
    "Q": "Q",
    "QUADRO": "Quadro",
    "SERVER": "Server",
    "THOR": "Thor",
    "TI": "Ti",
    "WORKSTATION": "Workstation",
}
"""Words that a driver does not write in capitals."""

_SHORT: Final = frozenset({"A100", "H100", "H800"})
"""Names that labels and people give; a driver names the board behind them: NVIDIA H100 80GB HBM3."""

_DASHED = re.compile(r"SXM[234]|^(?:A100|V100S?|P100) (?:PCIE|FHHL) ")
"""A100-SXM4-80GB, V100-PCIE-16GB; but A100 80GB PCIe and H100 PCIe."""

_GEFORCE = re.compile(r"RTX \d{4}(?: (?:TI|SUPER|D))*")
_TESLA = re.compile(r"(?:V100S?|P100|P40|P4|T4|M60|K80)\b")
_BARE = re.compile(r"(?:TITAN|QUADRO|ORIN|THOR)\b")

EXAMPLE: Final = "NVIDIA H100 80GB HBM3"
"""What the names are like."""

_BEGINNINGS: Final = (
    "NVIDIA ",
    "Tesla ",
    "GeForce ",
    "Quadro ",
    "GRID ",
    "TITAN ",
    "Orin",
    "Graphics Device",
)
"""What names of models that the catalogue does not know begin with, too."""

_BETWEEN = re.compile(r"[\s_-]+")
_PLAIN = re.compile(r"[^*?\[\]]+")


def spelled(names: Iterable[str]) -> Iterator[str]:
    """Names of the catalogue as drivers tell them; of one that stands for a beginning, the beginning."""
    for name in names:
        known = name.removesuffix("*").strip()
        if known in _SHORT:
            continue
        if _DASHED.search(known):
            text = known.replace(" ", "-")
        else:
            text = " ".join(_SPELLED.get(word, word) for word in known.split())
            text = text.replace("Max Q", "Max-Q").replace("H20 3e", "H20-3e")
        yield from (f"{maker}{text}" for maker in _makers(known))


def _makers(known: str) -> tuple[str, ...]:
    if _GEFORCE.fullmatch(known):
        return ("NVIDIA GeForce ", "GeForce ")
    if _TESLA.match(known):
        return ("Tesla ", "NVIDIA ")
    return ("NVIDIA ", "") if _BARE.match(known) else ("NVIDIA ",)


def no_name(pattern: str, names: Iterable[str]) -> str:
    """Why a pattern matches no name of a GPU, as the end of a sentence; empty where it matches one, or may.

    One that nobody knows may be of a model that is newer than the catalogue: it is told only where it cannot
    be a name at all, or where one that is known is meant.

    Args:
        pattern: of `match.gpu_model`.
        names: those that are known, as drivers tell them.
    """
    known = tuple(names)
    if any(fnmatchcase(name, pattern) for name in known):
        return ""
    said = f'"{pattern}" matches no GPU: it covers the whole name, and case counts'
    for part in dict.fromkeys((pattern, pattern.removeprefix("NVIDIA "))):
        better = [(name, found) for name in known if (found := meant(part, name))]
        # The end of a name before a part in its midst: L4 is one, and begins L40S.
        for name, found in sorted(better, key=lambda pair: (pair[1].endswith("*"), pair[0] != EXAMPLE)):
            return f'{said}, as in "{name}": write "{found}"'
    if pattern.startswith(("*", "?", "[", *_BEGINNINGS)):
        return ""
    return f'{said}; names are like "{EXAMPLE}", and `doctor` shows those of a host'


def meant(pattern: str, text: str) -> str:
    """The pattern to write where a text was meant that one misses by case, dashes, or by not being all of it.

    Empty where the text was not meant.
    """
    plain = _plain(text)
    part = pattern.strip("*")
    loose = _plain(part)
    if not loose.strip() or not fnmatchcase(plain, f"*{loose}*"):
        return ""
    if not _PLAIN.fullmatch(part) or len(plain) != len(text):
        return f"*{part}*" if fnmatchcase(text, f"*{part}*") else ""
    # Dashes and blanks are one character each, so that what was meant stands at the same place in both.
    begins = plain.rindex(loose) if plain.endswith(loose) else plain.index(loose)
    ends = begins + len(loose)
    return f"{'*' * (begins > 0)}{text[begins:ends]}{'*' * (ends < len(text))}"


def _plain(text: str) -> str:
    return _BETWEEN.sub(" ", text).casefold()
