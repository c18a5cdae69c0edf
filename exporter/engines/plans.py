"""Plans of pages: how the readings of a page follow from its values alone, while its layout lasts."""

from collections.abc import Iterable

from exporter.engines.layouts import Values
from exporter.engines.spec import Engine
from exporter.readings import CounterReading, Role
from exporter.units import LARGEST_COUNT


class PagePlan:
    """The readings of a page but for its values, for the next pages of its layout.

    `otherwise` is the model of series that name none, `models` are the models of all counters.
    """

    __slots__ = ("_counted", "_counters", "_fixed", "engine", "models", "otherwise", "role")

    def __init__(
        self,
        engine: Engine,
        otherwise: str,
        models: Iterable[str],
        role: Role,
        *,
        counters: Iterable[tuple[int, float, CounterReading]],
        counted: Iterable[int],
        fixed: Iterable[tuple[int, float]],
    ) -> None:
        """Keep a plan.

        Args:
            engine: whose page it is.
            otherwise: the model of series that name none.
            models: of all counters.
            role: of the server.
            counters: index of the value, scale, and the reading of each.
            counted: indices of all values that are counts, whether they are read or not.
            fixed: indices of values that are no counts, and the only values for which this plan is right.
        """
        self.engine, self.otherwise, self.models, self.role = engine, otherwise, frozenset(models), role
        self._counters = tuple(
            [
                (index, scale, one.series, one.model, one.quantity, one.sign, one.created)
                for index, scale, one in counters
            ]
        )
        self._counted, self._fixed = tuple(counted), tuple(fixed)

    def fits(self, values: Values) -> bool:
        """Whether this plan is right for a page of these values: all counts are plausible."""
        counts = [values[index] for index in self._counted]
        # A sum is NaN or infinite where one of them is.
        plausible = not counts or (min(counts) >= 0 and sum(counts) <= LARGEST_COUNT)
        return plausible and all(values[index] == value for index, value in self._fixed)

    def counters(self, values: Values) -> tuple[CounterReading, ...]:
        """The counters of a page of these values."""
        return tuple(
            [
                CounterReading(series, model, quantity, values[index] * scale, sign, created)
                for index, scale, series, model, quantity, sign, created in self._counters
            ]
        )
