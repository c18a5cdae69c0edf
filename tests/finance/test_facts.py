"""Facts of a month: each view of its money sums to it, whatever history tells."""

import pytest

from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.finance.facts import VIEWS, Fact, MoneyView, facts_of, measured
from exporter.finance.sum_keys import key_of, labels_of
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import FAMILIES, GpuOwner, HistorySums, MonthRecord
from exporter.readings import Gpu
from exporter.report import MonthKey, ServerOwner

CHAT = CostOwner("chat", "a", "llm", "chat-8b", "llama")
SERVER = ServerOwner(*CHAT[:4])
GPU = Gpu("GPU-0", "H100")
KEYS = {
    "cost": OwnerPhase(CHAT, "idle"),
    "held": OwnerPhase(CHAT, "idle"),
    "server_cost": (SERVER, "rent", "estimate"),
    "gpu_cost": (GPU, "rent"),
    "gpu_held": GPU,
    "tokens": (CHAT, "prompt"),
    "unpriced": (GPU, CHAT),
    "covered": (),
    "settled": (GPU, CHAT),
    "gpu_down": GPU,
    "gpu_unowed": GPU,
    "owner_held": GpuOwner(GPU, "chat", "a"),
    "owner_down": GpuOwner(GPU, "chat", "a"),
}


def record(sums: HistorySums | None, days: dict[int, HistorySums] | None = None) -> MonthRecord:
    """A month of 100 picodollars of chat, 30 of them estimated, and 7 of a correction."""
    return MonthRecord(
        ledger="l1",
        last_commit=None,
        month="2026-10",
        months=("2026-10",),
        cells={
            MonthKey("chat", "a", "configured", "2026-10"): 77,
            MonthKey("chat", "a", "estimate", "2026-10"): 30,
        },
        sums=sums,
        days=days or {},
        adjustments=(
            Adjustment(1, "2026-10-31", "chat", "a", 7, "credit", 1, 2),
            Adjustment(2, "2026-10-31", "chat", "a", 1000, "waits", 1, None),
        ),
    )


@pytest.mark.parametrize("view", VIEWS)
def test_each_view_is_the_month_by_what_history_has_and_by_rows_of_the_rest(view: MoneyView) -> None:
    """60 by owner, 20 of 30 estimated ones by component, all by GPU: as counters may be."""
    sums = HistorySums(
        cost={OwnerPhase(CHAT, "idle"): 60},
        server_cost={(SERVER, "rent", "estimate"): 20},
        gpu_cost={(GPU, "rent"): 100},
    )
    rest = {
        "money of owners": [Fact(view, 40, product="chat", team="a")],
        "money of components": [
            Fact(view, 70, product="chat", team="a", basis="configured"),
            Fact(view, 10, product="chat", team="a", basis="estimate"),
        ],
        "money of GPUs": [],
    }

    money = measured(facts_of(record(sums)), view)

    assert sum(fact.value for fact in money) == 107
    assert [fact for fact in money if fact.uuid is None and fact.server is None and not fact.day] == rest[
        view
    ]
    assert [fact.value for fact in money if fact.day == "2026-10-31"] == [7]


def test_a_month_without_history_is_known_by_product_team_and_price_basis() -> None:
    """Nothing else is invented."""
    facts = facts_of(record(None))

    assert {fact.measure for fact in facts} == set(VIEWS)
    assert {fact.server for fact in facts} == {None}


def test_what_has_no_day_is_what_its_days_lack() -> None:
    """25 of 60 are of a day; the others are of a host that only a statement has."""
    whole = HistorySums(cost={OwnerPhase(CHAT, "idle"): 60})
    day = HistorySums(cost={OwnerPhase(CHAT, "idle"): 25})

    money = measured(facts_of(record(whole, {20261003: day}), by_day=True), "money of owners")

    assert {fact.day: fact.value for fact in money if fact.phase == "idle"} == {"2026-10-03": 25, None: 35}


def test_labels_begin_with_a_name_where_nothing_is_known() -> None:
    """The first column says why, and later ones are empty."""
    fact = Fact("money of owners", 1, product="chat", team="a")

    assert fact.labels(("product", "server", "model")) == ("chat", "(not itemized)", "")
    assert fact.labels(("day", "team")) == ("(not itemized)", "a")
    assert fact._replace(server="", name="(adjustment)").labels(("server", "model")) == ("", "(adjustment)")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_key_of_sums_is_its_labels(family: str) -> None:
    """Of each family; other labels are no key."""
    labels = list(labels_of(KEYS[family]))

    assert key_of(family, labels) == KEYS[family]
    with pytest.raises(ValueError, match="too many"):
        key_of(family, [*labels, "x"])
    if labels:
        with pytest.raises(IndexError):
            key_of(family, labels[:-1])
        with pytest.raises(TypeError, match="7 is no text"):
            key_of(family, [7, *labels[1:]])
