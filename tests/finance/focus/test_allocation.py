"""GPU time of a host and day as an origin charge: what part of it each row is."""

import csv
import io
import json
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.postings import UNALLOCATED, UNASSIGNED, CostOwner, OwnerPhase
from exporter.finance.focus.charges import RATIO_PARTS, ChargePeriod, FocusCharge, allocated
from exporter.finance.focus.dataset import FocusForm, rows
from exporter.ledger.history import HistorySums, MonthRecord
from exporter.report import ServerOwner
from tests.kit.units import DOLLAR, HOUR

UTC = ZoneInfo("UTC")
DAY = ChargePeriod(0, 24 * HOUR)
CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
EMBED = CostOwner("search", "", "", "embed", "")
EMPTY = CostOwner(UNASSIGNED, UNASSIGNED, "", UNALLOCATED, "")


def gpu_time(cost: int, hours: int, basis: str = "configured") -> FocusCharge:
    """GPU time of one server."""
    return FocusCharge("gpu time", DAY, "chat", "", price_basis=basis, cost=cost, gpu_time=hours * HOUR)


def ratios(*charges: FocusCharge) -> list[float | None]:
    """Each charge's part, in millionths of a millionth exactly."""
    return [None if each.ratio is None else each.ratio / RATIO_PARTS for each in allocated(charges)]


def test_parts_are_of_cost() -> None:
    """6 and 2 of 8 dollars, although both had 4 hours: one of the GPUs costs three times as much."""
    assert ratios(gpu_time(6 * DOLLAR, 4), gpu_time(2 * DOLLAR, 4)) == [0.75, 0.25]


def test_parts_are_of_gpu_time_while_nothing_costs_anything() -> None:
    """3 of 4 hours without a price. An hour that is owed nowhere is all of nothing."""
    assert ratios(gpu_time(0, 3, ""), gpu_time(0, 1, "")) == [0.75, 0.25]
    assert ratios(gpu_time(0, 0, "")) == [1]


def test_no_part_is_negative() -> None:
    """A ratio is from 0 to 1 by the schema of FOCUS: where a cost is below 0, parts are of GPU time."""
    assert ratios(gpu_time(6 * DOLLAR, 1), gpu_time(-2 * DOLLAR, 1)) == [0.5, 0.5]


def test_each_pricing_category_is_an_origin_charge() -> None:
    """And so is each period; tokens are a part of nothing."""
    other_day = gpu_time(DOLLAR, 1)._replace(period=ChargePeriod(24 * HOUR, 48 * HOUR))
    tokens = FocusCharge("tokens", DAY, "chat", "", kind="prompt", tokens=5)
    estimated = gpu_time(3 * DOLLAR, 1, "estimate")

    assert ratios(gpu_time(DOLLAR, 1), estimated, gpu_time(DOLLAR, 1), tokens, other_day) == [
        0.5,
        1,
        0.5,
        None,
        1,
    ]


def test_who_a_part_is_allocated_to() -> None:
    """A server by namespace and name, with its labels as tags; a GPU without a server has none."""
    sums = HistorySums(
        cost={
            OwnerPhase(CHAT, "decode"): 5 * DOLLAR,
            OwnerPhase(EMBED, "idle"): 3 * DOLLAR,
            OwnerPhase(EMPTY, "idle"): 2 * DOLLAR,
        },
        held={OwnerPhase(owner, phase): HOUR for owner, phase in ((CHAT, "decode"), (EMBED, "idle"))},
        server_cost={
            (ServerOwner(owner.product, owner.team, owner.namespace, owner.server), "rent", "catalogue"): cost
            for owner, cost in ((CHAT, 5 * DOLLAR), (EMBED, 3 * DOLLAR), (EMPTY, 2 * DOLLAR))
        },
    )
    record = MonthRecord("ledger-1", None, "2026-11", ("2026-11",), {}, sums, days={20261101: sums})
    columns = ("AllocatedResourceId", "AllocatedResourceName", "AllocatedTags", "AllocatedMethodId", "Tags")
    form = FocusForm(columns=(*columns, "AllocatedMethodDetails", "BilledCost"))
    names = sorted(form.columns)
    written = list(csv.DictReader(io.StringIO("".join(rows(record, UTC, form))), names))[:3]

    assert [[row[name] for name in columns] for row in written] == [
        [
            "llm/chat-8b",
            "chat-8b",
            (
                '{"inference/product":"chat","inference/team":"assistants","inference/namespace":"llm",'
                '"inference/model":"llama-8b"}'
            ),
            "gpu-time",
            "",
        ],
        ["embed", "embed", '{"inference/product":"search"}', "gpu-time", ""],
        ["", "", "", "gpu-time", ""],
    ]
    details = [json.loads(row["AllocatedMethodDetails"]) for row in written]
    assert details == [
        {"Elements": [{"AllocatedRatio": 0.5, "UsageUnit": "GPU-Hours", "UsageQuantity": 1}]},
        {"Elements": [{"AllocatedRatio": 0.3, "UsageUnit": "GPU-Hours", "UsageQuantity": 1}]},
        {"Elements": [{"AllocatedRatio": 0.2, "UsageUnit": "GPU-Hours", "UsageQuantity": 0}]},
    ]


@given(
    st.lists(
        st.builds(
            gpu_time,
            st.integers(0, 10**15),
            st.integers(0, 1000),
            st.sampled_from(("configured", "estimate", "mixed", "")),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_parts_sum_to_one_and_to_the_cost(charges: list[Any]) -> None:
    """For each pricing category; and none is further from its share than one unit of its last digit."""
    parts = list(allocated(charges))

    assert [part._replace(ratio=None) for part in parts] == charges
    for category in ("Standard", "Other"):
        of_category = [part for part in parts if part.pricing_category == category]
        total = sum(part.cost for part in of_category)
        assert sum(part.ratio or 0 for part in of_category) == (RATIO_PARTS if of_category else 0)
        for part in of_category:
            assert part.ratio is not None
            assert part.ratio >= 0
            assert not total or abs(Fraction(part.cost * RATIO_PARTS, total) - part.ratio) < 1
