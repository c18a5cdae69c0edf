"""The demo needs nothing from anywhere: no GPU, no configuration, and once installed no network."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.daemon import ROOT
from tests.e2e.network import Network
from tests.rights import NETWORKS

SECONDS_MAX = 60
"""Of a processor, until the page is there and gone again."""
BUSY_SECONDS_MAX = 150
"""Until the page is there, beside other tests."""


@pytest.mark.nightly  # each day that of the image has no network, and that of test_page.py a page
@pytest.mark.timeout(300)
@pytest.mark.skipif(os.geteuid() != 0, reason=NETWORKS)
def test_the_demo_opens_without_a_network_and_leaves_nothing(tmp_path: Path) -> None:
    """Its page takes less than a minute; stopped, it exits 0 and its folder is gone."""
    with Network() as network:
        before = os.times()
        demo = subprocess.Popen(
            network.command(sys.executable, "-m", "exporter", "demo", "--web.listen-address=:9844"),
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            page = opened(f"http://{network.host}:9844/", time.monotonic() + BUSY_SECONDS_MAX)
            (folder,) = tmp_path.iterdir()
            files = {file.name for file in folder.iterdir()}
        finally:
            demo.send_signal(signal.SIGTERM)
            words, _ = demo.communicate(timeout=30)
        after = os.times()

    assert "archive-13b" in page
    assert {"demo.yaml", "demo.log", "ledger.db"} <= files
    assert "simulated the last five weeks\n" in words
    assert f"--config.file={folder}/demo.yaml" in words
    assert demo.returncode == 0
    used = (each.children_user + each.children_system for each in (after, before))
    assert next(used) - next(used) < SECONDS_MAX
    assert list(tmp_path.iterdir()) == []


def opened(url: str, deadline: float) -> str:
    """What is served there, as soon as anything is."""
    while True:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310  # our own
                return str(answer.read().decode())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
