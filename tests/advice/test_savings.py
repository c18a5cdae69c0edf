"""Savings of hosts with known waste, each reckoned by hand."""

from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from exporter.advice.hours import Release, hour_of_week
from exporter.advice.kinds import advice, rests_text
from exporter.advice.saving import IgnoredSaving, Lack, Rest, Saving, SavingKind
from exporter.readings import ServerKey
from exporter.tariff.hosted import HostedPrice
from exporter.tariff.rate import PriceBasis
from tests.advice.savings_examples import ARCHIVE, CHAT, FREE, MONDAY, WEEK, SavingsHost, policy
from tests.kit.units import DOLLAR, HOUR


def only(host: SavingsHost) -> Saving:
    (saving,) = advice([host.usage()], policy()).savings
    return saving


def busy_chat(host: SavingsHost, gpus: int = 1, hours: range | None = None) -> SavingsHost:
    """A server at work in every hour, 40 % idle."""
    return host.use(CHAT, range(host.hours) if hours is None else hours, gpus, idle=0.4, tokens=1000)


def nights() -> list[int]:
    """Hours from 20:00 to 06:00 of two weeks."""
    return [hour for hour in range(2 * WEEK) if hour % 24 >= 20 or hour % 24 < 6]


def test_a_gpu_that_nobody_holds() -> None:
    """Two weeks of a free GPU at 4 dollars: 336 hours, 1344 dollars, 4 x 730 = 2920 a month."""
    host = busy_chat(SavingsHost().gpu(CHAT).gpu()).use(FREE, range(2 * WEEK))

    saving = only(host)

    assert (saving.kind, saving.gpus, saving.cash) == ("unallocated", 1, True)
    assert (saving.claimed, saving.amount) == (336 * HOUR, 1344 * DOLLAR)
    assert saving.per_month == 2920 * DOLLAR


def test_a_gpu_that_is_free_between_jobs_only() -> None:
    """Free in 12 of 24 hours: batch jobs need it, and nothing is found."""
    host = busy_chat(SavingsHost().gpu(CHAT).gpu())
    host.use(FREE, [hour for hour in range(2 * WEEK) if hour % 24 < 12])

    assert advice([host.usage()], policy()).savings == ()


def test_a_gpu_that_another_process_uses() -> None:
    """Time without a server that is not known to be idle is not claimed."""
    host = busy_chat(SavingsHost().gpu(CHAT).gpu()).use(FREE, range(2 * WEEK), idle=0, phase="unobserved")

    assert advice([host.usage()], policy()).savings == ()


def test_a_gpu_that_was_held_for_a_moment() -> None:
    """A test of 30 minutes on two hours of the last day: 335 GPU-hours are free all the same."""
    hours = range(2 * WEEK)
    host = busy_chat(SavingsHost().gpu(CHAT).gpu())
    host.use(FREE, hours[:-2]).use(FREE, hours[-2:], idle=0.5, phase="other")

    saving = only(host)

    assert saving.claimed == 335 * HOUR


def test_a_gpu_that_has_been_free_for_two_days() -> None:
    """Free for the last 48 of 336 hours: a month of it is 4 x 730 = 2920 dollars."""
    host = busy_chat(SavingsHost().gpu(CHAT).gpu()).use(ARCHIVE, range(288), idle=0.4, tokens=7)
    host.use(FREE, range(288, 336))

    saving = only(host)

    assert (saving.claimed, saving.window_hours) == (48 * HOUR, 48)
    assert saving.per_month == 2920 * DOLLAR


def test_the_cheapest_free_gpus_are_claimed_first() -> None:
    """One of two free GPUs is held a third of the day: the one at 2 dollars is spared, 336 x 2 = 672."""
    host = busy_chat(SavingsHost().gpu(CHAT).gpu(dollars=6).gpu(dollars=2))
    hours = range(2 * WEEK)
    host.use(FREE, hours).use(FREE, [hour for hour in hours if hour % 24 >= 8])

    saving = only(host)

    assert (saving.gpus, saving.amount) == (1, 672 * DOLLAR)


def beside(other: str) -> SavingsHost:
    """A free GPU at 4 dollars beside GPUs with free time that is not its own: unpriced, or parts of cards."""
    host = busy_chat(SavingsHost().gpu(CHAT).gpu())
    if other == "unpriced":
        return host.gpu(dollars=None).use(FREE, range(2 * WEEK))
    host.gpu(CHAT, divided=True).gpu(CHAT, divided=True)
    return host.use(FREE, range(2 * WEEK), 2, idle=6 / 7, phase="other")


@pytest.mark.parametrize("other", ["unpriced", "parts"])
def test_free_time_of_other_gpus(other: str) -> None:
    """The GPU was held until now: an hour of an unpriced one, or 6/7 of two cards each, is not its own."""
    host = beside(other).use(ARCHIVE, range(2 * WEEK), idle=0.4, tokens=7)

    kinds = {each.kind for each in advice([host.usage()], policy()).savings}

    assert kinds == set()


@pytest.mark.parametrize("other", ["unpriced", "parts"])
def test_a_gpu_that_is_free_beside_others(other: str) -> None:
    """Free for the last 48 hours, but two of them: 46. Those of the others are left out in each hour.

    Parts of two cards may have been free whole: 5/7 of an hour are sure, too few for a finding.
    """
    host = beside(other).use(FREE, range(288, 336)).use(ARCHIVE, range(288), idle=0.4, tokens=7)
    for hour in (300, 310):
        host.gpu_time[MONDAY + hour].update(
            {each: time - HOUR for each, time in host.gpu_time[MONDAY + hour].items() if time > HOUR}
        )

    findings = [
        (each.gpus, each.window_hours, each.claimed) for each in advice([host.usage()], policy()).savings
    ]

    assert findings == ([(1, 48, 46 * HOUR)] if other == "unpriced" else [])


def test_a_gpu_that_nvml_does_not_show_is_no_free_one() -> None:
    """It is paid for, and its hours are unallocated: the GPU beside it was held until now.

    With a second free hour in each, the visible one was free, too: 336 at 4 dollars.
    """
    host = SavingsHost().gpu().use(CHAT, range(336), idle=0.4, tokens=7).use(FREE, range(336))
    assert advice([host.usage(absent=1)], policy()).savings == ()

    both = SavingsHost().gpu().use(FREE, range(336), 2)
    (saving,) = advice([both.usage(absent=1)], policy()).savings
    assert (saving.kind, saving.gpus, saving.amount) == ("unallocated", 1, 1344 * DOLLAR)


def test_a_deserted_server() -> None:
    """Silent for the last 48 of 336 hours on 2 GPUs at 4 dollars: 384 dollars, 2 x 4 x 730 a month."""
    host = busy_chat(SavingsHost().gpu(CHAT).gpu(ARCHIVE).gpu(ARCHIVE))
    host.use(ARCHIVE, range(288), 2, idle=0.5, tokens=7).use(ARCHIVE, range(288, 336), 2)

    saving = only(host)

    assert (saving.kind, saving.server, saving.silent_hours) == ("deserted", ARCHIVE, 48)
    assert (saving.claimed, saving.amount) == (96 * HOUR, 384 * DOLLAR)
    assert (saving.window_hours, saving.per_month) == (48, 5840 * DOLLAR)
    assert saving.cash


def test_a_server_that_was_put_back_to_work() -> None:
    """Silent for two days up to the last whole hour, and with tokens in the running one."""
    host = SavingsHost().gpu(ARCHIVE).use(ARCHIVE, range(288), idle=0.4, tokens=7)
    host.use(ARCHIVE, range(288, 336))

    assert only(host).kind == "deserted"
    assert advice([host.usage(serving=frozenset({ARCHIVE}))], policy()).savings == ()


def test_a_weekend_is_no_desertion() -> None:
    """Silent since Friday at 20:00 as the week before, 52 hours: on Monday it is a schedule of 104 hours."""
    weekend = {hour for hour in range(2 * WEEK) if hour % WEEK >= 4 * 24 + 20}
    host = SavingsHost().gpu(CHAT).use(CHAT, weekend)
    host.use(CHAT, sorted({*range(2 * WEEK)} - weekend), idle=0.4, tokens=7)

    saving = only(host)

    assert (saving.kind, saving.claimed) == ("schedule", 104 * HOUR)
    assert saving.rests == (Rest(4 * 24 + 20, 52),)


def test_a_silence_that_the_week_before_did_not_have() -> None:
    """Silent since Friday at noon, eight hours earlier than the week before: it may be gone."""
    weekend = {hour for hour in range(WEEK) if hour >= 4 * 24 + 20}
    silence = range(WEEK + 4 * 24 + 12, 2 * WEEK)
    host = SavingsHost().gpu(CHAT).use(CHAT, [*weekend, *silence])
    host.use(CHAT, sorted({*range(2 * WEEK)} - {*weekend, *silence}), idle=0.4, tokens=7)

    assert (only(host).kind, only(host).silent_hours) == ("deserted", 60)


def test_a_server_that_went() -> None:
    """It holds no GPU now: what it cost cannot be spared any more."""
    host = busy_chat(SavingsHost().gpu(CHAT).gpu()).use(ARCHIVE, range(300), tokens=0)

    assert advice([host.usage()], policy()).savings == ()


def test_a_day_of_silence_is_the_least() -> None:
    """23 hours are a quiet day, 24 are deserted."""
    for silent, count in ((23, 0), (24, 1)):
        host = SavingsHost().gpu(ARCHIVE).use(ARCHIVE, range(336 - silent), idle=0.4, tokens=7)
        host.use(ARCHIVE, range(336 - silent, 336))

        assert len(advice([host.usage()], policy()).savings) == count


def test_nights() -> None:
    """Idle from 20:00 to 06:00: 10 of 24 hours, 140 in two weeks, 560 dollars of 4 an hour."""
    host = SavingsHost().gpu(CHAT).use(CHAT, nights())
    host.use(CHAT, sorted({*range(336)} - {*nights()}), idle=0.4, tokens=7)

    saving = only(host)

    assert (saving.kind, saving.claimed, saving.amount) == ("schedule", 140 * HOUR, 560 * DOLLAR)
    assert saving.rests[0] == Rest(20, 10)
    assert saving.rests[-1] == Rest(6 * 24 + 20, 10)  # Sunday night ends on Monday
    assert len(saving.rests) == 7


def test_nights_are_those_of_the_zone() -> None:
    """20:00 in UTC is 15:00 in New York after daylight saving has ended."""
    assert hour_of_week(MONDAY + 20, ZoneInfo("UTC")) == 20
    assert hour_of_week(MONDAY + 20, ZoneInfo("America/New_York")) == 15


def test_nights_of_a_zone_of_half_an_hour() -> None:
    """20:00 in UTC is 01:30 in India: hours of the ledger begin half an hour past those of the clock."""
    host = SavingsHost().gpu(CHAT).use(CHAT, nights())
    host.use(CHAT, sorted({*range(336)} - {*nights()}), idle=0.4, tokens=7)

    (saving,) = advice([host.usage()], policy(zone=ZoneInfo("Asia/Kolkata"))).savings

    assert saving.rests[0] == Rest(1, 10, 30)
    assert rests_text(saving.rests[:1]) == "Mon 01:30 to Mon 11:30"


def test_one_night_of_work_is_no_schedule_of_that_hour() -> None:
    """A token at 02:00 of one night splits that night: 20:00 to 02:00, and 3 hours that are too few."""
    host = SavingsHost().gpu(CHAT).use(CHAT, nights())
    host.use(CHAT, sorted({*range(336)} - {*nights()}), idle=0.4, tokens=7)
    host.tokens[MONDAY + 26] = dict(host.tokens[MONDAY + 12])

    saving = only(host)

    assert saving.claimed == (140 - 2 * 4) * HOUR
    assert saving.rests[0] == Rest(20, 6)


def offer(prompt: str = "1", generation: str = "1", **changes: str) -> HostedPrice:
    values = {"server": "chat-*", "as_of": "2026-11-01", **changes}
    return HostedPrice("cheap-api", Decimal(prompt), Decimal(generation), **values)  # type: ignore[arg-type]


def test_a_hosted_offer() -> None:
    """336 hours at 4 dollars are 1344; 336 million tokens at 1 dollar are 336: 1008 less."""
    host = SavingsHost().gpu(CHAT).use(CHAT, range(336), idle=0.4, tokens=10**6)

    (saving,) = advice([host.usage()], policy(offers=(offer(),))).savings

    assert (saving.kind, saving.reference, saving.tokens) == ("hosted", "cheap-api", 336 * 10**6)
    assert (saving.amount, saving.offer_amount) == (1008 * DOLLAR, 336 * DOLLAR)
    assert saving.difference == saving.amount
    assert saving.per_month == 1008 * DOLLAR * 730 // 336


def test_a_server_on_fewer_gpus_than_before() -> None:
    """Two GPUs for a week, and one since: 336 hours of that one are 1344, as above, and not 504 hours."""
    host = SavingsHost().gpu(CHAT).use(CHAT, range(WEEK), 2, idle=0.4, tokens=10**6)
    host.use(CHAT, range(WEEK, 2 * WEEK), idle=0.4, tokens=10**6)

    (saving,) = advice([host.usage()], policy(offers=(offer(),))).savings

    assert (saving.gpus, saving.claimed, saving.amount) == (1, 336 * HOUR, 1008 * DOLLAR)


def test_nights_on_fewer_gpus_than_before() -> None:
    """140 hours of rest of the one GPU that is left, on which it worked 60 % of the others."""
    host = SavingsHost().gpu(CHAT).use(CHAT, nights(), 2)
    host.use(CHAT, sorted({*range(336)} - {*nights()}), 2, idle=0.4, tokens=7)

    saving = only(host)

    assert (saving.kind, saving.claimed) == ("schedule", 140 * HOUR)


def test_a_hosted_offer_for_a_server_of_a_week() -> None:
    """168 hours at 4 dollars are 672, and 168 million tokens 168: 504 in 168 hours, 2190 a month."""
    host = SavingsHost().gpu(CHAT).use(CHAT, range(WEEK, 2 * WEEK), idle=0.4, tokens=10**6)

    (saving,) = advice([host.usage()], policy(offers=(offer(),))).savings

    assert (saving.amount, saving.window_hours, saving.per_month) == (504 * DOLLAR, WEEK, 2190 * DOLLAR)


def test_a_hosted_offer_for_a_server_of_an_hour() -> None:
    """It is said that a day is needed, and a month is not made of an hour."""
    host = SavingsHost().gpu(CHAT).use(CHAT, [335], idle=0.4, tokens=10**6)

    judged = advice([host.usage()], policy(offers=(offer(),)))

    assert judged.savings == ()
    assert Lack("history", "node-1", "llm/chat-8b", 1) in judged.lacks


def test_nights_of_a_server_of_eight_days() -> None:
    """Only one weekday was seen twice: no schedule, and it is said of which server."""
    host = SavingsHost(hours=3 * WEEK).gpu(CHAT).gpu(ARCHIVE)
    since = range(3 * WEEK - 192, 3 * WEEK)
    host.use(CHAT, since, idle=0.4, tokens=7)
    host.use(ARCHIVE, [hour for hour in since if hour % 24 < 8])
    host.use(ARCHIVE, [hour for hour in since if hour % 24 >= 8], idle=0.4, tokens=7)

    judged = advice([host.usage()], policy())

    assert judged.savings == ()
    assert Lack("weeks", "node-1", "llm/archive-13b, llm/chat-8b", 192) in judged.lacks


def test_a_hosted_offer_takes_hours_that_a_schedule_leaves() -> None:
    """196 hours at 4 dollars are 784; 196 million tokens cost 196: 588 less, beside 560 of the nights."""
    days = sorted({*range(336)} - {*nights()})
    host = SavingsHost().gpu(CHAT).use(CHAT, nights()).use(CHAT, days, idle=0.4, tokens=10**6)

    savings = advice([host.usage()], policy(offers=(offer(),))).savings

    assert [(each.kind, each.amount // DOLLAR) for each in savings] == [("hosted", 588), ("schedule", 560)]


def test_a_muted_schedule_takes_no_hours() -> None:
    """336 hours at 4 dollars are 1344, and 196 million tokens cost 196: 1148 less, nights included."""
    days = sorted({*range(336)} - {*nights()})
    host = SavingsHost().gpu(CHAT).use(CHAT, nights()).use(CHAT, days, idle=0.4, tokens=10**6)
    ignored = IgnoredSaving("schedule", "cold starts", policy().now + 1)

    result = advice([host.usage()], policy(offers=(offer(),), ignored=(ignored,)))

    assert [(each.kind, each.amount // DOLLAR) for each in result.counted] == [("hosted", 1148)]
    assert {each.kind for each in result.savings} == {"hosted", "schedule"}


def test_an_offer_for_which_a_muted_schedule_left_too_few_hours() -> None:
    """1000 million tokens cost 1000: less than 1344 of all hours, more than 784 without the nights."""
    days = sorted({*range(336)} - {*nights()})
    host = SavingsHost().gpu(CHAT).use(CHAT, nights()).use(CHAT, days, idle=0.4)
    host.use(CHAT, days[:1], 0, tokens=10**9)
    ignored = IgnoredSaving("schedule", "cold starts", policy().now + 1)

    result = advice([host.usage()], policy(offers=(offer(),), ignored=(ignored,)))

    assert [(each.kind, each.amount // DOLLAR) for each in result.counted] == [("hosted", 344)]


@pytest.mark.parametrize("release", ["host", "owned", "lease", "unknown"])
def test_a_hosted_offer_for_gpus_that_stay(release: Release) -> None:
    """Another bill would come on top: it is no saving, and says why."""
    host = SavingsHost().gpu(CHAT, release=release).gpu(ARCHIVE, release=release)
    host.use(CHAT, range(336), idle=0.4, tokens=10**6).use(ARCHIVE, range(336), idle=0.4, tokens=1)

    judged = advice([host.usage()], policy(offers=(offer(),)))

    assert judged.savings == ()
    assert judged.lacks == (Lack("capacity", "node-1", "llm/chat-8b at cheap-api"),)


@pytest.mark.parametrize("as_of", ["2025-11-01", "2027-01-01", "then"])
def test_a_hosted_offer_of_another_time(as_of: str) -> None:
    """Its price may be gone: it is not compared."""
    host = SavingsHost().gpu(CHAT).use(CHAT, range(336), idle=0.4, tokens=10**6)

    judged = advice([host.usage()], policy(offers=(offer(as_of=as_of),)))

    assert judged.savings == ()
    assert judged.lacks == (Lack("offer", subject="cheap-api"),)


def test_a_hosted_offer_of_one_model_of_two() -> None:
    """The server stays for the other model: nothing is spared."""
    host = SavingsHost().gpu(CHAT).use(CHAT, range(336), idle=0.4, tokens=10**6)

    assert advice([host.usage()], policy(offers=(offer(model="qwen"),))).savings == ()


def test_a_whole_host() -> None:
    """A host's price falls when all of its GPUs go: one free, one deserted. One alone is capacity."""
    host = SavingsHost().gpu(release="host").gpu(ARCHIVE, release="host")
    host.use(FREE, range(336)).use(ARCHIVE, range(336))
    both = advice([host.usage()], policy()).savings
    host.gpu(CHAT, release="host")
    busy_chat(host)
    one_of_three = advice([host.usage()], policy()).savings

    assert [each.obstacle for each in both] == ["", ""]
    assert [each.obstacle for each in one_of_three] == ["host", "host"]


@pytest.mark.parametrize("kind", ["deserted", "unallocated"])
def test_a_whole_host_of_which_a_part_is_kept(kind: SavingKind) -> None:
    """GPUs of a muted finding stay: the others are capacity, as the host's price does not fall."""
    host = SavingsHost().gpu(release="host").gpu(ARCHIVE, release="host")
    host.use(FREE, range(336)).use(ARCHIVE, range(336))
    standby = IgnoredSaving(kind, "standby", policy().now + 1)

    (counted,) = advice([host.usage()], policy(ignored=(standby,))).counted

    assert counted.kind != kind
    assert counted.obstacle == "host"


@pytest.mark.parametrize(
    ("bases", "expected"),
    [
        (("configured", "configured"), "configured"),
        (("catalogue", "configured"), "catalogue"),
        (("estimate", "catalogue"), "estimate"),
        (("estimate", None), None),
    ],
)
@pytest.mark.parametrize("holder", [FREE, ARCHIVE])
def test_a_finding_is_as_sure_as_the_least_sure_of_its_prices(
    holder: ServerKey, bases: tuple[PriceBasis | None, ...], expected: PriceBasis | None
) -> None:
    """One estimate makes the amount an estimate; of a ledger's price the basis is unknown."""
    host = SavingsHost().use(holder, range(336), gpus=2)
    for basis in bases:
        host.gpu(*([] if holder == FREE else [holder]), basis=basis)

    assert only(host).price_basis == expected


def test_hardware_that_is_paid_for() -> None:
    """Owned and leased GPUs are capacity."""
    releases: tuple[Release, ...] = ("owned", "lease", "unknown")
    for release in releases:
        host = SavingsHost().gpu(release=release).use(FREE, range(336))

        assert only(host).obstacle == release


def test_a_deserted_server_on_a_shared_gpu() -> None:
    """Its part is capacity: another server keeps the GPU."""
    host = SavingsHost().gpu(CHAT, ARCHIVE)
    busy_chat(host).use(ARCHIVE, range(336))

    saving = only(host)

    assert (saving.kind, saving.obstacle) == ("deserted", "shared")


def test_an_hour_of_history() -> None:
    """Nothing is judged, and the output can say so."""
    host = SavingsHost(hours=1).gpu().use(FREE, range(1))

    judged = advice([host.usage()], policy())

    assert (judged.savings, judged.lacks) == ((), (Lack("history", "node-1", hours=1),))


def test_a_week_is_too_short_for_a_schedule() -> None:
    """Nights that were seen once are no schedule; the rest is judged."""
    host = SavingsHost(hours=WEEK).gpu(CHAT).use(CHAT, [hour for hour in nights() if hour < WEEK])
    host.use(CHAT, sorted({*range(WEEK)} - {*nights()}), idle=0.4, tokens=7)

    judged = advice([host.usage()], policy())

    assert (judged.savings, judged.lacks) == ((), (Lack("weeks", "node-1", hours=WEEK),))


def test_a_gpu_without_a_price() -> None:
    """It has no dollars: it is named, and nothing is found on it."""
    host = SavingsHost().gpu(dollars=None).gpu(ARCHIVE, dollars=None)
    host.use(FREE, range(336)).use(ARCHIVE, range(336))

    judged = advice([host.usage()], policy())

    assert judged.savings == ()
    assert [lack.reason for lack in judged.lacks] == ["unpriced", "unpriced"]


def test_no_tokens_ever() -> None:
    """A busy server whose tokens are not known serves somebody: it is named, not deserted."""
    host = SavingsHost().gpu(CHAT).use(CHAT, range(336), idle=0.7, phase="other")

    judged = advice([host.usage()], policy(offers=(offer(),)))

    assert (judged.savings, judged.lacks) == ((), (Lack("tokens", "node-1", "llm/chat-8b"),))


def test_a_little_use_without_tokens() -> None:
    """18 seconds of an hour, of an engine that counts no tokens: it may serve somebody in them."""
    host = SavingsHost().gpu(CHAT).use(CHAT, range(336), idle=0.995, phase="other")

    judged = advice([host.usage()], policy())

    assert (judged.savings, judged.lacks) == ((), (Lack("tokens", "node-1", "llm/chat-8b"),))


def test_a_trace_of_use_without_tokens() -> None:
    """4 milliseconds of an hour are what rounding leaves of none, as in a past month."""
    host = SavingsHost().gpu(CHAT).use(CHAT, range(336), idle=1 - 1e-6, phase="other")

    assert only(host).kind == "deserted"


def test_a_little_use_of_a_server_that_is_not_read() -> None:
    """Its page has not answered since its last token: those 18 seconds of an hour may have had some.

    Of a server that is read they are none of its requests, and an idle GPU needs no page to be idle.
    """
    host = SavingsHost().gpu(CHAT).use(CHAT, range(288), idle=0.4, tokens=7)
    idle = SavingsHost().gpu(CHAT).use(CHAT, range(288), idle=0.4, tokens=7).use(CHAT, range(288, 336))
    host.use(CHAT, range(288, 336), idle=0.995)

    assert only(host).silent_hours == 48
    assert advice([host.usage(unread=frozenset({CHAT}))], policy()).savings == ()
    assert [each.kind for each in advice([idle.usage(unread=frozenset({CHAT}))], policy()).savings] == [
        "deserted"
    ]


def test_a_server_whose_tokens_are_computed_elsewhere_too() -> None:
    """A part of a server without tokens of its own is not judged."""
    host = SavingsHost().gpu(CHAT).use(CHAT, range(336))

    judged = advice([host.usage(partial=frozenset({CHAT}))], policy())

    assert (judged.savings, judged.lacks) == ((), (Lack("partial", "node-1", "llm/chat-8b"),))


def test_a_host_that_stopped_reporting() -> None:
    """What it does now is not known."""
    host = SavingsHost().gpu().use(FREE, range(336))

    judged = advice([host.usage(reported=False)], policy())

    assert (judged.savings, judged.lacks) == ((), (Lack("silent", "node-1"),))


def test_two_servers_of_one_name() -> None:
    """Servers of two namespaces, and of two hosts, are judged apart."""
    other = ServerKey("lab", "chat-8b")
    host = busy_chat(SavingsHost().gpu(CHAT).gpu(other)).use(other, range(336))
    second = SavingsHost(name="node-2").gpu(CHAT).use(CHAT, range(336))

    savings = advice([host.usage(), second.usage()], policy()).savings

    assert [(each.host, each.server) for each in savings] == [("node-1", other), ("node-2", CHAT)]


def test_a_muted_finding() -> None:
    """It stays in the list with its reason until its end, and is not counted."""
    host = SavingsHost().gpu(ARCHIVE).use(ARCHIVE, range(336))
    ignored = IgnoredSaving("deserted", "standby for a launch", policy().now + 1, server="archive-*")

    muted = advice([host.usage()], policy(ignored=(ignored,)))
    later = advice([host.usage()], policy(ignored=(ignored,), now=policy().now + 1))

    assert [each.ignored for each in muted.savings] == [ignored]
    assert muted.counted == ()
    assert [each.ignored for each in later.counted] == [None]


@pytest.mark.parametrize("pattern", [None, "archive-13b", "llm/archive-*"])
def test_a_muted_server_by_name(pattern: str | None) -> None:
    """By name, or by namespace and name; without a server any is meant."""
    ignored = IgnoredSaving("deserted", "x", 1, server=pattern)

    assert ignored.covers("deserted", ARCHIVE)
    assert not ignored.covers("schedule", ARCHIVE)
    assert ignored.covers("deserted", CHAT) == (pattern is None)
