"""Explanation of a server's cost: accounts, unit costs and break-evens. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from exporter.cost import attribution, split
from exporter.cost.money import WHOLE
from exporter.cost.policy import CostPolicy, Weights
from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.cost.quotients import Basis, TokenKind, carried, counted, per_million
from exporter.cost.state import GpuState, State
from exporter.readings import Gpu, Kind, ServerKey
from exporter.tariff.calendar import month_of
from exporter.tariff.hosted import HostedPrice, equivalent
from exporter.tariff.tariff import AMORTIZATION, INSURANCE, RENT, SUPPORT
from exporter.units import NANOSECONDS_PER_DAY, TOKENS_PER_MILLION, Instant, Nanoseconds, Picodollars, dollars

HARDWARE: Final = frozenset({RENT, AMORTIZATION, SUPPORT, INSURANCE})
"""Components that are the price of the hardware itself."""


@dataclass(frozen=True, slots=True)
class ModelAccount:
    """What one model of a server cost and served in a stretch of time.

    `money` and `held` (GPU time) are by phase; `held` is empty where the books do not tell it.
    `components` is the money by what it was for, of all models of the server together; empty where not told.
    `unpriced` is GPU time that waits for a price: with any, what it cost is not known whole, and nothing is
    divided.
    `mix` stands for `components` where these are not told: what the server paid for in the hours around.
    `last_token` is when a token of it last moved, in that stretch or before.
    """

    model: str
    money: Mapping[str, Picodollars] = field(default_factory=dict)
    tokens: Mapping[Kind, int] = field(default_factory=dict)
    held: Mapping[str, Nanoseconds] = field(default_factory=dict)
    components: Mapping[str, Picodollars] = field(default_factory=dict)
    unpriced: Nanoseconds = 0
    mix: Mapping[str, Picodollars] = field(default_factory=dict)
    last_token: Instant | None = None

    @property
    def spent(self) -> Picodollars:
        """All of its money."""
        return sum(self.money.values())

    @property
    def worked(self) -> Picodollars:
        """The part of its money in which it is known to have computed tokens."""
        return self.money.get("prefill", 0) + self.money.get("decode", 0)


@dataclass(frozen=True, slots=True)
class PerMillion:
    """One quotient: `dollars` that `tokens` of a kind carry, and what a million of them cost."""

    kind: TokenKind
    basis: Basis
    dollars: float
    tokens: int
    dollars_per_million: float


@dataclass(frozen=True, slots=True)
class UnitCost:
    """A number that people say, what it divides, and what it leaves out or puts in."""

    dollars: float
    tokens: int
    dollars_per_million: float
    meaning: str


@dataclass(frozen=True, slots=True)
class HostedBreakEven:
    """Own cost against a price per million tokens: both come to the same at `tokens_per_day`.

    At today's money a day, whatever the traffic; `served_per_day` is today's.
    """

    reference: str
    dollars_per_million: float
    own_dollars_per_million: float
    tokens_per_day: float
    served_per_day: float


def prices(account: ModelAccount, weights: Weights) -> tuple[PerMillion, ...]:
    """Every quotient that exists, as the metrics tell them: by kind, the full basis before the busy."""
    counts = counted(account.tokens)
    parts = carried(account.money, account.tokens, weights)
    found = per_million(account.money, account.tokens, weights, account.unpriced)
    return tuple(
        PerMillion(kind, basis, parts[kind, basis], counts[kind], found[kind, basis])
        for kind in ("all", "computed", "prompt", "cached_prompt", "generation")
        for basis in ("full", "busy")
        if (kind, basis) in found
    )


def ladder(account: ModelAccount) -> tuple[UnitCost, ...]:
    """The numbers that people say of one and the same model, the narrowest first.

    None without dollars, and none while a part of its time has no price.

    Hardware alone is told where the components are, or their mix in the hours around: each model is taken to
    have its server's mix of them.
    """
    if account.unpriced:
        return ()
    counts = counted(account.tokens)
    rungs: list[tuple[float, int, str]] = []
    everything, worked = dollars(account.spent), dollars(account.worked)
    mix = account.components or account.mix
    total = sum(mix.values())
    if total and worked:
        hardware = sum(amount for name, amount in mix.items() if name in HARDWARE)
        rungs.append(
            (worked * hardware / total, counts["all"], "hardware alone, and only while it computed tokens")
        )
    if worked:
        rungs.append((worked, counts["all"], "energy and overheads too (all, busy)"))
    rungs += [
        (everything, counts["all"], "idle and unobserved time too (all, full)"),
        (everything, counts["computed"], "cached tokens not counted (computed, full)"),
        (everything, counts["generation"], "everything over generated tokens alone"),
    ]
    return tuple(
        UnitCost(amount, count, amount * TOKENS_PER_MILLION / count, meaning)
        for amount, count, meaning in rungs
        if count and amount
    )


def against(account: ModelAccount, span: Nanoseconds, price: float, reference: str) -> HostedBreakEven | None:
    """An account of a stretch of time against one price for any million tokens.

    `None` without either, and while a part of the account's time has no price.
    """
    served = sum(account.tokens.values())
    if span <= 0 or price <= 0 or not served or not account.spent or account.unpriced:
        return None
    a_day = dollars(account.spent) * NANOSECONDS_PER_DAY / span
    return HostedBreakEven(
        reference,
        price,
        dollars(account.spent) * TOKENS_PER_MILLION / served,
        a_day * TOKENS_PER_MILLION / price,
        served * NANOSECONDS_PER_DAY / span,
    )


def hosted(account: ModelAccount, span: Nanoseconds, offer: HostedPrice) -> HostedBreakEven | None:
    """An account against a hosted offer, at the mix of tokens that it has; `None` where nothing compares."""
    served = sum(account.tokens.values())
    if not served:
        return None
    there = dollars(equivalent(offer, account.tokens)) * TOKENS_PER_MILLION / served
    return against(account, span, there, offer.reference)


class HistorySumsView(Protocol):
    """What an hour or a day added to the books, as history keeps it."""

    @property
    def cost(self) -> Mapping[OwnerPhase, Picodollars]:
        """Money by party and phase."""
        ...

    @property
    def held(self) -> Mapping[OwnerPhase, Nanoseconds]:
        """GPU time by party and phase."""
        ...

    @property
    def tokens(self) -> Mapping[tuple[CostOwner, Kind], int]:
        """Tokens by party and kind."""
        ...

    @property
    def unpriced(self) -> Mapping[tuple[Gpu, CostOwner], Nanoseconds]:
        """GPU time that had no price."""
        ...

    @property
    def settled(self) -> Mapping[tuple[Gpu, CostOwner], Nanoseconds]:
        """The part of it that was charged since."""
        ...

    def by_component(self) -> Mapping[tuple[ServerKey, str], Picodollars]:
        """Money by server and component."""
        ...


class WindowView(Protocol):
    """What a party cost and served in the last 60 whole minutes."""

    @property
    def money(self) -> Mapping[str, Picodollars]:
        """By phase."""
        ...

    @property
    def tokens(self) -> Mapping[Kind, int]:
        """By kind."""
        ...

    @property
    def unpriced(self) -> Nanoseconds:
        """GPU time that waits for a price."""
        ...


@dataclass(slots=True)
class _ModelSums:
    money: dict[Any, int] = field(default_factory=dict)
    held: dict[Any, int] = field(default_factory=dict)
    tokens: dict[Any, int] = field(default_factory=dict)
    unpriced: Nanoseconds = 0


@dataclass(slots=True)
class CostAccounts:
    """Accounts by server and model, whoever owned them: a change of owner is no other cost.

    `components` are of the same stretch of time; `mixes` are of the hours around it, where it tells none.
    """

    models: dict[ServerKey, dict[str, _ModelSums]] = field(default_factory=dict)
    components: dict[ServerKey, dict[str, Picodollars]] = field(default_factory=dict)
    mixes: dict[ServerKey, dict[str, Picodollars]] = field(default_factory=dict)
    last: dict[tuple[ServerKey, str], Instant] = field(default_factory=dict)
    """When a token last moved, by server and model."""

    def add_history(self, sums: HistorySumsView) -> None:
        """Add what an hour or day holds."""
        for slot, amount in sums.cost.items():
            _sum(self._model(slot.owner).money, slot.phase, amount)
        for slot, duration in sums.held.items():
            _sum(self._model(slot.owner).held, slot.phase, duration)
        for (party, kind), count in sums.tokens.items():
            _sum(self._model(party).tokens, kind, count)
        for sign, family in ((1, sums.unpriced), (-1, sums.settled)):
            for (_gpu, party), duration in family.items():
                self._model(party).unpriced += sign * duration
        for (key, component), amount in sums.by_component().items():
            _sum(self.components.setdefault(key, {}), component, amount)

    def add_window(self, lately: Mapping[CostOwner, WindowView]) -> None:
        """Add the last 60 whole minutes: money by phase, and tokens. No more is kept by the minute."""
        for party, window in lately.items():
            model = self._model(party)
            for phase, amount in window.money.items():
                _sum(model.money, phase, amount)
            for kind, count in window.tokens.items():
                _sum(model.tokens, kind, count)
            model.unpriced += window.unpriced

    def add_mix(self, mix: Mapping[tuple[ServerKey, str], Picodollars]) -> None:
        """Add what servers paid for, by component, in hours that the stretch of time lies in."""
        for (key, component), amount in mix.items():
            _sum(self.mixes.setdefault(key, {}), component, amount)

    def add_last(self, last_token: Mapping[CostOwner, Instant]) -> None:
        """Add when tokens last moved, for whomever."""
        for party, instant in last_token.items():
            one = party.key, party.model
            self.last[one] = max(instant, self.last.get(one, instant))

    def know(self, key: ServerKey) -> None:
        """Have a server, also where it neither cost nor served anything."""
        self.models.setdefault(key, {})

    def of(self, key: ServerKey) -> Iterator[ModelAccount]:
        """Those of one server, the dearest first."""
        models = self.models[key]
        for name in sorted(models, key=lambda name: (-sum(models[name].money.values()), name)):
            model = models[name]
            yield ModelAccount(
                name,
                model.money,
                model.tokens,
                model.held,
                self.components.get(key, {}),
                max(0, model.unpriced),
                self.mixes.get(key, {}),
                self.last.get((key, name)),
            )

    def _model(self, party: CostOwner) -> _ModelSums:
        return self.models.setdefault(party.key, {}).setdefault(party.model, _ModelSums())


def _sum(sums: dict[Any, int], key: object, amount: int) -> None:
    sums[key] = sums.get(key, 0) + amount


YOURS: Final = "your number"
"""What a price that was asked about is called."""


class ExplanationError(Exception):
    """There is nothing to explain; the message says what there is."""


@dataclass(frozen=True, slots=True)
class ExplainedPeriod:
    """The wall time [start, end) that accounts are of, and how much of it was metered."""

    start: Instant
    end: Instant
    covered: Nanoseconds


@dataclass(frozen=True, slots=True)
class AllocatedPrice:
    """What an hour of GPUs that a server holds costs now, by component: `gpus` of them, each the same.

    `dollars_per_hour` is of one GPU, energy left out: it is measured, not priced by the hour.
    """

    gpu_model: str
    gpus: float
    component: str
    dollars_per_hour: float
    price_basis: str
    source: str


@dataclass(frozen=True, slots=True)
class CurrentSplit:
    """By which method a model's busy money is split now, and the share of it that prefill has."""

    method: str
    prefill_ratio: float


@dataclass(frozen=True, slots=True)
class ModelExplanation:
    """One model: what it cost and served, and every number that follows. `split` is `None`: nothing told."""

    account: ModelAccount
    prices: tuple[PerMillion, ...]
    ladder: tuple[UnitCost, ...]
    against: tuple[HostedBreakEven, ...]
    split: CurrentSplit | None = None


@dataclass(frozen=True, slots=True)
class ServerExplanation:
    """One server: what it holds now, and its models over the stretch.

    `partial`: others compute for its tokens, too, and its models have no price.
    """

    key: ServerKey
    held: tuple[AllocatedPrice, ...]
    models: tuple[ModelExplanation, ...]
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer. `fleet_dollars_per_hour` is in none of its numbers."""

    ledger: str
    stretch: ExplainedPeriod
    chains: tuple[ServerExplanation, ...]
    fleet_dollars_per_hour: float


def explain(
    accounts: CostAccounts,
    stretch: ExplainedPeriod,
    terms: CostPolicy,
    state: State,
    now: Instant,
    *,
    ledger: str,
    server: str | None = None,
    price: float | None = None,
) -> Explanation:
    """Explain one server (as `name` or `namespace/name`), or all of them, the dearest first.

    Args:
        accounts: what was posted in the stretch.
        stretch: the time that they are of.
        terms: prices, weights and offers as they are configured now.
        state: the inventory with its last holders, and the servers.
        now: for prices by the hour.
        ledger: the id of the books.
        server: which; all without it.
        price: a price per million tokens to hold against.

    Raises:
        ExplanationError: the books have no such server, or nothing at all in that time.
    """
    known = sorted(accounts.models, key=lambda key: (-_spent(accounts, key), key))
    asked = [
        key for key in known if server is None or server in {key.server, f"{key.namespace}/{key.server}"}
    ]
    if not known:
        raise ExplanationError("nothing was posted in this time: ask for a longer --window")
    if not asked:
        names = ", ".join(_name(key) for key in sorted(known))
        raise ExplanationError(f"there is no server {server!r} in this time: there is {names}")
    inventory = (*state.gpus.values(), *state.unseen.values())
    terms = terms.told(terms.owners, state.predecessors)
    partial = {key for key, known_server in state.servers.items() if known_server.partial}
    return Explanation(
        ledger,
        stretch,
        tuple(
            ServerExplanation(
                key,
                tuple(_held(key, inventory, terms, now)),
                tuple(
                    ModelExplanation(account, (), (), (), _split(key, account, state, terms))
                    if key in partial
                    else _chain(key, account, stretch, terms, state, price)
                    for account in accounts.of(key)
                ),
                key in partial,
            )
            for key in asked
        ),
        sum(
            rate.dollars_per_hour() for _name, rate in terms.tariff.fleet_overheads(month_of(now, terms.zone))
        ),
    )


def _chain(
    key: ServerKey,
    account: ModelAccount,
    stretch: ExplainedPeriod,
    terms: CostPolicy,
    state: State,
    price: float | None,
) -> ModelExplanation:
    compared = [
        hosted(account, stretch.covered, offer)
        for offer in terms.compare
        if offer.covers(key.server, account.model)
    ]
    if price is not None:
        compared.insert(0, against(account, stretch.covered, price, YOURS))
    return ModelExplanation(
        account,
        prices(account, terms.split_rule(key.server, account.model).weights),
        ladder(account),
        tuple(told for told in compared if told is not None),
        _split(key, account, state, terms),
    )


def _split(key: ServerKey, account: ModelAccount, state: State, terms: CostPolicy) -> CurrentSplit | None:
    server = state.servers.get(key)
    model = None if server is None else server.models.get(account.model)
    if server is None or model is None:
        return None
    method, ratio = split.trailing(model, terms.split_rule(key.server, account.model), server.role)
    return None if ratio is None else CurrentSplit(method, ratio)


def _held(
    key: ServerKey, gpus: tuple[GpuState, ...], terms: CostPolicy, now: Instant
) -> Iterator[AllocatedPrice]:
    """Equal GPUs together, in the order of their indices."""
    month = month_of(now, terms.zone)
    gpus_on_host = sum(gpu.count for gpu in gpus)
    alike: dict[tuple[str, str, float, str, str], float] = {}
    for gpu in sorted(gpus, key=lambda gpu: gpu.index):
        shares = attribution.shares(gpu.holders, gpu.slices)
        mine = sum(share.idle_part for share in shares if share.key == key) * gpu.count / WHOLE
        if not mine:
            continue
        for rate in terms.tariff.price(gpu.gpu, now, month, gpus_on_host).rates:
            origin = rate.provenance
            line = (
                gpu.gpu.gpu_model,
                rate.component,
                rate.rate.dollars_per_hour(),
                origin.price_basis,
                origin.source,
            )
            alike[line] = alike.get(line, 0.0) + mine
    for (model, component, hourly, basis, source), count in alike.items():
        yield AllocatedPrice(model, count, component, hourly, basis, source)


def _spent(accounts: CostAccounts, key: ServerKey) -> int:
    return sum(sum(model.money.values()) for model in accounts.models[key].values())


def _name(key: ServerKey) -> str:
    return f"{key.namespace}/{key.server}" if key.namespace else key.server
