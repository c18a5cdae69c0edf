"""Five pages of one incident at a real Alertmanager: one is sent, and the others are inhibited."""

import re
from pathlib import Path

import pytest

from tests.e2e.daemon import until
from tests.e2e.fleet.compression import DEPLOY, alertmanager
from tests.e2e.fleet.programs import Alertmanager
from tests.e2e.fleet.receiver import Receiver
from tests.rules.victoriametrics import document_of

pytestmark = pytest.mark.timeout(120)

NOTIFIED_SECONDS = 60
LAST = {"alertname": "InferenceBooksUnbalanced", "severity": "ticket", "product": "fleet", "team": "platform"}


def pages() -> list[dict[str, str]]:
    """What fires 14 hours after one server ran away over two budgets, by promtool's case of it."""
    (case,) = [
        case
        for case in document_of(DEPLOY / "prometheus" / "incident_test.yml")["tests"]
        if case["name"].startswith("one new server runs away over two budgets")
    ]
    (check,) = [check for check in case["promql_expr_test"] if check["eval_time"] == "44h"]
    samples = [re.findall(r'(\w+)="(.*?)"', sample["labels"]) for sample in check["exp_samples"]]
    return [{name: value for name, value in labels if name != "alertstate"} for labels in samples]


def test_one_incident_is_one_page(tmp_path: Path) -> None:
    """All arrive at once; a ticket that comes after them is sent, so no page is still to come."""
    firing = pages()
    with Receiver() as receiver, Alertmanager(tmp_path / "am", alertmanager(receiver.url)) as router:
        router.fire(*firing)
        until(lambda: receiver.matching("firing", severity="page"), NOTIFIED_SECONDS, "a page")
        router.fire(LAST)
        until(lambda: receiver.matching("firing", severity="ticket"), NOTIFIED_SECONDS, "a ticket")

        sent = [notice.labels for notice in receiver.matching("firing", severity="page")]
        states = [alert["status"]["state"] for alert in router.alerts()]

    assert len(firing) == 5
    assert [(page["alertname"], page["budget"]) for page in sent] == [("InferenceSpendRunaway", "batch")]
    assert sorted(states) == ["active"] * 2 + ["suppressed"] * 4
