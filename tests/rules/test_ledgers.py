"""The month between two evaluations of every ledger's own series, which are four minutes apart.

promtool evaluates all groups at one interval, so each side is tested with the other's series as its input.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Test = Callable[..., None]
MONTH = "inference:month_to_date_dollars"
ENDS = {"series": 'inference_month_end_timestamp_seconds{month="m1",instance="x"}', "values": "900000x400"}


def raw(ledger: str, values: str) -> dict[str, str]:
    """What a host says of its month."""
    labels = f'month="m1",ledger="{ledger}",product="p",team="t",price_basis="configured",instance="{ledger}"'
    return {"series": f"inference_month_to_date_dollars{{{labels}}}", "values": values}


def kept(record: str, ledger: str, values: str) -> dict[str, str]:
    """What was recorded of a ledger."""
    labels = f'month="m1",ledger="{ledger}",product="p",team="t",price_basis="configured"'
    return {"series": f"{MONTH}:{record}{{{labels}}}", "values": values}


@pytest.fixture
def holds(promtool: Callable[..., Any], prometheus_folder: Path, tmp_path: Path) -> Test:
    """Evaluate some groups of the cluster's rules alone, and fail where a moment is not as expected."""

    def check(groups: list[str], every: str, given: list[dict[str, str]], told: dict[str, Any]) -> None:
        rules = yaml.safe_load((prometheus_folder / "cluster-rules.yml").read_text(encoding="utf-8"))
        chosen = [group for name in groups for group in rules["groups"] if group["name"] == name]
        assert len(chosen) == len(groups)
        (tmp_path / "some.yml").write_text(yaml.safe_dump({"groups": chosen}), encoding="utf-8")
        asked = [
            {
                "expr": f"sum({MONTH}{suffix})",
                "eval_time": moment,
                "exp_samples": [{"labels": "{}", "value": value}],
            }
            for suffix, moments in told.items()
            for moment, value in moments.items()
        ]
        case = {"interval": "1m", "input_series": [ENDS, *given], "promql_expr_test": asked}
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
    """Every ledger counts once in each minute, by what it said last, whenever all ledgers were looked at.

    They are looked at in minutes 0, 4, 8, 12, ...; what is expected is added up by hand.
    """
    given = [
        # spends a dollar a minute all along: 100 and the minutes
        raw("here", "100+1x60"),
        kept("posting", "here", "100 _x3 104 _x3 108 _x3 112 _x3 116 _x3 120 _x3 124"),
        # gone long ago with 50
        kept("posting", "gone", "50 _x3 50 _x3 50 _x3 50 _x3 50 _x3 50 _x3 50"),
        # falls silent in minute 7 with 7, when 4 was what had been looked at
        raw("falls", "0+1x7 stale"),
        kept("posting", "falls", "0 _x3 4 _x3 7 _x3 7 _x3 7 _x3 7 _x3 7"),
        # is new in minute 10, and is in no look before minute 12
        raw("new", "_x10 30+1x60"),
        kept("posting", "new", "_x12 32 _x3 36 _x3 40 _x3 44"),
        # gone with 20, and back in minute 14 with 25
        raw("back", "_x14 25+1x60"),
        kept("posting", "back", "20 _x3 20 _x3 20 _x3 20 _x3 27 _x3 31 _x3 35"),
        # lowered from 9 to 3 by a correction in minute 18
        raw("lowered", "9x17 3x60"),
        kept("posting", "lowered", "9 _x3 9 _x3 9 _x3 9 _x3 9 _x3 3 _x3 3"),
    ]
    expected = {
        "5m": 105 + 50 + 5 + 20 + 9,
        "7m": 107 + 50 + 7 + 20 + 9,
        "8m": 108 + 50 + 7 + 20 + 9,
        "10m": 110 + 50 + 7 + 30 + 20 + 9,
        "13m": 113 + 50 + 7 + 33 + 20 + 9,
        "14m": 114 + 50 + 7 + 34 + 25 + 9,
        "15m": 115 + 50 + 7 + 35 + 26 + 9,
        "17m": 117 + 50 + 7 + 37 + 28 + 9,
        "18m": 118 + 50 + 7 + 38 + 29 + 3,
        "23m": 123 + 50 + 7 + 43 + 34 + 3,
    }

    holds(["inference-cluster"], "1m", given, {"": expected, ":owner": expected})


def test_the_looks_at_all_ledgers_miss_none(holds: Test) -> None:
    """A host that lived between two of them is in the next, with its last word, and stays."""
    given = [
        kept("posting_told", "here", "0+1x60"),
        kept("posting_told", "short", "_x5 4 stale"),
        {"series": 'inference:month_hours_left{month="m1"}', "values": "250x400"},
    ]
    expected = {"4m": 4, "8m": 8 + 4, "200m": 60 + 4}

    holds(["inference-month-ledgers"], "4m", given, {":posting": expected, ":ledger": expected})


def test_an_outage_of_an_hour_needs_no_memory(holds: Test) -> None:
    """Prometheus is down until minute 65, and hosts that left meanwhile are in the month.

    The second of them had come when all ledgers had been looked at last. Neither the hourly memory nor what
    gives it back is there.
    """
    given = [raw("here", "10+1x200"), raw("left", "7 7 stale"), kept("posting_told", "late", "_x2 5 stale")]
    expected = {"65m": 75 + 7 + 5, "130m": 140 + 7 + 5}

    holds(["inference-cluster", "inference-month-ledgers"], "65m", given, {"": expected, ":ledger": expected})
