"""Choices as flags write them: what they mean, and what is refused."""

from decimal import Decimal
from fractions import Fraction

import pytest

from exporter.finance.options.choices import (
    CommitmentChoice,
    GpuChoice,
    HostedChoice,
    ScheduleChoice,
    choice,
)
from exporter.tariff.hosted import HostedPrice


@pytest.mark.parametrize(
    ("text", "gpu_model", "rate", "counts", "dollars"),
    [
        ("gpu=L40S:2400tok/s", "L40S", Fraction(2400), "all", None),
        (
            "gpu=NVIDIA H200 NVL:900.5out/s@1.10",
            "NVIDIA H200 NVL",
            Fraction(1801, 2),
            "generation",
            Decimal("1.10"),
        ),
        ("gpu=L40S@2", "L40S", None, "all", Decimal(2)),
        ("gpu=RTX 6000 Ada:5tok/s", "RTX 6000 Ada", Fraction(5), "all", None),
        ("gpu=L40S", "L40S", None, "all", None),
    ],
)
def test_a_gpu_type(
    text: str, gpu_model: str, rate: Fraction | None, counts: str, dollars: Decimal | None
) -> None:
    """By tokens of all kinds or generated ones, with or without a price."""
    assert choice(text) == GpuChoice(text, gpu_model, rate, counts, dollars)  # type: ignore[arg-type]


def test_a_replica_on_several_gpus() -> None:
    """Its throughput is of all of them."""
    assert choice("gpu=4xL40S:9600tok/s@1.10") == GpuChoice(
        "gpu=4xL40S:9600tok/s@1.10", "L40S", Fraction(9600), "all", Decimal("1.10"), 4
    )


@pytest.mark.parametrize(
    ("text", "months", "discount", "dollars", "gpus"),
    [
        ("commitment=1y:30%", 12, Fraction(3, 10), None, None),
        ("commitment=6mo:1.40:8", 6, None, Fraction(7, 5), 8),
        ("commitment=10y:0%", 120, Fraction(0), None, None),
    ],
)
def test_a_commitment(
    text: str, months: int, discount: Fraction | None, dollars: Fraction | None, gpus: int | None
) -> None:
    """A term, and a discount or a price."""
    assert choice(text) == CommitmentChoice(text, months, discount, dollars, gpus)


def test_a_schedule() -> None:
    """Monday's hour 8 is the 9th of the week; a range of days may pass the week's end."""
    working = {24 * day + hour for day in range(5) for hour in range(8, 20)}
    assert choice("schedule=mon-fri/08-20") == ScheduleChoice("schedule=mon-fri/08-20", frozenset(working))
    night = "schedule=mon/20-24+tue/00-06"
    assert choice(night) == ScheduleChoice(night, frozenset(range(20, 30)))
    weekend = "schedule=sat-mon/00-24"
    assert choice(weekend) == ScheduleChoice(weekend, frozenset([*range(24), *range(120, 168)]))
    assert choice("schedule=tue,thu/09-10") == ScheduleChoice("schedule=tue,thu/09-10", frozenset([33, 81]))


def test_an_offer() -> None:
    """A name, or dollars per million prompt, generated and cached tokens."""
    assert choice("hosted=together-turbo") == HostedChoice("hosted=together-turbo", "together-turbo", None)
    assert choice("hosted=0.15/0.60/0.05") == HostedChoice(
        "hosted=0.15/0.60/0.05",
        "",
        HostedPrice("0.15/0.60/0.05", Decimal("0.15"), Decimal("0.60"), Decimal("0.05")),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "begin with gpu=, commitment=, schedule= or hosted="),
        ("gpu", "begin with gpu="),
        ("spot=yes", "'spot=yes' is no choice: begin with gpu=, commitment=, schedule= or hosted="),
        (f"hosted={'x' * 120}", "is no choice"),
        ("gpu=", "is no GPU type: write one like gpu=L40S:2400tok/s or gpu=4xL40S:900out/s@1.10"),
        ("gpu=L40S:2400", "is no GPU type"),
        ("gpu=L40S:-1tok/s", "is no GPU type"),
        ("gpu=L40S:1e9tok/s", "is no GPU type"),
        ("gpu=L40S:nantok/s", "is no GPU type"),
        ("gpu=4xL40S:5tok/s@1:2", "is no GPU type"),
        ("gpu=L40S:0tok/s", "a GPU that serves 0 tokens a second serves no load"),
        ("gpu=L40S:0.000out/s", "a GPU that serves 0 tokens a second serves no load"),
        ("gpu=L40S:5tok/s@-1", "is no GPU type"),
        ("gpu=L40S\n:5tok/s", "is no GPU type"),
        ("commitment=1y", "the catalogue has no such prices"),
        ("commitment=1y:-30%", "is no commitment"),
        ("commitment=1y:100%", "a discount is below 100%"),
        ("commitment=0y:30%", "a term is from 1mo to 10y"),
        ("commitment=11y:30%", "a term is from 1mo to 10y"),
        ("commitment=1y:2:0", "a commitment is for 1 GPU or more"),
        ("schedule=", "is no schedule: write days and hours like schedule=mon-fri/08-20"),
        ("schedule=mon-fry/08-20", "is no schedule"),
        ("schedule=mon/20-06", "is no schedule"),
        ("schedule=mon/08-25", "is no schedule"),
        ("schedule=mon/8-20", "is no schedule"),
        ("schedule=/08-20", "is no schedule"),
        ("hosted=", "is no offer: write its name, or prices like hosted=0.15/0.60"),
        ("hosted=\x1b[2J", "is no offer"),
    ],
)
def test_what_is_none(text: str, message: str) -> None:
    """The message says what is expected."""
    with pytest.raises(ValueError, match=r".") as error:
        choice(text)
    assert message in str(error.value)
    assert "\x1b" not in str(error.value)
