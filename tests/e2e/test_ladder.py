"""The permissions of docs/kubernetes.md: what is metered with all of them, and what is lost without each.

Four GPUs: a program of root's computes on one, a pod was given the second and sleeps, a llama.cpp server
works on the third, and nobody holds the fourth. The daemon runs in our image; only its rights change.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import restrictions
from tests.e2e.containers import Contained
from tests.e2e.daemon import Page
from tests.e2e.gpu_processes import GpuProgram, compute, waiting
from tests.e2e.llama import Llama
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s
from tests.rights import CONTAINERS
from tests.sources.kubelet.kubelet_server import Kubelet
from tests.sources.kubernetes.api_server import NODE, Kubernetes

NONROOT = 65532
"""The image's own user."""
UUIDS = [gpu.uuid for gpu in h100s(4)]
CONFIG = """
interval: 1s
hardware:
  - {match: {gpu_model: "*H100*"}, rented: {dollars_per_host_hour: 10, gpus_per_host: 4}}
"""
"""Its instance type has eight GPUs; what the configuration says comes first."""

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(os.geteuid() != 0, reason=CONTAINERS),
]


MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
KUBELET, NO_KUBELET = "127.0.0.9", "127.0.0.10"
"""Addresses of a node: at port 10250 of one its kubelet answers, at the other's nobody."""
PATIENCE = 90
"""Seconds: whoever fails to answer a busy machine in time is asked again after twenty."""
LISTED = f"/api/v1/pods?fieldSelector=spec.nodeName%3D{NODE}&resourceVersion=0"
SLEEPER = {
    "metadata": {
        "name": "sleeper-0",
        "namespace": "ml",
        "uid": "2f1c1d0e-58a3-4c4b-9a7e-0d4c1c7f3a10",
        "labels": {"app.kubernetes.io/part-of": "night", "team": "batch"},
        "annotations": {"inference-cost/name": "night-shift"},
    },
    "spec": {"nodeName": NODE, "containers": [{"name": "main"}]},
    "status": {
        "phase": "Running",
        "podIP": "10.1.2.3",
        "containerStatuses": [{"name": "main", "state": {"running": {}}}],
    },
}
PODS = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [SLEEPER]}


def part(number: int, *contents: bytes | str) -> bytes:
    """A field of a protobuf message, shorter than 128 bytes."""
    content = b"".join(each.encode() if isinstance(each, str) else each for each in contents)
    return bytes([number << 3 | 2, len(content)]) + content


def given(namespace: str, pod: str, uuid: str) -> bytes:
    """The kubelet's list of one pod that was given one GPU."""
    devices = part(2, part(1, "nvidia.com/gpu"), part(2, uuid))
    return part(1, part(1, pod), part(2, namespace), part(3, part(1, "main"), devices))


@dataclass(frozen=True)
class Host:
    """What runs, whoever looks."""

    folder: Path
    gpus: FakeNvml
    llama: Llama

    def installed(self, restricted: Callable[..., Contained], spec: restrictions.Manifest) -> Contained:
        """An installation with the rights of a pod, on this host."""
        return restricted(self.folder, CONFIG, self.gpus.environment(), spec)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that every user may reach and write."""
    made = Path(tempfile.mkdtemp())
    (made / "kubelet").mkdir()
    (made / "gpus").mkdir()
    for path in (made, made / "gpus"):
        path.chmod(0o777)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def host(folder: Path) -> Iterator[Host]:
    kubelet = Kubelet(folder / "kubelet" / "kubelet.sock")
    kubelet.reply = given("ml", "sleeper-0", UUIDS[1])
    kubelet.start()
    gpus = FakeNvml(folder / "gpus", Scenario(h100s(4, utilization=40, power_mw=400_000)))
    with GpuProgram([waiting(folder)]) as program, Llama(folder / "llama.log") as llama:
        assert llama.process is not None
        compute(gpus, program.pid, None, llama.process.pid, None)
        llama.complete("tokens cost money", 30)
        trace = folder / "gpus" / "trace"  # whoever runs first must not make it theirs
        trace.touch()
        trace.chmod(0o666)
        yield Host(folder, gpus, llama)
    kubelet.stop()


@pytest.fixture
def spec(folder: Path) -> restrictions.Manifest:
    """The pod of the DaemonSet, with a ledger that is new and its user's."""
    for path in folder.glob("ledger*"):
        path.unlink()
    return restrictions.pod()


@pytest.fixture(scope="module")
def api_server(host: Host) -> Iterator[Kubernetes]:
    """The API server of a cluster, which lists the node's pods, and what it gave ours to ask with."""
    cluster = Kubernetes(host.folder / "account")
    cluster.server.set_reply(LISTED, json.dumps(PODS))
    yield cluster
    cluster.close()


@pytest.fixture
def asking(spec: restrictions.Manifest, api_server: Kubernetes) -> Callable[[str], restrictions.Manifest]:
    """The pod with a token, which says at which address its node's kubelet is."""

    def at(kubelet: str) -> restrictions.Manifest:
        (container,) = spec["containers"]
        variables = {**api_server.environ, "NODE_IP": kubelet}
        container["env"] = [
            *(item for item in container["env"] if item["name"] not in variables),
            *({"name": name, "value": value} for name, value in variables.items()),
        ]
        container["volumeMounts"].append({"name": "token", "mountPath": MOUNT, "readOnly": True})
        return spec

    return at


def named(page: Page) -> bool:
    """Whether the pod is called as it wants to be."""
    return "night-shift" in holders(page)


def payer(page: Page, server: str) -> tuple[str, str]:
    """Product and team of a server."""
    ((product, team),) = {
        (labels["product"], labels["team"])
        for labels, _ in page.rows["inference_cost_dollars_per_hour"]
        if labels["server"] == server
    }
    return product, team


def holders(page: Page) -> list[str]:
    """Who holds each GPU; nothing where nobody does."""
    server_of = {
        labels["uuid"]: labels["server"] for labels, _ in page.rows["inference_server_gpu_share_ratio"]
    }
    return [server_of.get(uuid, "") for uuid in UUIDS]


def reasons(page: Page, source: str) -> set[str]:
    """Why a source lacks something."""
    return {
        labels["reason"]
        for labels, count in page.rows.get("inference_source_errors_total", ())
        if labels["source"] == source and count > 0
    }


def balanced(page: Page) -> None:
    """Whatever is not seen: four GPUs at 2.50 dollars an hour are charged, and each dollar has a payer."""
    seconds = page.sum("inference_gpu_seconds_total")
    assert page.value("inference_ledger_residual_dollars") == 0
    assert page.matching("inference_gpu_up") == [1] * 4
    assert page.sum("inference_cost_dollars_total") == pytest.approx(seconds * 2.50 / 3600, rel=1e-6)
    assert page.sum("inference_cost_dollars_per_hour") == pytest.approx(10)


def test_all_rights(host: Host, restricted: Callable[..., Contained], spec: restrictions.Manifest) -> None:
    """Nothing is lost: each holder by name, tokens, the ledger on disk; the process has no more than that."""
    with host.installed(restricted, spec) as daemon:
        page = daemon.settled()
        status = Path(f"/proc/{daemon.pid}/status").read_text(encoding="utf-8")
        mounts = Path(f"/proc/{daemon.pid}/mountinfo").read_text(encoding="utf-8")
        assert daemon.terminate(5) == 0
    assert holders(page) == ["unmatched:wait", "unmatched:sleeper", f"llamacpp:{host.llama.port}", ""]
    assert set(page.tokens(f"llamacpp:{host.llama.port}")) == {"prompt", "cached_prompt", "generation"}
    assert page.value("inference_ledger_persistent") == 1
    balanced(page)
    status_fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert status_fields["Uid"].split() == ["0"] * 4
    assert {status_fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status_fields["NoNewPrivs"], status_fields["Seccomp"]) == ("1", "2")  # 2: a filter
    (root,) = [fields for fields in map(str.split, mounts.splitlines()) if fields[4] == "/"]
    assert "ro" in root[5].split(",")


def test_without_host_pid(
    host: Host, restricted: Callable[..., Contained], spec: restrictions.Manifest
) -> None:
    """No process is seen: only what the kubelet gave has a name, no server is read, nothing goes unpaid."""
    del spec["hostPID"]
    with host.installed(restricted, spec) as daemon:
        page = daemon.settled()
        assert daemon.terminate(5) == 0  # though it is the first process of its namespace
    assert holders(page) == ["unmatched:unknown", "unmatched:sleeper", "unmatched:unknown", ""]
    assert reasons(page, "processes") == {"namespace"}
    assert page.matching("inference_tokens_total") == page.matching("inference_server_up") == []
    balanced(page)


def test_as_nobody(host: Host, restricted: Callable[..., Contained], spec: restrictions.Manifest) -> None:
    """The kubelet's socket is closed: a pod that sleeps on its GPU holds nothing. Processes are seen."""
    spec["securityContext"] |= {"runAsUser": NONROOT, "runAsGroup": NONROOT}
    with host.installed(restricted, spec) as daemon:
        page = daemon.settled()
    assert holders(page) == ["unmatched:wait", "", f"llamacpp:{host.llama.port}", ""]
    assert page.value("inference_source_up", source="kubelet") == 0
    assert reasons(page, "kubelet") == {"denied"}
    assert set(page.tokens(f"llamacpp:{host.llama.port}")) == {"prompt", "cached_prompt", "generation"}
    assert page.value("inference_ledger_persistent") == 1
    balanced(page)


def test_nobody_and_a_ledger_of_roots(
    host: Host, restricted: Callable[..., Contained], spec: restrictions.Manifest, folder: Path
) -> None:
    """The folder that the kubelet makes for a hostPath is root's: the books are in memory, and said to be."""
    spec["securityContext"] |= {"runAsUser": NONROOT, "runAsGroup": NONROOT}
    folder.chmod(0o755)
    try:
        with host.installed(restricted, spec) as daemon:
            page = daemon.settled()
    finally:
        folder.chmod(0o777)
    assert page.value("inference_ledger_persistent") == 0
    balanced(page)


def test_without_pod_resources(
    host: Host, restricted: Callable[..., Contained], spec: restrictions.Manifest
) -> None:
    """The same as for nobody's user, but that it is no failure: there is no kubelet to ask."""
    (container,) = spec["containers"]
    container["volumeMounts"] = [one for one in container["volumeMounts"] if one["name"] != "pod-resources"]
    with host.installed(restricted, spec) as daemon:
        page = daemon.settled()
    assert holders(page) == ["unmatched:wait", "", f"llamacpp:{host.llama.port}", ""]
    assert page.matching("inference_source_up", source="kubelet") == []
    balanced(page)


def test_without_a_host_path(
    host: Host, restricted: Callable[..., Contained], spec: restrictions.Manifest
) -> None:
    """Totals begin anew with each pod, and the time between is not charged; until then they are right."""
    (container,) = spec["containers"]
    container["volumeMounts"] = [one for one in container["volumeMounts"] if one["name"] != "ledger"]
    with host.installed(restricted, spec) as daemon:
        before = daemon.until(lambda page: page.sum("inference_gpu_seconds_total") > 8, "two seconds")
        assert daemon.terminate(5) == 0
        daemon.start()
        after = daemon.scrape()
    assert before.value("inference_ledger_persistent") == after.value("inference_ledger_persistent") == 0
    assert after.sum("inference_gpu_seconds_total") < before.sum("inference_gpu_seconds_total")
    assert before.matching("inference_ledger_last_commit_timestamp_seconds") == []
    balanced(before)


def test_with_look_up_of_pods(
    host: Host, restricted: Callable[..., Contained], asking: Callable[[str], restrictions.Manifest]
) -> None:
    """The kubelet tells what a pod wants to be called and who pays for it; nobody else is asked."""
    kubelet = Kubernetes(host.folder / "kubelet-account", at=(KUBELET, 10250))
    kubelet.server.set_reply("/pods", json.dumps(PODS))
    try:
        with host.installed(restricted, asking(KUBELET)) as daemon:
            page = daemon.until(named, "the pod's name", PATIENCE)
    finally:
        kubelet.close()
    assert holders(page) == ["unmatched:wait", "night-shift", f"llamacpp:{host.llama.port}", ""]
    assert payer(page, "night-shift") == ("night", "batch")
    assert page.value("inference_source_up", source="pods") == 1
    balanced(page)


def test_with_look_up_by_the_api_server(
    host: Host,
    restricted: Callable[..., Contained],
    asking: Callable[[str], restrictions.Manifest],
    api_server: Kubernetes,
) -> None:
    """No kubelet is there by https: the API server tells the same."""
    api_server.refused = {}
    with host.installed(restricted, asking(NO_KUBELET)) as daemon:
        page = daemon.until(named, "the pod's name", PATIENCE)
    assert payer(page, "night-shift") == ("night", "batch")
    assert page.value("inference_source_up", source="pods") == 1
    balanced(page)


def test_without_look_up_of_pods(
    host: Host,
    restricted: Callable[..., Contained],
    asking: Callable[[str], restrictions.Manifest],
    api_server: Kubernetes,
) -> None:
    """Nor may the API server be asked: the workload's name is cut from its pod's, and nobody is known to pay.

    Both failures are in the log, each with its remedy.
    """
    api_server.refused = {LISTED: 403}
    problem = f"pods of {NODE} at {api_server.server.address}: answers with HTTP status 403; allow it"
    with host.installed(restricted, asking(NO_KUBELET)) as daemon:
        page = daemon.settled()
        daemon.until(lambda _: problem in daemon.log.read_text(encoding="utf-8"), "the refusal", PATIENCE)
        log = daemon.log.read_text(encoding="utf-8")
    assert holders(page) == ["unmatched:wait", "unmatched:sleeper", f"llamacpp:{host.llama.port}", ""]
    assert payer(page, "unmatched:sleeper") == ("unassigned", "unassigned")
    assert page.value("inference_source_up", source="pods") == 0
    assert reasons(page, "pods") == {"connection"}
    assert set(page.tokens(f"llamacpp:{host.llama.port}")) == {"prompt", "cached_prompt", "generation"}
    balanced(page)
    line = next(line for line in log.splitlines() if problem in line)
    assert "source=pods" in line
    assert f"kubelet at https://{NO_KUBELET}:10250: " in line
    assert "no network policy and no firewall may keep this pod from its node's kubelet" in line
