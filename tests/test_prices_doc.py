"""docs/prices.md tells the sources of the catalogue as they are, and its example is a good configuration."""

import csv
import re
from pathlib import Path

from exporter.config import parse
from exporter.tariff.table import BUNDLED, COLUMNS
from exporter.tariff.terms import Listed

PAGE = (Path(__file__).parents[1] / "docs" / "prices.md").read_text(encoding="utf-8")


def test_every_source_is_told_with_its_date_and_licence() -> None:
    """A row of the page for a row of the file, and no other."""
    with (BUNDLED / "sources.csv").open(newline="", encoding="utf-8") as file:
        sources = [
            f"| `{row['source']}` | {row['name']} | {row['as_of']} | {row['licence']} | {row['notice']} |"
            for row in csv.DictReader(file)
        ]
    _, _, table = PAGE.partition("| source | what |")

    assert sources == re.findall(r"^\| `[a-z0-9-]+` .*$", table, re.MULTILINE)


def test_every_file_is_told() -> None:
    """What each table holds."""
    assert sorted(COLUMNS) == sorted(re.findall(r"^\| `(\w+\.csv)` \|", PAGE, re.MULTILINE))


def test_the_example_is_a_good_configuration() -> None:
    """Three rules by list price; the second has a discount of 25 %."""
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    config = parse(example.encode())

    assert [type(rule.terms) for rule in config.hardware] == [Listed] * 3
    assert config.unmatched_hardware == "unpriced"


def test_the_number_of_offers_is_that_of_the_table() -> None:
    """A refresh is recorded on the page."""
    with (BUNDLED / "hosted.csv").open(newline="", encoding="utf-8") as file:
        offers = list(csv.DictReader(file))

    assert f"gave {len(offers)} offers of {len({row['provider'] for row in offers})} hosts" in PAGE
