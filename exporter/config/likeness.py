"""Which known name a word is most like."""

from difflib import SequenceMatcher
from typing import Final

LONGEST_KEY: Final = 64
ALIKE: Final = 0.55
"""From here on a name is suggested."""
SURE: Final = 0.85
"""From here on it is taken to be the one. `bearer_token`, which holds a secret that no message may repeat, is
less like `bearer_token_file`."""


EQUALLY: Final = 0.1
"""What sets apart two names that a word is about equally like."""

PAIR: Final = ("gpu", "host")
"""What an amount may be for; the wrong one of two such names is a wrong bill by the number of GPUs."""


def nearest(word: str, names: list[str]) -> str | None:
    """The name that a word is most like, `None` where it is like none of them."""
    if len(word) > LONGEST_KEY:
        return None
    # Rounded, so that of names that are about equally like it the first in the documentation is told.
    likeness = {name: round(_likeness(word, name), 1) for name in names}
    best = max(names, key=likeness.__getitem__)
    return best if likeness[best] > ALIKE else None


def pair(word: str, name: str, names: list[str]) -> tuple[str, str] | None:
    """A name for one GPU and that for the whole host, where one is like a word that says neither of them."""
    parts = name.split("_")
    if PAIR[0] not in parts and PAIR[1] not in parts:
        return None
    one, whole = ("_".join(unit if part in PAIR else part for part in parts) for unit in PAIR)
    told = one in names and whole in names and not any(unit in word for unit in PAIR)
    return (one, whole) if told and abs(_likeness(word, one) - _likeness(word, whole)) < EQUALLY else None


def is_meant(word: str, name: str) -> bool:
    """Whether a word can only be a slip of the pen for a name."""
    return _likeness(word, name) >= SURE


def _likeness(word: str, name: str) -> float:
    return SequenceMatcher(None, word, name).ratio()
