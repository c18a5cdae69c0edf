"""The fast exposition reader against prometheus_client's parser, in CPU time on this machine.

Times differ from machine to machine; their ratio hardly does, so that is what to watch.

Usage: python benchmarks/reader.py
"""

import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from exporter.engines import ENGINES, EVERYTHING, Memory, interpret, read, wanted

ROOT = Path(__file__).parents[1]
SINGLE = ROOT / "tests/engines/captures/vllm-0.33.0-single.prom"
VLLM = ENGINES["vllm"]
RANKS = 16


def ranks(page: bytes, count: int) -> bytes:
    """A page of many data-parallel ranks, made of a page of one: what has an engine label is repeated."""
    lines = page.splitlines(keepends=True)
    repeated = [line for line in lines if b'engine="0"' in line]
    others = [line for line in lines if b'engine="0"' not in line]
    made = [line.replace(b'engine="0"', b'engine="%d"' % rank) for rank in range(count) for line in repeated]
    return b"".join(others + made)


def seconds(work: Callable[[], object], times: int) -> float:
    """CPU seconds of one run: the best of three rounds."""
    rounds = []
    for _ in range(3):
        began = time.process_time()
        for _ in range(times):
            work()
        rounds.append((time.process_time() - began) / times)
    return min(rounds)


def main() -> None:
    """Print a line for each size of page."""
    single = SINGLE.read_bytes()
    for title, page in (("one engine", single), (f"{RANKS} ranks", ranks(single, RANKS))):
        memory = Memory()
        fast = seconds(lambda: interpret(VLLM, read(page, wanted(VLLM), memory)), 20)  # noqa: B023
        first = seconds(lambda: read(page, EVERYTHING), 20)  # noqa: B023
        full = seconds(lambda: list(text_string_to_metric_families(page.decode())), 1)  # noqa: B023
        print(
            f"{title:>12}: {len(page) / 1000:6.0f} kB  read and interpret {fast * 1000:7.3f} ms"
            f"  recognize {first * 1000:7.3f} ms  prometheus_client {full * 1000:8.2f} ms"
            f"  ratio {full / fast:5.0f}"
        )


if __name__ == "__main__":
    main()
