"""One story on two centers: install, growth, a node lost, a host silent, a cluster lost, relabeled, a ledger
replaced, the month's end. The same months to the cent and the same alerts on both, and none that is false.

Two clusters' Prometheus scrape, record and write on; a Prometheus and a VictoriaMetrics with vmalert evaluate
the fleet's file, each with an Alertmanager. Times are short (compression.py). The hosts cost little an hour and
much before the story, so that the seconds between a scrape and a record are less than a cent.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest

from tests.e2e.daemon import until
from tests.e2e.fleet.books import HOUR, Book, Fleet, Server
from tests.e2e.fleet.cast import CHAT_70B, PREFILL, SEARCH_8B, gpus
from tests.e2e.fleet.center import Hosts, Months, Stand, stand

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("center")]

CENT = 0.01
SETTLED_SECONDS = 15
"""What the two centers may take to agree with the paper after something happened."""
MONTH_SECONDS = 75
"""From the start of the story to the month's end."""
MONTH, NEXT = "2026-07", "2026-08"
OPEN = "inference:month_to_date_dollars:owner"
CLOSED = "inference:closed_month_dollars:owner"

Alerts = frozenset[tuple[str, ...]]
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
class Observation:
    """What the paper and the two centers had once they agreed, or when the time to agree was over."""

    paper: Months
    months: tuple[Months, Months]
    expected: Alerts
    alerts: tuple[Alerts, Alerts]
    spend: tuple[float, float]
    """Dollars an hour."""
    seconds: float
    """How long it took."""

    def agree(self) -> bool:
        """Whether both centers have the paper's months and alerts."""
        return all(near(found, self.paper) for found in self.months) and self.alerts == (
            self.expected,
            self.expected,
        )


def near(found: Months, paper: Months) -> bool:
    """The same months and owners, each to the cent."""
    return found.keys() == paper.keys() and all(abs(found[key] - paper[key]) < CENT for key in paper)


def of_month(months: Months, month: str) -> Months:
    return {key: dollars for key, dollars in months.items() if key[0] == month}


def observe(
    found: Stand, month: str, record: str, *expected: tuple[str, ...], clusters: Sequence[str] = ()
) -> Observation:
    """Wait until both centers have the month of the paper and just these alerts."""
    begun = time.monotonic()
    last: list[Observation] = []

    def look() -> bool:
        paper = of_month(found.hosts.months(), month)
        months = [of_month(center.months(record), month) for center in found.both()]
        alerts = [frozenset(center.firing()) for center in found.both()]
        spend = [
            sum(center.database.query("inference:spend_dollars_per_hour").values()) for center in found.both()
        ]
        last[:] = [
            Observation(
                paper,
                (months[0], months[1]),
                frozenset(expected),
                (alerts[0], alerts[1]),
                (spend[0], spend[1]),
                time.monotonic() - begun,
            )
        ]
        return last[0].agree() and all(
            set(clusters)
            <= {row["cluster"] for row, _ in center.database.rows("inference:month_to_date_dollars")}
            for center in found.both()
        )

    with suppress(TimeoutError):
        until(look, SETTLED_SECONDS, "both centers agree with the paper")
    return last[0]


@dataclass(frozen=True, slots=True)
class Story:
    """What was seen of it, by the name of the step, and the stand at its end."""

    seen: dict[str, Observation]
    stand: Stand
    begin: float
    end: float


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    now = int(time.time())
    fleet = Fleet(
        (EAST_1, EAST_2, WEST_1, WEST_2, WEST_3),
        (("fleet", "", 27_000), ("chat", "chat", 6_000)),
        MONTH,
        -500 * HOUR,
        MONTH_SECONDS,
        "2026-06",
        NEXT,
        MONTH_SECONDS + 744 * HOUR,
    )
    hosts = Hosts(fleet, now, [EAST_1, WEST_1, WEST_2, WEST_3])
    with stand(tmp_path_factory.mktemp("center"), hosts) as found:
        begin = time.time()
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

        east.lose()
        east.restart("eu-1")
        seen["relabeled"] = observe(found, MONTH, OPEN, EXHAUSTED, clusters=["eu-1"])

        replaced = replace(EAST_1, ledger="e1-new", begin=int(hosts.at()), earlier=())
        hosts.books[hosts.books.index(EAST_1)] = replaced
        begun = ("InferenceLedgerBegunAnew", "eu-1")
        seen["ledger replaced"] = observe(found, MONTH, OPEN, EXHAUSTED, begun)

        until(lambda: hosts.at() > MONTH_SECONDS, MONTH_SECONDS, "the month's end")
        seen["closed month"] = observe(found, MONTH, CLOSED, begun)
        seen["next month"] = observe(found, NEXT, OPEN, begun)
        yield Story(seen, found, begin, time.time())


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
    """By owner, to the cent: whoever left, fell silent, was renamed or lost its ledger."""
    found = story.seen[step]

    for months in found.months:
        assert months == pytest.approx(found.paper, abs=CENT)


@pytest.mark.parametrize("step", STEPS)
def test_both_centers_alert_of_the_same_and_of_nothing_false(story: Story, step: str) -> None:
    """What the Alertmanagers have is what happened."""
    found = story.seen[step]

    assert found.alerts == (found.expected, found.expected)
