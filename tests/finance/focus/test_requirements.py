"""Files of FOCUS 1.3 and 1.4 keep the specification's rules, and each rule would notice a breach."""

import re
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.postings import PHASES, UNALLOCATED, UNASSIGNED, CostOwner, OwnerPhase
from exporter.finance.focus.dataset import FocusForm, FocusVersion, header, rows
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import HistorySums, MonthRecord
from exporter.readings import Gpu
from exporter.report import MonthKey, ServerOwner
from tests.finance.focus.requirements import (
    BOTH,
    MANDATORY,
    PLACEHOLDERS,
    REQUIREMENTS,
    Requirement,
    Row,
    parsed,
    split_breaches,
)
from tests.kit.units import DOLLAR, HOUR

ZONE = ZoneInfo("America/New_York")
CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
EMBED = CostOwner("search", "retrieval", "", "embed", "")
EMPTY = CostOwner(UNASSIGNED, UNASSIGNED, "", UNALLOCATED, "")
GPU = Gpu("GPU-0", "H100")
VERSIONS: tuple[FocusVersion, ...] = ("1.3", "1.4")

DAY = HistorySums(
    cost={
        OwnerPhase(CHAT, "decode"): 6 * DOLLAR + 1,
        OwnerPhase(CHAT, "idle"): 2 * DOLLAR,
        OwnerPhase(EMBED, "decode"): DOLLAR // 3,
        OwnerPhase(EMPTY, "idle"): 4 * DOLLAR,
    },
    held={
        OwnerPhase(CHAT, "decode"): 2 * HOUR,
        OwnerPhase(CHAT, "idle"): HOUR,
        OwnerPhase(EMBED, "decode"): HOUR // 7,
        OwnerPhase(EMPTY, "idle"): HOUR,
    },
    server_cost={
        (ServerOwner("chat", "assistants", "llm", "chat-8b"), "rent", "configured"): 8 * DOLLAR + 1,
        (ServerOwner("search", "retrieval", "", "embed"), "rent", "estimate"): DOLLAR // 3,
        (ServerOwner(UNASSIGNED, UNASSIGNED, "", UNALLOCATED), "rent", "catalogue"): 4 * DOLLAR,
    },
    tokens={(CHAT, "prompt"): 900, (CHAT, "cached_prompt"): 100, (EMBED, "prompt"): 5},
    unpriced={(GPU, CHAT): HOUR // 2},
)
RECORD = MonthRecord(
    ledger="ledger-1",
    last_commit=None,
    month="2026-11",
    months=("2026-11",),
    cells={
        MonthKey("chat", "assistants", "configured", "2026-11"): 8 * DOLLAR + 1 - DOLLAR // 100,
        MonthKey("search", "retrieval", "estimate", "2026-11"): 2 * DOLLAR,
    },
    sums=DAY,
    adjustments=(Adjustment(1, "2026-11-02", "chat", "assistants", -DOLLAR // 100, "credit note", 1, 2),),
    days={20261101: DAY, 20261130: replace(DAY, cost={}, server_cost={})},
)


def dataset(record: MonthRecord, version: FocusVersion, host_name: str = "node-7") -> list[Row]:
    """All rows, with values of their types."""
    form = FocusForm(version)
    names = header(form).strip().split(",")
    lines = list(rows(record, ZONE, form, host_name))
    assert all(len(parsed(line)) == len(names) for line in lines)
    return [dict(zip(names, parsed(line), strict=True)) for line in lines]


@cache
def example(version: FocusVersion) -> list[Row]:
    return dataset(RECORD, version)


CASES = [(each, version) for each in REQUIREMENTS for version in VERSIONS if version in each.versions]


@pytest.mark.parametrize(("requirement", "version"), CASES, ids=[f"{v}-{r}" for r, v in CASES])
def test_a_rule_holds_and_notices_a_breach(requirement: Requirement, version: FocusVersion) -> None:
    """For each row of the example; and a row with the rule's broken values is refused."""
    concerned = [row for row in example(version) if requirement.example(row)]

    assert all(map(requirement.holds, example(version)))
    assert concerned
    assert not any(requirement.holds({**row, **requirement.broken}) for row in concerned)


@pytest.mark.parametrize("version", VERSIONS)
def test_each_column_has_a_rule(version: FocusVersion) -> None:
    """And all columns are there that a version wants, sorted, with names of FOCUS's form."""
    names = header(FocusForm(version)).strip().split(",")
    theirs = [name for name in names if not name.startswith("x_")]

    assert {*theirs} <= {each.source for each in REQUIREMENTS if version in each.versions}
    assert {*theirs} >= MANDATORY
    # FocusColumnHandling, CustomColumnHandling and DatasetCompleteness.
    assert names == [*sorted(theirs), *sorted(name for name in names if name.startswith("x_"))]
    assert all(re.fullmatch(r"(x_)?([A-Z][a-z]+)+", name) and len(name) <= 50 for name in names)


def test_names_of_providers_by_version() -> None:
    """1.3 has the deprecated ones still, as mandatory columns; 1.4 removed them."""
    assert {"ProviderName", "PublisherName"} <= {*example("1.3")[0]}
    assert not {"ProviderName", "PublisherName"} & {*example("1.4")[0]}


@pytest.mark.parametrize("version", VERSIONS)
def test_parts_make_up_their_origin_charges(version: FocusVersion) -> None:
    """Two categories on the first day, and GPU time without a price on the last."""
    dataset = example(version)
    (first, *rest) = [row for row in dataset if row["AllocatedMethodId"] is not None]

    assert split_breaches(dataset) == []
    assert len({(row["ChargePeriodStart"], row["PricingCategory"]) for row in (first, *rest)}) == 3
    assert len(split_breaches([{**first, "ChargeDescription": "other"}, *rest])) == 1
    assert len(split_breaches([{**first, "BilledCost": Decimal(7)}, *rest])) > 1
    assert len(split_breaches(rest)) >= 1


labels = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=5
).filter(lambda text: text.strip() not in PLACEHOLDERS)  # nobody can tell a team called "null" from no team
owners = st.one_of(
    st.just(EMPTY), st.builds(CostOwner, labels, labels, st.just("") | labels, labels, st.just("") | labels)
)


@given(
    st.dictionaries(
        st.integers(20261101, 20261130),
        st.dictionaries(
            st.builds(OwnerPhase, owners, st.sampled_from(PHASES)), st.integers(0, 10**16), max_size=5
        ),
        max_size=3,
    ),
    st.sampled_from(("configured", "catalogue", "estimate")),
    st.sampled_from(VERSIONS),
)
def test_all_rules_hold_for_any_month(days: dict[int, Any], basis: str, version: FocusVersion) -> None:
    """Whatever labels and amounts a ledger has."""
    histories = {}
    for number, cost in days.items():
        server_cost: Counter[Any] = Counter()
        for (owner, _phase), amount in cost.items():
            key = ServerOwner(owner.product, owner.team, owner.namespace, owner.server)
            server_cost[key, "rent", basis] += amount
        histories[number] = HistorySums(cost=cost, held=dict.fromkeys(cost, HOUR), server_cost=server_cost)
    written = dataset(replace(RECORD, days=histories), version)

    breaches = [
        str(each) for each in REQUIREMENTS if version in each.versions and not all(map(each.holds, written))
    ]
    assert breaches == []
    assert split_breaches(written) == []


def test_no_rule_is_there_twice() -> None:
    """By its source, its sentence and its version."""
    counted = Counter((str(each), each.versions) for each in REQUIREMENTS)

    assert [rule for rule, count in counted.items() if count > 1] == []
    assert len(counted) > 100
    assert {version for each in REQUIREMENTS for version in each.versions} == {*BOTH}
