"""Notices of clouds that take a spot host back."""

import json
from collections.abc import Callable

import pytest

from exporter.readings import FailureReason, HostLocation, ReadFailedError
from exporter.sources.cloud import NoticeSource
from exporter.sources.cloud.metadata import TerminationNotice
from tests.kit.clock import ManualClock, clock_at
from tests.kit.units import SECOND
from tests.sources.cloud.metadata_server import MetadataServer, aws, azure, gcp

NOW = 1_796_083_200 * SECOND  # 2026-12-01T00:00:00Z
SOON = NOW + 120 * SECOND

AWS_PATH = "/latest/meta-data/spot/instance-action"
GCP_PATH = "/computeMetadata/v1/instance/preempted"
AZURE_NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
AZURE_PATH = "/metadata/scheduledevents?api-version=2020-07-01"


@pytest.fixture
def clock() -> ManualClock:
    return clock_at(NOW)


Make = Callable[[str], NoticeSource]


@pytest.fixture
def source(metadata: MetadataServer, clock: ManualClock) -> Make:
    def make(cloud: str) -> NoticeSource:
        {"aws": aws, "gcp": gcp, "azure": azure}[cloud](metadata)
        location = HostLocation(cloud, lifecycle="spot")
        return NoticeSource(clock, lambda: location, address=metadata.address)  # type: ignore[arg-type]

    return make


def event(**values: object) -> str:
    """A document of Azure with one event."""
    of_vm = {
        "EventId": "A123BC45-1234-5678-AB90-ABCDEF123456",
        "EventStatus": "Scheduled",
        "EventType": "Preempt",
        "ResourceType": "VirtualMachine",
        "Resources": ["gpu_0"],
        "NotBefore": "Tue, 01 Dec 2026 00:02:00 GMT",
        "EventSource": "Platform",
    }
    return json.dumps({"DocumentIncarnation": 1, "Events": [{**of_vm, **values}]})


def action(**values: object) -> str:
    return json.dumps({"action": "terminate", "time": "2026-12-01T00:02:00Z", **values})


def test_aws(metadata: MetadataServer, source: Make) -> None:
    """No such key, then one with the action and its time; each read has a token."""
    asking = source("aws")
    assert asking.read() == TerminationNotice()

    metadata.set_reply(AWS_PATH, action())
    assert asking.read() == TerminationNotice(given=True, end=SOON)
    metadata.set_reply(AWS_PATH, action(action="stop", time="2026-12-01T00:02:00"))
    assert asking.read() == TerminationNotice(given=True, end=SOON)
    assert metadata.paths == ["PUT /latest/api/token", AWS_PATH] * 3


def test_compute_engine(metadata: MetadataServer, source: Make, clock: ManualClock) -> None:
    """It names no time: the end is 30 seconds after the first read that saw it."""
    asking = source("gcp")
    metadata.set_reply(GCP_PATH, "FALSE")
    assert asking.read() == TerminationNotice()

    metadata.set_reply(GCP_PATH, "TRUE")
    assert asking.read() == TerminationNotice(given=True, end=NOW + 30 * SECOND)
    clock.now += 20 * SECOND
    assert asking.read() == TerminationNotice(given=True, end=NOW + 30 * SECOND)
    metadata.set_reply(GCP_PATH, "FALSE")
    assert asking.read() == TerminationNotice()


@pytest.mark.parametrize(
    ("events", "end"),
    [
        (json.dumps({"DocumentIncarnation": 1, "Events": []}), None),
        (event(), SOON),
        (event(EventType="Terminate"), SOON),
        (event(EventStatus="Started", NotBefore=""), NOW + 30 * SECOND),
        (event(EventType="Reboot"), None),
        (event(Resources=["gpu_1"]), None),
        (event(Resources=["gpu_1", "gpu_0"]), SOON),
    ],
)
def test_azure(events: str, end: int | None, metadata: MetadataServer, source: Make) -> None:
    """Events are of the whole scale set; those of this machine that end it count."""
    metadata.set_reply(AZURE_NAME, "gpu_0")
    metadata.set_reply(AZURE_PATH, events)

    assert source("azure").read() == TerminationNotice(given=end is not None, end=end)


@pytest.mark.parametrize(
    ("cloud", "replies"),
    [
        ("aws", {AWS_PATH: action(action="reboot")}),
        ("aws", {AWS_PATH: action(time="soon")}),
        ("aws", {AWS_PATH: action(time=None)}),
        ("aws", {AWS_PATH: "[" * 10_000}),
        ("gcp", {GCP_PATH: "MAYBE"}),
        ("azure", {AZURE_NAME: "gpu_0", AZURE_PATH: "{}"}),
        ("azure", {AZURE_NAME: "gpu_0", AZURE_PATH: event(NotBefore="soon")}),
        ("azure", {AZURE_NAME: "gpu_0", AZURE_PATH: event(Resources="gpu_0")}),
        ("azure", {AZURE_NAME: "gpu_0", AZURE_PATH: json.dumps({"Events": [{}] * 101})}),
        ("azure", {AZURE_NAME: "gpu_0", AZURE_PATH: json.dumps({"Events": ["x"]})}),
    ],
)
def test_answers_that_are_no_notice(
    cloud: str, replies: dict[str, str], metadata: MetadataServer, source: Make
) -> None:
    """They fail the read."""
    asking = source(cloud)
    for path, body in replies.items():
        metadata.set_reply(path, body)

    with pytest.raises(ReadFailedError) as caught:
        asking.read()
    assert caught.value.reason == FailureReason.NOT_RECOGNIZED


def test_a_time_that_is_far_away_is_no_notice(metadata: MetadataServer, source: Make) -> None:
    """Nobody is given notice for next year."""
    asking = source("aws")
    metadata.set_reply(AWS_PATH, action(time="2027-12-01T00:02:00Z"))
    assert asking.read() == TerminationNotice()


@pytest.mark.parametrize(
    "location",
    [
        None,
        HostLocation(),
        HostLocation("azure"),
        HostLocation("oci", lifecycle="spot"),
        HostLocation(lifecycle="spot"),
        HostLocation("of-nobody", lifecycle="spot"),
    ],
)
def test_nothing_is_sent_elsewhere(
    location: HostLocation | None, metadata: MetadataServer, clock: ManualClock
) -> None:
    """While the location is unknown, on hosts that are not spot, and in clouds without notices."""
    asking = NoticeSource(clock, lambda: location, address=metadata.address)  # type: ignore[arg-type]

    assert asking.read() == TerminationNotice()
    assert metadata.paths == []
