"""A pod's service account, found by what Kubernetes puts into a pod."""

from pathlib import Path

import pytest

from exporter.sources.kubernetes import ServiceAccount, account

IN_A_POD = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "6443", "NODE_NAME": "gpu-1"}


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("secret")
    return tmp_path


def test_a_pod_with_a_token_has_an_account(mount: Path) -> None:
    """The address is the one that the kubelet puts into each pod."""
    expected = ServiceAccount("https://10.96.0.1:6443", "gpu-1", mount / "token", mount / "ca.crt")
    assert expected == account(IN_A_POD, mount)


def test_an_address_of_ipv6_stands_in_brackets(mount: Path) -> None:
    """As a URL has it; without a port it is that of https."""
    account_found = account({"KUBERNETES_SERVICE_HOST": "fd00:10:96::1", "NODE_NAME": "gpu-1"}, mount)
    assert account_found is not None
    assert account_found.server == "https://[fd00:10:96::1]:443"


def test_the_node_may_be_unknown(mount: Path) -> None:
    """That nobody set NODE_NAME is told when it is asked for."""
    account_found = account({**IN_A_POD, "NODE_NAME": ""}, mount)
    assert account_found is not None
    assert account_found.node == ""


@pytest.mark.parametrize("environ", [{}, {"NODE_NAME": "gpu-1"}, {"KUBERNETES_SERVICE_HOST": ""}])
def test_outside_a_cluster_there_is_none(environ: dict[str, str], mount: Path) -> None:
    """Whatever lies on the disk."""
    assert account(environ, mount) is None


def test_a_pod_without_a_token_has_none(tmp_path: Path) -> None:
    """`automountServiceAccountToken: false` leaves the folder out."""
    assert account(IN_A_POD, tmp_path / "none") is None
