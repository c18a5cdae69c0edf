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
from tests.e2e.fleet.central_stack import Center, CentralStack, Hosts, Months, stand, subject
from tests.e2e.fleet.expected_hosts import HOUR, ExpectedFleet, ExpectedHost, FleetServer
from tests.e2e.fleet.fleets import CHAT_70B, PREFILL, SEARCH_8B, gpus

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("center"), pytest.mark.nightly]
"""Each day promtool evaluates the same rules and alerts, and test_alerts.py has a real Alertmanager."""

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


def host(
    name: str, ledger: str, count: int, server: FleetServer, cents: int, begin: int = -100 * HOUR
) -> ExpectedHost:
    """A host of GPUs at two cents an hour; `cents` are in its month before the first of its hours."""
    return ExpectedHost(
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


def observe(stack: CentralStack, month: str, record: str, *expected: tuple[str, ...]) -> Observation:
    """Wait until both centers have the month and spend of the paper, just these alerts, and told of them."""
    begun = time.monotonic()
    last: list[Observation] = []

    def look() -> bool:
        stack.database.flush()
        paper = View(of_month(stack.hosts.months(), month), stack.hosts.spend(), frozenset(expected))
        ours, theirs = (
            View(of_month(center.months(record), month), center.spend(), frozenset(center.firing()))
            for center in stack.both()
        )
        last[:] = [Observation(paper, ours, theirs, time.monotonic() - begun)]
        received = all(paper.alerts <= notified(center) for center in stack.both())
        return ours.near(paper) and theirs.near(paper) and received

    with suppress(TimeoutError):
        until(look, SETTLED_SECONDS, "both centers agree with the paper")
    return last[0]


def notified(center: Center) -> set[tuple[str, ...]]:
    """Alerts that its receiver was told of. An alert that ends within a second of its begin is never told."""
    return {subject(notice.labels) for notice in center.receiver.notifications}


def of_month(months: Months, month: str) -> Months:
    """Those of one month."""
    return {key: dollars for key, dollars in months.items() if key[1] == month}


def ends(stack: CentralStack) -> list[float]:
    """The last second of the month in each center, and in no cluster another."""
    query = f'max(inference:month_end_timestamp_seconds{{month="{MONTH}"}})'
    return [value for center in stack.both() for value in center.database.query(query).values()]


@dataclass(frozen=True, slots=True)
class CentralStory:
    """What was seen of it, by the name of the step, and the stand at its end."""

    observations: dict[str, Observation]
    stand: CentralStack
    begin: float
    """When both centers had the first month, seconds since the epoch."""
    closed: float
    """The month's end."""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CentralStory]:
    now = int(time.time())
    fleet = ExpectedFleet(
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
    with stand(tmp_path_factory.mktemp("center"), hosts) as stack:
        observations = {}
        east, west = stack.clusters["east"], stack.clusters["west"]
        observations["install"] = observe(stack, MONTH, OPEN, EXHAUSTED)
        begin = time.time()

        hosts.answering.append(replace(EAST_2, begin=int(hosts.at())))
        east.targets([EAST_1, EAST_2])
        observations["growth"] = observe(stack, MONTH, OPEN, EXHAUSTED)

        hosts.answering.remove(WEST_2)
        west.targets([WEST_1, WEST_3])
        observations["node lost"] = observe(stack, MONTH, OPEN, EXHAUSTED)

        hosts.silent.add(WEST_3.instance)
        missing = ("InferenceHostsMissing", "west")
        observations["host silent"] = observe(stack, MONTH, OPEN, EXHAUSTED, missing)
        hosts.silent.clear()
        observations["host back"] = observe(stack, MONTH, OPEN, EXHAUSTED)

        west.lose()
        lost = ("InferenceClusterSilent", "west")
        observations["cluster lost"] = observe(stack, MONTH, OPEN, EXHAUSTED, lost)
        west.restart("west")
        observations["cluster back"] = observe(stack, MONTH, OPEN, EXHAUSTED)

        # the month's end is near: all hosts export it anew, and both centers have it before one name goes
        end = int(hosts.at()) + LAST_SECONDS
        hosts.fleet = replace(fleet, month_end=end)
        until(lambda: ends(stack) == [now + end] * 2, LAST_SECONDS, "the month's end at both centers")
        east.lose()
        east.restart("eu-1")
        hosts.names["east"] = "eu-1"
        observations["relabeled"] = observe(stack, MONTH, OPEN, EXHAUSTED)

        replaced = replace(EAST_1, ledger="e1-new", begin=int(hosts.at()), earlier=())
        hosts.answering[hosts.answering.index(EAST_1)] = replaced
        begun = ("InferenceLedgerBegunAnew", "eu-1")
        observations["ledger replaced"] = observe(stack, MONTH, OPEN, EXHAUSTED, begun)

        assert hosts.at() < end, "the month ended before the story: the machine is too slow"
        until(lambda: hosts.at() > end, LAST_SECONDS, "the month's end")
        observations["closed month"] = observe(stack, MONTH, CLOSED, begun)
        observations["next month"] = observe(stack, NEXT, OPEN, begun)
        yield CentralStory(observations, stack, begin, float(now + end))


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
def test_both_centers_have_the_month_of_the_paper(story: CentralStory, step: str) -> None:
    """By cluster and owner, to the cent: whoever left, fell silent, was renamed or lost its ledger."""
    observation = story.observations[step]

    assert observation.paper.months
    assert observation.prometheus.months == pytest.approx(observation.paper.months, abs=CENT)
    assert observation.victoria.months == pytest.approx(observation.paper.months, abs=CENT)


@pytest.mark.parametrize("step", STEPS)
def test_both_centers_spend_what_is_there(story: CentralStory, step: str) -> None:
    """A silent host's and a lost cluster's last rates go on, a lost node's do not."""
    observation = story.observations[step]

    assert (observation.prometheus.spend, observation.victoria.spend) == (
        observation.paper.spend,
        observation.paper.spend,
    )


@pytest.mark.parametrize("step", STEPS)
def test_both_centers_alert_of_what_happened(story: CentralStory, step: str) -> None:
    """Each Alertmanager has these alerts and no others."""
    observation = story.observations[step]

    assert (observation.prometheus.alerts, observation.victoria.alerts) == (
        observation.paper.alerts,
        observation.paper.alerts,
    )


def test_no_alert_was_false(story: CentralStory) -> None:
    """Both receivers were notified of what happened, and of nothing else between the steps."""
    happened = {alert for observation in story.observations.values() for alert in observation.paper.alerts}

    for center in story.stand.both():
        assert notified(center) == happened


def test_the_month_never_jumps(story: CentralStory) -> None:
    """At no second of the story is the fleet's month less than at its begin, or more than at its end."""
    paper = story.observations["closed month"].paper.months
    first = sum(story.observations["install"].paper.months.values())
    last = sum(paper.values())

    for center in story.stand.both():
        query = f'sum(inference:month_to_date_dollars{{month="{MONTH}"}})'
        ((_, samples),) = center.database.range(query, story.begin, story.closed - 1, 1).items()
        outside = [(at, dollars) for at, dollars in samples if not first - CENT < dollars < last + CENT]
        assert outside == []
