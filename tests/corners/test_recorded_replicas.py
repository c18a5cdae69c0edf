"""Two replicas behind one URL, by the recorded pages of their engines: nothing served is nothing counted."""

import random
import re
from pathlib import Path

import pytest

from exporter.cost.counters import endpoint_deltas
from exporter.cost.state import EndpointState
from exporter.engines import ENGINES, interpret, read, wanted
from exporter.readings import KINDS, ServerKey, ServerReading
from exporter.units import nanoseconds
from tests.kit.units import SECOND

CAPTURES = Path(__file__).parents[1] / "engines" / "captures"
NOW = nanoseconds(1_800_000_000)
AHEAD = 1_000_000
"""Generated tokens by which the second replica is ahead of the first."""

PAGES = {
    "vLLM with one API server": ("vllm", "vllm-0.33.0-single", True),
    "vLLM with two API servers": ("vllm", "vllm-0.33.0-dp2-lora-spec", False),
    "vLLM's Rust frontend": ("vllm", "vllm-0.33.0-single", False),
    "LMDeploy": ("lmdeploy", "lmdeploy-0.16.0", True),
    "SGLang": ("sglang", "sglang-0.5.23", False),
    "Ray": ("ray", "ray-serve-llm-2.60", False),
    "Dynamo worker": ("dynamo", "dynamo-1.x-vllm-worker", False),
    "TGI": ("tgi", "tgi-3.3.7", False),
    "TEI": ("tei", "tei-1.9.3", False),
    "TensorRT-LLM": ("trtllm", "trtllm-serve-prometheus-2026", False),
    "Triton": ("triton", "triton-25.12-vllm-backend", False),
    "NIM": ("nim", "nim-llm-1.x", False),
    "llama.cpp without its header": ("llamacpp", "llamacpp-2025-12", False),
}
"""Engine, recording, and whether its page has the start of its process."""

STARTS = re.compile(r"^(# (HELP|TYPE) )?(process_start_time_seconds|\S*_created)\b.*\n", re.MULTILINE)


def with_more(lines: list[str], number: int) -> list[str]:
    """The lines of a page with one of its counters ahead."""
    head, _, value = lines[number].rpartition(" ")
    return [*lines[:number], f"{head} {float(value) + AHEAD}", *lines[number + 1 :]]


def tokens_of(engine: str, lines: list[str]) -> float:
    """All tokens of a page."""
    interpretation = interpret(ENGINES[engine], read("\n".join(lines).encode(), wanted(ENGINES[engine])))
    return sum(
        counter.sign * counter.value for counter in interpretation.counters if counter.quantity in KINDS
    )


def replicas(engine: str, recording: str, *, started: bool) -> tuple[bytes, bytes]:
    """The recorded page, and that of a replica which is ahead in the first counter of tokens."""
    text = STARTS.sub("", (CAPTURES / f"{recording}.prom").read_text(encoding="utf-8"))
    names = {count.name for count in ENGINES[engine].counts() if count.quantity in {"generation", "prompt"}}
    lines = text.splitlines()
    ahead = next(
        changed
        for number, line in enumerate(lines)
        if re.split("[{ ]", line, maxsplit=1)[0] in names
        and tokens_of(engine, changed := with_more(lines, number)) != tokens_of(engine, lines)
    )
    pages = ["\n".join(each) + "\n" for each in (lines, ahead)]
    if started:
        pages = [f"{page}process_start_time_seconds {1.79e9 + number}\n" for number, page in enumerate(pages)]
    return pages[0].encode(), pages[1].encode()


@pytest.mark.parametrize("row", PAGES)
def test_replicas_that_serve_nothing_count_nothing(row: str) -> None:
    """Twenty answers at random, one each second: 0 tokens, where up to 4.3 million were counted."""
    engine, recording, started = PAGES[row]
    pages = replicas(engine, recording, started=started)
    spec, turns = ENGINES[engine], random.Random(1)  # noqa: S311 - no secret
    state: EndpointState | None = None
    counted, several = 0.0, 0
    for second in range(20):
        interpretation = interpret(spec, read(turns.choice(pages), wanted(spec)))
        assert (interpretation.identity != "") is started
        reading = ServerReading(
            ServerKey("", "chat"),
            "http://chat",
            up=True,
            engine=engine,
            identity=interpretation.identity,
            started=interpretation.started,
            counters=interpretation.counters,
        )
        tick = endpoint_deltas(state, reading, NOW + second * SECOND)
        state = tick.state
        several += tick.several
        counted += sum(abs(delta) for delta in tick.deltas.values())
    assert counted == 0
    assert several > 0
    assert state is not None
    assert state.marks.answers_of_several(NOW + 20 * SECOND)


@pytest.mark.parametrize("row", PAGES)
def test_one_replica_of_each_engine_goes_on_from_its_marks(row: str) -> None:
    """The control: alone at its URL its million is counted, without a start after a minute."""
    engine, recording, started = PAGES[row]
    first, then = replicas(engine, recording, started=started)
    spec = ENGINES[engine]
    if started:
        then = then.replace(b"seconds 1790000001.0", b"seconds 1790000000.0")
    state: EndpointState | None = None
    counted = 0.0
    for number, body in enumerate([first, *[then] * 8]):
        interpretation = interpret(spec, read(body, wanted(spec)))
        reading = ServerReading(
            ServerKey("", "chat"),
            "http://chat",
            up=True,
            engine=engine,
            identity=interpretation.identity,
            started=interpretation.started,
            counters=interpretation.counters,
        )
        tick = endpoint_deltas(state, reading, NOW + number * 10 * SECOND)
        state = tick.state
        counted += sum(delta for (_, kind), delta in tick.deltas.items() if kind in KINDS)
    assert counted == AHEAD
