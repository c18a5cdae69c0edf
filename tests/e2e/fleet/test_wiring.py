"""What a cluster sends by deploy/prometheus/cluster.yml is all that the fleet's rules read.

Two centers evaluate the same rules: one has what that file lets through of two replicas of the cluster's
Prometheus and does not deduplicate, the other has all that one of them has.
"""

import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.daemon import until
from tests.e2e.fleet.central_stack import Hosts
from tests.e2e.fleet.compression import DEPLOY, of_center, of_cluster, rule_files
from tests.e2e.fleet.exporters import Exporters
from tests.e2e.fleet.fleets import FLEET
from tests.e2e.fleet.programs import FleetPrometheus

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("center")]

CLUSTER = "west"
SETTLED_SECONDS = 20
"""After which every chain of rules that are evaluated each second has its end."""
CLOSE = 1e-3
"""Two evaluations of one rule are parts of a second apart."""
STEADY = re.compile("month_to_date|spend_dollars|monthly_run_rate|budget_dollars|budget_cost")
"""Records whose values are compared; means of the first seconds differ with the moment of each evaluation."""


def test_the_families_are_enough_and_are_all_that_is_sent(tmp_path: Path) -> None:
    """Every record and alert of fleet-rules.yml is the same with them alone, and nothing else arrives."""
    files = rule_files(tmp_path / "rules", 1)
    here = [host for host in FLEET.hosts if host.cluster == CLUSTER]
    hosts = Hosts(FLEET, int(time.time()), [host for host in here if host.alive(0)])
    targets = tmp_path / "targets.json"
    receiver = ("--web.enable-remote-write-receiver",)
    with (
        Exporters(targets, hosts.page, labeled=False) as exporters,
        FleetPrometheus(tmp_path / "some", of_center(files[1]), receiver) as some,
        FleetPrometheus(tmp_path / "all", of_center(files[1]), receiver) as everything,
    ):
        exporters.set_targets(hosts.answering, kubernetes=False)
        urls = [f"{center.url}/api/v1/write" for center in (some, everything)]
        first: dict[str, Any] = yaml.safe_load(of_cluster(files[0], targets, 1, CLUSTER, urls))
        del first["remote_write"][1]["write_relabel_configs"]
        second: dict[str, Any] = yaml.safe_load(of_cluster(files[0], targets, 1, CLUSTER, urls[:1]))
        second["global"]["external_labels"]["replica"] = "b"
        with (
            FleetPrometheus(tmp_path / "a", yaml.safe_dump(first)) as cluster,
            FleetPrometheus(tmp_path / "b", yaml.safe_dump(second)),
        ):
            due = time.time() + SETTLED_SECONDS
            until(lambda: cluster.evaluated(due - 5) and time.time() > due, 120, "the rules settled")
            sent = {labels["__name__"] for labels, _ in some.rows('count by (__name__) ({__name__!=""})')}
            compared = [
                rule["record"]
                for group in yaml.safe_load(files[1].read_text())["groups"]
                for rule in group["rules"]
                if "record" in rule
            ]
            different = {}
            for name in [*compared, "ALERTS"]:
                ours, theirs = some.query(name), everything.query(name)
                same = near(ours, theirs) if STEADY.search(name) else ours.keys() == theirs.keys()
                if not same:
                    different[name] = ours, theirs
            recorded = [name for name in compared if some.query(name)]

    regex = families()
    assert different == {}
    assert len(recorded) > len(compared) * 2 // 3, sorted(set(compared) - set(recorded))
    assert {name for name in sent if not regex.fullmatch(name)} - set(compared) == {
        "ALERTS",
        "ALERTS_FOR_STATE",
    }


def families() -> re.Pattern[str]:
    """What cluster.yml keeps."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "cluster.yml").read_text())
    (keep,) = config["remote_write"][0]["write_relabel_configs"]
    assert keep["action"] == "keep"
    return re.compile(keep["regex"])


def near(ours: dict[str, float], theirs: dict[str, float]) -> bool:
    """The same series with the same values, nearly."""
    return ours == pytest.approx(theirs, rel=CLOSE, abs=CLOSE)
