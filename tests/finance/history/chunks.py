"""Chunks of hours made by hand: GPUs and inference servers of a few hosts, at 120 samples an hour."""

from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path

from exporter.config import Config, load
from exporter.engines.catalogue import ENGINES
from exporter.finance.facts import Measure, measured
from exporter.finance.history.exporter_series import page_series
from exporter.finance.history.hourly import Chunk, EngineHours, GpuHours, PageColumn, column
from exporter.finance.history.past_host import PastHost
from exporter.finance.history.reckoning import Reckoning
from exporter.finance.history.survey import Survey, target_of
from tests.kit.units import DOLLAR, HOUR

NOVEMBER = 1_793_491_200 // 3600
"""The hour, since 1970, in which November 2026 begins in UTC."""

PRICES = """\
hardware:
  - {match: {gpu_model: "H100"}, rented: {dollars_per_gpu_hour: 2}}
"""


def configured(folder: Path, text: str = PRICES) -> Config:
    """A configuration of this text."""
    path = folder / "ice.yaml"
    path.write_text(text)
    return load(path)


class HourlyFleet:
    """Hours from the beginning of November on; a column has the hour before it as its first value."""

    def __init__(self, config: Config, hours: int, first: int = NOVEMBER) -> None:
        self.survey = Survey(config)
        self.config = config
        self.chunk = Chunk(first, hours + 1)

    def gpu(
        self,
        number: int,
        host: str = "node-1",
        *,
        utilization: float = 0.5,
        counts: Sequence[float] | None = None,
        memory: float | None = 70e9,
        joules: float | None = None,
        **labels: str,
    ) -> None:
        """A GPU with the labels of dcgm-exporter; without `counts` it is there all the time."""
        survey = self.survey
        labels = {
            "UUID": f"GPU-{number}",
            "gpu": str(number),
            "modelName": "H100",
            "Hostname": host,
            "instance": f"{host}:9400",
            "job": "dcgm",
            **labels,
        }
        survey.add_names([{"__name__": "DCGM_FI_DEV_GPU_UTIL", **labels}])
        series = survey.gpu_series(0, labels)
        assert series is not None
        survey.hosts.add(series.host)
        survey.gpus.setdefault(series.gpu.uuid, set()).add("dcgm-exporter")
        if series.holder is not None:
            survey.labeled.add(series.host)
        hours = self.chunk.gpus[series] = GpuHours.empty(self.chunk.hours)
        for at, count in enumerate(counts or [120] * self.chunk.hours):
            if count:
                hours.count[at] = count
                hours.means["utilization"][at] = utilization
                hours.means["memory"][at] = nan if memory is None else memory
                hours.joules[at] = nan if joules is None or not at else joules

    def server(
        self,
        rises: Mapping[str, Sequence[float]],
        *,
        running: Sequence[float] = (),
        engine: str = "vllm",
        model: str = "llama",
        **labels: str,
    ) -> None:
        """A server whose counters rise so in each hour; a negative number is an hour without samples."""
        labels = {"instance": "node-1:8000", "job": "vllm", "model_name": model, **labels}
        target = target_of(labels)
        self.survey.engines[target] = ENGINES[engine]
        hours = self.chunk.engines.setdefault(target, EngineHours(labels))
        for name, each in rises.items():
            series = page_series(name, labels)
            values = column(self.chunk.hours)
            for at, rise in enumerate(each, 1):
                if rise >= 0:
                    values[at] = rise
                    hours.sampled.add(at)
            hours.rises[series.key] = PageColumn(series, values)
        series = page_series("vllm:num_requests_running", labels)
        values = column(self.chunk.hours)
        for at, mean in enumerate(running, 1):
            values[at] = mean
        hours.means[series.key] = PageColumn(series, values)

    def reckoned(self, until: int | None = None) -> Reckoning:
        """All hours, charged."""
        end = self.chunk.first - 1 + self.chunk.hours if until is None else until
        reckoning = Reckoning(self.config, self.survey, end * HOUR)
        reckoning.add(self.chunk)
        return reckoning


def money(reckoning: Reckoning, host: str = "node-1", cluster: str = "") -> dict[str, float]:
    """Dollars by server of all months of a host."""
    sums: dict[str, float] = {}
    for key, each in reckoning.hosts.items():
        if key == (cluster, host):
            for fact in each.every_fact("money of owners"):
                sums[fact.owner.server] = sums.get(fact.owner.server, 0) + fact.value
    return {server: amount / DOLLAR for server, amount in sums.items() if amount}


def phases(reckoning: Reckoning, host: str = "node-1") -> dict[tuple[str, str], float]:
    """GPU-hours by server and phase of all months of a host."""
    sums: dict[tuple[str, str], float] = {}
    for key, each in reckoning.hosts.items():
        if key.host == host:
            for fact in each.every_fact("GPU time"):
                key_of_phase = fact.owner.server, fact.phase or ""
                sums[key_of_phase] = sums.get(key_of_phase, 0) + fact.value / HOUR
    return {key: time for key, time in sums.items() if time}


def tokens(reckoning: Reckoning) -> dict[tuple[str, str], int]:
    """Tokens by server and kind of all hosts."""
    sums: dict[tuple[str, str], int] = {}
    for host in reckoning.hosts.values():
        for fact in host.every_fact("tokens"):
            key = fact.owner.server, fact.kind or ""
            sums[key] = sums.get(key, 0) + fact.value
    return sums


def by_month(host: PastHost, measure: Measure) -> dict[str, int]:
    """Values of a measure of a host by month, for months with any."""
    return {
        month: sum(fact.value for fact in facts)
        for month in host.months
        if (facts := measured(host.facts(month), measure))
    }
