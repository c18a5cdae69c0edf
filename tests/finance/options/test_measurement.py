"""Load and cost from the ledger's history."""

from dataclasses import replace
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest

from exporter.cost.postings import UNALLOCATED, UNASSIGNED, CostOwner
from exporter.finance.options.measurement import HostDays, NotMeasuredError, fleet_days, measurement
from exporter.finance.options.tco import answer
from exporter.ledger.history import HistorySums
from exporter.readings import Gpu
from exporter.report import ServerOwner
from tests.finance.options.scenario_builders import load, rented, scenario, yearly
from tests.kit.units import DOLLAR, HOUR

CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
CHAT_OWNER = ServerOwner("chat", "assistants", "llm", "chat-8b")
UNASSIGNED_OWNER = ServerOwner(UNASSIGNED, UNASSIGNED, "", UNALLOCATED)


def day(hours: int, tokens: int = 1000, dollars: int = 10) -> HistorySums:
    """Some hours, with prompt tokens and twice the dollars for rent, and a third of energy."""
    return HistorySums(
        server_cost={
            (CHAT_OWNER, "rent", "configured"): dollars * DOLLAR,
            (UNASSIGNED_OWNER, "rent", "estimate"): dollars * DOLLAR,
            (CHAT_OWNER, "energy", "configured"): dollars * DOLLAR // 2,
        },
        tokens={(CHAT, "prompt"): tokens, (CHAT, "generation"): 2 * tokens},
        covered={(): hours * HOUR},
    )


DAYS = {20261128: day(12), 20261130: day(24, 3000, 20)}
"""36 hours: 4,000 prompt and 8,000 generated tokens, 60 dollars of rent and 15 of energy."""


def test_a_metered_day_is_24_of_the_hours_that_were_metered() -> None:
    """2/3 of what 36 hours held: 2,667 and 5,333 tokens, 40 dollars of rent, 10 of energy.

    Half of the rent is by an estimate.
    """
    mean_day = measurement(DAYS, "1111")
    assert (mean_day.first_day, mean_day.last_day, mean_day.covered) == (
        "2026-11-28",
        "2026-11-30",
        36 * HOUR,
    )
    assert mean_day.load.tokens == {
        "prompt": Fraction(8000, 3),
        "cached_prompt": 0,
        "generation": Fraction(16000, 3),
    }
    assert mean_day.option.serving.dollars_per_day == {"rent": 40, "energy": 10}
    assert mean_day.option.serving.estimated_dollars_per_day == 20
    assert mean_day.load.source == "measured: ledger 1111, 2026-11-28 to 2026-11-30"


FIRST_HOUR = {20261128: 498_840, 20261129: 498_864, 20261130: 498_888}
"""Midnight of these days in UTC, in hours since 1970: 1,795,824,000 seconds are 2026-11-28."""


def together(*hosts: dict[int, HistorySums], start: int = 0) -> dict[int, HistorySums]:
    """Hosts whose hours are the first of their days; with a start, each begins so many hours later."""
    listed = []
    for number, days in enumerate(hosts):
        hours = {
            FIRST_HOUR[day] + number * start + hour: HOUR
            for day, sums in days.items()
            for hour in range(sum(sums.covered.values()) // HOUR)
        }
        listed.append(HostDays(days, hours))
    return fleet_days(listed, ZoneInfo("UTC"))


def test_hosts_in_turn_are_a_day_of_their_hours() -> None:
    """Three nodes of 8 hours, one after another, at 24 dollars of rent each: 72 a day, and 9,000 tokens.

    At the same time they are 8 hours: three days of them are one, at 216.
    """
    hosts = [{20261129: day(8, 1000, 12)}] * 3
    days = {20261128: day(8, 1000, 12), 20261129: day(8, 1000, 12), 20261130: day(8, 1000, 12)}

    in_turn = measurement(together(*hosts, start=8), "1111", "2222", "3333")
    at_once = measurement(together(days, days, days), "1111", "2222", "3333")

    assert (in_turn.covered, at_once.covered) == (24 * HOUR, 24 * HOUR)
    assert in_turn.option.serving.dollars_per_day["rent"] == 72
    assert at_once.option.serving.dollars_per_day["rent"] == 216
    assert in_turn.load.total == 9000


@pytest.mark.parametrize(("start", "hours"), [(0, 12), (6, 18), (12, 24), (20, 16)])
def test_hosts_that_overlap_are_metered_once(start: int, hours: int) -> None:
    """Two of 12 hours: the second is with the first, begins within it, after it, or ends beyond midnight."""
    days = together({20261129: day(12)}, {20261129: day(12)}, start=start)

    assert days[20261129].covered == {(): hours * HOUR}


def test_a_fleet_is_its_hosts_together() -> None:
    """Three hosts: one as above, one of the 30th alone, and one of half of it: 36 hours, as on the first.

    60 + 40 + 20 dollars of rent, so 80 a day, and 20 of energy; 12,000 + 9,000 + 4,500 tokens.
    """
    hosts = [DAYS, {20261130: day(24, 3000, 20)}, {20261130: day(12, 1500, 10)}]

    mean_day = measurement(together(*hosts), "1111", "2222", "3333")

    assert mean_day.covered == 36 * HOUR
    assert mean_day.option.serving.dollars_per_day == {"rent": 80, "energy": 20}
    assert mean_day.load.total == Fraction(25_500 * 2, 3)
    assert mean_day.load.source == "measured: 3 ledgers, 2026-11-28 to 2026-11-30"
    assert measurement(together(DAYS), "1111") == measurement(DAYS, "1111")
    assert DAYS[20261128].covered == {(): 12 * HOUR}  # as it was


def test_a_day_without_a_price_on_one_host_is_left_out_of_the_fleet() -> None:
    """The 30th, on which half an hour of the second host's GPU waits for a price, for all hosts."""
    waiting = replace(day(24), unpriced={(Gpu("GPU-1", "H100"), CHAT): HOUR // 2})
    hosts = [{20261129: day(24), 20261130: day(24)}, {20261129: day(24), 20261130: waiting}]

    mean_day = measurement(together(*hosts), "1111", "2222")

    assert (mean_day.first_day, mean_day.last_day) == ("2026-11-29", "2026-11-29")
    assert (mean_day.left_out, mean_day.unpriced) == (1, HOUR // 2)


def test_the_scenario_takes_the_measured_load_and_the_present_cost() -> None:
    """The first option, at 50 dollars a day: 18,250 a year, and its part of what everybody pays."""
    given = scenario(
        rented(), load=load(growth="1"), years=2, items=(yearly(), yearly("own", options=("rent",)))
    )
    tco_answer = answer(given, measurement(DAYS, "1111"))
    assert [option.option for option in tco_answer.courses] == ["measured", "rent"]
    assert tco_answer.courses[0].components == {"rent": 29_200, "energy": 7300, "staff": 24_000}
    assert tco_answer.tokens_per_day == (8000, 16_000)  # the growth is the scenario's
    assert answer(scenario(rented()), measurement(DAYS, "1111")).tokens_per_day == (8000,)


@pytest.mark.parametrize(
    ("days", "message"),
    [
        (None, "0.0 hours were metered in the last 30 days; --measured needs 24 at least"),
        ({}, "0.0 hours were metered in the last 30 days; --measured needs 24 at least"),
        ({20261130: day(23)}, "23.0 hours were metered in the last 30 days; --measured needs 24 at least"),
        ({20261130: day(24, 0)}, "no token was counted in the last 30 days; there is no load to take"),
        ({20261130: day(24, 1, 0)}, "no dollar was posted in the last 30 days; price the hardware first"),
    ],
)
def test_what_a_ledger_cannot_tell(days: dict[int, HistorySums] | None, message: str) -> None:
    """Less than a day is no load, and neither are no tokens; hardware without a price is not free."""
    with pytest.raises(NotMeasuredError) as caught:
        measurement(days, "1111")
    assert str(caught.value) == message


def test_days_that_were_not_metered_are_left_out() -> None:
    """A day that only holds tokens of a tick that ended in it is not part of what is looked at."""
    stray = HistorySums(tokens={(CHAT, "prompt"): 10**9})
    assert measurement({**DAYS, 20261201: stray}, "1111") == measurement(DAYS, "1111")


def test_days_with_time_that_has_no_price_are_left_out() -> None:
    """The mean of the others: what a GPU without a price cost is not known, and is not 0."""
    waiting = without_a_price(day(24, 9000, 7), 5 * HOUR)
    mean_day = measurement({**DAYS, 20261201: waiting}, "1111")
    assert mean_day == replace(measurement(DAYS, "1111"), unpriced=5 * HOUR, left_out=1)


def test_days_before_hardware_was_in_service_are_left_out() -> None:
    """A burn-in serves tokens at no dollar: it is no mean day. A night that is not owed is one."""
    burnt = replace(day(24), gpu_unowed={Gpu("GPU-0", "H100"): 24 * HOUR})
    night = replace(
        day(24), gpu_unowed={Gpu("GPU-0", "H100"): 16 * HOUR}, gpu_down={Gpu("GPU-0", "H100"): 16 * HOUR}
    )
    mean_day = measurement({20261101: burnt, 20261102: night, 20261103: day(24)}, "L")

    assert (mean_day.first_day, mean_day.left_out, mean_day.unpriced) == ("2026-11-02", 1, 24 * HOUR)


def test_days_whose_time_was_charged_since_are_measured() -> None:
    """Nothing of the day waits any more."""
    settled = without_a_price(day(24), 5 * HOUR, 5 * HOUR)
    mean_day = measurement({20261130: settled}, "1111")
    assert (mean_day.unpriced, mean_day.left_out, mean_day.covered) == (0, 0, 24 * HOUR)


def test_a_ledger_with_too_few_days_that_are_priced() -> None:
    """A GPU without a price on every day but a few hours: there is no mean day to tell."""
    days = {20261129: without_a_price(day(24), 5 * HOUR, HOUR), 20261130: day(6)}
    with pytest.raises(NotMeasuredError) as caught:
        measurement(days, "1111")
    assert str(caught.value) == (
        "6.0 hours were metered in the last 30 days on which every GPU had a price; --measured needs 24 at "
        "least: 4.0000 GPU-hours of other days have none, and what those cost is not known; a price under "
        "`hardware` that covers them charges them"
    )


def without_a_price(sums: HistorySums, duration: int, settled: int = 0) -> HistorySums:
    key = Gpu("GPU-0", "H100"), CHAT
    return replace(sums, unpriced={key: duration}, settled={key: settled} if settled else {})


def vars_of(sums: HistorySums) -> dict[str, object]:
    return {"server_cost": sums.server_cost, "tokens": sums.tokens, "covered": sums.covered}
