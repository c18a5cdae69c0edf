"""A schedule: what it spares, and the load that it loses."""

from zoneinfo import ZoneInfo

from exporter.finance.options.choices import Outcome, ScheduleChoice, choice
from exporter.finance.options.load import MeasuredLoad
from exporter.finance.options.what_if import schedule
from tests.finance.options.window_builders import CHAT, day, hour, hours, measured, policy
from tests.kit.units import DOLLAR


def outcome(load: MeasuredLoad, text: str, zone: str = "UTC") -> Outcome:
    parsed = choice(text)
    assert isinstance(parsed, ScheduleChoice)
    return schedule(load, parsed, policy(zone=ZoneInfo(zone)))


def test_hours_outside_are_given_back() -> None:
    """Monday from 8 to 20 at 6 dollars an hour: 72. Half of the tokens are lost, 6 dollars a thousand."""
    scheduled = outcome(day(), "schedule=mon-fri/08-20")

    assert scheduled.cost == 72 * DOLLAR
    assert scheduled.figures == {
        "hours_outside": 12,
        "lost_tokens": 12_000,
        "dollars_per_million_lost_tokens": 6000,
    }
    assert scheduled.evidence == (
        "12 of 24 hours are outside, with 24.0000 GPU-hours.",
        "Lost load: 12,000 tokens were served outside, 50.0 % of all.",
        "It pays while a million of them is worth less than 6,000.00 dollars.",
    )


def test_all_hours_cost_what_was_paid() -> None:
    """Nothing is given back, and nothing lost."""
    load = day()
    scheduled = outcome(load, "schedule=mon-sun/00-24")

    assert scheduled.cost == load.whole.paid
    assert scheduled.figures == {"hours_outside": 0, "lost_tokens": 0}


def test_nothing_is_lost_where_nothing_was_served() -> None:
    """Tokens in the afternoon alone."""
    scheduled = outcome(day(lambda number: 10 * (number >= 12)), "schedule=mon/12-24")

    assert (scheduled.cost, scheduled.evidence[-1]) == (72 * DOLLAR, "No token was served outside.")


def test_hours_are_those_of_the_time_zone() -> None:
    """Midnight in UTC is Monday at 9 in Tokyo: from 9 to 24 are 15 hours of 24, at 6 dollars."""
    assert outcome(day(), "schedule=mon/00-24", "Asia/Tokyo").cost == 90 * DOLLAR


def test_a_zone_of_half_an_hour_is_told() -> None:
    """Hours of the ledger begin at 05:30, 06:30, ... in India: from 00:00 on is from 00:30 on."""
    scheduled = outcome(day(), "schedule=tue/00-24", "Asia/Kolkata")

    assert scheduled.cost == 5 * 6 * DOLLAR  # 00:30 to 05:30
    assert scheduled.evidence[1] == "Hours are taken from 30 minutes past those of the clock."
    assert not [each for each in outcome(day(), "schedule=tue/00-24").evidence if "minutes past" in each]


def test_owned_hardware_is_owed_all_the_same() -> None:
    """Amortization of 2 dollars an hour stays; electricity of 1 an hour goes for 12 hours: 72 - 12."""
    window = hours(24, lambda _: hour(2, component="amortization"))
    for each in window.values():
        each.money[CHAT, "energy"] = DOLLAR

    assert outcome(measured(window), "schedule=mon/00-12").cost == 60 * DOLLAR
