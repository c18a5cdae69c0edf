"""The families of series that the central place takes from each cluster, and the files that name them.

Its rules and the dashboards of the fleet read them, and the cluster's own rules record them. The dashboards
of one host read raw series, which stay in the cluster.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from statement import Group, Record, query_texts

DASHBOARDS: Final = Path(__file__).parents[2] / "dashboards"

NAME: Final = re.compile(r"\b(?:inference[_:][a-z0-9_:]+|kube_[a-z0-9_]+|up\b(?=\s*[{\[)=]))")

TOP: Final = (
    "Written by deploy/rules/generate.py; do not edit. docs/fleet.md says where it belongs and what it costs."
)


def of_rules(groups: tuple[Group, ...]) -> set[str]:
    """What expressions and the queries of annotations and labels read and no rule of these groups records."""
    rules = [rule for group in groups for rule in group.rules]
    mentioned = {name for text in query_texts(rules) for name in NAME.findall(text)}
    return mentioned - {rule.name for rule in rules if isinstance(rule, Record)}


def of_dashboards(folder: Path = DASHBOARDS) -> dict[str, set[str]]:
    """What the panels, marks and variables of each dashboard read, by its file's name."""
    return {
        file.stem: {
            name for query in queries(json.loads(file.read_text("utf-8"))) for name in NAME.findall(query)
        }
        for file in sorted(folder.glob("*.json"))
    }


def queries(part: object) -> Iterator[str]:
    """Every query of a dashboard, wherever in it."""
    if isinstance(part, list):
        for item in part:
            yield from queries(item)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key in {"expr", "query", "definition"} and isinstance(value, str):
                yield value
            else:
                yield from queries(value)


def families(cluster: tuple[Group, ...], fleet: tuple[Group, ...]) -> list[str]:
    """The names, sorted.

    Raises:
        ValueError: the central place would need a series that no cluster records.
    """
    recorded = {rule.name for group in cluster for rule in group.rules if isinstance(rule, Record)}
    needed = of_rules(fleet)
    if raw := sorted(needed - recorded):
        raise ValueError(f"fleet-rules.yml reads what cluster-rules.yml does not record: {', '.join(raw)}")
    shown = {name for names in of_dashboards().values() for name in names}
    return sorted(needed | (shown & recorded))


def regex(names: list[str], indent: str) -> str:
    """The names as one regular expression, in YAML, one on each line."""
    return '"' + f"|\\\n{indent}".join(names) + '"'


def files(cluster: tuple[Group, ...], fleet: tuple[Group, ...]) -> dict[str, str]:
    """Files of deploy/prometheus by name."""
    names = families(cluster, fleet)
    return {
        "cluster.yml": CLUSTER.format(top=TOP, scrape=SCRAPE, regex=regex(names, " " * 10)),
        "central.yml": CENTRAL.format(top=TOP),
        "federation.yml": FEDERATION.format(top=TOP, regex="|\\\n          ".join(names)),
        "operator-values.yaml": OPERATOR.format(top=TOP, regex=regex(names, " " * 14)),
    }


SCRAPE: Final = """\
scrape_configs:
  - job_name: inference-cost-exporter
    honor_labels: true   # `namespace` is that of the workload that the money is for
    static_configs:
      - targets: ["localhost:9844"]
    # Many hosts: list them in files, which are read again when they change.
    # file_sd_configs:
    #   - files: [/etc/prometheus/inference-cost-exporter/*.yaml]
"""

CLUSTER: Final = """\
# The Prometheus of one of several clusters: scrapes the exporters, records, and sends what the center needs.
# {top}
global:
  scrape_interval: 30s
  external_labels:
    cluster: dc1         # unique among the clusters; no budget or month depends on it
    # replica: a         # of a highly available pair; docs/fleet.md has what each store does with it

rule_files:
  - cluster-rules.yml

{scrape}
remote_write:
  - url: https://central.example/api/v1/write
    # basic_auth: {{username: dc1, password_file: /etc/prometheus/central-password}}
    write_relabel_configs:
      - source_labels: [__name__]
        action: keep
        regex: {regex}
"""

CENTRAL: Final = """\
# The central Prometheus, to which clusters send by remote write: months, budgets, projections and alerts.
# {top}
# Start it with --web.enable-remote-write-receiver.
global:
  evaluation_interval: 1m
  rule_query_offset: 30s   # samples that are sent arrive some seconds late

storage:
  tsdb:
    # After an outage a cluster sends up to two hours again; without this all older than one hour is refused.
    out_of_order_time_window: 3h

rule_files:
  - fleet-rules.yml

alerting:
  alertmanagers:
    - static_configs:
        - targets: ["localhost:9093"]
"""

FEDERATION: Final = """\
# A central Prometheus that fetches from those of the clusters, where they cannot send.
# {top}
global:
  evaluation_interval: 1m

rule_files:
  - fleet-rules.yml

alerting:
  alertmanagers:
    - static_configs:
        - targets: ["localhost:9093"]

scrape_configs:
  - job_name: federate
    metrics_path: /federate
    honor_labels: true     # keeps the labels of the clusters' Prometheus servers, its external labels among them
    scrape_interval: 30s
    scrape_timeout: 25s
    params:
      "match[]":
        - "{{__name__=~\\"\\
          {regex}\\"}}"
    static_configs:
      - targets: ["prometheus.dc1.example:9090", "prometheus.dc2.example:9090"]
"""

OPERATOR: Final = """\
# Values of the chart kube-prometheus-stack for one of several clusters; cluster.yml says the same without an operator.
# {top}
prometheus:
  prometheusSpec:
    externalLabels:
      cluster: dc1
    remoteWrite:
      - url: https://central.example/api/v1/write
        writeRelabelConfigs:
          - sourceLabels: [__name__]
            action: keep
            regex: {regex}
"""
