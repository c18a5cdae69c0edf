"""vmalert over a time range of the past: what the rules would have recorded on VictoriaMetrics."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.daemon import free_port
from tests.e2e.fleet.programs import Victoria

RECORDED = re.compile(r"\binference:[\w:]+")
Rule = dict[str, Any]


def levels(rules: Iterable[Rule]) -> list[list[Rule]]:
    """The rules in their order, cut where one needs what another before it records."""
    level_of: dict[str, int] = {}
    cut: list[list[Rule]] = []
    for rule in rules:
        needed = set(RECORDED.findall(rule["expr"])) - {rule["record"]}
        level = max((level_of[name] + 1 for name in needed if name in level_of), default=0)
        level_of[rule["record"]] = max(level, level_of.get(rule["record"], 0))
        if level == len(cut):
            cut.append([])
        cut[level].append(rule)
    return cut


def replay(rules: Sequence[Rule], victoria: Victoria, begin: int, end: int) -> None:
    """Evaluate rules for each second from `begin` to `end`, and write back what they record.

    A rule sees what those before it recorded for the same seconds: level by level, each seen before the next.

    Raises:
        AssertionError: vmalert gave up; the message is what it said.
    """
    for number, level in enumerate(levels(rules)):
        file = victoria.folder / f"level-{number}.yml"
        group = {"name": f"level-{number}", "interval": "1s", "rules": level}
        file.write_text(yaml.safe_dump({"groups": [group]}), encoding="utf-8")
        _evaluate(file, victoria, begin, end)
        victoria.flush()


def _evaluate(file: Path, victoria: Victoria, begin: int, end: int) -> None:
    binary = shutil.which("vmalert")
    assert binary is not None, "vmalert is not on PATH: apt-get install victoria-metrics"
    command = [
        binary,
        f"-rule={file}",
        f"-datasource.url={victoria.url}",
        f"-remoteWrite.url={victoria.url}",
        "-replay.rulesDelay=1ms",
        f"-replay.timeFrom={_rfc3339(begin)}",
        f"-replay.timeTo={_rfc3339(end)}",
        "-replay.disableProgressBar",
        f"-httpListenAddr=127.0.0.1:{free_port()}",
    ]
    done = subprocess.run(
        command, cwd=victoria.folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]


def _rfc3339(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
