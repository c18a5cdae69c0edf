"""docs/prices.md tells the sources of the catalogue as they are, and its example is a good configuration."""

import csv
import json
import re
from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path

from exporter.config import parse
from exporter.reports.price_list import summary
from exporter.tariff.catalogue import CATALOGUE
from exporter.tariff.csv_tables import BUNDLED, COLUMNS
from exporter.tariff.price_file import HEADER, price_file
from exporter.tariff.terms import Listed

PAGE = (Path(__file__).parents[1] / "docs" / "prices.md").read_text(encoding="utf-8")


def table(region: str) -> list[list[str]]:
    """The cells of the rows of a generated region, without the head."""
    _, _, rest = PAGE.partition(f"<!-- generated: {region} -->\n")
    lines = re.findall(r"^\|.*\|$", rest.partition("<!-- end of ")[0], re.MULTILINE)[2:]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]


def test_every_source_is_on_the_page_with_its_date_and_licence() -> None:
    """A row of the page for a row of the file, and no other."""
    with (BUNDLED / "sources.csv").open(newline="", encoding="utf-8") as file:
        sources = [
            [row["source"], row["name"], row["as_of"], row["licence"], row["notice"]]
            for row in csv.DictReader(file)
        ]

    assert sources == table("sources")


def test_every_file_is_on_the_page() -> None:
    """What each table holds."""
    assert sorted(COLUMNS) == sorted(name for name, _ in table("files"))


def test_the_page_counts_listed_and_scaled_rows() -> None:
    """As `prices show` does, which reads the table itself."""
    shown = json.loads(summary(CATALOGUE, None, 0, as_json=True))["clouds"]
    counted = {
        cloud: [types, listed, scaled, without]
        for cloud, types, listed, scaled, without, _ in table("coverage")
    }

    assert counted == {
        cloud: [str(count[key]) for key in ("types", "listed", "scaled", "without_price")]
        for cloud, count in shown.items()
    }
    for cloud, *_, dates in table("coverage"):
        assert dates == " to ".join(dict.fromkeys((shown[cloud]["oldest"], shown[cloud]["newest"])))


def test_ten_rows_of_each_cloud_are_checked_against_a_second_list() -> None:
    """The first figure is the bundled one, and the difference is theirs; each second list has a date."""
    with (BUNDLED / "instances.csv").open(newline="", encoding="utf-8") as file:
        rows = {(row["cloud"], row["instance_type"], row["region"]): row for row in csv.DictReader(file)}
    checked: Counter[str] = Counter()
    for cloud, instance_type, region, basis, ours, theirs, difference, named in table("second list"):
        row = rows[cloud, instance_type, "*" if region == "all" else region]
        checked[cloud] += 1
        assert (row["basis"], row["on_demand"]) == (basis, ours)
        assert abs((Decimal(ours) / Decimal(theirs) - 1) * 100 - Decimal(difference[:-2])) <= Decimal("0.005")
        assert re.fullmatch(r"[a-z0-9-]+, 202[56]-\d\d-\d\d", named)
        assert row["source"] not in named
        assert named.partition(",")[0] in [name for name, _ in table("lists")]

    assert checked == {"aws": 10, "azure": 10, "gcp": 10, "oci": 10, "nebius": 6}


def test_the_price_file_on_the_page_is_a_good_one() -> None:
    """Two rows of two types, under the header that is asked for."""
    (example,) = re.findall(r"```csv\n(.*?)```", PAGE, re.DOTALL)

    assert price_file(example.encode(), date(2026, 11, 28)).rows == 2
    assert [name for name, _ in table("columns")] == list(HEADER)


def test_the_example_is_a_good_configuration() -> None:
    """Three rules by list price; the second has a discount of 25 %."""
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    config = parse(example.encode())

    assert [type(rule.pricing) for rule in config.hardware] == [Listed] * 3
    assert config.unmatched_hardware == "unpriced"


def test_the_number_of_offers_is_that_of_the_table() -> None:
    """A refresh is recorded on the page."""
    with (BUNDLED / "hosted.csv").open(newline="", encoding="utf-8") as file:
        offers = list(csv.DictReader(file))

    assert f"gave {len(offers)} offers of {len({row['provider'] for row in offers})} hosts" in PAGE
