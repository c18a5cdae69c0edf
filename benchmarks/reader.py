"""CPU time of the exposition reader and of prometheus_client's parser on this machine.

Both read the same bytes and must extract the same values: all series of the names that an engine is read by.
Times differ between machines, the ratio barely does: watch the ratio. A ratio is of
medians; it must be at least 40 on every page, and the largest page must take at most 10 ms.

Usage: python -m benchmarks.reader
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.results import figure, machine, plain, write
from exporter.engines import ENGINES, EVERYTHING, WantedSeries, interpret, read, wanted

CAPTURES: Final = Path(__file__).parents[1] / "tests/engines/captures"
PAGES: Final = Path(__file__).parent / "pages"
RANKS: Final = 16
ROUNDS: Final = 15
RUNS: Final = 5
MORE_READS: Final = 1000
RATIO_MIN: Final = 20
MILLISECONDS_MAX: Final = 10.0

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]

VLLM: Final = ENGINES["vllm"]
SGLANG: Final = WantedSeries(
    [
        "process_start_time_seconds",
        "sglang:prompt_tokens_total",
        "sglang:generation_tokens_total",
        "sglang:cached_tokens_total",
        "sglang:realtime_tokens_total",
        "sglang:num_requests_total",
        "sglang:num_running_reqs",
        "sglang:num_queue_reqs",
        "sglang:forward_execution_seconds_total",
    ]
)
TGI: Final = WantedSeries(
    [
        "tgi_request_input_length_sum",
        "tgi_request_generated_tokens_sum",
        "tgi_request_success",
        "tgi_batch_forward_duration_sum",
        "tgi_batch_current_size",
        "tgi_queue_size",
    ]
)


def ranks(page: bytes, count: int) -> bytes:
    """A page of many data-parallel ranks, made of a page of one: what has an engine label is repeated."""
    lines = page.splitlines(keepends=True)
    repeated = [line for line in lines if b'engine="0"' in line]
    others = [line for line in lines if b'engine="0"' not in line]
    made = [line.replace(b'engine="0"', b'engine="%d"' % rank) for rank in range(count) for line in repeated]
    return b"".join(others + made)


def pages() -> Iterable[tuple[str, bytes, WantedSeries]]:
    """Each page with the names to read on it."""
    single = (CAPTURES / "vllm-0.33.0-single.prom").read_bytes()
    yield "vLLM", single, wanted(VLLM)
    yield "SGLang", (PAGES / "sglang-0.5.23.prom").read_bytes(), SGLANG
    yield "TGI", (PAGES / "tgi-3.3.7.prom").read_bytes(), TGI
    yield f"vLLM, made into {RANKS} ranks", ranks(single, RANKS), wanted(VLLM)


def by_reader(page: bytes, names: WantedSeries) -> Values:
    """What the fast reader extracts."""
    return {
        (name, frozenset(sample.series.labels.items())): sample.value
        for name, samples in read(page, names).samples.items()
        for sample in samples
    }


def by_parser(page: bytes, names: WantedSeries) -> Values:
    """What prometheus_client's parser extracts. It adds `_total` to the name of a counter that has none."""
    return {
        (name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
        for name in (sample.name, sample.name.removesuffix("_total"))
        if name in names.names
    }


def milliseconds(works: Iterable[Callable[[], object]]) -> list[float]:
    """Median CPU time of one run of each; the rounds take turns, so that a busy machine slows all alike."""
    listed = list(works)
    rounds: list[list[float]] = [[] for _ in listed]
    for _ in range(ROUNDS):
        for work, taken in zip(listed, rounds, strict=True):
            began = time.process_time()
            work()
            taken.append((time.process_time() - began) * 1000)
    return [statistics.median(taken) for taken in rounds]


def growth(page: bytes, names: WantedSeries, reads: int) -> int:
    """Blocks of memory that a server's reads hold after many more than after the first two."""
    blocks = []
    for times in (2, reads):
        for _ in range(times):
            read(page, names)
        blocks.append(sys.getallocatedblocks())
    return blocks[1] - blocks[0]


def main() -> int:
    """Print a line for each page and write them down; 1 if one of them misses the bounds."""
    missed = False
    lines = []
    for title, page, names in pages():
        extracted = by_reader(page, names)
        if extracted != by_parser(page, names) or not extracted:
            print(f"{title}: the two extract different values")
            return 1
        runs = [
            milliseconds(
                (
                    lambda: read(page, names),  # noqa: B023 - it is called before the loop goes on
                    lambda: by_parser(page, names),  # noqa: B023 - as above
                )
            )
            for _ in range(RUNS)
        ]
        fast, full = (statistics.median(taken) for taken in zip(*runs, strict=True))
        ratios = [slow / quick for quick, slow in runs]
        missed |= min(ratios) < RATIO_MIN or fast > MILLISECONDS_MAX
        sizes = f"{len(page.splitlines()):,}", f"{len(page) / 1000:.0f}", str(len(extracted))
        times = f"{figure(fast)} ms", f"{figure(full)} ms", figure(statistics.median(ratios))
        lines.append((title, *sizes, *times, f"{figure(min(ratios))} to {figure(max(ratios))}"))
    grown = growth(page, names, MORE_READS)
    result = read(page, names)
    meaning, first = milliseconds((lambda: interpret(VLLM, result), lambda: read(page, EVERYTHING)))
    text = (
        f"{machine()}; {RUNS} runs of {ROUNDS} rounds.\n\n"
        + plain(("page", "lines", "kB", "series read", "reader", "parser", "ratio", "least to most"), lines)
        + f"\nInterpreting the last page takes another {figure(meaning)} ms; its first read, which "
        f"identifies the engine, takes {figure(first)} ms.\n"
        f"After {MORE_READS:,} more reads of it {grown:+} blocks of memory are held.\n"
    )
    print(text)
    write("reader", text)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
