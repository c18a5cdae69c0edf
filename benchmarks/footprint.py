"""Footprint of the daemon on a host of 8 GPUs and 8 vLLM servers, and of other exporters.

nvidia_gpu_exporter is one of them where it is on PATH, with `fake-nvidia-smi` of its repository.
Each is scraped every 10 s by one scraper. One host runs at a time: two would take each other's caches.

    python -m benchmarks.footprint [--minutes 5] [--runs 3]
"""

import argparse
import gzip
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.host import NODE, NVIDIA_GPU, NVITOP, NVITOP_SLOWER, OURS, PEER, Host, Used, host, used
from benchmarks.quiet import load_of_others
from benchmarks.results import Row, machine, table, version_of, write
from tests.e2e.daemon import get, until

MEBIBYTE: Final = 2**20
INTERVAL: Final = 10
STARTS: Final = 10
WARM_UP: Final = 3
"""Ticks before what is measured."""


@dataclass
class FootprintFigures:
    """Values by subject and program, one for each run."""

    values: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)

    def note(self, subject: str, program: str, unit: str, value: float) -> None:
        """One more run."""
        self.values.setdefault((subject, program, unit), []).append(value)

    def rows(self) -> list[Row]:
        """In the order in which they were first noted."""
        return [
            Row(subject, program, unit, tuple(values))
            for (subject, program, unit), values in sorted(self.values.items(), key=self._order)
        ]

    def _order(self, item: tuple[tuple[str, str, str], list[float]]) -> tuple[int, int]:
        subjects = list(dict.fromkeys(subject for subject, _, _ in self.values))
        programs = [OURS, NVITOP, NVITOP_SLOWER, NODE, NVIDIA_GPU]
        return subjects.index(item[0][0]), programs.index(item[0][1])


def measure(made: Host, minutes: float, figures: FootprintFigures) -> None:
    """One run, with servers."""
    measured = _used_by_each(made, minutes)
    page = made.daemon.scrape()
    made.see_that_all_is_metered(page)
    lived = minutes + WARM_UP * INTERVAL / 60
    for name, (before, after) in measured.items():
        resident = after.resident_bytes / MEBIBYTE
        grown = (after.resident_bytes - before.resident_bytes) / 1024
        figures.note(f"resident memory after {lived:g} min", name, "MiB", resident)
        figures.note(f"its growth in the last {minutes:g} min", name, "KiB", grown)
        figures.note("CPU of an hour", name, "s", _cpu(before, after) * 3600)
        figures.note("CPU of 10 s", name, "ms", _cpu(before, after) * 10_000)
    figures.note("series of a scrape", OURS, "", sum(map(len, page.rows.values())))
    figures.note("bytes of a scrape, plain", OURS, "kB", len(page.body) / 1000)
    figures.note("bytes of a scrape, gzip", OURS, "kB", len(gzip.compress(page.body)) / 1000)


def measure_deployed(made: Host, minutes: float, figures: FootprintFigures) -> None:
    """One run of ours and node_exporter, with a server that answers over TLS and a kubelet's socket."""
    measured = _used_by_each(made, minutes)
    made.see_that_all_is_metered(made.daemon.scrape())
    for name in (OURS, NVITOP, NODE):
        before, after = measured[name]
        figures.note("resident memory, HTTPS and kubelet", name, "MiB", after.resident_bytes / MEBIBYTE)
        figures.note("CPU of 10 s, HTTPS and kubelet", name, "ms", _cpu(before, after) * 10_000)


def measure_without_servers(made: Host, minutes: float, figures: FootprintFigures) -> None:
    """One run of ours beside the exporter that reads the same GPUs, at the same interval."""
    measured = _used_by_each(made, minutes)
    made.see_that_all_is_metered(made.daemon.scrape())
    for name in (OURS, NVITOP_SLOWER):
        figures.note("CPU of 10 s, without servers", name, "ms", _cpu(*measured[name]) * 10_000)


def _used_by_each(made: Host, minutes: float) -> dict[str, tuple[Used, Used]]:
    """What each program had used before and after these minutes, scraped once in each interval.

    Some ticks come before: the first ones import what they use and fill caches.
    """
    pause = threading.Event()
    for _ in range(WARM_UP):
        pause.wait(INTERVAL)
        _scrape(made)
    before = {name: used(program.pid) for name, program in made.programs.items()}
    first, ended = made.daemon.scrape().tick, time.monotonic() + 60 * minutes
    while time.monotonic() < ended:
        pause.wait(INTERVAL)
        _scrape(made)
    after = {name: used(program.pid) for name, program in made.programs.items()}
    ticks = round((made.daemon.scrape().tick - first) / INTERVAL)
    print(f"a run of {minutes:g} min ended: {ticks} ticks", flush=True)
    return {name: (before[name], after[name]) for name in made.programs}


def _scrape(made: Host) -> None:
    for program in made.programs.values():
        get(program.port, "/metrics")


def _cpu(before: Used, after: Used) -> float:
    """CPU seconds of a second."""
    return (after.cpu_seconds - before.cpu_seconds) / (after.at - before.at)


def starts(folder: Path, figures: FootprintFigures) -> None:
    """Times from the start of the process to the first page with every GPU."""
    with host(folder, servers=8) as made:
        daemon = made.daemon
        for _ in range(STARTS):
            daemon.kill()
            began = time.monotonic()
            daemon.process = daemon.spawn()
            until(lambda: daemon.status("/-/ready") == 200, 30, "ready", pause=0.005)
            daemon.until(lambda page: page.sum("inference_gpu_up") == 8, "every GPU", 30, pause=0.005)
            figures.note("start to first scrape", OURS, "s", time.monotonic() - began)


def calls(folder: Path, figures: FootprintFigures) -> None:
    """NVML calls of a tick, without other callers."""
    with host(folder, interval=1) as made:
        for _ in range(3):
            made.daemon.settled()
        made.nvml.forget_calls()
        first = made.daemon.scrape().tick
        last = made.daemon.until(lambda page: page.tick >= first + 20, "20 ticks", 60).tick
        figures.note("NVML calls of a tick, in C", OURS, "", len(made.nvml.calls()) / round(last - first))


def main(minutes: float, runs: int) -> None:
    """Measure, print and write it down."""
    load = load_of_others()
    figures = FootprintFigures()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(runs):
            with host(Path(folder) / str(number), peers=True) as made:
                measure(made, minutes, figures)
            with host(Path(folder) / f"{number}-deployed", peers=True, deployed=True) as made:
                measure_deployed(made, minutes, figures)
            with host(Path(folder) / f"{number}-without", servers=0, peers=True) as made:
                measure_without_servers(made, minutes, figures)
        starts(Path(folder) / "starts", figures)
        calls(Path(folder) / "calls", figures)
    versions = [machine(), f"nvitop-exporter {version_of(str(PEER))}"]
    versions.append(f"node_exporter {version_of('prometheus-node-exporter')}")
    if any(program == NVIDIA_GPU for _, program, _ in figures.values):
        versions.append(f"{NVIDIA_GPU} {version_of(NVIDIA_GPU)}")
    text = f"{', '.join(versions)}.\n\n{table(figures.rows(), OURS, load)}"
    print(text)
    write("footprint", text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    main(options.minutes, options.runs)
