"""A month of rented, leased and owned GPUs, as FOCUS: the public validator accepts it, and it reconciles."""

import csv
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from itertools import takewhile
from pathlib import Path

import pytest

from exporter.cost.postings import (
    UNALLOCATED,
    CostOwner,
    GpuTimePosting,
    MoneyPosting,
    OwnerPhase,
    Postings,
    Segment,
)
from exporter.finance.focus.dataset import FocusVersion
from exporter.ledger.ledger import Ledger
from exporter.readings import Gpu
from tests.e2e.validator import validate
from tests.finance.focus.requirements import REQUIREMENTS, parsed, split_breaches
from tests.year import events
from tests.year import run as year_run

MONTH = "2026-01"
DISAGREEMENT = frozenset({"InvoiceId-C-005-C"})
"""InvoiceId is to be null without an invoice (C-004) and not to be null with one (C-005). The validator takes
both for all rows, so that every file breaks one of them; their parent, C-003, asks for either."""

pytestmark = pytest.mark.timeout(600)

Row = dict[str, str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds a ledger of January, its configuration, and January in each version of FOCUS.

    The cost model kept it, from the readings of a host whose GPUs are rented, leased and owned, held by five
    servers or nobody. Then came an hour on a GPU with an estimated price and one on a GPU with none, and a
    credit note.
    """
    root = tmp_path_factory.mktemp("focus")
    path, config = root / "ledger.db", root / "ice.yaml"
    january = takewhile(lambda moment: moment.at < events.at(2, 1, 1), events.moments(6 * events.HOUR))
    year = year_run.run_year(path, january, time.perf_counter)
    config.write_text(f"timezone: {events.ZONE.key}\nledger: {{path: {path}}}\n")
    arguments = [
        "--date=2026-01-15",
        "--amount=-12.345",
        "--product=chat",
        "--reason=Gutschrift f\u00fcr 4711",
    ]
    run("adjust", f"--config.file={config}", *arguments)
    post_an_hour(path, year.last)
    for version in ("1.2", "1.3", "1.4"):
        file = root / ("focus.csv" if version == "1.2" else f"focus-{version}.csv")
        month = f"--month={MONTH}", f"--focus-version={version}", f"--output={file}"
        run("report", "focus", f"--config.file={config}", *month)
    return root


def post_an_hour(path: Path, last: int) -> None:
    """One more tick, which covers an hour of 30 January, and takes the credit note into the books."""
    clock = year_run.YearClock()
    clock.now = last + events.TICK
    start = events.at(1, 30, 12) * year_run.SECOND
    hour = events.HOUR * year_run.SECOND
    owner_phase = OwnerPhase(CostOwner("chat", "assistants", "", "chat", "chat-m"), "decode")
    paid = MoneyPosting(Gpu("GPU-8", "NVIDIA L4"), "rent", "estimate", owner_phase, 7 * 10**11)
    gpu_times = (
        GpuTimePosting(Gpu("GPU-8", "NVIDIA L4"), owner_phase, hour, chargeable=hour),
        GpuTimePosting(Gpu("GPU-9", "NVIDIA L4"), owner_phase, hour, unpriced=True, chargeable=hour),
    )
    segment = Segment(start, start + hour, MONTH, "2026-01-30", paid.amount, (paid,), gpu_times)
    ledger = Ledger.open(path, clock)
    state = ledger.state()
    ledger.post(
        Postings(clock.wall(), (segment,), day="2026-01-30"),
        replace(state, accrued=state.accrued + paid.amount),
    )
    assert ledger.problem == ""
    ledger.close()


def run(*arguments: str) -> str:
    """A verb as people run it."""
    done = subprocess.run(
        [sys.executable, "-m", "exporter", *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[Row]:
    """January in 1.2, the newest version that the validator knows, row by row."""
    with (folder / "focus.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_month_has_everything_in_it(rows: list[Row]) -> None:
    """Or the validator's word would be worth little."""
    assert {row["ChargeCategory"] for row in rows} == {"Usage", "Adjustment"}
    assert {row["ConsumedUnit"] for row in rows} == {"GPU-Hours", "Tokens", ""}
    assert {"prefill", "decode", "idle"} <= {row["x_Phase"] for row in rows}
    assert {row["x_TokenKind"] for row in rows} >= {"prompt", "generation"}
    assert UNALLOCATED in {row["x_Server"] for row in rows}
    assert {"configured", "mixed", ""} <= {row["x_PriceBasis"] for row in rows}
    assert {row["PricingCategory"] for row in rows} == {"Standard", "Other"}
    assert len({row["ChargePeriodStart"] for row in rows}) == 31


def test_the_validator_accepts_it(folder: Path) -> None:
    """Every rule that a program can check holds, but for two of which no file can keep both."""
    verdict = validate(folder / "focus.csv")

    assert verdict.broken == DISAGREEMENT
    assert {"InvoiceId-C-003-C", "InvoiceId-C-000-O", "ConsumedQuantity-C-000-C"} <= verdict.passed
    assert len(verdict.passed) > 150


@pytest.mark.parametrize("version", ["1.3", "1.4"])
def test_later_versions_keep_the_rules_of_the_specification(
    folder: Path, rows: list[Row], version: FocusVersion
) -> None:
    """No validator has them yet: the table of our tests does. Rows and costs are those of 1.2."""
    lines = (folder / f"focus-{version}.csv").read_text("utf-8").splitlines(keepends=True)
    names = lines[0].strip().split(",")
    written = [dict(zip(names, parsed(line), strict=True)) for line in lines[1:]]
    breaches = [
        str(each) for each in REQUIREMENTS if version in each.versions and not all(map(each.holds, written))
    ]

    assert breaches == []
    assert split_breaches(written) == []
    assert {row["AllocatedResourceId"] for row in written} >= {None, "chat"}
    assert [row["BilledCost"] for row in written] == [Decimal(row["BilledCost"]) for row in rows]


def write(rows: list[Row], file: Path) -> Path:
    """Rows as a file of their own."""
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


@pytest.mark.nightly
def test_the_validator_would_say_what_is_wrong(rows: list[Row], tmp_path: Path) -> None:
    """Columns spoiled or left out break their rules, each its own."""
    spoiled = [
        {
            **row,
            "ChargeCategory": "Rent",
            "ListCost": "NULL",
            "EffectiveCost": "$1",
            "ConsumedUnit": "GPU hours!",
            "ChargePeriodStart": "yesterday",
            "ProviderName": "Somebody else",
        }
        for row in rows[:50]
    ]
    for row in spoiled:
        del row["PricingQuantity"]

    assert validate(write(spoiled, tmp_path / "spoiled.csv")).broken >= {
        "ChargeCategory-C-003-M",
        "ListCost-C-003-M",
        "EffectiveCost-C-001-M",
        "ConsumedUnit-C-003-O",
        "ChargePeriodStart-C-001-M",
        "BilledCost-C-005-C",
        "CostAndUsage-D-036-M",
    }


@pytest.mark.nightly
def test_with_an_invoice_the_other_rule_is_broken(rows: list[Row], tmp_path: Path) -> None:
    """So that no file keeps both, and ours is right to have no invoice."""
    invoiced = [{**row, "InvoiceId": "invoice-1"} for row in rows]
    broken = validate(write(invoiced, tmp_path / "invoiced.csv")).broken

    assert "InvoiceId-C-004-C" in broken
    assert "InvoiceId-C-005-C" not in broken


def test_it_reconciles_with_the_month(folder: Path, rows: list[Row]) -> None:
    """To the picodollar and to the cent, product by product, as `report month` tells them."""
    report = json.loads(
        run("report", "month", f"--config.file={folder / 'ice.yaml'}", f"--month={MONTH}", "--json")
    )
    money: Counter[str] = Counter()
    for row in rows:
        money[row["x_Product"]] += int(Decimal(row["BilledCost"]) * 10**12)

    assert dict(money) == {line["product"]: line["picodollars"] for line in report["rows"]}
    assert round(Decimal(sum(money.values())) / 10**10) == round(report["total"]["dollars"] * 100)
    # 8 GPUs on 31 days, and two hours that came by hand.
    hours = sum(Decimal(row["ConsumedQuantity"]) for row in rows if row["ConsumedUnit"] == "GPU-Hours")
    assert abs(hours - (8 * 24 * 31 + 2)) < Decimal("1e-6")
    assert sum(Decimal(row["x_UnpricedQuantity"] or 0) for row in rows) == 1
    assert sum(Decimal(row["x_EstimatedCost"]) for row in rows) == Decimal("0.7")


def test_tokens_are_those_that_the_servers_counted(folder: Path, rows: list[Row]) -> None:
    """By kind, as `report chargeback` tells them."""
    report = json.loads(
        run("report", "chargeback", f"--config.file={folder / 'ice.yaml'}", f"--month={MONTH}", "--json")
    )
    tokens: Counter[str] = Counter()
    for row in rows:
        if row["ConsumedUnit"] == "Tokens":
            tokens[f"{row['x_TokenKind']}_tokens"] += int(Decimal(row["ConsumedQuantity"]))

    assert sum(tokens.values()) > 0
    assert dict(tokens) == {name: report["total"][name] for name in tokens}
