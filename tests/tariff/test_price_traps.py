"""The traps of price catalogues, each by its name: what misleads others has an answer here."""

import csv
from decimal import Decimal

import pytest

from exporter.cost.attribution import mig_slices
from exporter.cost.money import WHOLE
from exporter.readings import UNKNOWN_LOCATION, Gpu, GpuReading, HostLocation, MigInstance
from exporter.tariff import quotes
from exporter.tariff.catalogue import CATALOGUE
from exporter.tariff.csv_tables import BUNDLED
from exporter.tariff.quotes import NoQuote, Quote
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Listed

NVML = "NVIDIA H100 80GB HBM3"


def quote(instance_type: str, cloud: str = "aws", gpu: str = NVML, **fields: str) -> Quote:
    """The quote of a GPU on a host in a place."""
    location = HostLocation(cloud=cloud, instance_type=instance_type, **fields)
    actual = Tariff(location=location, unmatched="estimate").quote(Gpu("GPU-a", gpu))
    assert isinstance(actual, Quote)
    return actual


def of_model(name: str) -> Quote | NoQuote:
    """The quote of a GPU on a host in no known place."""
    return quotes.find_quote(CATALOGUE, UNKNOWN_LOCATION, None, name)


def hourly(actual: Quote) -> Decimal:
    return actual.dollars_per_hour / actual.devices


def test_trap_1_a_total_of_google_contains_the_gpu() -> None:
    """a2-highgpu-1g: 0.73948 for the machine alone + 2.93391 for its A100 = 3.67339."""
    actual = quote("a2-highgpu-1g", "gcp", region="us-central1")

    assert hourly(actual) == Decimal("0.73948") + Decimal("2.93391")


def test_trap_2_no_commitment_price_stands_for_on_demand() -> None:
    """1.8462 for an A100-80GB and 36.60 for eight H200 were such; the totals are 5.0688 and absent."""
    assert hourly(quote("a2-ultragpu-1g", "gcp", region="us-central1")) > 5
    with (BUNDLED / "instances.csv").open(newline="") as lines:
        sources = {row["source"] for row in csv.DictReader(lines) if row["cloud"] == "gcp"}
    assert sources == {"cyclenerd-gcp", "cluster-toolkit"}


def test_trap_3_a_gpu_is_priced_where_it_is_sold() -> None:
    """a3-megagpu-8g is not sold in us-central1: the price where it is, scaled, and that is said."""
    actual = quote("a3-megagpu-8g", "gcp", region="us-central1")

    assert (actual.price_basis, actual.derivation) == ("estimate", "scaled")
    assert actual.source == "scaled gcp a3-megagpu-8g us-central1 on demand (cyclenerd-gcp)"
    assert actual.caveat == (
        "no list has its price in us-central1: it is the price of us-east4, scaled by what us-central1 costs "
        "for the types most alike"
    )


def test_trap_4_spot_is_an_estimate_and_unknown_spot_is_not_zero() -> None:
    """Google's is bundled with its date; of Amazon's nothing is, and the list price bounds it."""
    google = quote("a3-highgpu-8g", "gcp", region="us-central1", lifecycle="spot")
    amazon = quote("p5.48xlarge", region="us-east-1", lifecycle="spot")

    assert (google.price_basis, google.dollars_per_hour) == ("estimate", Decimal("50.60954"))
    assert google.as_of == "2026-07-30"
    assert google.caveat == "a spot price changes by the hour"
    assert (amazon.price_basis, amazon.dollars_per_hour) == ("estimate", Decimal("55.04"))
    assert "on demand, the most that spot may cost" in amazon.source
    assert amazon.caveat == "it has no spot price of this instance type"


def test_trap_5_what_is_sold_in_blocks_has_no_list_price() -> None:
    """p5e.48xlarge is known, without a price on demand: an H200 at the lowest large cloud, 7.912 dollars."""
    actual = quote("p5e.48xlarge", gpu="NVIDIA H200", region="us-west-2")

    assert (actual.price_basis, actual.dollars_per_hour, actual.devices) == ("estimate", Decimal("63.296"), 8)
    assert actual.source == (
        "lowest large cloud's list price of H200-SXM-141GB: aws p5en.48xlarge us-east-1 (karpenter-aws)"
    )
    assert actual.caveat == (
        "the catalogue does not help: it lists aws p5e.48xlarge in us-west-2 without a price on demand"
    )


def test_trap_5_a_slice_has_its_part_of_the_lowest_price() -> None:
    """g6f.large has an eighth of an L4. Google's is the lowest of a large cloud: 0.70683 / 8 dollars."""
    actual = quote("g6f.large", gpu="NVIDIA L4", region="us-gov-west-1")

    assert (actual.price_basis, actual.dollars_per_hour, actual.devices) == (
        "estimate",
        Decimal("0.08835375"),
        1,
    )


@pytest.mark.parametrize("gpu", ["NVIDIA L4", "NVIDIA Thor", "NVIDIA H200", "no such GPU", ""])
def test_trap_5_a_known_type_has_the_gpus_of_the_catalogue_whatever_nvml_shows(gpu: str) -> None:
    """8 x 7.912 dollars for eight H200s; eight L4s, at 0.70683 dollars, would be a tenth of it."""
    actual = quote("p5e.48xlarge", gpu=gpu, region="us-west-2")

    assert (actual.dollars_per_hour, actual.devices) == (Decimal("63.296"), 8)
    assert actual.instance_gpu == "H200-SXM-141GB"
    assert "list price of H200-SXM-141GB: " in actual.source


def test_trap_4_an_unknown_type_of_spot_is_estimated_at_most() -> None:
    """No list has the type: other clouds' price on demand is taken, and spot may cost less."""
    spot = quote("p9.48xlarge", region="us-east-1", lifecycle="spot")
    reserved = quote("p9.48xlarge", region="us-east-1", lifecycle="capacity_block")

    unknown = "the catalogue does not help: it does not have the aws instance type p9.48xlarge"
    assert spot.caveat == f"{unknown}; spot may cost less"
    assert reserved.caveat == f"{unknown}; what capacity block capacity costs is in no list"


def test_trap_5_china_is_not_priced_in_dollars() -> None:
    """Its list is in yuan; no other region stands in, and the GPU is estimated."""
    actual = quote("p4d.24xlarge", gpu="NVIDIA A100-SXM4-40GB", region="cn-northwest-1")

    assert (actual.price_basis, actual.dollars_per_hour, actual.devices) == (
        "estimate",
        Decimal("21.957642"),
        8,
    )
    assert actual.derivation == "large_cloud"


@pytest.mark.parametrize(
    ("instance_type", "before", "now"),
    [("p4d.24xlarge", "32.7726", "21.957642"), ("p5.48xlarge", "98.32", "55.04")],
)
def test_trap_6_the_prices_are_those_after_the_cut_of_june_2025(
    instance_type: str, before: str, now: str
) -> None:
    """An older catalogue is 49 to 79 % too dear, in every region."""
    ratio = Decimal(now) / Decimal(before)
    for region in ("us-east-1", "us-west-2", "ap-northeast-1"):
        listing = CATALOGUE.instance("aws", instance_type, region)
        assert listing is not None
        assert listing.on_demand is not None
        assert listing.on_demand < Decimal(before)
        assert listing.on_demand / Decimal(before) < ratio * Decimal("1.5")
    assert quote(instance_type, region="us-east-1").dollars_per_hour == Decimal(now)


@pytest.mark.parametrize(
    ("cloud", "instance_type", "gpu", "region", "part", "dollars"),
    [
        ("aws", "g6f.large", "NVIDIA L4", "us-east-1", "1/8", "0.202"),
        ("aws", "g6f.2xlarge", "NVIDIA L4", "us-east-1", "1/4", "0.475"),
        ("gcp", "g4-standard-12", "NVIDIA RTX PRO 6000 Blackwell Server Edition", "us-central1", "1/4", None),
        ("azure", "Standard_NV6ads_A10_v5", "NVIDIA A10-4Q", "eastus", "1/6", "0.454"),
    ],
)
def test_trap_7_a_slice_of_a_gpu_costs_what_its_instance_costs(
    cloud: str, instance_type: str, gpu: str, region: str, part: str, dollars: str | None
) -> None:
    """NVML shows one device; the price is not divided by a count of 0, nor multiplied to a whole GPU."""
    listing = CATALOGUE.instance(cloud, instance_type, region)
    actual = quote(instance_type, cloud, gpu, region=region)

    assert listing is not None
    assert part == str(listing.gpus)
    assert actual.devices == 1
    assert actual.dollars_per_hour == (listing.on_demand if dollars is None else Decimal(dollars))


def test_trap_8_azure_is_spelled_in_two_ways_and_some_sizes_have_no_real_quote() -> None:
    """ND128isr_NDR_GB200_v6 is listed at 27 to 54 dollars per GPU: not taken. NC40ads is an H100 NVL."""
    with_prefix = quote("Standard_NC40ads_H100_v5", "azure", region="eastus")
    assert with_prefix == quote("nc40ads_h100_v5", "azure", region="eastus")
    assert with_prefix.instance_gpu == "H100-NVL-94GB"
    gb200 = quote("Standard_ND128isr_NDR_GB200_v6", "azure", "NVIDIA GB200", region="eastus")
    assert (gb200.price_basis, hourly(gb200)) == ("estimate", Decimal(16))


def test_trap_9_the_same_gpu_in_another_box_has_another_price() -> None:
    """g5.xlarge and g5.16xlarge have one A10G each, at 1.006 and 4.096 dollars: never averaged."""
    for name, dollars in (("g5.xlarge", "1.006"), ("g5.16xlarge", "4.096")):
        assert hourly(quote(name, gpu="NVIDIA A10G", region="us-east-1")) == Decimal(dollars)


def test_trap_10_oracle_prices_gpus_alike_in_all_regions() -> None:
    """10 dollars per GPU-hour x 8; preemptible half of it, where it is offered."""
    for region in ("us-phoenix-1", "phx", ""):
        actual = quote("BM.GPU.H100.8", "oci", region=region)
        assert (actual.dollars_per_hour, actual.devices, actual.caveat) == (Decimal(80), 8, "")
    spot = quote("VM.GPU3.1", "oci", "Tesla V100-SXM2-16GB", lifecycle="spot")
    assert (spot.dollars_per_hour, spot.price_basis) == (Decimal("1.475"), "estimate")


def test_trap_11_memory_of_a_node_is_not_taken_for_a_gpus() -> None:
    """Models and counts come from names of types; each listed GPU's memory is one board's."""
    for name in ("p5.48xlarge", "g6e.12xlarge"):
        listing = CATALOGUE.instance("aws", name, "us-east-1")
        assert listing is not None
        with (BUNDLED / "gpu_models.csv").open(newline="") as lines:
            memory = {row["gpu_model"]: row["memory_gib"] for row in csv.DictReader(lines)}
        assert int(memory[listing.gpu_model]) in {48, 80}


@pytest.mark.parametrize(
    ("name", "dollars"),
    [
        ("NVIDIA GH200 480GB", "2.29"),  # 96 GB of HBM; 480 is the processor's memory
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "3.36312"),
        ("NVIDIA A100", None),
        ("Quadro RTX 6000", None),
        ("NVIDIA RTX 6000 Ada Generation", None),
        ("NVIDIA GeForce RTX 4090", "0.74"),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GB10", None),
        ("NVIDIA Thor", None),
    ],
)
def test_trap_12_a_name_that_misleads_takes_nobody_elses_price(name: str, dollars: str | None) -> None:
    """Its own, or none."""
    actual = of_model(name)

    assert dollars is None or isinstance(actual, Quote)
    assert (dollars and Decimal(dollars)) == (actual.dollars_per_hour if isinstance(actual, Quote) else None)


def test_trap_13_a_commitment_is_not_in_the_list_and_is_written_as_a_discount() -> None:
    """a2-highgpu-1g for one year is 37 % less: 3.67339 x 0.63 = 2.3142357; reserved is an estimate."""
    location = HostLocation(
        cloud="gcp", instance_type="a2-highgpu-1g", region="us-central1", lifecycle="reserved"
    )
    reported = quotes.find_quote(
        CATALOGUE, location, Listed("gcp", discount_ratio=Decimal("0.37"), discount_of="on_demand")
    )
    untold = quotes.find_quote(CATALOGUE, location, Listed())

    assert isinstance(reported, Quote)
    assert (reported.dollars_per_hour, reported.price_basis) == (Decimal("2.3142357"), "catalogue")
    assert "on demand less 37 %" in reported.source
    assert isinstance(untold, Quote)
    assert (untold.dollars_per_hour, untold.price_basis) == (Decimal("3.67339"), "estimate")
    assert untold.caveat == "what reserved capacity costs is in no list"


def test_trap_14_seven_slices_do_not_sum_to_the_card_by_memory() -> None:
    """7 x 1g.5gb are 35 of 40 GB, and by compute the whole; 4 x 1g.10gb are 4/7 by compute alone."""
    for count, gigabytes in ((7, 5), (4, 10)):
        instances = tuple(
            MigInstance(f"MIG-{number}", number, gpu_slices=1, memory_bytes=gigabytes * 10**9)
            for number in range(count)
        )
        card = GpuReading(
            Gpu("GPU-0", "NVIDIA A100-SXM4-40GB"), 0, memory_total_bytes=40 * 10**9, instances=instances
        )

        slices = mig_slices(card)

        assert slices is not None
        assert sum(slices.values()) == WHOLE


def test_trap_15_a_shared_label_is_still_one_gpu() -> None:
    """Time slicing hangs -SHARED on the name, and the price is that of the whole."""
    assert of_model("NVIDIA-A10G-SHARED") == of_model("NVIDIA A10G")


def test_no_trap_an_unknown_gpu_and_an_unknown_instance_have_no_price() -> None:
    """The answer has both reasons."""
    location = HostLocation(cloud="aws", instance_type="p9.48xlarge", region="us-east-1")
    actual = Tariff(location=location, unmatched="estimate").quote(Gpu("GPU-a", "NVIDIA R100"))

    assert actual == NoQuote(
        "it does not have the aws instance type p9.48xlarge; it knows no GPU by the name NVIDIA R100"
    )
