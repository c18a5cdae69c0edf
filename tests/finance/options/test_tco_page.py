"""The page about total cost: its example is taken, and it names what comes with the program."""

import re
from pathlib import Path

from generators.scenario_keys import documentation

from exporter.finance.options import scenario as scenario_file
from exporter.finance.options.tco import answer
from exporter.finance.options.tco_report import money

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "tco.md").read_text(encoding="utf-8")


def test_the_keys_are_those_of_the_schema() -> None:
    """The generated page is what the schema says now."""
    assert (DOCS / "scenario-keys.md").read_text(encoding="utf-8") == documentation()


def test_the_scenario_on_the_page_is_taken() -> None:
    """A host serves 259.2 million a day as planned, and 200 and 300 are asked: 6.88 x 8,760 x (1 + 2) is
    180,806.40; 26,800 a year, 30,000 and 24 x 5 come to 83,720. Tokens: 0.90 x (200 + 300) x 365.
    """
    (scenario_text,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    tco_answer = answer(scenario_file.parsed(scenario_text.encode(), "tco.md"))
    assert [money(option.total) for option in tco_answer.courses] == ["264,526.40", "164,250.00"]


def test_every_example_is_on_the_page() -> None:
    """By name, with what it is called."""
    for name in scenario_file.examples():
        assert f"- `{name}`: {scenario_file.parsed(scenario_file.example(name), name).name}.\n" in PAGE
