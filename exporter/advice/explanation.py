"""Explanation of a server's cost: accounts, unit costs and break-evens. Pure.

People with different numbers usually divide different money by different tokens: each number here names both.
The verb and the page use the same explanation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Self

from exporter.cost import attribution, split
from exporter.cost.money import WHOLE, add, add_all
from exporter.cost.policy import CostPolicy, Weights
from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.cost.quotients import Basis, QuotientKind, carried_dollars, per_million, token_counts
from exporter.cost.state import State
from exporter.readings import Gpu, ServerKey, TokenKind
from exporter.tariff.calendar import month_of
from exporter.tariff.hosted import HostedPrice, equivalent
from exporter.tariff.tariff import HARDWARE
from exporter.units import NANOSECONDS_PER_DAY, TOKENS_PER_MILLION, Instant, Nanoseconds, Picodollars, dollars


@dataclass(slots=True)
class ModelAccount:
    """Cost and tokens of one model of a server in a period."""

    model: str
    money: dict[str, Picodollars] = field(default_factory=dict)
    """Money by phase."""
    tokens: dict[TokenKind, int] = field(default_factory=dict)
    gpu_time: dict[str, Nanoseconds] = field(default_factory=dict)
    """GPU time by phase; empty where the ledger does not keep it."""
    components: Mapping[str, Picodollars] = field(default_factory=dict)
    """Money of all models of the server, by component; empty where the ledger does not keep it."""
    unpriced: Nanoseconds = 0
    """Unpriced GPU time. With any, the cost is incomplete and nothing is divided."""
    mix: Mapping[str, Picodollars] = field(default_factory=dict)
    """In place of missing `components`: money of the server by component, in the hours of the period."""
    last_token: Instant | None = None
    """When a token of it last moved, in the period or before."""

    @property
    def spent(self) -> Picodollars:
        """All of its money."""
        return sum(self.money.values())

    @property
    def worked(self) -> Picodollars:
        """Its prefill and decode money: time in which it computed tokens."""
        return self.money.get("prefill", 0) + self.money.get("decode", 0)


@dataclass(frozen=True, slots=True)
class PerMillion:
    """One quotient: `dollars` carried by `tokens` of a kind, and the price of a million of them."""

    kind: QuotientKind
    basis: Basis
    dollars: float
    tokens: int
    dollars_per_million: float


@dataclass(frozen=True, slots=True)
class UnitCost:
    """A unit cost in common use: what it divides, and what it includes or leaves out."""

    dollars: float
    tokens: int
    dollars_per_million: float
    meaning: str


@dataclass(frozen=True, slots=True)
class HostedBreakEven:
    """Own cost against a price per million tokens: both are equal at `tokens_per_day`.

    At the present daily cost, whatever the traffic; `served_per_day` is the present traffic.
    """

    reference: str
    dollars_per_million: float
    own_dollars_per_million: float
    tokens_per_day: float
    served_per_day: float


def prices(account: ModelAccount, weights: Weights) -> tuple[PerMillion, ...]:
    """Every quotient that exists, as in the metrics: by kind, the full basis before the busy."""
    counts = token_counts(account.tokens)
    parts = carried_dollars(account.money, account.tokens, weights)
    quotients = per_million(account.money, account.tokens, weights, account.unpriced)
    kinds: tuple[QuotientKind, ...] = ("all", "computed", "prompt", "cached_prompt", "generation")
    bases: tuple[Basis, ...] = ("full", "busy")
    return tuple(
        PerMillion(kind, basis, parts[kind, basis], counts[kind], quotients[kind, basis])
        for kind in kinds
        for basis in bases
        if (kind, basis) in quotients
    )


def ladder(account: ModelAccount) -> tuple[UnitCost, ...]:
    """Unit costs of one model, the narrowest first. Empty without dollars, or with unpriced time.

    Hardware alone needs the components or their mix. Each model is assumed to have its server's mix.
    """
    if account.unpriced:
        return ()
    counts = token_counts(account.tokens)
    everything, worked = dollars(account.spent), dollars(account.worked)
    costs: list[UnitCost] = []

    def add_cost(amount: float, tokens: int, meaning: str) -> None:
        if amount and tokens:
            costs.append(UnitCost(amount, tokens, amount * TOKENS_PER_MILLION / tokens, meaning))

    mix = account.components or account.mix
    total = sum(mix.values())
    if total:
        hardware = sum(amount for name, amount in mix.items() if name in HARDWARE)
        of_hardware = worked * hardware / total
        add_cost(of_hardware, counts["all"], "hardware alone, and only while it computed tokens")
    add_cost(worked, counts["all"], "energy and overheads too (all, busy)")
    add_cost(everything, counts["all"], "idle and unobserved time too (all, full)")
    add_cost(everything, counts["computed"], "cached tokens not counted (computed, full)")
    add_cost(everything, counts["generation"], "everything over generated tokens alone")
    return tuple(costs)


def break_even(
    account: ModelAccount, span: Nanoseconds, price: float, reference: str
) -> HostedBreakEven | None:
    """An account against one price for a million tokens of any kind.

    `None` without a price, without cost or tokens, and with unpriced time.
    """
    served = sum(account.tokens.values())
    if span <= 0 or price <= 0 or not served or not account.spent or account.unpriced:
        return None
    dollars_per_day = dollars(account.spent) * NANOSECONDS_PER_DAY / span
    return HostedBreakEven(
        reference,
        dollars_per_million=price,
        own_dollars_per_million=dollars(account.spent) * TOKENS_PER_MILLION / served,
        tokens_per_day=dollars_per_day * TOKENS_PER_MILLION / price,
        served_per_day=served * NANOSECONDS_PER_DAY / span,
    )


def hosted_break_even(account: ModelAccount, span: Nanoseconds, offer: HostedPrice) -> HostedBreakEven | None:
    """An account against a hosted offer, at the account's mix of tokens; `None` without tokens."""
    served = sum(account.tokens.values())
    if not served:
        return None
    there = dollars(equivalent(offer, account.tokens)) * TOKENS_PER_MILLION / served
    return break_even(account, span, there, offer.reference)


@dataclass(slots=True)
class CostAccounts:
    """Accounts of a period by server and model, of all owners together."""

    models: dict[ServerKey, dict[str, ModelAccount]] = field(default_factory=dict)
    components: dict[ServerKey, dict[str, Picodollars]] = field(default_factory=dict)
    """Money of the period, by server and component."""
    mixes: dict[ServerKey, dict[str, Picodollars]] = field(default_factory=dict)
    """Money of the hours that overlap the period, by server and component."""

    def add_history(
        self,
        cost: Mapping[OwnerPhase, Picodollars],
        time: Mapping[OwnerPhase, Nanoseconds],
        tokens: Mapping[tuple[CostOwner, TokenKind], int],
        unpriced: Mapping[tuple[Gpu, CostOwner], Nanoseconds],
        settled: Mapping[tuple[Gpu, CostOwner], Nanoseconds],
        by_component: Mapping[tuple[ServerKey, str], Picodollars],
    ) -> None:
        """Add an hour or a day of history.

        Args:
            cost: money by owner and phase.
            time: GPU time by owner and phase.
            tokens: by owner and kind.
            unpriced: GPU time that had no price.
            settled: the part of it that was charged since.
            by_component: money by server and component.
        """
        for (owner, phase), amount in cost.items():
            add(self._account(owner).money, phase, amount)
        for (owner, phase), duration in time.items():
            add(self._account(owner).gpu_time, phase, duration)
        for (owner, kind), count in tokens.items():
            add(self._account(owner).tokens, kind, count)
        for (_gpu, owner), duration in unpriced.items():
            self._account(owner).unpriced += duration
        for (_gpu, owner), duration in settled.items():
            self._account(owner).unpriced -= duration
        for (key, component), amount in by_component.items():
            add(self.components.setdefault(key, {}), component, amount)

    def add_window(
        self,
        owner: CostOwner,
        money: Mapping[str, Picodollars],
        tokens: Mapping[TokenKind, int],
        unpriced: Nanoseconds,
    ) -> None:
        """Add an owner's last 60 whole minutes: money by phase, tokens, unpriced GPU time."""
        account = self._account(owner)
        add_all(account.money, money)
        add_all(account.tokens, tokens)
        account.unpriced += unpriced

    def add_mix(self, mix: Mapping[tuple[ServerKey, str], Picodollars]) -> None:
        """Add money by server and component of hours that overlap the period."""
        for (key, component), amount in mix.items():
            add(self.mixes.setdefault(key, {}), component, amount)

    def add_last(self, last_token: Mapping[CostOwner, Instant]) -> None:
        """Add the time of each owner's last token to the models of the period."""
        for owner, instant in last_token.items():
            account = self.models.get(owner.key, {}).get(owner.model)
            if account is not None:
                account.last_token = max(instant, account.last_token or instant)

    def add_server(self, key: ServerKey) -> None:
        """Add a server, also without cost and tokens."""
        self.models.setdefault(key, {})

    def spent(self, key: ServerKey) -> Picodollars:
        """All money of a server."""
        return sum(account.spent for account in self.models[key].values())

    def of_server(self, key: ServerKey) -> list[ModelAccount]:
        """Accounts of one server, the most expensive first."""
        accounts = [
            replace(
                account,
                components=self.components.get(key, {}),
                unpriced=max(0, account.unpriced),
                mix=self.mixes.get(key, {}),
            )
            for account in self.models[key].values()
        ]
        return sorted(accounts, key=lambda account: (-account.spent, account.model))

    def _account(self, owner: CostOwner) -> ModelAccount:
        models = self.models.setdefault(owner.key, {})
        return models.setdefault(owner.model, ModelAccount(owner.model))


YOURS: Final = "your number"
"""The reference of a price given on the command line."""


class ExplanationError(Exception):
    """No such server, or no cost in the period; the message lists the servers."""


@dataclass(frozen=True, slots=True)
class ExplainedPeriod:
    """The wall time [start, end) of accounts, and the metered part of it."""

    start: Instant
    end: Instant
    covered: Nanoseconds


@dataclass(frozen=True, slots=True)
class AllocatedPrice:
    """The present price of one component of `gpus` equal GPUs that a server holds.

    `dollars_per_hour` is of one GPU, without energy, which is measured and has no price by the hour.
    """

    gpu_model: str
    gpus: float
    component: str
    dollars_per_hour: float
    price_basis: str
    source: str


@dataclass(frozen=True, slots=True)
class CurrentSplit:
    """The present split of a model's busy money: the method, and the prefill share."""

    method: str
    prefill_ratio: float

    @classmethod
    def of(cls, key: ServerKey, model: str, state: State, policy: CostPolicy) -> Self | None:
        """The split of a server's model; `None` before anything was measured."""
        server = state.servers.get(key)
        model_state = None if server is None else server.models.get(model)
        if server is None or model_state is None:
            return None
        rule = policy.split_rule(key.server, model)
        method, ratio = split.phase_ratio(model_state, rule, server.role)
        return None if ratio is None else cls(method, ratio)


@dataclass(frozen=True, slots=True)
class ModelExplanation:
    """One model: its account and what follows from it. `split` is `None` before anything was measured."""

    account: ModelAccount
    prices: tuple[PerMillion, ...]
    ladder: tuple[UnitCost, ...]
    against: tuple[HostedBreakEven, ...]
    split: CurrentSplit | None = None


@dataclass(frozen=True, slots=True)
class ServerExplanation:
    """One server: prices of the GPUs that it holds now, and its models in the period.

    `partial`: others compute for its tokens, too, and its models have no price.
    """

    key: ServerKey
    allocated: tuple[AllocatedPrice, ...]
    models: tuple[ModelExplanation, ...]
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """Explanation of the selected servers. No other number includes `fleet_dollars_per_hour`."""

    ledger: str
    period: ExplainedPeriod
    servers: tuple[ServerExplanation, ...]
    fleet_dollars_per_hour: float


def explain(
    accounts: CostAccounts,
    period: ExplainedPeriod,
    policy: CostPolicy,
    state: State,
    now: Instant,
    *,
    ledger: str,
    server: str | None = None,
    price: float | None = None,
) -> Explanation:
    """Explain one server (as `name` or `namespace/name`), or all of them, the most expensive first.

    Args:
        accounts: of the period.
        period: their time.
        policy: prices, weights and offers as they are configured now.
        state: the inventory with its last holders, and the servers.
        now: for prices by the hour.
        ledger: its id.
        server: its name; all without it.
        price: a price per million tokens to compare with.

    Raises:
        ExplanationError: the accounts have no such server, or nothing at all.
    """
    keys = sorted(accounts.models)
    if not keys:
        raise ExplanationError("nothing was posted in this time: ask for a longer --window")
    # Without a namespace the page links to `/chat`: the bare name might be that of several servers.
    selected = [
        key for key in keys if server is None or server in {key.server, f"{key.namespace}/{key.server}"}
    ]
    if not selected:
        there_is = ", ".join(key.name for key in keys)
        raise ExplanationError(f"there is no server {server!r} in this time: there is {there_is}")
    policy = policy.following(state.predecessors)
    servers: list[ServerExplanation] = []
    for key in sorted(selected, key=lambda key: -accounts.spent(key)):
        partial = key in state.servers and state.servers[key].partial
        models: list[ModelExplanation] = []
        for account in accounts.of_server(key):
            split_now = CurrentSplit.of(key, account.model, state, policy)
            if partial:
                models.append(ModelExplanation(account, prices=(), ladder=(), against=(), split=split_now))
                continue
            weights = policy.split_rule(key.server, account.model).weights
            against = [] if price is None else [break_even(account, period.covered, price, YOURS)]
            offers = [offer for offer in policy.compare if offer.covers(key.server, account.model)]
            against += [hosted_break_even(account, period.covered, offer) for offer in offers]
            models.append(
                ModelExplanation(
                    account,
                    prices=prices(account, weights),
                    ladder=ladder(account),
                    against=tuple(result for result in against if result is not None),
                    split=split_now,
                )
            )
        servers.append(ServerExplanation(key, _allocated(key, state, policy, now), tuple(models), partial))
    fleet = policy.tariff.fleet_overheads(month_of(now, policy.zone))
    fleet_dollars_per_hour = sum(rate.dollars_per_hour() for _, rate in fleet)
    return Explanation(ledger, period, tuple(servers), fleet_dollars_per_hour)


def _allocated(key: ServerKey, state: State, policy: CostPolicy, now: Instant) -> tuple[AllocatedPrice, ...]:
    """Prices of the GPUs that a server holds: equal GPUs together, in the order of their indices."""
    month = month_of(now, policy.zone)
    counts: dict[AllocatedPrice, float] = {}
    for gpu in sorted([*state.gpus.values(), *state.unseen.values()], key=lambda gpu: gpu.index):
        shares = attribution.shares(gpu.holders, gpu.slices)
        own = sum(share.idle_part for share in shares if share.key == key) * gpu.count / WHOLE
        if not own:
            continue
        for rate in policy.tariff.price(gpu.gpu, now, month, state.gpu_count).rates:
            one_gpu = AllocatedPrice(
                gpu_model=gpu.gpu.gpu_model,
                gpus=1,
                component=rate.component,
                dollars_per_hour=rate.rate.dollars_per_hour(),
                price_basis=rate.provenance.price_basis,
                source=rate.provenance.source,
            )
            counts[one_gpu] = counts.get(one_gpu, 0.0) + own
    return tuple(replace(one_gpu, gpus=count) for one_gpu, count in counts.items())
