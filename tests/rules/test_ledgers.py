"""Every ledger's month: added up each minute, remembered through outages and for 40 days after its end.

promtool evaluates all groups at one interval, so each side is tested with the other's series as its input.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Test = Callable[..., None]
MONTH = "inference:month_to_date_dollars"
CLOSED = "inference:closed_month_dollars_hourly:owner"


def posted(record: str, ledger: str, values: str) -> dict[str, str]:
    """A record of a ledger's month."""
    labels = f'cluster="c",month="m1",ledger="{ledger}",product="p",team="t",price_basis="configured"'
    return {"series": f"{MONTH}:{record}{{{labels}}}", "values": values}


def reported(ledger: str, values: str) -> dict[str, str]:
    """A ledger's month as its host exports it."""
    labels = f'cluster="c",month="m1",ledger="{ledger}",product="p",team="t",price_basis="configured"'
    labels += f',instance="{ledger}"'
    return {"series": f"inference_month_to_date_dollars{{{labels}}}", "values": values}


def ends(values: str, record: str = "inference:month_end_timestamp_seconds:cluster") -> dict[str, str]:
    """When the month ends."""
    return {"series": f'{record}{{cluster="c",month="m1"}}', "values": values}


@pytest.fixture
def holds(promtool: Callable[..., Any], prometheus_folder: Path, tmp_path: Path) -> Test:
    """Evaluate some groups alone, and fail where a moment is not as expected."""

    def check(
        groups: list[str],
        every: str,
        given: list[dict[str, str]],
        expected: dict[str, dict[str, int | None]],
        step: str = "1m",
    ) -> None:
        files = [prometheus_folder / f"{name}-rules.yml" for name in ("cluster", "fleet")]
        names = [
            group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
        ]
        chosen = [group for name in groups for group in names if group["name"] == name]
        assert len(chosen) == len(groups)
        (tmp_path / "some.yml").write_text(yaml.safe_dump({"groups": chosen}), encoding="utf-8")
        queries = [
            {
                "expr": f"sum({record})",
                "eval_time": moment,
                "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
            }
            for record, moments in expected.items()
            for moment, value in moments.items()
        ]
        case = {"interval": step, "input_series": given, "promql_expr_test": queries}
        test = {
            "rule_files": ["some.yml"],
            "evaluation_interval": every,
            "group_eval_order": groups,
            "tests": [case],
        }
        file = tmp_path / "test.yml"
        file.write_text(yaml.safe_dump(test), encoding="utf-8")
        result = promtool("test", "rules", str(file))
        assert result.returncode == 0, result.stdout + result.stderr

    return check


def test_sums_are_of_the_minute(holds: Test) -> None:
    """Every ledger counts once in each minute by its last posting, whenever the departed were looked for.

    They are looked for every ten minutes; what is expected is added up by hand.
    """
    given = [
        ends("900000x60"),
        # spends a dollar a minute all along
        posted("posting", "here", "100+1x60"),
        # gone long ago with 50
        posted("gone", "gone", "50 _x9 50 _x9 50 _x9"),
        # falls silent in minute 7 with 7, and is looked for in minute 10, and in 20
        posted("posting", "falls", "0+1x7 stale"),
        posted("gone", "falls", "_x10 7 _x9 7 _x9"),
        # is new in minute 10
        posted("posting", "new", "_x10 30+1x60"),
        # was gone with 20, and is back in minute 14 with 25
        posted("posting", "back", "_x14 25+1x60"),
        posted("gone", "back", "20 _x9 20 _x9"),
        # lowered from 9 to 3 by a correction in minute 18
        posted("posting", "lowered", "9x17 3x60"),
    ]
    expected = {
        "5m": 105 + 50 + 5 + 20 + 9,
        "7m": 107 + 50 + 7 + 20 + 9,
        "8m": 108 + 50 + 7 + 20 + 9,
        "10m": 110 + 50 + 7 + 30 + 20 + 9,
        "13m": 113 + 50 + 7 + 33 + 20 + 9,
        "14m": 114 + 50 + 7 + 34 + 25 + 9,
        "17m": 117 + 50 + 7 + 37 + 28 + 9,
        "18m": 118 + 50 + 7 + 38 + 29 + 3,
        "23m": 123 + 50 + 7 + 43 + 34 + 3,
    }

    holds(["inference-month"], "1m", given, {MONTH: expected, f"{MONTH}:owner": expected})


def test_the_departed_are_those_that_do_not_report(holds: Test) -> None:
    """A host that lived between two evaluations is among them, and one that is back is not."""
    given = [
        ends("900000x400"),
        posted("posting", "here", "0+1x200"),
        posted("posting", "short", "_x5 4 stale"),
        posted("posting", "back", "8x15 stale _x20 9x200"),
    ]
    expected = {"10m": {f"{MONTH}:gone": 4}, "30m": {f"{MONTH}:gone": 4 + 8}, "50m": {f"{MONTH}:gone": 4}}

    holds(
        ["inference-month-gone"],
        "10m",
        given,
        {f"{MONTH}:gone": {moment: value[f"{MONTH}:gone"] for moment, value in expected.items()}},
    )


@pytest.mark.parametrize(("length", "minutes"), [("90m", 90), ("3d", 4320), ("13d", 18720)])
def test_an_outage_of_prometheus_loses_no_host(holds: Test, length: str, minutes: int) -> None:
    """No rule is evaluated and no host is scraped for so long; one has left meanwhile, and one came back.

    The rules of ten minutes are evaluated before the memory, which may take an hour longer. The month is
    the same after twice that time, when what was recorded first is out of sight.
    """
    steps = minutes // 30
    given = [
        ends("5000000x1", "inference_month_end_timestamp_seconds"),
        reported("left", "10 stale"),
        reported("here", f"20 _x{steps - 1} 30x{2 * steps}"),
    ]
    expected = {"0m": 30, length: 40, f"{2 * minutes}m": 40}
    groups = [
        "inference-hosts",
        "inference-host-spend",
        "inference-settings",
        "inference-month-gone",
        "inference-month",
        "inference-month-memory",
    ]

    holds(groups, length, given, {MONTH: expected}, "30m")


def test_a_closed_month_is_there_before_the_first_hour(holds: Test) -> None:
    """Until the hourly memory is evaluated, a month that is over is what hosts that answer export."""
    given = [
        ends("-864000x90", "inference_month_end_timestamp_seconds"),
        reported("a", "100x90"),
        reported("b", "20x30 stale"),
    ]
    expected = {"0m": 120, "30m": 120, "90m": 100}
    closed = "inference:closed_month_dollars"
    every = dict.fromkeys((closed, f"{closed}:owner", f"{closed}:price_basis"), expected)
    month = "inference-month"

    holds(["inference-hosts", "inference-settings", month], "1m", given, every)
    expected["90m"] = 120
    holds(["inference-hosts", "inference-settings", "inference-month-memory", month], "1m", given, every)


def test_a_closed_month_is_remembered_for_40_days(holds: Test) -> None:
    """Dead hosts and late postings are in it; then it is forgotten, and does not come back by its own memory.

    The month ends at hour 100: 50 dollars of a host that is gone, and of one that stays 100, and 5 that
    it posts ten days later. It exports that month for 30 days more.
    """
    given = [
        posted("posting", "gone", "0+10x5 stale"),
        posted("posting", "here", "0+1x100 100x239 105x480 stale"),
        ends("360000x820 stale"),
    ]
    expected = {
        "99h": None,
        "100h": 150,
        "339h": 150,
        "341h": 155,
        f"{100 + 39 * 24}h": 155,
        f"{100 + 41 * 24}h": None,
        f"{100 + 56 * 24}h": None,
    }
    memory = {f"{100 + 39 * 24}h": 155, f"{100 + 41 * 24}h": None, f"{100 + 56 * 24}h": None}

    holds(
        ["inference-month-memory"], "1h", given, {CLOSED: expected, f"{MONTH}:posting_hourly": memory}, "1h"
    )
