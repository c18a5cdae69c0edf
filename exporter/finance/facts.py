"""Facts of a period: its money, GPU time and tokens as rows of one shape, whatever they were read from. Pure.

Money is there in three views, by owner and phase, by component and price basis, and by GPU. Each view is
complete: posted adjustments, and what no history tells more of, are rows of it, so that it sums to the month.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeVar

from exporter.cost.money import add
from exporter.cost.postings import CostOwner
from exporter.ledger import adjustments
from exporter.ledger.history import HistorySums, MonthRecord
from exporter.ledger.schema import day_name
from exporter.readings import UNCOUNTED

K = TypeVar("K", bound=Hashable)

MoneyView = Literal["money of owners", "money of components", "money of GPUs"]
"""Which rows all money is divided into."""

Measure = Literal[
    MoneyView,
    "GPU time",
    "GPU time of GPUs",
    "priced time",
    "unpriced time",
    "tokens",
    "overhead",
    "GPU time of token servers",
    "unread time",
    "unmet tokens",
    "unmet tokens of hosts",
    "host time",
    "sampled time",
    "projected money",
]
"""What a value is of: picodollars, nanoseconds or tokens.

GPU time: chargeable time, by owner and phase.
GPU time of GPUs: the same by GPU.
priced time: what passed at a price, by GPU, product and team.
unpriced time: what has no price yet, by GPU and owner.
overhead: overheads of the fleet, which are in no view of money.

Only the past before the daemon has these:
GPU time of token servers: GPU time of owners whose pages count tokens.
unread time: GPU time of token servers while none of their pages was scraped.
unmet tokens: tokens of an owner whose server has no GPU time.
unmet tokens of hosts: tokens of an owner whose host has no GPU time.
host time, sampled time: time of a host, all of it and that with samples.
projected money: money of a host's month at its end.
"""

NOT_ITEMIZED: Final = "(not itemized)"
"""The name of money that the ledger has by product and team only."""

ADJUSTED: Final = f"({adjustments.COMPONENT})"
"""The name of corrections where lines are by what a correction has none of: a server, a model, a GPU."""

VIEWS: Final[Mapping[MoneyView, Sequence[str]]] = {
    "money of owners": ("product", "team"),
    "money of components": ("product", "team", "basis"),
    "money of GPUs": (),
}
"""The columns of each view in which it is complete."""

DAY_FAMILIES: Final = ("cost", "held", "server_cost", "tokens", "unpriced", "settled")
"""Families of history that facts by day need."""


class Fact(NamedTuple):
    """A value and what it is of. `None` stands in columns of which it has nothing."""

    measure: Measure
    value: int
    day: str | None = None
    """Like 2026-10-31."""
    product: str | None = None
    team: str | None = None
    namespace: str | None = None
    server: str | None = None
    model: str | None = None
    phase: str | None = None
    kind: str | None = None
    """The kind of tokens."""
    uuid: str | None = None
    gpu_model: str | None = None
    component: str | None = None
    basis: str | None = None
    """The price basis."""
    name: str = NOT_ITEMIZED
    """What stands in the first column of which it has nothing."""

    @classmethod
    def of_owner(
        cls,
        measure: Measure,
        value: int,
        owner: CostOwner,
        *,
        day: str | None = None,
        phase: str | None = None,
    ) -> "Fact":
        """A value of a cost owner."""
        return cls(
            measure=measure,
            value=value,
            day=day,
            product=owner.product,
            team=owner.team,
            namespace=owner.namespace,
            server=owner.server,
            model=owner.model,
            phase=phase,
        )

    def key(self, columns: Iterable[str]) -> tuple[str, ...]:
        """Its values of columns; nothing is empty."""
        return tuple([getattr(self, column) or "" for column in columns])

    def labels(self, columns: Iterable[str]) -> tuple[str, ...]:
        """Its values of columns for people: after its name, what it has nothing of is empty."""
        labels: list[str] = []
        name = self.name
        for column in columns:
            value = getattr(self, column)
            labels.append(name if value is None else value)
            if value is None:
                name = ""
        return tuple(labels)

    @property
    def owner(self) -> CostOwner:
        """Its owner. Money that is known by product and team only has one without a server."""
        product, team = self.product or "", self.team or ""
        if self.server is None:
            return CostOwner(product, team, "", NOT_ITEMIZED, NOT_ITEMIZED)
        return CostOwner(product, team, self.namespace or "", self.server, self.model or "")

    @property
    def is_adjustment(self) -> bool:
        """Whether it is money of a posted correction."""
        return self.name == ADJUSTED

    @property
    def is_time_of_host(self) -> bool:
        """Whether it is time of a host whose GPUs have no number or price yet: hours, not GPU-hours."""
        return self.measure == "unpriced time" and (self.uuid, self.gpu_model) == UNCOUNTED


def sums_by(facts: Iterable[Fact], key: Callable[[Fact], K]) -> dict[K, int]:
    """Values added up by a key."""
    sums: dict[K, int] = {}
    for fact in facts:
        add(sums, key(fact), fact.value)
    return sums


def measured(facts: Iterable[Fact], measure: Measure) -> list[Fact]:
    """Facts of one measure."""
    return [fact for fact in facts if fact.measure == measure]


def facts_of(record: MonthRecord, *, by_day: bool = False) -> list[Fact]:
    """All facts of a period. What has no day there has none here."""
    facts = list(history_facts(record.sums or HistorySums()))
    if by_day:
        undated = sums_by(facts, lambda fact: fact._replace(value=0))
        facts = [
            fact for number, sums in record.days.items() for fact in history_facts(sums, day_name(number))
        ]
        for fact in facts if undated else ():  # a record may have its days alone
            add(undated, fact._replace(value=0, day=None), -fact.value)
        facts += [fact._replace(value=value) for fact, value in undated.items() if value]
    for each in record.adjustments:
        if each.posted is not None:
            facts += [
                Fact(
                    measure=view,
                    value=each.amount,
                    day=each.day,
                    product=each.product,
                    team=each.team,
                    component=adjustments.COMPONENT,
                    basis=adjustments.PRICE_BASIS,
                    name=ADJUSTED,
                )
                for view in VIEWS
            ]
    for view, columns in VIEWS.items():
        missing: dict[tuple[str, ...], int] = {}
        for cell, amount in record.cells.items():
            posted = Fact(view, amount, product=cell.product, team=cell.team, basis=cell.price_basis)
            add(missing, posted.key(columns), amount)
        for fact in measured(facts, view):
            add(missing, fact.key(columns), -fact.value)
        for key, amount in missing.items():
            if amount:
                facts.append(Fact(view, amount, **dict(zip(columns, key, strict=True))))
    return facts


def history_facts(sums: HistorySums, day: str | None = None) -> Iterator[Fact]:
    """What history tells of a time range, which may be less than its money."""
    for (owner, phase), amount in sums.cost.items():
        yield Fact("money of owners", amount, day, *owner, phase=phase)
    for (server, component, basis), amount in sums.server_cost.items():
        yield Fact("money of components", amount, day, *server, component=component, basis=basis)
    for (owner, phase), time in sums.held.items():
        yield Fact("GPU time", time, day, *owner, phase=phase)
    for gpu, time in sums.gpu_chargeable().items():
        yield Fact("GPU time of GPUs", time, day, uuid=gpu.uuid, gpu_model=gpu.gpu_model)
    for (gpu, product, team), time in sums.owner_held.items():
        yield Fact("priced time", time, day, product, team, uuid=gpu.uuid, gpu_model=gpu.gpu_model)
    for (gpu, component), amount in sums.gpu_cost.items():
        yield Fact("money of GPUs", amount, day, uuid=gpu.uuid, gpu_model=gpu.gpu_model, component=component)
    for (gpu, owner), time in sums.still_unpriced().items():
        yield Fact("unpriced time", time, day, *owner, uuid=gpu.uuid, gpu_model=gpu.gpu_model)
    for (owner, kind), count in sums.tokens.items():
        yield Fact("tokens", count, day, *owner, kind=kind)
