"""`reconcile` as people run it, beside a daemon that has the ledger."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.cli.reconcile import ReconcileOptions, reconciled
from exporter.cost.postings import CostOwner, GpuTimePosting, MoneyPosting, OwnerPhase, Postings, Segment
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.readings import Gpu
from tests.kit.clock import clock_at
from tests.kit.units import DOLLAR, HOUR, OCTOBER

CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
H100 = Gpu("GPU-0", "H100")
NAME_IT = "; name the daemon's ledger with --ledger.path or --config.file\n"


NOW = OCTOBER + (33 * 24 + 12) * HOUR
"""Noon of the third of November."""


def hour(number: int, day: str) -> Segment:
    """An hour of October at 2 dollars of rent and 10 cents of storage."""
    owner_phase = OwnerPhase(CHAT, "decode")
    start = OCTOBER + number * HOUR
    money = (
        MoneyPosting(H100, "rent", "configured", owner_phase, 2 * DOLLAR),
        MoneyPosting(H100, "storage", "configured", owner_phase, DOLLAR // 10),
    )
    times = (GpuTimePosting(H100, owner_phase, HOUR, chargeable=HOUR),)
    return Segment(start, start + HOUR, day[:7], day, 2 * DOLLAR + DOLLAR // 10, money, times)


def post(ledger: Ledger, segments: tuple[Segment, ...]) -> None:
    """One tick of all of them."""
    accrued = sum(segment.accrued for segment in segments)
    ledger.post(Postings(segments[-1].end, segments, day=segments[-1].day), State(accrued=accrued))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Path]:
    """The ledger of a daemon that runs: two days of UTC, of which the first two hours are missing."""
    path = tmp_path / "ledger.db"
    running = Ledger.open(path, clock_at(NOW))
    post(running, tuple(hour(number, f"2026-10-{1 + number // 24:02d}") for number in range(2, 48)))
    yield path
    running.close()


@pytest.fixture
def invoice(tmp_path: Path) -> Path:
    """48.00 and 50.00 dollars."""
    path = tmp_path / "bill.csv"
    path.write_text("date,dollars\n2026-10-01,48.00\n2026-10-02,50.00\n", encoding="utf-8")
    return path


def question(ledger: Path, invoice: Path, config: Path | None = None) -> ReconcileOptions:
    return ReconcileOptions(config, ledger, invoice, None, (), frozenset({"rent"}), "billed", as_json=True)


def rows_of(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, dict[str, float]]]:
    """Days and their parts in dollars, from JSON."""
    rows = json.loads(capsys.readouterr().out)["rows"]
    return [(row["name"], {part["kind"]: part["dollars"] for part in row["parts"]}) for row in rows]


def test_books_against_a_bill_beside_the_daemon(
    ledger: Path, invoice: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two hours at 2 dollars on the first day; 2 dollars of the second day have no name."""
    assert main(["reconcile", f"--invoice={invoice}", f"--ledger.path={ledger}", "--json"]) == 0
    assert rows_of(capsys) == [("2026-10-01", {"uncovered": 4.0}), ("2026-10-02", {"unexplained": 2.0})]


def test_the_table_and_its_command(
    ledger: Path, invoice: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the table suggests can be run, and then nothing differs."""
    for module in ("adjust", "reconcile"):
        monkeypatch.setattr(f"exporter.cli.{module}.SystemClock", lambda: clock_at(NOW))
    arguments = ["reconcile", f"--invoice={invoice}", "--month=2026-10", f"--ledger.path={ledger}"]
    assert main(arguments) == 0
    page = capsys.readouterr().out
    words = shlex.split(page.splitlines()[-1])
    command = ["inference-cost-exporter", "adjust", f"--ledger.path={ledger}", "--amount=6.00"]
    assert words[:4] == command
    assert main(words[1:]) == 0
    capsys.readouterr()

    assert main([*arguments, "--json"]) == 0
    waiting = json.loads(capsys.readouterr().out)
    assert waiting["notes"][-1] == "adjustments of 6.00 dollars wait for the daemon and are in no sum"


def test_flags_choose(ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A resource of the bill, and components of the books: 46.20 = 22 h x 2.10, as billed."""
    path = tmp_path / "hosts.csv"
    path.write_text("date,dollars,host\n2026-10-01,46.20,a\n2026-10-01,9,b\n", encoding="utf-8")
    arguments = ["reconcile", f"--invoice={path}", f"--ledger.path={ledger}", "--json", "--resource", "a"]
    assert main([*arguments, "--components=rent,storage"]) == 0
    assert rows_of(capsys) == [("2026-10-01", {})]
    assert main([*arguments, "--resource=b"]) == 0
    assert rows_of(capsys) == [("2026-10-01", {"uncovered": 4.0, "unexplained": 7.2})]


def test_days_of_utc_in_another_zone(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A FOCUS row of a day of UTC is compared by the hour where the books are by day of Los Angeles."""
    config = tmp_path / "ice.yaml"
    config.write_text("timezone: America/Los_Angeles\n", encoding="utf-8")
    path = tmp_path / "focus.csv"
    path.write_text(
        "BilledCost,BillingCurrency,ChargeCategory,ChargePeriodStart,ChargePeriodEnd,ConsumedQuantity,"
        "ConsumedUnit\n48,USD,Usage,2026-10-02T00:00:00Z,2026-10-03T00:00:00Z,24,Hours\n",
        encoding="utf-8",
    )
    assert reconciled(question(ledger, path, config), clock_at(NOW)) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["calendar"], document["total"]["parts"]) == ("utc", [])


def test_what_cannot_be_answered(
    ledger: Path, invoice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bill or a ledger that cannot be read is 1, a wrong configuration 2."""
    assert reconciled(question(ledger, tmp_path), clock_at(NOW)) == 1
    assert capsys.readouterr().err == f"{tmp_path}: is a directory: name one file of it\n"
    assert main(["reconcile", f"--invoice={invoice}", "--month=2026-09", f"--ledger.path={ledger}"]) == 1
    assert capsys.readouterr().err == f"{invoice}: has nothing of 2026-09: it has 2026-10\n"
    nowhere = tmp_path / "none.db"
    assert reconciled(question(nowhere, invoice), clock_at(NOW)) == 1
    assert capsys.readouterr().err == f"{nowhere}: there is no ledger here{NAME_IT}"
    config = tmp_path / "ice.yaml"
    config.write_text("interval: 0s\n", encoding="utf-8")
    assert reconciled(question(ledger, invoice, config), clock_at(NOW)) == 2
    assert capsys.readouterr().err.startswith(f"{config}:1:11: interval: ")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--resource=", "argument --resource: '' is no resource: write its id as the bill does"),
        (
            "--components=rent;",
            "argument --components: 'rent;' are no components: write names like rent,storage",
        ),
        ("--month=10-2026", "argument --month: '10-2026' is no month: expected one like 2026-10"),
        ("--cost=list", "argument --cost: invalid choice: 'list'"),
    ],
)
def test_flags_that_make_no_sense(flag: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2 and what is right."""
    with pytest.raises(SystemExit) as left:
        main(["reconcile", "--invoice=bill.csv", flag])
    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_a_bill_has_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    """There is no default for it."""
    with pytest.raises(SystemExit) as left:
        main(["reconcile"])
    assert left.value.code == 2
    assert "the following arguments are required: --invoice" in capsys.readouterr().err


def test_nothing_is_written(ledger: Path, invoice: Path) -> None:
    """The books are read, not touched."""
    before = ledger.read_bytes()
    assert reconciled(question(ledger, invoice), clock_at(NOW)) == 0
    assert before == ledger.read_bytes()


def test_the_file_of_report_focus_is_no_bill(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would differ from the books by what else is in it, and `adjust` would then be offered."""
    path = tmp_path / "focus.csv"
    assert main(["report", "focus", "--month=2026-10", f"--ledger.path={ledger}", f"--output={path}"]) == 0
    assert main(["reconcile", f"--invoice={path}", f"--ledger.path={ledger}"]) == 1
    assert capsys.readouterr() == (
        "",
        (
            f'{path}:2: ServiceProviderName: "Self-hosted inference" is what report focus writes: books are '
            "set against what a provider charges you, so give its file, or choose its rows with --resource\n"
        ),
    )
