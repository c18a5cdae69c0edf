"""The file of FOCUS: each kind of row by hand, numbers that stay exact, text that stays text."""

import csv
import io
import re
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.postings import PHASES, CostOwner, OwnerPhase
from exporter.finance.focus.dataset import (
    COLUMNS,
    VERSIONS,
    FocusForm,
    FocusVersion,
    decimal,
    focus,
    formulas,
    rows,
)
from exporter.finance.statement import as_csv
from exporter.finance.statements import UnknownMonthError, month_statement
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import HistorySums, MonthRecord
from exporter.readings import Gpu
from exporter.report import MonthKey, ServerOwner
from tests.kit.units import DOLLAR, HOUR

NAMES = ("Product", "Team", "Namespace", "Server", "Model")
UTC = ZoneInfo("UTC")
CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
OWNER = ServerOwner("chat", "assistants", "llm", "chat-8b")

DAY = HistorySums(
    cost={OwnerPhase(CHAT, "decode"): 6 * DOLLAR + 1},
    held={OwnerPhase(CHAT, "decode"): 100 * 60 * 10**9},
    server_cost={(OWNER, "rent", "configured"): 6 * DOLLAR + 1},
    tokens={(CHAT, "cached_prompt"): 1234},
    unpriced={(Gpu("GPU-0", "H100"), CHAT): 10 * 60 * 10**9},
)
RECORD = MonthRecord(
    ledger="ledger-1",
    last_commit=None,
    month="2026-11",
    months=("2026-11",),
    cells={
        MonthKey("chat", "assistants", "configured", "2026-11"): 6 * DOLLAR + 1 - DOLLAR // 100,
        MonthKey("search", "retrieval", "estimate", "2026-11"): 2 * DOLLAR,
    },
    sums=DAY,
    adjustments=(
        Adjustment(1, "2026-11-02", "chat", "assistants", -DOLLAR // 100, 'half a "cent", twice', 1, 2),
    ),
    days={20261101: DAY},
)

ACCOUNT = '"self-hosted-inference","Self-hosted inference","USD",2026-12-01T05:00:00Z,2026-11-01T04:00:00Z'
PROVIDER = '"Self-hosted inference"'
SERVICE = f'{PROVIDER},{PROVIDER},"AI and Machine Learning","LLM inference","Generative AI"'


def test_each_kind_of_row_of_1_2_by_hand() -> None:
    """In New York, on the day on which its clocks go back.

    100 of 60 minutes are 1.6666... hours, 10 are 0.1666..., of which the twelfth digit is rounded.
    """
    assert "".join(focus(RECORD, ZoneInfo("America/New_York"), FocusForm("1.2"))) == (
        "BilledCost,BillingAccountId,BillingAccountName,BillingCurrency,BillingPeriodEnd,BillingPeriodStart,"
        "ChargeCategory,ChargeClass,ChargeDescription,ChargeFrequency,ChargePeriodEnd,ChargePeriodStart,"
        "CommitmentDiscountStatus,ConsumedQuantity,ConsumedUnit,ContractedCost,EffectiveCost,InvoiceId,"
        "InvoiceIssuerName,ListCost,PricingCategory,PricingQuantity,PricingUnit,ProviderName,PublisherName,"
        "ServiceCategory,ServiceName,ServiceSubcategory,x_Product,x_Team,x_Namespace,x_Server,x_Model,"
        "x_Phase,x_TokenKind,x_PriceBasis,x_EstimatedCost,x_UnpricedQuantity,x_Reason,x_LedgerId\n"
        f'6.000000000001,{ACCOUNT},"Usage",,"GPU time: decode","Usage-Based",2026-11-02T05:00:00Z,'
        '2026-11-01T04:00:00Z,,1.666666666667,"GPU-Hours",6.000000000001,6.000000000001,,'
        f'{PROVIDER},6.000000000001,"Standard",1.666666666667,"GPU-Hours",{SERVICE},"chat","assistants",'
        '"llm","chat-8b","llama-8b","decode",,"configured",0.0,0.166666666667,,"ledger-1"\n'
        f'0.0,{ACCOUNT},"Usage",,"Tokens: cached_prompt; the GPU time that made them carries their cost",'
        '"Usage-Based",2026-11-02T05:00:00Z,2026-11-01T04:00:00Z,,1234.0,"Tokens",0.0,0.0,,'
        f'{PROVIDER},0.0,"Other",1234.0,"Tokens",{SERVICE},"chat","assistants",'
        '"llm","chat-8b","llama-8b",,"cached_prompt",,0.0,,,"ledger-1"\n'
        f'-0.01,{ACCOUNT},"Adjustment",,"Adjustment: its reason is in x_Reason","One-Time",'
        "2026-11-03T05:00:00Z,2026-11-02T05:00:00Z,,,,-0.01,-0.01,,"
        f'{PROVIDER},-0.01,"Standard",,,{SERVICE},"chat","assistants",,,,,,"configured",0.0,,'
        '"half a ""cent"", twice","ledger-1"\n'
        f'2.0,{ACCOUNT},"Adjustment",,"GPU time that is known by product and team only","One-Time",'
        "2026-12-01T05:00:00Z,2026-11-01T04:00:00Z,,,,2.0,2.0,,"
        f'{PROVIDER},2.0,"Other",,,{SERVICE},"search","retrieval",,,,,,"estimate",2.0,,,"ledger-1"\n'
    )


METHOD = (
    '"{""Elements"":[{""AllocatedRatio"":1.0,""UsageUnit"":""GPU-Hours"",'
    '""UsageQuantity"":1.666666666667}]}","gpu-time","llm/chat-8b","chat-8b",'
)
TAGS = (
    '"{""inference/product"":""chat"",""inference/team"":""assistants"",""inference/namespace"":""llm"",'
    '""inference/model"":""llama-8b""}"'
)
OWNER_TAGS = '"{""inference/product"":""chat"",""inference/team"":""assistants""}"'
SEARCH_TAGS = '"{""inference/product"":""search"",""inference/team"":""retrieval""}"'
HOST = '"ledger-1","node-7","GPU Host"'
SERVICE_1_4 = f'"AI and Machine Learning","LLM inference",{PROVIDER},"Generative AI"'


def test_each_kind_of_row_of_1_4_by_hand() -> None:
    """GPU time is all of its host's day. Other rows are no part of anything, and their owners are tags."""
    assert FocusForm().version == "1.4"
    assert "".join(rows(RECORD, ZoneInfo("America/New_York"), FocusForm(), "node-7")) == (
        f'{METHOD}{TAGS},6.000000000001,{ACCOUNT},"Usage",,"GPU time of a host, allocated to servers",'
        '"Usage-Based",2026-11-02T05:00:00Z,2026-11-01T04:00:00Z,,1.666666666667,"GPU-Hours",'
        f'6.000000000001,6.000000000001,{PROVIDER},,,{PROVIDER},6.000000000001,"Standard",1.666666666667,'
        f'"GPU-Hours",{HOST},{SERVICE_1_4},,0.0,"ledger-1","llama-8b","llm","decode","configured","chat",,'
        '"chat-8b","assistants",,0.166666666667\n'
        f',,,,,0.0,{ACCOUNT},"Usage",,'
        '"Tokens: cached_prompt; the GPU time that made them carries their cost",'
        '"Usage-Based",2026-11-02T05:00:00Z,2026-11-01T04:00:00Z,,1234.0,"Tokens",'
        f'0.0,0.0,{PROVIDER},,,{PROVIDER},0.0,"Other",1234.0,'
        f'"Tokens",{HOST},{SERVICE_1_4},{TAGS},0.0,"ledger-1","llama-8b","llm",,,"chat",,'
        '"chat-8b","assistants","cached_prompt",\n'
        f',,,,,-0.01,{ACCOUNT},"Adjustment",,"Adjustment: its reason is in x_Reason","One-Time",'
        f"2026-11-03T05:00:00Z,2026-11-02T05:00:00Z,,,,-0.01,-0.01,{PROVIDER},,,{PROVIDER},-0.01,"
        f'"Standard",,,,,,{SERVICE_1_4},{OWNER_TAGS},0.0,"ledger-1",,,,"configured","chat",'
        '"half a ""cent"", twice",,"assistants",,\n'
        f',,,,,2.0,{ACCOUNT},"Adjustment",,"GPU time that is known by product and team only","One-Time",'
        f"2026-12-01T05:00:00Z,2026-11-01T04:00:00Z,,,,2.0,2.0,{PROVIDER},,,{PROVIDER},2.0,"
        f'"Other",,,{HOST},{SERVICE_1_4},{SEARCH_TAGS},2.0,"ledger-1",,,,"estimate","search",,,'
        '"retrieval",,\n'
    )


def test_versions_differ_in_these_columns() -> None:
    """1.3 has both old and new names of providers, 1.4 the new ones only."""
    header = {
        version: next(focus(RECORD, UTC, FocusForm(version))).strip().split(",") for version in VERSIONS
    }

    assert sorted({*header["1.3"]} - {*header["1.2"]}) == [
        "AllocatedMethodDetails",
        "AllocatedMethodId",
        "AllocatedResourceId",
        "AllocatedResourceName",
        "AllocatedTags",
        "HostProviderName",
        "ResourceId",
        "ResourceName",
        "ResourceType",
        "ServiceProviderName",
        "Tags",
    ]
    assert {*header["1.2"]} < {*header["1.3"]}
    assert {*header["1.3"]} - {*header["1.4"]} == {"ProviderName", "PublisherName"}
    assert {*header["1.4"]} - {*header["1.3"]} == {"InvoiceDetailId"}


@pytest.mark.parametrize("version", VERSIONS)
def test_chosen_columns_are_those_of_the_whole_file(version: FocusVersion) -> None:
    """In its order, whatever the order of the choice."""
    whole = list(csv.DictReader(io.StringIO("".join(focus(RECORD, UTC, FocusForm(version))))))
    form = FocusForm(version, ("x_Team", "BilledCost"))
    chosen = list(csv.DictReader(io.StringIO("".join(focus(RECORD, UTC, form)))))

    assert list(chosen[0]) == ["BilledCost", "x_Team"]
    assert chosen == [{name: row[name] for name in ("BilledCost", "x_Team")} for row in whole]
    assert form.unknown == ()
    assert FocusForm("1.4", ("ProviderName", "BilledCost")).unknown == ("ProviderName",)


def test_focus_columns_come_before_ours() -> None:
    """The specification wants those of others last, and marked."""
    ours = [name.startswith("x_") for name in COLUMNS]

    assert ours == sorted(ours)


def test_a_month_without_days_has_rows_of_the_month() -> None:
    """As a statement has it: money by server and phase is known, its days are not."""
    of_days = list(csv.DictReader(io.StringIO("".join(focus(RECORD, UTC)))))
    of_month = list(csv.DictReader(io.StringIO("".join(focus(replace(RECORD, days={}), UTC)))))
    for row in of_days:
        if row["ChargeCategory"] == "Usage":
            row |= {"ChargePeriodStart": "2026-11-01T00:00:00Z", "ChargePeriodEnd": "2026-12-01T00:00:00Z"}

    assert of_month == of_days


def test_the_page_tells_every_column() -> None:
    """docs/focus.md has them all, and no other."""
    page = (Path(__file__).parents[3] / "docs" / "focus.md").read_text(encoding="utf-8")
    table = page.partition("## Columns\n")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)
    names = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]

    assert sorted(names) == sorted(COLUMNS)


@pytest.mark.parametrize(
    ("amount", "unit", "text"),
    [
        (0, DOLLAR, "0.0"),
        (1, DOLLAR, "0.000000000001"),
        (-1, DOLLAR, "-0.000000000001"),
        (-12_340_000_000_000, DOLLAR, "-12.34"),
        (2**63 - 1, DOLLAR, "9223372.036854775807"),
        (5000, 1, "5000.0"),
        (2**63 - 1, 1, "9223372036854775807.0"),
        # 1 / 3,600,000,000,000 hours are 0.00000000000028, and twice as much is half of the last digit.
        (1, HOUR, "0.0"),
        (2, HOUR, "0.000000000001"),
        (HOUR, HOUR, "1.0"),
        (HOUR // 3, HOUR, "0.333333333333"),
        (2 * HOUR // 3, HOUR, "0.666666666667"),
        (31 * 24 * 8 * HOUR, HOUR, "5952.0"),
        # Half of a last digit goes to the even one.
        (1, 2 * DOLLAR, "0.0"),
        (3, 2 * DOLLAR, "0.000000000002"),
        (5, 2 * DOLLAR, "0.000000000002"),
    ],
)
def test_numbers_are_decimals_without_exponents(amount: int, unit: int, text: str) -> None:
    """With a point always, so that a reader that guesses types takes no column for whole numbers."""
    assert decimal(amount, unit) == text


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t"])
def test_a_label_stays_as_it_is_and_is_told_of(begin: str) -> None:
    """A warehouse joins by it; whoever writes the file can warn of spreadsheets."""
    named = f'{begin}cmd()|","\n=1'
    sums = HistorySums(cost={OwnerPhase(CHAT._replace(model=named), "decode"): 5 * DOLLAR})
    lines = list(focus(replace(RECORD, days={20261101: sums}, cells={}, adjustments=()), UTC))
    (row, _rest) = csv.DictReader(io.StringIO("".join(lines)))

    assert row["x_Model"] == named
    assert [formulas(line) for line in lines] == [False, True, False]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
def test_a_guarded_label_is_no_formula(begin: str) -> None:
    """It gets an apostrophe, as `--csv` of the other reports has it; nothing else changes, numbers least."""
    named = f'{begin}HYPERLINK("http://a",",=b","=c")'
    sums = HistorySums(cost={OwnerPhase(CHAT._replace(model=named), "decode"): -5 * DOLLAR})
    record = replace(RECORD, days={20261101: sums}, cells={}, adjustments=())
    plain, guarded = ("".join(focus(record, UTC, FocusForm(guarded=each))) for each in (False, True))
    (row, _rest) = csv.DictReader(io.StringIO(plain, newline=""))
    (safe, _rest) = csv.DictReader(io.StringIO(guarded, newline=""))

    assert safe == {**row, "x_Model": f"'{named}"}
    assert not any(map(formulas, guarded.splitlines(keepends=True)))


@pytest.mark.parametrize("label", ['a,"=b', "a=b", "1-2", "", "a\n=b", '","=', "\u00fc=x"])
def test_what_begins_otherwise_is_no_formula(label: str) -> None:
    """Signs inside a label, and negative amounts, are no reason to warn."""
    sums = HistorySums(cost={OwnerPhase(CHAT._replace(model=label), "decode"): -5 * DOLLAR})
    lines = focus(replace(RECORD, days={20261101: sums}, cells={}, adjustments=()), UTC)

    assert not any(map(formulas, lines))


@pytest.mark.parametrize(
    ("months", "message"),
    [
        ((), "the ledger has nothing of 2026-11: it is empty: a daemon posts from its second tick on"),
        (("2026-09", "2026-10"), "the ledger has nothing of 2026-11: it has 2026-09, 2026-10"),
    ],
)
def test_a_month_that_is_not_there_is_an_error_at_once(months: tuple[str, ...], message: str) -> None:
    """Before a line is written; the message is that of the other reports."""
    with pytest.raises(UnknownMonthError) as raised:
        focus(replace(RECORD, months=months, cells={}), UTC)

    assert str(raised.value) == message


def test_a_month_without_money_has_its_unpriced_hours() -> None:
    """They cost 0 and say that they had no price, which is not the same as having been free."""
    history = HistorySums(
        held={OwnerPhase(CHAT, "idle"): HOUR}, unpriced={(Gpu("GPU-0", "H100"), CHAT): HOUR}
    )
    lines = focus(replace(RECORD, days={20261101: history}, cells={}, adjustments=()), UTC)
    (row,) = csv.DictReader(io.StringIO("".join(lines)))

    values = {
        name: row[name] for name in ("BilledCost", "ConsumedQuantity", "x_UnpricedQuantity", "x_PriceBasis")
    }
    assert values == {
        "BilledCost": "0.0",
        "ConsumedQuantity": "1.0",
        "x_UnpricedQuantity": "1.0",
        "x_PriceBasis": "",
    }


def test_hours_that_were_charged_late_had_a_price_in_the_end() -> None:
    """An hour and a half without one, of which the hour was charged when it came: 0.5 are left."""
    gpu = Gpu("GPU-0", "H100")
    history = HistorySums(
        held={OwnerPhase(CHAT, "idle"): 3 * HOUR // 2},
        unpriced={(gpu, CHAT): 3 * HOUR // 2},
        settled={(gpu, CHAT): HOUR},
        cost={OwnerPhase(CHAT, "idle"): 4 * DOLLAR},
        server_cost={(OWNER, "rent", "configured"): 4 * DOLLAR},
    )
    cells = {MonthKey("chat", "assistants", "configured", "2026-11"): 4 * DOLLAR}
    lines = focus(replace(RECORD, days={20261101: history}, cells=cells, adjustments=()), UTC)
    (row,) = csv.DictReader(io.StringIO("".join(lines)))

    values = [row[name] for name in ("BilledCost", "ConsumedQuantity", "x_UnpricedQuantity")]
    assert values == ["4.0", "1.5", "0.5"]


labels = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
owners = st.builds(CostOwner, labels, labels, labels, labels, labels)
days = st.dictionaries(
    st.integers(20261101, 20261130),
    st.dictionaries(
        st.builds(OwnerPhase, owners, st.sampled_from(PHASES)), st.integers(1, 10**15), max_size=4
    ),
    max_size=4,
)


@given(days, st.integers(-(10**15), 10**15))
def test_the_file_reconciles_with_the_month_to_the_cent(histories: dict[int, Any], lost: int) -> None:
    """Its columns of money sum to the picodollar, and rounded once to what `report month` prints.

    Labels come back as they went in, whatever is in them.
    """
    cells: Counter[MonthKey] = Counter({MonthKey("chat", "a", "estimate", "2026-11"): lost})
    sums = {number: HistorySums(cost=cost) for number, cost in histories.items()}
    for each in sums.values():
        for owner_phase, amount in each.cost.items():
            cost_owner = owner_phase.owner
            owner = ServerOwner(cost_owner.product, cost_owner.team, cost_owner.namespace, cost_owner.server)
            key = owner, "rent", "configured"
            each.server_cost[key] = each.server_cost.get(key, 0) + amount
            cells[MonthKey(cost_owner.product, cost_owner.team, "configured", "2026-11")] += amount
    whole = HistorySums()
    for each in sums.values():
        whole.add(each)
    record = replace(RECORD, cells=dict(cells), sums=whole, days=sums, adjustments=())
    written = list(csv.DictReader(io.StringIO("".join(focus(record, UTC)), newline="")))

    exact = sum(cells.values())
    for column in ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"):
        assert sum(Decimal(row[column]) for row in written) * DOLLAR == exact
    # The nearest cent, half up.
    cents = (exact * 2 + DOLLAR // 100) // (DOLLAR // 50)
    printed = csv.DictReader(
        io.StringIO(as_csv(month_statement(record, "product", current_month="", zone=UTC)))
    )
    assert sum(Decimal(row["dollars"]) for row in printed) == Decimal(cents) / 100
    names = {tuple(row[f"x_{name}"] for name in NAMES) for row in written if row["x_Phase"]}
    assert names == {
        tuple(getattr(owner_phase.owner, name.lower()) for name in NAMES)
        for each in sums.values()
        for owner_phase in each.cost
    }
