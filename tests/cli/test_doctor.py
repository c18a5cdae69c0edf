"""The doctor asks what the daemon asks: the host's own clock, and gateways where they are configured."""

from pathlib import Path

import pytest

from exporter.cli import doctor as module
from exporter.clock import SystemClock
from exporter.config import Config
from exporter.readings import FailureReason, MustRestartError, QuickSource, ReadFailedError, ServerKey
from exporter.sources.discovery import DiscoveredServer, DiscoveryResult
from exporter.vendors import NVIDIA
from tests.corners.gateway_servers import GatewayServers


@pytest.mark.parametrize("synchronized", [True, False])
def test_the_doctor_says_what_the_kernel_tells_of_the_clock(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    synchronized: bool,
) -> None:
    """Whatever the clock of the machine is that the test runs on."""
    monkeypatch.setattr(SystemClock, "synchronized", lambda _: synchronized)
    file = tmp_path / "ice.yaml"
    file.write_text('discovery: {cloud: "off"}\n')
    module.doctor(module.DoctorFlags(file, tmp_path / "ledger.db"))

    output = "note: the kernel says that the clock is not synchronized." in capsys.readouterr().out
    assert output != synchronized


def test_the_doctor_reads_the_gateways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the daemon would: at their own pages, whom they name for each server."""
    site = GatewayServers()
    site.serves(70, 30)
    site.counts(Search=(50, 10))
    with site.served() as port:
        file = tmp_path / "ice.yaml"
        url = f"http://127.0.0.1:{port}"
        divide = f'{{by: team, gateway: "{url}/gateway"}}'
        file.write_text(
            'discovery: {cloud: "off", processes: false}\n'
            f'servers: [{{name: chat, url: "{url}/vllm", gpus: all, divide: {divide}}}]\n'
        )
        module.doctor(module.DoctorFlags(file, tmp_path / "ledger.db"))

    expected = f"  {url}/gateway  the LiteLLM proxy\n       divides chat between: Search\n"
    assert expected in capsys.readouterr().out


class Broken(QuickSource):
    """In place of NVML: a source that fails as it is told to; `closed` counts how often it was let go of."""

    vendor = NVIDIA
    name = "nvml"

    def __init__(self, failure: BaseException) -> None:
        self._failure = failure
        self.closed = 0

    def read(self) -> None:
        raise self._failure

    def close(self) -> None:
        self.closed += 1


def examined(
    nvml: Broken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    monkeypatch.setattr(module, "gpu_sources", lambda _clock: (nvml,))
    file = tmp_path / "ice.yaml"
    file.write_text('discovery: {cloud: "off", processes: false}\n')
    module.doctor(module.DoctorFlags(file, tmp_path / "ledger.db"))
    return capsys.readouterr().out


def test_where_only_a_new_process_can_read_the_doctor_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The daemon would end with the same words; the ledger and the place are told all the same."""
    nvml = Broken(MustRestartError("the driver was replaced"))

    shown = examined(nvml, tmp_path, monkeypatch, capsys)

    assert "the driver was replaced" in shown
    assert f"{tmp_path}/ledger.db: not there yet; the daemon makes it" in shown
    assert nvml.closed == 1


class OnTheCpu:
    """Discovery of a host with a vLLM on the CPU."""

    endpoints = ()

    def sources(self, _config: Config) -> tuple[()]:
        return ()

    def look(self, *_: object) -> DiscoveryResult:
        return DiscoveryResult(
            servers=(
                DiscoveredServer(ServerKey("", "vllm:8000"), engine="vllm", url="http://h:8000/metrics"),
            )
        )

    def close(self) -> None:
        """It holds nothing."""


def test_servers_are_listed_where_no_gpu_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether one holds a GPU is not known, and none is read."""
    monkeypatch.setattr(module, "discovery", lambda *_: OnTheCpu())

    shown = examined(
        Broken(ReadFailedError(FailureReason.ABSENT, "no driver")), tmp_path, monkeypatch, capsys
    )

    assert "Found\n  not read while no GPU can be read: vllm:8000\n" in shown
    assert "h:8000" not in shown
    assert "note: only GPUs are charged, and no server on the CPU." in shown


def test_what_was_opened_is_let_go_of_whatever_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where somebody presses Ctrl-C while the sources are read."""
    nvml = Broken(ReadFailedError(FailureReason.ABSENT, "no driver"))

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module.FrameReader, "read", stopped)
    with pytest.raises(KeyboardInterrupt):
        examined(nvml, tmp_path, monkeypatch, capsys)

    assert nvml.closed == 1
