"""What the rules say of a fleet is the sum of what its hosts said, whoever came, went and lost its books.

The history has machines that were replaced and ledgers that ended before it.
More of them come and go here, while Prometheus scrapes and evaluates, until none is left.
What each host said last is kept where it was said, and summed without Prometheus.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from exporter.clock import SystemClock
from exporter.config.http_client import HttpClientConfig
from exporter.finance.prometheus.client import PrometheusClient
from exporter.finance.prometheus.month import MonthReader
from exporter.units import NANOSECONDS_PER_SECOND
from tests.e2e.daemon import until
from tests.e2e.fleet.conftest import FleetPast
from tests.e2e.fleet.expected_hosts import UNASSIGNED_OWNER, ExpectedHost, Owner
from tests.e2e.fleet.fleets import BEGIN, CHAT, CHAT_70B, FLEET, RESEARCH, SEARCH, h100s, make_host
from tests.e2e.fleet.seeded_prometheus import Life, seeded
from tests.rules.dashboard_queries import queries_by_board

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("fleet")]

SCRAPED_SECONDS = 60
CENT = 0.01
EVALUATION = 4
"""Seconds between two."""
BIG = make_host("east", "spot-5", "s5", h100s("spot-5", 8), *[CHAT_70B] * 8)
BIGGER = make_host("east", "spot-6", "s6", h100s("spot-6", 8), *[CHAT_70B] * 8)
MONTH = "inference:month_to_date_dollars"
CLOSED = "inference:closed_month_dollars"
(E3,) = (one for one in FLEET.hosts if one.ledger == "e3")


def become(life: Life, *hosts: ExpectedHost) -> None:
    """Other hosts from now on; waits until these are scraped and the others are known to be gone."""
    gone = {host.instance for host in life.answering} - {host.instance for host in hosts}
    begun = life.at()
    life.become(hosts)
    until(
        lambda: all(life.scraped_at.get(host.ledger, begun) > begun for host in hosts),
        SCRAPED_SECONDS,
        "a scrape of each host",
    )
    names = "|".join(sorted(gone)) or "nobody"
    until(
        lambda: not life.prometheus.query(f'up{{instance=~"{names}"}} == 1'),
        SCRAPED_SECONDS,
        f"the end of {gone}",
    )


def month_total(life: Life, owner: Owner | None = None) -> float:
    """The sum of what all ledgers said last, those included that only the history has seen."""
    amounts: list[float] = []
    for one in (*FLEET.hosts, *FLEET.forgotten):
        if one.ledger not in life.month_dollars:
            month = one.month(0).items()
            amounts += [
                float(dollars) for (product, team, _), dollars in month if owner in (None, (product, team))
            ]
    for posted in life.month_dollars.values():
        amounts += [dollars for who, dollars in posted.items() if owner in (None, who)]
    return math.fsum(amounts)


@pytest.fixture(scope="module")
def life(history: FleetPast, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """The fleet after a history of coming and going, and some more of it, until nobody is left.

    It is scraped several times between two evaluations, as a fleet is.
    """
    folder = tmp_path_factory.mktemp("churn")
    now = history.now
    with seeded(
        folder,
        FLEET,
        BEGIN,
        now=now,
        ready=history.ready,
        interval=EVALUATION,
        settled=1,
        scrape=1,
        coming=(BIG, BIGGER),
    ) as seeded_life:
        old = {one.ledger: one for one in FLEET.hosts}
        become(seeded_life, *(one for one in FLEET.hosts if one.alive(seeded_life.at())))
        # a machine of eight GPUs comes, a spot machine goes, and the disk of another is lost with its ledger
        big = replace(BIG, begin=int(seeded_life.at()))
        replaced = replace(old["e3"], ledger="e3-new", begin=int(seeded_life.at()), earlier=())
        become(seeded_life, old["e1"], replaced, old["w1"], old["w2-new"], big)
        # that one is replaced by another, a host of west restarts with its ledger, and the other is gone
        bigger = replace(BIGGER, begin=int(seeded_life.at()))
        become(seeded_life, old["e1"], replaced, bigger)
        become(seeded_life, old["e1"], replaced, bigger, old["w1"])
        become(seeded_life)
        due = now + seeded_life.at() + 2 * EVALUATION
        until(lambda: seeded_life.prometheus.evaluated(due), SCRAPED_SECONDS, "an evaluation after all of it")
        yield seeded_life


def test_the_fleet_is_the_sum_of_its_hosts(life: Life) -> None:
    """To the cent, whoever is gone; and all that any of them ever told is what the database has of them."""
    latest = f'last_over_time(inference_month_to_date_dollars{{month="{FLEET.month}"}}[7d])'
    hosts = f"sum(max by (cluster, ledger, product, team, price_basis) ({latest}))"
    forgotten = sum(float(dollars) for host in FLEET.forgotten for dollars in host.month(0).values())

    assert life.prometheus.query("inference_month_to_date_dollars") == {}
    assert life.prometheus.value(f"sum({MONTH})") == pytest.approx(month_total(life), abs=CENT)
    assert life.prometheus.value(hosts) + forgotten == pytest.approx(month_total(life), abs=CENT)


@pytest.mark.parametrize("owner", [CHAT, SEARCH, RESEARCH, UNASSIGNED_OWNER])
def test_each_owner_is_the_sum_of_its_hosts(life: Life, owner: Owner) -> None:
    """Product and team, the unassigned among them."""
    product, team = owner
    actual = life.prometheus.value(f'sum({MONTH}:owner{{product="{product}",team="{team}"}})')

    assert actual == pytest.approx(month_total(life, owner), abs=CENT)


@pytest.mark.parametrize(
    ("table", "record", "month"),
    [
        ("This month so far, by product and team, the first 100", MONTH, FLEET.month),
        ("Invoice: closed months, by product and team, the first 100", CLOSED, FLEET.last_month),
    ],
)
def test_the_chargeback_is_the_fleet(life: Life, table: str, record: str, month: str) -> None:
    """What the dashboard charges to products and teams sums to the fleet's month, and its shares to one."""
    name = f"chargeback: {table}"
    (dollars,), (shares,) = (
        queries_by_board()[f"{name}: Dollars"][:1],
        queries_by_board()[f"{name}: Share of its month"][:1],
    )
    charged = life.prometheus.query(dollars)

    assert f'{{month="{month}",product="unassigned",team="unassigned"}}' in charged
    assert len(charged) == 4
    assert math.fsum(charged.values()) == pytest.approx(life.prometheus.value(f"sum({record})"), abs=CENT)
    assert math.fsum(life.prometheus.query(shares).values()) == pytest.approx(1)


def test_the_month_before_is_that_of_all_ledgers(life: Life) -> None:
    """Those of the week's dead hosts too: of 720 hours at the price of each."""
    ledgers = {one.ledger: one for one in (*FLEET.hosts, BIG, BIGGER, replace(E3, ledger="e3-new"))}
    dollars = sum(rate * 720 for one in ledgers.values() for _, rate in one.postings().values()) / 10**6

    assert life.prometheus.value(f"sum({CLOSED})") == pytest.approx(dollars, abs=CENT)


def test_each_ledger_is_remembered_once(life: Life) -> None:
    """As many as there ever were in this month, each with one cluster."""
    ledgers = {host.ledger for host in (*FLEET.hosts, *FLEET.forgotten)} | {"s5", "s6", "e3-new"}
    memory = f'{MONTH}:posting_hourly{{month="{FLEET.month}"}}'
    remembered = (
        "topk by (ledger) (1, max by (ledger, cluster) (last_over_time(inference:ledger_cluster_hourly[2h])))"
    )

    assert life.prometheus.value(f"count(count by (ledger) (last_over_time({memory}[2h])))") == len(ledgers)
    assert life.prometheus.value(f"count({remembered})") == len(ledgers)


def test_the_fleets_report_is_what_the_rules_record(life: Life) -> None:
    """`report month --from` reads each ledger's last value; by owner that is the record, to the cent."""
    start, end, now = (
        int(life.now + at) * NANOSECONDS_PER_SECOND for at in (FLEET.month_begin, FLEET.month_end, life.at())
    )
    config, timeout = HttpClientConfig(), 60 * NANOSECONDS_PER_SECOND
    with PrometheusClient(life.prometheus.url, config, SystemClock(), timeout) as client:
        cells, _since = MonthReader(client, FLEET.month, start, end, now).cells()
    dollars: Counter[Owner] = Counter()
    for (_ledger, product, team, _basis), amount in cells.items():
        dollars[product, team] += amount
    recorded = life.prometheus.rows(f'sum by (product, team) ({MONTH}:owner{{month="{FLEET.month}"}})')

    assert len({ledger for ledger, *_owner in cells}) > len(FLEET.hosts)
    assert {owner: amount / 1e12 for owner, amount in dollars.items()} == {
        (labels["product"], labels["team"]): pytest.approx(value, abs=CENT) for labels, value in recorded
    }
