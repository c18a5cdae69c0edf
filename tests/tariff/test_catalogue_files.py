"""The bundled tables as a whole: whole, from sources of clear licence, sane, small and quick."""

import csv
import time
import tracemalloc
from collections import defaultdict
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from exporter.tariff.catalogue import CATALOGUE, Catalogue
from exporter.tariff.csv_tables import BUNDLED, COLUMNS
from exporter.tariff.instances import CLOUDS
from exporter.tariff.price_file import price_file

LICENCES = {"Apache-2.0", "MIT", "CC-BY-4.0", "MPL-2.0", "MIT and Apache-2.0"}


def table(file: str) -> list[dict[str, str]]:
    with (BUNDLED / file).open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


INSTANCES = table("instances.csv")


def test_no_file_is_damaged_and_none_is_unknown() -> None:
    """Every row of every file reads, and there is no file that nothing reads."""
    assert CATALOGUE.damage() == ""
    assert {path.name for path in BUNDLED.iterdir()} == set(COLUMNS)


def test_every_row_names_a_source_with_a_date_and_a_clear_licence() -> None:
    """Rows of unclear licence stay out; a day or a month says how old a price is."""
    with_source = COLUMNS.keys() - {"sources.csv", "regions.csv"}
    sources = {row["source"]: row for row in table("sources.csv")}
    used = {row["source"] for file in with_source for row in table(file)}

    assert set(sources) == used
    for row in sources.values():
        assert row["licence"] in LICENCES
        assert date.fromisoformat(f"{row['as_of']}-01"[:10]) <= date(2026, 11, 25)
        assert row["name"]


def test_a_row_has_the_date_of_its_source_and_says_whether_a_list_has_it() -> None:
    """Scaled rows are those of one source, and of the older of its two dates."""
    dates = {row["source"]: row["as_of"] for row in table("sources.csv")}
    for row in INSTANCES:
        assert row["as_of"] == dates[row["source"]], row
        assert row["currency"] == "USD"
        expected = "scaled" if row["source"] == "ec2-shop" else "listed"
        assert row["basis"] == (expected if row["on_demand"] else ""), row
    assert dates["ec2-shop"] == "2025-04-05"


def test_the_bundled_list_is_a_price_file() -> None:
    """One form for both: what is bundled is an example of what `prices update` takes."""
    actual = price_file((BUNDLED / "instances.csv").read_bytes(), date(2026, 11, 28))

    newest = max(row["as_of"] for row in INSTANCES if row["on_demand"])
    assert (actual.rows, actual.newest) == (len(INSTANCES), newest)
    assert actual.text == (BUNDLED / "instances.csv").read_text(encoding="utf-8")
    assert CATALOGUE.newest() == actual.newest


def test_a_type_has_one_gpu_model_and_one_count_everywhere() -> None:
    """And each row is one region's."""
    observed: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for row in INSTANCES:
        observed[row["cloud"], row["instance_type"].casefold()].add((row["gpu_model"], row["gpus"]))
    regions = [(row["cloud"], row["instance_type"].casefold(), row["region"]) for row in INSTANCES]

    assert [key for key, reported in observed.items() if len(reported) != 1] == []
    assert len(regions) == len(set(regions))
    assert {cloud for cloud, _ in observed} == set(CLOUDS)


def test_counts_are_whole_or_the_part_of_one() -> None:
    """A slice is a part of one GPU, never one and a half."""
    for row in INSTANCES:
        gpus = Fraction(row["gpus"])
        assert gpus.denominator == 1 or gpus < 1, row


def test_no_price_is_of_another_tariff() -> None:
    """A region far below the others of its type was a commitment's; spot is below on demand."""
    prices: dict[tuple[str, str], list[Decimal]] = defaultdict(list)
    for row in INSTANCES:
        if row["on_demand"]:
            prices[row["cloud"], row["instance_type"]].append(Decimal(row["on_demand"]))
        if row["spot"]:
            assert Decimal(row["spot"]) < Decimal(row["on_demand"]), row
    for key, amounts in prices.items():
        middle = sorted(amounts)[len(amounts) // 2]
        assert min(amounts) >= middle * Decimal("0.6"), key
        assert max(amounts) <= middle * Decimal("2.5"), key


def test_an_hour_of_a_gpu_is_between_cents_and_tens_of_dollars() -> None:
    """A price per month, in cents, or of a rack would stand out."""
    for row in INSTANCES:
        if row["on_demand"]:
            whole = max(Fraction(1), Fraction(row["gpus"]))
            assert Decimal("0.1") <= Decimal(row["on_demand"]) / int(whole) <= 25, row


def test_models_are_called_alike_in_every_table() -> None:
    """Models of instances and of the market have names."""
    models = {row["gpu_model"] for row in table("gpu_models.csv")}
    for file in ("instances.csv", "market.csv"):
        assert {row["gpu_model"] for row in table(file)} <= models


def test_no_name_means_two_models_but_the_ambiguous_one() -> None:
    """A100 alone is 40 or 80 GB."""
    reported = [name for row in table("gpu_models.csv") for name in row["names"].split("|")]

    assert sorted({name for name in reported if reported.count(name) > 1}) == ["A100"]


def test_market_prices_of_large_clouds_are_those_of_their_instances() -> None:
    """The lowest price per GPU, each type at the first reference region that sells it."""
    home = {
        "aws": ["us-east-1"],
        "azure": ["eastus", "eastus2", "westus2"],
        "gcp": ["us-central1", "us-east4"],
    }
    for model in sorted({row["gpu_model"] for row in INSTANCES}):
        market = CATALOGUE.market(model)
        prices = {
            (row["cloud"], row["instance_type"], row["region"]): Decimal(row["on_demand"]) / int(row["gpus"])
            for row in INSTANCES
            if row["gpu_model"] == model and row["on_demand"] and "/" not in row["gpus"]
        }
        at_home = []
        for cloud, instance_type in {key[:2] for key in prices}:
            actual = [prices.get((cloud, instance_type, region)) for region in ["*", *home.get(cloud, [])]]
            at_home += [price for price in actual if price is not None and cloud != "nebius"][:1]
        lowest = market and market.large and market.large.dollars_per_gpu
        assert (min(at_home) if at_home else None) == (lowest or None), model


def test_what_the_daemon_asks_is_small_and_quick() -> None:
    """Three questions of a fresh catalogue: under 3 MiB at any time, next to nothing after, and milliseconds.

    The bound on time is generous: 100 ms of CPU where about 3 are needed, since tests share their machine.
    """
    catalogue = Catalogue()
    tracemalloc.start()
    try:
        began = time.process_time()
        assert catalogue.instance("aws", "p5.48xlarge", "eu-north-1") is not None
        assert catalogue.gpu("NVIDIA H100 80GB HBM3") is not None
        assert catalogue.market("H100-SXM5-80GB") is not None
        took = time.process_time() - began
        stored, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < 3 * 2**20
    assert stored < 256 * 2**10
    assert took < 0.1


def test_a_question_is_answered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tariff asks at every tick; the files are read for the first."""
    catalogue = Catalogue()
    first = catalogue.instance("aws", "p5.48xlarge", "us-east-1")
    monkeypatch.setattr(catalogue, "_folder", tmp_path)

    assert catalogue.instance("aws", "p5.48xlarge", "us-east-1") is first
