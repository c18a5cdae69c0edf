"""Whom a host asks where it runs, and what it believes."""

from collections.abc import Callable
from pathlib import Path

from exporter.readings import HostLocation, ReadFailedError
from exporter.sources.cloud import CloudSource
from exporter.sources.cloud.metadata import LINK_LOCAL
from exporter.sources.cloud.source import TIMEOUT_SECONDS
from tests.sources.cloud.metadata_server import AWS_SESSION_PATH, AZURE_PATH, MetadataServer, aws, azure, gcp

Make = Callable[..., CloudSource]
Firmware = Callable[..., Path]
FailureOf = Callable[[CloudSource], ReadFailedError]

NITRO = {"sys_vendor": "Amazon EC2", "product_name": "p5.48xlarge"}


def test_bare_metal_asks_nobody(metadata: MetadataServer, firmware: Firmware, source: Make) -> None:
    """Without a sign of a cloud in the firmware no request is made at all."""
    firmware(sys_vendor="Supermicro", product_name="SYS-821GE-TNHR")
    asking = source("auto")

    assert HostLocation() == asking.known
    assert HostLocation() == asking.read()
    assert metadata.requests == []


def test_a_container_that_cannot_see_the_firmware_asks_nobody(metadata: MetadataServer, source: Make) -> None:
    """Most can see it. One that cannot has its cloud configured."""
    assert HostLocation() == source("auto").read()
    assert metadata.requests == []


def test_off_asks_nobody_whatever_the_firmware_says(
    metadata: MetadataServer, firmware: Firmware, source: Make
) -> None:
    """An empty place."""
    firmware(NITRO)
    aws(metadata)

    assert HostLocation() == source("off").read()
    assert metadata.requests == []


def test_the_cloud_that_the_firmware_names_is_asked(
    metadata: MetadataServer, firmware: Firmware, source: Make
) -> None:
    """And no other: one service, not five in a row."""
    firmware(product_name="Google Compute Engine")
    gcp(metadata)
    asking = source("auto")

    assert HostLocation("gcp", source="dmi") == asking.known
    assert asking.read().instance_type == "a3-highgpu-8g"
    assert {"Google"} == {request.headers.get("metadata-flavor") for request in metadata.requests}


def test_a_configured_cloud_is_asked_whatever_the_firmware_says(
    metadata: MetadataServer, firmware: Firmware, source: Make
) -> None:
    """For sandboxes without /sys, and for clouds that sign nothing."""
    firmware(NITRO)
    azure(metadata)
    asking = source("azure")

    assert HostLocation("azure", source="configuration") == asking.known
    assert asking.read().instance_type == "Standard_ND96isr_H100_v5"
    assert metadata.paths == [AZURE_PATH]


def test_a_nitro_host_without_metadata_is_known_by_its_firmware(
    metadata: MetadataServer, firmware: Firmware, source: Make
) -> None:
    """The trap of hop limit 1: firmware beats it. Region and lifecycle are unknown, the failure is told."""
    firmware(NITRO)
    aws(metadata).hangs.add(AWS_SESSION_PATH)
    asking = source("auto", timeout=0.2)

    assert HostLocation("aws", "p5.48xlarge", source="dmi") == asking.read()
    assert asking.errors == (("timeout", 1),)
    assert asking.problem.startswith(f"aws metadata at {metadata.address}: ")


def test_errors_are_those_of_the_last_read(
    metadata: MetadataServer, firmware: Firmware, source: Make
) -> None:
    """A read that was told everything has none."""
    firmware(NITRO)
    aws(metadata).set_reply(AWS_SESSION_PATH, "", status=503)
    asking = source("auto")
    asking.read()
    assert asking.errors == (("http_status", 1),)

    aws(metadata)

    assert asking.read().source == "aws metadata"
    assert (asking.errors, asking.problem) == ((), "")


def test_another_cloud_without_metadata_is_a_failure(
    metadata: MetadataServer, firmware: Firmware, source: Make, failure: FailureOf
) -> None:
    """Firmware names the cloud alone there, and no price is known by that."""
    firmware(product_name="Google Compute Engine")
    gcp(metadata).says_everywhere(metadata.replies["/computeMetadata/v1/instance/zone"])

    assert failure(source("auto")).reason == "not_recognized"


def test_a_service_that_contradicts_the_firmware_is_not_believed(
    metadata: MetadataServer, firmware: Firmware, source: Make, failure: FailureOf
) -> None:
    """A simulator of the metadata service, or a proxy that answers for another host: none of it is taken."""
    firmware(sys_vendor="Amazon EC2", product_name="g5.xlarge")
    aws(metadata)
    asking = source("auto")
    error = failure(asking)

    assert error.reason == "contradiction"
    expected = (
        "the firmware says that this is a g5.xlarge, "
        f"aws metadata at {metadata.address} that it is a p5.48xlarge"
    )
    assert expected == str(error)
    assert HostLocation("aws", "g5.xlarge", source="dmi") == asking.known


def test_a_source_asks_the_link_local_address_for_a_second() -> None:
    """Unless it is told otherwise: by address, so that no name is looked up."""
    assert LINK_LOCAL == "http://169.254.169.254"
    assert TIMEOUT_SECONDS == 1.0
