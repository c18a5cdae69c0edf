"""The demo runs the real pipeline, and what it tells in the terminal can be found on /metrics."""

import io
import re
from dataclasses import dataclass, replace

import pytest

from exporter.clock import SystemClock
from exporter.demo.story import invitation, replay, stage
from exporter.report import Build, Report
from exporter.units import NANOSECONDS_PER_SECOND, dollars

DAY_SECONDS = 24 * 3600


@dataclass
class Noon:
    """A host's clock at noon of 2026-11-25, a Wednesday, that passes no time."""

    def elapsed(self) -> int:
        return 5_000_000 * NANOSECONDS_PER_SECOND

    def wall(self) -> int:
        return 1_795_608_000 * NANOSECONDS_PER_SECOND

    def awake(self) -> int:
        return self.elapsed()

    def boot(self) -> str:
        return "boot-1"

    def synchronized(self) -> bool:
        return True

    def wait(self, stop: object, duration: int) -> bool:
        raise NotImplementedError


class Nothing:
    """No footprint."""

    def read(self) -> None:
        return None


@pytest.fixture(scope="module")
def told() -> Report:
    """The report at noon, the month having been replayed."""
    set_up = stage(Noon(), Nothing(), Build("0", "", "3"))
    replay(set_up)
    return set_up.sampler.tick()


def test_the_month_is_accrued_to_the_cent(told: Report) -> None:
    """24.5 days of a host at 55.04 and 1.10 dollars an hour, and 8 x 9.20 dollars of storage over 30 days."""
    assert told.books is not None
    by_hand = 24.5 * 24 * (55.04 + 1.10) + 8 * 9.20 * 24.5 / 30

    assert dollars(sum(told.books.cost.values())) == pytest.approx(by_hand, abs=0.005)
    assert dollars(sum(told.books.months.values())) == pytest.approx(by_hand, abs=0.005)
    assert told.books.residual == 0


def test_the_month_is_heading_past_the_budget(told: Report) -> None:
    """30 days at the same rates end at 40,494.40 dollars, and the budget is 27,000."""
    assert sum(told.projected.values()) == pytest.approx(30 * 24 * 56.14 + 73.6, abs=0.5)
    assert [budget.dollars for budget in told.budgets] == [27000.0]
    assert told.run_rate == pytest.approx(730 * (56.14 + 73.6 / 720), abs=0.01)


def test_the_idle_model_has_dollars_and_no_price_per_token(told: Report) -> None:
    """archive-13b lost its users 19 hours ago: it still costs, and a million of its tokens has no price."""
    archive = [party for party in told.rates if party.server == "archive-13b"]

    assert [told.rates[party] for party in archive] == [pytest.approx(7.0303, abs=1e-4)]
    assert not [quotient for quotient in told.quotients if quotient.party in archive]
    assert {quotient.party.server for quotient in told.quotients} == {"chat-70b", "search-8b"}


def test_prefix_cache_hits_are_apart_from_computed_prompts(told: Report) -> None:
    """55 % of the chat's prompt tokens come from the cache; they are counted once."""
    assert told.books is not None
    tokens = {kind: n for (party, kind), n in told.books.tokens.items() if party.server == "chat-70b"}

    share = tokens["cached_prompt"] / (tokens["prompt"] + tokens["cached_prompt"])
    assert share == pytest.approx(0.55, abs=0.001)


def test_a_restart_counts_no_token_twice(told: Report) -> None:
    """Seven hours ago the chat's counters began anew: the total is far above what its process tells now."""
    assert told.books is not None
    generated = next(
        n
        for (party, kind), n in told.books.tokens.items()
        if party.server == "chat-70b" and kind == "generation"
    )
    page = next(server for server in told.servers if server.key.server == "chat-70b")
    now = next(counter.value for counter in page.counters if counter.quantity == "generation")

    # At most 6 requests a second of 340 tokens, for 24.5 days, ever.
    assert now < generated < 6.0 * 340 * 24.5 * DAY_SECONDS
    # In 7 hours at most 6 a second.
    assert now <= 6.0 * 340 * 7 * 3600


def test_the_invitation_names_what_is_there(told: Report) -> None:
    """Paths are those of the server, figures those of the page: 1.10 and 8 x 9.20 / 720 h beside the rent."""
    words = invitation("http://127.0.0.1:9844", told)

    assert set(re.findall(r"http://127\.0\.0\.1:9844(\S*)", words)) == {"/", "/metrics", "/cost.json"}
    assert "It rents for 55.04 dollars an hour, plus 1.20 for network and storage.\n" in words
    assert sum(told.rates.values()) == pytest.approx(55.04 + 1.20, abs=0.005)


def of_month(told: Report, dollars_spent: int, projected: float) -> Report:
    """The same report with other figures of the month."""
    assert told.books is not None
    (cell, *_) = (cell for cell in told.books.months if cell.month == "2026-11")
    books = replace(told.books, months={cell: dollars_spent * 10**12})
    return replace(told, books=books, projected={("", "2026-11"): projected})


@pytest.mark.parametrize(
    ("spent", "projected", "words"),
    [
        (27_001, 40_494.4, "has spent 27,001.00 dollars: it is past the budget of 27,000."),
        (
            1_000,
            40_494.4,
            "has spent 1,000.00 dollars and is heading for 40,494.40, past the budget of 27,000.",
        ),
        (
            1_000,
            26_000.0,
            "has spent 1,000.00 dollars and is heading for 26,000.00, within the budget of 27,000.",
        ),
    ],
)
def test_the_month_is_told_as_it_stands(told: Report, spent: int, projected: float, words: str) -> None:
    """A budget that is spent is not one that would be."""
    assert f"\nIts month {words}\n" in invitation("http://127.0.0.1:9844", of_month(told, spent, projected))


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_for_terminals(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> None:
    """A log gets one line when it is done."""
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: terminal)
    monkeypatch.setattr("sys.stderr", screen)
    published: list[None] = []
    set_up = stage(Noon(), Nothing(), Build("0", "", "3"), lambda: published.append(None))
    replay(set_up)

    told = screen.getvalue()
    assert told.count("\n") == 1
    assert ("%" in told) == terminal
    assert terminal or told == "simulating the month so far: done\n"
    # Noon of the 25th: 23.5 days of 2 hours a tick, a day of a minute a tick.
    assert len(published) > 12 * 23 + 1000


def test_the_demo_takes_the_hosts_clock() -> None:
    """It is set up without waiting for anything."""
    set_up = stage(SystemClock(), Nothing(), Build("0", "", "3"))

    assert set_up.length >= DAY_SECONDS * NANOSECONDS_PER_SECOND
