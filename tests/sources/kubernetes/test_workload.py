"""The workload of a pod, by its labels and its owner."""

import pytest

from exporter.sources.kubernetes import Workload
from exporter.sources.kubernetes.pods import workload_of

CREATED = 29_926_260  # 2026-11-25T03:00:00Z in minutes since 1970


@pytest.mark.parametrize(
    ("labels", "owner", "expected"),
    [
        pytest.param(
            {"pod-template-hash": "7c9d8f6b5d"},
            ("ReplicaSet", "chat-7c9d8f6b5d"),
            Workload("Deployment", "chat"),
            id="deployment",
        ),
        pytest.param(
            {"pod-template-hash": "7c9d8f6b5d"},
            ("ReplicaSet", "chat-7c9d8f6b5d-7c9d8f6b5d"),
            Workload("Deployment", "chat-7c9d8f6b5d"),
            id="the-hash-is-cut-once",
        ),
        pytest.param(
            {"rollouts-pod-template-hash": "86666d6ffc"},
            ("ReplicaSet", "chat-86666d6ffc"),
            Workload("Rollout", "chat"),
            id="argo-rollout",
        ),
        pytest.param(
            {}, ("ReplicaSet", "chat-v2"), Workload("ReplicaSet", "chat-v2"), id="replica-set-alone"
        ),
        pytest.param(
            {"pod-template-hash": "abc"},
            ("ReplicaSet", "chat-v2"),
            Workload("ReplicaSet", "chat-v2"),
            id="hash-of-another",
        ),
        pytest.param(
            {"pod-template-hash": "abc"}, ("ReplicaSet", "-abc"), Workload("ReplicaSet", "-abc"), id="no-name"
        ),
        pytest.param({}, ("StatefulSet", "embed"), Workload("StatefulSet", "embed"), id="stateful-set"),
        pytest.param({}, ("NIMService", "llama"), Workload("NIMService", "llama"), id="an-operators-own"),
        pytest.param({}, None, Workload("Pod", "pod-1"), id="nobody"),
        pytest.param(
            {"jobset.sigs.k8s.io/jobset-name": "train"},
            ("Job", "train-workers-0"),
            Workload("JobSet", "train"),
            id="job-set",
        ),
        pytest.param(
            {"app.kubernetes.io/part-of": "llminferenceservice", "app.kubernetes.io/name": "r1"},
            ("ReplicaSet", "r1-kserve-5d8f7c9b64"),
            Workload("LLMInferenceService", "r1"),
            id="llm-inference-service",
        ),
        pytest.param(
            {
                "app.kubernetes.io/part-of": "llminferenceservice",
                "app.kubernetes.io/name": "r1",
                "leaderworkerset.sigs.k8s.io/name": "r1-kserve-mn",
            },
            ("StatefulSet", "r1-kserve-mn-0"),
            Workload("LLMInferenceService", "r1"),
            id="group-of-an-llm-inference-service",
        ),
        pytest.param(
            {"app.kubernetes.io/part-of": "shop", "app.kubernetes.io/name": "r1"},
            ("StatefulSet", "r1"),
            Workload("StatefulSet", "r1"),
            id="part-of-something-else",
        ),
        pytest.param(
            {"serving.knative.dev/service": "echo", "serving.knative.dev/configuration": "echo"},
            ("ReplicaSet", "echo-00001-deployment-5d8f"),
            Workload("KnativeService", "echo"),
            id="knative",
        ),
        pytest.param(
            {"ray.io/cluster": "llm"}, ("RayCluster", "llm"), Workload("RayCluster", "llm"), id="ray-cluster"
        ),
        pytest.param(
            {
                "ray.io/cluster": "llm-xk2p4",
                "ray.io/originated-from-crd": "RayService",
                "ray.io/originated-from-cr-name": "llm",
            },
            ("RayCluster", "llm-xk2p4"),
            Workload("RayService", "llm"),
            id="ray-service",
        ),
        pytest.param(
            {
                "ray.io/cluster": "llm",
                "ray.io/originated-from-crd": "Secret",
                "ray.io/originated-from-cr-name": "x",
            },
            ("RayCluster", "llm"),
            Workload("RayCluster", "llm"),
            id="ray-of-no-kind-of-ray",
        ),
        pytest.param(
            {"ray.io/cluster": "my-raycluster-aeiou"},
            ("RayCluster", "my-raycluster-aeiou"),
            Workload("RayCluster", "my-raycluster-aeiou"),
            id="vowels-are-not-generated",
        ),
    ],
)
def test_the_outermost_owner_that_is_told_is_the_workload(
    labels: dict[str, str], owner: tuple[str, str] | None, expected: Workload
) -> None:
    """Controllers below it change their names at each upgrade, and split one server into many."""
    assert workload_of("pod-1", labels, None if owner is None else Workload(*owner)) == expected


@pytest.mark.parametrize(
    ("name", "created", "expected"),
    [
        ("eval-29926260", CREATED, Workload("CronJob", "eval")),
        ("eval-29926255", CREATED, Workload("CronJob", "eval")),
        ("eval-29916180", CREATED, Workload("CronJob", "eval")),  # a week late
        ("eval-29916179", CREATED, Workload("Job", "eval-29916179")),
        ("eval-29926265", CREATED, Workload("CronJob", "eval")),  # the node's clock is five minutes behind
        ("eval-29926266", CREATED, Workload("Job", "eval-29926266")),
        ("eval-20261125", CREATED, Workload("Job", "eval-20261125")),
        ("eval-29926260", None, Workload("Job", "eval-29926260")),
        ("eval", CREATED, Workload("Job", "eval")),
        ("29926260", CREATED, Workload("Job", "29926260")),
    ],
)
def test_a_job_is_of_a_schedule_where_its_name_says_when(
    name: str, created: int | None, expected: Workload
) -> None:
    """The minute that it was due at, and not any number."""
    assert workload_of("pod-1", {}, Workload("Job", name), created_minute=created) == expected


def test_a_static_pod_is_called_as_its_manifest() -> None:
    """Without the node that its name ends in."""
    assert workload_of("proxy-gpu-1", {}, Workload("Node", "gpu-1"), node="gpu-1") == Workload("Pod", "proxy")
    assert workload_of("proxy", {}, Workload("Node", "gpu-1"), node="gpu-1") == Workload("Pod", "proxy")
