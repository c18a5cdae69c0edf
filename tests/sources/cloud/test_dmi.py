"""What a machine's firmware says of its cloud, read from files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.readings import HostLocation
from exporter.sources.cloud.source import sign

Firmware = Callable[..., Path]

UUID = "ec2d1234-5678-9abc-def0-123456789abc"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(
            {"sys_vendor": "Amazon EC2", "product_name": "p5.48xlarge", "chassis_asset_tag": "Amazon EC2"},
            HostLocation("aws", "p5.48xlarge", source="dmi"),
            id="nitro-product-name-is-the-instance-type",
        ),
        pytest.param(
            {"sys_vendor": "Amazon EC2", "product_name": "g4dn.metal"},
            HostLocation("aws", "g4dn.metal", source="dmi"),
            id="nitro-metal",
        ),
        pytest.param(
            {"sys_vendor": "Xen", "product_name": "HVM domU", "bios_version": "4.11.amazon"},
            HostLocation("aws", source="dmi"),
            id="aws-before-nitro",
        ),
        pytest.param(
            {"sys_vendor": "Xen", "product_uuid": UUID, "product_serial": UUID.upper()},
            HostLocation("aws", source="dmi"),
            id="aws-by-uuid-and-serial",
        ),
        pytest.param(
            {"sys_vendor": "Google", "product_name": "Google Compute Engine"},
            HostLocation("gcp", source="dmi"),
            id="gcp",
        ),
        pytest.param(
            {
                "sys_vendor": "Microsoft Corporation",
                "product_name": "Virtual Machine",
                "chassis_asset_tag": "7783-7084-3265-9085-8269-3286-77",
            },
            HostLocation("azure", source="dmi"),
            id="azure",
        ),
        pytest.param(
            {"sys_vendor": "QEMU", "chassis_asset_tag": "OracleCloud.com"},
            HostLocation("oci", source="dmi"),
            id="oci-virtual",
        ),
        pytest.param(
            {"sys_vendor": "Oracle Corporation", "chassis_asset_tag": "OracleCloud.com"},
            HostLocation("oci", source="dmi"),
            id="oci-metal",
        ),
        pytest.param({"sys_vendor": "Nebius"}, HostLocation("nebius", source="dmi"), id="nebius-by-its-name"),
    ],
)
def test_a_cloud_signs_its_machines(
    firmware: Firmware, files: dict[str, str], expected: HostLocation
) -> None:
    """The signs are those that cloud-init goes by; on Nitro the instance type is among them."""
    assert expected == sign(firmware(files))


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"sys_vendor": "Supermicro", "product_name": "SYS-821GE-TNHR"}, id="bare-metal"),
        pytest.param({"sys_vendor": "NVIDIA", "product_name": "DGXH100", "chassis_asset_tag": ""}, id="dgx"),
        pytest.param(
            {"sys_vendor": "OpenStack Foundation", "product_name": "OpenStack Nova"}, id="openstack"
        ),
        pytest.param(
            {
                "sys_vendor": "Microsoft Corporation",
                "product_name": "Virtual Machine",
                "chassis_asset_tag": "1234-5678-9012-3456-7890-1234-56",
            },
            id="hyper-v-at-home",
        ),
        pytest.param({"sys_vendor": "Google", "product_name": "Rammus"}, id="a-chromebook"),
        pytest.param({"sys_vendor": "Amazon", "product_name": "p5.48xlarge"}, id="another-amazon"),
        pytest.param({"product_uuid": UUID, "product_serial": "SN123"}, id="a-uuid-that-begins-so-by-chance"),
        pytest.param({"product_uuid": UUID}, id="a-uuid-without-a-serial"),
        pytest.param({"sys_vendor": b"Amazon EC2\xff"}, id="not-ascii"),
        pytest.param({"sys_vendor": b"\0" * 64}, id="zeros"),
        pytest.param({"sys_vendor": " " * 4096 + "Amazon EC2"}, id="beyond-what-is-read"),
    ],
)
def test_other_machines_are_in_no_cloud(firmware: Firmware, files: dict[str, str | bytes]) -> None:
    """Owned machines, private clouds and firmware that makes no sense show no sign."""
    assert HostLocation() == sign(firmware(files))


def test_firmware_that_cannot_be_seen_shows_no_sign(tmp_path: Path) -> None:
    """A sandbox without /sys, and a file that is none."""
    assert HostLocation() == sign(tmp_path)

    (tmp_path / "sys/class/dmi/id/sys_vendor").mkdir(parents=True)
    assert HostLocation() == sign(tmp_path)


@pytest.mark.parametrize(
    "product",
    ["", "Not Specified", "p5", "p5.48xlarge\x1b[31m", "p5 48xlarge", "P5.48XLARGE", "x" * 120 + ".large"],
)
def test_a_nitro_host_whose_product_is_no_instance_type_is_still_in_its_cloud(
    firmware: Firmware, product: str
) -> None:
    """None rather than a wrong type; its metadata service is asked."""
    root = firmware(sys_vendor="Amazon EC2", product_name=product)

    assert HostLocation("aws", source="dmi") == sign(root)
