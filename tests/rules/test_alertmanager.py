"""The example for the Alertmanager: who is told of what, and what silences what."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

FILE = Path(__file__).parents[2] / "deploy" / "alertmanager" / "alertmanager.yml"
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"(.*)"')


def amtool(*arguments: str) -> str:
    """What amtool prints. Its absence fails, since nothing else reads the file as the Alertmanager does."""
    binary = shutil.which("amtool")
    if binary is None:
        pytest.fail("amtool is not on PATH: apt-get install prometheus-alertmanager", pytrace=False)
    result = subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.strip()


def holds(matcher: str, labels: dict[str, str]) -> bool:
    """Whether labels satisfy one matcher; a label that is not there is empty."""
    match = MATCHER.fullmatch(matcher)
    assert match is not None, matcher
    name, operator, value = match.groups()
    here = labels.get(name, "")
    same = re.fullmatch(value, here) is not None if "~" in operator else here == value
    return same != operator.startswith("!")


def inhibited(source: dict[str, str], target: dict[str, str]) -> bool:
    """Whether an alert that fires silences another, by any of the file's rules."""
    return any(
        all(holds(matcher, source) for matcher in rule["source_matchers"])
        and all(holds(matcher, target) for matcher in rule["target_matchers"])
        and all(source.get(label, "") == target.get(label, "") for label in rule.get("equal", []))
        for rule in yaml.safe_load(FILE.read_text())["inhibit_rules"]
    )


def test_the_alertmanager_accepts_the_example() -> None:
    """It would start with it."""
    assert "SUCCESS" in amtool("check-config", str(FILE))


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (("severity=page", "product=chat"), "chat-pager"),
        (("severity=page", "product=fleet"), "platform-pager"),
        (("severity=page", "product=search"), "platform-pager"),
        (("severity=ticket", "product=chat"), "chat-tickets"),
        (("severity=ticket", "product=fleet"), "platform-tickets"),
        (("severity=ticket", "product=chat", "alertname=InferenceSavingsAvailable"), "chat-tickets"),
        (("severity=ticket", "product=fleet", "alertname=InferenceSavingsAvailable"), "platform-tickets"),
        (("severity=none",), "platform-tickets"),
    ],
)
def test_who_is_told(labels: tuple[str, ...], receiver: str) -> None:
    """Pages go to a pager and tickets do not; a product with a branch of its own gets its own alerts."""
    assert receiver == amtool("config", "routes", "test", f"--config.file={FILE}", *labels)


def alert(name: str, severity: str = "ticket", **labels: str) -> dict[str, str]:
    """The labels that decide."""
    return {"alertname": name, "severity": severity, **labels}


NONE = alert("InferenceNoExporter", "page")
LOST = alert("InferenceClusterSilent", "page", cluster="c")
METER_BLIND = alert("InferenceMeterBlind", "page", cluster="c")
ALONE = alert("InferenceMeterBlind", "page")
CHAT = {"budget": "chat", "product": "chat"}
FLEET = {"budget": "fleet", "product": "fleet"}
SPENT = alert("InferenceBudgetExhausted", "page", **CHAT)
RUNAWAY = alert("InferenceSpendRunaway", "page", **CHAT, cause="chat")
RATE = alert("InferenceRunRateOverBudget", "page", **CHAT, cause="chat")
BY_CHAT = alert("InferenceSpendRunaway", "page", **FLEET, cause="chat")
OVER = alert("InferenceSpendProjectedOverBudget", **CHAT)


@pytest.mark.parametrize(
    ("source", "target", "silenced"),
    [
        (NONE, alert("InferenceHostsMissing", cluster="c"), True),
        (NONE, SPENT, True),
        (NONE, METER_BLIND, True),
        (NONE, LOST, True),
        (NONE, NONE, False),
        (NONE, alert("NodeDown", "page"), False),
        (LOST, alert("InferenceTokensDearer", cluster="c"), True),
        (LOST, METER_BLIND, True),
        (LOST, alert("InferenceHostsMissing", cluster="d"), False),
        (LOST, alert("InferenceClusterSilent", "page", cluster="d"), False),
        (LOST, alert("InferenceClusterSilent", cluster="c"), False),
        (LOST, SPENT, False),
        (LOST, OVER, False),
        (LOST, alert("InferenceMonthEstimated"), False),
        (LOST, NONE, False),
        (METER_BLIND, alert("InferenceSourceDown", cluster="c"), True),
        (METER_BLIND, alert("InferenceSourceDown", cluster="d"), False),
        (METER_BLIND, LOST, False),
        (METER_BLIND, SPENT, False),
        (METER_BLIND, NONE, False),
        (ALONE, SPENT, True),
        (ALONE, alert("InferenceSourceDown"), True),
        (ALONE, LOST, False),
        (ALONE, NONE, False),
        (SPENT, alert("InferenceBudgetExhausted", **CHAT), True),
        (SPENT, alert("InferenceBudgetExhausted", **FLEET), False),
        (SPENT, OVER, False),
        (SPENT, alert("InferenceRunRateOverBudget", **CHAT), False),
        (SPENT, alert("InferenceIdleSpend", **CHAT), False),
        (SPENT, alert("InferenceRunRateOverBudget", "page", **CHAT), False),
        (SPENT, alert("InferenceGpuUnpriced"), False),
        (RUNAWAY, alert("InferenceSpendRunaway", **CHAT), True),
        (RUNAWAY, OVER, False),
        (RUNAWAY, RATE, True),
        (RUNAWAY, SPENT, True),
        (RUNAWAY, RUNAWAY, False),
        (RUNAWAY, alert("InferenceRunRateOverBudget", "page", **FLEET, cause="chat"), False),
        (alert("InferenceSpendRunaway", **CHAT), RATE, False),
        (RUNAWAY, BY_CHAT, True),
        (RUNAWAY, BY_CHAT | {"cause": "search"}, False),
        (RUNAWAY, BY_CHAT | {"cause": "fleet"}, False),
        (RATE, BY_CHAT, False),
        (BY_CHAT, RUNAWAY, False),
        (RATE, OVER, False),
        (RATE, alert("InferenceRunRateOverBudget", **CHAT), True),
        (RATE, RUNAWAY, False),
        (alert("InferenceRunRateOverBudget", **CHAT), SPENT, False),
    ],
)
def test_what_silences_what(source: dict[str, str], target: dict[str, str], silenced: bool) -> None:  # noqa: FBT001
    """A page inhibits its ticket and the pages that it causes, a blind meter what repeats last values."""
    assert silenced == inhibited(source, target)


def test_no_page_holds_back_another_alert(alerts: list[dict[str, Any]]) -> None:
    """A ticket of a budget is inhibited by a page of the same alert alone, whatever the rules are."""
    budgets = sorted({rule["alert"] for rule in alerts if "budget" in rule["labels"]["team"] + rule["expr"]})
    pages = [name for name in budgets if name not in {"InferenceNoExporter", "InferenceMeterBlind"}]

    expected = {
        (source, target)
        for source in pages
        for target in budgets
        if inhibited(alert(source, "page", **CHAT), alert(target, **CHAT))
    }

    assert expected
    assert {(source, target) for source, target in expected if source != target} == set()


INCIDENT = "one new server runs away over two budgets"
BEGAN_HOURS = 30


def hours(duration: str) -> float:
    """Of a duration such as 55h30m."""
    return sum(int(number) / {"h": 1, "m": 60}[unit] for number, unit in re.findall(r"(\d+)([hm])", duration))


@pytest.fixture(scope="module")
def incident(cases: list[dict[str, Any]]) -> dict[float, list[dict[str, str]]]:
    """The pages that fire in that case of promtool's, by the hours since it began."""
    (case,) = [case for case in cases if case["name"].startswith(INCIDENT)]
    return {
        hours(check["eval_time"]) - BEGAN_HOURS: [
            dict(re.findall(r'(\w+)="(.*?)"', sample["labels"])) for sample in check["exp_samples"]
        ]
        for check in case["promql_expr_test"]
        if check["expr"].startswith('ALERTS{severity="page",alertstate="firing"')
    }


def test_one_incident_is_one_page(incident: dict[float, list[dict[str, str]]]) -> None:
    """Of five pages that fire within 14 hours one is sent, while the server runs; none is once it is gone."""
    sent = {
        hour: [page for page in pages if not any(inhibited(source, page) for source in pages)]
        for hour, pages in incident.items()
    }

    firing = {hour: len(pages) for hour, pages in incident.items()}
    names = {hour: [(page["alertname"], page["product"]) for page in pages] for hour, pages in sent.items()}
    assert firing == {1: 2, 5: 3, 14: 5, 25.5: 5, 43: 5, 45: 0}
    assert names.pop(45) == []
    assert set(map(tuple, names.values())) == {(("InferenceSpendRunaway", "batch"),)}


def test_a_page_is_repeated_after_four_hours() -> None:
    """In the 14 hours of that incident it is sent four times: at once, and after 4, 8 and 12."""
    (route,) = [
        route
        for route in yaml.safe_load(FILE.read_text())["route"]["routes"]
        if route["matchers"] == ['severity = "page"']
    ]

    assert route["repeat_interval"] == "4h"
    assert all("repeat_interval" not in branch for branch in route["routes"])


def test_every_alert_that_is_named_exists(alerts: list[dict[str, Any]]) -> None:
    """A renamed alert would silence nothing, and nobody would notice."""
    named = set(re.findall(r"Inference[A-Z]\w+", FILE.read_text()))

    assert named <= {rule["alert"] for rule in alerts}
    assert named
