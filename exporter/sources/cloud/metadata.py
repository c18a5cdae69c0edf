"""Requests to a cloud's metadata service, as the description of each cloud lists them.

Only what prices an hour is requested: never a recursive root, attributes, user data or credentials.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, Generic, TypeVar

from exporter.readings import FailureReason, HostLocation, ReadFailedError
from exporter.sources.http_client import HEADERS, Deadline, HttpClientProtocol, HttpRequest, HttpResponse

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


def word(text: object) -> str:
    """One word of ASCII from outside, without spaces around it.

    Raises:
        ValueError: it is something else, or too long.
    """
    if not isinstance(text, str):
        raise ValueError("not text")  # noqa: TRY004 - callers treat all wrong content alike
    text = text.strip(" \r\n")
    if len(text) > LONGEST_WORD or not text.isascii() or not text.isprintable():
        raise ValueError("not one short word")
    return text


LINK_LOCAL: Final = "http://169.254.169.254"
"""Address of all five. Names such as metadata.google.internal need a look-up, which the timeout does not
bound."""

BODY_BYTES_MAX: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class MetadataRequest:
    """One GET. If `optional`, a 404 means that there is no such value."""

    path: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Token:
    """One PUT before the requests; its answer is sent with each of them as `header`."""

    path: str
    headers: Mapping[str, str]
    header: str


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MetadataService(Generic[T]):
    """A cloud's metadata service.

    `understand` makes a reading of the bodies, by the names of their requests, or raises ValueError. `echo`
    is a header, in lower case, with the value that each of its answers has and no other server's.
    """

    cloud: str
    questions: Mapping[str, MetadataRequest]
    understand: Callable[[Mapping[str, bytes]], T]
    headers: Mapping[str, str] = field(default_factory=dict)
    token: Token | None = None
    echo: tuple[str, str] | None = None


def source_name(cloud: str) -> str:
    """The `source` of a location from a metadata service."""
    return f"{cloud} metadata"


def read_metadata(
    service: MetadataService[T], client: HttpClientProtocol, address: str, deadline: Deadline
) -> T:
    """Send each request once.

    Raises:
        ReadFailedError: `connection`, `timeout`, `redirect`, `http_status`, `encoding`, `too_large`,
            `not_recognized`.
    """
    subject = f"{source_name(service.cloud)} at {address}"
    headers = {**HEADERS, "Accept": "*/*", **service.headers}

    def send(path: str, headers: Mapping[str, str], method: str = "GET") -> HttpResponse:
        request = HttpRequest(f"{address}{path}", headers, subject, method)
        return client.request(request, deadline, BODY_BYTES_MAX)

    try:
        if service.token is not None:
            answer = send(service.token.path, {**headers, **service.token.headers}, "PUT")
            headers[service.token.header] = _token(_checked(service, answer, subject))
        replies = {}
        for name, question in service.questions.items():
            answer = send(question.path, headers)
            if not (question.optional and answer.status == HTTPStatus.NOT_FOUND):
                replies[name] = _checked(service, answer, subject)
        return service.understand(replies)
    except ValueError as error:
        message = f"{subject}: answers, but not as the metadata of {service.cloud} does: {error}"
        raise ReadFailedError(FailureReason.NOT_RECOGNIZED, message) from error


def _checked(service: MetadataService[T], answer: HttpResponse, subject: str) -> bytes:
    if answer.status != HTTPStatus.OK:
        raise ReadFailedError(
            FailureReason.HTTP_STATUS, f"{subject}: answers with HTTP status {answer.status}"
        )
    if service.echo is not None:
        name, value = service.echo
        if answer.headers.get(name) != value:
            raise ValueError(f"no header {name}: {value}")
    return answer.body


def _token(body: bytes) -> str:
    """The token, if it may be sent as a header's value.

    Raises:
        ValueError: it may not.
    """
    token = word(body.decode("ascii"))
    if not token or " " in token or "<" in token:
        raise ValueError("no token")
    return token


Replies = Mapping[str, bytes]

_AWS_LIFECYCLES: Final = {"on-demand": ON_DEMAND, "spot": SPOT}
"""`scheduled` and `capacity-block` are paid otherwise: unknown."""

_AZURE_LIFECYCLES: Final = {"regular": ON_DEMAND, "spot": SPOT, "low": SPOT}
_GCP_MODELS: Final = {"STANDARD": ON_DEMAND, "SPOT": SPOT}
"""Other provisioning models, such as `FLEX_START`, have prices of their own: unknown."""

_GCP_MACHINE_TYPE: Final = re.compile(r"projects/[^/]+/machineTypes/([^/]+)")
_GCP_ZONE: Final = re.compile(r"projects/[^/]+/zones/(([^/]+)-[^/-]+)")
_OCI_DOMAIN: Final = re.compile(r"(?:[A-Za-z0-9]+:)?([^:]+)")
"""The part before the colon differs for each tenancy."""


def text_of(body: bytes | None) -> str:
    """The word of a body; empty without one."""
    return "" if body is None else word(body.decode("ascii"))


def object_of(body: bytes) -> Mapping[str, object]:
    """The JSON object of a body.

    Raises:
        ValueError: it is something else.
    """
    try:
        document = json.loads(body)
    except RecursionError as error:
        raise ValueError("nests too deep") from error
    if not isinstance(document, dict):
        raise ValueError("no object")  # noqa: TRY004 - all wrong content alike
    return document


def _needed(text: str, what: str) -> str:
    if not text:
        raise ValueError(f"no {what}")
    return text


def _matched(pattern: re.Pattern[str], text: str, what: str) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if match is None:
        raise ValueError(f"no {what}")
    return match


def _aws(replies: Replies) -> HostLocation:
    document = object_of(replies["document"])
    return host_location(
        AWS,
        source_name(AWS),
        instance_type=_needed(word(document.get("instanceType")), "instance type"),
        region=word(document.get("region")),
        # Its letter means another place in each account; nothing is priced by it.
        zone=word(document.get("availabilityZone")),
        lifecycle=_AWS_LIFECYCLES.get(text_of(replies.get("life-cycle")), ""),
    )


def _gcp(replies: Replies) -> HostLocation:
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
    return host_location(
        GCP, source_name(GCP), instance_type=machine_type, region=region, zone=zone, lifecycle=lifecycle
    )


def _azure(replies: Replies) -> HostLocation:
    compute = object_of(replies["compute"])
    region = word(compute.get("location")).lower()
    zone = word(compute.get("zone") or "")
    return host_location(
        AZURE,
        source_name(AZURE),
        instance_type=_needed(word(compute.get("vmSize")), "VM size"),
        region=region,
        zone=f"{region}-{zone}" if zone else "",
        lifecycle=_AZURE_LIFECYCLES.get(word(compute.get("priority") or "").lower(), ""),
    )


def _oci(replies: Replies) -> HostLocation:
    # Some hosts send a single key with quotes, others without.
    texts = {name: text_of(body).removeprefix('"').removesuffix('"') for name, body in replies.items()}
    domain = texts.get("domain", "")
    return host_location(
        OCI,
        source_name(OCI),
        instance_type=_needed(texts["shape"], "shape"),
        region=texts.get("region", ""),
        zone=_matched(_OCI_DOMAIN, domain, "availability domain")[1] if domain else "",
    )


def _nebius(replies: Replies) -> HostLocation:
    data = object_of(replies["data"])
    platform = _needed(word(data.get("platform")), "platform")
    preset = _needed(word(data.get("preset")), "preset")
    return host_location(
        NEBIUS,
        source_name(NEBIUS),
        instance_type=f"{platform}_{preset}",
        region=word(data.get("region") or ""),
    )


SERVICES: Final[Mapping[str, MetadataService[HostLocation]]] = MappingProxyType(
    {
        service.cloud: service
        for service in (
            MetadataService(
                AWS,
                {
                    "document": MetadataRequest("/latest/dynamic/instance-identity/document"),
                    # Spot's own keys are there only once an instance is to be interrupted.
                    "life-cycle": MetadataRequest("/latest/meta-data/instance-life-cycle", optional=True),
                },
                _aws,
                # Its answer has a hop limit of 1 unless configured: in a bridged container it never arrives.
                token=Token(
                    "/latest/api/token",
                    {"X-aws-ec2-metadata-token-ttl-seconds": "60"},
                    "X-aws-ec2-metadata-token",
                ),
            ),
            MetadataService(
                GCP,
                {
                    "machine-type": MetadataRequest("/computeMetadata/v1/instance/machine-type"),
                    "zone": MetadataRequest("/computeMetadata/v1/instance/zone", optional=True),
                    "preemptible": MetadataRequest(
                        "/computeMetadata/v1/instance/scheduling/preemptible", optional=True
                    ),
                    "provisioning-model": MetadataRequest(
                        "/computeMetadata/v1/instance/scheduling/provisioning-model", optional=True
                    ),
                },
                _gcp,
                headers={"Metadata-Flavor": "Google"},
                echo=("metadata-flavor", "Google"),
            ),
            MetadataService(
                AZURE,
                {"compute": MetadataRequest("/metadata/instance/compute?api-version=2021-02-01&format=json")},
                _azure,
                headers={"Metadata": "true"},
            ),
            MetadataService(
                # Key by key: the whole object holds SSH keys and user data. No key says what is preemptible.
                OCI,
                {
                    "shape": MetadataRequest("/opc/v2/instance/shape"),
                    "region": MetadataRequest("/opc/v2/instance/canonicalRegionName", optional=True),
                    "domain": MetadataRequest("/opc/v2/instance/availabilityDomain", optional=True),
                },
                _oci,
                headers={"Authorization": "Bearer Oracle"},
            ),
            MetadataService(
                NEBIUS,
                {"data": MetadataRequest("/v1/instance-data")},
                _nebius,
                headers={"Metadata": "true"},
            ),
        )
    }
)
"""By the name of the cloud."""
