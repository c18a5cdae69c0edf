"""A chargeback in every combination of columns: worked by hand, and always the same total."""

import csv
import io
import json
from dataclasses import replace
from itertools import chain, combinations
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.postings import PHASES, UNALLOCATED, UNASSIGNED, CostOwner, OwnerPhase
from exporter.finance.fleet.overheads import BASES, FleetOverheads, SpreadRule
from exporter.finance.redistribution import IDLE_FORMS, Idle
from exporter.finance.statement import as_csv, as_json, as_workbook, text
from exporter.finance.statements import (
    COLUMNS,
    ChargebackLayout,
    Column,
    Statement,
    chargeback_statement,
)
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import HistorySums, MonthRecord
from exporter.readings import UNCOUNTED, Gpu
from exporter.report import MonthKey, ServerOwner
from tests.finance.workbook_reader import needs_library, read_workbook
from tests.kit.units import DOLLAR, HOUR

UTC = ZoneInfo("UTC")
CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
BIG = CostOwner("chat", "assistants", "llm", "chat-70b", "llama-70b")
EMBED = CostOwner("search", "retrieval", "vectors", "embed", "bge")
FREE = CostOwner(UNASSIGNED, UNASSIGNED, "", UNALLOCATED, "")

ALL_COLUMNS = list(chain.from_iterable(combinations(COLUMNS, n) for n in range(1, len(COLUMNS) + 1)))


def day(amounts: dict[tuple[CostOwner, str], int]) -> HistorySums:
    """A day of these dollars, and an hour of GPU time for each dollar."""
    sums = HistorySums()
    for (owner, phase), dollars in amounts.items():
        sums.cost[OwnerPhase(owner, phase)] = dollars * DOLLAR  # type: ignore[arg-type]
        sums.held[OwnerPhase(owner, phase)] = dollars * HOUR  # type: ignore[arg-type]
        key = ServerOwner(*owner[:4]), "rent", "configured"
        sums.server_cost[key] = sums.server_cost.get(key, 0) + dollars * DOLLAR
    sums.tokens[CHAT, "generation"] = 100
    return sums


DAYS = {
    20261001: day({(CHAT, "decode"): 60, (CHAT, "idle"): 40, (EMBED, "prefill"): 20, (FREE, "idle"): 30}),
    20261002: day({(BIG, "decode"): 100, (CHAT, "unobserved"): 7, (CHAT, "decode"): 20, (FREE, "idle"): 10}),
}


def month_of(days: dict[int, HistorySums]) -> HistorySums:
    sums = HistorySums()
    for each in days.values():
        sums.add(each)
    return sums


RECORD = MonthRecord(
    ledger="11111111-2222-4333-8444-555555555555",
    last_commit=1_793_491_200 * 10**9,
    month="2026-10",
    months=("2026-10",),
    cells={
        MonthKey("chat", "assistants", "configured", "2026-10"): (227 - 9) * DOLLAR,
        MonthKey("search", "retrieval", "configured", "2026-10"): (20 + 5) * DOLLAR,
        MonthKey(UNASSIGNED, UNASSIGNED, "configured", "2026-10"): 40 * DOLLAR,
    },
    sums=month_of(DAYS),
    adjustments=(
        Adjustment(1, "2026-10-02", "chat", "assistants", -9 * DOLLAR, "credit", 0, 1),
        Adjustment(2, "2026-10-02", "chat", "assistants", 99 * DOLLAR, "waits", 0, None),
    ),
    days=DAYS,
)
"""283 dollars: 287 itemized, 9 less by an adjustment, and 5 of search that an earlier release posted."""


def lines(statement: Statement) -> dict[tuple[str, ...], int]:
    return {line.labels: line.money // DOLLAR for line in statement.lines}


def by(*columns: Column, idle: Idle | None = None) -> Statement:
    return chargeback_statement(RECORD, ChargebackLayout(columns, idle), current_month="2026-11", zone=UTC)


def test_columns_in_any_combination() -> None:
    """What a line does not know has a name in the first column that lacks it."""
    assert lines(by("product")) == {("chat",): 218, (UNASSIGNED,): 40, ("search",): 25}
    assert lines(by("team", "namespace")) == {
        ("assistants", "llm"): 227,
        (UNASSIGNED, ""): 40,
        ("retrieval", "vectors"): 20,
        ("retrieval", "(not itemized)"): 5,
        ("assistants", "(adjustment)"): -9,
    }
    assert lines(by("model")) == {
        ("llama-8b",): 127,
        ("llama-70b",): 100,
        ("",): 40,
        ("bge",): 20,
        ("(not itemized)",): 5,
        ("(adjustment)",): -9,
    }
    assert lines(by("namespace", "server", "model")) == {
        ("llm", "chat-8b", "llama-8b"): 127,
        ("llm", "chat-70b", "llama-70b"): 100,
        ("", UNALLOCATED, ""): 40,
        ("vectors", "embed", "bge"): 20,
        ("(not itemized)", "", ""): 5,
        ("(adjustment)", "", ""): -9,
    }


@needs_library
def test_a_workbook_of_a_chargeback() -> None:
    """Figures of CSV, and in the last row the month: 283 dollars, and 80 idle of 287 itemized."""
    sheet = read_workbook(as_workbook(by("product")))

    assert sheet.values() == [
        {
            "month": "2026-10",
            "product": product,
            "dollars": dollars,
            "idle_dollars": idle,
            "idle_ratio": ratio,
            "gpu_hours": hours,
            "prompt_tokens": "0",
            "cached_prompt_tokens": "0",
            "generation_tokens": tokens,
            "estimated_dollars": "0.00",
            "adjustment_dollars": adjusted,
            "unpriced_gpu_hours": "0.0000",
            "to_date": "0",
        }
        for product, dollars, idle, ratio, hours, tokens, adjusted in (
            ("chat", "218.00", "40.00", "0.1762", "227.0000", "200", "-9.00"),
            (UNASSIGNED, "40.00", "40.00", "1.0000", "40.0000", "0", "0.00"),
            ("search", "25.00", "0.00", "0.0000", "20.0000", "0", "0.00"),
        )
    ] + [
        {
            "month": "total",
            "dollars": "283.00",
            "idle_dollars": "80.00",
            "idle_ratio": "0.2787",
            "gpu_hours": "287.0000",
            "prompt_tokens": "0",
            "cached_prompt_tokens": "0",
            "generation_tokens": "200",
            "estimated_dollars": "0.00",
            "adjustment_dollars": "-9.00",
            "unpriced_gpu_hours": "0.0000",
        }
    ]


@needs_library
def test_a_workbook_by_day() -> None:
    """The days of the chargeback below, and the same 283 dollars."""
    sheet = read_workbook(as_workbook(by("day")))

    assert [(row.get("day"), row["dollars"]) for row in sheet.values()] == [
        ("(not itemized)", "5.00"),
        ("2026-10-01", "150.00"),
        ("2026-10-02", "128.00"),
        (None, "283.00"),
    ]


def test_a_chargeback_by_day() -> None:
    """In the order of days; an adjustment is of its date, and what has no day has a line."""
    statement = by("day", "product")

    assert [(*line.labels, line.money // DOLLAR, line.gpu_time // HOUR) for line in statement.lines] == [
        ("(not itemized)", "search", 5, 0),
        ("2026-10-01", "chat", 100, 100),
        ("2026-10-01", UNASSIGNED, 30, 30),
        ("2026-10-01", "search", 20, 20),
        ("2026-10-02", "chat", 118, 127),
        ("2026-10-02", UNASSIGNED, 10, 10),
    ]


def test_owners_that_have_no_days_are_in_a_chargeback_by_day() -> None:
    """A host that a statement stands for: 30 dollars of chat and 12 of search, 10 of them idle."""
    sums = month_of(DAYS)
    sums.add(day({(CHAT, "decode"): 30, (EMBED, "prefill"): 2, (EMBED, "idle"): 10}))
    cells = {
        MonthKey("chat", "assistants", "configured", "2026-10"): (218 + 30) * DOLLAR,
        MonthKey("search", "retrieval", "configured", "2026-10"): (25 + 12) * DOLLAR,
        MonthKey(UNASSIGNED, UNASSIGNED, "configured", "2026-10"): 40 * DOLLAR,
    }
    record = replace(RECORD, cells=cells, sums=sums)
    statement = chargeback_statement(
        record, ChargebackLayout(("day", "product", "model")), current_month="2026-11", zone=UTC
    )

    assert [
        (*line.labels, line.money // DOLLAR, line.idle // DOLLAR, line.gpu_time // HOUR)
        for line in statement.lines
        if line.labels[0] == "(not itemized)"
    ] == [
        ("(not itemized)", "chat", "llama-8b", 30, 0, 30),
        ("(not itemized)", "search", "bge", 12, 10, 12),
        ("(not itemized)", "search", "", 5, 0, 0),
    ]
    assert sum(line.money for line in statement.lines) == sum(cells.values())
    assert sum(count for line in statement.lines for count in line.tokens.values()) == 300
    assert (
        "42.00 dollars have no day: they are of hosts that only a statement or Prometheus has"
        in statement.notes
    )
    for idle in IDLE_FORMS:
        moved = chargeback_statement(
            record, ChargebackLayout(("day", "product"), idle), current_month="2026-11", zone=UTC
        )
        assert sum(line.money for line in moved.lines) == sum(cells.values())


def test_idle_cost_apart() -> None:
    """80 of 283 dollars: 40 of chat, and all of the unallocated GPUs. Dollars over hours stay the price."""
    statement = by("product", idle="apart")

    assert [(*line.labels, line.money // DOLLAR, line.gpu_time // HOUR) for line in statement.lines] == [
        ("chat", 178, 187),
        ("(idle)", 80, 80),
        ("search", 25, 20),
    ]
    assert statement.notes[0] == "80.00 dollars of idle cost, unallocated GPUs included, are apart"
    assert not statement.shows.idle


def test_an_owner_of_idle_cost_at_estimated_prices_has_no_line_where_idle_cost_is_apart() -> None:
    """All of its money and GPU time moved. No column shows the estimated part, so it makes no line."""
    sums = HistorySums()
    sums.cost[OwnerPhase(FREE, "idle")] = 30 * DOLLAR
    sums.held[OwnerPhase(FREE, "idle")] = 30 * HOUR
    sums.server_cost[ServerOwner(*FREE[:4]), "rent", "estimate"] = 30 * DOLLAR
    cells = {MonthKey(UNASSIGNED, UNASSIGNED, "estimate", "2026-10"): 30 * DOLLAR}
    record = replace(RECORD, cells=cells, sums=sums, days={}, adjustments=())

    statement = chargeback_statement(
        record, ChargebackLayout(("product",), "apart"), current_month="2026-11", zone=UTC
    )

    assert lines(statement) == {("(idle)",): 30}


def test_idle_cost_spread() -> None:
    """Busy are 80 of chat-8b, 100 of chat-70b and 20 of search: of 80 idle dollars they get 32, 40 and 8."""
    statement = by("product", "model", idle="spread")

    assert {line.labels: (line.money // DOLLAR, line.idle // DOLLAR) for line in statement.lines} == {
        ("chat", "llama-8b"): (60 + 20 + 7 + 32, 32),
        ("chat", "llama-70b"): (140, 40),
        ("search", "bge"): (28, 8),
        ("search", "(not itemized)"): (5, 0),
        ("chat", "(adjustment)"): (-9, 0),
        (UNASSIGNED, ""): (0, 0),
    }
    assert statement.notes[0] == (
        "80.00 dollars of idle cost, unallocated GPUs included, are spread in proportion to busy cost "
        "(prefill, decode and other)"
    )


def test_idle_cost_that_nobody_can_carry_stays() -> None:
    """A month without a request."""
    sums = day({(CHAT, "idle"): 40, (FREE, "idle"): 30})
    record = replace(
        RECORD,
        cells={
            MonthKey("chat", "assistants", "configured", "2026-10"): 40 * DOLLAR,
            MonthKey(UNASSIGNED, UNASSIGNED, "configured", "2026-10"): 30 * DOLLAR,
        },
        sums=sums,
        adjustments=(),
    )
    statement = chargeback_statement(
        record, ChargebackLayout(("product",), "spread"), current_month="2026-11", zone=UTC
    )

    assert lines(statement) == {("chat",): 40, (UNASSIGNED,): 30}
    assert statement.notes[0] == "70.00 dollars of idle cost stay where they are: no owner has busy cost"


def test_overheads_are_a_column_of_their_own() -> None:
    """287 dollars of staff over 287 GPU-hours: a dollar for each. 283 without, 570 with."""
    overheads = FleetOverheads({"staff": 287 * DOLLAR})
    statement = chargeback_statement(
        RECORD, ChargebackLayout(("product",)), current_month="2026-11", zone=UTC, overheads=overheads
    )
    rows = list(csv.DictReader(io.StringIO(as_csv(statement))))
    document = json.loads(as_json(statement))

    assert [(row["product"], row["overhead_dollars"], row["dollars_with_overheads"]) for row in rows] == [
        ("chat", "227.00", "445.00"),
        (UNASSIGNED, "40.00", "80.00"),
        ("search", "20.00", "45.00"),
    ]
    assert document["total"]["dollars"] == 283.0
    assert document["total"]["dollars_with_overheads"] == 570.0
    assert document["total"]["picodollars_with_overheads"] == 570 * DOLLAR
    assert document["fleet_overheads"] == {
        "rule": "in proportion to GPU-hours",
        "rows": [{"name": "staff", "dollars": 287.0, "picodollars": 287 * DOLLAR}],
    }
    assert "product     dollars   idle  idle %  overheads  with overheads  GPU-hours" in text(statement)
    assert statement.notes[0] == (
        "287.00 dollars are overheads of the fleet (staff 287.00), spread in proportion to GPU-hours"
    )


def test_overheads_by_day_follow_gpu_time() -> None:
    """127 hours of chat-8b: 100 on the first day and 27 on the second."""
    overheads = FleetOverheads({"staff": 287 * DOLLAR})
    statement = chargeback_statement(
        RECORD, ChargebackLayout(("day", "model")), current_month="2026-11", zone=UTC, overheads=overheads
    )

    assert {line.labels: line.overhead // DOLLAR for line in statement.lines if line.overhead} == {
        ("2026-10-01", "llama-8b"): 100,
        ("2026-10-02", "llama-8b"): 27,
        ("2026-10-02", "llama-70b"): 100,
        ("2026-10-01", "bge"): 20,
        ("2026-10-01", ""): 30,
        ("2026-10-02", ""): 10,
    }


def test_a_month_without_history() -> None:
    """An early release knew products and teams: all of it is there, by anything."""
    record = replace(RECORD, sums=None, days={}, adjustments=())
    statement = chargeback_statement(
        record, ChargebackLayout(("day", "product", "model"), "spread"), current_month="2026-11", zone=UTC
    )

    assert sum(line.money for line in statement.lines) == 283 * DOLLAR
    assert {line.labels[0] for line in statement.lines} == {"(not itemized)"}


@pytest.mark.parametrize("columns", ALL_COLUMNS, ids=",".join)
@pytest.mark.parametrize("idle", [None, *IDLE_FORMS])
def test_every_layout_has_the_same_total(columns: tuple[Column, ...], idle: Idle | None) -> None:
    """283 dollars, 287 GPU-hours and 200 tokens; and every coarser one is the sum of a finer one."""
    overheads = FleetOverheads({"staff": 10**15 + 7})
    statement = chargeback_statement(
        RECORD, ChargebackLayout(columns, idle), current_month="2026-11", zone=UTC, overheads=overheads
    )
    finest = chargeback_statement(
        RECORD, ChargebackLayout(COLUMNS, idle), current_month="2026-11", zone=UTC, overheads=overheads
    )

    for each in (statement, finest):
        assert sum(line.money for line in each.lines) == 283 * DOLLAR
        assert sum(line.overhead for line in each.lines) == 10**15 + 7
        assert sum(line.gpu_time for line in each.lines) == 287 * HOUR
        assert sum(sum(line.tokens.values()) for line in each.lines) == 200


AMOUNTS = st.integers(min_value=-(10**6), max_value=10**15)
OWNERS = st.sampled_from([CHAT, BIG, EMBED, FREE])
DAY_SUMS = st.dictionaries(
    st.tuples(st.sampled_from([20261001, 20261002, 20261003]), OWNERS, st.sampled_from(PHASES)),
    st.tuples(AMOUNTS, st.integers(0, 10**15)),
)


def record_of(amounts: dict[tuple[int, CostOwner, str], tuple[int, int]]) -> MonthRecord:
    """A month of random amounts, all of it itemized."""
    days: dict[int, HistorySums] = {}
    cells: dict[MonthKey, int] = {}
    for (number, owner, phase), (amount, time) in amounts.items():
        sums = days.setdefault(number, HistorySums())
        sums.cost[OwnerPhase(owner, phase)] = amount  # type: ignore[arg-type]
        sums.held[OwnerPhase(owner, phase)] = time  # type: ignore[arg-type]
        cell = MonthKey(owner.product, owner.team, "configured", "2026-10")
        cells[cell] = cells.get(cell, 0) + amount
    return replace(RECORD, cells=cells, sums=month_of(days), days=days, adjustments=())


@given(DAY_SUMS, st.sampled_from([None, *IDLE_FORMS]), st.sampled_from(BASES), st.integers(0, 10**16))
def test_sums_over_days_are_the_amounts_without_days(
    amounts: dict[tuple[int, CostOwner, str], tuple[int, int]], idle: Idle | None, basis: str, staff: int
) -> None:
    """Cost, idle part, overheads and GPU time of each owner: to the picodollar, spread or not."""
    record = record_of(amounts)
    rule = SpreadRule(basis, {"chat": 3, "search": 1} if basis == "shares" else {})  # type: ignore[arg-type]
    overheads = FleetOverheads({"staff": staff}, rule)
    columns: tuple[Column, ...] = ("product", "team", "namespace", "server", "model")
    coarse = chargeback_statement(
        record, ChargebackLayout(columns, idle), current_month="2026-11", zone=UTC, overheads=overheads
    )
    fine = chargeback_statement(
        record,
        ChargebackLayout(("day", *columns), idle),
        current_month="2026-11",
        zone=UTC,
        overheads=overheads,
    )
    summed: dict[tuple[str, ...], list[int]] = {}
    for line in fine.lines:
        sums = summed.setdefault(line.labels[1:], [0, 0, 0, 0])
        for index, value in enumerate((line.money, line.idle, line.overhead, line.gpu_time)):
            sums[index] += value
    expected = {line.labels: [line.money, line.idle, line.overhead, line.gpu_time] for line in coarse.lines}

    assert {key: value for key, value in summed.items() if any(value)} == {
        key: value for key, value in expected.items() if any(value)
    }
    assert sum(line.money for line in coarse.lines) == sum(record.cells.values())
    assert sum(line.overhead for line in coarse.lines) == staff


def test_days_that_are_not_known_are_named() -> None:
    """A part of a month lacks money that has no day."""
    record = replace(
        RECORD, month="2026-10-01/2026-10-02", months=("2026-10-01/2026-10-02",), undated=5 * DOLLAR
    )

    assert (
        "5.00 dollars of 2026-10 have no known day and are not in this report"
        in chargeback_statement(record, current_month="", zone=UTC).notes
    )


@pytest.mark.parametrize("by", [("product", "team"), ("model",), ("server",)])
def test_hours_of_a_host_without_known_gpus_are_no_gpu_hours(by: tuple[Column, ...]) -> None:
    """A GPU waits one hour for its price, and a host three for its number of GPUs, as in `report month`."""
    sums = HistorySums(unpriced={(Gpu("GPU-1", "H100"), CHAT): HOUR, (UNCOUNTED, CHAT): 3 * HOUR})
    record = replace(RECORD, cells={}, sums=sums, days={}, adjustments=())
    (line,) = chargeback_statement(record, ChargebackLayout(by), current_month="", zone=UTC).lines
    assert line.unpriced == HOUR


def test_a_gpu_that_was_never_listed_waits_in_its_line_as_in_the_note() -> None:
    """Its model is known, so that its hours are GPU-hours. Only a host without a number of GPUs has none."""
    sums = HistorySums(unpriced={(Gpu("unseen", "H100"), CHAT): 2 * HOUR, (UNCOUNTED, CHAT): 3 * HOUR})
    record = replace(RECORD, cells={}, sums=sums, days={}, adjustments=())

    statement = chargeback_statement(record, current_month="", zone=UTC)

    assert [line.unpriced for line in statement.lines] == [2 * HOUR]
    assert "2.0000 of 2.0000 GPU-hours have no price: they cost nothing here" in statement.notes
