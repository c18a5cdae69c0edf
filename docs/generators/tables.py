"""Markdown tables and the regions of pages between markers."""

import re
from collections.abc import Sequence


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, without a last line break."""
    first, *others = (f"| {' | '.join(cells)} |" for cells in (heading, *rows))
    return "\n".join((first, "|---" * len(heading) + "|", *others))


def with_region(page: str, name: str, text: str) -> str:
    """The page with the text between the markers of a region.

    Raises:
        ValueError: the page has not exactly one region of that name.
    """
    first, last = f"<!-- generated: {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(rf"{re.escape(first)}\n.*?{re.escape(last)}", re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise ValueError(f"the page needs one region {name}")
    return pattern.sub(lambda _: f"{first}\n{text}\n{last}", page)
