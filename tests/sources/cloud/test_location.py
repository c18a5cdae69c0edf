"""Firmware, then metadata, then the node's labels: what one tells, none behind it changes."""

import pytest

from exporter.readings import HostLocation
from exporter.sources.cloud import merge_labels

EKS = (
    ("eks.amazonaws.com/capacityType", "SPOT"),
    ("node.kubernetes.io/instance-type", "p5.48xlarge"),
    ("topology.kubernetes.io/region", "us-east-1"),
    ("topology.kubernetes.io/zone", "us-east-1d"),
)
PLAIN = EKS[1:]
"""As clusters that somebody made on EC2 label their nodes: no label says whose they are."""

NEBIUS = (
    ("nebius.com/preemptible", "true"),
    ("nebius.com/resource-preset", "8gpu-128vcpu-1600gb"),
    ("node.kubernetes.io/instance-type", "gpu-h100-sxm"),
)
GKE = (("cloud.google.com/gke-nodepool", "h100"), ("cloud.google.com/gke-provisioning", "standard"))

REPORTED = HostLocation("aws", "p5.48xlarge", "us-east-1", "us-east-1d", "on_demand", "aws metadata")


@pytest.mark.parametrize(
    ("location", "labels", "expected"),
    [
        pytest.param(
            HostLocation(),
            EKS,
            HostLocation("aws", "p5.48xlarge", "us-east-1", "us-east-1d", "spot", "node labels", EKS),
            id="labels-alone",
        ),
        pytest.param(
            HostLocation("aws", "p5.48xlarge", source="dmi"),
            EKS,
            HostLocation("aws", "p5.48xlarge", "us-east-1", "us-east-1d", "spot", "dmi, node labels", EKS),
            id="firmware-without-metadata",
        ),
        pytest.param(
            HostLocation("aws", source="configuration"),
            PLAIN,
            HostLocation(
                "aws", "p5.48xlarge", "us-east-1", "us-east-1d", "", "configuration, node labels", PLAIN
            ),
            id="labels-that-no-cloud-signed",
        ),
        pytest.param(HostLocation(), PLAIN, HostLocation(node_labels=PLAIN), id="nobody-signed"),
        pytest.param(
            REPORTED,
            EKS,
            HostLocation("aws", "p5.48xlarge", "us-east-1", "us-east-1d", "on_demand", "aws metadata", EKS),
            id="metadata-told-all",
        ),
        pytest.param(
            HostLocation("nebius", "gpu-h100-sxm_8gpu-128vcpu-1600gb", "eu-north1", source="nebius metadata"),
            NEBIUS,
            HostLocation(
                "nebius",
                "gpu-h100-sxm_8gpu-128vcpu-1600gb",
                "eu-north1",
                "",
                "spot",
                "nebius metadata, node labels",
                NEBIUS,
            ),
            id="metadata-without-lifecycle",
        ),
        pytest.param(REPORTED, (), REPORTED, id="no-labels"),
        pytest.param(
            REPORTED,
            (("example.com/billing", "lease"),),
            HostLocation(
                "aws",
                "p5.48xlarge",
                "us-east-1",
                "us-east-1d",
                "on_demand",
                "aws metadata",
                (("example.com/billing", "lease"),),
            ),
            id="labels-of-ones-own",
        ),
    ],
)
def test_labels_fill_what_is_empty(
    location: HostLocation, labels: tuple[tuple[str, str], ...], expected: HostLocation
) -> None:
    """And are named among those who told only where they added something."""
    assert merge_labels(location, labels) == (expected, "")


def test_labels_that_could_not_be_read_leave_the_place() -> None:
    """And are not known to be none."""
    location, contradiction = merge_labels(REPORTED, None)

    assert (location.instance_type, location.node_labels, contradiction) == ("p5.48xlarge", None, "")


def test_a_service_that_names_no_lifecycle_is_not_overruled_by_on_demand() -> None:
    """Google's flexible start is neither on demand nor spot, and its nodes are labeled as standard ones."""
    reported = HostLocation("gcp", "a3-highgpu-8g", "us-central1", "us-central1-a", "", "gcp metadata")

    assert merge_labels(reported, GKE)[0].lifecycle == ""
    assert merge_labels(HostLocation("gcp", source="dmi"), GKE)[0].lifecycle == "on_demand"


@pytest.mark.parametrize(
    ("reported", "words"),
    [
        (HostLocation("gcp", source="dmi"), "the node's labels say in aws, dmi says in gcp"),
        (
            HostLocation("aws", "g5.xlarge", source="aws metadata"),
            "the node's labels say a p5.48xlarge, aws metadata says a g5.xlarge",
        ),
    ],
)
def test_labels_of_another_place_fill_nothing(reported: HostLocation, words: str) -> None:
    """They are told, and rules may still match on them."""
    location, contradiction = merge_labels(reported, EKS)

    assert (location, contradiction) == (
        HostLocation(reported.cloud, reported.instance_type, source=reported.source, node_labels=EKS),
        words,
    )


def test_azure_is_spelled_in_either_case() -> None:
    """Sizes are the same whatever their case."""
    labels = (
        ("kubernetes.azure.com/scalesetpriority", "spot"),
        ("node.kubernetes.io/instance-type", "Standard_nd96isr_h100_v5"),
    )
    reported = HostLocation("azure", "Standard_ND96isr_H100_v5", "eastus2", source="azure metadata")
    location, contradiction = merge_labels(reported, labels)

    assert (location.instance_type, location.lifecycle, contradiction) == (
        "Standard_ND96isr_H100_v5",
        "spot",
        "",
    )
