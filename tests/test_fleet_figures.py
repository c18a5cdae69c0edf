"""What is said of a fleet's Prometheus: each evaluation once, against the rules' own intervals."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.fleet.__main__ import PAGE, SECTION
from benchmarks.fleet.figures import Evaluations, Figures, Group, restored, saved, table
from benchmarks.fleet.hosts import targets
from benchmarks.fleet.panels import Cost
from benchmarks.fleet.prometheus import configured, sent

ENDED = "prometheus_rule_group_last_evaluation_timestamp_seconds"
TOOK = "prometheus_rule_group_last_duration_seconds"
RESIDENT = "process_resident_memory_bytes"
CHEAP = Cost("fleet", "Spend", "1h", samples=600, samples_read=600, peak=70, seconds=0.014)
DEAR = Cost("fleet", "Who", "30d", samples=1_400_000, samples_read=1_400_000, peak=9000, seconds=0.61)
FIGURES = Figures(
    hosts=1000,
    ledgers=30_000,
    groups=(Group("cluster", 60, (2.0, 1.0, 3.0)), Group("ledgers", 240, (3.0,))),
    exported=554,
    sent=17_500.0,
    series=123_456.0,
    recorded=4000.0,
    samples=1500.4,
    resident=1.5 * 2**30,
    cpu=0.254,
    load=2.04,
    complete=True,
    panels=(CHEAP, DEAR),
    machine="this machine",
)


def itself(ended: float, took: float, resident: float = 1.0) -> dict[tuple[str, str], float]:
    """What Prometheus says of one group and of its memory."""
    return {(ENDED, "g"): ended, (TOOK, "g"): took, (RESIDENT, ""): resident}


def test_each_evaluation_counts_once() -> None:
    """Those that ended before the first look do not count, and one that is seen twice counts once."""
    evaluations = Evaluations({"g": 60})
    for ended, took in ((10, 9), (10, 9), (70, 1), (70, 1), (130, 2)):
        evaluations.look(itself(ended, took))

    assert list(evaluations.groups(itself(130, 2))) == [Group("g", 60, (1, 2))]


def test_a_group_that_was_not_seen_to_evaluate_has_what_it_took_before() -> None:
    """A longer interval than the run still has a figure."""
    evaluations = Evaluations({"g": 60})
    evaluations.look(itself(10, 9))

    assert list(evaluations.groups(itself(10, 9))) == [Group("g", 60, (9,))]


def test_memory_is_the_most_that_was_seen() -> None:
    """It falls when the past has been read."""
    evaluations = Evaluations({"g": 60})
    for resident in (3.0, 7.0, 5.0):
        evaluations.look(itself(10, 1, resident))

    assert evaluations.resident == 7


def test_the_bound_is_a_twentieth_of_the_interval() -> None:
    """3 s of 60 are within it, 3.1 are not, nor is a run that missed a host."""
    late = replace(FIGURES, groups=(Group("cluster", 60, (1.0, 3.1)),))

    assert (FIGURES.within, late.within, replace(FIGURES, complete=False).within) == (True, False, False)


@pytest.mark.parametrize(
    "dear",
    [
        replace(DEAR, samples=2_000_001, samples_read=2_000_001),
        replace(DEAR, seconds=1.01),
        replace(DEAR, refused="query timed out"),
        replace(DEAR, samples_read=1_000_000),
    ],
)
def test_a_panel_has_bounds(dear: Cost) -> None:
    """Two million samples and a second; it is answered, and its past was there."""
    assert not replace(FIGURES, panels=(CHEAP, dear)).within


def test_figures_are_kept() -> None:
    """Those of a release that was measured before stand beside those of the next."""
    assert restored(saved(FIGURES)) == FIGURES


def test_the_tables_show_before_and_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Medians, the longest and its part; the most expensive panels; whether all keep the bounds."""
    monkeypatch.setattr("benchmarks.fleet.figures.os.cpu_count", lambda: 2)
    before = replace(
        FIGURES,
        groups=(Group("cluster", 60, (9.0,)), Group("recall", 600, (12.0,))),
        panels=(replace(DEAR, title="Why", samples=60_000_000, seconds=7.0, refused="too many samples"),),
    )

    assert table(before, FIGURES) == (
        "|  | before | now |\n"
        "|---|---:|---:|\n"
        "| series of each host | 554 | 554 |\n"
        "| sent to a central place, for each host | 17.5 | 17.5 |\n"
        "| series in memory | 123,456 | 123,456 |\n"
        "| of them recorded | 4,000 | 4,000 |\n"
        "| samples a second | 1,500 | 1,500 |\n"
        "| resident memory, at most | 1.5 GiB | 1.5 GiB |\n"
        "| CPU, of one core | 0.25 | 0.25 |\n"
        "| load of the machine, of 2 cores | 2.0 | 2.0 |\n"
        "\n"
        "Median and longest evaluation of each group, and the longest as part of its interval:\n"
        "\n"
        "| group | interval | before | now |\n"
        "|---|---:|---:|---:|\n"
        "| `cluster` | 60 s | 9.00 s, 9.00 s; 15.00% | 2.00 s, 3.00 s; 5.00% |\n"
        "| `ledgers` | 240 s |  | 3.00 s, 3.00 s; 1.25% |\n"
        "| `recall` | 600 s | 12.00 s, 12.00 s; 2.00% |  |\n"
        "\n"
        "Every evaluation is within 5% of the interval.\n"
        "\n"
        "The panels of each dashboard, and the most that one loads and takes at any range:\n"
        "\n"
        "| dashboard | panels before, most samples, longest | panels now, most samples, longest |\n"
        "|---|---:|---:|\n"
        "| fleet | 1; 60,000,000; 7.00 s, 1 refused | 2; 1,400,000; 0.61 s |\n"
        "\n"
        "The most expensive panels now:\n"
        "\n"
        "| dashboard | panel | range | samples | seconds |\n"
        "|---|---:|---:|---:|---:|\n"
        "| fleet | Who | 30d | 1,400,000 | 0.61 |\n"
        "| fleet | Spend | 1h | 600 | 0.01 |\n"
        "\n"
        "Every panel is within 1 s and 2,000,000 samples.\n"
        "Measured on this machine.\n"
    )
    assert "\nNot every evaluation is within 5% of the interval.\n" in table(None, before)
    assert "\nNot every panel is within 1 s and 2,000,000 samples.\n" in table(None, before)


def test_the_page_has_a_place_for_the_tables(tmp_path: Path) -> None:
    """Between marks, beside words that stay."""
    page = tmp_path / "operations.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    results.write(SECTION, "measured anew\n", page)

    assert "\n<!-- measured: fleet -->\nmeasured anew\n<!-- end of fleet -->\n" in page.read_text(
        encoding="utf-8"
    )


def test_a_central_place_takes_records_alone() -> None:
    """Of what hosts export it takes nothing, and what it records itself it has."""
    names = sent()

    assert "inference:month_to_date_dollars:posting" in names
    assert "inference:month_to_date_dollars" not in names
    assert [name for name in names if not name.startswith("inference:")] == []


def test_short_runs_see_every_group(tmp_path: Path) -> None:
    """Groups of a minute keep it, those that wait longer do not, and all hosts are targets."""
    hosts = targets(3, clusters=1, groups=1)
    text = configured(tmp_path, hosts, port=9, seldom="2m").read_text(encoding="utf-8")
    rules = (tmp_path / "cluster-rules.yml").read_text(encoding="utf-8")

    assert [text.count(f"host-{number}\n") for number in range(4)] == [1, 1, 1, 0]
    assert {line.strip() for line in rules.splitlines() if line.startswith("  interval:")} == {
        "interval: 1m",
        "interval: 2m",
    }
