"""Every scenario of the chart, past both Helms, Kubernetes's schemas, the operator's and the exporter."""

import functools
import gzip
import json
import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from exporter.cli.arguments import VERBS, program
from exporter.config import parse
from tests.e2e.charts.chart import (
    CHART,
    HELMS,
    NAMESPACE,
    RELEASE,
    ROOT,
    SCENARIOS,
    Manifest,
    manifests,
    of,
    rendered,
    run,
    scenario,
    values,
)
from tests.nightly import daily

PREVIOUS = ROOT / "tests" / "deploy" / "values-previous-release.yaml"
RENDERED = ROOT / "tests" / "deploy" / "rendered-previous-release.yaml"
OPERATOR = {
    kind: json.loads((Path(__file__).parent / "operator" / f"{kind.lower()}.json").read_text())
    for kind in ("PodMonitor", "PrometheusRule", "SecurityContextConstraints", "ServiceMonitor")
}
"""Kinds that are not Kubernetes's own: the Prometheus operator's, and OpenShift's."""
NEWER = {"dra": "1.34"}
"""The first version of Kubernetes that has what a scenario needs."""
VERSIONS = tuple(
    version
    for version in dict.fromkeys(
        map(kubernetes_validate.utils.major_minor, kubernetes_validate.utils.all_versions())
    )
    if int(version.removeprefix("1.")) >= 28
)
OF_RELEASE = re.compile(r"/labels/(helm\.sh/chart|app\.kubernetes\.io/version)$")
"""Labels that each release changes."""
MOST_BYTES = 1024 * 1024
"""Of a ConfigMap, and of the Secret that Helm keeps a release in."""


@pytest.fixture(scope="module", autouse=True)
def _schemas_read_once() -> Any:
    """They are megabytes each, and the validator would read them for every document."""
    patch = pytest.MonkeyPatch()
    once = functools.cache(kubernetes_validate.utils.schema_contents)
    patch.setattr(kubernetes_validate.utils, "schema_contents", once)
    yield
    patch.undo()


@pytest.mark.parametrize("helm", daily(HELMS, {"helm-4"}))
@pytest.mark.parametrize("name", SCENARIOS)
def test_helm_finds_no_fault(helm: str, name: str) -> None:
    """Not even a warning."""
    process = run(helm, "lint", "--strict", "--values", str(scenario(name)), str(CHART))

    assert process.returncode == 0, process.stdout + process.stderr
    assert "[WARNING]" not in process.stdout


@pytest.mark.parametrize("name", SCENARIOS)
def test_both_helms_render_the_same(name: str) -> None:
    """Whichever one installs it."""
    assert of(name, "helm-3") == of(name, "helm-4")


def test_the_versions_are_those_that_are_supported() -> None:
    """From the oldest that the chart takes to the newest that there are schemas for, none left out."""
    assert VERSIONS[0] == "1.28"
    assert [int(version.removeprefix("1.")) for version in VERSIONS] == [*range(28, 28 + len(VERSIONS))]
    assert len(VERSIONS) >= 10
    assert 'kubeVersion: ">=1.28.0-0"' in (CHART / "Chart.yaml").read_text()
    assert f"Kubernetes {VERSIONS[0]} to {VERSIONS[-1]}" in (ROOT / "docs" / "install.md").read_text()


def test_kubernetes_accepts_what_is_rendered() -> None:
    """Each document of each scenario, once, under the strict schemas of each version."""
    since = {
        json.dumps(manifest): NEWER.get(name, "1.28")
        for name in sorted(SCENARIOS, key=lambda name: name not in NEWER)
        for manifest in of(name)
        if manifest["kind"] not in OPERATOR
    }

    assert len(since) > len(SCENARIOS)
    for version in VERSIONS:
        for text, first in since.items():
            if VERSIONS.index(version) >= VERSIONS.index(first):
                kubernetes_validate.validate(json.loads(text), version, strict=True)


def test_operators_accept_what_is_rendered() -> None:
    """What is of no kind of Kubernetes's own has only fields that there are, with values of their kind."""
    objects = [manifest for name in SCENARIOS for manifest in of(name) if manifest["kind"] in OPERATOR]

    assert {manifest["kind"] for manifest in objects} == set(OPERATOR)
    for manifest in objects:
        jsonschema.validate(manifest, OPERATOR[manifest["kind"]])


@pytest.mark.parametrize(
    ("kind", "key_path", "value"),
    [
        ("PodMonitor", ("spec", "podMetricsEndpoints", 0, "honourLabels"), True),
        ("PodMonitor", ("spec", "podMetricsEndpoints", 0, "interval"), "30 s"),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "severity"), "page"),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "for"), "15 minutes"),
        ("ServiceMonitor", ("spec", "endpoints", 0, "portNumber"), 9844),
        ("SecurityContextConstraints", ("runAsUser", "type"), "RunAsRoot"),
        ("SecurityContextConstraints", ("allowHostPid",), True),
    ],
)
def test_the_operators_schemas_notice_a_mistake(kind: str, key_path: tuple[Any, ...], value: Any) -> None:
    """A key that the API server would drop, and a duration that the operator cannot read."""
    objects = [each for name in ("monitoring", "kube-prometheus-stack", "openshift") for each in of(name)]
    manifest: Any = json.loads(json.dumps(next(each for each in objects if each["kind"] == kind)))
    inside = functools.reduce(lambda part, key: part[key], key_path[:-1], manifest)
    inside[key_path[-1]] = value

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest, OPERATOR[kind])


def configuration(objects: list[Manifest]) -> str | None:
    """What the exporter will read."""
    texts = [each["data"]["config.yaml"] for each in objects if "config.yaml" in each.get("data", {})]
    return texts[0] if texts else None


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_exporter_accepts_its_configuration(name: str) -> None:
    """Rendered from a mapping or from a text."""
    text = configuration(of(name))

    assert (text is None) == (name in {"existing", "demo"})
    if text is not None:
        parse(text.encode())


def test_a_configuration_keeps_its_numbers_and_dates() -> None:
    """Through Helm's own reading of YAML, which makes floats of all numbers."""
    config = parse((configuration(of("configured")) or "").encode())
    written = parse((configuration(of("text")) or "").encode())

    assert [float(budget.dollars_per_month) for budget in config.budgets] == [1_000_000.0]
    assert len(config.hardware) == 2
    assert "# reviewed by finance" in rendered("--values", str(scenario("text")))
    assert len(written.hardware) == 1


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_exporter_knows_its_arguments(name: str) -> None:
    """Each flag that the chart writes is one that the program has."""
    (container,) = (
        container
        for manifest in of(name)
        if manifest["kind"] in {"DaemonSet", "Deployment"}
        for container in manifest["spec"]["template"]["spec"]["containers"]
        if container["name"] == "exporter"
    )

    arguments = container["args"]
    chosen = program().parse_args(arguments if arguments[0] in VERBS else ["serve", *arguments])
    assert chosen.verb.words == ("demo" if name == "demo" else "serve")
    assert chosen.listen_address == f":{container['ports'][0]['containerPort']}"


@pytest.mark.parametrize("name", ["monitoring", "demo", "checked"])
def test_long_names_stay_names(name: str) -> None:
    """Kubernetes takes 63 characters for a label, a Service and a Job."""
    long = values(fullnameOverride="f" * 63, nameOverride="n" * 63)
    objects = manifests("--values", str(scenario(name)), *long)
    labels = [
        text
        for manifest in objects
        for part in (manifest, manifest["spec"].get("template", {}) if "spec" in manifest else {})
        for text in part.get("metadata", {}).get("labels", {}).values()
    ]

    assert max(map(len, labels)) <= 63
    short = [
        manifest for manifest in objects if manifest["kind"] in {"Service", "Job", "DaemonSet", "Deployment"}
    ]
    assert max(len(manifest["metadata"]["name"]) for manifest in short) <= 63
    assert max(len(manifest["metadata"]["name"]) for manifest in objects) <= 253


@pytest.mark.parametrize("helm", HELMS)
def test_the_values_of_the_release_before_still_render(helm: str, tmp_path: Path) -> None:
    """Whoever upgrades keeps their values; `--reuse-values` keeps even the defaults of then."""
    before = rendered("--values", str(PREVIOUS), helm=helm)
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    (chart / "values.yaml").write_text(PREVIOUS.read_text())
    reused = run(helm, "template", RELEASE, str(chart), "--namespace", NAMESPACE)

    assert "kind: DaemonSet" in before
    assert (reused.returncode, reused.stdout) == (0, before)


def leaves(part: Any, path: str = "") -> dict[str, Any]:
    """Each value of a document by its path; the items of a list by their names, where they have any."""
    if isinstance(part, dict):
        inner = part
    elif isinstance(part, list):
        inner = {
            each.get("name", each.get("key", index)) if isinstance(each, dict) else index: each
            for index, each in enumerate(part)
        }
    else:
        return {path: part}
    return {
        name: leaf for key, value in inner.items() for name, leaf in leaves(value, f"{path}/{key}").items()
    }


@pytest.mark.parametrize("helm", HELMS)
def test_an_upgrade_with_kept_values_changes_only_what_the_changelog_names(helm: str) -> None:
    """Each object stays what it was, but for added tolerations, variables and annotations of the pods."""
    before = {
        (each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(RENDERED.read_text())
    }
    after = {
        (each["kind"], each["metadata"]["name"]): each
        for each in manifests("--values", str(PREVIOUS), helm=helm)
    }
    changed: dict[str, set[str]] = {}
    for key, old in before.items():
        was, now = (
            {path: leaf for path, leaf in leaves(each).items() if not OF_RELEASE.search(path)}
            for each in (old, after[key])
        )
        assert was.keys() - now.keys() == set(), key
        assert {path for path in was if was[path] != now[path]} == set(), key
        if now.keys() - was.keys():
            changed[key[0]] = {path.removeprefix("/spec/template") for path in now.keys() - was.keys()}

    tolerations = {
        f"/spec/tolerations/{key}/{field}"
        for key in ("sku", "kubernetes.azure.com/scalesetpriority", "cloud.google.com/gke-spot")
        for field in ("key", "operator", "value", "effect")
    }
    variables = {
        f"/spec/containers/exporter/env/{name}/{field}"
        for name in ("POD_NAME", "POD_NAMESPACE")
        for field in ("name", "valueFrom/fieldRef/fieldPath")
    }
    annotations = {
        f"/metadata/annotations/cluster-autoscaler.kubernetes.io/{name}"
        for name in ("enable-ds-eviction", "safe-to-evict")
    }
    assert changed == {"DaemonSet": tolerations | variables | annotations, "Job": tolerations}
    new = {key for key in after if key not in before and key[0] not in OPERATOR}
    assert {kind for kind, _ in new} == {"ConfigMap"}  # the dashboards, which are not kept there


def test_a_release_fits_into_its_secret() -> None:
    """Helm keeps chart and manifests in one Secret, compressed; no ConfigMap is near the limit either."""
    manifest = rendered("--values", str(scenario("monitoring")))
    chart = "".join(file.read_text() for file in sorted(CHART.rglob("*")) if file.is_file())
    parts = [len(json.dumps(document)) for document in of("monitoring") if document["kind"] == "ConfigMap"]

    assert len(gzip.compress((manifest + chart).encode())) * 4 // 3 < MOST_BYTES // 2
    assert max(parts) < MOST_BYTES // 4
