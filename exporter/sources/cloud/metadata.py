"""Requests to a cloud's metadata service, as the description of each cloud lists them.

Only what prices an hour is requested: never a recursive root, attributes, user data or credentials.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Annotated, Final, Generic, TypeVar

import msgspec

from exporter.readings import FailureReason, HostLocation, ReadFailedError
from exporter.sources.http_client import HEADERS, Deadline, HttpRequest, HttpResponse, shared_client
from exporter.units import NANOSECONDS_PER_SECOND, Instant

LONGEST_WORD: Final = 128
"""Characters of a word from outside; a token of AWS has 56."""

LONGEST_NAME: Final = 64
"""Characters of an instance type, region or zone; the longest ones have about half."""

AWS: Final = "aws"
GCP: Final = "gcp"
AZURE: Final = "azure"
OCI: Final = "oci"
NEBIUS: Final = "nebius"

ON_DEMAND: Final = "on_demand"
SPOT: Final = "spot"

_INSTANCE_TYPES: Final[Mapping[str, re.Pattern[str]]] = {
    AWS: re.compile(r"[a-z][a-z0-9-]*\.[a-z0-9-]+"),  # p5.48xlarge, g4dn.metal, p6-b200.48xlarge
    GCP: re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+"),  # a3-highgpu-8g, n1-custom-8-32768-ext
    AZURE: re.compile(r"(Standard|Basic)_[A-Za-z0-9]+([_-][A-Za-z0-9]+)*"),  # Standard_ND96isr_H100_v5
    OCI: re.compile(r"(BM|VM)(\.[A-Za-z0-9_-]+)+"),  # BM.GPU.H100.8
    # Platform and preset, put together as price lists do: gpu-h100-sxm_8gpu-128vcpu-1600gb
    NEBIUS: re.compile(r"[a-z]+(-[a-z0-9]+)+_[0-9]+[a-z]+(-[0-9]+[a-z]+)+"),
}
_REGION: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*")


def host_location(
    cloud: str, source: str, *, instance_type: str = "", region: str = "", zone: str = "", lifecycle: str = ""
) -> HostLocation:
    """Location from the words of a source; empty where it has none.

    Raises:
        ValueError: a word is not spelled as that cloud spells it; the message says which.
    """
    for what, text, spelling in (
        ("instance type", instance_type, _INSTANCE_TYPES[cloud]),
        ("region", region, _REGION),
        ("zone", zone, _ZONE),
    ):
        if text and (len(text) > LONGEST_NAME or not spelling.fullmatch(text)):
            raise ValueError(f"no {what} of {cloud}")
    return HostLocation(cloud, instance_type, region, zone, lifecycle, source)


def word(text: str) -> str:
    """One word of ASCII from outside, without spaces around it.

    Raises:
        ValueError: it is something else, or too long.
    """
    text = text.strip(" \r\n")
    if len(text) > LONGEST_WORD or not text.isascii() or not text.isprintable():
        raise ValueError("not one short word")
    return text


LINK_LOCAL: Final = "http://169.254.169.254"
"""Address of all five. Names such as metadata.google.internal need a look-up, which the timeout does not
bound."""

BODY_BYTES_MAX: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class TerminationNotice:
    """A cloud's notice that it takes a spot host back."""

    given: bool = False
    """Whether the host is to end."""
    end: Instant | None = None
    """When the host is to end. `None` without a notice, and where the cloud names no instant."""


@dataclass(frozen=True, slots=True)
class Token:
    """One PUT before the requests of a read."""

    path: str
    """The path of the URL."""
    headers: Mapping[str, str]
    """Headers of the PUT."""
    header: str
    """Header of each later request, whose value is the token."""


Replies = Mapping[str, bytes]
"""Bodies by the names of their requests; a value that the service does not have is absent."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Inquiry(Generic[T]):
    """Requests that are sent together."""

    paths: Mapping[str, str]
    """The paths of the GET requests, with their queries, by the names of their answers, in their order."""
    understand: Callable[[Replies], T]
    """Makes a reading of the bodies, or raises ValueError."""
    optional: frozenset[str] = frozenset()
    """Names of the answers for which a 404 means that there is no such value."""


@dataclass(frozen=True, slots=True)
class MetadataService:
    """A cloud's metadata service."""

    cloud: str
    location: Inquiry[HostLocation]
    """What is requested for the location of a host."""
    notice: Inquiry[TerminationNotice] | None = None
    """What is requested for the notice of a spot host; `None` if the cloud documents no notice."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of each request."""
    token: Token | None = None
    """How a token is obtained, if the service requires one."""
    echo: tuple[str, str] | None = None
    """A header, in lower case, with the value that each answer has and no other server's."""


def source_name(cloud: str) -> str:
    """The `source` of a location from a metadata service."""
    return f"{cloud} metadata"


def read_metadata(service: MetadataService, inquiry: Inquiry[T], address: str, deadline: Deadline) -> T:
    """Send each request of an inquiry once.

    Raises:
        ReadFailedError: `connection`, `timeout`, `redirect`, `http_status`, `encoding`, `too_large`,
            `not_recognized`.
    """
    subject = f"{source_name(service.cloud)} at {address}"
    client = shared_client()
    headers = {**HEADERS, "Accept": "*/*", **service.headers}

    def send(path: str, headers: Mapping[str, str], method: str = "GET") -> HttpResponse:
        request = HttpRequest(f"{address}{path}", headers, subject, method)
        return client.request(request, deadline, BODY_BYTES_MAX)

    try:
        if service.token is not None:
            answer = send(service.token.path, {**headers, **service.token.headers}, "PUT")
            token = text_of(_checked(service, answer, subject))
            if not token or " " in token or "<" in token:
                raise ValueError("no token")  # noqa: TRY301 - as other wrong content
            headers[service.token.header] = token
        replies = {}
        for name, path in inquiry.paths.items():
            answer = send(path, headers)
            if name not in inquiry.optional or answer.status != HTTPStatus.NOT_FOUND:
                replies[name] = _checked(service, answer, subject)
        return inquiry.understand(replies)
    except (ValueError, RecursionError) as error:
        message = f"{subject}: answers, but not as the metadata of {service.cloud} does: {error}"
        raise ReadFailedError(FailureReason.NOT_RECOGNIZED, message) from error


def _checked(service: MetadataService, answer: HttpResponse, subject: str) -> bytes:
    if answer.status != HTTPStatus.OK:
        raise ReadFailedError(
            FailureReason.HTTP_STATUS, f"{subject}: answers with HTTP status {answer.status}"
        )
    if service.echo is not None:
        name, value = service.echo
        if answer.headers.get(name) != value:
            raise ValueError(f"no header {name}: {value}")
    return answer.body


def text_of(body: bytes | None) -> str:
    """The word of a body; empty without one."""
    return "" if body is None else word(body.decode("ascii"))


def _location(
    cloud: str, *, instance_type: str, region: str = "", zone: str = "", lifecycle: str = ""
) -> HostLocation:
    """Location by the metadata of a cloud, which always have an instance type."""
    if not instance_type:
        raise ValueError(f"no instance type of {cloud}")
    return host_location(
        cloud,
        source_name(cloud),
        instance_type=instance_type,
        region=region,
        zone=zone,
        lifecycle=lifecycle,
    )


def _matched(pattern: re.Pattern[str], text: str, what: str) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if match is None:
        raise ValueError(f"no {what}")
    return match


def _instant(moment: datetime) -> Instant:
    """The instant; a time without an offset is of UTC."""
    return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()) * NANOSECONDS_PER_SECOND


class _AwsDocument(msgspec.Struct, rename="camel"):
    """The identity document of an instance."""

    instance_type: str
    region: str
    availability_zone: str
    """Its letter means another place in each account; nothing is priced by it."""


class _AwsAction(msgspec.Struct):
    """What happens to a spot instance, and when."""

    action: str
    time: str


_AWS_LIFECYCLES: Final = {"on-demand": ON_DEMAND, "spot": SPOT}
"""`scheduled` and `capacity-block` are paid otherwise: unknown."""


def _aws_location(replies: Replies) -> HostLocation:
    document = msgspec.json.decode(replies["document"], type=_AwsDocument)
    return _location(
        AWS,
        instance_type=word(document.instance_type),
        region=word(document.region),
        zone=word(document.availability_zone),
        lifecycle=_AWS_LIFECYCLES.get(text_of(replies.get("life-cycle")), ""),
    )


def _aws_notice(replies: Replies) -> TerminationNotice:
    if "action" not in replies:
        return TerminationNotice()
    document = msgspec.json.decode(replies["action"], type=_AwsAction)
    if document.action not in ("terminate", "stop", "hibernate"):
        raise ValueError("no action")
    return TerminationNotice(given=True, end=_instant(datetime.fromisoformat(word(document.time))))


_GCP_MODELS: Final = {"STANDARD": ON_DEMAND, "SPOT": SPOT}
"""Other provisioning models, such as `FLEX_START`, have prices of their own: unknown."""

_GCP_MACHINE_TYPE: Final = re.compile(r"projects/[^/]+/machineTypes/([^/]+)")
_GCP_ZONE: Final = re.compile(r"projects/[^/]+/zones/(([^/]+)-[^/-]+)")


def _gcp_location(replies: Replies) -> HostLocation:
    machine_type = _matched(_GCP_MACHINE_TYPE, text_of(replies["machine-type"]), "machine type")[1]
    zone = region = ""
    if "zone" in replies:
        zone, region = _matched(_GCP_ZONE, text_of(replies["zone"]), "zone").groups()
    model = text_of(replies.get("provisioning-model"))
    preemptible = text_of(replies.get("preemptible"))
    if preemptible == "TRUE":  # Spot VMs say so too
        lifecycle = SPOT
    elif model:
        lifecycle = _GCP_MODELS.get(model, "")
    else:
        lifecycle = ON_DEMAND if preemptible == "FALSE" else ""
    return _location(GCP, instance_type=machine_type, region=region, zone=zone, lifecycle=lifecycle)


def _gcp_notice(replies: Replies) -> TerminationNotice:
    preempted = text_of(replies["preempted"])
    if preempted not in ("TRUE", "FALSE"):
        raise ValueError("neither TRUE nor FALSE")
    return TerminationNotice(given=preempted == "TRUE")


class _AzureCompute(msgspec.Struct, rename="camel"):
    """The part of an instance's metadata that is of its size and place."""

    vm_size: str
    location: str
    zone: str | None = None
    priority: str | None = None


class _AzureEvent(msgspec.Struct, rename="pascal"):
    """A scheduled event."""

    resources: list[str]
    """The names of its machines."""
    event_type: str = ""
    not_before: str | None = None
    """When it begins; empty once it has begun."""


class _AzureEvents(msgspec.Struct, rename="pascal"):
    """The scheduled events of a whole scale set."""

    events: Annotated[list[_AzureEvent], msgspec.Meta(max_length=100)]


_AZURE_LIFECYCLES: Final = {"regular": ON_DEMAND, "spot": SPOT, "low": SPOT}


def _azure_location(replies: Replies) -> HostLocation:
    compute = msgspec.json.decode(replies["compute"], type=_AzureCompute)
    region = word(compute.location).lower()
    zone = word(compute.zone or "")
    return _location(
        AZURE,
        instance_type=word(compute.vm_size),
        region=region,
        zone=f"{region}-{zone}" if zone else "",
        lifecycle=_AZURE_LIFECYCLES.get(word(compute.priority or "").lower(), ""),
    )


def _azure_notice(replies: Replies) -> TerminationNotice:
    name = text_of(replies["name"])
    for event in msgspec.json.decode(replies["events"], type=_AzureEvents).events:
        if event.event_type in ("Preempt", "Terminate") and name in event.resources:
            moment = word(event.not_before or "")
            end = _instant(parsedate_to_datetime(moment)) if moment else None
            return TerminationNotice(given=True, end=end)
    return TerminationNotice()


_OCI_DOMAIN: Final = re.compile(r"(?:[A-Za-z0-9]+:)?([^:]+)")
"""The part before the colon differs for each tenancy."""


def _oci_location(replies: Replies) -> HostLocation:
    # Some hosts send a single key with quotes, others without.
    texts = {name: text_of(body).removeprefix('"').removesuffix('"') for name, body in replies.items()}
    domain = texts.get("domain", "")
    return _location(
        OCI,
        instance_type=texts["shape"],
        region=texts.get("region", ""),
        zone=_matched(_OCI_DOMAIN, domain, "availability domain")[1] if domain else "",
    )


class _NebiusData(msgspec.Struct):
    """The data of an instance."""

    platform: str
    preset: str
    region: str | None = None


def _nebius_location(replies: Replies) -> HostLocation:
    data = msgspec.json.decode(replies["data"], type=_NebiusData)
    instance_type = f"{word(data.platform)}_{word(data.preset)}"
    return _location(NEBIUS, instance_type=instance_type, region=word(data.region or ""))


_AWS: Final = MetadataService(
    AWS,
    location=Inquiry(
        {
            "document": "/latest/dynamic/instance-identity/document",
            # Spot's own keys are there only once an instance is to be interrupted.
            "life-cycle": "/latest/meta-data/instance-life-cycle",
        },
        _aws_location,
        optional=frozenset({"life-cycle"}),
    ),
    notice=Inquiry(
        {"action": "/latest/meta-data/spot/instance-action"}, _aws_notice, optional=frozenset({"action"})
    ),
    # Its answer has a hop limit of 1 unless configured: in a bridged container it never arrives.
    token=Token(
        "/latest/api/token",
        headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"},
        header="X-aws-ec2-metadata-token",
    ),
)
_GCP: Final = MetadataService(
    GCP,
    location=Inquiry(
        {
            "machine-type": "/computeMetadata/v1/instance/machine-type",
            "zone": "/computeMetadata/v1/instance/zone",
            "preemptible": "/computeMetadata/v1/instance/scheduling/preemptible",
            "provisioning-model": "/computeMetadata/v1/instance/scheduling/provisioning-model",
        },
        _gcp_location,
        optional=frozenset({"zone", "preemptible", "provisioning-model"}),
    ),
    notice=Inquiry({"preempted": "/computeMetadata/v1/instance/preempted"}, _gcp_notice),
    headers={"Metadata-Flavor": "Google"},
    echo=("metadata-flavor", "Google"),
)
_AZURE: Final = MetadataService(
    AZURE,
    location=Inquiry(
        {"compute": "/metadata/instance/compute?api-version=2021-02-01&format=json"}, _azure_location
    ),
    notice=Inquiry(
        {
            "name": "/metadata/instance/compute/name?api-version=2021-02-01&format=text",
            "events": "/metadata/scheduledevents?api-version=2020-07-01",
        },
        _azure_notice,
    ),
    headers={"Metadata": "true"},
)
_OCI: Final = MetadataService(
    # Key by key: the whole object holds SSH keys and user data. No key says what is preemptible.
    OCI,
    location=Inquiry(
        {
            "shape": "/opc/v2/instance/shape",
            "region": "/opc/v2/instance/canonicalRegionName",
            "domain": "/opc/v2/instance/availabilityDomain",
        },
        _oci_location,
        optional=frozenset({"region", "domain"}),
    ),
    headers={"Authorization": "Bearer Oracle"},
)
_NEBIUS: Final = MetadataService(
    NEBIUS,
    location=Inquiry({"data": "/v1/instance-data"}, _nebius_location),
    headers={"Metadata": "true"},
)

SERVICES: Final[Mapping[str, MetadataService]] = {
    service.cloud: service for service in (_AWS, _GCP, _AZURE, _OCI, _NEBIUS)
}
"""By the name of the cloud."""
