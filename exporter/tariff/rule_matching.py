"""Rule matching: which patterns cover which, and rules that match no GPU here. Pure."""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from exporter.frozen import dataclass, replace
from exporter.readings import Gpu
from exporter.tariff.gpu_models import corrected_pattern
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Mismatch

STEPS_MAX: Final = 1_000
"""Pairs of states to search; a pattern that takes more is taken to cover nothing."""

Tokens = tuple[str, ...]


@lru_cache(maxsize=4096)
def covers(wider: str | None, narrower: str | None) -> bool:
    """Whether every text that `narrower` matches is matched by `wider`; `None` matches anything.

    False also where the search would take too long.
    """
    if wider is None or wider == narrower:
        return True
    narrower = "*" if narrower is None else narrower
    return _may_begin_alike(wider, narrower) and _includes(tuple(_tokens(wider)), tuple(_tokens(narrower)))


def _may_begin_alike(wider: str, narrower: str) -> bool:
    """Whether the literal prefixes agree: most pairs differ there, and the check is cheap."""
    one, other = _literal(wider), _literal(narrower)
    return one.startswith(other) or other.startswith(one)


def _literal(pattern: str) -> str:
    return pattern[: next((position for position, c in enumerate(pattern) if c in "*?["), len(pattern))]


def _tokens(pattern: str) -> Iterator[str]:
    """Characters, *, ? and whole brackets, read as `fnmatch` reads them."""
    position = 0
    while position < len(pattern):
        end = position + 1
        if pattern[position] == "[":
            # A bracket right behind the opening one is a character of the set; one that never closes is text.
            first = position + 1 + pattern.startswith("!", position + 1)
            closing = pattern.find("]", first + 1)
            end = closing + 1 if closing >= 0 else end
        yield pattern[position:end]
        position = end


def _includes(wider: Tokens, narrower: Tokens) -> bool:
    """Search for a text that only the narrower one matches, over pairs of states of both."""
    letters = _letters(wider + narrower)
    begin = frozenset({0})
    waiting = [(spot, _closed(wider, begin)) for spot in _closed(narrower, begin)]
    visited = set(waiting)
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
                if pair not in visited:
                    visited.add(pair)
                    waiting.append(pair)
        if len(visited) > STEPS_MAX:
            return False
    return True


def _letters(tokens: Tokens) -> frozenset[str]:
    """One letter of each kind that the tokens distinguish: each named one and its neighbors."""
    named = {letter for token in tokens for letter in token}
    return frozenset(chr(ord(letter) + step) for letter in named for step in (-1, 0, 1))


def _takes(token: str, letter: str) -> bool:
    if token in {"*", "?"}:
        return True
    return fnmatchcase(letter, token) if len(token) > 1 else token == letter


def _closed(tokens: Tokens, spots: frozenset[int]) -> frozenset[int]:
    """The positions that are reached without another letter: behind each star."""
    reached = set(spots)
    for spot in sorted(spots):
        position = spot
        while position < len(tokens) and tokens[position] == "*":
            position += 1
            reached.add(position)
    return frozenset(reached)


def _steps(tokens: Tokens, spots: frozenset[int], letter: str) -> Iterator[int]:
    for spot in spots:
        if spot < len(tokens) and _takes(tokens[spot], letter):
            yield spot if tokens[spot] == "*" else spot + 1


SHOWN_MAX: Final = 60
"""Characters of a name in a message; a host's name or a label may be long."""


@dataclass(frozen=True, slots=True)
class UnmatchedRule:
    """A rule that matches no GPU of the host, and why, as the end of a sentence.

    `slip`: the case of one pattern differs, or it covers only a part of the name. Other rules are mostly for
    other hosts.
    """

    rule: str
    why: str
    slip: bool


def unmatched_rules(tariff: Tariff, gpus: Iterable[Gpu]) -> Iterator[UnmatchedRule]:
    """Each rule of a host's tariff that matches none of its GPUs; none where it has no GPU.

    A rule behind one that prices its GPUs matches them all the same.
    """
    here = tuple(dict.fromkeys(gpus))
    for rule in tariff.hardware:
        name = rule.source.partition(".")[0]
        by_gpu = [
            [
                _unmatched(name, mismatch)
                for mismatch in rule.match.mismatches(tariff.host, tariff.location, gpu)
            ]
            for gpu in here
        ]
        if not by_gpu or not all(by_gpu):
            continue
        # The nearest GPU has the fewest mismatches.
        first, *others = min(by_gpu, key=lambda mismatches: (len(mismatches), not mismatches[0].slip))
        yield replace(first, slip=first.slip and not others)


def _unmatched(rule: str, mismatch: Mismatch) -> UnmatchedRule:
    key, pattern, text = mismatch
    if not text:
        return UnmatchedRule(rule, f'{key} "{pattern}", and this host reports none', slip=False)
    shown = text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."
    if fnmatchcase(text.casefold(), pattern.casefold()):
        return UnmatchedRule(rule, f'{key} "{pattern}" differs in case from "{shown}"', slip=True)
    if better := corrected_pattern(pattern, text):
        why = f'{key} "{pattern}" does not cover all of "{shown}": write "{better}"'
        return UnmatchedRule(rule, why, slip=True)
    return UnmatchedRule(rule, f'{key} "{pattern}" is not "{shown}"', slip=False)
