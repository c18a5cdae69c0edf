"""One story on two centers: the same months to the cent and the same alerts, and none that is false.

Install, growth, a node lost, a host silent, a cluster lost, one renamed, a ledger replaced, the month's end.
Two clusters' Prometheus scrape, record and write on. A Prometheus, and a VictoriaMetrics with vmalert,
evaluate the fleet's file, each with an Alertmanager. Times are short (compression.py). The hosts cost little
an hour, and much before the story: the seconds between a scrape and a record are less than a cent.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest

from tests.e2e.daemon import until
from tests.e2e.fleet.central_stack import Hosts, Months, Stand, stand, subject
from tests.e2e.fleet.expected_hosts import HOUR, Book, Fleet, Server
from tests.e2e.fleet.fleets import CHAT_70B, PREFILL, SEARCH_8B, gpus

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("center")]

CENT = 0.01
SETTLED_SECONDS = 40
"""What the two centers may take to agree with the paper after something happened."""
LAST_SECONDS = 45
"""To the month's end from when a cluster gets another name and a ledger is replaced."""
MONTH, NEXT = "2026-07", "2026-08"
OPEN = "inference:month_to_date_dollars:owner"
CLOSED = "inference:closed_month_dollars:owner"

EXHAUSTED = ("InferenceBudgetExhausted", "chat")
"""Chat's month was over its budget before the story begins."""


def host(name: str, ledger: str, count: int, server: Server, cents: int, begin: int = -100 * HOUR) -> Book:
    """A host of GPUs at two cents an hour; `cents` are in its month before the first of its hours."""
    return Book(
        name.partition("-")[0],
        f"{name}:9844",
        ledger,
        gpus(name, count, "NVIDIA L4", 15_000, 5_000),
        (server,) * count,
        begin,
        earlier=((server.owner, cents * 10_000),),
    )


EAST_1 = host("east-1", "e1", 4, CHAT_70B, 612_345)
EAST_2 = host("east-2", "e2", 2, SEARCH_8B, 0)
WEST_1 = host("west-1", "w1", 2, PREFILL, 76_011)
WEST_2 = host("west-2", "w2", 1, SEARCH_8B, 15_507)
WEST_3 = host("west-3", "w3", 1, SEARCH_8B, 4_099)


@dataclass(frozen=True, slots=True)
class View:
    """What a center has, or what the paper has for it."""

    months: Months
    spend: dict[str, float]
    alerts: frozenset[tuple[str, ...]]

    def near(self, paper: "View") -> bool:
        """The same alerts, spend and owners, and each month to the cent."""
        return (
            (self.alerts, self.spend, self.months.keys()) == (paper.alerts, paper.spend, paper.months.keys())
        ) and all(abs(self.months[key] - dollars) < CENT for key, dollars in paper.months.items())


@dataclass(frozen=True, slots=True)
class Observation:
    """What there was once both centers agreed with the paper, or when the time to agree was over."""

    paper: View
    prometheus: View
    victoria: View
    seconds: float
    """How long it took."""


def observe(found: Stand, month: str, record: str, *expected: tuple[str, ...]) -> Observation:
    """Wait until both centers have the month and the spend of the paper, and just these alerts."""
    begun = time.monotonic()
    last: list[Observation] = []

    def look() -> bool:
        found.database.flush()
        paper = View(of_month(found.hosts.months(), month), found.hosts.spend(), frozenset(expected))
        ours, theirs = (
            View(of_month(center.months(record), month), center.spend(), frozenset(center.firing()))
            for center in found.both()
        )
        last[:] = [Observation(paper, ours, theirs, time.monotonic() - begun)]
        return ours.near(paper) and theirs.near(paper)

    with suppress(TimeoutError):
        until(look, SETTLED_SECONDS, "both centers agree with the paper")
    return last[0]


def of_month(months: Months, month: str) -> Months:
    """Those of one month."""
    return {key: dollars for key, dollars in months.items() if key[1] == month}


def ends(found: Stand) -> list[float]:
    """The last second of the month in each center, and in no cluster another."""
    query = f'max(inference:month_end_timestamp_seconds{{month="{MONTH}"}})'
    return [value for center in found.both() for value in center.database.query(query).values()]


@dataclass(frozen=True, slots=True)
class Story:
    """What was seen of it, by the name of the step, and the stand at its end."""

    seen: dict[str, Observation]
    stand: Stand
    begin: float
    """When both centers had the first month, seconds since the epoch."""
    closed: float
    """The month's end."""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    now = int(time.time())
    fleet = Fleet(
        (EAST_1, EAST_2, WEST_1, WEST_2, WEST_3),
        (("fleet", "", 27_000), ("chat", "chat", 6_000)),
        MONTH,
        -500 * HOUR,
        240 * HOUR,
        "2026-06",
        NEXT,
        984 * HOUR,
    )
    hosts = Hosts(fleet, now, [EAST_1, WEST_1, WEST_2, WEST_3])
    with stand(tmp_path_factory.mktemp("center"), hosts) as found:
        seen = {}
        east, west = found.clusters["east"], found.clusters["west"]
        seen["install"] = observe(found, MONTH, OPEN, EXHAUSTED)
        begin = time.time()

        hosts.books.append(replace(EAST_2, begin=int(hosts.at())))
        east.targets([EAST_1, EAST_2])
        seen["growth"] = observe(found, MONTH, OPEN, EXHAUSTED)

        hosts.books.remove(WEST_2)
        west.targets([WEST_1, WEST_3])
        seen["node lost"] = observe(found, MONTH, OPEN, EXHAUSTED)

        hosts.silent.add(WEST_3.instance)
        missing = ("InferenceHostsMissing", "west")
        seen["host silent"] = observe(found, MONTH, OPEN, EXHAUSTED, missing)
        hosts.silent.clear()
        seen["host back"] = observe(found, MONTH, OPEN, EXHAUSTED)

        west.lose()
        lost = ("InferenceClusterSilent", "west")
        seen["cluster lost"] = observe(found, MONTH, OPEN, EXHAUSTED, lost)
        west.restart("west")
        seen["cluster back"] = observe(found, MONTH, OPEN, EXHAUSTED)

        # the month's end is near: all hosts export it anew, and both centers have it before one name goes
        end = int(hosts.at()) + LAST_SECONDS
        hosts.fleet = replace(fleet, month_end=end)
        until(lambda: ends(found) == [now + end] * 2, LAST_SECONDS, "the month's end at both centers")
        east.lose()
        east.restart("eu-1")
        hosts.names["east"] = "eu-1"
        seen["relabeled"] = observe(found, MONTH, OPEN, EXHAUSTED)

        replaced = replace(EAST_1, ledger="e1-new", begin=int(hosts.at()), earlier=())
        hosts.books[hosts.books.index(EAST_1)] = replaced
        begun = ("InferenceLedgerBegunAnew", "eu-1")
        seen["ledger replaced"] = observe(found, MONTH, OPEN, EXHAUSTED, begun)

        assert hosts.at() < end, "the month ended before the story: the machine is too slow"
        until(lambda: hosts.at() > end, LAST_SECONDS, "the month's end")
        seen["closed month"] = observe(found, MONTH, CLOSED, begun)
        seen["next month"] = observe(found, NEXT, OPEN, begun)
        yield Story(seen, found, begin, float(now + end))


STEPS = (
    "install",
    "growth",
    "node lost",
    "host silent",
    "host back",
    "cluster lost",
    "cluster back",
    "relabeled",
    "ledger replaced",
    "closed month",
    "next month",
)


@pytest.mark.parametrize("step", STEPS)
def test_both_centers_have_the_month_of_the_paper(story: Story, step: str) -> None:
    """By cluster and owner, to the cent: whoever left, fell silent, was renamed or lost its ledger."""
    found = story.seen[step]

    assert found.paper.months
    assert found.prometheus.months == pytest.approx(found.paper.months, abs=CENT)
    assert found.victoria.months == pytest.approx(found.paper.months, abs=CENT)


@pytest.mark.parametrize("step", STEPS)
def test_both_centers_spend_what_is_there(story: Story, step: str) -> None:
    """A silent host's and a lost cluster's last rates go on, a lost node's do not."""
    found = story.seen[step]

    assert (found.prometheus.spend, found.victoria.spend) == (found.paper.spend, found.paper.spend)


@pytest.mark.parametrize("step", STEPS)
def test_both_centers_alert_of_what_happened(story: Story, step: str) -> None:
    """Each Alertmanager has these alerts and no others."""
    found = story.seen[step]

    assert (found.prometheus.alerts, found.victoria.alerts) == (found.paper.alerts, found.paper.alerts)


def test_no_alert_was_false(story: Story) -> None:
    """Both receivers were notified of what happened, and of nothing else between the steps."""
    happened = {alert for found in story.seen.values() for alert in found.paper.alerts}

    for center in story.stand.both():
        assert {subject(notice.labels) for notice in center.receiver.notices} == happened


def test_the_month_never_jumps(story: Story) -> None:
    """At no second of the story is the fleet's month less than at its begin, or more than at its end."""
    paper = story.seen["closed month"].paper.months
    first = sum(story.seen["install"].paper.months.values())
    last = sum(paper.values())

    for center in story.stand.both():
        query = f'sum(inference:month_to_date_dollars{{month="{MONTH}"}})'
        ((_, samples),) = center.database.range(query, story.begin, story.closed - 1, 1).items()
        outside = [(at, dollars) for at, dollars in samples if not first - CENT < dollars < last + CENT]
        assert outside == []
