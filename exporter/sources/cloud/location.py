"""What firmware, metadata and a node's labels come to. Pure.

Configuration, firmware, metadata, labels: what one of them tells, none of those behind it changes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from exporter.readings import HostLocation, NodeLabels
from exporter.sources.cloud.metadata import (
    AWS,
    AZURE,
    GCP,
    NEBIUS,
    OCI,
    ON_DEMAND,
    SPOT,
    host_location,
    source_name,
    word,
)

SOURCE: Final = "node labels"

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
"""How labels begin that one cloud's nodes have. Well-known ones alone name no cloud: flavors of private
clouds are called g1.large too."""

INSTANCE_TYPE: Final = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
REGION: Final = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
ZONE: Final = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
NEBIUS_PRESET: Final = "nebius.com/resource-preset"
"""Beside it the instance type is the platform alone."""

LIFECYCLES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "karpenter.sh/capacity-type": {"on-demand": ON_DEMAND, "spot": SPOT},
        "eks.amazonaws.com/capacitytype": {"on_demand": ON_DEMAND, "spot": SPOT},
        "cloud.google.com/gke-provisioning": {"standard": ON_DEMAND, "spot": SPOT, "preemptible": SPOT},
        "cloud.google.com/gke-spot": {"true": SPOT},
        "cloud.google.com/gke-preemptible": {"true": SPOT},
        "kubernetes.azure.com/scalesetpriority": {"regular": ON_DEMAND, "spot": SPOT},
        "nebius.com/preemptible": {"true": SPOT},
    }
)
"""In lower case. Reserved capacity is paid otherwise: unknown."""


def location_of_labels(labels: Mapping[str, str], cloud: str = "") -> HostLocation:
    """The place that a node's labels tell; an empty one where they contradict each other or are no words.

    `cloud` is the one that is known otherwise, for labels that no cloud has signed.
    """
    clouds = {signed for label in labels for start, signed in SIGNS if label.startswith(start)}
    if not clouds and cloud and any(name in labels for name in (*INSTANCE_TYPE, *REGION, *ZONE)):
        clouds = {cloud}
    if len(clouds) != 1:
        return HostLocation()
    (cloud,) = clouds
    try:
        instance_type, zone = _first(labels, INSTANCE_TYPE), _first(labels, ZONE)
        if cloud == NEBIUS:
            preset = _first(labels, (NEBIUS_PRESET,))
            instance_type = f"{instance_type}_{preset}" if instance_type and preset else ""
        return host_location(
            cloud,
            SOURCE,
            instance_type=instance_type,
            region=_first(labels, REGION),
            zone="" if zone.isdigit() else zone,  # Azure's fault domain, where there are no zones
            lifecycle=_lifecycle(labels),
        )
    except ValueError:
        return HostLocation()


def _first(labels: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((word(labels[name]) for name in names if name in labels), "")


def _lifecycle(labels: Mapping[str, str]) -> str:
    lifecycles = set(_lifecycles(labels))
    return lifecycles.pop() if len(lifecycles) == 1 else ""


def _lifecycles(labels: Mapping[str, str]) -> Iterator[str]:
    for label, value in labels.items():
        meaning = LIFECYCLES.get(label.lower())
        if meaning is not None:
            yield meaning.get(value.lower(), "")


FIELDS = ("cloud", "instance_type", "region", "zone", "lifecycle")


def located(host_location: HostLocation, labels: NodeLabels | None) -> tuple[HostLocation, str]:
    """A place that firmware and metadata told, with what a node's labels add; `None` could not be read.

    Labels fill what is empty. Where they name another cloud or instance type they fill nothing, and the text
    says so; else it is empty.
    """
    labeled = location_of_labels(dict(labels or ()), host_location.cloud)
    labeled_location = replace(host_location, node_labels=labels)
    for what, reported, label in (
        ("in", host_location.cloud, labeled.cloud),
        ("a", host_location.instance_type, labeled.instance_type),
    ):
        if reported and label and reported.casefold() != label.casefold():
            return (
                labeled_location,
                f"the node's labels say {what} {label}, {host_location.source} says {what} {reported}",
            )
    if labeled.lifecycle == ON_DEMAND and host_location.source == source_name(host_location.cloud):
        # A service that answered and named no lifecycle knows of one that is neither on demand nor spot.
        labeled = replace(labeled, lifecycle="")
    added = {
        field: getattr(labeled, field)
        for field in FIELDS
        if getattr(labeled, field) and not getattr(host_location, field)
    }
    if not added:
        return labeled_location, ""
    return replace(
        labeled_location, **added, source=", ".join(filter(None, (host_location.source, SOURCE)))
    ), ""
