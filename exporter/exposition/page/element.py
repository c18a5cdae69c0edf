"""HTML by construction: whatever is text is escaped, and there is no other way to write it.

An own builder of a screenful: a library of templates would take memory that the daemon has not, and leave
escaping to whoever remembers its filters.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Final, TypeAlias

Attribute: TypeAlias = str | int | float | bool | None
"""`None` and false are left out, true is the bare name."""


@dataclass(frozen=True, slots=True)
class Verbatim:
    """Text that goes into the page as it is: our own style and script, never anything that was read."""

    text: str


@dataclass(frozen=True, slots=True)
class Element:
    """One element with what is in it."""

    name: str
    attributes: tuple[tuple[str, Attribute], ...] = ()
    content: "tuple[Content, ...]" = ()


Content: TypeAlias = str | Element | Verbatim | None
"""What an element may hold; `None` is nothing."""

VOID: Final = frozenset({"br", "link", "meta"})
"""Elements that hold nothing and have no end."""

INLINE: Final = frozenset({"a", "bdi", "br", "code", "small", "span", "time"})
"""Elements of running text. Behind any other a new line changes nothing but how the page reads as text."""


def element(name: str, /, *content: Content | Iterable[Content], **attributes: Attribute) -> Element:
    """An element. In attribute names a dash is written `_`, and one at the end sets Python's words apart."""
    told = tuple((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    return Element(name, told, tuple(_flat(content)))


def text(whole: Element) -> str:
    """An element as HTML."""
    return "".join(_written(whole))


def _flat(content: Iterable[Content | Iterable[Content]]) -> Iterator[Content]:
    for part in content:
        if part is None or isinstance(part, str | Element | Verbatim):
            yield part
        else:
            yield from part


def _written(part: Content) -> Iterator[str]:
    if part is None:
        return
    if isinstance(part, str):
        yield escape(part)
    elif isinstance(part, Verbatim):
        yield part.text
    else:
        yield f"<{part.name}{''.join(map(_attribute, part.attributes))}>"
        if part.name not in VOID:
            for child in part.content:
                yield from _written(child)
            yield f"</{part.name}>"
        if part.name not in INLINE:
            yield "\n"


def _attribute(told: tuple[str, Attribute]) -> str:
    name, value = told
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
