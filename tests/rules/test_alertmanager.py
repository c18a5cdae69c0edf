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
    found = MATCHER.fullmatch(matcher)
    assert found is not None, matcher
    name, operator, value = found.groups()
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
        (("severity=none",), "platform-tickets"),
    ],
)
def test_who_is_told(labels: tuple[str, ...], receiver: str) -> None:
    """Pages go to a pager and tickets do not; a product with a branch of its own gets its own alerts."""
    assert receiver == amtool("config", "routes", "test", f"--config.file={FILE}", *labels)


def alert(name: str, severity: str = "ticket", **labels: str) -> dict[str, str]:
    """The labels that decide."""
    return {"alertname": name, "severity": severity, **labels}


NOBODY = alert("InferenceNoExporter", "page")
BLIND = alert("InferenceMeterBlind", "page", cluster="c")
ALONE = alert("InferenceMeterBlind", "page")
SPENT = alert("InferenceBudgetExhausted", "page", budget="chat", product="chat")


@pytest.mark.parametrize(
    ("source", "target", "silenced"),
    [
        (NOBODY, alert("InferenceHostsMissing", cluster="c"), True),
        (NOBODY, SPENT, True),
        (NOBODY, BLIND, True),
        (NOBODY, NOBODY, False),
        (NOBODY, alert("NodeDown", "page"), False),
        (BLIND, alert("InferenceSourceDown", cluster="c"), True),
        (BLIND, alert("InferenceSourceDown", cluster="d"), False),
        (BLIND, SPENT, False),
        (BLIND, NOBODY, False),
        (ALONE, SPENT, True),
        (ALONE, alert("InferenceSourceDown"), True),
        (ALONE, NOBODY, False),
        (SPENT, alert("InferenceSpendProjectedOverBudget", budget="chat", product="chat"), True),
        (SPENT, alert("InferenceSpendProjectedOverBudget", budget="fleet", product="fleet"), False),
        (SPENT, alert("InferenceRunRateOverBudget", "page", budget="chat", product="chat"), False),
        (SPENT, alert("InferenceGpuUnpriced"), False),
        (alert("InferenceRunRateOverBudget", budget="chat", product="chat"), SPENT, False),
    ],
)
def test_what_silences_what(source: dict[str, str], target: dict[str, str], silenced: bool) -> None:  # noqa: FBT001
    """A page silences the tickets of its budget, a blind meter everything that it makes a memory of."""
    assert silenced == inhibited(source, target)


def test_every_alert_that_is_named_exists(alerts: list[dict[str, Any]]) -> None:
    """A renamed alert would silence nothing, and nobody would notice."""
    named = set(re.findall(r"Inference[A-Z]\w+", FILE.read_text()))

    assert named <= {found["alert"] for found in alerts}
    assert named
