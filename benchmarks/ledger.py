"""What one tick costs the ledger: time to commit, time to make the books, bytes written, size of the file.

A host of 8 GPUs and 8 servers, one GPU each, all busy, at a tick every 10 s::

    python -m benchmarks.ledger [TICKS] [FOLDER]

FOLDER is where the file goes: its disk decides the time of a commit.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.host import OURS
from benchmarks.quiet import load_of_others
from benchmarks.results import Row, machine, table, write
from exporter.clock import SystemClock
from exporter.cost.page_marks import PageMarks
from exporter.cost.postings import (
    CostOwner,
    EnergyPosting,
    GpuTimePosting,
    MoneyPosting,
    OwnerPhase,
    Phase,
    Postings,
    RequestPosting,
    Segment,
    TokenPosting,
)
from exporter.cost.state import Carry, EndpointState, GpuState, ModelState, ServerState, State
from exporter.ledger.ledger import Ledger
from exporter.readings import KINDS, Gpu, Holder, SeriesColumns, digest
from tests.kit.units import SECOND

TICK = 10 * SECOND
START = 1_793_491_200 * SECOND
RUNS = 5
GPUS = [Gpu(f"GPU-{n:08x}-0000-4000-8000-000000000000", "NVIDIA H100 80GB HBM3") for n in range(8)]
OWNERS = [CostOwner("chat", "assistants", "llm", f"chat-{n}", "meta-llama/Llama-3.3-70B") for n in range(8)]
BUSY: tuple[Phase, ...] = ("prefill", "decode", "idle")
SERIES = [
    digest(f'vllm:counter_{n}_total{{engine="0",model_name="meta-llama/Llama-3.3-70B"}}') for n in range(12)
]


def tick(number: int) -> tuple[Postings, State]:
    """One tick in which everything moves."""
    end = START + number * TICK
    day = f"2026-11-{1 + (number - 1) // 8640:02d}"
    money = tuple(
        MoneyPosting(gpu, component, "configured", OwnerPhase(owner, phase), 7_000_000 + number)
        for gpu, owner in zip(GPUS, OWNERS, strict=True)
        for component in ("amortization", "support", "energy")
        for phase in BUSY
    )
    gpu_time = tuple(
        GpuTimePosting(gpu, OwnerPhase(owner, phase), TICK // 3, chargeable=TICK // 3)
        for gpu, owner in zip(GPUS, OWNERS, strict=True)
        for phase in BUSY
    )
    total = sum(entry.amount for entry in money)
    postings = Postings(
        end,
        (Segment(end - TICK, end, "2026-11", day, total, money, gpu_time),),
        tuple(TokenPosting(owner, kind, 1000 + number) for owner in OWNERS for kind in KINDS),
        tuple(RequestPosting(owner, 3) for owner in OWNERS),
        tuple(EnergyPosting(gpu, 7_000_000) for gpu in GPUS),
        tuple(OWNERS),
        day=day,
    )
    before = 72 * sum(7_000_000 + earlier for earlier in range(1, number + 1))
    return postings, State(
        wall=end,
        gpus={gpu.uuid: gpu_state(n, gpu, number) for n, gpu in enumerate(GPUS)},
        endpoints={
            f"http://127.0.0.1:{8000 + n}/metrics": EndpointState(
                owner.key,
                START,
                marks=PageMarks(
                    read=True, identity="1:2", values=SeriesColumns(dict.fromkeys(SERIES, 1e6 * number))
                ),
            )
            for n, owner in enumerate(OWNERS)
        },
        servers={
            owner.key: ServerState({owner.model: ModelState(*(number * 0.1 for _ in range(7)))})
            for owner in OWNERS
        },
        accrued=before,
    )


def gpu_state(index: int, gpu: Gpu, number: int) -> GpuState:
    """What is remembered of one GPU, with thirty ticks of power."""
    return GpuState(
        gpu,
        index,
        energy_mark=7_000_000 * number,
        idle_watts=70.1,
        recent=tuple((TICK, 7_000_000 + n) for n in range(30)),
        carries={name: Carry(number, 8766 * 3600 * SECOND) for name in ("amortization", "support", "energy")},
        holders=(Holder(OWNERS[index].key, gpu.uuid),),
    )


def written() -> int:
    """Bytes that this process has handed to the kernel."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["wchar"])


def timed(work: Callable[[], object], into: list[float]) -> None:
    """Run something and note its milliseconds."""
    begin = time.perf_counter()
    work()
    into.append((time.perf_counter() - begin) * 1000)


def run(folder: Path, count: int) -> dict[str, float]:
    """Figures of so many ticks in a new file, by what and unit."""
    path = folder / "ledger.db"
    ledger = Ledger.open(path, SystemClock())
    posts: list[float] = []
    reads: list[float] = []
    begin, cpu = written(), time.process_time()
    spent = 0.0
    for number in range(1, count + 1):
        made = time.process_time()
        postings, state = tick(number)
        spent += time.process_time() - made
        timed(lambda: ledger.post(postings, state), posts)  # noqa: B023 - called at once
        timed(lambda: ledger.totals(postings.end, ("2026-11", "2026-10")), reads)  # noqa: B023
    cpu = (time.process_time() - cpu - spent) * 1000 / count
    used = written() - begin
    log = Path(f"{path}-wal").stat().st_size
    if residual := ledger.totals(START, ()).residual:
        raise RuntimeError(f"a residual of {residual} picodollars")
    ledger.close()
    commit, totals = statistics.quantiles(posts, n=100), statistics.quantiles(reads, n=100)
    return {
        "commit, half take at most|ms": commit[49],
        "commit, 99 of 100 take at most|ms": commit[98],
        "making the books for a report, half take at most|ms": totals[49],
        "CPU of a tick|ms": cpu,
        "written in a tick|KiB": used / count / 1024,
        "the file|KiB": path.stat().st_size / 1024,
        "its log at its longest|KiB": log / 1024,
    }


def main(count: int = 1000, folder: str | None = None) -> None:
    """Measure, print and write it down."""
    load = load_of_others()
    figures: dict[str, list[float]] = {}
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory(dir=folder) as made:
            for name, value in run(Path(made), count).items():
                figures.setdefault(name, []).append(value)
    rows = []
    for name, values in figures.items():
        what, unit = name.split("|")
        rows.append(Row(what, OURS, unit, tuple(values)))
    text = f"{machine()}; {RUNS} runs of {count:,} ticks of 8 GPUs and 8 busy servers.\n\n{table(rows, OURS)}"
    print(text)
    if load is None:
        write("ledger", text)
    else:
        print(f"not written: the machine has a load of {load:.1f}")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:2]), *sys.argv[2:3])
