"""Thousands of marks come back from columns of their own, and an earlier release is not misled by them."""

import json
import sqlite3
from base64 import b64encode
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.cost import counters
from exporter.cost.counters import MARKS_MAX
from exporter.cost.postings import Postings
from exporter.cost.state import CounterMarks, EndpointState, GatewayState, State
from exporter.ledger import marks
from exporter.ledger.ledger import Ledger
from exporter.ledger.marks import COLUMNS_CHARACTERS_MAX, columns_digest
from exporter.readings import CounterReading, SeriesColumns, ServerKey, ServerReading
from tests.ledger.ticks import NOVEMBER, StillClock

URL = "http://127.0.0.1:8000/metrics"
CHAT = ServerKey("", "chat")
MANY = CounterMarks(
    SeriesColumns({number << 50: number + 0.5 for number in range(5_000)}),
    SeriesColumns({7 << 50: float(NOVEMBER)}),
    dropped=True,
)
CROWDED = State(
    elapsed=5,
    wall=NOVEMBER,
    endpoints={URL: EndpointState(CHAT, NOVEMBER - 9, True, "1", 1, MANY, NOVEMBER, NOVEMBER - 9)},
    gateways={URL: GatewayState(True, "2", 1, MANY, NOVEMBER, {("m", "d", "t"): (1.0, 2.0)})},
)


def rows(state: State) -> list[tuple[str, str, str]]:
    """As the file has them."""
    return [(*scope, text) for scope, text in marks.texts(state).items()]


def back(stored: Iterable[tuple[str, str, str]]) -> State:
    """The state of these rows, all of which can be read."""
    state, dropped = marks.state_of(stored)
    assert dropped == ()
    return state


def test_marks_in_columns_come_back(path: Path, clock: StillClock) -> None:
    """Of servers and of gateways, whatever the order of their rows."""
    ledger = Ledger.open(path, clock)
    ledger.post(Postings(NOVEMBER), CROWDED)
    ledger.close()
    again = Ledger.open(path, clock)
    state = again.state()
    again.close()

    assert (state.endpoints, state.gateways) == (CROWDED.endpoints, CROWDED.gateways)
    assert back(reversed(rows(CROWDED))).endpoints == CROWDED.endpoints


def test_columns_are_small_and_only_written_when_one_moved(path: Path, clock: StillClock) -> None:
    """Twenty thousand marks take 430 kB, not megabytes of names; a read that moved none takes nothing."""
    full = CounterMarks(SeriesColumns(dict.fromkeys(range(MARKS_MAX), 1.0)), SeriesColumns({}))
    state = replace(CROWDED, endpoints={URL: replace(CROWDED.endpoints[URL], marks=full)}, gateways={})
    read_again = {URL: replace(state.endpoints[URL], answered=NOVEMBER + 1)}
    ledger = Ledger.open(path, clock)
    ledger.post(Postings(NOVEMBER), state)
    connection = ledger._store._connection  # type: ignore[union-attr]
    before = connection.total_changes  # type: ignore[union-attr]
    ledger.post(Postings(NOVEMBER + 1), replace(state, endpoints=read_again))
    written = connection.total_changes - before  # type: ignore[union-attr]
    ledger.close()
    with closing(sqlite3.connect(path)) as shell:
        sizes = shell.execute("SELECT length(body) FROM state WHERE scope = 'columns'").fetchall()

    # Two thirds of a byte more for each of 16, and the names of the columns.
    assert sizes == [(426_691,)]
    assert COLUMNS_CHARACTERS_MAX >= 2 * 426_691
    assert written == 6  # the ledger's few single values, and the endpoint


def test_an_earlier_release_sets_marks_only() -> None:
    """It knows no columns: it takes such an endpoint for one that it never read, and watches since now.

    So that it counts nothing from zero, also of a process that it could think it saw start.
    """
    record = json.loads(marks.texts(CROWDED)["endpoint", URL])

    assert (record["read"], record["marks"], record["watched_since"]) == (False, {}, NOVEMBER)


@pytest.mark.parametrize("scope", ["endpoint", "gateway"])
def test_columns_that_an_earlier_release_left_behind_are_not_taken(scope: str) -> None:
    """It wrote the record again: no record refers to the old columns, which go with the next write."""
    texts = dict(marks.texts(CROWDED))
    record = json.loads(texts[scope, URL])
    record = {name: value for name, value in record.items() if name != "columns"} | {"read": True}
    texts[scope, URL] = json.dumps(record)
    state = back((*key, text) for key, text in texts.items())
    restored = state.endpoints[URL] if scope == "endpoint" else state.gateways[URL]

    assert (restored.read, restored.marks.values) == (True, {})


@pytest.mark.parametrize("left", [(), ("columns",)])
def test_without_its_columns_a_page_sets_marks_only(left: tuple[str, ...]) -> None:
    """Where they are gone, or are others than its record names: nothing counts from zero."""
    without = [row for row in rows(CROWDED) if row[0] != "columns"]
    without += [(scope, f"endpoint {URL}", '{"values":"","gone":""}') for scope in left]
    state = back(without)
    reading = ServerReading(
        CHAT,
        URL,
        up=True,
        identity="1",
        started=NOVEMBER - 5,
        counters=(CounterReading("s1", "m", "prompt", 100.0),),
    )
    tick = counters.endpoint_deltas(state.endpoints[URL], reading, NOVEMBER + 1)

    assert (state.endpoints[URL].read, state.gateways[URL].read) == (False, False)
    assert tick.deltas == {}


def test_a_gateway_of_an_earlier_release_sets_marks_by_series() -> None:
    """It stored sums by client, which give no series: the first read sets marks only."""
    text = json.dumps({"read": True, "identity": "2", "falls": 0, "marks": [["m", "d", "t", 1.0, 2.0]]})
    gateway = back([("gateway", URL, text)]).gateways[URL]

    assert (gateway.read, gateway.counts) == (False, {("m", "d", "t"): (1.0, 2.0)})


def test_an_earlier_release_goes_on_from_the_sums_of_a_gateway() -> None:
    """It takes differences of sums by asker, which stand where it looks for them."""
    record = json.loads(marks.texts(CROWDED)["gateway", URL])

    assert record["marks"] == [["m", "d", "t", 1.0, 2.0]]


def columns(values: bytes) -> str:
    """A row of these bytes, whether or not they are columns."""
    return json.dumps({"values": b64encode(values).decode(), "gone": ""})


def test_a_record_refers_to_its_columns_by_64_bits_of_blake2b() -> None:
    """Ledgers of earlier releases have these digests: `b2sum -l 64` of the text."""
    assert columns_digest('{"values":"","gone":""}') == "5fc380cc5b69dbbb"


SHORTEST_ROW = len(columns(b""))
NAN, INFINITE, NEGATIVE = (bytes(8 + 6) + end for end in (b"\xf8\x7f", b"\xf0\x7f", b"\xf0\xbf"))
BAD_ROWS = {
    "no object": ("[]", "[] is no object"),
    "no text": ('{"values":1,"gone":""}', "1 is no text"),
    "no values": ('{"gone":""}', "'values' is missing"),
    "no base64": ('{"values":"!","gone":""}', "Only base64 data is allowed"),
    "no columns": (columns(bytes(15)), "15 bytes are no columns of series"),
    "NaN": (columns(NAN), "a mark in columns is no count"),
    "infinite": (columns(INFINITE), "a mark in columns is no count"),
    "negative": (columns(NEGATIVE), "a mark in columns is no count"),
    "too long": (
        columns(bytes(COLUMNS_CHARACTERS_MAX * 3 // 4)),
        f"columns of {COLUMNS_CHARACTERS_MAX + SHORTEST_ROW} characters",
    ),
}


@pytest.mark.parametrize("bad", BAD_ROWS)
def test_columns_that_cannot_be_read_cost_their_page_alone(bad: str) -> None:
    """The page is dropped with a sentence; the others stay."""
    row, why = BAD_ROWS[bad]
    record = json.loads(marks.texts(CROWDED)["endpoint", URL]) | {"columns": columns_digest(row)}
    other = rows(State(endpoints={"http://other": EndpointState(CHAT, 1)}))
    state, dropped = marks.state_of(
        [("endpoint", URL, json.dumps(record)), ("columns", f"endpoint {URL}", row), *other]
    )

    assert list(state.endpoints) == ["http://other"]
    assert dropped == (f"what was remembered of endpoint {URL} cannot be read and was dropped: {why}",)
