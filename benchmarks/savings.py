"""What a review of savings costs the daemon: seconds of CPU, and memory at its highest and after it.

A ledger of two weeks of 8 GPUs, at 8 servers and at 50, the most by default, with a model each; and with 50
models on each of 8 servers::

    python -m benchmarks.savings
"""

import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.ledger import GPUS, SECOND, START
from exporter import malloc
from exporter.clock import SystemClock
from exporter.config import parse
from exporter.config.settings import cost_policy
from exporter.cost.postings import (
    CostOwner,
    GpuTimePosting,
    MemoryPosting,
    OwnerPhase,
    Phase,
    Postings,
    Segment,
    TokenPosting,
)
from exporter.cost.state import GpuState, State
from exporter.ledger.ledger import Ledger
from exporter.readings import KINDS, Holder
from exporter.report import TickBasis
from exporter.sampler.savings_review import REVIEW_HOURS, SavingsReview

HOUR: Final = 3600 * SECOND
PHASES: Final[tuple[Phase, ...]] = ("prefill", "decode", "idle", "unobserved")
CONFIG: Final = b"""
hardware: [{match: {gpu_model: "*"}, rented: {dollars_per_gpu_hour: 5}}]
compare: [{name: o, prompt_dollars_per_million_tokens: 1, generation_dollars_per_million_tokens: 1}]
"""
HOSTS: Final = {"8 servers": (8, 1), "50 servers": (50, 1), "50 models on each of 8 servers": (8, 50)}
"""Servers, and models of each."""
RUNS: Final = 3
END: Final = START + REVIEW_HOURS * HOUR


def owners(servers: int, models: int) -> list[CostOwner]:
    """Each model of each server."""
    return [CostOwner("p", "t", "llm", f"s-{s}", f"m-{m}") for s in range(servers) for m in range(models)]


def state(servers: int) -> State:
    """The GPUs, shared by the servers in turn."""
    keys = [owner.key for owner in owners(servers, 1)]
    gpus = {
        gpu.uuid: GpuState(gpu, n, holders=tuple(Holder(key, gpu.uuid) for key in keys[n :: len(GPUS)]))
        for n, gpu in enumerate(GPUS)
    }
    return State(wall=END, gpus=gpus)


def write(path: Path, servers: int, models: int) -> None:
    """A ledger of two weeks, in which every model has some of each phase and kind in each hour."""
    ledger = Ledger.open(path, SystemClock())
    models_of_host = owners(servers, models)
    part = HOUR * len(GPUS) // len(models_of_host) // len(PHASES)
    last = state(servers)
    memory = tuple(
        MemoryPosting(gpu.gpu, holder.key, 10**10) for gpu in last.gpus.values() for holder in gpu.holders
    )
    for number in range(REVIEW_HOURS):
        start = START + number * HOUR
        day = datetime.fromtimestamp(start // SECOND, UTC).strftime("%Y-%m-%d")
        times = tuple(
            GpuTimePosting(GPUS[n % len(GPUS)], OwnerPhase(owner, phase), part, chargeable=part)
            for n, owner in enumerate(models_of_host)
            for phase in PHASES
        )
        tokens = tuple(TokenPosting(owner, kind, 1000 + number) for owner in models_of_host for kind in KINDS)
        segment = Segment(start, start + HOUR, day[:7], day, 0, (), times)
        postings = Postings(start + HOUR, (segment,), tokens, memory=memory, day=day)
        ledger.post(postings, replace(last, wall=start + HOUR))
    ledger.close()


def kib(field: str) -> int:
    """A figure of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def review(path: Path, servers: int) -> None:
    """Review as the daemon does, and print what it took."""
    malloc.make_lean()
    config = parse(CONFIG)
    basis = TickBasis(cost_policy(config, "host"), state(servers))
    savings_review = SavingsReview(SystemClock(), lambda: path)
    malloc.trim()
    before = kib("VmRSS")
    for number in range(RUNS):
        Path("/proc/self/clear_refs").write_text("5")  # proc_pid_clear_refs(5): the peak is that of now
        began = time.thread_time()
        savings_review._review(basis, END, config, path)  # noqa: SLF001 - in this thread, whose time is measured
        spent = time.thread_time() - began
        savings = savings_review.savings()
        assert savings is not None  # noqa: S101 - there are two weeks
        highest, after = ((kib(name) - before) / 1024 for name in ("VmHWM", "VmRSS"))
        print(
            f"  run {number + 1}: {spent:.2f} s of CPU, {highest:.1f} MiB more at the highest, "
            f"{after:.1f} MiB more after it, {len(savings.findings)} findings"
        )


def main() -> None:
    """Measure each in a process of its own."""
    for name, (servers, models) in HOSTS.items():
        print(name, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "ledger.db"
            write(path, servers, models)
            subprocess.run([sys.executable, "-m", "benchmarks.savings", str(path), str(servers)], check=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        review(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        main()
