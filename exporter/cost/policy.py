"""What the configuration says to the cost model, beside the prices."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

from exporter.cost.postings import UNASSIGNED, CostOwner
from exporter.readings import Gpu, PodOwnership, ServerKey
from exporter.tariff.hosted import HostedPrice
from exporter.tariff.tariff import Tariff
from exporter.units import NANOSECONDS_PER_DAY, NANOSECONDS_PER_SECOND, Nanoseconds

SplitMethod = Literal["auto", "engine", "time", "weights"]


@dataclass(frozen=True, slots=True)
class Weights:
    """What a token of each kind weighs where nothing measures it.

    The defaults are the median price ratios of 121 hosted open-weight offers (2026-11): an assumption.
    """

    prompt: Decimal = Decimal(1)
    cached_prompt: Decimal = Decimal("0.1")
    generation: Decimal = Decimal(3)


@dataclass(frozen=True, slots=True)
class SplitRule:
    """How the busy money of matching servers and models is split between prefill and decode."""

    server: str | None = None
    model: str | None = None
    method: SplitMethod = "auto"
    weights: Weights = Weights()


@dataclass(frozen=True, slots=True)
class OwnershipRule:
    """Who pays for matching servers. Patterns are shell-style; all that are given must match."""

    product: str = UNASSIGNED
    team: str = UNASSIGNED
    namespace: str | None = None
    server: str | None = None


@dataclass(frozen=True, slots=True)
class CardinalityLimits:
    """Bounds on a host's cardinality; beyond them rows go under `other`."""

    models: int = 50
    servers: int = 50
    body_bytes: int = 8 * 1024 * 1024
    parties: int = 50


@dataclass(frozen=True)
class CostPolicy:
    """Everything `advance` goes by that is not a reading: prices, calendar, owners, split, limits.

    `interval` is what a tick is meant to take, `gap_after` the longest that counts as observed, `gap_max`
    the longest that is charged at all.
    `all_gpus`: NVML lists every GPU of the machine here, so that one that it does not list is missing.
    """

    tariff: Tariff
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    ownership: tuple[OwnershipRule, ...] = ()
    split: tuple[SplitRule, ...] = ()
    compare: tuple[HostedPrice, ...] = ()
    limits: CardinalityLimits = field(default_factory=CardinalityLimits)
    interval: Nanoseconds = 10 * NANOSECONDS_PER_SECOND
    gap_after: Nanoseconds = 60 * NANOSECONDS_PER_SECOND
    gap_max: Nanoseconds = 7 * NANOSECONDS_PER_DAY
    all_gpus: bool = False

    owners: Mapping[ServerKey, PodOwnership] = field(default_factory=dict)
    """What servers say of who pays for them, where no rule of the configuration does."""

    def party(self, key: ServerKey, model: str, team: str = "") -> CostOwner:
        """The party of a server's model, owned as these terms say, unless a gateway told the team."""
        known = self._parties.get((key, model, team))
        if known is None:
            product, owner = self.owner(key)
            known = CostOwner(product, team or owner, key.namespace, key.server, model)
            self._parties[key, model, team] = known
        return known

    @cached_property
    def _parties(self) -> dict[tuple[ServerKey, str, str], CostOwner]:
        # Each tick asks for the same few parties many times; how many there are is what `limits` allow.
        return {}

    def owner(self, key: ServerKey) -> tuple[str, str]:
        """The product and team that pay for a server.

        The first rule that matches says, else the server's own labels, else it is unassigned.
        """
        for rule in self.ownership:
            if matches(rule.namespace, key.namespace) and matches(rule.server, key.server):
                return rule.product, rule.team
        told = self.owners.get(key)
        product, team = ("", "") if told is None else (told.product, told.team)
        return product or UNASSIGNED, team or UNASSIGNED

    def told(
        self, owners: Mapping[ServerKey, PodOwnership], predecessors: tuple[tuple[str, Gpu], ...] = ()
    ) -> "CostPolicy":
        """The same terms where servers say these owners, and GPUs took the slots of `predecessors`.

        The same ones again while both stay.
        """
        if owners == self.owners and predecessors == self.tariff.predecessors:
            return self
        kept = self._told.get("terms")
        if kept is None or kept.owners != owners or kept.tariff.predecessors != predecessors:
            tariff = self.tariff if kept is None else kept.tariff
            if tariff.predecessors != predecessors:
                tariff = replace(self.tariff, predecessors=predecessors)
            kept = self._told["terms"] = replace(self, owners=owners, tariff=tariff)
        return kept

    @cached_property
    def _told(self) -> dict[str, "CostPolicy"]:
        # What servers say changes rarely, and the parties above are remembered with it.
        return {}

    def split_rule(self, server: str, model: str) -> SplitRule:
        """The first rule that matches a server and model, else the default."""
        for rule in self.split:
            if matches(rule.server, server) and matches(rule.model, model):
                return rule
        return SplitRule()


@lru_cache(maxsize=4096)
def matches(pattern: str | None, text: str) -> bool:
    """Whether a shell-style pattern covers the whole text; no pattern covers anything. Case counts."""
    return pattern is None or fnmatchcase(text, pattern)
