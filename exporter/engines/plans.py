"""Plans of pages: how the readings of a page follow from its values alone, while its layout lasts."""

from collections.abc import Iterable, Mapping, Sequence

from exporter.engines.layouts import Values
from exporter.engines.load import REQUESTS_MAX, Gauges, load_readings
from exporter.engines.spec import Engine
from exporter.readings import CounterLayout, CounterReading, CounterRow, LoadReading, Role, SequenceLimit
from exporter.units import LARGEST_COUNT


class PagePlan:
    """The readings of a page but for its values, for the next pages of its layout.

    `otherwise` is the model of series that name none. `models` are those of all series, `role` the server's.
    """

    __slots__ = (
        "_caches",
        "_counters",
        "_counts",
        "_fixed",
        "_gauges",
        "_layout",
        "_requests",
        "engine",
        "models",
        "otherwise",
        "role",
    )

    def __init__(
        self,
        engine: Engine,
        otherwise: str,
        role: Role,
        *,
        counters: Iterable[tuple[int, float, CounterReading]],
        counts: Iterable[int],
        fixed: Iterable[tuple[int, float]],
        numbered: Gauges,
        models: Iterable[str],
    ) -> None:
        """Keep a plan.

        Args:
            engine: whose page it is.
            otherwise: the model of series that name none.
            role: of the server.
            counters: index of the value, scale, and the reading of each.
            counts: indices of all values that are counts, whether they are read or not.
            fixed: indices of values that are no counts, and the only values for which this plan is right.
            numbered: the gauges, each with the number of its value, from 1 on, as its value.
            models: of all series.
        """
        self.engine, self.otherwise, self.role, self.models = engine, otherwise, role, frozenset(models)
        counters = tuple(counters)
        self._layout = CounterLayout.of([one for _, _, one in counters])
        self._counters = tuple([(index, scale) for index, scale, _ in counters])
        self._gauges = [_indices(each) for each in (numbered.running, numbered.waiting, numbered.max_running)]
        self._caches = {
            model: [
                (int(used) - 1, None if capacity is None else int(capacity) - 1) for used, capacity in ranks
            ]
            for model, ranks in numbered.caches.items()
            if all(capacity != 0 for _, capacity in ranks)
        }
        self._requests = tuple([index for each in self._gauges for ranks in each.values() for index in ranks])
        in_caches = [index for ranks in self._caches.values() for use in ranks for index in use]
        self._counts = (*counts, *[index for index in in_caches if index is not None])
        self._fixed = tuple(fixed)

    def fits(self, values: Values) -> bool:
        """Whether this plan is right for a page of these values."""
        return all(values[index] == value for index, value in self._fixed)

    def readings(
        self, values: Values, limit: SequenceLimit | None
    ) -> tuple[CounterRow, tuple[LoadReading, ...]] | None:
        """The counters and loads of a page of these values; `None` where one of them may not be plausible."""
        if not (
            _within(LARGEST_COUNT, values, self._counts) and _within(REQUESTS_MAX, values, self._requests)
        ):
            return None
        counters = CounterRow(self._layout, [values[index] * scale for index, scale in self._counters])
        running, waiting, max_running = [
            {model: [values[index] for index in ranks] for model, ranks in gauge.items()}
            for gauge in self._gauges
        ]
        caches = {
            model: [
                (values[used], None if capacity is None else values[capacity]) for used, capacity in ranks
            ]
            for model, ranks in self._caches.items()
        }
        return counters, load_readings(Gauges(running, waiting, max_running, caches), limit)


def _indices(numbered: Mapping[str, Sequence[float]]) -> dict[str, list[int]]:
    return {model: [int(number) - 1 for number in ranks] for model, ranks in numbered.items()}


def _within(most: float, values: Values, indices: Iterable[int]) -> bool:
    """Whether each of these values is a number from 0 on, and all of them together are no more than this."""
    chosen = [values[index] for index in indices]
    # With one that is not a number, their sum is none either, and no more than nothing.
    return not chosen or (min(chosen) >= 0 and sum(chosen) <= most)
