"""What the labels of a Kubernetes node tell of its place."""

import pytest

from exporter.readings import HostLocation
from exporter.sources.cloud.source import location_of_labels

EKS = {
    "eks.amazonaws.com/capacityType": "SPOT",
    "eks.amazonaws.com/nodegroup": "gpu",
    "kubernetes.io/hostname": "ip-10-0-1-23.ec2.internal",
    "node.kubernetes.io/instance-type": "p5.48xlarge",
    "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
    "topology.kubernetes.io/region": "us-east-1",
    "topology.kubernetes.io/zone": "us-east-1d",
}
GKE = {
    "cloud.google.com/gke-accelerator": "nvidia-h100-80gb",
    "cloud.google.com/gke-nodepool": "gpu",
    "node.kubernetes.io/instance-type": "a3-highgpu-8g",
    "topology.gke.io/zone": "us-central1-a",
    "topology.kubernetes.io/region": "us-central1",
    "topology.kubernetes.io/zone": "us-central1-a",
}
AKS = {
    "kubernetes.azure.com/agentpool": "gpu",
    "kubernetes.azure.com/scalesetpriority": "spot",
    "node.kubernetes.io/instance-type": "Standard_ND96isr_H100_v5",
    "topology.kubernetes.io/region": "eastus2",
    "topology.kubernetes.io/zone": "eastus2-1",
}
OKE = {
    "oci.oraclecloud.com/fault-domain": "FAULT-DOMAIN-1",
    "node.kubernetes.io/instance-type": "BM.GPU.H100.8",
    "topology.kubernetes.io/region": "phx",
    "topology.kubernetes.io/zone": "PHX-AD-1",
}
NEBIUS = {
    "nebius.com/resource-preset": "8gpu-128vcpu-1600gb",
    "nebius.com/preemptible": "true",
    "node.kubernetes.io/instance-type": "gpu-h100-sxm",
    "topology.kubernetes.io/region": "eu-north1",
}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param(EKS, HostLocation("aws", "p5.48xlarge", "us-east-1", "us-east-1d", "spot"), id="eks"),
        pytest.param(GKE, HostLocation("gcp", "a3-highgpu-8g", "us-central1", "us-central1-a"), id="gke"),
        pytest.param(
            AKS, HostLocation("azure", "Standard_ND96isr_H100_v5", "eastus2", "eastus2-1", "spot"), id="aks"
        ),
        pytest.param(OKE, HostLocation("oci", "BM.GPU.H100.8", "phx", "PHX-AD-1"), id="oke"),
        pytest.param(
            NEBIUS,
            HostLocation("nebius", "gpu-h100-sxm_8gpu-128vcpu-1600gb", "eu-north1", "", "spot"),
            id="nebius-type-is-platform-and-preset",
        ),
        pytest.param(
            {
                "cloud.google.com/gke-nodepool": "old",
                "beta.kubernetes.io/instance-type": "n1-standard-8",
                "failure-domain.beta.kubernetes.io/region": "europe-west4",
                "failure-domain.beta.kubernetes.io/zone": "europe-west4-b",
            },
            HostLocation("gcp", "n1-standard-8", "europe-west4", "europe-west4-b"),
            id="names-of-old-clusters",
        ),
        pytest.param(
            {"topology.k8s.aws/zone-id": "use1-az4", "node.kubernetes.io/instance-type": "g6.xlarge"},
            HostLocation("aws", "g6.xlarge"),
            id="aws-without-eks",
        ),
        pytest.param(
            {**AKS, "topology.kubernetes.io/zone": "0"},
            HostLocation("azure", "Standard_ND96isr_H100_v5", "eastus2", "", "spot"),
            id="azure-fault-domain-is-no-zone",
        ),
        pytest.param(
            {key: value for key, value in NEBIUS.items() if key != "nebius.com/resource-preset"},
            HostLocation("nebius", "", "eu-north1", "", "spot"),
            id="nebius-platform-alone-is-no-type",
        ),
    ],
)
def test_labels_of_each_cloud(labels: dict[str, str], expected: HostLocation) -> None:
    """Cloud, instance type, region, zone, lifecycle."""
    assert expected.cloud
    location = location_of_labels(labels)

    assert location.source == "node labels"
    assert expected == HostLocation(
        location.cloud, location.instance_type, location.region, location.zone, location.lifecycle
    )


@pytest.mark.parametrize(
    ("more", "lifecycle"),
    [
        ({}, ""),
        ({"karpenter.sh/capacity-type": "spot"}, "spot"),
        ({"karpenter.sh/capacity-type": "on-demand"}, "on_demand"),
        ({"karpenter.sh/capacity-type": "reserved"}, ""),
        ({"eks.amazonaws.com/capacityType": "ON_DEMAND"}, "on_demand"),
        ({"eks.amazonaws.com/capacityType": "CAPACITY_BLOCK"}, ""),
        ({"karpenter.sh/capacity-type": "spot", "eks.amazonaws.com/capacityType": "ON_DEMAND"}, ""),
        ({"karpenter.sh/capacity-type": "spot", "eks.amazonaws.com/capacityType": "SPOT"}, "spot"),
        ({"cloud.google.com/gke-spot": "true", "cloud.google.com/gke-provisioning": "spot"}, "spot"),
        ({"cloud.google.com/gke-preemptible": "true"}, "spot"),
        ({"cloud.google.com/gke-provisioning": "standard"}, "on_demand"),
        ({"cloud.google.com/gke-spot": "false"}, ""),
        ({"kubernetes.azure.com/scalesetpriority": "regular"}, "on_demand"),
    ],
)
def test_lifecycles(more: dict[str, str], lifecycle: str) -> None:
    """No label is no answer, and two that disagree are none either."""
    base = {"topology.k8s.aws/zone-id": "use1-az4", "node.kubernetes.io/instance-type": "g6.xlarge"}
    if any(label.startswith("cloud.google.com/") for label in more):
        base = {"node.kubernetes.io/instance-type": "g2-standard-4"}
    elif any(label.startswith("kubernetes.azure.com/") for label in more):
        base = {"node.kubernetes.io/instance-type": "Standard_NC24ads_A100_v4"}

    assert lifecycle == location_of_labels({**base, **more}).lifecycle


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param({}, id="none"),
        pytest.param({"node.kubernetes.io/instance-type": "k3s"}, id="k3s"),
        pytest.param({"node.kubernetes.io/instance-type": "g1.large"}, id="a-flavor-of-a-private-cloud"),
        pytest.param({**EKS, "cloud.google.com/gke-nodepool": "x"}, id="two-clouds"),
        pytest.param({**EKS, "node.kubernetes.io/instance-type": "a3-highgpu-8g"}, id="a-type-of-another"),
        pytest.param({**EKS, "node.kubernetes.io/instance-type": "p5.48xlarge\n\x07x"}, id="control"),
        pytest.param({**GKE, "topology.kubernetes.io/region": "x" * 65}, id="over-long"),
        pytest.param({**AKS, "topology.kubernetes.io/zone": "<zone>"}, id="no-zone"),
        pytest.param({"nebius.example.com/x": "1", **dict(list(OKE.items())[1:])}, id="alike-but-no-sign"),
    ],
)
def test_labels_that_name_no_one_cloud_tell_nothing(labels: dict[str, str]) -> None:
    """None rather than a wrong answer: anybody may set a label."""
    assert HostLocation() == location_of_labels(labels)
