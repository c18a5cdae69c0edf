"""What the doctor says of who was found, and what to write where it could not tell."""

from dataclasses import replace

from exporter.readings import FailureReason, Gpu, GpuReading, Holder, ServerKey, UnreadServer
from exporter.reports.diagnosis import Finding
from exporter.reports.server_findings import discovered_lines, discovery_findings
from exporter.sources.discovery import DiscoveredServer, DiscoveryResult
from exporter.sources.discovery.naming import UNSEEN
from tests.reports.test_doctor import HOST

INDICES = {"GPU-a": 0, "GPU-b": 1, "GPU-c": 2}
CHAT = DiscoveredServer(
    ServerKey("ml", "chat"),
    engine="vllm",
    model="llama-8b",
    program="python3",
    where="ml/chat",
    gpus=("GPU-b", "GPU-a"),
    url="http://10.0.0.7:8000/metrics",
)
TRAINING = DiscoveredServer(
    ServerKey("", "unmatched:train"), program="train", gpus=("GPU-c",), skip_reason=FailureReason.NO_SERVER
)
MUTE = DiscoveredServer(
    ServerKey("", "llamacpp:8080"),
    engine="llamacpp",
    program="llama-server",
    where="llama.service",
    gpus=("GPU-c",),
    skip_reason=FailureReason.NOT_LISTENING,
)


def findings(*servers: DiscoveredServer, **result: object) -> list[Finding]:
    """The findings of what was found."""
    gpus = tuple(GpuReading(Gpu(uuid, "NVIDIA L4"), index) for uuid, index in INDICES.items())
    discovery = DiscoveryResult(servers=servers, **result)  # type: ignore[arg-type]
    return list(
        discovery_findings(replace(HOST, inputs=replace(HOST.inputs, gpus=gpus, discovery=discovery)))
    )


def test_each_server_is_told_with_its_gpus_and_where_it_is_read() -> None:
    """What it is and holds; where it is read, or why it is not. Those without a GPU share a line."""
    router = DiscoveredServer(ServerKey("", "router:9000"), skip_reason=FailureReason.NO_GPU)
    on_the_cpu = replace(router, key=ServerKey("", "vllm:8001"))

    assert list(discovered_lines((CHAT, router, TRAINING, MUTE, on_the_cpu), INDICES)) == [
        "  ml/chat  vllm, model llama-8b, in ml/chat  GPUs 0, 1",
        "       read at http://10.0.0.7:8000/metrics",
        "  unmatched:train  train  GPUs 2",
        "       not read: no inference server is known among its processes",
        "  llamacpp:8080  llamacpp, in llama.service  GPUs 2",
        "       not read (not_listening): nothing of its own listens where its metrics should be",
        "  without a GPU, not charged and not read: router:9000, vllm:8001",
    ]


def test_what_a_server_claims_and_does_not_get_is_a_warning() -> None:
    """Also of one that holds no GPU and is read."""
    thief = replace(CHAT, gpus=(), refused="another user listens at the port that it names")

    assert findings(thief) == [
        Finding("warning", "server chat: another user listens at the port that it names.")
    ]


def test_a_gpu_that_is_gone_is_told_by_its_uuid() -> None:
    """What has an index comes first."""
    server = DiscoveredServer(
        ServerKey("", "a"), engine="vllm", gpus=("GPU-x", "GPU-b"), url="http://127.0.0.1:1/metrics"
    )

    assert next(discovered_lines((server,), INDICES)) == "  a  vllm  GPUs 1, GPU-x"


def test_what_is_well_found_needs_no_word() -> None:
    """A server that is read; what holds no GPU; what the configuration names."""
    configured = DiscoveredServer(
        ServerKey("", "vllm:8000"), gpus=("GPU-a",), skip_reason=FailureReason.CONFIGURED
    )
    assert (
        findings(CHAT, DiscoveredServer(ServerKey("", "x"), skip_reason=FailureReason.NO_GPU), configured)
        == []
    )


def test_a_holder_that_is_no_server_may_be_named() -> None:
    """By its program; in Kubernetes by its workload."""
    job = DiscoveredServer(
        ServerKey("batch", "unmatched:nightly"), program="python3", gpus=("GPU-a", "GPU-b")
    )

    assert findings(TRAINING, job, unmatched={TRAINING.key, job.key}) == [
        Finding(
            "note",
            "unmatched:train holds GPU 2, is no known inference server, and pays for them. "
            'To name it: `servers: [{match: {process: "train"}, name: NAME}]`.',
        ),
        Finding(
            "note",
            "unmatched:nightly holds GPUs 0, 1, is no known inference server, and pays for them. "
            'To name it: `servers: [{match: {workload: "batch/nightly"}, name: NAME}]`.',
        ),
    ]


def test_a_server_whose_tokens_are_not_counted_is_a_warning() -> None:
    """Once, with what to do; one without a GPU that its entry wants to be read, too."""
    twice = (UnreadServer(MUTE.key, FailureReason.NOT_LISTENING),) * 2
    idle = UnreadServer(ServerKey("", "chat"), FailureReason.LOOPBACK)

    assert findings(MUTE, unread=(*twice, idle)) == [
        Finding(
            "warning",
            "server llamacpp:8080 holds GPU 2, and its tokens are not counted: nothing of its own listens "
            "where its metrics should be. "
            "Wait until it has loaded; else write the port: `metrics: {port: PORT}`.",
        ),
        Finding(
            "warning",
            "server chat is not read: it listens on loopback in a network of its own. "
            "Let it listen on all addresses, for most engines with `--host 0.0.0.0`.",
        ),
    ]


def test_processes_that_cannot_be_seen_are_a_warning() -> None:
    """Their money is somebody's, and nobody knows whose."""
    actual = findings(holders=(Holder(UNSEEN, "GPU-a"),), problems=(("processes", "2 are not seen: hidden"),))

    assert actual == [
        Finding("warning", "processes: 2 are not seen: hidden."),
        Finding(
            "warning",
            "hidden processes compute on GPUs, and their cost goes to `unmatched:unknown`. "
            "Give the exporter the host's processes: hostPID in Kubernetes, --pid=host in Docker.",
        ),
    ]


def test_pods_that_nobody_said_to_ask_for_are_a_note() -> None:
    """A token for the labels of the node is no mistake; what it would take is told."""
    actual = findings(unasked=(("pods", "kubelet at https://10.0.0.1:10250: no; allow it by a rule"),))

    assert actual == [
        Finding("note", "pods are not asked for: kubelet at https://10.0.0.1:10250: no; allow it by a rule.")
    ]


def test_pods_that_ask_for_another_ones_name_are_told() -> None:
    """They were refused, and kept their own."""
    assert findings(refused=2) == [
        Finding("warning", "2 pods claim the name of another workload by annotation; they keep their own.")
    ]


def test_what_was_given_a_name_and_serves_nobody_needs_no_word() -> None:
    """A training job has no tokens to count."""
    assert (
        findings(
            DiscoveredServer(
                ServerKey("", "training"),
                program="train.py",
                gpus=("GPU-a",),
                skip_reason=FailureReason.NO_SERVER,
            )
        )
        == []
    )
