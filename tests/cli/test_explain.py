"""`explain` beside a daemon that writes: the metrics' own numbers, and longer stretches."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.cli.explain import ExplainOptions, explained
from exporter.cost.policy import Weights
from exporter.cost.postings import (
    CostOwner,
    GpuTimePosting,
    MoneyPosting,
    OwnerPhase,
    Postings,
    Segment,
    TokenPosting,
)
from exporter.cost.quotients import per_million
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.readings import Gpu
from tests.kit.clock import clock_at
from tests.kit.units import DOLLAR, HOUR, MINUTE, SECOND

NOON = (1_793_491_200 + 12 * 3600) * SECOND
"""2026-11-01T12:00:00Z."""
CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
H100 = Gpu("GPU-0", "H100")
OWNER_PHASES = (OwnerPhase(CHAT, "decode"), OwnerPhase(CHAT, "idle"))


NOW = NOON + 15 * MINUTE + 30 * SECOND
"""Half a minute past a quarter past twelve."""


def worked(end: int, dollars: int, tokens: int) -> tuple[Postings, int]:
    """A minute that ends then: half of its dollars decode, half idle."""
    amount = dollars * DOLLAR
    segment = Segment(
        end - MINUTE,
        end,
        "2026-11",
        "2026-11-01",
        amount,
        tuple(
            MoneyPosting(H100, "rent", "configured", OwnerPhase(CHAT, phase), amount // 2)
            for phase in ("decode", "idle")
        ),
        tuple(
            GpuTimePosting(H100, OwnerPhase(CHAT, phase), MINUTE // 2, chargeable=MINUTE // 2)
            for phase in ("decode", "idle")
        ),
    )
    return Postings(end, (segment,), (TokenPosting(CHAT, "generation", tokens),), day="2026-11-01"), amount


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Path]:
    """Six dollars at 10:01, four at 11:20 and two at 12:10, with 3, 2 and 1 million tokens."""
    path = tmp_path / "ledger.db"
    running = Ledger.open(path, clock_at(NOW))
    accrued = 0
    for minutes, dollars, millions in ((-119, 6, 3), (-40, 4, 2), (10, 2, 1)):
        posted, amount = worked(NOON + minutes * MINUTE, dollars, millions * 10**6)
        accrued += amount
        running.post(posted, State(accrued=accrued))
    yield path
    running.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Nobody is asked where this machine runs."""
    path = tmp_path / "ice.yaml"
    path.write_text("discovery: {cloud: off}\n", encoding="utf-8")
    return path


def explained_json(
    config: Path,
    ledger: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    hours: int = 1,
    against: str | None = None,
) -> dict[str, object]:
    question = ExplainOptions(config, ledger, None, hours, against, as_json=True)
    assert explained(question, clock_at(NOW)) == 0
    document: dict[str, object] = json.loads(capsys.readouterr().out)
    return document


def test_one_hour_is_the_window_of_the_metrics(
    config: Path, ledger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From 11:15 to 12:15: 6 dollars for 3 million tokens, as `books.window` has them for the metrics."""
    (server,) = explained_json(config, ledger, capsys)["servers"]  # type: ignore[misc]
    (model,) = server["models"]
    with LedgerReader.open(ledger) as reader:
        (window,) = reader.totals(NOW, ()).window.values()
    served = per_million(window.money, window.tokens, Weights())

    assert (model["dollars"], model["tokens"]) == (6, {"generation": 3_000_000})
    documents = {
        (each["kind"], each["basis"]): each["dollars_per_million"]
        for each in model["dollars_per_million_tokens"]
    }
    assert documents == served
    assert served["all", "full"] == 2


def test_a_longer_window_is_the_last_whole_hours(
    config: Path, ledger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 12:15, two hours are from 10:00 to 12:00: 10 of 12 dollars, one GPU-minute each."""
    document = explained_json(config, ledger, capsys, hours=2)
    (server,) = document["servers"]  # type: ignore[misc]
    (model,) = server["models"]

    assert (document["start"], document["end"]) == ("2026-11-01T10:00:00Z", "2026-11-01T12:00:00Z")
    assert document["metered_seconds"] == 2 * 60
    assert model["dollars_by_phase"] == {"decode": 5, "idle": 5}
    assert model["gpu_seconds_by_phase"] == {"decode": 60, "idle": 60}
    assert model["server_dollars_by_component"] == {"rent": 10}


def test_a_ledger_without_a_whole_hour_has_its_minutes(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A day is asked for five minutes after the first start: the two dollars of 12:10 are all."""
    path = tmp_path / "young.db"
    running = Ledger.open(path, clock_at(NOW))
    posted, amount = worked(NOON + 10 * MINUTE, 2, 10**6)
    running.post(posted, State(accrued=amount))
    document = explained_json(config, path, capsys, hours=24)
    running.close()
    (server,) = document["servers"]  # type: ignore[misc]

    assert (document["start"], document["end"]) == ("2026-11-01T11:15:00Z", "2026-11-01T12:15:00Z")
    assert server["models"][0]["dollars"] == 2


def test_what_a_stopped_daemon_did_not_meter_is_not_metered(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ran from 11:00 to 12:10, and at 12:15 the hour from 11:15 has 55 minutes."""
    path = tmp_path / "stopped.db"
    running = Ledger.open(path, clock_at(NOW))
    for minute in range(-59, 11):
        end = NOON + minute * MINUTE
        posted, amount = worked(end, 2, 10**6)
        running.post(posted, State(accrued=(minute + 60) * amount, wall=end))
    running.close()

    assert explained_json(config, path, capsys)["metered_seconds"] == 55 * 60


def test_the_verb_takes_a_server_a_window_and_a_number(
    config: Path, ledger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything on the command line."""
    # The command's own clock is real: 960 hours back from today may miss what was posted.
    status = main(
        [
            "explain",
            "nobody",
            "--window=40d",
            "--against=1.10",
            f"--config.file={config}",
            f"--ledger.path={ledger}",
        ]
    )
    problem = capsys.readouterr().err

    assert status == 1
    assert problem.startswith(f"{ledger}: ")


@pytest.mark.parametrize(
    ("flag", "problem"),
    [
        ("--window=90m", "'90m' is no window: write 60m, or hours or days up to 40d, like 24h or 7d"),
        ("--window=41d", "'41d' is no window: write 60m, or hours or days up to 40d, like 24h or 7d"),
        ("--window=0h", "'0h' is no window: write 60m, or hours or days up to 40d, like 24h or 7d"),
        ("--against=-1", "'-1' is no price: write dollars per million tokens above 0, like 1.10"),
        ("--against=nan", "'nan' is no price: write dollars per million tokens above 0, like 1.10"),
        ("--against=0", "'0' is no price: write dollars per million tokens above 0, like 1.10"),
    ],
)
def test_a_window_or_number_that_is_none_is_refused(
    flag: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what to write."""
    with pytest.raises(SystemExit) as ended:
        main(["explain", flag])
    assert ended.value.code == 2
    assert problem in capsys.readouterr().err


def test_without_a_ledger_there_is_no_answer(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The path, and how to name another."""
    question = ExplainOptions(config, tmp_path / "ledger.db", None, 1, None, as_json=False)
    assert explained(question, clock_at(NOW)) == 1
    assert capsys.readouterr().err == (
        f"{tmp_path}/ledger.db: there is no ledger here; "
        "name the daemon's ledger with --ledger.path or --config.file\n"
    )


def test_a_time_without_anything_asks_for_a_longer_one(
    config: Path, ledger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was posted then is older than the window."""
    later = clock_at(NOW + 5 * HOUR)
    assert explained(ExplainOptions(config, ledger, None, 1, None, as_json=False), later) == 1
    assert capsys.readouterr().err == (
        f"{ledger}: nothing was posted in this time: ask for a longer --window\n"
    )


def test_an_empty_ledger_has_nothing_to_explain(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As any other answer that cannot be given."""
    path = tmp_path / "ledger.db"
    Ledger.open(path, clock_at(NOW)).close()
    assert explained(ExplainOptions(config, path, None, 24, None, as_json=False), clock_at(NOW)) == 1
    assert capsys.readouterr().err == (
        f"{path}: nothing was posted yet: a daemon posts from its second tick on\n"
    )
