"""What Prometheus and Grafana get: the files of deploy/prometheus and dashboards, changed only as asked."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.charts.chart import ROOT, Manifest, manifests, of, only, values

RULES = ROOT / "deploy" / "prometheus"

Group = dict[str, Any]


def groups(scope: str) -> list[Group]:
    """Those of a rule file as it is checked in."""
    parsed: list[Group] = yaml.safe_load((RULES / f"{scope}-rules.yml").read_text())["groups"]
    return parsed


def resource(objects: list[Manifest], scope: str) -> list[Group]:
    """Those that the chart renders, as a custom resource or as a file in a ConfigMap."""
    (match,) = (each for each in objects if each["metadata"]["name"].endswith(f"-{scope}-rules"))
    if match["kind"] == "PrometheusRule":
        return list(match["spec"]["groups"])
    return list(yaml.safe_load(match["data"][f"{scope}-rules.yml"])["groups"])


def alerts(of_groups: list[Group]) -> list[dict[str, Any]]:
    return [rule for group in of_groups for rule in group["rules"] if "alert" in rule]


@pytest.mark.parametrize("scope", ["cluster", "fleet"])
def test_the_rules_are_those_of_the_repository(scope: str) -> None:
    """Every expression, duration, label and annotation, as they were tested."""
    assert resource(of("monitoring"), scope) == groups(scope)


def test_each_place_is_asked_for_by_itself() -> None:
    """The central ruler wants the second file, each cluster the first."""
    names = [
        {each["metadata"]["name"] for each in manifests(*values(rules={scope: True})) if "rules" in str(each)}
        for scope in ("cluster", "fleet")
    ]

    assert names == [{"inference-cost-exporter-cluster-rules"}, {"inference-cost-exporter-fleet-rules"}]


def test_alerts_are_changed_as_asked_and_no_other() -> None:
    """One is off, one has another duration and severity, all have the severities of the house."""
    wanted = []
    for rule in alerts(groups("fleet")):
        if rule["alert"] == "InferenceIdleSpend":
            continue
        rule["labels"]["severity"] = {"page": "critical", "ticket": "warning"}[rule["labels"]["severity"]]
        if rule["alert"] == "InferenceGpuDown":
            rule["for"] = "30m"
            rule["labels"]["severity"] = "info"
        links = rule["annotations"]
        links["dashboard"] = f"https://grafana.example{links['dashboard']}"
        links["runbook"] = f"https://git.example/inference-cost-exporter/blob/main/{links['runbook']}"
        wanted.append(rule)
    changed = resource(of("alerts"), "fleet")

    assert alerts(changed) == wanted
    assert [rule for group in changed for rule in group["rules"] if "record" in rule] == [
        rule for group in groups("fleet") for rule in group["rules"] if "record" in rule
    ]


@pytest.mark.parametrize("name", ["monitoring", "alerts"])
def test_prometheus_takes_the_rules(name: str, tmp_path: Path) -> None:
    """Rendered, with what was changed."""
    files = []
    for scope in ("cluster", "fleet"):
        if name == "monitoring" or scope == "fleet":
            files.append(tmp_path / f"{scope}.yml")
            files[-1].write_text(yaml.safe_dump({"groups": resource(of(name), scope)}))
    process = subprocess.run(
        ["promtool", "check", "rules", *files], capture_output=True, text=True, check=False
    )

    assert process.returncode == 0, process.stdout + process.stderr


def test_a_group_without_a_rule_is_left_out() -> None:
    """Where every alert is switched off."""
    names = {rule["alert"]: {"enabled": False} for rule in alerts(groups("fleet"))}
    objects = manifests(*values(rules={"fleet": True, "alerts": names}))

    assert [group["name"] for group in resource(objects, "fleet")] == [
        "inference-month-memory",
        "inference-month-gone",
        "inference-month",
        "inference-spend",
        "inference-projection",
        "inference-projection-owner",
        "inference-projected",
        "inference-budgets",
        "inference-overheads",
        "inference-savings",
    ]


def test_the_sidecar_finds_every_dashboard() -> None:
    """By its label, in Grafana's namespace, each file as it is, under a name that is its own."""
    config_maps = [
        each for each in of("monitoring") if each["kind"] == "ConfigMap" and ".json" in str(each["data"])
    ]
    data = {name: text for each in config_maps for name, text in each["data"].items()}

    assert {each["metadata"]["namespace"] for each in config_maps} == {"monitoring"}
    assert all(each["metadata"]["labels"]["grafana_dashboard"] == "1" for each in config_maps)
    assert {each["metadata"]["annotations"]["grafana_folder"] for each in config_maps} == {"Inference cost"}
    assert {name: json.loads(text) for name, text in data.items()} == {
        f"inference-cost-{file.name}": json.loads(file.read_text())
        for file in (ROOT / "dashboards").glob("*.json")
    }
    assert len(config_maps) == 6


def test_the_monitor_is_the_plain_one_with_what_was_asked() -> None:
    """Labels of the workload are kept and those of the exporter's pod dropped, in every scenario."""
    (plain,) = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "podmonitor.yaml").read_text())["spec"][
        "podMetricsEndpoints"
    ]
    (endpoint,) = only("PodMonitor", of("monitoring"))["spec"]["podMetricsEndpoints"]
    (secured,) = only("PodMonitor", of("secured"))["spec"]["podMetricsEndpoints"]

    relabelings = list(plain["relabelings"])
    relabelings[2:2] = [
        {"targetLabel": "cluster", "replacement": "dc1"},
        {"sourceLabels": ["__meta_kubernetes_pod_label_team"], "targetLabel": "installed_by"},
    ]
    assert endpoint == {
        **plain,
        "interval": "15s",
        "scrapeTimeout": "10s",
        "relabelings": relabelings,
        "metricRelabelings": [{"sourceLabels": ["__name__"], "regex": "process_.*", "action": "drop"}],
    }
    assert only("PodMonitor", of("monitoring"))["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    assert secured["scheme"] == "https"
    assert secured.items() >= plain.items()
    assert secured["basicAuth"]["password"] == {"name": "scrape", "key": "password"}


def test_nobody_but_prometheus_may_connect() -> None:
    """And the exporter reaches what it asks, and nothing else."""
    policy = only("NetworkPolicy", of("secured"))["spec"]
    (ingress,) = policy["ingress"]

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert ingress["from"] == [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}},
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
        }
    ]
    assert ingress["ports"] == [{"protocol": "TCP", "port": "metrics"}]
    allowed = [
        (
            [peer["ipBlock"]["cidr"] for peer in rule.get("to", [])],
            [each["port"] for each in rule.get("ports", [])],
        )
        for rule in policy["egress"]
    ]
    assert allowed == [
        ([], [53, 53]),
        (["169.254.169.254/32"], [80]),
        ([], [10250]),
        ([], [443, 6443]),
        (["10.0.0.0/8"], []),
    ]


def test_the_demo_reaches_nobody() -> None:
    """It asks no cloud, no kubelet and no server; names it may resolve."""
    policy = only("NetworkPolicy", of("demo"))["spec"]

    assert [[each["port"] for each in rule["ports"]] for rule in policy["egress"]] == [[53, 53]]
