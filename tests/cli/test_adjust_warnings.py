"""What `adjust` says of the month that it corrects, and what it warns of."""

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.cli.adjust import AdjustFlags, adjust
from exporter.cost.postings import CostOwner, MoneyPosting, OwnerPhase, Postings, Segment
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.readings import Gpu
from tests.cli.test_adjust import NOW
from tests.kit.clock import clock_at
from tests.kit.units import DAY, DOLLAR, NOVEMBER, SECOND

CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
UNDO = "if that is not meant, enter {} with another reason"
Enter = Callable[..., tuple[str, list[str]]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger that metered 3 and 5 November: 40 dollars of chat, 60 of search; no daemon has it."""
    path = tmp_path / "ledger.db"
    ledger = Ledger.open(path, clock_at(NOW))
    accrued = 0
    for day, owner, dollars in ((2, CHAT, 40), (4, CHAT._replace(product="search", team="retrieval"), 60)):
        start, amount = NOVEMBER + day * DAY, dollars * DOLLAR
        accrued += amount
        rent = (
            MoneyPosting(Gpu("GPU-0", "H100"), "rent", "configured", OwnerPhase(owner, "decode"), amount),
        )
        name = f"2026-11-{day + 1:02d}"
        segment = Segment(start, start + 10 * SECOND, "2026-11", name, amount, rent, ())
        ledger.post(Postings(start + 10 * SECOND, (segment,), day=name), State(accrued=accrued))
    ledger.close()
    return path


@pytest.fixture
def enter(path: Path, capsys: pytest.CaptureFixture[str]) -> Enter:
    """Enters an adjustment; its last line, and its warnings."""

    def run(amount: str, date: str = "2026-11-04", product: str = "chat") -> tuple[str, list[str]]:
        assert (
            adjust(AdjustFlags(None, path, amount, date, product, None, f"ticket {amount}"), clock_at(NOW))
            == 0
        )
        captured = capsys.readouterr()
        return captured.out.splitlines()[-1], captured.err.splitlines()

    return run


def test_the_month_after_it_and_after_what_waits(enter: Enter) -> None:
    """100 dollars less 12.345, then 5 more for search: halves of a cent are rounded up, what waits is in."""
    assert enter("-12.345") == (
        "With all that waits, 2026-11 then comes to 87.66 dollars, product chat to 27.66.",
        [],
    )
    assert enter("5", product="search") == (
        "With all that waits, 2026-11 then comes to 92.66 dollars, product search to 65.00.",
        [],
    )


def test_what_was_posted_counts_once(enter: Enter, path: Path) -> None:
    """The daemon has posted the first before the second is entered: it is in the month's cells then."""
    enter("-10")
    ledger = Ledger.open(path, clock_at(NOW))
    ledger.post(Postings(NOVEMBER + 5 * DAY), State(accrued=100 * DOLLAR))
    ledger.close()

    line, _ = enter("-1")
    assert line == "With all that waits, 2026-11 then comes to 89.00 dollars, product chat to 29.00."


def test_a_total_below_zero_is_warned_of_and_entered(enter: Enter, path: Path) -> None:
    """First the product, then the month of all products; at zero there is nothing to say."""
    assert enter("-40")[1] == []
    assert enter("-0.01")[1] == [f"warning: 2026-11 is below zero for product chat: {UNDO.format('0.01')}"]
    assert enter("-75")[1] == [
        f"warning: 2026-11 is below zero for product chat and all products: {UNDO.format('75.00')}"
    ]
    with LedgerReader.open(path) as reader:
        assert len(reader.month("2026-11").adjustments) == 3


def test_a_day_before_the_ledger_metered_is_warned_of(enter: Enter) -> None:
    """It metered from 3 November on: the day before is another ledger's, or a slip; that day is none."""
    assert enter("1", "2026-11-03")[1] == []
    assert enter("1.50", "2026-11-02") == (
        "With all that waits, 2026-11 then comes to 102.50 dollars, product chat to 42.50.",
        [
            (
                "warning: 2026-11-02 is before 2026-11-03, the first day that this ledger metered: "
                f"{UNDO.format('-1.50')}"
            ),
        ],
    )


def test_a_ledger_that_keeps_no_history_knows_no_first_day(tmp_path: Path, path: Path, enter: Enter) -> None:
    """Nothing is said of what is not known."""
    empty = Ledger.open(tmp_path / "empty.db", clock_at(NOW))
    empty.close()
    path.write_bytes((tmp_path / "empty.db").read_bytes())

    line, warnings = enter("1", "2026-10-02", "unassigned")
    assert line == "With all that waits, 2026-10 then comes to 1.00 dollars, product unassigned to 1.00."
    assert warnings == []
