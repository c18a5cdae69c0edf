"""Whom a correction of changed prices goes to: those who held that GPU in that hour."""

import shlex
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.ledger.adjustments import MANUAL, REPRICING, Adjustment
from exporter.ledger.history import GpuOwner, HistorySums
from exporter.readings import Gpu
from exporter.report import ServerOwner
from exporter.reports.correction_proposals import BY_PLACE, NOTHING, proposals
from exporter.reports.repricing import Correction, Repricing, key, key_day, reason, repricing
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import HardwareMatch
from tests.kit.units import CENT, DAY, DOLLAR, HOUR, NOVEMBER
from tests.reports.test_repricing import GPU, NOW, OTHER, UTC, RecordedHistory, owned, rented, tariff

CHAT, SEARCH, UNOWNED = ("chat", "assistants"), ("search", "retrieval"), ("unassigned", "unassigned")
FIRST_HOUR = NOVEMBER // HOUR


@dataclass(frozen=True)
class Hold:
    """Who held a GPU in a stretch of time, how much of it the host was down, and what was posted for it."""

    gpu: Gpu
    who: tuple[str, str]
    time: int
    down: int = 0
    amount: int = 0
    component: str = "rent"
    hourly: bool = True


def sums(*holds: Hold) -> HistorySums:
    """Their sums in the ledger."""
    families: dict[str, dict[object, int]] = defaultdict(lambda: defaultdict(int))
    for hold in holds:
        product, team = hold.who
        cost_owner = CostOwner(product, team, "", product, "m")
        owner = GpuOwner(hold.gpu, product, team)
        families["gpu_held"][hold.gpu] += hold.time
        families["held"][OwnerPhase(cost_owner, "decode")] += hold.time - (hold.down if hold.hourly else 0)
        families["owner_held"][owner] += hold.time
        families["gpu_cost"][hold.gpu, hold.component] += hold.amount
        families["server_cost"][ServerOwner(product, team, "", product), hold.component, "configured"] += (
            hold.amount
        )
        if hold.down:
            families["gpu_down"][hold.gpu] += hold.down
            families["owner_down"][owner] += hold.down
            if hold.hourly:
                families["gpu_unowed"][hold.gpu] += hold.down
    return HistorySums(**{name: dict(family) for name, family in families.items()})  # type: ignore[arg-type]


def proposed_cents(
    prices: Tariff, days: Mapping[int, HistorySums], **history: object
) -> Mapping[tuple[str, str], int]:
    """Cents by product and team that the verb proposes."""
    result = repricing(None, prices, RecordedHistory(days, **history), UTC, NOW)  # type: ignore[arg-type]
    return {} if result is None else {(one.product, one.team): one.cents for one in result.corrections}


def executed(result: Repricing, why: str = "ticket 7") -> tuple[Adjustment, ...]:
    """The rows that the proposed lines make."""
    return tuple(
        Adjustment(
            number, one.day, one.product, one.team, one.cents * CENT, why, NOW, None, REPRICING, one.key
        )
        for number, one in enumerate(result.corrections, 1)
    )


def test_a_gpu_that_one_product_held_is_corrected_for_it_alone() -> None:
    """Two GPUs at 3.60, an hour each, one chat's and one nobody's; the first is 2.88 from that day on."""
    dear = 360 * CENT
    day = sums(Hold(GPU, CHAT, HOUR, amount=dear), Hold(OTHER, UNOWNED, HOUR, amount=dear))
    new = tariff(rented(("2.88", NOVEMBER)), rented(("3.60", None), model="L4"))

    assert proposed_cents(new, {20261101: day}) == {CHAT: -72}


def test_two_owners_of_a_gpu_pay_for_the_hours_that_each_held_it() -> None:
    """18 and 6 hours of a day at a dollar more; another GPU of search, whose price stays, is in nothing."""
    day = sums(
        Hold(GPU, CHAT, 18 * HOUR, amount=18 * 3 * DOLLAR),
        Hold(GPU, SEARCH, 6 * HOUR, amount=6 * 3 * DOLLAR),
        Hold(OTHER, SEARCH, 24 * HOUR, amount=24 * DOLLAR),
    )
    new = tariff(rented(("4", NOVEMBER)), rented(("1", NOVEMBER), model="L4"))

    assert proposed_cents(new, {20261101: day}) == {CHAT: 1800, SEARCH: 600}


def test_hourly_rent_is_owed_by_whoever_held_it_while_the_host_was_up() -> None:
    """Chat held it for 2 hours, search for an hour and through 9 hours of a host that was off."""
    day = sums(
        Hold(GPU, CHAT, 2 * HOUR, amount=2 * 3 * DOLLAR),
        Hold(GPU, SEARCH, 10 * HOUR, down=9 * HOUR, amount=3 * DOLLAR),
    )

    assert proposed_cents(tariff(rented(("4", NOVEMBER))), {20261101: day}) == {CHAT: 200, SEARCH: 100}
    # A lease is owed for all of it: 8 and 40, of which 6 and 3 are posted.
    lease = tariff(rented(("4", NOVEMBER), billing="always"))
    assert proposed_cents(lease, {20261101: day}) == {CHAT: 200, SEARCH: 3700}


def test_rent_that_turns_out_to_be_amortization_is_divided_by_all_time() -> None:
    """Of rent 6 and 3 are posted; a dollar an hour of what is owned is 2 and 10."""
    day = sums(
        Hold(GPU, CHAT, 2 * HOUR, amount=2 * 3 * DOLLAR),
        Hold(GPU, SEARCH, 10 * HOUR, down=9 * HOUR, amount=3 * DOLLAR),
    )

    assert proposed_cents(tariff(owned(8766)), {20261101: day}) == {CHAT: -400, SEARCH: 700}


def test_amortization_that_turns_out_to_be_rent_is_owed_while_the_host_was_up() -> None:
    """Of a dollar an hour 2 and 10 are posted; 3 dollars of rent are 6 and 3."""
    day = sums(
        Hold(GPU, CHAT, 2 * HOUR, 0, 2 * DOLLAR, "amortization", hourly=False),
        Hold(GPU, SEARCH, 10 * HOUR, 9 * HOUR, 10 * DOLLAR, "amortization", hourly=False),
    )

    assert proposed_cents(tariff(rented(("3", NOVEMBER))), {20261101: day}) == {CHAT: 400, SEARCH: -700}


def test_hardware_that_was_in_service_earlier_is_billed_to_who_held_it() -> None:
    """A day of chat's for which nothing was owed, at a dollar an hour; what a later day posted is right."""
    before = sums(Hold(GPU, CHAT, 24 * HOUR, component="amortization"))
    before.gpu_unowed[GPU] = 24 * HOUR
    after = sums(Hold(GPU, SEARCH, 24 * HOUR, 0, 24 * DOLLAR, "amortization"))

    assert proposed_cents(tariff(owned(8766)), {20261101: before, 20261102: after}) == {CHAT: 2400}
    # Where it began only on the second day nothing is said of the first, which may have been rented.
    assert (
        proposed_cents(tariff(owned(8766, since=NOVEMBER + DAY)), {20261101: before, 20261102: after}) == {}
    )


@pytest.mark.parametrize(
    "hardware",
    [
        (rented(("3", NOVEMBER)),),
        (rented(("3", NOVEMBER), ("9", NOW + DAY)),),
        (rented(("3", None)),),
        (),
    ],
    ids=["as posted", "another to come", "without a date", "none"],
)
def test_prices_that_are_as_posted_propose_nothing(hardware: tuple[object, ...]) -> None:
    """Whatever is configured beside them."""
    day = sums(Hold(GPU, CHAT, 10 * HOUR, 4 * HOUR, 18 * DOLLAR))

    assert proposals(tariff(*hardware), RecordedHistory({20261101: day}), UTC, NOW) == (f"# {NOTHING}",)  # type: ignore[arg-type]


def hours(*sums_by_hour: HistorySums) -> dict[int, HistorySums]:
    """The first hours of November."""
    return {FIRST_HOUR + number: each for number, each in enumerate(sums_by_hour)}


CHANGE = tariff(rented(("3", None), ("6", NOVEMBER + HOUR // 2)))
"""At half past midnight."""


def test_an_hour_in_which_a_price_changes_is_right_as_it_was_posted() -> None:
    """Half an hour at 3 and one at 6 are 4.50; metered from 00:40 on it is 2.00, and that is right, too."""
    for time, amount in ((HOUR, 450 * CENT), (HOUR // 3, 200 * CENT)):
        first = sums(Hold(GPU, CHAT, time, 0, amount))
        second = sums(Hold(GPU, CHAT, HOUR, 0, 6 * DOLLAR))
        whole = HistorySums()
        whole.add(first)
        whole.add(second)
        history = {"by_hour": hours(first, second)}
        assert proposed_cents(CHANGE, {20261101: whole}, **history) == {}


def test_an_hour_in_which_a_price_changed_afterwards_is_corrected_by_time() -> None:
    """Posted at 3 all along: the half hour is 1.50 short, the next hour 3.00."""
    first, second = (sums(Hold(GPU, CHAT, HOUR, 0, 3 * DOLLAR)) for _ in range(2))
    whole = HistorySums()
    whole.add(first)
    whole.add(second)

    assert proposed_cents(CHANGE, {20261101: whole}, by_hour=hours(first, second)) == {CHAT: 450}


def test_what_waits_for_a_price_is_no_ones_debt() -> None:
    """Of 10 hours 4 wait: they are charged with the price, and 6 are compared."""
    day = sums(Hold(GPU, CHAT, 6 * HOUR, 0, 18 * DOLLAR))
    day.gpu_held[GPU] += 4 * HOUR
    day.unpriced[GPU, CostOwner("search", "retrieval", "", "s", "m")] = 4 * HOUR

    assert proposed_cents(tariff(rented(("4", NOVEMBER))), {20261101: day}) == {CHAT: 600}


DAYS = {20261101: sums(Hold(GPU, CHAT, 24 * HOUR, 0, 24 * 3 * DOLLAR))}
FOUR = tariff(rented(("4", NOVEMBER)))


@pytest.mark.parametrize("number", [1, 9])
def test_a_correction_is_known_by_its_kind_and_key(number: int) -> None:
    """Whatever reason a person gave: 24 dollars are not proposed again."""
    name = f"repricing/2026-11-01/{number}"
    made = Adjustment(1, "2026-11-24", *CHAT, 24 * DOLLAR, "FIN-1", NOW, None, REPRICING, name)

    assert proposed_cents(FOUR, DAYS) == {CHAT: 2400}
    assert proposed_cents(FOUR, DAYS, made=(made,)) == {}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (MANUAL, ""),
        (REPRICING, "repricing/2026-02-30/1"),
        (REPRICING, "else"),
        ("later", "repricing/2026-11-01/1"),
    ],
)
def test_other_adjustments_are_not_taken_for_corrections(kind: str, name: str) -> None:
    """A credit, a day that the calendar lacks, another key, and a kind of a later release: by no words."""
    words = reason("2026-11-01")
    made = Adjustment(1, "2026-11-24", *CHAT, 24 * DOLLAR, words, NOW, None, kind, name)

    assert proposed_cents(FOUR, DAYS, made=(made,)) == {CHAT: 2400}


@pytest.mark.parametrize(
    "text", ["", "repricing/2026-11-01/", "repricing/2026-11-01/1\n", "x/2026-11-01/1", "repricing/\uff12/1"]
)
def test_a_key_has_one_form(text: str) -> None:
    """Of anything else no day is read."""
    assert key_day(text) is None
    assert key_day(key("2026-11-01", 12)) == "2026-11-01"


def test_labels_stay_in_their_comment_and_their_word() -> None:
    """Whatever a GPU or a product is called, no line of a shell begins in it."""
    gpu = Gpu("GPU-0\nrm -r /", "H100")
    who = ("chat'; reboot #\n", "a b")
    day = sums(Hold(gpu, who, HOUR, 0, 3 * DOLLAR))
    comment, of_gpu, *_, last = proposals(FOUR, RecordedHistory({20261101: day}), UTC, NOW)

    assert comment.startswith("# 3.00 dollars")
    assert of_gpu == "# GPU-0?rm -r / (H100): 3.00 posted, 4.00 by date."
    assert shlex.split(last)[4:6] == [f"--product={who[0]}", "--team=a b"]


def test_rules_that_go_by_the_place_are_said() -> None:
    """They price the past by where the host runs now."""
    rule = replace(rented(("4", NOVEMBER)), match=HardwareMatch(lifecycle="spot"))
    spot = replace(tariff(rule), location=replace(Tariff().location, lifecycle="spot"))

    assert f"# {BY_PLACE}" in proposals(spot, RecordedHistory(DAYS), UTC, NOW)
    assert f"# {BY_PLACE}" not in proposals(FOUR, RecordedHistory(DAYS), UTC, NOW)


ALL_OWNERS = st.sampled_from([CHAT, SEARCH, UNOWNED])
RATES = st.integers(1, 900)
"""Cents an hour."""


@st.composite
def lives(draw: st.DrawFn) -> tuple[dict[int, HistorySums], dict[tuple[str, str], Fraction], Tariff]:
    """Days of two GPUs, what each owner is short of at the new prices, reckoned stretch by stretch."""
    before = {GPU: draw(RATES), OTHER: draw(RATES)}
    after = {GPU: draw(RATES), OTHER: draw(RATES)}
    leased = draw(st.booleans())
    short: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    days = {}
    for number in range(1, draw(st.integers(1, 4)) + 1):
        holds = []
        for gpu in (GPU, OTHER):
            for _ in range(draw(st.integers(0, 3))):
                time = draw(st.integers(1, 7 * 3600)) * 10**9
                down = draw(st.sampled_from([0, 0, time // 2, time]))
                up = time if leased else time - down
                who = draw(ALL_OWNERS)
                amount = before[gpu] * up * CENT // HOUR
                short[who] += Fraction((after[gpu] - before[gpu]) * up, HOUR)
                holds.append(Hold(gpu, who, time, down, amount, hourly=not leased))
        days[20261100 + number] = sums(*holds)
    billing = "always" if leased else "while_up"
    prices = tariff(
        *(
            rented((str(Decimal(after[gpu]) / 100), NOVEMBER), billing=billing, model=gpu.gpu_model)  # type: ignore[arg-type]
            for gpu in (GPU, OTHER)
        )
    )
    return days, dict(short), prices


@given(lives())
def test_each_owner_is_corrected_by_what_it_held_and_only_once(
    life: tuple[dict[int, HistorySums], dict[tuple[str, str], Fraction], Tariff],
) -> None:
    """To the cent against a reckoning by stretches; the lines executed as proposed leave none."""
    days, short, prices = life
    result = repricing(None, prices, RecordedHistory(days), UTC, NOW)
    cents = proposed_cents(prices, days)

    assert all(abs(cents.get(who, 0) - amount) < 1 + Fraction(1, 10**3) for who, amount in short.items())
    assert cents.keys() <= short.keys()
    made = () if result is None else executed(result)
    assert repricing(None, prices, RecordedHistory(days, made=made), UTC, NOW) is None
    keys = [(each.key, each.month, each.product, each.team) for each in made]
    assert len(keys) == len(set(keys))


@given(lives(), lives())
def test_prices_that_change_again_end_at_the_last(
    one: tuple[dict[int, HistorySums], dict[tuple[str, str], Fraction], Tariff],
    other: tuple[dict[int, HistorySums], dict[tuple[str, str], Fraction], Tariff],
) -> None:
    """Corrected to one tariff and then to another, each owner is where the other alone would have led."""
    days = one[0]
    first = repricing(None, one[2], RecordedHistory(days), UTC, NOW)
    made = () if first is None else executed(first)
    second = repricing(None, other[2], RecordedHistory(days, made=made), UTC, NOW)
    made += () if second is None else executed(second)
    direct = repricing(None, other[2], RecordedHistory(days), UTC, NOW)
    comes: dict[tuple[str, str], int] = defaultdict(int)
    for each in made:
        comes[each.product, each.team] += each.amount // CENT
    wanted: dict[tuple[str, str], int] = defaultdict(int)
    for line in () if direct is None else direct.corrections:
        wanted[line.product, line.team] += line.cents

    assert all(abs(comes[who] - wanted[who]) <= 1 for who in {*comes, *wanted})
    assert repricing(None, other[2], RecordedHistory(days, made=made), UTC, NOW) is None
    keys = [(each.key, each.month, each.product, each.team) for each in made]
    assert len(keys) == len(set(keys))


def test_a_correction_is_dated_on_the_last_day_of_its_month() -> None:
    """October's and November's are two lines, whose keys name the first day that is corrected."""
    october = {20261031: sums(Hold(GPU, CHAT, HOUR, 0, 3 * DOLLAR))}
    result = repricing(None, tariff(rented(("4", NOVEMBER - DAY))), RecordedHistory(october | DAYS), UTC, NOW)

    assert result is not None
    assert result.corrections == (
        Correction("2026-10-31", *CHAT, 100, "repricing/2026-10-31/1"),
        Correction("2026-11-01", *CHAT, 2400, "repricing/2026-10-31/1"),
    )
