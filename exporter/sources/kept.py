"""Sources that are kept over a reload. One that is asked for as before keeps what it knows."""

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, TypeVar

from exporter.readings import Source

K = TypeVar("K", bound=Hashable)
S = TypeVar("S", bound=Source[Any])


class Kept(Generic[K, S]):
    """Makes sources, each from all that tells it from another one."""

    def __init__(self, make: Callable[[K], S]) -> None:
        self._make = make
        self._sources: dict[K, S] = {}
        self._retired: tuple[S, ...] = ()

    def of(self, wanted: list[K]) -> tuple[S, ...]:
        """The sources of these, in their order. Asked again for the same ones, they are the same."""
        if wanted == list(self._sources):
            return tuple(self._sources.values())
        sources = {key: self._sources.get(key) or self._make(key) for key in wanted}
        # What is dropped may still be in a read of this tick; it is closed when the next ones are dropped.
        _close(self._retired)
        self._retired = tuple(source for key, source in self._sources.items() if key not in sources)
        self._sources = sources
        return tuple(sources.values())

    def close(self) -> None:
        """Let go of all."""
        _close((*self._retired, *self._sources.values()))


def _close(sources: Iterable[Source[Any]]) -> None:
    for source in sources:
        source.close()
