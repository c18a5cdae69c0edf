"""Cost policy: what the configuration sets for the cost model. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from typing import Final, Literal
from zoneinfo import ZoneInfo

from exporter.cost.postings import UNASSIGNED, CostOwner
from exporter.readings import Gpu, PodOwnership, ServerKey, team_and_product
from exporter.tariff.hosted import HostedPrice
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import matches
from exporter.units import NANOSECONDS_PER_DAY, NANOSECONDS_PER_SECOND, Nanoseconds

SplitMethod = Literal["auto", "engine", "time", "weights"]


@dataclass(frozen=True, slots=True)
class Weights:
    """Weight of a token by kind, where nothing measures it.

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


_DEFAULT_SPLIT: Final = SplitRule()


@dataclass(frozen=True, slots=True)
class OwnershipRule:
    """Product and team of matching servers. Patterns are shell-style; all that are given must match."""

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
    """Everything that `advance` needs besides readings: prices, calendar, owners, split, limits."""

    tariff: Tariff
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    ownership: tuple[OwnershipRule, ...] = ()
    split: tuple[SplitRule, ...] = ()
    compare: tuple[HostedPrice, ...] = ()
    limits: CardinalityLimits = field(default_factory=CardinalityLimits)
    interval: Nanoseconds = 10 * NANOSECONDS_PER_SECOND
    """The configured length of a tick."""
    gap_after: Nanoseconds = 60 * NANOSECONDS_PER_SECOND
    """The longest tick that counts as observed."""
    gap_max: Nanoseconds = 7 * NANOSECONDS_PER_DAY
    """The longest tick that is charged at all."""
    all_gpus: bool = False
    """Whether NVML lists every GPU of the machine, so that one that it does not list is missing."""
    owners: Mapping[ServerKey, PodOwnership] = field(default_factory=dict)
    """Product and team that servers report, for those without a rule of the configuration."""

    def owner_of(self, key: ServerKey, model: str, tenant: str = "") -> CostOwner:
        """The owner of a server's model; a gateway's `tenant` has its own team, and maybe product."""
        owner = self._owners.get((key, model, tenant))
        if owner is None:
            own_product, own_team = self.product_and_team(key)
            team, product = team_and_product(tenant)
            owner = CostOwner(product or own_product, team or own_team, key.namespace, key.server, model)
            self._owners[key, model, tenant] = owner
        return owner

    @cached_property
    def _owners(self) -> dict[tuple[ServerKey, str, str], CostOwner]:
        # Each tick needs the same few owners many times; `limits` bound their number.
        return {}

    def product_and_team(self, key: ServerKey) -> tuple[str, str]:
        """The product and team that pay for a server.

        By the first rule that matches, else by the server's own labels, else unassigned.
        """
        for rule in self.ownership:
            if matches(rule.namespace, key.namespace) and matches(rule.server, key.server):
                return rule.product, rule.team
        reported = self.owners.get(key)
        product, team = ("", "") if reported is None else (reported.product, reported.team)
        return product or UNASSIGNED, team or UNASSIGNED

    def following(self, predecessors: tuple[tuple[str, Gpu], ...]) -> "CostPolicy":
        """The policy with GPUs in the slots of others, which their rules go on pricing."""
        if predecessors == self.tariff.predecessors:
            return self
        return replace(self, tariff=replace(self.tariff, predecessors=predecessors))

    def split_rule(self, server: str, model: str) -> SplitRule:
        """The first rule that matches a server and model, else the default."""
        return split_rule(self.split, server, model)


def split_rule(rules: Iterable[SplitRule], server: str, model: str) -> SplitRule:
    """The first rule that matches a server and model, else the default."""
    for rule in rules:
        if matches(rule.server, server) and matches(rule.model, model):
            return rule
    return _DEFAULT_SPLIT
