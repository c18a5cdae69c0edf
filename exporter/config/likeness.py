"""Which known name a word is most like."""

from difflib import SequenceMatcher
from typing import Final

LONGEST_KEY: Final = 64
ALIKE: Final = 0.55
"""From here on a name is suggested."""
SURE: Final = 0.85
"""From here on it is taken to be the one. `bearer_token`, which holds a secret that no message may repeat, is
less like `bearer_token_file`."""


def nearest(word: str, names: list[str]) -> str | None:
    """The name that a word is most like, `None` where it is like none of them."""
    if len(word) > LONGEST_KEY:
        return None
    # Rounded, so that of names that are about equally like it the first in the documentation is told.
    likeness = {name: round(_likeness(word, name), 1) for name in names}
    best = max(names, key=likeness.__getitem__)
    return best if likeness[best] > ALIKE else None


def is_meant(word: str, name: str) -> bool:
    """Whether a word can only be a slip of the pen for a name."""
    return _likeness(word, name) >= SURE


def _likeness(word: str, name: str) -> float:
    return SequenceMatcher(None, word, name).ratio()
