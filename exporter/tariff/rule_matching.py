"""Rule matching: which patterns cover which, and rules that match no GPU here. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from exporter.readings import Gpu
from exporter.tariff.gpu_models import meant
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware

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


MOST_SHOWN: Final = 60
"""Characters of a name that are repeated; a host's name or a label may be long."""


@dataclass(frozen=True, slots=True)
class UnmatchedRule:
    """A rule that matches no GPU here, and why, as the end of a sentence.

    `slip`: it would match but for the case of one pattern, or for one that does not cover all of what is
    here. Others are mostly rules of other hosts.
    """

    rule: str
    why: str
    slip: bool


def unmatched_rules(tariff: Tariff, gpus: Iterable[Gpu]) -> Iterator[UnmatchedRule]:
    """Each rule of a host's tariff that matches none of its GPUs; none where it has no GPU.

    A rule behind one that takes its GPUs matches them all the same.
    """
    here = tuple(dict.fromkeys(gpus))
    for rule in tariff.hardware:
        # Of each GPU what it is missed by; the nearest is the one that is missed by the fewest.
        by = [tuple(_by(tariff, rule, gpu)) for gpu in here]
        if not by or not all(by):
            continue
        first, *others = min(by, key=lambda misses: (len(misses), not misses[0].slip))
        yield replace(first, slip=first.slip and not others)


def _by(tariff: Tariff, rule: Hardware, gpu: Gpu) -> Iterator[UnmatchedRule]:
    match, place = rule.match, tariff.place
    name = rule.source.partition(".")[0]
    labels = dict(place.node_labels or ())
    for key, pattern, text in (
        ("host", match.host, tariff.host),
        ("instance_type", match.instance_type, place.instance_type),
        ("lifecycle", match.lifecycle, place.lifecycle),
        ("region", match.region, place.region),
        *((f"node_label {label}", pattern, labels.get(label)) for label, pattern in match.node_label),
        ("gpu_model", match.gpu_model, gpu.gpu_model),
        ("uuid", match.uuid, gpu.uuid),
    ):
        # Azure's metadata say Standard_ND96isr_H100_v5, people often leave the first word out.
        spellings = {text, text and text.removeprefix("Standard_")} if key == "instance_type" else {text}
        if pattern is None or any(told is not None and fnmatchcase(told, pattern) for told in spellings):
            continue
        yield UnmatchedRule(name, *_why(key, pattern, text or ""))


def _why(key: str, pattern: str, text: str) -> tuple[str, bool]:
    if not text:
        return f'{key} "{pattern}", and this host tells none', False
    shown = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
    if fnmatchcase(text.casefold(), pattern.casefold()):
        return f'{key} "{pattern}" differs in case from "{shown}"', True
    if better := meant(pattern, text):
        return f'{key} "{pattern}" does not cover all of "{shown}": write "{better}"', True
    return f'{key} "{pattern}" is not "{shown}"', False
