"""deploy/kubernetes: what the chart renders, and what kustomize makes of it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.e2e.charts.chart import ROOT, Manifest, container_of, manifests, only, pod_of, run, values

PLAIN = ROOT / "deploy" / "kubernetes"


def kustomized(folder: Path) -> list[Manifest]:
    """What `kubectl apply -k` would send."""
    process = run("kubectl", "kustomize", str(folder))
    assert process.returncode == 0, process.stderr
    return list(yaml.safe_load_all(process.stdout))


@pytest.fixture
def opened(tmp_path: Path) -> Path:
    """A copy of the folder in which nothing of kustomization.yaml is commented."""
    folder = tmp_path / "kubernetes"
    shutil.copytree(PLAIN, folder)
    file = folder / "kustomization.yaml"
    text = (
        file.read_text().replace("  # - ", "  - ").replace("# patches:", "patches:").replace("#   - ", "  - ")
    )
    file.write_text(text)
    return folder


def test_the_files_are_those_that_the_chart_renders() -> None:
    """And the copies in the chart are those of the files."""
    process = subprocess.run(
        [sys.executable, "deploy/helm/generate.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (process.returncode, process.stdout) == (0, "")


def test_kustomize_makes_the_daemonset_of_the_folder() -> None:
    """As it is, without anything else."""
    objects = kustomized(PLAIN)

    assert sorted(manifest["kind"] for manifest in objects) == [
        "ConfigMap",
        "DaemonSet",
        "Namespace",
        "ServiceAccount",
    ]
    applied = [
        manifest for manifest in yaml.safe_load_all((PLAIN / "daemonset.yaml").read_text()) if manifest
    ]
    assert sorted(map(str, objects)) != []
    assert {manifest["kind"]: manifest for manifest in objects} == {
        manifest["kind"]: manifest for manifest in applied
    }


def test_every_commented_line_works(opened: Path) -> None:
    """Each file that the kustomization names is there, and each patch finds the DaemonSet."""
    objects = kustomized(opened)
    named = yaml.safe_load((opened / "kustomization.yaml").read_text())

    assert {file.name for file in PLAIN.glob("*.yaml")} == {
        *named["resources"],
        *(patch["path"] for patch in named["patches"]),
        "kustomization.yaml",
        "demo.yaml",
    }
    assert [manifest["kind"] for manifest in objects].count("ClusterRole") == 3
    assert only("PodMonitor", objects)["metadata"]["namespace"] == "inference-cost"


def test_the_patches_make_what_the_chart_makes(opened: Path) -> None:
    """The token and the socket, mounted by kustomize as the values of the chart mount them."""
    patched = kustomized(opened)
    chart = [
        manifests(*values(access={"podLookup": lookup, "nodeLabels": True}))
        for lookup in ("kubelet", "socket")
    ]

    for rendered_objects in chart:
        assert (
            pod_of(patched)["automountServiceAccountToken"]
            is pod_of(rendered_objects)["automountServiceAccountToken"]
        )
    for key, of in (("volumes", pod_of), ("volumeMounts", container_of)):
        names = [sorted(of(rendered_objects)[key], key=str) for rendered_objects in (patched, chart[1])]
        assert names[0] == names[1]


def test_an_overlay_changes_image_and_configuration(tmp_path: Path) -> None:
    """As docs/kubernetes.md shows it: the ConfigMap keeps its name, so that a change restarts nothing."""
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    shown = page.partition("```yaml\n# deploy/mine/kustomization.yaml\n")[2].partition("```")[0]
    shutil.copytree(PLAIN, tmp_path / "kubernetes")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text(shown)
    (folder / "config.yaml").write_text("interval: 5s\n")
    objects = kustomized(folder)

    assert only("ConfigMap", objects)["metadata"]["name"] == "inference-cost-exporter"
    assert only("ConfigMap", objects)["data"] == {"config.yaml": "interval: 5s\n"}
    assert container_of(objects)["image"].startswith("registry.example/")
