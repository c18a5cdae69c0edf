"""The Helm chart, rendered by both generations of Helm, which come by `make e2e`."""

import functools
import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy" / "helm" / "inference-cost-exporter"
PROGRAMS = ROOT / ".cache" / "charts" / "programs"
IMAGE = ("--values", str(Path(__file__).parent / "image-values.yaml"))
"""Before other values, which may say another."""
HELMS = ("helm-3", "helm-4")
SCENARIOS = tuple(sorted(file.name.removesuffix("-values.yaml") for file in CHART.glob("ci/*-values.yaml")))
RELEASE = "inference-cost-exporter"
NAMESPACE = "inference-cost"

Manifest = dict[str, Any]


def scenario(name: str) -> Path:
    """The values of one scenario."""
    return CHART / "ci" / f"{name}-values.yaml"


def run(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """One program of those that `tools/charts` brings.

    Raises:
        FileNotFoundError: they are not here; the message says what brings them.
    """
    path = PROGRAMS / program
    if not path.exists():
        raise FileNotFoundError(f"no {program}: run the end-to-end tests with `make e2e`")
    return subprocess.run([path, *arguments], capture_output=True, text=True, timeout=60, check=False)


@functools.cache
def rendered(*arguments: str, helm: str = "helm-4") -> str:
    """What the chart comes to with these arguments of `helm template`."""
    # A scenario names the image itself, so that whoever takes its file alone can render it.
    image = () if any(str(CHART / "ci") in argument for argument in arguments) else IMAGE
    process = run(helm, "template", RELEASE, str(CHART), "--namespace", NAMESPACE, *image, *arguments)
    assert process.returncode == 0, process.stderr
    return process.stdout


@functools.cache
def documents(*arguments: str, helm: str = "helm-4") -> tuple[Manifest, ...]:
    """The same, parsed, in the order of kinds and names; shared, so that nobody may change them."""
    text = rendered(*arguments, helm=helm)
    objects = [manifest for manifest in yaml.load_all(text, Loader=yaml.CSafeLoader) if manifest]
    return tuple(sorted(objects, key=lambda manifest: (manifest["kind"], manifest["metadata"]["name"])))


def manifests(*arguments: str, helm: str = "helm-4") -> list[Manifest]:
    """The documents that the chart comes to."""
    return list(documents(*arguments, helm=helm))


def of(name: str, helm: str = "helm-4") -> list[Manifest]:
    """The documents of a scenario."""
    return manifests("--values", str(scenario(name)), helm=helm)


def values(**settings: Any) -> tuple[str, ...]:
    """The arguments for some values, each a key of the first level."""
    pairs = (f"{key}={json.dumps(value)}" for key, value in settings.items())
    return tuple(argument for pair in pairs for argument in ("--set-json", pair))


def only(kind: str, objects: list[Manifest]) -> Manifest:
    """The one document of a kind."""
    (match,) = (document for document in objects if document["kind"] == kind)
    return match


def pod_of(objects: list[Manifest]) -> Manifest:
    """The pod of the one DaemonSet."""
    spec: Manifest = only("DaemonSet", objects)["spec"]["template"]["spec"]
    return spec


def container_of(objects: list[Manifest]) -> Manifest:
    """The exporter's container in it."""
    (container,) = (each for each in pod_of(objects)["containers"] if each["name"] == "exporter")
    return dict(container)


def pods_of(objects: list[Manifest]) -> list[Manifest]:
    """The pods of everything that runs one."""
    kinds = {"DaemonSet", "Deployment", "Job"}
    return [each["spec"]["template"]["spec"] for each in objects if each["kind"] in kinds]


def refused(helm: str, *arguments: str) -> str:
    """What Helm says of values that it refuses."""
    process = run(helm, "template", RELEASE, str(CHART), "--namespace", NAMESPACE, *IMAGE, *arguments)
    assert process.returncode != 0, "these values are taken"
    return process.stderr
