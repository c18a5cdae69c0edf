"""A month of spot instances: many ledgers, each of a few hours, all of whose money stays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

LEDGERS = 90
LIFE = 6  # hours
APART = 3  # hours between two starts
HOURS = LEDGERS * APART + 24
GROUPS = [
    "inference-hosts",
    "inference-host-spend",
    "inference-settings",
    "inference-month-memory",
    "inference-month-gone",
    "inference-month",
]
"""Those of the month, in the order in which one sees the other."""


def series(number: int) -> list[dict[str, str]]:
    """A host that spends 1, 2, 3, ... dollars until it has had six hours, and is gone."""
    labels = f'month="m1",ledger="spot-{number}",product="p{number % 3}",team="t",instance="i{number}"'
    start = f"_x{number * APART} " if number else ""
    return [
        {"series": f"inference_month_to_date_dollars{{{labels}}}", "values": f"{start}0+1x{LIFE} stale"},
        {
            "series": f'inference_month_end_timestamp_seconds{{month="m1",instance="i{number}"}}',
            "values": f"{start}2592000x{LIFE} stale",
        },
    ]


def test_the_month_keeps_every_host_that_ever_was(
    promtool: Callable[..., Any], prometheus_folder: Path, tmp_path: Path
) -> None:
    """After 90 hosts the month has six dollars of each, by product as well, and none is missing any more."""
    end = f"{HOURS}h"
    owner = "inference:month_to_date_dollars:owner"
    case = {
        "interval": "1h",
        "input_series": [line for number in range(LEDGERS) for line in series(number)],
        "promql_expr_test": [
            {
                "expr": "inference:month_to_date_dollars",
                "eval_time": end,
                "exp_samples": [
                    {"labels": 'inference:month_to_date_dollars{month="m1"}', "value": LEDGERS * LIFE}
                ],
            },
            {
                "expr": owner,
                "eval_time": end,
                "exp_samples": [
                    {
                        "labels": f'{owner}{{month="m1",product="p{n}",team="t"}}',
                        "value": LEDGERS // 3 * LIFE,
                    }
                    for n in range(3)
                ],
            },
            {
                "expr": "count(group by (ledger) (inference:month_to_date_dollars:posting_hourly))",
                "eval_time": end,
                "exp_samples": [{"labels": "{}", "value": LEDGERS}],
            },
            {"expr": "inference:host_silent_since_timestamp_seconds", "eval_time": end, "exp_samples": []},
            # halfway: 60 hosts have started, the last of them this hour and the one before 3 hours ago
            {
                "expr": "inference:month_to_date_dollars",
                "eval_time": f"{59 * APART}h",
                "exp_samples": [
                    {"labels": 'inference:month_to_date_dollars{month="m1"}', "value": 58 * LIFE + 3}
                ],
            },
        ],
    }
    files = [prometheus_folder / f"{name}-rules.yml" for name in ("cluster", "fleet")]
    names = [
        group for rules in files for group in yaml.safe_load(rules.read_text(encoding="utf-8"))["groups"]
    ]
    (tmp_path / "some.yml").write_text(
        yaml.safe_dump({"groups": [group for group in names if group["name"] in GROUPS]}), encoding="utf-8"
    )
    file = tmp_path / "churn.yml"
    file.write_text(
        yaml.safe_dump(
            {
                "rule_files": ["some.yml"],
                "evaluation_interval": "1h",
                "group_eval_order": GROUPS,
                "tests": [case],
            }
        )
    )
    result = promtool("test", "rules", str(file))

    assert result.returncode == 0, result.stdout + result.stderr


def test_the_end_of_a_month_is_kept_while_the_month_after_the_next_has_money(
    promtool: Callable[..., Any], prometheus_folder: Path, tmp_path: Path
) -> None:
    """The money of 62 days after an end is kept for 40 days more, and so is the end; then it goes."""
    rules = yaml.safe_load((prometheus_folder / "fleet-rules.yml").read_text(encoding="utf-8"))
    rules["groups"] = [group for group in rules["groups"] if group["name"] == "inference-month-memory"]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    record = "inference:month_end_timestamp_seconds_hourly"
    sample = {"labels": f'{record}{{month="m1"}}', "value": 3600}
    case = {
        "interval": "1h",
        "input_series": [
            {
                "series": 'inference:month_end_timestamp_seconds:cluster{month="m1"}',
                "values": "3600 3600 stale",
            }
        ],
        "promql_expr_test": [
            {"expr": record, "eval_time": f"{102 * 24}h", "exp_samples": [sample]},
            {"expr": record, "eval_time": f"{104 * 24}h", "exp_samples": []},
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(
        yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": "1h", "tests": [case]}),
        encoding="utf-8",
    )
    done = promtool("test", "rules", str(file), cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
