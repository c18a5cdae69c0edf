"""List prices of the bundled catalogue in the configuration, as they are read."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from exporter.config import Config
from exporter.config.instance_types import instance_type_problem
from exporter.tariff.catalogue import Catalogue
from exporter.tariff.terms import HardwareMatch, Listed, Rented, RentPrice

Good = Callable[[str], Config]


def test_a_list_price_is_read_with_what_the_rule_says(good: Good) -> None:
    """What it does not say is the host's own, and a discount without a word is of on demand."""
    config = good("good-catalogue.yaml")

    assert config.unmatched_hardware == "unpriced"
    assert [rule.pricing for rule in config.hardware] == [
        Listed("aws", "", "", Decimal("0.30"), "on_demand", "while_up"),
        Listed("azure", "", "", Decimal("0.15"), "on_demand", "always"),
        Listed("gcp", "a3-highgpu-8g", "us-central1", Decimal(0), "spot", "while_up"),
        Listed("any", "BM.GPU.H100.8"),
        Rented((RentPrice(Decimal("39.80"), 8),)),
        Listed(),
    ]
    assert config.hardware[0].match == HardwareMatch(instance_type="p5.48xlarge", lifecycle="spot")
    assert config.hardware[1].match == HardwareMatch(instance_type="Standard_ND*", region="westeurope")


def test_hardware_without_a_rule_is_estimated_unless_told_otherwise() -> None:
    """No file is a supported install."""
    assert Config().unmatched_hardware == "estimate"


@pytest.mark.parametrize(
    ("listed", "match", "message"),
    [
        (Listed("aws"), HardwareMatch(), None),
        (Listed("aws"), HardwareMatch(instance_type="p5.*"), None),  # what it matches is not known yet
        (Listed("aws"), HardwareMatch(instance_type="p5.48xlarge", region="eu-*"), None),
        (Listed("aws"), HardwareMatch(instance_type="p5.48xlarge", lifecycle="spot"), None),
        (Listed(instance_type="gpu-h100-sxm_8gpu-128vcpu-1600gb"), HardwareMatch(), None),
        (
            Listed("aws"),
            HardwareMatch(instance_type="ND96isr_H100_v5"),
            '"ND96isr_H100_v5" is not in the catalogue of aws; give dollars_per_host_hour and gpus_per_host',
        ),
        (
            Listed(),
            HardwareMatch(instance_type="a3-highgpu-9g"),
            (
                '"a3-highgpu-9g" is not in the catalogue of aws, azure, gcp, nebius, oci; '
                "did you mean a3-highgpu-8g or a3-highgpu-4g?"
            ),
        ),
        # Of another GPU is another price: an H200, B200 or GB200 machine never stands for an A100.
        (Listed("gcp", "a3-ultragpu-8g"), HardwareMatch(), None),
        (
            Listed("gcp", "a3-ultragpu-4g"),
            HardwareMatch(),
            '"a3-ultragpu-4g" is not in the catalogue of gcp; did you mean a3-ultragpu-8g?',
        ),
        (
            Listed("gcp", "a4-highgpu-4g"),
            HardwareMatch(),
            '"a4-highgpu-4g" is not in the catalogue of gcp; did you mean a4-highgpu-8g?',
        ),
        (
            Listed("gcp", "a5-ultragpu-8g"),
            HardwareMatch(),
            '"a5-ultragpu-8g" is not in the catalogue of gcp; give dollars_per_host_hour and gpus_per_host',
        ),
        (
            Listed("azure", "ND96is_B200_v6"),
            HardwareMatch(),
            '"ND96is_B200_v6" is not in the catalogue of azure; give dollars_per_host_hour and gpus_per_host',
        ),
        (
            Listed("aws", "p5-48xlarge"),
            HardwareMatch(),
            '"p5-48xlarge" is not in the catalogue of aws; did you mean p5.48xlarge?',
        ),
    ],
)
def test_an_instance_type_that_the_rule_names_is_looked_up_at_once(
    listed: Listed, match: HardwareMatch, message: str | None
) -> None:
    """One that only the host can tell is not."""
    assert instance_type_problem(listed, match) == message


def test_a_damaged_catalogue_is_no_fault_of_the_configuration(tmp_path: Path) -> None:
    """A daemon with a good file starts."""
    assert instance_type_problem(Listed("aws", "p5.48xlarge"), HardwareMatch(), Catalogue(tmp_path)) is None
