"""Write the rule files: `python deploy/rules/generate.py`; `--check` only tells whether they are up to date."""

import argparse
import sys
from pathlib import Path
from typing import Final

import boards
import metering
import spending
from fleet import FLEET
from month import HOSTS, LEDGERS, MEMORY, MONTH, RECALL, SPEND
from statement import Group, text, unknown
from tokens import IDLE, PRICES, RATES, WEEK

FOLDER: Final = Path(__file__).parents[1] / "prometheus"
CLUSTER: Final = Group("inference-cluster", "1m", (*MONTH, *SPEND, *HOSTS, *RATES, *IDLE, *PRICES))
ALERTS: Final = Group(
    "inference-alerts",
    "1m",
    (*spending.ALERTS, *metering.ALERTS),
    "Pages: waiting eight hours costs 5 % of a month's budget or more, or the meter is blind. Everything else is a ticket.",
)

FILES: Final = {
    "cluster-rules.yml": (
        """\
What each cluster's Prometheus records of its own exporters. Written by deploy/rules/generate.py; do not edit.
`cluster` is optional (a target label, or the external label of Thanos and Mimir); docs/alerts.md says what is recorded
and where to load which file. Series of replicas that are not de-duplicated count double where no `max` is.""",
        (RECALL, CLUSTER, LEDGERS, MEMORY, WEEK, boards.MODELS, boards.BOARDS, boards.DAY),
    ),
    "fleet-rules.yml": (
        """\
Budgets, projections and alerts, for the one place that sees all hosts. Written by deploy/rules/generate.py; do not edit.
Load cluster-rules.yml beside it where that place is the only Prometheus.
No budget is written here: the exporter exports the configured one, or its default, as inference_budget_dollars.

Links: `dashboard` is a path of your Grafana, `runbook` a path of this repository, since its pages are published nowhere.
To have whole addresses in the notifications, replace the two prefixes where the file is deployed:
  sed -e 's,runbook: docs/runbooks/,runbook: https://git.example/inference-cost-exporter/blob/main/docs/runbooks/,' \\
      -e 's,dashboard: /d/,dashboard: https://grafana.example/d/,' fleet-rules.yml""",
        (FLEET, ALERTS),
    ),
}


def main() -> int:
    """Return 0 when both files are written or up to date, 1 where one is not or names what nobody has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 when a file is out of date"
    )
    check = parser.parse_args().check
    missing = unknown(tuple(group for _, groups in FILES.values() for group in groups))
    if missing:
        print(f"no metric and no record: {', '.join(missing)}")
        return 1
    stale = 0
    for name, (header, groups) in FILES.items():
        written = text(header, groups)
        file = FOLDER / name
        if file.is_file() and file.read_text(encoding="utf-8") == written:
            continue
        if check:
            print(f"deploy/prometheus/{name} is out of date: python deploy/rules/generate.py")
            stale = 1
        else:
            file.write_text(written, encoding="utf-8")
            print(f"wrote deploy/prometheus/{name}")
    return stale


if __name__ == "__main__":
    sys.exit(main())
