"""Whether one shell-style pattern matches whatever another matches. Pure.

Patterns are those of `fnmatch.fnmatchcase`: * any text, ? one character, [ab] one of these, [!ab] none.
"""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

MOST_STEPS: Final = 1_000
"""Pairs of states that are looked at; patterns that take more are told apart by nobody."""

Tokens = tuple[str, ...]


@lru_cache(maxsize=4096)
def covers(wider: str | None, narrower: str | None) -> bool:
    """Whether every text that `narrower` matches is matched by `wider`; `None` matches anything.

    False also where that would take too long to tell.
    """
    if wider is None or wider == narrower:
        return True
    narrower = "*" if narrower is None else narrower
    return _may_begin_alike(wider, narrower) and _includes(tuple(_tokens(wider)), tuple(_tokens(narrower)))


def _may_begin_alike(wider: str, narrower: str) -> bool:
    """Whether the literal beginnings go together: most pairs differ there, and that is told at once."""
    one, other = _literal(wider), _literal(narrower)
    return one.startswith(other) or other.startswith(one)


def _literal(pattern: str) -> str:
    return pattern[: next((place for place, c in enumerate(pattern) if c in "*?["), len(pattern))]


def _tokens(pattern: str) -> Iterator[str]:
    """Characters, *, ? and whole brackets, read as `fnmatch` reads them."""
    place = 0
    while place < len(pattern):
        end = place + 1
        if pattern[place] == "[":
            # A bracket right behind the opening one is a character of the set; one that never closes is text.
            first = place + 1 + pattern.startswith("!", place + 1)
            closing = pattern.find("]", first + 1)
            end = closing + 1 if closing >= 0 else end
        yield pattern[place:end]
        place = end


def _includes(wider: Tokens, narrower: Tokens) -> bool:
    """Looks for a text that only the narrower one matches, over pairs of what each has matched so far."""
    letters = _letters(wider + narrower)
    begin = frozenset({0})
    waiting = [(spot, _closed(wider, begin)) for spot in _closed(narrower, begin)]
    seen = set(waiting)
    while waiting:
        spot, reached = waiting.pop()
        if spot == len(narrower):
            if len(wider) not in reached:
                return False
            continue
        for letter in letters:
            if not _takes(narrower[spot], letter):
                continue
            further = _closed(wider, frozenset(_steps(wider, reached, letter)))
            nexts = _closed(narrower, frozenset({spot if narrower[spot] == "*" else spot + 1}))
            for pair in ((after, further) for after in nexts):
                if pair not in seen:
                    seen.add(pair)
                    waiting.append(pair)
        if len(seen) > MOST_STEPS:
            return False
    return True


def _letters(tokens: Tokens) -> frozenset[str]:
    """One letter of every kind that the tokens tell apart: each that is named, and its neighbors."""
    named = {letter for token in tokens for letter in token}
    return frozenset(chr(ord(letter) + step) for letter in named for step in (-1, 0, 1))


def _takes(token: str, letter: str) -> bool:
    if token in {"*", "?"}:
        return True
    return fnmatchcase(letter, token) if len(token) > 1 else token == letter


def _closed(tokens: Tokens, spots: frozenset[int]) -> frozenset[int]:
    """The places that are reached without a letter more: behind each star."""
    found = set(spots)
    for spot in sorted(spots):
        place = spot
        while place < len(tokens) and tokens[place] == "*":
            place += 1
            found.add(place)
    return frozenset(found)


def _steps(tokens: Tokens, spots: frozenset[int], letter: str) -> Iterator[int]:
    for spot in spots:
        if spot < len(tokens) and _takes(tokens[spot], letter):
            yield spot if tokens[spot] == "*" else spot + 1
