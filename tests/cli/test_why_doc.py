"""docs/finance.md says in which order effects are taken, by a command that runs on real ledgers."""

import json
import re
import shlex
from pathlib import Path
from typing import get_args

import pytest

from exporter.cli import main
from exporter.finance.why import EffectName
from tests.cli.test_why import folder

__all__ = ["folder"]

PAGE = (Path(__file__).parents[2] / "docs" / "finance.md").read_text(encoding="utf-8")
(SECTION,) = re.findall(r"^## Why did spend change\n(.*?)(?=^## )", PAGE, re.DOTALL | re.MULTILINE)


def test_the_command_of_the_page_explains_the_difference(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """80 dollars in October, 20 in September; its effects are the page's."""
    (line,) = re.findall(r"^\$ (.*)$", SECTION, re.MULTILINE)
    program, *arguments = shlex.split(line.replace("/srv/archive", str(folder)))
    assert program == "inference-cost-exporter"
    assert main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)

    assert document["difference_picodollars"] == 60 * 10**12
    assert [each["effect"] for each in document["effects"]] == listed()


def test_the_order_of_the_page_is_the_one_in_which_effects_are_taken() -> None:
    """Six by their numbers, then those that no order changes."""
    assert listed() == list(get_args(EffectName))


def listed() -> list[str]:
    """Effects of the page: the numbered ones, and those of the sentence after them."""
    numbered = re.findall(r"^\d\. `(.*?)`", SECTION, re.MULTILINE)
    (others,) = re.findall(r"^(`overheads`.*)$", SECTION, re.MULTILINE)
    return [*numbered, *re.findall(r"`(.*?)`", others)]
