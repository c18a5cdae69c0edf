"""Each label set that an exporter's series have in a Prometheus: whose GPU it is, and who holds it.

A file has samples of one scrape. They are recorded every minute for six hours of a day of their own; what
ends in `_total` grows by its value each minute.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from exporter.cli import main
from tests.e2e.backfill.exporter_series import Series, series
from tests.e2e.backfill.stores import prometheus_of
from tests.e2e.fleet.programs import FleetPrometheus

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("backfill")]

FOLDER: Final = Path(__file__).parent / "label_sets"
FIRST_DAY: Final = datetime(2026, 7, 1, tzinfo=UTC)
HOURS: Final = 6
CONFIG: Final = "hardware: [{rented: {dollars_per_gpu_hour: 2}}]\n"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a label set tells: the exporter, GPUs by host, and GPU-hours by server in six hours.

    `busy`: GPU-hours that were busy, where the set has a utilization.
    """

    exporter: str
    gpus: dict[str, int]
    servers: dict[str, float]
    busy: float | None = None


DCGM, NVITOP, SMI = "dcgm-exporter", "nvitop-exporter", "nvidia_gpu_exporter"
SETS: Final[dict[str, Expected]] = {
    "dcgm-operator": Expected(DCGM, {"node-a": 2}, {"chat/llama-70b": 6, "unallocated": 6}, 2.4),
    "dcgm-honored": Expected(DCGM, {"node-a": 2}, {"chat/llama-70b": 6, "unallocated": 6}, 2.4),
    "dcgm-hostname-in-lower-case": Expected(DCGM, {"node-a": 1}, {"chat/one": 3, "chat/two": 3}),
    "dcgm-time-sliced": Expected(DCGM, {"node-a": 1}, {"chat/one": 3, "chat/two": 3}, 3.6),
    "dcgm-old-namespace": Expected(DCGM, {"node-a": 1}, {"chat/llama-70b": 6}, 2.4),
    "dcgm-mig": Expected(DCGM, {"node-a": 1}, {"chat/one": 6 * 3 / 7, "unallocated": 6 * 4 / 7}),
    "dcgm-bare": Expected(DCGM, {"node-a": 1}, {"vllm:8000": 6}, 2.4),
    "dcgm-named-by-its-pod": Expected(DCGM, {"node-a": 1}, {"chat/llama-70b": 6}, 2.4),
    "dcgm-sentinels": Expected(DCGM, {"node-a": 2}, {"unattributed": 6, "unallocated": 6}),
    "nvidia-gpu-exporter": Expected(SMI, {"node-a": 1}, {"vllm:8000": 6}, 2.4),
    "nvitop-exporter": Expected(NVITOP, {"node-a": 2}, {"vllm:8000": 6, "unallocated": 6}, 2.4),
    "two-exporters": Expected(DCGM, {"node-a": 1}, {"unattributed": 6}, 2.4),
    "vllm-openmetrics": Expected(DCGM, {"node-a": 1}, {"vllm:8000": 6}, 2.4),
    "kube-state-metrics": Expected(
        DCGM, {"node-a": 1, "node-b": 1}, {"chat/llama-70b": 6, "unallocated": 6}, 2.4
    ),
}
"""Time-sliced pods and those of one GPU share it equally: nothing tells how much each used of it."""

ALWAYS: Final = frozenset(
    {
        "dcgm-operator",
        "dcgm-honored",
        "dcgm-mig",
        "nvidia-gpu-exporter",
        "two-exporters",
        "kube-state-metrics",
    }
)
"""Sets that are looked at with every change; the others differ from one of them in a label."""

TOKENS: Final = {
    "dcgm-bare": 6600 * 60 * HOURS,
    "nvidia-gpu-exporter": 6600 * 60 * HOURS,
    "nvitop-exporter": 6600 * 60 * HOURS,
    "vllm-openmetrics": 6600 * 60 * HOURS,
    "kube-state-metrics": 6600 * 60 * HOURS,
}


def day_of(name: str) -> datetime:
    """The day on which a set was recorded; another one is between two."""
    return FIRST_DAY + timedelta(days=2 * list(SETS).index(name))


def samples(name: str) -> Iterator[Series]:
    """The series of a file, from 06:00 to 12:00 of its day."""
    begin = int(day_of(name).timestamp()) + 6 * 3600
    times = [*range(begin + 30, begin + HOURS * 3600, 60)]
    for line in (FOLDER / f"{name}.prom").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        match = re.fullmatch(r"([\w:]+)\{(.*)\} (\S+)", line)
        assert match is not None, line
        labels = dict(re.findall(r'(\w+)="([^"]*)"', match[2]))
        value = float(match[3])
        counter = match[1].endswith("_total")
        yield series(
            match[1], labels, times, [value * (n if counter else 1) for n in range(1, len(times) + 1)]
        )


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetPrometheus]:
    """All sets in one Prometheus."""
    every = (one for name in SETS for one in samples(name))
    with prometheus_of(every, tmp_path_factory.mktemp("label-sets")) as program:
        yield program


def test_each_file_has_an_expectation() -> None:
    """And cites where it was read."""
    files = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.prom")}

    assert files.keys() == SETS.keys()
    assert all(text.startswith("# ") for text in files.values())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.nightly) for name in SETS]
)
def test_a_label_set_names_gpu_host_and_holder(
    name: str, prometheus: FleetPrometheus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """GPU-hours by server, at 2 dollars each; tokens where the set has an engine."""
    config = tmp_path / "history.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    day = f"{day_of(name):%Y-%m-%d}"
    arguments = [f"--from={prometheus.url}", f"--config.file={config}", f"--since={day}", f"--until={day}"]
    assert main(["history", *arguments, "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    expected = SETS[name]
    hours, busy = {}, 0.0
    for server in document["servers"]:
        (month,) = server["months"]
        key = f"{server['namespace']}/{server['server']}" if server["namespace"] else server["server"]
        hours[key] = month["gpu_hours"]
        busy += month["busy_gpu_hours"]
        assert month["dollars"] == pytest.approx(2 * month["gpu_hours"]), key
    (total,) = document["months"]

    assert document["found"][0]["exporter"] == expected.exporter
    assert {host["host"]: host["gpus"] for host in document["hosts"]} == expected.gpus
    assert hours == pytest.approx(expected.servers, rel=0.01)
    if expected.busy is not None:
        assert busy == pytest.approx(expected.busy, rel=0.02)
    assert sum(total["tokens"].values()) == pytest.approx(TOKENS.get(name, 0), rel=0.01)
