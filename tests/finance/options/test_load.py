"""Load and cost of hours: what is taken from history, and what is left out."""

from dataclasses import replace

import pytest

from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.finance.options.load import (
    NotComparableError,
    RentedTime,
    fleet_hours,
    host_hours,
    measured_load,
)
from exporter.ledger.history import HistorySums
from exporter.readings import Gpu
from exporter.report import ServerOwner
from tests.finance.options.window_builders import (
    BGE,
    CHAT,
    FREE,
    LLAMA,
    MONDAY,
    SEARCH,
    hour,
    hours,
    measured,
)
from tests.kit.units import DOLLAR, HOUR

OWNER = CostOwner("chat", "assistants", *CHAT, "llama-8b")
GPU = Gpu("GPU-0", "H100")
SUMS = HistorySums(
    server_cost={
        (ServerOwner("chat", "assistants", *CHAT), "rent", "configured"): 3 * DOLLAR,
        (ServerOwner("chat", "assistants", *CHAT), "storage", "configured"): DOLLAR,
    },
    held={OwnerPhase(OWNER, "decode"): HOUR // 4, OwnerPhase(OWNER, "idle"): HOUR // 2},
    tokens={(OWNER, "prompt"): 20, (OWNER, "generation"): 5},
    gpu_cost={(GPU, "rent"): 3 * DOLLAR, (GPU, "storage"): DOLLAR},
    gpu_held={GPU: HOUR},
    gpu_unowed={GPU: HOUR // 4},
    gpu_down={GPU: HOUR // 4},
    unpriced={(GPU, OWNER): 7},
    settled={(GPU, OWNER): 4},
)


def ledger_hours(*tokens: int, unobserved: int = 0, start: int = MONDAY) -> dict[int, HistorySums]:
    """Hours with so many generated tokens; -1: none, as the server was not read. `unobserved`: of others."""
    return {
        start + number: HistorySums(
            held={OwnerPhase(OWNER, "unobserved"): HOUR if count < 0 else unobserved},
            tokens={} if count < 0 else {(OWNER, "generation"): count},
        )
        for number, count in enumerate(tokens)
    }


def demand(*hosts: dict[int, HistorySums]) -> list[int]:
    """Of each hour of the fleet, from the first."""
    together = fleet_hours(host_hours(each, {}) for each in hosts)
    window = {number: replace(each, money={(CHAT, "rent"): DOLLAR}) for number, each in together.items()}
    padded = window | hours(30, lambda number: window.get(MONDAY + number, hour()))
    read = measured(padded).hours.items()
    return [each.demand("generation") for number, each in read if number in window]


def test_tokens_of_an_outage_are_spread_over_it() -> None:
    """3,001 of hour 3 were served in hours 1 to 3; the sum stays, and so do the tokens that are counted."""
    assert demand(ledger_hours(1000, -1, -1, 3001, 900)) == [1000, 1000, 1000, 1001, 900]
    (_, _, _, counted, _) = host_hours(ledger_hours(1000, -1, -1, 3001, 900), {}).values()
    assert counted.tokens == {(LLAMA, "generation"): 3001}


def test_an_hour_that_was_observed_in_part_is_no_outage() -> None:
    """Nor is one whose server has no tokens although it was read, nor one before hours that are missing."""
    assert demand(ledger_hours(5, 7, 900, unobserved=HOUR // 2)) == [5, 7, 900]
    assert demand(ledger_hours(5, 0, 900)) == [5, 0, 900]
    apart = ledger_hours(5, -1) | ledger_hours(900, start=MONDAY + 3)
    assert demand(apart) == [5, 0, 900]


def test_an_outage_is_of_one_host() -> None:
    """The other host's 10 an hour stay; without tokens after it there is nothing to spread."""
    assert demand(ledger_hours(1000, -1, 2000), ledger_hours(10, 10, 10)) == [1010, 1010, 1010]
    assert demand(ledger_hours(1000, -1, -1)) == [1000, 0, 0]


def test_an_hour_of_a_ledger() -> None:
    """Three quarters of an hour are owed, and a quarter worked; 3 of 7 nanoseconds wait for a price."""
    (read,) = host_hours({MONDAY: SUMS}, {MONDAY: HOUR // 2}).values()

    assert (read.covered, host_hours({MONDAY: SUMS}, {})[MONDAY].covered) == (HOUR // 2, 0)
    assert read.money == {(CHAT, "rent"): 3 * DOLLAR, (CHAT, "storage"): DOLLAR}
    assert (read.gpu_time, read.busy) == ({CHAT: 3 * HOUR // 4}, {CHAT: HOUR // 4})
    assert read.tokens == {(LLAMA, "prompt"): 20, (LLAMA, "generation"): 5}
    assert read.rented == {"H100": RentedTime(3 * DOLLAR, 3 * HOUR // 4)}
    assert (read.unpriced, read.before_service) == ({CHAT: 3}, 0)


def test_money_at_estimated_prices_is_told() -> None:
    """A dollar of 4 of one server, and 2 of free GPUs; overheads are not compared.

    An hour that is left out has none. Two hosts add up.
    """
    server, free = (ServerOwner("chat", "assistants", *key) for key in (CHAT, FREE))
    sums = HistorySums(
        server_cost={
            (server, "rent", "configured"): 3 * DOLLAR,
            (server, "rent", "estimate"): DOLLAR,
            (server, "storage", "estimate"): 5 * DOLLAR,
            (free, "rent", "estimate"): 2 * DOLLAR,
        },
        held={OwnerPhase(OWNER, "decode"): HOUR},
    )
    host = host_hours({MONDAY + number: sums for number in range(25)}, {})
    host[MONDAY].unpriced[CHAT] = 1
    fleet = dict(fleet_hours([host, host]))

    assert measured(dict(host)).whole.estimated_paid == 24 * 3 * DOLLAR
    assert measured(fleet).whole.estimated_paid == 2 * 24 * 3 * DOLLAR
    chat = measured(fleet, "chat-8b", of=[CHAT])
    assert (chat.whole.paid, chat.whole.estimated_paid) == (2 * 24 * 4 * DOLLAR, 2 * 24 * DOLLAR)
    assert measured(hours(24, lambda _: hour())).whole.estimated_paid == 0


def test_hours_of_a_fleet_add_up() -> None:
    """Two hosts in one hour; it is as long as it was metered on the first."""
    one, other = {MONDAY: hour(tokens=10)}, {MONDAY: hour(3, 1, 5, covered=HOUR // 2), MONDAY + 1: hour()}

    fleet = fleet_hours([one, other])

    both = fleet[MONDAY]
    assert (both.covered, both.money) == (HOUR, {(CHAT, "rent"): 9 * DOLLAR})
    assert (both.gpu_time, both.tokens) == ({CHAT: 3 * HOUR}, {(LLAMA, "generation"): 15})
    assert both.rented == {"H100": RentedTime(9 * DOLLAR, 3 * HOUR)}
    assert fleet[MONDAY + 1] == hour()
    assert one[MONDAY] == hour(tokens=10)  # as it was


def test_overheads_are_apart() -> None:
    """Electricity counts, storage stays whatever is chosen, and amortization is owed unused too."""
    window = hours(24, lambda _: hour(2, component="amortization"))
    for each in window.values():
        each.money.update({(CHAT, "energy"): DOLLAR, (CHAT, "storage"): 5 * DOLLAR})

    load = measured(window)

    assert (load.whole.paid, load.whole.owned, load.whole.overheads) == (
        72 * DOLLAR,
        48 * DOLLAR,
        120 * DOLLAR,
    )


def test_hours_of_unknown_cost_are_left_out() -> None:
    """Of 30 hours, GPU time of 3 waits for a price, and in 2 owned hardware was not in service yet."""
    window = hours(30, lambda _: hour())
    for number in range(3):
        window[MONDAY + number].unpriced[CHAT] = 1
    for number in (3, 4):
        window[MONDAY + number] = replace(hour(), before_service=1)

    load = measured(window)

    assert (load.wall_hours, load.left_out, load.whole.paid) == (25, 5, 25 * 6 * DOLLAR)


def test_an_unpriced_gpu_of_others_costs_no_hour() -> None:
    """Only the servers that are compared need a price."""
    window = hours(24, lambda _: hour())
    for each in window.values():
        each.unpriced[SEARCH] = HOUR
        each.money[FREE, "rent"] = DOLLAR

    load = measured(window, "chat-8b", of=[CHAT])

    assert (load.wall_hours, load.left_out, load.whole.paid) == (24, 0, 144 * DOLLAR)
    with pytest.raises(
        NotComparableError, match="hours of history: 0 and 24 in which GPU time has no price; "
    ):
        measured(window)


def test_the_window_of_a_server_begins_with_it() -> None:
    """A server of the last 24 of 96 hours costs 24 x 6 dollars in 24 hours: 4,380 a month, not 1,095."""
    window = hours(96, lambda number: hour(tokens=7) if number >= 72 else hour(server=SEARCH, model=BGE))

    load = measured(window, "chat-8b", of=[CHAT])

    assert (load.whole.paid, load.wall_hours, load.whole.covered) == (144 * DOLLAR, 24, 24 * HOUR)
    assert load.per_day(load.whole.all_tokens) == 168
    assert measured(window).wall_hours == 96


def test_a_server_of_an_hour_is_too_young() -> None:
    """It has less than a day, however old the ledger is."""
    window = hours(96, lambda number: hour(tokens=7) if number == 95 else hour(server=SEARCH, model=BGE))

    with pytest.raises(NotComparableError, match=r"hours of history: 1; a comparison needs 24"):
        measured(window, "chat-8b", of=[CHAT])


def test_hours_without_ticks_are_of_the_window() -> None:
    """A host that was off for 12 of 36 hours: a month is by the clock."""
    window = {number: each for number, each in hours(36, lambda _: hour()).items() if number < MONDAY + 24}
    window[MONDAY + 35] = hour()

    load = measured(window)

    assert (load.wall_hours, load.whole.covered, load.per_day(36)) == (36, 25 * HOUR, 24)


def test_the_running_hour_is_not_of_the_window() -> None:
    """Nor is one before the first."""
    window = hours(30, lambda _: hour())

    load = measured_load(window, MONDAY + 1, MONDAY + 24, "", lambda _: True)

    assert list(load.hours) == list(range(MONDAY + 1, MONDAY + 25))
    assert load.wall_hours == 24


@pytest.mark.parametrize(
    ("count", "dollars", "of", "message"),
    [
        (1, 6, None, "hours of history: 1; a comparison needs 24"),
        (23, 6, None, "hours of history: 23; a comparison needs 24"),
        (24, 0, None, "nothing was paid for hardware or electricity; price the hardware first"),
        (24, 6, [SEARCH], "no server of the window is called emb*; `explain` lists them"),
    ],
)
def test_too_little(count: int, dollars: int, of: list[object] | None, message: str) -> None:
    """It says what is missing."""
    window = hours(count, lambda _: hour(dollars))
    with pytest.raises(NotComparableError) as error:
        measured(window, "emb*" if of else "", of=of)  # type: ignore[arg-type]
    assert str(error.value) == message
