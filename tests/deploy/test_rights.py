"""The opt-in roles: valid for Kubernetes, for the one account, and no wider than what is asked."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from exporter.sources.kubernetes import source
from exporter.sources.kubernetes.api import RIGHT

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
RIGHTS = {
    "node-labels.yaml": [yaml.safe_load(RIGHT)],
    "pods.yaml": [yaml.safe_load(source.RIGHTS[source.KUBELET])],
    "pods-api-server.yaml": [yaml.safe_load(source.RIGHTS[source.API_SERVER])],
}
"""Each file with the rules that it grants."""

Manifest = dict[str, Any]


def documents(name: str) -> dict[str, Manifest]:
    """The documents of a file by kind."""
    return {manifest["kind"]: manifest for manifest in yaml.safe_load_all((KUBERNETES / name).read_text())}


@pytest.mark.parametrize("name", RIGHTS)
@pytest.mark.parametrize("version", ["1.28", kubernetes_validate.latest_version()])
def test_kubernetes_accepts_the_roles(name: str, version: str) -> None:
    """Under the strict schemas of the oldest version supported and of the newest."""
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "-k", version, str(KUBERNETES / name)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert result.returncode == 0, result.stdout + result.stderr
    assert (result.stdout + result.stderr).count("passed for resource") == 2


@pytest.mark.parametrize(("name", "rules"), RIGHTS.items())
def test_the_role_allows_what_is_asked_and_nothing_else(name: str, rules: list[Manifest]) -> None:
    """No list, no watch, and never `nodes/proxy`, by which one may run commands in pods."""
    role = documents(name)["ClusterRole"]

    assert role["rules"] == rules


@pytest.mark.parametrize("name", RIGHTS)
def test_the_role_is_bound_to_the_exporters_account(name: str, manifests: dict[str, Manifest]) -> None:
    """To that of the DaemonSet, and to nobody else."""
    manifest = documents(name)
    account = manifests["ServiceAccount"]["metadata"]
    binding = manifest["ClusterRoleBinding"]

    assert binding["roleRef"]["name"] == manifest["ClusterRole"]["metadata"]["name"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    ]


@pytest.mark.parametrize("file", RIGHTS)
def test_the_line_that_mounts_the_token_is_one_of_this_daemonset(
    manifests: dict[str, Manifest], file: str
) -> None:
    """The comment's patch names the DaemonSet and sets the key that the file has."""
    text = (KUBERNETES / file).read_text()
    name, namespace = (manifests["DaemonSet"]["metadata"][key] for key in ("name", "namespace"))

    assert f"kubectl -n {namespace} patch daemonset {name} " in text
    assert '{"spec":{"template":{"spec":{"automountServiceAccountToken":true}}}}' in text
