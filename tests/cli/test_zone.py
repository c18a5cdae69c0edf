"""Which day it is, by the time zone that the daemon went by: what verbs say that are given no configuration.

The daemon's clock is 14 hours ahead of UTC: at 14:00 of 31 October in UTC it is 04:00 of 1 November there.
"""

import csv
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.cost.postings import (
    CostOwner,
    GpuTimePosting,
    MoneyPosting,
    OwnerPhase,
    Postings,
    Segment,
    TokenPosting,
)
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.readings import Gpu
from tests.kit.clock import clock_at
from tests.kit.units import DOLLAR, HOUR, SECOND

MIDNIGHT = (1_793_491_200 - 14 * 3600) * SECOND
"""2026-10-31T10:00:00Z, where 1 November begins in Kiritimati."""
KIRITIMATI = "Pacific/Kiritimati"
CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
SCENARIO = """
name: theirs
horizon_years: 1
options: [{name: b, hosted: {prompt_dollars_per_million_tokens: 1, generation_dollars_per_million_tokens: 1}}]
"""


@pytest.fixture(autouse=True)
def _four_in_the_morning(monkeypatch: pytest.MonkeyPatch) -> None:
    for verb in ("adjust", "explain", "focus", "reconcile", "report", "tco"):
        monkeypatch.setattr(f"exporter.cli.{verb}.SystemClock", lambda: clock_at(MIDNIGHT + 4 * HOUR))


def post(ledger: Ledger, zone: str) -> None:
    """One tick in Kiritimati: the last 20 hours of October and 4 of November, 2 dollars and a GPU each."""
    owner_phase = OwnerPhase(CHAT, "decode")
    gpu = Gpu("GPU-0", "H100")
    segments = tuple(
        Segment(
            start := MIDNIGHT + number * HOUR,
            start + HOUR,
            "2026-11" if number >= 0 else "2026-10",
            "2026-11-01" if number >= 0 else "2026-10-31",
            2 * DOLLAR,
            (MoneyPosting(gpu, "rent", "configured", owner_phase, 2 * DOLLAR),),
            (GpuTimePosting(gpu, owner_phase, HOUR, chargeable=HOUR),),
        )
        for number in range(-20, 4)
    )
    tokens = (TokenPosting(CHAT, "generation", 1_000_000),)
    ledger.post(
        Postings(MIDNIGHT + 4 * HOUR, segments, tokens, day="2026-11-01", zone=zone),
        State(accrued=48 * DOLLAR, wall=MIDNIGHT + 4 * HOUR),
    )


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes the ledger of a daemon that runs and goes by a time zone; an older release remembers none."""
    running = []

    def made(zone: str) -> Path:
        ledger = Ledger.open(tmp_path / "ledger.db", clock_at())
        running.append(ledger)
        post(ledger, zone)
        return tmp_path / "ledger.db"

    yield made
    for ledger in running:
        ledger.close()


@pytest.fixture
def bill(tmp_path: Path) -> Path:
    """Four hours of a cloud's UTC, at 2 dollars each."""
    path = tmp_path / "focus.csv"
    rows = "".join(
        f"2,USD,Usage,2026-10-31T{hour}:00:00Z,2026-10-31T{hour + 1}:00:00Z\n" for hour in range(10, 14)
    )
    path.write_text(
        f"BilledCost,BillingCurrency,ChargeCategory,ChargePeriodStart,ChargePeriodEnd\n{rows}", "utf-8"
    )
    return path


def test_the_month_that_goes_on(make: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """It is November where the daemon is, and October in UTC."""
    assert main(["report", "month", "--json", f"--ledger.path={make(KIRITIMATI)}"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["month"], document["to_date"], document["total"]["dollars"]) == ("2026-11", True, 8.0)


def test_no_charge_of_a_file_is_in_the_future(
    make: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The local day begins at 10:00 of the day before in UTC, and so does the month."""
    assert main(["report", "focus", f"--ledger.path={make(KIRITIMATI)}"]) == 0
    header, first, *_ = csv.reader(capsys.readouterr().out.splitlines())
    row = dict(zip(header, first, strict=True))
    assert row["ChargePeriodStart"] == row["BillingPeriodStart"] == "2026-10-31T10:00:00Z"


def test_today_may_be_corrected(make: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """The first of November is no day of the future; the second is, and the message says where."""
    arguments = [
        "adjust",
        f"--ledger.path={make(KIRITIMATI)}",
        "--amount=-1",
        "--product=chat",
        "--reason=why",
    ]
    assert main([*arguments, "--date=2026-11-02"]) == 2
    assert capsys.readouterr().err == (
        "--date: 2026-11-02 is in the future: today is 2026-11-01 in Pacific/Kiritimati\n"
    )
    assert main([*arguments, "--date=2026-11-01"]) == 0


def test_a_bill_equals_the_books(
    make: Callable[[str], Path], bill: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """8 dollars of November on both sides; of October in UTC the books have nothing."""
    arguments = ["reconcile", "--json", f"--invoice={bill}", "--month=2026-11"]
    assert main([*arguments, f"--ledger.path={make(KIRITIMATI)}"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["timezone"] == KIRITIMATI
    assert [(row["name"], row["parts"]) for row in document["rows"]] == [("2026-11-01", [])]


def verbs(bill: Path, scenario: Path) -> dict[str, list[str]]:
    """Everything that reads the books."""
    return {
        "month": ["report", "month"],
        "chargeback": ["report", "chargeback"],
        "focus": ["report", "focus"],
        "explain": ["explain", "--window=24h"],
        "reconcile": ["reconcile", f"--invoice={bill}", "--month=2026-11"],
        "adjust": ["adjust", "--amount=1", "--date=2026-11-01", "--product=chat", "--reason=why"],
        "tco": ["tco", str(scenario), "--measured"],
    }


VERBS = ("month", "chargeback", "focus", "explain", "reconcile", "adjust", "tco")


@pytest.fixture
def arguments_by_verb(bill: Path, tmp_path: Path) -> dict[str, list[str]]:
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(SCENARIO, encoding="utf-8")
    return verbs(bill, scenario)


@pytest.mark.parametrize("verb", VERBS)
def test_a_file_of_another_zone_is_told(
    verb: str,
    make: Callable[[str], Path],
    arguments_by_verb: dict[str, list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The books' own zone counts, and one line says which one the file would have."""
    file = tmp_path / "ice.yaml"
    file.write_text(f"ledger: {{path: {make(KIRITIMATI)}}}\n")
    assert main([*arguments_by_verb[verb], f"--config.file={file}"]) == 0
    assert capsys.readouterr().err == (
        "note: days and months are those of Pacific/Kiritimati, which the daemon went by at its last tick; "
        f"{file} says UTC, which counts once the daemon has read it\n"
    )
    file.write_text(f"timezone: {KIRITIMATI}\nledger: {{path: {tmp_path / 'ledger.db'}}}\n")
    again = [each.replace("--amount=1", "--amount=2") for each in arguments_by_verb[verb]]
    assert main([*again, f"--config.file={file}"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("verb", VERBS)
def test_a_zone_that_this_machine_does_not_know(
    verb: str,
    make: Callable[[str], Path],
    arguments_by_verb: dict[str, list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is told by another one: status 1, and what is missing."""
    path = make("Pacific/Kiritimati")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE meta SET value = 'Mars/Olympus' WHERE key = 'timezone'")
    assert main([*arguments_by_verb[verb], f"--ledger.path={path}"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f'{path}: its days are of the time zone "Mars/Olympus", which this machine does not know: '
        "install the IANA database (tzdata); name the daemon's ledger with --ledger.path or --config.file\n"
    )


def test_an_older_ledger_goes_by_the_file(
    make: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It does not know its zone: the configuration's is taken, UTC without one."""
    path = make("")
    assert main(["report", "month", "--json", f"--ledger.path={path}"]) == 0
    answer = capsys.readouterr()
    document = json.loads(answer.out)
    assert (document["month"], document["total"]["dollars"], answer.err) == ("2026-10", 40.0, "")
    file = tmp_path / "ice.yaml"
    file.write_text(f"timezone: {KIRITIMATI}\nledger: {{path: {path}}}\n")
    assert main(["report", "month", "--json", f"--config.file={file}"]) == 0
    answer = capsys.readouterr()
    document = json.loads(answer.out)
    assert (document["month"], document["total"]["dollars"], answer.err) == ("2026-11", 8.0, "")
