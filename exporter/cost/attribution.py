"""Who holds which part of a GPU."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from exporter.cost.money import WHOLE, portions
from exporter.cost.postings import UNALLOCATED
from exporter.readings import Holder, ServerKey

ShareMethod = Literal["whole", "configured", "equal", "none"]

NOBODY = ServerKey("", UNALLOCATED)


@dataclass(frozen=True, slots=True)
class Share:
    """One server's part of one GPU, in parts of `money.WHOLE`, and what it was shared by."""

    key: ServerKey
    part: int
    method: ShareMethod


def shares(holders: Iterable[Holder]) -> tuple[Share, ...]:
    """The parts of one GPU, summing to the whole.

    One server holds all of it. Several: by their configured ratio, the others equally in what is left;
    configured ratios alone are divided by their sum, since what is held is held whole. None: unallocated.
    """
    configured: dict[ServerKey, float | None] = {}
    for holder in holders:
        before = configured.get(holder.key)
        told = holder.share_ratio
        configured[holder.key] = before if told is None else told + (before or 0.0)
    if not configured:
        return (Share(NOBODY, WHOLE, "none"),)
    if len(configured) == 1:
        return (Share(next(iter(configured)), WHOLE, "whole"),)
    weights = {_order(key): _weight(told, configured) for key, told in configured.items()}
    parts = portions(weights)
    return tuple(
        Share(key, parts.get(_order(key), 0), "equal" if told is None else "configured")
        for key, told in configured.items()
    )


def _order(key: ServerKey) -> tuple[str, str]:
    return key.namespace, key.server


def _weight(told: float | None, configured: dict[ServerKey, float | None]) -> int:
    if told is not None:
        return round(told * WHOLE)
    without = sum(1 for ratio in configured.values() if ratio is None)
    left = 1.0 - sum(ratio for ratio in configured.values() if ratio is not None)
    return round(max(0.0, left) / without * WHOLE)
