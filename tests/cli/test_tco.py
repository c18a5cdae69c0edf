"""`tco` as people run it."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from exporter.cli import main
from exporter.cli.fleet_source import FleetSource
from exporter.cli.tco import TcoOptions, tco
from exporter.clock import SystemClock
from exporter.cost.postings import CostOwner, MoneyPosting, OwnerPhase, Postings, Segment, TokenPosting
from exporter.cost.state import State
from exporter.finance.options import scenario as scenario_file
from exporter.ledger.ledger import Ledger
from exporter.readings import Gpu
from tests.kit.clock import ManualClock, clock_at
from tests.kit.units import DAY, NOVEMBER, SECOND

CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")

SCENARIO = """
name: ours or theirs
horizon_years: 1
options:
  - name: api
    hosted: {prompt_dollars_per_million_tokens: 1, generation_dollars_per_million_tokens: 1}
"""


NOON = NOVEMBER + 29 * DAY + DAY // 2
"""Noon of the 30th of November."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Path]:
    """A daemon's ledger: on the 1st and on the 2nd a day at 24 dollars and 12 million tokens."""
    path = tmp_path / "ledger.db"
    running = metered(path)
    yield path
    running.close()


def metered(path: Path) -> Ledger:
    """A running daemon's ledger of two days."""
    running = Ledger.open(path, clock_at(NOON))
    total = 0
    for number in range(2):
        start = NOVEMBER + number * DAY
        paid = MoneyPosting(
            Gpu("GPU-0", "H100"), "rent", "configured", OwnerPhase(CHAT, "decode"), 24 * 10**12
        )
        total += paid.amount
        day = f"2026-11-0{number + 1}"
        segment = Segment(start, start + DAY, "2026-11", day, paid.amount, (paid,), ())
        tokens = (TokenPosting(CHAT, "generation", 12_000_000),)
        running.post(Postings(start + DAY, (segment,), tokens, day=day), State(accrued=total))
    return running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "scenario.yaml"
    path.write_text(SCENARIO)
    return path


def measured(
    file: Path,
    ledger: Path | None,
    clock: ManualClock,
    config: Path | None = None,
    fleet: FleetSource | None = None,
) -> int:
    question = TcoOptions(
        scenario=file,
        example=None,
        show=False,
        measured=True,
        config_file=config,
        ledger_path=ledger,
        as_json=True,
        svg=None,
        fleet=fleet,
    )
    return tco(question, clock)


@pytest.mark.parametrize("name", scenario_file.examples())
def test_every_example_is_answered_in_every_form(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tables, JSON with the same totals, and a chart in a file."""
    assert main(["tco", "--example", name]) == 0
    table = capsys.readouterr().out
    assert main(["tco", "--example", name, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert table.startswith(f"{document['scenario']}\n")
    for option in document["options"]:
        assert f"{option['total_dollars']:,.2f}" in table
    chart = tmp_path / "chart.svg"
    assert main(["tco", "--example", name, "--svg", str(chart)]) == 0
    assert capsys.readouterr().out == f"{chart} written\n"
    assert chart.read_text(encoding="utf-8").endswith("</svg>\n")


def test_examples_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """By name and title."""
    assert main(["tco", "--list"]) == 0
    assert "self-hosted: A self-hosted system over three years\n" in capsys.readouterr().out


def test_an_example_is_a_file_to_begin_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is shown, saved and asked again, gives the same answer."""
    assert main(["tco", "--example", "retrieval", "--show"]) == 0
    path = tmp_path / "mine.yaml"
    path.write_text(capsys.readouterr().out)
    assert main(["tco", str(path)]) == 0
    mine = capsys.readouterr().out
    assert main(["tco", "--example=retrieval"]) == 0
    assert capsys.readouterr().out == mine


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give one of SCENARIO.yaml, --example NAME and --list"),
        (["x.yaml", "--example=retrieval"], "give one of SCENARIO.yaml, --example NAME and --list"),
        (["--list", "--example=retrieval"], "give one of SCENARIO.yaml, --example NAME and --list"),
        (["x.yaml", "--show"], "--show goes with --example"),
        (["x.yaml", "--json", "--svg=x.svg"], "not allowed with argument"),
        (["x.yaml", "--from=/srv/archive"], "--from goes with --measured"),
        (
            ["x.yaml", "--measured", "--from=http://prometheus:9090"],
            "--from needs ledgers here: a Prometheus",
        ),
        (["x.yaml", "--measured", "--from=a", "--ledger.path=/b"], "--from takes the place of --ledger.path"),
    ],
)
def test_flags_that_contradict(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They are a usage error, and say what to give."""
    with pytest.raises(SystemExit) as left:
        main(["tco", *flags])
    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_what_cannot_be_used_is_told_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong scenario is 2, a chart that cannot be written 1; nothing is printed."""
    assert main(["tco", str(tmp_path)]) == 2
    assert capsys.readouterr() == (
        "",
        f"{tmp_path}: cannot be read: it is a directory; name the file in it\n",
    )
    assert main(["tco", "--example", "mine"]) == 2
    assert capsys.readouterr().err.startswith("mine: is no example; there are cloud-model, fine-tuning, ")
    assert main(["tco", "--example", "mine", "--show"]) == 2
    assert capsys.readouterr().out == ""
    chart = tmp_path / "none" / "chart.svg"
    assert main(["tco", "--example", "retrieval", "--svg", str(chart)]) == 1
    assert capsys.readouterr() == ("", f"{chart}: cannot be written: No such file or directory\n")


def test_the_measured_load_beside_the_daemon(
    file: Path, ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """12 million tokens a day at a dollar are 4,380 a year; what is spent now is 24 x 365 = 8,760."""
    assert measured(file, ledger, clock_at(NOON)) == 0
    document = json.loads(capsys.readouterr().out)
    assert {option["name"]: option["total_dollars"] for option in document["options"]} == {
        "measured": 8760.0,
        "api": 4380.0,
    }
    assert (document["measured"]["first_day"], document["measured"]["last_day"]) == (
        "2026-11-01",
        "2026-11-02",
    )
    assert document["break_even_tokens_per_day"][0]["tokens_per_day"] == 24e6

    config = tmp_path / "ice.yaml"
    config.write_text(f"ledger: {{path: {ledger}}}\n")
    assert measured(file, None, clock_at(NOON), config) == 0
    assert json.loads(capsys.readouterr().out) == document


def test_the_measured_load_of_a_fleet(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three hosts of 12 million tokens a day: 3 x 4,380 dollars, 3 x 8,760 are spent. A copy counts once.

    What is doubtful or missing is told on stderr: the copy, and a file that was skipped.
    """
    fleet = tmp_path / "fleet"
    for name in ("a", "b", "c"):
        (fleet / name).mkdir(parents=True)
        metered(fleet / name / "ledger.db").close()
    (fleet / "copy.db").write_bytes((fleet / "a" / "ledger.db").read_bytes())
    (fleet / "d.db").write_bytes(b"none")

    assert measured(file, None, clock_at(NOON), fleet=FleetSource((fleet,), skip_unreadable=True)) == 0

    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert {option["name"]: option["total_dollars"] for option in document["options"]} == {
        "measured": 26_280.0,
        "api": 13_140.0,
    }
    assert document["break_even_tokens_per_day"][0]["tokens_per_day"] == 72e6
    assert captured.err.startswith("INCOMPLETE: 2 of 4 hosts\n")
    assert "Unreadable files: nothing of them is in the total (1)" in captured.err


def test_nodes_in_turn(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A node lives on the 1st, the next one on the 2nd: 24 hours each, at 24 dollars a day: 8,760 a year.

    A third lives in the last 12 hours of the 3rd, and a fourth in the 12 before: together they are a day.
    """
    fleet = tmp_path / "fleet"
    for name, start, hours in (("a", 0, 24), ("b", 24, 24), ("c", 60, 12), ("d", 48, 12)):
        (fleet / name).mkdir(parents=True)
        in_hours(fleet / name / "ledger.db", start, hours)

    assert measured(file, None, clock_at(NOON), fleet=FleetSource((fleet,))) == 0

    document = json.loads(capsys.readouterr().out)
    assert document["measured"]["covered_seconds"] == 3 * 86_400
    assert document["options"][0]["total_dollars"] == 8_760.0


def test_the_days_of_a_fleet_are_those_of_its_zone(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 18:00 UTC of the 30th it is 03:00 of 1 December in Japan: 24 hours of the 30th, and 3 of today."""
    path = tmp_path / "fleet" / "a" / "ledger.db"
    path.parent.mkdir(parents=True)
    in_hours(path, 29 * 24 - 9, 27, zone="Asia/Tokyo")
    now = clock_at(NOVEMBER + 29 * DAY + DAY // 24 * 18)

    assert measured(file, None, now, fleet=FleetSource((path,))) == 0

    measurement = json.loads(capsys.readouterr().out)["measured"]
    assert (measurement["first_day"], measurement["last_day"]) == ("2026-11-30", "2026-12-01")
    assert measurement["covered_seconds"] == 27 * 3600


def in_hours(path: Path, start: int, hours: int, zone: str = "UTC") -> None:
    """A ledger that begins so many hours into the 1st, at a dollar and 500,000 tokens an hour."""
    running = Ledger.open(path, clock_at(NOON))
    gpu = Gpu(f"GPU-{path.parent.name}", "H100")
    for number in range(hours):
        begin = NOVEMBER + (start + number) * DAY // 24
        end = begin + DAY // 24
        day = datetime.fromtimestamp(begin // SECOND, ZoneInfo(zone)).date().isoformat()
        paid = MoneyPosting(gpu, "rent", "configured", OwnerPhase(CHAT, "decode"), 10**12)
        segment = Segment(begin, end, day[:7], day, paid.amount, (paid,), ())
        tokens = (TokenPosting(CHAT, "generation", 500_000),)
        running.post(
            Postings(end, (segment,), tokens, day=day, zone=zone), State(accrued=(number + 1) * 10**12)
        )
    running.close()


def test_a_fleet_without_enough(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A month later nothing of these days is left; and without a ledger there is no fleet."""
    metered(tmp_path / "ledger.db").close()
    source = FleetSource((tmp_path / "ledger.db",))

    assert measured(file, None, clock_at(NOVEMBER + 31 * DAY + DAY // 2), fleet=source) == 1
    assert "--measured needs 24 at least" in capsys.readouterr().err
    empty = tmp_path / "empty"
    empty.mkdir()
    assert measured(file, None, clock_at(NOON), fleet=FleetSource((empty,))) == 1
    assert "there is no ledger here" in capsys.readouterr().err


def test_a_statement_has_no_days(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of a month in the last 30 days needs its ledger: there is no part of it."""
    path = tmp_path / "ledger.db"
    metered(path).close()
    statement = tmp_path / "statement.json"
    closing = ["report", "month", "--month=2026-11", "--close", f"--output={statement}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SystemClock, "wall", lambda _: NOVEMBER + 31 * DAY)
        assert main([*closing, f"--ledger.path={path}"]) == 0
    path.unlink()
    capsys.readouterr()

    for now in (NOVEMBER + 29 * DAY + DAY // 2, NOVEMBER + 30 * DAY + DAY // 2):
        assert measured(file, None, clock_at(now), fleet=FleetSource((tmp_path,))) == 1
        assert "statement.json" in capsys.readouterr().err


def test_days_before_the_last_thirty_are_not_looked_at(
    file: Path, ledger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On 1 December the 2nd of November is the first of 30 days: one day of 24 hours; a day later, none."""
    assert measured(file, ledger, clock_at(NOVEMBER + 30 * DAY + DAY // 2)) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["measured"]["first_day"], document["measured"]["covered_seconds"]) == (
        "2026-11-02",
        86400,
    )
    assert measured(file, ledger, clock_at(NOVEMBER + 31 * DAY + DAY // 2)) == 1
    assert capsys.readouterr().err == (
        f"{ledger}: 0.0 hours were metered in the last 30 days; --measured needs 24 at least\n"
    )


def test_without_a_ledger_nothing_is_measured(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And without a load nothing is bought."""
    path = tmp_path / "none.db"
    assert main(["tco", str(file), "--measured", f"--ledger.path={path}"]) == 1
    assert capsys.readouterr().err == (
        f"{path}: there is no ledger here; name the daemon's ledger with --ledger.path or --config.file\n"
    )
    assert main(["tco", str(file)]) == 2
    assert capsys.readouterr().err == (
        f'{file}:2:1: load: is missing: the tokens of "api" are bought by the million; '
        "give it, or --measured\n"
    )
    config = tmp_path / "bad.yaml"
    config.write_text("interval: 1h\n")
    assert main(["tco", str(file), "--measured", f"--config.file={config}"]) == 2
    assert capsys.readouterr().err.startswith(f"{config}:1:11: interval: ")
