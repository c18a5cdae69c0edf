"""A reload says what posted money would have been by the new prices, and the lines that correct it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import GpuOwner, HistorySums
from exporter.readings import Gpu
from exporter.report import ServerOwner
from exporter.reports.correction_proposals import CAVEAT, UNDATED, proposals, sentences
from exporter.reports.repricing import Correction, GpuDifference, Repricing, repricing
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import (
    Billing,
    Electricity,
    Hardware,
    HardwareMatch,
    Overhead,
    Owned,
    Rented,
    RentPrice,
    Retirement,
)
from tests.kit.units import DAY, DOLLAR, HOUR, NOVEMBER

NOW = NOVEMBER + 24 * DAY
"""2026-11-25T00:00:00Z."""
UTC = ZoneInfo("UTC")
GPU = Gpu("GPU-0", "H100")
OTHER = Gpu("GPU-1", "L4")
CHAT = ServerOwner("chat", "assistants", "", "chat-8b")
SEARCH = ServerOwner("search", "retrieval", "", "embed")


def rented(
    *prices: tuple[str, int | None], billing: Billing = "while_up", model: str | None = "H100"
) -> Hardware:
    rent_prices = tuple(
        RentPrice(Decimal(hourly), since=since, since_text="" if since is None else "then")
        for hourly, since in prices
    )
    return Hardware(HardwareMatch(gpu_model=model), Rented(rent_prices, billing), "hardware[0]")


def owned(purchase: int, since: int = NOVEMBER, **fields: Any) -> Hardware:
    owned_terms = Owned(Decimal(purchase), 1, since, "2026-11-01", Decimal(1), **fields)
    return Hardware(HardwareMatch(), owned_terms, "hardware[0]")


def without(*uuids: str, since: int, old: Tariff) -> Tariff:
    """The same prices, from which GPUs have left."""
    return replace(old, retired=tuple(Retirement(uuid, since, "then") for uuid in uuids))


def tariff(*hardware: Hardware, overheads: tuple[Overhead, ...] = ()) -> Tariff:
    return Tariff("host", hardware, overheads)


def spent(hours: int, hourly: int, component: str = "rent", gpu: Gpu = GPU, **sums: Any) -> HistorySums:
    """Some hours at dollars an hour, three quarters chat's and one quarter search's."""
    money = hours * hourly * DOLLAR // 100
    return HistorySums(
        server_cost={
            (CHAT, component, "configured"): money * 3 // 4,
            (SEARCH, component, "configured"): money // 4,
        },
        gpu_cost={(gpu, component): money},
        gpu_held={gpu: hours * HOUR},
        owner_held={
            GpuOwner(gpu, "chat", "assistants"): hours * HOUR * 3 // 4,
            GpuOwner(gpu, "search", "retrieval"): hours * HOUR // 4,
        },
        held={OwnerPhase(CostOwner("chat", "assistants", "", "chat-8b", "m"), "idle"): hours * HOUR},
        **sums,
    )


@dataclass
class RecordedHistory:
    """History in memory, with the ranges that were read."""

    by_day: Mapping[int, HistorySums]
    by_hour: Mapping[int, HistorySums] = field(default_factory=dict)
    requests: list[tuple[str, int, int]] = field(default_factory=list)
    made: tuple[Adjustment, ...] = ()

    def days(self, first: int, last: int) -> Mapping[int, HistorySums]:
        self.requests.append(("days", first, last))
        return {day: sums for day, sums in self.by_day.items() if first <= day <= last}

    def hours(self, first: int, last: int) -> Mapping[int, HistorySums]:
        self.requests.append(("hours", first, last))
        return {hour: sums for hour, sums in self.by_hour.items() if first <= hour <= last}

    def adjustments(self, first: int, last: int) -> list[Adjustment]:
        return [each for each in self.made if first <= int(each.day.replace("-", "")) <= last]


def month(hourly: int = 360, days: int = 24) -> dict[int, HistorySums]:
    """Whole days of November at cents an hour."""
    return {20261100 + day: spent(24, hourly) for day in range(1, days + 1)}


FLAT = tariff(rented(("3.60", None)))


def test_a_price_of_the_past_is_reckoned_from_its_date_on() -> None:
    """15 days at 3.60 were 1,296.00; at 2.88 they are 1,036.80: 194.40 less for chat, 64.80 for search."""
    new = tariff(rented(("3.60", None), ("2.88", NOVEMBER + 9 * DAY)))
    result = repricing(FLAT, new, RecordedHistory(month()), UTC, NOW)

    assert result == Repricing(
        NOVEMBER + 9 * DAY,
        (GpuDifference(GPU, 1296 * DOLLAR, 10368 * DOLLAR // 10),),
        (
            Correction("2026-11-24", "chat", "assistants", -19440, "repricing/2026-11-10/1"),
            Correction("2026-11-24", "search", "retrieval", -6480, "repricing/2026-11-10/1"),
        ),
    )


def test_what_people_read() -> None:
    """What is posted, what it would have been, and the verb that prints the lines."""
    new = tariff(rented(("2.88", NOVEMBER + 9 * DAY)))
    flags = ("--config.file=/etc/ice config.yaml",)
    lines = sentences(FLAT, new, RecordedHistory(month()), (GPU,), UTC, NOW, flags)

    assert lines == (
        (
            "1,296.00 dollars are posted for 1 GPU since 2026-11-10T00:00:00+00:00 and stay posted; "
            "by the dated prices it would have been 1,036.80."
        ),
        (
            "`inference-cost-exporter adjust --config.file='/etc/ice config.yaml' --proposals` prints the "
            "lines that correct it, by GPU and owner of each hour."
        ),
    )


def test_the_lines_that_a_verb_prints() -> None:
    """A script: what is posted and what is assumed in comments, and a command for each product and team."""
    new = tariff(rented(("3.60", None), ("2.88", NOVEMBER + 9 * DAY)))
    lines = proposals(new, RecordedHistory(month()), UTC, NOW, ("--config.file=/etc/ice config.yaml",))

    adjust = "inference-cost-exporter adjust --config.file='/etc/ice config.yaml'"
    why = "--key=repricing/2026-11-10/1 --reason='prices since 2026-11-10 were changed afterwards'"
    assert [line for line in lines if not line.startswith("#")] == [
        f"{adjust} --amount=-194.40 --date=2026-11-24 --product=chat --team=assistants {why}",
        f"{adjust} --amount=-64.80 --date=2026-11-24 --product=search --team=retrieval {why}",
    ]
    assert [line for line in lines if line.startswith("#")] == [
        (
            "# 1,296.00 dollars are posted for 1 GPU since 2026-11-10T00:00:00+00:00 and stay posted; "
            "by the dated prices it would have been 1,036.80."
        ),
        "# GPU-0 (H100): 1,296.00 posted, 1,036.80 by date.",
        *(f"# {line}" for line in CAVEAT),
    ]


def test_a_price_inside_a_day_goes_by_its_hours_and_inside_an_hour_by_time() -> None:
    """From 20:30: a half and three whole hours, twice 3.60 instead of once: 12.60 more."""
    hours = {(NOVEMBER + 23 * DAY) // HOUR + hour: spent(1, 360) for hour in range(24)}
    new = tariff(rented(("7.20", NOVEMBER + 23 * DAY + 20 * HOUR + HOUR // 2)))
    history = RecordedHistory(month(), hours)
    result = repricing(FLAT, new, history, UTC, NOW)

    assert result is not None
    assert (result.posted, result.due) == (126 * DOLLAR // 10, 252 * DOLLAR // 10)
    assert [correction.cents for correction in result.corrections] == [945, 315]
    midnight = (NOVEMBER + 23 * DAY) // HOUR
    assert history.requests == [("days", 20261124, 20261125), ("hours", midnight, midnight + 23)]


def test_a_day_whose_hours_are_gone_is_divided_by_time() -> None:
    """From noon: half of 24 hours, at 3.60 more."""
    result = repricing(
        FLAT, tariff(rented(("7.20", NOVEMBER + 23 * DAY + 12 * HOUR))), RecordedHistory(month()), UTC, NOW
    )

    assert result is not None
    assert result.due - result.posted == 432 * DOLLAR // 10


def test_each_month_has_its_own_lines() -> None:
    """What was October's is dated in October."""
    october = {20261031: spent(24, 360)}
    new = tariff(rented(("4.60", NOVEMBER - DAY)))
    result = repricing(FLAT, new, RecordedHistory(october | month(days=2)), UTC, NOVEMBER + 2 * DAY)

    assert result is not None
    assert result.corrections == (
        Correction("2026-10-31", "chat", "assistants", 1800, "repricing/2026-10-31/1"),
        Correction("2026-10-31", "search", "retrieval", 600, "repricing/2026-10-31/1"),
        Correction("2026-11-02", "chat", "assistants", 3600, "repricing/2026-10-31/1"),
        Correction("2026-11-02", "search", "retrieval", 1200, "repricing/2026-10-31/1"),
    )


@pytest.mark.parametrize(("billing", "hours"), [("while_up", 18), ("always", 24)])
def test_time_that_the_host_was_down_is_owed_by_a_lease_only(billing: Billing, hours: int) -> None:
    """6 of 24 hours down: 18 hours were posted at 3.60, and a lease at 3.60 would have cost 24."""
    down = {
        GpuOwner(GPU, "chat", "assistants"): 9 * HOUR // 2,
        GpuOwner(GPU, "search", "retrieval"): 3 * HOUR // 2,
    }
    sums = spent(24, 0, gpu_down={GPU: 6 * HOUR}, owner_down=down)
    sums.gpu_cost[GPU, "rent"] = 18 * 360 * DOLLAR // 100
    new = tariff(rented(("3.60", NOVEMBER), billing=billing))
    result = repricing(
        tariff(rented(("1", None))), new, RecordedHistory({20261101: sums}), UTC, NOVEMBER + DAY
    )

    assert (0 if result is None else result.due - result.posted) == (hours - 18) * 36 * DOLLAR // 10


def test_time_that_waits_is_charged_and_not_corrected() -> None:
    """10 of 24 hours had no price, 4 of them are charged since: 18 hours differ by a dollar."""
    who = CostOwner("chat", "assistants", "", "chat-8b", "m")
    sums = spent(18, 360, unpriced={(GPU, who): 10 * HOUR}, settled={(GPU, who): 4 * HOUR})
    sums.gpu_held[GPU] = 24 * HOUR
    new = tariff(rented(("4.60", NOVEMBER)))
    result = repricing(FLAT, new, RecordedHistory({20261101: sums}), UTC, NOVEMBER + DAY)

    assert result is not None
    assert result.due - result.posted == 18 * DOLLAR


def test_another_purchase_price_is_of_the_day_in_service() -> None:
    """8766 dollars over a year are a dollar an hour; 9642.60 are 1.10: 57.60 more in 24 days."""
    days = {20261100 + day: spent(24, 100, "amortization") for day in range(1, 25)}
    result = repricing(
        tariff(owned(8766)), tariff(owned(964_260)), RecordedHistory(days), UTC, NOVEMBER + 24 * DAY
    )
    ten = repricing(
        tariff(owned(8766)),
        tariff(Hardware(HardwareMatch(), Owned(Decimal("9642.60"), 1, NOVEMBER, "x", Decimal(1)), "")),
        RecordedHistory(days),
        UTC,
        NOW,
    )

    assert result is not None
    assert ten is not None
    assert ten.due - ten.posted == 576 * DOLLAR // 10
    assert result.due - result.posted == (110 - 1) * 576 * DOLLAR


def test_rented_hardware_that_turns_out_to_be_owned() -> None:
    """A day of 3.60 an hour of rent goes, a dollar an hour of amortization comes, to the same who paid."""
    result = repricing(
        FLAT, tariff(owned(8766)), RecordedHistory({20261101: spent(24, 360)}), UTC, NOVEMBER + DAY
    )

    assert result is not None
    assert (result.posted, result.due) == (864 * DOLLAR // 10, 24 * DOLLAR)
    assert [(one.product, one.cents) for one in result.corrections] == [("chat", -4680), ("search", -1560)]


def test_hardware_that_was_free_is_billed_to_those_who_held_it() -> None:
    """Nothing was posted to anybody: GPU time divides it."""
    sums = HistorySums(
        gpu_held={GPU: HOUR},
        owner_held={GpuOwner(GPU, "a", "b"): HOUR},
        held={OwnerPhase(CostOwner("a", "b", "", "s", "m"), "idle"): HOUR},
    )
    result = repricing(
        tariff(rented(("0", None))),
        tariff(rented(("1", NOVEMBER))),
        RecordedHistory({20261101: sums}),
        UTC,
        NOW,
    )

    assert result is not None
    assert result.corrections == (Correction("2026-11-01", "a", "b", 100, "repricing/2026-11-01/1"),)


@pytest.mark.parametrize(
    "new",
    [
        FLAT,
        tariff(rented(("3.60", NOVEMBER))),
        tariff(rented(("3.60", None), ("2.88", NOW))),
        tariff(rented(("3.60", None), ("2.88", NOW + DAY))),
        tariff(rented(("3.60", None)), rented(("9", NOVEMBER), model="L4")),
        tariff(),
        tariff(rented(("3.600001", NOVEMBER + 23 * DAY))),
    ],
    ids=["same", "dated now", "from now", "to come", "of other GPUs", "none", "below half a cent"],
)
def test_a_reload_that_changes_nothing_of_the_past_says_nothing(new: Tariff) -> None:
    """The same price in other words, prices to come, GPUs that never were here, no price at all."""
    assert sentences(FLAT, new, RecordedHistory(month()), (GPU,), UTC, NOW) == ()


def test_only_gpus_whose_price_changed_are_corrected() -> None:
    """GPU-1 was posted at a price of before its own rule; that is not this reload's."""
    both = spent(24, 360)
    both.gpu_cost[OTHER, "rent"] = 5 * DOLLAR
    both.gpu_held[OTHER] = DAY
    both.owner_held[GpuOwner(OTHER, "chat", "assistants")] = DAY
    old = tariff(rented(("3.60", None)), rented(("1", NOVEMBER), model="L4"))
    new = tariff(rented(("4.60", NOVEMBER)), rented(("1", NOVEMBER), model="L4"))
    result = repricing(old, new, RecordedHistory({20261101: both}), UTC, NOVEMBER + DAY)

    assert result is not None
    assert ([each.gpu for each in result.gpus], result.due - result.posted) == ([GPU], 24 * DOLLAR)


def test_the_zone_says_where_a_day_begins() -> None:
    """A price from the first of November in Auckland covers that day whole: nothing is asked by hour."""
    auckland = ZoneInfo("Pacific/Auckland")
    day = replace(spent(24, 360), owner_held={GpuOwner(GPU, "chat", "assistants"): 24 * HOUR})
    history = RecordedHistory({20261101: day})
    result = repricing(
        FLAT, tariff(rented(("4.60", NOVEMBER - 13 * HOUR))), history, auckland, NOVEMBER + DAY
    )

    assert result is not None
    assert result.due - result.posted == 24 * DOLLAR
    assert {name for name, _, _ in history.requests} == {"days"}


def test_history_is_read_a_month_at_a_time_and_no_further_than_it_goes() -> None:
    """In service for years: this month and the twelve before it are asked for, as adjustments may be."""
    history = RecordedHistory({})
    assert repricing(tariff(owned(1)), tariff(owned(2, since=0)), history, UTC, NOW) is None

    assert history.requests[0] == ("days", 20251101, 20251130)
    assert history.requests[-1] == ("days", 20261101, 20261125)
    assert len(history.requests) == 13


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (FLAT, tariff(rented(("2.88", None)))),
        (FLAT, tariff(rented(("3.60", None)), overheads=(Overhead("x", Decimal(1), "hour", "gpu", "o"),))),
        (
            FLAT,
            tariff(Hardware(HardwareMatch(), rented(("3.60", None)).pricing, "h", Electricity(Decimal(1)))),
        ),
    ],
    ids=["rent", "overheads", "energy"],
)
@pytest.mark.parametrize("history", [None, RecordedHistory(month())])
def test_what_has_no_date_counts_from_now_on(
    old: Tariff, new: Tariff, history: RecordedHistory | None
) -> None:
    """It says nothing of the past, so there is no amount: only that what is posted stays."""
    assert sentences(old, new, history, (GPU,), UTC, NOW) == (UNDATED,)


def test_a_first_price_is_no_change_of_one() -> None:
    """What had no price is charged with it, and nothing is posted that could be wrong."""
    assert sentences(tariff(), FLAT, RecordedHistory({}), (GPU,), UTC, NOW) == ()


def test_a_gpu_that_left_in_the_past_is_taken_off() -> None:
    """Ten days at 3.60 an hour, 864.00, were posted after it left; the other GPU's are as they were."""
    priced = tariff(rented(("3.60", None)), rented(("0.70", None), model="L4"))
    both = {
        day: replace(
            sums,
            gpu_cost={**sums.gpu_cost, (OTHER, "rent"): 24 * 70 * DOLLAR // 100},
            gpu_held={**sums.gpu_held, OTHER: 24 * HOUR},
            owner_held={**sums.owner_held, GpuOwner(OTHER, "chat", "assistants"): 24 * HOUR},
        )
        for day, sums in month().items()
    }
    new = without(GPU.uuid, since=NOVEMBER + 14 * DAY, old=priced)

    result = repricing(priced, new, RecordedHistory(both), UTC, NOW)
    assert result == Repricing(
        NOVEMBER + 14 * DAY,
        (GpuDifference(GPU, 864 * DOLLAR, 0),),
        (
            Correction("2026-11-24", "chat", "assistants", -64_800, "repricing/2026-11-15/1"),
            Correction("2026-11-24", "search", "retrieval", -21_600, "repricing/2026-11-15/1"),
        ),
    )
    assert repricing(new, new, RecordedHistory(both), UTC, NOW) is None
    assert (
        repricing(priced, without(GPU.uuid, since=NOW + DAY, old=priced), RecordedHistory(both), UTC, NOW)
        is None
    )
