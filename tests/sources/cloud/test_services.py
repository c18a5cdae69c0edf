"""Each cloud's metadata service, simulated over HTTP: what it is asked, and what is made of its answers."""

import json
from collections.abc import Callable

import pytest

from exporter.readings import HostLocation
from exporter.sources.cloud import CloudSource
from exporter.sources.cloud.metadata import SERVICES
from tests.sources.cloud.metadata_server import (
    AWS_DOCUMENT,
    AWS_DOCUMENT_PATH,
    AWS_LIFECYCLE_PATH,
    AWS_SESSION_PATH,
    AZURE_COMPUTE,
    AZURE_PATH,
    CLOUDS,
    GCP_PATHS,
    NEBIUS_DATA,
    NEBIUS_PATH,
    OCI_PATHS,
    SESSION,
    MetadataServer,
    aws,
    azure,
    gcp,
    nebius,
    oci,
)

Make = Callable[[str], CloudSource]

ANSWERS = {
    "aws": HostLocation("aws", "p5.48xlarge", "us-east-1", "us-east-1d", "on_demand", "aws metadata"),
    "gcp": HostLocation("gcp", "a3-highgpu-8g", "us-central1", "us-central1-a", "on_demand", "gcp metadata"),
    "azure": HostLocation(
        "azure", "Standard_ND96isr_H100_v5", "eastus2", "eastus2-1", "on_demand", "azure metadata"
    ),
    "oci": HostLocation("oci", "BM.GPU.H100.8", "us-phoenix-1", "PHX-AD-1", "", "oci metadata"),
    "nebius": HostLocation(
        "nebius", "gpu-h100-sxm_8gpu-128vcpu-1600gb", "eu-north1", "", "", "nebius metadata"
    ),
}

PATHS = {
    "aws": [AWS_SESSION_PATH, AWS_DOCUMENT_PATH, AWS_LIFECYCLE_PATH],
    "gcp": list(GCP_PATHS),
    "azure": [AZURE_PATH],
    "oci": list(OCI_PATHS),
    "nebius": [NEBIUS_PATH],
}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_each_cloud_tells_where_a_host_runs(metadata: MetadataServer, source: Make, cloud: str) -> None:
    """By its own rules: headers, tokens and shapes."""
    CLOUDS[cloud](metadata)
    asking = source(cloud)

    assert ANSWERS[cloud] == asking.read()
    assert asking.errors == ()


@pytest.mark.parametrize("cloud", CLOUDS)
def test_each_question_is_asked_once_and_nothing_else(
    metadata: MetadataServer, source: Make, cloud: str
) -> None:
    """Never the recursive root, attributes, user data, credentials: they hold scripts and secrets."""
    CLOUDS[cloud](metadata)
    source(cloud).read()

    assert PATHS[cloud] == metadata.paths
    for path in metadata.paths:
        for word in ("recursive", "attributes", "user", "credentials", "service-accounts", "iam"):
            assert word not in path.lower()


def test_every_cloud_that_can_be_configured_has_a_service_and_a_test() -> None:
    """Five clouds."""
    assert {"aws", "gcp", "azure", "oci", "nebius"} == set(SERVICES)
    assert set(CLOUDS) == set(SERVICES)


def test_aws_is_asked_with_a_token_of_a_minute(metadata: MetadataServer, source: Make) -> None:
    """IMDSv2: the PUT says how long the token lives, each GET brings it, and no GET goes without."""
    aws(metadata)
    source("aws").read()

    put, *gets = metadata.requests
    assert put.headers["x-aws-ec2-metadata-token-ttl-seconds"] == "60"
    assert [get.headers["x-aws-ec2-metadata-token"] for get in gets] == [SESSION, SESSION]


@pytest.mark.parametrize(
    ("cloud", "header", "value"),
    [
        ("gcp", "metadata-flavor", "Google"),
        ("azure", "metadata", "true"),
        ("oci", "authorization", "Bearer Oracle"),
        ("nebius", "metadata", "true"),
    ],
)
def test_each_request_has_the_header_that_its_cloud_wants(
    metadata: MetadataServer, source: Make, cloud: str, header: str, value: str
) -> None:
    """And none that says that it was forwarded: OCI and AWS refuse those."""
    CLOUDS[cloud](metadata)
    source(cloud).read()

    assert {value} == {request.headers[header] for request in metadata.requests}
    assert not [name for request in metadata.requests for name in request.headers if "forwarded" in name]


@pytest.mark.parametrize(
    ("reply", "lifecycle"),
    [
        ("on-demand", "on_demand"),
        ("spot", "spot"),
        ("scheduled", ""),
        ("capacity-block", ""),
        ("something-new", ""),
        ("", ""),
    ],
)
def test_aws_life_cycles(metadata: MetadataServer, source: Make, reply: str, lifecycle: str) -> None:
    """What is paid otherwise than by the hour or the spot market is unknown, not on demand."""
    aws(metadata).set_reply(AWS_LIFECYCLE_PATH, reply)

    assert lifecycle == source("aws").read().lifecycle


def test_aws_without_a_life_cycle_is_unknown_not_on_demand(metadata: MetadataServer, source: Make) -> None:
    """The trap of the 404: a missing key is no answer."""
    del aws(metadata).replies[AWS_LIFECYCLE_PATH]

    reading = source("aws").read()

    assert (reading.instance_type, reading.lifecycle) == ("p5.48xlarge", "")


@pytest.mark.parametrize(
    ("preemptible", "model", "lifecycle"),
    [
        ("FALSE", "STANDARD", "on_demand"),
        ("FALSE", None, "on_demand"),
        ("TRUE", "SPOT", "spot"),
        ("TRUE", "STANDARD", "spot"),  # the older preemptible VMs
        ("TRUE", None, "spot"),
        (None, "SPOT", "spot"),
        ("FALSE", "FLEX_START", ""),
        ("FALSE", "RESERVATION_BOUND", ""),
        (None, None, ""),
        ("maybe", None, ""),
    ],
)
def test_gcp_lifecycles(
    metadata: MetadataServer, source: Make, preemptible: str | None, model: str | None, lifecycle: str
) -> None:
    """Spot and preemptible are one; other provisioning models have prices of their own."""
    gcp(metadata)
    for path, reply in zip(GCP_PATHS[2:], (preemptible, model), strict=True):
        del metadata.replies[path]
        if reply is not None:
            metadata.set_reply(path, reply)

    assert lifecycle == source("gcp").read().lifecycle


def test_gke_metadata_that_serves_few_keys_tells_what_it_has(metadata: MetadataServer, source: Make) -> None:
    """The trap of GKE workload identity, whose server does not have every key of an instance."""
    gcp(metadata)
    del metadata.replies[GCP_PATHS[1]], metadata.replies[GCP_PATHS[3]]

    expected = HostLocation("gcp", "a3-highgpu-8g", "", "", "on_demand", "gcp metadata")
    assert expected == source("gcp").read()


@pytest.mark.parametrize(
    ("zone", "region"),
    [
        ("us-central1-a", "us-central1"),
        ("europe-west4-b", "europe-west4"),
        ("northamerica-northeast1-c", "northamerica-northeast1"),
        ("us-south1-ai1b", "us-south1"),
    ],
)
def test_a_gcp_region_is_its_zone_without_the_last_part(
    metadata: MetadataServer, source: Make, zone: str, region: str
) -> None:
    """Zones are told by path, and regions not at all."""
    gcp(metadata).set_reply(GCP_PATHS[1], f"projects/1/zones/{zone}")

    reading = source("gcp").read()

    assert (region, zone) == (reading.region, reading.zone)


@pytest.mark.parametrize(
    ("priority", "lifecycle"),
    [("Regular", "on_demand"), ("Spot", "spot"), ("Low", "spot"), ("", ""), (None, ""), ("Other", "")],
)
def test_azure_priorities(
    metadata: MetadataServer, source: Make, priority: str | None, lifecycle: str
) -> None:
    """An empty priority is told by machines of which nobody said it: unknown."""
    azure(metadata).set_reply(AZURE_PATH, json.dumps({**AZURE_COMPUTE, "priority": priority}))

    assert lifecycle == source("azure").read().lifecycle


@pytest.mark.parametrize("zone", ["", None])
def test_azure_without_zones_has_none(metadata: MetadataServer, source: Make, zone: str | None) -> None:
    """Many regions have none. The region is the ARM name, as price lists write it."""
    azure(metadata).set_reply(AZURE_PATH, json.dumps({**AZURE_COMPUTE, "zone": zone, "location": "EastUS2"}))

    reading = source("azure").read()

    assert (reading.region, reading.zone) == ("eastus2", "")


def test_oci_keys_in_quotes_are_the_same_keys(metadata: MetadataServer, source: Make) -> None:
    """Some hosts tell a single key as JSON."""
    oci(metadata)
    for path, answer in zip(OCI_PATHS, ("BM.GPU.H100.8", "us-phoenix-1", "EMIr:PHX-AD-1"), strict=True):
        metadata.set_reply(path, f'"{answer}"')

    assert ANSWERS["oci"] == source("oci").read()


def test_oci_without_a_region_tells_its_shape(metadata: MetadataServer, source: Make) -> None:
    """List prices there are the same in all regions."""
    oci(metadata)
    del metadata.replies[OCI_PATHS[1]], metadata.replies[OCI_PATHS[2]]

    assert HostLocation("oci", "BM.GPU.H100.8", source="oci metadata") == source("oci").read()


def test_nebius_types_are_platform_and_preset(metadata: MetadataServer, source: Make) -> None:
    """As price lists put them together; a region may be missing."""
    nebius(metadata).set_reply(
        NEBIUS_PATH,
        json.dumps({**NEBIUS_DATA, "platform": "gpu-l40s-a", "preset": "1gpu-8vcpu-32gb", "region": None}),
    )

    assert (
        HostLocation("nebius", "gpu-l40s-a_1gpu-8vcpu-32gb", source="nebius metadata")
        == source("nebius").read()
    )


def test_the_zone_letter_of_aws_is_told_as_it_is(metadata: MetadataServer, source: Make) -> None:
    """The trap of the letter: it means another place in each account, so nothing may be priced by it."""
    aws(metadata).set_reply(AWS_DOCUMENT_PATH, json.dumps({**AWS_DOCUMENT, "availabilityZone": "us-east-1f"}))

    assert source("aws").read().zone == "us-east-1f"
