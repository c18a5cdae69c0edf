"""The page about what if: each choice on it is one."""

import re
from pathlib import Path

from exporter.finance.options.choices import choice

PAGE = (Path(__file__).parents[3] / "docs" / "tco.md").read_text(encoding="utf-8")
SECTION = re.search(r"^## What if$(.*?)^## ", PAGE, re.DOTALL | re.MULTILINE)
CHOICE = re.compile(r"(?:--what-if=|`)((?:gpu|commitment|schedule|hosted)=[^\s`]+)")


def test_each_choice_on_the_page_is_one() -> None:
    """In commands and in the table."""
    assert SECTION is not None
    choices = CHOICE.findall(SECTION[1])

    assert len(choices) == 12
    assert [choice(text).text for text in choices] == choices
