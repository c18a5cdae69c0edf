"""Keys of sums of history as their labels, and back: statements and counters have labels alone. Pure."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, get_args, get_origin, get_type_hints

from exporter.ledger.history import HistorySums

_KINDS: Final = {name: get_args(hint)[0] for name, hint in get_type_hints(HistorySums).items()}
"""The kind of the keys of each family of sums."""


def labels_of(key: Any) -> Iterator[str]:
    """The labels of a key, whose parts may be keys themselves."""
    if isinstance(key, tuple):
        for part in key:
            yield from labels_of(part)
    else:
        yield key


def key_of(family: str, labels: Sequence[Any]) -> Any:
    """The key of a family of sums that has these labels.

    Raises:
        TypeError: a label is no text.
        IndexError: they are too few.
        ValueError: they are too many.
    """
    left = list(labels)
    key = _built(_KINDS[family], left)
    if left:
        raise ValueError(f"{left} are too many labels")
    return key


def _built(kind: Any, labels: list[Any]) -> Any:
    """A key of a kind from the first labels, which are taken off."""
    parts = _parts(kind)
    if parts is None:
        return label(labels.pop(0))
    key = [_built(part, labels) for part in parts]
    return kind(*key) if hasattr(kind, "_fields") else tuple(key)


@lru_cache
def _parts(kind: Any) -> tuple[Any, ...] | None:
    """The kinds of a key's parts; `None` for a label."""
    if hasattr(kind, "_fields"):
        return tuple(get_type_hints(kind).values())
    return get_args(kind) if get_origin(kind) is tuple else None


def label(value: Any) -> str:
    """A label.

    Raises:
        TypeError: it is no text.
    """
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
