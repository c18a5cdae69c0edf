"""Why two periods differ: one exact effect for each factor that changed. Reckoned by hand."""

from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.postings import CostOwner, OwnerPhase, Phase
from exporter.finance.why import ComparedPeriod, Comparison, EffectName, Scope, compare
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import GpuOwner, HistorySums, MonthRecord
from exporter.readings import Gpu, ServerKey
from exporter.report import MonthKey, ServerOwner

DOLLAR, HOUR = 10**12, 3600 * 10**9
CHAT = CostOwner("chat", "a", "llm", "chat-8b", "llama")
BATCH = CostOwner("batch", "b", "llm", "batch-70b", "qwen")
SEPTEMBER, OCTOBER = 720 * HOUR, 744 * HOUR


class MonthBuilder:
    """A period that a test writes: GPU time, tokens and money of servers."""

    def __init__(self, name: str, length: int) -> None:
        self.name, self.length = name, length
        self.sums = HistorySums()
        self.cells: dict[MonthKey, int] = {}
        self.adjustments: list[Adjustment] = []

    def server(
        self, owner: CostOwner, *, hours: dict[Phase, int], tokens: int, price: int, overhead: int = 0
    ) -> "MonthBuilder":
        """GPU-hours by phase at a price in dollars, and tokens."""
        for phase, count in hours.items():
            self.sums.held[OwnerPhase(owner, phase)] = count * HOUR
        if tokens:
            self.sums.tokens[owner, "generation"] = tokens
        machine = sum(hours.values()) * price * DOLLAR
        server = ServerOwner(*owner[:4])
        self.sums.server_cost[server, "rent", "configured"] = machine
        if overhead:
            self.sums.server_cost[server, "storage", "configured"] = overhead * DOLLAR
        self._money(owner.product, owner.team, machine + overhead * DOLLAR)
        return self

    def correction(self, dollars: int) -> "MonthBuilder":
        """A posted adjustment of chat."""
        self.adjustments.append(
            Adjustment(
                number=1,
                day=f"{self.name}-15",
                product="chat",
                team="a",
                amount=dollars * DOLLAR,
                reason="invoice",
                entered=1,
                posted=2,
            )
        )
        self._money("chat", "a", dollars * DOLLAR)
        return self

    def unknown(self, dollars: int) -> "MonthBuilder":
        """Money of chat that an earlier release posted without rows."""
        self._money("chat", "a", dollars * DOLLAR)
        return self

    def _money(self, product: str, team: str, amount: int) -> None:
        key = MonthKey(product, team, "configured", self.name)
        self.cells[key] = self.cells.get(key, 0) + amount

    def period(self, fleet_overheads: int = 0) -> ComparedPeriod:
        record = MonthRecord(
            "l", None, self.name, (self.name,), self.cells, self.sums, tuple(self.adjustments)
        )
        return ComparedPeriod(self.name, record, self.length, fleet_overheads * DOLLAR)


def september() -> MonthBuilder:
    """Chat: 720 GPU-hours of 2 dollars, half of them idle, a million tokens.

    Batch: 1,440 GPU-hours of 3 dollars, always busy.
    """
    return (
        MonthBuilder("2026-09", SEPTEMBER)
        .server(CHAT, hours={"decode": 360, "idle": 360}, tokens=1_000_000, price=2, overhead=10)
        .server(BATCH, hours={"prefill": 1440}, tokens=8_000_000, price=3)
    )


def effects(comparison: Comparison) -> dict[str, float]:
    """Effects that are not 0, in dollars."""
    assert sum(effect.amount for effect in comparison.effects) == comparison.difference
    return {effect.name: effect.amount / DOLLAR for effect in comparison.effects if effect.amount}


SAME: dict[str, Any] = {
    "hours": {"decode": 360, "idle": 360},
    "tokens": 1_000_000,
    "price": 2,
    "overhead": 10,
}
BUSY: dict[str, Any] = {"hours": {"prefill": 1440}, "tokens": 8_000_000, "price": 3}


@pytest.mark.parametrize(
    ("chat", "batch", "expected"),
    [
        pytest.param({}, {}, {}, id="nothing"),
        pytest.param({"price": 3}, {}, {"price": 720.0}, id="price"),
        pytest.param({"hours": {"decode": 360, "idle": 1080}}, {}, {"idle": 1440.0}, id="an-idle-gpu-more"),
        pytest.param(
            {"hours": {"decode": 720, "idle": 360}, "tokens": 2_000_000},
            {"hours": {"prefill": 2880}, "tokens": 16_000_000},
            {"tokens": 720.0 + 4320.0},
            id="tokens-doubled",
        ),
        pytest.param({"hours": {"decode": 720, "idle": 360}}, {}, {"gpus": 720.0}, id="more-gpus-a-token"),
        pytest.param(
            {"hours": {"decode": 720, "idle": 360}, "tokens": 2_000_000},
            {"hours": {"prefill": 1260}, "tokens": 7_000_000},
            {"mix": 720.0 - 540.0},
            id="tokens-moved-to-chat",
        ),
        pytest.param({"overhead": 35}, {}, {"overheads": 25.0}, id="overheads"),
        pytest.param(
            {"hours": {"decode": 360, "idle": 360, "other": 5}}, {}, {"gpus": 10.0}, id="work-without-tokens"
        ),
    ],
)
def test_one_factor_that_changes_is_one_term(
    chat: dict[str, Any], batch: dict[str, Any], expected: dict[str, float]
) -> None:
    """All other effects are 0."""
    later = (
        MonthBuilder("2026-10", SEPTEMBER).server(CHAT, **{**SAME, **chat}).server(BATCH, **{**BUSY, **batch})
    )

    assert effects(compare(september().period(), later.period())) == expected


def test_a_longer_month_is_hours() -> None:
    """All rates as before, a day more: 24 GPU-hours of chat and 48 of batch, and their tokens."""
    later = (
        MonthBuilder("2026-10", OCTOBER)
        .server(CHAT, hours={"decode": 372, "idle": 372}, tokens=1_033_333, price=2, overhead=10)
        .server(BATCH, hours={"prefill": 1488}, tokens=8_266_667, price=3)
    )

    comparison = compare(september().period(), later.period())

    by_effect = effects(comparison)
    assert by_effect.pop("hours") == 24 * 2 + 48 * 3
    assert all(abs(amount) < 0.01 for amount in by_effect.values())  # a third of a token, of nine million


def test_corrections_overheads_of_the_fleet_and_money_without_rows_stand_alone() -> None:
    """Each is a difference of its own."""
    later = (
        MonthBuilder("2026-10", SEPTEMBER)
        .server(CHAT, **SAME)
        .server(BATCH, **BUSY)
        .correction(-12)
        .unknown(4)
    )

    assert effects(compare(september().period(100), later.period(150))) == {
        "corrections": -12.0,
        "fleet overheads": 50.0,
        "not itemized": 4.0,
    }


def test_a_new_server_and_one_that_is_gone() -> None:
    """Chat is gone, with 720 dollars of work and 720 idle; the new one works without tokens."""
    trained = CostOwner("train", "c", "", "unmatched:python", "")
    later = (
        MonthBuilder("2026-10", SEPTEMBER)
        .server(BATCH, **BUSY)
        .server(trained, hours={"other": 100}, tokens=0, price=7)
    )

    comparison = compare(september().period(), later.period())

    by_server = {change.server.server: change.amount / DOLLAR for change in comparison.servers}
    assert by_server == {"chat-8b": -1450.0, "unmatched:python": 700.0, "batch-70b": 0.0}
    assert effects(comparison) == {
        "idle": -720.0,
        "tokens": -560.0,  # a ninth of 720 dollars of chat and of 4,320 of batch
        "mix": -160.0,  # chat's share of them went to batch, which takes fewer GPUs a token
        "gpus": 700.0,
        "overheads": -10.0,
    }


def test_the_scope_is_a_product_or_a_server() -> None:
    """A product has its corrections; a server has none."""
    later = (
        MonthBuilder("2026-10", SEPTEMBER)
        .server(CHAT, **{**SAME, "price": 3})
        .server(BATCH, **BUSY)
        .correction(5)
    )

    product = compare(september().period(), later.period(), Scope(product="chat"))
    server = compare(september().period(), later.period(), Scope(server=ServerKey("llm", "chat-8b")))

    assert (product.before, product.after) == (1450 * DOLLAR, 2175 * DOLLAR)
    assert effects(product) == {"price": 720.0, "corrections": 5.0}
    assert (server.before, server.after) == (1450 * DOLLAR, 2170 * DOLLAR)
    assert effects(server) == {"price": 720.0}


HOURS = st.fixed_dictionaries(
    {},
    optional={phase: st.integers(0, 5000) for phase in ("prefill", "decode", "other", "idle", "unobserved")},
)
GPU_TIME = st.tuples(
    st.builds(Gpu, st.sampled_from(["GPU-1", "GPU-2", "GPU-3"]), st.sampled_from(["H100", "L40S"])),
    st.integers(0, 5000),
    st.integers(0, 9000),
    st.sampled_from([CHAT, BATCH]),
)
"""A GPU, its hours and dollars, and who held it."""

SERVER = st.fixed_dictionaries(
    {
        "hours": HOURS,
        "tokens": st.integers(0, 10**10),
        "price": st.integers(0, 9),
        "overhead": st.integers(0, 99),
    }
)


@given(
    servers=st.lists(st.tuples(SERVER, SERVER), min_size=1, max_size=4),
    correction=st.integers(-50, 50),
    lengths=st.tuples(st.integers(1, OCTOBER), st.integers(1, OCTOBER)),
    extra=st.lists(st.integers(-(10**6), 10**6), min_size=2, max_size=2),
    gpus=st.tuples(*[st.lists(GPU_TIME, max_size=6)] * 2),
)
def test_effects_add_up_to_the_picodollar(
    servers: list[tuple[Any, Any]],
    correction: int,
    lengths: tuple[int, int],
    extra: list[int],
    gpus: tuple[list[tuple[Gpu, int, int, CostOwner]], ...],
) -> None:
    """Over random months, with picodollars that no price divides; so do the servers, whatever GPUs say."""
    months = [MonthBuilder("2026-09", lengths[0]), MonthBuilder("2026-10", lengths[1]).correction(correction)]
    for number, both in enumerate(servers):
        owner = replace_server(CHAT if number % 2 else BATCH, number)
        for month, server in zip(months, both, strict=True):
            month.server(owner, **server)
            key = (ServerOwner(*owner[:4]), "energy", "configured")
            month.sums.server_cost[key] = extra[0] * number
            month._money(owner.product, owner.team, extra[0] * number)
    for month, times in zip(months, gpus, strict=True):
        for gpu, hours, dollars, owner in times:
            holder = GpuOwner(gpu, owner.product, owner.team)
            month.sums.owner_held[holder] = month.sums.owner_held.get(holder, 0) + hours * HOUR
            month.sums.gpu_held[gpu] = month.sums.gpu_held.get(gpu, 0) + hours * HOUR
            month.sums.gpu_cost[gpu, "rent"] = dollars * DOLLAR

    comparison = compare(months[0].period(), months[1].period())

    assert [effect.name for effect in comparison.effects] == list(get_args(EffectName))
    assert sum(effect.amount for effect in comparison.effects) == comparison.after - comparison.before
    assert sum(change.amount for change in comparison.servers) + correction * DOLLAR == comparison.difference
    assert {effect.amount for effect in comparison.effects if effect.name == "not itemized"} == {0}


def replace_server(owner: CostOwner, number: int) -> CostOwner:
    return owner._replace(server=f"server-{number}")


@given(HOURS, st.integers(0, 10**9))
def test_equal_periods_have_no_effects(hours: Any, tokens: int) -> None:
    """Whatever they hold."""
    months = MonthBuilder("2026-09", SEPTEMBER).server(CHAT, hours=hours, tokens=tokens, price=2)
    later = replace(months.period(), name="2026-10")

    assert effects(compare(months.period(), later)) == {}
