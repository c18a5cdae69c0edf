"""Why a server's tokens cost what they cost: accounts of a stretch of time, and what follows from them. Pure.

The verb and the page ask here, so that neither can say another number than the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from exporter.cost import attribution, explanation, split
from exporter.cost.accounts import Accounts
from exporter.cost.explanation import Account, BreakEven, PerMillion, Rung
from exporter.cost.money import WHOLE
from exporter.cost.policy import Terms
from exporter.cost.state import GpuState, State
from exporter.readings import ServerKey
from exporter.tariff.calendar import month_of
from exporter.units import Instant, Nanoseconds

YOURS: Final = "your number"
"""What a price that was asked about is called."""


class ExplanationError(Exception):
    """There is nothing to explain; the message says what there is."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The wall time [start, end) that accounts are of, and how much of it was metered."""

    start: Instant
    end: Instant
    covered: Nanoseconds


@dataclass(frozen=True, slots=True)
class HeldPrice:
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
class Split:
    """By which method a model's busy money is split now, and the share of it that prefill has."""

    method: str
    prefill_ratio: float


@dataclass(frozen=True, slots=True)
class ModelChain:
    """One model: what it cost and served, and every number that follows. `split` is `None`: nothing told."""

    account: Account
    prices: tuple[PerMillion, ...]
    ladder: tuple[Rung, ...]
    against: tuple[BreakEven, ...]
    split: Split | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """One server: what it holds now, and its models over the stretch.

    `partial`: others compute for its tokens, too, and its models have no price.
    """

    key: ServerKey
    held: tuple[HeldPrice, ...]
    models: tuple[ModelChain, ...]
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer. `fleet_dollars_per_hour` is in none of its numbers."""

    ledger: str
    stretch: Stretch
    chains: tuple[Chain, ...]
    fleet_dollars_per_hour: float


def explain(
    accounts: Accounts,
    stretch: Stretch,
    terms: Terms,
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
            Chain(
                key,
                tuple(_held(key, inventory, terms, now)),
                tuple(
                    ModelChain(account, (), (), (), _split(key, account, state, terms))
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
    key: ServerKey, account: Account, stretch: Stretch, terms: Terms, state: State, price: float | None
) -> ModelChain:
    compared = [
        explanation.hosted(account, stretch.covered, offer)
        for offer in terms.compare
        if offer.covers(key.server, account.model)
    ]
    if price is not None:
        compared.insert(0, explanation.against(account, stretch.covered, price, YOURS))
    return ModelChain(
        account,
        explanation.prices(account, terms.split_rule(key.server, account.model).weights),
        explanation.ladder(account),
        tuple(told for told in compared if told is not None),
        _split(key, account, state, terms),
    )


def _split(key: ServerKey, account: Account, state: State, terms: Terms) -> Split | None:
    server = state.servers.get(key)
    model = None if server is None else server.models.get(account.model)
    if server is None or model is None:
        return None
    method, ratio = split.trailing(model, terms.split_rule(key.server, account.model), server.role)
    return None if ratio is None else Split(method, ratio)


def _held(key: ServerKey, gpus: tuple[GpuState, ...], terms: Terms, now: Instant) -> Iterator[HeldPrice]:
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
        yield HeldPrice(model, count, component, hourly, basis, source)


def _spent(accounts: Accounts, key: ServerKey) -> int:
    return sum(sum(model.money.values()) for model in accounts.models[key].values())


def _name(key: ServerKey) -> str:
    return f"{key.namespace}/{key.server}" if key.namespace else key.server
