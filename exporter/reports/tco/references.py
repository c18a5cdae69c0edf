"""What the parts of a scenario say of each other: hybrids of their parts, items of options and the horizon.

It is looked at in the file as it is written, not in what was read: so it is told together with everything
else that is wrong, and a part that is broken for a reason of its own is not called missing as well.
"""

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Final

from exporter.config.document import Mapping, Node, Scalar, Sequence
from exporter.config.schema import Block, Key, Rule
from exporter.config.values import plain
from exporter.reports.tco.scenario import MEASURED, MONTHS_PER_YEAR

PARTS: Final = (("base", ("owned", "rented"), "an owned or rented"), ("rest", ("hosted",), "a hosted"))
"""The keys of a hybrid, the kinds of option that they may name, and those in words."""

KINDS: Final = ("owned", "rented", "hosted", "hybrid")


def hybrids_have_parts(options: Key[object]) -> Rule:
    """A rule: what a hybrid is made of is there, and of the right kind."""

    def rule(block: Block) -> bool:
        good = True
        kinds = _kinds(block.node.value(options.name))
        for index, option in _mappings(block.node.value(options.name)):
            hybrid = option.value("hybrid")
            for key, wanted, words in PARTS:
                name = _text(hybrid.value(key)) if isinstance(hybrid, Mapping) else ""
                if hybrid is None or not name or _may_be(kinds.get(name), wanted):
                    continue
                block.walk.problems.note(
                    hybrid.place,
                    f"{options.name}[{index}].hybrid",
                    f'"{name}" must be {words} option of this scenario',
                )
                good = False
        return good

    return rule


def items_fit(items: Key[object], options: Key[object], horizon: Key[int]) -> Rule:
    """A rule: items name options that there are, and fall into the horizon."""

    def rule(block: Block) -> bool:
        names = _kinds(block.node.value(options.name))
        years = block.get(horizon) if horizon.name in block.values else None
        good = True
        for index, item in _mappings(block.node.value(items.name)):
            for key, message in (
                *(("options", message) for message in _strangers(item, names)),
                *(("month", message) for message in _too_late(item, years)),
            ):
                block.walk.problems.note(item.place, f"{items.name}[{index}].{key}", message)
                good = False
        return good

    return rule


def bought_tokens_have_a_load(load: Key[object], options: Key[object]) -> Rule:
    """A rule: what is bought by the million needs a number of tokens."""

    def rule(block: Block) -> bool:
        if load in block or load.name in block.meant:
            return True
        for name, kinds in _kinds(block.node.value(options.name)).items():
            if {"hosted", "hybrid"} & kinds:
                told = f'is missing: the tokens of "{name}" are bought by the million; give it, or --measured'
                block.walk.problems.note(None, load.name, told)
                return False
        return True

    return rule


def _kinds(options: Node | None) -> dict[str, set[str]]:
    """The kinds that the options have by name, as far as they are written."""
    found: dict[str, set[str]] = {}
    for _, option in _mappings(options):
        if name := _text(option.value("name")):
            found.setdefault(name, set()).update(kind for kind in KINDS if kind in option.entries)
    return found


def _may_be(kinds: set[str] | None, wanted: tuple[str, ...]) -> bool:
    """Whether an option is of a kind, or of none that is known: that is told where it stands."""
    return kinds is not None and (not kinds or not kinds.isdisjoint(wanted))


def _strangers(item: Mapping, names: dict[str, set[str]]) -> Iterator[str]:
    listed = item.value("options")
    told = map(_text, listed.items) if isinstance(listed, Sequence) else ()
    for name in sorted(set(told) - set(names) - {MEASURED, ""}):
        yield f'"{name}" is no option of this scenario'


def _too_late(item: Mapping, years: int | None) -> Iterator[str]:
    try:
        month = Decimal(_text(item.value("month")) or 1)
    except InvalidOperation:
        return  # told where it stands
    if years is not None and month > years * MONTHS_PER_YEAR:
        yield f"{plain(month)} is after the horizon of {years * MONTHS_PER_YEAR} months"


def _mappings(node: Node | None) -> Iterator[tuple[int, Mapping]]:
    """The mappings of a list, with their numbers."""
    for index, child in enumerate(node.items if isinstance(node, Sequence) else []):
        if isinstance(child, Mapping):
            yield index, child


def _text(node: Node | None) -> str:
    return node.text if isinstance(node, Scalar) else ""
