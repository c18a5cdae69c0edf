"""Both engines keep the month of half a day's story, in simulated time and with the rules as they are."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from tests.e2e.fleet import timeline
from tests.e2e.fleet.rule_unit_tests import DEPLOY, ENGINES, Check, exactly, nearly, run
from tests.e2e.fleet.timeline import MINUTE, MONTH, NEXT, Truth

pytestmark = pytest.mark.timeout(600)

FIRING = 'count by (alertname, budget, cluster) (ALERTS{alertstate="firing"})'
EXHAUSTED = '{alertname="InferenceBudgetExhausted",budget="chat"}'
BEGUN = '{alertname="InferenceLedgerBegunAnew",cluster="eu"}'
STEPS: dict[str, tuple[int, tuple[str, ...]]] = {
    "installed": (timeline.GROWTH - MINUTE, (EXHAUSTED,)),
    "grown": (timeline.NODE_LOST - MINUTE, (EXHAUSTED,)),
    "a node lost": (timeline.SILENT - MINUTE, (EXHAUSTED,)),
    "a host silent": (
        timeline.ANSWERS - MINUTE,
        (EXHAUSTED, '{alertname="InferenceHostsMissing",cluster="east"}'),
    ),
    "it answers again": (timeline.LOST - MINUTE, (EXHAUSTED,)),
    "a cluster lost": (
        timeline.BACK - MINUTE,
        (EXHAUSTED, '{alertname="InferenceClusterSilent",cluster="west"}'),
    ),
    "it is back": (timeline.RENAMED - MINUTE, (EXHAUSTED,)),
    "relabeled": (timeline.REPLACED - MINUTE, (EXHAUSTED,)),
    "a ledger replaced, and the month's last minute": (timeline.MONTH_END - MINUTE, (EXHAUSTED, BEGUN)),
    "the month after": (timeline.MOVED - MINUTE, (BEGUN,)),
    "a host moved": (timeline.END, (BEGUN,)),
}


def checks() -> Iterator[Check]:
    """The paper's months, by owner and by cluster, its spend, and its alerts."""
    for at, alerts in STEPS.values():
        truth = Truth(at)
        for month in (MONTH, NEXT) if at > timeline.MONTH_END else (MONTH,):
            record = "inference:month_to_date_dollars"
            if month == MONTH and at > timeline.MONTH_END:
                record = "inference:closed_month_dollars"
            dollars = truth.month(month)
            yield exactly(at, f'count({record}:owner{{month="{month}"}} > 0)', {"{}": len(dollars)})
            for (name, (product, team)), part in dollars.items():
                labels = {"month": month, "cluster": name, "product": product, "team": team}
                yield nearly(at, f"{record}:owner", labels, part)
            for name in {name for name, _ in dollars}:
                whole = sum(part for (other, _), part in dollars.items() if other == name)
                yield nearly(at, record, {"month": month, "cluster": name}, Fraction(whole))
            yield nearly(at, record, {"month": month}, Fraction(sum(dollars.values())))
        spend = truth.spend()
        for (name, (product, team)), rate in spend.items():
            labels = {"cluster": name, "product": product, "team": team}
            yield nearly(at, "inference:spend_dollars_per_hour:owner", labels, rate, 1e-9)
        yield exactly(at, "count(inference:spend_dollars_per_hour:owner > 0)", {"{}": len(spend)})
        yield nearly(at, "inference:spend_dollars_per_hour", {}, Fraction(sum(spend.values())), 1e-9)
        yield exactly(at, FIRING, dict.fromkeys(alerts, 1))


@pytest.mark.nightly
@pytest.mark.parametrize("engine", ENGINES)
def test_the_month_and_the_alerts_are_those_of_the_paper(engine: str, tmp_path: Path) -> None:
    """To the cent, through growth, a node and a cluster lost, a new name and a new ledger."""
    series = [timeline.written(key, values) for key, values in timeline.history().items()]

    failed = run(engine, tmp_path, [DEPLOY / "fleet-rules.yml"], series, list(checks()))
    if failed:
        pytest.fail(failed, pytrace=False)
