"""Accounts of a stretch of time: what each model of each server cost and served. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from exporter.cost.explanation import Account
from exporter.cost.postings import Party, Slot
from exporter.readings import Gpu, Kind, ServerKey
from exporter.units import Instant, Nanoseconds, Picodollars


class Added(Protocol):
    """What an hour or a day added to the books, as history keeps it."""

    @property
    def cost(self) -> Mapping[Slot, Picodollars]:
        """Money by party and phase."""
        ...

    @property
    def held(self) -> Mapping[Slot, Nanoseconds]:
        """GPU time by party and phase."""
        ...

    @property
    def tokens(self) -> Mapping[tuple[Party, Kind], int]:
        """Tokens by party and kind."""
        ...

    @property
    def unpriced(self) -> Mapping[tuple[Gpu, Party], Nanoseconds]:
        """GPU time that had no price."""
        ...

    @property
    def settled(self) -> Mapping[tuple[Gpu, Party], Nanoseconds]:
        """The part of it that was charged since."""
        ...

    def by_component(self) -> Mapping[tuple[ServerKey, str], Picodollars]:
        """Money by server and component."""
        ...


class Lately(Protocol):
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
class _Model:
    money: dict[Any, int] = field(default_factory=dict)
    held: dict[Any, int] = field(default_factory=dict)
    tokens: dict[Any, int] = field(default_factory=dict)
    unpriced: Nanoseconds = 0


@dataclass(slots=True)
class Accounts:
    """Accounts by server and model, whoever owned them: a change of owner is no other cost.

    `components` are of the same stretch of time; `mixes` are of the hours around it, where it tells none.
    """

    models: dict[ServerKey, dict[str, _Model]] = field(default_factory=dict)
    components: dict[ServerKey, dict[str, Picodollars]] = field(default_factory=dict)
    mixes: dict[ServerKey, dict[str, Picodollars]] = field(default_factory=dict)
    last: dict[tuple[ServerKey, str], Instant] = field(default_factory=dict)
    """When a token last moved, by server and model."""

    def add_history(self, sums: Added) -> None:
        """Add what an hour or day holds."""
        for slot, amount in sums.cost.items():
            _sum(self._model(slot.party).money, slot.phase, amount)
        for slot, duration in sums.held.items():
            _sum(self._model(slot.party).held, slot.phase, duration)
        for (party, kind), count in sums.tokens.items():
            _sum(self._model(party).tokens, kind, count)
        for sign, family in ((1, sums.unpriced), (-1, sums.settled)):
            for (_gpu, party), duration in family.items():
                self._model(party).unpriced += sign * duration
        for (key, component), amount in sums.by_component().items():
            _sum(self.components.setdefault(key, {}), component, amount)

    def add_window(self, lately: Mapping[Party, Lately]) -> None:
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

    def add_last(self, last_token: Mapping[Party, Instant]) -> None:
        """Add when tokens last moved, for whomever."""
        for party, instant in last_token.items():
            one = party.key, party.model
            self.last[one] = max(instant, self.last.get(one, instant))

    def know(self, key: ServerKey) -> None:
        """Have a server, also where it neither cost nor served anything."""
        self.models.setdefault(key, {})

    def of(self, key: ServerKey) -> Iterator[Account]:
        """Those of one server, the dearest first."""
        models = self.models[key]
        for name in sorted(models, key=lambda name: (-sum(models[name].money.values()), name)):
            model = models[name]
            yield Account(
                name,
                model.money,
                model.tokens,
                model.held,
                self.components.get(key, {}),
                max(0, model.unpriced),
                self.mixes.get(key, {}),
                self.last.get((key, name)),
            )

    def _model(self, party: Party) -> _Model:
        return self.models.setdefault(party.key, {}).setdefault(party.model, _Model())


def _sum(sums: dict[Any, int], key: object, amount: int) -> None:
    sums[key] = sums.get(key, 0) + amount
