"""A month that heads past its budget is told to whoever is on call, with the right numbers, and taken back.

Prometheus and Alertmanager are real, and so are the rules, the routes and the links; only their times are
short (compression.py). The past makes up for the rest: it has a sample every six hours of the week that the
level is a mean of, so that each evaluation after it weighs as much as six hours do.
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.daemon import until
from tests.e2e.fleet.compression import ROOT, alertmanager
from tests.e2e.fleet.expected_hosts import HOUR
from tests.e2e.fleet.fleets import BEGIN, fallen, heading
from tests.e2e.fleet.programs import Alertmanager
from tests.e2e.fleet.receiver import Notification, Receiver
from tests.e2e.fleet.seeded_prometheus import Life, past, seeded

pytestmark = pytest.mark.timeout(300)

PROJECTED = "InferenceSpendProjectedOverBudget"
INTERVAL = 0.5
NOTIFIED_SECONDS = 60
RESOLVED_SECONDS = 120
"""After the spend fell; as many evaluations as half of those before, and some."""


@dataclass(frozen=True, slots=True)
class BudgetStand:
    """Two fleets, over and below, whose alerts come to one place."""

    over: Life
    below: Life
    alertmanager: Alertmanager
    receiver: Receiver


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BudgetStand]:
    folder = tmp_path_factory.mktemp("alerts")
    with (
        Receiver() as receiver,
        Alertmanager(folder / "am", alertmanager(receiver.url)) as router,
        # 36 dollars an hour for 240 hours more are 8,640, of which chat has 5,760; nobody has spent 468
        _life(folder, router, "over", 16_000, 4_532) as over,
        _life(folder, router, "below", 11_000, 5_532) as below,
    ):
        yield BudgetStand(over, below, router, receiver)


def _life(
    folder: Path, router: Alertmanager, name: str, chat: int, search: int
) -> AbstractContextManager[Life]:
    fleet = heading(name, chat, search)
    now = int(datetime.now(UTC).timestamp())
    samples = past(fleet, now, BEGIN, mean=6 * HOUR)
    return seeded(
        folder / name,
        fleet,
        BEGIN,
        now=now,
        samples=samples,
        interval=INTERVAL,
        settled=0,
        alertmanager=router.url,
        stand=name,
        hour=4 * INTERVAL,
    )


def notice(stand: BudgetStand, status: str, budget: str, seconds: float) -> Notification:
    """The first notification of a status about a budget of the fleet that is over it."""
    (first, *_) = until(
        lambda: stand.receiver.matching(status, alertname=PROJECTED, budget=budget, stand="over"),
        seconds,
        f"{PROJECTED} of {budget} {status}",
    )
    return first


def runs_out(stand: BudgetStand, hours: float, text: str) -> set[str]:
    """The text with the day on which a budget runs out; two where midnight is near."""
    end = stand.over.now + hours * HOUR
    days = {datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d") for at in (end - 60, end + 300)}
    return {f"{text} It runs out on {day}." for day in days}


def test_a_month_that_heads_past_its_budget_is_told_with_its_numbers(stand: BudgetStand) -> None:
    """21,000 dollars and 240 hours at 36 make 29,640; the notification says so, and where to look."""
    notification = notice(stand, "firing", "fleet", NOTIFIED_SECONDS)

    assert notification.receiver == "platform-tickets"
    assert notification.labels == {
        "alertname": PROJECTED,
        "budget": "fleet",
        "month": "2026-07",
        "product": "fleet",
        "severity": "ticket",
        "stand": "over",
        "team": "platform",
    }
    since = notification.annotations.pop("since")
    begun = datetime.fromtimestamp(stand.over.now + BEGIN, UTC)
    described = notification.annotations.pop("description")
    amounts = [int(amount) for amount in re.findall(r"\b(\d{5}) dollars", described)]
    # 0.95 and 1.05 of 8,640, and 1 % of the projection; all but the first go by the clock
    assert amounts == pytest.approx([21_000, 28_912, 30_368, 29_640], abs=3)
    assert f"The month is metered since {begun:%Y-%m-%d %H:%M:%S} +0000 UTC." in described
    assert described.endswith(
        "The projection assumes that the last weeks continue. Find the servers that grew on the dashboard,"
        " and scale down or stop what is idle. If the spend is intended, raise the budget in the exporter's"
        " configuration."
    )
    summary = notification.annotations.pop("summary")
    assert summary in runs_out(
        stand,
        6_000 / 36,
        "Projected spend of fleet for 2026-07 is 29640 dollars, over the budget of 27000 dollars.",
    )
    assert notification.annotations == {
        "servers": (
            "prod/chat-70b of product chat in cluster east at 24.00 dollars an hour."
            " prod/search-8b of product search in cluster east at 9.00 dollars an hour."
            " unallocated of product unassigned in cluster east at 3.00 dollars an hour. "
        ),
        "waiting": "Eight hours of waiting cost 288 dollars, 1.067% of a month's budget.",
        "dashboard": "https://grafana.example/d/inference-cost",
        "runbook": (f"https://git.example/inference-cost-exporter/blob/main/docs/runbooks/{PROJECTED}.md"),
    }
    began = datetime.fromisoformat(notification.began).timestamp()
    pending = datetime.strptime(since, "%Y-%m-%d %H:%M:%S %z UTC").timestamp()
    assert stand.over.now <= pending <= began <= datetime.now(UTC).timestamp()


def test_a_product_is_told_of_its_own_budget(stand: BudgetStand) -> None:
    """Chat's 16,000 and 240 hours at 24 are over its 20,000: its own tickets get it, with its team."""
    notification = notice(stand, "firing", "chat", NOTIFIED_SECONDS)

    assert notification.receiver == "chat-tickets"
    assert notification.labels["product"] == "chat"
    assert notification.labels["team"] == "conversations"
    assert notification.annotations["summary"] in runs_out(
        stand,
        4_000 / 24,
        "Projected spend of chat for 2026-07 is 21760 dollars, over the budget of 20000 dollars.",
    )
    assert (
        notification.annotations["servers"]
        == "prod/chat-70b of product chat in cluster east at 24.00 dollars an hour. "
    )
    assert (
        notification.annotations["waiting"]
        == "Eight hours of waiting cost 192 dollars, 0.96% of a month's budget."
    )


def test_the_links_lead_somewhere(stand: BudgetStand) -> None:
    """The address of the dashboard ends in the path of one that is provisioned, the runbook's in a file."""
    notification = notice(stand, "firing", "fleet", NOTIFIED_SECONDS)
    _, _, uid = notification.annotations["dashboard"].partition("/d/")
    _, _, runbook = notification.annotations["runbook"].partition("/blob/main/")

    assert f'"uid": "{uid}"' in (ROOT / "dashboards" / "fleet.json").read_text()
    assert (ROOT / runbook).is_file()


def test_it_is_taken_back_when_the_spend_falls(stand: BudgetStand) -> None:
    """One GPU is left of twelve: the mean sinks until both projections are within their budgets."""
    notice(stand, "firing", "fleet", NOTIFIED_SECONDS)
    notice(stand, "firing", "chat", NOTIFIED_SECONDS)
    (host,) = stand.over.answering
    stand.over.become([fallen(host, int(stand.over.at()), gpus=1)])
    fleet = notice(stand, "resolved", "fleet", RESOLVED_SECONDS)
    chat = notice(stand, "resolved", "chat", RESOLVED_SECONDS)

    assert (fleet.receiver, chat.receiver) == ("platform-tickets", "chat-tickets")
    for budget, dollars in (("fleet", 27_000), ("chat", 20_000)):
        projected = f'inference:budget_month_projected_dollars{{budget="{budget}"}}'
        falls = partial(_below, stand.over, projected, dollars)
        until(falls, NOTIFIED_SECONDS, projected)
    assert stand.alertmanager.alerts() == []


def _below(life: Life, projected: str, dollars: int) -> bool:
    return life.prometheus.value(projected) < dollars


def test_nothing_is_told_of_a_month_below_its_budget(stand: BudgetStand) -> None:
    """25,640 of 27,000: the rules have run, the Alertmanager is there, and nobody is told."""
    program = stand.below.prometheus
    projected = 'inference:budget_month_projected_dollars{budget="fleet"}'
    until(lambda: program.value(f"count_over_time({projected}[1h])") > 20, NOTIFIED_SECONDS, "20 evaluations")

    assert program.value(projected) == pytest.approx(25_640, abs=0.5)
    assert program.query("last_over_time(ALERTS[1h])") == {}
    assert program.alertmanagers() == [f"{stand.alertmanager.url}/api/v2/alerts"]
    assert [notice for notice in stand.receiver.notifications if notice.labels["stand"] != "over"] == []


def test_nobody_is_told_of_anything_else(stand: BudgetStand) -> None:
    """A fleet that is well but for its budget is no reason for another alert."""
    notice(stand, "firing", "fleet", NOTIFIED_SECONDS)

    assert {notice.labels["alertname"] for notice in stand.receiver.notifications} == {PROJECTED}
