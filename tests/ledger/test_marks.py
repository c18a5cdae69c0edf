"""What the cost model remembers comes back as it was, or is dropped scope by scope."""

import contextlib
import json
import sqlite3
from base64 import b64encode
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.page_marks import MARKS_MAX, Candidate, PageMarks
from exporter.cost.postings import OwnerPhase, Postings
from exporter.cost.state import (
    Carry,
    DivisionState,
    EndpointState,
    GatewayState,
    GpuState,
    ModelState,
    ServerState,
    State,
)
from exporter.ledger import marks
from exporter.ledger.ledger import Ledger
from exporter.readings import (
    Division,
    Gpu,
    Holder,
    Peer,
    PodOwnership,
    SeriesColumns,
    ServerKey,
    digest,
)
from tests.kit.clock import ManualClock
from tests.kit.units import NOVEMBER
from tests.ledger.ticks import CHAT, GPU_0, GPU_1, money, tick

ZETA, ALPHA = ServerKey("llm", "zeta"), ServerKey("llm", "alpha")
URL = "http://127.0.0.1:8000/metrics"
SERIES = 'vllm:prompt_tokens_total{model_name="llama-8b"}'

GATEWAY = "http://127.0.0.1:4000/metrics/"


def columns(**marks: float) -> SeriesColumns:
    """Marks by the names of their series."""
    return SeriesColumns({digest(name): mark for name, mark in marks.items()})


DIVIDED = DivisionState(
    trailing={"": 7.5, "Search": 2.5},
    pending={"Search": 0.25},
    since=11,
    rounding={"prompt": {CHAT: 3}},
)
REMEMBERED = State(
    elapsed=5,
    wall=NOVEMBER,
    gpus={
        "GPU-1": GpuState(
            GPU_1,
            index=1,
            up=False,
            energy_mark=123_456_789,
            energy_age=3,
            falls=2,
            power_carry=10**20,
            idle_watts=71.25,
            recent=((10**10, 700_000), (10**10, 710_000)),
            carries={"rent": Carry(5, 7), "energy": Carry(10**30, 10**30 + 1)},
            holders=(
                Holder(ZETA, "GPU-1", 0.7, "MIG-a", 0.25, 10**11),
                Holder(ALPHA, "GPU-1"),
                Holder(ALPHA, "GPU-1", instance="MIG-b"),
            ),
            rounding={"rent": {OwnerPhase(CHAT, "idle"): 3}},
            slices={"MIG-a": 428_571_429, "MIG-b": 571_428_571},
            pci_bus_id="00000000:1A:00.0",
            boots_missed=1,
            predecessor="GPU-9",
            replaced_at=NOVEMBER + 3,
            priced_as=Gpu("GPU-8", "H100"),
            count=2,
            memory_bytes=85_520_809_984,
        ),
        "GPU-0": GpuState(GPU_0, index=0),
    },
    unseen={"H100": GpuState(Gpu("unseen", "H100"), -1, up=False, count=3)},
    listed_in="boot-0",
    replaced=7,
    retired=("GPU-7", "GPU-6"),
    former={"GPU-5": Gpu("GPU-4", "H100")},
    endpoints={
        URL: EndpointState(
            ZETA,
            NOVEMBER,
            marks=PageMarks(
                read=True,
                answered=NOVEMBER + 2,
                values=columns(**{SERIES: 1.5e15, "gone": 2.0}),
                gone=columns(gone=float(NOVEMBER)),
                dropped=True,
                identity="started 1.5",
                started=NOVEMBER - 1,
                youngest=NOVEMBER + 1,
                former=("started 0.5", "started 1.0"),
                listener="1:2",
                largest=7.5,
                largest_at=NOVEMBER + 3,
                candidate=Candidate(NOVEMBER + 4, columns(b=5.0), columns(b=4.0), "a", risen=True, reads=2),
                replaced=columns(x=9.0),
                returned_at=NOVEMBER + 5,
                several_until=NOVEMBER + 6,
                clock_step=-7,
            ),
            requested={"first_token 0.5": NOVEMBER + 8, "per_token 0.05": None},
            engine="vllm",
            peer=Peer("127.0.0.1", 8000, True),
            counted_at="http://localhost:8000/metrics",
            own=PageMarks(read=True, values=columns(y=1.0)),
        ),
        "http://[::1]:8001/metrics": EndpointState(ALPHA, NOVEMBER),
    },
    servers={
        ZETA: ServerState(
            {
                "z-first": ModelState(
                    *(1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5),
                    since_finished=9,
                    since_computed=10,
                    pending_subtraction={"prompt": -9},
                    division=DIVIDED,
                ),
                "a-second": ModelState(),
            },
            served=("a-second",),
            partial=True,
            role="decode",
            division=Division("team", GATEWAY, ("chat-*",), ("id-01", "id-02"), cached=True),
            principal="namespace ml",
            absent_since=NOVEMBER + 4,
        ),
        ALPHA: ServerState(),
    },
    accrued=42,
    awake=4,
    boot="boot-1",
    uncharged=6,
    gateways={
        GATEWAY: GatewayState(
            marks=PageMarks(read=True, identity="3:4", values=columns(a=1e15), answered=NOVEMBER + 3),
            counts={("llama", "id-01", "Search"): (1e15, 0.5)},
            selection="house_tokens_total",
        ),
        "http://10.0.0.1:9090/metrics": GatewayState(),
    },
    owners={ZETA: PodOwnership(ZETA, "chat", "assistants"), ALPHA: PodOwnership(ALPHA, team="lab")},
)


def test_everything_remembered_comes_back(path: Path, clock: ManualClock) -> None:
    """Every field survives a restart, but the debts of rounding."""
    ledger = Ledger.open(path, clock)
    ledger.post(Postings(NOVEMBER), REMEMBERED)
    restored = ledger.state()
    ledger.close()
    again = Ledger.open(path, clock)
    back = again.state()
    again.close()

    gpus = {uuid: replace(gpu, rounding={}) for uuid, gpu in REMEMBERED.gpus.items()}
    zeta = REMEMBERED.servers[ZETA]
    first = replace(zeta.models["z-first"], division=replace(DIVIDED, rounding={}))
    zeta = replace(zeta, models={**zeta.models, "z-first": first})
    assert restored == replace(REMEMBERED, gpus=gpus, servers={**REMEMBERED.servers, ZETA: zeta})
    assert back == restored
    assert again.dropped == ()


def test_first_come_keeps_its_place(path: Path, clock: ManualClock) -> None:
    """Servers and models come back in the order in which they came, whatever they are named."""
    changed = {ZETA: ServerState({"z-first": ModelState(1.0), "a-second": ModelState()})}
    ledger = Ledger.open(path, clock)
    ledger.post(Postings(NOVEMBER), REMEMBERED)
    ledger.post(Postings(NOVEMBER + 1), replace(REMEMBERED, servers={**REMEMBERED.servers, **changed}))
    ledger.close()
    again = Ledger.open(path, clock)
    servers = again.state().servers
    again.close()

    assert list(servers) == [ZETA, ALPHA]
    assert list(servers[ZETA].models) == ["z-first", "a-second"]


def test_a_scope_that_is_gone_leaves_the_file(path: Path, clock: ManualClock) -> None:
    """An endpoint that is watched no longer is forgotten."""
    ledger = Ledger.open(path, clock)
    ledger.post(Postings(NOVEMBER), REMEMBERED)
    ledger.post(Postings(NOVEMBER), replace(REMEMBERED, endpoints={}, gpus={}))
    ledger.close()
    again = Ledger.open(path, clock)
    state = again.state()
    again.close()

    assert (state.endpoints, state.gpus, list(state.servers)) == ({}, {}, [ZETA, ALPHA])


def test_what_did_not_change_is_not_written(path: Path, clock: ManualClock) -> None:
    """An idle tick writes the few single values of the ledger; one moved mark writes one row more."""
    moved = replace(REMEMBERED.endpoints[URL], marks=PageMarks(values=columns(**{SERIES: 1.5e15 + 1})))
    ledger = Ledger.open(path, clock)
    ledger.post(Postings(NOVEMBER), REMEMBERED)
    connection = ledger._store._open.connection  # type: ignore[union-attr]
    counts = [connection.total_changes]  # type: ignore[union-attr]
    for state in (REMEMBERED, replace(REMEMBERED, endpoints={**REMEMBERED.endpoints, URL: moved})):
        ledger.post(Postings(NOVEMBER), state)
        counts.append(connection.total_changes)  # type: ignore[union-attr]
    ledger.close()

    assert (counts[1] - counts[0], counts[2] - counts[1]) == (6, 7)


GPU_TEXT = {"gpu": ["GPU-0", "H100"], "index": 0}
ENDPOINT_TEXT = {"key": ["llm", "zeta"], "watched_since": 1, "marks": {}}


@pytest.mark.parametrize(
    ("scope", "key", "text", "why"),
    [
        ("gpu", "GPU-0", "\x00garbage", "JSON is malformed: invalid character (byte 0)"),
        ("gpu", "GPU-0", "[]", "Expected `object`, got `array`"),
        ("gpu", "GPU-0", "{}", "Object missing required field `gpu`"),
        ("gpu", "GPU-0", json.dumps({**GPU_TEXT, "index": "0"}), "Expected `int`, got `str` - at `$.index`"),
        (
            "gpu",
            "GPU-0",
            json.dumps({**GPU_TEXT, "index": True}),
            "Expected `int`, got `bool` - at `$.index`",
        ),
        (
            "gpu",
            "GPU-0",
            json.dumps({**GPU_TEXT, "idle_watts": float("nan")}),
            "JSON is malformed: invalid character (byte 53)",
        ),
        (
            "gpu",
            "GPU-0",
            json.dumps({**GPU_TEXT, "gpu": [None, "H100"]}),
            "Expected `str`, got `null` - at `$.gpu[0]`",
        ),
        (
            "gpu",
            "GPU-0",
            json.dumps({**GPU_TEXT, "carries": {"rent": {"numerator": 5, "period": 0}}}),
            "a carry of 5/0",
        ),
        (
            "gpu",
            "GPU-0",
            json.dumps({**GPU_TEXT, "recent": 7}),
            "Expected `array`, got `int` - at `$.recent`",
        ),
        (
            "gpu",
            "GPU-0",
            json.dumps({**GPU_TEXT, "slices": {"MIG-a": 0.5}}),
            "Expected `int`, got `float` - at `$.slices[...]`",
        ),
        (
            "gpu",
            "GPU-0",
            json.dumps({**GPU_TEXT, "slices": {"MIG-a": 10**9, "MIG-b": 1}}),
            "instances of 1000000001 parts of 1000000000",
        ),
        (
            "gpu",
            "GPU-0",
            json.dumps({**GPU_TEXT, "slices": {"MIG-a": -1}}),
            "instances of -1 parts of 1000000000",
        ),
        (
            "gpu",
            "GPU-0",
            json.dumps({**GPU_TEXT, "holders": [["", "a", "GPU-0", None]]}),
            "Expected `object`, got `array` - at `$.holders[0]`",
        ),
        (
            "gpu",
            "GPU-0",
            json.dumps({**GPU_TEXT, "recent": [[1]]}),
            "Expected `array` of length 2, got 1 - at `$.recent[0]`",
        ),
        ("gpu", "GPU-0", json.dumps({**GPU_TEXT, "count": 0}), "a count of 0"),
        ("gpu", "GPU-0", json.dumps({**GPU_TEXT, "boots_missed": -1}), "boots_missed is a count of -1"),
        (
            "gpu",
            "GPU-0",
            json.dumps({**GPU_TEXT, "pci_bus_id": None}),
            "Expected `str`, got `null` - at `$.pci_bus_id`",
        ),
        (
            "gpu",
            "GPU-0",
            json.dumps({**GPU_TEXT, "priced_as": ["GPU-1"]}),
            "Expected `array` of length 2, got 1 - at `$.priced_as`",
        ),
        (
            "endpoint",
            URL,
            json.dumps({**ENDPOINT_TEXT, "marks": {"largest": "b"}}),
            "Expected `float`, got `str` - at `$.marks.largest`",
        ),
        (
            "endpoint",
            URL,
            json.dumps({"key": ["llm", "zeta"]}),
            "Object missing required field `watched_since`",
        ),
        (
            "server",
            '["llm","zeta"]',
            '{"models": {"m": 1}}',
            "Expected `object`, got `int` - at `$.models[...]`",
        ),
        ("server", '["llm","zeta"]', '{"role": "both"}', "Invalid enum value 'both' - at `$.role`"),
        (
            "server",
            '["llm","zeta"]',
            json.dumps({"division": {"by": "user", "gateway": GATEWAY}}),
            "Invalid enum value 'user' - at `$.division.by`",
        ),
        (
            "server",
            '["llm","zeta"]',
            json.dumps({"models": {"m": {"division": {"trailing": {"Search": None}}}}}),
            "Expected `float`, got `null` - at `$.models[...].division.trailing[...]`",
        ),
        (
            "gateway",
            GATEWAY,
            json.dumps({"marks": {}, "counts": [["m", "d", 1, 0, 0]]}),
            "Expected `str`, got `int` - at `$[0][2]`",
        ),
        ("server", "zeta", "{}", "JSON is malformed: invalid character (byte 0)"),
    ],
)
def test_a_scope_that_cannot_be_read_is_dropped(
    path: Path, clock: ManualClock, scope: str, key: str, text: str, why: str
) -> None:
    """It is dropped, the other scopes and all totals stay, and the next tick writes it again."""
    ledger = Ledger.open(path, clock)
    ledger.post(tick(NOVEMBER, money(42)), REMEMBERED)
    ledger.close()
    with contextlib.closing(sqlite3.connect(path)) as shell:
        shell.execute("INSERT OR REPLACE INTO state (scope, key, body) VALUES (?, ?, ?)", (scope, key, text))
        shell.commit()
    again = Ledger.open(path, clock)
    state, totals = again.state(), again.totals(NOVEMBER, ())
    again.post(Postings(NOVEMBER), REMEMBERED)
    again.close()
    healed = Ledger.open(path, clock)
    healed.close()

    assert again.dropped == (f"what was remembered of {scope} {key} cannot be read and was dropped: {why}",)
    # A key that no server has is one scope more; the rest replace one that was there.
    before, now = (
        len(s.gpus) + len(s.endpoints) + len(s.gateways) + len(s.servers) for s in (REMEMBERED, state)
    )
    assert now == (before if key == "zeta" else before - 1)
    assert (totals.cost[OwnerPhase(CHAT, "decode")], totals.residual) == (42, 0)
    assert (healed.dropped, set(healed.state().gpus)) == ((), {"GPU-0", "GPU-1"})


@pytest.mark.parametrize(
    "text",
    [
        '{"retired": "GPU-1"}',
        '{"replaced": -1}',
        '{"replaced": 0.5}',
        '{"listed_in": 7}',
        '{"former": {"GPU-1": ["GPU-2"]}}',
        "[]",
    ],
)
def test_an_inventory_that_cannot_be_read_costs_no_gpu(text: str) -> None:
    """What is remembered of slots as a whole is dropped; the slots themselves stay."""
    rows = [("gpu", "GPU-0", json.dumps(GPU_TEXT)), ("inventory", "", text)]
    state, dropped = marks.state_of(rows)

    assert (set(state.gpus), state.replaced, state.listed_in, state.retired) == ({"GPU-0"}, 0, "", ())
    assert len(dropped) == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"elapsed": -1}', "elapsed is a count of -1"),
        ('{"elapsed": 5, "awake": -2}', "awake is a count of -2"),
        ('{"elapsed": 5, "uncharged": -3}', "uncharged is a count of -3"),
        ('{"elapsed": "now"}', "Expected `int | null`, got `str` - at `$.elapsed`"),
    ],
)
def test_a_clock_that_cannot_be_read_is_none(text: str, why: str) -> None:
    """Without a last tick no time is charged for a gap; the GPUs stay."""
    state, dropped = marks.state_of([("gpu", "GPU-0", json.dumps(GPU_TEXT)), ("clock", "", text)])

    assert (set(state.gpus), state.elapsed, state.awake, state.uncharged) == ({"GPU-0"}, None, None, 0)
    assert dropped == (f"what was remembered of clock cannot be read and was dropped: {why}",)


def test_gpus_of_an_earlier_release_are_slots() -> None:
    """It knew nothing of addresses, boots and predecessors: nothing was missed, nothing replaced."""
    state, dropped = marks.state_of([("gpu", "GPU-0", json.dumps(GPU_TEXT))])
    gpu = state.gpus["GPU-0"]

    known = (gpu.pci_bus_id, gpu.boots_missed, gpu.predecessor, gpu.priced_as, gpu.count)
    assert known == ("", 0, "", None, 1)
    assert (state.unseen, state.listed_in, dropped) == ({}, "", ())


def test_a_slot_of_another_gpu_than_its_scope_is_dropped() -> None:
    """Two rows of one GPU would be two slots, and each tick would charge the GPU twice."""
    rows = [("gpu", "GPU-0", json.dumps(GPU_TEXT)), ("gpu", "GPU-1", json.dumps(GPU_TEXT))]
    state, dropped = marks.state_of(rows)

    assert list(state.gpus) == ["GPU-0"]
    assert dropped == ("what was remembered of gpu GPU-1 cannot be read and was dropped: a slot of GPU-0",)


def test_unseen_gpus_are_what_their_scope_says() -> None:
    """No text makes one of them a GPU that was listed."""
    text = json.dumps({**GPU_TEXT, "index": 3, "count": 2})
    state, dropped = marks.state_of([("unseen", "H100", text)])

    assert state.unseen["H100"].gpu == Gpu("unseen", "H100")
    assert (state.unseen["H100"].index, state.unseen["H100"].up, state.unseen["H100"].count) == (-1, False, 2)
    assert dropped == ()


def test_fields_and_scopes_of_a_later_release_are_ignored() -> None:
    """What is unknown costs nothing."""
    rows = [
        ("gpu", "GPU-0", json.dumps({**GPU_TEXT, "novelty": [1]})),
        ("novelty", "x", "1"),
    ]
    state, dropped = marks.state_of(rows)

    assert (list(state.gpus), dropped) == (["GPU-0"], ())


@pytest.mark.parametrize("at", ["never", "COMMIT"])
def test_scopes_of_a_later_release_stay_in_the_file(
    path: Path, clock: ManualClock, disk: Any, at: str
) -> None:
    """An older release that runs for a while takes nothing away, failed writes included."""
    Ledger.open(path, clock).close()
    with contextlib.closing(sqlite3.connect(path)) as shell:
        shell.execute("INSERT INTO state (scope, key, body) VALUES ('novelty', 'x', '1')")
        shell.commit()
    ledger = Ledger.open(path, clock, connect=disk)
    disk.failure, disk.at = sqlite3.OperationalError("disk I/O error"), at
    ledger.post(Postings(NOVEMBER), REMEMBERED)
    disk.failure = None
    ledger.post(Postings(NOVEMBER), State())
    ledger.close()
    with contextlib.closing(sqlite3.connect(path)) as shell:
        rows = shell.execute("SELECT scope, key, body FROM state").fetchall()

    assert rows == [("novelty", "x", "1")]


NAN, INFINITE, NEGATIVE = (bytes(8 + 6) + end for end in (b"\xf8\x7f", b"\xf0\x7f", b"\xf0\xbf"))


def base64(marks: bytes) -> str:
    """Marks as a text has them."""
    return b64encode(marks).decode()


@pytest.mark.parametrize(
    ("damaged", "why"),
    [
        ({"values": 1}, "1 is no text"),
        ({"values": "!"}, "Only base64 data is allowed"),
        ({"values": base64(bytes(15))}, "15 bytes are no columns of series"),
        ({"values": base64(NAN)}, "a mark is no count"),
        ({"gone": base64(INFINITE)}, "a mark is no count"),
        ({"values": base64(NEGATIVE)}, "a mark is no count"),
        ({"values": "A" * (22 * MARKS_MAX + 1)}, "marks of 440001 characters"),
        ({"former": "x"}, "Expected `array`, got `str` - at `$.marks.former`"),
        ({"former": [1]}, "Expected `str`, got `int` - at `$.marks.former[0]`"),
        ({"answered": "now"}, "Expected `int`, got `str` - at `$.marks.answered`"),
        ({"candidate": 1}, "Expected `object | null`, got `int` - at `$.marks.candidate`"),
        ({"candidate": {"reads": -1}}, "-1"),
        ({"candidate": {"values": base64(NAN)}}, "a mark is no count"),
        ({"largest": "x"}, "Expected `float`, got `str` - at `$.marks.largest`"),
        ({"started": "x"}, "Expected `int | null`, got `str` - at `$.marks.started`"),
    ],
)
@pytest.mark.parametrize(("scope", "url"), [("endpoint", URL), ("gateway", GATEWAY)])
def test_marks_that_cannot_be_read_cost_their_page_alone(
    scope: str, url: str, damaged: dict[str, Any], why: str
) -> None:
    """Nothing is counted from zero: the next read of it sets marks, and the others stay."""
    texts = dict(marks.texts(REMEMBERED))
    record = json.loads(texts[scope, url])
    texts[scope, url] = json.dumps(record | {"marks": record["marks"] | damaged})
    state, dropped = marks.state_of((*key, text) for key, text in texts.items())
    pages = {**state.endpoints, **state.gateways}

    assert pages.keys() == {*REMEMBERED.endpoints, *REMEMBERED.gateways} - {url}
    (sentence,) = dropped
    assert why in sentence


@pytest.mark.parametrize(
    "damaged",
    [
        {"peer": {}},
        {"peer": ["127.0.0.1", 8000]},
        {"peer": ["localhost", 8000, True]},
        {"peer": ["127.0.0.1", -1, True]},
        {"requested": [1]},
        {"requested": {"first_token 0.5": "now"}},
    ],
)
def test_an_address_or_a_request_that_cannot_be_read_costs_no_marks(damaged: dict[str, Any]) -> None:
    """Each falls back to its default alone: no token is lost by it."""
    (part,) = damaged
    text = json.loads(marks.texts(REMEMBERED)["endpoint", URL]) | damaged
    state, (sentence,) = marks.state_of([("endpoint", URL, json.dumps(text))])
    default = {"peer": None, "requested": {}}[part]

    assert state.endpoints == {URL: replace(REMEMBERED.endpoints[URL], **{part: default})}
    assert sentence.startswith(f"what was remembered of {part} of endpoint {URL} cannot be read")


def test_an_engine_that_cannot_be_read_costs_its_page() -> None:
    """The record is damaged, and the others stay."""
    text = json.loads(marks.texts(REMEMBERED)["endpoint", URL]) | {"engine": 1}
    state, dropped = marks.state_of([("endpoint", URL, json.dumps(text))])

    assert (state.endpoints, len(dropped)) == ({}, 1)


@given(st.text(), st.text())
def test_garbage_never_raises(key: str, text: str) -> None:
    """Whatever the rows hold, a state comes back."""
    rows = [(scope, key, text) for scope in ("gpu", "endpoint", "server", "other")]
    state, dropped = marks.state_of(rows)

    assert len(state.gpus) + len(state.endpoints) + len(state.servers) + len(dropped) == 3


def test_deep_garbage_never_raises() -> None:
    """A text that nests without end is dropped, not followed."""
    state, dropped = marks.state_of([("gpu", "GPU-0", "[" * 100_000)])

    assert (state, len(dropped)) == (State(), 1)


@pytest.mark.parametrize(
    "full",
    [
        REMEMBERED,
        REMEMBERED.gpus["GPU-1"],
        REMEMBERED.endpoints[URL],
        REMEMBERED.endpoints[URL].marks,
        REMEMBERED.endpoints[URL].marks.candidate,
        REMEMBERED.servers[ZETA],
        REMEMBERED.servers[ZETA].models["z-first"],
        REMEMBERED.gateways[GATEWAY],
        DIVIDED,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_remembered_here_leaves_no_field_out(full: Any) -> None:
    """No value here is a default: a field that is added to the state and not kept fails the round trip."""
    defaults = {
        field.name: field.default if field.default is not MISSING else field.default_factory()
        for field in fields(full)
        if field.default is not MISSING or field.default_factory is not MISSING
    }

    # Over as soon as a GPU is remembered; tests of new ledgers' beginnings have it. The other is of a start,
    # in no file; tests of binding have it.
    over = {"fresh_in", "same_machine"}
    assert {name for name, default in defaults.items() if getattr(full, name) == default} - over == set()
