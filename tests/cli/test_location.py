"""The cloud and the cluster are asked side by side, and the prices wait for both."""

import json
import queue
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path

import pytest

from exporter.cli import doctor as doctor_module
from exporter.cli.doctor import DoctorFlags, doctor
from exporter.clock import SystemClock
from exporter.config import parse
from exporter.readings import HostLocation
from exporter.sources import kubernetes
from exporter.sources import location as module
from exporter.sources.cloud import CloudSource, NoticeSource
from exporter.sources.location import LocationPoller
from tests.sources.cloud.metadata_server import AZURE_COMPUTE, AZURE_PATH, MetadataServer, Reply, azure
from tests.sources.kubernetes.api_server import EKS, NODE_PATH, Kubernetes, metadata

LABELS = tuple(sorted(EKS.items()))
ALONE = HostLocation("aws", "p5.48xlarge", "us-east-1", "us-east-1d", "on_demand", "node labels", LABELS)

Begin = Callable[[str], LocationPoller]


@pytest.fixture
def cloud_metadata() -> Iterator[MetadataServer]:
    made = MetadataServer()
    yield azure(made)
    made.close()


@pytest.fixture
def cluster(
    cloud_metadata: MetadataServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Kubernetes]:
    """A pod of a cluster, on a machine whose firmware says nothing and whose cloud is a metadata server."""
    made = Kubernetes(tmp_path / "account")
    source = partial(CloudSource, root=tmp_path, address=cloud_metadata.address, timeout=10.0)
    for where in (module, doctor_module):
        monkeypatch.setattr(where, "CloudSource", source)
    monkeypatch.setattr(module, "NoticeSource", partial(NoticeSource, address=cloud_metadata.address))
    monkeypatch.setattr(kubernetes, "account", partial(kubernetes.account, made.environ, made.mount))
    yield made
    made.close()


@pytest.fixture
def changes() -> "queue.Queue[None]":
    return queue.Queue()


@pytest.fixture
def begin(cluster: Kubernetes, changes: "queue.Queue[None]") -> Iterator[Begin]:
    made: list[LocationPoller] = []

    def start(text: str) -> LocationPoller:
        made.append(LocationPoller(SystemClock(), parse(text.encode()), lambda: changes.put(None)))
        made[-1].start()
        return made[-1]

    assert cluster.server.requests == []
    yield start
    for one in made:
        one.close()


def test_labels_alone_are_a_place(begin: Begin, changes: "queue.Queue[None]") -> None:
    """Where the firmware shows no sign and nobody else is asked."""
    asking = begin("interval: 10s\n")
    changes.get(timeout=30)

    assert asking.location == ALONE
    assert [(row.source, row.up) for row in asking.rows] == [("node_labels", True)]


def test_the_place_is_unknown_until_both_were_asked(
    begin: Begin, cluster: Kubernetes, changes: "queue.Queue[None]"
) -> None:
    """The cloud has answered, the API server has not: what prices by labels is not known yet."""
    cluster.server.hangs.add(NODE_PATH)
    asking = begin("discovery: {cloud: azure}\n")
    changes.get(timeout=30)
    # A server that closes before it accepts resets the connection, whose socket Python 3.11 leaves open.
    assert cluster.server.arrived.acquire(timeout=30)

    assert asking.location is None
    assert [(row.source, row.up) for row in asking.rows] == [("cloud", True)]


def test_a_cluster_that_refuses_leaves_what_the_cloud_told(
    begin: Begin, cluster: Kubernetes, changes: "queue.Queue[None]"
) -> None:
    """And labels that are not known, which is not the same as none."""
    cluster.refused[NODE_PATH] = 403
    asking = begin("discovery: {cloud: azure}\n")
    changes.get(timeout=30)
    changes.get(timeout=30)

    assert asking.location == HostLocation(
        "azure", "Standard_ND96isr_H100_v5", "eastus2", "eastus2-1", "on_demand", "azure metadata", None
    )
    assert [(row.source, row.up, row.errors) for row in asking.rows] == [
        ("cloud", True, {}),
        ("node_labels", False, {"forbidden": 1}),
    ]


def test_a_cloud_that_keeps_silent_is_told_by_the_labels(
    begin: Begin, cloud_metadata: MetadataServer, cluster: Kubernetes, changes: "queue.Queue[None]"
) -> None:
    """As where a hop limit or a policy keeps pods from the metadata service."""
    cloud_metadata.says_everywhere(Reply(b"", 503))
    aks = {
        "kubernetes.azure.com/scalesetpriority": "spot",
        "node.kubernetes.io/instance-type": "Standard_ND96isr_H100_v5",
        "topology.kubernetes.io/region": "eastus2",
    }
    cluster.set_reply(NODE_PATH, metadata(labels=aks))
    asking = begin("discovery: {cloud: azure}\n")
    changes.get(timeout=30)
    changes.get(timeout=30)

    assert asking.location == HostLocation(
        "azure",
        "Standard_ND96isr_H100_v5",
        "eastus2",
        "",
        "spot",
        "configuration, node labels",
        tuple(sorted(aks.items())),
    )


def test_a_cluster_may_be_left_alone(begin: Begin, cluster: Kubernetes) -> None:
    """`off` asks nobody, and there are no labels then."""
    asking = begin("discovery: {kubernetes: off}\n")

    assert asking.location == HostLocation()
    assert (asking.rows, cluster.server.requests) == ((), [])


def test_a_reload_asks_anew_only_whom_it_changes(
    begin: Begin, cloud_metadata: MetadataServer, cluster: Kubernetes, changes: "queue.Queue[None]"
) -> None:
    """The answer of the cloud is kept for the life of the process; switched off, the labels are none."""
    asking = begin("discovery: {cloud: azure}\n")
    changes.get(timeout=30)
    changes.get(timeout=30)
    asking.go_by(parse(b"discovery: {cloud: azure}\ninterval: 5s\n"))
    asking.go_by(parse(b"discovery: {cloud: azure, kubernetes: off}\n"))

    location = asking.location
    assert location is not None
    assert (location.instance_type, location.node_labels) == ("Standard_ND96isr_H100_v5", ())
    assert (cloud_metadata.paths, len(cluster.server.requests)) == ([AZURE_PATH], 1)

    asking.go_by(parse(b"discovery: {cloud: azure}\n"))
    changes.get(timeout=30)
    location = asking.location
    assert location is not None
    assert location.node_labels == LABELS


def test_the_log_tells_a_place_and_a_contradiction_once(
    begin: Begin, changes: "queue.Queue[None]", caplog: pytest.LogCaptureFixture
) -> None:
    """The labels are of EKS, the metadata of Azure: what the cloud says counts."""
    caplog.set_level("INFO", logger="exporter")
    asking = begin("discovery: {cloud: azure}\n")
    changes.get(timeout=30)
    changes.get(timeout=30)
    asking._note_change()
    contradicted, logged = caplog.records

    assert contradicted.getMessage() == "node labels contradict cloud metadata"
    assert vars(contradicted)["problem"] == "the node's labels say in aws, azure metadata says in azure"
    assert (logged.getMessage(), vars(logged)["instance_type"], vars(logged)["lifecycle"]) == (
        "host location",
        "Standard_ND96isr_H100_v5",
        "on_demand",
    )


def test_the_doctor_tells_who_told(
    cluster: Kubernetes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It reads the labels once, and waits for them; pods are asked for beside."""
    doctor(DoctorFlags(None, tmp_path / "ledger.db"))

    line = capsys.readouterr().out.split("\n")[1]
    assert line.endswith("p5.48xlarge of aws in us-east-1 (zone us-east-1d), on demand; source: node labels")
    assert [request.path.split("?")[0].split("/")[3] for request in cluster.server.requests].count(
        "nodes"
    ) == 1


def test_the_doctor_says_what_a_refusal_means(
    cluster: Kubernetes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rule that goes by labels prices nothing until they are told: money would be wrong."""
    cluster.refused[NODE_PATH] = 403
    file = tmp_path / "ice.yaml"
    file.write_text('hardware: [{match: {node_label: {a: "*"}}, rented: {dollars_per_gpu_hour: 1}}]\n')

    assert doctor(DoctorFlags(file, tmp_path / "ledger.db")) == 2
    printed = capsys.readouterr().out
    assert "error: node labels: node ip-10-0-1-23.ec2.internal at https://127.0.0.1:" in printed
    assert "What hardware[0].rented and the rules behind it price waits." in printed


def test_a_verb_goes_by_the_labels(cluster: Kubernetes) -> None:
    """Its prices of now are those of the daemon."""
    assert module.location_now(parse(b""), SystemClock()) == ALONE
    assert len(cluster.server.requests) == 1


EVENTS_PATH = "/metadata/scheduledevents?api-version=2020-07-01"
NAME_PATH = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"


@pytest.mark.parametrize("priority", ["Spot", "Regular"])
def test_a_spot_hosts_end_is_known_by_notice(
    priority: str, begin: Begin, cloud_metadata: MetadataServer, changes: "queue.Queue[None]"
) -> None:
    """Only a spot host asks: on Azure the question alone switches events on."""
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=1)
    event = {"EventType": "Preempt", "Resources": ["gpu-0"], "NotBefore": format_datetime(soon, usegmt=True)}
    cloud_metadata.set_reply(AZURE_PATH, json.dumps({**AZURE_COMPUTE, "priority": priority}))
    cloud_metadata.set_reply(NAME_PATH, "gpu-0")
    cloud_metadata.set_reply(EVENTS_PATH, json.dumps({"Events": [event]}))
    asking = begin("discovery: {cloud: azure}\n")
    for _source in range(2):
        changes.get(timeout=30)

    if priority == "Regular":
        assert (asking.ends(), cloud_metadata.paths) == (None, [AZURE_PATH])
        return
    for _path in (AZURE_PATH, NAME_PATH, EVENTS_PATH):
        assert cloud_metadata.arrived.acquire(timeout=30)
    deadline = time.monotonic() + 30
    while asking.ends() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert asking.ends() == int(soon.timestamp()) * 10**9
