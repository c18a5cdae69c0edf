"""The patch that mounts the kubelet's socket: onto this DaemonSet, to be read, and nothing else."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from exporter.sources import kubernetes

FILE = Path(__file__).parents[2] / "deploy" / "kubernetes" / "pods-socket.yaml"
LISTS = {"containers": "name", "volumes": "name", "volumeMounts": "mountPath"}
"""What a strategic merge joins lists by (`patchMergeKey` in core/v1)."""

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def patch() -> Manifest:
    return dict(yaml.safe_load(FILE.read_text()))


def patched(manifest: Manifest, patch: Manifest) -> Manifest:
    """A manifest with a strategic merge patch."""
    out = dict(manifest)
    for key, value in patch.items():
        if key in LISTS:
            items = {item[LISTS[key]]: item for item in out.get(key, [])}
            for item in value:
                name = item[LISTS[key]]
                items[name] = patched(items.get(name, {}), item)
            out[key] = list(items.values())
        elif isinstance(value, dict) and key in out:
            out[key] = patched(out[key], value)
        else:
            out[key] = value
    return out


def test_the_folder_of_the_socket_is_mounted_to_be_read(
    patch: Manifest, manifests: dict[str, Manifest]
) -> None:
    """Beside what was there. A folder that is missing is not made: a kubelet makes its own."""
    before = copy.deepcopy(manifests["DaemonSet"]["spec"]["template"]["spec"])
    after = patched(before, patch["spec"]["template"]["spec"])
    folder = str(kubernetes.SOCKET.parent)
    mount = {"name": "pods-api", "mountPath": folder, "readOnly": True}
    volume = {"name": "pods-api", "hostPath": {"path": folder, "type": "Directory"}}

    assert after["containers"][0].pop("volumeMounts") == [*before["containers"][0]["volumeMounts"], mount]
    assert after.pop("volumes") == [*before["volumes"], volume]
    del before["containers"][0]["volumeMounts"], before["volumes"]
    assert after == before


@pytest.mark.parametrize("version", ["1.28", kubernetes_validate.latest_version()])
def test_kubernetes_accepts_the_daemonset_with_it(
    patch: Manifest, manifests: dict[str, Manifest], tmp_path: Path, version: str
) -> None:
    """Under the strict schemas of the oldest version supported and of the newest."""
    file = tmp_path / "daemonset.yaml"
    file.write_text(yaml.safe_dump(patched(manifests["DaemonSet"], patch)))
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "-k", version, str(file)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert result.returncode == 0, result.stdout + result.stderr


def test_the_line_that_applies_it_names_this_daemonset(manifests: dict[str, Manifest]) -> None:
    """And this file."""
    name, namespace = (manifests["DaemonSet"]["metadata"][key] for key in ("name", "namespace"))

    assert f"kubectl -n {namespace} patch daemonset {name} --patch-file {FILE.name}\n" in FILE.read_text()
