"""The doctor asks what the daemon asks: the host's own clock, and gateways where they are configured."""

from pathlib import Path

import pytest

from exporter.cli import doctor as module
from exporter.clock import SystemClock
from tests.corners.gateway_site import Site


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
    module.doctor(file, tmp_path / "ledger.db", as_json=False)

    said = "note: the kernel says that the clock is not synchronized." in capsys.readouterr().out
    assert said != synchronized


def test_the_doctor_reads_the_gateways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the daemon would: at their own pages, whom they name for each server."""
    site = Site()
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
        module.doctor(file, tmp_path / "ledger.db", as_json=False)

    expected = f"  {url}/gateway  the LiteLLM proxy\n       divides chat between: Search\n"
    assert expected in capsys.readouterr().out
