"""A month by anything: worked by hand, and reconciling to the cent whatever it is by."""

import csv
import io
import json
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.postings import PHASES, UNALLOCATED, UNASSIGNED, CostOwner, OwnerPhase
from exporter.finance.facts import NOT_ITEMIZED
from exporter.finance.statement import as_csv, as_json, sheet, text
from exporter.finance.statements import (
    MONTH_BYS,
    MonthBy,
    Statement,
    UnknownMonthError,
    chargeback_statement,
    month_statement,
)
from exporter.ledger.history import HistorySums, MonthRecord
from exporter.readings import Gpu
from exporter.report import MonthKey, ServerOwner
from tests.kit.units import CENT, DOLLAR, HOUR

UTC = ZoneInfo("UTC")
CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
EMBED = CostOwner("search", "retrieval", "llm", "embed", "bge")
UNASSIGNED_OWNER = CostOwner(UNASSIGNED, UNASSIGNED, "", UNALLOCATED, "")
GPU_0, GPU_1 = Gpu("GPU-0", "H100"), Gpu("GPU-1", "L4")

RECORD = MonthRecord(
    ledger="11111111-2222-4333-8444-555555555555",
    last_commit=1_793_491_200 * 10**9,  # 2026-11-01T00:00:00Z
    month="2026-10",
    months=("2026-09", "2026-10"),
    cells={
        MonthKey("chat", "assistants", "configured", "2026-10"): 1200 * DOLLAR,
        MonthKey("search", "retrieval", "estimate", "2026-10"): 300 * DOLLAR + CENT // 2,
        MonthKey(UNASSIGNED, UNASSIGNED, "configured", "2026-10"): 99 * DOLLAR + CENT // 2,
    },
    sums=HistorySums(
        cost={
            OwnerPhase(CHAT, "decode"): 900 * DOLLAR,
            OwnerPhase(CHAT, "idle"): 300 * DOLLAR,
            OwnerPhase(EMBED, "prefill"): 300 * DOLLAR + CENT // 2,
            OwnerPhase(UNASSIGNED_OWNER, "idle"): 90 * DOLLAR,
            OwnerPhase(UNASSIGNED_OWNER, "unobserved"): 9 * DOLLAR + CENT // 2,
        },
        held={
            OwnerPhase(CHAT, "decode"): 300 * HOUR,
            OwnerPhase(CHAT, "idle"): 100 * HOUR,
            OwnerPhase(EMBED, "prefill"): 75 * HOUR,
            OwnerPhase(UNASSIGNED_OWNER, "idle"): 25 * HOUR,
        },
        server_cost={
            (ServerOwner("chat", "assistants", "llm", "chat-8b"), "rent", "configured"): 1000 * DOLLAR,
            (ServerOwner("chat", "assistants", "llm", "chat-8b"), "energy", "configured"): 200 * DOLLAR,
            (ServerOwner("search", "retrieval", "llm", "embed"), "rent", "estimate"): 300 * DOLLAR
            + CENT // 2,
            (ServerOwner(UNASSIGNED, UNASSIGNED, "", UNALLOCATED), "rent", "configured"): 99 * DOLLAR
            + CENT // 2,
        },
        gpu_cost={
            (GPU_0, "rent"): 1399 * DOLLAR + CENT,
            (GPU_0, "energy"): 100 * DOLLAR,
            (GPU_1, "energy"): 100 * DOLLAR,
        },
        gpu_held={GPU_0: 450 * HOUR, GPU_1: 50 * HOUR},
        tokens={
            (CHAT, "prompt"): 9_000_000,
            (CHAT, "cached_prompt"): 1_000_000,
            (CHAT, "generation"): 2_500_000,
            (EMBED, "prompt"): 400,
        },
        unpriced={(GPU_1, EMBED): 50 * HOUR},
        settled={(GPU_1, EMBED): 20 * HOUR},
        covered={(): 250 * HOUR},
    ),
)


def lines(statement: Statement) -> dict[tuple[str, ...], int]:
    return {line.labels: line.money for line in statement.lines}


def test_each_grouping_by_hand() -> None:
    """1,599.01 dollars, told six ways."""
    half = CENT // 2
    assert {
        by: lines(month_statement(RECORD, by, current_month="2026-11", zone=UTC)) for by in MONTH_BYS
    } == {
        "product": {
            ("chat",): 1200 * DOLLAR,
            ("search",): 300 * DOLLAR + half,
            ("unassigned",): 99 * DOLLAR + half,
        },
        "team": {
            ("assistants",): 1200 * DOLLAR,
            ("retrieval",): 300 * DOLLAR + half,
            ("unassigned",): 99 * DOLLAR + half,
        },
        "server": {
            ("llm", "chat-8b"): 1200 * DOLLAR,
            ("llm", "embed"): 300 * DOLLAR + half,
            ("", "unallocated"): 99 * DOLLAR + half,
        },
        "model": {("llama-8b",): 1200 * DOLLAR, ("bge",): 300 * DOLLAR + half, ("",): 99 * DOLLAR + half},
        "component": {("rent",): 1399 * DOLLAR + CENT, ("energy",): 200 * DOLLAR},
        "gpu": {("GPU-0", "H100"): 1499 * DOLLAR + CENT, ("GPU-1", "L4"): 100 * DOLLAR},
    }


def test_a_chargeback_for_people() -> None:
    """Half cents of two lines make one: the first of equals gets it, and the column sums to the total."""
    assert text(chargeback_statement(RECORD, current_month="2026-11", zone=UTC)) == (
        "2026-10, ledger 11111111-2222-4333-8444-555555555555, as of 2026-11-01T00:00:00Z\n"
        "\n"
        "product     team         dollars    idle  idle %  GPU-hours  prompt tokens  cached prompt tokens"
        "  generation tokens\n"
        "----------  ----------  --------  ------  ------  ---------  -------------  --------------------"
        "  -----------------\n"
        "chat        assistants  1,200.00  300.00    25.0   400.0000      9,000,000             1,000,000"
        "          2,500,000\n"
        "search      retrieval     300.01    0.00     0.0    75.0000            400                     0"
        "                  0\n"
        "unassigned  unassigned     99.00   90.00    90.9    25.0000              0                     0"
        "                  0\n"
        "----------  ----------  --------  ------  ------  ---------  -------------  --------------------"
        "  -----------------\n"
        "total                   1,599.01  390.00    24.4   500.0000      9,000,400             1,000,000"
        "          2,500,000\n"
        "\n"
        "300.01 of 1,599.01 dollars come from estimated prices.\n"
        "20.0000 of 500.0000 GPU-hours were charged when their price came.\n"
        "30.0000 of 500.0000 GPU-hours have no price: they cost nothing here.\n"
        "250.0000 of the 744.0000 hours of the whole month are metered.\n"
    )


def test_components_and_gpus_tell_what_they_can() -> None:
    """A component has no GPU-hours, and neither has tokens."""
    assert as_csv(month_statement(RECORD, "component", current_month="2026-11", zone=UTC)) == (
        "month,component,dollars,estimated_dollars,adjustment_dollars,to_date\n"
        "2026-10,rent,1399.01,300.01,0.00,false\n"
        "2026-10,energy,200.00,0.00,0.00,false\n"
    )
    assert as_csv(month_statement(RECORD, "gpu", current_month="2026-11", zone=UTC)) == (
        "month,uuid,gpu_model,dollars,gpu_hours,adjustment_dollars,unpriced_gpu_hours,to_date\n"
        "2026-10,GPU-0,H100,1499.01,450.0000,0.00,0.0000,false\n"
        "2026-10,GPU-1,L4,100.00,50.0000,0.00,30.0000,false\n"
    )


def test_json_has_exact_money_beside_cents() -> None:
    """Both sum to the total."""
    document = json.loads(as_json(month_statement(RECORD, "server", current_month="2026-10", zone=UTC)))
    first = document["rows"][0]
    assert first == {
        "namespace": "llm",
        "server": "chat-8b",
        "dollars": 1200.0,
        "picodollars": 1200 * DOLLAR,
        "idle_dollars": 300.0,
        "idle_picodollars": 300 * DOLLAR,
        "idle_ratio": 0.25,
        "estimated_dollars": 0.0,
        "adjustment_dollars": 0.0,
        "gpu_seconds": 400 * 3600.0,
        "unpriced_gpu_hours": 0.0,
        "prompt_tokens": 9_000_000,
        "cached_prompt_tokens": 1_000_000,
        "generation_tokens": 2_500_000,
    }
    assert (document["report"], document["month"], document["to_date"]) == ("month", "2026-10", True)
    assert document["total"]["picodollars"] == 1599 * DOLLAR + CENT
    assert document["last_commit"] == "2026-11-01T00:00:00Z"


ORIGINS = ("estimated_dollars", "adjustment_dollars", "unpriced_gpu_hours", "to_date")


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        ("product", [["0.00", "0.00", "0.0000"], ["300.01", "0.00", "30.0000"], ["0.00", "0.00", "0.0000"]]),
        ("team", [["0.00", "0.00", "0.0000"], ["300.01", "0.00", "30.0000"], ["0.00", "0.00", "0.0000"]]),
        ("server", [["0.00", "0.00", "0.0000"], ["300.01", "0.00", "30.0000"], ["0.00", "0.00", "0.0000"]]),
        ("model", [["-", "0.00", "0.0000"], ["-", "0.00", "30.0000"], ["-", "0.00", "0.0000"]]),
        ("component", [["300.01", "0.00", "-"], ["0.00", "0.00", "-"]]),
        ("gpu", [["-", "0.00", "0.0000"], ["-", "0.00", "30.0000"]]),
    ],
)
def test_machines_are_told_how_far_money_is_to_be_believed(by: MonthBy, rows: list[list[str]]) -> None:
    """300.005 estimated dollars, and 50 GPU-hours without a price of which 20 were charged since.

    What books do not know by model or GPU has no column.
    """
    for current, to_date in (("2026-11", "false"), ("2026-10", "true")):
        csv_rows = list(
            csv.DictReader(io.StringIO(as_csv(month_statement(RECORD, by, current_month=current, zone=UTC))))
        )
        assert [[row.get(name, "-") for name in ORIGINS] for row in csv_rows] == [
            [*row, to_date] for row in rows
        ]


def test_estimates_that_history_has_lost_are_in_the_line_that_is_not_itemized() -> None:
    """Of 300.005 estimated dollars the days know 100: the rest is told where their money is."""
    sums = replace(
        RECORD.sums or HistorySums(),
        cost={OwnerPhase(EMBED, "prefill"): 100 * DOLLAR},
        server_cost={(ServerOwner("search", "retrieval", "llm", "embed"), "rent", "estimate"): 100 * DOLLAR},
    )
    document = json.loads(
        as_json(month_statement(replace(RECORD, sums=sums), "server", current_month="2026-11", zone=UTC))
    )
    estimated = {row["server"] or row["namespace"]: row["estimated_dollars"] for row in document["rows"]}
    assert estimated == {NOT_ITEMIZED: 200.01, "embed": 100.0, "chat-8b": 0.0, "unallocated": 0.0}
    assert document["total"]["estimated_dollars"] == 300.01


def test_a_month_that_goes_on_says_so() -> None:
    """It is to date."""
    assert text(month_statement(RECORD, "product", current_month="2026-10", zone=UTC)).startswith(
        "2026-10 to date, ledger "
    )


def test_money_without_history_has_a_line_of_its_own() -> None:
    """700.01 of 1,599.01 dollars are itemized; the rest is known by product and team only."""
    sums = replace(
        RECORD.sums or HistorySums(), cost={OwnerPhase(CHAT, "idle"): 700 * DOLLAR + CENT}, unpriced={}
    )
    partly = replace(RECORD, sums=sums)
    by_server = month_statement(partly, "server", current_month="2026-11", zone=UTC)
    by_product = month_statement(partly, "product", current_month="2026-11", zone=UTC)

    assert lines(by_server)[NOT_ITEMIZED, ""] == 899 * DOLLAR
    assert by_server.notes[1].startswith(
        "899.00 dollars are known by product and team only: their days were lost"
    )
    assert lines(by_product)["chat",] == 1200 * DOLLAR
    assert by_product.notes[1].startswith("899.00 dollars have no idle part, GPU-hours or tokens here")
    # What is not known by phase is in no ratio.
    assert json.loads(as_json(by_product))["rows"][0]["idle_ratio"] == 1.0


def test_a_ledger_that_keeps_no_history_tells_money_only() -> None:
    """Nothing is shown as zero that is not known."""
    bare = replace(RECORD, sums=None)
    assert (
        as_csv(month_statement(bare, "model", current_month="2026-11", zone=UTC))
        == "month,model,dollars,adjustment_dollars,to_date\n2026-10,(not itemized),1599.01,0.00,false\n"
    )
    assert as_csv(chargeback_statement(bare, current_month="2026-11", zone=UTC)).splitlines()[:2] == [
        "month,product,team,dollars,estimated_dollars,adjustment_dollars,to_date",
        "2026-10,chat,assistants,1200.00,0.00,0.00,false",
    ]


@pytest.mark.parametrize("by", MONTH_BYS)
def test_unpriced_time_is_a_month_without_money(by: MonthBy) -> None:
    """GPU-hours are told, dollars are 0.00, and a ratio of nothing is none."""
    sums = HistorySums(
        held={OwnerPhase(CHAT, "idle"): HOUR}, gpu_held={GPU_0: HOUR}, unpriced={(GPU_0, CHAT): HOUR}
    )
    statement = month_statement(replace(RECORD, cells={}, sums=sums), by, current_month="2026-11", zone=UTC)
    assert "1.0000 of 1.0000 GPU-hours have no price" in text(statement)
    assert json.loads(as_json(statement))["total"].get("idle_ratio") is None


@pytest.mark.parametrize(
    ("months", "message"),
    [
        ((), "the ledger has nothing of 2026-10: it is empty: a daemon posts from its second tick on"),
        (("2026-08", "2026-09"), "the ledger has nothing of 2026-10: it has 2026-08, 2026-09"),
    ],
)
def test_a_month_that_is_not_there_is_an_error(months: tuple[str, ...], message: str) -> None:
    """The message says which there are."""
    with pytest.raises(UnknownMonthError) as raised:
        month_statement(
            replace(RECORD, months=months, cells={}, sums=None), "product", current_month="2026-11", zone=UTC
        )
    assert str(raised.value) == message


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t"])
def test_a_label_is_no_formula_in_csv(begin: str) -> None:
    """A model named `=cmd()` is text in every spreadsheet; a refund stays a number."""
    named = f"{begin}cmd()"
    sums = HistorySums(cost={OwnerPhase(CHAT._replace(model=named), "decode"): -5 * DOLLAR})
    cells = {MonthKey("chat", "assistants", "configured", "2026-10"): -5 * DOLLAR}
    (_heading, row) = csv.reader(
        io.StringIO(
            as_csv(
                month_statement(replace(RECORD, cells=cells, sums=sums), "model", current_month="", zone=UTC)
            )
        )
    )
    assert row[1:3] == [f"'{named}", "-5.00"]


def test_a_label_moves_no_cursor_in_a_terminal() -> None:
    """Escape sequences are told as question marks."""
    sums = HistorySums(
        cost={OwnerPhase(CHAT._replace(model="\x1b[2Jgone\n"), "decode"): 1599 * DOLLAR + CENT}
    )
    assert "?[2Jgone?  1,599.01" in text(
        month_statement(replace(RECORD, sums=sums), "model", current_month="", zone=UTC)
    )


owners = st.builds(
    CostOwner,
    st.sampled_from(["chat", "search", UNASSIGNED]),
    st.sampled_from(["a", "b"]),
    st.just("llm"),
    st.sampled_from(["s", "t", "u"]),
    st.sampled_from(["m", "n", ""]),
)
postings = st.lists(
    st.tuples(
        owners,
        st.sampled_from(PHASES),
        st.sampled_from([GPU_0, GPU_1]),
        st.sampled_from(["rent", "energy"]),
        st.sampled_from(["configured", "estimate"]),
        st.integers(-(10**12), 10**14),
        st.booleans(),
    ),
    min_size=1,
    max_size=20,
)


def record(posted: list[Any]) -> MonthRecord:
    """A month of these postings; those that say so are without history."""
    cells: dict[MonthKey, int] = {}
    sums = HistorySums()
    for cost_owner, phase, gpu, component, basis, amount, in_history in posted:
        cell = MonthKey(cost_owner.product, cost_owner.team, basis, "2026-10")
        cells[cell] = cells.get(cell, 0) + amount
        if in_history:
            owner = ServerOwner(cost_owner.product, cost_owner.team, cost_owner.namespace, cost_owner.server)
            one = HistorySums(
                cost={OwnerPhase(cost_owner, phase): amount},
                server_cost={(owner, component, basis): amount},
                gpu_cost={(gpu, component): amount},
            )
            sums.add(one)
    return replace(RECORD, cells=cells, sums=sums)


@given(postings)
def test_every_report_reconciles_to_the_cent(posted: list[Any]) -> None:
    """Whatever a month is by, in every form: the column sums to one and the same total."""
    month_record = record(posted)
    exact = sum(amount for *_rest, amount, _in_history in posted)
    statements = [
        *(month_statement(month_record, by, current_month="", zone=UTC) for by in MONTH_BYS),
        chargeback_statement(month_record, current_month="", zone=UTC),
    ]
    # The nearest cent, half up, by decimal digits.
    cents = (exact * 2 + CENT) // (CENT * 2)
    for statement in statements:
        document = json.loads(as_json(statement))
        assert (
            sum(row["picodollars"] for row in document["rows"]) == document["total"]["picodollars"] == exact
        )
        assert sum(round(row["dollars"] * 100) for row in document["rows"]) == cents
        assert round(document["total"]["dollars"] * 100) == cents
        rows = list(csv.DictReader(io.StringIO(sheet(statement, "csv"))))
        assert sum(round(float(row["dollars"]) * 100) for row in rows) == cents
        total = next(line for line in text(statement).splitlines() if line.startswith("total"))
        assert f"{cents / 100:,.2f}" in total.split()
