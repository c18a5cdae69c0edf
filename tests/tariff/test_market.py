"""The estimate for an unknown GPU, and prices that are mistakes."""

from decimal import Decimal
from fractions import Fraction

import pytest

from exporter.tariff.catalogue import CATALOGUE, market
from exporter.tariff.csv_tables import COLUMNS, Row
from exporter.tariff.instances import Listing


def rows(*lines: str) -> list[Row]:
    return [Row(COLUMNS["market.csv"], line.split(","), "market.csv") for line in lines]


def test_of_types_with_one_price_the_first_by_name_is_taken() -> None:
    """p5.48xlarge is 55.04 dollars of 8 GPUs and p5.4xlarge 6.88 dollars of one."""
    market = CATALOGUE.market("H100-SXM5-80GB")

    assert market is not None
    assert market.large is not None
    assert (market.large.instance_type, market.large.dollars_per_gpu) == ("p5.48xlarge", Decimal("6.88"))


@pytest.mark.parametrize(
    ("name", "dollars", "vendors"),
    [
        # GPU clouds 3.49, 3.85, 3.90, 3.99: (3.85 + 3.90) / 2
        ("H100-SXM5-80GB", "3.875", {"crusoe", "lambda", "nebius", "runpod"}),
        # 4.29, 4.50, 4.59
        ("H200-SXM-141GB", "4.5", {"crusoe", "nebius", "runpod"}),
        # 1.59, 1.95, 2.79
        ("A100-SXM4-80GB", "1.95", {"crusoe", "lambda", "runpod"}),
        # no GPU cloud is known: aws 0.8048, gcp 0.70683
        ("L4", "0.70683", {"gcp"}),
        # aws 0.526 and azure 0.526: one of them
        ("T4", "0.526", {"aws"}),
    ],
)
def test_an_unknown_gpu_is_estimated_at_the_median_of_gpu_clouds(
    name: str, dollars: str, vendors: set[str]
) -> None:
    """Where none is known, at the lowest price of a large cloud."""
    actual = CATALOGUE.market(name)

    assert actual is not None
    assert (Decimal(dollars), vendors) == (actual.dollars, set(actual.vendors))


def test_a_model_that_nobody_lets_has_no_market() -> None:
    """Desktop cards but one, boxes, cards for China."""
    for name in ("RTX-3090", "GB10", "JETSON-THOR", "H20-96GB", "RTX-4090-D", "no such"):
        assert CATALOGUE.market(name) is None


def test_the_median_of_two_is_between_them() -> None:
    """And of one it is that one."""
    two = rows("X,a,1,,s", "X,b,2,,s", "Y,a,9,,s")
    dear = Listing("aws", "x8", "X", Fraction(8), "us-east-1", Decimal(56), None, "list", "2026-07-20")
    actual = market(two, "X", {"aws": dear}, lambda _: "2026-09-25")

    assert actual is not None
    assert (actual.dollars, actual.low, actual.high) == (Decimal("1.5"), Decimal(1), Decimal(7))
    assert actual.as_of == "2026-09-25"
    assert actual.large == dear
    one = market(two, "Y", {}, lambda _: "2026-09-25")
    assert one is not None
    assert one.dollars == 9


@pytest.mark.parametrize(
    ("price", "far"),
    [
        ("0", False),  # a choice, not a mistake
        ("0.348", True),  # below 3.49 / 10
        ("0.349", False),
        ("2.5", False),
        ("110.6125", False),  # 10 x 11.06125
        ("110.7", True),
        ("1825", True),  # 2.50 an hour x 730
    ],
)
def test_a_price_ten_times_off_the_market_is_far_off(price: str, far: bool) -> None:  # noqa: FBT001  # a column
    """H100: 3.49 to 11.06125 dollars."""
    actual = CATALOGUE.market("H100-SXM5-80GB")

    assert actual is not None
    assert actual.far_off(Decimal(price)) is far
