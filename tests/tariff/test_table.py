"""A damaged catalogue: the error has file and line, prices are missing, and the daemon goes on."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from exporter.readings import UNKNOWN_LOCATION, Gpu, HostLocation
from exporter.tariff.calendar import Month
from exporter.tariff.catalogue import Catalogue
from exporter.tariff.csv_tables import COLUMNS, CatalogueError
from exporter.tariff.quotes import NoQuote, Quote
from exporter.tariff.rate import HardwareStatus, Price
from exporter.tariff.tariff import Tariff

Damage = Callable[[str, str | bytes | None], Catalogue]

HEAD = {file: ",".join(columns) for file, columns in COLUMNS.items()}
P5 = HostLocation(cloud="aws", instance_type="p5.48xlarge", region="us-east-1")
H100 = Gpu("GPU-a", "NVIDIA H100 80GB HBM3")
ROW = "aws,p5.48xlarge,H100-SXM5-80GB"


@pytest.mark.parametrize(
    ("file", "content", "reported"),
    [
        ("instances.csv", None, "instances.csv cannot be read: No such file or directory"),
        ("instances.csv", "", "instances.csv is empty"),
        ("instances.csv", HEAD["instances.csv"] + "\n", "instances.csv is empty"),
        ("instances.csv", b"\xff\xfe" + b"x" * 80, "instances.csv cannot be read: it is not UTF-8"),
        (
            "instances.csv",
            "cloud,type\naws,p5\n",
            (
                "instances.csv begins with 'cloud,type', not with "
                "'cloud,instance_type,gpu_model,gpus,region,on_demand,spot,currency,basis,as_of,source'"
            ),
        ),
        (
            "instances.csv",
            f"{HEAD['instances.csv']}\n{ROW},8\n",
            "instances.csv:2 has 4 columns, not 11",
        ),
        (
            "instances.csv",
            f"{HEAD['instances.csv']}\n{ROW},8,us-east-1,55;04,,USD,listed,2026-07-20,x\n",
            "instances.csv:2 has no price in on_demand: '55;04'",
        ),
        (
            "instances.csv",
            f"{HEAD['instances.csv']}\n{ROW},8,us-east-1,0,,USD,listed,2026-07-20,x\n",
            "instances.csv:2 has no price in on_demand: '0'",
        ),
        (
            "instances.csv",
            f"{HEAD['instances.csv']}\n{ROW},8,us-east-1,NaN,,USD,listed,2026-07-20,x\n",
            "instances.csv:2 has no price in on_demand: 'NaN'",
        ),
        (
            "instances.csv",
            f"{HEAD['instances.csv']}\n{ROW},0,us-east-1,55.04,,USD,listed,2026-07-20,x\n",
            "instances.csv:2 has no count in gpus: '0'",
        ),
        (
            "instances.csv",
            f"{HEAD['instances.csv']}\n{ROW},1/0,us-east-1,55.04,,USD,listed,2026-07-20,x\n",
            "instances.csv:2 has no count in gpus: '1/0'",
        ),
        (
            "sources.csv",
            f"{HEAD['sources.csv']}\nx,y,2026-01-01,MIT,\n",
            "sources.csv has no row for gpuhunt",
        ),
    ],
)
def test_damage_is_reported_and_leaves_the_gpu_to_its_model(
    file: str, content: str | bytes | None, reported: str, damaged: Damage
) -> None:
    """The instance has no quote, with the reason; without a market either the GPU is unpriced."""
    catalogue = damaged(file, content)
    tariff = Tariff("h", location=P5, unmatched="estimate", catalogue=catalogue)
    quote = tariff.quote(H100)

    if file == "sources.csv":  # which has the dates of the market
        assert isinstance(quote, Quote)
        assert quote.price_basis == "catalogue"
        quote = replace(tariff, location=UNKNOWN_LOCATION).quote(H100)
        assert quote == NoQuote(f"it is damaged: {reported}")
        unpriced = replace(tariff, location=UNKNOWN_LOCATION).price(H100, 0, Month("2026-11", 0, 1), 8)
        assert unpriced == Price((), None, HardwareStatus.UNPRICED)
    else:
        assert quote is not None
        assert not isinstance(quote, NoQuote)
        assert quote.price_basis == "estimate"
        assert quote.caveat == f"the catalogue does not help: it is damaged: {reported}"
        assert catalogue.damage() == reported


@pytest.mark.parametrize("file", [file for file in COLUMNS if file != "sources.csv"])
def test_an_empty_file_is_found_by_whoever_looks_at_all_of_them(file: str, damaged: Damage) -> None:
    """The doctor does."""
    assert damaged(file, "").damage() == f"{file} is empty"


def test_an_empty_market_is_a_reason_and_no_price(damaged: Damage) -> None:
    """Unpriced, and said why."""
    quote = Tariff("h", unmatched="estimate", catalogue=damaged("market.csv", "")).quote(H100)

    assert quote == NoQuote("it is damaged: market.csv is empty")


def test_a_row_without_a_price_is_damage_where_there_must_be_one(damaged: Damage) -> None:
    """A market has prices."""
    content = f"{HEAD['market.csv']}\nH100-SXM5-80GB,lambda,,,silybench\n"
    with pytest.raises(CatalogueError, match=r"market\.csv has no price for H100-SXM5-80GB at lambda"):
        damaged("market.csv", content).market("H100-SXM5-80GB")


def test_a_hosted_offer_without_a_price_is_damage(damaged: Damage) -> None:
    """As the market."""
    content = f"{HEAD['hosted.csv']}\ngroq,openai/gpt-oss-20b,0.1,,,litellm\n"
    with pytest.raises(CatalogueError, match=r"hosted\.csv has no price for openai/gpt-oss-20b at groq"):
        damaged("hosted.csv", content).hosted("gpt-oss-20b")
