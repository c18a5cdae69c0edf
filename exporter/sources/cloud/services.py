"""What each cloud's metadata service is asked, and how its answers are understood.

Only what prices an hour is asked for: never a recursive root, never attributes, user data or credentials.
"""

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from exporter.readings import Place
from exporter.sources.cloud.metadata import Question, Service, Token, source_name
from exporter.sources.cloud.spelling import AWS, AZURE, GCP, NEBIUS, OCI, ON_DEMAND, SPOT, place, word

Told = Mapping[str, bytes]

_AWS_LIFECYCLES: Final = {"on-demand": ON_DEMAND, "spot": SPOT}
"""`scheduled` and `capacity-block` are paid otherwise: unknown."""

_AZURE_LIFECYCLES: Final = {"regular": ON_DEMAND, "spot": SPOT, "low": SPOT}
_GCP_MODELS: Final = {"STANDARD": ON_DEMAND, "SPOT": SPOT}
"""Other provisioning models, such as `FLEX_START`, have prices of their own: unknown."""

_GCP_MACHINE_TYPE: Final = re.compile(r"projects/[^/]+/machineTypes/([^/]+)")
_GCP_ZONE: Final = re.compile(r"projects/[^/]+/zones/(([^/]+)-[^/-]+)")
_OCI_DOMAIN: Final = re.compile(r"(?:[A-Za-z0-9]+:)?([^:]+)")
"""The part before the colon is another for each tenancy."""


def _text(body: bytes | None) -> str:
    return "" if body is None else word(body.decode("ascii"))


def _object(body: bytes) -> Mapping[str, object]:
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


def _aws(told: Told) -> Place:
    document = _object(told["document"])
    return place(
        AWS,
        source_name(AWS),
        instance_type=_needed(word(document.get("instanceType")), "instance type"),
        region=word(document.get("region")),
        # Its letter means another place in each account; nothing is priced by it.
        zone=word(document.get("availabilityZone")),
        lifecycle=_AWS_LIFECYCLES.get(_text(told.get("life-cycle")), ""),
    )


def _gcp(told: Told) -> Place:
    machine_type = _matched(_GCP_MACHINE_TYPE, _text(told["machine-type"]), "machine type")[1]
    zone = region = ""
    if "zone" in told:
        zone, region = _matched(_GCP_ZONE, _text(told["zone"]), "zone").groups()
    model = _text(told.get("provisioning-model"))
    preemptible = _text(told.get("preemptible"))
    if preemptible == "TRUE":  # Spot VMs say so too
        lifecycle = SPOT
    elif model:
        lifecycle = _GCP_MODELS.get(model, "")
    else:
        lifecycle = ON_DEMAND if preemptible == "FALSE" else ""
    return place(
        GCP, source_name(GCP), instance_type=machine_type, region=region, zone=zone, lifecycle=lifecycle
    )


def _azure(told: Told) -> Place:
    compute = _object(told["compute"])
    region = word(compute.get("location")).lower()
    zone = word(compute.get("zone") or "")
    return place(
        AZURE,
        source_name(AZURE),
        instance_type=_needed(word(compute.get("vmSize")), "VM size"),
        region=region,
        zone=f"{region}-{zone}" if zone else "",
        lifecycle=_AZURE_LIFECYCLES.get(word(compute.get("priority") or "").lower(), ""),
    )


def _oci(told: Told) -> Place:
    # A single key is told with quotes by some hosts, and without by others.
    texts = {name: _text(body).removeprefix('"').removesuffix('"') for name, body in told.items()}
    domain = texts.get("domain", "")
    return place(
        OCI,
        source_name(OCI),
        instance_type=_needed(texts["shape"], "shape"),
        region=texts.get("region", ""),
        zone=_matched(_OCI_DOMAIN, domain, "availability domain")[1] if domain else "",
    )


def _nebius(told: Told) -> Place:
    data = _object(told["data"])
    platform = _needed(word(data.get("platform")), "platform")
    preset = _needed(word(data.get("preset")), "preset")
    return place(
        NEBIUS,
        source_name(NEBIUS),
        instance_type=f"{platform}_{preset}",
        region=word(data.get("region") or ""),
    )


SERVICES: Final[Mapping[str, Service]] = MappingProxyType(
    {
        service.cloud: service
        for service in (
            Service(
                AWS,
                {
                    "document": Question("/latest/dynamic/instance-identity/document"),
                    # Spot's own keys are there only once an instance is to be interrupted.
                    "life-cycle": Question("/latest/meta-data/instance-life-cycle", optional=True),
                },
                _aws,
                # Its answer has a hop limit of 1 unless configured: in a bridged container it never arrives.
                token=Token(
                    "/latest/api/token",
                    {"X-aws-ec2-metadata-token-ttl-seconds": "60"},
                    "X-aws-ec2-metadata-token",
                ),
            ),
            Service(
                GCP,
                {
                    "machine-type": Question("/computeMetadata/v1/instance/machine-type"),
                    "zone": Question("/computeMetadata/v1/instance/zone", optional=True),
                    "preemptible": Question(
                        "/computeMetadata/v1/instance/scheduling/preemptible", optional=True
                    ),
                    "provisioning-model": Question(
                        "/computeMetadata/v1/instance/scheduling/provisioning-model", optional=True
                    ),
                },
                _gcp,
                headers={"Metadata-Flavor": "Google"},
                echo=("metadata-flavor", "Google"),
            ),
            Service(
                AZURE,
                {"compute": Question("/metadata/instance/compute?api-version=2021-02-01&format=json")},
                _azure,
                headers={"Metadata": "true"},
            ),
            Service(
                # Key by key: the whole object holds SSH keys and user data. No key says what is preemptible.
                OCI,
                {
                    "shape": Question("/opc/v2/instance/shape"),
                    "region": Question("/opc/v2/instance/canonicalRegionName", optional=True),
                    "domain": Question("/opc/v2/instance/availabilityDomain", optional=True),
                },
                _oci,
                headers={"Authorization": "Bearer Oracle"},
            ),
            Service(
                NEBIUS,
                {"data": Question("/v1/instance-data")},
                _nebius,
                headers={"Metadata": "true"},
            ),
        )
    }
)
"""By the name of the cloud."""
