"""Programs of the distribution, started on loopback and ended by their own pids."""

import http
import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.e2e.daemon import free_port, until

START_SECONDS = 120
PACKAGES = {
    "vmalert": "victoria-metrics",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "victoria-metrics": "victoria-metrics",
}


class FleetProgram:
    """One process that answers HTTP on a port of its own."""

    def __init__(self, name: str, folder: Path, health: str) -> None:
        self.name = name
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "log"
        self._health = health
        self._process: subprocess.Popen[bytes] | None = None

    def arguments(self) -> Sequence[str]:
        """What follows its name on the command line."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        binary = shutil.which(self.name)
        assert binary is not None, f"{self.name} is not on PATH: apt-get install {PACKAGES[self.name]}"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [binary, *self.arguments()], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            until(self._healthy, START_SECONDS, f"{self.name} healthy, see {self.log}")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it; what it stored is thrown away, so it need not say good-bye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def _healthy(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text(errors="replace")[-4000:]
        try:
            return self.request(self._health) is not None
        except OSError:
            return False

    def request(self, path: str, data: bytes | None = None, **parameters: str) -> bytes:
        """The body of an answer.

        Raises:
            AssertionError: it was refused; the message is the program's.
        """
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        try:
            with urllib.request.urlopen(f"{self.url}{path}{query}", data, timeout=60) as answer:  # noqa: S310
                body: bytes = answer.read()
        except urllib.error.HTTPError as error:
            if error.code == http.HTTPStatus.SERVICE_UNAVAILABLE:  # not ready yet
                raise
            raise AssertionError(f"{path}{query}: {error.read().decode()}") from error
        return body


Rows = dict[str, float]
"""Values by the labels of their series, written as in `{a="1",b="2"}`."""


def written(labels: dict[str, str]) -> str:
    """Labels as a selector has them, without the name of the metric."""
    return "{" + ",".join(f'{k}="{v}"' for k, v in sorted(labels.items()) if k != "__name__") + "}"


class Queried(FleetProgram):
    """A program that answers PromQL."""

    def rows(self, expression: str, at: float | None = None) -> list[tuple[dict[str, str], float]]:
        """The instant vector at a time in seconds, now unless told: labels and values."""
        when = {} if at is None else {"time": repr(at)}
        body = json.loads(self.request("/api/v1/query", query=expression, **when))
        assert body["status"] == "success", body
        assert body["data"]["resultType"] == "vector", body
        return [(row["metric"], float(row["value"][1])) for row in body["data"]["result"]]

    def query(self, expression: str, at: float | None = None) -> Rows:
        """The same with the labels as text."""
        return {written(labels): value for labels, value in self.rows(expression, at)}

    def value(self, expression: str, at: float | None = None) -> float:
        """The only sample of a query."""
        (value,) = self.query(expression, at).values()
        return value

    def range(
        self, expression: str, begin: float, end: float, step: float
    ) -> dict[str, list[tuple[float, float]]]:
        """Times and values of each series."""
        body = json.loads(
            self.request(
                "/api/v1/query_range", query=expression, start=repr(begin), end=repr(end), step=repr(step)
            )
        )
        return {
            written(row["metric"]): [(at, float(value)) for at, value in row["values"]]
            for row in body["data"]["result"]
        }


class FleetPrometheus(Queried):
    """A Prometheus over a folder that may hold blocks; `config` is its configuration's text.

    `flags` are further arguments.
    """

    def __init__(
        self, folder: Path, config: str, flags: Sequence[str] = (), *, retention: str = "40d"
    ) -> None:
        super().__init__("prometheus", folder, "/-/ready")
        self.data = folder / "data"
        self._flags = flags
        self._retention = retention
        self.data.mkdir(exist_ok=True)
        self.configure(config)

    def arguments(self) -> Sequence[str]:
        """On loopback, with a retention that holds the two weeks which the rules look back on."""
        return (
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            f"--storage.tsdb.retention.time={self._retention}",
            "--rules.alert.resend-delay=2s",  # an Alertmanager that is not known yet is told again
            f"--web.listen-address=127.0.0.1:{self.port}",
            *self._flags,
        )

    def configure(self, config: str) -> None:
        """Another configuration, from its next start on."""
        (self.folder / "prometheus.yml").write_text(config, encoding="utf-8")

    def groups(self) -> list[dict[str, Any]]:
        """Its groups of rules, with what it thinks of each rule."""
        parsed: list[dict[str, Any]] = json.loads(self.request("/api/v1/rules"))["data"]["groups"]
        return parsed

    def alertmanagers(self) -> list[str]:
        """Where it sends alerts."""
        parsed = json.loads(self.request("/api/v1/alertmanagers"))["data"]["activeAlertmanagers"]
        return [one["url"] for one in parsed]

    def evaluated(self, since: float) -> bool:
        """Whether every group has been evaluated after a second since the epoch, without an error.

        Raises:
            AssertionError: a rule failed; the message is what Prometheus said.
        """
        groups = self.groups()
        rules = [rule for group in groups for rule in group["rules"]]
        errors = {rule["name"]: rule["lastError"] for rule in rules if rule.get("lastError")}
        assert errors == {}, errors
        done = [datetime.fromisoformat(group["lastEvaluation"]).timestamp() for group in groups]
        return bool(rules) and min(done) > since

    def evaluations(self) -> int:
        """How often the group that was evaluated least has been: a busy machine leaves some out."""
        parsed: dict[str, int] = {}
        for line in self.request("/metrics").decode().splitlines():
            name, _, labels = line.partition("{")
            sign = {
                "prometheus_rule_group_iterations_total": 1,
                "prometheus_rule_group_iterations_missed_total": -1,
            }
            if name in sign:
                group, _, count = labels.rpartition(" ")
                parsed[group] = parsed.get(group, 0) + sign[name] * int(float(count))
        return min(parsed.values(), default=0)


class Alertmanager(FleetProgram):
    """An Alertmanager that is alone."""

    def __init__(self, folder: Path, config: str) -> None:
        super().__init__("prometheus-alertmanager", folder, "/-/ready")
        (folder / "alertmanager.yml").write_text(config, encoding="utf-8")

    def arguments(self) -> Sequence[str]:
        """No peers: it would look for an address beyond loopback."""
        return (
            "--config.file=alertmanager.yml",
            "--storage.path=data",
            "--cluster.listen-address=",
            f"--web.listen-address=127.0.0.1:{self.port}",
        )

    def fire(self, *alerts: dict[str, str]) -> None:
        """Send alerts with these labels, all at once, as a Prometheus sends those of a group of rules."""
        data = json.dumps([{"labels": labels} for labels in alerts]).encode()
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/api/v2/alerts", data, {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=60).close()  # noqa: S310

    def alerts(self) -> list[dict[str, Any]]:
        """What is active there."""
        parsed: list[dict[str, Any]] = json.loads(self.request("/api/v2/alerts"))
        return parsed


class Victoria(Queried):
    """A VictoriaMetrics that answers about the last second too.

    `stale` is how long a series is current after its last sample: five minutes, as in Prometheus.
    """

    def __init__(self, folder: Path, stale: str = "5m", *, retention: str = "90d") -> None:
        super().__init__("victoria-metrics", folder, "/health")
        self._stale = stale
        self._retention = retention

    def arguments(self) -> Sequence[str]:
        """Without the 30 seconds that it waits for what may still come.

        It would also answer with the value before, for the second that is now: a replay that was quick enough
        to be there met that, and recorded its last seconds from sums of the second before.
        """
        return (
            "-storageDataPath=data",
            "-search.latencyOffset=0s",
            "-search.maxStepForPointsAdjustment=0s",
            f"-search.minStalenessInterval={self._stale}",  # it would guess by uneven intervals
            f"-search.maxStalenessInterval={self._stale}",
            f"-retentionPeriod={self._retention}",
            f"-httpListenAddr=127.0.0.1:{self.port}",
        )

    def take(self, text: bytes) -> None:
        """Import samples with their times in milliseconds, and make them seen at once."""
        self.request("/api/v1/import/prometheus", text)
        self.flush()

    def flush(self) -> None:
        """Make everything that it was told be seen."""
        self.request("/internal/force_flush")
        self.request("/internal/resetRollupResultCache")


class Vmalert(FleetProgram):
    """The evaluation of rules beside a VictoriaMetrics, as often as their groups say."""

    def __init__(
        self, folder: Path, rules: Sequence[Path], database: Victoria, alertmanager: str, stale: str
    ) -> None:
        super().__init__("vmalert", folder, "/health")
        self._rules = [str(file) for file in rules]
        self._database = database
        self._alertmanager = alertmanager
        self._stale = stale

    def arguments(self) -> Sequence[str]:
        """Without the half minute that it waits for what may still come, and without waiting to write."""
        return (
            *(f"-rule={file}" for file in self._rules),
            f"-datasource.url={self._database.url}",
            f"-datasource.queryStep={self._stale}",
            f"-remoteWrite.url={self._database.url}",
            "-remoteWrite.flushInterval=100ms",
            f"-remoteRead.url={self._database.url}",
            f"-notifier.url={self._alertmanager}",
            "-rule.evalDelay=0s",
            "-rule.resendDelay=2s",
            f"-httpListenAddr=127.0.0.1:{self.port}",
        )

    def groups(self) -> list[dict[str, Any]]:
        """Its groups of rules, with what it thinks of each rule."""
        parsed: list[dict[str, Any]] = json.loads(self.request("/api/v1/rules"))["data"]["groups"]
        return parsed

    def failing(self) -> dict[str, str]:
        """What each rule that failed said."""
        rules = [rule for group in self.groups() for rule in group["rules"]]
        return {rule["name"]: rule["lastError"] for rule in rules if rule.get("lastError")}
