"""Days on the page are those of `report chargeback --by=day`, of the same ledger."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.ledger.ledger import Ledger
from exporter.report import Report
from exporter.units import dollars
from exporter.web.month import month_line, month_to_date
from exporter.web.summary import UTC
from tests.kit.clock import clock_at
from tests.kit.units import HOUR, MINUTE, NOVEMBER
from tests.ledger.ticks import accrued, money, tick

MakeReport = Callable[..., Report]

NOW = NOVEMBER + 78 * HOUR + 30 * MINUTE
TICKS = [
    tick(NOVEMBER + 1 * HOUR, money(7_000_000_000_001), length=MINUTE, day="2026-11-01"),
    tick(NOVEMBER + 24 * HOUR, money(3_000_000_000_003), length=MINUTE, day="2026-11-01"),
    tick(NOVEMBER + 24 * HOUR + MINUTE, money(11_000_000_000_000), length=MINUTE, day="2026-11-02"),
    tick(NOVEMBER + 73 * HOUR, money(5), money(13, phase="idle"), length=MINUTE, day="2026-11-04"),
    tick(NOW, money(17), length=MINUTE, day="2026-11-04"),
]
"""Two on the 1st, the second of which ends with it, one on the 2nd, none on the 3rd, and two on the 4th."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[tuple[Path, Ledger]]:
    """The ledger of these ticks, and its file."""
    path = tmp_path / "ledger.db"
    ledger = Ledger.open(path, clock_at(NOW))
    for number, each in enumerate(TICKS, start=1):
        ledger.post(each, accrued(*TICKS[:number]))
    yield path, ledger
    ledger.close()


def test_days_are_those_of_the_chargeback(
    ledger: tuple[Path, Ledger], make_report: MakeReport, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the picodollar; the day without a tick is absent in both."""
    path, opened = ledger
    report = make_report(totals=opened.totals(NOW, ("2026-11",)), wall=NOW)
    line = month_line(report, "2026-11", month_to_date(report, "2026-11"), UTC)
    assert (
        main(["report", "chargeback", "--json", f"--ledger.path={path}", "--month=2026-11", "--by=day"]) == 0
    )
    printed = json.loads(capsys.readouterr().out)

    amounts = {day.day.name: day.amount for day in line.days}
    assert amounts == {
        "2026-11-01": 10_000_000_000_004,
        "2026-11-02": 11_000_000_000_000,
        "2026-11-03": None,
        "2026-11-04": 35,
    }
    assert {row["day"]: row["dollars"] for row in printed["rows"]} == {
        name: pytest.approx(dollars(amount), abs=1e-9)
        for name, amount in amounts.items()
        if amount is not None
    }
    assert printed["total"]["picodollars"] == sum(filter(None, amounts.values()))
    assert line.rest == 0
