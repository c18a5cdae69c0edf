"""A machine's image cloned with its ledger: both daemons go on under one id, and both are in the report."""

import contextlib
import gzip
import json
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import ROOT, Daemon
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s

PRICED = """
interval: 1s
hardware:
  - {match: {gpu_model: "*H100*"}, rented: {dollars_per_gpu_hour: 4}}
"""
COST = "inference_gpu_cost_dollars_total"
MACHINE, CLONE = h100s(2, utilization=50)

pytestmark = pytest.mark.timeout(180)


def installation(folder: Path, gpu: Any) -> Daemon:
    folder.mkdir()
    return Daemon(folder, PRICED, FakeNvml(folder, Scenario((gpu,))).environment())


def backed_up(daemon: Daemon, target: Path) -> Path:
    """As the page on closing a month says."""
    with contextlib.closing(sqlite3.connect(daemon.ledger)) as connection:
        connection.execute("VACUUM INTO ?", (str(target),))
    return target


def by_gpu(source: Path) -> Any:
    words = ["report", "month", "--by=gpu", f"--from={source}", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "exporter", *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_a_clone_and_a_compressed_ledger_are_in_the_report(tmp_path: Path) -> None:
    """Each GPU's seconds are those of its own machine, at 4 dollars an hour; the parting is named."""
    one = installation(tmp_path / "one", MACHINE)
    two = installation(tmp_path / "two", replace(CLONE, pci=MACHINE.pci))
    folder = tmp_path / "fleet"
    folder.mkdir()
    with one:
        one.until(lambda page: page.sum(COST) > 4 * 3 / 3600, "three seconds of the machine")
        backed_up(one, two.ledger)
        with two:
            two.until(lambda page: page.sum(COST, uuid=CLONE.uuid) > 4 * 5 / 3600, "five of the clone")
            one.until(lambda page: page.sum(COST, uuid=MACHINE.uuid) > 4 * 10 / 3600, "ten of the machine")
            files = [
                backed_up(daemon, folder / f"img-{name}.db") for name, daemon in (("1", one), ("2", two))
            ]
    alone = {file.stem: {row["uuid"]: row["gpu_seconds"] for row in by_gpu(file)["rows"]} for file in files}
    files[0].with_suffix(".db.gz").write_bytes(gzip.compress(files[0].read_bytes()))
    files[0].unlink()
    report = by_gpu(folder)
    seconds = {row["uuid"]: row["gpu_seconds"] for row in report["rows"]}

    assert seconds[MACHINE.uuid] == pytest.approx(alone["img-1"][MACHINE.uuid], abs=0.01)
    assert seconds[CLONE.uuid] == pytest.approx(alone["img-2"][CLONE.uuid], abs=0.01)
    assert report["total"]["picodollars"] == pytest.approx(sum(seconds.values()) * 4e12 / 3600, rel=1e-6)
    (fork,) = [each for each in report["missing"] if each["kind"] == "fork"]
    assert {Path(fork["location"]).name, Path(fork["text"]).name} == {"img-1.db.gz", "img-2.db"}
