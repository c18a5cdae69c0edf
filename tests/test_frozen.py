"""Frozen dataclasses of ours are those of the standard library, but for who keeps them frozen."""

import copy
import dataclasses
import pickle
import re
from pathlib import Path

import pytest

from exporter.frozen import dataclass, replace

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Pair:
    """One of most of ours."""

    first: int
    second: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Named:
    """One with a hash of its own."""

    name: str
    notes: list[str] = dataclasses.field(default_factory=list)

    def __hash__(self) -> int:
        return hash(self.name)


@dataclass(frozen=True, slots=True, eq=False)
class Single:
    """One that is equal to itself only."""

    first: int


@dataclass(frozen=True, slots=True, order=True)
class Ranked:
    """One with an order."""

    first: int


@dataclass
class Changing:
    """One that is not frozen, and so has no hash."""

    first: int


def test_equal_ones_have_one_hash_and_a_place_in_a_dictionary() -> None:
    """As keys, frozen ones are what those of the standard library are."""
    by_library = dataclasses.make_dataclass("Pair", ["first", "second"], frozen=True)
    assert Pair(1, ("a",)) == Pair(1, ("a",)) != Pair(1)
    assert hash(Pair(1, ("a",))) == hash(Pair(1, ("a",))) == hash(by_library(1, ("a",)))
    assert {Pair(1): "one"}[Pair(1)] == "one"


def test_what_a_class_says_of_its_equality_counts() -> None:
    """Its own hash, none, or that of its identity."""
    assert hash(Named("a", ["x"])) == hash("a")
    assert Single(1) != Single(1)
    assert len({Single(1), Single(1)}) == 2
    assert Ranked(1) < Ranked(2)
    with pytest.raises(TypeError, match="unhashable"):
        hash(Changing(1))


def test_they_have_slots_and_copies() -> None:
    """No other attribute, and copies by `replace`, `copy` and `pickle`."""
    pair = Pair(1, ("a",))
    assert not hasattr(pair, "__dict__")
    assert dataclasses.replace(pair, first=2) == Pair(2, ("a",))
    assert copy.deepcopy(pair) == pickle.loads(pickle.dumps(pair)) == pair  # noqa: S301 - our own
    assert repr(pair) == "Pair(first=1, second=('a',))"


@dataclass(frozen=True, slots=True)
class Summed:
    """One with a field that follows from the others."""

    parts: tuple[int, ...]
    total: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", sum(self.parts))


def test_a_copy_with_changes_is_that_of_the_library() -> None:
    """Of many fields and of one; what follows from a field follows from the new one."""
    assert replace(Pair(1, ("a",)), first=2) == Pair(2, ("a",))
    assert replace(Pair(1, ("a",)), second=(), first=3) == Pair(3)
    assert replace(Single(1), first=2).first == 2
    assert replace(Summed((1, 2)), parts=(3, 4)).total == 7
    pair = Pair(1)
    assert replace(pair) == pair
    assert replace(pair) is not pair


def test_every_module_has_its_dataclasses_from_there() -> None:
    """One that has not is slow and keeps its immutability twice."""
    by_library = re.compile(r"^\s*(from dataclasses import .*\bdataclass\b|import dataclasses)", re.MULTILINE)
    modules = (ROOT / "exporter").rglob("*.py")
    assert [path.name for path in modules if by_library.search(path.read_text("utf-8"))] == ["frozen.py"]
