"""The fleet rules, proven by promtool, and what each alert must carry."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import depth
from tests.nightly import daily
from tests.rules.conftest import Promtool
from tests.rules.promtool_cases import FEW_STEPS, shortest, split, steps
from tests.rules.victoriametrics import Case, document_of
from tests.rules.victoriametrics import cases as cases_of

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
CASES = cases_of(FOLDER)
WHOLE = {case for case in shortest(CASES) if steps(case) <= FEW_STEPS}
"""Cases in which every rule is evaluated."""

NIGHTLY = {
    "a batch of an hour a day on a spot host",
    "a cluster is drained, then the budget of the others is lowered, and one is removed",
    "a cluster that is lost over a month's end",
    "a cluster that is scaled to zero at night",
    "a day without the meter, charged as one step",
    "a fleet of 32 hours",
    "a fleet that is scaled down at night and ends its month 9 % under the budget",
    "a fleet that is scaled to zero at night",
    "a host is decommissioned, its target first",
    "a host is stopped, and its target stays for 20 h",
    "a new TSDB late in the month",
    "a price that falls by a quarter on the 20th",
    "one new server runs away over two budgets",
    "one ticket a week at most",
    "service level oversized",
    "tokens dearer than in the week before",
    "two hosts, one with a dated price and one of a release that exports none",
    "two time zones at the end of a month",
}
"""Cases of 1.5 to 15 seconds of CPU each: days of a fleet, whose rules other cases evaluate as well."""

NIGHTLY_ALERTS = {"InferenceServiceLevelOversized", "InferenceTokensDearer"}
"""They compare days and weeks."""

CONTRACT = {
    "inference:budget_dollars",
    "inference:closed_month_dollars",
    "inference:closed_month_dollars:owner",
    "inference:closed_month_dollars:price_basis",
    "inference:cluster_silent_since_timestamp_seconds",
    "inference:cost_dollars:rate5m",
    "inference:cost_dollars_per_hour",
    "inference:cost_dollars_per_million_tokens:1h",
    "inference:cost_dollars_per_million_tokens:24h",
    "inference:fleet_month_hours_left",
    "inference:fleet_overhead_dollars_per_hour",
    "inference:host_silent_since_timestamp_seconds",
    "inference:ledger_cluster",
    "inference:model_unpriced",
    "inference:month_end_timestamp_seconds",
    "inference:month_hours_left",
    "inference:month_metered_since_timestamp_seconds",
    "inference:month_projected_dollars",
    "inference:month_to_date_dollars",
    "inference:month_to_date_dollars:owner",
    "inference:month_to_date_dollars:posting",
    "inference:month_unmetered_hours",
    "inference:monthly_run_rate_dollars",
    "inference:monthly_run_rate_dollars:owner",
    "inference:spend_dollars_per_hour",
    "inference:spend_dollars_per_hour:owner",
    "inference:tokens:rate5m",
}
"""Names that other people's rules and dashboards may use; docs/records.md lists all that are recorded."""


def test_the_rules_are_those_of_the_generator(repository: Path) -> None:
    """The files that are checked in are what `python deploy/rules/generate.py` writes."""
    command = [sys.executable, "deploy/rules/generate.py", "--check"]
    result = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False, timeout=60)

    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


def test_a_name_that_nobody_has_stops_the_generator(repository: Path) -> None:
    """Names in expressions and in the queries of annotations are looked up in the table of metrics."""
    program = """
import sys
sys.path.insert(0, "deploy/rules")
from statement import Alert, Group, Record, unknown
rules = (
    Record("inference:a", "inference_tokens_total + inference:b"),
    Alert("X", "inference:a", "5m", {}, {"x": "{{ query `inference_nowhere` }} inference_said"}),
)
print(unknown((Group("g", "1m", rules),)))
"""
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert result.stdout == "['inference:b', 'inference_nowhere']\n"


def test_no_group_is_larger_than_mimir_takes(prometheus_folder: Path) -> None:
    """Mimir's ruler refuses a group of more than 20 rules unless it is configured otherwise."""
    groups = [
        group
        for file in prometheus_folder.glob("*-rules.yml")
        for group in yaml.safe_load(file.read_text())["groups"]
    ]

    assert groups
    assert [group["name"] for group in groups if len(group["rules"]) > 20] == []


def test_a_group_of_21_rules_stops_the_generator(repository: Path) -> None:
    """It is named with the number of its rules."""
    program = """
import sys
sys.path.insert(0, "deploy/rules")
from statement import Group, Record, crowded
rules = tuple(Record(f"inference:{n}", "1") for n in range(21))
print(crowded((Group("full", "1m", rules[:20]), Group("over", "1m", rules))))
"""
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert result.stdout == "['over (21)']\n"


@pytest.mark.parametrize("name", ["cluster-rules.yml", "fleet-rules.yml"])
def test_promtool_accepts_the_rules(promtool: Promtool, name: str) -> None:
    """Prometheus would load each file, alone as well."""
    result = promtool("check", "rules", name)

    assert (result.returncode, result.stderr) == (0, "")


def title(case: Case) -> str:
    """What a case is called, without what it says of it."""
    return case.name.partition(" - ")[0]


DAILY = [case for case in CASES if title(case) not in NIGHTLY]


@pytest.mark.parametrize("case", daily(CASES, DAILY), ids=map(str, CASES))
def test_the_rules_do_what_their_tests_say(promtool: Promtool, tmp_path: Path, case: Case) -> None:
    """Those that fire and those that must not; `make deep` evaluates all rules in each case."""
    file = split(case, tmp_path, every_rule=case in WHOLE or depth.deep())
    result = promtool("test", "rules", file, cwd=tmp_path)

    assert result.returncode == 0, result.stdout + result.stderr


def test_cases_of_the_night_are_those_of_the_list() -> None:
    """A case under another name would be one of each day."""
    assert {title(case) for case in CASES} & NIGHTLY == NIGHTLY


def test_each_alert_fires_in_a_case_of_each_day_and_stays_silent_in_another(
    alerts: list[dict[str, Any]],
) -> None:
    """Days of a fleet may wait for the night; what an operator is told, and what not, may not."""
    documents = [document_of(case.file)["tests"][case.index] for case in DAILY]
    proven = {
        (check["alertname"], bool(check["exp_alerts"]))
        for document in documents
        for check in document.get("alert_rule_test", [])
    }
    names = {alert["alert"] for alert in alerts}

    assert names >= NIGHTLY_ALERTS
    assert proven == {(name, fires) for name in names - NIGHTLY_ALERTS for fires in (True, False)}


@pytest.mark.nightly
@pytest.mark.parametrize("case", sorted(shortest(CASES) - WHOLE, key=str), ids=str)
def test_every_rule_bears_the_input_of_a_long_file(promtool: Promtool, tmp_path: Path, case: Case) -> None:
    """Its shortest case, with all rules."""
    result = promtool("test", "rules", split(case, tmp_path, every_rule=True), cwd=tmp_path)

    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("case", sorted(WHOLE, key=str), ids=str)
def test_every_rule_is_evaluated_in_a_case_of_each_file(tmp_path: Path, case: Case) -> None:
    """A rule that fails on its input fails the file, also where no case asks for what it records."""
    shipped = [document_of(case.file.parent / name) for name in document_of(case.file)["rule_files"]]
    written = json.loads((tmp_path / split(case, tmp_path, every_rule=True)).read_text())
    evaluated = [json.loads((tmp_path / name).read_text()) for name in written["rule_files"]]

    def expressions(documents: list[Any]) -> list[str]:
        return [rule["expr"] for one in documents for group in one["groups"] for rule in group["rules"]]

    assert expressions(evaluated) == expressions(shipped)


def test_prometheus_accepts_the_scrape_job(promtool: Promtool) -> None:
    """The plain Prometheus configuration is valid and finds the rules beside it."""
    result = promtool("check", "config", "prometheus.yml")

    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 rule files found" in result.stdout


def test_the_scrape_job_keeps_the_workloads_labels(prometheus_folder: Path) -> None:
    """`namespace` on a series is the workload's, so the job honors the labels it scrapes."""
    (job,) = yaml.safe_load((prometheus_folder / "prometheus.yml").read_text())["scrape_configs"]

    assert True is job["honor_labels"]


def test_recorded_names_are_the_contract(rules: list[dict[str, Any]]) -> None:
    """Dashboards and other people's rules use these names; none may vanish or be renamed."""
    assert CONTRACT - {rule["record"] for rule in rules if "record" in rule} == set()


def test_every_record_is_asked_for_in_a_test_or_by_a_rule(rules: list[dict[str, Any]]) -> None:
    """A record that no promtool test looks at may be anything; a dashboard's queries have numbers by hand."""
    dashboards = FOLDER.parents[1].glob("dashboards/*.json")
    tested = "\n".join(file.read_text() for file in (*FOLDER.glob("*_test.yml"), *dashboards))
    names = {rule["record"] for rule in rules if "record" in rule}

    used = "\n".join(rule["expr"] for rule in rules)

    def contains(name: str, text: str) -> bool:
        return re.search(rf"{name}(?![:\w])", text) is not None

    assert {name for name in names if not contains(name, tested) and not contains(name, used)} == set()


def test_every_record_is_on_the_page(rules: list[dict[str, Any]], repository: Path) -> None:
    """The page lists what is recorded, all of it and nothing else."""
    page = (repository / "docs" / "records.md").read_text()
    documented = set(re.findall(r"^\| `(inference:[\w:]+)`", page, re.MULTILINE))

    assert documented == {rule["record"] for rule in rules if "record" in rule}


def rules_of_runbooks(repository: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Each runbook's alert, and the rows of its first table."""
    for page in sorted((repository / "docs" / "runbooks").glob("*.md")):
        table, _, _ = page.read_text().partition("<!-- end of rule -->")
        yield page.stem, dict(re.findall(r"^\| (\w[\w ]*) \| (.+) \|$", table, re.MULTILINE))


def test_every_alert_has_a_runbook_with_its_rule(alerts: list[dict[str, Any]], repository: Path) -> None:
    """It says whether the alert pages, and how long its condition must last."""
    rows = {
        (name, severity, rule["For"].replace(" min", "m").replace(" h", "h"))
        for name, rule in rules_of_runbooks(repository)
        for severity in rule["Severity"].split(", ")
    }

    assert rows == {(rule["alert"], rule["labels"]["severity"], rule["for"]) for rule in alerts}


def test_the_page_of_alerts_says_of_each_whether_it_pages(
    alerts: list[dict[str, Any]], repository: Path
) -> None:
    """As its runbook does."""
    page = (repository / "docs" / "alerts.md").read_text()
    rows = re.findall(r"^\| \[(\w+)\]\(runbooks/\1\.md\) \| ([a-z, ]+) \| [^|]+ \|$", page, re.MULTILINE)
    severities = {(name, severity) for name, column in rows for severity in column.split(", ")}

    assert severities == {(rule["alert"], rule["labels"]["severity"]) for rule in alerts}


def test_every_runbook_names_cases_that_prove_its_alert(repository: Path, prometheus_folder: Path) -> None:
    """Each named case exists in the named file and looks at the alert; one of them fires it."""
    for name, rule in rules_of_runbooks(repository):
        fired = False
        cases_of_rule = re.findall(
            r"\[\w+\]\(\.\./\.\./deploy/prometheus/(\w+\.yml)\): ([^;]+)", rule["Tests"]
        )
        for file, title in cases_of_rule:
            cases = document_of(prometheus_folder / file)["tests"]
            (case,) = [case for case in cases if case["name"].partition(" - ")[0] == title.strip()]
            checks = [rule for rule in case.get("alert_rule_test", []) if rule["alertname"] == name]
            queries = [rule["expr"] for rule in case.get("promql_expr_test", [])]

            assert checks or any("ALERTS" in query for query in queries), (name, title)
            fired = fired or any(rule["exp_alerts"] for rule in checks)
        assert fired, name


def test_no_rule_holds_a_budget_of_its_own(rules: list[dict[str, Any]]) -> None:
    """The threshold is the exported budget, the default of 27,000 dollars included, never a constant."""
    expressions = [rule["expr"] for rule in rules]

    assert [text for text in expressions if re.search(r"27[_,]?000|2\.7e\+?0?4", text)] == []


def test_no_alert_pages_for_the_default_budget(alerts: list[dict[str, Any]]) -> None:
    """A page on a budget leaves out the default one, and the ticket says that it is the default."""
    pages = [rule for rule in alerts if rule["labels"]["severity"] == "page" and "budget" in rule["expr"]]
    tickets = {rule["alert"]: rule for rule in alerts if rule["labels"]["severity"] == "ticket"}

    assert pages
    for page in pages:
        assert "unless on () (inference:budget_configured == 0)" in page["expr"]
        assert "default budget" in tickets[page["alert"]]["annotations"]["description"]


def test_no_rate_is_compared_with_a_budget_before_a_day_of_data(alerts: list[dict[str, Any]]) -> None:
    """A roll-out looks like a runaway; a budget that is spent needs no rate, and savings need a week."""
    budgets = [rule for rule in alerts if "inference:budget_dollars" in rule["expr"]]
    free = {
        rule["alert"]
        for rule in budgets
        if "unless on () (inference:fleet_metered_hours <= 24)" not in rule["expr"]
    }

    assert len(budgets) > 5
    assert free == {"InferenceBudgetExhausted", "InferenceBudgetsDiffer", "InferenceSavingsAvailable"}
    assert "offset 7d" in next(rule["expr"] for rule in budgets if "Savings" in rule["alert"])


def test_the_default_budget_is_what_the_tests_fire_on(cases: list[dict[str, Any]]) -> None:
    """A case of a default budget has 27,000 dollars, and is not configured."""
    fleets = [
        [series["values"] for series in case["input_series"] if "budget_dollars:cluster" in series["series"]]
        for case in cases
        if any(
            series["series"].startswith("inference:budget_configured:cluster")
            and series["values"].startswith("0")
            for series in case["input_series"]
        )
    ]

    assert fleets
    assert [budgets for budgets in fleets if not budgets[0].startswith("27000x")] == []


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
    """What happened, since when, who spends most, what to do, what waiting costs; an owner, and two links."""
    expected_annotations = {"summary", "description", "since", "servers", "waiting", "dashboard", "runbook"}
    for alert in alerts:
        annotations = alert["annotations"]

        assert expected_annotations == set(annotations)
        budget_page = "budget" in alert["expr"] and alert["labels"]["severity"] == "page"
        assert {"severity", "product", "team"} | ({"cause"} if budget_page else set()) == set(alert["labels"])
        assert alert["labels"]["severity"] in {"page", "ticket"}
        assert annotations["runbook"] == f"docs/runbooks/{alert['alert']}.md"
        assert (repository / annotations["runbook"]).is_file()


def test_who_is_woken(alerts: list[dict[str, Any]]) -> None:
    """A page is for a meter that is blind, or where eight hours cost a twentieth of a month's budget."""
    pages = {alert["alert"]: alert["expr"] for alert in alerts if alert["labels"]["severity"] == "page"}
    incomplete = {"InferenceNoExporter", "InferenceMeterBlind", "InferenceClusterSilent"}

    assert set(pages) - incomplete == {
        "InferenceBudgetExhausted",
        "InferenceRunRateOverBudget",
        "InferenceSpendRunaway",
    }
    for name in set(pages) - incomplete:
        assert re.search(
            r"and on \(budget, product\) \(8 \* .*inference:budget_dollars.* >= 0\.05", pages[name]
        )


def test_every_alert_waits(alerts: list[dict[str, Any]]) -> None:
    """None fires on the first sample, so that each can say since when."""
    assert [alert["alert"] for alert in alerts if alert["for"] in {"", "0s"}] == []


def test_queries_of_annotations_parse(
    promtool: Promtool, alerts: list[dict[str, Any]], tmp_path: Path
) -> None:
    """What a notification asks Prometheus for is PromQL, whatever the labels are."""
    queries = {
        query.replace("%q", '"x"')
        for alert in alerts
        for words in (*alert["annotations"].values(), *alert["labels"].values())
        for query in re.findall(r"`(.*?)`", words)
        if "inference:" in query or "inference_" in query
    }
    queries = {query for query in queries if "(" in query or "{" in query}
    rules = [{"record": f"a:{number}", "expr": query} for number, query in enumerate(sorted(queries))]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))

    assert len(queries) > 20
    assert promtool("check", "rules", str(file)).returncode == 0


def test_every_runbook_belongs_to_an_alert(alerts: list[dict[str, Any]], repository: Path) -> None:
    """A page whose alert is gone misleads whoever searches for it at night."""
    pages = {page.stem for page in (repository / "docs" / "runbooks").glob("*.md")}

    assert pages == {alert["alert"] for alert in alerts}


def test_runbooks_have_the_same_four_parts(alerts: list[dict[str, Any]], repository: Path) -> None:
    """Meaning, impact, diagnosis and fix, in that order, on every page."""
    parts = ["## Meaning", "## Impact", "## Diagnose", "## Fix"]
    for alert in alerts:
        lines = (repository / alert["annotations"]["runbook"]).read_text().splitlines()

        assert [f"# {alert['alert']}", *parts] == [line for line in lines if line.startswith("#")]


def test_alerts_resolve(alerts: list[dict[str, Any]], cases: list[dict[str, Any]]) -> None:
    """Each fires in a case that later is silent again: an alert that stays is one that nobody believes."""
    resolved = set()
    for case in cases:
        fired = {
            match
            for check in case.get("promql_expr_test", [])
            if check["exp_samples"]
            for match in re.findall(r'ALERTS\{alertname="(\w+)"', check["expr"])
        }
        for alert in case.get("alert_rule_test", []):
            if alert["exp_alerts"]:
                fired.add(alert["alertname"])
            elif alert["alertname"] in fired:
                resolved.add(alert["alertname"])

    assert resolved == {alert["alert"] for alert in alerts}


def test_the_comment_on_links_gives_whole_addresses(prometheus_folder: Path) -> None:
    """The one command in the rules' header turns every link of every alert into an address."""
    text = (prometheus_folder / "fleet-rules.yml").read_text()
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


def test_the_recipe_for_decommissioning_has_the_order_of_its_case(repository: Path) -> None:
    """decommission_test.yml removes the target before the exporter stops, as the page says."""
    page = (repository / "docs" / "finance.md").read_text()
    _, _, recipe = page.partition("## Decommission a host\n")
    steps = [recipe.index(step) for step in ("adjustments", "scrape target", "systemctl stop", "cp /var/lib")]
    (case,) = document_of(FOLDER / "decommission_test.yml")["tests"]

    assert steps == sorted(steps)
    assert steps[-1] < recipe.index("\n## ")
    assert case["name"].startswith("a host is decommissioned, its target first")


def test_one_job_name_everywhere(prometheus_folder: Path, repository: Path) -> None:
    """README, the scrape job and the runbooks name the same job, so that a pasted query finds it."""
    (job,) = yaml.safe_load((prometheus_folder / "prometheus.yml").read_text())["scrape_configs"]
    (documented,) = re.findall(r"job_name: (\S+)", (repository / "README.md").read_text())
    pages = [page.read_text() for page in sorted((repository / "docs" / "runbooks").glob("*.md"))]
    queried_jobs = {name for page in pages for name in re.findall(r'job=~"([^"]+)"', page)}

    assert documented == job["job_name"]
    assert queried_jobs
    assert [pattern for pattern in queried_jobs if not re.fullmatch(pattern, documented)] == []
