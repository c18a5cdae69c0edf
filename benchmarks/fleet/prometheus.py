"""A real Prometheus that scrapes all hosts and loads the repository's rules, and what it says of itself."""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import yaml

RULES: Final = Path(__file__).parents[2] / "deploy" / "prometheus"
CORES: Final = 2
RETENTION: Final = "40d"
START_SECONDS: Final = 120
ANSWER_SECONDS: Final = 150
"""Prometheus gives up a query after two minutes."""

DURATION: Final = re.compile(r"(\d+)([smhdw])")
UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
SAMPLE: Final = re.compile(r"^(?P<name>\w+)(?P<labels>\{.*\})? (?P<value>\S+)$", re.MULTILINE)
BETWEEN: Final = re.compile(r"^(  interval: )(.+)$", re.MULTILINE)
NAME: Final = re.compile(r"\binference[_:][\w:.+]+")
OFTEN: Final = "1m"
"""Groups with this interval keep it while they are measured."""
GROUP: Final = re.compile(r'rule_group="[^;"]*;([\w-]+)"')


@dataclass(frozen=True, slots=True)
class QueryCost:
    """What a query cost: samples over all steps, samples held at once, seconds to the last byte.

    `refused` is what Prometheus says where it does not answer.
    """

    samples: int
    peak: int
    seconds: float
    refused: str = ""


def seconds(duration: str) -> int:
    """Of a duration such as 14d or 1d12h."""
    return sum(int(number) * UNITS[unit] for number, unit in DURATION.findall(duration))


def groups() -> dict[str, str]:
    """The interval of each group, as the repository's rules say."""
    texts = [file.read_text(encoding="utf-8") for file in sorted(RULES.glob("*-rules.yml"))]
    return {group["name"]: group["interval"] for text in texts for group in yaml.safe_load(text)["groups"]}


def sent() -> set[str]:
    """The series that a central place takes of each cluster, as regular expressions of names."""
    return set(NAME.findall((RULES / "federation.yml").read_text(encoding="utf-8")))


def configured(
    folder: Path, targets: Sequence[dict[str, str]], port: int, seldom: str, often: str = OFTEN
) -> Path:
    """The repository's configuration with all hosts and kube-state-metrics as targets, and its rules.

    Groups of a minute are evaluated every `often`, all others every `seldom`, so that a short run sees them.
    """
    config = yaml.safe_load((RULES / "prometheus.yml").read_text(encoding="utf-8"))
    for name in config["rule_files"]:
        rules = (RULES / name).read_text(encoding="utf-8")
        text = BETWEEN.sub(lambda match: match[1] + (often if match[2] == OFTEN else seldom), rules)
        (folder / name).write_text(text, encoding="utf-8")
    del config["alerting"]  # no Alertmanager runs here
    (job,) = config["scrape_configs"]
    address = [f"127.0.0.1:{port}"]
    job["static_configs"] = [
        {"targets": address, "labels": labels | {"__metrics_path__": f"/hosts/{host}"}}
        for host, labels in enumerate(targets)
    ]
    nodes = {"targets": address, "labels": {"__metrics_path__": "/nodes", "instance": "nodes"}}
    config["scrape_configs"].append(
        {"job_name": "kube-state-metrics", "honor_labels": True, "static_configs": [nodes]}
    )
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return file


class Prometheus:
    """The process, held to two cores. Ends by its process id.

    Raises:
        FileNotFoundError: there is no `prometheus` on PATH.
        TimeoutError: it does not answer.
    """

    def __init__(self, config: Path, data: Path) -> None:
        binary = shutil.which("prometheus")
        if binary is None:
            raise FileNotFoundError("no prometheus on PATH: apt-get install prometheus")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        self._command = (
            binary,
            f"--config.file={config}",
            f"--storage.tsdb.path={data}",
            f"--storage.tsdb.retention.time={RETENTION}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--log.level=warn",
        )

    def __enter__(self) -> Self:
        environment = {**os.environ, "GOMAXPROCS": str(CORES)}
        self._process = subprocess.Popen(self._command, env=environment)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                if self._get("/-/ready")[0] == http.client.OK:
                    return self
            except OSError:
                pass
            time.sleep(0.5)
        self._stop()
        raise TimeoutError(f"Prometheus is not ready within {START_SECONDS} s")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._process.kill()  # its data is not used again, and a long query would delay a clean stop
        self._process.wait(60)

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector of an expression."""
        path = "/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        series: list[dict[str, Any]] = json.loads(self._get(path)[1])["data"]["result"]
        return series

    def number(self, expression: str) -> float:
        """The only value of an expression, 0 where it has none."""
        return float(next((row["value"][1] for row in self.query(expression)), 0.0))

    def cost(self, expression: str, end: int, span: int = 0, step: int = 0) -> QueryCost:
        """What an expression costs at a moment, or over a span that ends then, at every step."""
        parameters: dict[str, Any] = {"query": expression, "stats": "all"}
        if step:
            path, parameters = "query_range", parameters | {"start": end - span, "end": end, "step": step}
        else:
            path, parameters = "query", parameters | {"time": end}
        began = time.monotonic()
        body = self._get(f"/api/v1/{path}?" + urllib.parse.urlencode(parameters))[1]
        took = time.monotonic() - began
        document = json.loads(body)
        if document["status"] != "success":
            return QueryCost(0, 0, took, document["error"])
        samples = document["data"]["stats"]["samples"]
        return QueryCost(samples["totalQueryableSamples"], samples["peakSamples"], took)

    def rules(self) -> list[tuple[float, str, str]]:
        """Seconds that each rule took last, its group and its name; the slowest first."""
        groups = json.loads(self._get("/api/v1/rules")[1])["data"]["groups"]
        rules = [(rule, group["name"]) for group in groups for rule in group["rules"]]
        return sorted(((rule["evaluationTime"], group, rule["name"]) for rule, group in rules), reverse=True)

    def itself(self) -> dict[tuple[str, str], float]:
        """Its own metrics, by name and rule group; summed over other labels."""
        values: dict[tuple[str, str], float] = {}
        for match in SAMPLE.finditer(self._get("/metrics")[1].decode()):
            group = GROUP.search(match["labels"] or "")
            key = match["name"], group[1] if group else ""
            values[key] = values.get(key, 0.0) + float(match["value"])
        return values
