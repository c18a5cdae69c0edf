"""The page explains what the verb explains: the same numbers, of the same books."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.advice.explanation import ExplanationError
from exporter.cli.explain import ExplainOptions, explained
from exporter.cost.postings import GpuTimePosting, OwnerPhase
from exporter.ledger.ledger import Ledger
from exporter.report import Build, Report, TickBasis
from exporter.web import explanation, page
from exporter.web.explanation import explain_server as explained_by_the_page
from tests.cost.readings import cost_policy, rent
from tests.kit.clock import ManualClock, clock_at
from tests.kit.units import DOLLAR, HOUR, MINUTE, NOVEMBER
from tests.ledger.ticks import CHAT, GPU_0, SEARCH, accrued, money, tick, tokens

MakeReport = Callable[..., Report]
NOON = NOVEMBER + 12 * HOUR
BUILD = Build("0.1.0", "9e3d667", "3.11.7")
CONFIG = "hardware:\n  - {match: {gpu_model: '*'}, rented: {dollars_per_gpu_hour: 2.50}}\n"


def minute(number: int) -> Any:
    """A minute after noon: 2 dollars of rent and 1 of energy, half of the rent idle."""
    return tick(
        NOON + number * MINUTE,
        money(DOLLAR),
        money(DOLLAR, phase="idle"),
        money(DOLLAR, component="energy"),
        money(DOLLAR // 4, SEARCH, "prefill"),
        length=MINUTE,
        gpu_time=(GpuTimePosting(GPU_0, OwnerPhase(CHAT, "decode"), MINUTE, chargeable=MINUTE),),
        tokens=(tokens(10_000), tokens(30_000, kind="prompt"), tokens(5_000, SEARCH, "prompt")),
    )


@pytest.fixture
def ledger_files(tmp_path: Path) -> Iterator[tuple[Path, Ledger, ManualClock]]:
    """70 minutes of two servers, in a ledger that a daemon holds open at 13:10:30."""
    path, clock = tmp_path / "ledger.db", clock_at(NOON + 70 * MINUTE + MINUTE // 2)
    ledger = Ledger.open(path, clock)
    ticks = [minute(number) for number in range(1, 71)]
    for count, each in enumerate(ticks, 1):
        ledger.post(each, accrued(*ticks[:count]))
    yield path, ledger, clock
    ledger.close()


def report(ledger_files: tuple[Path, Ledger, ManualClock], make_report: MakeReport) -> Report:
    """What the daemon would publish of these books."""
    _, ledger, clock = ledger_files
    return make_report(
        totals=ledger.totals(clock.now, ("2026-11",)),
        wall=clock.now,
        rates={CHAT: 180.0},
        servers=(),
        shares=(),
        basis=TickBasis(cost_policy(rent("2.50")), ledger.state()),
    )


def test_page_and_verb_tell_the_same(
    ledger_files: tuple[Path, Ledger, ManualClock],
    make_report: MakeReport,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """To the last digit: the page's explanation as JSON is what the verb prints of the daemon's file."""
    path, _, clock = ledger_files
    config = path.with_name("config.yaml")
    config.write_text(CONFIG)
    assert explained(ExplainOptions(config, path, "llm/chat-8b", 1, None, True), clock) == 0
    verb = json.loads(capsys.readouterr().out)
    on_page = explained_by_the_page(report(ledger_files, make_report), "llm/chat-8b")
    assert on_page is not None

    assert json.loads(explanation.as_json(on_page)) == verb
    ((first, *_),) = [model["ladder"] for model in verb["servers"][0]["models"]]
    # An hour of 2 dollars of decode a minute, two thirds of what its hours paid for are rent: 80 dollars.
    assert (first["meaning"], first["dollars"]) == (
        "hardware alone, and only while it computed tokens",
        pytest.approx(80),
    )
    assert (verb["metered_seconds"], first["tokens"]) == (3600, 60 * 40_000)


def test_the_page_shows_its_numbers(
    ledger_files: tuple[Path, Ledger, ManualClock], make_report: MakeReport
) -> None:
    """60 minutes at 3 dollars, 2.4 million tokens: 180 dollars are 75 a million; a third of them was idle."""
    body = page.explanation(report(ledger_files, make_report), 1000 * 10**9, "llm%2Fchat-8b", BUILD)
    assert body is not None
    text = body.decode()

    assert "Over the 60 minutes from 2026-11-01T12:10:00Z to 2026-11-01T13:10:00Z, 1.00 hours" in text
    assert '<th scope="row">idle</th><td class="number">60.000000</td><td class="number">33%</td>' in text
    assert (
        '<th scope="row">all, full</th><td class="number">180.000000</td>'
        '<td class="number">2.400000</td><td class="number">75.000000</td>'
    ) in text
    assert "Why two people say different numbers, and neither is wrong" in text
    assert "embed" not in text


def test_who_is_known_and_cost_nothing_is_explained(
    ledger_files: tuple[Path, Ledger, ManualClock], make_report: MakeReport
) -> None:
    """A server of this tick has an explanation, also before its first minute; nobody else has."""
    young = make_report(totals=ledger_files[1].totals(ledger_files[2].now, ("2026-11",)))
    on_page = explained_by_the_page(young, "ml/chat")
    assert on_page is not None

    assert [(server.key.server, server.models) for server in on_page.servers] == [("chat", ())]
    body = page.explanation(young, 1000 * 10**9, "ml%2Fchat", BUILD)
    assert body is not None
    assert "No cost in this period." in body.decode()
    with pytest.raises(ExplanationError, match="there is no server 'nobody'"):
        explained_by_the_page(young, "nobody")


def test_without_books_there_is_nothing_to_explain(make_report: MakeReport) -> None:
    """While they are withheld the page says so, of the host as of a server."""
    waiting = make_report(totals=None)

    for link in ("", "ml%2Fchat"):
        body = page.explanation(waiting, 1000 * 10**9, link, BUILD)
        assert body is not None
    assert b"No data to explain yet." in body


def test_who_served_nothing_in_the_time_is_told_since_when(
    ledger_files: tuple[Path, Ledger, ManualClock],
    make_report: MakeReport,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An hour and a half on without a token: the last one moved at 13:10. Verb, page and JSON say so."""
    path, ledger, clock = ledger_files
    idle = [
        tick(NOON + number * MINUTE, money(DOLLAR, phase="idle"), length=MINUTE) for number in range(71, 161)
    ]
    before = [minute(number) for number in range(1, 71)]
    for count, each in enumerate(idle, 1):
        ledger.post(each, accrued(*before, *idle[:count]))
    clock.now = NOON + 160 * MINUTE + MINUTE // 2
    since = "2026-11-01T13:10:00Z"
    body = (
        page.explanation(report(ledger_files, make_report), 1000 * 10**9, "llm%2Fchat-8b", BUILD) or b""
    ).decode()
    question = ExplainOptions(None, path, "llm/chat-8b", 1, None, as_json=False)
    assert explained(question, clock) == 0
    printed = capsys.readouterr().out
    assert explained(replace(question, as_json=True), clock) == 0
    (model,) = json.loads(capsys.readouterr().out)["servers"][0]["models"]

    assert f"    served no token since {since}\n    no price per token" in printed
    assert f"<p>Served no token since {since}.</p>" in body
    assert f'<td class="number">{since}</td>' in body
    assert model["last_token"] == since
