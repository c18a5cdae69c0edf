"""Which price a GPU has that nobody priced, and one that is priced by the list: from where, and of when."""

import csv
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from exporter.readings import LABEL_CHARACTERS, UNKNOWN_LOCATION, Gpu, HostLocation
from exporter.tariff import quotes
from exporter.tariff.calendar import month_of
from exporter.tariff.catalogue import CATALOGUE
from exporter.tariff.csv_tables import BUNDLED, rows
from exporter.tariff.quotes import NoQuote, Quote
from exporter.tariff.rate import Derivation, Price, Provenance
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware, HardwareMatch, Listed, Overhead, Rented, RentPrice
from tests.kit.units import HOUR
from tests.nightly import daily

NOW = 1_795_564_800 * 10**9
MONTH = month_of(NOW, ZoneInfo("UTC"))
H100 = Gpu("GPU-a", "NVIDIA H100 80GB HBM3")
EVERY_SEVENTH = {"listed": 227, "scaled": 89, "none": 1}
"""Rows of the catalogue, by what they are."""
P5 = HostLocation(cloud="aws", instance_type="p5.48xlarge", region="us-east-1", lifecycle="on_demand")


def rule(policy: Any, **match: str) -> Hardware:
    return Hardware(HardwareMatch(**match), policy, "hardware[0].rented")


def price(tariff: Tariff, gpu: Gpu = H100) -> Price:
    return tariff.price(gpu, NOW, MONTH, 8)


def rent(actual: Price) -> Fraction:
    (rate,) = (rate for rate in actual.rates if rate.component == "rent")
    return Fraction(rate.rate.amount, 10**12) * Fraction(HOUR, rate.rate.period)


def origin(actual: Price) -> Provenance:
    return actual.rates[0].provenance


def test_configuration_comes_before_the_catalogue() -> None:
    """Whatever the instance is known to cost."""
    own = rule(Rented((RentPrice(Decimal("2.50")),)))
    actual = price(Tariff("h", (own,), location=P5, unmatched="estimate"))

    assert rent(actual) == Fraction("2.50")
    assert origin(actual).price_basis == "configured"


def test_a_known_instance_has_its_list_price_divided_by_the_gpus_that_it_has() -> None:
    """55.04 / 8 = 6.88 dollars, also where NVML shows four of them."""
    actual = Tariff("h", location=P5, unmatched="estimate").price(H100, NOW, MONTH, 4)

    assert rent(actual) == Fraction("6.88")
    assert actual.priced
    assert actual.rates[0].while_up
    assert actual.energy is None
    assert origin(actual) == Provenance(
        "catalogue",
        "aws p5.48xlarge us-east-1 on demand (karpenter-aws)",
        "2026-07-20",
        Derivation.LISTED,
    )


def test_a_region_that_is_not_listed_is_said() -> None:
    """The price is an estimate: no list has it."""
    actual = price(Tariff("h", location=replace(P5, region="xx-west-1"), unmatched="estimate"))

    assert origin(actual).price_basis == "estimate"
    assert "us-east-1 on demand for want of xx-west-1 (" in origin(actual).source


def test_a_scaled_row_is_an_estimate_of_the_older_date() -> None:
    """58.8928 dollars in eu-north-1: 55.04 of 2026-07-20 times a ratio of 2025-04-05."""
    actual = price(Tariff("h", location=replace(P5, region="eu-north-1"), unmatched="estimate"))

    assert rent(actual) == Fraction("58.8928") / 8
    assert origin(actual) == Provenance(
        "estimate", "scaled aws p5.48xlarge eu-north-1 on demand (ec2-shop)", "2025-04-05", Derivation.SCALED
    )


def test_an_unknown_region_is_said() -> None:
    """No source reported one."""
    actual = price(Tariff("h", location=replace(P5, region=""), unmatched="estimate"))

    assert "us-east-1 on demand region unknown (" in origin(actual).source


def test_a_gpu_of_no_known_instance_has_its_market_price_as_an_estimate() -> None:
    """(3.85 + 3.90) / 2 = 3.875 dollars for an H100."""
    actual = price(Tariff("h", unmatched="estimate"))

    assert rent(actual) == Fraction("3.875")
    assert origin(actual) == Provenance(
        "estimate",
        "median list price of H100-SXM5-80GB at crusoe, lambda, nebius, runpod",
        "2026-09-25",
        Derivation.MARKET,
    )


def test_a_vgpu_is_estimated_by_its_part_of_the_memory() -> None:
    """An A10-4Q is a sixth of 1.29 dollars."""
    actual = price(Tariff("h", unmatched="estimate"), Gpu("GPU-a", "NVIDIA A10-4Q"))

    assert rent(actual) == Fraction("1.29") / 6
    assert origin(actual).source == "list price of A10 at lambda, 1/6 of it by memory"


def test_an_estimate_can_be_switched_off() -> None:
    """Unpriced then, also where the instance is known: nobody asked for a list price."""
    storage = Overhead("storage", Decimal(8), "hour", "host", "overheads[0]")
    actual = price(Tariff("h", (), (storage,), location=P5, unmatched="unpriced"))

    assert not actual.priced
    assert [rate.component for rate in actual.rates] == ["storage"]
    assert Tariff("h", location=P5).quote(H100) is None


def test_a_rule_takes_the_list_price_less_its_discount() -> None:
    """55.04 x (1 - 0.30) / 8 = 4.816 dollars; a commitment is paid always."""
    policy = Listed("aws", discount_ratio=Decimal("0.30"), discount_of="on_demand", billing="always")
    tariff = Tariff("h", (rule(policy, instance_type="p5.*", lifecycle="spot"),), location=P5)
    assert not price(tariff).priced  # this host is not spot
    actual = price(replace(tariff, location=replace(P5, lifecycle="spot")))

    assert rent(actual) == Fraction("4.816")
    assert not actual.rates[0].while_up
    assert origin(actual) == Provenance(
        "catalogue",
        "hardware[0].rented: aws p5.48xlarge us-east-1 on demand less 30 % (karpenter-aws)",
        "2026-07-20",
        Derivation.LISTED,
    )


def test_a_rule_may_say_what_the_host_does_not() -> None:
    """The instance type and region of a host in a bare cluster, from the configuration."""
    policy = Listed("gcp", instance_type="a3-highgpu-8g", region="us-central1")
    actual = price(Tariff("h", (rule(policy),)))

    assert rent(actual) == Fraction("88.49") / 8
    assert origin(actual).price_basis == "catalogue"


def test_a_discount_of_spot_is_an_estimate() -> None:
    """50.60954 x 0.9 / 8."""
    policy = Listed("gcp", "a3-highgpu-8g", "us-central1", Decimal("0.1"), "spot")
    actual = price(Tariff("h", (rule(policy),)))

    assert rent(actual) == Fraction("50.60954") * Fraction("0.9") / 8
    assert origin(actual).price_basis == "estimate"


@pytest.mark.parametrize(
    ("location", "policy", "reason"),
    [
        (UNKNOWN_LOCATION, Listed("aws"), "it is not known which instance type this host is"),
        (UNKNOWN_LOCATION, Listed(), "it is not known which instance type this host is"),
        (
            P5,
            Listed("aws", discount_of="spot"),
            "it lists aws p5.48xlarge in us-east-1 without a spot price",
        ),
        # No list has the region: the price of another is scaled to it, on demand alone.
        (
            replace(P5, region="eu-central-2"),
            Listed("aws", discount_of="spot"),
            "it has no spot price of aws p5.48xlarge in eu-central-2",
        ),
    ],
)
def test_a_rule_that_the_catalogue_cannot_answer_leaves_the_gpu_unpriced(
    location: HostLocation, policy: Listed, reason: str
) -> None:
    """Its type may be known later, and spot was asked for: no estimate in its place, and the reason."""
    tariff = Tariff("h", (rule(policy),), location=location, unmatched="estimate")

    assert tariff.quote(H100) == NoQuote(reason)
    assert not price(tariff).priced


AT_HOME = "aws p5en.48xlarge us-east-1"


@pytest.mark.parametrize(
    ("location", "policy", "gpu", "per_gpu", "source"),
    [
        # A large cloud's type without a price, reported by the host or the rule: 63.296 / 8.
        (HostLocation("gcp", "a3-ultragpu-8g", "us-central1"), Listed(), "NVIDIA H200", "7.912", AT_HOME),
        (UNKNOWN_LOCATION, Listed("gcp", "a3-ultragpu-8g"), "NVIDIA H200", "7.912", AT_HOME),
        # OCI lists 14 for a B200, AWS 14.2416; GPU clouds ask half of it.
        (
            HostLocation("gcp", "a4-highgpu-8g", "us-central1"),
            Listed(),
            "NVIDIA B200",
            "14",
            "oci BM.GPU.B200.8",
        ),
        (HostLocation("gcp", "a4x-highgpu-4g"), Listed("gcp"), "NVIDIA GB200", "16", "oci BM.GPU.GB200.4"),
        # A type that nobody knows; the discount of the rule goes off: 6.88 x 0.7.
        (
            HostLocation("aws", "p9.48xlarge"),
            Listed("aws", discount_ratio=Decimal("0.30"), discount_of="on_demand"),
            "NVIDIA H100 80GB HBM3",
            "4.816",
            "aws p5.48xlarge us-east-1 less 30 %",
        ),
        # A cloud that is not a large one, and one that is not known: the market.
        (
            HostLocation("nebius", "gpu-h100-x"),
            Listed("nebius"),
            H100.gpu_model,
            "3.875",
            "median list price",
        ),
        (HostLocation("lambda", "gpu_8x"), Listed(), H100.gpu_model, "3.875", "median list price"),
        (HostLocation("", "p5.48xlarge"), Listed(), H100.gpu_model, "3.875", "median list price"),
    ],
)
def test_what_no_list_has_is_estimated_by_the_same_gpu(
    location: HostLocation, policy: Listed, gpu: str, per_gpu: str, source: str
) -> None:
    """At the lowest large cloud, where the hardware is of one; the same with and without a rule."""
    ruled = price(Tariff("h", (rule(policy),), location=location), Gpu("GPU-a", gpu))

    assert rent(ruled) == Fraction(per_gpu)
    assert origin(ruled).price_basis == "estimate"
    assert source in origin(ruled).source
    if location != UNKNOWN_LOCATION and not policy.discount_ratio:
        unruled = price(Tariff("h", location=location, unmatched="estimate"), Gpu("GPU-a", gpu))
        assert rent(unruled) == rent(ruled)


def test_hardware_of_a_large_cloud_without_a_known_type_costs_what_large_clouds_ask() -> None:
    """Its firmware reports the cloud alone."""
    actual = price(
        Tariff("h", location=HostLocation("gcp"), unmatched="estimate"), Gpu("GPU-a", "NVIDIA H200")
    )

    assert rent(actual) == Fraction("7.912")


@pytest.mark.parametrize(
    ("location", "priced"),
    [
        (P5, True),
        (replace(P5, region="eu-north-1"), False),
        (replace(P5, region="ap-southeast-3"), False),
        (replace(P5, region="xx-west-1"), False),
        (replace(P5, region=""), False),
        (HostLocation("gcp", "a3-ultragpu-8g"), False),
        (HostLocation("aws", "p9.48xlarge"), False),
    ],
)
def test_where_estimates_are_unwanted_a_rule_takes_listed_prices_alone(
    location: HostLocation,
    priced: bool,  # noqa: FBT001  # a column
) -> None:
    """`unmatched_hardware: unpriced` is of list prices that no list has as well; the reason says so."""
    tariff = Tariff("h", (rule(Listed()),), location=location, stand_ins=False)
    actual = tariff.quote(H100)

    assert isinstance(actual, Quote) is priced
    assert price(tariff).priced is priced


@pytest.mark.parametrize(("gpu_name", "stand_ins"), [("", True), ("NVIDIA H100 80GB HBM3", False)])
def test_a_host_without_a_type_has_a_reason_where_no_gpu_is_priced(
    gpu_name: str,
    stand_ins: bool,  # noqa: FBT001  # a column
) -> None:
    """There is no rule, and no name of a GPU or no wish for an estimate."""
    assert quotes.find_quote(CATALOGUE, HostLocation(), gpu_name=gpu_name, stand_ins=stand_ins) == NoQuote(
        "it is not known which instance type this host is"
    )


def test_a_spot_price_of_another_region_says_both_and_is_refused_as_a_stand_in() -> None:
    """Spot alone is accepted where its region is listed; the region is what is refused."""
    location = HostLocation("gcp", "a3-highgpu-8g", "xx-west-1", lifecycle="spot")
    policy = Listed("gcp", discount_of="spot")
    actual = quotes.find_quote(CATALOGUE, location, policy)
    assert isinstance(actual, Quote)
    assert actual.caveat == (
        "a spot price changes by the hour; the price of us-central1 stands in for xx-west-1"
    )
    assert quotes.find_quote(CATALOGUE, location, policy, stand_ins=False) == NoQuote(
        "the price of us-central1 stands in for xx-west-1 "
        "(unmatched_hardware: unpriced takes listed prices only)"
    )
    listed = replace(location, region="us-central1")
    assert isinstance(quotes.find_quote(CATALOGUE, listed, policy, stand_ins=False), Quote)


@pytest.mark.parametrize(
    ("location", "caveat"),
    [
        (replace(P5, lifecycle="spot"), "it has no spot price of this instance type"),
        (replace(P5, lifecycle="reserved"), "what reserved capacity costs is in no list"),
    ],
)
def test_a_listed_price_stands_where_estimates_of_other_regions_are_refused(
    location: HostLocation, caveat: str
) -> None:
    """The rule asks for the list of this type and region, which has no price of such capacity but this."""
    actual = quotes.find_quote(CATALOGUE, location, Listed(), stand_ins=False)

    assert isinstance(actual, Quote)
    assert (actual.dollars_per_hour, actual.price_basis, actual.derivation, actual.caveat) == (
        Decimal("55.04"),
        "estimate",
        Derivation.LISTED,
        caveat,
    )


def test_a_spot_host_without_any_list_price_is_without_a_price_on_demand() -> None:
    """The reason names the missing price alone; how it compares to spot belongs to a price."""
    location = HostLocation("gcp", "a3-ultragpu-8g", "us-central1", lifecycle="spot")
    assert quotes.find_quote(CATALOGUE, location, Listed(), stand_ins=False) == NoQuote(
        "it lists gcp a3-ultragpu-8g in us-central1 without a price on demand"
    )


@pytest.mark.parametrize(
    ("match", "matches"),
    [
        ({"instance_type": "p5.48xlarge"}, True),
        ({"instance_type": "p5.*", "region": "us-*", "lifecycle": "on_demand"}, True),
        ({"instance_type": "p5.48xlarge", "lifecycle": "spot"}, False),
        ({"region": "eu-*"}, False),
        ({"instance_type": "P5.48xlarge"}, False),  # case counts in patterns
    ],
)
def test_a_rule_matches_by_place(match: dict[str, str], matches: bool) -> None:  # noqa: FBT001  # a column
    """Every pattern given must cover what the host's cloud said."""
    assert (
        price(Tariff("h", (rule(Rented((RentPrice(Decimal(1)),)), **match),), location=P5)).priced is matches
    )


def test_a_pattern_for_azure_may_leave_standard_out() -> None:
    """Its metadata say Standard_ND96isr_H100_v5."""
    location = HostLocation(cloud="azure", instance_type="Standard_ND96isr_H100_v5", region="eastus")
    for pattern in ("ND96isr_*", "Standard_ND96isr_H100_v5"):
        own = rule(Rented((RentPrice(Decimal(1)),)), instance_type=pattern)
        assert price(Tariff("h", (own,), location=location)).priced


def test_a_place_that_is_not_known_matches_only_what_covers_nothing() -> None:
    """A rule for an instance type does not price a host of which none is known."""
    own = rule(Rented((RentPrice(Decimal(1)),)), instance_type="p5.*")
    assert not price(Tariff("h", (own,))).priced


def test_a_list_price_never_changes_by_itself() -> None:
    """A tick is not cut for it: it has no dates."""
    tariff = Tariff("h", (rule(Listed("aws")),), location=P5, unmatched="estimate")
    assert list(tariff.changes(0, NOW)) == []


@pytest.mark.parametrize(
    ("every", "expected"),
    daily(((7, EVERY_SEVENTH), (1, {"listed": 1573, "scaled": 635, "none": 8})), [(7, EVERY_SEVENTH)]),
)
def test_the_basis_is_catalogue_only_where_a_list_has_that_very_row(
    every: int, expected: dict[str, int]
) -> None:
    """Types and regions of the bundled catalogue, and each of these types in a region that none lists.

    And every source fits a label, with the longest discount.
    """
    discounted = Listed(discount_ratio=Decimal("0.125"), discount_of="on_demand")
    requested: Counter[str] = Counter()
    types = set()
    with (BUNDLED / "instances.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    for line in lines[::every]:
        cloud, instance_type = line["cloud"], line["instance_type"]
        types.add((cloud, instance_type, line["region"] == "*"))
        region = "" if line["region"] == "*" else line["region"]
        actual = quotes.find_quote(CATALOGUE, HostLocation(cloud, instance_type, region), Listed())
        assert isinstance(actual, Quote), line
        kind = line["basis"] if line["on_demand"] else "none"
        requested[kind] += 1
        assert (actual.price_basis == "catalogue") is (kind == "listed"), line
        if kind != "none":
            assert actual.dollars_per_hour == Decimal(line["on_demand"])
            assert actual.as_of == line["as_of"]
            assert actual.source.startswith("scaled ") is (kind == "scaled")
            assert (actual.derivation is Derivation.SCALED) is (kind == "scaled")
            less = quotes.find_quote(CATALOGUE, HostLocation(cloud, instance_type, region), discounted)
            assert isinstance(less, Quote)
            assert less.price_basis == actual.price_basis
            assert len(f"hardware[999].rented: {less.source}") <= LABEL_CHARACTERS, less.source
    for cloud, instance_type, everywhere in types:
        actual = quotes.find_quote(CATALOGUE, HostLocation(cloud, instance_type, "xx-nowhere-1"), Listed())
        assert isinstance(actual, Quote)
        assert everywhere or actual.price_basis == "estimate"

    assert requested == expected


def test_the_market_of_every_model_fits_a_label() -> None:
    """All models that have one."""
    for row in rows(BUNDLED, "gpu_models.csv"):
        actual = quotes.find_quote(CATALOGUE, UNKNOWN_LOCATION, None, row["names"].split("|")[0].strip("*"))
        assert isinstance(actual, NoQuote) or len(actual.source) <= LABEL_CHARACTERS
