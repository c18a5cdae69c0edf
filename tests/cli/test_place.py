"""The daemon and the doctor ask where the host runs, and go by the answer."""

import queue
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from exporter.cli import doctor as doctor_module
from exporter.cli import serve as serve_module
from exporter.cli.doctor import DoctorFlags, doctor
from exporter.cli.serve import ServeFlags, _Daemon
from exporter.clock import SystemClock
from exporter.config import Config, load
from exporter.config.settings import cost_policy
from exporter.cost.policy import CostPolicy
from exporter.readings import HostLocation
from exporter.report import SourceRow
from exporter.sampler.sampler import SamplerPlan
from exporter.sources import location as location_module
from exporter.sources.cloud import CloudSource
from tests.sources.cloud.metadata_server import MetadataServer, azure

ANSWER = HostLocation(
    "azure", "Standard_ND96isr_H100_v5", "eastus2", "eastus2-1", "on_demand", "azure metadata"
)


@pytest.fixture
def cloud_metadata() -> Iterator[MetadataServer]:
    made = MetadataServer()
    yield azure(made)
    made.close()


@pytest.fixture(autouse=True)
def planned_locations(
    cloud_metadata: MetadataServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[HostLocation | None]:
    """Both read a metadata server, and firmware shows no cloud; returns the location of each policy made."""
    source = partial(CloudSource, root=tmp_path, address=cloud_metadata.address, timeout=10.0)
    locations: list[HostLocation | None] = []

    def policy_of(config: Config, host: str, location: HostLocation | None, **options: Any) -> CostPolicy:
        locations.append(location)
        return cost_policy(config, host, location, **options)

    for module in (location_module, doctor_module):
        monkeypatch.setattr(module, "CloudSource", source)
    for module in (serve_module, doctor_module):
        monkeypatch.setattr(module, "cost_policy", policy_of)
    return locations


class Plans:
    """In place of a sampler: the plans that the daemon set."""

    def __init__(self) -> None:
        self._set: queue.Queue[SamplerPlan] = queue.Queue()

    def set_plan(self, plan: SamplerPlan) -> None:
        self._set.put(plan)

    def next(self) -> SamplerPlan:
        return self._set.get(timeout=30)

    def current(self) -> None:
        return None


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ice.yaml"


@pytest.fixture
def plans() -> Plans:
    return Plans()


@pytest.fixture
def daemon(file: Path, plans: Plans) -> Iterator[Callable[[str], _Daemon]]:
    made: list[_Daemon] = []

    def make(text: str) -> _Daemon:
        file.write_text(text)
        made.append(_Daemon(ServeFlags(file, "127.0.0.1:0", None), load(file), SystemClock()))
        sampler: Any = plans
        made[-1]._sampler = sampler
        return made[-1]

    yield make
    for one in made:
        one._location.close()


def cloud_of(plan: SamplerPlan) -> SourceRow:
    (row,) = plan.unread_sources
    return row


def test_the_answer_makes_a_new_plan_with_the_same_endpoints(
    daemon: Callable[[str], _Daemon], plans: Plans, planned_locations: list[HostLocation | None]
) -> None:
    """Prices go by the place from the next tick on; servers keep what their sources know."""
    made = daemon('discovery: {cloud: azure}\nservers: [{name: a, url: "http://127.0.0.1:1", gpus: all}]\n')
    before = made._plan(succeeded=True)
    assert before.unread_sources == ()
    made._location.start()
    after = plans.next()

    assert planned_locations == [None, ANSWER]
    row = cloud_of(after)
    assert (row.source, row.up, row.errors) == ("cloud", True, {})
    assert after.endpoints[0] is before.endpoints[0]


def test_a_cloud_that_fails_is_a_source_that_is_down(
    daemon: Callable[[str], _Daemon],
    cloud_metadata: MetadataServer,
    plans: Plans,
    planned_locations: list[HostLocation | None],
) -> None:
    """With what is known without it: the market price of the GPUs may stand in."""
    cloud_metadata.replies.clear()
    daemon("discovery: {cloud: azure}\n")._location.start()
    row = cloud_of(plans.next())

    assert (row.source, row.up, row.errors) == ("cloud", False, {"http_status": 1})
    assert planned_locations == [HostLocation("azure", source="configuration")]


def test_on_bare_metal_there_is_no_such_source(
    daemon: Callable[[str], _Daemon],
    cloud_metadata: MetadataServer,
    planned_locations: list[HostLocation | None],
) -> None:
    """And the place is known from the first plan on."""
    made = daemon("interval: 10s\n")
    made._location.start()

    assert made._plan(succeeded=True).unread_sources == ()
    assert planned_locations == [HostLocation()]
    assert cloud_metadata.requests == []


def test_a_reload_may_ask_another_cloud_or_nobody(
    daemon: Callable[[str], _Daemon],
    file: Path,
    cloud_metadata: MetadataServer,
    plans: Plans,
    planned_locations: list[HostLocation | None],
) -> None:
    """What one cloud told is not kept for another choice."""
    made = daemon("discovery: {cloud: azure}\n")
    made._location.start()
    plans.next()
    file.write_text("discovery: {cloud: off}\n")
    made.reload()

    assert plans.next().unread_sources == ()
    assert planned_locations == [ANSWER, HostLocation()]
    assert len(cloud_metadata.requests) == 1


def test_a_reload_that_leaves_the_cloud_as_it_was_asks_nobody_again(
    daemon: Callable[[str], _Daemon],
    file: Path,
    cloud_metadata: MetadataServer,
    plans: Plans,
    planned_locations: list[HostLocation | None],
) -> None:
    """The answer is kept for the life of the process."""
    made = daemon("discovery: {cloud: azure}\n")
    made._location.start()
    plans.next()
    file.write_text("discovery: {cloud: azure}\ninterval: 5s\n")
    made.reload()

    assert cloud_of(plans.next()).up
    assert planned_locations == [ANSWER, ANSWER]
    assert len(cloud_metadata.requests) == 1


def test_the_doctor_tells_the_place_and_who_told(
    file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    planned_locations: list[HostLocation | None],
) -> None:
    """It asks once, and waits for the answer."""
    file.write_text("discovery: {cloud: azure}\n")
    doctor(DoctorFlags(file, tmp_path / "ledger.db"))

    host, line, *_ = capsys.readouterr().out.split("\n")
    assert host == "Host"
    expected = (
        "Standard_ND96isr_H100_v5 of azure in eastus2 (zone eastus2-1), on demand; source: azure metadata"
    )
    assert line.endswith(f"  {expected}")
    assert planned_locations == [ANSWER]


def test_the_doctor_says_why_a_cloud_does_not_tell(
    file: Path, tmp_path: Path, cloud_metadata: MetadataServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what is known without it."""
    cloud_metadata.replies.clear()
    file.write_text("discovery: {cloud: azure}\n")
    doctor(DoctorFlags(file, tmp_path / "ledger.db"))

    printed = capsys.readouterr().out
    assert "an unknown instance type of azure in an unknown region" in printed
    problem = f"azure metadata at {cloud_metadata.address}: answers with HTTP status 404"
    assert f"warning: azure does not report the host's location: {problem}. " in printed


@pytest.fixture
def _handlers() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("_handlers")
def test_the_first_tick_does_not_wait_for_the_cloud(
    file: Path, tmp_path: Path, cloud_metadata: MetadataServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service answers once a tick was taken without it; a later tick has it in its report."""
    file.write_text("discovery: {cloud: azure}\ninterval: 1s\n")
    daemon = _Daemon(ServeFlags(file, "127.0.0.1:0", tmp_path / "ledger.db"), load(file), SystemClock())
    ticked, stop = threading.Event(), threading.Event()
    cloud_metadata.before = lambda: wait_for(ticked)
    ticks: list[tuple[HostLocation | None, dict[str, bool]]] = []

    def published() -> None:
        report = daemon._current()
        assert report is not None
        ticks.append((daemon._location.location, {row.source: row.up for row in report.sources}))
        ticked.set()
        if "cloud" in ticks[-1][1] or len(ticks) == 30:
            stop.set()

    monkeypatch.setattr(daemon, "_prepare", published)
    daemon._location.start()
    assert cloud_metadata.arrived.acquire(timeout=30)
    assert daemon.run(stop) == 0

    (first, sources), *_, (last, later) = ticks
    assert (first, "cloud" in sources) == (None, False)
    assert (last, later["cloud"]) == (ANSWER, True)


def wait_for(event: threading.Event) -> None:
    assert event.wait(timeout=60)
