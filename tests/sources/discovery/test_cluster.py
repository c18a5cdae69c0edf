"""Pods as their cluster tells them: who is asked, what stands while nobody answers, what they are called."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from exporter.config.settings import Config, PodLabels
from exporter.readings import FailureReason, SourceHealth
from exporter.sources import kubernetes
from exporter.sources.discovery.answers import PodCache
from exporter.sources.discovery.discovery import Discovery
from exporter.sources.endpoints import EndpointSources
from exporter.sources.gather import Gathered
from exporter.sources.kubernetes import Pods, ServiceAccount
from exporter.sources.processes import ProcessSource
from tests.kit.clock import ManualClock, clock_at
from tests.kit.units import SECOND

ACCOUNT = ServiceAccount(
    "https://10.0.0.1:443", "node-1", Path("/nowhere/token"), Path("/nowhere/ca.crt"), "10.1.1.1"
)
CHAT = kubernetes.Pod(
    "ml",
    "chat-7c9d8f6b5d-x2k4p",
    "9a190bd4-d1ba-e1cf-c422-57d4f623e64c",
    kubernetes.Workload("Deployment", "chat"),
    labels={"app.kubernetes.io/part-of": "assistants", "team": "conversation", "squad": "blue"},
    ips=("10.0.37.11",),
    containers=(kubernetes.Container("vllm", "a" * 64, running=True, argv=("vllm", "serve", "m")),),
    pod_annotations=kubernetes.PodAnnotations(name="chat-8b", port=9400, path="/m"),
)


@dataclass
class ClusterSource:
    """A cluster, and what its source said."""

    clock: ManualClock = field(default_factory=lambda: clock_at(0))

    def __post_init__(self) -> None:
        self.cluster = PodCache(self.clock, ACCOUNT)  # type: ignore[arg-type]
        self.cluster.go_by(Config())

    def pods(
        self, reading: Pods | None, reason: str = "", config: Config | None = None
    ) -> tuple[kubernetes.Pod, ...] | None:
        source = self.cluster.source
        assert source is not None
        health = SourceHealth("pods", up=reading is not None, duration=1, reason=reason)
        return self.cluster.pods(config or Config(), {source: Gathered(source, reading, health)})


def test_a_pod_has_its_product_and_team() -> None:
    """By its labels; the rest is as its source read it."""
    assert ClusterSource().pods(Pods((CHAT,), "kubelet")) == (
        replace(CHAT, product="assistants", team="conversation"),
    )


@pytest.mark.parametrize(
    ("annotated", "expected"),
    [
        (kubernetes.PodAnnotations(product="search"), ("search", "conversation")),
        (kubernetes.PodAnnotations(team="red"), ("assistants", "red")),
    ],
)
def test_an_annotation_goes_before_a_label(
    annotated: kubernetes.PodAnnotations, expected: tuple[str, str]
) -> None:
    """One of the two; the other is by its label."""
    (pod,) = ClusterSource().pods(Pods((replace(CHAT, pod_annotations=annotated),), "kubelet")) or ()

    assert (pod.product, pod.team) == expected


def test_the_configuration_says_which_labels_tell_who_pays() -> None:
    """They are looked up at each look: a reload needs no new answer."""
    (pod,) = (
        ClusterSource().pods(
            Pods((CHAT,), "kubelet"), config=Config(pod_labels=PodLabels(product="", team="squad"))
        )
        or ()
    )

    assert (pod.product, pod.team) == ("", "blue")


@pytest.mark.parametrize(("size", "spans"), [("2", True), ("1", False), (None, False)])
def test_a_pod_of_a_group_spans_hosts(size: str | None, *, spans: bool) -> None:
    """A LeaderWorkerSet writes on each pod how many serve together."""
    annotations = {} if size is None else {"leaderworkerset.sigs.k8s.io/size": size}
    pod = kubernetes.Pod(
        "ml", "r1-0", "u", kubernetes.Workload("LeaderWorkerSet", "r1"), annotations=annotations
    )
    (cluster_source,) = ClusterSource().pods(Pods((pod,), "kubelet")) or ()

    assert cluster_source.spans_hosts is spans


@pytest.mark.parametrize(
    ("labels", "claims"),
    [
        ({"llm-d.ai/role": "prefill"}, [("prefill", "label llm-d.ai/role")]),
        ({"llm-d.ai/role": "prefill-decode"}, []),
        (
            {
                "nvidia.com/dynamo-component-type": "worker",
                "nvidia.com/dynamo-sub-component-type": "decode",
            },
            [("decode", "label nvidia.com/dynamo-sub-component-type")],
        ),
        (
            {"nvidia.com/dynamo-component-type": "decode"},
            [("decode", "label nvidia.com/dynamo-component-type")],
        ),
        ({"role": "prefill"}, []),
    ],
)
def test_the_labels_of_a_pod_name_its_role(labels: dict[str, str], claims: list[tuple[str, str]]) -> None:
    """Those of llm-d, and of either release of Dynamo's operator."""
    pod = kubernetes.Pod("ml", "r1-0", "u", kubernetes.Workload("Deployment", "r1"), labels=labels)

    assert [tuple(claim) for claim in pod.role_claims] == claims


def test_what_was_told_stands_for_five_minutes() -> None:
    """A kubelet restarts; after that nobody knows what pods are called, which is not that there are none."""
    cluster_source = ClusterSource()
    cluster_source.clock.now = 1000 * SECOND
    first = cluster_source.pods(Pods((CHAT,), "kubelet"))
    cluster_source.clock.now += 300 * SECOND
    pods_now = cluster_source.pods(None, "timeout")
    cluster_source.clock.now += 1
    gone = cluster_source.pods(None, "timeout")

    assert first == pods_now
    assert gone is None


def test_who_may_not_ask_has_no_pods() -> None:
    """Rights do not come by waiting: servers go by the names that the host tells, at once."""
    cluster_source = ClusterSource()
    cluster_source.pods(Pods((CHAT,), "kubelet"))

    assert cluster_source.pods(None, "forbidden") == ()
    assert cluster_source.pods(None, "timeout") is None


def test_who_may_not_ask_and_need_not_is_told_apart(tmp_path: Path) -> None:
    """A note for people instead of a problem; the names are the host's either way."""
    lookout = Discovery(
        clock_at(0),  # type: ignore[arg-type]
        EndpointSources(clock_at(0)),  # type: ignore[arg-type]
        ProcessSource(clock_at(0)),  # type: ignore[arg-type]
        None,
        PodCache(clock_at(0), ACCOUNT, tmp_path / "pods-api.sock"),  # type: ignore[arg-type]
    )
    config = Config(processes=False)
    lookout.look(config, (), (), lambda _: [], None)
    (source,) = lookout.sources(Config())
    reports = []
    for expected in (False, True):
        health = SourceHealth("pods", up=False, duration=1, reason=FailureReason.FORBIDDEN, expected=expected)
        result = lookout.look(config, (), (Gathered(source, None, health, "no"),), lambda _: [], None)
        reports.append((result.unasked, result.problems, result.incomplete))

    assert reports == [((("pods", "no"),), (), False), ((), (("pods", "no"),), False)]


def test_nobody_is_asked_outside_a_cluster_or_when_it_is_off() -> None:
    """No source, no row of health, no pods."""
    outside = PodCache(clock_at(0), None, Path("/nowhere/pods-api.sock"))  # type: ignore[arg-type]
    outside.go_by(Config())
    off = PodCache(clock_at(0), ACCOUNT)  # type: ignore[arg-type]
    off.go_by(Config(kubernetes="off"))

    assert (outside.source, off.source) == (None, None)
    assert (outside.pods(Config(), {}), off.pods(Config(), {})) == ((), ())


def test_a_socket_is_asked_without_an_account_once_there_is_one(tmp_path: Path) -> None:
    """Before, there is no source and there are no pods; then nobody knows until it has answered."""
    path = tmp_path / "pods-api.sock"
    cluster = PodCache(clock_at(0), None, path)  # type: ignore[arg-type]
    cluster.go_by(Config())
    assert (cluster.source, cluster.pods(Config(), {})) == (None, ())

    path.touch()
    assert cluster.source is not None
    assert cluster.pods(Config(), {}) is None
    path.unlink()  # by a kubelet that stops
    assert cluster.source is not None


def test_a_socket_that_alone_may_be_asked_is_asked_for(tmp_path: Path) -> None:
    """Its absence is told by the health of the source."""
    cluster = PodCache(clock_at(0), None, tmp_path / "pods-api.sock")  # type: ignore[arg-type]
    cluster.go_by(Config(kubernetes="pods_api"))

    assert cluster.source is not None


@pytest.mark.parametrize("reason", ["denied", "unimplemented"])
def test_a_socket_that_is_closed_tells_of_no_pods(reason: str) -> None:
    """It stays closed: servers go by the names that the host tells, at once."""
    cluster_source = ClusterSource()
    cluster_source.pods(Pods((CHAT,), "pods_api"))

    assert cluster_source.pods(None, reason) == ()


def test_a_socket_that_is_gone_may_come_again() -> None:
    """What it told stands for five minutes; where it never told anything there is none."""
    cluster_source = ClusterSource()
    assert cluster_source.pods(None, "absent") == ()
    first = cluster_source.pods(Pods((CHAT,), "pods_api"))
    cluster_source.clock.now += 300 * SECOND
    pods_now = cluster_source.pods(None, "absent")
    cluster_source.clock.now += 1

    assert first == pods_now != ()
    assert cluster_source.pods(None, "absent") == ()
    assert cluster_source.pods(None, "starting") is None


def test_a_reload_that_asks_no_otherwise_keeps_its_source() -> None:
    """Another choice is another source, and what the first told is forgotten."""
    cluster_source = ClusterSource()
    before = cluster_source.cluster.source
    cluster_source.pods(Pods((CHAT,), "kubelet"))
    cluster_source.cluster.go_by(Config(interval=5 * SECOND))
    same = cluster_source.cluster.source
    cluster_source.cluster.go_by(Config(kubernetes="api_server"))

    assert same is before
    assert cluster_source.cluster.source is not before
    assert cluster_source.pods(None, "timeout") is None


def test_before_the_first_answer_nobody_knows() -> None:
    """The source is read at the next tick: until then pods are not without a name."""
    cluster_source = ClusterSource()

    assert cluster_source.cluster.pods(Config(), {}) is None
    cluster_source.pods(Pods((CHAT,), "kubelet"))
    assert [pod.name for pod in cluster_source.cluster.pods(Config(), {}) or ()] == [CHAT.name]
