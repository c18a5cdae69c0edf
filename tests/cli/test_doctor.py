"""The doctor asks the host's own clock whether it is set."""

from pathlib import Path

import pytest

from exporter.cli import doctor as module
from exporter.clock import SystemClock


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
