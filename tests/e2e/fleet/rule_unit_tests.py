"""Unit tests of rules in simulated time, by Prometheus's promtool and VictoriaMetrics' vmalert-tool."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.fleet.vmalert_replay import RECORDED
from tests.rules.victoriametrics import alone

DEPLOY = Path(__file__).parents[3] / "deploy" / "prometheus"
ENGINES = ("promtool", "vmalert-tool")
MEMORY = {"GOGC": "off", "GOMEMLIMIT": "512MiB"}
"""Go collects garbage when this much is used, not at each doubling."""

Check = dict[str, Any]
"""One expression, when it is asked, and what it yields."""


def exactly(at: int, expr: str, samples: Mapping[str, float]) -> Check:
    """An expression yields these values by labels like `{a="1"}`, and no others."""
    expected = [{"labels": labels, "value": value} for labels, value in samples.items()]
    return {"expr": expr, "eval_time": f"{at}s", "exp_samples": expected}


def nearly(
    at: int, record: str, labels: Mapping[str, str], dollars: Fraction, within: float = 0.005
) -> Check:
    """The sum of a record's series is an amount, to the cent unless told."""
    selector = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return exactly(at, f"abs(sum({record}{{{selector}}}) - {float(dollars)!r}) < bool {within!r}", {"{}": 1})


def alerting(rules: list[Path], folder: Path) -> list[Path]:
    """The rule files without the records that no alert is made of, which cost minutes."""
    files = {
        file.name: yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader) for file in rules
    }
    whole = [rule for file in files.values() for group in file["groups"] for rule in group["rules"]]
    wanted = {name for rule in whole if "alert" in rule for name in RECORDED.findall(rule["expr"])}
    size = 0
    while size != len(wanted):
        size = len(wanted)
        made = [rule["expr"] for rule in whole if rule.get("record") in wanted]
        wanted |= {name for expr in made for name in RECORDED.findall(expr)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in files.items():
        for group in file["groups"]:
            group["rules"] = [rule for rule in group["rules"] if "alert" in rule or rule["record"] in wanted]
        (folder / name).write_text(yaml.safe_dump(file), encoding="utf-8")
    return [folder / name for name in files]


def number(value: float) -> str:
    """A number without an exponent: vmalert-tool takes none."""
    return format(Decimal(repr(value)), "f")


def run(
    engine: str,
    folder: Path,
    rules: list[Path],
    series: list[dict[str, str]],
    checks: list[Check],
    step: int = 60,
    evaluation: int = 60,
) -> str:
    """What the engine says of the rules over these series; empty where all checks hold.

    `step` seconds are between two samples, and `evaluation` between two evaluations.
    vmalert-tool takes up to 32 MB of samples (16 bytes each), and has none at all where there are more.
    """
    key = "promql_expr_test" if engine == "promtool" else "metricsql_expr_test"
    text = yaml.safe_dump(
        {
            "rule_files": [str(file) for file in rules],
            "evaluation_interval": f"{evaluation}s",
            "tests": [{"interval": f"{step}s", "input_series": series, key: checks}],
        },
        width=10**9,
    )
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{engine}.yml"
    file.write_text(text, encoding="utf-8")
    binary = shutil.which(engine)
    assert binary is not None, f"{engine} is not on PATH"
    command = [binary, "test", "rules", str(file)]
    if engine != "promtool":  # it stores in a fixed place of the temporary folder
        command = alone([binary, "unittest", f"--files={file}", "--disableAlertgroupLabel"])
    done = subprocess.run(
        command,
        env=MEMORY | os.environ | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=560,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr
