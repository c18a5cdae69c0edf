"""What instance types cost: 40 of them worked by hand from the catalogue, across five clouds."""

from decimal import Decimal
from fractions import Fraction

import pytest

from exporter.tariff.catalogue import CATALOGUE
from exporter.tariff.csv_tables import BUNDLED, COLUMNS, Row, rows
from exporter.tariff.instances import find_listing, scale_to_region

WORKED = [
    # cloud, type, region, GPU, GPUs, the instance's hour, the hour of a GPU that NVML shows
    ("aws", "p5.48xlarge", "us-east-1", "H100-SXM5-80GB", "8", "55.04", "6.88"),
    ("aws", "p5.48xlarge", "eu-north-1", "H100-SXM5-80GB", "8", "58.8928", "7.3616"),
    ("aws", "p5.48xlarge", "us-gov-west-1", "H100-SXM5-80GB", "8", "66.048", "8.256"),
    ("aws", "p5.4xlarge", "us-east-1", "H100-SXM5-80GB", "1", "6.88", "6.88"),
    ("aws", "p5en.48xlarge", "ap-northeast-1", "H200-SXM-141GB", "8", "79.12", "9.89"),
    ("aws", "p6-b200.48xlarge", "us-east-1", "B200-SXM-180GB", "8", "113.9328", "14.2416"),
    ("aws", "p4d.24xlarge", "us-east-1", "A100-SXM4-40GB", "8", "21.957642", "2.74470525"),
    ("aws", "p4de.24xlarge", "us-east-1", "A100-SXM4-80GB", "8", "27.44705", "3.43088125"),
    ("aws", "p3dn.24xlarge", "us-west-2", "V100-SXM2-32GB", "8", "31.212", "3.9015"),
    ("aws", "p2.16xlarge", "us-east-1", "K80", "16", "14.4", "0.9"),
    ("aws", "g5.xlarge", "eu-central-1", "A10G", "1", "1.258", "1.258"),
    ("aws", "g5.12xlarge", "us-east-1", "A10G", "4", "5.672", "1.418"),
    ("aws", "g5g.metal", "us-east-1", "T4G", "2", "2.744", "1.372"),
    ("aws", "g6.48xlarge", "us-east-1", "L4", "8", "13.3504", "1.6688"),
    ("aws", "g6e.12xlarge", "us-west-2", "L40S", "4", "10.49264", "2.62316"),
    ("aws", "g7e.48xlarge", "us-east-1", "RTX-PRO-6000-SE", "8", "33.14432", "4.14304"),
    ("aws", "g6f.large", "us-east-1", "L4", "1/8", "0.202", "0.202"),
    ("gcp", "a2-highgpu-1g", "us-central1", "A100-SXM4-40GB", "1", "3.67339", "3.67339"),
    ("gcp", "a2-megagpu-16g", "europe-west4", "A100-SXM4-40GB", "16", "56.62656", "3.53916"),
    ("gcp", "a2-ultragpu-8g", "us-east4", "A100-SXM4-80GB", "8", "45.66186", "5.7077325"),
    ("gcp", "a3-highgpu-8g", "us-central1", "H100-SXM5-80GB", "8", "88.49", "11.06125"),
    ("gcp", "a3-megagpu-8g", "us-east4", "H100-SXM5-80GB", "8", "92.93759", "11.61719875"),
    ("gcp", "g2-standard-96", "us-central1", "L4", "8", "8.00333", "1.00041625"),
    ("gcp", "g4-standard-384", "us-central1", "RTX-PRO-6000-SE", "8", "35.99944", "4.49993"),
    ("gcp", "g4-standard-6", "us-central1", "RTX-PRO-6000-SE", "1/8", "0.55956", "0.55956"),
    ("azure", "Standard_ND96isr_H100_v5", "eastus", "H100-SXM5-80GB", "8", "98.32", "12.29"),
    ("azure", "Standard_ND96isr_H200_v5", "eastus2", "H200-SXM-141GB", "8", "84.8", "10.6"),
    ("azure", "Standard_ND96amsr_A100_v4", "westeurope", "A100-SXM4-80GB", "8", "40.962", "5.12025"),
    ("azure", "Standard_NC24ads_A100_v4", "eastus", "A100-PCIE-80GB", "1", "3.673", "3.673"),
    ("azure", "Standard_NC40ads_H100_v5", "swedencentral", "H100-NVL-94GB", "1", "9.074", "9.074"),
    ("azure", "Standard_NC64as_T4_v3", "westeurope", "T4", "4", "5.44", "1.36"),
    ("azure", "Standard_NV12ads_A10_v5", "eastus", "A10", "1/3", "0.908", "0.908"),
    ("azure", "Standard_NV72ads_A10_v5", "eastus", "A10", "2", "6.52", "3.26"),
    (
        "azure",
        "Standard_NC36lds_xl_RTXPRO6000BSE_v6",
        "westeurope",
        "RTX-PRO-6000-SE",
        "1/4",
        "1.779",
        "1.779",
    ),
    ("oci", "BM.GPU.H100.8", "us-phoenix-1", "H100-SXM5-80GB", "8", "80", "10"),
    ("oci", "BM.GPU.GB200.4", "", "GB200", "4", "64", "16"),
    ("oci", "BM.GPU.L40S.4", "eu-frankfurt-1", "L40S", "4", "14", "3.5"),
    ("oci", "VM.GPU.A10.2", "uk-london-1", "A10", "2", "4", "2"),
    ("nebius", "gpu-h100-sxm_8gpu-128vcpu-1600gb", "eu-north1", "H100-SXM5-80GB", "8", "30.8", "3.85"),
    ("nebius", "gpu-h200-sxm_8gpu-128vcpu-1600gb", "us-central1", "H200-SXM-141GB", "8", "36", "4.5"),
]


def test_forty_types_are_worked() -> None:
    """Of five clouds."""
    assert len(WORKED) == 40
    assert {row[0] for row in WORKED} == {"aws", "azure", "gcp", "nebius", "oci"}


@pytest.mark.parametrize(
    ("cloud", "instance_type", "region", "gpu_model", "gpus", "hour", "per_gpu"),
    WORKED,
    ids=[f"{row[1]}-{row[2]}" for row in WORKED],
)
def test_an_instance_type_has_its_price_and_its_gpus(
    cloud: str, instance_type: str, region: str, gpu_model: str, gpus: str, hour: str, per_gpu: str
) -> None:
    """The hour of the instance is divided by the GPUs that NVML shows; a slice shows one."""
    listing = CATALOGUE.instance(cloud, instance_type, region)

    assert listing is not None
    assert (gpu_model, Fraction(gpus)) == (listing.gpu_model, listing.gpus)
    assert Decimal(hour) == listing.on_demand
    assert Decimal(per_gpu) * listing.devices == Decimal(hour)
    assert listing.standing == ("scaled" if listing.source == "ec2-shop" else "listed")


@pytest.mark.parametrize(
    ("cloud", "name", "actual"),
    [
        ("azure", "ND96isr_H100_v5", "Standard_ND96isr_H100_v5"),
        ("azure", "standard_nd96ISR_h100_V5", "Standard_ND96isr_H100_v5"),
        ("azure", " Standard_ND96isr_H100_v5 ", "Standard_ND96isr_H100_v5"),
        ("aws", "P5.48XLARGE", "p5.48xlarge"),
        ("oci", "bm.gpu.h100.8", "BM.GPU.H100.8"),
    ],
)
def test_a_name_is_found_in_any_spelling(cloud: str, name: str, actual: str) -> None:
    """Azure's with and without Standard_, all of them in any case."""
    listing = CATALOGUE.instance(cloud, name, "eastus" if cloud == "azure" else "us-east-1")

    assert listing is not None
    assert actual == listing.instance_type


@pytest.mark.parametrize(
    ("cloud", "name"),
    [
        ("aws", "p5.48xlarg"),
        ("aws", "m7i.large"),
        ("aws", "ND96isr_H100_v5"),
        ("gcp", "n1-standard-8"),
        ("azure", "Standard_NC24ads_A100_v4_Promo"),
        ("azure", ""),
        ("lambda", "gpu_8x_h100_sxm5"),
        ("", "p5.48xlarge"),
        ("aws", "p5.48xlarge,H100"),
    ],
)
def test_another_name_is_not_found(cloud: str, name: str) -> None:
    """A type that is nearly called so, has no GPU, or is another cloud's."""
    assert CATALOGUE.instance(cloud, name, "us-east-1") is None


@pytest.mark.parametrize(
    ("cloud", "instance_type", "region", "stand_in", "hour"),
    [
        ("aws", "p5.48xlarge", "mx-central-1", "us-east-1", "55.04"),
        ("aws", "p5.48xlarge", "", "us-east-1", "55.04"),
        ("azure", "Standard_ND96isr_H200_v5", "antarcticacentral", "eastus2", "84.8"),
    ],
)
def test_a_region_without_any_row_takes_the_price_of_a_reference_and_says_so(
    cloud: str, instance_type: str, region: str, stand_in: str, hour: str
) -> None:
    """The listing is of the stand-in, marked as such."""
    listing = CATALOGUE.instance(cloud, instance_type, region)

    assert listing is not None
    assert (stand_in, Decimal(hour), "elsewhere") == (listing.region, listing.on_demand, listing.standing)


@pytest.mark.parametrize(
    ("cloud", "instance_type", "region", "hour", "as_of", "source"),
    [
        # p5en.48xlarge: 87.34848 / 63.296 = 1.38 x 55.04. A list of 2025-11-30 has 75.9552.
        ("aws", "p5.48xlarge", "ap-southeast-3", "75.9552", "2025-04-05", "karpenter-aws, ec2-shop"),
        # p5.48xlarge: 71.552 / 55.04 = 1.3 x 6.88. That list has 8.944.
        ("aws", "p5.4xlarge", "eu-west-2", "8.944", "2025-04-05", "karpenter-aws, ec2-shop"),
        # a3-highgpu-8g: 88.49 / 88.55576 x 92.93759, and the three smaller ones alike
        ("gcp", "a3-megagpu-8g", "us-central1", "92.868576", "2026-07-30", "cyclenerd-gcp"),
    ],
)
def test_a_region_without_the_type_takes_its_price_scaled_by_the_types_most_alike(
    cloud: str, instance_type: str, region: str, hour: str, as_of: str, source: str
) -> None:
    """Of two dates the older one; spot is not scaled."""
    listing = CATALOGUE.instance(cloud, instance_type, region)

    assert listing is not None
    assert (listing.region, listing.standing, listing.spot) == (region, "scaled", None)
    assert (Decimal(hour), as_of, source) == (listing.on_demand, listing.as_of, listing.source)


def test_a_scaled_price_is_near_what_the_region_lists() -> None:
    """Each listed price of Azure and Google away from home, scaled as if it were not there.

    The price of the reference region would be 12 to 21 % off on average.
    """
    for cloud, bound in (("azure", "0.04"), ("gcp", "0.02")):
        table = [row for row in rows(BUNDLED, "instances.csv", f"{cloud},") if row["on_demand"]]
        off = []
        for row in table[::7]:
            others = [each for each in table if each is not row]
            actual = find_listing(others, cloud, row["instance_type"], row["region"])
            if actual is not None and not row["region"].startswith(("us-gov", "usgov", "china")):
                price = scale_to_region(others, actual, row["region"]).on_demand
                assert price is not None
                off.append(abs(price / Decimal(row["on_demand"]) - 1))

        assert len(off) > 50
        assert sum(off) / len(off) < Decimal(bound)


@pytest.mark.parametrize(
    ("cloud", "instance_type", "region"),
    [
        ("aws", "p4d.24xlarge", "cn-northwest-1"),
        ("aws", "g5g.metal", "us-gov-east-1"),
        ("azure", "Standard_ND96isr_H100_v5", "chinaeast2"),
        ("azure", "Standard_ND96isr_H100_v5", "usgovvirginia"),
    ],
)
def test_another_partition_has_its_own_prices(cloud: str, instance_type: str, region: str) -> None:
    """China's are not even dollars: no region outside stands in."""
    listing = CATALOGUE.instance(cloud, instance_type, region)

    assert listing is not None
    assert (listing.on_demand, listing.spot) == (None, None)


def made_up(*lines: str) -> list[Row]:
    """Rows of a table of `aws p9.large`: region and hour."""
    common = "aws,p9.large,H100-SXM5-80GB,1"
    return [
        Row(COLUMNS["instances.csv"], f"{common},{line},,USD,listed,2026-11-01,x".split(","), "instances.csv")
        for line in lines
    ]


@pytest.mark.parametrize(
    ("lines", "region", "hour"),
    [
        # Neither has a reference region: the cheapest, but not of another partition.
        (("us-gov-west-1,5", "eu-north-1,9", "eu-west-1,8"), "eu-west-1", "8"),
        (("us-gov-west-1,5", "us-gov-east-1,6"), "us-gov-west-1", "5"),
        # A region without a price is not the cheapest.
        (("eu-north-1,", "eu-west-1,8"), "eu-west-1", "8"),
    ],
)
def test_another_partition_stands_in_only_where_the_type_is_nowhere_else(
    lines: tuple[str, ...], region: str, hour: str
) -> None:
    """Marked as of elsewhere in both cases."""
    listing = find_listing(made_up(*lines), "aws", "p9.large", "mx-central-1")

    assert listing is not None
    assert (listing.region, listing.on_demand, listing.standing) == (region, Decimal(hour), "elsewhere")
