"""A reconciliation as people and machines get it."""

import json
import shlex
from pathlib import Path

import pytest

from exporter.finance.bill.bill_file import Reading
from exporter.finance.bill.differences import KINDS
from exporter.finance.bill.host_bill import read_invoice
from exporter.finance.bill.host_comparison import Reconciliation, reconcile
from exporter.finance.bill.host_sheet import WORDS, as_json, as_text
from tests.finance.bill.bills import HEADER, INVOICES, UTC, bill, ledger_month, sums, usage
from tests.kit.units import CENT, DAY, DOLLAR, HOUR

P5 = "i-0a1b2c3d4e5f67890"

SHEET = """\
2026-10 by day of UTC, ledger 11111111-2222-4333-8444-555555555555, as of 2026-11-02T00:00:00Z
invoice bills/aws.csv: FOCUS, BilledCost, 5 of 9 rows
compared with: rent

day             bill     books  difference  not metered  uncovered  price  other usage  refunds
----------  --------  --------  ----------  -----------  ---------  -----  -----------  -------
2026-10-01  1,265.92  1,293.44      -27.52         0.00      27.52   0.00         0.00   -55.04
2026-10-02  1,320.96  1,300.80       20.16         0.00       0.00  20.16         0.00     0.00
2026-10-03    688.12      0.00      688.12       688.00       0.00   0.00         0.12     0.00
----------  --------  --------  ----------  -----------  ---------  -----  -----------  -------
total       3,275.00  2,594.24      680.76       688.00      27.52  20.16         0.12   -55.04

bill minus books is 680.76 dollars:
  688.00  days without books: the host was not metered: 12.50 h at 55.0400 an hour
   27.52  billed before the first tick of a boot, or while nothing metered: 0.50 h at 55.0400 an hour
   20.16  another price than configured: 55.0400 billed and 54.2000 in the books an hour, over 24.00 h
    0.12  usage that is not charged by the hour
  -55.04  refunds and corrections of earlier bills

in the books and not on this bill: energy 5.00 dollars.
4 rows (94.30 dollars) of other resources: not compared.
of them, 3 rows (92.00 dollars) name no resource, as taxes, purchases and credits often do: a part may be \
this host's.

resources of the bill, * those compared:
  *     3,275.00  i-0a1b2c3d4e5f67890 (Amazon Elastic Compute Cloud)
           92.00  (no resource) (Amazon Elastic Compute Cloud)
            2.30  i-0ffffffffffffffff (Amazon Elastic Compute Cloud)

if the bill is right, this makes the books agree with it:
  inference-cost-exporter adjust --amount=680.76 --date=2026-10-03 --product=chat --team=assistants \
--reason='invoice aws.csv: 3,275.00 billed, 2,594.24 in the books'
"""


def example() -> Reconciliation:
    """Half an hour that is missing, a price of 54.20 where 55.04 is billed, and a day without books."""
    history = {
        20261001: sums(23 * HOUR + HOUR // 2, 129_344 * CENT, energy=5 * DOLLAR),
        20261002: sums(DAY, 130_080 * CENT),
    }
    return reconcile(read_invoice(INVOICES / "aws.csv", Reading(UTC, resources=(P5,))), ledger_month(history))


def test_for_people() -> None:
    """The whole page, to the letter."""
    assert as_text(example(), "bills/aws.csv") == SHEET


def test_for_machines() -> None:
    """Exact amounts; parts sum to differences, and rows to the total."""
    document = json.loads(as_json(example(), "bills/aws.csv"))

    assert [row["difference"]["picodollars"] for row in document["rows"]] == [
        -27_520_000_000_000,
        20_160_000_000_000,
        688_120_000_000_000,
    ]
    for row in (*document["rows"], document["total"]):
        assert row["difference"]["picodollars"] == sum(part["picodollars"] for part in row["parts"])
    assert document["rows"][1] == {
        "name": "2026-10-02",
        "bill": {"dollars": 1320.96, "picodollars": 1_320_960_000_000_000},
        "books": {"dollars": 1300.8, "picodollars": 1_300_800_000_000_000},
        "adjusted": {"dollars": 0.0, "picodollars": 0},
        "difference": {"dollars": 20.16, "picodollars": 20_160_000_000_000},
        "billed_hours": 24.0,
        "parts": [
            {
                "kind": "price",
                "words": "another price than configured",
                "dollars": 20.16,
                "picodollars": 20_160_000_000_000,
                "seconds": 86_400.0,
            }
        ],
    }
    assert document["invoice"]["resources"][0] == {
        "resource": P5,
        "name": "",
        "service": "Amazon Elastic Compute Cloud",
        "compared": True,
        "rows": 5,
        "dollars": 3275.0,
        "picodollars": 3_275_000_000_000_000,
    }
    assert document["not_on_this_bill"] == {"energy": {"dollars": 5.0, "picodollars": 5 * DOLLAR}}
    assert [(each["date"], each["picodollars"]) for each in document["suggestions"]] == [
        ("2026-10-03", 680_760_000_000_000)
    ]
    heads = {
        key: document[key]
        for key in ("report", "month", "to_date", "calendar", "timezone", "by", "components")
    }
    assert heads == {
        "report": "reconcile",
        "month": "2026-10",
        "to_date": False,
        "calendar": "local",
        "timezone": "UTC",
        "by": "day",
        "components": ["rent"],
    }


def test_every_part_has_words() -> None:
    """A kind without a sentence would end in an error."""
    assert set(KINDS) == set(WORDS)


def test_agreement_is_short(tmp_path: Path) -> None:
    """Nothing to explain and nothing to enter."""
    invoice = bill(f"{HEADER}\n{usage('01', '48', '24')}", tmp_path)
    output = as_text(reconcile(invoice, ledger_month({20261001: sums(DAY, 48 * DOLLAR)})), "bill.csv")
    assert output.endswith("\n\nbill minus books is 0.00 dollars.\n")


def test_what_a_bill_says_cannot_move_the_cursor(tmp_path: Path) -> None:
    """Names of files and resources are printable, and a command can be copied as it is."""
    text = HEADER + "\n" + usage("01", "48", "24", "\x1b[2Ji-1") + usage("01", "1", "0", "i-2")
    reconciliation = reconcile(bill(text, tmp_path), ledger_month({20261001: sums(DAY, 47 * DOLLAR)}))
    page = as_text(reconciliation, "bills/it's; rm -rf \x1b[2J.csv")
    assert all(character.isprintable() or character == "\n" for character in page)
    assert "?[2Ji-1" in page
    words = shlex.split(page.splitlines()[-1])
    assert words[1:4] == ["adjust", "--amount=2.00", "--date=2026-10-01"]
    assert words[-1] == "--reason=invoice it's; rm -rf ?[2J.csv: 49.00 billed, 47.00 in the books"


@pytest.mark.parametrize(("resources", "last"), [(13, "  and 3 more"), (10, "  *        91.00  i-09")])
def test_more_resources_than_are_listed(tmp_path: Path, resources: int, last: str) -> None:
    """The ten dearest, and how many more."""
    rows = "".join(usage("01", str(100 - number), "1", f"i-{number:02d}") for number in range(resources))
    page = as_text(reconcile(bill(f"{HEADER}\n{rows}", tmp_path), ledger_month({})), "bill.csv")
    listed = page.partition("resources of the bill, * those compared:\n")[2].partition("\n\n")[0].splitlines()
    assert len(listed) == min(resources, 11)
    assert listed[0] == "  *       100.00  i-00"
    assert listed[-1] == last


def test_a_month_to_date_by_utc_is_said(tmp_path: Path) -> None:
    """In the first line."""
    invoice = bill(f"{HEADER}\n{usage('01', '48', '24')}", tmp_path)
    ledger = ledger_month({20261001: sums(DAY, 48 * DOLLAR)}, now=1_790_812_800 * 10**9 + DAY)
    assert as_text(reconcile(invoice, ledger), "bill.csv").startswith(
        "2026-10 to date by day of UTC, ledger "
    )


def test_rows_subtract_and_add_up_as_they_are_shown(tmp_path: Path) -> None:
    """Three days, each billed 0.004 dollars more than a whole cent and booked 0.004 less than one.

    Each column is rounded as a whole, and each row is arithmetic that a person can repeat.
    """
    lines = "".join(usage(day, f"{48 + at}.004", "24") for at, day in enumerate(("01", "02", "03")))
    third = 47 * DOLLAR + 996 * DOLLAR // 1000
    history = {20261001 + at: sums(DAY - at * HOUR, third + at * DOLLAR // 3) for at in range(3)}
    reconciliation = reconcile(bill(f"{HEADER}\n{lines}", tmp_path), ledger_month(history))
    page = as_text(reconciliation, "bill.csv")
    table = page.split("\n\n")[1].splitlines()
    rows = [
        [round(float(cell.replace(",", "")) * 100) for cell in line.split()[1:]]
        for line in table
        if line.startswith(("2026", "total"))
    ]

    assert len(rows) == 4
    for billed, booked, difference, *parts in rows:
        assert billed - booked == difference == sum(parts)
    assert [sum(column) for column in zip(*rows[:-1], strict=True)] == rows[-1]
    # 48.004 + 49.004 + 50.004 = 147.012, and 3 x 47.996 + 1 = 144.988.
    assert rows[-1][:3] == [14_701, 14_499, 202]
    assert f"bill minus books is {rows[-1][2] / 100:.2f} dollars:" in page
    suggested = sum(round(each.amount / CENT) for each in reconciliation.suggestions)
    assert suggested == rows[-1][2]
