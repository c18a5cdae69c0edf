"""Why two periods cost different amounts: a sum of exact effects, taken in one documented order. Pure.

Machine cost (hardware and energy) of a period is `hours x sum over servers(GPUs x price)`: the length of the
period, a server's mean GPUs and its price of a GPU-hour. Its GPUs are idle, or work for tokens (tokens an
hour x GPU-hours a token), or work without tokens. The effects, each at the new values of those before it and
the old values of those after it:

1. hours: the period is longer or shorter
2. idle: more or fewer idle GPUs
3. tokens: more or fewer tokens an hour, of the old mix of models
4. mix: another mix of models, at their old GPU time per token
5. gpus: more or fewer GPUs for the same work: GPU time per token, and work without tokens
6. hardware mix: GPUs of another price in place of as many others
7. price: another price of an hour of the same GPUs

A GPU of both periods is the same GPU, and the others of a GPU model are the same as before. More or fewer
GPUs are at their own price: a dearer host that joins is `gpus`, and no price. Who held which GPU is known by
product and team; a server has its part of what their GPUs changed. Without GPU time by GPU, as from a
Prometheus, all that is left is `price`.

A model that is new has its new GPU time per token and price in the old period too, and one that is gone its
old ones in the new period. Overheads, corrections and money without rows are differences of their own.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, Literal, get_args

from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.ledger.history import HistorySums, MonthRecord
from exporter.readings import Gpu, ServerKey
from exporter.tariff.tariff import ENERGY, HARDWARE
from exporter.units import NANOSECONDS_PER_HOUR, Nanoseconds, Picodollars

EffectName = Literal[
    "hours",
    "idle",
    "tokens",
    "mix",
    "gpus",
    "hardware mix",
    "price",
    "overheads",
    "corrections",
    "fleet overheads",
    "not itemized",
]
EFFECTS: Final[tuple[EffectName, ...]] = get_args(EffectName)

MACHINE: Final = frozenset((*HARDWARE, ENERGY))
"""Components of machine cost; the others are overheads."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What is compared: everything, one product, or one server."""

    product: str | None = None
    server: ServerKey | None = None

    def has(self, owner: CostOwner) -> bool:
        """Whether an owner is in it."""
        return self.product in (None, owner.product) and self.server in (None, owner.key)


EVERYTHING: Final = Scope()

Payer = tuple[str, str]
"""Product and team."""


@dataclass(frozen=True, slots=True)
class ComparedPeriod:
    """One of the two periods: its sums, and how long it is.

    `fleet_overheads` are amounts `per: fleet`, 0 where they are left out.
    """

    name: str
    record: MonthRecord
    length: Nanoseconds
    fleet_overheads: Picodollars = 0


@dataclass(frozen=True, slots=True)
class CostEffect:
    """One effect of the difference. `before` and `after` are the quantity in both periods, in `unit`."""

    name: EffectName
    amount: Picodollars
    before: float
    after: float
    unit: str


@dataclass(frozen=True, slots=True)
class ServerChange:
    """What one server added to the difference, by effect."""

    server: ServerKey
    effects: Mapping[EffectName, Picodollars]

    @property
    def amount(self) -> Picodollars:
        """All of it."""
        return sum(self.effects.values())


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two periods. `effects` sum to `after - before` to the picodollar.

    `servers` sum to the effects of machines and overheads.
    """

    first: str
    second: str
    scope: Scope
    before: Picodollars
    after: Picodollars
    effects: tuple[CostEffect, ...]
    servers: tuple[ServerChange, ...]

    @property
    def difference(self) -> Picodollars:
        """How much more the second period cost."""
        return self.after - self.before


@dataclass(slots=True)
class _Model:
    """A model of a server in one period: tokens, and GPU time that worked for them."""

    tokens: int = 0
    working: Nanoseconds = 0


@dataclass(slots=True)
class _Server:
    """A server in one period."""

    machine: Picodollars = 0
    overheads: Picodollars = 0
    gpu_time: Nanoseconds = 0
    idle: Nanoseconds = 0
    models: dict[str, _Model] = field(default_factory=dict)
    paid_by: dict[Payer, Picodollars] = field(default_factory=dict)

    def served(self) -> Iterator[tuple[str, _Model]]:
        """Models with tokens and GPU time of their own."""
        return ((name, model) for name, model in self.models.items() if model.tokens and model.working)

    @property
    def unserved(self) -> Nanoseconds:
        """GPU time that worked, and not for tokens."""
        return self.gpu_time - self.idle - sum(model.working for _name, model in self.served())

    @property
    def price(self) -> Fraction | None:
        """Picodollars of a nanosecond of a GPU; `None` without GPU time."""
        return Fraction(self.machine, self.gpu_time) if self.gpu_time else None


@dataclass(slots=True)
class _Hardware:
    """A GPU, or all of one model, in one period. `holders` is its time by product and team."""

    cost: Picodollars = 0
    time: Nanoseconds = 0
    holders: dict[Payer, Fraction] = field(default_factory=dict)

    @property
    def price(self) -> Fraction:
        """Picodollars of a nanosecond."""
        return Fraction(self.cost, self.time)


@dataclass(slots=True)
class _Period:
    servers: dict[ServerKey, _Server] = field(default_factory=dict)
    total: Picodollars = 0
    corrections: Picodollars = 0
    fleet_overheads: Picodollars = 0
    gpu_models: frozenset[str] = frozenset()

    def server(self, key: ServerKey) -> _Server:
        return self.servers.setdefault(key, _Server())

    def sum(self, of: Literal["machine", "overheads", "gpu_time", "idle", "unserved"]) -> int:
        return sum(getattr(server, of) for server in self.servers.values())

    def tokens(self) -> int:
        return sum(model.tokens for server in self.servers.values() for _name, model in server.served())

    @property
    def not_itemized(self) -> Picodollars:
        known = self.sum("machine") + self.sum("overheads") + self.corrections + self.fleet_overheads
        return self.total - known


def compare(first: ComparedPeriod, second: ComparedPeriod, scope: Scope = EVERYTHING) -> Comparison:
    """The difference of two periods.

    Args:
        first: the earlier one, or the one to compare with.
        second: the one that is explained.
        scope: what of them is compared.
    """
    before, after = _period(first, scope), _period(second, scope)
    tokens = before.tokens()
    growth = Fraction(after.tokens() * first.length, tokens * second.length) if tokens else None
    composition = _composition(first, second)
    parts: dict[tuple[ServerKey, EffectName], Fraction] = {}
    for key in sorted(before.servers.keys() | after.servers.keys()):
        one, other = before.servers.get(key, _Server()), after.servers.get(key, _Server())
        effects = _machine(one, other, first.length, second.length, growth)
        if key in composition:
            effects = _with_hardware(list(effects), *composition[key])
        for name, value in effects:
            parts[key, name] = parts.get((key, name), Fraction()) + value
    rounded = _rounded(parts, after.sum("machine") - before.sum("machine"))
    for key in before.servers.keys() | after.servers.keys():
        one, other = before.servers.get(key, _Server()), after.servers.get(key, _Server())
        rounded[key, "overheads"] = other.overheads - one.overheads
    amounts: dict[EffectName, Picodollars] = dict.fromkeys(EFFECTS, 0)
    for (_key, name), amount in rounded.items():
        amounts[name] += amount
    amounts["corrections"] = after.corrections - before.corrections
    amounts["fleet overheads"] = after.fleet_overheads - before.fleet_overheads
    amounts["not itemized"] = after.not_itemized - before.not_itemized
    return Comparison(
        first.name,
        second.name,
        scope,
        before.total,
        after.total,
        tuple(_effects(amounts, (before, first), (after, second))),
        tuple(_changes(rounded)),
    )


def _period(period: ComparedPeriod, scope: Scope) -> _Period:
    record, sums = period.record, period.record.sums or HistorySums()
    result = _Period(gpu_models=frozenset(gpu.gpu_model for gpu, _component in sums.gpu_cost))
    for (owner, component, _basis), amount in sums.server_cost.items():
        whole = CostOwner(*owner, "")
        if not scope.has(whole):
            continue
        server = result.server(whole.key)
        if component in MACHINE:
            server.machine += amount
            payer = owner.product, owner.team
            server.paid_by[payer] = server.paid_by.get(payer, 0) + amount
        else:
            server.overheads += amount
    for owner_phase, duration in sums.held.items():
        if scope.has(owner_phase.owner):
            _hold(result.server(owner_phase.owner.key), owner_phase, duration)
    for (token_owner, _kind), count in sums.tokens.items():
        if scope.has(token_owner):
            server = result.server(token_owner.key)
            server.models.setdefault(token_owner.model, _Model()).tokens += count
    if scope.server is None:
        result.total = sum(
            amount for cell, amount in record.cells.items() if scope.product in (None, cell.product)
        )
        result.corrections = sum(
            each.amount
            for each in record.adjustments
            if each.posted is not None and scope.product in (None, each.product)
        )
    else:  # corrections name no server
        result.total = result.sum("machine") + result.sum("overheads")
    if scope == EVERYTHING:
        result.fleet_overheads = period.fleet_overheads
        result.total += period.fleet_overheads
    return result


def _hold(server: _Server, owner_phase: OwnerPhase, duration: Nanoseconds) -> None:
    server.gpu_time += duration
    if owner_phase.phase == "idle":
        server.idle += duration
    elif owner_phase.phase in ("prefill", "decode"):
        server.models.setdefault(owner_phase.owner.model, _Model()).working += duration


def _machine(
    one: _Server, other: _Server, first: Nanoseconds, second: Nanoseconds, growth: Fraction | None
) -> Iterator[tuple[EffectName, Fraction]]:
    """The effects of one server's machine cost. They sum to its difference."""
    old, new = one.price, other.price
    if old is None:
        old = new
    if old is None:  # no GPU time in either: its money, if any, has no other cause than its price
        yield "price", Fraction(other.machine - one.machine)
        return
    price = old
    per_hour = Fraction(second, first)
    """GPU time of the first period, as long as the second one."""
    if one.gpu_time:
        yield "hours", (per_hour - 1) * one.gpu_time * price
    else:  # money without GPU time
        yield "price", Fraction(-one.machine)
    yield "idle", (other.idle - one.idle * per_hour) * price
    served_before, served_after = dict(one.served()), dict(other.served())
    for name in sorted(served_before.keys() | served_after.keys()):
        yield from _work(
            served_before.get(name, _Model()), served_after.get(name, _Model()), price, per_hour, growth
        )
    yield "gpus", (other.unserved - one.unserved * per_hour) * price
    if other.gpu_time:
        yield "price", other.machine - other.gpu_time * price
    else:
        yield "price", Fraction(other.machine)


def _with_hardware(
    effects: list[tuple[EffectName, Fraction]], more_or_fewer: Fraction, mix: Fraction
) -> Iterator[tuple[EffectName, Fraction]]:
    """The effects with what hardware changed taken from the price.

    `more_or_fewer` goes to the effects that added or took GPU time, whichever is more.
    """
    yield from effects
    yield "hardware mix", mix
    yield "price", -more_or_fewer - mix
    quantities = [(name, value) for name, value in effects if name in ("idle", "tokens", "mix", "gpus")]
    change = sum(value for _name, value in quantities)
    causes = [(name, value) for name, value in quantities if value * change > 0]
    whole = sum((value for _name, value in causes), Fraction())
    for name, value in causes:
        yield name, more_or_fewer * value / whole
    if not causes:
        yield "gpus", more_or_fewer


def _composition(first: ComparedPeriod, second: ComparedPeriod) -> dict[ServerKey, tuple[Fraction, Fraction]]:
    """By server, what is another price because its GPUs are others: more or fewer, and in place of others.

    That is what the mean price of each server's GPU-hours changed, less what prices of the same GPUs did.
    """
    before, after = _period(first, EVERYTHING), _period(second, EVERYTHING)
    changes = _hardware_changes(first, second)
    by_payer: dict[Payer, dict[ServerKey, Fraction]] = {}
    price_effects: dict[Payer, Fraction] = {}
    for key, server in after.servers.items():
        old = before.servers.get(key, _Server())
        price = old.price
        paid = {payer: server.paid_by.get(payer, 0) + old.paid_by.get(payer, 0) for payer in server.paid_by}
        payer = max(paid, key=lambda each: (paid[each], each), default=("", ""))
        if price is None or payer not in changes or not server.gpu_time:
            continue
        by_payer.setdefault(payer, {})[key] = server.machine - server.gpu_time * price
        same = price_effects.get(payer, Fraction())
        price_effects[payer] = same + server.machine * changes[payer][0]
    composition: dict[ServerKey, tuple[Fraction, Fraction]] = {}
    for payer, changed in by_payer.items():
        times = {key: Fraction(after.servers[key].gpu_time) for key in changed}
        of_hardware = _dealt(sum(changed.values()) - price_effects[payer], changed, times)
        mixes = _dealt(changes[payer][1], of_hardware, times)
        for key in changed:
            mix = mixes.get(key, Fraction())
            composition[key] = of_hardware.get(key, Fraction()) - mix, mix
    return composition


def _dealt(
    amount: Fraction, weights: Mapping[ServerKey, Fraction], times: Mapping[ServerKey, Fraction]
) -> dict[ServerKey, Fraction]:
    """An amount over servers by those of their weights that have its sign, by GPU time if none has."""
    of_sign = {key: weight for key, weight in weights.items() if weight * amount > 0} or times
    whole = sum(of_sign.values())
    return {key: amount * weight / whole for key, weight in of_sign.items()}


def _hardware_changes(
    first: ComparedPeriod, second: ComparedPeriod
) -> dict[Payer, tuple[Fraction, Fraction]]:
    """By product and team: what part of the new cost is a price of the same GPUs, and the hardware mix."""
    old_sums, new_sums = first.record.sums or HistorySums(), second.record.sums or HistorySums()
    both = old_sums.gpu_held.keys() & new_sums.gpu_held.keys()
    before, after = _hardware(old_sums, both), _hardware(new_sums, both)
    per_hour = Fraction(second.length, first.length)
    old_prices = {name: each.price for name, each in (after | before).items()}
    changes: dict[Payer, tuple[Fraction, Fraction]] = {}
    for payer in sorted({payer for hardware in after.values() for payer in hardware.holders}):
        new_cost = at_old_prices = Fraction()
        more: list[tuple[Fraction, Fraction]] = []
        fewer: list[tuple[Fraction, Fraction]] = []
        for name, price in old_prices.items():
            time = after[name].holders.get(payer, Fraction()) if name in after else Fraction()
            earlier = before[name].holders.get(payer, Fraction()) if name in before else Fraction()
            if time:
                new_cost += time * after[name].price
                at_old_prices += time * price
            change = time - earlier * per_hour
            (more if change > 0 else fewer).append((abs(change), abs(change) * price))
        added, removed = sum(time for time, _cost in more), sum(time for time, _cost in fewer)
        mix = Fraction()
        if added and removed:
            mix = sum(cost for _time, cost in more) / added - sum(cost for _time, cost in fewer) / removed
        same_gpus = 1 - at_old_prices / new_cost if new_cost else Fraction()
        changes[payer] = same_gpus, min(added, removed) * mix
    return changes


def _hardware(sums: HistorySums, both: Collection[Gpu]) -> dict[Gpu, _Hardware]:
    """GPUs of both periods, and the others by their model, with a price."""
    hardware: dict[Gpu, _Hardware] = {}
    costs: dict[Gpu, Picodollars] = {}
    for (gpu, component), amount in sums.gpu_cost.items():
        if component in MACHINE:
            costs[gpu] = costs.get(gpu, 0) + amount
    priced: dict[Gpu, Nanoseconds] = {}
    for owner, time in sums.owner_held.items():
        priced[owner.gpu] = priced.get(owner.gpu, 0) + time
    charged = sums.gpu_owed()
    for gpu in priced:
        if charged.get(gpu, 0) > 0:
            each = hardware.setdefault(gpu if gpu in both else Gpu("", gpu.gpu_model), _Hardware())
            each.cost += costs.get(gpu, 0)
            each.time += charged[gpu]
    for owner, time in sums.owner_held.items():
        each = hardware.get(owner.gpu if owner.gpu in both else Gpu("", owner.gpu.gpu_model), _Hardware())
        payer = owner.product, owner.team
        of_payer = Fraction(max(0, charged.get(owner.gpu, 0)) * time, priced[owner.gpu] or 1)
        each.holders[payer] = each.holders.get(payer, Fraction()) + of_payer
    return hardware


def _work(
    one: _Model, other: _Model, price: Fraction, per_hour: Fraction, growth: Fraction | None
) -> Iterator[tuple[EffectName, Fraction]]:
    """The effects of one model's GPU time that worked for tokens."""
    before = one.tokens * per_hour
    rate = Fraction(one.working, one.tokens) if one.tokens else Fraction(other.working, other.tokens)
    rate_after = Fraction(other.working, other.tokens) if other.tokens else rate
    if growth is None:
        yield "tokens", other.tokens * rate * price
    else:
        yield "tokens", (growth - 1) * before * rate * price
        yield "mix", (other.tokens - growth * before) * rate * price
    yield "gpus", other.tokens * (rate_after - rate) * price


def _rounded(
    parts: Mapping[tuple[ServerKey, EffectName], Fraction], total: Picodollars
) -> dict[tuple[ServerKey, EffectName], Picodollars]:
    """Whole picodollars that sum to the total: the largest remainders get what is left."""
    whole = {key: value.numerator // value.denominator for key, value in parts.items()}
    left = total - sum(whole.values())
    ranked = sorted(parts, key=lambda key: (whole[key] - parts[key], key))
    for key in ranked[:left]:
        whole[key] += 1
    return whole


def _effects(
    amounts: Mapping[EffectName, Picodollars],
    before: tuple[_Period, ComparedPeriod],
    after: tuple[_Period, ComparedPeriod],
) -> Iterator[CostEffect]:
    quantities = [_quantities(*each) for each in (before, after)]
    for name in EFFECTS:
        (one, unit), (other, _unit) = (each[name] for each in quantities)
        yield CostEffect(name, amounts[name], one, other, unit)


def _quantities(period: _Period, compared: ComparedPeriod) -> dict[EffectName, tuple[float, str]]:
    """What each effect is about, in one period."""
    length, hours = compared.length, compared.length / NANOSECONDS_PER_HOUR
    gpu_time, idle, tokens = period.sum("gpu_time"), period.sum("idle"), period.tokens()
    working = gpu_time - idle
    return {
        "hours": (hours, "hours"),
        "idle": (idle / length, "idle GPUs"),
        "tokens": (tokens / hours / 1e6, "million tokens an hour"),
        "mix": (
            float(sum(1 for server in period.servers.values() for _ in server.served())),
            "models served",
        ),
        "gpus": (working / length, "working GPUs"),
        "hardware mix": (float(len(period.gpu_models)), "GPU models"),
        "price": (
            (period.sum("machine") / 1e12) / (gpu_time / NANOSECONDS_PER_HOUR) if gpu_time else 0.0,
            "dollars a GPU-hour",
        ),
        "overheads": (period.sum("overheads") / 1e12, "dollars"),
        "corrections": (period.corrections / 1e12, "dollars"),
        "fleet overheads": (period.fleet_overheads / 1e12, "dollars"),
        "not itemized": (period.not_itemized / 1e12, "dollars"),
    }


def _changes(rounded: Mapping[tuple[ServerKey, EffectName], Picodollars]) -> Iterable[ServerChange]:
    """Servers that changed the difference, the largest change first."""
    by_server: dict[ServerKey, dict[EffectName, Picodollars]] = {}
    for (key, name), amount in rounded.items():
        if amount:
            effects = by_server.setdefault(key, {})
            effects[name] = effects.get(name, 0) + amount
    changes = [ServerChange(key, effects) for key, effects in by_server.items()]
    return sorted(changes, key=lambda change: (-abs(change.amount), change.server))
