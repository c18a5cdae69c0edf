"""Who holds which part of a GPU."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from exporter.cost.money import WHOLE, split
from exporter.cost.postings import UNALLOCATED
from exporter.cost.slices import Slices
from exporter.readings import Holder, ServerKey

ShareMethod = Literal["whole", "mig", "configured", "sm_utilization", "memory", "equal", "none"]
"""By what a part was found: the only holder of a GPU, the only one of a MIG instance; of several holders by
configured ratio, SM utilization, memory held, or equally; `none` is what nobody holds."""

NOBODY: Final = ServerKey("", UNALLOCATED)

REST: Final = ""
"""The instance of a share in what no MIG instance covers, and of a card that is not cut."""


@dataclass(frozen=True, slots=True)
class Share:
    """One server's part of one GPU, or of one MIG instance of it, in parts of `money.WHOLE` of the GPU.

    `busy_part` is its part of the time in which the GPU (the instance) worked, `idle_part` of the time in
    which it rested; of all holders together they sum to the same.
    """

    key: ServerKey
    busy_part: int
    idle_part: int
    busy_method: ShareMethod
    idle_method: ShareMethod
    instance: str = REST


UNHELD: Final = Share(NOBODY, WHOLE, WHOLE, "none", "none")
"""A GPU that nobody holds."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """What the holders of one key tell together; `None` where none of them tells it."""

    configured: float | None
    sm_ratio: float | None
    memory_bytes: int | None

    @classmethod
    def of(cls, holders: Iterable[Holder]) -> "_Claim":
        holders = tuple(holders)
        # Sums that are rounded once do not depend on who is named first.
        configured = [told.share_ratio for told in holders if told.share_ratio is not None]
        ratios = [told.sm_ratio for told in holders if told.sm_ratio is not None]
        ratios = [ratio for ratio in ratios if math.isfinite(ratio) and ratio >= 0]
        memory = [told.memory_bytes for told in holders if told.memory_bytes is not None]
        memory = [amount for amount in memory if amount >= 0]
        return cls(
            math.fsum(configured) if configured else None,
            math.fsum(ratios) if ratios else None,
            sum(memory) if memory else None,
        )


def shares(holders: Iterable[Holder], slices: Slices | None = None) -> tuple[Share, ...]:
    """The parts of one GPU: busy parts sum to the whole, and so do idle parts.

    One server holds all of it. Several: by their configured ratios, and what these leave is divided among the
    others, its busy part by SM utilization and its idle part by memory held; where one of them does not tell
    the one, by the other, and where that is not told either, equally. Configured ratios alone are divided by
    their sum, since what is held is held whole. None: unallocated.

    Of a card that is cut into MIG instances, each instance is divided so among its own holders. Who holds the
    card without an instance holds what of it is in no other's hands. An instance that is not there holds
    nobody's money.

    Args:
        holders: those of this GPU.
        slices: the parts of its instances, `None` for a card that is not cut.
    """
    if slices is None:
        return tuple(_divided(holders, WHOLE, REST, "whole"))
    inside: dict[str, list[Holder]] = {instance: [] for instance in slices}
    outside: list[Holder] = []
    for holder in holders:
        if not holder.instance:
            outside.append(holder)
        elif holder.instance in inside:
            inside[holder.instance].append(holder)
    found: list[Share] = []
    for instance, part in slices.items():
        found += _divided(inside[instance] or outside, part, instance, "mig")
    rest = WHOLE - sum(slices.values())
    if rest:
        found += _divided(outside, rest, REST, "mig")
    return tuple(found)


def _divided(holders: Iterable[Holder], part: int, instance: str, alone: ShareMethod) -> Iterable[Share]:
    claims = _claims(holders)
    if not claims:
        yield Share(NOBODY, part, part, "none", "none", instance)
        return
    if len(claims) == 1:
        yield Share(next(iter(claims)), part, part, alone, alone, instance)
        return
    busy_method, busy = _parts(claims, part, ("sm_utilization", "memory"))
    idle_method, idle = _parts(claims, part, ("memory", "sm_utilization"))
    for key, claim in claims.items():
        told = claim.configured is not None
        yield Share(
            key,
            busy.get(key, 0),
            idle.get(key, 0),
            "configured" if told else busy_method,
            "configured" if told else idle_method,
            instance,
        )


def _claims(holders: Iterable[Holder]) -> dict[ServerKey, _Claim]:
    told: dict[ServerKey, list[Holder]] = {}
    for holder in holders:
        told.setdefault(holder.key, []).append(holder)
    return {key: _Claim.of(those) for key, those in told.items()}


def _parts(
    claims: Mapping[ServerKey, _Claim], part: int, measures: Iterable[ShareMethod]
) -> tuple[ShareMethod, Mapping[ServerKey, int]]:
    """The method by which what is not configured is divided, and everybody's part."""
    told = {key: round(c.configured * WHOLE) for key, c in claims.items() if c.configured is not None}
    others = {key: claim for key, claim in claims.items() if key not in told}
    method, measured = _measured(others, measures)
    left, every = max(0, WHOLE - sum(told.values())), sum(measured.values())
    weights = {key: weight * max(1, every) for key, weight in told.items()}
    weights |= {key: weight * left for key, weight in measured.items()}
    if not any(weights.values()):
        weights = dict.fromkeys(weights, 1)
    return method, split(part, weights)[0]


def _measured(
    claims: Mapping[ServerKey, _Claim], measures: Iterable[ShareMethod]
) -> tuple[ShareMethod, dict[ServerKey, int]]:
    """The first measure that all of them tell and some of them used, with what each used; else equally."""
    for measure in measures:
        used: dict[ServerKey, int] = {}
        for key, claim in claims.items():
            if measure == "memory" and claim.memory_bytes is not None:
                used[key] = claim.memory_bytes
            elif measure == "sm_utilization" and claim.sm_ratio is not None:
                used[key] = round(claim.sm_ratio * WHOLE)
        if len(used) == len(claims) and any(used.values()):
            return measure, used
    return "equal", dict.fromkeys(claims, 1)
