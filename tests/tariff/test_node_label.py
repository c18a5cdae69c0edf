"""A rule that goes by labels of the node."""

from dataclasses import replace
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from exporter.readings import Gpu, HostLocation, NodeLabels
from exporter.tariff.calendar import month_of
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware, HardwareMatch, Rented, RentPrice

NOW = 1_795_564_800 * 10**9  # 2026-11-25
MONTH = month_of(NOW, ZoneInfo("UTC"))
H100 = Gpu("GPU-0", "NVIDIA H100 80GB HBM3")
NODE = HostLocation(node_labels=(("example.com/billing", "lease-2026"), ("node-role.kubernetes.io/gpu", "")))


def priced(location: HostLocation, *patterns: tuple[str, str], **match: str) -> bool:
    rule = Hardware(HardwareMatch(**match, node_label=patterns), Rented((RentPrice(Decimal(2)),)), "x")
    return Tariff("h", (rule,), location=location).price(H100, NOW, MONTH, 8).priced


@pytest.mark.parametrize(
    ("patterns", "matches"),
    [
        ((("example.com/billing", "lease-2026"),), True),
        ((("example.com/billing", "lease-*"),), True),
        ((("example.com/billing", "*"),), True),
        ((("example.com/billing", "lease"),), False),
        ((("example.com/billing", "Lease-2026"),), False),
        ((("node-role.kubernetes.io/gpu", ""),), True),
        ((("node-role.kubernetes.io/gpu", "*"),), True),
        ((("node-role.kubernetes.io/gpu", "?*"),), False),
        ((("example.com/team", "*"),), False),
        ((("example.com/billing", "*"), ("node-role.kubernetes.io/gpu", "")), True),
        ((("example.com/billing", "*"), ("example.com/team", "*")), False),
        ((), True),
    ],
)
def test_each_label_has_to_be_there_and_to_match(
    patterns: tuple[tuple[str, str], ...], *, matches: bool
) -> None:
    """A label that is not there is not one with an empty value."""
    assert priced(NODE, *patterns) is matches


@pytest.mark.parametrize("labels", [(), None])
def test_a_host_without_labels_is_not_matched(labels: NodeLabels | None) -> None:
    """Whatever the pattern."""
    assert not priced(replace(NODE, node_labels=labels), ("example.com/billing", "*"))


def test_the_other_patterns_count_as_well() -> None:
    """All that are given must match."""
    assert priced(NODE, ("example.com/billing", "*"), gpu_model="*H100*")
    assert not priced(NODE, ("example.com/billing", "*"), gpu_model="*L4*")
