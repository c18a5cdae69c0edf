"""Location of this host by configuration, firmware, metadata service and node labels, in this order; notices.

A value of one of them is never changed by those after it.
Firmware is recognized as by cloud-init (tools/ds-identify).
The hypervisor writes it: no program of the machine can, and most containers can read it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from exporter.clock import Clock
from exporter.config.settings import CloudChoice
from exporter.readings import (
    ErrorCounts,
    FailureReason,
    HostLocation,
    NodeLabels,
    QuickSource,
    ReadFailedError,
)
from exporter.sources.cloud.metadata import (
    AWS,
    AZURE,
    GCP,
    LINK_LOCAL,
    NEBIUS,
    OCI,
    ON_DEMAND,
    SERVICES,
    SPOT,
    TerminationNotice,
    host_location,
    read_metadata,
    source_name,
    word,
)
from exporter.sources.http_client import Deadline
from exporter.sources.machine import short_text
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Instant, Nanoseconds

DMI: Final = "sys/class/dmi/id"
DMI_SOURCE: Final = "dmi"

EC2_VENDOR: Final = "Amazon EC2"
"""`sys_vendor` of Nitro, whose `product_name` is the instance type."""

EC2_BIOS: Final = ".amazon"
"""End of `bios_version` on instances before Nitro, which are Xen guests: 4.11.amazon."""

GCP_PRODUCT: Final = "Google Compute Engine"
AZURE_TAG: Final = "7783-7084-3265-9085-8269-3286-77"
"""`chassis_asset_tag` of Azure; other Hyper-V hosts have others."""

OCI_TAG: Final = "OracleCloud.com"
NEBIUS_WORD: Final = "nebius"
"""Nebius documents no sign; a vendor or product with its name counts as one."""


def sign(root: Path = Path("/")) -> HostLocation:
    """The cloud of this machine by firmware, on AWS with its instance type; empty without a sign of one.

    Args:
        root: where the files of the host are found.
    """
    folder = root / DMI
    vendor = short_text(folder / "sys_vendor")
    product = short_text(folder / "product_name")
    if vendor == EC2_VENDOR:
        try:
            return host_location(AWS, DMI_SOURCE, instance_type=product)
        except ValueError:
            return HostLocation(AWS, source=DMI_SOURCE)
    # Only root may read both. One random UUID in 4,096 begins like this, so both have to be the same.
    uuid = short_text(folder / "product_uuid").lower()
    is_xen = uuid.startswith("ec2") and uuid == short_text(folder / "product_serial").lower()
    if is_xen or short_text(folder / "bios_version").endswith(EC2_BIOS):
        return HostLocation(AWS, source=DMI_SOURCE)
    if product == GCP_PRODUCT:
        return HostLocation(GCP, source=DMI_SOURCE)
    tag = short_text(folder / "chassis_asset_tag")
    if tag in (AZURE_TAG, OCI_TAG):
        return HostLocation(AZURE if tag == AZURE_TAG else OCI, source=DMI_SOURCE)
    names = ("sys_vendor", "product_name", "product_family", "board_vendor", "chassis_vendor")
    if any(NEBIUS_WORD in short_text(folder / name).lower() for name in names):
        return HostLocation(NEBIUS, source=DMI_SOURCE)
    return HostLocation()


TIMEOUT_SECONDS: Final = 1.0
"""For all requests of one read together. On bare metal nothing answers there, not even a refusal."""

CONFIGURATION: Final = "configuration"


class CloudSource(QuickSource):
    """Reads one metadata service; the caller caches.

    `choice` is `auto` (the cloud of the firmware, none without such a sign), `off`, or a cloud.
    `root` is the folder with the files of the host, `address` is that of the services.
    """

    name: Final = "cloud"

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
        firmware = HostLocation() if choice == "off" else sign(root)
        self._default = firmware
        if choice not in ("off", "auto", firmware.cloud):
            self._default = HostLocation(choice, source=CONFIGURATION)
        self.errors: ErrorCounts = ()
        """Why the last reading is the firmware's alone."""
        self.problem = ""
        """Problem behind `errors`, for people."""

    @property
    def asks(self) -> bool:
        """Whether there is a cloud to request."""
        return bool(self._default.cloud)

    @property
    def fallback(self) -> HostLocation:
        """Location without a request: the cloud, and on AWS the instance type; empty without a cloud."""
        return self._default

    def read(self) -> HostLocation:
        """Location of this host; empty, and no request, without a cloud.

        If the metadata service fails and the firmware has the instance type, that is the reading.

        Raises:
            ReadFailedError: as `read_metadata`; or `contradiction`, the firmware names another instance type.
        """
        self.errors, self.problem = (), ""
        default = self._default
        if not default.cloud:
            return default
        try:
            deadline = Deadline(self._clock, self._timeout)
            service = SERVICES[default.cloud]
            location = read_metadata(service, service.location, self._address, deadline)
        except ReadFailedError as failure:
            if not default.instance_type:
                raise
            self.errors, self.problem = ((failure.reason, 1),), str(failure)
            return default
        if default.instance_type not in ("", location.instance_type):
            raise ReadFailedError(
                FailureReason.CONTRADICTION,
                f"the firmware says that this is a {default.instance_type}, "
                f"{location.source} at {self._address} that it is a {location.instance_type}",
            )
        return location


LABELS_SOURCE: Final = "node labels"

SIGNS: Final[tuple[tuple[str, str], ...]] = (
    ("eks.amazonaws.com/", AWS),
    ("karpenter.k8s.aws/", AWS),
    ("topology.k8s.aws/", AWS),
    ("topology.ebs.csi.aws.com/", AWS),
    ("cloud.google.com/gke-", GCP),
    ("topology.gke.io/", GCP),
    ("kubernetes.azure.com/", AZURE),
    ("karpenter.azure.com/", AZURE),
    ("topology.disk.csi.azure.com/", AZURE),
    ("oci.oraclecloud.com/", OCI),
    ("oke.oraclecloud.com/", OCI),
    ("nebius.com/", NEBIUS),
    ("topology.nebius.com/", NEBIUS),
)
"""Prefixes of labels that only one cloud's nodes have. Well-known labels name no cloud: private clouds have
flavors such as g1.large too."""

INSTANCE_TYPE: Final = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
REGION: Final = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
ZONE: Final = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
NEBIUS_PRESET: Final = "nebius.com/resource-preset"
"""Beside it the instance type is the platform alone."""

LIFECYCLES: Final[Mapping[str, Mapping[str, str]]] = {
    "karpenter.sh/capacity-type": {"on-demand": ON_DEMAND, "spot": SPOT},
    "eks.amazonaws.com/capacitytype": {"on_demand": ON_DEMAND, "spot": SPOT},
    "cloud.google.com/gke-provisioning": {"standard": ON_DEMAND, "spot": SPOT, "preemptible": SPOT},
    "cloud.google.com/gke-spot": {"true": SPOT},
    "cloud.google.com/gke-preemptible": {"true": SPOT},
    "kubernetes.azure.com/scalesetpriority": {"regular": ON_DEMAND, "spot": SPOT},
    "nebius.com/preemptible": {"true": SPOT},
}
"""In lower case. Reserved capacity is paid otherwise: unknown."""


def location_of_labels(labels: Mapping[str, str], cloud: str = "") -> HostLocation:
    """Location by a node's labels; empty where they contradict each other or are malformed.

    `cloud` is known from another source, for labels without a prefix of a cloud.
    """
    clouds = {signed for label in labels for start, signed in SIGNS if label.startswith(start)}
    if not clouds and cloud and any(name in labels for name in (*INSTANCE_TYPE, *REGION, *ZONE)):
        clouds = {cloud}
    if len(clouds) != 1:
        return HostLocation()
    (cloud,) = clouds
    meanings = [(LIFECYCLES.get(label.lower()), value.lower()) for label, value in labels.items()]
    lifecycles = {meaning.get(value, "") for meaning, value in meanings if meaning is not None}
    try:
        instance_type, zone = _first_label(labels, INSTANCE_TYPE), _first_label(labels, ZONE)
        if cloud == NEBIUS:
            preset = _first_label(labels, (NEBIUS_PRESET,))
            instance_type = f"{instance_type}_{preset}" if instance_type and preset else ""
        return host_location(
            cloud,
            LABELS_SOURCE,
            instance_type=instance_type,
            region=_first_label(labels, REGION),
            zone="" if zone.isdigit() else zone,  # Azure's fault domain, where there are no zones
            lifecycle=lifecycles.pop() if len(lifecycles) == 1 else "",
        )
    except ValueError:
        return HostLocation()


def _first_label(labels: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((word(labels[name]) for name in names if name in labels), "")


class MergedLocation(NamedTuple):
    """Location by firmware and metadata, completed by a node's labels."""

    location: HostLocation
    contradiction: str = ""
    """How the labels contradict firmware and metadata, as a sentence; empty where they do not."""


def merge_labels(reported: HostLocation, labels: NodeLabels | None) -> MergedLocation:
    """Fill the empty fields of a location by a node's labels; `None` are unreadable labels.

    Labels that name another cloud or instance type fill none.
    """
    labeled = location_of_labels(dict(labels or ()), reported.cloud)
    merged = replace(reported, node_labels=labels)
    for what, name, label_name in (
        ("in", reported.cloud, labeled.cloud),
        ("a", reported.instance_type, labeled.instance_type),
    ):
        if name and label_name and name.casefold() != label_name.casefold():
            contradiction = f"the node's labels say {what} {label_name}, {reported.source} says {what} {name}"
            return MergedLocation(merged, contradiction)
    lifecycle = labeled.lifecycle
    if lifecycle == ON_DEMAND and reported.source == source_name(reported.cloud):
        # A service that answers without a lifecycle means one that is neither on demand nor spot.
        lifecycle = ""
    completed = replace(
        merged,
        cloud=reported.cloud or labeled.cloud,
        instance_type=reported.instance_type or labeled.instance_type,
        region=reported.region or labeled.region,
        zone=reported.zone or labeled.zone,
        lifecycle=reported.lifecycle or lifecycle,
    )
    if completed != merged:
        sources = filter(None, (reported.source, LABELS_SOURCE))
        completed = replace(completed, source=", ".join(sources))
    return MergedLocation(completed)


RENEWAL: Final[Nanoseconds] = 5 * NANOSECONDS_PER_SECOND
"""Time between two reads of a notice, as AWS recommends. Compute Engine gives 30 seconds, AWS two minutes."""

GRACE: Final[Nanoseconds] = 30 * NANOSECONDS_PER_SECOND
"""Time from a notice without an instant to the end."""

DISTANCE_MAX: Final[Nanoseconds] = 24 * NANOSECONDS_PER_HOUR
"""A notice of an instant further from the present is none."""


class NoticeSource(QuickSource):
    """Reads a cloud's notice that it takes a spot host back, by which the end of its cost is known.

    The caller repeats it. Only spot hosts of a known cloud send a request: on Azure the first one switches
    scheduled events on. `address` is that of the service.
    """

    name: Final = "termination notice"
    asks: Final = True
    fallback: Final = TerminationNotice()
    problem: Final = ""

    def __init__(
        self, clock: Clock, location: Callable[[], HostLocation | None], *, address: str = LINK_LOCAL
    ) -> None:
        self._clock = clock
        self._location = location
        self._address = address
        self._end: Instant | None = None

    def read(self) -> TerminationNotice:
        """The notice. Without an instant of the cloud, it is of `GRACE` after it was first seen.

        Raises:
            ReadFailedError: as `read_metadata`.
        """
        location = self._location()
        service = None
        if location is not None and location.lifecycle == SPOT:
            service = SERVICES.get(location.cloud)  # a spot host may be of a cloud that nobody named
        notice = TerminationNotice()
        if service is not None and service.notice is not None:
            deadline = Deadline(self._clock, TIMEOUT_SECONDS)
            notice = read_metadata(service, service.notice, self._address, deadline)
        now = self._clock.wall()
        if not notice.given:
            self._end = None
        elif notice.end is not None:
            self._end = notice.end if abs(notice.end - now) <= DISTANCE_MAX else None
        elif self._end is None:
            self._end = now + GRACE
        return TerminationNotice(given=self._end is not None, end=self._end)
