"""The repository's own configuration files with their times made short, and their addresses those of a test.

Nothing else changes. What an alert waits for (`for`, `keep_firing_for`) becomes two evaluations, what a group
waits between two becomes one interval, and an Alertmanager waits a second where it waited minutes.
The links become whole addresses by the command that the header of fleet-rules.yml gives.
"""

import re
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
RULES = ("cluster-rules.yml", "fleet-rules.yml")
WAITED = re.compile(r"^(    (?:for|keep_firing_for)): (\d+)([mh])$", re.MULTILINE)
MEAN = re.compile(r"(avg_over_time\(inference:spend_\w+(?::owner)?)\[1h\]")
BETWEEN = re.compile(r"^(  interval): .*$", re.MULTILINE)


def rule_files(folder: Path, interval: float, current: float = 0, hour: float = 0) -> list[Path]:
    """Both rule files, evaluated every `interval` seconds.

    `current`: so many seconds stand for the five minutes after which a sample says nothing of now. What an
    alert waits for becomes short by as much, and an expression goes back by an interval for a minute.
    `hour`: so many seconds stand for the hour of the means that a projection is made of.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name in RULES:
        text = linked(DEPLOY / "prometheus" / name)
        text = BETWEEN.sub(rf"\1: {_duration(interval)}", text)
        text = WAITED.sub(partial(_waits, interval, current), text)
        if hour:
            text = MEAN.sub(rf"\1[{_duration(hour)}]", text)
        if current:
            text = text.replace("[5m]", f"[{_duration(current)}]")
            text = text.replace("time() - 300\n", f"time() - {current}\n")
            text = text.replace("offset 7m", f"offset {_duration(current + 2 * interval)}")
            text = text.replace("offset 10m", f"offset {_duration(2 * interval)}")
            text = text.replace("offset 1m", f"offset {_duration(interval)}")
        file = folder / name
        file.write_text(text, encoding="utf-8")
        files.append(file)
    return files


def linked(file: Path) -> str:
    """The file after the command that its header tells the reader to use; the others have none."""
    match = re.search(r"^#   (sed -e (?:.*\\\n#)?.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        return file.read_text(encoding="utf-8")
    command = match[1].replace("\\\n#", "")
    return subprocess.run(
        ["sh", "-c", command], cwd=file.parent, capture_output=True, text=True, check=True
    ).stdout


def prometheus(
    rules: Sequence[Path], targets: Path | None, scrape: float, alertmanager: str = "", stand: str = ""
) -> str:
    """The repository's prometheus.yml: its rule files where they were copied to, its targets from a file."""
    config: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert config["rule_files"] == [file.name for file in rules]
    config["global"]["scrape_interval"] = _duration(scrape)
    if stand:
        config["global"]["external_labels"] = {"stand": stand}
    config["rule_files"] = [str(file) for file in rules]
    (job,) = config["scrape_configs"]
    del job["static_configs"]
    if targets is None:
        config["scrape_configs"] = []
    else:
        job["file_sd_configs"] = [{"files": [str(targets)]}]
    del config["alerting"]
    if alertmanager:
        address = alertmanager.removeprefix("http://")
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [address]}]}]}
    return yaml.safe_dump(config)


def of_cluster(rules: Path, targets: Path, scrape: float, name: str, centers: Sequence[str]) -> str:
    """The repository's cluster.yml: it records its file, and writes what the centers need under its name."""
    config: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "cluster.yml").read_text())
    (job,) = config["scrape_configs"]
    del job["static_configs"]
    job["file_sd_configs"] = [{"files": [str(targets)], "refresh_interval": "1s"}]
    config["global"] |= {"scrape_interval": _duration(scrape), "external_labels": {"cluster": name}}
    config["rule_files"] = [str(rules)]
    (endpoint,) = config["remote_write"]
    config["remote_write"] = [
        endpoint
        | {
            "url": url,
            "queue_config": {"batch_send_deadline": "100ms", "max_backoff": "500ms", "max_shards": 1},
            "metadata_config": {"send": False},
        }
        for url in centers
    ]
    return yaml.safe_dump(config)


def of_center(rules: Path, alertmanager: str = "") -> str:
    """The repository's central.yml: it scrapes nothing, and evaluates the fleet's file without a delay."""
    config: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "central.yml").read_text())
    del config["global"]["rule_query_offset"], config["alerting"]
    config["rule_files"] = [str(rules)]
    if alertmanager:
        address = alertmanager.removeprefix("http://")
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [address]}]}]}
    return yaml.safe_dump(config)


def alertmanager(receiver: str) -> str:
    """The repository's alertmanager.yml: its receivers at an address of the test, by their names."""
    text = (DEPLOY / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8")
    config: dict[str, Any] = yaml.safe_load(text)
    for receiver_config in config["receivers"]:
        for hook in receiver_config["webhook_configs"]:
            hook["url"] = f"{receiver}/{receiver_config['name']}"
    config["route"] |= {"group_wait": "1s", "group_interval": "1s"}
    return yaml.safe_dump(config)


def _waits(interval: float, current: float, match: re.Match[str]) -> str:
    """What an alert waits for: two evaluations, or as many times `current` as there were five minutes."""
    minutes = int(match[2]) * (60 if match[3] == "h" else 1)
    return f"{match[1]}: {_duration(max(2 * interval, current * minutes / 5))}"


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
