"""The configuration by which a Prometheus scrapes the demo."""

import json
import os
from pathlib import Path
from typing import Final

import exporter
from exporter.exposition.address import parse_address

JOB: Final = """\
# Prometheus scrapes the demo: prometheus --config.file=FILE with this in it.
global:
  scrape_interval: 15s
{rules}scrape_configs:
  - job_name: inference-cost-exporter
    honor_labels: true      # `namespace` is the workload's, not the exporter's
    static_configs:
      - targets: [{target}]
        labels: {{cluster: demo}}
"""
RULES: Final = ("cluster-rules.yml", "fleet-rules.yml")
ANYWHERE: Final = ("", "0.0.0.0", "::")  # noqa: S104  # compared with, not listened on


def prometheus_configuration(listen_address: str) -> str:
    """YAML of one scrape job, and of the rules where this is a checkout, which has them.

    A demo that listens on all interfaces is scraped by loopback.

    Raises:
        AddressError: the address is none.
    """
    address = parse_address(listen_address)
    host = "127.0.0.1" if address.host in ANYWHERE else address.host
    target = f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"
    folder = Path(exporter.__file__).parents[1] / "deploy" / "prometheus"
    found = [str(folder / name) for name in RULES if os.path.isfile(folder / name)]
    rules = f"rule_files: {json.dumps(found)}\n" if found else ""
    return JOB.format(rules=rules, target=json.dumps(target))
