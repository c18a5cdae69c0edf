"""Who paid what, in the few words that a line of the log has room for."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from exporter.cost.postings import Segment
from exporter.readings import ServerKey
from exporter.units import Picodollars, dollars

NAMED: Final = 3
"""So many are named, those that paid most; the others are counted."""


def paid(segments: Iterable[Segment]) -> Counter[ServerKey]:
    """Money by who paid it."""
    found: Counter[ServerKey] = Counter()
    for segment in segments:
        for money in segment.money:
            found[money.slot.party.key] += money.amount
    return found


def payers(paid: Mapping[ServerKey, Picodollars]) -> str:
    """Servers and their dollars, like `ml/chat 12.30, embed 4.56, 2 others 0.78`; `nobody` without any."""
    ranked = sorted(paid.items(), key=lambda item: (-item[1], item[0]))
    told = [f"{_name(key)} {cents(amount)}" for key, amount in ranked[:NAMED]]
    if others := ranked[NAMED:]:
        word = "other" if len(others) == 1 else "others"
        told.append(f"{len(others)} {word} {cents(sum(amount for _key, amount in others))}")
    return ", ".join(told) or "nobody"


def cents(amount: Picodollars) -> str:
    """Dollars as the log tells them."""
    return f"{dollars(amount):.2f}"


def _name(key: ServerKey) -> str:
    return f"{key.namespace}/{key.server}" if key.namespace else key.server
