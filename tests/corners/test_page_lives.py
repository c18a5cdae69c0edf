"""Any sequence of any pages through reader, engines, cost model and marks: the books hold, and no other pays.

The corpus below is of pages that once did harm.
"""

import math
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st

from exporter.cost.page_marks import MARKS_MAX, MOST_PER_SECOND
from exporter.engines import ENGINES, interpret, read, wanted
from exporter.engines.interpretation import MODELS_MAX, REQUESTS_MAX
from exporter.engines.spec import Engine
from exporter.ledger import marks
from exporter.readings import LABEL_CHARACTERS, ServerReading
from tests.cost.checked_meter import CheckedMeter
from tests.cost.readings import BATCH, CHAT, allocate, cost_policy, h100, page, rent
from tests.depth import examples

VALUES = st.sampled_from(
    ["0", "1", "7", "1e3", "1e9", "1e15", "9007199254740993", "1.7e308", "NaN", "+Inf", "-Inf", "-1", "x", ""]
)
LABELS = st.sampled_from(
    [
        "",
        '{model_name="a"}',
        '{model_name="b",engine="1"}',
        '{model_name=""}',
        '{model_name="\\n# TYPE x gauge"}',
        '{model_name="' + "m" * 300 + '"}',
        '{finished_reason="stop",model_name="a"}',
        '{source="local_compute",model_name="a"}',
        '{mode="decode"}',
        '{model="a",version="1"}',
        '{model_name="\ud800"}',
        '{model_name="a"',
        '{model_name="a",model_name="b"}',
    ]
)
NAMES = sorted(ENGINES)


@st.composite
def lines(draw: st.DrawFn, engine: Engine) -> str:
    """One line of a name that the engine is read by."""
    name = draw(st.sampled_from(sorted(wanted(engine).names)))
    return f"{name}{draw(LABELS)} {draw(VALUES)}\n"


@st.composite
def lives(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    """An engine, and what it answers at each read."""
    name = draw(st.sampled_from(NAMES))
    pages = draw(st.lists(st.lists(lines(ENGINES[name]), max_size=12), min_size=1, max_size=5))
    return name, ["".join(one).encode("utf-8", "surrogatepass") for one in pages]


def of_vllm(*bodies: str) -> tuple[str, list[bytes]]:
    """A life of a vLLM."""
    return "vllm", [body.encode() for body in bodies]


RUNNING = 'vllm:num_requests_running{engine="%d",model_name="a"} 1.7e308\n'
GENERATED = 'vllm:generation_tokens_total{model_name="a"} %s\n'

CORPUS = {
    "gauges whose sum is infinite": of_vllm(*[RUNNING % 0 + RUNNING % 1 + GENERATED % 5] * 3),
    "a counter that jumps to 1e15 and back": of_vllm(*(GENERATED % value for value in ("7", "1e15", "9"))),
    "a counter that begins at 1e15": of_vllm("", *(GENERATED % value for value in ("1e15", "9", "9", "9"))),
    "a start that is no moment": of_vllm("process_start_time_seconds 1.7e308\n" + GENERATED % 1),
    "a model of no name": of_vllm(*['vllm:generation_tokens_total{model_name=""} 5\n'] * 2),
}


def live(name: str, bodies: list[bytes]) -> None:
    """Read one page after another beside an honest server, ten seconds apart."""
    engine, meter = ENGINES[name], CheckedMeter(cost_policy(rent(3600)))
    ticks = 0
    for body in (bodies[0], *bodies):  # the first sets marks
        ticks += 1
        interpreted = interpret(engine, read(body, wanted(engine)))
        assert all(math.isfinite(one.value) and one.value >= 0 for one in interpreted.counters)
        assert len(interpreted.models) <= MODELS_MAX
        assert max(map(len, (*interpreted.models, interpreted.identity, "")), default=0) <= LABEL_CHARACTERS
        for load in interpreted.loads:
            requests = [value for value in (load.running, load.waiting) if value is not None]
            assert all(0 <= value <= REQUESTS_MAX * len(bodies[0] + body) for value in requests)
        evil = ServerReading(
            CHAT,
            "http://evil",
            up=True,
            identity=interpreted.identity,
            started=interpreted.started,
            counters=interpreted.counters,
            loads=interpreted.loads,
            models=interpreted.models,
        )
        good = replace(page(BATCH, generation=10 * ticks), url="http://good")
        meter.tick(10, [h100(0), h100(1)], [evil, good], (*allocate(CHAT, 0), *allocate(BATCH, 1)))
        back, dropped = marks.state_of([(*key, text) for key, text in marks.texts(meter.state).items()])
        assert dropped == ()
        assert back.endpoints == meter.state.endpoints
        assert all(len(one.marks.values) <= MARKS_MAX for one in back.endpoints.values())
    # The honest one has its own tokens and half of the dollars; the other no more than there is time for.
    assert meter.tokens["batch", "llama", "generation"] == 10 * (ticks - 1)
    assert meter.dollars(server="batch") == meter.dollars(server="chat") == 10**13 * (ticks - 1)
    counted = sum(count for (server, _, _), count in meter.tokens.items() if server == "chat")
    assert counted <= 2 * MOST_PER_SECOND * 60 * ticks


@examples(200, suppress_health_check=[HealthCheck.too_slow])
@given(lives())
@example(CORPUS["gauges whose sum is infinite"])
def test_no_life_of_a_page_breaks_the_books(life: tuple[str, list[bytes]]) -> None:
    """Whatever it says, and in whatever order."""
    live(*life)


@pytest.mark.parametrize("which", CORPUS)
def test_what_once_did_harm_does_none(which: str) -> None:
    """Each of the corpus."""
    live(*CORPUS[which])
