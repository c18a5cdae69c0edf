"""Write the rule files, what sends their input to a central place, and the tables of docs/records.md.

`python deploy/rules/generate.py`; `--check` reports those that are out of date.
"""

import sys
from pathlib import Path
from typing import Final

import boards
import budgets
import families
import faults
import hosts
import levels
import load
import metering
import month
import overheads
import projection
import reader
import records
import savings
import spend
import spending
import tokens
from statement import MOST, crowded, text, unknown

from tools.generated import flags, update

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "deploy" / "prometheus"

PAGING: Final = "Pages: waiting eight hours costs 5 % of a configured budget or more, or the meter is blind. Everything else is a ticket."

FILES: Final = {
    "cluster-rules.yml": (
        """\
What each cluster's Prometheus records of its own exporters. Written by deploy/rules/generate.py; do not edit.
`cluster` is optional: a target label, or the external label under which the series are sent on. docs/alerts.md says
what is recorded and where to load which file. Replicas and several jobs that scrape one exporter count once.""",
        (hosts.HOSTS + hosts.HOST_SPEND + hosts.SETTINGS + faults.FAULTS)
        + (tokens.RATES + tokens.IDLE + tokens.PRICES + load.LOAD + levels.LEVELS + tokens.WEEK)
        + (boards.MODELS + boards.LINES + boards.BOARDS + boards.DAY),
    ),
    "fleet-rules.yml": (
        """\
Months, budgets, projections and alerts, for the one place that sees all clusters. Written by deploy/rules/generate.py;
do not edit. Load cluster-rules.yml beside it where that place is the only Prometheus.
No budget is written here: the exporter exports the configured one, or its default, as inference_budget_dollars.

Links: `dashboard` is a path of your Grafana, `runbook` a path of this repository, since its pages are published nowhere.
To have whole addresses in the notifications, replace the two prefixes where the file is deployed:
  sed -e 's,runbook: docs/runbooks/,runbook: https://git.example/inference-cost-exporter/blob/main/docs/runbooks/,' \\
      -e 's,dashboard: /d/,dashboard: https://grafana.example/d/,' fleet-rules.yml""",
        (month.MEMORY + month.DEPARTED + month.THIS + spend.SPENDING + projection.PROJECTIONS)
        + (budgets.BUDGETS + overheads.OVERHEADS + savings.SAVINGS)
        + f"rules inference-alerts-spend every 1m\n# {PAGING}\n"
        + (spending.ALERTS + savings.ALERTS + metering.DOUBLED)
        + f"rules inference-alerts-meter every 1m\n{metering.ALERTS}",
    ),
}


def main() -> int:
    """Return 0 when every file is written or up to date, 1 where one is not or names an unknown series."""
    check = flags(__doc__).parse_args().check
    files = {name: (header, reader.groups(rules)) for name, (header, rules) in FILES.items()}
    everything = tuple(group for _, groups in files.values() for group in groups)
    if crowded(everything):
        print(f"more than {MOST} rules: {', '.join(crowded(everything))}")
        return 1
    missing = unknown(everything)
    if missing:
        print(f"no metric and no record: {', '.join(missing)}")
        return 1
    wanted = {FOLDER / name: text(header, groups) for name, (header, groups) in files.items()}
    cluster, fleet = (groups for _, groups in files.values())
    wanted |= families.files(cluster, fleet)
    wanted[records.PAGE] = records.page({name: groups for name, (_, groups) in files.items()})
    return update(wanted, Path(__file__), ROOT, check=check)


if __name__ == "__main__":
    sys.exit(main())
