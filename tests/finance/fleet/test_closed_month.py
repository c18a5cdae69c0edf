"""The statement of a closed month: whole in its file, proof against edits; and what changed since."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.finance.fleet.closed_month import (
    ClosedMonth,
    ClosedMonthChange,
    ClosedMonthError,
    changes,
    document,
    is_statement,
    read_closed_month,
)
from exporter.finance.fleet.record import HostMonth, HostName, combine
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import GpuOwner, HistorySums, MonthRecord
from exporter.readings import Gpu
from exporter.report import MonthKey, ServerOwner
from tests.kit.units import NOVEMBER

DOLLAR, HOUR = 10**12, 3600 * 10**9
CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", 'llama "8b"')
RANKING = CostOwner("search", "ranking", "", "rank", "bge")
GPU_0 = Gpu("GPU-0", "H100")
CELL = MonthKey("chat", "assistants", "configured", "2026-10")
ESTIMATE = MonthKey("chat", "assistants", "estimate", "2026-10")
OTHER = MonthKey("search", "ranking", "configured", "2026-10")
REFUND = Adjustment(
    3, "2026-10-31", "chat", "assistants", -12 * DOLLAR, "invoice 4711", 1, NOVEMBER, "manual"
)


def host(ledger: str = "l1", cells: dict[MonthKey, int] | None = None, **more: Any) -> HostMonth:
    """A host with a row in every family of sums; `waits` are hours without a price."""
    waits = more.pop("waits", 0)
    server = ServerOwner(*CHAT[:4])
    sums = HistorySums(
        cost={OwnerPhase(CHAT, "decode"): 90 * DOLLAR},
        held={OwnerPhase(CHAT, "decode"): 40 * HOUR},
        server_cost={(server, "rent", "configured"): 60 * DOLLAR, (server, "rent", "estimate"): 30 * DOLLAR},
        gpu_cost={(GPU_0, "rent"): 90 * DOLLAR},
        gpu_held={GPU_0: 41 * HOUR},
        tokens=more.pop("tokens", {(CHAT, "generation"): 123_456}),
        unpriced={(GPU_0, CHAT): 5 * HOUR},
        covered={(): 700 * HOUR},
        settled={(GPU_0, CHAT): (5 - waits) * HOUR},
        gpu_down={GPU_0: HOUR},
        gpu_unowed={GPU_0: HOUR},
        owner_held={GpuOwner(GPU_0, "chat", "assistants"): 40 * HOUR},
        owner_down={GpuOwner(GPU_0, "chat", "assistants"): HOUR},
    )
    record = MonthRecord(
        ledger=ledger,
        last_commit=NOVEMBER + HOUR,
        month="2026-10",
        months=("2026-10",),
        cells={CELL: 60 * DOLLAR, ESTIMATE: 30 * DOLLAR} if cells is None else cells,
        sums=sums,
        adjustments=more.pop("adjustments", ()),
    )
    names = (HostName("east", f"{ledger}:9844", f"node-{ledger}"),)
    return HostMonth(
        record, "ledger", f"/srv/{ledger}.db", "UTC", names, first=0, last=NOVEMBER + HOUR, commits=7, **more
    )


def closed(*hosts: HostMonth) -> ClosedMonth:
    return ClosedMonth("2026-10", ZoneInfo("UTC"), NOVEMBER + 2 * HOUR, "0.1.0", hosts, ("l9 is silent",))


def since(before: ClosedMonth, *hosts: HostMonth) -> tuple[ClosedMonthChange, ...]:
    return changes(before, combine(hosts, NOVEMBER + 3 * HOUR))


def test_a_statement_has_the_month_whole(tmp_path: Path) -> None:
    """What is read of the file is what was written, to the picodollar, but for where it came from."""
    month = closed(host(adjustments=(replace(REFUND, ledger="l1"),)), host("l2", {OTHER: 7}))
    file = tmp_path / "2026-10.json"
    file.write_text(document(month))

    read = read_closed_month(file)

    assert is_statement(file.read_bytes()[:200])
    assert read.total == month.total == 90 * DOLLAR + 7
    assert read == replace(
        month,
        hosts=tuple(
            replace(each, origin="statement", location=str(file), short_name=each.name)
            for each in month.hosts
        ),
        digest=read.digest,
    )
    assert json.loads(file.read_text())["sha256"] == read.digest
    assert document(month) == document(month)


def edited(file: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["hosts"][0]["cells"][0].__setitem__(3, 1), "was edited: its content has another hash"),
        (lambda c: c.__setitem__("total_picodollars", 1), "was edited"),
        (lambda c: c.pop("sha256"), "was edited"),
        (lambda c: c.__setitem__("schema", "inference-cost-exporter/statement/2"), "of a newer release"),
        (lambda c: c.__setitem__("schema", "else/1"), "is no statement: `report month --close"),
    ],
)
def test_an_edited_statement_is_refused(
    tmp_path: Path, change: Callable[[Any], object], message: str
) -> None:
    """And so is one of a newer release, each with what to do."""
    file = tmp_path / "2026-10.json"
    file.write_text(document(closed(host())))
    edited(file, change)

    with pytest.raises(ClosedMonthError, match=message) as raised:
        read_closed_month(file)
    assert str(file) in str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["hosts"][0].__setitem__("timezone", "Mars/Olympus"), 'the time zone "Mars/Olympus"'),
        (lambda c: c.__setitem__("timezone", "Mars/Olympus"), 'the time zone "Mars/Olympus"'),
        (lambda c: c.__setitem__("month", "1970-01"), "1970-01: years are from 1971 to 9998"),
        (lambda c: c.__setitem__("month", "2026-Q3"), "2026-Q3 is no month"),
        (lambda c: c["hosts"].append(c["hosts"][0]), "ledger l1 is in it twice"),
        (lambda c: c.__setitem__("total_picodollars", 1), "its hosts do not sum to its total"),
        (lambda c: c["hosts"][0]["cells"][0].__setitem__(0, 5), "5 is no text"),
        (lambda c: c["hosts"][0]["cells"][0].__setitem__(1, None), "None is no text"),
        (lambda c: c["hosts"][0]["sums"]["tokens"][0].__setitem__(0, 7), "7 is no text"),
        (lambda c: c["hosts"][0]["sums"]["cost"][0].__setitem__(5, [3]), r"\[3\] is no text"),
        (lambda c: c.__setitem__("closed_nanoseconds", 10**40), "is no instant"),
        (lambda c: c["hosts"][0].__setitem__("last_commit", -1), "-1 is no instant"),
        (lambda c: c["hosts"][0]["adjustments"][0].__setitem__("posted", 2**63), "is no instant"),
        (lambda c: c["hosts"][0]["adjustments"][0].__setitem__("date", "2026-10-32"), "day is out of range"),
        (lambda c: c["hosts"][0]["adjustments"][0].__setitem__("date", "2026-11-01"), "is not of 2026-10"),
    ],
)
def test_a_statement_that_cannot_be_read_here_is_refused(
    tmp_path: Path, change: Callable[[Any], object], message: str
) -> None:
    """Though its hash is right: another program wrote it, or a machine that knows more time zones."""
    file = tmp_path / "2026-10.json"
    content = json.loads(document(closed(host(adjustments=(REFUND,)))))
    del content["sha256"]
    change(content)
    hashed = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    content["sha256"] = hashlib.sha256(hashed.encode()).hexdigest()
    file.write_text(json.dumps(content))

    with pytest.raises(ClosedMonthError, match=message) as raised:
        read_closed_month(file)
    assert str(file) in str(raised.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1}', "no json", "[" * 100_000])
def test_another_file_is_no_statement(tmp_path: Path, text: str) -> None:
    """Nor is one that is not there."""
    file = tmp_path / "2026-10.json"
    file.write_text(text)

    with pytest.raises(ClosedMonthError, match="is no statement"):
        read_closed_month(file)
    with pytest.raises(ClosedMonthError, match="cannot be read: No such file"):
        read_closed_month(tmp_path / "other.json")


def test_a_layout_of_another_program_is_no_edit(tmp_path: Path) -> None:
    """A formatter may have been over the file: the hash is of the content."""
    file = tmp_path / "2026-10.json"
    file.write_text(document(closed(host())))
    edited(file, lambda _content: None)

    assert read_closed_month(file).total == 90 * DOLLAR


def test_a_month_that_did_not_change_has_no_change() -> None:
    """Nothing is named."""
    assert since(closed(host(), host("l2")), host("l2"), host()) == ()


def test_a_late_price_and_an_adjustment_are_named_and_nothing_else() -> None:
    """Two of the waiting hours were charged with 14 dollars, and a refund of 12 was posted."""
    before = closed(host(waits=2), host("l2"))
    cells = {CELL: (60 + 14 - 12) * DOLLAR, ESTIMATE: 30 * DOLLAR}

    assert since(before, host(cells=cells, adjustments=(REFUND,)), host("l2")) == (
        ClosedMonthChange(
            "adjustment", "l1", "node-l1", "chat", "assistants", -12 * DOLLAR, number=3, text="invoice 4711"
        ),
        ClosedMonthChange(
            *("late price", "l1", "node-l1", "chat", "assistants", 14 * DOLLAR), duration=2 * HOUR, tokens={}
        ),
    )


def test_other_money_of_the_month_is_posted_since() -> None:
    """Downtime that was charged when the host came back; by owner."""
    noted = since(closed(host()), host(cells={CELL: 61 * DOLLAR, ESTIMATE: 30 * DOLLAR, OTHER: 5}))

    assert [(each.kind, each.product, each.amount) for each in noted] == [
        ("posted", "chat", DOLLAR),
        ("posted", "search", 5),
    ]


def test_a_late_price_is_that_of_its_owner() -> None:
    """Chat's two hours got a price; search has money of downtime, and no hours of a late price."""
    noted = since(
        closed(host(waits=2)), host(cells={CELL: 74 * DOLLAR, ESTIMATE: 30 * DOLLAR, OTHER: 5 * DOLLAR})
    )

    assert [(each.kind, each.product, each.amount, each.duration) for each in noted] == [
        ("late price", "chat", 14 * DOLLAR, 2 * HOUR),
        ("posted", "search", 5 * DOLLAR, 0),
    ]


def test_tokens_that_came_since_are_named_with_the_money_of_their_owner() -> None:
    """A gap over the month's end: chat has a dollar and 44 tokens more, search tokens of unpriced time."""
    tokens = {(CHAT, "generation"): 123_500, (CHAT, "prompt"): 7, (RANKING, "prompt"): 3}
    after = host(cells={CELL: 61 * DOLLAR, ESTIMATE: 30 * DOLLAR}, tokens=tokens)

    assert since(closed(host()), after) == (
        ClosedMonthChange(
            *("posted", "l1", "node-l1", "chat", "assistants", DOLLAR), tokens={"prompt": 7, "generation": 44}
        ),
        ClosedMonthChange(*("posted", "l1", "node-l1", "search", "ranking", 0), tokens={"prompt": 3}),
    )


def test_tokens_of_a_new_ledger_are_named_with_its_money() -> None:
    """Those of an owner without money too."""
    other = host("l3", {OTHER: 9}, tokens={(RANKING, "prompt"): 3, (CHAT, "generation"): 5})
    noted = since(closed(host()), host(), other)

    assert [(each.kind, each.product, each.amount, each.tokens) for each in noted] == [
        ("new ledger", "chat", 0, {"generation": 5}),
        ("new ledger", "search", 9, {"prompt": 3}),
    ]


def test_tokens_that_are_apportioned_are_no_change() -> None:
    """Prometheus has them from counters, to a few of a scrape: what it lacks is not known to have come."""
    tokens = {(CHAT, "generation"): 123_000}
    cells = {CELL: 61 * DOLLAR, ESTIMATE: 30 * DOLLAR}
    for before, after in (
        (host(tokens=tokens, apportioned=True), host(cells=cells)),
        (host(), host(tokens=tokens, cells=cells, apportioned=True)),
    ):
        (change,) = since(closed(before), after)
        assert (change.kind, change.amount, change.tokens) == ("posted", DOLLAR, None)


def from_prometheus(cells: dict[MonthKey, int]) -> HostMonth:
    """What a Prometheus has of a ledger: no finer sums, and rounded floats."""
    whole = host(cells=cells)
    return replace(whole, origin="prometheus", record=replace(whole.record, sums=None))


def test_rounding_of_prometheus_is_no_change() -> None:
    """Nor is it a late price that its sums do not know; a dollar is a change."""
    before = closed(host(waits=2, cells={CELL: 60 * DOLLAR + 1, OTHER: 7 * DOLLAR}))

    assert since(before, from_prometheus({CELL: 60 * DOLLAR, OTHER: 7 * DOLLAR + 2})) == ()
    noted = since(before, from_prometheus({CELL: 61 * DOLLAR + 1, OTHER: 7 * DOLLAR - 3}))
    assert [(each.kind, each.product, each.amount, each.duration) for each in noted] == [
        ("posted", "chat", DOLLAR, 0)
    ]


def test_a_ledger_that_comes_after_prometheus_is_no_change() -> None:
    """Rounding and an adjustment of before were in the statement already; what was posted since was not."""
    before = closed(host(cells={CELL: 60 * DOLLAR + 1, OTHER: 7 * DOLLAR}, apportioned=True))
    cells = {CELL: 60 * DOLLAR, OTHER: 7 * DOLLAR + 2}
    late = replace(REFUND, number=4, posted=NOVEMBER + 2 * HOUR, amount=-5 * DOLLAR)

    assert since(before, host(cells=cells, adjustments=(REFUND,))) == ()
    noted = since(before, host(cells={**cells, CELL: 55 * DOLLAR}, adjustments=(REFUND, late)))
    assert [(each.kind, each.number, each.amount) for each in noted] == [("adjustment", 4, -5 * DOLLAR)]


def test_an_adjustment_that_waited_is_a_change_once_it_is_posted() -> None:
    """It was in no sum when the month was closed."""
    before = closed(host(adjustments=(replace(REFUND, posted=None),)))
    after = host(cells={CELL: 48 * DOLLAR, ESTIMATE: 30 * DOLLAR}, adjustments=(REFUND,))

    assert [(each.kind, each.amount) for each in since(before, after)] == [("adjustment", -12 * DOLLAR)]


def test_ledgers_that_came_and_went_are_named() -> None:
    """A ledger that is not read now is no change of money: its statement stands."""
    noted = since(closed(host(), host("l2")), host(), host("l3", {OTHER: 9}, tokens={}))

    assert [(each.kind, each.ledger, each.amount) for each in noted] == [
        ("missing ledger", "l2", 0),
        ("new ledger", "l3", 9),
    ]


def test_a_host_that_only_prometheus_knew_stays_metered(tmp_path: Path) -> None:
    """Its hours with samples are in the statement: it is not reported as unmetered when that is read."""
    known = host(cells={CELL: 7}, covered=744 * HOUR)
    month = closed(replace(known, origin="prometheus", record=replace(known.record, sums=None)))
    file = tmp_path / "2026-10.json"
    file.write_text(document(month))

    fleet = combine(read_closed_month(file).hosts, NOVEMBER + 3 * HOUR)

    assert fleet.hosts[0].covered == 744 * HOUR
    assert [finding.kind for finding in fleet.findings if finding.kind == "unmetered"] == []
