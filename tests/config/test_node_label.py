"""Labels of the node as rules of `hardware` match them, and how Kubernetes spells them."""

from pathlib import Path

import pytest

from exporter.config import load, parse
from exporter.config.kubernetes import is_label_name, is_label_value, is_node_name
from exporter.config.settings import PodLabels
from exporter.tariff.terms import HardwareMatch

GOOD = Path(__file__).parents[1] / "configs" / "good-node-label.yaml"


def test_labels_and_their_patterns_are_taken_as_written() -> None:
    """`true` is a word here, since the values of labels are; an empty pattern is the empty value."""
    first, second = load(GOOD).hardware

    assert first.match == HardwareMatch(
        node_label=(
            ("example.com/billing", "lease"),
            ("node-role.kubernetes.io/gpu", ""),
            ("cloud.google.com/gke-spot", "true"),
        )
    )
    assert second.match == HardwareMatch(
        gpu_model="*H100*", node_label=(("eks.amazonaws.com/nodegroup", "h100-[ab]*"), ("pool", "*"))
    )


@pytest.mark.parametrize(
    ("text", "cloud", "kubernetes"),
    [
        (b"", "auto", "auto"),
        (b"discovery: {kubernetes: off}\n", "auto", "off"),
        (b"discovery: {cloud: off}\n", "off", "auto"),
    ],
)
def test_cloud_and_cluster_are_asked_apart(text: bytes, cloud: str, kubernetes: str) -> None:
    """One may be switched off without the other."""
    config = parse(text)

    assert (config.cloud, config.kubernetes) == (cloud, kubernetes)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("pool", True),
        ("a", True),
        ("A_b.C-9", True),
        ("example.com/pool", True),
        ("x" * 63, True),
        (f"{'a' * 253}/pool", True),
        ("x" * 64, False),
        (f"{'a' * 254}/pool", False),
        ("", False),
        ("/pool", False),
        ("example.com/", False),
        ("a/b/c", False),
        ("Example.com/pool", False),
        ("example..com/pool", False),
        ("-pool", False),
        ("pool-", False),
        ("pool\n", False),
        ("pööl", False),
    ],
)
def test_names_of_labels_are_those_that_kubernetes_takes(text: str, *, good: bool) -> None:
    """A prefix of 253 characters at most, a name of 63."""
    assert is_label_name(text) is good


@pytest.mark.parametrize(
    ("text", "good"),
    [("", True), ("x" * 63, True), ("A_b.C-9", True), ("x" * 64, False), ("a b", False), ("a\n", False)],
)
def test_values_of_labels_are_those_that_kubernetes_takes(text: str, *, good: bool) -> None:
    """The empty one is one."""
    assert is_label_value(text) is good


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("gpu-1", True),
        ("ip-10-0-1-23.ec2.internal", True),
        ("x" * 254, False),
        ("GPU", False),
        ("a/b", False),
    ],
)
def test_names_of_nodes_are_those_of_dns(text: str, *, good: bool) -> None:
    """In lower case."""
    assert is_node_name(text) is good


def test_pods_are_asked_for_as_told() -> None:
    """And who pays is read from the labels that are named; none from an empty name."""
    config = parse(
        b'ownership: {pod_labels: {product: example.com/product, team: ""}}\n'
        b"discovery: {kubernetes: kubelet, kubelet_ca_file: /etc/kubernetes/kubelet-ca.pem}\n"
    )

    assert config.pod_labels == PodLabels("example.com/product", "")
    assert (config.kubernetes, config.kubelet_ca_file) == ("kubelet", Path("/etc/kubernetes/kubelet-ca.pem"))


@pytest.mark.parametrize(
    "text",
    [b"", b"ownership: {pod_labels: {team: team}}\n", b"ownership: {rules: [{product: chat}]}\n"],
)
def test_pods_say_who_pays_without_being_told_to(text: bytes) -> None:
    """By the labels that charts commonly set."""
    config = parse(text)

    assert config.pod_labels == PodLabels("app.kubernetes.io/part-of", "team")
    assert config.kubelet_ca_file is None
