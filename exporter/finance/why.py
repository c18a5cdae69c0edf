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

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, Literal

from exporter.cost.money import add
from exporter.cost.postings import CostOwner
from exporter.finance import facts
from exporter.finance.facts import Fact
from exporter.ledger.history import MonthRecord
from exporter.readings import ServerKey
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

MACHINE: Final = frozenset((*HARDWARE, ENERGY))
"""Components of machine cost; the others are overheads."""

NOTHING: Final = Fraction()


@dataclass(frozen=True, slots=True)
class Scope:
    """What is compared: everything, one product, or one server."""

    product: str | None = None
    server: ServerKey | None = None

    def has(self, owner: CostOwner) -> bool:
        """Whether an owner is in it."""
        return self.product in (None, owner.product) and self.server in (None, owner.key)


EVERYTHING: Final = Scope()

Payer = tuple[str, ...]
"""Product and team."""


@dataclass(frozen=True, slots=True)
class ComparedPeriod:
    """One of the two periods."""

    name: str
    record: MonthRecord
    length: Nanoseconds
    fleet_overheads: Picodollars = 0
    """Amounts `per: fleet`, 0 where they are left out."""


@dataclass(frozen=True, slots=True)
class CostEffect:
    """One effect of the difference."""

    name: EffectName
    amount: Picodollars
    before: float
    """The quantity in the first period."""
    after: float
    """The quantity in the second one."""
    unit: str
    """Of the quantity."""


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
    """Two periods."""

    first: str
    second: str
    scope: Scope
    before: Picodollars
    after: Picodollars
    effects: tuple[CostEffect, ...]
    """They sum to `after - before` to the picodollar."""
    servers: tuple[ServerChange, ...]
    """They sum to the effects of machines and overheads."""

    @property
    def difference(self) -> Picodollars:
        """How much more the second period cost."""
        return self.after - self.before


@dataclass(slots=True)
class _Server:
    """A server in one period."""

    machine: Picodollars = 0
    overheads: Picodollars = 0
    gpu_time: Nanoseconds = 0
    idle: Nanoseconds = 0
    working: dict[str, Nanoseconds] = field(default_factory=dict)
    """GPU time that worked for tokens, by model."""
    tokens: dict[str, int] = field(default_factory=dict)
    """By model."""
    paid_by: Counter[Payer] = field(default_factory=Counter)

    @property
    def served(self) -> list[str]:
        """Models with tokens and GPU time of their own."""
        return [model for model, count in self.tokens.items() if count and self.working.get(model)]

    @property
    def unserved(self) -> Nanoseconds:
        """GPU time that worked, and not for tokens."""
        return self.gpu_time - self.idle - sum(self.working[model] for model in self.served)

    @property
    def price(self) -> Fraction | None:
        """Picodollars of a nanosecond of a GPU; `None` without GPU time."""
        return Fraction(self.machine, self.gpu_time) if self.gpu_time else None


@dataclass(slots=True)
class _Hardware:
    """A GPU, or all of one model, in one period."""

    cost: Picodollars = 0
    time: Nanoseconds = 0
    times: dict[Payer, Fraction] = field(default_factory=dict)
    """Its time by product and team."""

    @property
    def price(self) -> Fraction:
        """Picodollars of a nanosecond."""
        return Fraction(self.cost, self.time)


class _Period:
    """A period with what of it is in a scope."""

    def __init__(self, compared: ComparedPeriod, every: list[Fact], scope: Scope) -> None:
        self.servers: dict[ServerKey, _Server] = {}
        self.length = compared.length
        for fact in every:
            if fact.server is None or not scope.has(fact.owner):
                continue
            server = self.servers.setdefault(fact.owner.key, _Server())
            if fact.measure == "money of components" and fact.component in MACHINE:
                server.machine += fact.value
                add(server.paid_by, fact.key(("product", "team")), fact.value)
            elif fact.measure == "money of components":
                server.overheads += fact.value
            elif fact.measure == "GPU time":
                server.gpu_time += fact.value
                server.idle += fact.value if fact.phase == "idle" else 0
                if fact.phase in ("prefill", "decode"):
                    add(server.working, fact.model or "", fact.value)
            elif fact.measure == "tokens":
                add(server.tokens, fact.model or "", fact.value)
        self.gpu_models = {fact.gpu_model for fact in facts.measured(every, "money of GPUs")} - {None}
        known = self.sum("machine") + self.sum("overheads")
        self.corrections = 0
        self.fleet_overheads = compared.fleet_overheads if scope == EVERYTHING else 0
        self.total = known  # corrections name no server
        if scope.server is None:
            money = [
                fact
                for fact in facts.measured(every, "money of owners")
                if scope.product in (None, fact.product)
            ]
            self.corrections = sum(fact.value for fact in money if fact.is_adjustment)
            self.total = sum(fact.value for fact in money) + self.fleet_overheads
        self.not_itemized = self.total - known - self.corrections - self.fleet_overheads

    def sum(self, of: Literal["machine", "overheads", "gpu_time", "idle"]) -> int:
        """A sum over servers."""
        return sum(getattr(server, of) for server in self.servers.values())

    @property
    def tokens(self) -> int:
        """Tokens with GPU time of their own."""
        return sum(server.tokens[model] for server in self.servers.values() for model in server.served)

    @property
    def hours(self) -> float:
        """Its length."""
        return self.length / NANOSECONDS_PER_HOUR

    @property
    def dollars_per_hour(self) -> float:
        """The mean price of a GPU-hour."""
        hours = self.sum("gpu_time") / NANOSECONDS_PER_HOUR
        return self.sum("machine") / 1e12 / hours if hours else 0.0


_QUANTITIES: Final[Mapping[EffectName, tuple[str, Callable[[_Period], float]]]] = {
    "hours": ("hours", lambda period: period.hours),
    "idle": ("idle GPUs", lambda period: period.sum("idle") / period.length),
    "tokens": ("million tokens an hour", lambda period: period.tokens / period.hours / 1e6),
    "mix": (
        "models served",
        lambda period: float(sum(len(server.served) for server in period.servers.values())),
    ),
    "gpus": (
        "working GPUs",
        lambda period: (period.sum("gpu_time") - period.sum("idle")) / period.length,
    ),
    "hardware mix": ("GPU models", lambda period: float(len(period.gpu_models))),
    "price": ("dollars a GPU-hour", lambda period: period.dollars_per_hour),
    "overheads": ("dollars", lambda period: period.sum("overheads") / 1e12),
    "corrections": ("dollars", lambda period: period.corrections / 1e12),
    "fleet overheads": ("dollars", lambda period: period.fleet_overheads / 1e12),
    "not itemized": ("dollars", lambda period: period.not_itemized / 1e12),
}
"""What each effect is about: its unit, and its quantity in a period."""

Effects = list[tuple[EffectName, Fraction]]


def compare(first: ComparedPeriod, second: ComparedPeriod, scope: Scope = EVERYTHING) -> Comparison:
    """The difference of two periods.

    Args:
        first: the earlier one, or the one to compare with.
        second: the one that is explained.
        scope: what of them is compared.
    """
    earlier, later = facts.facts_of(first.record), facts.facts_of(second.record)
    before, after = _Period(first, earlier, scope), _Period(second, later, scope)
    tokens = before.tokens
    growth = Fraction(after.tokens * first.length, tokens * second.length) if tokens else None
    per_hour = Fraction(second.length, first.length)
    composition = _composition(
        _Period(first, earlier, EVERYTHING),
        _Period(second, later, EVERYTHING),
        _hardware_changes(earlier, later, per_hour),
    )
    keys = sorted(before.servers.keys() | after.servers.keys())
    pairs = {key: (before.servers.get(key, _Server()), after.servers.get(key, _Server())) for key in keys}
    parts: dict[tuple[ServerKey, EffectName], Fraction] = {}
    for key, (one, other) in pairs.items():
        effects = list(_machine(one, other, per_hour, growth))
        if key in composition:
            effects += _hardware_effects(effects, *composition[key])
        for name, value in effects:
            parts[key, name] = parts.get((key, name), NOTHING) + value
    # Whole picodollars that sum to the difference: the largest remainders get what is left.
    amounts = {each: value.numerator // value.denominator for each, value in parts.items()}
    left = after.sum("machine") - before.sum("machine") - sum(amounts.values())
    for each in sorted(parts, key=lambda each: (amounts[each] - parts[each], each))[:left]:
        amounts[each] += 1
    for key, (one, other) in pairs.items():
        amounts[key, "overheads"] = other.overheads - one.overheads
    by_effect: dict[EffectName, Picodollars] = {
        "corrections": after.corrections - before.corrections,
        "fleet overheads": after.fleet_overheads - before.fleet_overheads,
        "not itemized": after.not_itemized - before.not_itemized,
    }
    by_server: dict[ServerKey, dict[EffectName, Picodollars]] = {}
    for (key, name), amount in amounts.items():
        add(by_effect, name, amount)
        if amount:
            add(by_server.setdefault(key, {}), name, amount)
    changes = [ServerChange(key, effects) for key, effects in by_server.items()]
    return Comparison(
        first=first.name,
        second=second.name,
        scope=scope,
        before=before.total,
        after=after.total,
        effects=tuple(
            CostEffect(name, by_effect.get(name, 0), quantity(before), quantity(after), unit)
            for name, (unit, quantity) in _QUANTITIES.items()
        ),
        servers=tuple(sorted(changes, key=lambda change: (-abs(change.amount), change.server))),
    )


def _machine(
    one: _Server, other: _Server, per_hour: Fraction, growth: Fraction | None
) -> Iterator[tuple[EffectName, Fraction]]:
    """The effects of one server's machine cost, which sum to its difference.

    `per_hour` makes GPU time of the first period one of a period as long as the second.
    """
    price = one.price if one.price is not None else other.price
    if price is None:  # no GPU time in either: its money, if any, has no other cause than its price
        yield "price", Fraction(other.machine - one.machine)
        return
    if one.gpu_time:
        yield "hours", (per_hour - 1) * one.gpu_time * price
    else:  # money without GPU time
        yield "price", Fraction(-one.machine)
    yield "idle", (other.idle - one.idle * per_hour) * price
    for model in sorted({*one.served, *other.served}):
        earlier = one.tokens[model] if model in one.served else 0
        later = other.tokens[model] if model in other.served else 0
        # A new model has its new GPU time per token before, too, and one that is gone its old one after.
        rate_after = Fraction(other.working[model], later) if later else NOTHING
        rate = Fraction(one.working[model], earlier) if earlier else rate_after
        rate_after = rate_after if later else rate
        before = earlier * per_hour
        if growth is None:
            yield "tokens", later * rate * price
        else:
            yield "tokens", (growth - 1) * before * rate * price
            yield "mix", (later - growth * before) * rate * price
        yield "gpus", later * (rate_after - rate) * price
    yield "gpus", (other.unserved - one.unserved * per_hour) * price
    yield "price", other.machine - other.gpu_time * price


def _hardware_effects(effects: Effects, more_or_fewer: Fraction, mix: Fraction) -> Effects:
    """What hardware changed, taken from the price.

    `more_or_fewer` goes to the effects that added or took GPU time, whichever is more.
    """
    quantities = [(name, value) for name, value in effects if name in ("idle", "tokens", "mix", "gpus")]
    change = sum(value for _name, value in quantities)
    causes = [(name, value) for name, value in quantities if value * change > 0]
    whole = sum((value for _name, value in causes), NOTHING)
    moved: Effects = [("hardware mix", mix), ("price", -more_or_fewer - mix)]
    moved += [(name, more_or_fewer * value / whole) for name, value in causes]
    return moved if causes else [*moved, ("gpus", more_or_fewer)]


def _composition(
    before: _Period, after: _Period, changes: Mapping[Payer, tuple[Fraction, Fraction]]
) -> dict[ServerKey, tuple[Fraction, Fraction]]:
    """By server, what is another price because its GPUs are others: more or fewer, and in place of others.

    That is what the mean price of each server's GPU-hours changed, less what prices of the same GPUs did.
    """
    by_payer: dict[Payer, dict[ServerKey, Fraction]] = {}
    price_effects: dict[Payer, Fraction] = {}
    for key, server in after.servers.items():
        old = before.servers.get(key, _Server())
        paid = {payer: server.paid_by[payer] + old.paid_by[payer] for payer in server.paid_by}
        payer = max(paid, key=lambda each: (paid[each], each), default=("", ""))
        if old.price is None or payer not in changes or not server.gpu_time:
            continue
        by_payer.setdefault(payer, {})[key] = server.machine - server.gpu_time * old.price
        same = price_effects.get(payer, NOTHING)
        price_effects[payer] = same + server.machine * changes[payer][0]
    composition: dict[ServerKey, tuple[Fraction, Fraction]] = {}
    for payer, changed in by_payer.items():
        times = {key: Fraction(after.servers[key].gpu_time) for key in changed}
        of_hardware = _dealt(sum(changed.values()) - price_effects[payer], changed, times)
        mixes = _dealt(changes[payer][1], of_hardware, times)
        for key in changed:
            mix = mixes.get(key, NOTHING)
            composition[key] = of_hardware.get(key, NOTHING) - mix, mix
    return composition


def _dealt(
    amount: Fraction, weights: Mapping[ServerKey, Fraction], times: Mapping[ServerKey, Fraction]
) -> dict[ServerKey, Fraction]:
    """An amount over servers by those of their weights that have its sign, by GPU time if none has."""
    of_sign = {key: weight for key, weight in weights.items() if weight * amount > 0} or times
    whole = sum(of_sign.values())
    return {key: amount * weight / whole for key, weight in of_sign.items()}


def _hardware_changes(
    earlier: list[Fact], later: list[Fact], per_hour: Fraction
) -> dict[Payer, tuple[Fraction, Fraction]]:
    """By product and team: what part of the new cost is a price of the same GPUs, and the hardware mix."""
    both = {fact.key(_GPU) for fact in facts.measured(earlier, "GPU time of GPUs")}
    both &= {fact.key(_GPU) for fact in facts.measured(later, "GPU time of GPUs")}
    before, after = _hardware(earlier, both), _hardware(later, both)
    old_prices = {name: each.price for name, each in (after | before).items()}
    changes: dict[Payer, tuple[Fraction, Fraction]] = {}
    for payer in sorted({payer for hardware in after.values() for payer in hardware.times}):
        new_cost = at_old_prices = NOTHING
        more: list[tuple[Fraction, Fraction]] = []
        fewer: list[tuple[Fraction, Fraction]] = []
        for name, price in old_prices.items():
            time = after[name].times.get(payer, NOTHING) if name in after else NOTHING
            old_time = before[name].times.get(payer, NOTHING) if name in before else NOTHING
            if time:
                new_cost += time * after[name].price
                at_old_prices += time * price
            change = time - old_time * per_hour
            (more if change > 0 else fewer).append((abs(change), abs(change) * price))
        added, removed = sum(time for time, _cost in more), sum(time for time, _cost in fewer)
        mix = NOTHING
        if added and removed:
            mix = sum(cost for _time, cost in more) / added - sum(cost for _time, cost in fewer) / removed
        same_gpus = 1 - at_old_prices / new_cost if new_cost else NOTHING
        changes[payer] = same_gpus, min(added, removed) * mix
    return changes


_GPU: Final = ("uuid", "gpu_model")


def _hardware(every: list[Fact], both: set[tuple[str, ...]]) -> dict[tuple[str, ...], _Hardware]:
    """GPUs of both periods, and the others by their model, with a price."""
    machine = [fact for fact in facts.measured(every, "money of GPUs") if fact.component in MACHINE]
    costs = facts.sums_by(machine, lambda fact: fact.key(_GPU))
    charged = facts.sums_by(facts.measured(every, "GPU time of GPUs"), lambda fact: fact.key(_GPU))
    by_payer = facts.measured(every, "priced time")
    priced = facts.sums_by(by_payer, lambda fact: fact.key(_GPU))
    names = {gpu: gpu if gpu in both else ("", gpu[1]) for gpu in priced}
    hardware: dict[tuple[str, ...], _Hardware] = {}
    for gpu in priced:
        if charged.get(gpu, 0) > 0:
            each = hardware.setdefault(names[gpu], _Hardware())
            each.cost += costs.get(gpu, 0)
            each.time += charged[gpu]
    for fact in by_payer:
        gpu, payer = fact.key(_GPU), fact.key(("product", "team"))
        each = hardware.get(names[gpu], _Hardware())  # one without a price has no part
        time = Fraction(max(0, charged.get(gpu, 0)) * fact.value, priced[gpu] or 1)
        each.times[payer] = each.times.get(payer, NOTHING) + time
    return hardware
