"""Real tokens of a real server become dollars, right to the picodollar."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.afternoon import Afternoon, run_afternoon
from tests.e2e.daemon import Daemon, Page
from tests.e2e.engine import EngineServer
from tests.fake_nvml.library import FakeNvml

RENT = 2.50
NETWORK = 1.20 / 3
"""Dollars per hour of the host, for each of its three GPUs."""
AMORTIZATION = 105000 / 3 / (3 * 8766)
SUPPORT = 10500 / 3 / 8766
ENERGY = 0.700 * 1.4 * 0.12
"""Kilowatts x PUE x dollars per kilowatt-hour."""

COUNTERS = (
    "inference_cost_dollars_total",
    "inference_server_cost_dollars_total",
    "inference_gpu_cost_dollars_total",
    "inference_gpu_seconds_total",
    "inference_tokens_total",
    "inference_gpu_energy_joules_total",
)

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory,
    gpus: FakeNvml,
    engine: Callable[[Path], EngineServer],
    install: Callable[..., Daemon],
    record: Path | None,
) -> Afternoon:
    afternoon = run_afternoon(tmp_path_factory.mktemp("story"), gpus, engine, install)
    if record is not None:
        afternoon.record(record)
    return afternoon


def hourly(name: str, pages: tuple[Page, Page], **labels: str) -> float:
    """By how much a counter of dollars rose per hour between the ticks of two scrapes."""
    first, last = pages
    rise = last.sum(name, **labels) - first.sum(name, **labels)
    return rise * 3600 / (last.tick - first.tick)


def test_tokens_equal_the_servers_own_counters(story: Afternoon) -> None:
    """Every kind, cached prompts apart, one request cancelled: the numbers are the server's, exactly."""
    assert story.served.page.tokens("tiny") == story.served.counted
    assert set(story.opened.counted.values()) == {0}
    assert min(story.served.counted.values()) > 1000


def test_tokens_survive_a_killed_daemon(story: Afternoon) -> None:
    """What was served while the daemon was dead is counted once, and nothing else is counted again."""
    assert story.before_kill.page.tokens("tiny") == story.before_kill.counted
    assert story.after_restart.page.tokens("tiny") == story.after_restart.counted
    assert story.after_restart.counted != story.before_kill.counted


def test_tokens_survive_a_restarted_server(story: Afternoon) -> None:
    """A server that begins again at zero adds to what its former process had counted."""
    former, present = story.after_restart.counted, story.server_restarted.counted
    total = {kind: former[kind] + count for kind, count in present.items()}
    assert story.server_restarted.page.tokens("tiny") == total


def test_rented_dollars_are_price_times_time_times_gpus(story: Afternoon) -> None:
    """Three GPUs at 2.50 and 0.40 dollars an hour accrue 8.70 an hour between any two ticks."""
    pages = (story.opened.page, story.minute_later)
    assert hourly("inference_cost_dollars_total", pages) == pytest.approx(3 * (RENT + NETWORK), rel=1e-3)
    assert hourly("inference_cost_dollars_total", pages, server="tiny") == pytest.approx(
        2 * (RENT + NETWORK), rel=1e-3
    )
    assert hourly("inference_server_cost_dollars_total", pages, component="network") == pytest.approx(
        1.20, rel=1e-3
    )
    assert hourly("inference_cost_dollars_total", pages, server="unallocated") == pytest.approx(
        RENT + NETWORK, rel=1e-3
    )


def test_dollars_agree_with_a_clock_of_our_own(story: Afternoon) -> None:
    """By the clock of whoever scrapes, too: within one tick and the time that a scrape takes."""
    first, last = story.opened.page, story.minute_later
    rise = last.sum("inference_cost_dollars_total") - first.sum("inference_cost_dollars_total")
    due = 3 * (RENT + NETWORK) * (last.taken - first.taken) / 3600
    assert rise == pytest.approx(due, abs=3 * (RENT + NETWORK) * 2 / 3600)


def test_gpu_time_is_gpus_times_time(story: Afternoon) -> None:
    """All phases of all parties sum to three GPUs; phases of idle and work follow utilization."""
    first, last = story.opened.page, story.minute_later
    elapsed = last.tick - first.tick

    def rise(**labels: str) -> float:
        name = "inference_gpu_seconds_total"
        return last.sum(name, **labels) - first.sum(name, **labels)

    assert rise() == pytest.approx(3 * elapsed, rel=1e-3)
    assert rise(server="tiny", phase="idle") == pytest.approx(2 * 0.6 * elapsed, rel=1e-2)
    assert rise(server="tiny", phase="unobserved") == 0


def test_owned_dollars_follow_the_purchase_and_the_meter(story: Afternoon) -> None:
    """After a reload: amortization 1.3309, support 0.3993, energy 0.1176 and network 0.40 per GPU-hour."""
    name = "inference_gpu_cost_dollars_total"
    assert hourly(name, story.owned, component="amortization") == pytest.approx(3 * AMORTIZATION, rel=2e-3)
    assert hourly(name, story.owned, component="support") == pytest.approx(3 * SUPPORT, rel=2e-3)
    assert hourly(name, story.owned, component="network") == pytest.approx(3 * NETWORK, rel=2e-3)
    assert hourly(name, story.owned, component="energy") == pytest.approx(3 * ENERGY, rel=2e-2)
    assert hourly(name, story.owned, component="rent") == 0
    assert (round(AMORTIZATION, 4), round(SUPPORT, 4), round(ENERGY, 4)) == (1.3309, 0.3993, 0.1176)


def test_prices_shown_are_the_prices_charged(story: Afternoon) -> None:
    """The gauge of an hour's price is what the counters rise by."""
    name = "inference_gpu_price_dollars_per_hour"
    assert story.served.page.matching(name, component="rent") == [RENT] * 3
    assert story.owned[1].matching(name, component="amortization") == pytest.approx([AMORTIZATION] * 3)


def test_the_books_balance_on_every_scrape(story: Afternoon) -> None:
    """The three families of dollars have one sum, the residual is 0, and the ledger is on disk."""
    assert len(story.pages) > 100
    for page in story.pages:
        total = page.sum("inference_cost_dollars_total")
        assert page.sum("inference_server_cost_dollars_total") == pytest.approx(total, rel=1e-6)
        assert page.sum("inference_gpu_cost_dollars_total") == pytest.approx(total, rel=1e-6)
        assert page.value("inference_ledger_residual_dollars") == 0
        assert page.value("inference_ledger_persistent") == 1


def test_no_counter_ever_falls(story: Afternoon) -> None:
    """Reload, SIGKILL and restart included, each series only rises, and none goes missing."""
    highest: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for page in story.pages:
        now = {
            (name, frozenset(labels.items())): value
            for name in COUNTERS
            for labels, value in page.rows.get(name, ())
        }
        assert highest.keys() <= now.keys()
        assert [series for series, value in highest.items() if now[series] < value] == []
        highest = now


def test_prices_per_million_are_dollars_over_tokens(story: Afternoon) -> None:
    """Over whole minutes: what the server had cost at the minute's end, over what it had served.

    The dollars at the minute's end are those of the tick after it, less what accrued in between.
    """
    page = story.minute_later
    late = page.tick % 60
    cost = page.sum("inference_cost_dollars_total", server="tiny") - 2 * (RENT + NETWORK) * late / 3600
    tokens = story.served.counted
    name = "inference_cost_dollars_per_million_tokens"

    def price(kind: str, basis: str = "full") -> float:
        return page.value(name, server="tiny", kind=kind, basis=basis)

    assert price("all") == pytest.approx(cost / sum(tokens.values()) * 1e6, rel=1e-3)
    assert price("computed") == pytest.approx(
        cost / (tokens["prompt"] + tokens["generation"]) * 1e6, rel=1e-3
    )
    parts = [price(kind) * count / 1e6 for kind, count in tokens.items()]
    assert sum(parts) == pytest.approx(cost, rel=1e-3)
    assert price("all", "busy") < price("all")


def test_an_explanation_says_the_numbers_of_the_metrics(story: Afternoon) -> None:
    """`explain` beside the running daemon: every quotient that is scraped, and no other."""
    page, explanation = story.explained
    (server,) = explanation["servers"]
    (model,) = server["models"]
    name = "inference_cost_dollars_per_million_tokens"
    served = {(labels["kind"], labels["basis"]): value for labels, value in page.rows[name]}
    prices = {
        (price["kind"], price["basis"]): price["dollars_per_million"]
        for price in model["dollars_per_million_tokens"]
    }

    assert len(served) >= 6
    assert served == prices
    assert sum(share["gpus"] * share["dollars_per_hour"] for share in server["held"]) == pytest.approx(
        2 * (RENT + NETWORK)
    )


def test_money_goes_on_while_the_daemon_is_down(story: Afternoon) -> None:
    """Hardware costs what it costs: after the restart the totals are higher than before it."""
    name = "inference_cost_dollars_total"
    assert story.after_restart.page.sum(name) > story.before_kill.page.sum(name)
