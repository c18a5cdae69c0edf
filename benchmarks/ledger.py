"""What one tick costs the ledger: time to commit, time to make the books, bytes written, size of the file.

A host of 8 GPUs and 8 servers, one GPU each, all busy, at a tick every 10 s::

    python benchmarks/ledger.py [TICKS] [FOLDER]

FOLDER is where the file goes: its disk decides the time of a commit.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from exporter.clock import SystemClock
from exporter.cost.postings import (
    Energy,
    Held,
    Money,
    Party,
    Phase,
    Postings,
    Requests,
    Segment,
    Slot,
    Tokens,
)
from exporter.cost.state import Carry, EndpointState, GpuState, ModelState, ServerState, State
from exporter.ledger.ledger import Ledger
from exporter.readings import KINDS, Gpu, Holder

SECOND = 10**9
TICK = 10 * SECOND
START = 1_793_491_200 * SECOND
GPUS = [Gpu(f"GPU-{n:08x}-0000-4000-8000-000000000000", "NVIDIA H100 80GB HBM3") for n in range(8)]
PARTIES = [Party("chat", "assistants", "llm", f"chat-{n}", "meta-llama/Llama-3.3-70B") for n in range(8)]
BUSY: tuple[Phase, ...] = ("prefill", "decode", "idle")
SERIES = [f'vllm:counter_{n}_total{{engine="0",model_name="meta-llama/Llama-3.3-70B"}}' for n in range(12)]


def tick(number: int) -> tuple[Postings, State]:
    """One tick in which everything moves."""
    end = START + number * TICK
    day = f"2026-11-{1 + (number - 1) // 8640:02d}"
    money = tuple(
        Money(gpu, component, "configured", Slot(party, phase), 7_000_000 + number)
        for gpu, party in zip(GPUS, PARTIES, strict=True)
        for component in ("amortization", "support", "energy")
        for phase in BUSY
    )
    held = tuple(
        Held(gpu, Slot(party, phase), TICK // 3, priced=True)
        for gpu, party in zip(GPUS, PARTIES, strict=True)
        for phase in BUSY
    )
    total = sum(entry.amount for entry in money)
    postings = Postings(
        end,
        (Segment(end - TICK, end, "2026-11", day, total, money, held),),
        tuple(Tokens(party, kind, 1000 + number) for party in PARTIES for kind in KINDS),
        tuple(Requests(party, 3) for party in PARTIES),
        tuple(Energy(gpu, 7_000_000) for gpu in GPUS),
        tuple(PARTIES),
        day=day,
    )
    before = 72 * sum(7_000_000 + earlier for earlier in range(1, number + 1))
    return postings, State(
        wall=end,
        gpus={gpu.uuid: gpu_state(n, gpu, number) for n, gpu in enumerate(GPUS)},
        endpoints={
            f"http://127.0.0.1:{8000 + n}/metrics": EndpointState(
                party.key, START, read=True, identity="1:2", marks=dict.fromkeys(SERIES, 1e6 * number)
            )
            for n, party in enumerate(PARTIES)
        },
        servers={
            party.key: ServerState({party.model: ModelState(*(number * 0.1 for _ in range(7)))})
            for party in PARTIES
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
        holders=(Holder(PARTIES[index].key, gpu.uuid),),
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


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as folder:
        path = Path(folder) / "ledger.db"
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
            timed(lambda: ledger.books(postings.end, ("2026-11", "2026-10")), reads)  # noqa: B023
        cpu = (time.process_time() - cpu - spent) * 1000 / count
        used = written() - begin
        log = Path(f"{path}-wal").stat().st_size
        residual = ledger.books(START, ()).residual
        ledger.close()
        print(f"{count} ticks of 8 GPUs and 8 servers, residual {residual} picodollars")
        for name, values in (("commit", posts), ("books", reads)):
            centiles = statistics.quantiles(values, n=100)
            print(
                f"{name}: median {centiles[49]:.2f} ms, p99 {centiles[98]:.2f} ms, most {max(values):.2f} ms"
            )
        print(f"CPU: {cpu:.2f} ms a tick, {cpu / 10_000:.3%} of a core at a tick every 10 s")
        print(f"written: {used / count / 1024:.1f} KiB a tick; log {log / 1024:.0f} KiB at its longest")
        print(f"file: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
