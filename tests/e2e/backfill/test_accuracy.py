"""The history of three hosts beside the ledgers that their daemons would have written.

They have pods that come, go and are replaced at odd minutes, processes that end, a GPU that is replaced,
a label that is renamed, two replicas of Prometheus, a host that was not scraped for five hours, and a
month's end.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.backfill.comparison import (
    UNNAMED,
    UNNAMED_SERVERS,
    Difference,
    differences,
    history,
    reckoned,
)
from tests.e2e.backfill.conftest import MeteredFleet, Store
from tests.e2e.backfill.daemon_ledgers import Metered

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("backfill")]

SECONDS_PER_HOUR = 3600
CASES = [
    pytest.param("prometheus", 30, 0.02),
    pytest.param("prometheus", 300, 0.05, marks=pytest.mark.nightly),
    pytest.param("victoria", 30, 0.02, marks=pytest.mark.nightly),
    pytest.param("victoria", 300, 0.05, marks=pytest.mark.nightly),
]
SMALL_GPU_HOURS = 0.1
"""Below it a difference is of minutes at an edge."""


def off(one: Difference, bound: float) -> bool:
    """Whether a figure is off by more than a bound, and by more than an edge."""
    return one.ratio > bound and abs(one.posted - one.reckoned) > SMALL_GPU_HOURS


@pytest.fixture(scope="module")
def answers() -> dict[tuple[str, int], dict[str, Any]]:
    """Each history is reckoned once."""
    return {}


def answer(
    three: MeteredFleet, store: Store, folder: Path, answers: dict[Any, dict[str, Any]], key: tuple[str, int]
) -> dict[str, Any]:
    if key not in answers:
        answers[key] = history(store(*key).url, three.fleet, folder)
    return answers[key]


@pytest.mark.parametrize(("name", "scrape", "bound"), CASES)
def test_each_server_and_month_is_what_the_daemons_posted(
    three: MeteredFleet,
    store: Store,
    tmp_path: Path,
    answers: dict[Any, dict[str, Any]],
    name: str,
    scrape: int,
    bound: float,
) -> None:
    """Dollars, GPU-hours, busy GPU-hours and tokens."""
    document = answer(three, store, tmp_path, answers, (name, scrape))
    every = list(differences(three.posted, reckoned(document)))

    assert {(one.month, one.server.name) for one in every if one.server != UNNAMED_SERVERS} == {
        (month, server)
        for month in ("2026-09", "2026-10")
        for server in (
            "chat/llama-70b",
            "chat/assist-8b",
            "search/rerank-8b",
            "lab/draft-32b",
            "first",
            "second",
        )
    }
    assert [one for one in every if off(one, bound)] == []


@pytest.mark.parametrize(("name", "scrape", "bound"), CASES)
def test_the_whole_is_the_sum_of_its_parts(
    three: MeteredFleet,
    store: Store,
    tmp_path: Path,
    answers: dict[Any, dict[str, Any]],
    name: str,
    scrape: int,
    bound: float,
) -> None:
    """Servers, hosts, products, teams and models each sum to the months, to the picodollar."""
    document = answer(three, store, tmp_path, answers, (name, scrape))
    total = {month["month"]: month for month in document["months"]}

    for family in ("servers", "hosts", "products", "teams", "models"):
        for month, whole in total.items():
            rows = [one for row in document[family] for one in row["months"] if one["month"] == month]
            assert sum(row["picodollars"] for row in rows) == whole["picodollars"], (family, month)
            assert sum(row["gpu_hours"] for row in rows) == pytest.approx(whole["gpu_hours"]), (family, month)
    whole_posted = Metered()
    for amounts in three.posted.values():
        whole_posted.add(amounts)
    assert sum(month["picodollars"] for month in total.values()) == pytest.approx(
        whole_posted.picodollars, rel=bound
    )


def test_coverage_and_resolution_are_said(
    three: MeteredFleet, store: Store, tmp_path: Path, answers: dict[Any, dict[str, Any]]
) -> None:
    """Three hosts for 72 hours, of which west's was not seen for five and was off for ten minutes."""
    document = answer(three, store, tmp_path, answers, ("prometheus", 30))
    hosts = {host["host"]: host for host in document["hosts"]}

    assert {name: host["scrape_seconds"] for name, host in hosts.items()} == {"n01": 30, "w01": 30, "b01": 30}
    assert document["resolution"]["scrape_seconds"] == 30
    assert document["price_basis"] == "estimate"
    assert document["hours"] == pytest.approx(3 * 72, abs=0.1)
    assert document["hours_with_data"] == pytest.approx(3 * 72 - 5 - 1 / 6, abs=0.3)
    assert hosts["w01"]["uncharged_hours"] == pytest.approx(5, abs=0.05)
    assert hosts["n01"]["instance_type"] == "p5.48xlarge"
    assert hosts["n01"]["gpus"] == 8


def test_no_server_takes_what_nobody_held(
    three: MeteredFleet, store: Store, tmp_path: Path, answers: dict[Any, dict[str, Any]]
) -> None:
    """An exporter's own pod is no server, though an idle GPU has its name where labels are honored."""
    document = answer(three, store, tmp_path, answers, ("prometheus", 30))
    names = {server["server"] for server in document["servers"]}

    assert names & {*UNNAMED} == {"unallocated"}
    assert not {name for name in names if "dcgm" in name or "exporter" in name}


def test_a_load_of_one_query_at_a_time_is_said(
    three: MeteredFleet, store: Store, tmp_path: Path, answers: dict[Any, dict[str, Any]]
) -> None:
    """The answer says what it asked of the server."""
    document = answer(three, store, tmp_path, answers, ("prometheus", 30))

    assert document["load"]["parallel"] == 1
    assert 0 < document["load"]["queries"] < 100
