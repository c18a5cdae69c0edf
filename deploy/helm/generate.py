"""Write what is copied into the chart, and deploy/kubernetes, which is rendered from it.

`python deploy/helm/generate.py` after `tools/charts`; `--check` writes nothing and reports stale files, and
`--copies` leaves out what needs helm.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.generated import flags, update

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "deploy" / "helm" / "inference-cost-exporter"
PLAIN: Final = ROOT / "deploy" / "kubernetes"
HELM: Final = ROOT / ".cache" / "charts" / "programs" / "helm-4"

NAMESPACE: Final = "inference-cost"

HELMS_OWN: Final = re.compile(
    r"^# Source: .*\n|^ *(helm\.sh/chart|app\.kubernetes\.io/(instance|managed-by)): .*\n", re.MULTILINE
)
"""Where a document comes from, and labels that are true of a release only."""

PATCH: Final = """\
# The token has to be mounted as well: token.yaml does it by kustomize, and without that:
#   kubectl -n inference-cost patch daemonset inference-cost-exporter \\
#     -p '{"spec":{"template":{"spec":{"automountServiceAccountToken":true}}}}'
"""

NAMESPACED: Final = """\
---
apiVersion: v1
kind: Namespace
metadata:
  name: inference-cost
  labels:
    app.kubernetes.io/name: inference-cost-exporter
    # hostPID and hostPath are beyond the baseline standard. No container here is privileged.
    pod-security.kubernetes.io/enforce: privileged
    pod-security.kubernetes.io/audit: privileged
    pod-security.kubernetes.io/warn: privileged
"""


@dataclass(frozen=True, slots=True)
class Plain:
    """A file of deploy/kubernetes: what stands above it, the templates that it is of, and their values."""

    top: str
    templates: tuple[str, ...]
    values: tuple[str, ...] = ()
    placed: bool = True
    """Whether it names its namespace."""


FILES: Final = {
    "daemonset.yaml": Plain(
        f"""\
# The Inference Cost Exporter on every GPU node: kubectl apply -f daemonset.yaml
#
# The image is the one that tools/docker-image registry.example/inference-cost-exporter pushes.
# Name yours below, or by kustomization.yaml.
# Nodes without NVIDIA's gpu-operator: see the comments at runtimeClassName and affinity.
# Prometheus with the operator scrapes it by podmonitor.yaml; otherwise see deploy/prometheus/prometheus.yml.
{NAMESPACED}""",
        ("serviceaccount", "configmap", "daemonset"),
    ),
    "node-labels.yaml": Plain(
        f"""\
# Lets the exporter read the labels of its node: kubectl apply -f daemonset.yaml -f node-labels.yaml
#
# Only where they are used: for prices by `match: {{node_label: ...}}`, or for instance type, region and
# lifecycle where pods do not reach the cloud's metadata service.
{PATCH}""",
        ("rbac-node-labels",),
        ("access.nodeLabels=true",),
    ),
    "pods.yaml": Plain(
        f"""\
# Lets the exporter ask its node's kubelet for the pods there: kubectl apply -f daemonset.yaml -f pods.yaml
#
# Their names, labels, annotations, addresses and owners say which server a process belongs to and who pays.
# Kubernetes 1.33 and later know this right (KubeletFineGrainedAuthz). Older kubelets ask for nodes/proxy,
# by which one may run commands in any pod of the node: do not grant it, take pods-api-server.yaml instead.
# Kubelets of 1.37 and later offer the same by a socket: pods-socket.yaml, which needs no role and no token.
{PATCH}""",
        ("rbac-pods",),
        ("access.podLookup=kubelet",),
    ),
    "pods-api-server.yaml": Plain(
        f"""\
# Lets the exporter list the pods of its node from the API server, where the kubelet does not serve them:
#   kubectl apply -f daemonset.yaml -f pods-api-server.yaml
#
# The right is wider than that of pods.yaml: it covers the pods of all nodes, since RBAC knows no nodes.
# The exporter asks for those of its own node alone, every 20 seconds, from the API server's memory.
{PATCH}""",
        ("rbac-pods",),
        ("access.podLookup=apiServer",),
    ),
    "podmonitor.yaml": Plain(
        """\
# For the Prometheus operator.
# Many operators pick up only monitors with a label of their own, like release: kube-prometheus-stack.
""",
        ("podmonitor",),
        ("podMonitor.enabled=true",),
    ),
    "demo.yaml": Plain(
        """\
# A simulated host of 8 GPUs, which needs no GPU and no rights: kubectl apply -f demo.yaml
#   kubectl port-forward service/inference-cost-exporter-demo 9844
# The image is the one that tools/docker-image registry.example/inference-cost-exporter pushes.
# Name yours below.
# Its dollars are invented; keep its series out of the Prometheus that sums up a fleet.
""",
        ("demo",),
        ("demo.enabled=true",),
        placed=False,
    ),
}


def copies() -> Iterator[tuple[Path, str]]:
    """The files that the chart carries, from where they are written: it reaches nothing outside itself."""
    for folder, pattern in (("deploy/prometheus", "*-rules.yml"), ("dashboards", "*.json")):
        for file in sorted((ROOT / folder).glob(pattern)):
            target = "rules" if file.suffix == ".yml" else "dashboards"
            yield CHART / "files" / target / file.name, file.read_text(encoding="utf-8")


def rendered(plain: Plain) -> str:
    """One file of deploy/kubernetes."""
    command = [str(HELM), "template", "inference-cost-exporter", str(CHART), "--namespace", NAMESPACE]
    command += ["--values", str(ROOT / "deploy" / "helm" / "plain-values.yaml")]
    for template in plain.templates:
        command += ["--show-only", f"templates/{template}.yaml"]
    for value in plain.values:
        command += ["--set", value]
    manifest = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    manifest = re.sub(r" +$", "", HELMS_OWN.sub("", manifest), flags=re.MULTILINE)
    if not plain.placed:
        manifest = manifest.replace(f"  namespace: {NAMESPACE}\n", "")
    return plain.top + re.sub(r"\n{2,}(?=---|\Z)", "\n", manifest)


def main() -> int:
    """Return 0 when every file is written or up to date, 1 when `--check` finds one that is not."""
    parser = flags(__doc__)
    parser.add_argument("--copies", action="store_true", help="only what is copied, which needs no helm")
    chosen = parser.parse_args()
    wanted = dict(copies())
    there = {file for folder in ("rules", "dashboards") for file in (CHART / "files" / folder).glob("*")}
    if not chosen.copies:
        wanted |= {PLAIN / name: rendered(plain) for name, plain in FILES.items()}
    orphans = sorted(there - wanted.keys())
    for file in orphans:
        print(f"{file.relative_to(ROOT)} is of nothing: remove it")
    return update(wanted, Path(__file__), ROOT, check=chosen.check) or int(bool(orphans))


if __name__ == "__main__":
    sys.exit(main())
