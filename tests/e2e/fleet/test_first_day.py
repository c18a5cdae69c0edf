"""Five hosts that are installed without a configuration page nobody in their first day, on both engines."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.fleet.expected_hosts import (
    DAY,
    HOUR,
    UNASSIGNED_OWNER,
    ExpectedFleet,
    ExpectedHost,
    FleetServer,
)
from tests.e2e.fleet.fleets import gpus
from tests.e2e.fleet.page import Line, page
from tests.e2e.fleet.rule_unit_tests import DEPLOY, ENGINES, alerting, exactly, number, run

pytestmark = pytest.mark.timeout(600)

RULES = [DEPLOY / "cluster-rules.yml", DEPLOY / "fleet-rules.yml"]
STEP = 120
"""Seconds between two scrapes."""
EVALUATION = 240
"""Between two evaluations: as long as the rules bear."""
HOSTS = 5
APART = STEP
"""Between the installation of two hosts."""
DISCOVERED = FleetServer(
    "vllm", UNASSIGNED_OWNER, "default", "Llama-3.3-70B", (250, 350, 0, 390, 10), (900_000, 300_000, 400_000)
)
"""What discovery finds by itself: a server with a model and without an owner."""


def fleet() -> ExpectedFleet:
    """Five hosts at 80 dollars an hour, by estimate: 9,600 dollars a day."""
    hosts = tuple(
        ExpectedHost(
            "",
            f"node-{index}:9844",
            f"ledger-{index}",
            gpus(f"node-{index}", 1, "NVIDIA GB200", 79_900_000, 100_000, "estimate"),
            (DISCOVERED,),
            index * APART,
        )
        for index in range(HOSTS)
    )
    return ExpectedFleet(hosts, (("fleet", "", 27_000),), "m1", -10 * DAY, 20 * DAY, "m0")


def read() -> frozenset[str]:
    """The families that the rules name."""
    text = "".join(file.read_text(encoding="utf-8") for file in RULES)
    return frozenset(re.findall(r"\binference_\w+", text))


def written(line: Line, host: ExpectedHost) -> dict[str, str]:
    """One input of a unit test: a line that rises evenly from the scrape in which the host appears."""
    first, second, middle, last = (line.at(at) for at in (host.begin, host.begin + STEP, HOUR, DAY))
    assert first is not None
    assert second is not None
    assert last is not None
    slope = second - first
    assert middle == pytest.approx(first + slope * (HOUR - host.begin) / STEP)
    assert last == pytest.approx(first + slope * (DAY - host.begin) / STEP)
    before = f"_x{host.begin // STEP - 1} " if host.begin else ""
    rest = (DAY - host.begin) // STEP
    node = host.instance.partition(":")[0]
    series = line.series(instance=host.instance, job="inference-cost-exporter", node=node)
    return {"series": series, "values": f"{before}{number(first)}+{number(slope)}x{rest}"}


def pages() -> Iterator[dict[str, str]]:
    """What Prometheus scrapes of all of them, as far as a rule reads it."""
    names, whole = read(), fleet()
    for host in whole.hosts:
        for line in page(host, whole, 0):
            if line.name == "inference_budget_configured":
                yield written(Line(line.name, line.labels, lambda _: 0.0), host)
            elif line.name in names and line.at(host.begin) is not None:
                yield written(line, host)
        up = Line("up", {}, lambda _: 1.0)
        yield written(up, host)


@pytest.mark.nightly
@pytest.mark.parametrize("engine", ENGINES)
def test_nobody_is_paged(engine: str, tmp_path: Path) -> None:
    """9,600 dollars a day go past the default budget of 27,000 by any end of the band: tickets, no page."""
    fired = f'count by (alertname, severity) (max_over_time(ALERTS{{alertstate="firing"}}[{DAY}s]))'
    tickets = ["InferenceMonthEstimated", "InferenceSpendUnassigned"]
    if engine == "promtool":
        # Half of the least hour is over the budget from the seventh hour on. VictoriaMetrics' mean of the
        # first hour, of one sample less, has half of the hosts: its ticket comes after the first day.
        tickets.append("InferenceSpendProjectedOverBudget")
    checks = [
        exactly(DAY, "sum(inference:spend_dollars_per_hour)", {"{}": 400}),
        exactly(DAY, "sum(inference:budget_configured)", {"{}": 0}),
        exactly(DAY, fired, {f'{{alertname="{name}",severity="ticket"}}': 1 for name in tickets}),
    ]
    failed = run(
        engine,
        tmp_path,
        alerting(RULES, tmp_path / "rules"),
        list(pages()),
        checks,
        step=STEP,
        evaluation=EVALUATION,
    )
    if failed:
        pytest.fail(failed, pytrace=False)
