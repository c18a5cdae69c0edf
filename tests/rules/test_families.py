"""The families that a central place takes, and the files that say so."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.rules.conftest import Promtool

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "deploy" / "prometheus"
NAME: Final = re.compile(r"\b(?:inference[_:]|kube_)[a-z0-9_:]+")


def loaded(name: str) -> Any:
    """A file of deploy/prometheus."""
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def families() -> set[str]:
    """What cluster.yml sends."""
    (keep,) = loaded("cluster.yml")["remote_write"][0]["write_relabel_configs"]
    assert (keep["source_labels"], keep["action"]) == (["__name__"], "keep")
    return set(keep["regex"].split("|"))


def records(name: str) -> set[str]:
    """What a file records."""
    return {rule["record"] for group in loaded(name)["groups"] for rule in group["rules"] if "record" in rule}


@pytest.mark.parametrize("name", ["cluster.yml", "central.yml", "federation.yml"])
def test_prometheus_accepts_each_file(promtool: Promtool, name: str) -> None:
    """Each finds the rules beside it."""
    result = promtool("check", "config", name)

    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 rule files found" in result.stdout


def test_the_fleet_reads_nothing_else(families: set[str]) -> None:
    """Each name in an expression or a notification's query is recorded there or is sent; none is raw."""
    rules = [rule for group in loaded("fleet-rules.yml")["groups"] for rule in group["rules"]]
    texts = [rule["expr"] for rule in rules]
    for rule in rules:
        for words in (*rule.get("labels", {}).values(), *rule.get("annotations", {}).values()):
            texts += re.findall(r"\{\{(.*?)\}\}", words)
    text = "\n".join(texts)

    assert set(NAME.findall(text)) - records("fleet-rules.yml") <= families
    assert {name for name in families if not name.startswith("inference:")} == set()


def test_nothing_is_sent_in_vain(families: set[str]) -> None:
    """Each is recorded in the cluster, and read by the fleet's rules or by a dashboard."""
    boards = [file.read_text(encoding="utf-8") for file in (ROOT / "dashboards").glob("*.json")]
    read = {
        name for text in (*boards, (FOLDER / "fleet-rules.yml").read_text()) for name in NAME.findall(text)
    }

    assert families <= records("cluster-rules.yml")
    assert families <= read


def test_all_files_name_the_same(families: set[str]) -> None:
    """Remote write, federation and the operator's values."""
    (matcher,) = loaded("federation.yml")["scrape_configs"][0]["params"]["match[]"]
    match = re.fullmatch(r'\{__name__=~"(.*)"\}', matcher)
    operator = loaded("operator-values.yaml")["prometheus"]["prometheusSpec"]["remoteWrite"][0]

    assert match is not None
    assert set(match[1].split("|")) == families
    assert set(operator["writeRelabelConfigs"][0]["regex"].split("|")) == families


def test_the_files_honor_labels_and_name_their_cluster() -> None:
    """The exporter's `namespace` is the workload's; a fetched record keeps the labels of its Prometheus."""
    jobs = [job for name in ("cluster.yml", "federation.yml") for job in loaded(name)["scrape_configs"]]

    assert [job["honor_labels"] for job in jobs] == [True, True]
    assert "cluster" in loaded("cluster.yml")["global"]["external_labels"]


def test_a_raw_series_stops_the_generator() -> None:
    """The center has none: it is recorded in the cluster first."""
    program = """
import sys
sys.path.insert(0, "deploy/rules")
from families import families
from statement import Group, Record
fleet = Group("f", "1m", (Record("inference:b", "inference:a + up{job='x'} + inference_tokens_total"),))
try:
    families((Group("c", "1m", (Record("inference:a", "inference_tokens_total"),)),), (fleet,))
except ValueError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout == (
        "fleet-rules.yml reads what cluster-rules.yml does not record: inference_tokens_total, up\n"
    )


def test_the_page_says_how_many_rules_the_center_has() -> None:
    """docs/fleet.md states how many groups Mimir has to take."""
    page = (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8")
    (needed,) = re.findall(r"\| `ruler_max_rule_groups_per_tenant` \| 70 \| (\d+) \|", page)

    assert int(needed) == len(loaded("fleet-rules.yml")["groups"])


def test_a_rule_without_a_head_stops_the_generator() -> None:
    """One that is misspelled would else be a part of the expression before it."""
    program = """
import sys
sys.path.insert(0, "deploy/rules")
from reader import groups
try:
    groups("rules g every 1m\\nrecord inference:a (cluster) no colon\\n1\\n")
except ValueError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout == (
        "deploy/rules: no head of a group, a record or an alert: record inference:a (cluster) no colon\n"
    )
