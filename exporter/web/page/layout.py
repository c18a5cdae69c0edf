"""HTML elements, the parts that pages share, and the document around them."""

from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from itertools import repeat
from typing import Final, TypeAlias
from urllib.parse import quote

from exporter.hashes import sha256
from exporter.readings import ServerKey
from exporter.report import Build
from exporter.web.wording import amount

Attribute: TypeAlias = str | int | float | bool | None
"""Value of an attribute: `None` and false omit it, true is the bare name."""


@dataclass(frozen=True, slots=True)
class Verbatim:
    """Text that is not escaped: our own style and script, never a value that was read."""

    text: str


@dataclass(frozen=True, slots=True)
class Element:
    """One element with its content. All text is escaped when it is written.

    A library of templates would cost memory, and escape only where its filters are used.
    """

    name: str
    attributes: tuple[tuple[str, Attribute], ...] = ()
    content: "tuple[Content, ...]" = ()


Content: TypeAlias = str | Element | Verbatim | None
"""Content of an element; `None` is nothing."""

VOID: Final = frozenset({"br", "input", "link", "meta"})
"""Elements without content and end tag."""

INLINE: Final = frozenset({"a", "bdi", "br", "code", "small", "span", "time"})
"""Elements of running text. A line break after any other is for readers of the source."""


def element(name: str, /, *content: Content | Iterable[Content], **attributes: Attribute) -> Element:
    """An element. `_` stands for a dash in an attribute's name, and ends names that are Python's keywords."""
    pairs = tuple((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    return Element(name, pairs, tuple(_flat(content)))


def text(whole: Element) -> str:
    """An element as HTML."""
    parts: list[str] = []
    _write(whole, parts)
    return "".join(parts)


def _flat(content: Iterable[Content | Iterable[Content]]) -> Iterator[Content]:
    for part in content:
        if part is None or isinstance(part, str | Element | Verbatim):
            yield part
        else:
            yield from part


def _write(part: Content, parts: list[str]) -> None:
    """Append the HTML of a part."""
    if part is None:
        return
    if isinstance(part, str):
        parts.append(escape(part))
    elif isinstance(part, Verbatim):
        parts.append(part.text)
    else:
        parts.append(f"<{part.name}{''.join(map(_attribute, part.attributes))}>")
        if part.name not in VOID:
            for child in part.content:
                _write(child, parts)
            parts.append(f"</{part.name}>")
        if part.name not in INLINE:
            parts.append("\n")


def _attribute(pair: tuple[str, Attribute]) -> str:
    name, value = pair
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


NAME: Final = "Inference Cost Exporter"

NARROW_COLUMNS: Final = 4
"""Columns that fit most phones: without the script, tables with more say that they scroll."""

ESTIMATE_SIGN: Final = "\N{ALMOST EQUAL TO}"
"""Stands before money by an estimated price."""

EXPLAIN: Final = "explain/"
"""Path of explanations, relative to the page."""

_HERE: Final = files("exporter.web.page")
_STYLE: Final = _HERE.joinpath("page.css").read_text(encoding="utf-8")
_SCRIPT: Final = _HERE.joinpath("page.js").read_text(encoding="utf-8")
_ICON: Final = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Crect width='16' height='16' rx='4' fill='%232b7a8c'/%3E"
    "%3Cpath d='M4 11V8m4 3V5m4 6V7' stroke='white' stroke-width='2'/%3E%3C/svg%3E"
)


def _hash(part: str) -> str:
    return f"'sha256-{b64encode(sha256(part.encode()).digest()).decode()}'"


HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
"""Allow our style, our script and the icon in the page; nothing else is loaded, sent or framed."""


def whole(
    title: str, heading: Content, facts: Iterable[Content], main: Iterable[Content], build: Build, root: str
) -> bytes:
    """A document. `root` is the relative path to the page: a proxy may serve it below another path."""
    links = (
        ("metrics", "Metrics"),
        ("cost.json", "cost.json"),
        (EXPLAIN, "Explanation"),
        ("-/healthy", "Health"),
        ("-/ready", "Readiness"),
    )
    document = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("title", title),
            element("link", rel="icon", href=_ICON),
            element("style", Verbatim(_STYLE)),
        ),
        element(
            "body",
            element("a", "Skip to the figures", href="#figures", class_="skip"),
            element(
                "header",
                element("h1", heading),
                element("p", facts, data_part="about"),
                element("p", id="refresh"),
            ),
            element("main", main, id="figures"),
            element(
                "footer",
                element(
                    "ul", (element("li", element("a", word, href=f"{root}{path}")) for path, word in links)
                ),
                element("p", f"{NAME} {build.version}, revision {build.revision or 'unknown'}."),
            ),
            element("script", Verbatim(_SCRIPT)),
        ),
        lang="en",
    )
    return f"<!doctype html>\n{text(document)}\n".encode(errors="replace")


def link(key: ServerKey, root: str = "") -> str:
    """The address of a server's explanation, relative to the page."""
    name = key.name
    if name in {"", ".", ".."}:  # a browser would resolve it as a folder
        name = f"/{name}"
    return f"{root}{EXPLAIN}{quote(name.encode(errors='surrogatepass'), safe='')}"


def figure(word: str, href: str) -> Element:
    """A number linked to its explanation."""
    return element("a", word, href=href, class_="figure")


def name(word: str) -> Element:
    """A name from outside: one that is written from right to left does not turn the text around it."""
    return element("bdi", word)


def table(
    label: str,
    columns: Iterable[tuple[str, bool]],
    rows: Iterable[Iterable[Content]],
    *,
    caption: bool = True,
    total: Iterable[Content] | None = None,
    keys: Iterable[str] | None = None,
    foot: Iterable[Content] | None = None,
    folded: int | None = None,
) -> Element:
    """A table that scrolls, by keyboard too, if it is wider than the window; then it says so.

    Args:
        label: what the table shows.
        columns: headings, each with whether its cells are numbers; the first cell of a row is its heading.
        rows: cells of each row.
        caption: whether the label is shown.
        total: cells of a row above all, which sums them.
        keys: for each row the figures by which the script sorts it, in words.
        foot: cells of a row below all.
        folded: the first row of those that the checkbox `#unfolded` shows.
    """
    columns = tuple(columns)

    def row(cells: Iterable[Content], key: str | None = None, *, fold: bool = False) -> Element:
        first, *rest = cells
        return element(
            "tr",
            element("th", first, scope="row"),
            (
                element("td", cell, class_="number" if number else None)
                for cell, (_, number) in zip(rest, columns[1:], strict=True)
            ),
            data_by=key,
            class_="fold" if fold else None,
        )

    head = (element("th", word, scope="col", class_="number" if number else None) for word, number in columns)
    body = (
        row(cells, key, fold=folded is not None and number >= folded)
        for number, (cells, key) in enumerate(zip(rows, repeat(None) if keys is None else keys, strict=False))
    )
    return element(
        "div",
        element(
            "p",
            "Scroll sideways for all columns.",
            class_="hint many" if len(columns) > NARROW_COLUMNS else "hint",
            aria_hidden="true",
        ),
        element(
            "div",
            element(
                "table",
                element("caption", label) if caption else None,
                element("thead", element("tr", head)),
                None if total is None else element("tbody", row(total), class_="total"),
                element("tbody", body),
                None if foot is None else element("tfoot", row(foot)),
            ),
            class_="table",
            role="region",
            aria_label=label,
            tabindex=0,
        ),
    )


def estimated_amount(dollars: float, *, estimated: bool) -> str:
    """Money to the cent; an estimate begins with a sign."""
    return f"{ESTIMATE_SIGN} {amount(dollars)}" if estimated else amount(dollars)
