"""Rule matching: which patterns cover which, and rules that match no GPU here. Pure."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from exporter.readings import Gpu
from exporter.tariff.gpu_models import is_part
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Mismatch

_BRACKET: Final = re.compile(r"\[!?.[^]]*\]", re.DOTALL)
_RARE: Final = "\0"  # no name of a configuration or a host has it


@lru_cache(maxsize=4096)
def covers(wider: str | None, narrower: str | None) -> bool:
    """Whether every text that `narrower` matches is matched by `wider`; `None` matches anything.

    False also where that is hard to tell: a pattern with brackets is only held against texts.
    """
    if wider is None or wider == narrower:
        return True
    # Brackets match some of the characters that a question mark matches.
    pattern = "*" if narrower is None else _BRACKET.sub("?", narrower)
    if not {"*", "?"} & set(pattern):
        return fnmatchcase(pattern, wider)
    if _BRACKET.search(wider):
        return False
    # Where the shortest text and one of rare characters, more than `wider` has, match, all between do.
    texts = (pattern.replace("*", stars).replace("?", _RARE) for stars in ("", _RARE * (len(wider) + 1)))
    return all(fnmatchcase(text, wider) for text in texts)


SHOWN_MAX: Final = 60
"""Characters of a name in a message; a host's name or a label may be long."""


@dataclass(frozen=True, slots=True)
class UnmatchedRule:
    """A rule that matches no GPU of the host, and why, as the end of a sentence.

    `slip`: one pattern matches a part of the name, where case does not count. Other rules are mostly for
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
        by_gpu = [list(rule.match.mismatches(tariff.host, tariff.location, gpu)) for gpu in here]
        if not by_gpu or not all(by_gpu):
            continue
        # The nearest GPU has the fewest mismatches.
        first, *others = min(by_gpu, key=lambda mismatches: (len(mismatches), not _is_slip(mismatches[0])))
        shown = first.text if len(first.text) <= SHOWN_MAX else f"{first.text[:SHOWN_MAX]}..."
        why = f' is not "{shown}"' if shown else ", and this host reports none"
        yield UnmatchedRule(
            rule.source.partition(".")[0],
            f'{first.key} "{first.pattern}"{why}',
            slip=_is_slip(first) and not others,
        )


def _is_slip(mismatch: Mismatch) -> bool:
    return bool(mismatch.text) and is_part(mismatch.pattern, mismatch.text)
