"""Where this host runs: what its firmware says, and what its cloud's metadata service adds.

The firmware's signs are those of cloud-init (tools/ds-identify). The hypervisor sets them: nobody inside the
machine has written them, and most containers can read them.
"""

from pathlib import Path
from typing import Final

from exporter.clock import Clock
from exporter.config.settings import CloudChoice
from exporter.readings import FailureReason, HostLocation, ReadFailedError
from exporter.sources.cloud.metadata import (
    AWS,
    AZURE,
    GCP,
    LINK_LOCAL,
    NEBIUS,
    OCI,
    SERVICES,
    host_location,
    read_metadata,
)
from exporter.sources.http_client import Deadline
from exporter.sources.server import shared_client

DMI: Final = "sys/class/dmi/id"
SOURCE: Final = "dmi"

LONGEST: Final = 128
"""Bytes read of one file."""

EC2_VENDOR: Final = "Amazon EC2"
"""`sys_vendor` of Nitro, whose `product_name` is the instance type."""

EC2_BIOS: Final = ".amazon"
"""How `bios_version` ends on the instances before Nitro, which are Xen guests: 4.11.amazon."""

GCP_PRODUCT: Final = "Google Compute Engine"
AZURE_TAG: Final = "7783-7084-3265-9085-8269-3286-77"
"""`chassis_asset_tag` of Azure; other Hyper-V hosts have others."""

OCI_TAG: Final = "OracleCloud.com"
NEBIUS_WORD: Final = "nebius"
"""Nebius documents no sign; a vendor or product that has its name in it is taken for one."""


def sign(root: Path = Path("/")) -> HostLocation:
    """The cloud of this machine, on AWS with its instance type; an empty place without a sign of one.

    Args:
        root: where the files of the host are found.
    """

    def read(name: str) -> str:
        try:
            with (root / DMI / name).open("rb") as file:
                return file.read(LONGEST).decode("ascii").strip()
        except (OSError, UnicodeError):
            return ""

    vendor, product = read("sys_vendor"), read("product_name")
    if vendor == EC2_VENDOR:
        return _nitro(product)
    if read("bios_version").endswith(EC2_BIOS) or _is_ec2(read("product_uuid"), read("product_serial")):
        return HostLocation(AWS, source=SOURCE)
    if product == GCP_PRODUCT:
        return HostLocation(GCP, source=SOURCE)
    tag = read("chassis_asset_tag")
    if tag in (AZURE_TAG, OCI_TAG):
        return HostLocation(AZURE if tag == AZURE_TAG else OCI, source=SOURCE)
    named = (vendor, product, read("product_family"), read("board_vendor"), read("chassis_vendor"))
    if any(NEBIUS_WORD in text.lower() for text in named):
        return HostLocation(NEBIUS, source=SOURCE)
    return HostLocation()


def _nitro(product: str) -> HostLocation:
    try:
        return host_location(AWS, SOURCE, instance_type=product)
    except ValueError:
        return HostLocation(AWS, source=SOURCE)


def _is_ec2(uuid: str, serial: str) -> bool:
    """Root alone may read them. One random UUID in 4,096 begins like this, so both have to be the same."""
    return uuid.lower().startswith("ec2") and uuid.lower() == serial.lower()


TIMEOUT_SECONDS: Final = 1.0
"""For all requests of one read together. On bare metal nothing answers there, not even a refusal."""

NAME: Final = "cloud"
CONFIGURATION: Final = "configuration"


class CloudSource:
    """Asks one metadata service, each question once a read; caching is the caller's.

    `choice` is `auto` (the cloud that the firmware names, and nobody without such a sign), `off`, or a cloud.
    `root` is where the files of the host are found, `address` where the services listen.
    """

    def __init__(
        self,
        clock: Clock,
        choice: CloudChoice = "auto",
        *,
        root: Path = Path("/"),
        address: str = LINK_LOCAL,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self._clock = clock
        self._address = address
        self._timeout = timeout
        self._default = _configured_location(choice, root)
        self._errors: tuple[tuple[str, int], ...] = ()
        self._problem = ""

    @property
    def name(self) -> str:
        """The value of the `source` label."""
        return NAME

    @property
    def errors(self) -> tuple[tuple[str, int], ...]:
        """Why the last reading is the firmware's alone, by reason."""
        return self._errors

    @property
    def problem(self) -> str:
        """What `errors` counts, for people."""
        return self._problem

    @property
    def asks(self) -> bool:
        """Whether there is a cloud to ask."""
        return bool(self._default.cloud)

    @property
    def fallback(self) -> HostLocation:
        """What is known without asking: the cloud to ask, and on AWS the instance type; empty for nobody."""
        return self._default

    def read(self) -> HostLocation:
        """Where this host runs. Without a cloud to ask an empty place, and no request.

        Where the metadata service fails and the firmware told the instance type, that is the reading.

        Raises:
            ReadFailedError: as `metadata.ask`; or `contradiction`, the firmware names another instance type.
        """
        self._errors, self._problem = (), ""
        default = self._default
        if not default.cloud:
            return default
        try:
            location = self._read_metadata()
        except ReadFailedError as failure:
            if not default.instance_type:
                raise
            self._errors, self._problem = ((failure.reason, 1),), str(failure)
            return default
        if default.instance_type not in ("", location.instance_type):
            raise ReadFailedError(
                FailureReason.CONTRADICTION,
                f"the firmware says that this is a {default.instance_type}, "
                f"{location.source} at {self._address} that it is a {location.instance_type}",
            )
        return location

    def close(self) -> None:
        """Nothing is held between reads."""

    def _read_metadata(self) -> HostLocation:
        deadline = Deadline(self._clock, self._timeout)
        return read_metadata(SERVICES[self._default.cloud], shared_client(), self._address, deadline)


def _configured_location(choice: CloudChoice, root: Path) -> HostLocation:
    if choice == "off":
        return HostLocation()
    firmware = sign(root)
    if choice in ("auto", firmware.cloud):
        return firmware
    return HostLocation(choice, source=CONFIGURATION)
