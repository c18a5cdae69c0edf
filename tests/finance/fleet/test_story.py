"""Two months of a fleet: all reports of them agree with each other and with the plan, to the picodollar.

The fleet grows. Spot nodes die, a cluster is lost, a ledger is replaced, a server gets another product.
A price comes late, adjustments correct both months, and the folder has an early copy of a ledger.
"""

import contextlib
import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from exporter.cli import main
from exporter.finance.facts import ADJUSTED
from exporter.finance.fleet.closed_month import read_closed_month
from exporter.ledger.adjustments import COMPONENT
from tests.finance.fleet.story_fleet import (
    CORRECTIONS,
    CREDIT,
    END,
    HOSTS,
    MONTHS,
    OCTOBER,
    PLAN,
    SEPTEMBER,
    Correction,
    Key,
    KeyOf,
    StoryHost,
    corrections,
    instant,
    picodollars,
    reckoned,
)
from tests.kit.clock import clock_at
from tests.nightly import daily

Sums = dict[Key, int]

BYS: Mapping[str, tuple[KeyOf, tuple[str, ...], Callable[[Any], Key]]] = {
    "product": (lambda usage, *_: (usage.owner.product,), ("product",), lambda each: (each.product,)),
    "team": (lambda usage, *_: (usage.owner.team,), ("team",), lambda each: (each.team,)),
    "server": (
        lambda usage, *_: (usage.owner.namespace, usage.owner.server),
        ("namespace", "server"),
        lambda _: (ADJUSTED, ""),
    ),
    "model": (lambda usage, *_: (usage.owner.model,), ("model",), lambda _: (ADJUSTED,)),
    "component": (lambda _, component, *__: (component,), ("component",), lambda _: (COMPONENT,)),
    "gpu": (lambda usage, *_: (usage.gpu, "H100"), ("uuid", "gpu_model"), lambda _: (ADJUSTED, "")),
}
"""How a report is grouped: the plan's key, the columns of a row, and the key of a correction."""


@dataclass
class Story:
    """Folders of the story, and the answers of the program."""

    root: Path
    now: int = 0
    september: dict[str, Any] = field(default_factory=dict)
    """What changed in September since it was closed."""
    october: dict[str, Any] = field(default_factory=dict)
    """The same of October."""

    @property
    def fleet(self) -> Path:
        """The folder of ledgers."""
        return self.root / "fleet"

    def statement(self, month: str) -> Path:
        """The file of a closed month."""
        return self.root / f"{month}.json"

    def output(self, *words: str) -> str:
        """What a verb prints."""
        printed, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
            status = main(list(words))
        assert status == 0, errors.getvalue()
        return printed.getvalue()

    def month(self, month: str, *words: str, report: str = "month", source: Path | None = None) -> Any:
        """A report of the fleet as JSON."""
        return json.loads(
            self.output(
                "report", report, f"--month={month}", f"--from={source or self.fleet}", "--json", *words
            )
        )

    def close(self, month: str) -> None:
        """Close a month of the fleet."""
        words = (f"--month={month}", f"--from={self.fleet}", "--close", f"--output={self.statement(month)}")
        self.output("report", "month", *words)

    def changes(self, month: str) -> Any:
        """What changed since."""
        words = (f"--from={self.fleet}", f"--against={self.statement(month)}", "--json")
        return json.loads(self.output("report", "month", *words))

    def why(self, *words: str, source: Path | None = None) -> Any:
        """October against September."""
        months = ("--why", f"--month={MONTHS[1]}", f"--against={MONTHS[0]}")
        return json.loads(self.output("explain", *months, f"--from={source or self.fleet}", "--json", *words))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """All of it: September is closed on 2 October, then the rest of October passes, and is corrected."""
    with pytest.MonkeyPatch.context() as patch:
        story = Story(tmp_path_factory.mktemp("story"))
        for module in ("report", "explain"):
            patch.setattr(f"exporter.cli.{module}.SystemClock", lambda: clock_at(story.now))
        begun = {usage.host for usage in PLAN if usage.first < date(2026, 10, 2)}
        hosts = {name: StoryHost(story.fleet, name) for name in HOSTS if name in begun}
        for host in hosts.values():
            host.live(SEPTEMBER, date(2026, 10, 2))
        story.now = instant(date(2026, 10, 2))
        story.close(MONTHS[0])
        for host in hosts.values():
            host.live(date(2026, 10, 2), date(2026, 10, 10))
        hosts["gpu-2"].copy(story.fleet / "copies" / "gpu-2.db")
        hosts |= {name: StoryHost(story.fleet, name) for name in HOSTS if name not in begun}
        for name, host in hosts.items():
            host.live(date(2026, 10, 10) if name in begun else OCTOBER, END)
        for each in CORRECTIONS:
            hosts[each.host].correct(each)
        for host in hosts.values():
            host.close()
        story.now = instant(date(2026, 11, 2))
        story.september = story.changes(MONTHS[0])
        yield story


def total(month: str, *, late: bool = True) -> int:
    """The whole month by the plan."""
    dollars = sum(reckoned(month, lambda *_: (), late=late).values(), Fraction())
    return picodollars(dollars + (sum(each.amount for each in corrections(month)) if late else 0))


def expected(month: str, key: KeyOf, correction: Callable[[Any], Key], *later: Correction) -> Sums:
    """A month by the plan with its corrections."""
    sums: Counter[Key] = Counter({each: picodollars(amount) for each, amount in reckoned(month, key).items()})
    for each in corrections(month, *later):
        sums[correction(each)] += picodollars(each.amount)
    return dict(sums)


def rows(document: Any, *columns: str) -> Sums:
    """Money of a report's rows."""
    sums: Counter[Key] = Counter()
    for row in document["rows"]:
        sums[tuple(row[column] or "" for column in columns)] += row["picodollars"]
    return {key: amount for key, amount in sums.items() if amount}


@pytest.mark.parametrize("month", MONTHS)
@pytest.mark.parametrize("by", daily(BYS, {"product", "server"}))
def test_a_month_by_anything_is_the_plan(story: Story, month: str, by: str) -> None:
    """Each row and the total."""
    key, columns, correction = BYS[by]
    document = story.month(month, f"--by={by}")

    assert document["total"]["picodollars"] == total(month)
    assert rows(document, *columns) == expected(month, key, correction)


def test_what_is_missing_is_named(story: Story) -> None:
    """Dead nodes, the lost cluster, days without a price, a ledger with a successor, a copy, by month."""
    missing = {
        month: sorted((each["kind"], each["host"], each["hours"]) for each in story.month(month)["missing"])
        for month in MONTHS
    }

    assert missing[MONTHS[0]] == [
        ("copy", "copies/gpu-2", None),
        ("silent", "spot-1", 720.0 - 9 * 24 - 3),
        ("unpriced", "gpu-3", 24.0),
    ]
    assert missing[MONTHS[1]] == [
        ("copy", "copies/gpu-2", None),
        ("ended", "gpu-4-old", None),
        ("silent", "spot-2", 744.0 - 4 * 24 - 3),
        ("silent", "spot-3", 744.0 - 20 * 24 - 3),
        ("silent", "west/west-1", 20 * 24.0),
        ("silent", "west/west-2", 20 * 24.0),
        ("unpriced", "gpu-3", 48.0),
    ]


@pytest.mark.parametrize("month", MONTHS)
@pytest.mark.parametrize(
    "layout",
    [
        (),
        ("--by=day,product,team,namespace,server,model",),
        ("--idle=apart",),
        ("--idle=spread",),
        ("--by=model,team", "--idle=spread"),
    ],
)
def test_a_chargeback_in_every_layout_is_the_month(story: Story, month: str, layout: tuple[str, ...]) -> None:
    """Its rows sum to the total; where idle cost stays with its owner, to that of each owner."""
    document = story.month(month, *layout, report="chargeback")

    assert document["total"]["picodollars"] == total(month)
    assert sum(row["picodollars"] for row in document["rows"]) == total(month)
    if not any(word.startswith("--idle") for word in layout):
        assert rows(document, "product", "team") == by_owner(month)


def by_owner(month: str) -> Sums:
    """A month by product and team."""
    return expected(
        month,
        lambda usage, *_: (usage.owner.product, usage.owner.team),
        lambda each: (each.product, each.team),
    )


@pytest.mark.parametrize("month", MONTHS)
def test_idle_cost_is_that_of_idle_hours(story: Story, month: str) -> None:
    """Apart it is one row of the plan's idle hours; in rows of owners it is the same."""
    idle = sum(
        picodollars(amount)
        for (phase,), amount in reckoned(month, lambda _usage, _component, phase: (phase,)).items()
        if phase == "idle"
    )
    apart = story.month(month, "--idle=apart", report="chargeback")
    plain = story.month(month, report="chargeback")

    assert [row["picodollars"] for row in apart["rows"] if row["product"] == "(idle)"] == [idle]
    assert sum(row["idle_picodollars"] for row in plain["rows"]) == idle


@pytest.mark.parametrize("month", MONTHS)
def test_gpu_hours_and_tokens_are_those_of_the_plan(story: Story, month: str) -> None:
    """By product and team; time without a price has hours as well."""
    hours: Counter[Key] = Counter()
    tokens: Counter[Key] = Counter()
    for usage in PLAN:
        owner = usage.owner.product, usage.owner.team
        hours[owner] += usage.hours * usage.days_of(month)
        tokens[owner] += usage.tokens * usage.days_of(month)
    document = story.month(month, report="chargeback")
    read = {(row["product"], row["team"]): row for row in document["rows"]}

    assert {key: row["gpu_seconds"] for key, row in read.items()} == {
        key: 3600.0 * count for key, count in hours.items() if count
    }
    assert {key: row["generation_tokens"] for key, row in read.items()} == {key: tokens[key] for key in read}


@pytest.mark.parametrize("month", MONTHS)
def test_overheads_of_the_fleet_follow_gpu_hours(story: Story, month: str, tmp_path: Path) -> None:
    """Each part is within picodollars of the exact one, and all sum to the month's 27,000.01 dollars."""
    file = tmp_path / "fleet.yaml"
    file.write_text("overheads:\n  - {name: staff, dollars_per_month: 27000.01, per: fleet}\n")
    document = story.month(month, f"--config.file={file}", "--overheads=gpu-hours", report="chargeback")
    amount, seconds = picodollars(Fraction("27000.01")), sum(row["gpu_seconds"] for row in document["rows"])

    assert sum(row["overhead_picodollars"] for row in document["rows"]) == amount
    for row in document["rows"]:
        exact = amount * Fraction(row["gpu_seconds"]) / Fraction(seconds)
        assert abs(row["overhead_picodollars"] - exact) <= 4  # one for each owner in the row
    assert document["total"]["picodollars"] == total(month)
    assert document["total"]["picodollars_with_overheads"] == total(month) + amount


@pytest.mark.parametrize("month", MONTHS)
def test_focus_rows_of_each_ledger_are_the_month(story: Story, month: str) -> None:
    """By owner over all ledgers, and by ledger as the report of the fleet has its hosts."""
    owners: Counter[Key] = Counter()
    ledgers: Counter[str] = Counter()
    document = story.month(month)
    for host in document["hosts"]:
        text = story.output("report", "focus", f"--month={month}", f"--ledger.path={host['location']}")
        for row in csv.DictReader(io.StringIO(text)):
            amount = picodollars(Fraction(row["BilledCost"]))
            owners[row["x_Product"], row["x_Team"]] += amount
            ledgers[row["x_LedgerId"]] += amount

    assert {key: amount for key, amount in owners.items() if amount} == by_owner(month)
    assert dict(ledgers) == {host["ledger"]: host["picodollars"] for host in document["hosts"]}


def test_the_statement_of_september_has_what_was_known(story: Story) -> None:
    """Without the price that came late, and without corrections."""
    closed = read_closed_month(story.statement(MONTHS[0]))

    assert closed.total == total(MONTHS[0], late=False)
    assert {host.name: host.total for host in closed.hosts} == {
        name: picodollars(dollars)
        for (name,), dollars in reckoned(MONTHS[0], lambda usage, *_: (usage.host,), late=False).items()
    }


def test_what_changed_in_september_is_named_and_nothing_else(story: Story) -> None:
    """A day of 24 hours at 4.100000000007 dollars, and two adjustments."""
    changed = sorted(
        (each["kind"], each["host"], each["picodollars"], each["gpu_seconds"])
        for each in story.september["changes"]
    )

    assert changed == [
        ("adjustment", "gpu-1", 10_000_000_000, None),
        ("adjustment", "gpu-2", -12_340_000_000_000, None),
        ("late price", "gpu-3", 24 * 4_100_000_000_007, 86_400.0),
    ]
    assert story.september["changed_picodollars"] == total(MONTHS[0]) - total(MONTHS[0], late=False)
    assert story.september["read_picodollars"] == total(MONTHS[0])


def test_why_is_the_difference_of_the_months(story: Story) -> None:
    """Effects sum to it; corrections and overheads of hosts are those of the plan, and all is itemized."""
    document = story.why()
    effects = {each["effect"]: each["picodollars"] for each in document["effects"]}
    staff = [reckoned(month, lambda _usage, component, _phase: (component,))["staff",] for month in MONTHS]
    corrected = [sum(each.amount for each in corrections(month)) for month in MONTHS]

    assert document["before_picodollars"] == total(MONTHS[0])
    assert document["after_picodollars"] == total(MONTHS[1])
    assert sum(effects.values()) == document["difference_picodollars"] == total(MONTHS[1]) - total(MONTHS[0])
    assert effects["overheads"] == picodollars(staff[1] - staff[0])
    assert effects["corrections"] == picodollars(Fraction(corrected[1] - corrected[0]))
    assert (effects["not itemized"], effects["fleet overheads"]) == (0, 0)
    assert sum(each["picodollars"] for each in document["servers"]) == (
        document["difference_picodollars"] - effects["corrections"]
    )


def test_why_of_each_product_and_server_is_that_of_the_months(story: Story) -> None:
    """The relabel of a server moves its money between products, and not between servers."""
    products = [expected(month, *BYS["product"][::2]) for month in MONTHS]
    servers = [expected(month, *BYS["server"][::2]) for month in MONTHS]
    for (product,) in products[0].keys() | products[1].keys():
        document = story.why(f"--product={product}")
        assert [document["before_picodollars"], document["after_picodollars"]] == [
            each.get((product,), 0) for each in products
        ]
        assert sum(each["picodollars"] for each in document["effects"]) == document["difference_picodollars"]
    for namespace, server in (servers[0].keys() | servers[1].keys()) - {(ADJUSTED, "")}:
        document = story.why(f"{namespace}/{server}" if namespace else server)
        assert [document["before_picodollars"], document["after_picodollars"]] == [
            each.get((namespace, server), 0) for each in servers
        ]
        assert sum(each["picodollars"] for each in document["effects"]) == document["difference_picodollars"]


def test_statements_stand_for_a_lost_cluster(story: Story, tmp_path: Path) -> None:
    """October is closed and corrected once more; the ledgers of the west and the replaced one are lost.

    Both months and the explanation come to the same, with the credit.
    """
    after = Story(tmp_path, story.now)
    for file in story.fleet.rglob("*.db"):
        copied = after.fleet / file.relative_to(story.fleet)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(file.read_bytes())
    after.close(MONTHS[1])
    assert read_closed_month(after.statement(MONTHS[1])).total == total(MONTHS[1])
    assert after.changes(MONTHS[1])["changes"] == []
    host = StoryHost(after.fleet, CREDIT.host)
    host.posted = sum(
        picodollars(amount)
        for month in MONTHS
        for (name,), amount in reckoned(month, lambda usage, *_: (usage.host,)).items()
        if name == CREDIT.host
    )
    host.correct(CREDIT)
    host.close()
    (change,) = after.changes(MONTHS[1])["changes"]
    assert (change["kind"], change["host"], change["picodollars"]) == (
        "adjustment",
        "gpu-2",
        -3_210_000_000_000,
    )
    whole = after.why()

    for name in ("west/west-1", "west/west-2", "gpu-4-old"):
        (after.fleet / f"{name}.db").unlink()
    for month, source in zip(MONTHS, (story, after), strict=True):
        (after.fleet / f"{month}.json").write_bytes(source.statement(month).read_bytes())
    credit = picodollars(CREDIT.amount)
    months = [after.month(month) for month in MONTHS]
    assert [each["total"]["picodollars"] for each in months] == [total(MONTHS[0]), total(MONTHS[1]) + credit]
    assert sorted(host["host"] for host in months[1]["hosts"] if host["origin"] == "statement") == [
        "gpu-4-old",
        "west/west-1",
        "west/west-2",
    ]
    for by, (key, columns, correction) in BYS.items():
        document = after.month(MONTHS[1], f"--by={by}")
        assert rows(document, *columns) == expected(MONTHS[1], key, correction, CREDIT)
    by_day = after.month(MONTHS[1], "--by=day,product", "--idle=apart", report="chargeback")
    assert sum(row["picodollars"] for row in by_day["rows"]) == total(MONTHS[1]) + credit
    again = after.why()
    assert again["effects"] == whole["effects"]
    assert again["after_picodollars"] == total(MONTHS[1]) + credit
