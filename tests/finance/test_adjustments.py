"""Corrections in statements: in every sum once they are posted, told one by one, and safe to print."""

import csv
import io
import json
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.finance.statement import as_csv, as_json, text
from exporter.finance.statements import MONTH_BYS, MonthBy, chargeback_statement, month_statement
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import HistorySums, MonthRecord
from exporter.readings import Gpu
from exporter.report import MonthKey, ServerOwner
from tests.kit.units import CENT, DOLLAR

UTC = ZoneInfo("UTC")
OCTOBER_31 = 1_793_404_800 * 10**9
"""2026-10-31T00:00:00Z."""
CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
GPU_0 = Gpu("GPU-0", "H100")
CELL = MonthKey("chat", "assistants", "configured", "2026-10")

REFUND = Adjustment(
    number=3,
    day="2026-10-31",
    product="chat",
    team="assistants",
    amount=-1234 * CENT,
    reason="invoice 4711: 2 h of a host that never started",
    entered=OCTOBER_31,
    posted=OCTOBER_31 + 10 * 10**9,
)
WAITS = replace(REFUND, number=4, amount=5 * DOLLAR // 1000, team="platform", reason="late fee", posted=None)

SPENT = HistorySums(
    cost={OwnerPhase(CHAT, "decode"): 75 * DOLLAR, OwnerPhase(CHAT, "idle"): 25 * DOLLAR},
    server_cost={(ServerOwner("chat", "assistants", "llm", "chat-8b"), "rent", "configured"): 100 * DOLLAR},
    gpu_cost={(GPU_0, "rent"): 100 * DOLLAR},
)
RECORD = MonthRecord(
    ledger="11111111-2222-4333-8444-555555555555",
    last_commit=OCTOBER_31 + 10 * 10**9,
    month="2026-10",
    months=("2026-10",),
    cells={CELL: 100 * DOLLAR - 1234 * CENT},
    sums=SPENT,
    adjustments=(REFUND, WAITS),
)


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        ("product", {("chat",): 8766}),
        ("team", {("assistants",): 8766}),
        ("server", {("llm", "chat-8b"): 10_000, ("(adjustment)", ""): -1234}),
        ("model", {("llama-8b",): 10_000, ("(adjustment)",): -1234}),
        ("component", {("rent",): 10_000, ("adjustment",): -1234}),
        ("gpu", {("GPU-0", "H100"): 10_000, ("(adjustment)", ""): -1234}),
    ],
)
def test_a_correction_is_in_its_products_money_or_in_a_row_of_its_own(
    by: MonthBy, rows: dict[tuple[str, ...], int]
) -> None:
    """100.00 - 12.34 = 87.66 dollars, whatever they are by; what waits is in none."""
    statement = month_statement(RECORD, by, current_month="2026-11", zone=UTC)
    assert {line.labels: line.money for line in statement.lines} == {
        labels: cents * CENT for labels, cents in rows.items()
    }
    by_phase = by in {"product", "team", "server", "model"}
    assert statement.notes == (
        *(["idle % is of the 100.00 dollars that are known by phase: adjustments have none"] * by_phase),
        "0.0000 of the 744.0000 hours of the whole month are metered",
        (
            "adjustment 3: -12.34 dollars of 2026-10-31 to product chat, team assistants: "
            '"invoice 4711: 2 h of a host that never started"'
        ),
        (
            "adjustment 4 waits for the daemon and is in no sum: 0.005 dollars of 2026-10-31 to "
            'product chat, team platform: "late fee"'
        ),
    )


@pytest.mark.parametrize(
    ("adjustments", "dollars", "sentences"),
    [
        ((), 100, []),
        ((WAITS,), 100, []),
        ((), 130, ["idle % is of the 100.00 dollars that are known by phase"]),
        ((REFUND,), 88, ["idle % is of the 100.00 dollars that are known by phase: adjustments have none"]),
    ],
)
def test_what_idle_is_a_part_of_is_told_where_it_is_not_all(
    adjustments: tuple[Adjustment, ...], dollars: int, sentences: list[str]
) -> None:
    """Not of a month whose money all has a phase; adjustments are named where some are posted."""
    record = replace(RECORD, adjustments=adjustments, cells={CELL: dollars * DOLLAR})
    notes = month_statement(record, "product", current_month="2026-11", zone=UTC).notes
    assert [note for note in notes if note.startswith("idle")] == sentences


def test_idle_parts_are_of_what_the_gpus_did() -> None:
    """A quarter of the 100 dollars was idle; a refund changes nothing of it."""
    (row,) = json.loads(as_json(chargeback_statement(RECORD, current_month="2026-11", zone=UTC)))["rows"]
    assert (row["dollars"], row["idle_dollars"], row["idle_ratio"]) == (87.66, 25.0, 0.25)
    assert row["adjustment_dollars"] == -12.34


def test_a_table_for_people() -> None:
    """The row, its sign and the notes."""
    assert text(month_statement(RECORD, "component", current_month="2026-11", zone=UTC)) == (
        "2026-10, ledger 11111111-2222-4333-8444-555555555555, as of 2026-10-31T00:00:10Z\n"
        "\n"
        "component   dollars\n"
        "----------  -------\n"
        "rent         100.00\n"
        "adjustment   -12.34\n"
        "----------  -------\n"
        "total         87.66\n"
        "\n"
        "0.0000 of the 744.0000 hours of the whole month are metered.\n"
        "adjustment 3: -12.34 dollars of 2026-10-31 to product chat, team assistants: "
        '"invoice 4711: 2 h of a host that never started".\n'
        "adjustment 4 waits for the daemon and is in no sum: 0.005 dollars of 2026-10-31 to product chat, "
        'team platform: "late fee".\n'
    )


def test_csv_has_the_row_and_no_reasons() -> None:
    """A refund stays a number; words for people are not for spreadsheets."""
    assert as_csv(month_statement(RECORD, "component", current_month="2026-11", zone=UTC)) == (
        "month,component,dollars,estimated_dollars,adjustment_dollars,to_date\n"
        "2026-10,rent,100.00,0.00,0.00,false\n"
        "2026-10,adjustment,-12.34,0.00,-12.34,false\n"
    )


def test_json_has_them_as_rows() -> None:
    """Exact beside dollars; `posted` is null while it waits."""
    document = json.loads(as_json(month_statement(RECORD, "gpu", current_month="2026-11", zone=UTC)))
    assert document["adjustments"] == [
        {
            "number": 3,
            "date": "2026-10-31",
            "product": "chat",
            "team": "assistants",
            "dollars": -12.34,
            "picodollars": -12_340_000_000_000,
            "reason": "invoice 4711: 2 h of a host that never started",
            "entered": "2026-10-31T00:00:00Z",
            "posted": "2026-10-31T00:00:10Z",
        },
        {
            "number": 4,
            "date": "2026-10-31",
            "product": "chat",
            "team": "platform",
            "dollars": 0.005,
            "picodollars": 5_000_000_000,
            "reason": "late fee",
            "entered": "2026-10-31T00:00:00Z",
            "posted": None,
        },
    ]
    assert document["total"]["picodollars"] == 87_660_000_000_000
    assert (
        json.loads(
            as_json(month_statement(replace(RECORD, adjustments=()), "gpu", current_month="", zone=UTC))
        )["adjustments"]
        == []
    )


def test_a_correction_is_not_money_without_history() -> None:
    """Of 60 dollars that an earlier release posted, less 12.34, exactly 60 are not itemized."""
    older = replace(RECORD, cells={CELL: 160 * DOLLAR - 1234 * CENT})
    statement = month_statement(older, "model", current_month="2026-11", zone=UTC)
    assert {line.labels: line.money for line in statement.lines} == {
        ("llama-8b",): 100 * DOLLAR,
        ("(not itemized)",): 60 * DOLLAR,
        ("(adjustment)",): -1234 * CENT,
    }
    assert statement.notes[0].startswith("60.00 dollars are known by product and team only")
    bare = month_statement(replace(older, sums=None), "component", current_month="2026-11", zone=UTC)
    assert {line.labels: line.money for line in bare.lines} == {
        ("(not itemized)",): 160 * DOLLAR,
        ("adjustment",): -1234 * CENT,
    }


def test_a_month_that_only_waits() -> None:
    """It has no row, nothing in the total, and the note."""
    statement = month_statement(
        replace(RECORD, cells={}, sums=HistorySums(), adjustments=(WAITS,)),
        "server",
        current_month="2026-11",
        zone=UTC,
    )
    assert statement.lines == ()
    assert text(statement).splitlines()[-1].startswith("adjustment 4 waits for the daemon and is in no sum: ")
    assert json.loads(as_json(statement))["total"]["picodollars"] == 0


def test_a_reason_that_came_by_hand_moves_no_cursor() -> None:
    """The verb lets no such text in; a person with a shell might."""
    hostile = replace(REFUND, reason='\x1b[2J"\ntotal 0.00')
    output = text(
        month_statement(replace(RECORD, adjustments=(hostile,)), "product", current_month="2026-11", zone=UTC)
    )
    assert output.splitlines()[-1].endswith('team assistants: "?[2J"?total 0.00".')


adjustments = st.lists(
    st.tuples(
        st.sampled_from(["chat", "search"]),
        st.sampled_from(["a", "b"]),
        st.integers(-(10**14), 10**14).filter(bool),
        st.booleans(),
    ),
    max_size=8,
)


@given(adjustments, st.integers(0, 10**14), st.integers(0, 10**14))
def test_every_report_reconciles_with_corrections(
    corrections: list[tuple[str, str, int, bool]], retained: int, older: int
) -> None:
    """Cells are history, what an earlier release posted and what was corrected; no grouping differs."""
    cells = {CELL: retained + older}
    rows = []
    for number, (product, team, amount, posted) in enumerate(corrections, 1):
        instant = OCTOBER_31 if posted else None
        rows.append(Adjustment(number, "2026-10-01", product, team, amount, "why", OCTOBER_31, instant))
        if posted:
            cell = MonthKey(product, team, "configured", "2026-10")
            cells[cell] = cells.get(cell, 0) + amount
    sums = HistorySums(
        cost={OwnerPhase(CHAT, "decode"): retained},
        server_cost={(ServerOwner("chat", "assistants", "llm", "chat-8b"), "rent", "configured"): retained},
        gpu_cost={(GPU_0, "rent"): retained},
    )
    record = replace(RECORD, cells=cells, sums=sums, adjustments=tuple(rows))
    corrected = sum(amount for *_who, amount, posted in corrections if posted)
    exact = retained + older + corrected
    cents = (exact * 2 + CENT) // (CENT * 2)
    for statement in (
        *(month_statement(record, by, current_month="", zone=UTC) for by in MONTH_BYS),
        chargeback_statement(record, current_month="", zone=UTC),
    ):
        document = json.loads(as_json(statement))
        assert (
            sum(row["picodollars"] for row in document["rows"]) == document["total"]["picodollars"] == exact
        )
        printed = list(csv.DictReader(io.StringIO(as_csv(statement))))
        assert sum(round(float(row["dollars"]) * 100) for row in printed) == cents
    by_component = {
        line.labels[0]: line.money
        for line in month_statement(record, "component", current_month="", zone=UTC).lines
    }
    assert by_component.get("adjustment", 0) == corrected
