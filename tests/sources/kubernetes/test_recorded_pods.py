"""Recorded lists of pods, and what each pod of them is."""

from pathlib import Path

import pytest

from exporter.config.settings import PodLabels
from exporter.sources.kubernetes import Container, Pod, PodAnnotations, Pods, Workload, with_owner
from exporter.sources.kubernetes.pod_object import from_json
from exporter.sources.kubernetes.pods import pod_of
from tests.sources.kubernetes.api_server import NODE

RECORDINGS = Path(__file__).parent / "recordings"
CHAT_VLLM = "495b287bb0b0ab14aaf67b724e409a7c7b73c79622f75158e18ea6ff0400f856"
CHAT_DOWNLOAD = "87febcf1f092db4f36cea1994d2eaa13b632816149edba15808c21b71cfd1b8a"
MANIFEST = "9f0c1a2b3d4e5f60718293a4b5c6d7e8"


def recorded(name: str) -> Pods:
    objects = list(from_json((RECORDINGS / name).read_bytes()))
    pods = [pod_of(item, NODE) for item in objects if item is not None]
    assert None not in [*objects, *pods]
    return Pods(tuple(filter(None, pods)), "kubelet")


@pytest.fixture(scope="module")
def pods() -> Pods:
    return recorded("kubelet-pods.json")


def named(pods: Pods, name: str) -> Pod:
    (pod,) = (pod for pod in pods.pods if f"{pod.namespace}/{pod.name}" == name)
    return pod


def test_a_pod_of_a_deployment_whole(pods: Pods) -> None:
    """Everything that is kept of a vLLM pod: both its addresses, its init container that has ended."""
    chat = named(pods, "ml/chat-7c9d8f6b5d-x2k4p")

    assert chat == Pod(
        namespace="ml",
        name="chat-7c9d8f6b5d-x2k4p",
        uid="9a190bd4-d1ba-e1cf-c422-57d4f623e64c",
        workload=Workload("Deployment", "chat"),
        live=True,
        labels={
            "app": "chat",
            "app.kubernetes.io/name": "chat",
            "app.kubernetes.io/part-of": "assistants",
            "team": "conversation",
            "pod-template-hash": "7c9d8f6b5d",
        },
        annotations={
            "inference-cost/product": "chat",
            "inference-cost/name": "chat-8b",
        },
        ips=("10.0.37.11", "fd00:37::b"),
        containers=(
            Container("vllm", CHAT_VLLM, running=True),
            Container("download", CHAT_DOWNLOAD, running=False),
        ),
        pod_annotations=PodAnnotations(name="chat-8b", product="chat"),
    )


@pytest.mark.parametrize(
    ("name", "kind", "workload"),
    [
        ("ml/embed-0", "StatefulSet", "embed"),
        ("ml/r1-0", "LeaderWorkerSet", "r1"),
        ("ml/r1-0-1", "LeaderWorkerSet", "r1"),
        ("ray/llm-raycluster-qnftt-gpu-worker-7hkzm", "RayCluster", "llm"),
        ("models/llama3-predictor-00001-deployment-6d5f7b8c9d-zq8xt", "InferenceService", "llama3"),
        (f"kube-system/gpu-proxy-{NODE}", "Pod", "gpu-proxy"),
        ("batch/nightly-eval-29926260-7xkqp", "CronJob", "nightly-eval"),
        ("batch/report-20261125-k2x9d", "Job", "report-20261125"),
        ("monitoring/node-exporter-9wq4d", "DaemonSet", "node-exporter"),
        ("ml/broken-6b7d9c8f4-lm2qz", "Deployment", "broken"),
        ("default/notebook", "Pod", "notebook"),
    ],
)
def test_each_pod_has_the_workload_that_people_know(pods: Pods, name: str, kind: str, workload: str) -> None:
    """Leader and workers of a group are one; a date in a Job's name is no minute of a schedule."""
    assert named(pods, name).workload == Workload(kind, workload)


@pytest.mark.parametrize(
    ("name", "live", "running"),
    [
        ("ml/embed-0", True, True),
        ("batch/nightly-eval-29926260-7xkqp", False, False),
        ("default/notebook", False, False),
        ("ml/broken-6b7d9c8f4-lm2qz", True, False),
        ("ml/leaving-55d8c7b9f6-tt7hn", True, True),
        ("ml/starting-5f6c7d8b9-w9k2v", True, True),
    ],
)
def test_what_holds_a_gpu_is_live_and_what_computes_is_running(
    pods: Pods, name: str, *, live: bool, running: bool
) -> None:
    """A crash loop keeps its GPUs; a pod that is being deleted does until its container has ended."""
    pod = named(pods, name)

    assert (pod.live, any(each.running for each in pod.containers)) == (live, running)


def test_a_static_pod_has_the_uid_of_its_cgroup_whoever_tells_it(pods: Pods) -> None:
    """Its cgroup has the hash of its manifest; the API server knows the mirror by another uid."""
    by_kubelet = named(pods, f"kube-system/gpu-proxy-{NODE}")
    by_api = named(recorded("api-pods.json"), f"kube-system/gpu-proxy-{NODE}")

    assert by_kubelet.uid == by_api.uid == MANIFEST
    assert by_kubelet.workload == by_api.workload == Workload("Pod", "gpu-proxy")
    assert by_kubelet.ips == ("10.0.1.23",)


def test_init_containers_are_listed_behind_the_others(pods: Pods) -> None:
    """One that restarts always is a sidecar, and runs on."""
    starting = named(pods, "ml/starting-5f6c7d8b9-w9k2v")

    assert [(each.name, each.running, bool(each.id)) for each in starting.containers] == [
        ("vllm", False, False),
        ("weights", True, True),
        ("log-shipper", True, True),
    ]


def test_annotations_that_nobody_reads_are_not_kept(pods: Pods) -> None:
    """A port for Prometheus on a pod of KServe is none of them."""
    llama = named(pods, "models/llama3-predictor-00001-deployment-6d5f7b8c9d-zq8xt")

    assert llama.annotations == {}
    assert named(pods, "ml/r1-0").annotations == {"leaderworkerset.sigs.k8s.io/size": "2"}


def test_a_host_in_an_annotation_is_refused(pods: Pods) -> None:
    """What else the pod asks for holds."""
    assert named(pods, "ml/broken-6b7d9c8f4-lm2qz").pod_annotations == PodAnnotations(
        port=30000,
        refused=(("path", "is no path: / and what follows in a URL, at most 256 characters"),),
    )


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("ml/chat-7c9d8f6b5d-x2k4p", PodLabels(), ("chat", "conversation")),
        ("ml/chat-7c9d8f6b5d-x2k4p", PodLabels(product="app", team=""), ("chat", "")),
        ("ml/embed-0", PodLabels(), ("", "")),
        ("ml/embed-0", PodLabels(product="app"), ("embed", "")),
    ],
)
def test_who_pays_is_told_by_annotation_or_by_label(
    pods: Pods, name: str, labels: PodLabels, expected: tuple[str, str]
) -> None:
    """The annotation is about this alone, so it wins; a label that is not there says nothing."""
    pod = with_owner(named(pods, name), labels)
    assert (pod.product, pod.team) == expected
