"""The workload that a pod belongs to, from its labels and owners. Pure.

Owners are objects that the pod's rights do not reach (a ReplicaSet, a Job), so that what owns these is told
by the names that their controllers give.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from exporter.sources.kubernetes.pod import Workload

LLM_INFERENCE_SERVICE: Final = ("app.kubernetes.io/part-of", "llminferenceservice")
"""The label of KServe's pods whose `app.kubernetes.io/name` is the LLMInferenceService."""

NAMED: Final[tuple[tuple[str, str], ...]] = (
    ("serving.kserve.io/inferenceservice", "InferenceService"),
    ("leaderworkerset.sigs.k8s.io/name", "LeaderWorkerSet"),
    ("jobset.sigs.k8s.io/jobset-name", "JobSet"),
    ("serving.knative.dev/service", "KnativeService"),
    ("serving.knative.dev/configuration", "KnativeService"),
)
"""Labels whose value is the workload's name, the outermost owner first: KServe puts Knative, and groups of
pods, below its own."""

RAY_ORIGIN: Final = ("ray.io/originated-from-crd", "ray.io/originated-from-cr-name")
RAY_CLUSTER: Final = "ray.io/cluster"
RAY_KINDS: Final = frozenset({"RayCluster", "RayJob", "RayService"})

HASHES: Final[tuple[tuple[str, str], ...]] = (
    ("pod-template-hash", "Deployment"),
    ("rollouts-pod-template-hash", "Rollout"),
)
"""Labels whose value ends the name of a ReplicaSet, and what owns one that is named so."""

_GENERATED_RAY: Final = re.compile(r"(.+)-raycluster-[bcdfghjklmnpqrstvwxz2456789]{5}")
"""How KubeRay named the cluster of a RayService or RayJob up to 1.3, anew at each upgrade."""

_SCHEDULED: Final = re.compile(r"(.+)-([0-9]{8,9})")
"""CronJob and the minute since 1970 that a Job of it was due at (pkg/controller/cronjob: getJobName)."""

EARLY_MINUTES: Final = 5
LATE_MINUTES: Final = 7 * 24 * 60
"""How far the creation of a Job's pod may lie from the minute in its name: clocks, and pods that wait for a
GPU. `report-20261125` is a Job that somebody has named by a date."""


def workload_of(
    name: str,
    labels: Mapping[str, str],
    owner: tuple[str, str] | None,
    *,
    created_minute: int | None = None,
    node: str = "",
) -> Workload:
    """The workload of a pod.

    Args:
        name: of the pod.
        labels: of the pod.
        owner: kind and name of its controller, `None` without one.
        created_minute: when the pod was created, in minutes since 1970.
        node: that a static pod's name ends in.
    """
    labeled = next(_labeled(labels), None)
    if labeled is not None:
        return labeled
    if owner is None:
        return Workload("Pod", name)
    kind, owner_name = owner
    if kind == "ReplicaSet":
        return _of_replica_set(owner_name, labels)
    if kind == "Job":
        return _of_job(owner_name, created_minute)
    if kind == "Node":
        return Workload("Pod", name.removesuffix(f"-{node}"))
    return Workload(kind, owner_name)


def _labeled(labels: Mapping[str, str]) -> Iterator[Workload]:
    part, told = LLM_INFERENCE_SERVICE
    if labels.get(part) == told and labels.get("app.kubernetes.io/name"):
        yield Workload("LLMInferenceService", labels["app.kubernetes.io/name"])
    for label, kind in NAMED:
        if labels.get(label):
            yield Workload(kind, labels[label])
    kind, origin = (labels.get(label, "") for label in RAY_ORIGIN)
    if kind in RAY_KINDS and origin:
        yield Workload(kind, origin)
    cluster = labels.get(RAY_CLUSTER)
    if cluster:
        generated = _GENERATED_RAY.fullmatch(cluster)
        yield Workload("RayCluster", generated[1] if generated else cluster)


def _of_replica_set(name: str, labels: Mapping[str, str]) -> Workload:
    for label, kind in HASHES:
        owner = name.removesuffix(f"-{labels.get(label, '')}")
        if labels.get(label) and owner and owner != name:
            return Workload(kind, owner)
    return Workload("ReplicaSet", name)


def _of_job(name: str, created_minute: int | None) -> Workload:
    scheduled = _SCHEDULED.fullmatch(name)
    if scheduled and created_minute is not None:
        late = created_minute - int(scheduled[2])
        if -EARLY_MINUTES <= late <= LATE_MINUTES:
            return Workload("CronJob", scheduled[1])
    return Workload("Job", name)
