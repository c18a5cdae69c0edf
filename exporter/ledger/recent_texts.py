"""JSON of the ticks that a GPU's mean power is of: thirty pairs of numbers, and 300 at a tick a second."""

from collections.abc import Mapping
from typing import Final

from exporter.units import Millijoules, Nanoseconds

Recent = tuple[tuple[Nanoseconds, Millijoules], ...]
"""As `GpuState.recent`, newest last."""

_FEWEST: Final = 2
"""Pairs of a text that is made from an earlier one: the new one, and at least one that stayed."""


class RecentTexts:
    """Makes the text of each GPU from that of the tick before: it has one pair more, and lacks some old ones.

    Thirty pairs were a fifth of the time that all texts of a host took, and 80 a half.
    """

    def __init__(self) -> None:
        self._made: dict[str, tuple[Recent, str]] = {}

    def of(self, gpus: Mapping[str, Recent]) -> list[str]:
        """Texts of these GPUs by UUID, in their order. Those of other GPUs are forgotten."""
        self._made = {uuid: (recent, self._text(uuid, recent)) for uuid, recent in gpus.items()}
        return [text for _, text in self._made.values()]

    def _text(self, uuid: str, recent: Recent) -> str:
        before, text = self._made.get(uuid, ((), "[]"))
        if recent is before:
            return text
        gone = len(before) + 1 - len(recent)
        # Pairs that stay are the same objects, which are compared without a look into them.
        if gone < 0 or len(recent) < _FEWEST or before[gone:] != recent[:-1]:
            return text_of(recent)
        start = 1
        for _ in range(gone):
            start = text.index("],", start) + 2
        return f"[{text[start:-1]},{text_of(recent[-1:])[1:]}"


def text_of(recent: Recent) -> str:
    """The text of a GPU, as JSON has it."""
    return "[" + ",".join([f"[{lasted},{used}]" for lasted, used in recent]) + "]"
