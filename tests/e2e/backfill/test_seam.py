"""Records of the past beside a fleet that is metered: nothing doubles, nothing is missing, no rule sees it.

The exporters of three hosts go on while ours begin: on the second evening, in both clusters. What the verb
writes is imported by the commands that it prints.
"""

import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from exporter.finance.history.past_records import NAMES
from tests.e2e.backfill.comparison import period, run_history
from tests.e2e.backfill.conftest import FLEET
from tests.e2e.backfill.exporter_series import recorded
from tests.e2e.backfill.stores import RETENTION, fill, prometheus_of
from tests.e2e.fleet import history
from tests.e2e.fleet.expected_hosts import HOUR, ExpectedFleet
from tests.e2e.fleet.fleets import CHAT_70B, h100s, make_host
from tests.e2e.fleet.programs import FleetPrometheus, Queried, Victoria, written
from tests.e2e.fleet.records import memory
from tests.rules.dashboard_queries import RULES, queries_by_board

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("backfill-seam")]

SCRAPE: Final = 300
NOW: Final = FLEET.end
BEGIN: Final = -30 * HOUR
"""When ours begins: at 18:00 of the 30th, where the past ends."""
SEAM: Final = NOW + BEGIN
PRESENT: Final = ExpectedFleet(
    (
        make_host("east", "east-1", "e1", h100s("east-1", 2), CHAT_70B, CHAT_70B, begin=BEGIN),
        make_host("west", "west-1", "w1", h100s("west-1", 4), *[CHAT_70B] * 4, begin=BEGIN),
    ),
    (("fleet", "", 27_000),),
    "2026-10",
    -24 * HOUR,
    720 * HOUR,
    "2026-09",
)
"""Two GPUs of ours in one cluster and four in the other, at 2.50 dollars an hour each."""

EAST_BEFORE, EAST_SINCE = 8 * (41.28 + 1.1) / 8, 5.0
"""Dollars an hour: n01's eight GPUs with its network, and two of ours."""


def present_samples() -> list[history.Sample]:
    """What was scraped and recorded of our own exporters, but for projections: they need weeks."""
    samples = list(history.scraped(PRESENT, NOW, BEGIN))
    for item in memory(PRESENT, NOW, BEGIN, SCRAPE, SCRAPE):
        if "projected" not in item.name:
            name = f"{item.name}{written(item.labels)}"
            values = ((item.at(at), NOW + at) for at in item.times)
            samples += [(name, value, at) for value, at in values if value is not None]
    return samples


@dataclass(frozen=True, slots=True)
class Past:
    """A store with both, and what its rules say without the past and with it."""

    store: Queried
    printed: str
    rules_before: dict[str, Any]
    rules_after: dict[str, Any]


def rule_answers(store: Queried) -> dict[str, Any]:
    """What each expression of the rule files yields before the seam, and now."""
    answers: dict[str, Any] = {}
    for file in RULES:
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]:
            for number, rule in enumerate(group["rules"]):
                name = rule.get("alert") or rule["record"]
                for at in (SEAM - 2 * HOUR, NOW):
                    answers[f"{group['name']} {number} {name} at {at}"] = store.query(rule["expr"], at)
    return answers


def write_records(address: str, folder: Path) -> tuple[Path, str]:
    """Run the verb; returns the file, and what was printed."""
    records = folder / "past.om"
    answer = run_history(address, folder, FLEET.config, *period(FLEET), f"--openmetrics={records}")
    assert answer.returncode == 0, answer.stderr
    return records, answer.stdout + answer.stderr


def command(printed: str, program: str) -> list[str]:
    """The command that the verb prints for a program."""
    (line,) = (one for one in printed.splitlines() if program in one)
    return shlex.split(line[line.index(program) :])


@contextmanager
def prometheus_with_past(folder: Path) -> Iterator[Past]:
    """A Prometheus that scraped both, started again with the past imported."""
    program = prometheus_of(recorded(FLEET, SCRAPE), folder / "prometheus")
    history.blocks(present_samples(), program.data)
    with program:
        records, printed = write_records(program.url, folder)
        before = rule_answers(program)
    line = [records if word.endswith("past.om") else word for word in command(printed, "promtool")]
    imported = subprocess.run(
        [*map(str, line[:-1]), str(program.data)], capture_output=True, text=True, check=False, timeout=300
    )
    assert imported.returncode == 0, imported.stderr
    again = FleetPrometheus(folder / "again", "{}", retention=RETENTION)
    shutil.rmtree(again.data)
    program.data.rename(again.data)
    with again:
        yield Past(again, printed, before, rule_answers(again))


@contextmanager
def victoria_with_past(folder: Path) -> Iterator[Past]:
    """A VictoriaMetrics that has both, and takes the past while it runs."""
    with Victoria(folder / "victoria", retention=RETENTION) as program:
        fill(program, recorded(FLEET, SCRAPE))
        program.take(history.imported(present_samples()))
        records, printed = write_records(program.url, folder)
        before = rule_answers(program)
        curl = command(printed, "curl -T")
        assert curl[:2] == ["curl", "-T"]
        assert curl[3].endswith("/api/v1/import/prometheus")
        program.take(records.read_bytes())
        yield Past(program, printed, before, rule_answers(program))


STORES: Final[dict[str, Callable[..., Any]]] = {
    "prometheus": prometheus_with_past,
    "victoria": victoria_with_past,
}


@pytest.fixture(scope="module", params=["prometheus", pytest.param("victoria", marks=pytest.mark.nightly)])
def past(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    """A store with the past and the present."""
    with STORES[request.param](tmp_path_factory.mktemp(f"seam-{request.param}")) as made:
        yield made


def test_no_rule_sees_the_past(past: Past) -> None:
    """Each record and alert is what it is without it, before the seam and now."""
    differing = {
        name: (past.rules_before[name], after)
        for name, after in past.rules_after.items()
        if after != past.rules_before[name]
    }

    assert past.rules_before.keys() == past.rules_after.keys()
    assert sum(map(bool, past.rules_after.values())) > 50, "the rules yield something here"
    assert differing == {}


@pytest.mark.parametrize("cluster", ["east", "west"])
def test_each_record_is_of_the_past_or_ours(past: Past, cluster: str) -> None:
    """At each minute of the three days one of them is there, and never both."""
    mine: dict[str, set[float]] = {}
    theirs: dict[str, set[float]] = {}
    begin, step = FLEET.begin + HOUR, 60
    for ledger, minutes_of in (('=""', mine), ('!=""', theirs)):
        for name in NAMES:
            expr = f'count({name}{{cluster="{cluster}",ledger{ledger}}})'
            for samples in past.store.range(expr, begin, NOW - 60, step).values():
                minutes_of[name] = {at for at, _ in samples}
    minutes = {float(at) for at in range(begin, NOW - 59, step)}
    both = {name: len(mine[name] & theirs[name]) for name in mine if mine[name] & theirs.get(name, set())}
    spend = "inference:spend_dollars_per_hour"

    assert both == {}
    assert mine.keys() & theirs.keys() >= {spend, f"{spend}:owner", "inference:month_to_date_dollars"}
    for name in (spend, f"{spend}:owner"):
        missing = minutes - mine[name] - theirs[name]
        assert missing == set(), (name, sorted(missing)[:3], len(missing))


def test_spend_is_one_line_over_the_seam(past: Past) -> None:
    """What the fleet's dashboard draws of a cluster: 42.38 dollars an hour, and 5 since ours began."""
    (query,) = queries_by_board()["fleet: Clusters: Dollars per hour"]
    line = dict(past.store.range(query, FLEET.begin + HOUR, NOW - 60, 60)['{cluster="east"}'])
    before = [value for at, value in line.items() if at < SEAM]
    since = [value for at, value in line.items() if at >= SEAM]

    assert before == pytest.approx([EAST_BEFORE] * len(before), rel=0.005)
    assert since == pytest.approx([EAST_SINCE] * len(since))
    assert len(line) == (NOW - 60 - FLEET.begin - HOUR) // 60 + 1


def test_dashboards_show_no_label_of_the_past(past: Past) -> None:
    """Every query of every panel is answered before, at and after the seam, without a label `ledger`."""
    answers = {
        (name, at): past.store.rows(query, at)
        for name, queries in queries_by_board().items()
        for query in queries
        if any(record in query for record in NAMES)
        for at in (SEAM - HOUR, SEAM, NOW - 60)
    }

    assert {
        name for (name, _), rows in answers.items() if any("ledger" in labels for labels, _ in rows)
    } == set()
    assert sum(map(bool, answers.values())) > 40
