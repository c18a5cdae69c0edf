"""The fleet rules, proven by promtool, and what each alert must carry."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

RECORDED = {
    "inference:budget_dollars",
    "inference:cost_dollars:rate5m",
    "inference:cost_dollars_per_hour",
    "inference:cost_dollars_per_million_tokens:1h",
    "inference:cost_dollars_per_million_tokens:24h",
    "inference:fleet_overhead_dollars_per_hour",
    "inference:hosts_missing",
    "inference:ledger_seen",
    "inference:model_unpriced",
    "inference:month_end_timestamp_seconds",
    "inference:month_hours_left",
    "inference:month_projected_dollars",
    "inference:month_to_date_dollars",
    "inference:month_to_date_dollars:ledger",
    "inference:month_to_date_dollars:ledger_hourly",
    "inference:monthly_run_rate_dollars",
    "inference:tokens:rate5m",
}


def test_promtool_accepts_the_rules(promtool: Callable[..., Any]) -> None:
    """Prometheus would load the rules."""
    result = promtool("check", "rules", "rules.yml")

    assert (result.returncode, result.stderr) == (0, "")


def test_the_rules_do_what_their_tests_say(promtool: Callable[..., Any], rule_tests: list[Path]) -> None:
    """Every case of the rules' tests holds, those that fire and those that must not."""
    result = promtool("test", "rules", *(file.name for file in rule_tests))

    assert result.returncode == 0, result.stdout + result.stderr


def test_prometheus_accepts_the_scrape_job(promtool: Callable[..., Any]) -> None:
    """The plain Prometheus configuration is valid and finds the rules beside it."""
    result = promtool("check", "config", "prometheus.yml")

    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 rule files found" in result.stdout


def test_the_scrape_job_keeps_the_workloads_labels(prometheus_folder: Path) -> None:
    """`namespace` on a series is the workload's, so the job honors the labels it scrapes."""
    (job,) = yaml.safe_load((prometheus_folder / "prometheus.yml").read_text())["scrape_configs"]

    assert True is job["honor_labels"]


def test_recorded_names_are_the_contract(prometheus_folder: Path) -> None:
    """Dashboards and other people's rules use these names; none may vanish or be renamed."""
    groups = yaml.safe_load((prometheus_folder / "rules.yml").read_text())["groups"]

    assert {rule["record"] for group in groups for rule in group["rules"] if "record" in rule} == RECORDED


def test_no_rule_holds_a_budget_of_its_own(prometheus_folder: Path) -> None:
    """The threshold is the exported budget, the default of 27,000 dollars included, never a constant."""
    groups = yaml.safe_load((prometheus_folder / "rules.yml").read_text())["groups"]
    expressions = [rule["expr"] for group in groups for rule in group["rules"]]

    assert [text for text in expressions if re.search(r"27[_,]?000|2\.7e\+?0?4", text)] == []


def test_the_default_budget_is_what_the_tests_fire_on(cases: list[dict[str, Any]]) -> None:
    """The cases that fire over budget feed 27,000 dollars through `inference_budget_dollars`."""
    firing = [
        case
        for case in cases
        for alert in case.get("alert_rule_test", [])
        if alert["alertname"] == "InferenceSpendProjectedOverBudget" and alert["exp_alerts"]
    ]

    assert firing
    for case in firing:
        budgets = [
            s["values"] for s in case["input_series"] if s["series"].startswith("inference_budget_dollars")
        ]
        assert [values.partition("x")[0] for values in budgets] == ["27000"]


def test_every_alert_fires_in_one_case_and_stays_silent_in_another(
    alerts: list[dict[str, Any]], cases: list[dict[str, Any]]
) -> None:
    """An alert that no test fires, or that no test keeps quiet, is not proven."""
    proven = {
        (alert["alertname"], bool(alert["exp_alerts"]))
        for case in cases
        for alert in case.get("alert_rule_test", [])
    }

    assert proven == {(alert["alert"], fires) for alert in alerts for fires in (True, False)}


def test_every_alert_says_what_to_do_and_where_to_read_on(
    alerts: list[dict[str, Any]], repository: Path
) -> None:
    """An alert carries a severity, a sentence, a corrective action, the dashboard and an existing runbook."""
    for alert in alerts:
        annotations = alert["annotations"]

        assert {"summary", "description", "dashboard", "runbook"} == set(annotations)
        assert alert["labels"]["severity"] in {"warning", "critical"}
        assert annotations["runbook"] == f"docs/runbooks/{alert['alert']}.md"
        assert (repository / annotations["runbook"]).is_file()


def test_every_runbook_belongs_to_an_alert(alerts: list[dict[str, Any]], repository: Path) -> None:
    """A page whose alert is gone misleads whoever searches for it at night."""
    pages = {page.stem for page in (repository / "docs" / "runbooks").glob("*.md")}

    assert pages == {alert["alert"] for alert in alerts}


def test_runbooks_have_the_same_three_parts(alerts: list[dict[str, Any]], repository: Path) -> None:
    """What it means, what to look at, what to do, in that order, on every page."""
    for alert in alerts:
        lines = (repository / alert["annotations"]["runbook"]).read_text().splitlines()

        assert [f"# {alert['alert']}", "## What to look at", "## What to do"] == [
            line for line in lines if line.startswith("#")
        ]


NOT_COUNTED = {
    "InferenceBooksUnbalanced",
    "InferenceClockUnsynchronized",
    "InferenceConfigReloadFailed",
    "InferenceGpuDown",
    "InferenceGpuUnpriced",
    "InferenceLedgerNotPersistent",
    "InferenceSourceDown",
}
"""The alerts that say that money is not counted, or cannot be trusted."""


def test_alerts_on_lost_money_resolve(cases: list[dict[str, Any]]) -> None:
    """Each fires in a case that later is silent again: an alert that stays is one that nobody believes."""
    resolved = set()
    for case in cases:
        fired = set()
        for alert in case.get("alert_rule_test", []):
            if alert["exp_alerts"]:
                fired.add(alert["alertname"])
            elif alert["alertname"] in fired:
                resolved.add(alert["alertname"])

    assert resolved >= NOT_COUNTED


def test_alerts_on_lost_money_wait(alerts: list[dict[str, Any]]) -> None:
    """None fires on the first sample, and books that do not balance are the one that wakes somebody."""
    found = {alert["alert"]: alert for alert in alerts if alert["alert"] in NOT_COUNTED}

    assert set(found) == NOT_COUNTED
    assert [name for name, alert in found.items() if "for" not in alert] == []
    assert [name for name, alert in found.items() if alert["labels"]["severity"] == "critical"] == [
        "InferenceBooksUnbalanced"
    ]


def test_the_comment_on_links_gives_whole_addresses(prometheus_folder: Path) -> None:
    """The one command in the rules' header turns every link of every alert into an address."""
    text = (prometheus_folder / "rules.yml").read_text()
    replacements = re.findall(r"-e 's,(.*?),(.*?),'", text)
    for old, new in replacements:
        text = re.sub(re.escape(old), new, text)
    groups = yaml.safe_load(text)["groups"]
    links = [
        rule["annotations"][name]
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
        for name in ("dashboard", "runbook")
    ]

    assert len(replacements) == 2
    assert [link for link in links if not link.startswith("https://")] == []


def test_one_job_name_everywhere(prometheus_folder: Path, repository: Path) -> None:
    """README, the scrape job and the runbooks name the same job, so that a pasted query finds it."""
    (job,) = yaml.safe_load((prometheus_folder / "prometheus.yml").read_text())["scrape_configs"]
    (told,) = re.findall(r"job_name: (\S+)", (repository / "README.md").read_text())
    pages = [page.read_text() for page in sorted((repository / "docs" / "runbooks").glob("*.md"))]
    asked = {name for page in pages for name in re.findall(r'job=~"([^"]+)"', page)}

    assert told == job["job_name"]
    assert asked
    assert [pattern for pattern in asked if not re.fullmatch(pattern, told)] == []
