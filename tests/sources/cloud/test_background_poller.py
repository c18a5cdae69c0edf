"""Asking in the background: no tick waits, an answer is kept, and silence is asked again ever more rarely."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.clock import SystemClock
from exporter.readings import HostLocation
from exporter.report import SourceRow
from exporter.sources.cloud import CloudSource
from exporter.sources.location import BackgroundPoller
from exporter.units import Nanoseconds, seconds
from tests.exporter_threads import ended, running
from tests.sources.cloud.metadata_server import (
    AWS_SESSION_PATH,
    AZURE_PATH,
    MetadataServer,
    Reply,
    aws,
    azure,
)

Make = Callable[..., CloudSource]

NOW = 1_795_564_800 * 10**9
ANSWER = HostLocation(
    "azure", "Standard_ND96isr_H100_v5", "eastus2", "eastus2-1", "on_demand", "azure metadata"
)


class Clock(SystemClock):
    """Real time for requests; what is waited for is noted instead, and the wall stands still."""

    def __init__(self) -> None:
        self.waited: list[float] = []
        self.goes_on = threading.Semaphore(0)
        self.waits = threading.Semaphore(0)

    def wall(self) -> int:
        return NOW

    def wait(self, stop: threading.Event, duration: Nanoseconds) -> bool:
        self.waited.append(seconds(duration))
        self.waits.release()
        assert self.goes_on.acquire(timeout=30)
        return stop.is_set()

    def asked_again(self) -> None:
        """Wait until the poller waits, and let it go on."""
        assert self.waits.acquire(timeout=30)
        self.goes_on.release()


class PollerHost:
    """What a poller reported, in order, and the clock that it goes by."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.changes: list[tuple[HostLocation | None, SourceRow | None]] = []
        self.changed = threading.Semaphore(0)
        self.poller: BackgroundPoller[HostLocation] | None = None

    def begin(
        self, source: CloudSource, renewal: Nanoseconds | None = None
    ) -> BackgroundPoller[HostLocation]:
        def changed() -> None:
            assert self.poller is not None
            self.changes.append((self.poller.value, self.poller.row))
            self.changed.release()

        self.poller = BackgroundPoller(source, self.clock, changed, renewal)
        return self.poller

    def next(self) -> tuple[HostLocation | None, SourceRow | None]:
        """The value and row of the next change."""
        assert self.changed.acquire(timeout=30)
        return self.changes[-1]

    def close(self) -> None:
        if self.poller is not None:
            self.poller.close()
            self.clock.goes_on.release()
            assert ended("cloud")


@pytest.fixture
def poller_host() -> Iterator[PollerHost]:
    made = PollerHost()
    yield made
    made.close()


def test_nothing_is_told_until_the_cloud_has_answered(
    metadata: MetadataServer, source: Make, poller_host: PollerHost
) -> None:
    """`None` is not "in no cloud": what is not priced meanwhile is priced with the answer."""
    azure(metadata)
    poller = poller_host.begin(source("azure"))
    assert (poller.value, poller.row) == (None, None)

    poller.start()
    location, row = poller_host.next()

    assert location == ANSWER
    assert row is not None
    assert (row.source, row.up, row.last_success, row.errors) == ("cloud", True, NOW, {})
    assert 0 < row.read_duration < 30 * 10**9


def test_starting_does_not_wait_and_starts_once(
    metadata: MetadataServer, source: Make, poller_host: PollerHost
) -> None:
    """While the service keeps silent, whoever started it goes on; one thread asks, however often."""
    answers = threading.Event()
    azure(metadata).before = lambda: assert_set(answers)
    poller = poller_host.begin(source("azure", timeout=30.0))
    poller.start()
    poller.start()
    assert metadata.arrived.acquire(timeout=30)
    assert (poller.value, poller_host.changes) == (None, [])
    assert running("cloud") == 1

    answers.set()
    location, _ = poller_host.next()

    assert location == ANSWER


def assert_set(event: threading.Event) -> None:
    assert event.wait(timeout=30)


def test_a_service_that_keeps_silent_is_given_up_after_three_attempts(
    metadata: MetadataServer, source: Make, poller_host: PollerHost
) -> None:
    """Then what is known without it is the place. Until then it may be a network that is not up yet."""
    azure(metadata).hangs.add(AZURE_PATH)
    poller_host.begin(source("azure", timeout=0.3)).start()
    locations = []
    for _ in range(2):
        locations.append(poller_host.next()[0])
        poller_host.clock.asked_again()
    location, row = poller_host.next()

    assert locations == [None, None]
    assert HostLocation("azure", source="configuration") == location
    assert row is not None
    assert (row.up, row.last_success, row.errors) == (False, None, {"timeout": 3})
    assert poller_host.clock.waited[:2] == [5, 10]


def test_a_network_that_comes_up_after_the_daemon_prices_nothing_by_the_firmware_alone(
    metadata: MetadataServer, firmware: Callable[..., Path], source: Make, poller_host: PollerHost
) -> None:
    """A spot host would pay an on-demand price since its last tick, as its firmware has no lifecycle."""
    firmware(sys_vendor="Amazon EC2", product_name="p5.48xlarge")
    aws(metadata).hangs.add(AWS_SESSION_PATH)
    poller_host.begin(source("auto", timeout=0.3)).start()
    location, row = poller_host.next()
    assert location is None
    assert row is not None
    assert row.errors == {"timeout": 1}

    metadata.hangs.clear()
    poller_host.clock.asked_again()
    location, _ = poller_host.next()

    assert location is not None
    assert (location.instance_type, location.lifecycle) == ("p5.48xlarge", "on_demand")


def test_silence_after_an_answer_gives_nothing_up(
    metadata: MetadataServer, source: Make, poller_host: PollerHost
) -> None:
    """What was read once stays, and what fails otherwise is no silence: the next read is another attempt."""
    azure(metadata)
    poller_host.begin(source("azure", timeout=0.3), renewal=600 * 10**9).start()
    assert poller_host.next()[0] == ANSWER
    metadata.hangs.add(AZURE_PATH)
    for _ in range(2):
        poller_host.clock.asked_again()
        assert poller_host.next()[0] == ANSWER


def test_an_answer_is_kept_and_asked_for_once(
    metadata: MetadataServer, source: Make, poller_host: PollerHost
) -> None:
    """For the life of the process: the thread is gone, and another start asks nobody."""
    azure(metadata)
    poller = poller_host.begin(source("azure"))
    poller.start()
    poller_host.next()
    assert ended("cloud")
    poller.start()

    assert metadata.paths == [AZURE_PATH]
    assert poller_host.clock.waited == []
    assert poller.value == ANSWER


def test_silence_is_asked_again_after_pauses_that_double_up_to_an_hour(
    metadata: MetadataServer, source: Make, poller_host: PollerHost
) -> None:
    """5, 10, 20, ... 2,560 s, and an hour from then on."""
    azure(metadata).says_everywhere(Reply(b"", 503))
    poller_host.begin(source("azure")).start()
    for _ in range(12):
        poller_host.next()
        poller_host.clock.asked_again()
    poller_host.next()

    expected = [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]
    assert expected == poller_host.clock.waited[:12]
    assert len(metadata.requests) == 13


def test_a_late_answer_replaces_what_was_known(
    metadata: MetadataServer, source: Make, poller_host: PollerHost
) -> None:
    """The network came up after the daemon. What failed before stays counted."""
    poller = poller_host.begin(source("azure"))
    poller.start()
    location, row = poller_host.next()
    assert HostLocation("azure", source="configuration") == location
    assert row is not None
    assert (row.up, row.errors) == (False, {"http_status": 1})

    azure(metadata)
    poller_host.clock.asked_again()
    location, row = poller_host.next()

    assert location == ANSWER
    assert row is not None
    assert (row.up, row.errors) == (True, {"http_status": 1})


def test_firmware_prices_a_host_whose_metadata_is_out_of_reach(
    metadata: MetadataServer, firmware: Callable[..., Path], source: Make, poller_host: PollerHost
) -> None:
    """Up, the failure counted beside it, and still asked for region and lifecycle."""
    firmware(sys_vendor="Amazon EC2", product_name="p5.48xlarge")
    aws(metadata).set_reply(AWS_SESSION_PATH, "", status=403)
    poller = poller_host.begin(source("auto"))
    poller.start()
    location, row = poller_host.next()
    assert HostLocation("aws", "p5.48xlarge", source="dmi") == location
    assert row is not None
    assert (row.up, row.last_success, row.errors) == (True, NOW, {"http_status": 1})

    aws(metadata)
    poller_host.clock.asked_again()

    location, _ = poller_host.next()
    assert location is not None
    assert (location.region, location.source) == ("us-east-1", "aws metadata")


def test_on_bare_metal_there_is_no_thread_and_no_source(
    metadata: MetadataServer, source: Make, poller_host: PollerHost
) -> None:
    """The place is known to be none from the start; no row of health is exported."""
    poller = poller_host.begin(source("auto"))
    poller.start()

    assert HostLocation() == poller.value
    assert poller.row is None
    assert metadata.requests == []


def test_what_is_closed_changes_nothing_any_more(
    metadata: MetadataServer, source: Make, poller_host: PollerHost
) -> None:
    """A reload has made another poller, and the answer of the old one comes late."""
    azure(metadata)
    poller = poller_host.begin(source("azure"))
    metadata.before = poller.close
    poller.start()
    assert ended("cloud")

    assert (poller.value, poller.row) == (None, None)
    assert poller_host.changes == []


def test_a_slip_of_ours_leaves_the_host_with_what_is_known(
    source: Make, poller_host: PollerHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as `internal`; a thread that died unseen would leave the host unpriced for good."""

    def slips(_: Any) -> HostLocation:
        raise KeyError("x")

    monkeypatch.setattr(CloudSource, "read", slips)
    poller_host.begin(source("azure")).start()
    location, row = poller_host.next()

    assert HostLocation("azure", source="configuration") == location
    assert row is not None
    assert (row.up, row.errors) == (False, {"internal": 1})


def test_the_log_tells_an_outage_once(
    metadata: MetadataServer, source: Make, poller_host: PollerHost, caplog: pytest.LogCaptureFixture
) -> None:
    """However often it is asked."""
    caplog.set_level("INFO", logger="exporter")
    poller_host.begin(source("azure")).start()
    for _ in range(3):
        poller_host.next()
        poller_host.clock.asked_again()
    azure(metadata)
    while poller_host.next()[0] != ANSWER:
        poller_host.clock.asked_again()

    (failed,) = caplog.records
    problem = f"azure metadata at {metadata.address}: answers with HTTP status 404"
    assert ("source failed", "cloud", problem) == (
        failed.getMessage(),
        vars(failed)["source"],
        vars(failed)["problem"],
    )


def test_an_answer_that_may_change_is_asked_for_again(
    metadata: MetadataServer, source: Make, poller_host: PollerHost
) -> None:
    """So long after each answer; a failure pauses as ever and leaves what was told, and the row tells it."""
    azure(metadata)
    poller = poller_host.begin(source("azure"), renewal=600 * 10**9)
    poller.start()
    poller_host.next()
    poller_host.clock.asked_again()
    assert poller_host.next()[0] == ANSWER
    metadata.says_everywhere(Reply(b"", 503))
    for _ in range(3):
        poller_host.clock.asked_again()
        location, row = poller_host.next()

    assert location == ANSWER
    assert row is not None
    assert (row.up, row.last_success, row.errors) == (False, NOW, {"http_status": 3})
    azure(metadata).rules = lambda _: None
    poller_host.clock.asked_again()
    assert poller_host.next()[0] == ANSWER
    poller_host.clock.asked_again()
    poller_host.next()
    assert poller_host.clock.waited[:6] == [600, 600, 5, 10, 20, 600]
